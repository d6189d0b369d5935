/* SPDX-License-Identifier: MIT
   What the camera sees: simulates a sheet of graphene with defects and writes
   it as a PGM of SIDE x SIDE bytes to standard output. Runs on the desktop. */

#include "atomdl.h"

#include <stdio.h>
#include <stdlib.h>

enum { SIDE = 256 };

static const char TEXT[] =
    "material = graphene\nsize = 256\npixel = 0.15625\nseed = 8\n"
    "defects = v1 stone-wales v2-5-8-5\ncount = 4\nrotation = 12\n"
    "thermal = 0.05\nbackground = 0.2\njitter = 0.02\n"
    "density = 0.03\nnetwork = fcn 8\nclass = background\n"
    "class = atom atom C 0.45\n";

int main(void)
{
    static atomdl_recipe recipe;
    static atomdl_source source;
    static atomdl_sample sample;
    atomdl_arena arena = {NULL, (size_t)1 << 28, 0, 0, 0};
    atomdl_recipe_error error;
    float low, span;
    int i;
    arena.base = malloc(arena.size);
    if (!arena.base) return 1;
    if (atomdl_recipe_parse(&recipe, &error, TEXT, sizeof TEXT - 1))
        return fprintf(stderr, "%d: %s\n", error.line, error.text), 1;
    if (atomdl_source_new(&source, &recipe, NULL, 0, &arena)
        || atomdl_sample_new(&sample, &source, 0, 1, &arena))
        return fprintf(stderr, "no image\n"), 1;
    low = atomdl_percentile(sample.image.px, SIDE * SIDE, 0);
    span = atomdl_percentile(sample.image.px, SIDE * SIDE, 1) - low;
    printf("P5\n%d %d\n255\n", SIDE, SIDE);
    for (i = 0; i < SIDE * SIDE; i++)
        putchar((int)((sample.image.px[i] - low) / span * 255));
    free(arena.base);
    return fflush(stdout) || ferror(stdout);
}
