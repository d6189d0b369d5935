#!/bin/sh
# SPDX-License-Identifier: MIT
# Memory that ends, files that cannot be written, kill -9, a stream without
# end, races of threads: one clear line or the same bytes, and never a file
# that is not whole. Linux; as root it also fills a disk of its own.
# Closes with "N passed, N failed, N skipped".
#
#   sh tests/faults.sh [--long] [PART...]
#
# PARTs: calls disks kills soak threads; without any: all but soak, or, after
# --long, all. --long: every call, under ASan; 100 kills; a stream of 100,000
# frames (half an hour in all).
# Expects ./atomdl (make faults).
set -u
cd "$(dirname "$0")/.." || exit 2
. tests/common.sh
root=$PWD long= skipped=0
parts="calls disks kills threads"
if [ "${1-}" = --long ]; then
    long=1 parts="calls disks kills soak threads"
    shift
fi
dir=$(mktemp -d) && chmod 755 "$dir" || exit 2
disk=$dir/disk
trap 'umount "$disk" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
cp atomdl "$dir/atomdl" && program=$dir/atomdl
export OMP_WAIT_POLICY=passive

# good WHAT: the line of a section of which nothing failed since the last one
good() {
    [ $failed -ne "${before-0}" ] || echo "ok   $*"
    before=$failed
}

# ---------- What is worked on ------------------------------------------------

cd "$dir" || exit 2
silicon 2 6 3 2 2 >r.recipe
cat >ws2.recipe <<'END_'
material = ws2-2h-1
size = 48
pixel = 0.2
rotation = 10
dose = 100000
background = 0.1
place = vx1 5 5
event = vx1 hop 0.3
movie_drift = 0.3
seed = 4
END_
"$program" simulate --material graphene --size 32 --pixel-size 0.2 \
    --write-xyz -o g &&
    "$program" simulate r.recipe -o s &&
    "$program" simulate ws2.recipe --movie 4 --format npy -o f || exit 1
for i in 0 1 2 3; do tail -c 9216 f-000$i.npy; done >raw
(npy '<f4' '2, 48, 48'; head -c 18432 raw) >two.npy
weights=$root/weights/dopant.safetensors

simulate="simulate r.recipe --write-xyz -o out/g"
train="train r.recipe -o out/w --threads 1"
plain="analyze --material graphene --pixel-size 0.2 g.png"
analyze="$plain --probabilities -o out --threads 1"
movie="movie --material ws2 --pixel-size 0.2 -o out --threads 1 two.npy"
stream="movie - --size 48x48 --type f32 --material ws2 --pixel-size 0.2
    --threads 1"

# ---------- Memory and files, call by call -----------------------------------

# The program with calls that can fail: tests/faults.c. Once.
faults=$dir/faults
make_faults() {
    [ -x "$faults" ] && return
    flags="-O1 -std=c99 -ffp-contract=off -DATOMDL_NO_SIMD -DATOMDL_WEIGHTS"
    [ "$long" ] && flags="$flags -g -fsanitize=address"
    export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
    wrap=-Wl
    for f in malloc calloc realloc fopen fwrite fflush fclose rename mkdir; do
        wrap=$wrap,--wrap=$f
    done
    (cd "$root" && ${CC-cc} $flags -Ibuild -Dmain=program tests/faults.c \
        $(make -s parts) $wrap -o "$faults" -lm) || exit 1
}

# each EVERY ARGUMENT...: every so-manieth call for memory, then for files
each() {
    every=$1
    shift
    [ "$long" ] && every=1
    for kind in memory files; do
        "$faults" $kind out "$every" "$@"
        verdict $? "$kind: $*"
    done
}

calls() {
    make_faults
    each 1 $simulate
    each 1 simulate ws2.recipe --movie 2 --format npy -o out/f
    each 1 simulate r.recipe --xyz g.xyz --format tif -o out/g
    each 1 $train --checkpoint 0
    each 1 $train --images g.png,g.labels.png --set steps=3
    each 2 $analyze
    each 5 $movie
    STDIN=raw each 2 $stream
    each 1 evaluate g.truth.csv g.truth.csv --json
    each 1 info g.png
    each 1 info r.recipe
    each 1 info "$weights"
    each 1 info --c-array "$weights"
    each 1 verify
    each 1 bench --ms 1 fcn32
}

# ---------- Disks, directories, pipes ----------------------------------------

# one_line WHAT STATUS: status 1 and one line, warnings apart, in `error`
one_line() {
    [ "$2" -eq 1 ] && [ "$(grep -vc ': warning: ' error)" -eq 1 ] &&
        grep -v ': warning: ' error | grep -q '^atomdl: '
    verdict $? "$1: exit $2: $(cat error)"
}

# whole_files WHAT: the files of out/ are those of whole/
whole_files() {
    for f in out/* out/.[!.]*; do
        case $f in
        'out/*' | 'out/.[!.]*' | *.checkpoint | */lost+found) continue ;;
        out/w.csv) # whole after each line
            head -c "$(wc -c <$f)" whole/w.csv | cmp -s - $f &&
                [ "$(tail -c 1 $f | wc -l)" -eq 1 ] && continue ;;
        esac
        cmp -s "$f" "whole/${f#out/}" && continue
        verdict 1 "$1: $f"
        return
    done
    verdict 0
}

# limited BLOCKS COMMAND...: files end at so many blocks of 512 bytes; the exit
# status into `status`, the rest through a pipe, which has no end
limited() {
    blocks=$1
    shift
    { { (trap '' XFSZ; ulimit -f "$blocks"; exec "$program" "$@"); echo $? >&3
    } 2>&1 | cat >error; } 3>status
    return "$(cat status)"
}

# full BLOCKS COMMAND...: the same on a disk of so many blocks
full() {
    mount -t tmpfs -o "size=$(($1 * 512))" none "$disk" || return 2
    shift
    ln -sfn disk out
    "$program" "$@" >said 2>error </dev/null
}

# narrow WITH COMMAND...: with room for less than all of it, doubled until the
# command succeeds
narrow() {
    with=$1 blocks=8 status=1 runs=0
    shift
    mkdir -p out disk && "$program" "$@" >said 2>error || verdict 1 "$*"
    rm -rf whole && mv out whole
    [ "$with" = limited ] && blocks=0
    while [ $status -ne 0 ] && [ $blocks -lt 100000 ]; do
        rm -rf out && mkdir out
        [ "$with" = limited ] || rmdir out
        $with $blocks "$@"
        status=$?
        [ $status -eq 0 ] || one_line "$with, $blocks blocks: $*" $status
        whole_files "$with, $blocks blocks: $*"
        [ "$with" = limited ] || { umount "$disk" && rm -f out; }
        runs=$((runs + 1))
        blocks=$((blocks ? blocks * 2 : 1))
    done
    verdict $status "$with: never enough: $*"
}

# Less room than the files take
limits() {
    rm -rf out
    for c in "$simulate" "$train" "$train --checkpoint 0" "$analyze" \
        "$movie"; do
        narrow limited $c
    done
    good files that end after 0, 1, 2, 4... blocks of 512 bytes
    mkdir -p "$disk"
    if mount -t tmpfs -o size=4096 none "$disk" 2>/dev/null; then
        umount "$disk"
        for c in "$simulate" "$train --checkpoint 0" "$analyze" "$movie"; do
            narrow full $c
        done
        good disks of 4, 8, 16... KiB, all full
    else
        echo "     (no disk can be mounted here: limits and /dev/full alone)"
    fi
}

# A device in a file's place; standard output to one
devices() {
    rm -rf out
    mkdir out && ln -s /dev/full out/g.png && ln -s /dev/full out/w
    "$program" $simulate 2>error
    one_line '/dev/full' $?
    "$program" $train 2>error
    one_line '/dev/full' $?
    for c in "train --help" "info g.png" "$@"; do
        "$program" $c >/dev/full 2>error <raw
        one_line "/dev/full: $c" $?
    done
    good /dev/full
}

# A directory that may not be written to, for somebody who is not root
forbidden() {
    rm -rf out && mkdir out && chmod 555 out && chmod 644 r.recipe g.* two.npy
    as=
    [ "$(id -u)" -ne 0 ] ||
        as="setpriv --reuid=65534 --regid=65534 --clear-groups"
    for c in "$simulate" "$train" "$analyze" "$movie" \
        "$plain -o out/deeper" "paper 001 -o out/deeper"; do
        $as "$program" $c >said 2>error
        one_line "read-only: $c" $?
        [ -z "$(ls -A out)" ]
        verdict $? "read-only: $c: files"
    done
    good a directory without permission to write
}

# Directories where files should be, files where directories should be
directories() {
    mkdir -p file.d
    for c in "simulate file.d -o out/g" "train file.d" "analyze file.d" \
        "evaluate file.d g.truth.csv" "info file.d" "movie file.d" \
        "$plain -o g.xyz" "movie two.npy -o g.xyz" \
        "paper 001 -o g.xyz" "simulate r.recipe -o g.xyz/g" \
        "train r.recipe -o g.xyz/w" "simulate r.recipe --xyz file.d -o out/g"
    do
        "$program" $c >said 2>error
        one_line "a directory: $c" $?
    done
    for c in "g.png $simulate" "g.truth.csv $simulate" "w $train" \
        "w.csv $train" "w.checkpoint $train --checkpoint 0" \
        "g.atoms.csv $analyze" "g.prob.npy $analyze" "report.html $analyze" \
        "movie.gif $movie" "tracks.svg $movie" "report.html $movie"; do
        name=${c%% *} c=${c#* }
        rm -rf out && mkdir -p out/$name/full
        "$program" $c >said 2>error
        one_line "a directory $name: $c" $?
        [ -z "$(find out -name '*.part')" ]
        verdict $? "a directory $name: $c: a .part"
    done
    good directories for files, files for directories
}

# unread HOW COMMAND...: into a pipe whose reader has gone; HOW of SIGPIPE
unread() {
    how=$1
    shift
    : <pipe & # opens and closes it
    (
        exec >pipe
        wait
        sleep 0.1
        trap "$how" PIPE
        exec "$program" "$@" 2>error <raw
    )
}

# A pipe that nobody reads: SIGPIPE ends it, or where that is ignored one line
pipes() {
    rm -f pipe && mkfifo pipe
    for c in "$@"; do
        unread - $c
        got=$?
        [ $got -eq 141 ] && ! grep -qv ': warning: ' error
        verdict $? "a closed pipe: $c: exit $got $(cat error)"
        unread '' $c
        one_line "a closed pipe: $c" $?
    done
    rm -rf out whole && mkdir out && "$program" $analyze && mv out whole
    mkdir out && "$program" $analyze >&- 2>&- <&-
    verdict $? "no standard output at all"
    whole_files "no standard output at all"
    good pipes that nobody reads
}

disks() {
    before=$failed
    limits
    forbidden
    directories
    for on in devices pipes; do
        $on --help "info --c-array $weights" verify "bench --ms 1 fcn32" \
            "evaluate g.truth.csv g.truth.csv" "$stream" \
            "simulate --material mos2-2h-1 --print-recipe"
    done
}

# ---------- kill -9 ----------------------------------------------------------

# killed TIMES SEED COMMAND...
killed() {
    "$faults" kill out "$@"
    verdict $? "kill -9: $*"
}

kills() {
    make_faults
    n=2
    [ "$long" ] && n=10
    rm -rf out whole
    killed $((4 * n)) 1 $train --checkpoint 0 --set steps=40
    killed $n 2 $train --images g.png,g.labels.png --checkpoint 0
    killed $((2 * n)) 3 $analyze
    killed $((2 * n)) 4 $movie
    killed $n 5 simulate ws2.recipe --movie 4 -o out/f
}

# ---------- A long stream ----------------------------------------------------

# stream_of FRAMES: memory of the process after each hundredth of them
stream_of() {
    frames=$1
    "$program" simulate ws2.recipe --set size=64 --movie 100 --format npy \
        -o soak || return 1
    for i in soak-00??.npy; do tail -c 16384 $i; done >raw
    rm -f soak-*
    mkfifo frames lines
    (for i in $(seq $((frames / 100))); do cat raw; done) >frames &
    "$program" movie - --size 64x64 --type f32 --material ws2 \
        --pixel-size 0.2 --threads 1 <frames >lines &
    child=$!
    awk -v child=$child -v frames="$frames" -v step=$((frames / 100)) '
        function memory(   line, part) {
            while ((getline line <file) > 0)
                if (split(line, part) && part[1] == "VmRSS:") kib = part[2]
            close(file)
            return kib
        }
        BEGIN { file = "/proc/" child "/status" }
        NR % step == 0 && NR < frames { now = memory()
            if (!first) first = now
            if (now > most) most = now }
        END { printf "ok   a stream of %d frames: %.2f MiB after %d, %.2f " \
                  "at most\n", NR, first / 1024, step, most / 1024
              exit !(NR == frames && most < first + 256) }' lines
    grown=$?
    wait $child && [ $grown -eq 0 ]
}

soak() {
    stream_of 100000
    verdict $? "a stream of 100,000 frames"
}

# ---------- Threads ----------------------------------------------------------

# Trainings and analyses by the program at ./tsan: no race, the same bytes
race_free() {
    for net in 'fcn 2 4' 'unet 4' 'resunet 2'; do
        for n in 4 1; do
            ./tsan train r.recipe -o w$n --threads $n --set batch=5 \
                --set "network = $net" 2>error
            verdict $? "train, $net, $n threads: $(head -20 error)"
        done
        cmp w1 w4
        verdict $? "train, $net: 4 threads give other bytes"
    done
    for n in 2 3 4; do
        ./tsan $plain -o races --threads $n 2>error
        verdict $? "analyze with $n threads: $(head -20 error)"
    done
    good ThreadSanitizer: train and analyze with 2 to 4 threads
}

# ThreadSanitizer, which knows OpenMP through LLVM's libarcher
threads() {
    before=$failed
    archer=$(ls /usr/lib/llvm-*/lib/libarcher.so 2>/dev/null | tail -1)
    if ! command -v clang >/dev/null || [ ! "$archer" ]; then
        echo "skip ThreadSanitizer: no clang with libarcher (libomp-dev)"
        skipped=$((skipped + 1))
        return
    fi
    tsan="clang -O1 -g -w -std=gnu99 -ffp-contract=off -fopenmp
        -fsanitize=thread -DATOMDL_WEIGHTS -I$root/build"
    [ "$long" ] || tsan="$tsan -DATOMDL_NO_SIMD"
    export OMP_TOOL_LIBRARIES="$archer" OMP_NUM_THREADS=4
    export TSAN_OPTIONS='ignore_noninstrumented_modules=1 exitcode=66'
    printf '%s\n' 'int main(void) {' 'int i, n = 0;' \
        '_Pragma("omp parallel for num_threads(4)")' \
        'for (i = 0; i < 1000; i++) n += i;' 'return n == 1; }' >race.c
    $tsan race.c -o race && ./race 2>error
    [ $? -eq 66 ]
    verdict $? "ThreadSanitizer does not see a race"
    (cd "$root" && $tsan $(make -s parts) -o "$dir/tsan" -lm) &&
        race_free
    verdict $? "the program under ThreadSanitizer"
    [ "$long" ] || return
    (cd "$root" && $tsan $(make -s sources) atomdl.c sim.c graph.c movie.c \
        -o "$dir/nets" -lm && "$dir/nets" net_ grad_ | tail -1)
    verdict $? "networks under ThreadSanitizer"
}

for part in ${*:-$parts}; do $part; done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && { [ $skipped -eq 0 ] || [ -z "${STRICT-}" ]; }
