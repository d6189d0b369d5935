#!/bin/sh
# SPDX-License-Identifier: MIT
# What was guessed: a TIFF writer stores a pixel of 0.02 A as pixels per
# centimetre, or says that it cannot.
# What is: a TIFF rational is two numbers of 32 bits, so that 4,294,967,295
# pixels a centimetre, 0.0233 A a pixel, is the finest whole resolution. Beyond
# it tifffile 2023.2.3 and Pillow 9.4.0 store that bound without a word: 0.02 A
# reads back as 0.0233, 16 % too large, and at 0.01 A both denominators are
# 0. Images resampled for a network or simulated finely are of that kind. (The
# unit inch reaches 2.54 times as fine.)
# Needs: Linux on x86-64, apt-get (Debian 12), python3. Downloads about 10 MB
# into a temporary folder, installs nothing. Exits 0 if it is as said here.
set -u
d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT
cd "$d" || exit 2
apt-get -qq download python3-numpy=1:1.24.2-1+deb12u1 \
    python3-tifffile=20230203-1 python3-pil=9.4.0-1.1+deb12u1 \
    libblas3 liblapack3 libgfortran5 libimagequant0 libraqm0 libwebp7 \
    libwebpmux3 libwebpdemux2 libopenjp2-7 liblcms2-2 libtiff6 libxcb1 \
    libjpeg62-turbo || exit 2
for package in ./*.deb; do dpkg -x "$package" root || exit 2; done
lib="$d/root/usr/lib/x86_64-linux-gnu"
export PYTHONPATH="$d/root/usr/lib/python3/dist-packages"
export LD_LIBRARY_PATH="$lib:$lib/blas:$lib/lapack"
cat >write.py <<'END'
import numpy
import PIL
import tifffile
from PIL import Image

print("numpy", numpy.__version__, "tifffile", tifffile.__version__,
      "Pillow", PIL.__version__)
image = numpy.zeros((4, 4), numpy.float32)
for pixel in (0.2, 0.05, 0.02, 0.01):
    dense = 1e8 / pixel  # pixels a centimetre
    tifffile.imwrite("t.tif", image, resolution=(dense, dense),
                     resolutionunit="CENTIMETER")
    Image.fromarray(image).save("p.tif", x_resolution=dense,
                                y_resolution=dense, resolution_unit=3)
    for name in "t.tif", "p.tif":
        with tifffile.TiffFile(name) as file:
            above, below = file.pages[0].tags["XResolution"].value
        print(f"{pixel} A, {name[0]}: {above}/{below},",
              f"{1e8 * below / above:.4f} A")
END
python3 write.py >seen || exit 2
cat seen
cat >expected <<'END'
0.2 A, t: 500000000/1, 0.2000 A
0.2 A, p: 500000000/1, 0.2000 A
0.05 A, t: 2000000000/1, 0.0500 A
0.05 A, p: 2000000000/1, 0.0500 A
0.02 A, t: 4294967295/1, 0.0233 A
0.02 A, p: 4294967295/1, 0.0233 A
0.01 A, t: 4294967295/0, 0.0000 A
0.01 A, p: 1/0, 0.0000 A
END
tail -n +2 seen | cmp - expected || { echo "not as it was seen"; exit 1; }
# Seen 2026-11-29: those eight lines.
