#!/bin/sh
# SPDX-License-Identifier: MIT
# What was guessed: C99's fmaf rounds once, in every C library that has it.
# What is: the libraries of boards have it and do not. newlib 3.3.0 rounds
# twice (a double in between), picolibc 1.8 does not fuse at all: a * b rounded,
# then + c rounded. glibc is right. Code that turns to fmaf for equal results
# everywhere gets three kinds.
# Needs: Linux on x86-64, apt-get (Debian 12), cc, ar. Downloads about 130 MB
# into a temporary folder, installs nothing. Exits 0 if it is as said here.
set -u
d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT
cd "$d" || exit 2
gcc=12.2.0-14cross1
apt-get -qq download gcc-12-arm-linux-gnueabi=$gcc \
    cpp-12-arm-linux-gnueabi=$gcc gcc-12-arm-linux-gnueabi-base=$gcc \
    libgcc-12-dev-armel-cross=$gcc libgcc-s1-armel-cross=$gcc \
    binutils-arm-linux-gnueabi=2.40-2 libc6-dev-armel-cross=2.36-8cross1 \
    libc6-armel-cross=2.36-8cross1 linux-libc-dev-armel-cross=6.1.4-1cross1 \
    libnewlib-arm-none-eabi=3.3.0-1.3+deb12u1 \
    picolibc-arm-none-eabi=1.8-1 qemu-user || exit 2
for package in ./*.deb; do dpkg -x "$package" root || exit 2; done
export LD_LIBRARY_PATH="$d/root/usr/lib/x86_64-linux-gnu"
cat >fma.c <<'END'
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static void show(volatile float a, volatile float b, volatile float c)
{
    float x = fmaf(a, b, c);
    uint32_t bits;
    memcpy(&bits, &x, 4);
    printf(" %08lx", (unsigned long)bits);
}

int main(void)
{
    /* the product ends with half a unit, a trifle is added: rounds up */
    show(1.000244140625f, 1.000244140625f, 8.673617379884035e-19f);
    /* (1 + e)(1 - e) - 1 with e = 2^-23: -2^-46 */
    show(1.00000011920928955078125f, 0.99999988079071044921875f, -1);
    printf("\n");
    return 0;
}
END
cc -O1 fma.c -o fma -lm || exit 2
echo "glibc$(./fma)" | tee seen
# NAME ARCHIVE MEMBER: the fmaf of that library within an ordinary program
ask() {
    ar p "root/usr/lib/$2" "$3" >fmaf.o && [ -s fmaf.o ] &&
        root/usr/bin/arm-linux-gnueabi-gcc-12 -O1 -marm -static \
            -B root/usr/arm-linux-gnueabi/lib \
            -B root/usr/arm-linux-gnueabi/bin \
            -isystem root/usr/arm-linux-gnueabi/include fma.c fmaf.o \
            -o arm -lm 2>log || exit 2
    echo "$1$(root/usr/bin/qemu-arm ./arm)" | tee -a seen
}
ask newlib-3.3.0 arm-none-eabi/newlib/libm.a lib_a-sf_fma.o
ask picolibc-1.8 picolibc/arm-none-eabi/lib/libc.a libm_common_sf_fma.c.o
cmp seen - <<'END' || { echo "not as it was seen"; exit 1; }
glibc 3f801001 a8800000
newlib-3.3.0 3f801000 a8800000
picolibc-1.8 3f801000 00000000
END
# Seen 2026-11-29: those three lines.
