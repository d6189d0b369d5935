/* SPDX-License-Identifier: MIT
   Files for the program: whole files, images in, tables and pictures out.

   Functions return 0, or 1 with the reason in io_reason(): one line that
   begins with the file's name. */
#ifndef ATOMDL_IO_H
#define ATOMDL_IO_H

#include <stddef.h>
#include <stdint.h>

/* The text of the last failure; "" before the first. */
const char *io_reason(void);

/* ---------- Whole files --------------------------------------------------- */

typedef struct {
    unsigned char *data; /* from malloc */
    size_t size;
} io_bytes;

/* All bytes of a file of at most `limit` bytes; directories are refused. */
int io_read(io_bytes *bytes, const char *path, size_t limit);

/* The file appears whole or not at all: written beside as PATH.part, then
   renamed. Devices and pipes are written in place. */
int io_write(const char *path, const void *data, size_t size);

/* ---------- Images in ----------------------------------------------------- */

enum {
    IO_SIDE = 1 << 17,   /* longest side of an image, pixels */
    IO_PIXELS = 1 << 30  /* most pixels of a file, all frames together */
};
#define IO_FILE ((size_t)-1 >> 1 < 0xffffffff ? (size_t)-1 >> 1 : 0xffffffff)

typedef struct {
    size_t frames, h, w;
    float *px;               /* (frames, h, w), from malloc, all finite */
    double pixel_x, pixel_y; /* Å a pixel along rows, columns; 0: unknown */
    char format[8];          /* "PNG", "DM3", ... */
    char type[12];           /* of the file's pixels: "uint16", "float32" */
} io_stack;

/* Reads an image or a stack, from a file or from its bytes; `path` is for
   messages. The first bytes tell the format, not the name. Read are:

     PNG JPEG BMP   8 and 16 bits
     PNM            PGM and PPM, raw and text, 8 and 16 bits
     TIFF           integers of 8 to 64 bits, floats of 16 to 64, strips and
                    tiles, none, LZW, deflate, PackBits, predictors, pages,
                    ImageJ's stacks; pixel size of DigitalMicrograph, ImageJ
     DM3 DM4        Gatan's: the first image that is not the thumbnail
     MRC            modes 0 1 2 6 12
     SER            TIA's, both lengths of offsets; rows come from the bottom
     NPY            2 or 3 axes, any real type, byte order, C or Fortran order

   Values are the file's own as float32; RGB becomes (77 R + 150 G + 29 B) /
   256. Refused are complex numbers, NaN and infinite pixels, files cut short,
   files of more than 4 GiB, sides above IO_SIDE, more pixels than IO_PIXELS or
   than 2048 for each byte of the file. */
int io_stack_read(io_stack *stack, const char *path);
int io_stack_parse(io_stack *stack, const unsigned char *data, size_t size,
                   const char *path);

/* Also after a failed read. */
void io_stack_free(io_stack *stack);

enum { IO_NPY_DIMS = 8 };

typedef struct {
    int dims;                /* 0...IO_NPY_DIMS */
    size_t dim[IO_NPY_DIMS]; /* rows first (C order) */
    size_t count;            /* their product */
    float *x;                /* (count), from malloc */
} io_npy;

/* An array of real numbers, rounded to float32, in C order whatever the
   file's; from a file or from its bytes. Every length is checked; NaN and
   infinity pass. */
int io_npy_read(io_npy *npy, const char *path);
int io_npy_parse(io_npy *npy, const unsigned char *data, size_t size,
                 const char *path);

#endif
