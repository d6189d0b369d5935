/* SPDX-License-Identifier: MIT
   Paper 004: vacancies and stacking of MoS2, figures 3 to 5. */
#include "paper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- 004: vacancies ------------------------------------------------ */

/* As the paper's microscope: 80 kV, 23 mrad, 40-160 mrad. */
static const char SCOPE[] =
    "voltage = 80\naperture = 23\ninner = 40\nouter = 160\nsource = 1.2\n"
    "thermal = 0.06\nbackground = 0.1\ncloud_sigma = 60\n";

enum { METHODS = 4, CLASSES = 2, MOST = 4096 };

typedef struct {
    int methods; /* METHODS, or without the last one */
    network method[METHODS];
    maker *m;
} vacancies;

enum { OWN, SHIPPED, INTENSITY, OTHER };
static const char *const METHOD_NAME[METHODS + 1] = {
    "mos2-vacancy", "dichalcogenide", "intensity", "--vacancy", NULL};

/* 0: a pair of chalcogens, 1: one missing, 2: both; -1: no such column. */
static int column_class(const atomdl_structure *t, const atomdl_column *c)
{
    int kind = c->defect ? t->defect[c->defect - 1].kind : -1;
    return kind == ATOMDL_VX2                        ? 2
           : kind == ATOMDL_VX1                      ? 1
           : c->count == 2 && c->element[0] == 16    ? 0 : -1;
}

/* xy (MOST) <- truth's columns of a class, 1 A within the field; the number */
static int true_places(double *xy, const maker *m, int class_id)
{
    const atomdl_structure *t = &m->sample.structure;
    int n = 0;
    for (uint32_t i = 0; i < t->columns && n < MOST; i++) {
        const atomdl_column *c = &t->column[i];
        if (column_class(t, c) != class_id || at_border(m, c->x, c->y))
            continue;
        xy[2 * n] = c->x;
        xy[2 * n++ + 1] = c->y;
    }
    return n;
}

static int found_places(double *xy, const maker *m, const analysis *a,
                        int class_id)
{
    double half = m->sample.pixel / 2;
    int n = 0;
    for (int i = 0; i < a->got.atoms && n < MOST; i++) {
        const atomdl_node *p = &a->got.node[i];
        if (p->z != 16 || p->count != 2 - class_id
            || at_border(m, p->x + half, p->y + half))
            continue;
        xy[2 * n] = p->x + half;
        xy[2 * n++ + 1] = p->y + half;
    }
    return n;
}

typedef struct { /* of several images together */
    int tp, found, truth;
} tally;

static double tally_f1(const tally *t)
{
    return t->found + t->truth ? 2. * t->tp / (t->found + t->truth) : 0;
}

typedef struct { /* places in one image, and their pairs */
    double found[2 * MOST], truth[2 * MOST];
    int n, k;
    atomdl_matches r;
} pairing;

static int match_stage(void *of, atomdl_arena *arena)
{
    pairing *m = of;
    return atomdl_match(&m->r, m->found, m->n, m->truth, m->k, 0.91, arena);
}

/* Adds one image's pairs within half a bond. */
static int tally_add(tally *t, const maker *m, const analysis *a, int class_id)
{
    static pairing pairs;
    atomdl_arena arena = {0, 0, 0, 0, 0};
    pairs.n = found_places(pairs.found, m, a, class_id);
    pairs.k = true_places(pairs.truth, m, class_id);
    int bad = in_arena(match_stage, &pairs, &arena, a->name);
    free(arena.base);
    t->tp += pairs.r.tp;
    t->found += pairs.n;
    t->truth += pairs.k;
    return bad;
}

/* One condition of the benchmark, METHOD F.4. */
typedef struct {
    const char *group;
    double dose;    /* e a pixel */
    double carbon;  /* nm */
    double jitter, hum; /* A */
    double pixel;   /* A */
    int loose;      /* 1: atoms of carbon lie anywhere, as in a gas */
} condition;

/* CLEAR: without carbon, else as the next ones */
enum { CLEAR = 3, VEILED = 6 };

#define CORE 1.3 /* A between atoms of carbon, METHOD B.6 */

static const condition BENCH_ROW[] = {
    {"dose", 250, 0, 0.05, 0, 0.12, 0},
    {"dose", 500, 0, 0.05, 0, 0.12, 0},
    {"dose", 1000, 0, 0.05, 0, 0.12, 0},
    {"dose", 2500, 0, 0.05, 0, 0.12, 0},
    {"dose", 10000, 0, 0.05, 0, 0.12, 0},
    {"carbon", 2500, 1, 0.05, 0, 0.12, 0},
    {"carbon", 2500, 2, 0.05, 0, 0.12, 0},
    {"carbon", 2500, 4, 0.05, 0, 0.12, 0},
    {"carbon", 2500, 6, 0.05, 0, 0.12, 0},
    {"loose carbon", 2500, 1, 0.05, 0, 0.12, 1},
    {"loose carbon", 2500, 2, 0.05, 0, 0.12, 1},
    {"loose carbon", 2500, 4, 0.05, 0, 0.12, 1},
    {"loose carbon", 2500, 6, 0.05, 0, 0.12, 1},
    {"vibration", 2500, 0, 0.1, 0.1, 0.12, 0},
    {"vibration", 2500, 0, 0.2, 0.2, 0.12, 0},
    {"vibration", 2500, 0, 0.4, 0.2, 0.12, 0},
    {"sampling", 2500, 0, 0.05, 0, 0.06, 0},
    {"sampling", 2500, 0, 0.05, 0, 0.09, 0},
    {"sampling", 2500, 0, 0.05, 0, 0.15, 0},
    {"sampling", 2500, 0, 0.05, 0, 0.18, 0},
    {"sampling", 2500, 0, 0.05, 0, 0.21, 0},
    {"sampling", 2500, 0, 0.05, 0, 0.24, 0},
};

static maker *condition_maker(const condition *c)
{
    io_text t = {0};
    io_put(&t, "seed = 74001\nmaterial = mos2-2h-1\nsize = %d\npixel = %.2f\n"
           "dose = %.0f\njitter = %.2f\nhum = %.2f\nhum_cycles = 0.9\nscatter "
           "= vx1 0.06\nscatter = vx2 0.02\nclouds = %d\ncloud_height = %.0f\n"
           "cloud_core = %.1f\n", 8 * (int)(3.84 / c->pixel + 0.5), c->pixel,
           c->dose / (c->pixel * c->pixel), c->jitter, c->hum,
           c->carbon > 0 ? 1 : 0, c->carbon > 0 ? 10 * c->carbon : 1,
           c->loose ? 0 : CORE);
    maker *m = t.failed ? fail("not enough memory"),
          NULL          : maker_new(SCOPE, t.s);
    io_text_free(&t);
    return m;
}

/* F1 of both classes by each method under one condition; f1 (METHODS): those
   of single vacancies. */
static int bench_row(vacancies *v, io_text *csv, double *f1,
                     const condition *c, int images)
{
    tally t[METHODS][CLASSES] = {0};
    int bad = 0;
    v->m = condition_maker(c);
    for (int i = 0; i < images && !bad; i++) {
        bad = maker_draw(v->m, (uint64_t)i);
        for (int k = 0; k < v->methods && !bad; k++) {
            const analysis *a = find_in_drawn(&v->method[k], v->m);
            bad = !a || tally_add(&t[k][0], v->m, a, 1)
                  || tally_add(&t[k][1], v->m, a, 2);
        }
    }
    maker_free(v->m);
    io_put(csv, "%s,%.0f,%.0f,%.2f,%.2f,%d,%d", c->group, c->dose, c->carbon,
           c->jitter, c->pixel, t[0][0].truth, t[0][1].truth);
    for (int j = 0; j < CLASSES; j++)
        for (int k = 0; k < v->methods; k++)
            io_put(csv, ",%.3f", tally_f1(&t[k][j]));
    io_put(csv, "\n");
    for (int k = 0; k < v->methods; k++) f1[k] = tally_f1(&t[k][0]);
    return bad;
}

static int bench_table(paper *p, vacancies *v)
{
    enum { ROWS = sizeof BENCH_ROW / sizeof *BENCH_ROW, FILMS = 5 };
    io_text csv = {0};
    int n = 0, bad = 0;
    io_put(&csv, "group,dose e/px,carbon nm,vibration A,A/px,VS1,VS2");
    for (int k = 0; k < CLASSES * v->methods; k++)
        io_put(&csv, k % v->methods ? ",%s" : k ? ",F1 VS2 %s" : ",F1 VS1 %s",
               METHOD_NAME[k % v->methods]);
    io_put(&csv, "\n");
    double nm[FILMS], y[METHODS * FILMS], f1[METHODS];
    for (int i = 0; i < ROWS && !bad; i++) {
        progress("vacancies", i, ROWS);
        bad = bench_row(v, &csv, f1, &BENCH_ROW[i], 24);
        if (i != CLEAR && strcmp(BENCH_ROW[i].group, "carbon")) continue;
        for (int k = 0; k < v->methods; k++) y[k * FILMS + n] = f1[k];
        nm[n++] = BENCH_ROW[i].carbon;
    }
    progress("vacancies", ROWS, ROWS);
    if (put_table(p, bad, "benchmark", "Vacancies: networks and the "
                  "conventional analysis side by side (METHOD F.4); atoms of "
                  "loose carbon lie anywhere, others 1.3 A apart", &csv))
        return 1;
    const char *name[METHODS + 1] = {NULL};
    memcpy(name, METHOD_NAME, (size_t)v->methods * sizeof *name);
    put_graph(p, "single vacancies under carbon", name, 0, y,
              &(plot){"carbon / nm", "F1", nm, n, NULL, 0, 0});
    return 0;
}

/* ---------- 004: concentrations, figure 4 --------------------------------- */

enum { GROWN = 24, TREATED = 32, BINS = 60 };

static const char FIGURE_4[] =
    "seed = 74004\nmaterial = mos2-2h-1\nsize = 256\npixel = 0.12\n"
    "voltage = 80\naperture = 23\ninner = 40\nouter = 160\n"
    "thermal = 0.06\nbackground = 0.1\ncloud_sigma = 60\ncloud_core = 1.3\n"
    "dose = log 60000..300000\njitter = 0.02..0.15\nhum = 30% 0..0.1\n"
    "source = 1..1.3\ndefocus = normal 0 12\na1 = normal 0 5\n"
    "clouds = 30% 1\ncloud_height = 2..10\nscatter = vx1 ";

static const char *const SAMPLE[] = {"as grown", "treated", NULL};

typedef struct { /* c by truth, network, intensity, with errors */
    double c[3], error[3];
    int treated;
} concentration;

static void true_concentration(double *c, const maker *m)
{
    const atomdl_structure *t = &m->sample.structure;
    int sites = 0, lost = 0;
    for (uint32_t i = 0; i < t->columns; i++) {
        int k = column_class(t, &t->column[i]);
        if (k < 0 || at_border(m, t->column[i].x, t->column[i].y)) continue;
        sites++;
        lost += k;
    }
    *c = sites ? lost / (2. * sites) : 0;
}

/* Intensities of all columns, and of those by what the network calls them. */
static void histograms(int (*count)[BINS], const analysis *values,
                       const analysis *by)
{
    int j, kind;
    for (int i = 0; i < values->got.atoms; i++) {
        const atomdl_node *p = &values->got.node[i];
        int bin = (int)(values->got.value[i] / 2.4 * BINS);
        if (!(values->got.value[i] >= 0) || bin >= BINS) continue;
        for (j = 0, kind = 1; j < by->got.atoms; j++) {
            double dx = by->got.node[j].x - p->x;
            double dy = by->got.node[j].y - p->y;
            if (dx * dx + dy * dy < 0.81) kind = by->got.node[j].count ? 2 : 3;
        }
        count[0][bin]++;
        count[kind][bin]++;
    }
}

static int figure_4_images(vacancies *v, concentration *list, int *n,
                           int (*count)[BINS], int treated)
{
    int bad = 0, images = treated ? TREATED : GROWN;
    v->m = maker_new(FIGURE_4, treated
                     ? "0.02..0.14\nscatter = vx2 0.004..0.03\n"
                     : "0.002..0.05\nscatter = vx2 0..0.004\n");
    for (int i = 0; i < images && !bad; i++) {
        concentration *c = &list[*n];
        progress("concentrations", *n, GROWN + TREATED);
        const analysis *by[] = {find_in_sample(&v->method[OWN], v->m,
                                               (uint64_t)i), NULL};
        if (by[0]) by[1] = find_in_drawn(&v->method[INTENSITY], v->m);
        if ((bad = !by[1]) != 0) break;
        for (int k = 0; k < 2; k++) {
            c->c[k + 1] = by[k]->got.concentration;
            c->error[k + 1] = by[k]->got.concentration_error;
        }
        histograms(count, by[1], by[0]);
        true_concentration(&c->c[0], v->m);
        c->treated = treated;
        ++*n;
    }
    progress("concentrations", GROWN + TREATED, GROWN + TREATED);
    maker_free(v->m);
    return bad;
}

/* "y against x: slope, intercept, r, mean |y - x|" */
static void put_line(io_text *csv, const char *name, const concentration *c,
                     int n, int y, int x)
{
    double mx = 0, my = 0, xx = 0, xy = 0, yy = 0, off = 0;
    for (int i = 0; i < n; i++) {
        mx += c[i].c[x] / n;
        my += c[i].c[y] / n;
    }
    for (int i = 0; i < n; i++) {
        double u = c[i].c[x] - mx, w = c[i].c[y] - my;
        double d = c[i].c[y] - c[i].c[x];
        xx += u * u;
        xy += u * w;
        yy += w * w;
        off += (d < 0 ? -d : d) / n;
    }
    io_put(csv, "%s,%.3f,%.3f,%.4f,%.3f\n", name, xy / xx,
           100 * (my - xy / xx * mx), xy / atomdl_sqrt(xx * yy), 100 * off);
}

/* The columns' intensities of one group of samples. */
static void plot_intensities(paper *p, int (*count)[BINS], int treated)
{
    static const char *const KIND[] = {"all columns", "called atoms", "VS1",
                                       "VS2", NULL};
    double x[BINS], y[4 * BINS];
    for (int i = 0; i < BINS; i++) {
        x[i] = (i + 0.5) * 2.4 / BINS;
        for (int k = 0; k < 4; k++) y[k * BINS + i] = count[k][i];
    }
    put_graph(p, SAMPLE[treated], KIND, 0, y,
              &(plot){"intensity over that of S2", "columns", x, BINS, NULL, 0,
                      0});
}

/* The network's concentrations over those of method `other`. */
static void plot_concentrations(paper *p, const concentration *c, int n,
                                int other, const char *x_title)
{
    double x[GROWN + TREATED], y[2 * (GROWN + TREATED)];
    for (int i = 0; i < n; i++) {
        x[i] = 100 * c[i].c[other];
        for (int k = 0; k < 2; k++)
            y[k * n + i] = c[i].treated == k ? 100 * c[i].c[1] : UNSEEN;
    }
    put_graph(p, "missing S", SAMPLE, 1, y,
              &(plot){x_title, "network / %", x, n, NULL, 0, 0});
}

static int figure_4(paper *p, vacancies *v)
{
    int count[2][4][BINS] = {0}, n = 0;
    io_text csv = {0}, fit = {0};
    concentration list[GROWN + TREATED] = {0};
    if (figure_4_images(v, list, &n, count[0], 0)
        || figure_4_images(v, list, &n, count[1], 1))
        return 1;
    io_put(&csv, "image,sample,truth %%,network %%,error,intensity %%,error\n");
    for (int i = 0; i < n; i++) {
        const concentration *c = &list[i];
        io_put(&csv, "%d,%s,%.3f,%.3f,%.3f,%.3f,%.3f\n", i + 1,
               SAMPLE[c->treated], 100 * c->c[0], 100 * c->c[1],
               100 * c->error[1], 100 * c->c[2], 100 * c->error[2]);
    }
    io_put(&fit, "figures 4o and 4p,slope,intercept %%,r,mean difference %%\n");
    put_line(&fit, "network against intensity (paper: linear)", list, n, 1, 2);
    put_line(&fit, "network against truth", list, n, 1, 0);
    put_line(&fit, "intensity against truth", list, n, 2, 0);
    io_put(&p->page, "<h2>Concentrations of vacancies (figure 4)</h2>\n");
    int bad = put_table(p, 0, "concentration-fit", "Linear relations", &fit);
    io_put(&p->page, "<div class=\"f\">");
    plot_concentrations(p, list, n, 2, "intensity / %");
    plot_concentrations(p, list, n, 0, "truth / %");
    plot_intensities(p, count[0], 0);
    plot_intensities(p, count[1], 1);
    io_put(&p->page, "</div>\n");
    return put_table(p, bad, "concentrations", "Each image", &csv);
}

/* ---------- 004: maps of classes ------------------------------------------ */

static int put_confusion(paper *p, const char *name, const char *caption,
                      const matrix *m, const atomdl_finder *of)
{
    io_text csv = {0};
    io_put(&csv, "truth / called %%");
    for (int j = 0; j < of->classes; j++)
        io_put(&csv, ",%s", of->class_of[j].name);
    io_put(&csv, ",pixels\n");
    for (int i = 0; i < of->classes; i++) {
        double n = 0;
        for (int j = 0; j < of->classes; j++) n += m->n[i][j];
        io_put(&csv, "%s", of->class_of[i].name);
        for (int j = 0; j < of->classes; j++)
            io_put(&csv, ",%.1f", n > 0 ? 100 * m->n[i][j] / n : 0);
        io_put(&csv, ",%.0f\n", n);
    }
    return put_table(p, 0, name, caption, &csv);
}

/* Of method k, as table `name`. */
static int vacancy_pixels(paper *p, vacancies *v, int k, const char *name,
                          double *accuracy)
{
    double n = 0;
    matrix m;
    if (count_pixels(&m, &v->method[k], SCOPE, "seed = 74003\nmaterial = "
                     "mos2-2h-1\nsize = 256\npixel = 0.12\ndose = 173611\n"
                     "jitter = 0.05\nscatter = vx1 0.03\nscatter = vx2 0.01\n"
                     "class = background\nclass = VS1 column S in vx1 0.95\n"
                     "class = VS2 column vacancy in vx2 0.95\n", 24))
        return 1;
    *accuracy = matrix_accuracy(&m);
    for (int j = 0; j < ATOMDL_CLASSES; j++) n += m.n[0][j];
    char caption[120];
    sprintf(caption, "Pixels of vacancies%s, 2,500 electrons a pixel, no "
            "carbon; %.2f %% of them are background",
            k ? " by --vacancy" : "", 100 * n / (24. * 256 * 256));
    return put_confusion(p, name, caption, &m, v->method[k].s.m);
}

/* ---------- 004: stacking and carbon, figure 5 ---------------------------- */

static const char STACKING[] =
    "seed = 74005\nsize = 256\npixel = 0.15\nmaterial = mos2-2h-1 mos2-2h-2 "
    "mos2-2h-3 mos2-3r-2:0.5 mos2-3r-2b:0.5 mos2-3r-3 mos2-1t-1\n"
    "dose = log 60000..300000\njitter = 0.02..0.15\nvoltage = 80\n"
    "aperture = 23\ninner = 40\nouter = 160\nsource = 0.9..1.3\n"
    "defocus = normal 0 12\na1 = normal 0 5\nbackground = 0..0.1\n"
    "thermal = 0.06\n";
static const char STACKING_CLASSES[] =
    "class = vacuum\nclass = 1L-2H region mos2-2h-1\n"
    "class = 2L-2H region mos2-2h-2\nclass = 3L-2H region mos2-2h-3\n"
    "class = 2L-3R region mos2-3r-2\nclass = 2L-3R region mos2-3r-2b\n"
    "class = 3L-3R region mos2-3r-3\nclass = 1L-1T region mos2-1t-1\n";
static const char CARBON_CLASSES[] =
    "class = clean\nclass = 0-1nm thickness 2..10\n"
    "class = 1-2nm thickness 10..20\nclass = 2-4nm thickness 20..40\n"
    "class = 4nm+ thickness 40..1000\n";

enum { CLEAN, BOUNDARIES, CARBON, SETS, THICK = 5 };

typedef struct {
    network stacking, carbon;
    matrix all[SETS], masked, thickness; /* masked: called 2 nm or less */
    matrix by[THICK];                    /* true thickness */
} stackings;

/* Counts the pixels of one image; b: the carbon network's; label: the true
   thickness, class by class. */
static void stacking_pixels(stackings *s, int set, const maker *m,
                            const analysis *a, const analysis *b,
                            const uint8_t *label)
{
    int nc = s->stacking.s.m->classes;
    for (int y = 0; y < m->r.h; y++)
        for (int x = 0; x < m->r.w; x++) {
            size_t at = (size_t)(y * m->r.w + x);
            int truth = m->sample.label[at], c = called_class(a, nc, m, x, y);
            s->all[set].n[truth][c] += 1;
            if (set != CARBON) continue;
            int t = called_class(b, THICK, m, x, y);
            if (t <= 2) s->masked.n[truth][c] += 1;
            s->by[label[at]].n[truth][c] += 1;
            s->thickness.n[label[at]][t] += 1;
        }
}

static int stacking_set(stackings *s, int set, int images)
{
    static const char *const MORE[SETS] = {
        "", "step = 1\nwave = 50% 0..4\nedge = 15% 1\n",
        ("clouds = choice 1 2 3\ncloud_sigma = 8..40\n"
         "cloud_height = log 2..60\ncloud_core = 1.3\n")};
    char text[2][2048];
    snprintf(text[0], sizeof text[0], "%s%s", MORE[set], STACKING_CLASSES);
    snprintf(text[1], sizeof text[1], "%s%s", MORE[set], CARBON_CLASSES);
    maker *m = maker_new(STACKING, text[0]);
    maker *t = maker_new(STACKING, text[1]);
    int bad = 0;
    for (int i = 0; i < images && !bad; i++) {
        progress("stacking", set * images + i, SETS * images);
        const analysis *a = find_in_sample(&s->stacking, m, (uint64_t)i);
        const analysis *b =
            a && set == CARBON ? find_in_drawn(&s->carbon, m) : a;
        bad = !a || !b || maker_draw(t, (uint64_t)i);
        if (!bad) stacking_pixels(s, set, m, a, b, t->sample.label);
    }
    if (set == SETS - 1) progress("stacking", SETS * images, SETS * images);
    maker_free(m);
    maker_free(t);
    return bad;
}

/* A cell; "none": the class has no pixels there. */
static void put_recall(io_text *csv, const matrix *m, int c)
{
    double r = matrix_recall(m, c);
    if (r < 0) io_put(csv, ",none");
    else io_put(csv, ",%.1f", 100 * r);
}

/* The part of its set's pixels that column k of the table counts. */
static double kept(const stackings *s, const matrix *m, int k)
{
    return matrix_total(m)
           / matrix_total(&s->all[k > 0 && k <= SETS ? k - 1 : CARBON]);
}

/* Accuracy by class, in the columns of the paper's text. */
static int stacking_table(paper *p, const stackings *s)
{
    enum { COLUMNS = 1 + SETS + THICK };
    static const char *const PAPER[] = {"", "> 95", "> 95", "no sample", "88",
                                        "> 95", "no sample"};
    const atomdl_finder *of = s->stacking.s.m;
    const matrix *column[COLUMNS] = {&s->masked};
    for (int k = 0; k < SETS; k++) column[1 + k] = &s->all[k];
    for (int k = 0; k < THICK; k++) column[1 + SETS + k] = &s->by[k];
    io_text csv = {0};
    io_put(&csv, "class,paper (carbon called 2 nm or less) %%,ours,clean,with "
           "boundaries,any carbon,clean film,0-1 nm,1-2 nm,2-4 nm,4 nm+\n");
    for (int c = 0; c < of->classes; c++) {
        io_put(&csv, "%s,%s", of->class_of[c].name, c < 7 ? PAPER[c] : "");
        for (int k = 0; k < COLUMNS; k++) put_recall(&csv, column[k], c);
        io_put(&csv, "\n");
    }
    io_put(&csv, "all,");
    for (int k = 0; k < COLUMNS; k++)
        io_put(&csv, ",%.1f", 100 * matrix_accuracy(column[k]));
    io_put(&csv, "\npart of the pixels,");
    for (int k = 0; k < COLUMNS; k++)
        io_put(&csv, ",%.1f", 100 * kept(s, column[k], k));
    io_put(&csv, "\n");
    return put_table(p, 0, "stacking", "Accuracy of stacking, % of a class's "
                     "pixels, and against true carbon", &csv);
}

/* ---------- 004: figure 3 ------------------------------------------------- */

/* The curves of a training's log, a text. */
static int put_log(paper *p, const char *name, const char *const *series_of,
                   const char *text)
{
    const char *line, *from = line_next(text);
    int step = csv_column(text, "step"), n = 0, i = 0;
    for (line = from; *line; line = line_next(line)) n++;
    double *x = calloc((size_t)n + 1, (SERIES + 1) * sizeof *x);
    if (!x) return fail("not enough memory");
    for (line = from; *line; line = line_next(line), i++) {
        csv_number(&x[i], line, step);
        for (int k = 0; series_of[k]; k++) {
            double *y = &x[(k + 1) * n + i];
            if (!csv_number(y, line, csv_column(text, series_of[k])))
                *y = UNSEEN;
        }
    }
    put_graph(p, name, series_of, 0, x + n,
              &(plot){"step", "", x, n, NULL, 0, 0});
    free(x);
    return 0;
}

/* The curves of weights/NAME.csv, where that is. */
static int put_curves(paper *p, const char *name, const char *const *series_of)
{
    char path[200];
    snprintf(path, sizeof path, "weights/%.100s.csv", name);
    io_bytes file;
    if (text_read(&file, path, 1 << 24)) {
        io_put(&p->page, "<p>No %s here: no curves of its training.</p>\n",
               path);
        return 0;
    }
    int bad = put_log(p, name, series_of, (const char *)file.data);
    free(file.data);
    return bad;
}

/* The image of a sample on a canvas, enlarged. */
static int sample_canvas(io_canvas *c, const maker *m, int zoom)
{
    const atomdl_image *image = &m->sample.image;
    return io_canvas_image(c, image->px, (size_t)image->h, (size_t)image->w,
                           zoom, 0.002, 0.998) ? fail("%s", io_reason()) : 0;
}

/* Truth as rings, what the network found as discs. */
static int picture_vacancies(paper *p, vacancies *v, const condition *of)
{
    static double xy[2 * MOST];
    static const io_pen PEN[2][2] = {{{0x2fb4ff, 255}, {0x3ddc84, 255}},
                                     {{0x2fb4ff, 200}, {0x3ddc84, 200}}};
    const int zoom = 2;
    v->m = condition_maker(of);
    const analysis *a;
    io_canvas c;
    int bad = !v->m || maker_draw(v->m, 3)
              || !(a = find_in_drawn(&v->method[OWN], v->m))
              || sample_canvas(&c, v->m, zoom);
    for (int k = 1; k <= CLASSES && !bad; k++) {
        double unit = zoom / v->m->sample.pixel;
        int n = true_places(xy, v->m, k);
        for (int i = 0; i < n; i++)
            io_draw_circle(&c, xy[2 * i] * unit, xy[2 * i + 1] * unit,
                           0.95 * unit, 2, PEN[0][k - 1]);
        n = found_places(xy, v->m, a, k);
        for (int i = 0; i < n; i++)
            io_draw_disc(&c, xy[2 * i] * unit, xy[2 * i + 1] * unit,
                         0.4 * unit, PEN[1][k - 1]);
    }
    if (!bad) {
        io_draw_scale_bar(&c, v->m->sample.pixel / zoom);
        bad = put_canvas(p, of->carbon > 0
            ? "under carbon: VS1 blue, VS2 green; rings truth, discs found"
            : "VS1 blue, VS2 green; rings truth, discs found", &c);
    }
    maker_free(v->m);
    return bad;
}

/* The classes of a map as colours over the image; a NULL: the truth. */
static int picture_map(paper *p, const char *caption, const maker *m,
                       const atomdl_finder *of, const analysis *a)
{
    io_canvas c;
    if (sample_canvas(&c, m, 1)) return 1;
    for (int y = 0; y < m->r.h; y++)
        for (int x = 0; x < m->r.w; x++) {
            size_t at = (size_t)(y * m->r.w + x);
            int is = a ? called_class(a, of->classes, m, x, y)
                       : m->sample.label[at];
            unsigned colour = class_colour(of, is);
            for (int k = 0; k < 3; k++)
                c.rgb[3 * at + (size_t)k] = (unsigned char)
                    (c.rgb[3 * at + (size_t)k] / 2
                     + (colour >> (16 - 8 * k) & 255) / 2);
        }
    return put_canvas(p, caption, &c);
}

static int picture_stacking(paper *p, stackings *s)
{
    char text[2048];
    snprintf(text, sizeof text, "step = 1\nwave = 2\nclouds = 30%% 1\n"
             "cloud_sigma = 20\ncloud_height = 30\ncloud_core = 1.3\n%s",
             STACKING_CLASSES);
    maker *m = maker_new(STACKING, text);
    int bad = 0;
    for (int i = 0; i < 3 && !bad; i++) {
        const atomdl_finder *of = s->stacking.s.m;
        const analysis *a = find_in_sample(&s->stacking, m,
                                           (uint64_t)(i + 100));
        bad = !a || picture_map(p, "stacking: truth", m, of, NULL)
              || picture_map(p, "called", m, of, a);
        io_put(&p->page, "<br>\n");
    }
    maker_free(m);
    return bad;
}

/* ---------- Paper 004 ----------------------------------------------------- */

static int figure_3(paper *p, vacancies *v, double *accuracy)
{
    static const char *const CURVE[] = {"accuracy", "loss", "VS1_f1", "VS2_f1",
                                        NULL};
    io_put(&p->page, "<h2>Training and simulated images (figure 3)</h2>\n");
    double other;
    int bad = vacancy_pixels(p, v, OWN, "vacancy-pixels", accuracy);
    if (!bad && v->methods == METHODS)
        bad = vacancy_pixels(p, v, OTHER, "vacancy-pixels-other", &other);
    io_put(&p->page, "<div class=\"f\">");
    bad = bad || put_curves(p, "mos2-vacancy", CURVE)
          || picture_vacancies(p, v, &BENCH_ROW[CLEAR])
          || picture_vacancies(p, v, &BENCH_ROW[VEILED]);
    io_put(&p->page, "</div>\n");
    return bad;
}

static int figure_5(paper *p, stackings *s)
{
    static const char *const CURVE[] = {"accuracy", "loss", NULL};
    if (network_open(&s->stacking, p, "mos2-polymorph", "mos2", 0)
        || network_open(&s->carbon, p, "mos2-carbon", "mos2", 0))
        return 1;
    for (int k = 0; k < SETS; k++)
        if (stacking_set(s, k, 42)) return 1;
    io_put(&p->page, "<h2>Stacking and carbon (figures 3 and 5)</h2>\n");
    return put_curves(p, "mos2-polymorph", CURVE)
           || put_curves(p, "mos2-carbon", CURVE) || stacking_table(p, s)
           || put_confusion(p, "stacking-masked", "Figure 5f: where carbon is "
                            "called 2 nm or less", &s->masked, s->stacking.s.m)
           || put_confusion(p, "stacking-carbon", "All pixels, carbon up to "
                            "6 nm and more", &s->all[CARBON], s->stacking.s.m)
           || put_confusion(p, "carbon", "Thickness of carbon", &s->thickness,
                            s->carbon.s.m)
           || picture_stacking(p, s);
}

/* The paper's own numbers of its text. */
static int summary_004(paper *p, const stackings *s, double accuracy)
{
    io_text csv = {0};
    io_put(&csv, "quantity,paper,ours\nvacancies: pixel accuracy %%,> 98,%.2f\n"
           "stacking: pixel accuracy with boundaries %%,> 95,%.2f\n"
           "stacking: carbon called 2 nm or less %%,> 95 (2L-3R: 88),"
           "%.2f (2L-3R: %.1f)\npart of the pixels that is %%,not said,%.1f\n",
           100 * accuracy, 100 * matrix_accuracy(&s->all[BOUNDARIES]),
           100 * matrix_accuracy(&s->masked),
           100 * matrix_recall(&s->masked, 4), 100 * kept(s, &s->masked, 0));
    return put_table(p, 0, "summary", "Paper and AtomDL", &csv);
}

/* The tables compare class by class. */
static int open_other(vacancies *v, const paper *p)
{
    network *n = &v->method[OTHER];
    if (network_open(n, p, p->vacancy, "mos2", 0)) return 1;
    if (!strcmp(n->s.m->meta.classes, v->method[OWN].s.m->meta.classes))
        return 0;
    return fail("%s has classes %s, not %s", p->vacancy, n->s.m->meta.classes,
                v->method[OWN].s.m->meta.classes);
}

static int parts_004(paper *p, vacancies *v, stackings *s)
{
    double accuracy = 0;
    if (network_open(&v->method[0], p, "mos2-vacancy", "mos2", 0)
        || network_open(&v->method[1], p, "dichalcogenide", "mos2", 0)
        || network_open(&v->method[2], p, "dichalcogenide", "mos2", 1))
        return 1;
    v->methods = p->vacancy ? METHODS : METHODS - 1;
    if (p->vacancy && open_other(v, p)) return 1;
    io_put(&p->page, "<h2>Lee et al. 2022, MoS2, in simulation</h2>\n");
    return figure_3(p, v, &accuracy) || bench_table(p, v) || figure_4(p, v)
           || figure_5(p, s) || summary_004(p, s, accuracy);
}

int paper_004(paper *p)
{
    vacancies *v = calloc(1, sizeof *v);
    stackings *s = calloc(1, sizeof *s);
    int bad = v && s ? parts_004(p, v, s) : fail("not enough memory");
    for (int i = 0; v && i < METHODS; i++) session_close(&v->method[i].s);
    if (s) {
        session_close(&s->stacking.s);
        session_close(&s->carbon.s);
    }
    free(v);
    free(s);
    return bad;
}
