#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures `atomdl analyze` on real images that are not in the repository.

    ATOMDL_DATA=FOLDER tests/real.py [--program ./atomdl] [--weights FILE]
        [--dichalcogenide FILE] [--keep DIR] [PART...] [-- ANALYZE OPTIONS]

PART: silicon, lattices, wse2, mos2; default: all whose weights are there. Needs
python3-numpy and python3-pil. Nothing is fitted here: it prints what it counts.
"""
import argparse
import collections
import csv
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

DATA = os.environ.get("ATOMDL_DATA", "")


def analyze(args, out, pixel, images, weights, extra):
    """Atoms (list of rows) and defects (JSON) of each image."""
    command = [args.program, "analyze", "-o", out, "--pixel-size", str(pixel)]
    if weights:
        command += ["--weights", weights]
    done = subprocess.run(command + extra + args.options + images)
    if done.returncode:
        sys.exit("analyze failed: " + " ".join(command))
    found = []
    for image in images:
        name = os.path.join(out, os.path.splitext(os.path.basename(image))[0])
        with open(name + ".atoms.csv") as f:
            atoms = list(csv.DictReader(f))
        with open(name + ".defects.json") as f:
            found.append((atoms, json.load(f)))
    return found


def places(atoms, species=None):
    """(n, 2) of x, y in pixels"""
    return np.array([(float(a["x_px"]), float(a["y_px"])) for a in atoms
                     if species is None or a["species"] in species]
                    ).reshape(-1, 2)


def match(a, b, radius):
    """Pairs (i, j) one to one, nearest first."""
    if not len(a) or not len(b):
        return []
    d = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    pairs, used_a, used_b = [], set(), set()
    near = np.argwhere(d <= radius)
    for i, j in near[np.argsort(d[tuple(near.T)], kind="stable")]:
        if i not in used_a and j not in used_b:
            used_a.add(i)
            used_b.add(j)
            pairs.append((i, j))
    return pairs


def scores(name, found, truth, radius, unit, size=None):
    """Prints precision, recall, F1 and rms. size: of the image where truth
    says nothing about atoms near its edge: there, only what both have counts.
    """
    pairs = match(found, truth, radius)
    hit = len(pairs)
    if size:
        kept = {i for i, _ in pairs}
        inner = ((found > 10) & (found < np.array(size) - 11)).all(1)
        found = found[[i in kept or inner[i] for i in range(len(found))]]
        pairs = match(found, truth, radius)
    p, r = hit / max(len(found), 1), hit / max(len(truth), 1)
    f1 = 2 * hit / max(len(found) + len(truth), 1)
    rms = shift = 0
    if pairs:
        i, j = np.array(pairs).T
        d = found[i] - truth[j]
        shift = np.hypot(*d.mean(0)) * unit * 100
        rms = np.sqrt((d ** 2).sum(1).mean()) * unit * 100
    print(f"  {name:24} precision {p:.4f} recall {r:.4f} F1 {f1:.4f} "
          f"rms {rms:5.1f} pm, mean {shift:4.1f} pm ({len(found)} of "
          f"{len(truth)})")


# ---------- silicon in graphene: formulas ------------------------------------

def labelled():
    """{(stack, slice): (class, pixel, [(Si places, C places)])}"""
    frames = {}
    with open(os.path.join(DATA, "si-graphene/labels.csv")) as f:
        for row in csv.DictReader(f):
            key = row["stack_file"], int(row["slice"])
            entry = frames.setdefault(
                key, [row["class"], float(row["scan_size_pm"]) / 25600, {}])
            sites = entry[2].setdefault(row["defect_id"], {"Si": [], "C": []})
            sites[row["species"]].append((float(row["x_col_px"]),
                                          float(row["y_row_px"])))
    return frames


def silicon(args, folder):
    frames = labelled()
    groups = collections.defaultdict(list)
    for (stack, i), (_, pixel, _) in frames.items():
        name = os.path.join(folder, f"{stack[:-4]}-s{i:03}.npy")
        np.save(name, np.load(os.path.join(DATA, "si-graphene", stack))[i])
        groups[pixel].append((stack, i, name))
    confusion = collections.Counter()
    lengths = collections.defaultdict(list)
    si, carbon, wrong = [], [], []
    total = right = count_right = carbons = unsure = 0
    lattice = collections.Counter()
    for pixel, members in groups.items():
        results = analyze(args, os.path.join(folder, "si"), pixel,
                          [m[2] for m in members], args.weights, [])
        for (stack, i, _), (atoms, page) in zip(members, results):
            kind, _, defects = frames[stack, i]
            for sites in defects.values():
                total += 1
                got = judge(page, atoms, sites, pixel, si, carbon)
                carbons += len(sites["C"])
                formula = got["text"]
                confusion[kind, formula] += 1
                right += formula == kind
                count_right += got["dopants"] == int(kind[2])
                if got["dopants"] == 1 == int(kind[2]):
                    lattice[kind, got["defect"]["by_lattice"]] += 1
                    unsure += got["defect"]["rules_disagree"]
                if formula == kind and got["defect"]:
                    lengths[kind].append((got["defect"]["length_A"],
                                          got["defect"]["angle_degrees"]))
                else:
                    wrong.append(f"{stack[:-4]}[{i}] -> {formula}")
    print(f"silicon: formula right {right} of {total}, Si count right "
          f"{count_right}")
    for kind in sorted({k for k, _ in confusion}):
        row = {f: n for (k, f), n in sorted(confusion.items()) if k == kind}
        print(f"  {kind}:", ", ".join(f"{f} {n}" for f, n in row.items()))
    print("  wrong:", "; ".join(wrong))
    print("  lattice rule:", ", ".join(f"{k} as {v}: {n}" for (k, v), n
                                       in sorted(lattice.items())),
          f"; rules disagree {unsure}")
    si, carbon = np.array(si), np.array(carbon)
    print(f"  Si within 0.2 A: {(si < 0.2).sum()} of {len(si)}, rms "
          f"{np.sqrt((si[si < 0.5] ** 2).mean()) * 100:.2f} pm; C within 0.5 A "
          f"{(carbon < 0.5).sum()} of {carbons}, rms "
          f"{np.sqrt((carbon[carbon < 0.5] ** 2).mean()) * 100:.1f} pm")
    for kind, v in sorted(lengths.items()):
        v = np.array(v)
        print(f"  {kind}: Si-C {v[:, 0].mean() * 100:.1f} +- "
              f"{v[:, 0].std() * 100:.1f} pm, angle {v[:, 1].mean():.1f} +- "
              f"{v[:, 1].std():.1f} ({len(v)})")


def judge(page, atoms, sites, pixel, si, carbon):
    """The found defect with most of the labelled Si, and distances in A."""
    at = {int(a["id"]): np.array([float(a["x_px"]), float(a["y_px"])])
          for a in atoms}
    kind = {int(a["id"]): a["species"] for a in atoms}
    best, most = None, 0
    for d in page["defects"]:
        own = np.array([at[k] for k in d["atoms"] if kind[k] == "Si"])
        n = len(match(own.reshape(-1, 2), np.array(sites["Si"]), 0.6 / pixel))
        if n > most:
            best, most = d, n
    for name, out in (("Si", si), ("C", carbon)):
        all_of = places(atoms, [name])
        for p in sites[name]:
            d = np.hypot(*(all_of - p).T) * pixel if len(all_of) else [9]
            out.append(min(d))
    if not best:
        return {"text": "none", "dopants": 0, "defect": None}
    n = sum(kind[k] == "C" for k in best["atoms"])
    return {"text": f"Si{best['dopants']}C{n}", "dopants": best["dopants"],
            "defect": best}


# ---------- lattices: every atom ----------------------------------------------

def lattices(args, folder):
    print("lattices, within 0.5 A")
    names = ["G-GrainBoundary-4nm", "G-Si-2nm", "test_data_1_image", "G-dimSi"]
    for name, pixel in zip(names, [0.078125] * 3 + [0.0393]):
        path = os.path.join(DATA, "graphene", name + ".npy")
        atoms, page = analyze(args, os.path.join(folder, "lattice"), pixel,
                              [path], args.weights, [])[0]
        truth = path[:-4] + "_peer-coords.csv"
        if name.startswith("test"):
            truth = path.replace("_image.npy", "_positions.csv")
        if os.path.exists(truth):
            want = np.genfromtxt(truth, delimiter=",",
                                 skip_header=1)[:, 1::-1]
            h, w = np.load(path).shape
            inside = ((want > -0.5) & (want < [w - 0.5, h - 0.5])).all(1)
            scores(name, places(atoms), want[inside], 0.5 / pixel, pixel,
                   None if name.startswith("test") else (w, h))
        print("   rings", page["rings"], "defects",
              dict(collections.Counter(d["class"] + " " + d["formula"]
                                       for d in page["defects"])))


# ---------- dichalcogenides -----------------------------------------------------

WSE2 = {1: ("W", ["W"]), 2: ("V on W", ["V"]), 3: ("Se2", ["Se2"]),
        4: ("Se missing", ["Se"]), 5: ("both missing", ["vacancy"])}


def blobs(mask):
    """Centres (x, y) of the 4-connected parts of a mask."""
    mask, centres = mask.copy(), []
    for y, x in np.argwhere(mask):
        if not mask[y, x]:
            continue
        stack, member = [(y, x)], []
        mask[y, x] = False
        while stack:
            v, u = stack.pop()
            member.append((u, v))
            for q, p in ((v + 1, u), (v - 1, u), (v, u + 1), (v, u - 1)):
                if (0 <= q < mask.shape[0] and 0 <= p < mask.shape[1]
                        and mask[q, p]):
                    mask[q, p] = False
                    stack.append((q, p))
        centres.append(np.mean(member, 0))
    return np.array(centres).reshape(-1, 2)


def wse2(args, folder):
    total = collections.defaultdict(lambda: [0, 0, 0])
    for i in range(4):
        path = os.path.join(DATA, f"wse2/sim0{i}_in.png")
        truth = np.array(Image.open(path.replace("_in", "_gt")))
        atoms, _ = analyze(args, os.path.join(folder, "wse2"), 0.095, [path],
                           args.dichalcogenide, ["--material", "wse2"])[0]
        spots = np.argwhere(truth > 0)
        low, high = spots.min(0)[::-1] - 1, spots.max(0)[::-1] + 1
        print(f"wse2 sim0{i}, within 0.5 A, where truth reaches")
        for k, (name, species) in WSE2.items():
            found = places(atoms, species)
            found = found[((found > low) & (found < high)).all(1)]
            want = blobs(truth == k)
            scores(name, found, want, 0.5 / 0.095, 0.095)
            n = len(match(found, want, 0.5 / 0.095))
            total[name] = [a + b for a, b in
                           zip(total[name], (n, len(found), len(want)))]
    print("wse2, all four:", ", ".join(
        f"{name} F1 {2 * n / max(f + w, 1):.4f}"
        for name, (n, f, w) in total.items()))


def mos2(args, folder):
    base = os.path.join(DATA, "mos2")
    name = "MoS2_incostem_29_17_1_0.tif"
    atoms, _ = analyze(args, os.path.join(folder, "mos2"), 0.204,
                       [os.path.join(base, "Image" + name)],
                       args.dichalcogenide, ["--material", "mos2"])[0]
    print("mos2, within 0.7 A")
    every = []
    for number, species in ((1, "S"), (2, "vacancy")):
        truth = np.array(Image.open(os.path.join(
            base, f"{number}vacancy_{name}"))).astype(float)
        want = blobs(truth > 0.5 * truth.max())
        every.append(want)
        scores(f"{number} S missing", places(atoms, [species]), want,
               0.7 / 0.204, 0.204)
    scores("any S missing", places(atoms, ["S", "vacancy"]),
           np.concatenate(every), 0.7 / 0.204, 0.204)


PARTS = {"silicon": silicon, "lattices": lattices, "wse2": wse2, "mos2": mos2}


def main():
    own = sys.argv[1:]
    split = own.index("--") if "--" in own else len(own)
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--program", default="./atomdl")
    p.add_argument("--weights", help="of graphene")
    p.add_argument("--dichalcogenide", help="weights of dichalcogenides")
    p.add_argument("--keep", help="folder for the results")
    p.add_argument("part", nargs="*", help=" ".join(PARTS))
    args = p.parse_args(own[:split])
    args.options = own[split + 1:]
    if not os.path.isdir(DATA):
        sys.exit("ATOMDL_DATA must name the folder of images")
    parts = args.part or (["silicon", "lattices"] if args.weights and
                          not args.dichalcogenide else list(PARTS))
    with tempfile.TemporaryDirectory() as spare:
        folder = args.keep or spare
        os.makedirs(folder, exist_ok=True)
        for part in parts:
            PARTS[part](args, folder)


main()
