"""The service unit: readiness, reload, failures, end."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from machine import (CONFIG, DEFAULT_CONFIG, SERVICE, SOCKET, SystemTest, connect, drop_in, journal,
                     main_pid, prop, run, saved, send, status, systemctl, wait_until, write_config)

MORE = """
[[service]]
name = "more"
protocol = "stream"
listen = ["127.0.0.1:6000"]
output = "/var/lib/stream-serverd/capture"
"""

PACKETS = """
[[service]]
name = "packets"
protocol = "packets"
listen = ["127.0.0.1:8080"]
"""


class Service(SystemTest):
    def setUp(self):
        super().setUp()
        systemctl("start", SOCKET, SERVICE)

    def test_units_are_as_systemd_wants_them(self):
        done = run("systemd-analyze", "verify", "--man=no", SERVICE, SOCKET)
        self.assertEqual(done.stdout, "")

    def test_start_returns_when_every_port_is_served(self):
        self.assertEqual(prop("StatusText"), "3 of 3 ports up")
        self.assertEqual({port["state"] for port in status()["ports"]}, {"up"})

    def test_reload_applies_the_configuration(self):
        write_config(DEFAULT_CONFIG + MORE)
        systemctl("reload", SERVICE)
        send(6000, b"a new port")
        self.assertEqual(saved(6000), b"a new port")
        self.assertEqual(prop("StatusText"), "4 of 4 ports up")

    def test_bad_reload_fails_and_changes_nothing(self):
        pid = main_pid()
        with connect(5000) as peer:
            peer.sendall(b"before;")
            wait_until(lambda: saved(5000) == b"before;", "what was sent is saved")
            write_config(DEFAULT_CONFIG + "\n[daemon]\nlog_level = 7\n")
            self.assertNotEqual(systemctl("reload", SERVICE, check=False).returncode, 0)
            self.assertIn(f"{CONFIG}:9:13: daemon.log_level", journal())
            self.assertEqual(prop("ActiveState"), "active")
            self.assertEqual(main_pid(), pid)
            peer.sendall(b"after")
            wait_until(lambda: saved(5000) == b"before;after", "the connection goes on")

    def test_a_worker_that_dies_does_not_concern_systemd(self):
        with connect(5000) as peer:
            peer.sendall(b"before;")
            wait_until(lambda: saved(5000) == b"before;", "what was sent is saved")
            worker = next(port for port in status()["ports"] if port["port"] == 5000)["worker_pid"]
            os.kill(worker, signal.SIGKILL)
            peer.sendall(b"after")
            wait_until(lambda: saved(5000) == b"before;after", "the connection goes on")
        self.assertEqual(prop("NRestarts"), "0")
        self.assertEqual(prop("ActiveState"), "active")

    def test_a_supervisor_that_dies_is_started_again(self):
        pid = main_pid()
        os.kill(pid, signal.SIGSEGV)
        wait_until(lambda: prop("NRestarts") == "1" and prop("ActiveState") == "active",
                   "started again")
        send(5000, b"served again")
        self.assertEqual(saved(5000), b"served again")

    def test_a_supervisor_that_hangs_is_started_again(self):
        systemctl("stop", SERVICE)
        drop_in("[Service]\nWatchdogSec=1s\n")
        systemctl("start", SERVICE)
        pid = main_pid()
        time.sleep(3)  # several intervals in which it is well
        self.assertEqual((main_pid(), prop("NRestarts")), (pid, "0"))
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: prop("NRestarts") == "1" and prop("ActiveState") == "active",
                   "started again", 20)
        self.assertIn("Watchdog timeout", journal())
        send(5000, b"served again")
        self.assertEqual(saved(5000), b"served again")

    def test_journal_entries_say_what_they_are_about(self):
        write_config('[daemon]\nlog_target = "journal"\n' + DEFAULT_CONFIG)
        systemctl("restart", SERVICE)
        with connect(5001) as peer:
            local = "{}:{}".format(*peer.getsockname())
            peer.sendall(b"x")
        wait_until(lambda: "Client disconnected" in journal(), "the end is logged")
        found = run("journalctl", "-o", "cat", "SERVICE=capture", "PORT=5001", f"PEER={local}",
                    "CONNECTION=1").stdout
        self.assertIn("New connection from 127.0.0.1 on port 5001", found)
        self.assertIn("Client disconnected from port 5001", found)

    def test_workers_are_confined(self):
        write_config('[daemon]\nsandbox = "required"\n' + DEFAULT_CONFIG)
        systemctl("restart", SERVICE)
        self.assertEqual(prop("StatusText"), "3 of 3 ports up")
        send(5000, b"from within")
        self.assertEqual(saved(5000), b"from within")
        self.assertNotIn("Landlock", journal())

    def test_packets_need_a_drop_in_and_nothing_else(self):
        directory = "/run/systemd/system/stream-serverd.service.d"
        os.makedirs(directory, exist_ok=True)
        os.symlink("/usr/local/share/stream-serverd/packets.conf", directory + "/packets.conf")
        systemctl("daemon-reload")
        write_config(DEFAULT_CONFIG + PACKETS)
        systemctl("restart", SERVICE)
        with urllib.request.urlopen("http://127.0.0.1:8080/api/interfaces", timeout=20) as answer:
            names = [item["Name"] for item in json.load(answer)["data"]]
        self.assertIn("lo", names)
        with urllib.request.urlopen("http://127.0.0.1:8080/api/capture?i=lo&p=5000&count=1",
                                    timeout=20) as events:
            send(5000, b"seen and saved")
            self.assertIn(b"event: packet", events.read())
        with open(f"/proc/{main_pid()}/status", encoding="ascii") as file:
            self.assertIn("CapBnd:\t0000000000002000\n", file)  # CAP_NET_RAW

    def test_stop_saves_what_was_received_and_ends_connections(self):
        with connect(5000) as peer:
            peer.sendall(b"x" * 100000)
            systemctl("stop", SERVICE)
            self.assertEqual(peer.recv(1), b"")
        self.assertEqual(saved(5000), b"x" * 100000)
        self.assertEqual(prop("Result"), "success")
        self.assertEqual(prop("ExecMainStatus"), "0")

    def test_it_knows_a_stop_from_a_restart(self):
        before = len(journal())
        systemctl("restart", SERVICE)
        self.assertIn("Handing over to the next start", journal()[before:])
        systemctl("stop", SERVICE)
        self.assertIn("Shutting down server", journal()[before:])
        self.assertNotIn("systemd does not say", journal()[before:])

    def test_connections_go_on_where_the_store_has_become_small(self):
        drop_in("[Service]\nFileDescriptorStoreMax=1\n")
        with connect(5000) as peer:
            peer.sendall(b"before;")
            wait_until(lambda: saved(5000) == b"before;", "what was sent is saved")
            systemctl("restart", SERVICE)
            peer.sendall(b"after")
            wait_until(lambda: saved(5000) == b"before;after", "the connection goes on")

    def test_a_bus_that_hangs_keeps_nobody_waiting(self):
        bus = int(prop("MainPID", "dbus.service"))
        with connect(5000) as peer:
            peer.sendall(b"before;")
            wait_until(lambda: saved(5000) == b"before;", "what was sent is saved")
            os.kill(bus, signal.SIGSTOP)
            try:
                began = time.monotonic()
                systemctl("restart", SERVICE)
                self.assertLess(time.monotonic() - began, 10)
            finally:
                os.kill(bus, signal.SIGCONT)
            peer.sendall(b"after")
            wait_until(lambda: saved(5000) == b"before;after", "the connection goes on")
        self.assertIn("systemd does not say whether this is a restart", journal())

    def test_a_manager_that_is_not_systemd_is_not_taken_for_it(self):
        """It runs below a unit of somebody else's, which says nothing about it."""
        with tempfile.TemporaryDirectory() as place, \
                socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(place + "/notify")
            manager.settimeout(0.1)
            server = subprocess.Popen(
                ["stream-serverd", "--runtime-dir", place + "/run", "stream", "127.0.0.1", "7000",
                 "1", "--output", place + "/output"], stderr=subprocess.PIPE, text=True,
                env={**os.environ, "NOTIFY_SOCKET": place + "/notify", "FDSTORE": "10"})
            self.addCleanup(server.kill)
            while b"READY=1" not in manager.recv(8192):
                pass
            server.terminate()
            while server.poll() is None:
                try:
                    manager.recv(8192)  # which closes what a barrier waits for
                except TimeoutError:
                    pass
            log = server.stderr.read()
            server.stderr.close()
        self.assertIn("Handing over to the next start", log)
        self.assertNotIn("are lost", log)

    def test_what_the_store_does_not_keep_is_an_error(self):
        write_config("[daemon]\nsurvive_kill = false\n" + DEFAULT_CONFIG)
        systemctl("reload", SERVICE)
        drop_in("[Service]\nFileDescriptorStoreMax=0\n")
        with connect(5000):
            systemctl("restart", SERVICE)
        self.assertIn("did not take what the next start needs: connections are lost", journal())
        self.assertEqual(prop("ActiveState"), "active")

    def test_root_steers_it_by_the_admin_commands(self):
        with connect(5002) as peer:
            peer.sendall(b"x")
            wait_until(lambda: saved(5002) == b"x", "what was sent is saved")
            listed = run("stream-serverd", "connections", "--port", "5002").stdout
            identity = listed.rstrip("\n").split("\n")[-1].split("\t")[7]
            run("stream-serverd", "kill", identity)
            with self.assertRaises(ConnectionResetError):
                peer.settimeout(10)
                peer.recv(1)
        run("stream-serverd", "stop")
        wait_until(lambda: prop("ActiveState") == "inactive", "stopped")
        self.assertEqual(prop("Result"), "success")

    def test_a_start_by_hand_beside_it_says_what_is_in_the_way(self):
        done = run("stream-serverd", "run", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/run/stream-serverd", done.stdout)

