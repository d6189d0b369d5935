/* SPDX-License-Identifier: MIT
   PNG: checked, then decoded by stb_image; written. */
#include "format.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Eight bytes at a time: table[k] is a byte that k bytes follow. */
unsigned png_checksum(const unsigned char *p, size_t n)
{
    static uint32_t table[8][256];
    uint32_t c = 0xffffffff;
    for (uint32_t i = 0; i < 256 && !table[7][255]; i++) {
        table[0][i] = i;
        for (int k = 0; k < 8; k++)
            table[0][i] = table[0][i] >> 1 ^ (table[0][i] & 1 ? 0xedb88320 : 0);
    }
    for (int k = 1; k < 8 && !table[7][255]; k++)
        for (int i = 0; i < 256; i++)
            table[k][i] = table[k - 1][i] >> 8
                          ^ table[0][table[k - 1][i] & 255];
    for (; n >= 8; n -= 8, p += 8) {
        c ^= p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
        c = table[7][c & 255] ^ table[6][c >> 8 & 255]
            ^ table[5][c >> 16 & 255] ^ table[4][c >> 24] ^ table[3][p[4]]
            ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    for (; n; n--) c = c >> 8 ^ table[0][(c ^ *p++) & 255];
    return ~c;
}

/* Every chunk there, with its checksum, to IEND; *palette: where PLTE is. */
static int png_whole(const source *f, uint64_t *palette)
{
    *palette = 0;
    for (uint64_t at = 8, n; has_bytes(f, at, 12); at += n + 12) {
        n = uint_at(f, at, 4);
        if (!has_bytes(f, at, n + 12)
            || png_checksum(f->p + at + 4, (size_t)n + 4)
                   != uint_at(f, at + n + 8, 4))
            return 0;
        if (!memcmp(f->p + at + 4, "PLTE", 4)) *palette = at;
        if (!memcmp(f->p + at + 4, "IEND", 4)) return 1;
    }
    return 0;
}

enum {
    PALETTE = 768 /* bytes: 256 colours */
};

/* stb_image shows what memory held where a pixel's colour is not in the
   palette: the palette, at this place, gets all its colours, the rest black. */
static int png_palette(io_stack *s, const source *f, size_t at)
{
    size_t n = (size_t)uint_at(f, at, 4);
    if (n > PALETTE) return stb_decode(s, f); /* refused there */
    unsigned char *copy = calloc(f->n + PALETTE, 1);
    if (!copy) return io_failed(f->path, "no memory");
    source whole = *f;
    whole.p = copy;
    whole.n = f->n + PALETTE - n;
    memcpy(copy, f->p, at + 8 + n);
    store_uint(copy + at, PALETTE, 4, 1);
    memcpy(copy + at + 8 + PALETTE, f->p + at + 8 + n, f->n - at - 8 - n);
    int bad = stb_decode(s, &whole);
    free(copy);
    return bad;
}

int read_png(io_stack *s, source *f)
{
    uint64_t palette;
    f->big = 1;
    if (!png_whole(f, &palette)) return io_failed(f->path, SHORT_FILE);
    return palette ? png_palette(s, f, (size_t)palette) : stb_decode(s, f);
}

static int png_holds(size_t w, size_t h, size_t bytes)
{
    return w && h && w <= IO_SIDE && h <= IO_SIDE
           && w * bytes + 1 <= INT_MAX / 4 / h;
}

/* Length, name, bytes, checksum; at: where the length stands. */
static size_t begin_chunk(io_text *t, const char *name)
{
    text_uint(t, 0, 4, 1);
    text_bytes(t, name, 4);
    return t->n - 8;
}

static void end_chunk(io_text *t, size_t at)
{
    if (t->failed) return;
    size_t n = t->n - at - 8;
    store_uint((unsigned char *)t->s + at, n, 4, 1);
    text_uint(t, png_checksum((unsigned char *)t->s + at + 4, n + 4), 4, 1);
}

int io_png(io_bytes *png, const void *px, size_t w, size_t h, int channels)
{
    memset(png, 0, sizeof *png);
    if (!png_holds(w, h, (size_t)channels))
        return io_failed("PNG", "cannot hold %zu x %zu pixels", w, h);
    return stb_png(png, px, (int)w, (int)h, channels);
}

int io_png_write(const char *path, const void *px, size_t w, size_t h,
                 int channels)
{
    io_bytes png;
    if (io_png(&png, px, w, h, channels))
        return io_failed(path, "no memory for a PNG, or too large for one");
    int bad = io_write(path, png.data, png.size);
    free(png.data);
    return bad;
}

/* Rows of levels on their way into a file */
typedef struct {
    size_t w;
    float least, range;
    uint16_t *level; /* (w + 1), the first one is 0 */
} grey_scale;

/* 1, the mark of the filter, then differences to the left. */
static void grey_row(unsigned char *to, const grey_scale *s, const float *px)
{
    uint16_t *level = s->level;
    for (size_t x = 0; x < s->w; x++) {
        float v = (px[x] - s->least) / s->range * 65535.0f;
        level[x + 1] = (uint16_t)(int)((double)v + 0.5);
    }
    *to++ = 1;
    for (size_t x = 0; x < s->w; x++) {
        to[2 * x] = (unsigned char)((level[x + 1] >> 8) - (level[x] >> 8));
        to[2 * x + 1] = (unsigned char)(level[x + 1] - level[x]);
    }
}

/* All rows, compressed some at a time. */
static int grey_rows(io_text *t, const float *px, size_t w, size_t h)
{
    zlib_writer z;
    size_t row = 2 * w + 1, some = row < ZLIB_BLOCK ? ZLIB_BLOCK / row : 1, n;
    unsigned char *rows = malloc(some * row);
    grey_scale s = {w, px[0], px[0], calloc(w + 1, sizeof *s.level)};
    int bad = !rows || !s.level;
    for (size_t i = 0; i < w * h; i++) {
        s.least = px[i] < s.least ? px[i] : s.least;
        s.range = px[i] > s.range ? px[i] : s.range;
    }
    s.range = s.range > s.least ? s.range - s.least : 1;
    begin_deflated(&z, t);
    for (size_t y = 0; y < h && !bad; y += n) {
        n = h - y < some ? h - y : some;
        for (size_t k = 0; k < n; k++)
            grey_row(rows + k * row, &s, px + (y + k) * w);
        put_deflated(&z, rows, n * row, 0);
    }
    end_deflated(&z);
    free(s.level);
    free(rows);
    return bad;
}

/* Of 16 bits, which stb_image_write cannot. Three chunks: the head, the
   filtered and compressed rows, the end. */
int io_grey_png_write(const char *path, const float *px, size_t w, size_t h)
{
    io_text t = {0};
    if (!png_holds(w, h, 2))
        return io_failed(path, "cannot hold %zu x %zu pixels", w, h);
    text_bytes(&t, "\x89PNG\r\n\x1a\n", 8);
    size_t at = begin_chunk(&t, "IHDR");
    text_uint(&t, w, 4, 1);
    text_uint(&t, h, 4, 1);
    text_uint(&t, 0x1000000000, 5, 1);
    end_chunk(&t, at);
    at = begin_chunk(&t, "IDAT");
    t.failed |= grey_rows(&t, px, w, h);
    end_chunk(&t, at);
    end_chunk(&t, begin_chunk(&t, "IEND"));
    return io_text_write(&t, path);
}
