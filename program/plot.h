/* SPDX-License-Identifier: MIT
   Graphs as SVG. */
#ifndef ATOMDL_PLOT_H
#define ATOMDL_PLOT_H

#include "files/files.h"

typedef struct {
    const char *name;
    unsigned colour;              /* 0xRRGGBB */
    const double *y, *low, *high; /* (n); low NULL: no bars */
    int dots;                     /* 1: dots, not lines */
} series;

#define UNSEEN (-1e30) /* no point here */

typedef struct {
    const char *x_title, *y_title;
    const double *x;
    int n;
    const series *s;
    int count; /* of s, a few */
    int zero;  /* 1: 0 is on the y axis */
} plot;

void put_plot(io_text *t, const plot *p);

/* A drawing's beginning, white. */
void svg_begin(io_text *t, int w, int h);

#endif
