/* SPDX-License-Identifier: MIT
   Milliseconds of a simulated image with noise and labels, one thread: median
   and greatest of 200 (of 1024 x 1024: 20). First the training samples of the
   recipe that is named (default weights/graphene.recipe). */

#define _POSIX_C_SOURCE 199309L
#include "../atomdl.h"
#include "../program/files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define INCOHERENT \
    "material = mos2-2h-1\npixel = 0.1\nsource = 1\nc3 = 0.5\na1 = 10\n" \
    "scatter = vx1 0.05\ndose = 100000\njitter = 0.05\n" \
    "class = background\nclass = VS1 column S in vx1 0.95\n"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int run(const char *name, const char *text, size_t size, int n, int raw)
{
    static atomdl_recipe recipe;
    static double ms[200];
    atomdl_arena a = {NULL, (size_t)1 << 28, 0, 0, 0};
    a.base = malloc(a.size);
    atomdl_source source;
    int bad = !a.base || atomdl_recipe_parse(&recipe, NULL, text, size)
              || atomdl_source_new(&source, &recipe, NULL, 0, &a);
    size_t used;
    int i;
    for (i = 0, used = a.used; i < n && !bad; i++, a.used = used) {
        atomdl_sample sample;
        double t = now();
        bad = atomdl_sample_new(&sample, &source, (uint64_t)i, raw, &a);
        ms[i] = now() - t;
    }
    free(a.base);
    if (bad) return fprintf(stderr, "%s: failed\n", name), 1;
    qsort(ms, (size_t)n, sizeof *ms, rising);
    printf("%s %.2f %.2f\n", name, ms[n / 2], ms[n - 1]);
    return 0;
}

int main(int argc, char **argv)
{
    static const char SMALL[] = "size = 256\n" INCOHERENT;
    static const char LARGE[] = "size = 1024\n" INCOHERENT;
    const char *path = argc > 1 ? argv[1] : "weights/graphene.recipe";
    io_bytes file = {NULL, 0};
    int bad = io_read(&file, path, 1 << 20);
    if (bad) return fprintf(stderr, "%s\n", io_reason()), 1;
    bad = run("training sample", (const char *)file.data, file.size, 200, 0)
          || run("incoherent 256", SMALL, sizeof SMALL - 1, 200, 1)
          || run("incoherent 1024", LARGE, sizeof LARGE - 1, 20, 1);
    free(file.data);
    return bad;
}
