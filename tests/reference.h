/* SPDX-License-Identifier: MIT
   Networks computed the slow way, by the loops of examples/lesson.c: in
   binary32 with the documented order of every sum (the same bits are expected),
   and in binary64 (for finite differences). */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "test.h"

typedef struct {
    uint64_t seed; /* dropout */
    uint32_t step;
    double momentum; /* running statistics are updated by that; 0: kept */
} reference_train;

typedef struct {
    const atomdl_arch *arch;
    int n, h, w;
    const float *image;           /* (n, channels, h, w) */
    const uint8_t *label;         /* (n, h, w), for the gradient */
    const reference_train *train; /* NULL: in use */
} reference_job;

/* planes (n, c, h, w) of row `want`, malloc'ed */
float *reference_float(const reference_job *job, float *values, int want);
double *reference_double(const reference_job *job, double *values, int want);

/* The cross-entropy; gradient (values) <- its gradient. */
float reference_gradient_float(float *gradient, const reference_job *job,
                               float *values);
double reference_gradient_double(double *gradient, const reference_job *job,
                                 double *values);

/* the header's atomdl_loss in double */
double reference_loss(const double *logits, const uint8_t *label, int n,
                      int classes, int pixels, const atomdl_loss *how);

/* A random sound network of at most 64 rows; every operator turns up. levels:
   how far sizes may fall; up: how far they may rise above the image's. */
void random_arch(atomdl_arch *arch, atomdl_layer *row, atomdl_rng *r,
                 int channels, int levels, int up);

/* Values like those of a trained network: nothing is 0 or 1. */
void random_values(float *values, const atomdl_arch *arch, uint64_t seed);

/* arch (its rows in row(256)) from text, which must be sound */
atomdl_arch_info arch_of(atomdl_arch *arch, atomdl_layer *row,
                         const char *text);

/* Prints the description of a network that failed. */
void show_arch(const atomdl_arch *arch);

#endif
