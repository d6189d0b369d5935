/* SPDX-License-Identifier: MIT
   The table of commands. Exit status 0: done, 1: the work failed, 2: the
   command line is wrong. */
#include "program/program.h"

#include <stdio.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#define ROW(name, help, what) {#name, what, help, name##_command},

static const struct {
    const char *name, *what, *help;
    int (*run)(char **argv); /* argv[0] is the command, NULL at the end */
} COMMAND[] = {
    ROW(simulate, SIMULATE_HELP, "images whose atoms are known")
    ROW(verify, VERIFY_HELP,
        "self-test: does this machine give the same bits?")
    ROW(train, TRAIN_HELP, "a recipe becomes a network")
    ROW(analyze, ANALYZE_HELP, "atoms, bonds and defects of images")
    ROW(movie, MOVIE_HELP,
        "tracks, classes and rates of defects through frames")
    ROW(evaluate, EVALUATE_HELP, "found atoms against true ones")
    ROW(paper, PAPER_HELP, "a paper's evaluation again, in simulation")
    ROW(info, INFO_HELP, "what an image, weights or a recipe hold")
    ROW(bench, BENCH_HELP, "speed of the networks, in JSON lines")
};

enum { COMMANDS = sizeof COMMAND / sizeof COMMAND[0] };

static void usage(FILE *f)
{
    fputs("usage: atomdl COMMAND [...]    (atomdl COMMAND --help)\n"
          "       atomdl --version\n\n", f);
    for (int i = 0; i < COMMANDS; i++)
        fprintf(f, "  %-10s %s\n", COMMAND[i].name, COMMAND[i].what);
}

static int wants_help(const char *a)
{
    return a && (!strcmp(a, "--help") || !strcmp(a, "-h"));
}

int main(int argc, char **argv)
{
    int i = 0;
#ifdef __GLIBC__ /* kept for the next image, not fetched anew for each */
    mallopt(M_MMAP_THRESHOLD, 1 << 23);
    mallopt(M_TRIM_THRESHOLD, 1 << 24);
#endif
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (wants_help(argv[1])) {
        usage(stdout);
        return fflush(stdout) ? fail("cannot write") : 0;
    }
    if (!strcmp(argv[1], "--version")) return print_version();
    while (i < COMMANDS && strcmp(argv[1], COMMAND[i].name)) i++;
    if (i == COMMANDS)
        return misuse("no command '%s' (atomdl --help lists them)", argv[1]);
    int j = 2, status = 0;
    while (j < argc && !wants_help(argv[j])) j++;
    if (j < argc) fputs(COMMAND[i].help, stdout);
    else status = COMMAND[i].run(argv + 1);
    if ((fflush(stdout) || ferror(stdout)) && !status)
        status = fail("cannot write to standard output");
    return status;
}
