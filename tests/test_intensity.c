/* SPDX-License-Identifier: MIT
   Disc means and the mixture of METHOD F.2 on columns whose answer is known. */

#include "test.h"

#define SIZE(x, y) ((const double[2]){x, y})

enum { SIDE = 64, COLUMNS = 2000 };

void test_intensity_disc(void)
{
    static float px[SIDE * SIDE];
    atomdl_image image = {SIDE, SIDE, 1, NULL};
    image.px = px;
    atomdl_node node[3];
    memset(node, 0, sizeof node);
    /* a slope: the mean of a disc is the value of its centre */
    for (int i = 0; i < SIDE * SIDE; i++)
        px[i] = 2 * (float)(i % SIDE) - 3 * (float)(i / SIDE);
    node[0].x = 5.23, node[0].y = 6.61;
    node[1].x = 4, node[1].y = 10;
    double value[3];
    CHECK(atomdl_intensity(value, node, 2, &image, 0, SIZE(0.2, 0.25), 0.95)
          == 0);
    CHECK_NEAR(value[0], 2 * 5.23 / 0.2 - 3 * 6.61 / 0.25, 0.05);
    CHECK_NEAR(value[1], 2 * 20.0 - 3 * 40.0, 1e-9);
    /* a Gaussian: 2 s^2 / R^2 (1 - exp(-R^2 / 2 s^2)) */
    for (int i = 0; i < SIDE * SIDE; i++) {
        double x = 0.1 * (i % SIDE) - 3.14, y = 0.1 * (i / SIDE) - 3.07;
        px[i] = (float)exp(-(x * x + y * y) / 0.72);
    }
    node[0].x = 3.14, node[0].y = 3.07;
    node[1].x = node[1].y = 0; /* a quarter of its disc is in the image */
    node[2].x = node[2].y = 9; /* none */
    CHECK(atomdl_intensity(value, node, 3, &image, 0, SIZE(0.1, 0.1), 0.95)
          == 0);
    double exact = 0.72 / (0.95 * 0.95) * (1 - exp(-0.95 * 0.95 / 0.72));
    CHECK_NEAR(value[0], exact, 0.005);
    CHECK(value[1] >= 0 && value[1] < 1e-3);
    CHECK(value[2] == 0);
    CHECK(atomdl_intensity(value, node, 3, &image, 1, SIZE(0.1, 0.1), 0.95)
          == ATOMDL_EARG);
    CHECK(atomdl_intensity(value, node, 3, &image, 0, SIZE(0, 0.1), 0.95)
          == ATOMDL_EARG);
    CHECK(atomdl_intensity(value, node, 3, &image, 0, SIZE(0.1, 0.1), 1e9)
          == ATOMDL_EARG);
    node[1].x = NAN;
    CHECK(atomdl_intensity(value, node, 3, &image, 0, SIZE(0.1, 0.1), 0.95)
          == ATOMDL_ENAN);
}

typedef struct { /* what columns show, and how many of them are what */
    double one, sd, none, single; /* of two atoms; of a pair; parts */
    double cloud;                 /* s.d. of what lies over all of it */
} kind;

/* Columns as of a microscope of gain 40 and offset 25: a pair shows 1, none
   0.4, the hollow sites 0.5. */
static void columns(double *value, double *hollow, uint8_t *truth,
                    const kind *k)
{
    atomdl_rng r = atomdl_rng_seed(77);
    static float noise[3 * COLUMNS];
    atomdl_rng_normal(&r, noise, 3 * COLUMNS);
    for (int i = 0; i < COLUMNS; i++) {
        double u = atomdl_rng_uniform64(&r), left[] = {0, k->one, 1};
        double cloud = k->cloud * (double)noise[i];
        truth[i] = (uint8_t)(u < k->none ? 0 : u < k->none + k->single ? 1 : 2);
        value[i] = 25 + 40 * (0.4 + 0.6 * left[truth[i]] + cloud
                              + k->sd * (double)noise[COLUMNS + i]);
        hollow[i] = 25 + 40 * (0.5 + cloud + 0.4 * k->sd
                               * (double)noise[2 * COLUMNS + i]);
    }
}

/* How many of those columns are not what they are called. */
static int called_wrong(atomdl_mixture *m, const kind *k, int n)
{
    static double value[COLUMNS], hollow[COLUMNS];
    static uint8_t truth[COLUMNS];
    double p[ATOMDL_LEVELS];
    int wrong = 0;
    columns(value, hollow, truth, k);
    CHECK(atomdl_mixture_fit(m, value, hollow, n) == 0);
    for (int i = 0; i < n; i++) {
        int best = 0;
        atomdl_mixture_posterior(p, m, value[i], hollow[i]);
        CHECK_NEAR(p[0] + p[1] + p[2], 1, 1e-12);
        for (int j = 1; j < ATOMDL_LEVELS; j++)
            if (p[j] > p[best] && (j != ATOMDL_LEVEL_X1 || m->told)) best = j;
        wrong += best != truth[i];
    }
    return wrong;
}

void test_intensity_mixture(void)
{
    static const double ONE[] = {0.35, 0.5};
    atomdl_mixture m;
    for (int i = 0; i < 2; i++) { /* the level is the image's own */
        kind k = {ONE[i], 0.04, 0.03, 0.1, 0};
        CHECK(called_wrong(&m, &k, COLUMNS) <= 12);
        CHECK_NEAR(m.one, ONE[i], 4 * m.one_error);
        CHECK(m.told && m.one_error < 0.01 && m.hidden < 0.005);
        CHECK_NEAR(m.mean[0], 25 + 40 * 0.4, 0.6);
        CHECK_NEAR(m.mean[2], 25 + 40, 0.2);
        CHECK_NEAR(m.sd, 40 * 0.04, 0.1);
        CHECK_NEAR(m.weight[0], 0.03, 0.012);
        CHECK_NEAR(m.weight[1], 0.1, 0.02);
        k.cloud = 0.2; /* hollow sites know of it */
        CHECK(called_wrong(&m, &k, COLUMNS) <= 40);
        CHECK_NEAR(m.share, 1, 0.1);
        k = (kind){ONE[i], 0.03, 0.02, 0.08, 0}; /* a handful decides */
        CHECK(called_wrong(&m, &k, 100) == 0);
        CHECK_NEAR(m.one, ONE[i], 4 * m.one_error);
    }
}

/* No vacancies: none are found, the prior holds; in noise it says so. */
void test_intensity_perfect(void)
{
    static double value[COLUMNS], hollow[COLUMNS];
    static uint8_t truth[COLUMNS];
    atomdl_mixture m;
    for (int i = 0; i < 4; i++) {
        kind k = {0.5, 0.02 + 0.03 * i, 0, 0, 0};
        CHECK(called_wrong(&m, &k, COLUMNS) == 0);
        CHECK(m.told && m.weight[0] == 0 && m.weight[1] == 0);
        CHECK_NEAR(m.one, 0.44, 0.0701);
        CHECK_NEAR(m.one_error, 0.07, 1e-6);
        CHECK(m.hidden < 0.01);
    }
    kind noisy = {0.5, 0.25, 0, 0, 0};
    CHECK(called_wrong(&m, &noisy, COLUMNS) == 0);
    CHECK(!m.told && m.weight[1] > 0 && m.hidden > 0.01);
    kind k = {0.5, 0.02, 0, 0, 0};
    columns(value, hollow, truth, &k);
    CHECK(atomdl_mixture_fit(&m, value, hollow, 2) == ATOMDL_EMISSING);
    CHECK(atomdl_mixture_fit(&m, hollow, value, COLUMNS) == ATOMDL_EMISSING);
    for (int i = 0; i < COLUMNS; i++) value[i] = hollow[i] = 0;
    CHECK(atomdl_mixture_fit(&m, value, hollow, COLUMNS) == ATOMDL_EMISSING);
    value[3] = INFINITY;
    CHECK(atomdl_mixture_fit(&m, value, hollow, COLUMNS) == ATOMDL_ENAN);
    CHECK(atomdl_mixture_fit(&m, hollow, value, COLUMNS) == ATOMDL_ENAN);
}

/* A simulated sheet: METHOD F.2's table. */
void test_intensity_sheet(void)
{
    static const char TEXT[] =
        "size = 256\npixel = 0.12\nmaterial = mos2-2h-1\nthermal = 0.03\n"
        "scatter = vx1 0.12\nscatter = vx2 0.05\nvoltage = 80\naperture = 23\n"
        "inner = 40\nouter = 160\nsource = 1.2\nbackground = 0\njitter = 0\n"
        "dose = 200000\nchannelling = 0\n";
    static atomdl_recipe r;
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    atomdl_node *node = calloc(COLUMNS, sizeof *node);
    double *value = calloc(COLUMNS, sizeof *value);
    double mean[4] = {0, 0, 0, 0};
    int n = 0, count[4] = {0, 0, 0, 0};
    CHECK(atomdl_recipe_parse(&r, NULL, TEXT, sizeof TEXT - 1) == 0);
    atomdl_sample s;
    atomdl_source source;
    for (int pass = 0; pass < 2; pass++) {
        if (pass) a = new_arena(a.peak);
        CHECK(atomdl_source_new(&source, &r, NULL, 0, &a) == 0);
        CHECK(atomdl_sample_new(&s, &source, 0, 1, &a) == 0);
    }
    uint8_t truth[COLUMNS];
    for (uint32_t i = 0; i < s.structure.columns; i++) {
        const atomdl_column *c = &s.structure.column[i];
        if (c->x < 1 || c->y < 1 || c->x > 29.7 || c->y > 29.7) continue;
        node[n].x = c->x - s.pixel / 2;
        node[n].y = c->y - s.pixel / 2;
        truth[n++] = (uint8_t)(c->element[0] == 42 ? 3 : c->count);
    }
    CHECK(n > 100);
    CHECK(atomdl_intensity(value, node, n, &s.image, 0,
                           SIZE(s.pixel, s.pixel), 0.95) == 0);
    for (int k = 0; k < n; k++) {
        mean[truth[k]] += value[k];
        count[truth[k]]++;
    }
    for (int k = 0; k < 4; k++) mean[k] /= count[k];
    CHECK_NEAR(mean[3] / mean[2], 1.56, 0.04);
    CHECK_NEAR(mean[1] / mean[2], 0.71, 0.03);
    CHECK_NEAR(mean[0] / mean[2], 0.42, 0.03);
    free(a.base);
    free(node);
    free(value);
}
