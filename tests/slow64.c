/* SPDX-License-Identifier: MIT
   The slow networks in binary64, for finite differences. */

#include "reference.h"

#define SLOW64
#define NAME(stem) stem##_double
#define atomdl_expf exp
#define atomdl_logf log
#define atomdl_sqrtf sqrt
typedef double real;
#include "slow.c"
