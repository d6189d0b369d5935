#!/bin/sh
# Every reader and parser under libFuzzer with ASan and UBSan, from the seeds
# of tests/corpus. Closes with "N passed, N failed, N skipped".
#
#   sh tests/fuzz.sh [SECONDS [TARGET...]]    SECONDS of each; 0: seeds alone
#   sh tests/fuzz.sh --runs N [TARGET...]     N of each, of inputs up to 512 B
#   sh tests/fuzz.sh --coverage               lines that the seeds reach
#
# What it finds stays in build/fuzz/, beside the corpus as it has grown.
set -u
cd "$(dirname "$0")/.." || exit 2
out=build/fuzz
mkdir -p $out
sources="tests/fuzz.c program/places.c program/tables.c program/files/*.c
    atomdl.c sim.c graph.c movie.c"
flags="-g -std=gnu99 -ffp-contract=off -DATOMDL_NO_SIMD"
all=$(sed -n 's/^    {"\([a-z]*\)", [a-z]*, .*/\1/p' tests/fuzz.c)

if ! command -v clang >/dev/null; then
    echo "skip no clang"
    echo "0 passed, 0 failed, 1 skipped"
    [ -z "${STRICT-}" ]
    exit
fi

if [ "${1-}" = --coverage ]; then
    # of stb too, as long as it is no system header
    cp /usr/include/stb/stb_image*.h $out 2>/dev/null
    clang $flags -I$out -DFUZZ_REPLAY -fprofile-instr-generate -fcoverage-mapping \
        $sources -o $out/replay -lm || exit 1
    rm -f $out/*.profraw
    for t in $all; do
        seeds=$(ls -d tests/corpus/$t/* $out/$t/* 2>/dev/null)
        echo "$seeds" | FUZZ=$t LLVM_PROFILE_FILE=$out/$t-%p.profraw \
            xargs $out/replay >/dev/null || exit 1
    done
    llvm-profdata merge $out/*.profraw -o $out/profile || exit 1
    llvm-cov export -format=lcov $out/replay -instr-profile=$out/profile |
        awk -f tests/fuzz.awk
    exit
fi

passed=0 failed=0 limit=-max_total_time=${1-3} length=8192 fast=-O1
case "${1-}" in
--runs) # as the corpus has grown, comparisons need not be traced: faster
    limit=-runs=$2 length=512 fast='-O2 -fno-sanitize-coverage=trace-cmp'
    shift ;;
0) limit=-runs=0 ;;
esac
[ $# -eq 0 ] || shift
clang $fast $flags -fsanitize=fuzzer,address,undefined \
    -fno-sanitize-recover=undefined -fsanitize-ignorelist=tests/fuzz.ignore \
    $sources -o $out/fuzz -lm || exit 1
for t in ${*:-$all}; do
    mkdir -p $out/$t
    if FUZZ=$t $out/fuzz $limit -max_len=$length \
        -rss_limit_mb=2000 -malloc_limit_mb=1500 -timeout=10 \
        -print_final_stats=1 -artifact_prefix=$out/$t- \
        $out/$t tests/corpus/$t >$out/log-$t 2>&1; then
        passed=$((passed + 1))
        runs=$(sed -n 's/^stat::number_of_executed_units: //p' $out/log-$t)
        echo "ok   $t: $runs executions"
    else
        failed=$((failed + 1))
        echo "FAIL $t"
        grep -a -E 'ERROR|runtime error|SUMMARY|Test unit' $out/log-$t
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
