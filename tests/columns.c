/* SPDX-License-Identifier: MIT
   Signals of single columns, for tests/columns.py: each job on
   standard input is a line

       atoms kV mrad inner outer spread configurations finer window

   (configurations -1: the fast model, channelled; -2: the fast model, additive)
   and a line `Z x y z` (A) for each atom; the column is at (0, 0). For each, a
   line: peak and integral over a disc of 0.6 A with a source of 0.7 A, then of
   0.9 A, fractions of the beam and times A2. */

#include "../atomdl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define PIXEL 0.05
enum { SIDE = 85, REACH = 30 }; /* px; of the source's tails */

typedef struct {
    int atoms, configurations, finer;
    double kv, mrad, inner, outer, spread, window;
} job;

/* m at pixel (x, y) blurred by a Gaussian of sigma s px */
static double blurred(const atomdl_image *m, int x, int y, double s)
{
    double sum = 0, all = 0;
    for (int j = -REACH; j <= REACH; j++)
        for (int i = -REACH; i <= REACH; i++) {
            double w = exp(-(i * i + j * j) / (2 * s * s));
            sum += w * (double)m->px[(y + j) * m->w + x + i];
            all += w;
        }
    return sum / all;
}

static void print_source(const atomdl_image *m, double fwhm)
{
    double s = fwhm / 2.354820045 / PIXEL, disc = 0, area = 0;
    int middle = SIDE / 2, reach = SIDE / 2 - REACH;
    for (int j = -reach; j <= reach; j++)
        for (int i = -reach; i <= reach; i++) {
            double part = 0.6 / PIXEL + 0.5 - sqrt(i * i + j * j);
            if (part <= 0) continue;
            part = part > 1 ? 1 : part;
            disc += part * blurred(m, middle + i, middle + j, s);
            area += part;
        }
    printf("%.5e %.5e ", blurred(m, middle, middle, s),
           disc / area * 3.14159265 * 0.36);
}

/* Atoms within 0.3 A of one another are a column. */
static void name_columns(atomdl_atom *atom, int n)
{
    for (int i = 0; i < n; i++) {
        int k = 0;
        while (hypot(atom[k].x - atom[i].x, atom[k].y - atom[i].y) > 0.3) k++;
        atom[i].column = (uint32_t)k;
    }
}

static int fast_image(atomdl_image *m, const job *t, const atomdl_atom *atom,
                      atomdl_optics *o, atomdl_arena *arena)
{
    atomdl_probe probe;
    o->channelling = t->configurations == -1;
    int status = atomdl_probe_new(&probe, o, SIDE, SIDE, PIXEL, 8, arena);
    return status ? status
                  : atomdl_image_atoms(m, atom, (size_t)t->atoms, o, &probe,
                                       arena);
}

static int image_of(atomdl_image *m, const job *t, const atomdl_atom *atom)
{
    atomdl_optics o;
    atomdl_optics_preset(&o, "001");
    o.kv = t->kv;
    o.convergence = t->mrad;
    o.inner = t->inner;
    o.outer = t->outer;
    o.spread = t->spread;
    o.source = 0;
    atomdl_slicing how = {.configurations = t->configurations,
                          .rng = atomdl_rng_seed(1), .finer = t->finer,
                          .window = t->window};
    atomdl_arena need = {0};
    int n = t->atoms;
    if (t->configurations < 0) {
        need = (atomdl_arena){malloc(1 << 27), 1 << 27, 0, 0, 0};
        int status = fast_image(m, t, atom, &o, &need);
        free(need.base);
        return status;
    }
    atomdl_image_multislice(m, atom, (size_t)n, &o, PIXEL, &how, &need);
    atomdl_arena arena = {malloc(need.peak), need.peak, 0, 0, 0};
    int status = atomdl_image_multislice(m, atom, (size_t)n, &o, PIXEL, &how,
                                         &arena);
    free(arena.base);
    return status;
}

int main(void)
{
    static float px[SIDE * SIDE];
    atomdl_image m = {SIDE, SIDE, 1, px};
    for (job t; scanf("%d %lf %lf %lf %lf %lf %d %d %lf", &t.atoms, &t.kv,
                      &t.mrad, &t.inner, &t.outer, &t.spread,
                      &t.configurations, &t.finer, &t.window) == 9;) {
        atomdl_atom *atom = calloc((size_t)t.atoms + 1, sizeof *atom);
        for (int i = 0; i < t.atoms; i++) {
            double z, *p = &atom[i].x;
            if (scanf("%lf %lf %lf %lf", &z, p, p + 1, p + 2) != 4) return 1;
            atom[i].element = (uint8_t)z;
            atom[i].x += PIXEL * SIDE / 2;
            atom[i].y += PIXEL * SIDE / 2;
            atom[i].weight = 1;
        }
        name_columns(atom, t.atoms);
        if (image_of(&m, &t, atom)) return fprintf(stderr, "failed\n"), 1;
        free(atom);
        print_source(&m, 0.7);
        print_source(&m, 0.9);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
