/* SPDX-License-Identifier: MIT
   AtomDL: from maps to atoms, from atoms to bonds, rings and defects; and all
   the way from an image, atomdl_find.

   Read atomdl.h first. Points, blobs, bonds, defects, lattices, then what puts
   them together; binary64 throughout but for the networks and the fast pass of
   the blobs, which decides nothing by itself. The file includes itself once for
   each vector width (see Blobs: fast pass). */

#ifndef ATOMDL_BLOB_PASS /* ===== the file proper ===== */

#define ATOMDL_LIBRARY
#include "atomdl.h"




static double length(double x, double y)
{
    return atomdl_sqrt(x * x + y * y);
}

static double arc_cosine(double c)
{
    c = most(-1, least(1, c));
    return atomdl_atan2(atomdl_sqrt((1 - c) * (1 + c)), c);
}

/* ---------- Points in cells -----------------------------------------------

   Points sorted into square cells, in order of index within a cell. The cells
   are as wide as asked, or wider where there would be more of them than
   4 n + 64. */

typedef struct {
    const unsigned char *at; /* the points: x, y begin each, binary64 */
    size_t stride;
    double x0, y0, width;
    int nx, ny;
    u32 *first, *point; /* (nx ny + 1); (n) */
} cell_grid;

static const double *cells_xy(const cell_grid *c, int i)
{
    return (const double *)(const void *)(c->at + (size_t)i * c->stride);
}

static int cell_axis(double x, double x0, double width, int n)
{
    double t = (x - x0) / width;
    return t > 0 ? t < n - 1 ? (int)t : n - 1 : 0;
}

static int cell_of(const cell_grid *c, int i)
{
    const double *p = cells_xy(c, i);
    return cell_axis(p[1], c->y0, c->width, c->ny) * c->nx
           + cell_axis(p[0], c->x0, c->width, c->nx);
}

static int cells_room(cell_grid *c, int n, atomdl_arena *arena)
{
    c->first = atomdl_alloc(arena, 4 * (size_t)n + 66, sizeof *c->first);
    c->point = atomdl_alloc(arena, (size_t)n, sizeof *c->point);
    return atomdl_arena_status(arena);
}

/* Sorts n points into room for at least as many. */
static void cells_fill(cell_grid *c, const void *points, size_t stride, int n,
                       double width)
{
    double x1 = 0, y1 = 0, limit = 4 * (double)n + 64;
    c->at = points;
    c->stride = stride;
    c->x0 = c->y0 = 0;
    for (int i = 0; i < n; i++) {
        const double *p = cells_xy(c, i);
        c->x0 = i ? least(c->x0, p[0]) : p[0];
        c->y0 = i ? least(c->y0, p[1]) : p[1];
        x1 = i ? most(x1, p[0]) : p[0];
        y1 = i ? most(y1, p[1]) : p[1];
    }
    double w = x1 - c->x0, h = y1 - c->y0;
    while ((atomdl_floor(w / width) + 1) * (atomdl_floor(h / width) + 1)
           > limit)
        width *= 2;
    c->width = width;
    c->nx = (int)(w / width) + 1;
    c->ny = (int)(h / width) + 1;
    int all = c->nx * c->ny;
    memset(c->first, 0, ((size_t)all + 1) * sizeof *c->first);
    for (int i = 0; i < n; i++) c->first[cell_of(c, i)]++;
    for (int i = 1; i <= all; i++) c->first[i] += c->first[i - 1];
    for (int i = n - 1; i >= 0; i--) /* from the back: ends become starts */
        c->point[--c->first[cell_of(c, i)]] = (u32)i;
}

static int cells_new(cell_grid *c, const void *points, size_t stride, int n,
                     double width, atomdl_arena *arena)
{
    int status = cells_room(c, n, arena);
    if (status == ATOMDL_OK && arena->base)
        cells_fill(c, points, stride, n, width);
    return status;
}

/* The points of all cells within reach of a place, row by row. */
typedef struct {
    const cell_grid *c;
    int x0, x1, y, y1;
    u32 from, to; /* of c->point, in the present row */
    u32 at;       /* the present point */
} cell_walk;

static cell_walk walk_start(const cell_grid *c, double x, double y,
                            double reach)
{
    return (cell_walk){.c = c,
                       .x0 = cell_axis(x - reach, c->x0, c->width, c->nx),
                       .x1 = cell_axis(x + reach, c->x0, c->width, c->nx),
                       .y = cell_axis(y - reach, c->y0, c->width, c->ny),
                       .y1 = cell_axis(y + reach, c->y0, c->width, c->ny)};
}

/* Goes to the next point; 0: there is none. */
static int walk_next(cell_walk *w)
{
    while (w->from == w->to) {
        if (w->y > w->y1) return 0;
        const u32 *row = w->c->first + w->y++ * w->c->nx;
        w->from = row[w->x0];
        w->to = row[w->x1 + 1];
    }
    w->at = w->c->point[w->from++];
    return 1;
}

/* ---------- Blobs: kernels ------------------------------------------------

   The response at a scale s is -s^2 (I * g''(y) g(x) + I * g(y) g''(x)) with
   the sampled Gaussian g, cut off at int(4 s + 1/2) and normalised, and
   g''(x) = g(x) (x^2/s^4 - 1/s^2); the edge is mirrored with its pixel
   repeated. Exact sums take the middle tap first, then pairs from the outside
   in, columns before rows. METHOD C.1. */

enum {
    SCALES = 64,
    TAPS_MOST = 401, /* of one side, with the middle */
    ROWS_SKIP = 16, COLUMNS_SKIP = 64 /* a tile that may be left out */
};

typedef struct {
    double s;
    int r;
    double *g, *d;  /* (r + 1) g and g'' */
    float *gf, *df; /* the same in binary32 */
    float error;    /* of a fast response over the greatest |pixel| */
    float bound;    /* of a response over the greatest |pixel| */
} scale;

static void scale_fill(scale *k)
{
    double sum = 0, s2 = k->s * k->s, size_d = 0;
    for (int i = k->r; i >= 0; i--) {
        k->g[i] = atomdl_exp(-0.5 / s2 * ((double)i * i));
        sum += i ? 2 * k->g[i] : k->g[i];
    }
    for (int i = 0; i <= k->r; i++) {
        k->g[i] /= sum;
        k->d[i] = ((double)i * i / (s2 * s2) - 1 / s2) * k->g[i];
        k->gf[i] = (float)k->g[i];
        k->df[i] = (float)k->d[i];
        size_d += (i ? 2 : 1) * absolute(k->d[i]);
    }
    /* two terms, r + 6 roundings in each of two passes, doubled for safety */
    k->bound = (float)(2.001 * s2 * size_d);
    k->error = k->bound * (float)(4 * (k->r + 6)) / 16777216.0f;
}

static void scale_new(scale *k, double s, atomdl_arena *arena)
{
    k->s = s;
    k->r = (int)(4 * s + 0.5);
    size_t n = (size_t)k->r + 1;
    k->g = atomdl_alloc(arena, n, sizeof *k->g);
    k->d = atomdl_alloc(arena, n, sizeof *k->d);
    k->gf = atomdl_alloc(arena, n, sizeof *k->gf);
    k->df = atomdl_alloc(arena, n, sizeof *k->df);
    if (k->g && k->d && k->gf && k->df) scale_fill(k);
}

static int within(double x, double low, double high)
{
    return x >= low && x <= high;
}

/* The pixel that stands at i, mirrored into 0 .. n - 1. */
static int mirror(int i, int n)
{
    if (i >= 0 && i < n) return i;
    i %= 2 * n;
    if (i < 0) i += 2 * n;
    return i < n ? i : 2 * n - 1 - i;
}

/* line (n) goes on from `from` to before `end`, mirrored at both of its ends */
static void mirror_line(float *line, int n, int from, int end)
{
    for (int i = from; i < 0; i++) line[i] = line[mirror(i, n)];
    for (int i = n; i < end; i++) line[i] = line[mirror(i, n)];
}

typedef struct {
    const float *px;
    int w, h;
    double *work; /* (2, 2 r + 1) of exact sums */
} plane_of;

/* row y, mirrored where there is none */
static const float *plane_row(const plane_of *p, int y)
{
    return p->px + (ptrdiff_t)mirror(y, p->h) * p->w;
}

/* a, b (2 r + 1) <- columns x - r .. x + r of row y under g'' and g */
static void exact_columns(double *a, double *b, const plane_of *p,
                          const scale *k, int x, int y)
{
    int n = 2 * k->r + 1, x0 = x - k->r;
    int inside = x0 >= 0 && x0 + n <= p->w;
    for (int j = k->r; j >= 0; j--) {
        int t = j == k->r ? 0 : j + 1; /* 0, r, r - 1 .. 1 */
        const float *up = plane_row(p, y - t), *lo = plane_row(p, y + t);
        double g = k->g[t], d = k->d[t];
        for (int i = 0; i < n; i++) {
            int at = inside ? x0 + i : mirror(x0 + i, p->w);
            double v = t ? (double)up[at] + (double)lo[at] : (double)up[at];
            a[i] = t ? a[i] + v * d : v * d;
            b[i] = t ? b[i] + v * g : v * g;
        }
    }
}

static double exact_response(const plane_of *p, const scale *k, int x, int y)
{
    double *a = p->work, *b = a + 2 * k->r + 1;
    int r = k->r;
    exact_columns(a, b, p, k, x, y);
    double sa = a[r] * k->g[0];
    double sb = b[r] * k->d[0];
    for (int t = r; t > 0; t--) {
        sa = sa + (a[r - t] + a[r + t]) * k->g[t];
        sb = sb + (b[r - t] + b[r + t]) * k->d[t];
    }
    return -(sa + sb) * (k->s * k->s);
}

/* ---------- Blobs: fast pass ----------------------------------------------

   Binary32 responses with a proven error, lanes across columns, folded pairs.
   Whatever lies within the error of a decision is computed again, exactly. So
   neither the width of vectors nor the tiles left out can change a result. */

typedef struct {
    /* a, b <- columns x .. x + n - 1 of 2 r + 1 rows under df and gf */
    void (*down)(float *a, float *b, const float *const *row, const scale *k,
                 int x, int n);
    /* out <- -s^2 (a under gf + b under df), columns x .. x + n - 1 */
    void (*along)(float *out, const float *a, const float *b, const scale *k,
                  int x, int n);
    /* 0: in none of the columns x .. x + 15 is v above low and, within e,
       not below its neighbours in its row and the near ones */
    int (*promising)(const float *v, const float *const near[4], int x,
                     float low, float e);
} blob_pass;

#define ATOMDL_BLOB_PASS
#define V_ISA plain
#define V_BYTES 4
#include "graph.c"
#ifdef SIMD_BASE
#define ATOMDL_BLOB_PASS
#define V_ISA SIMD_BASE
#define V_BYTES 16
#include "graph.c"
#endif
#ifdef SIMD_WIDE
SIMD_AVX2
#define ATOMDL_BLOB_PASS
#define V_ISA avx2
#define V_BYTES 32
#include "graph.c"
SIMD_END
SIMD_AVX512
#define ATOMDL_BLOB_PASS
#define V_ISA avx512
#define V_BYTES 64
#include "graph.c"
SIMD_END
#endif

static const blob_pass *pass_of(const atomdl_kernels *kernels)
{
    switch (kernels_bits(kernels)) {
#ifdef SIMD_WIDE
    case 512: return &PASS_avx512;
    case 256: return &PASS_avx2;
#endif
#ifdef SIMD_BASE
    case 128: return &SIMD_JOIN(PASS_, SIMD_BASE);
#endif
    default: return &PASS_plain;
    }
}

typedef struct {
    u32 x, y, k; /* k: number of its scale */
    double value;
} peak;

/* All scales of three rows, what it takes to compute a row, and its peaks. */
typedef struct {
    plane_of p;
    scale scale[SCALES];
    int scales, pitch, tiles; /* floats a row; tiles across */
    float *cube;        /* (scales, 3, pitch) rows y mod 3, from column 0 */
    float *a, *b;       /* (r + pitch + r) one row, mirrored at its ends */
    const float **row;  /* (2 r + 1) */
    float *tile;        /* (bands, tiles) greatest |pixel| */
    u8 *active;         /* (scales, tiles) of the present band */
    float top;          /* greatest |pixel| */
    const blob_pass *pass;
    peak *list;         /* (max) so far, peaks of them, stored or not */
    size_t max, peaks;
    double *key;        /* (max) */
    u32 *order;         /* (max) twice */
} space;

static float *space_row(const space *s, int k, int y)
{
    return s->cube + ((ptrdiff_t)k * 3 + y % 3) * s->pitch;
}

/* Room for all scales; they are evenly spaced, both ends included. */
static void space_new(space *s, const atomdl_scales *how, atomdl_arena *arena)
{
    size_t bands = (size_t)(s->p.h / ROWS_SKIP) + 1;
    s->scales = how->sigmas;
    for (int k = 0; k < s->scales; k++) {
        double step = (how->sigma_max - how->sigma_min)
                      / most_int(1, s->scales - 1);
        double sigma = k && k == s->scales - 1 ? how->sigma_max
                                               : k * step + how->sigma_min;
        scale_new(&s->scale[k], sigma, arena);
    }
    s->tiles = (s->p.w + COLUMNS_SKIP - 1) / COLUMNS_SKIP;
    s->pitch = s->tiles * COLUMNS_SKIP;
    size_t pad = (size_t)s->pitch + 2 * TAPS_MOST;
    s->cube = atomdl_alloc(arena, 3 * (size_t)s->scales * (size_t)s->pitch,
                           sizeof *s->cube);
    s->a = atomdl_alloc(arena, pad, sizeof *s->a);
    s->b = atomdl_alloc(arena, pad, sizeof *s->b);
    s->p.work = atomdl_alloc(arena, 4 * TAPS_MOST, sizeof *s->p.work);
    s->row = atomdl_alloc(arena, 2 * TAPS_MOST, sizeof *s->row);
    s->tile = atomdl_alloc(arena, bands * (size_t)s->tiles, sizeof *s->tile);
    s->active = atomdl_alloc(arena, (size_t)s->scales * (size_t)s->tiles, 1);
    s->pass = pass_of(how->kernels);
}

static void space_tiles(space *s)
{
    int bands = s->p.h / ROWS_SKIP + 1;
    memset(s->tile, 0,
           (size_t)bands * (size_t)s->tiles * sizeof *s->tile);
    s->top = 0;
    for (int y = 0; y < s->p.h; y++)
        for (int x = 0; x < s->p.w; x += COLUMNS_SKIP) {
            float *t = s->tile + (ptrdiff_t)(y / ROWS_SKIP) * s->tiles
                       + x / COLUMNS_SKIP;
            float m = atomdl_absmax(s->p.px + (ptrdiff_t)y * s->p.w + x,
                                    (size_t)least_int(COLUMNS_SKIP,
                                                      s->p.w - x));
            *t = m > *t ? m : *t;
            s->top = m > s->top ? m : s->top;
        }
}

/* Which tiles of rows y .. y + ROWS_SKIP - 1 can reach the threshold. */
static void space_active(space *s, int k, int y, float threshold)
{
    const scale *c = &s->scale[k];
    int b0 = most_int(0, y - c->r) / ROWS_SKIP;
    int b1 = least_int(s->p.h - 1, y + ROWS_SKIP - 1 + c->r) / ROWS_SKIP;
    int more = (c->r + COLUMNS_SKIP - 1) / COLUMNS_SKIP;
    u8 *active = s->active + (ptrdiff_t)k * s->tiles;
    memset(active, 0, (size_t)s->tiles);
    for (int t = 0; t < s->tiles; t++) {
        float m = 0;
        for (int b = b0; b <= b1; b++) {
            float v = s->tile[(ptrdiff_t)b * s->tiles + t];
            m = v > m ? v : m;
        }
        if (!(c->bound * m > threshold)) continue;
        for (int i = most_int(0, t - more);
             i <= least_int(s->tiles - 1, t + more); i++)
            active[i] = 1;
    }
}

/* Columns x0 .. x1 - 1 of row y at scale k. */
static void space_run(space *s, int k, int y, int x0, int x1)
{
    const scale *c = &s->scale[k];
    int from = most_int(0, x0 - c->r), to = least_int(s->p.w, x1 + c->r);
    float *a = s->a + c->r, *b = s->b + c->r;
    s->pass->down(a, b, s->row, c, from, to - from);
    mirror_line(a, s->p.w, x0 - c->r, x1 + c->r);
    mirror_line(b, s->p.w, x0 - c->r, x1 + c->r);
    s->pass->along(space_row(s, k, y), a, b, c, x0, x1 - x0);
}

/* Responses of row y, all scales; where they cannot reach the threshold, a
   number below all others. */
static void space_fill(space *s, int y, float threshold)
{
    for (int k = 0; k < s->scales; k++) {
        const scale *c = &s->scale[k];
        const u8 *active = s->active + (ptrdiff_t)k * s->tiles;
        float *out = space_row(s, k, y);
        if (y % ROWS_SKIP == 0) space_active(s, k, y, threshold);
        for (int i = 0; i <= 2 * c->r; i++)
            s->row[i] = plane_row(&s->p, y - c->r + i);
        for (int t = 0; t < s->pitch; t++) out[t] = -1e30f;
        for (int t = 0, u; t < s->tiles; t = u) {
            for (u = t; u < s->tiles && active[u]; u++) {}
            if (u > t)
                space_run(s, k, y, t * COLUMNS_SKIP,
                          least_int(s->p.w, u * COLUMNS_SKIP));
            else u = t + 1;
        }
    }
}

/* Whether the response at (x, y, k) is a maximum of its neighbourhood, ties
   allowed; *exact gets its exact value. */
static int space_peak(const space *s, int x, int y, int k, double *exact)
{
    float v = space_row(s, k, y)[x];
    int known = 0;
    for (int l = most_int(0, k - 1); l <= least_int(s->scales - 1, k + 1);
         l++) {
        float e = (s->scale[k].error + s->scale[l].error) * s->top;
        for (int j = most_int(0, y - 1); j <= least_int(s->p.h - 1, y + 1); j++)
            for (int i = most_int(0, x - 1); i <= least_int(s->p.w - 1, x + 1);
                 i++) {
                float u = space_row(s, l, j)[i];
                if (u > v + e) return 0;
                if (u < v - e || (i == x && j == y && l == k)) continue;
                if (!known) *exact = exact_response(&s->p, &s->scale[k], x, y);
                known = 1;
                if (exact_response(&s->p, &s->scale[l], i, j) > *exact)
                    return 0;
            }
    }
    if (!known) *exact = exact_response(&s->p, &s->scale[k], x, y);
    return 1;
}

/* The rows beside row y of scale k, above, below and in the next scales; the
   row itself for those that do not exist. Returns the greatest error. */
static float space_near(const space *s, const float *near[4], int k, int y)
{
    int a = most_int(0, k - 1), b = least_int(s->scales - 1, k + 1);
    float e = s->scale[a].error, f = s->scale[b].error;
    near[0] = space_row(s, k, most_int(0, y - 1));
    near[1] = space_row(s, k, least_int(s->p.h - 1, y + 1));
    near[2] = space_row(s, a, y);
    near[3] = space_row(s, b, y);
    return (s->scale[k].error + (e > f ? e : f)) * s->top;
}

static int space_above(const float *v, const float *const near[4], int x,
                       float low, float e)
{
    float c = v[x] + e;
    return v[x] > low && c >= near[0][x] && c >= near[1][x] && c >= near[2][x]
           && c >= near[3][x];
}

/* Appends the peaks of row y, all scales. */
static void space_peaks(space *s, int y, const atomdl_scales *how)
{
    int m = how->margin;
    if (y < m || y >= s->p.h - m) return;
    for (int k = 0; k < s->scales; k++) {
        const float *near[4], *v = space_row(s, k, y);
        float e = space_near(s, near, k, y);
        float low = (float)how->threshold - 2 * e;
        for (int x = m; x < s->p.w - m; x += 16) {
            int end = least_int(x + 16, s->p.w - m);
            if (x && x + 16 < s->p.w
                && !s->pass->promising(v, near, x, low, e))
                continue;
            for (int i = x; i < end; i++) {
                peak p = {(u32)i, (u32)y, (u32)k, 0};
                if (!space_above(v, near, i, low, e)
                    || !space_peak(s, i, y, k, &p.value)
                    || !(p.value > how->threshold))
                    continue;
                if (s->peaks < s->max) s->list[s->peaks] = p;
                s->peaks++;
            }
        }
    }
}

/* ---------- Blobs: overlap ------------------------------------------------ */

/* The part of the smaller disc that the other covers. METHOD C.1.7. */
static double disc_overlap(const atomdl_blob *p, const atomdl_blob *q)
{
    double s = most(p->sigma, q->sigma), root = atomdl_sqrt(2.0);
    double r1 = p->sigma > q->sigma ? 1 : p->sigma / s;
    double r2 = p->sigma > q->sigma ? q->sigma / s : 1;
    double dx = q->x / (s * root) - p->x / (s * root);
    double dy = q->y / (s * root) - p->y / (s * root);
    double d = atomdl_sqrt(dy * dy + dx * dx);
    if (d > r1 + r2) return 0;
    if (d <= absolute(r1 - r2)) return 1;
    double u = arc_cosine((d * d + r1 * r1 - r2 * r2) / (2 * d * r1));
    double v = arc_cosine((d * d + r2 * r2 - r1 * r1) / (2 * d * r2));
    double area = r1 * r1 * u + r2 * r2 * v
                  - 0.5
                        * atomdl_sqrt(absolute((-d + r2 + r1) * (d - r2 + r1)
                                           * (d + r2 - r1) * (d + r2 + r1)));
    return area / (PI * least(r1, r2) * least(r1, r2));
}

/* Blob i against the later ones: the first that is not smaller and overlaps
   takes it out (*end <- its index); without kill only that is looked for,
   with kill smaller ones up to *end are taken out. */
static void prune_one(atomdl_blob *blob, u32 i, const cell_grid *c,
                      double overlap, double reach, int kill, u32 *end)
{
    for (cell_walk w = walk_start(c, blob[i].x, blob[i].y, reach);
         walk_next(&w);) {
        u32 j = w.at;
        int smaller = blob[i].sigma > blob[j].sigma;
        if (j <= i || j >= *end || !(blob[j].sigma > 0) || smaller != kill
            || !(disc_overlap(&blob[i], &blob[j]) > overlap))
            continue;
        if (kill) blob[j].sigma = 0;
        else *end = j;
    }
}

/* As if all pairs were taken in rising order (i, j) and sigma of the smaller
   disc set to 0, of the first where they are alike; then closes up. Returns
   how many stay. */
static int prune(atomdl_blob *blob, int n, const cell_grid *c, double overlap,
                 double reach)
{
    int kept = 0;
    for (u32 i = 0; i < (u32)n; i++) {
        u32 end = (u32)n;
        if (!(blob[i].sigma > 0)) continue;
        prune_one(blob, i, c, overlap, reach, 0, &end);
        prune_one(blob, i, c, overlap, reach, 1, &end);
        if (end < (u32)n) blob[i].sigma = 0;
    }
    for (u32 i = 0; i < (u32)n; i++)
        if (blob[i].sigma > 0) blob[kept++] = blob[i];
    return kept;
}

/* ---------- Blobs: scale space -------------------------------------------- */

static int plane_bad(plane_of *p, const atomdl_image *image, int plane)
{
    if (image->w < 1 || image->h < 1 || image->w > ATOMDL_IMAGE_MAX
        || image->h > ATOMDL_IMAGE_MAX || plane < 0 || plane >= image->c)
        return 1;
    p->w = image->w;
    p->h = image->h;
    p->work = NULL;
    p->px = image->px ? image->px + (ptrdiff_t)plane * image->h * image->w
                      : NULL;
    return 0;
}

static int scales_bad(const atomdl_scales *how)
{
    return !(how->sigma_min >= 0.3) || how->sigmas < 1 || how->sigmas > SCALES
           || !within(how->sigma_max, how->sigma_min, 100)
           || !(how->threshold >= 0 && how->threshold < 1e30)
           || !within(how->threshold_rel, 0, 1) || !within(how->overlap, 0, 1)
           || how->margin < 0;
}

/* -1/2 .. 1/2: where the parabola through lo, v, hi has its top. */
static double parabola(double lo, double v, double hi)
{
    double bend = lo - 2 * v + hi;
    return bend < 0 ? most(-0.5, least(0.5, 0.5 * (lo - hi) / bend)) : 0;
}

/* Sub-pixel place of a blob at an integer one; none across the edge. */
static void blob_subpixel(atomdl_blob *b, const plane_of *p, const scale *k)
{
    int x = (int)b->x, y = (int)b->y;
    if (x > 0 && x < p->w - 1)
        b->x += parabola(exact_response(p, k, x - 1, y), b->value,
                         exact_response(p, k, x + 1, y));
    if (y > 0 && y < p->h - 1)
        b->y += parabola(exact_response(p, k, x, y - 1), b->value,
                         exact_response(p, k, x, y + 1));
}

static int blob_cut(const atomdl_blob *b, double radius, int w, int h)
{
    return b->x < radius || b->y < radius || b->x + radius > w - 1
           || b->y + radius > h - 1;
}

/* Sorts, cuts by the relative threshold, prunes; key (n), order (2 n). */
static void blobs_select(atomdl_blob *blob, int *count, const space *s,
                         const atomdl_scales *how, cell_grid *c)
{
    int n = *count, i;
    for (i = 0; i < n; i++) s->key[i] = -s->list[i].value;
    atomdl_sort(s->order, s->key, (size_t)n, s->order + n);
    for (i = 0; i < n; i++) {
        const peak *p = &s->list[s->order[i]];
        if (!(p->value > how->threshold_rel * s->list[s->order[0]].value))
            break;
        blob[i] = (atomdl_blob){.x = p->x, .y = p->y, .value = p->value,
                                .sigma = s->scale[p->k].s};
    }
    cells_fill(c, blob, sizeof *blob, i, 2.83 * how->sigma_max);
    *count = prune(blob, i, c, how->overlap, 2.83 * how->sigma_max);
}

static void blobs_finish(atomdl_blob *blob, int n, const space *s, int subpixel)
{
    int k;
    for (int i = 0; i < n; i++) {
        for (k = 0; s->scale[k].s != blob[i].sigma; k++) {}
        if (subpixel) blob_subpixel(&blob[i], &s->p, &s->scale[k]);
        blob[i].border = blob_cut(&blob[i], atomdl_sqrt(2.0) * blob[i].sigma,
                                  s->p.w, s->p.h);
    }
}

/* All peaks of the plane; none where all is one plateau. */
static void space_all(space *s, const atomdl_scales *how)
{
    space_tiles(s);
    for (int y = 0; y < s->p.h; y++) {
        space_fill(s, y, (float)how->threshold);
        if (y) space_peaks(s, y - 1, how);
    }
    space_peaks(s, s->p.h - 1, how);
    if (s->peaks > 1 && s->peaks == (size_t)s->p.w * (size_t)s->p.h
                                        * (size_t)s->scales)
        s->peaks = 0;
}

int atomdl_blobs(atomdl_blob *blob, int *count, int max,
                 const atomdl_image *image, int plane,
                 const atomdl_scales *how, atomdl_arena *arena)
{
    size_t used = arena->used;
    space s;
    cell_grid c;
    *count = 0;
    if (max < 0 || scales_bad(how) || plane_bad(&s.p, image, plane))
        return ATOMDL_EARG;
    s.max = (size_t)max;
    s.peaks = 0;
    s.list = atomdl_alloc(arena, s.max, sizeof *s.list);
    s.key = atomdl_alloc(arena, s.max, sizeof *s.key);
    s.order = atomdl_alloc(arena, 2 * s.max, sizeof *s.order);
    space_new(&s, how, arena);
    int status = cells_room(&c, max, arena);
    if (scratch_only(&status, arena, used)) return status;
    status = atomdl_image_check(image);
    if (status) return status;
    space_all(&s, how);
    *count = (int)(s.peaks > 0x7fffffff ? 0x7fffffff : s.peaks);
    if (s.peaks > s.max) return ATOMDL_ESHAPE;
    blobs_select(blob, count, &s, how, &c);
    blobs_finish(blob, *count, &s, how->subpixel);
    return ATOMDL_OK;
}

/* ---------- Peaks ---------------------------------------------------------

   One smoothing, then the greatest pixel of each disc. METHOD C.3. */

/* out (h, w) <- the plane under g, columns first; line (w + 2 r). */
static void smooth_plane(float *out, const plane_of *p, const scale *k,
                         float *line)
{
    int r = k->r;
    line += r;
    for (int y = 0; y < p->h; y++) {
        float *o = out + (ptrdiff_t)y * p->w;
        const float *c = plane_row(p, y);
        for (int x = 0; x < p->w; x++) line[x] = c[x] * k->gf[0];
        for (int t = 1; t <= r; t++) {
            const float *u = plane_row(p, y - t), *v = plane_row(p, y + t);
            for (int x = 0; x < p->w; x++)
                line[x] = line[x] + (u[x] + v[x]) * k->gf[t];
        }
        mirror_line(line, p->w, -r, p->w + r);
        for (int x = 0; x < p->w; x++) o[x] = line[x] * k->gf[0];
        for (int t = 1; t <= r; t++)
            for (int x = 0; x < p->w; x++)
                o[x] = o[x] + (line[x - t] + line[x + t]) * k->gf[t];
    }
}

/* Whether (x, y) is the greatest within radius; of equal ones, the first. */
static int disc_top(const plane_of *p, int x, int y, double radius)
{
    float v = p->px[(ptrdiff_t)y * p->w + x];
    int r = (int)radius;
    for (int j = most_int(0, y - r); j <= least_int(p->h - 1, y + r); j++) {
        const float *row = p->px + (ptrdiff_t)j * p->w;
        int half = (int)atomdl_sqrt(radius * radius
                                    - (double)(j - y) * (double)(j - y));
        for (int i = most_int(0, x - half); i <= least_int(p->w - 1, x + half);
             i++)
            if (row[i] > v || (row[i] == v && (j < y || (j == y && i < x))))
                return 0;
    }
    return 1;
}

/* Whether (x, y) is not below its neighbours in row and column. */
static int cross_top(const plane_of *p, int x, int y)
{
    const float *v = p->px + (ptrdiff_t)y * p->w + x;
    return (x == 0 || v[-1] <= *v) && (x == p->w - 1 || v[1] <= *v)
           && (y == 0 || v[-p->w] <= *v) && (y == p->h - 1 || v[p->w] <= *v);
}

static void peak_blob(atomdl_blob *b, const plane_of *p, int x, int y,
                      double radius)
{
    const float *v = p->px + (ptrdiff_t)y * p->w + x;
    *b = (atomdl_blob){.x = x, .y = y, .value = (double)*v,
                       .sigma = radius / atomdl_sqrt(2.0)};
    if (x > 0 && x < p->w - 1)
        b->x += parabola((double)v[-1], (double)*v, (double)v[1]);
    if (y > 0 && y < p->h - 1)
        b->y += parabola((double)v[-p->w], (double)*v, (double)v[p->w]);
    b->border = blob_cut(b, radius, p->w, p->h);
}

static int peaks_list(atomdl_blob *blob, int *count, int max,
                      const plane_of *p, const atomdl_peaks_plan *how)
{
    for (int y = 0; y < p->h; y++)
        for (int x = 0; x < p->w; x++) {
            double v = (double)p->px[(ptrdiff_t)y * p->w + x];
            if (!(v > how->threshold) || !cross_top(p, x, y)
                || !disc_top(p, x, y, how->radius))
                continue;
            if (*count < max) peak_blob(&blob[*count], p, x, y, how->radius);
            ++*count;
        }
    return *count > max ? ATOMDL_ESHAPE : ATOMDL_OK;
}

int atomdl_peaks(atomdl_blob *blob, int *count, int max,
                 const atomdl_image *image, int plane,
                 const atomdl_peaks_plan *how, atomdl_arena *arena)
{
    size_t used = arena->used;
    *count = 0;
    plane_of p;
    if (max < 0 || !within(how->smooth, 0, 100) || !within(how->radius, 1, 1e3)
        || how->threshold != how->threshold || plane_bad(&p, image, plane))
        return ATOMDL_EARG;
    scale k;
    int status = ATOMDL_OK;
    scale_new(&k, most(how->smooth, 0.1), arena);
    float *out = atomdl_alloc(arena, (size_t)p.w * (size_t)p.h, sizeof *out);
    size_t padded_row = (size_t)p.w + 2 * TAPS_MOST;
    float *line = atomdl_alloc(arena, padded_row, sizeof *line);
    if (scratch_only(&status, arena, used)) return status;
    status = atomdl_image_check(image);
    if (status) return status;
    if (how->smooth > 0) {
        smooth_plane(out, &p, &k, line);
        p.px = out;
    }
    return peaks_list(blob, count, max, &p, how);
}

/* ---------- Linear systems ------------------------------------------------ */

/* a (n, n), b (n, m): solves a x = b into b by elimination with pivots, n <=
   8. 0: a is singular. */
static int solve(double *a, double *b, int n, int m)
{
    for (int i = 0; i < n; i++) {
        int p = i;
        for (int k = i + 1; k < n; k++)
            if (absolute(a[k * n + i]) > absolute(a[p * n + i])) p = k;
        if (!(absolute(a[p * n + i]) > 1e-300)) return 0;
        for (int j = 0; j < n; j++) {
            double t = a[i * n + j];
            a[i * n + j] = a[p * n + j];
            a[p * n + j] = t;
        }
        for (int j = 0; j < m; j++) {
            double t = b[i * m + j];
            b[i * m + j] = b[p * m + j];
            b[p * m + j] = t;
        }
        for (int k = 0; k < n; k++) {
            double f = k == i ? 0 : a[k * n + i] / a[i * n + i];
            if (f == 0) continue;
            for (int j = i; j < n; j++) a[k * n + j] -= f * a[i * n + j];
            for (int j = 0; j < m; j++) b[k * m + j] -= f * b[i * m + j];
        }
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < m; j++) b[i * m + j] /= a[i * n + i];
    return 1;
}

/* ---------- Refinement ---------------------------------------------------- */

/* Pixels of a disc, clipped to the plane. */
typedef struct {
    int x0, x1, y0, y1;
} window;

static window window_at(const plane_of *p, double x, double y, double radius)
{
    return (window){most_int(0, (int)atomdl_floor(x - radius + 1)),
                    least_int(p->w - 1, (int)atomdl_floor(x + radius)),
                    most_int(0, (int)atomdl_floor(y - radius + 1)),
                    least_int(p->h - 1, (int)atomdl_floor(y + radius))};
}

static int in_disc(double dx, double dy, double radius)
{
    return dx * dx + dy * dy <= radius * radius;
}

/* The centre of mass of what stands above the least pixel of the disc. */
static void centroid_step(double *x, double *y, const plane_of *p,
                          double radius)
{
    window w = window_at(p, *x, *y, radius);
    double low = 1e300, sum = 0, sx = 0, sy = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int j = w.y0; j <= w.y1; j++)
            for (int i = w.x0; i <= w.x1; i++) {
                double v = (double)p->px[(ptrdiff_t)j * p->w + i];
                if (!in_disc(i - *x, j - *y, radius)) continue;
                if (!pass) low = least(low, v);
                else {
                    sum += v - low;
                    sx += (v - low) * i;
                    sy += (v - low) * j;
                }
            }
    if (!(sum > 0)) return;
    *x = sx / sum;
    *y = sy / sum;
}

/* Distance to the nearest other point, at most reach. */
static double nearest_other(const double *xy, const cell_grid *c, int i,
                            double reach)
{
    const double *p = xy + 2 * i;
    double best = reach;
    for (cell_walk w = walk_start(c, p[0], p[1], reach); walk_next(&w);) {
        const double *q = xy + 2 * w.at;
        if (q != p) best = least(best, length(q[0] - p[0], q[1] - p[1]));
    }
    return best;
}

/* Moves each blob to the centre of mass about it, again and again. */
static int refine_centroid(atomdl_blob *blob, int n, const plane_of *p,
                           const atomdl_refinement *how, atomdl_arena *arena)
{
    double *xy = atomdl_alloc(arena, 2 * (size_t)n, sizeof *xy);
    int sweeps = how->sweeps > 0 ? how->sweeps : 4;
    for (int i = 0; i < n && xy; i++) {
        xy[2 * i] = blob[i].x;
        xy[2 * i + 1] = blob[i].y;
    }
    double spacing = 2 * atomdl_sqrt((double)p->w * p->h / (n + 1.0));
    cell_grid c;
    int status = cells_new(&c, xy, 2 * sizeof *xy, n, spacing, arena);
    for (int i = 0; i < n && status == ATOMDL_OK && xy; i++) {
        double x = xy[2 * i], y = xy[2 * i + 1], r = how->radius;
        if (!(r > 0)) r = most(1, 0.4 * nearest_other(xy, &c, i, spacing));
        for (int k = 0; k < sweeps; k++) centroid_step(&x, &y, p, r);
        blob[i].error = 0;
        blob[i].fitted = in_disc(x - blob[i].x, y - blob[i].y, how->reach);
        if (!blob[i].fitted) continue;
        blob[i].x = x;
        blob[i].y = y;
    }
    return status;
}

/* A blob under fit: value + b G(x - x0, y - y0), all with one sigma. */
typedef struct {
    double a, x, y, b, error;
    double x0, y0, a0; /* where it began */
    int frozen;        /* it left its reach: stays at its start */
} bump;

typedef struct {
    const plane_of *p;
    double *model;     /* (h, w) sum of all bumps without backgrounds */
    double *gx;        /* (w) of one bump */
    bump *bump;        /* (n) */
    int n, counts;
    double s, radius;
    double num, den;   /* normal equation of the common sigma */
    double moved;      /* greatest step of a sweep */
} joint;

enum { BUMP_REACH = 4 }; /* sigmas; beyond that a bump is nothing */

/* model += sign times the bump */
static void bump_add(joint *f, const bump *b, double sign)
{
    window w = window_at(f->p, b->x, b->y, BUMP_REACH * f->s);
    double q = -0.5 / (f->s * f->s);
    for (int i = w.x0; i <= w.x1; i++)
        f->gx[i] = atomdl_exp(q * (i - b->x) * (i - b->x));
    for (int j = w.y0; j <= w.y1; j++) {
        double gy = sign * b->a * atomdl_exp(q * (j - b->y) * (j - b->y));
        double *row = f->model + (ptrdiff_t)j * f->p->w;
        for (int i = w.x0; i <= w.x1; i++) row[i] += gy * f->gx[i];
    }
}

/* Normal equations of one bump: a, x, y, b and, last, the common sigma. The
   result is the number of pixels, *chi the weighted squares. */
static int bump_normal(const joint *f, const bump *b, double n[25],
                       double v[5], double *chi)
{
    window w = window_at(f->p, b->x, b->y, f->radius);
    double q = -0.5 / (f->s * f->s), s2 = f->s * f->s;
    int count = 0;
    memset(n, 0, 25 * sizeof *n);
    memset(v, 0, 5 * sizeof *v);
    *chi = 0;
    for (int j = w.y0; j <= w.y1; j++)
        for (int i = w.x0; i <= w.x1; i++) {
            double dx = i - b->x, dy = j - b->y;
            ptrdiff_t at = (ptrdiff_t)j * f->p->w + i;
            if (!in_disc(dx, dy, f->radius)) continue;
            double e = atomdl_exp(q * (dx * dx + dy * dy));
            double d[5] = {e, b->a * e * dx / s2, b->a * e * dy / s2, 1,
                           b->a * e * (dx * dx + dy * dy) / (s2 * f->s)};
            double model = f->model[at] + b->a * e + b->b;
            double r = (double)f->p->px[at] - model;
            double weight = f->counts ? 1 / most(model, 1) : 1;
            for (int k = 0; k < 5; k++) {
                for (int l = 0; l <= k; l++)
                    n[k * 5 + l] += weight * d[k] * d[l];
                v[k] += weight * d[k] * r;
            }
            *chi += weight * r * r;
            count++;
        }
    for (int k = 0; k < 5; k++)
        for (int l = 0; l < k; l++) n[l * 5 + k] = n[k * 5 + l];
    return count;
}

/* One Gauss-Newton step of a bump whose tails are not in the model. */
static void bump_step(joint *f, bump *b)
{
    /* columns: the step, the response to sigma, covariances of x and of y */
    double n[25], v[5], a[16], x[16] = {0}, chi;
    int count = bump_normal(f, b, n, v, &chi);
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) a[i * 4 + j] = n[i * 5 + j];
        x[i * 4] = v[i];
        x[i * 4 + 1] = n[i * 5 + 4];
    }
    x[1 * 4 + 2] = x[2 * 4 + 3] = 1;
    if (count < 6 || !solve(a, x, 4, 4)) {
        b->frozen = 1;
        return;
    }
    f->num += v[4];
    f->den += n[24];
    for (int i = 0; i < 4; i++) {
        f->num -= x[i * 4 + 1] * v[i];
        f->den -= x[i * 4 + 1] * n[i * 5 + 4];
    }
    double dx = most(-0.5 * f->s, least(0.5 * f->s, x[4]));
    double dy = most(-0.5 * f->s, least(0.5 * f->s, x[8]));
    b->a += x[0];
    b->x += dx;
    b->y += dy;
    b->b += x[12];
    b->error = atomdl_sqrt(most(0, 0.5 * (x[1 * 4 + 2] + x[2 * 4 + 3])));
    if (!f->counts) b->error *= atomdl_sqrt(chi / most(1, count - 5));
    f->moved = most(f->moved, most(absolute(dx), absolute(dy)));
}

static void bump_start(bump *b, const joint *f, const atomdl_blob *blob)
{
    window w = window_at(f->p, blob->x, blob->y, f->radius);
    *b = (bump){.x = blob->x, .y = blob->y, .x0 = blob->x, .y0 = blob->y,
                .b = 1e300};
    for (int j = w.y0; j <= w.y1; j++)
        for (int i = w.x0; i <= w.x1; i++) {
            double v = (double)f->p->px[(ptrdiff_t)j * f->p->w + i];
            b->b = least(b->b, v);
            b->a = i == w.x0 && j == w.y0 ? v : most(b->a, v);
        }
    b->frozen = w.x0 > w.x1 || w.y0 > w.y1;
    if (b->frozen) b->b = 0;
    b->a = b->a0 = b->frozen ? 0 : b->a - b->b;
}

/* One sweep over all bumps with the common sigma fixed, then its step. */
static void joint_sweep(joint *f, double reach)
{
    memset(f->model, 0,
           (size_t)f->p->w * (size_t)f->p->h * sizeof *f->model);
    for (int i = 0; i < f->n; i++) bump_add(f, &f->bump[i], 1);
    f->num = f->den = f->moved = 0;
    for (int i = 0; i < f->n; i++) {
        bump *b = &f->bump[i];
        if (b->frozen) continue;
        bump_add(f, b, -1);
        bump_step(f, b);
        if (!(b->a > 0) || !is_finite(b->b)
            || !in_disc(b->x - b->x0, b->y - b->y0, reach))
            b->frozen = 1;
        if (b->frozen) {
            b->a = b->a0;
            b->x = b->x0;
            b->y = b->y0;
        }
        bump_add(f, b, 1);
    }
    if (f->den > 0) {
        double ds = most(-0.1 * f->s, least(0.1 * f->s, f->num / f->den));
        f->s = most(0.3, least(f->radius, f->s + ds));
        f->moved = most(f->moved, absolute(ds));
    }
}

/* Sweeps over all blobs until none moves by more than 1e-4 px. */
static int refine_gaussian(atomdl_blob *blob, int n, double *sigma,
                           const plane_of *p, const atomdl_refinement *how,
                           atomdl_arena *arena)
{
    int sweeps = how->sweeps > 0 ? how->sweeps : 30;
    joint f = {.p = p, .n = n, .s = how->sigma, .radius = how->radius,
               .counts = how->counts};
    f.model = atomdl_alloc(arena, (size_t)p->w * (size_t)p->h,
                           sizeof *f.model);
    f.gx = atomdl_alloc(arena, (size_t)p->w, sizeof *f.gx);
    f.bump = atomdl_alloc(arena, (size_t)n, sizeof *f.bump);
    if (!f.model || !f.gx || !f.bump) return atomdl_arena_status(arena);
    for (int i = 0; i < n; i++) bump_start(&f.bump[i], &f, &blob[i]);
    for (int i = 0; i < sweeps; i++) {
        joint_sweep(&f, how->reach);
        if (f.moved < 1e-4) break;
    }
    for (int i = 0; i < n; i++) {
        const bump *b = &f.bump[i];
        blob[i].fitted = !b->frozen;
        blob[i].error = b->frozen ? 0 : b->error;
        if (b->frozen) continue;
        blob[i].x = b->x;
        blob[i].y = b->y;
        blob[i].value = b->a;
        blob[i].sigma = f.s;
    }
    if (sigma) *sigma = f.s;
    return ATOMDL_OK;
}

static int refinement_bad(const atomdl_refinement *how)
{
    int gaussian = how->method == ATOMDL_FIT_GAUSSIAN;
    return how->method < ATOMDL_FIT_CENTROID
           || how->method > ATOMDL_FIT_GAUSSIAN || !(how->reach > 0)
           || !((!gaussian && how->radius == 0) || within(how->radius, 1, 100))
           || (gaussian && !within(how->sigma, 0.3, 100));
}

int atomdl_refine(atomdl_blob *blob, int n, double *sigma,
                  const atomdl_image *image, int plane,
                  const atomdl_refinement *how, atomdl_arena *arena)
{
    size_t used = arena->used;
    plane_of p;
    int status = ATOMDL_OK;
    if (n < 0 || refinement_bad(how) || plane_bad(&p, image, plane))
        return ATOMDL_EARG;
    if (arena->base) status = atomdl_image_check(image);
    for (int i = 0; i < n && arena->base && !status; i++)
        if (!within(blob[i].x, -1, p.w) || !within(blob[i].y, -1, p.h))
            status = ATOMDL_EARG;
    if (status == ATOMDL_OK && how->method == ATOMDL_FIT_GAUSSIAN)
        status = refine_gaussian(blob, n, sigma, &p, how, arena);
    else if (status == ATOMDL_OK)
        status = refine_centroid(blob, n, &p, how, arena);
    return give_back(arena, used, status);
}

/* ---------- Matching ------------------------------------------------------ */

static int points_bad(const double *xy, int n)
{
    for (int i = 0; i < 2 * n; i++)
        if (!(absolute(xy[i]) <= 1e9)) return 1;
    return 0;
}

/* One of two lists of points and the partner of each, -1: none yet. */
typedef struct {
    const double *xy; /* (n, 2) */
    int n, *hit;      /* (n) */
    cell_grid cells;
} matched;

static int matched_new(matched *m, double radius, atomdl_arena *arena)
{
    m->hit = atomdl_alloc(arena, (size_t)m->n, sizeof *m->hit);
    for (int i = 0; i < m->n && m->hit; i++) m->hit[i] = -1;
    return cells_new(&m->cells, m->xy, 2 * sizeof *m->xy, m->n, radius, arena);
}

/* The nearest point of m that is still free, within radius of p; -1: none.
   Ties: the first. */
static int nearest_free(const double *p, const matched *m, double radius)
{
    double best = radius * radius;
    int hit = -1;
    for (cell_walk w = walk_start(&m->cells, p[0], p[1], radius);
         walk_next(&w);) {
        int j = (int)w.at;
        double dx = m->xy[2 * j] - p[0], dy = m->xy[2 * j + 1] - p[1];
        double d = dx * dx + dy * dy;
        if (m->hit[j] >= 0 || d > best || (hit >= 0 && d == best && j > hit))
            continue;
        best = d;
        hit = j;
    }
    return hit;
}

/* Pairs that are each other's nearest, until there are none: with distances
   that all differ, these are the pairs taken in rising distance. */
static void match_pairs(matched *a, matched *b, double radius)
{
    int found = 1;
    while (found) {
        found = 0;
        for (int i = 0; i < a->n; i++) {
            if (a->hit[i] >= 0) continue;
            int j = nearest_free(a->xy + 2 * i, b, radius);
            if (j < 0 || nearest_free(b->xy + 2 * j, a, radius) != i) continue;
            a->hit[i] = j;
            b->hit[j] = i;
            found = 1;
        }
    }
}

/* What the pairs say of one another. */
static void match_sum(atomdl_matches *m, const matched *a, const matched *b)
{
    double sum = 0;
    for (int i = 0; i < a->n; i++) {
        int j = a->hit[i];
        if (m->hit) m->hit[i] = j;
        if (j < 0) continue;
        double dx = a->xy[2 * i] - b->xy[2 * j];
        double dy = a->xy[2 * i + 1] - b->xy[2 * j + 1];
        m->tp++;
        m->mean_x += dx;
        m->mean_y += dy;
        sum += dx * dx + dy * dy;
    }
    m->fp = a->n - m->tp;
    m->fn = b->n - m->tp;
    if (!m->tp) return;
    m->mean_x /= m->tp;
    m->mean_y /= m->tp;
    m->rms = atomdl_sqrt(sum / m->tp);
}

int atomdl_match(atomdl_matches *m, const double *a, int na, const double *b,
                 int nb, double radius, atomdl_arena *arena)
{
    size_t used = arena->used;
    matched p = {.xy = a, .n = na}, q = {.xy = b, .n = nb};
    *m = (atomdl_matches){.hit = m->hit};
    if (na < 0 || nb < 0 || !(radius > 0) || !(radius <= 1e9))
        return ATOMDL_EARG;
    if (arena->base && (points_bad(a, na) || points_bad(b, nb)))
        return ATOMDL_ENAN;
    int status = matched_new(&p, radius, arena);
    if (status == ATOMDL_OK) status = matched_new(&q, radius, arena);
    if (scratch_only(&status, arena, used)) return status;
    match_pairs(&p, &q, radius);
    match_sum(m, &p, &q);
    return ATOMDL_OK;
}

/* ---------- Chemistry -----------------------------------------------------

   METHOD B.1, D.1. In projection every column of a dichalcogenide has three
   neighbours at a / sqrt 3, whatever stands there: 0.77 to 1.24 of it. The last
   numbers are the ground's (METHOD D.7). A new row: its lattice stands in
   SHEETS or TRILAYERS of sim.c, with the same a; its network in
   material_weights of program/material.c, its elements' colours in
   species_colour of program/analyze.c. `dichalcogenide` takes the metal for
   the brighter column, `heavy-chalcogenide` the pair. */

#define COLUMNS(name, a, metal, chalcogen, least, most) \
    {name, a, {metal, chalcogen}, {1, 2}, 3, \
     {{0, 0, 0.445 * (a), 0.716 * (a), 0.57735026919 * (a)}}, NULL, 0.45, \
     {least, most}}

static const atomdl_chemistry CHEMISTRY[] = {
    {"graphene", 2.461, {6, 6}, {1, 1}, 4,
     {{6, 6, 1.10, 1.80, 1.42}, {14, 6, 1.20, 2.25, 1.85},
      {14, 14, 1.15, 2.70, 2.25}, {5, 0, 1.10, 1.85, 1.48},
      {7, 0, 1.10, 1.80, 1.41}}, NULL, 0.7, {0.75, 1}},
    {"h-bn", 2.504, {5, 7}, {1, 1}, 4,
     {{5, 7, 1.20, 1.75, 1.446}, {6, 0, 1.10, 1.80, 1.43},
      {0, 0, 1.20, 1.85, 1.5}}, NULL, 0.7, {1.3, 2.4}},
    COLUMNS("mos2", 3.160, 42, 16, 0.3, 0.7),
    COLUMNS("mose2", 3.288, 42, 34, 1.3, 2.4),
    COLUMNS("ws2", 3.153, 74, 16, 0.08, 0.4),
    COLUMNS("wse2", 3.282, 74, 34, 0.4, 1.15),
    COLUMNS("mote2", 3.52, 42, 52, 2.2, 4.5),
    COLUMNS("wte2", 3.48, 74, 52, 1, 2.2)
};

const atomdl_chemistry *atomdl_chemistry_get(int i)
{
    int n = (int)(sizeof CHEMISTRY / sizeof *CHEMISTRY);
    return i >= 0 && i < n ? &CHEMISTRY[i] : NULL;
}

const atomdl_chemistry *atomdl_chemistry_find(const char *name)
{
    const atomdl_chemistry *c;
    for (int i = 0; (c = atomdl_chemistry_get(i)) != NULL; i++)
        if (same_text(name, c->name)) return c;
    return NULL;
}

static const atomdl_rules ALL_RULES = {1, 1, 1, 1, 1, 1};

atomdl_rules atomdl_rules_all(void) { return ALL_RULES; }

int *atomdl_rules_get(atomdl_rules *r, int i, const char **name)
{
    static const char *const NAMES[] = {"ring_of_four", "rotor_corners",
                                        "second_shell", "lattice_site",
                                        "bond_scale", "dopant_fit"};
    int *const at[] = {&r->ring_of_four, &r->rotor_corners, &r->second_shell,
                       &r->lattice_site, &r->bond_scale, &r->dopant_fit};
    int n = (int)(sizeof NAMES / sizeof *NAMES), known = i >= 0 && i < n;
    *name = known ? NAMES[i] : NULL;
    return known ? at[i] : NULL;
}

static const atomdl_rules *rules_of(const atomdl_chemistry *c)
{
    return c->rules ? c->rules : &ALL_RULES;
}

static int fits(const atomdl_pair *p, int a, int b)
{
    return (!p->a || p->a == a) && (!p->b || p->b == b);
}

static const atomdl_pair *pair_of(const atomdl_chemistry *c, int a, int b)
{
    for (int i = 0; i < ATOMDL_PAIR_KINDS && c->pair[i].longest > 0; i++)
        if (fits(&c->pair[i], a, b) || fits(&c->pair[i], b, a))
            return &c->pair[i];
    return NULL;
}

static int chemistry_bad(const atomdl_chemistry *c)
{
    int i, bad = !(c->a > 0) || !(c->a < 1e3) || c->valence < 1
                 || c->valence > ATOMDL_VALENCE;
    for (i = 0; i < ATOMDL_PAIR_KINDS && c->pair[i].longest > 0; i++)
        bad |= !(c->pair[i].shortest >= 0.1) || !(c->pair[i].longest <= 1e3)
               || !(c->pair[i].shortest < c->pair[i].longest)
               || !(c->pair[i].ideal > 0);
    return bad || i == 0;
}

static int is_host(const atomdl_chemistry *c, int z)
{
    return z == c->host[0] || z == c->host[1];
}

static int of_two_elements(const atomdl_chemistry *c)
{
    return c->host[0] != c->host[1];
}

static int is_dichalcogenide(const atomdl_chemistry *c)
{
    return of_two_elements(c) && c->count[1] == 2;
}

/* ---------- Nodes --------------------------------------------------------- */

static int nodes_bad(const atomdl_node *node, int n)
{
    for (int i = 0; i < n; i++)
        if (!within(node[i].x, -1e6, 1e6) || !within(node[i].y, -1e6, 1e6)
            || !within(node[i].error, 0, 1e6)
            || !within(node[i].score, 0, 1e6))
            return 1;
    return 0;
}

static double apart(const atomdl_node *a, const atomdl_node *b)
{
    return length(b->x - a->x, b->y - a->y);
}

static int is_of(const atomdl_node *p, int z) { return !z || p->z == z; }

/* Whether node i has to go for one of the kept elements. */
static int clashes_with(const atomdl_node *node, int i, const cell_grid *c,
                        const atomdl_clash *clash, const u8 *gone)
{
    for (cell_walk w = walk_start(c, node[i].x, node[i].y, clash->distance);
         walk_next(&w);) {
        int j = (int)w.at;
        if (j == i || gone[j] || !is_of(&node[j], clash->keep)
            || !(apart(&node[i], &node[j]) < clash->distance))
            continue;
        if (clash->keep != clash->drop || node[j].score > node[i].score
            || (node[j].score == node[i].score && j < i))
            return 1;
    }
    return 0;
}

int atomdl_nodes_merge(atomdl_node *node, int n, const atomdl_clash *clash,
                       int clashes, atomdl_arena *arena)
{
    size_t used = arena->used;
    double reach = 0.1;
    int kept = 0;
    if (n < 0 || clashes < 0) return ATOMDL_EARG;
    for (int k = 0; k < clashes; k++) {
        if (!within(clash[k].distance, 0, 1e3)) return ATOMDL_EARG;
        reach = most(reach, clash[k].distance);
    }
    if (arena->base && nodes_bad(node, n)) return ATOMDL_ENAN;
    u8 *gone = atomdl_alloc(arena, (size_t)n, 1);
    cell_grid c;
    int status = cells_new(&c, node, sizeof *node, n, reach, arena);
    if (scratch_only(&status, arena, used)) return status;
    memset(gone, 0, (size_t)n);
    for (int k = 0; k < clashes; k++)
        for (int i = 0; i < n; i++)
            if (!gone[i] && is_of(&node[i], clash[k].drop)
                && clashes_with(node, i, &c, &clash[k], gone))
                gone[i] = 1;
    for (int i = 0; i < n; i++)
        if (!gone[i]) node[kept++] = node[i];
    return kept;
}

/* ---------- Intensities ---------------------------------------------------

   A pixel counts by how far it lies within the disc: 1 inside, 0 beyond its
   edge by a pixel's half, in between by distance. */

int atomdl_intensity(double *value, const atomdl_node *node, int n,
                     const atomdl_image *image, int plane,
                     const double pixel[2], double radius)
{
    double px = pixel[0], py = pixel[1], unit = atomdl_sqrt(px * py);
    plane_of p;
    if (n < 0 || plane_bad(&p, image, plane) || !(px > 0)
        || !(py > 0) || !(radius > 0) || !(radius < 1e3 * px)
        || !(radius < 1e3 * py))
        return ATOMDL_EARG;
    if (nodes_bad(node, n)) return ATOMDL_ENAN;
    for (int i = 0; i < n; i++) {
        double u = node[i].x / px, v = node[i].y / py;
        double a = radius / px + 1, b = radius / py + 1;
        int x1 = (int)least(most(u + a, 0), p.w - 1);
        int y1 = (int)least(most(v + b, 0), p.h - 1);
        double sum = 0, all = 0;
        for (int y = (int)least(most(v - b, 0), p.h - 1); y <= y1; y++)
            for (int x = (int)least(most(u - a, 0), p.w - 1); x <= x1; x++) {
                double d = length((x - u) * px, (y - v) * py);
                double w = (radius - d) / unit + 0.5;
                w = most(0, least(1, w));
                sum += w * (double)p.px[(ptrdiff_t)y * p.w + x];
                all += w;
            }
        value[i] = all > 0 ? sum / all : 0;
        if (!is_finite(value[i])) return ATOMDL_ENAN;
    }
    return ATOMDL_OK;
}

/* What is known before an image is seen, METHOD F.2: what two atoms add over
   pair less hollow, and what one adds over what two add, each with its s.d.; by
   how much log-likelihood singles and empty columns have to pay; from how many
   s.d. apart one and two are told; how bright a pair may be. */
#define DROP_PRIOR 1.2
#define DROP_SPREAD 0.12
#define ONE_PRIOR 0.44
#define ONE_SPREAD 0.07
#define TOLD 2
#define BRIGHT 2
enum { FITS = 2 * ATOMDL_LEVELS };
static const double CLASS_COST[ATOMDL_LEVELS] = {2.5, 2, 0}; /* from k on */

/* What a column shows, less what hollow sites share; a bright one, as under an
   atom of carbon, counts as a pair that is two s.d. too bright. */
static double mixture_value(const atomdl_mixture *m, double value,
                            double hollow)
{
    return least(value - m->share * (hollow - m->hollow),
                 m->mean[ATOMDL_LEVEL_X2] + BRIGHT * m->sd);
}

double atomdl_mixture_posterior(double p[ATOMDL_LEVELS],
                                const atomdl_mixture *m, double value,
                                double hollow)
{
    double top = -1e300, sum = 0;
    value = mixture_value(m, value, hollow);
    for (int k = 0; k < ATOMDL_LEVELS; k++) {
        double d = (value - m->mean[k]) / m->sd;
        p[k] = -1e300;
        if (!(m->weight[k] > 0)) continue;
        p[k] = atomdl_log(m->weight[k] / m->sd) - 0.9189385332046727
               - 0.5 * d * d;
        top = most(top, p[k]);
    }
    for (int k = 0; k < ATOMDL_LEVELS; k++)
        sum += p[k] = p[k] > -1e300 ? atomdl_exp(p[k] - top) : 0;
    for (int k = 0; k < ATOMDL_LEVELS; k++) p[k] /= sum;
    return top + atomdl_log(sum);
}

typedef struct { /* columns: their intensities, those of hollow sites near */
    const double *value, *hollow;
    int n;
} mixture_data;

typedef struct { /* columns by class, as the posteriors have them */
    double n[ATOMDL_LEVELS], below[ATOMDL_LEVELS]; /* sum of pair - value */
    double square, log;    /* of distances from means; of likelihoods */
    double cross, hollows; /* distance times hollow, hollow squared */
} mixture_sums;

static mixture_sums mixture_expect(const atomdl_mixture *m,
                                   const mixture_data *x)
{
    mixture_sums s = {0};
    double p[ATOMDL_LEVELS];
    for (int i = 0; i < x->n; i++) {
        double near = x->hollow[i] - m->hollow;
        double value = mixture_value(m, x->value[i], x->hollow[i]);
        s.log += atomdl_mixture_posterior(p, m, x->value[i], x->hollow[i]);
        s.hollows += near * near;
        for (int k = 0; k < ATOMDL_LEVELS; k++) {
            double d = value - m->mean[k];
            s.n[k] += p[k];
            s.below[k] += p[k] * (m->mean[ATOMDL_LEVEL_X2] - value);
            s.square += p[k] * d * d;
            s.cross += p[k] * d * near;
        }
    }
    return s;
}

static void mixture_means(atomdl_mixture *m, double pair, double drop)
{
    m->mean[ATOMDL_LEVEL_X2] = pair;
    m->mean[ATOMDL_LEVEL_X1] = pair - (1 - m->one) * drop;
    m->mean[ATOMDL_LEVEL_X0] = pair - drop;
}

/* The s.d. about the means as they were, then the hollows' share, weights, the
   pair's mean, what none lies below it, what one does as a part of that. */
static void mixture_maximise(atomdl_mixture *m, const mixture_sums *s, int n)
{
    double pair = m->mean[ATOMDL_LEVEL_X2], drop = pair - m->mean[0];
    double part = 1 - m->one, seen = pair - m->hollow;
    double spread = DROP_SPREAD * seen, one = ONE_SPREAD * ONE_SPREAD;
    m->sd = most(atomdl_sqrt(s->square / n), 0.005 * seen);
    double v = m->sd * m->sd, up = v / (spread * spread);
    if (s->hollows > 0) m->share += s->cross / s->hollows;
    double n0 = s->n[0], n1 = s->n[1], b0 = s->below[0], b1 = s->below[1];
    for (int k = 0; k < ATOMDL_LEVELS; k++) m->weight[k] = s->n[k] / n;
    double rise = (drop * n0 + part * drop * n1 - b0 - b1 - s->below[2]) / n;
    b0 += rise * n0;
    b1 += rise * n1;
    drop = (DROP_PRIOR * seen * up + b0 + part * b1)
           / (up + n0 + part * part * n1);
    part = ((1 - ONE_PRIOR) * v / one + drop * b1)
           / (v / one + drop * drop * n1);
    m->one = 1 - part;
    m->one_error = atomdl_sqrt(v / (v / one + drop * drop * n1));
    mixture_means(m, pair + rise, drop);
}

/* Mean and s.d. of the middle: of what lies within two s.d., again and again,
   which are two thirds of a normal distribution's. */
static void mixture_start(atomdl_mixture *m, const mixture_data *x,
                          double one)
{
    double mean = 0, sd = 1e30;
    m->hollow = m->share = 0;
    for (int i = 0; i < x->n; i++) m->hollow += x->hollow[i] / x->n;
    for (int round = 0; round < 20; round++) {
        double all = 0, sum = 0, square = 0, cross = 0, hollows = 0;
        for (int i = 0; i < x->n; i++) {
            double near = x->hollow[i] - m->hollow;
            double d = x->value[i] - m->share * near - mean;
            if (absolute(d) > 2 * sd) continue;
            all += 1;
            sum += d;
            square += d * d;
            cross += d * near;
            hollows += near * near;
        }
        if (!(all > 0)) break;
        mean += sum / all;
        sum /= all;
        sd = atomdl_sqrt(most(square / all - sum * sum, 0));
        if (hollows > 0) m->share += cross / hollows;
    }
    double seen = mean - m->hollow;
    m->one = one;
    m->sd = most(1.5 * sd, 0.005 * seen);
    mixture_means(m, mean, DROP_PRIOR * seen);
}

/* Expectation and maximisation with classes from `first` on. Returns the
   logarithm of likelihood and priors, less what the classes cost. */
static double mixture_climb(atomdl_mixture *m, const mixture_data *x,
                            int first, double one)
{
    double before, now = -1e300;
    mixture_start(m, x, one);
    for (int k = 0; k < ATOMDL_LEVELS; k++)
        m->weight[k] = k < first ? 0 : k < 2 ? 0.05 : 1;
    for (m->rounds = 0; m->rounds < 200; m->rounds++) {
        mixture_sums s = mixture_expect(m, x);
        double pair = m->mean[ATOMDL_LEVEL_X2], seen = pair - m->hollow;
        double a = ((pair - m->mean[0]) / seen - DROP_PRIOR) / DROP_SPREAD;
        double b = (m->one - ONE_PRIOR) / ONE_SPREAD;
        before = now;
        now = s.log - 0.5 * (a * a + b * b);
        m->mean_log = s.log / x->n;
        if (absolute(now - before) < 1e-7 * x->n || !(seen > 0)) break;
        mixture_maximise(m, &s, x->n);
    }
    return now - CLASS_COST[first];
}

/* What may be missing unseen, over the columns: twice what the third moment
   leaves open, and what fits that are nearly as good as the best find. */
static double mixture_hidden(const atomdl_mixture *fit, const double *now,
                             int best, int n)
{
    const atomdl_mixture *m = &fit[best];
    double apart = (m->mean[2] - m->mean[1]) / m->sd, sum = 0, square = 0;
    double third = atomdl_sqrt(24. / n) / (apart * apart * apart);
    for (int k = 0; k < FITS; k++) {
        double odds = atomdl_exp(now[k] - now[best]);
        double d = 2 * (fit[k].weight[0] - m->weight[0]) + fit[k].weight[1]
                   - m->weight[1];
        sum += odds;
        square += odds * d * d;
    }
    return least(atomdl_sqrt(square / sum + third * third), 1);
}

int atomdl_mixture_fit(atomdl_mixture *m, const double *value,
                       const double *hollow, int n)
{
    mixture_data x = {value, hollow, n};
    atomdl_mixture fit[FITS];
    double now[FITS];
    int best = 0;
    memset(m, 0, sizeof *m);
    memset(fit, 0, sizeof fit);
    for (int i = 0; i < n; i++)
        if (!(absolute(value[i]) < 1e30) || !(absolute(hollow[i]) < 1e30))
            return ATOMDL_ENAN;
    if (n < 3) return ATOMDL_EMISSING;
    for (int k = 0; k < FITS; k++) {
        double one = ONE_PRIOR + (k % 2 ? ONE_SPREAD : -ONE_SPREAD);
        now[k] = mixture_climb(&fit[k], &x, ATOMDL_LEVEL_X2 - k / 2, one);
        if (!(fit[k].mean[ATOMDL_LEVEL_X2] > fit[k].hollow))
            return ATOMDL_EMISSING;
        if (now[k] > now[best]) best = k;
    }
    *m = fit[best];
    m->told = m->mean[ATOMDL_LEVEL_X2] - m->mean[ATOMDL_LEVEL_X1]
              > TOLD * m->sd;
    m->hidden = mixture_hidden(fit, now, best, n);
    if (!m->told) m->weight[ATOMDL_LEVEL_X1] = least(m->hidden, 0.5);
    return ATOMDL_OK;
}

/* ---------- Bonds --------------------------------------------------------- */

enum { NEAREST = 8, CROWD = 256 };

/* near, ratio (NEAREST) <- the nearest possible neighbours of node i, rising in
   d / ideal, which is the ratio; returns how many. */
static int nearby_fill(u32 *near, double *ratio, const atomdl_node *node,
                       int i, const cell_grid *c,
                       const atomdl_chemistry *chemistry, double reach)
{
    int count = 0, k;
    for (cell_walk w = walk_start(c, node[i].x, node[i].y, reach);
         node[i].count && walk_next(&w);) {
        const atomdl_node *b = &node[w.at];
        double dx = b->x - node[i].x, dy = b->y - node[i].y;
        if (dx * dx + dy * dy > reach * reach || !b->count) continue;
        const atomdl_pair *p = pair_of(chemistry, node[i].z, b->z);
        double d = length(dx, dy);
        if (!p || !(d > p->shortest) || !(d < p->longest)) continue;
        d /= p->ideal;
        if (count == NEAREST && !(d < ratio[count - 1])) continue;
        for (k = least_int(count, NEAREST - 1); k > 0 && ratio[k - 1] > d;
             k--) {
            ratio[k] = ratio[k - 1];
            near[k] = near[k - 1];
        }
        ratio[k] = d;
        near[k] = w.at;
        if (count < NEAREST) count++;
    }
    return count;
}

/* A bond before valences: ratio < 0 once it is dropped. */
typedef struct {
    u32 a, b;
    double ratio;
} link;

typedef struct {
    u32 *near;       /* (n, NEAREST) */
    double *ratio;   /* (n, NEAREST), then keys of the sort */
    u8 *count;       /* (n) */
    link *link;      /* (n NEAREST / 2) */
    u32 *order, *scratch;
    u8 *degree;      /* (n) */
} bonding;

static void bonding_new(bonding *b, size_t n, atomdl_arena *arena)
{
    b->near = atomdl_alloc(arena, n * NEAREST, sizeof *b->near);
    b->ratio = atomdl_alloc(arena, n * NEAREST, sizeof *b->ratio);
    b->count = atomdl_alloc(arena, n, 1);
    b->degree = atomdl_alloc(arena, n, 1);
    b->link = atomdl_alloc(arena, n * NEAREST / 2, sizeof *b->link);
    b->order = atomdl_alloc(arena, n * NEAREST / 2, sizeof *b->order);
    b->scratch = atomdl_alloc(arena, n * NEAREST / 2, sizeof *b->scratch);
}

/* where v stands in list (n), which it does once at most; -1: nowhere */
static int rank_of(const u32 *list, int n, u32 v)
{
    while (n > 0 && list[n - 1] != v) n--;
    return n - 1;
}

/* Whether atom i's bond to its neighbour of rank k closes a triangle with one
   shorter by a quarter, to an atom of that neighbour's kind (METHOD
   D.1). Where i is of another kind: no stranger sits so beside a bond of its
   host; such an atom is of the second shell, within reach where the pixel size
   is some percent wrong. Where all three are dopants of a kind: the third is
   nearer to both ends, as the centre of the 4-Si rotor to its corners. */
static int bonding_triangle(const bonding *b, const atomdl_node *node, u32 i,
                            int k, const atomdl_chemistry *chemistry)
{
    const u32 *near = b->near + (size_t)i * NEAREST;
    const double *ratio = b->ratio + (size_t)i * NEAREST;
    const atomdl_node *far = &node[near[k]];
    const atomdl_pair *p = pair_of(chemistry, far->z, far->z);
    int same = node[i].z == far->z;
    if (!p || (same ? !rules_of(chemistry)->rotor_corners
                          || is_host(chemistry, far->z)
                    : !rules_of(chemistry)->second_shell))
        return 0;
    double reach = same ? 0.75 * ratio[k] * p->ideal : p->longest;
    for (int l = 0; l < k && ratio[l] < 0.75 * ratio[k]; l++) {
        const atomdl_node *by = &node[near[l]];
        if (by->z == far->z
            && length(by->x - far->x, by->y - far->y) < reach)
            return 1;
    }
    return 0;
}

/* Links wanted from both ends, rising (a, b). Returns how many. */
static size_t bonding_links(bonding *b, const atomdl_node *node, u32 n,
                            const atomdl_chemistry *chemistry)
{
    size_t links = 0;
    for (u32 i = 0; i < n; i++) b->degree[i] = 0;
    for (u32 i = 0; i < n; i++) {
        link *own = b->link + links;
        for (int k = 0; k < b->count[i]; k++) {
            u32 j = b->near[i * NEAREST + (u32)k];
            int l = rank_of(b->near + (size_t)j * NEAREST, b->count[j], i);
            if (j < i || l < 0 || bonding_triangle(b, node, i, k, chemistry)
                || bonding_triangle(b, node, j, l, chemistry))
                continue;
            link *to = b->link + links++;
            for (; to > own && to[-1].b > j; to--) *to = to[-1];
            *to = (link){i, j, b->ratio[i * NEAREST + (u32)k]};
            b->degree[i]++;
            b->degree[j]++;
        }
    }
    return links;
}

/* Drops the longest links of atoms that have too many. */
static void bonding_limit(bonding *b, size_t links, int valence)
{
    size_t n = 0;
    for (size_t k = 0; k < links; k++)
        if (b->degree[b->link[k].a] > valence
            || b->degree[b->link[k].b] > valence) {
            b->near[n] = (u32)k; /* no longer needed as neighbours */
            b->ratio[n++] = -b->link[k].ratio;
        }
    atomdl_sort(b->order, b->ratio, n, b->scratch);
    for (size_t k = 0; k < n; k++) {
        link *l = &b->link[b->near[b->order[k]]];
        if (b->degree[l->a] <= valence && b->degree[l->b] <= valence) continue;
        b->degree[l->a]--;
        b->degree[l->b]--;
        l->ratio = -1;
    }
}

static int cells_crowded(const cell_grid *c)
{
    for (int i = 0; i < c->nx * c->ny; i++)
        if (c->first[i + 1] - c->first[i] > CROWD) return 1;
    return 0;
}

static double longest_bond(const atomdl_chemistry *c)
{
    double reach = 0;
    for (int i = 0; i < ATOMDL_PAIR_KINDS && c->pair[i].longest > 0; i++)
        reach = most(reach, c->pair[i].longest);
    return reach;
}

static void graph_bond(atomdl_graph *g, const link *l)
{
    const atomdl_node *a = &g->node[l->a], *b = &g->node[l->b];
    g->bond[g->bonds++] = (atomdl_bond){l->a, l->b, apart(a, b),
                                        length(a->error, b->error),
                                        least(a->score, b->score)};
}

/* All bonds: neighbours that want each other, no triangles, valences kept. */
static int graph_bonds(atomdl_graph *g, atomdl_arena *arena)
{
    double reach = longest_bond(g->chemistry);
    size_t used = arena->used;
    int n = g->nodes;
    bonding b;
    cell_grid c;
    bonding_new(&b, (size_t)n, arena);
    int status = cells_new(&c, g->node, sizeof *g->node, n, reach, arena);
    if (scratch_only(&status, arena, used)) return status;
    if (cells_crowded(&c)) return ATOMDL_EARG;
    for (int i = 0; i < n; i++)
        b.count[i] = (u8)nearby_fill(b.near + (size_t)i * NEAREST,
                                     b.ratio + (size_t)i * NEAREST, g->node, i,
                                     &c, g->chemistry, reach);
    size_t links = bonding_links(&b, g->node, (u32)n, g->chemistry);
    bonding_limit(&b, links, g->chemistry->valence);
    for (size_t k = 0; k < links; k++)
        if (b.link[k].ratio > 0) graph_bond(g, &b.link[k]);
    return ATOMDL_OK;
}

/* ---------- Neighbours ---------------------------------------------------- */

/* Whether direction p comes before q, counted from -x over -y, +x, +y. */
static int before(const double p[2], const double q[2])
{
    int hp = p[1] > 0 || (p[1] == 0 && p[0] > 0);
    int hq = q[1] > 0 || (q[1] == 0 && q[0] > 0);
    return hp != hq ? hp < hq : p[0] * q[1] - p[1] * q[0] > 0;
}

static void direction(double d[2], const atomdl_graph *g, u32 from, u32 to)
{
    d[0] = g->node[to].x - g->node[from].x;
    d[1] = g->node[to].y - g->node[from].y;
}

static void graph_attach(atomdl_graph *g, u32 at, u32 to, u32 bond, u8 *degree)
{
    u32 *near = g->link + g->first[at], *edge = g->edge + g->first[at];
    double d[2], e[2];
    int k;
    direction(d, g, at, to);
    for (k = degree[at]++; k > 0; k--) {
        direction(e, g, at, near[k - 1]);
        if (!before(d, e)) break;
        near[k] = near[k - 1];
        edge[k] = edge[k - 1];
    }
    near[k] = to;
    edge[k] = bond;
}

static void graph_links(atomdl_graph *g, u8 *degree)
{
    memset(g->first, 0, ((size_t)g->nodes + 1) * sizeof *g->first);
    for (int i = 0; i < g->bonds; i++) {
        g->first[g->bond[i].a + 1]++;
        g->first[g->bond[i].b + 1]++;
    }
    for (int i = 0; i < g->nodes; i++) g->first[i + 1] += g->first[i];
    memset(degree, 0, (size_t)g->nodes);
    for (int i = 0; i < g->bonds; i++) {
        graph_attach(g, g->bond[i].a, g->bond[i].b, (u32)i, degree);
        graph_attach(g, g->bond[i].b, g->bond[i].a, (u32)i, degree);
    }
}

static void join(u32 *parent, u32 a, u32 b)
{
    a = root_of(parent, a);
    b = root_of(parent, b);
    if (a < b) parent[b] = a;
    else parent[a] = b;
}

static void graph_components(atomdl_graph *g, u32 *parent)
{
    for (u32 i = 0; i < (u32)g->nodes; i++) parent[i] = i;
    for (u32 i = 0; i < (u32)g->bonds; i++)
        join(parent, g->bond[i].a, g->bond[i].b);
    for (u32 i = 0; i < (u32)g->nodes; i++)
        g->component[i] = root_of(parent, i) == i
                              ? (u32)g->components++
                              : g->component[root_of(parent, i)];
}

static void graph_flags(atomdl_graph *g, const double field[4], double margin)
{
    for (int i = 0; i < g->nodes; i++) {
        const atomdl_node *p = &g->node[i];
        g->flag[i] = is_host(g->chemistry, p->z) ? 0 : ATOMDL_DOPANT;
        if (field && (p->x < field[0] + margin || p->y < field[1] + margin
                      || p->x > field[2] - margin || p->y > field[3] - margin))
            g->flag[i] |= ATOMDL_NEAR_BORDER;
        if (p->border) g->flag[i] |= ATOMDL_NEAR_BORDER;
    }
    for (int i = 0; i < g->bonds; i++) {
        const atomdl_bond *b = &g->bond[i];
        int da = g->flag[b->a] & ATOMDL_DOPANT;
        int db = g->flag[b->b] & ATOMDL_DOPANT;
        if (da && !db) g->flag[b->b] |= ATOMDL_EDGE;
        if (db && !da) g->flag[b->a] |= ATOMDL_EDGE;
    }
}

/* ---------- Rings ---------------------------------------------------------

   A half-bond is a place in link[]: from the node it belongs to to the one it
   names. At its end the walk turns to the neighbour before the one it came
   from: inner faces come out with positive area. METHOD D.2. */

/* core (nodes) <- bonds left when dangling atoms are taken off, again and
   again; 0: off. */
static void graph_core(const atomdl_graph *g, u8 *core, u32 *stack)
{
    size_t top = 0;
    for (u32 i = 0; i < (u32)g->nodes; i++) {
        core[i] = (u8)(g->first[i + 1] - g->first[i]);
        if (core[i] == 1) stack[top++] = i;
    }
    while (top > 0) {
        u32 i = stack[--top];
        core[i] = 0;
        for (u32 k = g->first[i]; k < g->first[i + 1]; k++)
            if (core[g->link[k]] > 0 && --core[g->link[k]] == 1)
                stack[top++] = g->link[k];
    }
}

/* The half-bond that follows k, which starts at node `from`. */
static u32 ring_next(const atomdl_graph *g, const u8 *core, u32 from, u32 k)
{
    u32 at = g->link[k], a = g->first[at], b = g->first[at + 1], i = a;
    while (g->link[i] != from) i++;
    do i = i > a ? i - 1 : b - 1;
    while (!core[g->link[i]]);
    return i;
}

/* Walks the face that begins with half-bond k of `from`; keeps inner ones. */
static void ring_trace(atomdl_graph *g, const u8 *core, u8 *seen, u32 from,
                       u32 k, u32 *used)
{
    atomdl_ring *r = &g->ring[g->rings];
    u32 start = *used, at = from, half = k;
    double ox = g->node[from].x, oy = g->node[from].y;
    *r = (atomdl_ring){.first = start};
    do {
        const atomdl_node *p = &g->node[at], *q = &g->node[g->link[half]];
        u32 next = ring_next(g, core, at, half);
        seen[half] = 1;
        g->corner[(*used)++] = at;
        r->x += p->x - ox;
        r->y += p->y - oy;
        r->area += 0.5 * ((p->x - ox) * (q->y - oy)
                          - (q->x - ox) * (p->y - oy));
        r->border |= (g->flag[at] & ATOMDL_NEAR_BORDER) != 0;
        at = g->link[half];
        half = next;
    } while (half != k);
    r->size = *used - start;
    if (!(r->area > 0) || r->size < 3) {
        *used = start;
        return;
    }
    r->x = ox + r->x / r->size;
    r->y = oy + r->y / r->size;
    g->histogram[least_int((int)r->size, ATOMDL_RING_SIZES - 1)]++;
    g->rings++;
}

static void graph_rings(atomdl_graph *g, u8 *core, u8 *seen, u32 *stack)
{
    u32 used = 0;
    graph_core(g, core, stack);
    memset(seen, 0, 2 * (size_t)g->bonds);
    for (u32 i = 0; i < (u32)g->nodes; i++)
        for (u32 k = g->first[i]; k < g->first[i + 1]; k++)
            if (core[i] && core[g->link[k]] && !seen[k])
                ring_trace(g, core, seen, i, k, &used);
}

/* ---------- The graph ----------------------------------------------------- */

static void graph_room(atomdl_graph *g, atomdl_arena *arena)
{
    size_t n = (size_t)g->nodes, m = n * ATOMDL_VALENCE / 2;
    g->bond = atomdl_alloc(arena, m, sizeof *g->bond);
    g->first = atomdl_alloc(arena, n + 1, sizeof *g->first);
    g->link = atomdl_alloc(arena, 2 * m, sizeof *g->link);
    g->edge = atomdl_alloc(arena, 2 * m, sizeof *g->edge);
    g->component = atomdl_alloc(arena, n, sizeof *g->component);
    g->flag = atomdl_alloc(arena, n, 1);
    g->ring = atomdl_alloc(arena, 2 * m / 3 + 1, sizeof *g->ring);
    g->corner = atomdl_alloc(arena, 2 * m, sizeof *g->corner);
}

int atomdl_graph_new(atomdl_graph *g, const atomdl_node *node, int n,
                     const atomdl_chemistry *chemistry, const double field[4],
                     double margin, atomdl_arena *arena)
{
    memset(g, 0, sizeof *g);
    if (n < 0 || n > 0x0fffffff || chemistry_bad(chemistry)
        || margin != margin)
        return ATOMDL_EARG;
    if (arena->base && nodes_bad(node, n)) return ATOMDL_ENAN;
    *g = (atomdl_graph){.chemistry = chemistry, .node = node, .nodes = n};
    graph_room(g, arena);
    int status = graph_bonds(g, arena);
    size_t used = arena->used;
    u8 *core = atomdl_alloc(arena, (size_t)n, 1);
    u8 *seen = atomdl_alloc(arena, ATOMDL_VALENCE * (size_t)n, 1);
    u32 *stack = atomdl_alloc(arena, (size_t)n, sizeof *stack);
    if (scratch_only(&status, arena, used)) return status;
    graph_links(g, core);
    graph_components(g, stack);
    graph_flags(g, field, margin);
    graph_rings(g, core, seen, stack);
    return ATOMDL_OK;
}

double atomdl_angle(double *error, const atomdl_node *a, const atomdl_node *v,
                    const atomdl_node *b)
{
    double ux = a->x - v->x, uy = a->y - v->y;
    double wx = b->x - v->x, wy = b->y - v->y;
    double p = length(ux, uy), q = length(wx, wy), c = 1;
    if (p > 0 && q > 0) c = (ux * wx + uy * wy) / (p * q);
    if (error) {
        double e =
            p > 0 && q > 0 ? 1 / (p * p) + 1 / (q * q) - 2 * c / (p * q) : 0;
        e = most(0, e) * v->error * v->error;
        if (p > 0) e += a->error * a->error / (p * p);
        if (q > 0) e += b->error * b->error / (q * q);
        *error = atomdl_sqrt(e);
    }
    return arc_cosine(c);
}

/* ---------- The site of a single dopant -----------------------------------

   METHOD D.4: three g-vectors of the host around it, whose phases at its place
   tell a lattice site from the middle of a bond. */

enum { AROUND = 256 }; /* host atoms looked at */

typedef struct {
    double x[AROUND], y[AROUND], w[AROUND]; /* from the dopant */
    int n;
    double g[3][2];    /* g0 + g1 + g2 = 0 */
    double f[3][2];    /* complex sums at them */
} site;

/* Takes p for two of the g-vectors: how strong the sums at all three are. */
static double site_strength(site *s, const double p[4])
{
    double sum = 0;
    double g[3][2] = {{p[0], p[1]}, {p[2], p[3]}, {-p[0] - p[2], -p[1] - p[3]}};
    memcpy(s->g, g, sizeof g);
    memset(s->f, 0, sizeof s->f);
    for (int j = 0; j < 3; j++) {
        for (int i = 0; i < s->n; i++) {
            double t = -2 * PI * (s->g[j][0] * s->x[i] + s->g[j][1] * s->y[i]);
            s->f[j][0] += s->w[i] * atomdl_cos(t);
            s->f[j][1] += s->w[i] * atomdl_sin(t);
        }
        sum += length(s->f[j][0], s->f[j][1]);
    }
    return sum;
}

/* Climbs to the greatest strength by steps along each coordinate. */
static void site_climb(site *s, double p[4])
{
    double best = site_strength(s, p);
    int i;
    for (double step = 0.016; step > 5e-4; step /= 2)
        for (int moved = 1; moved;)
            for (moved = i = 0; i < 4; i++)
                for (int sign = -1; sign <= 1; sign += 2) {
                    double old = p[i];
                    p[i] = old + sign * step;
                    double v = site_strength(s, p);
                    if (v > best) {
                        best = v;
                        moved = 1;
                    } else p[i] = old;
                }
    site_strength(s, p);
}

/* Directions of host bonds, six-fold, and their mean length around node d. */
static int site_start(double p[4], const atomdl_graph *g, const atomdl_node *d,
                      const cell_grid *cells, double reach)
{
    double c = 0, s = 0, sum = 0;
    int n = 0;
    for (cell_walk w = walk_start(cells, d->x, d->y, reach); walk_next(&w);) {
        u32 i = w.at;
        if ((g->flag[i] & ATOMDL_DOPANT) || apart(d, &g->node[i]) > reach)
            continue;
        for (u32 k = g->first[i]; k < g->first[i + 1]; k++) {
            if (g->flag[g->link[k]] & ATOMDL_DOPANT) continue;
            double v[2];
            direction(v, g, i, g->link[k]);
            double angle = 6 * atomdl_atan2(v[1], v[0]);
            c += atomdl_cos(angle);
            s += atomdl_sin(angle);
            sum += g->bond[g->edge[k]].length;
            n++;
        }
    }
    if (n < 24) return 0;
    double q = 2 * n / (3 * sum);
    for (int j = 0; j < 2; j++) {
        double angle = (atomdl_atan2(s, c) + 4 * PI * j) / 6;
        p[2 * j] = q * atomdl_cos(angle);
        p[2 * j + 1] = q * atomdl_sin(angle);
    }
    return 1;
}

/* (the g-vectors lie along the bonds; turned by 60 degrees all change sign,
   which changes no template but turns one lattice site into the other) */
enum { TEMPLATES = 6 };
static const double ROOT3 = 1.7320508075688772;

/* Real products with the templates: both lattice sites, three bond centres,
   the hollow; kind[] of each. */
static void site_products(double product[TEMPLATES], const site *s)
{
    double norm = 0;
    for (int j = 0; j < 3; j++)
        norm += s->f[j][0] * s->f[j][0] + s->f[j][1] * s->f[j][1];
    norm = ROOT3 * atomdl_sqrt(norm);
    for (int i = 0; i < TEMPLATES; i++) {
        double sum = 0;
        for (int j = 0; j < 3; j++) {
            double re = i < 2 ? 0.5 : i < 5 ? (i - 2 == j ? -1 : 1) : -1;
            double im = i < 2 ? (i ? -0.5 : 0.5) * ROOT3 : 0;
            sum += re * s->f[j][0] + im * s->f[j][1];
        }
        product[i] = norm > 0 ? sum / norm : 0;
    }
}

static int site_kind(int template)
{
    return template < 2   ? ATOMDL_FOUND_C3
           : template < 5 ? ATOMDL_FOUND_C4
                          : ATOMDL_FOUND_OTHER;
}

/* Which host site a dopant sits on, with the lead over the best of another
   kind; OTHER where there is no lattice to tell. */
static int site_rule(double *margin, const atomdl_graph *g, u32 dopant,
                     const cell_grid *c)
{
    const atomdl_node *d = &g->node[dopant];
    double unit = g->chemistry->a / 2.461, reach = 10 * unit;
    double lead = 2, p[4], product[TEMPLATES];
    int best = 0;
    *margin = 0;
    site s;
    s.n = 0;
    for (cell_walk w = walk_start(c, d->x, d->y, reach);
         s.n < AROUND && walk_next(&w);) {
        const atomdl_node *v = &g->node[w.at];
        double r = apart(d, v) / unit;
        if (!v->count || !is_host(g->chemistry, v->z) || r < 2.3 || r > 10)
            continue;
        s.x[s.n] = v->x - d->x;
        s.y[s.n] = v->y - d->y;
        s.w[s.n++] = atomdl_exp(-r * r / (2 * 4.5 * 4.5));
    }
    if (s.n < 20 || !site_start(p, g, d, c, reach))
        return ATOMDL_FOUND_OTHER;
    site_climb(&s, p);
    site_products(product, &s);
    for (int k = 1; k < TEMPLATES; k++)
        if (product[k] > product[best]) best = k;
    for (int k = 0; k < TEMPLATES; k++)
        if (site_kind(k) != site_kind(best))
            lead = least(lead, product[best] - product[k]);
    *margin = lead;
    return site_kind(best);
}

/* ---------- Defects: names ------------------------------------------------ */

/* In the order of ATOMDL_FOUND_OTHER.... A new name goes to the end of both,
   and where it is decided: dopants by dopant_kind, rings of one-element hosts
   by cluster_kind, columns of two-element ones by column_kind. Its test: WANT
   of test_graph_silicon, or test_graph_rings, in tests/test_graph.c. */
static const char *const FOUND[ATOMDL_FOUND_COUNT] = {
    "other", "v1", "v1-5-9", "v2-open", "v2-5-8-5", "v2-555-777",
    "stone-wales", "hole6", "5-7", "boundary", "hole", "vacancy",
    "si-c3", "si-c4", "si-c3-v", "si-unsure", "si2-c4", "si2-c5", "si2-c6",
    "si3-c6", "si4-c6", "dopants",
    "vx1", "vx2", "vm", "m-x", "m-x2", "x-m", "x2-m", "sub-m", "sub-x",
    "x-c3", "x-c4", "x-c3-v", "x-unsure", "x2-c4", "x2-c5", "x2-c6",
    "x3-c6", "x4-c6"
};

const char *atomdl_found_name(int kind)
{
    return kind >= 0 && kind < ATOMDL_FOUND_COUNT ? FOUND[kind] : NULL;
}

/* ---------- Defects: dopants ---------------------------------------------- */

/* By numbers alone, of dopants and of the host atoms bonded to them. */
static int dopant_kind(int dopants, int shell)
{
    static const u8 TABLE[][3] = {
        {1, 3, ATOMDL_FOUND_C3}, {1, 4, ATOMDL_FOUND_C4},
        {2, 4, ATOMDL_FOUND_2C4}, {2, 5, ATOMDL_FOUND_2C5},
        {2, 6, ATOMDL_FOUND_2C6}, {3, 6, ATOMDL_FOUND_3C6},
        {4, 6, ATOMDL_FOUND_4C6}};
    for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
        if (TABLE[i][0] == dopants && TABLE[i][1] == shell) return TABLE[i][2];
    return ATOMDL_FOUND_DOPANTS;
}

/* A mean and its spread. */
typedef struct {
    int n;
    double sum, squares, errors;
} spread;

static void spread_add(spread *s, double v, double error)
{
    s->n++;
    s->sum += v;
    s->squares += v * v;
    s->errors += error * error;
}

/* Returns of how many; error, that of the mean, may be NULL. */
static int spread_of(const spread *s, double *mean, double *sd, double *error)
{
    double n = s->n, m = s->n ? s->sum / n : 0;
    *mean = m;
    *sd = n > 1 ? atomdl_sqrt(most(0, (s->squares - n * m * m) / (n - 1))) : 0;
    if (error) *error = s->n ? atomdl_sqrt(s->errors) / n : 0;
    return s->n;
}

static void found_node(atomdl_found *f, const atomdl_graph *g, u32 i)
{
    const atomdl_node *p = &g->node[i];
    int k = f->dopants + f->shell; /* nodes before this one */
    f->x += (p->x - f->x) / (k + 1);
    f->y += (p->y - f->y) / (k + 1);
    f->confidence = k ? least(f->confidence, p->score) : p->score;
    if (g->flag[i] & ATOMDL_NEAR_BORDER) f->flags |= ATOMDL_AT_BORDER;
    if (f->members < ATOMDL_MEMBERS) f->node[f->members++] = i;
}

/* Lengths and angles of one dopant of a defect. */
static void dopant_measure(const atomdl_graph *g, u32 i, spread *bond,
                           spread *pair, spread *angle, u8 *flags)
{
    u32 a = g->first[i], b = g->first[i + 1];
    spread own = {0};
    for (u32 k = a; k < b; k++) {
        u32 j = g->link[k], l = g->link[k + 1 < b ? k + 1 : a];
        const atomdl_bond *e = &g->bond[g->edge[k]];
        if (g->flag[j] & ATOMDL_DOPANT) {
            if (j > i) spread_add(pair, e->length, e->error);
            continue;
        }
        spread_add(bond, e->length, e->error);
        if ((g->flag[l] & ATOMDL_DOPANT) || l == j || (b - a == 2 && k > a))
            continue;
        double error, v;
        v = atomdl_angle(&error, &g->node[j], &g->node[i], &g->node[l]);
        spread_add(angle, v, error);
        spread_add(&own, v, error);
    }
    double mean, sd;
    spread_of(&own, &mean, &sd, NULL);
    if (sd > 15 * PI / 180) *flags |= ATOMDL_DISTORTED;
}

/* Angle and order of three dopants; of four, without the innermost. */
static void found_rotor(atomdl_found *f, const atomdl_graph *g)
{
    double c = 0, s = 0, nearest = 1e300;
    int inner = -1;
    for (int i = 0; i < f->dopants && f->dopants == 4; i++) {
        double d =
            length(g->node[f->node[i]].x - f->x, g->node[f->node[i]].y - f->y);
        if (d < nearest) inner = i;
        nearest = least(nearest, d);
    }
    for (int i = 0; i < f->dopants; i++) {
        const atomdl_node *p = &g->node[f->node[i]];
        double t = 3 * atomdl_atan2(p->y - f->y, p->x - f->x);
        if (i == inner) continue;
        c += atomdl_cos(t) / 3;
        s += atomdl_sin(t) / 3;
    }
    f->rotor = atomdl_atan2(s, c) / 3;
    f->order = length(c, s);
    for (int i = 0; i < 3 && f->dopants == 3; i++) {
        double d =
            atomdl_angle(NULL, &g->node[f->node[(i + 1) % 3]],
                         &g->node[f->node[i]], &g->node[f->node[(i + 2) % 3]]);
        if (absolute(d - PI / 3) > 10 * PI / 180) f->flags |= ATOMDL_TURNING;
    }
    if (f->order < 0.7) f->flags |= ATOMDL_TURNING;
}

static int large_ring(const int rings[ATOMDL_RING_SIZES])
{
    int any = 0;
    for (int i = 8; i < ATOMDL_RING_SIZES; i++) any |= rings[i] != 0;
    return any;
}

/* Both rules for a dopant that stands alone. */
static void found_single(atomdl_found *f, const atomdl_graph *g,
                         const cell_grid *c)
{
    f->counted = f->kind;
    f->site = (u8)site_rule(&f->site_margin, g, f->node[0], c);
    if (f->counted == ATOMDL_FOUND_C3 && large_ring(f->rings))
        f->kind = ATOMDL_FOUND_C3_V;
    if (f->site == f->counted || f->site == ATOMDL_FOUND_OTHER) return;
    if (f->counted != ATOMDL_FOUND_C3 && f->counted != ATOMDL_FOUND_C4) return;
    f->flags |= ATOMDL_DISAGREE;
    if (f->kind != ATOMDL_FOUND_C3_V && rules_of(g->chemistry)->lattice_site)
        f->kind = ATOMDL_FOUND_UNSURE;
}

/* What the pieces of the list share. */
typedef struct {
    const atomdl_graph *g;
    atomdl_found *found;
    int count, max;
    cell_grid cells;            /* of all nodes */
    u32 *parent, *next;     /* (nodes or rings) groups and their chains */
    u32 *mark;              /* (nodes) the group that counted it last */
    u32 *ring_mark;         /* (rings) the same */
    u32 *ring_first, *ring; /* (nodes + 1), (corners): rings of each node */
    u8 *dopant_ring;        /* (rings) 1: a dopant is on it */
    u8 *sublattice;         /* (nodes) */
} search;

static void found_add(search *s, const atomdl_found *f)
{
    if (s->count < s->max) s->found[s->count] = *f;
    s->count++;
}

/* next <- chains of groups: from each root upwards, UINT32_MAX at the end. */
static void chains(u32 *parent, u32 *next, u32 n)
{
    for (u32 i = 0; i < n; i++) next[i] = UINT32_MAX;
    for (u32 i = n; i-- > 0;) {
        u32 r = root_of(parent, i);
        if (r == i) continue;
        next[i] = next[r];
        next[r] = i;
    }
}

/* Rings of each node. */
static void search_rings(search *s)
{
    const atomdl_graph *g = s->g;
    u32 n = (u32)g->nodes;
    memset(s->ring_first, 0, ((size_t)n + 1) * sizeof *s->ring_first);
    memset(s->dopant_ring, 0, (size_t)g->rings);
    for (u32 i = 0; i < (u32)g->rings; i++)
        for (u32 k = 0; k < g->ring[i].size; k++) {
            u32 at = g->corner[g->ring[i].first + k];
            s->ring_first[at]++;
            if (g->flag[at] & ATOMDL_DOPANT) s->dopant_ring[i] = 1;
        }
    for (u32 i = 0; i < n; i++) s->ring_first[i + 1] += s->ring_first[i];
    for (u32 i = (u32)g->rings; i-- > 0;) /* back: ends become starts */
        for (u32 k = 0; k < g->ring[i].size; k++)
            s->ring[--s->ring_first[g->corner[g->ring[i].first + k]]] = i;
}

/* Rings of node i that group `id` has not yet go into its histogram, but for
   those that go around what is no data: they are no lack of atoms. */
static void found_rings(search *s, atomdl_found *f, u32 i, u32 id)
{
    for (u32 k = s->ring_first[i]; k < s->ring_first[i + 1]; k++) {
        u32 r = s->ring[k];
        if (s->ring_mark[r] == id || s->g->ring[r].border > 1) continue;
        s->ring_mark[r] = id;
        f->rings[least_int((int)s->g->ring[r].size, ATOMDL_RING_SIZES - 1)]++;
    }
}

/* The host atoms bonded to a dopant, each once. */
static void found_shell(search *s, atomdl_found *f, u32 i, u32 id)
{
    const atomdl_graph *g = s->g;
    for (u32 k = g->first[i]; k < g->first[i + 1]; k++) {
        u32 j = g->link[k];
        if ((g->flag[j] & ATOMDL_DOPANT) || s->mark[j] == id) continue;
        s->mark[j] = id;
        found_node(f, g, j);
        f->shell++;
    }
}

/* The same kind, where an element of the defect is unknown: those that are
   named after silicon have a twin. */
static u8 without_silicon(u8 kind)
{
    int named = kind >= ATOMDL_FOUND_C3 && kind <= ATOMDL_FOUND_4C6;
    return named ? (u8)(kind + ATOMDL_FOUND_X_C3 - ATOMDL_FOUND_C3) : kind;
}

/* The defect of the dopants chained from `start`. */
static void found_dopants(search *s, u32 start)
{
    const atomdl_graph *g = s->g;
    spread bond = {0}, pair = {0}, angle = {0};
    atomdl_found f = {.z = g->node[start].z};
    int unknown = 0;
    for (u32 i = start; i != UINT32_MAX; i = s->next[i]) {
        found_node(&f, g, i);
        f.dopants++;
        unknown |= !g->node[i].z;
        dopant_measure(g, i, &bond, &pair, &angle, &f.flags);
        found_rings(s, &f, i, start);
    }
    for (u32 i = start; i != UINT32_MAX; i = s->next[i])
        found_shell(s, &f, i, start);
    f.kind = (u8)dopant_kind(f.dopants, f.shell);
    f.bonds = spread_of(&bond, &f.length, &f.length_sd, &f.length_error);
    f.pairs = spread_of(&pair, &f.pair, &f.pair_sd, NULL);
    f.angles = spread_of(&angle, &f.angle, &f.angle_sd, &f.angle_error);
    if (f.dopants == 1) found_single(&f, g, &s->cells);
    if (f.dopants == 3 || f.dopants == 4) found_rotor(&f, g);
    if (unknown) {
        f.kind = without_silicon(f.kind);
        f.counted = without_silicon(f.counted);
        f.site = without_silicon(f.site);
    }
    found_add(s, &f);
}

/* Host atoms that two dopants are both bonded to */
static int bridges(const atomdl_graph *g, u32 a, u32 b)
{
    int n = 0;
    for (u32 k = g->first[a]; k < g->first[a + 1]; k++)
        for (u32 l = g->first[g->link[k]]; l < g->first[g->link[k] + 1]; l++)
            n += !(g->flag[g->link[k]] & ATOMDL_DOPANT) && g->link[l] == b;
    return n;
}

/* Joins dopant i to those across a ring of four: they are a pair, however far
   apart noise has put them. One shared host atom joins nothing (METHOD D.5). */
static void join_bridged(search *s, u32 i)
{
    const atomdl_graph *g = s->g;
    for (u32 k = g->first[i]; k < g->first[i + 1]; k++)
        for (u32 l = g->first[g->link[k]]; l < g->first[g->link[k] + 1]; l++) {
            u32 j = g->link[l];
            if (j > i && (g->flag[j] & ATOMDL_DOPANT) && bridges(g, i, j) > 1)
                join(s->parent, i, j);
        }
}

static void find_dopants(search *s)
{
    const atomdl_graph *g = s->g;
    u32 n = (u32)g->nodes;
    for (u32 i = 0; i < n; i++) s->parent[i] = i;
    memset(s->mark, 255, n * sizeof *s->mark); /* no group */
    memset(s->ring_mark, 255, (size_t)g->rings * sizeof *s->ring_mark);
    for (int k = 0; k < g->bonds; k++)
        if (g->flag[g->bond[k].a] & g->flag[g->bond[k].b] & ATOMDL_DOPANT)
            join(s->parent, g->bond[k].a, g->bond[k].b);
    for (u32 i = 0; i < n && rules_of(g->chemistry)->ring_of_four; i++)
        if (g->flag[i] & ATOMDL_DOPANT) join_bridged(s, i);
    chains(s->parent, s->next, n);
    for (u32 i = 0; i < n; i++)
        if ((g->flag[i] & ATOMDL_DOPANT) && g->node[i].count
            && root_of(s->parent, i) == i)
            found_dopants(s, i);
}

/* ---------- Defects: rings ------------------------------------------------ */

/* Rings other than six that share an atom, by how many there are of each
   size. A row whose rings have another size needs a column, in SIZES too. */
static int cluster_kind(const int rings[ATOMDL_RING_SIZES])
{
    static const u8 TABLE[][8] = { /* of 5, 7, 8, 9, 12, 14, 18; kind */
        {0, 0, 0, 0, 1, 0, 0, ATOMDL_FOUND_V1},
        {1, 0, 0, 1, 0, 0, 0, ATOMDL_FOUND_V1_CLOSED},
        {0, 0, 0, 0, 0, 1, 0, ATOMDL_FOUND_V2_OPEN},
        {2, 0, 1, 0, 0, 0, 0, ATOMDL_FOUND_V2},
        {3, 3, 0, 0, 0, 0, 0, ATOMDL_FOUND_V2_555777},
        {2, 2, 0, 0, 0, 0, 0, ATOMDL_FOUND_STONE_WALES},
        {0, 0, 0, 0, 0, 0, 1, ATOMDL_FOUND_HOLE6},
        {1, 1, 0, 0, 0, 0, 0, ATOMDL_FOUND_PAIR57}};
    static const u8 SIZES[7] = {5, 7, 8, 9, 12, 14, 18};
    int all = 0, known = 0, i;
    for (i = 0; i < ATOMDL_RING_SIZES; i++) all += i == 6 ? 0 : rings[i];
    for (i = 0; i < 7; i++) known += rings[SIZES[i]];
    for (size_t k = 0; k < sizeof TABLE / sizeof *TABLE && known == all; k++) {
        for (i = 0; i < 7 && rings[SIZES[i]] == TABLE[k][i]; i++) {}
        if (i == 7) return TABLE[k][7];
    }
    if (all >= 4 && rings[5] + rings[7] + rings[8] + rings[4] == all
        && rings[5] && rings[7])
        return ATOMDL_FOUND_BOUNDARY;
    return large_ring(rings) ? ATOMDL_FOUND_HOLE : ATOMDL_FOUND_OTHER;
}

/* Whether two rings of seven among those chained share a bond. */
static int sevens_meet(search *s, u32 start)
{
    const atomdl_graph *g = s->g;
    u32 shared = 0, id = (u32)g->nodes + 1 + start;
    for (u32 i = start; i != UINT32_MAX; i = s->next[i])
        for (u32 k = 0; g->ring[i].size == 7 && k < 7; k++) {
            u32 at = g->corner[g->ring[i].first + k];
            if (s->mark[at] == id) shared++;
            s->mark[at] = id;
        }
    return shared == 2;
}

/* The empty column inside of a ring of twelve belongs to the sublattice that
   its neighbours, those with two bonds, do not belong to. */
static int empty_kind(const search *s, const atomdl_ring *r)
{
    const atomdl_graph *g = s->g;
    int votes = 0;
    for (u32 k = 0; k < r->size; k++) {
        u32 at = g->corner[r->first + k];
        if (g->first[at + 1] - g->first[at] != 2) continue;
        votes += (s->sublattice[at] == 1) - (s->sublattice[at] == 0);
    }
    return votes > 0   ? ATOMDL_FOUND_VM
           : votes < 0 ? g->chemistry->count[1] == 2 ? ATOMDL_FOUND_VX2
                                                     : ATOMDL_FOUND_VX1
                       : ATOMDL_FOUND_V1;
}

/* The defect of the rings chained from `start`: place by area, name by the
   sizes of its rings. */
static void found_cluster(search *s, u32 start)
{
    const atomdl_graph *g = s->g;
    double area = 0;
    atomdl_found f = {.confidence = 1e300};
    for (u32 i = start; i != UINT32_MAX; i = s->next[i]) {
        const atomdl_ring *r = &g->ring[i];
        f.rings[least_int((int)r->size, ATOMDL_RING_SIZES - 1)]++;
        area += r->area;
        f.x += (r->x - f.x) * r->area / area;
        f.y += (r->y - f.y) * r->area / area;
        if (r->border) f.flags |= ATOMDL_AT_BORDER;
        for (u32 k = 0; k < r->size; k++)
            f.confidence = least(f.confidence,
                                 g->node[g->corner[r->first + k]].score);
    }
    f.kind = (u8)cluster_kind(f.rings);
    if (f.kind == ATOMDL_FOUND_STONE_WALES && !sevens_meet(s, start))
        f.kind = ATOMDL_FOUND_BOUNDARY;
    if (f.kind == ATOMDL_FOUND_V1 && of_two_elements(g->chemistry))
        f.kind = (u8)empty_kind(s, &g->ring[start]);
    found_add(s, &f);
}

/* Joins rings other than six, without dopants, that share a node. */
static void find_clusters(search *s)
{
    const atomdl_graph *g = s->g;
    u32 n = (u32)g->rings;
    for (u32 i = 0; i < n; i++) s->parent[i] = i;
    for (u32 i = 0; i < (u32)g->nodes; i++) {
        u32 earlier = n;
        for (u32 k = s->ring_first[i]; k < s->ring_first[i + 1]; k++) {
            u32 r = s->ring[k];
            if (g->ring[r].size == 6 || s->dopant_ring[r]) continue;
            if (earlier < n) join(s->parent, earlier, r);
            earlier = r;
        }
    }
    chains(s->parent, s->next, n);
    for (u32 i = 0; i < n; i++)
        if (root_of(s->parent, i) == i && g->ring[i].size != 6
            && !s->dopant_ring[i] && g->ring[i].border < 2)
            found_cluster(s, i);
}

/* ---------- Defects: columns ---------------------------------------------- */

/* A node's vote and what it could be at most. */
typedef struct {
    int32_t vote, all;
} ballot;

enum { VOTE_ROUNDS = 6 };

/* What the node itself says, and the contrary of what its neighbours say. */
static ballot count_ballots(const ballot *of, const atomdl_graph *g, int i)
{
    const atomdl_chemistry *c = g->chemistry;
    int z = g->node[i].z;
    ballot b = {(z == c->host[0]) - (z == c->host[1]), 1};
    for (u32 k = g->first[i]; k < g->first[i + 1]; k++) {
        b.vote -= of[g->link[k]].vote;
        b.all += of[g->link[k]].all;
    }
    return b;
}

int atomdl_sublattice(u8 *sublattice, const atomdl_graph *g,
                      atomdl_arena *arena)
{
    size_t used = arena->used, n = (size_t)g->nodes;
    ballot *now = atomdl_alloc(arena, n, sizeof *now);
    ballot *before = atomdl_alloc(arena, n, sizeof *before);
    int status = atomdl_arena_status(arena);
    if (!of_two_elements(g->chemistry)) status = ATOMDL_EARG;
    if (scratch_only(&status, arena, used)) return status;
    memset(now, 0, n * sizeof *now);
    for (int round = 0; round <= VOTE_ROUNDS; round++) {
        memcpy(before, now, n * sizeof *now);
        for (int i = 0; i < g->nodes; i++)
            now[i] = count_ballots(before, g, i);
    }
    for (size_t i = 0; i < n; i++) {
        int bonded = g->first[i + 1] > g->first[i];
        int sure = bonded && 2 * absolute(now[i].vote) > now[i].all;
        sublattice[i] = sure ? now[i].vote < 0 : 255;
    }
    for (int i = 0; i < g->rings; i++)
        for (u32 k = 0; g->ring[i].size % 2 && k < g->ring[i].size; k++)
            sublattice[g->corner[g->ring[i].first + k]] = 255;
    return ATOMDL_OK;
}

/* The sublattice of a node without bonds: not that of the columns around. */
static int sublattice_around(const search *s, u32 i)
{
    const atomdl_node *p = &s->g->node[i];
    double reach = longest_bond(s->g->chemistry);
    int votes = 0;
    for (cell_walk w = walk_start(&s->cells, p->x, p->y, reach);
         walk_next(&w);)
        if (w.at != i && apart(p, &s->g->node[w.at]) <= reach)
            votes += (s->sublattice[w.at] == 0) - (s->sublattice[w.at] == 1);
    return votes > 0 ? 1 : votes < 0 ? 0 : 255;
}

/* What a column is on its sublattice; OTHER: as it should be. */
static int column_kind(const atomdl_chemistry *c, const atomdl_node *p,
                       int sublattice)
{
    int metal = sublattice == 0, host = metal ? c->host[0] : c->host[1];
    int other = metal ? c->host[1] : c->host[0], full = c->count[!metal];
    if (sublattice == 255) return ATOMDL_FOUND_OTHER;
    if (!p->count)
        return metal ? ATOMDL_FOUND_VM
               : full == 2 ? ATOMDL_FOUND_VX2 : ATOMDL_FOUND_VX1;
    if (p->z == host)
        return p->count < full ? ATOMDL_FOUND_VX1 : ATOMDL_FOUND_OTHER;
    if (p->z != other) return metal ? ATOMDL_FOUND_SUB_M : ATOMDL_FOUND_SUB_X;
    if (metal) return p->count == 1 ? ATOMDL_FOUND_X_M : ATOMDL_FOUND_X2_M;
    return p->count == 1 && full == 2 ? ATOMDL_FOUND_M_X2 : ATOMDL_FOUND_M_X;
}

/* Drops the empty sites found by rings where a node says the same. */
static void forget_doubles(search *s, int from)
{
    double reach = 0.3 * s->g->chemistry->a;
    int kept = from;
    if (s->count > s->max) return;
    for (int i = from; i < s->count; i++) {
        const atomdl_found *f = &s->found[i];
        int same = 0;
        for (cell_walk w = walk_start(&s->cells, f->x, f->y, reach);
             walk_next(&w);) {
            const atomdl_node *p = &s->g->node[w.at];
            same |= !p->count && in_disc(p->x - f->x, p->y - f->y, reach);
        }
        if (!same) s->found[kept++] = *f;
    }
    s->count = kept;
}

/* 1: no column is as it should be, so that the nodes are those of a network
   that looks for vacancies of chalcogens alone (paper 004's). */
static int vacancies_alone(const atomdl_graph *g)
{
    const atomdl_chemistry *c = g->chemistry;
    if (c->count[1] != 2) return 0; /* no dichalcogenide */
    for (u32 i = 0; i < (u32)g->nodes; i++) {
        const atomdl_node *p = &g->node[i];
        if (p->count && (p->z != c->host[1] || p->count >= c->count[1]))
            return 0;
    }
    return 1;
}

/* Named by sublattice; what is as it should be has no name. */
static void find_columns(search *s)
{
    const atomdl_graph *g = s->g;
    int columns = of_two_elements(g->chemistry);
    int alone = columns && vacancies_alone(g);
    for (u32 i = 0; i < (u32)g->nodes; i++) {
        const atomdl_node *p = &g->node[i];
        atomdl_found f = {.z = p->z};
        int where = columns ? s->sublattice[i] : 255;
        int cut = p->count && g->flag[i] & ATOMDL_NEAR_BORDER;
        int bare = g->first[i] == g->first[i + 1];
        if (columns && bare && !cut) where = sublattice_around(s, i);
        if (alone) where = 1;
        f.kind = (u8)column_kind(g->chemistry, p, where);
        if (!columns && !p->count) f.kind = ATOMDL_FOUND_VACANCY;
        if (f.kind == ATOMDL_FOUND_OTHER) continue;
        found_node(&f, g, i);
        f.dopants = p->count > 0;
        found_add(s, &f);
    }
}

static int search_new(search *s, atomdl_arena *arena)
{
    const atomdl_graph *g = s->g;
    size_t n = (size_t)g->nodes, rings = 2 * ATOMDL_VALENCE * n / 6 + 1;
    size_t both = n > rings ? n : rings;
    s->parent = atomdl_alloc(arena, both, sizeof *s->parent);
    s->next = atomdl_alloc(arena, both, sizeof *s->next);
    s->mark = atomdl_alloc(arena, n, sizeof *s->mark);
    s->ring_mark = atomdl_alloc(arena, rings, sizeof *s->ring_mark);
    s->ring_first = atomdl_alloc(arena, n + 1, sizeof *s->ring_first);
    s->ring = atomdl_alloc(arena, ATOMDL_VALENCE * n, sizeof *s->ring);
    s->dopant_ring = atomdl_alloc(arena, rings, 1);
    s->sublattice = atomdl_alloc(arena, n, 1);
    return cells_new(&s->cells, g->node, sizeof *g->node, g->nodes,
                     2 * longest_bond(g->chemistry), arena);
}

int atomdl_found_list(atomdl_found *found, int *count, int max,
                      const atomdl_graph *g, atomdl_arena *arena)
{
    size_t used = arena->used;
    int columns = of_two_elements(g->chemistry);
    *count = 0;
    if (max < 0) return ATOMDL_EARG;
    search s = {.g = g, .found = found, .max = max};
    int status = search_new(&s, arena);
    if (status == ATOMDL_OK && columns)
        status = atomdl_sublattice(s.sublattice, g, arena);
    if (scratch_only(&status, arena, used)) return status;
    search_rings(&s);
    if (!columns) find_dopants(&s);
    int rings = s.count;
    find_clusters(&s);
    forget_doubles(&s, rings);
    find_columns(&s);
    *count = s.count;
    return s.count > max ? ATOMDL_ESHAPE : ATOMDL_OK;
}

/* ---------- Sampling ------------------------------------------------------ */

enum { CROP = 512, REFLECTIONS = 48, ORDERS = 9, RING_STEP = 4,
       STANDS_OUT = 99 }; /* times the background: beyond doubt */

/* A peak of the spectrum, in cycles a pixel; height over its background, at
   most STANDS_OUT. */
typedef struct {
    double x, y, height, power;
} reflection;

typedef struct {
    int w, h, bins;
    float *power;      /* (h, bins) |F|^2 */
    uint16_t *ring;    /* (h, bins) number of the ring of a bin */
    int rings;
    double *mean;      /* (rings) twice */
    u32 *count;        /* (rings) */
    reflection list[REFLECTIONS]; /* falling in power */
    int n;
} spectrum;

static double bin_frequency(int i, int n)
{
    return (double)(i > n / 2 ? i - n : i) / n;
}

/* Ring of a bin: steps of 4 bins of the smaller side. */
static int ring_of(const spectrum *s, int i, int j)
{
    double k = length(bin_frequency(i, s->w), bin_frequency(j, s->h));
    return (int)(k * least_int(s->w, s->h) / RING_STEP);
}

/* x <- the middle of the plane, its darkest and brightest 5 % cut off lest
   single heavy atoms speak louder than the lattice, less its mean, under a
   sine window (a narrower one would show little but the defect in the middle
   of a small image) */
static void spectrum_window(float *x, const spectrum *s, const plane_of *p)
{
    int x0 = (p->w - s->w) / 2, y0 = (p->h - s->h) / 2;
    size_t n = (size_t)s->w * (size_t)s->h;
    double mean = 0;
    for (int j = 0; j < s->h; j++)
        memcpy(x + (ptrdiff_t)j * s->w, plane_row(p, y0 + j) + x0,
               (size_t)s->w * sizeof *x);
    double low = (double)atomdl_percentile(x, n, 0.05);
    double high = (double)atomdl_percentile(x, n, 0.95);
    for (size_t k = 0; k < n; k++) mean += most(low, least(high, (double)x[k]));
    mean /= (double)n;
    for (int j = 0; j < s->h; j++) {
        double wy = atomdl_sin(PI * (j + 0.5) / s->h);
        for (int i = 0; i < s->w; i++) {
            float *v = &x[(ptrdiff_t)j * s->w + i];
            *v = (float)(wy * (most(low, least(high, (double)*v)) - mean));
        }
    }
    for (int i = 0; i < s->w; i++) {
        double wx = atomdl_sin(PI * (i + 0.5) / s->w);
        for (size_t k = (size_t)i; k < n; k += (size_t)s->w)
            x[k] = (float)(wx * (double)x[k]);
    }
}

/* power <- |F|^2, mean <- its mean in each ring without the bins that are more
   than four times above it. */
static void spectrum_power(spectrum *s, const float *re, const float *im)
{
    double *mean = s->mean, *next = s->mean + s->rings;
    size_t n = (size_t)s->h * (size_t)s->bins, bins = (size_t)s->bins;
    for (size_t k = 0; k < n; k++) {
        s->ring[k] = (uint16_t)ring_of(s, (int)(k % bins), (int)(k / bins));
        s->power[k] = re[k] * re[k] + im[k] * im[k];
    }
    for (int i = 0; i < s->rings; i++) mean[i] = 1e300;
    for (int pass = 0; pass < 6; pass++) {
        for (int i = 0; i < s->rings; i++) next[i] = s->count[i] = 0;
        for (size_t k = 0; k < n; k++) {
            int r = s->ring[k];
            if ((double)s->power[k] > 4 * mean[r]) continue;
            next[r] += (double)s->power[k];
            s->count[r]++;
        }
        for (int i = 0; i < s->rings; i++)
            if (s->count[i]) mean[i] = next[i] / s->count[i];
    }
}

static double power_at(const spectrum *s, int i, int j)
{
    if (i < 0) { /* the other half, by symmetry */
        i = -i;
        j = -j;
    }
    j = (j % s->h + s->h) % s->h;
    return i < s->bins ? (double)s->power[(ptrdiff_t)j * s->bins + i] : 0;
}

static int power_top(const spectrum *s, int i, int j)
{
    double v = power_at(s, i, j);
    for (int k = -2; k <= 2; k++)
        for (int l = -2; l <= 2; l++)
            if (power_at(s, i + k, j + l) > v) return 0;
    return 1;
}

/* The peak at a bin to a fraction of it: parabola of the logarithm. */
static reflection power_peak(const spectrum *s, int i, int j)
{
    double v[5] = {power_at(s, i, j), power_at(s, i - 1, j),
                   power_at(s, i + 1, j), power_at(s, i, j - 1),
                   power_at(s, i, j + 1)};
    double mean = s->mean[s->ring[j * s->bins + i]];
    reflection r = {.power = v[0], .height = least(STANDS_OUT, v[0] / mean)};
    for (int k = 0; k < 5; k++) v[k] = atomdl_log(most(v[k], 1e-30));
    r.x = (i + parabola(v[1], v[0], v[2])) / s->w;
    r.y = ((j > s->h / 2 ? j - s->h : j) + parabola(v[3], v[0], v[4])) / s->h;
    return r;
}

/* Peaks between frequencies lo and hi that stand out, the strongest ones. */
static void spectrum_peaks(spectrum *s, double lo, double hi)
{
    s->n = 0;
    int k;
    for (int j = 0; j < s->h; j++)
        for (int i = 0; i < s->bins; i++) {
            double f = length(bin_frequency(i, s->w), bin_frequency(j, s->h));
            if (f < lo || f > hi || (i == 0 && j > s->h / 2)
                || !(power_at(s, i, j)
                     > 9 * s->mean[s->ring[j * s->bins + i]])
                || !power_top(s, i, j))
                continue;
            reflection r = power_peak(s, i, j);
            if (s->n == REFLECTIONS && !(r.power > s->list[s->n - 1].power))
                continue;
            for (k = least_int(s->n, REFLECTIONS - 1);
                 k > 0 && s->list[k - 1].power < r.power; k--)
                s->list[k] = s->list[k - 1];
            s->list[k] = r;
            if (s->n < REFLECTIONS) s->n++;
        }
}

/* The 18 nearest points of a hexagonal lattice but for their sign: three at
   distance 1, three at sqrt 3, three at 2. */
static const signed char ORDER[ORDERS][2] = {
    {1, 0}, {0, 1}, {1, -1}, {1, 1}, {2, -1}, {1, -2}, {2, 0}, {0, 2}, {2, -2}};

/* The nearest peak to where basis g has order k, either sign, within reach;
   NULL: none. *sign tells which. */
static const reflection *peak_of(const spectrum *s, double g[2][2], int k,
                                 double reach, double *sign)
{
    int a = ORDER[k][0], b = ORDER[k][1];
    double x = a * g[0][0] + b * g[1][0], y = a * g[0][1] + b * g[1][1];
    const reflection *best = NULL;
    double d2 = reach * reach;
    for (int i = 0; i < s->n; i++)
        for (int way = -1; way <= 1; way += 2) {
            double dx = way * s->list[i].x - x, dy = way * s->list[i].y - y;
            if (dx * dx + dy * dy > d2) continue;
            d2 = dx * dx + dy * dy;
            best = &s->list[i];
            *sign = way;
        }
    return best;
}

/* How well a basis explains the peaks: logarithms of heights, the first orders
   double and with half that of their power; 0 when one of these is missing.
   *seen counts orders. */
static double basis_score(const spectrum *s, double g[2][2], double reach,
                          int *seen)
{
    double score = 0, weakest = s->n ? s->list[s->n - 1].power : 0, sign;
    *seen = 0;
    for (int k = 0; k < ORDERS; k++) {
        const reflection *r = peak_of(s, g, k, reach, &sign);
        if (!r && k < 3) return 0;
        if (!r) continue;
        score += (k < 3 ? 2 : 1) * atomdl_log(r->height);
        if (k < 3) score += 0.5 * atomdl_log(r->power / weakest);
        ++*seen;
    }
    return score;
}

/* Least squares of the basis to the peaks of so many orders. */
static void basis_fit(const spectrum *s, double g[2][2], int orders,
                      double reach)
{
    double a[4] = {0}, b[4] = {0}, sign = 1;
    for (int k = 0; k < orders; k++) {
        double m[2] = {ORDER[k][0], ORDER[k][1]};
        const reflection *r = peak_of(s, g, k, reach, &sign);
        if (!r) continue;
        for (int i = 0; i < 2; i++) {
            double weight = r->height;
            for (int j = 0; j < 2; j++) a[i * 2 + j] += weight * m[i] * m[j];
            b[i * 2] += weight * m[i] * sign * r->x;
            b[i * 2 + 1] += weight * m[i] * sign * r->y;
        }
    }
    if (solve(a, b, 2, 2)) memcpy(g, b, sizeof b);
}

/* The best basis among pairs of peaks; 0: none. Its vectors are 60 degrees
   apart, to within 12, and alike to within a quarter. */
static double basis_find(const spectrum *s, double g[2][2], double lo,
                         double hi, double reach)
{
    double best = 0;
    int seen;
    for (int i = 0; i < s->n; i++)
        for (int j = 0; j < s->n; j++)
            for (int k = -1; k <= 1; k += 2) {
                if (i == j) continue;
                double b[2][2] = {{s->list[i].x, s->list[i].y},
                                  {k * s->list[j].x, k * s->list[j].y}};
                double p = length(b[0][0], b[0][1]);
                double q = length(b[1][0], b[1][1]);
                double c = (b[0][0] * b[1][0] + b[0][1] * b[1][1]) / (p * q);
                if (b[0][0] * b[1][1] < b[0][1] * b[1][0] || c < 0.3 || c > 0.67
                    || p > 1.25 * q || q > 1.25 * p || p < 0.85 * lo
                    || p > 1.15 * hi)
                    continue;
                double score = basis_score(s, b, reach, &seen);
                if (score > best) {
                    best = score;
                    memcpy(g, b, sizeof b);
                }
            }
    return best;
}

/* What the basis means with first reflections of length q [1/A]: the map from
   pixels to A is M = R S with any rotation R; S^2 = M^T M, M^T = G Q^-1. */
static void sampling_fill(atomdl_sampling *out, double g[2][2], double q)
{
    /* columns of Q: q (1, 0) and q (1/2, sqrt 3/2) */
    double m[4], root = 0.5 * ROOT3;
    m[0] = g[0][0] / q; /* rows x, y of M^T */
    m[2] = g[0][1] / q;
    m[1] = (g[1][0] / q - 0.5 * m[0]) / root;
    m[3] = (g[1][1] / q - 0.5 * m[2]) / root;
    out->x = length(m[0], m[1]);
    out->y = length(m[2], m[3]);
    out->pixel = atomdl_sqrt(absolute(m[0] * m[3] - m[1] * m[2]));
    out->shear = arc_cosine((m[0] * m[2] + m[1] * m[3]) / (out->x * out->y))
                 - PI / 2;
    out->angle = atomdl_atan2(g[0][1], g[0][0]);
    while (out->angle < 0) out->angle += PI / 3;
    while (out->angle >= PI / 3) out->angle -= PI / 3;
    memcpy(out->g, g, sizeof out->g);
}

/* From the spectrum to the lattice, and how sure that is. */
static int sampling_solve(atomdl_sampling *out, spectrum *s, double a,
                          double lo, double hi)
{
    double q = 2 / (ROOT3 * a);
    int side = least_int(s->w, s->h);
    double reach = 2.0 / side, f0 = most(lo * q, 4.0 / side);
    double f1 = hi > 0 ? least(hi * q, 0.5) : 0.5;
    double g[2][2], sign;
    int seen;
    spectrum_peaks(s, 0.85 * f0, 0.5);
    if (!(basis_find(s, g, f0, f1, reach) > 0)) return ATOMDL_EMISSING;
    basis_fit(s, g, 3, reach);
    basis_fit(s, g, ORDERS, 0.4 * reach);
    if (!(basis_score(s, g, reach, &seen) > 0)) return ATOMDL_EMISSING;
    sampling_fill(out, g, q);
    out->reflections = 2 * seen;
    out->strength = 1e300;
    for (int k = 0; k < 3; k++) {
        const reflection *r = peak_of(s, g, k, reach, &sign);
        if (r) out->strength = least(out->strength, r->height);
    }
    /* noise alone reaches 9 + 3 somewhere; each further order says more */
    out->confidence = 1 - 1 / (1 + most(0, out->strength - 9) / 8
                               + (seen - 3) / 2.0);
    return ATOMDL_OK;
}

/* The greatest product of 2, 3 and 5 that is not above n. */
static int fft_below(int n)
{
    while (n > 1 && atomdl_fft_size(n) != n) n--;
    return n;
}

int atomdl_sampling_find(atomdl_sampling *out, const atomdl_image *image,
                         int plane, double a, double lo, double hi,
                         atomdl_arena *arena)
{
    size_t used = arena->used;
    memset(out, 0, sizeof *out);
    plane_of p;
    if (plane_bad(&p, image, plane) || !(a > 0.1) || !(a < 1e3) || !(lo >= 0)
        || !(hi >= 0) || !(hi < 1e3))
        return ATOMDL_EARG;
    if (p.w < 32 || p.h < 32) return ATOMDL_EMISSING;
    int w = fft_below(least_int(p.w, CROP));
    int h = fft_below(least_int(p.h, CROP));
    spectrum s = {.w = w, .h = h, .bins = w / 2 + 1};
    size_t n = (size_t)s.h * (size_t)s.bins;
    s.rings = least_int(s.w, s.h) * 3 / (4 * RING_STEP) + 1; /* > sqrt 1/2 */
    float *x = atomdl_alloc(arena, (size_t)s.w * (size_t)s.h, sizeof *x);
    float *re = atomdl_alloc(arena, n, sizeof *re);
    float *im = atomdl_alloc(arena, n, sizeof *im);
    s.mean = atomdl_alloc(arena, 2 * (size_t)s.rings, sizeof *s.mean);
    s.ring = atomdl_alloc(arena, n, sizeof *s.ring);
    s.count = atomdl_alloc(arena, (size_t)s.rings, sizeof *s.count);
    s.power = x; /* bins <= w: the spectrum may lie where the image lay */
    int status = atomdl_arena_status(arena);
    if (status == ATOMDL_OK && arena->base) status = atomdl_image_check(image);
    if (status == ATOMDL_OK && arena->base) spectrum_window(x, &s, &p);
    if (status == ATOMDL_OK)
        status = atomdl_fft_real(&(atomdl_bins){re, im, s.bins}, x, s.w, s.w,
                                 s.h, arena);
    if (scratch_only(&status, arena, used)) return status;
    spectrum_power(&s, re, im);
    return sampling_solve(out, &s, a, lo, hi);
}

/* ---------- No data -------------------------------------------------------

   Programs that align, rotate or mask images fill what they do not know with
   one value or NaN. METHOD D.8. */

enum { DATA, NO_DATA, EDGE_CORNER, SOLID_CORNER, SOLID }; /* a pixel */
enum { SWEEPS = 64, MIRROR = 64 };
enum { EDGE_SQUARE = 6 }; /* least side of a square at the border */
#define BY_CHANCE 28 /* -log of the odds that as many pixels are equal */

typedef struct { /* of the finite pixels */
    float least, second, last, greatest; /* distinct values, from each end */
    size_t n, low, high;                 /* all, those at each end */
} value_range;

static value_range range_of(const float *px, const u8 *blank, size_t n)
{
    value_range r = {.n = 0};
    for (size_t i = 0; i < n; i++) {
        if (blank[i]) continue;
        if (!r.n++) r.least = r.greatest = px[i];
        if (px[i] < r.least) r.least = px[i];
        if (px[i] > r.greatest) r.greatest = px[i];
    }
    r.second = r.greatest;
    r.last = r.least;
    for (size_t i = 0; i < n; i++) {
        if (blank[i]) continue;
        r.low += px[i] == r.least;
        r.high += px[i] == r.greatest;
        if (px[i] > r.least && px[i] < r.second) r.second = px[i];
        if (px[i] < r.greatest && px[i] > r.last) r.last = px[i];
    }
    return r;
}

/* A value of several pixels that is more than twice as far from all others as
   those are from one another is none: -9999. */
static void mark_sentinels(u8 *blank, const float *px, size_t n)
{
    value_range r = range_of(px, blank, n);
    double least = (double)r.least, second = (double)r.second;
    double last = (double)r.last, greatest = (double)r.greatest;
    int low = r.low > 1 && second < greatest
              && second - least > 2 * (greatest - second);
    int high = r.high > 1 && last > least
               && greatest - last > 2 * (last - least);
    for (size_t i = 0; i < n && (low || high); i++)
        if ((low && px[i] == r.least) || (high && px[i] == r.greatest))
            blank[i] = NO_DATA;
}

/* Whether n equal pixels are no chance: at either end of the range counts are
   few, or cut off. */
static int is_no_chance(const value_range *r, float v, size_t n)
{
    size_t as_this = v == r->least ? r->low : v == r->greatest ? r->high : 0;
    return (double)n * (1 - (double)as_this / (double)r->n) > BY_CHANCE;
}

/* The side of the least square of v, `side` at least, that is no chance. */
static u32 least_square(const value_range *r, float v, u32 side)
{
    while (side < ATOMDL_IMAGE_MAX && !is_no_chance(r, v, (size_t)side * side))
        side++;
    return side;
}

typedef struct { /* the search for squares of equal pixels */
    u32 side[2][3]; /* within, at the border: of the least value, of the
                       greatest, of any other */
    u32 *column;  /* (w) side of the square that ends in the row before; then
                     rows that are still to be marked */
    value_range range;
} squares;

static u32 square_side(const squares *s, float v, int border)
{
    int of = v == s->range.least ? 0 : v == s->range.greatest ? 1 : 2;
    return s->side[border][of];
}

/* Marks the last corners of squares. At the border, where turned images have
   wedges, they may be smaller. */
static void mark_corners(u8 *blank, const atomdl_image *m, squares *s)
{
    size_t w = (size_t)m->w;
    const float *px = m->px;
    memset(s->column, 0, w * sizeof *s->column);
    for (size_t y = 0; y < (size_t)m->h; y++, px += w, blank += w) {
        u32 corner = 0;
        for (size_t x = 0; x < w; x++) {
            u32 above = s->column[x], n = 0;
            if (x && y && px[x] == px[x - 1] && px[x] == *(px + x - w)
                && px[x] == *(px + x - w - 1)) {
                n = above < s->column[x - 1] ? above : s->column[x - 1];
                n = n < corner ? n : corner;
            }
            corner = above;
            s->column[x] = n + 1;
            int border = x == n || y == n || x == w - 1
                         || y == (size_t)m->h - 1;
            if (blank[x] || n + 1 < square_side(s, px[x], border)) continue;
            blank[x] = n + 1 < square_side(s, px[x], 0) ? EDGE_CORNER
                                                        : SOLID_CORNER;
        }
    }
}

/* Marks squares from their last corners: each row backwards, upwards. */
static void mark_squares(u8 *blank, const atomdl_image *m, squares *s)
{
    size_t w = (size_t)m->w;
    memset(s->column, 0, w * sizeof *s->column);
    for (size_t y = (size_t)m->h; y-- > 0;) {
        u32 left = 0, side = 0;
        for (size_t x = w; x-- > 0;) {
            size_t i = y * w + x;
            if (blank[i] == SOLID_CORNER || (blank[i] == EDGE_CORNER && !left))
                left = side = square_side(s, m->px[i],
                                          blank[i] == EDGE_CORNER);
            if (left && s->column[x] < side) s->column[x] = side;
            if (s->column[x]) blank[i] = SOLID;
            left -= left > 0;
            s->column[x] -= s->column[x] > 0;
        }
    }
}

typedef struct { /* n pixels, `step` apart */
    u8 *blank;
    const float *px;
    size_t step, n;
} pixel_line;

/* Marks the first pixel of a line if all are equal. */
static void mark_line(pixel_line l, const value_range *r)
{
    for (size_t i = 1; i < l.n; i++)
        if (l.px[i * l.step] != l.px[0]) return;
    if (!l.blank[0] && is_no_chance(r, l.px[0], l.n)) l.blank[0] = SOLID;
}

/* Patches spread along runs of their value that are no chance; 1: any did. */
static int spread_along(pixel_line l, const value_range *r)
{
    int moved = 0;
    for (size_t i = 0, end; i < l.n; i = end) {
        float v = l.px[i * l.step];
        size_t marked = 0;
        for (end = i; end < l.n && l.px[end * l.step] == v; end++)
            marked += l.blank[end * l.step] == SOLID;
        if (end == i) end++; /* NaN */
        if (!marked || marked == end - i || !is_no_chance(r, v, end - i))
            continue;
        for (; i < end; i++) l.blank[i * l.step] = SOLID;
        moved = 1;
    }
    return moved;
}

/* Until nothing changes; a labyrinth stays unfinished. */
static void spread_patches(u8 *blank, const atomdl_image *m,
                           const value_range *r)
{
    size_t w = (size_t)m->w, h = (size_t)m->h, n = w * h;
    int moved = 0;
    for (size_t i = 0; i < n && !moved; i++) moved = blank[i] == SOLID;
    for (int sweep = 0; sweep < SWEEPS && moved; sweep++) {
        moved = 0;
        for (size_t i = 0; i < n; i += w)
            moved |= spread_along((pixel_line){blank + i, m->px + i, 1, w}, r);
        for (size_t i = 0; i < w; i++)
            moved |= spread_along((pixel_line){blank + i, m->px + i, w, h}, r);
    }
}

/* Marks patches, and borders. */
static void mark_patches(u8 *blank, const atomdl_image *m, squares *s)
{
    size_t w = (size_t)m->w, h = (size_t)m->h, last = (h - 1) * w;
    const value_range *r = &s->range;
    const float *px = m->px;
    mark_corners(blank, m, s);
    mark_squares(blank, m, s);
    mark_line((pixel_line){blank, px, 1, w}, r);
    mark_line((pixel_line){blank + last, px + last, 1, w}, r);
    mark_line((pixel_line){blank, px, w, h}, r);
    mark_line((pixel_line){blank + w - 1, px + w - 1, w, h}, r);
    spread_patches(blank, m, r);
}

/* What pixel (x, y) would be if the data were mirrored at the nearest of them
   along its row or column; none within reach: the mean. */
static float mirrored(const atomdl_image *m, const u8 *blank, int x, int y,
                      double mean)
{
    static const int WAY[4][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}};
    for (int d = 1; d <= MIRROR; d++)
        for (int k = 0; k < 4; k++) {
            int u = x + d * WAY[k][0], v = y + d * WAY[k][1];
            if (u < 0 || v < 0 || u >= m->w || v >= m->h) continue;
            size_t i = (size_t)v * (size_t)m->w + (size_t)u;
            if (blank[i]) continue;
            u += (d - 1) * WAY[k][0];
            v += (d - 1) * WAY[k][1];
            size_t j = (size_t)v * (size_t)m->w + (size_t)u;
            int in = u >= 0 && v >= 0 && u < m->w && v < m->h && !blank[j];
            return m->px[in ? j : i];
        }
    return (float)mean;
}

/* Writes over what is no data; how much that is. */
static size_t fill_blank(atomdl_image *m, const u8 *blank)
{
    size_t n = (size_t)m->w * (size_t)m->h, data = 0;
    double mean = 0;
    for (size_t i = 0; i < n; i++) {
        if (blank[i]) continue;
        mean += (double)m->px[i];
        data++;
    }
    if (data == n || !data) return n - data;
    mean /= (double)data;
    for (int y = 0; y < m->h; y++)
        for (int x = 0; x < m->w; x++) {
            size_t i = (size_t)y * (size_t)m->w + (size_t)x;
            if (blank[i]) m->px[i] = mirrored(m, blank, x, y, mean);
        }
    return n - data;
}

int atomdl_image_blank(u8 *blank, size_t *count, atomdl_image *image, int side,
                       atomdl_arena *arena)
{
    size_t used = arena->used, n = (size_t)image->w * (size_t)image->h;
    int status;
    *count = 0;
    if (side < 2 || image->w < 1 || image->h < 1 || image->w > ATOMDL_IMAGE_MAX
        || image->h > ATOMDL_IMAGE_MAX || (arena->base && !image->px))
        return ATOMDL_EARG;
    squares s = {.column = NULL};
    s.column = atomdl_alloc(arena, (size_t)image->w, sizeof *s.column);
    status = atomdl_arena_status(arena);
    arena->used = used;
    if (status || !arena->base) return status;
    for (size_t i = 0; i < n; i++)
        blank[i] = is_finite((double)image->px[i]) ? DATA : NO_DATA;
    mark_sentinels(blank, image->px, n);
    s.range = range_of(image->px, blank, n);
    if (!s.range.n) return ATOMDL_ENAN;
    for (int k = 0; k < 2; k++) {
        u32 least = (u32)(k ? side / 2 > EDGE_SQUARE ? side / 2 : EDGE_SQUARE
                            : side);
        s.side[k][0] = least_square(&s.range, s.range.least, least);
        s.side[k][1] = least_square(&s.range, s.range.greatest, least);
        s.side[k][2] = least;
    }
    mark_patches(blank, image, &s);
    *count = fill_blank(image, blank);
    return ATOMDL_OK;
}

/* ---------- Notes --------------------------------------------------------- */

#ifndef ATOMDL_NO_TEXT
static const char *const NOTE_TEXT[ATOMDL_NOTES] = {
    "",
    "not a whole weight file",
    "no network or pixel size in its metadata",
    "its network makes no sense here",
    "written for numerics %.0f, this program has %.0f",
    "tensor '%s' is missing or malformed",
    "class '%s' is neither an element nor a known name",
    "names %.0f classes, but its network has %.0f",
    "%.0f x %.0f pixels are too few (%.2f x %.2f A)",
    "every pixel has the same value, there is nothing to find",
    "at %.4g A a pixel no atoms can be told apart; is the pixel size "
    "right?",
    "at %.4g A a pixel it would need %.0f x %.0f pixels; is the pixel "
    "size right?",
    "%.0f %% of the pixels are saturated; their atoms may be wrong",
    "%.0f %% of the pixels were cut off at the least value: the zero that "
    "this network needs is not in the file, do not trust its answer",
    "coarser than the network was trained for",
    "too few columns for their intensity",
    "too noisy to tell one chalcogen from two by intensity: no single "
    "vacancies are named",
    "no atoms found; is the pixel size right?",
    "the lattice says %.4f A a pixel, the %s %.4f A: a difference of "
    "%.1f %%",
    "the lattice is distorted: axes x : y = %.3f, sheared by %.1f degrees",
    "%.2f %% of the pixels are no data (one value, or not finite); nothing "
    "is looked for there",
    "only %.0f atoms inside: too few to tell whether the image shows the "
    "material",
    "the sublattices are nearly as bright as one another (1 to %.2f): "
    "which is which may be wrong",
    "dopants without the signal of what the network takes them for: %.0f "
    "are of unknown elements, about Z = %.0f to %.0f",
    "another chalcogen? %.0f of the single vacancies are too bright for one "
    "atom, %.0f columns brighter than a pair may hold it or be metal",
    "%.0f atoms where the field would hold %.0f",
    "no such lattice: order times score is %.2f, %.2f the least",
    "%.0f %% of the rings are of six, %.0f the least",
    "its bonds are stretched along one axis by %.2f, %.2f the most",
    "atoms are darker than what lies between them",
    "columns stand in the hollow sites: more than one layer?",
    "the sublattices' signals are as 1 to %.2f, expected is %.2f to %.2f",
    "its lattice would be at %.4f A a pixel, not %.4f"
};
#endif

const char *atomdl_note_text(int code)
{
#ifndef ATOMDL_NO_TEXT
    if (code > 0 && code < ATOMDL_NOTES) return NOTE_TEXT[code];
#endif
    (void)code;
    return "";
}

/* ---------- A network and its classes ------------------------------------- */

/* "Si", "S2": of one element; 0: neither */
static int class_element(atomdl_class *s)
{
    size_t n = 0;
    while (n < sizeof s->name && s->name[n]) n++;
    int last = n ? s->name[n - 1] : 0, digit = last >= '0' && last <= '9';
    s->count = (u8)(digit ? last - '0' : 1);
    s->z = (u8)atomdl_element(s->name, n - (size_t)digit);
    return s->z;
}

enum { Z_CARBON = 6, Z_VANADIUM = 23 };

/* What a class means, by its name; 0: nobody knows. Names of areas, and those
   that begin with a digit (layers, thicknesses), are seen on the map alone. */
static int class_meaning(atomdl_class *s, const atomdl_chemistry *c,
                         int dopant)
{
    enum { METAL, CHALCOGEN, DOPANT, AREA, EMPTY };
    static const struct {
        const char *name;
        u8 who, count;
    } NAMED[] = {
        {"metal", METAL, 1}, {"M", METAL, 1}, {"X2", CHALCOGEN, 2},
        {"pair", CHALCOGEN, 2}, {"X1", CHALCOGEN, 1}, {"X", CHALCOGEN, 1},
        {"X0", CHALCOGEN, 0}, {"vacancy", CHALCOGEN, 0}, {"M0", METAL, 0},
        {"VS1", CHALCOGEN, 1}, {"VS2", CHALCOGEN, 0}, {"MX", METAL, 2},
        {"dopant", DOPANT, 1}, {"atom", METAL, 1}, {"dip", CHALCOGEN, 0},
        {"bump", DOPANT, 1}, {"v1", AREA, 0}, {"v2", AREA, 0},
        {"stone-wales", AREA, 0}, {"background", EMPTY, 0},
        {"vacuum", EMPTY, 0}, {"clean", EMPTY, 0}};
    for (size_t i = 0; i < sizeof NAMED / sizeof *NAMED; i++) {
        int who = NAMED[i].who;
        if (!same_text(s->name, NAMED[i].name)) continue;
        s->background = who >= AREA;
        s->count = NAMED[i].count;
        s->z = who == EMPTY ? 0 : who == DOPANT ? (u8)dopant
                                : c->host[who == CHALCOGEN];
        return 1;
    }
    s->background = s->name[0] >= '0' && s->name[0] <= '9';
    if (s->background || !class_element(s)) return s->background;
    if (of_two_elements(c) && c->count[1] == 1 && s->z == Z_CARBON)
        s->z = c->host[0]; /* of a sheet: by_brightness says which it is */
    return 1;
}

/* How peaks of a class are looked for, in units of the host's bond, 1.42 A in
   graphene: METHOD C.3. Dopants of a one-element host are wider; VS1 and VS2
   of paper 004 are discs of 0.95 A, a first frame's dips and bumps (METHOD
   E.1) spots of 0.6 lattice constants. */
static void class_peaks(atomdl_class *s, const atomdl_chemistry *c)
{
    double bond = c->a / ROOT3;
    int guest = !of_two_elements(c) && s->z != c->host[0];
    int wide = s->name[0] == 'V' && s->name[1] == 'S';
    s->radius = (guest ? 0.70 : 0.53) * bond;
    s->threshold = wide || guest ? 0.35 : 0.25;
    s->smooth = wide ? 0.35 : 0.15;
    if (same_text(s->name, "dip") || same_text(s->name, "bump")) {
        s->radius = 0.6 * c->a;
        s->threshold = 0.5;
    }
}

/* Sets why a finder fails and what is at fault (may be ""). */
static int finder_fails(atomdl_finder *f, int status, int code,
                        const char *at_fault)
{
    size_t n = 0;
    for (; at_fault[n] && n + 1 < sizeof f->at_fault; n++)
        f->at_fault[n] = at_fault[n];
    f->at_fault[n] = 0;
    f->why.code = code;
    return status;
}

/* The classes of a comma-separated list of names. */
static int finder_classes(atomdl_finder *f, int dopant)
{
    const char *p = f->meta.classes;
    for (f->classes = 0; *p && f->classes < ATOMDL_CLASSES; f->classes++) {
        atomdl_class *s = &f->class_of[f->classes];
        size_t n = 0;
        for (; *p && *p != ','; p++)
            if (n + 1 < sizeof s->name) s->name[n++] = *p;
        s->name[n] = 0;
        p += *p == ',';
        if (!class_meaning(s, f->chemistry, dopant))
            return finder_fails(f, ATOMDL_EARG, ATOMDL_NOTE_CLASS, s->name);
        class_peaks(s, f->chemistry);
    }
    f->why.value[0] = f->classes;
    f->why.value[1] = f->info.classes;
    return f->classes == f->info.classes ? ATOMDL_OK
           : finder_fails(f, ATOMDL_ESHAPE, ATOMDL_NOTE_CLASSES, "");
}

/* Metadata and network, as far as this library can use them. */
static int finder_network(atomdl_finder *f, const unsigned char *file,
                          size_t size)
{
    const atomdl_meta *m = &f->meta;
    if (atomdl_weights_meta(&f->meta, file, size))
        return finder_fails(f, ATOMDL_EFILE, ATOMDL_NOTE_FILE, "");
    if (!m->network[0] || !(m->pixel_size > 0))
        return finder_fails(f, ATOMDL_EFILE, ATOMDL_NOTE_META, "");
    while (f->scaling < ATOMDL_NORM_COUNT
           && !same_text(m->scaling, atomdl_norm_name(f->scaling)))
        f->scaling++;
    size_t n = 0;
    while (n < sizeof m->network && m->network[n]) n++;
    int line;
    if (atomdl_arch_parse(&f->arch, f->row, ATOMDL_ROWS, m->network, n, &line)
        || atomdl_arch_check(&f->info, NULL, &f->arch, 0, 0)
        || f->scaling == ATOMDL_NORM_COUNT || f->arch.channels != 1)
        return finder_fails(f, ATOMDL_EFILE, ATOMDL_NOTE_NETWORK, "");
    f->why.value[0] = m->numerics;
    f->why.value[1] = ATOMDL_NUMERICS;
    return m->numerics <= ATOMDL_NUMERICS ? ATOMDL_OK
           : finder_fails(f, ATOMDL_EFILE, ATOMDL_NOTE_NUMERICS, "");
}

int atomdl_finder_open(atomdl_finder *finder, const unsigned char *file,
                       size_t size, const atomdl_chemistry *chemistry,
                       int dopant, atomdl_arena *arena)
{
    char missing[64] = "";
    memset(finder, 0, sizeof *finder);
    finder->chemistry = chemistry;
    finder->guess = !dopant;
    if (!dopant) dopant = Z_VANADIUM;
    int status = finder_network(finder, file, size);
    if (status) return status;
    finder->values = atomdl_alloc(arena, finder->info.values,
                                  sizeof *finder->values);
    if (arena->base && !finder->values) return ATOMDL_EMEM;
    if (arena->base)
        status = atomdl_weights_read(finder->values, missing, &finder->arch,
                                     file, size, NULL);
    if (status)
        return finder_fails(finder, status, ATOMDL_NOTE_TENSOR, missing);
    return chemistry ? finder_classes(finder, dopant) : ATOMDL_OK;
}

/* ---------- Finding: the network's input ---------------------------------- */

enum { BAND_PIXELS = 1 << 22, TURNS = 8, FIND_PIXELS = 1 << 30 };

/* Over the lattice constant: the radius of what is looked at of an atom, and
   how near to the border neighbours may be missing. */
#define SPOT 0.12
#define EDGE_REACH 0.6
#define BLANK_BESIDE 0.05 /* of what is that near: no data is a border too */
#define BLANK_WITHIN 0.2  /* of a ring: nobody knows what it goes around */

/* An image on its way to its atoms. */
typedef struct {
    atomdl_findings *to;
    const atomdl_image *image;
    const atomdl_finder *finder;
    const atomdl_find_how *how;
    atomdl_image native; /* what the network sees, padded to its stride */
    int room, peaks;     /* of to->node; so many are there, stored or not */
} finding;

static int round_up(int n, int step) { return (n + step - 1) / step * step; }

static void find_notes(finding *f, atomdl_note warning)
{
    if (f->to->warnings < ATOMDL_WARNINGS)
        f->to->warning[f->to->warnings++] = warning;
}

static void find_warns(finding *f, int code, double value)
{
    find_notes(f, (atomdl_note){code, {value}});
}

static int find_refuses(finding *f, atomdl_note why)
{
    f->to->why = why;
    return ATOMDL_EARG;
}

/* Counts pile up at no least value but zero electrons, and there as many have
   one: a pile of 2 % with hardly any pixel at the next value was cut off. Then
   nobody knows the detector's zero, on which `level` lives. */
static void find_clipping(finding *f, float low, float high)
{
    size_t n = (size_t)f->image->w * (size_t)f->image->h, pile = 0, next = 0;
    const float *px = f->image->px;
    float second = high;
    for (size_t i = 0; i < n; i++)
        if (px[i] > low && px[i] < second) second = px[i];
    for (size_t i = 0; i < n; i++) {
        pile += px[i] == low;
        next += px[i] == second;
    }
    if ((double)pile > 0.02 * (double)n && pile > 4 * next)
        find_warns(f, ATOMDL_NOTE_CLIPPED, 100. * (double)pile / (double)n);
}

/* Refuses an image of one value; many pixels at the greatest one are
   saturated. */
static int find_contrast(finding *f)
{
    size_t n = (size_t)f->image->w * (size_t)f->image->h, top = 0;
    const float *px = f->image->px;
    float low = px[0], high = low;
    for (size_t i = 0; i < n; i++) {
        low = px[i] < low ? px[i] : low;
        high = px[i] > high ? px[i] : high;
    }
    for (size_t i = 0; i < n; i++) top += px[i] == high;
    if (low == high)
        return find_refuses(f, (atomdl_note){.code = ATOMDL_NOTE_FLAT});
    if (top > 1 && (double)top > 0.02 * (double)n)
        find_warns(f, ATOMDL_NOTE_SATURATED, 100. * (double)top / (double)n);
    if (f->finder->scaling == ATOMDL_NORM_LEVEL) find_clipping(f, low, high);
    return ATOMDL_OK;
}

/* Says what part of the image is no data; the rest is to->data. */
static int find_blank(finding *f)
{
    size_t n = (size_t)f->image->w * (size_t)f->image->h, data = n;
    const u8 *blank = f->how->blank;
    for (size_t i = 0; i < n && blank; i++) data -= blank[i] != 0;
    f->to->data = (double)data / (double)n;
    if (data == n) return ATOMDL_OK;
    if (!data) return find_refuses(f, (atomdl_note){.code = ATOMDL_NOTE_FLAT});
    find_warns(f, ATOMDL_NOTE_BLANK, 100 * (1 - f->to->data));
    return ATOMDL_OK;
}

static int is_blank(const finding *f, int x, int y)
{
    return f->how->blank[(size_t)y * (size_t)f->image->w + (size_t)x] != 0;
}

/* The same of pixel (x, y) of what the network sees. */
static int is_blank_there(const finding *f, int x, int y)
{
    if (!f->how->blank) return 0;
    return is_blank(f, (int)((x + 0.5) * f->image->w / f->to->net_w),
                    (int)((y + 0.5) * f->image->h / f->to->net_h));
}

/* The part of a disc that is no data; what lies outside of the image is not
   counted. */
static double blank_about(const finding *f, const atomdl_node *p,
                          double radius)
{
    double px = f->how->pixel_x, py = f->how->pixel_y;
    int x1 = least_int((int)((p->x + radius) / px), f->image->w - 1);
    int y1 = least_int((int)((p->y + radius) / py), f->image->h - 1);
    int x0 = (int)most((p->x - radius) / px + 1, 0), n = 0, all = 0;
    for (int y = (int)most((p->y - radius) / py + 1, 0); y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            if (length(x * px - p->x, y * py - p->y) > radius) continue;
            n += is_blank(f, x, y);
            all++;
        }
    return n / most(all, 1);
}

/* Settles the sizes of the network's input and of the list of peaks. */
static int find_sizes(finding *f)
{
    const atomdl_image *m = f->image;
    double unit = f->finder->meta.pixel_size, a = f->finder->chemistry->a;
    double px = f->how->pixel_x, py = f->how->pixel_y, pixel = most(px, py);
    if (m->w < 1 || m->h < 1 || m->w > ATOMDL_IMAGE_MAX
        || m->h > ATOMDL_IMAGE_MAX || !(px > 0) || !(py > 0)
        || f->how->most < 0 || (f->how->average > 1
                                && f->how->average != TURNS))
        return ATOMDL_EARG;
    double w = m->w * px / unit + 0.5, h = m->h * py / unit + 0.5;
    if (m->w < 2 || m->h < 2 || w < 8 || h < 8)
        return find_refuses(f, (atomdl_note){ATOMDL_NOTE_SMALL, {
            m->w, m->h, m->w * px, m->h * py}});
    if (pixel > 0.5 * a)
        return find_refuses(f, (atomdl_note){ATOMDL_NOTE_COARSE, {pixel}});
    if (w > ATOMDL_IMAGE_MAX || h > ATOMDL_IMAGE_MAX || w * h > FIND_PIXELS)
        return find_refuses(f, (atomdl_note){ATOMDL_NOTE_LARGE, {px, w, h}});
    f->to->net_w = (int)w;
    f->to->net_h = (int)h;
    /* two columns in 0.866 a^2, and as many again */
    double sites = 4.62 * m->w * px * m->h * py / (a * a) + 256;
    f->room = f->how->most ? f->how->most : (int)least(sites, 0x0fffffff);
    return ATOMDL_OK;
}

#define FEW_COUNTS 0.95 /* of the pixels at the least value */

/* Whether most pixels counted nothing: then percentiles are no scale. */
static int counts_are_few(const atomdl_image *m)
{
    size_t n = (size_t)m->w * (size_t)m->h, least_ones = 0;
    float low = m->px[0];
    for (size_t i = 0; i < n; i++) low = m->px[i] < low ? m->px[i] : low;
    for (size_t i = 0; i < n; i++) least_ones += m->px[i] == low;
    return (double)least_ones > FEW_COUNTS * (double)n;
}

/* n values `step` apart become (before + 2 own + after) / 4. */
static void soften_line(float *px, int n, size_t step)
{
    float before = px[0];
    for (int i = 0; i < n; i++, px += step) {
        float own = *px, after = i + 1 < n ? px[step] : own;
        *px = 0.25f * (before + after) + 0.5f * own;
        before = own;
    }
}

static void soften(atomdl_image *m)
{
    for (int y = 0; y < m->h; y++)
        soften_line(m->px + (size_t)y * (size_t)m->w, m->w, 1);
    for (int x = 0; x < m->w; x++)
        soften_line(m->px + x, m->h, (size_t)m->w);
}

/* to (net_w, net_h) <- the data, then again from the first on until it is full;
   0: what the network sees holds none. */
static int copy_data(float *to, const finding *f, const float *px)
{
    size_t w = (size_t)f->to->net_w, n = w * (size_t)f->to->net_h, data = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_blank_there(f, (int)(i % w), (int)(i / w))) to[data++] = px[i];
    for (size_t i = data; i < n && data; i++) to[i] = to[i - data];
    return data > 0;
}

/* Scales by the data alone, where there are any. */
static int scale_data(const finding *f, atomdl_image *m, atomdl_arena *arena)
{
    size_t used = arena->used;
    atomdl_image data = *m;
    int status = ATOMDL_OK, other = f->how->blank != NULL;
    if (other) status = atomdl_image_new(&data, m->w, m->h, 1, arena);
    if (!status && arena->base) {
        other = other && copy_data(data.px, f, m->px);
        status = atomdl_image_normalise_as(m, f->finder->scaling,
                                           other ? &data : m);
    }
    return give_back(arena, used, status);
}

/* The image resampled, scaled, and reflected to the network's stride. */
static int find_native(finding *f, atomdl_arena *arena)
{
    int step = f->finder->info.stride, net_w = f->to->net_w;
    int net_h = f->to->net_h, w = round_up(net_w, step);
    int h = round_up(net_h, step), same = w == net_w && h == net_h;
    atomdl_image src = *f->image;
    src.c = 1;
    int status = atomdl_image_new(&f->native, w, h, 1, arena);
    size_t used = arena->used;
    atomdl_image small = f->native;
    if (!status && !same)
        status = atomdl_image_new(&small, net_w, net_h, 1, arena);
    if (!status) status = atomdl_image_resize(&small, &src, arena);
    if (!status && arena->base) {
        if (f->finder->scaling == ATOMDL_NORM_LEVEL)
            for (int i = 0; i < net_w * net_h; i++)
                small.px[i] = small.px[i] - (float)f->how->dark;
        else if (counts_are_few(f->image)) soften(&small);
    }
    if (!status) status = scale_data(f, &small, arena);
    if (!status && arena->base && !same)
        status = atomdl_image_crop(&f->native, &small, 0, 0);
    return give_back(arena, used, status);
}

/* ---------- Finding: bands ------------------------------------------------ */

typedef struct {
    int y0, y1; /* rows that count */
    int a, b;   /* rows computed */
    float *prob, *input, *copy; /* (classes, b - a, w), and of one turn */
} band;

/* dst(turned) = src, or back: src += dst(turned); (h, w) without turn. Bits of
   way: mirror x, mirror y, then transpose. */
static void turn(float *dst, float *src, int w, int h, int way, int back)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            size_t u = (size_t)(way & 1 ? w - 1 - x : x);
            size_t v = (size_t)(way & 2 ? h - 1 - y : y);
            float *d = way & 4 ? &dst[u * (size_t)h + v]
                               : &dst[v * (size_t)w + u];
            if (back) src[(size_t)y * (size_t)w + (size_t)x] += *d;
            else *d = src[(size_t)y * (size_t)w + (size_t)x];
        }
}

/* The band's probabilities, or those of one turn of it added to prob. */
static int band_turn(const finding *f, band *b, int way, atomdl_arena *arena)
{
    int w = f->native.w, h = b->b - b->a, averaged = f->how->average > 1;
    size_t plane = (size_t)w * (size_t)h, used = arena->used;
    float *from = arena->base ? f->native.px + (size_t)b->a * (size_t)w : NULL;
    atomdl_net *net;
    int status = atomdl_net_new(&net, &f->finder->arch, f->finder->values,
                                way & 4 ? w : h, way & 4 ? h : w,
                                &f->how->use, arena);
    if (!status && arena->base && !averaged)
        status = atomdl_net_run(net, b->prob, from);
    if (!status && arena->base && averaged) {
        turn(b->input, from, w, h, way, 0);
        status = atomdl_net_run(net, b->copy, b->input);
        for (int c = 0; c < f->finder->classes && !status; c++)
            turn(b->copy + (size_t)c * plane, b->prob + (size_t)c * plane, w,
                 h, way, 1);
    }
    return give_back(arena, used, status);
}

static int band_run(const finding *f, band *b, atomdl_arena *arena)
{
    size_t plane = (size_t)f->native.w * (size_t)(b->b - b->a);
    size_t all = plane * (size_t)f->finder->classes;
    int turns = f->how->average > 1 ? TURNS : 1;
    b->prob = atomdl_alloc(arena, all, sizeof *b->prob);
    if (turns > 1) {
        b->input = atomdl_alloc(arena, plane, sizeof *b->input);
        b->copy = atomdl_alloc(arena, all, sizeof *b->copy);
    }
    int status = atomdl_arena_status(arena);
    if (!status && arena->base && turns > 1)
        memset(b->prob, 0, all * sizeof *b->prob);
    for (int way = 0; way < turns && !status; way++)
        status = band_turn(f, b, way, arena);
    for (size_t i = 0; i < all && turns > 1 && arena->base && !status; i++)
        b->prob[i] *= 1.0f / TURNS;
    return status;
}

/* A peak at (x, y) of the network's input. */
static void find_peak(finding *f, double x, double y, double score,
                      const atomdl_class *is)
{
    double fx = (double)f->image->w / f->to->net_w;
    double fy = (double)f->image->h / f->to->net_h;
    atomdl_node p = {.x = ((x + 0.5) * fx - 0.5) * f->how->pixel_x,
                     .y = ((y + 0.5) * fy - 0.5) * f->how->pixel_y,
                     .score = score < 1 ? score : 1, .z = is->z,
                     .count = is->count};
    if (f->to->data < 1) {
        double a = f->finder->chemistry->a;
        if (blank_about(f, &p, SPOT * a) >= 0.5) return;
        p.border = blank_about(f, &p, EDGE_REACH * a) > BLANK_BESIDE;
    }
    if (f->peaks++ < f->room) f->to->node[f->peaks - 1] = p;
}

/* Peaks of one class whose rows count. */
static int band_peaks(finding *f, const band *b, int class_id,
                      atomdl_arena *arena)
{
    const atomdl_class *is = &f->finder->class_of[class_id];
    double unit = f->finder->meta.pixel_size, radius = is->radius / unit;
    atomdl_peaks_plan how = {is->smooth / unit, most(radius, 1),
                             is->threshold};
    atomdl_image prob = {f->native.w, b->b - b->a, f->finder->classes, b->prob};
    size_t used = arena->used;
    int n, max = (int)(2.0 * prob.w * prob.h / (how.radius * how.radius)) + 64;
    atomdl_blob *blob = atomdl_alloc(arena, (size_t)max, sizeof *blob);
    int status = atomdl_arena_status(arena);
    if (!status)
        status = atomdl_peaks(blob, &n, max, &prob, class_id, &how, arena);
    for (int i = 0; !status && i < n; i++) {
        double y = blob[i].y + b->a;
        if (y >= b->y0 - 0.5 && y < b->y1 - 0.5
            && blob[i].x < f->to->net_w - 0.5 && y < f->to->net_h - 0.5)
            find_peak(f, blob[i].x, y, blob[i].value, is);
    }
    return give_back(arena, used, status);
}

/* Adds the band's rows to the areas of the classes, and shows them. */
static int band_finish(finding *f, const band *b)
{
    size_t pitch = (size_t)f->native.w;
    atomdl_band out = {b->y0, least_int(b->y1, f->to->net_h), f->to->net_w,
                       f->finder->classes, pitch,
                       pitch * (size_t)(b->b - b->a),
                       b->prob + (size_t)(b->y0 - b->a) * pitch};
    double all = f->to->data * out.w * f->to->net_h;
    for (int y = 0; y < out.y1 - out.y0; y++)
        for (int c = 0; c < out.classes; c++) {
            const float *row = out.prob + (size_t)c * out.plane
                               + (size_t)y * out.pitch;
            double sum = 0;
            for (int x = 0; x < out.w; x++)
                if (!is_blank_there(f, x, y + out.y0)) sum += (double)row[x];
            f->to->area[c] += sum / all;
        }
    return f->how->band ? f->how->band(f->how->user, &out) : ATOMDL_OK;
}

/* How far a peak looks around itself [network pixels]. */
static int peak_reach(const atomdl_finder *m)
{
    double reach = 0;
    for (int c = 0; c < m->classes; c++)
        reach = most(reach,
                     m->class_of[c].radius + 4 * m->class_of[c].smooth);
    return (int)(reach / m->meta.pixel_size) + 3;
}

/* Rows y .. y + rows - 1, with rows enough around them that those have the
   bits of a run over the whole image; starts lie on the network's grid. */
static int find_band(finding *f, int y, int rows, atomdl_arena *arena)
{
    const atomdl_finder *m = f->finder;
    int step = m->info.stride, h = f->native.h;
    int halo = round_up(m->info.field / 2 + 4 * step + peak_reach(m), step);
    size_t used = arena->used;
    band b = {.y0 = y, .y1 = least_int(y + rows, h),
              .a = most_int(y - halo, 0), .b = least_int(y + rows + halo, h)};
    int status = band_run(f, &b, arena);
    for (int c = 0; c < m->classes && !status; c++)
        if (!m->class_of[c].background) status = band_peaks(f, &b, c, arena);
    if (!status && arena->base) status = band_finish(f, &b);
    return give_back(arena, used, status);
}

/* All that the network sees; to->node gets its peaks. */
static int find_peaks(finding *f, atomdl_arena *arena)
{
    size_t used = arena->used;
    int status = find_native(f, arena);
    int rows = status ? 0 : most_int(BAND_PIXELS / f->native.w, 256);
    rows = round_up(rows, f->finder->info.stride);
    for (int y = 0; !status && y < f->native.h; y += rows)
        status = find_band(f, y, rows, arena);
    arena->used = used;
    if (status || f->peaks <= f->room) return status;
    f->to->most = f->peaks;
    return ATOMDL_ESHAPE;
}

/* ---------- Finding: nodes ------------------------------------------------ */

/* METHOD C.4: no carbon beside a dopant. Where classes compete for a column,
   the higher score stays, whatever it is. */
static int find_merge(finding *f, atomdl_arena *arena)
{
    const atomdl_chemistry *c = f->finder->chemistry;
    double bond = c->a / ROOT3;
    atomdl_clash clash[ATOMDL_CLASSES];
    int n = 0, compete = of_two_elements(c);
    for (int i = 0; i < f->finder->classes; i++) {
        const atomdl_class *is = &f->finder->class_of[i];
        if (is->background) continue;
        compete |= !is->count;
        if (is_host(c, is->z)) continue;
        clash[n++] = (atomdl_clash){c->host[0], is->z, 0.81 * bond};
    }
    if (compete) {
        clash[0] = (atomdl_clash){0, 0, 0.5 * bond};
        n = 1;
    }
    int kept = atomdl_nodes_merge(f->to->node, f->to->atoms, clash, n, arena);
    if (arena->base && kept >= 0) f->to->atoms = kept;
    return least_int(kept, ATOMDL_OK);
}

/* Nodes in order of y. */
static int find_order(finding *f, atomdl_arena *arena)
{
    size_t n = (size_t)f->to->atoms, used = arena->used;
    uint32_t *order = atomdl_alloc(arena, n, sizeof *order);
    uint32_t *spare = atomdl_alloc(arena, n, sizeof *spare);
    double *key = atomdl_alloc(arena, n, sizeof *key);
    atomdl_node *copy = atomdl_alloc(arena, n, sizeof *copy);
    int status = ATOMDL_OK;
    if (scratch_only(&status, arena, used) || !n) return status;
    memcpy(copy, f->to->node, n * sizeof *copy);
    for (size_t i = 0; i < n; i++) key[i] = copy[i].y;
    status = atomdl_sort(order, key, n, spare);
    for (size_t i = 0; i < n && !status; i++)
        f->to->node[i] = copy[order[i]];
    return status;
}

/* ---------- Finding: dopants in the image ---------------------------------

   A network's place of an atom knows the lattice, which is what light atoms in
   noise need. A dopant of twice the host's atomic number stands out of the
   image itself: there its place is fitted too, together with the dopants around
   it (METHOD C.5). Where pixels are coarse, very fine or oblong, or dopants
   crowd, the network's place stays. */

#define FIT_RADIUS 0.9 /* A, of the window */
#define FIT_SIGMA 0.5  /* A, at first */
#define FIT_REACH 0.12 /* A, from where the network says */
#define FIT_AROUND 2.5 /* A: other dopants in the fit */
#define FIT_SHARE 0.7  /* of the fit in the place, the rest is the network's */

enum { FITTED = 8 }; /* most dopants of a fit */

typedef struct {
    const finding *of;
    const atomdl_node *node; /* (n) dopants as the network has them, by y */
    int n, at;               /* at: which is fitted */
    int x0, y0;              /* of the pixels around it */
} dopant_fit;

static int is_dopant(const atomdl_chemistry *c, const atomdl_node *p)
{
    return !of_two_elements(c) && p->count && p->z >= 2 * c->host[0];
}

/* Adds dopant i to n blobs where it is near and in the image. */
static int fit_take(atomdl_blob *blob, int n, const dopant_fit *f, int i)
{
    const atomdl_image *m = f->of->image;
    const atomdl_node *p = &f->node[i];
    double x = p->x / f->of->how->pixel_x, y = p->y / f->of->how->pixel_y;
    if (absolute(p->x - f->node[f->at].x) > FIT_AROUND || n > FITTED || x < 0
        || y < 0 || x > m->w - 1 || y > m->h - 1)
        return n;
    blob[n].x = x - f->x0;
    blob[n].y = y - f->y0;
    return n + 1;
}

/* blob[0] (FITTED + 1) <- the dopant, then those around it; returns how many,
   0: it lies outside of the pixels' centres, or in a crowd. */
static int fit_blobs(atomdl_blob *blob, const dopant_fit *f)
{
    double y = f->node[f->at].y;
    memset(blob, 0, (FITTED + 1) * sizeof *blob);
    int n = fit_take(blob, 0, f, f->at);
    if (!n) return 0;
    for (int i = f->at + 1; i < f->n && f->node[i].y - y <= FIT_AROUND; i++)
        n = fit_take(blob, n, f, i);
    for (int i = f->at - 1; i >= 0 && y - f->node[i].y <= FIT_AROUND; i--)
        n = fit_take(blob, n, f, i);
    return n > FITTED ? 0 : n;
}

/* The pixels around the dopant; measuring, as many as there may be. */
static int fit_cut(atomdl_image *cut, dopant_fit *f, atomdl_arena *arena)
{
    const atomdl_image *m = f->of->image;
    double px = f->of->how->pixel_x, py = f->of->how->pixel_y;
    int rx = (int)(FIT_AROUND / px) + 1, ry = (int)(FIT_AROUND / py) + 1;
    if (!arena->base)
        return atomdl_image_new(cut, least_int(2 * rx + 1, m->w),
                                least_int(2 * ry + 1, m->h), 1, arena);
    int x = (int)(f->node[f->at].x / px), y = (int)(f->node[f->at].y / py);
    f->x0 = most_int(x - rx, 0);
    f->y0 = most_int(y - ry, 0);
    int w = least_int(x + rx + 1, m->w) - f->x0;
    int h = least_int(y + ry + 1, m->h) - f->y0;
    int status = atomdl_image_new(cut, w, h, 1, arena);
    for (y = 0; y < h && !status; y++)
        memcpy(cut->px + (size_t)y * (size_t)w,
               m->px + (size_t)(y + f->y0) * (size_t)m->w + f->x0,
               (size_t)w * sizeof *cut->px);
    return status;
}

/* Moves p, dopant f->at. */
static int fit_dopant(atomdl_node *p, dopant_fit *f, atomdl_arena *arena)
{
    double px = f->of->how->pixel_x, py = f->of->how->pixel_y;
    double unit = atomdl_sqrt(px * py);
    atomdl_refinement how = {ATOMDL_FIT_GAUSSIAN, FIT_RADIUS / unit,
                             FIT_SIGMA / unit, FIT_REACH / unit, 30, 0};
    size_t used = arena->used;
    atomdl_blob *blob = atomdl_alloc(arena, FITTED + 1, sizeof *blob);
    atomdl_image cut;
    int status = fit_cut(&cut, f, arena), n = FITTED;
    if (!status && arena->base) n = fit_blobs(blob, f);
    if (!status) status = atomdl_refine(blob, n, NULL, &cut, 0, &how, arena);
    if (!status && arena->base && n && blob->fitted) {
        p->x += FIT_SHARE * ((blob->x + f->x0) * px - p->x);
        p->y += FIT_SHARE * ((blob->y + f->y0) * py - p->y);
    }
    return give_back(arena, used, status);
}

/* Moves all dopants, each by the others as they were. */
static int find_fits(finding *f, atomdl_arena *arena)
{
    const atomdl_chemistry *c = f->finder->chemistry;
    double px = f->how->pixel_x, py = f->how->pixel_y;
    double radius = FIT_RADIUS / atomdl_sqrt(px * py);
    size_t used = arena->used;
    if (radius < 2 || radius > 40 || px / py < 0.95 || px / py > 1.05
        || !rules_of(&f->to->bonds)->dopant_fit)
        return ATOMDL_OK;
    atomdl_node *node = f->to->node;
    int n = f->to->atoms;
    atomdl_node *dopant = atomdl_alloc(arena, (size_t)n, sizeof *dopant);
    int status = atomdl_arena_status(arena);
    dopant_fit fit = {f, dopant, 0, 0, 0, 0};
    if (!arena->base) status = fit_dopant(NULL, &fit, arena);
    n = arena->base && !status ? n : 0;
    for (int i = 0; i < n; i++)
        if (is_dopant(c, &node[i])) dopant[fit.n++] = node[i];
    for (int i = 0; i < n && !status; i++)
        if (is_dopant(c, &node[i])) {
            status = fit_dopant(&node[i], &fit, arena);
            fit.at++;
        }
    return give_back(arena, used, status);
}

/* ---------- Finding: chalcogens by intensity -------------------------------

   METHOD F.2: each chalcogen column holds two, one or none, by the mean of the
   image around it and a mixture of what such columns show. */

#define DISC (0.8 / 3.16) /* their radius over the lattice constant */

/* Where discs are read: n columns, and the hollow sites about them. */
typedef struct {
    atomdl_node *place;
    double *value, *hollow; /* of all; of columns: the mean about each */
    int n, all;
    double pixel[2], radius;
} discs;

/* A chalcogen is looked for amid its three metals, as where a network puts an
   empty column is by chance; opposite to each of them is a hollow site. Returns
   how many of those are in the image. */
static int disc_amid(discs *d, int i, const finding *f, const cell_grid *c)
{
    const atomdl_chemistry *is = f->finder->chemistry;
    const atomdl_node *node = f->to->node, *metal[3];
    double reach = 0.7 * is->a, x = 0, y = 0;
    double w = (f->image->w - 1) * d->pixel[0] - d->radius;
    double h = (f->image->h - 1) * d->pixel[1] - d->radius;
    int count = 0, before = d->all;
    for (cell_walk at = walk_start(c, node[i].x, node[i].y, reach);
         walk_next(&at);) {
        const atomdl_node *p = &node[at.at];
        if (p->z == is->host[1] || !(apart(p, &node[i]) < reach)) continue;
        if (count < 3) metal[count] = p;
        count++;
        x += p->x / 3;
        y += p->y / 3;
    }
    if (count != 3) return 0;
    d->place[i].x = x;
    d->place[i].y = y;
    for (int k = 0; k < 3; k++) {
        atomdl_node at = {.x = 2 * x - metal[k]->x, .y = 2 * y - metal[k]->y};
        if (within(at.x, d->radius, w) && within(at.y, d->radius, h))
            d->place[d->all++] = at;
    }
    return d->all - before;
}

/* What the discs show. Columns without hollow sites have the mean of all. */
static int find_discs(discs *d, finding *f, atomdl_arena *arena)
{
    const atomdl_chemistry *c = f->finder->chemistry;
    int n = d->n, *about = atomdl_alloc(arena, (size_t)n, sizeof *about);
    double mean = 0;
    cell_grid cells;
    int status = cells_new(&cells, f->to->node, sizeof *d->place, n,
                           0.7 * c->a, arena);
    if (status || !arena->base) return status;
    memcpy(d->place, f->to->node, (size_t)n * sizeof *d->place);
    for (int i = 0; i < n; i++)
        about[i] = d->place[i].z == c->host[1] ? disc_amid(d, i, f, &cells) : 0;
    status = atomdl_intensity(d->value, d->place, d->all, f->image, 0,
                              d->pixel, d->radius);
    if (status || d->all < n + 3) return status ? status : ATOMDL_EMISSING;
    for (int i = n; i < d->all; i++) mean += d->value[i] / (d->all - n);
    const double *at = d->value + n;
    for (int i = 0; i < n; i++) {
        d->hollow[i] = about[i] ? 0 : mean;
        for (int k = 0; k < about[i]; k++) d->hollow[i] += *at++ / about[i];
    }
    return status;
}

/* Counts the chalcogens of a column by its value. */
static void count_by(finding *f, int i, double value, double hollow)
{
    atomdl_findings *to = f->to;
    double p[ATOMDL_LEVELS], lost;
    int best = ATOMDL_LEVEL_X2;
    atomdl_mixture_posterior(p, &to->mixture, value, hollow);
    for (int k = ATOMDL_LEVEL_X2; k >= 0; k--)
        if (p[k] > p[best] && (k != ATOMDL_LEVEL_X1 || to->mixture.told))
            best = k;
    to->node[i].count = (u8)best; /* LEVEL_X0: none, X1: one */
    to->node[i].score = p[best];
    lost = 2 * p[0] + p[1];
    to->unsure += p[0] * 4 + p[1] - lost * lost;
}

/* Fits the chalcogens' discs, and by that says what they hold. */
static int fit_discs(const discs *d, finding *f, double *value,
                     double *hollow)
{
    atomdl_findings *to = f->to;
    const atomdl_mixture *m = &to->mixture;
    int z = f->finder->chemistry->host[1], n = 0;
    for (int i = 0; i < d->n; i++) {
        if (to->node[i].z != z) continue;
        value[n] = d->value[i];
        hollow[n++] = d->hollow[i];
    }
    int status = atomdl_mixture_fit(&to->mixture, value, hollow, n);
    if (status) return status;
    for (int i = 0; i < d->n; i++) {
        double near = m->share * (d->hollow[i] - m->hollow);
        to->value[i] = (d->value[i] - near) / m->mean[ATOMDL_LEVEL_X2];
        if (to->node[i].z == z) count_by(f, i, d->value[i], d->hollow[i]);
    }
    to->unsure += m->hidden * n * m->hidden * n;
    if (!m->told) find_warns(f, ATOMDL_NOTE_LEVELS, 0);
    return ATOMDL_OK;
}

/* Levels of all columns from the image, and by them what chalcogens hold. */
static int find_intensities(finding *f, atomdl_arena *arena)
{
    atomdl_findings *to = f->to;
    const atomdl_chemistry *c = f->finder->chemistry;
    size_t n = (size_t)to->atoms;
    if (!is_dichalcogenide(c)) return ATOMDL_EARG;
    to->value = atomdl_alloc(arena, n, sizeof *to->value);
    size_t used = arena->used;
    discs d = {.n = to->atoms, .all = to->atoms, .radius = DISC * c->a,
               .pixel = {f->how->pixel_x, f->how->pixel_y}};
    d.place = atomdl_alloc(arena, 4 * n, sizeof *d.place);
    d.value = atomdl_alloc(arena, 4 * n, sizeof *d.value);
    d.hollow = atomdl_alloc(arena, n, sizeof *d.hollow);
    double *value = atomdl_alloc(arena, n, sizeof *value);
    double *hollow = atomdl_alloc(arena, n, sizeof *hollow);
    int status = find_discs(&d, f, arena);
    if (!status && arena->base) status = fit_discs(&d, f, value, hollow);
    if (status == ATOMDL_EMISSING) {
        find_warns(f, ATOMDL_NOTE_FEW, 0);
        memset(to->value, 0, n * sizeof *to->value);
        status = ATOMDL_OK;
    }
    return give_back(arena, used, status);
}

/* The missing chalcogens, as a part of all, but for a margin where columns are
   cut. Without pairs among the classes their number follows from the area. */
static void count_vacancies(finding *f)
{
    atomdl_findings *to = f->to;
    const atomdl_chemistry *c = f->finder->chemistry;
    double px = f->how->pixel_x, py = f->how->pixel_y, edge = 0.32 * c->a;
    double w = (f->image->w - 0.5) * px - edge;
    double h = (f->image->h - 0.5) * py - edge;
    int n[3] = {0, 0, 0}, pairs = 0;
    if (!is_dichalcogenide(c)) return;
    for (int k = 0; k < f->finder->classes; k++)
        pairs |= f->finder->class_of[k].z == c->host[1]
                 && f->finder->class_of[k].count == 2;
    for (int i = 0; i < to->atoms; i++) {
        const atomdl_node *p = &to->node[i];
        if (p->z == c->host[1] && p->count < 3 && p->x > edge && p->y > edge
            && p->x < w && p->y < h)
            n[p->count]++;
    }
    to->single = n[1];
    to->both = n[0];
    to->sites = pairs ? n[0] + n[1] + n[2]
                      : to->data * (w - edge + 0.5 * px) * (h - edge + 0.5 * py)
                            / (0.8660254037844386 * c->a * c->a);
    if (!(to->sites > 0)) return;
    double variance = n[1] + 4. * n[0] + to->unsure;
    to->concentration = (n[1] + 2. * n[0]) / (2 * to->sites);
    to->concentration_error = atomdl_sqrt(most(variance, 1))
                              / (2 * to->sites);
}

/* ---------- Finding: bonds and defects ------------------------------------ */

/* The bonds of each kind: number, mean, standard deviation. */
static void count_bonds(atomdl_findings *to)
{
    const atomdl_graph *g = &to->graph;
    int k;
    to->kinds = 0;
    for (int i = 0; i < g->bonds; i++) {
        int p = g->node[g->bond[i].a].z, q = g->node[g->bond[i].b].z;
        int a = most_int(p, q), b = least_int(p, q);
        for (k = 0; k < to->kinds; k++)
            if (to->kind[k].a == a && to->kind[k].b == b) break;
        if (k == ATOMDL_BOND_KINDS) continue;
        atomdl_bond_kind *t = &to->kind[k];
        if (k == to->kinds) {
            *t = (atomdl_bond_kind){.a = (u8)a, .b = (u8)b};
            to->kinds++;
        }
        double d = g->bond[i].length - t->mean;
        t->n++;
        t->mean += d / t->n;
        t->sd += d * (g->bond[i].length - t->mean);
    }
    for (k = 0; k < to->kinds; k++)
        to->kind[k].sd = to->kind[k].n > 1
            ? atomdl_sqrt(to->kind[k].sd / (to->kind[k].n - 1)) : 0;
}

static const atomdl_bond_kind *commonest_bond(const atomdl_findings *to)
{
    const atomdl_bond_kind *top = to->kind;
    for (int i = 1; i < to->kinds; i++)
        if (to->kind[i].n > top->n) top = &to->kind[i];
    return to->kinds && top->n >= 10 ? top : NULL;
}

static int of_host(const atomdl_chemistry *c, int a, int b)
{
    return (a == c->host[0] && b == c->host[1])
           || (a == c->host[1] && b == c->host[0]);
}

/* Bonds of graphene and h-BN may be as long as those of the host in this image
   say, where they are within a tenth of what they should be: pixel sizes are
   some percent wrong. */
static void scale_bonds(atomdl_chemistry *c, const atomdl_bond_kind *by)
{
    double ratio = 1;
    if (!by || !of_host(c, by->a, by->b)) return;
    for (int i = 0; i < ATOMDL_PAIR_KINDS; i++)
        if (of_host(c, c->pair[i].a, c->pair[i].b))
            ratio = by->mean / c->pair[i].ideal;
    if (!(ratio > 0.9 && ratio < 1.1)) return;
    for (int i = 0; i < ATOMDL_PAIR_KINDS; i++) {
        c->pair[i].shortest *= ratio;
        c->pair[i].longest *= ratio;
        c->pair[i].ideal *= ratio;
    }
}

static int find_graph(finding *f, atomdl_arena *arena)
{
    double px = f->how->pixel_x, py = f->how->pixel_y;
    double field[4] = {-0.5 * px, -0.5 * py, (f->image->w - 0.5) * px,
                       (f->image->h - 0.5) * py};
    int status = atomdl_graph_new(&f->to->graph, f->to->node, f->to->atoms,
                                  &f->to->bonds, field,
                                  EDGE_REACH * f->to->bonds.a, arena);
    if (!status && arena->base) count_bonds(f->to);
    return status;
}

/* The graph, once to learn how long this image's bonds are. The s.d. of x and
   of y of an atom is judged by the commonest kind of bond: noise, the scan's
   jitter and true strain together. */
static int find_bonds(finding *f, atomdl_arena *arena)
{
    atomdl_findings *to = f->to;
    size_t used = arena->used;
    int status = find_graph(f, arena);
    arena->used = used;
    if (status) return status;
    const atomdl_bond_kind *by = commonest_bond(to);
    for (int i = 0; i < to->atoms && arena->base; i++)
        to->node[i].error = by ? by->sd / 1.4142135623730951 : 0;
    if (rules_of(&to->bonds)->bond_scale) scale_bonds(&to->bonds, by);
    return find_graph(f, arena);
}

/* Marks rings that go around what is no data. */
static void mark_rings(finding *f)
{
    for (int i = 0; i < f->to->graph.rings && f->to->data < 1; i++) {
        atomdl_ring *r = &f->to->graph.ring[i];
        atomdl_node middle = {.x = r->x, .y = r->y};
        double share = blank_about(f, &middle, atomdl_sqrt(r->area / PI));
        if (r->size == 6 || share <= BLANK_WITHIN) continue;
        f->to->graph.histogram[least_int((int)r->size,
                                         ATOMDL_RING_SIZES - 1)]--;
        r->border = 2;
    }
}

/* Named defects, and the first that each atom is in. */
static int find_defects(finding *f, atomdl_arena *arena)
{
    atomdl_findings *to = f->to;
    int max = f->room / 4 + 64, n;
    to->defect = atomdl_alloc(arena, (size_t)to->atoms, sizeof *to->defect);
    to->found = atomdl_alloc(arena, (size_t)max, sizeof *to->found);
    int status = atomdl_arena_status(arena);
    if (!status && arena->base) mark_rings(f);
    if (!status)
        status = atomdl_found_list(to->found, &n, max, &to->graph, arena);
    if (status == ATOMDL_ESHAPE) to->most = n < 1 << 28 ? 4 * n : 1 << 30;
    if (status || !arena->base) return status;
    to->defects = n;
    for (int i = 0; i < to->atoms; i++) to->defect[i] = -1;
    for (int k = n - 1; k >= 0; k--)
        for (int i = 0; i < to->found[k].members; i++)
            to->defect[to->found[k].node[i]] = k;
    return ATOMDL_OK;
}

/* ---------- Finding: elements of a sheet ----------------------------------

   Graphene's network sees the atoms of h-BN and does not know two elements.
   Which sublattice is the brighter the image says: each atom compares itself
   with those it is bonded to, and those around vote (atomdl_sublattice). */

enum { VOTINGS = 3 }; /* each on what the one before said */

/* value (n) <- the mean of the image about each place. */
static int look_at_spots(double *value, const finding *f,
                         const atomdl_node *place, int n)
{
    double pixel[2] = {f->how->pixel_x, f->how->pixel_y};
    return atomdl_intensity(value, place, n, f->image, 0, pixel,
                            SPOT * f->finder->chemistry->a);
}

/* The network names one element, where the chemistry has two. */
static int by_brightness(const atomdl_finder *m)
{
    const atomdl_chemistry *c = m->chemistry;
    int named = 0;
    for (int i = 0; i < m->classes; i++)
        named |= !m->class_of[i].background && m->class_of[i].z == c->host[1];
    return of_two_elements(c) && c->count[1] == 1 && !named;
}

/* Names hosts by who is brighter than the mean of those bonded to it. */
static void name_brighter(finding *f, const double *value)
{
    const atomdl_graph *g = &f->to->graph;
    const atomdl_chemistry *c = g->chemistry;
    int dark = c->ratio[0] > 1 ? 0 : 1;
    for (int i = 0; i < g->nodes; i++) {
        u32 n = g->first[i + 1] - g->first[i];
        double around = 0;
        if (!n || !is_host(c, g->node[i].z)) continue;
        for (u32 k = g->first[i]; k < g->first[i + 1]; k++)
            around += value[g->link[k]] / n;
        f->to->node[i].z = c->host[value[i] > around ? !dark : dark];
    }
}

/* Names the atoms of such a sheet, by votes over its graph. */
static int find_species(finding *f, atomdl_arena *arena)
{
    atomdl_findings *to = f->to;
    const atomdl_chemistry *c = f->finder->chemistry;
    size_t used = arena->used, n = (size_t)to->atoms;
    if (!by_brightness(f->finder)) return ATOMDL_OK;
    double *value = atomdl_alloc(arena, n, sizeof *value);
    u8 *side = atomdl_alloc(arena, n, 1);
    int status = find_graph(f, arena);
    if (!status && arena->base) {
        status = look_at_spots(value, f, to->node, to->atoms);
        if (!status) name_brighter(f, value);
    }
    for (int round = 0; round < VOTINGS && !status; round++) {
        status = atomdl_sublattice(side, &to->graph, arena);
        for (int i = 0; i < to->atoms && !status && arena->base; i++) {
            u32 k = to->graph.first[i], end = to->graph.first[i + 1];
            int own = side[i], next = k < end ? side[to->graph.link[k]] : 255;
            if (own > 1 && next < 2) own = !next; /* at the image's border */
            if (own < 2 && is_host(c, to->node[i].z))
                to->node[i].z = c->host[own];
        }
    }
    return give_back(arena, used, status);
}

/* ---------- Finding: the ground --------------------------------------------

   METHOD D.7: whether the image is of what the network knows. Nodes, the
   hollow sites amid rings of six and the middles of bonds are looked at in the
   image; what the network made of them is judged by that. */

/* How far a honeycomb may be stretched: scans are by a seventh, silicon along
   [110] is one with axes as 1 to 1.22. */
#define OBLONG 1.2
#define FEW_FOUND 0.1 /* of the columns that the field would hold */
#define SIXES 0.7     /* of the rings */
#define APART 0.0204  /* squared: (1 - 0.75) / (1 + 0.75) */
enum { GROUND_INNER = 12, GROUND_SITES = 60, GROUND_RINGS = 20 };

enum { WAITING = 8 };

typedef struct { /* the mean of the image over places that come one by one */
    const finding *of;
    double sum;
    int n, waiting, status;
    atomdl_node place[WAITING];
} spot_mean;

static void mean_flush(spot_mean *m)
{
    double value[WAITING];
    int status = look_at_spots(value, m->of, m->place, m->waiting);
    if (status) m->status = status;
    for (int i = 0; i < m->waiting && !status; i++) m->sum += value[i];
    m->n += m->waiting;
    m->waiting = 0;
}

static void mean_add(spot_mean *m, double x, double y)
{
    m->place[m->waiting++] = (atomdl_node){.x = x, .y = y};
    if (m->waiting == WAITING) mean_flush(m);
}

static double mean_of(spot_mean *m)
{
    mean_flush(m);
    return m->sum / most(m->n, 1);
}

/* The network names the columns of both sublattices; plain atoms are nobody's
   chemistry. */
static int ground_asked(const atomdl_finder *m)
{
    const atomdl_chemistry *c = m->chemistry;
    int host = 0;
    for (int i = 0; i < m->classes; i++) {
        const atomdl_class *s = &m->class_of[i];
        if (s->background || same_text(s->name, "atom")) continue;
        for (int k = 0; k < 2; k++)
            host |= (s->z == c->host[k] && s->count == c->count[k]) << k;
    }
    return (host == 3 || by_brightness(m)) && c->order > 0;
}

/* |sum exp(3 i theta)| / 3 of a node's three bonds: 1 where they stand at 120
   degrees, 0.5 at random. */
static double three_fold(const atomdl_graph *g, int i)
{
    double re = 0, im = 0;
    if (g->first[i + 1] - g->first[i] != 3) return 0;
    for (u32 k = g->first[i]; k < g->first[i + 1]; k++) {
        double x = g->node[g->link[k]].x - g->node[i].x;
        double y = g->node[g->link[k]].y - g->node[i].y, d = length(x, y);
        x /= d;
        y /= d;
        re += x * x * x - 3 * x * y * y;
        im += 3 * x * x * y - y * y * y;
    }
    return length(re, im) / 3;
}

/* How much longer bonds are along one axis than across it: by the moments of
   stars of three, which are alike in all directions in a honeycomb. */
static double stretch_of(const atomdl_graph *g)
{
    double xx = 0, xy = 0, yy = 0;
    for (int i = 0; i < g->nodes; i++) {
        if (g->first[i + 1] - g->first[i] != 3) continue;
        for (u32 k = g->first[i]; k < g->first[i + 1]; k++) {
            double x = g->node[g->link[k]].x - g->node[i].x;
            double y = g->node[g->link[k]].y - g->node[i].y;
            xx += x * x;
            xy += x * y;
            yy += y * y;
        }
    }
    double mean = (xx + yy) / 2, half = length((xx - yy) / 2, xy);
    return mean > half ? atomdl_sqrt((mean + half) / (mean - half)) : 1;
}

/* What the graph says: order, rings, shape; and the median score. */
static int ground_order(atomdl_findings *to, atomdl_arena *arena)
{
    atomdl_ground *is = &to->ground;
    size_t n = (size_t)to->atoms, used = arena->used;
    u32 *order = atomdl_alloc(arena, n, sizeof *order);
    u32 *spare = atomdl_alloc(arena, n, sizeof *spare);
    double *key = atomdl_alloc(arena, n, sizeof *key);
    int status = ATOMDL_OK;
    if (scratch_only(&status, arena, used) || !n) return status;
    for (size_t i = 0; i < n; i++) {
        key[i] = to->node[i].score;
        if (to->graph.flag[i] & ATOMDL_NEAR_BORDER) continue;
        is->inner++;
        is->order += three_fold(&to->graph, (int)i);
    }
    is->order /= most(is->inner, 1);
    is->stretch = stretch_of(&to->graph);
    is->sixes = to->graph.histogram[6] / most(to->graph.rings, 1);
    status = atomdl_sort(order, key, n, spare);
    is->score = key[order[n / 2]];
    return status;
}

/* Whether a node is a column as the host has them on sublattice k. */
static int is_column(const atomdl_chemistry *c, const atomdl_node *p, int k)
{
    return p->z == c->host[k] && p->count == c->count[k];
}

/* The signals of two sublattices, fainter over brighter, without asking which
   is which (whoever is named by brightness differs): columns two bonds apart
   are alike, bonded ones are not, and noise is in neither mean of products. 0:
   by three s.d. of those a ratio of 0.75 could be noise. */
static double ratio_apart(const double *value, const atomdl_graph *g,
                          double mean, double hollow)
{
    double sum[2] = {0, 0}, n[2] = {0, 0}, square = 0, all = 0;
    for (int i = 0; i < g->nodes; i++) {
        if (g->flag[i] & (ATOMDL_DOPANT | ATOMDL_EDGE)) continue;
        double here = value[i] - mean;
        square += here * here;
        all++;
        for (u32 k = g->first[i]; k < g->first[i + 1]; k++) {
            u32 j = g->link[k];
            if (g->flag[j] & (ATOMDL_DOPANT | ATOMDL_EDGE)) continue;
            sum[0] += here * (value[j] - mean);
            n[0]++;
            for (u32 q = g->first[j]; q < g->first[j + 1]; q++) {
                u32 far = g->link[q];
                if (far == (u32)i || g->flag[far] & ATOMDL_DOPANT) continue;
                sum[1] += here * (value[far] - mean);
                n[1]++;
            }
        }
    }
    if (!(n[1] > 0)) return 0;
    double apart = atomdl_sqrt(most(sum[1] / n[1] - sum[0] / n[0], 0) / 2);
    double above = most(mean - hollow, 0);
    double error = square / all * atomdl_sqrt(2 / n[0] + 2 / n[1]) / 2;
    if (3 * error > APART * above * above) return 0;
    return apart < above ? (above - apart) / (above + apart) : 0;
}

/* Metals of dichalcogenides by their signals over molybdenum's: columns of MoS2
   above the darkest pixels, simulated at 60 kV, 86-200 mrad (METHOD B.10). */
static const struct {
    u8 z;
    double signal;
} METAL[] = {{Z_VANADIUM, 0.38}, {42, 1}, {74, 1.98}};

enum { METALS = sizeof METAL / sizeof *METAL };

static double metal_signal(int z)
{
    for (int i = 0; i < METALS; i++)
        if (METAL[i].z == z) return METAL[i].signal;
    return 0;
}

/* A metal that is not the host's, by its signal over the host's. */
static int metal_like(double ratio, int host)
{
    int best = Z_VANADIUM;
    double nearest = 1e9;
    for (int i = 0; i < METALS; i++) {
        double is = METAL[i].signal / metal_signal(host);
        double off = ratio > is ? ratio / is : is / ratio;
        if (METAL[i].z == host || off >= nearest) continue;
        nearest = off;
        best = METAL[i].z;
    }
    return best;
}

/* Dopants that the network does not name. */
static void name_dopants(finding *f, const double *value, double host,
                         double hollow)
{
    const atomdl_chemistry *c = f->finder->chemistry;
    if (!f->finder->guess || !metal_signal(c->host[0]) || !(host > 0)) return;
    for (int i = 0; i < f->to->atoms; i++) {
        atomdl_node *p = &f->to->node[i];
        double ratio = (value[i] - hollow) / host;
        if (p->z == Z_VANADIUM && p->count == 1 && ratio > 0)
            p->z = (u8)metal_like(ratio, c->host[0]);
    }
}

typedef struct { /* means of the image */
    double column[2];    /* of the host, on each sublattice */
    double hollow, rim;  /* hollow sites; halfway to their corners */
    double middle, ends; /* of bonds */
    int columns[2], hollows; /* so many */
} signals;

/* Means at hollow sites, halfway from them to their corners, amid bonds. */
static int signals_between(signals *s, const finding *f)
{
    const atomdl_graph *g = &f->to->graph;
    spot_mean hollow = {.of = f}, rim = {.of = f}, middle = {.of = f};
    for (int i = 0; i < g->rings; i++) {
        const atomdl_ring *r = &g->ring[i];
        if (r->size != 6) continue;
        mean_add(&hollow, r->x, r->y);
        for (u32 k = 0; k < 6; k++) {
            const atomdl_node *p = &g->node[g->corner[r->first + k]];
            mean_add(&rim, (r->x + p->x) / 2, (r->y + p->y) / 2);
        }
    }
    for (int i = 0; i < g->bonds; i++) {
        const atomdl_node *a = &g->node[g->bond[i].a];
        const atomdl_node *b = &g->node[g->bond[i].b];
        mean_add(&middle, (a->x + b->x) / 2, (a->y + b->y) / 2);
    }
    s->hollow = mean_of(&hollow);
    s->rim = mean_of(&rim);
    s->middle = mean_of(&middle);
    s->hollows = hollow.n;
    return hollow.status ? hollow.status
           : rim.status  ? rim.status
                         : middle.status;
}

/* Means at columns and over the ends of bonds. */
static void signals_columns(signals *s, const double *value,
                            const atomdl_graph *g)
{
    for (int i = 0; i < g->nodes; i++)
        for (int k = 0; k < 2; k++)
            if (is_column(g->chemistry, &g->node[i], k)) {
                s->column[k] += value[i];
                s->columns[k]++;
            }
    for (int k = 0; k < 2; k++) s->column[k] /= most(s->columns[k], 1);
    for (int i = 0; i < g->bonds; i++)
        s->ends += (value[g->bond[i].a] + value[g->bond[i].b])
                   / (2. * g->bonds);
}

/* Depth, pit and ratio; dopants by them. */
static void ground_signals(finding *f, const signals *s, const double *value)
{
    atomdl_ground *is = &f->to->ground;
    const atomdl_graph *g = &f->to->graph;
    const atomdl_chemistry *c = g->chemistry;
    double first = s->column[0] - s->hollow, other = s->column[1] - s->hollow;
    double above = (absolute(first) + absolute(other)) / 2;
    if (!s->columns[0] || !s->columns[1] || !s->hollows) return;
    if (above > 0) {
        is->depth = (s->ends - s->middle) / above;
        is->pit = (s->rim - s->hollow) / above;
    }
    double mean = (s->column[0] + s->column[1]) / 2;
    int alike = !of_two_elements(c), sheet = by_brightness(f->finder);
    double apart = alike || sheet ? ratio_apart(value, g, mean, s->hollow) : 0;
    if (alike) is->ratio = apart;
    else if (sheet) is->ratio = apart > 0 ? 1 / apart : 0;
    else if (first > 0) is->ratio = other / first;
    name_dopants(f, value, first, s->hollow);
}

/* ---------- Finding: unknown elements --------------------------------------

   METHOD D.9: what a dopant of a flat sheet adds to the image over what its
   host's columns add, and of which elements that may be. */

#define AROUND 8.0 /* A: the host's columns beside a dopant */
enum { FEW_AROUND = 6 };

/* Cross-sections over carbon's, the least and the most of METHOD B.4's
   instruments; real images show up to ALLOWED[1] of it, blurred ones less. */
static const struct {
    u8 z;
    double signal[2];
} OVER_CARBON[] = {{5, {0.67, 0.72}}, {6, {1, 1}}, {7, {1.33, 1.39}},
                   {14, {4.24, 5.22}}, {16, {5.27, 6.69}}, {23, {10.5, 12.6}},
                   {34, {18.0, 25.6}}, {42, {23.9, 36.5}}, {52, {32.8, 49.8}},
                   {74, {46.6, 84.2}}};
static const double ALLOWED[2] = {0.85, 1.35};

/* Element z's, by a straight line in ln Z and ln signal. */
static double over_carbon(int z, int side)
{
    int i = 0, last = (int)(sizeof OVER_CARBON / sizeof *OVER_CARBON) - 1;
    while (i < last - 1 && OVER_CARBON[i + 1].z <= z) i++;
    double x = atomdl_log((double)OVER_CARBON[i].z);
    double y = atomdl_log(OVER_CARBON[i].signal[side]);
    double slope = (atomdl_log(OVER_CARBON[i + 1].signal[side]) - y)
                   / (atomdl_log((double)OVER_CARBON[i + 1].z) - x);
    return atomdl_exp(y + slope * (atomdl_log((double)z) - x));
}

/* What one column of the host adds where it stands, over what it shows above
   the hollow sites: sharp, its neighbours fill neither; by how high the middles
   of bonds rise between the two. Simulated, METHOD D.9. */
static double column_share(double middle)
{
    static const double AT[][2] = {{0.43, 1.03}, {0.57, 1.06}, {0.65, 1.09},
                                   {0.70, 1.12}, {0.75, 1.17}, {0.79, 1.23},
                                   {0.82, 1.31}, {0.845, 1.43}, {0.865, 1.53}};
    int i = 0, last = (int)(sizeof AT / sizeof *AT) - 1;
    double at = most(AT[0][0], least(AT[last][0], middle));
    while (i < last - 1 && AT[i + 1][0] <= at) i++;
    return AT[i][1] + (AT[i + 1][1] - AT[i][1]) * (at - AT[i][0])
           / (AT[i + 1][0] - AT[i][0]);
}

typedef struct { /* how dopants of a flat sheet are read */
    const double *value; /* of each node */
    double above;        /* the host's columns, above the hollow sites */
    double share, unit;  /* column_share; the host's signal over carbon's */
    double noise;        /* s.d. of a column of the host, but for what changes
                            slowly over the image */
} guests;

/* By the mean difference of host's columns two bonds apart, on the second
   sublattice where it has two. */
static double noise_of(const double *value, const atomdl_graph *g)
{
    double sum = 0, n = 0;
    for (int i = 0; i < g->bonds; i++) {
        u32 a = g->bond[i].a, b = g->bond[i].b;
        for (int turn = 0; turn < 2; turn++, a = b, b = g->bond[i].a)
            for (u32 k = g->first[b]; k < g->first[b + 1]; k++) {
                u32 far = g->link[k];
                if (far == a || (g->flag[a] | g->flag[far]) & ATOMDL_EDGE
                    || !is_column(g->chemistry, &g->node[a], 1)
                    || !is_column(g->chemistry, &g->node[far], 1)) continue;
                sum += absolute(value[a] - value[far]);
                n++;
            }
    }
    return 0.886227 * sum / most(n, 1); /* sqrt(pi) / 2 */
}

/* The mean and s.d. of the host's columns around node i, but of those bonded to
   dopants; returns how many. */
static int columns_around(double *mean, double *sd, const atomdl_graph *g,
                          const cell_grid *cells, const double *value, int i)
{
    const atomdl_node *p = &g->node[i];
    spread s = {0};
    for (cell_walk w = walk_start(cells, p->x, p->y, AROUND); walk_next(&w);)
        if (!(g->flag[w.at] & (ATOMDL_DOPANT | ATOMDL_EDGE))
            && apart(p, &g->node[w.at]) < AROUND)
            spread_add(&s, value[w.at], 0);
    return spread_of(&s, mean, sd, NULL);
}

/* The signal of dopant i and the elements that it may be of: those whose signal
   is within two s.d. of it, that of the columns around, and what counting adds
   where it is brighter. */
static void name_range(atomdl_node *p, const atomdl_graph *g,
                       const cell_grid *cells, const guests *is, int i)
{
    double mean, sd;
    if (columns_around(&mean, &sd, g, cells, is->value, i) < FEW_AROUND)
        return;
    double more = (is->value[i] - mean) / is->above; /* than a column */
    double signal = (1 + more / is->share) * is->unit;
    double error = is->noise * atomdl_sqrt(most(more, 0));
    error = length(sd, error) / is->above / is->share * is->unit;
    int low = 1, high = ATOMDL_ELEMENTS;
    while (low < high
           && ALLOWED[1] * over_carbon(low, 1) < signal - 2 * error) low++;
    while (high > low
           && ALLOWED[0] * over_carbon(high, 0) > signal + 2 * error) high--;
    p->signal = (float)signal;
    p->z_from = (u8)low;
    p->z_to = (u8)high;
}

/* Names what dopants of a sheet may be; one whose element is none of that
   becomes unknown. */
static void name_unknown(finding *f, const signals *s, const double *value,
                         const cell_grid *cells)
{
    const atomdl_graph *g = &f->to->graph;
    const atomdl_chemistry *c = g->chemistry;
    double mean = (s->column[0] + s->column[1]) / 2, low = 1e9, high = 0;
    guests is = {value, mean - s->hollow, 1, 0, noise_of(value, g)};
    int n = 0;
    if (c->count[1] != 1 || !s->hollows || !(is.above > 0)) return;
    is.share = column_share((s->middle - s->hollow) / is.above);
    for (int k = 0; k < 4; k++)
        is.unit += over_carbon(c->host[k / 2], k % 2) / 4;
    for (int i = 0; i < g->nodes; i++) {
        atomdl_node *p = &f->to->node[i];
        if (!(g->flag[i] & ATOMDL_DOPANT) || !p->count) continue;
        if (f->to->data < 1 && blank_about(f, p, SPOT * c->a) > 0) continue;
        name_range(p, g, cells, &is, i);
        if (!p->z_to || within(p->z, p->z_from, p->z_to)) continue;
        p->z = 0;
        low = least(low, p->z_from);
        high = most(high, p->z_to);
        n++;
    }
    if (n) find_notes(f, (atomdl_note){ATOMDL_NOTE_UNKNOWN, {n, low, high}});
}

/* A lone chalcogen's signal over a lone molybdenum's, simulated for METHOD D.9;
   0: of S, beside which no lighter chalcogen of the table stands. */
static double chalcogen_signal(int z)
{
    return z == 34 ? 0.70 : z == 52 ? 1.24 : 0;
}

/* Warns of chalcogens' columns that another chalcogen may be in: one left of a
   pair that is brighter than such a one is beside its metal (S with Se in WSe2)
   and columns brighter than a pair, which the network may take for metal (Se
   with S in MoS2). Bounds: METHOD D.9. */
static void warn_alloy(finding *f, const signals *s, const double *value)
{
    const atomdl_graph *g = &f->to->graph;
    const atomdl_chemistry *c = g->chemistry;
    double pair = s->column[1] - s->hollow, sum = 0, noise;
    double one = 1.15 * (s->column[0] - s->hollow)
                 * chalcogen_signal(c->host[1]);
    int single = 0, above = 0, sure = 0, bright = 0;
    if (!metal_signal(c->host[0]) || !(one >= 0) || !(pair > 0)) return;
    one = one > 0 ? one / metal_signal(c->host[0]) : 1e300;
    noise = noise_of(value, g);
    for (int i = 0; i < g->nodes; i++) {
        const atomdl_node *p = &g->node[i];
        double is = value[i] - s->hollow;
        int own = p->z == c->host[1], left = own && p->count == 1;
        if (g->flag[i] & ATOMDL_NEAR_BORDER
            || g->first[i + 1] - g->first[i] != 3) continue;
        single += left;
        sum += left ? is : 0;
        above += left && is > one;
        sure += left && is > one + 2 * noise;
        bright += own ? p->count == 2 && is > 1.4 * pair + 3 * noise
                      : p->z == c->host[0] && p->count == 2;
    }
    int all = single > 3 && sum > single * one
                                  + 3 * noise * atomdl_sqrt((double)single);
    if (!all && 8 * sure < single) above = 0;
    if (!all && above) above = sure;
    if (above + bright > 1)
        find_notes(f, (atomdl_note){ATOMDL_NOTE_ALLOY, {above, bright}});
}

/* What the image says. */
static int ground_look(finding *f, atomdl_arena *arena)
{
    size_t used = arena->used, n = (size_t)f->to->atoms;
    double *value = atomdl_alloc(arena, n, sizeof *value);
    signals s;
    cell_grid cells;
    int status = cells_new(&cells, f->to->node, sizeof *f->to->node,
                           f->to->atoms, AROUND, arena);
    if (scratch_only(&status, arena, used)) return status;
    memset(&s, 0, sizeof s);
    status = look_at_spots(value, f, f->to->node, f->to->atoms);
    if (!status) status = signals_between(&s, f);
    if (status) return status;
    signals_columns(&s, value, &f->to->graph);
    ground_signals(f, &s, value);
    name_unknown(f, &s, value, &cells);
    warn_alloy(f, &s, value);
    return ATOMDL_OK;
}

/* The first test that fails, from the coarsest on; with too few inner nodes of
   a small field none does. sites: columns that the field would hold. */
static void ground_judge(atomdl_findings *to, const atomdl_chemistry *c,
                         double sites)
{
    atomdl_ground *is = &to->ground;
    int rings = to->graph.rings;
    double good = is->order * is->score;
    int few = sites > GROUND_SITES
              && (is->found < FEW_FOUND || is->inner < GROUND_INNER);
    if (few)
        is->failed = (atomdl_note){ATOMDL_NOTE_SPARSE, {
            to->atoms, sites}};
    else if (is->inner < GROUND_INNER)
        return;
    else if (good < c->order)
        is->failed = (atomdl_note){ATOMDL_NOTE_DISORDER, {good, c->order}};
    else if (rings >= GROUND_RINGS && is->sixes < SIXES)
        is->failed = (atomdl_note){ATOMDL_NOTE_RINGS, {
            100 * is->sixes, 100 * SIXES}};
    else if (is->stretch > OBLONG)
        is->failed = (atomdl_note){ATOMDL_NOTE_STRETCHED, {
            is->stretch, OBLONG}};
    else if (is->depth < 0)
        is->failed = (atomdl_note){ATOMDL_NOTE_DARK, {is->depth}};
    else if (is->pit < 0)
        is->failed = (atomdl_note){ATOMDL_NOTE_LAYERS, {is->pit}};
    else if (c->ratio[1] > 0 && is->ratio > 0
             && !within(is->ratio, c->ratio[0], c->ratio[1]))
        is->failed = (atomdl_note){ATOMDL_NOTE_RATIO, {
            is->ratio, c->ratio[0], c->ratio[1]}};
}

/* All tests; dopants may change their element by the way. */
static int find_ground(finding *f, atomdl_arena *arena)
{
    atomdl_findings *to = f->to;
    const atomdl_chemistry *c = f->finder->chemistry;
    double px = f->how->pixel_x, py = f->how->pixel_y;
    double sites = 2.3094 * f->to->data * f->image->w * px * f->image->h * py
                   / (c->a * c->a);
    to->ground.asked = ground_asked(f->finder);
    if (!to->ground.asked) return ATOMDL_OK;
    int status = ground_order(to, arena);
    if (!status) status = ground_look(f, arena);
    if (status || !arena->base) return status;
    to->ground.found = to->atoms / sites;
    ground_judge(to, c, sites);
    count_bonds(to);
    double ratio = to->ground.ratio;
    to->ground.tested = to->ground.inner >= GROUND_INNER;
    if (!to->ground.tested && !to->ground.failed.code)
        find_warns(f, ATOMDL_NOTE_UNTESTED, to->ground.inner);
    if (of_two_elements(c) && ratio > 0 && !to->ground.failed.code
        && within(1 / ratio, c->ratio[0], c->ratio[1]))
        find_warns(f, ATOMDL_NOTE_SWAP, ratio);
    return ATOMDL_OK;
}

int atomdl_find(atomdl_findings *to, const atomdl_image *image,
                const atomdl_finder *finder, const atomdl_find_how *how,
                atomdl_arena *arena)
{
    const atomdl_chemistry *c = finder->chemistry;
    finding f = {.to = to, .image = image, .finder = finder, .how = how};
    memset(to, 0, sizeof *to);
    to->data = 1;
    int status = c ? find_sizes(&f) : ATOMDL_EARG, hosts = 0;
    if (!status && arena->base) status = find_blank(&f);
    if (!status && arena->base) status = find_contrast(&f);
    if (status) return status;
    if (most(how->pixel_x, how->pixel_y) > 2.5 * finder->meta.pixel_size)
        find_warns(&f, ATOMDL_NOTE_COARSER, 0);
    to->bonds = *c;
    if (how->rules) to->bonds.rules = how->rules;
    to->node = atomdl_alloc(arena, (size_t)f.room, sizeof *to->node);
    status = atomdl_arena_status(arena);
    if (!status) status = find_peaks(&f, arena);
    to->atoms = arena->base ? f.peaks : f.room;
    if (!status) status = find_merge(&f, arena);
    if (!status) status = find_order(&f, arena);
    if (!status) status = find_fits(&f, arena);
    if (!status && how->intensity) status = find_intensities(&f, arena);
    if (!status && arena->base) count_vacancies(&f);
    if (!status) status = find_species(&f, arena);
    if (!status) status = find_bonds(&f, arena);
    if (!status) status = find_ground(&f, arena);
    if (!status) status = find_defects(&f, arena);
    for (int i = 0; i < finder->classes; i++)
        hosts |= finder->class_of[i].z == c->host[0];
    if (!status && arena->base && !to->atoms && hosts)
        find_warns(&f, ATOMDL_NOTE_EMPTY, 0);
    return status;
}

/* ---------- Finding: the pixel size --------------------------------------- */

/* From here on the scale or the lattice is another, in fields of six cells; but
   for the root of 3, which two grains at 30 degrees show. */
#define SCALE_OFF 1.15

static int is_other_scale(double ratio)
{
    double off = ratio < 1 ? 1 / ratio : ratio;
    return off > SCALE_OFF && !within(off, 0.96 * ROOT3, 1.04 * ROOT3);
}

/* A known pixel size beside the lattice's, which is good to a small part of
   one cell over the whole image. */
static void pixel_compare(atomdl_pixel *p, const atomdl_image *image, double a)
{
    const atomdl_sampling *l = &p->lattice;
    double known = atomdl_sqrt(p->x * p->y), ratio = l->pixel / known;
    double axes = l->x / l->y * p->y / p->x;
    double across = least_int(image->w, image->h) * known / a;
    double limit = across < 12 ? 0.35 / across : 0.03;
    if (l->confidence < 0.5) return;
    if (across * ratio > 6 && is_other_scale(ratio))
        p->failed = (atomdl_note){ATOMDL_NOTE_SCALE, {l->pixel, known}};
    if (ratio < 1 - limit || ratio > 1 + limit)
        p->warning[p->warnings++] = (atomdl_note){ATOMDL_NOTE_PIXEL, {
            l->pixel, known, 100 * (ratio - 1)}};
    if (axes < 0.98 - limit || axes > 1.02 + limit
        || absolute(l->shear) > 0.05)
        p->warning[p->warnings++] = (atomdl_note){ATOMDL_NOTE_DISTORTED, {
            axes, l->shear * 57.29577951308232}};
}

static int pixel_shows_atoms(double pixel)
{
    return pixel > 0.001 && pixel < 10;
}

int atomdl_pixel_find(atomdl_pixel *pixel, const atomdl_image *image,
                      const atomdl_chemistry *chemistry, atomdl_arena *arena)
{
    int status = atomdl_sampling_find(&pixel->lattice, image, 0, chemistry->a,
                                      0, 0, arena);
    pixel->warnings = pixel->from_lattice = 0;
    pixel->failed.code = ATOMDL_NOTE_NONE;
    if (status) pixel->lattice.confidence = 0;
    if (status && atomdl_arena_status(arena)) return ATOMDL_EMEM;
    if (!arena->base) return ATOMDL_OK;
    if (pixel_shows_atoms(pixel->x) && pixel_shows_atoms(pixel->y)) {
        pixel_compare(pixel, image, chemistry->a);
        return ATOMDL_OK;
    }
    if (pixel->x > 0) return ATOMDL_EARG;
    double axes = pixel->lattice.x / pixel->lattice.y;
    if (pixel->lattice.confidence < 0.5 || !within(axes, 1 / OBLONG, OBLONG))
        return ATOMDL_EMISSING;
    pixel->x = pixel->lattice.x;
    pixel->y = pixel->lattice.y;
    pixel->from_lattice = 1;
    return ATOMDL_OK;
}

#else /* ===== the fast pass, once per vector width ===== */

#define V_LANES (V_BYTES / 4)
#if V_LANES == 1
typedef float V(vec);
typedef int V(ints);
#else
typedef float V(vec) __attribute__((vector_size(4 * V_LANES)));
typedef int V(ints) __attribute__((vector_size(4 * V_LANES)));
#endif

/* Two vectors at a time: a line of the cache is read once, even where all
   rows fall into the same set of it. */
static void V(down)(float *a, float *b, const float *const *row,
                    const scale *k, int x, int n)
{
    int end = x + n, r = k->r;
    RAN("down");
    for (; x + 2 * V_LANES <= end; x += 2 * V_LANES) {
        V(vec) u[2], v[2], sa[2], sb[2];
        memcpy(v, row[r] + x, sizeof v);
        UNROLL
        for (int i = 0; i < 2; i++) {
            sa[i] = v[i] * k->df[0];
            sb[i] = v[i] * k->gf[0];
        }
        for (int t = 1; t <= r; t++) {
            memcpy(u, row[r - t] + x, sizeof u);
            memcpy(v, row[r + t] + x, sizeof v);
            UNROLL
            for (int i = 0; i < 2; i++) {
                sa[i] = sa[i] + (u[i] + v[i]) * k->df[t];
                sb[i] = sb[i] + (u[i] + v[i]) * k->gf[t];
            }
        }
        memcpy(a + x, sa, sizeof sa);
        memcpy(b + x, sb, sizeof sb);
    }
    for (; x < end; x++) {
        a[x] = row[r][x] * k->df[0];
        b[x] = row[r][x] * k->gf[0];
        for (int t = 1; t <= r; t++) {
            a[x] = a[x] + (row[r - t][x] + row[r + t][x]) * k->df[t];
            b[x] = b[x] + (row[r - t][x] + row[r + t][x]) * k->gf[t];
        }
    }
}

/* Rows: the same folded sums along x, out <- the response. */
static void V(along)(float *out, const float *a, const float *b,
                     const scale *k, int x, int n)
{
    float s2 = (float)(k->s * k->s);
    int end = x + n;
    RAN("along");
    for (; x + V_LANES <= end; x += V_LANES) {
        V(vec) p, q, u, v, sa, sb;
        memcpy(&p, a + x, sizeof p);
        memcpy(&q, b + x, sizeof q);
        sa = p * k->gf[0];
        sb = q * k->df[0];
        for (int t = 1; t <= k->r; t++) {
            memcpy(&p, a + x - t, sizeof p);
            memcpy(&u, a + x + t, sizeof u);
            memcpy(&q, b + x - t, sizeof q);
            memcpy(&v, b + x + t, sizeof v);
            sa = sa + (p + u) * k->gf[t];
            sb = sb + (q + v) * k->df[t];
        }
        sa = -(sa + sb) * s2;
        memcpy(out + x, &sa, sizeof sa);
    }
    for (; x < end; x++) {
        float sa = a[x] * k->gf[0], sb = b[x] * k->df[0];
        for (int t = 1; t <= k->r; t++) {
            sa = sa + (a[x - t] + a[x + t]) * k->gf[t];
            sb = sb + (b[x - t] + b[x + t]) * k->df[t];
        }
        out[x] = -(sa + sb) * s2;
    }
}

static int V(promising)(const float *v, const float *const near[4], int x,
                        float low, float e)
{
    V(ints) any = {0};
    int end = x + 16, found = 0;
    RAN("promising");
    for (; x < end; x += V_LANES) {
        V(vec) c, n;
        V(ints) some;
        memcpy(&c, v + x, sizeof c);
        some = c > low;
        c = c + e;
        memcpy(&n, &v[x - 1], sizeof n);
        some &= c >= n;
        memcpy(&n, &v[x + 1], sizeof n);
        some &= c >= n;
        for (int i = 0; i < 4; i++) {
            memcpy(&n, near[i] + x, sizeof n);
            some &= c >= n;
        }
        any |= some;
    }
    int lane[V_LANES];
    memcpy(lane, &any, sizeof lane);
    for (int i = 0; i < V_LANES; i++) found |= lane[i];
    return found;
}

static const blob_pass V(PASS) = {V(down), V(along), V(promising)};

#undef V_ISA
#undef V_BYTES
#undef V_LANES
#undef ATOMDL_BLOB_PASS
#endif /* ATOMDL_BLOB_PASS */
