/* SPDX-License-Identifier: MIT
   Blobs against scikit-image and against formulas, refinement against the
   bound that counting noise sets. */

#include "test.h"

#include "vectors_blobs.h"

enum { SIDE = 96, ROOM = 4096 };

static float pixels[SIDE * SIDE];
static atomdl_blob blobs[ROOM];
static unsigned char memory[1 << 20];

static atomdl_image image_of(int w, int h)
{
    atomdl_image image = {0, 0, 1, NULL};
    image.w = w;
    image.h = h;
    image.px = pixels;
    return image;
}

static atomdl_arena scratch(void)
{
    atomdl_arena a = {memory, sizeof memory, 0, 0, 0};
    return a;
}

/* pixels += a exp(-r^2 / 2 s^2) around (x, y) */
static void bump(const atomdl_image *im, double x, double y, double a, double s)
{
    for (int j = 0; j < im->h; j++)
        for (int i = 0; i < im->w; i++) {
            double q = (i - x) * (i - x) + (j - y) * (j - y);
            im->px[j * im->w + i] += (float)(a * exp(-q / (2 * s * s)));
        }
}

/* ---------- scikit-image -------------------------------------------------- */

typedef struct {
    int w, h, kind, sigmas;
    double lo, hi, threshold;
} drawing;

static const drawing MAPS[] = {
    {31, 23, 0, 5, 1, 3, 0.05}, {64, 48, 0, 10, 1, 6, 0.1},
    {40, 61, 0, 3, 2, 9, 0.02}, {17, 90, 0, 1, 1.3, 1.3, 0.2},
    {5, 7, 0, 6, 1, 4, 0.01},   {1, 40, 0, 4, 1, 2, 0.01},
    {96, 96, 1, 5, 1, 3, 0.1},  {96, 80, 1, 10, 1, 5, 0.1},
    {90, 96, 1, 4, 1.5, 2.5, 0}, {70, 66, 2, 8, 1, 7, 0.02}
};

/* kind 0: noise; 1: a network's map of atoms, some of them faint; 2: a few
   blobs of all sizes */
static void draw(const drawing *d, int seed)
{
    atomdl_image im = image_of(d->w, d->h);
    atomdl_rng r = atomdl_rng_seed((uint64_t)seed);
    int n = d->w * d->h;
    for (int i = 0; i < n; i++)
        pixels[i] = atomdl_rng_uniform(&r) * (d->kind ? 1e-3f : 1.0f);
    for (int i = 0; i < (d->kind == 1 ? n / 80 : d->kind ? 12 : 0); i++) {
        double x = d->w * atomdl_rng_uniform64(&r);
        double y = d->h * atomdl_rng_uniform64(&r);
        double a = 0.2 + 0.8 * atomdl_rng_uniform64(&r);
        double s = d->kind == 1 ? 2 : 1 + 6 * atomdl_rng_uniform64(&r);
        bump(&im, x, y, a, s);
    }
}

/* For gen_blobs.py: the maps as bytes, where the environment asks for them. */
static void write_maps(void)
{
    const char *name = getenv("ATOMDL_BLOB_MAPS");
    FILE *f = name ? fopen(name, "wb") : NULL;
    for (size_t k = 0; f && k < sizeof MAPS / sizeof *MAPS; k++) {
        const drawing *d = &MAPS[k];
        draw(d, (int)k + 1);
        fwrite(&d->h, 4, 1, f);
        fwrite(&d->w, 4, 1, f);
        fwrite(&d->sigmas, 4, 1, f);
        fwrite(&d->lo, 8, 3, f);
        fwrite(pixels, 4, (size_t)(d->w * d->h), f);
    }
    if (f) fclose(f);
}

void test_blobs_vectors(void)
{
    write_maps();
    int n, wrong;
    for (size_t k = 0; k < sizeof MAPS / sizeof *MAPS; k++) {
        const drawing *d = &MAPS[k];
        atomdl_scales how = {0, 0, 0, 0, 0, 0.5, 0, 0, NULL};
        atomdl_image im = image_of(d->w, d->h);
        atomdl_arena a = scratch();
        draw(d, (int)k + 1);
        how.sigma_min = d->lo;
        how.sigma_max = d->hi;
        how.sigmas = d->sigmas;
        how.threshold = d->threshold;
        CHECK(atomdl_blobs(blobs, &n, ROOM, &im, 0, &how, &a) == ATOMDL_OK);
        CHECK(a.used == 0);
        if (n != CASES[k].count) FAIL("map %zu: %d blobs, want %d", k, n,
                                      CASES[k].count);
        for (int i = wrong = 0; i < n && i < CASES[k].count; i++) {
            double step = d->sigmas > 1 ? (d->hi - d->lo) / (d->sigmas - 1) : 0;
            double s = d->lo + step * BLOBS[CASES[k].first + i].k;
            wrong += blobs[i].x != BLOBS[CASES[k].first + i].x
                     || blobs[i].y != BLOBS[CASES[k].first + i].y
                     || fabs(blobs[i].sigma - s) > 1e-9
                     || (i && blobs[i].value > blobs[i - 1].value);
        }
        if (wrong) FAIL("map %zu: %d blobs are elsewhere", k, wrong);
    }
}

/* A great background answers alike everywhere. It adds to the errors of the
   fast pass alone, which must not lose a blob. */
void test_blobs_background(void)
{
    static atomdl_blob bare[ROOM];
    static const drawing D = {SIDE, SIDE, 0, 1, 1.5, 1.5, 0};
    static const float BACKGROUND = 32768;
    atomdl_scales how = {1.5, 1.5, 1, 0.01, 0, 1, 0, 0, NULL};
    atomdl_image im = image_of(1, 1);
    atomdl_arena a = scratch();
    int n, m, i;
    pixels[0] = BACKGROUND;
    CHECK(atomdl_blobs(bare, &n, ROOM, &im, 0, &how, &a) == ATOMDL_OK);
    double alike = bare[0].value;
    draw(&D, 30);
    im = image_of(SIDE, SIDE);
    for (i = 0; i < SIDE * SIDE; i++)
        pixels[i] = (float)(int)(pixels[i] * 256) / 256;
    CHECK(atomdl_blobs(bare, &n, ROOM, &im, 0, &how, &a) == ATOMDL_OK);
    for (i = 0; i < SIDE * SIDE; i++) pixels[i] += BACKGROUND;
    how.threshold += alike;
    CHECK(atomdl_blobs(blobs, &m, ROOM, &im, 0, &how, &a) == ATOMDL_OK);
    CHECK(n > 200 && m == n);
    for (i = 0; i < n && i < m; i++) {
        CHECK(bare[i].x == blobs[i].x && bare[i].y == blobs[i].y);
        CHECK_NEAR(bare[i].value, blobs[i].value - alike, 1e-6);
    }
}

/* ---------- Formulas ------------------------------------------------------ */

/* METHOD C.1: a Gaussian answers 2 A u s^2 / (s^2 + u)^2 with u = sigma^2, at
   most A / 2 at sigma = s; a disc of radius r at most 2/e at r / sqrt 2. */
void test_blobs_formulas(void)
{
    atomdl_scales how = {3, 3, 1, 0.1, 0, 0.5, 0, 1, NULL};
    atomdl_image im = image_of(81, 81);
    int n;
    for (double s = 2; s <= 6; s += 1) {
        memset(pixels, 0, sizeof pixels);
        bump(&im, 40.3, 39.8, 1.5, s);
        atomdl_arena a = scratch();
        CHECK(atomdl_blobs(blobs, &n, 9, &im, 0, &how, &a) == ATOMDL_OK);
        CHECK(n == 1);
        /* sampling and the cut at 4 sigma: 1 %; the centre is between pixels */
        CHECK_NEAR(blobs[0].value, 2 * 1.5 * 9 * s * s / pow(s * s + 9, 2),
                   0.025);
        CHECK_NEAR(blobs[0].x, 40.3, 0.02);
        CHECK_NEAR(blobs[0].y, 39.8, 0.02);
        CHECK(!blobs[0].border);
    }
    how.sigma_min = 2;
    how.sigma_max = 6;
    how.sigmas = 41;
    memset(pixels, 0, sizeof pixels);
    bump(&im, 40, 40, 1, 4);
    atomdl_arena a = scratch();
    CHECK(atomdl_blobs(blobs, &n, 9, &im, 0, &how, &a) == ATOMDL_OK && n == 1);
    CHECK_NEAR(blobs[0].value, 0.5, 0.002);
    CHECK_NEAR(blobs[0].sigma, 4, 0.11);
    for (int i = 0; i < 81 * 81; i++)
        pixels[i] = hypot(i % 81 - 40, i / 81 - 40) <= 6 ? 1 : 0;
    a = scratch();
    CHECK(atomdl_blobs(blobs, &n, 9, &im, 0, &how, &a) == ATOMDL_OK && n == 1);
    CHECK_NEAR(blobs[0].value, 2 / exp(1), 0.01);
    CHECK_NEAR(blobs[0].sigma, 6 / sqrt(2), 0.11);
    memset(pixels, 0, sizeof pixels);
    bump(&im, 1, 60, 1, 4); /* cut by the edge */
    a = scratch();
    CHECK(atomdl_blobs(blobs, &n, 9, &im, 0, &how, &a) == ATOMDL_OK && n == 1);
    CHECK(blobs[0].border && blobs[0].y == 60);
}

/* ---------- Pruning ------------------------------------------------------- */

static double covered(const atomdl_blob *p, const atomdl_blob *q)
{
    double r = sqrt(2) * p->sigma, s = sqrt(2) * q->sigma;
    double d = hypot(p->x - q->x, p->y - q->y), m = r < s ? r : s;
    if (d > r + s) return 0;
    if (d <= fabs(r - s)) return 1;
    return (r * r * acos((d * d + r * r - s * s) / (2 * d * r))
            + s * s * acos((d * d + s * s - r * r) / (2 * d * s))
            - 0.5 * sqrt((r + s - d) * (d + r - s) * (d - r + s) * (d + r + s)))
           / (acos(-1) * m * m);
}

/* Against all pairs in rising order; overlap 1 leaves everything. */
void test_blobs_overlap(void)
{
    static atomdl_blob all[ROOM];
    drawing d = {96, 96, 0, 9, 1, 9, 0.03};
    atomdl_scales how = {1, 9, 9, 0.03, 0, 1, 0, 0, NULL};
    atomdl_image im = image_of(96, 96);
    int n, m, i, k;
    for (int seed = 0; seed < 4; seed++) {
        atomdl_arena a = scratch();
        draw(&d, 50 + seed);
        how.overlap = 1;
        CHECK(atomdl_blobs(all, &n, ROOM, &im, 0, &how, &a) == ATOMDL_OK);
        how.overlap = 0.3 + 0.1 * seed;
        CHECK(atomdl_blobs(blobs, &m, ROOM, &im, 0, &how, &a) == ATOMDL_OK);
        for (i = 0; i < n; i++)
            for (int j = i + 1; j < n; j++) {
                if (!(all[i].sigma > 0) || !(all[j].sigma > 0)
                    || !(covered(&all[i], &all[j]) > how.overlap))
                    continue;
                if (all[i].sigma > all[j].sigma) all[j].sigma = 0;
                else all[i].sigma = 0;
            }
        for (i = k = 0; i < n; i++)
            if (all[i].sigma > 0) all[k++] = all[i];
        CHECK(n > m && k == m);
        for (i = 0; i < k && i < m; i++)
            if (all[i].x != blobs[i].x || all[i].y != blobs[i].y
                || all[i].sigma != blobs[i].sigma)
                break;
        CHECK(i == m);
    }
}

/* ---------- Peaks --------------------------------------------------------- */

void test_blobs_peaks(void)
{
    atomdl_peaks_plan how = {1, 4, 0.3};
    atomdl_image im = image_of(64, 48);
    atomdl_arena a = scratch();
    memset(pixels, 0, sizeof pixels);
    bump(&im, 20.25, 10.5, 1, 2);
    bump(&im, 30.5, 30.25, 0.8, 2);
    bump(&im, 33.5, 30.25, 0.2, 2); /* within the disc of the last */
    bump(&im, 62, 40, 1, 2);
    bump(&im, 10, 40, 0.25, 2);     /* too faint */
    int n;
    CHECK(atomdl_peaks(blobs, &n, 9, &im, 0, &how, &a) == ATOMDL_OK && n == 3);
    CHECK_NEAR(blobs[0].x, 20.25, 0.03);
    CHECK_NEAR(blobs[0].y, 10.5, 0.03);
    CHECK_NEAR(blobs[0].value, 4.0 / 5, 0.03); /* s^2 / (s^2 + 1) */
    CHECK(!blobs[0].border && blobs[2].border);
    pixels[0] = pixels[1] = pixels[2] = 2; /* a plateau: its first pixel */
    how.smooth = 0;
    CHECK(atomdl_peaks(blobs, &n, 9, &im, 0, &how, &a) == ATOMDL_OK && n == 4);
    CHECK(blobs[0].y == 0 && blobs[0].x < 1);
}

/* ---------- Refinement ---------------------------------------------------- */

/* counts of a scene of n peaks; the truth in xy */
static void counts(const atomdl_image *im, const double *xy, int n, double a,
                   double s, double background, atomdl_rng *r)
{
    memset(pixels, 0, sizeof pixels);
    for (int i = 0; i < n; i++) bump(im, xy[2 * i], xy[2 * i + 1], a, s);
    for (int i = 0; i < im->w * im->h; i++)
        pixels[i] = (float)atomdl_rng_poisson(r, (double)pixels[i]
                                                     + background);
}

/* The bounds are those of the Poisson Fisher matrix of the whole scene, sigma
   and background unknown (numpy, once): for a lone peak METHOD G's s / sqrt N.
   100 trials measure to 7 %; the window of 3 s has 94 % of the electrons. The
   error that a fit claims takes its neighbours' places as known. */
static void floor_case(double total, double background, int neighbours,
                       double bound)
{
    atomdl_image im = image_of(48, 48);
    atomdl_rng r = atomdl_rng_seed(11);
    atomdl_refinement how = {ATOMDL_FIT_GAUSSIAN, 9, 2.5, 3, 0, 1};
    double s = 3, a = total / (2 * acos(-1) * s * s), sum = 0, claim = 0;
    int n = neighbours + 1, trials = 100;
    for (int trial = 0; trial < trials; trial++) {
        double xy[8];
        atomdl_arena arena = scratch();
        for (int i = 0; i < n; i++) {
            double t = i * 2 * acos(-1) / 3, d = i ? 2.8 * s : 0;
            xy[2 * i] = 24 + d * cos(t) + atomdl_rng_uniform64(&r) - 0.5;
            xy[2 * i + 1] = 24 + d * sin(t) + atomdl_rng_uniform64(&r) - 0.5;
            memset(&blobs[i], 0, sizeof blobs[i]);
            blobs[i].x = floor(xy[2 * i] + 0.5);
            blobs[i].y = floor(xy[2 * i + 1] + 0.5);
        }
        counts(&im, xy, n, a, s, background, &r);
        double sigma;
        CHECK(atomdl_refine(blobs, n, &sigma, &im, 0, &how, &arena)
              == ATOMDL_OK);
        CHECK(blobs[0].fitted);
        CHECK_NEAR(sigma, s, 1.2);
        sum += pow(blobs[0].x - xy[0], 2) + pow(blobs[0].y - xy[1], 2);
        claim += blobs[0].error / trials;
    }
    sum = sqrt(sum / (2 * trials));
    if (getenv("ATOMDL_SHOW"))
        printf("  N %g, background %g, %d neighbours: %.4f px, bound %.4f, "
               "claimed %.4f\n", total, background, neighbours, sum, bound,
               claim);
    CHECK(sum < 1.2 * bound && sum > 0.85 * bound);
    CHECK(claim > (neighbours ? 0.65 : 0.85) * sum && claim < 1.2 * sum);
}

void test_blobs_floor(void)
{
    floor_case(3000, 0, 0, 0.0548);
    floor_case(3000, 5, 0, 0.0713);
    floor_case(3000, 1, 3, 0.1077);
    floor_case(500, 0.5, 3, 0.2755);
}

/* Without noise: the joint fit is exact where neighbours overlap, the centre
   of mass is near. */
void test_blobs_refine(void)
{
    static const double XY[6] = {24.2, 23.7, 30.1, 24.4, 26.8, 29.9};
    atomdl_refinement how = {ATOMDL_FIT_GAUSSIAN, 6, 2, 3, 0, 0};
    atomdl_image im = image_of(48, 48);
    atomdl_arena a = scratch();
    double pull = 0;
    memset(pixels, 0, sizeof pixels);
    for (int i = 0; i < 3; i++) bump(&im, XY[2 * i], XY[2 * i + 1], 1 + i, 2.4);
    for (int i = 0; i < 3; i++) {
        memset(&blobs[i], 0, sizeof blobs[i]);
        blobs[i].x = floor(XY[2 * i]);
        blobs[i].y = floor(XY[2 * i + 1]);
    }
    double sigma;
    CHECK(atomdl_refine(blobs, 3, &sigma, &im, 0, &how, &a) == ATOMDL_OK);
    CHECK_NEAR(sigma, 2.4, 0.01);
    for (int i = 0; i < 3; i++) {
        CHECK_NEAR(blobs[i].x, XY[2 * i], 0.005);
        CHECK_NEAR(blobs[i].y, XY[2 * i + 1], 0.005);
        CHECK_NEAR(blobs[i].value, 1 + i, 0.02);
        CHECK(blobs[i].fitted && blobs[i].sigma == sigma);
    }
    how.method = ATOMDL_FIT_CENTROID;
    for (int i = 0; i < 3; i++) blobs[i].x = floor(XY[2 * i]);
    how.radius = 0;
    CHECK(atomdl_refine(blobs, 3, NULL, &im, 0, &how, &a) == ATOMDL_OK);
    for (int i = 0; i < 3; i++) pull += fabs(blobs[i].x - XY[2 * i]) / 3;
    CHECK(pull > 0.01 && pull < 0.6); /* the neighbours' tails: METHOD C.2 */
    how.method = ATOMDL_FIT_GAUSSIAN;
    how.radius = 6;
    how.reach = 0.5; /* a start too far away stays where it was */
    blobs[0].x = XY[0] + 2;
    CHECK(atomdl_refine(blobs, 1, NULL, &im, 0, &how, &a) == ATOMDL_OK);
    CHECK(!blobs[0].fitted && blobs[0].x == XY[0] + 2);
}

/* ---------- Matching ------------------------------------------------------ */

void test_blobs_match(void)
{
    static const double A[] = {0, 0, 1, 0, 5, 5, 9, 9};
    static const double B[] = {0.6, 0, 0.1, 0, 5, 5.3, 20, 20, 30, 30};
    atomdl_arena a = scratch();
    int hit[4];
    atomdl_matches m = {hit, 0, 0, 0, 0, 0, 0};
    CHECK(atomdl_match(&m, A, 4, B, 5, 0.9, &a) == ATOMDL_OK);
    CHECK(m.tp == 3 && m.fp == 1 && m.fn == 2);
    CHECK(hit[0] == 1 && hit[1] == 0 && hit[2] == 2 && hit[3] == -1);
    CHECK_NEAR(m.rms, sqrt((0.01 + 0.16 + 0.09) / 3), 1e-12);
    CHECK_NEAR(m.mean_x, (0.4 - 0.1) / 3, 1e-12);
    CHECK(atomdl_match(&m, A, 0, B, 5, 1, &a) == ATOMDL_OK);
    CHECK(m.tp == 0 && m.fn == 5 && m.rms == 0);
    CHECK(atomdl_match(&m, A, 4, B, 5, NAN, &a) == ATOMDL_EARG);
}

/* ---------- Limits -------------------------------------------------------- */

void test_blobs_limits(void)
{
    atomdl_scales how = {1, 3, 4, 0.05, 0, 0.5, 0, 1, NULL};
    atomdl_peaks_plan plan = {1, 3, 0.1};
    atomdl_refinement fit = {ATOMDL_FIT_GAUSSIAN, 5, 2, 2, 0, 0};
    atomdl_image im = image_of(40, 40);
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    drawing d = {40, 40, 1, 4, 1, 3, 0.05};
    draw(&d, 9);
    int n;
    CHECK(atomdl_blobs(NULL, &n, 200, &im, 0, &how, &measure) == ATOMDL_OK);
    for (size_t bytes = 0; bytes <= measure.peak; bytes += 401) {
        atomdl_arena a = {memory, bytes, 0, 0, 0};
        CHECK(atomdl_blobs(blobs, &n, 200, &im, 0, &how, &a) == ATOMDL_EMEM);
    }
    int more;
    {
        atomdl_arena a = {memory, measure.peak, 0, 0, 0};
        CHECK(atomdl_blobs(blobs, &n, 200, &im, 0, &how, &a) == ATOMDL_OK);
        CHECK(a.peak == measure.peak && n > 5);
        CHECK(atomdl_blobs(blobs, &more, 2, &im, 0, &how, &a) == ATOMDL_ESHAPE);
        CHECK(more >= n);
    }
    for (more = 0; more < 2; more++) {
        fit.method = more ? ATOMDL_FIT_GAUSSIAN : ATOMDL_FIT_CENTROID;
        measure.peak = measure.used = 0;
        CHECK(atomdl_refine(blobs, n, NULL, &im, 0, &fit, &measure) == 0);
        CHECK(atomdl_peaks(blobs, &n, 100, &im, 0, &plan, &measure) == 0);
        n = 4;
        for (size_t bytes = 0; bytes < measure.peak; bytes += 499) {
            atomdl_arena a = {memory, bytes, 0, 0, 0};
            int one = atomdl_refine(blobs, n, NULL, &im, 0, &fit, &a), k;
            atomdl_arena b = {memory, bytes, 0, 0, 0};
            int two = atomdl_peaks(blobs + 100, &k, 100, &im, 0, &plan, &b);
            CHECK(one == ATOMDL_EMEM || two == ATOMDL_EMEM);
        }
    }
    {
        atomdl_arena a = scratch();
        pixels[77] = NAN;
        CHECK(atomdl_blobs(blobs, &n, 200, &im, 0, &how, &a) == ATOMDL_ENAN);
        CHECK(atomdl_peaks(blobs, &n, 200, &im, 0, &plan, &a) == ATOMDL_ENAN);
        CHECK(atomdl_refine(blobs, 0, NULL, &im, 0, &fit, &a) == ATOMDL_ENAN);
        pixels[77] = 0;
        blobs[0].x = NAN;
        CHECK(atomdl_refine(blobs, 1, NULL, &im, 0, &fit, &a) == ATOMDL_EARG);
        how.sigmas = 0;
        CHECK(atomdl_blobs(blobs, &n, 200, &im, 0, &how, &a) == ATOMDL_EARG);
        how.sigmas = 4;
        how.threshold = NAN;
        CHECK(atomdl_blobs(blobs, &n, 200, &im, 0, &how, &a) == ATOMDL_EARG);
        how.threshold = 0;
        memset(pixels, 0, sizeof pixels); /* black: nothing; grey: a plateau */
        CHECK(atomdl_blobs(blobs, &n, 200, &im, 0, &how, &a) == ATOMDL_OK);
        CHECK(n == 0);
        im = image_of(1, 1);
        pixels[0] = 1;
        CHECK(atomdl_blobs(blobs, &n, 200, &im, 0, &how, &a) == ATOMDL_OK);
        CHECK(atomdl_peaks(blobs, &n, 200, &im, 0, &plan, &a) == ATOMDL_OK);
        CHECK(n == 1 && blobs[0].border);
    }
}

/* ---------- Sampling ------------------------------------------------------ */

/* A honeycomb of constant a [A] under the map A <- pixels m, turned. */
static void lattice(const atomdl_image *im, const double m[4], double a,
                    double turn, double noise, uint64_t seed)
{
    atomdl_rng r = atomdl_rng_seed(seed);
    for (int j = 0; j < im->h; j++)
        for (int i = 0; i < im->w; i++) {
            double x = m[0] * i + m[1] * j, y = m[2] * i + m[3] * j, v = 0;
            for (int k = 0; k < 3; k++) {
                double t = turn + 2 * acos(-1) * k / 3;
                v += cos(2 * acos(-1) * 2 / (sqrt(3) * a)
                         * (x * cos(t) + y * sin(t)));
            }
            float z;
            atomdl_rng_normal(&r, &z, 1);
            im->px[j * im->w + i] = (float)(v + noise * (double)z);
        }
}

void test_blobs_sampling(void)
{
    static const double SQUARE[4] = {0.24, 0, 0, 0.24};
    static const double SKEW[4] = {0.26, 0.012, 0.004, 0.236};
    atomdl_image im = image_of(SIDE, SIDE);
    atomdl_sampling s;
    int sure = 0;
    for (int seed = 1; seed <= 12; seed++) {
        const double *m = seed % 2 ? SQUARE : SKEW;
        atomdl_arena a = scratch();
        lattice(&im, m, 2.461, 0.11 * seed, seed % 3 * 2.0, (uint64_t)seed);
        CHECK(atomdl_sampling_find(&s, &im, 0, 2.461, 0, 0, &a) == ATOMDL_OK);
        /* a sixth of a bin, eleven bins from the middle: 1.5 % */
        CHECK_NEAR(s.x, hypot(m[0], m[2]), 0.0036);
        CHECK_NEAR(s.y, hypot(m[1], m[3]), 0.0036);
        CHECK_NEAR(s.pixel, sqrt(m[0] * m[3] - m[1] * m[2]), 0.003);
        CHECK_NEAR(s.shear, acos((m[0] * m[1] + m[2] * m[3])
                                 / (hypot(m[0], m[2]) * hypot(m[1], m[3])))
                                - acos(-1) / 2, 0.025);
        CHECK(s.confidence > 0.5 && a.used == 0);
    }
    for (int seed = 1; seed <= 20; seed++) { /* nothing but noise */
        atomdl_arena a = scratch();
        lattice(&im, SQUARE, 2.461, 0, 1e6, (uint64_t)seed);
        int status = atomdl_sampling_find(&s, &im, 0, 2.461, 0, 0, &a);
        CHECK(status == ATOMDL_OK || status == ATOMDL_EMISSING);
        sure += status == ATOMDL_OK && s.confidence > 0.5;
    }
    CHECK(sure == 0);
    memset(pixels, 0, sizeof pixels);
    {
        atomdl_arena a = scratch(), b = {memory, 9999, 0, 0, 0};
        CHECK(atomdl_sampling_find(&s, &im, 0, 2.461, 0, 0, &a)
              == ATOMDL_EMISSING);
        CHECK(atomdl_sampling_find(&s, &im, 0, 2.461, 0, 0, &b) == ATOMDL_EMEM);
        CHECK(atomdl_sampling_find(&s, &im, 0, NAN, 0, 0, &a) == ATOMDL_EARG);
        im = image_of(1, 1);
        CHECK(atomdl_sampling_find(&s, &im, 0, 2.461, 0, 0, &a)
              == ATOMDL_EMISSING);
    }
}
