#!/bin/sh
# Installs what the tests need, by Debian package name. Run it as root.
#
#   sh tests/setup.sh base    what `make` and `make test` need
#   sh tests/setup.sh         also what `make san` and `make matrix` need:
#                             compilers and emulators, about 5 GB
set -eu

base="make gcc libc6-dev libstb-dev"

native="g++ clang lld llvm libclang-rt-14-dev libomp-dev tcc"

# The compilers only suggest the C libraries of their targets: name both.
linux="qemu-user
    gcc-aarch64-linux-gnu       libc6-dev-arm64-cross
    gcc-arm-linux-gnueabihf     libc6-dev-armhf-cross
    gcc-arm-linux-gnueabi       libc6-dev-armel-cross
    gcc-riscv64-linux-gnu       libc6-dev-riscv64-cross
    gcc-s390x-linux-gnu         libc6-dev-s390x-cross
    gcc-powerpc64le-linux-gnu   libc6-dev-ppc64el-cross
    gcc-powerpc64-linux-gnu     libc6-dev-ppc64-cross
    gcc-mips-linux-gnu          libc6-dev-mips-cross
    gcc-mips64el-linux-gnuabi64 libc6-dev-mips64el-cross
    gcc-hppa-linux-gnu          libc6-dev-hppa-cross
    gcc-m68k-linux-gnu          libc6-dev-m68k-cross
    gcc-i686-linux-gnu          libc6-dev-i386-cross"

bare="qemu-system-arm  gcc-arm-none-eabi libnewlib-arm-none-eabi
    qemu-system-misc gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf
    gcc-avr avr-libc"

other="wasi-libc libclang-rt-14-dev-wasm32 nodejs chromium
    gcc-mingw-w64-x86-64 wine64"

case "${1-all}" in
base) packages="$base" ;;
all)  packages="$base $native $linux $bare $other" ;;
*)    echo "usage: sh tests/setup.sh [base]" >&2; exit 2 ;;
esac

export DEBIAN_FRONTEND=noninteractive
apt="apt-get -q -o DPkg::Lock::Timeout=600"
$apt update
# Unquoted on purpose: a list of words.
$apt install -y --no-install-recommends $packages
