/* SPDX-License-Identifier: MIT
   A lesson: how a network computes and how it learns, in plain loops.

       cc -O2 examples/lesson.c atomdl.c -lm && ./a.out

   A network takes an image through layers, one after another, to probabilities:
   the forward pass. The loss L then says in one number how wrong these are. To
   learn, every weight w asks how L would change if w grew a little: dL/dw, its
   gradient. The chain rule finds it from layer to layer, from the loss back to
   the image: the backward pass. A small step of all weights against their
   gradients makes L smaller, and training is many such steps.

   A layer is two rules for one output pixel y, with the formulas above them.
   Forward: what is y, given the input x? Backward: given g = dL/dy, what does
   this pixel add to dL/dx and to dL/dw of all that it was made of?

   At the end a small network learns by these loops and by the library. Both get
   the same bits, because every sum has an order: additions round, in binary32
   (1e8 + 1) - 1e8 is 0, but (1e8 - 1e8) + 1 is 1. The library keeps the orders
   below, however many pixels it takes at a time. */

#define ATOMDL_LIBRARY /* refuses compilers that would fuse or reorder sums */
#include "../atomdl.h"

#include <stdio.h>

#ifndef LESSON_TEST /* the tests compile the rules as double, too */
typedef float real;
#endif

/* ---------- Layers and sums ----------------------------------------------- */

typedef struct layer {
    const atomdl_layer *row; /* what it does: row->op = ATOMDL_CONV ... */
    const struct layer *in;  /* the layer it reads */
    int n, c, h, w, size;    /* images, channels, rows, columns; product */
    real *y, *g;             /* (n, c, h, w): its output, and g = dL/dy */
    real *x, *dx;            /* in->y, and in->g = dL/dx */
    int k, weights;          /* side of its kernels; number of weights */
    real *weight, *dw;       /* (weights): weights, and dL/dw */
    real *lane;              /* (weights, 16): see each_pixel */
    real *mean, *inverse;    /* (c): see Normalisation */
    const uint8_t *label;    /* (n, h, w): see Softmax and loss */
    real share;              /* of a pixel in the loss */
} layer;

/* What a layer does for image m, channel c, row r, column q of its output. */
typedef void rule(layer *l, int m, int c, int r, int q);

/* That pixel of v (n, c, h, w), where q runs fastest; NULL outside. */
static real *px(const layer *l, real *v, int m, int c, int r, int q)
{
    if (r < 0 || q < 0 || r >= l->h || q >= l->w) return NULL;
    return v + (((ptrdiff_t)m * l->c + c) * l->h + r) * l->w + q;
}

/* Adds v, of a pixel in column q, to sum t of a layer. */
static void add_up(layer *l, int t, int q, real v)
{
    real *lane = l->lane + 16 * t + q % 16;
    *lane = *lane + v;
}

/* Applies a rule to each pixel, in the order in which dL/dx is to be summed.
   dw (sums) <- what it adds up: column q to lane q mod 16, so that a processor
   may add 16 columns at once, then the lanes as a tree. An image has a sum of
   its own, so that another processor may take it; these follow in order. */
static void each_pixel(layer *l, rule *f, int sums)
{
    for (int t = 0; t < sums; t++) l->dw[t] = 0;
    for (int m = 0; m < l->n; m++) {
        for (int i = 0; i < 16 * sums; i++) l->lane[i] = 0;
        for (int r = 0; r < l->h; r++)
            for (int q = 0; q < l->w; q++)
                for (int c = 0; c < l->c; c++) f(l, m, c, r, q);
        for (int t = 0; t < sums; t++) {
            real *lane = l->lane + 16 * t;
            for (int half = 8; half > 0; half /= 2)
                for (int i = 0; i < half; i++)
                    lane[i] = lane[i] + lane[i + half];
            l->dw[t] = l->dw[t] + lane[0];
        }
    }
}

/* ---------- Convolution: x (n, i, h, w), y (n, o, h, w) -------------------

   y(o) = b(o) + sum over ky, kx, i of w(o, ky, kx, i) x(i, under ky, kx)

   A kernel of k x k weights lies on the image, its middle on the pixel, and
   sums over all input channels i; each output channel o has its own. Dilation
   spreads it out. Stride 2 halves the image, y (n, o, h/2, w/2). Transposed, it
   doubles it, y (n, o, 2h, 2w), by gaps between pixels, which are left out.

   dL/dx(i, under ky, kx) += w(o, ky, kx, i) g(o)
   dL/dw(o, ky, kx, i)    += x(i, under ky, kx) g(o),      dL/db(o) += g(o)

   Weights: w (o, ky, kx, i), in the order of the sum, then b (o). */

enum { GAP = -1000 };
/* The input row (column) under kernel row k at output row r, or a gap. */
static int under(const layer *l, int r, int k)
{
    if (l->row->op == ATOMDL_DECONV) return (r - k) % 2 ? GAP : (r - k) / 2;
    return l->row->stride * r + l->row->dilation * (k - (l->k - 1) / 2);
}

static void convolution(layer *l, int m, int o, int r, int q)
{
    int k = l->k, ci = l->in->c, plane = l->in->h * l->in->w;
    real sum = l->weight[l->weights - l->c + o];
    for (int t = o * k * k; t < (o + 1) * k * k; t++) {
        int row = under(l, r, t / k % k), column = under(l, q, t % k);
        const real *v = px(l->in, l->x, m, 0, row, column);
        if (row == GAP || column == GAP) continue;
        for (int i = 0; i < ci; i++)
            sum = sum + l->weight[t * ci + i] * (v ? v[i * plane] : 0);
    }
    *px(l, l->y, m, o, r, q) = sum;
}

static void convolution_back(layer *l, int m, int o, int r, int q)
{
    int k = l->k, ci = l->in->c, plane = l->in->h * l->in->w;
    int place = l->row->op == ATOMDL_DECONV ? q / 2 : q;
    real g = *px(l, l->g, m, o, r, q);
    add_up(l, l->weights - l->c + o, q, g);
    for (int t = o * k * k; t < (o + 1) * k * k; t++) {
        int row = under(l, r, t / k % k), column = under(l, q, t % k);
        const real *v = px(l->in, l->x, m, 0, row, column);
        real *dx = px(l->in, l->dx, m, 0, row, column);
        for (int i = 0; v && i < ci; i++) { /* zeros add nothing */
            dx[i * plane] = dx[i * plane] + l->weight[t * ci + i] * g;
            add_up(l, t * ci + i, place, v[i * plane] * g);
        }
    }
}

/* ---------- Normalisation: x, y (n, c, h, w) ------------------------------

   u = (x - mean) / sqrt(variance + 1e-5),   y = gamma u + beta

   gives each channel mean 0 and variance 1 over the N pixels of the batch, then
   what gamma and beta have learned. Each x moves mean and variance, too, hence
   two more terms on the way back:

   dL/dx = gamma / sqrt(variance + 1e-5) (g - sum(g) / N - u sum(g u) / N)
   dL/dgamma = sum(g u),   dL/dbeta = sum(g)

   Weights: gamma, beta, and averages of mean and variance over the training,
   which stand for those of the batch once it is over; (c) each. */

static void add_moments(layer *l, int m, int c, int r, int q)
{
    real d = *px(l, l->x, m, c, r, q) - l->mean[c];
    add_up(l, c, q, d);
    add_up(l, l->c + c, q, d * d);
}

/* The batch's mean and 1 / sqrt(variance + 1e-5); the averages go a part of
   the way there. (For a sample's variance, N - 1 is the fair divisor.) */
static void statistics(layer *l, real part)
{
    real n = (real)(l->size / l->c);
    for (int c = 0; c < l->c; c++) l->mean[c] = 0;
    each_pixel(l, add_moments, 2 * l->c);
    for (int c = 0; c < l->c; c++) l->mean[c] = l->dw[c] / n;
    each_pixel(l, add_moments, 2 * l->c);
    for (int c = 0; c < l->c; c++) {
        real *mean = l->weight + 2 * l->c + c, *variance = mean + l->c;
        real v = l->dw[l->c + c] / n, fair = n > 1 ? v * n / (n - 1) : v;
        l->inverse[c] = 1 / atomdl_sqrtf(v + 1e-5f);
        *mean = *mean + (l->mean[c] - *mean) * part;
        *variance = *variance + (fair - *variance) * part;
    }
}

static void normalisation(layer *l, int m, int c, int r, int q)
{
    real scale = l->weight[c] * l->inverse[c];
    real shift = l->weight[l->c + c] - l->mean[c] * scale;
    *px(l, l->y, m, c, r, q) = *px(l, l->x, m, c, r, q) * scale + shift;
}

/* Runs twice: dL/dx needs the sums over all pixels of the first time. */
static void normalisation_back(layer *l, int m, int c, int r, int q)
{
    real n = (real)(l->size / l->c), g = *px(l, l->g, m, c, r, q);
    real u = (*px(l, l->x, m, c, r, q) - l->mean[c]) * l->inverse[c];
    add_up(l, c, q, g * u);
    add_up(l, l->c + c, q, g);
    g = g - l->dw[l->c + c] / n - u * (l->dw[c] / n);
    *px(l, l->dx, m, c, r, q) = g * (l->weight[c] * l->inverse[c]);
}

/* ---------- Activation: x, y (n, c, h, w) ---------------------------------

   y = x where x > 0, else 0;   dL/dx = g where x > 0, else 0

   Without this bend two convolutions in a row could do no more than one. */

static void activation(layer *l, int m, int c, int r, int q)
{
    real v = *px(l, l->x, m, c, r, q);
    *px(l, l->y, m, c, r, q) = v > 0 ? v : 0;
}

static void activation_back(layer *l, int m, int c, int r, int q)
{
    real v = *px(l, l->x, m, c, r, q), g = *px(l, l->g, m, c, r, q);
    *px(l, l->dx, m, c, r, q) = v > 0 ? g : 0;
}

/* ---------- Pooling: x (n, c, 2h, 2w), y (n, c, h, w) ---------------------

   y(r, q) = the greatest of the four x(2r, 2q) ... x(2r + 1, 2q + 1)
   dL/dx = g for the greatest, the first of several; 0 for the others */

/* Where in x the greatest is. */
static ptrdiff_t greatest_of_four(const layer *l, int m, int c, int r, int q)
{
    const real *best = px(l->in, l->x, m, c, 2 * r, 2 * q), *v;
    for (int i = 1; i < 4; i++) {
        v = px(l->in, l->x, m, c, 2 * r + i / 2, 2 * q + i % 2);
        if (*v > *best) best = v;
    }
    return best - l->x;
}

static void pooling(layer *l, int m, int c, int r, int q)
{
    *px(l, l->y, m, c, r, q) = l->x[greatest_of_four(l, m, c, r, q)];
}

static void pooling_back(layer *l, int m, int c, int r, int q)
{
    l->dx[greatest_of_four(l, m, c, r, q)] = *px(l, l->g, m, c, r, q);
}

/* ---------- Up-sampling: x (n, c, h, w), y (n, c, 2h, 2w) -----------------

   y(r, q) = x(r / 2, q / 2);   dL/dx(r / 2, q / 2) += g(r, q) */

static void repetition(layer *l, int m, int c, int r, int q)
{
    *px(l, l->y, m, c, r, q) = *px(l->in, l->x, m, c, r / 2, q / 2);
}

static void repetition_back(layer *l, int m, int c, int r, int q)
{
    real *dx = px(l->in, l->dx, m, c, r / 2, q / 2);
    *dx = *dx + *px(l, l->g, m, c, r, q);
}

/* ---------- Softmax and loss: z, p (n, c, h, w) ---------------------------

   p(c) = exp(z(c)) / sum over i of exp(z(i))
   L = the mean over pixels of -log p(label): the cross-entropy
   dL/dz(c) = (p(c) - (c == label)) / pixels

   The greatest z of a pixel is taken from all first, lest exp overflows. */

/* The sum of exp(z - top) over channels; top <- the greatest z. */
static real exponentials(const layer *l, int m, int r, int q, real *top)
{
    const real *z = px(l, l->x, m, 0, r, q);
    int plane = l->h * l->w;
    real sum = 0;
    for (int c = 0; c < l->c; c++)
        if (c == 0 || z[c * plane] > *top) *top = z[c * plane];
    for (int c = 0; c < l->c; c++) sum = sum + atomdl_expf(z[c * plane] - *top);
    return sum;
}

static void probability(layer *l, int m, int c, int r, int q)
{
    real top, sum = exponentials(l, m, r, q, &top);
    real z = *px(l, l->x, m, c, r, q);
    *px(l, l->y, m, c, r, q) = atomdl_expf(z - top) / sum;
}

/* Adds up L, too. A pixel labelled ATOMDL_IGNORE has no share. */
static void probability_back(layer *l, int m, int c, int r, int q)
{
    int i = r * l->w + q, label = l->label[m * l->h * l->w + i];
    real top, sum = exponentials(l, m, r, q, &top);
    real log_p = *px(l, l->x, m, c, r, q) - top - atomdl_logf(sum);
    real p = *px(l, l->y, m, c, r, q), own = c == label ? l->share : 0;
    if (label == ATOMDL_IGNORE) return;
    add_up(l, 0, i, own * -log_p);
    *px(l, l->dx, m, c, r, q) = p * l->share - own;
}

/* ---------- A network ----------------------------------------------------- */

static const struct { rule *forward, *back; } RULES[ATOMDL_OPS] = {
    [ATOMDL_CONV] = {convolution, convolution_back},
    [ATOMDL_DECONV] = {convolution, convolution_back},
    [ATOMDL_BATCHNORM] = {normalisation, normalisation_back},
    [ATOMDL_RELU] = {activation, activation_back},
    [ATOMDL_MAXPOOL] = {pooling, pooling_back},
    [ATOMDL_UPNEAREST] = {repetition, repetition_back},
    [ATOMDL_SOFTMAX] = {probability, probability_back}
};

/* y of a layer. part: see statistics. */
static void layer_forward(layer *l, real part)
{
    if (l->row->op == ATOMDL_BATCHNORM) statistics(l, part);
    each_pixel(l, RULES[l->row->op].forward, 0);
}

/* dL/dw of a layer, and dL/dx, which is g of the layer before. */
static void layer_backward(layer *l)
{
    for (int i = 0; i < l->in->size; i++) l->dx[i] = 0;
    each_pixel(l, RULES[l->row->op].back, l->weights);
    if (l->row->op == ATOMDL_BATCHNORM) each_pixel(l, normalisation_back, 0);
}

/* l[1 ...] <- the layers of arch, for the images in l[0]. Weights begin at w,
   dL/dw at dw, where the loss stands last, as if it were the softmax's. */
static void network_new(layer *l, const atomdl_arch *arch, real *w, real *dw,
                        atomdl_arena *arena)
{
    int c[ATOMDL_ROWS], level[ATOMDL_ROWS];
    atomdl_arch_shapes(c, level, arch);
    for (int i = 0; i < arch->rows; i++) {
        const atomdl_layer *row = &arch->row[i];
        layer *in = &l[row->in + 1], *to = &l[i + 1];
        int k = row->op == ATOMDL_DECONV ? 3 : row->k;
        int up = level[i] < 0 ? -level[i] : 0, down = level[i] + up;
        *to = (layer){.row = row, .in = in, .n = l->n, .c = c[i], .k = k,
                      .h = l->h << up >> down, .w = l->w << up >> down,
                      .x = in->y, .dx = in->g, .weight = w, .dw = dw};
        to->size = to->n * to->c * to->h * to->w;
        if (k) to->weights = to->c * (k * k * in->c + 1);
        if (row->op == ATOMDL_BATCHNORM) to->weights = 4 * to->c;
        if (row->op == ATOMDL_SOFTMAX) to->weights = 1;
        to->y = atomdl_alloc(arena, (size_t)to->size, sizeof(real));
        to->g = atomdl_alloc(arena, (size_t)to->size, sizeof(real));
        to->lane = atomdl_alloc(arena, 16 * (size_t)to->weights, sizeof(real));
        to->mean = atomdl_alloc(arena, (size_t)to->c, sizeof(real));
        to->inverse = atomdl_alloc(arena, (size_t)to->c, sizeof(real));
        w += to->weights, dw += to->weights;
    }
}

#ifndef LESSON_TEST
/* ---------- Learning, by these loops and by the library ------------------- */

enum { N = 2, H = 16, W = 24, SIZE = N * H * W, ROWS = 11, VALUES = 850 };

int main(void)
{
    static const char TEXT[] = /* ROWS rows that RULES has, VALUES numbers */
        "input 1\nconv a ch=4\nbatchnorm b\nrelu\nmaxpool\n"
        "conv c ch=6 dilation=2\nconv d ch=5 stride=2\nrelu\n"
        "deconv e ch=6\nnearest\nconv f ch=3 k=1\nsoftmax\n";
    static float w[2][VALUES], dw[2][VALUES + 1]; /* 0: loops, 1: library */
    static float image[SIZE], dimage[SIZE];
    static unsigned char label[SIZE], memory[1 << 20];
    layer net[ROWS + 1] = {{.n = N, .c = 1, .h = H, .w = W, .size = SIZE,
                            .y = image, .g = dimage}}, *last = &net[ROWS];
    atomdl_arena arena = {memory, sizeof memory, 0, 0, 0};
    atomdl_plan plan = {.optimiser = ATOMDL_SGD, .schedule = ATOMDL_CONSTANT,
                        .rate = 0.1f, .bn_momentum = 0.1f, .loss = {.ce = 1}};
    atomdl_rng noise = atomdl_rng_seed(1);
    atomdl_layer row[ROWS];
    atomdl_trainer *trainer;
    atomdl_state state;
    atomdl_arch arch;
    int other = 0; /* bits; also the exit status */
    if (atomdl_arch_parse(&arch, row, ROWS, TEXT, sizeof TEXT - 1, NULL)
        || atomdl_trainer_new(&trainer, &arch, N, H, W, NULL, &arena)
        || atomdl_state_new(&state, &arch, &plan, &arena)) return 2;
    network_new(net, &arch, w[0], dw[0], &arena);
    if (last->dw != &dw[0][VALUES]) return 2;
    for (int i = 0; i < 2; i++) atomdl_arch_init(w[i], &arch, 1, ATOMDL_HE);
    atomdl_rng_normal(&noise, image, SIZE);
    for (int i = 0; i < SIZE; i++) { /* three stripes in noise: which is it? */
        label[i] = (unsigned char)(i % W / 8);
        image[i] = image[i] + (float)label[i];
    }
    last->label = label, last->share = 1.0f / SIZE;
    for (uint32_t step = 0; step < 5; step++) {
        for (layer *l = net + 1; l <= last; l++) layer_forward(l, 0.1f);
        for (layer *l = last; l > net; l--) layer_backward(l);
        for (int t = 0; t < VALUES; t++) w[0][t] = w[0][t] - 0.1f * dw[0][t];
        if (atomdl_trainer_run(trainer, &dw[1][VALUES], dw[1], w[1],
                               &(atomdl_batch){image, label, step}, &plan)
            || atomdl_update(w[1], dw[1], NULL, &state, &arch, &plan)) return 2;
        other |= memcmp(w, w[1], sizeof *w) || memcmp(dw, dw[1], sizeof *dw);
        printf("loss %.8f, library's %.8f; gradients, weights: %s bits\n",
               (double)dw[0][VALUES], (double)dw[1][VALUES],
               other ? "other" : "the same");
    }
    return other;
}
#endif
