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
    network *lattice = calloc(2, sizeof *lattice), *s = lattice + 1;
    if (!lattice) return fail("not enough memory");
    int bad = network_open(lattice, p, "lattice", "graphene", 0)
              || network_open(s, p, "graphene", "graphene", 0);
    io_put(&p->page, "<h2>Ziatdinov et al. 2017, silicon in graphene, in "
           "simulation</h2>\n");
    if (!bad)
        bad = lattice_table(p, lattice) || silicon_table(p, s)
              || rotor_table(p, s);
    session_close(&lattice->s);
    session_close(&s->s);
    free(lattice);
    return bad;
}
