/* SPDX-License-Identifier: MIT
   DM3 and DM4 of Gatan DigitalMicrograph. */
#include "format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- Gatan DigitalMicrograph ---------------------------------------

   A tree of tags whose branches have names or numbers. Its own words are
   big-endian, of 4 bytes in DM3 and of 8 in DM4; the data have the order that
   the head states. Each image of ImageList has ImageData with Data, DataType,
   Dimensions and Calibrations; one of the images may be a thumbnail. */

enum { DM_IMAGES = 16, DM_DIMS = 6, DM_DEPTH = 32 };

typedef struct {
    size_t at, bytes; /* of Data */
    unsigned type;
    uint64_t dim[DM_DIMS];
    double scale[2];
    char unit[2][12];
} dm_image;

typedef struct {
    source f; /* big: the order of the data */
    int word; /* 4, 8 */
    size_t at;
    dm_image image[DM_IMAGES];
    unsigned thumbnail;
    char path[256];
} dm_file;

/* Bytes of the file's own; 0 and *bad behind the end. */
static uint64_t dm_word(dm_file *d, int n, int *bad)
{
    *bad |= !has_bytes(&d->f, d->at, (unsigned)n);
    if (*bad) return 0;
    uint64_t v = uint_of(d->f.p + d->at, n, 1);
    d->at += (unsigned)n;
    return v;
}

static value_type dm_code(uint64_t code)
{
    static const value_type TYPE[] = {
        {0, 0}, {0, 0}, {'i', 2}, {'i', 4}, {'u', 2}, {'u', 4}, {'f', 4},
        {'f', 8}, {'b', 1}, {'u', 1}, {'u', 1}, {'i', 8}, {'u', 8}};
    return TYPE[code < sizeof TYPE / sizeof *TYPE ? code : 0];
}

/* Bytes of the value whose description begins here, *code its type. */
static uint64_t dm_size(dm_file *d, uint64_t *code, int depth, int *bad)
{
    uint64_t n = 0;
    *code = dm_word(d, d->word, bad);
    if (depth > 4) *bad = 1;
    if (*bad) return 0;
    uint64_t item;
    if (*code == 15) { /* structure: name's length, fields, (length, type)... */
        dm_word(d, d->word, bad);
        for (uint64_t fields = dm_word(d, d->word, bad); fields && !*bad;
             fields--) {
            dm_word(d, d->word, bad);
            n += dm_size(d, &item, depth + 1, bad);
        }
        *code = 15;
    } else if (*code == 18) { /* text */
        n = dm_word(d, d->word, bad);
    } else if (*code == 20) { /* array: type, count */
        item = dm_size(d, code, depth + 1, bad);
        n = dm_word(d, d->word, bad);
        *bad |= n > d->f.n;
        n = *bad ? 0 : n * item;
    } else {
        n = dm_code(*code).size;
        *bad |= !n;
    }
    *bad |= n > d->f.n;
    return *bad ? 0 : n;
}

static double dm_number(const dm_file *d, uint64_t code)
{
    value_type t = dm_code(code);
    if (!t.size) return 0;
    uint64_t v = uint_at(&d->f, d->at, t.size);
    return t.kind == 'f' && t.size == 8 ? atomdl_double(v)
                                        : (double)float_of(v, t);
}

/* text of 16-bit characters below 256 */
static void dm_text(const dm_file *d, size_t bytes, char *text, size_t room)
{
    size_t i;
    for (i = 0; i + 1 < room && 2 * i + 1 < bytes; i++)
        text[i] = (char)uint_at(&d->f, d->at + 2 * i, 2);
    text[i] = 0;
}

/* A value of n bytes at d->at: is it one that an image needs? */
static void dm_value(dm_file *d, uint64_t code, size_t n)
{
    static const char CAL[] = "ImageData.Calibrations.Dimension.";
    static const char DIM[] = "ImageData.Dimensions.";
    const char *p = d->path;
    if (n < (size_t)dm_code(code).size) return; /* an array of none */
    if (!strcmp(p, "Thumbnails.0.ImageIndex"))
        d->thumbnail = (unsigned)uint_at(&d->f, d->at, dm_code(code).size);
    if (strncmp(p, "ImageList.", 10)) return;
    cursor c;
    c.p = p + 10;
    c.end = p + strlen(p);
    size_t i;
    if (!take_digits(&c, &i) || i >= DM_IMAGES || !take_text(&c, ".")) return;
    dm_image *m = &d->image[i];
    if (!strcmp(c.p, "ImageData.Data")) {
        m->at = d->at;
        m->bytes = n;
    } else if (!strcmp(c.p, "ImageData.DataType")) {
        m->type = (unsigned)uint_at(&d->f, d->at, dm_code(code).size);
    } else if (take_text(&c, DIM) && take_digits(&c, &i) && c.p == c.end) {
        if (i < DM_DIMS) m->dim[i] = uint_at(&d->f, d->at, dm_code(code).size);
    } else if (take_text(&c, CAL) && take_digits(&c, &i) && i < 2) {
        if (!strcmp(c.p, ".Scale")) m->scale[i] = dm_number(d, code);
        if (!strcmp(c.p, ".Units"))
            dm_text(d, n, m->unit[i], sizeof m->unit[i]);
    }
}

static void dm_group(dm_file *d, int depth, int *bad);

/* One tag: name, then a group or a value. */
static void dm_tag(dm_file *d, size_t *unnamed, int depth, int *bad)
{
    size_t used = strlen(d->path), room = sizeof d->path - used;
    unsigned kind = (unsigned)dm_word(d, 1, bad);
    int name = (int)dm_word(d, 2, bad);
    *bad |= !has_bytes(&d->f, d->at, (unsigned)name) || (kind != 20 && kind != 21);
    if (*bad) return;
    int wrote = name ? snprintf(d->path + used, room, "%s%.*s", used ? "." : "",
                                name, (const char *)d->f.p + d->at)
                     : snprintf(d->path + used, room, "%s%lu", used ? "." : "",
                                (unsigned long)(*unnamed)++);
    *bad |= wrote < 0 || (size_t)wrote >= room;
    d->at += (unsigned)name;
    if (d->word == 8) dm_word(d, 8, bad); /* length of what follows */
    if (kind == 20) {
        dm_group(d, depth + 1, bad);
    } else {
        *bad |= dm_word(d, 4, bad) != 0x25252525;
        dm_word(d, d->word, bad); /* words of the description */
        uint64_t code;
        uint64_t size = dm_size(d, &code, 0, bad);
        *bad |= !has_bytes(&d->f, d->at, size);
        if (*bad) return;
        size_t n = (size_t)size;
        dm_value(d, code, n);
        d->at += n;
    }
    d->path[used] = 0;
}

static void dm_group(dm_file *d, int depth, int *bad)
{
    size_t unnamed = 0;
    *bad |= depth > DM_DEPTH;
    dm_word(d, 2, bad); /* sorted, open */
    for (uint64_t n = dm_word(d, d->word, bad); n && !*bad; n--)
        dm_tag(d, &unnamed, depth, bad);
}

/* the image that is neither the thumbnail nor a colour picture */
static const dm_image *dm_choose(const dm_file *d)
{
    enum { COLOUR = 23 };
    const dm_image *one = NULL;
    for (unsigned i = DM_IMAGES; i-- > 0;)
        if (d->image[i].bytes && d->image[i].type != COLOUR
            && (i != d->thumbnail || !one))
            one = &d->image[i];
    return one;
}

static value_type dm_data_type(unsigned code)
{
    static const struct {
        unsigned char code;
        value_type type;
    } TYPE[] = {
        {1, {'i', 2}}, {2, {'f', 4}}, {3, {'c', 8}}, {5, {'c', 8}},
        {6, {'u', 1}}, {7, {'i', 4}}, {9, {'i', 1}}, {10, {'u', 2}},
        {11, {'u', 4}}, {12, {'f', 8}}, {13, {'c', 16}}, {14, {'b', 1}},
        {27, {'c', 8}}, {28, {'c', 16}}, {39, {'i', 8}}, {40, {'u', 8}},
    };
    value_type none = {0, 0};
    for (size_t i = 0; i < sizeof TYPE / sizeof *TYPE; i++)
        if (TYPE[i].code == code) return TYPE[i].type;
    return none;
}

static int dm_pixels(io_stack *s, dm_file *d)
{
    const dm_image *m = dm_choose(d);
    uint64_t frames = 1;
    if (!m) return io_failed(d->f.path, "a DM file without a grey image");
    value_type t = dm_data_type(m->type);
    if (t.kind == 'c') return io_failed(d->f.path, NO_COMPLEX);
    if (!t.size)
        return io_failed(d->f.path, "a DM image of unknown data type %u; save it"
                                 " as 4-byte real", m->type);
    for (int i = 2; i < DM_DIMS && m->dim[i]; i++) {
        if (m->dim[i] > IO_PIXELS || frames > IO_PIXELS) break;
        frames *= m->dim[i];
    }
    if (!stack_fits(&d->f, frames, m->dim[1] ? m->dim[1] : 1, m->dim[0])) return 1;
    if (frames * (m->dim[1] ? m->dim[1] : 1) * m->dim[0] * t.size != m->bytes)
        return io_failed(d->f.path, "its data do not fit its dimensions");
    stack_pixel(s, m->scale[0], 0, m->unit[0]);
    if (stack_plain(s, &d->f, m->at, frames, m->dim[1] ? m->dim[1] : 1,
                    m->dim[0], t))
        return 1;
    {
        double x = s->pixel_x;
        stack_pixel(s, 0, m->scale[1], m->unit[1]);
        s->pixel_x = x;
    }
    return 0;
}

int read_dm(io_stack *s, source *f)
{
    dm_file *d = calloc(1, sizeof *d);
    int bad = 0;
    if (!d) return io_failed(f->path, "no memory");
    d->f = *f;
    d->word = f->p[3] == 3 ? 4 : 8;
    d->f.big = !f->p[d->word + 7];
    d->at = (size_t)d->word + 8;
    d->thumbnail = DM_IMAGES;
    dm_group(d, 0, &bad);
    bad = bad ? io_failed(f->path, SHORT_FILE) : dm_pixels(s, d);
    free(d);
    return bad;
}
