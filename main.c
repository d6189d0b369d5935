/* SPDX-License-Identifier: MIT
   The command line: one small function a command. Exit status 0: done, 1: the
   work failed, 2: the command line is wrong. */

#include "main.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- Shared by the commands ---------------------------------------- */

static void say_line(const char *format, va_list args)
{
    fflush(stdout);
    fputs("atomdl: ", stderr);
    vfprintf(stderr, format, args);
    putc('\n', stderr);
}

int fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_line(format, args);
    va_end(args);
    return 1;
}

int misuse(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_line(format, args);
    va_end(args);
    return 2;
}

int option(char **argv, int *i, const char *name, const char **value)
{
    const char *a = argv[*i];
    size_t n = strlen(name);

    if (strncmp(a, name, n) || (a[n] && a[n] != '=')) return 0;
    if (a[n]) *value = a + n + 1;
    else if ((*value = argv[*i + 1]) != NULL) ++*i;
    return 1;
}

int option_number(char **argv, int *i, const char *name, int *value, int least,
                  int most)
{
    const char *text;
    char *end;
    long v;

    if (!option(argv, i, name, &text)) return 0;
    v = text && *text ? strtol(text, &end, 10) : least - 1L;
    if (v < least || v > most || *end) {
        misuse("%s wants a whole number from %d to %d", name, least, most);
        return -1;
    }
    *value = (int)v;
    return 1;
}

int wanted_kernels(const atomdl_kernels **k, const char *name)
{
    char list[128] = "";
    int i;

    if (!name) name = getenv("ATOMDL_ISA");
    if (name && !*name) name = NULL;
    *k = atomdl_kernels_find(name);
    if (*k) return 0;
    for (i = 0; atomdl_kernels_get(i); i++) {
        strcat(list, " ");
        strcat(list, atomdl_kernels_get(i)->name);
    }
    return misuse("no kernels '%s' on this machine; it has:%s", name, list);
}

/* ---------- atomdl verify ------------------------------------------------- */

static const char VERIFY_HELP[] =
    "usage: atomdl verify\n"
    "\n"
    "Tests that this build on this machine computes as promised, and says\n"
    "what the machine is. Exit status 1: it does not, with the reason.\n"
    "\n"
    "environment: ATOMDL_ISA=NAME forces the vector kernels\n"
    "example:     atomdl verify\n";

static const char *compiler(void)
{
#if defined __clang__
    return "clang " __clang_version__;
#elif defined __GNUC__
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

static const char *byte_order(void)
{
    const uint32_t one = 1;
    unsigned char first;

    memcpy(&first, &one, 1);
    return first ? "little-endian" : "big-endian";
}

static int verify_command(char **argv)
{
    const atomdl_kernels *k;
    const char *why;
    int i;

    if (argv[1]) return misuse("verify takes no argument '%s'", argv[1]);
    if (wanted_kernels(&k, NULL)) return 2;
    printf("numerics   %d\n", ATOMDL_NUMERICS);
    printf("compiler   %s\n", compiler());
    printf("machine    %s, %d-bit\n", byte_order(), (int)sizeof(void *) * 8);
#ifdef _OPENMP
    printf("threads    OpenMP %d\n", _OPENMP);
#else
    printf("threads    one (built without OpenMP)\n");
#endif
    printf("kernels   ");
    for (i = 0; atomdl_kernels_get(i); i++)
        printf(" %s%s", atomdl_kernels_get(i)->name,
               atomdl_kernels_get(i) == k ? " (in use)" : "");
    printf("\n");
    if (atomdl_selftest(&why)) return fail("self-test: %s", why);
    printf("self-test  ok\n");
    return 0;
}

/* ---------- The table ----------------------------------------------------- */

static const struct {
    const char *name, *what, *help;
    int (*run)(char **argv); /* argv[0] is the command, NULL at the end */
} COMMAND[] = {
    {"verify", "self-test: does this machine give the same bits?",
     VERIFY_HELP, verify_command},
    {"analyze", "atoms, bonds and defects of images", ANALYZE_HELP,
     analyze_command},
    {"evaluate", "found atoms against true ones", EVALUATE_HELP,
     evaluate_command},
    {"info", "what an image, weights or a recipe hold", INFO_HELP,
     info_command},
    {"bench", "speed of the networks, in JSON lines", BENCH_HELP,
     bench_command},
};

enum { COMMANDS = sizeof COMMAND / sizeof COMMAND[0] };

static void usage(FILE *f)
{
    int i;

    fputs("usage: atomdl COMMAND [...]    (atomdl COMMAND --help)\n\n", f);
    for (i = 0; i < COMMANDS; i++)
        fprintf(f, "  %-10s %s\n", COMMAND[i].name, COMMAND[i].what);
}

static int wants_help(const char *a)
{
    return a && (!strcmp(a, "--help") || !strcmp(a, "-h"));
}

int main(int argc, char **argv)
{
    int i = 0, j, status;

    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (wants_help(argv[1])) {
        usage(stdout);
        return fflush(stdout) ? fail("cannot write") : 0;
    }
    while (i < COMMANDS && strcmp(argv[1], COMMAND[i].name)) i++;
    if (i == COMMANDS)
        return misuse("no command '%s' (atomdl --help lists them)", argv[1]);
    for (j = 2; j < argc && !wants_help(argv[j]); j++) continue;
    if (j < argc) {
        fputs(COMMAND[i].help, stdout);
        status = 0;
    } else {
        status = COMMAND[i].run(argv + 1);
    }
    if ((fflush(stdout) || ferror(stdout)) && !status)
        status = fail("cannot write to standard output");
    return status;
}
