/* SPDX-License-Identifier: MIT
   Slow networks: the layers of examples/lesson.c and, in the same form, those
   that it leaves out, joined in any way. slow64.c compiles this file once more,
   in binary64. */

#include "reference.h"

#ifndef SLOW64
typedef float real;
#define NAME(stem) stem##_float
#endif

#define LESSON_TEST
#include "../examples/lesson.c"

/* ---------- More layers --------------------------------------------------- */

static real input_at(const layer *l, int m, int c, int r, int q)
{
    return *px(l->in, l->x, m, c, r, q);
}

/* Adds g to one pixel of dx, which has the shape of `in`. */
static void give_back(const layer *in, real *dx, int m, int c, int r, int q,
                      real g)
{
    real *to = px(in, dx, m, c, r, q);
    *to = *to + g;
}

/* in2 of concat and add: layers lie in the order of rows. */
static const layer *second_of(const layer *l)
{
    return l->in + (l->row->in2 - l->row->in);
}

/* y = x where x > 0, else p x;   dL/dx likewise */
static void leaky(layer *l, int m, int c, int r, int q)
{
    real v = input_at(l, m, c, r, q);
    *px(l, l->y, m, c, r, q) = v > 0 ? v : v * (real)l->row->p;
}

static void leaky_back(layer *l, int m, int c, int r, int q)
{
    real v = input_at(l, m, c, r, q), g = *px(l, l->g, m, c, r, q);
    give_back(l->in, l->dx, m, c, r, q, v > 0 ? g : g * (real)l->row->p);
}

/* Place i, or the edge that it lies beyond. */
static int clamped(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* The farther of the two input rows (columns) beside output row i. */
static int farther(int i, int n)
{
    return clamped(i % 2 ? i / 2 + 1 : i / 2 - 1, n);
}

/* In one column: 3/4 of the near row, 1/4 of the far one. */
static real mixed_rows(const layer *l, int m, int c, int r, int q)
{
    real a = (real)0.75 * input_at(l, m, c, r / 2, q);
    real b = (real)0.25 * input_at(l, m, c, farther(r, l->in->h), q);
    return a + b;
}

/* Rows first, then columns likewise; at the edges pixels repeat. */
static void bilinear(layer *l, int m, int c, int r, int q)
{
    real a = (real)0.75 * mixed_rows(l, m, c, r, q / 2);
    real b = (real)0.25 * mixed_rows(l, m, c, r, farther(q, l->in->w));
    *px(l, l->y, m, c, r, q) = a + b;
}

/* Input row (column) i is 3/4 of outputs 2i, 2i + 1 and 1/4 of 2i - 1, 2i + 2,
   or of those at the edge. Columns are folded first; once for four outputs. */
static void bilinear_back(layer *l, int m, int c, int r, int q)
{
    static const int PLACE[] = {0, 1, -1, 2};
    static const real PART[] = {(real)0.75, (real)0.75, (real)0.25, (real)0.25};
    real sum = 0;
    if (r % 2 || q % 2) return;
    for (int i = 0; i < 4; i++) {
        int row = clamped(r + PLACE[i], l->h);
        real fold = 0;
        for (int j = 0; j < 4; j++) {
            int column = clamped(q + PLACE[j], l->w);
            fold = fold + PART[j] * *px(l, l->g, m, c, row, column);
        }
        sum = sum + PART[i] * fold;
    }
    give_back(l->in, l->dx, m, c, r / 2, q / 2, sum);
}

/* y = the channels of in, then of in2;   dL/dx += g of the same channel */
static void concat(layer *l, int m, int c, int r, int q)
{
    const layer *in2 = second_of(l);
    int first = l->in->c;
    *px(l, l->y, m, c, r, q) = c < first
                                   ? input_at(l, m, c, r, q)
                                   : *px(in2, in2->y, m, c - first, r, q);
}

static void concat_back(layer *l, int m, int c, int r, int q)
{
    const layer *in2 = second_of(l);
    real g = *px(l, l->g, m, c, r, q);
    int first = l->in->c;
    if (c < first) give_back(l->in, l->dx, m, c, r, q, g);
    else give_back(in2, in2->g, m, c - first, r, q, g);
}

/* y = x + x2;   dL/dx += g, dL/dx2 += g */
static void add(layer *l, int m, int c, int r, int q)
{
    const layer *in2 = second_of(l);
    *px(l, l->y, m, c, r, q) = input_at(l, m, c, r, q)
                               + *px(in2, in2->y, m, c, r, q);
}

static void add_back(layer *l, int m, int c, int r, int q)
{
    const layer *in2 = second_of(l);
    real g = *px(l, l->g, m, c, r, q);
    give_back(l->in, l->dx, m, c, r, q, g);
    give_back(in2, in2->g, m, c, r, q, g);
}

/* y = 1 / (1 + exp(-x)); the way back is loss_back's. */
static void sigmoid(layer *l, int m, int c, int r, int q)
{
    *px(l, l->y, m, c, r, q) = 1 / (1 + atomdl_expf(-input_at(l, m, c, r, q)));
}

/* Dropout in use. */
static void unchanged(layer *l, int m, int c, int r, int q)
{
    *px(l, l->y, m, c, r, q) = input_at(l, m, c, r, q);
}

/* Normalisation in use: by the averages, and with a quotient less. */
static void normalisation_in_use(layer *l, int m, int c, int r, int q)
{
    const real *v = l->weight + c;
    real scale = v[0] / atomdl_sqrtf(v[3 * l->c] + 1e-5f);
    real shift = v[l->c] - v[2 * l->c] * scale;
    *px(l, l->y, m, c, r, q) = input_at(l, m, c, r, q) * scale + shift;
}

/* Every operator has a row here or in RULES of the lesson. Unlike the lesson's,
   these add to dL/dx. */
static const struct { rule *forward, *back; } MORE_RULES[ATOMDL_OPS] = {
    [ATOMDL_LEAKY] = {leaky, leaky_back},
    [ATOMDL_UPLINEAR] = {bilinear, bilinear_back},
    [ATOMDL_CONCAT] = {concat, concat_back},
    [ATOMDL_ADD] = {add, add_back},
    [ATOMDL_DROPOUT] = {unchanged, NULL},
    [ATOMDL_SIGMOID] = {sigmoid, NULL}
};

/* to += from times 0 or 1/(1 - p), for the outputs of a dropout as for its
   gradient. Words go row, channel, column. */
static void drop(const layer *l, real *to, real *from, int row,
                 const reference_train *train)
{
    uint64_t id = (uint64_t)train->step << 32 | (uint64_t)row;
    atomdl_rng root = atomdl_rng_seed(train->seed);
    atomdl_rng step = atomdl_rng_split(&root, id);
    real keep = 1 / (1 - (real)l->row->p);
    for (int m = 0; m < l->n; m++) {
        atomdl_rng words = atomdl_rng_split(&step, (uint64_t)m);
        for (int r = 0; r < l->h; r++)
            for (int c = 0; c < l->c; c++)
                for (int q = 0; q < l->w; q++) {
                    double u = (double)atomdl_rng_u32(&words) / 4294967296.0;
                    real v = *px(l, from, m, c, r, q) * keep;
                    if (u >= (double)l->row->p)
                        give_back(l, to, m, c, r, q, v);
                }
    }
}

/* ---------- Convolutions by tiles -----------------------------------------

   Those of 3 x 3, stride 1, dilation 1 and at least 16 channels in and out, in
   networks of at least 32768 values, by F(2x2, 3x3) of Winograd as the promise
   has it: 4 outputs at once, and in the same way 4 of dL/dx, whose weights are
   those turned by half a turn. */

/* Weights and averages of a network. */
static size_t values_of(const atomdl_arch *arch)
{
    size_t count = 0;
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++) count += t.count;
    return count;
}

static int by_tiles(const layer *l, const atomdl_arch *arch)
{
    return l->row->op == ATOMDL_CONV && l->k == 3 && l->row->stride == 1
           && l->row->dilation == 1 && l->c >= 16 && l->in->c >= 16
           && values_of(arch) >= 32768;
}

/* d: 4 numbers, s apart */
static void turn_input(real *d, int s)
{
    real a = d[0], b = d[s], c = d[2 * s];
    d[0] = a - c;
    d[s] = b + c;
    d[2 * s] = c - b;
    d[3 * s] = b - d[3 * s];
}

/* g: 3 numbers, s apart, become 4 */
static void turn_weight(real *g, int s)
{
    real b = g[s], c = g[2 * s], sum = g[0] + c;
    g[s] = (sum + b) / 2;
    g[2 * s] = (sum - b) / 2;
    g[3 * s] = c;
}

/* y: 4 numbers, s apart, become 2 */
static void turn_output(real *y, int s)
{
    y[0] = y[0] + y[s] + y[2 * s];
    y[s] = y[s] - y[2 * s] - y[3 * s];
}

/* Columns first, then rows. */
static void turn(void (*f)(real *, int), real *d, int columns, int rows)
{
    for (int i = 0; i < columns; i++) f(d + i, 4);
    for (int i = 0; i < rows; i++) f(d + 4 * i, 1);
}

typedef struct { /* weight of input channel i, tap t: at[t tap + i in] */
    const real *at;
    int tap, in;
} taps;

/* y <- outputs (r, q) ... (r + 1, q + 1), from channels of v, a layer's. */
static void tile_of(real *y, const layer *from, real *v, const taps *w,
                    real bias, int m, int r, int q)
{
    for (int j = 0; j < 16; j++) y[j] = j == 5 ? bias : 0;
    for (int i = 0; i < from->c; i++) {
        real g[16] = {0}, d[16];
        for (int t = 0; t < 9; t++)
            g[t / 3 * 4 + t % 3] = w->at[t * w->tap + i * w->in];
        for (int j = 0; j < 16; j++) {
            const real *x = px(from, v, m, i, r - 1 + j / 4, q - 1 + j % 4);
            d[j] = x ? *x : 0;
        }
        turn(turn_weight, g, 3, 4);
        turn(turn_input, d, 4, 4);
        for (int j = 0; j < 16; j++) y[j] = y[j] + g[j] * d[j];
    }
    turn(turn_output, y, 4, 2);
}

static void put_tile(const layer *l, real *to, const real *y, int m, int c,
                     int r, int q)
{
    for (int j = 0; j < 4; j++) {
        real *at = px(l, to, m, c, r + j / 2, q + j % 2);
        if (at) *at = y[j / 2 * 4 + j % 2];
    }
}

static void tiled(layer *l, int m, int o, int r, int q)
{
    int ci = l->in->c;
    taps w = {l->weight + o * 9 * ci, ci, 1};
    real y[16];
    if (r % 2 || q % 2) return;
    tile_of(y, l->in, l->x, &w, l->weight[l->weights - l->c + o], m, r, q);
    put_tile(l, l->y, y, m, o, r, q);
}

/* dL/dx, once for all output channels */
static void tiled_back(layer *l, int m, int o, int r, int q)
{
    int ci = l->in->c;
    real y[16];
    if (o || r % 2 || q % 2) return;
    for (int i = 0; i < ci; i++) {
        taps w = {l->weight + i + 8 * ci, -ci, 9 * ci};
        tile_of(y, l, l->g, &w, 0, m, r, q);
        put_tile(l->in, l->dx, y, m, i, r, q);
    }
}

/* ---------- Networks ------------------------------------------------------ */

/* The layers (rows + 1) of a job, to be freed: y of the first is the image, all
   other y and g are 0. */
static layer *layers_new(const reference_job *job, real *values,
                         real *gradient)
{
    layer draft[ATOMDL_ROWS + 1] = {
        {.n = job->n, .c = job->arch->channels, .h = job->h, .w = job->w}};
    size_t head = ((size_t)job->arch->rows + 1) * sizeof *draft;
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    layer *l;
    draft->size = job->n * draft->c * job->h * job->w;
    network_new(draft, job->arch, values, gradient, &a);
    l = malloc(head + a.peak + 2 * (size_t)draft->size * sizeof(real)
               + 2 * ATOMDL_ALIGN);
    *l = *draft;
    a.base = (unsigned char *)l + head;
    a.size = a.peak + 2 * (size_t)l->size * sizeof(real) + 2 * ATOMDL_ALIGN;
    a.used = 0;
    l->y = atomdl_alloc(&a, (size_t)l->size, sizeof(real));
    l->g = atomdl_alloc(&a, (size_t)l->size, sizeof(real));
    network_new(l, job->arch, values, gradient, &a);
    for (int i = 0; i <= job->arch->rows; i++)
        for (int k = 0; k < l[i].size; k++) l[i].y[k] = l[i].g[k] = 0;
    for (int k = 0; k < l->size; k++) l->y[k] = (real)job->image[k];
    return l;
}

/* Every layer's y; with job->train as in training. */
static void layers_forward(layer *l, const reference_job *job)
{
    const reference_train *train = job->train;
    for (int i = 1; i <= job->arch->rows; i++) {
        int op = l[i].row->op;
        if (op == ATOMDL_DROPOUT && train)
            drop(&l[i], l[i].y, l[i].x, i - 1, train);
        else if (op == ATOMDL_BATCHNORM && !train)
            each_pixel(&l[i], normalisation_in_use, 0);
        else if (by_tiles(&l[i], job->arch))
            each_pixel(&l[i], tiled, 0);
        else if (MORE_RULES[op].forward)
            each_pixel(&l[i], MORE_RULES[op].forward, 0);
        else
            layer_forward(&l[i], train ? (real)train->momentum : 0);
    }
}

/* A layer of the lesson sets dL/dx: here it is added to what others, further
   on, have given to the same input. */
static void layer_back_adding(layer *l, const atomdl_arch *arch)
{
    real *sum = l->dx, *own = malloc((size_t)l->in->size * sizeof *own);
    l->dx = own;
    layer_backward(l);
    if (by_tiles(l, arch)) each_pixel(l, tiled_back, 0);
    for (int i = 0; i < l->in->size; i++) sum[i] = sum[i] + own[i];
    l->dx = sum;
    free(own);
}

/* Where pixel i of the logits is among those of two classes. */
static int logit_of(int i, int classes, int pixels)
{
    return classes == 1 ? i + (i / pixels + 1) * pixels : i;
}

/* The loss; dL/dz of the layer before the last. One class is two, with logits 0
   and z. */
static real loss_back(const layer *end, const reference_job *job)
{
    static const atomdl_layer SOFTMAX = {.op = ATOMDL_SOFTMAX};
    int pixels = job->h * job->w, counted = 0;
    layer z = *end, last = *end;
    real loss, *room;
    z.c = last.c = end->c == 1 ? 2 : end->c;
    z.size = last.size = job->n * z.c * pixels;
    room = calloc(3 * (size_t)z.size + 16, sizeof *room);
    for (int i = 0; i < job->n * pixels; i++)
        counted += job->label[i] != ATOMDL_IGNORE;
    last.row = &SOFTMAX;
    last.in = &z;
    last.x = room;
    last.dx = room + z.size;
    last.y = room + 2 * z.size;
    last.lane = room + 3 * z.size;
    last.weights = 1;
    last.dw = &loss;
    last.label = job->label;
    last.share = 1 / (real)counted;
    for (int i = 0; i < end->size; i++)
        last.x[logit_of(i, end->c, pixels)] = end->x[i];
    layer_forward(&last, 0);
    layer_backward(&last);
    for (int i = 0; i < end->size; i++)
        end->dx[i] = last.dx[logit_of(i, end->c, pixels)];
    free(room);
    return loss;
}

real NAME(reference_gradient)(real *gradient, const reference_job *job,
                              real *values)
{
    layer *l = layers_new(job, values, gradient);
    real loss;
    layers_forward(l, job);
    loss = loss_back(&l[job->arch->rows], job);
    for (int i = job->arch->rows - 1; i > 0; i--) {
        int op = l[i].row->op;
        if (op == ATOMDL_DROPOUT)
            drop(&l[i], l[i].dx, l[i].g, i - 1, job->train);
        else if (MORE_RULES[op].back)
            each_pixel(&l[i], MORE_RULES[op].back, 0);
        else
            layer_back_adding(&l[i], job->arch);
    }
    free(l);
    return loss;
}

real *NAME(reference)(const reference_job *job, real *values, int want)
{
    real *waste = malloc((values_of(job->arch) + 1) * sizeof *waste), *y;
    layer *l = layers_new(job, values, waste);
    layers_forward(l, job);
    y = malloc((size_t)l[want + 1].size * sizeof *y);
    for (int i = 0; i < l[want + 1].size; i++) y[i] = l[want + 1].y[i];
    free(l);
    free(waste);
    return y;
}
