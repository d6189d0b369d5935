/* SPDX-License-Identifier: MIT
   PGM and PPM. */
#include "format.h"

/* A number of a PNM header or text; '#' begins a comment. */
static int pnm_number(cursor *c, size_t *v)
{
    while (take_text(c, "#"))
        while (c->p < c->end && *c->p != '\n') c->p++;
    return take_digits(c, v);
}

int read_pnm(io_stack *s, source *f)
{
    cursor c = {(const char *)f->p + 2, (const char *)f->p + f->n};
    int kind = f->p[1] - '0', channels = kind % 3 ? 1 : 3;
    value_type t = {'u', 1};
    if (kind == 1 || kind == 4)
        return io_failed(f->path, "a bitmap of 1 bit a pixel; save it as PGM");
    size_t w, h, top;
    if (!pnm_number(&c, &w) || !pnm_number(&c, &h) || !pnm_number(&c, &top)
        || c.p == c.end || top < 1 || top > 65535)
        return io_failed(f->path, "malformed PNM header");
    t.size = top > 255 ? 2 : 1;
    if (!stack_fits(f, 1, h, w)) return 1;
    c.p++;
    if (kind > 3 && (size_t)(c.end - c.p) / t.size / (size_t)channels < h * w)
        return io_failed(f->path, SHORT_FILE);
    if (!stack_new(s, f, 1, h, w, t)) return 1;
    size_t v;
    float x[3];
    for (size_t i = 0; i < h * w; i++) {
        for (int k = 0; k < channels; k++, c.p += kind > 3 ? t.size : 0) {
            if (kind < 4 && !pnm_number(&c, &v))
                return io_failed(f->path, SHORT_FILE);
            if (kind > 3) v = (size_t)uint_of((const void *)c.p, t.size, 1);
            x[k] = (float)v;
        }
        s->px[i] = channels == 1 ? x[0] : grey_of(x[0], x[1], x[2]);
    }
    return 0;
}
