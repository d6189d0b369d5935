#!/bin/sh
# Tests of the tests: each rule of the promise is broken in a copy of the
# sources, and the check that ought to notice must notice. As many at a time
# as there are processors (JOBS=N: N).
# Closes with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
cc=${CC:-cc}
jobs=${JOBS:-$(nproc 2>/dev/null || echo 1)}
first=1 last=0

# shows the oldest job's result once it is there
collect()
{
    wait "$(cat "$tmp/$first.pid")"
    tee -a "$tmp/results" <"$tmp/$first.out"
    rm -rf "$tmp/$first"
    first=$((first + 1))
}

# start COMMAND...: in a folder of its own, $dir
start()
{
    [ $((last - first + 1)) -lt "$jobs" ] || collect
    last=$((last + 1))
    dir=$tmp/$last
    mkdir "$dir"
    "$@" >"$dir.out" 2>&1 &
    echo $! >"$dir.pid"
}

# verdict NAME WHAT: what noticed, if anything did
verdict()
{
    if [ -n "$2" ]; then
        echo "ok   $1: caught by ${2#, }"
    else
        echo "FAIL $1: nothing noticed"
    fi
}

# changed NAME 'SED SCRIPT' DIR: DIR/atomdl.c, which must differ
changed()
{
    cp atomdl.h "$3"
    sed "$2" atomdl.c >"$3/atomdl.c"
    [ -z "$2" ] || ! cmp -s atomdl.c "$3/atomdl.c" && return
    echo "FAIL $1: the sed script matches nothing"
    return 1
}

# mutant NAME 'SED SCRIPT' COMPILER FLAGS...: must change the digests, be
# refused at run time, or need a function that the library may not call
mutant() { start digests "$@"; }
digests()
{
    name=$1 script=$2; shift 2
    changed "$name" "$script" "$dir" || return
    sed 's,"\.\./,",' tests/bits.c >"$dir/bits.c"
    caught=""
    if ! "$@" -c "$dir/atomdl.c" -o "$dir/a.o" >"$dir/log" 2>&1 ||
            ! "$@" -I"$dir" -I. "$dir/a.o" "$dir/bits.c" program/chain.c "$tmp/sim.o" \
             "$tmp/graph.o" "$tmp/movie.o" -o "$dir/x" -lm \
            >"$dir/log" 2>&1; then
        caught="the compiler"
    else
        "$dir/x" >"$dir/out" 2>&1
        case $? in
        3) caught="the self-test" ;;
        *) diff "$dir/out" tests/bits.txt >"$dir/diff" ||
            caught="digest $(sed -n 's/^< \([a-z]*[^ ]*\) .*/\1/p' "$dir/diff" |
                head -n 1)" ;;
        esac
        foreign=$(nm -u "$dir/a.o" | sed 's/.* //' | grep -vxE \
            'memcpy|memset|memmove|memcmp|strcmp|sqrtf?|__cpu_(model|indicator_init)|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail' |
            tr '\n' ' ')
        [ -n "$foreign" ] && caught="$caught, symbol $foreign"
    fi
    verdict "$name" "$caught"
}

plain="$cc -std=c99 -O2 -ffp-contract=off"
$plain -c sim.c -o "$tmp/sim.o" && $plain -c graph.c -o "$tmp/graph.o" &&
    $plain -c movie.c -o "$tmp/movie.o" || exit 1
mutant "sum swapped" 's/a\[i\] = lane\[i\] + lane\[i + 8\]/a[i] = lane[i] + lane[15 - i]/' $plain
mutant "8 lanes" 's/LANES = 16/LANES = 8/' $plain
mutant "product left out of its rounding" 's/float p = x\[i\] \* y\[i\];/double p = (double)x[i] * (double)y[i];/; s/lane\[i % LANES\] + p;/(float)((double)lane[i % LANES] + p);/' $plain
mutant "libm expf" 's/^static void map_plain/float expf(float);\n&/; s/: atomdl_expf(x\[i\])/: expf(x[i])/' $plain -fno-builtin
mutant "libm log" 's/^double atomdl_log(double x)/double log(double);\n&/; s/^    return hi + lo;/    return log(x);/' $plain -fno-builtin
mutant "qsort" 's/^int atomdl_sort/#include <stdlib.h>\nstatic const double *K;\nstatic int by(const void *a, const void *b) { double x = K[*(const u32 *)a], y = K[*(const u32 *)b]; return (x > y) - (x < y); }\n&/; s/^    for (size_t run = 1; run < n; run \*= 2) {/    K = key; qsort(order, n, sizeof *order, by);\n    for (size_t run = n; run < n; run *= 2) {/' $plain
mutant "unstable sort" 's/!(key\[in\[j\]\] < key\[in\[i\]\])/key[in[i]] < key[in[j]]/' $plain
mutant "9 rounds of Philox" 's/round < 10/round < 9/' $plain
mutant "fused multiply-add" 's/float p = w\[t\] \* row\[x\];/float p = __builtin_fmaf(w[t], row[x], 0 * out[x]);/; s/out\[x\] = out\[x\] + p;/out[x] = __builtin_fmaf(w[t], row[x], out[x]);/' $plain
mutant "vector exp without its guard" 's/if (any >> 63) map_plain(out, in, m, log);//' $plain
mutant "double rounding" 's/    if (!(b & 0xfffffff).*//' $plain
mutant "images last first" 's/give_row(d, part_of(t, i, m), count,/give_row(d, part_of(t, i, b->count - 1 - m), count,/' $plain
if grep -q '\bfma\b' /proc/cpuinfo 2>/dev/null; then
    mutant "contraction by gcc, guard removed" 's/#define ATOMDL_LIBRARY/#pragma GCC optimize("fp-contract=fast")/' \
        gcc -std=gnu99 -O2 -mfma -ffp-contract=fast
    if command -v clang >/dev/null; then
        mutant "contraction by clang" '' \
            clang -std=gnu99 -O2 -mfma -ffp-contract=fast
    fi
fi

# net NAME 'SED SCRIPT': a mutant of the networks, that the unit tests of
# networks must notice (test_kernels.c holds a library of its own); the slow
# ones are asked where the quick ones let it pass
quick="kernels_conv net_op net_ext net_mem net_tall net_seg net_nan
    grad_op grad_los grad_var grad_t grad_i grad_m grad_ref torch_"
slow="net_random grad_networks grad_random"
compile="$cc -std=gnu99 -O1 -ffp-contract=off"
objects=""
for file in test test_net test_grad test_torch reference slow slow64; do
    $compile -O2 -c tests/$file.c -o "$tmp/$file.o" 2>"$tmp/log" ||
        cat "$tmp/log"
    objects="$objects $tmp/$file.o"
done
for name in $(sed -n '/^#define TESTS/,/^$/p' tests/test.h |
        grep -o 'X([a-z_0-9]*)' | sed 's/X(\(.*\))/\1/'); do
    case $name in
    X | net_* | grad_* | torch_* | kernels_conv) ;;
    *) echo "void test_$name(void); void test_$name(void) {}" ;;
    esac
done >"$tmp/others.c"
net() { start tested "$@"; }
tested()
{
    changed "$1" "$2" "$dir" || return
    mkdir "$dir/tests"
    cp tests/test.h tests/test_kernels.c "$dir/tests"
    caught=""
    if ! $compile -w "$dir/atomdl.c" "$dir/tests/test_kernels.c" \
            "$tmp/others.c" $objects -o "$dir/x" -lm >"$dir/log" 2>&1; then
        caught="the compiler"
    fi
    for tests in "$quick" "$slow"; do
        [ -z "$caught" ] || break
        timeout 120 "$dir/x" $tests >"$dir/out" 2>&1
        case $? in
        0) ;;
        1) caught=$(sed -n 's/^FAIL \([a-z_]*\).*/\1/p' "$dir/out" |
                tr '\n' ' ') ;;
        *) caught="a crash or the clock" ;;
        esac
    done
    verdict "$1" "$caught"
}

net "deconv mirrored" 's/off\[1\] = -1;/off[1] = 1;/'
net "ring one row short" 's/if (rows > t->ring) t->ring = rows;/if (rows - 1 > t->ring) t->ring = rows - 1;/'
net "kept from what is done" 's/if (first < low) low = first;/if (first + 1 < low) low = first + 1;/'
net "reach one row short" 's/\*high = (y1 - 1) \* l->stride + pad + 1;/*high = (y1 - 1) * l->stride + pad;/'
net "bilinear one row short" 's/\*low = (y0 - 1) >> 1;/*low = y0 >> 1;/'
net "margin not zeroed" 's/^        gap_zero(out + i \* c->pitch_out, c->w, c->pitch_out);/        (void)out;/'
net "gap of a gradient not zeroed" 's/^    else gap_zero(d, b->dx.w, b->dx.pitch);//'
net "margin of a gradient not zeroed" 's/^    memset(g.x - ROW_MARGIN, 0, ROW_MARGIN \* sizeof \*g.x);//'
net "gradient gone too early" 's/if (g->low\[i\] > j) g->low\[i\] = (i16)j;/if (g->low[i] > j) g->low[i] = (i16)(j + 1);/'
net "Dice of a part of the batch" 's/int once = gradient \&\& !(how->loss.dice > 0);/int once = gradient != NULL;/'
net "activation forgotten where pooling sets" 's/^            v = top > 0 ? v : low;//'
net "narrow zeros" 's/if (in->kind == HALVES && n > t.row) t.row = n;/(void)n;/'
net "sum over a part that others read" 's/plan_writers(p, n->out) > 1 || //'
net "part read after the concatenation" 's/return i && last == j && p/return i \&\& p/'
net "addition to what others read" 's/|| plan_readers(p, other, &last) != 1/|| 0/'
net "tie to the last" 's/a\[i\] = x > w ? none : v;/a[i] = x >= w ? none : v;/; s/b\[i\] = x > w ? v : none;/b[i] = x >= w ? v : none;/'
net "greatest of three" 's/o\[i\] = b\[2 \* i + 1\] > m ? b\[2 \* i + 1\] : m;/o[i] = m;/'
net "normalisation without images" 's/float count = (float)t->n \* (float)x->h/float count = (float)x->h/'
net "normalisation: mean of the gradient left out" 's/d = g\[j\] - q;/d = g[j];/'
net "running variance biased" 's/int biased = c >= x->c \&\& count > 1;/int biased = 0;/'
net "dropout unscaled" 's/float keep = 1 \/ (1 - rate);/float keep = 1;/'
net "dropout drawn anew" 's/(u64)b->step << 32 | (u64)n->row/(u64)b->step << 32 | (u64)(n->row + already++)/; s/^static atomdl_rng dropout_stream/static u32 already;\n&/'
net "gradient set, not added" 's/if (already) sum_row(to, from, n);/if (already \&\& 0) sum_row(to, from, n);/'
net "taps not reversed" 's/^    if (!is_transposed(p, n)) {/    if (0) {/'
net "bilinear edge" 's/float l = i ? g\[2 \* i - 1\] \* 0.25f : g\[0\] \* 0.25f;/float l = i ? g[2 * i - 1] * 0.25f : 0;/'
net "slope at the wrong sign" '/^static void mask_row/,/^}/s/float f = x\[i\] > 0/float f = x[i] < 0/'
net "epsilon" 's/BN_EPS = 1e-5f/BN_EPS = 1e-4f/'
net "phases joined in another order" 's/(y % 2 \* 2 \* t->c + c) \* w->in->pitch/((1 - y % 2) * 2 * t->c + c) * w->in->pitch/'
net "tiles from an odd row" 's/if (pairs && t->least < 2) t->least = 2;/(void)pairs;/'
net "tiles that repeat the edge" 's/tensor_row(in, zeros, at->y + y + i + c->top)/tensor_row(in, zeros, clamp_index(at->y + y + i + c->top, in->h))/'
net "sum of a tile from the other end" 's/to\[step + i\] = (s + b) \* 0.5f;/to[step + i] = (a + (b + c)) * 0.5f;/'
net "bias at another place of a tile" 's/TILE_BIAS = 5/TILE_BIAS = 6/'
net "tiles from 17 channels on" 's/TILED_CHANNELS = 16/TILED_CHANNELS = 17/'
net "tiles in small networks" 's/TILED_VALUES = 1 << 15/TILED_VALUES = 1 << 8/'
net "order of taps" 's/for (int t = 0; t < c->k \* c->kw; t++)/for (int t = c->k * c->kw - 1; t >= 0; t--)/'
net "vector kernel loses -0" 's/a\[i \* n + j\] = bias\[i\] - zero; /a[i * n + j] = bias[i] + zero; /'
net "vector kernel skips an affine" 's/^    if (c->flags & CONV_AFFINE_FIRST)$/    if (0)/'
net "vector gradient in another lane" 's/const float \*d = t->dy\[r\] + o \* pitch + l;/const float *d = t->dy[r] + o * pitch + (l ^ 8);/'
net "no room to align" 's/start = arena->used ? arena->used : mask;/start = arena->used;/'
net "NaN let out" 's/bad |= p\[i\] != p\[i\];/bad |= 0;/'
net "running statistics of a refused batch" 's/if (not_finite((double)v)) return ATOMDL_ENAN;//'
while [ $first -le $last ]; do collect; done
passed=$(grep -c '^ok' "$tmp/results") failed=$(grep -c '^FAIL' "$tmp/results")
[ $((passed + failed)) -eq $last ] || failed=$((last - passed))
echo "$passed passed, $failed failed, 0 skipped"
[ $failed -eq 0 ]
