"""One file for each connection: the accio service beside the stream service and tcpserver."""

import peers
from processes import private_dirty_of
from server import Server
from setting import MIB, Line, Sample, Setting, median_of, paired_ratio

UPLOADS = 10
SMALL = 1000
CLIENTS = 8


def _accio(setting: Setting) -> Server:
    return Server(setting, protocol="accio")


def uploads(setting: Setting) -> list[Line]:
    size = setting.amount(100, 50, 4) * MIB
    accio, stream = _accio(setting), Server(setting)
    memory: list[int] = []

    def of(server: Server) -> Sample:
        return server.measure(
            lambda: setting.load("bulk", server.ports, bytes=size, clients=UPLOADS),
            UPLOADS * size, UPLOADS * size)

    def of_accio() -> Sample:
        sample = of(accio)
        memory.append(sum(map(private_dirty_of, accio.worker_and_keeper())))
        return sample

    samples = setting.alternate({"ours": of_accio, "stream": lambda: of(stream)})
    accio.stop()
    stream.stop()
    ratio = paired_ratio(samples["ours"], samples["stream"], lambda s: s.rate)
    return [Line("accio", f"{UPLOADS} files of {size // MIB} MiB in parallel",
                 f"{median_of(samples['ours'], lambda s: s.rate) / 1e9:.2f} GB/s",
                 f"{median_of(samples['stream'], lambda s: s.rate) / 1e9:.2f} GB/s stream service",
                 ratio, ">= 0.9", ratio >= 0.9,
                 {name: {"gb_per_s": [s.rate / 1e9 for s in values]}
                  for name, values in samples.items()}),
            Line("accio", "private memory of its worker with its keeper afterwards",
                 f"{max(memory) / MIB:.2f} MiB", "", None, "<= 4 MiB", max(memory) <= 4 * MIB)]


def small_files(setting: Setting) -> list[Line]:
    count = setting.amount(20_000, 6_000, 800)
    accio = _accio(setting)

    def load(ports, number: int) -> dict:
        return setting.load("short", ports, clients=CLIENTS, count=number, size=SMALL)

    def ours() -> Sample:
        return accio.measure(lambda: load(accio.ports, count), count, count * SMALL)

    def tcpserver() -> Sample:
        number = count // 8
        return peers.measure(setting, peers.tcpserver_cat, lambda ports: load(ports, number),
                             number, number * SMALL, ends_by_itself=False)

    contenders = {"ours": ours}
    if not setting.smoke:
        contenders["tcpserver + cat"] = tcpserver
    samples = setting.alternate(contenders)
    accio.stop()
    line = Line("accio", f"connections with a file of {SMALL} bytes each; {CLIENTS} clients",
                f"{median_of(samples['ours'], lambda s: s.rate):,.0f} conn/s")
    if not setting.smoke:
        line.peer = (f"{median_of(samples['tcpserver + cat'], lambda s: s.rate):,.0f} conn/s "
                     "tcpserver + cat")
        line.ratio = paired_ratio(samples["ours"], samples["tcpserver + cat"], lambda s: s.rate)
        line.target, line.reached = ">= 10", line.ratio >= 10
    return [line]


ROWS = {"accio": lambda setting: uploads(setting) + small_files(setting)}
