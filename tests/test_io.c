/* SPDX-License-Identifier: MIT
   Files of the program: every format in, from files made here byte by byte,
   cut and damaged; every format out; text, numbers, drawing. Real files of the
   microscopes are read when ATOMDL_DATA names their folder. */

#define _POSIX_C_SOURCE 200809L
#include "test.h"
#include "../program/files/files.h"

#ifndef _WIN32
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

/* stb_image_write's, which stb.c holds */
unsigned char *stbi_zlib_compress(unsigned char *data, int n, int *out,
                                  int quality);

#define GOOD "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n"

/* An array file of that header and n bytes of values, cut to `cut` bytes; 0:
   it was read. */
static int parse(io_npy *npy, int version, const char *header, size_t n,
                 size_t cut)
{
    unsigned char file[300] = "\x93NUMPY";
    size_t length = strlen(header), at = version > 1 ? 12 : 10;
    file[6] = (unsigned char)version;
    file[8] = (unsigned char)length;
    memcpy(file + at, header, length);
    at += length;
    if (n >= 8) {
        atomdl_storef(file + at, 1.5f);
        atomdl_storef(file + at + 4, -2);
    }
    int bad = io_npy_parse(npy, file, at + n < cut ? at + n : cut, "x.npy");
    if (bad) CHECK(!npy->x && !strncmp(io_reason(), "x.npy: ", 7));
    return bad;
}

void test_io_npy(void)
{
    static const char *const BAD[] = {
        "", "{}", "{'descr': '<f4', 'shape': (2, 1), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (2, 1), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1), }",
        "{'descr': '<f4', 'fortran_order': None, 'shape': (2, 1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 1, 1, 1, "
        "1, 1, 1, 1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': "
        "(4294967296, 4294967296, 4294967296), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), } x",
        "{'descr': '<f4', 'descr': '<f4', 'shape': (2, 1), }",
    };
    io_npy a;
    for (int v = 1; v <= 3; v++) {
        CHECK(!parse(&a, v, GOOD, 8, 300));
        CHECK(a.dims == 2 && a.dim[0] == 2 && a.dim[1] == 1 && a.count == 2);
        CHECK(a.x[0] == 1.5f && a.x[1] == -2);
        free(a.x);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        if (!parse(&a, 1, BAD[i], 8, 300)) FAIL("read: %s", BAD[i]);
    for (size_t i = 0; i < 10 + strlen(GOOD) + 8; i++) /* every shorter file */
        CHECK(parse(&a, 1, GOOD, 8, i));
    CHECK(parse(&a, 1, GOOD, 9, 300));
    CHECK(parse(&a, 4, GOOD, 8, 300));
}

/* ---------- A file in the making ------------------------------------------ */

static struct {
    unsigned char b[1 << 16];
    size_t n;
    int big;
} file;

static void start(int big)
{
    file.n = 0;
    file.big = big;
}

static void put(uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        file.b[file.n++] = (unsigned char)(v >> 8 * (file.big ? bytes - 1 - i
                                                              : i));
}

static void put_raw(const void *p, size_t n)
{
    memcpy(file.b + file.n, p, n);
    file.n += n;
}

/* v as kind 'u', 'i', 'f' of so many bytes */
static void put_value(double v, char kind, int bytes)
{
    if (kind == 'f' && bytes == 8) put(atomdl_bits64(v), 8);
    else if (kind == 'f') put(atomdl_bits((float)v), 4);
    else put((uint64_t)(int64_t)v, bytes);
}

/* The first n bytes of the file, from memory that ends with them. */
static int read_part(io_stack *s, size_t n)
{
    unsigned char *copy = malloc(n ? n : 1);
    memcpy(copy, file.b, n);
    int bad = io_stack_parse(s, copy, n, "x");
    free(copy);
    CHECK(bad ? !s->px && !strncmp(io_reason(), "x: ", 3) : s->px != NULL);
    return bad;
}

/* Damages every byte in three ways: whatever is read, nothing breaks. */
static void damage(void)
{
    static const unsigned char WAY[] = {0xff, 0x01, 0x80};
    io_stack s;
    for (size_t i = 0; i < file.n; i++)
        for (size_t k = 0; k < 3; k++) {
            file.b[i] ^= WAY[k];
            if (!read_part(&s, file.n)) io_stack_free(&s);
            file.b[i] ^= WAY[k];
        }
}

/* Reads the file; every shorter one must be refused. */
static int read_and_cut(io_stack *s)
{
    io_stack part;
    for (size_t i = 0; i < file.n; i++)
        if (!read_part(&part, i)) {
            FAIL("%s read from %lu of %lu bytes", part.format,
                 (unsigned long)i, (unsigned long)file.n);
            io_stack_free(&part);
            break;
        }
    damage();
    return read_part(s, file.n);
}

static void check_stack(io_stack *s, const char *format, const char *type,
                        size_t frames, size_t h, size_t w)
{
    if (strcmp(s->format, format) || strcmp(s->type, type)
        || s->frames != frames || s->h != h || s->w != w)
        FAIL("%s %s %lux%lux%lu, want %s %s", s->format, s->type,
             (unsigned long)s->frames, (unsigned long)s->h,
             (unsigned long)s->w, format, type);
}

static void refused(const char *why)
{
    io_stack s;
    if (!read_part(&s, file.n)) {
        FAIL("read: %s", why);
        io_stack_free(&s);
    } else if (!strstr(io_reason(), why)) {
        FAIL("%s, want: %s", io_reason(), why);
    }
}

/* ---------- PNG, JPEG, BMP, PNM ------------------------------------------- */

/* 8 x 8 pixels of 100 */
static const unsigned char JPEG[] = {
    255, 216, 255, 224, 0, 16, 74, 70, 73, 70, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0,
    255, 219, 0, 67, 0, 16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19,
    24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51, 56,
    55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103,
    104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99, 255, 192, 0,
    11, 8, 0, 8, 0, 8, 1, 1, 17, 0, 255, 196, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 4, 255, 196, 0, 20, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 255, 218, 0, 8, 1, 1, 0, 0, 63, 0, 11, 255, 217,};

/* 2 x 3 pixels, 2 bits of a palette: black, red, (10, 20, 30) */
static const unsigned char PNG[] = {
    137, 80, 78, 71, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 0, 2, 0,
    0, 0, 3, 2, 3, 0, 0, 0, 196, 132, 54, 18, 0, 0, 0, 12, 80, 76, 84, 69, 0, 0,
    0, 255, 0, 0, 10, 20, 30, 0, 0, 0, 248, 155, 9, 85, 0, 0, 0, 14, 73, 68, 65,
    84, 120, 156, 99, 16, 96, 152, 192, 224, 0, 0, 2, 70, 0, 225, 249, 76, 0,
    214, 0, 0, 0, 0, 73, 69, 78, 68, 174, 66, 96, 130,};

void test_io_png_jpeg(void)
{
    static const unsigned char CODES[] = {0xff, 0xc4, 0, 83, 0, 0, 32, 0};
    static const unsigned char TWO[] = {
        6, 'P', 'L', 'T', 'E', 0, 0, 0, 255, 0, 0, 27, 255, 141, 34};
    float red = 77 * 255 / 256.0f, dark = (770 + 3000 + 870) / 256.0f;
    start(0);
    put_raw(JPEG, sizeof JPEG);
    io_stack s;
    if (!read_and_cut(&s)) {
        check_stack(&s, "JPEG", "uint8", 1, 8, 8);
        for (size_t i = 0; i < 64; i++) CHECK(s.px[i] == 100);
        io_stack_free(&s);
    }
    start(0); /* more Huffman codes than there are */
    put_raw("\xff\xd8", 2);
    put_raw(CODES, sizeof CODES);
    while (file.n < 21) put(32, 1);
    file.n += 66;
    put_raw(JPEG + 20, sizeof JPEG - 20);
    refused("cut short or damaged");
    start(0);
    put_raw(PNG, sizeof PNG);
    if (!read_and_cut(&s)) {
        check_stack(&s, "PNG", "uint8", 1, 3, 2);
        CHECK(s.px[0] == 0 && s.px[1] == red && s.px[2] == dark);
        CHECK(s.px[3] == red && s.px[4] == red && s.px[5] == 0);
        io_stack_free(&s);
    }
    file.b[50] ^= 1; /* a checksum */
    refused("cut short or damaged");
    start(0); /* a palette of two colours: black beyond it */
    put_raw(PNG, 36);
    put_raw(TWO, sizeof TWO);
    put_raw(PNG + 57, sizeof PNG - 57);
    if (!read_and_cut(&s)) {
        CHECK(s.px[1] == red && s.px[2] == 0 && s.px[3] == red);
        io_stack_free(&s);
    }
}

static void put_bmp(int old, int bits, int w, int h)
{
    int row = (w * bits + 31) / 32 * 4;
    int colours = bits == 8 ? 4 + 4 * old : bits == 1; /* of a palette */
    int at = 14 + (old ? 12 : 40) + colours * (old ? 3 : 4);
    start(0);
    put_raw("BM", 2);
    put((unsigned)(at + row * abs(h)), 4);
    put(0, 4);
    put((unsigned)at, 4);
    put(old ? 12 : 40, 4);
    put((unsigned)w, old ? 2 : 4);
    put((unsigned)h, old ? 2 : 4);
    put(1, 2);
    put((unsigned)bits, 2);
    for (int i = 0; i < 24 && !old; i += 4)
        put(i == 16 ? (unsigned)colours : 0, 4);
    for (int i = 0; i < colours; i++) put(0x0a0a0a * (unsigned)i, old ? 3 : 4);
    for (int i = 0; i < row * abs(h); i++)
        put(bits == 8 ? (unsigned)i % 4 : (unsigned)i, 1);
}

void test_io_bmp_pnm(void)
{
    static const struct {
        const char *text;
        int n;
        const char *type;
        float first, last;
    } GOOD_PNM[] = {
        {"P5 2 2 255\n\1\2\3\4", 15, "uint8", 1, 4},
        {"P5\n# made\n2 2\n# by hand\n300\n\1\1\0\2\0\3\1\4", 36, "uint16",
         257, 260},
        {"P6 1 2 255\n\10\20\30\0\0\0", 17, "uint8",
         (77 * 8 + 150 * 16 + 29 * 24) / 256.0f, 0},
        {"P2 2 2 70 1 2 3 4", 17, "uint8", 1, 4},
        {"P3 1 1 65535 256 256 256", 24, "uint16", 256, 256},
    };
    static const char *const BAD_PNM[] = {
        "P5 2 2 0\n1234", "P5 2 2 65536\n12341234", "P5 2\n", "P5 x 2 255\n",
        "P5 2 2 255", "P5 2 3 255\n12345", "P4 2 2\n11", "P2 2 2 255 1 2 3",
        "P5 0 2 255\n", "P5 200000 1 255\n", "P5 99999999999999999999 1 9\n",
    };
    io_stack s;
    for (size_t i = 0; i < 5; i++) {
        start(0);
        put_raw(GOOD_PNM[i].text, (size_t)GOOD_PNM[i].n);
        if (i < 3 ? read_and_cut(&s) : read_part(&s, file.n)) {
            FAIL("PNM %lu: %s", (unsigned long)i, io_reason());
            continue;
        }
        check_stack(&s, "PNM", GOOD_PNM[i].type, 1, s.h, s.w);
        CHECK(s.px[0] == GOOD_PNM[i].first);
        CHECK(s.px[s.h * s.w - 1] == GOOD_PNM[i].last);
        io_stack_free(&s);
    }
    for (size_t i = 0; i < sizeof BAD_PNM / sizeof *BAD_PNM; i++) {
        start(0);
        put_raw(BAD_PNM[i], strlen(BAD_PNM[i]));
        refused("");
    }
    for (size_t i = 0; i < 3;
         i++) { /* bytes b g r, rows from the bottom or the top */
        put_bmp(i == 2, 24, 2, i == 1 ? -3 : 3);
        if (read_and_cut(&s)) {
            FAIL("BMP: %s", io_reason());
            continue;
        }
        check_stack(&s, "BMP", "uint8", 1, 3, 2);
        CHECK(s.px[i == 1 ? 0 : 4] == (77 * 2 + 150 * 1 + 0) / 256.0f);
        CHECK(s.px[i == 1 ? 5 : 1] == (77 * 21 + 150 * 20 + 29 * 19) / 256.0f);
        io_stack_free(&s);
    }
    put_bmp(0, 8, 5, 2);
    CHECK(!read_and_cut(&s));
    CHECK(s.px && s.px[0] == 0 && s.px[3] == 30 && s.px[4] == 0);
    io_stack_free(&s);
    file.b[file.n - 8] = 4; /* a colour beyond the palette of four */
    refused("not in the palette");
    file.b[file.n - 8] = 0;
    file.b[20] = 200; /* a width beyond all bounds */
    refused("a side of more than");
    file.b[20] = 0;
    file.b[30] = 1; /* run lengths */
    refused("cannot be decoded");
    put_bmp(1, 8, 4, 2);
    CHECK(!read_and_cut(&s));
    CHECK(s.px && s.px[2] == 20 && s.px[7] == 30);
    io_stack_free(&s);
    file.b[file.n - 1] = 4; /* the last pixel of all */
    refused("not in the palette");
    put_bmp(0, 8, 4, 2);
    put(0xffffffff, 8); /* what follows the pixels are none */
    CHECK(!read_part(&s, file.n));
    CHECK(s.px && s.px[7] == 30);
    io_stack_free(&s);
    file.b[10] = 30; /* pixels within the head, no palette before them */
    memset(file.b + 30, 0, file.n - 30);
    refused("not in the palette");
    put_bmp(0, 1, 2, 1);
    CHECK(!read_and_cut(&s));
    CHECK(s.px && s.w == 2 && s.px[0] == 0 && s.px[1] == 0);
    io_stack_free(&s);
    file.b[file.n - 4] = 0x40; /* the second bit, of one colour */
    refused("not in the palette");
}

/* ---------- TIFF ---------------------------------------------------------- */

typedef struct {
    int big, bytes;
    char kind;
    int compression, predictor, tiled, pages, samples, planar, photometric;
    size_t w, h;
    const char *text;
} tiff_spec;

static double tiff_value(const tiff_spec *t, size_t page, size_t y, size_t x,
                         size_t k)
{
    double v = (double)((page * 50 + y * t->w * 7 + x * 3 + 10 * k) % 120);
    return t->kind == 'f' ? v / 4 - 3 : t->kind == 'i' ? v - 40 : v;
}

static float tiff_expected(const tiff_spec *t, size_t page, size_t y, size_t x)
{
    double v = tiff_value(t, page, y, x, 0);
    if (t->photometric == 2)
        v = (77 * v + 150 * tiff_value(t, page, y, x, 1)
             + 29 * tiff_value(t, page, y, x, 2)) / 256;
    if (t->photometric == 0)
        v = (t->kind == 'u' ? pow(256, t->bytes) - 1 : 0) - v;
    return (float)v;
}

/* Codes as writers make them; a plain search for the longest string. */
static size_t lzw_encode(const unsigned char *in, size_t n, unsigned char *out)
{
    static unsigned short before[4096];
    static unsigned char last[4096];
    unsigned next = 258, bits = 9, held = 9, c;
    uint64_t buffer = 256;
    size_t i = 0, done = 0;
    while (i < n) {
        unsigned code = in[i++];
        for (; i < n; i++, code = c) {
            for (c = 258; c < next; c++)
                if (before[c] == code && last[c] == in[i]) break;
            if (c == next) break;
        }
        buffer = buffer << bits | code;
        held += bits;
        while (held >= 8) out[done++] = (unsigned char)(buffer >> (held -= 8));
        if (i < n) {
            before[next] = (unsigned short)code;
            last[next++] = in[i];
        }
        if (next == 512 || next == 1024 || next == 2048) bits++;
        if (next == 4094) {
            buffer = buffer << bits | 256;
            held += bits;
            next = 258;
            bits = 9;
        }
    }
    /* The decoder has met one string more when it reads the last code. */
    next++;
    if (next == 512 || next == 1024 || next == 2048) bits++;
    buffer = buffer << bits | 257;
    held += bits;
    while (held >= 8) out[done++] = (unsigned char)(buffer >> (held -= 8));
    out[done++] = (unsigned char)(buffer << (8 - held));
    return done;
}

static size_t packbits_encode(const unsigned char *in, size_t n,
                              unsigned char *out)
{
    size_t i = 0, k, done = 0;
    while (i < n) {
        for (k = 1; k < 128 && i + k < n && in[i + k] == in[i]; k++) {}
        if (k > 2) {
            out[done++] = (unsigned char)(257 - k);
            out[done++] = in[i];
        } else {
            k = n - i < 3 ? n - i : 3;
            out[done++] = (unsigned char)(k - 1);
            memcpy(out + done, in + i, k);
            done += k;
        }
        i += k;
        if (i == 6) out[done++] = 128; /* means nothing */
    }
    return done;
}

/* Appends the chunk at (top, left) of plane k0: filtered and compressed. */
static void tiff_put_chunk(const tiff_spec *t, size_t page, size_t top,
                           size_t left, size_t h, size_t w, size_t k0)
{
    size_t samples = t->planar == 2 ? 1 : (size_t)t->samples, from = file.n;
    size_t size = (size_t)t->bytes;
    size_t row = w * samples * size;
    for (size_t y = top; y < top + h; y++)
        for (size_t x = left; x < left + w; x++)
            for (size_t k = 0; k < samples; k++)
                put_value(tiff_value(t, page, y, x, k0 + k), t->kind, t->bytes);
    size_t n = file.n - from;
    unsigned char *raw = malloc(n);
    unsigned char *spare = malloc(n);
    unsigned char *out = malloc(2 * n + 64);
    memcpy(raw, file.b + from, n);
    file.n = from;
    for (size_t y = 0; y < h && t->predictor == 2; y++)
        for (size_t x = row - size; x >= samples * size; x -= size) {
            unsigned borrow = 0;
            for (size_t i = 0; i < size; i++) {
                size_t b = y * row + x + (t->big ? size - 1 - i : i);
                unsigned a = raw[b], c = raw[b - samples * size] + borrow;
                raw[b] = (unsigned char)(a - c);
                borrow = a < c;
            }
        }
    for (size_t y = 0; y < h && t->predictor == 3; y++) {
        for (size_t i = 0; i < row; i++) /* bytes of most weight first */
            spare[i] = raw[y * row + i % (row / size) * size
                           + (t->big ? i / (row / size)
                                     : size - 1 - i / (row / size))];
        for (size_t i = row - 1; i >= samples; i--)
            spare[i] = (unsigned char)(spare[i] - spare[i - samples]);
        memcpy(raw + y * row, spare, row);
    }
    int made;
    if (t->compression == 5) {
        n = lzw_encode(raw, n, out);
        put_raw(out, n);
    } else if (t->compression == 32773) {
        n = packbits_encode(raw, n, out);
        put_raw(out, n);
    } else if (t->compression == 8) {
        unsigned char *z = stbi_zlib_compress(raw, (int)n, &made, 8);
        put_raw(z, (size_t)made);
        free(z);
    } else {
        put_raw(raw, n);
    }
    free(raw);
    free(out);
    free(spare);
}

static void tiff_entry(int tag, int type, size_t count, uint64_t v)
{
    put((unsigned)tag, 2);
    put((unsigned)type, 2);
    put(count, 4);
    put(v, type == 3 && count == 1 ? 2 : 4);
    if (type == 3 && count == 1) put(0, 2);
}

/* Strips of 3 rows or tiles of 2 x 2; tables behind the pixels. */
static void put_tiff(const tiff_spec *t)
{
    size_t cw = t->tiled ? 2 : t->w,
           ch = t->tiled    ? 2
                : t->h > 40 ? 60
                            : 3,
           chunks = 0;
    size_t link = 4;
    size_t planes = t->planar == 2 ? (size_t)t->samples : 1;
    start(t->big);
    put_raw(t->big ? "MM" : "II", 2);
    put(42, 2);
    put(0, 4);
    size_t text = file.n;
    put_raw(t->text ? t->text : "?", t->text ? strlen(t->text) + 1 : 1);
    put(25, 4); /* resolution 25 / 10 */
    put(10, 4);
    size_t offset[64], count[64], k;
    for (size_t page = 0; page < (size_t)t->pages; page++) {
        for (chunks = 0, k = 0; k < planes; k++)
            for (size_t y = 0; y < t->h; y += ch)
                for (size_t x = 0; x < t->w; x += cw, chunks++) {
                    size_t rows = t->tiled || t->h - y > ch ? ch : t->h - y;
                    offset[chunks] = file.n;
                    tiff_put_chunk(t, page, y, x, rows, cw, k);
                    count[chunks] = file.n - offset[chunks];
                }
        size_t list = file.n;
        for (size_t i = 0; i < chunks && chunks > 1; i++) put(offset[i], 4);
        for (size_t i = 0; i < chunks && chunks > 1; i++) put(count[i], 4);
        size_t i = file.n;
        file.n = link;
        put(i, 4);
        file.n = i;
        put(t->tiled ? 17 : 16, 2);
        tiff_entry(256, 3, 1, t->w);
        tiff_entry(257, 4, 1, t->h);
        tiff_entry(258, 3, 1, (unsigned)t->bytes * 8);
        tiff_entry(259, 3, 1, (unsigned)t->compression);
        tiff_entry(262, 3, 1, (unsigned)t->photometric);
        tiff_entry(270, 2, t->text ? strlen(t->text) + 1 : 0, text);
        tiff_entry(277, 3, 1, (unsigned)t->samples);
        tiff_entry(284, 3, 1, (unsigned)t->planar);
        tiff_entry(282, 5, 1, text + (t->text ? strlen(t->text) : 0) + 1);
        tiff_entry(283, 5, 1, text + (t->text ? strlen(t->text) : 0) + 1);
        tiff_entry(296, 3, 1, 1);
        tiff_entry(317, 3, 1, (unsigned)t->predictor);
        tiff_entry(t->tiled ? 322 : 278, 3, 1, t->tiled ? cw : ch);
        if (t->tiled) tiff_entry(323, 3, 1, ch);
        tiff_entry(t->tiled ? 324 : 273, 4, chunks,
                   chunks > 1 ? list : offset[0]);
        tiff_entry(t->tiled ? 325 : 279, 4, chunks,
                   chunks > 1 ? list + 4 * chunks : count[0]);
        tiff_entry(339, 3, 1, t->kind == 'u' ? 1 : t->kind == 'i' ? 2 : 3);
        link = file.n;
        put(0, 4);
    }
}

static void check_tiff(const tiff_spec *t, int cut)
{
    put_tiff(t);
    io_stack s;
    if (cut ? read_and_cut(&s) : read_part(&s, file.n)) {
        FAIL("TIFF of %c%d, compression %d: %s", t->kind, t->bytes,
             t->compression, io_reason());
        return;
    }
    check_stack(&s, "TIFF", s.type, (size_t)t->pages, t->h, t->w);
    for (size_t i = 0; i < s.frames; i++)
        for (size_t y = 0; y < s.h; y++)
            for (size_t x = 0; x < s.w; x++)
                if (s.px[(i * s.h + y) * s.w + x]
                    != tiff_expected(t, i, y, x)) {
                    FAIL("TIFF of %c%d, compression %d, predictor %d: %g at "
                         "%lu %lu %lu", t->kind, t->bytes, t->compression,
                         t->predictor, (double)s.px[(i * s.h + y) * s.w + x],
                         (unsigned long)i, (unsigned long)y, (unsigned long)x);
                    i = s.frames;
                    y = s.h;
                    x = s.w;
                }
    if (t->text && strstr(t->text, "unit=nm")) CHECK(s.pixel_x == 4);
    io_stack_free(&s);
}

void test_io_tiff(void)
{
    static const char KIND[] = "uiuiuiuiff";
    static const int BYTES[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
    static const int COMPRESSION[] = {1, 5, 8, 32773};
    tiff_spec t = {0, 1, 'u', 1, 1, 0, 2, 1, 1, 1, 3, 4, "ImageJ=1\nunit=nm"};
    for (int big = 0; big < 2; big++)
        for (int k = 0; k < 10; k++)
            for (int c = 0; c < 4; c++) {
                t.big = big;
                t.kind = KIND[k];
                t.bytes = BYTES[k];
                t.compression = COMPRESSION[c];
                t.tiled = c & 1;
                t.predictor = c == 0 || c == 3 ? 1 : t.kind == 'f' ? 3 : 2;
                check_tiff(&t, k == 2 || k == 8);
            }
    t = (tiff_spec){0, 1, 'u', 5, 2, 0, 1, 3, 1, 2, 7, 5, NULL};
    check_tiff(&t, 1); /* colours, chunky, planar */
    t.planar = 2;
    check_tiff(&t, 1);
    t.photometric = 1; /* three samples, the first counts */
    check_tiff(&t, 0);
    t = (tiff_spec){1, 2, 'u', 1, 1, 0, 1, 1, 1, 0, 5, 5, NULL};
    check_tiff(&t, 0); /* white is zero */
    t.kind = 'i';
    check_tiff(&t, 0);
    t = (tiff_spec){0, 2, 'u', 5, 1, 0, 1, 1, 1, 1, 170, 60, NULL};
    check_tiff(&t, 0); /* LZW that clears its table */
}

/* A page of 2 pixels whose sides differ: the resolution, 5 / 2 and 5 / 4 a
   UNIT, or DigitalMicrograph's own tags, 0.15 and 0.25 of WORD. */
static void put_sides(unsigned unit, const char *word)
{
    start(0);
    put_raw("II", 2);
    put(42, 2);
    put(64, 4);
    put_raw("\7\11", 2);
    file.n = 16;
    put(5, 4), put(2, 4), put(5, 4), put(4, 4);
    put_value(0.15, 'f', 8);
    put_value(0.25, 'f', 8);
    file.n = 64;
    put(word ? 12 : 9, 2);
    tiff_entry(256, 3, 1, 2);
    tiff_entry(257, 3, 1, 1);
    tiff_entry(258, 3, 1, 8);
    tiff_entry(262, 3, 1, 1);
    tiff_entry(273, 4, 1, 8);
    tiff_entry(279, 4, 1, 2);
    tiff_entry(282, 5, 1, 16);
    tiff_entry(283, 5, 1, 24);
    tiff_entry(296, 3, 1, unit);
    if (word) {
        put(65003, 2);
        put(2, 2);
        put(3, 4);
        put_raw(word, 3);
        put(0, 1);
        tiff_entry(65009, 12, 1, 32);
        tiff_entry(65010, 12, 1, 40);
    }
    put(0, 4);
}

void test_io_tiff_sides(void)
{
    static const struct {
        unsigned unit;
        const char *word;
        double x, y;
    } SIDES[] = {
        {1, "nm", 1.5, 2.5}, {2, "pm", 0.0015, 0.0025}, {3, "um", 1500, 2500},
        {1, NULL, 0, 0}, {2, NULL, 0, 0}, {3, NULL, 0, 0}, /* a printer's */
    };
    for (size_t i = 0; i < sizeof SIDES / sizeof *SIDES; i++) {
        io_stack s;
        put_sides(SIDES[i].unit, SIDES[i].word);
        if (read_part(&s, file.n)) {
            FAIL("%s", io_reason());
            continue;
        }
        check_stack(&s, "TIFF", "uint8", 1, 1, 2);
        CHECK(s.px[0] == 7 && s.px[1] == 9);
        CHECK_NEAR(s.pixel_x, SIDES[i].x, 1e-12 * SIDES[i].x);
        CHECK_NEAR(s.pixel_y, SIDES[i].y, 1e-12 * SIDES[i].y);
        io_stack_free(&s);
    }
    /* a microscope's, a pixel of 1 / 500,000 and 1 / 400,000 cm or inches */
    for (unsigned unit = 2; unit <= 3; unit++) {
        double inch = unit == 2 ? 2.54 : 1;
        io_stack s;
        put_sides(unit, NULL);
        atomdl_store32(file.b + 16, 5000000);
        atomdl_store32(file.b + 20, 10);
        atomdl_store32(file.b + 24, 400000);
        atomdl_store32(file.b + 28, 1);
        CHECK(!read_part(&s, file.n));
        CHECK_NEAR(s.pixel_x, inch * 200, 1e-9);
        CHECK_NEAR(s.pixel_y, inch * 250, 1e-9);
        io_stack_free(&s);
        atomdl_store32(file.b + 16, 0xffffffff); /* the bound of writers */
        atomdl_store32(file.b + 20, 1);
        CHECK(!read_part(&s, file.n) && s.pixel_x == 0);
        io_stack_free(&s);
    }
}

/* Sets the value of an entry of the first page. */
static void tiff_set(int tag, uint64_t v)
{
    size_t n = file.n;
    size_t e = (size_t)atomdl_load32(file.b + 4) + 2;
    while (atomdl_load16(file.b + e) != tag) e += 12;
    file.n = e + 8;
    put(v, 4);
    file.n = n;
}

void test_io_tiff_refusals(void)
{
    static const struct {
        int tag;
        unsigned v;
        const char *why;
    } BAD[] = {
        {256, 0, "no pixels"}, {257, 200000, "a side of more than"},
        {257, 131072, "short"}, {258, 4, "kind of pixels"},
        {259, 7, "compression"}, {262, 6, "colour space"},
        {277, 0, "samples"}, {277, 99, "samples"}, {317, 9, "predictor"},
        {339, 6, "complex"}, {339, 5, "complex"}, {339, 9, "kind of pixels"},
        {273, 100000, "cut short"}, {279, 1, "cut short"}, {262, 2, "samples"},
    };
    tiff_spec t = {0, 2, 'u', 1, 1, 0, 1, 1, 1, 1, 20, 3, NULL};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        put_tiff(&t);
        tiff_set(259, 5); /* so that the predictor counts */
        tiff_set(BAD[i].tag, BAD[i].v);
        refused(BAD[i].why);
    }
    put_tiff(&t); /* a chain that bites its tail: skipped pages, then real */
    for (size_t i = 0; i < 2; i++) {
        size_t ifd = atomdl_load32(file.b + 4);
        atomdl_store32(file.b + ifd + 2 + 12 * 16, (uint32_t)ifd);
        refused(i ? "cut short" : "short");
        atomdl_store16(file.b + ifd + 2 + 12 * 10, 254);
        tiff_set(254, 1);
    }
    put_tiff(&t); /* ImageJ: one page, three frames in one piece */
    t.text = "ImageJ=1.53\nimages=3\nunit=nm\n";
    t.h = 1;
    put_tiff(&t);
    io_stack s;
    CHECK(!read_part(&s, file.n)); /* the tables are read as pixels */
    check_stack(&s, "TIFF", "uint16", 3, 1, 20);
    io_stack_free(&s);
    t.text = "ImageJ=1.53\nimages=30000";
    put_tiff(&t);
    refused("so short a file");
    start(0);
    put_raw("II+\0\10\0\0\0\20\0\0\0\0\0\0\0", 16);
    refused("BigTIFF");
}

/* ---------- DM3 and DM4 --------------------------------------------------- */

static int dm_version, dm_data_big;

static void dm_word(uint64_t v)
{
    file.big = 1;
    put(v, dm_version == 4 ? 8 : 4);
}

static void dm_name(int kind, const char *name)
{
    file.big = 1;
    put((unsigned)kind, 1);
    put(strlen(name), 2);
    put_raw(name, strlen(name));
    if (dm_version == 4) put(0, 8);
    if (kind == 21) put_raw("%%%%", 4);
}

static void dm_group(const char *name, unsigned tags)
{
    dm_name(20, name);
    put(0x0101, 2);
    dm_word(tags);
}

static void dm_number(const char *name, unsigned code, double v)
{
    dm_name(21, name);
    dm_word(1);
    dm_word(code);
    file.big = dm_data_big;
    put_value(v, code == 6 || code == 7 ? 'f' : 'u', code == 7 ? 8 : 4);
}

static void dm_array(const char *name, unsigned code, size_t n)
{
    dm_name(21, name);
    dm_word(3);
    dm_word(20);
    dm_word(code);
    dm_word(n);
    file.big = dm_data_big;
}

/* An image of 3 x 2 (x frames) with bytes 0, 1, 2, ... or so many floats */
static void dm_image(unsigned type, unsigned frames)
{
    static const unsigned SIZE[] = {1, 3, 2}; /* x, frames..., y */
    unsigned n = type == 23 ? 4 : 2 * 3 * frames;
    dm_group("", 1);
    dm_group("ImageData", 4);
    dm_group("Calibrations", 1);
    dm_group("Dimension", 2);
    for (unsigned i = 0; i < 2; i++) {
        dm_group("", 2);
        dm_number("Scale", i ? 7 : 6, i ? 0.25 : 0.5);
        dm_array("Units", 4, 2);
        put(i ? 0xb5 : 'n', 2);
        put('m', 2);
    }
    dm_array("Data", type == 23 ? 5 : 6, n);
    for (unsigned k = 0; k < n; k++) put_value(k, 'f', 4);
    dm_number("DataType", 5, type);
    dm_group("Dimensions", frames > 1 ? 3 : 2);
    dm_number("", 5, type == 23 ? 2 : SIZE[1]);
    dm_number("", 5, SIZE[2]);
    if (frames > 1) dm_number("", 5, frames);
}

static void put_dm(int version, int big, unsigned type, unsigned frames)
{
    start(1);
    dm_version = version;
    dm_data_big = big;
    put((unsigned)version, 4);
    dm_word(0); /* length */
    put(!big, 4);
    put(0x0101, 2);
    dm_word(4);
    dm_name(21, "a structure");
    dm_word(7);
    dm_word(15);
    dm_word(0);
    dm_word(2);
    for (unsigned i = 0; i < 2; i++) {
        dm_word(0);
        dm_word(2);
    }
    put(0, 4);
    dm_name(21, "an array of structures");
    dm_word(7);
    dm_word(20);
    dm_word(15);
    dm_word(0);
    dm_word(1);
    dm_word(0);
    dm_word(8);
    dm_word(3);
    put(0, 3);
    dm_group("ImageList", 2);
    dm_image(23, 1);
    dm_image(type, frames);
    dm_group("Thumbnails", 1);
    dm_group("", 2);
    dm_number("ImageIndex", 5, 0);
    dm_name(21, "text");
    dm_word(2);
    dm_word(18);
    dm_word(2);
    put(0, 2);
}

void test_io_dm(void)
{
    io_stack s;
    for (int k = 0; k < 4; k++) {
        put_dm(3 + k % 2, k / 2, 2, k == 3 ? 5 : 1);
        if (read_and_cut(&s)) {
            FAIL("%s", io_reason());
            continue;
        }
        check_stack(&s, k % 2 ? "DM4" : "DM3", "float32", k == 3 ? 5 : 1, 2, 3);
        for (size_t i = 0; i < s.frames * 6; i++) CHECK(s.px[i] == (float)i);
        CHECK(s.pixel_x == 5 && s.pixel_y == 2500);
        io_stack_free(&s);
    }
    put_dm(3, 0, 3, 1);
    refused("complex");
    put_dm(3, 0, 77, 1);
    refused("unknown data type 77");
    put_dm(3, 0, 12, 1);
    refused("do not fit");
    put_dm(3, 0, 23, 1);
    refused("without a grey image");
    static char name[201];
    memset(name, 'x', 200);
    for (int k = 0; k < 2; k++) { /* a path of 251, of 301 letters */
        put_dm(3, 0, 2, 1);
        file.b[17]++; /* one tag more */
        dm_group(name, 1);
        dm_number(name + (k ? 100 : 150), 5, 0);
        if (k) break;
        CHECK(!read_part(&s, file.n));
        io_stack_free(&s);
    }
    refused("cut short or damaged");
    start(1); /* groups without end */
    dm_version = 3;
    put(3, 4);
    put(0, 4);
    put(1, 4);
    put(0, 2);
    put(1, 4);
    for (int k = 0; k < 100; k++) dm_group("", 1);
    refused("cut short or damaged");
}

/* ---------- MRC, SER, NPY ------------------------------------------------- */

static void put_mrc(int big, unsigned mode, int map, unsigned w)
{
    static const int BYTES[] = {1, 2, 4, 0, 0, 0, 2};
    start(big);
    memset(file.b, 0, 1024);
    put(w, 4);
    put(2, 4);
    put(2, 4);
    put(mode, 4);
    file.n = 28;
    put(w, 4);
    put(2, 4);
    file.n = 40;
    put_value(1.5 * w, 'f', 4);
    put_value(5, 'f', 4);
    file.n = 64;
    for (unsigned i = 1; i < 4; i++) put(i, 4);
    file.n = 92;
    put(8, 4);
    file.n = 208;
    if (map) put_raw("MAP ", 4);
    file.n = 212;
    put(big ? 0x11110000 : 0x4144, 4);
    file.n = 1032;
    for (unsigned i = 0; i < 2 * 2 * w && mode < 7; i++)
        put_value(mode == 6 ? 65000 + i : (double)i - 3,
                  mode == 2 ? 'f' : 'i', BYTES[mode]);
    for (unsigned i = 0; i < 2 * 2 * w && mode == 12; i++)
        put(0xbc00 + 1024 * i, 2);
}

void test_io_mrc(void)
{
    static const char *const TYPE[] = {"int8", "int16", "float32", 0, 0, 0,
                                       "uint16", 0, 0, 0, 0, 0, "float16"};
    io_stack s;
    for (unsigned mode = 0; mode <= 12; mode++)
        for (int big = 0; big < 2 && TYPE[mode]; big++) {
            put_mrc(big, mode, big || mode % 2, 3);
            if (read_part(&s, file.n)) {
                FAIL("%s", io_reason());
                continue;
            }
            check_stack(&s, "MRC", TYPE[mode], 2, 2, 3);
            CHECK(s.pixel_x == 1.5 && s.pixel_y == 2.5);
            for (unsigned i = 0; i < 12 && mode < 12; i++)
                CHECK(s.px[i] == (mode == 6 ? 65000 + (float)i : (float)i - 3));
            if (mode == 12) CHECK(s.px[0] == -1 && s.px[1] == -2);
            io_stack_free(&s);
        }
    put_mrc(0, 1, 1, 3);
    CHECK(!read_and_cut(&s));
    io_stack_free(&s);
    put_mrc(0, 4, 1, 3);
    refused("complex");
    put_mrc(0, 7, 1, 3);
    refused("unknown mode 7");
    put_mrc(0, 1, 1, 3);
    file.n = 8;
    put(0x7fffffff, 4);
    file.n = 2000;
    refused("so short a file");
    put_mrc(0, 1, 1, 3);
    file.n = 92;
    put(0xffffffff, 4);
    file.n = 1056;
    refused("cut short");
}

static void put_ser(int wide, unsigned code, char kind, int bytes,
                    unsigned frames)
{
    start(0);
    put(0x4949, 2);
    put(0x197, 2);
    put(wide ? 0x220 : 0x210, 2);
    put(0x4122, 4);
    put(0x4152, 4);
    put(frames + 2, 4);
    put(frames, 4);
    put(wide ? 34 : 30, wide ? 8 : 4);
    put(0, 4); /* dimensions */
    size_t list = file.n;
    file.n += frames * (wide ? 8 : 4);
    for (unsigned i = 0; i < frames; i++) {
        size_t end = file.n;
        file.n = list + i * (wide ? 8 : 4);
        put(end, wide ? 8 : 4);
        file.n = end;
        for (unsigned k = 0; k < 2; k++) {
            put(0, 8);
            put_value(k ? 2e-11 : 1e-11, 'f', 8);
            put(0, 4);
        }
        put(code, 2);
        put(3, 4);
        put(2, 4);
        for (unsigned k = 0; k < 6; k++) put_value(10 * i + k, kind, bytes);
    }
}

void test_io_ser(void)
{
    static const int BYTES[] = {0, 1, 2, 4, 1, 2, 4, 4, 8};
    io_stack s;
    for (unsigned code = 1; code <= 8; code++) {
        put_ser(code & 1, code, code > 6 ? 'f' : 'i', BYTES[code], 3);
        if (code == 2 || code == 7 ? read_and_cut(&s) : read_part(&s, file.n)) {
            FAIL("%s", io_reason());
            continue;
        }
        check_stack(&s, "SER", s.type, 3, 2, 3);
        CHECK_NEAR(s.pixel_x, 0.1, 1e-12);
        CHECK_NEAR(s.pixel_y, 0.2, 1e-12);
        for (unsigned i = 0; i < 3; i++) /* the last row comes first */
            for (unsigned k = 0; k < 6; k++)
                CHECK(s.px[6 * i + k] == (float)(10 * i + (k + 3) % 6));
        io_stack_free(&s);
    }
    put_ser(0, 9, 'f', 8, 1);
    refused("complex");
    put_ser(0, 99, 'f', 8, 1);
    refused("unknown data type 99");
    put_ser(0, 1, 'u', 1, 2);
    file.b[file.n - 6 - 8] = 2; /* width of the second image */
    refused("several sizes");
    file.b[6] = 0x20;
    refused("spectra");
    put_ser(0, 1, 'u', 1, 0);
    refused("no pixels");
}

static void put_npy(const char *type, const char *order, const char *shape)
{
    char head[200];
    snprintf(head, sizeof head, "{'descr': '%s', 'fortran_order': %s, 'shape': "
             "%s, }\n", type, order, shape);
    start(*type == '>');
    put_raw("\x93NUMPY\1\0", 8);
    file.b[file.n++] = (unsigned char)strlen(head);
    file.b[file.n++] = 0;
    put_raw(head, strlen(head));
}

void test_io_npy_stacks(void)
{
    static const char *const TYPE[] = {
        "|u1", "<u2", ">u2", "<u4", ">u8", "|i1", ">i2", "<i4", "<i8", "<f4",
        ">f4", "<f8", ">f8", "|b1"};
    static const uint16_t HALF[] = {0x3c00, 0xc000, 1, 0x8001, 0x7bff, 0};
    static const float WHOLE[] = {1, -2, 5.9604644775390625e-8f,
                                  -5.9604644775390625e-8f, 65504, 0};
    io_stack s;
    for (size_t i = 0; i < sizeof TYPE / sizeof *TYPE; i++) {
        int least = TYPE[i][1] == 'i' || TYPE[i][1] == 'f' ? -3 : 0;
        put_npy(TYPE[i], i & 1 ? "True" : "False", "(2, 2, 3)");
        for (size_t k = 0; k < 12; k++)
            put_value((double)k + least, TYPE[i][1], TYPE[i][2] - '0');
        if (i < 3 ? read_and_cut(&s) : read_part(&s, file.n)) {
            FAIL("%s: %s", TYPE[i], io_reason());
            continue;
        }
        check_stack(&s, "NPY", s.type, 2, 2, 3);
        for (size_t k = 0; k < 12; k++) {
            size_t at = i & 1 ? k / 6 + k / 3 % 2 * 2 + k % 3 * 4 : k;
            float want = TYPE[i][1] == 'b' ? at > 0 : (float)at + (float)least;
            if (s.px[k] != want) FAIL("%s, value %d", TYPE[i], (int)k);
        }
        io_stack_free(&s);
    }
    put_npy("<f2", "False", "(2, 3)");
    for (size_t i = 0; i < 6; i++) put(HALF[i], 2);
    CHECK(!read_part(&s, file.n));
    CHECK_BYTES(s.px, WHOLE, sizeof WHOLE);
    io_stack_free(&s);
    put_npy("<c8", "False", "(1, 1)");
    put(0, 8);
    refused("complex");
    put_npy("|S4", "False", "(1, 1)");
    put(0, 4);
    refused("not numbers");
    put_npy("|u1", "False", "(4,)");
    put(0, 4);
    refused("has 1 axes");
    put_npy("|u1", "False", "(200000, 1)");
    refused("do not fit its shape");
    file.n += 200000 < sizeof file.b - file.n ? 200000 : 0;
    put_npy("|u1", "False", "(0, 4)");
    refused("no pixels");
}

/* What is no image, no number, no file. */
void test_io_strangers(void)
{
    static const struct {
        const char *start, *why;
    } OTHER[] = {
        {"", "empty"},
        {"\x89HDF", "HDF5"},
        {"PK\3\4", "ZIP"},
        {"GIF89a", "GIF"},
        {"hello, world", "no image format"},
        {"P7 1", "no image format"},
        {"P", "no image format"},
    };
    for (size_t i = 0; i < sizeof OTHER / sizeof *OTHER; i++) {
        start(0);
        put_raw(OTHER[i].start, strlen(OTHER[i].start));
        refused(OTHER[i].why);
    }
    io_stack s;
    for (int k = 0; k < 3; k++) { /* NaN, infinity, beyond float32 */
        put_npy(k == 2 ? "<f8" : "<f4", "False", "(2, 3)");
        for (size_t i = 0; i < 6; i++) put(0, k == 2 ? 8 : 4);
        if (k == 2) atomdl_store64(file.b + file.n - 8, 0x7fe0000000000000);
        else atomdl_store32(file.b + file.n - 4, k ? 0xff800000 : 0x7fc00001);
        CHECK(!read_part(&s, file.n) && !io_stack_finite(&s, "x"));
        CHECK(strstr(io_reason(), "x 2, y 1 of frame 0 is not a finite"));
        s.px[5] = 0;
        CHECK(io_stack_finite(&s, "x"));
        io_stack_free(&s);
    }
    CHECK(io_stack_read(&s, "build") && !s.px);
    CHECK(io_stack_read(&s, "build/no such file") && !s.px);
    CHECK(strstr(io_reason(), "no such file") != NULL);
}

/* ---------- Whole files --------------------------------------------------- */

void test_io_files(void)
{
    const char *path = "build/test_io.tmp";
    unsigned char text[] = "0123456789";
    CHECK(!io_write(path, text, 10));
    io_bytes b;
    CHECK(!io_read(&b, path, 10) && b.size == 10);
    CHECK_BYTES(b.data, text, 10);
    free(b.data);
    CHECK(io_read(&b, path, 9) && !b.data);
    CHECK(!io_write(path, text, 0)); /* replaces */
    CHECK(!io_read(&b, path, 0) && b.size == 0);
    free(b.data);
    CHECK(io_read(&b, "build", 100) && !b.data);
    memset(&b, 1, sizeof b);
    CHECK(io_read(&b, "build/no", 100) && !b.data && !b.size);
    CHECK(io_write("build/no/no", text, 1) && io_write("build", text, 1));
    FILE *f = fopen("build.part", "rb"); /* nothing is left behind */
    CHECK(!f);
    CHECK(!remove(path));
}

/* Disks that are full, folders that may not be written. */
void test_io_full(void)
{
#ifndef _WIN32
    static unsigned char zeros[1 << 16];
    const char *path = "build/test_io_full.tmp";
    struct rlimit old, small;
    struct stat device;
    io_bytes b;
    if (!stat("/dev/full", &device)) {
        CHECK(io_write("/dev/full", zeros, 10));
        CHECK(strstr(io_reason(), "/dev/full: ") == io_reason());
        CHECK(!stat("/dev/full", &device) && S_ISCHR(device.st_mode));
        CHECK(access("/dev/full.part", F_OK));
    }
    CHECK(!io_write("/dev/null", zeros, 10));
    CHECK(!stat("/dev/null", &device) && S_ISCHR(device.st_mode));
    CHECK(!io_write(path, "old", 3));
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 1000;
    if (!setrlimit(RLIMIT_FSIZE, &small)) { /* as a full disk */
        CHECK(io_write(path, zeros, sizeof zeros));
        setrlimit(RLIMIT_FSIZE, &old);
        CHECK(access("build/test_io_full.tmp.part", F_OK));
    }
    CHECK(!io_read(&b, path, 100) && b.size == 3); /* the old one is there */
    free(b.data);
    CHECK(!remove(path));
    CHECK(!mkdir("build/test_io_sealed", 0555));
    if (geteuid() || !seteuid(65534)) { /* root may write anywhere */
        CHECK(io_write("build/test_io_sealed/x", zeros, 1));
        if (!getuid()) CHECK(!seteuid(0));
    }
    CHECK(!rmdir("build/test_io_sealed"));
#endif
}

/* ---------- Text ---------------------------------------------------------- */

#define CHECK_TEXT(t, want) \
    (strcmp((t)->s, want) ? (void)FAIL("%s, want %s", (t)->s, want) : (void)0)

void test_io_numbers(void)
{
    static const struct {
        double x;
        const char *text[3]; /* 0, 2, 6 decimals */
    } CASE[] = {
        {0, {"0", "0.00", "0.000000"}}, {-0.0, {"0", "0.00", "0.000000"}},
        {0.5, {"0", "0.50", "0.500000"}}, {1.5, {"2", "1.50", "1.500000"}},
        {2.5, {"2", "2.50", "2.500000"}}, {-0.004, {"0", "0.00", "-0.004000"}},
        {2.675, {"3", "2.67", "2.675000"}}, {0.125, {"0", "0.12", "0.125000"}},
        {99.995, {"100", "100.00", "99.995000"}},
        {-999999.5, {"-1000000", "-999999.50", "-999999.500000"}},
        {1e22, {"10000000000000000000000", "10000000000000000000000.00",
                "10000000000000000000000.000000"}},
        {5e-324, {"0", "0.00", "0.000000"}},
    };
    atomdl_rng rng = atomdl_rng_seed(1);
    char want[400];
    io_text t = {0};
    size_t i;
    for (i = 0; i < sizeof CASE / sizeof *CASE; i++) {
        t.n = 0;
        io_put(&t, "%.0f", CASE[i].x);
        CHECK_TEXT(&t, CASE[i].text[0]);
        t.n = 0;
        io_put(&t, "%.2f", CASE[i].x);
        CHECK_TEXT(&t, CASE[i].text[1]);
        t.n = 0;
        io_put(&t, "%f", CASE[i].x);
        CHECK_TEXT(&t, CASE[i].text[2]);
    }
    t.n = 0;
    io_put(&t, "%.1f %.1f %.1f", HUGE_VAL, -HUGE_VAL, (double)NAN);
    CHECK_TEXT(&t, "inf -inf nan");
#ifdef __GLIBC__ /* whose numbers are exact */
    for (i = 0; i < 20000; i++) {
        uint64_t bits = (uint64_t)atomdl_rng_u32(&rng) << 32;
        double x = atomdl_double(bits | atomdl_rng_u32(&rng));
        if (i % 2) x = (atomdl_rng_uniform64(&rng) - 0.5) * 2000;
        if (x - x != 0 || fabs(x) < 1e-3) continue; /* not "-0.000" */
        t.n = 0;
        io_put(&t, "%.3f", x);
        snprintf(want, sizeof want, "%.3f", x);
        CHECK_TEXT(&t, want);
    }
#endif
    t.n = 0;
    io_put(&t, "%03d|%d|%ld|%lu|%zu|%u|%c|%s|%%", 7, -2147483647 - 1, -5L, 6ul,
           (size_t)8, 4000000000u, 'x', "text");
    CHECK_TEXT(&t, "007|-2147483648|-5|6|8|4000000000|x|text|%");
    io_text_free(&t);
    (void)rng;
    (void)want;
}

void test_io_text(void)
{
    const char *path = "build/test_io_text.tmp";
    const unsigned char bytes[] = {255, 0, 62, 1};
    io_text t = {0};
    io_json_open(&t, NULL, '{');
    io_json_string(&t, "a \"b\"", "C:\\x\n\x1f\xff\xc3\x85\xed\xa0\x80");
    io_json_open(&t, "list", '[');
    for (int i = 0; i < 2; i++) {
        io_json_open(&t, NULL, '{');
        io_json(&t, "i", "%d", i);
        io_json_close(&t, '}');
    }
    io_json_close(&t, ']');
    io_json_open(&t, "v", '[');
    for (int i = 0; i < 3; i++) io_json(&t, NULL, "%.1f", i / 2.0);
    io_json_close(&t, ']');
    io_json_close(&t, '}');
    CHECK_TEXT(&t, "{\n  \"a \\\"b\\\"\": \"C:\\\\x\\u000a\\u001f\xef\xbf\xbd"
                   "\xc3\x85\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\",\n"
                   "  \"list\": [\n    {\n      \"i\": 0},\n    {\n"
                   "      \"i\": 1}],\n  \"v\": [0.0, 0.5, 1.0]}\n");
    t.n = 0;
    io_put_escaped(&t, "plain", IO_CSV);
    io_put(&t, ",");
    io_put_escaped(&t, "a,\"b\"", IO_CSV);
    io_put_escaped(&t, "<&\"\1>\xf0\x9f\x98\x80\xf4\x90", IO_XML);
    CHECK_TEXT(&t, "plain,\"a,\"\"b\"\"\"&lt;&amp;&quot; &gt;\xf0\x9f\x98\x80"
                   "\xef\xbf\xbd\xef\xbf\xbd");
    t.n = 0;
    for (int i = 1; i <= 4; i++) io_put_base64(&t, bytes, (size_t)i);
    CHECK_TEXT(&t, "/w==/wA=/wA+/wA+AQ==");
    t.n = 0;
    io_put_xyz_head(&t, 2, 10, 20, 0, ":score:R:1");
    CHECK_TEXT(&t,
               "2\nLattice=\"10.0000 0 0 0 20.0000 0 0 0 0.0000\" Properties"
               "=species:S:1:pos:R:3:score:R:1 pbc=\"F F F\"\n");
    t.n = 0;
    for (int i = 0; i < 5000; i++) io_put(&t, "%03d\n", i % 1000);
    CHECK(!io_text_write(&t, path) && !t.s);
    io_bytes b;
    CHECK(!io_read(&b, path, 1 << 20) && b.size == 20000);
    CHECK(b.data && !memcmp(b.data + 19996, "999\n", 4));
    free(b.data);
    CHECK(!io_text_write(&t, path)); /* an empty text: an empty file */
    CHECK(!io_read(&b, path, 0) && !b.size);
    free(b.data);
    t.failed = 1;
    io_put(&t, "lost");
    CHECK(io_text_write(&t, path));
    CHECK(!remove(path));
}

/* ---------- Images out ---------------------------------------------------- */

enum { OUT_W = 7, OUT_H = 5, OUT_N = 2 * OUT_W * OUT_H };

/* What was written comes back; in files of integers, -50...70000 is their
   range. */
static void check_back(const char *path, const float *px, size_t frames,
                       int bits, const char *format)
{
    io_stack s;
    if (io_stack_read(&s, path)) {
        FAIL("%s", io_reason());
        return;
    }
    check_stack(&s, format, bits == 16 ? "uint16" : "float32", frames, OUT_H,
                OUT_W);
    for (size_t i = 0; i < frames * OUT_W * OUT_H; i++) {
        double v = (double)px[i];
        if (bits < 32)
            v = floor((double)((px[i] + 50) / 70050.0f * 65535.0f) + 0.5);
        CHECK((double)s.px[i] == v);
    }
    io_stack_free(&s);
    CHECK(!remove(path));
}

void test_io_images_out(void)
{
    static const size_t DIM[] = {2, OUT_H, OUT_W}, NO[] = {1};
    const char *path = "build/test_io_out.tmp";
    const unsigned char rgb[] = {1, 2, 3, 4, 5, 6};
    float px[OUT_N];
    for (int i = 0; i < OUT_N; i++) px[i] = (float)(i * i) * 15.25f - 50;
    io_stack s;
    static const double PIXEL[] = {0.0781, 12000, 0, 4e9};
    static const double READ[] = {0.0781, 12000, 0, 0};
    for (int i = 0; i < 4; i++) {
        CHECK(!io_tiff_write(path, px, OUT_H, OUT_W, PIXEL[i]));
        CHECK(!io_stack_read(&s, path));
        CHECK(s.pixel_x == READ[i] && s.pixel_y == READ[i]);
        io_stack_free(&s);
        check_back(path, px, 1, 32, "TIFF");
    }
    px[OUT_N / 2 - 1] = 70000;
    CHECK(!io_grey_png_write(path, px, OUT_W, OUT_H));
    check_back(path, px, 1, 16, "PNG");
    CHECK(!io_npy_write(path, px, 'f', 3, DIM));
    check_back(path, px, 2, 32, "NPY");
    CHECK(!io_npy_write(path, "x", 'u', 1, NO));
    CHECK(io_stack_read(&s, path));
    CHECK(!io_png_write(path, rgb, 1, 2, 3));
    CHECK(!io_stack_read(&s, path) && s.h == 2);
    CHECK(s.px && s.px[0] == (77 + 300 + 87) / 256.0f);
    io_stack_free(&s);
    io_bytes png;
    CHECK(!remove(path));
    CHECK(io_png(&png, rgb, 0, 1, 3) && io_png_write(path, rgb, 1, 0, 3));
    CHECK(io_grey_png_write(path, px, 1 << 20, 1));
    CHECK(io_tiff_write(path, px, 1, 0, 0));
    CHECK(io_tiff_write(path, px, 1 << 17, 1 << 17, 0));
    CHECK(io_tiff_write("build/no/no", px, 1, 1, 0));
}

/* RFC 1950's sum, which stb_image does not look at, of rows of differences to
   the left pixel behind a byte of 1 */
static uint32_t adler_of(const unsigned char *rgb, int row, int h)
{
    uint32_t a = 1, b = 0;
    for (int y = 0; y < h; y++, rgb += row)
        for (int x = -1; x < row; x++) {
            int v = x < 0 ? 1 : rgb[x] - (x < 3 ? 0 : rgb[x - 3]);
            a = (a + (unsigned char)v) % 65521;
            b = (b + a) % 65521;
        }
    return b << 16 | a;
}

/* Pictures of more than a block: pixels that come again, runs, noise of so many
   levels of grey; every second picture has colours at every seventh pixel. */
void test_io_png_colours(void)
{
    enum { W = 311, H = 401 };
    static unsigned char rgb[3 * W * H];
    static const unsigned LEVELS[] = {1, 3, 256, 40};
    for (int k = 0; k < 4; k++) {
        atomdl_rng rng = atomdl_rng_seed(7);
        for (int i = 0; i < W * H; i++) {
            unsigned v = atomdl_rng_u32(&rng), grey = (v >> 8) % LEVELS[k];
            for (int c = 0; c < 3; c++)
                rgb[3 * i + c] = (unsigned char)(i % 7 || k % 2
                                                 ? grey : v >> 8 * c);
        }
        io_bytes png;
        io_stack s;
        CHECK(!io_png(&png, rgb, W, H, 3));
        CHECK(!io_stack_parse(&s, png.data, png.size, "x"));
        int wrong = 0;
        for (int i = 0; i < W * H && s.px; i++)
            wrong += s.px[i] != (float)(77 * rgb[3 * i] + 150 * rgb[3 * i + 1]
                                        + 29 * rgb[3 * i + 2]) / 256;
        CHECK(s.px && !wrong);
        uint32_t sum = 0; /* before IDAT's checksum and IEND */
        for (size_t i = 20; i > 16 && png.size > 20; i--)
            sum = sum << 8 | png.data[png.size - i];
        CHECK(sum == adler_of(rgb, 3 * W, H));
        CHECK(k < 3 || png.size < 2 * W * H); /* grey pixels once, not thrice */
        io_stack_free(&s);
        free(png.data);
    }
}

/* ---------- Drawing ------------------------------------------------------- */

static double ink(const io_canvas *c)
{
    double sum = 0;
    for (int i = 0; i < 3 * c->w * c->h; i++) sum += c->rgb[i];
    return sum / 765;
}

void test_io_drawing(void)
{
    const io_pen white = {0xffffff, 255}, red = {0xff0000, 128};
    io_canvas c;
    CHECK(!io_canvas_new(&c, 100, 80));
    io_draw_disc(&c, 40.3, 30.7, 20, white);
    CHECK_NEAR(ink(&c), 3.14159 * 400, 8); /* the edge is linear, not exact */
    memset(c.rgb, 0, 24000);
    io_draw_circle(&c, 40, 30, 20, 2, white);
    CHECK_NEAR(ink(&c), 3.14159 * 40 * 2, 5);
    int x;
    for (int y = 0; y < 61; y++) /* mirror images */
        for (x = 0; x < 40; x++)
            CHECK(c.rgb[3 * (y * 100 + x)] == c.rgb[3 * (y * 100 + 80 - x)]);
    memset(c.rgb, 0, 24000);
    io_draw_line(&c, 10, 10, 70, 50, 3, white);
    CHECK_NEAR(ink(&c), 72.111 * 3 + 3.14159 * 2.25, 4);
    memset(c.rgb, 0, 24000);
    io_draw_line(&c, -1e9, 40, 1e9, 40, 1, white); /* far outside */
    io_draw_disc(&c, 1e30, -1e30, 5, white);
    CHECK_NEAR(ink(&c), 100, 0.5);
    memset(c.rgb, 0, 24000);
    io_draw_line(&c, -50, 40, 150, 40, 81, red);
    CHECK(c.rgb[3 * 4050] == 128 && !c.rgb[3 * 4050 + 1]);
    memset(c.rgb, 0, 24000);
    io_draw_text(&c, 10, 10, 2, "I", white);
    CHECK(ink(&c) == 11 * 4);
    io_draw_text(&c, 95, -5, 3, "cut off \xc3\x85\xc2\xb5\xff", white);
    CHECK(io_text_width("I\xc3\x85", 2) == 22 && !io_text_width("", 3));
    memset(c.rgb, 0, 24000);
    io_draw_scale_bar(&c, 0.05); /* 100 pixels are 5 Å: a bar of 1 Å */
    int i;
    for (i = 0, x = 0; x < 100; x++) i += c.rgb[3 * (70 * 100 + x)] == 255;
    CHECK(i == 20);
    memset(c.rgb, 0, 24000);
    io_draw_scale_bar(&c, 0);
    io_draw_scale_bar(&c, HUGE_VAL);
    CHECK(ink(&c) == 0);
    float px[12];
    for (i = 0; i < 12; i++) px[i] = (float)i;
    io_draw_image(&c, px, 3, 4, 10, 0, 1);
    CHECK(c.rgb[0] == 0 && c.rgb[3 * (29 * 100 + 39)] == 255);
    CHECK(c.rgb[3 * (14 * 100 + 14)] < c.rgb[3 * (14 * 100 + 24)]);
    io_draw_image(&c, px, 1, 1, 3, 0, 1); /* one pixel, no contrast */
    io_draw_scale_bar(&c, 123);
    io_draw_label(&c, 30, 40, 1, "0.5 \xc3\x85 (\xc2\xb1""1\xc2\xb0)", red);
    io_draw_circle(&c, 71.37, 22.9, 9.1, 1.3, red);
    uint64_t digest = atomdl_digest_bytes(ATOMDL_DIGEST, c.rgb, 24000);
    if (digest != 0xe683f9f6d5a24c1eu)
        FAIL("the picture's digest is %08lx%08lx",
             (unsigned long)(digest >> 32),
             (unsigned long)(digest & 0xffffffff));
    io_canvas_free(&c);
    CHECK(io_canvas_new(&c, 0, 5) && io_canvas_new(&c, 1 << 17, 1 << 17));
}

/* ---------- Real files ---------------------------------------------------- */

/* pixel sizes in Å to 6 digits, 0: unknown; type NULL: refused for `why` */
static const struct {
    const char *name, *type;
    size_t frames, h, w;
    double x, y;
    const char *why;
} REAL[] = {
    {"graphene/G-GrainBoundary-4nm.npy",
     "float32", 1, 512, 512, 0, 0, ""},
    {"graphene/G-Si-2nm.npy",
     "float32", 1, 256, 256, 0, 0, ""},
    {"graphene/G-dimSi.npy",
     "uint16", 1, 512, 512, 0, 0, ""},
    {"graphene/test_data_1_image.npy",
     "float32", 1, 512, 512, 0, 0, ""},
    {"mos2/1vacancy_MoS2_incostem_29_17_1_0.tif",
     "uint8", 1, 457, 450, 0, 0, ""},
    {"mos2/2vacancy_MoS2_incostem_29_17_1_0.tif",
     "uint8", 1, 457, 450, 0, 0, ""},
    {"mos2/ImageMoS2_incostem_29_17_1_0.tif",
     "uint8", 1, 457, 450, 0, 0, ""},
    {"mos2/MoS2_stem_Exp-000-2_f32.npy",
     "float32", 1, 512, 512, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-1.dm3",
     "int16", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-1.dm4",
     "int16", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-10.dm3",
     "uint16", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-10.dm4",
     "uint16", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-11.dm3",
     "uint32", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-11.dm4",
     "uint32", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-12.dm3",
     "float64", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-12.dm4",
     "float64", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-13.dm3", NULL,
     0, 0, 0, 0, 0, "complex"},
    {"readers/digitalmicrograph__2D__test-13.dm4", NULL,
     0, 0, 0, 0, 0, "complex"},
    {"readers/digitalmicrograph__2D__test-14.dm3",
     "bool", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-14.dm4",
     "bool", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-2.dm3",
     "float32", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-2.dm4",
     "float32", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-3.dm3", NULL,
     0, 0, 0, 0, 0, "complex"},
    {"readers/digitalmicrograph__2D__test-3.dm4", NULL,
     0, 0, 0, 0, 0, "complex"},
    {"readers/digitalmicrograph__2D__test-5.dm3", NULL,
     0, 0, 0, 0, 0, "complex"},
    {"readers/digitalmicrograph__2D__test-5.dm4", NULL,
     0, 0, 0, 0, 0, "complex"},
    {"readers/digitalmicrograph__2D__test-6.dm3",
     "uint8", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-6.dm4",
     "uint8", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-7.dm3",
     "int32", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-7.dm4",
     "int32", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-9.dm3",
     "int8", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test-9.dm4",
     "int8", 1, 2, 2, 0, 0, ""},
    {"readers/digitalmicrograph__2D__test_STEM_image.dm3",
     "uint32", 1, 68, 68, 2.48538, 2.48538, ""},
    {"readers/digitalmicrograph__Fei_HAADF-UK_location.dm3",
     "uint16", 1, 4, 16, 55.0607, 55.0607, ""},
    {"readers/digitalmicrograph__test_stackbuilder_imagestack.dm3",
     "uint32", 3, 2, 16, 599.829, 599.829, ""},
    {"readers/dmTest_3D_int16_64,65,66.dm3",
     "int16", 66, 65, 64, 0.02, 30, ""},
    {"readers/dmTest_float32_nonSquare_diffPixelSize.dm3",
     "float32", 1, 64, 128, 10, 2, ""},
    {"readers/dmTest_float32_nonSquare_diffPixelSize.dm4",
     "float32", 1, 64, 128, 10, 2, ""},
    {"readers/exp_20MX_80kV_ADF_1391_original-LZW.tif",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"readers/mrc__Custom_movie.mrc",
     "uint16", 30, 16, 16, 0, 0, ""},
    {"readers/temp.mrc",
     "float32", 3, 128, 128, 2, 2, ""},
    {"readers/tia__new__128x128_TEM_acquire-sum1_1.ser",
     "int32", 1, 128, 128, 214.793, 214.793, ""},
    {"readers/tia__old__03_Scanning_Preview_1.ser",
     "uint16", 5, 128, 128, 3.84352, 3.84352, ""},
    {"readers/tia__old__64x64_TEM_images_acquire.npy",
     "float32", 1, 64, 64, 0, 0, ""},
    {"readers/tia__old__64x64_TEM_images_acquire_1.ser",
     "float32", 1, 64, 64, 62.8183, 62.8183, ""},
    {"readers/tiff__test_loading_image_saved_with_DM.tif",
     "int32", 1, 68, 68, 1686.75, 1686.75, ""},
    {"readers/tiff__test_loading_image_saved_with_DM_stack.tif",
     "float32", 2, 68, 68, 1686.74, 16867.4, ""},
    {"readers/tiff__test_loading_image_saved_with_imageJ.tif",
     "float32", 1, 68, 68, 1686.75, 1686.75, ""},
    {"readers/tiff__test_loading_image_saved_with_imageJ_stack.tif",
     "float32", 2, 68, 68, 1686.75, 1686.75, ""},
    {"si-graphene/Si1C3.npy",
     "uint16", 30, 256, 256, 0, 0, ""},
    {"si-graphene/Si1C4.npy",
     "uint16", 6, 256, 256, 0, 0, ""},
    {"si-graphene/Si2C4.npy",
     "uint16", 1, 256, 256, 0, 0, ""},
    {"si-graphene/Si2C5.npy",
     "uint16", 4, 256, 256, 0, 0, ""},
    {"si-graphene/Si2C6.npy",
     "uint16", 4, 256, 256, 0, 0, ""},
    {"si-graphene/Si3C6.npy",
     "uint16", 30, 256, 256, 0, 0, ""},
    {"si-graphene/Si4C6.npy",
     "uint16", 1, 256, 256, 0, 0, ""},
    {"ws2/partial_SuperScan_HAADF_12_corrected.tif",
     "uint8", 1, 512, 512, 0.078125, 0.078125, ""},
    {"ws2/partial_SuperScan_HAADF_14_corrected.tif",
     "uint8", 1, 512, 512, 0.15625, 0.15625, ""},
    {"wse2/HAADF_5frames.tif",
     "float32", 5, 128, 128, 0.3125, 0.3125, ""},
    {"wse2/exp_20MX_80kV_ADF_1389.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim00_gt.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim00_in.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim01_gt.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim01_in.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim02_gt.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim02_in.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim03_gt.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
    {"wse2/sim03_in.png",
     "uint8", 1, 1024, 1024, 0, 0, ""},
};

static void real_path(char *path, size_t room, const char *name)
{
    snprintf(path, room, "%s/%s", getenv("ATOMDL_DATA"), name);
}

/* the same pixels in both files */
static void real_twins(const char *one, const char *other)
{
    char path[1000];
    real_path(path, sizeof path, one);
    io_stack a;
    CHECK(!io_stack_read(&a, path));
    real_path(path, sizeof path, other);
    io_stack b;
    CHECK(!io_stack_read(&b, path));
    CHECK(a.w == b.w && a.h == b.h && a.frames == b.frames);
    if (a.w == b.w && a.h == b.h && a.frames == b.frames)
        CHECK_BYTES(a.px, b.px, 4 * a.frames * a.h * a.w);
    io_stack_free(&a);
    io_stack_free(&b);
}

void test_io_real(void)
{
    if (!getenv("ATOMDL_DATA")) {
        printf("  skipped: ATOMDL_DATA names no folder of real files\n");
        return;
    }
    char path[1000];
    io_stack s;
    for (size_t i = 0; i < sizeof REAL / sizeof *REAL; i++) {
        real_path(path, sizeof path, REAL[i].name);
        if (io_stack_read(&s, path)) {
            if (REAL[i].type || !strstr(io_reason(), REAL[i].why))
                FAIL("%s", io_reason());
            continue;
        }
        if (!REAL[i].type) FAIL("%s was read", REAL[i].name);
        else check_stack(&s, s.format, REAL[i].type, REAL[i].frames, REAL[i].h,
                         REAL[i].w);
        CHECK_NEAR(s.pixel_x, REAL[i].x, 1e-5 * REAL[i].x);
        CHECK_NEAR(s.pixel_y, REAL[i].y, 1e-5 * REAL[i].y);
        if (strstr(REAL[i].name, "2D__test-") && strcmp(s.type, "bool"))
            for (size_t k = 0; k < 4; k++) CHECK(s.px[k] == (float)(k + 1));
        io_stack_free(&s);
    }
    real_twins("readers/tia__old__64x64_TEM_images_acquire_1.ser",
               "readers/tia__old__64x64_TEM_images_acquire.npy");
    real_twins("readers/dmTest_float32_nonSquare_diffPixelSize.dm3",
               "readers/dmTest_float32_nonSquare_diffPixelSize.dm4");
    char one[100], other[100];
    for (size_t i = 1; i < 15; i++) {
        if (i == 3 || i == 4 || i == 5 || i == 8 || i == 13) continue;
        snprintf(one, sizeof one, "readers/digitalmicrograph__2D__test-%d.dm3",
                 (int)i);
        snprintf(other, sizeof other, "%.*s4", (int)strlen(one) - 1, one);
        real_twins(one, other);
    }
}
