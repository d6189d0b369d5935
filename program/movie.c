/* SPDX-License-Identifier: MIT
   atomdl movie: frames in order become tracks, classes and rates. A frame is
   analysed as by `atomdl analyze` and then forgotten; what stays are its
   defects and a small picture around each of them. */
#include "movie.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#endif

const char MOVIE_HELP[] =
    "usage: atomdl movie STACK|FRAME... [-o DIR] [OPTION...]\n"
    "       atomdl movie - --size WxH --type u8|u16|f32 [OPTION...]\n"
    "\n"
    "Follows defects through frames in the order given. Into DIR (default:\n"
    "movie) go report.html, movie.gif, tracks.csv, defects.csv, frames.csv,\n"
    "motion.csv, msd.csv, hops.csv, dwells.csv, concentrations.csv,\n"
    "transitions.json, clusters.csv, dendrogram.csv, rotors.csv and drawings.\n"
    "-: raw frames from standard input, rows from the top, little-endian; one\n"
    "JSON line a frame at once, in memory that does not grow.\n"
    "\n"
    "  --track defects|atoms  what is followed; default defects\n"
    "  --affine           drift may stretch and shear, not only shift\n"
    "  --gate A           longest step a frame; default 1.2 lattice constants\n"
    "  --gap N            frames a track may be missing; default 2\n"
    "  --interval S       seconds from frame to frame, for nm2/s\n"
    "  --classes K        of the pictures around; default: what BIC says\n"
    "  --confusion P      part of wrong classes; default: learnt\n"
    "  --as-found         chalcogen vacancies frame by frame: none dropped "
    "that\n"
    "                     other frames deny, none filled in (score 0)\n"
    "  --learn-first-frame  a network trained on the first frame, labelled by\n"
    "                     Fourier subtraction, finds dips and bumps in all\n"
    "  --pixel-size A  --material NAME  --weights NAME|FILE  --frames A-B\n"
    "  --average 8  --threshold [CLASS=]P  --dopant SYMBOL  --method NAME\n"
    "  --threads N        as of atomdl analyze; threads: 1 for small frames\n"
    "\n"
    "example:  atomdl movie --pixel-size 0.078 -o out stack.tif\n"
    "          then open out/report.html\n";

static const unsigned COLOUR[ATOMDL_MARKOV] = {
    0xffb000, 0x2fb4ff, 0xff5db1, 0x7cf25a, 0xb06cff, 0xff6b3d,
    0x20d5c4, 0xffe45c, 0x8d99ff, 0xd0a070, 0xf05050, 0xb8c4d0};

/* ---------- Memory -------------------------------------------------------- */

/* Makes *p of n entries of `size` hold one more. */
static int grow(void **p, size_t *room_of, size_t n, size_t size)
{
    size_t more = *room_of ? 2 * *room_of : 256;
    if (n < *room_of) return 0;
    void *q = realloc(*p, more * size);
    if (!q) return out_of_memory((double)(more * size));
    *p = q;
    *room_of = more;
    return 0;
}

void *zeroed(size_t n, size_t size)
{
    static int said;
    void *p = calloc(n ? n : 1, size);
    if (!p && !said++) out_of_memory((double)(n * size));
    return p;
}

/* ---------- Lattice and drift --------------------------------------------- */

/* Of the vectors between neighbours of an atom as long as a lattice vector:
   sums of exp(6 i angle), or with basis those of least squares. */
static int lattice_sums(double sum[8], const analysis *a, const double *basis)
{
    const atomdl_graph *g = &a->got.graph;
    double la = g->chemistry->a;
    int n = 0;
    memset(sum, 0, 8 * sizeof *sum);
    int ij[2];
    for (int i = 0; i < a->got.atoms; i++)
        for (uint32_t k = g->first[i]; k + 1 < g->first[i + 1]; k++) {
            uint32_t p = g->link[k];
            uint32_t q = g->link[k + 1];
            double dx = a->got.node[q].x - a->got.node[p].x;
            double dy = a->got.node[q].y - a->got.node[p].y;
            double d = atomdl_sqrt(dx * dx + dy * dy);
            if (d < 0.85 * la || d > 1.15 * la
                || a->got.node[p].z != a->got.node[q].z) continue;
            n++;
            double angle = 6 * atomdl_atan2(dy, dx);
            if (!basis) {
                sum[0] += atomdl_cos(angle);
                sum[1] += atomdl_sin(angle);
            } else if (atomdl_hop_fold(ij, NULL, dx, dy, basis) == 1) {
                sum[0] += ij[0] * ij[0], sum[1] += ij[0] * ij[1];
                sum[2] += ij[1] * ij[1];
                sum[3] += dx * ij[0], sum[4] += dx * ij[1];
                sum[5] += dy * ij[0], sum[6] += dy * ij[1];
            }
        }
    return n;
}

/* b <- lattice vectors from bonds; 0: too few. */
static int basis_of_bonds(double b[4], const analysis *a)
{
    double sum[8], la = a->got.graph.chemistry->a;
    if (lattice_sums(sum, a, NULL) < 12) return 0;
    double angle = atomdl_atan2(sum[1], sum[0]) / 6;
    for (int i = 0; i < 2; i++, angle += 1.0471975511965976) {
        b[2 * i] = la * atomdl_cos(angle);
        b[2 * i + 1] = la * atomdl_sin(angle);
    }
    lattice_sums(sum, a, b);
    double det = sum[0] * sum[2] - sum[1] * sum[1];
    if (det <= 0) return 1;
    b[0] = (sum[3] * sum[2] - sum[4] * sum[1]) / det;
    b[1] = (sum[5] * sum[2] - sum[6] * sum[1]) / det;
    b[2] = (sum[4] * sum[0] - sum[3] * sum[1]) / det;
    b[3] = (sum[6] * sum[0] - sum[5] * sum[1]) / det;
    return 1;
}

/* b <- lattice vectors from the reflections; 0: none. */
static int basis_of_reflections(double b[4], const film *f)
{
    const atomdl_sampling *g = &f->s.pixel.lattice;
    double det = g->g[0][0] * g->g[1][1] - g->g[0][1] * g->g[1][0];
    if (g->confidence < 0.5) return 0;
    b[0] = g->g[1][1] / det * f->pixel_x;
    b[1] = -g->g[1][0] / det * f->pixel_y;
    b[2] = -g->g[0][1] / det * f->pixel_x;
    b[3] = g->g[0][0] / det * f->pixel_y;
    if (b[0] * b[2] + b[1] * b[3] < 0) {
        b[2] += b[0];
        b[3] += b[1];
    }
    return 1;
}

static void find_basis(film *f)
{
    const atomdl_chemistry *c = f->s.m->chemistry;
    const double *b = f->basis;
    f->based = basis_of_bonds(f->basis, &f->s.a)
               || basis_of_reflections(f->basis, f);
    memcpy(f->hop, f->basis, sizeof f->hop);
    for (int i = 0; i < 2 && c->host[0] == c->host[1]; i++) {
        f->hop[i] = (b[i] + b[2 + i]) / 3;
        f->hop[2 + i] = (2 * b[2 + i] - b[i]) / 3;
    }
}

/* Unit cells in view. */
static double cells(const film *f)
{
    double a = f->s.m->chemistry->a;
    return f->w * f->pixel_x * f->h * f->pixel_y / (0.8660254037844386 * a * a);
}

/* Fewer than three defects may all have walked: they do not tell which of the
   lattice vectors the drift is, and the least one is taken. */
static int drift_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    int b = f->turn, a = !b;
    int few = f->distrust || f->defects[a] < 3 || f->defects[b] < 3;
    return atomdl_drift_find(&f->drift, f->lattice[a], f->lattices[a],
                             f->lattice[b], f->lattices[b], f->defect[a],
                             few ? 0 : f->defects[a], f->defect[b],
                             few ? 0 : f->defects[b], f->basis, f->velocity,
                             f->affine, arena);
}

static int phase_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    double unit = f->s.m->chemistry->a / 9, prior[2];
    prior[0] = f->velocity[0] / unit;
    prior[1] = f->velocity[1] / unit;
    return atomdl_phase_shift(f->drift.shift, &f->height, &f->small[!f->turn],
                              &f->small[f->turn], 0, prior, 4.5, arena);
}

static int drift_by_phase(film *f)
{
    double unit = f->s.m->chemistry->a / 9;
    memset(&f->drift, 0, sizeof f->drift);
    if (in_arena(phase_stage, f, &f->arena, f->s.a.name)) return 1;
    f->drift.shift[0] *= unit;
    f->drift.shift[1] *= unit;
    f->drift.m[0] = f->drift.m[3] = 1;
    f->drift.t[0] = f->drift.shift[0];
    f->drift.t[1] = f->drift.shift[1];
    f->drift.pairs = f->height > 0.02;
    return 0;
}

/* This frame's drift, added to that of all frames before. */
static int find_drift(film *f)
{
    frame_info *n = &f->now;
    int a = !f->turn, bad = 1;
    n->known = f->taken > 0;
    if (!f->taken) return 0;
    if (f->based && f->lattices[a] > 3 && f->lattices[f->turn] > 3) {
        atomdl_arena measure = {0, 0, 0, 0, 0};

        /* no more defects agree than false ones do by chance */
        double chance = f->defects[0] * (double)f->defects[1] / cells(f);
        bad = drift_stage(f, &measure);
        if (!bad && room(&f->arena, measure.peak)) return 1;
        if (!bad) bad = drift_stage(f, &f->arena);
        f->distrust = !bad && f->drift.known
                      && f->drift.known < 2 + 2 * chance;
        if (f->distrust) bad = drift_stage(f, &f->arena);
        f->distrust = 0;
        if (!bad && f->drift.coherence < 0.2 && !f->drift.known) bad = 1;
    }
    if (bad && drift_by_phase(f)) return 1;
    n->known = f->drift.pairs > 0;
    if (!n->known) return 0;
    double m[4], t[2];
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++)
            m[2 * i + k] = f->drift.m[2 * i] * n->m[k]
                           + f->drift.m[2 * i + 1] * n->m[2 + k];
        t[i] = f->drift.m[2 * i] * n->t[0] + f->drift.m[2 * i + 1] * n->t[1]
               + f->drift.t[i];
        n->shift[i] = f->drift.shift[i];
        f->velocity[i] = f->drift.known > 2 ? f->drift.shift[i] : 0;
        n->error[i] = f->drift.error[i];
    }
    memcpy(n->m, m, sizeof m);
    memcpy(n->t, t, sizeof t);
    return 0;
}

void place_now(double xy[2], const frame_info *n, double u, double v)
{
    xy[0] = n->m[0] * u + n->m[1] * v + n->t[0];
    xy[1] = n->m[2] * u + n->m[3] * v + n->t[1];
}

static void to_first(double uv[2], const frame_info *n, double x, double y)
{
    double det = n->m[0] * n->m[3] - n->m[1] * n->m[2];
    x -= n->t[0];
    y -= n->t[1];
    uv[0] = (n->m[3] * x - n->m[1] * y) / det;
    uv[1] = (n->m[0] * y - n->m[2] * x) / det;
}

/* ---------- What is followed ---------------------------------------------- */

static int kind_of(film *f, const char *name)
{
    int i;
    for (i = 0; i < f->names && strcmp(f->name[i], name); i++) {}
    if (i == NAMES) return NAMES - 1;
    if (i == f->names) {
        f->colour[i] = COLOUR[i % ATOMDL_MARKOV];
        snprintf(f->name[f->names++], NAME, "%s", name);
    }
    return i;
}

static spot *spot_new(film *f, double x, double y, double score,
                      const char *name)
{
    spot *p;
    if (grow((void **)&f->spot, &f->spot_room, f->spots, sizeof *p))
        return NULL;
    p = &f->spot[f->spots++];
    memset(p, 0, sizeof *p);
    p->frame = f->frames;
    p->x = x;
    p->y = y;
    p->score = score;
    p->kind = p->hidden = kind_of(f, name);
    p->before = p->cut = p->cluster = p->ward = -1;
    f->now.spots++;
    return p;
}

/* Grade of what is found at a chalcogen's site. */
static int grade_of(double score, int vacant)
{
    double rest = 1 - score;
    int sure = 0;
    for (; sure < INTACT - 1 && rest < 0.25; sure++) rest *= 2;
    return vacant ? INTACT + sure : INTACT - 1 - sure;
}

static int column_new(film *f, double x, double y, int grade)
{
    column *p;
    if (grow((void **)&f->column, &f->column_room, f->columns, sizeof *p))
        return 1;
    p = &f->column[f->columns++];
    p->uv[0] = x;
    p->uv[1] = y;
    p->grade = grade;
    f->now.columns++;
    return 0;
}

/* Chalcogens that are whole. */
static int take_columns(film *f)
{
    const analysis *a = &f->s.a;
    const atomdl_chemistry *c = a->got.graph.chemistry;
    for (int i = 0; i < a->got.atoms && c->host[0] != c->host[1]; i++) {
        const atomdl_node *p = &a->got.node[i];
        if (p->z == c->host[1] && p->count == c->count[1]
            && column_new(f, p->x, p->y, grade_of(p->score, 0))) return 1;
    }
    return 0;
}

static int take_defects(film *f)
{
    const analysis *a = &f->s.a;
    for (int i = 0; i < a->got.defects; i++) {
        const atomdl_found *d = &a->got.found[i];
        if (d->dopants ? a->got.graph.flag[d->node[0]] & ATOMDL_NEAR_BORDER
                       : d->flags & ATOMDL_AT_BORDER) {
            if (column_new(f, d->x, d->y, -1)) return 1;
            continue;
        }
        spot *p =
            spot_new(f, d->x, d->y, d->confidence, atomdl_found_name(d->kind));
        if (!p) return 1;
        p->dopants = d->dopants;
        p->shell = d->shell;
        p->length = d->bonds ? d->length : 0;
        p->pair = d->pairs ? d->pair : 0;
        p->angle = d->angles ? degrees(d->angle) : 0;
        p->angle_sd = d->angles > 1 ? degrees(d->angle_sd) : 0;
        if (d->dopants) p->x = p->y = 0;
        for (int k = 0; k < d->dopants && k < d->members; k++) {
            p->x += a->got.node[d->node[k]].x / d->dopants;
            p->y += a->got.node[d->node[k]].y / d->dopants;
        }
        for (int k = 0; k < 3 && k < d->dopants; k++) {
            p->member[k][0] = a->got.node[d->node[k]].x;
            p->member[k][1] = a->got.node[d->node[k]].y;
        }
    }
    return 0;
}

static int take_atoms(film *f)
{
    const analysis *a = &f->s.a;
    char name[16];
    for (int i = 0; i < a->got.atoms; i++) {
        const atomdl_node *p = &a->got.node[i];
        species_text(name, p->z, p->count);
        if (f->learn) strcpy(name, p->count ? "bump" : "dip");
        if (!spot_new(f, p->x, p->y, p->score, name)) return 1;
    }
    return 0;
}

/* Atoms of the host that bear no defect; defects. */
static int take_places(film *f)
{
    const analysis *a = &f->s.a;
    const atomdl_chemistry *c = a->got.graph.chemistry;
    int t = f->turn, n = 0;
    double *xy = realloc(f->lattice[t], ((size_t)a->got.atoms + 1) * 2
                                            * sizeof *xy);
    if (xy) f->lattice[t] = xy;
    for (int i = 0; i < a->got.atoms && xy; i++)
        if (a->got.node[i].z == c->host[0]
            && a->got.node[i].count == c->count[0]
            && (a->got.defect[i] < 0 || c->host[0] != c->host[1])) {
            xy[2 * n] = a->got.node[i].x;
            xy[2 * n++ + 1] = a->got.node[i].y;
        }
    f->lattices[t] = f->learn ? 0 : n;
    n = f->now.spots;
    if (xy) xy = realloc(f->defect[t], ((size_t)n + 1) * 2 * sizeof *xy);
    if (!xy) return out_of_memory(32. * (n + a->got.atoms));
    f->defect[t] = xy;
    for (int i = 0; i < n; i++) {
        const spot *p = &f->spot[f->spots - (size_t)n + (size_t)i];
        xy[2 * i] = p->x;
        xy[2 * i + 1] = p->y;
    }
    f->defects[t] = f->atoms ? 0 : n;
    return 0;
}

/* Classes that can become one another are of one family: silicon stays
   silicon, a chalcogen's site stays one; METHOD E.4. */
static int family(const char *name)
{
    static const struct {
        const char *begins;
        int family;
    } OF[] = {{"si", 1}, {"vx", 2}, {"m-x", 2}, {"sub-x", 2}, {"vm", 3},
              {"sub-m", 3}, {"x-m", 3}, {"x2-m", 3}};
    for (size_t i = 0; i < sizeof OF / sizeof *OF; i++)
        if (!strncmp(name, OF[i].begins, strlen(OF[i].begins)))
            return OF[i].family;
    return 0;
}

static int tracker_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    int most = f->atoms ? 4 * f->now.spots + 1024 : 4096;
    f->track = atomdl_alloc(arena, (size_t)most, sizeof *f->track);
    return atomdl_tracker_new(&f->tracker, most, f->gap, f->gate, arena);
}

/* Gives this frame's spots their tracks. */
static int follow(film *f)
{
    size_t n = (size_t)f->now.spots, from = f->now.first;
    double *uv = zeroed(2 * n, sizeof *uv);
    if (!uv) return 1;
    for (size_t i = 0; i < n; i++) {
        const spot *p = &f->spot[from + i];
        uv[2 * i] = p->u + 1e5 * family(f->name[p->kind]); /* out of reach */
        uv[2 * i + 1] = p->v;
    }
    int status =
        !f->track && in_arena(tracker_stage, f, &f->memory, f->s.a.name);
    if (!status) {
        status = atomdl_tracker_step(&f->tracker, f->track, uv, (int)n, NULL);
        if (status == ATOMDL_ESHAPE)
            fail("frame %lu: %lu of them are more than the %d that can be "
                 "followed", (unsigned long)f->frames, (unsigned long)n,
                 f->tracker.max);
        else if (status) fail("frame %lu: %s", (unsigned long)f->frames,
                              atomdl_strerror(status));
    }
    for (size_t i = 0; i < n && !status; i++)
        f->spot[from + i].track = f->track[i];
    free(uv);
    return status != 0;
}

/* Each spot knows its track's last one. */
static int chain(film *f)
{
    size_t from = f->now.first;
    int *last = realloc(f->last, ((size_t)f->tracker.next + 1) * sizeof *last);
    if (!last) return out_of_memory(4. * f->tracker.next);
    f->last = last;
    for (; f->lasts < f->tracker.next; f->lasts++) last[f->lasts] = -1;
    for (size_t i = from; i < from + (size_t)f->now.spots; i++) {
        f->spot[i].before = last[f->spot[i].track];
        last[f->spot[i].track] = (int)i;
    }
    return 0;
}

/* ---------- Pictures around each ------------------------------------------ */

static int small_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    const analysis *a = &f->s.a;
    atomdl_image src;
    src.w = a->w, src.h = a->h, src.c = 1, src.px = (float *)a->px;
    return atomdl_image_resize(&f->small[f->turn], &src, arena);
}

/* The frame at a ninth of a lattice constant a pixel. */
static int small_frame(film *f)
{
    atomdl_image *to = &f->small[f->turn];
    double unit = f->s.m->chemistry->a / 9;
    double w = f->w * f->pixel_x / unit, h = f->h * f->pixel_y / unit;
    if (!to->px) {
        to->w = w > 8 ? (int)w : 8;
        to->h = h > 8 ? (int)h : 8;
        to->c = 1;
        to->px = zeroed((size_t)to->w * (size_t)to->h, sizeof *to->px);
        if (!to->px) return 1;
    }
    if (in_arena(small_stage, f, &f->arena, f->s.a.name)) return 1;
    if (atomdl_image_normalise(to, ATOMDL_NORM_STD))
        return fail("%s: frame %lu cannot be scaled", f->s.a.source,
                    (unsigned long)f->frames);
    return 0;
}

static int take_cuts(film *f)
{
    const atomdl_image *image = &f->small[f->turn];
    size_t one = (size_t)WIDE * WIDE;
    if (!f->now.spots) return 0;
    float *more =
        realloc(f->cut, (size_t)(f->cuts + f->now.spots) * one * sizeof *more);
    if (!more) return out_of_memory((double)one * 4 * f->now.spots);
    f->cut = more;
    atomdl_cutting how;
    memset(&how, 0, sizeof how);
    how.side = WIDE;
    how.interpolation = ATOMDL_LINEAR;
    how.fold = 1;
    how.angle = f->based ? atomdl_atan2(f->basis[1], f->basis[0])
                               + 0.52359877559829882 : 0;
    for (size_t i = 0; i < (size_t)f->now.spots; i++) {
        spot *p = &f->spot[f->now.first + i];
        double xy[2];
        xy[0] = (p->x / f->pixel_x + 0.5) * image->w / f->w - 0.5;
        xy[1] = (p->y / f->pixel_y + 0.5) * image->h / f->h - 0.5;
        if (f->cuts == CUTS || xy[0] < SIDE / 2 || xy[1] < SIDE / 2
            || xy[0] > image->w - SIDE / 2 || xy[1] > image->h - SIDE / 2)
            continue;
        if (atomdl_cut(f->cut + (size_t)f->cuts * one, image, 0, xy, 1, NULL,
                       &how))
            return fail("frame %lu: cannot cut", (unsigned long)f->frames);
        p->cut = f->cuts++;
    }
    return 0;
}

/* Position on a canvas of `zoom` pixels a pixel of the frame. */
static void on_canvas(double xy[2], const film *f, double zoom, double x,
                      double y)
{
    xy[0] = (x / f->pixel_x + 0.5) * zoom - 0.5;
    xy[1] = (y / f->pixel_y + 0.5) * zoom - 0.5;
}

static void draw_tail(io_canvas *c, const film *f, double zoom, const spot *p)
{
    double from[2];
    on_canvas(from, f, zoom, p->x, p->y);
    double to[2], xy[2];
    for (int k = 0; k < TAIL && p->before >= 0; k++) {
        const spot *q = &f->spot[p->before];
        io_pen pen;
        pen.colour = f->colour[q->kind];
        pen.opacity = 255 - 3 * k;
        place_now(xy, &f->now, q->u, q->v);
        on_canvas(to, f, zoom, xy[0], xy[1]);
        io_draw_line(c, from[0], from[1], to[0], to[1], 2, pen);
        memcpy(from, to, sizeof to);
        p = q;
    }
}

static void draw_spots(io_canvas *c, const film *f, double zoom)
{
    double r = 0.5 * f->s.m->chemistry->a / f->pixel_x * zoom, xy[2];
    io_pen white = {0xffffff, 255};
    char text[64];
    for (size_t i = 0; i < (size_t)f->now.spots; i++) {
        const spot *p = &f->spot[f->now.first + i];
        io_pen pen;
        pen.colour = f->colour[p->kind];
        pen.opacity = 255;
        draw_tail(c, f, zoom, p);
        on_canvas(xy, f, zoom, p->x, p->y);
        io_draw_circle(c, xy[0], xy[1], f->atoms ? r / 2 : r, 2, pen);
        if (f->now.spots > 30) continue;
        snprintf(text, sizeof text, "%lu %s", (unsigned long)p->track + 1,
                 f->name[p->kind]);
        io_draw_label(c, (int)(xy[0] + 0.8 * r), (int)(xy[1] - r) - 8,
                      c->w < 400 ? 1 : 2, text, white);
    }
    snprintf(text, sizeof text, "%lu", (unsigned long)f->frames);
    io_draw_label(c, 6, 6, 2, text, white);
    io_draw_scale_bar(c, f->pixel_x / zoom);
}

static int picture_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    const analysis *a = &f->s.a;
    int side = f->w > f->h ? f->w : f->h;
    atomdl_image src;
    io_bytes png = {NULL, 0};
    src.w = a->w, src.h = a->h, src.c = 1, src.px = (float *)a->px;
    atomdl_image to = src;
    if (side > GIF_SIDE) {
        int status = atomdl_image_new(&to, a->w * GIF_SIDE / side,
                                      a->h * GIF_SIDE / side, 1, arena);
        if (!status) status = atomdl_image_resize(&to, &src, arena);
        if (status) return status;
    }
    if (!arena->base) return ATOMDL_OK;
    int zoom = side > GIF_SIDE ? 1 : GIF_SIDE / side;
    io_canvas c;
    if (io_canvas_new(&c, (size_t)(to.w * zoom), (size_t)(to.h * zoom)))
        return ATOMDL_EMEM;
    io_draw_image(&c, to.px, (size_t)to.h, (size_t)to.w, zoom, 0.002, 0.998);
    draw_spots(&c, f, (double)to.w * zoom / f->w);
    io_gif_frame(&f->gif, &c, 12);
    int status = ATOMDL_OK;
    if ((int)f->frames == f->total - 1
        || (double)f->frames * (SHOWN - 1)
               >= (double)f->shown * (f->total - 1)) {
        f->shown++;
        if (io_png(&png, c.rgb, (size_t)c.w, (size_t)c.h, 3, 8))
            status = ATOMDL_EMEM;
        io_put(&f->pictures, "<figure><img class=\"side\" alt=\"\" src=\"");
        put_png(&f->pictures, &png);
        io_put(&f->pictures, "\"><figcaption>frame %lu</figcaption></figure>"
               "\n", (unsigned long)f->frames);
        free(png.data);
    }
    io_canvas_free(&c);
    return status;
}

/* ---------- One frame ----------------------------------------------------- */

static int is_empty(const float *px, size_t n)
{
    size_t i;
    for (i = 1; i < n && px[i] == px[0]; i++) {}
    return i == n;
}

/* Finds what a frame shows, and the drift. */
static int look(film *f)
{
    f->turn = !f->turn;
    if (!f->o.threads) /* for small frames threads are more toil than help */
        f->s.how.use.threads = (double)f->w * f->h < 1 << 20 ? 1 : 0;
    f->s.a.quiet = f->taken > 0;
    if (session_find(&f->s, PROB_NOWHERE) || small_frame(f)) return 1;
    if (!f->based) find_basis(f);
    f->now.atoms = f->s.a.got.atoms;
    if (f->atoms ? take_atoms(f) : take_defects(f) || take_columns(f))
        return 1;
    if (take_places(f) || find_drift(f)) return 1;
    for (size_t i = f->now.first; i < f->spots; i++) {
        spot *p = &f->spot[i];
        double uv[2];
        to_first(uv, &f->now, p->x, p->y);
        p->u = uv[0];
        p->v = uv[1];
    }
    for (size_t i = f->now.column; i < f->columns; i++) {
        double *uv = f->column[i].uv;
        to_first(uv, &f->now, uv[0], uv[1]);
    }
    f->taken++;
    return 0;
}

static int take_frame(film *f, const float *px, int w, int h, double file_x,
                      double file_y)
{
    analysis *a = &f->s.a;
    size_t n = (size_t)w * (size_t)h;
    int bad = 0;
    if (f->frames && (w != f->w || h != f->h))
        return fail("%s: frame %lu is of %d x %d pixels, those before of %d "
                    "x %d", a->source, (unsigned long)f->frames, w, h, f->w,
                    f->h);
    f->w = a->w = w;
    f->h = a->h = h;
    a->px = px;
    a->frame = (int)f->frames;
    f->now.empty = is_empty(px, n);
    f->now.atoms = f->now.spots = f->now.columns = f->now.known = 0;
    f->now.first = f->spots;
    f->now.column = f->columns;
    memset(f->now.shift, 0, sizeof f->now.shift);
    if (f->now.empty) {
        fprintf(stderr, "atomdl: %s: warning: frame %lu is empty (every pixel "
                "has the same value)\n", a->source, (unsigned long)f->frames);
    } else {
        if (!(f->pixel_x > 0) && pixel_size(&f->s, file_x, file_y)) return 1;
        if (!(f->pixel_x > 0)) {
            f->pixel_x = a->pixel_x;
            f->pixel_y = a->pixel_y;
        }
        a->pixel_x = f->pixel_x;
        a->pixel_y = f->pixel_y;
        f->pixel_from = a->pixel_from ? a->pixel_from : f->pixel_from;
        a->pixel_from = f->pixel_from;
        bad = look(f);
    }
    if (!bad && f->stream) return f->taken ? follow(f) : 0;
    if (!bad)
        bad = grow((void **)&f->frame, &f->frame_room, f->frames,
                   sizeof *f->frame);
    if (!bad) f->frame[f->frames] = f->now;
    return bad;
}

/* Pictures of a frame whose spots are settled. */
static int show_frame(film *f, const float *px, int w, int h)
{
    analysis *a = &f->s.a;
    uint32_t every = (uint32_t)f->total / GIF_MOST + 1;
    if (f->frames >= f->read || w != f->w || h != f->h)
        return fail("%s: changed while it was read", a->source);
    f->now = f->frame[f->frames];
    if (f->now.empty) return 0;
    a->w = w;
    a->h = h;
    a->px = px;
    if (small_frame(f) || take_cuts(f)) return 1;
    return f->frames % every == 0
           && in_arena(picture_stage, f, &f->arena, a->name);
}

/* ---------- Hidden chains: METHOD E.4 ------------------------------------- */

int chains_new(chains *c, int states, int labels, int n, size_t all)
{
    c->states = states;
    c->labels = labels;
    c->n = n;
    c->all = all;
    c->length = zeroed((size_t)n, sizeof *c->length);
    c->label = zeroed(all, sizeof *c->label);
    c->path = zeroed(all, sizeof *c->path);
    c->logb = zeroed(all * (size_t)states, sizeof *c->logb);
    c->posterior = zeroed(all * (size_t)states, sizeof *c->posterior);
    if (!c->length || !c->label || !c->path || !c->logb || !c->posterior)
        return 1;
    for (size_t i = 0; i < all; i++) c->label[i] = -1;
    return 0;
}

void chains_free(chains *c)
{
    free(c->length);
    free(c->label);
    free(c->path);
    free(c->logb);
    free(c->posterior);
}

/* Learns the transitions; then the most probable states and how probable each
   is. */
static int chains_stage(void *of, atomdl_arena *arena)
{
    chains *c = of;
    double table[ATOMDL_MARKOV][ATOMDL_MARKOV], *b = c->logb;
    for (int i = 0; i < c->states; i++)
        for (int j = 0; j < c->labels; j++)
            table[i][j] = atomdl_log(c->found[i][j]);
    for (size_t k = 0; k < c->all; k++)
        for (int i = 0; i < c->states; i++)
            *b++ = c->label[k] < 0 ? 0 : table[i][c->label[k]];
    int status = !c->rounds ? 0
                            : atomdl_hmm_learn(&c->hmm, &c->likelihood,
                                               c->prior, c->logb, c->length,
                                               c->n, 1e-3, c->rounds, arena);
    if (!status)
        status = atomdl_hmm_viterbi(c->path, NULL, &c->hmm, c->logb, c->length,
                                    c->n, arena);
    if (!status)
        status = atomdl_hmm_posterior(c->posterior, NULL, &c->hmm, c->logb,
                                      c->length, c->n, arena);
    return status;
}

/* Expected part of each state that is found as each label, with ten
   pseudo-counts of what it was at first. Returns the greatest change. */
static double learn_found(chains *c, double first[][ATOMDL_MARKOV])
{
    double sum[ATOMDL_MARKOV][ATOMDL_MARKOV], most = 0;
    int n = c->states;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < c->labels; j++) sum[i][j] = 10 * first[i][j];
    for (size_t k = 0; k < c->all; k++)
        for (int i = 0; i < n && c->label[k] >= 0; i++)
            sum[i][c->label[k]] += c->posterior[k * (size_t)n + (size_t)i];
    for (int i = 0; i < n; i++) {
        double all = 0;
        for (int j = 0; j < c->labels; j++) all += sum[i][j];
        for (int j = 0; j < c->labels; j++) {
            double change = sum[i][j] / all - c->found[i][j];
            c->found[i][j] = sum[i][j] / all;
            change = change < 0 ? -change : change;
            most = change > most ? change : most;
        }
    }
    return most;
}

int chains_learn(chains *c, atomdl_arena *scratch, int fixed)
{
    double first[ATOMDL_MARKOV][ATOMDL_MARKOV];
    int rounds = 0;
    memcpy(first, c->found, sizeof first);
    int bad;
    do bad = in_arena(chains_stage, c, scratch, "classes");
    while (!bad && !fixed && ++rounds < 3000 / c->rounds
           && learn_found(c, first) > c->still);
    return bad;
}

/* ---------- What other frames say -----------------------------------------

   At low dose an intact column looks now and then as if it lacked an atom. It
   does so on another site each time; a vacancy stays for a while. So each site
   is a chain of two states, intact or vacant, that is found intact or vacant
   with some score; how often either is found as what, is learnt. METHOD E.4. */

#define SAME_SITE 0.35 /* lattice constants: no farther apart */
#define EDGE 2.5       /* A; nearer to the border columns look otherwise */

typedef struct {
    film *f;
    chains c;
    int most, room;      /* chalcogens of a frame; sites */
    double odds[GRADES]; /* log-odds that a site found so is vacant */
} belief;

static int in_question(const film *f, const spot *p)
{
    return family(f->name[p->kind]) == 2;
}

/* A complex with the metal's defect tells nothing about sites beside it. */
static void hide_sites(belief *b, const spot *p)
{
    const film *f = b->f;
    double reach = 0.65 * f->s.m->chemistry->a;
    for (int k = 0; k < f->sites && strstr(f->name[p->kind], "-vx"); k++) {
        double dx = p->u - f->place[2 * k], dy = p->v - f->place[2 * k + 1];
        if (dx * dx + dy * dy < reach * reach)
            b->c.label[(size_t)k * f->read + p->frame] = -1;
    }
}

/* Chalcogens of a frame, as pairs uv; site: where that of each stands. */
static int places(film *f, uint32_t frame, double *uv, int **site)
{
    const frame_info *o = &f->frame[frame];
    int m = 0;
    for (int i = 0; i < o->spots; i++) {
        spot *p = &f->spot[o->first + (size_t)i];
        p->site = -1;
        if (!in_question(f, p)) continue;
        uv[2 * m] = p->u;
        uv[2 * m + 1] = p->v;
        site[m++] = &p->site;
    }
    for (int i = 0; i < o->columns; i++) {
        column *c = &f->column[o->column + (size_t)i];
        c->site = -1;
        uv[2 * m] = c->uv[0];
        uv[2 * m + 1] = c->uv[1];
        site[m++] = &c->site;
    }
    return m;
}

/* The site of each: that of the same place in earlier frames. */
static int site_stage(void *of, atomdl_arena *arena)
{
    belief *b = of;
    film *f = b->f;
    size_t room = (size_t)b->room, most = (size_t)b->most;
    double *old = atomdl_alloc(arena, 2 * room, sizeof *old);
    double *now = atomdl_alloc(arena, 2 * most, sizeof *now);
    int *to = atomdl_alloc(arena, room, sizeof *to);
    int **site = atomdl_alloc(arena, most, sizeof *site);
    double gate = SAME_SITE * f->s.m->chemistry->a;
    if (!arena->base)
        return atomdl_assign(NULL, NULL, NULL, b->room, NULL, b->most, gate,
                             arena);
    int status = atomdl_arena_status(arena);
    for (uint32_t frame = 0; frame < f->read && !status; frame++) {
        int m = places(f, frame, now, site);
        status = atomdl_assign(to, NULL, old, f->sites, now, m, gate, arena);
        for (int k = 0; k < f->sites && !status; k++)
            if (to[k] >= 0) *site[to[k]] = k;
        for (int k = 0; k < m && !status; k++) {
            int *s = site[k];
            if (*s < 0 && f->sites == b->room) continue;
            if (*s < 0) {
                memcpy(f->place + 2 * f->sites, now + 2 * k, 2 * sizeof *now);
                *s = f->sites++;
            }
            old[2 * *s] = now[2 * k];
            old[2 * *s + 1] = now[2 * k + 1];
        }
    }
    return status;
}

/* Is (u, v) so far within frame k? */
static int in_view(const film *f, uint32_t k, double u, double v, double margin)
{
    double xy[2];
    place_now(xy, &f->frame[k], u, v);
    return xy[0] >= margin && xy[0] <= (f->w - 1) * f->pixel_x - margin
           && xy[1] >= margin && xy[1] <= (f->h - 1) * f->pixel_y - margin;
}

/* Grades of all sites that lie so far [A] within the frames, as labels. */
static void label_sites(belief *b, double margin)
{
    const film *f = b->f;
    size_t all = f->read;
    for (uint32_t k = 0; k < all; k++)
        for (size_t i = 0; i < (size_t)f->frame[k].columns; i++) {
            const column *p = &f->column[f->frame[k].column + i];
            if (p->site >= 0 && in_view(f, k, p->uv[0], p->uv[1], margin))
                b->c.label[(size_t)p->site * all + k] = p->grade;
        }
    for (size_t i = 0; i < f->spots; i++) {
        const spot *p = &f->spot[i];
        hide_sites(b, p);
        if (p->site >= 0 && in_view(f, p->frame, p->u, p->v, margin))
            b->c.label[(size_t)p->site * all + p->frame] =
                grade_of(p->score, 1);
    }
}

static int chains_of_sites(belief *b)
{
    const film *f = b->f;
    if ((double)f->sites * f->read > MOST_LABELS) {
        fprintf(stderr, "atomdl: warning: too many sites and frames to ask "
                "others about what one shows\n");
        return 0;
    }
    if (chains_new(&b->c, 2, GRADES, f->sites, (size_t)f->sites * f->read))
        return 1;
    for (int k = 0; k < f->sites; k++) b->c.length[k] = (int)f->read;
    return 0;
}

/* Learns where columns are not cut, then believes everywhere. That one is found
   intact speaks for no vacancy: with few of them some region of unsure columns
   could be learnt as their state. */
static int learn_sites(belief *b)
{
    label_sites(b, EDGE);
    if (chains_learn(&b->c, &b->f->arena, 0)) return 1;
    b->c.rounds = 0;
    for (int i = 0; i < INTACT; i++)
        if (b->c.found[1][i] > b->c.found[0][i])
            b->c.found[1][i] = b->c.found[0][i];
    for (int i = 0; i < GRADES; i++)
        b->odds[i] = atomdl_log(b->c.found[1][i])
                     - atomdl_log(b->c.found[0][i]);
    label_sites(b, 0);
    return chains_learn(&b->c, &b->f->arena, 1);
}

/* Is site s as good as vacant in frame k, and found intact from i to j? */
static int was_there(const belief *b, int s, uint32_t k, uint32_t i,
                     uint32_t j)
{
    const chains *c = &b->c;
    size_t row = (size_t)s * b->f->read;
    for (; i <= j && c->label[row + i] >= 0 && c->label[row + i] < INTACT; i++)
        ;
    return i > j && c->posterior[2 * (row + k) + 1] >= 0.5;
}

/* Which of n places (x, y) is that of (u, v), -1: none. */
static int site_at(const film *f, const double *place, int n, double u,
                   double v)
{
    double gate = SAME_SITE * f->s.m->chemistry->a;
    for (int i = 0; i < n; i++) {
        double du = place[2 * i] - u, dv = place[2 * i + 1] - v;
        if (du * du + dv * dv < gate * gate) return i;
    }
    return -1;
}

static int are_near(const film *f, int a, int b)
{
    double du = f->place[2 * a] - f->place[2 * b];
    double dv = f->place[2 * a + 1] - f->place[2 * b + 1];
    return du * du + dv * dv < f->gate * f->gate;
}

/* Log-odds that a site is vacant, by what is found there. */
static double label_odds(const belief *b, int s, uint32_t k)
{
    int label = b->c.label[(size_t)s * b->f->read + k];
    return label < 0 ? 0 : b->odds[label];
}

/* Log-odds that the vacancy of site from went to site s for frames i to j and
   then to site to, against misses there and false alarms here. */
static double hop_odds(const belief *b, int s, uint32_t i, uint32_t j,
                       int from, int to)
{
    const atomdl_hmm *h = &b->c.hmm;
    const film *f = b->f;
    double away = atomdl_log(h->p[1][0]), hop = away - atomdl_log(6);
    int near = are_near(f, from, to), n = (int)(j - i) + 1;
    double sum = 2 * hop
                 - (from == to ? 0
                    : near     ? hop + atomdl_log(n + 1)
                               : away + atomdl_log(h->p[0][1]));
    for (; i <= j; i++) {
        double before = label_odds(b, from, i), after = label_odds(b, to, i);
        sum += label_odds(b, s, i);
        if (near) sum -= before > after ? before : after;
    }
    return sum;
}

/* Believes short visits of a site by a vacancy from the site beside it: a
   chain by itself takes them for false alarms. near: its neighbours. */
static void believe_visits(belief *b, int s, const int *near, int n)
{
    uint32_t all = b->f->read, j;
    const int32_t *label = b->c.label + (size_t)s * all;
    double *p = b->c.posterior + 2 * (size_t)s * all;
    int seen;
    for (uint32_t i = 1; i < all; i = j + 1) {
        j = i;
        if (label[i] < INTACT || p[2 * i + 1] >= 0.5) continue;
        while (j + 1 < all && label[j + 1] >= INTACT) j++;
        for (int from = seen = 0; from < n && j + 1 < all; from++)
            for (int to = 0; to < n && was_there(b, near[from], i - 1, i, j);
                 to++)
                seen |= was_there(b, near[to], j + 1, i, j)
                        && hop_odds(b, s, i, j, near[from], near[to]) > 0;
        for (; seen && i <= j; i++) p[2 * i + 1] = 1;
    }
}

/* Is site s found vacant where its chain does not believe it? */
static int in_doubt(const belief *b, int s)
{
    const int32_t *label = b->c.label + (size_t)s * b->f->read;
    const double *p = b->c.posterior + 2 * (size_t)s * b->f->read;
    for (uint32_t k = 0; k < b->f->read; k++)
        if (label[k] >= INTACT && p[2 * k + 1] < 0.5) return 1;
    return 0;
}

static void believe_all_visits(belief *b)
{
    const film *f = b->f;
    int near[12], n;
    for (int s = 0; s < f->sites; s++) {
        if (!in_doubt(b, s)) continue;
        for (int k = n = 0; k < f->sites && n < 12; k++)
            if (k != s && are_near(f, k, s)) near[n++] = k;
        believe_visits(b, s, near, n);
    }
}

/* Only the spots that are more likely than not stay. */
static void keep_believed(belief *b)
{
    film *f = b->f;
    size_t n = 0, i, end;
    uint32_t k;
    for (k = 0, i = 0; k < f->read; k++) {
        frame_info *o = &f->frame[k];
        for (end = i + (size_t)o->spots, o->first = n; i < end; i++) {
            const spot *p = &f->spot[i];
            if (p->site < 0
                || b->c.posterior[2 * ((size_t)p->site * f->read + k) + 1]
                   >= 0.5)
                f->spot[n++] = *p;
        }
        o->spots = (int)(n - o->first);
    }
    f->spots = n;
}

static void keep_labels(const belief *b)
{
    const chains *c = &b->c;
    size_t n = (size_t)b->f->sites * b->f->read;
    for (size_t i = 0; i < n; i++) b->f->grade[i] = (signed char)c->label[i];
    for (int j = 0; j < 2; j++)
        memcpy(b->f->found[j], c->found[j], sizeof b->f->found[j]);
}

/* ---------- Leaps of the drift that defects betray ------------------------

   One takes a lattice for itself moved by a vector of it. If from some frame on
   most vacancies stand the same vector from where they stood, the drift is
   wrong by that vector from there on. */

enum { LEAPS = 18, AROUND = 6 /* frames before and after */ };
enum { MOST_LEAPS = 8 }; /* that are taken back */
#define RARE -3.5 /* log-odds that a site is vacant */
#define LEAP 2.0 /* that many vacancies more than stay must agree */

/* The six vectors of length a, and those of sqrt(3) a and 2 a. */
static void leaps(double leap[LEAPS][2], const double hop[4])
{
    int n = 0;
    for (int i = -2; i <= 2; i++)
        for (int j = -2; j <= 2; j++) {
            if ((!i && !j) || i * i + i * j + j * j > 4) continue;
            leap[n][0] = i * hop[0] + j * hop[2];
            leap[n++][1] = i * hop[1] + j * hop[3];
        }
}

/* How likely site s is vacant, by the AROUND frames from k on alone. */
static double vacant_then(const belief *b, int s, uint32_t k)
{
    double odds = RARE;
    for (uint32_t i = k; i < k + AROUND; i++) odds += label_odds(b, s, i);
    return 1 / (1 + atomdl_exp(odds < -50 ? 50 : -odds));
}

/* agree (read, LEAPS + 1) <- vacancies that leap so in each frame, or stay. */
static void count_leaps(const belief *b, double *agree)
{
    const film *f = b->f;
    double leap[LEAPS][2];
    leaps(leap, f->hop);
    int to[LEAPS + 1], known;
    uint32_t k;
    for (int s = 0; s < f->sites; s++)
        for (k = AROUND, known = 0; k + AROUND <= f->read; k++) {
            double before = vacant_then(b, s, k - AROUND);
            if (before < 0.5) continue;
            for (int i = 0; i < LEAPS && !known; i++)
                to[i] = site_at(f, f->place, f->sites,
                                f->place[2 * s] + leap[i][0],
                                f->place[2 * s + 1] + leap[i][1]);
            known = 1;
            to[LEAPS] = s;
            for (int i = 0; i <= LEAPS; i++)
                if (to[i] >= 0)
                    agree[k * (LEAPS + 1) + (size_t)i] +=
                        before * vacant_then(b, to[i], k);
        }
}

/* From frame k on the first frame's places are v nearer. */
static void take_leap(film *f, uint32_t k, const double v[2])
{
    uint32_t from = k;
    for (; k < f->read; k++) {
        frame_info *o = &f->frame[k];
        double x = o->m[0] * v[0] + o->m[1] * v[1];
        double y = o->m[2] * v[0] + o->m[3] * v[1];
        if (k == from) {
            o->shift[0] += x;
            o->shift[1] += y;
        }
        o->t[0] += x;
        o->t[1] += y;
        for (size_t i = o->first; i < o->first + (size_t)o->spots; i++) {
            f->spot[i].u -= v[0];
            f->spot[i].v -= v[1];
        }
        for (size_t i = o->column; i < o->column + (size_t)o->columns; i++) {
            f->column[i].uv[0] -= v[0];
            f->column[i].uv[1] -= v[1];
        }
    }
}

/* *mended <- 1: the clearest leap is taken back. */
static int mend_leap(belief *b, int *mended)
{
    film *f = b->f;
    size_t row = LEAPS + 1, at = 0;
    double *agree = zeroed(f->read * row, sizeof *agree), best = LEAP;
    *mended = 0;
    if (!agree) return 1;
    if (f->based) count_leaps(b, agree);
    for (size_t i = 0; i < f->read * row; i++) {
        double more = agree[i] - agree[i - i % row + LEAPS];
        if (more <= best) continue;
        best = more;
        at = i;
        *mended = 1;
    }
    double leap[LEAPS][2];
    leaps(leap, f->hop);
    if (*mended) take_leap(f, (uint32_t)(at / row), leap[at % row]);
    free(agree);
    return 0;
}

/* ---------- What is believed ---------------------------------------------- */

static int ask_sites(belief *b)
{
    static const double START[] = {0.97, 0.03};
    static const double STAY[2][2] = {{0.998, 0.002}, {0.05, 0.95}};
    film *f = b->f;
    f->sites = 0;
    chains_free(&b->c);
    memset(&b->c, 0, sizeof b->c);
    if (in_arena(site_stage, b, &f->arena, "sites")
        || (f->sites && chains_of_sites(b))) return 1;
    if (!b->c.n) return 0;
    b->c.hmm.states = 2;
    b->c.rounds = 3;
    b->c.still = 1e-4;
    for (int i = 0; i < 2; i++) {
        b->c.hmm.start[i] = START[i];
        for (int j = 0; j < 2; j++) {
            b->c.hmm.p[i][j] = STAY[i][j];
            b->c.prior[i][j] = 10 * STAY[i][j];
        }
        for (int j = 0; j < GRADES; j++)
            b->c.found[i][j] = ((j >= INTACT) == i ? 0.9 : 0.1) / INTACT;
    }
    return learn_sites(b);
}

static int none_in_question(const film *f)
{
    size_t i;
    for (i = 0; i < f->spots && !in_question(f, &f->spot[i]); i++) {}
    return i == f->spots;
}

static int believe(film *f)
{
    int times = 0;
    if (f->as_found || f->atoms || f->read < 2 || none_in_question(f)) return 0;
    belief b;
    memset(&b, 0, sizeof b);
    b.f = f;
    for (uint32_t k = 0; k < f->read; k++)
        if (f->frame[k].spots + f->frame[k].columns > b.most)
            b.most = f->frame[k].spots + f->frame[k].columns;
    b.room = 8 * b.most + 64; /* as drift shows more and more of them */
    f->place = zeroed(2 * (size_t)b.room, sizeof *f->place);
    int bad = !f->place;
    int mended;
    do bad = bad || ask_sites(&b) || (b.c.n && mend_leap(&b, &mended));
    while (!bad && b.c.n && mended && ++times < MOST_LEAPS);
    if (!bad && b.c.n) {
        f->grade = zeroed((size_t)f->sites * f->read, 1);
        bad = !f->grade;
        if (!bad) believe_all_visits(&b);
        if (!bad) keep_believed(&b);
        if (!bad) keep_labels(&b);
    }
    chains_free(&b.c);
    return bad;
}

/* Appends what fills the gap of a track between spots p and q of one site. */
static int fill_gap(film *f, size_t p, size_t q)
{
    for (uint32_t k = f->spot[p].frame + 1; k < f->spot[q].frame; k++) {
        spot now = f->spot[p];
        double xy[2];
        place_now(xy, &f->frame[k], now.u, now.v);
        if (f->frame[k].empty || xy[0] < 0 || xy[1] < 0
            || xy[0] > (f->w - 1) * f->pixel_x
            || xy[1] > (f->h - 1) * f->pixel_y) continue;
        now.frame = k;
        now.x = xy[0];
        now.y = xy[1];
        now.score = 0;
        now.filled = 1;
        if (grow((void **)&f->spot, &f->spot_room, f->spots, sizeof now))
            return 1;
        f->spot[f->spots++] = now;
        f->frame[k].spots++;
    }
    return 0;
}

/* Spots in order of frames again. */
static int order_spots(film *f)
{
    spot *to = zeroed(f->spots, sizeof *to);
    size_t n = 0;
    if (!to) return 1;
    for (uint32_t k = 0; k < f->read; k++) {
        f->frame[k].first = n;
        n += (size_t)f->frame[k].spots;
        f->frame[k].spots = 0;
    }
    for (size_t i = 0; i < f->spots; i++) {
        frame_info *o = &f->frame[f->spot[i].frame];
        to[o->first + (size_t)o->spots++] = f->spot[i];
    }
    free(f->spot);
    f->spot = to;
    f->spot_room = f->spots;
    return 0;
}

/* A vacancy that is missing for a frame or two and then there again never
   left. */
static int fill_gaps(film *f)
{
    double gate = SAME_SITE * f->s.m->chemistry->a;
    size_t *last = zeroed(f->tracker.next, sizeof *last), n = f->spots;
    int bad = !last;
    for (size_t i = 0; i < n && !bad; i++) {
        const spot *p = &f->spot[i];
        size_t before = last[p->track];
        last[p->track] = i + 1;
        if (!before || !in_question(f, p)) continue;
        double du = p->u - f->spot[before - 1].u;
        double dv = p->v - f->spot[before - 1].v;
        if (atomdl_sqrt(du * du + dv * dv) < gate)
            bad = fill_gap(f, before - 1, i);
    }
    free(last);
    return bad || (f->spots > n && order_spots(f));
}

/* Tracks of all frames. */
static int follow_all(film *f)
{
    int bad = 0, begun = 0;
    for (uint32_t k = 0; k < f->read && !bad; k++) {
        f->now = f->frame[k];
        begun |= !f->now.empty;
        bad = begun && follow(f);
    }
    bad = bad || (!f->as_found && !f->atoms && fill_gaps(f));
    for (uint32_t k = 0; k < f->read && !bad; k++) {
        f->now = f->frame[k];
        bad = chain(f);
    }
    return bad;
}

/* ---------- Tracks and classes, after the last frame ---------------------- */

/* Classes by how often they are seen; the rarest share one. */
static void rank_kinds(film *f)
{
    int count[NAMES] = {0};
    for (size_t j = 0; j < f->spots; j++) count[f->spot[j].kind]++;
    int from[NAMES], k;
    for (int i = 0; i < f->names; i++) {
        for (k = i; k > 0 && count[from[k - 1]] < count[i]; k--)
            from[k] = from[k - 1];
        from[k] = i;
    }
    f->kinds = f->names < ATOMDL_MARKOV ? f->names : ATOMDL_MARKOV;
    int to[NAMES];
    unsigned colour[NAMES];
    char name[NAMES][NAME];
    for (int i = 0; i < f->names; i++) {
        to[from[i]] = i < f->kinds ? i : f->kinds - 1;
        memcpy(name[i], f->name[from[i]], NAME);
        colour[i] = f->colour[from[i]];
    }
    memcpy(f->name, name, (size_t)f->names * NAME);
    memcpy(f->colour, colour, (size_t)f->names * sizeof *colour);
    if (f->names > f->kinds) strcpy(f->name[f->kinds - 1], "rarer ones");
    for (size_t j = 0; j < f->spots; j++)
        f->spot[j].kind = f->spot[j].hidden = to[f->spot[j].kind];
}

/* order: spots track by track, in order of frames. */
static int sort_tracks(film *f)
{
    f->tracks = f->tracker.next;
    f->order = zeroed(f->spots, sizeof *f->order);
    f->of = zeroed(f->tracks + 1, sizeof *f->of);
    if (!f->order || !f->of) return 1;
    for (size_t i = 0; i < f->spots; i++) f->of[f->spot[i].track + 1].first++;
    for (uint32_t k = 0; k < f->tracks; k++)
        f->of[k + 1].first += f->of[k].first;
    for (size_t i = 0; i < f->spots; i++) {
        track_info *t = &f->of[f->spot[i].track];
        f->order[t->first + (uint32_t)t->n++] = (uint32_t)i;
    }
    return 0;
}

spot *track_spot(const film *f, const track_info *t, int i)
{
    return &f->spot[f->order[t->first + (uint32_t)i]];
}

/* The commonest class and number of dopants of each track. */
static void judge_tracks(film *f)
{
    for (uint32_t k = 0; k < f->tracks; k++) {
        track_info *t = &f->of[k];
        int count[ATOMDL_MARKOV] = {0}, dopants[5] = {0};
        for (int i = 0; i < t->n; i++) {
            const spot *p = track_spot(f, t, i);
            count[p->kind]++;
            dopants[p->dopants < 4 ? p->dopants : 4]++;
        }
        for (int i = 1; i < f->kinds; i++)
            if (count[i] > count[t->kind]) t->kind = i;
        for (int i = 1; i < 5; i++)
            if (dopants[i] > dopants[t->dopants]) t->dopants = i;
        t->begin = track_spot(f, t, 0)->frame;
        t->end = track_spot(f, t, t->n - 1)->frame;
    }
}

static int make_traces(film *f)
{
    chains *c = &f->class_of;
    size_t n = 0;
    uint32_t k;
    for (k = 0; k < f->tracks; k++) n += f->of[k].end - f->of[k].begin + 1;
    if (chains_new(c, f->kinds, f->kinds, (int)f->tracks, n)) return 1;
    for (k = 0, n = 0; k < f->tracks; n += (size_t)c->length[k++]) {
        c->length[k] = (int)(f->of[k].end - f->of[k].begin + 1);
        for (int i = 0; i < f->of[k].n; i++) {
            const spot *p = track_spot(f, &f->of[k], i);
            if (!p->filled)
                c->label[n + p->frame - f->of[k].begin] = p->kind;
        }
    }
    return 0;
}

int can_become(const film *f, int i, int j)
{
    return i == j || family(f->name[i]) == family(f->name[j]);
}

/* The chain before anything is learnt: classes of one family mix. */
static void first_chain(film *f)
{
    double wrong = f->confusion > 0 ? f->confusion : 0.1;
    chains *c = &f->class_of;
    int n = f->kinds;
    c->hmm.states = n;
    c->rounds = 100;
    c->still = 1e-3;
    for (int i = 0; i < n; i++) {
        int open = 0;
        for (int j = 0; j < n; j++) open += can_become(f, i, j);
        c->hmm.start[i] = 1. / n;
        for (int j = 0; j < n; j++) {
            int mates = i != j && can_become(f, i, j);
            c->hmm.p[i][j] = i == j ? open > 1 ? 0.9 : 1
                             : mates ? 0.1 / (open - 1) : 0;
            c->prior[i][j] = i == j ? 2 : mates ? 0.2 : 0;
            c->found[i][j] = i == j ? 1 - (open > 1 ? wrong : 0)
                             : mates ? wrong / (open - 1) : 0;
            c->found[i][j] += 1e-4; /* any class can be taken for any */
        }
        for (int j = 0; j < n; j++) c->found[i][j] /= 1 + 1e-4 * n;
    }
}

static int correct_classes(film *f)
{
    chains *c = &f->class_of;
    first_chain(f);
    int bad = chains_learn(c, &f->arena, f->confusion > 0);
    size_t at;
    uint32_t k;
    for (k = 0, at = 0; k < f->tracks && !bad; at += (size_t)c->length[k++])
        for (int i = 0; i < f->of[k].n; i++) {
            spot *p = track_spot(f, &f->of[k], i);
            size_t j = at + p->frame - f->of[k].begin;
            p->hidden = c->path[j];
            p->sure = c->posterior[j * (size_t)f->kinds + (size_t)p->hidden];
            if (p->filled) p->kind = p->hidden;
        }
    return bad;
}

/* ---------- Classes without labels: METHOD E.2 ---------------------------- */

static void symmetry(atomdl_cutting *how, const film *f)
{
    const atomdl_chemistry *c = f->s.m->chemistry;
    memset(how, 0, sizeof *how);
    how->side = SIDE;
    how->interpolation = ATOMDL_CUBIC;
    how->fold = !f->based ? 1 : c->host[0] == c->host[1] ? 6 : 3;
    how->mirror = f->based;
}

/* The middle of each kept picture, turned. */
static int recut(film *f, const uint8_t *op)
{
    const double centre[2] = {0.5 * (WIDE - 1), 0.5 * (WIDE - 1)};
    size_t small = (size_t)SIDE * SIDE, one = (size_t)WIDE * WIDE;
    atomdl_cutting how;
    int status = 0;
    symmetry(&how, f);
    atomdl_image image;
    image.w = image.h = WIDE;
    image.c = 1;
    for (size_t i = 0; i < (size_t)f->cuts && !status; i++) {
        image.px = f->cut + i * one;
        status = atomdl_cut(f->picture + i * small, &image, 0, centre, 1,
                            op ? op + i : NULL, &how);
    }
    return status;
}

static int orient_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    atomdl_cutting how;
    symmetry(&how, f);
    return atomdl_orient(f->op, f->picture, f->cuts, &how, 5, arena);
}

typedef struct {
    film *f;
    int k;
    double bic;
} mixture_run;

static int mixture_stage(void *of, atomdl_arena *arena)
{
    mixture_run *r = of;
    film *f = r->f;
    atomdl_rng rng = atomdl_rng_seed(1);
    int n = f->cuts, d = f->components;
    double *centre = atomdl_alloc(arena, (size_t)(r->k * d), sizeof *centre);
    double inertia;
    int status = atomdl_kmeans(f->label, centre, &inertia, f->feature, n, d,
                               r->k, 10, &rng, arena);
    if (arena->base && !status)
        memcpy(f->means, f->label, (size_t)n * sizeof *f->means);
    atomdl_gmm gmm;
    if (!status)
        status = atomdl_gmm_fit(&gmm, f->feature, n, d, f->label, r->k, 1,
                                1e-6, 1e-5, 200, arena);
    if (!status)
        status = atomdl_gmm_classify(NULL, f->belongs, f->label, &gmm,
                                     f->feature, n, arena);
    if (arena->base) r->bic = gmm.bic;
    return status;
}

/* As many classes as BIC or the user wants. */
static int mix(film *f)
{
    mixture_run r;
    int d = f->components, parameters = 1 + d + d * (d + 1) / 2, best = 1;
    int most = f->cuts / (3 * parameters);
    r.f = f;
    most = most < MIXTURES ? most : MIXTURES;
    for (int k = 1; k <= most && !f->want; k++) {
        r.k = k;
        if (in_arena(mixture_stage, &r, &f->arena, "classes")) return 1;
        f->bic[k] = r.bic;
        if (r.bic < f->bic[best]) best = k;
    }
    r.k = f->clusters = f->want ? f->want < f->cuts ? f->want : f->cuts : best;
    return in_arena(mixture_stage, &r, &f->arena, "classes");
}

static int ward_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    int status = atomdl_ward(f->merge, f->feature, f->cuts, f->components,
                             arena);
    return status ? status : atomdl_ward_labels(f->ward, f->merge, f->cuts,
                                                f->clusters, arena);
}

static int pca_stage(void *of, atomdl_arena *arena)
{
    film *f = of;
    int most = f->cuts / 20 < 6 ? f->cuts / 20 + 1 : 6;
    int status = atomdl_pca_fit(&f->pca, f->picture, f->cuts, SIDE * SIDE,
                                0.95, most, arena);
    f->components = arena->base ? f->pca.k : most;
    return status ? status : atomdl_pca_project(f->feature, &f->pca,
                                                f->picture, f->cuts, arena);
}

static int cluster(film *f)
{
    size_t n = (size_t)f->cuts;
    if (f->cuts < 8) return f->cuts = 0;
    f->picture = zeroed(n * SIDE * SIDE, sizeof *f->picture);
    f->op = zeroed(n, 1);
    f->feature = zeroed(n * 8, sizeof *f->feature);
    f->belongs = zeroed(n * ATOMDL_KINDS, sizeof *f->belongs);
    f->label = zeroed(n, sizeof *f->label);
    f->ward = zeroed(n, sizeof *f->ward);
    f->means = zeroed(n, sizeof *f->means);
    f->merge = zeroed(n, sizeof *f->merge);
    if (!f->picture || !f->op || !f->feature || !f->belongs || !f->label
        || !f->ward || !f->means || !f->merge) return 1;
    if (recut(f, NULL) || in_arena(orient_stage, f, &f->arena, "pictures")
        || recut(f, f->op) || in_arena(pca_stage, f, &f->arena, "pictures")
        || mix(f) || in_arena(ward_stage, f, &f->arena, "hierarchy"))
        return 1;
    for (size_t i = 0; i < f->spots; i++) {
        spot *p = &f->spot[i];
        size_t c = (size_t)p->cut;
        if (p->cut < 0) continue;
        p->cluster = f->label[c];
        p->ward = f->ward[c];
        p->belongs = f->belongs[c * (size_t)f->clusters + (size_t)p->cluster];
    }
    return 0;
}

int track_counts(const film *f, const track_info *t)
{
    int least = f->frames < 20 ? 2 : 8;
    return t->n >= least && 2 * t->n > (int)(t->end - t->begin + 1);
}

/* ---------- Walks ---------------------------------------------------------

   Visits of a frame or two drown in noise, and tracks break where a vacancy
   hops: hops that are counted are too few. How often one hops is rather what
   makes all that was found most likely. Each vacancy walks, hidden, on the
   sites of the chalcogen, into the margin and beyond the border too; seldom it
   vanishes or appears. Where others are it is not. METHOD E.3 (hops), E.4. */

#define SWAP 6     /* frames in which two may seem to change places */
#define GONE 1e-3  /* that it vanishes in a frame, or appears */
#define TOGETHER 3 /* frames of two tracks that may be of one vacancy */
#define MOST_WALKS 1e7 /* sites times frames times tracks */

typedef struct {
    film *f;
    int n, room;       /* sites; and one state more: nowhere */
    double *place;     /* (room, 2) [A] */
    int *found_as, *site_of; /* (n) site of the film; (its sites) and back */
    int (*near)[6];    /* (room) sites beside each, -1: none */
    signed char *grade;/* (n, read) */
    unsigned char *moves; /* (n, read) 0: holds a class that is not vx1 */
    int *path;         /* (walkers, read) its site in each frame, -1: none */
    uint32_t *owner, *track; /* (n, read) walker, track + 1; 0: nobody */
    double *a, *b, *next; /* (read, n + 1), (n + 1), (n + 1) */
    uint32_t *of;      /* (walkers) track that it began with */
    int begun;         /* 1: all walkers are there */
    int *anchor, walkers; /* (walkers, 2) its site in a frame in the middle */
    double found[2][GRADES], odds[GRADES]; /* of each grade */
    double rate, error, hops, steps, like; /* of vx1; log-likelihood */
    double often[GRADES], seen[GRADES]; /* at all sites, at walkers */
} walks;

static int walk_add(walks *w, double u, double v)
{
    int of = site_at(w->f, w->f->place, w->f->sites, u, v);
    if (w->n == w->room) return -1;
    w->found_as[w->n] = of;
    if (of >= 0) w->site_of[of] = w->n;
    w->place[2 * w->n] = of < 0 ? u : w->f->place[2 * of];
    w->place[2 * w->n + 1] = of < 0 ? v : w->f->place[2 * of + 1];
    return w->n++;
}

/* All sites from the first one on, step by step, as far as a lattice constant
   around what any frame shows; false alarms lie elsewhere too. */
static void walk_sites(walks *w)
{
    static const int STEP[6][2] = {{1, 0}, {0, 1}, {-1, 1},
                                   {-1, 0}, {0, -1}, {1, -1}};
    const film *f = w->f;
    uint32_t k;
    for (int i = 0; i < w->n; i++)
        for (int j = 0; j < 6; j++) {
            double u = w->place[2 * i] + STEP[j][0] * f->hop[0]
                       + STEP[j][1] * f->hop[2];
            double v = w->place[2 * i + 1] + STEP[j][0] * f->hop[1]
                       + STEP[j][1] * f->hop[3];
            int to = site_at(f, w->place, w->n, u, v);
            for (k = 0; to < 0 && k < f->read
                        && !in_view(f, k, u, v, -f->s.m->chemistry->a); k++) {}
            w->near[i][j] = to < 0 && k < f->read ? walk_add(w, u, v) : to;
        }
}

static int walk_spot(const walks *w, const spot *p)
{
    return in_question(w->f, p) && p->site >= 0 ? w->site_of[p->site] : -1;
}

/* What is found at each site, and whether it is a vx1 as far as one knows. */
static void walk_grades(walks *w)
{
    const film *f = w->f;
    size_t all = f->read, j;
    for (size_t i = 0; i < (size_t)w->n; i++)
        for (j = 0; j < all; j++)
            w->grade[i * all + j] = (signed char)(
                w->found_as[i] < 0 || f->frame[j].empty
                || !in_view(f, (uint32_t)j, w->place[2 * i],
                            w->place[2 * i + 1], EDGE) ? -1
                : f->grade[(size_t)w->found_as[i] * all + j]);
    memset(w->moves, 2, (size_t)w->n * all);
    for (size_t i = 0; i < f->spots; i++) {
        const spot *p = &f->spot[i];
        int at = walk_spot(w, p);
        if (at < 0) continue;
        w->moves[(size_t)at * all + p->frame] =
            !strcmp(f->name[p->hidden], "vx1");
        if (track_counts(f, &f->of[p->track]))
            w->track[(size_t)at * all + p->frame] = p->track + 1;
    }
    int kind;
    for (int s = 0; s < w->n; s++)
        for (j = 0, kind = 1; j < all; j++) {
            unsigned char *m = &w->moves[(size_t)s * all + j];
            if (*m == 2) *m = (unsigned char)kind;
            kind = *m;
        }
}

/* Are two tracks so long seen together that they are two vacancies? */
static int walk_apart(const walks *w, uint32_t a, uint32_t b)
{
    const track_info *s = &w->f->of[a], *t = &w->f->of[b];
    uint32_t begin = s->begin > t->begin ? s->begin : t->begin;
    uint32_t end = s->end < t->end ? s->end : t->end;
    return a != b && begin + TOGETHER < end;
}

/* How likely is what was found in frame k if walker me is at site i? */
static double walk_seen(const walks *w, int me, int i, uint32_t k)
{
    size_t at = (size_t)i * w->f->read + k;
    if (w->anchor[2 * me + 1] == (int)k)
        return w->anchor[2 * me] == i;
    if (i == w->n) return 1;
    if ((w->owner[at] && w->owner[at] != (uint32_t)me + 1)
        || (!w->begun && w->track[at]
            && walk_apart(w, w->of[me], w->track[at] - 1))) return 1e-6;
    return w->grade[at] < 0 ? 1 : w->odds[w->grade[at]];
}

/* A hop to one of six sites. */
static double walk_hop(const walks *w, int i, uint32_t k)
{
    return w->moves[(size_t)i * w->f->read + k] ? w->rate / 6 : 0;
}

static double walk_stay(const walks *w, int i, uint32_t k)
{
    double stay = 1 - GONE, hop = walk_hop(w, i, k);
    for (int j = 0; j < 6; j++) stay -= w->near[i][j] < 0 ? 0 : hop;
    return stay;
}

/* a <- where it may be, if it was at b a frame before. */
static void walk_step(const walks *w, double *a, const double *b, uint32_t k)
{
    int n = w->n;
    for (int i = 0; i <= n; i++) a[i] = 0;
    for (int i = 0; i < n; i++) {
        double hop = b[i] * walk_hop(w, i, k);
        a[i] += b[i] * walk_stay(w, i, k) + b[n] * GONE / n;
        a[n] += b[i] * GONE;
        for (int j = 0; j < 6; j++)
            if (w->near[i][j] >= 0) a[w->near[i][j]] += hop;
    }
    a[n] += b[n] * (1 - GONE);
}

/* w->a: probability of each site by what was found until then. */
static void walk_forward(walks *w, int me)
{
    size_t row = (size_t)w->n + 1, i;
    double *a = w->a;
    for (i = 0; i < row; i++) a[i] = 1;
    double sum;
    for (uint32_t k = 0; k < w->f->read; k++, a += row) {
        if (k) walk_step(w, a, a - row, k - 1);
        for (i = 0, sum = 0; i < row; i++) {
            a[i] *= walk_seen(w, me, (int)i, k);
            sum += a[i];
        }
        for (i = 0; i < row; i++) a[i] /= sum;
        w->like += atomdl_log(sum);
    }
}

static void walk_to(walks *w, int me, uint32_t k, int site)
{
    size_t all = w->f->read;
    int *at = &w->path[(size_t)me * all + k];
    if (*at >= 0 && w->owner[(size_t)*at * all + k] == (uint32_t)me + 1)
        w->owner[(size_t)*at * all + k] = 0;
    if (site >= 0) w->owner[(size_t)site * all + k] = (uint32_t)me + 1;
    *at = site;
}

/* The walker's site in frame k is its likeliest one; what is found there. */
static void walk_claim(walks *w, int me, uint32_t k, const double *a,
                       const double *b, double all)
{
    int best = w->n;
    for (int i = 0; i < w->n; i++) {
        size_t at = (size_t)i * w->f->read + k;
        if (w->grade[at] >= 0) w->seen[w->grade[at]] += a[i] * b[i] / all;
        if (a[i] * b[i] > a[best] * b[best]) best = i;
    }
    walk_to(w, me, k, best < w->n ? best : -1);
}

/* Hops to expect by what was found in all frames; the walker's claims. */
static void walk_backward(walks *w, int me)
{
    int n = w->n;
    uint32_t k = w->f->read - 1;
    double *b = w->b, *next = w->next;
    for (int i = 0; i <= n; i++) b[i] = 1;
    walk_claim(w, me, k, w->a + k * ((size_t)n + 1), b, 1);
    while (k-- > 0) {
        const double *a = w->a + k * ((size_t)n + 1);
        double all = 0, hops = 0, steps = 0, back = 0;
        for (int i = 0; i <= n; i++)
            next[i] = walk_seen(w, me, i, k + 1) * b[i];
        for (int i = 0; i < n; i++) {
            double to = 0;
            for (int j = 0; j < 6; j++)
                if (w->near[i][j] >= 0) to += next[w->near[i][j]];
            to *= walk_hop(w, i, k);
            back += next[i] / n;
            b[i] = walk_stay(w, i, k) * next[i] + to + GONE * next[n];
            all += a[i] * b[i];
            if (to > 0 && w->grade[(size_t)i * w->f->read + k] >= 0) {
                hops += a[i] * to;
                steps += a[i] * b[i];
            }
        }
        b[n] = (1 - GONE) * next[n] + GONE * back;
        all += a[n] * b[n];
        walk_claim(w, me, k, a, b, all);
        for (int i = 0; i <= n; i++) b[i] /= all;
        w->hops += hops / all;
        w->steps += steps / all;
    }
}

/* Once through all walkers with the present rate. */
static void walk_all(walks *w)
{
    w->hops = w->steps = 0;
    memset(w->seen, 0, sizeof w->seen);
    for (int i = 0; i < w->walkers; i++) {
        walk_forward(w, i);
        walk_backward(w, i);
    }
}

/* Log-likelihood of all that was found at a rate, where the others are. */
static double walk_like(walks *w, double rate)
{
    w->rate = rate;
    w->like = 0;
    for (int i = 0; i < w->walkers; i++) walk_forward(w, i);
    return w->like;
}

/* What is found at sites with and without a walker, with ten pseudo-counts of
   what it was at first. */
static void walk_found(walks *w)
{
    double sum[2] = {10, 10}, count[2][GRADES];
    for (int i = 0; i < GRADES; i++) {
        double rest = w->often[i] - w->seen[i];
        count[0][i] = rest > 0 ? rest : 0;
        count[1][i] = w->seen[i];
        for (int j = 0; j < 2; j++) sum[j] += count[j][i];
    }
    for (int i = 0; i < GRADES; i++) {
        for (int j = 0; j < 2; j++)
            w->found[j][i] = (10 * w->f->found[j][i] + count[j][i]) / sum[j];
        w->odds[i] = w->found[1][i] / w->found[0][i];
    }
}

/* Is a spot not the chalcogen's, or that of a walker? */
static int walk_taken(const walks *w, const spot *p)
{
    int at = walk_spot(w, p);
    return at < 0 || w->owner[(size_t)at * w->f->read + p->frame];
}

/* The track with most spots of those not used, -1: none. */
static int walk_next(const walks *w, const char *used)
{
    const film *f = w->f;
    int best = -1;
    for (uint32_t k = 0; k < f->tracks; k++)
        if (!used[k] && track_counts(f, &f->of[k])
            && (best < 0 || f->of[k].n > f->of[best].n)) best = (int)k;
    return best;
}

/* One walker for each track that no walker before it has taken, the longest
   first; it is where the track is in the middle. */
static int walk_begin(walks *w)
{
    const film *f = w->f;
    char *used = zeroed(f->tracks, 1);
    int next, taken;
    while (used && (next = walk_next(w, used)) >= 0) {
        const track_info *o = &f->of[next];
        const spot *p = track_spot(f, o, o->n / 2);
        used[next] = 1;
        for (int i = taken = 0; i < o->n; i++)
            taken += walk_taken(w, track_spot(f, o, i));
        if (2 * taken > o->n || walk_taken(w, p)) continue;
        w->of[w->walkers] = (uint32_t)next;
        for (int i = 0; i < (int)f->read; i++)
            w->path[(size_t)w->walkers * f->read + (size_t)i] = -1;
        w->anchor[2 * w->walkers] = walk_spot(w, p);
        w->anchor[2 * w->walkers + 1] = (int)p->frame;
        walk_forward(w, w->walkers);
        walk_backward(w, w->walkers++);
    }
    free(used);
    return !used;
}

/* Walkers in frame k and SWAP later: who had better been where others are? */
typedef struct {
    walks *w;
    uint32_t k;
} parting;

/* The place of each walker in a frame; out of reach where it has none. */
static void walk_places(const walks *w, double *xy, uint32_t k)
{
    for (int i = 0; i < w->walkers; i++) {
        int at = w->path[(size_t)i * w->f->read + k];
        xy[2 * i] = at < 0 ? 1e6 * (i + 1) : w->place[2 * at];
        xy[2 * i + 1] = at < 0 ? 0 : w->place[2 * at + 1];
    }
}

static double walk_far(const double *a, const double *b)
{
    return (a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]);
}

/* SWAP after frame k each walker goes on as who is nearest then to where it was
   in frame k, and stays there until then. */
static void walk_exchange(walks *w, const int *to, int *spare, uint32_t k)
{
    uint32_t all = w->f->read, end = k + SWAP;
    for (uint32_t i = k + 1; i < all; i++) {
        for (int p = 0; p < w->walkers; p++)
            spare[p] = w->path[(size_t)p * all + (i < end ? k : i)];
        for (int p = 0; p < w->walkers; p++)
            if (to[p] != p) walk_to(w, p, i, -1);
        for (int p = 0; p < w->walkers; p++)
            if (to[p] != p)
                walk_to(w, p, i, spare[i < end ? p : to[p]]);
    }
    for (int p = 0; p < w->walkers; p++)
        if (to[p] != p) {
            int at = w->path[(size_t)p * all + k];
            w->anchor[2 * p] = at < 0 ? w->n : at;
            w->anchor[2 * p + 1] = (int)k;
        }
}

/* Who is near nobody goes on as one that is left over. */
static void walk_complete(int *to, int *spare, int n)
{
    int next = 0;
    for (int p = 0; p < n; p++) spare[p] = 0;
    for (int p = 0; p < n; p++)
        if (to[p] >= 0) spare[to[p]] = 1;
    for (int p = 0; p < n; p++)
        if (to[p] < 0 && !spare[p]) spare[to[p] = p] = 1;
    for (int p = 0; p < n; p++)
        if (to[p] < 0) {
            for (; spare[next]; next++) {}
            to[p] = next++;
        }
}

static int part_stage(void *of, atomdl_arena *arena)
{
    parting *g = of;
    walks *w = g->w;
    size_t n = (size_t)w->walkers;
    double *from = atomdl_alloc(arena, 2 * n, sizeof *from), now = 0;
    double *at = atomdl_alloc(arena, 2 * n, sizeof *at);
    int *to = atomdl_alloc(arena, n, sizeof *to);
    int *spare = atomdl_alloc(arena, n, sizeof *spare);
    double a = w->f->s.m->chemistry->a, gate = (SWAP + 0.5) * a;
    if (!arena->base)
        return atomdl_assign(NULL, NULL, NULL, (int)n, NULL, (int)n, gate,
                             arena);
    int status = atomdl_arena_status(arena);
    if (status) return status;
    walk_places(w, from, g->k);
    walk_places(w, at, g->k + SWAP);
    for (int i = 0; i < w->walkers; i++) {
        double d = walk_far(from + 2 * i, at + 2 * i);
        now += d < gate * gate ? d : gate * gate;
    }
    double then;
    status = atomdl_assign(to, &then, from, (int)n, at, (int)n, gate, arena);
    if (status || then > now - 0.5 * a * a) return status;
    walk_complete(to, spare, w->walkers);
    walk_exchange(w, to, spare, g->k);
    return ATOMDL_OK;
}

/* Where walkers seem to have changed places within a few frames, most of them
   stayed where they were. */
static int walk_part_all(walks *w)
{
    parting g = {0};
    int bad = 0;
    for (g.w = w; g.k + SWAP < w->f->read && w->walkers && !bad; g.k++)
        bad = in_arena(part_stage, &g, &w->f->arena, "walks");
    return bad;
}

/* The likeliest rate; its error by how sharply the likelihood falls. */
static int walk_learn(walks *w)
{
    for (size_t i = 0; i < (size_t)w->n * w->f->read; i++)
        if (w->grade[i] >= 0) w->often[w->grade[i]]++;
    memcpy(w->found, w->f->found, sizeof w->found);
    for (size_t i = 0; i < GRADES; i++)
        w->odds[i] = w->found[1][i] / w->found[0][i];
    w->rate = 0.05;
    if (walk_begin(w)) return 1;
    w->begun = 1;
    if (walk_part_all(w)) return 1;
    for (int round = 0; round < 20; round++) {
        walk_all(w);
        double rate = (w->hops + 0.01) / (w->steps + 0.1);
        w->rate = rate < 0.9 ? rate : 0.9;
        walk_found(w);
        if (round < 5 && walk_part_all(w)) return 1;
    }
    double rate = w->walkers ? w->rate : 0;
    double bend = 2 * walk_like(w, rate) - walk_like(w, 0.9 * rate)
                  - walk_like(w, 1.1 * rate);
    w->rate = rate;
    w->error = bend > 0 ? 0.1 * w->rate / atomdl_sqrt(bend) : w->rate;
    return 0;
}

static void walk_free(walks *w)
{
    free(w->place);
    free(w->near);
    free(w->found_as);
    free(w->site_of);
    free(w->grade);
    free(w->moves);
    free(w->owner);
    free(w->path);
    free(w->track);
    free(w->of);
    free(w->anchor);
    free(w->a);
    free(w->b);
    free(w->next);
}

static int walk_new(walks *w, film *f)
{
    size_t n = 4 * (size_t)cells(f) + 64, all = n * f->read;
    memset(w, 0, sizeof *w);
    w->f = f;
    w->room = (int)n;
    w->place = zeroed(2 * n, sizeof *w->place);
    w->near = zeroed(n, sizeof *w->near);
    w->found_as = zeroed(n, sizeof *w->found_as);
    w->site_of = zeroed((size_t)f->sites, sizeof *w->site_of);
    w->grade = zeroed(all, 1);
    w->moves = zeroed(all, 1);
    w->owner = zeroed(all, sizeof *w->owner);
    w->track = zeroed(all, sizeof *w->track);
    w->path = zeroed((size_t)f->tracks * f->read, sizeof *w->path);
    w->of = zeroed(f->tracks, sizeof *w->of);
    w->anchor = zeroed(2 * (size_t)f->tracks, sizeof *w->anchor);
    w->a = zeroed(all + f->read, sizeof *w->a);
    w->b = zeroed(n + 1, sizeof *w->b);
    w->next = zeroed(n + 1, sizeof *w->next);
    for (int i = 0; i < f->sites && w->site_of; i++) w->site_of[i] = -1;
    return !w->place || !w->near || !w->found_as || !w->site_of || !w->grade
           || !w->moves || !w->owner || !w->path || !w->track || !w->of
           || !w->anchor || !w->a || !w->b || !w->next;
}

/* f->rate: hops of vx1 a frame. */
static int walk_film(film *f)
{
    const track_info *longest = NULL;
    int tracks = 0;
    for (uint32_t k = 0; k < f->tracks; k++) {
        const track_info *o = &f->of[k];
        if (!track_counts(f, o) || !in_question(f, track_spot(f, o, 0)))
            continue;
        if (!tracks++ || o->n > longest->n) longest = o;
    }
    if (!tracks || !f->based || !f->grade) return 0;
    if (cells(f) * f->read * tracks > MOST_WALKS) {
        fprintf(stderr, "atomdl: warning: too many defects and frames for "
                "hidden walks\n");
        return 0;
    }
    walks w;
    int bad = walk_new(&w, f);
    if (!bad) {
        const spot *p = track_spot(f, longest, longest->n / 2);
        walk_add(&w, p->u, p->v);
        walk_sites(&w);
        walk_grades(&w);
        bad = walk_learn(&w);
        f->rate = w.rate;
        f->rate_error = w.error;
    }
    walk_free(&w);
    return bad;
}

static int save_gif(film *f)
{
    if (!f->gif.n && !f->gif.failed) return 0;
    char path[1200];
    snprintf(path, sizeof path, "%.900s/movie.gif", f->o.out);
    return io_gif_write(&f->gif, path) ? fail("%s", io_reason()) : 0;
}

/* What needs all frames, and their pictures. */
static int finish(film *f)
{
    rank_kinds(f);
    if (sort_tracks(f)) return 1;
    judge_tracks(f);
    return make_traces(f) || (f->spots && correct_classes(f)) || cluster(f)
           || save_gif(f) || walk_film(f) || movie_write(f);
}

static void film_free(film *f)
{
    io_stack_free(&f->stack);
    for (int i = 0; i < 2; i++) {
        free(f->lattice[i]);
        free(f->defect[i]);
        free(f->small[i].px);
    }
    free(f->frame);
    free(f->spot);
    free(f->column);
    free(f->place);
    free(f->grade);
    free(f->last);
    free(f->cut);
    free(f->arena.base);
    free(f->memory.base);
    io_text_free(&f->gif);
    free(f->order);
    free(f->of);
    chains_free(&f->class_of);
    free(f->picture);
    free(f->op);
    free(f->feature);
    free(f->belongs);
    free(f->label);
    free(f->ward);
    free(f->means);
    free(f->merge);
    io_text_free(&f->page);
    io_text_free(&f->pictures);
    session_close(&f->s);
    free(f);
}

/* ---------- A network taught by the first frame: METHOD E.1 --------------- */

enum { FINER = 16 }; /* pixels a lattice constant */

typedef struct {
    film *f;
    atomdl_image image;
    uint8_t *label;
    int dips, bumps;
} lesson;

/* The frame at FINER, and its labels; none near the edge. */
static int lesson_stage(void *of, atomdl_arena *arena)
{
    lesson *l = of;
    const film *f = l->f;
    const analysis *a = &f->s.a;
    double unit = f->s.m->chemistry->a / FINER;
    atomdl_subtraction how = {0, 0.2, 0.25, 0.75, 2.5};
    atomdl_image src;
    src.w = a->w, src.h = a->h, src.c = 1, src.px = (float *)a->px;
    how.cutoff = 0.75 / (FINER * 0.8660254037844386);
    int status = atomdl_image_new(&l->image, (int)(a->w * a->pixel_x / unit),
                                  (int)(a->h * a->pixel_y / unit), 1, arena);
    if (status) return status;
    l->label = atomdl_alloc(arena, (size_t)l->image.w * (size_t)l->image.h, 1);
    status = atomdl_image_resize(&l->image, &src, arena);
    if (!status)
        status = atomdl_first_frame(l->label, NULL, &l->image, 0, &how, arena);
    for (int y = 0; y < l->image.h && arena->base && !status; y++)
        for (int x = 0; x < l->image.w; x++) {
            uint8_t *p = &l->label[y * l->image.w + x];
            if (x < FINER || y < FINER || x >= l->image.w - FINER
                || y >= l->image.h - FINER) *p = ATOMDL_IGNORE;
            l->dips += *p == 1;
            l->bumps += *p == 2;
        }
    return status;
}

static int write_lesson(film *f, const lesson *l, char path[3][1100])
{
    int side = l->image.w < l->image.h ? l->image.w : l->image.h;
    size_t dim[2];
    io_text t = {0};
    dim[0] = (size_t)l->image.h;
    dim[1] = (size_t)l->image.w;
    side = side / 8 * 8 < 64 ? side / 8 * 8 : 64;
    io_put(&t, "# dips and bumps of the first frame, METHOD E.1\n"
           "material = graphene\nseed = 1\nsize = %d\npixel = %.6f\n"
           "class = background\nclass = dip atom C 0.5\n"
           "class = bump atom Si 0.5\nnetwork = fcn 8 16 32\n"
           "class_weights = 1 3 3\nbatch = 8\nsteps = 400\nrate = 0.002\n"
           "check = 400\nvalidation = 0\n", side,
           f->s.m->chemistry->a / FINER);
    if (io_npy_write(path[0], l->image.px, 'f', 2, dim)
        || io_npy_write(path[1], l->label, 'u', 2, dim)
        || io_text_write(&t, path[2])) {
        io_text_free(&t);
        return fail("%s", io_reason());
    }
    return 0;
}

/* Trains on the frame in s.a and opens the session anew with the result. */
static int learn(film *f)
{
    static char path[3][1100], weights[1100], pair[2300];
    char train[] = "train", option_o[] = "-o", images[] = "--images";
    char option_t[] = "--threads";
    atomdl_sampling sampling = f->s.pixel.lattice;
    lesson l;
    memset(&l, 0, sizeof l);
    l.f = f;
    snprintf(path[0], sizeof path[0], "%.900s/first.npy", f->o.out);
    snprintf(path[1], sizeof path[1], "%.900s/first.labels.npy", f->o.out);
    snprintf(path[2], sizeof path[2], "%.900s/first.recipe", f->o.out);
    snprintf(weights, sizeof weights, "%.900s/first.safetensors", f->o.out);
    snprintf(pair, sizeof pair, "%s,%s", path[0], path[1]);
    if (in_arena(lesson_stage, &l, &f->arena, f->s.a.source)) return 1;
    if (!l.dips && !l.bumps)
        return fail("%s: the first frame shows no defect to learn from",
                    f->s.a.source);
    if (l.image.w < 64 || l.image.h < 64)
        return fail("%s: too small to learn from", f->s.a.source);
    if (write_lesson(f, &l, path)) return 1;
    char *argv[9];
    argv[0] = train;
    argv[1] = path[2];
    argv[2] = option_o;
    argv[3] = weights;
    argv[4] = images;
    argv[5] = pair;
    argv[6] = option_t;
    char threads[16];
    sprintf(threads, "%d", f->o.threads ? f->o.threads : 1);
    argv[7] = threads;
    argv[8] = NULL;
    if (train_command(argv)) return 1;
    session_close(&f->s);
    f->o.weights = weights;
    int bad = session_open(&f->s, &f->o);
    f->s.pixel.lattice = sampling;
    return bad;
}

/* ---------- Frames from files --------------------------------------------- */

static void begin_frame(film *f, const char *path)
{
    analysis *a = &f->s.a;
    a->source = path;
    base_name(a->name, path);
}

/* Before the first frame, where it is to be learnt from. */
static int first_lesson(film *f, const io_stack *s, const char *path)
{
    analysis *a = &f->s.a;
    begin_frame(f, path);
    a->w = (int)s->w;
    a->h = (int)s->h;
    a->px = s->px;
    if (is_empty(s->px, s->w * s->h))
        return fail("%s: the first frame is empty, nothing to learn from",
                    path);
    if (pixel_size(&f->s, s->pixel_x, s->pixel_y)) return 1;
    f->pixel_x = a->pixel_x;
    f->pixel_y = a->pixel_y;
    f->pixel_from = a->pixel_from;
    return learn(f);
}

static int take_stack(film *f, const io_stack *s, const char *path)
{
    size_t last = s->frames - 1;
    int bad = 0;
    if ((size_t)f->o.first > last)
        return fail("%s: has frames 0 to %lu only", path,
                    (unsigned long)last);
    if ((size_t)f->o.last < last) last = (size_t)f->o.last;
    if (!f->frames)
        f->total = (int)(last - (size_t)f->o.first + 1) * f->o.images;
    if (f->learn && !f->taken && !f->frames && first_lesson(f, s, path))
        return 1;
    for (size_t i = (size_t)f->o.first; i <= last && !bad; i++) {
        const float *px = s->px + i * s->w * s->h;
        begin_frame(f, path);
        if (f->read) bad = show_frame(f, px, (int)s->w, (int)s->h);
        else {
            progress("frames", (int)f->frames, f->total);
            bad = take_frame(f, px, (int)s->w, (int)s->h, s->pixel_x,
                             s->pixel_y);
        }
        session_clear(&f->s);
        f->frames++;
    }
    return bad;
}

static int read_files(film *f)
{
    int one = f->o.images == 1, i, bad = 0; /* one: kept, it may be a pipe */
    f->frames = 0;
    for (i = 0; i < f->o.images && !bad; i++) {
        if (!one || !f->read) bad = io_stack_read(&f->stack, f->o.image[i]);
        bad = bad ? fail("%s", io_reason())
                  : take_stack(f, &f->stack, f->o.image[i]);
        if (!one || f->read) io_stack_free(&f->stack);
    }
    return bad;
}

/* Twice: to find, and to show what was settled then. */
static int take_files(film *f)
{
    if (read_files(f)) return 1;
    progress("frames", f->total, f->total);
    if (!f->taken)
        return fail("%s: no frame shows anything", f->o.image[0]);
    f->read = f->frames;
    if (believe(f) || follow_all(f) || read_files(f)) return 1;
    if (f->frames < f->read)
        return fail("%s: changed while it was read", f->o.image[0]);
    return finish(f);
}

/* ---------- Frames from standard input ------------------------------------ */

enum { U8, U16, F32 };

/* One line: what was found in this frame, and where it came from. */
static int say_frame(film *f)
{
    const frame_info *n = &f->now;
    io_text t = {0};
    io_put(&t, "{\"frame\": %lu, \"empty\": %s, \"atoms\": %d, \"drift_A\": "
           "[%.4f, %.4f], \"drift_known\": %s, \"%s\": [",
           (unsigned long)f->frames, n->empty ? "true" : "false", n->atoms,
           n->t[0], n->t[1], n->known ? "true" : "false",
           f->atoms ? "tracked_atoms" : "defects");
    for (size_t i = 0; i < f->spots; i++) {
        const spot *p = &f->spot[i];
        io_put(&t, "%s{\"track\": %lu, \"x_px\": %.3f, \"y_px\": %.3f, "
               "\"class\": \"%s\", \"score\": %.4f}", i ? ", " : "",
               (unsigned long)p->track + 1, to_px(p->x, f->pixel_x),
               to_px(p->y, f->pixel_y), f->name[p->kind], p->score);
    }
    io_put(&t, "]}\n");
    int bad = t.failed || fwrite(t.s, 1, t.n, stdout) != t.n || fflush(stdout);
    io_text_free(&t);
    return bad ? fail("cannot write to standard output") : 0;
}

static int take_stream(film *f)
{
    static const size_t SIZE[] = {1, 2, 4};
    size_t n = (size_t)f->w * (size_t)f->h, i, got, each = SIZE[f->type];
    unsigned char *raw = zeroed(n, each);
    float *px = zeroed(n, sizeof *px);
    int w = f->w, h = f->h, bad = !raw || !px;
#ifdef _WIN32
    _setmode(0, _O_BINARY);
#endif
    while (!bad && (got = fread(raw, 1, n * each, stdin)) > 0) {
        if (got < n * each) {
            bad = fail("frame %lu ends after %lu of %lu bytes",
                       (unsigned long)f->frames, (unsigned long)got,
                       (unsigned long)(n * each));
            break;
        }
        for (i = 0; i < n; i++)
            px[i] = f->type == U8 ? (float)raw[i]
                    : f->type == U16 ? (float)atomdl_load16(raw + 2 * i)
                                     : atomdl_loadf(raw + 4 * i);
        for (i = 0; i < n && px[i] - px[i] == 0; i++) {}
        f->spots = f->columns = 0;
        begin_frame(f, "standard input");
        bad = i < n ? fail("frame %lu holds numbers that are not finite",
                           (unsigned long)f->frames)
                    : take_frame(f, px, w, h, 0, 0);
        if (!bad) bad = say_frame(f);
        session_clear(&f->s);
        f->frames++;
    }
    if (!bad && !f->frames) bad = fail("standard input: no frame");
    free(raw);
    free(px);
    return bad;
}

/* ---------- The command --------------------------------------------------- */

static int take_number(char **argv, int *i, const char *name, double *value,
                       double least, double most)
{
    const char *text;
    char *end = NULL;
    if (!option(argv, i, name, &text)) return 0;
    *value = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !(*value > least && *value < most))
        return misuse("%s wants a number between %g and %g", name, least,
                      most), -1;
    return 1;
}

static int take_size(film *f, const char *text)
{
    int n = 0;
    if (text && sscanf(text, "%dx%d%n", &f->w, &f->h, &n) == 2 && !text[n]
        && f->w > 1 && f->h > 1 && f->w <= IO_SIDE && f->h <= IO_SIDE
        && (double)f->w * f->h <= IO_PIXELS)
        return 1;
    return misuse("--size wants WIDTHxHEIGHT in pixels"), -1;
}

/* 1: taken; 0: none of these; -1: misuse, said */
static int movie_option(film *f, char **argv, int *i)
{
    static const char *const TYPE[] = {"u8", "u16", "f32"};
    const char *v = NULL;
    int k;
    if ((k = take_number(argv, i, "--gate", &f->gate, 0, 1000))
        || (k = take_number(argv, i, "--interval", &f->interval, 0, 1e6))
        || (k = take_number(argv, i, "--confusion", &f->confusion, 0, 1))
        || (k = option_number(argv, i, "--gap", &f->gap, 0, 16))
        || (k = option_number(argv, i, "--classes", &f->want, 1,
                              ATOMDL_KINDS)))
        return k;
    if (option(argv, i, "--size", &v)) return take_size(f, v);
    if (option(argv, i, "--type", &v)) {
        for (f->type = 0; f->type < 3 && v; f->type++)
            if (!strcmp(v, TYPE[f->type])) return 1;
        return misuse("--type is u8, u16 or f32"), -1;
    }
    if (option(argv, i, "--track", &v)) {
        f->atoms = v && !strcmp(v, "atoms");
        if (f->atoms || (v && !strcmp(v, "defects"))) return 1;
        return misuse("--track wants defects or atoms"), -1;
    }
    if (!strcmp(argv[*i], "--affine")) return f->affine = 1;
    if (!strcmp(argv[*i], "--learn-first-frame"))
        return f->learn = f->atoms = 1;
    if (!strcmp(argv[*i], "--as-found")) return f->as_found = 1;
    return 0;
}

static int movie_options(film *f, char **argv)
{
    analysis_defaults(&f->o, argv, "movie");
    f->gap = 2;
    f->type = -1;
    for (int i = 1; argv[i]; i++) {
        int k = movie_option(f, argv, &i);
        if (!k) k = analysis_option(&f->o, argv, &i);
        if (k < 0) return 2;
        if (!k) f->o.image[f->o.images++] = argv[i];
    }
    if (!f->o.images) return misuse("movie wants frames");
    f->stream = f->o.images == 1 && !strcmp(f->o.image[0], "-");
    if (f->stream && (!f->w || f->type < 0))
        return misuse("movie - wants --size and --type");
    if (!f->stream && (f->w || f->type >= 0))
        return misuse("--size and --type are for standard input (-)");
    if (f->stream && f->learn)
        return misuse("--learn-first-frame wants files");
    if (f->stream) f->o.out = NULL;
    if (f->gate == 0) f->gate = 1.2 * f->o.chemistry->a;
    return 0;
}

int movie_command(char **argv)
{
    film *f = calloc(1, sizeof *f);
    if (!f) return out_of_memory(sizeof *f);
    f->now.m[0] = f->now.m[3] = 1;
    int bad = movie_options(f, argv);
    if (!bad) bad = session_open(&f->s, &f->o);
    if (!bad) bad = f->stream ? take_stream(f) : take_files(f);
    film_free(f);
    return bad;
}
