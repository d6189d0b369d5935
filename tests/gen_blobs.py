#!/usr/bin/env python3
"""Writes tests/vectors_blobs.h: blobs of scikit-image (python3-skimage, 0.19.3
made the committed file) for maps that the test draws again from its own random
numbers. usage: gen_blobs.py MAPS > vectors_blobs.h, MAPS as test_blobs.c
writes them: `test blobs_vectors` with ATOMDL_BLOB_MAPS=FILE in the environment.
The maps hold no two equal responses, so that the order is defined."""
import struct
import sys

import skimage
from skimage.feature import blob_log
import numpy as np


def main():
    data = open(sys.argv[1], 'rb').read()
    at, rows, cases = 0, [], []
    while at < len(data):
        h, w, num = struct.unpack_from('<3i', data, at)
        lo, hi, threshold = struct.unpack_from('<3d', data, at + 12)
        at += 36
        image = np.frombuffer(data, '<f4', h * w, at).reshape(h, w)
        at += 4 * h * w
        blobs = blob_log(image.astype(np.float64), lo, hi, num, threshold)
        cases.append((len(rows), len(blobs)))
        for y, x, s in blobs:
            k = 0 if num == 1 else round((s - lo) / (hi - lo) * (num - 1))
            rows.append((int(x), int(y), k))
    print('/* Made by tests/gen_blobs.py with scikit-image %s. */'
          % skimage.__version__)
    print('static const struct {\n    unsigned char x, y, k;\n} BLOBS[] = {')
    for i in range(0, len(rows), 6):
        print('    ' + ' '.join('{%d, %d, %d},' % r for r in rows[i:i + 6]))
    print('};\nstatic const struct {\n    int first, count;\n} CASES[] = {')
    for c in cases:
        print('    {%d, %d},' % c)
    print('};')


main()
