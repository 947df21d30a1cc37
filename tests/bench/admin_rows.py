"""What the administrator waits for: the views of a server with many ports and connections."""

import statistics
import subprocess
import time

from processes import BenchError
from server import Server
from setting import Line, Setting

PORTS = 200


def _milliseconds(setting: Setting, server: Server, *arguments: str) -> float:
    begin = time.monotonic()
    result = subprocess.run([setting.program("stream-serverd"), "--runtime-dir",
                             str(server.directory / "run"), *arguments], capture_output=True,
                            timeout=30, check=False)
    if result.returncode != 0 or not result.stdout:
        raise BenchError(f"{arguments[0]} failed: {result.stderr.decode()}")
    return (time.monotonic() - begin) * 1e3


def _line(what: str, samples: list[float], most: float) -> Line:
    median = statistics.median(samples)
    return Line("admin", what, f"{median:.1f} ms", "", None, f"<= {most:g} ms", median <= most,
                {"ms": samples})


def admin(setting: Setting) -> list[Line]:
    ports = setting.amount(PORTS, PORTS, 4)
    connections = setting.amount(5000, 5000, 20)
    server = Server(setting, ports, max_connections=8192)
    held = setting.hold(server.ports[0], connections)
    rounds = range(2 * setting.rounds + 1)
    status = [_milliseconds(setting, server, "status") for _ in rounds]
    listing = [_milliseconds(setting, server, "connections") for _ in rounds]
    held.release()
    server.stop()
    return [_line(f"status with {ports} ports", status, 50),
            _line(f"connections with {connections:,} of them", listing, 200)]


ROWS = {"admin": admin}
