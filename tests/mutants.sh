#!/bin/sh
# SPDX-License-Identifier: MIT
# Tests of the tests: small defects, one at a time, in each file of the
# library and the program, drawn by a fixed seed (tests/mutants.awk). Each is
# judged by the tests of its file, the cheapest first, until one fails, crashes
# or takes too long. A defect that the compiler refuses, or that leaves the
# object file as it was, is drawn again.
# usage: tests/mutants.sh [--list] [--quick] [--count N] [--seed N] [FILE...]
#   --list     shows the defects of each file, compiles nothing
#   --quick    without the tests of commands (tests/*.sh), which take longest
#   --count N  defects a file (10)
#   --seed N   other defects than those of every run (16)
# tests/mutants.equivalent names those proven to change nothing: they do not
# count. Linux; `make atomdl` comes first by itself. Never as root: a defect may
# write to any path, and one has replaced /dev/full.
# Closes with "N passed, N failed": killed, survived.
set -u
export LC_ALL=C OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
cd "$(dirname "$0")/.." || exit 1
top=$(pwd) list='' quick='' count=10 seed=16
while [ $# -gt 0 ]; do
    case $1 in
    --list) list=yes ;;
    --quick) quick=yes ;;
    --count) count=$2 && shift ;;
    --seed) seed=$2 && shift ;;
    -*) echo "usage: tests/mutants.sh [--list] [--quick] [FILE...]" >&2
        exit 2 ;;
    *) break ;;
    esac
    shift
done
parts=$(make -s parts | tr ' ' '\n' | sort)
[ $# -gt 0 ] || set -- $parts
if [ -z "$list" ] && [ -w /dev ]; then
    echo "run it as a user who may not write to /dev" >&2
    exit 2
fi
dir=$top/build/mutants
cc="${CC:-cc} -std=c99 -ffp-contract=off -O1 -w"

# judges FILE: what is asked about its defects, in this order
judges() {
    case $1 in
    atomdl.c) echo bits unit=status,arena,bytes,digests,math_special,math_fl \
        unit=square,reduc,kernels,philox,rng,sort,image,perc,arch,weights \
        unit=plan,init,losses,optimisers,metrics,torch,net_,grad_ \
        golden=train,analyze ;;
    sim.c) echo unit=structure,fft,optics,cross,probe,contrast,stacked,scan \
        unit=image_ph,image_ga,counting,detector,contam,imaging,recipe,sample \
        golden=simulate sh=simulate ;;
    graph.c) echo bits unit=graph,intensity,find,blobs \
        golden=evaluate,analyze ;;
    movie.c) echo bits unit=movie golden=movie ;;
    program/files/*) echo unit=io_ golden=info,simulate,evaluate,analyze \
        golden=movie sh=test_cli ;;
    program/simulate.c) echo golden=simulate sh=simulate sh=test_cli ;;
    program/analyze.c | program/report.c | program/tables.c)
        echo golden=analyze golden=movie sh=test_cli sh=movie ;;
    program/movie*.c | program/plot.c) echo golden=movie sh=movie ;;
    program/train.c) echo golden=train sh=train sh=test_cli ;;
    program/bench.c) echo nets sh=test_cli ;;
    program/chain.c) echo bits ;;
    program/paper/*) echo golden=paper sh=test_cli ;;
    *) echo golden=info,evaluate,simulate sh=test_cli sh=simulate ;;
    esac
}

# replay N: the golden's command N where its inputs lie; what it prints goes
# to $dir/out and $dir/err
replay() (
    words=$(sed -n "$1p" "$dir/commands")
    cd "$dir/tree" || exit 1
    eval "set -- $words"
    shift
    ulimit -t 30
    timeout 300 "$dir/atomdl" "$@" <raw >"$dir/out" 2>"$dir/err"
    echo $? >>"$dir/err"
)

# The golden's commands and what they write: $dir/tree is where they run again,
# $dir/kept stays; $dir/order: "SECONDS N COMMAND", the quickest first.
prepare_golden() {
    rm -rf "$dir/keep" "$dir/kept" "$dir/tree" "$dir/was"
    sh tests/golden.sh --quick --keep "$dir/keep" ./atomdl || exit 1
    mv "$dir"/keep/*-1.commands "$dir/commands"
    cat >>"$dir/commands" <<'END'
bands simulate --material graphene --size 2200 --pixel-size 0.15 --format tif -o bands/b
bands analyze --weights lattice -o bands/found bands/b.tif --threads 1
END
    mkdir "$(echo "$dir"/keep/*-1)/bands"
    for paper in $papers; do
        echo "paper-$paper paper $paper -o paper-$paper --threads 1" \
            >>"$dir/commands"
        mkdir "$(echo "$dir"/keep/*-1)/paper-$paper"
    done
    mv "$dir"/keep/*-1 "$dir/tree"
    rm "$dir/tree"/*/stdout "$dir/tree"/*/stderr
    mkdir "$dir/was"
    cp atomdl "$dir/atomdl"
    n=0
    while read -r case command _; do
        n=$((n + 1))
        : >"$dir/stamp"
        start=$(date +%s%N)
        replay $n </dev/null
        echo $(($(date +%s%N) - start)) $n "$command" "$case"
        mv "$dir/out" "$dir/was/$n.out"
        mv "$dir/err" "$dir/was/$n.err"
        (cd "$dir/tree" && find "$case" -type f -newer "$dir/stamp") \
            >"$dir/was/$n.files"
    done <"$dir/commands" | sort -n >"$dir/order"
    cp -r "$dir/tree" "$dir/kept"
    (cd "$dir/kept" && find . -type f | sed 's,^\./\(.*/\),\1,p' -n |
        xargs sha256sum | sort -k 2) >"$dir/sums"
    sort -k 2 tests/golden.txt | join -1 2 -2 2 - "$dir/sums" |
        awk '$2 != $3 { print "not the golden: " $1; bad = 1 }
             END { exit bad }' || exit 1
}

# The tests' objects and the golden, unless they are there from the last time
prepare() {
    make atomdl >/dev/null 2>&1 || exit 1
    papers=
    for file; do
        case $file in program/paper/*) papers='001 002 004' ;; esac
    done
    newest=$(ls -t atomdl tests/*.[ch] tests/golden.* | head -n 1)
    if [ -f "$dir/ready" ] && [ "$dir/ready" -nt "$newest" ] &&
        [ "$(cat "$dir/ready")" = "$papers" ]; then
        rm -rf "$dir/tree" # of a run that was stopped
        cp -r "$dir/kept" "$dir/tree"
        return
    fi
    rm -f "$dir/ready"
    mkdir -p "$dir/tests"
    for file in $(make -s sources) tests/bits.c; do
        case $file in
        tests/*) ${CC:-cc} -std=gnu99 -ffp-contract=off -O1 -w -c "$file" \
            -o "$dir/${file%.c}.o" || exit 1 ;;
        esac
    done
    prepare_golden
    echo "$papers" >"$dir/ready"
}

# compiled TEXT FILE OBJECT: as if TEXT were FILE
compiled() {
    mkdir -p "$dir/$(dirname "$2")"
    cp "$1" "$dir/$2"
    (cd "$dir" && $cc -iquote "$top/$(dirname "$2")" -iquote "$top" \
        -DATOMDL_WEIGHTS -I"$top/build" $(cat "$top/build/openmp") \
        -c "$2" -o "$3") 2>"$dir/log"
    status=$?
    rm "$dir/$2"
    return $status
}

# linked OUTPUT OBJECT...: the defect's object in its file's place
linked() {
    output=$1
    shift
    for o; do
        [ "$o" = "build/${file%.c}.o" ] && o=$dir/mutant.o
        set -- "$@" "$o"
        shift
    done
    ${CC:-cc} "$@" $(cat build/openmp) -o "$output" -lm 2>"$dir/log" && return
    cp "$dir/log" "$dir/broken"
    return 1
}

objects() {
    for o; do echo "build/${o%.c}.o"; done
}

# Each says by which word it killed, or nothing
judge_bits() {
    linked "$dir/bits" "$dir/tests/bits.o" build/program/chain.o \
        $(objects atomdl.c sim.c graph.c movie.c) || return
    for isa in plain sse2 avx2 avx512 neon; do
        (ulimit -t 30; ATOMDL_ISA=$isa timeout 300 "$dir/bits") \
            >"$dir/out" 2>/dev/null
        case $? in
        4) ;; # none here
        0) cmp -s "$dir/out" tests/bits.txt || { echo "bits $isa"; return; } ;;
        *) echo "bits $isa"; return ;;
        esac
    done
}

judge_unit() {
    if [ ! -f "$dir/test" ]; then
        tests=$(echo "$dir"/tests/*.o | sed 's,[^ ]*/bits.o,,')
        [ "$file" != atomdl.c ] || own_kernels
        linked "$dir/test" $tests \
            $(objects $parts | grep program/files/) \
            $(objects atomdl.c sim.c graph.c movie.c) || return
    fi
    (ulimit -t 120; timeout 900 "$dir/test" $(echo "$1" | tr , ' ')) \
        >"$dir/out" 2>&1 && return
    by=$(sed -n 's/^FAIL \([a-z_0-9]*\).*/\1/p' "$dir/out" | head -n 1)
    echo "test ${by:-that crashed}"
}

# test_kernels.c holds a library of its own: with the defect, too
own_kernels() {
    mkdir -p "$dir/own/tests"
    cp atomdl.h tests/test.h tests/test_kernels.c "$dir/own/tests"
    cp atomdl.h "$dir/own"
    cp "$dir/mutant.c" "$dir/own/atomdl.c"
    ${CC:-cc} -std=gnu99 -ffp-contract=off -O1 -w \
        -c "$dir/own/tests/test_kernels.c" -o "$dir/own/test_kernels.o"
    tests=$(echo "$tests" | sed s,/tests/test_kernels,/own/test_kernels,)
}

program() {
    [ -f "$dir/atomdl" ] || linked "$dir/atomdl" $(objects $parts)
}

# the commands named, the quickest first; the tree is then as it was
judge_golden() {
    program || return
    while read -r _ n command case; do
        case ,$1, in *,$command,*) ;; *) continue ;; esac
        (cd "$dir/tree" && xargs rm -f <"$dir/was/$n.files")
        replay "$n"
        cmp -s "$dir/out" "$dir/was/$n.out" &&
            cmp -s "$dir/err" "$dir/was/$n.err" &&
            diff -rq "$dir/tree/$case" "$dir/kept/$case" >/dev/null && continue
        rm -r "${dir:?}/tree/$case"
        cp -r "$dir/kept/$case" "$dir/tree"
        echo "golden $case: $command"
        return
    done <"$dir/order"
}

judge_nets() {
    program || return
    for n in fcn unet resunet3 resunet7; do
        "$dir/atomdl" bench --net $n 2>&1 | cmp -s - tests/nets/$n.net ||
            { echo "nets $n"; return; }
    done
}

judge_sh() {
    program || return
    (ulimit -t 120; timeout 900 sh "tests/$1.sh" "$dir/atomdl") \
        >"$dir/out" 2>&1 && return
    echo "$1.sh: $(sed -n 's/^FAIL [a-z_]*\.sh: //p' "$dir/out" | head -n 1)"
}

# killer: who kills $dir/mutant.o
killer() {
    rm -f "$dir/atomdl" "$dir/test" "$dir/broken"
    for judge in $(judges "$file"); do
        case $quick$judge in yessh=*) continue ;; esac
        by=$("judge_${judge%%=*}" "${judge#*=}" 2>/dev/null)
        [ "$by" ] && echo "$by" && return
    done
}

# equivalent LINE OLD NEW: its text is in the list, with the reason
equivalent() {
    sed -n "$1s/^ *//p" "$file" >"$dir/text"
    awk -F '\t' -v file="$file" -v change="$2 -> $3" '
        NR == FNR { text = $0; next }
        $1 == file && $2 == text && $3 == change { found = 1 }
        END { exit !found }' "$dir/text" tests/mutants.equivalent
}

# altered LINE COLUMN OLD NEW: the file with this defect
altered() {
    awk -v line="$1" -v column="$2" -v cut="$(printf %s "$3" | wc -c)" \
        -v new="$4" '
        NR == line { $0 = substr($0, 1, column - 1) new \
                          substr($0, column + cut) }
        { print }' "$file"
}

tab=$(printf '\t')

# one FILE: its defects, until COUNT were judged
one() {
    file=$1 killed=0 survived=0 left=0
    compiled "$file" "$file" "$dir/sound.o" || exit 1
    awk -v seed="$seed" -v most=$((3 * count)) -f tests/mutants.awk "$file" \
        >"$dir/drawn"
    while IFS=$tab read -r line column old new <&3; do
        [ $((killed + survived)) -lt "$count" ] || break
        what="$file:$line: $old -> $new"
        altered "$line" "$column" "$old" "$new" >"$dir/mutant.c"
        compiled "$dir/mutant.c" "$file" "$dir/mutant.o" || continue
        ! cmp -s "$dir/sound.o" "$dir/mutant.o" || continue
        if equivalent "$line" "$old" "$new"; then
            left=$((left + 1))
            echo "equivalent $what"
            continue
        fi
        by=$(killer)
        if [ -s "$dir/broken" ]; then
            echo "the tests do not link:" >&2
            head -n 5 "$dir/broken" >&2
            exit 1
        fi
        if [ "$by" ]; then
            killed=$((killed + 1))
            echo "killed $what: by $by"
        else
            survived=$((survived + 1))
            echo "SURVIVED $what"
        fi
    done 3<"$dir/drawn"
    echo "$file $killed $survived $left" >>"$dir/table"
}

if [ "$list" ]; then
    for file; do
        awk -v seed="$seed" -v most="$count" -f tests/mutants.awk "$file" |
            awk -F '\t' -v f="$file" '{ print f ":" $1 ": " $3 " -> " $4 }'
    done
    exit
fi
prepare "$@"
: >"$dir/table"
for file; do
    one "$file"
done
awk 'BEGIN { printf "%-28s %8s %8s %10s\n", "file", "killed", "survived", \
             "equivalent" }
     { printf "%-28s %8d %8d %10d\n", $1, $2, $3, $4
       killed += $2
       survived += $3 }
     END { printf "%.1f %% killed\n%d passed, %d failed\n", \
               100 * killed / (killed + survived), killed, survived
           exit survived > 0 }' "$dir/table"
