"""What tests inside the guest do with systemd, the service and its ports."""

import json
import os
import shutil
import socket
import subprocess
import time
import unittest

SERVICE = "stream-serverd.service"
SOCKET = "stream-serverd.socket"
CONFIG = "/etc/stream-serverd/stream-serverd.toml"
STATE = "/var/lib/stream-serverd"
CAPTURE = STATE + "/capture"
PORTS = (5000, 5001, 5002)

DEFAULT_CONFIG = """
[[service]]
name = "capture"
protocol = "stream"
listen = ["127.0.0.1:5000-5002", "[::1]:5000-5002"]
output = "/var/lib/stream-serverd/capture"
"""


def run(*command, check=True, **options):
    """The finished process, with its output as text; a failure is an error that shows it."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          stdin=subprocess.DEVNULL, timeout=60, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: status {done.returncode}\n{done.stdout}")
    return done


def systemctl(*arguments, check=True):
    return run("systemctl", *arguments, check=check)


def prop(name, unit=SERVICE):
    return systemctl("show", "-P", name, unit).stdout.strip()


def main_pid():
    return int(prop("MainPID"))


def journal(*arguments):
    run("journalctl", "--sync")
    return run("journalctl", "--no-pager", "-o", "cat", "-u", SERVICE, *arguments).stdout


def wait_until(condition, what, seconds=10):
    """The first true value of `condition`; fails if there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}\n"
                                 + run("systemctl", "status", "--no-pager", "-n", "40", SERVICE,
                                       SOCKET, check=False).stdout)
        time.sleep(0.02)


def write_config(text):
    os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
    with open(CONFIG, "w", encoding="utf-8") as file:
        file.write(text)


def drop_in(text, unit=SERVICE):
    """Overrides settings of the unit until reset()."""
    directory = f"/run/systemd/system/{unit}.d"
    os.makedirs(directory, exist_ok=True)
    with open(directory + "/test.conf", "w", encoding="utf-8") as file:
        file.write(text)
    systemctl("daemon-reload")


def reset():
    """Both units stopped, nothing captured, nothing overridden."""
    systemctl("stop", SOCKET, SERVICE)
    systemctl("reset-failed", check=False)
    for unit in (SERVICE, SOCKET):
        shutil.rmtree(f"/run/systemd/system/{unit}.d", ignore_errors=True)
    systemctl("daemon-reload")
    shutil.rmtree(CAPTURE, ignore_errors=True)
    write_config(DEFAULT_CONFIG)


def connect(port, host="127.0.0.1"):
    return socket.create_connection((host, port), timeout=20)


def send(port, data, host="127.0.0.1"):
    """Sends and waits for the end of the connection, so that all of it is saved."""
    with connect(port, host) as peer:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        peer.recv(1)


def saved(port, directory=CAPTURE):
    """Everything that was saved of a port, in the order of its files."""
    content = b""
    names = os.listdir(directory) if os.path.isdir(directory) else []
    for name in sorted(names, key=lambda name: name.removesuffix(".bin")):
        if name.startswith(f"stream_{port}_"):
            with open(f"{directory}/{name}", "rb") as file:
                content += file.read()
    return content


def status():
    return json.loads(run("stream-serverd", "status", "--json", check=False).stdout)


class SystemTest(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        reset()
        self.addCleanup(reset)
