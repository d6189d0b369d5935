/* SPDX-License-Identifier: MIT
   MRC. */
#include "format.h"

#include <string.h>

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

int is_mrc(source *f, int old)
{
    if (f->n < 1024) return 0;
    f->big = f->p[212] == 0x11;
    if (!old) return !memcmp(f->p + 208, "MAP", 3);
    uint64_t w = uint_at(f, 0, 4);
    uint64_t h = uint_at(f, 4, 4);
    uint64_t frames = uint_at(f, 8, 4);
    return mrc_mode(uint_at(f, 12, 4)).size && w && h && frames && w <= IO_SIDE
           && h <= IO_SIDE && frames <= IO_SIDE && uint_at(f, 64, 4) == 1
           && uint_at(f, 68, 4) == 2 && uint_at(f, 72, 4) == 3; /* axes in order */
}

int read_mrc(io_stack *s, source *f)
{
    value_type t = mrc_mode(uint_at(f, 12, 4));
    value_type f4 = {'f', 4};
    if (t.kind == 'c') return io_failed(f->path, NO_COMPLEX);
    if (!t.size)
        return io_failed(f->path, "an MRC file of unknown mode %lu; save it as"
                               " mode 2 (float)",
                      (unsigned long)uint_at(f, 12, 4));
    double cells[2];
    for (int i = 0; i < 2; i++) {
        double n = (double)uint_at(f, 28 + 4 * (size_t)i, 4);
        cells[i] = (double)float_of(uint_at(f, 40 + 4 * (size_t)i, 4), f4);
        cells[i] = n > 0 ? cells[i] / n : 0;
    }
    stack_pixel(s, cells[0], cells[1], "A");
    return stack_plain(s, f, 1024 + uint_at(f, 92, 4), uint_at(f, 8, 4), uint_at(f, 4, 4),
                       uint_at(f, 0, 4), t);
}
