"""The cost over the number of idle connections and over the number of ports, drawn by gnuplot."""

from pathlib import Path
from subprocess import PIPE

from setting import Setting

_TERMINALS = {"svg": "svg size 1000,420 background 'white'", "png": "pngcairo size 1000,420"}

_IDLE = """
set title 'One busy connection beside idle ones'
set xlabel 'idle connections'
set xtics 2000
set ylabel 'CPU s/GB'
set y2label 'GB/s'
plot $idle using 1:2 axes x1y1 with linespoints title 'CPU (left)', \\
     $idle using 1:3 axes x1y2 with linespoints title 'speed (right)'
"""

_PORTS = """
set title 'Ports'
set xlabel 'ports'
set xtics 50
set ylabel 'seconds until all are ready'
set y2label 'MiB private for each'
plot $ports using 1:2 axes x1y1 with linespoints title 'start (left)', \\
     $ports using 1:3 axes x1y2 with linespoints title 'memory (right)'
"""

_PANELS = {"idle": _IDLE, "ports": _PORTS}


def _block(name: str, points: list[list[float]]) -> str:
    lines = "\n".join(" ".join(map(str, point)) for point in points)
    return f"${name} << END\n{lines}\nEND\n"


def _script(plots: dict[str, list], kind: str, file: Path) -> str:
    drawn = [name for name in _PANELS if name in plots]
    text = "".join(_block(name, plots[name]) for name in drawn)
    text += f"set terminal {_TERMINALS[kind]}\nset output '{file}'\n"
    text += "set key below\nset ytics nomirror\nset y2tics\nset yrange [0:*]\nset y2range [0:*]\n"
    text += f"set multiplot layout 1,{len(drawn)}\n"
    return text + "".join(_PANELS[name] for name in drawn) + "unset multiplot\n"


def write_plots(setting: Setting, directory: Path) -> list[Path]:
    """SVG and PNG; nothing if no row that is drawn was run."""
    if not setting.plots:
        return []
    files = []
    for kind in _TERMINALS:
        file = directory / f"bench.{kind}"
        gnuplot = setting.processes.start(["gnuplot"], stdin=PIPE, text=True)
        gnuplot.popen.stdin.write(_script(setting.plots, kind, file))
        gnuplot.popen.stdin.close()
        gnuplot.require_success(60)
        files.append(file)
    return files
