/* SPDX-License-Identifier: MIT
   TIFF, read and written. */
#include "format.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    size_t n = (size_t)uint_at(f, ifd, 2), e = ifd + 2;
    for (; n; n--, e += 12)
        if (uint_at(f, e, 2) == tag) return e;
    return 0;
}

/* Where item i of an entry lies and its type; 0: nowhere */
static size_t tiff_item(const source *f, size_t e, size_t i, int *size,
                        unsigned *type)
{
    static const unsigned char SIZE[] = {0, 1, 1, 2, 4, 8, 1, 1,
                                         2, 4, 8, 4, 8, 4};
    uint64_t at = e + 8;
    *type = e ? (unsigned)uint_at(f, e + 2, 2) : 0;
    if (!*type || *type >= sizeof SIZE) return 0;
    *size = SIZE[*type];
    uint64_t count = uint_at(f, e + 4, 4);
    if (i >= count) return 0;
    if (count * (unsigned)*size > 4) at = uint_at(f, e + 8, 4);
    at += (uint64_t)i * (unsigned)*size;
    return has_bytes(f, at, (unsigned)*size) ? (size_t)at : 0;
}

static uint64_t tiff_get(const source *f, size_t ifd, unsigned tag,
                         uint64_t otherwise)
{
    unsigned type;
    int size;
    size_t at = tiff_item(f, tiff_find(f, ifd, tag), 0, &size, &type);
    return at ? uint_at(f, at, size) : otherwise;
}

/* a float64, or the inverse of a rational: a pixel's size from the pixels to a
   length; 0: absent */
static double tiff_real(const source *f, size_t ifd, unsigned tag)
{
    unsigned type;
    int size;
    size_t at = tiff_item(f, tiff_find(f, ifd, tag), 0, &size, &type);
    if (!at || (type != 5 && type != 12)) return 0;
    if (type == 12) return atomdl_double(uint_at(f, at, 8));
    double over = (double)uint_at(f, at, 4);
    return over > 0 ? (double)uint_at(f, at + 4, 4) / over : 0;
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
            uint64_t v = uint_of(row + i, (int)size, big)
                         + uint_of(row + i - step * size, (int)size, big);
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
    uint64_t from = uint_at(f, at, size);
    at = tiff_item(f, p->counts, i, &size, &type);
    uint64_t count = at ? uint_at(f, at, size) : need;
    if ((!at && p->compression > 1) || !has_bytes(f, from, count)) return 0;
    f = &(source){f->p + from, (size_t)count, f->big, f->path};
    if (p->compression == 1) {
        n = f->n < p->bytes ? f->n : p->bytes;
        memcpy(raw, f->p, n);
    } else if (p->compression == 5) {
        n = lzw(f->p, f->n, raw, p->bytes);
    } else if (p->compression == 32773) {
        n = packbits(f->p, f->n, raw, p->bytes);
    } else {
        int got = stb_inflate(raw, p->bytes, f);
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
        floats_of(x, raw + y * p->row, p->chunk_w * samples, p->type,
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
    if (bad) io_failed(f->path, "no memory to decode it");
    for (size_t i = 0; i < chunks * planes && !bad; i++) {
        unsigned plane = (unsigned)(i / chunks);
        size_t rows = p->h - i % chunks / p->across * p->chunk_h;
        if (rows > p->chunk_h) rows = p->chunk_h;
        bad = !tiff_chunk(p, f, i, rows * p->row, raw);
        if (bad) io_failed(f->path, SHORT_FILE);
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
    if (why) return io_failed(f->path, "%s", why);
    if (!stack_fits(f, 1, h, w)) return 1;
    p->type.kind = format == 2 ? 'i' : format == 3 ? 'f' : 'u';
    p->type.size = (unsigned char)(bits / 8);
    uint64_t ch = tiff_get(f, ifd, T_ROWS, h);
    if (ch > h) ch = h;
    if (tiled) {
        cw = tiff_get(f, ifd, T_TILE_W, 0);
        ch = tiff_get(f, ifd, T_TILE_H, 0);
    }
    if (!stack_fits(f, 1, ch, cw) || !stack_fits(f, p->samples, ch, cw)) return 1;
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
        return io_failed(f->path, "strips or tiles of more than 2 GiB");
    return 0;
}

/* The next page that is not a reduced copy, from the offset stored at `link`;
   0: the last was read. *bad: the chain is broken. */
static size_t tiff_next(const source *f, size_t *link, size_t *left, int *bad)
{
    for (;;) {
        uint64_t ifd = uint_at(f, *link, 4);
        if (!ifd) return 0;
        *bad = !(*left)-- || !has_bytes(f, ifd, 2);
        if (*bad) return 0;
        uint64_t n = uint_at(f, (size_t)ifd, 2);
        *bad = !has_bytes(f, ifd, 12 * n + 6);
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
        stack_pixel(s, tiff_real(f, ifd, T_DM_X), tiff_real(f, ifd, T_DM_X + 1),
                  name);
    } else if (x > 0 && y > 0 && !strncmp(text, "ImageJ=", 7)) {
        snprintf(name, sizeof name, "%.*s", p ? (int)strcspn(p + 5, "\r\n") : 0,
                 p ? p + 5 : "");
        stack_pixel(s, x, y, name);
    } else if (x > 0 && y > 0 && unit > 1) {
        stack_pixel(s, unit == 2 ? 2.54 * x : x, unit == 2 ? 2.54 * y : y, "cm");
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
    return p && take_digits(&c, &n) && n ? n : 1;
}

static void white_is_zero(io_stack *s, value_type t)
{
    float top = t.kind != 'u' ? 0 : float_of((uint64_t)-1 >> (64 - 8 * t.size),
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
            io_failed(f->path, "pages of several sizes or kinds; save each kind"
                            " as a file of its own");
            return 0;
        }
    }
    if (bad || !pages) io_failed(f->path, SHORT_FILE);
    return bad ? 0 : pages;
}

int read_tiff(io_stack *s, source *f)
{
    size_t link = 4, left = f->n / 18;
    int bad = 0;
    f->big = f->p[0] == 'M';
    if (uint_at(f, 2, 2) == 43)
        return io_failed(f->path, "a BigTIFF; save it as a TIFF of under 4 GiB");
    if (f->n < 8) return io_failed(f->path, SHORT_FILE);
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
        if (!at) return io_failed(f->path, SHORT_FILE);
        bad = stack_plain(s, f, uint_at(f, at, size), i, p.h, p.w, p.type);
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
        return io_failed(path, "a TIFF cannot hold that many pixels");
    size_t data = (n * (size_t)bits / 8 + 1) & ~(size_t)1;
    size_t page = TIFF_TABLE + data;
    unsigned char *file = calloc(at + frames * page, 1);
    if (!file) return io_failed(path, "no memory for a TIFF");
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
        if (bits < 32) store_levels(file + at + TIFF_TABLE, px, n, bits, 0);
        for (size_t k = 0; bits == 32 && k < n; k++)
            atomdl_storef(file + at + TIFF_TABLE + 4 * k, px[k]);
    }
    int bad = io_write(path, file, at);
    free(file);
    return bad;
}
