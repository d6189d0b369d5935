/* SPDX-License-Identifier: MIT */
#ifndef EXHAUST_H
#define EXHAUST_H

#include <stdint.h>

typedef struct {
    uint64_t arguments; /* compared */
    uint64_t hard;      /* too close for binary64 to decide */
    uint64_t wrong;     /* not correctly rounded, or undecided */
    uint32_t example;   /* one wrong argument's bits */
} exhaust_result;

/* Function number i (NULL past the end) and its comparison for every
   stride-th of the 2^32 arguments. */
const char *exhaust_name(int i);
exhaust_result exhaust_run(int i, uint64_t stride);

#endif
