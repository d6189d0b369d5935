/* SPDX-License-Identifier: MIT
   AtomDL - deep learning of atomically resolved electron-microscope images.

   Finds atoms in scanning transmission electron microscope (STEM) images with
   small convolutional networks that it trains on images it simulates itself.
   C99, no dependencies, and the same bits on every machine.

   The atoms of an image, by the bytes of a weight file (size of them):

       static double memory[1 << 25]; // how much: see Memory, below
       static atomdl_finder finder;   // a network and what its classes mean
       static atomdl_findings found;
       atomdl_arena arena = {(unsigned char *)memory, sizeof memory, 0, 0, 0};
       atomdl_image image = {512, 512, 1, pixels}; // floats, row by row
       atomdl_find_how how = {.pixel_x = 0.12, .pixel_y = 0.12}; // A
       const char *why;

       if (atomdl_selftest(&why) != ATOMDL_OK) return refuse(why);
       if (atomdl_finder_open(&finder, file, size,
                              atomdl_chemistry_find("graphene"), 14, &arena))
           return refuse(atomdl_note_text(finder.why.code));
       if (atomdl_find(&found, &image, &finder, &how, &arena))
           return refuse(atomdl_note_text(found.why.code));
       for (int i = 0; i < found.atoms; i++)
           use(found.node[i].x, found.node[i].y, found.node[i].z); // A, A, Z

   To use it, copy atomdl.h, atomdl.c and graph.c into your project; a network
   alone needs atomdl.c, simulation sim.c, frames movie.c and graph.c.

   Where to read on, by what you want:
       find      Finding atoms; then Graph, for what is found
       follow    Movies: films, what all frames say
       simulate  Simulation: recipes, samples
       train     Networks: description; Training; Weight files
       build on  everything else, from arithmetic to Markov chains
   The promise, Status and Memory come first: they hold for all. */
#ifndef ATOMDL_H
#define ATOMDL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------- The promise ---------------------------------------------------

   Same inputs, same bits: for every compiler, optimisation level, instruction
   set, thread count, byte order and platform; or a refusal (ATOMDL_EFLOAT).
   All that fixes the bits is written here, once, and numbered by
   ATOMDL_NUMERICS; a change to any of it raises that number.

   1. Arithmetic is IEEE 754 binary32 and binary64, round to nearest even,
      subnormal numbers kept. Every product is rounded before it is added:
      no fused multiply-add, no reassociation, no reciprocal instead of a
      quotient. max(a, b) is a > b ? a : b, so max(-0, +0) is +0.
   2. atomdl_expf, logf, sinf, cosf are correctly rounded for all 2^32
      arguments: mathematics defines them, not this code. The binary64
      functions are fixed sequences of + - * / (errors below). sqrt is IEEE's.
      From the C library nothing is used but memcpy, memset, memmove and sqrt
      (ATOMDL_SOFT_SQRT replaces sqrt by integer arithmetic, equal bits).
   3. A reduction has 16 lanes: element i goes to lane i mod 16, each lane
      adds its elements in rising order starting from +0, and the lanes are
      added as a tree: lane i += lane i + s for s = 8, 4, 2, 1.
   4. Random numbers are Philox4x32-10, counter-based. A stream is a 64-bit
      key and the upper 64 bits of the counter; words are taken in order.
      split: the block of (id, upper half of the parent's counter) under the
      parent's key with its first word complemented; words 0, 1 are the new
      key, 2, 3 the upper counter. uniform64: the first word is the upper.
      below: word * n, upper half, drawn again while the lower half is less
      than 2^32 mod n. Poisson: one uniform64, or per attempt one uniform64
      and one word.
   5. Sorting is a stable merge sort: equal keys stay in order of index.
   6. Images are sampled at pixel centres, which lie at integers. Filter taps
      are added in rising order of the tap, columns first, then rows; weights
      are computed in binary64 and rounded once to binary32. Normalisation
      computes in binary64 and rounds each pixel once.
   7. A digest is FNV-1a (64 bit) over the little-endian bytes of values;
      every NaN counts as 0x7fc00000 (binary32). Memory layout plays no part.
   8. A convolution adds its products to the bias by ky, kx, ci rising; a
      transposed one without those of the zeros between inputs, and in the
      gradient of its weights pixel x of every second is element x / 2. But one
      of 3 x 3, stride 1, dilation 1 and at least 16 channels in and out, in a
      network of at least 32768 values, makes 2 x 2 outputs at once from the
      4 x 4 inputs d under them (Winograd's F(2x2, 3x3)), and so does its input
      gradient, with filters turned half round: A' (sum of (G g G') * (B' d B))
      A, place by place. B' x is x0 - x2, x1 + x2, x2 - x1, x1 - x3; G x is x0,
      ((x0 + x2) + x1)/2, ((x0 + x2) - x1)/2, x2; A' x is (x0 + x1) + x2,
      (x1 - x2) - x3; columns first, then rows. Tiles begin at even rows and
      columns; zeros around the image are inputs like any. A place's sum begins
      with +0, that of (1, 1) with the bias, and goes by channels rising.

   What can break it: -ffast-math, -Ofast, x87, flush-to-zero, a changed
   rounding mode. All of these are detected and refused, by #error or by
   atomdl_selftest(). */

#define ATOMDL_NUMERICS 2

/* Of the interface: what a program compiles against. */
#define ATOMDL_VERSION "0.2.0"

/* ---------- Configuration -------------------------------------------------

   Define before compiling atomdl.c, all optional:
   ATOMDL_NO_SIMD    leave out the vector kernels (plain C only)
   ATOMDL_WIDE       AVX2 and AVX-512 with gcc for Windows too, which then wants
                     -Wa,-muse-unaligned-vector-move as well
   ATOMDL_NO_TEXT    leave out the texts of atomdl_strerror and selftest
   ATOMDL_NO_TRAIN   leave out training, its metrics and the writing of weight
                     files and of networks' texts
   ATOMDL_NO_FFT     leave out the Fourier transform (sim.c, graph.c and
                     movie.c need it)
   ATOMDL_SOFT_SQRT  square roots in integer arithmetic, no <math.h>
   ATOMDL_API        a prefix for every function, such as an export mark */

#ifndef ATOMDL_API
#define ATOMDL_API
#endif

/* ---------- Status --------------------------------------------------------

   Functions that can fail return ATOMDL_OK or a negative status. */

enum {
    ATOMDL_OK = 0,
    ATOMDL_EARG = -1,   /* an argument is out of its range */
    ATOMDL_ESHAPE = -2, /* sizes do not fit one another */
    ATOMDL_EMEM = -3,   /* the arena is too small */
    ATOMDL_EFLOAT = -4, /* this float environment would give other bits */
    ATOMDL_ENAN = -5,   /* data hold a NaN or an infinity */
    ATOMDL_EFILE = -6,  /* malformed bytes */
    ATOMDL_EMISSING = -7 /* a tensor is not in the file */
};

/* A text for a status; never NULL, lives for ever. */
ATOMDL_API const char *atomdl_strerror(int status);

/* Tests, at run time, that this build on this machine, in the caller's float
   environment, computes as promised: probes for contraction, extra precision,
   flush-to-zero, rounding mode and reassociation, then known answers of the
   mathematics and of the random numbers. Takes about 20 microseconds.
   Returns ATOMDL_OK or ATOMDL_EFLOAT; why (may be NULL) gets the reason and
   its remedy, or "" when all is well. Call it once at start; functions that
   return a status repeat a short form of it. */
ATOMDL_API int atomdl_selftest(const char **why);

/* ---------- Memory --------------------------------------------------------

   The library never allocates. Whatever needs memory takes it from an arena
   that the caller provides. With base NULL the arena only measures: every
   request succeeds and returns NULL, and peak says what a real one needs.
   Requests are aligned to 64 bytes on every platform and the first one counts
   63 bytes for aligning base, so that peak is the same number everywhere.
   Save and restore `used` to free in scopes. */

typedef struct {
    unsigned char *base; /* the caller's bytes; NULL: measure only */
    size_t size;         /* how many; not read when measuring */
    size_t used, peak;   /* bytes in use now, and at most so far */
    int failed;          /* sticky: 1 after a request did not fit */
} atomdl_arena;

enum { ATOMDL_ALIGN = 64 };

/* count items of size bytes, not cleared; NULL when measuring or when this
   request does not fit, a product beyond size_t included. */
ATOMDL_API void *atomdl_alloc(atomdl_arena *arena, size_t count, size_t size);

/* ATOMDL_EMEM when a request did not fit, else ATOMDL_OK. */
ATOMDL_API int atomdl_arena_status(const atomdl_arena *arena);

/* ---------- Bytes and digests ---------------------------------------------

   Files are little-endian, byte by byte, whatever the machine. */

ATOMDL_API uint16_t atomdl_load16(const unsigned char *p);
ATOMDL_API uint32_t atomdl_load32(const unsigned char *p);
ATOMDL_API uint64_t atomdl_load64(const unsigned char *p);
ATOMDL_API float atomdl_loadf(const unsigned char *p);
ATOMDL_API void atomdl_store16(unsigned char *p, uint16_t v);
ATOMDL_API void atomdl_store32(unsigned char *p, uint32_t v);
ATOMDL_API void atomdl_store64(unsigned char *p, uint64_t v);
ATOMDL_API void atomdl_storef(unsigned char *p, float v);

/* The bits of a number, and back. */
ATOMDL_API uint32_t atomdl_bits(float x);
ATOMDL_API float atomdl_float(uint32_t bits);
ATOMDL_API uint64_t atomdl_bits64(double x);
ATOMDL_API double atomdl_double(uint64_t bits);

/* Extends digest h by n values; start with ATOMDL_DIGEST. */
#define ATOMDL_DIGEST 0xcbf29ce484222325u
ATOMDL_API uint64_t atomdl_digest_bytes(uint64_t h, const void *p, size_t n);
ATOMDL_API uint64_t atomdl_digest_u32(uint64_t h, const uint32_t *v, size_t n);
ATOMDL_API uint64_t atomdl_digest_f32(uint64_t h, const float *v, size_t n);
ATOMDL_API uint64_t atomdl_digest_f64(uint64_t h, const double *v, size_t n);

/* ---------- Mathematics ---------------------------------------------------

   Special values as C99 annex F has them; a NaN result is always the quiet
   NaN 0x7fc00000 (0x7ff8000000000000). No errno, no exceptions promised. */

/* Correctly rounded for every argument. Angles in radians. */
ATOMDL_API float atomdl_expf(float x);
ATOMDL_API float atomdl_logf(float x);
ATOMDL_API float atomdl_sinf(float x);
ATOMDL_API float atomdl_cosf(float x);
ATOMDL_API float atomdl_sqrtf(float x);

/* Binary64, at most 1 ulp from the exact value, erf 2, on the dense grids of
   tests/test_math.c, which prints the greatest errors. sin and cos hold for
   every finite argument. */
ATOMDL_API double atomdl_exp(double x);
ATOMDL_API double atomdl_log(double x);
ATOMDL_API double atomdl_sin(double x);
ATOMDL_API double atomdl_cos(double x);
ATOMDL_API double atomdl_atan2(double y, double x);
ATOMDL_API double atomdl_erf(double x);
ATOMDL_API double atomdl_pow(double x, double y);
ATOMDL_API double atomdl_sqrt(double x);
ATOMDL_API double atomdl_floor(double x);

/* Dot product and greatest absolute value of n floats, 16 lanes and tree
   (promise 3). n = 0 gives +0. */
ATOMDL_API float atomdl_dot(const float *x, const float *y, size_t n);
ATOMDL_API float atomdl_absmax(const float *x, size_t n);

/* ---------- Kernels -------------------------------------------------------

   The few loops that decide speed, once per instruction set. Every variant
   gives the bits of the plain C one; the tests compare them all. */

struct atomdl_conv; /* these two are atomdl.c's own */
struct atomdl_tile;

/* Two rows p, q (2n) of the input of a max pooling and the rows up, down (2n)
   of its gradient, which a gradient g of the output goes to: to the first
   greatest of each 2 x 2, in reading order. Where that is not above 0, relu
   lets nothing pass, else it is g slope. */
typedef struct {
    const float *p, *q;
    float *up, *down;
    int relu;
    float slope;
} atomdl_pooling;

typedef struct {
    const char *name; /* "plain", "sse2", "avx2", "avx512", "neon", "simd128" */
    int bits;         /* of its vectors: 0 (plain), 128, 256, 512; graph.c and
                         movie.c choose the kernels of their own by it */
    /* y[i] = atomdl_expf(x[i]); y may be x */
    void (*exp)(float *y, const float *x, size_t n);
    void (*log)(float *y, const float *x, size_t n); /* likewise */
    /* ny rows of a convolution, by row pointers */
    void (*conv)(const struct atomdl_conv *c, float *const *out,
                 const float *const *in, int ny);
    /* tiles of a convolution: v <- four rows in; rows out <- all of v */
    void (*tiles_in)(const struct atomdl_conv *c, float *v,
                     const float *const *in, int n, int pitch);
    void (*tiles_out)(const struct atomdl_conv *c, float *const *out, int rows,
                      int n, int pitch);
    /* o (n) <- the greatest of each 2 x 2 of a, b (2n) */
    void (*maxpool)(float *o, const float *a, const float *b, int n);
    void (*twice)(float *o, const float *x, int n); /* o (2n) <- each x twice */
    /* two classes' probabilities p, q (n) from logits a, b (n) */
    void (*softmax)(float *p, float *q, const float *a, const float *b, int n);
    /* these three are NULL with ATOMDL_NO_TRAIN: lanes of the gradient of a
       tile of weights; sum (n) <- trees of lanes (n, 16), n <= 24; the way
       back through a max pooling, g (n) */
    void (*wgrad)(const struct atomdl_conv *c, float *lanes,
                  const struct atomdl_tile *tile);
    void (*trees)(float *sum, const float *lanes, int n);
    void (*scatter)(const atomdl_pooling *pooling, const float *g, int n);
} atomdl_kernels;

/* Variant i of those that this processor can run, 0 = "plain", rising in
   speed; NULL past the end. Asks the processor anew at each call. */
ATOMDL_API const atomdl_kernels *atomdl_kernels_get(int i);

/* The variant of that name; NULL when absent. name NULL: the fastest. */
ATOMDL_API const atomdl_kernels *atomdl_kernels_find(const char *name);

/* ---------- Random numbers ------------------------------------------------

   Philox4x32-10 (Salmon et al., SC'11): a block of four words is a function
   of key and counter alone. A generator is a value: copy it to replay it. */

typedef struct {
    uint32_t key[2];
    uint32_t ctr[4]; /* block number (low, high), stream (low, high) */
    uint32_t out[4]; /* the block being handed out */
    uint32_t left;   /* words of it still to come, 0..4 */
} atomdl_rng;

/* out(4) = the Philox4x32-10 block of ctr(4) and key(2). */
ATOMDL_API void atomdl_philox(uint32_t out[4], const uint32_t ctr[4],
                              const uint32_t key[2]);

/* The root stream of a seed. */
ATOMDL_API atomdl_rng atomdl_rng_seed(uint64_t seed);

/* An independent stream, a pure function of parent's stream and id; how many
   numbers parent has handed out does not matter. Sample i of seed s is
   atomdl_rng_split(root(s), i), whoever draws it and in whatever order. */
ATOMDL_API atomdl_rng atomdl_rng_split(const atomdl_rng *parent, uint64_t id);

/* The next word, 0..2^32-1. */
ATOMDL_API uint32_t atomdl_rng_u32(atomdl_rng *rng);

/* Uniform in [0, 1): 24 random bits; 53 random bits (two words). */
ATOMDL_API float atomdl_rng_uniform(atomdl_rng *rng);
ATOMDL_API double atomdl_rng_uniform64(atomdl_rng *rng);

/* Uniform in 0..n-1 without bias (rejection); n = 0 gives 0. */
ATOMDL_API uint32_t atomdl_rng_below(atomdl_rng *rng, uint32_t n);

/* out(n): standard normal numbers, one word each: the normal quantile of
   (word + 1/2) / 2^32, fitted to 3e-8; hence |z| <= 6.34. */
ATOMDL_API void atomdl_rng_normal(atomdl_rng *rng, float *out, size_t n);

/* A Poisson number. Exact up to binary64 rounding: inversion below mean 10,
   transformed rejection above (Hoermann 1993). mean in [0, 1e9]; outside of
   that, or NaN, gives 0. In sim.c. */
ATOMDL_API uint32_t atomdl_rng_poisson(atomdl_rng *rng, double mean);

/* ---------- Sorting ------------------------------------------------------- */

/* order(n) = indices that sort key(n) into rising order, equal keys in order
   of index; -0 equals +0. scratch(n) is overwritten. NaN: ATOMDL_ENAN. */
ATOMDL_API int atomdl_sort(uint32_t *order, const double *key, size_t n,
                           uint32_t *scratch);

/* ---------- Elements ------------------------------------------------------ */

enum { ATOMDL_ELEMENTS = 118 };

/* Atomic number of a symbol such as "Mo" of the given length, 0: none. */
ATOMDL_API int atomdl_element(const char *symbol, size_t length);

/* symbol <- that of Z, 1..118; "X" for others. */
ATOMDL_API void atomdl_symbol(char symbol[3], int z);

/* ---------- Images --------------------------------------------------------

   c planes of h rows of w pixels: px[(plane * h + y) * w + x]. x points to
   the right, y down, pixel centres at integers. Pixels are finite: what comes
   from outside goes through atomdl_image_check first. */

typedef struct {
    int w, h, c; /* pixels, pixels, planes; each at least 1 */
    float *px;
} atomdl_image;

enum { ATOMDL_IMAGE_MAX = 1 << 20 }; /* greatest w, h */

/* Memory for an image, not cleared. */
ATOMDL_API int atomdl_image_new(atomdl_image *image, int w, int h, int c,
                                atomdl_arena *arena);

/* ATOMDL_OK when every pixel is finite, else ATOMDL_ENAN. */
ATOMDL_API int atomdl_image_check(const atomdl_image *image);

/* Fills dst (its w, h; same c) from src at offset (x0, y0), which may be
   negative; beyond src the nearest edge is reflected (d c b a | a b c d). */
ATOMDL_API int atomdl_image_crop(atomdl_image *dst, const atomdl_image *src,
                                 int x0, int y0);

/* Resizes src to the size of dst, each axis by itself: shrinking averages the
   covered area (METHOD A.1), enlarging is cubic convolution (Keys, a = -1/2)
   with clamped edges. Output pixel i lies at (i + 1/2) s - 1/2, s = ratio of
   sizes. Scratch comes from arena and is given back; measure it as ever. */
ATOMDL_API int atomdl_image_resize(atomdl_image *dst, const atomdl_image *src,
                                   atomdl_arena *arena);

enum { /* how atomdl_image_normalise scales, all planes together */
    ATOMDL_NORM_MINMAX,     /* least -> 0, greatest -> 1 */
    ATOMDL_NORM_STD,        /* mean -> 0, standard deviation -> 1 */
    ATOMDL_NORM_PERCENTILE, /* 2 (x - p50)/(p90 - p10), clipped to [-6, 30] */
    ATOMDL_NORM_LEVEL,      /* x / p90, clipped to [-6, 30]: 0 stays 0 */
    ATOMDL_NORM_COUNT
};

/* Scales in place. Where there is no spread (a constant image, p10 = p90;
   p90 <= 0 for the level) all becomes 0. NaN, infinity: ATOMDL_ENAN, image
   untouched. The level keeps what lies between the columns apart from what
   lies on all of them (METHOD F.3): for files whose 0 is the dark detector. */
ATOMDL_API int atomdl_image_normalise(atomdl_image *image, int mode);

/* The same by what another image would be scaled by. */
ATOMDL_API int atomdl_image_normalise_as(atomdl_image *image, int mode,
                                         const atomdl_image *as);

/* "minmax", "std", "percentile", "level", as in weight files and recipes;
   NULL beyond the last. */
ATOMDL_API const char *atomdl_norm_name(int mode);

/* The value of rank floor(p (n - 1) + 1/2) among n finite floats, p in
   [0, 1]; n at least 1. Exact, three passes, no memory. */
ATOMDL_API float atomdl_percentile(const float *x, size_t n, double p);

enum { /* interpolation; beyond the image the edge pixel is repeated */
    ATOMDL_NEAREST, /* for label maps */
    ATOMDL_LINEAR,
    ATOMDL_CUBIC, /* Keys, a = -1/2 */
    ATOMDL_INTERP_COUNT
};

/* dst(x, y) = src(u, v) with u = m[0] x + m[1] y + m[2] + field(0, x, y) and
   v = m[3] x + m[4] y + m[5] + field(1, x, y): a map from output to input.
   m NULL: identity. field NULL: none; else 2 planes of dst's size, pixels.
   dst and src have the same c and must not overlap. */
ATOMDL_API int atomdl_image_warp(atomdl_image *dst, const atomdl_image *src,
                                 const double m[6], const atomdl_image *field,
                                 int interpolation);

/* ---------- Networks: description -----------------------------------------

   A network is a flat array of rows, one per operator, usually const. A row
   names the rows it reads. Shapes are (channels, height, width). The last row
   is the result: softmax or sigmoid over the classes. METHOD A has the tables
   of the networks of papers 001 and 004 that the builders follow. */

enum {
    ATOMDL_CONV = 1,  /* ch filters k x k, "same" zero padding, bias */
    ATOMDL_DECONV,    /* transposed, 3 x 3, doubles the size, bias */
    ATOMDL_BATCHNORM, /* per channel over images and pixels, eps 1e-5 */
    ATOMDL_RELU,      /* x > 0 ? x : 0 */
    ATOMDL_LEAKY,     /* x > 0 ? x : p x */
    ATOMDL_MAXPOOL,   /* 2 x 2, halves the size; ties: the first in reading */
    ATOMDL_UPNEAREST, /* doubles the size by repetition; text: nearest */
    ATOMDL_UPLINEAR,  /* doubles the size, half-pixel centres, clamped edges;
                         text: bilinear */
    ATOMDL_CONCAT,    /* channels of in, then of in2 */
    ATOMDL_ADD,       /* in + in2 */
    ATOMDL_DROPOUT,   /* training: zero with probability p, else x/(1 - p) */
    ATOMDL_SOFTMAX,   /* over channels, pixel by pixel */
    ATOMDL_SIGMOID,   /* 1/(1 + exp(-x)) */
    ATOMDL_OPS
};

enum {
    ATOMDL_NAME = 24,     /* bytes of a row's name with its end */
    ATOMDL_ROWS = 192,    /* most rows of a network */
    ATOMDL_SIDE = 11,     /* greatest kernel side */
    ATOMDL_CHANNELS = 4096,
    ATOMDL_CLASSES = 32,
    ATOMDL_INPUT = -1     /* in = the image */
};

typedef struct {
    uint8_t op;       /* ATOMDL_CONV ... */
    uint8_t k;        /* conv: kernel side, odd; else 0 */
    uint8_t stride;   /* conv: 1 or 2; else 0 */
    uint8_t dilation; /* conv: 1 or more, dilation (k - 1)/2 <= 15; else 0 */
    int16_t in, in2;  /* the rows read, ATOMDL_INPUT or less than its own
                         number; in2 of concat and add, else equal to in */
    uint16_t ch;      /* conv, deconv: output channels; else 0 */
    float p;          /* leaky: slope in (0, 1); dropout: rate in [0, 1) */
    char name[ATOMDL_NAME]; /* prefix of its tensors; unique, or empty where
                               nothing is learned and no row refers to it */
} atomdl_layer;

typedef struct {
    int channels;            /* of the input image */
    int rows;                /* 1..ATOMDL_ROWS */
    const atomdl_layer *row; /* (rows), the caller's, outlives all use */
} atomdl_arch;

/* What follows from a description, for an input of h x w pixels. */
typedef struct {
    int classes;      /* channels of the last row */
    int stride;       /* h and w must be multiples of this */
    int field;        /* nominal receptive field [pixels across], by the usual
                         recursion over strides; max pooling and nearest
                         up-sampling make the exact one depend on the pixel,
                         by a few (fcn 8-16-32: 52; exact 46 to 54) */
    size_t values;    /* floats to store: learned and running statistics */
    size_t parameters; /* learned ones alone, as METHOD A counts them */
    uint64_t macs;    /* multiply-adds of the convolutions (deconv: per input
                         pixel) */
} atomdl_arch_info;

/* Checks every rule above and the shapes; h = w = 0: those of no image.
   ATOMDL_EARG: a row breaks a rule; ATOMDL_ESHAPE: shapes do not fit. *bad
   (may be NULL) gets the number of the row at fault, -1 for the whole. */
ATOMDL_API int atomdl_arch_check(atomdl_arch_info *info, int *bad,
                                 const atomdl_arch *arch, int h, int w);

/* Shape of each row's output: channels, and the size as input size times
   2^-level (level may be negative between). arch must be sound. */
ATOMDL_API void atomdl_arch_shapes(int *channels, int *level,
                                   const atomdl_arch *arch);

/* One stored tensor. Values lie in memory in the order of the sums,
   (out, ky, kx, in); files hold them as PyTorch does, (out, in, ky, kx),
   deconv (in, out, ky, kx). */
typedef struct {
    char name[ATOMDL_NAME + 16]; /* row name + ".weight", ".bias",
                                    ".running_mean", ".running_var" */
    int row, dims, dim[4];       /* in the file's order */
    size_t offset, count;        /* in the array of values [floats] */
    int kind;                    /* ATOMDL_WEIGHT ... */
} atomdl_tensor;

enum { /* gamma and beta of batch normalisation are .weight and .bias */
    ATOMDL_WEIGHT, ATOMDL_BIAS, ATOMDL_GAMMA, ATOMDL_BETA,
    ATOMDL_MEAN, ATOMDL_VAR /* these two are not learned */
};

/* Tensor i of a sound network, in the order of rows; 0 past the end, else 1. */
ATOMDL_API int atomdl_arch_tensor(atomdl_tensor *t, const atomdl_arch *arch,
                                  int i);

/* Builders: fill row (max) and arch; ATOMDL_EMEM when max is too few.
   fcn: METHOD A.1, widths w[levels] such as 8 16 32.
   unet: METHOD A.2, nf filters at the top, AtomAI's default with 3 poolings.
   resunet: METHOD A.4. */
ATOMDL_API int atomdl_fcn(atomdl_arch *arch, atomdl_layer *row, int max,
                          const int *w, int levels, int classes);
ATOMDL_API int atomdl_unet(atomdl_arch *arch, atomdl_layer *row, int max,
                           int nf, int classes);

typedef struct {
    int n, k;       /* filters at the top, side of the blocks' kernels */
    int bottleneck; /* blocks: 0: k x k twice; 1: 1, k, 1 */
    float dropout;  /* rate, 0: none */
} atomdl_residual;

ATOMDL_API int atomdl_resunet(atomdl_arch *arch, atomdl_layer *row, int max,
                              const atomdl_residual *how, int classes);

/* The text form: one row a line, `# comment`s allowed.

       input 1
       conv e1 ch=8 k=3
       relu
       maxpool
       conv c2 ch=2 k=1 in=e1
       softmax

   OP [NAME] [ch=N] [k=N] [stride=N] [dilation=N] [p=X] [in=NAME] [in2=NAME].
   Defaults: k=3, stride=1, dilation=1, p=0.01 (leaky) or 0.5 (dropout), in =
   the row above; the name `input` is the image. Bad text: ATOMDL_EARG and the
   number of the line. The caller checks the result with atomdl_arch_check. */
ATOMDL_API int atomdl_arch_parse(atomdl_arch *arch, atomdl_layer *row, int max,
                                 const char *text, size_t n, int *line);

/* Writes the text form with its end into text(size), as snprintf does: returns
   the length without the end, whether it fits or not; text NULL: size 0. Not
   with ATOMDL_NO_TRAIN. */
ATOMDL_API size_t atomdl_arch_print(char *text, size_t size,
                                    const atomdl_arch *arch);

/* ---------- Networks: use ------------------------------------------------- */

typedef struct {
    const atomdl_kernels *kernels; /* NULL: the fastest */
    int band;    /* output rows computed at a time, 0: chosen; never changes
                    a bit, only memory and speed */
    int threads; /* 0: as many as OpenMP gives, in the memory of one (more may
                    be faster when named), and one where a network has less
                    than 2^32 multiply-adds for each float that its kernels
                    take at once; never changes a bit */
} atomdl_use;

/* A network bound to memory for one image size. Its fields are private. */
typedef struct atomdl_net atomdl_net;

/* Binds arch and values to memory for images of h x w, multiples of the
   network's stride. Weights are packed: values may go afterwards, arch must
   stay. *net is NULL while measuring. use may be NULL: all defaults. */
ATOMDL_API int atomdl_net_new(atomdl_net **net, const atomdl_arch *arch,
                              const float *values, int h, int w,
                              const atomdl_use *use, atomdl_arena *arena);

/* prob (classes, h, w) <- image (channels, h, w), planes. Rows are computed
   in bands, each operator as far as the next band needs it, in ring buffers:
   memory does not grow with h. ATOMDL_ENAN: a probability is not a number, as
   weights or pixels near 3e38 can make it; prob is then not to be used. */
ATOMDL_API int atomdl_net_run(atomdl_net *net, float *prob, const float *image);

/* The same where neither image nor result fits into memory: prob (classes,
   y1 - y0, w) <- rows y0 .. y1 - 1 of the result. y0 is 0, which begins an
   image, or the y1 before; y1 - y0 is a multiple of the net's use.band (say
   one), unless y1 is h. Otherwise: ATOMDL_EARG. read writes w pixels of a
   channel to row; it is asked for a row once at most, in rising order, or, with
   several threads, by several at once. */
typedef void atomdl_row_reader(float *row, int channel, int y, void *user);
ATOMDL_API int atomdl_net_rows(atomdl_net *net, float *prob, int y0, int y1,
                               atomdl_row_reader *read, void *user);

/* The same for an image of any size: reflected to a multiple of the stride
   on the right and below, computed, cropped. Refuses NaN (ATOMDL_ENAN), in the
   image as in the result. prob: classes planes of the image's size. */
ATOMDL_API int atomdl_segment(atomdl_image *prob, const atomdl_image *image,
                              const atomdl_arch *arch, const float *values,
                              const atomdl_use *use, atomdl_arena *arena);

/* ---------- Training ------------------------------------------------------

   One step is: forward over a batch, loss, backward, gradient clipping, update.
   Every order is fixed: sums over pixels take columns in 16 lanes and rows in
   order within one image, then a tree, then images in order.
   ATOMDL_NO_TRAIN leaves all of this out but the types. */

enum { ATOMDL_SGD, ATOMDL_ADAM }; /* optimisers */
enum { ATOMDL_CONSTANT, ATOMDL_STEP, ATOMDL_COSINE }; /* rate schedules */
enum { ATOMDL_IGNORE = 255 }; /* label of a pixel that does not count */

/* A sum of losses over the N counted pixels of a batch; p = softmax (or, with
   one class, sigmoid) of the logits, y the label's class, w its weight.
     ce     ce    * sum w_y (-log p_y) / sum w_y
     focal  focal * sum w_y (1 - p_y)^gamma (-log p_y) / sum w_y  (per pixel)
     dice   dice  * (1 - mean over classes of
                     2 (sum p y + smooth/2) / (sum p + sum y + smooth))
   One class counts as two, background and foreground, with logits 0 and z.
   Where sum w_y is 0, ce and focal are 0. METHOD A.3, A.5. */
typedef struct {
    float ce, focal, dice;        /* weights of the terms; 0: absent */
    float gamma, smooth;          /* focal: 2; Dice: 1 */
    float weight[ATOMDL_CLASSES]; /* of each class; 0 for all: all 1 */
} atomdl_loss;

typedef struct {
    int optimiser;
    float rate;             /* greatest learning rate */
    float momentum;         /* SGD, 0.9 */
    float beta1, beta2, eps; /* Adam: 0.9, 0.999, 1e-8 */
    float decay;            /* decoupled weight decay of conv weights */
    float clip;             /* greatest norm of the gradient, 0: any */
    int schedule;
    uint32_t steps;         /* of the whole training */
    uint32_t warmup;        /* steps over which the rate rises linearly; STEP
                               and COSINE count from their end */
    uint32_t every;         /* STEP: times factor every so many steps */
    float factor;
    uint32_t average;       /* mean of the weights after each of the last so
                               many steps; 0: the last weights */
    float bn_momentum;      /* of running statistics, 0.1 */
    uint64_t seed;          /* dropout */
    atomdl_loss loss;
} atomdl_plan;

/* Cross-entropy, Adam at 1e-3, 1000 steps, cosine with 3 % warm-up. */
ATOMDL_API atomdl_plan atomdl_plan_default(void);

/* ATOMDL_EARG when a figure is out of range or not finite. */
ATOMDL_API int atomdl_plan_check(const atomdl_plan *plan, int classes);

/* The learning rate of step i (0...). */
ATOMDL_API float atomdl_plan_rate(const atomdl_plan *plan, uint32_t i);

/* values(info.values) <- a fresh network: weights He (before relu, leaky or
   nothing) or Glorot uniform, biases 0, gamma 1, beta 0, mean 0, variance 1.
   Tensor i draws from stream i of seed. */
enum { ATOMDL_HE, ATOMDL_GLOROT };
ATOMDL_API void atomdl_arch_init(float *values, const atomdl_arch *arch,
                                 uint64_t seed, int how);

typedef struct {
    int n, classes, pixels;        /* images, classes, pixels of an image */
    const float *logits;           /* (n, classes, pixels) planes */
    const uint8_t *label;          /* (n, pixels) */
    const atomdl_kernels *kernels; /* NULL: the fastest */
} atomdl_loss_input;

/* Loss and its gradient dlogits (n, classes, pixels), which may be NULL or
   the logits themselves. Sums: pixel i of an image in lane i mod 16, tree,
   images in order. A label that is no class is ATOMDL_EARG, a loss that is not
   finite ATOMDL_ENAN. */
ATOMDL_API int atomdl_loss_eval(float *loss, float *dlogits,
                                const atomdl_loss_input *in,
                                const atomdl_loss *how);

/* What a training carries besides the values: enough to resume to the bit. */
typedef struct {
    uint32_t step;     /* steps done */
    float power1, power2; /* beta1^step, beta2^step as running products */
    float *first, *second; /* (info.values) momentum or Adam's moments */
    float *sum;        /* (info.values) of averaged weights, or NULL */
} atomdl_state;

/* Zeroed state from the arena. */
ATOMDL_API int atomdl_state_new(atomdl_state *state, const atomdl_arch *arch,
                                const atomdl_plan *plan, atomdl_arena *arena);

/* One update of values by gradient (both info.values long); advances state.
   *norm (may be NULL) gets the gradient's norm before clipping. ATOMDL_ENAN
   leaves values and state as they were. */
ATOMDL_API int atomdl_update(float *values, const float *gradient,
                             float *norm, atomdl_state *state,
                             const atomdl_arch *arch, const atomdl_plan *plan);

/* out(info.values) <- the averaged weights once training is over, else a copy
   of values. Running statistics are those of values. */
ATOMDL_API void atomdl_state_average(float *out, const float *values,
                                     const atomdl_state *state,
                                     const atomdl_arch *arch,
                                     const atomdl_plan *plan);

/* A network bound to memory for batches of n images of h x w. Private. With
   batch normalisation it keeps all n at work, else as many as threads. */
typedef struct atomdl_trainer atomdl_trainer;

ATOMDL_API int atomdl_trainer_new(atomdl_trainer **trainer,
                                  const atomdl_arch *arch, int n, int h, int w,
                                  const atomdl_use *use, atomdl_arena *arena);

typedef struct {
    const float *image;   /* (n, channels, h, w) planes */
    const uint8_t *label; /* (n, h, w) */
    uint32_t step;        /* seeds the dropout */
} atomdl_batch;

/* The mean loss of a batch and its gradient. values' running statistics are
   updated. gradient NULL: forward alone, still with batch statistics and
   dropout. ATOMDL_ENAN: the loss or a running statistic is not finite; values
   are then as they were. */
ATOMDL_API int atomdl_trainer_run(atomdl_trainer *trainer, float *loss,
                                  float *gradient, float *values,
                                  const atomdl_batch *batch,
                                  const atomdl_plan *plan);

/* The logits (n, classes, h, w) of the last run, copied out. */
ATOMDL_API void atomdl_trainer_logits(const atomdl_trainer *trainer,
                                      float *logits);

/* ---------- Metrics -------------------------------------------------------

   Of networks in training: ATOMDL_NO_TRAIN leaves them out. */

/* Confusion counts; add batches by calling again. count[truth][predicted]. */
typedef struct {
    int classes;
    uint64_t count[ATOMDL_CLASSES][ATOMDL_CLASSES];
} atomdl_confusion;

/* Adds n images of arg-max (one class: p > 1/2) against label (n, pixels). */
ATOMDL_API void atomdl_confusion_add(atomdl_confusion *m, const float *prob,
                                     const uint8_t *label, int n, int classes,
                                     int pixels);

/* Of class c; 0 where nothing was there to judge. */
typedef struct {
    double precision, recall, f1, iou;
} atomdl_scores;
ATOMDL_API atomdl_scores atomdl_confusion_scores(const atomdl_confusion *m,
                                                 int c);
ATOMDL_API double atomdl_confusion_accuracy(const atomdl_confusion *m);

/* ---------- Weight files --------------------------------------------------

   safetensors: any Python user can open them. A weight file holds the tensors
   of atomdl_arch_tensor by name, float32, in PyTorch's layout, and text in its
   metadata. Reading takes hostile bytes: every length is checked. */

typedef struct { /* metadata; strings are NUL-terminated, at most these long */
    char network[8192]; /* the text form */
    char classes[512];  /* names, comma-separated */
    char scaling[32];   /* atomdl_norm_name */
    char recipe[80];    /* digest of the recipe */
    double pixel_size;  /* A/px that the network expects; 0: unknown */
    uint32_t numerics;  /* ATOMDL_NUMERICS of the writer; 0: unknown */
} atomdl_meta;

/* Length in bytes of the file that atomdl_weights_write makes. */
ATOMDL_API size_t atomdl_weights_size(const atomdl_arch *arch,
                                      const atomdl_meta *meta);

/* Writes exactly that many bytes. */
ATOMDL_API void atomdl_weights_write(unsigned char *file,
                                     const atomdl_arch *arch,
                                     const float *values,
                                     const atomdl_meta *meta);

/* Metadata of a file; absent keys stay empty. ATOMDL_EFILE: malformed. */
ATOMDL_API int atomdl_weights_meta(atomdl_meta *meta,
                                   const unsigned char *file, size_t size);

/* values <- tensors by name; map (may be NULL) renames them: lines
   "name-in-arch name-in-file". missing (may be NULL) gets the name of the
   tensor at fault. ATOMDL_EMISSING: not there; ATOMDL_ESHAPE: another shape;
   ATOMDL_EFILE: malformed; ATOMDL_ENAN: not finite. F32, F16 and BF16 tensors
   are read; others in the file are left alone. */
ATOMDL_API int atomdl_weights_read(float *values, char missing[64],
                                   const atomdl_arch *arch,
                                   const unsigned char *file, size_t size,
                                   const char *map);

/* A checkpoint: values, state and step in one block of bytes with a digest.
   Reading one that is cut, altered or of another network: ATOMDL_EFILE. */
ATOMDL_API size_t atomdl_checkpoint_size(const atomdl_arch *arch,
                                         const atomdl_plan *plan);
ATOMDL_API void atomdl_checkpoint_write(unsigned char *file,
                                        const float *values,
                                        const atomdl_state *state,
                                        const atomdl_arch *arch,
                                        const atomdl_plan *plan);
ATOMDL_API int atomdl_checkpoint_read(float *values, atomdl_state *state,
                                      const unsigned char *file, size_t size,
                                      const atomdl_arch *arch,
                                      const atomdl_plan *plan);

/* ---------- Simulation: structures ----------------------------------------

   A structure is a list of atoms in a field of view, and the truth about them:
   columns (what stands at each site of the ideal lattice) and defects. Lengths
   in A, angles in radians; x to the right, y down, z towards the source; the
   field is 0 <= x <= w, 0 <= y <= h and atoms reach `margin` beyond it. It is
   built in steps, of which all but the first and the last may be left out:

       new, fill (once a region), alloy, contacts, edge and hole, defects,
       cloud, warp, thermal, finish.

   In a measuring run the steps only count memory. METHOD B.1, B.2. */

enum { ATOMDL_BASIS = 32, ATOMDL_REGIONS = 4, ATOMDL_SPECIES = 4,
       ATOMDL_LINES = 4 };

/* One atom of a cell: at u a + v b. Atoms of one site share a column. */
typedef struct {
    uint8_t element, site;
    double u, v, z; /* fractions of a and b; A */
} atomdl_basis;

/* Sites A, B, C = 0, 1, 2 of the hexagonal lattices are (0, 0), (1/3, 2/3),
   (2/3, 1/3) with b 120 degrees from a; metal and chalcogen 0: neither. */
typedef struct {
    double a[2], b[2]; /* cell vectors */
    int n;             /* atoms in the cell, 1..ATOMDL_BASIS */
    int hexagonal;     /* 1: cell and sites as above */
    uint8_t metal, chalcogen;
    atomdl_basis basis[ATOMDL_BASIS]; /* of one site: from below */
} atomdl_lattice;

/* By name: graphene, graphene-ab, graphene-aa, h-bn, h-bn-2, and
   {mos2,mose2,mote2,ws2,wse2,wte2}-{2h,3r,1t}-{1,2,3}; the mirror variant of
   3r ends in "b": ws2-3r-2b. ATOMDL_EARG: no such name. */
ATOMDL_API int atomdl_lattice_find(atomdl_lattice *lattice, const char *name);

/* ATOMDL_EARG when cell or basis make no sense (user lattices). */
ATOMDL_API int atomdl_lattice_check(const atomdl_lattice *lattice);

enum { ATOMDL_ROLE_LATTICE, ATOMDL_ROLE_DOPANT,
       ATOMDL_ROLE_CONTAMINATION /* drawn in images, not in the truth */ };

typedef struct {
    double x, y, z;    /* A; x right, y down, z towards the source */
    float weight;      /* of its scattering relative to its element, 1 */
    uint8_t element;   /* Z */
    uint8_t role;      /* ATOMDL_ROLE_... */
    uint16_t defect;   /* index + 1 of its defect, 0: none */
    uint32_t column;   /* index of its column; contamination: UINT32_MAX */
} atomdl_atom;

/* A column of the ideal lattice, whether atoms are left in it or not. Added
   atoms of a defect take over columns of removed ones, or get new ones. */
typedef struct {
    double x, y;       /* mean of its atoms; where it is empty, its site */
    uint32_t first;    /* index of its first atom (before finish) */
    uint16_t defect;   /* index + 1, 0: none */
    uint8_t site;      /* A, B, C or the user's */
    uint8_t region;    /* index; 255: none (files) */
    uint8_t count;     /* atoms in it, after finish */
    uint8_t element[ATOMDL_SPECIES]; /* Z, falling, then 0 */
    uint8_t number[ATOMDL_SPECIES];  /* atoms of each */
} atomdl_column;

/* "Mo", "S2", "Mo+S2", "vacancy"; heavier first. */
ATOMDL_API void atomdl_column_text(char text[32], const atomdl_column *column);

/* Defects. The first group are rows of a table of motifs in the honeycomb of
   graphene, relaxed once (atomdl_motifs_new); the second group change the
   atoms of one column of a dichalcogenide, X any chalcogen, M the metal. */
enum {
    ATOMDL_V1,        /* one atom missing: 12-ring */
    ATOMDL_V1_CLOSED, /* the same, two neighbours bonded: rings 5, 9 */
    ATOMDL_V2,        /* two missing: rings 5, 8, 5 */
    ATOMDL_V2_555777,
    ATOMDL_STONE_WALES, /* 55-77 */
    ATOMDL_SI_C3, ATOMDL_SI_C4,
    ATOMDL_SI2_C4, ATOMDL_SI2_C5, ATOMDL_SI2_C6, /* dimers */
    ATOMDL_SI3_C6, ATOMDL_SI4_C6,                /* rotors */
    ATOMDL_HOLE6,     /* one hexagon missing */
    ATOMDL_SI_ADATOM, /* Si over the middle of a bond */
    ATOMDL_SI_C3_V,   /* lopsided Si in a double vacancy, three bonds */
    ATOMDL_SI_C3_C3, ATOMDL_SI_C3_C4, ATOMDL_SI_C4_C4, /* sharing one C */
    ATOMDL_MOTIFS,
    ATOMDL_VX1 = ATOMDL_MOTIFS, ATOMDL_VX2, ATOMDL_VM,
    ATOMDL_M_X, ATOMDL_M_X2, /* M in place of one X, of both */
    ATOMDL_X_M, ATOMDL_X2_M, /* one X, two X in place of M */
    ATOMDL_SUB_M, ATOMDL_SUB_X, /* another element (atomdl_defect.element);
                                   no defect where it is the host's own */
    ATOMDL_SUB_M_VX1, /* dopant on M and one X missing beside it */
    ATOMDL_DEFECTS
};

/* "v1", "v1-5-9", "v2-5-8-5", "v2-555-777", "stone-wales", "si-c3", "si-c4",
   "si2-c4", "si2-c5", "si2-c6", "si3-c6", "si4-c6", "hole6", "si-adatom",
   "si-c3-v", "si-c3-c3", "si-c3-c4", "si-c4-c4", "vx1", "vx2", "vm", "m-x",
   "m-x2", "x-m", "x2-m", "sub-m", "sub-x", "sub-m-vx1"; NULL past the end. */
ATOMDL_API const char *atomdl_defect_name(int kind);
ATOMDL_API int atomdl_defect_find(const char *name); /* -1: none */

typedef struct {
    double x, y;       /* centre */
    double angle;      /* of the motif's x axis in the image */
    uint8_t kind;      /* ATOMDL_V1... */
    uint8_t operation; /* 0..11: 60 degree turns, + 6: mirrored; in columns:
                          odd: X counted from below, / 2: which neighbour */
    uint8_t region, site; /* site: of the column, not for motifs */
    uint8_t element;   /* of the dopant, else 0 */
    int32_t i, j;      /* cell */
    uint32_t id;       /* persistent identity, >= 1 */
    float scale;       /* of the motif's displacement field, 1 */
} atomdl_defect;

/* A straight or wavy line through (x, y) in direction angle, displaced
   sideways by amplitude sin(2 pi t / wavelength + phase), t along it. Its
   positive side is on the right of the direction as one sees the image. */
typedef struct {
    double x, y, angle, amplitude, wavelength, phase;
} atomdl_line;

/* > 0 on the positive side: distance from the unmodulated line plus wave. */
ATOMDL_API double atomdl_line_side(const atomdl_line *line, double x, double y);

/* How a lattice lies in the image: r = (x, y) + (1 + e) R(angle) (u a + v b).
   Strains within +-0.2. */
typedef struct {
    double x, y, angle, exx, eyy, exy;
} atomdl_placement;

typedef struct { /* one filled lattice; private but for reading */
    atomdl_lattice lattice;
    double x, y, m[4];   /* r = (x, y) + m (u a + v b) */
    int i0, j0, ni, nj, sites;
    uint32_t *grid;      /* column + 1 of (i - i0, j - j0, site), 0: none */
    atomdl_line line[ATOMDL_LINES];
    int lines;
    uint8_t class_id;    /* the caller's, for region labels (stacking) */
} atomdl_region;

typedef struct { /* how many of each there may be */
    uint32_t atoms, columns, defects;
} atomdl_room;

typedef struct {
    double w, h, margin;
    uint32_t atoms, columns, defects, regions;
    atomdl_room room;
    atomdl_atom *atom;
    atomdl_column *column;
    atomdl_defect *defect;
    atomdl_region region[ATOMDL_REGIONS];
    uint32_t next_id;    /* of the next defect drawn */
} atomdl_structure;

/* An empty structure with room for so many. Too many later: ATOMDL_EMEM. */
ATOMDL_API int atomdl_structure_new(atomdl_structure *s, double w, double h,
                                    double margin, const atomdl_room *room,
                                    atomdl_arena *arena);

/* room <- upper bounds for one fill of such a field, at any angle and any
   allowed strain (added atoms of defects and clouds come on top). */
ATOMDL_API void atomdl_structure_room(atomdl_room *room, double w, double h,
                                      double margin,
                                      const atomdl_lattice *lattice);

/* Adds a region: the lattice where all lines (may be NULL) are positive. The
   index for its sites comes from the arena, of a size that depends on field
   and lattice alone. */
ATOMDL_API int atomdl_structure_fill(atomdl_structure *s,
                                     const atomdl_lattice *lattice,
                                     const atomdl_placement *at,
                                     const atomdl_line *line, int lines,
                                     int class_id, atomdl_arena *arena);

/* Each lattice atom of element `from` at site (-1: any) becomes `to` (1..118)
   with probability fraction, role dopant. Not a defect. */
ATOMDL_API void atomdl_structure_alloy(atomdl_structure *s, int site, int from,
                                       int to, double fraction,
                                       atomdl_rng *rng);

/* Removes atoms closer than distance to an atom of an earlier region (grain
   boundaries), with their columns. Scratch from the arena, given back. */
ATOMDL_API int atomdl_structure_contacts(atomdl_structure *s, double distance,
                                         atomdl_arena *arena);

/* Removes atoms and columns: on the negative side of a line (edge; regions end
   there too), within radius of (x, y) (hole). Contamination stays. */
ATOMDL_API void atomdl_structure_edge(atomdl_structure *s,
                                      const atomdl_line *line);
ATOMDL_API void atomdl_structure_hole(atomdl_structure *s, double x, double y,
                                      double radius);

/* The motifs of the kinds of mask `wanted` (bit k: kind k; UINT32_MAX: all),
   relaxed; about 1 ms each, once a program. Private, then read only. */
typedef struct atomdl_motifs atomdl_motifs;
ATOMDL_API int atomdl_motifs_new(atomdl_motifs **motifs, uint32_t wanted,
                                 atomdl_arena *arena);

/* Places one defect: kind, operation, region, site, element, i, j, scale, id
   (0: the next) are read, centre and angle computed. ATOMDL_EARG: not
   there (a site missing or already in a defect, another kind of lattice). */
ATOMDL_API int atomdl_defect_place(atomdl_structure *s,
                                   const atomdl_defect *defect,
                                   const atomdl_motifs *motifs);

/* Sets i, j, site of a defect so that its centre lies next to (x, y). */
ATOMDL_API int atomdl_defect_locate(atomdl_defect *defect,
                                    const atomdl_structure *s, double x,
                                    double y);

/* How defects are drawn; behind the colons what recipes take. */
typedef struct {
    float weight[ATOMDL_DEFECTS]; /* relative, 0: not drawn */
    uint8_t element;              /* of SUB_... */
    double apart, nearer;  /* least distance of centres: 6.5; 3.9 ... */
    double fraction;       /* ... in this fraction of trials: 0.15 */
    double scale_sd;       /* field scaled by N(1, sd) in [0.6, 1.4]: 0.12 */
    double jitter[3];      /* sd of Si in each axis 0.05, in dimers 0.07, of
                              all Si of a defect together 0.03 */
} atomdl_drawing;

/* Draws up to n defects anywhere in the field; each tries 20 times.
   *drawn (may be NULL) <- how many found a place. */
ATOMDL_API int atomdl_defects_draw(atomdl_structure *s, uint32_t *drawn,
                                   uint32_t n, const atomdl_drawing *how,
                                   const atomdl_motifs *motifs,
                                   atomdl_rng *rng);

/* A defect of a kind of the second group at each free column that can take it
   with probability fraction (of region, -1: all). */
ATOMDL_API int atomdl_defects_scatter(atomdl_structure *s, int kind,
                                      int element, double fraction,
                                      int region, atomdl_rng *rng);

/* Amorphous carbon: a Gaussian cloud of thickness peak [A] at its centre; its
   atoms are Poisson with 0.100 carbon atoms per A3 of thickness (METHOD B.6),
   z from 3 A above the lattice on. core: least distance of two of its atoms,
   A, at most 2: one that comes nearer steps aside, at most 15 times (so that
   not all of a cloud that drifts stays rigid); 0: they lie anywhere, as those
   of an ideal gas, whose noise is too strong. Clouds do not see one another.
   The arena is given back. */
typedef struct {
    double x, y, sigma, peak, core;
} atomdl_cloud;

ATOMDL_API int atomdl_structure_cloud(atomdl_structure *s,
                                      const atomdl_cloud *cloud,
                                      atomdl_rng *rng, atomdl_arena *arena);

/* Thickness of all clouds at a point. */
ATOMDL_API double atomdl_cloud_thickness(const atomdl_cloud *cloud, int n,
                                         double x, double y);

/* Smooth displacement: (ax, ay) sin(kx x + ky y + phase) for each wave, of
   atoms, columns and defects; k in 1/A. Contamination stays. */
typedef struct {
    double ax, ay, kx, ky, phase;
} atomdl_wave;
ATOMDL_API void atomdl_structure_warp(atomdl_structure *s,
                                      const atomdl_wave *wave, int n);

/* Independent Gaussian displacement of each lattice atom, rms in x and y each:
   atom i takes words 2 i and 2 i + 1 of rng. */
ATOMDL_API void atomdl_structure_thermal(atomdl_structure *s, double rms,
                                         atomdl_rng *rng);

/* Closes up removed atoms and columns (order kept) and computes positions and
   composition of the columns. ATOMDL_ESHAPE: a column of more than
   ATOMDL_SPECIES elements or 254 atoms; ATOMDL_ENAN: an atom or column that
   is nowhere (displaced by NaN). No defects can be placed after it. */
ATOMDL_API int atomdl_structure_finish(atomdl_structure *s);

/* ---------- Simulation: XYZ files -----------------------------------------

   Plain and extended XYZ (ASE): count, comment with optional Lattice="..."
   and Properties=species:S:1:pos:R:3:..., then one atom a line. Symbols or
   atomic numbers. Coordinates are taken as they stand, y down. */

typedef struct {
    uint32_t atoms;
    double cell[9];  /* Lattice="..." rows, all 0: none */
    double low[3], high[3]; /* extent of the atoms */
    uint32_t line;   /* at fault, from 1; 0: none */
    const char *why; /* what is wrong there, or "" */
} atomdl_xyz;

/* atom (may be NULL: checks and counts) <- the first frame; ATOMDL_EFILE with
   line and why when malformed. At most 2^24 atoms. */
ATOMDL_API int atomdl_xyz_read(atomdl_xyz *info, atomdl_atom *atom,
                               const char *text, size_t size);

/* A structure's atoms <- a file's, moved by (dx, dy); atoms nearer than
   `width` in projection share a column. Atoms outside of field and margin are
   left out. Then finish. */
ATOMDL_API int atomdl_structure_atoms(atomdl_structure *s,
                                      const atomdl_atom *atom, uint32_t n,
                                      double dx, double dy, double width,
                                      atomdl_arena *arena);

/* ---------- Simulation: labels --------------------------------------------

   A table of rules paints a class image; a later rule paints over an earlier
   one. Pixel (i, j) lies at ((i + 1/2) pixel, (j + 1/2) pixel) A. */

enum { ATOMDL_LABEL_ATOM, ATOMDL_LABEL_COLUMN, ATOMDL_LABEL_DEFECT,
       ATOMDL_LABEL_REGION, ATOMDL_LABEL_THICKNESS };
enum { ATOMDL_ANY = 255 };

typedef struct {
    uint8_t what;      /* ATOMDL_LABEL_... */
    uint8_t class_id;  /* painted */
    uint8_t element;   /* ATOM: Z; ATOMDL_ANY */
    uint8_t kind;      /* ATOM, COLUMN, DEFECT: of the defect it is in, or
                          ATOMDL_ANY; ATOM, COLUMN: no defect needed then */
    uint8_t site;      /* COLUMN; or ATOMDL_ANY */
    uint8_t region;    /* class_id of the region; or ATOMDL_ANY */
    char text[20];     /* COLUMN: composition, "S2", "vacancy"; "": any */
    float radius;      /* of the disc, A; REGION: all pixels of it */
    float low, high;   /* THICKNESS: low < t <= high, A */
} atomdl_rule;

typedef struct { /* pixels of a map, and A per pixel */
    int w, h;
    double pixel;
} atomdl_label_grid;

typedef struct {
    const atomdl_cloud *cloud;
    int n;
} atomdl_clouds;

/* label (w x h bytes) is painted, not cleared. clouds may be NULL. */
ATOMDL_API int atomdl_label_paint(uint8_t *label, const atomdl_label_grid *grid,
                                  const atomdl_structure *s,
                                  const atomdl_rule *rule, int rules,
                                  const atomdl_clouds *clouds);

/* ---------- Simulation: movies --------------------------------------------

   A movie is a list of defects that evolves from frame to frame; each frame is
   then filled, the defects placed (atomdl_defect_place) and finished. States:
   0 is "no defect", k is kind[k]. Probabilities are per frame. */

enum { ATOMDL_STATES = 8 };

typedef struct {
    int states;                          /* 2..ATOMDL_STATES */
    uint8_t kind[ATOMDL_STATES];         /* [0] is not read */
    uint8_t element;                     /* of SUB_... */
    double rate[ATOMDL_STATES][ATOMDL_STATES]; /* from, to; row 0: expected
                       number of new ones a frame; diagonals are not read */
    double hop[ATOMDL_STATES];  /* to one of 6 neighbouring cells */
    double turn[ATOMDL_STATES]; /* by 60 degrees, either way */
    double apart;               /* least distance of centres */
} atomdl_dynamics;

typedef struct { /* what happened in all steps so far */
    uint32_t change[ATOMDL_STATES][ATOMDL_STATES]; /* from, to; the diagonal
                                                      counts staying */
    uint32_t hops[ATOMDL_STATES], turns[ATOMDL_STATES];
    uint32_t blocked; /* hops and births that found no place */
} atomdl_events;

typedef struct {
    uint32_t frame;        /* the next one */
    atomdl_defect *defect; /* (max) the caller's */
    uint32_t defects, max, next_id;
    double drift[2];       /* A so far */
    atomdl_events events;
} atomdl_movie;

/* The movie's defects are evolved by one frame, ids kept; new ones get
   next_id, which rises, and events are counted. s: a frame as filled, whose
   regions say where sites are. */
ATOMDL_API int atomdl_movie_step(atomdl_movie *movie,
                                 const atomdl_dynamics *how,
                                 const atomdl_structure *s, atomdl_rng *rng);

/* ---------- Fourier transform ---------------------------------------------

   Sizes are products of 2, 3 and 5. X(j, i) = sum over y, x of
   v(y, x) exp(-2 pi i (x i / w + y j / h)); the way back has exp(+...) and
   divides by w h. Binary32; the factors are computed in binary64 and rounded
   once. Scratch comes from arena and is given back. A size that is no such
   product, or above ATOMDL_IMAGE_MAX: ATOMDL_EARG. */

/* The least product of 2, 3 and 5 that is not below n; 0 when n is above
   ATOMDL_IMAGE_MAX. */
ATOMDL_API int atomdl_fft_size(int n);

/* re, im (h, w): a complex array, in place; back != 0: the way back. Rows of
   zeros cost little on the way back. */
ATOMDL_API int atomdl_fft(float *re, float *im, int w, int h, int back,
                          atomdl_arena *arena);

/* Columns i = 0..bins - 1 of the transform of a real array, bins at most
   w / 2 + 1: the others follow by symmetry. */
typedef struct {
    float *re, *im; /* (h, bins) */
    int bins;
} atomdl_bins;

/* f <- x, h rows of w floats, pitch apart. */
ATOMDL_API int atomdl_fft_real(const atomdl_bins *f, const float *x, int pitch,
                               int w, int h, atomdl_arena *arena);

/* x <- f, which is overwritten; the columns left out count as zero; of column
   0, and w / 2 if w is even, only the Hermitian part counts. */
ATOMDL_API int atomdl_fft_real_back(float *x, int pitch, const atomdl_bins *f,
                                    int w, int h, atomdl_arena *arena);

/* ---------- Simulation: images --------------------------------------------

   METHOD B.3 to B.6. Lengths in A, angles in mrad (optics) or rad. Pixel
   (i, j) lies at ((i + 1/2) pixel, (j + 1/2) pixel); atoms lie anywhere. The
   order of an image: atomdl_structure_warp (slow distortion, truth follows),
   atomdl_image_atoms, atomdl_scan_rows (fast, truth does not follow),
   atomdl_detect. Arguments out of range or not finite: ATOMDL_EARG. Scratch
   comes from arena and is given back. */

enum { ATOMDL_GAUSSIAN, ATOMDL_INCOHERENT }; /* image models */

enum { /* aberrations beside defocus, C3 and C5; the second digit is n in
          cos n phi, sin n phi */
    ATOMDL_C12, ATOMDL_C21, ATOMDL_C23, ATOMDL_C32, ATOMDL_C34, ATOMDL_C41,
    ATOMDL_C43, ATOMDL_C45, ATOMDL_C52, ATOMDL_C54, ATOMDL_C56,
    ATOMDL_ABERRATIONS
};
enum { ATOMDL_OVERRIDES = 4 };

typedef struct {
    int model;          /* ATOMDL_GAUSSIAN or ATOMDL_INCOHERENT */
    /* both models */
    double stack;       /* enhancement of a pair of atoms in one column: the
                           pair gives stack times the sum of the two; 1 */
    double channelling; /* times what the atoms of a column show beyond their
                           sum for this instrument (METHOD B.10); 0: nothing,
                           else kv to source must be given for blobs, too */
    int z[ATOMDL_OVERRIDES];        /* elements with a ratio of their own, */
    double ratio[ATOMDL_OVERRIDES]; /* relative to carbon; z 0: none */
    /* incoherent: the instrument */
    double kv, convergence;      /* kV, mrad (semi-angle) */
    double inner, outer;         /* annular detector, mrad */
    double defocus, c3, c5;      /* A, defocus > 0: underfocus */
    double aberration[ATOMDL_ABERRATIONS][2]; /* (a, b): a cos + b sin, A */
    double spread, source;       /* defocus spread, source size: FWHM, A */
    int recentre;                /* 1: the brightest point of the probe is at
                                    the atom */
    /* gaussian: the blob */
    double fwhm;                 /* A, of the geometric mean of both axes */
    double ellipticity, angle;   /* variances v(1 + e), v(1 - e), the first
                                    along angle (rad from x towards y) */
    double tail, tail_sigma;     /* fraction in a second, round Gaussian */
    double exponent, carbon;     /* sigma = carbon (Z/6)^exponent, A^2 */
} atomdl_optics;

/* name: "001" (60 kV, 31 mrad, 86-200), "002" (100 kV, 31, 86-200), "004"
   (80 kV, 23, 40-160), "stem" (80 kV, 25.2, 63-200), all incoherent, no
   aberrations, channelling 1, source 1.0, "004" 1.2 A (METHOD B.5, F.2);
   "gaussian": no channelling, FWHM
   1.1 A, exponent 1.64, carbon 1. Unknown: ATOMDL_EARG. */
ATOMDL_API int atomdl_optics_preset(atomdl_optics *optics, const char *name);

/* ATOMDL_OK or ATOMDL_EARG. */
ATOMDL_API int atomdl_optics_check(const atomdl_optics *optics);

/* Electron wavelength, A. */
ATOMDL_API double atomdl_wavelength(double kv);

/* Cross-section of element z (1..118) for scattering into the detector, A^2.
   Incoherent: for B C N Si S V Se Mo Te W and the six detectors of METHOD B.4
   its table (Moliere amplitude, Kirkland's parameters). Other elements: a
   straight line in ln Z, ln sigma through the two nearest of these. Other
   detectors: the table's detector of nearest voltage and inner angle /
   wavelength, times the ratio of the screened Rutherford cross-sections. */
ATOMDL_API double atomdl_cross_section(const atomdl_optics *optics, int z);

/* The probe as a filter for images of one size, made once for many images. */
typedef struct {
    int w, h;        /* of the images */
    double pixel;    /* their sampling, A per pixel */
    int over;        /* the grid has over^2 points a pixel */
    int margin;      /* grid points around the field */
    int gw, gh, bins; /* the grid, the columns of its transform */
    float *re, *im;  /* (gh, bins) transfer(probe) / transfer(stamp) */
} atomdl_probe;

/* Memory comes from arena and stays. margin (A; 0: 4): atoms so far outside of
   the field still count; the grid is periodic beyond it, so that tails longer
   than that come back from the other side: the mean intensity is kept. */
ATOMDL_API int atomdl_probe_new(atomdl_probe *probe,
                                const atomdl_optics *optics, int w, int h,
                                double pixel, double margin,
                                atomdl_arena *arena);

/* image (probe's w, h; c = 1) <- sum over atoms of weight * cross-section *
   probe(r - r_atom): the fraction of the incident electrons that is detected
   (gaussian with carbon 1: in units of a carbon atom per A^2). Each atom is a
   Gaussian stamp of 16 x 16 grid points at its exact place, and one filter
   turns stamps into probes: within 1e-6 of the peak of the phase-factor form.
   optics: as given to atomdl_probe_new, but cross-sections, ratios and stack
   may differ. Linear in the atoms but for stack and channelling: atoms of one
   column whose projections lie within 0.5 A, consecutive ones in order of the
   list, and all with up to 15 before them; z says which is above. */
ATOMDL_API int atomdl_image_atoms(atomdl_image *image, const atomdl_atom *atoms,
                                  size_t n, const atomdl_optics *optics,
                                  const atomdl_probe *probe,
                                  atomdl_arena *arena);

/* Projected potential of an atom of element z at distance r (A), V A:
   Kirkland's parametrisation (METHOD B.9). Not in the table, or r not above 0:
   0. */
ATOMDL_API double atomdl_potential(int z, double r);

/* How a multislice image is computed. All 0: atoms at rest, one focus unless
   there is a spread. */
typedef struct {
    int configurations; /* of thermal motion, best in fours (METHOD B.9); 0:
                           atoms at rest */
    atomdl_rng rng;     /* that they come from; not advanced */
    int finer;          /* times finer grid than the detector needs; 0: 1 */
    double window;      /* A around each probe; 0: 18 */
    int threads;        /* 0: OpenMP's choice; the bits are the same */
    void (*watch)(void *of, int done, int all); /* progress, or NULL; called
                           from the caller's thread */
    void *of;           /* its first argument */
} atomdl_slicing;

/* image (c = 1) <- the fraction of the incident electrons that the annular
   detector gets, noise-free: each probe as a wave through the planes of atoms
   (METHOD B.9). optics: an instrument (ATOMDL_INCOHERENT); stack, channelling,
   z and ratio are not read, nor are the atoms' weights. Atoms within 11 A of
   the field count. Memory as the area of field and planes (16 at most), and
   for each thread; time as area times planes times configurations. An element
   without a potential, or arguments out of range: ATOMDL_EARG. Measuring
   supposes 16 planes. */
ATOMDL_API int atomdl_image_multislice(atomdl_image *image,
                                       const atomdl_atom *atoms, size_t n,
                                       const atomdl_optics *optics,
                                       double pixel,
                                       const atomdl_slicing *how,
                                       atomdl_arena *arena);

/* What displaces pixels. All 0: nothing does. */
typedef struct {
    double jitter;    /* rms of the rows' own displacement along x, A */
    double hum[2];    /* amplitude of a vibration in x and y, A, */
    double cycles;    /* its cycles per line, fly-back included, */
    double phase;     /* and its phase at the first pixel, rad */
    double flyback;   /* its time, relative to that of a row's pixels */
} atomdl_scan;

/* image(x, y) <- image at (x, y) + displacement, clamped edges: six-point
   Lagrange interpolation along y, then along x. */
ATOMDL_API int atomdl_scan_rows(atomdl_image *image, const atomdl_scan *scan,
                                double pixel, atomdl_rng *rng,
                                atomdl_arena *arena);

enum { ATOMDL_WAVES = 3 };

/* From intensity to what the file holds, in this order: + background + tilt +
   waves; * (1 + row gain); counting, N / counts with N Poisson(counts * I),
   negative I counting as 0; + read noise; noise alone smoothed; * gain +
   offset; blur; clip; gamma; quantisation. All 0: nothing. */
typedef struct {
    double background, tilt[2];  /* signal; change of it across the field */
    atomdl_wave wave[ATOMDL_WAVES]; /* ax: signal; ay not read */
    double row_gain;   /* rms of the rows' own gain */
    double dose;       /* electrons per A^2; 0: see counts */
    double counts;     /* electrons per pixel; 0 as well: no counting noise */
    double read;       /* rms of Gaussian noise, signal */
    double smooth;     /* sigma of the smoothing of all noise, px, at most 1 */
    double gain, offset; /* gain 0: 1 */
    double blur;       /* sigma, px, at most 8 */
    double clip;       /* fraction of pixels not clipped at the bright end,
                          0.995 say; 0: all */
    double gamma;      /* of the range from least to greatest, in 256 straight
                          pieces; 0: 1 */
    int bits;          /* 8 or 16: integers 0..255, 65535 from least to
                          greatest; 0: none */
} atomdl_detector;

/* Noise by its density: variance (contrast * density / pixel)^2
   where the signal is mean, of which share is read noise. Sets dose 0, counts
   and read. density in A. */
ATOMDL_API void atomdl_detector_density(atomdl_detector *detector,
                                        double density, double contrast,
                                        double mean, double share,
                                        double pixel);

/* Counting is exact Poisson (up to 2^-32) below a mean of 16; above, Giles's
   expansion of the quantile, total variation < 1e-4. */
ATOMDL_API int atomdl_detect(atomdl_image *image,
                             const atomdl_detector *detector, double pixel,
                             atomdl_rng *rng, atomdl_arena *arena);

/* ---------- Simulation: recipes -------------------------------------------

   A recipe is text, `key = value` lines with # comments: all that makes a
   stream of labelled images and the network that learns from it.

       material = graphene
       pixel    = 0.15625              # A
       defects  = si-c3:5 si-c4:5 v1:1.3
       count    = 92% poisson 2.2
       density  = log 0.006..0.19 ^0.6
       class    = background
       class    = C atom C 0.45
       class    = Si atom Si 0.33
       network  = fcn 8 16 32

   atomdl_recipe_print writes all keys with their meaning and defaults. A
   random quantity is a distribution:

       1.5                    always the same
       0.9..1.5               uniform
       log 0.006..0.19        uniform in the logarithm
       log 0.006..0.19 ^0.6   ... at u^0.6 for u uniform in [0, 1)
       normal 0 25            mean and standard deviation
       normal 1 0.12 0.6..1.4 clipped
       poisson 2.2            mean
       choice 0.02 0.05 0.09  one of them (8 at most)
       30% 0.9..1.5           in 30 of 100 samples, else what leaves the image
                              as it is (0 or 1: the key's `none`)
       30% 0.9..1.5 else 2    ..., else 2

   Every draw is clipped to the limits of its key. Each key draws from a
   random stream of its own, named after it: a change of one key changes the
   draws of no other. */

enum { ATOMDL_DIST_CONSTANT, ATOMDL_DIST_UNIFORM, ATOMDL_DIST_LOG,
       ATOMDL_DIST_NORMAL, ATOMDL_DIST_POISSON, ATOMDL_DIST_CHOICE,
       ATOMDL_DISTS };
enum { ATOMDL_CHOICES = 8 };

typedef struct {
    uint8_t kind, n;          /* ATOMDL_DIST_CONSTANT...; values in v */
    uint64_t stream;          /* of random numbers, under a sample's */
    double chance, other;     /* in `chance` of 100 draws, else other */
    double v[ATOMDL_CHOICES]; /* value(s), ends, mean and deviation */
    double low, high;         /* every draw is clipped to these */
    double exponent;          /* of u, 1 */
} atomdl_dist;

/* The next draw from rng, which is advanced. */
ATOMDL_API double atomdl_dist_draw(const atomdl_dist *dist, atomdl_rng *rng);

enum { ATOMDL_IMAGE_INCOHERENT, ATOMDL_IMAGE_MULTISLICE };
enum { ATOMDL_MATERIALS = 16, ATOMDL_ALLOYS = 4, ATOMDL_SCATTERS = 16,
       ATOMDL_PLACES = 16, ATOMDL_RULES = 32 };

typedef struct {
    /* images */
    uint64_t seed;
    int w, h;                   /* px */
    atomdl_dist pixel;          /* A per pixel of the sample */
    atomdl_dist scan;           /* A per pixel of the scan, 0: pixel */
    int scaling;                /* ATOMDL_NORM_... */
    int bits;                   /* of the detector's values, 0: not rounded */
    /* lattice */
    int materials;
    char material[ATOMDL_MATERIALS][16]; /* names of lattices */
    double share[ATOMDL_MATERIALS];      /* their weights */
    atomdl_lattice lattice;     /* the user's, n = 0: none */
    char xyz[128];              /* the user's file, "": none */
    atomdl_dist rotation;       /* degrees */
    atomdl_dist scale;          /* of lengths */
    atomdl_dist shear;          /* two components, drawn one by one */
    atomdl_dist distortion;     /* A, drawn for x and y of both waves */
    atomdl_dist distortion_k;   /* 1/A, drawn for x and y of both waves */
    atomdl_dist thermal;        /* A rms in x and in y */
    atomdl_dist boundary;       /* degrees between two grains, 0: one grain */
    atomdl_dist step;           /* > 0: two materials, one lattice */
    atomdl_dist wave, wavelength; /* A, of the line between */
    atomdl_dist hole;           /* A, radius; 0: none */
    atomdl_dist edge;           /* > 0: the lattice ends at a line */
    int alloys, scatters, places;
    struct {
        uint8_t from, to;       /* Z */
        atomdl_dist fraction;
    } alloy[ATOMDL_ALLOYS];
    /* defects */
    atomdl_drawing drawing;     /* `defects`, by relative weight */
    atomdl_dist count;          /* of them in a sample */
    struct {                    /* at each site by itself */
        uint8_t kind, element;
        atomdl_dist fraction;
    } scatter[ATOMDL_SCATTERS];
    struct {
        uint8_t kind, element, operation; /* as in atomdl_defect */
        double x, y;            /* A */
    } place[ATOMDL_PLACES];
    atomdl_dynamics dynamics;   /* of movies */
    atomdl_dist movie_drift;    /* A a frame */
    atomdl_dist clouds, cloud_sigma, cloud_atoms, cloud_height, cloud_core;
    atomdl_dist cloud_weight;
    /* optics */
    int image;                  /* ATOMDL_IMAGE_... */
    int configurations;         /* multislice: of thermal motion */
    double gaussian;            /* fraction of samples with the plain probe */
    atomdl_dist fwhm, ellipticity, tail, tail_sigma, power;
    atomdl_dist voltage, aperture, inner, outer; /* kV, mrad */
    atomdl_dist defocus, c3, c5; /* A, um, mm */
    atomdl_dist a1, coma, a2;   /* A: C12, C21, C23 */
    atomdl_dist source, spread; /* A FWHM */
    atomdl_dist stacked;        /* signal of a stacked pair over the sum */
    atomdl_dist channelling;    /* times what multislice says of columns */
    atomdl_dist weight_spread;  /* relative sd of each atom's weight */
    int weights;
    struct {                    /* instead of what the physics says */
        uint8_t element;
        atomdl_dist signal;     /* relative to carbon */
    } weight[ATOMDL_OVERRIDES];
    /* scan and detector; signals in units of the lattice's mean */
    atomdl_dist drift, jitter, hum, hum_cycles;
    atomdl_dist background, tilt, ripple, row_gain;
    atomdl_dist density;        /* A; 0: dose */
    double contrast;            /* that density refers to */
    atomdl_dist read_share;     /* of density's variance */
    atomdl_dist dose, read;     /* e/A2; rms */
    atomdl_dist smooth, blur, saturation, gamma; /* px, px, part, power */
    /* labels */
    int classes, rules;
    char class_name[ATOMDL_CLASSES][16];
    atomdl_rule rule[ATOMDL_RULES];
    /* augmentation */
    atomdl_dist warp;           /* > 0: the sample is warped as follows */
    atomdl_dist shift, turn, zoom, skew; /* part, degrees, factor, part */
    int dihedral;               /* 1: one of the eight symmetries */
    atomdl_dist coarse;         /* times coarser sampling */
    atomdl_dist gain, offset;   /* after scaling */
    /* training */
    char network[4096];
    int batch, validation, check, patience;
    int unweigh;                /* 1: scores without the classes' weights */
    double warmup;              /* part of all steps */
    atomdl_plan plan;
} atomdl_recipe;

typedef struct {
    int line;       /* at fault, from 1; 0: the whole */
    char text[160]; /* what is wrong */
} atomdl_recipe_error;

/* Letters to change, insert or leave out to make b of the first ones of a; 99:
   too long. For words that were mistyped. */
ATOMDL_API int atomdl_edits(const char *a, size_t letters, const char *b);

/* All keys at their defaults: a 128 x 128 image of graphene. */
ATOMDL_API void atomdl_recipe_default(atomdl_recipe *recipe);

/* Defaults, then the lines of text (n bytes, hostile ones too), then
   atomdl_recipe_check. ATOMDL_EARG with line and reason; error may be NULL. */
ATOMDL_API int atomdl_recipe_parse(atomdl_recipe *recipe,
                                   atomdl_recipe_error *error,
                                   const char *text, size_t n);

/* One more line, which replaces that key's value; no check of the whole. */
ATOMDL_API int atomdl_recipe_set(atomdl_recipe *recipe,
                                 atomdl_recipe_error *error, const char *line);

/* Combinations that cannot be: ATOMDL_EARG and the reason. */
ATOMDL_API int atomdl_recipe_check(const atomdl_recipe *recipe,
                                   atomdl_recipe_error *error);

/* Writes the recipe with its end into text(size), as snprintf does; text NULL:
   size 0. all: every key and what it means, else only what differs from the
   defaults. Reading it back gives the same recipe. */
ATOMDL_API size_t atomdl_recipe_print(char *text, size_t size,
                                      const atomdl_recipe *recipe, int all);

/* Digest of the recipe's values, however they were written. */
ATOMDL_API uint64_t atomdl_recipe_digest(const atomdl_recipe *recipe);

/* The network of a recipe: rows (max) and arch as atomdl_fcn fills them. */
ATOMDL_API int atomdl_recipe_network(atomdl_arch *arch, atomdl_layer *row,
                                     int max, const atomdl_recipe *recipe);

/* The plan of its training: warm-up in steps, seed. */
ATOMDL_API atomdl_plan atomdl_recipe_plan(const atomdl_recipe *recipe);

/* ---------- Simulation: samples -------------------------------------------

   Sample i of a recipe is a function of the recipe, its seed and i alone:

       atomdl_source_new(&source, &recipe, NULL, 0, &arena);
       atomdl_sample_new(&sample, &source, i, 0, &arena);

   Measuring a sample tells what that one needs, to the byte; others may need
   more or less. Each gives back no memory of its own: restore arena.used. */

/* What the samples of a recipe share. */
typedef struct {
    const atomdl_recipe *recipe;
    const atomdl_motifs *motifs; /* NULL: no defect of the recipe needs them */
    const atomdl_atom *atom;     /* (atoms) the user's, or NULL */
    uint32_t atoms;
    /* of multislice images, as in atomdl_slicing; NULL at first */
    void (*watch)(void *of, int done, int all);
    void *of;
} atomdl_source;

/* Recipe and atoms (of its xyz file; else NULL and 0) stay the caller's. A
   tenth of a second where defects of graphene are drawn. */
ATOMDL_API int atomdl_source_new(atomdl_source *source,
                                 const atomdl_recipe *recipe,
                                 const atomdl_atom *atom, uint32_t atoms,
                                 atomdl_arena *arena);

typedef struct {
    atomdl_image image;
    uint8_t *label;             /* (h, w) classes */
    double pixel;               /* A */
    int material;               /* its number in the recipe */
    uint32_t lost;              /* defects that found no place */
    int misplaced;              /* first of the recipe's places among them,
                                   from 1; 0: none */
    atomdl_structure structure; /* the truth: pixel (i, j) lies at
                                   ((i + 1/2) pixel, (j + 1/2) pixel) */
} atomdl_sample;

/* raw: as a microscope's file would hold it, without augmentation and scaling
   for a network. */
ATOMDL_API int atomdl_sample_new(atomdl_sample *sample,
                                 const atomdl_source *source, uint64_t i,
                                 int raw, atomdl_arena *arena);

/* A movie of one specimen: the next frame of movie i, raw. Zero the movie
   before frame 0, which draws the defects; then they evolve by the recipe's
   events. Noise is new in each frame. defect has room for max. */
ATOMDL_API int atomdl_movie_frame(atomdl_sample *sample, atomdl_movie *movie,
                                  const atomdl_source *source, uint64_t i,
                                  atomdl_arena *arena);

/* ---------- Blobs ---------------------------------------------------------

   Bright blobs in a plane of an image: by scale space (Laplacian of Gaussian)
   or by one smoothing, then refined. x, y in pixels. All pixels are finite
   (ATOMDL_ENAN otherwise). Lists have room for max blobs; where there are
   more, the result is ATOMDL_ESHAPE and *count says how many. METHOD C. */

typedef struct {
    double x, y;   /* centre [px] */
    double sigma;  /* of the blob [px]; its disc has radius sqrt(2) sigma */
    double value;  /* response, peak height or fitted amplitude */
    double error;  /* s.d. of x and of y [px], Gaussian fits only; else 0 */
    int border;    /* 1: its disc reaches beyond the image */
    int fitted;    /* 1: the last refinement was accepted */
} atomdl_blob;

typedef struct {
    double sigma_min, sigma_max; /* [px], 0.3 .. 100 */
    int sigmas;           /* scales, evenly spaced, both ends included, <= 64 */
    double threshold;     /* responses above it count; >= 0 */
    double threshold_rel; /* ... and above this part of the greatest */
    double overlap;       /* of discs, above which the smaller one goes */
    int margin;           /* peaks nearer to the edge are left out [px] */
    int subpixel;         /* 1: parabolas through the responses, x and y */
    const atomdl_kernels *kernels; /* NULL: the fastest */
} atomdl_scales;

/* Blobs by scale space, falling in response: what blob_log of scikit-image
   finds in a binary64 image, the same in the same order; pairs are pruned in
   rising order (i, j), where scikit-image takes the order of a Python set.
   METHOD C.1. */
ATOMDL_API int atomdl_blobs(atomdl_blob *blob, int *count, int max,
                            const atomdl_image *image, int plane,
                            const atomdl_scales *how, atomdl_arena *arena);

typedef struct {
    double smooth;    /* sigma of the Gaussian [px], 0: none; <= 100 */
    double radius;    /* a peak is the greatest within it [px], 1 .. 1000 */
    double threshold; /* and above this */
} atomdl_peaks_plan;

/* Peaks of the smoothed plane in order of reading, to sub-pixels by parabolas
   (ties: the first). value is the smoothed height, sigma = radius / sqrt(2).
   METHOD C.3. */
ATOMDL_API int atomdl_peaks(atomdl_blob *blob, int *count, int max,
                            const atomdl_image *image, int plane,
                            const atomdl_peaks_plan *how, atomdl_arena *arena);

enum { ATOMDL_FIT_CENTROID, ATOMDL_FIT_GAUSSIAN };

typedef struct {
    int method;
    double radius;  /* of the window [px], 1 .. 100; centroid 0: 0.4 of the
                       distance to the nearest other blob */
    double sigma;   /* Gaussian: start [px] */
    double reach;   /* greatest way from the start that is accepted [px] */
    int sweeps;     /* at most: 4 (centroid), 30 (Gaussian) */
    int counts;     /* Gaussian: pixels are Poisson counts, weight 1/model;
                       else all pixels weigh the same */
} atomdl_refinement;

/* Refines n blobs on a plane, in place. Gaussian: all blobs jointly, each with
   amplitude, centre and local background, one sigma for all; a blob's pixels
   have its neighbours' tails taken away, in sweeps until nothing moves by
   1e-4 px. *sigma (may be NULL) gets the common width. A blob that leaves
   reach or turns negative keeps its place, fitted 0. Windows of 3 sigma reach
   the bound of counting noise within 10 %; errors take the neighbours' places
   as known. METHOD C.2. */
ATOMDL_API int atomdl_refine(atomdl_blob *blob, int n, double *sigma,
                             const atomdl_image *image, int plane,
                             const atomdl_refinement *how,
                             atomdl_arena *arena);

typedef struct {
    int *hit;       /* the caller's, NULL: not asked for; (na) <- partner of
                       a's point i, -1: none */
    int tp, fp, fn; /* of a: right, wrong; of b: not found */
    double rms;     /* distance of the pairs; 0 without pairs */
    double mean_x, mean_y; /* mean of a - b */
} atomdl_matches;

/* One-to-one pairs of points (x, y), na of a and nb of b, no farther apart than
   radius, nearest pairs first. */
ATOMDL_API int atomdl_match(atomdl_matches *m, const double *a, int na,
                            const double *b, int nb, double radius,
                            atomdl_arena *arena);

/* ---------- Graph ---------------------------------------------------------

   Atoms (columns, in projection) -> bonds -> rings -> defects. Lengths in A;
   x right, y down. METHOD C.4, D. */

typedef struct {
    double x, y;    /* [A] */
    double score;   /* of its detection, 0 .. 1 */
    double error;   /* s.d. of x and of y [A], 0: unknown */
    uint8_t z;      /* atomic number; of a vacancy, of what is missing */
    uint8_t count;  /* atoms in the column: 1, a pair of chalcogens 2, a
                       vacancy 0; a metal on a chalcogen site: 1 alone, 2
                       with one chalcogen */
    uint8_t border; /* 1: beside pixels that are no data; else 0 */
    uint8_t z_from, z_to; /* dopants of a sheet: atomic numbers that its signal
                       may be of, 0: not asked. One that is nothing within
                       them has z 0, an unknown element */
    float signal;   /* of such a dopant, over that of a carbon atom */
} atomdl_node;

typedef struct {
    uint8_t a, b;   /* atomic numbers, in either order; 0: any */
    double shortest, longest, ideal; /* [A]; bonds lie between, ends left out */
} atomdl_pair;

enum { ATOMDL_PAIR_KINDS = 6, ATOMDL_VALENCE = 4 };

/* Rules beyond METHOD D's papers: 1 holds, 0 does not. All hold by default; to
   leave one out is an ablation. The first two were made on one real frame
   each, of the 77 of silicon in graphene: RESULTS says what they are worth. */
typedef struct {
    int ring_of_four;  /* dopants across a ring of four are a pair, however far
                          apart noise has put them: a frame of Si2C6 */
    int rotor_corners; /* no bond between two dopants past a third that is
                          nearer to both: a frame of the rotor of four */
    int second_shell;  /* no bond past an atom that is much nearer, to one that
                          it is bonded to: simulated and real images whose
                          pixel size is some percent wrong */
    int lattice_site;  /* a single dopant whose count of bonds and whose site
                          in the lattice disagree is unsure: METHOD D.4 */
    int bond_scale;    /* windows of bonds are scaled by the mean bond of the
                          image, again for pixel sizes: METHOD D.1 */
    int dopant_fit;    /* heavy dopants are fitted in the image; the window by
                          the 77 frames and simulated ones: METHOD C.5 */
} atomdl_rules;

ATOMDL_API atomdl_rules atomdl_rules_all(void);

/* Rule i by its name, which is that of its field; NULL past the end. */
ATOMDL_API int *atomdl_rules_get(atomdl_rules *rules, int i,
                                 const char **name);

/* What may be bonded to what. User tables are welcome. */
typedef struct {
    const char *name;
    double a;          /* lattice constant */
    uint8_t host[2];   /* elements of the two sublattices; metal first */
    uint8_t count[2];  /* atoms in a column of them */
    uint8_t valence;   /* most bonds of an atom, 1 .. ATOMDL_VALENCE */
    atomdl_pair pair[ATOMDL_PAIR_KINDS]; /* first that fits; longest 0: end */
    const atomdl_rules *rules; /* NULL: all hold */
    double order;      /* tests of the ground, atomdl_ground: least order times
                          score; 0: not asked */
    double ratio[2];   /* the second sublattice's signal over the first's, both
                          above the hollow sites: bounds; 0: not asked */
} atomdl_chemistry;

/* Row i of the library's table, NULL past the end: graphene (with Si, B, N),
   h-bn, mos2, mose2, ws2, wse2, mote2, wte2. By name; NULL: none. */
ATOMDL_API const atomdl_chemistry *atomdl_chemistry_get(int i);
ATOMDL_API const atomdl_chemistry *atomdl_chemistry_find(const char *name);

/* Merges detections of several classes: a node of element `drop` closer than
   distance to one of element `keep` goes; of two of the same element, the one
   with the lower score. Returns how many stay, in order, or a status. */
typedef struct {
    uint8_t drop, keep; /* both 0: any two, as if all were of one element */
    double distance; /* [A] */
} atomdl_clash;
ATOMDL_API int atomdl_nodes_merge(atomdl_node *node, int n,
                                  const atomdl_clash *clash, int clashes,
                                  atomdl_arena *arena);

typedef struct {
    uint32_t a, b;  /* nodes, a < b */
    double length, error; /* [A]; error 0: unknown */
    double score;   /* the lower one of its nodes; below 1/2: uncertain */
} atomdl_bond;

typedef struct {
    uint32_t first, size; /* its nodes: corner[first ...] of the graph */
    double x, y, area;    /* mean of its nodes [A]; [A^2] */
    uint8_t border;       /* 1: it has a node near the border; 2: it goes
                             around what is no data */
} atomdl_ring;

enum { ATOMDL_NEAR_BORDER = 1, /* neighbours may lie outside of the image */
       ATOMDL_EDGE = 2,        /* a host atom bonded to a dopant */
       ATOMDL_DOPANT = 4 };
enum { ATOMDL_RING_SIZES = 33 };

typedef struct {
    const atomdl_chemistry *chemistry;
    const atomdl_node *node; /* the caller's */
    int nodes, bonds, rings, components;
    atomdl_bond *bond;       /* rising (a, b) */
    uint32_t *first;         /* (nodes + 1) neighbours of node i: link[first[i]
                                ... first[i + 1] - 1], rising in angle */
    uint32_t *link, *edge;   /* the neighbour; the bond */
    uint32_t *component;     /* (nodes) numbered in order of first node */
    uint8_t *flag;           /* (nodes) ATOMDL_NEAR_BORDER ... */
    atomdl_ring *ring;       /* in order of first half-bond */
    uint32_t *corner;
    int histogram[ATOMDL_RING_SIZES]; /* rings by size; the last: and more */
} atomdl_graph;

/* Builds the graph; its arrays live in the arena. Of each atom the 8 nearest
   by d / ideal are looked at; where an atom has more bonds than its valence,
   the longest by d / ideal go first, over the whole graph. Vacancies have no
   bonds. Rings are the inner faces of the plane graph without dangling atoms.
   field: x0, y0, x1, y1 of the image; nodes nearer than margin to its edge are
   NEAR_BORDER; field NULL: none. ATOMDL_ENAN: a coordinate that is not finite
   or beyond 1e6; ATOMDL_EARG: more than 256 atoms in a cell as wide as the
   longest bond. METHOD D.1, D.2. */
ATOMDL_API int atomdl_graph_new(atomdl_graph *g, const atomdl_node *node,
                                int n, const atomdl_chemistry *chemistry,
                                const double field[4], double margin,
                                atomdl_arena *arena);

/* Angle a - v - b [rad] and its s.d. from the errors of the nodes (may be
   NULL). */
ATOMDL_API double atomdl_angle(double *error, const atomdl_node *a,
                               const atomdl_node *v, const atomdl_node *b);

enum { /* what a defect is called; names as those of the simulator */
    ATOMDL_FOUND_OTHER,
    ATOMDL_FOUND_V1, ATOMDL_FOUND_V1_CLOSED, ATOMDL_FOUND_V2_OPEN,
    ATOMDL_FOUND_V2, ATOMDL_FOUND_V2_555777, ATOMDL_FOUND_STONE_WALES,
    ATOMDL_FOUND_HOLE6, ATOMDL_FOUND_PAIR57, ATOMDL_FOUND_BOUNDARY,
    ATOMDL_FOUND_HOLE, ATOMDL_FOUND_VACANCY,
    ATOMDL_FOUND_C3, ATOMDL_FOUND_C4, ATOMDL_FOUND_C3_V,
    ATOMDL_FOUND_UNSURE, /* counting and lattice disagree */
    ATOMDL_FOUND_2C4, ATOMDL_FOUND_2C5, ATOMDL_FOUND_2C6, ATOMDL_FOUND_3C6,
    ATOMDL_FOUND_4C6, ATOMDL_FOUND_DOPANTS,
    ATOMDL_FOUND_VX1, ATOMDL_FOUND_VX2, ATOMDL_FOUND_VM, ATOMDL_FOUND_M_X,
    ATOMDL_FOUND_M_X2, ATOMDL_FOUND_X_M, ATOMDL_FOUND_X2_M,
    ATOMDL_FOUND_SUB_M, ATOMDL_FOUND_SUB_X,
    ATOMDL_FOUND_X_C3, ATOMDL_FOUND_X_C4, ATOMDL_FOUND_X_C3_V, /* of unknown */
    ATOMDL_FOUND_X_UNSURE, ATOMDL_FOUND_X2_C4, ATOMDL_FOUND_X2_C5, /* dopants */
    ATOMDL_FOUND_X2_C6, ATOMDL_FOUND_X3_C6, ATOMDL_FOUND_X4_C6,
    ATOMDL_FOUND_COUNT
};
ATOMDL_API const char *atomdl_found_name(int kind); /* "other" ... */

enum { ATOMDL_DISTORTED = 1, /* angles of a dopant have s.d. > 15 degrees */
       ATOMDL_DISAGREE = 2,  /* counting and lattice rule */
       ATOMDL_AT_BORDER = 4, ATOMDL_TURNING = 8 /* rotor between states */ };
enum { ATOMDL_MEMBERS = 24 };

typedef struct {
    uint8_t kind;        /* ATOMDL_FOUND_... */
    uint8_t counted, site; /* single dopants: what each rule says by itself */
    uint8_t z;           /* of the (first) dopant, 0: none */
    uint8_t flags;
    int dopants, shell;  /* Si_m C_n: members, neighbours of other elements */
    int members;         /* of node[]: dopants, then shell; at most 24 */
    uint32_t node[ATOMDL_MEMBERS];
    double x, y;         /* mean of all nodes [A] */
    int bonds;           /* dopant - shell: number, mean, s.d., and the s.d. */
    double length, length_sd, length_error; /* of the mean [A] */
    int pairs;           /* dopant - dopant */
    double pair, pair_sd;
    int angles;          /* shell - dopant - shell, side by side [rad] */
    double angle, angle_sd, angle_error;
    double confidence;   /* the lowest score of its nodes */
    double site_margin;  /* lattice rule: lead of the best template, 0 .. 2 */
    double rotor, order; /* three dopants: angle mod 120 degrees [rad], and
                            |sum exp(3 i theta)| / 3 */
    int rings[ATOMDL_RING_SIZES]; /* sizes of the rings that form it */
} atomdl_found;

/* Lists defects: dopants joined by dopant-dopant bonds, or by two host atoms
   that both are bonded to, with the host atoms bonded to them (an atom that two
   defects share counts for both); then clusters of rings other than six; then
   nodes that are vacancies. Two-element hosts: columns that do not fit their
   sublattice, empty sites by rings. *count may exceed max: ATOMDL_ESHAPE.
   METHOD D. */
ATOMDL_API int atomdl_found_list(atomdl_found *found, int *count, int max,
                                 const atomdl_graph *g, atomdl_arena *arena);

/* sublattice (nodes) <- 0 metal, 1 chalcogen (B, N of h-BN), 255 unknown, by a
   vote of the elements six bonds around, whose sign turns at each bond, where
   half of the votes are left over, and off odd rings: such a ring or a boundary
   costs the nodes near it, and none behind it. */
ATOMDL_API int atomdl_sublattice(uint8_t *sublattice, const atomdl_graph *g,
                                 atomdl_arena *arena);

/* ---------- Intensities ---------------------------------------------------

   The conventional analysis of a dichalcogenide: the mean of the image over a
   disc at each column, then a mixture of three normal distributions of one
   width, whose means the image itself tells. METHOD F.2. */

/* chalcogens left of a pair */
enum { ATOMDL_LEVEL_X0, ATOMDL_LEVEL_X1, ATOMDL_LEVEL_X2, ATOMDL_LEVELS };

/* value (n) <- mean of a plane over the disc of `radius` [A] about each node,
   what of it lies in the image; pixels of pixel[0] x pixel[1] A. ATOMDL_ENAN: a
   node or a pixel is not finite. */
ATOMDL_API int atomdl_intensity(double *value, const atomdl_node *node, int n,
                                const atomdl_image *image, int plane,
                                const double pixel[2], double radius);

typedef struct {
    double mean[ATOMDL_LEVELS];   /* of each class */
    double sd;                    /* of all of them */
    double weight[ATOMDL_LEVELS]; /* part of the columns; may be 0 */
    double hollow, share;  /* mean of the hollow sites; how much of the
                              difference from it columns share */
    double one, one_error; /* what one atom adds over what two add; its s.d. */
    double hidden;         /* what may be missing unseen, over the columns */
    double mean_log;       /* mean log-likelihood of a column */
    int told;              /* 1: one atom can be told from two */
    int rounds;            /* of expectation and maximisation */
} atomdl_mixture;

/* Fits all of it to chalcogen columns, most of them pairs; hollow (n): what the
   hollow sites about each column show. ATOMDL_EMISSING: fewer than three
   columns, or pairs no brighter than those. */
ATOMDL_API int atomdl_mixture_fit(atomdl_mixture *m, const double *value,
                                  const double *hollow, int n);

/* p <- the probability of each class for a column. Returns the
   log-likelihood. */
ATOMDL_API double atomdl_mixture_posterior(double p[ATOMDL_LEVELS],
                                           const atomdl_mixture *m,
                                           double value, double hollow);

/* ---------- Sampling ------------------------------------------------------

   The pixel size from the lattice itself: reflections in the spectrum of the
   middle of an image (at most 512 x 512), a reciprocal basis fitted to them,
   compared with that of a hexagonal lattice of known constant. METHOD C.6. */

typedef struct {
    double pixel;      /* [A/px], sqrt of the area of a pixel */
    double x, y;       /* [A/px] along rows and along columns */
    double shear;      /* angle of the axes less 90 degrees [rad] */
    double angle;      /* of a reflection from the x axis, 0 .. 60 degrees
                          [rad] */
    double g[2][2];    /* two first reflections [1/px], 60 degrees apart */
    int reflections;   /* of the 18 nearest ones, how many stand out */
    double strength;   /* the weakest of the first ones over its background,
                          at most 99 */
    double confidence; /* 0 .. 1; below 1/2 better ask the user */
} atomdl_sampling;

/* Looks for pixel sizes lo .. hi [A/px] (0, 0: all that the image can hold)
   with lattice constant a [A]. ATOMDL_EMISSING: no lattice found. Good to a
   tenth or two of a bin: 1 to 2 % where the image is ten cells wide, 0.3 % at
   forty. Axes that differ by more than a fifth are beyond it. */
ATOMDL_API int atomdl_sampling_find(atomdl_sampling *s,
                                    const atomdl_image *image, int plane,
                                    double a, double lo, double hi,
                                    atomdl_arena *arena);

/* ---------- Finding atoms --------------------------------------------------

   From an image to its atoms, bonds and defects by a trained network: what
   `atomdl analyze` does. METHOD C, D, F. */

typedef struct { /* what a class of a network means, by its name */
    char name[32];
    uint8_t z, count;  /* as in atomdl_node */
    int background;    /* 1: it covers areas, there is nothing to find */
    double smooth;     /* sigma [A], before peaks are looked for */
    double radius;     /* a peak is the greatest within it [A] */
    double threshold;  /* of the smoothed probability */
} atomdl_class;

enum { /* why something was refused, or what to beware of */
    ATOMDL_NOTE_NONE,
    ATOMDL_NOTE_FILE, ATOMDL_NOTE_META,    /* weights: malformed; no network */
    ATOMDL_NOTE_NETWORK,                   /* ... that finds nothing here */
    ATOMDL_NOTE_NUMERICS,                  /* newer: the file's, ours */
    ATOMDL_NOTE_TENSOR, ATOMDL_NOTE_CLASS, /* at_fault says which */
    ATOMDL_NOTE_CLASSES,                   /* value: names, network's */
    ATOMDL_NOTE_SMALL,     /* image refused; value: w, h [px], w, h [A] */
    ATOMDL_NOTE_FLAT,                      /* one value everywhere */
    ATOMDL_NOTE_COARSE,                    /* value: A a pixel */
    ATOMDL_NOTE_LARGE,     /* value: A a pixel, w, h of the network's input */
    ATOMDL_NOTE_SATURATED, /* warnings; value: percent of the pixels */
    ATOMDL_NOTE_CLIPPED,   /* at the least value; scaling `level` */
    ATOMDL_NOTE_COARSER,                   /* than the network's images were */
    ATOMDL_NOTE_FEW,                       /* columns, for their intensity */
    ATOMDL_NOTE_LEVELS,                    /* of one and two, too near */
    ATOMDL_NOTE_EMPTY,                     /* no atoms */
    ATOMDL_NOTE_PIXEL,     /* value: the lattice's A a pixel, the known one,
                              difference in percent */
    ATOMDL_NOTE_DISTORTED, /* value: x : y of the lattice, shear in degrees */
    ATOMDL_NOTE_BLANK,     /* value: percent of the pixels that are no data */
    ATOMDL_NOTE_UNTESTED,  /* value: inner atoms, too few for the ground */
    ATOMDL_NOTE_SWAP,      /* value: the sublattices' ratio, either way round */
    ATOMDL_NOTE_UNKNOWN,   /* value: unknown elements, their least and greatest
                              atomic number */
    ATOMDL_NOTE_ALLOY,     /* value: single vacancies too bright for one
                              chalcogen, columns too bright for two */
    /* tests of the ground that failed */
    ATOMDL_NOTE_SPARSE,    /* value: atoms, those that the field would hold */
    ATOMDL_NOTE_DISORDER,  /* value: order times score, the least */
    ATOMDL_NOTE_RINGS,     /* value: percent of six atoms, the least */
    ATOMDL_NOTE_STRETCHED, /* value: the stretch, the most */
    ATOMDL_NOTE_DARK,      /* columns darker than what lies between them */
    ATOMDL_NOTE_LAYERS,    /* columns in the hollow sites */
    ATOMDL_NOTE_RATIO,     /* value: of the sublattices, the bounds */
    ATOMDL_NOTE_SCALE,     /* value: the lattice's A a pixel, the known one */
    ATOMDL_NOTES
};

typedef struct {
    int code;
    double value[4];
} atomdl_note;

/* What a note says: a format of printf for its values, all of them double;
   those of ATOMDL_NOTE_TENSOR and _CLASS take at_fault instead. */
ATOMDL_API const char *atomdl_note_text(int code);

typedef struct { /* a network and what its classes mean; stays where it is */
    const char *name; /* the caller's, for its messages */
    const atomdl_chemistry *chemistry;
    atomdl_meta meta;
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    float *values;
    int scaling;      /* ATOMDL_NORM_... */
    int classes;
    int guess;        /* 1: dopants are named by their signals */
    atomdl_class class_of[ATOMDL_CLASSES];
    atomdl_note why;  /* after a failure */
    char at_fault[64];
} atomdl_finder;

/* Opens the bytes of a weight file; values lie in the arena. A class named
   `dopant` is of the element of that number; 0: in dichalcogenides V, Mo or W,
   whichever signal is nearest to that of each (METHOD D.7), else V. chemistry
   NULL: the file by itself, its classes are not looked at. Measuring does all
   but read values. Whatever is wrong with the file, finder->why names it. */
ATOMDL_API int atomdl_finder_open(atomdl_finder *finder,
                                  const unsigned char *file, size_t size,
                                  const atomdl_chemistry *chemistry,
                                  int dopant, atomdl_arena *arena);

enum { ATOMDL_BOND_KINDS = 12 };

typedef struct { /* bonds between two elements */
    uint8_t a, b;    /* a >= b */
    int n;
    double mean, sd; /* [A] */
} atomdl_bond_kind;

typedef struct { /* rows of the network's probabilities that are done */
    int y0, y1;         /* rows y0 .. y1 - 1 of the network's input */
    int w, classes;
    size_t pitch, plane; /* floats from row to row, from class to class */
    const float *prob;  /* of row y0, column 0, class 0 */
} atomdl_band;

/* blank (h, w) <- which pixels of plane 0 are no data, not 0: what is not
   finite; several of one value twice as far from all others as those are from
   one another; squares of `side` pixels (2 or more; at the border half of that)
   of one value, and sides of the image, with runs of it that lead on, where
   they are no chance. *count <- how many; the image is mirrored into them,
   beyond 64 pixels lies its mean. ATOMDL_NO_DATA [A] is a side in which each
   lattice here shows an atom. ATOMDL_ENAN: no pixel is finite. METHOD D.8. */
#define ATOMDL_NO_DATA 2.0
ATOMDL_API int atomdl_image_blank(uint8_t *blank, size_t *count,
                                  atomdl_image *image, int side,
                                  atomdl_arena *arena);

typedef struct {
    double pixel_x, pixel_y; /* of the image [A]; see atomdl_pixel_find */
    const uint8_t *blank; /* (h, w) not 0: no data, see atomdl_image_blank, or
                           what is not to be looked at; NULL: all is data */
    double dark;        /* grey level without signal, for scaling `level` */
    int average;        /* 8: mean over the 8 symmetries of the image, slower
                           and better where noise is high; else 1 or 0 */
    int intensity;      /* 1: what counts chalcogens is the image, by METHOD
                           F.2, and not the network's classes */
    const atomdl_rules *rules; /* NULL: the chemistry's; stay where they are */
    int most;           /* room for so many peaks; 0: twice the lattice's */
    atomdl_use use;
    /* gets each band, from above, once; NULL: none. Not 0: the end, with that
       as status. */
    int (*band)(void *user, const atomdl_band *band);
    void *user;
} atomdl_find_how;

/* The tests of the ground: whether an image shows what the network and its
   material know, METHOD D.7. Asked where the network names the columns of both
   sublattices and the chemistry says what to expect. Inner nodes are those that
   are not near the border. */
typedef struct {
    int asked;      /* 1: to be tested; 0: nothing is known or failed */
    int tested;     /* 1: there were nodes enough */
    int inner;      /* nodes that order is the mean of */
    double found;   /* nodes over the columns that the field would hold */
    double order;   /* mean over inner nodes of |sum exp(3 i theta)| / 3 of
                       three bonds, 0 with more or fewer: 1 honeycomb */
    double score;   /* median of the nodes */
    double sixes;   /* rings of six, of all rings */
    double stretch; /* bonds along one axis over those across it, 1 or more */
    double depth;   /* middles of bonds below their ends, over what columns
                       show above hollow sites: positive where atoms are
                       bright */
    double pit;     /* halfway from hollow sites to their corners, less the
                       hollow sites, likewise: negative where columns stand in
                       them */
    double ratio;   /* of the sublattices above hollow sites; one element on
                       both: the fainter over the brighter; 0: unknown */
    atomdl_note failed; /* the first test that failed; code 0: none */
} atomdl_ground;

enum { ATOMDL_WARNINGS = 8 };

typedef struct { /* what an image shows; stays where it is */
    int net_w, net_h;        /* of the network's input */
    double data;             /* part of the image that is data */
    double area[ATOMDL_CLASSES]; /* mean probability of each class */
    int atoms;
    atomdl_node *node;       /* (atoms) by y; x, y = pixels times pixel_x, _y */
    atomdl_mixture mixture;  /* of the columns' intensities, if asked for */
    double *value;           /* (atoms) over that of a pair; else NULL */
    double sites;            /* chalcogen columns; 0: no dichalcogenide */
    int single, both;        /* of them with one, with both missing */
    double concentration, concentration_error; /* missing part; its s.d. */
    double unsure;           /* variance of what is missing, by posteriors */
    atomdl_chemistry bonds;  /* the finder's; pairs at the image's scale */
    atomdl_graph graph;
    int defects;
    atomdl_found *found;     /* (defects) */
    int *defect;             /* (atoms) the first that it is in, -1: none */
    int kinds;
    atomdl_bond_kind kind[ATOMDL_BOND_KINDS];
    atomdl_ground ground;
    int warnings;
    atomdl_note warning[ATOMDL_WARNINGS];
    atomdl_note why;         /* after ATOMDL_EARG: what is wrong */
    int most;                /* after ATOMDL_ESHAPE: how.most that will do */
} atomdl_findings;

/* Finds the atoms of an image (plane 0) with an open finder: all that
   `atomdl analyze` writes down. The image runs through the network in bands,
   so that memory beside the image does not grow with the map; measuring looks
   at sizes alone. What is found lies in the arena. ATOMDL_ESHAPE: there are
   more peaks or defects than room, to->most is the `most` to try again with.
   ATOMDL_EARG: the image is refused, to->why says why. ATOMDL_ENAN: a pixel
   is not finite. */
ATOMDL_API int atomdl_find(atomdl_findings *to, const atomdl_image *image,
                           const atomdl_finder *finder,
                           const atomdl_find_how *how, atomdl_arena *arena);

typedef struct {
    double x, y;             /* [A], 0: unknown */
    int from_lattice;        /* 1: found, 0: known before */
    atomdl_sampling lattice; /* what the lattice says; confidence 0: nothing */
    int warnings;
    atomdl_note warning[2];
    atomdl_note failed;      /* a test of the ground: ATOMDL_NOTE_SCALE; code 0:
                                passed, or nobody knows */
} atomdl_pixel;

/* Settles a pixel size: a known one is compared with what the lattice of the
   material says, an unknown one comes from there. ATOMDL_EARG: the known one
   shows no atoms, be it below 0.001 or above 10 A; ATOMDL_EMISSING: unknown,
   and no lattice tells. */
ATOMDL_API int atomdl_pixel_find(atomdl_pixel *pixel,
                                 const atomdl_image *image,
                                 const atomdl_chemistry *chemistry,
                                 atomdl_arena *arena);

/* ---------- Movies: tracks -------------------------------------------------

   movie.c: from lists of positions, frame by frame, to trajectories, classes
   and rates. Points are pairs xy[2 i], xy[2 i + 1] in any one unit of length,
   times count frames. Numbers that are not finite: ATOMDL_ENAN. Where an arena
   is the last argument, scratch comes from it and is given back, unless said
   otherwise; its size depends on the sizes among the arguments alone. */

typedef struct { /* points, or rows of features */
    const double *x; /* (n, d) */
    int n, d;
} atomdl_points;

/* One-to-one pairs of points of a and b (d = 2) nearer than gate, such that the
   sum of d^2 over pairs + gate^2 for each point of a without a partner is
   least.
   to[i] (na) <- partner of i in b, -1: none. *cost (may be NULL) <- that sum.
   Shortest augmenting paths within groups of points in reach of one another:
   about n times the size of such a group squared. METHOD E.3. */
ATOMDL_API int atomdl_assign(int *to, double *cost, const atomdl_points *a,
                             const atomdl_points *b, double gate,
                             atomdl_arena *arena);

/* Linking of frames as they come, in memory that does not grow. Private but
   for reading. */
typedef struct {
    int max, gap;      /* detections a frame, frames a track may be missing */
    double gate;       /* greatest step */
    uint32_t frame;    /* frames taken so far */
    uint32_t next;     /* number of the next track to be born */
    int live;          /* tracks seen in this or the last gap frames */
    int births, deaths; /* of the last step; a death shows gap + 1 frames
                           after the track was last seen */
    uint32_t *id, *seen; /* (live) number, frame of last sight */
    double *xy;          /* (live, 2) place of last sight */
    int *to;
    unsigned char *scratch;
    size_t scratch_size;
} atomdl_tracker;

/* Memory stays in arena. max 1..2^20, gap 0..16 (METHOD E.3: 2), gate > 0. */
ATOMDL_API int atomdl_tracker_new(atomdl_tracker *tracker, int max, int gap,
                                  double gate, atomdl_arena *arena);

/* track[i] (n) <- the track of detection i of the next frame: the optimal
   pairs of atomdl_assign between all live tracks and xy; the rest are born.
   shift[2] (may be NULL): how far the sample moved since the last frame.
   n above max: ATOMDL_ESHAPE, nothing done. A missing frame: n = 0. */
ATOMDL_API int atomdl_tracker_step(atomdl_tracker *tracker, uint32_t *track,
                                   const double *xy, int n,
                                   const double shift[2]);

/* ---------- Movies: motion ------------------------------------------------ */

enum { ATOMDL_LAGS = 64 };

/* Squared displacements by lag, of one track or of many. Start with {0}. */
typedef struct {
    double sum[ATOMDL_LAGS], square[ATOMDL_LAGS]; /* of |dr|^2, |dr|^4 at lag
                                                     i + 1 */
    uint32_t count[ATOMDL_LAGS];
} atomdl_msd;

/* Adds all pairs of points of one track, at rising frames, up to `lags`. */
ATOMDL_API int atomdl_msd_add(atomdl_msd *msd, const uint32_t *frame,
                              const double *xy, int n, int lags);

/* Mean squared displacement at a lag (1..ATOMDL_LAGS) and the standard error
   of the mean; overlapping intervals count as count / lag independent ones.
   0, 0 where there is none. */
ATOMDL_API double atomdl_msd_mean(double *error, const atomdl_msd *msd,
                                  int lag);

/* <|dr|^2> = 4 D lag + 4 s^2, least squares over lags 1..lags, each weighted
   as if its relative error were 1/sqrt(independent intervals). METHOD E.3. */
typedef struct {
    double diffusion;  /* D, length^2 per frame */
    double error;      /* of D: errors of all lags taken as one and the same,
                          an upper bound */
    double noise;      /* s^2: variance of x and y of a position; fits of
                          noise may turn it negative */
} atomdl_diffusion;

/* ATOMDL_EARG where fewer than two lags have pairs. */
ATOMDL_API int atomdl_msd_fit(atomdl_diffusion *fit, const atomdl_msd *msd,
                              int lags);

/* (i, j) <- the lattice vector i a + j b nearest to (dx, dy), basis = (ax, ay,
   bx, by); rest (may be NULL) <- what is left. Least number of steps between
   nearest lattice points, 6 a point where the angle of a and b is near 60 or
   120 degrees, else 4. Basis that spans no area: -1. */
ATOMDL_API int atomdl_hop_fold(int ij[2], double rest[2], double dx,
                               double dy, const double basis[4]);

/* Hops of one or many tracks on a lattice. Start with {0}. */
typedef struct {
    uint32_t steps, hops;   /* frames observed, hops (least number) */
    uint32_t count[5][5];   /* by lattice vector: [j + 2][i + 2], one entry for
                               each pair of consecutive sights */
    uint32_t far;           /* and those beyond */
    double square;          /* sum of |lattice vector|^2 */
} atomdl_hops;

ATOMDL_API int atomdl_hops_add(atomdl_hops *hops, const uint32_t *frame,
                               const double *xy, int n,
                               const double basis[4]);

/* Maximum likelihood: rate = hops/steps [per frame], D = sum |v|^2/(4 steps),
   which is rate a^2/4 when all hops have length a; the relative error of both
   is 1/sqrt(hops) (no hop: error = that of one). METHOD E.3. */
typedef struct {
    double rate, rate_error, diffusion, diffusion_error;
} atomdl_hop_rate;
ATOMDL_API atomdl_hop_rate atomdl_hops_rate(const atomdl_hops *hops,
                                            const double basis[4]);

/* Runs of equal state[n] >= 0 (a site, a class, an orientation); -1, not seen,
   belongs to the run before it. At most n of them; returns how many. */
typedef struct {
    int32_t state;
    uint32_t first, frames; /* where it starts, how long it is */
    uint8_t censored;       /* touches an end: it lasted at least so long */
} atomdl_dwell;
ATOMDL_API int atomdl_dwells(atomdl_dwell *dwell, const int32_t *state, int n);

/* ---------- Movies: drift ------------------------------------------------- */

/* From lattice atoms of two frames, METHOD E.3. (x, y) of the first frame is
   (x, y) + shift in the second; with the affine map, m (x, y) + t. */
typedef struct {
    double shift[2], error[2]; /* rigid, and its standard error */
    double m[4], t[2];         /* affine; 1 0 0 1 and shift if not asked for */
    double coherence; /* of the lattice phases, 0..1; below 0.2 the prior is
                         used instead of them */
    double rms;       /* of the pairs after the map */
    int pairs, known; /* lattice atoms, defects that agree */
} atomdl_drift;

typedef struct { /* what of a frame its drift against another is found by */
    atomdl_points lattice; /* atoms of one sublattice that bear no defect [A] */
    atomdl_points defect;  /* [A] */
    atomdl_image small;    /* the frame, scaled, for atomdl_phase_shift */
} atomdl_marks;

typedef struct {
    double basis[4];  /* ax, ay, bx, by of the lattice */
    double prior[2];  /* last frame's shift; 0, 0 */
    int affine;       /* 1: it may stretch and shear */
} atomdl_drift_how;

/* Lattice phases give the shift from a to b up to a lattice vector; of the
   shifts within two lattice vectors of prior that one is taken which brings
   most defects of a onto those of b, within half a lattice vector; a lattice
   vector away from prior counts as a defect less (two of them as four), and
   among equals the one nearest to prior is taken. Then least squares over the
   pairs of lattice atoms. ATOMDL_EARG: no pairs (three, not on a line, for
   affine), basis without area. */
ATOMDL_API int atomdl_drift_find(atomdl_drift *drift, const atomdl_marks *a,
                                 const atomdl_marks *b,
                                 const atomdl_drift_how *how,
                                 atomdl_arena *arena);

/* ---------- Movies: Fourier ----------------------------------------------- */

typedef struct {
    int plane;
    double prior[2], reach; /* [px] */
} atomdl_phase_how;

/* Shift between two images of one size, (x, y) of a is (x, y) + shift of b, by
   phase correlation: Hann window, cross-spectrum over its modulus + the mean
   modulus, low-passed (1/e at 0.2 cycles/px); the highest point within reach
   of prior, to sub-pixels by parabolas. A lattice has a peak at
   every lattice vector: reach below half of one and a prior tell them apart.
   *height (may be NULL) <- of the peak, 1 for equal images. */
ATOMDL_API int atomdl_phase_shift(double shift[2], double *height,
                                  const atomdl_image *a,
                                  const atomdl_image *b,
                                  const atomdl_phase_how *how,
                                  atomdl_arena *arena);

/* Defects of a first frame without any network, METHOD E.1: the lattice is
   subtracted, which leaves the low-passed image, scaled to 0..1. */
typedef struct {
    double cutoff;    /* cycles/px: 0.1 in the papers' code; better 0.75 / d,
                         d = spacing of the densest lattice rows [px] */
    double edge;      /* cosine edge, half its width relative to cutoff: 0.2;
                         0: a hard disc, as the papers' code */
    double low, high; /* label 1 below low, 2 above high: 0.25, 0.75 */
    double sigmas;    /* > 0: instead, so far from the mean, s.d. (2 to 3) */
} atomdl_subtraction;

/* label (h, w) <- 1: a dip (missing or lighter atom), 2: a bump, 0: neither;
   smooth (h, w; may be NULL) <- the scaled low-passed plane. */
ATOMDL_API int atomdl_first_frame(uint8_t *label, float *smooth,
                                  const atomdl_image *image, int plane,
                                  const atomdl_subtraction *how,
                                  atomdl_arena *arena);

/* ---------- Movies: sub-images -------------------------------------------- */

typedef struct {
    int side;          /* pixels across, 1..256 */
    int interpolation; /* ATOMDL_NEAREST, LINEAR, CUBIC */
    double angle;      /* of the lattice in the image, from x towards y */
    int fold;          /* rotations of its point group: 1, 2, 3, 4, 6 */
    int mirror;        /* 1: and the mirror across its x axis */
} atomdl_cutting;

/* x (n, side, side) <- a plane of image around each point [px], seen in the
   lattice's axes; op[i] (NULL: 0) turns sub-image i by op mod fold times 1/fold
   turn, mirrored first if op >= fold. Beyond the image its edge repeats. */
ATOMDL_API int atomdl_cut(float *x, const atomdl_image *image, int plane,
                          const double *xy, int n, const uint8_t *op,
                          const atomdl_cutting *how);

/* op[i] (n) <- the operation that makes sub-image i (as cut with op NULL) most
   like the others: highest correlation, within the inscribed disc, with a
   reference, at first the sub-image of greatest dipole, then the mean of all
   turned ones, `rounds` times (5, say). Cut again with op. METHOD E.2. */
ATOMDL_API int atomdl_orient(uint8_t *op, const float *x, int n,
                             const atomdl_cutting *how, int rounds,
                             atomdl_arena *arena);

/* mean (k, d) <- the mean of the rows of x (n, d) of each label (n; NULL: of
   all), 0 where there is none; count (k) may be NULL. Labels outside 0..k-1 do
   not count. */
ATOMDL_API void atomdl_class_means(double *mean, uint32_t *count,
                                   const float *x, const int *label, int n,
                                   int d, int k);

/* ---------- Movies: principal components ----------------------------------

   Of n rows of d numbers. Covariance (divided by n - 1) or, where n < d, the
   Gram matrix; Householder tridiagonal form, bisection, inverse iteration.
   A component's greatest entry (of equals the first) is positive. */

enum { ATOMDL_COMPONENTS = 64 };

typedef struct {
    int d, k;        /* length of a row, components kept */
    double total;    /* variance of everything */
    double *mean;    /* (d) */
    double *value;   /* (k) variance of each component, falling */
    double *vector;  /* (k, d) unit vectors */
    const atomdl_kernels *kernels; /* as asked for */
} atomdl_pca;

typedef struct {
    double fraction; /* of the total variance to keep, 0..1 */
    int most;        /* components, 1..ATOMDL_COMPONENTS */
    const atomdl_kernels *kernels; /* NULL: the fastest */
} atomdl_pca_how;

/* Keeps the least k whose variances make up `fraction` of total, at most
   `most`, n - 1 and d; at least 1. n >= 2, d <= 2^16,
   the lesser <= 2^14. The result takes arena memory and stays; scratch, about
   8 min(n, d)^2 bytes, does not. */
ATOMDL_API int atomdl_pca_fit(atomdl_pca *pca, const float *x, int n, int d,
                              const atomdl_pca_how *how, atomdl_arena *arena);

/* y (n, k) <- coordinates of the rows of x (n, d). */
ATOMDL_API int atomdl_pca_project(double *y, const atomdl_pca *pca,
                                  const float *x, int n, atomdl_arena *arena);

/* ---------- Movies: classes -----------------------------------------------

   Rows (n, d), binary64. d <= 1024, k <= ATOMDL_KINDS and n. */

enum { ATOMDL_KINDS = 32 };

typedef struct {
    int k, starts;   /* classes; starts, of which the best is kept */
    atomdl_rng rng;
    const atomdl_kernels *kernels; /* NULL: the fastest */
} atomdl_kmeans_how;

/* k-means++ and Lloyd's algorithm; start i draws from split(rng, i); the one of
   least inertia (of equals the first) is kept. label (n), centre (k, d),
   *inertia <- result. A class left empty takes the row farthest from its
   centre. */
ATOMDL_API int atomdl_kmeans(int *label, double *centre, double *inertia,
                             const atomdl_points *rows,
                             const atomdl_kmeans_how *how,
                             atomdl_arena *arena);

/* Gaussian mixture, by expectation-maximisation from the classes `label` (n).
   Memory for the result stays in arena. */
typedef struct {
    int k, d, full;   /* full: covariances, else variances */
    double *weight;   /* (k) */
    double *mean;     /* (k, d) */
    double *spread;   /* (k, d, d) covariances or (k, d) variances */
    double *factor;   /* inverse of the Cholesky factor, (k, d, d) lower, or
                         (k, d) 1/s.d. */
    double *bias;     /* (k) log(weight) - log normalisation */
    double mean_log;  /* mean log-likelihood of a row */
    double bic;       /* -2 log-likelihood + parameters log(n) */
    int rounds;       /* done */
} atomdl_gmm;

typedef struct {
    int k, full;      /* classes; 1: covariances, else variances */
    double reg;       /* added to every variance (1e-6) */
    double tolerance; /* ends when the mean log-likelihood rises by less */
    int rounds;       /* or after so many */
} atomdl_gmm_how;
ATOMDL_API int atomdl_gmm_fit(atomdl_gmm *gmm, const atomdl_points *rows,
                              const int *label, const atomdl_gmm_how *how,
                              atomdl_arena *arena);

/* density (n, k) (may be NULL) <- log p(x | class), what a hidden Markov
   model wants; posterior (n, k) (may be NULL) <- p(class | x); label (n) (may
   be NULL) <- the greatest. */
ATOMDL_API int atomdl_gmm_classify(double *density, double *posterior,
                                   int *label, const atomdl_gmm *gmm,
                                   const atomdl_points *rows,
                                   atomdl_arena *arena);

/* Ward's hierarchy by chains of nearest neighbours: time n^2 d, memory n d.
   merge (n - 1) by rising height, as SciPy's linkage: clusters 0..n-1 are the
   rows, n + i is merge i; a < b. kernels NULL: the fastest. */
typedef struct {
    uint32_t a, b, size;
    double height;
} atomdl_merge;
ATOMDL_API int atomdl_ward(atomdl_merge *merge, const atomdl_points *rows,
                           const atomdl_kernels *kernels, atomdl_arena *arena);

/* label (n) <- the k classes before the last k - 1 merges, numbered by their
   first row. */
ATOMDL_API int atomdl_ward_labels(int *label, const atomdl_merge *merge,
                                  int n, int k, atomdl_arena *arena);

/* Poisson counts: n / area with its 68 % interval (Gehrels 1986, within 2 %):
   0 counts have an upper end too. */
typedef struct {
    double value, low, high;
} atomdl_interval;
ATOMDL_API atomdl_interval atomdl_concentration(uint32_t n, double area);

/* ---------- Movies: Markov chains -----------------------------------------

   Up to ATOMDL_MARKOV states. METHOD E.4. */

enum { ATOMDL_MARKOV = 12 };

typedef struct {
    int states;
    uint32_t pair[ATOMDL_MARKOV][ATOMDL_MARKOV]; /* from, to */
    uint32_t triple[ATOMDL_MARKOV][ATOMDL_MARKOV][ATOMDL_MARKOV];
} atomdl_counts;

/* Adds one trace; -1, not seen, breaks it. Start with {0} and states set. */
ATOMDL_API int atomdl_counts_add(atomdl_counts *counts, const int32_t *state,
                                 int n);

typedef struct {
    int states;
    double p[ATOMDL_MARKOV][ATOMDL_MARKOV];  /* per frame; rows add up to 1 */
    double sd[ATOMDL_MARKOV][ATOMDL_MARKOV];
    double stationary[ATOMDL_MARKOV]; /* from equal shares, if not unique */
    double lifetime[ATOMDL_MARKOV], lifetime_sd[ATOMDL_MARKOV]; /* frames;
                                       1/(1 - p_ii); 0: no end was seen */
    double g, p_markov; /* likelihood ratio against chains of second order,
                           its probability (chi^2, Wilson-Hilferty) */
    int freedom;
} atomdl_markov;

/* Posterior mean and s.d. of each row under a Dirichlet prior of prior[i][j]
   (rows of ATOMDL_MARKOV; NULL: prior_each for every pair; 0: maximum
   likelihood; a row without counts and prior stays where it is). */
ATOMDL_API int atomdl_markov_solve(atomdl_markov *markov,
                                   const atomdl_counts *counts,
                                   double prior_each,
                                   double prior[][ATOMDL_MARKOV]);

/* ---------- Movies: hidden Markov models ----------------------------------

   Observations come as logb (n, states): log p(what frame t shows | state),
   -infinity allowed. Traces are concatenated; length (traces) of each. */

typedef struct {
    int states;
    double start[ATOMDL_MARKOV];
    double p[ATOMDL_MARKOV][ATOMDL_MARKOV];
} atomdl_hmm;

typedef struct {
    const double *logb;  /* (sum of length, states) */
    const int *length;   /* (n) */
    int n;               /* traces */
} atomdl_traces;

/* path (n) <- the most probable states, trace by trace; *score (may be NULL)
   <- its log-probability. ATOMDL_EARG: every path has probability 0. */
ATOMDL_API int atomdl_hmm_viterbi(int32_t *path, double *score,
                                  const atomdl_hmm *hmm,
                                  const atomdl_traces *traces,
                                  atomdl_arena *arena);

/* posterior (n, states) <- p(state at t | all of the trace), the confidence;
   *score (may be NULL) <- log-likelihood. */
ATOMDL_API int atomdl_hmm_posterior(double *posterior, double *score,
                                    const atomdl_hmm *hmm,
                                    const atomdl_traces *traces,
                                    atomdl_arena *arena);

typedef struct {
    double (*prior)[ATOMDL_MARKOV]; /* counts kappa A0; NULL: none */
    double tolerance;
    int rounds;
} atomdl_learning;

/* Baum-Welch from hmm: p_ij ~ expected transitions + prior[i][j]; zeros stay
   zero. Ends when log-likelihood + log prior rises by less than tolerance, or
   after `rounds`. *score <- log-likelihood. */
ATOMDL_API int atomdl_hmm_learn(atomdl_hmm *hmm, double *score,
                                const atomdl_traces *traces,
                                const atomdl_learning *how,
                                atomdl_arena *arena);

/* Labels of many sequences and the states behind them: how often a state is
   found as which label is learnt too. */
typedef struct {
    int states, labels, n;    /* n: sequences */
    int longest;              /* labels of one, at most */
    size_t all;               /* labels of all of them */
    int *length;              /* (n) of each */
    int32_t *label, *path;    /* (all) -1: unseen; the most probable states */
    double *logb, *posterior; /* (all, states) */
    atomdl_hmm hmm;
    double prior[ATOMDL_MARKOV][ATOMDL_MARKOV]; /* transitions, as counts */
    double found[ATOMDL_MARKOV][ATOMDL_MARKOV]; /* P(label | state) */
    int rounds;               /* of learning at a time, 0: none */
    double still;             /* least change of found that counts */
    double likelihood;
} atomdl_chains;

/* Arrays for n sequences of `all` labels, which are all unseen; they stay in
   arena. states, labels, n, longest, all are given. */
ATOMDL_API int atomdl_chains_new(atomdl_chains *c, atomdl_arena *arena);

/* From hmm, prior, found: transitions and, unless fixed, found, in turn until
   neither moves; path and posterior. METHOD E.4. */
ATOMDL_API int atomdl_chains_learn(atomdl_chains *c, int fixed,
                                   atomdl_arena *arena);

/* ---------- Movies: rotors ------------------------------------------------ */

/* A rotor of n = 3 (or any 2..8) atoms round a centre: METHOD D.3. */
typedef struct {
    double phi;      /* 1/n arg sum exp(i n theta), degrees */
    double quality;  /* |sum| / n */
    double angle[8]; /* of the polygon at each atom, by direction, degrees */
    uint8_t flagged; /* intermediate (half a scan): quality < 0.7, an angle 10
                        degrees off, or no n atoms */
    uint8_t switched; /* against the last frame not flagged: more than half of
                         the way (30 degrees of 120 for n = 3) */
} atomdl_rotor;

/* centre NULL: the mean of the atoms. atoms != n, NULL xy: flagged. */
ATOMDL_API int atomdl_rotor_measure(atomdl_rotor *rotor, const double *xy,
                                    int atoms, int n, const double *centre);

/* Fills in `switched` of a movie of rotors; *switches <- how many. */
ATOMDL_API void atomdl_rotor_switches(atomdl_rotor *rotor, int frames, int n,
                                      int *switches);

/* ---------- Movies: films -------------------------------------------------

   The sister of atomdl_find for frames in order. METHOD E. Of each frame that
   shows something, in this order: atomdl_find; atomdl_film_lattice (until it is
   based); atomdl_film_take: what the graph shows becomes spots, which are
   followed, and sights, intact chalcogens; atomdl_film_marks and _drift: the
   drift is taken away. A stream that shall not grow then calls
   atomdl_film_follow, which gives the spots their tracks.
     After the last frame: atomdl_film_sites and atomdl_film_believe until there
   is no `again`: what all frames together say of each site; _fill: what single
   frames missed; atomdl_film_follow for each frame; _chain, _rank, _tracks,
   _classes: classes by a hidden chain; _walk: hops by hidden walks.
     The caller owns the growing arrays of a film. Functions that take an arena
   are called twice, to measure and to work, and give scratch back, unless said
   otherwise; what they need depends on the film. */

enum {
    ATOMDL_CLASS_NAMES = (int)ATOMDL_FOUND_COUNT + (int)ATOMDL_CLASSES,
    ATOMDL_CLASS_NAME = 32,
    ATOMDL_INTACT = 5,  /* grades of columns found intact, surest first; */
    ATOMDL_GRADES = 10  /* then those found vacant, surest last */
};

typedef struct { /* a defect, or an atom, in one frame */
    uint32_t frame, track;
    int before;       /* the track's spot before this one, -1: none */
    double x, y;      /* as seen [A] */
    double u, v;      /* drift taken away: in the first frame [A] */
    double score;     /* 0: filled in */
    double length, angle, angle_sd, pair; /* [A], degrees; 0: none */
    double member[3][2]; /* of a trimer's atoms [A] */
    int dopants, shell;
    int kind, hidden; /* class as found, as the hidden chain says */
    double sure;      /* the latter's probability */
    int picture;      /* number of the one around it, -1: none; the caller's */
    int filled;       /* 1: only other frames say that it is there */
    int site;         /* of atomdl_sites, -1: none */
} atomdl_spot;

typedef struct { /* a chalcogen where no spot is */
    double uv[2];     /* as a spot's (u, v); (x, y) until the drift is known */
    int grade;        /* how surely it is whole */
    int site;         /* as a spot's */
} atomdl_sight;

typedef struct {
    uint32_t number;
    int atoms, empty, known;   /* known: its drift was found */
    size_t first, sight;       /* of its spots, of its sights */
    int spots, sights;         /* how many of them */
    double data;       /* part of the image that is data, as findings' */
    double m[4], t[2]; /* (x, y) of the first frame is m (x, y) + t here */
    double shift[2], error[2]; /* against the frame before [A] */
} atomdl_frame;

typedef struct { /* what all frames have in common */
    const atomdl_chemistry *chemistry;
    int w, h;                  /* [px] */
    double pixel_x, pixel_y;   /* [A] */
    int based;                 /* the vectors below are known */
    double basis[4];           /* lattice vectors, 60 degrees apart [A] */
    double hop[4];  /* between sites: the same, or a bond of graphene [A] */
} atomdl_view;

typedef struct { /* classes by the names of their defects or atoms */
    int n;
    char name[ATOMDL_CLASS_NAMES][ATOMDL_CLASS_NAME];
} atomdl_names;

/* The numbers of the method. Those without a paper were chosen on simulated
   movies of WS2 (tests/movies.py: 4e3 to 1e5 e/A2, 0.02 and 0.12 hops of a
   vacancy a frame); RESULTS has other seeds. The first five are rules that can
   be switched off, by 0. */
typedef struct {
    int doubt;   /* 1: where no more defects agree on a drift than would by
                    chance, they do not count: at low dose most are false */
    int leaps;   /* most leaps of the drift by a lattice vector that vacancies
                    betray and that are taken back: 8 */
    int visits;  /* 4 rounds in which what a site does is judged by what its
                    neighbours do; by itself its chain takes short visits for
                    false alarms */
    int gaps;    /* 1: vacancies that a frame missed are filled in */
    int parting; /* rounds in which walkers that seem to change places part
                    again: 6 */
    /* drift: METHOD E.3 */
    int few;           /* 3: fewer defects do not tell one lattice vector from
                          another, as all may have walked */
    double chance;     /* 2: so many times the defects that agree by chance,
                          and one more, must agree */
    double coherent;   /* 0.2: lattice phases below it tell nothing; n points at
                          random have about 1 / sqrt(n) */
    double peak;       /* 0.02: a lower one of phase correlation is none */
    /* sites of the chalcogen, in lattice constants but for edge */
    double same_site;  /* 0.35: no two chalcogens are nearer than twice that */
    double edge;       /* 2.5 A from the border the blobs that make columns are
                          cut, and their scores are others */
    double complex_reach; /* 0.65: chalcogens around a complex with the metal's
                          defect tell nothing, they are its own */
    /* sites as chains of two states, METHOD E.5; before learning: */
    double leave[2];   /* 0.002: an intact one becomes vacant in a frame; 0.05:
                          a vacant one intact, once in 20 frames */
    double counts;     /* 10 pseudo-counts keep all of that: a movie of few
                          vacancies cannot learn it */
    double visit_ways; /* 6 sites that one may hop to */
    int around;        /* 6 frames before and after a leap are asked */
    double rare;       /* -3.5: log-odds that a site is vacant, 3 % */
    double leap;       /* 2: vacancies more must leap than stay */
    /* tracks whose motion counts, METHOD E.3 */
    int seen, seen_short, film_short; /* seen in 8 frames; in films of fewer
                          than 20 in 2 */
    /* classes by a hidden chain, METHOD E.4; before learning: */
    double wrong;      /* 0.1: part of wrong classes */
    double change;     /* 0.1: P(a class changes) in a frame */
    double kappa;      /* 2 pseudo-counts of it, of the 1 to 20 of E.4 */
    /* hidden walks: hops, METHOD E.8 */
    uint32_t swap;     /* 6: frames in which two may seem to change places */
    uint32_t together; /* 3: frames of two tracks that may be of one vacancy */
    double gone;       /* 1e-3: that one vanishes in a frame, or appears */
    double alien;      /* 1e-6: likelihood of a site where another walker is */
    double rate;       /* 0.05 hops a frame before learning, between both of
                          those movies */
    int rounds;        /* 20 of learning it */
    /* memory and time: beyond these nothing is asked */
    double limit_labels; /* 2e7 sites x frames */
    double limit_walks;  /* 1e7 cells x frames x tracks */
} atomdl_film_rules;

ATOMDL_API void atomdl_film_defaults(atomdl_film_rules *rules);

/* Rule i of those that can be switched off, by its name, which is that of its
   field; NULL past the end. */
ATOMDL_API int *atomdl_film_rule(atomdl_film_rules *rules, int i,
                                 const char **name);

typedef struct {
    atomdl_film_rules rules;
    atomdl_view view;
    atomdl_names names;
    double gate;             /* longest step a frame of a track [A] */
    uint32_t frames;
    atomdl_frame *frame;     /* (frames) */
    atomdl_spot *spot;       /* (spots) in order of frames */
    size_t spots, spot_room;
    atomdl_sight *sight;     /* (sights) in order of frames */
    size_t sights, sight_room;
} atomdl_film;

/* Where a place (u, v) of the first frame lies in a frame [A]. */
ATOMDL_API void atomdl_frame_place(double xy[2], const atomdl_frame *frame,
                                   double u, double v);

/* view->basis, hop, based <- from bonds of an image, else from reflections. */
ATOMDL_API void atomdl_film_lattice(atomdl_view *view, const atomdl_graph *g,
                                    const atomdl_sampling *s);

/* One more spot of `frame`, of the class of that name; NULL: no room. */
ATOMDL_API atomdl_spot *atomdl_film_spot(atomdl_film *film,
                                         atomdl_frame *frame, double x,
                                         double y, const char *name);

/* The defects of a frame become spots, its whole chalcogens sights. Wants room
   for as many spots as there are defects and sights for all atoms, else
   ATOMDL_EMEM. */
ATOMDL_API int atomdl_film_take(atomdl_film *film, atomdl_frame *frame,
                                const atomdl_findings *got);

/* What the drift is found by, but for mark->small. lattice (atoms, 2) <- those
   of the host that bear no defect; defect (spots, 2) <- where those are. */
ATOMDL_API void atomdl_film_marks(atomdl_marks *mark, double *lattice,
                                  double *defect, const atomdl_film *film,
                                  const atomdl_frame *frame,
                                  const atomdl_findings *got);

/* From frame to frame, two in turn: [now] of this frame, [!now] of the last. */
typedef struct {
    int now;
    uint32_t taken;        /* frames so far */
    int affine;            /* drift may stretch and shear */
    atomdl_marks mark[2];
    double velocity[2];    /* of the last frame [A]; 0: not sure */
    atomdl_drift drift;    /* of the last frame */
} atomdl_drifting;

/* frame's m, t, shift, error, known: m and t come as those of the frame
   before. Then spots and sights get their place (u, v) in the first frame.
   Scratch depends on the marks. */
ATOMDL_API int atomdl_film_drift(atomdl_film *film, atomdl_frame *frame,
                                 atomdl_drifting *state, atomdl_arena *arena);

/* Gives a frame's spots their tracks; classes that cannot become one another
   are not linked. */
ATOMDL_API int atomdl_film_follow(atomdl_film *film, const atomdl_frame *frame,
                                  atomdl_tracker *tracker,
                                  atomdl_arena *arena);

/* ---------- Movies: what all frames say ----------------------------------- */

typedef struct { /* the chalcogen's sites, found in any frame */
    int n, room;
    double *place;       /* (room, 2) in the first frame [A] */
    signed char *grade;  /* (n, frames) of what was found there, < 0: unseen */
    uint8_t *missed;     /* (n, frames) 1: vacant, say all frames, though this
                            one did not find it */
    double found[2][ATOMDL_GRADES]; /* P(grade | intact), P(grade | vacant) */
    int too_many;        /* 1: beyond rules.limit_labels, not to be asked */
    int leaps;           /* of the drift, taken back so far */
    int again;           /* 1: one was just taken back: ask the sites again */
} atomdl_sites;

/* 1: of the film's spots some are chalcogen's, which other frames may deny. */
ATOMDL_API int atomdl_film_in_question(const atomdl_film *film);

/* sites->room that is surely enough; place is the caller's. */
ATOMDL_API int atomdl_film_sites_room(const atomdl_film *film);

/* Gives spots and sights their sites: those of the same places in earlier
   frames. Starts anew; leaps stays. */
ATOMDL_API int atomdl_film_sites(atomdl_film *film, atomdl_sites *sites,
                                 atomdl_arena *arena);

/* Each site is a hidden chain, intact or vacant, of what was found there and of
   what its neighbours do. Either a leap of the drift is taken back (again = 1:
   call atomdl_film_sites and this once more), or only spots that are likelier
   than not stay, and grade, missed, found are filled in. At low dose an intact
   column looks now and then as if it lacked an atom, each time another one; a
   vacancy stays a while. */
ATOMDL_API int atomdl_film_believe(atomdl_film *film, atomdl_sites *sites,
                                   atomdl_arena *arena);

/* How many vacancies single frames missed; adds them as spots, of the class
   that was seen there before. ATOMDL_EMEM: no room for them. */
ATOMDL_API size_t atomdl_film_gaps(const atomdl_film *film,
                                   const atomdl_sites *sites);
ATOMDL_API int atomdl_film_fill(atomdl_film *film, atomdl_sites *sites,
                                atomdl_arena *arena);

/* Each spot's `before`, by its track (< tracks). */
ATOMDL_API int atomdl_film_chain(atomdl_film *film, uint32_t tracks,
                                 atomdl_arena *arena);

typedef struct {
    uint32_t first;      /* of its spots, in order[] */
    int n, kind;         /* spots; its commonest class */
    int dopants;         /* and number of dopants */
    uint32_t begin, end; /* frames */
} atomdl_track;

typedef struct {
    uint32_t n;
    uint32_t *order;     /* (spots) track by track */
    atomdl_track *track; /* (n + 1) */
} atomdl_tracks;

/* Classes by how often they are seen; the rarest share one, so that at most
   ATOMDL_MARKOV are left. from (names): what class i was. */
ATOMDL_API void atomdl_film_rank(atomdl_film *film,
                                 int from[ATOMDL_CLASS_NAMES]);

/* tracks->n is given; arrays stay in arena. */
ATOMDL_API int atomdl_film_tracks(atomdl_tracks *tracks,
                                  const atomdl_film *film,
                                  atomdl_arena *arena);
ATOMDL_API atomdl_spot *atomdl_track_spot(const atomdl_film *film,
                                          const atomdl_tracks *tracks,
                                          const atomdl_track *track, int i);

/* 1: its motion counts. Few sights far apart are noise more often than a
   defect. */
ATOMDL_API int atomdl_track_counts(const atomdl_film *film,
                                   const atomdl_track *track);

/* 1: class i can become j, being of one family: silicon stays silicon, a
   chalcogen's site stays one. METHOD E.4. */
ATOMDL_API int atomdl_can_become(const atomdl_names *names, int i, int j);

/* Each track is a hidden chain of classes: spots get hidden and sure.
   confusion: part of wrong classes, 0: learnt. c's arrays stay in arena. */
ATOMDL_API int atomdl_film_classes(atomdl_film *film,
                                   const atomdl_tracks *tracks,
                                   atomdl_chains *c, double confusion,
                                   atomdl_arena *arena);

/* Hops of single vacancies a frame. Visits of a frame or two drown in noise,
   and tracks break where a vacancy hops: hops that are counted are too few.
   The likeliest rate is rather that of all that was found: each vacancy walks,
   hidden, on the sites of the chalcogen, into the margin and beyond the border
   too; seldom it vanishes or appears. Where others are it is not. */
typedef struct {
    double rate, error;  /* 0: not known */
    int too_many;        /* 1: beyond rules.limit_walks, not asked */
} atomdl_walk;
ATOMDL_API int atomdl_film_walk(atomdl_walk *walk, const atomdl_film *film,
                                const atomdl_tracks *tracks,
                                const atomdl_sites *sites,
                                atomdl_arena *arena);

#ifdef __cplusplus
}
#endif

/* ---------- For the library's own files -----------------------------------

   Each library file defines ATOMDL_LIBRARY before it includes this header and
   so guards itself against a build that would give other bits. */

#ifdef ATOMDL_LIBRARY
#include <float.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined __FAST_MATH__ || defined _M_FP_FAST
#error "AtomDL: remove -ffast-math / -Ofast: it gives other bits"
#endif
#if defined __FINITE_MATH_ONLY__ && __FINITE_MATH_ONLY__ > 0
#error "AtomDL: remove -ffinite-math-only: it gives other bits"
#endif
#if defined __ASSOCIATIVE_MATH__ || defined __RECIPROCAL_MATH__ \
    || defined __NO_SIGNED_ZEROS__
#error "AtomDL: remove -fassociative-math, -freciprocal-math and the like"
#endif
#if defined FLT_EVAL_METHOD && FLT_EVAL_METHOD != 0
#error "AtomDL: extra precision; x86: -msse2 -mfpmath=sse, s390x: \
-fexcess-precision=fast"
#endif
#if FLT_RADIX != 2 || FLT_MANT_DIG != 24 || FLT_MAX_EXP != 128 \
    || DBL_MANT_DIG != 53 || DBL_MAX_EXP != 1024
#error "AtomDL: float and double must be IEEE 754 binary32 and binary64"
#endif

#if defined __clang__
#pragma STDC FP_CONTRACT OFF
#elif defined __GNUC__
#pragma GCC optimize("fp-contract=off")
#elif defined _MSC_VER
#pragma fp_contract(off)
#endif

/* GCC's software binary64 for ARM (libgcc 12) rounds some sums the wrong way:
   1 - 0x1.d1dff78f6f0e4p-33 is one. Where there is no hardware for it, the
   compiler's calls go to atomdl_dadd and its kin in atomdl.c instead: the
   names are redirected within each library file alone. The compiler declares
   them global at their first use, so this function uses all three first. */
#if defined __arm__ && defined __GNUC__ \
    && !(defined __ARM_FP && (__ARM_FP & 8))
#define ATOMDL_SOFT_ADD
__attribute__((used, noinline)) static double
atomdl_redirect(volatile double *a)
{
    double sum = *a + a[1], difference = *a - a[1];
    __asm__ volatile(".local __aeabi_dadd, __aeabi_dsub, __aeabi_drsub\n\t"
                     ".set __aeabi_dadd, atomdl_dadd\n\t"
                     ".set __aeabi_dsub, atomdl_dsub\n\t"
                     ".set __aeabi_drsub, atomdl_drsub");
    return sum * difference;
}
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define PI 3.14159265358979323846

#ifdef ATOMDL_NO_TEXT
#define TEXT(s) ""
#else
#define TEXT(s) s
#endif

/* Decimal text. Digits with at most one point, s(n): *m 10^*e, of which digits
   after the first 18 are dropped. 0: malformed. Then the shortest text that
   reads back as v (single: as that float), 0 <= v < 1e20; out needs 80 bytes;
   returns the length, no end is written. */
ATOMDL_API int atomdl_decimal_scan(u64 *m, int *e, const char *s, size_t n);
ATOMDL_API int atomdl_decimal_write(char *out, double v, int single);

/* Vector kernels are written once, with the vector extension of gcc and clang:
   a file includes itself for each instruction set that the compiler can
   target, with V_ISA its name and V_BYTES the width of its vectors. V(f) is
   then this instruction set's f. */

#if !defined ATOMDL_NO_SIMD && (defined __clang__ || __GNUC__ >= 9)
#if defined __SSE2__
#define SIMD_BASE sse2
#elif defined __ARM_NEON && defined __aarch64__
#define SIMD_BASE neon
#elif defined __wasm_simd128__
#define SIMD_BASE simd128
#endif
/* gcc for Windows does not align the stack for vectors wider than 16 bytes:
   there, -DATOMDL_WIDE wants -Wa,-muse-unaligned-vector-move beside it. */
#if defined __x86_64__ && (!defined __MINGW32__ || defined __clang__ \
                           || defined ATOMDL_WIDE)
#define SIMD_WIDE
#endif
#endif

#if defined __clang__
#define SIMD_TARGET(isa, width) \
    _Pragma(SIMD_TEXT(clang attribute push(__attribute__((target(isa))), \
                                           apply_to = function))) \
    _Pragma(SIMD_TEXT(clang attribute push( \
        __attribute__((min_vector_width(width))), apply_to = function)))
#define SIMD_END _Pragma("clang attribute pop") _Pragma("clang attribute pop")
#define SIMD_AVX512 SIMD_TARGET("avx512f,avx512dq", 512)
#else
#define SIMD_TARGET(isa, width) \
    _Pragma("GCC push_options") _Pragma(SIMD_TEXT(GCC target(isa)))
#define SIMD_END _Pragma("GCC pop_options")
#define SIMD_AVX512 SIMD_TARGET("avx512f,avx512dq,prefer-vector-width=512", 512)
#endif
#define SIMD_AVX2 SIMD_TARGET("avx2", 256)

#define SIMD_JOIN_(a, b) a##b
#define SIMD_JOIN(a, b) SIMD_JOIN_(a, b)
#define SIMD_TEXT_(a) #a
#define SIMD_TEXT(a) SIMD_TEXT_(a)
#define V(name) SIMD_JOIN(name##_, V_ISA)
#define V_NAME SIMD_TEXT(V_ISA)

#if defined __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined __GNUC__
#define UNROLL _Pragma("GCC unroll 32")
#else
#define UNROLL
#endif
#ifdef __GNUC__
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* The width that kernels (NULL: the fastest) stand for. */
static inline int kernels_bits(const atomdl_kernels *kernels)
{
    return (kernels ? kernels : atomdl_kernels_find(NULL))->bits;
}

/* told, or where it is 0 OpenMP's choice. */
static inline int threads_asked(int told)
{
#ifdef _OPENMP
    return told > 0 ? told : omp_get_max_threads();
#else
    (void)told;
    return 1;
#endif
}

/* A test's build hears which kernel runs, of which instruction set. */
#ifdef ATOMDL_TRACE
void atomdl_trace(const char *isa, const char *kernel);
#define RAN(kernel) atomdl_trace(V_NAME, kernel)
#else
#define RAN(kernel) ((void)0)
#endif

/* Ends a function that took memory since `used`: what it took is given back. */
static inline int give_back(atomdl_arena *arena, size_t used, int status)
{
    arena->used = used;
    return status;
}

/* The same where all scratch is there; 1: no more to do, for want of memory,
   after a failure, or as one only measures. */
static inline int scratch_only(int *status, atomdl_arena *arena, size_t used)
{
    if (!*status) *status = atomdl_arena_status(arena);
    return give_back(arena, used, *status) || !arena->base;
}

/* The first of i's set; the path to it becomes shorter. */
static inline u32 root_of(u32 *parent, u32 i)
{
    while (parent[i] != i) i = parent[i] = parent[parent[i]];
    return i;
}

static inline int same_text(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

static inline double least(double a, double b) { return a < b ? a : b; }
static inline double most(double a, double b) { return a > b ? a : b; }
static inline int least_int(int a, int b) { return a < b ? a : b; }
static inline int most_int(int a, int b) { return a > b ? a : b; }
static inline double absolute(double x) { return x < 0 ? -x : x; }
static inline int is_finite(double x) { return x - x == 0; }

static inline int clamp_index(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

static inline void sum_row(float *to, const float *from, size_t n)
{
    for (size_t i = 0; i < n; i++) to[i] = to[i] + from[i];
}

/* The bound keeps compilers from calling strlen, which a bare machine may not
   have. */
static inline size_t text_length(const char *text)
{
    size_t n = 0;
    while (n < 0x7fffffff && text[n]) n++;
    return n;
}

/* Text that is read: a part of a text. */
typedef struct {
    const char *s;
    size_t n;
} words;

static inline int blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* part <- what stands before the first c, rest <- what follows it; 0: there is
   none, and part is all. */
static inline int split(words *part, words *rest, const words *text, char c)
{
    const char *s = text->s;
    size_t i = 0, n = text->n;
    while (i < n && s[i] != c) i++;
    int found = i < n;
    *part = (words){s, i};
    i += (size_t)found;
    *rest = (words){s + i, n - i};
    return found;
}

static inline words trimmed(words w)
{
    while (w.n && blank(w.s[w.n - 1])) w.n--;
    for (; w.n && blank(*w.s); w.n--) w.s++;
    return w;
}

/* The next word; 0 and an empty one: no more. */
static inline int take_word(words *word, words *line)
{
    for (; line->n && blank(*line->s); line->n--) line->s++;
    word->s = line->s;
    for (word->n = 0; word->n < line->n && !blank(line->s[word->n]);)
        word->n++;
    line->s += word->n;
    line->n -= word->n;
    return word->n > 0;
}

static inline int same_word(words w, const char *text)
{
    size_t i;
    for (i = 0; i < w.n; i++)
        if (!text[i] || text[i] != w.s[i]) return 0;
    return !text[i];
}

/* The next line without its comment and the blanks around it; 0: no more. */
static inline int take_line(words *line, words *rest)
{
    words comment;
    if (!rest->n) return 0;
    split(line, rest, rest, '\n');
    split(line, &comment, line, '#');
    *line = trimmed(*line);
    return 1;
}
#endif /* ATOMDL_LIBRARY */

#endif /* ATOMDL_H */
