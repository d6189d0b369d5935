/* SPDX-License-Identifier: MIT
   AtomDL's part of tests/bench_nets.py: times one network of its folder.

       bench_nets FOLDER/NET SIDE THREADS BATCH

   FOLDER/NET.net is the text, FOLDER/NET/TENSOR.npy the weights as PyTorch
   lays them out, FOLDER/NET/SIDE/input.npy and output.npy an image and
   PyTorch's answer. BATCH 0: images; else training steps of so many. Each line
   of standard input names a number of repetitions; the answer is a line of
   JSON. */
#if !defined _WIN32 && !defined _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 199309L /* clock_gettime */
#endif
#include "../atomdl.h"
#include "../program/files/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *path; /* FOLDER/NET */
    int side, batch;
    atomdl_use use;
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    float *values, *gradient, *image, *prob;
    uint8_t *label;
    atomdl_net *net;
    atomdl_trainer *trainer;
    atomdl_state state;
    atomdl_plan plan;
    size_t own; /* what the library took of memory at most */
} bench;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Ends the program with what stopped it. */
static void stop(const char *why)
{
    printf("{\"error\":\"%s\"}\n", why);
    exit(1);
}

static void check(int status)
{
    if (status) stop(atomdl_strerror(status));
}

/* The array FOLDER/NET/FILE of so many values, from malloc. */
static float *load(const bench *b, const char *file, size_t count)
{
    char path[1024];
    io_bytes raw = {NULL, 0};
    io_npy a = {0};
    snprintf(path, sizeof path, "%.800s/%s", b->path, file);
    if (io_read(&raw, path, IO_FILE)
        || io_npy_parse(&a, raw.data, raw.size, path)) stop(io_reason());
    free(raw.data);
    if (a.count != count) stop("an array of another size");
    return a.x;
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

/* Weights and image; a batch's other images are the first, moved down by some
   rows; the label is whether a pixel is above 1/2. */
static void fill(bench *b)
{
    size_t side = (size_t)b->side, n = side * side;
    size_t all = n * (size_t)(b->batch ? b->batch : 1);
    char file[ATOMDL_NAME + 32];
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, &b->arch, i); i++) {
        snprintf(file, sizeof file, "%s.npy", t.name);
        float *x = load(b, file, t.count);
        if (t.dims == 4)
            permute(b->values + t.offset, x, &t,
                    b->row[t.row].op == ATOMDL_DECONV);
        else memcpy(b->values + t.offset, x, t.count * sizeof *x);
        free(x);
    }
    snprintf(file, sizeof file, "%d/input.npy", b->side);
    float *x = load(b, file, n);
    for (size_t i = 0; i < all; i++) b->image[i] = x[(i + i / n * side) % n];
    for (size_t i = 0; i < all; i++) b->label[i] = b->image[i] > 0.5f;
    free(x);
}

/* Everything in an arena; batch 0: the network, else the trainer. */
static int lay_out(bench *b, int batch, atomdl_arena *a)
{
    size_t n = (size_t)b->side * (size_t)b->side;
    size_t all = n * (size_t)(b->batch ? b->batch : 1);
    b->values = atomdl_alloc(a, b->info.values, sizeof(float));
    b->image = atomdl_alloc(a, all, sizeof(float));
    b->prob = atomdl_alloc(a, n, (size_t)b->info.classes * sizeof(float));
    b->label = atomdl_alloc(a, all, 1);
    size_t mark = a->used;
    if (a->base) fill(b);
    int status;
    if (batch) {
        b->gradient = atomdl_alloc(a, b->info.values, sizeof(float));
        status = atomdl_state_new(&b->state, &b->arch, &b->plan, a);
        if (!status)
            status = atomdl_trainer_new(&b->trainer, &b->arch, batch, b->side,
                                        b->side, &b->use, a);
    } else {
        status = atomdl_net_new(&b->net, &b->arch, b->values, b->side, b->side,
                                &b->use, a);
    }
    b->own = a->peak - mark;
    return status;
}

/* The memory of it, from malloc. */
static void *place(bench *b, int batch)
{
    atomdl_arena a = {0, 0, 0, 0, 0};
    check(lay_out(b, batch, &a));
    a.size = a.peak;
    a.base = malloc(a.size + 1);
    a.used = a.peak = 0;
    if (!a.base) stop("no memory");
    check(lay_out(b, batch, &a));
    return a.base;
}

/* ms of one image, or of one training step */
static double run(bench *b, int batch)
{
    double t = now();
    float loss;
    if (!batch) {
        check(atomdl_net_run(b->net, b->prob, b->image));
        return now() - t;
    }
    check(atomdl_trainer_run(b->trainer, &loss, b->gradient, b->values,
              &(atomdl_batch){b->image, b->label, b->state.step}, &b->plan));
    check(atomdl_update(b->values, b->gradient, NULL, &b->state, &b->arch,
                        &b->plan));
    return now() - t;
}

/* The largest |probability - output.npy| */
static double difference(bench *b)
{
    size_t n = (size_t)b->side * (size_t)b->side * (size_t)b->info.classes;
    char file[64];
    double most = 0;
    void *memory = place(b, 0);
    snprintf(file, sizeof file, "%d/output.npy", b->side);
    float *x = load(b, file, n);
    run(b, 0);
    for (size_t i = 0; i < n; i++) {
        double d = (double)b->prob[i] - (double)x[i];
        d = d < 0 ? -d : d;
        if (!(d <= most)) most = d;
    }
    free(x);
    free(memory);
    return most;
}

static void open_network(bench *b)
{
    char path[1024];
    io_bytes file = {NULL, 0};
    snprintf(path, sizeof path, "%.800s.net", b->path);
    if (io_read(&file, path, 4095)) stop(io_reason());
    check(atomdl_arch_parse(&b->arch, b->row, ATOMDL_ROWS,
                            (const char *)file.data, file.size, NULL));
    free(file.data);
    check(atomdl_arch_check(&b->info, NULL, &b->arch, b->side, b->side));
    b->plan = atomdl_plan_default();
    b->plan.schedule = ATOMDL_CONSTANT;
    b->plan.warmup = 0;
}

int main(int argc, char **argv)
{
    static bench b;
    char line[256];
    if (argc != 5) stop("usage: bench_nets FOLDER/NET SIDE THREADS BATCH");
    b.path = argv[1];
    b.side = atoi(argv[2]);
    b.use.kernels = atomdl_kernels_find(getenv("ATOMDL_ISA"));
    b.use.threads = atoi(argv[3]);
    b.batch = atoi(argv[4]);
    open_network(&b);
    double most = difference(&b);
    void *memory = place(&b, b.batch);
    for (int i = 0; i < (b.batch ? 1 : 3); i++) run(&b, b.batch);
    while (fgets(line, sizeof line, stdin)) {
        int reps = atoi(line + strcspn(line, "0123456789"));
        printf("{\"ms\":[");
        for (int i = 0; i < reps; i++)
            printf("%s%.4f", i ? "," : "", run(&b, b.batch));
        printf("],\"memory_mib\":%.2f,\"maxdiff\":%.9g}\n",
               (double)b.own / 1048576, most);
        fflush(stdout);
    }
    free(memory);
    return 0;
}
