/* SPDX-License-Identifier: MIT
   atomdl evaluate: a table of found atoms against one of true ones. */
#include "places.h"
#include "program.h"

#include <stdio.h>
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

static int places_read(places *t, const char *path)
{
    io_bytes file;
    if (text_read(&file, path, (size_t)1 << 30))
        return fail("%s", io_reason());
    int bad = places_parse(t, (const char *)file.data, path);
    free(file.data);
    return bad;
}

typedef struct {
    char name[FIELD]; /* of the species; "": every atom */
    int found, truth;
    atomdl_matches m;
} outcome;

typedef struct { /* two tables, and the species that is compared */
    const places *of[2];
    double radius;
    outcome *r;
} comparison;

/* xy (t->n) <- places of one species, "": every atom; vacancies are no atoms;
   xy NULL: the number alone */
static int places_of(double *xy, const places *t, const char *species)
{
    int n = 0;
    for (int i = 0; i < t->n; i++) {
        const place *p = &t->p[i];
        if (*species ? strcmp(p->species, species)
                     : !strcmp(p->species, "vacancy"))
            continue;
        if (xy) xy[2 * n] = p->x, xy[2 * n + 1] = p->y;
        n++;
    }
    return n;
}

static int match_species(void *of, atomdl_arena *arena)
{
    comparison *c = of;
    outcome *r = c->r;
    double *xy[2];
    for (int k = 0; k < 2; k++)
        xy[k] = atomdl_alloc(arena, (size_t)c->of[k]->n, 2 * sizeof **xy);
    if (atomdl_arena_status(arena)) return atomdl_arena_status(arena);
    r->found = places_of(xy[0], c->of[0], r->name);
    r->truth = places_of(xy[1], c->of[1], r->name);
    return atomdl_match(&r->m, xy[0], r->found, xy[1], r->truth, c->radius,
                        arena);
}

static double fraction(int part, int all)
{
    return all ? (double)part / all : 0;
}

/* A row: for eyes, or of the table that becomes JSON. */
static void put_outcome(io_text *t, const outcome *r, int json)
{
    const char *name = r->name[0] ? r->name : "all";
    double p = fraction(r->m.tp, r->found), q = fraction(r->m.tp, r->truth);
    double f1 = fraction(2 * r->m.tp, r->found + r->truth);
    double dx = 100 * r->m.mean_x, dy = 100 * r->m.mean_y;
    if (json)
        io_put(t, "%s,%d,%d,%d,%.6f,%.6f,%.6f,%.4f,%.4f,%.4f\n", name,
               r->truth, r->found, r->m.tp, p, q, f1, 100 * r->m.rms, dx, dy);
    else
        io_put(t, "%s%s%d\t%d\t%d\t%.4f\t%.4f\t%.4f\t%.2f\t%.2f\t%.2f\n",
               name, strlen(name) < 8 ? "\t\t" : "\t", r->truth, r->found,
               r->m.tp, p, q, f1, 100 * r->m.rms, dx, dy);
}

/* Prints all of them. */
static int put_outcomes(const outcome *r, int n, int json)
{
    io_text t = {0}, object = {0};
    io_put(&t, json ? "species,truth,found,right,precision,recall,f1,rms_pm,"
                      "mean_x_pm,mean_y_pm\n"
                    : "species\t\ttruth\tfound\tright\tprec.\trecall\tF1\t"
                      "rms/pm\tmean x\tmean y\n");
    for (int i = 0; i < n; i++) put_outcome(&t, &r[i], json);
    const io_text *shown = &t;
    if (json && !t.failed) {
        io_json_open(&object, NULL, '{');
        put_json_table(&object, t.s);
        io_json_close(&object, '}');
        io_put(&object, "\n");
        shown = &object;
    }
    int bad = t.failed || shown->failed ? fail("no memory") : 0;
    if (!bad) fwrite(shown->s, 1, shown->n, stdout);
    io_text_free(&object);
    io_text_free(&t);
    return bad;
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
    outcome r[KINDS] = {0};
    int n = 1;
    int bad = places_read(&a, path[0]) || places_read(&b, path[1]);
    if (!bad) {
        species_list(r, &n, &b);
        species_list(r, &n, &a);
    }
    comparison c = {{&a, &b}, radius, NULL};
    atomdl_arena arena = {0, 0, 0, 0, 0};
    for (int i = 0; i < n && !bad; i++) {
        c.r = &r[i];
        bad = in_arena(match_species, &c, &arena, path[0]);
    }
    if (!bad) bad = put_outcomes(r, n, json);
    free(arena.base);
    free(a.p);
    free(b.p);
    return bad;
}

int evaluate_command(char **argv)
{
    const char *path[2];
    double radius = 0.5;
    int json = 0;
    const option_row row[] = {
        OPTION_REAL("--radius", &radius, 0, 1e3, "wants Angstrom, up to 1000"),
        OPTION_FLAG("--json", &json), OPTION_END};
    int n = options_read(row, argv, path, 2, "evaluate: what is '%s'?");
    if (n < 0) return 2;
    if (n < 2) return misuse("evaluate wants PREDICTED.csv and TRUTH.csv");
    return evaluate(path, radius, json);
}
