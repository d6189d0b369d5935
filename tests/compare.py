#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sets simulated images beside experimental ones, in numbers and in a picture.

    ATOMDL_DATA=FOLDER tests/compare.py [--program ./atomdl] [--picture PNG]
        [PAIR...]

PAIR: si-c3 si3-c6 boundary mos2 wse2 sim00; default: all. Needs python3-numpy
and python3-pil. Each recipe below holds what the file itself says: pixel size,
direction of the lattice, place and kind of its defects where they are known;
from its spectrum the dose (reflections over the plateau beyond the probe's
reach) and the blur (second over first reflections; slope of the plateau); from
mean over noise of its pixels the background. The rest is the paper's
instrument.

Both images are brought to mean 0 and standard deviation 1. Then
  slow, lattice, noise   rms difference, in dB, of the radially averaged power
                         spectra (Hann window, rings of 0.05 / A) below 0.3 / A,
                         up to the probe's limit 2 aperture / wavelength, beyond
  grey, smooth           earth mover's distance of the histograms, in standard
                         deviations: of the pixels; after a Gaussian blur of
                         0.5 A, which leaves the atoms and little of the noise
In brackets the same between two simulations that differ in the seed alone.
"""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

DATA = os.environ.get("ATOMDL_DATA", "")
RING = 0.05  # 1/A

GRAPHENE = """material = graphene
voltage = 60
aperture = 31
inner = 86
outer = 200
"""
WSE2 = """material = wse2-2h-1
rotation = 0
voltage = 80
aperture = 23
inner = 40
outer = 160
"""

# file, slice of a stack, pixel of the file in A along x and y, probe's limit
# 2 aperture / wavelength in 1/A, recipe
PAIRS = {
    "si-c3": ("si-graphene/Si1C3.npy", 0, (0.0781, 0.0781), 1.27, GRAPHENE + """
size = 256
pixel = 0.0781
rotation = 36.5
place = si-c3 7.7 10.6
source = 0.5
dose = 6.3e5
background = 6
"""),
    "si3-c6": ("si-graphene/Si3C6.npy", 0, (0.0781, 0.0781), 1.27,
               GRAPHENE + """
size = 256
pixel = 0.0781
rotation = 12.8
place = si3-c6 11.6 10.6
source = 0.8
dose = 3.1e6
background = 1.8
"""),
    "boundary": ("graphene/G-GrainBoundary-4nm.npy", None,
                 (0.078125, 0.078125), 1.27, GRAPHENE + """
size = 512
pixel = 0.078125
rotation = 2
boundary = 32.3
source = 0.7
dose = 7.7e5
background = 3.8
"""),
    # the lattice says that its pixels are not square
    "mos2": ("mos2/MoS2_stem_Exp-000-2_f32.npy", None, (0.162, 0.191), 1.27,
             GRAPHENE.replace("graphene", "mos2-2h-1") + """
size = 512
pixel = 0.176
rotation = 0
scatter = sub-m V 0.01
source = 0.8
dose = 3.5e4
background = 3
"""),
    "wse2": ("wse2/exp_20MX_80kV_ADF_1389.png", None, (0.095, 0.095), 1.10,
             WSE2 + """
size = 1024
pixel = 0.095
source = 0.8
dose = 2.3e4
blur = 0.72
saturation = 0.999
bits = 8
"""),
    # shares of its own truth; no noise but its 8 bits
    "sim00": ("wse2/sim00_in.png", None, (0.095, 0.095), 1.10, WSE2 + """
size = 1024
pixel = 0.095
thermal = 0
source = 0.8
scatter = sub-m V 0.1
scatter = vx1 0.18
scatter = vx2 0.011
saturation = 0.999
bits = 8
"""),
}


def experiment(name):
    """The file's image, 64-bit."""
    path, index = PAIRS[name][:2]
    path = os.path.join(DATA, path)
    if path.endswith(".npy"):
        image = np.load(path)
        return (image if index is None else image[index]).astype(float)
    return np.array(Image.open(path).convert("L")).astype(float)


def simulate(args, folder, name, seed):
    recipe = os.path.join(folder, name + ".recipe")
    with open(recipe, "w") as f:
        f.write(f"seed = {seed}\n" + PAIRS[name][4])
    out = os.path.join(folder, f"{name}-{seed}")
    done = subprocess.run([args.program, "simulate", recipe, "--format", "npy",
                           "-o", out])
    if done.returncode:
        sys.exit(1)
    return np.load(out + ".npy").astype(float).squeeze()


def standard(image):
    return (image - image.mean()) / image.std()


def wave_numbers(shape, pixel):
    """|k| in 1/A of each point of an image's transform."""
    kx = np.fft.fftfreq(shape[1], pixel[0])
    ky = np.fft.fftfreq(shape[0], pixel[1])
    return np.hypot(kx[None], ky[:, None])


def spectrum(image, pixel, rings):
    """Mean power in dB in each ring."""
    window = np.outer(*(np.hanning(n) for n in image.shape))
    power = np.abs(np.fft.fft2(standard(image) * window)) ** 2
    power /= (window ** 2).sum()
    at = (wave_numbers(image.shape, pixel) / RING).astype(int)
    total = np.bincount(at.ravel(), power.ravel(), rings)[:rings]
    return 10 * np.log10(total / np.bincount(at.ravel(), None, rings)[:rings])


def smooth(image, pixel, sigma=0.5):
    k = wave_numbers(image.shape, pixel)
    image = np.fft.fft2(image) * np.exp(-2 * (np.pi * sigma * k) ** 2)
    return np.fft.ifft2(image).real


def earth_mover(a, b):
    part = (np.arange(1000) + 0.5) / 1000
    return np.abs(np.quantile(standard(a), part)
                  - np.quantile(standard(b), part)).mean()


def distances(a, a_pixel, b, b_pixel, limit):
    """slow, lattice, noise [dB], grey, smooth [standard deviations]"""
    rings = int(0.5 / max(a_pixel + b_pixel) / RING)
    d = (spectrum(a, a_pixel, rings) - spectrum(b, b_pixel, rings)) ** 2
    edges = [0, int(0.3 / RING + 0.5), int(limit / RING + 0.5), rings]
    bands = [np.sqrt(d[i:j].mean()) for i, j in zip(edges, edges[1:])]
    return bands + [earth_mover(a, b), earth_mover(smooth(a, a_pixel),
                                                   smooth(b, b_pixel))]


def grey(image, side=512):
    low, high = np.percentile(image, [0.5, 99.5])
    image = np.clip((image - low) / (high - low) * 255, 0, 255)
    return Image.fromarray(image.astype(np.uint8)).resize((side, side))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--program", default="./atomdl")
    p.add_argument("--picture", help="PNG: experiment left, simulation right")
    p.add_argument("pair", nargs="*", help=" ".join(PAIRS))
    args = p.parse_args()
    if not os.path.isdir(DATA):
        sys.exit("ATOMDL_DATA must name the folder of images")
    names = args.pair or list(PAIRS)
    sheet = Image.new("L", (1032, 520 * len(names) - 8), 255)
    print(f"{'':10}{'slow':>12}{'lattice':>12}{'noise dB':>12}{'grey':>14}"
          f"{'smooth':>14}")
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(names):
            _, _, pixel, limit, recipe = PAIRS[name]
            side = float(recipe.split("pixel = ")[1].split()[0])
            real = experiment(name)
            made, again = (simulate(args, folder, name, s) for s in (1, 2))
            d = distances(real, pixel, made, (side, side), limit)
            e = distances(again, (side, side), made, (side, side), limit)
            print(f"{name:10}" + "".join(
                f"{v:7.1f} ({w:.1f})" if j < 3 else f"{v:8.3f} ({w:.3f})"
                for j, (v, w) in enumerate(zip(d, e))), flush=True)
            sheet.paste(grey(real), (0, 520 * i))
            sheet.paste(grey(made), (520, 520 * i))
    if args.picture:
        sheet.save(args.picture)


main()
