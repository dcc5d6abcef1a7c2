#!/usr/bin/env python3
"""picture.py COMMAND… > screen.svg: what a command prints, with its colours, as a picture.

Knows text, line breaks and colours; run the command without a live region.
"""
import html
import re
import subprocess
import sys

COLORS = {31: "#f2777a", 32: "#8fd18f", 33: "#ffcc66", 34: "#6fb3f2", 35: "#cc99cc", 36: "#66cccc", 90: "#8a8f98"}
CHAR, LINE, EDGE = 8.4, 20, 16


def spans(line):
    """Text and style of each part of a line."""
    style = {}
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        code = re.fullmatch(r"\x1b\[([0-9;]*)m", part)
        if not code:
            if part:
                yield part, dict(style)
            continue
        for number in (int(n) for n in (code[1] or "0").split(";")):
            if number == 0:
                style = {}
            elif number == 1:
                style["font-weight"] = "bold"
            elif number == 2:
                style["opacity"] = "0.7"
            elif number in COLORS or number - 60 in COLORS:
                style["fill"] = COLORS.get(number) or COLORS[number - 60]


def main():
    command = sys.argv[1:]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = ["$ esker check"] + run.stdout.rstrip("\n").split("\n")
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    width = max(len(line) for line in plain) * CHAR + 2 * EDGE
    height = len(lines) * LINE + 2 * EDGE
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" role="img">')
    print("<title>A run of esker check in a terminal</title>")
    print(f'<rect width="100%" height="100%" rx="8" fill="#1d2026"/>')
    print('<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" fill="#d8dce3" xml:space="preserve">')
    for number, line in enumerate(lines):
        text = "".join(
            f'<tspan {" ".join(f"{k}=" + chr(34) + v + chr(34) for k, v in style.items())}>{html.escape(part)}</tspan>'
            for part, style in spans(line)
        )
        print(f'<text x="{EDGE}" y="{EDGE + (number + 1) * LINE - 6}">{text}</text>')
    print("</g></svg>")


main()
