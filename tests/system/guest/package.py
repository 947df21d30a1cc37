"""The Debian packages: from installing to purging."""

import os
import re
import subprocess
import tempfile

from machine import (CAPTURE, CONFIG, SERVICE, SOCKET, SystemTest, connect, main_pid, prop, run, saved,
                     send, systemctl, wait_until)

PACKAGES = "/packages"


def debs():
    return [f"{PACKAGES}/{name}" for name in sorted(os.listdir(PACKAGES))
            if name.endswith(".deb") and "-dbgsym_" not in name]


def dpkg(*arguments):
    return run("dpkg", *arguments, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def newer(deb, directory):
    """The same package under a higher version."""
    tree = f"{directory}/{os.path.basename(deb)}.tree"
    run("dpkg-deb", "-R", deb, tree)
    with open(tree + "/DEBIAN/control", encoding="utf-8") as file:
        control = file.read()
    with open(tree + "/DEBIAN/control", "w", encoding="utf-8") as file:
        file.write(re.sub(r"^(Version: .*)$", r"\1+1", control, flags=re.MULTILINE))
    run("dpkg-deb", "--root-owner-group", "-Znone", "-b", tree, tree + ".deb")
    return tree + ".deb"


def readme_commands():
    """The commands of the README's section about installing, without their remarks."""
    with open(PACKAGES + "/README.md", encoding="utf-8") as file:
        section = file.read().split("\n## Install\n", 1)[1].split("\n## ", 1)[0]
    block = section.split("```")[1]
    return [line.split("  #")[0].strip() for line in block.strip("\n").splitlines()]


class Package(SystemTest):
    def setUp(self):
        self.addCleanup(dpkg, "--purge", "stream-serverd", "stream-serverd-clients")
        self.addCleanup(run, "rm", "-rf", CAPTURE)

    def test_three_commands_lead_to_a_capture(self):
        commands = readme_commands()
        self.assertEqual(len(commands), 3)
        content = os.urandom(300000)
        with open(PACKAGES + "/some-file", "wb") as file:
            file.write(content)
        output = ""
        for command in commands:
            output = run("sh", "-c", command, cwd=PACKAGES).stdout
        self.assertEqual(output.splitlines(), os.listdir(CAPTURE))
        wait_until(lambda: saved(5000) == content, "all is saved")

    def test_install_opens_the_ports_and_starts_nothing(self):
        dpkg("--install", *debs())
        self.assertEqual(systemctl("is-enabled", SOCKET).stdout, "enabled\n")
        self.assertEqual(prop("ActiveState", SOCKET), "active")
        self.assertEqual(systemctl("is-enabled", SERVICE, check=False).stdout, "disabled\n")
        self.assertEqual(prop("ActiveState"), "inactive")
        with open(CONFIG, encoding="utf-8") as ours, \
             open(PACKAGES + "/stream-serverd.toml", encoding="utf-8") as example:
            self.assertEqual(ours.read(), example.read())
        run("stream-serverd", "check")
        for program in ("stream-serverd", "pcap2stream", "stream-chat"):
            self.assertIn(program, run(program, "--version").stdout)
        for path in ("man8/stream-serverd.8", "man8/stream-worker.8", "man7/stream-protocols.7",
                     "man5/stream-serverd.toml.5", "man1/pcap2stream.1", "man1/stream-chat.1"):
            self.assertTrue(os.path.exists(f"/usr/share/man/{path}.gz"), path)
        self.assertTrue(os.path.exists("/usr/share/bash-completion/completions/stream-serverd"))

    def test_the_service_can_be_enabled_without_its_socket(self):
        dpkg("--install", *debs())
        systemctl("disable", "--now", SOCKET)
        systemctl("enable", "--now", SERVICE)
        self.addCleanup(systemctl, "disable", "--now", SERVICE)
        self.assertEqual(prop("StatusText"), "3 of 3 ports up")
        send(5001, b"bound by itself", host="::1")
        self.assertEqual(saved(5001), b"bound by itself")

    def test_remove_ends_it_and_keeps_configuration_and_captures(self):
        dpkg("--install", *debs())
        send(5000, b"captured")
        with open(CONFIG, "a", encoding="utf-8") as file:
            file.write("# ours\n")
        dpkg("--remove", "stream-serverd")
        self.assertEqual(prop("ActiveState"), "inactive")
        self.assertEqual(prop("ActiveState", SOCKET), "inactive")
        with self.assertRaises(ConnectionRefusedError):
            connect(5000)
        self.assertTrue(os.path.exists(CONFIG))
        dpkg("--purge", "stream-serverd")
        self.assertFalse(os.path.exists(os.path.dirname(CONFIG)))
        self.assertEqual(saved(5000), b"captured")
        self.assertEqual(subprocess.run(["sh", "-c", "ls -d /etc/systemd/system/*/stream-serverd*"],
                                        capture_output=True, check=False).stdout, b"")

    def test_upgrade_keeps_connections_and_starts_nothing(self):
        dpkg("--install", *debs())
        with open(CONFIG, "a", encoding="utf-8") as file:
            file.write("# ours\n")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            self.upgrade_twice([newer(deb, directory) for deb in debs()])
        with open(CONFIG, encoding="utf-8") as file:
            self.assertTrue(file.read().endswith("# ours\n"))

    def upgrade_twice(self, newer_debs):
        dpkg("--install", *newer_debs)
        self.assertEqual(prop("ActiveState"), "inactive")
        self.assertEqual(prop("ActiveState", SOCKET), "active")
        with connect(5000) as peer:
            peer.sendall(b"before;")
            wait_until(lambda: saved(5000) == b"before;", "what was sent is saved")
            pid = main_pid()
            dpkg("--install", *newer_debs)
            self.assertNotIn(main_pid(), (0, pid))
            peer.sendall(b"after;")
            wait_until(lambda: saved(5000) == b"before;after;", "the connection goes on")
        send(5000, b"another")
        self.assertEqual(saved(5000), b"before;after;another")
