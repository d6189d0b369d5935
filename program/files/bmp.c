/* SPDX-License-Identifier: MIT
   BMP: checked, then decoded by stb_image. */
#include "format.h"

static int bmp_whole(const source *f)
{
    int old = uint_at(f, 14, 4) == 12;
    uint64_t w = uint_at(f, 18, old ? 2 : 4);
    uint64_t h = old ? uint_at(f, 20, 2) : uint_at(f, 22, 4);
    uint64_t bits = uint_at(f, old ? 24 : 28, 2);
    if (h >> 31) h = (0 - h) & 0xffffffff; /* the first row on top */
    if (w > IO_SIDE || h > IO_SIDE) return 1; /* refused as such later */
    return has_bytes(f, uint_at(f, 10, 4), (w * bits + 31) / 32 * 4 * h);
}

/* No pixel beyond the palette: stb_image would show what memory held. */
static int bmp_colours(const source *f)
{
    int old = uint_at(f, 14, 4) == 12;
    uint64_t w = uint_at(f, 18, old ? 2 : 4);
    uint64_t bits = uint_at(f, old ? 24 : 28, 2), pixels = uint_at(f, 10, 4);
    uint64_t row = (w * bits + 31) / 32 * 4, head = 14 + uint_at(f, 14, 4);
    if (bits != 1 && bits != 4 && bits != 8) return 1;
    uint64_t n = pixels < head ? 0 : (pixels - head) / (old ? 3 : 4);
    for (uint64_t at = pixels; row && has_bytes(f, at, row); at += row)
        for (uint64_t x = 0; x < w; x++) {
            uint64_t bit = x * bits, byte = uint_at(f, at + bit / 8, 1);
            if ((byte >> (8 - bits - bit % 8) & ((1u << bits) - 1)) >= n)
                return 0;
        }
    return 1;
}

int read_bmp(io_stack *s, source *f)
{
    if (!has_bytes(f, 0, 30) || !bmp_whole(f))
        return io_failed(f->path, SHORT_FILE);
    if (!bmp_colours(f))
        return io_failed(f->path, "a pixel's colour is not in the palette");
    return stb_decode(s, f);
}
