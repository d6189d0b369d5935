/* SPDX-License-Identifier: MIT
   What the commands share: messages, options, progress, recipes. */
#if defined __unix__ || defined __APPLE__
#define _POSIX_C_SOURCE 200112L
#include <unistd.h> /* isatty */
#endif

#include "program.h"
#include "files/files.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    if (!option(argv, i, name, &text)) return 0;
    char *end;
    long v = text && *text ? strtol(text, &end, 10) : least - 1L;
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
    if (!name) name = getenv("ATOMDL_ISA");
    if (name && !*name) name = NULL;
    *k = atomdl_kernels_find(name);
    if (*k) return 0;
    for (int i = 0; atomdl_kernels_get(i); i++) {
        strcat(list, " ");
        strcat(list, atomdl_kernels_get(i)->name);
    }
    return misuse("no kernels '%s' on this machine; it has:%s", name, list);
}

/* A line that is written over, on a terminal alone. */
void progress(const char *what, int done, int all)
{
#ifdef _POSIX_C_SOURCE
    if (all < 2 || !isatty(2)) return;
    fprintf(stderr, "\r%s %d/%d", what, done, all);
    if (done == all) fputs("\r\033[K", stderr);
    fflush(stderr);
#else
    (void)what;
    (void)done;
    (void)all;
#endif
}

int recipe_read(atomdl_recipe *r, const char *path)
{
    io_bytes bytes;
    if (io_read(&bytes, path, 1 << 20)) return fail("%s", io_reason());
    atomdl_recipe_error error;
    int status =
        atomdl_recipe_parse(r, &error, (const char *)bytes.data, bytes.size);
    free(bytes.data);
    if (!status) return 0;
    return error.line ? fail("%s:%d: %s", path, error.line, error.text)
                      : fail("%s: %s", path, error.text);
}
