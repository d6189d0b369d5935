#!/bin/sh
# The firmware on emulated boards: the same atoms as the desktop's, bit for
# bit, and a table of what it costs.
#
#   sh tests/mcu/firmware.sh [m4f] [m7]
#
# text: code, tables and 82 kB of weights; static: the block and whatever else
# has a fixed place; stack: the deepest that was touched. All memory together
# is 512 KB, and what lies between static memory and stack was never written:
# there is no heap. Instructions are the emulator's own count.
set -eu
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- m4f m7
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
off=-ffp-contract=off

[ -x ./atomdl ] || make -s atomdl >&2
./atomdl info --c-array weights/lattice.safetensors >"$d/lattice.inc"
for f in atomdl sim graph; do
    gcc -O2 $off -c $f.c -o "$d/$f.o"
done
gcc -O2 $off -I. tests/mcu/scene.c "$d"/*.o -o "$d/scene" -lm
gcc -O2 $off -I. -I"$d" -DDESKTOP tests/mcu/firmware.c "$d/atomdl.o" \
    "$d/graph.o" -o "$d/desktop" -lm
start=$PWD/tests/mcu
cd "$d"
./scene >scene.pgm
./desktop >want

# board MACHINE PSRAM FLAGS
board()
{
    machine=$1 psram=$2
    shift 2
    arm-none-eabi-gcc -mthumb "$@" -Os $off -ffunction-sections \
        -fdata-sections -nostartfiles --specs=rdimon.specs -Dexit=_exit \
        -I"$start/../.." -I. -T "$start/mps2.ld" -Wl,--gc-sections \
        -Wl,--defsym=psram=$psram,--defsym=ram=0x80000 "$start/start.c" \
        "$start/firmware.c" "$start/../../atomdl.c" "$start/../../graph.c" \
        -o firmware.elf -lm
    timeout 300 qemu-system-arm -M $machine -icount shift=0 -display none \
        -serial none -monitor none -chardev stdio,id=host \
        -semihosting-config enable=on,target=native,chardev=host \
        -kernel firmware.elf </dev/null >got
    grep -v '^#' got | cmp - want
}

printf '%-5s %-6s %8s %8s %8s %7s %14s\n' board part text static arena \
    stack 'instructions/M'
for name; do
    case $name in
    m4f) board mps2-an386 0x21000000 -mcpu=cortex-m4 -mfpu=fpv4-sp-d16 \
        -mfloat-abi=hard ;;
    m7)  board mps2-an500 0x60000000 -mcpu=cortex-m7 -mfpu=fpv5-d16 \
        -mfloat-abi=hard ;;
    *)   echo "no board $name" >&2; exit 2 ;;
    esac
    size=$(arm-none-eabi-size firmware.elf |
        awk 'NR == 2 { print $1, $2 + $3 }')
    grep '^#' got | while read -r _ part _ arena _ stack _ count; do
        # shellcheck disable=SC2086 # two numbers
        printf '%-5s %-6s %8d %8d %8d %7d %14d\n' "$name" "$part" $size \
            "$arena" "$stack" $((count / 1000))
    done
done
grep -v '^atom ' want
echo "ok   $* give the desktop's $(grep -c '^atom' want) atoms," \
    "bit for bit"
