#!/bin/sh
# Tests of the tests: each rule of the promise is broken in a copy of the
# sources, and the check that ought to notice must notice.
# Closes with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
cc=${CC:-cc}

# mutant NAME 'SED SCRIPT' FLAGS...: must change the digests, be refused at
# run time, or need a function that the library may not call
mutant() {
    name=$1 script=$2; shift 2
    cp atomdl.h atomdl.c "$tmp"
    sed "$script" atomdl.c >"$tmp/atomdl.c"
    if [ -n "$script" ] && cmp -s atomdl.c "$tmp/atomdl.c"; then
        echo "FAIL $name: the sed script matches nothing"
        failed=$((failed + 1)); return
    fi
    sed 's,"../atomdl.h","atomdl.h",' tests/bits.c >"$tmp/bits.c"
    caught=""
    if ! "$@" -I"$tmp" "$tmp/atomdl.c" "$tmp/bits.c" -o "$tmp/x" -lm \
            >"$tmp/log" 2>&1; then
        caught="the compiler"
    else
        nm -u "$tmp/x" | sed 's/@.*//; s/.* //' >"$tmp/undefined"
        "$tmp/x" >"$tmp/out" 2>&1
        case $? in
        3) caught="the self-test" ;;
        *) diff "$tmp/out" tests/bits.txt >"$tmp/diff" ||
            caught="digest $(sed -n 's/^< \([a-z]*[^ ]*\) .*/\1/p' "$tmp/diff" |
                head -n 1)" ;;
        esac
        "$@" -c -I"$tmp" "$tmp/atomdl.c" -o "$tmp/a.o" 2>/dev/null
        foreign=$(nm -u "$tmp/a.o" | sed 's/.* //' | grep -vxE \
            'memcpy|memset|memmove|memcmp|strcmp|sqrtf?|__cpu_(model|indicator_init)|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail' |
            tr '\n' ' ')
        [ -n "$foreign" ] && caught="$caught, symbol $foreign"
    fi
    if [ -n "$caught" ]; then
        echo "ok   $name: caught by ${caught#, }"; passed=$((passed + 1))
    else
        echo "FAIL $name: nothing noticed"; failed=$((failed + 1))
    fi
}

plain="$cc -std=c99 -O2 -ffp-contract=off"
mutant "sum swapped" 's/lane\[i\] = lane\[i\] + lane\[i + s\]/lane[i] = lane[i + s] + lane[s - 1 - i]/' $plain
mutant "8 lanes" 's/LANES = 16/LANES = 8/' $plain
mutant "product left out of its rounding" 's/float p = x\[i\] \* y\[i\];/double p = (double)x[i] * (double)y[i];/; s/lane\[i % LANES\] + p;/(float)((double)lane[i % LANES] + p);/' $plain
mutant "libm expf" 's/^static void exp_plain/float expf(float);\n&/; s/y\[i\] = atomdl_expf(x\[i\])/y[i] = expf(x[i])/' $plain -fno-builtin
mutant "libm log" 's/^double atomdl_log(double x)/double log(double);\n&/; s/^    return hi + lo;/    return log(x);/' $plain -fno-builtin
mutant "qsort" 's/^int atomdl_sort/#include <stdlib.h>\nstatic const double *K;\nstatic int by(const void *a, const void *b) { double x = K[*(const u32 *)a], y = K[*(const u32 *)b]; return (x > y) - (x < y); }\n&/; s/^    for (run = 1; run < n; run \*= 2) {/    K = key; qsort(order, n, sizeof *order, by);\n    for (run = n; run < n; run *= 2) {/' $plain
mutant "unstable sort" 's/!(key\[in\[j\]\] < key\[in\[i\]\])/key[in[i]] < key[in[j]]/' $plain
mutant "9 rounds of Philox" 's/round < 10/round < 9/' $plain
mutant "fused multiply-add" 's/float p = w\[t\] \* row\[x\];/float p = __builtin_fmaf(w[t], row[x], 0 * out[x]);/; s/out\[x\] = out\[x\] + p;/out[x] = __builtin_fmaf(w[t], row[x], out[x]);/' $plain
mutant "vector exp without its guard" 's/if (any >> 63) exp_plain(out, in, m);//' $plain
mutant "double rounding" 's/    if (!(b & 0xfffffff).*//' $plain
if grep -q '\bfma\b' /proc/cpuinfo 2>/dev/null; then
    mutant "contraction by gcc, guard removed" 's/#define ATOMDL_LIBRARY/#pragma GCC optimize("fp-contract=fast")/' \
        gcc -std=gnu99 -O2 -mfma -ffp-contract=fast
    if command -v clang >/dev/null; then
        mutant "contraction by clang" '' \
            clang -std=gnu99 -O2 -mfma -ffp-contract=fast
    fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
