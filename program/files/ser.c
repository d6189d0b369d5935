/* SPDX-License-Identifier: MIT
   SER of TIA: a head, a list of offsets, and elements: two calibrations of 20
   bytes, type, width, height, pixels with the lowest row first. Offsets have 8
   bytes from version 0x220 on. */
#include "format.h"

/* Frame i of so many, from the element at `at`; the first one tells the sizes
   of all. */
static int ser_element(io_stack *s, const source *f, uint64_t at, uint64_t i,
                       uint64_t frames)
{
    if (!has_bytes(f, at, 50)) return io_failed(f->path, SHORT_FILE);
    uint64_t code = uint_at(f, at + 40, 2);
    uint64_t w = uint_at(f, at + 42, 4), h = uint_at(f, at + 46, 4);
    value_type t = type_in("..u1u2u4i1i2i4f4f8c8c8", code);
    if (!type_is_real(f, t, "a SER file of unknown data type", code)
        || (!i && !stack_new(s, f, frames, h, w, t)))
        return 1;
    if (w != s->w || h != s->h)
        return io_failed(f->path, "images of several sizes; export them as"
                                  " single files");
    if (!has_bytes(f, at + 50, w * h * t.size))
        return io_failed(f->path, SHORT_FILE);
    for (uint64_t y = 0; y < h; y++)
        floats_of(s->px + (i * h + (h - 1 - y)) * w,
                  f->p + at + 50 + y * w * t.size, s->w, t, 0);
    if (i) return 0;
    s->pixel_x = unit_length(atomdl_double(uint_at(f, at + 8, 8)), "m");
    s->pixel_y = unit_length(atomdl_double(uint_at(f, at + 28, 8)), "m");
    return 0;
}

int read_ser(io_stack *s, source *f)
{
    enum { IMAGES = 0x4122, SPECTRA = 0x4120 };
    if (f->n < 30) return io_failed(f->path, SHORT_FILE);
    if (uint_at(f, 6, 4) == SPECTRA)
        return io_failed(f->path, "holds spectra; AtomDL reads images");
    int wide = uint_at(f, 4, 2) >= 0x220 ? 8 : 4;
    uint64_t n = uint_at(f, 18, 4), at = uint_at(f, 22, wide);
    if (uint_at(f, 6, 4) != IMAGES || !has_bytes(f, at, n * (unsigned)wide))
        return io_failed(f->path, SHORT_FILE);
    if (!n) return io_failed(f->path, "holds no pixels");
    for (uint64_t i = 0; i < n; i++, at += (unsigned)wide)
        if (ser_element(s, f, uint_at(f, at, wide), i, n)) return 1;
    return 0;
}
