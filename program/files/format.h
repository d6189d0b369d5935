/* SPDX-License-Identifier: MIT
   What the rooms of program/files share among themselves and with nobody
   else: the table of formats, the bytes of a file and the numbers in them,
   the stack that a reader fills, bytes that grow. */
#ifndef ATOMDL_FORMAT_H
#define ATOMDL_FORMAT_H

#define ATOMDL_LIBRARY /* the library's guards of float arithmetic */
#include "../../atomdl.h"
#include "files.h"

#include <stdarg.h>

/* ---------- The table of formats ------------------------------------------

   A new format is a file with its reader, and a row: its name (at most 7
   letters), the bytes of `start` ('?': any) that its files have from byte `at`
   on, the reader. The first row that fits reads the file, except that a reader
   which sees by a closer look that the file is none of its own returns
   NOT_MINE. The last row fits any file: a new one stands before it. Users are
   told what there is by FORMATS_READ, the list above io_stack_read, README.md
   (tests/test_cli.sh compares them) and tests/web/page.html. */

#define FORMATS_READ "PNG, JPEG, BMP, PGM, TIFF, DM3, DM4, MRC, SER, NPY"

#define FORMATS(ROW)                                  \
    ROW("MRC", 208, "MAP", read_mrc)                  \
    ROW("PNG", 0, "\x89PNG\r\n\x1a\n", read_png)      \
    ROW("JPEG", 0, "\xff\xd8\xff", read_jpeg)         \
    ROW("BMP", 0, "BM????\0\0\0\0", read_bmp)         \
    ROW("TIFF", 0, "II*\0", read_tiff)                \
    ROW("TIFF", 0, "MM\0*", read_tiff)                \
    ROW("TIFF", 0, "II+\0", read_tiff)                \
    ROW("TIFF", 0, "MM\0+", read_tiff)                \
    ROW("NPY", 0, "\x93NUMPY", read_npy)              \
    ROW("DM3", 0, "\0\0\0\3????\0\0\0?", read_dm)     \
    ROW("DM4", 0, "\0\0\0\4????????\0\0\0?", read_dm) \
    ROW("SER", 0, "II\x97\1", read_ser)               \
    ROW("PNM", 0, "P", read_pnm)                      \
    ROW("MRC", 0, "", read_mrc)

enum { NOT_MINE = -1 };

typedef struct {
    const unsigned char *p;
    size_t n;
    int big; /* byte order, as the reader finds it */
    const char *path;
} source;

/* 0: the stack is there; 1: not, and io_failed said why. */
typedef int format_reader(io_stack *s, source *f);
#define FORMAT_READER(name, at, start, reader) format_reader reader;
FORMATS(FORMAT_READER)

/* Sets the reason to "PATH: text", as by io_put, and returns 1. */
IO_PRINTF(2, 3) int io_failed(const char *path, const char *format, ...);

#define SHORT_FILE "the file is cut short or damaged"
#define NO_COMPLEX \
    "holds complex numbers; save their modulus as an image of real numbers"

/* ---------- Values -------------------------------------------------------- */

typedef struct {
    char kind;          /* 'u', 'i', 'f', 'b': 0 or 1, 'c': complex */
    unsigned char size; /* bytes; 0: no such type */
} value_type;

int has_bytes(const source *f, uint64_t at, uint64_t n);

/* an unsigned number of n <= 8 bytes; outside of the file: 0 */
uint64_t uint_at(const source *f, uint64_t at, int n);
uint64_t uint_of(const unsigned char *p, int n, int big);
void store_uint(unsigned char *p, uint64_t v, int n, int big);

/* Type i of a list, two characters each: "..u1i2f4", dots: none. */
value_type type_in(const char *list, uint64_t i);

/* 1 where the type is real; else 0 and the reason, from `unknown` and code. */
int type_is_real(const source *f, value_type t, const char *unknown,
                 uint64_t code);
void type_name(char name[12], value_type t);

float float_of(uint64_t v, value_type t);
void floats_of(float *x, const unsigned char *p, size_t n, value_type t,
               int big);
float grey_of(float r, float g, float b);

/* ---------- Words: each take passes over blanks, then what it takes -------

   Numbers with a point: strtod, of a copy that ends with a 0. */

typedef struct {
    const char *p, *end;
} cursor;

void take_blanks(cursor *c);
int take_text(cursor *c, const char *text);
int take_digits(cursor *c, size_t *v);

/* ---------- Stacks -------------------------------------------------------- */

/* Are these sizes ones that the file can have? 0: no, with the reason. */
int stack_fits(const source *f, uint64_t frames, uint64_t h, uint64_t w);

/* Room for the frames; 0: none, with the reason. */
int stack_new(io_stack *s, const source *f, uint64_t frames, uint64_t h,
              uint64_t w, value_type t);

/* Frames that lie in the file as they are, from byte `at`. */
int stack_plain(io_stack *s, const source *f, uint64_t at, uint64_t frames,
                uint64_t h, uint64_t w, value_type t);

/* A pixel of x such units in Å; 0 where that is no length of a pixel. */
double in_angstrom(double x, const char *unit);

/* What stb_image decodes, which takes files that are cut short, and bytes that
   are damaged, for good: check them first. */
int stb_decode(io_stack *s, const source *f);

/* A PNG of 8 bits, of 1 or 3 channels, from malloc. */
int stb_png(io_bytes *png, const void *px, int w, int h, int channels);

/* CRC-32 of a PNG's chunks */
unsigned png_checksum(const unsigned char *p, size_t n);

/* A zlib stream into raw(room); how many bytes came out, or -1. */
int stb_inflate(unsigned char *raw, size_t room, const source *f);

/* ---------- Bytes that grow: an io_text holds them too -------------------- */

/* n more bytes at the end, to be filled; NULL: there is no memory. */
unsigned char *text_room(io_text *t, size_t n);
void text_list(io_text *t, const char *format, va_list args);
void text_bytes(io_text *t, const void *bytes, size_t n);
void text_uint(io_text *t, uint64_t v, int n, int big); /* its lowest n bytes */
void text_floats(io_text *t, const float *x, size_t n);

typedef struct { /* the first bit lowest */
    io_text *to;
    uint64_t bits;
    int held;
} bit_writer;

void put_bits(bit_writer *w, unsigned v, int n); /* n <= 16 */
void end_bits(bit_writer *w);

enum { ZLIB_BLOCK = 1 << 16 }; /* bytes */

/* A zlib stream: n bytes more, best whole blocks; row: of rows of so many bytes,
   one and pixels of three, 0: of bytes. Not for two threads at once. */
typedef struct {
    bit_writer bits;
    uint32_t sum;
} zlib_writer;

void begin_deflated(zlib_writer *z, io_text *t);
void put_deflated(zlib_writer *z, const unsigned char *p, size_t n, size_t row);
void end_deflated(zlib_writer *z);

/* Bytes of the UTF-8 character at s; 0: not one. */
int utf8_bytes(const char *s);

#endif
