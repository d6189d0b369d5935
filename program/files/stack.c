/* SPDX-License-Identifier: MIT
   Images and stacks in, whatever their format. */
#include "format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void name_type(io_stack *s, value_type t)
{
    const char *name = t.kind == 'u' ? "uint" : t.kind == 'i' ? "int"
                       : t.kind == 'f' ? "float" : "bool";
    if (t.kind == 'b') snprintf(s->type, sizeof s->type, "%s", name);
    else snprintf(s->type, sizeof s->type, "%s%d", name, 8 * t.size);
}

/* Are these sizes ones that a file of f->n bytes can have? A decompressed
   pixel has at least 1/2048 of a byte in any format read here. */
int stack_fits(const source *f, uint64_t frames, uint64_t h, uint64_t w)
{
    uint64_t most = (uint64_t)f->n << 11;
    if (!frames || !h || !w) return !io_failed(f->path, "holds no pixels");
    if (w > IO_SIDE || h > IO_SIDE)
        return !io_failed(f->path, "a side of more than %d pixels; cut it",
                       IO_SIDE);
    if (most > IO_PIXELS) most = IO_PIXELS;
    if (most > (size_t)-1 / 8) most = (size_t)-1 / 8;
    if (frames <= most / (h * w)) return 1;
    if (most == IO_PIXELS)
        return !io_failed(f->path, "more than 2^30 pixels; cut it in parts");
    return !io_failed(f->path, "states more pixels than so short a file can hold");
}

/* Room for the frames; 0: too large, with the reason. */
int stack_new(io_stack *s, const source *f, uint64_t frames, uint64_t h,
                     uint64_t w, value_type t)
{
    if (!stack_fits(f, frames, h, w)) return 0;
    s->frames = (size_t)frames;
    s->h = (size_t)h;
    s->w = (size_t)w;
    name_type(s, t);
    s->px = calloc(s->frames * s->h * s->w, sizeof *s->px);
    return s->px || !io_failed(f->path, "no memory for its pixels");
}

/* Frames that lie in the file as they are, from byte `at`. */
int stack_plain(io_stack *s, const source *f, uint64_t at,
                       uint64_t frames, uint64_t h, uint64_t w, value_type t)
{
    if (!stack_fits(f, frames, h, w)) return 1;
    if (!has_bytes(f, at, frames * h * w * t.size))
        return io_failed(f->path, SHORT_FILE);
    if (!stack_new(s, f, frames, h, w, t)) return 1;
    floats_of(s->px, f->p + at, s->frames * s->h * s->w, t, f->big);
    return 0;
}

/* Å in a unit of length as microscopes write it; 0: no such unit */
static double angstroms(const char *unit)
{
    static const struct {
        const char *name;
        double length;
    } UNIT[] = {
        {"nm", 10}, {"A", 1}, {"\xc3\x85", 1}, {"\xe2\x84\xab", 1},
        {"\xc5", 1}, {"Angstrom", 1}, {"angstrom", 1}, {"pm", 0.01},
        {"um", 1e4}, {"\xc2\xb5m", 1e4}, {"\xce\xbcm", 1e4}, {"\xb5m", 1e4},
        {"\\u00B5m", 1e4}, {"micron", 1e4}, {"\\u00C5", 1}, {"mm", 1e7},
        {"cm", 1e8}, {"m", 1e10}, {"nanometer", 10},
    };
    for (size_t i = 0; i < sizeof UNIT / sizeof *UNIT; i++)
        if (!strcmp(unit, UNIT[i].name)) return UNIT[i].length;
    return 0;
}

/* Pixel sizes in that unit; what is no length is unknown. */
void stack_pixel(io_stack *s, double x, double y, const char *unit)
{
    double a = angstroms(unit);
    x *= a;
    y *= a;
    s->pixel_x = x > 1e-6 && x < 1e12 ? x : 0;
    s->pixel_y = y > 1e-6 && y < 1e12 ? y : 0;
}

/* Formats by the bytes that files begin with; '?' stands for any byte. */
static const struct {
    const char *name, *start;
    size_t n;
    int (*read)(io_stack *s, source *f);
} FORMAT[] = {
    {"PNG", "\x89PNG\r\n\x1a\n", 8, read_png},
    {"JPEG", "\xff\xd8\xff", 3, read_jpeg},
    {"BMP", "BM????\0\0\0\0", 10, read_bmp},
    {"TIFF", "II*\0", 4, read_tiff},
    {"TIFF", "MM\0*", 4, read_tiff},
    {"TIFF", "II+\0", 4, read_tiff},
    {"TIFF", "MM\0+", 4, read_tiff},
    {"NPY", "\x93NUMPY", 6, read_npy},
    {"DM3", "\0\0\0\3????\0\0\0?\1", 12, read_dm},
    {"DM4", "\0\0\0\4????????\0\0\0?", 16, read_dm},
    {"SER", "II\x97\1", 4, read_ser},
};

static const struct {
    const char *name, *start;
    size_t n;
} STRANGER[] = {
    {"HDF5", "\x89HDF", 4},  {"ZIP", "PK\3\4", 4},  {"GIF", "GIF8", 4},
    {"PDF", "%PDF", 4},      {"TIA .emi", "JL", 2}, {"gzip", "\x1f\x8b", 2},
};

static int begins(const source *f, const char *start, size_t n)
{
    for (size_t i = 0; i < n && i < f->n; i++)
        if (start[i] != '?' && f->p[i] != (unsigned char)start[i]) return 0;
    return n <= f->n;
}

static int read_any(io_stack *s, source *f)
{
    static const char READS[] =
        "AtomDL reads PNG, JPEG, BMP, PGM, TIFF, DM3, DM4, MRC, SER, NPY";
    if (!f->n) return io_failed(f->path, "an empty file");
    snprintf(s->format, sizeof s->format, "MRC");
    if (is_mrc(f, 0)) return read_mrc(s, f);
    for (size_t i = 0; i < sizeof FORMAT / sizeof *FORMAT; i++)
        if (begins(f, FORMAT[i].start, FORMAT[i].n)) {
            snprintf(s->format, sizeof s->format, "%s", FORMAT[i].name);
            return FORMAT[i].read(s, f);
        }
    if (f->n > 2 && f->p[0] == 'P' && f->p[1] >= '1' && f->p[1] <= '6'
        && (f->p[2] <= ' ' || f->p[2] == '#')) {
        snprintf(s->format, sizeof s->format, "PNM");
        return read_pnm(s, f);
    }
    if (is_mrc(f, 1)) return read_mrc(s, f);
    for (size_t i = 0; i < sizeof STRANGER / sizeof *STRANGER; i++)
        if (begins(f, STRANGER[i].start, STRANGER[i].n))
            return io_failed(f->path, "a %s file; %s", STRANGER[i].name, READS);
    return io_failed(f->path, "no image format that is known here; %s", READS);
}

static int all_finite(const io_stack *s, const char *path)
{
    size_t n = s->frames * s->h * s->w;
    for (size_t i = 0; i < n; i++)
        if ((atomdl_bits(s->px[i]) & 0x7f800000) == 0x7f800000)
            return !io_failed(path, "pixel x %lu, y %lu of frame %lu is not a"
                                 " finite number; replace it",
                           (unsigned long)(i % s->w),
                           (unsigned long)(i / s->w % s->h),
                           (unsigned long)(i / s->w / s->h));
    return 1;
}

int io_stack_parse(io_stack *s, const unsigned char *data, size_t size,
                   const char *path)
{
    source f = {data, size, 0, path};
    memset(s, 0, sizeof *s);
    if (!read_any(s, &f) && all_finite(s, path)) return 0;
    io_stack_free(s);
    return 1;
}

int io_stack_read(io_stack *s, const char *path)
{
    memset(s, 0, sizeof *s);
    io_bytes b;
    if (io_read(&b, path, IO_FILE)) return 1;
    int bad = io_stack_parse(s, b.data, b.size, path);
    free(b.data);
    return bad;
}

void io_stack_free(io_stack *s)
{
    free(s->px);
    memset(s, 0, sizeof *s);
}
