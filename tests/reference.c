/* SPDX-License-Identifier: MIT
   The loss in binary64, and random networks. */

#include "reference.h"

/* ---------- Loss ---------------------------------------------------------- */

enum { MOST = ATOMDL_CLASSES };

/* p(classes) of a pixel; one class is two, with logits 0 and z */
static void probabilities(double *p, const double *z, int classes,
                          size_t pixels)
{
    double top = classes == 1 ? 0 : z[0], sum = 0;
    int c, two = classes == 1 ? 2 : classes;
    for (c = 0; c < two; c++) {
        p[c] = classes > 1 ? z[(size_t)c * pixels] : c ? z[0] : 0;
        top = p[c] > top ? p[c] : top;
    }
    for (c = 0; c < two; c++) sum += p[c] = exp(p[c] - top);
    for (c = 0; c < two; c++) p[c] /= sum;
}

double reference_loss(const double *logits, const uint8_t *label, int n,
                      int classes, int pixels, const atomdl_loss *how)
{
    double term = 0, total = 0, own[MOST] = {0}, mass[MOST] = {0}, dice = 0;
    double p[MOST], w, any = 0;
    int m, i, c, two = classes == 1 ? 2 : classes;
    for (c = 0; c < two; c++) any += (double)how->weight[c];
    for (m = 0; m < n; m++)
        for (i = 0; i < pixels; i++) {
            int y = label[m * pixels + i];
            if (y == ATOMDL_IGNORE) continue;
            probabilities(p, logits + (size_t)m * (size_t)(classes * pixels)
                                 + i, classes, (size_t)pixels);
            w = any > 0 ? (double)how->weight[y] : 1;
            total += w;
            term += w * -log(p[y]) * ((double)how->ce + (double)how->focal
                                      * pow(1 - p[y], (double)how->gamma));
            own[y] += p[y];
            for (c = 0; c < two; c++) mass[c] += p[c] + (c == y);
        }
    for (c = 0; c < two; c++)
        dice += (2 * own[c] + (double)how->smooth)
                / (mass[c] + (double)how->smooth) / two;
    return (total > 0 ? term / total : 0) + (double)how->dice * (1 - dice);
}

/* ---------- Random networks ----------------------------------------------- */

typedef struct {
    atomdl_arch *arch;
    atomdl_layer *row;
    atomdl_rng *r;
    int channels[64], level[64], read[64];
} builder;

static int below(atomdl_rng *r, int n)
{
    return (int)atomdl_rng_below(r, (uint32_t)n);
}

static int channels_of(const builder *b, int i)
{
    return i < 0 ? b->arch->channels : b->channels[i];
}

static int level_of(const builder *b, int i)
{
    return i < 0 ? 0 : b->level[i];
}

/* Whether an operator halves (1) or doubles (-1) the size. */
static int level_step(int op)
{
    int rises = op == ATOMDL_DECONV || op == ATOMDL_UPNEAREST
                || op == ATOMDL_UPLINEAR;
    return (op == ATOMDL_MAXPOOL) - rises;
}

static int add_row(builder *b, int op, int in, int in2)
{
    int i = b->arch->rows++;
    atomdl_layer *l = &b->row[i];
    memset(l, 0, sizeof *l);
    l->op = (uint8_t)op;
    l->in = (int16_t)in;
    l->in2 = (int16_t)in2;
    sprintf(l->name, "r%d", i);
    if (in >= 0) b->read[in] = 1;
    if (in2 >= 0) b->read[in2] = 1;
    b->channels[i] = channels_of(b, in);
    b->level[i] = level_of(b, in) + level_step(op);
    if (op == ATOMDL_CONCAT) b->channels[i] += channels_of(b, in2);
    if (op == ATOMDL_LEAKY) l->p = 0.05f + 0.4f * atomdl_rng_uniform(b->r);
    if (op == ATOMDL_DROPOUT) l->p = 0.7f * atomdl_rng_uniform(b->r);
    return i;
}

static int add_conv(builder *b, int op, int in, int ch, int k, int stride,
                    int dilation)
{
    int i = add_row(b, op, in, in);
    atomdl_layer *l = &b->row[i];
    l->ch = (uint16_t)(b->channels[i] = ch);
    if (op == ATOMDL_DECONV) return i;
    l->k = (uint8_t)k;
    l->stride = (uint8_t)stride;
    l->dilation = (uint8_t)dilation;
    b->level[i] += stride == 2;
    return i;
}

static int random_channels(atomdl_rng *r)
{
    static const int CH[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 24};
    return CH[below(r, below(r, 4) ? 7 : 12)];
}

static void random_conv(builder *b, int in, int levels)
{
    static const int SIDE[] = {1, 3, 3, 5, 7, 9, 11};
    int k = SIDE[below(b->r, below(b->r, 3) ? 4 : 7)],
        most = k > 1 ? 30 / (k - 1) : 200;
    int d = below(b->r, 2) ? 1 : 1 + below(b->r, most < 8 ? most : 8);
    int stride = below(b->r, 3) == 0 && level_of(b, in) < levels ? 2 : 1;
    if (d > most || (below(b->r, 12) == 0 && k == 3)) d = most;
    add_conv(b, ATOMDL_CONV, in, random_channels(b->r), k, stride, d);
}

/* a row (or the image) that fits `in`; there is always `in` itself */
static int partner(builder *b, int in, int same_channels)
{
    int tries, i;
    for (tries = 0; tries < 20; tries++) {
        i = below(b->r, b->arch->rows + 1) - 1;
        if (level_of(b, i) == level_of(b, in)
            && (!same_channels || channels_of(b, i) == channels_of(b, in)))
            return i;
    }
    return in;
}

/* a convolution of row i's shape, then i plus that */
static void residual(builder *b, int i, int levels)
{
    int j;
    random_conv(b, below(b->r, 2) ? i : partner(b, i, 0), levels);
    j = b->arch->rows - 1;
    if (below(b->r, 3) == 0) j = add_row(b, ATOMDL_BATCHNORM, j, j);
    if (i < 0 || level_of(b, i) != level_of(b, j)) return;
    j = add_conv(b, ATOMDL_CONV, j, channels_of(b, i), 1 + 2 * below(b->r, 2),
                 1, 1);
    if (below(b->r, 4) == 0) j = add_row(b, ATOMDL_RELU, j, j);
    if (below(b->r, 2)) add_row(b, ATOMDL_ADD, i, j);
    else add_row(b, ATOMDL_ADD, j, i);
}

/* A new operator in OP makes other networks of all: where one of them breaks a
   tolerance of test_grad.c, see first whether the operator is in it. */
static void random_row(builder *b, int levels, int up)
{
    static const int OP[] = {
        ATOMDL_CONV, ATOMDL_CONV, ATOMDL_CONV, ATOMDL_CONV, ATOMDL_DECONV,
        ATOMDL_BATCHNORM, ATOMDL_BATCHNORM, ATOMDL_RELU, ATOMDL_RELU,
        ATOMDL_LEAKY, ATOMDL_MAXPOOL, ATOMDL_UPNEAREST, ATOMDL_UPLINEAR,
        ATOMDL_CONCAT, ATOMDL_ADD, ATOMDL_DROPOUT};
    int op = OP[below(b->r, (int)(sizeof OP / sizeof *OP))];
    int in = b->arch->rows - 1;
    if (below(b->r, 3) == 0) in = below(b->r, b->arch->rows + 1) - 1;
    if (b->arch->rows < 24 && below(b->r, 6) == 0) {
        residual(b, in, levels);
        return;
    }
    if ((level_step(op) < 0 && level_of(b, in) <= -up)
        || (level_step(op) > 0 && level_of(b, in) >= levels)
        || (op == ATOMDL_CONCAT && channels_of(b, in) > 20))
        op = ATOMDL_CONV;
    if (op == ATOMDL_CONV) random_conv(b, in, levels);
    else if (op == ATOMDL_DECONV)
        add_conv(b, op, in, random_channels(b->r), 0, 0, 0);
    else if (op == ATOMDL_CONCAT) add_row(b, op, in, partner(b, in, 0));
    else if (op == ATOMDL_ADD) add_row(b, op, in, partner(b, in, 1));
    else add_row(b, op, in, in);
}

/* brings row i to the image's size by random means */
static int to_image_size(builder *b, int i)
{
    static const int UP[] = {ATOMDL_UPNEAREST, ATOMDL_UPLINEAR};
    while (b->level[i] > 0)
        i = below(b->r, 3) ? add_row(b, UP[below(b->r, 2)], i, i)
                           : add_conv(b, ATOMDL_DECONV, i, 2, 0, 0, 0);
    while (b->level[i] < 0)
        i = below(b->r, 2) ? add_row(b, ATOMDL_MAXPOOL, i, i)
                           : add_conv(b, ATOMDL_CONV, i, 3, 3, 2, 1);
    return i;
}

void random_arch(atomdl_arch *arch, atomdl_layer *row, atomdl_rng *r,
                 int channels, int levels, int up)
{
    builder b;
    int rows = 1 + below(r, 12), i, at, end = -1, classes;
    memset(&b, 0, sizeof b);
    b.arch = arch;
    b.row = row;
    b.r = r;
    arch->channels = channels;
    arch->rows = 0;
    arch->row = row;
    while (arch->rows < rows) random_row(&b, levels, up);
    rows = arch->rows;
    for (i = 0; i < rows; i++) {
        if (b.read[i]) continue;
        if (end >= 0 && arch->rows > 44) { /* enough: add up what is left */
            add_conv(&b, ATOMDL_CONV, i, 1, 1, 1, 1);
            at = to_image_size(&b, arch->rows - 1);
        } else {
            at = to_image_size(&b, i);
        }
        end = end < 0 ? at : add_row(&b, ATOMDL_CONCAT, end, at);
    }
    classes = 1 + below(r, 4);
    if (below(r, 12) == 0) classes = 7;
    end = add_conv(&b, ATOMDL_CONV, end, classes, below(r, 2) ? 3 : 1, 1, 1);
    add_row(&b, classes == 1 || below(r, 5) == 0 ? ATOMDL_SIGMOID
                                                 : ATOMDL_SOFTMAX, end, end);
}

void random_values(float *values, const atomdl_arch *arch, uint64_t seed)
{
    atomdl_rng r = atomdl_rng_seed(seed);
    atomdl_tensor t;
    size_t k;
    int i;
    atomdl_arch_init(values, arch, seed, ATOMDL_HE);
    for (i = 0; atomdl_arch_tensor(&t, arch, i); i++)
        for (k = t.offset; k < t.offset + t.count; k++) {
            float u = atomdl_rng_uniform(&r);
            if (t.kind == ATOMDL_GAMMA || t.kind == ATOMDL_VAR)
                values[k] = 0.5f + u;
            else if (t.kind != ATOMDL_WEIGHT) values[k] = u - 0.5f;
        }
}

atomdl_arch_info arch_of(atomdl_arch *arch, atomdl_layer *row,
                         const char *text)
{
    atomdl_arch_info info = {0, 0, 0, 0, 0, 0};
    int line = 0, bad = 0;
    if (atomdl_arch_parse(arch, row, ATOMDL_ROWS, text, strlen(text), &line))
        FAIL("line %d of %s", line, text);
    else if (atomdl_arch_check(&info, &bad, arch, 0, 0))
        FAIL("row %d of %s", bad, text);
    return info;
}

void show_arch(const atomdl_arch *arch)
{
    char text[8192];
    atomdl_arch_print(text, sizeof text, arch);
    printf("%s", text);
}
