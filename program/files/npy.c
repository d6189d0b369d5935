/* SPDX-License-Identifier: MIT
   NumPy arrays: NPY. */
#include "format.h"

#include <stdlib.h>
#include <string.h>

/* Magic, version, length of the header, header, values. The header is a
   Python dictionary: {'descr': '<f4', 'fortran_order': False,
   'shape': (3, 4), } and blanks; keys may come in any order. */

/* (3, 4)  (3,)  () */
static int take_shape(cursor *c, io_npy *npy)
{
    int comma = 1;
    if (!take_text(c, "(")) return 0;
    for (npy->dims = 0; !take_text(c, ")"); npy->dims++) {
        if (!comma || npy->dims == IO_NPY_DIMS
            || !take_digits(c, &npy->dim[npy->dims]))
            return 0;
        comma = take_text(c, ",");
    }
    return npy->dims != 1 || comma;
}

/* '<f4'  '>i2'  '|u1' */
static int take_type(cursor *c, value_type *t, int *big)
{
    static const char *const SIZES[] = {"b1", "u1248", "i1248", "f248"};
    take_blanks(c);
    if (c->end - c->p < 5 || *c->p != '\'' || c->p[4] != '\'') return 0;
    if (!strchr("<>|", c->p[1]) || !c->p[3]) return 0;
    *big = c->p[1] == '>';
    t->kind = c->p[2];
    t->size = (unsigned char)(c->p[3] - '0');
    size_t i;
    for (i = 0; i < 4; i++)
        if (SIZES[i][0] == t->kind && strchr(SIZES[i] + 1, c->p[3])) break;
    c->p += 5;
    return i < 4;
}

typedef struct {
    value_type type;
    int big, fortran;
} npy_format;

static int npy_header(io_npy *npy, npy_format *n, cursor c, const char *path)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4, ALL = 7 };
    int seen = 0;
    if (!take_text(&c, "{")) return io_failed(path, "malformed NPY header");
    while (!take_text(&c, "}")) {
        int key = take_text(&c, "'descr'")           ? DESCR
                  : take_text(&c, "'fortran_order'") ? ORDER
                  : take_text(&c, "'shape'")         ? SHAPE
                                                : 0;
        if (!key || seen & key || !take_text(&c, ":"))
            return io_failed(path, "malformed NPY header");
        seen |= key;
        if (key == DESCR && take_text(&c, "'<c")) return io_failed(path, NO_COMPLEX);
        if (key == DESCR && !take_type(&c, &n->type, &n->big))
            return io_failed(path, "its values are not numbers that AtomDL reads;"
                                " save them as float32 (numpy.float32)");
        if (key == ORDER) n->fortran = take_text(&c, "True");
        if (key == ORDER && !n->fortran && !take_text(&c, "False"))
            return io_failed(path, "malformed NPY header");
        if (key == SHAPE && !take_shape(&c, npy))
            return io_failed(path, "malformed NPY shape (at most %d axes)",
                          IO_NPY_DIMS);
        if (!take_text(&c, ",") && (take_blanks(&c), c.p == c.end || *c.p != '}'))
            return io_failed(path, "malformed NPY header");
    }
    take_blanks(&c);
    return seen == ALL && c.p == c.end
               ? 0 : io_failed(path, "malformed NPY header");
}

/* The first byte behind the header, with the header in c; 0: malformed. */
static size_t npy_open(cursor *c, const unsigned char *data, size_t size)
{
    size_t start = 10;
    if (size < 12 || memcmp(data, "\x93NUMPY", 6)) return 0;
    if (data[6] < 1 || data[6] > 3 || data[7]) return 0;
    size_t n = atomdl_load16(data + 8);
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
    size_t most = (size_t)-1 / 8;
    npy->count = 1;
    for (int i = 0; i < npy->dims; i++)
        if (!npy->dim[i]) npy->count = 0;
    for (int i = 0; i < npy->dims && npy->count; i++) {
        if (npy->count > most / npy->dim[i]) return 0;
        npy->count *= npy->dim[i];
    }
    return 1;
}

/* Value i of the C order is this one of the file, where the first axis runs
   fastest. */
static size_t npy_fortran(const io_npy *npy, size_t i)
{
    size_t at = 0;
    for (int a = npy->dims - 1; a >= 0; a--) {
        size_t step = 1;
        for (int b = 0; b < a; b++) step *= npy->dim[b];
        at += i % npy->dim[a] * step;
        i /= npy->dim[a];
    }
    return at;
}

static int npy_parse(io_npy *npy, npy_format *n, const unsigned char *data,
                     size_t size, const char *path)
{
    cursor header = {NULL, NULL};
    memset(npy, 0, sizeof *npy);
    size_t at = npy_open(&header, data, size);
    if (!at) return io_failed(path, "not a NumPy array (NPY version 1 to 3)");
    if (npy_header(npy, n, header, path)) return 1;
    size_t bytes = n->type.size;
    if (!npy_count(npy) || npy->count * bytes != size - at)
        return io_failed(path, "%lu bytes of values do not fit its shape",
                      (unsigned long)(size - at));
    npy->x = malloc(npy->count ? npy->count * sizeof *npy->x : 1);
    if (!npy->x)
        return io_failed(path, "no memory for %lu values",
                      (unsigned long)npy->count);
    if (!n->fortran) floats_of(npy->x, data + at, npy->count, n->type, n->big);
    for (size_t i = 0; n->fortran && i < npy->count; i++)
        floats_of(npy->x + i, data + at + npy_fortran(npy, i) * bytes, 1,
                  n->type, n->big);
    return 0;
}

int io_npy_parse(io_npy *npy, const unsigned char *data, size_t size,
                 const char *path)
{
    npy_format n;
    return npy_parse(npy, &n, data, size, path);
}

int io_npy_read(io_npy *npy, const char *path)
{
    memset(npy, 0, sizeof *npy);
    io_bytes b;
    int bad = io_read(&b, path, IO_FILE);
    if (bad) return bad;
    bad = io_npy_parse(npy, b.data, b.size, path);
    free(b.data);
    return bad;
}

int read_npy(io_stack *s, source *f)
{
    npy_format n;
    io_npy a;
    if (npy_parse(&a, &n, f->p, f->n, f->path)) return 1;
    int d = a.dims;
    s->px = a.x;
    if (d != 2 && d != 3)
        return io_failed(f->path, "has %d axes; an image has 2, a stack 3", d);
    s->frames = d == 3 ? a.dim[0] : 1;
    s->h = a.dim[d - 2];
    s->w = a.dim[d - 1];
    name_type(s, n.type);
    return !stack_fits(f, s->frames, s->h, s->w);
}

int io_npy_write(const char *path, const void *data, char kind, int dims,
                 const size_t *dim)
{
    io_text t = {0};
    size_t count = 1;
    for (int d = 0; d < dims; d++) count *= dim[d];
    io_put(&t, "{'descr': '%s', 'fortran_order': False, 'shape': (",
           kind == 'f' ? "<f4" : "|u1");
    for (int d = 0; d < dims; d++)
        io_put(&t, "%zu%s", dim[d], d + 1 < dims ? ", " : dims == 1 ? "," : "");
    io_put(&t, "), }");
    while ((t.n + 11) % 64 && !t.failed) io_put(&t, " ");
    io_put(&t, "\n");
    size_t at = t.n + 10;
    unsigned char *file =
        t.failed ? NULL : malloc(at + count * (kind == 'f' ? 4 : 1));
    if (!file) {
        io_text_free(&t);
        return io_failed(path, "no memory for an array");
    }
    memcpy(file, "\x93NUMPY\1\0", 8);
    atomdl_store16(file + 8, (uint16_t)t.n);
    memcpy(file + 10, t.s, t.n);
    io_text_free(&t);
    for (size_t i = 0; kind == 'f' && i < count; i++)
        atomdl_storef(file + at + 4 * i, ((const float *)data)[i]);
    if (kind != 'f') memcpy(file + at, data, count);
    int bad = io_write(path, file, at + count * (kind == 'f' ? 4 : 1));
    free(file);
    return bad;
}
