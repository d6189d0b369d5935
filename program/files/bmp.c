/* SPDX-License-Identifier: MIT
   BMP: checked, then decoded by stb_image. */
#include "format.h"

/* bytes: where pixels begin, a row; colours: how many the palette has */
typedef struct {
    uint64_t w, h, bits, pixels, row, colours;
    int bare; /* 1: no palette at all, which stb_image knows */
} bmp;

/* stb_image takes an old head for twice as long as it is: it knows the palette
   without its last four colours. */
static bmp bmp_head(const source *f)
{
    uint64_t size = uint_at(f, 14, 4);
    int old = size == 12;
    uint64_t head = 14 + (old ? 24 : size);
    bmp b = {.w = uint_at(f, 18, old ? 2 : 4),
             .h = old ? uint_at(f, 20, 2) : uint_at(f, 22, 4),
             .bits = uint_at(f, old ? 24 : 28, 2),
             .pixels = uint_at(f, 10, 4)};
    if (b.h >> 31) b.h = (0 - b.h) & 0xffffffff; /* the first row on top */
    b.row = (b.w * b.bits + 31) / 32 * 4;
    b.bare = b.pixels == head;
    if (b.pixels > head) b.colours = (b.pixels - head) / (old ? 3 : 4);
    return b;
}

/* No pixel beyond the palette: stb_image would show what memory held. */
static int bmp_colours(const source *f, const bmp *b)
{
    uint64_t bits = b->bits;
    if (b->bare || (bits != 1 && bits != 4 && bits != 8)) return 1;
    for (uint64_t y = 0; y < b->h; y++)
        for (uint64_t x = 0; x < b->w; x++) {
            uint64_t bit = x * bits;
            uint64_t byte = uint_at(f, b->pixels + y * b->row + bit / 8, 1);
            if ((byte >> (8 - bits - bit % 8) & ((1u << bits) - 1))
                >= b->colours) return 0;
        }
    return 1;
}

int read_bmp(io_stack *s, source *f)
{
    bmp b = bmp_head(f);
    int vast = b.w > IO_SIDE || b.h > IO_SIDE; /* refused as such later */
    if (!has_bytes(f, 0, 30)
        || !(vast || has_bytes(f, b.pixels, b.row * b.h)))
        return io_failed(f->path, SHORT_FILE);
    if (!vast && !bmp_colours(f, &b))
        return io_failed(f->path, "a pixel's colour is not in the palette");
    return stb_decode(s, f);
}
