/* SPDX-License-Identifier: MIT
   JPEG: checked, then decoded by stb_image. */
#include "format.h"

/* Huffman tables from byte `at` on have at most 256 codes each: stb_image does
   not ask. */
static int jpeg_tables(const source *f, uint64_t at, uint64_t n)
{
    uint64_t codes;
    for (; n >= 17 && has_bytes(f, at, 17); at += codes, n -= codes) {
        codes = 17;
        for (uint64_t i = 1; i <= 16; i++) codes += f->p[at + i];
        if (codes > 17 + 256 || codes > n) return 0;
    }
    return !n;
}

/* The mark at *at or, within the data of a scan, the next one; *at <- the byte
   before it. As in stb_image any number of 0xff may come before a mark, and
   with 0 behind them they are data. -1: none. */
static int jpeg_mark(const source *f, uint64_t *at, int scan)
{
    for (; has_bytes(f, *at, 2); ++*at) {
        int mark = f->p[*at + 1];
        if (f->p[*at] != 0xff && !scan) return -1;
        if (f->p[*at] != 0xff || mark == 0xff) continue;
        if (!scan || (mark && !(mark >= 0xd0 && mark <= 0xd7))) return mark;
    }
    return -1;
}

/* segments to the end-of-image mark behind a scan */
static int jpeg_whole(const source *f)
{
    uint64_t at = 2;
    int scan = 0, mark;
    while ((mark = jpeg_mark(f, &at, scan)) >= 0) {
        if (mark == 0xd9) return scan;
        uint64_t n = uint_at(f, at + 2, 2);
        if (n < 2 || (mark == 0xc4 && !jpeg_tables(f, at + 4, n - 2)))
            return 0;
        if (mark == 0xda) scan = 1;
        at += 2 + n;
    }
    return 0;
}

int read_jpeg(io_stack *s, source *f)
{
    f->big = 1;
    return jpeg_whole(f) ? stb_decode(s, f) : io_failed(f->path, SHORT_FILE);
}
