/* SPDX-License-Identifier: MIT
   atomdl bench: speed of the networks of the papers, in JSON lines. */

#if !defined _WIN32 && !defined _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#endif
#define ATOMDL_LIBRARY /* its guard against contraction, for the peak */
#include "program.h"

#include <limits.h>
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

/* sorts x(n); of two in the middle the greater */
static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, bench_rising);
    return x[n / 2];
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

static const char FCN[] =
    "# FCN of peers/nets.py\ninput 1\n"
    "conv e1 ch=8 k=3\nrelu\nmaxpool\nconv e2 ch=16 k=3\nrelu\nmaxpool\n"
    "conv e3 ch=32 k=3\nrelu\nmaxpool\nconv d1 ch=32 k=3\nrelu\nnearest\n"
    "conv d2 ch=16 k=3\nrelu\nnearest\nconv d3 ch=8 k=3\nrelu\nnearest\n"
    "conv c1 ch=2 k=3\nconv c2 ch=2 k=1\nsoftmax\n";

#define TWICE(stem, ch) \
    "conv " stem ".0 ch=" ch " k=3\nleaky p=0.01\nbatchnorm " stem ".2\n" \
    "conv " stem ".3 ch=" ch " k=3\nleaky p=0.01\nbatchnorm " stem ".5\n"
#define JOIN(i, stem, ch) \
    "bilinear\nconv u" i " ch=" ch " k=1\nconcat in=c" i ".5 in2=u" i "\n" \
    TWICE(stem, ch)

static const char UNET[] =
    "# UNet of peers/nets.py\ninput 1\n" TWICE("c1", "16") "maxpool\n"
    TWICE("c2", "32") "maxpool\n" TWICE("c3", "64") "maxpool\n"
    TWICE("bn", "128") JOIN("3", "c4", "64") JOIN("2", "c5", "32")
    JOIN("1", "c6", "16") "conv px ch=2 k=1\nsoftmax\n";

/* a residual block behind its first normalisation; from: its input */
#define RES(s, ch, k, from) \
    "conv " s ".w1 ch=" ch " k=" k "\nbatchnorm " s ".b2\nrelu\n" \
    "conv " s ".w2 ch=" ch " k=" k "\nconv " s ".sc ch=" ch " k=1 in=" from \
    "\nadd " s " in=" s ".w2 in2=" s ".sc\n"
#define ENC(i, ch, k) \
    "maxpool p" i "\nbatchnorm enc." i ".b1\nrelu\n" \
    RES("enc." i, ch, k, "p" i)
#define DEC(i, of, ch, k) \
    "nearest up." i "\nconcat cat." i " in2=enc." of "\nbatchnorm dec." i \
    ".b1\nrelu\n" RES("dec." i, ch, k, "cat." i)
#define RESUNET(k) \
    "# ResUNet(" k ") of peers/nets.py\ninput 1\n" \
    RES("enc.0", "32", k, "input") ENC("1", "64", k) ENC("2", "128", k) \
    ENC("3", "256", k) ENC("4", "512", k) DEC("0", "3", "256", k) \
    DEC("1", "2", "128", k) DEC("2", "1", "64", k) DEC("3", "0", "32", k) \
    "conv px ch=2 k=1\nsoftmax\n"

static const struct {
    const char *name, *text;
} NETS[] = {
    {"fcn", FCN}, {"unet", UNET}, {"resunet3", RESUNET("3")},
    {"resunet7", RESUNET("7")}, {NULL, NULL}
};

/* the text of the net whose name s(n) is; NULL: none */
static const char *net_text(const char *s, size_t n)
{
    int i = 0;
    while (NETS[i].name
           && (strlen(NETS[i].name) != n || memcmp(NETS[i].name, s, n))) i++;
    return NETS[i].text;
}

/* ---------- A job: a network bound to memory ------------------------------ */

enum { MAX_SIZE = 16384, MAX_BATCH = 4096 };

typedef struct {
    const char *net;        /* its text */
    int size, batch, train, threads;
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    const atomdl_kernels *k;
    size_t own;             /* what the library took of memory at most */
    float *values, *gradient;
    float *image, *prob;    /* (batch, size, size), (classes, size, size) */
    uint8_t *label;
    atomdl_net *run;
    atomdl_trainer *trainer;
    atomdl_state state;
    atomdl_plan plan;
} job;

/* Fresh weights, random pixels. The images behind the first are the first,
   moved down by some rows; the label is whether a pixel is above 1/2. */
static void job_fill(job *j)
{
    atomdl_rng rng = atomdl_rng_seed(1);
    size_t n = (size_t)j->size * (size_t)j->size;
    atomdl_arch_init(j->values, &j->arch, 1, ATOMDL_HE);
    atomdl_rng_normal(&rng, j->image, n);
    for (size_t m = 1; m < (size_t)j->batch; m++)
        for (size_t i = 0; i < n; i++)
            j->image[m * n + i] = j->image[(i + m * (size_t)j->size) % n];
    for (size_t i = 0; i < n * (size_t)j->batch; i++)
        j->label[i] = j->image[i] > 0.5f;
}

/* The arrays that job_fill() sets, then the library's. */
static int job_stage(void *of, atomdl_arena *a)
{
    job *j = of;
    atomdl_use use = {NULL, 0, 0};
    size_t n = (size_t)j->size * (size_t)j->size, all = n * (size_t)j->batch;
    use.kernels = j->k;
    use.threads = j->threads;
    j->values = atomdl_alloc(a, j->info.values, sizeof(float));
    j->image = atomdl_alloc(a, all, sizeof(float));
    j->prob = atomdl_alloc(a, n, (size_t)j->info.classes * sizeof(float));
    j->label = atomdl_alloc(a, all, 1);
    size_t mark = a->used;
    if (a->base) job_fill(j);
    int status;
    if (j->train) {
        j->gradient = atomdl_alloc(a, j->info.values, sizeof(float));
        status = atomdl_state_new(&j->state, &j->arch, &j->plan, a);
        if (!status)
            status = atomdl_trainer_new(&j->trainer, &j->arch, j->batch,
                                        j->size, j->size, &use, a);
    } else {
        status = atomdl_net_new(&j->run, &j->arch, j->values, j->size,
                                j->size, &use, a);
    }
    j->own = a->peak - mark;
    return status;
}

/* Checks a job's side and lays it out in memory. */
static int job_open(job *j, const char *name, atomdl_arena *memory)
{
    j->plan = atomdl_plan_default();
    j->plan.schedule = ATOMDL_CONSTANT;
    j->plan.warmup = 0;
    int status = atomdl_arch_parse(&j->arch, j->row, ATOMDL_ROWS, j->net,
                                   strlen(j->net), NULL);
    if (!status) status = atomdl_arch_check(&j->info, NULL, &j->arch, 0, 0);
    if (!status && j->size % j->info.stride)
        return fail("%s: side %d is not a multiple of %d", name, j->size,
                    j->info.stride);
    if (!status)
        status = atomdl_arch_check(&j->info, NULL, &j->arch, j->size, j->size);
#ifdef _OPENMP
    omp_set_num_threads(j->threads);
#endif
    if (!status) status = measure_and_run(job_stage, j, memory);
    if (!memory->base && memory->peak)
        return fail("%s: no memory for %zu MiB", name, memory->peak >> 20);
    return status ? fail("%s: %s", name, atomdl_strerror(status)) : 0;
}

/* One image, or one training step; *ms is its time. A status. */
static int job_run(job *j, double *ms)
{
    double t = now();
    float loss;
    int status = j->train
        ? atomdl_trainer_run(j->trainer, &loss, j->gradient, j->values,
              &(atomdl_batch){j->image, j->label, j->state.step}, &j->plan)
        : atomdl_net_run(j->run, j->prob, j->image);
    if (j->train && !status)
        status = atomdl_update(j->values, j->gradient, NULL, &j->state,
                               &j->arch, &j->plan);
    *ms = now() - t;
    return status;
}

/* ---------- Cases and JSON lines ------------------------------------------ */

/* A decimal number of at most `most` at **s, which moves on; 0: none. */
static int take_count(const char **s, int most)
{
    int v = 0;
    for (; **s >= '0' && **s <= '9' && v <= most; ++*s)
        v = v * 10 + (**s - '0');
    return v <= most ? v : 0;
}

/* [train-]NET[-]SIDE[xBATCH]; 0 when s is none. */
static int parse_case(job *j, const char *s)
{
    j->train = !strncmp(s, "train-", 6);
    if (j->train) s += 6;
    size_t n = 1;
    while (!(j->net = net_text(s, n)))
        if (!s[n++ - 1]) return 0;
    s += n;
    if (*s == '-') s++;
    j->size = take_count(&s, MAX_SIZE);
    j->batch = 1;
    if (j->train) j->batch = *s++ == 'x' ? take_count(&s, MAX_BATCH) : 0;
    return j->size && j->batch && !*s;
}

enum { SAMPLES = 1000 };

typedef struct {
    double ms[SAMPLES], peak[SAMPLES], share[SAMPLES], busy[SAMPLES];
    int n;
} readings;

/* multiply-adds of a repetition, 10^6; training: forward and twice that back */
static double job_work(const job *j)
{
    double work = (double)j->info.macs * 1e-6 * (double)j->batch;
    return j->train ? 3 * work : work;
}

/* Repeats for about `budget` ms, at least three times, and reads the peak
   after each repetition. A status. */
static int measure(readings *s, job *j, int budget)
{
    double ms, peak;
    int n = 0, status = job_run(j, &ms);
    if (status) return status;
    for (double end = now() + budget; n < SAMPLES && (n < 3 || now() < end);
         n++) {
        double cpu = spent();
        if ((status = job_run(j, &ms)) != 0) return status;
        s->busy[n] = (spent() - cpu) / ms / j->threads;
        s->ms[n] = ms;
        s->peak[n] = peak = peak_rate(j->k, j->threads);
        s->share[n] = peak > 0 ? job_work(j) / ms / peak : 0;
    }
    s->n = n;
    return 0;
}

static void print_case(const char *name, const job *j, readings *s)
{
    double ms = median(s->ms, s->n), peak = median(s->peak, s->n);
    printf("{\"case\":\"%s\",\"isa\":\"%s\",\"threads\":%d,", name,
           j->k->name, j->threads);
    printf("\"ms\":%.3f,\"min\":%.3f,\"reps\":%d,", ms, s->ms[0], s->n);
    printf("\"busy\":%.2f,\"gmac_s\":%.2f,", median(s->busy, s->n),
           job_work(j) / ms);
    if (peak > 0)
        printf("\"peak_gmac_s\":%.2f,\"share\":%.3f,", peak,
               median(s->share, s->n));
    printf("\"memory_mib\":%.2f}\n", (double)j->own / 1048576);
    fflush(stdout);
}

static int bench_case(const char *name, job *j, int budget)
{
    static readings s;
    atomdl_arena memory = {0};
    int bad = job_open(j, name, &memory);
    if (!bad) {
        int status = measure(&s, j, budget);
        if (status) bad = fail("%s: %s", name, atomdl_strerror(status));
        else print_case(name, j, &s);
    }
    free(memory.base);
    return bad;
}

/* ---------- The command --------------------------------------------------- */

static int bench_all(const char **name, job *j, int budget)
{
    static const char *QUICK[] = {"fcn128", "fcn512", "unet256", "resunet3-256",
                            "train-fcn128x16", NULL};
    int status = 0;
    if (!*name) name = QUICK;
    for (int i = 0; name[i]; i++)
        if (!parse_case(j, name[i]))
            return misuse("no case '%s' (atomdl bench --help)", name[i]);
    for (int i = 0; name[i] && !status; i++) {
        parse_case(j, name[i]);
        status = bench_case(name[i], j, budget);
    }
    return status;
}

static int take_net(const option_row *row, const char *name)
{
    const char *text = name ? net_text(name, strlen(name)) : NULL;
    if (!text) return misuse("--net wants one of fcn unet resunet3 resunet7");
    *(int *)row->to = 1;
    fputs(text, stdout);
    return 0;
}

int bench_command(char **argv)
{
    static job j;
    const char *isa = NULL;
    int budget = 300, told = 0;
    j.threads = 1;
    const option_row row[] = {
        OPTION_TAKE("--net", &told, NULL, take_net),
        OPTION_WHOLE("--threads", &j.threads, 1, 1024),
        OPTION_WHOLE("--ms", &budget, 1, 1000000),
        OPTION_TEXT("--isa", &isa, "wants a name"), OPTION_END};
    const char **name = (const char **)argv; /* cases move to its front */
    int n = options_read(row, argv, name, INT_MAX, "bench has no option '%s'");
    if (n < 0) return 2;
    if (told) return 0;
    name[n] = NULL;
    return wanted_kernels(&j.k, isa) ? 2 : bench_all(name, &j, budget);
}
