/* SPDX-License-Identifier: MIT
   libFuzzer targets for every reader and parser. FUZZ in the environment
   names one; tests/fuzz.sh runs them all.

       FUZZ=tiff build/fuzz build/corpus/tiff tests/corpus/tiff

   Built with -DFUZZ_REPLAY: a program that reads each file that it is given
   once, for compilers without libFuzzer and for coverage. */
#include "../atomdl.h"
#include "../program/places.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The program's: messages go nowhere. */
int fail(const char *format, ...);

int fail(const char *format, ...)
{
    char line[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    return 1;
}

static void must(int holds)
{
    if (!holds) abort();
}

/* ---------- Images -------------------------------------------------------- */

/* What is read is whole. */
static void image(const uint8_t *data, size_t size)
{
    io_stack s;
    volatile float sum = 0;
    if (io_stack_parse(&s, data, size, "x")) {
        must(!s.px && !strncmp(io_reason(), "x: ", 3));
        return;
    }
    size_t n = s.frames * s.h * s.w;
    must(n > 0 && n <= IO_PIXELS && n <= size * 2048);
    for (size_t i = 0; i < n; i++) sum += s.px[i];
    io_stack_free(&s);
}

static void array(const uint8_t *data, size_t size)
{
    io_npy npy;
    if (!io_npy_parse(&npy, data, size, "x")) free(npy.x);
}

/* ---------- Networks and weights ------------------------------------------ */

enum { MOST = 1 << 16 };

static float values[MOST], again[MOST];

static void network(const uint8_t *data, size_t size)
{
    static char text[1 << 16];
    static atomdl_layer row[ATOMDL_ROWS], same[ATOMDL_ROWS];
    atomdl_arena measure = {0, 0, 0, 0, 0};
    atomdl_arch arch;
    atomdl_arch_info info;
    int line;
    if (atomdl_arch_parse(&arch, row, ATOMDL_ROWS, (const char *)data, size,
                          &line)
        || atomdl_arch_check(&info, NULL, &arch, 0, 0))
        return;
    size_t n = atomdl_arch_print(text, sizeof text, &arch);
    must(n < sizeof text);
    atomdl_arch other;
    must(!atomdl_arch_parse(&other, same, ATOMDL_ROWS, text, n, &line));
    must(other.rows == arch.rows && other.channels == arch.channels
         && !memcmp(row, same, (size_t)arch.rows * sizeof *row));
    atomdl_net *net;
    if (info.stride <= 64)
        atomdl_net_new(&net, &arch, values, info.stride, info.stride, NULL,
                       &measure);
}

/* Metadata and tensors of its own network, or else of a fixed one. */
static void weights(const uint8_t *data, size_t size)
{
    static const int W[] = {2, 4};
    static atomdl_layer row[ATOMDL_ROWS];
    static atomdl_meta meta;
    if (atomdl_weights_meta(&meta, data, size)) return;
    atomdl_arch arch;
    atomdl_arch_info info;
    int line;
    if (atomdl_arch_parse(&arch, row, ATOMDL_ROWS, meta.network,
                          strlen(meta.network), &line)
        || atomdl_arch_check(&info, NULL, &arch, 0, 0) || info.values > MOST) {
        atomdl_fcn(&arch, row, ATOMDL_ROWS, W, 2, 2);
        atomdl_arch_check(&info, NULL, &arch, 0, 0);
    }
    char missing[64];
    if (!atomdl_weights_read(values, missing, &arch, data, size, NULL)
        && !atomdl_weights_read(again, missing, &arch, data, size,
                                "c1.bias c1.bias\n"))
        must(!memcmp(values, again, info.values * sizeof *values));
}

static void checkpoint(const uint8_t *data, size_t size)
{
    static const int W[] = {2};
    static float first[MOST], second[MOST];
    static atomdl_layer row[ATOMDL_ROWS];
    atomdl_state state = {0, 0, 0, first, second, NULL};
    atomdl_plan plan = atomdl_plan_default();
    atomdl_arch arch;
    atomdl_fcn(&arch, row, ATOMDL_ROWS, W, 1, 2);
    atomdl_checkpoint_read(values, &state, data, size, &arch, &plan);
}

/* ---------- Texts --------------------------------------------------------- */

static void recipe(const uint8_t *data, size_t size)
{
    static char text[1 << 17];
    static atomdl_recipe r, same;
    static atomdl_layer row[ATOMDL_ROWS];
    if (atomdl_recipe_parse(&r, NULL, (const char *)data, size)) return;
    size_t n = atomdl_recipe_print(text, sizeof text, &r, 0);
    must(n < sizeof text && !atomdl_recipe_parse(&same, NULL, text, n));
    must(atomdl_recipe_digest(&r) == atomdl_recipe_digest(&same));
    atomdl_arch arch;
    atomdl_recipe_network(&arch, row, ATOMDL_ROWS, &r);
}

static void xyz(const uint8_t *data, size_t size)
{
    atomdl_xyz info;
    if (atomdl_xyz_read(&info, NULL, (const char *)data, size)) return;
    must(info.atoms <= size);
    atomdl_atom *atom = malloc(info.atoms * sizeof *atom + 1);
    if (!atom) return;
    must(!atomdl_xyz_read(&info, atom, (const char *)data, size));
    for (uint32_t i = 0; i < info.atoms; i++)
        must(atom[i].x - atom[i].x == 0 && atom[i].z - atom[i].z == 0);
    free(atom);
}

static void csv(const uint8_t *data, size_t size)
{
    places t = {NULL, 0};
    char *text = malloc(size + 1);
    if (!text) return;
    memcpy(text, data, size);
    text[size] = 0;
    if (!places_parse(&t, text, "x")) must(t.n >= 0 && (size_t)t.n <= size);
    free(text);
    free(t.p);
}

/* ---------- The switch ---------------------------------------------------- */

/* start: what a file of that kind begins with, laid over the input */
static const struct {
    const char *name;
    void (*run)(const uint8_t *data, size_t size);
    const char *start;
    size_t n;
} TARGET[] = {
    {"png", image, "\x89PNG\r\n\x1a\n", 8},
    {"other", image, NULL, 0}, /* JPEG, BMP, PNM, by their first bytes */
    {"tiff", image, NULL, 0},
    {"dm", image, "\0\0\0", 3},
    {"mrc", image, NULL, 0},
    {"ser", image, "II\x97\1", 4},
    {"npy", image, "\x93NUMPY", 6},
    {"array", array, "\x93NUMPY", 6},
    {"weights", weights, NULL, 0},
    {"checkpoint", checkpoint, NULL, 0},
    {"network", network, NULL, 0},
    {"recipe", recipe, NULL, 0},
    {"xyz", xyz, NULL, 0},
    {"csv", csv, NULL, 0},
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static size_t t = sizeof TARGET / sizeof *TARGET;
    const char *name = getenv("FUZZ");
    if (t == sizeof TARGET / sizeof *TARGET)
        for (t = 0; name && strcmp(TARGET[t].name, name);)
            must(++t < sizeof TARGET / sizeof *TARGET);
    if (size < TARGET[t].n) return 0;
    uint8_t *copy =
        malloc(size ? size : 1); /* so that its end is the memory's */
    must(copy != NULL);
    memcpy(copy, data, size);
    if (TARGET[t].n) memcpy(copy, TARGET[t].start, TARGET[t].n);
    TARGET[t].run(copy, size);
    free(copy);
    return 0;
}

#ifdef FUZZ_REPLAY
int main(int argc, char **argv)
{
    io_bytes file;
    int i;
    for (i = 1; i < argc; i++) {
        if (io_read(&file, argv[i], IO_FILE)) return puts(io_reason()), 1;
        LLVMFuzzerTestOneInput(file.data, file.size);
        free(file.data);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
#endif
