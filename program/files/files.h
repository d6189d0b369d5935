/* SPDX-License-Identifier: MIT
   Files for the program: whole files, images in, tables and pictures out.

   Functions return 0, or 1 with the reason in io_reason(): one line that
   begins with the file's name. */
#ifndef ATOMDL_FILES_H
#define ATOMDL_FILES_H

#include <stddef.h>
#include <stdint.h>

/* The text of the last failure; "" before the first. */
const char *io_reason(void);

/* n > 0 bytes from malloc; NULL: that there is no memory is the reason. */
void *io_new(size_t n);

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
    float *px;               /* (frames, h, w), from malloc */
    unsigned char *blank;    /* (frames, h, w) not 0: no data; from malloc; the
                                reader leaves it NULL */
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
   256. Refused are complex numbers, files cut short, files of more than 4 GiB,
   sides above IO_SIDE, more pixels than IO_PIXELS or than 2048 for each byte of
   the file. */
int io_stack_read(io_stack *stack, const char *path);
int io_stack_parse(io_stack *stack, const unsigned char *data, size_t size,
                   const char *path);

/* 1: all pixels are; 0: io_reason names the first that is not. */
int io_stack_finite(const io_stack *stack, const char *path);

/* Also after a failed read. */
void io_stack_free(io_stack *stack);

enum { IO_NPY_DIMS = 8 };

typedef struct {
    int dims;                /* 0...IO_NPY_DIMS */
    size_t dim[IO_NPY_DIMS]; /* rows first (C order) */
    size_t count;            /* their product */
    float *x;                /* (count), from malloc */
    char type[12];           /* of the file's values: "uint16", "float32" */
} io_npy;

/* An array of real numbers, rounded to float32, in C order whatever the
   file's; from a file or from its bytes. Every length is checked; NaN and
   infinity pass. */
int io_npy_read(io_npy *npy, const char *path);
int io_npy_parse(io_npy *npy, const unsigned char *data, size_t size,
                 const char *path);

/* ---------- Text ----------------------------------------------------------

   CSV, JSON, SVG, HTML, and the bytes of a GIF, grow in memory, from io_text
   t = {0}, and are written at the end. Numbers have the same characters on
   every machine: nothing of the C library's printf takes part. When memory
   ends, `failed` is set and io_text_write says so. */

typedef struct {
    char *s; /* n characters and a 0, from malloc; NULL while empty */
    size_t n, room;
    int failed, depth; /* depth: of JSON brackets */
} io_text;

#ifdef __GNUC__
#define IO_PRINTF(a, b) __attribute__((format(printf, a, b)))
#else
#define IO_PRINTF(a, b)
#endif

/* Appends. Known are %s %c %%, %d %u with l (%zu), %03d (digits at least), %06x
   (so many digits), and %.Nf with N up to 20: x rounded to N decimals, to
   nearest, from its exact value; ties to even; never "-0". */
IO_PRINTF(2, 3) void io_put(io_text *t, const char *format, ...);

enum { IO_JSON, IO_XML, IO_CSV };

/* Appends UTF-8 text made harmless: inside the quotes of a JSON string; in XML
   and HTML, attributes too; as a CSV field, quoted where needed. Bytes that
   are not UTF-8 become U+FFFD. */
void io_put_escaped(io_text *t, const char *s, int how);

/* JSON items; commas come by themselves. key NULL: in an array. The format
   makes a number, true, false or null:
       io_json_open(&t, NULL, '{');
       io_json(&t, "x", "%.3f", x);
       io_json_string(&t, "name", name);
       io_json_close(&t, '}'); */
IO_PRINTF(3, 4) void io_json(io_text *t, const char *key, const char *format,
                             ...);
void io_json_string(io_text *t, const char *key, const char *value);
void io_json_open(io_text *t, const char *key, char bracket);
void io_json_close(io_text *t, char bracket);

/* Base64, as in data:image/png;base64,... */
void io_put_base64(io_text *t, const unsigned char *p, size_t n);

/* The first two lines of extended XYZ, as ASE reads it; a cell of a x b x c Å.
   Rows "Si 1.0000 2.0000 0.0000\n" follow. columns: more of them, such as
   ":score:R:1", or "". */
void io_put_xyz_head(io_text *t, size_t atoms, double a, double b, double c,
                     const char *columns);

/* Writes the text as a file and frees it; or only frees it. */
int io_text_write(io_text *t, const char *path);
void io_text_free(io_text *t);

/* ---------- Images out ---------------------------------------------------- */

/* A PNG in memory: rows of w pixels of 1 (grey) or 3 (RGB) channels of 8 bits.
   png->data is from malloc. */
int io_png(io_bytes *png, const void *px, size_t w, size_t h, int channels);
int io_png_write(const char *path, const void *px, size_t w, size_t h,
                 int channels);

/* Grey of 16 bits, from the darkest pixel to the brightest. */
int io_grey_png_write(const char *path, const float *px, size_t w, size_t h);

/* float32; pixel: Å a pixel, as ImageJ writes it, 0: unknown. */
int io_tiff_write(const char *path, const float *px, size_t h, size_t w,
                  double pixel);

/* kind 'f': float32, 'u': uint8; C order. The head alone, for an array whose
   values come in pieces, goes into an empty text. */
int io_npy_write(const char *path, const void *data, char kind, int dims,
                 const size_t *dim);
void io_npy_head(io_text *t, char kind, int dims, const size_t *dim);

/* ---------- Drawing -------------------------------------------------------

   Pixel centres lie at integers; edges are smooth; what lies outside is cut
   off. Whole-number arithmetic throughout: equal bytes everywhere. */

typedef struct {
    int w, h;
    unsigned char *rgb; /* (h, w, 3), from malloc; black at first */
} io_canvas;

typedef struct {
    unsigned colour; /* 0xRRGGBB */
    int opacity;     /* 0...255 */
} io_pen;

int io_canvas_new(io_canvas *c, size_t w, size_t h);
void io_canvas_free(io_canvas *c);

/* An image enlarged by a whole number, linear in between; its percentiles low
   and high (0...1) become black and white. Image pixel x lies at canvas pixel
   zoom x + (zoom - 1) / 2. io_canvas_image: on a new canvas of its size. */
int io_draw_image(io_canvas *c, const float *px, size_t h, size_t w, int zoom,
                  double low, double high);
int io_canvas_image(io_canvas *c, const float *px, size_t h, size_t w,
                    int zoom, double low, double high);

void io_draw_line(io_canvas *c, double x0, double y0, double x1, double y1,
                  double width, io_pen pen);
void io_draw_disc(io_canvas *c, double x, double y, double radius, io_pen pen);
void io_draw_circle(io_canvas *c, double x, double y, double radius,
                    double width, io_pen pen);

/* UTF-8 text in letters of 5 x 7 times scale, (x, y) the upper left corner:
   ASCII and Å µ ° ±. label: with a black edge, and within the picture wherever
   it belongs. */
void io_draw_text(io_canvas *c, int x, int y, int scale, const char *text,
                  io_pen pen);
void io_draw_label(io_canvas *c, int x, int y, int scale, const char *text,
                   io_pen pen);
int io_text_width(const char *text, int scale); /* canvas pixels */

/* A bar with its length, lower left; pixel: Å a canvas pixel, 0: no bar. */
void io_draw_scale_bar(io_canvas *c, double pixel);

/* ---------- Animations ---------------------------------------------------- */

/* One more frame of a GIF that grows in memory, from io_text gif = {0}; how
   long it is shown. All canvases have the size of the first. */
void io_gif_frame(io_text *gif, const io_canvas *c, int hundredths);

/* Ends it and writes it as a file, and frees it. */
int io_gif_write(io_text *gif, const char *path);

#endif
