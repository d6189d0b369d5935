/* SPDX-License-Identifier: MIT
   Test runner: test [FILTER]... runs the tests whose names contain one of
   the filters (all without a filter), and closes with "N passed, N failed". */

#include "test.h"

#include <time.h>

int test_failures;

typedef struct {
    const char *name;
    void (*run)(void);
} entry;

#define ENTRY(name) {#name, test_##name},
static const entry ENTRIES[] = {TESTS(ENTRY)};

void check_bits(const char *file, int line, const char *what, float got,
               float want)
{
    if (atomdl_bits(got) == atomdl_bits(want)) return;
    test_failures++;
    printf("  %s:%d: %s = %08lx (%.9g), want %08lx (%.9g)\n", file, line, what,
           (unsigned long)atomdl_bits(got), (double)got,
           (unsigned long)atomdl_bits(want), (double)want);
}

void check_bytes(const char *file, int line, const char *what, const void *got,
                const void *want, size_t n)
{
    const unsigned char *g = got, *w = want;
    size_t i;
    for (i = 0; i < n && g[i] == w[i]; i++) {}
    if (i == n) return;
    test_failures++;
    printf("  %s:%d: %s differs at byte %zu: %02x, want %02x\n", file, line,
           what, i, g[i], w[i]);
}

atomdl_arena new_arena(size_t bytes)
{
    atomdl_arena arena = {NULL, 0, 0, 0, 0};
    arena.base = malloc(bytes + 1);
    arena.size = bytes;
    if (arena.base) return arena;
    printf("no memory for the tests\n");
    exit(1);
}

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strstr(name, argv[i])) return 1;
    return argc == 1;
}

int main(int argc, char **argv)
{
    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof ENTRIES / sizeof *ENTRIES; i++) {
        clock_t start = clock();
        if (!wanted(ENTRIES[i].name, argc, argv)) continue;
        test_failures = 0;
        ENTRIES[i].run();
        printf("%s %-20s %6.2f s\n", test_failures ? "FAIL" : "ok  ",
               ENTRIES[i].name, (double)(clock() - start) / CLOCKS_PER_SEC);
        if (test_failures) failed++;
        else passed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
