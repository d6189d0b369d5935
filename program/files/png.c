/* SPDX-License-Identifier: MIT
   PNG: checked, then decoded by stb_image; written. */
#include "format.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

uint32_t crc32_of(const unsigned char *p, size_t n)
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
    while (has_bytes(f, at, 12)) {
        uint64_t n = uint_at(f, (size_t)at, 4);
        if (!has_bytes(f, at, n + 12)) return 0;
        if (crc32_of(f->p + at + 4, (size_t)n + 4)
            != uint_at(f, (size_t)(at + n + 8), 4))
            return 0;
        if (!memcmp(f->p + at + 4, "IEND", 4)) return 1;
        at += n + 12;
    }
    return 0;
}

int read_png(io_stack *s, source *f)
{
    return stb_decode(s, f, png_whole);
}

/* Length, name, bytes, checksum; returns what lies behind. */
static unsigned char *png_chunk(unsigned char *to, const char *name,
                                const unsigned char *data, size_t n)
{
    store_big(to, (uint32_t)n);
    memcpy(to + 4, name, 4);
    if (n) memcpy(to + 8, data, n);
    store_big(to + 8 + n, crc32_of(to + 4, n + 4));
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

int io_png(io_bytes *png, const void *px, size_t w, size_t h, int channels,
           int bits)
{
    static const unsigned char START[] = "\x89PNG\r\n\x1a\n";
    size_t step = (size_t)(channels * bits / 8), row = w * step;
    unsigned char head[13] = {0};
    png->data = NULL;
    png->size = 0;
    if (!png_holds(w, h, step))
        return io_failed("PNG", "cannot hold %lu x %lu pixels", (unsigned long)w,
                      (unsigned long)h);
    size_t all = (row + 1) * h;
    unsigned char *spare = malloc(all);
    unsigned char *packed = malloc(all + all / 8 + 512);
    png->data = malloc(all + all / 8 + 600);
    if (spare && packed && png->data) {
        filter_left(spare, px, row, h, step);
        size_t n = deflate_bytes(packed, spare, all);
        memcpy(png->data, START, 8);
        store_big(head, (uint32_t)w);
        store_big(head + 4, (uint32_t)h);
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
    return png->data ? 0 : io_failed("PNG", "no memory");
}

int io_png_write(const char *path, const void *px, size_t w, size_t h,
                 int channels)
{
    io_bytes png;
    int bad = io_png(&png, px, w, h, channels, 8);
    if (bad) return io_failed(path, "no memory for a PNG, or too large for one");
    bad = io_write(path, png.data, png.size);
    free(png.data);
    return bad;
}

int io_grey_png_write(const char *path, const float *px, size_t w, size_t h,
                      int bits)
{
    unsigned char *v = png_holds(w, h, (size_t)bits / 8)
                           ? malloc(w * h * (size_t)bits / 8) : NULL;
    io_bytes png = {NULL, 0};
    int bad = !v;
    if (v) {
        store_levels(v, px, w * h, bits, 1);
        bad = io_png(&png, v, w, h, 1, bits);
    }
    bad = bad ? io_failed(path, "no memory for a PNG, or too large for one")
              : io_write(path, png.data, png.size);
    free(png.data);
    free(v);
    return bad;
}
