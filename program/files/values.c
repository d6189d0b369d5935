/* SPDX-License-Identifier: MIT
   The numbers in the bytes of a file, and the words in its texts. */
#include "format.h"

#include <stdio.h>
#include <string.h>

int has_bytes(const source *f, uint64_t at, uint64_t n)
{
    return at <= f->n && n <= f->n - at;
}

uint64_t uint_of(const unsigned char *p, int n, int big)
{
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[big ? n - 1 - i : i] << 8 * i;
    return v;
}

void store_uint(unsigned char *p, uint64_t v, int n, int big)
{
    for (int i = 0; i < n; i++)
        p[big ? n - 1 - i : i] = (unsigned char)(v >> 8 * i);
}

uint64_t uint_at(const source *f, uint64_t at, int n)
{
    return has_bytes(f, at, (unsigned)n) ? uint_of(f->p + at, n, f->big) : 0;
}

value_type type_in(const char *list, uint64_t i)
{
    value_type t = {0, 0};
    if (i >= strlen(list) / 2 || list[2 * i] == '.') return t;
    t.kind = list[2 * i];
    t.size = (unsigned char)(list[2 * i + 1] - '0');
    return t;
}

int type_is_real(const source *f, value_type t, const char *unknown,
                 uint64_t code)
{
    if (t.kind == 'c') return !io_failed(f->path, NO_COMPLEX);
    return t.size || !io_failed(f->path, "%s %lu; save it as float32", unknown,
                                (unsigned long)code);
}

void type_name(char name[12], value_type t)
{
    snprintf(name, 12, t.kind == 'b' ? "bool" : t.kind == 'f' ? "float%d"
             : t.kind == 'i' ? "int%d" : "uint%d", 8 * t.size);
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
