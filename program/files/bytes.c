/* SPDX-License-Identifier: MIT
   Whole files, and why the last one failed. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* stat */
#endif
#include "format.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static char reason[512];

const char *io_reason(void)
{
    return reason;
}

/* Sets the reason to "PATH: text" and returns 1. Bytes of the path that would
   break the line become '?'. */
IO_PRINTF(2, 3) int io_failed(const char *path, const char *format, ...)
{
    size_t n = 0;
    for (; path[n] && n < 300; n++)
        reason[n] = path[n] >= 0 && path[n] < 32 ? '?' : path[n];
    reason[n++] = ':';
    reason[n++] = ' ';
    va_list args;
    va_start(args, format);
    vsnprintf(reason + n, sizeof reason - n, format, args);
    va_end(args);
    return 1;
}

/* what the C library says of the last failure */
static const char *system_reason(void)
{
    return errno ? strerror(errno) : "input or output error";
}

void *io_new(size_t n)
{
    void *p = malloc(n);
    if (!p) io_failed("picture", "no memory for %lu bytes", (unsigned long)n);
    return p;
}

/* Doubles the room of b, but not beyond limit + 1 bytes. */
static int grow_bytes(io_bytes *b, size_t *room, size_t limit)
{
    size_t n = *room ? *room * 2 : 1 << 16;
    if (n > limit || n < *room) n = limit + 1;
    unsigned char *p = realloc(b->data, n);
    if (!p) return 0;
    b->data = p;
    *room = n;
    return 1;
}

static int read_stream(io_bytes *b, FILE *f, const char *path, size_t limit)
{
    size_t room = 0, n;
    do {
        if (b->size == room && !grow_bytes(b, &room, limit))
            return io_failed(path, "no memory for more than %lu bytes",
                          (unsigned long)b->size);
        errno = 0;
        n = fread(b->data + b->size, 1, room - b->size, f);
        b->size += n;
        if (b->size > limit)
            return io_failed(path, "longer than %lu bytes", (unsigned long)limit);
    } while (n);
    return ferror(f) ? io_failed(path, "%s", system_reason()) : 0;
}

int io_read(io_bytes *bytes, const char *path, size_t limit)
{
    bytes->data = NULL;
    bytes->size = 0;
    errno = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return io_failed(path, "%s", system_reason());
    if (limit > (size_t)-2) limit = (size_t)-2;
    int bad = read_stream(bytes, f, path, limit);
    fclose(f);
    if (bad) {
        free(bytes->data);
        bytes->data = NULL;
        bytes->size = 0;
    }
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
    const char *end = special(path) ? "" : ".part";
    char beside[1024];
    FILE *f;
    int n = snprintf(beside, sizeof beside, "%s%s", path, end);
    if (n < 0 || (size_t)n >= sizeof beside)
        return io_failed(path, "the name is too long");
    errno = 0;
    f = fopen(beside, "wb");
    if (!f) return io_failed(path, "%s", system_reason());
    if (write_stream(f, data, size)) {
        n = io_failed(path, "%s", system_reason());
        if (*end) remove(beside);
        return n;
    }
    if (!*end) return 0;
#ifdef _WIN32
    remove(path); /* there, rename does not replace */
#endif
    if (!rename(beside, path)) return 0;
    n = io_failed(path, "%s", system_reason());
    remove(beside);
    return n;
}
