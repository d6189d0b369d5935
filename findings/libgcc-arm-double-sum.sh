#!/bin/sh
# SPDX-License-Identifier: MIT
# What was guessed: GCC's software binary64 is IEEE 754, on ARM as elsewhere.
# What is: libgcc 12.2 for ARM gets 1 - y wrong for more than half of all y
# between 2^-33 and 2^-32, by one unit in the last place, and for no other y
# tried. The exact difference lies nearer to its upper neighbour; the lower one
# comes out. Whoever sums doubles on an ARM without a unit for them gets other
# bits than a desktop.
# Needs: Linux on x86-64, apt-get (Debian 12), cc. Downloads about 60 MB into a
# temporary folder, installs nothing. Exits 0 if it is as said here.
set -u
d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT
cd "$d" || exit 2
gcc=12.2.0-14cross1
apt-get -qq download gcc-12-arm-linux-gnueabi=$gcc \
    cpp-12-arm-linux-gnueabi=$gcc gcc-12-arm-linux-gnueabi-base=$gcc \
    libgcc-12-dev-armel-cross=$gcc libgcc-s1-armel-cross=$gcc \
    binutils-arm-linux-gnueabi=2.40-2 libc6-dev-armel-cross=2.36-8cross1 \
    libc6-armel-cross=2.36-8cross1 linux-libc-dev-armel-cross=6.1.4-1cross1 \
    qemu-user || exit 2
for package in ./*.deb; do dpkg -x "$package" root || exit 2; done
export LD_LIBRARY_PATH="$d/root/usr/lib/x86_64-linux-gnu"
cat >sum.c <<'END'
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* 1 - y for 1000 y in each of 60 octaves: octave, bits of y and of 1 - y */
int main(void)
{
    uint64_t state = 1, y, s;
    for (int i = 0; i < 60000; i++) {
        double a, b;
        state = state * 6364136223846793005u + 1442695040888963407u;
        y = state >> 12 | (uint64_t)(1022 - i % 60) << 52;
        memcpy(&a, &y, 8);
        b = 1 - a;
        memcpy(&s, &b, 8);
        printf("%d %08lx%08lx %08lx%08lx\n", -1 - i % 60,
               (unsigned long)(y >> 32), (unsigned long)(y & 0xffffffff),
               (unsigned long)(s >> 32), (unsigned long)(s & 0xffffffff));
    }
    return 0;
}
END
cc -O1 sum.c -o here && ./here >here.txt || exit 2
arm=root/usr/arm-linux-gnueabi
root/usr/bin/arm-linux-gnueabi-gcc-12 -O1 -static -B $arm/lib -B $arm/bin \
    -isystem $arm/include sum.c -o arm || exit 2
root/usr/bin/qemu-arm ./arm >arm.txt || exit 2
root/usr/bin/arm-linux-gnueabi-gcc-12 --version | head -n 1
root/usr/bin/qemu-arm --version | head -n 1
paste -d ' ' here.txt arm.txt | awk '
    $3 != $6 { wrong[$1]++; all++; if (!one++) print "1 - 0x" $2 \
        ": IEEE 0x" $3 ",\n    libgcc for ARM 0x" $6 }
    END {
        for (octave in wrong)
            print wrong[octave] " of 1000 differ, 2^" octave " <= y < 2^" \
                octave + 1
        exit !(all == wrong[-33] && all > 400)
    }' || { echo "not as it was seen"; exit 1; }
# Seen 2026-11-29:
# arm-linux-gnueabi-gcc-12 (Debian 12.2.0-14) 12.2.0
# qemu-arm version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)
# 1 - 0x3debfc935f2683f9: IEEE 0x3fefffffffe4036d,
#     libgcc for ARM 0x3fefffffffe4036c
# 505 of 1000 differ, 2^-33 <= y < 2^-32
