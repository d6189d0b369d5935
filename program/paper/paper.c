/* SPDX-License-Identifier: MIT
   atomdl paper: the evaluations of papers 001, 002 (with 003) and 004 again,
   in simulation with fixed seeds. Tables as CSV, one page with tables and
   figures, and the digest of all tables on standard output. */
#include "paper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char PAPER_HELP[] =
    "usage: atomdl paper 001|002|004 [-o DIR] [--threads N] [--vacancy FILE]\n"
    "\n"
    "Reruns that paper's evaluation on simulated images of fixed seeds. Into\n"
    "DIR (default: paper-NNN) go its tables as CSV, with the paper's figure\n"
    "beside ours where it printed one, and report.html. Prints the digest of\n"
    "the tables and that it is the same as on every machine; exit status 1:\n"
    "it is not. Takes half a minute. --threads: default 1, as the images are\n"
    "small.\n"
    "\n"
    "  001   Ziatdinov 2017: silicon in graphene, figures 2 to 8\n"
    "  002   Ziatdinov 2018, Maksov 2019 (paper 003 too): defects of WS2 in\n"
    "        motion; the published transition matrix. Leaves its movie, and\n"
    "        what atomdl movie makes of it, in DIR\n"
    "  004   Lee 2022: vacancies and stacking of MoS2, figures 3 to 5.\n"
    "        --vacancy FILE: weights that are set beside ours, such as those\n"
    "        of examples/paper-004.recipe, the paper's own network; classes\n"
    "        background, VS1, VS2\n"
    "\n"
    "example:  atomdl paper 004 -o mos2\n"
    "          then open mos2/report.html\n";

/* ---------- The page ------------------------------------------------------ */

int put_table(paper *p, int bad, const char *name, const char *caption,
              io_text *csv)
{
    if (!bad && csv->failed) bad = fail("not enough memory");
    if (bad) return io_text_free(csv), 1;
    p->digest = atomdl_digest_bytes(p->digest, csv->s, csv->n);
    io_put(&p->page, "<h3>%s</h3>\n<div style=\"overflow-x:auto\">", caption);
    put_html_table(&p->page, csv->s);
    io_put(&p->page, "</div>\n");
    char file[100];
    sprintf(file, "%.90s.csv", name);
    return save_text(p->out, 0, csv, file);
}

void put_graph(paper *p, const char *caption, const char *const *name,
               int dots, const double *y, const plot *over)
{
    static const unsigned COLOUR[SERIES] = {0x2f7fd1, 0xe0662f, 0x3ca55c,
                                            0xb06cff, 0xd14f8a, 0x888888};
    series s[SERIES];
    plot all = *over;
    for (int k = 0; k < SERIES && name[k]; k++, all.count++)
        s[k] = (series){name[k], COLOUR[k], y + k * all.n, NULL, NULL, dots};
    all.s = s;
    all.zero = 1;
    io_put(&p->page, "<figure>");
    put_plot(&p->page, &all);
    io_put(&p->page, "<figcaption>%s</figcaption></figure>\n", caption);
}

int put_canvas(paper *p, const char *caption, io_canvas *c)
{
    io_bytes png = {NULL, 0};
    int bad = io_png(&png, c->rgb, (size_t)c->w, (size_t)c->h, 3);
    if (!bad) put_png_figure(&p->page, &png, caption);
    free(png.data);
    io_canvas_free(c);
    return bad ? fail("%s", io_reason()) : 0;
}

/* ---------- Samples ------------------------------------------------------- */

void maker_free(maker *m)
{
    if (!m) return;
    free(m->shared.base);
    free(m->work.base);
    free(m);
}

static int recipe_stage(void *of, atomdl_arena *arena)
{
    maker *m = of;
    return atomdl_source_new(&m->source, &m->r, NULL, 0, arena);
}

maker *maker_new(const char *text, const char *more)
{
    maker *m = calloc(1, sizeof *m);
    atomdl_recipe_error e = {0, ""};
    if (!m) return fail("not enough memory"), NULL;
    char all[4096];
    int n = snprintf(all, sizeof all, "%s%s", text, more ? more : "");
    if (n >= (int)sizeof all
        || atomdl_recipe_parse(&m->r, &e, all, (size_t)n)) {
        fail("line %d of the evaluation: %s", e.line, e.text);
        return free(m), NULL;
    }
    if (!in_arena(recipe_stage, m, &m->shared, "recipe")) return m;
    return maker_free(m), NULL;
}

static int maker_stage(void *of, atomdl_arena *arena)
{
    maker *m = of;
    return atomdl_sample_new(&m->sample, &m->source, m->index, 1, arena);
}

int maker_draw(maker *m, uint64_t i)
{
    if (!m) return 1;
    m->index = i;
    return in_arena(maker_stage, m, &m->work, "sample");
}

int at_border(const maker *m, double x, double y)
{
    const atomdl_structure *t = &m->sample.structure;
    return x < 1 || y < 1 || x > t->w - 1 || y > t->h - 1;
}

/* ---------- Networks ------------------------------------------------------ */

int network_open(network *n, const paper *p, const char *weights,
                 const char *material, int intensity)
{
    analysis_defaults(&n->o, NULL, p->out);
    n->o.weights = weights;
    n->o.chemistry = atomdl_chemistry_find(material);
    n->o.intensity = intensity;
    n->o.dopant = 0; /* by signal */
    n->o.threads = p->threads ? p->threads : 1; /* images are small */
    return session_open(&n->s, &n->o);
}

const analysis *find_in_drawn(network *n, const maker *m)
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

const analysis *find_in_sample(network *n, maker *m, uint64_t i)
{
    return maker_draw(m, i) ? NULL : find_in_drawn(n, m);
}

/* ---------- Pixels by class ----------------------------------------------- */

int called_class(const analysis *a, int classes, const maker *m, int x, int y)
{
    const float *prob = a->prob;
    size_t w = (size_t)a->got.net_w, plane = w * (size_t)a->got.net_h;
    int u = (int)((x + 0.5) * a->got.net_w / m->sample.image.w);
    int v = (int)((y + 0.5) * a->got.net_h / m->sample.image.h), best = 0;
    size_t at = (size_t)(v < a->got.net_h ? v : a->got.net_h - 1) * w
                + (size_t)(u < a->got.net_w ? u : a->got.net_w - 1);
    for (int c = 1; c < classes; c++)
        if (prob[(size_t)c * plane + at] > prob[(size_t)best * plane + at])
            best = c;
    return best;
}

double matrix_total(const matrix *m)
{
    double n = 0;
    for (int i = 0; i < ATOMDL_CLASSES * ATOMDL_CLASSES; i++)
        n += m->n[i / ATOMDL_CLASSES][i % ATOMDL_CLASSES];
    return n;
}

double matrix_accuracy(const matrix *m)
{
    double r = 0, n = matrix_total(m);
    for (int i = 0; i < ATOMDL_CLASSES; i++) r += m->n[i][i];
    return n > 0 ? r / n : 0;
}

double matrix_recall(const matrix *m, int c)
{
    double n = 0;
    for (int j = 0; j < ATOMDL_CLASSES; j++) n += m->n[c][j];
    return n > 0 ? m->n[c][c] / n : -1;
}

int count_pixels(matrix *counts, network *n, const char *scope,
                 const char *more, int images)
{
    maker *m = maker_new(scope, more);
    memset(counts, 0, sizeof *counts);
    int bad = 0;
    for (int i = 0; i < images && !bad; i++) {
        const analysis *a = find_in_sample(n, m, (uint64_t)i);
        bad = !a;
        for (int y = 0; !bad && y < m->r.h; y++)
            for (int x = 0; x < m->r.w; x++)
                counts->n[m->sample.label[y * m->r.w + x]]
                         [called_class(a, n->s.m->classes, m, x, y)] += 1;
    }
    maker_free(m);
    return bad;
}

/* ---------- atomdl paper -------------------------------------------------- */

/* What `run` makes; digest: of its tables on every machine. */
static int paper_run(paper *p, int (*run)(paper *), uint64_t digest)
{
    p->digest = ATOMDL_DIGEST;
    put_page_head(&p->page);
    int bad = run(p);
    io_put(&p->page, "</body></html>\n");
    if (save_text(p->out, bad, &p->page, "report.html")) return 1;
    printf("digest ");
    print_digest(p->digest);
    printf("%s\n", p->vacancy          ? " with --vacancy"
                   : p->digest != digest ? "" : " as on every machine");
    if (p->digest == digest || p->vacancy) return 0;
    return fail("other tables than on other machines: please report the above");
}

static const struct {
    const char *name, *out;
    int (*run)(paper *p);
    uint64_t digest; /* with the networks of weights/SHA256SUMS */
} PAPER[] = {
    {"001", "paper-001", paper_001, UINT64_C(0xf6cae33bf6e1f432)},
    {"002", "paper-002", paper_002, UINT64_C(0xc49c5926c7d5dca7)},
    {"004", "paper-004", paper_004, UINT64_C(0x4d9d18e08308b8a7)},
};

enum { PAPERS = sizeof PAPER / sizeof *PAPER };

int paper_command(char **argv)
{
    static const char WHAT[] = "paper: what is '%s'? (atomdl paper --help)";
    paper p = {0};
    const option_row row[] = {
        OPTION_WHOLE("--threads", &p.threads, 1, 1024),
        OPTION_TEXT("-o", &p.out, "wants a directory"),
        OPTION_TEXT("--vacancy", &p.vacancy, "wants a weight file"),
        OPTION_END};
    const char *number;
    int n = options_read(row, argv, &number, 1, WHAT), i = 0;
    if (n < 0) return 2;
    if (!n) return misuse("paper wants a number: 001, 002 or 004");
    while (i < PAPERS && strcmp(number, PAPER[i].name)) i++;
    if (i == PAPERS) return misuse(WHAT, number);
    if (p.vacancy && PAPER[i].run != paper_004)
        return misuse("--vacancy is for paper 004");
    if (!p.out) p.out = PAPER[i].out;
    return paper_run(&p, PAPER[i].run, PAPER[i].digest);
}
