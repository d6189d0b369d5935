/* SPDX-License-Identifier: MIT
   Tests of movie.c: against NumPy, SciPy and scikit-learn (vectors_movie.h),
   against brute force, and against simulated movies whose truth is known. */

#include "test.h"

#include "vectors_movie.h"

#define ROWS(x, n, d) (&(atomdl_points){x, n, d})
#define MARKS(x, n, defect, defects) \
    (&(atomdl_marks){{x, n, 2}, {defect, defects, 2}, {0, 0, 0, NULL}})
#define HOW(basis, x, y, affine) \
    (&(atomdl_drift_how){{basis[0], basis[1], basis[2], basis[3]}, {x, y}, \
                         affine})
#define PCA(fraction, most) (&(atomdl_pca_how){fraction, most, NULL})
#define PHASE(x, y, reach) (&(atomdl_phase_how){0, {x, y}, reach})
#define TRACES_OF(logb, length, n) (&(atomdl_traces){logb, length, n})

static atomdl_arena work; /* for every test, from start to start */

static atomdl_arena *fresh(void)
{
    if (!work.base) work = new_arena(16 << 20);
    work.used = work.peak = 0;
    work.failed = 0;
    return &work;
}

/* as gen_movie.py */
static double number(uint32_t i)
{
    i *= 2654435761u;
    i = (i ^ i >> 15) * 2246822519u;
    return (double)((i ^ i >> 13) >> 16) / 65536 - 0.5;
}

static double normal(atomdl_rng *rng)
{
    float z;
    atomdl_rng_normal(rng, &z, 1);
    return (double)z;
}

static double uniform(atomdl_rng *rng)
{
    return atomdl_rng_uniform64(rng);
}

/* ---------- Tracks -------------------------------------------------------- */

static double square(double x)
{
    return x * x;
}

/* least cost over all partial pairings of a's points i.. by trying them all */
static double try_all(const double *a, int i, int na, const double *b, int nb,
                      double gate2, unsigned used)
{
    if (i == na) return 0;
    double best = gate2 + try_all(a, i + 1, na, b, nb, gate2, used);
    for (int j = 0; j < nb; j++) {
        double d =
            square(a[2 * i] - b[2 * j]) + square(a[2 * i + 1] - b[2 * j + 1]);
        if (used >> j & 1 || !(d < gate2)) continue;
        d += try_all(a, i + 1, na, b, nb, gate2, used | 1u << j);
        if (d < best) best = d;
    }
    return best;
}

static void check_pairs(const int *to, double cost, const double *a, int na,
                        const double *b, int nb, double gate)
{
    double sum = 0;
    int used[256] = {0};
    for (int i = 0; i < na; i++) {
        if (to[i] < 0) {
            sum += gate * gate;
            continue;
        }
        CHECK(to[i] < nb && !used[to[i]]++);
        double d = square(a[2 * i] - b[2 * to[i]])
                   + square(a[2 * i + 1] - b[2 * to[i] + 1]);
        CHECK(d < gate * gate);
        sum += d;
    }
    CHECK_NEAR(sum, cost, 1e-12 * (1 + cost)); /* the order of the sum */
}

void test_movie_assign(void)
{
    static const struct {
        int na, nb;
        double gate;
    } CASE[] = {{30, 34, .2}, {60, 50, .15}, {40, 40, 3}, {25, 90, .3},
                {200, 200, .1}};
    double a[400], b[400], cost;
    atomdl_rng rng = atomdl_rng_seed(1);
    int to[200];
    for (int c = 0; c < 5; c++) {
        for (int i = 0; i < 2 * CASE[c].na; i++)
            a[i] = number((uint32_t)(3000 * c + i));
        for (int i = 0; i < 2 * CASE[c].nb; i++)
            b[i] = number((uint32_t)(3000 * c + 1500 + i));
        CHECK(atomdl_assign(to, &cost, ROWS(a, CASE[c].na, 2),
                            ROWS(b, CASE[c].nb, 2), CASE[c].gate, fresh())
              == ATOMDL_OK);
        CHECK_NEAR(cost, ASSIGN_COST[c], 1e-12 * cost);
        check_pairs(to, cost, a, CASE[c].na, b, CASE[c].nb, CASE[c].gate);
    }
    for (int c = 0; c < 400; c++) { /* ties as well: a coarse grid */
        int na = (int)atomdl_rng_below(&rng, 6);
        int nb = (int)atomdl_rng_below(&rng, 6);
        uint32_t grid = c % 2 ? 5 : 1000;
        double gate = 0.1 + uniform(&rng);
        for (int i = 0; i < 2 * na; i++)
            a[i] = atomdl_rng_below(&rng, grid) * 1.0 / grid;
        for (int i = 0; i < 2 * nb; i++)
            b[i] = atomdl_rng_below(&rng, grid) * 1.0 / grid;
        CHECK(atomdl_assign(to, &cost, ROWS(a, na, 2), ROWS(b, nb, 2), gate,
                            fresh())
              == ATOMDL_OK);
        CHECK_NEAR(cost, try_all(a, 0, na, b, nb, gate * gate, 0), 1e-12);
        check_pairs(to, cost, a, na, b, nb, gate);
    }
}

enum { WALKERS = 80, FRAMES = 100 };

typedef struct {
    double x, y;
    int alive, hidden; /* frames still to be missed */
} walker;

/* walkers in a 400 x 400 field, steps 1.5 px rms and axis; some die, are born,
   are missed for one or two frames */
static int walk(double *xy, int *who, walker *w, atomdl_rng *rng, double dx)
{
    int n = 0;
    for (int i = 0; i < WALKERS; i++) {
        if (!w[i].alive) {
            if (uniform(rng) > 0.01) continue;
            w[i].alive = 1;
            w[i].x = 400 * uniform(rng);
            w[i].y = 400 * uniform(rng);
        }
        w[i].x += 1.5 * normal(rng) + dx;
        w[i].y += 1.5 * normal(rng);
        if (w[i].hidden && w[i].hidden--) continue;
        if (uniform(rng) < 0.003) w[i].alive = 0;
        if (uniform(rng) < 0.02) w[i].hidden = 1 + (int)(2 * uniform(rng));
        if (!w[i].alive || w[i].hidden) continue;
        xy[2 * n] = w[i].x;
        xy[2 * n + 1] = w[i].y;
        who[n++] = i;
    }
    return n;
}

/* A dopant may look like silicon in one frame and like no known element in the
   next, but is no vacancy. */
static void check_families(void)
{
    static const atomdl_names names = {8, {"si-c3", "x-c3", "x-c4", "x-unsure",
                                           "x3-c6", "x-m", "vx1", "v1"}};
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++)
            CHECK(atomdl_can_become(&names, i, j)
                  == (i == j || (i < 5 && j < 5)));
}

void test_movie_tracks(void)
{
    static walker w[WALKERS];
    atomdl_rng rng = atomdl_rng_seed(2);
    double shift[2] = {9, 0};
    int links = 0, right = 0, births = 0;
    memset(w, 0, sizeof w);
    uint32_t last[WALKERS];
    for (int i = 0; i < WALKERS; i++) {
        w[i].alive = 1;
        w[i].x = 400 * uniform(&rng);
        w[i].y = 400 * uniform(&rng);
        last[i] = UINT32_MAX;
    }
    atomdl_tracker t;
    CHECK(atomdl_tracker_new(&t, WALKERS, 2, 8, fresh()) == ATOMDL_OK);
    uint32_t track[WALKERS];
    double xy[2 * WALKERS];
    int who[WALKERS];
    for (int f = 0; f < FRAMES;
         f++) { /* the sample drifts by more than the gate */
        int n = walk(xy, who, w, &rng, 9);
        CHECK(atomdl_tracker_step(&t, track, xy, n, shift) == ATOMDL_OK);
        births += t.births;
        CHECK(t.live <= 3 * WALKERS);
        for (int i = 0; i < n; i++) {
            if (last[who[i]] != UINT32_MAX) {
                links++;
                right += last[who[i]] == track[i];
            }
            last[who[i]] = track[i];
        }
        for (int i = 0; i < WALKERS; i++)
            if (!w[i].alive) last[i] = UINT32_MAX;
    }
    CHECK(links > 4000 && right > 0.985 * links);
    CHECK((uint32_t)births == t.next);
    for (int f = 0; f < 3; f++) /* all are forgotten when too long away */
        CHECK(atomdl_tracker_step(&t, track, xy, 0, NULL) == ATOMDL_OK);
    CHECK(t.live && !atomdl_tracker_step(&t, track, xy, 0, NULL) && !t.live);
    check_families();
}

void test_movie_gaps(void)
{
    double near[2] = {1, 0}, far[2] = {50, 0};
    uint32_t track[2];
    atomdl_tracker t;
    for (int gap = 0; gap <= 3; gap++)
        for (int missed = 0; missed <= 4; missed++) {
            CHECK(!atomdl_tracker_new(&t, 2, gap, 2, fresh()));
            CHECK(!atomdl_tracker_step(&t, track, near, 1, NULL));
            for (int i = 0; i < missed; i++)
                CHECK(!atomdl_tracker_step(&t, track, far, 1, NULL));
            CHECK(!atomdl_tracker_step(&t, track, near, 1, NULL));
            CHECK((track[0] == 0) == (missed <= gap));
        }
}

/* ---------- Motion -------------------------------------------------------- */

void test_movie_diffusion(void)
{
    atomdl_rng rng = atomdl_rng_seed(3);
    atomdl_msd msd = {{0}, {0}, {0}};
    double D = 0.35, noise = 0.2, xy[2 * 200], inside = 0;
    uint32_t frame[200];
    int n;
    for (int k = 0; k < 60; k++) {
        double x = 0, y = 0;
        for (int i = n = 0; i < 200; i++) {
            x += atomdl_sqrt(2 * D) * normal(&rng);
            y += atomdl_sqrt(2 * D) * normal(&rng);
            if (uniform(&rng) < 0.1) continue; /* missed */
            frame[n] = (uint32_t)i;
            xy[2 * n] = x + noise * normal(&rng);
            xy[2 * n++ + 1] = y + noise * normal(&rng);
        }
        CHECK(atomdl_msd_add(&msd, frame, xy, n, 20) == ATOMDL_OK);
    }
    double error;
    for (int i = 1; i <= 20; i++) {
        double m = atomdl_msd_mean(&error, &msd, i);
        double truth = 4 * D * i + 4 * noise * noise;
        CHECK(error > 0 && error < 0.1 * m);
        inside += fabs(m - truth) < error;
        CHECK_NEAR(m, truth, 4 * error);
    }
    CHECK(inside >= 8); /* of 20, strongly correlated */
    atomdl_diffusion fit;
    CHECK(atomdl_msd_fit(&fit, &msd, 10) == ATOMDL_OK);
    CHECK_NEAR(fit.diffusion, D, 0.1 * D); /* the demand */
    CHECK_NEAR(fit.diffusion, D, 3 * fit.error);
    CHECK_NEAR(fit.noise, noise * noise, 0.03);
}

static const double HEX[4] = {3.153, 0, -1.5765, 2.7306}; /* 120 degrees */

void test_movie_hops(void)
{
    static const int STEP[6][2] = {{1, 0}, {1, 1}, {0, 1}, {-1, 0}, {-1, -1},
                                   {0, -1}};
    atomdl_rng rng = atomdl_rng_seed(4);
    atomdl_hops hops;
    double gamma = 0.08, a2 = 3.153 * 3.153;
    int moved = 0;
    memset(&hops, 0, sizeof hops);
    double xy[2 * 400];
    uint32_t frame[400];
    int n;
    for (int k = 0; k < 60; k++) {
        int u = 0, v = 0;
        for (int i = n = 0; i < 400; i++) {
            if (uniform(&rng) < gamma) {
                const int *s = STEP[atomdl_rng_below(&rng, 6)];
                u += s[0];
                v += s[1];
                moved++;
            }
            if (uniform(&rng) < 0.05) continue;
            frame[n] = (uint32_t)i;
            xy[2 * n] = u * HEX[0] + v * HEX[2] + 0.3 * normal(&rng);
            xy[2 * n++ + 1] = u * HEX[1] + v * HEX[3] + 0.3 * normal(&rng);
        }
        CHECK(atomdl_hops_add(&hops, frame, xy, n, HEX) == ATOMDL_OK);
    }
    atomdl_hop_rate rate = atomdl_hops_rate(&hops, HEX);
    CHECK_NEAR(rate.rate, gamma, 3 * rate.rate_error);
    CHECK(rate.rate_error < 0.03 * gamma && hops.far < 5);
    CHECK_NEAR(rate.diffusion, gamma * a2 / 4, 0.1 * gamma * a2 / 4);
    for (int k = 0; k < 6; k++) /* each direction a sixth: 300 of 1900 */
        CHECK_NEAR(hops.count[2 + STEP[k][1]][2 + STEP[k][0]], moved / 6.0,
                   0.2 * moved / 6);
    int ij[2];
    for (int k = 0; k < 6; k++) {
        double r[2], x = STEP[k][0] * HEX[0] + STEP[k][1] * HEX[2] + 0.6;
        double y = STEP[k][0] * HEX[1] + STEP[k][1] * HEX[3] - 0.7;
        CHECK(atomdl_hop_fold(ij, r, x, y, HEX) == 1);
        CHECK(ij[0] == STEP[k][0] && ij[1] == STEP[k][1]);
        CHECK_NEAR(r[0], 0.6, 1e-12);
        CHECK_NEAR(r[1], -0.7, 1e-12);
    }
    CHECK(atomdl_hop_fold(ij, NULL, 3 * HEX[0] + HEX[2], HEX[3], HEX) == 3);
    CHECK(atomdl_hop_fold(ij, NULL, 1, 1, (double[4]){1, 0, 2, 0}) == -1);
    CHECK(atomdl_hop_fold(ij, NULL, 2, 1, (double[4]){1, 0, 0, 1}) == 3);
    CHECK(atomdl_hop_fold(ij, NULL, (double)NAN, 1, HEX) == -1);
}

void test_movie_dwells(void)
{
    static const int32_t STATE[12] = {-1, 2, 2, -1, 2, 0, 0, 1, -1, 1, -1, -1};
    static const atomdl_dwell WANT[3] = {{2, 1, 4, 1}, {0, 5, 2, 0},
                                         {1, 7, 3, 1}};
    atomdl_dwell dwell[12];
    int n = atomdl_dwells(dwell, STATE, 12);
    CHECK(n == 3);
    for (int i = 0; i < 3 && n == 3; i++)
        CHECK(dwell[i].state == WANT[i].state && dwell[i].first == WANT[i].first
              && dwell[i].frames == WANT[i].frames
              && dwell[i].censored == WANT[i].censored);
    CHECK(atomdl_dwells(dwell, STATE, 1) == 0);
    CHECK(atomdl_dwells(dwell, STATE, 0) == 0);
    CHECK(atomdl_dwells(dwell, STATE + 1, 1) == 1 && dwell[0].censored);
}

/* ---------- Drift --------------------------------------------------------- */

/* honeycomb atoms of a 60 x 60 field, moved by m r + t */
static int honeycomb(double *xy, const double m[4], double tx, double ty,
                     atomdl_rng *rng, double noise)
{
    static const double A[4] = {2.46, 0, -1.23, 2.13042};
    int n = 0;
    for (int j = -30; j < 60; j++)
        for (int i = -30; i < 60; i++)
            for (int s = 0; s < 2; s++) {
                double u = i + s * 2 / 3.0, v = j + s / 3.0;
                double x = u * A[0] + v * A[2], y = u * A[1] + v * A[3];
                double p = m[0] * x + m[1] * y + tx, q = m[2] * x + m[3] * y;
                q += ty;
                if (p < 0 || q < 0 || p > 60 || q > 60) continue;
                if (uniform(rng) < 0.05) continue; /* not detected */
                xy[2 * n] = p + noise * normal(rng);
                xy[2 * n++ + 1] = q + noise * normal(rng);
            }
    return n;
}

void test_movie_drift(void)
{
    static const double A[4] = {2.46, 0, -1.23, 2.13042}, I[4] = {1, 0, 0, 1};
    static const double M[4] = {1.004, 0.002, -0.001, 0.997};
    static double a[4000], b[4000], da[20], db[20];
    static const double SHIFT[6][2] = {{0, 0}, {0.3, -0.2}, {1.23, 0.9},
                                       {2.46, 0}, {-3.1, 3.9}, {0.1, 5.2}};
    atomdl_rng rng = atomdl_rng_seed(5);
    for (int i = 0; i < 20; i++) da[i] = 10 + 40 * uniform(&rng);
    atomdl_drift d;
    int na;
    for (int k = 0; k < 6; k++) {
        na = honeycomb(a, I, 0.4, 0.3, &rng, 0.05);
        int nb =
            honeycomb(b, I, 0.4 + SHIFT[k][0], 0.3 + SHIFT[k][1], &rng, 0.05);
        for (int i = 0; i < 20; i++)
            db[i] = da[i] + SHIFT[k][i % 2] + 0.05 * normal(&rng);
        db[0] += 7; /* one hops away, one is lost */
        CHECK(!atomdl_drift_find(&d, MARKS(a, na, da, 10), MARKS(b, nb, db, 9),
                                 HOW(A, 0, 0, 0), fresh()));
        CHECK(d.known == 8 && d.pairs > 1000 && d.coherence > 0.3);
        CHECK_NEAR(d.shift[0], SHIFT[k][0], 4 * d.error[0]);
        CHECK_NEAR(d.shift[1], SHIFT[k][1], 4 * d.error[1]);
        CHECK_NEAR(d.rms, 0.1, 0.01); /* two errors in two axes */
        /* no defects: the prior decides, so that a shift by one lattice
           vector is not taken for rest */
        CHECK(!atomdl_drift_find(&d, MARKS(a, na, da, 0), MARKS(b, nb, db, 0),
                                 HOW(A, SHIFT[k][0] + 0.5, SHIFT[k][1] - 0.6,
                                     0), fresh()));
        CHECK_NEAR(d.shift[0], SHIFT[k][0], 0.02);
        CHECK_NEAR(d.shift[1], SHIFT[k][1], 0.02);
    }
    /* two that stay outweigh three that agree on a leap */
    for (int i = 0; i < 10; i++)
        db[i] = da[i % 8] + (i > 3 && !(i & 1) ? 4.92 : 0);
    CHECK(!atomdl_drift_find(&d, MARKS(a, na, da, 4), MARKS(a, na, db, 5),
                             HOW(A, 0, 0, 0), fresh()));
    CHECK(d.known == 2);
    CHECK_NEAR(d.shift[0], 0, 0.02);
    na = honeycomb(a, I, 0.4, 0.3, &rng, 0.02);
    int nb = honeycomb(b, M, 1.5, -0.4, &rng, 0.02);
    CHECK(!atomdl_drift_find(&d, MARKS(a, na, NULL, 0), MARKS(b, nb, NULL, 0),
                             HOW(A, 1, -0.5, 1), fresh()));
    for (int k = 0; k < 4; k++) CHECK_NEAR(d.m[k], M[k], 2e-4);
    CHECK(atomdl_drift_find(&d, MARKS(a, 0, NULL, 0), MARKS(b, nb, NULL, 0),
                            HOW(A, 0, 0, 0), fresh()) == ATOMDL_EARG);
    CHECK(atomdl_drift_find(&d, MARKS(a, 2, NULL, 0), MARKS(a, 2, NULL, 0),
                            HOW(A, 0, 0, 1), fresh()) == ATOMDL_EARG);
    CHECK(!atomdl_drift_find(&d, MARKS(a, 2, NULL, 0), MARKS(a, 2, NULL, 0),
                             HOW(A, 0, 0, 0), fresh()));
    a[1] = (double)NAN;
    CHECK(atomdl_drift_find(&d, MARKS(a, na, NULL, 0), MARKS(b, nb, NULL, 0),
                            HOW(A, 0, 0, 0), fresh()) == ATOMDL_ENAN);
}

/* ---------- Sub-images ---------------------------------------------------- */

enum { FIELD = 200, SIDE = 21, PIECES = 48 };

/* adds a Gaussian */
static void spot(atomdl_image *image, double x, double y, double height,
                 double s)
{
    for (int j = 0; j < image->h; j++)
        for (int i = 0; i < image->w; i++) {
            double r2 = square(i - x) + square(j - y);
            if (r2 < 25 * s * s)
                image->px[j * image->w + i] +=
                    (float)(height * atomdl_exp(-r2 / (2 * s * s)));
        }
}

void test_movie_orient(void)
{
    static float px[FIELD * FIELD], x[PIECES * SIDE * SIDE];
    static float noise[FIELD * FIELD];
    atomdl_image image = {FIELD, FIELD, 1, px};
    atomdl_cutting how = {SIDE, ATOMDL_CUBIC, 0.3, 6, 0};
    atomdl_rng rng = atomdl_rng_seed(6);
    double xy[2 * PIECES];
    uint8_t op[PIECES];
    int turn[PIECES], agree;
    for (int fold = 3; fold <= 6; fold += 3) {
        memset(px, 0, sizeof px);
        how.fold = fold;
        for (int i = 0; i < PIECES; i++) {
            turn[i] = (int)atomdl_rng_below(&rng, (uint32_t)fold);
            xy[2 * i] = 14 + 24 * (i % 8) + 0.3 * normal(&rng);
            xy[2 * i + 1] = 14 + 24 * (i / 8) + 0.3 * normal(&rng);
            spot(&image, xy[2 * i], xy[2 * i + 1], -1, 2);
            for (int k = 0; k < 6; k++) {
                double t =
                    0.3 + 6.283185307179586 * (k / 6.0 + turn[i] * 1.0 / fold);
                spot(&image, xy[2 * i] + 6 * atomdl_cos(t),
                     xy[2 * i + 1] + 6 * atomdl_sin(t), k ? 1 : 1.6, 1.5);
            }
        }
        atomdl_rng_normal(&rng, noise, FIELD * FIELD);
        for (int i = 0; i < FIELD * FIELD; i++) px[i] += 0.15f * noise[i];
        CHECK(!atomdl_cut(x, &image, 0, xy, PIECES, NULL, &how));
        CHECK(!atomdl_orient(op, x, PIECES, &how, 5, fresh()));
        for (int i = agree = 0; i < PIECES; i++)
            agree += (op[i] + fold - turn[i]) % fold
                     == (op[0] + fold - turn[0]) % fold;
        CHECK(agree == PIECES);
        CHECK(!atomdl_cut(x, &image, 0, xy, PIECES, op, &how));
        for (int i = 1; i < PIECES; i++) { /* now they are alike */
            double same = 0, self = 0;
            for (int k = 0; k < SIDE * SIDE; k++) {
                same += (double)(x[k] * x[i * SIDE * SIDE + k]);
                self += (double)(x[k] * x[k]);
            }
            CHECK(same > 0.7 * self);
        }
    }
}

/* a hexagonal lattice of period 12 px and two defects, shifted, with noise */
static void lattice_image(atomdl_image *image, double dx, double dy,
                          atomdl_rng *rng, double noise)
{
    int k = image->w * image->h;
    memset(image->px, 0, (size_t)k * sizeof *image->px);
    for (int j = -2; j < 24; j++)
        for (int i = -14; i < 24; i++) {
            double x = 12 * i + 6 * j + dx, y = 10.3923 * j + dy;
            int lost = i == 3 && j == 9, heavy = i == 5 && j == 4;
            if (x > -12 && x < image->w + 12 && !lost)
                spot(image, x, y, heavy ? 1.7 : 1, 2.2);
        }
    float z;
    for (int i = 0; i < k; i++) {
        atomdl_rng_normal(rng, &z, 1);
        image->px[i] += (float)noise * z + 0.3f;
    }
}

void test_movie_phase(void)
{
    static float pa[150 * 139], pb[150 * 139];
    static const double SHIFT[4][2] = {{0, 0}, {0.4, -0.3}, {2.7, 1.6},
                                       {12.5, 0.2}};
    atomdl_image a = {150, 139, 1, pa}, b = {150, 139, 1, pb};
    atomdl_rng rng = atomdl_rng_seed(12);
    lattice_image(&a, 0, 0, &rng, 0.1);
    double shift[2], prior[2], height;
    for (int k = 0; k < 4; k++) {
        lattice_image(&b, SHIFT[k][0], SHIFT[k][1], &rng, 0.1);
        prior[0] = SHIFT[k][0] > 6 ? 11 : 0.5; /* last frame's velocity */
        prior[1] = 0.5;
        CHECK(!atomdl_phase_shift(shift, &height, &a, &b,
                                  PHASE(prior[0], prior[1], 5.5),
                                  fresh()));
        CHECK_NEAR(shift[0], SHIFT[k][0], 0.15); /* px */
        CHECK_NEAR(shift[1], SHIFT[k][1], 0.15);
        CHECK(height > 0.2 && height < 1);
    }
    CHECK(!atomdl_phase_shift(shift, &height, &a, &a,
                              PHASE(0, 0, 20), fresh()));
    CHECK_NEAR(shift[0], 0, 1e-4);
    CHECK_NEAR(height, 1, 1e-4);
    memset(pb, 0, sizeof pb);
    CHECK(!atomdl_phase_shift(shift, &height, &b, &b,
                              PHASE(0, 0, 3), fresh()));
    CHECK(height == 0);
    b.h--;
    CHECK(atomdl_phase_shift(shift, NULL, &a, &b,
                             PHASE(0, 0, 3), fresh())
          == ATOMDL_ESHAPE);
    b.h++;
    pb[7] = (float)NAN;
    CHECK(atomdl_phase_shift(shift, NULL, &a, &b,
                             PHASE(0, 0, 3), fresh())
          == ATOMDL_ENAN);
}

void test_movie_first_frame(void)
{
    static float px[151 * 139], smooth[151 * 139];
    static uint8_t label[151 * 139];
    atomdl_image image = {151, 139, 1, px};
    atomdl_subtraction how = {0.75 / 10.39, 0.2, 0.3, 0.75, 0};
    atomdl_rng rng = atomdl_rng_seed(13);
    lattice_image(&image, 0.3, 0.2, &rng, 0.05);
    int j, hit[3], stray;
    for (int mode = 0; mode < 2; mode++) {
        how.sigmas = mode ? 4 : 0;
        CHECK(!atomdl_first_frame(label, smooth, &image, 0, &how, fresh()));
        memset(hit, 0, sizeof hit);
        for (j = 15, stray = 0; j < 124; j++) /* reflection spoils the edges */
            for (int i = 15; i < 136; i++) {
                double x = i - 0.3, y = j - 0.2;
                int l = label[j * 151 + i];
                int dip = square(x - 90) + square(y - 93.53) < 64;
                int bump = square(x - 84) + square(y - 41.57) < 64;
                if (!l) continue;
                if (l == (dip ? 1 : bump ? 2 : 0)) hit[l]++;
                else stray++;
            }
        CHECK(hit[1] > 20 && hit[2] > 20 && stray == 0);
    }
    how.cutoff = 0;
    CHECK(atomdl_first_frame(label, NULL, &image, 0, &how, fresh())
          == ATOMDL_EARG);
    how.cutoff = 0.1;
    memset(px, 0, sizeof px);
    CHECK(!atomdl_first_frame(label, NULL, &image, 0, &how, fresh()));
}

/* every operation of the group turns a pattern into itself, turned back */
void test_movie_cut(void)
{
    static float px[64 * 64], x[SIDE * SIDE], y[SIDE * SIDE];
    atomdl_image image = {64, 64, 1, px};
    atomdl_cutting how = {SIDE, ATOMDL_CUBIC, 0, 4, 1};
    double xy[2] = {30, 33};
    for (int i = 0; i < 64 * 64; i++) px[i] = (float)number((uint32_t)i);
    CHECK(!atomdl_cut(x, &image, 0, xy, 1, NULL, &how));
    for (int j = 0; j < SIDE; j++)
        CHECK_BYTES(x + j * SIDE, px + (j + 23) * 64 + 20, SIDE * sizeof *x);
    for (uint8_t op = 0; op < 8; op++) {
        CHECK(!atomdl_cut(y, &image, 0, xy, 1, &op, &how));
        for (int j = -10; j <= 10; j++)
            for (int i = -10; i <= 10; i++) {
                int u = i, v = op >= 4 ? -j : j;
                for (int k = 0; k < op % 4; k++) { /* a quarter turn, x to y */
                    int w = u;
                    u = -v;
                    v = w;
                }
                CHECK_NEAR(y[(j + 10) * SIDE + i + 10],
                           x[(v + 10) * SIDE + u + 10], 1e-6);
            }
    }
    uint8_t op = 8;
    CHECK(atomdl_cut(y, &image, 0, xy, 1, &op, &how) == ATOMDL_EARG);
    CHECK(atomdl_cut(y, &image, 1, xy, 1, NULL, &how) == ATOMDL_EARG);
    CHECK(atomdl_cut(y, &image, 0, xy, 0, NULL, &how) == ATOMDL_OK);
    how.fold = 5;
    CHECK(atomdl_cut(y, &image, 0, xy, 1, NULL, &how) == ATOMDL_EARG);
    how.fold = 1;
    xy[0] = (double)NAN;
    CHECK(atomdl_cut(y, &image, 0, xy, 1, NULL, &how) == ATOMDL_ENAN);
}

/* ---------- Components and classes ---------------------------------------- */

static void wide(float *x, int n, int d, uint32_t start)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < d; j++) {
            double v = number(start + (uint32_t)(i * d + j))
                       + number(start + (uint32_t)(i * d));
            x[i * d + j] = (float)(v * atomdl_pow(2, 3 - j / 2));
        }
}

static void blobs(double *x, int n, int d, int k, uint32_t start)
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < d; j++)
            x[i * d + j] = 4 * number(start + (uint32_t)(i % k * d + j))
                           + number(start + 1000 + (uint32_t)(i * d + j));
}

static void check_pca(int n, int d, const double *value, const double *vector)
{
    static float x[1200];
    static double y[1200];
    atomdl_arena *arena = fresh();
    double total = 0;
    wide(x, n, d, 50);
    atomdl_pca pca;
    CHECK(!atomdl_pca_fit(&pca, x, n, d, PCA(1, 8), arena) && pca.k == 8);
    int i;
    for (i = 0; i < 8; i++)
        CHECK_NEAR(pca.value[i], value[i], 1e-10 * value[0]);
    double dot;
    int j;
    for (i = 0; i < 3; i++) {
        for (j = 0, dot = 0; j < d; j++)
            dot += pca.vector[i * d + j] * vector[i * d + j];
        CHECK_NEAR(fabs(dot), 1, 1e-10);
    }
    for (i = 0; i < 8; i++)
        for (int k = 0; k <= i; k++) {
            for (j = 0, dot = 0; j < d; j++)
                dot += pca.vector[i * d + j] * pca.vector[k * d + j];
            CHECK_NEAR(dot, i == k, 1e-12);
        }
    CHECK(!atomdl_pca_project(y, &pca, x, n, arena));
    double s2;
    for (int k = 0; k < 8; k++) { /* the coordinates have those variances */
        for (i = 0, s2 = 0; i < n; i++) s2 += square(y[i * 8 + k]);
        CHECK_NEAR(s2 / (n - 1), pca.value[k], 1e-9 * pca.total);
    }
    CHECK(!atomdl_pca_fit(&pca, x, n, d, PCA(0.95, 8),
                          arena));
    for (i = 0; i < pca.k; i++) total += value[i];
    CHECK(total >= 0.95 * pca.total
          && total - value[pca.k - 1] < 0.95 * pca.total);
}

void test_movie_pca(void)
{
    static float x[300 * 40];
    check_pca(40, 12, PCA_TALL_VALUE, PCA_TALL_VECTOR);
    check_pca(9, 30, PCA_FLAT_VALUE, PCA_FLAT_VECTOR);
    memset(x, 0, sizeof x); /* nothing varies: still an orthonormal answer */
    atomdl_pca pca;
    CHECK(!atomdl_pca_fit(&pca, x, 5, 3, PCA(1, 8),
                          fresh()));
    CHECK(pca.total == 0 && pca.k == 1 && pca.value[0] == 0);
    CHECK_NEAR(square(pca.vector[0]) + square(pca.vector[1])
               + square(pca.vector[2]), 1, 1e-12);
    for (int i = 0; i < 300; i++)
        x[i * 40 + i % 40] = 1; /* equal eigenvalues */
    atomdl_arena *arena = fresh();
    CHECK(!atomdl_pca_fit(&pca, x, 300, 40, PCA(1, 39),
                          arena) && pca.k == 39);
    for (int i = 0; i < 39 * 39; i++) {
        double dot = 0;
        for (int j = 0; j < 40; j++)
            dot += pca.vector[i / 39 * 40 + j] * pca.vector[i % 39 * 40 + j];
        CHECK_NEAR(dot, i / 39 == i % 39, 1e-11);
    }
    CHECK(atomdl_pca_fit(&pca, x, 1, 3, PCA(1, 8), arena) == ATOMDL_EARG);
    CHECK(atomdl_pca_fit(&pca, x, 5, 3, PCA(0, 8), arena) == ATOMDL_EARG);
    CHECK(!atomdl_pca_fit(&pca, x, 2, 1, PCA(1, 8), arena) && pca.k == 1);
    x[3] = (float)NAN;
    CHECK(atomdl_pca_fit(&pca, x, 5, 3, PCA(1, 8), arena) == ATOMDL_ENAN);
    double y[15];
    CHECK(!atomdl_pca_project(y, &pca, x + 4, 5, arena));
}

void test_movie_kmeans(void)
{
    double x[150 * 4];
    atomdl_rng rng = atomdl_rng_seed(7);
    blobs(x, 150, 4, 5, 7);
    double centre[32 * 4], inertia;
    int label[150];
    CHECK(!atomdl_kmeans(label, centre, &inertia, ROWS(x, 150, 4),
                         &(atomdl_kmeans_how){5, 10, rng, NULL}, fresh()));
    CHECK_NEAR(inertia, KMEANS_INERTIA[0], 1e-10 * inertia);
    double best;
    int i;
    for (i = 0, best = 0; i < 600; i++)
        best += square(x[i] - centre[label[i / 4] * 4 + i % 4]);
    CHECK_NEAR(best, inertia, 1e-9);
    /* no gaps between the classes: each point is in that of its nearest */
    for (i = 0; i < 600; i++) x[i] = (i * 7919 + i * i * 31 % 977) % 1009;
    CHECK(!atomdl_kmeans(label, centre, &inertia, ROWS(x, 150, 4),
                         &(atomdl_kmeans_how){20, 3, rng, NULL}, fresh()));
    for (i = 0; i < 150 * 20; i++) {
        double own = 0, other = 0;
        for (int j = 0; j < 4; j++) {
            own += square(x[i / 20 * 4 + j] - centre[label[i / 20] * 4 + j]);
            other += square(x[i / 20 * 4 + j] - centre[i % 20 * 4 + j]);
        }
        CHECK(own <= other * (1 + 1e-12));
    }
    for (i = 20; i < 150; i++) memcpy(x + i * 4, x + i % 20 * 4, 4 * sizeof *x);
    /* 20 different points, 30 classes */
    CHECK(!atomdl_kmeans(label, centre, &inertia, ROWS(x, 150, 4),
                         &(atomdl_kmeans_how){30, 3, rng, NULL}, fresh()));
    CHECK(inertia == 0);
    CHECK(!atomdl_kmeans(label, centre, &inertia, ROWS(x, 1, 4),
                         &(atomdl_kmeans_how){1, 1, rng, NULL}, fresh()));
    CHECK(inertia == 0 && label[0] == 0 && centre[3] == x[3]);
    CHECK(atomdl_kmeans(label, centre, &inertia, ROWS(x, 3, 4),
                        &(atomdl_kmeans_how){4, 1, rng, NULL}, fresh())
          == ATOMDL_EARG);
    CHECK(atomdl_kmeans(label, centre, &inertia, ROWS(x, 0, 4),
                        &(atomdl_kmeans_how){1, 1, rng, NULL}, fresh())
          == ATOMDL_EARG);
    x[5] = (double)INFINITY;
    CHECK(atomdl_kmeans(label, centre, &inertia, ROWS(x, 3, 4),
                        &(atomdl_kmeans_how){2, 1, rng, NULL}, fresh())
          == ATOMDL_ENAN);
    x[5] = 1e200;
    CHECK(atomdl_kmeans(label, centre, &inertia, ROWS(x, 3, 4),
                        &(atomdl_kmeans_how){2, 1, rng, NULL}, fresh())
          == ATOMDL_EARG);
}

void test_movie_gmm(void)
{
    static double x[150 * 4], p[150 * 5], density[150 * 5];
    atomdl_rng rng = atomdl_rng_seed(7);
    blobs(x, 150, 4, 5, 7);
    int first[150], i;
    for (i = 0; i < 150; i++) first[i] = i % 5;
    atomdl_gmm g;
    double log_sum;
    int label[150];
    for (int full = 1; full >= 0; full--) {
        const double *want = GMM + (full ? 0 : 7);
        atomdl_arena *arena = fresh();
        CHECK(!atomdl_gmm_fit(&g, ROWS(x, 150, 4), first,
                              &(atomdl_gmm_how){5, full, 1e-6, 1e-12, 1000},
                              arena));
        CHECK_NEAR(g.mean_log, want[0], 1e-6); /* where the rounds end */
        CHECK_NEAR(g.bic, want[1], 1e-3);
        for (int c = 0; c < 5; c++) CHECK_NEAR(g.weight[c], want[2 + c], 1e-4);
        CHECK(!atomdl_gmm_classify(density, p, label, &g, ROWS(x, 150, g.d),
                                   arena));
        for (i = 0, log_sum = 0; i < 150; i++) {
            double s = 0, q = 0;
            for (int c = 0; c < 5; c++) {
                s += g.weight[c] * exp(density[i * 5 + c]);
                q += p[i * 5 + c];
                CHECK(p[i * 5 + c] <= p[i * 5 + label[i]]);
            }
            CHECK_NEAR(q, 1, 1e-14);
            log_sum += log(s);
        }
        CHECK_NEAR(log_sum / 150, g.mean_log, 1e-12);
    }
    double bic[6];
    for (int k = 1; k <= 6; k++) { /* BIC finds the three kinds */
        blobs(x, 150, 2, 3, 440);
        double centre[24], inertia;
        CHECK(!atomdl_kmeans(label, centre, &inertia, ROWS(x, 150, 2),
                             &(atomdl_kmeans_how){k, 10, rng, NULL}, fresh()));
        CHECK(!atomdl_gmm_fit(&g, ROWS(x, 150, 2), label,
                              &(atomdl_gmm_how){k, 0, 1e-6, 1e-6, 300},
                              fresh()));
        bic[k - 1] = g.bic;
    }
    for (int k = 1; k <= 6; k++) CHECK(k == 3 || bic[k - 1] > bic[2]);
    for (i = 0; i < 150 * 4; i++) x[i] = 2; /* one point, many times */
    CHECK(!atomdl_gmm_fit(&g, ROWS(x, 150, 4), first,
                          &(atomdl_gmm_how){5, 1, 1e-6, 1e-3, 10}, fresh()));
    label[0] = 0;
    CHECK(!atomdl_gmm_fit(&g, ROWS(x, 1, 4), label,
                          &(atomdl_gmm_how){1, 1, 1e-6, 1e-3, 10}, fresh()));
    CHECK(atomdl_gmm_fit(&g, ROWS(x, 150, 4), first,
                         &(atomdl_gmm_how){4, 1, 1e-6, 1e-3, 10}, fresh())
          == ATOMDL_EARG);
    CHECK(atomdl_gmm_fit(&g, ROWS(x, 150, 4), first,
                         &(atomdl_gmm_how){5, 1, 0, 1e-3, 10}, fresh())
          == ATOMDL_EARG);
    x[7] = (double)NAN;
    CHECK(atomdl_gmm_fit(&g, ROWS(x, 150, 4), first,
                         &(atomdl_gmm_how){5, 1, 1e-6, 1e-3, 10}, fresh())
          == ATOMDL_ENAN);
}

void test_movie_ward(void)
{
    static double x[60 * 20];
    blobs(x, 60, 3, 4, 11);
    atomdl_merge merge[60];
    CHECK(!atomdl_ward(merge, ROWS(x, 60, 3), NULL, fresh()));
    for (int i = 0; i < 59; i++) {
        CHECK_NEAR(merge[i].height, WARD[i], 1e-12 * WARD[58]);
        CHECK(merge[i].a < merge[i].b && merge[i].b < (uint32_t)(60 + i));
    }
    CHECK(merge[58].size == 60);
    int label[60];
    CHECK(!atomdl_ward_labels(label, merge, 60, 4, fresh()));
    for (int i = 0; i < 60; i++) CHECK(label[i] == i % 4);
    for (int k = 1; k <= 60; k += 59) {
        CHECK(!atomdl_ward_labels(label, merge, 60, k, fresh()));
        CHECK(label[59] == k - 1);
    }
    for (int i = 0; i < 60; i++) x[i] = i % 2; /* ties everywhere */
    CHECK(!atomdl_ward(merge, ROWS(x, 60, 1), NULL, fresh()));
    CHECK(merge[57].height == 0);
    CHECK_NEAR(merge[58].height, sqrt(30), 1e-13);
    CHECK(!atomdl_ward(merge, ROWS(x, 1, 1), NULL, fresh()));
    CHECK(atomdl_ward(merge, ROWS(x, 0, 1), NULL, fresh()) == ATOMDL_EARG);
    CHECK(atomdl_ward_labels(label, merge, 5, 6, fresh()) == ATOMDL_EARG);
}

void test_movie_concentration(void)
{
    /* exact 68.27 % limits of a Poisson mean */
    static const double EXACT[5][3] = {{0, 0, 1.841}, {1, 0.173, 3.300},
                                       {3, 1.367, 5.918}, {10, 6.891, 14.267},
                                       {100, 90.02, 111.03}};
    for (int i = 0; i < 5; i++) {
        atomdl_interval c = atomdl_concentration((uint32_t)EXACT[i][0], 2);
        CHECK_NEAR(c.value, EXACT[i][0] / 2, 0);
        CHECK_NEAR(c.low, EXACT[i][1] / 2, 0.05);
        CHECK_NEAR(c.high, EXACT[i][2] / 2, 0.02 * c.high);
    }
}

/* ---------- Markov chains ------------------------------------------------- */

typedef double matrix[ATOMDL_MARKOV][ATOMDL_MARKOV];

static int draw(const double *p, int n, atomdl_rng *rng)
{
    double u = uniform(rng);
    int i;
    for (i = 0; i + 1 < n && u >= p[i]; i++) u -= p[i];
    return i;
}

static const matrix TRUTH = {{0.95, 0.04, 0.01}, {0.03, 0.9, 0.07},
                             {0, 0.05, 0.95}};

static void chain(int32_t *state, int n, double p[][ATOMDL_MARKOV], int states,
                  atomdl_rng *rng)
{
    for (int t = 0; t < n; t++)
        state[t] = t ? draw(p[state[t - 1]], states, rng)
                     : (int32_t)atomdl_rng_below(rng, (uint32_t)states);
}

void test_movie_markov(void)
{
    static atomdl_counts counts;
    static int32_t state[20000];
    atomdl_rng rng = atomdl_rng_seed(8);
    matrix p;
    memcpy(p, TRUTH, sizeof p);
    memset(&counts, 0, sizeof counts);
    counts.states = 3;
    chain(state, 20000, p, 3, &rng);
    for (int t = 0; t < 20000; t++)
        if (uniform(&rng) < 0.05) state[t] = -1;
    CHECK(!atomdl_counts_add(&counts, state, 20000));
    atomdl_markov m;
    CHECK(!atomdl_markov_solve(&m, &counts, 0, NULL));
    for (int i = 0; i < 3; i++) {
        double flow = 0;
        for (int j = 0; j < 3; j++) {
            CHECK_NEAR(m.p[i][j], p[i][j], 3.5 * m.sd[i][j] + 1e-12);
            CHECK(m.sd[i][j] < 0.01);
            flow += m.stationary[j] * m.p[j][i];
        }
        CHECK_NEAR(flow, m.stationary[i], 1e-13);
        CHECK_NEAR(m.lifetime[i], 1 / (1 - p[i][i]), 4 * m.lifetime_sd[i]);
    }
    CHECK(m.p[2][0] == 0 && m.freedom > 0 && m.p_markov > 0.01);
    /* a state that lasts three frames at least is no Markov chain */
    memset(&counts, 0, sizeof counts);
    counts.states = 2;
    for (int t = 0; t < 600; t++) state[t] = t / 3 % 2;
    CHECK(!atomdl_counts_add(&counts, state, 600));
    CHECK(!atomdl_markov_solve(&m, &counts, 0.5, NULL));
    CHECK(m.freedom == 2 && m.p_markov < 1e-6);
    CHECK_NEAR(m.p[0][1], (100 + 0.5) / (300 + 1), 1e-12);
}

/* ---------- Hidden Markov models ------------------------------------------ */

/* all paths of n frames: the best, its probability, the posteriors, the sum */
static double enumerate(const atomdl_hmm *h, const double *logb, int n,
                        int32_t *path, double *best, double *posterior)
{
    double all = 0;
    int codes = 1, t;
    for (t = 0; t < n; t++) codes *= h->states;
    memset(posterior, 0, (size_t)(n * h->states) * sizeof *posterior);
    int32_t s[6];
    double p;
    int code;
    for (*best = -1, code = 0; code < codes; code++) {
        int c = code;
        for (t = n - 1; t >= 0; t--, c /= h->states) s[t] = c % h->states;
        for (t = 0, p = 1; t < n; t++)
            p *= (t ? h->p[s[t - 1]][s[t]] : h->start[s[0]])
                 * exp(logb[t * h->states + s[t]]);
        all += p;
        for (t = 0; t < n; t++) posterior[t * h->states + s[t]] += p;
        if (p <= *best) continue;
        *best = p;
        memcpy(path, s, (size_t)n * sizeof *s);
    }
    for (t = 0; t < n * h->states; t++) posterior[t] /= all;
    return all;
}

void test_movie_hmm_exact(void)
{
    atomdl_rng rng = atomdl_rng_seed(9);
    atomdl_hmm h;
    double logb[18], want[18], got[18], best, score;
    int32_t path[6], found[6];
    int n, lengths[3];
    for (int round = 0; round < 200; round++) {
        memset(&h, 0, sizeof h);
        h.states = 1 + (int)atomdl_rng_below(&rng, 3);
        n = 1 + (int)atomdl_rng_below(&rng, 6);
        for (int i = -1; i < h.states; i++) {
            double *row = i < 0 ? h.start : h.p[i], sum = 0;
            for (int j = 0; j < h.states; j++) { /* with structural zeros */
                row[j] = j != i && uniform(&rng) < 0.2 ? 0 : uniform(&rng);
                sum += row[j];
            }
            if (sum == 0) row[0] = sum = 1;
            for (int j = 0; j < h.states; j++) row[j] /= sum;
        }
        for (int t = 0; t < n * h.states; t++) {
            logb[t] = 5 * normal(&rng);
            if (t % h.states && uniform(&rng) < 0.1) logb[t] = -HUGE_VAL;
        }
        double all = enumerate(&h, logb, n, path, &best, want);
        lengths[0] = n;
        if (!(all > 0)) {
            CHECK(atomdl_hmm_viterbi(found, NULL, &h,
                                     TRACES_OF(logb, lengths, 1), fresh())
                  == ATOMDL_EARG);
            CHECK(atomdl_hmm_posterior(got, NULL, &h,
                                       TRACES_OF(logb, lengths, 1), fresh())
                  == ATOMDL_EARG);
            continue;
        }
        CHECK(!atomdl_hmm_viterbi(found, &score, &h,
                                  TRACES_OF(logb, lengths, 1), fresh()));
        CHECK_BYTES(found, path, (size_t)n * sizeof *path);
        CHECK_NEAR(score, log(best), 1e-11);
        CHECK(!atomdl_hmm_posterior(got, &score, &h,
                                    TRACES_OF(logb, lengths, 1), fresh()));
        CHECK_NEAR(score, log(all), 1e-11);
        for (int t = 0; t < n * h.states; t++)
            CHECK_NEAR(got[t], want[t], 1e-13);
    }
    lengths[0] = 2; /* traces do not touch one another, one may be empty */
    lengths[1] = 0;
    lengths[2] = n - 2;
    if (n > 2) {
        enumerate(&h, logb, 2, path, &best, want);
        enumerate(&h, logb + 2 * h.states, n - 2, path + 2, &best,
                  want + 2 * h.states);
        CHECK(!atomdl_hmm_posterior(got, NULL, &h, TRACES_OF(logb, lengths, 3),
                                    fresh()));
        for (int t = 0; t < n * h.states; t++)
            CHECK_NEAR(got[t], want[t], 1e-13);
        CHECK(!atomdl_hmm_viterbi(found, NULL, &h, TRACES_OF(logb, lengths, 3),
                                  fresh()));
        CHECK_BYTES(found, path, (size_t)n * sizeof *path);
    }
    logb[0] = (double)NAN;
    CHECK(atomdl_hmm_viterbi(found, NULL, &h, TRACES_OF(logb, lengths, 1),
                             fresh())
          == ATOMDL_ENAN);
    h.start[0] += 1;
    CHECK(atomdl_hmm_viterbi(found, NULL, &h, TRACES_OF(logb, lengths, 1),
                             fresh())
          == ATOMDL_EARG);
}

enum { TRACES = 60, LONG = 100 };

/* METHOD E.4: 15 % of the labels wrong, 5 % missing; the model starts from a
   prior that is not the truth */
void test_movie_hmm_learn(void)
{
    static int32_t truth[TRACES * LONG], seen[TRACES * LONG];
    static int32_t path[TRACES * LONG];
    static double logb[TRACES * LONG * 3], posterior[TRACES * LONG * 3];
    atomdl_rng rng = atomdl_rng_seed(10);
    matrix p, confusion = {{0}}, prior = {{0}};
    double before = -HUGE_VAL, sure = 0, right[3] = {0}, all[3] = {0};
    int raw = 0, found = 0, n = 0;
    memcpy(p, TRUTH, sizeof p);
    atomdl_hmm h;
    memset(&h, 0, sizeof h);
    h.states = 3;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            h.start[j] = 1 / 3.0;
            h.p[i][j] = p[i][j] == 0 ? 0 : i == j ? 0.8 : 0.2;
            confusion[i][j] = i == j ? 0.95 * 0.85 : 0.95 * 0.075;
        }
    for (int i = 0; i < 3; i++) {
        double sum = h.p[i][0] + h.p[i][1] + h.p[i][2];
        for (int j = 0; j < 3; j++) prior[i][j] = 5 * (h.p[i][j] /= sum);
    }
    int length[TRACES];
    for (int i = 0; i < TRACES; i++) {
        chain(truth + n, LONG, p, 3, &rng);
        n += length[i] = LONG;
    }
    for (int t = 0; t < n; t++) {
        int other = (truth[t] + 1 + (int)atomdl_rng_below(&rng, 2)) % 3;
        seen[t] = uniform(&rng) < 0.15 ? other : truth[t];
        raw += seen[t] != truth[t];
        if (uniform(&rng) < 0.05) seen[t] = -1;
    }
    for (int t = 0; t < n; t++)
        for (int i = 0; i < 3; i++)
            logb[3 * t + i] = log(seen[t] < 0 ? 0.05
                                              : confusion[i][seen[t]]);
    double score;
    for (int i = 0; i < 5; i++) { /* the objective never falls */
        CHECK(!atomdl_hmm_learn(&h, &score, TRACES_OF(logb, length, TRACES),
                                &(atomdl_learning){NULL, 0, 3}, fresh()));
        CHECK(score > before - 1e-9);
        before = score;
    }
    CHECK(!atomdl_hmm_learn(&h, &score, TRACES_OF(logb, length, TRACES),
                            &(atomdl_learning){prior, 1e-6, 500}, fresh()));
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) {
            double visits = n / 3.0; /* and the noise costs a factor of two */
            CHECK_NEAR(h.p[i][j], p[i][j],
                       3 * 2 * sqrt(p[i][j] * (1 - p[i][j]) / visits));
        }
    CHECK(h.p[2][0] == 0);
    CHECK(!atomdl_hmm_viterbi(path, NULL, &h, TRACES_OF(logb, length, TRACES),
                              fresh()));
    CHECK(!atomdl_hmm_posterior(posterior, NULL, &h,
                                TRACES_OF(logb, length, TRACES), fresh()));
    for (int t = 0; t < n; t++) {
        sure = posterior[3 * t + path[t]];
        found += path[t] != truth[t];
        int b = sure < 0.7 ? 0 : sure < 0.95 ? 1 : 2;
        all[b] += 1;
        right[b] += path[t] == truth[t];
    }
    printf("  per frame %.4f wrong, Viterbi %.4f\n", raw / (double)n,
           found / (double)n);
    CHECK(raw > 0.13 * n && found < 0.5 * raw); /* the demand */
    CHECK(right[0] / all[0] < 0.75 && right[1] / all[1] > 0.7
          && right[1] / all[1] < 0.95 && right[2] / all[2] > 0.95);
}

/* ---------- Rotors -------------------------------------------------------- */

/* METHOD D.3: 72 frames, switches at 3-(4)-5, 8-9, 27-28, 55-56, 56-57, frame
   4 half a scan: the upper atoms before, the lower ones after the switch */
void test_movie_rotor(void)
{
    static const int SWITCH[5] = {5, 9, 28, 56, 57};
    static atomdl_rotor r[72];
    atomdl_rng rng = atomdl_rng_seed(11);
    double xy[6], phi = 14, worst = 0;
    int n = 0;
    for (int f = 0; f < 72; f++) {
        if (f == 4 || (n < 5 && n && SWITCH[n] == f)) phi += 60;
        n += f == 4 || (n < 5 && n && SWITCH[n] == f);
        for (int k = 0; k < 3; k++) {
            double t = (phi + 120 * k) * 3.141592653589793 / 180;
            if (f == 4 && sin(t) < 0) t -= 3.141592653589793 / 3;
            xy[2 * k] = 40 + 1.8 * cos(t) + 0.03 * normal(&rng);
            xy[2 * k + 1] = 50 + 1.8 * sin(t) + 0.03 * normal(&rng);
        }
        CHECK(!atomdl_rotor_measure(r + f, f == 40 ? NULL : xy, 3, 3, NULL));
        for (int k = 0; k < 3 && f != 4 && f != 40; k++)
            if (fabs(r[f].angle[k] - 60) > worst)
                worst = fabs(r[f].angle[k] - 60);
        if (f == 2) CHECK_NEAR(r[f].phi, 14, 2);
    }
    int found;
    atomdl_rotor_switches(r, 72, 3, &found);
    CHECK(n == 5 && found == 5 && worst < 5);
    for (int f = n = 0; f < 72; f++) {
        CHECK(r[f].flagged == (f == 4 || f == 40)); /* 40 was not seen */
        CHECK(r[f].switched == (n < 5 && SWITCH[n] == f));
        n += r[f].switched;
    }
    CHECK(!atomdl_rotor_measure(r, xy, 2, 3, NULL) && r[0].flagged);
    CHECK(atomdl_rotor_measure(r, xy, 3, 9, NULL) == ATOMDL_EARG);
    xy[0] = (double)NAN;
    CHECK(atomdl_rotor_measure(r, xy, 3, 3, NULL) == ATOMDL_ENAN);
}

/* ---------- Films --------------------------------------------------------- */

enum { LATTICE = 12, ROAMERS = 6, SHOTS = 60, LEAP_AT = 33 };

static const double SIDE_A = 3.18; /* of MoS2's chalcogens [A] */

/* Site (i, j) of a triangular lattice, [A]. */
static void site_place(double xy[2], int i, int j)
{
    xy[0] = SIDE_A * (i + 0.5 * j + 1);
    xy[1] = SIDE_A * (0.8660254037844386 * j + 1);
}

static void film_new(atomdl_film *f, int frames)
{
    size_t all = (size_t)frames * LATTICE * LATTICE;
    memset(f, 0, sizeof *f);
    atomdl_film_defaults(&f->rules);
    f->view.chemistry = atomdl_chemistry_find("mos2");
    f->view.w = f->view.h = 600;
    f->view.pixel_x = f->view.pixel_y = 0.1;
    f->view.based = 1;
    f->view.basis[0] = SIDE_A;
    f->view.basis[2] = SIDE_A / 2;
    f->view.basis[3] = SIDE_A * 0.8660254037844386;
    memcpy(f->view.hop, f->view.basis, sizeof f->view.hop);
    f->gate = 1.2 * SIDE_A;
    f->frame = calloc((size_t)frames, sizeof *f->frame);
    f->spot_room = f->sight_room = all;
    f->spot = calloc(all, sizeof *f->spot);
    f->sight = calloc(all, sizeof *f->sight);
}

static void film_free(atomdl_film *f)
{
    free(f->frame);
    free(f->spot);
    free(f->sight);
}

/* A frame: each site is found intact or vacant, seldom wrongly; leap: how far
   its drift is wrong [A]. */
static void film_shoot(atomdl_film *f, const char *vacant, double leap,
                       atomdl_rng *rng)
{
    atomdl_frame *o = &f->frame[f->frames];
    memset(o, 0, sizeof *o);
    o->number = f->frames++;
    o->first = f->spots;
    o->sight = f->sights;
    o->known = 1;
    o->m[0] = o->m[3] = 1;
    o->t[0] = -leap;
    for (int k = 0; k < LATTICE * LATTICE; k++) {
        double xy[2], doubt = uniform(rng), wrong = uniform(rng);
        int seen = vacant[k] ? wrong > 0.15 : wrong < 0.01;
        site_place(xy, k % LATTICE, k / LATTICE);
        for (int i = 0; i < 2; i++) xy[i] += 0.1 * normal(rng);
        if (seen) {
            atomdl_spot *p = atomdl_film_spot(f, o, xy[0], xy[1], "vx1");
            p->score = vacant[k] ? 1 - 0.3 * doubt : 0.5 + 0.3 * doubt;
            p->u = xy[0] + leap;
            p->v = xy[1];
            continue;
        }
        atomdl_sight *p = &f->sight[f->sights++];
        p->uv[0] = xy[0] + leap;
        p->uv[1] = xy[1];
        p->grade = doubt < 0.8 && !vacant[k] ? 0 : 3;
        o->sights++;
    }
}

/* Vacancies hop with probability `rate`, on six sites; hops that would leave
   the lattice or meet another do not count. Returns how many did. */
static int film_walk(char *vacant, int *at, double rate, atomdl_rng *rng)
{
    static const int STEP[6][2] = {{1, 0}, {0, 1}, {-1, 1}, {-1, 0}, {0, -1},
                                   {1, -1}};
    int hops = 0;
    for (int k = 0; k < ROAMERS; k++) {
        const int *s = STEP[atomdl_rng_below(rng, 6)];
        int i = at[k] % LATTICE + s[0], j = at[k] / LATTICE + s[1];
        if (uniform(rng) > rate || i < 2 || j < 2 || i > LATTICE - 3
            || j > LATTICE - 3 || vacant[i + LATTICE * j]) continue;
        vacant[at[k]] = 0;
        vacant[at[k] = i + LATTICE * j] = 1;
        hops++;
    }
    return hops;
}

static int film_false(const atomdl_film *f, char truth[][LATTICE * LATTICE])
{
    int n = 0;
    for (size_t i = 0; i < f->spots; i++) {
        const atomdl_spot *p = &f->spot[i];
        int j = (int)(p->y / SIDE_A / 0.8660254037844386 - 1 + 0.35);
        int k = (int)(p->x / SIDE_A - 0.5 * j - 1 + 0.5);
        n += !truth[p->frame][k + LATTICE * j];
    }
    return n;
}

/* Measured, refused with a quarter, run. */
#define STAGE(call) do { \
        atomdl_arena need = {NULL, 0, 0, 0, 0}, *arena = &need; \
        CHECK(!(call)); \
        kept[stages] = new_arena(need.peak); \
        arena = &kept[stages++]; \
        arena->size = need.peak / 4; \
        CHECK((call) == ATOMDL_EMEM); \
        arena->used = arena->peak = 0; \
        arena->failed = 0; \
        arena->size = need.peak; \
        CHECK(!(call) && arena->peak <= need.peak); \
    } while (0)

/* Six vacancies that hop, on a lattice where 1 % of the intact columns look
   vacant and 15 % of the vacancies intact; the drift is wrong by a lattice
   vector from LEAP_AT on. */
void test_movie_film(void)
{
    static char truth[SHOTS][LATTICE * LATTICE];
    static atomdl_film f;
    atomdl_arena kept[40];
    int stages = 0, hops = 0, at[ROAMERS] = {28, 33, 57, 90, 98, 112};
    int from[ATOMDL_CLASS_NAMES];
    atomdl_rng rng = atomdl_rng_seed(12);
    char vacant[LATTICE * LATTICE] = {0};
    film_new(&f, SHOTS);
    for (int k = 0; k < ROAMERS; k++) vacant[at[k]] = 1;
    for (int k = 0; k < SHOTS; k++) {
        memcpy(truth[k], vacant, sizeof vacant);
        film_shoot(&f, vacant, k < LEAP_AT ? 0 : SIDE_A, &rng);
        hops += k < SHOTS - 1 ? film_walk(vacant, at, 0.05, &rng) : 0;
    }
    int before = film_false(&f, truth), found = (int)f.spots - before;
    atomdl_sites s;
    memset(&s, 0, sizeof s);
    CHECK(atomdl_film_in_question(&f));
    s.room = atomdl_film_sites_room(&f);
    s.place = calloc(2 * (size_t)s.room, sizeof *s.place);
    s.grade = calloc((size_t)s.room * SHOTS, 1);
    s.missed = calloc((size_t)s.room * SHOTS, 1);
    do {
        STAGE(atomdl_film_sites(&f, &s, arena));
        STAGE(atomdl_film_believe(&f, &s, arena));
    } while (s.again);
    CHECK(s.leaps == 1);
    for (int k = 0; k < SHOTS; k++) CHECK_NEAR(f.frame[k].t[0], 0, 1e-9);
    CHECK(s.n >= LATTICE * LATTICE && s.n < LATTICE * LATTICE + 20);
    size_t gaps = atomdl_film_gaps(&f, &s), spots = f.spots;
    int after = film_false(&f, truth), stayed = (int)f.spots - after;
    printf("  false %d, then %d; right %d, then %d\n", before, after, found,
           stayed);
    CHECK(before > 60 && after < before / 10 && stayed > 0.9 * found);
    STAGE(atomdl_film_fill(&f, &s, arena));
    CHECK(gaps > 5 && f.spots == spots + gaps);
    CHECK(atomdl_film_gaps(&f, &s) == 0);
    printf("  filled %d, %d of them false\n", (int)gaps,
           film_false(&f, truth) - after);
    CHECK(film_false(&f, truth) - after < (int)gaps / 5);
    atomdl_tracker tracker;
    CHECK(!atomdl_tracker_new(&tracker, 64, 2, f.gate, fresh()));
    atomdl_arena follow = new_arena(1 << 16);
    for (uint32_t k = 0; k < f.frames; k++)
        CHECK(!atomdl_film_follow(&f, &f.frame[k], &tracker, &follow));
    free(follow.base);
    STAGE(atomdl_film_chain(&f, tracker.next, arena));
    for (size_t i = 1; i < f.spots; i++)
        CHECK(f.spot[i].frame >= f.spot[i - 1].frame);
    atomdl_tracks tracks = {tracker.next, NULL, NULL};
    atomdl_film_rank(&f, from);
    CHECK(f.names.n == 1 && from[0] == 0);
    STAGE(atomdl_film_tracks(&tracks, &f, arena));
    atomdl_chains c;
    STAGE(atomdl_film_classes(&f, &tracks, &c, 0, arena));
    CHECK(c.n == (int)tracks.n && f.spot[0].sure > 0.99);
    atomdl_walk walk;
    STAGE(atomdl_film_walk(&walk, &f, &tracks, &s, arena));
    double rate = hops / (double)(ROAMERS * (SHOTS - 1));
    printf("  hops a frame %.4f +- %.4f, true %.4f\n", walk.rate, walk.error,
           rate);
    CHECK_NEAR(walk.rate, rate, 2 * walk.error);
    CHECK(walk.error > 0.01 && walk.error < 0.05 && !walk.too_many);
    while (stages--) free(kept[stages].base);
    free(s.place);
    free(s.grade);
    free(s.missed);
    film_free(&f);
}

/* Vacancies hop until they become double ones, which stay where they are: the
   rate is that of the time before. */
void test_movie_double(void)
{
    enum { HOPPING = SHOTS / 2 };
    static atomdl_film f;
    int hops = 0, at[ROAMERS] = {28, 33, 57, 90, 98, 112};
    atomdl_rng rng = atomdl_rng_seed(14);
    char vacant[LATTICE * LATTICE] = {0};
    film_new(&f, SHOTS);
    for (int k = 0; k < ROAMERS; k++) vacant[at[k]] = 1;
    for (int k = 0; k < SHOTS; k++) {
        film_shoot(&f, vacant, 0, &rng);
        hops += k < HOPPING ? film_walk(vacant, at, 0.2, &rng) : 0;
    }
    atomdl_sites s;
    memset(&s, 0, sizeof s);
    s.room = atomdl_film_sites_room(&f);
    s.place = calloc(2 * (size_t)s.room, sizeof *s.place);
    s.grade = calloc((size_t)s.room * SHOTS, 1);
    s.missed = calloc((size_t)s.room * SHOTS, 1);
    f.rules.leaps = 0;
    CHECK(!atomdl_film_sites(&f, &s, fresh()));
    CHECK(!atomdl_film_believe(&f, &s, fresh()));
    atomdl_tracker tracker;
    CHECK(!atomdl_tracker_new(&tracker, 64, 2, f.gate, fresh()));
    atomdl_arena follow = new_arena(1 << 16);
    for (uint32_t k = 0; k < f.frames; k++)
        CHECK(!atomdl_film_follow(&f, &f.frame[k], &tracker, &follow));
    free(follow.base);
    atomdl_arena kept = new_arena(1 << 20);
    atomdl_tracks tracks = {tracker.next, NULL, NULL};
    CHECK(!atomdl_film_chain(&f, tracker.next, &kept));
    CHECK(!atomdl_film_tracks(&tracks, &f, &kept));
    strcpy(f.names.name[f.names.n++], "vx2");
    for (size_t i = 0; i < f.spots; i++)
        if (f.spot[i].frame >= HOPPING) f.spot[i].hidden = 1;
    atomdl_walk walk;
    CHECK(!atomdl_film_walk(&walk, &f, &tracks, &s, fresh()));
    double rate = hops / (double)(ROAMERS * HOPPING);
    printf("  hops a frame %.4f +- %.4f, true %.4f\n", walk.rate, walk.error,
           rate);
    CHECK_NEAR(walk.rate, rate, 2 * walk.error);
    CHECK(walk.rate > 0.7 * rate);
    free(kept.base);
    free(s.place);
    free(s.grade);
    free(s.missed);
    film_free(&f);
}

/* Rules that are off do nothing. */
void test_movie_rules(void)
{
    static char truth[SHOTS][LATTICE * LATTICE];
    static atomdl_film f;
    atomdl_rng rng = atomdl_rng_seed(13);
    int at[ROAMERS] = {28, 33, 57, 90, 98, 112}, kept[2];
    for (int on = 0; on < 2; on++) {
        char vacant[LATTICE * LATTICE] = {0};
        film_new(&f, SHOTS);
        rng = atomdl_rng_seed(13);
        for (int k = 0; k < ROAMERS; k++) vacant[at[k]] = 1;
        for (int k = 0; k < SHOTS; k++) {
            memcpy(truth[k], vacant, sizeof vacant);
            if (k % 10 > 7) { /* a visit of two frames */
                vacant[at[0]] = 0;
                vacant[at[0] + 1] = 1;
            }
            film_shoot(&f, vacant, k < LEAP_AT ? 0 : SIDE_A, &rng);
            vacant[at[0]] = 1;
            vacant[at[0] + 1] = 0;
        }
        atomdl_sites s;
        memset(&s, 0, sizeof s);
        f.rules.leaps = on ? 8 : 0;
        f.rules.visits *= on;
        s.room = atomdl_film_sites_room(&f);
        s.place = calloc(2 * (size_t)s.room, sizeof *s.place);
        s.grade = calloc((size_t)s.room * SHOTS, 1);
        s.missed = calloc((size_t)s.room * SHOTS, 1);
        do {
            CHECK(!atomdl_film_sites(&f, &s, fresh()));
            CHECK(!atomdl_film_believe(&f, &s, fresh()));
        } while (s.again);
        CHECK(s.leaps == on);
        CHECK_NEAR(f.frame[SHOTS - 1].t[0], on ? 0 : -SIDE_A, 1e-9);
        kept[on] = 0;
        for (size_t i = 0; i < f.spots; i++) {
            double xy[2];
            site_place(xy, at[0] % LATTICE + 1, at[0] / LATTICE);
            kept[on] += f.spot[i].frame % 10 > 7
                        && fabs(f.spot[i].x - xy[0]) < 1
                        && fabs(f.spot[i].y - xy[1]) < 1;
        }
        free(s.place);
        free(s.grade);
        free(s.missed);
        film_free(&f);
    }
    printf("  visits believed %d, %d without the rule\n", kept[1], kept[0]);
    CHECK(kept[1] > kept[0]);
}

/* ---------- Memory -------------------------------------------------------- */

/* everything that takes an arena, on a small problem; first failure */
static int everything(atomdl_arena *arena)
{
    static double x[64 * 6], y[64 * 6], centre[18], p[64 * 3];
    static float f[64 * 6], cut[8 * 25];
    static atomdl_merge merge[64];
    static int32_t path[64];
    static int to[64], label[64];
    static uint32_t track[64];
    static uint8_t op[8];
    static const int length[2] = {30, 34};
    static const double SQUARE[4] = {1, 0, 0, 1};
    static const atomdl_subtraction low = {0.2, 0.1, 0.3, 0.7, 0};
    static uint8_t mask[14 * 13];
    atomdl_cutting how = {5, ATOMDL_LINEAR, 0, 3, 1};
    atomdl_image image = {14, 13, 1, cut};
    atomdl_rng rng = atomdl_rng_seed(1);
    blobs(x, 64, 6, 3, 1);
    for (int i = 0; i < 64 * 6; i++) f[i] = (float)x[i];
    for (int i = 0; i < 200; i++) cut[i] = (float)number((uint32_t)i);
    for (int i = 0; i < 64; i++) {
        y[2 * i] = i % 8;
        y[2 * i + 1] = i / 8;
        label[i] = i % 3;
    }
    atomdl_hmm h;
    memset(&h, 0, sizeof h);
    h.states = 3;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) h.start[j] = h.p[i][j] = 1 / 3.0;
    double cost;
    int s;
    if ((s = atomdl_assign(to, &cost, ROWS(x, 64, 2), ROWS(y, 64, 2), 2,
                           arena))) return s;
    atomdl_tracker tracker;
    if ((s = atomdl_tracker_new(&tracker, 64, 2, 1, arena))) return s;
    for (int i = 0; arena->base && i < 3; i++)
        if ((s = atomdl_tracker_step(&tracker, track, x, 64, NULL))) return s;
    atomdl_drift drift;
    if ((s = atomdl_drift_find(&drift, MARKS(y, 64, x, 5), MARKS(y, 64, x, 5),
                               HOW(SQUARE, 0, 0, 1), arena)))
        return s;
    if ((s = atomdl_orient(op, cut, 8, &how, 3, arena))) return s;
    if ((s = atomdl_phase_shift(y, NULL, &image, &image,
                                PHASE(0, 0, 2), arena)))
        return s;
    if ((s = atomdl_first_frame(mask, NULL, &image, 0, &low, arena))) return s;
    atomdl_pca pca;
    if ((s = atomdl_pca_fit(&pca, f, 64, 6, PCA(0.9, 4),
                            arena))) return s;
    atomdl_pca flat;
    if ((s = atomdl_pca_fit(&flat, f, 6, 64, PCA(1, 4),
                            arena))) return s;
    if ((s = atomdl_pca_project(y, &pca, f, 64, arena))) return s;
    if ((s = atomdl_kmeans(label, centre, &cost, ROWS(x, 64, 6),
                           &(atomdl_kmeans_how){3, 2, rng, NULL}, arena)))
        return s;
    atomdl_gmm gmm;
    if ((s = atomdl_gmm_fit(&gmm, ROWS(x, 64, 6), label,
                            &(atomdl_gmm_how){3, 1, 1e-6, 1e-3, 9}, arena)))
        return s;
    if ((s = atomdl_gmm_classify(p, NULL, label, &gmm, ROWS(x, 64, gmm.d),
                                 arena))) return s;
    if ((s = atomdl_ward(merge, ROWS(x, 64, 6), NULL, arena))) return s;
    if ((s = atomdl_ward_labels(label, merge, 64, 3, arena))) return s;
    if ((s = atomdl_hmm_viterbi(path, NULL, &h, TRACES_OF(p, length, 2),
                                arena))) return s;
    if ((s = atomdl_hmm_learn(&h, NULL, TRACES_OF(p, length, 2),
                              &(atomdl_learning){NULL, 0, 3}, arena)))
        return s;
    return atomdl_hmm_posterior(p, NULL, &h, TRACES_OF(p, length, 2), arena);
}

void test_movie_memory(void)
{
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    CHECK(!everything(&measure));
    atomdl_arena run = new_arena(measure.peak + 64);
    size_t i;
    for (size_t size = 0; size < measure.peak; size += 256) {
        memset(run.base, 0xa5, measure.peak + 64);
        run.size = size;
        run.used = run.peak = 0;
        run.failed = 0;
        CHECK(everything(&run) == ATOMDL_EMEM);
        for (i = size; i < measure.peak + 64 && run.base[i] == 0xa5; i++) {}
        CHECK(i == measure.peak + 64);
    }
    run.size = measure.peak;
    run.used = run.peak = 0;
    run.failed = 0;
    CHECK(!everything(&run) && run.peak == measure.peak);
    free(run.base);
}

void test_movie_nothing(void)
{
    atomdl_msd msd = {{0}, {0}, {0}};
    static atomdl_hops hops;
    static atomdl_counts counts;
    double xy[4] = {0, 0, 1, 1}, bad[2] = {0, (double)NAN}, cost;
    uint32_t frame[2] = {3, 3};
    int to[2];
    CHECK(!atomdl_assign(to, &cost, ROWS(xy, 0, 2), ROWS(xy, 2, 2), 1,
                         fresh()) && cost == 0);
    CHECK(!atomdl_assign(to, &cost, ROWS(xy, 2, 2), ROWS(xy, 0, 2), 1,
                         fresh()) && cost == 2);
    CHECK(to[0] == -1 && to[1] == -1);
    CHECK(atomdl_assign(to, &cost, ROWS(bad, 1, 2), ROWS(xy, 2, 2), 1, fresh())
          == ATOMDL_ENAN);
    CHECK(atomdl_assign(to, &cost, ROWS(xy, 1, 2), ROWS(bad, 1, 2), 1, fresh())
          == ATOMDL_ENAN);
    CHECK(atomdl_assign(to, &cost, ROWS(xy, 1, 2), ROWS(xy, 1, 2), 0, fresh())
          == ATOMDL_EARG);
    atomdl_tracker t;
    CHECK(!atomdl_tracker_new(&t, 2, 2, 1, fresh()));
    uint32_t track[2];
    CHECK(atomdl_tracker_step(&t, track, bad, 1, NULL) == ATOMDL_ENAN);
    CHECK(atomdl_tracker_step(&t, track, xy, 1, bad) == ATOMDL_ENAN);
    CHECK(atomdl_tracker_step(&t, track, xy, 3, NULL) == ATOMDL_ESHAPE);
    CHECK(!atomdl_tracker_step(&t, track, xy, 0, NULL) && !t.live);
    CHECK(!atomdl_tracker_step(&t, track, xy, 2, NULL) && track[1] == 1);
    CHECK(!atomdl_msd_add(&msd, frame, xy, 1, 4));
    atomdl_diffusion fit;
    CHECK(atomdl_msd_fit(&fit, &msd, 4) == ATOMDL_EARG);
    CHECK(atomdl_msd_add(&msd, frame, xy, 2, 4) == ATOMDL_EARG);
    CHECK(atomdl_msd_add(&msd, frame, bad, 1, 4) == ATOMDL_ENAN);
    CHECK(atomdl_msd_mean(NULL, &msd, 1) == 0);
    CHECK(!atomdl_hops_add(&hops, frame, xy, 1, HEX));
    atomdl_hop_rate rate = atomdl_hops_rate(&hops, HEX);
    CHECK(rate.rate == 0 && rate.diffusion_error == 0);
    counts.states = 4;
    CHECK(!atomdl_counts_add(&counts, NULL, 0));
    atomdl_markov m;
    CHECK(!atomdl_markov_solve(&m, &counts, 0, NULL));
    CHECK(m.p[2][2] == 1 && m.stationary[3] == 0.25 && m.p_markov == 1);
}
