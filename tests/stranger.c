/* SPDX-License-Identifier: MIT
   A stranger's program, in C and in C++ alike: it has copied atomdl.h and
   atomdl.c, nothing else, and builds with flags of its own. It runs a small
   network on noise, trains it for ten steps, and prints two digests. */

#include "atomdl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 32, CLASSES = 2, MEMORY = 1 << 20 };

static const char NETWORK[] =
    "input 1\nconv a ch=5 k=3\nbatchnorm b\nrelu\nmaxpool\nconv c ch=4 k=3\n"
    "leaky\nbilinear\nconv d ch=2 k=1\nsoftmax\n";

static atomdl_layer row[16];
static float values[1024], image[SIDE * SIDE], prob[CLASSES * SIDE * SIDE];

static void print(const char *what, uint64_t d)
{
    printf("%s %08lx%08lx\n", what, (unsigned long)(d >> 32),
           (unsigned long)(d & 0xffffffffu));
}

static int give_up(const char *what, int status)
{
    fprintf(stderr, "%s: %s\n", what, atomdl_strerror(status));
    return 1;
}

/* Weights without atomdl_arch_init, which ATOMDL_NO_TRAIN leaves out. */
static void weights(size_t n)
{
    atomdl_rng rng = atomdl_rng_seed(1);
    size_t i;
    atomdl_rng_normal(&rng, values, n);
    for (i = 0; i < n; i++) values[i] = 0.3f * atomdl_expf(values[i]);
}

static int use(const atomdl_arch *arch, atomdl_arena arena)
{
    atomdl_net *net;
    int status = atomdl_net_new(&net, arch, values, SIDE, SIDE, NULL, &arena);
    if (!status) status = atomdl_net_run(net, prob, image);
    if (status) return give_up("use", status);
    print("use", atomdl_digest_f32(ATOMDL_DIGEST, prob,
                                   CLASSES * SIDE * SIDE));
    return 0;
}

#ifndef ATOMDL_NO_TRAIN
static int learn(const atomdl_arch *arch, size_t n, atomdl_arena arena)
{
    static float gradient[1024];
    static uint8_t label[SIDE * SIDE];
    atomdl_plan plan = atomdl_plan_default();
    atomdl_trainer *trainer;
    atomdl_state state;
    atomdl_batch batch = {image, label, 0};
    float loss = 0;
    uint32_t i;
    int status = atomdl_state_new(&state, arch, &plan, &arena);
    for (i = 0; i < SIDE * SIDE; i++) label[i] = image[i] > 0;
    if (!status)
        status = atomdl_trainer_new(&trainer, arch, 1, SIDE, SIDE, NULL,
                                    &arena);
    for (i = 0; i < 10 && !status; i++) {
        batch.step = i;
        status = atomdl_trainer_run(trainer, &loss, gradient, values, &batch,
                                    &plan);
        if (!status)
            status = atomdl_update(values, gradient, NULL, &state, arch,
                                   &plan);
    }
    if (status) return give_up("learn", status);
    print("learn", atomdl_digest_f32(ATOMDL_DIGEST, values, n));
    return 0;
}
#endif

int main(void)
{
    atomdl_arena arena = {NULL, MEMORY, 0, 0, 0};
    atomdl_rng rng = atomdl_rng_seed(2);
    atomdl_arch arch;
    atomdl_arch_info info;
    const char *why;
    int line, status;
    if (atomdl_selftest(&why)) return fprintf(stderr, "%s\n", why), 3;
    status = atomdl_arch_parse(&arch, row, 16, NETWORK, sizeof NETWORK - 1,
                               &line);
    if (!status) status = atomdl_arch_check(&info, NULL, &arch, SIDE, SIDE);
    if (status || info.values > 1024) return give_up("network", status);
    arena.base = (unsigned char *)malloc(MEMORY);
    if (!arena.base) return 1;
    weights(info.values);
    atomdl_rng_normal(&rng, image, SIDE * SIDE);
    status = use(&arch, arena);
#ifndef ATOMDL_NO_TRAIN
    if (!status) status = learn(&arch, info.values, arena);
#endif
    free(arena.base);
    return status;
}
