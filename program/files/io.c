/* SPDX-License-Identifier: MIT
   Files for the program. See io.h. The only user of stb_image and
   stb_image_write. */

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* stat */
#endif
#define ATOMDL_LIBRARY /* the library's guards of float arithmetic */
#include "../../atomdl.h"
#include "io.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef __GNUC__
#define PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define PRINTF(a, b)
#endif

/* ---------- stb -----------------------------------------------------------

   Found beside this file or in /usr/include/stb. Its requests for memory end
   at stb_most bytes, which stops decompression bombs, and come cleared, so
   that a damaged file cannot show what memory held. */

static size_t stb_most;

static void *stb_new(size_t n)
{
    return n > stb_most ? NULL : calloc(n ? n : 1, 1);
}

static void *stb_resize(void *p, size_t n)
{
    return n > stb_most ? NULL : realloc(p, n);
}

#define STBI_MALLOC stb_new
#define STBI_REALLOC stb_resize
#define STBI_FREE free
#define STBI_MAX_DIMENSIONS IO_SIDE
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_SIMD
#define STBI_ASSERT(x) ((void)0)
#define STB_IMAGE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION

#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wdouble-promotion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
/* Hostile JPEG coefficients overflow the ints of its cosine transform: let
   them wrap. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize( \
    "signed-integer-overflow"))), apply_to = function)
#elif defined __GNUC__
#pragma GCC push_options
#pragma GCC optimize("wrapv")
#endif
#if !defined __has_include
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#elif __has_include("../../stb_image.h")
#include "../../stb_image.h"
#include "../../stb_image_write.h"
#elif __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#else
#error "install libstb-dev, or lay stb_image.h, stb_image_write.h beside main.c"
#include "../../stb_image.h" /* the compiler stops here */
#endif
#ifdef __clang__
#pragma clang attribute pop
#elif defined __GNUC__
#pragma GCC pop_options
#endif
#ifdef __GNUC__
#pragma GCC diagnostic pop
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
    if (!p) failed("picture", "no memory for %lu bytes", (unsigned long)n);
    return p;
}

/* ---------- Whole files --------------------------------------------------- */

/* Doubles the room of b, but not beyond limit + 1 bytes. */
static int grow(io_bytes *b, size_t *room, size_t limit)
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
    bytes->data = NULL;
    bytes->size = 0;
    errno = 0;
    FILE *f = fopen(path, "rb");
    if (!f) return failed(path, "%s", system_reason());
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
        return failed(path, "the name is too long");
    errno = 0;
    f = fopen(beside, "wb");
    if (!f) return failed(path, "%s", system_reason());
    if (write_stream(f, data, size)) {
        n = failed(path, "%s", system_reason());
        if (*end) remove(beside);
        return n;
    }
    if (!*end) return 0;
#ifdef _WIN32
    remove(path); /* there, rename does not replace */
#endif
    if (!rename(beside, path)) return 0;
    n = failed(path, "%s", system_reason());
    remove(beside);
    return n;
}

/* ---------- Values --------------------------------------------------------

   The bytes of a file, and the numbers in it. Readers ask `within` before
   they load. */

typedef struct {
    const unsigned char *p;
    size_t n;
    int big; /* byte order */
    const char *path;
} source;

typedef struct {
    char kind;          /* 'u', 'i', 'f', 'b': 0 or 1, 'c': complex */
    unsigned char size; /* bytes */
} value_type;

static int within(const source *f, uint64_t at, uint64_t n)
{
    return at <= f->n && n <= f->n - at;
}

/* an unsigned number of n <= 8 bytes */
static uint64_t load(const unsigned char *p, int n, int big)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[big ? n - 1 - i : i] << 8 * i;
    return v;
}

static uint64_t get(const source *f, size_t at, int n)
{
    return load(f->p + at, n, f->big);
}

static float half(uint32_t v)
{
    uint32_t sign = (v & 0x8000) << 16, e = v >> 10 & 31, m = v & 1023;
    float x = (float)m * (1.0f / 16777216); /* subnormal */
    if (e == 31) return atomdl_float(sign | 0x7f800000 | m << 13);
    if (e) x = atomdl_float((e + 112) << 23 | m << 13);
    return sign ? -x : x;
}

static float to_float(uint64_t v, value_type t)
{
    uint64_t sign = (uint64_t)1 << (8 * t.size - 1);
    if (t.kind == 'b') return v != 0;
    if (t.kind == 'u' || (t.kind == 'i' && !(v & sign))) return (float)v;
    if (t.kind == 'i') return -(float)((0 - v) & (sign | (sign - 1)));
    if (t.size == 4) return atomdl_float((uint32_t)v);
    return t.size == 2 ? half((uint32_t)v) : (float)atomdl_double(v);
}

static void to_floats(float *x, const unsigned char *p, size_t n, value_type t,
                      int big)
{
    for (; n; n--, p += t.size) *x++ = to_float(load(p, t.size, big), t);
}

static float grey(float r, float g, float b)
{
    float x = 77 * r, y = 150 * g, z = 29 * b;
    return (x + y + z) * (1.0f / 256);
}

static const char SHORT_FILE[] = "the file is cut short or damaged";
static const char NO_COMPLEX[] =
    "holds complex numbers; save their modulus as an image of real numbers";

/* ---------- NumPy arrays --------------------------------------------------

   Magic, version, length of the header, header, values. The header is a
   Python dictionary: {'descr': '<f4', 'fortran_order': False,
   'shape': (3, 4), } and blanks; keys may come in any order. */

typedef struct {
    const char *p, *end;
} cursor;

static void skip_blanks(cursor *c)
{
    while (c->p < c->end && *c->p && strchr(" \n\t\r", *c->p)) c->p++;
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
    skip_blanks(c);
    const char *start = c->p;
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

/* '<f4'  '>i2'  '|u1' */
static int take_type(cursor *c, value_type *t, int *big)
{
    static const char *const SIZES[] = {"b1", "u1248", "i1248", "f248"};
    skip_blanks(c);
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
    if (!take(&c, "{")) return failed(path, "malformed NPY header");
    while (!take(&c, "}")) {
        int key = take(&c, "'descr'")           ? DESCR
                  : take(&c, "'fortran_order'") ? ORDER
                  : take(&c, "'shape'")         ? SHAPE
                                                : 0;
        if (!key || seen & key || !take(&c, ":"))
            return failed(path, "malformed NPY header");
        seen |= key;
        if (key == DESCR && take(&c, "'<c")) return failed(path, NO_COMPLEX);
        if (key == DESCR && !take_type(&c, &n->type, &n->big))
            return failed(path, "its values are not numbers that AtomDL reads;"
                                " save them as float32 (numpy.float32)");
        if (key == ORDER) n->fortran = take(&c, "True");
        if (key == ORDER && !n->fortran && !take(&c, "False"))
            return failed(path, "malformed NPY header");
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
    if (!at) return failed(path, "not a NumPy array (NPY version 1 to 3)");
    if (npy_header(npy, n, header, path)) return 1;
    size_t bytes = n->type.size;
    if (!npy_count(npy) || npy->count * bytes != size - at)
        return failed(path, "%lu bytes of values do not fit its shape",
                      (unsigned long)(size - at));
    npy->x = malloc(npy->count ? npy->count * sizeof *npy->x : 1);
    if (!npy->x)
        return failed(path, "no memory for %lu values",
                      (unsigned long)npy->count);
    if (!n->fortran) to_floats(npy->x, data + at, npy->count, n->type, n->big);
    for (size_t i = 0; n->fortran && i < npy->count; i++)
        to_floats(npy->x + i, data + at + npy_fortran(npy, i) * bytes, 1,
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

/* ---------- Stacks -------------------------------------------------------- */

static void name_type(io_stack *s, value_type t)
{
    const char *name = t.kind == 'u' ? "uint" : t.kind == 'i' ? "int"
                       : t.kind == 'f' ? "float" : "bool";
    if (t.kind == 'b') snprintf(s->type, sizeof s->type, "%s", name);
    else snprintf(s->type, sizeof s->type, "%s%d", name, 8 * t.size);
}

/* Are these sizes ones that a file of f->n bytes can have? A decompressed
   pixel has at least 1/2048 of a byte in any format read here. */
static int fits(const source *f, uint64_t frames, uint64_t h, uint64_t w)
{
    uint64_t most = (uint64_t)f->n << 11;
    if (!frames || !h || !w) return !failed(f->path, "holds no pixels");
    if (w > IO_SIDE || h > IO_SIDE)
        return !failed(f->path, "a side of more than %d pixels; cut it",
                       IO_SIDE);
    if (most > IO_PIXELS) most = IO_PIXELS;
    if (most > (size_t)-1 / 8) most = (size_t)-1 / 8;
    if (frames <= most / (h * w)) return 1;
    if (most == IO_PIXELS)
        return !failed(f->path, "more than 2^30 pixels; cut it in parts");
    return !failed(f->path, "states more pixels than so short a file can hold");
}

/* Room for the frames; 0: too large, with the reason. */
static int stack_new(io_stack *s, const source *f, uint64_t frames, uint64_t h,
                     uint64_t w, value_type t)
{
    if (!fits(f, frames, h, w)) return 0;
    s->frames = (size_t)frames;
    s->h = (size_t)h;
    s->w = (size_t)w;
    name_type(s, t);
    s->px = calloc(s->frames * s->h * s->w, sizeof *s->px);
    return s->px || !failed(f->path, "no memory for its pixels");
}

/* Frames that lie in the file as they are, from byte `at`. */
static int stack_plain(io_stack *s, const source *f, uint64_t at,
                       uint64_t frames, uint64_t h, uint64_t w, value_type t)
{
    if (!fits(f, frames, h, w)) return 1;
    if (!within(f, at, frames * h * w * t.size))
        return failed(f->path, SHORT_FILE);
    if (!stack_new(s, f, frames, h, w, t)) return 1;
    to_floats(s->px, f->p + at, s->frames * s->h * s->w, t, f->big);
    return 0;
}

/* Å in a unit of length as microscopes write it; 0: no such unit */
static double angstroms(const char *unit)
{
    static const struct {
        const char *name;
        double length;
    } UNIT[] = {
        {"nm", 10}, {"A", 1}, {"\xc3\x85", 1}, {"\xe2\x84\xab", 1},
        {"\xc5", 1}, {"Angstrom", 1}, {"angstrom", 1}, {"pm", 0.01},
        {"um", 1e4}, {"\xc2\xb5m", 1e4}, {"\xce\xbcm", 1e4}, {"\xb5m", 1e4},
        {"\\u00B5m", 1e4}, {"micron", 1e4}, {"\\u00C5", 1}, {"mm", 1e7},
        {"cm", 1e8}, {"m", 1e10}, {"nanometer", 10},
    };
    for (size_t i = 0; i < sizeof UNIT / sizeof *UNIT; i++)
        if (!strcmp(unit, UNIT[i].name)) return UNIT[i].length;
    return 0;
}

/* Pixel sizes in that unit; what is no length is unknown. */
static void set_pixel(io_stack *s, double x, double y, const char *unit)
{
    double a = angstroms(unit);
    x *= a;
    y *= a;
    s->pixel_x = x > 1e-6 && x < 1e12 ? x : 0;
    s->pixel_y = y > 1e-6 && y < 1e12 ? y : 0;
}

static int read_npy(io_stack *s, source *f)
{
    npy_format n;
    io_npy a;
    if (npy_parse(&a, &n, f->p, f->n, f->path)) return 1;
    int d = a.dims;
    s->px = a.x;
    if (d != 2 && d != 3)
        return failed(f->path, "has %d axes; an image has 2, a stack 3", d);
    s->frames = d == 3 ? a.dim[0] : 1;
    s->h = a.dim[d - 2];
    s->w = a.dim[d - 1];
    name_type(s, n.type);
    return !fits(f, s->frames, s->h, s->w);
}

/* ---------- PNG, JPEG, BMP, PNM -------------------------------------------

   stb_image decodes, but takes files that are cut short, and bytes that are
   damaged, for good: these checks come first. */

static uint32_t crc32_of(const unsigned char *p, size_t n)
{
    static const uint32_t TABLE[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    uint32_t c = 0xffffffff;
    for (; n; n--) {
        c ^= *p++;
        c = c >> 4 ^ TABLE[c & 15];
        c = c >> 4 ^ TABLE[c & 15];
    }
    return ~c;
}

/* every chunk there, with its checksum, to IEND */
static int png_whole(source *f)
{
    uint64_t at = 8;
    f->big = 1;
    while (within(f, at, 12)) {
        uint64_t n = get(f, (size_t)at, 4);
        if (!within(f, at, n + 12)) return 0;
        if (crc32_of(f->p + at + 4, (size_t)n + 4)
            != get(f, (size_t)(at + n + 8), 4))
            return 0;
        if (!memcmp(f->p + at + 4, "IEND", 4)) return 1;
        at += n + 12;
    }
    return 0;
}

/* Huffman tables from byte `at` on have at most 256 codes each: stb_image does
   not ask. */
static int jpeg_tables(const source *f, size_t at, size_t n)
{
    size_t codes, i;
    for (; n >= 17 && within(f, at, 17); at += 17 + codes, n -= 17 + codes) {
        for (codes = 0, i = 1; i <= 16; i++) codes += f->p[at + i];
        if (codes > 256 || codes > n - 17) return 0;
    }
    return !n;
}

/* The mark at *at or, within the data of a scan, the next one; *at <- the byte
   before it. As in stb_image any number of 0xff may come before a mark, and
   with 0 behind them they are data. -1: none. */
static int jpeg_mark(const source *f, size_t *at, int scan)
{
    for (; within(f, *at, 2); ++*at) {
        int mark = f->p[*at + 1];
        if (f->p[*at] != 0xff && !scan) return -1;
        if (f->p[*at] != 0xff || mark == 0xff) continue;
        if (!scan || (mark && !(mark >= 0xd0 && mark <= 0xd7))) return mark;
    }
    return -1;
}

/* segments to the end-of-image mark behind a scan */
static int jpeg_whole(source *f)
{
    size_t at = 2;
    int scan = 0;
    f->big = 1;
    int mark;
    while ((mark = jpeg_mark(f, &at, scan)) >= 0) {
        if (mark == 0xd9) return scan;
        if (!within(f, at, 4)) return 0;
        size_t n = (size_t)get(f, at + 2, 2);
        if (n < 2 || (mark == 0xc4 && !jpeg_tables(f, at + 4, n - 2)))
            return 0;
        if (mark == 0xda) scan = 1;
        at += 2 + n;
    }
    return 0;
}

static int bmp_whole(source *f)
{
    f->big = 0;
    if (!within(f, 0, 30)) return 0;
    int old = get(f, 14, 4) == 12;
    uint64_t w = old ? get(f, 18, 2) : get(f, 18, 4);
    uint64_t h = old ? get(f, 20, 2) : get(f, 22, 4);
    uint64_t bits = get(f, old ? 24 : 28, 2);
    if (h >> 31) h = (0 - h) & 0xffffffff;
    if (w > IO_SIDE || h > IO_SIDE) return 1; /* refused as such later */
    return within(f, get(f, 10, 4), (w * bits + 31) / 32 * 4 * h);
}

static void stb_pixels(io_stack *s, const void *px, int c, int wide)
{
    const unsigned char *p8 = px;
    const stbi_us *p16 = px;
    size_t n = s->h * s->w;
    float x[3];
    int most = c < 3 ? 1 : 3;
    for (size_t i = 0; i < n; i++, p8 += c, p16 += c) {
        for (int k = 0; k < most; k++) x[k] = wide ? p16[k] : p8[k];
        s->px[i] = most == 1 ? x[0] : grey(x[0], x[1], x[2]);
    }
}

/* Colours become grey, 0.30 R + 0.59 G + 0.11 B; opacity is ignored. */
static int read_stb(io_stack *s, source *f, int (*whole)(source *f))
{
    int n = (int)f->n;
    void *px = NULL;
    value_type t = {'u', 1};
    if (f->n > INT_MAX) return failed(f->path, "longer than 2 GiB");
    if (!whole(f)) return failed(f->path, SHORT_FILE);
    stb_most = 1 << 20;
    int w, h, c;
    if (!stbi_info_from_memory(f->p, n, &w, &h, &c))
        return failed(f->path, "cannot be decoded (%s)",
                      stbi_failure_reason());
    int wide = stbi_is_16_bit_from_memory(f->p, n);
    t.size = wide ? 2 : 1;
    unsigned rows =
        h < 0 ? 0 - (unsigned)h : (unsigned)h; /* BMP: the first on top */
    if (!stack_new(s, f, 1, rows, (unsigned)w, t)) return 1;
    stb_most += 2 * f->n + 24 * s->h * s->w;
    px = wide ? (void *)stbi_load_16_from_memory(f->p, n, &w, &h, &c, 0)
              : (void *)stbi_load_from_memory(f->p, n, &w, &h, &c, 0);
    if (!px) {
        free(px);
        return failed(f->path, "cannot be decoded (%s)",
                      stbi_failure_reason());
    }
    stb_pixels(s, px, c, wide);
    free(px);
    return 0;
}

/* A number of a PNM header or text; '#' begins a comment. */
static int pnm_number(cursor *c, size_t *v)
{
    while (take(c, "#"))
        while (c->p < c->end && *c->p != '\n') c->p++;
    return take_number(c, v);
}

static int read_pnm(io_stack *s, source *f)
{
    cursor c = {(const char *)f->p + 2, (const char *)f->p + f->n};
    int kind = f->p[1] - '0', channels = kind % 3 ? 1 : 3;
    value_type t = {'u', 1};
    if (kind == 1 || kind == 4)
        return failed(f->path, "a bitmap of 1 bit a pixel; save it as PGM");
    size_t w, h, top;
    if (!pnm_number(&c, &w) || !pnm_number(&c, &h) || !pnm_number(&c, &top)
        || c.p == c.end || top < 1 || top > 65535)
        return failed(f->path, "malformed PNM header");
    t.size = top > 255 ? 2 : 1;
    if (!fits(f, 1, h, w)) return 1;
    c.p++;
    if (kind > 3 && (size_t)(c.end - c.p) / t.size / (size_t)channels < h * w)
        return failed(f->path, SHORT_FILE);
    if (!stack_new(s, f, 1, h, w, t)) return 1;
    size_t v;
    float x[3];
    for (size_t i = 0; i < h * w; i++) {
        for (int k = 0; k < channels; k++, c.p += kind > 3 ? t.size : 0) {
            if (kind < 4 && !pnm_number(&c, &v))
                return failed(f->path, SHORT_FILE);
            if (kind > 3) v = (size_t)load((const void *)c.p, t.size, 1);
            x[k] = (float)v;
        }
        s->px[i] = channels == 1 ? x[0] : grey(x[0], x[1], x[2]);
    }
    return 0;
}

/* ---------- TIFF ----------------------------------------------------------

   A chain of pages (IFD), each a table of tagged values; pixels in strips or
   tiles. Integers of 8 to 64 bits, float16 to float64; uncompressed, LZW,
   deflate, PackBits; predictors 2 and 3; chunky or planar. WhiteIsZero is
   inverted, colours become grey, a palette is left aside: its indices are the
   data. Reduced copies (thumbnails) are skipped. */

enum {
    T_SUBFILE = 254, T_WIDTH = 256, T_HEIGHT, T_BITS, T_COMPRESSION,
    T_PHOTOMETRIC = 262, T_FILL = 266, T_TEXT = 270, T_STRIPS = 273,
    T_SAMPLES = 277, T_ROWS, T_STRIP_BYTES, T_XRES = 282, T_YRES, T_PLANAR,
    T_RES_UNIT = 296, T_PREDICTOR = 317, T_TILE_W = 322, T_TILE_H, T_TILES,
    T_TILE_BYTES, T_FORMAT = 339, T_DM_UNIT = 65003, T_DM_X = 65009
};

typedef struct {
    size_t ifd, w, h, chunk_w, chunk_h, across, down; /* chunks */
    size_t row, bytes; /* of a chunk */
    unsigned samples, planar, compression, photometric, predictor;
    value_type type;
    size_t offsets, counts; /* entries of the table; counts may be 0 */
} tiff_page;

/* The entry of a tag in the page at ifd; 0: not there. */
static size_t tiff_find(const source *f, size_t ifd, unsigned tag)
{
    size_t n = (size_t)get(f, ifd, 2), e = ifd + 2;
    for (; n; n--, e += 12)
        if (get(f, e, 2) == tag) return e;
    return 0;
}

/* Where item i of an entry lies and its type; 0: nowhere */
static size_t tiff_item(const source *f, size_t e, size_t i, int *size,
                        unsigned *type)
{
    static const unsigned char SIZE[] = {0, 1, 1, 2, 4, 8, 1, 1,
                                         2, 4, 8, 4, 8, 4};
    uint64_t at = e + 8;
    *type = e ? (unsigned)get(f, e + 2, 2) : 0;
    if (!*type || *type >= sizeof SIZE) return 0;
    *size = SIZE[*type];
    uint64_t count = get(f, e + 4, 4);
    if (i >= count) return 0;
    if (count * (unsigned)*size > 4) at = get(f, e + 8, 4);
    at += (uint64_t)i * (unsigned)*size;
    return within(f, at, (unsigned)*size) ? (size_t)at : 0;
}

static uint64_t tiff_get(const source *f, size_t ifd, unsigned tag,
                         uint64_t otherwise)
{
    unsigned type;
    int size;
    size_t at = tiff_item(f, tiff_find(f, ifd, tag), 0, &size, &type);
    return at ? get(f, at, size) : otherwise;
}

/* a float64, or the inverse of a rational: a pixel's size from the pixels to a
   length; 0: absent */
static double tiff_real(const source *f, size_t ifd, unsigned tag)
{
    unsigned type;
    int size;
    size_t at = tiff_item(f, tiff_find(f, ifd, tag), 0, &size, &type);
    if (!at || (type != 5 && type != 12)) return 0;
    if (type == 12) return atomdl_double(get(f, at, 8));
    double over = (double)get(f, at, 4);
    return over > 0 ? (double)get(f, at + 4, 4) / over : 0;
}

/* The text of a tag, cut to fit. */
static void tiff_text(const source *f, size_t ifd, unsigned tag, char *text,
                      size_t room)
{
    size_t e = tiff_find(f, ifd, tag), i;
    unsigned type;
    int size;
    for (i = 0; i + 1 < room; i++) {
        size_t at = tiff_item(f, e, i, &size, &type);
        if (!at || size != 1 || !f->p[at]) break;
        text[i] = (char)f->p[at];
    }
    text[i] = 0;
}

/* Codes of 9 to 12 bits, most significant first, each a string made of an
   earlier one and a byte; returns how many bytes came out. */
static size_t lzw(const unsigned char *in, size_t n, unsigned char *out,
                  size_t room)
{
    enum { CLEAR = 256, END = 257, CODES = 4096 };
    uint16_t before[CODES], length[CODES];
    unsigned char last[CODES];
    unsigned old = CLEAR, next = 258, bits = 9, held = 0;
    uint32_t buffer = 0;
    size_t done = 0;
    for (unsigned code = 0; code < 256; code++) {
        last[code] = (unsigned char)code;
        length[code] = 1;
        before[code] = CLEAR;
    }
    unsigned c;
    size_t at;
    for (;;) {
        for (; held < bits && n; held += 8, n--)
            buffer = buffer << 8 | *in++;
        if (held < bits) return done;
        held -= bits;
        unsigned code = buffer >> held & ((1u << bits) - 1);
        if (code == END) return done;
        if (code == CLEAR) {
            bits = 9;
            next = 258;
            old = CLEAR;
            continue;
        }
        if (old == CLEAR ? code > 255 : code > next || next == CODES)
            return done; /* damaged */
        if (old != CLEAR) { /* the new string: the old one and a first byte */
            for (c = code == next ? old : code; length[c] > 1; c = before[c]) {}
            before[next] = (uint16_t)old;
            last[next] = last[c];
            length[next] = (uint16_t)(length[old] + 1);
            next++;
        }
        size_t k = length[code];
        for (c = code, at = done + k; k; k--, c = before[c])
            if (--at < room) out[at] = last[c];
        done += length[code];
        if (done >= room) return room;
        old = code;
        while (next + 1 >= 1u << bits && bits < 12) bits++;
    }
}

/* Runs: a signed count and bytes. */
static size_t packbits(const unsigned char *in, size_t n, unsigned char *out,
                       size_t room)
{
    size_t at = 0, done = 0;
    while (at + 1 < n && done < room) {
        int repeat = in[at] > 128;
        size_t run = repeat ? 257u - in[at] : in[at] + 1u;
        if (in[at++] == 128) continue;
        if (!repeat && run > n - at) break;
        for (size_t i = 0; i < run && done < room; i++)
            out[done++] = in[repeat ? at : at + i];
        at += repeat ? 1 : run;
    }
    return done;
}

/* Differences along rows back to values. 2: of samples; 3: of the bytes of
   floats, those of most weight first. */
static void unpredict(const tiff_page *p, unsigned char *row, int big,
                      unsigned char *spare)
{
    size_t step = p->planar == 2 ? 1 : p->samples, n = p->row;
    size_t size = p->type.size;
    if (p->predictor == 2)
        for (size_t i = step * size; i < n; i += size) {
            uint64_t v = load(row + i, (int)size, big)
                         + load(row + i - step * size, (int)size, big);
            for (size_t k = 0; k < size; k++)
                row[i + (big ? size - 1 - k : k)]
                    = (unsigned char)(v >> 8 * k);
        }
    if (p->predictor != 3) return;
    for (size_t i = step; i < n; i++)
        row[i] = (unsigned char)(row[i] + row[i - step]);
    memcpy(spare, row, n);
    for (size_t i = 0; i < n; i++)
        row[i] = spare[i % size * (n / size) + i / size];
}

/* Chunk i decoded into raw (p->bytes); at least `need` must come. */
static int tiff_chunk(const tiff_page *p, const source *f, size_t i,
                      size_t need, unsigned char *raw)
{
    unsigned type;
    int size;
    size_t at = tiff_item(f, p->offsets, i, &size, &type), n = need;
    if (!at) return 0;
    uint64_t from = get(f, at, size);
    at = tiff_item(f, p->counts, i, &size, &type);
    uint64_t count = at ? get(f, at, size) : need;
    if ((!at && p->compression > 1) || !within(f, from, count)) return 0;
    f = &(source){f->p + from, (size_t)count, f->big, f->path};
    if (p->compression == 1) {
        n = f->n < p->bytes ? f->n : p->bytes;
        memcpy(raw, f->p, n);
    } else if (p->compression == 5) {
        n = lzw(f->p, f->n, raw, p->bytes);
    } else if (p->compression == 32773) {
        n = packbits(f->p, f->n, raw, p->bytes);
    } else {
        int got = f->n > INT_MAX ? -1
                  : stbi_zlib_decode_buffer((char *)raw, (int)p->bytes,
                                            (const char *)f->p, (int)f->n);
        n = got < 0 ? 0 : (size_t)got;
    }
    return n >= need;
}

/* Adds a decoded chunk, plane `plane` of the planar layout, to the frame. */
static void tiff_place(const tiff_page *p, float *frame, unsigned char *raw,
                       float *x, size_t chunk, unsigned plane, int big)
{
    static const float RGB[3] = {77.0f / 256, 150.0f / 256, 29.0f / 256};
    size_t top = chunk / p->across * p->chunk_h;
    size_t left = chunk % p->across * p->chunk_w;
    size_t samples = p->planar == 2 ? 1 : p->samples;
    size_t used = p->photometric == 2 && samples > 1 ? 3 : 1;
    for (size_t y = 0; y < p->chunk_h && top + y < p->h; y++) {
        unpredict(p, raw + y * p->row, big, raw + p->bytes);
        to_floats(x, raw + y * p->row, p->chunk_w * samples, p->type,
                  big || p->predictor == 3);
        float *to = frame + (top + y) * p->w + left;
        for (size_t i = 0; i < p->chunk_w && left + i < p->w; i++)
            for (size_t k = 0; k < used; k++) {
                float v = x[i * samples + k];
                if (p->photometric == 2) v *= RGB[plane + k];
                to[i] = k || plane ? to[i] + v : v;
            }
    }
}

static int tiff_decode(const tiff_page *p, const source *f, float *frame)
{
    unsigned planes = p->planar == 2 && p->photometric == 2 ? 3 : 1;
    size_t chunks = p->across * p->down;
    unsigned char *raw = malloc(p->bytes + p->row);
    float *x = malloc(p->row / p->type.size * sizeof *x);
    int bad = !raw || !x;
    if (bad) failed(f->path, "no memory to decode it");
    for (size_t i = 0; i < chunks * planes && !bad; i++) {
        unsigned plane = (unsigned)(i / chunks);
        size_t rows = p->h - i % chunks / p->across * p->chunk_h;
        if (rows > p->chunk_h) rows = p->chunk_h;
        bad = !tiff_chunk(p, f, i, rows * p->row, raw);
        if (bad) failed(f->path, SHORT_FILE);
        else tiff_place(p, frame, raw, x, i % chunks, plane, f->big);
    }
    free(raw);
    free(x);
    return bad;
}

static const char *tiff_refusal(const tiff_page *p, unsigned bits,
                                unsigned format, unsigned fill)
{
    unsigned c = p->compression;
    if (format == 5 || format == 6) return NO_COMPLEX;
    if ((bits != 8 && bits != 16 && bits != 32 && bits != 64)
        || (format == 3 && bits == 8) || format > 4 || fill != 1)
        return "a TIFF with an unusual kind of pixels; save it with 8, 16 or"
               " 32 bits a sample";
    if (p->photometric > 3)
        return "a TIFF with an unusual colour space; save it as grey";
    if (c != 1 && c != 5 && c != 8 && c != 32946 && c != 32773)
        return "a TIFF with an unusual compression; save it uncompressed";
    if (p->predictor < 1 || p->predictor > 3
        || (p->predictor == 3 && (format != 3 || bits < 16)))
        return "a TIFF with an unusual predictor; save it uncompressed";
    if (!p->samples || p->samples > 64
        || (p->photometric == 2 && p->samples < 3))
        return "a TIFF with a bad number of samples";
    return NULL;
}

/* The size and kind of a page, checked. */
static int tiff_page_read(tiff_page *p, const source *f, size_t ifd)
{
    unsigned bits = (unsigned)tiff_get(f, ifd, T_BITS, 1);
    unsigned format = (unsigned)tiff_get(f, ifd, T_FORMAT, 1);
    int tiled = tiff_find(f, ifd, T_TILES) != 0;
    uint64_t w = tiff_get(f, ifd, T_WIDTH, 0);
    uint64_t h = tiff_get(f, ifd, T_HEIGHT, 0), cw = w;
    p->ifd = ifd;
    p->compression = (unsigned)tiff_get(f, ifd, T_COMPRESSION, 1);
    p->photometric = (unsigned)tiff_get(f, ifd, T_PHOTOMETRIC, 1);
    p->samples = (unsigned)tiff_get(f, ifd, T_SAMPLES, 1);
    p->planar = (unsigned)tiff_get(f, ifd, T_PLANAR, 1);
    p->predictor = p->compression == 1 || p->compression == 32773
                       ? 1 : (unsigned)tiff_get(f, ifd, T_PREDICTOR, 1);
    const char *why =
        tiff_refusal(p, bits, format, (unsigned)tiff_get(f, ifd, T_FILL, 1));
    if (why) return failed(f->path, "%s", why);
    if (!fits(f, 1, h, w)) return 1;
    p->type.kind = format == 2 ? 'i' : format == 3 ? 'f' : 'u';
    p->type.size = (unsigned char)(bits / 8);
    uint64_t ch = tiff_get(f, ifd, T_ROWS, h);
    if (ch > h) ch = h;
    if (tiled) {
        cw = tiff_get(f, ifd, T_TILE_W, 0);
        ch = tiff_get(f, ifd, T_TILE_H, 0);
    }
    if (!fits(f, 1, ch, cw) || !fits(f, p->samples, ch, cw)) return 1;
    p->w = (size_t)w;
    p->h = (size_t)h;
    p->chunk_w = (size_t)cw;
    p->chunk_h = (size_t)ch;
    p->across = (p->w + p->chunk_w - 1) / p->chunk_w;
    p->down = (p->h + p->chunk_h - 1) / p->chunk_h;
    p->row = p->chunk_w * p->type.size * (p->planar == 2 ? 1 : p->samples);
    p->bytes = p->row * p->chunk_h;
    p->offsets = tiff_find(f, ifd, tiled ? T_TILES : T_STRIPS);
    p->counts = tiff_find(f, ifd, tiled ? T_TILE_BYTES : T_STRIP_BYTES);
    if (p->bytes > INT_MAX)
        return failed(f->path, "strips or tiles of more than 2 GiB");
    return 0;
}

/* The next page that is not a reduced copy, from the offset stored at `link`;
   0: the last was read. *bad: the chain is broken. */
static size_t tiff_next(const source *f, size_t *link, size_t *left, int *bad)
{
    for (;;) {
        uint64_t ifd = get(f, *link, 4);
        if (!ifd) return 0;
        *bad = !(*left)-- || !within(f, ifd, 2);
        if (*bad) return 0;
        uint64_t n = get(f, (size_t)ifd, 2);
        *bad = !within(f, ifd, 12 * n + 6);
        if (*bad) return 0;
        *link = (size_t)(ifd + 2 + 12 * n);
        if (!(tiff_get(f, (size_t)ifd, T_SUBFILE, 0) & 1)) return (size_t)ifd;
    }
}

/* DigitalMicrograph's own tags, ImageJ's description, or the resolution when
   it can be a microscope's. */
static void tiff_pixel(io_stack *s, const source *f, size_t ifd,
                       const char *text)
{
    double x = tiff_real(f, ifd, T_XRES), y = tiff_real(f, ifd, T_YRES);
    const char *p = strstr(text, "unit=");
    unsigned unit = (unsigned)tiff_get(f, ifd, T_RES_UNIT, 2);
    char name[16];
    tiff_text(f, ifd, T_DM_UNIT, name, sizeof name);
    if (*name) {
        set_pixel(s, tiff_real(f, ifd, T_DM_X), tiff_real(f, ifd, T_DM_X + 1),
                  name);
    } else if (x > 0 && y > 0 && !strncmp(text, "ImageJ=", 7)) {
        snprintf(name, sizeof name, "%.*s", p ? (int)strcspn(p + 5, "\r\n") : 0,
                 p ? p + 5 : "");
        set_pixel(s, x, y, name);
    } else if (x > 0 && y > 0 && unit > 1) {
        set_pixel(s, unit == 2 ? 2.54 * x : x, unit == 2 ? 2.54 * y : y, "cm");
        if (s->pixel_x > 1000 || s->pixel_y > 1000) /* a printer's */
            s->pixel_x = s->pixel_y = 0;
    }
}

/* A stack that ImageJ writes as one page and its pixels in one piece. */
static size_t imagej_frames(const char *text)
{
    const char *p = strncmp(text, "ImageJ=", 7) ? NULL
                                                : strstr(text, "images=");
    cursor c = {p ? p + 7 : text, text + strlen(text)};
    size_t n;
    return p && take_number(&c, &n) && n ? n : 1;
}

static void white_is_zero(io_stack *s, value_type t)
{
    float top = t.kind != 'u' ? 0 : to_float((uint64_t)-1 >> (64 - 8 * t.size),
                                             t);
    size_t n = s->frames * s->h * s->w;
    for (size_t i = 0; i < n; i++) s->px[i] = top - s->px[i];
}

/* How many pages, all of the size and kind of the first; 0: refused. */
static size_t tiff_pages(tiff_page *first, const source *f)
{
    size_t link = 4, left = f->n / 18, pages = 0, ifd;
    tiff_page p;
    int bad = 0;
    while ((ifd = tiff_next(f, &link, &left, &bad)) != 0) {
        if (tiff_page_read(&p, f, ifd)) return 0;
        if (!pages++) *first = p;
        if (p.w != first->w || p.h != first->h
            || p.type.kind != first->type.kind
            || p.type.size != first->type.size
            || p.photometric != first->photometric) {
            failed(f->path, "pages of several sizes or kinds; save each kind"
                            " as a file of its own");
            return 0;
        }
    }
    if (bad || !pages) failed(f->path, SHORT_FILE);
    return bad ? 0 : pages;
}

static int read_tiff(io_stack *s, source *f)
{
    size_t link = 4, left = f->n / 18;
    int bad = 0;
    f->big = f->p[0] == 'M';
    if (get(f, 2, 2) == 43)
        return failed(f->path, "a BigTIFF; save it as a TIFF of under 4 GiB");
    if (f->n < 8) return failed(f->path, SHORT_FILE);
    tiff_page p;
    size_t pages = tiff_pages(&p, f);
    if (!pages) return 1;
    char text[1024];
    tiff_text(f, p.ifd, T_TEXT, text, sizeof text);
    size_t i = imagej_frames(text);
    if (pages == 1 && i > 1 && p.compression == 1 && p.samples == 1) {
        int size;
        unsigned type;
        size_t at = tiff_item(f, p.offsets, 0, &size, &type);
        if (!at) return failed(f->path, SHORT_FILE);
        bad = stack_plain(s, f, get(f, at, size), i, p.h, p.w, p.type);
    } else {
        if (!stack_new(s, f, pages, p.h, p.w, p.type)) return 1;
        for (i = 0; i < pages && !bad; i++) {
            size_t ifd = tiff_next(f, &link, &left, &bad);
            bad = tiff_page_read(&p, f, ifd)
                  || tiff_decode(&p, f, s->px + i * s->h * s->w);
        }
    }
    if (bad) return 1;
    if (!p.photometric) white_is_zero(s, p.type);
    link = 4;
    left = f->n / 18;
    tiff_pixel(s, f, tiff_next(f, &link, &left, &bad), text);
    return 0;
}

/* ---------- Gatan DigitalMicrograph ---------------------------------------

   A tree of tags whose branches have names or numbers. Its own words are
   big-endian, of 4 bytes in DM3 and of 8 in DM4; the data have the order that
   the head states. Each image of ImageList has ImageData with Data, DataType,
   Dimensions and Calibrations; one of the images may be a thumbnail. */

enum { DM_IMAGES = 16, DM_DIMS = 6, DM_DEPTH = 32 };

typedef struct {
    size_t at, bytes; /* of Data */
    unsigned type;
    uint64_t dim[DM_DIMS];
    double scale[2];
    char unit[2][12];
} dm_image;

typedef struct {
    source f; /* big: the order of the data */
    int word; /* 4, 8 */
    size_t at;
    dm_image image[DM_IMAGES];
    unsigned thumbnail;
    char path[256];
} dm_file;

/* Bytes of the file's own; 0 and *bad behind the end. */
static uint64_t dm_word(dm_file *d, int n, int *bad)
{
    *bad |= !within(&d->f, d->at, (unsigned)n);
    if (*bad) return 0;
    uint64_t v = load(d->f.p + d->at, n, 1);
    d->at += (unsigned)n;
    return v;
}

static value_type dm_code(uint64_t code)
{
    static const value_type TYPE[] = {
        {0, 0}, {0, 0}, {'i', 2}, {'i', 4}, {'u', 2}, {'u', 4}, {'f', 4},
        {'f', 8}, {'b', 1}, {'u', 1}, {'u', 1}, {'i', 8}, {'u', 8}};
    return TYPE[code < sizeof TYPE / sizeof *TYPE ? code : 0];
}

/* Bytes of the value whose description begins here, *code its type. */
static uint64_t dm_size(dm_file *d, uint64_t *code, int depth, int *bad)
{
    uint64_t n = 0;
    *code = dm_word(d, d->word, bad);
    if (depth > 4) *bad = 1;
    if (*bad) return 0;
    uint64_t item;
    if (*code == 15) { /* structure: name's length, fields, (length, type)... */
        dm_word(d, d->word, bad);
        for (uint64_t fields = dm_word(d, d->word, bad); fields && !*bad;
             fields--) {
            dm_word(d, d->word, bad);
            n += dm_size(d, &item, depth + 1, bad);
        }
        *code = 15;
    } else if (*code == 18) { /* text */
        n = dm_word(d, d->word, bad);
    } else if (*code == 20) { /* array: type, count */
        item = dm_size(d, code, depth + 1, bad);
        n = dm_word(d, d->word, bad);
        *bad |= n > d->f.n;
        n = *bad ? 0 : n * item;
    } else {
        n = dm_code(*code).size;
        *bad |= !n;
    }
    *bad |= n > d->f.n;
    return *bad ? 0 : n;
}

static double dm_number(const dm_file *d, uint64_t code)
{
    value_type t = dm_code(code);
    if (!t.size) return 0;
    uint64_t v = get(&d->f, d->at, t.size);
    return t.kind == 'f' && t.size == 8 ? atomdl_double(v)
                                        : (double)to_float(v, t);
}

/* text of 16-bit characters below 256 */
static void dm_text(const dm_file *d, size_t bytes, char *text, size_t room)
{
    size_t i;
    for (i = 0; i + 1 < room && 2 * i + 1 < bytes; i++)
        text[i] = (char)get(&d->f, d->at + 2 * i, 2);
    text[i] = 0;
}

/* A value of n bytes at d->at: is it one that an image needs? */
static void dm_value(dm_file *d, uint64_t code, size_t n)
{
    static const char CAL[] = "ImageData.Calibrations.Dimension.";
    static const char DIM[] = "ImageData.Dimensions.";
    const char *p = d->path;
    if (n < (size_t)dm_code(code).size) return; /* an array of none */
    if (!strcmp(p, "Thumbnails.0.ImageIndex"))
        d->thumbnail = (unsigned)get(&d->f, d->at, dm_code(code).size);
    if (strncmp(p, "ImageList.", 10)) return;
    cursor c;
    c.p = p + 10;
    c.end = p + strlen(p);
    size_t i;
    if (!take_number(&c, &i) || i >= DM_IMAGES || !take(&c, ".")) return;
    dm_image *m = &d->image[i];
    if (!strcmp(c.p, "ImageData.Data")) {
        m->at = d->at;
        m->bytes = n;
    } else if (!strcmp(c.p, "ImageData.DataType")) {
        m->type = (unsigned)get(&d->f, d->at, dm_code(code).size);
    } else if (take(&c, DIM) && take_number(&c, &i) && c.p == c.end) {
        if (i < DM_DIMS) m->dim[i] = get(&d->f, d->at, dm_code(code).size);
    } else if (take(&c, CAL) && take_number(&c, &i) && i < 2) {
        if (!strcmp(c.p, ".Scale")) m->scale[i] = dm_number(d, code);
        if (!strcmp(c.p, ".Units"))
            dm_text(d, n, m->unit[i], sizeof m->unit[i]);
    }
}

static void dm_group(dm_file *d, int depth, int *bad);

/* One tag: name, then a group or a value. */
static void dm_tag(dm_file *d, size_t *unnamed, int depth, int *bad)
{
    size_t used = strlen(d->path), room = sizeof d->path - used;
    unsigned kind = (unsigned)dm_word(d, 1, bad);
    int name = (int)dm_word(d, 2, bad);
    *bad |= !within(&d->f, d->at, (unsigned)name) || (kind != 20 && kind != 21);
    if (*bad) return;
    int wrote = name ? snprintf(d->path + used, room, "%s%.*s", used ? "." : "",
                                name, (const char *)d->f.p + d->at)
                     : snprintf(d->path + used, room, "%s%lu", used ? "." : "",
                                (unsigned long)(*unnamed)++);
    *bad |= wrote < 0 || (size_t)wrote >= room;
    d->at += (unsigned)name;
    if (d->word == 8) dm_word(d, 8, bad); /* length of what follows */
    if (kind == 20) {
        dm_group(d, depth + 1, bad);
    } else {
        *bad |= dm_word(d, 4, bad) != 0x25252525;
        dm_word(d, d->word, bad); /* words of the description */
        uint64_t code;
        uint64_t size = dm_size(d, &code, 0, bad);
        *bad |= !within(&d->f, d->at, size);
        if (*bad) return;
        size_t n = (size_t)size;
        dm_value(d, code, n);
        d->at += n;
    }
    d->path[used] = 0;
}

static void dm_group(dm_file *d, int depth, int *bad)
{
    size_t unnamed = 0;
    *bad |= depth > DM_DEPTH;
    dm_word(d, 2, bad); /* sorted, open */
    for (uint64_t n = dm_word(d, d->word, bad); n && !*bad; n--)
        dm_tag(d, &unnamed, depth, bad);
}

/* the image that is neither the thumbnail nor a colour picture */
static const dm_image *dm_choose(const dm_file *d)
{
    enum { COLOUR = 23 };
    const dm_image *one = NULL;
    for (unsigned i = DM_IMAGES; i-- > 0;)
        if (d->image[i].bytes && d->image[i].type != COLOUR
            && (i != d->thumbnail || !one))
            one = &d->image[i];
    return one;
}

static value_type dm_data_type(unsigned code)
{
    static const struct {
        unsigned char code;
        value_type type;
    } TYPE[] = {
        {1, {'i', 2}}, {2, {'f', 4}}, {3, {'c', 8}}, {5, {'c', 8}},
        {6, {'u', 1}}, {7, {'i', 4}}, {9, {'i', 1}}, {10, {'u', 2}},
        {11, {'u', 4}}, {12, {'f', 8}}, {13, {'c', 16}}, {14, {'b', 1}},
        {27, {'c', 8}}, {28, {'c', 16}}, {39, {'i', 8}}, {40, {'u', 8}},
    };
    value_type none = {0, 0};
    for (size_t i = 0; i < sizeof TYPE / sizeof *TYPE; i++)
        if (TYPE[i].code == code) return TYPE[i].type;
    return none;
}

static int dm_pixels(io_stack *s, dm_file *d)
{
    const dm_image *m = dm_choose(d);
    uint64_t frames = 1;
    if (!m) return failed(d->f.path, "a DM file without a grey image");
    value_type t = dm_data_type(m->type);
    if (t.kind == 'c') return failed(d->f.path, NO_COMPLEX);
    if (!t.size)
        return failed(d->f.path, "a DM image of unknown data type %u; save it"
                                 " as 4-byte real", m->type);
    for (int i = 2; i < DM_DIMS && m->dim[i]; i++) {
        if (m->dim[i] > IO_PIXELS || frames > IO_PIXELS) break;
        frames *= m->dim[i];
    }
    if (!fits(&d->f, frames, m->dim[1] ? m->dim[1] : 1, m->dim[0])) return 1;
    if (frames * (m->dim[1] ? m->dim[1] : 1) * m->dim[0] * t.size != m->bytes)
        return failed(d->f.path, "its data do not fit its dimensions");
    set_pixel(s, m->scale[0], 0, m->unit[0]);
    if (stack_plain(s, &d->f, m->at, frames, m->dim[1] ? m->dim[1] : 1,
                    m->dim[0], t))
        return 1;
    {
        double x = s->pixel_x;
        set_pixel(s, 0, m->scale[1], m->unit[1]);
        s->pixel_x = x;
    }
    return 0;
}

static int read_dm(io_stack *s, source *f)
{
    dm_file *d = calloc(1, sizeof *d);
    int bad = 0;
    if (!d) return failed(f->path, "no memory");
    d->f = *f;
    d->word = f->p[3] == 3 ? 4 : 8;
    d->f.big = !f->p[d->word + 7];
    d->at = (size_t)d->word + 8;
    d->thumbnail = DM_IMAGES;
    dm_group(d, 0, &bad);
    bad = bad ? failed(f->path, SHORT_FILE) : dm_pixels(s, d);
    free(d);
    return bad;
}

/* ---------- MRC -----------------------------------------------------------

   A head of 1024 bytes, an extended one, and planes. Old files lack the word
   "MAP ": they are known by their mode and sizes. */

static value_type mrc_mode(uint64_t mode)
{
    static const value_type TYPE[] = {
        {'i', 1}, {'i', 2}, {'f', 4}, {'c', 4}, {'c', 8}, {0, 0}, {'u', 2}};
    value_type half_float = {'f', 2}, none = {0, 0};
    if (mode == 12) return half_float;
    return mode < sizeof TYPE / sizeof *TYPE ? TYPE[mode] : none;
}

static int is_mrc(source *f, int old)
{
    if (f->n < 1024) return 0;
    f->big = f->p[212] == 0x11;
    if (!old) return !memcmp(f->p + 208, "MAP", 3);
    uint64_t w = get(f, 0, 4);
    uint64_t h = get(f, 4, 4);
    uint64_t frames = get(f, 8, 4);
    return mrc_mode(get(f, 12, 4)).size && w && h && frames && w <= IO_SIDE
           && h <= IO_SIDE && frames <= IO_SIDE && get(f, 64, 4) == 1
           && get(f, 68, 4) == 2 && get(f, 72, 4) == 3; /* axes in order */
}

static int read_mrc(io_stack *s, source *f)
{
    value_type t = mrc_mode(get(f, 12, 4));
    value_type f4 = {'f', 4};
    if (t.kind == 'c') return failed(f->path, NO_COMPLEX);
    if (!t.size)
        return failed(f->path, "an MRC file of unknown mode %lu; save it as"
                               " mode 2 (float)",
                      (unsigned long)get(f, 12, 4));
    double cells[2];
    for (int i = 0; i < 2; i++) {
        double n = (double)get(f, 28 + 4 * (size_t)i, 4);
        cells[i] = (double)to_float(get(f, 40 + 4 * (size_t)i, 4), f4);
        cells[i] = n > 0 ? cells[i] / n : 0;
    }
    set_pixel(s, cells[0], cells[1], "A");
    return stack_plain(s, f, 1024 + get(f, 92, 4), get(f, 8, 4), get(f, 4, 4),
                       get(f, 0, 4), t);
}

/* ---------- SER (TIA) -----------------------------------------------------

   A head, a list of offsets, and elements: two calibrations of 20 bytes, type,
   width, height, pixels with the lowest row first. Offsets have 8 bytes from
   version 0x220 on. */

static int ser_element(io_stack *s, const source *f, uint64_t at, size_t i,
                       size_t frames)
{
    static const value_type TYPE[] = {
        {0, 0}, {'u', 1}, {'u', 2}, {'u', 4}, {'i', 1}, {'i', 2}, {'i', 4},
        {'f', 4}, {'f', 8}, {'c', 8}, {'c', 16}};
    if (!within(f, at, 50)) return failed(f->path, SHORT_FILE);
    uint64_t code = get(f, (size_t)at + 40, 2);
    value_type t = TYPE[code < sizeof TYPE / sizeof *TYPE ? code : 0];
    uint64_t w = get(f, (size_t)at + 42, 4);
    uint64_t h = get(f, (size_t)at + 46, 4);
    if (t.kind == 'c') return failed(f->path, NO_COMPLEX);
    if (!t.size) return failed(f->path, "a SER file of unknown data type %u",
                               (unsigned)code);
    if (!i && !stack_new(s, f, frames, h, w, t)) return 1;
    if (w != s->w || h != s->h)
        return failed(f->path, "images of several sizes; export them as single"
                               " files");
    at += 50;
    if (!within(f, at, w * h * t.size)) return failed(f->path, SHORT_FILE);
    for (uint64_t y = 0; y < h; y++)
        to_floats(s->px + (i * s->h + (size_t)(h - 1 - y)) * s->w,
                  f->p + at + y * w * t.size, s->w, t, 0);
    if (!i)
        set_pixel(s, atomdl_double(get(f, (size_t)at - 42, 8)),
                  atomdl_double(get(f, (size_t)at - 22, 8)), "m");
    return 0;
}

static int read_ser(io_stack *s, source *f)
{
    enum { IMAGES = 0x4122, SPECTRA = 0x4120 };
    f->big = 0;
    if (f->n < 30) return failed(f->path, SHORT_FILE);
    if (get(f, 6, 4) == SPECTRA)
        return failed(f->path, "holds spectra; AtomDL reads images");
    int wide = get(f, 4, 2) >= 0x220 ? 8 : 4;
    uint64_t n = get(f, 18, 4);
    uint64_t at = get(f, 22, wide);
    if (get(f, 6, 4) != IMAGES || !within(f, at, n * (unsigned)wide))
        return failed(f->path, SHORT_FILE);
    if (!n) return failed(f->path, "holds no pixels");
    for (size_t i = 0; i < n; i++)
        if (ser_element(s, f, get(f, (size_t)at + i * (size_t)wide, wide), i,
                        (size_t)n))
            return 1;
    return 0;
}

/* ---------- Any of them --------------------------------------------------- */

static int read_png(io_stack *s, source *f)
{
    return read_stb(s, f, png_whole);
}

static int read_jpeg(io_stack *s, source *f)
{
    return read_stb(s, f, jpeg_whole);
}

static int read_bmp(io_stack *s, source *f)
{
    return read_stb(s, f, bmp_whole);
}

/* Formats by the bytes that files begin with; '?' stands for any byte. */
static const struct {
    const char *name, *start;
    size_t n;
    int (*read)(io_stack *s, source *f);
} FORMAT[] = {
    {"PNG", "\x89PNG\r\n\x1a\n", 8, read_png},
    {"JPEG", "\xff\xd8\xff", 3, read_jpeg},
    {"BMP", "BM????\0\0\0\0", 10, read_bmp},
    {"TIFF", "II*\0", 4, read_tiff},
    {"TIFF", "MM\0*", 4, read_tiff},
    {"TIFF", "II+\0", 4, read_tiff},
    {"TIFF", "MM\0+", 4, read_tiff},
    {"NPY", "\x93NUMPY", 6, read_npy},
    {"DM3", "\0\0\0\3????\0\0\0?\1", 12, read_dm},
    {"DM4", "\0\0\0\4????????\0\0\0?", 16, read_dm},
    {"SER", "II\x97\1", 4, read_ser},
};

static const struct {
    const char *name, *start;
    size_t n;
} STRANGER[] = {
    {"HDF5", "\x89HDF", 4},  {"ZIP", "PK\3\4", 4},  {"GIF", "GIF8", 4},
    {"PDF", "%PDF", 4},      {"TIA .emi", "JL", 2}, {"gzip", "\x1f\x8b", 2},
};

static int begins(const source *f, const char *start, size_t n)
{
    for (size_t i = 0; i < n && i < f->n; i++)
        if (start[i] != '?' && f->p[i] != (unsigned char)start[i]) return 0;
    return n <= f->n;
}

static int read_any(io_stack *s, source *f)
{
    static const char READS[] =
        "AtomDL reads PNG, JPEG, BMP, PGM, TIFF, DM3, DM4, MRC, SER, NPY";
    if (!f->n) return failed(f->path, "an empty file");
    snprintf(s->format, sizeof s->format, "MRC");
    if (is_mrc(f, 0)) return read_mrc(s, f);
    for (size_t i = 0; i < sizeof FORMAT / sizeof *FORMAT; i++)
        if (begins(f, FORMAT[i].start, FORMAT[i].n)) {
            snprintf(s->format, sizeof s->format, "%s", FORMAT[i].name);
            return FORMAT[i].read(s, f);
        }
    if (f->n > 2 && f->p[0] == 'P' && f->p[1] >= '1' && f->p[1] <= '6'
        && (f->p[2] <= ' ' || f->p[2] == '#')) {
        snprintf(s->format, sizeof s->format, "PNM");
        return read_pnm(s, f);
    }
    if (is_mrc(f, 1)) return read_mrc(s, f);
    for (size_t i = 0; i < sizeof STRANGER / sizeof *STRANGER; i++)
        if (begins(f, STRANGER[i].start, STRANGER[i].n))
            return failed(f->path, "a %s file; %s", STRANGER[i].name, READS);
    return failed(f->path, "no image format that is known here; %s", READS);
}

static int all_finite(const io_stack *s, const char *path)
{
    size_t n = s->frames * s->h * s->w;
    for (size_t i = 0; i < n; i++)
        if ((atomdl_bits(s->px[i]) & 0x7f800000) == 0x7f800000)
            return !failed(path, "pixel x %lu, y %lu of frame %lu is not a"
                                 " finite number; replace it",
                           (unsigned long)(i % s->w),
                           (unsigned long)(i / s->w % s->h),
                           (unsigned long)(i / s->w / s->h));
    return 1;
}

int io_stack_parse(io_stack *s, const unsigned char *data, size_t size,
                   const char *path)
{
    source f = {data, size, 0, path};
    memset(s, 0, sizeof *s);
    if (!read_any(s, &f) && all_finite(s, path)) return 0;
    io_stack_free(s);
    return 1;
}

int io_stack_read(io_stack *s, const char *path)
{
    memset(s, 0, sizeof *s);
    io_bytes b;
    if (io_read(&b, path, IO_FILE)) return 1;
    int bad = io_stack_parse(s, b.data, b.size, path);
    free(b.data);
    return bad;
}

void io_stack_free(io_stack *s)
{
    free(s->px);
    memset(s, 0, sizeof *s);
}

/* ---------- Text ---------------------------------------------------------- */

static void put_bytes(io_text *t, const char *s, size_t n)
{
    size_t room = t->room ? t->room : 256;
    while (!t->failed && room - t->n <= n && room < (size_t)-1 / 2) room *= 2;
    if (!t->failed && room != t->room) {
        char *p = realloc(t->s, room);
        t->failed = !p || room - t->n <= n;
        if (p) t->s = p;
        if (p) t->room = room;
    }
    if (t->failed) return;
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
}

static void put_text(io_text *t, const char *s)
{
    put_bytes(t, s, strlen(s));
}

static void put_whole(io_text *t, uint64_t v, int digits)
{
    char s[24];
    char *p = s + sizeof s;
    do {
        *--p = (char)('0' + v % 10);
        v /= 10;
    } while (v || (s + sizeof s - p < digits && p > s));
    put_bytes(t, p, (size_t)(s + sizeof s - p));
}

/* A natural number of n words, the lowest first; 2^1024 * 10^20 fits. */
typedef struct {
    uint32_t w[40];
    int n;
} natural;

static void times(natural *a, uint32_t by)
{
    uint64_t carry = 0;
    for (int i = 0; i < a->n; i++) {
        carry += (uint64_t)a->w[i] * by;
        a->w[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry) a->w[a->n++] = (uint32_t)carry;
}

static int bit(const natural *a, int i)
{
    return i / 32 < a->n ? a->w[i / 32] >> i % 32 & 1 : 0;
}

/* a / 2^k, to the nearest, ties to even */
static void halve(natural *a, int k)
{
    int up = k > 0 && bit(a, k - 1), rest = bit(a, k), n = a->n;
    natural b = {{0}, 0};
    for (int i = 0; up && !rest && i < k - 1 && i < 32 * n; i++)
        rest = bit(a, i);
    for (int i = k; i < 32 * n; i++)
        b.w[(i - k) / 32] |= (uint32_t)bit(a, i) << (i - k) % 32;
    b.n = n + 1;
    for (int i = 0; up && rest && i < b.n; i++) rest = !++b.w[i];
    *a = b;
}

static uint32_t divide(natural *a, uint32_t by)
{
    uint64_t rest = 0;
    for (int i = a->n; i-- > 0;) {
        rest = rest << 32 | a->w[i];
        a->w[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    while (a->n && !a->w[a->n - 1]) a->n--;
    return (uint32_t)rest;
}

/* x rounded to so many decimals, from its exact value: x * 10^decimals as a
   natural number, its digits, and the point. */
static void put_fixed(io_text *t, double x, int decimals)
{
    uint64_t bits = atomdl_bits64(x), m = bits & 0xfffffffffffff;
    int e = (int)(bits >> 52 & 2047), zero = 1;
    char s[400], *p = s + sizeof s;
    if (e == 2047) {
        put_text(t, m ? "nan" : bits >> 63 ? "-inf" : "inf");
        return;
    }
    if (e) m |= (uint64_t)1 << 52;
    e = (e ? e : 1) - 1075;
    natural a;
    a.w[0] = (uint32_t)m;
    a.w[1] = (uint32_t)(m >> 32);
    a.n = 2;
    for (int i = 0; i < decimals; i++) times(&a, 10);
    for (int i = e; i > 0; i -= 31) times(&a, 1u << (i < 31 ? i : 31));
    if (e < 0) halve(&a, -e);
    for (int i = 0; i <= decimals || a.n; i++) {
        uint32_t digit = divide(&a, 10);
        if (i == decimals && i) *--p = '.';
        *--p = (char)('0' + digit);
        zero &= !digit;
    }
    if (bits >> 63 && !zero) *--p = '-';
    put_bytes(t, p, (size_t)(s + sizeof s - p));
}

static void put_signed(io_text *t, long v, int digits)
{
    if (v < 0) put_text(t, "-");
    put_whole(t, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, digits);
}

static void put_list(io_text *t, const char *f, va_list a)
{
    const char *plain;
    int n;
    while (*f) {
        for (plain = f; *f && *f != '%'; f++) {}
        put_bytes(t, plain, (size_t)(f - plain));
        if (!*f++) return;
        if (*f == '.') f++;
        for (n = -1; *f >= '0' && *f <= '9'; f++)
            n = (n < 0 ? 0 : 10 * n) + *f - '0';
        if (n > 20) n = 20;
        int l = *f == 'l' || *f == 'z' ? *f++ : 0;
        if (*f == 's') put_text(t, va_arg(a, const char *));
        else if (*f == 'f') put_fixed(t, va_arg(a, double), n < 0 ? 6 : n);
        else if (*f == 'd') put_signed(t, l ? va_arg(a, long) : va_arg(a, int),
                                       n);
        else if (*f == 'u')
            put_whole(t, l == 'z' ? va_arg(a, size_t)
                         : l ? va_arg(a, unsigned long)
                         : va_arg(a, unsigned), n);
        else if (*f == 'c') put_bytes(t, (char[]){(char)va_arg(a, int)}, 1);
        else put_bytes(t, f, 1);
        f++;
    }
}

void io_put(io_text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    put_list(t, format, args);
    va_end(args);
}

/* Bytes of the UTF-8 character at s; 0: not one. */
static int utf8(const char *s)
{
    static const unsigned char LEAST[] = {0, 0, 0xc2, 0xe0, 0xf0};
    const unsigned char *u = (const unsigned char *)s;
    int n = *u < 0x80 ? 1 : *u < 0xe0 ? 2 : *u < 0xf0 ? 3 : 4;
    if (n > 1 && (*u < LEAST[n] || *u > 0xf4)) return 0;
    for (int i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80) return 0;
    if ((*u == 0xe0 && u[1] < 0xa0) || (*u == 0xed && u[1] > 0x9f)
        || (*u == 0xf0 && u[1] < 0x90) || (*u == 0xf4 && u[1] > 0x8f))
        return 0;
    return n;
}

void io_put_escaped(io_text *t, const char *s, int how)
{
    static const char *const XML[][2] = {
        {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}};
    int quoted = how == IO_CSV && strpbrk(s, ",\"\r\n") != NULL;
    if (quoted) put_text(t, "\"");
    int n;
    size_t i;
    for (; *s; s += n ? n : 1) {
        n = utf8(s);
        for (i = 0; i < 4 && *XML[i][0] != *s; i++) {}
        if (!n) put_text(t, "\xef\xbf\xbd"); /* U+FFFD */
        else if (how == IO_XML && i < 4) put_text(t, XML[i][1]);
        else if (how == IO_JSON && (*s == '"' || *s == '\\'))
            io_put(t, "\\%c", *s);
        else if (how == IO_JSON && *s > 0 && *s < 32)
            io_put(t, "\\u00%c%c", '0' + *s / 16, "0123456789abcdef"[*s % 16]);
        else if (how == IO_XML && *s > 0 && *s < 32) put_text(t, " ");
        else if (quoted && *s == '"') put_text(t, "\"\"");
        else put_bytes(t, s, (size_t)n);
    }
    if (quoted) put_text(t, "\"");
}

/* A comma where there is something before; keys and objects begin lines. */
static void json_next(io_text *t, const char *key, int object)
{
    char last = t->n ? t->s[t->n - 1] : '[';
    int first = last == '[' || last == '{';
    if (!first) put_text(t, ",");
    if (key || (object && t->depth)) {
        put_text(t, "\n");
        for (int i = 0; i < t->depth; i++) put_text(t, "  ");
    } else if (!first) {
        put_text(t, " ");
    }
    if (!key) return;
    put_text(t, "\"");
    io_put_escaped(t, key, IO_JSON);
    put_text(t, "\": ");
}

void io_json(io_text *t, const char *key, const char *format, ...)
{
    json_next(t, key, 0);
    va_list args;
    va_start(args, format);
    put_list(t, format, args);
    va_end(args);
}

void io_json_string(io_text *t, const char *key, const char *value)
{
    json_next(t, key, 0);
    put_text(t, "\"");
    io_put_escaped(t, value, IO_JSON);
    put_text(t, "\"");
}

void io_json_open(io_text *t, const char *key, char bracket)
{
    json_next(t, key, bracket == '{');
    io_put(t, "%c", bracket);
    t->depth++;
}

void io_json_close(io_text *t, char bracket)
{
    t->depth--;
    io_put(t, "%c%s", bracket, t->depth ? "" : "\n");
}

void io_put_base64(io_text *t, const unsigned char *p, size_t n)
{
    static const char DIGIT[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrs"
                                "tuvwxyz0123456789+/";
    char s[4];
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        if (i + 1 < n) v |= (uint32_t)p[i + 1] << 8;
        if (i + 2 < n) v |= p[i + 2];
        for (size_t k = 0; k < 4; k++)
            s[k] = i + k > n ? '=' : DIGIT[v >> (18 - 6 * k) & 63];
        put_bytes(t, s, 4);
    }
}

void io_put_xyz_head(io_text *t, size_t atoms, double a, double b, double c,
                     const char *columns)
{
    io_put(t, "%zu\nLattice=\"%.4f 0 0 0 %.4f 0 0 0 %.4f\" Properties=species:"
              "S:1:pos:R:3%s pbc=\"F F F\"\n", atoms, a, b, c, columns);
}

int io_text_write(io_text *t, const char *path)
{
    int bad = t->failed ? failed(path, "no memory for the text")
                        : io_write(path, t->s ? t->s : "", t->n);
    io_text_free(t);
    return bad;
}

void io_text_free(io_text *t)
{
    free(t->s);
    memset(t, 0, sizeof *t);
}

/* ---------- Images out ---------------------------------------------------- */

static void big_endian(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

/* Length, name, bytes, checksum; returns what lies behind. */
static unsigned char *png_chunk(unsigned char *to, const char *name,
                                const unsigned char *data, size_t n)
{
    big_endian(to, (uint32_t)n);
    memcpy(to + 4, name, 4);
    if (n) memcpy(to + 8, data, n);
    big_endian(to + 8 + n, crc32_of(to + 4, n + 4));
    return to + n + 12;
}

static int png_holds(size_t w, size_t h, size_t bytes)
{
    return w && h && w <= IO_SIDE && h <= IO_SIDE
           && w * bytes + 1 <= INT_MAX / 4 / h;
}

/* Each row: 1, the mark of the filter, then differences to the left. */
static void filter_left(unsigned char *to, const unsigned char *px, size_t row,
                        size_t h, size_t step)
{
    for (size_t y = 0; y < h; y++, px += row) {
        *to++ = 1;
        for (size_t x = 0; x < row; x++)
            *to++ = (unsigned char)(px[x] - (x < step ? 0 : px[x - step]));
    }
}

/* Compression for noisy pictures, where stb_image_write's search for matches
   costs most and finds little: Huffman codes, one set for each block of CHUNK
   bytes, and runs of RUN equal bytes. */
enum { CHUNK = 1 << 18, SYMBOLS = 286, RUN = 258, LONGEST = 15 };

typedef struct {
    unsigned char *to;
    uint64_t bits;
    int held;
} bit_writer;

static void put_bits(bit_writer *w, unsigned v, int n)
{
    w->bits |= (uint64_t)v << w->held;
    for (w->held += n; w->held >= 8; w->held -= 8, w->bits >>= 8)
        *w->to++ = (unsigned char)w->bits;
}

/* Lengths of a Huffman code; counts are halved until none is too long. Leaves
   are 0...SYMBOLS - 1, inner nodes follow. */
static void code_lengths(unsigned char *length, unsigned *count)
{
    unsigned weight[2 * SYMBOLS];
    int up[2 * SYMBOLS], i, a, b, most;
    for (;;) {
        memcpy(weight, count, SYMBOLS * sizeof *weight);
        memset(up, 0, sizeof up);
        for (int n = SYMBOLS; n < 2 * SYMBOLS; n++) {
            for (a = b = -1, i = 0; i < n; i++) {
                if (!weight[i]) continue;
                if (a < 0 || weight[i] < weight[a]) b = a, a = i;
                else if (b < 0 || weight[i] < weight[b]) b = i;
            }
            if (b < 0) break;
            weight[n] = weight[a] + weight[b];
            weight[a] = weight[b] = 0;
            up[a] = up[b] = n;
        }
        for (most = 0, i = 0; i < SYMBOLS; i++) {
            length[i] = 0;
            for (a = i; up[a]; a = up[a]) length[i]++;
            most = length[i] > most ? length[i] : most;
        }
        if (most <= LONGEST) return;
        for (i = 0; i < SYMBOLS; i++) count[i] = (count[i] + 1) / 2;
    }
}

/* The codes, their first bit lowest. */
static void code_words(unsigned *word, const unsigned char *length)
{
    unsigned next = 0, v;
    int k;
    for (int n = 1; n <= LONGEST; n++, next <<= 1)
        for (int i = 0; i < SYMBOLS; i++) {
            if (length[i] != n) continue;
            for (word[i] = 0, v = next++, k = 0; k < n; k++, v >>= 1)
                word[i] = word[i] << 1 | (v & 1);
        }
}

static int run_at(const unsigned char *p, size_t i, size_t n)
{
    return i && n - i >= RUN && p[i] == p[i - 1]
           && !memcmp(p + i, p + i - 1, RUN);
}

static void put_block(bit_writer *w, const unsigned char *p, size_t n,
                      int last)
{
    unsigned count[SYMBOLS] = {0}, word[SYMBOLS] = {0};
    count[256] = count[SYMBOLS - 1] = 1;
    for (size_t i = 0; i < n; i++)
        if (run_at(p, i, n)) count[SYMBOLS - 1]++, i += RUN - 1;
        else count[p[i]]++;
    unsigned char length[SYMBOLS];
    code_lengths(length, count);
    code_words(word, length);
    put_bits(w, (unsigned)last | 4, 3);
    put_bits(w, SYMBOLS - 257, 5);
    put_bits(w, 0, 5);
    put_bits(w, 15, 4);
    for (int k = 0; k < 19; k++) put_bits(w, k < 3 ? 0 : 4, 3);
    for (int k = 0; k <= SYMBOLS; k++) { /* the last: the one distance */
        int v = k < SYMBOLS ? length[k] : 1;
        put_bits(w, (unsigned)((v & 1) << 3 | (v & 2) << 1 | (v & 4) >> 1
                               | v >> 3), 4);
    }
    for (size_t i = 0; i < n; i++) {
        int run = run_at(p, i, n);
        int v = run ? SYMBOLS - 1 : p[i];
        put_bits(w, word[v], length[v] + run);
        if (run) i += RUN - 1;
    }
    put_bits(w, word[256], length[256]);
}

/* The zlib stream of n bytes into `to`, which has room for n + n/8 + 512;
   returns its length. */
static size_t compress(unsigned char *to, const unsigned char *p, size_t n)
{
    bit_writer w = {to, 0, 0};
    uint32_t a = 1, b = 0;
    put_bits(&w, 0x0178, 16);
    size_t part;
    for (size_t i = 0; i < n; i += part) {
        part = n - i < CHUNK ? n - i : CHUNK;
        put_block(&w, p + i, part, i + part == n);
    }
    if (w.held) put_bits(&w, 0, 8 - w.held);
    for (size_t i = 0; i < n; i++) {
        a = (a + p[i]) % 65521;
        b = (b + a) % 65521;
    }
    big_endian(w.to, b << 16 | a);
    return (size_t)(w.to + 4 - to);
}

int io_png(io_bytes *png, const void *px, size_t w, size_t h, int channels,
           int bits)
{
    static const unsigned char START[] = "\x89PNG\r\n\x1a\n";
    size_t step = (size_t)(channels * bits / 8), row = w * step;
    unsigned char head[13] = {0};
    png->data = NULL;
    png->size = 0;
    if (!png_holds(w, h, step))
        return failed("PNG", "cannot hold %lu x %lu pixels", (unsigned long)w,
                      (unsigned long)h);
    size_t all = (row + 1) * h;
    unsigned char *spare = malloc(all);
    unsigned char *packed = malloc(all + all / 8 + 512);
    png->data = malloc(all + all / 8 + 600);
    if (spare && packed && png->data) {
        filter_left(spare, px, row, h, step);
        size_t n = compress(packed, spare, all);
        memcpy(png->data, START, 8);
        big_endian(head, (uint32_t)w);
        big_endian(head + 4, (uint32_t)h);
        head[8] = (unsigned char)bits;
        head[9] = channels == 3 ? 2 : 0;
        unsigned char *p = png_chunk(png->data + 8, "IHDR", head, 13);
        p = png_chunk(p, "IDAT", packed, n);
        png->size = (size_t)(png_chunk(p, "IEND", NULL, 0) - png->data);
    } else {
        free(png->data);
        png->data = NULL;
    }
    free(spare);
    free(packed);
    return png->data ? 0 : failed("PNG", "no memory");
}

static unsigned rounded(float x, unsigned top)
{
    return x >= (float)top ? top : x > 0 ? (unsigned)((double)x + 0.5) : 0;
}

int io_png_write(const char *path, const void *px, size_t w, size_t h,
                 int channels)
{
    io_bytes png;
    int bad = io_png(&png, px, w, h, channels, 8);
    if (bad) return failed(path, "no memory for a PNG, or too large for one");
    bad = io_write(path, png.data, png.size);
    free(png.data);
    return bad;
}

/* The values that 8 or 16 bits hold, the lower byte first or last. */
static void integers(unsigned char *to, const float *px, size_t n, int bits,
                     int big)
{
    for (; n; n--, px++) {
        unsigned v = rounded(*px, (1u << bits) - 1);
        if (bits == 16 && big) *to++ = (unsigned char)(v >> 8);
        *to++ = (unsigned char)v;
        if (bits == 16 && !big) *to++ = (unsigned char)(v >> 8);
    }
}

int io_grey_png_write(const char *path, const float *px, size_t w, size_t h,
                      int bits)
{
    unsigned char *v = png_holds(w, h, (size_t)bits / 8)
                           ? malloc(w * h * (size_t)bits / 8) : NULL;
    io_bytes png = {NULL, 0};
    int bad = !v;
    if (v) {
        integers(v, px, w * h, bits, 1);
        bad = io_png(&png, v, w, h, 1, bits);
    }
    bad = bad ? failed(path, "no memory for a PNG, or too large for one")
              : io_write(path, png.data, png.size);
    free(png.data);
    free(v);
    return bad;
}

/* 10 Å by the pixel size as a fraction: 10^k over 10^(k - 1) pixel sizes */
static void tiff_resolution(unsigned char *to, double pixel)
{
    double over = 1e9;
    while (over > 1 && pixel * (over / 10) >= 4e9) over /= 10;
    atomdl_store32(to, (uint32_t)over);
    atomdl_store32(to + 4, (uint32_t)(pixel * (over / 10) + 0.5));
}

enum { TIFF_TAGS = 15, TIFF_TABLE = 2 + 12 * TIFF_TAGS + 4, TIFF_TEXT = 96 };

/* One page's table at byte `at`, its pixels behind it. */
static void tiff_table(unsigned char *file, size_t at, size_t w, size_t h,
                       int bits, int pixels, size_t next)
{
    const unsigned data = (unsigned)(w * h * (unsigned)bits / 8);
    const unsigned text = (unsigned)strlen((char *)file + 24) + 1;
    const struct {
        unsigned tag, type, count, v;
    } ROW[TIFF_TAGS] = {
        {T_SUBFILE, 4, 1, 0}, {T_WIDTH, 4, 1, (unsigned)w},
        {T_HEIGHT, 4, 1, (unsigned)h}, {T_BITS, 3, 1, (unsigned)bits},
        {T_COMPRESSION, 3, 1, 1}, {T_PHOTOMETRIC, 3, 1, 1},
        {T_TEXT, 2, text, 24}, {T_STRIPS, 4, 1, (unsigned)at + TIFF_TABLE},
        {T_SAMPLES, 3, 1, 1}, {T_ROWS, 4, 1, (unsigned)h},
        {T_STRIP_BYTES, 4, 1, data}, {T_XRES, 5, 1, 8}, {T_YRES, 5, 1, 16},
        {T_RES_UNIT, 3, 1, 1}, {T_FORMAT, 3, 1, bits == 32 ? 3 : 1}};
    unsigned char *p = file + at + 2;
    int n = 0;
    for (int i = 0; i < TIFF_TAGS; i++) {
        if (!pixels && (ROW[i].tag == T_XRES || ROW[i].tag == T_YRES)) continue;
        atomdl_store16(p, (uint16_t)ROW[i].tag);
        atomdl_store16(p + 2, (uint16_t)ROW[i].type);
        atomdl_store32(p + 4, ROW[i].count);
        atomdl_store32(p + 8, ROW[i].v);
        p += 12;
        n++;
    }
    atomdl_store16(file + at, (uint16_t)n);
    atomdl_store32(p, (uint32_t)next);
}

int io_tiff_write(const char *path, const float *px, size_t frames, size_t h,
                  size_t w, int bits, double pixel_x, double pixel_y)
{
    size_t n = h * w, at = 24 + TIFF_TEXT;
    int known = pixel_x > 0 && pixel_y > 0 && pixel_x < 4e9 && pixel_y < 4e9;
    if (!frames || !n || w > IO_SIDE || h > IO_SIDE
        || frames > (IO_PIXELS - (1 << 20)) / (n + 256))
        return failed(path, "a TIFF cannot hold that many pixels");
    size_t data = (n * (size_t)bits / 8 + 1) & ~(size_t)1;
    size_t page = TIFF_TABLE + data;
    unsigned char *file = calloc(at + frames * page, 1);
    if (!file) return failed(path, "no memory for a TIFF");
    memcpy(file, "II*\0", 4);
    atomdl_store32(file + 4, (uint32_t)at);
    if (known) {
        tiff_resolution(file + 8, pixel_x);
        tiff_resolution(file + 16, pixel_y);
    }
    snprintf((char *)file + 24, TIFF_TEXT,
             "ImageJ=1.53\nimages=%lu\nslices=%lu\n%sloop=false\n",
             (unsigned long)frames, (unsigned long)frames,
             known ? "unit=nm\n" : "");
    for (size_t i = 0; i < frames; i++, at += page, px += n) {
        tiff_table(file, at, w, h, bits, known, i + 1 < frames ? at + page : 0);
        if (bits < 32) integers(file + at + TIFF_TABLE, px, n, bits, 0);
        for (size_t k = 0; bits == 32 && k < n; k++)
            atomdl_storef(file + at + TIFF_TABLE + 4 * k, px[k]);
    }
    int bad = io_write(path, file, at);
    free(file);
    return bad;
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
        return failed(path, "no memory for an array");
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

/* ---------- Drawing -------------------------------------------------------

   In whole numbers of 1/256 pixel, so that pictures are the same bytes
   everywhere. */

int io_canvas_new(io_canvas *c, size_t w, size_t h)
{
    memset(c, 0, sizeof *c);
    if (!w || !h || w > IO_SIDE || h > IO_SIDE || w > INT_MAX / 4 / h)
        return failed("picture", "cannot hold %lu x %lu pixels",
                      (unsigned long)w, (unsigned long)h);
    c->rgb = calloc(w * h, 3);
    if (!c->rgb) return failed("picture", "no memory");
    c->w = (int)w;
    c->h = (int)h;
    return 0;
}

void io_canvas_free(io_canvas *c)
{
    free(c->rgb);
    memset(c, 0, sizeof *c);
}

static unsigned char level(float x, float low, float high)
{
    if (!(x > low)) return 0;
    if (x >= high) return 255;
    return (unsigned char)((double)(x - low) / (double)(high - low) * 255
                           + 0.5);
}

/* The pixels between which u / (2 zoom) lies, *k of 2 zoom parts the second */
static size_t between(int at, int zoom, size_t n, size_t *second, int *k)
{
    int u = 2 * at + 1 - zoom;
    if (u < 0) u = 0;
    size_t first = (size_t)(u / (2 * zoom));
    if (first >= n) first = n - 1;
    *k = u % (2 * zoom);
    *second = first + 1 < n ? first + 1 : first;
    return first;
}

void io_draw_image(io_canvas *c, const float *px, size_t h, size_t w, int zoom,
                   double low, double high)
{
    float a = atomdl_percentile(px, h * w, low);
    float b = atomdl_percentile(px, h * w, high);
    int i, j, full = 2 * zoom;
    size_t x1, y1;
    for (int y = 0; y < c->h && (size_t)y < h * (size_t)zoom; y++) {
        size_t y0 = between(y, zoom, h, &y1, &j);
        for (int x = 0; x < c->w && (size_t)x < w * (size_t)zoom; x++) {
            size_t x0 = between(x, zoom, w, &x1, &i);
            int v = (level(px[y0 * w + x0], a, b) * (full - i)
                     + level(px[y0 * w + x1], a, b) * i)
                        * (full - j)
                    + (level(px[y1 * w + x0], a, b) * (full - i)
                       + level(px[y1 * w + x1], a, b) * i)
                          * j;
            unsigned char *to =
                c->rgb + 3 * ((size_t)y * (size_t)c->w + (size_t)x);
            memset(to, (v + full * full / 2) / (full * full), 3);
        }
    }
}

static int64_t fixed(double x)
{
    x = x < -1e6 ? -1e6 : x < 1e6 ? x : 1e6;
    return (int64_t)(x * 256 + 268435456.5) - 268435456;
}

static int64_t root(int64_t v)
{
    return (int64_t)atomdl_sqrt((double)v);
}

/* cover: 0 to 256 parts */
static void blend(io_canvas *c, int64_t x, int64_t y, io_pen pen, int cover)
{
    const int v[3] = {pen.colour >> 16 & 255, pen.colour >> 8 & 255,
                      pen.colour & 255};
    if (x < 0 || y < 0 || x >= c->w || y >= c->h) return;
    unsigned char *to = c->rgb + 3 * ((size_t)y * (size_t)c->w + (size_t)x);
    cover = cover * pen.opacity / 255;
    for (int k = 0; k < 3; k++)
        to[k] = (unsigned char)((to[k] * (256 - cover) + v[k] * cover + 128)
                                >> 8);
}

/* Distance from (x, y) to the segment from 0 to (dx, dy). */
static int64_t distance(int64_t x, int64_t y, int64_t dx, int64_t dy)
{
    int64_t dot = x * dx + y * dy, all = dx * dx + dy * dy;
    if (dot <= 0) return root(x * x + y * y);
    if (dot >= all) return root((x - dx) * (x - dx) + (y - dy) * (y - dy));
    int64_t cross = x * dy - y * dx;
    return (cross < 0 ? -cross : cross) / (root(all) ? root(all) : 1);
}

/* Covers what is within `half` of the curve at distance `radius` from a
   segment: discs, rings, lines. */
static void draw(io_canvas *c, double x0, double y0, double x1, double y1,
                 double radius, double half, io_pen pen)
{
    int64_t ax = fixed(x0), ay = fixed(y0), bx = fixed(x1), by = fixed(y1);
    int64_t r = fixed(radius), t = fixed(half), reach = r + t + 256;
    int64_t left = ((ax < bx ? ax : bx) - reach) / 256;
    int64_t right = ((ax > bx ? ax : bx) + reach) / 256;
    int64_t top = ((ay < by ? ay : by) - reach) / 256;
    int64_t bottom = ((ay > by ? ay : by) + reach) / 256;
    if (left < 0) left = 0;
    if (top < 0) top = 0;
    if (right >= c->w) right = c->w - 1;
    if (bottom >= c->h) bottom = c->h - 1;
    for (int64_t y = top; y <= bottom; y++)
        for (int64_t x = left; x <= right; x++) {
            int64_t d =
                distance(256 * x - ax, 256 * y - ay, bx - ax, by - ay) - r;
            d = t + 128 - (d < 0 ? -d : d);
            if (d > 0) blend(c, x, y, pen, d < 256 ? (int)d : 256);
        }
}

void io_draw_line(io_canvas *c, double x0, double y0, double x1, double y1,
                  double width, io_pen pen)
{
    draw(c, x0, y0, x1, y1, 0, width / 2, pen);
}

void io_draw_disc(io_canvas *c, double x, double y, double radius, io_pen pen)
{
    draw(c, x, y, x, y, 0, radius, pen);
}

void io_draw_circle(io_canvas *c, double x, double y, double radius,
                    double width, io_pen pen)
{
    draw(c, x, y, x, y, radius, width / 2, pen);
}

/* Letters of 5 x 7 from ' ' to '~', then Å µ ° ±: a character a row, '0' and
   its five bits. */
static const char FONT[] =
    "00000004444404:::0000::O:O::4?D>5N4HI248C3<BD8EB=448000024888428422248"
    "04E>E40044O4400000648000O000000006611248@@>ACEIA>4<4444>>A1248OO2421A>"
    "26:BO22O@N11A>68@NAA>O124888>AA>AA>>AA?12<06606600660648248@84200O0O00"
    "8421248>A12404>A1=EE>>AAOAAANAANAAN>A@@@A>LBAAABLO@@N@@OO@@N@@@>A@GAA?"
    "AAAOAAA>44444>72222B<ABDHDBA@@@@@@OAKEEAAAAAIECAA>AAAAA>NAAN@@@>AAAEB="
    "NAANDBA?@@>11NO444444AAAAAA>AAAAA:4AAAEEE:AA:4:AAAAA:444O1248@O>88888>"
    "@@84211>22222>4:A0000000000O842000000>1?A?@@FIAAN00>@@A>11=CAA?00>AO@>"
    "698L8880?AA?1>@@FIAAA40<444>20622B<@@BDHDB<44444>00JEEAA00FIAAA00>AAA>"
    "00NAN@@00=C?1100FI@@@00>@>1N88L889600AAAC=00AAA:400AAEE:00A:4:A00AA?1>"
    "00O248O244844244444448442448008E20040>AOAA00BBBM@699600044O440O";

/* Index in FONT of the character at *s, which is passed over. */
static size_t letter(const char **s)
{
    static const char *const BEYOND[] = {"\xc3\x85", "\xc2\xb5", "\xc2\xb0",
                                         "\xc2\xb1"};
    int n = utf8(*s);
    size_t i;
    for (i = 0; i < 4; i++)
        if (n == 2 && !memcmp(*s, BEYOND[i], 2)) break;
    i = i < 4 ? 95 + i : n == 1 && **s >= ' ' && **s <= '~'
        ? (size_t)(**s - ' ') : '?' - ' ';
    *s += n ? n : 1;
    return i;
}

int io_text_width(const char *text, int scale)
{
    int n = 0;
    while (*text) {
        letter(&text);
        n += 6;
    }
    return n ? (n - 1) * scale : 0;
}

void io_draw_text(io_canvas *c, int x, int y, int scale, const char *text,
                  io_pen pen)
{
    for (; *text; x += 6 * scale) {
        const char *rows = FONT + 7 * letter(&text);
        for (int j = 0; j < 7 * scale; j++)
            for (int i = 0; i < 5 * scale; i++) {
                int row = rows[j / scale] - '0';
                int column = 4 - i / scale;
                if (row >> column & 1)
                    blend(c, x + i, y + j, pen, 256);
            }
    }
}

void io_draw_label(io_canvas *c, int x, int y, int scale, const char *text,
                   io_pen pen)
{
    const io_pen black = {0, pen.opacity};
    int right = c->w - io_text_width(text, scale) - 4;
    x = x < right ? x : right;
    y = y > 4 ? y : 4;
    for (int i = 0; i < 9; i++)
        io_draw_text(c, x + i % 3 - 1, y + i / 3 - 1, scale, text, black);
    io_draw_text(c, x, y, scale, text, pen);
}

static void fill(io_canvas *c, int x, int y, int w, int h, io_pen pen)
{
    for (int i = 0; i < w * h; i++) blend(c, x + i % w, y + i / w, pen, 256);
}

void io_draw_scale_bar(io_canvas *c, double pixel)
{
    const io_pen black = {0, 255}, white = {0xffffff, 255};
    double room = pixel * c->w / 4, length = 1e-3;
    int s = 1 + c->w / 512, y = c->h - 11 * s;
    if (!(room >= length && room < 1e12)) return;
    double next;
    for (int i = 1; (next = length * (i % 3 == 2 ? 2.5 : 2)) <= room; i++)
        length = next;
    int wide = (int)(length / pixel + 0.5);
    char text[32];
    if (length > 9) snprintf(text, sizeof text, "%.0f nm", length / 10);
    else snprintf(text, sizeof text, "%.*f \xc3\x85", length > 0.9 ? 0
                  : length > 0.09 ? 1 : length > 0.009 ? 2 : 3, length);
    fill(c, 8 * s - 1, y - 1, wide + 2, 3 * s + 2, black);
    fill(c, 8 * s, y, wide, 3 * s, white);
    io_draw_label(c, 8 * s, y - 10 * s, s, text, white);
}
