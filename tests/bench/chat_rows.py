"""The chat service: many messages at once, many clients that do nothing."""

import json
import os
import shutil
import signal
import sqlite3
import statistics
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE

from processes import BenchError, is_listening, private_dirty_of, wait_until
from server import Server
from setting import LIFETIME, Line, Sample, Setting, free_ports, median_of, paired_ratio

CLIENTS = 50
SIZE = 100
ROOM = 9_500
UNBOUNDED = "max_messages = 100000000\nmax_messages_per_recipient = 100000000"


def _load(setting: Setting, command: str, port: int, **options: int) -> list[str]:
    arguments = [setting.program("bench_chat_load"), command, "--port", str(port),
                 "--lifetime", str(LIFETIME)]
    for name, value in options.items():
        arguments += [f"--{name}", str(value)]
    return arguments


def _send(setting: Setting, port: int, count: int) -> dict:
    """Until every message has its OK."""
    command = _load(setting, "send", port, clients=CLIENTS, count=count, size=SIZE)
    process = setting.processes.start(command, stdin=DEVNULL, stdout=PIPE, text=True)
    return json.loads(process.output(LIFETIME + 10))


def _stored_messages(server: Server) -> int:
    """What is in the database after the worker was killed, and its successor has ended."""
    os.kill(server.workers()[0], signal.SIGKILL)
    server.process.end()
    database = sqlite3.connect(next(server.output.glob("*.db")))
    stored = database.execute("SELECT COUNT(*) FROM messages").fetchone()[0]
    database.close()
    return stored


def throughput(setting: Setting) -> list[Line]:
    count = setting.amount(600_000, 300_000, 5_000)
    fewer = setting.amount(100_000, 50_000, 1_000)
    commits: list[int] = []

    def ours() -> Sample:
        server = Server(setting, protocol="chat", own_keys=UNBOUNDED, log_level="debug")
        setting.warm(server.output, count * 500)
        before = server.cpu_seconds()
        result = _send(setting, server.ports[0], count)
        cpu = server.cpu_seconds() - before
        commits.append(server.log.read_text().count(": messages up to "))
        stored = _stored_messages(server)
        if stored != count:
            raise BenchError(f"{stored} messages are stored of {count} that have their OK")
        server.stop()
        return Sample(result["seconds"], cpu, count)

    def python() -> Sample:
        directory = setting.new_directory()
        setting.warm(directory, fewer * 500)
        port = free_ports(1)[0]
        process = setting.processes.start(
            [sys.executable, str(Path(__file__).parent / "chat_logger.py"), str(port),
             str(directory / "log")], stdin=DEVNULL)
        wait_until(lambda: is_listening(port), "the Python server listens")
        result = _send(setting, port, fewer)
        process.end()
        shutil.rmtree(directory)
        return Sample(result["seconds"], process.cpu_seconds, fewer)

    def bare() -> Sample:
        directory = setting.new_directory()
        setting.warm(directory, count * 500)
        process = setting.processes.start(
            [setting.program("bench_chat_bare"), "--database", str(directory / "bare.db"), "--clients", str(CLIENTS), "--count",
             str(count), "--size", str(SIZE), "--commits", str(commits[-1] if commits else 100)],
            stdin=DEVNULL, stdout=PIPE, text=True)
        result = json.loads(process.output(LIFETIME + 10))
        shutil.rmtree(directory)
        return Sample(result["seconds"], process.cpu_seconds, count)

    samples = setting.alternate({"ours": ours, "python": python, "bare": bare})

    def compare(what: str, peer: str, name: str, target: str, least: float) -> Line:
        ratio = paired_ratio(samples["ours"], samples[peer], lambda s: s.rate)
        return Line("chat", what, f"{median_of(samples['ours'], lambda s: s.rate):,.0f} msg/s",
                    f"{median_of(samples[peer], lambda s: s.rate):,.0f} msg/s {name}", ratio,
                    target, ratio >= least if target else None,
                    {key: {"per_s": [s.rate for s in samples[key]],
                           "cpu_us_each": [s.cpu * 1e6 / s.amount for s in samples[key]]}
                     for key in ("ours", peer)})

    batch = count / statistics.median(commits)
    return [compare(f"SENDMSG of {CLIENTS} pipelining clients, stored", "python",
                    "Python threads that only log", ">= 10", 10),
            compare(f"the same, {batch:,.0f} messages a transaction", "bare",
                    "bare loop, same rows and transactions", "", 0)]


def idle_clients(setting: Setting) -> list[Line]:
    count = setting.amount(5_000, 5_000, 100)
    rounds = setting.amount(500, 300, 20)

    def private(server: Server) -> int:
        return sum(map(private_dirty_of, server.worker_and_keeper()))

    def each() -> tuple[float, dict]:
        server = Server(setting, protocol="chat", max_connections=ROOM)
        without = private(server)
        load = setting.processes.start(
            _load(setting, "idle", server.ports[0], clients=count, count=rounds),
            stdin=PIPE, stdout=PIPE, text=True)
        if not load.popen.stdout.readline():
            raise BenchError("the idle clients could not be made")
        more = private(server) - without
        load.popen.stdin.write("\n")
        load.popen.stdin.flush()
        delivery = json.loads(load.popen.stdout.readline() or "{}")
        load.popen.stdin.close()
        load.output(60)
        server.stop()
        return more / count, delivery

    values = [each() for _ in range(setting.rounds)]
    memory = statistics.median(more for more, _ in values)
    delay = statistics.median(delivery["median_ms"] for _, delivery in values)
    return [Line("chat", f"private memory of a client, of {count:,} idle ones",
                 f"{memory:.0f} bytes", "", None, "<= 2048 bytes", memory <= 2048,
                 {"bytes": [more for more, _ in values]}),
            Line("chat", "a message between two of them: median", f"{delay:.2f} ms", "", None,
                 "<= 5 ms", delay <= 5, {"deliveries": [delivery for _, delivery in values]})]


ROWS = {"chat": lambda setting: throughput(setting) + idle_clients(setting)}
