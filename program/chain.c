/* SPDX-License-Identifier: MIT
   chain.h; no C library but memcpy, memory from the caller. */

#define ATOMDL_LIBRARY /* its guards: arguments are computed here too */
#include "chain.h"

enum { SIDE = 48, PIXELS = SIDE * SIDE, FRAMES = 3, STEPS = 20, BATCH = 2,
       WINDOW = 16, CLASSES = 2, MOST = 96, DEFECTS = 8 };

static const char RECIPE[] =
    "seed = 5\nsize = 48\npixel = 0.25\nmaterial = graphene\n"
    "defects = si-c3 v1\ncount = 2\nrotation = 10\nthermal = 0.05\n"
    "weight = Si 4\nfwhm = 1\njitter = 0.02\nbackground = 0.2\n"
    "movie_drift = 0.1\ndensity = 0.02\nclass = background\n"
    "class = atom atom any 0.5\nnetwork = fcn 6\n";

typedef struct {
    const atomdl_kernels *kernels;
    atomdl_arena arena;
    atomdl_recipe *recipe;
    float *frame;          /* (FRAMES, PIXELS), scaled */
    uint8_t *label;        /* (PIXELS) of the first */
    double pixel;          /* A */
    atomdl_layer row[16];
    atomdl_arch arch;
    atomdl_arch_info info;
    float *values;
    float *prob;           /* (FRAMES, CLASSES, PIXELS) */
    atomdl_blob *blob;     /* (FRAMES, MOST) */
    int blobs[FRAMES];
    uint64_t *stage;
} chain;

/* frame, label <- a movie of a drifting sheet with defects */
static int simulate(chain *c)
{
    atomdl_arena *a = &c->arena;
    atomdl_movie movie;
    memset(&movie, 0, sizeof movie);
    atomdl_defect defect[DEFECTS];
    movie.defect = defect;
    movie.max = DEFECTS;
    int status =
        atomdl_recipe_parse(c->recipe, NULL, RECIPE, sizeof RECIPE - 1);
    atomdl_source source;
    if (!status) status = atomdl_source_new(&source, c->recipe, NULL, 0, a);
    size_t used = a->used;
    atomdl_sample s;
    for (int i = 0; i < FRAMES && !status; i++) {
        a->used = used;
        status = atomdl_movie_frame(&s, &movie, &source, 0, a);
        if (status) break;
        if (!i) memcpy(c->label, s.label, PIXELS);
        c->pixel = s.pixel;
        status = atomdl_image_normalise(&s.image, ATOMDL_NORM_PERCENTILE);
        memcpy(c->frame + i * PIXELS, s.image.px, PIXELS * sizeof(float));
    }
    c->stage[0] = atomdl_digest_f32(c->stage[0], c->frame, FRAMES * PIXELS);
    c->stage[0] = atomdl_digest_bytes(c->stage[0], c->label, PIXELS);
    return status;
}

/* image, label (BATCH, WINDOW, WINDOW) <- windows of the first frame */
static void windows(float *image, uint8_t *label, const chain *c,
                    atomdl_rng *rng)
{
    for (int i = 0; i < BATCH; i++) {
        int x0 = (int)atomdl_rng_below(rng, SIDE - WINDOW);
        int y0 = (int)atomdl_rng_below(rng, SIDE - WINDOW);
        for (int y = 0; y < WINDOW; y++) {
            int from = (y0 + y) * SIDE + x0, to = (i * WINDOW + y) * WINDOW;
            memcpy(image + to, c->frame + from, WINDOW * sizeof *image);
            memcpy(label + to, c->label + from, WINDOW);
        }
    }
}

static int train(chain *c)
{
    static const int WIDTH[] = {6};
    atomdl_plan plan = atomdl_plan_default();
    atomdl_rng rng = atomdl_rng_seed(6);
    atomdl_use use = {NULL, 0, 1};
    int status = atomdl_fcn(&c->arch, c->row, 16, WIDTH, 1, CLASSES);
    use.kernels = c->kernels;
    plan.steps = STEPS;
    plan.warmup = 2;
    plan.rate = 0.05f;
    if (!status) status = atomdl_arch_check(&c->info, NULL, &c->arch, 0, 0);
    c->values = atomdl_alloc(&c->arena, 2 * c->info.values, sizeof(float));
    float *gradient = c->values + c->info.values;
    atomdl_state state;
    if (!status)
        status = atomdl_state_new(&state, &c->arch, &plan, &c->arena);
    atomdl_trainer *trainer;
    if (!status)
        status = atomdl_trainer_new(&trainer, &c->arch, BATCH, WINDOW, WINDOW,
                                    &use, &c->arena);
    if (!status) atomdl_arch_init(c->values, &c->arch, 7, ATOMDL_HE);
    float image[BATCH * WINDOW * WINDOW], loss;
    uint8_t label[BATCH * WINDOW * WINDOW];
    for (uint32_t i = 0; i < STEPS && !status; i++) {
        windows(image, label, c, &rng);
        status = atomdl_trainer_run(trainer, &loss, gradient, c->values,
                                    &(atomdl_batch){image, label, i}, &plan);
        if (!status)
            status = atomdl_update(c->values, gradient, NULL, &state,
                                   &c->arch, &plan);
        c->stage[1] = atomdl_digest_f32(c->stage[1], &loss, 1);
    }
    if (!status)
        c->stage[1] = atomdl_digest_f32(c->stage[1], c->values, c->info.values);
    return status;
}

static int infer(chain *c)
{
    enum { ALL = CLASSES * PIXELS };
    atomdl_use use = {NULL, 0, 1};
    use.kernels = c->kernels;
    atomdl_net *net;
    int status =
        atomdl_net_new(&net, &c->arch, c->values, SIDE, SIDE, &use, &c->arena);
    for (int i = 0; i < FRAMES && !status; i++)
        status = atomdl_net_run(net, c->prob + i * ALL, c->frame + i * PIXELS);
    c->stage[2] = atomdl_digest_f32(c->stage[2], c->prob, FRAMES * ALL);
    return status;
}

static int find(chain *c)
{
    atomdl_scales how = {1, 2.5, 4, 0.02, 0.2, 0.5, 0, 1, NULL};
    atomdl_image prob = {SIDE, SIDE, CLASSES, NULL};
    int status = 0;
    how.kernels = c->kernels;
    for (int i = 0; i < FRAMES && !status; i++) {
        atomdl_blob *b = c->blob + i * MOST;
        prob.px = c->prob + i * CLASSES * PIXELS;
        status = atomdl_blobs(b, &c->blobs[i], MOST, &prob, 1, &how, &c->arena);
        for (int k = 0; k < c->blobs[i] && !status; k++) {
            c->stage[3] = atomdl_digest_f64(c->stage[3], &b[k].x, 1);
            c->stage[3] = atomdl_digest_f64(c->stage[3], &b[k].y, 1);
            c->stage[3] = atomdl_digest_f64(c->stage[3], &b[k].value, 1);
        }
    }
    return status;
}

/* Bonds, rings and defects of the first frame. */
static int connect(chain *c)
{
    int n = c->blobs[0], count = 0;
    atomdl_node *node = atomdl_alloc(&c->arena, MOST, sizeof *node);
    atomdl_found *found = atomdl_alloc(&c->arena, MOST, sizeof *found);
    uint64_t h = c->stage[4];
    int status = atomdl_arena_status(&c->arena);
    for (int i = 0; i < n && !status; i++) {
        memset(&node[i], 0, sizeof *node);
        node[i].x = c->blob[i].x * c->pixel;
        node[i].y = c->blob[i].y * c->pixel;
        node[i].score = 1;
        node[i].z = 6;
        node[i].count = 1;
    }
    atomdl_graph g;
    if (!status)
        status = atomdl_graph_new(&g, node, n,
                                  atomdl_chemistry_find("graphene"), NULL, 0,
                                  &c->arena);
    if (!status)
        status = atomdl_found_list(found, &count, MOST, &g, &c->arena);
    for (int i = 0; i < g.bonds && !status; i++) {
        h = atomdl_digest_u32(h, &g.bond[i].b, 1);
        h = atomdl_digest_f64(h, &g.bond[i].length, 1);
    }
    for (int i = 0; i < g.rings && !status; i++)
        h = atomdl_digest_f64(h, &g.ring[i].area, 1);
    for (int i = 0; i < count && !status; i++) {
        h = atomdl_digest_bytes(h, &found[i].kind, 1);
        h = atomdl_digest_f64(h, &found[i].x, 1);
    }
    c->stage[4] = h;
    return status;
}

static int track(chain *c)
{
    uint32_t track[MOST];
    double xy[2 * MOST];
    atomdl_tracker tracker;
    int status = atomdl_tracker_new(&tracker, MOST, 2, 3, &c->arena);
    for (int i = 0; i < FRAMES && !status; i++) {
        for (int k = 0; k < c->blobs[i]; k++) {
            xy[2 * k] = c->blob[i * MOST + k].x;
            xy[2 * k + 1] = c->blob[i * MOST + k].y;
        }
        status = atomdl_tracker_step(&tracker, track, xy, c->blobs[i], NULL);
        if (!status)
            c->stage[5] = atomdl_digest_u32(c->stage[5], track,
                                            (size_t)c->blobs[i]);
    }
    return status;
}

static const struct {
    const char *name;
    int (*run)(chain *c);
} STAGE[CHAIN_STAGES] = {
    {"simulate", simulate}, {"train", train}, {"infer", infer},
    {"blobs", find}, {"graph", connect}, {"track", track},
};

const char *chain_name(int i) { return STAGE[i].name; }

int chain_run(uint64_t stage[CHAIN_STAGES], unsigned char *memory,
              const atomdl_kernels *kernels)
{
    enum { ALL = FRAMES * PIXELS };
    size_t values = 0;
    chain c;
    memset(&c, 0, sizeof c);
    c.kernels = kernels;
    c.stage = stage;
    c.arena.base = memory;
    c.arena.size = CHAIN_MEMORY;
    c.recipe = atomdl_alloc(&c.arena, 1, sizeof *c.recipe);
    c.frame = atomdl_alloc(&c.arena, ALL, sizeof *c.frame);
    c.prob = atomdl_alloc(&c.arena, CLASSES * ALL, sizeof *c.prob);
    c.label = atomdl_alloc(&c.arena, PIXELS, 1);
    c.blob = atomdl_alloc(&c.arena, FRAMES * MOST, sizeof *c.blob);
    int status = atomdl_arena_status(&c.arena);
    size_t used = c.arena.used;
    for (int i = 0; i < CHAIN_STAGES; i++) stage[i] = ATOMDL_DIGEST;
    for (int i = 0; i < CHAIN_STAGES && !status; i++) {
        status = STAGE[i].run(&c);
        if (i == 1) values = c.info.values * sizeof(float);
        c.arena.used = used + values; /* at its beginning lie the values */
    }
    return status;
}

uint64_t chain_digest(const uint64_t stage[CHAIN_STAGES])
{
    unsigned char b[8];
    uint64_t h = ATOMDL_DIGEST;
    for (int i = 0; i < CHAIN_STAGES; i++) {
        atomdl_store64(b, stage[i]);
        h = atomdl_digest_bytes(h, b, 8);
    }
    return h;
}
