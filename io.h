/* SPDX-License-Identifier: MIT
   Files for the program: whole files in, whole files out, NumPy arrays.

   Functions return 0, or 1 with the reason in io_reason(): one line that
   begins with the file's name. */
#ifndef ATOMDL_IO_H
#define ATOMDL_IO_H

#include <stddef.h>

/* The text of the last failure; "" before the first. */
const char *io_reason(void);

typedef struct {
    unsigned char *data; /* from malloc */
    size_t size;
} io_bytes;

/* All bytes of a file of at most `limit` bytes; directories are refused. */
int io_read(io_bytes *bytes, const char *path, size_t limit);

/* The file appears whole or not at all: written beside as PATH.part, then
   renamed. */
int io_write(const char *path, const void *data, size_t size);

enum { IO_NPY_DIMS = 8 };

typedef struct {
    int dims;                /* 0...IO_NPY_DIMS */
    size_t dim[IO_NPY_DIMS]; /* rows first (C order) */
    size_t count;            /* their product */
    float *x;                /* (count), from malloc */
} io_npy;

/* An array of little-endian float32 in C order ('<f4', as numpy.save writes
   it), from a file or from its bytes; `path` is for messages. Every length is
   checked; NaN and infinity pass. */
int io_npy_read(io_npy *npy, const char *path);
int io_npy_parse(io_npy *npy, const unsigned char *data, size_t size,
                 const char *path);

#endif
