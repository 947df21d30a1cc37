"""The table, the JSON and the plot."""

import json
import os
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Sequence

from setting import Line

HEADINGS = ("row", "what", "ours", "peer", "ratio", "target", "reached")


def _cells(line: Line) -> tuple[str, ...]:
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
    reached = "" if line.reached is None else "yes" if line.reached else "NO"
    return line.row, line.what, line.ours, line.peer, ratio, line.target, reached


def table(lines: Sequence[Line]) -> str:
    rows = [HEADINGS, *map(_cells, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                     for row in rows)


def markdown(lines: Sequence[Line]) -> str:
    """The table as it stands in the README; micro-benchmarks are left to the JSON."""
    rows = ["| work | ours | beside it | ratio | wanted |", "| --- | --- | --- | --- | --- |"]
    for line in lines:
        if line.row == "micro":
            continue
        _, what, ours, peer, ratio, target, _ = _cells(line)
        target = target.replace("<=", "≤").replace(">=", "≥")
        missed = ", **missed**" if line.reached is False else ""
        rows.append(f"| {what} | {ours} | {peer} | {ratio} | {target}{missed} |")
    return "\n".join(rows) + "\n"


def _first_after(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return "unknown"


def machine() -> dict[str, object]:
    return {"cpu": _first_after("/proc/cpuinfo", "model name"), "cores": os.cpu_count(),
            "memory": _first_after("/proc/meminfo", "MemTotal"), "kernel": platform.release(),
            "load_average": os.getloadavg()[0]}


def write_json(path: Path, lines: Sequence[Line], plots: dict, about: dict) -> None:
    document = {"at": datetime.now(timezone.utc).isoformat(timespec="seconds"), **about,
                "rows": [asdict(line) for line in lines], "plots": plots}
    path.write_text(json.dumps(document, indent=1) + "\n")
