/* SPDX-License-Identifier: MIT
   Networks in use: every operator against the slow reference, and the same
   bits for every band, kernel variant and number of threads. */

#include "reference.h"

enum { GUARD = 0xa5, MARGIN = 64 };

/* A network with values, an image and the expected probabilities. */
typedef struct {
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    int h, w;
    float *values, *image, *want, *got;
} sample;

static float *expected_planes(const sample *s)
{
    reference_job job = {NULL, 1, 0, 0, NULL, NULL, NULL};

    job.arch = &s->arch;
    job.h = s->h;
    job.w = s->w;
    job.image = s->image;
    return reference_float(&job, s->values, s->arch.rows - 1);
}

static void sample_fill(sample *s, int h, int w, uint64_t seed)
{
    atomdl_rng r = atomdl_rng_seed(seed);
    size_t in = (size_t)(s->arch.channels * h * w);
    s->h = h;
    s->w = w;
    s->values = malloc(s->info.values * sizeof(float) + 1);
    s->image = malloc(in * sizeof(float));
    s->got = malloc((size_t)(s->info.classes * h * w) * sizeof(float));
    random_values(s->values, &s->arch, seed);
    atomdl_rng_normal(&r, s->image, in);
    s->want = expected_planes(s);
}

static void sample_free(sample *s)
{
    free(s->values);
    free(s->image);
    free(s->want);
    free(s->got);
}

/* The size that a network asks for. */
static size_t measure(const sample *s, const atomdl_use *use)
{
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    atomdl_net *net;
    CHECK(atomdl_net_new(&net, &s->arch, NULL, s->h, s->w, use, &a) == 0);
    CHECK(net == NULL);
    return a.peak;
}

/* Runs s twice in memory of exactly the measured size, full of rubbish. */
static void run(sample *s, const atomdl_use *use)
{
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    size_t n = (size_t)(s->info.classes * s->h * s->w);
    a.size = measure(s, use);
    a.base = malloc(a.size);
    memset(a.base, 0xff, a.size);
    atomdl_net *net;
    if (atomdl_net_new(&net, &s->arch, s->values, s->h, s->w, use, &a))
        FAIL("atomdl_net_new");
    int i;
    for (i = 0; i < 2 && net; i++) {
        memset(s->got, 0xff, n * sizeof(float));
        CHECK(atomdl_net_run(net, s->got, s->image) == ATOMDL_OK);
        if (memcmp(s->got, s->want, n * sizeof(float))) break;
    }
    if (i < 2) {
        const char *name = use && use->kernels ? use->kernels->name : "best";
        size_t k = 0;
        while (k + 1 < n
               && atomdl_bits(s->got[k]) == atomdl_bits(s->want[k]))
            k++;
        FAIL("%d x %d, band %d, threads %d, %s, run %d: [%zu] = %.9g, want "
             "%.9g", s->h, s->w, use ? use->band : 0, use ? use->threads : 0,
             name, i, k, (double)s->got[k], (double)s->want[k]);
        show_arch(&s->arch);
    }
    free(a.base);
}

/* ---------- Operators ----------------------------------------------------- */

/* Others below take some of these by number: new ones go to the end. */
static const char *const NETS[] = {
    "input 1\nconv a ch=2 k=1\nsoftmax\n",
    "input 2\nconv a ch=3 k=3\nsoftmax\n",
    "input 3\nconv a ch=9 k=5\nrelu\nconv b ch=1 k=1\nsigmoid\n",
    "input 1\nconv a ch=8 k=7\nleaky p=0.3\nconv b ch=7 k=1\nsoftmax\n",
    "input 1\nconv a ch=3 k=11\nbatchnorm b\nrelu\nconv c ch=2 k=1\nsoftmax\n",
    "input 2\nconv a ch=5 k=3 dilation=2\nrelu\nbatchnorm b\n"
    "conv c ch=2 k=3 dilation=15\nsoftmax\n",
    "input 2\nconv a ch=5 k=5 dilation=3\nleaky\nbatchnorm b\n"
    "leaky p=0.5\nconv c ch=3 k=11 dilation=3\nsoftmax\n",
    "input 2\nbatchnorm a\nleaky\nbatchnorm b\nbatchnorm c\nrelu\nsoftmax\n",
    "input 2\nrelu\nsoftmax\n",
    "input 1\nsigmoid\n",
    "input 4\nsigmoid\n",
    "input 2\ndropout d p=0.5\nconcat e in=d in2=d\nadd in=e in2=e\nsoftmax\n",
    "input 2\nconcat in=input in2=input\nsoftmax\n",
    "input 2\nadd in=input in2=input\ndropout p=0.9\nsoftmax\n",
    "input 1\nconv a ch=3 k=3\nmaxpool\nconv b ch=4 k=3\nnearest\n"
    "conv c ch=2 k=3\nsoftmax\n",
    "input 1\nconv a ch=3 k=3\nmaxpool\nmaxpool\nbilinear\nbilinear u\n"
    "concat in=u in2=a\nconv c ch=2 k=3\nsoftmax\n",
    "input 1\nconv a ch=3 k=3 stride=2\nbatchnorm b\nleaky\n"
    "deconv u ch=5\nrelu\nbatchnorm c\nconv d ch=2 k=1\nsoftmax\n",
    "input 2\nconv a ch=3 k=1 stride=2\nconv b ch=3 k=5 stride=2\n"
    "deconv c ch=2\ndeconv d ch=2\nsoftmax\n",
    "input 2\nconv a ch=9 k=3 dilation=3 stride=2\n"
    "conv b ch=3 k=7 dilation=5 stride=2 in=a\nnearest\nnearest c\n"
    "conv d ch=2 k=11 stride=2 in=input\nbilinear e\n"
    "concat in=c in2=e\nconv f ch=2 k=1\nsoftmax\n",
    "input 1\nnearest a\nmaxpool b\nnearest c in=a\nmaxpool\nmaxpool d\n"
    "add in=b in2=d\nconv e ch=2 k=1\nsoftmax\n",
    "input 1\nbilinear a\nconv b ch=2 k=3 stride=2\nsoftmax\n",
    "input 2\ndeconv a ch=3\ndeconv b ch=2\nmaxpool\nmaxpool\nsoftmax\n",
    "input 2\nmaxpool\nnearest u\nadd in=u in2=u\nnearest v\n"
    "concat in=v in2=v\nmaxpool\nsoftmax\n",
    "input 2\nmaxpool\nnearest u\nbilinear v in=u\nmaxpool w\ndeconv x ch=2 "
    "in=u\nconv y k=5 stride=2 ch=2\nconcat in=y in2=w\nsoftmax\n",
    "input 1\nconv a ch=2 k=3\nconv x in=a ch=3 k=5\nconv b in=a ch=2 k=3\n"
    "concat d in=a in2=b\nconv e in=x ch=4 k=1\nadd f in=d in2=e\n"
    "conv g ch=2 k=1\nsoftmax\n",
    "input 1\nconv a ch=2 k=3\nconv b in=a ch=2 k=3\nconv c in=b ch=2 k=3\n"
    "add d in=b in2=c\nconv e in=a ch=2 k=5\nadd f in=d in2=e\n"
    "conv g ch=2 k=1\nadd h in=f in2=g\nadd i in=h in2=a\nsoftmax\n",
    "input 1\nconv a ch=70 k=3\nrelu\nconv b ch=20 k=3\nrelu\n"
    "conv c ch=3 k=3\nsoftmax\n",
    /* large enough to go by tiles */
    "input 2\nconv a ch=17 k=3\nleaky p=0.3\nbatchnorm n\nconv b ch=24 k=3\n"
    "relu\nbatchnorm o\nconv c ch=70 k=3\nbatchnorm p\nleaky\n"
    "conv d ch=25 k=3\nconv e ch=3 k=1\nsoftmax\n",
    "input 1\nconv a ch=16 k=3\nconv b ch=16 k=3\nadd s in=a in2=b\nmaxpool\n"
    "conv c ch=80 k=3\nnearest u\nconcat in=u in2=s\nconv d ch=20 k=3\n"
    "maxpool\nrelu\nconv e ch=21 k=3\nbilinear\nconv f ch=16 k=3\nsigmoid\n",
    "input 1\nconv a ch=40 k=5 stride=2\nconv b ch=40 k=3\nadd c in=b in2=a\n"
    "conv d ch=40 k=3 in=c\nadd e in=c in2=d\ndeconv f ch=16\n"
    "conv g ch=16 k=3\nadd in=g in2=f\nsigmoid\n",
};

/* sizes in units of the network's stride: rows, columns */
static const int SIZES[][2] = {{1, 1}, {1, 2}, {3, 5}, {8, 24}, {40, 16},
                               {2, 17}, {33, 1}, {1, 100}, {7, 31}, {5, 48}};

void test_net_operators(void)
{
    static const int BANDS[] = {1, 2, 3, 0};
    const atomdl_kernels *k;
    atomdl_use use = {NULL, 0, 1};
    sample s;
    for (size_t i = 0; i < sizeof NETS / sizeof *NETS; i++)
        for (size_t j = 0; j < sizeof SIZES / sizeof *SIZES; j++) {
            s.info = arch_of(&s.arch, s.row, NETS[i]);
            if (test_failures) return;
            sample_fill(&s, SIZES[j][0] * s.info.stride,
                        SIZES[j][1] * s.info.stride, i * 100 + j);
            for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++)
                for (size_t b = 0; b < sizeof BANDS / sizeof *BANDS; b++) {
                    use.kernels = k;
                    use.band = BANDS[b];
                    run(&s, &use);
                    if (test_failures > 5) return;
                }
            sample_free(&s);
        }
}

/* ---------- Random networks ----------------------------------------------- */

static int any(atomdl_rng *r, int n)
{
    return (int)atomdl_rng_below(r, (uint32_t)n);
}

/* Pixels such that the largest of its tensors stays small. */
static void random_size(sample *s, atomdl_rng *r)
{
    int level[ATOMDL_ROWS], channels[ATOMDL_ROWS], least = 0;
    atomdl_arch_shapes(channels, level, &s->arch);
    for (int i = 0; i < s->arch.rows; i++)
        if (level[i] < least) least = level[i];
    int most = (least < -1 ? 12 : least < 0 ? 24 : 48) / s->info.stride;
    s->h = (1 + any(r, most > 1 ? most : 1)) * s->info.stride;
    s->w = (1 + any(r, most > 1 ? most : 1)) * s->info.stride;
    if (any(r, 5) == 0) s->w = (1 + 3 * any(r, 3)) * s->info.stride;
}

/* Every kernel variant, two or three bands each; several threads, slow to wake,
   in one run of eight. */
static void run_variants(sample *s, atomdl_rng *r)
{
    run(s, NULL);
    const atomdl_kernels *k;
    atomdl_use use;
    for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++)
        for (int i = 0; i < 3; i++) {
            int band[] = {1, 2, 3, 5, s->info.stride, 3 * s->info.stride,
                          s->h, 1 + any(r, s->h)};
            use.kernels = k;
            use.band = band[any(r, 8)];
            use.threads = any(r, 8) ? 1 : 1 + any(r, 4);
            run(s, &use);
        }
}

void test_net_random(void)
{
    const char *more = getenv("NETWORKS"); /* for a long search */
    int networks = more ? atoi(more) : 400;
    atomdl_rng root = atomdl_rng_seed(20);
    int bad, used[ATOMDL_OPS] = {0};
    sample s;
    for (int i = 0; i < networks && test_failures < 4; i++) {
        atomdl_rng r = atomdl_rng_split(&root, (uint64_t)i);
        random_arch(&s.arch, s.row, &r, 1 + any(&r, 3), any(&r, 4), any(&r, 3));
        if (atomdl_arch_check(&s.info, &bad, &s.arch, 0, 0)) {
            FAIL("network %d is unsound at row %d", i, bad);
            show_arch(&s.arch);
            continue;
        }
        random_size(&s, &r);
        sample_fill(&s, s.h, s.w, (uint64_t)i);
        run_variants(&s, &r);
        sample_free(&s);
        for (int j = 0; j < s.arch.rows; j++) used[s.row[j].op]++;
    }
    for (int j = 1; j < ATOMDL_OPS; j++)
        if (used[j] < 10)
            FAIL("operator %d of the header: %d times, want 10 (OP of "
                 "reference.c)", j, used[j]);
}

/* As many rows, tensors and rises above the image as the rules allow. */
void test_net_extremes(void)
{
    atomdl_use use = {NULL, 0, 3};
    sample s;
    for (int k = 0; k < 2; k++) {
        memset(s.row, 0, sizeof s.row);
        s.arch.channels = 1;
        s.arch.rows = ATOMDL_ROWS - 1;
        s.arch.row = s.row;
        for (int i = 0; i < s.arch.rows; i++) {
            atomdl_layer *l = &s.row[i];
            uint8_t down = i % 2 == k;
            l->op = down ? ATOMDL_CONV : ATOMDL_DECONV;
            l->in = l->in2 = (int16_t)(i - 1);
            l->ch = 1;
            l->k = down;
            l->stride = down ? 2 : 0;
            l->dilation = down;
            sprintf(l->name, "r%d", i);
            if (i < s.arch.rows - 1) continue;
            memset(l, 0, sizeof *l);
            l->op = ATOMDL_SIGMOID;
            l->in = l->in2 = (int16_t)(i - 1);
        }
        CHECK(atomdl_arch_check(&s.info, NULL, &s.arch, 0, 0) == ATOMDL_OK);
        sample_fill(&s, 4, 6, 1);
        run(&s, &use);
        sample_free(&s);
    }
}

/* Sizes whose bytes no size_t can count, or rows no int can, are refused. */
void test_net_refusals(void)
{
    static const char *const HUGE_NETS[] = {
        "input 1\nconv a ch=4096 k=1\nconv b ch=2 k=1\nsoftmax\n",
        "input 1\nnearest\nnearest\nnearest\nnearest\nnearest\nnearest\n"
        "nearest\nnearest\nnearest\nnearest\nnearest\nnearest\n"
        "maxpool\nmaxpool\nmaxpool\nmaxpool\nmaxpool\nmaxpool\n"
        "maxpool\nmaxpool\nmaxpool\nmaxpool\nmaxpool\nmaxpool\nsigmoid\n"};
    enum { MOST = ATOMDL_IMAGE_MAX };
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_net *net;
    atomdl_trainer *trainer;
    unsigned char memory[4096];
    for (size_t i = 0; i < 2; i++) {
        atomdl_arena a = {NULL, 0, 0, 0, 0}, b = {NULL, 4096, 0, 0, 0};
        arch_of(&arch, row, HUGE_NETS[i]);
        b.base = memory;
        int status = atomdl_net_new(&net, &arch, NULL, 1 << 12, MOST, NULL, &a);
        CHECK(status == ATOMDL_ESHAPE || status == ATOMDL_EMEM);
        status = atomdl_trainer_new(&trainer, &arch, 65536, MOST, MOST, NULL,
                                    &b);
        CHECK(status == ATOMDL_ESHAPE || status == ATOMDL_EMEM);
        CHECK(trainer == NULL);
    }
    arch_of(&arch, row, NETS[14]);
    CHECK(atomdl_net_new(&net, &arch, NULL, 6, 7, NULL, NULL)
          == ATOMDL_ESHAPE);
    CHECK(atomdl_net_new(&net, &arch, NULL, 0, 0, NULL, NULL) == ATOMDL_EARG);
    CHECK(net == NULL);
}

/* ---------- NaN ----------------------------------------------------------- */

/* Finite weights, a finite image, and sums that overflow: one pixel of the
   last channel is infinity - infinity. No NaN leaves. */
void test_net_nan(void)
{
    static const char *const LAST[] = {
        "conv b ch=2 k=1\nsoftmax\n", "conv b ch=3 k=1\nsoftmax\n",
        "conv b ch=1 k=1\nsigmoid\n", "conv b ch=4 k=1\nsigmoid\n"};
    const atomdl_kernels *k;
    atomdl_use use = {NULL, 0, 0};
    sample s;
    for (size_t i = 0; i < sizeof LAST / sizeof *LAST; i++) {
        char text[99] = "input 1\nconv a ch=2 k=1\n";
        atomdl_image image = {48, 16, 1, NULL}, prob = {48, 16, 0, NULL};
        s.info = arch_of(&s.arch, s.row, strcat(text, LAST[i]));
        sample_fill(&s, 16, 48, i);
        int c = prob.c = s.info.classes;
        memset(s.values, 0, s.info.values * sizeof *s.values);
        memset(s.image, 0, 16 * 48 * sizeof *s.image);
        s.values[0] = s.values[1] = 2e38f;
        for (int v = 0; v < 2 * c; v++)
            s.values[4 + v] = v == 2 * c - 1 ? -1 : 1;
        for (int v = 0; (k = atomdl_kernels_get(v)) != NULL; v++)
            for (use.threads = 1; use.threads <= 2; use.threads++) {
                atomdl_arena a = {NULL, 0, 0, 0, 0};
                use.kernels = k;
                a.size = measure(&s, &use);
                a.base = malloc(a.size);
                atomdl_net *net;
                CHECK(atomdl_net_new(&net, &s.arch, s.values, 16, 48, &use, &a)
                      == ATOMDL_OK);
                s.image[771 - 4] = 2;
                CHECK(atomdl_net_run(net, s.got, s.image) == ATOMDL_ENAN);
                s.image[771 - 4] = 0;
                CHECK(atomdl_net_run(net, s.got, s.image) == ATOMDL_OK);
                free(a.base);
            }
        image.px = s.image;
        prob.px = s.got;
        s.image[0] = 2;
        s.got[0] = 7;
        atomdl_arena big = new_arena(1 << 20);
        CHECK(atomdl_segment(&prob, &image, &s.arch, s.values, NULL, &big)
              == ATOMDL_ENAN);
        CHECK(s.got[0] == 7);
        free(big.base);
        sample_free(&s);
    }
}

/* ---------- Memory -------------------------------------------------------- */

/* With `size` bytes from an address that is `shift` beyond a multiple of 64:
   the status; guards on both sides stay whole. */
static int try_size(sample *s, size_t size, size_t shift)
{
    unsigned char *block = malloc(size + 3 * MARGIN + 64);
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    unsigned char *base =
        block + MARGIN + (64 - (uintptr_t)(block + MARGIN) % 64) % 64;
    base += shift;
    memset(block, GUARD, size + 3 * MARGIN + 64);
    a.base = base;
    a.size = size;
    atomdl_net *net;
    int status =
        atomdl_net_new(&net, &s->arch, s->values, s->h, s->w, NULL, &a);
    CHECK((status == ATOMDL_OK) == (net != NULL));
    if (net) {
        CHECK(atomdl_net_run(net, s->got, s->image) == ATOMDL_OK);
        CHECK_BYTES(s->got, s->want,
                    (size_t)(s->info.classes * s->h * s->w) * sizeof(float));
    }
    for (size_t i = 0; i < MARGIN; i++)
        if (base[-1 - (ptrdiff_t)i] != GUARD || base[size + i] != GUARD)
            FAIL("memory beyond the arena of %zu bytes", size);
    free(block);
    return status;
}

void test_net_memory(void)
{
    static const int NET[] = {0, 4, 16, 18, 23};
    sample s;
    for (size_t i = 0; i < sizeof NET / sizeof *NET; i++) {
        s.info = arch_of(&s.arch, s.row, NETS[NET[i]]);
        sample_fill(&s, 4 * s.info.stride, 5 * s.info.stride, i);
        size_t n = measure(&s, NULL);
        for (size_t shift = 0; shift < 64; shift += 9)
            CHECK(try_size(&s, n, shift) == ATOMDL_OK);
        for (size_t size = 0; size < n; size += n / 150 + 1)
            CHECK(try_size(&s, size, size % 64) == ATOMDL_EMEM);
        CHECK(try_size(&s, n - 1, 0) == ATOMDL_EMEM);
        sample_free(&s);
    }
}

/* Memory depends on the width, and on the height only up to the band. */
/* Rows of the image, each asked for once and in order. */
typedef struct {
    const sample *s;
    int next[4]; /* of each channel */
} rows_source;

static void next_row(float *row, int channel, int y, void *user)
{
    rows_source *r = user;
    const sample *s = r->s;
    CHECK(y == r->next[channel]++);
    memcpy(row, s->image + (channel * s->h + y) * s->w,
           (size_t)s->w * sizeof *row);
}

/* The result in pieces of several bands is the result. */
void test_net_rows(void)
{
    atomdl_use use = {NULL, 0, 1};
    atomdl_net *net;
    sample s;
    for (size_t i = 0; i < sizeof NETS / sizeof *NETS; i++) {
        s.info = arch_of(&s.arch, s.row, NETS[i]);
        sample_fill(&s, 6 * s.info.stride, 2 * s.info.stride, i);
        use.band = 1 + (int)i % 3;
        int step = use.band * (1 + (int)i % 2);
        size_t row = (size_t)s.w * sizeof *s.got;
        atomdl_arena a = new_arena(measure(&s, &use));
        CHECK(!atomdl_net_new(&net, &s.arch, s.values, s.h, s.w, &use, &a));
        for (int c = 0; c < 2; c++) { /* twice: the second image starts anew */
            rows_source r = {NULL, {0}};
            r.s = &s;
            for (int y = 0; y < s.h; y += step) {
                int y1 = y + step < s.h ? y + step : s.h;
                CHECK(!atomdl_net_rows(net, s.got, y, y1, next_row, &r));
                for (int k = 0; k < s.info.classes; k++)
                    CHECK(!memcmp(s.got + k * (y1 - y) * s.w,
                                  s.want + (k * s.h + y) * s.w,
                                  row * (size_t)(y1 - y)));
            }
            CHECK(r.next[0] > s.h - 2 && r.next[0] <= s.h);
        }
        CHECK(atomdl_net_rows(net, s.got, 1, s.h, next_row, NULL)
              == ATOMDL_EARG);
        CHECK(atomdl_net_rows(net, s.got, 0, s.h + 1, next_row, NULL)
              == ATOMDL_EARG);
        free(a.base);
        sample_free(&s);
    }
}

void test_net_tall(void)
{
    atomdl_use use = {NULL, 8, 1};
    sample s;
    s.info = arch_of(&s.arch, s.row, NETS[16]);
    s.w = 40;
    s.h = 512;
    size_t n = measure(&s, &use);
    s.h = 4096;
    CHECK(measure(&s, &use) == n);
    /* also where the library chooses, and weights are many */
    s.w = 48;
    CHECK(atomdl_resunet(&s.arch, s.row, ATOMDL_ROWS,
                         &(atomdl_residual){16, 3, 0, 0}, 2)
          == ATOMDL_OK);
    n = measure(&s, NULL);
    s.h = 16384;
    CHECK(measure(&s, NULL) == n);
    use.band = 0; /* and whatever number of threads this machine has */
    CHECK(measure(&s, &use) == n);
}

/* ---------- atomdl_segment ------------------------------------------------ */

static void segment(sample *s, int w, int h)
{
    int st = s->info.stride, W = (w + st - 1) / st * st;
    int H = (h + st - 1) / st * st;
    atomdl_image image = {0, 0, 0, NULL}, prob = {0, 0, 0, NULL};
    atomdl_arena a = {NULL, 0, 0, 0, 0};
    atomdl_rng r = atomdl_rng_seed(5);
    int channels = s->arch.channels, classes = s->info.classes;
    image.w = prob.w = w;
    image.h = prob.h = h;
    image.c = channels;
    prob.c = classes;
    CHECK(atomdl_segment(&prob, &image, &s->arch, NULL, NULL, &a) == 0);
    CHECK(a.used == 0);
    sample_fill(s, H, W, 3); /* then its image is replaced */
    image.px = malloc((size_t)(w * h * channels) * sizeof(float));
    prob.px = malloc((size_t)(w * h * classes) * sizeof(float));
    atomdl_rng_normal(&r, image.px, (size_t)(w * h * channels));
    atomdl_image all;
    all.px = s->image;
    for (int c = 0; c < channels; c++)
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++) {
                int v = y % (2 * h), u = x % (2 * w); /* d c b a | a b c d */
                v = v < h ? v : 2 * h - 1 - v;
                u = u < w ? u : 2 * w - 1 - u;
                all.px[(c * H + y) * W + x] = image.px[(c * h + v) * w + u];
            }
    free(s->want);
    s->want = expected_planes(s);
    a.base = malloc(a.size = a.peak);
    a.peak = 0;
    CHECK(atomdl_segment(&prob, &image, &s->arch, s->values, NULL, &a) == 0);
    CHECK(a.used == 0 && a.peak == a.size);
    for (int c = 0; c < classes; c++)
        for (int y = 0; y < h; y++)
            CHECK_BYTES(prob.px + (c * h + y) * w, s->want + (c * H + y) * W,
                        (size_t)w * sizeof(float));
    image.px[w * h * channels / 2] = NAN;
    CHECK(atomdl_segment(&prob, &image, &s->arch, s->values, NULL, &a)
          == ATOMDL_ENAN);
    a.size--;
    image.px[w * h * channels / 2] = 0;
    CHECK(atomdl_segment(&prob, &image, &s->arch, s->values, NULL, &a)
          == ATOMDL_EMEM);
    CHECK(a.used == 0);
    free(a.base);
    free(image.px);
    free(prob.px);
    sample_free(s);
}

void test_net_segment(void)
{
    static const int NET[] = {1, 15, 16, 18, 22};
    sample s;
    for (size_t i = 0; i < sizeof NET / sizeof *NET; i++) {
        s.info = arch_of(&s.arch, s.row, NETS[NET[i]]);
        segment(&s, 1, 1);
        segment(&s, 7, 13);
        segment(&s, 13, 7);
        segment(&s, 101, 50);
        segment(&s, 2, 9);
    }
}
