/* SPDX-License-Identifier: MIT
   A training that is killed at random moments (SIGKILL, also while it writes
   its checkpoint) and resumed each time ends in the bits of one that was left
   alone: resume [KILLS]. POSIX. */

#define _POSIX_C_SOURCE 200809L
#include "../atomdl.h"
#include "../program/files/files.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { N = 2, SIDE = 24, PIXELS = SIDE * SIDE, STEPS = 200, EVERY = 3 };

static const char TEXT[] =
    "input 1\nconv a ch=8 k=3\nbatchnorm an\nrelu a0\nmaxpool\n"
    "conv b ch=8 k=3\nleaky\ndropout p=0.3\nnearest up\nconcat in=up in2=a0\n"
    "conv c ch=2 k=3\nsoftmax\n";

static const char FILE_NAME[] = "build/resume.ck";
static unsigned char memory[1 << 23];

typedef struct {
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    atomdl_plan plan;
    atomdl_state state;
    atomdl_trainer *trainer;
    float *values, *gradient, *image;
    uint8_t *label;
    unsigned char *file;
    size_t size;
} training;

static int failed(const char *what)
{
    fprintf(stderr, "resume: %s\n", what);
    return 2;
}

static int begin(training *t)
{
    static const atomdl_arena NEW = {memory, sizeof memory, 0, 0, 0};
    atomdl_arena a = NEW;
    memset(t, 0, sizeof *t);
    if (atomdl_arch_parse(&t->arch, t->row, ATOMDL_ROWS, TEXT, sizeof TEXT - 1,
                          NULL)
        || atomdl_arch_check(&t->info, NULL, &t->arch, SIDE, SIDE))
        return failed("the network");
    t->plan = atomdl_plan_default();
    t->plan.steps = STEPS;
    t->plan.average = STEPS / 2;
    size_t n = t->info.values;
    t->values = atomdl_alloc(&a, n, sizeof(float));
    t->gradient = atomdl_alloc(&a, n, sizeof(float));
    t->image = atomdl_alloc(&a, N * PIXELS, sizeof(float));
    t->label = atomdl_alloc(&a, N * PIXELS, 1);
    t->size = atomdl_checkpoint_size(&t->arch, &t->plan);
    t->file = atomdl_alloc(&a, t->size, 1);
    atomdl_state_new(&t->state, &t->arch, &t->plan, &a);
    atomdl_trainer_new(&t->trainer, &t->arch, N, SIDE, SIDE, NULL, &a);
    if (a.failed) return failed("memory");
    atomdl_arch_init(t->values, &t->arch, 1, ATOMDL_HE);
    return 0;
}

/* The images of a step: a function of its number. */
static void draw(training *t)
{
    atomdl_rng root = atomdl_rng_seed(2);
    atomdl_rng r = atomdl_rng_split(&root, t->state.step);
    atomdl_rng_normal(&r, t->image, N * PIXELS);
    for (int i = 0; i < N * PIXELS; i++) t->label[i] = t->image[i] > 0.5f;
}

/* Goes on from the checkpoint, if there is one, to the end. */
static int train(void)
{
    io_bytes old = {NULL, 0};
    training t;
    if (begin(&t)) return 2;
    if (access(FILE_NAME, F_OK) == 0
        && (io_read(&old, FILE_NAME, t.size)
            || atomdl_checkpoint_read(t.values, &t.state, old.data, old.size,
                                      &t.arch, &t.plan)))
        return failed("the checkpoint is not whole");
    float loss;
    while (t.state.step < STEPS) {
        draw(&t);
        if (atomdl_trainer_run(t.trainer, &loss, t.gradient, t.values,
                &(atomdl_batch){t.image, t.label, t.state.step}, &t.plan)
            || atomdl_update(t.values, t.gradient, NULL, &t.state, &t.arch,
                             &t.plan))
            return failed("a step");
        if (t.state.step % EVERY && t.state.step < STEPS) continue;
        atomdl_checkpoint_write(t.file, t.values, &t.state, &t.arch, &t.plan);
        if (io_write(FILE_NAME, t.file, t.size)) return failed(io_reason());
    }
    free(old.data);
    return 0;
}

/* A process that trains, killed after so many microseconds (0: left alone).
   1: it was killed; 0: it came to its end; 2: it failed. */
static int run(long us)
{
    struct timespec wait = {0, 1000 * us};
    pid_t child = fork();
    if (child < 0) return failed("fork");
    if (child == 0) _exit(train());
    if (us) nanosleep(&wait, NULL);
    if (us) kill(child, SIGKILL);
    int status;
    if (waitpid(child, &status, 0) != child) return failed("waitpid");
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL ? 1 : 2;
    return WEXITSTATUS(status) ? 2 : 0;
}

static int equals(const io_bytes *want)
{
    io_bytes got = {NULL, 0};
    int same = !io_read(&got, FILE_NAME, want->size) && got.size == want->size
               && !memcmp(got.data, want->data, want->size);
    free(got.data);
    return same;
}

int main(int argc, char **argv)
{
    int want = argc > 1 ? atoi(argv[1]) : 30, kills = 0, ends = 0, halves = 0;
    atomdl_rng r = atomdl_rng_seed((uint64_t)time(NULL));
    remove(FILE_NAME);
    struct timespec from;
    clock_gettime(CLOCK_MONOTONIC, &from);
    io_bytes alone;
    if (run(0) || io_read(&alone, FILE_NAME, sizeof memory)) return 1;
    struct timespec to;
    clock_gettime(CLOCK_MONOTONIC, &to);
    long whole = (to.tv_sec - from.tv_sec) * 1000000
                 + (to.tv_nsec - from.tv_nsec) / 1000;
    whole = whole < 1000 ? 1000 : whole > 3000000 ? 3000000 : whole;
    remove(FILE_NAME);
    while (kills < want || ends == 0) { /* about ten kills a training */
        int status = run(1 + (long)atomdl_rng_below(&r, (uint32_t)whole / 5));
        if (status > 1) return 1;
        kills += status;
        halves += status && access("build/resume.ck.part", F_OK) == 0;
        if (status) continue;
        if (!equals(&alone)) {
            failed("other bits");
            return 1;
        }
        ends++;
        remove(FILE_NAME);
    }
    printf("ok   resumed after %d kills (%d while a checkpoint was written), "
           "%d trainings: the same bits\n1 passed, 0 failed\n", kills, halves,
           ends);
    free(alone.data);
    return 0;
}
