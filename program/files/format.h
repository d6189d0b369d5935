/* SPDX-License-Identifier: MIT
   What the rooms of program/files share among themselves: a file's bytes and
   the numbers in them, the stack that a reader fills, growing bytes. A reader
   returns 0, or 1 by way of io_failed. */
#ifndef ATOMDL_FORMAT_H
#define ATOMDL_FORMAT_H

#define ATOMDL_LIBRARY /* the library's guards of float arithmetic */
#include "../../atomdl.h"
#include "files.h"

/* Sets the reason to "PATH: text" and returns 1. */
IO_PRINTF(2, 3) int io_failed(const char *path, const char *format, ...);

#define SHORT_FILE "the file is cut short or damaged"
#define NO_COMPLEX \
    "holds complex numbers; save their modulus as an image of real numbers"

/* ---------- Values --------------------------------------------------------

   The bytes of a file, and the numbers in it. Readers ask has_bytes before
   they load. */

typedef struct {
    const unsigned char *p;
    size_t n;
    int big; /* byte order */
    const char *path;
} source;

typedef struct {
    char kind;          /* 'u', 'i', 'f', 'b': 0 or 1, 'c': complex */
    unsigned char size; /* bytes */
} value_type;

int has_bytes(const source *f, uint64_t at, uint64_t n);
uint64_t uint_of(const unsigned char *p, int n, int big);
uint64_t uint_at(const source *f, size_t at, int n);
float float_of(uint64_t v, value_type t);
void floats_of(float *x, const unsigned char *p, size_t n, value_type t,
                  int big);
float grey_of(float r, float g, float b);
void store_big(unsigned char *p, uint32_t v);

/* The values that 8 or 16 bits hold, the lower byte first or last. */
void store_levels(unsigned char *to, const float *px, size_t n, int bits,
                  int big);

/* ---------- Words --------------------------------------------------------- */

typedef struct {
    const char *p, *end;
} cursor;

void take_blanks(cursor *c);
int take_text(cursor *c, const char *text);
int take_digits(cursor *c, size_t *v);

/* ---------- Stacks -------------------------------------------------------- */

void name_type(io_stack *s, value_type t);
int stack_fits(const source *f, uint64_t frames, uint64_t h, uint64_t w);
int stack_new(io_stack *s, const source *f, uint64_t frames, uint64_t h,
              uint64_t w, value_type t);
int stack_plain(io_stack *s, const source *f, uint64_t at, uint64_t frames,
                uint64_t h, uint64_t w, value_type t);
void stack_pixel(io_stack *s, double x, double y, const char *unit);

int stb_decode(io_stack *s, source *f, int (*whole)(source *f));
int stb_inflate(unsigned char *to, size_t room, const source *f);

int read_png(io_stack *s, source *f);
int read_jpeg(io_stack *s, source *f);
int read_bmp(io_stack *s, source *f);
int read_pnm(io_stack *s, source *f);
int read_tiff(io_stack *s, source *f);
int read_npy(io_stack *s, source *f);
int read_dm(io_stack *s, source *f);
int read_mrc(io_stack *s, source *f);
int is_mrc(source *f, int old);
int read_ser(io_stack *s, source *f);

/* ---------- Bytes --------------------------------------------------------- */

void text_bytes(io_text *t, const char *s, size_t n);
int utf8_bytes(const char *s);
size_t deflate_bytes(unsigned char *to, const unsigned char *p, size_t n);

#endif
