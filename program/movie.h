/* SPDX-License-Identifier: MIT
   atomdl movie, inside: what is known of the frames, from movie.c, which finds
   it, to movie_report.c, which writes it down. */
#ifndef ATOMDL_MOVIE_H
#define ATOMDL_MOVIE_H

#include "analyze.h"

enum {
    WIDE = 34, SIDE = 24,  /* pictures as kept, and as compared, pixels */
    CUTS = 10000,          /* most of them */
    MIXTURES = 8,          /* most classes that BIC is asked about */
    SHOWN = 9,             /* frames in the page */
    TAIL = 60,             /* frames of a track that are drawn */
    GIF_MOST = 300, GIF_SIDE = 512,
    MOST_LEAVES = 32       /* of the dendrogram */
};

typedef struct { /* options of this command alone */
    int atoms;         /* followed, instead of defects */
    int learn;         /* a network, from the first frame */
    int as_found;      /* other frames are not asked */
    int gap;           /* frames a track may be missing */
    int classes;       /* of the pictures, 0: what BIC says */
    int stream, type;  /* raw frames from standard input, of U8... */
    double interval;   /* from frame to frame [s] */
    double confusion;  /* part of wrong classes, 0: learnt */
} wishes;

typedef struct { /* pictures around spots and their classes: METHOD E.2 */
    int n;
    float *wide;       /* (n, WIDE, WIDE) as kept */
    float *px;         /* (n, SIDE, SIDE) as compared */
    uint8_t *op;       /* (n) how each was turned */
    atomdl_pca pca;    /* of px; later of the commonest class */
    int components;    /* of it */
    double *feature;   /* (n, components) */
    int classes;
    double *belongs;   /* (n, classes) probabilities */
    int *label, *ward, *means; /* (n) by GMM, Ward, k-means */
    atomdl_merge *merge; /* (n - 1) */
    double bic[MIXTURES + 1]; /* of 1, 2... classes; [0]: of the last run */
    int commonest;     /* class */
} pictures;

typedef struct { /* what is written down as frames are shown */
    io_text gif, page, frames; /* movie.gif, report.html; its frames */
    int shown;         /* of them */
} output;

typedef struct {
    options o;
    wishes wish;
    session s;
    io_stack stack;
    const char *pixel_from;
    int total;           /* frames to come, for progress and pictures */
    uint32_t frames;     /* taken so far, in this reading */
    int step;            /* of the library that runs */
    atomdl_film film;    /* film.frames: 0 before all are read once */
    size_t frame_room;
    unsigned colour[ATOMDL_CLASS_NAMES]; /* of its classes */
    atomdl_frame now;
    atomdl_drifting drifting;
    double *lattice[2], *defect[2]; /* places of its marks [A]; from malloc */
    atomdl_tracker tracker;
    atomdl_arena arena;  /* scratch */
    atomdl_arena tracking, tracks_in, classes_in, pictures_in; /* of tracker,
                            tracks, classes, pictures */
    atomdl_sites sites;
    atomdl_tracks tracks;
    atomdl_chains classes; /* of all tracks, frame by frame */
    atomdl_walk walk;
    pictures pictures;
    output out;
} movie;

/* n entries, all zero; NULL: there is no memory, which ends the work and is
   said once. */
void *zeroed(size_t n, size_t size);

/* Spot i of a track. */
atomdl_spot *track_spot(const movie *f, const atomdl_track *t, int i);

/* The class of the picture around a spot, -1: none. */
int picture_class(const movie *f, const atomdl_spot *p);

/* Writes all files but movie.gif into the folder f->o.out. */
int movie_write(movie *f);

#endif
