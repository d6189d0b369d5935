/* SPDX-License-Identifier: MIT
   What `atomdl analyze` knows of an image, for its report. */
#ifndef ATOMDL_ANALYZE_H
#define ATOMDL_ANALYZE_H

#include "atomdl.h"
#include "io.h"

/* ---------- The network ---------------------------------------------------

   The name of a class in the weights says what an atom of it is. */

typedef struct {
    char name[32];
    uint8_t z, count;  /* as in atomdl_node */
    int background;    /* 1: nothing to find */
    double smooth;     /* sigma [A], before peaks are looked for */
    double radius;     /* a peak is the greatest within it [A] */
    double threshold;  /* of the smoothed probability */
    unsigned colour;   /* 0xRRGGBB; 0: not shown */
} species;

typedef struct {
    const char *name;  /* shipped weights, or their file */
    const atomdl_chemistry *chemistry;
    atomdl_meta meta;
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    float *values;     /* from malloc */
    int scaling;       /* ATOMDL_NORM_... */
    int classes;
    species class_of[ATOMDL_CLASSES];
} model;

/* ---------- The findings -------------------------------------------------- */

enum { PAIR_KINDS = 12, WARNINGS = 8, MAP_SIDE = 512 };

typedef struct { /* bonds between two elements */
    uint8_t a, b;
    int n;
    double mean, sd; /* [A] */
} bond_kind;

typedef struct {
    const char *source; /* path of the input */
    int frame;          /* of its stack, -1: an image */
    char name[256];     /* of the output files, without directory */
    int w, h;
    const float *px;    /* (h, w) */
    double pixel_x, pixel_y; /* [A]; nodes lie at x = x_px pixel_x */
    const char *pixel_from;  /* "option", "file", "lattice" */
    int map_w, map_h, map_step; /* picture of the probabilities */
    unsigned char *map; /* (map_h, map_w, 3), from malloc */
    int net_w, net_h;   /* of the network's input */
    double area[ATOMDL_CLASSES]; /* mean probability of each class */
    int atoms;
    atomdl_node *node;  /* (atoms), from malloc */
    atomdl_mixture mixture; /* --method intensity: of the columns' values */
    double *value;      /* (atoms) over that of a pair; else NULL */
    double sites;       /* chalcogen columns; 0: no dichalcogenide */
    int single, both;   /* of them with one, with both missing */
    double concentration, concentration_error; /* missing part; its s.d. */
    double unsure;      /* variance of what is missing, by posteriors */
    int *defect;        /* (atoms) the first that it is in, -1: none */
    atomdl_graph graph; /* in the session's arena */
    int defects;
    atomdl_found *found;
    int kinds;
    bond_kind kind[PAIR_KINDS];
    char warning[WARNINGS][200];
    int warnings, quiet; /* quiet: they are kept, not printed */
} analysis;

/* ---------- Analyses for other commands ----------------------------------- */

typedef struct session session;

/* A network (as --weights, NULL: that of the material) ready for images;
   intensity: as --method. NULL: said why. */
session *session_new(const char *weights, const char *material, int intensity,
                     int threads);
const model *session_model(const session *s);
void session_delete(session *s);

/* What `atomdl analyze` finds in an image of w x h pixels of `pixel` A, and
   *prob (may be NULL) <- probabilities (classes, net_h, net_w); both live
   until the next run. NULL: said why. */
const analysis *session_run(session *s, const float **prob, const float *px,
                            int w, int h, double pixel);

/* "C", "S2", "vacancy" */
void species_text(char text[16], int z, int count);

/* "SiC3" of dopants; "5-8-5" of rings; "Se", "W" of columns */
void found_text(char text[64], const analysis *a, const atomdl_found *f);

/* What the two rules for single dopants say; "" where they do not speak. */
void rules_text(char text[64], const atomdl_found *f);

/* 0xRRGGBB of atoms of that kind */
unsigned species_colour(int z, int count);

double to_px(double at, double pixel); /* from A */
double degrees(double radians);

/* ---------- Pictures and report ------------------------------------------- */

typedef struct {
    io_text summary, body;
    int images;
} report;

/* The image with atoms, bonds, defects and a scale bar, as PNG. */
int overlay_png(io_bytes *png, const analysis *a);

/* Adds an image's section. */
int report_add(report *r, const analysis *a, const model *m);

/* Writes the page and frees it; path NULL: only frees it. */
int report_write(report *r, const model *m, const char *path);

#endif
