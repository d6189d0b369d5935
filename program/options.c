/* SPDX-License-Identifier: MIT
   The commands' options, from tables. */
#include "program.h"

#include <stdlib.h>
#include <string.h>

/* Is argv[*i] the option `name`? Then *value is its value, from NAME=VALUE or
   from the next argument, which *i is advanced to; NULL: missing. */
static int option(char **argv, int *i, const char *name, const char **value)
{
    const char *a = argv[*i];
    size_t n = strlen(name);
    if (strncmp(a, name, n) || (a[n] && a[n] != '=')) return 0;
    if (a[n]) *value = a + n + 1;
    else if ((*value = argv[*i + 1]) != NULL) ++*i;
    return 1;
}

/* What follows take their row's value: 0, or a message and 2. */
static int option_whole(const option_row *r, const char *text)
{
    char *end;
    long least = (long)r->least, most = (long)r->most;
    long v = text && *text ? strtol(text, &end, 10) : least - 1;
    if (v < least || v > most || *end)
        return misuse("%s wants a whole number from %ld to %ld", r->name,
                      least, most);
    *(int *)r->to = (int)v;
    return 0;
}

static int option_real(const option_row *r, const char *text)
{
    char *end;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !(v > r->least && v < r->most))
        return r->wants ? misuse("%s %s", r->name, r->wants)
               : misuse("%s wants a number between %g and %g", r->name,
                        r->least, r->most);
    *(double *)r->to = v;
    return 0;
}

static int option_text(const option_row *r, const char *text)
{
    if (!text)
        return misuse("%s %s", r->name, r->wants);
    *(const char **)r->to = text;
    return 0;
}

static int option_listed(const option_row *r, const char *text)
{
    option_list *list = r->to;
    if (!text) return misuse("%s wants a value", r->name);
    if (list->n == list->most)
        return misuse("%s: more than %d of them", r->name, list->most);
    list->of[list->n++] = text;
    return 0;
}

/* Which of the words, which blanks part, it is. */
static int option_word(const option_row *r, const char *text)
{
    const char *word = r->words;
    for (int k = 0; text && *word; k++) {
        size_t n = strcspn(word, " ");
        if (strlen(text) == n && !memcmp(text, word, n))
            return *(int *)r->to = k, 0;
        word += n + (word[n] == ' ');
    }
    return text ? misuse("%s %s, not '%s'", r->name, r->wants, text)
                : misuse("%s %s", r->name, r->wants);
}

/* 1: argv[*i] is one of the options and is taken, with the value at which *i
   then stands; 0: it is none; -1: its value is bad, as a message says. */
static int take_option(const option_row *row, char **argv, int *i)
{
    static int (*const TAKES[])(const option_row *, const char *) = {
        NULL, option_whole, option_real, option_text, option_listed,
        option_word};
    const char *v;
    for (const option_row *r = row; r; r = r->name ? r + 1 : r->to) {
        if (!r->name) continue;
        if (r->kind == FLAG) {
            if (!strcmp(argv[*i], r->name)) return *(int *)r->to = 1;
        } else if (option(argv, i, r->name, &v)) {
            int bad = (r->kind == TAKE ? r->take : TAKES[r->kind])(r, v);
            return bad ? -1 : 1;
        }
    }
    return 0;
}

int options_read(const option_row *row, char **argv, const char **word,
                 int most, const char *what)
{
    int n = 0;
    for (int i = 1; argv[i]; i++) {
        int k = take_option(row, argv, &i);
        if (k < 0) return -1;
        if (k) continue;
        if ((argv[i][0] == '-' && argv[i][1]) || n == most)
            return misuse(what, argv[i]), -1;
        word[n++] = argv[i];
    }
    return n;
}
