/* SPDX-License-Identifier: MIT
   atomdl movie: frames in order become tracks, classes and rates. A frame is
   analysed as by `atomdl analyze` and then forgotten; what stays are its
   defects and a small picture around each of them. */
#include "movie.h"
#include "program.h"
#include "report.h"
#include "tables.h"

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
    "  --rules NAME=0     as of atomdl analyze; doubt, leaps, visits, gaps,\n"
    "                     parting too: each one's part in what is found\n"
    "  --pixel-size A  --material NAME  --weights NAME|FILE  --frames A-B\n"
    "  --average 8  --threshold [CLASS=]P  --dopant SYMBOL  --method NAME\n"
    "  --force  --threads N   as of atomdl analyze\n"
    "\n"
    "example:  atomdl movie --pixel-size 0.078 -o out stack.tif\n"
    "          then open out/report.html\n";

static const unsigned COLOUR[ATOMDL_MARKOV] = {
    0xffb000, 0x2fb4ff, 0xff5db1, 0x7cf25a, 0xb06cff, 0xff6b3d,
    0x20d5c4, 0xffe45c, 0x8d99ff, 0xd0a070, 0xf05050, 0xb8c4d0};

/* ---------- Memory -------------------------------------------------------- */

/* Makes *p of *room entries of `size` hold n; it grows by doubling. */
static int reserve(void **p, size_t *room_of, size_t n, size_t size)
{
    size_t more = *room_of ? *room_of : 256;
    if (n <= *room_of) return 0;
    while (more < n) more *= 2;
    void *q = realloc(*p, more * size);
    if (!q) return out_of_memory((double)(more * size));
    *p = q;
    *room_of = more;
    return 0;
}

static int reserve_spots(movie *f, size_t more)
{
    return reserve((void **)&f->film.spot, &f->film.spot_room,
                   f->film.spots + more, sizeof *f->film.spot);
}

void *zeroed(size_t n, size_t size)
{
    static int said;
    void *p = calloc(n ? n : 1, size);
    if (!p && !said++) out_of_memory((double)(n * size));
    return p;
}

/* ---------- The library's steps ------------------------------------------- */

enum { DRIFT, FOLLOW, SITES, BELIEVE, CHAIN, FILL, TRACKS, CLASSES, WALK };

static int film_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    atomdl_film *film = &f->film;
    switch (f->step) {
    case DRIFT:
        return atomdl_film_drift(film, &f->now, &f->drifting, arena);
    case FOLLOW: return atomdl_film_follow(film, &f->now, &f->tracker, arena);
    case SITES: return atomdl_film_sites(film, &f->sites, arena);
    case BELIEVE: return atomdl_film_believe(film, &f->sites, arena);
    case CHAIN: return atomdl_film_chain(film, f->tracker.next, arena);
    case FILL: return atomdl_film_fill(film, &f->sites, arena);
    case TRACKS: return atomdl_film_tracks(&f->tracks, film, arena);
    case CLASSES:
        return atomdl_film_classes(film, &f->tracks, &f->classes,
                                   f->wish.confusion, arena);
    default:
        return atomdl_film_walk(&f->walk, film, &f->tracks, &f->sites, arena);
    }
}

static int run_step(movie *f, int step, atomdl_arena *arena, const char *name)
{
    f->step = step;
    return in_arena(film_stage, f, arena, name);
}

/* ---------- What is followed, and its drift ------------------------------- */

static int take_defects(movie *f)
{
    const atomdl_findings *got = &f->s.a.got;
    return reserve_spots(f, (size_t)got->defects)
           || reserve((void **)&f->film.sight, &f->film.sight_room,
                      f->film.sights + (size_t)(got->atoms + got->defects),
                      sizeof *f->film.sight)
           || atomdl_film_take(&f->film, &f->now, got);
}

static int take_atoms(movie *f)
{
    const atomdl_findings *got = &f->s.a.got;
    char name[16];
    if (reserve_spots(f, (size_t)got->atoms)) return 1;
    for (int i = 0; i < got->atoms; i++) {
        const atomdl_node *p = &got->node[i];
        species_text(name, p->z, p->count);
        if (f->wish.learn) strcpy(name, p->count ? "bump" : "dip");
        atomdl_film_spot(&f->film, &f->now, p->x, p->y, name)->score = p->score;
    }
    return 0;
}

/* *to (n, 2) <- room for places; 0, or said */
static int places_new(double **to, int n)
{
    double *xy = realloc(*to, ((size_t)n + 1) * 2 * sizeof *xy);
    if (!xy) return out_of_memory(16. * n);
    *to = xy;
    return 0;
}

/* The drift is found by atoms of the host that bear no defect, and defects. */
static int take_marks(movie *f)
{
    const atomdl_findings *got = &f->s.a.got;
    int now = f->drifting.now;
    atomdl_marks *mark = &f->drifting.mark[now];
    if (places_new(&f->lattice[now], got->atoms)
        || places_new(&f->defect[now], f->now.spots)) return 1;
    atomdl_film_marks(mark, f->lattice[now], f->defect[now], &f->film, &f->now,
                      got);
    if (f->wish.learn) mark->lattice.n = 0;
    if (f->wish.atoms) mark->defect.n = 0;
    return 0;
}

/* Atoms: that many can be followed, and more later; defects: more than any
   frame shows. */
static int tracker_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    int most = f->wish.atoms ? 4 * f->now.spots + 1024 : 4096;
    return atomdl_tracker_new(&f->tracker, most, f->wish.gap, f->film.gate,
                              arena);
}

/* Gives this frame's spots their tracks. */
static int follow(movie *f, uint32_t frame)
{
    char name[32];
    if (!f->tracker.max
        && in_arena(tracker_stage, f, &f->tracking, f->s.a.name)) return 1;
    if (f->now.spots > f->tracker.max)
        return fail("frame %u: %d of them are more than the %d that can be "
                    "followed", frame, f->now.spots, f->tracker.max);
    snprintf(name, sizeof name, "frame %u", frame);
    return run_step(f, FOLLOW, &f->arena, name);
}

/* ---------- Pictures around each ------------------------------------------ */

static int small_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    atomdl_image src = image_of(&f->s.a);
    return atomdl_image_resize(&f->drifting.mark[f->drifting.now].small, &src,
                               arena);
}

/* The frame at a ninth of a lattice constant a pixel. */
static int small_frame(movie *f)
{
    const atomdl_view *v = &f->film.view;
    atomdl_image *to = &f->drifting.mark[f->drifting.now].small;
    double unit = v->chemistry->a / 9;
    double w = v->w * v->pixel_x / unit, h = v->h * v->pixel_y / unit;
    if (!to->px) {
        to->w = w > 8 ? (int)w : 8;
        to->h = h > 8 ? (int)h : 8;
        to->c = 1;
        to->px = zeroed((size_t)to->w * (size_t)to->h, sizeof *to->px);
        if (!to->px) return 1;
    }
    if (in_arena(small_stage, f, &f->arena, f->s.a.name)) return 1;
    if (atomdl_image_normalise(to, ATOMDL_NORM_STD))
        return fail("%s: frame %u cannot be scaled", f->s.a.source, f->frames);
    return 0;
}

/* Around each spot of the frame, in the axes of the lattice. */
static int take_pictures(movie *f)
{
    const atomdl_view *v = &f->film.view;
    const atomdl_image *image = &f->drifting.mark[f->drifting.now].small;
    pictures *p = &f->pictures;
    size_t one = (size_t)WIDE * WIDE;
    atomdl_cutting how = {WIDE, ATOMDL_LINEAR, 0, 1, 0};
    if (!f->now.spots) return 0;
    float *more = realloc(p->wide, (size_t)(p->n + f->now.spots) * one
                                       * sizeof *more);
    if (!more) return out_of_memory((double)one * 4 * f->now.spots);
    p->wide = more;
    if (v->based)
        how.angle = atomdl_atan2(v->basis[1], v->basis[0])
                    + 0.52359877559829882;
    for (size_t i = 0; i < (size_t)f->now.spots; i++) {
        atomdl_spot *s = &f->film.spot[f->now.first + i];
        double xy[2] = {(s->x / v->pixel_x + 0.5) * image->w / v->w - 0.5,
                        (s->y / v->pixel_y + 0.5) * image->h / v->h - 0.5};
        if (p->n == CUTS || xy[0] < SIDE / 2 || xy[1] < SIDE / 2
            || xy[0] > image->w - SIDE / 2 || xy[1] > image->h - SIDE / 2)
            continue;
        if (atomdl_cut(p->wide + (size_t)p->n * one, image, 0, xy, 1, NULL,
                       &how))
            return fail("frame %u: cannot cut", f->frames);
        s->picture = p->n++;
    }
    return 0;
}

/* Position on a canvas of `zoom` pixels a pixel of the frame. */
static void on_canvas(double xy[2], const movie *f, double zoom, double x,
                      double y)
{
    xy[0] = (x / f->film.view.pixel_x + 0.5) * zoom - 0.5;
    xy[1] = (y / f->film.view.pixel_y + 0.5) * zoom - 0.5;
}

static void draw_tail(io_canvas *c, const movie *f, double zoom,
                      const atomdl_spot *p)
{
    double from[2];
    on_canvas(from, f, zoom, p->x, p->y);
    double to[2], xy[2];
    for (int k = 0; k < TAIL && p->before >= 0; k++) {
        const atomdl_spot *q = &f->film.spot[p->before];
        io_pen pen = {f->colour[q->kind], 255 - 3 * k};
        atomdl_frame_place(xy, &f->now, q->u, q->v);
        on_canvas(to, f, zoom, xy[0], xy[1]);
        io_draw_line(c, from[0], from[1], to[0], to[1], 2, pen);
        memcpy(from, to, sizeof to);
        p = q;
    }
}

/* Circles around the spots of this frame, their tails and names. */
static void draw_spots(io_canvas *c, const movie *f, double zoom)
{
    const atomdl_view *v = &f->film.view;
    double r = 0.5 * v->chemistry->a / v->pixel_x * zoom, xy[2];
    io_pen white = {0xffffff, 255};
    char text[64];
    for (size_t i = 0; i < (size_t)f->now.spots; i++) {
        const atomdl_spot *p = &f->film.spot[f->now.first + i];
        io_pen pen = {f->colour[p->kind], 255};
        draw_tail(c, f, zoom, p);
        on_canvas(xy, f, zoom, p->x, p->y);
        io_draw_circle(c, xy[0], xy[1], f->wish.atoms ? r / 2 : r, 2, pen);
        if (f->now.spots > 30) continue;
        snprintf(text, sizeof text, "%u %s", p->track + 1,
                 f->film.names.name[p->kind]);
        io_draw_label(c, (int)(xy[0] + 0.8 * r), (int)(xy[1] - r) - 8,
                      c->w < 400 ? 1 : 2, text, white);
    }
    snprintf(text, sizeof text, "%u", f->frames);
    io_draw_label(c, 6, 6, 2, text, white);
    io_draw_scale_bar(c, v->pixel_x / zoom);
}

/* Some frames, the last one among them, stand in the page. */
static int put_frame(movie *f, const io_canvas *c)
{
    io_bytes png = {NULL, 0};
    if ((int)f->frames != f->total - 1
        && (double)f->frames * (SHOWN - 1)
               < (double)f->out.shown * (f->total - 1)) return ATOMDL_OK;
    f->out.shown++;
    int bad = io_png(&png, c->rgb, (size_t)c->w, (size_t)c->h, 3);
    io_put(&f->out.frames, "<figure><img class=\"side\" alt=\"\" src=\"");
    put_png(&f->out.frames, &png);
    io_put(&f->out.frames, "\"><figcaption>frame %u</figcaption></figure>"
           "\n", f->frames);
    free(png.data);
    return bad ? ATOMDL_EMEM : ATOMDL_OK;
}

/* The frame and its tracks, into the animation and perhaps into the page. */
static int picture_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    atomdl_image src = image_of(&f->s.a), to = src;
    int side = src.w > src.h ? src.w : src.h;
    if (side > GIF_SIDE) {
        int status = atomdl_image_new(&to, src.w * GIF_SIDE / side,
                                      src.h * GIF_SIDE / side, 1, arena);
        if (!status) status = atomdl_image_resize(&to, &src, arena);
        if (status) return status;
    }
    if (!arena->base) return ATOMDL_OK;
    int zoom = side > GIF_SIDE ? 1 : GIF_SIDE / side;
    io_canvas c;
    if (io_canvas_image(&c, to.px, (size_t)to.h, (size_t)to.w, zoom, 0.002,
                        0.998))
        return ATOMDL_EMEM;
    cover_blank(&c, &f->s.a);
    draw_spots(&c, f, (double)to.w * zoom / src.w);
    io_gif_frame(&f->out.gif, &c, 12);
    int status = put_frame(f, &c);
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
static int look_at(movie *f)
{
    atomdl_drifting *d = &f->drifting;
    atomdl_view *v = &f->film.view;
    d->now = !d->now;
    f->s.a.quiet = d->taken > 0;
    if (session_find(&f->s, PROB_NOWHERE) || small_frame(f)
        || (!d->taken && ground_refuses(&f->s))) return 1;
    if (!v->based)
        atomdl_film_lattice(v, &f->s.a.got.graph, &f->s.pixel.lattice);
    f->now.atoms = f->s.a.got.atoms;
    f->now.data = f->s.a.got.data;
    if ((f->wish.atoms ? take_atoms(f) : take_defects(f)) || take_marks(f)
        || run_step(f, DRIFT, &f->arena, f->s.a.name)) return 1;
    d->taken++;
    return 0;
}

/* A frame as read: empty ones are counted and said, the others looked at. */
static int take_frame(movie *f, double file_x, double file_y)
{
    analysis *a = &f->s.a;
    atomdl_view *v = &f->film.view;
    atomdl_frame *now = &f->now;
    int bad = 0;
    if (f->frames && (a->w != v->w || a->h != v->h))
        return fail("%s: frame %u is of %d x %d pixels, those before of %d x "
                    "%d", a->source, f->frames, a->w, a->h, v->w, v->h);
    v->w = a->w;
    v->h = a->h;
    now->number = f->frames;
    now->empty = is_empty(a->px, (size_t)a->w * (size_t)a->h);
    now->data = 1;
    now->atoms = now->spots = now->sights = now->known = 0;
    now->first = f->film.spots;
    now->sight = f->film.sights;
    memset(now->shift, 0, sizeof now->shift);
    if (now->empty) {
        fprintf(stderr, "atomdl: %s: warning: frame %u is empty (every pixel "
                "has the same value)\n", a->source, f->frames);
    } else {
        if (!(v->pixel_x > 0) && pixel_size(&f->s, file_x, file_y)) return 1;
        if (!(v->pixel_x > 0)) {
            v->pixel_x = a->pixel_x;
            v->pixel_y = a->pixel_y;
        }
        a->pixel_x = v->pixel_x;
        a->pixel_y = v->pixel_y;
        f->pixel_from = a->pixel_from ? a->pixel_from : f->pixel_from;
        a->pixel_from = f->pixel_from;
        bad = look_at(f);
    }
    if (!bad && f->wish.stream)
        return f->drifting.taken ? follow(f, f->frames) : 0;
    if (!bad)
        bad = reserve((void **)&f->film.frame, &f->frame_room, f->frames + 1,
                      sizeof *now);
    if (!bad) f->film.frame[f->frames] = *now;
    return bad;
}

/* Pictures of a frame whose spots are settled. */
static int show_frame(movie *f)
{
    const analysis *a = &f->s.a;
    uint32_t every = (uint32_t)f->total / GIF_MOST + 1;
    if (f->frames >= f->film.frames || a->w != f->film.view.w
        || a->h != f->film.view.h)
        return fail("%s: changed while it was read", a->source);
    f->now = f->film.frame[f->frames];
    if (f->now.empty) return 0;
    if (small_frame(f) || take_pictures(f)) return 1;
    return f->frames % every == 0
           && in_arena(picture_stage, f, &f->arena, a->name);
}

/* ---------- What all frames say ------------------------------------------- */

/* Other frames deny what only few of them show, and show what few miss. */
static int believe(movie *f)
{
    atomdl_sites *s = &f->sites;
    if (f->wish.as_found || f->wish.atoms || f->film.frames < 2
        || !atomdl_film_in_question(&f->film)) return 0;
    s->room = atomdl_film_sites_room(&f->film);
    s->place = zeroed(2 * (size_t)s->room, sizeof *s->place);
    if (!s->place) return 1;
    do {
        if (run_step(f, SITES, &f->arena, "sites")) return 1;
        free(s->grade);
        free(s->missed);
        s->grade = NULL;
        s->missed = NULL;
        if (s->too_many)
            fprintf(stderr, "atomdl: warning: too many sites and frames to ask "
                    "others about what one shows\n");
        if (s->too_many || !s->n) return 0;
        s->grade = zeroed((size_t)s->n * f->film.frames, 1);
        s->missed = zeroed((size_t)s->n * f->film.frames, 1);
        if (!s->grade || !s->missed
            || run_step(f, BELIEVE, &f->arena, "classes"))
            return 1;
    } while (s->again);
    return reserve_spots(f, atomdl_film_gaps(&f->film, s))
           || run_step(f, FILL, &f->arena, "classes");
}

/* Tracks of all frames. */
static int follow_all(movie *f)
{
    int begun = 0;
    for (uint32_t k = 0; k < f->film.frames; k++) {
        f->now = f->film.frame[k];
        begun |= !f->now.empty;
        if (begun && follow(f, f->frames)) return 1;
    }
    return run_step(f, CHAIN, &f->arena, "tracks");
}

atomdl_spot *track_spot(const movie *f, const atomdl_track *t, int i)
{
    return atomdl_track_spot(&f->film, &f->tracks, t, i);
}

/* Tracks by what class they are, and how single vacancies hop. */
static int judge_tracks(movie *f)
{
    int from[ATOMDL_CLASS_NAMES];
    unsigned colour[ATOMDL_CLASS_NAMES];
    atomdl_film_rank(&f->film, from);
    memcpy(colour, f->colour, sizeof colour);
    for (int i = 0; i < f->film.names.n; i++) f->colour[i] = colour[from[i]];
    f->tracks.n = f->tracker.next;
    if (run_step(f, TRACKS, &f->tracks_in, "tracks")
        || run_step(f, CLASSES, &f->classes_in, "classes")
        || run_step(f, WALK, &f->arena, "walks")) return 1;
    if (f->walk.too_many)
        fprintf(stderr, "atomdl: warning: too many defects and frames for "
                "hidden walks\n");
    return 0;
}

/* ---------- Classes without labels: METHOD E.2 ---------------------------- */

static atomdl_cutting symmetry(const movie *f)
{
    const atomdl_view *v = &f->film.view;
    int alike = v->chemistry->host[0] == v->chemistry->host[1];
    return (atomdl_cutting){SIDE, ATOMDL_CUBIC, 0,
                            !v->based ? 1 : alike ? 6 : 3, v->based};
}

/* The middle of each kept picture, turned. */
static int recut(movie *f, const uint8_t *op)
{
    static const double CENTRE[2] = {0.5 * (WIDE - 1), 0.5 * (WIDE - 1)};
    size_t small = (size_t)SIDE * SIDE, one = (size_t)WIDE * WIDE;
    pictures *p = &f->pictures;
    int status = 0;
    atomdl_cutting how = symmetry(f);
    atomdl_image image = {WIDE, WIDE, 1, NULL};
    for (size_t i = 0; i < (size_t)p->n && !status; i++) {
        image.px = p->wide + i * one;
        status = atomdl_cut(p->px + i * small, &image, 0, CENTRE, 1,
                            op ? op + i : NULL, &how);
    }
    return status;
}

static int orient_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    atomdl_cutting how = symmetry(f);
    return atomdl_orient(f->pictures.op, f->pictures.px, f->pictures.n, &how,
                         5, arena);
}

/* Into as many classes as there are to be: k-means, then a mixture. */
static int mixture_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    pictures *p = &f->pictures;
    atomdl_points rows = {p->feature, p->n, p->components};
    atomdl_gmm_how how = {p->classes, 1, 1e-6, 1e-5, 200};
    atomdl_kmeans_how start = {p->classes, 10, atomdl_rng_seed(1),
                               f->s.how.use.kernels};
    double *centre = atomdl_alloc(arena, (size_t)(p->classes * rows.d),
                                  sizeof *centre);
    double inertia;
    int status = atomdl_kmeans(p->label, centre, &inertia, &rows, &start,
                               arena);
    if (arena->base && !status)
        memcpy(p->means, p->label, (size_t)p->n * sizeof *p->means);
    atomdl_gmm gmm;
    if (!status) status = atomdl_gmm_fit(&gmm, &rows, p->label, &how, arena);
    if (!status)
        status = atomdl_gmm_classify(NULL, p->belongs, p->label, &gmm, &rows,
                                     arena);
    if (arena->base) p->bic[0] = gmm.bic;
    return status;
}

/* As many classes as BIC or the user wants. */
static int mix(movie *f)
{
    pictures *p = &f->pictures;
    int d = p->components, parameters = 1 + d + d * (d + 1) / 2, best = 1;
    int most = p->n / (3 * parameters), want = f->wish.classes;
    most = most < MIXTURES ? most : MIXTURES;
    for (int k = 1; k <= most && !want; k++) {
        p->classes = k;
        if (in_arena(mixture_stage, f, &f->arena, "classes")) return 1;
        p->bic[k] = p->bic[0];
        if (p->bic[k] < p->bic[best]) best = k;
    }
    p->classes = !want ? best : want < p->n ? want : p->n;
    return in_arena(mixture_stage, f, &f->arena, "classes");
}

static int ward_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    pictures *p = &f->pictures;
    atomdl_points rows = {p->feature, p->n, p->components};
    int status = atomdl_ward(p->merge, &rows, f->s.how.use.kernels, arena);
    return status ? status : atomdl_ward_labels(p->ward, p->merge, p->n,
                                                p->classes, arena);
}

static int pca_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    pictures *p = &f->pictures;
    atomdl_pca_how how = {0.95, p->n / 20 < 6 ? p->n / 20 + 1 : 6,
                          f->s.how.use.kernels};
    int status = atomdl_pca_fit(&p->pca, p->px, p->n, SIDE * SIDE, &how, arena);
    p->components = arena->base ? p->pca.k : how.most;
    return status ? status : atomdl_pca_project(p->feature, &p->pca, p->px,
                                                p->n, arena);
}

static int pictures_stage(void *of, atomdl_arena *arena)
{
    pictures *p = of;
    size_t n = (size_t)p->n;
    p->px = atomdl_alloc(arena, n * SIDE * SIDE, sizeof *p->px);
    p->op = atomdl_alloc(arena, n, 1);
    p->feature = atomdl_alloc(arena, n * 8, sizeof *p->feature);
    p->belongs = atomdl_alloc(arena, n * ATOMDL_KINDS, sizeof *p->belongs);
    p->label = atomdl_alloc(arena, n, sizeof *p->label);
    p->ward = atomdl_alloc(arena, n, sizeof *p->ward);
    p->means = atomdl_alloc(arena, n, sizeof *p->means);
    p->merge = atomdl_alloc(arena, n, sizeof *p->merge);
    return atomdl_arena_status(arena);
}

static int cluster(movie *f)
{
    pictures *p = &f->pictures;
    atomdl_arena *a = &f->arena;
    if (p->n < 8) return p->n = 0;
    return in_arena(pictures_stage, p, &f->pictures_in, "pictures")
           || recut(f, NULL) || in_arena(orient_stage, f, a, "pictures")
           || recut(f, p->op) || in_arena(pca_stage, f, a, "pictures")
           || mix(f) || in_arena(ward_stage, f, a, "hierarchy");
}

int picture_class(const movie *f, const atomdl_spot *p)
{
    return f->pictures.n && p->picture >= 0 ? f->pictures.label[p->picture]
                                            : -1;
}

static int save_gif(movie *f)
{
    char path[PATH];
    if (!f->out.gif.n && !f->out.gif.failed) return 0;
    path_in(path, f->o.out, "movie.gif");
    return io_gif_write(&f->out.gif, path) ? fail("%s", io_reason()) : 0;
}

/* All that a movie holds. */
static void movie_free(movie *f)
{
    atomdl_arena *arena[] = {&f->arena, &f->tracking, &f->tracks_in,
                             &f->classes_in, &f->pictures_in};
    io_stack_free(&f->stack);
    for (int i = 0; i < 2; i++) {
        free(f->lattice[i]);
        free(f->defect[i]);
        free(f->drifting.mark[i].small.px);
    }
    for (size_t i = 0; i < sizeof arena / sizeof *arena; i++)
        free(arena[i]->base);
    free(f->film.frame);
    free(f->film.spot);
    free(f->film.sight);
    free(f->sites.place);
    free(f->sites.grade);
    free(f->sites.missed);
    free(f->pictures.wide);
    io_text_free(&f->out.gif);
    io_text_free(&f->out.page);
    io_text_free(&f->out.frames);
    session_close(&f->s);
    free(f);
}

/* ---------- A network taught by the first frame: METHOD E.1 --------------- */

enum { FINER = 16 }; /* pixels a lattice constant */

typedef struct {
    movie *f;
    atomdl_image image;
    uint8_t *label;
    int dips, bumps;
} lesson;

/* The frame at FINER, and its labels; none near the edge. */
static int lesson_stage(void *of, atomdl_arena *arena)
{
    lesson *l = of;
    const movie *f = l->f;
    const analysis *a = &f->s.a;
    double unit = f->film.view.chemistry->a / FINER;
    atomdl_subtraction how = {0, 0.2, 0.25, 0.75, 2.5};
    atomdl_image src = image_of(a);
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

/* Image, labels and recipe as files, which `atomdl train` reads. */
static int write_lesson(movie *f, const lesson *l, char path[3][PATH])
{
    int side = l->image.w < l->image.h ? l->image.w : l->image.h;
    size_t dim[2] = {(size_t)l->image.h, (size_t)l->image.w};
    io_text t = {0};
    side = side / 8 * 8 < 64 ? side / 8 * 8 : 64;
    io_put(&t, "# dips and bumps of the first frame, METHOD E.1\nmaterial = "
           "graphene\nseed = 1\nsize = %d\npixel = %.6f\nclass = background\n"
           "class = dip atom C 0.5\nclass = bump atom Si 0.5\nnetwork = fcn 8 "
           "16 32\nclass_weights = 1 3 3\nbatch = 8\nsteps = 400\nrate = "
           "0.002\ncheck = 400\nvalidation = 0\n", side,
           f->film.view.chemistry->a / FINER);
    if (io_npy_write(path[0], l->image.px, 'f', 2, dim)
        || io_npy_write(path[1], l->label, 'u', 2, dim)
        || io_text_write(&t, path[2])) {
        io_text_free(&t);
        return fail("%s", io_reason());
    }
    return 0;
}

/* With the network that is asked for. */
static int movie_open(movie *f)
{
    int bad = session_open(&f->s, &f->o);
    if (!bad) f->film.view.chemistry = f->s.m->chemistry;
    return bad;
}

/* Trains on the frame in s.a and opens the session anew with the result. */
static int learn_first(movie *f)
{
    static char path[3][PATH], weights[PATH], pair[2 * PATH];
    char threads[16];
    const char *word[] = {"train", path[2], "-o", weights, "--images", pair,
                          "--threads", threads, NULL};
    atomdl_sampling sampling = f->s.pixel.lattice;
    lesson l = {f, {0, 0, 0, NULL}, NULL, 0, 0};
    path_in(path[0], f->o.out, "first.npy");
    path_in(path[1], f->o.out, "first.labels.npy");
    path_in(path[2], f->o.out, "first.recipe");
    path_in(weights, f->o.out, "first.safetensors");
    snprintf(pair, sizeof pair, "%s,%s", path[0], path[1]);
    sprintf(threads, "%d", f->o.threads ? f->o.threads : 1);
    if (in_arena(lesson_stage, &l, &f->arena, f->s.a.source)) return 1;
    if (!l.dips && !l.bumps)
        return fail("%s: the first frame shows no defect to learn from",
                    f->s.a.source);
    if (l.image.w < 64 || l.image.h < 64)
        return fail("%s: too small to learn from", f->s.a.source);
    if (write_lesson(f, &l, path)) return 1;
    if (train_command((char **)word)) return 1; /* it writes into no word */
    session_close(&f->s);
    f->o.weights = weights;
    int bad = movie_open(f);
    f->s.pixel.lattice = sampling;
    return bad;
}

/* ---------- Frames from files --------------------------------------------- */

/* Frame i of a file is the one that is looked at. */
static void begin_frame(movie *f, const char *path, const io_stack *s,
                        size_t i)
{
    frame_of_stack(&f->s.a, s, i, path);
    base_name(f->s.a.name, path);
    f->s.a.frame = (int)f->frames;
}

/* Before the first frame, where it is to be learnt from. */
static int first_lesson(movie *f, const io_stack *s, const char *path)
{
    analysis *a = &f->s.a;
    begin_frame(f, path, s, 0);
    if (is_empty(s->px, s->w * s->h))
        return fail("%s: the first frame is empty, nothing to learn from",
                    path);
    if (pixel_size(&f->s, s->pixel_x, s->pixel_y)) return 1;
    f->film.view.pixel_x = a->pixel_x;
    f->film.view.pixel_y = a->pixel_y;
    f->pixel_from = a->pixel_from;
    return learn_first(f);
}

/* The frames of one file, in the first reading or in the second. */
static int take_stack(movie *f, const io_stack *s, const char *path)
{
    size_t last = s->frames - 1;
    int bad = 0;
    if ((size_t)f->o.first > last)
        return fail("%s: has frames 0 to %zu only", path, last);
    if ((size_t)f->o.last < last) last = (size_t)f->o.last;
    if (!f->frames)
        f->total = (int)(last - (size_t)f->o.first + 1) * f->o.images;
    if (f->wish.learn && !f->drifting.taken && !f->frames
        && first_lesson(f, s, path)) return 1;
    for (size_t i = (size_t)f->o.first; i <= last && !bad; i++) {
        begin_frame(f, path, s, i);
        if (!f->film.frames) progress("frames", (int)f->frames, f->total);
        bad = f->film.frames ? show_frame(f)
                             : take_frame(f, s->pixel_x, s->pixel_y);
        session_clear(&f->s);
        f->frames++;
    }
    return bad;
}

static int read_files(movie *f)
{
    int one = f->o.images == 1, i, bad = 0; /* one: kept, it may be a pipe */
    f->frames = 0;
    for (i = 0; i < f->o.images && !bad; i++) {
        if (!one || !f->film.frames)
            bad = analysis_read(&f->stack, &f->o, f->o.image[i]);
        if (!bad) bad = take_stack(f, &f->stack, f->o.image[i]);
        if (!one || f->film.frames) io_stack_free(&f->stack);
    }
    return bad;
}

/* Twice: to find, and to show what was settled then. */
static int take_files(movie *f)
{
    if (read_files(f)) return 1;
    progress("frames", f->total, f->total);
    if (!f->drifting.taken)
        return fail("%s: no frame shows anything", f->o.image[0]);
    f->film.frames = f->frames;
    if (believe(f) || follow_all(f) || read_files(f)) return 1;
    if (f->frames < f->film.frames)
        return fail("%s: changed while it was read", f->o.image[0]);
    return judge_tracks(f) || cluster(f) || save_gif(f) || movie_write(f);
}

/* ---------- Frames from standard input ------------------------------------ */

enum { U8, U16, F32 };

/* One line: what was found in this frame, and where it came from. */
static int say_frame(movie *f)
{
    const atomdl_frame *n = &f->now;
    io_text t = {0};
    io_put(&t, "{\"frame\": %u, \"empty\": %s, \"atoms\": %d, \"drift_A\": "
           "[%.4f, %.4f], \"drift_known\": %s, \"%s\": [",
           f->frames, n->empty ? "true" : "false", n->atoms,
           n->t[0], n->t[1], n->known ? "true" : "false",
           f->wish.atoms ? "tracked_atoms" : "defects");
    for (size_t i = 0; i < f->film.spots; i++) {
        const atomdl_spot *p = &f->film.spot[i];
        io_put(&t, "%s{\"track\": %u, \"x_px\": %.3f, \"y_px\": %.3f, "
               "\"class\": \"%s\", \"score\": %.4f}", i ? ", " : "",
               p->track + 1, to_px(p->x, f->film.view.pixel_x),
               to_px(p->y, f->film.view.pixel_y),
               f->film.names.name[p->kind], p->score);
    }
    io_put(&t, "]}\n");
    int bad = t.failed || fwrite(t.s, 1, t.n, stdout) != t.n || fflush(stdout);
    io_text_free(&t);
    return bad ? fail("cannot write to standard output") : 0;
}

/* Raw frames until the input ends, each said at once. */
static int take_stream(movie *f)
{
    static const size_t SIZE[] = {1, 2, 4};
    size_t w = (size_t)f->film.view.w, h = (size_t)f->film.view.h;
    size_t n = w * h, i, got, each = SIZE[f->wish.type];
    float *px = zeroed(n, sizeof *px + each);
    if (!px) return 1;
    unsigned char *raw = (unsigned char *)(px + n);
    io_stack one = {.frames = 1, .w = w, .h = h, .px = px};
    int bad = 0;
#ifdef _WIN32
    _setmode(0, _O_BINARY);
#endif
    while (!bad && (got = fread(raw, 1, n * each, stdin)) > 0) {
        if (got < n * each) {
            bad = fail("frame %u ends after %zu of %zu bytes", f->frames, got,
                       n * each);
            break;
        }
        for (i = 0; i < n; i++)
            px[i] = f->wish.type == U8 ? (float)raw[i]
                    : f->wish.type == U16 ? (float)atomdl_load16(raw + 2 * i)
                                     : atomdl_loadf(raw + 4 * i);
        f->film.spots = f->film.sights = 0;
        bad = mark_blank(&one, f->o.pixel);
        begin_frame(f, "standard input", &one, 0);
        bad = bad || take_frame(f, 0, 0) || say_frame(f);
        free(one.blank);
        session_clear(&f->s);
        f->frames++;
    }
    if (!bad && !f->frames) bad = fail("standard input: no frame");
    free(px);
    return bad;
}

/* ---------- The command --------------------------------------------------- */

static int take_size(const option_row *row, const char *text)
{
    atomdl_view *v = row->to;
    int n = 0;
    if (text && sscanf(text, "%dx%d%n", &v->w, &v->h, &n) == 2 && !text[n]
        && v->w > 1 && v->h > 1 && v->w <= IO_SIDE && v->h <= IO_SIDE
        && (double)v->w * v->h <= IO_PIXELS)
        return 0;
    return misuse("--size wants WIDTHxHEIGHT in pixels");
}

/* All options, and which of them go together. */
static int movie_options(movie *f, char **argv)
{
    option_row row[] = {
        OPTION_REAL("--gate", &f->film.gate, 0, 1000, NULL),
        OPTION_REAL("--interval", &f->wish.interval, 0, 1e6, NULL),
        OPTION_REAL("--confusion", &f->wish.confusion, 0, 1, NULL),
        OPTION_WHOLE("--gap", &f->wish.gap, 0, 16),
        OPTION_WHOLE("--classes", &f->wish.classes, 1, ATOMDL_KINDS),
        OPTION_TAKE("--size", &f->film.view, NULL, take_size),
        OPTION_WORD("--type", &f->wish.type, "u8 u16 f32", "is u8, u16 or f32"),
        OPTION_WORD("--track", &f->wish.atoms, "defects atoms",
                    "wants defects or atoms"),
        OPTION_FLAG("--affine", &f->drifting.affine),
        OPTION_FLAG("--learn-first-frame", &f->wish.learn),
        OPTION_FLAG("--as-found", &f->wish.as_found), OPTION_END};
    analysis_defaults(&f->o, argv, "movie");
    f->o.film_rules = &f->film.rules;
    f->wish.gap = 2;
    f->wish.type = -1;
    if (analysis_options(&f->o, argv, row)) return 2;
    f->wish.atoms |= f->wish.learn;
    if (!f->o.images) return misuse("movie wants frames");
    f->wish.stream = f->o.images == 1 && !strcmp(f->o.image[0], "-");
    if (f->wish.stream && (!f->film.view.w || f->wish.type < 0))
        return misuse("movie - wants --size and --type");
    if (!f->wish.stream && (f->film.view.w || f->wish.type >= 0))
        return misuse("--size and --type are for standard input (-)");
    if (f->wish.stream && f->wish.learn)
        return misuse("--learn-first-frame wants files");
    if (f->wish.stream) f->o.out = NULL;
    else if (!f->wish.learn && material_recognise(&f->o)) return 1;
    if (f->film.gate == 0) f->film.gate = 1.2 * f->o.chemistry->a;
    return 0;
}

int movie_command(char **argv)
{
    movie *f = calloc(1, sizeof *f);
    if (!f) return out_of_memory(sizeof *f);
    f->now.m[0] = f->now.m[3] = 1;
    atomdl_film_defaults(&f->film.rules);
    for (int i = 0; i < ATOMDL_CLASS_NAMES; i++)
        f->colour[i] = COLOUR[i % ATOMDL_MARKOV];
    int bad = movie_options(f, argv);
    if (!bad) bad = movie_open(f);
    if (!bad) bad = f->wish.stream ? take_stream(f) : take_files(f);
    movie_free(f);
    return bad;
}
