/* SPDX-License-Identifier: MIT
   What the program's commands share: the table of commands, messages, memory,
   options. */
#ifndef ATOMDL_PROGRAM_H
#define ATOMDL_PROGRAM_H

#include "../atomdl.h"

#ifdef __GNUC__
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define PRINTF(a, b)
#endif

/* ---------- Commands ------------------------------------------------------

   argv[0] is the command's name, NULL its end; they return the program's exit
   status. */

int analyze_command(char **argv);
int bench_command(char **argv);
int evaluate_command(char **argv);
int info_command(char **argv);
int movie_command(char **argv);
int paper_command(char **argv);
int simulate_command(char **argv);
int train_command(char **argv);
int verify_command(char **argv);
extern const char ANALYZE_HELP[], BENCH_HELP[], EVALUATE_HELP[], INFO_HELP[],
    MOVIE_HELP[], PAPER_HELP[], SIMULATE_HELP[], TRAIN_HELP[], VERIFY_HELP[];

/* atomdl --version: version, numerics, this machine's digest. */
int print_version(void);

/* ---------- Messages ------------------------------------------------------ */

/* Prints "atomdl: ..." as one line to standard error; returns 1 (the work
   failed) or 2 (the command line is wrong). */
PRINTF(1, 2) int fail(const char *format, ...);
PRINTF(1, 2) int misuse(const char *format, ...);

/* "what done/all" on the terminal, if standard error is one. */
void progress(const char *what, int done, int all);

/* A digest as 16 digits. */
void digest_text(char text[17], uint64_t digest);
void print_digest(uint64_t digest);

/* ---------- Memory -------------------------------------------------------- */

int out_of_memory(double bytes);

/* Makes an arena empty and at least so large; what was in it is lost. */
int room(atomdl_arena *a, size_t need);

/* Runs a stage twice: to measure, and to work in the arena, whose base is
   free()'s. measure_and_run returns the library's status; in_arena says what
   failed, `name` first, and returns 1. */
typedef int stage(void *of, atomdl_arena *a);
int measure_and_run(stage *run, void *of, atomdl_arena *a);
int in_arena(stage *run, void *of, atomdl_arena *a, const char *name);

/* ---------- Kernels, recipes ---------------------------------------------- */

/* *k <- the kernels of that name; name NULL: those that the environment's
   ATOMDL_ISA names; else the fastest. 0; 2 and a message for an unknown
   name. */
int wanted_kernels(const atomdl_kernels **k, const char *name);

/* A recipe from a file, or a message and 1. */
int recipe_read(atomdl_recipe *recipe, const char *path);

/* Prints a recipe, with what its keys mean, or a message and 1. */
int recipe_show(const atomdl_recipe *recipe, int meaning);

/* ---------- Options -------------------------------------------------------

   A command's options are a table of rows, which ends with OPTION_END. A value
   stands behind its option or behind "=". */

typedef struct option_row {
    const char *name;
    int kind;
    void *to;
    const char *wants; /* "NAME wants ...": of a bad or missing value; NULL:
                          WHOLE and REAL say their bounds */
    double least, most;
    const char *words;
    int (*take)(const struct option_row *row, const char *value);
} option_row;

enum { FLAG, WHOLE, REAL, TEXT, LIST, WORD, TAKE }; /* kinds */

/* int <- 1; int in [least, most]; double between them; const char * */
#define OPTION_FLAG(name, to) {name, FLAG, to, NULL, 0, 0, NULL, NULL}
#define OPTION_WHOLE(name, to, least, most) \
    {name, WHOLE, to, NULL, least, most, NULL, NULL}
#define OPTION_REAL(name, to, least, most, wants) \
    {name, REAL, to, wants, least, most, NULL, NULL}
#define OPTION_TEXT(name, to, wants) {name, TEXT, to, wants, 0, 0, NULL, NULL}
/* option_list, as often as you like; int <- which of words, "png tif" */
#define OPTION_LIST(name, to) {name, LIST, to, NULL, 0, 0, NULL, NULL}
#define OPTION_WORD(name, to, words, wants) \
    {name, WORD, to, wants, 0, 0, words, NULL}
/* what take() makes of the value (NULL: it is missing): 0, or a message and
   2; words are its own */
#define OPTION_TAKE(name, to, words, take) \
    {name, TAKE, to, NULL, 0, 0, words, take}
#define OPTION_END OPTION_MORE(NULL)
/* the end too, but here another table goes on */
#define OPTION_MORE(table) {NULL, FLAG, table, NULL, 0, 0, NULL, NULL}

typedef struct { /* of an option that may come often */
    const char **of; /* (most) */
    int n, most;
} option_list;

/* Takes all of argv; words that are no options go to word (most). Their
   number; -1 after a message, `what` ("what is '%s'?") for options that the
   table lacks and for a word too many. */
int options_read(const option_row *row, char **argv, const char **word,
                 int most, const char *what);

#endif
