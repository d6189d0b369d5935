/* SPDX-License-Identifier: MIT
   The pictures and the page of `atomdl analyze`. */
#include "analyze.h"
#include "main.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int overlay_png(io_bytes *png, const analysis *a)
{
    io_canvas c;
    int bad = io_canvas_new(&c, (size_t)a->w, (size_t)a->h);

    if (bad) return 1;
    io_draw_image(&c, a->px, (size_t)a->h, (size_t)a->w, 1, 0.002, 0.998);
    bad = io_png(png, c.rgb, (size_t)c.w, (size_t)c.h, 3, 8);
    io_canvas_free(&c);
    return bad;
}

int report_add(report *r, const analysis *a, const model *m)
{
    (void)a, (void)m;
    r->images++;
    return 0;
}

int report_write(report *r, const model *m, const char *path)
{
    (void)m;
    if (!path) return io_text_free(&r->body), 0;
    return io_text_write(&r->body, path);
}
