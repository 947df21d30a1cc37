"""Connections that go on through the end of the supervisor, with every byte compared.

RESTARTS: how often. CONNECTIONS: on how many connections.
"""

import os
import signal
import time

from load import Load
from machine import (CAPTURE, DEFAULT_CONFIG, PORTS, SERVICE, SOCKET, SystemTest, journal, main_pid,
                     prop, systemctl, wait_until, write_config)

RESTARTS = int(os.environ["RESTARTS"])
CONNECTIONS = int(os.environ["CONNECTIONS"])
RATE = 50_000_000
# What is saved lies in memory until it is compared: so often on the same connections, then new ones.
ON_THE_SAME = 25


class Restart(SystemTest):
    def setUp(self):
        super().setUp()
        write_config(DEFAULT_CONFIG + 'files = "per-connection"\n')
        systemctl("start", SOCKET, SERVICE)

    def repeat(self, end_supervisor):
        for first in range(0, RESTARTS, ON_THE_SAME):
            self.load = Load(PORTS, CONNECTIONS, RATE)
            self.await_progress()
            for number in range(first, min(first + ON_THE_SAME, RESTARTS)):
                systemctl("reset-failed", SERVICE)  # and with it the count of starts
                end_supervisor()
                self.await_progress()
            self.compare(number + 1)

    def await_progress(self):
        """Until each connection has moved on by more than sockets can hold."""
        enough = self.load.least_sent() + 2_000_000
        errors = [sender.error for sender in self.load.senders if sender.error]
        self.assertEqual(errors, [])
        wait_until(lambda: self.load.least_sent() > enough, "every connection moves on", 60)

    def compare(self, ends):
        """Afterwards nothing is left."""
        began = time.monotonic()
        wrong = self.load.finish(CAPTURE)
        self.assertEqual(wrong, [], journal("-n", "50"))
        files = os.listdir(CAPTURE)
        self.assertEqual(len(files), CONNECTIONS)
        for file in files:
            os.unlink(f"{CAPTURE}/{file}")
        print(f"{ends} times; {self.load.sent()} bytes on {CONNECTIONS} connections compared "
              f"in {time.monotonic() - began:.1f} s", flush=True)

    def test_restart(self):
        def restart():
            pid = main_pid()
            systemctl("restart", SERVICE)
            self.assertNotEqual(main_pid(), pid)

        self.repeat(restart)

    def test_killed_supervisor(self):
        def kill():
            time.sleep(2)  # connections older than about a second survive
            os.kill(main_pid(), signal.SIGKILL)
            wait_until(lambda: prop("NRestarts") == "1" and prop("ActiveState") == "active",
                       "started again", 20)

        self.repeat(kill)
