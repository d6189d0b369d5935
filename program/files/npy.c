/* SPDX-License-Identifier: MIT
   Arrays of NumPy: magic, version, length of the header, header, values. The
   header is a Python dictionary: {'descr': '<f4', 'fortran_order': False,
   'shape': (3, 4), } and blanks; keys may come in any order. */
#include "format.h"

#include <stdlib.h>
#include <string.h>

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
    static const char KNOWN[] = "b1u1u2u4u8i1i2i4i8f2f4f8";
    take_blanks(c);
    if (c->end - c->p < 5 || *c->p != '\'' || c->p[4] != '\''
        || !c->p[1] || !strchr("<>|", c->p[1]))
        return 0;
    *big = c->p[1] == '>';
    for (const char *k = KNOWN; *k; k += 2)
        if (!memcmp(k, c->p + 2, 2)) {
            *t = type_in(k, 0);
            c->p += 5;
            return 1;
        }
    return 0;
}

typedef struct {
    value_type type;
    int big, fortran;
} npy_layout;

/* NULL, or what is wrong with it. */
static const char *npy_header(io_npy *npy, npy_layout *n, cursor c)
{
    static const char BAD[] = "malformed NPY header";
    static const char *const KEY[] = {"'descr'", "'fortran_order'", "'shape'"};
    int seen = 0, k;
    if (!take_text(&c, "{")) return BAD;
    while (!take_text(&c, "}")) {
        for (k = 0; k < 3 && !take_text(&c, KEY[k]); k++) {}
        if (k == 3 || seen >> k & 1 || !take_text(&c, ":")) return BAD;
        seen |= 1 << k;
        if (k == 0 && take_text(&c, "'<c")) return NO_COMPLEX;
        if (k == 0 && !take_type(&c, &n->type, &n->big))
            return "its values are not numbers that AtomDL reads; save them as"
                   " float32 (numpy.float32)";
        if (k == 1) n->fortran = take_text(&c, "True");
        if (k == 1 && !n->fortran && !take_text(&c, "False")) return BAD;
        if (k == 2 && !take_shape(&c, npy))
            return "malformed NPY shape (at most 8 axes)";
        if (!take_text(&c, ",") && (c.p == c.end || *c.p != '}')) return BAD;
    }
    take_blanks(&c);
    return seen == 7 && c.p == c.end ? NULL : BAD;
}

/* The first byte behind the header, with the header in c; 0: malformed. */
static size_t npy_open(cursor *c, const unsigned char *data, size_t size)
{
    if (size < 12 || memcmp(data, "\x93NUMPY", 6)) return 0;
    if (data[6] < 1 || data[6] > 3 || data[7]) return 0;
    size_t start = data[6] > 1 ? 12 : 10;
    size_t n = (size_t)uint_of(data + 8, (int)start - 8, 0);
    if (n > size - start) return 0;
    c->p = (const char *)data + start;
    c->end = c->p + n;
    return start + n;
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

/* Head, shape, values; those of Fortran order one by one. */
int io_npy_parse(io_npy *npy, const unsigned char *data, size_t size,
                 const char *path)
{
    cursor header = {NULL, NULL};
    npy_layout n = {{0, 0}, 0, 0};
    memset(npy, 0, sizeof *npy);
    size_t at = npy_open(&header, data, size);
    if (!at) return io_failed(path, "not a NumPy array (NPY version 1 to 3)");
    const char *why = npy_header(npy, &n, header);
    if (why) return io_failed(path, "%s", why);
    double count = 1; /* exact wherever it is that of a file */
    for (int i = 0; i < npy->dims; i++) count *= (double)npy->dim[i];
    size_t bytes = n.type.size;
    if (count * n.type.size != (double)(size - at))
        return io_failed(path, "%zu bytes of values do not fit its shape",
                         size - at);
    npy->count = (size_t)count;
    type_name(npy->type, n.type);
    npy->x = malloc(npy->count ? npy->count * sizeof *npy->x : 1);
    if (!npy->x)
        return io_failed(path, "no memory for %zu values", npy->count);
    data += at;
    if (!n.fortran) floats_of(npy->x, data, npy->count, n.type, n.big);
    for (size_t i = 0; n.fortran && i < npy->count; i++)
        floats_of(npy->x + i, data + npy_fortran(npy, i) * bytes, 1, n.type,
                  n.big);
    return 0;
}

int io_npy_read(io_npy *npy, const char *path)
{
    io_bytes b;
    memset(npy, 0, sizeof *npy);
    int bad = io_read(&b, path, IO_FILE)
              || io_npy_parse(npy, b.data, b.size, path);
    free(b.data);
    return bad;
}

int read_npy(io_stack *s, source *f)
{
    io_npy a;
    if (io_npy_parse(&a, f->p, f->n, f->path)) return 1;
    int d = a.dims;
    s->px = a.x;
    if (d != 2 && d != 3)
        return io_failed(f->path, "has %d axes; an image has 2, a stack 3", d);
    s->frames = d == 3 ? a.dim[0] : 1;
    s->h = a.dim[d - 2];
    s->w = a.dim[d - 1];
    memcpy(s->type, a.type, sizeof s->type);
    return !stack_fits(f, s->frames, s->h, s->w);
}

void io_npy_head(io_text *t, char kind, int dims, const size_t *dim)
{
    text_bytes(t, "\x93NUMPY\1\0\0\0", 10);
    io_put(t, "{'descr': '%s', 'fortran_order': False, 'shape': (",
           kind == 'f' ? "<f4" : "|u1");
    for (int d = 0; d < dims; d++)
        io_put(t, "%zu%s", dim[d], d + 1 < dims ? ", " : dims == 1 ? "," : "");
    io_put(t, "), }");
    while ((t->n + 1) % 64 && !t->failed) io_put(t, " ");
    io_put(t, "\n");
    if (!t->failed) store_uint((unsigned char *)t->s + 8, t->n - 10, 2, 0);
}

int io_npy_write(const char *path, const void *data, char kind, int dims,
                 const size_t *dim)
{
    io_text t = {0};
    size_t count = 1;
    for (int d = 0; d < dims; d++) count *= dim[d];
    io_npy_head(&t, kind, dims, dim);
    if (kind == 'f') text_floats(&t, data, count);
    else text_bytes(&t, data, count);
    return io_text_write(&t, path);
}
