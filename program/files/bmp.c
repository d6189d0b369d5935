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

int read_bmp(io_stack *s, source *f)
{
    if (!has_bytes(f, 0, 30) || !bmp_whole(f))
        return io_failed(f->path, SHORT_FILE);
    return stb_decode(s, f);
}
