#!/bin/sh
# The unit tests and the digests under the sanitizers: gcc and clang with
# ASan and UBSan, clang with MSan; valgrind where no MSan can be had.
# Closes with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1
mkdir -p build
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
tests=$(make -s sources)
undefined="-fsanitize=undefined -fno-sanitize-recover=all"

# built SANITIZER... in folder $dir: tests and digests build and pass
built() {
    flags="-std=gnu99 -g -O1 -ffp-contract=off"
    "$@" $flags -c atomdl.c -o "$dir/atomdl.o" &&
        "$@" $flags -c sim.c -o "$dir/sim.o" &&
        "$@" $flags -c graph.c -o "$dir/graph.o" &&
        "$@" $flags -c movie.c -o "$dir/movie.o" &&
        "$@" $flags $tests "$dir"/*.o -o "$dir/test" -lm &&
        "$@" $flags tests/bits.c program/chain.c "$dir"/*.o -o "$dir/bits" -lm &&
        "$dir/test" && "$dir/bits" >"$dir/out" && diff "$dir/out" tests/bits.txt
}

run() { # run NAME COMPILER FLAGS...
    name=$1; shift
    dir=$tmp/$(echo "$name" | tr ' ' '-')
    mkdir "$dir"
    if ! command -v "$1" >/dev/null; then
        echo "skip $name: no $1"
    elif built "$@" >"$dir/log" 2>&1; then
        echo "ok   $name"
    else
        echo "FAIL $name"
        grep -v '^ok ' "$dir/log" | head -n 30 | sed 's/^/    /'
    fi | tee "$dir/row"
}

run "gcc ASan" gcc -fsanitize=address &
run "gcc UBSan" gcc $undefined
wait
# (both together on the unrolled vector kernels take clang ten minutes)
run "clang ASan UBSan" clang -fsanitize=address $undefined -DATOMDL_NO_SIMD &
run "clang MSan" clang -fsanitize=memory -fno-sanitize-recover=all
wait

count() { cat "$tmp"/*/row | grep -c "^$1 "; }
passed=$(count ok) failed=$(count FAIL) skipped=$(count skip)
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && { [ "$skipped" -eq 0 ] || [ -z "${STRICT:-}" ]; }
