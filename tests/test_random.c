/* SPDX-License-Identifier: MIT
   Random numbers and sorting. Seeds are fixed, so a run passes always or
   never. Every statistic is brought to a standard normal z; a correct
   generator exceeds Z_MAX with p = 6e-7, for any seed, so that even some
   hundred checks fail by chance once in ten thousand choices of seeds. */

#include "test.h"

#define Z_MAX 5.0

static void check_z(const char *what, double z)
{
    if (fabs(z) <= Z_MAX) return;
    FAIL("%s: z = %.2f, p = %.1e", what, z, erfc(fabs(z) / sqrt(2.0)));
}

/* Chi-square to z (Wilson and Hilferty): two-sided, so that counts that are
   too even fail as well. */
static void check_chi(const char *what, double chi, double freedom)
{
    double v = 2 / (9 * freedom);
    check_z(what, (cbrt(chi / freedom) - 1 + v) / sqrt(v));
}

/* all bins equally probable */
static void check_flat(const char *what, const uint32_t *count, int bins)
{
    double n = 0, chi = 0;
    for (int i = 0; i < bins; i++) n += count[i];
    double mean = n / bins;
    for (int i = 0; i < bins; i++)
        chi += (count[i] - mean) * (count[i] - mean) / mean;
    check_chi(what, chi, bins - 1);
}

/* a generator that hands out a, b, then what its seed gives */
static atomdl_rng loaded(uint32_t a, uint32_t b)
{
    atomdl_rng rng = atomdl_rng_seed(0);
    rng.out[2] = a;
    rng.out[3] = b;
    rng.left = 2;
    return rng;
}

/* ---------- Philox -------------------------------------------------------- */

static void check_block(const uint32_t ctr[4], const uint32_t key[2],
                        const uint32_t want[4])
{
    uint32_t got[4];
    atomdl_philox(got, ctr, key);
    CHECK_BYTES(got, want, sizeof got);
}

/* known answers of Random123 (kat_vectors, philox4x32 10) */
void test_philox(void)
{
    static const uint32_t zero[4] = {0, 0, 0, 0};
    static const uint32_t ones[4] = {0xffffffff, 0xffffffff, 0xffffffff,
                                     0xffffffff};
    static const uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e,
                                   0x03707344};
    static const uint32_t key[2] = {0xa4093822, 0x299f31d0};
    static const uint32_t a[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c,
                                  0x9b00dbd8};
    static const uint32_t b[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6,
                                  0x6d5451fd};
    static const uint32_t c[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420,
                                  0x24126ea1};
    check_block(zero, zero, a);
    check_block(ones, ones, b);
    check_block(pi, key, c);
    uint32_t same[4];
    memcpy(same, pi, sizeof same); /* in place */
    atomdl_philox(same, same, key);
    CHECK_BYTES(same, c, sizeof same);
}

/* ---------- Streams ------------------------------------------------------- */

static void draw(atomdl_rng rng, uint32_t *out, int n)
{
    for (int i = 0; i < n; i++) out[i] = atomdl_rng_u32(&rng);
}

static void check_same(atomdl_rng a, atomdl_rng b)
{
    uint32_t x[16];
    draw(a, x, 16);
    uint32_t y[16];
    draw(b, y, 16);
    CHECK_BYTES(x, y, sizeof x);
}

static void check_pure(void)
{
    atomdl_rng root = atomdl_rng_seed(7);
    check_same(root, atomdl_rng_seed(7));
    atomdl_rng child = atomdl_rng_split(&root, 5);
    atomdl_rng other = atomdl_rng_split(&root, 4);
    for (uint32_t i = 1; i < 40;
         i++) { /* whatever parent and siblings have drawn */
        (void)atomdl_rng_u32(&root);
        (void)atomdl_rng_u32(&other);
        check_same(child, atomdl_rng_split(&root, 5));
    }
    other = atomdl_rng_split(&child, 9);
    atomdl_rng copy = child;
    (void)atomdl_rng_below(&child, 9);
    check_same(other, atomdl_rng_split(&child, 9));
    check_same(copy, atomdl_rng_split(&root, 5));
    for (uint32_t i = 2; i < 4;
         i++) { /* parents that differ in the stream alone */
        other = root;
        other.ctr[i]++;
        other = atomdl_rng_split(&other, 5);
        child = copy;
        CHECK(atomdl_rng_u32(&other) != atomdl_rng_u32(&child));
    }
}

/* words come from blocks in order; the block number carries into its high
   word, and never into the stream */
static void check_carry(uint32_t low, uint32_t high)
{
    atomdl_rng rng = atomdl_rng_seed(0x123456789abcdefu);
    rng = atomdl_rng_split(&rng, 3);
    rng.ctr[0] = low;
    rng.ctr[1] = high;
    uint32_t ctr[4];
    memcpy(ctr, rng.ctr, sizeof ctr);
    uint32_t want[12];
    for (int i = 0; i < 3; i++) {
        atomdl_philox(want + 4 * i, ctr, rng.key);
        ctr[0]++;
        if (!ctr[0]) ctr[1]++;
    }
    uint32_t got[12];
    draw(rng, got, 12);
    CHECK_BYTES(got, want, sizeof got);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* the first four words, as two numbers, and the key */
static uint64_t *remember(uint64_t *to, atomdl_rng rng)
{
    uint32_t w[4];
    draw(rng, w, 4);
    *to++ = (uint64_t)w[1] << 32 | w[0];
    *to++ = (uint64_t)w[3] << 32 | w[2];
    *to++ = (uint64_t)rng.key[1] << 32 | rng.key[0];
    return to;
}

/* Children of a root, of two siblings and of a grandchild, of the next seed,
   roots, and what the root itself draws: 64-bit numbers all distinct (by
   chance some are equal with p = 1e-7). */
static void check_distinct(void)
{
    enum { IDS = 100000, SETS = 6 };
    size_t n = (size_t)3 * IDS * SETS + IDS;
    uint64_t *all = malloc(n * sizeof *all), *p = all;
    atomdl_rng root = atomdl_rng_seed(1), next = atomdl_rng_seed(2);
    atomdl_rng a = atomdl_rng_split(&root, 0), b = atomdl_rng_split(&root, 1);
    atomdl_rng deep = atomdl_rng_split(&a, 0), own = root;
    CHECK(all != NULL);
    if (!all) return;
    uint32_t w[4];
    for (uint64_t id = 0; id < IDS; id++) {
        p = remember(p, atomdl_rng_split(&root, id + 2));
        p = remember(p, atomdl_rng_split(&a, id + 1));
        p = remember(p, atomdl_rng_split(&b, id << 32)); /* the high word */
        p = remember(p, atomdl_rng_split(&deep, id));
        p = remember(p, atomdl_rng_split(&next, id));
        p = remember(p, atomdl_rng_seed((id + 3) << (id & 1 ? 40 : 0)));
        draw(own, w, 4);
        own.ctr[0]++;
        *p++ = (uint64_t)w[1] << 32 | w[0];
    }
    qsort(all, n, sizeof *all, by_value);
    size_t i;
    for (i = 1; i < n && all[i] != all[i - 1]; i++) {}
    CHECK(i == n);
    free(all);
}

/* no correlation between draw j of streams i and i + 1, nor between the
   first draws of neighbours, which must be uniform over i as well */
static void check_neighbours(const char *what, int children)
{
    enum { STREAMS = 20000, DRAWS = 50 };
    static uint32_t first[256];
    float last[DRAWS] = {0};
    double cross = 0, lag = 0;
    atomdl_rng root = atomdl_rng_seed(42);
    memset(first, 0, sizeof first);
    for (uint64_t i = 0; i < STREAMS; i++) {
        atomdl_rng rng =
            children ? atomdl_rng_split(&root, i) : atomdl_rng_seed(i);
        for (int j = 0; j < DRAWS; j++) {
            float u = atomdl_rng_uniform(&rng) - 0.5f;
            if (i) cross += (double)u * (double)last[j];
            if (i && !j) lag += (double)u * (double)last[j];
            if (!j) first[(int)((u + 0.5f) * 256)]++;
            last[j] = u;
        }
    }
    /* a product of two uniform numbers has variance 1/144 */
    check_z(what, 12 * cross / sqrt((double)(STREAMS - 1) * DRAWS));
    check_z(what, 12 * lag / sqrt((double)(STREAMS - 1)));
    check_flat(what, first, 256);
}

void test_rng_streams(void)
{
    check_pure();
    check_carry(0, 0);
    check_carry(0xffffffff, 0);
    check_carry(0xfffffffe, 0xfffffffe);
    check_carry(0xffffffff, 0xffffffff);
    check_distinct();
    check_neighbours("neighbouring children", 1);
    check_neighbours("neighbouring seeds", 0);
}

/* ---------- Uniform ------------------------------------------------------- */

typedef struct {
    double sum, square, lag, turns;
    uint32_t high[256], low[256], pair[64 * 64];
} uniform_sums;

static void uniform_collect(uniform_sums *s, atomdl_rng *rng, int n)
{
    double d, last = 0;
    uint32_t k, before = 0;
    int up, rose = 0;
    for (int i = 0; i < n; i++, before = k, last = d, rose = up) {
        float u = atomdl_rng_uniform(rng);
        k = (uint32_t)(u * 0x1p24f) & 0xffffff;
        d = (double)u - 0.5;
        up = k > before;
        if (!(u >= 0 && u < 1) || (double)k != (double)u * 0x1p24)
            FAIL("draw %d: %.9g", i, (double)u);
        s->sum += d;
        s->square += d * d;
        s->lag += d * last;
        s->turns += i > 1 && up != rose;
        s->high[k >> 16]++;
        s->low[k & 255]++;
        if (i & 1) s->pair[(before >> 18) * 64 + (k >> 18)]++;
    }
}

/* Variances: u: 1/12; (u - 1/2)^2: 1/180; product of two: 1/144; turning
   points of n numbers: mean 2 (n - 2)/3, variance (16 n - 29)/90. */
static void check_uniform(uint64_t seed)
{
    static uniform_sums s;
    atomdl_rng rng = atomdl_rng_seed(seed);
    int draws = 10000000;
    double n = draws;
    memset(&s, 0, sizeof s);
    uniform_collect(&s, &rng, draws);
    check_z("uniform mean", s.sum / sqrt(n / 12));
    check_z("uniform variance", (s.square - n / 12) / sqrt(n / 180));
    check_z("uniform lag 1", s.lag / sqrt(n / 144));
    check_z("uniform runs", (s.turns - 2 * (n - 2) / 3)
                            / sqrt((16 * n - 29) / 90));
    check_flat("uniform high bits", s.high, 256);
    check_flat("uniform low bits", s.low, 256);
    check_flat("uniform pairs", s.pair, 64 * 64);
}

/* each of the first `bits` bits is 1 half of the time; the lowest byte flat */
static void check_every_bit(int bits)
{
    enum { N = 1000000 };
    uint32_t ones[64] = {0}, low[256] = {0};
    atomdl_rng rng = atomdl_rng_seed(3);
    for (int i = 0; i < N; i++) {
        uint64_t v = bits == 32
                         ? atomdl_rng_u32(&rng)
                         : (uint64_t)(atomdl_rng_uniform64(&rng) * 0x1p53);
        for (int j = 0; j < bits; j++) ones[j] += (uint32_t)(v >> j & 1);
        low[v & 255]++;
    }
    char what[40];
    for (int j = 0; j < bits; j++) {
        sprintf(what, "bit %d of %d", j, bits);
        check_z(what, (2.0 * ones[j] - N) / sqrt((double)N));
    }
    check_flat("low byte", low, 256);
}

void test_rng_uniform(void)
{
    atomdl_rng rng = loaded(0xffffffff, 0xff);
    CHECK_BITS(atomdl_rng_uniform(&rng), 1 - 0x1p-24f); /* never 1 */
    CHECK_BITS(atomdl_rng_uniform(&rng), 0);
    rng = loaded(0xffffffff, 0xffffffff);
    CHECK(atomdl_rng_uniform64(&rng) == 1 - 0x1p-53);
    rng = loaded(0, 0x7ff);
    CHECK(atomdl_rng_uniform64(&rng) == 0);
    rng = loaded(0, 0x800);
    CHECK(atomdl_rng_uniform64(&rng) == 0x1p-53);
    CHECK(rng.left == 0); /* two words */
    check_uniform(1);
    check_every_bit(32);
    check_every_bit(53);
}

/* ---------- Below --------------------------------------------------------- */

/* Counts value / part (`bins` whole parts in n) and value mod `bins`; both
   flat when n is a multiple of bins. A remainder without rejection gives
   twice as many below 2^30 for n = 3 2^30; a product without rejection gives
   twice as many multiples of 3. */
static void check_below(uint32_t n, uint32_t bins, uint32_t part)
{
    enum { N = 1000000 };
    static uint32_t count[256], rest[256];
    atomdl_rng rng = atomdl_rng_seed(n);
    memset(count, 0, sizeof count);
    memset(rest, 0, sizeof rest);
    for (int i = 0; i < N; i++) {
        uint32_t v = atomdl_rng_below(&rng, n);
        if (v >= n) {
            FAIL("below %lu: %lu", (unsigned long)n, (unsigned long)v);
            return;
        }
        if (v / part < bins) count[v / part]++; /* else the last few values */
        rest[v % bins]++;
    }
    char what[40];
    sprintf(what, "below %lu", (unsigned long)n);
    check_flat(what, count, (int)bins);
    check_flat(what, rest, (int)bins);
}

void test_rng_below(void)
{
    atomdl_rng rng = atomdl_rng_seed(9), before = rng;
    CHECK(atomdl_rng_below(&rng, 0) == 0);
    check_same(rng, before); /* nothing drawn */
    for (int i = 0; i < 100; i++) CHECK(atomdl_rng_below(&rng, 1) == 0);
    for (int i = 0; i < 100; i++) CHECK(atomdl_rng_below(&rng, 2) < 2);
    rng = loaded(0xffffffff, 0);
    CHECK(atomdl_rng_below(&rng, 0xffffffff) == 0xfffffffe);
    check_below(3, 3, 1);
    check_below(7, 7, 1);
    check_below(100, 100, 1);
    check_below(0xc0000000, 3, 1u << 30);
    check_below(0xc0000000, 192, 1u << 24);
    check_below(0x80000001, 128, 1u << 24); /* rejects nearly half */
    check_below(0xffffffff, 255, 0x01010101);
}

/* ---------- Normal -------------------------------------------------------- */

static float normal_of(uint32_t word)
{
    atomdl_rng rng = loaded(0, word);
    float z[2];
    atomdl_rng_normal(&rng, z, 2);
    return z[1];
}

/* z with distribution function p < 1/2, by bisection */
static double quantile(double p)
{
    double lo = -7, hi = 0;
    for (int i = 0; i < 60; i++) {
        double mid = (lo + hi) / 2;
        if (erfc(-mid / sqrt(2.0)) / 2 < p) lo = mid;
        else hi = mid;
    }
    return lo;
}

/* the fit's 3e-8 and the rounding to binary32, at most |z| 2^-24 */
static void check_quantile(uint32_t word)
{
    uint32_t lower = word < 0x80000000 ? word : ~word;
    double want = quantile(((double)lower + 0.5) * 0x1p-32);
    float z = normal_of(lower);
    if (!(fabs((double)z - want) <= 3e-8 + fabs(want) * 0x1p-24))
        FAIL("quantile of word %08lx: %.10g, want %.10g",
             (unsigned long)lower, (double)z, want);
    CHECK_BITS(normal_of(~lower), -z); /* odd symmetry */
}

static void check_quantiles(void)
{
    atomdl_rng rng = atomdl_rng_seed(17);
    uint32_t i, join = (uint32_t)(0.075 * 0x1p32); /* of the two pieces */
    for (i = 0; i < 300; i++) {
        check_quantile(i);
        check_quantile(join - 150 + i);
        check_quantile(0x7fffffff - i);
        check_quantile(i << 12);
    }
    for (i = 0; i < 32; i++) check_quantile(1u << i);
    for (i = 0; i < 5000; i++) {
        check_quantile(atomdl_rng_u32(&rng));
        check_quantile(atomdl_rng_u32(&rng) >> (i & 31));
    }
    CHECK(fabs((double)normal_of(0)) <= 6.34);
    CHECK(fabs((double)normal_of(0xffffffff)) <= 6.34);
    for (i = 1; i < 2000; i++) /* rises over the join; 100 words: 1.4 ulp */
        CHECK(normal_of(join + 100 * i - 100100)
              < normal_of(join + 100 * i - 100000));
}

typedef struct {
    double power[5], lag;
    uint32_t bins[100], four, five, above;
} normal_sums;

static void normal_collect(normal_sums *s, const float *z, int n)
{
    for (int i = 0; i < n; i++) {
        double x = (double)z[i], p = 1;
        for (int k = 1; k < 5; k++) {
            p *= x;
            s->power[k] += p;
        }
        if (i) s->lag += x * (double)z[i - 1];
        int k = (int)(50 * erfc(-x / sqrt(2.0)));
        s->bins[k > 99 ? 99 : k]++;
        s->four += fabs(x) > 4;
        s->five += fabs(x) > 5;
        s->above += x > 0;
        if (!(fabs(x) <= 6.34)) FAIL("normal number %.9g", x);
    }
}

/* Variances of z, z^2, z^3, z^4 are 1, 2, 15, 96. */
static void check_normal(uint64_t seed)
{
    enum { BLOCK = 10000, BLOCKS = 1000 };
    static float z[BLOCK];
    static normal_sums s;
    const double n = (double)BLOCK * BLOCKS;
    atomdl_rng rng = atomdl_rng_seed(seed);
    double four = n * erfc(4 / sqrt(2.0));
    memset(&s, 0, sizeof s);
    for (int i = 0; i < BLOCKS; i++) {
        atomdl_rng_normal(&rng, z, BLOCK);
        normal_collect(&s, z, BLOCK);
    }
    check_z("normal mean", s.power[1] / sqrt(n));
    check_z("normal variance", (s.power[2] - n) / sqrt(2 * n));
    check_z("normal skewness", s.power[3] / sqrt(15 * n));
    check_z("normal kurtosis", (s.power[4] - 3 * n) / sqrt(96 * n));
    check_z("normal lag 1", s.lag / sqrt(n - BLOCKS));
    check_z("normal symmetry", (2 * s.above - n) / sqrt(n));
    check_z("normal beyond 4", (s.four - four) / sqrt(four));
    CHECK(s.five <= 22); /* mean 5.7: more with p = 1e-7, none with 3e-3 */
    CHECK(s.five > 0);
    check_flat("normal bins", s.bins, 100);
}

void test_rng_normal(void)
{
    atomdl_rng a = atomdl_rng_seed(5), b = a;
    float x[37];
    atomdl_rng_normal(&a, x, 37);
    float y[37];
    for (int i = 0; i < 37; i++) atomdl_rng_normal(&b, y + i, 1);
    CHECK_BYTES(x, y, sizeof x);
    check_same(a, b);
    atomdl_rng_normal(&a, x, 0);
    check_same(a, b);
    check_quantiles();
    check_normal(2);
}

/* ---------- Poisson ------------------------------------------------------- */

enum { SPAN = 20000 }; /* values of the histogram: 10 deviations either way */

/* Chi-square against n e^-m m^k / k!, neighbours joined until they expect
   `least`; what is left joins the last group. */
static void check_pmf(const char *what, const uint32_t *count, double n,
                      double mean, double from, double least)
{
    double chi = 0, want = 0, got = 0, seen = 0, left = n;
    int groups = 0;
    for (int k = 0; k < SPAN; k++) {
        double v = from + k;
        want += n * exp(v * log(mean) - mean - lgamma(v + 1));
        got += count[k];
        if (want < least || left - want < least) continue;
        double d = got - want;
        chi += d * d / want;
        left -= want;
        seen += got;
        want = got = 0;
        groups++;
    }
    double d = n - seen - left;
    chi += d * d / left;
    if (groups) check_chi(what, chi, groups);
}

/* With m known: E (k - m)^2 = m, E (k - m)^3 = m; variances from the central
   moments m4 = m + 3 m^2 and m6 = m + 25 m^2 + 15 m^3. */
static void check_moments(const char *what, const double sum[4], double n,
                          double m)
{
    check_z(what, sum[1] / sqrt(n * m));
    check_z(what, (sum[2] - n * m) / sqrt(n * (m + 2 * m * m)));
    check_z(what, (sum[3] - n * m)
                  / sqrt(n * (m + 24 * m * m + 15 * m * m * m)));
}

static void check_poisson(double mean, int n)
{
    static uint32_t count[SPAN];
    double from = floor(mean - 10 * sqrt(mean)), sum[4] = {0};
    atomdl_rng rng = atomdl_rng_seed((uint64_t)(mean * 100));
    char what[40];
    sprintf(what, "Poisson of mean %g", mean);
    memset(count, 0, sizeof count);
    if (from < 0) from = 0;
    for (int i = 0; i < n; i++) {
        double k = atomdl_rng_poisson(&rng, mean), d = k - mean;
        sum[1] += d;
        sum[2] += d * d;
        sum[3] += d * d * d;
        if (k >= from && k < from + SPAN) count[(int)(k - from)]++;
        else FAIL("%s gave %.0f", what, k);
    }
    check_moments(what, sum, n, mean);
    check_pmf(what, count, n, mean, from, 10);
    check_pmf(what, count, n, mean, from, n / 200.0);
}

static uint32_t reversed(uint32_t v)
{
    uint32_t r = 0;
    for (int i = 0; i < 32; i++, v >>= 1) r = r << 1 | (v & 1);
    return r;
}

/* The same without noise: a Hammersley net of first attempts (u, v), four
   words each, in place of random ones; those that draw more were rejected.
   The distribution of the others is exact but for the net's discrepancy, at
   most 2e-5 at 2^20 points, where random numbers would leave 1e-3. */
static void check_poisson_net(double mean)
{
    static uint32_t count[SPAN];
    double from = floor(mean - 10 * sqrt(mean)), n = 0, got = 0, want = 0;
    double worst = 0;
    memset(count, 0, sizeof count);
    if (from < 0) from = 0;
    for (uint32_t i = 0; i < 1u << 20; i++) {
        atomdl_rng rng = loaded(reversed(i), 0);
        rng.out[0] = i << 12 | 1u << 11;
        rng.left = 4;
        double v = atomdl_rng_poisson(&rng, mean) - from;
        if (rng.ctr[0] || !(v >= 0 && v < SPAN)) continue;
        count[(int)v]++;
        n++;
    }
    for (int k = 0; k < SPAN; k++) {
        double v = from + k;
        got += count[k] / n;
        want += exp(v * log(mean) - mean - lgamma(v + 1));
        worst = fmax(worst, fabs(got - want));
    }
    if (!(worst <= 3e-5) || n < 600000)
        FAIL("Poisson net of mean %g: off by %.3g", mean, worst);
}

static void check_poisson_limits(void)
{
    static const double refused[] = {0, -0.0, -1, -1e300, 1.000000001e9,
                                     1e300, HUGE_VAL, -HUGE_VAL};
    atomdl_rng rng = atomdl_rng_seed(1);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        CHECK(atomdl_rng_poisson(&rng, refused[i]) == 0);
    CHECK(atomdl_rng_poisson(&rng, (double)NAN) == 0);
    CHECK(atomdl_rng_poisson(&rng, 1e-300) == 0);
    CHECK(atomdl_rng_poisson(&rng, 0x1p-1074) == 0);
    for (size_t i = 0; i < 100; i++) { /* 6 deviations */
        double k = atomdl_rng_poisson(&rng, 1e9);
        CHECK_NEAR(k, 1e9, 6 * sqrt(1e9));
    }
    atomdl_rng ones =
        loaded(0xffffffff, 0xffffffff); /* the far tail ends somewhere */
    double k = atomdl_rng_poisson(&ones, 9.99);
    CHECK(k > 40 && k <= 100);
    ones = loaded(0, 0);
    CHECK(atomdl_rng_poisson(&ones, 9.99) == 0);
}

void test_rng_poisson(void)
{
    static const double means[] = {0.01, 0.3, 1, 5, 9.99, 10, 10.01, 30, 100,
                                   1000, 1e5, 1e6};
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        check_poisson(means[i], 1000000);
        check_poisson_net(means[i]);
    }
    check_poisson_limits();
}

/* ---------- Sorting ------------------------------------------------------- */

/* Rising, ties by index and a permutation: that order is unique. */
static void check_sort(const double *key, size_t n)
{
    uint32_t *order = malloc((n + 1) * sizeof *order);
    uint32_t *scratch = malloc((n + 1) * sizeof *scratch);
    size_t wrong = 0;
    if (!order || !scratch) exit(1);
    order[n] = scratch[n] = 12345;
    CHECK(atomdl_sort(order, key, n, scratch) == ATOMDL_OK);
    memset(scratch, 0, n * sizeof *scratch);
    for (size_t i = 0; i < n; i++) {
        if (order[i] >= n || scratch[order[i]]++) wrong++;
        else if (!i || wrong) continue;
        else if (!(key[order[i - 1]] < key[order[i]]
                   || (key[order[i - 1]] == key[order[i]]
                       && order[i - 1] < order[i])))
            wrong++;
    }
    if (wrong) FAIL("sort of %zu keys is wrong", n);
    CHECK(order[n] == 12345 && scratch[n] == 12345);
    free(order);
    free(scratch);
}

static void check_sort_patterns(double *key, size_t n, atomdl_rng *rng)
{
    for (size_t i = 0; i < n; i++) key[i] = atomdl_rng_below(rng, 7);
    check_sort(key, n);
    for (size_t i = 0; i < n; i++) key[i] = atomdl_rng_uniform64(rng) - 0.5;
    check_sort(key, n);
    for (size_t i = 0; i < n; i++) key[i] = (double)i;
    check_sort(key, n);
    for (size_t i = 0; i < n; i++) key[i] = -(double)i;
    check_sort(key, n);
    for (size_t i = 0; i < n; i++) key[i] = i & 1 ? -0.0 : 0.0;
    check_sort(key, n);
    for (size_t i = 0; i < n; i++) key[i] = i % 3 ? i % 3 == 1 ? HUGE_VAL : 1
                                           : -HUGE_VAL;
    check_sort(key, n);
}

void test_sort(void)
{
    enum { MANY = 100000 };
    static double key[MANY];
    static const double zeros[5] = {0.0, -0.0, -0x1p-1074, 0.0, -0.0};
    static const uint32_t want[5] = {2, 0, 1, 3, 4};
    atomdl_rng rng = atomdl_rng_seed(6);
    for (size_t n = 0; n <= 70; n++) check_sort_patterns(key, n, &rng);
    check_sort_patterns(key, MANY, &rng);
    uint32_t order[71], scratch[71];
    CHECK(atomdl_sort(order, zeros, 5, scratch) == ATOMDL_OK);
    CHECK_BYTES(order, want, sizeof want);
    for (size_t n = 1; n <= 70; n++) { /* a NaN first and last, either sign */
        check_sort_patterns(key, n, &rng);
        key[n - 1] = n & 1 ? (double)NAN : -(double)NAN;
        CHECK(atomdl_sort(order, key, n, scratch) == ATOMDL_ENAN);
        key[n - 1] = 0;
        key[0] = (double)NAN;
        CHECK(atomdl_sort(order, key, n, scratch) == ATOMDL_ENAN);
    }
}
