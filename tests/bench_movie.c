/* SPDX-License-Identifier: MIT
   usage: bench_movie FILE N D K: rows of floats through principal components,
   k-means, a Gaussian mixture and Ward's hierarchy; prints seconds and the
   results that tests/bench_movie.py compares. */

#define _POSIX_C_SOURCE 199309L
#include "../atomdl.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROWS(x, n, d) (&(atomdl_points){x, n, d})

enum { COMPONENTS = 30 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double start;

static void stage(const char *name, double result)
{
    printf("%s %.4f %.12g\n", name, now() - start, result);
    start = now();
}

static int run(const float *x, int n, int d, int k, atomdl_arena *arena)
{
    size_t rows = (size_t)n;
    double *y = atomdl_alloc(arena, rows * COMPONENTS, sizeof *y);
    double *centre = atomdl_alloc(arena, (size_t)k * COMPONENTS, sizeof *y);
    int *label = atomdl_alloc(arena, rows, sizeof *label);
    atomdl_merge *merge = atomdl_alloc(arena, rows, sizeof *merge);
    atomdl_rng rng = atomdl_rng_seed(1);
    start = now();
    int s;
    atomdl_pca pca;
    if ((s = atomdl_pca_fit(&pca, x, n, d,
                            &(atomdl_pca_how){1, COMPONENTS, NULL},
                            arena))) return s;
    if ((s = atomdl_pca_project(y, &pca, x, n, arena))) return s;
    if (arena->base) stage("pca", pca.value[0]);
    double inertia;
    if ((s = atomdl_kmeans(label, centre, &inertia, ROWS(y, n, pca.k),
                           &(atomdl_kmeans_how){k, 10, rng, NULL}, arena)))
        return s;
    if (arena->base) stage("kmeans", inertia);
    atomdl_gmm gmm;
    if ((s = atomdl_gmm_fit(&gmm, ROWS(y, n, pca.k), label,
                            &(atomdl_gmm_how){k, 1, 1e-6, 1e-3, 100}, arena)))
        return s;
    if (arena->base) stage("gmm", gmm.mean_log);
    if ((s = atomdl_ward(merge, ROWS(y, n, pca.k), NULL, arena))) return s;
    if (arena->base) stage("ward", merge[n - 2].height);
    return 0;
}

int main(int argc, char **argv)
{
    atomdl_arena arena = {NULL, 0, 0, 0, 0};
    int n = argc > 4 ? atoi(argv[2]) : 0, d = n ? atoi(argv[3]) : 0;
    size_t size = (size_t)n * (size_t)d;
    float *x = malloc(size * sizeof *x);
    FILE *f = n ? fopen(argv[1], "rb") : NULL;
    if (!x || !f || fread(x, sizeof *x, size, f) != size) return 1;
    fclose(f);
    int status = run(NULL, n, d, atoi(argv[4]), &arena);
    arena.size = arena.peak;
    arena.base = malloc(arena.peak);
    arena.used = 0;
    if (!status && arena.base) status = run(x, n, d, atoi(argv[4]), &arena);
    if (status) printf("failed: %s\n", atomdl_strerror(status));
    else printf("memory 0 %.0f\n", (double)arena.peak);
    free(arena.base);
    free(x);
    return status != 0;
}
