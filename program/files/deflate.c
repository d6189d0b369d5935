/* SPDX-License-Identifier: MIT
   Compression for noisy pictures, in place of stb_image_write's, whose search
   for matches costs most there and finds little: Huffman codes, one set for each block of CHUNK
   bytes, and runs of RUN equal bytes. */
#include "format.h"

#include <string.h>

enum {
    CHUNK = 1 << 18, /* bytes */
    SYMBOLS = 286, RUN = 258, LONGEST = 15,
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

/* Lengths of a Huffman code; counts are halved until none is too long. Leaves
   are 0...SYMBOLS - 1, inner nodes follow. */
static void code_lengths(unsigned char *length, unsigned *count)
{
    unsigned weight[2 * SYMBOLS];
    int up[2 * SYMBOLS], i, a, b, longest;
    for (;;) {
        memcpy(weight, count, SYMBOLS * sizeof *weight);
        memset(up, 0, sizeof up);
        for (int n = SYMBOLS; n < 2 * SYMBOLS; n++) {
            for (a = b = -1, i = 0; i < n; i++) {
                if (!weight[i]) continue;
                if (a < 0 || weight[i] < weight[a]) b = a, a = i;
                else if (b < 0 || weight[i] < weight[b]) b = i;
            }
            if (b < 0) break;
            weight[n] = weight[a] + weight[b];
            weight[a] = weight[b] = 0;
            up[a] = up[b] = n;
        }
        for (longest = 0, i = 0; i < SYMBOLS; i++) {
            length[i] = 0;
            for (a = i; up[a]; a = up[a]) length[i]++;
            longest = most_int(longest, length[i]);
        }
        if (longest <= LONGEST) return;
        for (i = 0; i < SYMBOLS; i++) count[i] = (count[i] + 1) / 2;
    }
}

/* The codes, their first bit lowest. */
static void code_words(unsigned *word, const unsigned char *length)
{
    unsigned next = 0, v;
    int k;
    for (int n = 1; n <= LONGEST; n++, next <<= 1)
        for (int i = 0; i < SYMBOLS; i++) {
            if (length[i] != n) continue;
            for (word[i] = 0, v = next++, k = 0; k < n; k++, v >>= 1)
                word[i] = word[i] << 1 | (v & 1);
        }
}

/* Where the next run of RUN bytes, all equal to the one before them, begins at i
   or later; n: nowhere. Such a run has two equal bytes half its length apart. */
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

/* The codes of n bytes, at most 2 bytes each, straight into memory. */
static void put_codes(bit_writer *w, const unsigned char *p, size_t n,
                      const unsigned *word, const unsigned char *length)
{
    unsigned char *from = text_room(w->to, 2 * n + 4), *to = from;
    uint64_t bits = w->bits;
    int held = w->held;
    size_t run = run_from(p, 0, n);
    for (size_t i = 0; i < n && to; i++) {
        int v = i == run ? SYMBOLS - 1 : p[i];
        bits |= (uint64_t)word[v] << held;
        held += length[v] + (i == run);
        if (i == run) i += RUN - 1, run = run_from(p, i + 1, n);
        if (held < 32) continue;
        for (int k = 0; k < 4; k++) to[k] = (unsigned char)(bits >> 8 * k);
        to += 4;
        bits >>= 32;
        held -= 32;
    }
    w->bits = bits;
    w->held = held;
    if (to) w->to->n -= 2 * n + 4 - (size_t)(to - from);
}

/* How often each code is needed. Neighbours are often equal: counted in
   several places, so that none waits for the last. */
static void count_codes(unsigned *count, const unsigned char *p, size_t n)
{
    unsigned part[4][256] = {{0}};
    memset(count, 0, SYMBOLS * sizeof *count);
    for (size_t i = 0, run; i < n; i = run + RUN) {
        run = run_from(p, i, n);
        for (; i < run; i++) part[i % 4][p[i]]++;
        if (run == n) break;
        count[SYMBOLS - 1]++;
    }
    for (int i = 0; i < 256; i++)
        count[i] = part[0][i] + part[1][i] + part[2][i] + part[3][i];
    count[256]++;
    count[SYMBOLS - 1]++;
}

/* RFC 1951: lengths of the codes as they are, in 4 bits each; one distance, 1,
   for the runs. */
static void put_block(bit_writer *w, const unsigned char *p, size_t n, int last)
{
    unsigned count[SYMBOLS], word[SYMBOLS] = {0};
    count_codes(count, p, n);
    unsigned char length[SYMBOLS];
    code_lengths(length, count);
    code_words(word, length);
    put_bits(w, (unsigned)last | 4, 3);
    put_bits(w, SYMBOLS - 257, 5);
    put_bits(w, 0, 5);
    put_bits(w, 15, 4);
    for (int k = 0; k < 19; k++) put_bits(w, k < 3 ? 0 : 4, 3);
    for (int k = 0; k <= SYMBOLS; k++) { /* the last: the one distance */
        int v = k < SYMBOLS ? length[k] : 1;
        put_bits(w, (unsigned)((v & 1) << 3 | (v & 2) << 1 | (v & 4) >> 1
                               | v >> 3), 4);
    }
    put_codes(w, p, n, word, length);
    put_bits(w, word[256], length[256]);
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

void put_deflated(io_text *t, const unsigned char *p, size_t n)
{
    bit_writer w = {t, 0, 0};
    put_bits(&w, 0x0178, 16);
    size_t part;
    for (size_t i = 0; i < n; i += part) {
        part = n - i < CHUNK ? n - i : CHUNK;
        put_block(&w, p + i, part, i + part == n);
    }
    end_bits(&w);
    text_uint(t, adler(p, n), 4, 1);
}
