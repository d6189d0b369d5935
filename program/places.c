/* SPDX-License-Identifier: MIT
   places.h: tables of atoms in. */
#include "places.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

/* Atoms of one column come one after the other: true when this is one more of
   a column that is in the list. */
static int same_column(places *t, const place *p)
{
    for (int i = t->n - 1; i >= 0 && i > t->n - 9; i--) {
        double dx = t->p[i].x - p->x, dy = t->p[i].y - p->y;
        if (dx * dx + dy * dy < 0.36 && !strcmp(t->p[i].species, p->species)) {
            t->p[i].x -= dx / 2;
            t->p[i].y -= dy / 2;
            return 1;
        }
    }
    return 0;
}

/* One line of a table; 1: no numbers in it. */
static int place_read(places *t, const char *line, const int col[4])
{
    char own[FIELD];
    place *p = &t->p[t->n];
    if (!csv_number(&p->x, line, col[0]) || !csv_number(&p->y, line, col[1]))
        return 1;
    csv_field(p->species, line, col[2]);
    csv_field(own, line, col[3]);
    if (col[3] < 0 || !own[0] || !strcmp(own, p->species)) return t->n++, 0;
    strcpy(p->species, own);
    if (!same_column(t, p)) t->n++;
    return 0;
}

int places_parse(places *t, const char *text, const char *path)
{
    static const char *const NAME[] = {"x_A", "y_A", "species", "column"};
    int row = 1, col[4];
    size_t lines = 1;
    for (const char *at = text; *at; at = line_next(at)) lines++;
    t->p = malloc(lines * sizeof *t->p);
    if (!t->p) return fail("%s: not enough memory", path);
    for (int k = 0; k < 4; k++) col[k] = csv_column(text, NAME[k]);
    if (col[0] < 0 || col[1] < 0 || col[2] < 0)
        return fail("%s: its first line names no columns x_A, y_A, species",
                    path);
    for (const char *line = line_next(text); *line; line = line_next(line)) {
        row++;
        if (*line != '\n' && place_read(t, line, col))
            return fail("%s: line %d: no coordinates", path, row);
    }
    return 0;
}
