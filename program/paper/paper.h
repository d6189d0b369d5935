/* SPDX-License-Identifier: MIT
   What the parts of atomdl paper share: a page with tables and figures,
   simulated samples. */
#ifndef ATOMDL_PAPER_H
#define ATOMDL_PAPER_H

#include "../analyze.h"
#include "../plot.h"
#include "../program.h"
#include "../report.h"
#include "../tables.h"

typedef struct {
    const char *out, *vacancy; /* of 004: weights set beside ours; NULL */
    int threads;
    io_text page;
    uint64_t digest; /* of all tables */
} paper;

/* Writes a table as DIR/NAME.csv and into the page, and frees it; bad: only
   frees it. 0, or 1 after a message. */
int put_table(paper *p, int bad, const char *name, const char *caption,
              io_text *csv);

enum { SERIES = 6 }; /* lines of one plot */

/* Lines, or dots, of y (series, over->n) with up to six names, then NULL; of
   `over` titles, x and n count. */
void put_graph(paper *p, const char *caption, const char *const *name,
               int dots, const double *y, const plot *over);

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

/* Sample i as a microscope's file would hold it; m NULL: 1. */
int maker_draw(maker *m, uint64_t i);

/* 1: less than 1 A from the border of the drawn sample; x, y [A] as truth */
int at_border(const maker *m, double x, double y);

typedef struct {
    options o;
    session s;
} network;

/* Loads weights as --weights; intensity: as --method. */
int network_open(network *n, const paper *p, const char *weights,
                 const char *material, int intensity);

/* What `atomdl analyze` finds in the maker's sample, or in sample i of it,
   until the next look; NULL: said why not. */
const analysis *find_in_drawn(network *n, const maker *m);
const analysis *find_in_sample(network *n, maker *m, uint64_t i);

/* Counts of (truth, called) over pixels. */
typedef struct {
    double n[ATOMDL_CLASSES][ATOMDL_CLASSES];
} matrix;

double matrix_total(const matrix *m);
double matrix_accuracy(const matrix *m);
double matrix_recall(const matrix *m, int c); /* -1: no pixels of class c */

/* The likeliest class at pixel (x, y) of the maker's sample. */
int called_class(const analysis *a, int classes, const maker *m, int x, int y);

/* Counts the pixels of so many images of a recipe against its labels. */
int count_pixels(matrix *counts, network *n, const char *scope,
                 const char *more, int images);

/* A paper's tables and page; 002 is 003 too. */
int paper_001(paper *p);
int paper_002(paper *p);
int paper_004(paper *p);

#endif
