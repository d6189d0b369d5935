/* SPDX-License-Identifier: MIT
   Training: gradients against finite differences of the slow reference in
   binary64; the same bits for every kernel variant and number of threads. */

#include "reference.h"

enum { STEP = 3 };

typedef struct {
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    atomdl_plan plan;
    int n, h, w;
    float *values, *image, *gradient, *logits;
    uint8_t *label;
    float loss;
} task;

static int any(atomdl_rng *r, int n)
{
    return (int)atomdl_rng_below(r, (uint32_t)n);
}

static void task_fill(task *t, int n, int h, int w, uint64_t seed)
{
    atomdl_rng r = atomdl_rng_seed(seed);
    size_t pixels = (size_t)(n * h * w);
    int classes = t->info.classes == 1 ? 2 : t->info.classes;
    t->n = n;
    t->h = h;
    t->w = w;
    t->plan = atomdl_plan_default();
    t->plan.seed = seed;
    t->values = malloc((t->info.values + 1) * sizeof(float));
    t->gradient = malloc((t->info.values + 1) * sizeof(float));
    t->image = malloc(pixels * (size_t)t->arch.channels * sizeof(float));
    t->logits = malloc(pixels * (size_t)t->info.classes * sizeof(float));
    t->label = malloc(pixels);
    random_values(t->values, &t->arch, seed);
    atomdl_rng_normal(&r, t->image, pixels * (size_t)t->arch.channels);
    for (size_t i = 0; i < pixels; i++)
        t->label[i] = (uint8_t)(any(&r, 9) ? any(&r, classes) : ATOMDL_IGNORE);
    t->label[0] = 0; /* something always counts */
}

static void task_free(task *t)
{
    free(t->values);
    free(t->gradient);
    free(t->image);
    free(t->logits);
    free(t->label);
}

static size_t measure(const task *t, const atomdl_use *use)
{
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    atomdl_trainer *trainer;
    CHECK(atomdl_trainer_new(&trainer, &t->arch, t->n, t->h, t->w, use, &a)
          == ATOMDL_OK);
    CHECK(trainer == NULL);
    return a.peak;
}

/* Loss, gradient, logits and running statistics, in memory of exactly the
   measured size; twice with one trainer, which must change nothing. */
static void train(task *t, const atomdl_use *use)
{
    size_t size = t->info.values * sizeof(float);
    float *values = malloc(size + 1), *first = malloc(size + 1);
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    a.size = measure(t, use);
    a.base = malloc(a.size);
    memset(a.base, 0xff, a.size);
    memcpy(values, t->values, size);
    memset(t->gradient, 0xff, size);
    atomdl_trainer *trainer;
    CHECK(atomdl_trainer_new(&trainer, &t->arch, t->n, t->h, t->w, use, &a)
          == ATOMDL_OK);
    float loss;
    for (int i = 0; i < 2 && trainer; i++) {
        memcpy(t->values, values, size);
        CHECK(atomdl_trainer_run(trainer, &loss, t->gradient, t->values,
                                 &(atomdl_batch){t->image, t->label, STEP},
                                 &t->plan)
              == ATOMDL_OK);
        if (i) CHECK_BYTES(t->gradient, first, size);
        memcpy(first, t->gradient, size);
        t->loss = loss;
    }
    if (trainer) {
        atomdl_trainer_logits(trainer, t->logits);
        memcpy(t->values, values, size);
        CHECK(atomdl_trainer_run(trainer, &loss, NULL, t->values,
                                 &(atomdl_batch){t->image, t->label, STEP},
                                 &t->plan) == ATOMDL_OK);
        CHECK_BITS(loss, t->loss);
    }
    free(a.base);
    free(values);
    free(first);
}

/* ---------- Finite differences -------------------------------------------- */

static reference_job job_of(const task *t, reference_train *how,
                            double momentum)
{
    reference_job job = {NULL, 0, 0, 0, NULL, NULL, NULL};
    how->seed = t->plan.seed;
    how->step = STEP;
    how->momentum = momentum;
    job.arch = &t->arch;
    job.n = t->n;
    job.h = t->h;
    job.w = t->w;
    job.image = t->image;
    job.label = t->label;
    job.train = how;
    return job;
}

static double loss_of(const task *t, double *values, double momentum)
{
    reference_train how;
    reference_job job = job_of(t, &how, momentum);
    double *z = reference_double(&job, values, t->row[t->arch.rows - 1].in);
    double loss;
    loss = reference_loss(z, t->label, t->n, t->info.classes, t->h * t->w,
                          &t->plan.loss);
    free(z);
    return loss;
}

/* A gradient that is to be judged, of the values from..to at start. */
typedef struct {
    const task *t;
    const float *start;
    const double *gradient;
    size_t from, to;
} judged;

/* [L(v + e d) - L(v - e d)]/2e in a random direction d of these values; *got:
   gradient . d, *size: the gradient's norm there */
static double difference(const judged *p, atomdl_rng *r, double e, double *got,
                         double *size)
{
    const task *t = p->t;
    double *v = malloc((t->info.values + 1) * sizeof *v), up, down;
    float *d = malloc((p->to - p->from + 1) * sizeof *d);
    size_t i;
    atomdl_rng_normal(r, d, p->to - p->from);
    for (i = 0; i < t->info.values; i++) v[i] = (double)p->start[i];
    *got = *size = 0;
    for (i = p->from; i < p->to; i++) {
        v[i] = (double)p->start[i] + e * (double)d[i - p->from];
        *got += p->gradient[i] * (double)d[i - p->from];
        *size += p->gradient[i] * p->gradient[i];
    }
    *size = sqrt(*size);
    up = loss_of(t, v, 0);
    for (i = p->from; i < p->to; i++)
        v[i] = (double)p->start[i] - e * (double)d[i - p->from];
    down = loss_of(t, v, 0);
    free(v);
    free(d);
    return (up - down) / (2 * e);
}

/* The step is halved a few times: a kink (relu, pooling) within it is the
   finite difference's fault, a wrong gradient stays wrong. */
static void compare(const judged *p, atomdl_rng *r, double relative,
                    double floor_, const char *what)
{
    double got = 0, want = 0, size = 0;
    atomdl_rng again = *r;
    for (double e = 1e-5; e > 1e-8; e /= 8) {
        *r = again;
        want = difference(p, r, e, &got, &size);
        if (fabs(got - want) <= relative * size + floor_) return;
    }
    FAIL("%s: gradient . d = %.8g, finite difference %.8g, norm %.3g", what,
         got, want, size);
}

/* The lesson's loops give the library's bits: loss, gradient, running
   statistics. start: the values before. */
static void check_lesson(const task *t, const float *start)
{
    size_t bytes = t->info.values * sizeof(float);
    float *values = malloc(bytes + 1), *gradient = malloc(bytes + 1), loss;
    reference_train train;
    reference_job job = job_of(t, &train, (double)t->plan.bn_momentum);
    memcpy(values, start, bytes);
    loss = reference_gradient_float(gradient, &job, values);
    CHECK_BITS(t->loss, loss);
    CHECK_BYTES(t->gradient, gradient, bytes);
    CHECK_BYTES(t->values, values, bytes);
    free(values);
    free(gradient);
}

/* In binary64 their gradient is right to 1e-6: e^2 and 1e-16/e are less. */
static void check_formulas(const task *t, const float *start, atomdl_rng *r)
{
    size_t n = t->info.values, k;
    double *v = malloc((n + 1) * sizeof *v), *g = malloc((n + 1) * sizeof *g);
    reference_train train;
    reference_job job = job_of(t, &train, 0);
    judged all = {NULL, NULL, NULL, 0, 0};
    all.t = t;
    all.start = start;
    all.gradient = g;
    all.to = n;
    for (k = 0; k < n; k++) v[k] = (double)start[k];
    CHECK_NEAR(reference_gradient_double(g, &job, v), loss_of(t, v, 0), 1e-12);
    compare(&all, r, 1e-6, 1e-8, "the lesson");
    free(v);
    free(g);
}

/* whether the loss is the one that the lesson knows */
static int is_cross_entropy(const atomdl_loss *how)
{
    return how->ce == 1 && !(how->dice > 0) && !(how->focal > 0)
           && !(how->weight[0] > 0);
}

/* Tolerance: the gradient is float, summed over up to 1e4 terms; the norm over
   the whole network is the scale of what cancels inside of a tensor. */
static void check_gradient(task *t, const atomdl_use *use, uint64_t seed)
{
    atomdl_rng r = atomdl_rng_seed(seed + 1000);
    size_t bytes = t->info.values * sizeof(float);
    float *start = malloc(bytes + 1);
    double *v = malloc((t->info.values + 1) * sizeof *v), norm = 0;
    double *g = malloc((t->info.values + 1) * sizeof *g);
    judged p = {NULL, NULL, NULL, 0, 0};
    int i, before = test_failures;
    atomdl_tensor x;
    memcpy(start, t->values, bytes);
    train(t, use);
    for (size_t k = 0; k < t->info.values; k++) {
        v[k] = (double)start[k];
        g[k] = (double)t->gradient[k];
        norm += g[k] * g[k];
    }
    norm = sqrt(norm);
    double want = loss_of(t, v, (double)t->plan.bn_momentum);
    CHECK_NEAR(t->loss, want, 1e-5 * (1 + fabs(want))); /* float rounding */
    p.t = t;
    p.start = start;
    p.gradient = g;
    for (i = 0; atomdl_arch_tensor(&x, &t->arch, i); i++) {
        if (x.kind == ATOMDL_MEAN || x.kind == ATOMDL_VAR) {
            for (size_t k = x.offset; k < x.offset + x.count; k++) {
                CHECK(t->gradient[k] == 0);
                CHECK_NEAR(t->values[k], v[k], 2e-5 * (1 + fabs(v[k])));
            }
            continue;
        }
        p.from = x.offset;
        p.to = x.offset + x.count;
        compare(&p, &r, 3e-4, 2e-6 * norm, x.name);
    }
    p.from = 0;
    p.to = t->info.values;
    for (i = 0; i < 3; i++) compare(&p, &r, 3e-4, 0, "all");
    if (is_cross_entropy(&t->plan.loss)) {
        check_lesson(t, start);
        check_formulas(t, start, &r);
    }
    if (test_failures > before) {
        printf("  n %d, %d x %d\n", t->n, t->h, t->w);
        show_arch(&t->arch);
    }
    memcpy(t->values, start, bytes);
    free(start);
    free(v);
    free(g);
}

/* Every operator with more than one reader of its input, and before and after
   what the plan joins to a convolution. Others below take some of these by
   number: new ones go to the end. */
static const char *const NETS[] = {
    "input 1\nconv a ch=2 k=1\nsoftmax\n",
    "input 2\nconv a ch=3 k=3\nrelu\nconv b ch=2 k=5\nsoftmax\n",
    "input 1\nconv a ch=9 k=3 dilation=2\nleaky p=0.2\nconv b ch=1 k=3\n"
    "sigmoid\n",
    "input 1\nconv a ch=3 k=7\nbatchnorm b\nrelu\nconv c ch=3 k=11\n"
    "leaky\nbatchnorm d\nconv e ch=2 k=1\nsoftmax\n",
    "input 2\nbatchnorm a\nconv b ch=3 k=3 stride=2\nrelu\n"
    "conv c ch=5 k=5 stride=2\ndeconv d ch=3\nleaky\ndeconv e ch=2\n"
    "softmax\n",
    "input 1\nconv a ch=3 k=3\nmaxpool b\nconv c ch=3 k=3\nnearest d\n"
    "concat e in=d in2=a\nbatchnorm f\nconv g ch=2 k=1\nsoftmax\n",
    "input 1\nconv a ch=2 k=3\nmaxpool\nconv b ch=3 k=3 dilation=3\n"
    "bilinear c\nconcat d in=a in2=c\ndropout p=0.3\nconv e ch=3 k=3\n"
    "softmax\n",
    "input 1\nconv a ch=4 k=3\nrelu b\nadd c in=b in2=b\n"
    "concat d in=c in2=c\nadd e in=d in2=d\nconv f ch=2 k=1\nsoftmax\n",
    "input 1\nconv a ch=4 k=3\nleaky b\nmaxpool c in=b\nmaxpool d in=b\n"
    "conv e in=b ch=2 k=3 stride=2\nconv f in=b ch=2 k=1 stride=2\n"
    "nearest g in=c\nbilinear h in=d\ndeconv i in=e ch=2\n"
    "deconv j in=f ch=2\nbilinear k in=f\nconcat l in=g in2=h\n"
    "concat m in=i in2=j\nconcat n in=l in2=m\nadd o in=n in2=n\n"
    "dropout p in=b p=0.5\nbatchnorm q in=b\nadd r in=p in2=q\n"
    "concat s in=o in2=r\nconcat t in=s in2=k\nconv u ch=3 k=1\nsoftmax\n",
    "input 1\nconv a ch=2 k=3\nnearest b\nmaxpool b2\nbilinear c in=a\n"
    "conv d k=3 stride=2 ch=2\nconv e in=d ch=2 k=3\nrelu f\n"
    "concat g in=f in2=d\nadd h in=b2 in2=d\nconcat in=g in2=h\nsoftmax\n",
    "input 1\nconv a ch=2 k=3\nconv x in=a ch=3 k=5\nmaxpool y in=a\n"
    "nearest z\nconv b in=a ch=2 k=3\nconcat d in=a in2=b\n"
    "conv e in=x ch=4 k=1\nadd f in=d in2=e\nconcat g in=f in2=z\n"
    "conv h ch=2 k=1\nsoftmax\n",
    "input 1\nconv a ch=2 k=3\nconv b in=a ch=2 k=3\nconv c in=b ch=2 k=3\n"
    "add d in=b in2=c\nconv e in=a ch=2 k=5\nadd f in=d in2=e\n"
    "conv g ch=2 k=1\nadd h in=f in2=g\nadd i in=h in2=a\nsoftmax\n",
    "input 1\nconv a ch=2 k=1\nconv b ch=16 k=3 stride=2\nrelu\n"
    "conv c ch=2 k=1\nbilinear\nsoftmax\n",
    /* large enough to go by tiles */
    "input 1\nconv a ch=16 k=3\nrelu\nconv b ch=70 k=3\nleaky\nmaxpool\n"
    "conv c ch=25 k=3\nbatchnorm n\nnearest u\nconcat in=u in2=b\n"
    "conv d ch=17 k=3\nconv e ch=17 k=3\nadd f in=d in2=e\n"
    "conv g ch=2 k=1\nsoftmax\n",
};
static const int SIZES[][3] = {{1, 4, 4}, {2, 8, 12}, {3, 4, 20}, {1, 16, 36}};

void test_grad_operators(void)
{
    task t;
    for (size_t i = 0; i < sizeof NETS / sizeof *NETS; i++)
        for (size_t j = 0; j < sizeof SIZES / sizeof *SIZES; j++) {
            t.info = arch_of(&t.arch, t.row, NETS[i]);
            if (test_failures) return;
            task_fill(&t, SIZES[j][0], SIZES[j][1], SIZES[j][2], i * 10 + j);
            check_gradient(&t, NULL, i * 10 + j);
            task_free(&t);
        }
}

/* the losses, alone and together, with and without class weights */
void test_grad_losses(void)
{
    static const int NET[] = {1, 2, 6};
    task t;
    for (size_t i = 0; i < 3; i++)
        for (int k = 1; k < 16 && test_failures < 5; k++) {
            t.info = arch_of(&t.arch, t.row, NETS[NET[i]]);
            task_fill(&t, 2, 4, 10, (uint64_t)k);
            if (!(k & 7)) t.plan.loss.smooth = 0;
            t.plan.loss.ce = k & 1 ? 1.0f : 0;
            t.plan.loss.dice = k & 2 || !(k & 7) ? 0.7f : 0;
            t.plan.loss.focal = k & 4 ? 1.5f : 0;
            t.plan.loss.gamma = k == 5 ? 1.7f : 2;
            if (k & 8) {
                t.plan.loss.weight[0] = 0.3f;
                t.plan.loss.weight[1] = 4;
                t.plan.loss.weight[2] = 1;
            }
            check_gradient(&t, NULL, (uint64_t)k);
            task_free(&t);
        }
}

/* The seeds' networks, small. */
static int seed_net(task *t, int which)
{
    static const int W[] = {4, 8};
    int s;
    if (which == 0) s = atomdl_fcn(&t->arch, t->row, 256, W, 2, 2);
    else if (which == 1) s = atomdl_unet(&t->arch, t->row, 256, 2, 3);
    else if (which == 2)
        s = atomdl_resunet(&t->arch, t->row, 256,
                           &(atomdl_residual){1, 3, 0, 0.2f}, 2);
    else s = atomdl_resunet(&t->arch, t->row, 256,
                            &(atomdl_residual){2, 7, 1, 0}, 3);
    CHECK(s == ATOMDL_OK);
    return s || atomdl_arch_check(&t->info, NULL, &t->arch, 0, 0);
}

/* (at the bottom, batch statistics are over 2 images of 1 x 2 pixels) */
void test_grad_networks(void)
{
    task t;
    for (int i = 0; i < 4; i++) {
        if (seed_net(&t, i)) return;
        task_fill(&t, 2, 16, 32, (uint64_t)i);
        check_gradient(&t, NULL, (uint64_t)i);
        task_free(&t);
    }
}

static int random_task(task *t, atomdl_rng *r, uint64_t seed)
{
    random_arch(&t->arch, t->row, r, 1 + any(r, 2), any(r, 3), any(r, 2));
    int bad;
    if (atomdl_arch_check(&t->info, &bad, &t->arch, 0, 0)) {
        FAIL("unsound at row %d", bad);
        return 0;
    }
    int k = 12 / t->info.stride;
    int n = 1 + any(r, 3);
    int h = (1 + any(r, k)) * t->info.stride;
    int w = (1 + any(r, any(r, 4) ? k : 2 * k)) * t->info.stride;
    task_fill(t, n, h, w, seed);
    return 1;
}

/* Random networks: gradients, then the same bits for every variant. */
void test_grad_random(void)
{
    const char *more = getenv("NETWORKS"); /* for a long search */
    int networks = more ? atoi(more) : 100;
    atomdl_rng root = atomdl_rng_seed(30);
    const atomdl_kernels *k;
    task t;
    for (int i = 0; i < networks && test_failures < 4; i++) {
        atomdl_use use = {NULL, 0, 1};
        atomdl_rng r = atomdl_rng_split(&root, (uint64_t)i);
        if (!random_task(&t, &r, (uint64_t)i)) return;
        size_t bytes = t.info.values * sizeof(float);
        check_gradient(&t, NULL, (uint64_t)i);
        float *first = malloc(bytes + 1);
        float *stats = malloc(bytes + 1);
        memcpy(first, t.gradient, bytes);
        memcpy(stats, t.values, bytes);
        float loss = t.loss;
        for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++) {
            float *fresh = t.values;
            t.values = malloc(bytes + 1);
            memcpy(t.values, fresh, bytes);
            use.kernels = k;
            use.threads = 1 + any(&r, 4);
            train(&t, &use);
            CHECK_BYTES(t.gradient, first, bytes);
            CHECK_BITS(t.loss, loss);
            if (v == 0) memcpy(stats, t.values, bytes);
            CHECK_BYTES(t.values, stats, bytes);
            free(t.values);
            t.values = fresh;
        }
        free(first);
        free(stats);
        task_free(&t);
    }
}

/* The seeds' networks: batches of 1 and 5, every variant, 1 to 4 threads. */
void test_grad_variants(void)
{
    const atomdl_kernels *k;
    task t;
    for (int i = 0; i < 4; i++)
        for (int n = 1; n <= 5; n += 4) {
            int first = 1;
            if (seed_net(&t, i)) return;
            task_fill(&t, n, 16, 48, (uint64_t)n);
            size_t bytes = t.info.values * sizeof(float);
            float *want = malloc(2 * bytes);
            float *values = malloc(bytes);
            memcpy(values, t.values, bytes);
            for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++)
                for (int threads = 1; threads <= 4; threads++) {
                    atomdl_use use = {NULL, 0, 0};
                    use.kernels = k;
                    use.threads = threads;
                    memcpy(t.values, values, bytes);
                    train(&t, &use);
                    if (first) memcpy(want, t.gradient, bytes);
                    if (first) memcpy(want + t.info.values, t.values, bytes);
                    first = 0;
                    CHECK_BYTES(t.gradient, want, bytes);
                    CHECK_BYTES(t.values, want + t.info.values, bytes);
                }
            free(want);
            free(values);
            task_free(&t);
        }
}

/* Max pooling gives the gradient to the first of equal ones: as if that were
   a little greater (by 1e-6 of it: the gradient changes by about as much). */
void test_grad_ties(void)
{
    float want[64], start[64];
    task t;
    t.info = arch_of(&t.arch, t.row, "input 1\nconv a ch=1 k=3\nmaxpool\n"
                                     "conv b ch=2 k=1\nnearest\nsoftmax\n");
    task_fill(&t, 1, 8, 8, 3);
    for (size_t k = 0; k < 9; k++) t.values[k] = k == 4; /* a is the identity */
    for (int i = 0; i < 64; i++)
        t.image[i] = t.image[i / 16 * 16 + i % 8 / 2 * 2];
    memcpy(start, t.values, t.info.values * sizeof(float));
    train(&t, NULL);
    check_lesson(&t, start);
    memcpy(want, t.gradient, t.info.values * sizeof(float));
    for (int i = 0; i < 64; i++)
        if (i / 8 % 2 == 0 && i % 2 == 0)
            t.image[i] += 1e-6f * fabsf(t.image[i]);
    train(&t, NULL);
    for (size_t k = 0; k < t.info.values; k++)
        CHECK_NEAR(t.gradient[k], want[k], 1e-4);
    task_free(&t);
}

/* The gradient of a batch is the sum of its images' in order. With 4 of them
   and no pixel ignored, a quarter is exact. */
void test_grad_images(void)
{
    task t;
    t.info = arch_of(&t.arch, t.row, NETS[8]);
    for (int i = 0; i < t.arch.rows;
         i++) /* neither batch statistics nor noise */
        if (t.row[i].op == ATOMDL_BATCHNORM || t.row[i].op == ATOMDL_DROPOUT)
            t.row[i].op = ATOMDL_RELU, t.row[i].p = 0;
    CHECK(atomdl_arch_check(&t.info, NULL, &t.arch, 0, 0) == ATOMDL_OK);
    task_fill(&t, 4, 8, 12, 5);
    for (int i = 0; i < 4 * 96; i++) t.label[i] = (uint8_t)(i * 7 / 5 % 3);
    train(&t, NULL);
    float *batch = t.gradient;
    float *image = t.image;
    uint8_t *label = t.label;
    float *sum = malloc(t.info.values * sizeof *sum);
    t.gradient = malloc(t.info.values * sizeof *sum);
    t.n = 1;
    for (int i = 0; i < 4; i++, t.image += 96, t.label += 96) {
        train(&t, NULL);
        for (size_t k = 0; k < t.info.values; k++) {
            float g = t.gradient[k] * 0.25f;
            sum[k] = i ? sum[k] + g : g;
        }
    }
    CHECK_BYTES(batch, sum, t.info.values * sizeof *sum);
    t.image = image;
    t.label = label;
    free(batch);
    free(sum);
    task_free(&t);
}

/* Every size below the measured one is refused; nothing is written beyond. */
void test_grad_memory(void)
{
    enum { GUARD = 0xa5, MARGIN = 64 };
    atomdl_trainer *trainer;
    task t;
    for (int i = 0; i < 3; i++) {
        if (seed_net(&t, i)) return;
        task_fill(&t, 2, 16, 16, 1);
        size_t n = measure(&t, NULL);
        for (size_t size = 0; size <= n;
             size += size + 1 == n ? 1 : n / 40 + 1) {
            atomdl_arena a = {NULL, 0, 0, 0, 0};
            if (size + n / 40 + 1 > n && size < n - 1) size = n - 1;
            unsigned char *block = malloc(size + 2 * MARGIN);
            memset(block, GUARD, size + 2 * MARGIN);
            a.base = block + MARGIN;
            a.size = size;
            int status =
                atomdl_trainer_new(&trainer, &t.arch, t.n, t.h, t.w, NULL, &a);
            CHECK(status == (size < n ? ATOMDL_EMEM : ATOMDL_OK));
            CHECK((trainer != NULL) == (size == n));
            if (trainer)
                CHECK(atomdl_trainer_run(trainer, &t.loss, t.gradient,
                        t.values, &(atomdl_batch){t.image, t.label, STEP},
                        &t.plan)
                      == ATOMDL_OK);
            for (size_t k = 0; k < MARGIN; k++)
                if (block[k] != GUARD || block[size + MARGIN + k] != GUARD)
                    FAIL("beyond %zu bytes", size);
            free(block);
        }
        task_free(&t);
    }
}

/* Sums that overflow before a batch normalisation (its relu hides the NaN from
   the loss) or behind it: refused, and no value changes. */
static void refused_whole(void)
{
    enum { BYTES = (10 * 2 + 8 + 6) * sizeof(float) };
    float values[BYTES / sizeof(float)];
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    task t;
    t.info = arch_of(&t.arch, t.row, "input 1\nconv a ch=2 k=3\nbatchnorm b\n"
                                     "relu\nconv c ch=2 k=1\nsoftmax\n");
    CHECK(t.info.values * sizeof(float) == BYTES);
    task_fill(&t, 2, 4, 4, 1);
    a.size = measure(&t, NULL);
    a.base = malloc(a.size);
    atomdl_trainer *trainer;
    CHECK(atomdl_trainer_new(&trainer, &t.arch, 2, 4, 4, NULL, &a) == 0);
    for (int i = 0; i < 3; i++) {
        random_values(t.values, &t.arch, 1);
        if (i) t.values[i == 1 ? 3 : 29] = i == 1 ? 3e38f : INFINITY;
        memcpy(values, t.values, BYTES);
        CHECK(atomdl_trainer_run(trainer, &t.loss, t.gradient, t.values,
                                 &(atomdl_batch){t.image, t.label, 0},
                                 &t.plan)
              == (i ? ATOMDL_ENAN : ATOMDL_OK));
        CHECK((memcmp(values, t.values, BYTES) == 0) == (i > 0));
    }
    free(a.base);
    task_free(&t);
}

/* Bad labels and a loss that is not finite come back as a status. */
void test_grad_refusals(void)
{
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    task t;
    t.info = arch_of(&t.arch, t.row, NETS[1]);
    task_fill(&t, 1, 4, 4, 1);
    a.size = measure(&t, NULL);
    a.base = malloc(a.size);
    atomdl_trainer *trainer;
    CHECK(atomdl_trainer_new(&trainer, &t.arch, 1, 4, 4, NULL, &a) == 0);
    t.label[3] = 2;
    CHECK(atomdl_trainer_run(trainer, &t.loss, t.gradient, t.values,
                             &(atomdl_batch){t.image, t.label, 0}, &t.plan)
          == ATOMDL_EARG);
    t.label[3] = 1;
    t.values[t.info.values - 1] = INFINITY;
    CHECK(atomdl_trainer_run(trainer, &t.loss, t.gradient, t.values,
                             &(atomdl_batch){t.image, t.label, 0}, &t.plan)
          == ATOMDL_ENAN);
    CHECK(atomdl_trainer_new(&trainer, &t.arch, 0, 4, 4, NULL, &a)
          == ATOMDL_EARG);
    CHECK(trainer == NULL);
    free(a.base);
    task_free(&t);
    refused_whole();
}
