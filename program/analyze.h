/* SPDX-License-Identifier: MIT
   From an image to atoms, bonds and defects: what `atomdl analyze`, `atomdl
   movie` and `atomdl paper` share, and what a report knows. */
#ifndef ATOMDL_ANALYZE_H
#define ATOMDL_ANALYZE_H

#include "program.h"
#include "files/files.h"

#include <stdio.h>

/* ---------- The findings -------------------------------------------------- */

enum { WARNINGS = ATOMDL_WARNINGS + 3, /* of the pixel size, of --force */
       MAP_SIDE = 512 };

typedef struct {
    const char *source; /* path of the input */
    int frame;          /* of its stack, -1: an image */
    char name[256];     /* of the output files, without directory */
    int w, h;
    const float *px;    /* (h, w) */
    const unsigned char *blank; /* (h, w) not 0: no data; NULL: all is */
    double pixel_x, pixel_y; /* [A]; nodes lie at x = x_px pixel_x */
    const char *pixel_from;  /* "option", "file", "lattice" */
    int map_w, map_h, map_step; /* picture of the probabilities */
    unsigned char *map; /* (map_h, map_w, 3), from malloc */
    io_bytes overlay;   /* a PNG, for the page too */
    float *prob;        /* (classes, net_h, net_w) if kept, from malloc */
    atomdl_findings got; /* in the session's memory */
    char warning[WARNINGS][200];
    int warnings, quiet; /* quiet: they are kept and not printed */
} analysis;

/* "C", "S2", "vacancy" */
void species_text(char text[16], int z, int count);

/* "C-Si" */
void pair_text(char text[8], int a, int b);

enum { SPECIES = 32 };

typedef struct {
    int z, count, n; /* element, atoms a column, columns of that kind */
} species;

/* The kinds that the classes name, and those found besides; how many. */
int kinds_found(species list[SPECIES], const analysis *a,
                const atomdl_finder *m);

/* "SiC3" of dopants; "5-8-5" of rings; "Se", "W" of columns */
void found_text(char text[64], const analysis *a, const atomdl_found *f);

/* "12-17": atomic numbers that its dopants' signals may be of; "" */
void elements_text(char text[64], const analysis *a, const atomdl_found *f);

/* What the two rules for single dopants say; "" where they do not speak. */
void rules_text(char text[64], const atomdl_found *f);

/* 0xRRGGBB of atoms of that kind; of class i on maps, 0: not shown */
unsigned species_colour(int z, int count);
unsigned class_colour(const atomdl_finder *m, int i);

atomdl_image image_of(const analysis *a); /* only read */
double to_px(double at, double pixel); /* from A */
double degrees(double radians);

/* ---------- A session: one network, image after image --------------------- */

enum { MAX_THRESHOLDS = 16 };

typedef struct {
    const char **image; /* (images), in argv */
    int images;
    const char *out, *weights;
    const char *threshold_of[MAX_THRESHOLDS];
    option_list threshold; /* in threshold_of: options are never copied */
    int threads, average, first, last;
    int intensity;    /* --method */
    int probabilities; /* written */
    int force, invert; /* against the tests of the ground; dark atoms */
    double pixel, dark; /* dark: grey level without signal */
    int dopant; /* Z */
    atomdl_rules rules; /* --rules */
    atomdl_film_rules *film_rules; /* --rules of movies; NULL: none */
    const atomdl_chemistry *chemistry;
    int material; /* 1: named, 0: chemistry is a guess */
} options;

typedef struct {
    const options *o;
    atomdl_finder *m;
    atomdl_arena values; /* its values, from malloc */
    atomdl_find_how how;
    atomdl_arena memory;  /* from malloc, grows */
    analysis a;
    atomdl_pixel pixel;   /* and what the lattice says */
    FILE *prob;           /* NAME.prob.npy.part */
    unsigned char *line;  /* a row of it */
} session;

/* Options as they are before the first, images in argv, output to out. */
void analysis_defaults(options *o, char **argv, const char *out);

/* Reads those of analyze and of `more` (NULL: no more); 0, or a message and
   2. */
int analysis_options(options *o, char **argv, option_row *more);

/* Opens a weight file of that name, values in memory's base from malloc;
   0, or a message and 1. For chemistry and dopant see atomdl_finder_open. */
int finder_load(atomdl_finder *m, const io_bytes *file, const char *name,
                const options *o, atomdl_arena *memory);

/* Loads the weights and makes the folder o->out (NULL: none); 0, or a message
   and 1 or 2. */
int session_open(session *s, const options *o);
void session_close(session *s);

/* Settles a.pixel_x, pixel_y, pixel_from of the image a.px: by the option,
   else by the file (0: unknown), else by the lattice. */
int pixel_size(session *s, double file_x, double file_y);

/* The rest of a from its source, name, size, pixels and pixel size; the
   probabilities go nowhere, into a picture and a file if wanted, or into a.prob.
   session_clear frees it. */
enum { PROB_NOWHERE, PROB_SHOWN, PROB_KEPT };
int session_find(session *s, int where);
void session_clear(session *s);

/* What a note says. */
void note_text(char text[160], const atomdl_note *n);

/* Keeps the texts of warnings, and prints them unless a is quiet. */
void analysis_warn(analysis *a, const atomdl_note *note, int n);

/* Reads an image or stack as the options want it; 0, or a message and 1. */
int analysis_read(io_stack *stack, const options *o, const char *path);

/* Marks what is no data and writes over it; pixel [A], 0: unknown. A frame
   without any becomes 0. */
int mark_blank(io_stack *stack, double pixel);

/* Frame i, whose name is that of its file. */
void frame_of_stack(analysis *a, const io_stack *stack, size_t i,
                    const char *path);

/* ---------- Materials: material.c ----------------------------------------- */

enum { MATERIAL_NAME = 24 };

/* name <- of a lattice, as people write it: MoS2 is mos2-2h-1. */
void material_lattice(char name[MATERIAL_NAME], const char *text);

/* --material: a name as people write it */
int take_material(const option_row *row, const char *text);

/* Which weights know a material; NULL: none. */
const char *material_weights(const atomdl_chemistry *c);

/* The file of a name: built in, weights/NAME.safetensors, or NAME itself; 0, or
   a message and 1. */
int weights_find(io_bytes *file, const char *name);

/* 1 with a message where the image just looked at fails a test of the ground;
   by --force a warning and 0. */
int ground_refuses(session *s);

/* Without --material and --weights: o->chemistry by the first image, the middle
   of it; 0, or a message and 1. */
int material_recognise(options *o);

/* 0 when it is there, or a message and 1. */
int make_directory(const char *path);

/* NAME of path/NAME.ext */
void base_name(char name[200], const char *path);


#endif
