#!/bin/sh
# SPDX-License-Identifier: MIT
# A golden of the program: every file that its commands write, and what they
# print, by two instruction sets and with one and two threads, has the SHA-256
# that tests/golden.txt says. What a command prints is CASE/stdout and
# CASE/stderr, the exit status of one that fails is the latter's last line;
# empty ones are left out. The program makes all inputs itself.
# usage: tests/golden.sh [--renew] [--quick] [--keep DIR] ./atomdl
#   --renew     writes golden.txt anew, if all combinations agree
#   --quick     one combination, without what takes long
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
export LC_ALL=C
export OMP_WAIT_POLICY=passive # spinning threads starve on a busy machine

# noted CASE COMMAND ARGUMENT...: a line that a shell can read again
noted() {
    for word; do
        case $word in
        *[!A-Za-z0-9_./,:=-]*) printf "'%s' " "$word" ;;
        *) printf '%s ' "$word" ;;
        esac
    done
    echo
}

# run CASE COMMAND ARGUMENT...: all paths are relative, as reports name them
run() {
    case=$1
    shift
    mkdir -p "$case"
    case $1 in
    analyze) set -- "$@" --probabilities --threads "$threads" ;;
    movie | train | paper) set -- "$@" --threads "$threads" ;;
    esac
    noted "$case" "$@" >>"$dir/$now.commands"
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

# Every defect that can be simulated
SILICON=si-c3,si-c4,si2-c4,si2-c5,si2-c6,si3-c6,si4-c6,si-c3-v,si-adatom,v1
SILICON=$SILICON,v1-5-9,v2-5-8-5,v2-555-777,stone-wales,hole6
SILICON=$SILICON,si-c3-c3,si-c3-c4,si-c4-c4
MOVED=vx1,vx2,vm,m-x,m-x2,x-m,x2-m,sub-m,sub-x

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
    for m in mos2 mose2 mote2 ws2 wse2 wte2; do
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
    run formats simulate g.recipe --training --format npy -o formats/t
    run xyz simulate --material graphene --size 64 --xyz formats/m-0004.xyz \
        -o xyz/x
    for r in dichalcogenide dopant graphene-defects graphene lattice \
        mos2-carbon mos2-polymorph mos2-vacancy vacancy; do
        run samples simulate weights/$r.recipe --training --size 64 \
            -o samples/$r
    done
}

evaluations() {
    run evaluate evaluate demo/found/graphene.atoms.csv \
        demo/graphene.truth.csv --radius 0.05
    run evaluate evaluate demo/found/graphene.atoms.csv \
        demo/graphene.truth.csv --json
    run evaluate evaluate mos2/found/m.atoms.csv mos2/m.truth.csv
}

analyses() {
    run graphene simulate --material graphene --size 256 --defects v1,si-c3 \
        --dose 200000 -o graphene/g
    run graphene analyze --material graphene -o graphene/found graphene/g.png
    run average analyze --pixel-size 0.1 --average 8 -o average/image \
        graphene/g.png
    for i in 0 1 2 3 4 5 6 7; do
        echo "stack/s-000$i.npy"
    done >list
    run stack simulate --material graphene --size 96 --count 8 --format npy \
        --defects si-c4 -o stack/s
    stack '<f4' '8, 96, 96' $(cat list) >eight.npy
    run stack analyze --pixel-size 0.1 --frames 1-3 -o stack/found eight.npy
    run average analyze --pixel-size 0.1 --average 8 -o average/stack eight.npy
    (npy '<f4' '96, 96'; tail -c +129 stack/s-0000.npy | head -c 27648
        head -c 9216 /dev/zero | tr '\0' '\377') >nan.npy
    run blank analyze --material graphene --pixel-size 0.1 -o blank nan.npy
    run several analyze --pixel-size 0.1 --threshold 0.4 -o several \
        graphene/g.png stack/s-0007.npy
    run silicon simulate --material graphene --size 512 --pixel-size 0.12 \
        --defects "$SILICON" -o silicon/s
    run silicon analyze --pixel-size 0.12 -o silicon/found silicon/s.png
    run coarse simulate --material graphene --size 128 --pixel-size 0.5 \
        -o coarse/c
    run coarse analyze --pixel-size 0.5 -o coarse/found coarse/c.png
    run wide analyze --pixel-size 0.131 -o wide demo/graphene.png
    run nothing analyze --pixel-size 0.1 --threshold 0.9999 -o nothing \
        --material graphene --force stack/s-0000.npy
}

dichalcogenides() {
    run mos2 simulate --material mos2-2h-1 --size 160 --defects vx1:2,vx2 \
        --pixel-size 0.12 -o mos2/m
    run mos2 analyze --material mos2 --pixel-size 0.12 -o mos2/found mos2/m.png
    run intensity analyze --material mos2 --pixel-size 0.12 -o intensity \
        --method intensity mos2/m.png
    run ws2 simulate --material ws2-2h-1 --size 384 --pixel-size 0.16 \
        --set 'dopant = Cr' --defects "$MOVED" --format tif -o ws2/w
    run ws2 analyze --material ws2 --dopant Cr -o ws2/found ws2/w.tif
    run many simulate --material mos2-2h-1 --pixel-size 0.25 --format npy \
        --set 'scatter = vx1 0.2' -o many/m
    run many analyze --material mos2 --pixel-size 0.25 -o many/found many/m.npy
    run others analyze --material ws2 --weights mos2-vacancy -o others/a \
        ws2/w.tif
    run others analyze --material mos2 --weights mos2-polymorph --dark 0.02 \
        --pixel-size 0.12 -o others/b formats/m-0003.tif
    run others analyze --material mos2 --weights mos2-carbon -o others/c \
        formats/m-0003.tif
    run others analyze --material ws2 --weights dopant --dopant Cr \
        -o others/d ws2/w.tif
    run others analyze --material ws2 --weights vacancy -o others/e ws2/w.tif
    run heavy simulate --material mose2-2h-1 --size 256 --pixel-size 0.14 \
        --set 'dopant = W' --defects vx1:2,vx2,sub-m --format tif -o heavy/m
    run heavy analyze --material MoSe2 -o heavy/found heavy/m.tif
    run h-bn simulate --material h-bn --size 192 --format tif -o h-bn/b
    run h-bn analyze -o h-bn/found h-bn/b.tif
}

# a network of the program's own making
training() {
    run train train g.recipe -o train/t.safetensors
    run tiny analyze --weights ./train/t.safetensors --pixel-size 0.1 -o tiny \
        --threshold C=0.3 --force graphene/g.png
    mkdir again && cp g.recipe again
    run again train again/g.recipe --from train/t.safetensors --quiet \
        --set steps=10 --set optimiser=sgd
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
    (npy '<f4' '3, 128, 128'; tail -c +129 "$1"; head -c 65536 /dev/zero
        tail -c +129 "$2") >gap.npy
    run gap movie --material ws2 --pixel-size 0.2 --interval 0.5 \
        --method intensity -o gap gap.npy
    run rotor simulate --material graphene --size 128 --movie 6 \
        --defects si3-c6 --set 'event = si3-c6 turn 0.4' --format npy \
        -o rotor/r
    run rotor movie --pixel-size 0.1 -o rotor/found rotor/r-*.npy
    run atoms movie --pixel-size 0.1 --track atoms --affine -o atoms \
        rotor/r-*.npy
    run dopant simulate --material graphene --size 544 --pixel-size 0.1 \
        --movie 4 --set 'place = si-c3 20 20' --set 'place = si-c4 35 30' \
        --format npy -o dopant/d
    run dopant movie --pixel-size 0.1 --classes 2 --confusion 0.1 --gap 1 \
        --gate 2 -o dopant/found dopant/d-*.npy
}

# what only dim frames need: sites over time, leaps taken back, hidden walks
dim_movies() {
    run leap simulate leap.recipe --movie 24 --format npy -o leap/l
    run leap movie --material ws2 --pixel-size 0.25 -o leap/found leap/l-*.npy
    run as-found movie --material ws2 --pixel-size 0.25 --as-found \
        --frames 0-9 -o as-found leap/l-*.npy
    run hops simulate hops.recipe --movie 40 --format npy -o hops/h
    run hops movie --material ws2 --pixel-size 0.2 -o hops/found hops/h-*.npy
}

information() {
    run info info graphene/g.png stack/s-0000.npy formats/m-0003.tif \
        train/t.safetensors weights/graphene.safetensors \
        weights/graphene.recipe
    run c-array info --c-array weights/dopant.safetensors train/t.safetensors
    for format in array dm mrc npy ser tiff png other weights checkpoint \
        recipe; do
        run readers info corpus/$format/*
    done
}

# what is refused, and in which words
refusals() {
    cp g.recipe twice.recipe
    printf 'place = v1 2 2\nplace = v1 2 2\n' >>twice.recipe
    while read -r words <&3; do
        run refused $words </dev/null
    done 3<<END
analyze
analyze none.png
analyze --frames 2-1 eight.npy
analyze --frames 8-9 --pixel-size 0.1 eight.npy
analyze --pixel-size 11 stack/s-0000.npy
analyze --pixel-size x stack/s-0000.npy
analyze --pixel-size 4 stack/s-0000.npy
analyze --pixel-size 0.1 --material mos2 -o refused stack/s-0000.npy
analyze --pixel-size 0.1 --invert -o refused graphene/g.png
analyze --pixel-size 0.1 --material Graphene --invert -o refused graphene/g.png
analyze -o refused stack/s-0000.npy
analyze --pixel-size 0.1 --material gold stack/s-0000.npy
analyze --pixel-size 0.1 --threshold 2 -o refused stack/s-0000.npy
analyze --pixel-size 0.1 --threshold Fe=0.4 -o refused stack/s-0000.npy
analyze --average 2 stack/s-0000.npy
analyze --rules none=1 stack/s-0000.npy
analyze --threads 0 stack/s-0000.npy
analyze --dark x stack/s-0000.npy
analyze --what stack/s-0000.npy
analyze --method none stack/s-0000.npy
analyze --method intensity --pixel-size 0.1 stack/s-0000.npy
analyze --weights none --pixel-size 0.1 stack/s-0000.npy
analyze --weights weights/SHA256SUMS --pixel-size 0.1 stack/s-0000.npy
analyze --pixel-size 0.1 -o refused stack/s-0000.npy stack/s-0000.npy
analyze --isa none stack/s-0000.npy
movie
movie none.npy
movie -
movie --size 128x128 five.npy
movie - --size 128 --type f32
movie - --size 128x128 --type f9
movie - --size 128x128 --type f32 --learn-first-frame --pixel-size 0.2
movie --frames 7-9 --pixel-size 0.2 --material ws2 five.npy
movie --classes 0 five.npy
movie --gap -1 five.npy
movie --gate 0 five.npy
movie --confusion 2 five.npy
movie --track none five.npy
movie --interval 0 five.npy
movie --pixel-size 0.2 --material ws2 -o refused film/f-0000.npy eight.npy
train
train none.recipe
train g.recipe --set none=1
train g.recipe --set steps
train g.recipe --set size=33
train g.recipe --resume -o refused/t.safetensors
train g.recipe --images none.png -o refused/t.safetensors
train g.recipe --images none.png,none.png -o refused/t.safetensors
train g.recipe --from weights/dopant.safetensors -o refused/t.safetensors
simulate
simulate none.recipe
simulate g.recipe film.recipe
simulate g.recipe --movie 3 --count 2 -o refused/s
simulate twice.recipe -o refused/s
simulate --material graphene
simulate --material graphene --defects none -o refused/s
simulate --material graphene --defects
simulate --material graphene --set size=0 -o refused/s
simulate --material graphene --set none=0 -o refused/s
simulate --material graphene --format gif -o refused/s
simulate --material graphene --size 64 --xyz none.xyz -o refused/s
evaluate
evaluate none.csv none.csv
evaluate --radius -1 demo/graphene.truth.csv demo/graphene.truth.csv
info
info none.png
info --c-array five.npy
bench --net none
bench none
paper 003
none
END
    for i in corpus/csv/*; do
        run csv evaluate $i demo/graphene.truth.csv
    done
    for i in corpus/xyz/*; do
        run atoms-of simulate --material graphene --size 16 --xyz $i \
            -o atoms-of/${i##*/}
    done
}

# the pixel size from the lattice's reflections
reflections() {
    run guess simulate --material graphene --size 160 --format npy \
        --set rotation=7 -o guess/g
    run guess analyze --material graphene -o guess/graphene guess/g.npy
    run guess analyze --material ws2 -o guess/ws2 film/f-0000.npy
}

# Too long for four times: by the best instruction set with one thread, by the
# other with two. `bands`: an image of more than 2^22 pixels.
long_ones() {
    run bands simulate --material graphene --size 2200 --pixel-size 0.15 \
        --format tif -o bands/b
    run bands analyze --weights lattice -o bands/found bands/b.tif
    for p in 001 002 004; do
        run paper-$p paper $p -o paper-$p
    done
}

recipes() {
    silicon 4 60 20 8 5 >g.recipe
    film >film.recipe
    leap >leap.recipe
    cat >hops.recipe <<'END'
material = ws2-2h-1
size = 160
pixel = 0.2
rotation = 10
dose = 12000
background = 0.1
place = vx1 8 8
place = vx1 16 16
place = vx1 8 17
place = vx1 23 9
place = vx1 24 23
place = vx1 15 25
event = vx1 hop 0.15
seed = 7
END
}

# combination ISA THREADS [long]: $dir/ISA-THREADS.sums <- "SHA256  FILE"
combination() {
    now=$1-$2 threads=$2
    export ATOMDL_ISA="$1" OMP_NUM_THREADS="$2"
    mkdir "$dir/$now" && cd "$dir/$now" || exit 1
    ln -s "$top/weights" weights
    ln -s "$top/tests/corpus" corpus
    recipes
    demo
    materials
    simulations
    analyses
    dichalcogenides
    evaluations
    training
    movies
    dim_movies
    information
    refusals
    reflections
    [ "$3" ] && long_ones
    [ "$renew" ] && grep '^exit' */stderr
    find . -type f ! \( -size 0 -name 'std*' \) |
        sed -n 's,^\./\(.*/\),\1,p' | sort | xargs sha256sum >"../$now.sums"
    cd "$dir" && [ "$keep" ] || rm -r "$now"
}

# compare COMBINATION REFERENCE [long]: names what differs, and the command
compare() {
    echo 0 1 >"$dir/counts" # unless awk gets to its end
    awk -v combination="$1" -v long="$3" -v counts="$dir/counts" '
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
        !long && $2 ~ /^(bands|paper-)/ { next }
        !($2 in is) { bad("is missing", $2); next }
        { seen[$2] = 1 }
        is[$2] != $1 { bad("differs", $2); next }
        { passed++ }
        END {
            for (file in is) if (!(file in seen)) bad("is new", file)
            print passed + 0, failed + 0 >counts
        }' "$dir/$1.commands" "$dir/$1.sums" "$2" | sort
    read -r p f <"$dir/counts"
    passed=$((passed + p)) failed=$((failed + f))
}

# try ISA THREADS [long]; the first one is what --renew takes
try() {
    combination "$1" "$2" "$3"
    [ "$renew" ] && [ "$now" = "$best-1" ] && cp "$now.sums" golden.txt &&
        golden=$dir/golden.txt
    compare "$now" "$golden" "$3"
}

# the best instruction set, in the words of `verify`, and another one
isas=$(ATOMDL_ISA='' "$program" verify | sed -n 's/^kernels  *//p')
best=${isas%% (in use)*}
best=${best##* }
case $best,$isas in
sse2,*) other=plain ;;
*' sse2 '*) other=sse2 ;;
*) other=plain ;;
esac
if [ "$quick" ]; then
    try "$best" 1
else
    try "$best" 1 long
    try "$best" 2
    [ "$other" = "$best" ] || try "$other" 1
    [ "$other" = "$best" ] || try "$other" 2 long
fi
[ "$renew" ] && [ $failed -eq 0 ] && cp "$golden" "$top/tests/golden.txt"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
