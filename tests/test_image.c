/* SPDX-License-Identifier: MIT
   Images: crop, resize, normalise, percentile, warp, against plain loops in
   binary64. EPS is the relative error of one rounding to binary32. */

#include "test.h"

#include <float.h>
#include <limits.h>

#define EPS 0x1p-24

static atomdl_image fresh(int w, int h, int c)
{
    atomdl_image m = {0, 0, 0, NULL};
    m.w = w;
    m.h = h;
    m.c = c;
    m.px = malloc((size_t)w * (size_t)h * (size_t)c * sizeof(float));
    if (m.px) return m;
    printf("no memory for the tests\n");
    exit(1);
}

static size_t area(const atomdl_image *m)
{
    return (size_t)m->w * (size_t)m->h * (size_t)m->c;
}

static float *at(const atomdl_image *m, int c, int y, int x)
{
    return m->px + ((size_t)c * (size_t)m->h + (size_t)y) * (size_t)m->w + x;
}

static void fill(atomdl_image *m, float value)
{
    for (size_t i = 0; i < area(m); i++) m->px[i] = value;
}

/* uniform in [-1, 1), without -0 */
static atomdl_image noise(int w, int h, int c, uint64_t seed)
{
    atomdl_image m = fresh(w, h, c);
    atomdl_rng rng = atomdl_rng_seed(seed);
    for (size_t i = 0; i < area(&m); i++)
        m.px[i] = 2 * atomdl_rng_uniform(&rng) - 1;
    return m;
}

/* a round spot of deviation sigma at (x, y) in every plane */
static atomdl_image spot(int w, int h, double x, double y, double sigma)
{
    atomdl_image m = fresh(w, h, 1);
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++)
            *at(&m, 0, j, i) = (float)exp(((x - i) * (i - x)
                                           + (y - j) * (j - y))
                                          / (2 * sigma * sigma));
    return m;
}

static int inside(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* the cubic convolution kernel, Keys 1981, a = -1/2 */
static double keys(double s)
{
    s = fabs(s);
    if (s < 1) return (1.5 * s - 2.5) * s * s + 1;
    return s < 2 ? ((-0.5 * s + 2.5) * s - 4) * s + 2 : 0;
}

static double mean_of(const atomdl_image *m)
{
    double sum = 0;
    for (size_t i = 0; i < area(m); i++) sum += (double)m->px[i];
    return sum / (double)area(m);
}

/* ---------- New ----------------------------------------------------------- */

void test_image_new(void)
{
    static unsigned char raw[64 * 64];
    atomdl_arena arena = {raw, sizeof raw, 0, 0, 0};
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    atomdl_image m = {0, 0, 0, NULL};
    const int most = ATOMDL_IMAGE_MAX;
    CHECK(atomdl_image_new(&m, 5, 3, 2, &arena) == ATOMDL_OK);
    CHECK(m.w == 5 && m.h == 3 && m.c == 2 && m.px != NULL);
    CHECK((uintptr_t)m.px % ATOMDL_ALIGN == 0);
    fill(&m, 1);
    CHECK((unsigned char *)(m.px + 30) <= raw + arena.used);
    CHECK(atomdl_image_new(&m, 0, 3, 2, &arena) == ATOMDL_EARG);
    CHECK(atomdl_image_new(&m, 5, -1, 2, &arena) == ATOMDL_EARG);
    CHECK(atomdl_image_new(&m, 5, 3, 0, &arena) == ATOMDL_EARG);
    CHECK(atomdl_image_new(&m, most + 1, 1, 1, &arena) == ATOMDL_EARG);
    CHECK(atomdl_image_new(&m, 1, INT_MAX, 1, &arena) == ATOMDL_EARG);
    CHECK(atomdl_image_new(&m, INT_MIN, 1, 1, &arena) == ATOMDL_EARG);
    CHECK(atomdl_arena_status(&arena) == ATOMDL_OK); /* nothing was asked */
    CHECK(atomdl_image_new(&m, 32, 33, 1, &arena) == ATOMDL_EMEM);
    CHECK(m.px == NULL && arena.failed);
    CHECK(atomdl_image_new(&m, most, most, INT_MAX, &measure) == ATOMDL_EMEM);
    measure.failed = 0;
    CHECK(atomdl_image_new(&m, 100, 70, 3, &measure) == ATOMDL_OK);
    CHECK(m.px == NULL && m.w == 100 && m.h == 70 && m.c == 3);
    CHECK(measure.peak == 63 + (100 * 70 * 3 * 4 + 63) / 64 * 64);
}

/* ---------- Crop ---------------------------------------------------------- */

/* d c b a | a b c d | d c b a, step by step */
static int mirrored(long long i, int n)
{
    long long m = i % (2 * n);
    if (m < 0) m += 2 * n;
    return (int)(m < n ? m : 2 * n - 1 - m);
}

static void check_crop(const atomdl_image *src, int w, int h, int x0, int y0)
{
    atomdl_image dst = fresh(w, h, src->c);
    int wrong = 0;
    fill(&dst, 9);
    CHECK(atomdl_image_crop(&dst, src, x0, y0) == ATOMDL_OK);
    for (int c = 0; c < src->c; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++)
                if (*at(&dst, c, y, x)
                    != *at(src, c, mirrored((long long)y0 + y, src->h),
                           mirrored((long long)x0 + x, src->w)))
                    wrong++;
    if (wrong) FAIL("crop %dx%d at %d, %d: %d pixels", w, h, x0, y0, wrong);
    free(dst.px);
}

void test_image_crop(void)
{
    static const float ab[2] = {1, 2}, want[9] = {2, 2, 1, 1, 2, 2, 1, 1, 2};
    static const int far[] = {0, 1, -1, 3, -7, 40, -41, 1000, -999, INT_MAX,
                              INT_MIN, INT_MIN + 1};
    atomdl_image src = noise(7, 5, 3, 1), one = noise(1, 1, 2, 2);
    atomdl_image dst = fresh(9, 1, 1), row = fresh(2, 1, 1);
    size_t n = sizeof far / sizeof *far;
    memcpy(row.px, ab, sizeof ab);
    CHECK(atomdl_image_crop(&dst, &row, -3, 0) == ATOMDL_OK);
    CHECK_BYTES(dst.px, want, sizeof want);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            check_crop(&src, 4, 3, far[i], far[j]);
            check_crop(&src, 30, 1, far[i], far[j]);
            check_crop(&one, 3, 2, far[i], far[j]);
        }
    check_crop(&src, 7, 5, 0, 0);
    check_crop(&src, 1, 1, 6, 4);
    free(src.px);
    free(one.px);
    free(dst.px);
    free(row.px);
}

/* ---------- Resize -------------------------------------------------------- */

/* memory that surely suffices for the small images here */
static int resize(atomdl_image *dst, const atomdl_image *src)
{
    static unsigned char memory[1 << 20];
    atomdl_arena arena = {memory, sizeof memory, 0, 0, 0};
    int status = atomdl_image_resize(dst, src, &arena);
    CHECK(arena.used == 0);
    return status;
}

/* weight of input pixel k, edges not yet clamped, in output pixel i */
static double weight(int from, int to, int i, int k)
{
    double s = (double)from / to, lo = i * s, hi = lo + s;
    if (to >= from) return keys((i + 0.5) * s - 0.5 - k);
    if (lo < k) lo = k;
    if (hi > k + 1) hi = k + 1;
    return hi > lo ? (hi - lo) / s : 0;
}

static double resized(const atomdl_image *src, int w, int h, int c, int y,
                      int x)
{
    double sum = 0;
    for (int j = -2; j < src->h + 2; j++) {
        double wy = weight(src->h, h, y, j);
        for (int i = -2; i < src->w + 2 && wy != 0; i++)
            sum += wy * weight(src->w, w, x, i)
                   * (double)*at(src, c, inside(j, src->h), inside(i, src->w));
    }
    return sum;
}

/* Roundings of weights, products and sums along an axis: below 2 per tap;
   weights add up to at most 1.25 in absolute value, twice. */
static double rounding(int from, int to)
{
    return 1.6 * 2 * EPS * (to < from ? from / to + 2 : 4);
}

static void check_resize(int w0, int h0, int c0, int w, int h)
{
    atomdl_image src = noise(w0, h0, c0, (uint64_t)(w * 1000 + h));
    atomdl_image dst = fresh(w, h, c0);
    double bound = rounding(w0, w) + rounding(h0, h), worst = 0;
    CHECK(resize(&dst, &src) == ATOMDL_OK);
    for (int c = 0; c < c0; c++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double e = fabs((double)*at(&dst, c, y, x)
                                - resized(&src, w, h, c, y, x));
                if (!(e <= worst)) worst = e;
            }
    if (!(worst <= bound))
        FAIL("resize %dx%d to %dx%d: error %.3g, allowed %.3g", w0, h0, w, h,
             worst, bound);
    if (w <= w0 && h <= h0 && w < w0 && h < h0) /* areas keep the mean */
        CHECK_NEAR(mean_of(&dst), mean_of(&src), bound);
    fill(&src, 0.3f);
    CHECK(resize(&dst, &src) == ATOMDL_OK);
    for (int x = 0; x < w * h * c0; x++) /* and all of them keep a constant */
        CHECK_NEAR(dst.px[x], 0.3f, 0.3 * bound);
    free(src.px);
    free(dst.px);
}

static void check_identity(int w, int h, int c)
{
    atomdl_image src = noise(w, h, c, 5), dst = fresh(w, h, c);
    src.px[0] = FLT_MAX;
    src.px[area(&src) - 1] = 0x1p-149f;
    CHECK(resize(&dst, &src) == ATOMDL_OK);
    CHECK_BYTES(dst.px, src.px, area(&src) * sizeof(float));
    free(src.px);
    free(dst.px);
}

/* blocks of 4 x 2 small integers: every step is exact */
static void check_blocks(void)
{
    atomdl_image src = fresh(32, 12, 2), dst = fresh(8, 6, 2);
    int i;
    for (i = 0; i < 32 * 12 * 2; i++) src.px[i] = (float)(i * i % 61 - 30);
    CHECK(resize(&dst, &src) == ATOMDL_OK);
    int sum;
    for (int c = 0; c < 2; c++)
        for (int y = 0; y < 6; y++)
            for (int x = 0; x < 8; x++) {
                for (sum = 0, i = 0; i < 8; i++)
                    sum += (int)*at(&src, c, 2 * y + i / 4, 4 * x + i % 4);
                CHECK_BITS(*at(&dst, c, y, x), (float)sum / 8);
            }
    free(src.px);
    free(dst.px);
}

static double surface(double x, double y)
{
    return 0.3 + 0.07 * x - 0.02 * y
           + 0.003 * x * x + 0.002 * x * y - 0.004 * y * y;
}

/* Keys' kernel is exact for quadratics: only roundings of values up to 5
   remain, where the taps stay inside the image. */
static void check_quadratic(int w, int h)
{
    atomdl_image src = fresh(21, 17, 1), dst = fresh(w, h, 1);
    for (int y = 0; y < 17; y++)
        for (int x = 0; x < 21; x++) *at(&src, 0, y, x) = (float)surface(x, y);
    CHECK(resize(&dst, &src) == ATOMDL_OK);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double u = (x + 0.5) * 21 / w - 0.5;
            double v = (y + 0.5) * 17 / h - 0.5;
            if (u < 1 || u > 19 || v < 1 || v > 15) continue;
            CHECK_NEAR(*at(&dst, 0, y, x), surface(u, v), 5 * 20 * EPS);
        }
    free(src.px);
    free(dst.px);
}

/* x_out = (x_in + 1/2) f - 1/2, by a spot's centre of mass; the spot ends
   at 7 deviations, 0.01 pixels leave room for the kernels' shape */
static void check_centre(int w, int h)
{
    const double cx = 30.3, cy = 21.7;
    atomdl_image src = spot(64, 48, cx, cy, 3), dst = fresh(w, h, 1);
    double m = 0, mx = 0, my = 0;
    CHECK(resize(&dst, &src) == ATOMDL_OK);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double v = (double)*at(&dst, 0, y, x);
            m += v;
            mx += v * x;
            my += v * y;
        }
    CHECK_NEAR(mx / m, (cx + 0.5) * w / 64 - 0.5, 0.01);
    CHECK_NEAR(my / m, (cy + 0.5) * h / 48 - 0.5, 0.01);
    free(src.px);
    free(dst.px);
}

/* What measuring says suffices, here at the worst address, one past a
   multiple of 64; one byte less does not: dst and `used` are as before. */
static void check_resize_memory(int w, int h, size_t before)
{
    static unsigned char raw[1 << 16];
    unsigned char *base = raw + (-(uintptr_t)raw & 63) + 1;
    atomdl_arena measure = {NULL, 0, 0, 0, 0}, arena = measure;
    atomdl_image src = noise(9, 7, 2, 3), dst = noise(w, h, 2, 4);
    atomdl_image want = fresh(w, h, 2), shape = src, out = dst;
    shape.px = out.px = NULL;
    if (before) (void)atomdl_alloc(&measure, before, 1);
    size_t mark = measure.used;
    CHECK(atomdl_image_resize(&out, &shape, &measure) == ATOMDL_OK);
    CHECK(measure.used == mark && measure.peak < sizeof raw - 200);
    memcpy(want.px, dst.px, area(&dst) * sizeof(float));
    memset(raw, 0xa5, sizeof raw);
    arena.base = base;
    for (arena.size = measure.peak - 1; arena.size <= measure.peak;
         arena.size++) {
        int fits = arena.size == measure.peak;
        arena.used = arena.peak = 0;
        arena.failed = 0;
        if (before) (void)atomdl_alloc(&arena, before, 1);
        mark = arena.used;
        CHECK(atomdl_image_resize(&dst, &src, &arena)
              == (fits ? ATOMDL_OK : ATOMDL_EMEM));
        CHECK(arena.used == mark && arena.failed == !fits);
        if (fits) CHECK(arena.peak == measure.peak);
        if (fits) CHECK(resize(&want, &src) == ATOMDL_OK);
        CHECK_BYTES(dst.px, want.px, area(&dst) * sizeof(float));
        for (size_t i = arena.size; base + i < raw + sizeof raw; i++)
            if (base[i] != 0xa5) FAIL("wrote beyond the arena: %zu", i);
    }
    free(src.px);
    free(dst.px);
    free(want.px);
}

void test_image_resize(void)
{
    static const int sizes[] = {1, 2, 3, 5, 8, 13, 16, 17, 31, 40};
    size_t n = sizeof sizes / sizeof *sizes;
    check_identity(13, 9, 3);
    check_identity(1, 1, 1);
    check_identity(2, 40, 1);
    check_blocks();
    for (size_t i = 0; i < n * n; i++) {
        check_resize(16, 13, 2, sizes[i / n], sizes[i % n]);
        if (i < n) check_resize(1, 1, 1, sizes[i], sizes[n - 1 - i]);
        if (i < n) check_resize(200, 3, 1, sizes[i], 4);
    }
    check_quadratic(42, 34);
    check_quadratic(50, 61);
    check_quadratic(22, 100);
    check_centre(96, 80);
    check_centre(32, 24);
    check_centre(40, 29);
    check_centre(31, 70);
    check_centre(200, 17);
    check_resize_memory(20, 3, 0);
    check_resize_memory(4, 30, 100);
}

/* ---------- Normalise ----------------------------------------------------- */

static int rising(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* the value of rank floor(p (n - 1) + 1/2), by sorting a copy */
static float ranked(const float *x, size_t n, double p)
{
    float *copy = malloc(n * sizeof *copy);
    if (!copy) exit(1);
    memcpy(copy, x, n * sizeof *copy);
    qsort(copy, n, sizeof *copy, rising);
    float v = copy[(size_t)floor(p * (double)(n - 1) + 0.5)];
    free(copy);
    return v;
}

/* scale * noise + offset, some pixels far out */
static atomdl_image picture(float scale, float offset, int spikes)
{
    atomdl_image m = noise(50, 37, 2, 8);
    for (size_t i = 0; i < area(&m); i++) m.px[i] = scale * m.px[i] + offset;
    for (size_t i = 0; i < (size_t)spikes; i++)
        m.px[i * 91 + 3] = (i & 1 ? 200.0f : -200.0f) * scale;
    return m;
}

/* Mean 0, deviation 1, both planes as one. Sums are in binary64, so that only
   the last rounding counts, EPS for values below 2, whatever the offset. */
static void check_std(float scale, float offset)
{
    atomdl_image m = picture(scale, offset, 0);
    double square = 0;
    CHECK(atomdl_image_normalise(&m, ATOMDL_NORM_STD) == ATOMDL_OK);
    double mean = mean_of(&m);
    for (size_t i = 0; i < area(&m); i++)
        square += ((double)m.px[i] - mean) * ((double)m.px[i] - mean);
    CHECK_NEAR(mean, 0, 2 * EPS);
    CHECK_NEAR(sqrt(square / (double)area(&m)), 1, 2 * EPS);
    free(m.px);
}

/* three roundings: difference, span, quotient */
static void check_minmax(float scale, float offset)
{
    atomdl_image m = picture(scale, offset, 5), was = picture(scale, offset, 5);
    double lo = (double)ranked(was.px, area(&was), 0);
    double hi = (double)ranked(was.px, area(&was), 1);
    CHECK(atomdl_image_normalise(&m, ATOMDL_NORM_MINMAX) == ATOMDL_OK);
    for (size_t i = 0; i < area(&m); i++)
        CHECK_NEAR(m.px[i], ((double)was.px[i] - lo) / (hi - lo), 3 * EPS);
    CHECK_BITS(ranked(m.px, area(&m), 0), 0);
    CHECK_BITS(ranked(m.px, area(&m), 1), 1);
    free(m.px);
    free(was.px);
}

/* as above, of values up to 30 */
static void check_percentiles(float scale, float offset)
{
    atomdl_image m = picture(scale, offset, 9), was = picture(scale, offset, 9);
    double p10 = (double)ranked(was.px, area(&was), 0.1);
    double p50 = (double)ranked(was.px, area(&was), 0.5);
    double p90 = (double)ranked(was.px, area(&was), 0.9);
    CHECK(atomdl_image_normalise(&m, ATOMDL_NORM_PERCENTILE) == ATOMDL_OK);
    for (size_t i = 0; i < area(&m); i++) {
        double v = 2 * ((double)was.px[i] - p50) / (p90 - p10);
        v = v < -6 ? -6 : v > 30 ? 30 : v;
        CHECK_NEAR(m.px[i], v, 3 * EPS * (fabs(v) + 1));
    }
    CHECK_BITS(ranked(m.px, area(&m), 0), -6); /* the spikes are clipped */
    CHECK_BITS(ranked(m.px, area(&m), 1), 30);
    free(m.px);
    free(was.px);
}

/* zero stays zero, p90 becomes 1 */
static void check_level(float scale, float offset)
{
    atomdl_image m = picture(scale, offset, 9), was = picture(scale, offset, 9);
    was.px[3] = m.px[3] = 0;
    double p90 = (double)ranked(was.px, area(&was), 0.9);
    CHECK(atomdl_image_normalise(&m, ATOMDL_NORM_LEVEL) == ATOMDL_OK);
    CHECK_BITS(m.px[3], 0);
    CHECK_BITS(ranked(m.px, area(&m), 0.9), 1);
    for (size_t i = 0; i < area(&m); i++) {
        double v = (double)was.px[i] / p90;
        v = v < -6 ? -6 : v > 30 ? 30 : v;
        CHECK_NEAR(m.px[i], v, 3 * EPS * (fabs(v) + 1));
    }
    free(m.px);
    free(was.px);
}

/* a constant image becomes 0 (its level 1), whatever the sums round to */
static void check_constant(float value, int w, int h)
{
    for (int mode = 0; mode < ATOMDL_NORM_COUNT; mode++) {
        atomdl_image m = fresh(w, h, 1);
        size_t wrong = 0;
        fill(&m, value);
        CHECK(atomdl_image_normalise(&m, mode) == ATOMDL_OK);
        float want = mode == ATOMDL_NORM_LEVEL && value > 0;
        for (size_t i = 0; i < area(&m); i++) wrong += m.px[i] != want;
        if (wrong)
            FAIL("mode %d of constant %.9g, %dx%d: pixels %.9g", mode,
                 (double)value, w, h, (double)m.px[0]);
        free(m.px);
    }
}

/* Spans that overflow, or squares that vanish: either a refusal that leaves
   the image alone, or what the header promises. */
static void check_extreme(float lo, float hi)
{
    for (int mode = 0; mode < ATOMDL_NORM_COUNT; mode++) {
        atomdl_image m = fresh(10, 10, 1), was = fresh(10, 10, 1);
        for (int i = 0; i < 100; i++) was.px[i] = m.px[i] = i & 1 ? hi : lo;
        if (atomdl_image_normalise(&m, mode)) {
            CHECK_BYTES(m.px, was.px, 100 * sizeof(float));
        } else {
            /* half lo, half hi: p10 = lo, p50 = hi, p90 = hi */
            double a = mode == ATOMDL_NORM_MINMAX ? 0
                       : mode == ATOMDL_NORM_STD ? -1
                       : mode == ATOMDL_NORM_PERCENTILE ? -2
                       : hi > 0 ? (double)lo / (double)hi : 0;
            double b = mode == ATOMDL_NORM_PERCENTILE ? 0
                       : mode == ATOMDL_NORM_LEVEL ? hi > 0 : 1;
            if (fabs((double)m.px[0] - a) > 1e-3
                || fabs((double)m.px[1] - b) > 1e-3)
                FAIL("mode %d of %g and %g gives %g and %g", mode, (double)lo,
                     (double)hi, (double)m.px[0], (double)m.px[1]);
        }
        free(m.px);
        free(was.px);
    }
}

static void check_refused(float bad, int mode, int status)
{
    atomdl_image m = picture(1, 0, 0), was = picture(1, 0, 0);
    size_t n = area(&m);
    m.px[n - 1] = was.px[n - 1] = bad;
    CHECK(atomdl_image_normalise(&m, mode) == status);
    CHECK_BYTES(m.px, was.px, n * sizeof(float)); /* left alone */
    free(m.px);
    free(was.px);
}

void test_image_normalise(void)
{
    static const float values[] = {0, -0.0f, 1, 0.1f, -0.3f, 1e-3f, 12345.678f,
                                   1e30f, -FLT_MAX, 1e-30f, 0x1p-149f};
    check_std(3, 10);
    check_std(1e-6f, -1e-6f);
    check_std(1e6f, 1e8f);
    check_minmax(1, 0);
    check_minmax(1e-4f, 1e-4f);
    check_minmax(5e10f, -1e10f);
    check_percentiles(1, 0);
    check_percentiles(300, -5);
    check_level(1, 0);
    check_level(300, -5);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        check_constant(values[i], 1, 1);
        check_constant(values[i], 7, 3);
        check_constant(values[i], 100, 99);
    }
    check_extreme(-1e30f, 1e30f);
    check_extreme(-FLT_MAX, FLT_MAX);
    check_extreme(-FLT_MAX, 0);
    check_extreme(0, 1e-30f);
    check_extreme(0, 0x1p-140f);
    for (int mode = 0; mode < ATOMDL_NORM_COUNT; mode++) {
        check_refused(atomdl_float(0x7fc00000), mode, ATOMDL_ENAN);
        check_refused(atomdl_float(0xffc00001), mode, ATOMDL_ENAN);
        check_refused(atomdl_float(0x7f800000), mode, ATOMDL_ENAN);
        check_refused(atomdl_float(0xff800000), mode, ATOMDL_ENAN);
    }
    check_refused(1, ATOMDL_NORM_COUNT, ATOMDL_EARG);
    check_refused(1, -1, ATOMDL_EARG);
}

/* ---------- Percentile ---------------------------------------------------- */

static void check_percentile(const float *x, size_t n)
{
    static const double ps[] = {0, 0.001, 0.1, 0.25, 0.5, 0.9, 0.999, 1};
    for (size_t i = 0; i < sizeof ps / sizeof *ps; i++)
        if (!(atomdl_percentile(x, n, ps[i]) == ranked(x, n, ps[i])))
            FAIL("p %g of %zu: %.9g, want %.9g", ps[i], n,
                 (double)atomdl_percentile(x, n, ps[i]),
                 (double)ranked(x, n, ps[i]));
}

/* every finite pattern of bits */
static void wild(float *x, size_t n, atomdl_rng *rng)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t b = atomdl_rng_u32(rng);
        x[i] = atomdl_float((b & 0x7f800000) == 0x7f800000 ? b ^ 0x40000000
                                                           : b);
    }
}

void test_percentile(void)
{
    enum { MOST = 20011 };
    static float x[MOST];
    static const size_t sizes[] = {1, 2, 3, 4, 10, 11, 255, 256, 1000, MOST};
    atomdl_rng rng = atomdl_rng_seed(9);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i];
        atomdl_rng_normal(&rng, x, n);
        check_percentile(x, n);
        wild(x, n, &rng);
        check_percentile(x, n);
        for (size_t j = 0; j < n; j++)
            x[j] = (float)atomdl_rng_below(&rng, 5) - 2; /* ties */
        check_percentile(x, n);
        for (size_t j = 0; j < n; j++)
            x[j] = j % 3 ? j % 3 == 1 ? -0.0f : 0 : 1;
        check_percentile(x, n);
    }
    for (size_t i = 0; i <= 100; i++) { /* each rank once; halves go up */
        for (size_t j = 0; j <= 100; j++) x[j] = (float)(j * 37 % 101);
        CHECK(atomdl_percentile(x, 101, (double)i / 100) == (float)i);
    }
    x[0] = -1;
    x[1] = 1;
    CHECK(atomdl_percentile(x, 2, 0.4999) == -1);
    CHECK(atomdl_percentile(x, 2, 0.5) == 1);
}

/* ---------- Warp ---------------------------------------------------------- */

static double warped(const atomdl_image *src, int c, double u, double v,
                     int interp)
{
    double sum = 0;
    int x0 = (int)floor(u), y0 = (int)floor(v);
    if (interp == ATOMDL_NEAREST)
        return (double)*at(src, c, inside((int)floor(v + 0.5), src->h),
                           inside((int)floor(u + 0.5), src->w));
    for (int j = y0 - 1; j < y0 + 3; j++)
        for (int i = x0 - 1; i < x0 + 3; i++) {
            double wx = interp == ATOMDL_CUBIC ? keys(u - i)
                        : fabs(u - i) < 1      ? 1 - fabs(u - i)
                                               : 0;
            double wy = interp == ATOMDL_CUBIC ? keys(v - j)
                        : fabs(v - j) < 1      ? 1 - fabs(v - j)
                                               : 0;
            sum += wx * wy * (double)*at(src, c, inside(j, src->h),
                                         inside(i, src->w));
        }
    return sum;
}

/* against the plain sum; 2 axes of 4 taps with 2 roundings each, weights up
   to 1.6 in all; NEAREST only copies */
static void check_warp(const atomdl_image *src, int w, int h, const double *m,
                       const atomdl_image *field, int interp)
{
    atomdl_image dst = fresh(w, h, src->c);
    double bound = interp == ATOMDL_NEAREST ? 0 : 1.6 * 16 * EPS;
    CHECK(atomdl_image_warp(&dst, src, m, field, interp) == ATOMDL_OK);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double u = m ? m[0] * x + m[1] * y + m[2] : x;
            double v = m ? m[3] * x + m[4] * y + m[5] : y;
            if (field) u += (double)*at(field, 0, y, x);
            if (field) v += (double)*at(field, 1, y, x);
            for (int c = 0; c < src->c; c++)
                CHECK_NEAR(*at(&dst, c, y, x), warped(src, c, u, v, interp),
                           bound);
        }
    free(dst.px);
}

/* whole numbers are exact in every interpolation: identity, shift, quarter
   turn (out(x, y) = in(y, w - 1 - x)), edges repeated */
static void check_exact(int interp)
{
    static const double one[6] = {1, 0, 0, 0, 1, 0};
    static const double shift[6] = {1, 0, 3, 0, 1, -5};
    atomdl_image src = noise(12, 9, 2, 6), dst = fresh(12, 9, 2);
    atomdl_image turn = fresh(9, 12, 2);
    const double quarter[6] = {0, 1, 0, -1, 0, 8};
    CHECK(atomdl_image_warp(&dst, &src, one, NULL, interp) == ATOMDL_OK);
    CHECK_BYTES(dst.px, src.px, area(&src) * sizeof(float));
    fill(&dst, 7);
    CHECK(atomdl_image_warp(&dst, &src, NULL, NULL, interp) == ATOMDL_OK);
    CHECK_BYTES(dst.px, src.px, area(&src) * sizeof(float));
    CHECK(atomdl_image_warp(&dst, &src, shift, NULL, interp) == ATOMDL_OK);
    CHECK(atomdl_image_warp(&turn, &src, quarter, NULL, interp) == ATOMDL_OK);
    for (int c = 0; c < 2; c++)
        for (int y = 0; y < 9; y++)
            for (int x = 0; x < 12; x++) {
                CHECK_BITS(*at(&dst, c, y, x), *at(&src, c, inside(y - 5, 9),
                                                   inside(x + 3, 12)));
                CHECK_BITS(*at(&turn, c, x, 8 - y), *at(&src, c, y, x));
            }
    free(src.px);
    free(dst.px);
    free(turn.px);
}

/* coordinates far out, or too great for a double, give the edge */
static void check_far(int interp)
{
    static const double far[] = {-1e300, -1e10, -3, 1e3, 3e9, 1e19, 1e300,
                                 DBL_MAX, -DBL_MAX};
    double m[6] = {0};
    atomdl_image src = noise(6, 5, 1, 7), dst = fresh(4, 3, 1);
    size_t n = sizeof far / sizeof *far;
    for (size_t i = 0; i < n * n; i++) {
        m[2] = far[i / n];
        m[5] = far[i % n];
        CHECK(atomdl_image_warp(&dst, &src, m, NULL, interp) == ATOMDL_OK);
        for (size_t j = 0; j < area(&dst); j++)
            CHECK_BITS(dst.px[j], *at(&src, 0, m[5] < 0 ? 0 : 4,
                                      m[2] < 0 ? 0 : 5));
    }
    m[2] = m[5] = 0;
    for (size_t k = 0; k < 4; k++) { /* infinity minus infinity */
        m[0] = m[3] = k & 1 ? DBL_MAX : -DBL_MAX;
        m[1] = m[4] = k & 2 ? DBL_MAX : -DBL_MAX;
        if (!atomdl_image_warp(&dst, &src, m, NULL, interp)
            && atomdl_image_check(&dst))
            FAIL("finite matrix %g %g and image give NaN", m[0], m[1]);
    }
    free(src.px);
    free(dst.px);
}

/* Forth and back by 30 degrees about the middle: each cubic interpolation of
   a spot of deviation 4 errs by less than 0.001, a linear one by h^2/8 times
   the curvature, 2 (1/16)/8 = 0.016. */
static void check_back(int interp, double bound)
{
    const double c = cos(0.5235987755982988), s = sin(0.5235987755982988);
    const double mx = 31, my = 29;
    const double forth[6] = {c, -s, mx - c * mx + s * my,
                             s, c, my - s * mx - c * my};
    const double back[6] = {c, s, mx - c * mx - s * my,
                            -s, c, my + s * mx - c * my};
    atomdl_image src = spot(63, 59, 27.3, 33.8, 4);
    atomdl_image a = fresh(63, 59, 1), b = fresh(63, 59, 1);
    double change = 0;
    CHECK(atomdl_image_warp(&a, &src, forth, NULL, interp) == ATOMDL_OK);
    CHECK(atomdl_image_warp(&b, &a, back, NULL, interp) == ATOMDL_OK);
    for (size_t i = 0; i < area(&src); i++) {
        CHECK_NEAR(b.px[i], src.px[i], 2 * bound);
        change = fmax(change, fabs((double)(a.px[i] - src.px[i])));
    }
    CHECK(change > 0.3); /* it did turn */
    free(src.px);
    free(a.px);
    free(b.px);
}

/* a turned label map holds labels only */
static void check_labels(void)
{
    static const double turn[6] = {0.81, -0.57, 4.25, 0.57, 0.81, -6.5};
    atomdl_image src = fresh(30, 20, 1), dst = fresh(41, 33, 1);
    int seen[6] = {0};
    for (size_t i = 0; i < area(&src); i++)
        src.px[i] = (float)((i % 30 / 4 + i / 30 / 3 * 5) % 6) * 1.1f;
    CHECK(atomdl_image_warp(&dst, &src, turn, NULL, ATOMDL_NEAREST)
          == ATOMDL_OK);
    for (size_t i = 0; i < area(&dst); i++) {
        int label = (int)(dst.px[i] / 1.1f + 0.5f);
        CHECK(label >= 0 && label < 6 && dst.px[i] == (float)label * 1.1f);
        seen[inside(label, 6)] = 1;
    }
    for (size_t i = 0; i < 6; i++) CHECK(seen[i]);
    check_warp(&src, 41, 33, turn, NULL, ATOMDL_NEAREST);
    free(src.px);
    free(dst.px);
}

void test_image_warp(void)
{
    static const double skew[6] = {0.83, 0.31, -4.2, -0.27, 1.19, 1.3};
    static const double grow[6] = {0.25, 0, -0.375, 0, 0.25, -0.375};
    atomdl_image src = noise(17, 14, 3, 11), one = noise(1, 1, 1, 12);
    atomdl_image field = noise(23, 19, 2, 13);
    for (size_t i = 0; i < area(&field); i++) field.px[i] *= 6;
    for (int interp = 0; interp < ATOMDL_INTERP_COUNT; interp++) {
        check_exact(interp);
        check_far(interp);
        check_warp(&src, 23, 19, skew, NULL, interp);
        check_warp(&src, 23, 19, NULL, &field, interp);
        check_warp(&src, 23, 19, skew, &field, interp);
        check_warp(&src, 60, 50, grow, NULL, interp);
        check_warp(&one, 23, 19, skew, &field, interp);
    }
    check_back(ATOMDL_CUBIC, 0.001);
    check_back(ATOMDL_LINEAR, 0.016);
    check_labels();
    free(src.px);
    free(one.px);
    free(field.px);
}

/* ---------- Refusals ------------------------------------------------------ */

/* what every function says to (dst, src); each must leave dst alone */
static void check_pair(atomdl_image dst, atomdl_image src, int want)
{
    static unsigned char memory[1 << 16];
    atomdl_arena arena = {memory, sizeof memory, 0, 0, 0};
    CHECK(atomdl_image_crop(&dst, &src, 0, 0) == want);
    CHECK(atomdl_image_resize(&dst, &src, &arena) == want);
    CHECK(atomdl_image_warp(&dst, &src, NULL, NULL, ATOMDL_LINEAR) == want);
    CHECK(arena.used == 0 && !arena.failed);
}

static void check_bad(atomdl_image good, atomdl_image bad)
{
    check_pair(good, bad, ATOMDL_EARG);
    check_pair(bad, good, ATOMDL_EARG);
    CHECK(atomdl_image_check(&bad) == ATOMDL_EARG);
    CHECK(atomdl_image_normalise(&bad, ATOMDL_NORM_STD) == ATOMDL_EARG);
}

static void check_sizes(void)
{
    static const int bad[] = {0, -1, INT_MIN, ATOMDL_IMAGE_MAX + 1, INT_MAX};
    atomdl_image good = noise(8, 8, 2, 1), copy = noise(8, 8, 2, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        atomdl_image m = good;
        m.w = bad[i];
        check_bad(good, m);
        m = good;
        m.h = bad[i];
        check_bad(good, m);
        m = good;
        m.c = bad[i];
        if (bad[i] <= 0) check_bad(good, m);
    }
    atomdl_image m = good;
    m.px = NULL;
    check_bad(good, m);
    m = copy;
    m.c = 1;
    check_pair(good, m, ATOMDL_ESHAPE);
    check_pair(m, good, ATOMDL_ESHAPE);
    CHECK_BYTES(good.px, copy.px, area(&good) * sizeof(float));
    free(good.px);
    free(copy.px);
}

static void check_warp_refusals(void)
{
    static const float bad[] = {HUGE_VALF, -HUGE_VALF, NAN};
    atomdl_image src = noise(6, 6, 1, 1), dst = noise(8, 5, 1, 2);
    atomdl_image copy = noise(8, 5, 1, 2), field = noise(8, 5, 2, 3), f = field;
    double m[6] = {1, 0, 0, 0, 1, 0};
    size_t i, j;
#define WARP(field, mode) atomdl_image_warp(&dst, &src, m, field, mode)
    for (i = 0; i < 3; i++) {
        for (j = 0; j < 6; j++) {
            m[j] = (double)bad[i];
            CHECK(WARP(NULL, ATOMDL_CUBIC) == ATOMDL_ENAN);
            m[j] = j % 4 == 0;
        }
        field.px[79] = bad[i];
        CHECK(WARP(&field, ATOMDL_LINEAR) == ATOMDL_ENAN);
        field.px[79] = 0;
    }
    CHECK(WARP(&field, -1) == ATOMDL_EARG);
    CHECK(WARP(NULL, ATOMDL_INTERP_COUNT) == ATOMDL_EARG);
    f.w = 7;
    CHECK(WARP(&f, ATOMDL_LINEAR) == ATOMDL_ESHAPE);
    f.w = 8;
    f.h = 4;
    CHECK(WARP(&f, ATOMDL_LINEAR) == ATOMDL_ESHAPE);
    f.h = 5;
    f.c = 1;
    CHECK(WARP(&f, ATOMDL_LINEAR) == ATOMDL_ESHAPE);
    f.c = 2;
    f.px = NULL;
    CHECK(WARP(&f, ATOMDL_LINEAR) == ATOMDL_EARG);
    CHECK_BYTES(dst.px, copy.px, area(&dst) * sizeof(float));
    CHECK(WARP(&field, ATOMDL_LINEAR) == ATOMDL_OK);
#undef WARP
    free(src.px);
    free(dst.px);
    free(copy.px);
    free(field.px);
}

static void check_finite(void)
{
    atomdl_image m = noise(5, 5, 2, 4);
    CHECK(atomdl_image_check(&m) == ATOMDL_OK);
    for (size_t i = 0; i < area(&m); i++) {
        m.px[i] = i & 1 ? NAN : i & 2 ? HUGE_VALF : -HUGE_VALF;
        CHECK(atomdl_image_check(&m) == ATOMDL_ENAN);
        m.px[i] = i & 1 ? FLT_MAX : -0x1p-149f;
        CHECK(atomdl_image_check(&m) == ATOMDL_OK);
    }
    free(m.px);
}

/* measuring asks the same of the sizes as computing, px apart */
static void check_measured_sizes(void)
{
    static const int bad[] = {-1, ATOMDL_IMAGE_MAX + 1, 0};
    atomdl_image good = {8, 8, 1, NULL};
    for (size_t i = 0; i < 12; i++) {
        atomdl_arena arena = {NULL, 0, 0, 0, 0};
        int swap = i & 1;
        size_t j = i / 4;
        atomdl_image m = good;
        if (i & 2) m.h = bad[j];
        else m.w = bad[j];
        CHECK(atomdl_image_resize(swap ? &m : &good, swap ? &good : &m, &arena)
              == ATOMDL_EARG);
    }
}

void test_image_refusals(void)
{
    check_sizes();
    check_warp_refusals();
    check_finite();
    check_measured_sizes();
}

/* ---------- No data ------------------------------------------------------- */

enum { WIDE = 96, HIGH = 72, SQUARE = 8 };
enum { DOTS, RECTANGLE, FRAME, WEDGE, SMALL, KINDS };

/* Writes v where kind k is no data; how many pixels that are. */
static size_t blot(atomdl_image *m, int k, float v)
{
    size_t n = 0;
    for (int y = 0; y < HIGH; y++)
        for (int x = 0; x < WIDE; x++) {
            int here = k == DOTS        ? x % 31 == 4 && y % 29 == 7
                       : k == RECTANGLE ? x / 12 == 2 && y / 10 == 2
                       : k == FRAME     ? x < 2 || y < 3
                       : k == WEDGE     ? 2 * y < WIDE - x
                                        : x / 7 == 5 && y / 7 == 5;
            if (!here) continue;
            *at(m, 0, y, x) = v;
            n++;
        }
    return n;
}

/* So much of m is no data; what is left is finite, the data as they were. */
static size_t count_blank(atomdl_image *m)
{
    static uint8_t blank[WIDE * HIGH];
    uint32_t row[WIDE + 16];
    atomdl_arena arena = {(void *)row, sizeof row, 0, 0, 0};
    atomdl_image copy = noise(WIDE, HIGH, 1, 0);
    size_t count, marked = 0;
    memcpy(copy.px, m->px, area(m) * sizeof *m->px);
    CHECK(!atomdl_image_blank(blank, &count, m, SQUARE, &arena));
    CHECK(atomdl_image_check(m) == ATOMDL_OK && !arena.used);
    for (size_t i = 0; i < area(m); i++) {
        marked += blank[i] != 0;
        if (blank[i]) CHECK(fabsf(m->px[i]) < 3);
        else CHECK_BYTES(m->px + i, copy.px + i, sizeof *m->px);
    }
    CHECK(marked == count);
    free(copy.px);
    return count;
}

/* Few counts, and what a file cut off, are data. */
static void check_chance(void)
{
    atomdl_rng rng = atomdl_rng_seed(3);
    for (int k = 0; k < 3; k++) {
        atomdl_image m = noise(WIDE, HIGH, 1, 21);
        for (size_t i = 0; i < area(&m); i++) {
            float v = m.px[i];
            if (k < 2) v = (float)atomdl_rng_poisson(&rng, k ? 0.01 : 0.2);
            m.px[i] = v > 2 ? 2 : v < -0.3f ? -0.3f : v;
        }
        CHECK(count_blank(&m) == 0);
        free(m.px);
    }
}

void test_image_blank(void)
{
    static const float VALUE[] = {NAN, HUGE_VALF, -9999, 0.125f, -1.5f};
    static uint8_t blank[WIDE * HIGH];
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    size_t count;
    for (int k = 0; k < KINDS; k++)
        for (int v = 0; v < 5; v++) {
            atomdl_image m = noise(WIDE, HIGH, 1, 20);
            size_t n = blot(&m, k, VALUE[v]), all = count_blank(&m);
            if (v > 2 && (k == DOTS || k == SMALL)) CHECK(all == 0);
            else if (v > 2 && k == WEDGE) CHECK(all <= n && all > n - 100);
            else CHECK(all == n);
            free(m.px);
        }
    check_chance();
    atomdl_image m = noise(WIDE, HIGH, 1, 20);
    CHECK(!atomdl_image_blank(blank, &count, &m, SQUARE, &measure));
    CHECK(measure.peak >= WIDE * sizeof(uint32_t));
    CHECK(atomdl_image_blank(blank, &count, &m, 1, &measure) == ATOMDL_EARG);
    atomdl_image none = {-1, HIGH, 1, m.px};
    CHECK(atomdl_image_blank(blank, &count, &none, SQUARE, &measure)
          == ATOMDL_EARG);
    CHECK(!atomdl_arena_status(&measure));
    fill(&m, 7);
    CHECK(count_blank(&m) == 0);
    fill(&m, NAN);
    uint32_t row[WIDE + 16];
    atomdl_arena arena = {(void *)row, sizeof row, 0, 0, 0};
    CHECK(atomdl_image_blank(blank, &count, &m, SQUARE, &arena)
          == ATOMDL_ENAN);
    free(m.px);
}
