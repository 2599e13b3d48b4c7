"""Draws each row's ratio to kernel VXLAN, a panel for each row, a bar for each contender; and beside it, as FILE-growth.svg, what of
each rate is left with many rules, flows and controls. Reads what `--json` has as `results`."""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

BASE, OWN, GROWTH = "kernel VXLAN", "l2link", "growth"


def main(path):
    results = json.load(sys.stdin)
    kinds = [kind for kind in results if BASE in results[kind]]
    if not kinds and GROWTH not in results:
        sys.exit(f"error: --plot draws ratios to {BASE} and growth, and neither was measured")
    if kinds:
        draw_contenders(results, kinds, path)
    if GROWTH in results:
        draw_growth(results[GROWTH], path.with_stem(f"{path.stem}-growth"))


def draw_growth(growth, path):
    rows = list(next(iter(next(iter(growth.values())).values())))
    figure, panels = pyplot.subplots(len(rows), len(growth), figsize=(6 * len(growth), 1.9 * len(rows)), squeeze=False)
    for column, (name, cases) in enumerate(growth.items()):
        base = next(iter(cases.values()))
        for panel, row in zip(panels[:, column], rows):
            bars = {case: figures[row] / base[row] for case, figures in cases.items() if base[row]}
            show(panel, bars, ["#2a6f97"] * len(bars), f"{row} ({name}), one of each = 1")
    figure.tight_layout()
    figure.savefig(path)


def show(panel, bars, colors, title):
    panel.barh(list(bars), list(bars.values()), color=colors)
    panel.axvline(1, color="#d62828", linewidth=0.8)
    panel.invert_yaxis()
    panel.tick_params(labelsize=6)
    panel.set_title(title, fontsize=8, loc="left")


def draw_contenders(results, kinds, path):
    rows = list(results[kinds[0]][BASE])
    figure, panels = pyplot.subplots(len(rows), len(kinds), figsize=(6 * len(kinds), 1.9 * len(rows)), squeeze=False)
    for column, kind in enumerate(kinds):
        for panel, row in zip(panels[:, column], rows):
            base = results[kind][BASE][row]
            bars = {name: figures[row] / base for name, figures in results[kind].items() if base and row in figures}
            colors = ["#2a6f97" if OWN in name else "#adb5bd" for name in bars]
            show(panel, bars, colors, f"{row} ({kind}), {BASE} = 1")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
