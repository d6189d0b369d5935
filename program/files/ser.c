/* SPDX-License-Identifier: MIT
   SER of TIA. */
#include "format.h"

/* ---------- SER (TIA) -----------------------------------------------------

   A head, a list of offsets, and elements: two calibrations of 20 bytes, type,
   width, height, pixels with the lowest row first. Offsets have 8 bytes from
   version 0x220 on. */

static int ser_element(io_stack *s, const source *f, uint64_t at, size_t i,
                       size_t frames)
{
    static const value_type TYPE[] = {
        {0, 0}, {'u', 1}, {'u', 2}, {'u', 4}, {'i', 1}, {'i', 2}, {'i', 4},
        {'f', 4}, {'f', 8}, {'c', 8}, {'c', 16}};
    if (!has_bytes(f, at, 50)) return io_failed(f->path, SHORT_FILE);
    uint64_t code = uint_at(f, (size_t)at + 40, 2);
    value_type t = TYPE[code < sizeof TYPE / sizeof *TYPE ? code : 0];
    uint64_t w = uint_at(f, (size_t)at + 42, 4);
    uint64_t h = uint_at(f, (size_t)at + 46, 4);
    if (t.kind == 'c') return io_failed(f->path, NO_COMPLEX);
    if (!t.size) return io_failed(f->path, "a SER file of unknown data type %u",
                               (unsigned)code);
    if (!i && !stack_new(s, f, frames, h, w, t)) return 1;
    if (w != s->w || h != s->h)
        return io_failed(f->path, "images of several sizes; export them as single"
                               " files");
    at += 50;
    if (!has_bytes(f, at, w * h * t.size)) return io_failed(f->path, SHORT_FILE);
    for (uint64_t y = 0; y < h; y++)
        floats_of(s->px + (i * s->h + (size_t)(h - 1 - y)) * s->w,
                  f->p + at + y * w * t.size, s->w, t, 0);
    if (!i)
        stack_pixel(s, atomdl_double(uint_at(f, (size_t)at - 42, 8)),
                  atomdl_double(uint_at(f, (size_t)at - 22, 8)), "m");
    return 0;
}

int read_ser(io_stack *s, source *f)
{
    enum { IMAGES = 0x4122, SPECTRA = 0x4120 };
    f->big = 0;
    if (f->n < 30) return io_failed(f->path, SHORT_FILE);
    if (uint_at(f, 6, 4) == SPECTRA)
        return io_failed(f->path, "holds spectra; AtomDL reads images");
    int wide = uint_at(f, 4, 2) >= 0x220 ? 8 : 4;
    uint64_t n = uint_at(f, 18, 4);
    uint64_t at = uint_at(f, 22, wide);
    if (uint_at(f, 6, 4) != IMAGES || !has_bytes(f, at, n * (unsigned)wide))
        return io_failed(f->path, SHORT_FILE);
    if (!n) return io_failed(f->path, "holds no pixels");
    for (size_t i = 0; i < n; i++)
        if (ser_element(s, f, uint_at(f, (size_t)at + i * (size_t)wide, wide), i,
                        (size_t)n))
            return 1;
    return 0;
}
