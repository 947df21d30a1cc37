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
PATIENCE = 60  # seconds for what is under way at the end


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
            while self.sent - len(self.acknowledged) > 3000 and not stop.is_set():
                time.sleep(0.001)


def worker_of(server, port):
    with open(f"/proc/{server}/task/{server}/children", encoding="ascii") as children:
        for pid in children.read().split():
            try:
                with open(f"/proc/{pid}/cmdline", encoding="ascii") as title:
                    if f":{port}" in title.read():
                        return int(pid)
            except OSError:
                pass
    return None


def kill_often(server, port, log_path, kills, generator):
    done = 0
    deadline = time.monotonic() + 60 + kills
    while done < kills and time.monotonic() < deadline:
        time.sleep(generator.uniform(0.01, 0.06))
        with open(log_path, encoding="utf-8") as log:
            # Until then the child with this title may be the keeper.
            if log.read().count("went on with") < done:
                continue
        pid = worker_of(server, port)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            done += 1
    return done


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
        with open(log_path, "wb") as log:
            server = subprocess.Popen([f"{options.bin}/stream-serverd", "--runtime-dir",
                                       f"{directory}/run", "chat", str(port)],
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
            kills = kill_often(server.pid, port, log_path, options.kills,
                               random.Random(options.seed))
            stop.set()
            for thread in writers:
                thread.join()
            deadline = time.monotonic() + PATIENCE
            while judge(clients) and time.monotonic() < deadline:
                time.sleep(0.05)
            complaints = judge(clients)
            if kills < options.kills:
                complaints.append(f"only {kills} kills were possible")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        text = open(log_path, encoding="utf-8").read()
        complaints += [line for line in text.splitlines() if " error: " in line][:10]
    print(f"{kills} kills, {sum(client.sent for client in clients)} messages")
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
