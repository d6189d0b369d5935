#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What `atomdl analyze` calls foreign atoms, on images of our own.

    tests/elements.py [--program ./atomdl] [--images N] [--seed N]
        [--dose LIST] [--material NAME] [--defects LIST] ELEMENT...

Graphene: relaxed defects of silicon, whose Si becomes ELEMENT; with --replace
FROM, and in other materials, ELEMENT instead of a --share of FROM. Instrument,
probe, pixel size and clouds of carbon are drawn for each image. Atoms from 1 A
off the border on count, found within 0.6 A. Prints, for each dose and element,
what its atoms are called, what else is called neither C nor a host (false), and
the commonest ranges of Z."""
import argparse
import collections
import csv
import os
import random
import re
import subprocess
import sys
import tempfile

INSTRUMENTS = [[], [], ["voltage = 80", "aperture = 25", "inner = 63"],
               ["voltage = 80", "aperture = 25", "inner = 40", "outer = 160"],
               ["inner = 54"]]
SIDE = 30  # A


def run(args, *words):
    command = [args.program] + [str(w) for w in words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and words[0] != "analyze":
        sys.exit(" ".join(command) + "\n" + done.stderr)
    return done.returncode == 0


def instrument(draw):
    """Recipe lines of an instrument and a probe."""
    lines = [f"source = {draw.choice([0.7, 0.9, 1.0, 1.1, 1.2])}",
             f"defocus = {draw.gauss(0, 25):.3f}",
             f"a1 = {draw.choice([0, 5, 10])}", f"c3 = {draw.gauss(0, 2):.3f}"]
    clouds = ["clouds = 1"] if draw.random() < 0.3 else []
    return lines + draw.choice(INSTRUMENTS) + clouds


def image(args, folder, element, dose, seed):
    """Writes i.png and i.truth.csv, returns the pixel size."""
    draw = random.Random(seed)
    pixel = draw.choice([0.06, 0.08, 0.1, 0.12, 0.15, 0.2])
    size = int(SIDE / pixel) // 16 * 16
    common = ["simulate", "--material", args.material, "--size", size,
              "--pixel-size", pixel]
    path = os.path.join(folder, "i")
    if args.replace:
        extra = ["--set", f"alloy = {args.replace} {element} {args.share}"]
    else:
        run(args, *common, "--seed", seed, "--defects", args.defects,
            "--write-xyz", "-o", path)
        with open(path + ".xyz") as f:
            text = re.sub(r"^Si ", element + " ", f.read(), flags=re.M)
        with open(path + ".xyz", "w") as f:
            f.write(text)
        extra = ["--xyz", path + ".xyz", "--set", "thermal = 0"]
    for line in instrument(draw):
        extra += ["--set", line]
    run(args, *common, "--seed", seed + 7, "--dose", dose, *extra, "-o", path)
    return pixel


def table(path):
    """[(x, y, row)] of a table"""
    with open(path) as f:
        rows = list(csv.DictReader(f))
    return [(float(r["x_A"]), float(r["y_A"]), r) for r in rows]


def inside(x, y):
    return 1 < x < SIDE - 1.5 and 1 < y < SIDE - 1.5


def look(args, folder, element, pixel, calls, ranges):
    """Adds what the image's atoms are called."""
    out = os.path.join(folder, "out")
    good = run(args, "analyze", "--material", args.chemistry, "--pixel-size",
               pixel, "-o", out, os.path.join(folder, "i.png"))
    if not good:
        calls["refused image"] += 1
        return
    found = table(os.path.join(out, "i.atoms.csv"))
    true = table(os.path.join(folder, "i.truth.csv"))
    for x, y, row in true:
        if row["species"] != element or not inside(x, y):
            continue
        near = [(abs(complex(a - x, b - y)), r) for a, b, r in found]
        d, r = min(near, key=lambda n: n[0]) if near else (9, {})
        calls[r["species"] if d < 0.6 else "missed"] += 1
        if d < 0.6 and r["z_to"]:
            ranges[r["z_from"] + "-" + r["z_to"]] += 1
    for x, y, r in found:
        if r["z_to"] and inside(x, y) and not any(
                abs(complex(a - x, b - y)) < 0.6 and t["species"] == element
                for a, b, t in true):
            calls["false " + r["species"]] += 1


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--program", default="./atomdl")
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--dose", default="1e5,1e6")
    parser.add_argument("--material", default="graphene")
    parser.add_argument("--defects", default="si-c3:3,si-c4:2")
    parser.add_argument("--replace", default="")
    parser.add_argument("--share", default="0.01")
    parser.add_argument("element", nargs="+")
    args = parser.parse_args()
    args.chemistry = args.material.split("-2h")[0]
    for dose in args.dose.split(","):
        for element in args.element:
            calls, ranges = collections.Counter(), collections.Counter()
            for i in range(args.images):
                with tempfile.TemporaryDirectory() as folder:
                    pixel = image(args, folder, element, dose, args.seed + i)
                    look(args, folder, element, pixel, calls, ranges)
            print(dose, element, dict(sorted(calls.items())),
                  ranges.most_common(3), flush=True)


main()
