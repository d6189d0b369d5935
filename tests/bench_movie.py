#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""10^4 sub-images of 32 x 32 through PCA, k-means, a Gaussian mixture and
Ward's hierarchy: AtomDL (argument: build/bench_movie) beside NumPy, SciPy and
scikit-learn, one thread each, in the same run.

Packages python3-numpy, python3-scipy, python3-sklearn.
"""
import os
import subprocess
import sys
import tempfile
import time

for name in "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS":
    os.environ[name] = "1"

import numpy as np  # noqa: E402 (the thread count comes first)
from scipy.cluster.hierarchy import linkage  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.mixture import GaussianMixture  # noqa: E402

N, SIDE, K, COMPONENTS = 10000, 32, 6, 30


def sub_images():
    """K kinds: a ring of six atoms, one of them brighter, and noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    t = np.arange(6) * np.pi / 3
    atom = [np.exp(-((x - 8 * np.cos(a))**2 + (y - 8 * np.sin(a))**2) / 8)
            for a in t]
    kind = np.einsum("ka,ayx->kyx", 0.5 + np.eye(6), atom).reshape(6, -1)
    noise = 0.3 * rng.standard_normal((N, SIDE * SIDE))
    return (kind[rng.integers(0, K, N)] + noise).astype(np.float32)


def peers(x):
    """(name, seconds, result) of each stage, the faster of two PCAs."""
    x = x.astype(float)
    times = []
    for solver in "randomized", "covariance":
        t = time.perf_counter()
        if solver == "covariance":
            c = x - x.mean(0)
            value, vector = np.linalg.eigh(c.T @ c / (N - 1))
            value, z = value[::-1], c @ vector[:, :-COMPONENTS - 1:-1]
        else:
            p = PCA(COMPONENTS, svd_solver=solver, random_state=0)
            z, value = p.fit_transform(x), p.explained_variance_
        times.append((time.perf_counter() - t, value[0]))
    yield ("pca", *min(times))
    y = np.ascontiguousarray(z)
    t = time.perf_counter()
    km = KMeans(K, n_init=10, random_state=0).fit(y)
    yield "kmeans", time.perf_counter() - t, km.inertia_
    t = time.perf_counter()
    g = GaussianMixture(K, means_init=km.cluster_centers_).fit(y)
    yield "gmm", time.perf_counter() - t, g.score(y)
    t = time.perf_counter()
    top = linkage(y, "ward")[-1, 2]
    yield "ward", time.perf_counter() - t, top


def main():
    x = sub_images()
    with tempfile.NamedTemporaryFile() as f:
        x.tofile(f)
        f.flush()
        out = subprocess.run([sys.argv[1], f.name, str(N), str(SIDE * SIDE),
                              str(K)], check=True, capture_output=True,
                             text=True).stdout
    ours = {w[0]: (float(w[1]), float(w[2]))
            for w in map(str.split, out.splitlines())}
    total = [0, 0]
    print("stage     AtomDL s   peer s  ratio   AtomDL          peer")
    for name, seconds, result in peers(x):
        mine, got = ours[name]
        total[0] += mine
        total[1] += seconds
        print(f"{name:8} {mine:9.3f} {seconds:8.3f} {mine / seconds:6.2f}   "
              f"{got:<15.9g} {result:.9g}")
    print(f"all      {total[0]:9.3f} {total[1]:8.3f} "
          f"{total[0] / total[1]:6.2f}   memory {ours['memory'][1] / 1e6:.1f} "
          "MB")


if __name__ == "__main__":
    main()
