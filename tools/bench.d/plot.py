"""Draws each row's ratio to kernel VXLAN, a panel for each row, a bar for each contender. Reads what `--json` has as `results`."""

import json
import sys

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

BASE, OWN = "kernel VXLAN", "l2link"


def main(path):
    results = json.load(sys.stdin)
    kinds = [kind for kind in results if BASE in results[kind]]
    if not kinds:
        sys.exit(f"error: --plot draws ratios to {BASE}, which was not measured")
    rows = list(results[kinds[0]][BASE])
    figure, panels = pyplot.subplots(len(rows), len(kinds), figsize=(6 * len(kinds), 1.9 * len(rows)), squeeze=False)
    for column, kind in enumerate(kinds):
        for panel, row in zip(panels[:, column], rows):
            base = results[kind][BASE][row]
            bars = {name: figures[row] / base for name, figures in results[kind].items() if base and row in figures}
            panel.barh(list(bars), list(bars.values()), color=["#2a6f97" if OWN in name else "#adb5bd" for name in bars])
            panel.axvline(1, color="#d62828", linewidth=0.8)
            panel.invert_yaxis()
            panel.tick_params(labelsize=6)
            panel.set_title(f"{row} ({kind}), {BASE} = 1", fontsize=8, loc="left")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main(sys.argv[1])
