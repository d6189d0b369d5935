/* SPDX-License-Identifier: MIT
   What the program's commands share. */
#ifndef ATOMDL_MAIN_H
#define ATOMDL_MAIN_H

#include "../atomdl.h"

#ifdef __GNUC__
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define PRINTF(a, b)
#endif

/* Prints "atomdl: ..." as one line to standard error; returns 1 (the work
   failed) or 2 (the command line is wrong). */
PRINTF(1, 2) int fail(const char *format, ...);
PRINTF(1, 2) int misuse(const char *format, ...);

/* Is argv[*i] the option `name`? Then *value is its value, from NAME=VALUE or
   from the next argument, which *i is advanced to; NULL: missing. argv ends
   in NULL. */
int option(char **argv, int *i, const char *name, const char **value);

/* As option, for a whole number in [least, most]; -1: the value is bad. */
int option_number(char **argv, int *i, const char *name, int *value, int least,
                  int most);

/* *k <- the kernels of that name; name NULL: those that the environment's
   ATOMDL_ISA names; else the fastest. 0; 2 and a message for an unknown
   name. */
int wanted_kernels(const atomdl_kernels **k, const char *name);

/* "what done/all" on the terminal, if standard error is one. */
void progress(const char *what, int done, int all);

/* A recipe from a file, or a message and 1. */
int recipe_read(atomdl_recipe *recipe, const char *path);

/* atomdl simulate */
int simulate_command(char **argv);
extern const char SIMULATE_HELP[];

/* atomdl verify */
int verify_command(char **argv);
extern const char VERIFY_HELP[];

/* atomdl analyze, evaluate, info */
int analyze_command(char **argv);
int evaluate_command(char **argv);
int info_command(char **argv);
extern const char ANALYZE_HELP[], EVALUATE_HELP[], INFO_HELP[];

/* atomdl movie */
int movie_command(char **argv);
extern const char MOVIE_HELP[];

/* atomdl paper */
int paper_command(char **argv);
extern const char PAPER_HELP[];

/* atomdl bench; argv[0] is "bench" */
int bench_command(char **argv);
extern const char BENCH_HELP[];

/* atomdl train */
int train_command(char **argv);
extern const char TRAIN_HELP[];

#endif
