/* SPDX-License-Identifier: MIT
   The pictures and the page of `atomdl analyze`, and what other pages take of
   them. */
#ifndef ATOMDL_REPORT_H
#define ATOMDL_REPORT_H

#include "analyze.h"

typedef struct {
    io_text summary, body;
    int images, broken; /* broken: a section is not whole */
} report;

/* The image with atoms, bonds, defects and a scale bar, as PNG. */
int overlay_png(io_bytes *png, const analysis *a);

/* Covers what is no data in a picture of the whole image. */
void cover_blank(io_canvas *c, const analysis *a);

/* Adds an image's section. */
int report_add(report *r, const analysis *a, const atomdl_finder *m);

/* Writes the page as out/report.html and frees it; out NULL, or broken: only
   frees it. */
int report_write(report *r, const atomdl_finder *m, const char *out);

/* A page's beginning up to <h1>. */
void put_page_head(io_text *t);

/* A picture with its caption: a PNG in memory as data:image/png;... */
void put_png_figure(io_text *t, const io_bytes *png, const char *caption);
void put_png(io_text *t, const io_bytes *png);

#endif
