/* SPDX-License-Identifier: MIT
   TIFF: a chain of pages (IFD), each a table of tagged values; pixels in
   strips or tiles. Integers of 8 to 64 bits, float16 to float64; uncompressed,
   LZW, deflate, PackBits; predictors 2 and 3; chunky or planar. WhiteIsZero is
   inverted, colours become grey, a palette is left aside: its indices are the
   data. Reduced copies (thumbnails) are skipped. */
#include "format.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    T_SUBFILE = 254, T_WIDTH = 256, T_HEIGHT, T_BITS, T_COMPRESSION,
    T_PHOTOMETRIC = 262, T_FILL = 266, T_TEXT = 270, T_STRIPS = 273,
    T_SAMPLES = 277, T_ROWS, T_STRIP_BYTES, T_XRES = 282, T_YRES, T_PLANAR,
    T_RES_UNIT = 296, T_PREDICTOR = 317, T_TILE_W = 322, T_TILE_H, T_TILES,
    T_TILE_BYTES, T_FORMAT = 339, T_DM_UNIT = 65003, T_DM_X = 65009
};

typedef struct {
    unsigned type;
    int size;           /* bytes of an item */
    uint64_t count, at; /* of items; where they lie */
} tiff_entry;

typedef struct {
    uint64_t ifd;
    size_t w, h, chunk_w, chunk_h, across, down; /* chunks */
    size_t row, bytes; /* of a chunk */
    size_t step, used; /* samples side by side; how many of them count */
    uint64_t samples, planar, compression, photometric, predictor;
    value_type type;
    tiff_entry offsets, counts; /* of chunks */
} tiff_page;

/* The entry of a tag in the page at ifd; without items: not there. */
static tiff_entry tiff_find(const source *f, uint64_t ifd, unsigned tag)
{
    static const char SIZE[] = "01124811248484";
    tiff_entry e = {0, 0, 0, 0};
    uint64_t n = uint_at(f, ifd, 2), at = ifd + 2;
    for (; n && uint_at(f, at, 2) != tag; n--) at += 12;
    unsigned type = (unsigned)uint_at(f, at + 2, 2);
    if (!n || !type || type > 13) return e;
    e.type = type;
    e.size = SIZE[type] - '0';
    e.count = uint_at(f, at + 4, 4);
    e.at = e.count * (unsigned)e.size > 4 ? uint_at(f, at + 8, 4) : at + 8;
    return e;
}

static uint64_t tiff_item(const source *f, const tiff_entry *e, size_t i,
                          uint64_t otherwise)
{
    uint64_t at = e->at + i * (unsigned)e->size;
    return i < e->count && has_bytes(f, at, (unsigned)e->size)
               ? uint_at(f, at, e->size) : otherwise;
}

static uint64_t tiff_get(const source *f, uint64_t ifd, unsigned tag,
                         uint64_t otherwise)
{
    tiff_entry e = tiff_find(f, ifd, tag);
    return tiff_item(f, &e, 0, otherwise);
}

/* a float64, or the inverse of a rational: a pixel's size from the pixels to a
   length; 0: absent, or 2^32 - 1 to it, where writers put all that is beyond
   their numbers (findings/tiff-resolution-saturates.sh) */
static double tiff_real(const source *f, uint64_t ifd, unsigned tag)
{
    tiff_entry e = tiff_find(f, ifd, tag);
    if (e.count && e.type == 12) return atomdl_double(uint_at(f, e.at, 8));
    if (!e.count || e.type != 5) return 0;
    double over = (double)uint_at(f, e.at, 4);
    double under = (double)uint_at(f, e.at + 4, 4);
    return over > 0 && over < under * 4294967295 ? under / over : 0;
}

/* The text of a tag, cut to fit. */
static void tiff_text(const source *f, uint64_t ifd, unsigned tag, char *text,
                      size_t room)
{
    tiff_entry e = tiff_find(f, ifd, tag);
    size_t i;
    for (i = 0; i + 1 < room && e.size == 1; i++) {
        text[i] = (char)tiff_item(f, &e, i, 0);
        if (!text[i]) break;
    }
    text[i] = 0;
}

/* Codes of 9 to 12 bits, most significant first, each a byte or a string that
   stands in what came out already; returns how many bytes came out. */
static size_t lzw(const unsigned char *in, size_t n, unsigned char *out,
                  size_t room)
{
    enum { CLEAR = 256, END = 257, CODES = 4096 };
    uint32_t from[CODES], length[CODES], buffer = 0;
    unsigned next = END + 1, bits = 9, held = 0;
    size_t done = 0, last = 0; /* length of the last string; 0: none yet */
    for (;;) {
        for (; held < bits && n; held += 8, n--)
            buffer = buffer << 8 | *in++;
        if (held < bits) return done;
        held -= bits;
        unsigned code = buffer >> held & ((1u << bits) - 1);
        if (code == END) return done;
        if (code == CLEAR) {
            next = END + 1;
            bits = 9;
            last = 0;
            continue;
        }
        if (last ? code > next || next == CODES : code > 255)
            return done; /* damaged */
        if (last) { /* the new string: the last one and a first byte */
            from[next] = (uint32_t)(done - last);
            length[next++] = (uint32_t)last + 1;
        }
        last = code < CLEAR ? 1 : length[code];
        for (size_t i = 0; i < last; i++, done++) {
            if (done == room) return room;
            out[done] = code < CLEAR ? (unsigned char)code
                                     : out[from[code] + i];
        }
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
    size_t step = p->step, n = p->row, size = p->type.size;
    if (p->predictor == 2)
        for (size_t i = step * size; i < n; i += size)
            store_uint(row + i, uint_of(row + i, (int)size, big)
                       + uint_of(row + i - step * size, (int)size, big),
                       (int)size, big);
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
    uint64_t none = (uint64_t)-1, from = tiff_item(f, &p->offsets, i, none);
    uint64_t count = tiff_item(f, &p->counts, i,
                               p->compression > 1 ? none : need);
    if (!has_bytes(f, from, count)) return 0;
    source part = {f->p + from, (size_t)count, f->big, f->path};
    size_t n = part.n < p->bytes ? part.n : p->bytes;
    if (p->compression == 1) memcpy(raw, part.p, n);
    else if (p->compression == 5) n = lzw(part.p, part.n, raw, p->bytes);
    else if (p->compression == 32773)
        n = packbits(part.p, part.n, raw, p->bytes);
    else n = (size_t)most_int(0, stb_inflate(raw, p->bytes, &part));
    return n >= need;
}

/* Adds a decoded chunk, plane `plane` of the planar layout, to the frame. */
static void tiff_place(const tiff_page *p, float *frame, unsigned char *raw,
                       float *x, size_t chunk, unsigned plane, int big)
{
    static const float RGB[3] = {77.0f / 256, 150.0f / 256, 29.0f / 256};
    size_t top = chunk / p->across * p->chunk_h;
    size_t left = chunk % p->across * p->chunk_w;
    for (size_t y = 0; y < p->chunk_h && top + y < p->h; y++) {
        unpredict(p, raw + y * p->row, big, raw + p->bytes);
        floats_of(x, raw + y * p->row, p->chunk_w * p->step, p->type,
                  big || p->predictor == 3);
        float *to = frame + (top + y) * p->w + left;
        for (size_t i = 0; i < p->chunk_w && left + i < p->w; i++)
            for (size_t k = 0; k < p->used; k++) {
                float v = x[i * p->step + k];
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

/* NULL, or why such pixels are not read. */
static const char *tiff_refusal(const tiff_page *p, uint64_t bits,
                                uint64_t format, uint64_t fill)
{
    uint64_t c = p->compression;
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
static int tiff_page_read(tiff_page *p, const source *f, uint64_t ifd)
{
    uint64_t bits = tiff_get(f, ifd, T_BITS, 1);
    uint64_t format = tiff_get(f, ifd, T_FORMAT, 1);
    uint64_t w = tiff_get(f, ifd, T_WIDTH, 0);
    uint64_t h = tiff_get(f, ifd, T_HEIGHT, 0);
    p->ifd = ifd;
    p->compression = tiff_get(f, ifd, T_COMPRESSION, 1);
    p->photometric = tiff_get(f, ifd, T_PHOTOMETRIC, 1);
    p->samples = tiff_get(f, ifd, T_SAMPLES, 1);
    p->planar = tiff_get(f, ifd, T_PLANAR, 1);
    p->predictor = p->compression == 1 || p->compression == 32773
                       ? 1 : tiff_get(f, ifd, T_PREDICTOR, 1);
    const char *why = tiff_refusal(p, bits, format,
                                   tiff_get(f, ifd, T_FILL, 1));
    if (why) return io_failed(f->path, "%s", why);
    if (!stack_fits(f, 1, h, w)) return 1;
    p->type.kind = format == 2 ? 'i' : format == 3 ? 'f' : 'u';
    p->type.size = (unsigned char)(bits / 8);
    int tiled = tiff_find(f, ifd, T_TILES).type != 0;
    uint64_t cw = tiled ? tiff_get(f, ifd, T_TILE_W, 0) : w;
    uint64_t ch = tiled ? tiff_get(f, ifd, T_TILE_H, 0)
                        : tiff_get(f, ifd, T_ROWS, h);
    if (!tiled && ch > h) ch = h;
    if (!stack_fits(f, 1, ch, cw) || !stack_fits(f, p->samples, ch, cw))
        return 1;
    p->w = (size_t)w;
    p->h = (size_t)h;
    p->chunk_w = (size_t)cw;
    p->chunk_h = (size_t)ch;
    p->step = p->planar == 2 ? 1 : (size_t)p->samples;
    p->used = p->photometric == 2 && p->step > 1 ? 3 : 1;
    p->across = (p->w + p->chunk_w - 1) / p->chunk_w;
    p->down = (p->h + p->chunk_h - 1) / p->chunk_h;
    p->row = p->chunk_w * p->type.size * p->step;
    p->bytes = p->row * p->chunk_h;
    p->offsets = tiff_find(f, ifd, tiled ? T_TILES : T_STRIPS);
    p->counts = tiff_find(f, ifd, tiled ? T_TILE_BYTES : T_STRIP_BYTES);
    return p->bytes > INT_MAX
               ? io_failed(f->path, "strips or tiles of more than 2 GiB") : 0;
}

typedef struct {
    uint64_t link, left; /* where the next offset is stored; how many may be */
    int bad;             /* the chain is broken */
} tiff_chain;

/* The next page that is not a reduced copy; 0: the last was read. */
static uint64_t tiff_next(const source *f, tiff_chain *c)
{
    for (;;) {
        uint64_t ifd = uint_at(f, c->link, 4), n = uint_at(f, ifd, 2);
        if (!ifd) return 0;
        c->bad = !c->left-- || !has_bytes(f, ifd, 12 * n + 6);
        if (c->bad) return 0;
        c->link = ifd + 2 + 12 * n;
        if (!(tiff_get(f, ifd, T_SUBFILE, 0) & 1)) return ifd;
    }
}

/* DigitalMicrograph's own tags, ImageJ's description, or the resolution when
   it can be a microscope's and not a printer's. */
static void tiff_pixel(io_stack *s, const source *f, uint64_t ifd,
                       const char *text)
{
    double x = tiff_real(f, ifd, T_XRES), y = tiff_real(f, ifd, T_YRES);
    uint64_t unit = tiff_get(f, ifd, T_RES_UNIT, 2);
    double inch = unit == 2 ? 2.54 : 1;
    char name[16];
    tiff_text(f, ifd, T_DM_UNIT, name, sizeof name);
    int own = *name != 0, known = own || (x > 0 && y > 0);
    if (own) {
        x = tiff_real(f, ifd, T_DM_X);
        y = tiff_real(f, ifd, T_DM_X + 1);
    } else if (!strncmp(text, "ImageJ=", 7)) {
        const char *p = strstr(text, "unit=");
        snprintf(name, sizeof name, "%.*s", p ? (int)strcspn(p + 5, "\r\n") : 0,
                 p ? p + 5 : "");
        own = 1;
    }
    if (!known || (!own && unit < 2)) return;
    s->pixel_x = in_angstrom(own ? x : inch * x, own ? name : "cm");
    s->pixel_y = in_angstrom(own ? y : inch * y, own ? name : "cm");
    if (!own && (s->pixel_x > 1000 || s->pixel_y > 1000))
        s->pixel_x = s->pixel_y = 0;
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
    tiff_chain chain = {4, f->n / 18, 0};
    tiff_page p;
    size_t pages = 0;
    for (uint64_t ifd; (ifd = tiff_next(f, &chain)) != 0; pages++) {
        if (tiff_page_read(&p, f, ifd)) return 0;
        if (!pages) *first = p;
        if (p.w != first->w || p.h != first->h
            || memcmp(&p.type, &first->type, sizeof p.type)
            || p.photometric != first->photometric)
            return (size_t)!io_failed(f->path, "pages of several sizes or"
                                      " kinds; save each kind as a file of its"
                                      " own");
    }
    if (chain.bad || !pages) io_failed(f->path, SHORT_FILE);
    return chain.bad ? 0 : pages;
}

/* Twice through the chain: how many pages of which kind, then their pixels. */
int read_tiff(io_stack *s, source *f)
{
    f->big = f->p[0] == 'M';
    if (uint_at(f, 2, 2) == 43)
        return io_failed(f->path,
                         "a BigTIFF; save it as a TIFF of under 4 GiB");
    if (f->n < 8) return io_failed(f->path, SHORT_FILE);
    tiff_page p;
    size_t pages = tiff_pages(&p, f);
    if (!pages) return 1;
    char text[1024];
    tiff_text(f, p.ifd, T_TEXT, text, sizeof text);
    uint64_t first = p.ifd, none = (uint64_t)-1;
    size_t frames = imagej_frames(text);
    if (pages == 1 && frames > 1 && p.compression == 1 && p.samples == 1) {
        if (stack_plain(s, f, tiff_item(f, &p.offsets, 0, none), frames, p.h,
                        p.w, p.type))
            return 1;
    } else {
        tiff_chain chain = {4, f->n / 18, 0};
        if (!stack_new(s, f, pages, p.h, p.w, p.type)) return 1;
        for (size_t i = 0; i < pages; i++)
            if (tiff_page_read(&p, f, tiff_next(f, &chain))
                || tiff_decode(&p, f, s->px + i * s->h * s->w))
                return 1;
    }
    if (!p.photometric) white_is_zero(s, p.type);
    tiff_pixel(s, f, first, text);
    return 0;
}

/* 10 Å by the pixel size as a fraction: 10^k over 10^(k - 1) pixel sizes */
static void put_resolution(io_text *t, double pixel)
{
    double over = 1e9;
    while (over > 1 && pixel * (over / 10) >= 4e9) over /= 10;
    text_uint(t, pixel > 0 ? (uint32_t)over : 0, 4, 0);
    text_uint(t, (uint32_t)(pixel * (over / 10) + 0.5), 4, 0);
}

/* Head, resolutions, description, table, and room for two more of its rows
   before the pixels, whether or not the pixel size is known. */
int io_tiff_write(const char *path, const float *px, size_t h, size_t w,
                  double pixel)
{
    enum { TEXT = 24, TABLE = TEXT + 96, PIXELS = TABLE + 2 + 12 * 15 + 4 };
    static const char ZEROS[TABLE - TEXT];
    int known = pixel > 0 && pixel < 4e9;
    const char *text =
        known ? "ImageJ=1.53\nimages=1\nslices=1\nunit=nm\nloop=false\n"
              : "ImageJ=1.53\nimages=1\nslices=1\nloop=false\n";
    const uint32_t ROW[][4] = { /* tag, type, count, value */
        {T_SUBFILE, 4, 1, 0}, {T_WIDTH, 4, 1, (uint32_t)w},
        {T_HEIGHT, 4, 1, (uint32_t)h}, {T_BITS, 3, 1, 32},
        {T_COMPRESSION, 3, 1, 1}, {T_PHOTOMETRIC, 3, 1, 1},
        {T_TEXT, 2, (uint32_t)strlen(text) + 1, TEXT},
        {T_STRIPS, 4, 1, PIXELS}, {T_SAMPLES, 3, 1, 1},
        {T_ROWS, 4, 1, (uint32_t)h},
        {T_STRIP_BYTES, 4, 1, (uint32_t)(4 * h * w)}, {T_XRES, 5, 1, 8},
        {T_YRES, 5, 1, 16}, {T_RES_UNIT, 3, 1, 1}, {T_FORMAT, 3, 1, 3}};
    io_text t = {0};
    if (!h || !w || w > IO_SIDE || h > IO_SIDE
        || h > (IO_PIXELS - (1 << 20)) / w)
        return io_failed(path, "a TIFF cannot hold that many pixels");
    text_bytes(&t, "II*\0", 4);
    text_uint(&t, TABLE, 4, 0);
    for (int i = 0; i < 2; i++) put_resolution(&t, known ? pixel : 0);
    text_bytes(&t, text, strlen(text));
    text_bytes(&t, ZEROS, TABLE - t.n);
    text_uint(&t, known ? 15 : 13, 2, 0);
    for (int i = 0; i < 15; i++) {
        if (!known && (ROW[i][0] == T_XRES || ROW[i][0] == T_YRES)) continue;
        text_uint(&t, ROW[i][0] | ROW[i][1] << 16, 4, 0);
        text_uint(&t, ROW[i][2], 4, 0);
        text_uint(&t, ROW[i][3], 4, 0);
    }
    text_bytes(&t, ZEROS, PIXELS - t.n);
    text_floats(&t, px, h * w);
    return io_text_write(&t, path);
}
