#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Measures `atomdl movie`: simulated movies against their truth, real ones,
speed.

    [ATOMDL_DATA=FOLDER] tests/movies.py [--program ./atomdl] [--keep DIR]
        [--frames N] [PART...]

PART: ws2, diffusion, walk, rotor, speed, and with ATOMDL_DATA silicon, wse2;
default: all. Needs python3-numpy. Nothing is fitted here: it prints what it
counts.
"""
import argparse
import collections
import csv
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

DATA = os.environ.get("ATOMDL_DATA", "")


def run(args, *words, **more):
    done = subprocess.run([args.program, *map(str, words)], **more,
                          stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))}: {done.stderr.decode()}")
    return done.stdout


def table(path):
    with open(path) as f:
        return list(csv.DictReader(f))


def movie(args, out, frames, *options):
    run(args, "movie", *frames, "-o", out, *options)
    return table(out + "/defects.csv")


def truth_of(path, frames, side):
    """{frame: [(id, x_A, y_A, kind)]}"""
    t = collections.defaultdict(list)
    for r in table(path):
        t[int(r["frame"])].append((int(r["id"]), float(r["x_A"]),
                                   float(r["y_A"]), r["kind"]))
    return t


def inside(x, y, side, margin=2.5):
    return margin < x < side - margin and margin < y < side - margin


# ---------- dichalcogenides: links, classes, rates, diffusion -----------------

RECIPE = """material = ws2-2h-1
size = 256
pixel = 0.15
thermal = 0.05
dose = {dose}
background = 0.1
jitter = 0.03
scatter = vx1 0.03
scatter = sub-m Mo 0.03
{complexes}event = vx1 hop {hop}
event = vx1 vx2 {up}
event = vx2 vx1 {down}
movie_drift = normal 0 0.2
seed = {seed}
"""


def match_truth(found, truth, side):
    """Truth id and kind of each spot (None: none within 1 A), how many true
    defects inside were found, and how many there are."""
    by = collections.defaultdict(list)
    for r in found:
        by[int(r["frame"])].append(r)
    hit = total = 0
    for k, want in truth.items():
        spots = by.get(k, [])
        pairs = sorted((np.hypot(float(r["x_A"]) - x, float(r["y_A"]) - y), i,
                        j) for i, r in enumerate(spots)
                       for j, (_, x, y, _) in enumerate(want))
        used = set()
        for d, i, j in pairs:
            if d > 1 or "id" in spots[i] or j in used:
                continue
            used.add(j)
            spots[i]["id"], spots[i]["kind"] = want[j][0], want[j][3]
        for j, (_, x, y, _) in enumerate(want):
            if inside(x, y, side):
                total += 1
                hit += j in used
    return hit, total


def links(found):
    """Right links, wrong ones, ones not made."""
    right = wrong = missed = 0
    last, seen = {}, {}
    for r in sorted(found, key=lambda r: int(r["frame"])):
        if "id" not in r:
            continue
        k = int(r["frame"])
        if r["track"] in last:
            right += last[r["track"]] == r["id"]
            wrong += last[r["track"]] != r["id"]
        if r["id"] in seen and seen[r["id"]][1] != r["track"]:
            missed += k - seen[r["id"]][0] <= 3
        last[r["track"]] = r["id"]
        seen[r["id"]] = k, r["track"]
    return right, wrong, missed


def ws2_movie(args, name, recipe):
    with open(name + ".recipe", "w") as f:
        f.write(recipe)
    run(args, "simulate", name + ".recipe", "--movie", args.frames, "--format",
        "npy", "-o", name)
    files = [f"{name}-{k:04}.npy" for k in range(args.frames)]
    return movie(args, name, files, "--material", "ws2", "--pixel-size", 0.15)


def ws2(args, folder):
    frames, side = args.frames, 256 * 0.15
    print(f"WS2: {frames} frames of 256 x 256, 0.15 A a pixel, drift 0.2 A a "
          "frame")
    for complexes in ("", "scatter = sub-m-vx1 Mo 0.01\n"):
        for speed, hop in (("slow", 0.02), ("fast", 0.12)):
            for dose in (4000, 10000, 100000):
                name = f"{folder}/ws2-{speed}-{dose}{'c' if complexes else ''}"
                if complexes and (dose != 100000 or speed == "slow"):
                    continue
                up, down = 0.01, 0.04
                found = ws2_movie(args, name, RECIPE.format(
                    dose=dose, hop=hop, up=up, seed=7, down=down,
                    complexes=complexes))
                truth = truth_of(name + ".defects.csv", frames, side)
                ws2_say(f"{speed} {dose} e/A2{' complexes' * bool(complexes)}",
                        name, found, truth, side, hop, up, down)


def diffusion(args, folder):
    """D of vx1 in movies of twelve seeds together, against that of the true
    paths in view, where nothing is cut by the border; the error by how much
    single movies scatter."""
    side = 256 * 0.15
    for speed, hop in (("slow", 0.02), ("fast", 0.12)):
        for dose in (100000, 10000, 4000):
            sums = collections.defaultdict(list)
            for seed in range(41, 53):
                name = f"{folder}/d-{speed}-{dose}-{seed}"
                ws2_movie(args, name, RECIPE.format(
                    dose=dose, hop=hop, up=0.01, seed=seed, down=0.04,
                    complexes="").replace("vx1 0.03", "vx1 0.05"))
                truth = truth_of(name + ".defects.csv", args.frames, side)
                rows = {r["class"]: r for r in table(name + "/motion.csv")}
                sums["true"].append(true_hops(truth, "vx1", 3.153, side)
                                    * 3.153 ** 2 / 4)
                for key in ("D_walk", "D_hops", "D_msd"):
                    sums[key].append(float(rows["vx1"][key]))
            d = {k: np.mean(v) for k, v in sums.items()}
            ratio = np.divide(sums["D_walk"], sums["true"])
            part = d["D_walk"] / d["true"]
            off = np.subtract(sums["D_walk"], part * np.array(sums["true"]))
            error = np.std(off) / np.sqrt(len(off) - 1) / d["true"]
            print(f"{speed} {dose} e/A2: D {d['true']:.4f} A2/frame; by hidden "
                  f"walks {d['D_walk']:.4f}, {part:.3f} +- {error:.3f} of it"
                  f" (single movies {ratio.min():.2f} to {ratio.max():.2f}); by "
                  f"hops {d['D_hops'] / d['true']:.3f}, by MSD "
                  f"{d['D_msd'] / d['true']:.3f}", flush=True)


def silicon_walk(args, folder):
    """Simulated silicon that hops: diffusion, and that nothing else moves."""
    for hop in (0.05, 0.15):
        name = f"{folder}/walk-{hop}"
        run(args, "simulate", "--material", "graphene", "--size", 320,
            "--pixel-size", 0.15, "--dose", 100000, "--set",
            "defects = si-c3", "--set", "count = 9", "--set",
            f"event = si-c3 hop {hop}", "--set", "movie_drift = normal 0 0.1",
            "--set", "apart = 9", "--movie", args.frames, "--format", "npy",
            "-o", name)
        found = movie(args, name,
                      [f"{name}-{k:04}.npy" for k in range(args.frames)],
                      "--pixel-size", 0.15)
        truth = truth_of(name + ".defects.csv", args.frames, 48)
        hit, total = match_truth(found, truth, 48)
        right, wrong, missed = links(found)
        own = true_hops(truth, "si-c3", 2.46, 48)
        r = {r["class"]: r for r in table(name + "/motion.csv")}["si-c3"]
        print(f"graphene, silicon hops {hop} a frame: found "
              f"{hit / total:.3f}; links right "
              f"{right / (right + wrong):.4f} ({wrong} wrong, {missed} "
              f"broken); D by hops {float(r['D_hops']):.4f} +- "
              f"{float(r['D_hops_error']):.4f}, by MSD "
              f"{float(r['D_msd']):.4f} +- {float(r['D_msd_error']):.4f}; "
              f"recipe {hop * 2.46 ** 2 / 4:.4f}, true paths "
              f"{own * 2.46 ** 2 / 4:.4f} A2/frame")


def ws2_say(title, name, found, truth, side, hop, up, down):
    hit, total = match_truth(found, truth, side)
    right, wrong, missed = links(found)
    known = [r for r in found if "id" in r]
    raw = sum(r["class"] != r["kind"] for r in known)
    hidden = sum(r["likely_class"] != r["kind"] for r in known)
    print(f" {title}: found {hit / max(total, 1):.3f} of {total}, false "
          f"{1 - len(known) / max(len(found), 1):.3f}; links right "
          f"{right / max(right + wrong, 1):.4f} ({wrong} wrong, {missed} "
          f"broken of {right}); wrong class {raw / len(known):.4f}, after the "
          f"chain {hidden / len(known):.4f}")
    with open(name + "/transitions.json") as f:
        t = json.load(f)
    if {"vx1", "vx2"} <= set(t["classes"]):
        i, j = t["classes"].index("vx1"), t["classes"].index("vx2")
        for key in ("as_found", "corrected"):
            m, s = t[key]["matrix"], t[key]["matrix_sd"]
            print(f"   {key}: vx1 to vx2 {m[i][j]:.4f} +- {s[i][j]:.4f} (true "
                  f"{up}), back {m[j][i]:.4f} +- {s[j][i]:.4f} (true {down})")
        m = t["hidden_markov"]["matrix"]
        c = t["hidden_markov"]["found_as"]
        print(f"   chain: {m[i][j]:.4f}, back {m[j][i]:.4f}; finds vx1 as vx2 "
              f"{c[i][j]:.3f}, vx2 as vx1 {c[j][i]:.3f}")
    rows = {r["class"]: r for r in table(name + "/motion.csv")}
    own = true_hops(truth, "vx1", 3.153, side)
    if "vx1" in rows:
        r = rows["vx1"]
        a2 = 3.153 ** 2
        print(f"   vx1: D by the walk {float(r['D_walk']):.4f} +- "
              f"{float(r['D_walk_error']):.4f}, by hops "
              f"{float(r['D_hops']):.4f} +- "
              f"{float(r['D_hops_error']):.4f}, by MSD "
              f"{float(r['D_msd']):.4f} +- {float(r['D_msd_error']):.4f}; "
              f"recipe {hop * a2 / 4:.4f}, true paths {own * a2 / 4:.4f} "
              f"A2/frame")


def true_hops(truth, kind, a, side):
    """Hops a frame of the defects of a kind that are in view; drift is the
    median motion: most do not hop."""
    hops = steps = 0
    last = {}
    for k in sorted(truth):
        now = {i: (x, y, what) for i, x, y, what in truth[k]}
        shift = np.median([np.subtract(now[i][:2], last[i][:2]) for i in now
                           if i in last] or [(0, 0)], 0)
        for i, (x, y, what) in now.items():
            if (i in last and last[i][2] == kind
                    and inside(*last[i][:2], side)):
                d = np.hypot(*(np.array([x, y]) - last[i][:2] - shift))
                steps += 1
                hops += d > a / 2
        last = now
    return hops / max(steps, 1)


# ---------- METHOD D.3: the rotor's 72 frames --------------------------------

def triangle(p):
    """Angles of three points [degrees], from the least."""
    sides = [p[(i + 1) % 3] - p[i] for i in range(3)]
    phi = [np.arctan2(*s) for s in sides]
    turn = np.degrees(np.diff(phi + phi[:1])) % 360
    return np.sort(180 - np.minimum(turn, 360 - turn))


def rotor(args, folder, thermal=0.06):
    """Switches at 3-(4)-5, 8-9, 27-28, 55-56, 56-57; frame 4 is half a scan.
    thermal: of the atoms, frozen anew in each frame [A]."""
    state, frames, truth = 0, [], []

    def image(turn, seed):
        name = f"{folder}/rotor-{turn}-{seed}"
        run(args, "simulate", "--material", "graphene", "--size", 256,
            "--pixel-size", 0.078, "--seed", seed + 1, "--dose", 200000,
            "--set", "rotation = 12", "--set", f"thermal = {thermal}", "--set",
            f"place = si3-c6 9.9 9.9 {turn}", "--format", "npy", "-o", name)
        truth.append(triangle(np.array(
            [(float(r["x_A"]), float(r["y_A"])) for r in
             table(name + ".truth.csv") if r["species"] == "Si"])))
        return np.load(name + ".npy")

    for k in range(72):
        state ^= k in (5, 9, 28, 56, 57)
        frames.append(image(state, k))
    half = image(0, 4).copy()
    half[128:] = image(1, 4)[128:]
    frames[4] = half
    np.save(f"{folder}/rotor.npy", np.array(frames, np.float32))
    movie(args, folder + "/rotor", [folder + "/rotor.npy"], "--pixel-size",
          0.078)
    rows = table(folder + "/rotor/rotors.csv")
    say_rotor(f"rotor of 72 frames, atoms displaced by {thermal} A (switches "
              "at 5 9 28 56 57, 4 is half a scan)", rows)
    truth = np.array(truth[:72])
    off = np.array([np.sort([float(r[f"angle{i}_deg"]) for i in (1, 2, 3)])
                    for r in rows]) - truth
    off = off[[r["flagged"] == "0" for r in rows]]
    print(f"  true angles off 60 by at most {np.abs(truth - 60).max():.1f} "
          f"degrees; found off true by {np.sqrt((off ** 2).mean()):.1f} rms, "
          f"{np.abs(off).max():.1f} at most")
    if thermal:
        rotor(args, folder, 0)


def say_rotor(title, rows):
    good = [r for r in rows if r["flagged"] == "0"]
    angles = np.array([float(r[f"angle{i}_deg"]) for r in good
                       for i in (1, 2, 3)])
    print(f"{title}: {len(rows)} frames in "
          f"{len({r['track'] for r in rows})} tracks; switched in",
          " ".join(r["frame"] for r in rows if r["switched"] == "1"),
          "; flagged", " ".join(r["frame"] for r in rows
                                if r["flagged"] == "1") or "none")
    if len(angles):
        phi = np.array([float(r["phi_deg"]) for r in good]) % 120
        base = phi[0]
        far = (phi - base + 60) % 120 - 60
        groups = [g for g in (far[np.abs(far) < 30],
                              np.where(far < 0, far + 120, far)
                              [np.abs(far) >= 30]) if len(g)]
        print("  triangle angles off 60 by at most "
              f"{np.abs(angles - 60).max():.1f} degrees (s.d. "
              f"{angles.std():.1f}); states",
              ", ".join(f"{base + g.mean():.1f} +- {g.std():.1f} ({len(g)})"
                        for g in groups))


# ---------- real movies -------------------------------------------------------

def silicon(args, folder):
    frames = collections.defaultdict(dict)
    for r in table(os.path.join(DATA, "si-graphene/labels.csv")):
        if float(r["scan_size_pm"]) == 2000:
            key = r["stack_file"], int(r["original_file_number"])
            frames[key[0]][key[1]] = int(r["slice"])

    def assemble(name, stacks):
        own = {}
        for s in stacks:
            pixels = np.load(os.path.join(DATA, "si-graphene", s))
            own.update({n: pixels[i] for n, i in frames[s].items()})
        first, last = min(own), max(own)
        all_of = np.zeros((last - first + 1, 256, 256), np.uint16)
        for n, px in own.items():
            all_of[n - first] = px
        np.save(f"{folder}/{name}.npy", all_of)
        return first, len(own)

    first, n = assemble("walk", ["Si1C3.npy", "Si1C4.npy"])
    found = movie(args, folder + "/walk", [folder + "/walk.npy"],
                  "--pixel-size", 0.078125)
    print(f"walking silicon: {n} frames (missing numbers: empty frames), "
          f"{len(found)} spots in {len({r['track'] for r in found})} tracks; "
          "coordination by file number",
          " ".join(f"{int(r['frame']) + first}:{r['coordination']}"
                   for r in found))
    for r in table(folder + "/walk/motion.csv"):
        print(f"  {r['class']}: {r['hops']} hops in {r['steps']} frames, "
              f"{float(r['hop_rate']):.2f} +- {float(r['hop_rate_error']):.2f}"
              f" a frame, D {float(r['D_hops']):.2f} +- "
              f"{float(r['D_hops_error']):.2f} A2/frame")
    first, n = assemble("trimer", ["Si3C6.npy"])
    movie(args, folder + "/trimer", [folder + "/trimer.npy"], "--pixel-size",
          0.078125)
    rows = table(folder + "/trimer/rotors.csv")
    for r in rows:
        r["frame"] = str(int(r["frame"]) + first)
    say_rotor(f"trimer, {n} frames by file number", rows)


def wse2(args, folder):
    path = os.path.join(DATA, "wse2/HAADF_5frames.tif")
    found = movie(args, folder + "/wse2", [path], "--material", "wse2",
                  "--pixel-size", 0.37)
    lengths = collections.Counter(r["track"] for r in found)
    print(f"WSe2, 5 frames: {len(found)} defects in {len(lengths)} tracks, "
          f"{sum(n == 5 for n in lengths.values())} of them in all frames; "
          "classes", dict(collections.Counter(r["class"] for r in found)))
    for r in table(folder + "/wse2/frames.csv"):
        print(f"  frame {r['frame']}: {r['atoms']} atoms, {r['found']} "
              f"defects, drift {r['dx_A']} {r['dy_A']} A (known "
              f"{r['drift_known']})")
    found = movie(args, folder + "/wse2-atoms", [path], "--material", "wse2",
                  "--pixel-size", 0.37, "--track", "atoms")
    lengths = collections.Counter(r["track"] for r in found)
    print(f"  as atoms: {len(found)} in {len(lengths)} tracks, "
          f"{sum(n == 5 for n in lengths.values())} in all frames")


# ---------- speed -------------------------------------------------------------

def speed(args, folder):
    name = folder + "/speed"
    with open(name + ".recipe", "w") as f:
        f.write(RECIPE.format(dose=20000, hop=0.05, up=0.01, down=0.04, seed=5,
                              complexes=""))
    run(args, "simulate", name + ".recipe", "--movie", 100, "--format", "npy",
        "-o", name)
    stack = np.array([np.load(f"{name}-{k:04}.npy") for k in range(100)],
                     np.float32)
    np.save(name + ".npy", stack)
    began, cpu = time.time(), os.times()
    movie(args, name, [name + ".npy"], "--material", "ws2", "--pixel-size",
          0.15)
    wall, now = time.time() - began, os.times()
    print(f"speed: 100 frames of 256 x 256 to the report in {wall:.1f} s "
          f"({now[2] + now[3] - cpu[2] - cpu[3]:.1f} s of processor time)")
    for repeat in (1, 5):
        raw = stack.astype("<f4").tobytes() * repeat
        began, cpu = time.time(), os.times()
        with open(folder + "/lines", "w+") as out:
            p = subprocess.Popen(
                [args.program, "movie", "-", "--size", "256x256", "--type",
                 "f32", "--material", "ws2", "--pixel-size", "0.15"],
                stdin=subprocess.PIPE, stdout=out)
            p.stdin.write(raw)
            p.stdin.flush()
            with open(f"/proc/{p.pid}/status") as f:
                peak = [line.split()[1] for line in f if "VmHWM" in line][0]
            p.stdin.close()
            p.wait()
            out.seek(0)
            lines = out.readlines()
        wall, now = time.time() - began, os.times()
        used = now[2] + now[3] - cpu[2] - cpu[3]
        print(f"  stream: {len(lines)} lines in {wall:.1f} s, "
              f"{len(lines) / wall:.1f} frames a second "
              f"({len(lines) / used:.1f} a second of processor time), memory "
              f"{int(peak) / 1024:.1f} MiB at most")


PARTS = {"ws2": ws2, "diffusion": diffusion, "walk": silicon_walk,
         "rotor": rotor, "silicon": silicon, "wse2": wse2, "speed": speed}


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--program", default="./atomdl")
    p.add_argument("--keep", help="folder for the results")
    p.add_argument("--frames", type=int, default=100)
    p.add_argument("part", nargs="*", help=" ".join(PARTS))
    args = p.parse_args()
    args.program = os.path.abspath(args.program)
    parts = args.part or [k for k in PARTS
                          if os.path.isdir(DATA) or k not in ("silicon",
                                                              "wse2")]
    with tempfile.TemporaryDirectory() as spare:
        folder = args.keep or spare
        os.makedirs(folder, exist_ok=True)
        for part in parts:
            PARTS[part](args, folder)


main()
