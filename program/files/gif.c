/* SPDX-License-Identifier: MIT
   GIF 89a: animations of 100 greys and a cube of 5 x 5 x 5 colours, the same
   for all frames. */
#include "format.h"

#include <string.h>

enum { GREYS = 100, CUBE = 5, GIF_CODES = 4096, HASH_BITS = 13 };

static void gif_head(io_text *t, int w, int h)
{
    text_bytes(t, "GIF89a", 6);
    text_uint(t, (unsigned)w, 2, 0);
    text_uint(t, (unsigned)h, 2, 0);
    text_bytes(t, "\xf7\0\0", 3); /* 256 colours */
    unsigned char *to = text_room(t, 768);
    for (int i = 0; to && i < 768; i++) {
        int c = i / 3 - GREYS, part = i % 3 == 0 ? c / (CUBE * CUBE)
                                      : i % 3 == 1 ? c / CUBE % CUBE : c % CUBE;
        to[i] = (unsigned char)(c < 0 ? i / 3 * 255 / (GREYS - 1)
                                : c < CUBE * CUBE * CUBE
                                      ? part * 255 / (CUBE - 1) : 0);
    }
    text_bytes(t, "!\xff\vNETSCAPE2.0\3\1\0\0\0", 19); /* for ever */
}

static int gif_colour(const unsigned char *p)
{
    int r = p[0], g = p[1], b = p[2], step = 256 / CUBE + 1;
    if (r == g && g == b) return (r * (GREYS - 1) + 127) / 255;
    return GREYS + (r / step * CUBE + g / step) * CUBE + b / step;
}

/* LZW: strings seen so far by (string, next colour), of 20 bits, above their
   codes; 0: none there. */
static void gif_codes(io_text *to, const unsigned char *rgb, size_t n)
{
    enum { CLEAR = 256, END = 257, PLACES = 1 << HASH_BITS };
    static uint32_t seen[PLACES];
    bit_writer g = {to, 0, 0};
    int prefix = gif_colour(rgb), next = END + 1, width = 9;
    put_bits(&g, CLEAR, width);
    memset(seen, 0, sizeof seen);
    for (size_t i = 1; i < n; i++) {
        int c = gif_colour(rgb + 3 * i);
        uint32_t want = (uint32_t)prefix << 8 | (uint32_t)c;
        uint32_t at = want * 2654435761u >> (32 - HASH_BITS);
        while (seen[at] && seen[at] >> 12 != want) at = (at + 1) % PLACES;
        if (seen[at]) {
            prefix = (int)(seen[at] & 4095);
            continue;
        }
        put_bits(&g, (unsigned)prefix, width);
        prefix = c;
        if (next < GIF_CODES) {
            if (next == 1 << width) width++;
            seen[at] = want << 12 | (uint32_t)next++;
        } else {
            put_bits(&g, CLEAR, width);
            memset(seen, 0, sizeof seen);
            next = END + 1;
            width = 9;
        }
    }
    put_bits(&g, (unsigned)prefix, width);
    if (next == 1 << width && width < 12) width++;
    put_bits(&g, END, width);
    end_bits(&g);
}

/* Head, delay, size, codes in blocks of 255 bytes. */
void io_gif_frame(io_text *t, const io_canvas *c, int hundredths)
{
    if (!t->n) gif_head(t, c->w, c->h);
    text_bytes(t, "!\xf9\4\0", 4);
    text_uint(t, (unsigned)hundredths, 2, 0);
    text_bytes(t, "\0\0,\0\0\0\0", 7);
    text_uint(t, (unsigned)c->w, 2, 0);
    text_uint(t, (unsigned)c->h, 2, 0);
    text_bytes(t, "\0\10", 2); /* 8 bits a colour */
    io_text codes = {0};
    gif_codes(&codes, c->rgb, (size_t)c->w * (size_t)c->h);
    t->failed |= codes.failed;
    for (size_t at = 0, n; at < codes.n; at += n) {
        n = codes.n - at < 255 ? codes.n - at : 255;
        text_uint(t, n, 1, 0);
        text_bytes(t, codes.s + at, n);
    }
    text_uint(t, 0, 1, 0);
    io_text_free(&codes);
}

int io_gif_write(io_text *t, const char *path)
{
    text_bytes(t, ";", 1);
    return io_text_write(t, path);
}
