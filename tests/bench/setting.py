"""What every row is given: the programs, the places to write to, how much to do."""

import json
import os
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Callable, Optional, Sequence, TypeVar

from processes import BenchError, Process, ProcessGroup

GB = 1_000_000_000
MIB = 1 << 20

LIFETIME = 240  # seconds after which any load ends itself
LEAST_ROUNDS = 3

T = TypeVar("T")


@dataclass
class Sample:
    """One run of one contender."""

    seconds: float
    cpu: float  # user and system seconds of the server's processes
    amount: float  # bytes, connections or messages

    @property
    def rate(self) -> float:
        return self.amount / self.seconds

    @property
    def cpu_per_gb(self) -> float:
        return self.cpu * GB / self.amount


@dataclass
class Line:
    """One line of the table."""

    row: str
    what: str
    ours: str
    peer: str = ""
    ratio: Optional[float] = None
    target: str = ""
    reached: Optional[bool] = None
    samples: dict = field(default_factory=dict)


class Setting:
    """Owns the temporary directories and every process; `close` leaves nothing behind."""

    def __init__(self, bin_dir: Path, rounds: int, quick: bool, smoke: bool) -> None:
        self.bin = bin_dir
        self.build = bin_dir.parent
        self.rounds = rounds
        self.quick = quick
        self.smoke = smoke
        self.processes = ProcessGroup()
        self.memory = Path(tempfile.mkdtemp(prefix="stream-serverd-bench-", dir="/dev/shm"))
        self.disk = Path(tempfile.mkdtemp(prefix="stream-serverd-bench-", dir=self.build))
        self.plots: dict[str, list] = {}

    def clear(self) -> None:
        """Ends what a row has left running, and deletes what it has left."""
        self.processes.end_all()
        for directory in (self.memory, self.disk):
            for entry in os.scandir(directory):
                shutil.rmtree(entry.path, ignore_errors=True)

    def close(self) -> None:
        self.clear()
        self.memory.rmdir()
        self.disk.rmdir()

    @staticmethod
    def warm(directory: Path, size: int) -> None:
        """Lets the kernel have `size` bytes of pages and blocks ready for the files of the next run
        in `directory`. A virtual machine gives free memory back to its host, and getting a page
        again costs several times what it costs to fill it; who pays for that would be chance.
        It helps less on disk, where the page cache takes memory in large pieces."""
        path = directory / "warm"
        block = bytes(MIB)
        with open(path, "wb", buffering=0) as file:
            for _ in range(size // MIB):
                file.write(block)
        path.unlink()

    def program(self, name: str) -> str:
        path = self.bin / name
        if not os.access(path, os.X_OK):
            raise BenchError(f"{path} is missing; build it first")
        return str(path)

    def amount(self, full: T, quick: T, smoke: T) -> T:
        return smoke if self.smoke else quick if self.quick else full

    def new_directory(self, on_disk: bool = False) -> Path:
        return Path(tempfile.mkdtemp(dir=self.disk if on_disk else self.memory))

    def load(self, command: str, ports: Sequence[int], **options: int) -> dict:
        """Runs the load generator to its end."""
        return json.loads(self._start_load(command, ports, options).output(LIFETIME + 10))

    def hold(self, port: int, count: int) -> "Held":
        return Held(self._start_load("hold", [port], {"clients": count}, stdin=PIPE))

    def _start_load(self, command: str, ports: Sequence[int], options: dict,
                    stdin: int = DEVNULL) -> Process:
        arguments = [self.program("bench_load"), command, "--ports", ",".join(map(str, ports))]
        arguments += ["--lifetime", str(LIFETIME)]
        for name, value in options.items():
            arguments += [f"--{name}", str(value)]
        return self.processes.start(arguments, stdin=stdin, stdout=PIPE, text=True)

    def alternate(self, contenders: dict[str, Callable[[], T]],
                  rounds: Optional[int] = None) -> dict[str, list[T]]:
        """Every contender once a round, in changing order, so that noise hits all alike. On a slow
        machine there are fewer rounds, but LEAST_ROUNDS."""
        samples: dict[str, list[T]] = {name: [] for name in contenders}
        wanted = rounds or self.rounds
        deadline = time.monotonic() + self.amount(130, 12, 60)
        for number in range(wanted):
            if number >= LEAST_ROUNDS and time.monotonic() > deadline:
                print(f"bench: {number} rounds instead of {wanted}, or it would take too long: "
                      f"{', '.join(map(str, contenders))}", file=sys.stderr)
                break
            for name in list(contenders) if number % 2 == 0 else reversed(list(contenders)):
                samples[name].append(contenders[name]())
        return samples


class Held:
    """Idle connections in a process of their own."""

    def __init__(self, process: Process) -> None:
        self._process = process
        if not process.popen.stdout.readline():
            raise BenchError("the idle connections could not be made")

    def release(self) -> None:
        self._process.popen.stdin.close()
        self._process.require_success(30)
        self._process.popen.stdout.close()


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> list[int]:
    """Consecutive ports, below the range that the kernel gives to connecting sockets."""
    for _ in range(1000):
        first = random.randrange(10_000, 32_000 - count)
        ports = list(range(first, first + count))
        if all(map(_can_bind, ports)):
            return ports
    raise BenchError(f"there are no {count} free ports in a row")


def median_of(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(figure(sample) for sample in samples)


def paired_ratio(ours: Sequence[Sample], peer: Sequence[Sample],
                 figure: Callable[[Sample], float]) -> float:
    """The median of the rounds' ratios: what slows a whole round down cancels out."""
    return statistics.median(figure(a) / figure(b) for a, b in zip(ours, peer))
