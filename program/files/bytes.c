/* SPDX-License-Identifier: MIT
   Whole files, and why the last one failed. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* stat */
#endif
#include "format.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char reason[512];

const char *io_reason(void)
{
    return reason;
}

/* Bytes that would break the line become '?'. */
int io_failed(const char *path, const char *format, ...)
{
    io_text t = {0};
    va_list args;
    va_start(args, format);
    text_list(&t, format, args);
    va_end(args);
    snprintf(reason, sizeof reason, "%.300s: %s", path,
             t.failed ? "no memory" : t.s);
    for (char *p = reason; *p; p++)
        if (*p > 0 && *p < 32) *p = '?';
    io_text_free(&t);
    return 1;
}

/* What the C library says of the last failure is the reason. */
static int system_failed(const char *path)
{
    return io_failed(path, "%s", errno ? strerror(errno)
                                       : "input or output error");
}

void *io_new(size_t n)
{
    void *p = malloc(n);
    if (!p) io_failed("picture", "no memory for %zu bytes", n);
    return p;
}

/* Reads in steps as long as what was read already, but one byte beyond the
   limit at most. */
static int read_stream(io_text *t, FILE *f, const char *path, size_t limit)
{
    size_t got = 1;
    while (got) {
        size_t step = t->n < 1 << 16 ? 1 << 16 : t->n;
        if (step > limit - t->n) step = limit - t->n + 1;
        unsigned char *to = text_room(t, step);
        if (!to)
            return io_failed(path, "no memory for more than %zu bytes", t->n);
        errno = 0;
        got = fread(to, 1, step, f);
        t->n -= step - got;
        if (t->n > limit)
            return io_failed(path, "longer than %zu bytes", limit);
    }
    return ferror(f) ? system_failed(path) : 0;
}

int io_read(io_bytes *bytes, const char *path, size_t limit)
{
    io_text t = {0};
    memset(bytes, 0, sizeof *bytes);
    errno = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return system_failed(path);
    int bad = read_stream(&t, f, path, limit);
    fclose(f);
    if (bad) io_text_free(&t);
    bytes->data = (unsigned char *)t.s;
    bytes->size = t.n;
    return bad;
}

static int write_stream(FILE *f, const void *data, size_t size)
{
    int bad = size && fwrite(data, 1, size, f) != size;
    bad |= fflush(f) != 0;
    return (fclose(f) != 0) | bad;
}

/* Is it a device or a pipe, to be written in place and never replaced? */
static int special(const char *path)
{
    struct stat s;
    return !stat(path, &s) && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

int io_write(const char *path, const void *data, size_t size)
{
    int aside = !special(path);
    char beside[1024];
    int n = snprintf(beside, sizeof beside, "%s%s", path, aside ? ".part" : "");
    if (n < 0 || (size_t)n >= sizeof beside)
        return io_failed(path, "the name is too long");
    errno = 0;
    FILE *f = fopen(beside, "wb");
    if (!f) return system_failed(path);
    int bad = write_stream(f, data, size);
#ifdef _WIN32
    if (!bad && aside) remove(path); /* there, rename does not replace */
#endif
    if (!bad && aside) bad = rename(beside, path) != 0;
    if (bad) system_failed(path);
    if (bad && aside) remove(beside);
    return bad;
}
