/* SPDX-License-Identifier: MIT
   PGM and PPM, raw and text. */
#include "format.h"

/* A number of a header or text; '#' begins a comment. */
static int pnm_number(cursor *c, size_t *v)
{
    while (take_text(c, "#"))
        while (c->p < c->end && *c->p != '\n') c->p++;
    return take_digits(c, v);
}

/* Magic, width, height, largest value; then numbers in bytes or in text. */
int read_pnm(io_stack *s, source *f)
{
    if (f->n < 3 || f->p[1] < '1' || f->p[1] > '6'
        || (f->p[2] > ' ' && f->p[2] != '#'))
        return NOT_MINE;
    cursor c = {(const char *)f->p + 2, (const char *)f->p + f->n};
    int kind = f->p[1] - '0', channels = kind % 3 ? 1 : 3;
    if (kind == 1 || kind == 4)
        return io_failed(f->path, "a bitmap of 1 bit a pixel; save it as PGM");
    size_t w, h, top, v;
    if (!pnm_number(&c, &w) || !pnm_number(&c, &h) || !pnm_number(&c, &top)
        || c.p++ == c.end || top < 1 || top > 65535)
        return io_failed(f->path, "malformed PNM header");
    value_type t = type_in("u1u2", top > 255);
    int raw = kind > 3 ? t.size : 0; /* bytes of a number; 0: text */
    if (!stack_fits(f, 1, h, w)) return 1;
    if (raw && (size_t)(c.end - c.p) / t.size / (size_t)channels < h * w)
        return io_failed(f->path, SHORT_FILE);
    if (!stack_new(s, f, 1, h, w, t)) return 1;
    float x[3];
    for (size_t i = 0; i < h * w; i++) {
        for (int k = 0; k < channels; k++, c.p += raw) {
            if (raw) v = (size_t)uint_of((const void *)c.p, raw, 1);
            else if (!pnm_number(&c, &v))
                return io_failed(f->path, SHORT_FILE);
            x[k] = (float)v;
        }
        s->px[i] = channels == 1 ? x[0] : grey_of(x[0], x[1], x[2]);
    }
    return 0;
}
