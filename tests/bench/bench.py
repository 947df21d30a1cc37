#!/usr/bin/env python3
"""Benchmarks of stream-serverd beside other programs and beside the bare system calls.

Ours and its peers take turns within one run; figures are medians, ratios are medians of the
rounds' ratios. Exit status 0 if everything ran, whether or not a target was reached; 1 if a row
could not be measured, which does not keep the others from it.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

import accio_rows
import admin_rows
import chat_rows
import crash_rows
import idle_rows
import micro_row
import packets_rows
import plot
import port_rows
import protection_rows
import report
import small_rows
import throughput_rows
from processes import BenchError
from setting import Line, Setting

ROWS = {**throughput_rows.ROWS, **small_rows.ROWS, **idle_rows.ROWS, **port_rows.ROWS,
        **crash_rows.ROWS, **protection_rows.ROWS, **accio_rows.ROWS,
        **chat_rows.ROWS, **admin_rows.ROWS, **packets_rows.ROWS, **micro_row.ROWS}
SLOW = ["packets-rate"]  # with --quick only if named


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, default=Path("build/bin"), help="the built programs")
    parser.add_argument("--quick", action="store_true",
                        help=f"smaller loads, 3 rounds, without {', '.join(SLOW)}; 2 minutes")
    parser.add_argument("--smoke", action="store_true",
                        help="least loads, without other people's programs: only whether it works")
    parser.add_argument("--only", default="", metavar="ROW,...", help=", ".join(ROWS))
    parser.add_argument("--rounds", type=int, metavar="N", help="5, with --quick 3")
    arguments = parser.parse_args()
    left_out = SLOW if arguments.quick else []
    arguments.only = [name for name in arguments.only.split(",") if name] or [
        name for name in ROWS if name not in left_out]
    for name in arguments.only:
        if name not in ROWS:
            parser.error(f"there is no row '{name}'; there are {', '.join(ROWS)}")
    if arguments.rounds is None:
        arguments.rounds = 3 if arguments.quick or arguments.smoke else 5
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    return arguments


def run_rows(setting: Setting, names: list[str]) -> tuple[list[Line], list[str]]:
    """The lines, and the names of rows that could not be measured."""
    lines: list[Line] = []
    failed = []
    for name in names:
        begin = time.monotonic()
        try:
            lines += ROWS[name](setting)
        except (BenchError, OSError) as error:  # OSError: a peer that is not installed
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed.append(name)
        setting.clear()
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return lines, failed


def show(setting: Setting, lines: list[Line], about: dict) -> None:
    print(report.table(lines))
    if setting.smoke:
        return
    results = setting.build / "bench"
    results.mkdir(exist_ok=True)
    report.write_json(results / "bench.json", lines, setting.plots, about)
    (results / "table.md").write_text(report.markdown(lines))
    for file in (results / "bench.json", results / "table.md", *plot.write_plots(setting, results)):
        print(f"written: {file}")


def interrupted(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one must not disturb the cleaning up
    raise KeyboardInterrupt


def main() -> int:
    arguments = parse_arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    about = {"machine": report.machine(), "rounds": arguments.rounds, "quick": arguments.quick}
    setting = Setting(arguments.bin.resolve(), arguments.rounds, arguments.quick, arguments.smoke)
    try:
        lines, failed = run_rows(setting, arguments.only)
        about["load_average_after"] = os.getloadavg()[0]
        about["not_measured"] = failed
        show(setting, lines, about)
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    finally:
        setting.close()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
