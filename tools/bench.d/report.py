"""Tables of figures, and the logs of what failed."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

from peers import Vxlan


def table(results):
    names = list(results)
    rows = [row for row in dict.fromkeys(key for figures in results.values() for key in figures)]
    width = max(len(row) for row in rows)
    print(f"\n{'':{width}}" + "".join(f"{name:>18}" for name in names))
    for row in rows:
        cells = ""
        for name in names:
            value = results[name].get(row)
            cells += f"{'-' if value is None else f'{value:,.2f}' if value < 100 else f'{value:,.0f}':>18}"
        print(f"{row:{width}}{cells}")
    base = results.get(Vxlan.name)
    if base:
        print("\nratio to kernel VXLAN over the same segment (more is better; for µs, s and MB less is better)")
        for row in (row for row in rows if row in base):
            cells = "".join(
                f"{results[name][row] / base[row]:>18.2f}" if row in results[name] else f"{'-':>18}" for name in names
            )
            print(f"{row:{width}}{cells}")


def plot(results, path):
    """Draws the figures of results, by the system's Python, which has the library for it."""
    words = ["/usr/bin/python3", Path(__file__).with_name("plot.py"), path]
    subprocess.run(words, input=json.dumps(results), text=True, check=True)


def spread(samples):
    """The medians of samples; shows them with the least and the most."""
    figures = {name: {row: statistics.median(run[row] for run in runs) for row in runs[0]} for name, runs in samples.items()}
    for row in dict.fromkeys(row for of_one in figures.values() for row in of_one):
        print(f"{row}:")
        for name, runs in ((name, runs) for name, runs in samples.items() if row in figures[name]):
            values = [run[row] for run in runs]
            print(f"  {name:18}{figures[name][row]:12,.1f}   {min(values):,.1f} to {max(values):,.1f}")
    return figures


def failed(folder):
    """Shows the ends of the logs of a folder."""
    for log in sorted(Path(folder).rglob("*.log")):
        print(f"--- {log.name}\n{log.read_text()[-2000:]}", file=sys.stderr)
