/* SPDX-License-Identifier: MIT
   atomdl paper 002: papers 002 and 003, molybdenum and vacancies in WS2 in
   motion, in simulation; and the transition matrix that their authors
   published. */
#include "paper.h"

#include <stdlib.h>
#include <string.h>

/* ---------- A movie and its truth -----------------------------------------

   A Mo may hold a vacancy beside it, in one of three orientations; other
   vacancies hop. */

enum { FILMED = 100, WS2_SIDE = 256, WS2_TURN = 10, DETECTED = 8192 };

#define WS2_PIXEL 0.15 /* A */
#define WS2_A 3.153
#define S_ANGLE 90     /* of the first S from its metal, in the lattice */
#define WS2_EDGE 4.5   /* nothing counts so near to the border [A] */
#define HOP 0.1        /* of a vacancy a frame */
#define BIND 0.03      /* Mo takes up a vacancy, in any orientation */
#define LEAVE 0.05     /* and loses it */
#define REORIENT 0.08  /* a pair turns, to either other orientation */

static const char WS2[] =
    "seed = 2002\nmaterial = ws2-2h-1\nsize = 256\npixel = 0.15\n"
    "rotation = 10\nvoltage = 100\naperture = 31\ninner = 86\nouter = 200\n"
    "source = 1\nthermal = 0.05\nbackground = 0.1\njitter = 0.03\n"
    "place = sub-m Mo 7 7\nplace = sub-m Mo 15 8\nplace = sub-m Mo 23 6\n"
    "place = sub-m Mo 32 7\nplace = sub-m Mo 7 16\nplace = sub-m Mo 16 17\n"
    "place = sub-m Mo 24 15\nplace = sub-m-vx1 Mo 31 17\n"
    "place = sub-m-vx1 Mo 8 25\nplace = sub-m-vx1 Mo 15 32 2\n"
    "place = sub-m-vx1 Mo 23 25 2\nplace = sub-m-vx1 Mo 31 30 4\n"
    "defects = vx1\ncount = 10\napart = 2.5\nevent = vx1 hop 0.1\n"
    "event = sub-m sub-m-vx1 0.03\nevent = sub-m-vx1 sub-m 0.05\n"
    "event = sub-m-vx1 turn 0.08\nevent = sub-m turn 0.6667\n"
    "movie_drift = normal 0 0.1\n";

enum { LONE_MO, PAIR_MO, LONE_V, PAIR_V, WHATS };

static const char *const WHAT[] = {"Mo", "Mo of Mo-V", "V", "V of Mo-V", NULL};

typedef struct { /* a defect's column, or what was found */
    int what, turn;     /* turn: 1..3 of a pair's Mo, else 0 */
    int frame, vacancy;
    int id, other;      /* defect or track; index of the partner, -1: none */
    int cut[4];         /* classes by GMM, Ward, k-means; turn; 0: none */
    double x, y, u, v;  /* A; u, v: in the first frame */
} sight;

typedef struct {
    int n, first[FILMED + 1];
    sight at[DETECTED];
} sights;

typedef struct {
    maker *m;
    atomdl_movie movie;
    atomdl_defect defect[64];
    sights truth, found;
    float *px;          /* (FILMED, side, side) */
    double *column;     /* places of all columns, frame by frame [A] */
    size_t columns, start[FILMED + 1];
} specimen;

static void specimen_free(specimen *w)
{
    if (!w) return;
    maker_free(w->m);
    free(w->px);
    free(w->column);
    free(w);
}

static int well_inside(const sight *s)
{
    double most = WS2_SIDE * WS2_PIXEL - WS2_EDGE;
    return s->x > WS2_EDGE && s->y > WS2_EDGE && s->x < most && s->y < most;
}

/* Orientation of a vacancy from its Mo: 1, 2 or 3. */
static int pair_turn(double dx, double dy)
{
    double angle = degrees(atomdl_atan2(dy, dx)) - WS2_TURN - S_ANGLE
                   + 780;
    return 1 + (int)(angle / 120) % 3;
}

/* Makes pairs of a frame's Mo and vacancies no farther apart than a bond. */
static void find_pairs(sights *s, int frame)
{
    for (int i = s->first[frame]; i < s->first[frame + 1]; i++)
        s->at[i].what = s->at[i].vacancy ? LONE_V : LONE_MO;
    for (int i = s->first[frame]; i < s->first[frame + 1]; i++)
        for (int k = s->first[frame]; k < s->first[frame + 1]; k++) {
            sight *a = &s->at[i], *b = &s->at[k];
            double dx = b->x - a->x, dy = b->y - a->y;
            if (a->vacancy || !b->vacancy || dx * dx + dy * dy > 2.4 * 2.4)
                continue;
            a->what = PAIR_MO;
            b->what = PAIR_V;
            a->turn = pair_turn(dx, dy);
        }
}

static int specimen_stage(void *of, atomdl_arena *arena)
{
    specimen *w = of;
    return atomdl_movie_frame(&w->m->sample, &w->movie, &w->m->source, 0,
                              arena);
}

/* Keeps what frame k shows, and where it is. */
static int keep_frame(specimen *w, int k)
{
    const atomdl_structure *t = &w->m->sample.structure;
    size_t n = (size_t)WS2_SIDE * WS2_SIDE;
    double half = WS2_PIXEL / 2;
    sights *s = &w->truth;
    memcpy(w->px + (size_t)k * n, w->m->sample.image.px, n * sizeof(float));
    double *more =
        realloc(w->column, (w->columns + t->columns) * 2 * sizeof *more);
    if (!more) return fail("not enough memory");
    w->column = more;
    for (uint32_t i = 0; i < t->columns; i++) {
        const atomdl_column *c = &t->column[i];
        sight *p = &s->at[s->n];
        more[2 * w->columns] = c->x - half;
        more[2 * w->columns++ + 1] = c->y - half;
        if (!c->defect || s->n == DETECTED) continue;
        s->n++;
        p->frame = k;
        p->x = c->x - half;
        p->y = c->y - half;
        p->vacancy = c->element[0] != 42;
        p->id = 2 * (int)t->defect[c->defect - 1].id + p->vacancy;
        p->other = -1;
    }
    w->start[k + 1] = w->columns;
    s->first[k + 1] = s->n;
    find_pairs(s, k);
    return 0;
}

/* The movie at a dose [e/A2], as DIR/movie.npy and in memory. */
static specimen *specimen_new(const paper *p, int dose)
{
    size_t dim[3] = {FILMED, WS2_SIDE, WS2_SIDE};
    specimen *w = calloc(1, sizeof *w);
    if (!w) return fail("not enough memory"), NULL;
    char more[32], path[PATH];
    sprintf(more, "dose = %d\n", dose);
    w->m = maker_new(WS2, more);
    w->px = malloc(dim[0] * dim[1] * dim[2] * sizeof *w->px);
    w->movie.defect = w->defect;
    w->movie.max = sizeof w->defect / sizeof *w->defect;
    int bad = !w->m || (!w->px && fail("not enough memory"));
    for (int k = 0; k < FILMED && !bad; k++) {
        progress("frames", k, FILMED);
        bad = in_arena(specimen_stage, w, &w->m->work, "movie")
              || keep_frame(w, k);
    }
    progress("frames", FILMED, FILMED);
    path_in(path, p->out, "movie.npy");
    if (!bad && io_npy_write(path, w->px, 'f', 3, dim))
        bad = fail("%s", io_reason());
    if (!bad) return w;
    specimen_free(w);
    return NULL;
}

/* ---------- What is found in it --------------------------------------------

   By `atomdl movie`, whose files are read; --as-found, so that what the chains
   here correct is what single frames say. */

static int run_movie(const paper *p, const char *folder, int learn)
{
    char path[PATH], out[PATH], threads[16];
    const char *word[] = {"movie", "--material", "ws2", "--pixel-size",
                          "0.15", "--threads", threads, "-o", out, path,
                          learn ? "--learn-first-frame" : "--as-found", NULL};
    sprintf(threads, "%d", p->threads ? p->threads : 1);
    path_in(path, p->out, "movie.npy");
    path_in(out, p->out, folder);
    return movie_command((char **)word); /* which writes into no word */
}

static int read_table(io_bytes *file, const paper *p, const char *folder,
                      const char *name)
{
    char in[PATH], path[PATH];
    path_in(in, p->out, folder);
    path_in(path, in, name);
    return text_read(file, path, 1 << 28) ? fail("%s", io_reason()) : 0;
}

enum { MOST_NUMBERS = 6 };

/* to <- a line's numbers in the columns of these names (until NULL) */
static void read_numbers(double *to, const char *head, const char *line,
                         const char *const *name)
{
    for (int k = 0; name[k]; k++)
        csv_number(&to[k], line, csv_column(head, name[k]));
}

static void read_sights(sights *s, const char *head)
{
    static const char *const NAME[] = {"frame", "track", "x_A", "y_A", "u_A",
                                       "v_A", NULL};
    int k = -1;
    double of[MOST_NUMBERS];
    char text[FIELD];
    s->n = 0;
    for (const char *at = line_next(head); *at && s->n < DETECTED;
         at = line_next(at)) {
        sight *p = &s->at[s->n];
        read_numbers(of, head, at, NAME);
        csv_field(text, at, csv_column(head, "class"));
        *p = (sight){0, 0, (int)of[0], text[0] == 'v', (int)of[1], -1, {0},
                     of[2], of[3], of[4], of[5]};
        while (k < p->frame && k < FILMED - 1) s->first[++k] = s->n;
        s->n++;
    }
    while (k < FILMED) s->first[++k] = s->n;
    for (k = 0; k < FILMED; k++) find_pairs(s, k);
}

/* Classes of those with a picture, which come in the same order. */
static void read_clusters(sights *s, const char *head)
{
    static const char *const NAME[] = {"frame", "track", "cluster", "ward",
                                       "kmeans", "turn", NULL};
    int i = 0;
    double of[MOST_NUMBERS];
    for (const char *at = line_next(head); *at; at = line_next(at)) {
        read_numbers(of, head, at, NAME);
        while (i < s->n && ((int)of[0] != s->at[i].frame
                            || (int)of[1] != s->at[i].id)) i++;
        for (int k = 0; k < 4 && i < s->n; k++)
            s->at[i].cut[k] = (int)of[2 + k];
    }
}

typedef struct {
    specimen *w;
    int frame, to[512];
} frame_pairs;

static int pairs_stage(void *of, atomdl_arena *arena)
{
    frame_pairs *f = of;
    const sights *s[2] = {&f->w->found, &f->w->truth};
    double xy[2][1024];
    int n[2] = {0, 0};
    for (int k = 0; k < 2; k++)
        for (int i = s[k]->first[f->frame];
             i < s[k]->first[f->frame + 1] && n[k] < 512; i++) {
            xy[k][2 * n[k]] = s[k]->at[i].x;
            xy[k][2 * n[k]++ + 1] = s[k]->at[i].y;
        }
    atomdl_points a = {xy[0], n[0], 2}, b = {xy[1], n[1], 2};
    return atomdl_assign(f->to, NULL, &a, &b, 1, arena);
}

/* Runs `atomdl movie` into a folder; reads it and finds everything's truth,
   within 1 A. */
static int find_in(const paper *p, specimen *w, const char *folder, int learn)
{
    atomdl_arena arena = {0, 0, 0, 0, 0};
    io_bytes file[2] = {{NULL, 0}, {NULL, 0}};
    frame_pairs f = {.w = w};
    int bad = run_movie(p, folder, learn)
              || read_table(&file[0], p, folder, "defects.csv")
              || read_table(&file[1], p, folder, "clusters.csv");
    if (!bad) {
        read_sights(&w->found, (char *)file[0].data);
        read_clusters(&w->found, (char *)file[1].data);
    }
    for (int i = 0; i < w->truth.n; i++) w->truth.at[i].other = -1;
    for (f.frame = 0; f.frame < FILMED && !bad; f.frame++) {
        int a = w->found.first[f.frame], b = w->truth.first[f.frame];
        bad = in_arena(pairs_stage, &f, &arena, "truth");
        for (int i = a; i < w->found.first[f.frame + 1] && i < a + 512; i++) {
            if (bad || f.to[i - a] < 0) continue;
            w->found.at[i].other = b + f.to[i - a];
            w->truth.at[b + f.to[i - a]].other = i;
        }
    }
    free(file[0].data);
    free(file[1].data);
    free(arena.base);
    return bad;
}

/* ---------- Figure 1a, defects ------------------------------------------- */

typedef struct {
    int found, wrong, hit[WHATS], of[WHATS];
} hits;

static void count_hits(hits *h, const specimen *w)
{
    memset(h, 0, sizeof *h);
    for (int i = 0; i < w->found.n; i++) {
        if (!well_inside(&w->found.at[i])) continue;
        h->found++;
        h->wrong += w->found.at[i].other < 0;
    }
    for (int i = 0; i < w->truth.n; i++) {
        const sight *t = &w->truth.at[i];
        if (!well_inside(t)) continue;
        h->of[t->what]++;
        h->hit[t->what] += t->other >= 0;
    }
}

static void put_hits(io_text *csv, const char *name, int frames, const hits *h)
{
    io_put(csv, "%s,%d,%d,%.1f", name, frames, h->found,
           h->found ? 100. * h->wrong / h->found : 0.);
    for (int k = 0; k < WHATS; k++)
        io_put(csv, ",%.1f", h->of[k] ? 100. * h->hit[k] / h->of[k] : 0.);
    io_put(csv, "\n");
}

typedef struct {
    const specimen *w;
    atomdl_subtraction how;
    uint8_t label[WS2_SIDE * WS2_SIDE];
    float smooth[WS2_SIDE * WS2_SIDE];
} subtraction;

static int subtract_stage(void *of, atomdl_arena *arena)
{
    subtraction *s = of;
    atomdl_image image = {WS2_SIDE, WS2_SIDE, 1, s->w->px};
    return atomdl_first_frame(s->label, s->smooth, &image, 0, &s->how, arena);
}

/* Found: a marked pixel within 0.5 A; wrong: one with no defect within 2 A. */
static void mask_hits(hits *h, const subtraction *s)
{
    const sights *t = &s->w->truth;
    int seen[128] = {0}, n = t->first[1] < 128 ? t->first[1] : 128;
    memset(h, 0, sizeof *h);
    for (int i = 0; i < WS2_SIDE * WS2_SIDE; i++) {
        sight here;
        double nearest = 99;
        here.x = i % WS2_SIDE * WS2_PIXEL;
        here.y = i / WS2_SIDE * WS2_PIXEL;
        if (!s->label[i] || !well_inside(&here)) continue;
        for (int k = 0; k < n; k++) {
            double dx = t->at[k].x - here.x, dy = t->at[k].y - here.y;
            double d = dx * dx + dy * dy;
            seen[k] |= d < 0.25;
            nearest = d < nearest ? d : nearest;
        }
        h->found++;
        h->wrong += nearest > 4;
    }
    for (int k = 0; k < n; k++) {
        if (!well_inside(&t->at[k])) continue;
        h->of[t->at[k].what]++;
        h->hit[t->at[k].what] += seen[k];
    }
}

/* Frame 0 with its defects; what is left after the subtraction; the mask. */
static int picture_first(paper *p, const subtraction *s)
{
    static const unsigned COLOUR[] = {0x2fb4ff, 0xffb000, 0xff5db1, 0x7cf25a};
    static float mask[WS2_SIDE * WS2_SIDE];
    static const char *const NAME[] = {
        "first frame and its truth", "the lattice subtracted", "mask"};
    const float *const px[] = {s->w->px, s->smooth, mask};
    for (int i = 0; i < WS2_SIDE * WS2_SIDE; i++) mask[i] = s->label[i];
    io_canvas c;
    for (int k = 0; k < 3; k++) {
        if (io_canvas_image(&c, px[k], WS2_SIDE, WS2_SIDE, 1, 0, k ? 1 : 0.995))
            return fail("%s", io_reason());
        for (int i = 0; i < s->w->truth.first[1] && !k; i++) {
            const sight *t = &s->w->truth.at[i];
            io_draw_circle(&c, t->x / WS2_PIXEL, t->y / WS2_PIXEL, 8, 1.5,
                           (io_pen){COLOUR[t->what], 255});
        }
        if (put_canvas(p, NAME[k], &c)) return 1;
    }
    return 0;
}

/* Of the first half order of the lattice [cycles/px] */
#define HALF_ORDER (0.75 * WS2_PIXEL / (WS2_A * 0.8660254037844386))

static int mask_rows(paper *p, io_text *csv, const specimen *w)
{
    static const struct {
        const char *name;
        atomdl_subtraction how;
    } ROW[] = {
        {"mask: hole of 0.1 cycles/px; 0.25 and 0.75 (the papers' code)",
         {0.1, 0, 0.25, 0.75, 0}},
        {"mask: hole of 0.75/d; 0.25 and 0.75",
         {HALF_ORDER, 0.2, 0.25, 0.75, 0}},
        {"mask: hole of 0.75/d; 2.5 s.d.", {HALF_ORDER, 0.2, 0, 0, 2.5}}};
    atomdl_arena arena = {0, 0, 0, 0, 0};
    subtraction *s = calloc(1, sizeof *s);
    int bad = !s && fail("not enough memory");
    hits h;
    for (int k = 0; k < 3 && !bad; k++) {
        s->w = w;
        s->how = ROW[k].how;
        bad = in_arena(subtract_stage, s, &arena, "first frame");
        mask_hits(&h, s);
        put_hits(csv, ROW[k].name, 1, &h);
    }
    io_put(&p->page, "<div class=\"f\">");
    bad = bad || picture_first(p, s);
    io_put(&p->page, "</div>\n<p>Mo: blue; Mo beside a vacancy: orange, the "
           "vacancy green; other vacancies: pink.</p>\n");
    free(s);
    free(arena.base);
    return bad;
}

/* Finds all defects by `atomdl movie` and adds a row on them. */
static int movie_row(paper *p, io_text *csv, specimen *w, int learn)
{
    hits h;
    if (find_in(p, w, learn ? "first" : "movie", learn)) return 1;
    count_hits(&h, w);
    put_hits(csv, learn ? "network taught by the first frame"
                  : "network taught by simulations (dichalcogenide)", FILMED,
             &h);
    return 0;
}

/* Leaves in w what the shipped network finds. */
static int figure_1a(paper *p, specimen *w)
{
    io_text csv = {0};
    io_put(&p->page, "<h2>Defects (figure 1a)</h2>\n");
    io_put(&csv, "method,frames,found (mask: px),of them wrong %%,found of Mo "
           "%%,Mo of Mo-V,V,V of Mo-V\n");
    int bad = mask_rows(p, &csv, w) || movie_row(p, &csv, w, 1)
              || movie_row(p, &csv, w, 0);
    return put_table(p, bad, "defects", "Defects found (4.5 A of border left "
                     "out; the papers: 10^3 to 10^4 in about 100 frames)",
                     &csv);
}

/* ---------- Classes, figure 1b ------------------------------------------- */

/* A figure that `atomdl movie` wrote. */
static int put_movie_figure(paper *p, const char *name, const char *caption)
{
    io_bytes file = {NULL, 0};
    int bad = read_table(&file, p, "movie", name);
    if (!bad && strstr(name, ".svg")) {
        io_put(&p->page, "<figure>%s<figcaption>%s</figcaption></figure>\n",
               (char *)file.data, caption);
    } else if (!bad) {
        file.size--; /* the golden page's pictures lack their last byte */
        put_png_figure(&p->page, &file, caption);
    }
    free(file.data);
    return bad;
}

/* True kinds of the members of each class of a method (0 to 2): a row each;
   returns the part of all in the commonest kind of their class, Mo of pairs
   counted as Mo. */
static double class_rows(io_text *csv, const specimen *w, int method)
{
    static const char *const METHOD[] = {"Gaussian mixture", "Ward",
                                         "k-means"};
    int count[ATOMDL_KINDS][WHATS + 1] = {0}, all = 0, pure = 0;
    int i;
    for (i = 0; i < w->found.n; i++) {
        const sight *s = &w->found.at[i];
        if (!s->cut[0]) continue;
        all++;
        count[s->cut[method] - 1][s->other < 0 ? WHATS
                                  : w->truth.at[s->other].what]++;
    }
    int most;
    for (int k = 0; k < ATOMDL_KINDS; k++) {
        const int *c = count[k];
        int group[4] = {c[LONE_MO] + c[PAIR_MO], c[LONE_V], c[PAIR_V],
                        c[WHATS]};
        for (i = 1, most = group[0]; i < 4; i++)
            most = group[i] > most ? group[i] : most;
        if (!most) continue;
        pure += most;
        io_put(csv, "%s,%d", METHOD[method], k + 1);
        for (i = 0; i <= WHATS; i++) io_put(csv, ",%d", c[i]);
        io_put(csv, "\n");
    }
    return all ? (double)pure / all : 0;
}

/* Part of the pairs' vacancies whose operation into the canonical orientation
   says the true one, when each operation stands for its commonest one. */
static double orientations(const specimen *w, int *pairs)
{
    int count[12][3] = {{0}}, right = 0;
    const sights *t = &w->truth;
    for (int i = *pairs = 0; i < w->found.n; i++) {
        const sight *s = &w->found.at[i];
        if (!s->cut[0] || s->other < 0 || t->at[s->other].what != PAIR_V)
            continue;
        for (int k = t->first[s->frame]; k < t->first[s->frame + 1]; k++) {
            if (t->at[k].id != t->at[s->other].id - 1 || !t->at[k].turn)
                continue;
            ++*pairs; /* t->at[k]: its Mo */
            count[s->cut[3]][t->at[k].turn - 1]++;
        }
    }
    for (int i = 0; i < 12; i++) {
        int most = count[i][0];
        for (int k = 1; k < 3; k++)
            most = count[i][k] > most ? count[i][k] : most;
        right += most;
    }
    return *pairs ? (double)right / *pairs : 0;
}

static int figure_1b(paper *p, const specimen *w, double *pure, double *turned)
{
    io_text csv = {0};
    io_put(&csv, "method,class");
    for (int k = 0; k < WHATS; k++) io_put(&csv, ",%s", WHAT[k]);
    io_put(&csv, ",nothing\n");
    for (int k = 0; k < 3; k++) pure[k] = class_rows(&csv, w, k);
    int pairs;
    *turned = orientations(w, &pairs);
    io_put(&p->page, "<h2>Classes without labels (figure 1b)</h2>\n<p>%d "
           "vacancies beside Mo: %.1f %% turned by the operation of their true "
           "orientation.</p>\n<div class=\"f\">", pairs, 100 * *turned);
    int bad = put_movie_figure(p, "averages.png", "averages of the mixture's "
                               "classes, in canonical orientation")
              || put_movie_figure(p, "dendrogram.svg",
                                  "Ward's hierarchy, its last merges");
    io_put(&p->page, "</div>\n");
    return put_table(p, bad, "classes", "Members of each class, by truth",
                     &csv);
}

/* ---------- Concentrations ----------------------------------------------- */

static int count_what(const sights *s, int frame, int what)
{
    int n = 0;
    for (int i = s->first[frame]; i < s->first[frame + 1]; i++)
        n += s->at[i].what == what && well_inside(&s->at[i]);
    return n;
}

static int concentration_table(paper *p, const specimen *w)
{
    enum { SEEN, LOW, HIGH, TRUE, CURVES, KNOWN = 3 };
    static const unsigned COLOUR[] = {0x2f7fd1, 0xe0662f, 0x3ca55c};
    static const char *const NAME[] = {"Mo", "Mo-V", "V"};
    static double x[FILMED], y[KNOWN][CURVES][FILMED];
    double side = (WS2_SIDE * WS2_PIXEL - 2 * WS2_EDGE) / 10;
    series s[2 * KNOWN];
    io_text csv = {0};
    io_put(&csv, "frame");
    for (int k = 0; k < KNOWN; k++) {
        s[k] = (series){NAME[k], COLOUR[k], y[k][SEEN], y[k][LOW], y[k][HIGH],
                        1};
        s[k + KNOWN] = (series){"", COLOUR[k], y[k][TRUE], NULL, NULL, 0};
        io_put(&csv, ",%s per nm2,low,high,truth", NAME[k]);
    }
    io_put(&csv, "\n");
    for (int i = 0; i < FILMED; i++) {
        x[i] = i;
        if (i % 10 == 0) io_put(&csv, "%d", i);
        for (int k = 0; k < KNOWN; k++) {
            atomdl_interval c = atomdl_concentration(
                (uint32_t)count_what(&w->found, i, k), side * side);
            y[k][SEEN][i] = c.value, y[k][LOW][i] = c.low;
            y[k][HIGH][i] = c.high;
            y[k][TRUE][i] = count_what(&w->truth, i, k) / (side * side);
            if (i % 10 == 0)
                io_put(&csv, ",%.3f,%.3f,%.3f,%.3f%s", c.value, c.low, c.high,
                       y[k][TRUE][i], k < KNOWN - 1 ? "" : "\n");
        }
    }
    io_put(&p->page, "<h2>Concentrations in time</h2>\n<figure>");
    put_plot(&p->page, &(plot){"frame", "per nm²", x, FILMED, s, 2 * KNOWN, 1});
    io_put(&p->page, "<figcaption>dots: found, with 68 %% intervals of Poisson "
           "counts; lines: truth</figcaption></figure>\n");
    return put_table(p, 0, "concentrations", "Every tenth frame", &csv);
}

/* ---------- Trajectories and diffusion ----------------------------------- */

typedef struct {
    int right, wrong, tracks;
    atomdl_msd msd;
    atomdl_hops hops;
    atomdl_hop_rate rate;
    atomdl_diffusion d;
} walk;

static int most_tracks(const sights *s)
{
    int most = 0;
    for (int i = 0; i < s->n; i++)
        most = s->at[i].id > most ? s->at[i].id : most;
    return most;
}

/* Adds track number id while it is a vacancy without Mo. */
static void walk_track(walk *k, const specimen *w, int id, const double *basis)
{
    int n = 0, last = -1, all = 0;
    for (int i = 0; i < w->found.n; i++) all += w->found.at[i].id == id;
    uint32_t frame[FILMED];
    double xy[2 * FILMED];
    for (int i = 0; i < w->found.n; i++) {
        const sight *s = &w->found.at[i];
        if (s->id != id) continue;
        if (s->other >= 0) {
            int now = w->truth.at[s->other].id;
            k->right += now == last;
            k->wrong += last >= 0 && now != last;
            last = now;
        }
        if (s->what == LONE_V && all > 7) {
            frame[n] = (uint32_t)s->frame;
            xy[2 * n] = s->u;
            xy[2 * n++ + 1] = s->v;
            continue;
        }
        atomdl_msd_add(&k->msd, frame, xy, n, ATOMDL_LAGS);
        atomdl_hops_add(&k->hops, frame, xy, n, basis);
        n = 0;
    }
    k->tracks += n > 0;
    atomdl_msd_add(&k->msd, frame, xy, n, ATOMDL_LAGS);
    atomdl_hops_add(&k->hops, frame, xy, n, basis);
}

static void motion_of(walk *k, const specimen *w)
{
    double basis[4], angle = WS2_TURN / 57.29577951308232;
    int tracks = most_tracks(&w->found);
    for (int i = 0; i < 2; i++, angle += 1.0471975511965976) {
        basis[2 * i] = WS2_A * atomdl_cos(angle);
        basis[2 * i + 1] = WS2_A * atomdl_sin(angle);
    }
    memset(k, 0, sizeof *k);
    for (int i = 1; i <= tracks; i++) walk_track(k, w, i, basis);
    if (k->hops.steps) k->rate = atomdl_hops_rate(&k->hops, basis);
    if (atomdl_msd_fit(&k->d, &k->msd, FILMED / 4)) k->d.error = 0;
}

/* Hops of the simulated vacancies a frame: state 1 of the recipe's events. */
static double true_rate(const specimen *w)
{
    const atomdl_events *e = &w->movie.events;
    double steps = 0;
    for (int k = 0; k < ATOMDL_STATES; k++) steps += e->change[1][k];
    return steps > 0 ? e->hops[1] / steps : 0;
}

static int motion_table(paper *p, const specimen *w, walk *k)
{
    static const char *const NAME[] = {"", NULL};
    double y[2 * (FILMED / 2)], area = WS2_A * WS2_A / 4;
    io_text csv = {0};
    int n = FILMED / 2;
    motion_of(k, w);
    double x[FILMED / 2];
    for (int i = 0; i < n; i++) {
        x[i] = i + 1;
        y[i] = atomdl_msd_mean(&y[n + i], &k->msd, i + 1);
    }
    io_put(&csv, "vacancies without Mo,input,simulated,found,s.d.\n"
           "hops a frame,%.4f,%.4f,%.4f,%.4f\n", HOP, true_rate(w),
           k->rate.rate, k->rate.rate_error);
    io_put(&csv, "D by hops A2/frame,%.4f,%.4f,%.4f,%.4f\n", HOP * area,
           true_rate(w) * area, k->rate.diffusion, k->rate.diffusion_error);
    io_put(&csv, "D by mean squared displacement A2/frame,%.4f,%.4f,%.4f,%.4f"
           "\n", HOP * area, true_rate(w) * area, k->d.diffusion, k->d.error);
    io_put(&p->page, "<h2>Trajectories and diffusion</h2>\n<p>Links from frame "
           "to frame: %d right, %d wrong. %u hops in %u steps of %d tracks. "
           "The papers print no number.</p>\n<div class=\"f\">", k->right,
           k->wrong, k->hops.hops, k->hops.steps, k->tracks);
    int bad =
        put_movie_figure(p, "tracks.svg", "tracks, in the first frame's place");
    put_graph(p, "vacancies without Mo", NAME, 1, y,
              &(plot){"lag / frames", "mean squared displacement / Å²", x, n,
                      NULL, 0, 0});
    io_put(&p->page, "</div>\n");
    return put_table(p, bad, "motion", "Diffusion of vacancies", &csv);
}

/* ---------- Transitions of Mo and vacancy -------------------------------- */

enum { KINDS = 4, LEAST_SEEN = 8 }; /* KINDS: here and as published */

static double input_rate(int i, int j)
{
    if (!i) return j ? BIND / 3 : 1 - BIND;
    if (!j) return LEAVE;
    return (1 - LEAVE) * (i == j ? 1 - REORIENT : REORIENT / 2);
}

/* Rms of (p - m) in units of the error of so many counted transitions. */
static double rms_z(double p[][ATOMDL_MARKOV], double m[][ATOMDL_MARKOV],
                    const atomdl_counts *c)
{
    double sum = 0;
    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j < KINDS; j++) {
            double n = (double)c->pair[i][0] + c->pair[i][1] + c->pair[i][2]
                       + c->pair[i][3];
            double d = p[i][j] - m[i][j];
            sum += d * d * n / (m[i][j] * (1 - m[i][j]));
        }
    return atomdl_sqrt(sum / (KINDS * KINDS));
}

/* The chain before anything is learnt, `wrong` labels of equal share. */
static void chains_begin(atomdl_chains *c, double wrong)
{
    c->hmm.states = KINDS;
    c->rounds = 100;
    c->still = 1e-3;
    for (int i = 0; i < KINDS; i++) {
        c->hmm.start[i] = 1. / KINDS;
        for (int j = 0; j < KINDS; j++) {
            c->hmm.p[i][j] = i == j ? 0.9 : 0.1 / (KINDS - 1);
            c->prior[i][j] = i == j ? 2 : 0.2;
            c->found[i][j] = i == j ? 1 - wrong : wrong / (KINDS - 1);
        }
    }
}

static int chains_stage(void *of, atomdl_arena *arena)
{
    return atomdl_chains_new(of, arena);
}

/* n sequences of at most `longest` labels, which are all unseen. */
static int chains_in(atomdl_chains *c, atomdl_arena *memory, int n, int longest)
{
    memset(c, 0, sizeof *c);
    c->states = c->labels = KINDS;
    c->n = n;
    c->longest = longest;
    c->all = (size_t)n * (size_t)longest;
    return in_arena(chains_stage, c, memory, "chains");
}

static int learn_stage(void *of, atomdl_arena *arena)
{
    return atomdl_chains_learn(of, 0, arena);
}

static int decode_stage(void *of, atomdl_arena *arena)
{
    return atomdl_chains_learn(of, 1, arena);
}

/* What is found as what is learnt too, unless it is fixed. */
static int chains_decode(atomdl_chains *c, int fixed)
{
    atomdl_arena scratch = {0, 0, 0, 0, 0};
    int bad = in_arena(fixed ? decode_stage : learn_stage, c, &scratch,
                       "classes");
    free(scratch.base);
    return bad;
}

/* Matrix of sequences state (all), with half a count a row as prior; c <- its
   counts. */
static int solve_chains(atomdl_markov *m, atomdl_counts *c,
                        const atomdl_chains *h, const int32_t *state)
{
    int status = 0;
    memset(c, 0, sizeof *c);
    c->states = KINDS;
    for (int k = 0; k < h->n && !status; state += h->length[k++])
        status = atomdl_counts_add(c, state, h->length[k]);
    if (!status) status = atomdl_markov_solve(m, c, 0.5 / KINDS, NULL);
    return status ? fail("transitions: %s", atomdl_strerror(status)) : 0;
}

/* Chains of what each Mo's track holds: none, or a vacancy in orientation 1,
   2, 3; truth (all) beside. */
static int pair_chains(atomdl_chains *h, atomdl_arena *memory, int32_t **truth,
                       const specimen *w)
{
    int tracks = most_tracks(&w->found);
    size_t all = (size_t)tracks * FILMED;
    *truth = calloc(all + 1, sizeof **truth);
    if (!*truth) return fail("not enough memory");
    if (chains_in(h, memory, tracks, FILMED)) return 1;
    h->n = 0;
    h->all = 0;
    for (int id = 1; id <= tracks; id++) {
        int32_t *label = h->label + h->all, *is = *truth + h->all;
        int first = -1, last = -1, seen = 0;
        for (int i = 0; i < FILMED; i++) label[i] = is[i] = -1;
        for (int i = 0; i < w->found.n; i++) {
            const sight *s = &w->found.at[i];
            if (s->id != id || s->vacancy || !well_inside(s)) continue;
            first = first < 0 ? s->frame : first;
            last = s->frame - first;
            label[last] = s->turn;
            if (s->other >= 0) is[last] = w->truth.at[s->other].turn;
            seen++;
        }
        if (seen < LEAST_SEEN) continue;
        h->length[h->n++] = last + 1;
        h->all += (size_t)last + 1;
    }
    chains_begin(h, 0.1);
    return h->n ? chains_decode(h, 0) : fail("no track of Mo is long enough");
}

typedef struct {
    int seen, found, path; /* labels; wrong ones as found, by the chain */
    int traces;
    double z[2];           /* rms of matrix - input in sampling errors: of the
                              true classes, by the chain */
} judgement;

static void judge_chain(judgement *g, const atomdl_chains *h,
                        const int32_t *truth)
{
    memset(g, 0, sizeof *g);
    g->traces = h->n;
    for (size_t k = 0; k < h->all; k++) {
        if (h->label[k] < 0 || truth[k] < 0) continue;
        g->seen++;
        g->found += h->label[k] != truth[k];
        g->path += h->path[k] != truth[k];
    }
}

static void put_pair_matrix(io_text *csv, double input[][ATOMDL_MARKOV],
                            const atomdl_markov *m)
{
    static const char *const NAME[] = {"Mo", "Mo-V 1", "Mo-V 2", "Mo-V 3"};
    io_put(csv, "from,to,input,simulated,s.d.,as found,s.d.,corrected,s.d.\n");
    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j < KINDS; j++) {
            io_put(csv, "%s,%s,%.4f", NAME[i], NAME[j], input[i][j]);
            for (int k = 0; k < 3; k++)
                io_put(csv, ",%.4f,%.4f", m[k].p[i][j], m[k].sd[i][j]);
            io_put(csv, "\n");
        }
    for (int i = 0; i < KINDS; i++) {
        io_put(csv, "%s,lifetime in frames,%.1f", NAME[i],
               1 / (1 - input[i][i]));
        for (int k = 0; k < 3; k++)
            io_put(csv, ",%.1f,%.1f", m[k].lifetime[i], m[k].lifetime_sd[i]);
        io_put(csv, "\n");
    }
}

/* Input, truth, as found, corrected; csv NULL: only judged. */
static int pair_matrix(io_text *csv, judgement *g, const specimen *w)
{
    double input[ATOMDL_MARKOV][ATOMDL_MARKOV];
    atomdl_markov m[3];
    atomdl_counts c[3];
    atomdl_chains h;
    atomdl_arena memory = {0};
    int32_t *truth;
    int bad = pair_chains(&h, &memory, &truth, w)
                 || solve_chains(&m[0], &c[0], &h, truth)
                 || solve_chains(&m[1], &c[1], &h, h.label)
                 || solve_chains(&m[2], &c[2], &h, h.path);
    for (int i = 0; i < KINDS * KINDS; i++)
        input[i / KINDS][i % KINDS] = input_rate(i / KINDS, i % KINDS);
    if (!bad) {
        judge_chain(g, &h, truth);
        g->z[0] = rms_z(m[0].p, input, &c[0]);
        g->z[1] = rms_z(m[2].p, input, &c[2]);
        if (csv) put_pair_matrix(csv, input, m);
    }
    free(memory.base);
    free(truth);
    return bad;
}

static int pair_table(paper *p, const specimen *w, judgement *g)
{
    io_text csv = {0};
    int bad = pair_matrix(&csv, g, w);
    if (!bad)
        io_put(&p->page, "<h2>Transitions of Mo and vacancy</h2>\n<p>%d tracks "
               "of Mo, %d labels: %.2f %% wrong as found in each frame, %.2f %% "
               "after the hidden Markov chain, which learns transitions and "
               "confusion from them.</p>\n", g->traces, g->seen,
               100. * g->found / g->seen, 100. * g->path / g->seen);
    return put_table(p, bad, "transitions", "Probabilities a frame, s.d. of "
                     "Dirichlet posteriors, and lifetimes", &csv);
}

/* ---------- Dose --------------------------------------------------------- */

static void dose_row(io_text *csv, int dose, const specimen *w,
                     const walk *k, const judgement *g)
{
    hits h;
    count_hits(&h, w);
    io_put(csv, "%d,%d,%.1f,%.1f,%.1f,%.2f,%.2f,%.2f,%.2f,%.4f,%.4f,%.4f\n",
           dose, h.found, 100. * h.wrong / h.found,
           100. * h.hit[LONE_V] / h.of[LONE_V],
           100. * h.hit[PAIR_V] / h.of[PAIR_V],
           100. * k->wrong / (k->right + k->wrong), 100. * g->found / g->seen,
           100. * g->path / g->seen, g->z[1], k->rate.rate, k->rate.rate_error,
           true_rate(w));
}

/* The movie at lower doses. */
static int dose_rows(paper *p, io_text *csv)
{
    static const int LOW[] = {20000, 50000};
    int bad = 0;
    io_put(csv, "dose e/A2,found,of them wrong %%,found of V %%,of V of Mo-V "
           "%%,wrong links %%,wrong labels of Mo as found %%,corrected %%,"
           "rms z of the corrected matrix,hops of V a frame,s.d.,simulated\n");
    for (int i = 0; i < 2 && !bad; i++) {
        specimen *w = specimen_new(p, LOW[i]);
        judgement g;
        bad = !w || find_in(p, w, "movie", 0) || pair_matrix(NULL, &g, w);
        if (!bad) {
            walk k;
            motion_of(&k, w);
            dose_row(csv, LOW[i], w, &k, &g);
        }
        specimen_free(w);
    }
    return bad;
}

/* ---------- The cell around Mo by principal components ------------------- */

enum { CELL = 56, MODES = 4, SITES = 7 }; /* sites: Mo and six W */

typedef struct {
    const specimen *w;
    int n, of[DETECTED];  /* pictures, each of found.at[of] */
    double centre[DETECTED][2];     /* px */
    float *x;             /* (n, CELL, CELL) */
    double site[SITES][2];          /* in the lattice's axes, from Mo [A] */
    double moved[MODES][SITES][2];  /* at a score of 1 [A] */
    double *truth;        /* (n, SITES, 2) [A] */
    double *score;        /* (n, MODES) */
    atomdl_pca pca;
    atomdl_arena arena;
} cells;

/* x, y in the lattice's axes from those of the image, or back. */
static void to_lattice(double xy[2], double x, double y, int back)
{
    double angle = WS2_TURN / 57.29577951308232;
    double c = atomdl_cos(angle), s = back ? -atomdl_sin(angle)
                                           : atomdl_sin(angle);
    xy[0] = c * x + s * y;
    xy[1] = c * y - s * x;
}

/* Pictures of Mo without vacancies, in the lattice's axes. */
static int cut_cells(cells *c)
{
    size_t one = (size_t)CELL * CELL;
    atomdl_cutting how = {CELL, ATOMDL_CUBIC, WS2_TURN / 57.29577951308232, 1,
                          0};
    atomdl_image image = {WS2_SIDE, WS2_SIDE, 1, NULL};
    for (int i = 0; i < c->n; i++) {
        image.px = c->w->px + (size_t)c->w->found.at[c->of[i]].frame
                                  * WS2_SIDE * WS2_SIDE;
        if (atomdl_cut(c->x + (size_t)i * one, &image, 0, c->centre[i], 1,
                       NULL, &how)) return fail("cannot cut");
    }
    return 0;
}

/* Is nothing else found within 6 A? */
static int isolated(const sights *s, int i)
{
    int frame = s->at[i].frame;
    for (int k = s->first[frame]; k < s->first[frame + 1]; k++) {
        double dx = s->at[k].x - s->at[i].x, dy = s->at[k].y - s->at[i].y;
        if (k != i && dx * dx + dy * dy < 36) return 0;
    }
    return 1;
}

static int list_cells(cells *c)
{
    const sights *f = &c->w->found;
    for (int i = 0; i < f->n; i++) {
        const sight *s = &f->at[i];
        if (s->vacancy || s->other < 0 || !well_inside(s) || !isolated(f, i))
            continue;
        c->centre[c->n][0] = s->x / WS2_PIXEL;
        c->centre[c->n][1] = s->y / WS2_PIXEL;
        c->of[c->n++] = i;
    }
    if (c->n < 10) return fail("too few Mo for components");
    c->x = malloc((size_t)c->n * CELL * CELL * sizeof *c->x);
    return c->x ? 0 : fail("not enough memory");
}

static int cells_stage(void *of, atomdl_arena *arena)
{
    cells *c = of;
    c->score = atomdl_alloc(arena, (size_t)c->n * MODES, sizeof *c->score);
    int status =
        atomdl_pca_fit(&c->pca, c->x, c->n, CELL * CELL,
                       &(atomdl_pca_how){1, MODES, NULL}, arena);
    return status ? status : atomdl_pca_project(c->score, &c->pca, c->x, c->n,
                                                arena);
}

/* How far site s moves when the picture m changes by `mode`: least squares of
   mode = -moved . gradient of m, within 0.8 A. */
static void site_moved(double moved[2], const cells *c, const double *m,
                       const double *mode, int s)
{
    double xx = 0, xy = 0, yy = 0, x = 0, y = 0;
    for (int i = 0; i < CELL * CELL; i++) {
        double dx = i % CELL - 0.5 * (CELL - 1) - c->site[s][0] / WS2_PIXEL;
        double dy = i / CELL - 0.5 * (CELL - 1) - c->site[s][1] / WS2_PIXEL;
        if (dx * dx + dy * dy > 0.64 / (WS2_PIXEL * WS2_PIXEL)) continue;
        double gx = (m[i + 1] - m[i - 1]) / (2 * WS2_PIXEL);
        double gy = (m[i + CELL] - m[i - CELL]) / (2 * WS2_PIXEL);
        xx += gx * gx, xy += gx * gy, yy += gy * gy;
        x -= gx * mode[i], y -= gy * mode[i];
    }
    double det = xx * yy - xy * xy;
    moved[0] = (x * yy - y * xy) / det;
    moved[1] = (y * xx - x * xy) / det;
}

/* Moves the metals of each picture to where the mean's are. */
static int centre_cells(cells *c)
{
    static double mean[CELL * CELL], change[CELL * CELL];
    int label[DETECTED] = {0};
    atomdl_class_means(mean, NULL, c->x, label, c->n, CELL * CELL, 1);
    int s;
    double moved[2], all[2];
    for (int i = 0; i < c->n; i++) {
        for (int k = 0; k < CELL * CELL; k++)
            change[k] = (double)c->x[i * CELL * CELL + k] - mean[k];
        for (s = 0, all[0] = all[1] = 0; s < SITES; s++) {
            site_moved(moved, c, mean, change, s);
            for (int k = 0; k < 2; k++) all[k] += moved[k] / SITES;
        }
        to_lattice(moved, all[0], all[1], 1);
        for (int k = 0; k < 2; k++) c->centre[i][k] += moved[k] / WS2_PIXEL;
    }
    return cut_cells(c);
}

/* v (SITES, 2) <- less its mean over the sites. */
static void without_mean(double *v)
{
    double mean[2] = {0, 0};
    for (int i = 0; i < 2 * SITES; i++) mean[i % 2] += v[i] / SITES;
    for (int i = 0; i < 2 * SITES; i++) v[i] -= mean[i % 2];
}

/* Where the metals around each Mo truly are. */
static int true_cells(cells *c)
{
    c->truth = calloc((size_t)c->n * SITES * 2, sizeof *c->truth);
    if (!c->truth) return fail("not enough memory");
    for (int i = 0; i < c->n; i++) {
        const sight *of = &c->w->found.at[c->of[i]];
        const sight *mo = &c->w->truth.at[of->other];
        double *t = c->truth + (size_t)i * SITES * 2;
        for (size_t k = c->w->start[of->frame]; k < c->w->start[of->frame + 1];
             k++) {
            double xy[2];
            to_lattice(xy, c->w->column[2 * k] - mo->x,
                       c->w->column[2 * k + 1] - mo->y, 0);
            for (int s = 0; s < SITES; s++) {
                double dx = xy[0] - c->site[s][0], dy = xy[1] - c->site[s][1];
                if (dx * dx + dy * dy > 0.8) continue;
                t[2 * s] = dx;
                t[2 * s + 1] = dy;
            }
        }
        without_mean(t);
    }
    return 0;
}

/* A row of a mode: displacements at 1 s.d. of its score, and those that the
   scores predict beside the true ones: correlation, and slope of true over
   predicted. Returns the correlation. */
static double mode_row(io_text *csv, const cells *c, int mode)
{
    const double *d = &c->moved[mode][0][0];
    double tt = 0, ts = 0, ss = 0, size = 0, most = 0, mean = 0;
    double sd = atomdl_sqrt(c->pca.value[mode]);
    for (int k = 0; k < 2 * SITES; k++) size += d[k] * d[k];
    for (int k = 0; k < SITES; k++) {
        double far = d[2 * k] * d[2 * k] + d[2 * k + 1] * d[2 * k + 1];
        most = far > most ? far : most;
    }
    for (int i = 0; i < c->n; i++)
        for (int k = 0; k < 2 * SITES; k++)
            mean += d[k] * c->truth[i * 2 * SITES + k] / c->n;
    for (int i = 0; i < c->n; i++) {
        double score = c->score[i * MODES + mode], q = -mean;
        for (int k = 0; k < 2 * SITES; k++)
            q += d[k] * c->truth[i * 2 * SITES + k];
        tt += q * q, ts += q * score, ss += score * score;
    }
    io_put(csv, "%d,%.1f,%.1f,%.1f,%.1f,%.1f,%.3f,%.2f\n", mode + 1,
           100 * c->pca.value[mode] / c->pca.total, 100 * sd * d[0],
           100 * sd * d[1], 100 * sd * atomdl_sqrt(most),
           100 * sd * atomdl_sqrt(size / (2 * SITES)),
           ts / atomdl_sqrt(tt * ss), ts / (ss * size));
    return ts / atomdl_sqrt(tt * ss);
}

/* The mean, or a mode with arrows: 10 times the motion at 2 s.d. */
static int picture_mode(paper *p, const cells *c, int mode)
{
    static float px[CELL * CELL];
    double far = mode < 0 ? 0 : 20 * atomdl_sqrt(c->pca.value[mode]);
    io_pen pen = {0xffb000, 255};
    int zoom = 4;
    for (int i = 0; i < CELL * CELL; i++)
        px[i] = (float)(mode < 0 ? c->pca.mean[i]
                                 : c->pca.vector[mode * CELL * CELL + i]);
    io_canvas canvas;
    if (io_canvas_image(&canvas, px, CELL, CELL, zoom, 0, 1))
        return fail("%s", io_reason());
    for (int i = 0; i < SITES && mode >= 0; i++) {
        double x = (c->site[i][0] / WS2_PIXEL + 0.5 * CELL) * zoom;
        double y = (c->site[i][1] / WS2_PIXEL + 0.5 * CELL) * zoom;
        double k = far * zoom / WS2_PIXEL;
        io_draw_disc(&canvas, x, y, 3, pen);
        io_draw_line(&canvas, x, y, x + k * c->moved[mode][i][0],
                     y + k * c->moved[mode][i][1], 2, pen);
    }
    char caption[64];
    if (mode < 0) sprintf(caption, "mean of %d", c->n);
    else sprintf(caption, "component %d", mode + 1);
    return put_canvas(p, caption, &canvas);
}

static void cell_sites(cells *c)
{
    for (int s = 1; s < SITES; s++) {
        double angle = (s - 1) * 1.0471975511965976;
        c->site[s][0] = WS2_A * atomdl_cos(angle);
        c->site[s][1] = WS2_A * atomdl_sin(angle);
    }
}

static int cell_table(paper *p, const specimen *w, double *r)
{
    cells *c = calloc(1, sizeof *c);
    io_text csv = {0};
    if (!c) return fail("not enough memory");
    c->w = w;
    cell_sites(c);
    int bad =
        list_cells(c) || cut_cells(c) || centre_cells(c) || centre_cells(c)
        || in_arena(cells_stage, c, &c->arena, "components") || true_cells(c);
    io_put(&csv, "component,variance %%,Mo x pm,y pm,greatest of the metals pm,"
           "rms pm,correlation with truth,true over predicted\n");
    io_put(&p->page, "<h2>Distortions of the cell around Mo</h2>\n"
           "<div class=\"f\">");
    for (int i = -1; i < MODES && !bad; i++) {
        for (int s = 0; s < SITES && i >= 0; s++)
            site_moved(c->moved[i][s], c, c->pca.mean,
                       c->pca.vector + i * CELL * CELL, s);
        if (i >= 0) without_mean(&c->moved[i][0][0]);
        bad = picture_mode(p, c, i);
        if (i < 0 || bad) continue;
        r[i] = mode_row(&csv, c, i);
    }
    io_put(&p->page, "</div>\n<p>Arrows: displacements that the component "
           "stands for, 10 times what they are at 2 s.d. of its score. The "
           "simulated columns tremble by 5 pm in x and in y, each by itself."
           "</p>\n");
    free(c->x);
    free(c->truth);
    free(c->arena.base);
    free(c);
    return put_table(p, bad, "cell", "Principal components of the pictures of "
                     "Mo, at 1 s.d.", &csv);
}

/* ---------- The published matrix -------------------------------------------

   Probabilities from class to class, a frame, as the authors of papers 002 and
   003 published them. */

enum { CHAINS = 100, LINKS = 100 };

static const double PUBLISHED[KINDS][KINDS] = {
    {0.10813397, 0.31901914, 0.26531100, 0.30753589},
    {0.12245688, 0.18133569, 0.35623065, 0.33997678},
    {0.18299351, 0.23385332, 0.26509152, 0.31806165},
    {0.16767163, 0.20472051, 0.28236597, 0.34524190}};

#define WRONG 0.15 /* part of the labels */

static int published_solve(atomdl_markov *m)
{
    atomdl_counts c = {.states = KINDS};
    for (int i = 0; i < KINDS; i++) /* its eight digits */
        for (int j = 0; j < KINDS; j++)
            c.pair[i][j] = (uint32_t)(1e8 * PUBLISHED[i][j] + 0.5);
    int status = atomdl_markov_solve(m, &c, 0, NULL);
    return status ? fail("matrix: %s", atomdl_strerror(status)) : 0;
}

typedef double square[KINDS][KINDS];

/* c <- a b */
static void square_product(square c, square a, square b)
{
    square r = {0};
    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j < KINDS; j++)
            for (int k = 0; k < KINDS; k++) r[i][j] += a[i][k] * b[k][j];
    memcpy(c, r, sizeof r);
}

/* b <- p less its stationary part, whose powers are those of p less it. */
static void transient(square b, const atomdl_markov *m)
{
    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j < KINDS; j++) b[i][j] = m->p[i][j] - m->stationary[j];
}

/* Modulus of the second eigenvalue, from the norm of power 1024. */
static double second_eigenvalue(const atomdl_markov *m)
{
    square b;
    double log = 0, sum, *v = b[0];
    transient(b, m);
    for (int k = 0;; k++) {
        sum = 0;
        for (int i = 0; i < KINDS * KINDS; i++) sum += v[i] * v[i];
        if (k == 10) return atomdl_exp((log + atomdl_log(sum) / 2) / 1024);
        double norm = atomdl_sqrt(sum);
        for (int i = 0; i < KINDS * KINDS; i++) v[i] /= norm;
        log = 2 * (log + atomdl_log(norm));
        square_product(b, b, b);
    }
}

/* How much of a start the frames remember. */
static void mixing_table(io_text *csv, const atomdl_markov *m)
{
    square b, power;
    transient(b, m);
    memcpy(power, b, sizeof b);
    io_put(csv, "frames,greatest part of a start that is remembered\n");
    for (int n = 1; n < 6; n++) {
        double most = 0;
        for (int i = 0; i < KINDS; i++) {
            double sum = 0;
            for (int j = 0; j < KINDS; j++)
                sum += power[i][j] < 0 ? -power[i][j] : power[i][j];
            most = sum / 2 > most ? sum / 2 : most;
        }
        io_put(csv, "%d,%.6f\n", n, most);
        square_product(power, power, b);
    }
}

/* The matrix, the flux between its classes; what a frame tells of the next
   [bits] */
static double matrix_tables(io_text *csv, io_text *flux, const atomdl_markov *m)
{
    double bits = 0;
    io_put(csv, "class,to 1,to 2,to 3,to 4,row,column,stationary,lifetime in "
           "frames\n");
    io_put(flux, "classes,there,back,net,s.d. of net for 10^4 transitions\n");
    for (int i = 0; i < KINDS; i++) {
        double row = 0, column = 0;
        io_put(csv, "%d", i + 1);
        for (int j = 0; j < KINDS; j++) {
            double there = m->stationary[i] * m->p[i][j];
            double back = m->stationary[j] * m->p[j][i];
            row += PUBLISHED[i][j];
            column += PUBLISHED[j][i];
            bits += there * atomdl_log(m->p[i][j] / m->stationary[j])
                    / 0.6931471805599453;
            io_put(csv, ",%.8f", PUBLISHED[i][j]);
            if (j > i)
                io_put(flux, "%d and %d,%.4f,%.4f,%.4f,%.4f\n", i + 1, j + 1,
                       there, back, there - back,
                       atomdl_sqrt((there + back) / 1e4));
        }
        io_put(csv, ",%.8f,%.3f,%.4f,%.3f\n", row, column, m->stationary[i],
               m->lifetime[i]);
    }
    return bits;
}

static int published_table(paper *p, const atomdl_markov *m)
{
    io_text csv = {0}, mixing = {0}, flux = {0};
    double bits = matrix_tables(&csv, &flux, m);
    mixing_table(&mixing, m);
    io_put(&p->page, "<p>Second eigenvalue: modulus %.4f. What a frame tells "
           "of the next: %.4f bits. Rows are from, columns to; each row is "
           "nearly the stationary distribution, so that a class lasts little "
           "longer than a frame and the start is forgotten in three. Detailed "
           "balance does not hold: more goes from 1 to 2 to 3 and 4, and from "
           "there to 1, than back. Such a chain cannot correct labels; it "
           "could if frames came four times as fast (the last of these "
           "tables).</p>\n", second_eigenvalue(m), bits);
    int bad = put_table(p, 0, "published", "The matrix: rows add up to 1, "
                        "columns do not", &csv);
    bad = put_table(p, bad, "published-mixing", "How long the start is "
                    "remembered (total variation from the stationary "
                    "distribution)", &mixing);
    return put_table(p, bad, "published-balance", "Detailed balance: flux a "
                     "frame between classes", &flux);
}

static int drawn_from(const double *part, atomdl_rng *rng)
{
    double u = atomdl_rng_uniform64(rng);
    int k;
    for (k = 0; k < KINDS - 1; k++)
        if ((u -= part[k]) < 0) break;
    return k;
}

/* Chains of p, and labels of which WRONG are wrong. */
static int draw_chains(atomdl_chains *h, atomdl_arena *memory, int32_t **truth,
                       const atomdl_markov *m)
{
    atomdl_rng rng = atomdl_rng_seed(2003);
    *truth = malloc(CHAINS * LINKS * sizeof **truth);
    if (!*truth) return fail("not enough memory");
    if (chains_in(h, memory, CHAINS, LINKS)) return 1;
    for (int i = 0; i < CHAINS * LINKS; i++) {
        int k =
            drawn_from(i % LINKS ? m->p[(*truth)[i - 1]] : m->stationary, &rng);
        (*truth)[i] = k;
        if (atomdl_rng_uniform64(&rng) < WRONG)
            k = (k + 1 + (int)atomdl_rng_below(&rng, KINDS - 1)) % KINDS;
        h->label[i] = k;
    }
    for (int i = 0; i < CHAINS; i++) h->length[i] = LINKS;
    return 0;
}

/* The chain that is known: matrix and part of wrong labels. */
static void know(atomdl_chains *h, const atomdl_markov *m)
{
    chains_begin(h, WRONG);
    memcpy(h->hmm.start, m->stationary, sizeof h->hmm.start);
    memcpy(h->hmm.p, m->p, sizeof h->hmm.p);
    h->rounds = 0;
}

/* The most probable of a chain's states. */
static int likeliest(const double *q)
{
    int k = 0;
    for (int j = 1; j < KINDS; j++) k = q[j] > q[k] ? j : k;
    return k;
}

/* Learns m again from labels alone, with `kappa` pseudo-counts of it. */
static int learn_again(atomdl_chains *h, const atomdl_markov *m, double kappa)
{
    know(h, m);
    h->rounds = 100;
    for (int i = 0; i < KINDS; i++)
        for (int j = 0; j < KINDS; j++) {
            h->hmm.p[i][j] = 1. / KINDS + (i == j ? 0.03 : -0.01);
            h->prior[i][j] = kappa * m->p[i][j];
        }
    return chains_decode(h, 1);
}

/* Labels of chains of m as found and as decoded; the matrix from the true
   classes, from the labels, and learnt without and with `kappa` pseudo-counts
   of m. */
static int decode_row(io_text *csv, atomdl_markov *m, double part, double kappa)
{
    int wrong[3] = {0, 0, 0};
    atomdl_chains h;
    atomdl_arena memory = {0};
    int32_t *truth;
    atomdl_markov of;
    atomdl_counts c, other;
    int bad = draw_chains(&h, &memory, &truth, m);
    if (!bad) know(&h, m);
    bad = bad || chains_decode(&h, 1) || solve_chains(&of, &c, &h, truth);
    for (int i = 0; i < CHAINS * LINKS && !bad; i++) {
        wrong[0] += h.label[i] != truth[i];
        wrong[1] += h.path[i] != truth[i];
        wrong[2] += likeliest(h.posterior + i * KINDS) != truth[i];
    }
    double z[4] = {0, 0, 0, 0};
    if (!bad) z[0] = rms_z(of.p, m->p, &c);
    bad = bad || solve_chains(&of, &other, &h, h.label);
    if (!bad) z[1] = rms_z(of.p, m->p, &c);
    for (int k = 0; k < 2 && !bad; k++) {
        bad = learn_again(&h, m, k * kappa);
        z[2 + k] = rms_z(h.hmm.p, m->p, &c);
    }
    io_put(csv, "%.2f,%.2f,%.3f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f,%.2f\n", part,
           m->lifetime[KINDS - 1], second_eigenvalue(m), 0.01 * wrong[0],
           0.01 * wrong[1], 0.01 * wrong[2], z[0], z[1], z[2], z[3]);
    free(memory.base);
    free(truth);
    return bad;
}

/* Frames that come faster: a class moves in `part` of them. */
static int published_decode(paper *p, const atomdl_markov *m)
{
    static const double PART[] = {1, 0.5, 0.25, 0.1};
    io_text csv = {0};
    int bad = 0;
    io_put(&csv, "part of the frames that step,lifetime of class 4,second "
           "eigenvalue,wrong labels %%,Viterbi %%,posterior %%,rms z of the "
           "matrix: true classes,labels counted,Baum-Welch,with 20 "
           "pseudo-counts a row\n");
    for (int k = 0; k < 4 && !bad; k++) {
        atomdl_markov slow = *m;
        for (int i = 0; i < KINDS; i++) {
            for (int j = 0; j < KINDS; j++)
                slow.p[i][j] = PART[k] * m->p[i][j]
                               + (i == j ? 1 - PART[k] : 0);
            slow.lifetime[i] = m->lifetime[i] / PART[k];
        }
        bad = decode_row(&csv, &slow, PART[k], 20);
    }
    return put_table(p, bad, "published-decoded", "Simulated chains (100 of "
                     "100 frames) with 15 % of wrong labels, decoded with the "
                     "matrix as prior; z: in sampling errors of the true "
                     "classes", &csv);
}

static int published_matrix(paper *p)
{
    io_put(&p->page, "<h2>The published 4 x 4 matrix</h2>\n<p>Transition "
           "probabilities of the defects' classes from frame to frame, as "
           "published by the authors of the papers.</p>\n");
    atomdl_markov m;
    return published_solve(&m) || published_table(p, &m)
           || published_decode(p, &m);
}

/* ---------- Papers 002 and 003 ------------------------------------------- */

enum { DOSE = 100000 }; /* e/A2 */

typedef struct {
    walk k;
    judgement g;
    double pure[3], turned, r[MODES];
} outcome;

static int summary_002(paper *p, const specimen *w, const outcome *o)
{
    io_text csv = {0};
    io_put(&csv, "quantity,paper,ours,truth\n");
    io_put(&csv, "frames,about 100,%d,\n", FILMED);
    io_put(&csv, "defects in all frames,10^3 to 10^4,%d,%d\n", w->found.n,
           w->truth.n);
    io_put(&csv, "classes without labels: members of their class's commonest "
           "kind %%,no number,%.1f (mixture) %.1f (Ward) %.1f (k-means),\n",
           100 * o->pure[0], 100 * o->pure[1], 100 * o->pure[2]);
    io_put(&csv, "three orientations of Mo-V: right %%,no number,%.1f,\n",
           100 * o->turned);
    io_put(&csv, "diffusion of vacancies A2/frame,no number,%.3f +- %.3f,"
           "%.3f\n", o->k.rate.diffusion, o->k.rate.diffusion_error,
           true_rate(w) * WS2_A * WS2_A / 4);
    io_put(&csv, "transitions of Mo-V: rms z of 16 probabilities,no number,"
           "%.2f,%.2f\n", o->g.z[1], o->g.z[0]);
    io_put(&csv, "wrong labels of Mo and Mo-V %%: a frame; Markov,proposed,"
           "%.2f; %.2f,0\n", 100. * o->g.found / o->g.seen,
           100. * o->g.path / o->g.seen);
    io_put(&csv, "cell of Mo: correlation of the first two components with "
           "true displacements,no number,%.3f %.3f,1\n", o->r[0], o->r[1]);
    return put_table(p, 0, "summary", "Papers and AtomDL", &csv);
}

int paper_002(paper *p)
{
    io_text doses = {0};
    outcome o = {0};
    int bad = make_directory(p->out) || dose_rows(p, &doses);
    io_put(&p->page, "<h2>Ziatdinov et al. 2018, Maksov et al. 2019, Mo-doped "
           "WS2, in simulation</h2>\n<p>100 frames of 256 x 256 pixels, 0.15 A "
           "a pixel, %d e/A2; V: a missing S, Mo-V: Mo with one beside it. "
           "Everything that `atomdl movie` says of them: <a "
           "href=\"movie/report.html\">its own page</a>.</p>\n", DOSE);
    specimen *w = bad ? NULL : specimen_new(p, DOSE);
    bad = !w || figure_1a(p, w) || figure_1b(p, w, o.pure, &o.turned)
          || concentration_table(p, w) || motion_table(p, w, &o.k)
          || pair_table(p, w, &o.g) || cell_table(p, w, o.r);
    if (!bad) dose_row(&doses, DOSE, w, &o.k, &o.g);
    io_put(&p->page, "<h2>At lower doses</h2>\n");
    bad = put_table(p, bad, "doses", "The same movie, each with its own chains",
                    &doses)
          || published_matrix(p) || summary_002(p, w, &o);
    specimen_free(w);
    return bad;
}
