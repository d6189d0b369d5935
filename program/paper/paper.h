/* SPDX-License-Identifier: MIT
   What the parts of atomdl paper share: a page with tables and figures,
   simulated samples. */
#ifndef ATOMDL_PAPER_H
#define ATOMDL_PAPER_H

#include "../analyze.h"

typedef struct {
    const char *out;
    int threads;
    io_text page;
    uint64_t digest; /* of all tables */
    int partial;     /* 1: parts are left out */
} paper;

/* Writes a table as DIR/NAME.csv and into the page; frees it. */
int put_table(paper *p, const char *name, const char *caption, io_text *csv);

/* Lines, or dots, of y (series, n) over x (n); up to six names, then NULL. */
void put_plot(paper *p, const char *caption, const char *const *name, int dots,
              const double *x, const double *y, int n, const char *x_title,
              const char *y_title);

/* A drawing, which is freed. */
int put_canvas(paper *p, const char *caption, io_canvas *c);

typedef struct {
    atomdl_recipe r;
    atomdl_source source;
    atomdl_arena shared, work; /* from malloc */
    atomdl_sample sample;
    uint64_t index;
} maker;

/* A recipe of text and of more lines (may be NULL), ready for samples; NULL:
   said why. */
maker *maker_new(const char *text, const char *more);
void maker_free(maker *m);

/* Papers 002 and 003: tables and page. */
int paper_002(paper *p);

#endif
