/* SPDX-License-Identifier: MIT
   Images and stacks in, by the table of formats. */
#include "format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A decompressed pixel has at least 1/2048 of a byte in any format read
   here. */
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
    return !io_failed(f->path, most == IO_PIXELS
                      ? "more than 2^30 pixels; cut it in parts"
                      : "states more pixels than so short a file can hold");
}

int stack_new(io_stack *s, const source *f, uint64_t frames, uint64_t h,
              uint64_t w, value_type t)
{
    if (!stack_fits(f, frames, h, w)) return 0;
    s->frames = (size_t)frames;
    s->h = (size_t)h;
    s->w = (size_t)w;
    type_name(s->type, t);
    s->px = calloc(s->frames * s->h * s->w, sizeof *s->px);
    return s->px || !io_failed(f->path, "no memory for its pixels");
}

int stack_plain(io_stack *s, const source *f, uint64_t at, uint64_t frames,
                uint64_t h, uint64_t w, value_type t)
{
    if (!stack_fits(f, frames, h, w)) return 1;
    if (!has_bytes(f, at, frames * h * w * t.size))
        return io_failed(f->path, SHORT_FILE);
    if (!stack_new(s, f, frames, h, w, t)) return 1;
    floats_of(s->px, f->p + at, s->frames * s->h * s->w, t, f->big);
    return 0;
}

/* Units as microscopes write them: nm in UTF-8, Latin-1, escaped, in words */
double in_angstrom(double x, const char *unit)
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
    double a = 0;
    for (size_t i = 0; i < sizeof UNIT / sizeof *UNIT; i++)
        if (!strcmp(unit, UNIT[i].name)) a = x * UNIT[i].length;
    return a > 1e-6 && a < 1e12 ? a : 0;
}

/* read NULL: known by name alone */
#define FORMAT_ROW(name, at, start, reader) \
    {name, at, start, sizeof start - 1, reader},

static const struct {
    const char *name;
    size_t at;
    const char *start;
    size_t n;
    format_reader *read;
} FORMAT[] = {
    FORMATS(FORMAT_ROW)
    FORMAT_ROW("HDF5", 0, "\x89HDF", NULL)
    FORMAT_ROW("ZIP", 0, "PK\3\4", NULL)
    FORMAT_ROW("GIF", 0, "GIF8", NULL)
    FORMAT_ROW("PDF", 0, "%PDF", NULL)
    FORMAT_ROW("TIA .emi", 0, "JL", NULL)
    FORMAT_ROW("gzip", 0, "\x1f\x8b", NULL)
};

static int bytes_fit(const source *f, size_t at, const char *start, size_t n)
{
    for (size_t i = 0; i < n && at + i < f->n; i++)
        if (start[i] != '?' && f->p[at + i] != (unsigned char)start[i])
            return 0;
    return has_bytes(f, at, n);
}

static int stack_any(io_stack *s, source *f)
{
    static const char READS[] = "AtomDL reads " FORMATS_READ;
    if (!f->n) return io_failed(f->path, "an empty file");
    for (size_t i = 0; i < sizeof FORMAT / sizeof *FORMAT; i++) {
        if (!bytes_fit(f, FORMAT[i].at, FORMAT[i].start, FORMAT[i].n)) continue;
        if (!FORMAT[i].read)
            return io_failed(f->path, "a %s file; %s", FORMAT[i].name, READS);
        snprintf(s->format, sizeof s->format, "%s", FORMAT[i].name);
        int bad = FORMAT[i].read(s, f);
        if (bad != NOT_MINE) return bad;
    }
    return io_failed(f->path, "no image format that is known here; %s", READS);
}

int io_stack_finite(const io_stack *s, const char *path)
{
    size_t n = s->frames * s->h * s->w;
    for (size_t i = 0; i < n; i++)
        if (!is_finite((double)s->px[i]))
            return !io_failed(path, "pixel x %zu, y %zu of frame %zu is not a"
                                    " finite number; replace it", i % s->w,
                              i / s->w % s->h, i / s->w / s->h);
    return 1;
}

int io_stack_parse(io_stack *s, const unsigned char *data, size_t size,
                   const char *path)
{
    source f = {data, size, 0, path};
    memset(s, 0, sizeof *s);
    if (!stack_any(s, &f)) return 0;
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
    free(s->blank);
    memset(s, 0, sizeof *s);
}
