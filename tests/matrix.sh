#!/bin/sh
# The same bits on every platform, or a refusal: builds the library and
# tests/bits.c for each leg of a table, runs it natively or under an
# emulator, and compares its whole output with tests/bits.txt.
#
#   sh tests/matrix.sh [-j N] [-k FILTER] [--list]
#
#   -j N        legs at a time (default: the number of processors)
#   -k FILTER   only the rows whose name contains FILTER
#   --list      names the rows and runs nothing
#
# From the environment: STRICT=1 makes skipped rows an error; LIMIT is the
# number of seconds that one run may take.
#
# A row is skipped when the machine lacks something; it then names the Debian
# packages that bring it. `sh tests/setup.sh` installs them all. A row is
# absent when no package could help: the processor lacks those instructions.

set -u
cd "$(dirname "$0")/.." || exit 2

SRC="atomdl.c sim.c graph.c movie.c"
BITS=tests/bits.txt
STRICT=${STRICT-0}
LIMIT=${LIMIT-300}

# Every build should say this. The legs named "pragma" and "native" do not,
# on targets that can fuse: there the library's own pragmas must prevent it.
off="-ffp-contract=off"

# Teaches tests/bits.c the options --ftz and --round-up.
state="$off -DBITS_FENV"

# --------------------------------------------------------------------------
# The table of legs
#
#   needs PACKAGE...                      of the legs that follow
#   same    NAME BUILD RUN [VARIANT...]   must give the bits of bits.txt
#   refused NAME BUILD RUN [VARIANT...]   must be refused, with a reason
#   works   NAME BUILD RUN                must build and run
#
# BUILD is a compiler with its flags, or a function to_... from further down.
# RUN is the emulator, "" on this machine. Each VARIANT is a run and a row of
# its own: a kernel (ATOMDL_ISA), a number of threads, or an option of bits;
# "best" (the default) is a run without any of these.
# --------------------------------------------------------------------------

table()
{
    for level in O0 O1 O2 O3 Os; do
        table_level "$level"
    done
    table_native
    table_fast
    table_i686
    table_arm
    table_fusing
    table_plain
    table_cortex
    table_riscv
    table_other
}

table_level()
{
    x86="plain sse2 avx2 avx512"

    needs gcc
    same gcc-$1        "gcc -$1 $off" "" $x86 best
    same gcc-$1-c99    "gcc -$1 $off -std=c99" ""
    same gcc-$1-native "gcc -$1 -march=native" "" plain best
    same gcc-$1-pragma "gcc -$1 -mfma -mavx2" "" plain avx2
    needs clang
    same clang-$1        "clang -$1 $off" "" $x86 best
    same clang-$1-c99    "clang -$1 $off -std=c99" ""
    same clang-$1-native "clang -$1 -march=native" "" plain best
    same clang-$1-pragma "clang -$1 -mfma -mavx2" "" plain avx2
}

table_native()
{
    threads="1-thread 2-threads 3-threads 4-threads"
    lto="-flto -fuse-ld=lld"

    needs gcc
    same  gcc-openmp       "gcc -O2 $off -fopenmp" "" $threads
    same  gcc-lto          "gcc -O2 $off -flto" "" plain best
    same  gcc-lto-native   "gcc -O3 -march=native -flto" "" plain best
    same  gcc-no-simd      "gcc -O2 $off -DATOMDL_NO_SIMD" ""
    same  gcc-unit         "to_unit gcc -O2 $off" "" plain best
    same  gcc-unit-no-simd "to_unit gcc -O2 $off -DATOMDL_NO_SIMD" ""
    same  gcc-no-text      "gcc -O2 $off -DATOMDL_NO_TEXT" ""
    same  gcc-soft-sqrt    "gcc -O2 $off -DATOMDL_SOFT_SQRT" ""
    needs clang libomp-dev
    same  clang-openmp     "clang -O2 $off -fopenmp" "" $threads
    needs clang lld
    same  clang-lto        "clang -O2 $off $lto" "" plain best
    same  clang-lto-native "clang -O3 -march=native $lto" "" plain best
    needs clang
    same  clang-no-simd    "clang -O2 $off -DATOMDL_NO_SIMD" ""
    same  clang-unit       "to_unit clang -O2 $off" "" plain best
    needs tcc
    same  tcc              "tcc" ""
    needs gcc g++
    works g++              "to_cxx gcc g++" ""
    needs clang g++
    works clang++          "to_cxx clang clang++" ""
}

# Flags and float states that would change bits.
table_fast()
{
    associative="-fassociative-math -fno-signed-zeros -fno-trapping-math"
    unsafe="-funsafe-math-optimizations"

    needs gcc
    refused gcc-ofast         "gcc -Ofast" ""
    refused gcc-fast-math     "gcc -O2 -ffast-math" ""
    refused gcc-fast-link     "to_fast_link gcc -O2 $off" ""
    refused gcc-unsafe-math   "gcc -O2 $unsafe" ""
    refused gcc-associative   "gcc -O2 $associative" ""
    refused gcc-reciprocal    "gcc -O2 -freciprocal-math" ""
    refused gcc-finite-math   "gcc -O2 -ffinite-math-only" ""
    refused gcc-single        "gcc -O2 $off -fsingle-precision-constant" ""
    refused gcc-state         "gcc -O2 $state" "" --ftz --round-up
    needs clang
    refused clang-ofast       "clang -Ofast" ""
    refused clang-fast-math   "clang -O2 -ffast-math" ""
    refused clang-unsafe-math "clang -O2 $unsafe" ""
    refused clang-contract    "clang -O2 -mfma -ffp-contract=fast" ""
    refused clang-state       "clang -O2 $state" "" --ftz --round-up
}

# 32-bit x86, emulated because not every kernel runs it; its first float unit,
# the x87, computes too precisely.
table_i686()
{
    cc="i686-linux-gnu-gcc -O2 -static $off"

    needs qemu-user gcc-i686-linux-gnu libc6-dev-i386-cross
    same    i686         "$cc -msse2 -mfpmath=sse" qemu-i386 plain sse2 best
    refused i686-x87     "$cc" qemu-i386
    refused i686-x87-c99 "$cc -std=c99" qemu-i386
}

table_arm()
{
    cc="aarch64-linux-gnu-gcc -static"
    clang="clang --target=aarch64-linux-gnu -static"
    needs qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    same    aarch64        "$cc -O2 $off" qemu-aarch64 plain neon best
    same    aarch64-pragma "$cc -O3" qemu-aarch64 plain neon
    refused aarch64-state  "$cc -O2 $state" qemu-aarch64 --ftz --round-up
    needs qemu-user clang gcc-aarch64-linux-gnu libc6-dev-arm64-cross
    same    aarch64-clang        "$clang -O2 $off" qemu-aarch64 plain neon
    same    aarch64-clang-pragma "$clang -O3" qemu-aarch64 plain neon

    cc="arm-linux-gnueabihf-gcc -static"
    needs qemu-user gcc-arm-linux-gnueabihf libc6-dev-armhf-cross
    same    armhf        "$cc -O2 $off" qemu-arm
    same    armhf-pragma "$cc -O3 -mfpu=neon-vfpv4" qemu-arm
    refused armhf-state  "$cc -O2 $state" qemu-arm --ftz --round-up

    cc="arm-linux-gnueabi-gcc -static"
    needs qemu-user gcc-arm-linux-gnueabi libc6-dev-armel-cross
    same    armel-soft "$cc -O2 $off -mfloat-abi=soft" qemu-arm
}

# Processors whose base instruction set fuses.
table_fusing()
{
    cc="riscv64-linux-gnu-gcc -static"
    needs qemu-user gcc-riscv64-linux-gnu libc6-dev-riscv64-cross
    same riscv64        "$cc -O2 $off" qemu-riscv64
    same riscv64-pragma "$cc -O3" qemu-riscv64

    cc="powerpc64le-linux-gnu-gcc -static"
    clang="clang --target=powerpc64le-linux-gnu -static"
    needs qemu-user gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross
    same ppc64el        "$cc -O2 $off" qemu-ppc64le
    same ppc64el-pragma "$cc -O3" qemu-ppc64le
    needs qemu-user clang gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross
    same ppc64el-clang  "$clang -O3" qemu-ppc64le

    cc="powerpc64-linux-gnu-gcc -static"
    needs qemu-user gcc-powerpc64-linux-gnu libc6-dev-ppc64-cross
    same ppc64-be        "$cc -O2 $off" qemu-ppc64
    same ppc64-be-pragma "$cc -O3" qemu-ppc64

    # In ISO mode this GCC computes float expressions in double, unless told.
    cc="s390x-linux-gnu-gcc -static"
    clang="clang --target=s390x-linux-gnu -static"
    iso="-std=c99 -fexcess-precision"
    needs qemu-user gcc-s390x-linux-gnu libc6-dev-s390x-cross
    same    s390x-be          "$cc -O2 $off" qemu-s390x
    same    s390x-be-pragma   "$cc -O3" qemu-s390x
    same    s390x-be-c99      "$cc -O2 $off $iso=fast" qemu-s390x
    refused s390x-be-standard "$cc -O2 $off $iso=standard" qemu-s390x
    needs qemu-user clang gcc-s390x-linux-gnu libc6-dev-s390x-cross
    same    s390x-be-clang    "$clang -O3" qemu-s390x
}

# Processors that do not fuse, and one whose float unit is like the x87.
table_plain()
{
    cc="-O2 -static $off"

    needs qemu-user gcc-mips-linux-gnu libc6-dev-mips-cross
    same    mips-be  "mips-linux-gnu-gcc $cc" qemu-mips
    needs qemu-user gcc-mips64el-linux-gnuabi64 libc6-dev-mips64el-cross
    same    mips64el "mips64el-linux-gnuabi64-gcc $cc" qemu-mips64el
    needs qemu-user gcc-hppa-linux-gnu libc6-dev-hppa-cross
    same    hppa-be  "hppa-linux-gnu-gcc $cc" qemu-hppa
    needs qemu-user gcc-m68k-linux-gnu libc6-dev-m68k-cross
    refused m68k     "m68k-linux-gnu-gcc $cc" qemu-m68k
    needs gcc-avr avr-libc
    refused avr      "to_object avr-gcc -O2 -mmcu=atmega2560" ""
}

# Microcontrollers under qemu-system: no operating system below the program.
# Only what they write by semihosting comes out, on standard output.
console="-display none -serial none -monitor none -chardev stdio,id=host"
console="$console -semihosting-config enable=on,target=native,chardev=host"
console="$console -kernel"

table_cortex()
{
    cc="arm-none-eabi-gcc -mthumb -nostartfiles --specs=rdimon.specs"
    cc="$cc -T tests/mcu/mps2.ld tests/mcu/start.c"
    near="-Wl,--defsym=psram=0x21000000"
    far="-Wl,--defsym=psram=0x60000000"
    m4f="-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard"
    m7="-mcpu=cortex-m7 -mfpu=fpv5-d16 -mfloat-abi=hard"

    # No board of the emulator has a Cortex-M0+ with enough memory; a
    # Cortex-M3 executes all of its instructions.
    needs qemu-system-arm gcc-arm-none-eabi libnewlib-arm-none-eabi
    an385="qemu-system-arm -M mps2-an385 $console"
    an386="qemu-system-arm -M mps2-an386 $console"
    an500="qemu-system-arm -M mps2-an500 $console"
    same  cortex-m0+        "$cc $near -O2 $off -mcpu=cortex-m0plus" "$an385"
    same  cortex-m3         "$cc $near -O2 $off -mcpu=cortex-m3" "$an385"
    same  cortex-m4f        "$cc $near -Os $off $m4f" "$an386"
    same  cortex-m4f-pragma "$cc $near -O3 $m4f" "$an386"
    same  cortex-m7         "$cc $far -O2 $off $m7" "$an500"
    same  cortex-m7-pragma  "$cc $far -O3 $m7" "$an500"

    works cortex-m4f-firmware "to_script arm-none-eabi-gcc \
        tests/mcu/firmware.sh m4f" true
    works cortex-m7-firmware "to_script arm-none-eabi-gcc \
        tests/mcu/firmware.sh m7" true
    works cortex-m4f-256k "to_fcn64 $cc $near -Wl,--defsym=ram=0x40000 $m4f" \
        "$an386"

    needs gcc-arm-none-eabi libnewlib-arm-none-eabi
    works cortex-m4f-inference "to_inference arm-none-eabi-gcc $m4f" true
    works cortex-m4f-nostdlib "to_nostdlib -lm $m4f" true
    works cortex-m4-nostdlib \
        "to_nostdlib -lgcc -mcpu=cortex-m4 -DATOMDL_SOFT_SQRT" true
}

table_riscv()
{
    cc="riscv64-unknown-elf-gcc --specs=picolibc.specs"
    cc="$cc --oslib=semihost --crt0=hosted"
    cc="$cc -Wl,--defsym=__flash=0x80000000,--defsym=__flash_size=0x400000"
    cc="$cc -Wl,--defsym=__ram=0x80400000,--defsym=__ram_size=0x4000000"
    run="qemu-system-riscv32 -M virt -m 128 -bios none $console"
    imac="-march=rv32imac -mabi=ilp32"
    imafc="-march=rv32imafc -mabi=ilp32f"

    needs qemu-system-misc gcc-riscv64-unknown-elf \
        picolibc-riscv64-unknown-elf
    same rv32imac         "$cc -O2 $off $imac" "$run"
    same rv32imafc        "$cc -O2 $off $imafc" "$run"
    same rv32imafc-pragma "$cc -O3 $imafc" "$run"
}

table_other()
{
    cc="clang --target=wasm32-wasi -Wl,-z,stack-size=1048576"
    run="node tests/web/wasi.mjs"
    needs clang lld wasi-libc libclang-rt-14-dev-wasm32 nodejs
    same wasm32      "$cc -O2 $off" "$run" plain best
    same wasm32-simd "$cc -O2 $off -msimd128" "$run" plain simd128 best

    needs chromium nodejs clang lld wasi-libc libclang-rt-14-dev-wasm32
    works web "to_script chromium tests/web/test.sh" true

    needs gcc g++ clang tcc gcc-mingw-w64-x86-64 wine64
    works stranger "to_script gcc tests/stranger.sh" true

    cc="x86_64-w64-mingw32-gcc"
    wide="-DATOMDL_WIDE -Wa,-muse-unaligned-vector-move"
    needs gcc-mingw-w64-x86-64 wine64
    same windows        "$cc -O2 $off" "$(wine)" plain best
    same windows-wide   "$cc -O2 $off $wide" "$(wine)" $x86 best
    same windows-pragma "$cc -O3 -mfma -mavx2" "$(wine)" plain best
}

# Debian keeps it in its package's own folder, outside PATH.
wine()
{
    command -v wine64 || dpkg -L wine64 2>/dev/null | grep '/lib/.*/wine64$' ||
        echo wine64
}

# --------------------------------------------------------------------------
# Ways to build: $files into $program. $dir is the leg's own folder.
# --------------------------------------------------------------------------

build()
{
    case $1 in
    to_*) "$@" ;;
    *)    "$@" -I. $files -o "$program" -lm ;;
    esac
}

to_object()
{
    for file in $files; do
        "$@" -I. -c "$file" -o "$dir/$(basename "$file").o" || return
    done
}

# The library as one translation unit.
to_unit()
{
    "$@" -I. tests/unit.c program/chain.c tests/bits.c -o "$program" -lm
}

# A script that builds and tests by itself: to_script TOOL SCRIPT...; without
# the tool there is nothing to do.
to_script()
{
    shift
    sh "$@" && cp /bin/true "$program"
}

# GCC's start-up code for fast mathematics flushes subnormals in the whole
# process: linking with the flag is enough.
to_fast_link()
{
    to_object "$@" && "$1" -ffast-math "$dir"/*.o -o "$program" -lm
}

# The header in C++, the library in C.
to_cxx()
{
    files=$SRC
    to_object "$1" -O2 $off &&
        "$2" -O2 $off -Wall -Wextra -I. tests/cxx.cpp "$dir"/*.o \
            -o "$program" -lm
}

# Without a C library: to_nostdlib -l(sqrt from) FLAGS. The test has to refer
# to every public function (atomdl_dadd and its kin are the compiler's).
to_nostdlib()
{
    sqrt=$1
    shift
    cc="arm-none-eabi-gcc -mthumb -Os $off -fno-math-errno $*"
    files="$SRC tests/nostdlib.c"
    to_object $cc && refers_to_all "$dir/nostdlib.c.o" &&
        $cc -nostdlib -Wl,-e,main "$dir"/*.o -o "$program" "$sqrt" -lgcc &&
        arm-none-eabi-size "$dir/atomdl.c.o" |
            awk 'NR == 2 { print "atomdl.o: " $1 " bytes of text" }'
}

# Inference alone must stay within 40 KB (40960 bytes) of text.
to_inference()
{
    files=atomdl.c
    to_object "$@" -mthumb -Os $off -DATOMDL_NO_TRAIN -DATOMDL_NO_FFT &&
        arm-none-eabi-size "$dir/atomdl.c.o" | awk 'NR == 2 {
            print "inference: " $1 " bytes of text"
            if ($1 > 40960) print "error: more than 40960" >"/dev/stderr"
            exit $1 > 40960 }' && cp /bin/true "$program"
}

# A whole network in 256 KB of memory, weights in flash: must print what it
# prints here.
to_fcn64()
{
    gcc -O2 $off -I. -DWEIGHTS $SRC tests/mcu/fcn64.c -o "$dir/weights" -lm &&
        "$dir/weights" >"$dir/fcn64.inc" &&
        gcc -O2 $off -I. -I"$dir" $SRC tests/mcu/fcn64.c -o "$dir/host" -lm &&
        want=$("$dir/host") &&
        echo "${want#* } beside the stack, digest ${want%% *}" &&
        "$@" -Os $off -I. -I"$dir" -DATOMDL_NO_TRAIN -DWANT="${want%% *}u" \
            $SRC tests/mcu/fcn64.c -o "$program" -lm
}

refers_to_all()
{
    arm-none-eabi-nm "$1" | awk '$1 == "U" { print $2 }' >"$dir/used"
    unused=$(for file in $SRC; do
        arm-none-eabi-nm "$dir/$(basename "$file").o"
    done | awk '$2 == "T" { print $3 }' |
        grep -vE '^atomdl_(d(add|r?sub)|decimal_(scan|write))$' |
        grep -vxF -f "$dir/used")
    [ -z "$unused" ] ||
        { echo "error: $1 leaves out" $unused >&2; return 1; }
}

# --------------------------------------------------------------------------
# Engine: one leg is one background job, one variant is one row
# --------------------------------------------------------------------------

needs()   { packages=$*; }
same()    { leg same "$@"; }
refused() { leg refused "$@"; }
works()   { leg works "$@"; }

# Waits for a free place among the jobs, then runs the wanted variants.
leg()
{
    expect=$1 name=$2 command=$3 run=$4
    shift 4
    variants=
    for variant in "${@:-best}"; do
        case $(row_name) in
        *"$filter"*) variants="$variants $variant" ;;
        esac
    done
    if [ -z "$variants" ]; then
        return
    elif [ "$list" = yes ]; then
        for variant in $variants; do row_name; done
        return
    fi
    read -r place <&9
    { leg_run; echo >&9; } &
}

row_name()
{
    case $variant in
    best) echo "$name" ;;
    *)    echo "$name/$variant" ;;
    esac
}

leg_run()
{
    dir=$tmp/$name
    program=$dir/bits.exe
    files="$SRC program/chain.c tests/bits.c"
    start=$(date +%s)
    mkdir -p "$dir"
    if ! has_tools $command -- $run; then
        every_row skip "needs $packages"
    elif ! build $command $(trace) >"$dir/note" 2>"$dir/log"; then
        judge_build
    else
        for variant in $variants; do
            execute
            judge_$expect
        done
    fi
    rm -rf "$dir"
}

# Where a row names an instruction set, bits proves that every kernel ran by it.
trace()
{
    case " $variants " in
    *" plain "*) echo -DATOMDL_TRACE ;;
    esac
}

# Are the first word of the build and the first of the run commands?
has_tools()
{
    case $1 in
    to_nostdlib) shift; set -- arm-none-eabi-gcc "$@" ;;
    to_*) shift ;;
    esac
    command -v "$1" >/dev/null || return
    while [ "$1" != -- ]; do
        shift
    done
    [ $# -eq 1 ] || command -v "$2" >/dev/null
}

# Runs one variant into $dir/out (without the carriage returns of Windows)
# and $status.
execute()
{
    option= isa= threads=
    case $variant in
    best)      ;;
    --*)       option=$variant ;;
    *-thread*) threads=${variant%%-*} ;;
    *)         isa=$variant ;;
    esac
    env ${isa:+ATOMDL_ISA=$isa} ${threads:+OMP_NUM_THREADS=$threads} \
        timeout -k 5 "$LIMIT" $run "$program" $option \
        </dev/null >"$dir/raw" 2>"$dir/log"
    status=$?
    tr -d '\r' <"$dir/raw" >"$dir/out"
}

# A build that failed: a refusal, a toolchain in pieces, or our fault.
judge_build()
{
    reason=$(sed -n 's/.*error:.*\(AtomDL[^"]*\).*/\1/p' "$dir/log" | head -1)
    if [ $expect = refused ] && [ -n "$reason" ]; then
        every_row pass "$reason"
    elif [ $expect != works ] && ! builds_at_all; then
        every_row skip "needs $packages"
    else
        grep -E 'error|undefined' "$dir/log" | head -5 >"$dir/detail"
        every_row fail "does not build"
    fi
}

builds_at_all()
{
    files=$tmp/hello.c
    build $command >/dev/null 2>&1
}

judge_same()
{
    if [ $status -eq 0 ] && cmp -s "$dir/out" $BITS; then
        row pass "$(sed -n '$s/^all \([^ ]*\).*/\1/p' "$dir/out")"
    elif [ $status -eq 0 ]; then
        diff $BITS "$dir/out" | grep '^[<>]' | head -6 >"$dir/detail"
        row fail "other bits (< bits.txt, > this leg)"
    elif [ $status -eq 4 ]; then
        row absent "needs a processor with $variant"
    else
        row_stopped
    fi
}

judge_refused()
{
    reason=$(sed -n 's/^refused: *//p' "$dir/out" | head -1)
    if [ $status -eq 3 ] && [ -n "$reason" ]; then
        row pass "$reason"
    elif [ $status -eq 0 ]; then
        row fail "not refused"
    else
        row_stopped
    fi
}

judge_works()
{
    if [ $status -eq 0 ]; then
        row pass "$(cat "$dir/note" "$dir/out" | tail -1)"
    else
        row_stopped
    fi
}

row_stopped()
{
    cat "$dir/out" "$dir/log" | tail -3 >"$dir/detail"
    case $status in
    124 | 137) row fail "still running after $LIMIT s" ;;
    *)         row fail "exit status $status" ;;
    esac
}

every_row()
{
    for variant in $variants; do
        row "$@"
    done
}

# Prints a row, with its details below, in one piece; starts the next clock.
row()
{
    now=$(date +%s)
    printf '%s  %-24s %-42s %4d s\n' \
        "$1" "$(row_name)" "$2" $((now - start)) >"$dir/row"
    if [ -s "$dir/detail" ]; then
        sed 's/^/      /' "$dir/detail" >>"$dir/row"
        rm "$dir/detail"
    fi
    cat "$dir/row"
    echo "$1" >>"$tmp/results"
    start=$now
}

count() { grep -c "$1" "$tmp/results"; }

# --------------------------------------------------------------------------

usage()
{
    echo "usage: sh tests/matrix.sh [-j N] [-k FILTER] [--list]" >&2
    exit 2
}

finish()
{
    if [ -d "$WINEPREFIX" ]; then
        "$(dirname "$(wine)")/wineserver64" -k 2>/dev/null
    fi
    rm -rf "$tmp"
}

jobs=$(getconf _NPROCESSORS_ONLN) filter='' list=no
while [ $# -gt 0 ]; do
    case $1 in
    -j)     [ $# -ge 2 ] || usage; jobs=$2; shift ;;
    -k)     [ $# -ge 2 ] || usage; filter=$2; shift ;;
    --list) list=yes ;;
    *)      usage ;;
    esac
    shift
done
if [ $list = yes ]; then
    table
    exit
fi
[ -s $BITS ] || { echo "no $BITS" >&2; exit 2; }

unset ATOMDL_ISA OMP_NUM_THREADS
ulimit -c 0    # a crash leaves no file behind
tmp=$(mktemp -d) || exit 2
export WINEPREFIX="$tmp/wine" WINEDEBUG=-all
trap finish EXIT
trap 'exit 130' INT TERM

cat >"$tmp/hello.c" <<'END'
#include <math.h>
#include <stdio.h>
#include <string.h>
int main(void) { return puts("hello") < 0; }
END

# As many empty lines in the pipe as jobs may run.
mkfifo "$tmp/places"
exec 9<>"$tmp/places"
i=0
while [ $i -lt "$jobs" ]; do
    echo >&9
    i=$((i + 1))
done

: >"$tmp/results"
table
wait
failed=$(count fail) skipped=$(count skip) absent=$(count absent)
[ "$absent" -eq 0 ] || echo "$absent rows need another processor"
echo "$(count pass) passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && { [ "$STRICT" != 1 ] || [ "$skipped" -eq 0 ]; }
