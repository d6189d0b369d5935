/* SPDX-License-Identifier: MIT
   DM3 and DM4 of Gatan DigitalMicrograph: a tree of tags whose branches have
   names or numbers. Its own words are big-endian, of 4 bytes in DM3 and of 8
   in DM4; the data have the order that the head states. Each image of
   ImageList has ImageData with Data, DataType, Dimensions and Calibrations;
   one of the images may be a thumbnail. */
#include "format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DM_IMAGES = 16, DM_DIMS = 6, DM_DEPTH = 32 };

/* types of tags, and of pixels: tens a row */
static const char TAG_TYPES[] = "....i2i4u2u4f4f8b1u1u1i8u8";
static const char PIXEL_TYPES[] = "..i2f4c8..c8u1i4..i1"
                                  "u2u4f8c8b1.........."
                                  "..............c8c8.."
                                  "..................i8"
                                  "u8";

typedef struct {
    uint64_t at, bytes; /* of Data */
    uint64_t type, dim[DM_DIMS];
    double scale[2];
    char unit[2][12];
} dm_image;

typedef struct {
    source f; /* big: the order of the data */
    int word; /* 4, 8 */
    int bad;
    uint64_t at;
    dm_image image[DM_IMAGES];
    uint64_t thumbnail;
    char path[256];
} dm_file;

/* A number of n bytes of the tree; 0 and d->bad behind the end. */
static uint64_t dm_word(dm_file *d, int n)
{
    d->bad |= !has_bytes(&d->f, d->at, (unsigned)n);
    if (d->bad) return 0;
    d->at += (unsigned)n;
    return uint_of(d->f.p + d->at - n, n, 1);
}

/* Bytes of the value whose description begins here, *code its type. */
static uint64_t dm_size(dm_file *d, uint64_t *code, int depth)
{
    enum { STRUCTURE = 15, TEXT = 18, ARRAY = 20 };
    uint64_t n = 0, item;
    *code = dm_word(d, d->word);
    if (depth > 4) d->bad = 1;
    if (d->bad) return 0;
    if (*code == STRUCTURE) { /* name's length, fields, (length, type)... */
        dm_word(d, d->word);
        uint64_t fields = dm_word(d, d->word);
        for (; fields && !d->bad; fields--) {
            dm_word(d, d->word);
            n += dm_size(d, &item, depth + 1);
        }
    } else if (*code == TEXT) {
        n = dm_word(d, d->word);
    } else if (*code == ARRAY) { /* type, count */
        item = dm_size(d, code, depth + 1);
        n = dm_word(d, d->word);
        d->bad |= n > d->f.n;
        n = d->bad ? 0 : n * item;
    } else {
        n = type_in(TAG_TYPES, *code).size;
        d->bad |= !n;
    }
    d->bad |= n > d->f.n;
    return d->bad ? 0 : n;
}

/* text of 16-bit characters below 256 */
static void dm_text(const dm_file *d, uint64_t bytes, char text[12])
{
    size_t i;
    for (i = 0; i < 11 && 2 * i + 1 < bytes; i++)
        text[i] = (char)uint_at(&d->f, d->at + 2 * i, 2);
    text[i] = 0;
}

/* A value of n bytes at d->at: is it one that an image needs? */
static void dm_value(dm_file *d, uint64_t code, uint64_t n)
{
    value_type t = type_in(TAG_TYPES, code);
    uint64_t v = uint_at(&d->f, d->at, t.size);
    size_t i;
    if (n < t.size) return; /* an array of none */
    if (!strcmp(d->path, "Thumbnails.0.ImageIndex")) d->thumbnail = v;
    cursor c = {d->path, d->path + strlen(d->path)};
    if (!take_text(&c, "ImageList.") || !take_digits(&c, &i) || i >= DM_IMAGES
        || !take_text(&c, ".ImageData."))
        return;
    dm_image *m = &d->image[i];
    if (!strcmp(c.p, "Data")) {
        m->at = d->at;
        m->bytes = n;
    } else if (!strcmp(c.p, "DataType")) {
        m->type = v;
    } else if (take_text(&c, "Dimensions.") && take_digits(&c, &i)) {
        if (i < DM_DIMS && c.p == c.end) m->dim[i] = v;
    } else if (take_text(&c, "Calibrations.Dimension.") && take_digits(&c, &i)
               && i < 2) {
        if (!strcmp(c.p, ".Units")) dm_text(d, n, m->unit[i]);
        else if (!strcmp(c.p, ".Scale") && t.size)
            m->scale[i] = t.kind == 'f' && t.size == 8 ? atomdl_double(v)
                                                       : (double)float_of(v, t);
    }
}

static void dm_group(dm_file *d, int depth);

/* One tag: name, then a group or a value. */
static void dm_tag(dm_file *d, int *unnamed, int depth)
{
    enum { GROUP = 20, VALUE = 21 };
    size_t used = strlen(d->path), room = sizeof d->path - used;
    uint64_t kind = dm_word(d, 1), code;
    int name = (int)dm_word(d, 2);
    d->bad |= !has_bytes(&d->f, d->at, (unsigned)name)
              || (kind != GROUP && kind != VALUE);
    if (d->bad) return;
    const char *dot = used ? "." : "";
    int wrote = name ? snprintf(d->path + used, room, "%s%.*s", dot, name,
                                (const char *)d->f.p + d->at)
                     : snprintf(d->path + used, room, "%s%d", dot,
                                (*unnamed)++);
    d->bad |= wrote < 0 || (size_t)wrote >= room;
    d->at += (unsigned)name;
    if (d->word == 8) dm_word(d, 8); /* length of what follows */
    if (kind == GROUP) {
        dm_group(d, depth + 1);
    } else {
        d->bad |= dm_word(d, 4) != 0x25252525;
        dm_word(d, d->word); /* words of the description */
        uint64_t n = dm_size(d, &code, 0);
        d->bad |= !has_bytes(&d->f, d->at, n);
        if (d->bad) return;
        dm_value(d, code, n);
        d->at += n;
    }
    d->path[used] = 0;
}

static void dm_group(dm_file *d, int depth)
{
    d->bad |= depth > DM_DEPTH;
    dm_word(d, 2); /* sorted, open */
    int unnamed = 0;
    for (uint64_t n = dm_word(d, d->word); n && !d->bad; n--)
        dm_tag(d, &unnamed, depth);
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

static int dm_pixels(io_stack *s, const dm_file *d)
{
    const dm_image *m = dm_choose(d);
    if (!m) return io_failed(d->f.path, "a DM file without a grey image");
    value_type t = type_in(PIXEL_TYPES, m->type);
    if (!type_is_real(&d->f, t, "a DM image of unknown data type", m->type))
        return 1;
    uint64_t frames = 1, w = m->dim[0], h = m->dim[1] ? m->dim[1] : 1;
    for (int i = 2; i < DM_DIMS && m->dim[i]; i++) {
        if (m->dim[i] > IO_PIXELS || frames > IO_PIXELS) break;
        frames *= m->dim[i];
    }
    if (!stack_fits(&d->f, frames, h, w)) return 1;
    if (frames * h * w * t.size != m->bytes)
        return io_failed(d->f.path, "its data do not fit its dimensions");
    s->pixel_x = unit_length(m->scale[0], m->unit[0]);
    s->pixel_y = unit_length(m->scale[1], m->unit[1]);
    return stack_plain(s, &d->f, m->at, frames, h, w, t);
}

int read_dm(io_stack *s, source *f)
{
    dm_file *d = calloc(1, sizeof *d);
    if (!d) return io_failed(f->path, "no memory");
    d->f = *f;
    d->word = f->p[3] == 3 ? 4 : 8;
    d->f.big = !f->p[d->word + 7];
    d->at = (unsigned)d->word + 8;
    d->thumbnail = DM_IMAGES;
    dm_group(d, 0);
    int bad = d->bad ? io_failed(f->path, SHORT_FILE) : dm_pixels(s, d);
    free(d);
    return bad;
}
