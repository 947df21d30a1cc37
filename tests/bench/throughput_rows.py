"""Many bytes: one connection, many ports, many clients."""

from typing import Optional, Sequence

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


class _Contest:
    """One connection of `size` bytes to a file: the server and its peers."""

    def __init__(self, setting: Setting, size: int, on_disk: bool) -> None:
        self._setting = setting
        self._size = size
        self._on_disk = on_disk

    def _load(self, ports: Sequence[int]) -> dict:
        return self._setting.load("bulk", ports, bytes=self._size)

    def run(self, commands: dict[str, peers.Command],
            rounds: Optional[int] = None) -> dict[str, list[Sample]]:
        size = self._size
        server = Server(self._setting, on_disk=self._on_disk)
        contenders = {"ours": lambda: server.measure(lambda: self._load(server.ports), size, size)}
        for name, command in commands.items():
            contenders[name] = lambda it=command: peers.measure(
                self._setting, it, self._load, size, size, on_disk=self._on_disk)
        samples = self._setting.alternate(contenders, rounds)
        server.stop()
        return samples


def _bulk_on(setting: Setting, size: int, on_disk: bool, rounds: int) -> list[Line]:
    where = "disk" if on_disk else "memory"
    commands = {"bare loop": peers.bare("bulk")}
    if not setting.smoke:
        commands["socat -b 1M"] = peers.socat_tuned
    samples = _Contest(setting, size, on_disk).run(commands, rounds)
    lines = [_cheaper("bulk", f"CPU, one connection of {size // MIB} MiB to {where}", samples,
                      "bare loop", 1.1)]
    if not setting.smoke:
        lines.append(_faster("bulk", "speed, the same", samples, "socat -b 1M", 0.95))
    return lines


def _bulk_beside_slow(setting: Setting) -> list[Line]:
    """The slow ones take several times as long, hence fewer bytes, but the same for all: a virtual
    machine's memory is fast until it has to get more from its host."""
    if setting.smoke:
        return []
    size = setting.amount(512, 128, 0) * MIB
    samples = _Contest(setting, size, False).run({"socat": peers.socat_default,
                                                  "ncat": peers.ncat})
    what = f"speed, one connection of {size // MIB} MiB to memory"
    return [_faster("bulk", what, samples, name, 3) for name in ("socat", "ncat")]


def bulk(setting: Setting) -> list[Line]:
    # More and shorter rounds on disk, where single ones differ most.
    return [*_bulk_on(setting, setting.amount(4096, 1024, 64) * MIB, False, setting.rounds),
            *_bulk_beside_slow(setting),
            *_bulk_on(setting, setting.amount(1024, 256, 64) * MIB, True, 2 * setting.rounds - 1)]


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
