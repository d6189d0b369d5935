/* SPDX-License-Identifier: MIT
   One digest for each deterministic product. Its output is the same on every
   platform and stands in tests/bits.txt; `make matrix` compares.

   usage: bits [--ftz | --round-up]
   ATOMDL_ISA=NAME in the environment forces a kernel variant; a build with
   -DATOMDL_TRACE proves that every kernel ran by it and by no other.
   exit 3: the float environment is refused, 4: this CPU lacks the variant,
   5: a kernel did not run by it */

#define ATOMDL_LIBRARY /* the guards: arguments are computed here too */
#include "../atomdl.h"
#include "../program/chain.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef BITS_FENV
#include <fenv.h>
#if defined __x86_64__ || defined __i386__
#include <xmmintrin.h>
#endif
#endif

#define ROWS(x, n, d) (&(atomdl_points){x, n, d})

#ifdef _OPENMP
enum { MEMORY_KB = 2048 }; /* each thread has tiles of its own */
#else
enum { MEMORY_KB = 680 }; /* a microcontroller's share */
#endif

static const atomdl_kernels *kernels;
static double aligned[MEMORY_KB * 128];
static unsigned char *const memory = (unsigned char *)aligned;
enum { MEMORY = sizeof aligned };
static uint64_t total = ATOMDL_DIGEST;
static long lines;

/* ---------- Printing ------------------------------------------------------ */

static void hex(char out[17], uint64_t v)
{
    for (int i = 15; i >= 0; i--, v >>= 4) out[i] = "0123456789abcdef"[v & 15];
    out[16] = 0;
}

/* A size that does not depend on how a platform aligns binary64: i686 packs
   it to 4 bytes. */
static size_t padded(size_t size) { return (size + 7) / 8 * 8; }

static void product(const char *name, uint64_t digest, long count)
{
    char text[17];
    hex(text, digest);
    printf("%s %s %ld\n", name, text, count);
    unsigned char b[8];
    atomdl_store64(b, digest);
    total = atomdl_digest_bytes(total, b, 8);
    lines++;
}

static void product_floats(const char *name, const float *v, size_t n)
{
    product(name, atomdl_digest_f32(ATOMDL_DIGEST, v, n), (long)n);
}

/* ---------- Mathematics --------------------------------------------------- */

enum { STEP = 1048573, ARGUMENTS = 4097 }; /* a prime stride over all floats */

static void sweep(const char *name, float (*f)(float))
{
    uint64_t h = ATOMDL_DIGEST;
    uint32_t bits = 0;
    for (uint32_t i = 0; i < ARGUMENTS; i++, bits += STEP) {
        float y = f(atomdl_float(bits));
        h = atomdl_digest_f32(h, &y, 1);
    }
    product(name, h, ARGUMENTS);
}

static void sweep64(const char *name, double (*f)(double), double from,
                    double step, int n)
{
    uint64_t h = ATOMDL_DIGEST;
    for (int i = 0; i < n; i++) {
        double y = f(from + (double)i * step);
        h = atomdl_digest_f64(h, &y, 1);
    }
    product(name, h, n);
}

static void sweep_pairs(const char *name, double (*f)(double, double))
{
    atomdl_rng r = atomdl_rng_seed(3);
    uint64_t h = ATOMDL_DIGEST;
    int n = 600;
    for (int i = 0; i < n; i++) {
        double a = atomdl_rng_uniform64(&r) * 20 - (i % 3 ? 0 : 10);
        double y = f(a, atomdl_rng_uniform64(&r) * 8 - 4);
        h = atomdl_digest_f64(h, &y, 1);
    }
    product(name, h, n);
}

/* arguments whose result lies so near the middle of two floats that binary64
   alone rounds it the wrong way: all there are for log, sin and cos (x > 0) */
static void hard_cases(void)
{
    static const uint32_t LOG[] = {0x3c413d3a, 0x41178feb, 0x4c5d65a5,
                                   0x65d890d3, 0x6f31a8ec};
    float y[8];
    for (int i = 0; i < 5; i++) y[i] = atomdl_logf(atomdl_float(LOG[i]));
    y[5] = atomdl_sinf(atomdl_float(0x46199998));
    y[6] = atomdl_cosf(atomdl_float(0x5f18b878));
    y[7] = atomdl_cosf(atomdl_float(0x6115cb11));
    product_floats("hard_cases", y, 8);
}

static void mathematics(void)
{
    hard_cases();
    sweep("expf", atomdl_expf);
    sweep("logf", atomdl_logf);
    sweep("sinf", atomdl_sinf);
    sweep("cosf", atomdl_cosf);
    sweep("sqrtf", atomdl_sqrtf);
    sweep64("exp", atomdl_exp, -750, 1.003, 1480);
    sweep64("log", atomdl_log, 0x1p-30, 0.0371, 1000);
    sweep64("sin", atomdl_sin, -130, 0.137, 2000);
    sweep64("cos", atomdl_cos, 1e6, 1e13 + 0.7, 500);
    sweep64("erf", atomdl_erf, -6.5, 0.0131, 1000);
    sweep64("sqrt", atomdl_sqrt, 0, 1.37, 1000);
    sweep_pairs("atan2", atomdl_atan2);
    sweep_pairs("pow", atomdl_pow);
}

static void operations(void) /* + - * / over all classes of numbers */
{
    static const uint32_t V[] = {0x00000000, 0x80000000, 0x00000001,
                                 0x807fffff, 0x00800000, 0x3f800000,
                                 0xbf800001, 0x3eaaaaab, 0x4b7fffff,
                                 0x7f7fffff, 0xff7fffff, 0x7f800000,
                                 0x1e3ce508, 0x21555555, 0xc1490fdb};
    enum { N = sizeof V / sizeof *V };
    uint64_t h = ATOMDL_DIGEST;
    float r[4];
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) {
            float a = atomdl_float(V[i]), b = atomdl_float(V[j]);
            r[0] = a + b;
            r[1] = a - b;
            r[2] = a * b;
            r[3] = a / b;
            h = atomdl_digest_f32(h, r, 4);
        }
    product("operations", h, 4 * N * N);
}

/* a mantissa of few runs of bits: those are where rounding goes wrong */
static uint64_t mantissa(atomdl_rng *r)
{
    uint64_t one = 1, m = (uint64_t)atomdl_rng_u32(r) << 32;
    uint32_t i = atomdl_rng_below(r, 52), j = atomdl_rng_below(r, 52);
    m = (m | atomdl_rng_u32(r)) >> 12;
    switch (atomdl_rng_below(r, 6)) {
    case 0: return 0;
    case 1: return (one << 52) - 1;
    case 2: return one << i;
    case 3: return (one << i) - 1;
    case 4: return one << i | one << j;
    default: return m;
    }
}

/* + - * / of doubles at every distance of exponents, subnormals included */
static void operations64(void)
{
    enum { N = 4000 };
    atomdl_rng r = atomdl_rng_seed(2);
    uint64_t h = ATOMDL_DIGEST;
    double v[5];
    for (int i = 0; i < N; i++) {
        uint64_t e = i & 1 ? 1023 : 1 + atomdl_rng_below(&r, 2046);
        uint64_t f = (uint64_t)i % 80;
        f = f < e ? e - f : 0;
        double a =
            atomdl_double(mantissa(&r) | e << 52 | (uint64_t)(i & 2) << 62);
        double b =
            atomdl_double(mantissa(&r) | f << 52 | (uint64_t)(i & 4) << 61);
        v[0] = a + b;
        v[1] = a - b;
        v[2] = b - a;
        v[3] = a * b;
        v[4] = b != 0 ? a / b : 0;
        h = atomdl_digest_f64(h, v, 5);
    }
    product("operations64", h, 5 * N);
}

/* ---------- Reductions, random numbers, sorting --------------------------- */

static void reductions(void)
{
    float *x = (float *)(void *)memory, *y = x + 4000;
    atomdl_rng r = atomdl_rng_seed(4);
    uint64_t h = ATOMDL_DIGEST;
    atomdl_rng_normal(&r, x, 4000);
    atomdl_rng_normal(&r, y, 4000);
    float s[2];
    for (size_t n = 0; n <= 4000; n = n * 5 / 4 + 1) {
        s[0] = atomdl_dot(x, y, n);
        s[1] = atomdl_absmax(x, n);
        h = atomdl_digest_f32(h, s, 2);
    }
    product("reductions", h, 4000);
    for (size_t n = 0; n < 4000; n++) x[n] = x[n] * 30;
    x[100] = -1000;
    x[1000] = 1000;
    x[2000] = atomdl_float(0xff800000);
    kernels->exp(y, x, 3999);
    product_floats("exp_kernel", y, 3999);
}

static void random_numbers(void)
{
    static const double MEANS[] = {0.01, 0.7, 4, 9.9, 10, 33, 1000, 1e6};
    float *x = (float *)(void *)memory;
    uint32_t *u = (uint32_t *)(void *)memory;
    atomdl_rng root = atomdl_rng_seed(0x123456789abcdefu);
    atomdl_rng r = root;
    int i;
    for (i = 0; i < 4096; i++) u[i] = atomdl_rng_u32(&r);
    product("rng_u32", atomdl_digest_u32(ATOMDL_DIGEST, u, 4096), 4096);
    for (i = 0; i < 1024; i++) {
        atomdl_rng s = atomdl_rng_split(&root, (uint64_t)i * 0x100000001u);
        r = atomdl_rng_split(&s, 7);
        u[i] = atomdl_rng_u32(&r);
    }
    product("rng_split", atomdl_digest_u32(ATOMDL_DIGEST, u, 1024), 1024);
    for (i = 0; i < 1000; i++) x[i] = atomdl_rng_uniform(&r);
    for (; i < 2000; i++) x[i] = (float)atomdl_rng_uniform64(&r);
    product_floats("rng_uniform", x, 2000);
    atomdl_rng_normal(&r, x, 4001);
    product_floats("rng_normal", x, 4001);
    for (i = 0; i < 1600; i++) u[i] = atomdl_rng_poisson(&r, MEANS[i % 8]);
    product("rng_poisson", atomdl_digest_u32(ATOMDL_DIGEST, u, 1600), 1600);
    for (i = 0; i < 1000; i++) u[i] = atomdl_rng_below(&r, (uint32_t)i + 1);
    product("rng_below", atomdl_digest_u32(ATOMDL_DIGEST, u, 1000), 1000);
}

static void sorting(void)
{
    enum { N = 3000 };
    double *key = (double *)(void *)memory;
    uint32_t *order = (uint32_t *)(void *)(key + N);
    atomdl_rng r = atomdl_rng_seed(5);
    for (int i = 0; i < N; i++) key[i] = atomdl_rng_below(&r, 97) * 0.25 - 7;
    atomdl_sort(order, key, N, order + N);
    product("sort", atomdl_digest_u32(ATOMDL_DIGEST, order, N), N);
}

/* ---------- Images -------------------------------------------------------- */

/* digest of crop, both resizes, four normalisations and three warps */
static void images(void)
{
    static const double TURN[6] = {0.96, 0.28, -3.5, -0.28, 0.96, 9.25};
    static const char *const NORM[] = {"image_minmax", "image_std",
                                       "image_percentile", "image_level"};
    static const char *const WARP[] = {"warp_nearest", "warp_linear",
                                       "warp_cubic"};
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_rng r = atomdl_rng_seed(6);
    int bad = 0;
    a.base = memory;
    atomdl_image src;
    bad |= atomdl_image_new(&src, 57, 43, 2, &a);
    atomdl_image dst;
    bad |= atomdl_image_new(&dst, 64, 40, 2, &a);
    atomdl_image field;
    bad |= atomdl_image_new(&field, 64, 40, 2, &a);
    if (!bad) atomdl_rng_normal(&r, src.px, 57 * 43 * 2);
    if (!bad) atomdl_rng_normal(&r, field.px, 64 * 40 * 2);
    bad |= atomdl_image_crop(&dst, &src, -5, 7);
    product_floats("image_crop", dst.px, 64 * 40 * 2);
    for (int i = 0; i < 3; i++) {
        bad |= atomdl_image_warp(&dst, &src, TURN, &field, i);
        product_floats(WARP[i], dst.px, 64 * 40 * 2);
    }
    bad |= atomdl_image_resize(&dst, &src, &a);
    product_floats("resize_mixed", dst.px, 64 * 40 * 2);
    dst.w = 17;
    dst.h = 9;
    bad |= atomdl_image_resize(&dst, &src, &a);
    product_floats("resize_area", dst.px, 17 * 9 * 2);
    for (int i = 0; i < ATOMDL_NORM_COUNT; i++) {
        bad |= atomdl_image_normalise(&src, i);
        product_floats(NORM[i], src.px, 57 * 43 * 2);
    }
    product("arena_peak", a.peak + (size_t)(bad ? 1 : 0), (long)a.peak);
}

/* ---------- Simulated images ---------------------------------------------- */

static void transforms(void)
{
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_rng r = atomdl_rng_seed(21);
    int bad = 0;
    a.base = memory;
    float *re = atomdl_alloc(&a, 900, sizeof *re);
    float *im = atomdl_alloc(&a, 900, sizeof *im);
    float *x = atomdl_alloc(&a, 900, sizeof *x);
    atomdl_rng_normal(&r, re, 900);
    atomdl_rng_normal(&r, im, 900);
    atomdl_rng_normal(&r, x, 900);
    bad |= atomdl_fft(re, im, 30, 24, 0, &a);
    product_floats("fft_re", re, bad ? 0 : 720);
    product_floats("fft_im", im, bad ? 0 : 720);
    bad |= atomdl_fft_real(&(atomdl_bins){re, im, 15}, x, 37, 36, 20, &a);
    product_floats("fft_real", re, bad ? 0 : 300);
    bad |= atomdl_fft_real_back(x, 36, &(atomdl_bins){re, im, 15}, 36, 20, &a);
    product_floats("fft_back", x, bad ? 0 : 720);
}

static void imaging(void)
{
    static const atomdl_cloud CLOUD = {2, 3, 2, 5, 1.3};
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_rng r = atomdl_rng_seed(22);
    atomdl_scan scan = {0};
    atomdl_detector d = {0};
    int bad = 0;
    a.base = memory;
    atomdl_structure s;
    bad |= atomdl_structure_new(&s, 6, 6, 1, &(atomdl_room){60, 1, 1}, &a);
    bad |= atomdl_structure_cloud(&s, &CLOUD, &r, &a);
    atomdl_atom *atom = s.atom;
    size_t n = s.atoms;
    atomdl_image m;
    bad |= atomdl_image_new(&m, 28, 24, 1, &a);
    scan.jitter = scan.hum[0] = scan.hum[1] = 0.1;
    scan.cycles = 0.83;
    scan.flyback = 0.1;
    for (size_t i = 0; i < n; i++) {
        atom[i].column = (uint32_t)i / 2;
        atom[i].weight = 0.5f + (float)i / 20;
    }
    atomdl_optics o;
    bad |= atomdl_optics_preset(&o, "001");
    o.stack = 1.2;
    o.recentre = 1;
    o.spread = 20;
    o.aberration[ATOMDL_C23][0] = 500;
    o.aberration[ATOMDL_C21][1] = 200;
    atomdl_probe probe;
    bad |= atomdl_probe_new(&probe, &o, 28, 24, 0.2, 1.7, &a);
    bad |= atomdl_image_atoms(&m, atom, n, &o, &probe, &a);
    product_floats("image_incoherent", m.px, bad ? 0 : 672);
    bad |= atomdl_optics_preset(&o, "gaussian");
    o.ellipticity = 0.2;
    o.angle = 1;
    o.tail = 0.1;
    o.tail_sigma = 1;
    bad |= atomdl_probe_new(&probe, &o, 28, 24, 0.2, 1.7, &a);
    bad |= atomdl_image_atoms(&m, atom, n, &o, &probe, &a);
    product_floats("image_gaussian", m.px, bad ? 0 : 672);
    bad |= atomdl_scan_rows(&m, &scan, 0.2, &r, &a);
    product_floats("scan_rows", m.px, bad ? 0 : 672);
    d.background = 0.2;
    d.tilt[1] = d.wave[0].ax = 0.1;
    d.wave[0].kx = 0.3;
    atomdl_detector_density(&d, 0.05, 0.6, 1, 0.3, 0.2);
    d.counts = 40;
    d.smooth = 0.4;
    d.blur = 0.3;
    d.clip = 0.99;
    d.gamma = 0.8;
    bad |= atomdl_detect(&m, &d, 0.2, &r, &a);
    product_floats("detector", m.px, bad ? 0 : 672);
    for (size_t i = 1; i <= 118; i++)
        m.px[i] = (float)atomdl_cross_section(&o, (int)i);
    o.model = ATOMDL_INCOHERENT;
    o.inner = 70;
    for (size_t i = 1; i <= 118; i++)
        m.px[i + 118] = (float)atomdl_cross_section(&o, (int)i);
    product_floats("cross_sections", m.px + 1, 236);
    product("imaging_memory", a.peak, (long)a.peak);
}

/* Two columns of six atoms under three microscopes, one below another. */
static void columns(void)
{
    static const uint8_t ELEMENT[6] = {42, 16, 34, 6, 74, 23};
    static const double MICROSCOPE[3][4] = {
        {60, 31, 86, 200}, {80, 23, 40, 160}, {200, 18, 70, 180}};
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_atom atom[12];
    atomdl_optics o;
    int bad = 0;
    a.base = memory;
    memset(atom, 0, sizeof atom);
    for (uint32_t i = 0; i < 12; i++) {
        atom[i].x = 1 + 2.2 * (i % 2) + 0.03 * i;
        atom[i].y = 1.3 + 0.02 * i;
        atom[i].z = -1.7 * (double)(i * 5 % 12);
        atom[i].weight = 1;
        atom[i].element = ELEMENT[i / 2];
        atom[i].column = i % 2;
    }
    atomdl_image all, m;
    bad |= atomdl_image_new(&all, 20, 36, 1, &a);
    for (int k = 0; k < 3; k++) {
        bad |= atomdl_optics_preset(&o, "001");
        o.kv = MICROSCOPE[k][0];
        o.convergence = MICROSCOPE[k][1];
        o.inner = MICROSCOPE[k][2];
        o.outer = MICROSCOPE[k][3];
        o.channelling = 1.1 - 0.1 * k;
        atomdl_probe probe;
        m = (atomdl_image){20, 12, 1, all.px ? all.px + 240 * k : NULL};
        bad |= atomdl_probe_new(&probe, &o, 20, 12, 0.25, 2, &a);
        bad |= atomdl_image_atoms(&m, atom, 12, &o, &probe, &a);
    }
    product_floats("image_columns", all.px, bad ? 0 : 720);
}

/* Two atoms, two planes, every aberration and both ends of the focal spread. */
static void waves(void)
{
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_atom atom[2] = {{.x = 0.5, .y = 0.7, .z = 2, .element = 6},
                           {.x = 0.9, .y = 0.2, .element = 6}};
    atomdl_slicing how = {.configurations = 4, .rng = atomdl_rng_seed(24),
                          .window = 5};
    atomdl_optics o;
    int bad = 0;
    a.base = memory;
    atomdl_image m;
    bad |= atomdl_image_new(&m, 5, 4, 1, &a);
    bad |= atomdl_optics_preset(&o, "001");
    o.convergence = 10;
    o.inner = 20;
    o.outer = 60;
    o.spread = 90;
    o.recentre = 1;
    o.aberration[ATOMDL_C23][0] = 500;
    o.aberration[ATOMDL_C21][1] = 200;
    bad |= atomdl_image_multislice(&m, atom, 2, &o, 0.3, &how, &a);
    product_floats("image_multislice", m.px, bad ? 0 : 20);
}

/* ---------- Networks ------------------------------------------------------ */

enum { SIDE = 16 }; /* of training images */

static atomdl_layer rows[ATOMDL_ROWS];

/* ---------- Structures ---------------------------------------------------- */

static void product_atoms(const char *name, const atomdl_structure *s)
{
    uint64_t h = ATOMDL_DIGEST;
    for (uint32_t i = 0; i < s->atoms; i++) {
        const atomdl_atom *a = &s->atom[i];
        h = atomdl_digest_f64(h, &a->x, 1);
        h = atomdl_digest_f64(h, &a->y, 1);
        h = atomdl_digest_f64(h, &a->z, 1);
        uint32_t word = a->element + 256u * a->role + 65536u * a->defect;
        h = atomdl_digest_u32(h, &word, 1);
        h = atomdl_digest_u32(h, &a->column, 1);
    }
    for (uint32_t i = 0; i < s->columns; i++) {
        const atomdl_column *c = &s->column[i];
        h = atomdl_digest_f64(h, &c->x, 1);
        h = atomdl_digest_f64(h, &c->y, 1);
        uint32_t word = c->element[0] + 256u * c->count + 65536u * c->defect;
        h = atomdl_digest_u32(h, &word, 1);
    }
    product(name, h, (long)s->atoms);
}

/* a field filled by name, 2 regions: the other side turned by 20 degrees */
static int fill(atomdl_structure *s, const char *name, double side, int two,
                atomdl_arena *a)
{
    atomdl_placement at = {7, 5, 0.3, 0.03, -0.02, 0.01};
    atomdl_line line = {10, 9, 0.7, 0.5, 11, 0.2};
    atomdl_line back = {10, 9, 0.7 + 3.14159265358979311600, 0.5, 11, -0.2};
    atomdl_lattice l;
    atomdl_room room;
    int bad = atomdl_lattice_find(&l, name) != 0;
    atomdl_structure_room(&room, side, side, 2, &l);
    room.atoms += 300;
    room.defects = 40;
    bad |= atomdl_structure_new(s, side, side, 2, &room, a);
    bad |= atomdl_structure_fill(s, &l, &at, &line, two, 1, a);
    at.angle = 0.65;
    if (two) bad |= atomdl_structure_fill(s, &l, &at, &back, 1, 2, a);
    if (two) bad |= atomdl_structure_contacts(s, 1.05, a);
    return bad;
}

static void structures(void)
{
    static const atomdl_wave WAVE = {0.1, 0.05, 0.2, -0.1, 1};
    static const atomdl_cloud CLOUD = {6, 9, 3, 8, 1.3};
    static const atomdl_label_grid GRID = {48, 48, 0.4};
    static const atomdl_rule RULES[] = {
        {ATOMDL_LABEL_REGION, 1, 0, 0, 0, 2, "", 0, 0, 0},
        {ATOMDL_LABEL_ATOM, 2, 6, ATOMDL_ANY, 0, ATOMDL_ANY, "", 0.45f, 0, 0},
        {ATOMDL_LABEL_DEFECT, 3, 0, ATOMDL_ANY, 0, ATOMDL_ANY, "", 0.8f, 0,
         0}};
    atomdl_drawing how = {{0}, 0, 5, 3.9, 0.15, 0.12, {0.05, 0.07, 0.03}};
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_rng r = atomdl_rng_seed(12);
    int bad = 0;
    a.base = memory;
    atomdl_motifs *motifs;
    bad |= atomdl_motifs_new(&motifs, 1u << ATOMDL_SI_C3 | 1u << ATOMDL_V1,
                             &a);
    atomdl_structure s;
    bad |= fill(&s, "graphene", 20, 1, &a);
    uint8_t *label = atomdl_alloc(&a, 48 * 48, 1);
    how.weight[ATOMDL_SI_C3] = 2;
    how.weight[ATOMDL_V1] = 1;
    bad |= atomdl_defects_draw(&s, NULL, 5, &how, motifs, &r);
    bad |= atomdl_structure_cloud(&s, &CLOUD, &r, &a);
    atomdl_structure_warp(&s, &WAVE, 1);
    atomdl_structure_thermal(&s, 0.05, &r);
    bad |= atomdl_structure_finish(&s);
    product_atoms("structure", &s);
    memset(label, 0, 48 * 48);
    bad |= atomdl_label_paint(label, &GRID, &s, RULES, 3, NULL);
    product("labels", atomdl_digest_bytes(ATOMDL_DIGEST, label, 48 * 48),
            48 * 48);
    product("structure_peak", a.peak + (size_t)(bad ? 1 : 0), (long)a.peak);
}

static void movies(void)
{
    atomdl_dynamics how = {3, {0, ATOMDL_VX1, ATOMDL_SUB_M_VX1}, 74,
                           {{0, 1, 0.5}, {0.1, 0, 0.1}, {0.1, 0.2, 0}},
                           {0, 0.4, 0}, {0, 0, 0.5}, 4};
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_rng r = atomdl_rng_seed(13);
    uint64_t h = ATOMDL_DIGEST;
    int bad = 0;
    a.base = memory;
    atomdl_structure s;
    bad |= fill(&s, "mos2-3r-2", 20, 0, &a);
    atomdl_defect list[16];
    atomdl_movie m = {.defect = list, .max = 16, .next_id = 1};
    for (uint32_t i = 0; i < 12; i++)
        bad |= atomdl_movie_step(&m, &how, &s, &r);
    for (uint32_t i = 0; i < m.defects; i++) {
        (void)atomdl_defect_place(&s, &list[i], NULL);
        h = atomdl_digest_f64(h, &list[i].x, 1);
        h = atomdl_digest_f64(h, &list[i].y, 1);
        h = atomdl_digest_f64(h, &list[i].angle, 1);
        /* the first kind of a column is 18, however many motifs there are */
        uint32_t kind = 18u + list[i].kind - ATOMDL_MOTIFS;
        uint32_t word = list[i].id + 256u * kind;
        h = atomdl_digest_u32(h, &word, 1);
    }
    for (uint32_t i = 0; i < 3; i++)
        h = atomdl_digest_u32(h, m.events.change[i], 3);
    product("movie", h, bad ? -1 : (long)m.defects);
    atomdl_structure_alloy(&s, -1, 42, 74, 0.3, &r);
    bad |= atomdl_defects_scatter(&s, ATOMDL_VX1, 0, 0.1, -1, &r);
    bad |= atomdl_structure_finish(&s);
    product_atoms(bad ? "bad" : "structure_3r", &s);
}

/* what a network takes from the memory, in one block behind the other */
typedef struct {
    atomdl_arena arena;
    atomdl_arch arch;
    atomdl_arch_info info;
    float *values, *image, *out;
    int bad;
} network;

static float *floats(network *t, size_t n)
{
    float *x = atomdl_alloc(&t->arena, n, sizeof *x);
    if (!x) t->bad = 1;
    return x ? x : (float *)(void *)memory;
}

/* The network in t->arch with values, normal pixels and room for the result;
   what is not a weight is moved away from 0 and 1. */
static void fresh(network *t, int status, int n, int h, int w, uint64_t seed)
{
    atomdl_rng r = atomdl_rng_seed(seed);
    size_t pixels = (size_t)(n * h * w);
    memset(&t->arena, 0, sizeof t->arena);
    t->arena.base = memory;
    t->arena.size = MEMORY;
    t->bad = status || atomdl_arch_check(&t->info, NULL, &t->arch, h, w);
    if (t->bad) t->info.values = 0, t->info.classes = 1, t->arch.rows = 0;
    t->values = floats(t, t->info.values);
    t->image = floats(t, pixels);
    t->out = floats(t, pixels * (size_t)t->info.classes);
    atomdl_arch_init(t->values, &t->arch, seed, ATOMDL_HE);
    atomdl_tensor x;
    for (int i = 0; atomdl_arch_tensor(&x, &t->arch, i); i++)
        for (size_t k = x.offset; k < x.offset + x.count; k++)
            if (x.kind != ATOMDL_WEIGHT)
                t->values[k] = t->values[k] + atomdl_rng_uniform(&r) * 0.25f;
    atomdl_rng_normal(&r, t->image, pixels);
}

/* The default is one for networks as small as these. */
static int all_threads(void)
{
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/* digest of the probabilities, and the arena that one thread needs */
static void forward(const char *name, const char *peak, network *t, int h,
                    int w)
{
    atomdl_arena sizes = {NULL, 0, 0, 0, 0};
    atomdl_use use = {NULL, 0, 1};
    size_t n = (size_t)(t->info.classes * h * w);
    use.kernels = kernels;
    atomdl_net *net;
    t->bad |= atomdl_net_new(&net, &t->arch, t->values, h, w, &use, &sizes);
    use.threads = all_threads();
    t->bad |= atomdl_net_new(&net, &t->arch, t->values, h, w, &use, &t->arena);
    if (net) t->bad |= atomdl_net_run(net, t->out, t->image);
    else t->bad = 1;
    product_floats(name, t->out, t->bad ? 0 : n);
    product(peak, sizes.peak, (long)sizes.peak);
}

static void use_networks(void)
{
    static const int W[] = {8, 16, 32};
    network t;
    fresh(&t, atomdl_fcn(&t.arch, rows, ATOMDL_ROWS, W, 3, 3), 1, 24, 40, 7);
    forward("net_fcn", "net_fcn_peak", &t, 24, 40);
    fresh(&t, atomdl_resunet(&t.arch, rows, ATOMDL_ROWS,
                             &(atomdl_residual){1, 3, 1, 0}, 2), 1, 16,
          32, 8);
    forward("net_resunet", "net_resunet_peak", &t, 16, 32);
    /* large enough to go by tiles */
    static const char TEXT[] =
        "input 1\nconv a ch=16 k=3\nleaky\nmaxpool\nconv b ch=24 k=3\nrelu\n"
        "nearest\nconv c ch=17 k=3\nconv d ch=13 k=11\nrelu\n"
        "conv e ch=2 k=1\nsoftmax\n";
    int line;
    fresh(&t, atomdl_arch_parse(&t.arch, rows, ATOMDL_ROWS, TEXT,
                                sizeof TEXT - 1, &line), 1, 10, 14, 9);
    forward("net_tiles", "net_tiles_peak", &t, 10, 14);
}

/* a trainer in the arena, what one thread's would take alone in *peak */
static atomdl_trainer *trainer_new(network *t, int n, size_t *peak)
{
    atomdl_arena sizes = {NULL, 0, 0, 0, 0};
    atomdl_use use = {NULL, 0, 1};
    use.kernels = kernels;
    atomdl_trainer *trainer;
    t->bad |= atomdl_trainer_new(&trainer, &t->arch, n, SIDE, SIDE, &use,
                                 &sizes);
    *peak = sizes.peak;
    use.threads = 0;
    t->bad |= atomdl_trainer_new(&trainer, &t->arch, n, SIDE, SIDE, &use,
                                 &t->arena);
    if (!trainer) t->bad = 1;
    return trainer;
}

/* every operator that learns or drops, forward and backward */
static void gradient(void)
{
    static const char TEXT[] =
        "input 1\nconv a ch=2 k=3\nbatchnorm an\nrelu a0\nmaxpool\n"
        "conv b ch=5 k=3 dilation=2\nleaky b1\nbatchnorm bn\ndropout d "
        "p=0.3\nconv s in=a0 ch=5 k=3 stride=2\nadd t in=d in2=s\n"
        "conv u ch=1 k=1\nbilinear w\ndeconv v in=u ch=1\n"
        "add x in=w in2=v\nconcat in=x in2=a0\nconv e ch=3 k=5\n"
        "softmax\n";
    enum { N = 3, PIXELS = N * SIDE * SIDE };
    atomdl_plan plan = atomdl_plan_default();
    atomdl_rng r = atomdl_rng_seed(10);
    float loss = 0;
    plan.loss.dice = 0.5f;
    plan.loss.focal = 0.5f;
    network t;
    int line;
    fresh(&t, atomdl_arch_parse(&t.arch, rows, ATOMDL_ROWS, TEXT,
                                sizeof TEXT - 1, &line), N, SIDE, SIDE, 9);
    float *gradient = floats(&t, t.info.values);
    size_t peak;
    atomdl_trainer *trainer = trainer_new(&t, N, &peak);
    uint8_t label[PIXELS];
    for (int i = 0; i < PIXELS; i++)
        label[i] = (uint8_t)atomdl_rng_below(&r, 3);
    if (!t.bad)
        t.bad |= atomdl_trainer_run(trainer, &loss, gradient, t.values,
                                    &(atomdl_batch){t.image, label, 5}, &plan);
    product_floats("loss", &loss, 1);
    product_floats("gradient", gradient, t.bad ? 0 : t.info.values);
    product_floats("running", t.values, t.bad ? 0 : t.info.values);
    product("gradient_peak", peak, (long)peak);
}

/* a disc in noise */
static void training_image(float *px, uint8_t *label, atomdl_rng *r)
{
    int cx = (int)atomdl_rng_below(r, SIDE);
    int cy = (int)atomdl_rng_below(r, SIDE);
    atomdl_rng_normal(r, px, SIDE * SIDE);
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = i % SIDE - cx;
        int y = i / SIDE - cy;
        label[i] = x * x + y * y < 17;
        px[i] = px[i] * 0.5f;
        px[i] = px[i] + (float)label[i];
    }
}

static void training(void)
{
    static const int W[] = {4, 8};
    enum { N = 2, STEPS = 50, PIXELS = SIDE * SIDE };
    atomdl_plan plan = atomdl_plan_default();
    atomdl_rng root = atomdl_rng_seed(11);
    plan.steps = STEPS;
    plan.warmup = 5;
    plan.rate = 0.02f;
    plan.average = 10;
    plan.clip = 1;
    network t;
    fresh(&t, atomdl_fcn(&t.arch, rows, ATOMDL_ROWS, W, 2, 2), N, SIDE, SIDE,
          12);
    float *gradient = floats(&t, t.info.values);
    atomdl_state state;
    t.bad |= atomdl_state_new(&state, &t.arch, &plan, &t.arena);
    size_t others = t.arena.used;
    size_t peak;
    atomdl_trainer *trainer = trainer_new(&t, N, &peak);
    uint8_t label[N * PIXELS];
    float loss[STEPS], norm;
    for (uint32_t i = 0; i < STEPS && !t.bad; i++) {
        for (uint32_t j = 0; j < N; j++) {
            atomdl_rng r = atomdl_rng_split(&root, i * N + j);
            training_image(t.image + j * PIXELS, label + j * PIXELS, &r);
        }
        t.bad |= atomdl_trainer_run(trainer, &loss[i], gradient, t.values,
                                    &(atomdl_batch){t.image, label, i}, &plan);
        t.bad |= atomdl_update(t.values, gradient, &norm, &state, &t.arch,
                               &plan);
    }
    product_floats("losses", loss, t.bad ? 0 : STEPS);
    product_floats("trained", t.values, t.bad ? 0 : t.info.values);
    if (!t.bad)
        atomdl_state_average(gradient, t.values, &state, &t.arch, &plan);
    product_floats("averaged", gradient, t.bad ? 0 : t.info.values);
    product("training_peak", peak, (long)peak);
    product("training_memory", others + peak, (long)(others + peak));
}

/* ---------- Samples of a recipe ------------------------------------------- */

static atomdl_recipe recipe;

static void samples(void)
{
    static const char TEXT[] =
        "seed = 9\nsize = 24\npixel = 0.15..0.2\nscan = 50% 0.14\n"
        "material = graphene:3 mos2-2h-1\nscale = 0.95..1.05\n"
        "distortion = normal 0 0.1\nboundary = 50% 6..54\n"
        "defects = si-c3 vx1\ncount = poisson 1.5\nalloy = Mo W 0.3\n"
        "clouds = 30% 1\ngaussian = 0.5\ndefocus = normal 0 20\n"
        "drift = -0.5..0.5\njitter = 0.05\nbackground = 0..1\n"
        "density = log 0.01..0.1 ^0.6\nread_share = 0.3\nwarp = 50% 1\n"
        "class = background\nclass = any atom any 0.45\nnetwork = fcn 4\n"
        "gain = choice 0.8 1 1.2\n";
    static const char *const NAME[] = {"sample_0", "sample_1", "sample_2",
                                       "sample_3"};
    enum { N = 4, PIXELS = 24 * 24 };
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    uint64_t labels = ATOMDL_DIGEST;
    size_t peak = 0;
    a.base = memory;
    int bad = atomdl_recipe_parse(&recipe, NULL, TEXT, sizeof TEXT - 1);
    product("recipe", atomdl_recipe_digest(&recipe), (long)sizeof TEXT - 1);
    atomdl_source source;
    bad |= atomdl_source_new(&source, &recipe, NULL, 0, &a);
    size_t used = a.used;
    atomdl_sample s;
    for (int i = 0; i < N && !bad; i++) {
        a.used = a.peak = used;
        bad = atomdl_sample_new(&s, &source, (uint64_t)i, 0, &a);
        if (bad) break;
        labels = atomdl_digest_bytes(labels, s.label, PIXELS);
        product_floats(NAME[i], s.image.px, PIXELS);
        peak += a.peak - used;
    }
    product("sample_labels", bad ? 0 : labels, (long)N * PIXELS);
    product("sample_memory", peak, (long)peak);
}

/* ---------- Movies -------------------------------------------------------- */

enum { POINTS = 90, WIDTH = 16, FRAMES = 12 };

static atomdl_arena movie_arena(void)
{
    atomdl_arena arena = {NULL, 0, 0, 0, 0};
    arena.base = memory;
    arena.size = MEMORY;
    return arena;
}

/* POINTS walkers from frame to frame: links, displacements, drift */
static void movie_tracks(void)
{
    static const double SQUARE[4] = {9.5, 0, 1.5, 9.5};
    static const atomdl_drift_how how = {{9.5, 0, 1.5, 9.5}, {0, 0}, 1};
    atomdl_arena arena = movie_arena();
    atomdl_rng rng = atomdl_rng_seed(31);
    double *xy = atomdl_alloc(&arena, 2 * POINTS, sizeof *xy);
    double *old = atomdl_alloc(&arena, 2 * POINTS, sizeof *old);
    uint32_t *track = atomdl_alloc(&arena, POINTS, sizeof *track);
    uint64_t h = ATOMDL_DIGEST, k = ATOMDL_DIGEST;
    atomdl_tracker t;
    static atomdl_msd msd;
    static atomdl_hops hops;
    if (atomdl_tracker_new(&t, POINTS, 2, 6, &arena)) return;
    for (int i = 0; i < 2 * POINTS; i++)
        xy[i] = 100 * atomdl_rng_uniform64(&rng);
    uint32_t frame[FRAMES];
    atomdl_drift drift;
    for (int f = 0; f < FRAMES; f++) {
        memcpy(old, xy, 2 * POINTS * sizeof *old);
        for (int i = 0; i < 2 * POINTS; i++)
            xy[i] = xy[i] + 3 * atomdl_rng_uniform64(&rng) - 1.4;
        atomdl_tracker_step(&t, track, xy, POINTS - f, NULL);
        h = atomdl_digest_u32(h, track, (size_t)(POINTS - f));
        frame[f] = (uint32_t)f;
        atomdl_marks a = {{old, POINTS, 2}, {old, 20, 2}, {0, 0, 0, NULL}};
        atomdl_marks b = {{xy, POINTS, 2}, {xy, 20, 2}, {0, 0, 0, NULL}};
        atomdl_drift_find(&drift, &a, &b, &how, &arena);
        k = atomdl_digest_f64(k, drift.m, 4);
        k = atomdl_digest_f64(k, drift.shift, 2);
        k = atomdl_digest_f64(k, &drift.rms, 1);
    }
    product("movie_tracks", h, FRAMES);
    product("movie_drift", k, FRAMES);
    for (int i = 0; i + 2 * FRAMES <= 2 * POINTS; i += 2 * FRAMES) {
        atomdl_msd_add(&msd, frame, xy + i, FRAMES, 8);
        atomdl_hops_add(&hops, frame, xy + i, FRAMES, SQUARE);
    }
    atomdl_hop_rate rate = atomdl_hops_rate(&hops, SQUARE);
    h = atomdl_digest_f64(ATOMDL_DIGEST, msd.sum, 8);
    h = atomdl_digest_f64(h, &rate.diffusion, 1);
    product("movie_motion", h, 9);
}

/* the defects of a random image, its shift against its mirror image; x: room
   for it */
static void movie_fourier(float *x, const atomdl_image *image,
                          atomdl_arena *arena)
{
    static const atomdl_subtraction how = {0.1, 0.2, 0, 0, 1.5};
    uint8_t *label = (uint8_t *)(x + 64 * 64);
    size_t mark = arena->used;
    atomdl_image other = {0, 0, 0, NULL};
    if (atomdl_first_frame(label, x, image, 0, &how, arena)
        || atomdl_image_new(&other, 64, 64, 1, arena))
        return;
    uint64_t h = atomdl_digest_f32(ATOMDL_DIGEST, x, 64 * 64);
    h = atomdl_digest_bytes(h, label, 64 * 64);
    for (int i = 0; i < 64 * 64; i++) other.px[i] = image->px[64 * 64 - 1 - i];
    double shift[3];
    static const atomdl_phase_how where = {0, {0, 0}, 9};
    atomdl_phase_shift(shift, shift + 2, image, &other, &where, arena);
    arena->used = mark;
    product("movie_fourier", atomdl_digest_f64(h, shift, 3), 8195);
}

/* POINTS sub-images of one random image: components and classes */
static void movie_classes(void)
{
    atomdl_arena arena = movie_arena();
    atomdl_rng rng = atomdl_rng_seed(32);
    atomdl_cutting how = {WIDTH, ATOMDL_CUBIC, 0.2, 6, 1};
    atomdl_image image = {0, 0, 0, NULL};
    float *x = atomdl_alloc(&arena, POINTS * WIDTH * WIDTH, sizeof *x);
    double *xy = atomdl_alloc(&arena, 2 * POINTS, sizeof *xy);
    double *y = atomdl_alloc(&arena, POINTS * 8, sizeof *y);
    double *p = atomdl_alloc(&arena, POINTS * 3, sizeof *p);
    int *label = atomdl_alloc(&arena, POINTS, sizeof *label);
    uint8_t *op = atomdl_alloc(&arena, POINTS, 1);
    atomdl_merge *merge = atomdl_alloc(&arena, POINTS, padded(sizeof *merge));
    if (atomdl_image_new(&image, 64, 64, 1, &arena)) return;
    atomdl_rng_normal(&rng, image.px, 64 * 64);
    int i;
    for (i = 0; i < 2 * POINTS; i++) xy[i] = 63 * atomdl_rng_uniform64(&rng);
    atomdl_cut(x, &image, 0, xy, POINTS, NULL, &how);
    atomdl_orient(op, x, POINTS, &how, 2, &arena);
    atomdl_cut(x, &image, 0, xy, POINTS, op, &how);
    product_floats("movie_cut", x, POINTS * WIDTH * WIDTH);
    movie_fourier(x, &image, &arena);
    atomdl_cut(x, &image, 0, xy, POINTS, op, &how);
    atomdl_pca pca;
    if (atomdl_pca_fit(&pca, x, POINTS, WIDTH * WIDTH,
                       &(atomdl_pca_how){1, 8, kernels}, &arena)) return;
    uint64_t h = atomdl_digest_f64(ATOMDL_DIGEST, pca.value, 8);
    h = atomdl_digest_f64(h, pca.vector, 8 * WIDTH * WIDTH);
    if (atomdl_pca_fit(&pca, x, 2 * POINTS, WIDTH * WIDTH / 4,
                       &(atomdl_pca_how){1, 8, kernels}, &arena))
        return;
    h = atomdl_digest_f64(h, pca.vector, 8 * WIDTH * WIDTH / 4);
    product("movie_pca", h, 10 * WIDTH * WIDTH + 8);
    atomdl_pca_project(y, &pca, x, POINTS, &arena);
    double centre[24], inertia;
    atomdl_kmeans(label, centre, &inertia, ROWS(y, POINTS, 8),
                  &(atomdl_kmeans_how){3, 3, rng, kernels}, &arena);
    h = atomdl_digest_f64(ATOMDL_DIGEST, centre, 24);
    atomdl_gmm gmm;
    for (i = 0; i < 2; i++) {
        atomdl_gmm_fit(&gmm, ROWS(y, POINTS, 8), label,
                       &(atomdl_gmm_how){3, i, 1e-6, 0, 5}, &arena);
        atomdl_gmm_classify(NULL, p, NULL, &gmm, ROWS(y, POINTS, gmm.d),
                            &arena);
        h = atomdl_digest_f64(h, p, POINTS * 3);
        h = atomdl_digest_f64(h, &gmm.bic, 1);
    }
    product("movie_gmm", h, 6 * POINTS + 26);
    atomdl_ward(merge, ROWS(y, POINTS, 8), kernels, &arena);
    for (i = 0, h = ATOMDL_DIGEST; i < POINTS - 1; i++) {
        h = atomdl_digest_u32(h, &merge[i].a, 1);
        h = atomdl_digest_u32(h, &merge[i].b, 1);
        h = atomdl_digest_f64(h, &merge[i].height, 1);
    }
    product("movie_ward", h, 3 * (POINTS - 1));
    product("movie_peak", arena.peak, (long)arena.peak);
}

/* a hidden chain learned, decoded and counted; a rotor */
static void movie_chains(void)
{
    enum { LENGTH = 200, STATES = 3 };
    atomdl_arena arena = movie_arena();
    atomdl_rng rng = atomdl_rng_seed(33);
    double *logb = atomdl_alloc(&arena, LENGTH * STATES, sizeof *logb);
    double *sure = atomdl_alloc(&arena, LENGTH * STATES, sizeof *sure);
    int32_t *path = atomdl_alloc(&arena, LENGTH, sizeof *path);
    /* exp(1.5 Q) of the rates 0.3 + 0.2 i + 0.1 j */
    static const double P[STATES][STATES] = {
        {0x1.da17ffd49e41p-2, 0x1.1c019891b9553p-2, 0x1.09e66799a869ep-2},
        {0x1.6099772b01a1dp-2, 0x1.7fe9ce1fe6fafp-2, 0x1.1f7cbab517635p-2},
        {0x1.762fca46709b4p-2, 0x1.472e3ec897482p-2, 0x1.42a1f6f0f81cap-2}};
    static atomdl_counts counts;
    static atomdl_markov markov;
    static atomdl_hmm hmm;
    uint64_t h = ATOMDL_DIGEST;
    int length[2] = {LENGTH / 4, LENGTH - LENGTH / 4};
    for (int i = 0; i < STATES; i++) {
        memcpy(hmm.p[i], P[i], sizeof P[i]);
        hmm.start[i] = i ? 0.25 : 0.5;
    }
    hmm.states = counts.states = STATES;
    for (int i = 0; i < LENGTH * STATES; i++)
        logb[i] = -4 * atomdl_rng_uniform64(&rng);
    double xy[6];
    atomdl_traces traces = {logb, length, 2};
    atomdl_learning learning = {NULL, 0, 4};
    atomdl_hmm_learn(&hmm, &xy[0], &traces, &learning, &arena);
    atomdl_hmm_viterbi(path, &xy[1], &hmm, &traces, &arena);
    atomdl_hmm_posterior(sure, &xy[2], &hmm, &traces, &arena);
    for (int i = 0; i < STATES; i++) h = atomdl_digest_f64(h, hmm.p[i], STATES);
    h = atomdl_digest_f64(h, xy, 3);
    h = atomdl_digest_f64(h, sure, LENGTH * STATES);
    product("movie_hmm", h, LENGTH * STATES + STATES * STATES + 3);
    atomdl_counts_add(&counts, path, LENGTH);
    atomdl_markov_solve(&markov, &counts, 0.5, NULL);
    h = atomdl_digest_f64(ATOMDL_DIGEST, markov.stationary, STATES);
    h = atomdl_digest_f64(h, markov.lifetime_sd, STATES);
    h = atomdl_digest_f64(h, &markov.p_markov, 1);
    atomdl_rotor rotor;
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 6; j++) xy[j] = atomdl_rng_uniform64(&rng);
        atomdl_rotor_measure(&rotor, xy, 3, 3, NULL);
        h = atomdl_digest_f64(h, &rotor.phi, 1);
        h = atomdl_digest_f64(h, rotor.angle, 3);
    }
    product("movie_markov", h, 87);
}

/* ---------- Blobs and graphs ---------------------------------------------- */

static void product_blobs(const char *name, const atomdl_blob *b, int n)
{
    uint64_t h = ATOMDL_DIGEST;
    for (int i = 0; i < n; i++) {
        double v[5];
        v[0] = b[i].x, v[1] = b[i].y, v[2] = b[i].sigma, v[3] = b[i].value;
        v[4] = b[i].error + 2 * b[i].border + 4 * b[i].fitted;
        h = atomdl_digest_f64(h, v, 5);
    }
    product(name, h, n);
}

static void blobs(void)
{
    enum { W = 40, H = 30, MOST = 64 };
    static const double XY[] = {8.2, 7.4, 15.1, 9.3, 30.3, 20.8, 2.2, 27.9};
    atomdl_scales how = {1, 3, 3, 0.08, 0, 0.5, 0, 1, NULL};
    atomdl_peaks_plan plan = {0.8, 3, 0.3};
    atomdl_refinement fit = {ATOMDL_FIT_GAUSSIAN, 5, 1.8, 3, 4, 1};
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_image image = {W, H, 1, NULL};
    atomdl_rng r = atomdl_rng_seed(21);
    a.base = memory;
    image.px = atomdl_alloc(&a, W * H, sizeof *image.px);
    atomdl_blob *b = atomdl_alloc(&a, MOST, sizeof *b);
    for (int i = 0; i < W * H; i++) {
        double v = 0.3 * atomdl_rng_uniform64(&r);
        for (int k = 0; k < 4; k++) {
            double dx = i % W - XY[2 * k], dy = i / W - XY[2 * k + 1];
            v += atomdl_exp(-(dx * dx + dy * dy) / 6);
        }
        image.px[i] = (float)v;
    }
    int n;
    how.kernels = kernels;
    int bad = atomdl_blobs(b, &n, MOST, &image, 0, &how, &a);
    product_blobs("blobs", b, bad ? 0 : n);
    bad = atomdl_peaks(b, &n, MOST, &image, 0, &plan, &a);
    product_blobs("peaks", b, bad ? 0 : n);
    bad |= atomdl_refine(b, n, NULL, &image, 0, &fit, &a);
    product_blobs("gaussian_fit", b, bad ? 0 : n);
    fit.method = ATOMDL_FIT_CENTROID;
    fit.radius = 0;
    bad |= atomdl_refine(b, n, NULL, &image, 0, &fit, &a);
    product_blobs("centroid", b, bad ? 0 : n);
}

/* a lattice of 4 to 5 pixels in noise */
static void sampling(void)
{
    enum { W = 60, H = 64 };
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_image image = {W, H, 1, NULL};
    atomdl_rng r = atomdl_rng_seed(23);
    a.base = memory;
    image.px = atomdl_alloc(&a, W * H, sizeof *image.px);
    atomdl_rng_normal(&r, image.px, W * H);
    for (int i = 0; i < W * H; i++) {
        float x = (float)(i % W) * 1.41f, y = (float)(i / W) * 1.41f;
        image.px[i] = image.px[i] + atomdl_cosf(x)
                      + atomdl_cosf(0.5f * x + 0.87f * y)
                      + atomdl_cosf(0.5f * x - 0.87f * y);
    }
    atomdl_sampling s;
    int bad = atomdl_sampling_find(&s, &image, 0, 2.46, 0, 0, &a);
    double v[5];
    v[0] = s.pixel, v[1] = s.x, v[2] = s.y, v[3] = s.shear, v[4] = s.confidence;
    product("sampling", atomdl_digest_f64(ATOMDL_DIGEST, v, 5),
            bad ? 0 : s.reflections);
}

static uint64_t digest_found(uint64_t h, const atomdl_found *f)
{
    double v[8];
    v[0] = f->kind + 256 * f->site, v[1] = f->dopants + 256 * f->shell;
    v[2] = f->x, v[3] = f->y, v[4] = f->length, v[5] = f->angle;
    v[6] = f->angle_sd, v[7] = f->site_margin;
    return atomdl_digest_f64(h, v, 8);
}

/* A jittered sheet: a Si on a site, a vacancy. */
static void graphs(void)
{
    enum { MOST = 160, SIDES = 8 };
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_rng r = atomdl_rng_seed(22);
    uint64_t h = ATOMDL_DIGEST;
    int n = 0, count = 0;
    a.base = memory;
    atomdl_node *node = atomdl_alloc(&a, MOST, sizeof *node);
    atomdl_found *found = atomdl_alloc(&a, 8, sizeof *found);
    int i;
    memset(node, 0, MOST * sizeof *node);
    for (i = 0; i < 2 * SIDES * SIDES; i++) {
        int x = i / 2 % SIDES, y = i / 2 / SIDES;
        node[n].x = 2.46 * (x + 0.5 * (y & 1))
                    + 0.08 * atomdl_rng_uniform64(&r);
        node[n].y = 1.42 * (1.5 * y + i % 2)
                    + 0.08 * atomdl_rng_uniform64(&r);
        node[n].score = 0.9;
        node[n].error = 0.05;
        node[n].z = (uint8_t)(i == 42 ? 14 : 6);
        node[n].count = 1;
        if (i != 86) n++;
    }
    atomdl_graph g;
    int bad = atomdl_graph_new(&g, node, n, atomdl_chemistry_find("graphene"),
                               NULL, 0, &a)
              || atomdl_found_list(found, &count, 8, &g, &a);
    for (i = 0; i < g.bonds && !bad; i++)
        h = atomdl_digest_f64(h, &g.bond[i].length, 1);
    product("bonds", h, bad ? 0 : g.bonds);
    for (i = 0, h = ATOMDL_DIGEST; i < g.rings && !bad; i++)
        h = atomdl_digest_f64(h, &g.ring[i].area, 1);
    product("rings", h, bad ? 0 : g.rings);
    for (i = 0, h = ATOMDL_DIGEST; i < count && !bad; i++)
        h = digest_found(h, &found[i]);
    product("found", h, bad ? 0 : count);
}

/* Discs on noise; columns of two sublattices in four classes. */
static void intensities(void)
{
    enum { EDGE = 32, MOST = 120 };
    atomdl_arena a = {NULL, MEMORY, 0, 0, 0};
    atomdl_image image = {EDGE, EDGE, 1, NULL};
    atomdl_rng r = atomdl_rng_seed(24);
    a.base = memory;
    image.px = atomdl_alloc(&a, EDGE * EDGE, sizeof *image.px);
    atomdl_node *node = atomdl_alloc(&a, MOST, sizeof *node);
    double *value = atomdl_alloc(&a, MOST, sizeof *value);
    atomdl_rng_normal(&r, image.px, EDGE * EDGE);
    memset(node, 0, MOST * sizeof *node);
    for (int i = 0; i < MOST; i++) {
        node[i].x = 7 * atomdl_rng_uniform64(&r);
        node[i].y = 8 * atomdl_rng_uniform64(&r);
    }
    static const double PIXEL[2] = {0.2, 0.23};
    static const double LEVEL[] = {0.4, 0.65, 1};
    int bad = atomdl_intensity(value, node, MOST, &image, 0, PIXEL, 0.95);
    uint64_t h = atomdl_digest_f64(ATOMDL_DIGEST, value, MOST);
    double hollow[MOST];
    for (int i = 0; i < MOST; i++) {
        hollow[i] = 0.5 + 0.05 * value[MOST - 1 - i];
        value[i] = 0.2 * value[i] + LEVEL[i % 14 == 1 ? 1 : i % 30 > 1 ? 2 : 0];
    }
    atomdl_mixture m;
    bad |= atomdl_mixture_fit(&m, value, hollow, MOST);
    double v[] = {m.sd, m.hollow, m.share, m.one, m.one_error, m.hidden,
                  m.mean_log};
    h = atomdl_digest_f64(h, v, 7);
    h = atomdl_digest_f64(h, m.mean, ATOMDL_LEVELS);
    h = atomdl_digest_f64(h, m.weight, ATOMDL_LEVELS);
    double p[ATOMDL_LEVELS];
    for (int i = 0; i < MOST && !bad; i++) {
        atomdl_mixture_posterior(p, &m, value[i], hollow[i]);
        h = atomdl_digest_f64(h, p, ATOMDL_LEVELS);
    }
    product("intensity", h, bad ? 0 : MOST);
}

/* ---------- The whole chain ----------------------------------------------- */

/* what `atomdl verify` prints: see CHAIN_DIGEST */
static void whole_chain(void)
{
    uint64_t stage[CHAIN_STAGES];
    int bad = chain_run(stage, memory, kernels);
    product("chain", chain_digest(stage), bad ? 0 : CHAIN_STAGES);
}

/* ---------- Which kernels ran ---------------------------------------------

   The library of a build with ATOMDL_TRACE tells of each kernel that runs. */

#ifdef ATOMDL_TRACE
static const char *const KERNEL[] = {
    "exp", "log", "conv", "tiles_in", "tiles_out", "maxpool", "twice",
    "softmax",
#ifndef ATOMDL_NO_TRAIN
    "wgrad", "trees", "scatter",
#endif
    "down", "along", "promising", "product", "reflect", "distance"};
enum { KERNELS = sizeof KERNEL / sizeof *KERNEL };
static char chosen_ran[KERNELS], another_ran[KERNELS + 1];

void atomdl_trace(const char *isa, const char *kernel)
{
    int i = 0;
    if (!kernels) return; /* the self-test compares them all */
    while (i < KERNELS && strcmp(kernel, KERNEL[i]) != 0) i++;
    if (i < KERNELS && !strcmp(isa, kernels->name)) chosen_ran[i] = 1;
    else another_ran[i] = 1; /* or a kernel that the list lacks */
}

/* how many kernels did not run by the chosen instruction set alone */
static int strays(void)
{
    int n = another_ran[KERNELS];
    for (int i = 0; i < KERNELS; i++) {
        if (chosen_ran[i] && !another_ran[i]) continue;
        fprintf(stderr, "bits: %s %s by %s\n", KERNEL[i],
                chosen_ran[i] ? "ran not only" : "did not run", kernels->name);
        n++;
    }
    return n;
}
#else
static int strays(void) { return 0; }
#endif

/* ---------- Main ---------------------------------------------------------- */

/* Spoils the float state as a careless caller would; 0: not possible here. */
static int spoil(const char *how)
{
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef BITS_FENV
    if (!strcmp(how, "--round-up")) return fesetround(FE_UPWARD) == 0;
#if defined __x86_64__ || defined __i386__
    if (!strcmp(how, "--ftz")) return _mm_setcsr(_mm_getcsr() | 0x8040), 1;
#elif defined __aarch64__
    if (!strcmp(how, "--ftz")) {
        uint64_t fpcr;
        __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
        __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | 1u << 24));
        return 1;
    }
#elif defined __arm__ && defined __ARM_FP
    if (!strcmp(how, "--ftz")) {
        uint32_t fpscr;
        __asm__ volatile("vmrs %0, fpscr" : "=r"(fpscr));
        __asm__ volatile("vmsr fpscr, %0" : : "r"(fpscr | 1u << 24));
        return 1;
    }
#endif
#endif
    (void)how;
    return 0;
}

int main(int argc, char **argv)
{
    const char *isa = getenv("ATOMDL_ISA");
    if (argc > 1 && !spoil(argv[1])) {
        printf("cannot do %s here\n", argv[1]);
        return 2;
    }
    const char *why;
    if (atomdl_selftest(&why) != ATOMDL_OK) {
        printf("refused: %s\n", why);
        return 3;
    }
    kernels = atomdl_kernels_find(isa);
    if (!kernels) {
        printf("no kernels named %s here\n", isa);
        return 4;
    }
    operations();
    operations64();
    mathematics();
    reductions();
    random_numbers();
    sorting();
    images();
    structures();
    movies();
    transforms();
    imaging();
    columns();
    waves();
    samples();
    use_networks();
    gradient();
    training();
    blobs();
    sampling();
    graphs();
    intensities();
    movie_tracks();
    movie_classes();
    movie_chains();
    whole_chain();
    char text[17];
    hex(text, total);
    printf("all %s %ld\n", text, lines);
    return strays() ? 5 : 0;
}
