"""Starting, measuring and ending processes. Every one is ended by its pid, whatever happens."""

import ctypes
import os
import select
import signal
import subprocess
import time
from pathlib import Path
from typing import Callable, Optional, Sequence

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """The harness cannot go on: something that is measured does not work."""


def _before_exec() -> None:
    """The child must not outlive us, even if we are killed; and it heeds its own signals only."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setpgid(0, 0)


def wait_until(condition: Callable[[], bool], what: str, patience: float = 20) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {patience:g} s in vain: {what}")
        time.sleep(0.002)


class Process:
    """A program that was started; `cpu_seconds` is known when it has ended."""

    def __init__(self, arguments: Sequence[str], **options) -> None:
        self.name = os.path.basename(arguments[0])
        self.popen = subprocess.Popen(arguments, preexec_fn=_before_exec, **options)
        self.pid = self.popen.pid
        self._pidfd = os.pidfd_open(self.pid)
        self.code: Optional[int] = None
        self.cpu_seconds = 0.0

    def ended_within(self, patience: float) -> bool:
        """Reaps it, with what it and its reaped children have used (wait4(2))."""
        if self.code is not None:
            return True
        if not select.select([self._pidfd], [], [], patience)[0]:
            return False
        _, status, usage = os.wait4(self.pid, 0)
        self.code = self.popen.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        os.close(self._pidfd)
        return True

    def require_success(self, patience: float) -> None:
        if not self.ended_within(patience):
            raise BenchError(f"{self.name} did not end within {patience:g} s")
        if self.code != 0:
            raise BenchError(f"{self.name} ended with {self.code}")

    def output(self, patience: float) -> str:
        """All of its standard output, when it has ended well."""
        with self.popen.stdout as out:
            text = out.read()
        self.require_success(patience)
        return text

    def send(self, number: int) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    def end(self, number: int = signal.SIGTERM, patience: float = 10) -> None:
        self.send(number)
        if not self.ended_within(patience):
            self.send(signal.SIGKILL)
            self.ended_within(patience)


class ProcessGroup:
    """All processes that the harness has started and that may still run."""

    def __init__(self) -> None:
        self._processes: list[Process] = []

    def start(self, arguments: Sequence[str], **options) -> Process:
        self._processes = [item for item in self._processes if item.code is None]
        process = Process(arguments, **options)
        self._processes.append(process)
        return process

    def end_all(self) -> None:
        for process in self._processes:
            process.end(patience=3)


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(item) for item in text.split()]


def descendants_of(pid: int) -> list[int]:
    found = []
    for child in children_of(pid):
        found += [child, *descendants_of(child)]
    return found


def cpu_seconds_of(pids: Sequence[int]) -> float:
    """What running processes of one thread each have used: user and system, to the nanosecond."""
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in pids) / 1e9


def private_dirty_of(pid: int) -> int:
    """Bytes of Private_Dirty, without ledgers: a ledger is shared memory, but the kernel calls
    pages private that only one process has mapped so far."""
    total = 0
    counted = True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            counted = not (len(words) > 5 and words[5].startswith("/memfd:"))
        elif words[0] == "Private_Dirty:" and counted:
            total += int(words[1]) * 1024
    return total


def open_files_of(pid: int) -> list[str]:
    paths = []
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            paths.append(os.readlink(entry.path))
    except OSError:
        pass  # it, or one of its descriptors, has gone
    return paths


def is_listening(port: int) -> bool:
    suffix = f":{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        for line in table:
            words = line.split()
            if words[3] == "0A" and words[1].endswith(suffix):
                return True
    return False
