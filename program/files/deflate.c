/* SPDX-License-Identifier: MIT
   Compression for noisy pictures, in place of stb_image_write's, whose search
   for matches costs most there and finds little: Huffman codes, one set for
   each block; runs of RUN equal bytes; and, in colour, pixels that came before,
   of which the last one is known. A grey pixel of a coloured picture then costs
   one match instead of three equal bytes. */
#include "format.h"

#include <string.h>

enum {
    END = 256, SYMBOLS = 286, DISTANCES = 30, RUN = 258, LONGEST = 12,
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

/* Lengths of a Huffman code of n symbols, of which two or more count. Leaves
   stand in rising order, then inner nodes, which rise by themselves; so leaf 0
   lies deepest. Weights are halved until it is not too deep. */
static void code_lengths(unsigned char *length, const unsigned *count, int n)
{
    unsigned weight[2 * SYMBOLS];
    int symbol[SYMBOLS], up[2 * SYMBOLS], depth[2 * SYMBOLS], leaves = 0;
    for (int i = 0; i < n; i++) {
        int k = leaves;
        length[i] = 0;
        if (!count[i]) continue;
        for (; k && weight[k - 1] > count[i]; k--) {
            weight[k] = weight[k - 1];
            symbol[k] = symbol[k - 1];
        }
        weight[k] = count[i];
        symbol[k] = i;
        leaves++;
    }
    int root = 2 * leaves - 2;
    do {
        int leaf = 0, inner = leaves;
        for (int node = leaves; node <= root; node++) {
            weight[node] = 0;
            for (int k = 0; k < 2; k++) {
                int is_leaf = leaf < leaves
                    && (inner == node || weight[leaf] <= weight[inner]);
                int least = is_leaf ? leaf++ : inner++;
                weight[node] += weight[least];
                up[least] = node;
            }
        }
        depth[root] = 0;
        for (int i = root; i--;) depth[i] = depth[up[i]] + 1;
        for (int i = 0; i < leaves; i++) weight[i] = (weight[i] + 1) / 2;
    } while (depth[0] > LONGEST);
    for (int i = 0; i < leaves; i++)
        length[symbol[i]] = (unsigned char)depth[i];
}

/* The codes, their first bit lowest, and above 16 bits their lengths. */
static void code_words(unsigned *word, const unsigned char *length, int n)
{
    unsigned of[LONGEST + 1] = {0}, next[LONGEST + 1] = {0};
    for (int i = 0; i < n; i++) of[length[i]] += length[i] > 0;
    for (int bits = 1; bits < LONGEST; bits++)
        next[bits + 1] = (next[bits] + of[bits]) << 1;
    for (int i = 0; i < n; i++) {
        unsigned v = next[length[i]]++;
        word[i] = 0;
        for (int k = 0; k < length[i]; k++, v >>= 1)
            word[i] = word[i] << 1 | (v & 1);
        word[i] |= (unsigned)length[i] << 16;
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

/* What a block holds: bytes, of a match 256 + length and distance - 1, END. Not
   from malloc: fresh memory for each picture costs more than the work there. */
typedef struct {
    uint16_t token[ZLIB_BLOCK + 4];
    size_t n;
} tokens;

/* Four bytes, which are the rule where there is noise? */
static int are_bytes(const uint16_t *v)
{
    return (v[0] | v[1] | v[2] | v[3]) < END;
}

static void add_match(tokens *to, size_t length, size_t distance)
{
    to->token[to->n++] = (uint16_t)(END + length);
    to->token[to->n++] = (uint16_t)(distance - 1);
}

static void run_tokens(tokens *to, const unsigned char *p, size_t n)
{
    for (size_t i = 0, run; i < n; i = run + RUN) {
        run = run_from(p, i, n);
        for (size_t k = 0; k < run - i; k++) to->token[to->n + k] = p[i + k];
        to->n += run - i;
        if (run < n) add_match(to, RUN, 1);
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
            if (n) add_match(to, n, i - at + 1);
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
    c->of_length[RUN - 3] = SYMBOLS - END - 2;
}

static int distance_code(const code_set *c, unsigned v)
{
    return v < 256 ? c->of_near[v] : c->of_far[v >> 7];
}

/* Symbols that come again at once are counted in other places. */
static void codes_new(code_set *c, const tokens *all)
{
    unsigned part[END + 1][4] = {{0}}, count[SYMBOLS] = {0};
    unsigned distance[DISTANCES] = {1, 1};
    for (const uint16_t *v = all->token; v < all->token + all->n;) {
        if (are_bytes(v)) {
            for (int k = 0; k < 4; k++) part[*v++][k]++;
        } else if (*v <= END) {
            part[*v++][0]++;
        } else {
            count[END + 1 + c->of_length[*v++ - END - 3]]++;
            distance[distance_code(c, *v++)]++;
        }
    }
    for (int i = 0; i <= END; i++)
        count[i] = part[i][0] + part[i][1] + part[i][2] + part[i][3];
    code_lengths(c->length, count, SYMBOLS);
    code_words(c->word, c->length, SYMBOLS);
    code_lengths(c->length + SYMBOLS, distance, DISTANCES);
    code_words(c->far, c->length + SYMBOLS, DISTANCES);
}

/* Bits, their number above 16: at most 48 bits in all until spilt(). */
static void add_bits(bit_writer *w, uint64_t v)
{
    w->bits |= (v & 0xffff) << w->held;
    w->held += (int)(v >> 16);
}

/* Whole bytes go to memory, where there is room for 8. */
static unsigned char *spilt(bit_writer *w, unsigned char *to)
{
    for (int k = 0; k < 8; k++) to[k] = (unsigned char)(w->bits >> 8 * k);
    to += w->held >> 3;
    w->bits >>= w->held & ~7;
    w->held &= 7;
    return to;
}

/* A match: two codes and the bits after each. */
static void add_codes(bit_writer *w, const uint16_t *token, const code_set *c)
{
    unsigned length = token[0] - END - 3u, distance = token[1];
    int k = c->of_length[length], far = distance_code(c, distance);
    unsigned more = length < RUN - 3 ? (unsigned)bits_after(k, 2) : 0;
    add_bits(w, c->word[END + 1 + k]);
    add_bits(w, (length & ((1u << more) - 1)) | more << 16);
    more = (unsigned)bits_after(far, 1);
    add_bits(w, c->far[far]);
    add_bits(w, (distance & ((1u << more) - 1)) | more << 16);
}

/* A byte takes 15 bits at most, a match 48, and stands for 3 bytes or more. */
static void put_tokens(bit_writer *writer, const tokens *all, size_t bytes,
                       const code_set *c)
{
    size_t most = 2 * bytes + 32;
    unsigned char *from = text_room(writer->to, most), *to = from;
    bit_writer w = *writer;
    if (to) to = spilt(&w, to);
    for (const uint16_t *v = all->token; v < all->token + all->n && to;) {
        if (are_bytes(v)) {
            for (int k = 0; k < 4; k++) add_bits(&w, c->word[*v++]);
        } else if (*v <= END) {
            add_bits(&w, c->word[*v++]);
        } else {
            add_codes(&w, v, c);
            v += 2;
        }
        to = spilt(&w, to);
    }
    if (to) w.to->n -= most - (size_t)(to - from);
    *writer = w;
}

/* RFC 1951: lengths of the codes as they are, in 4 bits each. */
static void put_block(bit_writer *w, tokens *all, size_t bytes, code_set *c)
{
    all->token[all->n++] = END;
    codes_new(c, all);
    put_bits(w, 4, 3);
    put_bits(w, SYMBOLS - END - 1, 5);
    put_bits(w, DISTANCES - 1, 5);
    put_bits(w, 15, 4);
    for (int k = 0; k < 19; k++) put_bits(w, k < 3 ? 0 : 4, 3);
    for (int k = 0; k < SYMBOLS + DISTANCES; k++) {
        int v = c->length[k];
        put_bits(w, (unsigned)((v & 1) << 3 | (v & 2) << 1 | (v & 4) >> 1
                               | v >> 3), 4);
    }
    put_tokens(w, all, bytes, c);
}

/* RFC 1950's checksum, further: a of all bytes, b of all a. In LANES, which do
   not wait for each other; far[k]: sum of near[k] before each step. */
static uint32_t adler(uint32_t before, const unsigned char *p, size_t n)
{
    enum { LANES = 16 };
    uint32_t a = before & 0xffff, b = before >> 16;
    for (size_t part; n; n -= part) {
        uint32_t near[LANES] = {0}, far[LANES] = {0};
        part = n < ADLER ? n : ADLER;
        for (size_t i = 0; i < part / LANES; i++, p += LANES)
            for (int k = 0; k < LANES; k++) {
                far[k] += near[k];
                near[k] += p[k];
            }
        b += a * (uint32_t)(part / LANES * LANES);
        for (int k = 0; k < LANES; k++) {
            a += near[k];
            b += LANES * far[k] + (uint32_t)(LANES - k) * near[k];
        }
        for (size_t i = part % LANES; i; i--) b += a += *p++;
        a %= 65521;
        b %= 65521;
    }
    return b << 16 | a;
}

void begin_deflated(zlib_writer *z, io_text *t)
{
    z->bits = (bit_writer){t, 0, 0};
    z->sum = 1;
    put_bits(&z->bits, 0x0178, 16);
}

void put_deflated(zlib_writer *z, const unsigned char *p, size_t n, size_t row)
{
    static tokens all;
    uint32_t last[PLACES] = {0};
    code_set c;
    codes_begin(&c);
    size_t part;
    for (size_t i = 0; i < n; i += part) {
        part = n - i < ZLIB_BLOCK ? n - i : ZLIB_BLOCK;
        all.n = 0;
        if (row) pixel_tokens(&all, p, i, i + part, row, last);
        else run_tokens(&all, p + i, part);
        put_block(&z->bits, &all, part, &c);
    }
    z->sum = adler(z->sum, p, n);
}

/* The last block is an empty one. */
void end_deflated(zlib_writer *z)
{
    put_bits(&z->bits, 3, 10);
    end_bits(&z->bits);
    text_uint(z->bits.to, z->sum, 4, 1);
}
