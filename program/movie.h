/* SPDX-License-Identifier: MIT
   atomdl movie, inside: what is known of the frames, from movie.c, which finds
   it, to movie_report.c, which writes it down. */
#ifndef ATOMDL_MOVIE_H
#define ATOMDL_MOVIE_H

#include "analyze.h"

enum {
    NAMES = ATOMDL_FOUND_COUNT + ATOMDL_CLASSES, NAME = 32,
    WIDE = 34, SIDE = 24,  /* pictures as kept, and as compared, pixels */
    CUTS = 10000,          /* most of them */
    MIXTURES = 8,          /* most classes that BIC is asked about */
    SHOWN = 9,             /* frames in the page */
    TAIL = 60,             /* frames of a track that are drawn */
    GIF_MOST = 300, GIF_SIDE = 512,
    MOST_LEAVES = 32,      /* of the dendrogram */
    INTACT = 5,            /* grades of columns found intact, surest first; */
    GRADES = 2 * INTACT,   /* then those found vacant */
    MOST_LABELS = 20000000 /* of all sites and frames */
};

typedef struct { /* a defect, or an atom, in one frame */
    uint32_t frame, track;
    int before;       /* the track's spot before this one, -1: none */
    double x, y;      /* as seen [A] */
    double u, v;      /* drift taken away: in the first frame [A] */
    double score, length, angle, angle_sd, pair; /* [A], degrees; 0: none */
    double member[3][2]; /* of a trimer's atoms [A] */
    int dopants, shell;
    int kind, hidden; /* class as found, as the hidden chain says */
    double sure;      /* its probability */
    int cut, cluster, ward; /* number of its picture, -1: none; its classes */
    double belongs;   /* probability of cluster */
    int filled;       /* 1: only other frames say that it is there */
    int site;         /* of the film's, -1: none */
} spot;

typedef struct { /* of the chalcogen in one frame, where no spot is */
    double uv[2];     /* as a spot's (u, v); (x, y) until the drift is known */
    int grade;        /* -1: one at the border, of which one cannot tell */
    int site;         /* as a spot's */
} column;

typedef struct {
    int atoms, spots, empty, known; /* known: the drift was found */
    size_t first;        /* of its spots */
    size_t column;       /* and columns */
    int columns;
    double m[4], t[2];   /* (x, y) of the first frame is m (x, y) + t here */
    double shift[2], error[2]; /* against the frame before [A] */
} frame_info;

typedef struct {
    uint32_t first;   /* of its spots, in order[] */
    int n, kind;      /* spots; its commonest class */
    int dopants;      /* and number of dopants */
    uint32_t begin, end; /* frames */
} track_info;

typedef struct {
    options o;
    session s;
    io_stack stack;
    int atoms, affine, learn, as_found, gap, want, stream, w, h, type;
    double gate, interval, confusion;
    double pixel_x, pixel_y;
    const char *pixel_from;
    double basis[4];   /* lattice vectors, 60 degrees apart [A] */
    double hop[4];     /* between sites: the same, or a bond of graphene */
    int based;         /* they are known */
    uint32_t frames, taken; /* taken: not empty */
    uint32_t read;     /* frames, after the first reading of all */
    int total;         /* frames to come, for progress and pictures */
    frame_info now;
    frame_info *frame; /* (frames), from malloc */
    spot *spot;        /* (spots) */
    size_t spots, frame_room, spot_room;
    column *column;    /* (columns) */
    size_t columns, column_room;
    int *last;         /* (lasts) of each track: its last spot */
    uint32_t lasts;
    char name[NAMES][NAME];
    unsigned colour[NAMES];
    int names;
    double *lattice[2], *defect[2]; /* places in this and the last frame [A] */
    int lattices[2], defects[2], turn;
    atomdl_image small[2]; /* both at WIDE's sampling; from malloc */
    float *cut;        /* (cuts, WIDE, WIDE) */
    int cuts;
    atomdl_drift drift;
    int distrust;      /* 1: its defects do not count */
    double velocity[2], height, reach; /* reach: of the phase [px] */
    atomdl_tracker tracker;
    atomdl_arena arena, memory;        /* scratch; the tracker's */
    uint32_t *track;   /* (tracker.max) of a frame's spots */
    int sites;         /* of the chalcogen, found in any frame */
    double *place;     /* (sites, 2) [A] */
    signed char *grade; /* (sites, read) of what was found there, -1: unseen */
    double found[2][GRADES]; /* P(grade | intact, vacant) */
    double rate, rate_error; /* hops of vx1 a frame, by walks; 0: not known */
    io_text gif;
    io_text page, pictures;
    int shown;
    /* after the last frame */
    uint32_t *order;   /* spots, track by track */
    track_info *of;    /* (tracks) */
    uint32_t tracks;
    int kinds;
    chains class_of;   /* classes of all tracks, frame by frame */
    int clusters, components;
    float *picture;    /* (cuts, SIDE, SIDE) */
    uint8_t *op;
    double *feature, *belongs;
    int *label, *ward, *means; /* (cuts) GMM, Ward, k-means */
    atomdl_merge *merge;
    atomdl_pca pca;
    double bic[MIXTURES + 1];
} film;

/* n entries, all zero; NULL: there is no memory, which ends the work and is
   said once. */
void *zeroed(size_t n, size_t size);

/* Where a place of the first frame lies in a frame. */
void place_now(double xy[2], const frame_info *n, double u, double v);

/* Spot i of a track. */
spot *track_spot(const film *f, const track_info *t, int i);

/* Is a track long enough for its motion to count? Few sights far apart are
   noise more often than a defect. */
int track_counts(const film *f, const track_info *t);

/* Are two classes of one family, or the same? */
int can_become(const film *f, int i, int j);

/* Writes all files but movie.gif into the folder f->o.out. */
int movie_write(film *f);

#endif
