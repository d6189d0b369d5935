/* SPDX-License-Identifier: MIT
   Compression for noisy pictures, in place of stb_image_write's, whose search
   for matches costs most there and finds little: Huffman codes, one set for
   each block of CHUNK bytes; runs of RUN equal bytes; and, in colour, pixels
   that came before, of which the last one is known. A grey pixel of a coloured
   picture then costs one match instead of three equal bytes. */
#include "format.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK = 1 << 18, /* bytes */
    SYMBOLS = 286, DISTANCES = 30, RUN = 258, LONGEST = 15,
    WINDOW = 1 << 15, /* bytes */
    PLACES = 1 << 12,
    ADLER = 5552 /* bytes whose sums stay below 2^32 */
};

void put_bits(bit_writer *w, unsigned v, int n)
{
    w->bits |= (uint64_t)v << w->held;
    w->held += n;
    if (w->held < 32) return;
    text_uint(w->to, w->bits, 4, 0);
    w->bits >>= 32;
    w->held -= 32;
}

/* ... the last of them, to a whole byte */
void end_bits(bit_writer *w)
{
    text_uint(w->to, w->bits, (w->held + 7) / 8, 0);
    w->bits = 0;
    w->held = 0;
}

/* Lengths of a Huffman code of n symbols; counts are halved until none is too
   long. Leaves are 0...n - 1, inner nodes follow. */
static void code_lengths(unsigned char *length, unsigned *count, int n)
{
    unsigned weight[2 * SYMBOLS];
    int up[2 * SYMBOLS], i, a, b, longest;
    for (;;) {
        memcpy(weight, count, (size_t)n * sizeof *weight);
        memset(up, 0, sizeof up);
        for (int node = n;; node++) { /* n - 1 of them at most */
            for (a = b = -1, i = 0; i < node; i++) {
                if (!weight[i]) continue;
                if (a < 0 || weight[i] < weight[a]) b = a, a = i;
                else if (b < 0 || weight[i] < weight[b]) b = i;
            }
            if (b < 0) break;
            weight[node] = weight[a] + weight[b];
            weight[a] = weight[b] = 0;
            up[a] = up[b] = node;
        }
        for (longest = 0, i = 0; i < n; i++) {
            length[i] = 0;
            for (a = i; up[a]; a = up[a]) length[i]++;
            longest = most_int(longest, length[i]);
        }
        if (longest <= LONGEST) return;
        for (i = 0; i < n; i++) count[i] = (count[i] + 1) / 2;
    }
}

/* The codes, their first bit lowest. */
static void code_words(unsigned *word, const unsigned char *length, int n)
{
    unsigned next = 0, v;
    int k;
    for (int bits = 1; bits <= LONGEST; bits++, next <<= 1)
        for (int i = 0; i < n; i++) {
            if (length[i] != bits) continue;
            for (word[i] = 0, v = next++, k = 0; k < bits; k++, v >>= 1)
                word[i] = word[i] << 1 | (v & 1);
        }
}

/* Where the next run of RUN bytes, all equal to the one before them, begins at
   i or later; n: nowhere. Such a run has equal bytes half its length apart. */
static size_t run_from(const unsigned char *p, size_t i, size_t n)
{
    enum { APART = RUN / 2 };
    size_t start = i ? i - 1 : 0;
    for (size_t k = start; k + APART < n; k += APART) {
        if (p[k] != p[k + APART]) continue;
        size_t from = k, to = k + 1;
        while (from > start && p[from - 1] == p[k]) from--;
        while (to < n && p[to] == p[k]) to++;
        if (to - from > RUN) return from + 1;
        start = to;
        k = to - APART; /* the next is `to` */
    }
    return n;
}

/* What a block holds: a byte, or length << 16 | distance - 1 of a match. */
typedef struct {
    uint32_t *token;
    size_t n;
} tokens;

static void run_tokens(tokens *to, const unsigned char *p, size_t n)
{
    size_t run = run_from(p, 0, n);
    for (size_t i = 0; i < n; i++) {
        to->token[to->n++] = i == run ? RUN << 16 : p[i];
        if (i == run) i += RUN - 1, run = run_from(p, i + 1, n);
    }
}

static unsigned place_of(const unsigned char *p)
{
    uint32_t v = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
    return v * 2654435761u >> 20;
}

/* Of a pixel at i and those after it, as many bytes as come again at `at`. */
static size_t same_pixels(const unsigned char *p, size_t at, size_t i,
                          size_t end)
{
    size_t n = 0;
    while (i + n + 3 <= end && n < RUN && !memcmp(p + at + n, p + i + n, 3))
        n += 3;
    return n;
}

/* Bytes [i, end) of rows of a byte and pixels of three; last: where a pixel of
   that hash was, from 1. */
static void pixel_tokens(tokens *to, const unsigned char *p, size_t i,
                         size_t end, size_t row, uint32_t *last)
{
    while (i < end) {
        size_t stop = i - i % row + row;
        if (stop > end) stop = end;
        if (i % row == 0) to->token[to->n++] = p[i++];
        while (i < stop) {
            uint32_t *place = last + (stop - i < 3 ? 0 : place_of(p + i));
            size_t at = *place, n = 0;
            if (at && i - (at - 1) <= WINDOW)
                n = same_pixels(p, at - 1, i, stop);
            if (stop - i >= 3) *place = (uint32_t)i + 1;
            if (n) to->token[to->n++] = (uint32_t)(n << 16 | (i - at));
            for (size_t k = 0; k < 3 && !n && i + k < stop; k++)
                to->token[to->n++] = p[i + k];
            i += n ? n : stop - i < 3 ? stop - i : 3;
        }
    }
}

/* A number's code among those that share their first bits with a few others
   (RFC 1951, 3.2.5): bits of it follow, but the lowest 4 or 8 have none. */
static int code_of(unsigned v, int first)
{
    int bits = 0;
    while (v >> bits >= 2u << first) bits++;
    return (int)(v >> bits) + (bits << first);
}

static int bits_after(int code, int first)
{
    int bits = (code >> first) - 1;
    return bits > 0 ? bits : 0;
}

/* Codes of both kinds, and which are lengths' - 3, and distances' - 1: below
   256, or from there on in steps of 128. */
typedef struct {
    unsigned word[SYMBOLS], far[DISTANCES];
    unsigned char length[SYMBOLS + DISTANCES];
    unsigned char of_length[256], of_near[256], of_far[256];
} code_set;

static void codes_begin(code_set *c)
{
    memset(c, 0, sizeof *c);
    for (unsigned v = 0; v < 256; v++) {
        c->of_length[v] = (unsigned char)code_of(v, 2);
        c->of_near[v] = (unsigned char)code_of(v, 1);
        c->of_far[v] = (unsigned char)code_of(v << 7, 1);
    }
    c->of_length[RUN - 3] = SYMBOLS - 1 - 257;
}

static int distance_code(const code_set *c, unsigned v)
{
    return v < 256 ? c->of_near[v] : c->of_far[v >> 7];
}

static void codes_new(code_set *c, const tokens *all)
{
    unsigned count[SYMBOLS] = {0}, distance[DISTANCES] = {1, 1};
    count[256] = 1;
    for (size_t i = 0; i < all->n; i++) {
        uint32_t v = all->token[i];
        if (v < 256) {
            count[v]++;
            continue;
        }
        count[257 + c->of_length[(v >> 16) - 3]]++;
        distance[distance_code(c, v & 0xffff)]++;
    }
    code_lengths(c->length, count, SYMBOLS);
    code_words(c->word, c->length, SYMBOLS);
    code_lengths(c->length + SYMBOLS, distance, DISTANCES);
    code_words(c->far, c->length + SYMBOLS, DISTANCES);
}

/* At most 28 bits more, straight into memory. */
static unsigned char *add_bits(bit_writer *w, unsigned char *to, unsigned v,
                               int n)
{
    w->bits |= (uint64_t)v << w->held;
    w->held += n;
    if (w->held < 32) return to;
    for (int k = 0; k < 4; k++) to[k] = (unsigned char)(w->bits >> 8 * k);
    w->bits >>= 32;
    w->held -= 32;
    return to + 4;
}

/* A byte takes 15 bits at most, a match 48, and stands for 3 bytes or more. */
static void put_tokens(bit_writer *w, const tokens *all, size_t bytes,
                       const code_set *c)
{
    size_t most = 2 * bytes + 8;
    unsigned char *from = text_room(w->to, most), *to = from;
    for (size_t i = 0; i < all->n && to; i++) {
        uint32_t v = all->token[i];
        if (v < 256) {
            to = add_bits(w, to, c->word[v], c->length[v]);
            continue;
        }
        unsigned length = (v >> 16) - 3, distance = v & 0xffff;
        int k = c->of_length[length];
        int more = length < RUN - 3 ? bits_after(k, 2) : 0;
        to = add_bits(w, to, c->word[257 + k]
                      | (length & ((1u << more) - 1)) << c->length[257 + k],
                      c->length[257 + k] + more);
        k = distance_code(c, distance);
        more = bits_after(k, 1);
        to = add_bits(w, to, c->far[k] | (distance & ((1u << more) - 1))
                      << c->length[SYMBOLS + k], c->length[SYMBOLS + k] + more);
    }
    if (to) w->to->n -= most - (size_t)(to - from);
}

/* RFC 1951: lengths of the codes as they are, in 4 bits each. */
static void put_block(bit_writer *w, const tokens *all, size_t bytes,
                      code_set *c, int last)
{
    codes_new(c, all);
    put_bits(w, (unsigned)last | 4, 3);
    put_bits(w, SYMBOLS - 257, 5);
    put_bits(w, DISTANCES - 1, 5);
    put_bits(w, 15, 4);
    for (int k = 0; k < 19; k++) put_bits(w, k < 3 ? 0 : 4, 3);
    for (int k = 0; k < SYMBOLS + DISTANCES; k++) {
        int v = c->length[k];
        put_bits(w, (unsigned)((v & 1) << 3 | (v & 2) << 1 | (v & 4) >> 1
                               | v >> 3), 4);
    }
    put_tokens(w, all, bytes, c);
    put_bits(w, c->word[256], c->length[256]);
}

/* RFC 1950's checksum */
static uint32_t adler(const unsigned char *p, size_t n)
{
    uint32_t a = 1, b = 0;
    while (n) {
        size_t part = n < ADLER ? n : ADLER;
        for (n -= part; part; part--) b += a += *p++;
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}

void put_deflated(io_text *t, const unsigned char *p, size_t n, size_t row)
{
    bit_writer w = {t, 0, 0};
    uint32_t last[PLACES] = {0};
    tokens all = {malloc(CHUNK * sizeof *all.token), 0};
    t->failed |= !all.token;
    code_set c;
    codes_begin(&c);
    put_bits(&w, 0x0178, 16);
    size_t part;
    for (size_t i = 0; i < n && all.token; i += part) {
        part = n - i < CHUNK ? n - i : CHUNK;
        all.n = 0;
        if (row) pixel_tokens(&all, p, i, i + part, row, last);
        else run_tokens(&all, p + i, part);
        put_block(&w, &all, part, &c, i + part == n);
    }
    free(all.token);
    end_bits(&w);
    text_uint(t, adler(p, n), 4, 1);
}
