/* SPDX-License-Identifier: MIT
   The commands' options, from tables. */
#include "program.h"

#include <stdlib.h>
#include <string.h>

int option(char **argv, int *i, const char *name, const char **value)
{
    const char *a = argv[*i];
    size_t n = strlen(name);
    if (strncmp(a, name, n) || (a[n] && a[n] != '=')) return 0;
    if (a[n]) *value = a + n + 1;
    else if ((*value = argv[*i + 1]) != NULL) ++*i;
    return 1;
}

/* 0, or a message and 2 */
static int whole_number(const char *name, const char *text, int *value,
                        int least, int most)
{
    char *end;
    long v = text && *text ? strtol(text, &end, 10) : least - 1L;
    if (v < least || v > most || *end)
        return misuse("%s wants a whole number from %d to %d", name, least,
                      most);
    *value = (int)v;
    return 0;
}

int option_number(char **argv, int *i, const char *name, int *value, int least,
                  int most)
{
    const char *text;
    if (!option(argv, i, name, &text)) return 0;
    return whole_number(name, text, value, least, most) ? -1 : 1;
}

static int take_real(const option_row *r, const char *text)
{
    char *end;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !(v > r->least && v <= r->most))
        return misuse("%s %s", r->name, r->wants);
    *(double *)r->to = v;
    return 0;
}

static int take_text(const option_row *r, const char *text)
{
    if (!text)
        return misuse("%s %s", r->name, r->wants);
    *(const char **)r->to = text;
    return 0;
}

static int take_listed(const option_row *r, const char *text)
{
    option_list *list = r->to;
    if (!text) return misuse("%s wants a value", r->name);
    if (list->n == list->most)
        return misuse("%s: more than %d of them", r->name, list->most);
    list->of[list->n++] = text;
    return 0;
}

/* Which of the words, which blanks part, it is. */
static int take_word(const option_row *r, const char *text)
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

int option_take(const option_row *row, char **argv, int *i)
{
    const char *v;
    for (const option_row *r = row; r->name; r++) {
        int flag = r->kind == FLAG, bad;
        if (flag ? strcmp(argv[*i], r->name)
                 : !option(argv, i, r->name, &v)) continue;
        if (flag) return *(int *)r->to = 1;
        bad = r->kind == WHOLE
                  ? whole_number(r->name, v, r->to, (int)r->least, (int)r->most)
              : r->kind == REAL ? take_real(r, v)
              : r->kind == TEXT ? take_text(r, v)
              : r->kind == LIST ? take_listed(r, v)
              : r->kind == WORD ? take_word(r, v)
                                       : r->take(r, v);
        return bad ? -1 : 1;
    }
    return 0;
}

int options_read(const option_row *row, char **argv, const char **word,
                 int most, const char *what)
{
    int n = 0;
    for (int i = 1; argv[i]; i++) {
        int k = option_take(row, argv, &i);
        if (k < 0) return -1;
        if (k) continue;
        if ((argv[i][0] == '-' && argv[i][1]) || n == most)
            return misuse(what, argv[i]), -1;
        word[n++] = argv[i];
    }
    return n;
}
