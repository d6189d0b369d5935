/* SPDX-License-Identifier: MIT
   Nanoseconds per value of the elementary functions and random numbers,
   beside the C library's. One line a product: name, ns. */

#define _POSIX_C_SOURCE 199309L
#include "../atomdl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N = 1 << 16 };
static float x[N], y[N];
static double sink;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* least time of 15 passes over N values */
#define TIME(name, body) \
    do { \
        double best = 1e30; \
        int pass, i; \
        for (pass = 0; pass < 15; pass++) { \
            double t = now(); \
            body; \
            t = now() - t; \
            best = t < best ? t : best; \
        } \
        for (i = 0; i < N; i++) sink += (double)y[i]; \
        printf("%s %.3f\n", name, best / N); \
    } while (0)

#define EACH(expression) for (i = 0; i < N; i++) y[i] = (float)(expression)

int main(void)
{
    atomdl_rng r = atomdl_rng_seed(1);
    for (int v = 0; v < N; v++) x[v] = -20 * atomdl_rng_uniform(&r);
    const atomdl_kernels *k;
    char name[40];
    for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++) {
        snprintf(name, sizeof name, "exp_array_%s", k->name);
        TIME(name, k->exp(y, x, N));
    }
    TIME("expf", EACH(atomdl_expf(x[i])));
    TIME("libm_expf", EACH(expf(x[i])));
    TIME("logf", EACH(atomdl_logf(-x[i])));
    TIME("libm_logf", EACH(logf(-x[i])));
    TIME("sinf", EACH(atomdl_sinf(x[i])));
    TIME("libm_sinf", EACH(sinf(x[i])));
    TIME("exp", EACH(atomdl_exp((double)x[i])));
    TIME("libm_exp", EACH(exp((double)x[i])));
    TIME("sin", EACH(atomdl_sin((double)x[i])));
    TIME("libm_sin", EACH(sin((double)x[i])));
    TIME("rng_u32", EACH(atomdl_rng_u32(&r)));
    TIME("libc_rand", EACH(rand()));
    TIME("rng_uniform", EACH(atomdl_rng_uniform(&r)));
    TIME("rng_normal", atomdl_rng_normal(&r, y, N); i = 0);
    TIME("rng_poisson_3", EACH(atomdl_rng_poisson(&r, 3)));
    TIME("rng_poisson_100", EACH(atomdl_rng_poisson(&r, 100)));
    return sink == 0.125;
}
