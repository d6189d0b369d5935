/* SPDX-License-Identifier: MIT
   atomdl bench: speed of the networks of the papers, alone (JSON lines) or
   beside other programs (the worker protocol of peers/README.md). */

#if !defined _WIN32 && !defined _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#endif
#define ATOMDL_LIBRARY /* its guard against contraction, for the peak */
#include "program.h"
#include "files/files.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _WIN32
#include <windows.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

const char BENCH_HELP[] =
    "usage: atomdl bench [--isa NAME] [--threads N] [--ms N] [CASE...]\n"
    "       atomdl bench --net NET         the network's text\n"
    "       atomdl bench --worker DIR      JSON requests on standard input\n"
    "\n"
    "Times networks and prints one JSON object a case: median and least ms,\n"
    "billions of multiply-adds a second (training counts 3 forward passes),\n"
    "the peak of this machine for a rounded multiply and a rounded add with\n"
    "the same instruction set, read between the repetitions, the share of it\n"
    "(median of paired readings), and the memory the library took. busy is\n"
    "processor time per thread and time: below 1, other programs interfered.\n"
    "\n"
    "  CASE         NET and image side, such as fcn512, resunet3-256; for a\n"
    "               training step train-NET, side x batch: train-unet256x8\n"
    "  NET          fcn unet resunet3 resunet7\n"
    "  --isa NAME   kernels: plain sse2 avx2 avx512 neon simd128\n"
    "  --threads N  default 1\n"
    "  --ms N       time for each case, default 300\n"
    "\n"
    "environment: ATOMDL_ISA=NAME, as --isa\n"
    "example:     atomdl bench --threads 2 fcn2048 train-fcn128x16\n";

/* ---------- Time ---------------------------------------------------------- */

/* milliseconds since some moment */
static double now(void)
{
#if defined _WIN32
    LARGE_INTEGER t, f;
    QueryPerformanceCounter(&t);
    QueryPerformanceFrequency(&f);
    return (double)t.QuadPart * 1e3 / (double)f.QuadPart;
#elif defined CLOCK_MONOTONIC
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
#else
    return (double)clock() * 1e3 / CLOCKS_PER_SEC;
#endif
}

/* milliseconds of processor time of all threads */
static double spent(void)
{
    return (double)clock() * 1e3 / CLOCKS_PER_SEC;
}

static int bench_rising(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* sorts x(n) */
static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, bench_rising);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

/* ---------- Peak arithmetic -----------------------------------------------

   Sums that stay in registers, a = a x + y, each product rounded before it is
   added: so many independent ones that neither latency matters. */

static volatile float sink;

enum { PEAK_STEPS = 20000 }; /* a fraction of a millisecond */

#if defined __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

/* multiply-adds done */
#define PEAK(tag, vec, sums, lanes) \
    static double peak_##tag(void) \
    { \
        vec a[sums], x = {0}, y = {0}, total = {0}; \
        float first; \
        x = x + (1 - (sink + 1) * 0x1p-10f); \
        y = y + 0x1p-10f; \
        for (int i = 0; i < sums; i++) a[i] = x + (float)i; \
        for (int n = 0; n < PEAK_STEPS; n++) { \
            UNROLL \
            for (int i = 0; i < sums; i++) a[i] = a[i] * x + y; \
        } \
        for (int i = 0; i < sums; i++) total = total + a[i]; \
        memcpy(&first, &total, sizeof first); \
        sink = first * 0; \
        return (double)sums * lanes * PEAK_STEPS; \
    }

#if defined __GNUC__ || defined __clang__
typedef float vec4 __attribute__((vector_size(16)));
#ifdef __aarch64__
PEAK(base, vec4, 24, 4)
#else
PEAK(base, vec4, 12, 4)
#endif
#if defined __x86_64__ && !defined __MINGW32__
typedef float vec8 __attribute__((vector_size(32)));
typedef float vec16 __attribute__((vector_size(64)));
__attribute__((target("avx2"))) PEAK(avx2, vec8, 12, 8)
__attribute__((target("avx512f"))) PEAK(avx512, vec16, 28, 16)
#define PEAK_WIDE
#endif
#endif

static const struct {
    const char *isa;
    double (*run)(void);
} PEAKS[] = {
#ifdef PEAK_WIDE
    {"avx512", peak_avx512}, {"avx2", peak_avx2},
#endif
#if defined __GNUC__ || defined __clang__
    {"sse2", peak_base}, {"neon", peak_base}, {"simd128", peak_base},
    {"plain", peak_base},
#endif
    {NULL, NULL}
};

/* 10^9 multiply-adds a second of so many threads; 0: unknown */
static double peak_rate(const atomdl_kernels *k, int threads)
{
    double t, macs;
    int i = 0, j;
    while (PEAKS[i].isa && strcmp(PEAKS[i].isa, k->name)) i++;
    if (!PEAKS[i].run) return 0;
    macs = 0;
    t = now();
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) reduction(+:macs)
#endif
    for (j = 0; j < threads; j++) macs += PEAKS[i].run();
    return macs / (now() - t) * 1e-6;
}

/* ---------- The networks --------------------------------------------------

   As text with PyTorch's parameter names, the same as tests/nets/NET.net. */

static void fcn_text(io_text *t, int k)
{
    static const int WIDTH[2][3] = {{8, 16, 32}, {32, 16, 8}};
    io_put(t, "# FCN of peers/nets.py\ninput 1\n");
    for (int i = 0; i < 3; i++)
        io_put(t, "conv e%d ch=%d k=%d\nrelu\nmaxpool\n", i + 1, WIDTH[0][i],
               k);
    for (int i = 0; i < 3; i++)
        io_put(t, "conv d%d ch=%d k=%d\nrelu\nnearest\n", i + 1, WIDTH[1][i],
               k);
    io_put(t, "conv c1 ch=2 k=%d\nconv c2 ch=2 k=1\nsoftmax\n", k);
}

static void bench_unet_block(io_text *t, const char *stem, int ch, int k)
{
    for (int i = 0; i < 6; i += 3)
        io_put(t, "conv %s.%d ch=%d k=%d\nleaky p=0.01\nbatchnorm %s.%d\n",
               stem, i, ch, k, stem, i + 2);
}

static void unet_text(io_text *t, int k)
{
    static const char *const STEM[] = {"c1", "c2", "c3", "c6", "c5", "c4"};
    io_put(t, "# UNet of peers/nets.py\ninput 1\n");
    for (int i = 0; i < 3; i++) {
        bench_unet_block(t, STEM[i], 16 << i, k);
        io_put(t, "maxpool\n");
    }
    bench_unet_block(t, "bn", 128, k);
    for (int i = 2; i >= 0; i--) {
        int ch = 16 << i;
        io_put(t, "bilinear\nconv u%d ch=%d k=1\nconcat in=c%d.5 in2=u%d\n",
               i + 1, ch, i + 1, i + 1);
        bench_unet_block(t, STEM[3 + i], ch, k);
    }
    io_put(t, "conv px ch=2 k=1\nsoftmax\n");
}

/* a residual block behind its first normalisation; from: its input */
static void res_block(io_text *t, const char *stem, int i, int ch, int k,
                      const char *from)
{
    char s[16];
    snprintf(s, sizeof s, "%s.%d", stem, i);
    io_put(t, "conv %s.w1 ch=%d k=%d\nbatchnorm %s.b2\nrelu\n", s, ch, k, s);
    io_put(t, "conv %s.w2 ch=%d k=%d\n", s, ch, k);
    io_put(t, "conv %s.sc ch=%d k=1 in=%s\n", s, ch, from);
    io_put(t, "add %s in=%s.w2 in2=%s.sc\n", s, s, s);
}

static void resunet_text(io_text *t, int k)
{
    io_put(t, "# ResUNet(%d) of peers/nets.py\ninput 1\n", k);
    res_block(t, "enc", 0, 32, k, "input");
    char from[16];
    for (int i = 1; i < 5; i++) {
        snprintf(from, sizeof from, "p%d", i);
        io_put(t, "maxpool %s\nbatchnorm enc.%d.b1\nrelu\n", from, i);
        res_block(t, "enc", i, 32 << i, k, from);
    }
    for (int i = 0; i < 4; i++) {
        snprintf(from, sizeof from, "cat.%d", i);
        io_put(t, "nearest up.%d\nconcat %s in2=enc.%d\n", i, from, 3 - i);
        io_put(t, "batchnorm dec.%d.b1\nrelu\n", i);
        res_block(t, "dec", i, 256 >> i, k, from);
    }
    io_put(t, "conv px ch=2 k=1\nsoftmax\n");
}

static const struct {
    const char *name;
    void (*text)(io_text *, int);
    int k;
} NETS[] = {
    {"fcn", fcn_text, 3}, {"unet", unet_text, 3},
    {"resunet3", resunet_text, 3}, {"resunet7", resunet_text, 7},
    {NULL, NULL, 0}
};

/* the number of the net whose name s(n) is; -1: none */
static int find_net(const char *s, size_t n)
{
    for (int i = 0; NETS[i].name; i++)
        if (strlen(NETS[i].name) == n && !memcmp(NETS[i].name, s, n)) return i;
    return -1;
}

/* ---------- A job: a network bound to memory ------------------------------ */

enum { MAX_SIZE = 16384, MAX_BATCH = 4096 };

typedef struct { /* what is asked for; equal ones share a job */
    char net[32];
    int size, batch, train, threads;
} request;

typedef struct job {
    request r;
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    const atomdl_kernels *k;
    const char *dir;        /* of models; NULL: the program's own networks */
    int (*fill)(struct job *); /* values and images; 0, or 1 and why */
    atomdl_arena arena;     /* from malloc */
    size_t own;             /* what the library took of it at most */
    float *values, *gradient;
    float *image, *prob;    /* (batch, size, size), (classes, size, size) */
    uint8_t *label;
    atomdl_net *net;
    atomdl_trainer *trainer;
    atomdl_state state;
    atomdl_plan plan;
    char why[600];          /* of a failure */
} job;

PRINTF(2, 3) static int job_failed(job *j, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(j->why, sizeof j->why, format, args);
    va_end(args);
    return 1;
}

/* status of the library: 0, or 1 with its reason */
static int job_status(job *j, int status)
{
    return status ? job_failed(j, "%s", atomdl_strerror(status)) : 0;
}

static size_t job_pixels(const job *j)
{
    return (size_t)j->r.size * (size_t)j->r.size;
}

/* The caller's arrays, which fill() sets, then the library's. A status; 1:
   fill failed. */
static int job_stage(void *of, atomdl_arena *a)
{
    job *j = of;
    atomdl_use use = {NULL, 0, 0};
    size_t n = job_pixels(j);
    use.kernels = j->k;
    use.threads = j->r.threads;
    j->values = atomdl_alloc(a, j->info.values, sizeof(float));
    j->image = atomdl_alloc(a, n * (size_t)j->r.batch, sizeof(float));
    j->prob = atomdl_alloc(a, n, (size_t)j->info.classes * sizeof(float));
    j->label = atomdl_alloc(a, n * (size_t)j->r.batch, 1);
    size_t mark = a->used;
    int status = a->base ? j->fill(j) : ATOMDL_OK;
    if (status) return status;
    if (j->r.train) {
        j->gradient = atomdl_alloc(a, j->info.values, sizeof(float));
        status = atomdl_state_new(&j->state, &j->arch, &j->plan, a);
        if (!status)
            status = atomdl_trainer_new(&j->trainer, &j->arch, j->r.batch,
                                        j->r.size, j->r.size, &use, a);
    } else {
        status = atomdl_net_new(&j->net, &j->arch, j->values, j->r.size,
                                j->r.size, &use, a);
    }
    j->own = a->peak - mark;
    return status;
}

static void job_close(job *j)
{
    free(j->arena.base);
    j->arena.base = NULL;
}

/* Reads the network: a built-in one, or DIR/NET.net. */
static int job_parse(job *j)
{
    int net = find_net(j->r.net, strlen(j->r.net)), status;
    if (net >= 0) {
        io_text t = {0};
        NETS[net].text(&t, NETS[net].k);
        status = t.failed ? ATOMDL_EMEM
                          : atomdl_arch_parse(&j->arch, j->row, ATOMDL_ROWS,
                                              t.s, t.n, NULL);
        io_text_free(&t);
    } else {
        io_bytes file = {NULL, 0};
        char path[1024];
        snprintf(path, sizeof path, "%.900s/%s.net", j->dir ? j->dir : ".",
                 j->r.net);
        if (io_read(&file, path, 4095)) return job_failed(j, "%s", io_reason());
        status = atomdl_arch_parse(&j->arch, j->row, ATOMDL_ROWS,
                                   (const char *)file.data, file.size, NULL);
        free(file.data);
    }
    if (!status) status = atomdl_arch_check(&j->info, NULL, &j->arch, 0, 0);
    return job_status(j, status);
}

/* Opens a job whose kernels, dir and fill are set. */
static int job_open(job *j, const request *r)
{
    j->r = *r;
    j->plan = atomdl_plan_default();
    j->plan.schedule = ATOMDL_CONSTANT;
    j->plan.warmup = 0;
    if (job_parse(j)) return 1;
    if (r->size % j->info.stride)
        return job_failed(j, "side %d is not a multiple of %d", r->size,
                          j->info.stride);
    int status =
        atomdl_arch_check(&j->info, NULL, &j->arch, r->size, r->size);
    if (status) return job_status(j, status);
#ifdef _OPENMP
    omp_set_num_threads(r->threads);
#endif
    memset(&j->arena, 0, sizeof j->arena);
    status = measure_and_run(job_stage, j, &j->arena);
    if (!status) return 0;
    if (!j->arena.base && j->arena.peak)
        return job_failed(j, "no memory for %lu MiB",
                          (unsigned long)(j->arena.peak >> 20));
    job_close(j);
    return status > 0 ? 1 : job_status(j, status);
}

/* One image, or one training step; *ms is its time. */
static int job_run(job *j, double *ms)
{
    double t = now();
    int status;
    if (!j->r.train) {
        status = atomdl_net_run(j->net, j->prob, j->image);
    } else {
        float loss;
        status = atomdl_trainer_run(j->trainer, &loss, j->gradient, j->values,
                &(atomdl_batch){j->image, j->label, j->state.step}, &j->plan);
        if (!status)
            status = atomdl_update(j->values, j->gradient, NULL, &j->state,
                                   &j->arch, &j->plan);
    }
    *ms = now() - t;
    return job_status(j, status);
}

/* The images behind the first are the first, moved down by some rows; the
   label is whether a pixel is above 1/2. */
static void fill_batch(job *j)
{
    size_t n = job_pixels(j);
    for (size_t m = 1; m < (size_t)j->r.batch; m++)
        for (size_t i = 0; i < n; i++)
            j->image[m * n + i] = j->image[(i + m * (size_t)j->r.size) % n];
    for (size_t i = 0; i < n * (size_t)j->r.batch; i++)
        j->label[i] = j->image[i] > 0.5f;
}

/* ---------- Alone: cases and JSON lines ----------------------------------- */

/* Fresh weights, random pixels. */
static int fill_random(job *j)
{
    atomdl_rng rng = atomdl_rng_seed(1);
    atomdl_arch_init(j->values, &j->arch, 1, ATOMDL_HE);
    atomdl_rng_normal(&rng, j->image, job_pixels(j));
    fill_batch(j);
    return 0;
}

/* A decimal number of at most `most` at **s, which moves on; 0: none. */
static int take_count(const char **s, int most)
{
    int v = 0;
    for (; **s >= '0' && **s <= '9' && v <= most; ++*s)
        v = v * 10 + (**s - '0');
    return v <= most ? v : 0;
}

/* [train-]NET[-]SIDE[xBATCH]; 0 when s is none. */
static int parse_case(request *r, const char *s)
{
    r->train = !strncmp(s, "train-", 6);
    if (r->train) s += 6;
    size_t n;
    int net;
    for (n = 1; (net = find_net(s, n)) < 0; n++)
        if (!s[n - 1]) return 0;
    memset(r->net, 0, sizeof r->net);
    strcpy(r->net, NETS[net].name);
    s += n;
    if (*s == '-') s++;
    r->size = take_count(&s, MAX_SIZE);
    r->batch = 1;
    if (r->train) r->batch = *s++ == 'x' ? take_count(&s, MAX_BATCH) : 0;
    return r->size && r->batch && !*s;
}

enum { SAMPLES = 1000 };

typedef struct {
    double ms[SAMPLES], peak[SAMPLES], share[SAMPLES], busy[SAMPLES];
    int n;
} readings;

/* multiply-adds of a repetition, 10^6; training: forward and twice that back */
static double job_work(const job *j)
{
    double work = (double)j->info.macs * 1e-6 * (double)j->r.batch;
    return j->r.train ? 3 * work : work;
}

/* Repeats for about `budget` ms, at least three times, and reads the peak
   after each repetition. */
static int measure(readings *s, job *j, int budget)
{
    double ms;
    int n = 0;
    if (job_run(j, &ms)) return 1;
    double peak;
    for (double end = now() + budget; n < SAMPLES && (n < 3 || now() < end);
         n++) {
        double cpu = spent();
        if (job_run(j, &ms)) return 1;
        s->busy[n] = (spent() - cpu) / ms / j->r.threads;
        s->ms[n] = ms;
        s->peak[n] = peak = peak_rate(j->k, j->r.threads);
        s->share[n] = peak > 0 ? job_work(j) / ms / peak : 0;
    }
    s->n = n;
    return 0;
}

static void print_case(const char *name, const job *j, readings *s)
{
    double ms = median(s->ms, s->n), peak = median(s->peak, s->n);
    printf("{\"case\":\"%s\",\"isa\":\"%s\",\"threads\":%d,", name,
           j->k->name, j->r.threads);
    printf("\"ms\":%.3f,\"min\":%.3f,\"reps\":%d,", ms, s->ms[0], s->n);
    printf("\"busy\":%.2f,\"gmac_s\":%.2f,", median(s->busy, s->n),
           job_work(j) / ms);
    if (peak > 0)
        printf("\"peak_gmac_s\":%.2f,\"share\":%.3f,", peak,
               median(s->share, s->n));
    printf("\"memory_mib\":%.2f}\n", (double)j->own / 1048576);
    fflush(stdout);
}

static int bench_case(const char *name, const atomdl_kernels *k, int threads,
                      int budget)
{
    static readings s;
    static job j;
    request r;
    if (!parse_case(&r, name))
        return misuse("no case '%s' (atomdl bench --help)", name);
    r.threads = threads;
    j.k = k;
    j.fill = fill_random;
    if (job_open(&j, &r))
        return fail("%s: %s", name, j.why);
    int bad = measure(&s, &j, budget);
    if (!bad) print_case(name, &j, &s);
    job_close(&j);
    return bad ? fail("%s: %s", name, j.why) : 0;
}

/* ---------- Beside others: the worker ------------------------------------- */

/* The array DIR/NET/FILE of count values into an array from malloc; NULL on
   failure. */
static float *load_array(job *j, const char *file, size_t count)
{
    char path[1024];
    int n = snprintf(path, sizeof path, "%s/%s/%s", j->dir, j->r.net, file);
    io_npy a = {0};
    if (n < 0 || (size_t)n >= sizeof path)
        job_failed(j, "the folder's name is too long");
    else if (io_npy_read(&a, path)) job_failed(j, "%s", io_reason());
    else if (a.count == count) return a.x;
    else job_failed(j, "%s: %lu values, wanted %lu", path,
                    (unsigned long)a.count, (unsigned long)count);
    free(a.x);
    return NULL;
}

/* to (out, ky, kx, in) <- from (out, in, ky, kx), of a transposed convolution
   from (in, out, ky, kx) */
static void permute(float *to, const float *from, const atomdl_tensor *t,
                    int deconv)
{
    size_t out = (size_t)t->dim[deconv], in = (size_t)t->dim[!deconv];
    size_t taps = t->count / out / in;
    for (size_t o = 0; o < out; o++)
        for (size_t q = 0; q < taps; q++)
            for (size_t i = 0; i < in; i++)
                *to++ = from[(deconv ? i * out + o : o * in + i) * taps + q];
}

/* Weights and the first image from the model folder. */
static int fill_model(job *j)
{
    char file[ATOMDL_NAME + 32];
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, &j->arch, i); i++) {
        snprintf(file, sizeof file, "%s.npy", t.name);
        float *x = load_array(j, file, t.count);
        if (!x) return 1;
        if (t.dims == 4)
            permute(j->values + t.offset, x, &t,
                    j->row[t.row].op == ATOMDL_DECONV);
        else memcpy(j->values + t.offset, x, t.count * sizeof *x);
        free(x);
    }
    snprintf(file, sizeof file, "%d/input.npy", j->r.size);
    float *x = load_array(j, file, job_pixels(j));
    if (!x) return 1;
    memcpy(j->image, x, job_pixels(j) * sizeof *x);
    free(x);
    fill_batch(j);
    return 0;
}

/* *most <- the largest |probability - output.npy| */
static int model_check(job *j, double *most)
{
    size_t n = job_pixels(j) * (size_t)j->info.classes;
    char file[64];
    snprintf(file, sizeof file, "%d/output.npy", j->r.size);
    float *x = load_array(j, file, n);
    if (!x) return 1;
    size_t i;
    for (*most = 0, i = 0; i < n; i++) {
        double d = (double)j->prob[i] - (double)x[i];
        if (d < 0) d = -d;
        if (!(d <= *most)) *most = d;
    }
    free(x);
    return 0;
}

typedef struct { /* one line of input */
    request r;
    int reps, check;
} order;

/* to (32) <- the value of a key of a flat JSON object, without its quotes; ""
   where there is none, or none so short */
static const char *order_value(char to[32], const char *s, const char *key)
{
    char quoted[16];
    snprintf(quoted, sizeof quoted, "\"%s\"", key);
    const char *at = strstr(s, quoted);
    to[0] = 0;
    if (!at) return to;
    at += strlen(quoted);
    at += strspn(at, " \t:\"");
    size_t n = strcspn(at, ",}\" \t\r\n");
    if (n < 32) sprintf(to, "%.*s", (int)n, at);
    return to;
}

/* *to <- a number up to `most`, if it is there; 0: it is none */
static void order_number(int *to, const char *s, const char *key, int most)
{
    char text[32];
    const char *at = order_value(text, s, key);
    if (*at) *to = take_count(&at, most);
}

/* Reads an order; what is wrong with it, or NULL. */
static const char *parse_order(order *o, const char *s)
{
    char text[32];
    memset(o, 0, sizeof *o);
    o->r.batch = o->r.threads = o->reps = 1;
    if (s[strspn(s, " \t")] != '{' || !strchr(s, '}'))
        return "not a JSON object";
    order_value(o->r.net, s, "net");
    order_number(&o->r.size, s, "size", MAX_SIZE);
    order_number(&o->r.batch, s, "batch", MAX_BATCH);
    order_number(&o->r.threads, s, "threads", 1024);
    order_number(&o->reps, s, "reps", 1000000);
    o->r.train = !strcmp(order_value(text, s, "train"), "true");
    o->check = !strcmp(order_value(text, s, "check"), "true");
    if (!*o->r.net || strpbrk(o->r.net, "/\\.")) return "no such net";
    if (!o->r.size || !o->r.batch || !o->r.threads || !o->reps)
        return "size, batch, threads or reps is bad";
    if (!o->r.train) o->r.batch = 1;
    return NULL;
}

/* Prints {"error":"..."}, quotes and backslashes as '. */
static void answer_error(const char *why)
{
    printf("{\"error\":\"");
    for (; *why; why++) putchar(*why == '"' || *why == '\\' ? '\'' : *why);
    printf("\"}\n");
}

/* Serves one order with the job at hand, or with a new one in its place. */
static int serve(job *j, const order *o)
{
    double ms, most = 0;
    int i;
    if (!j->arena.base || memcmp(&j->r, &o->r, sizeof j->r)) {
        job_close(j);
        if (job_open(j, &o->r)) return 1;
        for (i = 0; i < (o->r.train ? 1 : 3); i++)
            if (job_run(j, &ms)) return 1;
    }
    if (o->check && !o->r.train && model_check(j, &most)) return 1;
    for (i = 0; i < o->reps; i++) {
        if (job_run(j, &ms)) break;
        printf("%s%.4f", i ? "," : "{\"ms\":[", ms);
    }
    if (i < o->reps) return 1;
    printf("],\"memory_mib\":%.2f", (double)j->own / 1048576);
    if (o->check && !o->r.train) printf(",\"maxdiff\":%.9g", most);
    printf("}\n");
    return 0;
}

static int worker(const char *dir, const atomdl_kernels *k)
{
    static job j;
    j.k = k;
    j.dir = dir;
    j.fill = fill_model;
    char line[1024];
    order o;
    int c;
    while (fgets(line, sizeof line, stdin)) {
        const char *why = parse_order(&o, line);
        if (!strchr(line, '\n') && !feof(stdin)) {
            why = "line too long";
            while ((c = getchar()) != EOF && c != '\n') continue;
        }
        if (why) answer_error(why);
        else if (serve(&j, &o)) answer_error(j.why);
        if (fflush(stdout)) break;
    }
    job_close(&j);
    return 0;
}

/* ---------- The command --------------------------------------------------- */

static int print_net(const char *name)
{
    io_text t = {0};
    int i = name ? find_net(name, strlen(name)) : -1;
    if (i < 0)
        return misuse("--net wants one of fcn unet resunet3 resunet7");
    NETS[i].text(&t, NETS[i].k);
    int bad = t.failed ? fail("no memory") : 0;
    if (!bad) fputs(t.s, stdout);
    io_text_free(&t);
    return bad;
}

static int bench_all(const char **name, const atomdl_kernels *k, int threads,
                     int budget)
{
    static const char *QUICK[] = {"fcn128", "fcn512", "unet256", "resunet3-256",
                            "train-fcn128x16", NULL};
    int status = 0;
    if (!*name) name = QUICK;
    request r;
    for (int i = 0; name[i]; i++)
        if (!parse_case(&r, name[i]))
            return misuse("no case '%s' (atomdl bench --help)", name[i]);
    for (int i = 0; name[i] && !status; i++)
        status = bench_case(name[i], k, threads, budget);
    return status;
}

static int take_net(const option_row *row, const char *name)
{
    *(int *)row->to = 1;
    return print_net(name);
}

int bench_command(char **argv)
{
    const char *isa = NULL, *dir = NULL;
    int threads = 1, budget = 300, told = 0;
    const option_row row[] = {
        OPTION_TAKE("--net", &told, NULL, take_net),
        OPTION_WHOLE("--threads", &threads, 1, 1024),
        OPTION_WHOLE("--ms", &budget, 1, 1000000),
        OPTION_TEXT("--isa", &isa, "wants a name"),
        OPTION_TEXT("--worker", &dir, "wants a folder"), OPTION_END};
    const char **name = (const char **)argv; /* cases move to its front */
    int n = options_read(row, argv, name, INT_MAX, "bench has no option '%s'");
    if (n < 0) return 2;
    if (told) return 0;
    name[n] = NULL;
    const atomdl_kernels *k;
    if (wanted_kernels(&k, isa)) return 2;
    if (!dir) return bench_all(name, k, threads, budget);
    return n ? misuse("--worker takes no case '%s'", name[0])
             : worker(dir, k);
}
