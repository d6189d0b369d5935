#!/usr/bin/env python3
"""Throughput beside NumPy's, in the same run: `make bench` runs this.

Rounds alternate between the C program (tests/bench_math.c, which times the C
library too) and NumPy; each figure is the least of all rounds, in ns a value.
"""
import subprocess
import sys
import time

import numpy as np

N = 1 << 16


def least(f):
    best = 1e9
    for _ in range(15):
        t = time.perf_counter_ns()
        f()
        best = min(best, time.perf_counter_ns() - t)
    return best / N


def numpy_round():
    rng = np.random.Generator(np.random.Philox(1))
    mt = np.random.Generator(np.random.PCG64(1))
    x = (-20 * rng.random(N)).astype(np.float32)
    y = np.empty_like(x)
    return {
        "numpy expf": least(lambda: np.exp(x, out=y)),
        "numpy philox uniform f32": least(
            lambda: rng.random(N, dtype=np.float32)),
        "numpy philox normal f32": least(
            lambda: rng.standard_normal(N, dtype=np.float32)),
        "numpy pcg64 normal f32": least(
            lambda: mt.standard_normal(N, dtype=np.float32)),
        "numpy philox poisson 3": least(lambda: rng.poisson(3, N)),
        "numpy philox poisson 100": least(lambda: rng.poisson(100, N)),
    }


def main():
    best = {}
    for _ in range(5):
        out = subprocess.run([sys.argv[1]], capture_output=True, text=True,
                             check=True).stdout
        rows = [line.split() for line in out.splitlines()]
        figures = {name: float(ns) for name, ns in rows}
        figures.update(numpy_round())
        for name, ns in figures.items():
            best[name] = min(ns, best.get(name, 1e9))
    for name, ns in best.items():
        print("%-26s %7.2f ns  %8.1f M/s" % (name, ns, 1e3 / ns))


if __name__ == "__main__":
    main()
