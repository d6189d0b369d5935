/* SPDX-License-Identifier: MIT
   The convolution kernels of every instruction set against the definition,
   on random shapes. Kernels are not public: this file holds a library of its
   own. */

#define ATOMDL_API static
#ifdef __GNUC__
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../atomdl.c"

#include "test.h"

enum { GUARDS = 64, TURNS = 250 };
static const float GUARD = 777;

/* rows of channels, logical size (c, w); GUARDS floats on both sides that
   must not change, then ROW_MARGIN zeros before and ROW_SLACK behind */
typedef struct {
    int rows, c, w, pitch;
    size_t n;      /* floats from x on */
    float *all, *x;
} grid;

static grid grid_new(int rows, int c, int w, int pitch, int shift)
{
    grid g;
    g.rows = rows;
    g.c = c;
    g.w = w;
    g.pitch = pitch;
    g.n = (size_t)rows * (size_t)c * (size_t)pitch;
    size_t total = g.n + 2 * GUARDS + ROW_MARGIN + ROW_SLACK + 16;
    g.all = malloc(total * sizeof(float));
    for (size_t i = 0; i < total; i++) g.all[i] = GUARD;
    g.x = g.all + GUARDS + ROW_MARGIN + shift; /* any alignment */
    for (size_t i = 0; i < g.n + ROW_MARGIN + ROW_SLACK; i++)
        g.x[(ptrdiff_t)i - ROW_MARGIN] = 0;
    return g;
}

static float *grid_row(const grid *g, int y)
{
    return g->x + (size_t)y * (size_t)g->c * (size_t)g->pitch;
}

static int grid_whole(const grid *g)
{
    for (int i = 0; i < GUARDS; i++)
        if (g->x[-1 - ROW_MARGIN - i] != GUARD
            && g->x - 1 - ROW_MARGIN - i >= g->all)
            return 0;
    for (int i = 0; i < ROW_MARGIN + ROW_SLACK; i++)
        if (g->x[i < ROW_MARGIN ? -1 - i : (ptrdiff_t)(g->n) + i - ROW_MARGIN]
            != 0)
            return 0;
    return g->x[g->n + ROW_SLACK] == GUARD
           && g->x[g->n + ROW_SLACK + 20] == GUARD;
}

static void grid_random(grid *g, atomdl_rng *r)
{
    for (int y = 0; y < g->rows; y++)
        for (int c = 0; c < g->c; c++)
            atomdl_rng_normal(r, grid_row(g, y) + c * g->pitch, (size_t)g->w);
}

/* A convolution of an image of h x w: where the logical pixel (y, x) lies. */
typedef struct {
    struct atomdl_conv c;
    int h, w, pad, half; /* half: where odd columns begin, or 0 */
    grid in, out, zero;
    const float **rows;
    int off[ATOMDL_SIDE], first, turn;
    float *weight, *packed, *other;
} job;

static float pixel(const job *j, int c, int y, int x)
{
    if (y < 0 || x < 0 || y >= j->h || x >= j->w) return 0;
    if (j->half) x = x / 2 + x % 2 * j->half;
    return grid_row(&j->in, y)[c * j->in.pitch + x];
}

/* the input that output (y, x) multiplies with tap (ky, kx) */
static float input_of(const job *j, int i, int y, int x, int ky, int kx)
{
    int d = j->c.dil;
    if (d < 0) return pixel(j, i, y - ky, x - kx);
    return pixel(j, i, y * j->c.step + ky * d - j->pad,
                 x * j->c.step + kx * d - j->pad);
}

static int between(atomdl_rng *r, int low, int high)
{
    return low + (int)atomdl_rng_below(r, (uint32_t)(high - low + 1));
}

static void job_shape(job *j, atomdl_rng *r)
{
    static const int SIDE[] = {1, 3, 5, 7, 11}, DIL[] = {1, 2, 4, 6};
    static const int FLAGS[] = {0, 1, 2, 4, 5, 6, 8, 9, 10, CONV_ADD};
    struct atomdl_conv *c = &j->c;
    int small = between(r, 0, 3) > 0;
    memset(j, 0, sizeof *j);
    c->k = c->kw = SIDE[between(r, 0, 4)];
    c->step = between(r, 1, 2);
    c->dil = DIL[between(r, 0, 3)];
    if (c->dil * (c->k - 1) / 2 > 15) c->dil = 1;
    if (between(r, 0, 7) == 0) c->k = c->kw = 3, c->step = 1, c->dil = -1;
    c->ci = between(r, 1, small ? 12 : 70);
    c->co = between(r, 1, small ? 20 : 70);
    if (c->k > 5) c->ci = (c->ci + 3) / 4, c->co = (c->co + 3) / 4;
    j->w = between(r, 1, between(r, 0, 3) ? 40 : 110);
    j->h = between(r, 1, small ? 20 : 6);
    if (c->step == 2) j->w += j->w % 2, j->h += j->h % 2;
    c->w = j->w / c->step;
    c->flags = FLAGS[between(r, 0, 9)];
    c->slope = 0.3f;
    j->pad = c->dil < 0 ? 0 : c->dil * (c->k - 1) / 2;
    j->first = c->dil < 0 ? c->k - 1 : 0;
}

static void job_rows(job *j, atomdl_rng *r)
{
    struct atomdl_conv *c = &j->c;
    int reach = (c->k - 1) * (c->dil < 0 ? 1 : c->dil);
    int wide = pitch_for(c->step == 2 ? (j->w + 1) / 2 : j->w);
    wide += 16 * between(r, 0, 2);
    j->half = c->step == 2 ? wide : 0;
    c->pitch_in = c->step == 2 ? 2 * wide : wide;
    c->pitch_out = pitch_for(c->w) + 16 * between(r, 0, 2);
    j->in = grid_new(j->h, c->ci, j->w, c->pitch_in, between(r, 0, 3));
    j->zero = grid_new(1, c->ci, j->w, c->pitch_in, between(r, 0, 3));
    j->out = grid_new(j->h / c->step, c->co, c->w, c->pitch_out,
                      between(r, 0, 3));
    for (int i = 0; i < j->h * c->ci; i++) {
        float *x = j->in.x + (size_t)i * (size_t)c->pitch_in, v[128];
        atomdl_rng_normal(r, v, (size_t)j->w);
        for (int n = 0; n < j->w; n++)
            x[j->half ? n / 2 + n % 2 * j->half : n] = v[n];
    }
    int n = (j->out.rows - 1) * c->step + reach + 1;
    j->rows = malloc((size_t)n * sizeof *j->rows);
    for (int i = 0; i < n; i++) {
        int y = i - (c->dil < 0 ? reach : j->pad);
        j->rows[i] = y < 0 || y >= j->h ? j->zero.x : grid_row(&j->in, y);
    }
    for (int i = 0; i < c->k; i++) {
        int x = c->dil < 0 ? -i : i * c->dil - j->pad;
        j->off[i] = !j->half ? x
                    : x & 1  ? j->half + (x - 1) / 2 : x / 2;
    }
    c->off = j->off;
}

static stored_weights weights_as(const job *j)
{
    const struct atomdl_conv *c = &j->c;
    ptrdiff_t row = (ptrdiff_t)c->k * c->ci;
    stored_weights w = {j->weight, 0, c->k * row, row, c->ci, 1,
                        c->co, c->ci, c->k, c->k * c->k};
    return w;
}

static void job_weights(job *j, atomdl_rng *r)
{
    struct atomdl_conv *c = &j->c;
    size_t taps = (size_t)(c->k * c->k * c->ci), n = (size_t)c->co * taps;
    j->weight = malloc(n * sizeof(float));
    j->packed = malloc(filter_floats(c->co, c->ci, c->k * c->k) * sizeof(float));
    j->other = malloc(3 * (size_t)c->co * sizeof(float));
    atomdl_rng_normal(r, j->weight, n);
    atomdl_rng_normal(r, j->other, 3 * (size_t)c->co);
    if (between(r, 0, 9) == 0) { /* -0 stays what it is: -0 + 0 (-w) */
        for (size_t i = 0; i < n; i++) j->weight[i] = -fabsf(j->weight[i]);
        for (size_t i = 0; i < (size_t)c->co; i++) j->other[i] = -0.0f;
        memset(j->in.x, 0, j->in.n * sizeof(float));
    }
    stored_weights w = weights_as(j);
    conv_pack(j->packed, &w);
    c->weight = j->packed;
    c->bias = j->other;
    c->scale = j->other + c->co;
    c->shift = c->scale + c->co;
}

static void job_free(job *j)
{
    free(j->in.all);
    free(j->out.all);
    free(j->zero.all);
    free((void *)j->rows);
    free(j->weight);
    free(j->packed);
    free(j->other);
}

/* output (o, y, x); before: what stands there */
static float defined(const job *j, int o, int y, int x, float before)
{
    const struct atomdl_conv *c = &j->c;
    const float *w = j->weight + (size_t)o * (size_t)(c->k * c->k * c->ci);
    float s = c->bias[o];
    for (int ky = 0; ky < c->k; ky++)
        for (int kx = 0; kx < c->k; kx++)
            for (int i = 0; i < c->ci; i++) {
                float p = input_of(j, i, y, x, ky, kx) * *w++;
                s = s + p;
            }
    if (c->flags & CONV_AFFINE_FIRST) s = s * c->scale[o], s = s + c->shift[o];
    if (c->flags & CONV_RELU) s = s > 0 ? s : 0;
    if (c->flags & CONV_LEAKY) s = s > 0 ? s : s * c->slope;
    if (c->flags & CONV_AFFINE) s = s * c->scale[o], s = s + c->shift[o];
    return c->flags & CONV_ADD ? before + s : s;
}

static void say(const job *j, const char *kernel, const char *what)
{
    const struct atomdl_conv *c = &j->c;
    FAIL("%s, %s, case %d: k %d, step %d, dil %d, %d -> %d channels, %d x %d, "
         "flags %d", kernel, what, j->turn, c->k, c->step, c->dil, c->ci, c->co,
         j->h, j->w, c->flags);
}

/* Every variant gives `want`, in two calls, and touches nothing else. */
static void check_forward(job *j, atomdl_rng *r)
{
    const struct atomdl_conv *c = &j->c;
    grid want = grid_new(j->out.rows, c->co, c->w, c->pitch_out, 0);
    grid before = grid_new(j->out.rows, c->co, c->w, c->pitch_out, 0);
    grid_random(&before, r);
    for (int y = 0; y < want.rows; y++)
        for (int o = 0; o < c->co; o++)
            for (int x = 0; x < c->w; x++) {
                int at = o * c->pitch_out + x;
                grid_row(&want, y)[at] =
                    defined(j, o, y, x, grid_row(&before, y)[at]);
            }
    const atomdl_kernels *k;
    float *to[128];
    for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++) {
        for (int y = 0; y < want.rows; y++) {
            to[y] = grid_row(&j->out, y);
            memcpy(to[y], grid_row(&before, y),
                   (size_t)(c->co * c->pitch_out) * sizeof(float));
            if (c->flags & CONV_ADD) continue;
            for (int x = 0; x < c->co * c->pitch_out; x++) to[y][x] = GUARD;
        }
        int y = between(r, 0, want.rows);
        k->conv(c, to, j->rows + j->first, y);
        k->conv(c, to + y, j->rows + j->first + y * c->step, want.rows - y);
        if (memcmp(j->out.x, want.x, want.n * sizeof(float)))
            say(j, k->name, "forward");
        if (!grid_whole(&j->out) || !grid_whole(&j->in)
            || !grid_whole(&j->zero))
            say(j, k->name, "forward wrote beyond");
    }
    free(want.all);
    free(before.all);
}

/* a weight's gradient: 16 lanes by column, rows in order, tree */
static float gradient_of(const job *j, const grid *dy, int o, int ky, int kx,
                         int i)
{
    float lane[16] = {0};
    for (int y = 0; y < dy->rows; y++)
        for (int x = 0; x < dy->w; x++) {
            float p = grid_row(dy, y)[o * dy->pitch + x]
                      * input_of(j, i, y, x, ky, kx);
            lane[x % 16] = lane[x % 16] + p;
        }
    for (int s = 8; s; s /= 2)
        for (int x = 0; x < s; x++) lane[x] = lane[x] + lane[x + s];
    return lane[0];
}

static void check_wgrad(job *j, atomdl_rng *r)
{
    const struct atomdl_conv *c = &j->c;
    size_t n = (size_t)(c->co * c->k * c->k * c->ci), at = 0;
    grid dy = grid_new(j->out.rows, c->co, c->w, c->pitch_out,
                       between(r, 0, 3));
    float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
    float *lanes = malloc((WGRAD_LANES + 1) * sizeof *lanes);
    grid_random(&dy, r);
    const float *rows[128];
    for (int i = 0; i < dy.rows; i++) rows[i] = grid_row(&dy, i);
    for (int o = 0; o < c->co; o++)
        for (int ky = 0; ky < c->k; ky++)
            for (int kx = 0; kx < c->k; kx++)
                for (int i = 0; i < c->ci; i++)
                    want[at++] = gradient_of(j, &dy, o, ky, kx, i);
    struct atomdl_tile t = {rows, j->rows + j->first, dy.rows, 0, 0, 0, NULL};
    const atomdl_kernels *k;
    const stored_weights w = weights_as(j);
    for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++) {
        memset(got, 0xff, n * sizeof *got);
        memset(lanes, 0xff, WGRAD_LANES * sizeof *lanes);
        lanes[WGRAD_LANES] = GUARD;
        conv_wgrad(k, c, got, &w, &t, lanes);
        if (memcmp(got, want, n * sizeof *got)) say(j, k->name, "gradient");
        if (lanes[WGRAD_LANES] != GUARD || !grid_whole(&dy))
            say(j, k->name, "gradient wrote beyond");
    }
    free(dy.all);
    free(want);
    free(got);
    free(lanes);
}

void test_kernels_conv(void)
{
    const char *more = getenv("TURNS");
    int turns = more ? atoi(more) : TURNS;
    atomdl_rng root = atomdl_rng_seed(40);
    job j;
    for (int i = 0; i < turns && test_failures < 6; i++) {
        atomdl_rng r = atomdl_rng_split(&root, (uint64_t)i);
        job_shape(&j, &r);
        j.turn = i;
        job_rows(&j, &r);
        job_weights(&j, &r);
        check_forward(&j, &r);
        check_wgrad(&j, &r);
        job_free(&j);
    }
}
