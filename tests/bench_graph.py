#!/usr/bin/env python3
"""Blobs and graphs beside scikit-image, SciPy and NetworkX (python3-skimage,
python3-scipy, python3-networkx), each in one process and one thread, same
input, answers compared. usage: bench_graph.py LIBRARY [blobs] [graph], LIBRARY
as `make build/libatomdl.so` makes it. Prints JSON lines; `ratio` is theirs to
ours, processor time."""
import ctypes as C
import json
import os
import sys
import time

for name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'):
    os.environ[name] = '1'
import numpy as np

lib = C.CDLL(os.path.abspath(sys.argv[1]))
what = sys.argv[2:] or ['blobs', 'graph']
lib.atomdl_chemistry_find.restype = C.c_void_p
BLOB = np.dtype([(k, 'f8') for k in ('x', 'y', 'sigma', 'value', 'error')]
                + [('border', 'i4'), ('fitted', 'i4')])
NODE = np.dtype([(k, 'f8') for k in ('x', 'y', 'score', 'error')]
                + [('z', 'u1'), ('count', 'u1'), ('pad', 'V6')])


class Arena(C.Structure):
    _fields_ = [('base', C.c_void_p), ('size', C.c_size_t),
                ('used', C.c_size_t), ('peak', C.c_size_t),
                ('failed', C.c_int)]


class Image(C.Structure):
    _fields_ = [('w', C.c_int), ('h', C.c_int), ('c', C.c_int),
                ('px', C.c_void_p)]


class Scales(C.Structure):
    _fields_ = [('sigma_min', C.c_double), ('sigma_max', C.c_double),
                ('sigmas', C.c_int), ('threshold', C.c_double),
                ('threshold_rel', C.c_double), ('overlap', C.c_double),
                ('margin', C.c_int), ('subpixel', C.c_int)]


class Graph(C.Structure):
    _fields_ = [('chemistry', C.c_void_p), ('node', C.c_void_p),
                ('nodes', C.c_int), ('bonds', C.c_int), ('rings', C.c_int),
                ('components', C.c_int)] \
        + [(k, C.c_void_p) for k in ('bond', 'first', 'link', 'edge',
                                     'component', 'flag', 'ring', 'corner')] \
        + [('histogram', C.c_int * 33)]


def in_arena(call):
    """call(arena) twice: measured, then timed; seconds, best of three"""
    best = 1e9
    measure = Arena()
    assert call(measure) == 0
    memory = np.zeros(measure.peak + 64, np.uint8)
    for _ in range(3):
        arena = Arena(memory.ctypes.data, measure.peak, 0, 0, 0)
        start = time.process_time()
        assert call(arena) == 0
        best = min(best, time.process_time() - start)
    return best, memory


def timed(f):
    start = time.process_time()
    result = f()
    return time.process_time() - start, result


def report(name, ours, theirs, **more):
    print(json.dumps(dict(name=name, atomdl_ms=round(ours * 1e3, 2),
                          peer_ms=round(theirs * 1e3, 1),
                          ratio=round(theirs / ours, 1), **more)), flush=True)


def network_map(n, pitch=9.0):
    """what a network makes of a close-packed sheet: bumps, sigma 2 px"""
    rng = np.random.RandomState(1)
    m, count = np.zeros((n, n)), 0
    for j, y in enumerate(np.arange(6, n - 6, pitch * 0.75 ** 0.5)):
        for x in np.arange(6 + (j % 2) * pitch / 2, n - 6, pitch):
            cy, cx = y + rng.uniform(-.5, .5), x + rng.uniform(-.5, .5)
            y0, x0 = max(0, int(cy) - 8), max(0, int(cx) - 8)
            yy, xx = np.mgrid[y0:min(n, y0 + 18), x0:min(n, x0 + 18)]
            bump = np.exp(-((yy - cy) ** 2 + (xx - cx) ** 2) / 8)
            part = m[y0:y0 + 18, x0:x0 + 18]
            np.maximum(part, bump, part)
            count += 1
    return m.astype(np.float32), count


def blobs():
    from skimage.feature import blob_log
    image, atoms = network_map(2048)
    for lo, hi, num in ((1, 3, 10), (1, 3, 5), (1, 5, 10)):
        theirs, want = timed(lambda: blob_log(image.astype(np.float64), lo, hi,
                                              num, threshold=0.1))
        out, count = np.zeros(2 * atoms, BLOB), C.c_int()
        how = Scales(lo, hi, num, 0.1, 0, 0.5, 0, 0)
        im = Image(2048, 2048, 1, image.ctypes.data)
        ours, _ = in_arena(lambda a: lib.atomdl_blobs(
            C.c_void_p(out.ctypes.data), C.byref(count), 2 * atoms,
            C.byref(im), 0, C.byref(how), C.byref(a)))
        got = np.stack([out[k][:count.value] for k in ('y', 'x', 'sigma')], 1)
        report('blob_log', ours, theirs, atoms=atoms, sigmas=[lo, hi, num],
               blobs=len(got), same_blobs_same_order=got.shape == want.shape
               and bool((got == want).all()))


def six_rings(adj):
    """6-rings: paths of length 3 from each node that meet again"""
    n = 0
    for a in adj:
        ends = {}
        for b in adj[a]:
            for c in adj[b]:
                if c != a:
                    for d in adj[c]:
                        if d != b and d != a:
                            ends.setdefault(d, []).append((b, c))
        for paths in ends.values():
            for i in range(len(paths)):
                for j in range(i):
                    n += not set(paths[i]) & set(paths[j])
    return n // 6


def graph():
    import networkx as nx
    from scipy.spatial import cKDTree
    rng = np.random.RandomState(1)
    m = 224
    i, j = (v.ravel() for v in np.mgrid[0:m, 0:m])
    base = np.stack([(i + 0.5 * (j % 2)) * 1.42 * 3 ** .5, j * 1.42 * 1.5], 1)
    xy = np.concatenate([base, base + [0, 1.42]])
    xy += rng.normal(0, 0.03, xy.shape)
    g = Graph()
    node = np.zeros(len(xy), NODE)
    node['x'], node['y'], node['z'], node['count'] = xy[:, 0], xy[:, 1], 6, 1
    ours, memory = in_arena(lambda a: lib.atomdl_graph_new(
        C.byref(g), C.c_void_p(node.ctypes.data), len(xy),
        C.c_void_p(lib.atomdl_chemistry_find(b'graphene')), None,
        C.c_double(0), C.byref(a)))

    def peer():
        pairs = cKDTree(xy).query_pairs(1.8, output_type='ndarray')
        h = nx.Graph()
        h.add_nodes_from(range(len(xy)))
        h.add_edges_from(pairs.tolist())
        parts = len(list(nx.connected_components(h)))
        degrees = nx.degree_histogram(h)
        return len(pairs), parts, degrees, six_rings(h.adj)

    theirs, (bonds, parts, degrees, rings) = timed(peer)
    first = np.ctypeslib.as_array(
        C.cast(g.first, C.POINTER(C.c_uint32)), (len(xy) + 1,))
    same = (g.bonds, g.components, np.bincount(np.diff(first)).tolist(),
            g.histogram[6]) == (bonds, parts, degrees, rings)
    report('graph', ours, theirs, atoms=len(xy), bonds=bonds, rings=rings,
           same_answers=same)


for name in what:
    {'blobs': blobs, 'graph': graph}[name]()
