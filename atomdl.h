/* SPDX-License-Identifier: MIT
   AtomDL - deep learning of atomically resolved electron-microscope images.

   Finds atoms in scanning transmission electron microscope (STEM) images with
   small convolutional networks that it trains on images it simulates itself.
   C99, no dependencies, and the same bits on every machine.

   This part of the library: arithmetic, memory, random numbers, images.

       static unsigned char memory[1 << 20];
       atomdl_arena arena = {memory, sizeof memory, 0, 0, 0};
       atomdl_image image = {0};
       atomdl_rng rng = atomdl_rng_seed(1);
       const char *why;

       if (atomdl_selftest(&why) != ATOMDL_OK) return refuse(why);
       if (atomdl_image_new(&image, 128, 128, 1, &arena)) return 1;
       atomdl_rng_normal(&rng, image.px, 128 * 128);
       atomdl_image_normalise(&image, ATOMDL_NORM_STD);

   To use it, copy atomdl.h and atomdl.c into your project. */
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
      arguments: mathematics defines them, not this code. atan2f, erff, powf
      are the binary64 functions rounded to binary32. The binary64 functions
      are fixed sequences of + - * / (errors below). sqrt is IEEE's.
      From the C library nothing is used but memcpy, memset, memmove and sqrt
      (ATOMDL_SOFT_SQRT replaces sqrt by integer arithmetic, equal bits).
   3. A reduction has 16 lanes: element i goes to lane i mod 16, each lane
      adds its elements in rising order starting from +0, and the lanes are
      added as a tree: lane i += lane i + s for s = 8, 4, 2, 1.
   4. Random numbers are Philox4x32-10, counter-based. A stream is a 64-bit
      key and the upper 64 bits of the counter; words are taken in order.
      Splitting applies the same function to the identifier.
   5. Sorting is a stable merge sort: equal keys stay in order of index.
   6. Images are sampled at pixel centres, which lie at integers. Filter taps
      are added in rising order of the tap, columns first, then rows; weights
      are computed in binary64 and rounded once to binary32. Normalisation
      computes in binary64 and rounds each pixel once.
   7. A digest is FNV-1a (64 bit) over the little-endian bytes of values;
      every NaN counts as 0x7fc00000 (binary32). Memory layout plays no part.

   What can break it: -ffast-math, -Ofast, x87, flush-to-zero, a changed
   rounding mode. All of these are detected and refused, by #error or by
   atomdl_selftest(). */

#define ATOMDL_NUMERICS 1

/* ---------- Configuration -------------------------------------------------

   Define before compiling atomdl.c, all optional:
   ATOMDL_NO_SIMD    leave out the vector kernels (plain C only)
   ATOMDL_NO_TEXT    leave out the texts of atomdl_strerror and selftest
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
    ATOMDL_ENAN = -5    /* data hold a NaN or an infinity */
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

/* count items of size bytes, not cleared; NULL when measuring or failed. A
   product beyond size_t fails like any request that does not fit. */
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

/* At most 0.501 ulp from the exact value. */
ATOMDL_API float atomdl_atan2f(float y, float x);
ATOMDL_API float atomdl_erff(float x);
ATOMDL_API float atomdl_powf(float x, float y);

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

/* Sum, dot product and greatest absolute value of n floats, 16 lanes and
   tree (promise 3). n = 0 gives +0. */
ATOMDL_API float atomdl_sum(const float *x, size_t n);
ATOMDL_API float atomdl_dot(const float *x, const float *y, size_t n);
ATOMDL_API float atomdl_absmax(const float *x, size_t n);

/* ---------- Kernels -------------------------------------------------------

   The few loops that decide speed, once per instruction set. Every variant
   gives the bits of the plain C one; the tests compare them all. */

typedef struct {
    const char *name; /* "plain", "sse2", "avx2", "avx512", "neon", "simd128" */
    /* y[i] = atomdl_expf(x[i]); y may be x */
    void (*exp)(float *y, const float *x, size_t n);
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
   that, or NaN, gives 0. */
ATOMDL_API uint32_t atomdl_rng_poisson(atomdl_rng *rng, double mean);

/* order(n) = a random permutation of 0..n-1. */
ATOMDL_API void atomdl_rng_permutation(atomdl_rng *rng, uint32_t *order,
                                       uint32_t n);

/* ---------- Sorting ------------------------------------------------------- */

/* order(n) = indices that sort key(n) into rising order, equal keys in order
   of index; -0 equals +0. scratch(n) is overwritten. NaN: ATOMDL_ENAN. */
ATOMDL_API int atomdl_sort(uint32_t *order, const double *key, size_t n,
                           uint32_t *scratch);

/* ---------- Images --------------------------------------------------------

   c planes of h rows of w pixels: px[(plane * h + y) * w + x]. x points to
   the right, y down, pixel centres at integers. */

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
   sizes. Scratch (at most c (h_src w_dst + taps)) comes from arena. */
ATOMDL_API int atomdl_image_resize(atomdl_image *dst, const atomdl_image *src,
                                   atomdl_arena *arena);

enum { /* how atomdl_image_normalise scales, all planes together */
    ATOMDL_NORM_MINMAX,     /* least -> 0, greatest -> 1 */
    ATOMDL_NORM_STD,        /* mean -> 0, standard deviation -> 1 */
    ATOMDL_NORM_PERCENTILE, /* 2 (x - p50)/(p90 - p10), clipped to [-6, 30] */
    ATOMDL_NORM_COUNT
};

/* Scales in place. A constant image becomes 0. NaN, infinity: ATOMDL_ENAN. */
ATOMDL_API int atomdl_image_normalise(atomdl_image *image, int mode);

/* The value of rank floor(p (n - 1) + 1/2) among n finite floats, p in
   [0, 1]; n at least 1. Exact, four passes, no memory. */
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

#ifdef __cplusplus
}
#endif

/* ---------- For the library's own files -----------------------------------

   Each library file defines ATOMDL_LIBRARY before it includes this header and
   so guards itself against a build that would give other bits. */

#ifdef ATOMDL_LIBRARY
#include <float.h>
#include <string.h>

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
#endif /* ATOMDL_LIBRARY */

#endif /* ATOMDL_H */
