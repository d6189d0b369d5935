/* SPDX-License-Identifier: MIT
   The numbers in the bytes of a file. */
#include "format.h"

#include <string.h>

int has_bytes(const source *f, uint64_t at, uint64_t n)
{
    return at <= f->n && n <= f->n - at;
}

/* an unsigned number of n <= 8 bytes */
uint64_t uint_of(const unsigned char *p, int n, int big)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[big ? n - 1 - i : i] << 8 * i;
    return v;
}

uint64_t uint_at(const source *f, size_t at, int n)
{
    return uint_of(f->p + at, n, f->big);
}

static float half_float(uint32_t v)
{
    uint32_t sign = (v & 0x8000) << 16, e = v >> 10 & 31, m = v & 1023;
    float x = (float)m * (1.0f / 16777216); /* subnormal */
    if (e == 31) return atomdl_float(sign | 0x7f800000 | m << 13);
    if (e) x = atomdl_float((e + 112) << 23 | m << 13);
    return sign ? -x : x;
}

float float_of(uint64_t v, value_type t)
{
    uint64_t sign = (uint64_t)1 << (8 * t.size - 1);
    if (t.kind == 'b') return v != 0;
    if (t.kind == 'u' || (t.kind == 'i' && !(v & sign))) return (float)v;
    if (t.kind == 'i') return -(float)((0 - v) & (sign | (sign - 1)));
    if (t.size == 4) return atomdl_float((uint32_t)v);
    return t.size == 2 ? half_float((uint32_t)v) : (float)atomdl_double(v);
}

void floats_of(float *x, const unsigned char *p, size_t n, value_type t,
                      int big)
{
    for (; n; n--, p += t.size) *x++ = float_of(uint_of(p, t.size, big), t);
}

float grey_of(float r, float g, float b)
{
    float x = 77 * r, y = 150 * g, z = 29 * b;
    return (x + y + z) * (1.0f / 256);
}

void take_blanks(cursor *c)
{
    while (c->p < c->end && *c->p && strchr(" \n\t\r", *c->p)) c->p++;
}

/* Takes the text if it comes next, after blanks. */
int take_text(cursor *c, const char *text)
{
    size_t n = strlen(text);
    take_blanks(c);
    if ((size_t)(c->end - c->p) < n || memcmp(c->p, text, n)) return 0;
    c->p += n;
    return 1;
}

int take_digits(cursor *c, size_t *v)
{
    take_blanks(c);
    const char *start = c->p;
    for (*v = 0; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++) {
        if (*v > ((size_t)-1 - 9) / 10) return 0;
        *v = *v * 10 + (size_t)(*c->p - '0');
    }
    return c->p > start;
}

void store_big(unsigned char *p, uint32_t v)
{
    p[0] = (unsigned char)(v >> 24);
    p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8);
    p[3] = (unsigned char)v;
}

static unsigned nearest_level(float x, unsigned top)
{
    return x >= (float)top ? top : x > 0 ? (unsigned)((double)x + 0.5) : 0;
}

/* The values that 8 or 16 bits hold, the lower byte first or last. */
void store_levels(unsigned char *to, const float *px, size_t n, int bits,
                     int big)
{
    for (; n; n--, px++) {
        unsigned v = nearest_level(*px, (1u << bits) - 1);
        if (bits == 16 && big) *to++ = (unsigned char)(v >> 8);
        *to++ = (unsigned char)v;
        if (bits == 16 && !big) *to++ = (unsigned char)(v >> 8);
    }
}
