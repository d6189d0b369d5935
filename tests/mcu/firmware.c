/* SPDX-License-Identifier: MIT
   AtomDL in a microcontroller of 512 KB RAM, no heap: weights in flash (from
   `atomdl info --c-array`), one static block of memory, the rest is stack. An
   image of 256 x 256 bytes, scene.pgm, comes row by row over semihosting:

       spot    its middle, 64 x 64: network, LoG, graph, atoms
       bands   all of it, in bands of a few rows: network, LoG, graph, atoms
       learn   50 training steps of a small network on what `spot` found

   The same file built with -DDESKTOP does `bands` as the desktop does, all
   rows at once; every line but those that begin with # must be the same. */

#include "atomdl.h"
#include "lattice.inc" /* lattice_network, lattice_values */

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 256, HEAD = 15, SPOT = 64, CLASSES = 2, MOST = 720,
       FOUND = 32, STEPS = 50, WINDOW = 16, BATCH = 2 };
#ifdef DESKTOP
enum { ARENA = 16 << 20 };
#else
enum { ARENA = 480 << 10 };
#endif

static const double PIXEL = 0.15625; /* A */
static const atomdl_scales SCALES = {1.5, 3, 3, 0.1, 0, 0.5, 0, 1, NULL};

static double aligned[ARENA / 8];
static atomdl_layer row[24];
static atomdl_arch arch;
static atomdl_use use = {NULL, 1, 1}; /* a row at a time: the least memory */
static int scene;

static atomdl_arena whole_arena(void)
{
    atomdl_arena a = {NULL, ARENA, 0, 0, 0};
    a.base = (unsigned char *)aligned;
    return a;
}

/* ---------- Text out, without printf and its heap ------------------------- */

static void put(const char *s)
{
    if (write(1, s, strlen(s)) < 0) _exit(1);
}

static void put_number(unsigned long v)
{
    char text[24], *p = text + 23;
    *p = 0;
    do *--p = (char)('0' + v % 10);
    while (v /= 10);
    put(p);
}

static void put_hex(uint64_t v)
{
    char text[17];
    int i;
    for (i = 15; i >= 0; i--, v >>= 4) text[i] = "0123456789abcdef"[v & 15];
    text[16] = 0;
    put(text);
}

/* v >= 0, three decimals */
static void put_fixed(double v)
{
    unsigned long n = (unsigned long)(v * 1000 + 0.5);
    put_number(n / 1000);
    put(".");
    put_number(n / 100 % 10);
    put_number(n / 10 % 10);
    put_number(n % 10);
}

static void put_digest(const char *what, uint64_t digest)
{
    put(what);
    put(" ");
    put_hex(digest);
    put("\n");
}

static void must(int status, const char *what)
{
    if (!status) return;
    put("error: ");
    put(what);
    put(": ");
    put(atomdl_strerror(status));
    put("\n");
    _exit(1);
}

/* ---------- What it costs ------------------------------------------------- */

#ifdef DESKTOP
static void cost_begin(void) { }
static void cost(const char *what, const atomdl_arena *a)
{
    (void)what, (void)a;
}
#else
/* Timer 0 of the board counts down at 25 MHz; the emulator, one instruction a
   nanosecond (-icount shift=0), takes 40 instructions to a tick. */
#define TIMER ((volatile uint32_t *)0x40000000u)

extern char end[], stack_top[];
enum { PAINT = 0x5a };

static void cost_begin(void)
{
    char *here = (char *)__builtin_frame_address(0) - 64, *p;
    for (p = end; p < here; p++) *(volatile char *)p = PAINT;
    TIMER[0] = 0;
    TIMER[2] = TIMER[1] = 0xffffffffu;
    TIMER[0] = 1;
}

static void cost(const char *what, const atomdl_arena *a)
{
    uint32_t ticks = 0xffffffffu - TIMER[1];
    const char *p = end;
    while (*p == PAINT) p++;
    put("# ");
    put(what);
    put(" arena ");
    put_number((unsigned long)a->peak);
    put(" stack ");
    put_number((unsigned long)(stack_top - p));
    put(" kinstructions ");
    put_number((unsigned long)(ticks / 25));
    put("\n");
}
#endif

/* ---------- The image ----------------------------------------------------- */

static void read_bytes(uint8_t *to, int x, int y, int n)
{
    if (lseek(scene, HEAD + y * SIDE + x, SEEK_SET) < 0
        || read(scene, to, (size_t)n) != n)
        must(ATOMDL_EFILE, "scene.pgm");
}

/* to (h, w) <- the image from (x, y) on */
static void read_pixels(float *to, int x, int y, int w, int h)
{
    uint8_t line[SIDE];
    int i, j;
    for (j = 0; j < h; j++) {
        read_bytes(line, x, y + j, w);
        for (i = 0; i < w; i++) to[j * w + i] = line[i];
    }
}

/* ---------- Atoms and what they form -------------------------------------- */

/* px in A, px rounded to 2^-16: the last bits of a place depend on the row that
   it is counted from. */
static double place(double px)
{
    return atomdl_floor(px * 65536 + 0.5) / 65536 * PIXEL;
}

/* Blobs of a plane of probabilities whose rows from `low` to `high` count,
   appended to node(MOST); `top` is the row of the image where it begins. */
static int add_atoms(atomdl_node *node, int n, const atomdl_image *prob,
                     int top, int low, int high, atomdl_arena *arena)
{
    size_t used = arena->used;
    int max = prob->h < SIDE ? 160 : MOST, count = 0, i;
    atomdl_blob *blob = atomdl_alloc(arena, (size_t)max, sizeof *blob);
    must(atomdl_arena_status(arena), "list of blobs");
    must(atomdl_blobs(blob, &count, max, prob, prob->c - 1, &SCALES, arena),
         "blobs");
    for (i = 0; i < count && n < MOST; i++) {
        double y = blob[i].y + top;
        if (y < low || y >= high) continue;
        memset(&node[n], 0, sizeof *node);
        node[n].x = place(blob[i].x);
        node[n].y = place(y);
        node[n].score = blob[i].value < 1 ? blob[i].value : 1;
        node[n].z = 6;
        node[n++].count = 1;
    }
    arena->used = used;
    return n;
}

static void put_atom(const atomdl_graph *g, uint32_t i)
{
    const atomdl_node *a = &g->node[i];
    put("atom ");
    put_fixed(a->x);
    put(",");
    put_fixed(a->y);
    put(" ");
    put_hex(atomdl_bits64(a->x));
    put(",");
    put_hex(atomdl_bits64(a->y));
    put(" bonds ");
    put_number(g->first[i + 1] - g->first[i]);
    put("\n");
}

/* Atoms from top to bottom, rings, named defects. */
static void report(const atomdl_node *node, int n, double side,
                   atomdl_arena *arena)
{
    double field[4] = {0, 0, 0, 0}, *key;
    uint32_t *order, *scratch;
    atomdl_found *found;
    atomdl_graph g;
    int i, count = 0;
    field[2] = field[3] = side * PIXEL;
    must(atomdl_graph_new(&g, node, n, atomdl_chemistry_find("graphene"),
                          field, 1.5, arena), "graph");
    found = atomdl_alloc(arena, FOUND, sizeof *found);
    key = atomdl_alloc(arena, (size_t)n, sizeof *key);
    order = atomdl_alloc(arena, (size_t)n, sizeof *order);
    scratch = atomdl_alloc(arena, (size_t)n, sizeof *scratch);
    must(atomdl_arena_status(arena), "memory");
    for (i = 0; i < n; i++) key[i] = node[i].y;
    must(atomdl_sort(order, key, (size_t)n, scratch), "sort");
    for (i = 0; i < n; i++) put_atom(&g, order[i]);
    put_number((unsigned long)n);
    put(" atoms, ");
    put_number((unsigned long)g.bonds);
    put(" bonds, rings");
    for (i = 3; i < 13; i++)
        if (g.histogram[i]) {
            put(" ");
            put_number((unsigned long)i);
            put(":");
            put_number((unsigned long)g.histogram[i]);
        }
    put("\n");
    must(atomdl_found_list(found, &count, FOUND, &g, arena), "defects");
    for (i = 0; i < count; i++) {
        put("defect ");
        put(atomdl_found_name(found[i].kind));
        put(" at ");
        put_fixed(found[i].x);
        put(",");
        put_fixed(found[i].y);
        put("\n");
    }
}

/* ---------- Spot ---------------------------------------------------------- */

/* node(MOST) <- atoms of the middle; returns how many. */
static int spot(atomdl_node *node, atomdl_image *image, atomdl_arena *arena)
{
    size_t used = arena->used;
    atomdl_image prob;
    int n, corner = (SIDE - SPOT) / 2;
    must(atomdl_image_new(image, SPOT, SPOT, 1, arena)
             || atomdl_image_new(&prob, SPOT, SPOT, CLASSES, arena),
         "image");
    read_pixels(image->px, corner, corner, SPOT, SPOT);
    must(atomdl_image_normalise(image, ATOMDL_NORM_PERCENTILE), "scaling");
    must(atomdl_segment(&prob, image, &arch, lattice_values, &use, arena),
         "network");
    n = add_atoms(node, 0, &prob, 0, 0, SPOT, arena);
    arena->used = used;
    return n;
}

static void spot_shown(void)
{
    atomdl_arena arena = whole_arena();
    atomdl_node *node = atomdl_alloc(&arena, MOST, sizeof *node);
    atomdl_image image;
    int n;
    cost_begin();
    n = spot(node, &image, &arena);
    report(node, n, SPOT, &arena);
    cost("spot", &arena);
}

/* ---------- Bands --------------------------------------------------------- */

#ifdef DESKTOP
/* as anyone would where memory is no concern */
static int bands(atomdl_node *node, atomdl_arena *arena)
{
    atomdl_image image, prob;
    must(atomdl_image_new(&image, SIDE, SIDE, 1, arena)
             || atomdl_image_new(&prob, SIDE, SIDE, CLASSES, arena),
         "image");
    read_pixels(image.px, 0, 0, SIDE, SIDE);
    must(atomdl_image_normalise(&image, ATOMDL_NORM_PERCENTILE), "scaling");
    must(atomdl_segment(&prob, &image, &arch, lattice_values, NULL, arena),
         "network");
    put_digest("probabilities",
               atomdl_digest_f32(ATOMDL_DIGEST, prob.px + SIDE * SIDE,
                                 SIDE * SIDE));
    return add_atoms(node, 0, &prob, 0, 0, SIDE, arena);
}
#else
/* A byte's place on the network's scale, as atomdl_image_normalise has it:
   percentiles by counting, in a pass over the rows of their own. */
static float scale[256];

static double ranked(const uint32_t *count, double p)
{
    uint32_t rank = (uint32_t)(p * (SIDE * SIDE - 1) + 0.5), sum = 0;
    int v = 0;
    while ((sum += count[v]) <= rank) v++;
    return v;
}

static void scale_find(void)
{
    uint32_t count[256] = {0};
    uint8_t line[SIDE];
    double from, span, v;
    int i, y;
    for (y = 0; y < SIDE; y++) {
        read_bytes(line, 0, y, SIDE);
        for (i = 0; i < SIDE; i++) count[line[i]]++;
    }
    from = ranked(count, 0.5);
    span = ranked(count, 0.9) - ranked(count, 0.1);
    for (i = 0; i < 256; i++) {
        v = span > 0 ? 2 * (i - from) / span : 0;
        v = v > 30 ? 30 : v;
        scale[i] = (float)(v < -6 ? -6 : v);
    }
}

static void next_row(float *to, int channel, int y, void *user)
{
    uint8_t line[SIDE];
    int i;
    (void)channel, (void)user;
    read_bytes(line, 0, y, SIDE);
    for (i = 0; i < SIDE; i++) to[i] = scale[line[i]];
}

/* A strip of probabilities passes over the image; atoms count where it has
   HALO rows more on either side, which is as far as the LoG sees. */
static int bands(atomdl_node *node, atomdl_arena *arena)
{
    enum { STEP = 4, CORE = 16, HALO = 16, ROWS = CORE + 2 * HALO };
    atomdl_image strip = {SIDE, 0, 1, NULL};
    float *prob = atomdl_alloc(arena, CLASSES * STEP * SIDE, sizeof *prob);
    uint64_t digest = ATOMDL_DIGEST;
    int top = 0, done = 0, n = 0, y;
    atomdl_net *net;
    strip.px = atomdl_alloc(arena, ROWS * SIDE, sizeof *strip.px);
    must(atomdl_net_new(&net, &arch, lattice_values, SIDE, SIDE, &use, arena),
         "network");
    scale_find();
    for (y = 0; y < SIDE; y += CORE) {
        int low = y > HALO ? y - HALO : 0;
        int high = y + CORE + HALO < SIDE ? y + CORE + HALO : SIDE;
        memmove(strip.px, strip.px + (low - top) * SIDE,
                (size_t)((done - low) * SIDE) * sizeof *strip.px);
        for (top = low; done < high; done += STEP) {
            must(atomdl_net_rows(net, prob, done, done + STEP, next_row, NULL),
                 "rows");
            memcpy(strip.px + (done - top) * SIDE, prob + STEP * SIDE,
                   STEP * SIDE * sizeof *prob);
            digest = atomdl_digest_f32(digest, prob + STEP * SIDE, STEP * SIDE);
        }
        strip.h = high - low;
        n = add_atoms(node, n, &strip, top, y, y + CORE, arena);
    }
    put_digest("probabilities", digest);
    return n;
}
#endif

static void bands_shown(void)
{
    atomdl_arena arena = whole_arena();
    atomdl_node *node = atomdl_alloc(&arena, MOST, sizeof *node);
    size_t used = arena.used;
    int n;
    cost_begin();
    n = bands(node, &arena);
    arena.used = used;
    report(node, n, SIDE, &arena);
    cost("bands", &arena);
}

/* ---------- Learn --------------------------------------------------------- */

/* 1 within 0.45 A of an atom */
static void label_atoms(uint8_t *label, const atomdl_node *node, int n)
{
    int i, p;
    for (p = 0; p < SPOT * SPOT; p++)
        for (i = label[p] = 0; i < n && !label[p]; i++) {
            double dx = p % SPOT * PIXEL - node[i].x;
            double dy = p / SPOT * PIXEL - node[i].y;
            label[p] = dx * dx + dy * dy < 0.45 * 0.45;
        }
}

static void learn(void)
{
    enum { PIXELS = WINDOW * WINDOW };
    static const int WIDTH[] = {4, 8};
    static atomdl_layer small_row[16];
    uint8_t *label, target[BATCH * PIXELS];
    atomdl_arena arena = whole_arena();
    atomdl_plan plan = atomdl_plan_default();
    atomdl_rng rng = atomdl_rng_seed(50);
    atomdl_image image;
    atomdl_arch small;
    atomdl_arch_info info;
    atomdl_state state;
    atomdl_trainer *trainer;
    atomdl_node *node;
    float *values, *gradient, *input, loss = 0;
    uint32_t step;
    size_t used;
    int i, y;
    plan.steps = STEPS;
    plan.rate = 0.02f;
    plan.warmup = 5;
    cost_begin();
    label = atomdl_alloc(&arena, SPOT * SPOT, sizeof *label);
    used = arena.used;
    node = atomdl_alloc(&arena, MOST, sizeof *node);
    label_atoms(label, node, spot(node, &image, &arena));
    arena.used = used; /* the atoms and their image have served */
    input = atomdl_alloc(&arena, BATCH * PIXELS, sizeof *input);
    must(atomdl_image_new(&image, SPOT, SPOT, 1, &arena), "image");
    read_pixels(image.px, (SIDE - SPOT) / 2, (SIDE - SPOT) / 2, SPOT, SPOT);
    must(atomdl_image_normalise(&image, ATOMDL_NORM_PERCENTILE), "scaling");
    must(atomdl_fcn(&small, small_row, 16, WIDTH, 2, CLASSES)
             || atomdl_arch_check(&info, NULL, &small, 0, 0), "network");
    values = atomdl_alloc(&arena, info.values, sizeof *values);
    gradient = atomdl_alloc(&arena, info.values, sizeof *gradient);
    must(atomdl_state_new(&state, &small, &plan, &arena), "state");
    must(atomdl_trainer_new(&trainer, &small, BATCH, WINDOW, WINDOW, &use,
                            &arena), "trainer");
    atomdl_arch_init(values, &small, 50, ATOMDL_HE);
    for (step = 0; step < STEPS; step++) {
        for (i = 0; i < BATCH; i++) {
            int x0 = (int)atomdl_rng_below(&rng, SPOT - WINDOW);
            int y0 = (int)atomdl_rng_below(&rng, SPOT - WINDOW);
            for (y = 0; y < WINDOW; y++) {
                int from = (y0 + y) * SPOT + x0, to = i * PIXELS + y * WINDOW;
                memcpy(input + to, image.px + from, WINDOW * sizeof *input);
                memcpy(target + to, label + from, WINDOW);
            }
        }
        must(atomdl_trainer_run(trainer, &loss, gradient, values,
                                &(atomdl_batch){input, target, step}, &plan),
             "step");
        must(atomdl_update(values, gradient, NULL, &state, &small, &plan),
             "update");
        if (step % 10 && step + 1 < STEPS) continue;
        put("step ");
        put_number(step + 1);
        put(" loss ");
        put_fixed((double)loss);
        put("\n");
    }
    put_digest("weights",
               atomdl_digest_f32(ATOMDL_DIGEST, values, info.values));
    cost("learn", &arena);
}

int main(void)
{
    const char *why;
    int line;
    if (atomdl_selftest(&why)) return put(why), 1;
    scene = open("scene.pgm", O_RDONLY);
    if (scene < 0) return put("error: no scene.pgm\n"), 1;
    must(atomdl_arch_parse(&arch, row, 24, lattice_network,
                           strlen(lattice_network), &line), "network");
    spot_shown();
    bands_shown();
    learn();
    return 0;
}
