/* SPDX-License-Identifier: MIT
   atomdl train: a recipe becomes a network. Sample i of the recipe's seed
   trains step i / batch, whatever the number of threads, so that the weights
   are the same bytes on every machine, interrupted or not. */
#include "program.h"
#include "files/files.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

const char TRAIN_HELP[] =
    "usage: atomdl train RECIPE [-o FILE.safetensors] [OPTION...]\n"
    "\n"
    "Trains the recipe's network on samples that are simulated as they are\n"
    "needed, or on images of your own. Beside FILE appear FILE.csv (the log)\n"
    "and, until the training ends, FILE.checkpoint, written every minute and\n"
    "when the program is interrupted.\n"
    "\n"
    "  -o FILE         default: RECIPE's name with .safetensors\n"
    "  --resume        go on from FILE.checkpoint, to the same bytes\n"
    "  --checkpoint N  seconds between two of them, 60; 0: after each step\n"
    "  --set KEY=VALUE another value for a key of the recipe, as often as you\n"
    "                  like: --set steps=200\n"
    "  --from FILE     start from these weights\n"
    "  --images IMAGE,LABELS   learn from this image and its map of classes\n"
    "                  (0, 1, ... as pixels) instead of simulated ones; as\n"
    "                  often as you like. Crops of the recipe's size are\n"
    "                  turned and mirrored.\n"
    "  --threads N     default: all\n"
    "  --quiet         no progress\n"
    "\n"
    "example:  atomdl train weights/graphene.recipe --set steps=500\n";

enum { MAX_SETS = 32, MAX_PAIRS = 64 };

typedef struct { /* beside the library's state, what a resumed run needs */
    double best;      /* greatest mean F1 of a validation */
    double sum;       /* of losses since the last line of the log, */
    uint32_t count;   /* of so many steps */
    uint32_t since;   /* validations without gain */
} account;

/* ---------- Options ------------------------------------------------------- */

typedef struct {
    const char *recipe, *out, *from;
    option_list set, images;
    int resume, quiet, threads, seconds;
} orders;

/* ---------- The user's images --------------------------------------------- */

typedef struct {
    io_stack image, label;
} pair;

/* Reads "IMAGE,LABELS" and checks that they fit. */
static int pair_read(pair *p, const char *names, const atomdl_recipe *r)
{
    const char *comma = strrchr(names, ',');
    char image[1024];
    if (!comma || (size_t)(comma - names) >= sizeof image)
        return misuse("--images wants IMAGE,LABELS: '%s'", names);
    memcpy(image, names, (size_t)(comma - names));
    image[comma - names] = 0;
    if (io_stack_read(&p->image, image)
        || !io_stack_finite(&p->image, image)
        || io_stack_read(&p->label, comma + 1)
        || !io_stack_finite(&p->label, comma + 1))
        return fail("%s", io_reason());
    if (p->image.w != p->label.w || p->image.h != p->label.h ||
        p->image.frames != p->label.frames)
        return fail("%s: not the size of its labels", image);
    if (p->image.w < (size_t)r->w || p->image.h < (size_t)r->h)
        return fail("%s: smaller than the recipe's size %d x %d", image, r->w,
                    r->h);
    size_t n = p->label.frames * p->label.w * p->label.h;
    for (size_t i = 0; i < n; i++)
        if (p->label.px[i] != ATOMDL_IGNORE &&
            (p->label.px[i] >= (float)r->classes || p->label.px[i] < 0))
            return fail("%s: pixel value %g is no class of the recipe (0...%d, "
                        "or %d: does not count)", comma + 1,
                        (double)p->label.px[i], r->classes - 1, ATOMDL_IGNORE);
    return 0;
}

/* Pixel (x, y) of an h x w crop under one of the 8 symmetries, turned within
   its own frame; crops are square or only mirrored. */
static size_t crop_place(int x, int y, int w, int h, int how, size_t pitch)
{
    if (how & 1) x = w - 1 - x;
    if (how & 2) y = h - 1 - y;
    int t;
    if (how & 4 && w == h) t = x, x = y, y = t;
    return (size_t)y * pitch + (size_t)x;
}

/* A crop of one of the user's images, turned, scaled as the recipe says. */
static int pair_sample(float *image, uint8_t *label, const pair *p, int n,
                       const atomdl_recipe *r, uint64_t index)
{
    atomdl_rng root = atomdl_rng_seed(r->seed);
    atomdl_rng rng = atomdl_rng_split(&root, index);
    const pair *q = p + atomdl_rng_below(&rng, (uint32_t)n);
    uint32_t f = atomdl_rng_below(&rng, (uint32_t)q->image.frames);
    uint32_t x0 = atomdl_rng_below(&rng, (uint32_t)q->image.w -
                                             (uint32_t)r->w + 1);
    uint32_t y0 = atomdl_rng_below(&rng, (uint32_t)q->image.h -
                                             (uint32_t)r->h + 1);
    int how = (int)atomdl_rng_below(&rng, 8);
    size_t at = (f * q->image.h + y0) * q->image.w + x0;
    atomdl_image whole = {r->w, r->h, 1, image};
    for (int y = 0; y < r->h; y++)
        for (int x = 0; x < r->w; x++) {
            size_t i = at + crop_place(x, y, r->w, r->h, how, q->image.w);
            image[y * r->w + x] = q->image.px[i];
            label[y * r->w + x] = (uint8_t)q->label.px[i];
        }
    return atomdl_image_normalise(&whole, r->scaling);
}

/* ---------- A training in memory ------------------------------------------ */

typedef struct {
    atomdl_recipe recipe;
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    atomdl_plan plan;
    atomdl_source source;
    const orders *o;
    const atomdl_kernels *kernels;
    char out[1024], log_path[1040], checkpoint[1040];
    pair pair[MAX_PAIRS];
    int pairs, threads;
    atomdl_arena block, shared, scratch;
    atomdl_arena *work;  /* (threads) that samples are drawn in */
    float *values, *gradient, *average, *image, *prob;
    uint8_t *label;
    atomdl_state state;
    atomdl_trainer *trainer;
    atomdl_net *net;     /* of a validation, in scratch */
    atomdl_use use;
    account p;
    io_text log;
    time_t began, saved, shown;
    uint32_t first;      /* step that this run began with */
} training;

static volatile sig_atomic_t interrupted;

static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* All that lasts. */
static int lay_out(void *of, atomdl_arena *a)
{
    training *t = of;
    const atomdl_recipe *r = &t->recipe;
    size_t px = (size_t)r->w * (size_t)r->h, n = (size_t)r->batch;
    t->values = atomdl_alloc(a, t->info.values, sizeof *t->values);
    t->gradient = atomdl_alloc(a, t->info.values, sizeof *t->gradient);
    t->average = atomdl_alloc(a, t->info.values, sizeof *t->average);
    t->image = atomdl_alloc(a, n * px, sizeof *t->image);
    t->label = atomdl_alloc(a, n * px, sizeof *t->label);
    t->prob = atomdl_alloc(a, px * (size_t)t->info.classes, sizeof *t->prob);
    int status = atomdl_state_new(&t->state, &t->arch, &t->plan, a);
    if (!status)
        status = atomdl_trainer_new(&t->trainer, &t->arch, r->batch, r->h,
                                    r->w, &t->use, a);
    return status ? status : atomdl_arena_status(a);
}

static int too_large(size_t size)
{
    return fail("no %zu MiB of memory: a smaller batch, size or network needs "
                "less", (size >> 20) + 1);
}

static int source_of(void *of, atomdl_arena *a)
{
    training *t = of;
    return atomdl_source_new(&t->source, &t->recipe, NULL, 0, a);
}

/* Runs a stage in an arena; says what went wrong. */
static int training_stage(training *t, stage *run, atomdl_arena *a)
{
    int status = measure_and_run(run, t, a);
    if (status && !a->base) return too_large(a->peak);
    return status ? fail("%s: %s", t->o->recipe, atomdl_strerror(status)) : 0;
}

static void training_free(training *t)
{
    for (int i = 0; t->work && i < t->threads; i++) free(t->work[i].base);
    free(t->work);
    free(t->scratch.base);
    free(t->shared.base);
    free(t->block.base);
    io_text_free(&t->log);
    for (int i = 0; i < t->pairs; i++) {
        io_stack_free(&t->pair[i].image);
        io_stack_free(&t->pair[i].label);
    }
    free(t);
}

/* ---------- Samples ------------------------------------------------------- */

typedef struct {
    const training *t;
    uint64_t index;
    atomdl_sample s;
} drawing;

static int drawing_stage(void *of, atomdl_arena *a)
{
    drawing *d = of;
    return atomdl_sample_new(&d->s, &d->t->source, d->index, 0, a);
}

/* A simulated sample. Most fit into the memory of those before them. */
static int simulated(float *image, uint8_t *label, const training *t,
                     atomdl_arena *work, uint64_t index)
{
    size_t px = (size_t)t->recipe.w * (size_t)t->recipe.h;
    int status = ATOMDL_EMEM;
    drawing d = {.t = t, .index = index};
    work->used = work->peak = 0;
    work->failed = 0;
    if (work->base) status = drawing_stage(&d, work);
    if (status == ATOMDL_EMEM)
        status = measure_and_run(drawing_stage, &d, work);
    if (status) return status;
    memcpy(image, d.s.image.px, px * sizeof *image);
    memcpy(label, d.s.label, px);
    return ATOMDL_OK;
}

/* n samples from number `first` on, into image and label. */
static int draw_samples(training *t, uint64_t first, int n)
{
    size_t px = (size_t)t->recipe.w * (size_t)t->recipe.h;
    int i, status = ATOMDL_OK;
#ifdef _OPENMP
#pragma omp parallel for num_threads(t->threads) schedule(dynamic) \
    if (t->threads > 1)
#endif
    for (i = 0; i < n; i++) {
        float *image = t->image + (size_t)i * px;
        uint8_t *label = t->label + (size_t)i * px;
        int own = 0, s;
#ifdef _OPENMP
        own = omp_get_thread_num();
#endif
        s = t->pairs ? pair_sample(image, label, t->pair, t->pairs,
                                   &t->recipe, first + (uint64_t)i)
                     : simulated(image, label, t, &t->work[own],
                                 first + (uint64_t)i);
#ifdef _OPENMP
#pragma omp critical
#endif
        if (s) status = s;
    }
    return status;
}

/* ---------- Files --------------------------------------------------------- */

/* A checkpoint file: recipe's digest, progress, library's checkpoint, and the
   log so far, so that a resumed training's log is whole too. */
enum { HEAD = 64 };

static int save_checkpoint(training *t)
{
    size_t body = atomdl_checkpoint_size(&t->arch, &t->plan);
    unsigned char *file = malloc(HEAD + body + t->log.n);
    if (!file) return too_large(body);
    memset(file, 0, HEAD);
    memcpy(file, "AtomDL\1\n", 8);
    atomdl_store64(file + 8, atomdl_recipe_digest(&t->recipe));
    atomdl_store64(file + 16, atomdl_bits64(t->p.best));
    atomdl_store64(file + 24, atomdl_bits64(t->p.sum));
    atomdl_store32(file + 32, t->p.since);
    atomdl_store32(file + 36, t->p.count);
    atomdl_store64(file + 40, body);
    atomdl_checkpoint_write(file + HEAD, t->values, &t->state, &t->arch,
                            &t->plan);
    if (t->log.n) memcpy(file + HEAD + body, t->log.s, t->log.n);
    int bad = io_write(t->checkpoint, file, HEAD + body + t->log.n);
    free(file);
    t->saved = time(NULL);
    return bad ? fail("%s", io_reason()) : 0;
}

static int load_checkpoint(training *t)
{
    size_t body = atomdl_checkpoint_size(&t->arch, &t->plan);
    io_bytes b;
    int bad = 1;
    if (io_read(&b, t->checkpoint, (size_t)1 << 31))
        return fail("%s (nothing to resume from)", io_reason());
    if (b.size < HEAD || memcmp(b.data, "AtomDL\1\n", 8))
        fail("%s: not a checkpoint", t->checkpoint);
    else if (atomdl_load64(b.data + 8) != atomdl_recipe_digest(&t->recipe))
        fail("%s: of another recipe, or of other --set values", t->checkpoint);
    else if (atomdl_load64(b.data + 40) != body || b.size - HEAD < body ||
             atomdl_checkpoint_read(t->values, &t->state, b.data + HEAD, body,
                                    &t->arch, &t->plan))
        fail("%s: damaged, or not of numerics %d; train anew without --resume",
             t->checkpoint, ATOMDL_NUMERICS);
    else
        bad = 0;
    if (!bad) {
        t->p.best = atomdl_double(atomdl_load64(b.data + 16));
        t->p.sum = atomdl_double(atomdl_load64(b.data + 24));
        t->p.since = atomdl_load32(b.data + 32);
        t->p.count = atomdl_load32(b.data + 36);
        memmove(b.data, b.data + HEAD + body, b.size - HEAD - body);
        b.data[b.size - HEAD - body] = 0;
        io_put(&t->log, "%s", (const char *)b.data);
    }
    free(b.data);
    return bad;
}

static void describe(atomdl_meta *m, const training *t)
{
    const atomdl_recipe *r = &t->recipe;
    memset(m, 0, sizeof *m);
    atomdl_arch_print(m->network, sizeof m->network, &t->arch);
    for (int i = 0; i < r->classes; i++) {
        if (i) strcat(m->classes, ",");
        strcat(m->classes, r->class_name[i]);
    }
    strcpy(m->scaling, atomdl_norm_name(r->scaling));
    digest_text(m->recipe, atomdl_recipe_digest(r));
    m->pixel_size = r->pixel.kind == ATOMDL_DIST_CONSTANT
        ? r->pixel.v[0] : (r->pixel.v[0] + r->pixel.v[1]) / 2;
    m->numerics = ATOMDL_NUMERICS;
}

/* Cross-entropy with weights of classes learns odds times the weights: their
   logarithms go from the last bias. */
static void take_weights_back(training *t)
{
    const float *w = t->plan.loss.weight;
    atomdl_tensor part, last = {.count = 0};
    for (int i = 0; atomdl_arch_tensor(&part, &t->arch, i); i++)
        if (part.kind == ATOMDL_BIAS) last = part;
    for (size_t k = 0; k < last.count && k < ATOMDL_CLASSES; k++) {
        double more = last.count > 1 ? (double)w[k]
                                     : w[0] > 0 ? (double)w[1] / (double)w[0]
                                                : 0;
        float *b = &t->average[last.offset + k];
        if (more > 0) *b = (float)((double)*b - atomdl_log(more));
    }
}

static int save_weights(training *t)
{
    atomdl_meta *meta = malloc(sizeof *meta);
    unsigned char *file = NULL;
    size_t size = 0;
    int bad = 1;
    atomdl_state_average(t->average, t->values, &t->state, &t->arch, &t->plan);
    if (t->recipe.unweigh) take_weights_back(t);
    if (meta) {
        describe(meta, t);
        size = atomdl_weights_size(&t->arch, meta);
        file = malloc(size);
    }
    if (file) {
        atomdl_weights_write(file, &t->arch, t->average, meta);
        bad = io_write(t->out, file, size);
        if (bad) fail("%s", io_reason());
    } else {
        too_large(size);
    }
    free(file);
    free(meta);
    if (!bad) remove(t->checkpoint);
    return bad;
}

/* ---------- The work ------------------------------------------------------ */

static int net_stage(void *of, atomdl_arena *a)
{
    training *t = of;
    return atomdl_net_new(&t->net, &t->arch, t->values, t->recipe.h,
                          t->recipe.w, &t->use, a);
}

/* Confusion over the validation samples, by the weights as they stand. */
static int validate(training *t, atomdl_confusion *m)
{
    const atomdl_recipe *r = &t->recipe;
    size_t px = (size_t)r->w * (size_t)r->h;
    memset(m, 0, sizeof *m);
    m->classes = t->info.classes > 1 ? t->info.classes : 2;
    int n, status = measure_and_run(net_stage, t, &t->scratch);
    for (int done = 0; done < r->validation && !status; done += n) {
        n = r->validation - done < r->batch ? r->validation - done : r->batch;
        status = draw_samples(t, (uint64_t)1 << 32 | (uint64_t)done, n);
        for (size_t i = 0; i < (size_t)n && !status; i++) {
            status = atomdl_net_run(t->net, t->prob, t->image + i * px);
            if (!status)
                atomdl_confusion_add(m, t->prob, t->label + i * px, 1,
                                     t->info.classes, (int)px);
        }
    }
    return status;
}

/* One line of the log; *f1 <- the mean F1 of all classes but background. */
static int log_line(training *t, double *f1)
{
    atomdl_confusion *m = malloc(sizeof *m);
    int n = t->recipe.classes;
    if (!m) return ATOMDL_EMEM;
    int status = validate(t, m);
    *f1 = 0;
    io_put(&t->log, "%u,%.9f,%.6f,%.6f", t->state.step,
           (double)atomdl_plan_rate(&t->plan, t->state.step - 1),
           t->p.count ? t->p.sum / t->p.count : 0,
           atomdl_confusion_accuracy(m));
    for (int i = 0; i < n; i++) {
        atomdl_scores s = atomdl_confusion_scores(m, i);
        if (i) *f1 += s.f1 / (n - 1);
        io_put(&t->log, ",%.4f,%.4f,%.4f,%.4f", s.precision, s.recall, s.f1,
               s.iou);
    }
    io_put(&t->log, "\n");
    free(m);
    t->p.sum = 0;
    t->p.count = 0;
    if (!status && t->log.failed) status = ATOMDL_EMEM;
    if (!status && io_write(t->log_path, t->log.s, t->log.n))
        return fail("%s", io_reason());
    return status;
}

static void log_head(training *t)
{
    io_put(&t->log, "step,rate,loss,accuracy");
    for (int i = 0; i < t->recipe.classes; i++) {
        const char *c = t->recipe.class_name[i];
        io_put(&t->log, ",%s_precision,%s_recall,%s_f1,%s_iou", c, c, c, c);
    }
    io_put(&t->log, "\n");
}

static void show(training *t, float loss, double f1)
{
    time_t now = time(NULL);
    double s = difftime(now, t->began);
    uint32_t done = t->state.step - t->first;
    if (t->o->quiet || now == t->shown) return;
    t->shown = now;
    char what[96];
    sprintf(what, "loss %.4f  F1 %.4f  %.0f s left  step", (double)loss, f1,
            done ? s / done * (t->plan.steps - t->state.step) : 0.0);
    progress(what, (int)t->state.step, (int)t->plan.steps);
}

static int step(training *t, float *loss)
{
    int status =
        draw_samples(t, (uint64_t)t->state.step * (uint64_t)t->recipe.batch,
                     t->recipe.batch);
    if (!status)
        status = atomdl_trainer_run(t->trainer, loss, t->gradient, t->values,
                &(atomdl_batch){t->image, t->label, t->state.step}, &t->plan);
    if (!status)
        status = atomdl_update(t->values, t->gradient, NULL, &t->state,
                               &t->arch, &t->plan);
    t->p.sum += (double)*loss;
    t->p.count++;
    return status;
}

/* Is it time to stop early? */
static int gained_nothing(training *t, double f1)
{
    if (f1 > t->p.best) {
        t->p.best = f1;
        t->p.since = 0;
    } else {
        t->p.since++;
    }
    return t->recipe.patience && t->p.since >= (uint32_t)t->recipe.patience;
}

static int train_steps(training *t)
{
    const atomdl_recipe *r = &t->recipe;
    double f1 = 0;
    float loss = 0;
    int status = 0, enough = 0;
    while (t->state.step < t->plan.steps && !enough && !interrupted) {
        if ((status = step(t, &loss)) != 0) break;
        if (t->state.step % (uint32_t)r->check == 0 ||
            t->state.step == t->plan.steps) {
            if ((status = log_line(t, &f1)) != 0) break;
            enough = gained_nothing(t, f1);
        }
        show(t, loss, f1);
        if (difftime(time(NULL), t->saved) >= t->o->seconds &&
            save_checkpoint(t))
            return 1;
    }
    if (!t->o->quiet) progress("steps", (int)t->plan.steps,
                               (int)t->plan.steps);
    if (status == ATOMDL_ENAN)
        return fail("step %u: the loss is no longer finite; a smaller `rate` "
                    "or a `clip` in the recipe may help",
                    (unsigned)t->state.step);
    if (status == ATOMDL_EMEM) return too_large(0);
    if (status > 0) return 1;
    if (status) return fail("%s: step %u: %s", t->o->recipe,
                            (unsigned)t->state.step, atomdl_strerror(status));
    if (interrupted) {
        if (save_checkpoint(t)) return 1;
        return fail("interrupted after step %u; --resume goes on from %s",
                    (unsigned)t->state.step, t->checkpoint);
    }
    return save_weights(t);
}

/* ---------- atomdl train -------------------------------------------------- */

static int names(training *t)
{
    const char *base = t->o->recipe;
    size_t n;
    if (t->o->out) {
        n = strlen(t->o->out);
        base = t->o->out;
    } else {
        const char *dot = strrchr(base, '.');
        n = dot && !strchr(dot, '/') ? (size_t)(dot - base) : strlen(base);
    }
    if (n + 16 > sizeof t->out) return misuse("too long a name: %s", base);
    memcpy(t->out, base, n);
    strcpy(t->out + n, t->o->out ? "" : ".safetensors");
    sprintf(t->log_path, "%s.csv", t->out);
    sprintf(t->checkpoint, "%s.checkpoint", t->out);
    return 0;
}

static int read_recipe(training *t)
{
    const orders *o = t->o;
    if (recipe_read(&t->recipe, o->recipe)) return 1;
    atomdl_recipe_error e;
    for (int i = 0; i < o->set.n; i++)
        if (atomdl_recipe_set(&t->recipe, &e, o->set.of[i]))
            return misuse("--set %s: %s", o->set.of[i], e.text);
    if (atomdl_recipe_check(&t->recipe, &e))
        return fail("%s: %s", o->recipe, e.text);
    return 0;
}

static int training_open(training *t)
{
    const atomdl_recipe *r = &t->recipe;
    int bad;
    if (names(t)) return 2;
    if ((bad = read_recipe(t)) != 0) return bad;
    if (atomdl_recipe_network(&t->arch, t->row, ATOMDL_ROWS, r) ||
        atomdl_arch_check(&t->info, &bad, &t->arch, r->h, r->w))
        return fail("%s: size %d x %d is no multiple of the network's stride",
                    t->o->recipe, r->w, r->h);
    t->plan = atomdl_recipe_plan(r);
    for (; t->pairs < t->o->images.n; t->pairs++)
        if ((bad = pair_read(&t->pair[t->pairs], t->o->images.of[t->pairs], r)))
            return t->pairs++, bad;
    t->threads = t->o->threads;
#ifdef _OPENMP
    if (!t->threads) t->threads = omp_get_max_threads();
#endif
    if (!t->threads) t->threads = 1;
    t->use.kernels = t->kernels;
    t->use.threads = t->threads;
    t->work = calloc((size_t)t->threads, sizeof *t->work);
    if (!t->work) return too_large(0);
    return training_stage(t, lay_out, &t->block)
           || training_stage(t, source_of, &t->shared);
}

static int first_weights(training *t)
{
    atomdl_arch_init(t->values, &t->arch, t->recipe.seed, ATOMDL_HE);
    if (!t->o->from) return 0;
    io_bytes b;
    if (io_read(&b, t->o->from, (size_t)1 << 31))
        return fail("%s", io_reason());
    char missing[64];
    int status =
        atomdl_weights_read(t->values, missing, &t->arch, b.data, b.size, NULL);
    free(b.data);
    return status ? fail("%s: %s (%s)", t->o->from, atomdl_strerror(status),
                         missing) : 0;
}

static int train_with(const orders *o)
{
    training *t = calloc(1, sizeof *t);
    if (!t) return fail("no memory");
    t->o = o;
    int bad;
    if ((bad = wanted_kernels(&t->kernels, NULL)) == 0) bad = training_open(t);
    if (!bad) bad = first_weights(t);
    if (!bad && o->resume) bad = load_checkpoint(t);
    if (!bad) {
        if (!o->resume) log_head(t);
        t->first = t->state.step;
        t->began = t->saved = t->shown = time(NULL);
        signal(SIGINT, interrupt);
        signal(SIGTERM, interrupt);
        bad = t->log.failed ? too_large(0) : train_steps(t);
    }
    training_free(t);
    return bad;
}

int train_command(char **argv)
{
    const char *set[MAX_SETS], *images[MAX_PAIRS];
    orders o = {NULL, NULL, NULL, {set, 0, MAX_SETS}, {images, 0, MAX_PAIRS},
                0, 0, 0, 60};
    const option_row row[] = {
        OPTION_LIST("--set", &o.set), OPTION_LIST("--images", &o.images),
        OPTION_WHOLE("--threads", &o.threads, 1, 1024),
        OPTION_WHOLE("--checkpoint", &o.seconds, 0, 86400),
        OPTION_TEXT("-o", &o.out, "wants a file"),
        OPTION_TEXT("--from", &o.from, "wants a file"),
        OPTION_FLAG("--resume", &o.resume), OPTION_FLAG("--quiet", &o.quiet),
        OPTION_END};
    int n = options_read(row, argv, &o.recipe, 1,
                         "train: what is '%s'? (atomdl train --help)");
    if (n < 0) return 2;
    if (!n) return misuse("train wants a RECIPE (atomdl train --help)");
    return train_with(&o);
}
