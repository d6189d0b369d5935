/* SPDX-License-Identifier: MIT
   Schedules, fresh weights, losses, optimisers, metrics. References are naive
   binary64 forms written here, and PyTorch's numbers in vectors_train.h. */

#include "test.h"
#include "vectors_train.h"

#include <fenv.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* conv 3x3 (1 -> 8), batch norm, deconv 3x3 (8 -> 4), softmax */
static const atomdl_layer ROWS[] = {
    {ATOMDL_CONV, 3, 1, 1, ATOMDL_INPUT, ATOMDL_INPUT, 8, 0, "a"},
    {ATOMDL_BATCHNORM, 0, 0, 0, 0, 0, 0, 0, "b"},
    {ATOMDL_DECONV, 0, 0, 0, 1, 1, 4, 0, "d"},
    {ATOMDL_SOFTMAX, 0, 0, 0, 2, 2, 0, 0, ""},
};
static const atomdl_arch NET = {1, 4, ROWS};
enum { VALUES = 72 + 8 + 4 * 8 + 288 + 4 };

static int finite_all(const float *x, size_t n)
{
    return !(atomdl_absmax(x, n) > 3e38f) && atomdl_dot(x, x, n) >= 0;
}

static int loss_of(float *loss, float *d, const float *z, const uint8_t *label,
                   int n, int classes, int pixels, const atomdl_loss *how)
{
    atomdl_loss_input in = {n, classes, pixels, z, label, NULL};
    return atomdl_loss_eval(loss, d, &in, how);
}

/* ---------- Plan ---------------------------------------------------------- */

static void rates(void)
{
    atomdl_plan p = atomdl_plan_default();
    CHECK_BITS(atomdl_plan_rate(&p, 29), 1e-3f);
    CHECK_NEAR(atomdl_plan_rate(&p, 0), 1e-3 / 30, 1e-11); /* float's ulp */
    CHECK_BITS(atomdl_plan_rate(&p, 30), 1e-3f);
    CHECK_NEAR(atomdl_plan_rate(&p, 30 + 485), 5e-4, 1e-10); /* half way */
    CHECK(atomdl_plan_rate(&p, 999) > 0 && atomdl_plan_rate(&p, 999) < 1e-8f);
    CHECK_BITS(atomdl_plan_rate(&p, 1000), 0);
    CHECK_BITS(atomdl_plan_rate(&p, 0xffffffffu), 0);
    p.warmup = 1000; /* nothing but warm-up */
    CHECK_BITS(atomdl_plan_rate(&p, 999), 1e-3f);
    CHECK_BITS(atomdl_plan_rate(&p, 1000), 0);
    p.warmup = 0;
    p.steps = 1;
    CHECK_BITS(atomdl_plan_rate(&p, 0), 1e-3f);
    p.schedule = ATOMDL_CONSTANT;
    CHECK_BITS(atomdl_plan_rate(&p, 0), 1e-3f);
    CHECK_BITS(atomdl_plan_rate(&p, 77), 1e-3f);
    p.schedule = ATOMDL_STEP;
    p.steps = 100;
    p.warmup = 4;
    p.every = 10;
    p.factor = 0.5f;
    CHECK_BITS(atomdl_plan_rate(&p, 1), 0.5e-3f);
    CHECK_BITS(atomdl_plan_rate(&p, 13), 1e-3f);
    CHECK_BITS(atomdl_plan_rate(&p, 14), 0.5e-3f);
    CHECK_BITS(atomdl_plan_rate(&p, 34), 0.125e-3f);
    p.factor = 0;
    CHECK_BITS(atomdl_plan_rate(&p, 13), 1e-3f);
    CHECK_BITS(atomdl_plan_rate(&p, 14), 0);
}

/* each line breaks one rule of a sound plan */
#define BREAK(change) \
    do { \
        atomdl_plan p = atomdl_plan_default(); \
        change; \
        if (atomdl_plan_check(&p, 3) != ATOMDL_EARG) FAIL("%s", #change); \
    } while (0)

static void refusals(void)
{
    float nan = atomdl_float(0x7fc00000);
    BREAK(p.optimiser = 2);
    BREAK(p.optimiser = -1);
    BREAK(p.rate = 0);
    BREAK(p.rate = nan);
    BREAK(p.rate = INFINITY);
    BREAK(p.momentum = 1);
    BREAK(p.beta1 = -0.1f);
    BREAK(p.beta2 = 1);
    BREAK(p.eps = 0);
    BREAK(p.decay = nan);
    BREAK(p.clip = -1);
    BREAK(p.schedule = 3);
    BREAK(p.steps = 0);
    BREAK(p.warmup = 1001);
    BREAK((p.schedule = ATOMDL_STEP, p.every = 0));
    BREAK((p.schedule = ATOMDL_STEP, p.factor = 1.5f));
    BREAK(p.average = 1001);
    BREAK(p.bn_momentum = 1.5f);
    BREAK(p.loss.ce = 0);
    BREAK(p.loss.focal = -1);
    BREAK(p.loss.dice = INFINITY);
    BREAK(p.loss.gamma = nan);
    BREAK(p.loss.smooth = -1);
    BREAK(p.loss.weight[2] = -1);
}

void test_plan(void)
{
    atomdl_plan p = atomdl_plan_default();
    CHECK(atomdl_plan_check(&p, 1) == ATOMDL_OK);
    CHECK(atomdl_plan_check(&p, ATOMDL_CLASSES) == ATOMDL_OK);
    CHECK(atomdl_plan_check(&p, ATOMDL_CLASSES + 1) == ATOMDL_EARG);
    CHECK(atomdl_plan_check(&p, 0) == ATOMDL_EARG);
    p.loss.weight[2] = -1; /* beyond two classes: not looked at */
    CHECK(atomdl_plan_check(&p, 2) == ATOMDL_OK);
    rates();
    refusals();
}

/* ---------- Fresh weights ------------------------------------------------- */

/* w(n): mean 0 and the standard deviation within 5 of their own deviations,
   1/sqrt(n) and at most 1/sqrt(2n); within +-most */
static void moments(const float *w, size_t n, double deviation, double most)
{
    double sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)w[i];
        square += (double)w[i] * (double)w[i];
        if (!(fabs((double)w[i]) <= most)) FAIL("weight %g", (double)w[i]);
    }
    CHECK_NEAR(sum / (double)n, 0, 5 * deviation / sqrt((double)n));
    CHECK_NEAR(sqrt(square / (double)n) / deviation, 1,
               5 / sqrt(2 * (double)n));
}

static void init_one(const float *v, const atomdl_tensor *t, int i, int how)
{
    atomdl_rng root = atomdl_rng_seed(5);
    if (t->kind == ATOMDL_WEIGHT) {
        double in = t->row == 0 ? 9 : 72; /* 1 and 8 channels */
        double out = t->row == 0 ? 72 : 36;
        double want = how == ATOMDL_HE ? sqrt(2 / in) : sqrt(2 / (in + out));
        moments(v, t->count, want,
                how == ATOMDL_HE ? 6.35 * want : sqrt(3.0) * want * 1.000001);
        atomdl_rng rng = atomdl_rng_split(&root, (uint64_t)i);
        float w[VALUES];
        atomdl_rng_normal(&rng, w, t->count);
        for (size_t k = 0; how == ATOMDL_HE && k < t->count; k++)
            CHECK_BITS(v[k], w[k] * atomdl_sqrtf(2 / (float)in));
        return;
    }
    double want = t->kind == ATOMDL_GAMMA || t->kind == ATOMDL_VAR;
    for (size_t k = 0; k < t->count; k++) CHECK_BITS(v[k], (float)want);
}

void test_init(void)
{
    float v[VALUES];
    atomdl_tensor t;
    for (int how = ATOMDL_HE; how <= ATOMDL_GLOROT; how++) {
        for (int k = 0; k < VALUES; k++) v[k] = -77;
        atomdl_arch_init(v, &NET, 5, how);
        for (int i = 0; atomdl_arch_tensor(&t, &NET, i); i++)
            init_one(v + t.offset, &t, i, how);
    }
}

/* ---------- Losses: a naive reference in binary64 ------------------------- */

typedef struct {
    int n, classes, pixels;
    const uint8_t *label;
    const atomdl_loss *how;
} problem;

/* p(classes) of pixel i of image j */
static void softmax(double *p, const problem *q, const double *z, int j, int i)
{
    int k = q->classes == 1 ? 2 : q->classes;
    double top = -1e300, sum = 0;
    for (int c = 0; c < k; c++) {
        p[c] = q->classes > 1
                   ? z[((size_t)j * (size_t)k + (size_t)c) * (size_t)q->pixels
                       + (size_t)i]
                   : c ? z[j * q->pixels + i] : 0;
        top = p[c] > top ? p[c] : top;
    }
    for (int c = 0; c < k; c++) sum += exp(p[c] - top);
    for (int c = 0; c < k; c++) p[c] = exp(p[c] - top) / sum;
}

/* the header's formulas, word for word */
static double reference(const problem *q, const double *z)
{
    const atomdl_loss *h = q->how;
    double hit[32] = {0}, mass[32] = {0}, all[32] = {0};
    double ce = 0, focal = 0, total = 0, dice = 0;
    int k = q->classes == 1 ? 2 : q->classes, any = 0;
    for (int c = 0; c < k; c++) any = any || h->weight[c] > 0;
    double p[32];
    int y;
    for (int j = 0; j < q->n; j++)
        for (int i = 0; i < q->pixels; i++) {
            if ((y = q->label[j * q->pixels + i]) == ATOMDL_IGNORE) continue;
            softmax(p, q, z, j, i);
            double w = any ? (double)h->weight[y] : 1;
            ce += w * -log(p[y]);
            focal += w * pow(1 - p[y], (double)h->gamma) * -log(p[y]);
            total += w;
            hit[y] += p[y];
            all[y] += 1;
            for (int c = 0; c < k; c++) mass[c] += p[c];
        }
    for (int c = 0; c < k; c++)
        dice += 2 * (hit[c] + (double)h->smooth / 2)
                / (mass[c] + all[c] + (double)h->smooth) / k;
    double w = total > 0 ? 1 / total : 0;
    return (double)h->ce * ce * w + (double)h->focal * focal * w
           + (double)h->dice * (1 - dice);
}

enum { MOST = 2 * 5 * 150 };

/* Value and gradient against the reference and its central differences.
   Value: at most 30 roundings of 6e-8 deep. Gradient: the same relative to
   the weight of its pixel, at most the greatest gradient's share, hence
   relative to the greatest; differences err by step^2 / 6 = 2e-9 and by
   1e-16 / step = 1e-11 of a sum. */
static void differences(const problem *q, const float *z)
{
    size_t n = (size_t)(q->n * q->classes * q->pixels), stride = n / 90 + 1;
    double step = 1e-5;
    float loss, g[MOST];
    CHECK(loss_of(&loss, g, z, q->label, q->n, q->classes, q->pixels, q->how)
          == ATOMDL_OK);
    float alone;
    CHECK(loss_of(&alone, NULL, z, q->label, q->n, q->classes, q->pixels,
                  q->how) == ATOMDL_OK);
    CHECK_BITS(alone, loss);
    double d[MOST];
    for (size_t i = 0; i < n; i++) d[i] = (double)z[i];
    double up = reference(q, d);
    CHECK_NEAR(loss, up, 2e-6 * (1 + fabs(up)));
    double most = (double)atomdl_absmax(g, n);
    for (size_t i = 0; i < n; i += stride) {
        d[i] += step;
        up = reference(q, d);
        d[i] -= 2 * step;
        double down = reference(q, d);
        d[i] = (double)z[i];
        CHECK_NEAR(g[i], (up - down) / (2 * step), 4e-6 * most + 1e-9);
    }
}

/* all sizes, classes and mixtures of terms; a sixth of the pixels ignored */
static void loss_gradients(void)
{
    static const int CLASSES[] = {1, 2, 3, 5}, PIXELS[] = {1, 15, 64, 65, 150};
    static const float TERMS[][5] = { /* ce, focal, dice, gamma, smooth */
        {1, 0, 0, 0, 0}, {0, 1, 0, 2, 0}, {0, 0, 1, 0, 1}, {1, 0, 1, 0, 1},
        {0.5f, 2, 0.7f, 1.5f, 0.3f}, {0, 1, 1, 1, 0.01f}, {0, 2, 0, 0, 0},
        {0, 1, 0, 0.5f, 1}, {0, 0.25f, 0, 3, 1}};
    atomdl_rng r = atomdl_rng_seed(21);
    uint8_t label[2 * 150];
    float z[MOST];
    for (size_t a = 0; a < COUNT(CLASSES); a++)
        for (size_t b = 0; b < COUNT(PIXELS); b++)
            for (size_t t = 0; t < COUNT(TERMS); t++) {
                atomdl_loss how = {0, 0, 0, 0, 0, {0}};
                problem q = {2, 0, 0, NULL, NULL};
                int k = CLASSES[a] == 1 ? 2 : CLASSES[a];
                q.classes = CLASSES[a];
                q.pixels = PIXELS[b];
                q.label = label;
                q.how = &how;
                how.ce = TERMS[t][0];
                how.focal = TERMS[t][1];
                how.dice = TERMS[t][2];
                how.gamma = TERMS[t][3];
                how.smooth = TERMS[t][4];
                for (size_t i = 0; t % 2 && i < (size_t)k; i++)
                    how.weight[i] = 0.3f + (float)i;
                atomdl_rng_normal(&r, z, MOST);
                for (size_t i = 0; i < MOST; i++) z[i] *= 3;
                for (size_t i = 0; i < sizeof label; i++)
                    label[i] = atomdl_rng_below(&r, 6)
                                   ? (uint8_t)atomdl_rng_below(&r, (uint32_t)k)
                                   : ATOMDL_IGNORE;
                label[0] = 0; /* never all of them */
                differences(&q, z);
            }
}

/* ---------- Losses: PyTorch ----------------------------------------------- */

/* binary32 against binary64: 30 roundings of 6e-8 relative to the greatest */
static void same_loss(const atomdl_loss *how, int classes, const float *z,
                      const uint8_t *label, double value, const double *grad)
{
    size_t n = (size_t)(2 * classes * 35);
    float loss, g[2 * 3 * 35];
    CHECK(loss_of(&loss, g, z, label, 2, classes, 35, how)
          == ATOMDL_OK);
    CHECK_NEAR(loss, value, 2e-6 * value);
    double most = (double)atomdl_absmax(g, n);
    for (size_t i = 0; i < n; i++) CHECK_NEAR(g[i], grad[i], 2e-6 * most);
}

static void loss_torch(void)
{
    atomdl_loss how = {1, 0, 0, 2, 1, {0}};
    same_loss(&how, 3, V_LOGITS, V_LABEL, V_CE, V_CE_GRAD);
    how.weight[0] = 0.5f;
    how.weight[1] = 2;
    same_loss(&how, 1, V_ONE, V_MARK, V_BCE, V_BCE_GRAD);
    memcpy(how.weight, V_WEIGHT, sizeof V_WEIGHT);
    same_loss(&how, 3, V_LOGITS, V_LABEL, V_WCE, V_WCE_GRAD);
    how.ce = 0;
    how.focal = 1;
    same_loss(&how, 3, V_LOGITS, V_LABEL, V_FOCAL2, V_FOCAL2_GRAD);
    how.gamma = 1.5f;
    same_loss(&how, 3, V_LOGITS, V_LABEL, V_FOCAL15, V_FOCAL15_GRAD);
    how.focal = 0;
    how.dice = 1;
    same_loss(&how, 3, V_LOGITS, V_LABEL, V_DICE, V_DICE_GRAD);
}

/* ---------- Losses: order, corners ---------------------------------------- */

/* Cross-entropy of 18 images of 100 pixels, two classes, the documented order
   written out: lane = pixel mod 16, tree, images in order. */
static void loss_order(void)
{
    enum { N = 18, P = 100 };
    static float z[N * 2 * P], d[N * 2 * P];
    atomdl_rng r = atomdl_rng_seed(22);
    atomdl_loss how = {1, 0, 0, 0, 0, {0}};
    float sum = 0;
    atomdl_rng_normal(&r, z, N * 2 * P);
    uint8_t label[N * P];
    for (int i = 0; i < N * P; i++) label[i] = (uint8_t)atomdl_rng_below(&r, 2);
    for (int j = 0; j < N; j++) {
        float lane[16] = {0};
        for (int i = 0; i < P; i++) {
            const float *a = z + j * 2 * P + i;
            float top = a[P] > a[0] ? a[P] : a[0];
            float s = atomdl_expf(a[0] - top);
            s += atomdl_expf(a[P] - top);
            float l = atomdl_logf(s);
            l -= a[label[j * P + i] * P] - top;
            l *= 1 / (float)(N * P);
            lane[i % 16] += l;
        }
        for (int s = 8; s; s /= 2)
            for (int i = 0; i < s; i++) lane[i] += lane[i + s];
        sum += lane[0];
    }
    float loss;
    CHECK(loss_of(&loss, d, z, label, N, 2, P, &how) == ATOMDL_OK);
    CHECK_BITS(loss, sum);
    how.dice = 1; /* the gradient may take the place of the logits */
    CHECK(loss_of(&loss, d, z, label, N, 2, P, &how) == ATOMDL_OK);
    CHECK(loss_of(&loss, z, z, label, N, 2, P, &how) == ATOMDL_OK);
    CHECK_BYTES(z, d, sizeof d);
}

/* one class has the bits of two with logits 0 and z, all terms */
static void loss_one_class(void)
{
    enum { P = 70 };
    float z[2 * P] = {0};
    atomdl_rng r = atomdl_rng_seed(23);
    atomdl_loss how = {1, 1, 1, 2, 1, {0.3f, 2}};
    atomdl_rng_normal(&r, z + P, P);
    uint8_t label[P];
    for (int i = 0; i < P; i++) label[i] = i % 7 ? i & 1 : ATOMDL_IGNORE;
    float d1[P], l1;
    CHECK(loss_of(&l1, d1, z + P, label, 1, 1, P, &how) == ATOMDL_OK);
    float d2[2 * P], l2;
    CHECK(loss_of(&l2, d2, z, label, 1, 2, P, &how) == ATOMDL_OK);
    CHECK_BITS(l1, l2);
    CHECK_BYTES(d1, d2 + P, sizeof d1);
    label[3] = 2;
    CHECK(loss_of(&l1, d1, z, label, 1, 1, P, &how) == ATOMDL_EARG);
}

static void loss_ignored(void)
{
    enum { P = 40 };
    float z[3 * P];
    atomdl_rng r = atomdl_rng_seed(24);
    atomdl_loss how = {1, 1, 1, 2, 1, {0}};
    atomdl_rng_normal(&r, z, 3 * P);
    uint8_t label[P];
    for (int i = 0; i < P; i++) label[i] = (uint8_t)(i % 3);
    label[5] = label[39] = ATOMDL_IGNORE;
    float d[3 * P], loss;
    CHECK(loss_of(&loss, d, z, label, 1, 3, P, &how) == ATOMDL_OK);
    z[5] = z[39] = atomdl_float(0x7fc00000); /* not even NaN is looked at */
    z[P + 5] = 1e30f;
    float again;
    CHECK(loss_of(&again, d, z, label, 1, 3, P, &how) == ATOMDL_OK);
    CHECK_BITS(again, loss);
    for (int c = 0; c < 3; c++) CHECK(d[c * P + 5] == 0 && d[c * P + 39] == 0);
    label[0] = 3;
    CHECK(loss_of(&loss, d, z, label, 1, 3, P, &how) == ATOMDL_EARG);
    label[0] = 254;
    CHECK(loss_of(&loss, d, z, label, 1, 3, P, &how) == ATOMDL_EARG);
    for (int i = 0; i < P; i++) label[i] = ATOMDL_IGNORE;
    how.smooth = 0;
    for (int i = 0; i < 2; i++, how.smooth = 1) {
        CHECK(loss_of(&loss, d, z, label, 1, 3, P, &how) == ATOMDL_OK);
        CHECK_BITS(loss, 0);
        CHECK(atomdl_absmax(d, 3 * P) == 0);
    }
    label[7] = 1; /* counted, but of a class of weight 0 */
    how.weight[0] = 1;
    how.dice = 0;
    CHECK(loss_of(&loss, d, z, label, 1, 3, P, &how) == ATOMDL_OK);
    CHECK_BITS(loss, 0);
    CHECK(atomdl_absmax(d, 3 * P) == 0);
}

static void loss_extreme(void)
{
    static const float BIG[] = {80, 104, 1e4f, 1e30f};
    static const float GAMMA[] = {0, 0.5f, 1, 1.5f, 2};
    float z[4], d[4], loss;
    uint8_t label[2];
    for (size_t i = 0; i < COUNT(BIG); i++)
        for (size_t g = 0; g < COUNT(GAMMA); g++)
            for (int y = 0; y < 4; y++) {
                atomdl_loss how = {1, 1, 1, 0, 0, {0}};
                how.gamma = GAMMA[g];
                label[0] = y & 1;
                label[1] = (uint8_t)(y >> 1);
                z[0] = z[3] = BIG[i];
                z[1] = z[2] = -BIG[i];
                CHECK(loss_of(&loss, d, z, label, 1, 2, 2, &how)
                      == ATOMDL_OK);
                CHECK(finite_all(&loss, 1) && finite_all(d, 4));
                if (i == 2 && y == 1) /* all wrong: 2e4 + 2e4 + 1; an ulp */
                    CHECK_NEAR(loss, 40001, 0.004);
                CHECK(loss_of(&loss, d, z, label, 1, 1, 2, &how)
                      == ATOMDL_OK);
                CHECK(finite_all(&loss, 1) && finite_all(d, 2));
                if (i == 2 && y == 1) CHECK_BITS(loss, 0); /* all right */
            }
}

static void loss_refusals(void)
{
    atomdl_loss how = {1, 0, 0, 0, 0, {0}};
    float z[2] = {0, 0}, d[2], loss;
    uint8_t label = 1;
    CHECK(loss_of(&loss, d, z, &label, 0, 2, 1, &how) == ATOMDL_EARG);
    CHECK(loss_of(&loss, d, z, &label, 1, 33, 1, &how) == ATOMDL_EARG);
    CHECK(loss_of(&loss, d, z, &label, 1, 2, 0, &how) == ATOMDL_EARG);
    z[0] = INFINITY;
    CHECK(loss_of(&loss, d, z, &label, 1, 2, 1, &how) == ATOMDL_ENAN);
    z[0] = atomdl_float(0x7fc00000);
    CHECK(loss_of(&loss, d, z, &label, 1, 2, 1, &how) == ATOMDL_ENAN);
    how.ce = 0;
    CHECK(loss_of(&loss, d, z, &label, 1, 2, 1, &how) == ATOMDL_EARG);
    how.dice = 1;
    CHECK(loss_of(&loss, d, z, &label, 1, 2, 1, &how) == ATOMDL_ENAN);
    z[0] = 0;
    CHECK(fesetround(FE_UPWARD) == 0);
    CHECK(loss_of(&loss, d, z, &label, 1, 2, 1, &how)
          == ATOMDL_EFLOAT);
    CHECK(fesetround(FE_TONEAREST) == 0);
}

void test_losses(void)
{
    loss_gradients();
    loss_torch();
    loss_order();
    loss_one_class();
    loss_ignored();
    loss_extreme();
    loss_refusals();
}

/* ---------- Optimisers ---------------------------------------------------- */

typedef struct {
    double w[VALUES], m[VALUES], v[VALUES], sum[VALUES];
} naive;

static int kind_of(size_t k)
{
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, &NET, i); i++)
        if (k >= t.offset && k < t.offset + t.count) return t.kind;
    return -1;
}

/* one step in binary64, PyTorch's formulas; step counts from 1 */
static void naive_step(naive *s, const float *g, int step, const atomdl_plan *p)
{
    double rate = (double)atomdl_plan_rate(p, (uint32_t)step - 1), norm = 0;
    double b1 = (double)p->beta1, b2 = (double)p->beta2, scale = 1;
    int kind;
    for (int k = 0; k < VALUES; k++)
        if ((kind = kind_of((size_t)k)) != ATOMDL_MEAN && kind != ATOMDL_VAR)
            norm += (double)g[k] * (double)g[k];
    norm = sqrt(norm);
    if (p->clip > 0 && norm > (double)p->clip) scale = (double)p->clip / norm;
    for (int k = 0; k < VALUES; k++) {
        kind = kind_of((size_t)k);
        if (kind == ATOMDL_MEAN || kind == ATOMDL_VAR) continue;
        double x = scale * (double)g[k];
        if (kind == ATOMDL_WEIGHT) s->w[k] *= 1 - rate * (double)p->decay;
        if (p->optimiser == ATOMDL_SGD) {
            s->m[k] = (double)p->momentum * s->m[k] + x;
            s->w[k] -= rate * s->m[k];
        } else {
            s->m[k] = b1 * s->m[k] + (1 - b1) * x;
            s->v[k] = b2 * s->v[k] + (1 - b2) * x * x;
            s->w[k] -= rate * (s->m[k] / (1 - pow(b1, step)))
                       / (sqrt(s->v[k] / (1 - pow(b2, step)))
                          + (double)p->eps);
        }
        if (step > (int)(p->steps - p->average)) s->sum[k] += s->w[k];
    }
}

/* Ten steps with garbage where the statistics' gradients would be. Each step
   moves by at most 12 rate (momentum and decay 0.1 included) with a dozen
   roundings of 6e-8, and w itself is rounded 3 times a step. */
static void optimise(const atomdl_plan *p)
{
    atomdl_rng r = atomdl_rng_seed(31);
    atomdl_arena arena = new_arena(100000);
    static naive s;
    memset(&s, 0, sizeof s);
    atomdl_state state;
    CHECK(atomdl_state_new(&state, &NET, p, &arena) == ATOMDL_OK);
    CHECK((state.sum != NULL) == (p->average > 0));
    float w[VALUES];
    atomdl_rng_normal(&r, w, VALUES);
    for (int k = 0; k < VALUES; k++) s.w[k] = (double)w[k];
    float g[VALUES], out[VALUES], norm;
    for (int step = 1; step <= 10; step++) {
        atomdl_rng_normal(&r, g, VALUES);
        for (int k = 0; k < VALUES; k++)
            if (kind_of((size_t)k) == ATOMDL_VAR)
                g[k] = atomdl_float(0x7fc00000);
        CHECK(atomdl_update(w, g, &norm, &state, &NET, p) == ATOMDL_OK);
        CHECK(state.step == (uint32_t)step);
        naive_step(&s, g, step, p);
        atomdl_state_average(out, w, &state, &NET, p);
        if (step < 10) CHECK_BYTES(out, w, sizeof w);
    }
    for (int k = 0; k < VALUES; k++) {
        double mean = p->average ? s.sum[k] / p->average : s.w[k];
        int kind = kind_of((size_t)k);
        CHECK_NEAR(w[k], s.w[k], 4e-6 * (1 + fabs(s.w[k])));
        if (kind == ATOMDL_MEAN || kind == ATOMDL_VAR)
            CHECK_BITS(out[k], w[k]);
        else CHECK_NEAR(out[k], mean, 4e-6 * (1 + fabs(mean)));
    }
    free(arena.base);
}

static atomdl_plan ten_steps(int optimiser)
{
    atomdl_plan p = atomdl_plan_default();
    p.optimiser = optimiser;
    p.schedule = ATOMDL_CONSTANT;
    p.rate = 0.01f;
    p.steps = 10;
    p.warmup = 0;
    return p;
}

/* PyTorch's ten steps of 12 weights, the first of the first tensor; errors
   as in optimise() */
static void optimise_torch(const atomdl_plan *p, const double *want)
{
    atomdl_arena arena = new_arena(100000);
    float w[VALUES] = {0}, g[VALUES] = {0};
    atomdl_state state;
    CHECK(atomdl_state_new(&state, &NET, p, &arena) == ATOMDL_OK);
    memcpy(w, V_START, sizeof V_START);
    for (int step = 0; step < 10; step++) {
        memcpy(g, V_GRADIENTS + 12 * step, 12 * sizeof *g);
        CHECK(atomdl_update(w, g, NULL, &state, &NET, p) == ATOMDL_OK);
        for (int k = 0; k < 12; k++)
            CHECK_NEAR(w[k], want[12 * step + k],
                       1e-6 * (1 + fabs(want[12 * step + k])));
    }
    free(arena.base);
}

static void clipping(void)
{
    atomdl_plan p = ten_steps(ATOMDL_SGD);
    atomdl_arena arena = new_arena(100000);
    float w[VALUES] = {0}, g[VALUES] = {0};
    atomdl_state state;
    CHECK(atomdl_state_new(&state, &NET, &p, &arena) == ATOMDL_OK);
    g[0] = 3;
    g[1] = -4;
    p.clip = 5; /* not above: untouched */
    p.rate = 1;
    float norm;
    CHECK(atomdl_update(w, g, &norm, &state, &NET, &p) == ATOMDL_OK);
    CHECK_BITS(norm, 5);
    CHECK(w[0] == -3 && w[1] == 4);
    p.clip = 2.5f;
    p.momentum = 0;
    CHECK(atomdl_update(w, g, &norm, &state, &NET, &p) == ATOMDL_OK);
    CHECK_BITS(norm, 5);
    CHECK(w[0] == -4.5f && w[1] == 6);
    free(arena.base);
}

/* a gradient that is not finite, or whose norm is not: nothing changes */
static void refused_gradients(void)
{
    static const float BAD[] = {INFINITY, -INFINITY, NAN, 3e19f};
    atomdl_plan p = ten_steps(ATOMDL_ADAM);
    atomdl_arena arena = new_arena(100000);
    unsigned char *copy = malloc(arena.size);
    atomdl_rng r = atomdl_rng_seed(33);
    memset(arena.base, 0, arena.size); /* padding is compared too */
    p.average = 10;
    atomdl_state state;
    CHECK(atomdl_state_new(&state, &NET, &p, &arena) == ATOMDL_OK);
    float w[VALUES];
    atomdl_rng_normal(&r, w, VALUES);
    float g[VALUES];
    atomdl_rng_normal(&r, g, VALUES);
    CHECK(atomdl_update(w, g, NULL, &state, &NET, &p) == ATOMDL_OK);
    float before[VALUES];
    memcpy(before, w, sizeof w);
    atomdl_state old;
    memcpy(&old, &state, sizeof old);
    memcpy(copy, state.first, 3 * VALUES * sizeof *w);
    for (size_t i = 0; i < COUNT(BAD); i++) {
        g[i == 0 ? 0 : VALUES - 1] = BAD[i];
        CHECK(atomdl_update(w, g, NULL, &state, &NET, &p) == ATOMDL_ENAN);
        g[0] = 0;
    }
    g[VALUES - 1] = 0;
    CHECK(fesetround(FE_UPWARD) == 0);
    CHECK(atomdl_update(w, g, NULL, &state, &NET, &p) == ATOMDL_EFLOAT);
    CHECK(fesetround(FE_TONEAREST) == 0);
    CHECK_BYTES(w, before, sizeof w);
    CHECK(state.step == 1 && state.power1 == old.power1
          && state.power2 == old.power2);
    CHECK_BYTES(state.first, copy, 3 * VALUES * sizeof *w);
    free(copy);
    free(arena.base);
}

static void state_memory(void)
{
    atomdl_plan p = ten_steps(ATOMDL_ADAM);
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    atomdl_state state;
    CHECK(atomdl_state_new(&state, &NET, &p, &measure) == ATOMDL_OK);
    CHECK(measure.peak == 63 + 2 * ((VALUES * 4 + 63) / 64 * 64));
    atomdl_arena arena = new_arena(measure.peak);
    CHECK(atomdl_state_new(&state, &NET, &p, &arena) == ATOMDL_OK);
    CHECK(atomdl_absmax(state.first, VALUES) == 0);
    CHECK(atomdl_absmax(state.second, VALUES) == 0);
    CHECK(state.step == 0 && state.power1 == 1 && state.power2 == 1);
    arena.used = 0;
    arena.size--;
    CHECK(atomdl_state_new(&state, &NET, &p, &arena) == ATOMDL_EMEM);
    free(arena.base);
}

void test_optimisers(void)
{
    atomdl_plan p = ten_steps(ATOMDL_ADAM);
    optimise_torch(&p, V_ADAM);
    optimise(&p);
    p.eps = 0.1f; /* large enough to show */
    optimise(&p);
    p.eps = 1e-8f;
    p.decay = 0.1f;
    optimise_torch(&p, V_ADAMW);
    p.average = 4;
    p.clip = 3;
    p.schedule = ATOMDL_COSINE;
    p.warmup = 3;
    optimise(&p);
    p = ten_steps(ATOMDL_SGD);
    optimise_torch(&p, V_SGD);
    optimise(&p);
    p.decay = 0.1f;
    p.average = 10;
    p.clip = 20;
    optimise(&p);
    clipping();
    refused_gradients();
    state_memory();
}

/* ---------- Metrics ------------------------------------------------------- */

void test_metrics(void)
{
    /* two images of 4 pixels, 3 classes; predictions 0 1 2 0 | 2 2 1 0 (the
       last is a tie of 0 and 1) against 0 1 1 2 | 2 ignored 1 0 */
    static const float PROB[] = {
        0.8f, 0.1f, 0.1f, 0.5f, 0.1f, 0.7f, 0.2f, 0.1f,
        0.1f, 0.2f, 0.7f, 0.4f, 0.1f, 0.0f, 0.2f, 0.4f,
        0.3f, 0.4f, 0.5f, 0.4f, 0.6f, 0.6f, 0.3f, 0.2f};
    static const uint8_t LABEL[] = {0, 1, 1, 2, 2, ATOMDL_IGNORE, 1, 0};
    static const float ONE[] = {0.5f, 0.6f, 0.4f, 0.9f};
    static const uint8_t MARK[] = {0, 1, 1, 0};
    atomdl_confusion m;
    memset(&m, 0, sizeof m);
    CHECK(atomdl_confusion_accuracy(&m) == 0);
    atomdl_confusion_add(&m, PROB, LABEL, 2, 3, 4);
    CHECK(m.classes == 3 && m.count[0][0] == 2 && m.count[1][1] == 2);
    CHECK(m.count[1][2] == 1 && m.count[2][0] == 1 && m.count[2][2] == 1);
    CHECK(atomdl_confusion_accuracy(&m) == 5.0 / 7);
    atomdl_scores s = atomdl_confusion_scores(&m, 0);
    CHECK(s.precision == 2.0 / 3 && s.recall == 1);
    CHECK(s.f1 == 4.0 / 5 && s.iou == 2.0 / 3);
    s = atomdl_confusion_scores(&m, 2);
    CHECK(s.precision == 0.5 && s.recall == 0.5 && s.f1 == 0.5);
    CHECK(s.iou == 1.0 / 3);
    atomdl_confusion_add(&m, PROB, LABEL, 1, 3, 4); /* adds up */
    CHECK(m.count[0][0] == 3 && m.count[2][2] == 1);
    s = atomdl_confusion_scores(&m, 3);
    CHECK(s.precision == 0 && s.recall == 0 && s.f1 == 0 && s.iou == 0);
    atomdl_confusion one;
    memset(&one, 0, sizeof one);
    atomdl_confusion_add(&one, ONE, MARK, 1, 1, 4);
    CHECK(one.classes == 2 && one.count[0][0] == 1 && one.count[1][1] == 1);
    CHECK(one.count[1][0] == 1 && one.count[0][1] == 1);
    memset(&one, 0, sizeof one);
    atomdl_confusion_add(&one, ONE, MARK, 1, 1, 1); /* nothing of class 1 */
    s = atomdl_confusion_scores(&one, 1);
    CHECK(s.precision == 0 && s.recall == 0 && s.f1 == 0 && s.iou == 0);
}
