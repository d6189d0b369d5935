/* SPDX-License-Identifier: MIT
   The lattice network of paper 001 on a 64 x 64 image within 256 KB of RAM:
   weights in flash, one static block of memory, the rest is stack. Prints the
   digest of the probabilities, which is the same on every machine.

   Built with -DWEIGHTS it writes the weights as C text, fcn64.inc, which the
   build proper includes. */

#include "atomdl.h"

#include <stdio.h>

enum { SIDE = 64, CLASSES = 2, VALUES = 21072, ARENA = 182463 };

static const int WIDTHS[] = {8, 16, 32};
static atomdl_layer row[24];
static atomdl_arch arch;

#ifdef WEIGHTS

static float values[VALUES];

int main(void)
{
    int i;
    if (atomdl_fcn(&arch, row, 24, WIDTHS, 3, CLASSES)) return 1;
    atomdl_arch_init(values, &arch, 64, ATOMDL_HE);
    for (i = 0; i < VALUES; i++)
        printf("0x%08lxu,%s", (unsigned long)atomdl_bits(values[i]),
               i % 6 == 5 ? "\n" : " ");
    return 0;
}

#else

static const uint32_t BITS[VALUES] = { /* floats, bit by bit */
#include "fcn64.inc"
};

static struct { /* all the memory there is, beside the stack */
    float prob[CLASSES * SIDE * SIDE], image[SIDE * SIDE];
    double align;
    unsigned char arena[ARENA];
} ram;

int main(void)
{
    atomdl_arena arena = {NULL, ARENA, 0, 0, 0};
    atomdl_use use = {NULL, 1, 1}; /* a row at a time: the least memory */
    atomdl_rng rng = atomdl_rng_seed(7);
    atomdl_net *net;
    uint64_t digest;
    int status;
    arena.base = ram.arena;
    atomdl_rng_normal(&rng, ram.image, SIDE * SIDE);
    status = atomdl_fcn(&arch, row, 24, WIDTHS, 3, CLASSES);
    if (!status)
        status = atomdl_net_new(&net, &arch, (const float *)(const void *)BITS,
                                SIDE, SIDE, &use, &arena);
    if (!status) status = atomdl_net_run(net, ram.prob, ram.image);
    if (status) return printf("error: %s\n", atomdl_strerror(status)), 1;
    digest = atomdl_digest_f32(ATOMDL_DIGEST, ram.prob, CLASSES * SIDE * SIDE);
    printf("0x%08lx%08lx %lu bytes\n", (unsigned long)(digest >> 32),
           (unsigned long)(uint32_t)digest, (unsigned long)sizeof ram);
#ifdef WANT /* the digest that another machine printed */
    if (digest != WANT) return printf("error: other bits\n"), 1;
#endif
    return 0;
}

#endif
