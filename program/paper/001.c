/* SPDX-License-Identifier: MIT
   Paper 001: silicon in graphene. */
#include "paper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- Silicon --------------------------------------------------------

   Figures 4 to 7: defects of silicon one by one, as the network and the graph
   see them, against the paper's lengths and the simulated truth. */

static const char SHEET[] =
    "seed = 1001\nmaterial = graphene\n"
    "voltage = 60\naperture = 31\ninner = 86\nouter = 200\nsource = 1\n"
    "thermal = 0.05\nbackground = 0.5\njitter = 0.04\n"
    "defocus = normal 0 15\na1 = normal 0 8\n";

static const char FINE[] = "size = 256\npixel = 0.0781\ndose = 400000\n";

typedef struct {
    const char *kind, *paper;
} silicon;

static const silicon SILICON[] = {
    {"si-c3", "Si-C 1.50; 120 degrees"}, {"si-c4", "Si-C 1.72; 90 degrees"},
    {"si-c3-v", "150 115 95 degrees"}, {"si2-c5", "figure 6: 3/4 dimer"},
    {"si2-c6", ""}, {"si3-c6", "figure 7: rotor"},
    {"si4-c6", "figure 7: four Si"},
};

typedef struct { /* running mean and s.d. */
    int n;
    double mean, square;
} moments;

static void moments_add(moments *s, double v)
{
    double d = v - s->mean;
    s->n++;
    s->mean += d / s->n;
    s->square += d * (v - s->mean);
}

/* Lengths of bonds of silicon in the truth. */
static void true_bonds(moments *s, const maker *m)
{
    const atomdl_structure *t = &m->sample.structure;
    for (uint32_t i = 0; i < t->atoms; i++)
        for (uint32_t k = 0; t->atom[i].element == 14 && k < t->atoms; k++) {
            double dx = t->atom[k].x - t->atom[i].x;
            double dy = t->atom[k].y - t->atom[i].y;
            double d = atomdl_sqrt(dx * dx + dy * dy);
            if (t->atom[k].element == 6 && d < 2.25) moments_add(s, d);
        }
}

/* The defect with silicon nearest to the middle; NULL: none. */
static const atomdl_found *middle(const analysis *a)
{
    const atomdl_found *best = NULL;
    double least = 9;
    for (int i = 0; i < a->got.defects; i++) {
        double dx = a->got.found[i].x - 0.5 * a->w * a->pixel_x;
        double dy = a->got.found[i].y - 0.5 * a->h * a->pixel_y;
        if (!a->got.found[i].dopants || !(dx * dx + dy * dy < least)) continue;
        least = dx * dx + dy * dy;
        best = &a->got.found[i];
    }
    return best;
}

static int silicon_row(io_text *csv, network *s, const silicon *of, int images)
{
    enum { LENGTH, PAIR, ANGLE, WITHIN, TRUTH, ALL };
    moments m[ALL] = {0};
    int right = 0, bad = 0;
    char more[100];
    sprintf(more, "%splace = %s 10 10\n", FINE, of->kind);
    maker *sheet = maker_new(SHEET, more);
    for (int i = 0; i < images && !bad; i++) {
        const analysis *a = find_in_sample(s, sheet, (uint64_t)i);
        if ((bad = !a) != 0) break;
        const atomdl_found *f = middle(a);
        true_bonds(&m[TRUTH], sheet);
        if (!f || strcmp(atomdl_found_name(f->kind), of->kind)) continue;
        right++;
        if (f->bonds) moments_add(&m[LENGTH], f->length);
        if (f->pairs) moments_add(&m[PAIR], f->pair);
        if (f->angles) moments_add(&m[ANGLE], degrees(f->angle));
        if (f->angles) moments_add(&m[WITHIN], degrees(f->angle_sd));
    }
    maker_free(sheet);
    double sd = m[LENGTH].n > 1
        ? atomdl_sqrt(m[LENGTH].square / (m[LENGTH].n - 1)) : 0;
    io_put(csv, "%s,%s,%d of %d,%.3f,%.3f,%.3f,%.3f,%.1f,%.1f\n", of->kind,
           of->paper, right, images, m[TRUTH].mean, m[LENGTH].mean,
           sd, m[PAIR].mean, m[ANGLE].mean, m[WITHIN].mean);
    return bad;
}

static int silicon_table(paper *p, network *s)
{
    enum { ROWS = sizeof SILICON / sizeof *SILICON };
    io_text csv = {0};
    int bad = 0;
    io_put(&csv, "defect,paper (A),named right,true Si-C A,found Si-C A,"
           "s.d. of images,Si-Si A,mean angle degrees,s.d. within a defect\n");
    for (int i = 0; i < ROWS && !bad; i++) {
        progress("defects", i, ROWS);
        bad = silicon_row(&csv, s, &SILICON[i], 40);
    }
    progress("defects", ROWS, ROWS);
    return put_table(p, bad, "silicon", "Defects of silicon (figures 4 to 7)",
                     &csv);
}

/* Figure 2: pixels and atoms at falling dose. */
static int lattice_table(paper *p, network *s)
{
    static const int DOSE[] = {1000000, 400000, 150000, 60000};
    io_text csv = {0};
    io_put(&csv, "dose e/A2,paper's test set %%,pixel accuracy %%\n");
    char more[200];
    matrix m;
    int bad = 0;
    for (int i = 0; i < 4 && !bad; i++) {
        sprintf(more, "size = 128\npixel = 0.15625\ndose = %d\n"
                "class = background\nclass = atom atom C 0.45\n", DOSE[i]);
        bad = count_pixels(&m, s, SHEET, more, 12);
        io_put(&csv, "%d,%s,%.2f\n", DOSE[i], i ? "" : "97",
               100 * matrix_accuracy(&m));
    }
    return put_table(p, bad, "lattice", "The lattice network (figure 2)", &csv);
}

/* ---------- Mo(1-x)W(x)Se2 -------------------------------------------------

   Figures 2d to f, 3f to i: x = 0.18, with half and full vacancies of Se. */

static const char ALLOY[] =
    "seed = 1201\nmaterial = mose2-2h-1\nsize = 256\npixel = 0.12\n"
    "voltage = 60\naperture = 31\ninner = 86\nouter = 200\nsource = 1\n"
    "thermal = 0.05\nbackground = 0.2\njitter = 0.04\n"
    "defocus = normal 0 15\na1 = normal 0 8\nscatter = sub-m W 0.18\n"
    "scatter = vx1 0.03\nscatter = vx2 0.01\n";

enum { MO, TUNGSTEN, PAIR_OF_SE, ONE_SE, NO_SE, COLUMNS };

typedef struct { /* columns of one kind, 1 A within the fields */
    int truth, found, right;
    moments signal; /* of true ones, over molybdenum's in the image */
} alloy;

/* Which kind an element with so many atoms is, 0 of what is missing; -1: none
   of them. */
static int alloy_kind(int z, int count)
{
    return z == 42 && count == 1 ? MO
           : z == 74 && count == 1 ? TUNGSTEN
           : z == 34 ? count == 2 ? PAIR_OF_SE : count ? ONE_SE : NO_SE
                     : -1;
}

/* The node nearest to a place, at most 0.75 A away; NULL: none. */
static const atomdl_node *node_at(const analysis *a, double x, double y)
{
    const atomdl_node *best = NULL;
    double least = 0.75 * 0.75;
    for (int i = 0; i < a->got.atoms; i++) {
        double dx = a->got.node[i].x - x, dy = a->got.node[i].y - y;
        if (!(dx * dx + dy * dy < least)) continue;
        least = dx * dx + dy * dy;
        best = &a->got.node[i];
    }
    return best;
}

/* value <- the image's mean about a column. */
static int column_value(double *value, const analysis *a, double x, double y)
{
    atomdl_node at = {.x = x, .y = y, .score = 1, .z = 42};
    atomdl_image image = image_of(a);
    double pixel[2] = {a->pixel_x, a->pixel_y};
    return atomdl_intensity(value, &at, 1, &image, 0, pixel, 0.4);
}

/* Counts one image's columns. */
static void alloy_count(alloy of[COLUMNS], const maker *m, const analysis *a)
{
    const atomdl_structure *t = &m->sample.structure;
    double half = m->sample.pixel / 2, value, metal = 0;
    int metals = 0;
    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < t->columns; i++) {
            const atomdl_column *c = &t->column[i];
            int k = alloy_kind(c->count ? c->element[0] : 34, c->count);
            if (k < 0 || at_border(m, c->x, c->y)
                || column_value(&value, a, c->x - half, c->y - half)) continue;
            if (!pass) {
                if (k == MO) metal += value, metals++;
                continue;
            }
            const atomdl_node *p = node_at(a, c->x - half, c->y - half);
            of[k].truth++;
            of[k].right += p && alloy_kind(p->z, p->count) == k;
            moments_add(&of[k].signal, value * metals / metal);
        }
    for (int i = 0; i < a->got.atoms; i++) {
        const atomdl_node *p = &a->got.node[i];
        int k = alloy_kind(p->z, p->count);
        if (k >= 0 && !at_border(m, p->x + half, p->y + half)) of[k].found++;
    }
}

static int alloy_table(paper *p, network *s)
{
    static const char *const NAME[COLUMNS] = {"Mo", "W", "Se2",
                                              "half vacancy", "full vacancy"};
    static const int DOSE[] = {10000, 100000};
    io_text csv = {0};
    int bad = 0;
    io_put(&csv, "dose e/A2,column,columns,F1,signal over Mo\n");
    for (int d = 0; d < 2 && !bad; d++) {
        alloy of[COLUMNS] = {{0}};
        char more[40];
        sprintf(more, "dose = %d\n", DOSE[d]);
        maker *m = maker_new(ALLOY, more);
        for (int i = 0; i < 12 && !bad; i++) {
            const analysis *a = find_in_sample(s, m, (uint64_t)i);
            bad = !a;
            if (a) alloy_count(of, m, a);
        }
        maker_free(m);
        for (int k = 0; k < COLUMNS; k++)
            io_put(&csv, "%d,%s,%d,%.4f,%.3f\n", DOSE[d], NAME[k],
                   of[k].truth, 2. * of[k].right
                   / (of[k].truth + of[k].found), of[k].signal.mean);
    }
    return put_table(p, bad, "alloy", "Mo(1-x)W(x)Se2, x = 0.18, with half and "
                     "full vacancies (figures 2d-f, 3f-i); the paper shows one "
                     "image and no number", &csv);
}

/* ---------- The rotor ----------------------------------------------------- */

enum { FRAMES = 72, HALF = 4 };

/* Frame i of figure 8: which way the rotor points. */
static int rotor_state(int i)
{
    static const int SWITCH[] = {5, 9, 28, 56, 57};
    int state = 0;
    for (int k = 0; k < 5; k++) state ^= i >= SWITCH[k];
    return state;
}

/* The rotor of an analysis, from the silicon around the middle. */
static void rotor_of(atomdl_rotor *r, const analysis *a)
{
    double xy[16];
    int n = 0;
    for (int i = 0; i < a->got.atoms && n < 8; i++) {
        double dx = a->got.node[i].x - 10, dy = a->got.node[i].y - 10;
        if (a->got.node[i].z != 14 || dx * dx + dy * dy > 9) continue;
        xy[2 * n] = a->got.node[i].x;
        xy[2 * n++ + 1] = a->got.node[i].y;
    }
    atomdl_rotor_measure(r, xy, n, 3, NULL);
}

/* Frame i. Both states are made, so that half of one can be scanned after half
   of the other. */
static int rotor_frame(atomdl_rotor *r, network *s, int i)
{
    maker *m[2];
    int bad = 0, state = rotor_state(i);
    for (int k = 0; k < 2; k++) {
        char text[100];
        sprintf(text, "%srotation = 12\nplace = si3-c6 10 10 %d\n", FINE, k);
        m[k] = maker_new(SHEET, text);
        if (m[k]) m[k]->r.seed = (uint64_t)(1100 + i);
        bad |= maker_draw(m[k], 7);
    }
    if (!bad && i == HALF) {
        atomdl_image *now = &m[state]->sample.image;
        size_t half = (size_t)now->w * (size_t)now->h / 2;
        memcpy(now->px + half, m[!state]->sample.image.px + half,
               half * sizeof(float));
    }
    const analysis *a = bad ? NULL : find_in_drawn(s, m[state]);
    if (a) rotor_of(r, a);
    maker_free(m[0]);
    maker_free(m[1]);
    return !a;
}

static int rotor_table(paper *p, network *s)
{
    static const char *const NAME[] = {"as found", "flagged", NULL};
    static atomdl_rotor r[FRAMES];
    io_text csv = {0};
    int bad = 0;
    for (int i = 0; i < FRAMES && !bad; i++) {
        progress("rotor", i, FRAMES);
        bad = rotor_frame(&r[i], s, i);
    }
    progress("rotor", FRAMES, FRAMES);
    if (bad) return 1;
    int n;
    atomdl_rotor_switches(r, FRAMES, 3, &n);
    double x[FRAMES], y[2 * FRAMES];
    io_put(&csv, "frame,phi degrees,quality,flagged,switched,truth switched\n");
    for (int i = 0; i < FRAMES; i++) {
        int turned = i && rotor_state(i) != rotor_state(i - 1);
        io_put(&csv, "%d,%.1f,%.3f,%d,%d,%d\n", i, r[i].phi, r[i].quality,
               r[i].flagged, r[i].switched, turned);
        x[i] = i;
        for (int k = 0; k < 2; k++)
            y[k * FRAMES + i] = r[i].flagged == k ? r[i].phi : UNSEEN;
    }
    io_put(&p->page, "<h3>The rotor in 72 frames (figure 8)</h3><p>%d switches "
           "found; the paper's are 3-(4)-5, 8-9, 27-28, 55-56, 56-57, frame 4 "
           "half of each.</p>\n", n);
    put_graph(p, "the rotor", NAME, 1, y,
              &(plot){"frame", "angle / °", x, FRAMES, NULL, 0, 0});
    return put_table(p, 0, "rotor", "Frames", &csv);
}

int paper_001(paper *p)
{
    enum { LATTICE, CARBON, SELENIDE, NETS };
    network *s = calloc(NETS, sizeof *s);
    if (!s) return fail("not enough memory");
    int bad = network_open(&s[LATTICE], p, "lattice", "graphene", 0)
              || network_open(&s[CARBON], p, "graphene", "graphene", 0)
              || network_open(&s[SELENIDE], p, "heavy-chalcogenide", "mose2",
                              0);
    io_put(&p->page, "<h2>Ziatdinov et al. 2017, silicon in graphene and "
           "Mo(1-x)W(x)Se2, in simulation</h2>\n");
    if (!bad)
        bad = lattice_table(p, &s[LATTICE]) || silicon_table(p, &s[CARBON])
              || alloy_table(p, &s[SELENIDE]) || rotor_table(p, &s[CARBON]);
    for (int i = 0; i < NETS; i++) session_close(&s[i].s);
    free(s);
    return bad;
}
