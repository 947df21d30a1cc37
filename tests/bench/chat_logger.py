#!/usr/bin/env python3
"""What the chat service is compared with: a thread for each client, every request is logged as the
service logs it, and answered; nothing is stored, no message is delivered.

Usage: chat_logger.py PORT LOG
"""
import itertools
import logging
import socketserver
import sys

NUMBERS = itertools.count(1)


class Client(socketserver.BaseRequestHandler):
    def handle(self):
        number = next(NUMBERS)
        rest = b""
        while data := self.request.recv(65536):
            *lines, rest = (rest + data).split(b"\n")
            answers = []
            for line in lines:
                logging.info("Client %d: %s", number, line.decode(errors="backslashreplace"))
                answers.append(self.answer(line))
            if answers:
                self.request.sendall(b"".join(answers))

    def answer(self, line):
        if line.startswith(b"SENDMSG "):
            return b"OK,SENDMSG,%d\n" % next(NUMBERS)
        return b"HELO," + line[5:] + b"\n"


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 1000


def main():
    logging.basicConfig(filename=sys.argv[2], level=logging.INFO,
                        format="[%(asctime)s] %(message)s", datefmt="%Y-%m-%d %H:%M:%S")
    with Server(("127.0.0.1", int(sys.argv[1])), Client) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
