"""Clients that send at a steady rate and know every byte, to compare with what was saved."""

import os
import socket
import threading
import time

from machine import connect

BLOCK = 65536
_NOISE = os.urandom(BLOCK)


class Sender(threading.Thread):
    """One connection. Its stream is blocks, each of them its own number, the sender's, and noise."""

    def __init__(self, number, port, bytes_a_second):
        super().__init__(daemon=True)
        self.number = number
        self.interval = BLOCK / bytes_a_second
        self.sent = 0
        self.error = None
        self._ended = threading.Event()
        self._peer = connect(port)
        self._peer.settimeout(60)

    def _block(self, index):
        return self.number.to_bytes(8, "big") + index.to_bytes(8, "big") + _NOISE[16:]

    def run(self):
        try:
            due = time.monotonic()
            while not self._ended.is_set():
                self._peer.sendall(self._block(self.sent // BLOCK))
                self.sent += BLOCK
                due = max(due + self.interval, time.monotonic() - 1)
                time.sleep(max(0, due - time.monotonic()))
            self._peer.shutdown(socket.SHUT_WR)
            if self._peer.recv(1) != b"":
                self.error = "the server sent something"
        except OSError as error:
            self.error = str(error)
        finally:
            self._peer.close()

    def end(self):
        self._ended.set()

    def difference(self, path):
        """What is wrong with the file, or nothing."""
        with open(path, "rb") as file:
            for index in range(self.sent // BLOCK):
                if file.read(BLOCK) != self._block(index):
                    return f"{path}: differs within block {index} of {self.sent // BLOCK}"
            if file.read(1):
                return f"{path}: longer than the {self.sent} bytes sent"
        return None


class Load:
    """`count` connections spread over `ports`, which together send so many bytes a second."""

    def __init__(self, ports, count, bytes_a_second):
        self.senders = [Sender(i, ports[i % len(ports)], bytes_a_second / count)
                        for i in range(count)]
        for sender in self.senders:
            sender.start()

    def sent(self):
        return sum(sender.sent for sender in self.senders)

    def least_sent(self):
        return min(sender.sent for sender in self.senders)

    def finish(self, directory):
        """Ends it; every error, and every difference from the files, one for each connection."""
        for sender in self.senders:
            sender.end()
        for sender in self.senders:
            sender.join(90)
        wrong = [f"connection {sender.number}: {sender.error}, after {sender.sent} bytes"
                 for sender in self.senders if sender.error or sender.is_alive()]
        files = {}
        for name in os.listdir(directory):
            with open(f"{directory}/{name}", "rb") as file:
                files.setdefault(int.from_bytes(file.read(8), "big"), []).append(name)
        for sender in self.senders:
            names = files.get(sender.number, [])
            if len(names) != 1:
                wrong.append(f"connection {sender.number}: files {names}")
            else:
                difference = sender.difference(f"{directory}/{names[0]}")
                wrong += [difference] if difference else []
        return wrong
