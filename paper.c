/* SPDX-License-Identifier: MIT
   atomdl paper: the evaluations of papers 001, 002 (with 003) and 004 again,
   in simulation with fixed seeds. Tables as CSV, one page with tables and
   figures, and the digest of all tables on standard output. */
#include "analyze.h"
#include "main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char PAPER_HELP[] =
    "usage: atomdl paper 001|002|004 [-o DIR] [--threads N]\n"
    "\n"
    "Reruns that paper's evaluation on simulated images of fixed seeds. Into\n"
    "DIR (default: paper-NNN) go its tables as CSV, with the paper's figure\n"
    "beside ours where it printed one, and report.html. Prints the digest of\n"
    "the tables, the same on every machine. Takes half a minute. 004 reads\n"
    "networks from weights/; parts whose networks are not there are left out,\n"
    "and it says so. --threads: default 1, as the images are small.\n"
    "\n"
    "  001   Ziatdinov 2017: silicon in graphene, figures 2 to 8\n"
    "  002   Ziatdinov 2018, Maksov 2019 (paper 003 too): defects of WS2 in\n"
    "        motion; the published transition matrix. Leaves its movie, and\n"
    "        what atomdl movie makes of it, in DIR\n"
    "  004   Lee 2022: vacancies and stacking of MoS2, figures 3 to 5\n"
    "\n"
    "example:  atomdl paper 004 -o mos2\n"
    "          then open mos2/report.html\n";

/* ---------- The page ------------------------------------------------------ */

typedef struct {
    const char *out;
    int threads;
    io_text page;
    uint64_t digest;
} paper;

/* Writes a table as DIR/NAME.csv and into the page; frees it. */
static int put_table(paper *p, const char *name, const char *caption,
                     io_text *csv)
{
    char file[100];
    const char *at = csv->s;
    int row = 0;

    if (csv->failed || !csv->n) return fail("not enough memory");
    p->digest = atomdl_digest_bytes(p->digest, csv->s, csv->n);
    io_put(&p->page, "<h3>%s</h3>\n<div style=\"overflow-x:auto\"><table>",
           caption);
    for (; *at; row++) {
        const char *cell = row ? "td" : "th";

        io_put(&p->page, "<tr>");
        do {
            char text[200];
            size_t n = strcspn(at, ",\n");

            snprintf(text, sizeof text, "%.*s", (int)n, at);
            io_put(&p->page, "<%s>", cell);
            io_put_escaped(&p->page, text, IO_XML);
            io_put(&p->page, "</%s>", cell);
            at += n;
        } while (*at++ == ',');
        io_put(&p->page, "</tr>\n");
    }
    io_put(&p->page, "</table></div>\n");
    sprintf(file, "%.90s.csv", name);
    return save_text(p->out, csv, file);
}

enum { SERIES = 6 };

/* Lines, or dots, of y (series, n) over x (n); the names end in NULL. */
static void put_plot(paper *p, const char *caption, const char *const *name,
                     int dots, const double *x, const double *y, int n,
                     const char *x_title, const char *y_title)
{
    static const unsigned COLOUR[SERIES] = {0x2f7fd1, 0xe0662f, 0x3ca55c,
                                            0xb06cff, 0xd14f8a, 0x888888};
    series s[SERIES];
    int k;

    memset(s, 0, sizeof s);
    for (k = 0; k < SERIES && name[k]; k++) {
        s[k].name = name[k];
        s[k].colour = COLOUR[k];
        s[k].y = y + k * n;
        s[k].dots = dots;
    }
    io_put(&p->page, "<figure>");
    plot(&p->page, x_title, y_title, x, n, s, k, 1);
    io_put(&p->page, "<figcaption>%s</figcaption></figure>\n", caption);
}

static int put_canvas(paper *p, const char *caption, io_canvas *c)
{
    io_bytes png = {NULL, 0};
    int bad = io_png(&png, c->rgb, (size_t)c->w, (size_t)c->h, 3, 8);

    if (!bad) {
        io_put(&p->page, "<figure><img alt=\"\" src=\"");
        put_png(&p->page, &png);
        io_put(&p->page, "\"><figcaption>%s</figcaption></figure>\n", caption);
    }
    free(png.data);
    io_canvas_free(c);
    return bad ? fail("%s", io_reason()) : 0;
}

/* ---------- Samples ------------------------------------------------------- */

typedef struct {
    atomdl_recipe r;
    atomdl_source source;
    atomdl_arena shared, work; /* from malloc */
    atomdl_sample sample;
    uint64_t index;
} maker;

static void maker_free(maker *m)
{
    if (!m) return;
    free(m->shared.base);
    free(m->work.base);
    free(m);
}

static int source_stage(void *of, atomdl_arena *arena)
{
    maker *m = of;

    return atomdl_source_new(&m->source, &m->r, NULL, 0, arena);
}

/* A recipe of text and of more lines (may be NULL), ready for samples; NULL:
   said why. */
static maker *maker_new(const char *text, const char *more)
{
    maker *m = calloc(1, sizeof *m);
    atomdl_recipe_error e = {0, ""};
    char all[4096];
    int n;

    if (!m) return fail("not enough memory"), NULL;
    n = snprintf(all, sizeof all, "%s%s", text, more ? more : "");
    if (n >= (int)sizeof all
        || atomdl_recipe_parse(&m->r, &e, all, (size_t)n)) {
        fail("line %d of the evaluation: %s", e.line, e.text);
        return free(m), NULL;
    }
    if (!in_arena(source_stage, m, &m->shared, "recipe")) return m;
    return maker_free(m), NULL;
}

static int sample_stage(void *of, atomdl_arena *arena)
{
    maker *m = of;

    return atomdl_sample_new(&m->sample, &m->source, m->index, 1, arena);
}

/* Sample i as a microscope's file would hold it. */
static int maker_draw(maker *m, uint64_t i)
{
    m->index = i;
    return in_arena(sample_stage, m, &m->work, "sample");
}

/* ---------- Networks ------------------------------------------------------ */

typedef struct {
    options o;
    session s;
} network;

/* Loads weights as --weights; intensity: as --method. */
static int network_open(network *n, const paper *p, const char *weights,
                        const char *material, int intensity)
{
    analysis_defaults(&n->o, NULL, p->out);
    n->o.weights = weights;
    n->o.chemistry = atomdl_chemistry_find(material);
    n->o.intensity = intensity;
    n->o.threads = p->threads ? p->threads : 1; /* images are small */
    return session_open(&n->s, &n->o);
}

/* What `atomdl analyze` finds in the sample of a maker, until the next look;
   NULL: said why not. */
static const analysis *look(network *n, const maker *m)
{
    const atomdl_image *image = &m->sample.image;
    analysis *a = &n->s.a;

    session_clear(&n->s);
    a->quiet = 1;
    a->source = "image";
    strcpy(a->name, "image");
    a->frame = -1;
    a->w = image->w, a->h = image->h, a->px = image->px;
    a->pixel_x = a->pixel_y = m->sample.pixel;
    a->pixel_from = "option";
    return session_find(&n->s, PROB_KEPT) ? NULL : a;
}

/* ---------- 004: vacancies ------------------------------------------------ */

/* As the paper's microscope: 80 kV, 23 mrad, 40-160 mrad. */
static const char SCOPE[] =
    "voltage = 80\naperture = 23\ninner = 40\nouter = 160\nsource = 1.2\n"
    "thermal = 0.06\nbackground = 0.1\ncloud_sigma = 60\n";

enum { METHODS = 3, CLASSES = 2, MOST = 4096 };

typedef struct {
    network method[METHODS]; /* mos2-vacancy, dichalcogenide, intensity */
    maker *m;
} vacancies;

static const char *const METHOD_NAME[] = {"mos2-vacancy", "dichalcogenide",
                                          "intensity", NULL};

static int at_border(const maker *m, double x, double y)
{
    const atomdl_structure *t = &m->sample.structure;

    return x < 1 || y < 1 || x > t->w - 1 || y > t->h - 1;
}

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
    uint32_t i;
    int n = 0;

    for (i = 0; i < t->columns && n < MOST; i++) {
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
    int i, n = 0;

    for (i = 0; i < a->atoms && n < MOST; i++) {
        const atomdl_node *p = &a->node[i];

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

    return atomdl_match(&m->r, NULL, m->found, m->n, m->truth, m->k, 0.91,
                        arena);
}

/* Adds one image's pairs within half a bond. */
static int tally_add(tally *t, const maker *m, const analysis *a, int class_id)
{
    static pairing pairs;
    atomdl_arena arena = {0, 0, 0, 0, 0};
    int bad;

    pairs.n = found_places(pairs.found, m, a, class_id);
    pairs.k = true_places(pairs.truth, m, class_id);
    bad = in_arena(match_stage, &pairs, &arena, a->name);
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
} condition;

/* CLEAR: without carbon, else as the next ones */
enum { CLEAR = 3, VEILED = 6 };

static const condition BENCH_ROW[] = {
    {"dose", 250, 0, 0.05, 0, 0.12},   {"dose", 500, 0, 0.05, 0, 0.12},
    {"dose", 1000, 0, 0.05, 0, 0.12},  {"dose", 2500, 0, 0.05, 0, 0.12},
    {"dose", 10000, 0, 0.05, 0, 0.12}, {"carbon", 2500, 1, 0.05, 0, 0.12},
    {"carbon", 2500, 2, 0.05, 0, 0.12}, {"carbon", 2500, 4, 0.05, 0, 0.12},
    {"carbon", 2500, 6, 0.05, 0, 0.12},
    {"vibration", 2500, 0, 0.1, 0.1, 0.12},
    {"vibration", 2500, 0, 0.2, 0.2, 0.12},
    {"vibration", 2500, 0, 0.4, 0.2, 0.12},
    {"sampling", 2500, 0, 0.05, 0, 0.06}, {"sampling", 2500, 0, 0.05, 0, 0.09},
    {"sampling", 2500, 0, 0.05, 0, 0.15}, {"sampling", 2500, 0, 0.05, 0, 0.18},
    {"sampling", 2500, 0, 0.05, 0, 0.21}, {"sampling", 2500, 0, 0.05, 0, 0.24},
};

static maker *condition_maker(const condition *c)
{
    io_text t = {0};
    maker *m;

    io_put(&t, "seed = 74001\nmaterial = mos2-2h-1\nsize = %d\npixel = %.2f\n"
           "dose = %.0f\njitter = %.2f\nhum = %.2f\nhum_cycles = 0.9\n"
           "scatter = vx1 0.06\nscatter = vx2 0.02\nclouds = %d\n"
           "cloud_height = %.0f\n", 8 * (int)(3.84 / c->pixel + 0.5), c->pixel,
           c->dose / (c->pixel * c->pixel), c->jitter, c->hum,
           c->carbon > 0 ? 1 : 0, c->carbon > 0 ? 10 * c->carbon : 1);
    m = t.failed ? NULL : maker_new(SCOPE, t.s);
    io_text_free(&t);
    return m;
}

/* F1 of both classes by each method under one condition; f1 (METHODS): those
   of single vacancies. */
static int bench_row(vacancies *v, io_text *csv, double *f1,
                     const condition *c, int images)
{
    tally t[METHODS][CLASSES];
    int i, k, j, bad = 0;

    memset(t, 0, sizeof t);
    v->m = condition_maker(c);
    if (!v->m) return 1;
    for (i = 0; i < images && !bad; i++) {
        bad = maker_draw(v->m, (uint64_t)i);
        for (k = 0; k < METHODS && !bad; k++) {
            const analysis *a = look(&v->method[k], v->m);

            for (j = 0, bad = !a; j < CLASSES && !bad; j++)
                bad = tally_add(&t[k][j], v->m, a, j + 1);
        }
    }
    maker_free(v->m);
    if (bad) return 1;
    io_put(csv, "%s,%.0f,%.0f,%.2f,%.2f,%d,%d", c->group, c->dose, c->carbon,
           c->jitter, c->pixel, t[0][0].truth, t[0][1].truth);
    for (j = 0; j < CLASSES; j++)
        for (k = 0; k < METHODS; k++)
            io_put(csv, ",%.3f", tally_f1(&t[k][j]));
    io_put(csv, "\n");
    for (k = 0; k < METHODS; k++) f1[k] = tally_f1(&t[k][0]);
    return 0;
}

static int bench_table(paper *p, vacancies *v)
{
    enum { ROWS = sizeof BENCH_ROW / sizeof *BENCH_ROW, FILMS = 5 };
    io_text csv = {0};
    double nm[FILMS], y[METHODS * FILMS], f1[METHODS];
    int i, k, n = 0;

    io_put(&csv, "group,dose e/px,carbon nm,vibration A,A/px,VS1,VS2,"
           "F1 VS1 mos2-vacancy,dichalcogenide,intensity,"
           "F1 VS2 mos2-vacancy,dichalcogenide,intensity\n");
    for (i = 0; i < ROWS; i++) {
        progress("vacancies", i, ROWS);
        if (bench_row(v, &csv, f1, &BENCH_ROW[i], 24))
            return io_text_free(&csv), 1;
        if (i != CLEAR && strcmp(BENCH_ROW[i].group, "carbon")) continue;
        for (k = 0; k < METHODS; k++) y[k * FILMS + n] = f1[k];
        nm[n++] = BENCH_ROW[i].carbon;
    }
    progress("vacancies", ROWS, ROWS);
    if (put_table(p, "benchmark", "Vacancies: networks and the conventional "
                  "analysis side by side (METHOD F.4)", &csv))
        return 1;
    put_plot(p, "single vacancies under carbon", METHOD_NAME, 0, nm, y, n,
             "carbon / nm", "F1");
    return 0;
}

/* ---------- 004: concentrations, figure 4 --------------------------------- */

enum { GROWN = 24, TREATED = 32, BINS = 60 };

static const char FIGURE_4[] =
    "seed = 74004\nmaterial = mos2-2h-1\nsize = 256\npixel = 0.12\n"
    "voltage = 80\naperture = 23\ninner = 40\nouter = 160\n"
    "thermal = 0.06\nbackground = 0.1\ncloud_sigma = 60\n"
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
    int sites = 0, lost = 0, k;
    uint32_t i;

    for (i = 0; i < t->columns; i++) {
        k = column_class(t, &t->column[i]);
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
    int i, j, bin, kind;

    for (i = 0; i < values->atoms; i++) {
        const atomdl_node *p = &values->node[i];

        bin = (int)(values->value[i] / 2.4 * BINS);
        if (!(values->value[i] >= 0) || bin >= BINS) continue;
        for (j = 0, kind = 1; j < by->atoms; j++) {
            double dx = by->node[j].x - p->x;
            double dy = by->node[j].y - p->y;

            if (dx * dx + dy * dy < 0.81) kind = by->node[j].count ? 2 : 3;
        }
        count[0][bin]++;
        count[kind][bin]++;
    }
}

static int figure_4_images(vacancies *v, concentration *list, int *n,
                           int (*count)[BINS], int treated)
{
    int i, bad = 0, images = treated ? TREATED : GROWN;

    v->m = maker_new(FIGURE_4, treated
                     ? "0.02..0.14\nscatter = vx2 0.004..0.03\n"
                     : "0.002..0.05\nscatter = vx2 0..0.004\n");
    for (i = 0; i < images && v->m && !bad; i++) {
        concentration *c = &list[*n];

        progress("concentrations", *n, GROWN + TREATED);
        if ((bad = maker_draw(v->m, (uint64_t)i)) == 0) {
            const analysis *a = look(&v->method[0], v->m);
            const analysis *b = look(&v->method[2], v->m);

            if ((bad = !a || !b) != 0) break;
            c->c[1] = a->concentration, c->error[1] = a->concentration_error;
            c->c[2] = b->concentration, c->error[2] = b->concentration_error;
            histograms(count, b, a);
            true_concentration(&c->c[0], v->m);
            c->treated = treated;
            ++*n;
        }
    }
    progress("concentrations", GROWN + TREATED, GROWN + TREATED);
    bad |= !v->m;
    maker_free(v->m);
    return bad;
}

/* "y against x: slope, intercept, r, mean |y - x|" */
static void put_line(io_text *csv, const char *name, const concentration *c,
                     int n, int y, int x)
{
    double mx = 0, my = 0, xx = 0, xy = 0, yy = 0, off = 0;
    int i;

    for (i = 0; i < n; i++) {
        mx += c[i].c[x] / n;
        my += c[i].c[y] / n;
    }
    for (i = 0; i < n; i++) {
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
    int i, k;

    for (i = 0; i < BINS; i++) {
        x[i] = (i + 0.5) * 2.4 / BINS;
        for (k = 0; k < 4; k++) y[k * BINS + i] = count[k][i];
    }
    put_plot(p, treated ? "treated" : "as grown", KIND, 0, x, y, BINS,
             "intensity over that of S2", "columns");
}

/* The network's concentrations over those of method `other`. */
static void plot_concentrations(paper *p, const concentration *c, int n,
                                int other, const char *x_title)
{
    double x[GROWN + TREATED], y[2 * (GROWN + TREATED)];
    int i, k;

    for (i = 0; i < n; i++) {
        x[i] = 100 * c[i].c[other];
        for (k = 0; k < 2; k++)
            y[k * n + i] = c[i].treated == k ? 100 * c[i].c[1] : UNSEEN;
    }
    put_plot(p, "missing S", SAMPLE, 1, x, y, n, x_title, "network / %");
}

static int figure_4(paper *p, vacancies *v)
{
    concentration list[GROWN + TREATED];
    int count[2][4][BINS], n = 0, i;
    io_text csv = {0}, fit = {0};

    memset(count, 0, sizeof count);
    memset(list, 0, sizeof list);
    if (figure_4_images(v, list, &n, count[0], 0)
        || figure_4_images(v, list, &n, count[1], 1))
        return 1;
    io_put(&csv, "image,sample,truth %%,network %%,error,intensity %%,error\n");
    for (i = 0; i < n; i++) {
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
    if (put_table(p, "concentration-fit", "Linear relations", &fit))
        return io_text_free(&csv), 1;
    io_put(&p->page, "<div class=\"f\">");
    plot_concentrations(p, list, n, 2, "intensity / %");
    plot_concentrations(p, list, n, 0, "truth / %");
    plot_intensities(p, count[0], 0);
    plot_intensities(p, count[1], 1);
    io_put(&p->page, "</div>\n");
    return put_table(p, "concentrations", "Each image", &csv);
}

/* ---------- 004: maps of classes ------------------------------------------ */

/* The likeliest class at pixel (x, y) of the maker's sample. */
static int called(const analysis *a, int classes, const maker *m, int x,
                  int y)
{
    const float *prob = a->prob;
    size_t w = (size_t)a->net_w, plane = w * (size_t)a->net_h, at;
    int u = (int)((x + 0.5) * a->net_w / m->sample.image.w);
    int v = (int)((y + 0.5) * a->net_h / m->sample.image.h), c, best = 0;

    at = (size_t)(v < a->net_h ? v : a->net_h - 1) * w
         + (size_t)(u < a->net_w ? u : a->net_w - 1);
    for (c = 1; c < classes; c++)
        if (prob[(size_t)c * plane + at] > prob[(size_t)best * plane + at])
            best = c;
    return best;
}

/* Counts of (truth, called) over pixels. */
typedef struct {
    double n[ATOMDL_CLASSES][ATOMDL_CLASSES];
} matrix;

static double matrix_accuracy(const matrix *m)
{
    double r = 0, n = 0;
    int i, j;

    for (i = 0; i < ATOMDL_CLASSES; i++)
        for (j = 0; j < ATOMDL_CLASSES; j++) {
            n += m->n[i][j];
            if (i == j) r += m->n[i][j];
        }
    return n > 0 ? r / n : 0;
}

/* -1: no pixels of class c */
static double matrix_recall(const matrix *m, int c)
{
    double n = 0;
    int j;

    for (j = 0; j < ATOMDL_CLASSES; j++) n += m->n[c][j];
    return n > 0 ? m->n[c][c] / n : -1;
}

static int put_matrix(paper *p, const char *name, const char *caption,
                      const matrix *m, const model *of)
{
    io_text csv = {0};
    int i, j;

    io_put(&csv, "truth / called %%");
    for (j = 0; j < of->classes; j++) io_put(&csv, ",%s", of->class_of[j].name);
    io_put(&csv, ",pixels\n");
    for (i = 0; i < of->classes; i++) {
        double n = 0;

        for (j = 0; j < of->classes; j++) n += m->n[i][j];
        io_put(&csv, "%s", of->class_of[i].name);
        for (j = 0; j < of->classes; j++)
            io_put(&csv, ",%.1f", n > 0 ? 100 * m->n[i][j] / n : 0);
        io_put(&csv, ",%.0f\n", n);
    }
    return put_table(p, name, caption, &csv);
}

/* Counts the pixels of so many images of a recipe against its labels. */
static int count_pixels(matrix *counts, network *n, const char *scope,
                        const char *more, int images)
{
    int classes = n->s.m->classes, i, x, y, bad;
    maker *m = maker_new(scope, more);
    const analysis *a;

    memset(counts, 0, sizeof *counts);
    for (i = 0, bad = !m; i < images && !bad; i++) {
        bad = maker_draw(m, (uint64_t)i) || !(a = look(n, m));
        for (y = 0; !bad && y < m->r.h; y++)
            for (x = 0; x < m->r.w; x++)
                counts->n[m->sample.label[y * m->r.w + x]]
                         [called(a, classes, m, x, y)] += 1;
    }
    maker_free(m);
    return bad;
}

static int vacancy_pixels(paper *p, vacancies *v, double *accuracy)
{
    char caption[120];
    double n = 0;
    matrix m;
    int j;

    if (count_pixels(&m, &v->method[0], SCOPE,
                     "seed = 74003\nmaterial = mos2-2h-1\nsize = 256\n"
                     "pixel = 0.12\ndose = 173611\njitter = 0.05\n"
                     "scatter = vx1 0.03\nscatter = vx2 0.01\n"
                     "class = background\nclass = VS1 column S in vx1 0.95\n"
                     "class = VS2 column vacancy in vx2 0.95\n", 24))
        return 1;
    *accuracy = matrix_accuracy(&m);
    for (j = 0; j < ATOMDL_CLASSES; j++) n += m.n[0][j];
    sprintf(caption, "Pixels of vacancies, 2,500 electrons a pixel, no carbon; "
            "%.2f %% of them are background", 100 * n / (24. * 256 * 256));
    return put_matrix(p, "vacancy-pixels", caption, &m, v->method[0].s.m);
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
    int nc = s->stacking.s.m->classes, x, y;

    for (y = 0; y < m->r.h; y++)
        for (x = 0; x < m->r.w; x++) {
            size_t at = (size_t)(y * m->r.w + x);
            int truth = m->sample.label[at], c = called(a, nc, m, x, y), t;

            s->all[set].n[truth][c] += 1;
            if (set != CARBON) continue;
            t = called(b, THICK, m, x, y);
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
         "cloud_height = log 2..60\n")};
    char text[2][2048];
    const analysis *a, *b = NULL;
    maker *m, *t;
    int i, bad;

    snprintf(text[0], sizeof text[0], "%s%s", MORE[set], STACKING_CLASSES);
    snprintf(text[1], sizeof text[1], "%s%s", MORE[set], CARBON_CLASSES);
    m = maker_new(STACKING, text[0]);
    t = maker_new(STACKING, text[1]);
    for (i = 0, bad = !m || !t; i < images && !bad; i++) {
        progress("stacking", set * images + i, SETS * images);
        bad = maker_draw(m, (uint64_t)i) || maker_draw(t, (uint64_t)i)
              || !(a = look(&s->stacking, m))
              || (set == CARBON && !(b = look(&s->carbon, m)));
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

/* Accuracy by class, in the columns of the paper's text. */
static int stacking_table(paper *p, const stackings *s)
{
    static const char *const PAPER[] = {"", "> 95", "> 95", "no sample", "88",
                                        "> 95", "no sample"};
    const model *of = s->stacking.s.m;
    io_text csv = {0};
    int c, k;

    io_put(&csv, "class,paper (carbon called 2 nm or less) %%,ours,clean,"
           "with boundaries,any carbon,clean film,0-1 nm,1-2 nm,2-4 nm,"
           "4 nm+\n");
    for (c = 0; c < of->classes; c++) {
        io_put(&csv, "%s,%s", of->class_of[c].name, c < 7 ? PAPER[c] : "");
        put_recall(&csv, &s->masked, c);
        for (k = 0; k < SETS; k++) put_recall(&csv, &s->all[k], c);
        for (k = 0; k < THICK; k++) put_recall(&csv, &s->by[k], c);
        io_put(&csv, "\n");
    }
    io_put(&csv, "all,,%.1f", 100 * matrix_accuracy(&s->masked));
    for (k = 0; k < SETS; k++)
        io_put(&csv, ",%.1f", 100 * matrix_accuracy(&s->all[k]));
    for (k = 0; k < THICK; k++)
        io_put(&csv, ",%.1f", 100 * matrix_accuracy(&s->by[k]));
    io_put(&csv, "\n");
    return put_table(p, "stacking", "Accuracy of stacking, % of a class's "
                     "pixels, and against true carbon", &csv);
}

/* ---------- 004: figure 3 ------------------------------------------------- */

/* The curves of a training's log, a text. */
static int put_log(paper *p, const char *name, const char *const *series_of,
                   const char *text)
{
    int column[SERIES], step = csv_column(text, "step"), n = 0, i, k;
    const char *line, *from = text + strcspn(text, "\n");
    char value[FIELD];
    double *x;

    for (line = from; *line && line[1]; n++)
        line += 1 + strcspn(line + 1, "\n");
    x = calloc((size_t)n + 1, (SERIES + 1) * sizeof *x);
    if (!x) return fail("not enough memory");
    for (k = 0; series_of[k]; k++) column[k] = csv_column(text, series_of[k]);
    for (i = 0, line = from + 1; i < n; i++) {
        csv_field(value, line, step);
        x[i] = strtod(value, NULL);
        for (k = 0; series_of[k]; k++) {
            csv_field(value, line, column[k]);
            x[(k + 1) * n + i] = column[k] < 0 ? UNSEEN : strtod(value, NULL);
        }
        line += strcspn(line, "\n") + 1;
    }
    put_plot(p, name, series_of, 0, x, x + n, n, "step", "");
    free(x);
    return 0;
}

/* The curves of weights/NAME.csv, where that is. */
static int put_curves(paper *p, const char *name, const char *const *series_of)
{
    io_bytes file;
    char path[200], *text;
    int bad;

    snprintf(path, sizeof path, "weights/%.100s.csv", name);
    if (io_read(&file, path, 1 << 24)) {
        io_put(&p->page, "<p>No %s here: no curves of its training.</p>\n",
               path);
        return 0;
    }
    text = realloc(file.data, file.size + 1);
    if (!text) return free(file.data), fail("not enough memory");
    text[file.size] = 0;
    bad = put_log(p, name, series_of, text);
    free(text);
    return bad;
}

/* The image of a sample on a canvas, enlarged. */
static int sample_canvas(io_canvas *c, const maker *m, int zoom)
{
    const atomdl_image *image = &m->sample.image;
    size_t w = (size_t)image->w, h = (size_t)image->h;

    if (io_canvas_new(c, w * (size_t)zoom, h * (size_t)zoom))
        return fail("%s", io_reason());
    io_draw_image(c, image->px, h, w, zoom, 0.002, 0.998);
    return 0;
}

/* Truth as rings, what the network found as discs. */
static int picture_vacancies(paper *p, vacancies *v, const condition *of)
{
    static double xy[2 * MOST];
    static const io_pen PEN[2][2] = {{{0x2fb4ff, 255}, {0x3ddc84, 255}},
                                     {{0x2fb4ff, 200}, {0x3ddc84, 200}}};
    const int zoom = 2;
    const analysis *a;
    io_canvas c;
    int i, k, n, bad;

    v->m = condition_maker(of);
    bad = !v->m || maker_draw(v->m, 3) || !(a = look(&v->method[0], v->m))
          || sample_canvas(&c, v->m, zoom);
    for (k = 1; k <= CLASSES && !bad; k++) {
        double unit = zoom / v->m->sample.pixel;

        n = true_places(xy, v->m, k);
        for (i = 0; i < n; i++)
            io_draw_circle(&c, xy[2 * i] * unit, xy[2 * i + 1] * unit,
                           0.95 * unit, 2, PEN[0][k - 1]);
        n = found_places(xy, v->m, a, k);
        for (i = 0; i < n; i++)
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
                       const model *of, const analysis *a)
{
    io_canvas c;
    int x, y, k;

    if (sample_canvas(&c, m, 1)) return 1;
    for (y = 0; y < m->r.h; y++)
        for (x = 0; x < m->r.w; x++) {
            size_t at = (size_t)(y * m->r.w + x);
            int is = a ? called(a, of->classes, m, x, y)
                       : m->sample.label[at];
            unsigned colour = of->class_of[is].colour;

            for (k = 0; k < 3; k++)
                c.rgb[3 * at + (size_t)k] = (unsigned char)
                    (c.rgb[3 * at + (size_t)k] / 2
                     + (colour >> (16 - 8 * k) & 255) / 2);
        }
    return put_canvas(p, caption, &c);
}

static int picture_stacking(paper *p, stackings *s)
{
    char text[2048];
    const analysis *a;
    maker *m;
    int i, bad;

    snprintf(text, sizeof text, "step = 1\nwave = 2\nclouds = 30%% 1\n"
             "cloud_sigma = 20\ncloud_height = 30\n%s", STACKING_CLASSES);
    m = maker_new(STACKING, text);
    for (i = 0, bad = !m; i < 3 && !bad; i++) {
        const model *of = s->stacking.s.m;

        bad = maker_draw(m, (uint64_t)(i + 100))
              || !(a = look(&s->stacking, m))
              || picture_map(p, "stacking: truth", m, of, NULL)
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
    int bad;

    io_put(&p->page, "<h2>Training and simulated images (figure 3)</h2>\n");
    bad = vacancy_pixels(p, v, accuracy);
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
    int k;

    if (network_open(&s->stacking, p, "mos2-polymorph", "mos2", 0)
        || network_open(&s->carbon, p, "mos2-carbon", "mos2", 0))
        return 1;
    for (k = 0; k < SETS; k++)
        if (stacking_set(s, k, 42)) return 1;
    io_put(&p->page, "<h2>Stacking and carbon (figures 3 and 5)</h2>\n");
    return put_curves(p, "mos2-polymorph", CURVE)
           || put_curves(p, "mos2-carbon", CURVE) || stacking_table(p, s)
           || put_matrix(p, "stacking-masked", "Figure 5f: where carbon is "
                         "called 2 nm or less", &s->masked, s->stacking.s.m)
           || put_matrix(p, "stacking-carbon", "All pixels, carbon up to 6 nm "
                         "and more", &s->all[CARBON], s->stacking.s.m)
           || put_matrix(p, "carbon", "Thickness of carbon", &s->thickness,
                         s->carbon.s.m)
           || picture_stacking(p, s);
}

static int weights_there(const char *name)
{
    io_bytes file = {NULL, 0};
    char path[100];
    int there;

    snprintf(path, sizeof path, "weights/%.60s.safetensors", name);
    there = !io_read(&file, path, 1 << 24);
    free(file.data);
    return there;
}

/* The paper's own numbers of its text; s NULL: no figure 5. */
static int summary_004(paper *p, const stackings *s, double accuracy)
{
    io_text csv = {0};

    io_put(&csv, "quantity,paper,ours\n");
    io_put(&csv, "vacancies: pixel accuracy %%,> 98,%.2f\n", 100 * accuracy);
    io_put(&csv, "stacking: pixel accuracy with boundaries %%,> 95,");
    if (s) io_put(&csv, "%.2f\n", 100 * matrix_accuracy(&s->all[BOUNDARIES]));
    else io_put(&csv, "left out: no network\n");
    io_put(&csv, "stacking: carbon called 2 nm or less %%,> 95 (2L-3R: 88),");
    if (s)
        io_put(&csv, "%.2f (2L-3R: %.1f)\n",
               100 * matrix_accuracy(&s->masked),
               100 * matrix_recall(&s->masked, 4));
    else io_put(&csv, "left out: no network\n");
    return put_table(p, "summary", "Paper and AtomDL", &csv);
}

/* s NULL: without figure 5. */
static int parts_004(paper *p, vacancies *v, stackings *s)
{
    static const char LEFT_OUT[] =
        "left out: figure 5 and the trainings of its networks in figure 3 "
        "(stacking, carbon), for want of weights/mos2-polymorph.safetensors "
        "and weights/mos2-carbon.safetensors";
    double accuracy = 0;

    if (network_open(&v->method[0], p, "mos2-vacancy", "mos2", 0)
        || network_open(&v->method[1], p, "dichalcogenide", "mos2", 0)
        || network_open(&v->method[2], p, "dichalcogenide", "mos2", 1))
        return 1;
    io_put(&p->page, "<h2>Lee et al. 2022, MoS2, in simulation</h2>\n");
    if (!s) {
        printf("%s\n", LEFT_OUT);
        io_put(&p->page, "<p class=\"w\">%s</p>\n", LEFT_OUT);
    }
    return figure_3(p, v, &accuracy) || bench_table(p, v) || figure_4(p, v)
           || (s && figure_5(p, s)) || summary_004(p, s, accuracy);
}

static int paper_004(paper *p)
{
    int full = weights_there("mos2-polymorph") && weights_there("mos2-carbon");
    vacancies *v = calloc(1, sizeof *v);
    stackings *s = calloc(1, sizeof *s);
    int i, bad = v && s ? parts_004(p, v, full ? s : NULL)
                        : fail("not enough memory");

    for (i = 0; v && i < METHODS; i++) session_close(&v->method[i].s);
    if (s) {
        session_close(&s->stacking.s);
        session_close(&s->carbon.s);
    }
    free(v);
    free(s);
    return bad;
}

/* ---------- Paper 001 ------------------------------------------------------

   Figures 4 to 7: defects of silicon one by one, as the network and the graph
   see them, against the paper's lengths and the simulated truth. */

static const char SHEET[] =
    "seed = 1001\nmaterial = graphene\n"
    "voltage = 60\naperture = 31\ninner = 86\nouter = 200\nsource = 1\n"
    "thermal = 0.05\nbackground = 0.5\njitter = 0.04\n"
    "defocus = normal 0 15\na1 = normal 0 8\n";

static const char FINE[] = "size = 256\npixel = 0.0781\ndose = 400000\n";

typedef struct {
    const char *kind, *paper;
} silicon;

static const silicon SILICON[] = {
    {"si-c3", "Si-C 1.50; 120 degrees"}, {"si-c4", "Si-C 1.72; 90 degrees"},
    {"si-c3-v", "150 115 95 degrees"}, {"si2-c5", "figure 6: 3/4 dimer"},
    {"si2-c6", ""}, {"si3-c6", "figure 7: rotor"},
    {"si4-c6", "figure 7: four Si"},
};

typedef struct { /* running mean and s.d. */
    int n;
    double mean, square;
} spread;

static void spread_add(spread *s, double v)
{
    double d = v - s->mean;

    s->n++;
    s->mean += d / s->n;
    s->square += d * (v - s->mean);
}

static double spread_sd(const spread *s)
{
    return s->n > 1 ? atomdl_sqrt(s->square / (s->n - 1)) : 0;
}

/* Lengths of bonds of silicon in the truth. */
static void true_bonds(spread *s, const maker *m)
{
    const atomdl_structure *t = &m->sample.structure;
    uint32_t i, k;

    for (i = 0; i < t->atoms; i++)
        for (k = 0; t->atom[i].element == 14 && k < t->atoms; k++) {
            double dx = t->atom[k].x - t->atom[i].x;
            double dy = t->atom[k].y - t->atom[i].y;
            double d = atomdl_sqrt(dx * dx + dy * dy);

            if (t->atom[k].element == 6 && d < 2.25) spread_add(s, d);
        }
}

/* The defect with silicon nearest to the middle; NULL: none. */
static const atomdl_found *middle(const analysis *a)
{
    const atomdl_found *best = NULL;
    double least = 9;
    int i;

    for (i = 0; i < a->defects; i++) {
        double dx = a->found[i].x - 0.5 * a->w * a->pixel_x;
        double dy = a->found[i].y - 0.5 * a->h * a->pixel_y;

        if (!a->found[i].dopants || !(dx * dx + dy * dy < least)) continue;
        least = dx * dx + dy * dy;
        best = &a->found[i];
    }
    return best;
}

static int silicon_row(io_text *csv, network *s, const silicon *of, int images)
{
    spread length, truth, pair, angle, within;
    char more[100];
    int i, bad, right = 0;
    maker *m;

    memset(&length, 0, sizeof length);
    truth = pair = angle = within = length;
    sprintf(more, "%splace = %s 10 10\n", FINE, of->kind);
    m = maker_new(SHEET, more);
    for (i = 0, bad = !m; i < images && !bad; i++) {
        const analysis *a = maker_draw(m, (uint64_t)i) ? NULL
                                                       : look(s, m);
        const atomdl_found *f = a ? middle(a) : NULL;

        if ((bad = !a) != 0) break;
        true_bonds(&truth, m);
        if (!f || strcmp(atomdl_found_name(f->kind), of->kind)) continue;
        right++;
        if (f->bonds) spread_add(&length, f->length);
        if (f->pairs) spread_add(&pair, f->pair);
        if (f->angles) spread_add(&angle, degrees(f->angle));
        if (f->angles) spread_add(&within, degrees(f->angle_sd));
    }
    maker_free(m);
    io_put(csv, "%s,%s,%d of %d,%.3f,%.3f,%.3f,%.3f,%.1f,%.1f\n", of->kind,
           of->paper, right, images, truth.mean, length.mean,
           spread_sd(&length), pair.mean, angle.mean, within.mean);
    return bad;
}

static int silicon_table(paper *p, network *s)
{
    enum { ROWS = sizeof SILICON / sizeof *SILICON };
    io_text csv = {0};
    int i;

    io_put(&csv, "defect,paper (A),named right,true Si-C A,found Si-C A,"
           "s.d. of images,Si-Si A,mean angle degrees,s.d. within a defect\n");
    for (i = 0; i < ROWS; i++) {
        progress("defects", i, ROWS);
        if (silicon_row(&csv, s, &SILICON[i], 40))
            return io_text_free(&csv), 1;
    }
    progress("defects", ROWS, ROWS);
    return put_table(p, "silicon", "Defects of silicon (figures 4 to 7)", &csv);
}

/* Figure 2: pixels and atoms at falling dose. */
static int lattice_table(paper *p, network *s)
{
    static const int DOSE[] = {1000000, 400000, 150000, 60000};
    io_text csv = {0};
    char more[200];
    matrix m;
    size_t i;

    io_put(&csv, "dose e/A2,paper's test set %%,pixel accuracy %%\n");
    for (i = 0; i < sizeof DOSE / sizeof *DOSE; i++) {
        sprintf(more, "size = 128\npixel = 0.15625\ndose = %d\n"
                "class = background\n"
                "class = atom atom C 0.45\n", DOSE[i]);
        if (count_pixels(&m, s, SHEET, more, 12)) return io_text_free(&csv), 1;
        io_put(&csv, "%d,%s,%.2f\n", DOSE[i], i ? "" : "97",
               100 * matrix_accuracy(&m));
    }
    return put_table(p, "lattice", "The lattice network (figure 2)", &csv);
}

enum { FRAMES = 72, HALF = 4 };

/* Frame i of figure 8: which way the rotor points. */
static int rotor_state(int i)
{
    static const int SWITCH[] = {5, 9, 28, 56, 57};
    int k, state = 0;

    for (k = 0; k < 5; k++) state ^= i >= SWITCH[k];
    return state;
}

/* The rotor of an analysis, from the silicon around the middle. */
static void rotor_of(atomdl_rotor *r, const analysis *a)
{
    double xy[16];
    int i, n = 0;

    for (i = 0; i < a->atoms && n < 8; i++) {
        double dx = a->node[i].x - 10, dy = a->node[i].y - 10;

        if (a->node[i].z != 14 || dx * dx + dy * dy > 9) continue;
        xy[2 * n] = a->node[i].x;
        xy[2 * n++ + 1] = a->node[i].y;
    }
    atomdl_rotor_measure(r, xy, n, 3, NULL);
}

/* Both states are made of every frame, so that half of one can be scanned
   after half of the other. */
static int rotor_frame(atomdl_rotor *r, network *s, maker *const m[2], int i)
{
    const maker *now = m[rotor_state(i)], *next = m[!rotor_state(i)];
    size_t half = (size_t)now->r.w * (size_t)now->r.h / 2;
    const analysis *a;

    if (maker_draw(m[0], 7) || maker_draw(m[1], 7)) return 1;
    if (i == HALF)
        memcpy(now->sample.image.px + half, next->sample.image.px + half,
               half * sizeof(float));
    a = look(s, now);
    if (a) rotor_of(r, a);
    return !a;
}

static int rotor_table(paper *p, network *s)
{
    static const char *const NAME[] = {"as found", "flagged", NULL};
    static atomdl_rotor r[FRAMES];
    double x[FRAMES], y[2 * FRAMES];
    io_text csv = {0};
    maker *m[2];
    char text[2][100];
    int i, k, n, bad = 0;

    io_put(&csv, "frame,phi degrees,quality,flagged,switched,truth switched\n");
    for (i = 0; i < FRAMES && !bad; i++) {
        progress("rotor", i, FRAMES);
        for (k = 0; k < 2; k++) {
            sprintf(text[k], "%srotation = 12\nplace = si3-c6 10 10 %d\n",
                    FINE, k);
            m[k] = maker_new(SHEET, text[k]);
            if (m[k]) m[k]->r.seed = (uint64_t)(1100 + i);
        }
        bad = !m[0] || !m[1] || rotor_frame(&r[i], s, m, i);
        maker_free(m[0]);
        maker_free(m[1]);
    }
    progress("rotor", FRAMES, FRAMES);
    atomdl_rotor_switches(r, FRAMES, 3, &n);
    if (bad) return io_text_free(&csv), 1;
    for (i = 0; i < FRAMES; i++) {
        int turned = i && rotor_state(i) != rotor_state(i - 1);

        io_put(&csv, "%d,%.1f,%.3f,%d,%d,%d\n", i, r[i].phi, r[i].quality,
               r[i].flagged, r[i].switched, turned);
        x[i] = i;
        for (k = 0; k < 2; k++)
            y[k * FRAMES + i] = r[i].flagged == k ? r[i].phi : UNSEEN;
    }
    io_put(&p->page, "<h3>The rotor in 72 frames (figure 8)</h3><p>%d switches "
           "found; the paper's are 3-(4)-5, 8-9, 27-28, 55-56, 56-57, frame 4 "
           "half of each.</p>\n", n);
    put_plot(p, "the rotor", NAME, 1, x, y, FRAMES, "frame", "angle / °");
    return put_table(p, "rotor", "Frames", &csv);
}

static int paper_001(paper *p)
{
    network *lattice = calloc(2, sizeof *lattice), *s = lattice + 1;
    int bad;

    if (!lattice) return fail("not enough memory");
    bad = network_open(lattice, p, "lattice", "graphene", 0)
          || network_open(s, p, "graphene", "graphene", 0);
    io_put(&p->page, "<h2>Ziatdinov et al. 2017, silicon in graphene, in "
           "simulation</h2>\n");
    if (!bad)
        bad = lattice_table(p, lattice) || silicon_table(p, s)
              || rotor_table(p, s);
    session_close(&lattice->s);
    session_close(&s->s);
    free(lattice);
    return bad;
}

/* ---------- 002: a movie and its truth -------------------------------------

   Papers 002 and 003: molybdenum and vacancies in WS2. A Mo may hold a vacancy
   beside it, in one of three orientations; other vacancies hop. */

enum { FILMED = 100, WS2_SIDE = 256, WS2_TURN = 10, DETECTED = 8192 };

#define WS2_PIXEL 0.15 /* A */
#define WS2_A 3.153
#define S_ANGLE 90     /* of the first S from its metal, in the lattice */
#define WS2_EDGE 4.5   /* nothing counts so near to the border [A] */
#define HOP 0.1        /* of a vacancy a frame */
#define BIND 0.03      /* Mo takes up a vacancy, in any orientation */
#define LEAVE 0.05     /* and loses it */
#define REORIENT 0.08  /* a pair turns, to either other orientation */

static const char WS2[] =
    "seed = 2002\nmaterial = ws2-2h-1\nsize = 256\npixel = 0.15\n"
    "rotation = 10\nvoltage = 100\naperture = 31\ninner = 86\nouter = 200\n"
    "source = 1\nthermal = 0.05\nbackground = 0.1\njitter = 0.03\n"
    "place = sub-m Mo 7 7\nplace = sub-m Mo 15 8\nplace = sub-m Mo 23 6\n"
    "place = sub-m Mo 32 7\nplace = sub-m Mo 7 16\nplace = sub-m Mo 16 17\n"
    "place = sub-m Mo 24 15\nplace = sub-m-vx1 Mo 31 17\n"
    "place = sub-m-vx1 Mo 8 25\nplace = sub-m-vx1 Mo 15 32 2\n"
    "place = sub-m-vx1 Mo 23 25 2\nplace = sub-m-vx1 Mo 31 30 4\n"
    "defects = vx1\ncount = 10\napart = 2.5\nevent = vx1 hop 0.1\n"
    "event = sub-m sub-m-vx1 0.03\nevent = sub-m-vx1 sub-m 0.05\n"
    "event = sub-m-vx1 turn 0.08\nevent = sub-m turn 0.6667\n"
    "movie_drift = normal 0 0.1\n";

enum { LONE_MO, PAIR_MO, LONE_V, PAIR_V, WHATS };

static const char *const WHAT[] = {"Mo", "Mo of Mo-V", "V", "V of Mo-V", NULL};

typedef struct { /* a defect's column, or what was found */
    int what, turn;     /* turn: 1..3 of a pair's Mo, else 0 */
    int frame, vacancy;
    int id, other;      /* defect or track; index of the partner, -1: none */
    int cut[4];         /* classes by GMM, Ward, k-means; turn; 0: none */
    double x, y, u, v;  /* A; u, v: in the first frame */
} sight;

typedef struct {
    int n, first[FILMED + 1];
    sight at[DETECTED];
} sights;

typedef struct {
    maker *m;
    atomdl_movie movie;
    atomdl_defect defect[64];
    sights truth, found;
    float *px;          /* (FILMED, side, side) */
    double *column;     /* places of all columns, frame by frame [A] */
    size_t columns, start[FILMED + 1];
} specimen;

static void specimen_free(specimen *w)
{
    if (!w) return;
    maker_free(w->m);
    free(w->px);
    free(w->column);
    free(w);
}

static int inside(const sight *s)
{
    double most = WS2_SIDE * WS2_PIXEL - WS2_EDGE;

    return s->x > WS2_EDGE && s->y > WS2_EDGE && s->x < most && s->y < most;
}

/* Orientation of a vacancy from its Mo: 1, 2 or 3. */
static int pair_turn(double dx, double dy)
{
    double angle = degrees(atomdl_atan2(dy, dx)) - WS2_TURN - S_ANGLE
                   + 780;

    return 1 + (int)(angle / 120) % 3;
}

/* Makes pairs of a frame's Mo and vacancies no farther apart than a bond. */
static void find_pairs(sights *s, int frame)
{
    int i, k;

    for (i = s->first[frame]; i < s->first[frame + 1]; i++)
        s->at[i].what = s->at[i].vacancy ? LONE_V : LONE_MO;
    for (i = s->first[frame]; i < s->first[frame + 1]; i++)
        for (k = s->first[frame]; k < s->first[frame + 1]; k++) {
            sight *a = &s->at[i], *b = &s->at[k];
            double dx = b->x - a->x, dy = b->y - a->y;

            if (a->vacancy || !b->vacancy || dx * dx + dy * dy > 2.4 * 2.4)
                continue;
            a->what = PAIR_MO;
            b->what = PAIR_V;
            a->turn = pair_turn(dx, dy);
        }
}

static int specimen_stage(void *of, atomdl_arena *arena)
{
    specimen *w = of;

    return atomdl_movie_frame(&w->m->sample, &w->movie, &w->m->source, 0,
                              arena);
}

/* Keeps what frame k shows, and where it is. */
static int keep_frame(specimen *w, int k)
{
    const atomdl_structure *t = &w->m->sample.structure;
    size_t n = (size_t)WS2_SIDE * WS2_SIDE;
    double half = WS2_PIXEL / 2, *more;
    sights *s = &w->truth;
    uint32_t i;

    memcpy(w->px + (size_t)k * n, w->m->sample.image.px, n * sizeof(float));
    more = realloc(w->column, (w->columns + t->columns) * 2 * sizeof *more);
    if (!more) return fail("not enough memory");
    w->column = more;
    for (i = 0; i < t->columns; i++) {
        const atomdl_column *c = &t->column[i];
        sight *p = &s->at[s->n];

        more[2 * w->columns] = c->x - half;
        more[2 * w->columns++ + 1] = c->y - half;
        if (!c->defect || s->n == DETECTED) continue;
        s->n++;
        p->frame = k;
        p->x = c->x - half;
        p->y = c->y - half;
        p->vacancy = c->element[0] != 42;
        p->id = 2 * (int)t->defect[c->defect - 1].id + p->vacancy;
        p->other = -1;
    }
    w->start[k + 1] = w->columns;
    s->first[k + 1] = s->n;
    find_pairs(s, k);
    return 0;
}

/* The movie at a dose [e/A2], as DIR/movie.npy and in memory. */
static specimen *specimen_new(const paper *p, int dose)
{
    size_t dim[3] = {FILMED, WS2_SIDE, WS2_SIDE};
    specimen *w = calloc(1, sizeof *w);
    char more[32], path[1200];
    int k, bad = !w;

    sprintf(more, "dose = %d\n", dose);
    if (w) {
        w->m = maker_new(WS2, more);
        w->px = malloc(dim[0] * dim[1] * dim[2] * sizeof *w->px);
        w->movie.defect = w->defect;
        w->movie.max = sizeof w->defect / sizeof *w->defect;
        bad = !w->m || (!w->px && fail("not enough memory"));
    }
    for (k = 0; k < FILMED && !bad; k++) {
        progress("frames", k, FILMED);
        bad = in_arena(specimen_stage, w, &w->m->work, "movie")
              || keep_frame(w, k);
    }
    progress("frames", FILMED, FILMED);
    snprintf(path, sizeof path, "%.900s/movie.npy", p->out);
    if (!bad && io_npy_write(path, w->px, 'f', 3, dim))
        bad = fail("%s", io_reason());
    if (!bad) return w;
    specimen_free(w);
    return NULL;
}

/* ---------- 002: what is found in it ---------------------------------------

   By `atomdl movie`, whose files are read. */

static int run_movie(const paper *p, const char *folder, int learn)
{
    char path[1000], out[1000], threads[16];
    const char *word[] = {"movie", "--material", "ws2", "--pixel-size",
                          "0.15", "--threads", threads, "-o", out, path,
                          learn ? "--learn-first-frame" : NULL, NULL};
    char *argv[12], text[12][1000];
    int i;

    sprintf(threads, "%d", p->threads ? p->threads : 1);
    snprintf(path, sizeof path, "%.900s/movie.npy", p->out);
    snprintf(out, sizeof out, "%.900s/%s", p->out, folder);
    for (i = 0; word[i]; i++) {
        snprintf(text[i], sizeof text[i], "%s", word[i]);
        argv[i] = text[i];
    }
    argv[i] = NULL;
    return movie_command(argv);
}

static double csv_number(const char *line, int column)
{
    char text[FIELD];

    csv_field(text, line, column);
    return strtod(text, NULL);
}

static int read_table(io_bytes *file, const paper *p, const char *folder,
                      const char *name)
{
    char path[1000];
    unsigned char *s;

    snprintf(path, sizeof path, "%.900s/%s/%s", p->out, folder, name);
    if (io_read(file, path, 1 << 28)) return fail("%s", io_reason());
    s = realloc(file->data, file->size + 1);
    if (!s) return fail("not enough memory");
    file->data = s;
    s[file->size] = 0;
    return 0;
}

static const char *next_line(const char *at)
{
    at += strcspn(at, "\n");
    return *at ? at + 1 : at;
}

static void read_sights(sights *s, const char *head)
{
    static const char *const NAME[] = {"frame", "track", "x_A", "y_A", "u_A",
                                       "v_A", "class"};
    const char *at = next_line(head);
    char text[FIELD];
    int c[7], k;

    for (k = 0; k < 7; k++) c[k] = csv_column(head, NAME[k]);
    for (k = -1, s->n = 0; *at && s->n < DETECTED; at = next_line(at)) {
        sight *p = &s->at[s->n];

        memset(p, 0, sizeof *p);
        p->frame = (int)csv_number(at, c[0]);
        while (k < p->frame && k < FILMED - 1) s->first[++k] = s->n;
        s->n++;
        p->id = (int)csv_number(at, c[1]);
        p->x = csv_number(at, c[2]);
        p->y = csv_number(at, c[3]);
        p->u = csv_number(at, c[4]);
        p->v = csv_number(at, c[5]);
        csv_field(text, at, c[6]);
        p->vacancy = text[0] == 'v';
        p->other = -1;
    }
    while (k < FILMED) s->first[++k] = s->n;
    for (k = 0; k < FILMED; k++) find_pairs(s, k);
}

/* Classes of those with a picture, which come in the same order. */
static void read_clusters(sights *s, const char *head)
{
    static const char *const NAME[] = {"cluster", "ward", "kmeans", "turn"};
    int c[4], frame = csv_column(head, "frame"), k, i = 0;
    int track = csv_column(head, "track");
    const char *at;

    for (k = 0; k < 4; k++) c[k] = csv_column(head, NAME[k]);
    for (at = next_line(head); *at; at = next_line(at)) {
        while (i < s->n && ((int)csv_number(at, frame) != s->at[i].frame
                            || (int)csv_number(at, track) != s->at[i].id)) i++;
        for (k = 0; k < 4 && i < s->n; k++)
            s->at[i].cut[k] = (int)csv_number(at, c[k]);
    }
}

typedef struct {
    specimen *w;
    int frame, to[512];
} frame_pairs;

static int pairs_stage(void *of, atomdl_arena *arena)
{
    frame_pairs *f = of;
    const sights *s[2] = {&f->w->found, &f->w->truth};
    double xy[2][1024];
    int n[2] = {0, 0}, k, i;

    for (k = 0; k < 2; k++)
        for (i = s[k]->first[f->frame];
             i < s[k]->first[f->frame + 1] && n[k] < 512; i++) {
            xy[k][2 * n[k]] = s[k]->at[i].x;
            xy[k][2 * n[k]++ + 1] = s[k]->at[i].y;
        }
    return atomdl_assign(f->to, NULL, xy[0], n[0], xy[1], n[1], 1, arena);
}

/* Runs `atomdl movie` into a folder; reads it and finds everything's truth,
   within 1 A. */
static int find_in(const paper *p, specimen *w, const char *folder, int learn)
{
    atomdl_arena arena = {0, 0, 0, 0, 0};
    io_bytes file[2] = {{NULL, 0}, {NULL, 0}};
    frame_pairs f;
    int i, bad;

    f.w = w;
    bad = run_movie(p, folder, learn)
          || read_table(&file[0], p, folder, "defects.csv")
          || read_table(&file[1], p, folder, "clusters.csv");
    if (!bad) {
        read_sights(&w->found, (char *)file[0].data);
        read_clusters(&w->found, (char *)file[1].data);
    }
    for (i = 0; i < w->truth.n; i++) w->truth.at[i].other = -1;
    for (f.frame = 0; f.frame < FILMED && !bad; f.frame++) {
        int a = w->found.first[f.frame], b = w->truth.first[f.frame];

        bad = in_arena(pairs_stage, &f, &arena, "truth");
        for (i = a; i < w->found.first[f.frame + 1] && i < a + 512; i++) {
            if (bad || f.to[i - a] < 0) continue;
            w->found.at[i].other = b + f.to[i - a];
            w->truth.at[b + f.to[i - a]].other = i;
        }
    }
    free(file[0].data);
    free(file[1].data);
    free(arena.base);
    return bad;
}

/* ---------- 002: figure 1a, defects ---------------------------------------- */

typedef struct {
    int found, wrong, hit[WHATS], of[WHATS];
} hits;

static void count_hits(hits *h, const specimen *w)
{
    int i;

    memset(h, 0, sizeof *h);
    for (i = 0; i < w->found.n; i++) {
        if (!inside(&w->found.at[i])) continue;
        h->found++;
        h->wrong += w->found.at[i].other < 0;
    }
    for (i = 0; i < w->truth.n; i++) {
        const sight *t = &w->truth.at[i];

        if (!inside(t)) continue;
        h->of[t->what]++;
        h->hit[t->what] += t->other >= 0;
    }
}

static void put_hits(io_text *csv, const char *name, int frames,
                     const hits *h)
{
    int k;

    io_put(csv, "%s,%d,%d,%.1f", name, frames, h->found,
           h->found ? 100. * h->wrong / h->found : 0.);
    for (k = 0; k < WHATS; k++)
        io_put(csv, ",%.1f", h->of[k] ? 100. * h->hit[k] / h->of[k] : 0.);
    io_put(csv, "\n");
}

typedef struct {
    const specimen *w;
    atomdl_subtraction how;
    uint8_t label[WS2_SIDE * WS2_SIDE];
    float smooth[WS2_SIDE * WS2_SIDE];
} subtraction;

static int subtract_stage(void *of, atomdl_arena *arena)
{
    subtraction *s = of;
    atomdl_image image;

    image.w = image.h = WS2_SIDE;
    image.c = 1;
    image.px = s->w->px;
    return atomdl_first_frame(s->label, s->smooth, &image, 0, &s->how, arena);
}

/* Found: a marked pixel within 0.5 A; wrong: one with no defect within 2 A. */
static void mask_hits(hits *h, const subtraction *s)
{
    const sights *t = &s->w->truth;
    int seen[128] = {0}, i, k, n = t->first[1] < 128 ? t->first[1] : 128;

    memset(h, 0, sizeof *h);
    for (i = 0; i < WS2_SIDE * WS2_SIDE; i++) {
        sight here;
        double nearest = 99;

        here.x = i % WS2_SIDE * WS2_PIXEL;
        here.y = i / WS2_SIDE * WS2_PIXEL;
        if (!s->label[i] || !inside(&here)) continue;
        for (k = 0; k < n; k++) {
            double dx = t->at[k].x - here.x, dy = t->at[k].y - here.y;
            double d = dx * dx + dy * dy;

            seen[k] |= d < 0.25;
            nearest = d < nearest ? d : nearest;
        }
        h->found++;
        h->wrong += nearest > 4;
    }
    for (k = 0; k < n; k++) {
        if (!inside(&t->at[k])) continue;
        h->of[t->at[k].what]++;
        h->hit[t->at[k].what] += seen[k];
    }
}

/* Frame 0 with its defects; what is left after the subtraction; the mask. */
static int picture_first(paper *p, const subtraction *s)
{
    static const unsigned COLOUR[] = {0x2fb4ff, 0xffb000, 0xff5db1, 0x7cf25a};
    static float mask[WS2_SIDE * WS2_SIDE];
    static const char *const NAME[] = {
        "first frame and its truth", "the lattice subtracted", "mask"};
    const float *const px[] = {s->w->px, s->smooth, mask};
    io_canvas c;
    int i, k;

    for (i = 0; i < WS2_SIDE * WS2_SIDE; i++) mask[i] = s->label[i];
    for (k = 0; k < 3; k++) {
        if (io_canvas_new(&c, WS2_SIDE, WS2_SIDE))
            return fail("%s", io_reason());
        io_draw_image(&c, px[k], WS2_SIDE, WS2_SIDE, 1, 0, k ? 1 : 0.995);
        for (i = 0; i < s->w->truth.first[1] && !k; i++) {
            const sight *t = &s->w->truth.at[i];
            io_pen pen;

            pen.colour = COLOUR[t->what];
            pen.opacity = 255;
            io_draw_circle(&c, t->x / WS2_PIXEL, t->y / WS2_PIXEL, 8, 1.5,
                           pen);
        }
        if (put_canvas(p, NAME[k], &c)) return 1;
    }
    return 0;
}

static int mask_rows(paper *p, io_text *csv, const specimen *w)
{
    static const struct {
        const char *name;
        atomdl_subtraction how;
    } ROW[] = {
        {"mask: hole of 0.1 cycles/px; 0.25 and 0.75 (the papers' code)",
         {0.1, 0, 0.25, 0.75, 0}},
        {"mask: hole of 0.75/d; 0.25 and 0.75",
         {0.75 * WS2_PIXEL / (WS2_A * 0.8660254037844386), 0.2, 0.25, 0.75,
          0}},
        {"mask: hole of 0.75/d; 2.5 s.d.",
         {0.75 * WS2_PIXEL / (WS2_A * 0.8660254037844386), 0.2, 0, 0, 2.5}}};
    atomdl_arena arena = {0, 0, 0, 0, 0};
    subtraction *s = calloc(1, sizeof *s);
    int k, bad = !s && fail("not enough memory");
    hits h;

    for (k = 0; k < 3 && !bad; k++) {
        s->w = w;
        s->how = ROW[k].how;
        bad = in_arena(subtract_stage, s, &arena, "first frame");
        mask_hits(&h, s);
        put_hits(csv, ROW[k].name, 1, &h);
    }
    io_put(&p->page, "<div class=\"f\">");
    bad = bad || picture_first(p, s);
    io_put(&p->page, "</div>\n<p>Mo: blue; Mo beside a vacancy: orange, the "
           "vacancy green; other vacancies: pink.</p>\n");
    free(s);
    free(arena.base);
    return bad;
}

/* Leaves in w what the shipped network finds. */
static int figure_1a(paper *p, specimen *w)
{
    io_text csv = {0};
    hits h;

    io_put(&p->page, "<h2>Defects (figure 1a)</h2>\n");
    io_put(&csv, "method,frames,found (mask: px),of them wrong %%,found of Mo "
           "%%,Mo of Mo-V,V,V of Mo-V\n");
    if (mask_rows(p, &csv, w) || find_in(p, w, "first", 1))
        return io_text_free(&csv), 1;
    count_hits(&h, w);
    put_hits(&csv, "network taught by the first frame", FILMED, &h);
    if (find_in(p, w, "movie", 0)) return io_text_free(&csv), 1;
    count_hits(&h, w);
    put_hits(&csv, "network taught by simulations (dichalcogenide)", FILMED,
             &h);
    return put_table(p, "defects", "Defects found (4.5 A of border left out; "
                     "the papers: 10^3 to 10^4 in about 100 frames)", &csv);
}

/* ---------- 002: classes, figure 1b ---------------------------------------- */

static int put_file(paper *p, const char *name, const char *caption)
{
    io_bytes file = {NULL, 0};
    int bad = read_table(&file, p, "movie", name);

    if (!bad && strstr(name, ".svg")) {
        io_put(&p->page, "<figure>%s", (char *)file.data);
    } else if (!bad) {
        io_put(&p->page, "<figure><img alt=\"\" src=\"");
        file.size--; /* without the 0 */
        put_png(&p->page, &file);
        io_put(&p->page, "\">");
    }
    io_put(&p->page, "<figcaption>%s</figcaption></figure>\n", caption);
    free(file.data);
    return bad;
}

/* True kinds of the members of each class of a method (0 to 2): a row each;
   returns the part of all in the commonest kind of their class, Mo of pairs
   counted as Mo. */
static double class_rows(io_text *csv, const specimen *w, int method)
{
    static const char *const METHOD[] = {"Gaussian mixture", "Ward",
                                         "k-means"};
    int count[ATOMDL_KINDS][WHATS + 1], all = 0, pure = 0, i, k, most;

    memset(count, 0, sizeof count);
    for (i = 0; i < w->found.n; i++) {
        const sight *s = &w->found.at[i];

        if (!s->cut[0]) continue;
        all++;
        count[s->cut[method] - 1][s->other < 0 ? WHATS
                                  : w->truth.at[s->other].what]++;
    }
    for (k = 0; k < ATOMDL_KINDS; k++) {
        const int *c = count[k];
        int group[4] = {c[LONE_MO] + c[PAIR_MO], c[LONE_V], c[PAIR_V],
                        c[WHATS]};

        for (i = 1, most = group[0]; i < 4; i++)
            most = group[i] > most ? group[i] : most;
        if (!most) continue;
        pure += most;
        io_put(csv, "%s,%d", METHOD[method], k + 1);
        for (i = 0; i <= WHATS; i++) io_put(csv, ",%d", c[i]);
        io_put(csv, "\n");
    }
    return all ? (double)pure / all : 0;
}

/* Part of the pairs' vacancies whose operation into the canonical orientation
   says the true one, when each operation stands for its commonest one. */
static double orientations(const specimen *w, int *pairs)
{
    int count[12][3] = {{0}}, i, k, right = 0;
    const sights *t = &w->truth;

    for (i = *pairs = 0; i < w->found.n; i++) {
        const sight *s = &w->found.at[i];

        if (!s->cut[0] || s->other < 0 || t->at[s->other].what != PAIR_V)
            continue;
        for (k = t->first[s->frame]; k < t->first[s->frame + 1]; k++) {
            if (t->at[k].id != t->at[s->other].id - 1 || !t->at[k].turn)
                continue;
            ++*pairs; /* t->at[k]: its Mo */
            count[s->cut[3]][t->at[k].turn - 1]++;
        }
    }
    for (i = 0; i < 12; i++) {
        int most = count[i][0];

        for (k = 1; k < 3; k++) most = count[i][k] > most ? count[i][k] : most;
        right += most;
    }
    return *pairs ? (double)right / *pairs : 0;
}

static int figure_1b(paper *p, const specimen *w, double *pure, double *turned)
{
    io_text csv = {0};
    int k, pairs;

    io_put(&csv, "method,class");
    for (k = 0; k < WHATS; k++) io_put(&csv, ",%s", WHAT[k]);
    io_put(&csv, ",nothing\n");
    for (k = 0; k < 3; k++) pure[k] = class_rows(&csv, w, k);
    *turned = orientations(w, &pairs);
    io_put(&p->page, "<h2>Classes without labels (figure 1b)</h2>\n<p>%d "
           "vacancies beside Mo: %.1f %% turned by the operation of their true "
           "orientation.</p>\n<div class=\"f\">", pairs, 100 * *turned);
    if (put_file(p, "averages.png", "averages of the mixture's classes, in "
                 "canonical orientation")
        || put_file(p, "dendrogram.svg", "Ward's hierarchy, its last merges"))
        return io_text_free(&csv), 1;
    io_put(&p->page, "</div>\n");
    return put_table(p, "classes", "Members of each class, by truth", &csv);
}

/* ---------- 002: concentrations -------------------------------------------- */

static int count_what(const sights *s, int frame, int what)
{
    int i, n = 0;

    for (i = s->first[frame]; i < s->first[frame + 1]; i++)
        n += s->at[i].what == what && inside(&s->at[i]);
    return n;
}

static int concentration_table(paper *p, const specimen *w)
{
    static const unsigned COLOUR[] = {0x2f7fd1, 0xe0662f, 0x3ca55c};
    static const char *const NAME[] = {"Mo", "Mo-V", "V"};
    static double x[FILMED], y[3][4][FILMED];
    double side = (WS2_SIDE * WS2_PIXEL - 2 * WS2_EDGE) / 10;
    series s[6];
    io_text csv = {0};
    int i, k;

    memset(s, 0, sizeof s);
    io_put(&csv, "frame");
    for (k = 0; k < 3; k++) {
        s[k].name = NAME[k];
        s[k + 3].name = "";
        s[k].colour = s[k + 3].colour = COLOUR[k];
        s[k].y = y[k][0], s[k].low = y[k][1], s[k].high = y[k][2];
        s[k].dots = 1;
        s[k + 3].y = y[k][3];
        io_put(&csv, ",%s per nm2,low,high,truth", NAME[k]);
    }
    io_put(&csv, "\n");
    for (i = 0; i < FILMED; i++) {
        if (i % 10 == 0) io_put(&csv, "%d", i);
        for (k = 0; k < 3; k++) {
            atomdl_interval c = atomdl_concentration(
                (uint32_t)count_what(&w->found, i, k), side * side);

            x[i] = i;
            y[k][0][i] = c.value, y[k][1][i] = c.low, y[k][2][i] = c.high;
            y[k][3][i] = count_what(&w->truth, i, k) / (side * side);
            if (i % 10 == 0)
                io_put(&csv, ",%.3f,%.3f,%.3f,%.3f", c.value, c.low, c.high,
                       y[k][3][i]);
        }
        if (i % 10 == 0) io_put(&csv, "\n");
    }
    io_put(&p->page, "<h2>Concentrations in time</h2>\n<figure>");
    plot(&p->page, "frame", "per nm²", x, FILMED, s, 6, 1);
    io_put(&p->page, "<figcaption>dots: found, with 68 %% intervals of Poisson "
           "counts; lines: truth</figcaption></figure>\n");
    return put_table(p, "concentrations", "Every tenth frame", &csv);
}

/* ---------- 002: trajectories and diffusion -------------------------------- */

typedef struct {
    int right, wrong, tracks;
    atomdl_msd msd;
    atomdl_hops hops;
    atomdl_hop_rate rate;
    atomdl_diffusion d;
} walk;

static int most_tracks(const sights *s)
{
    int i, most = 0;

    for (i = 0; i < s->n; i++) most = s->at[i].id > most ? s->at[i].id : most;
    return most;
}

/* Adds track number id while it is a vacancy without Mo. */
static void walk_track(walk *k, const specimen *w, int id, const double *basis)
{
    uint32_t frame[FILMED];
    double xy[2 * FILMED];
    int i, n = 0, last = -1, all = 0;

    for (i = 0; i < w->found.n; i++) all += w->found.at[i].id == id;
    for (i = 0; i < w->found.n; i++) {
        const sight *s = &w->found.at[i];

        if (s->id != id) continue;
        if (s->other >= 0) {
            int now = w->truth.at[s->other].id;

            k->right += now == last;
            k->wrong += last >= 0 && now != last;
            last = now;
        }
        if (s->what == LONE_V && all > 7) {
            frame[n] = (uint32_t)s->frame;
            xy[2 * n] = s->u;
            xy[2 * n++ + 1] = s->v;
            continue;
        }
        atomdl_msd_add(&k->msd, frame, xy, n, ATOMDL_LAGS);
        atomdl_hops_add(&k->hops, frame, xy, n, basis);
        n = 0;
    }
    k->tracks += n > 0;
    atomdl_msd_add(&k->msd, frame, xy, n, ATOMDL_LAGS);
    atomdl_hops_add(&k->hops, frame, xy, n, basis);
}

static void walk_all(walk *k, const specimen *w)
{
    double basis[4], angle = WS2_TURN / 57.29577951308232;
    int i, tracks = most_tracks(&w->found);

    for (i = 0; i < 2; i++, angle += 1.0471975511965976) {
        basis[2 * i] = WS2_A * atomdl_cos(angle);
        basis[2 * i + 1] = WS2_A * atomdl_sin(angle);
    }
    memset(k, 0, sizeof *k);
    for (i = 1; i <= tracks; i++) walk_track(k, w, i, basis);
    if (k->hops.steps) k->rate = atomdl_hops_rate(&k->hops, basis);
    if (atomdl_msd_fit(&k->d, &k->msd, FILMED / 4)) k->d.error = 0;
}

/* Hops of the simulated vacancies a frame: state 1 of the recipe's events. */
static double true_rate(const specimen *w)
{
    const atomdl_events *e = &w->movie.events;
    double steps = 0;
    int k;

    for (k = 0; k < ATOMDL_STATES; k++) steps += e->change[1][k];
    return steps > 0 ? e->hops[1] / steps : 0;
}

static int motion_table(paper *p, const specimen *w, walk *k)
{
    static const char *const NAME[] = {"", NULL};
    double x[FILMED / 2], y[2 * (FILMED / 2)], area = WS2_A * WS2_A / 4;
    io_text csv = {0};
    int i, n = FILMED / 2;

    walk_all(k, w);
    for (i = 0; i < n; i++) {
        x[i] = i + 1;
        y[i] = atomdl_msd_mean(&y[n + i], &k->msd, i + 1);
    }
    io_put(&csv, "vacancies without Mo,input,simulated,found,s.d.\n"
           "hops a frame,%.4f,%.4f,%.4f,%.4f\n", HOP, true_rate(w),
           k->rate.rate, k->rate.rate_error);
    io_put(&csv, "D by hops A2/frame,%.4f,%.4f,%.4f,%.4f\n", HOP * area,
           true_rate(w) * area, k->rate.diffusion, k->rate.diffusion_error);
    io_put(&csv, "D by mean squared displacement A2/frame,%.4f,%.4f,%.4f,%.4f"
           "\n", HOP * area, true_rate(w) * area, k->d.diffusion, k->d.error);
    io_put(&p->page, "<h2>Trajectories and diffusion</h2>\n<p>Links from frame "
           "to frame: %d right, %d wrong. %lu hops in %lu steps of %d tracks. "
           "The papers print no number.</p>\n<div class=\"f\">", k->right,
           k->wrong, (unsigned long)k->hops.hops, (unsigned long)k->hops.steps,
           k->tracks);
    if (put_file(p, "tracks.svg", "tracks, in the first frame's place"))
        return io_text_free(&csv), 1;
    put_plot(p, "vacancies without Mo", NAME, 1, x, y, n, "lag / frames",
             "mean squared displacement / Å²");
    io_put(&p->page, "</div>\n");
    return put_table(p, "motion", "Diffusion of vacancies", &csv);
}

/* ---------- 002: transitions of Mo and vacancy ------------------------------ */

enum { KINDS = 4, LEAST_SEEN = 8 }; /* KINDS: here and as published */

static double input_rate(int i, int j)
{
    if (!i) return j ? BIND / 3 : 1 - BIND;
    if (!j) return LEAVE;
    return (1 - LEAVE) * (i == j ? 1 - REORIENT : REORIENT / 2);
}

/* Rms of (p - m) in units of the error of so many counted transitions. */
static double rms_z(double p[][ATOMDL_MARKOV], double m[][ATOMDL_MARKOV],
                    const atomdl_counts *c)
{
    double sum = 0, d, n;
    int i, j;

    for (i = 0; i < KINDS; i++)
        for (j = 0; j < KINDS; j++) {
            n = (double)c->pair[i][0] + c->pair[i][1] + c->pair[i][2]
                + c->pair[i][3];
            d = p[i][j] - m[i][j];
            sum += d * d * n / (m[i][j] * (1 - m[i][j]));
        }
    return atomdl_sqrt(sum / (KINDS * KINDS));
}

/* Chains of what each Mo's track holds: none, or a vacancy in orientation 1,
   2, 3; truth (n) beside. */
static int pair_chains(hidden_chain *h, int32_t **truth, const specimen *w)
{
    int tracks = most_tracks(&w->found), id, i, k;
    size_t room = (size_t)(tracks + 1) * FILMED;

    memset(h, 0, sizeof *h);
    h->states = KINDS;
    h->learn = LEARN_ALL;
    memset(h->allowed, 1, sizeof h->allowed);
    h->label = malloc(room * sizeof *h->label);
    h->length = malloc(((size_t)tracks + 1) * sizeof *h->length);
    *truth = malloc(room * sizeof **truth);
    if (!h->label || !h->length || !*truth) return fail("not enough memory");
    for (id = 1; id <= tracks; id++) {
        int first = -1, last = -1, seen = 0;

        for (i = 0; i < FILMED; i++)
            h->label[h->n + (size_t)i] = (*truth)[h->n + (size_t)i] = -1;
        for (i = 0; i < w->found.n; i++) {
            const sight *s = &w->found.at[i];

            if (s->id != id || s->vacancy || !inside(s)) continue;
            first = first < 0 ? s->frame : first;
            k = last = s->frame - first;
            h->label[h->n + (size_t)k] = s->turn;
            if (s->other >= 0)
                (*truth)[h->n + (size_t)k] = w->truth.at[s->other].turn;
            seen++;
        }
        if (seen < LEAST_SEEN) continue;
        h->length[h->traces++] = last + 1;
        h->n += (size_t)last + 1;
    }
    markov_begin(h, 0.1);
    return h->n ? markov_run(h) : fail("no track of Mo is long enough");
}

typedef struct {
    int seen, found, path; /* labels; wrong ones as found, by the chain */
    int traces;
    double z[2];           /* rms of matrix - input in sampling errors: of the
                              true classes, by the chain */
} judgement;

static void judge_chain(judgement *g, const hidden_chain *h,
                        const int32_t *truth)
{
    size_t k;

    memset(g, 0, sizeof *g);
    g->traces = h->traces;
    for (k = 0; k < h->n; k++) {
        if (h->label[k] < 0 || truth[k] < 0) continue;
        g->seen++;
        g->found += h->label[k] != truth[k];
        g->path += h->path[k] != truth[k];
    }
}

static void put_pair_matrix(io_text *csv, double input[][ATOMDL_MARKOV],
                            const atomdl_markov *m)
{
    static const char *const NAME[] = {"Mo", "Mo-V 1", "Mo-V 2", "Mo-V 3"};
    int i, j, k;

    io_put(csv, "from,to,input,simulated,s.d.,as found,s.d.,corrected,s.d.\n");
    for (i = 0; i < KINDS; i++)
        for (j = 0; j < KINDS; j++) {
            io_put(csv, "%s,%s,%.4f", NAME[i], NAME[j], input[i][j]);
            for (k = 0; k < 3; k++)
                io_put(csv, ",%.4f,%.4f", m[k].p[i][j], m[k].sd[i][j]);
            io_put(csv, "\n");
        }
    for (i = 0; i < KINDS; i++) {
        io_put(csv, "%s,lifetime in frames,%.1f", NAME[i],
               1 / (1 - input[i][i]));
        for (k = 0; k < 3; k++)
            io_put(csv, ",%.1f,%.1f", m[k].lifetime[i], m[k].lifetime_sd[i]);
        io_put(csv, "\n");
    }
}

/* Input, truth, as found, corrected; csv NULL: only judged. */
static int pair_matrix(io_text *csv, judgement *g, const specimen *w)
{
    double input[ATOMDL_MARKOV][ATOMDL_MARKOV];
    atomdl_markov m[3];
    atomdl_counts c[3];
    hidden_chain h;
    int32_t *truth;
    int i, bad = pair_chains(&h, &truth, w)
                 || markov_solve(&m[0], &c[0], &h, truth)
                 || markov_solve(&m[1], &c[1], &h, h.label)
                 || markov_solve(&m[2], &c[2], &h, h.path);

    for (i = 0; i < KINDS * KINDS; i++)
        input[i / KINDS][i % KINDS] = input_rate(i / KINDS, i % KINDS);
    if (!bad) {
        judge_chain(g, &h, truth);
        g->z[0] = rms_z(m[0].p, input, &c[0]);
        g->z[1] = rms_z(m[2].p, input, &c[2]);
        if (csv) put_pair_matrix(csv, input, m);
    }
    markov_free(&h);
    free(truth);
    return bad;
}

static int pair_table(paper *p, const specimen *w, judgement *g)
{
    io_text csv = {0};

    if (pair_matrix(&csv, g, w)) return io_text_free(&csv), 1;
    io_put(&p->page, "<h2>Transitions of Mo and vacancy</h2>\n<p>%d tracks of "
           "Mo, %d labels: %.2f %% wrong as found in each frame, %.2f %% after "
           "the hidden Markov chain, which learns transitions and confusion "
           "from them.</p>\n", g->traces, g->seen, 100. * g->found / g->seen,
           100. * g->path / g->seen);
    return put_table(p, "transitions", "Probabilities a frame, s.d. of "
                     "Dirichlet posteriors, and lifetimes", &csv);
}

/* ---------- 002: dose ------------------------------------------------------- */

static void dose_row(io_text *csv, int dose, const specimen *w,
                     const walk *k, const judgement *g)
{
    hits h;

    count_hits(&h, w);
    io_put(csv, "%d,%d,%.1f,%.1f,%.1f,%.2f,%.2f,%.2f,%.2f,%.4f,%.4f,%.4f\n",
           dose, h.found, 100. * h.wrong / h.found,
           100. * h.hit[LONE_V] / h.of[LONE_V],
           100. * h.hit[PAIR_V] / h.of[PAIR_V],
           100. * k->wrong / (k->right + k->wrong), 100. * g->found / g->seen,
           100. * g->path / g->seen, g->z[1], k->rate.rate, k->rate.rate_error,
           true_rate(w));
}

/* The movie at lower doses. */
static int dose_rows(paper *p, io_text *csv)
{
    static const int LOW[] = {20000, 50000};
    int i, bad = 0;

    io_put(csv, "dose e/A2,found,of them wrong %%,found of V %%,of V of Mo-V "
           "%%,wrong links %%,wrong labels of Mo as found %%,corrected %%,"
           "rms z of the corrected matrix,hops of V a frame,s.d.,simulated\n");
    for (i = 0; i < 2 && !bad; i++) {
        specimen *w = specimen_new(p, LOW[i]);
        judgement g;
        walk k;

        bad = !w || find_in(p, w, "movie", 0) || pair_matrix(NULL, &g, w);
        if (!bad) {
            walk_all(&k, w);
            dose_row(csv, LOW[i], w, &k, &g);
        }
        specimen_free(w);
    }
    return bad;
}

/* ---------- 002: the cell around Mo by principal components ----------------- */

enum { CELL = 56, MODES = 4, SITES = 7 }; /* sites: Mo and six W */

typedef struct {
    const specimen *w;
    int n, of[DETECTED];  /* pictures, each of found.at[of] */
    double centre[DETECTED][2];     /* px */
    float *x;             /* (n, CELL, CELL) */
    double site[SITES][2];          /* in the lattice's axes, from Mo [A] */
    double moved[MODES][SITES][2];  /* at a score of 1 [A] */
    double *truth;        /* (n, SITES, 2) [A] */
    double *score;        /* (n, MODES) */
    atomdl_pca pca;
    atomdl_arena arena;
} cells;

/* x, y in the lattice's axes from those of the image, or back. */
static void to_lattice(double xy[2], double x, double y, int back)
{
    double angle = WS2_TURN / 57.29577951308232;
    double c = atomdl_cos(angle), s = back ? -atomdl_sin(angle)
                                           : atomdl_sin(angle);

    xy[0] = c * x + s * y;
    xy[1] = c * y - s * x;
}

/* Pictures of Mo without vacancies, in the lattice's axes. */
static int cut_cells(cells *c)
{
    size_t one = (size_t)CELL * CELL;
    atomdl_cutting how;
    atomdl_image image;
    int i;

    memset(&how, 0, sizeof how);
    how.side = CELL;
    how.interpolation = ATOMDL_CUBIC;
    how.fold = 1;
    how.angle = WS2_TURN / 57.29577951308232;
    image.w = image.h = WS2_SIDE;
    image.c = 1;
    for (i = 0; i < c->n; i++) {
        image.px = c->w->px + (size_t)c->w->found.at[c->of[i]].frame
                                  * WS2_SIDE * WS2_SIDE;
        if (atomdl_cut(c->x + (size_t)i * one, &image, 0, c->centre[i], 1,
                       NULL, &how)) return fail("cannot cut");
    }
    return 0;
}

/* Is nothing else found within 6 A? */
static int isolated(const sights *s, int i)
{
    int k, frame = s->at[i].frame;

    for (k = s->first[frame]; k < s->first[frame + 1]; k++) {
        double dx = s->at[k].x - s->at[i].x, dy = s->at[k].y - s->at[i].y;

        if (k != i && dx * dx + dy * dy < 36) return 0;
    }
    return 1;
}

static int list_cells(cells *c)
{
    const sights *f = &c->w->found;
    int i;

    for (i = 0; i < f->n; i++) {
        const sight *s = &f->at[i];

        if (s->vacancy || s->other < 0 || !inside(s) || !isolated(f, i))
            continue;
        c->centre[c->n][0] = s->x / WS2_PIXEL;
        c->centre[c->n][1] = s->y / WS2_PIXEL;
        c->of[c->n++] = i;
    }
    if (c->n < 10) return fail("too few Mo for components");
    c->x = malloc((size_t)c->n * CELL * CELL * sizeof *c->x);
    return c->x ? 0 : fail("not enough memory");
}

static int cells_stage(void *of, atomdl_arena *arena)
{
    cells *c = of;
    int status;

    c->score = atomdl_alloc(arena, (size_t)c->n * MODES, sizeof *c->score);
    status = atomdl_pca_fit(&c->pca, c->x, c->n, CELL * CELL, 1, MODES, arena);
    return status ? status : atomdl_pca_project(c->score, &c->pca, c->x, c->n,
                                                arena);
}

/* How far site s moves when the picture m changes by `mode`: least squares of
   mode = -moved . gradient of m, within 0.8 A. */
static void site_moved(double moved[2], const cells *c, const double *m,
                       const double *mode, int s)
{
    double xx = 0, xy = 0, yy = 0, x = 0, y = 0, det;
    int i;

    for (i = 0; i < CELL * CELL; i++) {
        double dx = i % CELL - 0.5 * (CELL - 1) - c->site[s][0] / WS2_PIXEL;
        double dy = i / CELL - 0.5 * (CELL - 1) - c->site[s][1] / WS2_PIXEL;
        double gx, gy;

        if (dx * dx + dy * dy > 0.64 / (WS2_PIXEL * WS2_PIXEL)) continue;
        gx = (m[i + 1] - m[i - 1]) / (2 * WS2_PIXEL);
        gy = (m[i + CELL] - m[i - CELL]) / (2 * WS2_PIXEL);
        xx += gx * gx, xy += gx * gy, yy += gy * gy;
        x -= gx * mode[i], y -= gy * mode[i];
    }
    det = xx * yy - xy * xy;
    moved[0] = (x * yy - y * xy) / det;
    moved[1] = (y * xx - x * xy) / det;
}

/* Moves the metals of each picture to where the mean's are. */
static int centre_cells(cells *c)
{
    static double mean[CELL * CELL], change[CELL * CELL];
    int label[DETECTED] = {0}, i, k, s;
    double moved[2], all[2];

    atomdl_class_means(mean, NULL, c->x, label, c->n, CELL * CELL, 1);
    for (i = 0; i < c->n; i++) {
        for (k = 0; k < CELL * CELL; k++)
            change[k] = (double)c->x[i * CELL * CELL + k] - mean[k];
        for (s = 0, all[0] = all[1] = 0; s < SITES; s++) {
            site_moved(moved, c, mean, change, s);
            for (k = 0; k < 2; k++) all[k] += moved[k] / SITES;
        }
        to_lattice(moved, all[0], all[1], 1);
        for (k = 0; k < 2; k++) c->centre[i][k] += moved[k] / WS2_PIXEL;
    }
    return cut_cells(c);
}

/* v (SITES, 2) <- less its mean over the sites. */
static void without_mean(double *v)
{
    double mean[2] = {0, 0};
    int i;

    for (i = 0; i < 2 * SITES; i++) mean[i % 2] += v[i] / SITES;
    for (i = 0; i < 2 * SITES; i++) v[i] -= mean[i % 2];
}

/* Where the metals around each Mo truly are. */
static int true_cells(cells *c)
{
    size_t k;
    int i, s;

    c->truth = calloc((size_t)c->n * SITES * 2, sizeof *c->truth);
    if (!c->truth) return fail("not enough memory");
    for (i = 0; i < c->n; i++) {
        const sight *of = &c->w->found.at[c->of[i]];
        const sight *mo = &c->w->truth.at[of->other];
        double *t = c->truth + (size_t)i * SITES * 2;

        for (k = c->w->start[of->frame]; k < c->w->start[of->frame + 1]; k++) {
            double xy[2];

            to_lattice(xy, c->w->column[2 * k] - mo->x,
                       c->w->column[2 * k + 1] - mo->y, 0);
            for (s = 0; s < SITES; s++) {
                double dx = xy[0] - c->site[s][0], dy = xy[1] - c->site[s][1];

                if (dx * dx + dy * dy > 0.8) continue;
                t[2 * s] = dx;
                t[2 * s + 1] = dy;
            }
        }
        without_mean(t);
    }
    return 0;
}

/* A row of a mode: displacements at 1 s.d. of its score, and those that the
   scores predict beside the true ones: correlation, and slope of true over
   predicted. Returns the correlation. */
static double mode_row(io_text *csv, const cells *c, int mode)
{
    const double *d = &c->moved[mode][0][0];
    double tt = 0, ts = 0, ss = 0, size = 0, most = 0, mean = 0;
    double sd = atomdl_sqrt(c->pca.value[mode]);
    int i, k;

    for (k = 0; k < 2 * SITES; k++) size += d[k] * d[k];
    for (k = 0; k < SITES; k++) {
        double far = d[2 * k] * d[2 * k] + d[2 * k + 1] * d[2 * k + 1];

        most = far > most ? far : most;
    }
    for (i = 0; i < c->n; i++)
        for (k = 0; k < 2 * SITES; k++)
            mean += d[k] * c->truth[i * 2 * SITES + k] / c->n;
    for (i = 0; i < c->n; i++) {
        double score = c->score[i * MODES + mode], q = -mean;

        for (k = 0; k < 2 * SITES; k++)
            q += d[k] * c->truth[i * 2 * SITES + k];
        tt += q * q, ts += q * score, ss += score * score;
    }
    io_put(csv, "%d,%.1f,%.1f,%.1f,%.1f,%.1f,%.3f,%.2f\n", mode + 1,
           100 * c->pca.value[mode] / c->pca.total, 100 * sd * d[0],
           100 * sd * d[1], 100 * sd * atomdl_sqrt(most),
           100 * sd * atomdl_sqrt(size / (2 * SITES)),
           ts / atomdl_sqrt(tt * ss), ts / (ss * size));
    return ts / atomdl_sqrt(tt * ss);
}

/* The mean, or a mode with arrows: 10 times the motion at 2 s.d. */
static int picture_mode(paper *p, const cells *c, int mode)
{
    static float px[CELL * CELL];
    double far = mode < 0 ? 0 : 20 * atomdl_sqrt(c->pca.value[mode]);
    io_pen pen = {0xffb000, 255};
    char caption[64];
    io_canvas canvas;
    int i, zoom = 4;

    for (i = 0; i < CELL * CELL; i++)
        px[i] = (float)(mode < 0 ? c->pca.mean[i]
                                 : c->pca.vector[mode * CELL * CELL + i]);
    if (io_canvas_new(&canvas, (size_t)(CELL * zoom), (size_t)(CELL * zoom)))
        return fail("%s", io_reason());
    io_draw_image(&canvas, px, CELL, CELL, zoom, 0, 1);
    for (i = 0; i < SITES && mode >= 0; i++) {
        double x = (c->site[i][0] / WS2_PIXEL + 0.5 * CELL) * zoom;
        double y = (c->site[i][1] / WS2_PIXEL + 0.5 * CELL) * zoom;
        double k = far * zoom / WS2_PIXEL;

        io_draw_disc(&canvas, x, y, 3, pen);
        io_draw_line(&canvas, x, y, x + k * c->moved[mode][i][0],
                     y + k * c->moved[mode][i][1], 2, pen);
    }
    if (mode < 0) sprintf(caption, "mean of %d", c->n);
    else sprintf(caption, "component %d", mode + 1);
    return put_canvas(p, caption, &canvas);
}

static void cell_sites(cells *c)
{
    int s;

    for (s = 1; s < SITES; s++) {
        double angle = (s - 1) * 1.0471975511965976;

        c->site[s][0] = WS2_A * atomdl_cos(angle);
        c->site[s][1] = WS2_A * atomdl_sin(angle);
    }
}

static int cell_table(paper *p, const specimen *w, double *r)
{
    cells *c = calloc(1, sizeof *c);
    io_text csv = {0};
    int i, s, bad;

    if (!c) return fail("not enough memory");
    c->w = w;
    cell_sites(c);
    bad = list_cells(c) || cut_cells(c) || centre_cells(c) || centre_cells(c)
          || in_arena(cells_stage, c, &c->arena, "components")
          || true_cells(c);
    io_put(&csv, "component,variance %%,Mo x pm,y pm,greatest of the metals pm,"
           "rms pm,correlation with truth,true over predicted\n");
    io_put(&p->page, "<h2>Distortions of the cell around Mo</h2>\n"
           "<div class=\"f\">");
    for (i = -1; i < MODES && !bad; i++) {
        for (s = 0; s < SITES && i >= 0; s++)
            site_moved(c->moved[i][s], c, c->pca.mean,
                       c->pca.vector + i * CELL * CELL, s);
        if (i >= 0) without_mean(&c->moved[i][0][0]);
        bad = picture_mode(p, c, i);
        if (i < 0 || bad) continue;
        r[i] = mode_row(&csv, c, i);
    }
    io_put(&p->page, "</div>\n<p>Arrows: displacements that the component "
           "stands for, 10 times what they are at 2 s.d. of its score. The "
           "simulated columns tremble by 5 pm in x and in y, each by itself."
           "</p>\n");
    free(c->x);
    free(c->truth);
    free(c->arena.base);
    free(c);
    if (bad) return io_text_free(&csv), 1;
    return put_table(p, "cell", "Principal components of the pictures of Mo, "
                     "at 1 s.d.", &csv);
}

/* ---------- 002: the published matrix ---------------------------------------

   Probabilities from class to class, a frame, as the authors of papers 002 and
   003 published them. */

enum { CHAINS = 100, LINKS = 100 };

static const double PUBLISHED[KINDS][KINDS] = {
    {0.10813397, 0.31901914, 0.26531100, 0.30753589},
    {0.12245688, 0.18133569, 0.35623065, 0.33997678},
    {0.18299351, 0.23385332, 0.26509152, 0.31806165},
    {0.16767163, 0.20472051, 0.28236597, 0.34524190}};

#define WRONG 0.15 /* part of the labels */

static int published_solve(atomdl_markov *m)
{
    atomdl_counts c;
    int i, j, status;

    memset(&c, 0, sizeof c);
    c.states = KINDS;
    for (i = 0; i < KINDS; i++) /* its eight digits */
        for (j = 0; j < KINDS; j++)
            c.pair[i][j] = (uint32_t)(1e8 * PUBLISHED[i][j] + 0.5);
    status = atomdl_markov_solve(m, &c, 0, NULL);
    return status ? fail("matrix: %s", atomdl_strerror(status)) : 0;
}

/* c <- a b */
static void product(double c[KINDS][KINDS], double a[KINDS][KINDS],
                    double b[KINDS][KINDS])
{
    double r[KINDS][KINDS];
    int i, j, k;

    for (i = 0; i < KINDS; i++)
        for (j = 0; j < KINDS; j++)
            for (k = 0, r[i][j] = 0; k < KINDS; k++)
                r[i][j] += a[i][k] * b[k][j];
    memcpy(c, r, sizeof r);
}

/* b <- p less its stationary part, whose powers are those of p less it. */
static void transient(double b[KINDS][KINDS], const atomdl_markov *m)
{
    int i, j;

    for (i = 0; i < KINDS; i++)
        for (j = 0; j < KINDS; j++) b[i][j] = m->p[i][j] - m->stationary[j];
}

static double squares(double b[KINDS][KINDS])
{
    double sum = 0;
    int i, j;

    for (i = 0; i < KINDS; i++)
        for (j = 0; j < KINDS; j++) sum += b[i][j] * b[i][j];
    return sum;
}

/* Modulus of the second eigenvalue, from powers 64 and 32. */
static double second_eigenvalue(const atomdl_markov *m)
{
    double b[KINDS][KINDS], at32;
    int i;

    transient(b, m);
    for (i = 0; i < 5; i++) product(b, b, b);
    at32 = squares(b);
    product(b, b, b);
    return atomdl_exp(atomdl_log(squares(b) / at32) / 64);
}

static int published_table(paper *p, const atomdl_markov *m)
{
    io_text csv = {0}, mixing = {0}, flux = {0};
    double b[KINDS][KINDS], power[KINDS][KINDS], bits = 0;
    int i, j, n;

    io_put(&csv, "class,to 1,to 2,to 3,to 4,row,column,stationary,lifetime in "
           "frames\n");
    io_put(&mixing, "frames,greatest part of a start that is remembered\n");
    io_put(&flux, "classes,there,back,net,s.d. of net for 10^4 transitions\n");
    for (i = 0; i < KINDS; i++) {
        double row = 0, column = 0;

        io_put(&csv, "%d", i + 1);
        for (j = 0; j < KINDS; j++) {
            double there = m->stationary[i] * m->p[i][j];
            double back = m->stationary[j] * m->p[j][i];

            row += PUBLISHED[i][j];
            column += PUBLISHED[j][i];
            bits += there * atomdl_log(m->p[i][j] / m->stationary[j])
                    / 0.6931471805599453;
            io_put(&csv, ",%.8f", PUBLISHED[i][j]);
            if (j > i)
                io_put(&flux, "%d and %d,%.4f,%.4f,%.4f,%.4f\n", i + 1, j + 1,
                       there, back, there - back,
                       atomdl_sqrt((there + back) / 1e4));
        }
        io_put(&csv, ",%.8f,%.3f,%.4f,%.3f\n", row, column, m->stationary[i],
               m->lifetime[i]);
    }
    transient(b, m);
    memcpy(power, b, sizeof b);
    for (n = 1; n < 6; n++) {
        double most = 0;

        for (i = 0; i < KINDS; i++) {
            double sum = 0;

            for (j = 0; j < KINDS; j++)
                sum += power[i][j] < 0 ? -power[i][j] : power[i][j];
            most = sum / 2 > most ? sum / 2 : most;
        }
        io_put(&mixing, "%d,%.6f\n", n, most);
        product(power, power, b);
    }
    io_put(&p->page, "<p>Second eigenvalue: modulus %.4f. What a frame tells "
           "of the next: %.4f bits. Rows are from, columns to; each row is "
           "nearly the stationary distribution, so that a class lasts little "
           "longer than a frame and the start is forgotten in three. Detailed "
           "balance does not hold: more goes from 1 to 2 to 3 and 4, and from "
           "there to 1, than back. Such a chain cannot correct labels; it "
           "could if frames came four times as fast (the last of these "
           "tables).</p>\n", second_eigenvalue(m), bits);
    n = put_table(p, "published", "The matrix: rows add up to 1, columns do "
                  "not", &csv)
        || put_table(p, "published-mixing", "How long the start is remembered "
                     "(total variation from the stationary distribution)",
                     &mixing);
    if (n) return io_text_free(&flux), 1;
    return put_table(p, "published-balance", "Detailed balance: flux a frame "
                     "between classes", &flux);
}

static int drawn_from(const double *part, atomdl_rng *rng)
{
    double u = atomdl_rng_uniform64(rng);
    int k;

    for (k = 0; k < KINDS - 1; k++)
        if ((u -= part[k]) < 0) break;
    return k;
}

/* Chains of p, and labels of which WRONG are wrong. */
static int draw_chains(hidden_chain *h, int32_t **truth,
                       const atomdl_markov *m)
{
    atomdl_rng rng = atomdl_rng_seed(2003);
    int i, k;

    memset(h, 0, sizeof *h);
    h->states = KINDS;
    h->traces = CHAINS;
    h->n = (size_t)CHAINS * LINKS;
    memset(h->allowed, 1, sizeof h->allowed);
    h->label = malloc(h->n * sizeof *h->label);
    h->length = malloc(CHAINS * sizeof *h->length);
    *truth = malloc(h->n * sizeof **truth);
    if (!h->label || !h->length || !*truth) return fail("not enough memory");
    for (i = 0; i < CHAINS * LINKS; i++) {
        k = drawn_from(i % LINKS ? m->p[(*truth)[i - 1]] : m->stationary,
                       &rng);
        (*truth)[i] = k;
        if (atomdl_rng_uniform64(&rng) < WRONG)
            k = (k + 1 + (int)atomdl_rng_below(&rng, KINDS - 1)) % KINDS;
        h->label[i] = k;
    }
    for (i = 0; i < CHAINS; i++) h->length[i] = LINKS;
    return 0;
}

/* The chain that is known: matrix and part of wrong labels. */
static void know(hidden_chain *h, const atomdl_markov *m)
{
    int i, j;

    markov_begin(h, WRONG);
    memcpy(h->hmm.start, m->stationary, sizeof h->hmm.start);
    for (i = 0; i < KINDS; i++)
        for (j = 0; j < KINDS; j++) {
            h->hmm.p[i][j] = m->p[i][j];
            h->mixed[i][j] = i == j ? 1 - WRONG : WRONG / (KINDS - 1);
        }
}

/* Labels of chains of m as found and as decoded; the matrix from the true
   classes, from the labels, and learnt without and with `kappa` pseudo-counts
   of m. */
static int decode_row(io_text *csv, const atomdl_markov *m, double part,
                      double kappa)
{
    int wrong[3] = {0, 0, 0}, i, j, k, bad;
    atomdl_markov of;
    atomdl_counts c, other;
    hidden_chain h;
    int32_t *truth;
    double z[4], slow[ATOMDL_MARKOV][ATOMDL_MARKOV];

    memcpy(slow, m->p, sizeof slow);
    bad = draw_chains(&h, &truth, m);
    if (!bad) know(&h, m);
    bad = bad || markov_run(&h) || markov_solve(&of, &c, &h, truth);
    for (i = 0; i < CHAINS * LINKS && !bad; i++) {
        const double *q = h.posterior + i * KINDS;

        for (k = 0, j = 1; j < KINDS; j++) k = q[j] > q[k] ? j : k;
        wrong[0] += h.label[i] != truth[i];
        wrong[1] += h.path[i] != truth[i];
        wrong[2] += k != truth[i];
    }
    z[0] = rms_z(of.p, slow, &c);
    bad = bad || markov_solve(&of, &other, &h, h.label);
    z[1] = rms_z(of.p, slow, &c);
    for (k = 0; k < 2 && !bad; k++) {
        know(&h, m);
        h.learn = LEARN_CHAIN;
        for (i = 0; i < KINDS; i++)
            for (j = 0; j < KINDS; j++) {
                h.hmm.p[i][j] = 1. / KINDS + (i == j ? 0.03 : -0.01);
                h.prior[i][j] = k * kappa * m->p[i][j];
            }
        bad = markov_run(&h);
        z[2 + k] = rms_z(h.hmm.p, slow, &c);
    }
    io_put(csv, "%.2f,%.2f,%.3f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f\n", part,
           m->lifetime[KINDS - 1], second_eigenvalue(m), 0.01 * wrong[0],
           0.01 * wrong[1], 0.01 * wrong[2], z[0], z[1], z[2], z[3]);
    markov_free(&h);
    free(truth);
    return bad;
}

/* Frames that come faster: a class moves in `part` of them. */
static int published_decode(paper *p, const atomdl_markov *m)
{
    static const double PART[] = {1, 0.5, 0.25, 0.1};
    io_text csv = {0};
    int i, j, k;

    io_put(&csv, "part of the frames that step,lifetime of class 4,second "
           "eigenvalue,wrong labels %%,Viterbi %%,posterior %%,rms z of the "
           "matrix: true classes,labels counted,Baum-Welch,with 20 "
           "pseudo-counts a row\n");
    for (k = 0; k < 4; k++) {
        atomdl_markov slow = *m;

        for (i = 0; i < KINDS; i++) {
            for (j = 0; j < KINDS; j++)
                slow.p[i][j] = PART[k] * m->p[i][j]
                               + (i == j ? 1 - PART[k] : 0);
            slow.lifetime[i] = m->lifetime[i] / PART[k];
        }
        if (decode_row(&csv, &slow, PART[k], 20))
            return io_text_free(&csv), 1;
    }
    return put_table(p, "published-decoded", "Simulated chains (100 of 100 "
                     "frames) with 15 % of wrong labels, decoded with the "
                     "matrix as prior; z: in sampling errors of the true "
                     "classes", &csv);
}

static int published_matrix(paper *p)
{
    atomdl_markov m;

    io_put(&p->page, "<h2>The published 4 x 4 matrix</h2>\n<p>Transition "
           "probabilities of the defects' classes from frame to frame, as "
           "published by the authors of the papers.</p>\n");
    return published_solve(&m) || published_table(p, &m)
           || published_decode(p, &m);
}

/* ---------- Papers 002 and 003 ---------------------------------------------- */

enum { DOSE = 100000 }; /* e/A2 */

typedef struct {
    walk k;
    judgement g;
    double pure[3], turned, r[MODES];
} outcome;

static int summary_002(paper *p, const specimen *w, const outcome *o)
{
    io_text csv = {0};

    io_put(&csv, "quantity,paper,ours,truth\n");
    io_put(&csv, "frames,about 100,%d,\n", FILMED);
    io_put(&csv, "defects in all frames,10^3 to 10^4,%d,%d\n", w->found.n,
           w->truth.n);
    io_put(&csv, "classes without labels: members of their class's commonest "
           "kind %%,no number,%.1f (mixture) %.1f (Ward) %.1f (k-means),\n",
           100 * o->pure[0], 100 * o->pure[1], 100 * o->pure[2]);
    io_put(&csv, "three orientations of Mo-V: right %%,no number,%.1f,\n",
           100 * o->turned);
    io_put(&csv, "diffusion of vacancies A2/frame,no number,%.3f +- %.3f,"
           "%.3f\n", o->k.rate.diffusion, o->k.rate.diffusion_error,
           true_rate(w) * WS2_A * WS2_A / 4);
    io_put(&csv, "transitions of Mo-V: rms z of 16 probabilities,no number,"
           "%.2f,%.2f\n", o->g.z[1], o->g.z[0]);
    io_put(&csv, "wrong labels of Mo and Mo-V %%: a frame; Markov,proposed,"
           "%.2f; %.2f,0\n", 100. * o->g.found / o->g.seen,
           100. * o->g.path / o->g.seen);
    io_put(&csv, "cell of Mo: correlation of the first two components with "
           "true displacements,no number,%.3f %.3f,1\n", o->r[0], o->r[1]);
    return put_table(p, "summary", "Papers and AtomDL", &csv);
}

static int parts_002(paper *p, outcome *o)
{
    io_text doses = {0};
    specimen *w;
    int bad = make_directory(p->out) || dose_rows(p, &doses);

    io_put(&p->page, "<h2>Ziatdinov et al. 2018, Maksov et al. 2019, Mo-doped "
           "WS2, in simulation</h2>\n<p>100 frames of 256 x 256 pixels, 0.15 A "
           "a pixel, %d e/A2; V: a missing S, Mo-V: Mo with one beside it. "
           "Everything that `atomdl movie` says of them: <a "
           "href=\"movie/report.html\">its own page</a>.</p>\n", DOSE);
    w = bad ? NULL : specimen_new(p, DOSE);
    bad = !w || figure_1a(p, w) || figure_1b(p, w, o->pure, &o->turned)
          || concentration_table(p, w) || motion_table(p, w, &o->k)
          || pair_table(p, w, &o->g) || cell_table(p, w, o->r);
    if (!bad) dose_row(&doses, DOSE, w, &o->k, &o->g);
    if (!bad) io_put(&p->page, "<h2>At lower doses</h2>\n");
    if (bad) io_text_free(&doses);
    else bad = put_table(p, "doses", "The same movie, each with its own chains",
                         &doses);
    bad = bad || published_matrix(p) || summary_002(p, w, o);
    specimen_free(w);
    return bad;
}

static int paper_002(paper *p)
{
    outcome o;

    memset(&o, 0, sizeof o);
    return parts_002(p, &o);
}

/* ---------- atomdl paper -------------------------------------------------- */

static int paper_run(paper *p, int (*run)(paper *))
{
    int bad;

    p->digest = ATOMDL_DIGEST;
    put_page_head(&p->page);
    bad = run(p);
    io_put(&p->page, "</body></html>\n");
    if (bad) io_text_free(&p->page);
    else bad = save_text(p->out, &p->page, "report.html");
    if (!bad)
        printf("digest %08lx%08lx\n", (unsigned long)(p->digest >> 32),
               (unsigned long)(p->digest & 0xffffffffu));
    return bad;
}

int paper_command(char **argv)
{
    static const struct {
        const char *name, *out;
        int (*run)(paper *p);
    } PAPER[] = {{"001", "paper-001", paper_001},
                 {"002", "paper-002", paper_002},
                 {"004", "paper-004", paper_004}};
    size_t i, papers = sizeof PAPER / sizeof *PAPER, which = papers;
    paper p;
    int a, k;

    memset(&p, 0, sizeof p);
    for (a = 1; argv[a]; a++) {
        if ((k = option_number(argv, &a, "--threads", &p.threads, 1, 1024))) {
            if (k < 0) return 2;
        } else if (!option(argv, &a, "-o", &p.out)) {
            for (i = 0; i < papers && strcmp(argv[a], PAPER[i].name); i++) {}
            if (i == papers || which < papers)
                return misuse("paper: what is '%s'? (atomdl paper --help)",
                              argv[a]);
            which = i;
        } else if (!p.out) {
            return misuse("-o wants a directory");
        }
    }
    if (which == papers) return misuse("paper wants a number: 001, 002 or 004");
    if (!p.out) p.out = PAPER[which].out;
    return paper_run(&p, PAPER[which].run);
}
