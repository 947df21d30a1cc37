"""Google Benchmark's figures for the parts by themselves."""

import json

from processes import BenchError
from setting import Line, Setting


def micro(setting: Setting) -> list[Line]:
    directory = setting.new_directory()
    out = directory / "micro.json"
    with open(directory / "log", "wb") as log:
        process = setting.processes.start(
            [setting.program("bench_micro"), f"--benchmark_out={out}",
             "--benchmark_out_format=json",
             f"--benchmark_min_time={setting.amount(0.2, 0.05, 0.001)}"], stdout=log, stderr=log)
    try:
        process.require_success(120)
    except BenchError as error:
        raise BenchError(f"{error}:\n{(directory / 'log').read_text()[-2000:]}")
    items = json.loads(out.read_text())["benchmarks"]
    return [_line(item) for item in items] + _compared(items)


def _line(item: dict) -> Line:
    if item.get("error_occurred"):
        raise BenchError(f"{item['name']}: {item['error_message']}")
    return Line("micro", item["name"], f"{item['real_time']:,.1f} {item['time_unit']}",
                samples={"cpu_time": item["cpu_time"], "time_unit": item["time_unit"]})


def _compared(items: list[dict]) -> list[Line]:
    """The packets service's events beside Boost.JSON's values."""
    times = {item["name"]: item["cpu_time"] for item in items}
    lines = []
    for payload in (64, 1400):
        ours = times[f"packet_event/payload:{payload}"]
        values = times[f"packet_event_by_values/payload:{payload}"]
        lines.append(Line("micro", f"packet of {payload} bytes to its event: CPU", f"{ours:.0f} ns",
                          f"{values:,.0f} ns Boost.JSON values", values / ours, ">= 5",
                          values / ours >= 5))
    return lines


ROWS = {"micro": micro}
