/* SPDX-License-Identifier: MIT
   The only user of stb_image and stb_image_write, whose headers lie beside
   main.c or in /usr/include/stb. Their requests for memory end at stb_most
   bytes, which stops decompression bombs, and come cleared, so that a damaged
   file cannot show what memory held. */
#include "format.h"

#include <limits.h>
#include <stdlib.h>

static size_t stb_most, stb_row;

static void *stb_new(size_t n)
{
    return n > stb_most ? NULL : calloc(n ? n : 1, 1);
}

static void *stb_resize(void *p, size_t n)
{
    return n > stb_most ? NULL : realloc(p, n);
}

/* Its search for matches takes long and finds little in noisy pictures. */
static unsigned char *stb_deflated(unsigned char *data, int n, int *size,
                                   int quality)
{
    io_text t = {0};
    zlib_writer z;
    (void)quality;
    begin_deflated(&z, &t);
    put_deflated(&z, data, (size_t)n, stb_row);
    end_deflated(&z);
    *size = (int)t.n;
    if (t.failed) io_text_free(&t);
    return (unsigned char *)t.s;
}

#define STBI_MALLOC stb_new
#define STBI_REALLOC stb_resize
#define STBI_FREE free
#define STBI_MAX_DIMENSIONS IO_SIDE
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_SIMD
#define STBI_ASSERT(x) ((void)0)
#define STB_IMAGE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STBIW_CRC32 png_checksum
#define STBIW_ZLIB_COMPRESS stb_deflated
#define STB_IMAGE_WRITE_IMPLEMENTATION

#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wdouble-promotion"
#endif
/* Hostile JPEG coefficients overflow the ints of its cosine transform: let
   them wrap. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((no_sanitize( \
    "signed-integer-overflow"))), apply_to = function)
#elif defined __GNUC__
#pragma GCC push_options
#pragma GCC optimize("wrapv")
#endif
#if !defined __has_include
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#elif __has_include("../../stb_image.h")
#include "../../stb_image.h"
#include "../../stb_image_write.h"
#elif __has_include(<stb/stb_image.h>)
#include <stb/stb_image.h>
#include <stb/stb_image_write.h>
#else
#error "install libstb-dev, or lay stb_image.h, stb_image_write.h beside main.c"
#include "../../stb_image.h" /* the compiler stops here */
#endif
#ifdef __clang__
#pragma clang attribute pop
#elif defined __GNUC__
#pragma GCC pop_options
#endif
#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif

static int stb_failed(const source *f)
{
    return io_failed(f->path, "cannot be decoded (%s)", stbi_failure_reason());
}

/* Colours become grey, 0.30 R + 0.59 G + 0.11 B; opacity is ignored. */
static void stb_pixels(io_stack *s, const void *px, int c, int wide)
{
    const unsigned char *p8 = px;
    const stbi_us *p16 = px;
    float x[3];
    int used = c < 3 ? 1 : 3;
    for (size_t i = 0; i < s->h * s->w; i++, p8 += c, p16 += c) {
        for (int k = 0; k < used; k++) x[k] = wide ? p16[k] : p8[k];
        s->px[i] = used == 1 ? x[0] : grey_of(x[0], x[1], x[2]);
    }
}

int stb_decode(io_stack *s, const source *f)
{
    if (f->n > INT_MAX) return io_failed(f->path, "longer than 2 GiB");
    int n = (int)f->n, w, h, c;
    stb_most = 1 << 20;
    if (!stbi_info_from_memory(f->p, n, &w, &h, &c)) return stb_failed(f);
    int wide = stbi_is_16_bit_from_memory(f->p, n);
    unsigned rows = h < 0 ? 0 - (unsigned)h : (unsigned)h; /* BMP */
    if (!stack_new(s, f, 1, rows, (unsigned)w, type_in("u1u2", wide != 0)))
        return 1;
    stb_most += 2 * f->n + 24 * s->h * s->w;
    void *px = wide ? (void *)stbi_load_16_from_memory(f->p, n, &w, &h, &c, 0)
                    : (void *)stbi_load_from_memory(f->p, n, &w, &h, &c, 0);
    if (!px) return stb_failed(f);
    stb_pixels(s, px, c, wide);
    free(px);
    return 0;
}

int stb_png(io_bytes *png, const void *px, int w, int h, int channels)
{
    int n;
    stbi_write_force_png_filter = 1; /* differences to the left */
    stb_row = channels == 3 ? 3 * (size_t)w + 1 : 0;
    png->data = stbi_write_png_to_mem(px, 0, w, h, channels, &n);
    png->size = png->data ? (size_t)n : 0;
    return png->data ? 0 : io_failed("PNG", "no memory");
}

int stb_inflate(unsigned char *raw, size_t room, const source *f)
{
    if (f->n > INT_MAX || room > INT_MAX) return -1;
    return stbi_zlib_decode_buffer((char *)raw, (int)room,
                                   (const char *)f->p, (int)f->n);
}
