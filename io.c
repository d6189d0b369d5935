/* SPDX-License-Identifier: MIT
   Files for the program. See io.h. */

#include "io.h"
#include "atomdl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GNUC__
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define PRINTF(a, b)
#endif

/* ---------- Reasons ------------------------------------------------------- */

static char reason[512];

const char *io_reason(void)
{
    return reason;
}

/* Sets the reason to "PATH: text" and returns 1. Bytes of the path that would
   break the line become '?'. */
PRINTF(2, 3) static int failed(const char *path, const char *format, ...)
{
    size_t n = 0;
    va_list args;

    for (; path[n] && n < 300; n++)
        reason[n] = path[n] >= 0 && path[n] < 32 ? '?' : path[n];
    reason[n++] = ':';
    reason[n++] = ' ';
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

/* ---------- Whole files --------------------------------------------------- */

/* Doubles the room of b, but not beyond limit + 1 bytes. */
static int grow(io_bytes *b, size_t *room, size_t limit)
{
    size_t n = *room ? *room * 2 : 1 << 16;
    unsigned char *p;

    if (n > limit || n < *room) n = limit + 1;
    p = realloc(b->data, n);
    if (!p) return 0;
    b->data = p;
    *room = n;
    return 1;
}

static int read_stream(io_bytes *b, FILE *f, const char *path, size_t limit)
{
    size_t room = 0, n;

    do {
        if (b->size == room && !grow(b, &room, limit))
            return failed(path, "no memory for more than %lu bytes",
                          (unsigned long)b->size);
        errno = 0;
        n = fread(b->data + b->size, 1, room - b->size, f);
        b->size += n;
        if (b->size > limit)
            return failed(path, "longer than %lu bytes", (unsigned long)limit);
    } while (n);
    return ferror(f) ? failed(path, "%s", system_reason()) : 0;
}

int io_read(io_bytes *bytes, const char *path, size_t limit)
{
    FILE *f;
    int bad;

    bytes->data = NULL;
    bytes->size = 0;
    errno = 0;
    f = fopen(path, "rb");
    if (!f) return failed(path, "%s", system_reason());
    if (limit > (size_t)-2) limit = (size_t)-2;
    bad = read_stream(bytes, f, path, limit);
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

int io_write(const char *path, const void *data, size_t size)
{
    char beside[1024];
    FILE *f;
    int n = snprintf(beside, sizeof beside, "%s.part", path);

    if (n < 0 || (size_t)n >= sizeof beside)
        return failed(path, "the name is too long");
    errno = 0;
    f = fopen(beside, "wb");
    if (!f) return failed(path, "%s", system_reason());
    if (write_stream(f, data, size)) {
        n = failed(path, "%s", system_reason());
        remove(beside);
        return n;
    }
#ifdef _WIN32
    remove(path); /* there, rename does not replace */
#endif
    if (!rename(beside, path)) return 0;
    n = failed(path, "%s", system_reason());
    remove(beside);
    return n;
}

/* ---------- NumPy arrays --------------------------------------------------

   Magic, version, length of the header, header, values. The header is a
   Python dictionary: {'descr': '<f4', 'fortran_order': False,
   'shape': (3, 4), } and blanks; keys may come in any order. */

typedef struct {
    const char *p, *end;
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->p < c->end
           && (*c->p == ' ' || *c->p == '\n' || *c->p == '\t'))
        c->p++;
}

/* Takes the text if it comes next, after blanks. */
static int take(cursor *c, const char *text)
{
    size_t n = strlen(text);

    skip_blanks(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, text, n)) return 0;
    c->p += n;
    return 1;
}

static int take_number(cursor *c, size_t *v)
{
    const char *start;

    skip_blanks(c);
    start = c->p;
    for (*v = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        if (*v > ((size_t)-1 - 9) / 10) return 0;
        *v = *v * 10 + (size_t)(*c->p - '0');
    }
    return c->p > start;
}

/* (3, 4)  (3,)  () */
static int take_shape(cursor *c, io_npy *npy)
{
    int comma = 1;

    if (!take(c, "(")) return 0;
    for (npy->dims = 0; !take(c, ")"); npy->dims++) {
        if (!comma || npy->dims == IO_NPY_DIMS
            || !take_number(c, &npy->dim[npy->dims]))
            return 0;
        comma = take(c, ",");
    }
    return npy->dims != 1 || comma;
}

static int npy_header(io_npy *npy, cursor c, const char *path)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    int seen = 0, key;

    if (!take(&c, "{")) return failed(path, "malformed NPY header");
    while (!take(&c, "}")) {
        key = take(&c, "'descr'") ? DESCR
              : take(&c, "'fortran_order'") ? ORDER
              : take(&c, "'shape'") ? SHAPE : 0;
        if (!key || seen & key || !take(&c, ":"))
            return failed(path, "malformed NPY header");
        seen |= key;
        if (key == DESCR && !take(&c, "'<f4'"))
            return failed(path, "not float32 ('<f4')");
        if (key == ORDER && !take(&c, "False"))
            return failed(path, "not in C order");
        if (key == SHAPE && !take_shape(&c, npy))
            return failed(path, "malformed NPY shape (at most %d axes)",
                          IO_NPY_DIMS);
        if (!take(&c, ",") && (skip_blanks(&c), c.p == c.end || *c.p != '}'))
            return failed(path, "malformed NPY header");
    }
    skip_blanks(&c);
    return seen == ALL && c.p == c.end
               ? 0 : failed(path, "malformed NPY header");
}

/* The first byte behind the header, with the header in c; 0: malformed. */
static size_t npy_open(cursor *c, const unsigned char *data, size_t size)
{
    size_t start = 10, n;

    if (size < 12 || memcmp(data, "\x93NUMPY", 6)) return 0;
    if (data[6] < 1 || data[6] > 3 || data[7]) return 0;
    n = atomdl_load16(data + 8);
    if (data[6] > 1) {
        n = atomdl_load32(data + 8);
        start = 12;
    }
    if (n > size - start) return 0;
    c->p = (const char *)data + start;
    c->end = c->p + n;
    return start + n;
}

/* The product of the axes; 0 when its bytes do not fit size_t. */
static int npy_count(io_npy *npy)
{
    size_t most = (size_t)-1 / sizeof *npy->x;
    int i;

    npy->count = 1;
    for (i = 0; i < npy->dims; i++)
        if (!npy->dim[i]) npy->count = 0;
    for (i = 0; i < npy->dims && npy->count; i++) {
        if (npy->count > most / npy->dim[i]) return 0;
        npy->count *= npy->dim[i];
    }
    return 1;
}

int io_npy_parse(io_npy *npy, const unsigned char *data, size_t size,
                 const char *path)
{
    cursor header = {NULL, NULL};
    size_t at, i;

    memset(npy, 0, sizeof *npy);
    at = npy_open(&header, data, size);
    if (!at) return failed(path, "not a NumPy array (NPY version 1 to 3)");
    if (npy_header(npy, header, path)) return 1;
    if (!npy_count(npy) || (size - at) / 4 != npy->count || (size - at) % 4)
        return failed(path, "%lu bytes of values do not fit its shape",
                      (unsigned long)(size - at));
    npy->x = malloc(npy->count ? npy->count * sizeof *npy->x : 1);
    if (!npy->x)
        return failed(path, "no memory for %lu values",
                      (unsigned long)npy->count);
    for (i = 0; i < npy->count; i++)
        npy->x[i] = atomdl_loadf(data + at + 4 * i);
    return 0;
}

int io_npy_read(io_npy *npy, const char *path)
{
    const size_t limit = (size_t)1 << 31;
    io_bytes b;
    int bad;

    memset(npy, 0, sizeof *npy);
    bad = io_read(&b, path, limit);
    if (bad) return bad;
    bad = io_npy_parse(npy, b.data, b.size, path);
    free(b.data);
    return bad;
}
