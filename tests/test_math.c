/* SPDX-License-Identifier: MIT
   Float environment, mathematics, reductions, the vector exp. */

#include "exhaust.h"
#include "test.h"

#include <fenv.h>
#include <float.h>

#if defined __x86_64__ || defined __i386__
#include <xmmintrin.h>
#endif

/* The long double functions of the C library are the reference. Where long
   double is no wider than double they err by an ulp themselves. */
static const double SLACK = LDBL_MANT_DIG > 53 ? 0.01 : 1.0;

/* ---------- Float environment --------------------------------------------- */

static int refused(const char *word)
{
    const char *why;
    return atomdl_selftest(&why) == ATOMDL_EFLOAT && strstr(why, word) != NULL;
}

/* A caller's rounding mode and flush-to-zero are refused, the reason says
   so, and functions with a status refuse as well. */
void test_float_environment(void)
{
    float px = 1;
    atomdl_image one = {1, 1, 1, NULL};
    const char *why;
    one.px = &px;
    CHECK(atomdl_selftest(&why) == ATOMDL_OK && !*why);
    CHECK(atomdl_selftest(NULL) == ATOMDL_OK);
    CHECK(fesetround(FE_UPWARD) == 0);
    CHECK(refused("rounding"));
    CHECK(atomdl_image_normalise(&one, ATOMDL_NORM_STD) == ATOMDL_EFLOAT);
    CHECK(fesetround(FE_DOWNWARD) == 0);
    CHECK(refused("rounding"));
    CHECK(fesetround(FE_TONEAREST) == 0);
#if defined __x86_64__ || defined __i386__
    {
        unsigned int csr = _mm_getcsr();
        _mm_setcsr(csr | 0x8000); /* flush to zero */
        CHECK(refused("flushed"));
        CHECK(atomdl_image_crop(&one, &one, 0, 0) == ATOMDL_EFLOAT);
        _mm_setcsr(csr | 0x0040); /* denormals are zero */
        CHECK(refused("flushed"));
        _mm_setcsr(csr);
    }
#endif
    CHECK(atomdl_selftest(NULL) == ATOMDL_OK);
}

/* ---------- Single precision ---------------------------------------------- */

/* Every 997th argument; `make check` takes all 2^32. Then the arguments that
   binary64 alone rounds the wrong way (found by trying all). */
void test_math_rounding(void)
{
    static const uint32_t LOG[] = {0x3c413d3a, 0x41178feb, 0x4c5d65a5,
                                   0x65d890d3, 0x6f31a8ec};
    for (int i = 0; i < 5; i++) {
        float x = atomdl_float(LOG[i]);
        CHECK_BITS(atomdl_logf(x), (float)logl((long double)x));
    }
    CHECK_BITS(atomdl_sinf(atomdl_float(0x46199998)),
               (float)sinl((long double)atomdl_float(0x46199998)));
    CHECK_BITS(atomdl_cosf(atomdl_float(0x5f18b878)),
               (float)cosl((long double)atomdl_float(0x5f18b878)));
    for (int i = 0; exhaust_name(i); i++) {
        exhaust_result r = exhaust_run(i, 997);
        if (r.wrong)
            FAIL("%s: %.0f wrong, such as 0x%08lx", exhaust_name(i),
                 (double)r.wrong, (unsigned long)r.example);
    }
}

void test_math_special(void)
{
    const double inf = HUGE_VAL;
    CHECK_BITS(atomdl_expf(-INFINITY), 0);
    CHECK_BITS(atomdl_expf(INFINITY), INFINITY);
    CHECK_BITS(atomdl_logf(1), 0);
    CHECK_BITS(atomdl_logf(-0.0f), -INFINITY);
    CHECK_BITS(atomdl_sinf(-0.0f), -0.0f);
    CHECK(atomdl_bits(atomdl_logf(-1)) == 0x7fc00000);
    CHECK(atomdl_bits(atomdl_cosf(INFINITY)) == 0x7fc00000);
    CHECK(atomdl_exp(0) == 1 && atomdl_exp(-inf) == 0);
    CHECK(atomdl_exp(709.8) == inf && atomdl_exp(-745.2) == 0);
    CHECK(atomdl_log(inf) == inf && atomdl_log(0) == -inf);
    CHECK(atomdl_bits64(atomdl_log(-2)) == (uint64_t)0x7ff8 << 48);
    CHECK(atomdl_atan2(0.0, 1) == 0 && !signbit(atomdl_atan2(0.0, 1)));
    CHECK(signbit(atomdl_atan2(-0.0, 1)));
    CHECK(atomdl_atan2(0.0, -0.0) == atan2(0.0, -0.0));
    CHECK(atomdl_atan2(-inf, -inf) == atan2(-inf, -inf));
    CHECK(atomdl_atan2(inf, 3) == atan2(inf, 3));
    CHECK(atomdl_atan2(3, -inf) == atan2(3, -inf));
    CHECK(atomdl_erf(inf) == 1 && atomdl_erf(-inf) == -1);
    CHECK(atomdl_floor(-0.5) == -1 && atomdl_floor(1e300) == 1e300);
    CHECK(atomdl_floor(2) == 2 && atomdl_floor(-2.5) == -3);
}

/* pow's special cases of C99 F.9.4.4, against the C library */
static void pow_special(void)
{
    static const double V[] = {0.0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, -3,
                               1e300, -1e300, HUGE_VAL, -HUGE_VAL, 1e-310,
                               9007199254740993.0, 2.5, -7};
    enum { N = sizeof V / sizeof *V };
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            double got = atomdl_pow(V[i], V[j]), want = pow(V[i], V[j]);
            if (want != want ? got == got
                             : got != want || signbit(got) != signbit(want))
                FAIL("pow(%g, %g) = %g, want %g", V[i], V[j], got, want);
        }
}

/* ---------- Double precision: greatest error over dense grids ------------- */

static double ulp_error(double got, long double want)
{
    if (!isfinite(got)) return (long double)got == want ? 0 : HUGE_VAL;
    int e;
    (void)frexpl(want, &e);
    if (e < -1021) e = -1021;
    return (double)fabsl(((long double)got - want) / ldexpl(1, e - 53));
}

typedef struct {
    double worst, x, y;
} extreme;

static void note(extreme *e, double error, double x, double y)
{
    if (!(error > e->worst)) return;
    e->worst = error;
    e->x = x;
    e->y = y;
}

static void report(const char *name, const extreme *e, double bound)
{
    printf("  %-6s greatest error %.3f ulp at (%.17g, %.17g)\n", name, e->worst,
           e->x, e->y);
    if (!(e->worst <= bound + SLACK)) FAIL("%s is off by more than %.3f ulp",
                                           name, bound);
}

/* a random double in [lo, up], or of any magnitude below 2^limit */
static double between(atomdl_rng *r, double lo, double up)
{
    return lo + (up - lo) * atomdl_rng_uniform64(r);
}

static double any_below(atomdl_rng *r, int limit)
{
    double x = ldexp(1 + atomdl_rng_uniform64(r),
                     (int)atomdl_rng_below(r, (uint32_t)(1021 + limit)) - 1022);
    return atomdl_rng_u32(r) & 1 ? x : -x;
}

static void one_argument(const char *name, double (*f)(double),
                         long double (*g)(long double), double lo, double up,
                         int limit, double bound)
{
    atomdl_rng r = atomdl_rng_seed(7);
    extreme e = {0, 0, 0};
    long n = 400000;
    for (long i = 0; i < n; i++) {
        double x = i % 4 ? lo + (up - lo) * (double)i / (double)n
                         : any_below(&r, limit);
        if (g == logl) x = fabs(x);
        note(&e, ulp_error(f(x), g((long double)x)), x, 0);
    }
    for (long i = 1; i < 20000; i++) { /* the hard places: near k pi/2 */
        double x = nextafter((double)i * 1.5707963267948966, i & 1 ? 0 : 1e9);
        if (limit == 1023) note(&e, ulp_error(f(x), g((long double)x)), x, 0);
    }
    report(name, &e, bound);
}

static void two_arguments(void)
{
    atomdl_rng r = atomdl_rng_seed(8);
    extreme a = {0, 0, 0}, p = {0, 0, 0};
    for (long i = 0; i < 300000; i++) {
        double x = between(&r, -2, 2), y = between(&r, -2, 2);
        if (i % 8 == 0) x = any_below(&r, 1023), y = any_below(&r, 1023);
        note(&a, ulp_error(atomdl_atan2(y, x),
                           atan2l((long double)y, (long double)x)), y, x);
        x = i % 2 ? between(&r, 0, 30) : between(&r, 0.999, 1.001);
        y = between(&r, -700, 700) / (x == 1 ? 1 : fabs(log(x)));
        if (i % 3 == 0) y = between(&r, -3, 3);
        note(&p, ulp_error(atomdl_pow(x, y),
                           powl((long double)x, (long double)y)), x, y);
    }
    report("atan2", &a, 1);
    report("pow", &p, 1);
}

void test_math_double(void)
{
    one_argument("exp", atomdl_exp, expl, -708, 709.7, 9, 1);
    one_argument("log", atomdl_log, logl, 0.5, 2, 1022, 1);
    one_argument("sin", atomdl_sin, sinl, -110, 110, 1023, 1);
    one_argument("cos", atomdl_cos, cosl, -110, 110, 1023, 1);
    one_argument("erf", atomdl_erf, erfl, -6.2, 6.2, 3, 2);
    two_arguments();
    pow_special();
}

/* against the C library, which IEEE 754 binds to the same bits */
void test_square_root(void)
{
    atomdl_rng r = atomdl_rng_seed(10);
    for (long i = 0; i < 1000000; i++) {
        double x = fabs(any_below(&r, 1023));
        if (i % 5 == 0) x = between(&r, 1, 4);
        if (i % 5 == 1) x = (double)(i * i);
        if (i % 5 == 2) x = x * 0x1p-1022;
        if (atomdl_bits64(atomdl_sqrt(x)) != atomdl_bits64(sqrt(x)))
            FAIL("sqrt(%.17g)", x);
        if (test_failures > 3) return;
    }
    CHECK(atomdl_bits64(atomdl_sqrt(-0.0)) == (uint64_t)1 << 63);
    CHECK(atomdl_sqrt(HUGE_VAL) == HUGE_VAL);
    CHECK(atomdl_bits(atomdl_sqrtf(-1)) == 0x7fc00000);
}

/* ---------- Reductions and kernels ---------------------------------------- */

/* promise 3, written differently: columns of 16, then the tree by hand */
static float sixteen(const float *x, const float *y, size_t n)
{
    float lane[16];
    size_t i;
    for (size_t k = 0; k < 16; k++)
        for (lane[k] = 0, i = k; i < n; i += 16) {
            float p = x[i] * (y ? y[i] : 1);
            lane[k] += p;
        }
    for (size_t k = 0; k < 8; k++) lane[k] += lane[k + 8];
    for (size_t k = 0; k < 4; k++) lane[k] += lane[k + 4];
    float p = lane[0] + lane[2];
    return p + (lane[1] + lane[3]);
}

void test_reductions(void)
{
    enum { N = 3000 };
    float x[N];
    atomdl_rng r = atomdl_rng_seed(11);
    atomdl_rng_normal(&r, x, N);
    float y[N];
    atomdl_rng_normal(&r, y, N);
    for (size_t n = 0; n < 200; n++)
        CHECK_BITS(atomdl_dot(x, y, n), sixteen(x, y, n));
    CHECK_BITS(atomdl_dot(x, y, N), sixteen(x, y, N));
    x[77] = -40;
    CHECK_BITS(atomdl_absmax(x, N), 40);
    CHECK_BITS(atomdl_absmax(x, 0), 0);
}

/* every length 0..200, unaligned, in place, guard bands around */
void test_kernels_exp(void)
{
    enum { N = 200, GUARD = 16 };
    atomdl_rng r = atomdl_rng_seed(12);
    CHECK(!strcmp(atomdl_kernels_get(0)->name, "plain"));
    CHECK(atomdl_kernels_find("nonsense") == NULL);
    CHECK(atomdl_kernels_find("plain") == atomdl_kernels_get(0));
    float x[N + 2 * GUARD], y[N + 2 * GUARD], z[N + 2 * GUARD];
    const atomdl_kernels *k;
    for (int i = 0; (k = atomdl_kernels_get(i)) != NULL; i++) {
        CHECK(atomdl_kernels_find(k->name) == k);
        for (int j = 0; j <= N; j++) {
            int at = GUARD + j % 5;
            size_t n = (size_t)(j < N - 5 ? j : N - 5);
            atomdl_rng_normal(&r, x, N + 2 * GUARD);
            for (at = GUARD + j % 5; at < N; at += 7) x[at] *= 60;
            at = GUARD + j % 5;
            memcpy(y, x, sizeof x);
            memcpy(z, x, sizeof x);
            atomdl_kernels_get(0)->exp(y + at, x + at, n);
            k->exp(z + at, z + at, n);
            CHECK_BYTES(z, y, sizeof z);
            memcpy(z, x, sizeof x);
            memcpy(y, x, sizeof x);
            for (at = GUARD; at < N && j % 2; at++)
                y[at] = z[at] = fabsf(x[at]);
            at = GUARD + j % 5;
            atomdl_kernels_get(0)->log(y + at, y + at, n);
            k->log(z + at, z + at, n);
            CHECK_BYTES(z, y, sizeof z);
        }
    }
}

/* Few values, so that many are equal; -0 and, for pooling, NaN and infinity. */
static void few(float *x, int n, atomdl_rng *r, int wild)
{
    static const float VALUE[] = {0, -0.0f, 1, 1.5f, -2, 1e-40f, 3e38f,
                                  -INFINITY, INFINITY, NAN};
    for (int i = 0; i < n; i++)
        x[i] = VALUE[atomdl_rng_below(r, wild ? 10 : 7)];
}

/* v (4) <- 2 x 2 number at of rows a, b; returns its first greatest as max
   pooling compares them */
static int greatest(float *v, const float *a, const float *b, int at)
{
    int best = 0;
    for (int i = 0; i < 4; i++) v[i] = (i < 2 ? a : b)[2 * at + i % 2];
    for (int i = 1; i < 4; i++)
        if (v[i] > v[best]) best = i;
    return best;
}

static void check_pooling(const atomdl_kernels *k, atomdl_rng *r, int n)
{
    enum { N = 150, GUARD = 8 };
    static const float SLOPE[] = {1, 0.01f, 0};
    float a[2 * N];
    few(a, 2 * N, r, n % 2);
    float b[2 * N];
    few(b, 2 * N, r, n % 2);
    float g[N];
    atomdl_rng_normal(r, g, N);
    float got[4 * N + GUARD];
    memset(got, 0x7e, sizeof got);
    float want[4 * N + GUARD];
    memset(want, 0x7e, sizeof want);
    float v[4];
    for (int i = 0; i < n; i++) {
        int best = greatest(v, a, b, i);
        want[i] = v[best];
    }
    k->maxpool(got, a, b, n);
    CHECK_BYTES(got, want, sizeof want);
    for (int i = 0; i < 2 * n; i++) want[i] = a[i / 2];
    k->twice(got, a, n);
    CHECK_BYTES(got, want, sizeof want);
    for (int how = 0; how < 3 && k->scatter; how++) {
        for (int i = 0; i < n; i++) {
            int best = greatest(v, a, b, i);
            want[2 * i] = want[2 * i + 1] = 0;
            want[2 * N + 2 * i] = want[2 * N + 2 * i + 1] = 0;
            want[best / 2 * 2 * N + 2 * i + best % 2] =
                v[best] > 0 ? g[i] : how == 2 ? 0 : g[i] * SLOPE[how];
        }
        atomdl_pooling s = {a, b, got, got + 2 * N, how == 2, SLOPE[how]};
        k->scatter(&s, g, n);
        CHECK_BYTES(got, want, sizeof want);
    }
}

static void check_sums(const atomdl_kernels *k, atomdl_rng *r, int n)
{
    enum { N = 64 };
    float a[N];
    atomdl_rng_normal(r, a, N);
    float b[N];
    atomdl_rng_normal(r, b, N);
    for (int i = 0; i < N; i++) a[i] = i % 9 ? a[i] * 30 : b[i];
    float p[N + 1], q[N + 1];
    for (int i = 0; i <= N; i++) p[i] = q[i] = 777;
    k->softmax(p, q, a, b, n);
    for (int i = 0; i < n; i++) {
        float e = atomdl_expf(a[i] > b[i] ? b[i] - a[i] : a[i] - b[i]);
        float t = 1 + e;
        CHECK_BITS(p[i], a[i] >= b[i] ? 1 / t : e / t);
        CHECK_BITS(q[i], a[i] >= b[i] ? e / t : 1 / t);
    }
    CHECK(p[n] == 777 && q[n] == 777);
    if (!k->trees) return;
    n = n % 25;
    float sum[25];
    sum[n] = 777;
    float lanes[24 * 16];
    atomdl_rng_normal(r, lanes, 24 * 16);
    k->trees(sum, lanes, n);
    for (int i = 0; i < n; i++)
        CHECK_BITS(sum[i], sixteen(lanes + 16 * i, NULL, 16));
    CHECK(sum[n] == 777);
}

/* the row loops of every instruction set against their definitions */
void test_kernels_rows(void)
{
    const atomdl_kernels *k;
    atomdl_rng r = atomdl_rng_seed(13);
    for (int i = 0; (k = atomdl_kernels_get(i)) != NULL; i++)
        for (int n = 0; n <= 64 && test_failures < 4; n++) {
            check_pooling(k, &r, n);
            check_sums(k, &r, n);
        }
    for (int i = 0; (k = atomdl_kernels_get(i)) != NULL; i++)
        check_pooling(k, &r, 150); /* a kernel takes 64 at a time */
}
