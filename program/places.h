/* SPDX-License-Identifier: MIT
   Tables of atoms in, for `atomdl evaluate`. */
#ifndef ATOMDL_PLACES_H
#define ATOMDL_PLACES_H

#include "tables.h"

typedef struct {
    double x, y; /* A */
    char species[FIELD];
} place;

typedef struct {
    place *p; /* (n), from malloc, also after a failure */
    int n;
} places;

/* The atoms of a table with columns x_A, y_A, species and perhaps column; 0,
   or a message that begins with path and 1. */
int places_parse(places *t, const char *text, const char *path);

#endif
