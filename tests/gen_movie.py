#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Writes vectors_movie.h: what NumPy, SciPy and scikit-learn make of the
point sets of tests/test_movie.c.

    /usr/bin/python3 gen_movie.py > vectors_movie.h

Packages python3-numpy, python3-scipy, python3-sklearn. The points come from
number(), which the test has as well; only results are stored.
"""
import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture


def number(i):
    """Hash of i, in [-1/2, 1/2), exact in binary32."""
    i = np.asarray(i, dtype=np.uint64) * 2654435761 & 0xffffffff
    i = (i ^ i >> 15) * 2246822519 & 0xffffffff
    return ((i ^ i >> 13) >> 16).astype(np.float64) / 65536 - 0.5


def table(name, x, width=3):
    x = [float(v).hex() for v in np.ravel(x)]
    print(f"static const double {name}[] = {{")
    for i in range(0, len(x), width):
        print("    " + " ".join(v + "," for v in x[i:i + width]))
    print("};\n")


def wide(n, d, start):
    """Rows whose column j is scaled by 8/(j + 1), plus a trend."""
    x = number(start + np.arange(n * d)).reshape(n, d)
    return (x + x[:, :1]) * np.exp2(3 - np.arange(d) // 2)


def blobs(n, d, k, start):
    """Row i belongs to blob i mod k."""
    centre = 4 * number(start + np.arange(k * d)).reshape(k, d)
    x = number(start + 1000 + np.arange(n * d)).reshape(n, d)
    return centre[np.arange(n) % k] + x


class From(GaussianMixture):
    """EM from given labels."""
    def _initialize_parameters(self, x, random_state):
        k = self.n_components
        self._initialize(x, np.eye(k)[np.arange(len(x)) % k])


print("""/* SPDX-License-Identifier: MIT
   Written by gen_movie.py (NumPy, SciPy, scikit-learn). */
""")
for name, n, d in ("PCA_TALL", 40, 12), ("PCA_FLAT", 9, 30):
    x = wide(n, d, 50)
    x = x - x.mean(0)
    u, s, v = np.linalg.svd(x, full_matrices=False)
    table(name + "_VALUE", (s ** 2 / (n - 1))[:8])
    table(name + "_VECTOR", v[:3])
x = blobs(150, 4, 5, 7)
table("KMEANS_INERTIA",
      [KMeans(5, n_init=50, random_state=0, tol=0).fit(x).inertia_])
result = []
for kind in "full", "diag":
    g = From(5, covariance_type=kind, tol=1e-12, max_iter=1000).fit(x)
    result += [g.score(x), g.bic(x), *g.weights_]
table("GMM", result)
table("WARD", linkage(blobs(60, 3, 4, 11), "ward")[:, 2])
cost = []
for i, (na, nb, gate) in enumerate([(30, 34, .2), (60, 50, .15), (40, 40, 3),
                                    (25, 90, .3), (200, 200, .1)]):
    a = number(3000 * i + np.arange(2 * na)).reshape(na, 2)
    b = number(3000 * i + 1500 + np.arange(2 * nb)).reshape(nb, 2)
    c = ((a[:, None] - b) ** 2).sum(2)
    c = np.hstack([np.minimum(c, gate ** 2), np.full((na, na), gate ** 2)])
    cost.append(c[linear_sum_assignment(c)].sum())
table("ASSIGN_COST", cost)
