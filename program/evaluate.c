/* SPDX-License-Identifier: MIT
   atomdl evaluate: a table of found atoms against one of true ones. */
#include "analyze.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

const char EVALUATE_HELP[] =
    "usage: atomdl evaluate PREDICTED.csv TRUTH.csv [--radius A] [--json]\n"
    "\n"
    "Compares NAME.atoms.csv of `atomdl analyze` with NAME.truth.csv of\n"
    "`atomdl simulate`, or any two tables with columns x_A, y_A, species.\n"
    "Atoms pair one to one, nearest first, within the radius (default 0.5).\n"
    "The first row counts places, the others each species by itself: what a\n"
    "column holds, where the table has a `column`.\n"
    "\n"
    "example:  atomdl evaluate out/image.atoms.csv image.truth.csv\n";

enum { KINDS = 32 };

typedef struct {
    double x, y; /* A */
    char species[FIELD];
} place;

typedef struct {
    place *p; /* (n), from malloc */
    int n;
} places;

void csv_field(char to[FIELD], const char *line, int i)
{
    for (; i > 0; i--) {
        line += strcspn(line, ",\r\n");
        if (*line != ',') break;
        line++;
    }
    size_t n = i > 0 ? 0 : strcspn(line, ",\r\n");
    if (n >= FIELD) n = FIELD - 1;
    memcpy(to, line, n);
    to[n] = 0;
}

int csv_column(const char *head, const char *name)
{
    int fields = 1;
    for (int i = 0; head[i] && head[i] != '\n'; i++) fields += head[i] == ',';
    char text[FIELD];
    for (int i = 0; i < fields; i++) {
        csv_field(text, head, i);
        if (!strcmp(text, name)) return i;
    }
    return -1;
}

/* Atoms of one column come one after the other: true when this is one more of
   a column that is in the list. */
static int same_column(places *t, const place *p)
{
    for (int i = t->n - 1; i >= 0 && i > t->n - 9; i--) {
        double dx = t->p[i].x - p->x, dy = t->p[i].y - p->y;
        if (dx * dx + dy * dy < 0.36 && !strcmp(t->p[i].species, p->species)) {
            t->p[i].x -= dx / 2;
            t->p[i].y -= dy / 2;
            return 1;
        }
    }
    return 0;
}

/* One line of a table; 1: no numbers in it. */
static int place_read(places *t, const char *line, const int col[4])
{
    char text[FIELD];
    place *p = &t->p[t->n];
    csv_field(text, line, col[0]);
    char *end;
    p->x = strtod(text, &end);
    if (end == text || *end) return 1;
    csv_field(text, line, col[1]);
    p->y = strtod(text, &end);
    if (end == text || *end || p->x - p->x != 0 || p->y - p->y != 0) return 1;
    csv_field(p->species, line, col[2]);
    char own[FIELD];
    csv_field(own, line, col[3]);
    if (col[3] < 0 || !own[0]) return t->n++, 0;
    if (!strcmp(own, p->species)) return t->n++, 0;
    strcpy(p->species, own);
    if (!same_column(t, p)) t->n++;
    return 0;
}

/* A table's atoms; takes the bytes of the file, which are freed. */
static int places_parse(places *t, io_bytes file, const char *path)
{
    int row = 1, bad = 0;
    size_t lines = 2;
    char *text = realloc(file.data, file.size + 1);
    for (size_t i = 0; i < file.size && text; i++) lines += text[i] == '\n';
    t->p = malloc(lines * sizeof *t->p);
    if (!text || !t->p) {
        free(text ? (void *)text : file.data);
        return fail("%s: not enough memory", path);
    }
    text[file.size] = 0;
    int col[4];
    col[0] = csv_column(text, "x_A");
    col[1] = csv_column(text, "y_A");
    col[2] = csv_column(text, "species");
    col[3] = csv_column(text, "column");
    if (col[0] < 0 || col[1] < 0 || col[2] < 0)
        bad = fail("%s: its first line names no columns x_A, y_A, species",
                   path);
    for (char *line = strchr(text, '\n'); line && !bad;
         line = strchr(line, '\n')) {
        line++;
        row++;
        if (*line && *line != '\n' && place_read(t, line, col))
            bad = fail("%s: line %d: no coordinates", path, row);
    }
    free(text);
    return bad;
}

static int places_read(places *t, const char *path)
{
    io_bytes file;
    if (io_read(&file, path, (size_t)1 << 30)) return fail("%s", io_reason());
    return places_parse(t, file, path);
}

typedef struct {
    char name[FIELD];
    int found, truth;
    atomdl_matches m;
} outcome;

/* Pairs those of one species, "": every atom; vacancies are no atoms. */
static int compare(outcome *r, const places *a, const places *b, double radius)
{
    const places *of[2];
    double *xy[2] = {NULL, NULL};
    int n[2] = {0, 0}, status = ATOMDL_OK;
    atomdl_arena arena = {0, 0, 0, 0, 0};
    of[0] = a, of[1] = b;
    for (int k = 0; k < 2; k++) {
        xy[k] = malloc((size_t)of[k]->n * 2 * sizeof **xy + 1);
        for (int i = 0; i < of[k]->n && xy[k]; i++) {
            const place *p = &of[k]->p[i];
            if (r->name[0] ? strcmp(p->species, r->name)
                           : !strcmp(p->species, "vacancy"))
                continue;
            xy[k][2 * n[k]] = p->x;
            xy[k][2 * n[k]++ + 1] = p->y;
        }
    }
    r->found = n[0];
    r->truth = n[1];
    status = atomdl_match(&r->m, NULL, xy[0], n[0], xy[1], n[1], radius,
                          &arena);
    arena.size = arena.peak;
    arena.base = malloc(arena.size + 1);
    if (!xy[0] || !xy[1] || !arena.base) status = ATOMDL_EMEM;
    if (!status)
        status = atomdl_match(&r->m, NULL, xy[0], n[0], xy[1], n[1], radius,
                              &arena);
    free(arena.base);
    free(xy[0]);
    free(xy[1]);
    return status ? fail("%s", atomdl_strerror(status)) : 0;
}

static double share(int part, int all)
{
    return all ? (double)part / all : 0;
}

static void put_outcome(io_text *t, const outcome *r, int json)
{
    const char *name = r->name[0] ? r->name : "all";
    double p = share(r->m.tp, r->found), q = share(r->m.tp, r->truth);
    double f1 = share(2 * r->m.tp, r->found + r->truth);
    double dx = 100 * r->m.mean_x, dy = 100 * r->m.mean_y;
    if (!json) {
        io_put(t, "%s%s%d\t%d\t%d\t%.4f\t%.4f\t%.4f\t%.2f\t%.2f\t%.2f\n",
               name, strlen(name) < 8 ? "\t\t" : "\t", r->truth, r->found,
               r->m.tp, p, q, f1, 100 * r->m.rms, dx, dy);
        return;
    }
    io_json_open(t, name, '{');
    io_json(t, "truth", "%d", r->truth);
    io_json(t, "found", "%d", r->found);
    io_json(t, "right", "%d", r->m.tp);
    io_json(t, "precision", "%.6f", p);
    io_json(t, "recall", "%.6f", q);
    io_json(t, "f1", "%.6f", f1);
    io_json(t, "rms_pm", "%.4f", 100 * r->m.rms);
    io_json(t, "mean_x_pm", "%.4f", dx);
    io_json(t, "mean_y_pm", "%.4f", dy);
    io_json_close(t, '}');
}

/* Adds the species of a table to the list. */
static void species_list(outcome *r, int *n, const places *t)
{
    int k;
    for (int i = 0; i < t->n; i++) {
        for (k = 1; k < *n && strcmp(r[k].name, t->p[i].species); k++) {}
        if (k == *n && k < KINDS) strcpy(r[(*n)++].name, t->p[i].species);
    }
}

static int evaluate(const char *const path[2], double radius, int json)
{
    places a = {NULL, 0}, b = {NULL, 0};
    outcome r[KINDS];
    io_text t = {0};
    int n = 1;
    memset(r, 0, sizeof r);
    int bad = places_read(&a, path[0]) || places_read(&b, path[1]);
    if (!bad) {
        species_list(r, &n, &b);
        species_list(r, &n, &a);
    }
    for (int i = 0; i < n && !bad; i++) bad = compare(&r[i], &a, &b, radius);
    if (!bad) {
        if (json) io_json_open(&t, NULL, '{');
        else io_put(&t, "species\t\ttruth\tfound\tright\tprec.\trecall\tF1\t"
                        "rms/pm\tmean x\tmean y\n");
        for (int i = 0; i < n; i++) put_outcome(&t, &r[i], json);
        if (json) io_json_close(&t, '}');
        if (json) io_put(&t, "\n");
        bad = t.failed ? fail("no memory") : 0;
        if (!bad) fwrite(t.s, 1, t.n, stdout);
    }
    io_text_free(&t);
    free(a.p);
    free(b.p);
    return bad;
}

int evaluate_command(char **argv)
{
    const char *path[2] = {NULL, NULL}, *v;
    double radius = 0.5;
    char *end = NULL;
    int n = 0, json = 0;
    for (int i = 1; argv[i]; i++) {
        if (option(argv, &i, "--radius", &v)) {
            radius = v ? strtod(v, &end) : 0;
            if (!v || *end || !(radius > 0 && radius <= 1e3))
                return misuse("--radius wants Angstrom, up to 1000");
        } else if (!strcmp(argv[i], "--json")) {
            json = 1;
        } else if (argv[i][0] == '-' || n == 2) {
            return misuse("evaluate: what is '%s'?", argv[i]);
        } else {
            path[n++] = argv[i];
        }
    }
    if (n < 2) return misuse("evaluate wants PREDICTED.csv and TRUTH.csv");
    return evaluate(path, radius, json);
}
