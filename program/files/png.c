/* SPDX-License-Identifier: MIT
   PNG: checked, then decoded by stb_image; written. */
#include "format.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

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
static int png_whole(const source *f)
{
    for (uint64_t at = 8, n; has_bytes(f, at, 12); at += n + 12) {
        n = uint_at(f, at, 4);
        if (!has_bytes(f, at, n + 12)
            || crc32_of(f->p + at + 4, (size_t)n + 4)
                   != uint_at(f, at + n + 8, 4))
            return 0;
        if (!memcmp(f->p + at + 4, "IEND", 4)) return 1;
    }
    return 0;
}

int read_png(io_stack *s, source *f)
{
    f->big = 1;
    return png_whole(f) ? stb_decode(s, f) : io_failed(f->path, SHORT_FILE);
}

static int png_holds(size_t w, size_t h, size_t bytes)
{
    return w && h && w <= IO_SIDE && h <= IO_SIDE
           && w * bytes + 1 <= INT_MAX / 4 / h;
}

/* Length, name, bytes, checksum. */
static void put_chunk(io_text *t, const char *name, const void *data, size_t n)
{
    size_t at = t->n + 4;
    text_uint(t, n, 4, 1);
    text_bytes(t, name, 4);
    text_bytes(t, data, n);
    if (!t->failed)
        text_uint(t, crc32_of((unsigned char *)t->s + at, n + 4), 4, 1);
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

int io_png(io_bytes *png, const void *px, size_t w, size_t h, int channels,
           int bits)
{
    size_t step = (size_t)(channels * bits / 8), row = w * step;
    io_text rows = {0}, packed = {0}, t = {0};
    memset(png, 0, sizeof *png);
    if (!png_holds(w, h, step))
        return io_failed("PNG", "cannot hold %lu x %lu pixels",
                         (unsigned long)w, (unsigned long)h);
    unsigned char *filtered = text_room(&rows, (row + 1) * h);
    if (filtered) {
        filter_left(filtered, px, row, h, step);
        put_deflated(&packed, filtered, rows.n);
    }
    io_text_free(&rows);
    io_text head = {0};
    text_uint(&head, w, 4, 1);
    text_uint(&head, h, 4, 1);
    text_uint(&head, (unsigned)bits, 1, 1);
    text_uint(&head, channels == 3 ? 2u << 24 : 0, 4, 1);
    text_bytes(&t, "\x89PNG\r\n\x1a\n", 8);
    put_chunk(&t, "IHDR", head.s, head.n);
    put_chunk(&t, "IDAT", packed.s, packed.n);
    put_chunk(&t, "IEND", NULL, 0);
    int bad = !filtered || head.failed || packed.failed || t.failed;
    io_text_free(&head);
    io_text_free(&packed);
    if (bad) io_text_free(&t);
    png->data = (unsigned char *)t.s;
    png->size = t.n;
    return bad ? io_failed("PNG", "no memory") : 0;
}

static int png_write(const char *path, const void *px, size_t w, size_t h,
                     int channels, int bits)
{
    io_bytes png;
    if (!px || io_png(&png, px, w, h, channels, bits))
        return io_failed(path, "no memory for a PNG, or too large for one");
    int bad = io_write(path, png.data, png.size);
    free(png.data);
    return bad;
}

int io_png_write(const char *path, const void *px, size_t w, size_t h,
                 int channels)
{
    return png_write(path, px, w, h, channels, 8);
}

int io_grey_png_write(const char *path, const float *px, size_t w, size_t h,
                      int bits)
{
    io_text levels = {0};
    if (png_holds(w, h, (size_t)bits / 8))
        text_levels(&levels, px, w * h, bits, 1);
    int bad = png_write(path, levels.s, w, h, 1, bits);
    io_text_free(&levels);
    return bad;
}
