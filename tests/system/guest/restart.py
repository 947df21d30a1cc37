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


class Restart(SystemTest):
    def setUp(self):
        super().setUp()
        write_config(DEFAULT_CONFIG + 'files = "per-connection"\n')
        systemctl("start", SOCKET, SERVICE)
        self.load = Load(PORTS, CONNECTIONS, RATE)
        self.await_progress()

    def await_progress(self):
        """Until each connection has moved on by more than sockets can hold."""
        enough = self.load.least_sent() + 2_000_000
        errors = [sender.error for sender in self.load.senders if sender.error]
        self.assertEqual(errors, [])
        wait_until(lambda: self.load.least_sent() > enough, "every connection moves on", 60)

    def finish(self):
        began = time.monotonic()
        wrong = self.load.finish(CAPTURE)
        self.assertEqual(wrong, [], journal("-n", "50"))
        self.assertEqual(len(os.listdir(CAPTURE)), CONNECTIONS)
        print(f"{self.load.sent()} bytes on {CONNECTIONS} connections compared "
              f"in {time.monotonic() - began:.1f} s")

    def test_restart(self):
        for _ in range(RESTARTS):
            pid = main_pid()
            systemctl("reset-failed", SERVICE)  # and with it the count of starts
            systemctl("restart", SERVICE)
            self.assertNotEqual(main_pid(), pid)
            self.await_progress()
        self.finish()

    def test_killed_supervisor(self):
        for _ in range(RESTARTS):
            time.sleep(2)  # connections older than about a second survive
            systemctl("reset-failed", SERVICE)  # and with it the count of starts
            os.kill(main_pid(), signal.SIGKILL)
            wait_until(lambda: prop("NRestarts") == "1" and prop("ActiveState") == "active",
                       "started again", 20)
            self.await_progress()
        self.finish()
