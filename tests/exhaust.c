/* SPDX-License-Identifier: MIT
   Correct rounding of atomdl_expf, logf, sinf, cosf, sqrtf: every argument.

   usage: exhaust [STRIDE] [FUNCTION]   (STRIDE 1: all 2^32 arguments)

   The reference is independent: the C library's binary64 function, where its
   result is far enough from the middle of two floats to decide, else the
   long double function, where that decides; what neither decides counts as
   wrong (on x86-64 and AArch64 nothing remains undecided). The vector forms
   of exp are compared with the plain one on the same arguments. */

#include "exhaust.h"

#include "../atomdl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *name;
    float (*ours)(float);
    double (*wide)(double);
    long double (*wider)(long double);
    int parity; /* 1 even, -1 odd: negative arguments mirror the others */
} function;

static const function FUNCTIONS[] = {
    {"exp", atomdl_expf, exp, expl, 0},   {"log", atomdl_logf, log, logl, 0},
    {"sin", atomdl_sinf, sin, sinl, -1},  {"cos", atomdl_cosf, cos, cosl, 1},
    {"sqrt", atomdl_sqrtf, sqrt, sqrtl, 0},
};
enum { COUNT = sizeof FUNCTIONS / sizeof *FUNCTIONS, CHUNK = 4096 };

const char *exhaust_name(int i)
{
    return i < COUNT ? FUNCTIONS[i].name : NULL;
}

/* *r = the correctly rounded value; 0 when undecided. The C library's
   functions err by less than 2 ulp; 16 and 2^-60 are wide margins. Subnormal
   results, whose middles lie elsewhere, go to long double. */
static int reference(float *r, const function *f, float x, uint64_t *hard)
{
    double d = f->wide((double)x);
    uint64_t low = atomdl_bits64(d) & 0x1fffffff;
    int near = low > 0x10000000 - 16 && low < 0x10000000 + 16;
    *r = (float)d;
    if (d != d || d == 0 || isinf(d)) return 1;
    if (!near && fabs(d) >= 0x1p-126) return 1;
    ++*hard;
    long double w = f->wider((long double)x);
    *r = (float)w;
    return (float)(w * (1 + 0x1p-60L)) == *r
           && (float)(w * (1 - 0x1p-60L)) == *r;
}

static int same(float got, float want)
{
    if (want != want) return atomdl_bits(got) == 0x7fc00000;
    return atomdl_bits(got) == atomdl_bits(want);
}

/* How many bit patterns have a reference of their own. */
static uint64_t patterns(const function *f)
{
    return (uint64_t)1 << (f->parity ? 31 : 32);
}

/* the CHUNK arguments with bit patterns first, first + stride, ..., and their
   mirrors */
static exhaust_result chunk(const function *f, uint64_t first, uint64_t stride)
{
    float x[CHUNK];
    exhaust_result out = {0, 0, 0, 0};
    size_t n;
    for (n = 0; n < CHUNK && first < patterns(f); n++, first += stride)
        x[n] = atomdl_float((uint32_t)first);
    out.arguments = f->parity ? 2 * n : n;
    float y[CHUNK], r;
    for (size_t i = 0; i < n; i++) {
        int decided = reference(&r, f, x[i], &out.hard);
        y[i] = f->ours(x[i]);
        decided &= same(y[i], r);
        if (f->parity) decided &= same(f->ours(-x[i]), (float)f->parity * r);
        if (decided) continue;
        out.example = atomdl_bits(x[i]);
        out.wrong++;
    }
    float z[CHUNK];
    for (int k = 1; atomdl_kernels_get(k); k++) {
        if (f->ours == atomdl_expf) atomdl_kernels_get(k)->exp(z, x, n);
        else if (f->ours == atomdl_logf) atomdl_kernels_get(k)->log(z, x, n);
        else break;
        if (!memcmp(y, z, n * sizeof *y)) continue;
        out.example = atomdl_bits(x[0]);
        out.wrong++;
    }
    return out;
}

exhaust_result exhaust_run(int i, uint64_t stride)
{
    long chunks = (long)(patterns(&FUNCTIONS[i]) / stride / CHUNK) + 1, c;
    uint64_t arguments = 0, hard = 0, wrong = 0;
    exhaust_result out = {0, 0, 0, 0};
    uint32_t example = 0;
#ifdef _OPENMP
#pragma omp parallel for schedule(dynamic, 64) \
    reduction(+ : arguments, hard, wrong) reduction(max : example)
#endif
    for (c = 0; c < chunks; c++) {
        exhaust_result r =
            chunk(&FUNCTIONS[i], (uint64_t)c * CHUNK * stride, stride);
        arguments += r.arguments;
        hard += r.hard;
        wrong += r.wrong;
        if (r.example > example) example = r.example;
    }
    out.arguments = arguments;
    out.hard = hard;
    out.wrong = wrong;
    out.example = example;
    return out;
}

#ifdef EXHAUST_MAIN
int main(int argc, char **argv)
{
    uint64_t stride = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int failed = 0, passed = 0, i;
    if (!stride) stride = 1;
    for (i = 0; i < COUNT; i++) {
        time_t start = time(NULL);
        exhaust_result r;
        if (argc > 2 && strcmp(argv[2], exhaust_name(i))) continue;
        r = exhaust_run(i, stride);
        printf("%s %-4s %.0f arguments, %.0f decided in long double, "
               "%.0f wrong", r.wrong ? "FAIL" : "ok  ", exhaust_name(i),
               (double)r.arguments, (double)r.hard, (double)r.wrong);
        if (r.wrong) printf(", such as 0x%08lx", (unsigned long)r.example);
        printf(", %.0f s\n", difftime(time(NULL), start));
        fflush(stdout);
        if (r.wrong) failed++;
        else passed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
#endif
