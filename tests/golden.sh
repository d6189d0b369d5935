#!/bin/sh
# SPDX-License-Identifier: MIT
# A golden of the program: every file that its commands write, and what they
# print, by two instruction sets and with one and two threads, has the SHA-256
# that tests/golden.txt says. What a command prints is CASE/stdout and
# CASE/stderr, the exit status of one that fails is the latter's last line;
# empty ones are left out. The program makes all inputs itself.
# usage: tests/golden.sh [--renew] [--quick] [--keep DIR] ./atomdl
#   --renew     writes golden.txt anew, if all combinations agree
#   --quick     one combination, no papers
#   --keep DIR  leaves what was written in DIR
. "$(dirname "$0")/common.sh"
top=$(cd "$(dirname "$0")/.." && pwd)
golden=$top/tests/golden.txt
renew= quick= keep=
while [ $# -gt 1 ]; do
    case $1 in
    --renew) renew=yes ;;
    --quick) quick=yes ;;
    --keep) keep=$2 && shift ;;
    *) break ;;
    esac
    shift
done
if [ $# -ne 1 ] || [ "$renew$quick" = yesyes ]; then
    echo "usage: tests/golden.sh [--renew | --quick] [--keep DIR] ./atomdl" >&2
    exit 2
fi
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
if [ "$keep" ]; then
    mkdir -p "$keep" && dir=$(cd "$keep" && pwd) || exit 1
else
    dir=$(mktemp -d) || exit 1
    trap 'rm -rf "$dir"' EXIT
fi
export OMP_WAIT_POLICY=passive # spinning threads starve on a busy machine

# run CASE COMMAND ARGUMENT...: all paths are relative, as reports name them
run() {
    case=$1
    shift
    mkdir -p "$case"
    echo "$case $*" >>"$dir/$now.commands"
    case $1 in
    analyze | movie | train | paper) set -- "$@" --threads "$threads" ;;
    esac
    "$program" "$@" >>"$case/stdout" 2>>"$case/stderr"
    status=$?
    [ $status -eq 0 ] || echo "exit $status" >>"$case/stderr"
}

# stack TYPE SHAPE FRAME.npy...: one array of them, without their headers
stack() {
    npy "$1" "$2"
    shift 2
    for f; do
        tail -c +129 "$f"
    done
}

demo() {
    run demo simulate --material graphene --size 256 --pixel-size 0.12 \
        --defects si-c3,si-c4,si3-c6,si2-c6,stone-wales --seed 3 \
        -o demo/graphene
    run demo analyze demo/graphene.png --pixel-size 0.12 -o demo/found
    run demo evaluate demo/found/graphene.atoms.csv demo/graphene.truth.csv
}

# the last one's message lists what there is
materials() {
    for m in graphene graphene-ab graphene-aa h-bn h-bn-2; do
        run materials simulate --material $m --size 48 -o materials/$m
    done
    for m in mos2 mose2 ws2 wse2; do
        for s in 2h 3r 1t; do
            for n in 1 2 3; do
                run materials simulate --material $m-$s-$n --size 48 \
                    -o materials/$m-$s-$n
            done
        done
    done
    run materials simulate --material each -o materials/each
}

simulations() {
    run recipe simulate --material graphene --print-recipe
    run formats simulate --material mos2-2h-1 --size 64 --count 2 --first 3 \
        --format tif --write-xyz --defects vx1:2,vx2 -o formats/m
    run formats simulate formats/g.recipe --training --format npy -o formats/t
    run xyz simulate --material graphene --size 64 --xyz formats/m-0004.xyz \
        -o xyz/x
}

evaluations() {
    run evaluate evaluate demo/found/graphene.atoms.csv \
        demo/graphene.truth.csv --radius 0.05
    run evaluate evaluate demo/found/graphene.atoms.csv \
        demo/graphene.truth.csv --json
}

analyses() {
    run graphene simulate --material graphene --size 256 --defects v1,si-c3 \
        --dose 200000 -o graphene/g
    run graphene analyze graphene/g.png -o graphene
    run mos2 simulate --material mos2-2h-1 --size 160 --defects vx1:2,vx2 \
        --pixel-size 0.12 -o mos2/m
    run mos2 analyze --material mos2 --pixel-size 0.12 -o mos2 mos2/m.png
    run intensity analyze --material mos2 --pixel-size 0.12 -o intensity \
        --method intensity mos2/m.png
    for i in 0 1 2 3 4 5 6 7; do
        echo "stack/f-000$i.npy"
    done >list
    run stack simulate --material graphene --size 96 --count 8 --format npy \
        --defects si-c4 -o stack/f
    stack '<f4' '8, 96, 96' $(cat list) >eight.npy
    run stack analyze --pixel-size 0.1 --frames 1-3 -o stack eight.npy
    run average analyze --pixel-size 0.1 --average 8 -o average eight.npy
    run several analyze --pixel-size 0.1 --threshold 0.4 -o several \
        graphene/g.png $(cat list)
}

# a network of the program's own making
training() {
    run train train g.recipe -o train/t.safetensors
    run tiny analyze --weights ./train/t.safetensors --pixel-size 0.2 -o tiny \
        --threshold C=0.3 graphene/g.png
}

movies() {
    run film simulate film.recipe --movie 5 --format npy -o film/f
    set -- film/f-0000.npy film/f-0001.npy film/f-0002.npy film/f-0003.npy \
        film/f-0004.npy
    run movie movie --material ws2 --pixel-size 0.2 -o movie "$@"
    stack '<f4' '5, 128, 128' "$@" >five.npy
    run learn movie --material ws2 --pixel-size 0.2 --learn-first-frame \
        --frames 0-1 -o learn five.npy
    tail -c +129 five.npy >raw
    run stream movie - --size 128x128 --type f32 --material ws2 \
        --pixel-size 0.2 <raw
    run rotor simulate --material graphene --size 128 --movie 6 \
        --defects si3-c6 --set 'event = si3-c6 turn 0.4' --format npy \
        -o rotor/f
    run rotor movie --pixel-size 0.1 -o rotor rotor/f-*.npy
    run atoms movie --pixel-size 0.1 --track atoms --affine -o atoms \
        rotor/f-*.npy
}

information() {
    run info info graphene/g.png stack/f-0000.npy formats/m-0003.tif \
        train/t.safetensors weights/graphene.safetensors \
        weights/graphene.recipe
    run c-array info --c-array weights/dopant.safetensors
}

# Half a minute each: one with one thread, the other with two
papers() {
    for p in 001 002 004; do
        run paper-$p paper $p -o paper-$p
    done
}

recipes() {
    cat >g.recipe <<'END'
material = graphene
size = 32
pixel = 0.2
defects = si-c3 v1
count = 1
class = background
class = C atom C 0.45
class = Si atom Si 0.36
network = fcn 2 4
batch = 4
steps = 60
check = 20
validation = 8
average = 5
END
    mkdir -p formats && cp g.recipe formats
    cat >film.recipe <<'END'
material = ws2-2h-1
size = 128
pixel = 0.2
rotation = 10
dose = 100000
background = 0.1
place = vx1 9 9
place = sub-m Mo 17 16
event = vx1 hop 0.3
movie_drift = 0.3
seed = 4
END
}

# combination ISA THREADS [papers]: $dir/ISA-THREADS.sums <- "SHA256  FILE"
combination() {
    now=$1-$2 threads=$2
    export ATOMDL_ISA="$1" OMP_NUM_THREADS="$2"
    mkdir "$dir/$now" && cd "$dir/$now" || exit 1
    ln -s "$top/weights" weights
    recipes
    demo
    materials
    simulations
    evaluations
    analyses
    training
    movies
    information
    [ "$3" ] && papers
    find . -type f ! \( -size 0 -name 'std*' \) | sed -n 's,^\./\(.*/\),\1,p' |
        LC_ALL=C sort | xargs sha256sum >"../$now.sums"
    cd "$dir" && [ "$keep" ] || rm -r "$now"
}

# compare COMBINATION REFERENCE [papers]: names what differs, and the command
compare() {
    awk -v combination="$1" -v papers="$3" -v counts="$dir/counts" '
        # the first of its case whose -o begins the name, else the first
        function writer(file,   case_, i, best) {
            case_ = file
            sub("/.*", "", case_)
            for (i = n; i; i--)
                if (of[i] == case_ && (!best || !out[best] ||
                                       index(file, out[i]) == 1))
                    best = i
            return command[best]
        }
        function bad(what, file) {
            failed++
            printf "FAIL golden.sh: %s %s (%s): atomdl %s\n", file, what,
                combination, writer(file)
        }
        FILENAME == ARGV[1] {
            of[++n] = $1
            for (i = 3; i < NF; i++) if ($i == "-o") out[n] = $(i + 1)
            sub("[^ ]* ", "")
            command[n] = $0
            next
        }
        FILENAME == ARGV[2] { is[$2] = $1; next }
        !papers && $2 ~ /^paper-/ { next }
        !($2 in is) { bad("is missing", $2); next }
        { seen[$2] = 1 }
        is[$2] != $1 { bad("differs", $2); next }
        { passed++ }
        END {
            for (file in is) if (!(file in seen)) bad("is new", file)
            print passed + 0, failed + 0 >counts
        }' "$dir/$1.commands" "$dir/$1.sums" "$2"
    read -r p f <"$dir/counts"
    passed=$((passed + p)) failed=$((failed + f))
}

# The best instruction set that `verify` names, and another one
best=$("$program" verify | sed -n 's/^kernels.* \([^ ]*\) (in use).*/\1/p')
other=plain
"$program" verify | grep -q '^kernels.* sse2 ' && other=sse2
[ "$best" ] || exit 1
if [ "$quick" ]; then
    combination "$best" 1
    compare "$best-1" "$golden"
else
    combination "$best" 1 papers
    combination "$best" 2
    combination "$other" 1
    combination "$other" 2 papers
    [ "$renew" ] && cp "$dir/$best-1.sums" "$dir/golden.txt" &&
        golden=$dir/golden.txt
    compare "$best-1" "$golden" papers
    compare "$best-2" "$golden"
    compare "$other-1" "$golden"
    compare "$other-2" "$golden" papers
fi
[ "$renew" ] && [ $failed -eq 0 ] && cp "$golden" "$top/tests/golden.txt"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
