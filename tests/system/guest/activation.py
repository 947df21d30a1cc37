"""The socket unit: open ports without a service, which the first connection starts."""

import os
import pwd
import re
import socket

from machine import (CAPTURE, CONFIG, PORTS, SERVICE, SOCKET, DEFAULT_CONFIG, SystemTest, connect,
                     drop_in, journal, prop, run, saved, send, systemctl, wait_until, write_config)

BY_NAME = re.sub("listen = .*", 'listen = ["systemd:capture"]', DEFAULT_CONFIG)


class Activation(SystemTest):
    def setUp(self):
        super().setUp()
        systemctl("start", SOCKET)

    def test_first_connection_starts_the_service(self):
        self.assertEqual(prop("ActiveState"), "inactive")
        send(5001, b"the first connection")
        wait_until(lambda: prop("ActiveState") == "active", "the service is ready")
        self.assertEqual(saved(5001), b"the first connection")

    def test_every_port_of_both_families_is_served(self):
        for port in PORTS:
            send(port, f"4:{port};".encode())
            send(port, f"6:{port};".encode(), host="::1")
            self.assertEqual(saved(port), f"4:{port};6:{port};".encode())

    def test_sockets_are_found_by_their_name(self):
        write_config(BY_NAME)
        send(5002, b"by name", host="::1")
        self.assertEqual(saved(5002), b"by name")
        wait_until(lambda: prop("StatusText") == "3 of 3 ports up", "every name is found")

    def test_clients_that_come_while_it_starts_wait_for_it(self):
        peers = [connect(port) for port in PORTS for _ in range(20)]
        for peer in peers:
            peer.sendall(b"x" * 1000)
            peer.shutdown(socket.SHUT_WR)
        for peer in peers:
            self.assertEqual(peer.recv(1), b"")
            peer.close()
        self.assertEqual([len(saved(port)) for port in PORTS], [20000] * 3)

    def test_runs_as_its_own_user_without_privileges(self):
        send(5000, b"x")
        user = pwd.getpwnam("stream-serverd")
        root = "/sys/fs/cgroup/unified"
        group = (root if os.path.isdir(root) else "/sys/fs/cgroup") + prop("ControlGroup")
        with open(group + "/cgroup.procs", encoding="ascii") as file:
            processes = [int(line) for line in file]
        self.assertGreaterEqual(len(processes), 1 + 2 * len(PORTS))
        for pid in processes:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
            self.assertEqual(fields["Uid"].split(), [str(user.pw_uid)] * 4)
            self.assertEqual(int(fields["CapEff"], 16), 0)
            self.assertEqual(int(fields["CapBnd"], 16), 0)
            self.assertEqual(fields["NoNewPrivs"], "1")
            self.assertEqual(fields["Seccomp"], "2")
        status = os.stat(CAPTURE)
        self.assertEqual(status.st_uid, user.pw_uid)
        self.assertEqual(status.st_mode & 0o7, 0, "others may look at what was captured")

    def test_ports_below_1024_come_from_the_socket_unit(self):
        systemctl("stop", SOCKET)
        drop_in("[Socket]\nListenStream=\nListenStream=127.0.0.1:7\n", SOCKET)
        write_config(BY_NAME)
        systemctl("start", SOCKET)
        send(7, b"a privileged port")
        self.assertEqual(saved(7), b"a privileged port")

    def test_stopping_the_service_leaves_the_ports_open(self):
        send(5000, b"one;")
        systemctl("stop", SERVICE)
        self.assertEqual(prop("ActiveState", SOCKET), "active")
        send(5000, b"two;")
        self.assertEqual(saved(5000), b"one;two;")

    def test_a_missing_name_is_said_and_does_not_loop(self):
        write_config(BY_NAME.replace("systemd:capture", "systemd:other"))
        with connect(5000) as peer:
            peer.settimeout(30)
            wait_until(lambda: prop("ActiveState", SOCKET) == "failed", "the socket unit gives up", 60)
        self.assertIn("no socket named 'other' was inherited", journal())

    def test_wrong_configuration_ends_it_though_clients_wait(self):
        """Exit 78 is not retried by the service; each waiting client asks for one more start, until
        the limit: no endless loop."""
        write_config("[[service]]\nnme = 1\n")
        peers = [connect(5000) for _ in range(10)]
        for peer in peers:
            self.addCleanup(peer.close)
        wait_until(lambda: prop("ActiveState", SOCKET) == "failed", "the socket unit gives up", 60)
        complaint = f"{CONFIG}:2:1: service.nme: unknown key"
        self.assertIn(journal().count(complaint), range(1, 11))
        self.assertEqual(prop("ExecMainStatus"), "78")
        self.assertEqual(prop("NRestarts"), "0")
        # What the administrator does then:
        write_config(DEFAULT_CONFIG)
        self.assertEqual(run("stream-serverd", "check").returncode, 0)
        systemctl("reset-failed", SERVICE, SOCKET)
        systemctl("start", SOCKET)
        send(5000, b"good again")
        self.assertEqual(saved(5000), b"good again")

