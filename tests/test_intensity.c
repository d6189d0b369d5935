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
    CHECK(atomdl_intensity(value, node, 2, &image, 0, SIZE(0.2, 0.25), 0.95) == 0);
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
    CHECK(atomdl_intensity(value, node, 3, &image, 0, SIZE(0.1, 0.1), 0.95) == 0);
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

/* Columns as of a microscope of that gain and offset: every second one a
   metal; of the others 3 % empty, 10 % with one atom. */
static void columns(double *value, uint8_t *site, uint8_t *truth,
                    const double *level, double gain, double offset,
                    double width)
{
    atomdl_rng r = atomdl_rng_seed(77);
    float noise[COLUMNS];
    atomdl_rng_normal(&r, noise, COLUMNS);
    for (int i = 0; i < COLUMNS; i++) {
        double u = atomdl_rng_uniform64(&r);
        site[i] = (uint8_t)(i % 2);
        truth[i] = (uint8_t)(site[i] == 0 ? 3 : u < 0.03 ? 0 : u < 0.13 ? 1
                                                                        : 2);
        value[i] = offset + gain * level[truth[i]]
                                * (1 + width * (double)noise[i]);
    }
}

void test_intensity_mixture(void)
{
    static double value[COLUMNS];
    static uint8_t site[COLUMNS], truth[COLUMNS];
    double level[ATOMDL_LEVELS];
    CHECK(atomdl_intensity_levels(level, atomdl_chemistry_find("mos2")) == 0);
    CHECK_NEAR(level[0], 0.42, 0.005); /* METHOD F.2's table */
    CHECK_NEAR(level[1], 0.71, 0.005);
    CHECK_NEAR(level[3], 1.56, 0.015);
    CHECK(atomdl_intensity_levels(level, atomdl_chemistry_find("graphene"))
          == ATOMDL_EARG);
    atomdl_intensity_levels(level, atomdl_chemistry_find("mos2"));
    double p[ATOMDL_LEVELS], sum;
    atomdl_mixture m;
    int k, best, wrong;
    for (int pass = 0; pass < 2; pass++) { /* sublattice known, unknown */
        columns(value, site, truth, level, 40, 25, 0.06);
        if (pass) memset(site, 255, sizeof site);
        CHECK(atomdl_mixture_fit(&m, value, site, COLUMNS, level) == 0);
        CHECK_NEAR(m.gain, 40, 0.5);
        CHECK_NEAR(m.offset, 25, 0.7);
        CHECK_NEAR(m.width, 0.06, 0.004);
        CHECK_NEAR(m.weight[0], 0.015, 0.006);
        CHECK_NEAR(m.weight[1], 0.05, 0.01);
        for (int i = wrong = 0; i < COLUMNS; i++) {
            atomdl_mixture_posterior(p, &m, value[i], site[i]);
            for (k = best = 0, sum = 0; k < ATOMDL_LEVELS; k++) {
                sum += p[k];
                if (p[k] > p[best]) best = k;
            }
            CHECK_NEAR(sum, 1, 1e-12);
            wrong += best != truth[i];
        }
        CHECK(wrong <= 12);
    }
    CHECK(atomdl_mixture_fit(&m, value, site, 2, level) == ATOMDL_EMISSING);
    for (int i = 0; i < COLUMNS; i++) value[i] = 0;
    CHECK(atomdl_mixture_fit(&m, value, site, COLUMNS, level)
          == ATOMDL_EMISSING);
    value[3] = INFINITY;
    CHECK(atomdl_mixture_fit(&m, value, site, COLUMNS, level) == ATOMDL_ENAN);
    level[2] = 0;
    CHECK(atomdl_mixture_fit(&m, value, site, COLUMNS, level) == ATOMDL_EARG);
}

/* A simulated sheet: levels of METHOD F.2, classes of the columns. */
void test_intensity_sheet(void)
{
    static const char TEXT[] =
        "size = 256\npixel = 0.12\nmaterial = mos2-2h-1\nthermal = 0.03\n"
        "scatter = vx1 0.12\nscatter = vx2 0.05\nvoltage = 80\naperture = 23\n"
        "inner = 40\nouter = 160\nsource = 1.2\nbackground = 0\njitter = 0\n"
        "dose = 200000\n";
    static atomdl_recipe r;
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    atomdl_node *node = calloc(COLUMNS, sizeof *node);
    double *value = calloc(COLUMNS, sizeof *value);
    double mean[4] = {0, 0, 0, 0};
    int n = 0, wrong = 0, count[4] = {0, 0, 0, 0};
    CHECK(atomdl_recipe_parse(&r, NULL, TEXT, sizeof TEXT - 1) == 0);
    atomdl_sample s;
    atomdl_source source;
    for (int pass = 0; pass < 2; pass++) {
        if (pass) a = new_arena(a.peak);
        CHECK(atomdl_source_new(&source, &r, NULL, 0, &a) == 0);
        CHECK(atomdl_sample_new(&s, &source, 0, 1, &a) == 0);
    }
    uint8_t site[COLUMNS], truth[COLUMNS];
    for (uint32_t i = 0; i < s.structure.columns; i++) {
        const atomdl_column *c = &s.structure.column[i];
        if (c->x < 1 || c->y < 1 || c->x > 29.7 || c->y > 29.7) continue;
        node[n].x = c->x - s.pixel / 2;
        node[n].y = c->y - s.pixel / 2;
        site[n] = c->element[0] != 42;
        truth[n++] = (uint8_t)(c->element[0] == 42 ? 3 : c->count);
    }
    CHECK(n > 100);
    CHECK(atomdl_intensity(value, node, n, &s.image, 0, SIZE(s.pixel, s.pixel), 0.95)
          == 0);
    double level[ATOMDL_LEVELS];
    CHECK(atomdl_intensity_levels(level, atomdl_chemistry_find("mos2")) == 0);
    atomdl_mixture m;
    CHECK(atomdl_mixture_fit(&m, value, site, n, level) == 0);
    double p[ATOMDL_LEVELS];
    for (int k = 0; k < n; k++) {
        int best = 0;
        mean[truth[k]] += value[k];
        count[truth[k]]++;
        atomdl_mixture_posterior(p, &m, value[k], site[k]);
        for (int j = 0; j < ATOMDL_LEVELS; j++)
            if (p[j] > p[best]) best = j;
        wrong += best != truth[k];
    }
    for (int k = 0; k < 4; k++) mean[k] /= count[k];
    CHECK_NEAR(mean[3] / mean[2], 1.56, 0.04);
    CHECK_NEAR(mean[1] / mean[2], 0.71, 0.03);
    CHECK_NEAR(mean[0] / mean[2], 0.42, 0.03);
    CHECK(wrong == 0);
    free(a.base);
    free(node);
    free(value);
}
