"""Other programs, and the bare loops, that do the same work as the server."""

import os
from pathlib import Path
from subprocess import DEVNULL
from typing import Callable, Sequence

from processes import BenchError, Process, is_listening, wait_until
from setting import LIFETIME, Sample, Setting, free_ports

BLOCK = 1 << 20  # what socat needs to be fast
CHUNK = 2 << 20  # the server's own

# A command line that serves one port and stores to one file.
Command = Callable[[Setting, int, Path], list[str]]


def socat_tuned(_: Setting, port: int, file: Path) -> list[str]:
    return ["socat", "-u", "-b", str(BLOCK), f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr",
            f"OPEN:{file},creat"]


def socat_default(_: Setting, port: int, file: Path) -> list[str]:
    return ["socat", "-u", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr", f"OPEN:{file},creat"]


def ncat(_: Setting, port: int, _file: Path) -> list[str]:
    return ["ncat", "--recv-only", "-l", "127.0.0.1", str(port)]


def tcpserver_cat(_: Setting, port: int, file: Path) -> list[str]:
    """A file for each connection, beside `file`; without look-ups and the limit of 40."""
    return ["tcpserver", "-H", "-R", "-l0", "-c", "1000", "127.0.0.1", str(port), "sh", "-c",
            f'exec cat >"{file}.$$"']


def bare(command: str) -> Command:
    return lambda setting, port, file: [
        setting.program("bench_bare"), command, "--port", str(port), "--file", str(file),
        "--chunk", str(CHUNK), "--lifetime", str(LIFETIME)]


def _start(setting: Setting, command: Command, port: int, directory: Path) -> Process:
    """What a program writes to standard output goes to the file too: ncat has no other."""
    file = directory / f"stored_{port}"
    with open(file, "wb") as out:
        process = setting.processes.start(command(setting, port, file), stdin=DEVNULL, stdout=out)
    wait_until(lambda: is_listening(port) or process.ended_within(0), f"{process.name} listens")
    return process


def _remove_stored(directory: Path, expected: int, name: str) -> None:
    entries = list(os.scandir(directory))
    stored = sum(entry.stat().st_size for entry in entries)
    for entry in entries:
        os.unlink(entry.path)
    os.rmdir(directory)
    if stored != expected:
        raise BenchError(f"{name} stored {stored} bytes of {expected}")


def measure(setting: Setting, command: Command, load: Callable[[Sequence[int]], dict],
            amount: float, stored: int, *, ports: int = 1, on_disk: bool = False,
            ends_by_itself: bool = True) -> Sample:
    """One process for each port, `load` on all of them, and what they used."""
    directory = setting.new_directory(on_disk)
    setting.warm(directory, stored)
    numbers = free_ports(ports)
    processes = [_start(setting, command, port, directory) for port in numbers]
    result = load(numbers)
    for process in processes:
        if ends_by_itself:
            process.require_success(30)
        else:
            process.end()
    _remove_stored(directory, stored, processes[0].name)
    return Sample(result["seconds"], sum(process.cpu_seconds for process in processes), amount)
