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
    return [_line(item) for item in json.loads(out.read_text())["benchmarks"]]


def _line(item: dict) -> Line:
    if item.get("error_occurred"):
        raise BenchError(f"{item['name']}: {item['error_message']}")
    return Line("micro", item["name"], f"{item['real_time']:,.1f} {item['time_unit']}",
                samples={"cpu_time": item["cpu_time"], "time_unit": item["time_unit"]})


ROWS = {"micro": micro}
