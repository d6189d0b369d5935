#!/usr/bin/env python3
"""How well atoms are found in simulated images, where all is known: against
noise and against dose, beside a blur with local maxima and beside the floor
that counting sets; silicon's neighbours; hard neighbourhoods; whether scores of
dichalcogenides are probabilities.

usage: tests/truth.py [--program ./atomdl] [--images N] [PART...]

PART: noise dose silicon hard scores (default: all). Needs python3-numpy and
python3-scipy. Seeds are fixed, none is a training's.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
from scipy import ndimage

RADIUS = 0.5                              # A, of a match


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(" ".join(command[:3]) + "...: " + done.stderr)
    return done.stdout


def table(path):
    with open(path) as f:
        return list(csv.DictReader(f))


def simulated(args, name, count, source, *settings):
    """Prefixes of `count` images and their analysis."""
    prefix = os.path.join(args.folder, name)
    options = []
    for s in settings:
        options += ["--set", s]
    run(args.program, "simulate", *source, "--count", str(count), "--format",
        "npy", "-o", prefix, *options)
    images = ["%s-%04d" % (prefix, i) for i in range(count)]
    return images


def analysed(args, images, pixel):
    out = os.path.join(args.folder, "out")
    run(args.program, "analyze", "-o", out, "--pixel-size", str(pixel),
        "--material", "graphene", "--force", "--threads", "1", *args.options, *[i + ".npy" for i in images])
    return [os.path.join(out, os.path.basename(i)) for i in images]


def places(rows, species=None):
    return np.array([(float(r["x_A"]), float(r["y_A"])) for r in rows
                     if species is None or r["species"] == species]
                    ).reshape(-1, 2)


def match(a, b):
    """Pairs (i, j) within the radius, one to one, nearest first."""
    if not len(a) or not len(b):
        return []
    d = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    near = np.argwhere(d <= RADIUS)
    pairs, left, right = [], set(), set()
    for i, j in near[np.argsort(d[tuple(near.T)], kind="stable")]:
        if i not in left and j not in right:
            left.add(i)
            right.add(j)
            pairs.append((i, j))
    return pairs


class Score:
    """Of places found against true ones, those near the edge left out."""

    def __init__(self):
        self.hit = self.found = self.true = 0
        self.square = 0.0

    def add(self, found, true, side):
        pairs = match(found, true)
        inside = lambda p: ((p > 1) & (p < side - 1)).all(axis=1)
        f, t = inside(found), inside(true)
        mine = {i for i, j in pairs}
        yours = {j for i, j in pairs}
        kept = [(i, j) for i, j in pairs if t[j]]
        self.hit += len(kept)
        self.true += int(t.sum())
        self.found += len(kept) + sum(
            bool(f[i]) for i in range(len(found)) if i not in mine)
        self.square += sum(
            float(((found[i] - true[j]) ** 2).sum()) for i, j in kept)

    def f1(self):
        return 2 * self.hit / max(1, self.found + self.true)

    def rms(self):
        """pm, of each of x and y"""
        return 100 * (self.square / 2 / max(1, self.hit)) ** 0.5


def maxima(image, pixel, sigma, level):
    """Places in A of the maxima of the blurred image above a level that lies
    so far between its median and its highest percent."""
    g = ndimage.gaussian_filter(image.astype(float), sigma / pixel)
    low, high = np.median(g), np.percentile(g, 99)
    size = 2 * int(round(0.6 / pixel)) + 1
    top = (ndimage.maximum_filter(g, size) == g) & (
        g > low + level * (high - low))
    return np.argwhere(top)[:, ::-1] * pixel


def baseline(images, truths, pixel):
    """The best of blurs and levels, chosen with the truth in hand."""
    best = None
    for sigma in (0.25, 0.35, 0.45, 0.6):
        for level in (-0.6, -0.3, 0.0, 0.3):
            s = Score()
            for i, t in zip(images, truths):
                s.add(maxima(i, pixel, sigma, level), t,
                      pixel * (i.shape[0] - 1))
            if best is None or s.f1() > best.f1():
                best = s
    return best


def noise(args):
    print("noise: C and Si of the training distribution's images, those "
          "with blobs (as the trial's) and those with aberrated probes, at "
          "noise s_A (A); beside them the best blur with maxima")
    for label, part in (("blobs", 1), ("probes", 0)):
        noise_of(args, label, "gaussian = %d" % part)


def noise_of(args, label, optics):
    print(" " + label)
    print("  s_A           C F1    rms pm   Si F1   rms pm  | "
          "baseline F1  rms pm")
    pixel = 0.15625
    bins = ((0.006, 0.03, "jitter = 0"), (0.03, 0.06, None),
            (0.06, 0.09, None), (0.09, 0.14, None), (0.14, 0.19, None))
    for low, high, more in bins:
        settings = ["density = log %g..%g" % (low, high), "seed = 1001",
                    optics]
        if more:
            settings.append(more)
        images = simulated(args, "noise", args.images,
                           ["weights/graphene.recipe"], *settings)
        c, si, pictures, truths = Score(), Score(), [], []
        for name, out in zip(images, analysed(args, images, pixel)):
            true, found = table(name + ".truth.csv"), table(out +
                                                            ".atoms.csv")
            picture = np.load(name + ".npy")
            side = pixel * (picture.shape[0] - 1)
            c.add(places(found, "C"), places(true, "C"), side)
            si.add(places(found, "Si"), places(true, "Si"), side)
            pictures.append(picture)
            truths.append(np.concatenate(
                [places(true, "C"), places(true, "Si")]))
        b = baseline(pictures, truths, pixel)
        print("  %.3f..%.3f  %.4f  %6.1f   %.4f  %6.1f  |  %.4f    %6.1f%s"
              % (low, high, c.f1(), c.rms(), si.f1(), si.rms(), b.f1(),
                 b.rms(), "  (no row jitter)" if more else ""), flush=True)


def floor(counts, pixel, fwhm, background):
    """pm: the least-squares localisation formula of METHOD G."""
    s = fwhm / 2.355
    return 100 * (s * s / counts * (
        1 + pixel ** 2 / (12 * s * s) +
        8 * np.pi * s * s * background / (pixel ** 2 * counts))) ** 0.5


def dose(args):
    """Perfect graphene, incoherent imaging, nothing but counting noise."""
    print("dose: graphene at 60 kV, counting noise alone; the floor is "
          "METHOD G's with the image's own background")
    print("  counts an atom   C F1    rms pm  | baseline F1  rms pm | "
          "floor pm")
    pixel, atoms, area = 0.12, 0.3818, 128 * 0.12
    flat = "scale = 1"
    for counts in (2, 5, 10, 20, 50, 100, 200, 500, 1000):
        electrons = counts / 5.74e-4
        images = simulated(args, "dose", max(2, args.images // 5),
                           ["--material", "graphene", "--size", "128",
                            "--pixel-size", str(pixel), "--dose",
                            "%g" % electrons, "--seed", "2002"], flat)
        c, pictures, truths = Score(), [], []
        for name, out in zip(images, analysed(args, images, pixel)):
            true, found = table(name + ".truth.csv"), table(out +
                                                            ".atoms.csv")
            picture = np.load(name + ".npy")
            c.add(places(found, "C"), places(true, "C"), area)
            pictures.append(picture)
            truths.append(places(true, "C"))
        b = baseline(pictures, truths, pixel)
        hollow = 0.5 * counts * atoms * pixel ** 2
        print("  %8g         %.4f  %6.1f  |  %.4f    %6.1f  |  %5.1f" % (
            counts, c.f1(), c.rms(), b.f1(), b.rms(),
            floor(counts, pixel, 1.09, hollow)), flush=True)


def neighbours(args):
    print("silicon: threefold or fourfold, single atoms, by the count of "
          "bonds, by the lattice, and the class given (the others: unsure)")
    pixel, side = 0.15625, 0.15625 * 127
    sharp = ["gaussian = 1", "fwhm = 0.9..1.2", "tail = 0..0.2",
             "ellipticity = 0..0.15", "saturation = 1"]
    for label, optics in (("probes like the real frames'", sharp),
                          ("all probes of the training", [])):
        for low, high in ((0.006, 0.05), (0.05, 0.08), (0.08, 0.11),
                          (0.11, 0.15)):
            total = missed = 0
            right = {"by_count": 0, "by_lattice": 0, "class": 0}
            wrong = 0
            for kind in ("si-c3", "si-c4"):
                images = simulated(
                    args, kind, args.images, ["weights/graphene.recipe"],
                    "defects = " + kind, "count = 1", "clouds = 0",
                    "hole = 0", "boundary = 0", "seed = 3003",
                    "density = log %g..%g" % (low, high), *optics)
                for name, out in zip(images, analysed(args, images, pixel)):
                    true = places(table(name + ".truth.csv"), "Si")
                    with open(out + ".defects.json") as f:
                        found = json.load(f)["defects"]
                    atoms = table(out + ".atoms.csv")
                    found = [(d, atoms[k - 1]) for d in found
                             for k in d["atoms"]
                             if atoms[k - 1]["species"] == "Si"]
                    pairs = {j: i for i, j in match(
                        places([a for d, a in found]), true)}
                    for j, p in enumerate(true):
                        if (p < 4).any() or (p > side - 4).any():
                            continue
                        total += 1
                        missed += j not in pairs
                        if j not in pairs:
                            continue
                        d = found[pairs[j]][0]
                        for k in right:
                            right[k] += d.get(k) == kind
                        wrong += d["class"] not in (kind, "si-unsure")
            print("  %s, s_A %.3f..%.3f: of %d, count %.3f, lattice %.3f, "
                  "class %.3f, wrong class %.3f, not found %.3f" % (
                      label, low, high, total, right["by_count"] / total,
                      right["by_lattice"] / total, right["class"] / total,
                      wrong / total, missed / total), flush=True)


def hard(args):
    print("hard: silicon found and its count of neighbours, s_A 0.03-0.11")
    cases = (("vacancy beside Si", "si-c3-v", "clouds = 0"),
             ("pair sharing carbon", "si2-c6", "clouds = 0"),
             ("pair of neighbours", "si2-c5", "clouds = 0"),
             ("near contamination", "si-c3", "clouds = 2"))
    for label, kind, clouds in cases:
        images = simulated(
            args, kind, args.images, ["weights/graphene.recipe"],
            "defects = " + kind, "count = 1", clouds, "hole = 0",
            "boundary = 0", "density = log 0.03..0.11", "seed = 4004")
        si, c = Score(), Score()
        for name, out in zip(images, analysed(args, images, 0.15625)):
            true, found = table(name + ".truth.csv"), table(out +
                                                            ".atoms.csv")
            side = 0.15625 * 127
            si.add(places(found, "Si"), places(true, "Si"), side)
            c.add(places(found, "C"), places(true, "C"), side)
        print("  %-22s Si F1 %.4f rms %5.1f pm; C F1 %.4f" % (
            label, si.f1(), si.rms(), c.f1()), flush=True)


CHALCOGENIDES = {"mos2": "W", "ws2": "Mo", "wse2": "Mo", "mose2": "W",
                 "mote2": "W", "wte2": "Mo"}


def scores(args):
    """Of columns more than 1 A inside, by score: how many are what they are
    called, within 0.75 A. Half of the images by the networks' recipes, half
    with vacancies and another metal at 3e3 to 1e6 e/A2."""
    count, refused = {}, 0
    for n, (material, metal) in enumerate(CHALCOGENIDES.items()):
        recipe = "weights/%s.recipe" % (
            "dichalcogenide" if n < 3 else "heavy-chalcogenide")
        for source, settings in (
                ([recipe], ["material = %s-2h-1" % material, "size = 256"]),
                (["--material", material], [
                    "size = 256", "pixel = 0.08..0.18", "dose = log 3e3..1e6",
                    "scatter = vx1 0.05", "scatter = vx2 0.01",
                    "scatter = sub-m %s 0.03" % metal])):
            images = simulated(args, "scores", max(2, args.images // 20),
                               source + ["--seed", str(5005 + n)], *settings)
            for name in images:
                refused += scores_of(args, count, name, material)
    print("scores: %d images refused" % refused)
    print("  score      columns  right  score  | vacancies  right  score")
    for b in range(10):
        print("  %.1f-%.1f" % (b / 10, b / 10 + 0.1) + "  |".join(
            "  %8d   %.3f  %.3f" % (c[0], c[1] / max(1, c[0]),
                                    c[2] / max(1, c[0])) for c in
            (count.get((v, b), (0, 0, 0)) for v in (False, True))))


def scores_of(args, count, name, material):
    """Counts an image's columns; 1: it was refused."""
    truth, out = table(name + ".truth.csv"), os.path.join(args.folder, "out")
    far = max(truth, key=lambda t: float(t["x_px"]))
    pixel = float(far["x_A"]) / float(far["x_px"])
    done = subprocess.run(
        [args.program, "analyze", "-o", out, "--pixel-size", "%.5f" % pixel,
         "--material", material, "--threads", "1", name + ".npy"],
        capture_output=True, text=True)
    if done.returncode:
        return 1
    true, side = places(truth), 256 * pixel
    for a in table(os.path.join(out, os.path.basename(name) + ".atoms.csv")):
        p = np.array([float(a["x_A"]), float(a["y_A"])])
        if (p < 1).any() or (p > side - 1).any():
            continue
        d = np.hypot(*(true - p).T)
        k = int(d.argmin())
        is_one = d[k] < 0.75 and a["species"] == (truth[k]["column"]
                                                  or truth[k]["species"])
        vacant = a["species"] == "vacancy" or a["defect"].startswith("vx")
        c = count.setdefault((vacant, min(9, int(10 * float(a["score"])))),
                             [0, 0, 0.0])
        c[0] += 1
        c[1] += bool(is_one)
        c[2] += float(a["score"])
    return 0


PARTS = {"noise": noise, "dose": dose, "silicon": neighbours, "hard": hard,
         "scores": scores}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--program", default="./atomdl")
    p.add_argument("--images", type=int, default=200, help="of each case")
    p.add_argument("--weights")
    p.add_argument("part", nargs="*", help=" ".join(PARTS))
    args = p.parse_args()
    args.options = ["--weights", args.weights] if args.weights else []
    with tempfile.TemporaryDirectory() as folder:
        args.folder = folder
        for part in args.part or PARTS:
            PARTS[part](args)


main()
