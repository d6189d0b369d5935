/* SPDX-License-Identifier: MIT
   MRC: a head of 1024 bytes, an extended one, and planes. Old files lack the
   word "MAP ": they are known by their mode and sizes. */
#include "format.h"

#include <string.h>

static const char MRC_MODES[] = "i1i2f4c4c8..u2..........f2";

static int mrc_plausible(const source *f)
{
    for (int i = 0; i < 3; i++) {
        uint64_t side = uint_at(f, 4 * (uint64_t)i, 4);
        if (!side || side > IO_SIDE
            || uint_at(f, 64 + 4 * (uint64_t)i, 4) != (unsigned)i + 1)
            return 0; /* axes in order */
    }
    return type_in(MRC_MODES, uint_at(f, 12, 4)).size != 0;
}

int read_mrc(io_stack *s, source *f)
{
    if (f->n < 1024) return NOT_MINE;
    f->big = f->p[212] == 0x11;
    if (memcmp(f->p + 208, "MAP", 3) && !mrc_plausible(f)) return NOT_MINE;
    uint64_t mode = uint_at(f, 12, 4);
    value_type t = type_in(MRC_MODES, mode);
    if (!type_is_real(f, t, "an MRC file of unknown mode", mode)) return 1;
    double *pixel[] = {&s->pixel_x, &s->pixel_y};
    for (uint64_t i = 0; i < 2; i++) { /* the cell by its pixels */
        double n = (double)uint_at(f, 28 + 4 * i, 4);
        float cell = atomdl_float((uint32_t)uint_at(f, 40 + 4 * i, 4));
        *pixel[i] = unit_length(n > 0 ? (double)cell / n : 0, "A");
    }
    return stack_plain(s, f, 1024 + uint_at(f, 92, 4), uint_at(f, 8, 4),
                       uint_at(f, 4, 4), uint_at(f, 0, 4), t);
}
