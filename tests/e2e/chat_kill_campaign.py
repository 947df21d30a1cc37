#!/usr/bin/env python3
"""Kills the chat worker again and again under pipelined load and looks at every message and reply.

Usage: chat_kill_campaign.py --bin DIR [--kills N] [--seed N]
"""
import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CLIENTS = 6
WINDOW = 500  # messages of a client without their OK
PATIENCE = 60  # seconds for what is under way


class Client:
    """Sends numbered messages to the next one, and keeps what it is told."""

    def __init__(self, port, number, seed):
        self.number = number
        self.random = random.Random(seed * 100 + number)
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.lines = self.socket.makefile("rb")
        self.sent = 0
        self.acknowledged = []
        self.received = []
        self.unexpected = []
        self.socket.sendall(b"HELO c%d\n" % number)
        if not self.lines.readline().startswith(b"HELO,c%d," % number):
            raise RuntimeError("no HELO")

    def read(self):
        try:
            for line in self.lines:
                if line.startswith(b"OK,SENDMSG,"):
                    self.acknowledged.append(int(line[11:]))
                elif line.startswith(b"SENDMSG,c%d,c" % self.number) and line.endswith(b".\n"):
                    self.received.append(int(line.split(b",", 3)[3].split(b" ")[0]))
                else:
                    self.unexpected.append(line)
        except OSError as error:
            self.unexpected.append(str(error).encode())

    def write(self, stop):
        to = (self.number + 1) % CLIENTS
        while not stop.is_set():
            chunk = b""
            for _ in range(self.random.randint(1, 60)):
                filling = b"x" * self.random.randint(0, 80)
                chunk += b"SENDMSG c%d %d %s.\n" % (to, self.sent, filling)
                self.sent += 1
            cut = self.random.randint(0, len(chunk))
            self.socket.sendall(chunk[:cut])
            if self.random.random() < 0.3:
                time.sleep(0.001)
            self.socket.sendall(chunk[cut:])
            while self.sent - len(self.acknowledged) > WINDOW and not stop.is_set():
                time.sleep(0.001)


def titled_children(pid, port):
    """Workers, and keepers whose worker is dead."""
    found = []
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        for child in children.read().split():
            try:
                with open(f"/proc/{child}/cmdline", encoding="ascii") as title:
                    if f":{port}" in title.read():
                        found.append(int(child))
            except OSError:
                pass
    return found


def wait_for(condition, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.001)
    return found


class Killer:
    """Kills one worker after the other: most in their work, some while they still take over."""

    def __init__(self, server, port, log_path, seed, clients):
        self.server, self.port, self.clients = server, port, clients
        self.log = open(log_path, encoding="utf-8")
        self.random = random.Random(seed)
        self.text = ""  # of the log
        self.gone = set()  # workers, and their keepers
        self.killed = self.early = 0

    def worker(self):
        for pid in titled_children(self.server, self.port):
            if pid not in self.gone:
                return pid
        return None

    def is_ready(self, pid):
        self.text += self.log.read()
        return self.killed == 0 or f" worker {pid} is up, restart " in self.text

    def acknowledged(self):
        return sum(len(client.acknowledged) for client in self.clients)

    def kill_one(self):
        """False: there is no worker, or it does not work."""
        early = self.random.random() < 0.1
        pid = wait_for(self.worker)
        if pid is None or not (early or wait_for(lambda: self.is_ready(pid))):
            return False
        before = self.acknowledged()
        if not early and not wait_for(lambda: self.acknowledged() > before):
            return False
        time.sleep(self.random.uniform(0, 0.02 if early else 0.05))
        self.gone |= {pid, *titled_children(pid, self.port)}
        os.kill(pid, signal.SIGKILL)
        self.killed += 1
        self.early += early
        return True


def judge(clients):
    complaints = []
    for client in clients:
        following = clients[(client.number + 1) % CLIENTS]
        if client.unexpected:
            complaints.append(f"c{client.number} was told {client.unexpected[:3]}")
        if len(client.acknowledged) != client.sent:
            complaints.append(f"c{client.number}: {client.sent} sent, {len(client.acknowledged)} OK")
        if following.received != list(range(client.sent)):
            complaints.append(f"c{client.number}: {client.sent} sent, {len(following.received)} "
                              f"delivered, {len(set(following.received))} different")
    ids = [one for client in clients for one in client.acknowledged]
    if len(set(ids)) != len(ids):
        complaints.append("a message id was given twice")
    return complaints


CONFIG = """[daemon]
user = ""
[restart]
rate = 1000
initial = "1ms"
maximum = "1ms"
quarantine_after = 1000
quarantine_window = "1s"
[[service]]
name = "chat"
protocol = "chat"
listen = ["127.0.0.1:{port}"]
output = "output"
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.bin = os.path.abspath(options.bin)
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        log_path = f"{directory}/log"
        with open(f"{directory}/config.toml", "w", encoding="utf-8") as config:
            config.write(CONFIG.format(port=port))
        with open(log_path, "wb") as log:
            server = subprocess.Popen([f"{options.bin}/stream-serverd", "--runtime-dir",
                                       f"{directory}/run", "-c", "config.toml"],
                                      cwd=directory, stderr=log)
        try:
            while "ports up" not in open(log_path, encoding="utf-8").read():
                time.sleep(0.01)
            clients = [Client(port, number, options.seed) for number in range(CLIENTS)]
            stop = threading.Event()
            writers = [threading.Thread(target=client.write, args=(stop,)) for client in clients]
            for thread in writers + [threading.Thread(target=client.read, daemon=True)
                                     for client in clients]:
                thread.start()
            killer = Killer(server.pid, port, log_path, options.seed, clients)
            while killer.killed < options.kills and killer.kill_one():
                pass
            stop.set()
            for thread in writers:
                thread.join()
            wait_for(lambda: not judge(clients))
            complaints = judge(clients)
            if killer.killed < options.kills:
                complaints.append(f"no worker that works after {killer.killed} kills")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        text = open(log_path, encoding="utf-8").read()
        complaints += [line for line in text.splitlines() if " error: " in line][:10]
    print(f"{killer.killed} kills, {killer.early} of them before the worker was ready; "
          f"{sum(client.sent for client in clients)} messages")
    print(f"{text.count('went on with')} workers went on with the connections")
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
