"""Many bytes: one connection, many ports, many clients."""

from typing import Callable

import peers
from server import Server
from setting import MIB, Line, Sample, Setting, median_of, paired_ratio


def _rate(sample: Sample) -> float:
    return sample.rate


def _cpu(sample: Sample) -> float:
    return sample.cpu_per_gb


def _rates(samples: dict[str, list[Sample]]) -> dict:
    return {name: {"gb_per_s": [s.rate / 1e9 for s in values],
                   "cpu_s_per_gb": [s.cpu_per_gb for s in values]}
            for name, values in samples.items()}


def _gb_per_s(samples: list[Sample]) -> str:
    return f"{median_of(samples, _rate) / 1e9:.2f} GB/s"


def _faster(row: str, what: str, samples: dict[str, list[Sample]], peer: str,
            least: float) -> Line:
    ratio = paired_ratio(samples["ours"], samples[peer], _rate)
    return Line(row, what, _gb_per_s(samples["ours"]), f"{_gb_per_s(samples[peer])} {peer}", ratio,
                f">= {least:g}", ratio >= least)


def _cheaper(row: str, what: str, samples: dict[str, list[Sample]], peer: str,
             most: float) -> Line:
    ratio = paired_ratio(samples["ours"], samples[peer], _cpu)
    return Line(row, what, f"{median_of(samples['ours'], _cpu):.3f} s/GB",
                f"{median_of(samples[peer], _cpu):.3f} s/GB {peer}", ratio, f"<= {most:g}",
                ratio <= most, _rates(samples))


def _least_cpu(what: str, samples: dict[str, list[Sample]], peer: str) -> Line:
    """Of the best rounds: where a virtual machine first has to get memory for the page cache from
    its host, that falls on some runs and not on others, and medians say little."""
    ours, least = (min(map(_cpu, samples[name])) for name in ("ours", peer))
    return Line("bulk", what, f"{ours:.3f} s/GB", f"{least:.3f} s/GB {peer}", ours / least)


def _bulk_on(setting: Setting, on_disk: bool) -> list[Line]:
    full, quick = (2048, 256) if on_disk else (4096, 1024)
    size = setting.amount(full, quick, 64) * MIB
    slow_size = size // 8  # rates are compared, and the slow ones take several times as long
    server = Server(setting, on_disk=on_disk)

    def ours() -> Sample:
        return server.measure(lambda: setting.load("bulk", server.ports, bytes=size), size, size)

    def peer(command: peers.Command, amount: int) -> Callable[[], Sample]:
        return lambda: peers.measure(setting, command,
                                     lambda ports: setting.load("bulk", ports, bytes=amount),
                                     amount, amount, on_disk=on_disk)

    contenders = {"ours": ours, "bare loop": peer(peers.bare("bulk"), size)}
    if not setting.smoke:
        contenders["socat -b 1M"] = peer(peers.socat_tuned, size)
    if not setting.smoke and not on_disk:
        contenders["socat"] = peer(peers.socat_default, slow_size)
        contenders["ncat"] = peer(peers.ncat, slow_size)
    samples = setting.alternate(contenders)
    server.stop()
    where = "disk" if on_disk else "memory"
    lines = [_cheaper("bulk", f"CPU, one connection of {size // MIB} MiB to {where}", samples,
                      "bare loop", 1.1)]
    if on_disk:
        lines.append(_least_cpu("CPU, the same, in the best round of each", samples, "bare loop"))
    for name, least in (("socat -b 1M", 0.95), ("socat", 3), ("ncat", 3)):
        if name in samples:
            lines.append(_faster("bulk", f"speed, the same to {where}", samples, name, least))
    return lines


def bulk(setting: Setting) -> list[Line]:
    return _bulk_on(setting, False) + _bulk_on(setting, True)


def ports16(setting: Setting) -> list[Line]:
    size = setting.amount(128, 32, 4) * MIB
    server = Server(setting, 16)

    def ours() -> Sample:
        return server.measure(lambda: setting.load("bulk", server.ports, bytes=size), 16 * size,
                              16 * size)

    def peer() -> Sample:
        return peers.measure(setting, peers.socat_tuned,
                             lambda ports: setting.load("bulk", ports, bytes=size), 16 * size,
                             16 * size, ports=16)

    samples = setting.alternate({"ours": ours, "16 socat -b 1M": peer})
    server.stop()
    line = _faster("ports16", "16 connections on 16 ports", samples, "16 socat -b 1M", 1)
    line.samples = _rates(samples)
    return [line]


def fan(setting: Setting) -> list[Line]:
    size = setting.amount(32, 8, 1) * MIB
    one, many = Server(setting, 1), Server(setting, 64)

    def on_one() -> Sample:
        return one.measure(lambda: setting.load("bulk", one.ports, bytes=size, clients=64),
                           64 * size, 64 * size)

    def on_many() -> Sample:
        return many.measure(lambda: setting.load("bulk", many.ports, bytes=size), 64 * size,
                            64 * size)

    samples = setting.alternate({"one": on_one, "many": on_many})
    one.stop()
    many.stop()
    return [Line("fan", "64 clients on one port against 64 on 64 ports",
                 _gb_per_s(samples["one"]), f"{_gb_per_s(samples['many'])} on 64 ports",
                 paired_ratio(samples["one"], samples["many"], _rate), samples=_rates(samples))]


ROWS = {"bulk": bulk, "ports16": ports16, "fan": fan}
