"""The server that is measured: under its supervisor, or a worker alone."""

import fcntl
import os
import signal
import socket
import threading
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import Callable, Optional, Sequence

from processes import (BenchError, Process, children_of, cpu_seconds_of, descendants_of,
                       open_files_of, wait_until)
from setting import Sample, Setting, free_ports

START_PATIENCE = 30

# A kill at any moment is answered at once, as often as the harness kills.
RESTART_AT_ONCE = "rate = 1000"


def config_text(ports: Sequence[int], output: Path, *, max_connections: int = 4096,
                files: str = "per-port", restart: str = "", log_level: str = "info",
                protocol: str = "stream", own_keys: str = "", sandbox: str = "on") -> str:
    if protocol == "stream":
        own_keys = f'files = "{files}"'
    return f"""[daemon]
user = ""
log_level = "{log_level}"
sandbox = "{sandbox}"
[restart]
{restart}
[[service]]
name = "capture"
protocol = "{protocol}"
listen = ["127.0.0.1:{ports[0]}-{ports[-1]}"]
output = "{output}"
{own_keys}
max_connections = {max_connections}
"""


class Manager:
    """The other end of sd_notify(3). `keeps`: it has a store of descriptors, as systemd has."""

    def __init__(self, path: Path, keeps: bool) -> None:
        self.path = path
        self._keeps = keeps
        self._kept: dict[bytes, list[int]] = {}
        self._ending = False
        self._thread = threading.Thread(target=self._attend, daemon=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(0.1)

    def variables(self) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), **({"FDSTORE": "4096"} if self._keeps else {})}

    def wait_until_ready(self, process: Process, log: Path) -> None:
        """Afterwards it goes on listening only if it keeps descriptors: who still notifies then
        gets an error, and does not wait."""
        deadline = time.monotonic() + START_PATIENCE
        while b"READY=1" not in self._take():
            if time.monotonic() > deadline or process.ended_within(0):
                raise BenchError(f"the server did not start:\n{log.read_text()}")
        if self._keeps:
            self._thread.start()
        else:
            self.close()

    def require_use(self) -> None:
        if self._keeps and not self._kept:
            raise BenchError("nothing was ever given to the store of descriptors")

    def close(self) -> None:
        self._ending = True
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()
        self.path.unlink(missing_ok=True)
        for name in list(self._kept):
            self._forget(name)

    def _attend(self) -> None:
        while not self._ending:
            self._take()

    def _take(self) -> list[bytes]:
        """The lines of the next message; none within a moment: none."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 8192, 253)
        except TimeoutError:
            return []
        lines = message.split(b"\n")
        name = b"".join(line for line in lines if line.startswith(b"FDNAME="))
        if b"FDSTOREREMOVE=1" in lines:
            self._forget(name)
        if self._keeps and b"FDSTORE=1" in lines:
            self._kept.setdefault(name, []).extend(descriptors)
        else:
            for descriptor in descriptors:
                os.close(descriptor)
        return lines

    def _forget(self, name: bytes) -> None:
        for descriptor in self._kept.pop(name, []):
            os.close(descriptor)


class Ours:
    """What supervised and lone servers have in common."""

    def __init__(self, setting: Setting, ports: Sequence[int], on_disk: bool) -> None:
        self._setting = setting
        self.ports = list(ports)
        self.directory = setting.new_directory(on_disk)
        self.output = self.directory / "output"
        self.output.mkdir()
        self.config = self.directory / "config.toml"
        self.log = self.directory / "log"
        self.process: Process
        self.manager: Manager

    def _start(self, arguments: Sequence[str],
               variables: Optional[dict[str, str]] = None, *, store: bool = False,
               **options) -> None:
        self.manager = Manager(self.directory / "notify", store)
        environment = {**os.environ, **(variables or {}), **self.manager.variables()}
        begin = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = self._setting.processes.start(
                arguments, cwd=self.directory, stdin=DEVNULL, stdout=log, stderr=log,
                env=environment, **options)
        self.manager.wait_until_ready(self.process, self.log)
        self.started_in = time.monotonic() - begin

    def workers(self) -> list[int]:
        raise NotImplementedError

    def pids(self) -> list[int]:
        return [self.process.pid, *descendants_of(self.process.pid)]

    def cpu_seconds(self) -> float:
        return cpu_seconds_of(self.pids())

    def stored(self) -> int:
        return sum(entry.stat().st_size for entry in os.scandir(self.output))

    def clear(self) -> None:
        """Deletes the output. First the workers let go of it, or they would pay for the deletion
        themselves, and keep the memory until then."""
        self.process.send(signal.SIGUSR1)
        prefix = str(self.output) + "/"
        wait_until(lambda: not any(path.startswith(prefix) for pid in self.workers()
                                   for path in open_files_of(pid)), "the output is closed")
        for entry in os.scandir(self.output):
            os.unlink(entry.path)

    def measure(self, load: Callable[[], dict], amount: float, stored: int) -> Sample:
        """Runs `load`; what it sends must be in the output afterwards, all of it."""
        self._setting.warm(self.output, stored)
        before = self.cpu_seconds()
        result = load()
        cpu = self.cpu_seconds() - before
        if self.stored() != stored:
            raise BenchError(f"{self.stored()} bytes were stored, {stored} sent")
        self.clear()
        return Sample(result["seconds"], cpu, amount)

    def stop(self) -> None:
        self.manager.require_use()
        self.process.end()
        self.manager.close()
        if self.process.code != 0:
            raise BenchError(f"the server ended with {self.process.code}:\n{self.log.read_text()}")
        for entry in os.scandir(self.output):
            os.unlink(entry.path)


class Server(Ours):
    """stream-serverd, its workers and their keepers. `program` if it is not the built one; `store`:
    its service manager keeps descriptors for it."""

    def __init__(self, setting: Setting, ports: int = 1, *, on_disk: bool = False,
                 program: Optional[str] = None, store: bool = False,
                 variables: Optional[Callable[[Sequence[int]], dict[str, str]]] = None,
                 **config) -> None:
        super().__init__(setting, free_ports(ports), on_disk)
        self.config.write_text(config_text(self.ports, self.output, **config))
        self._start([program or setting.program("stream-serverd"), "--runtime-dir",
                              str(self.directory / "run"), "-c", str(self.config)],
                    variables(self.ports) if variables else None, store=store)

    def workers(self) -> list[int]:
        return children_of(self.process.pid)

    def worker_and_keeper(self) -> list[int]:
        """Of a server with one port."""
        worker = self.workers()[0]
        wait_until(lambda: len(children_of(worker)) == 1, "the worker has a keeper")
        return [worker, *children_of(worker)]


class LoneWorker(Ours):
    """stream-worker by itself, with a socket handed to it as systemd does: it has no keeper."""

    # sd_listen_fds(3) wants the socket as descriptor 3 and LISTEN_PID to be the worker's own.
    _HAND_OVER = 'exec 3<&"$0"-; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'

    def __init__(self, setting: Setting, **config) -> None:
        super().__init__(setting, free_ports(1), False)
        self.config.write_text(config_text(self.ports, self.output, **config))
        with socket.create_server(("127.0.0.1", self.ports[0]), backlog=4096) as listener:
            listener.setblocking(False)
            handed = fcntl.fcntl(listener, fcntl.F_DUPFD_CLOEXEC, 10)
        try:
            self._start(["bash", "-c", self._HAND_OVER, str(handed),
                                  setting.program("stream-worker"), "--config", str(self.config),
                                  "--service", "capture"], pass_fds=[handed])
        finally:
            os.close(handed)

    def workers(self) -> list[int]:
        return [self.process.pid]
