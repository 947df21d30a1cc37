#!/usr/bin/env python3
"""The example page in a real browser: etc/packets.html must show packets as they pass.

Usage: packets_page_test.py <directory of the built programs>, as root. Runs itself again in a
network namespace of its own, which is gone with it, so that every port is free.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Callable, Iterator

PAGE = Path(__file__).resolve().parents[2] / "etc" / "packets.html"
PORT = 5555  # whose packets are shown
DRIVER = "http://127.0.0.1:9515"
PATIENCE = 60


@contextlib.contextmanager
def running(arguments: list[str], log: Path) -> Iterator[None]:
    """A program with its children in a process group of its own, ended with it."""
    with open(log, "wb") as out:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   start_new_session=True)
    try:
        yield
    except BaseException:
        print(f"{arguments[0]}:\n{log.read_text(errors='replace')[-3000:]}", file=sys.stderr)
        raise
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: waited {PATIENCE} s for {what}")
        time.sleep(0.05)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def command(method: str, path: str, body: dict | None = None):
    """Says something to chromedriver (https://www.w3.org/TR/webdriver2/)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(DRIVER + path, data, {"Content-Type": "application/json"},
                                     method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return json.load(response)["value"]


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[str]:
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
    options = {"binary": shutil.which("chromium"), "args": arguments}
    made = command("POST", "/session",
                   {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
    session = f"/session/{made['sessionId']}"
    try:
        yield session
    finally:
        command("DELETE", session)


def shown(session: str) -> str:
    return command("POST", session + "/execute/sync",
                   {"script": "return document.getElementById('packets').textContent",
                    "args": []})


def open_page(session: str, query: str) -> None:
    command("POST", session + "/url", {"url": PAGE.as_uri() + query})


def check_udp_and_tcp(session: str) -> None:
    """The stream may begin at any time after the page: packets are sent until one is shown."""
    open_page(session, f"?i=lo&p={PORT}")
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.bind(("127.0.0.1", 0))
    udp = f"udp 127.0.0.1:{sender.getsockname()[1]} > 127.0.0.1:{PORT} hello by UDP"

    def udp_is_shown() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            sender.sendto(b"hello by UDP", ("127.0.0.1", PORT))
        return udp in shown(session)

    eventually(udp_is_shown, f"'{udp}' on the page")
    sender.sendto(b"to another port", ("127.0.0.1", PORT + 1))
    with socket.create_server(("127.0.0.1", PORT)) as server, \
            socket.create_connection(("127.0.0.1", PORT)) as client:
        accepted, _ = server.accept()
        client.sendall(b"hello by TCP")
        tcp = f"tcp 127.0.0.1:{client.getsockname()[1]} > 127.0.0.1:{PORT} hello by TCP"
        eventually(lambda: tcp in shown(session), f"'{tcp}' on the page")
        accepted.close()
    if "to another port" in shown(session):
        raise SystemExit("FAILED: a packet is shown that was not asked for")


def check_error(session: str) -> None:
    open_page(session, "?i=nosuch0")
    text = "nosuch0: No such device exists (No such device exists)"
    eventually(lambda: text in shown(session), f"'{text}' on the page")


def run(programs: Path, work: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    server = [str(programs / "stream-serverd"), "--runtime-dir", str(work / "run"), "packets",
              "-port", "8080"]
    with running(server, work / "server.log"), \
            running(["chromedriver", "--port=9515"], work / "driver.log"):
        eventually(lambda: answers(8080) and answers(9515), "server and chromedriver")
        with browser(work / "profile") as session:
            check_udp_and_tcp(session)
            check_error(session)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 64
    if os.environ.get("PACKETS_PAGE_NAMESPACE") is None:
        os.environ["PACKETS_PAGE_NAMESPACE"] = "own"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as work:
        os.environ["HOME"] = work
        run(Path(sys.argv[1]).resolve(), Path(work))
    print("the page showed UDP, TCP and an error as they came")
    return 0


if __name__ == "__main__":
    sys.exit(main())
