/* SPDX-License-Identifier: MIT
   Text that grows in memory: numbers, JSON, XML, CSV. */
#include "format.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

unsigned char *text_room(io_text *t, size_t n)
{
    if (!t->failed && t->room - t->n <= n) {
        size_t need = t->n + n + 1, room = 2 * t->room;
        if (room < need) room = need < 256 ? 256 : need;
        char *p = n < (size_t)-1 / 2 - t->n ? realloc(t->s, room) : NULL;
        t->failed = !p;
        if (p) t->s = p;
        if (p) t->room = room;
    }
    if (t->failed) return NULL;
    t->n += n;
    t->s[t->n] = 0;
    return (unsigned char *)t->s + t->n - n;
}

void text_bytes(io_text *t, const void *bytes, size_t n)
{
    unsigned char *to = text_room(t, n);
    if (to && n) memcpy(to, bytes, n);
}

void text_uint(io_text *t, uint64_t v, int n, int big)
{
    unsigned char *to = text_room(t, (size_t)n);
    if (to) store_uint(to, v, n, big);
}

void text_floats(io_text *t, const float *x, size_t n)
{
    unsigned char *to = text_room(t, 4 * n);
    for (size_t i = 0; to && i < n; i++) atomdl_storef(to + 4 * i, x[i]);
}

static void text_string(io_text *t, const char *s)
{
    text_bytes(t, s, strlen(s));
}

/* A natural number of n words, the lowest first; 2^1024 * 10^20 fits. */
typedef struct {
    uint32_t w[40];
    int n;
} natural;

static void natural_times(natural *a, uint32_t by)
{
    uint64_t carry = 0;
    for (int i = 0; i < a->n; i++) {
        carry += (uint64_t)a->w[i] * by;
        a->w[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry) a->w[a->n++] = (uint32_t)carry;
}

static uint32_t natural_divide(natural *a, uint32_t by)
{
    uint64_t rest = 0;
    for (int i = a->n; i-- > 0;) {
        rest = rest << 32 | a->w[i];
        a->w[i] = (uint32_t)(rest / by);
        rest %= by;
    }
    while (a->n && !a->w[a->n - 1]) a->n--;
    return (uint32_t)rest;
}

/* a 2^e, to the nearest, ties to even */
static void natural_scale(natural *a, int e)
{
    uint32_t rest = 0, below = 0; /* of the last division, of those before */
    int n = 1, up;
    for (; e > 0; e -= n) {
        n = e < 31 ? e : 31;
        natural_times(a, 1u << n);
    }
    for (; e < 0; e += n) {
        n = -e < 31 ? -e : 31;
        below |= rest;
        rest = natural_divide(a, 1u << n);
    }
    below |= rest << 1 & ((1u << n) - 1);
    up = rest >> (n - 1) && (below || (a->n && a->w[0] & 1));
    for (int i = 0; up && i < a->n; i++) up = !++a->w[i];
    if (up) a->w[a->n++] = 1;
}

/* a / 10^decimals in at least so many digits; never "-0" */
static void put_natural(io_text *t, natural a, int minus, int decimals,
                        int digits)
{
    char s[400], *p = s + sizeof s;
    int zero = 1;
    for (int i = 0; i <= decimals || i < digits || a.n; i++) {
        uint32_t digit = natural_divide(&a, 10);
        if (i == decimals && i) *--p = '.';
        *--p = (char)('0' + digit);
        zero &= !digit;
    }
    if (minus && !zero) *--p = '-';
    text_bytes(t, p, (size_t)(s + sizeof s - p));
}

static natural natural_of(uint64_t v)
{
    return (natural){{(uint32_t)v, (uint32_t)(v >> 32)}, 2};
}

/* x rounded to so many decimals, from its exact value. */
static void put_fixed(io_text *t, double x, int decimals)
{
    uint64_t bits = atomdl_bits64(x), m = bits & 0xfffffffffffff;
    int e = (int)(bits >> 52 & 2047);
    if (e == 2047) {
        text_string(t, m ? "nan" : bits >> 63 ? "-inf" : "inf");
        return;
    }
    natural a = natural_of(e ? m | (uint64_t)1 << 52 : m);
    for (int i = 0; i < decimals; i++) natural_times(&a, 10);
    natural_scale(&a, (e ? e : 1) - 1075);
    put_natural(t, a, bits >> 63 != 0, decimals, 0);
}

static void put_signed(io_text *t, long v, int digits)
{
    put_natural(t, natural_of(v < 0 ? 0 - (uint64_t)v : (uint64_t)v), v < 0, 0,
                digits);
}

/* What io_put appends; the conversions are those that its comment names. */
void text_list(io_text *t, const char *f, va_list a)
{
    const char *plain;
    int n;
    while (*f) {
        for (plain = f; *f && *f != '%'; f++) {}
        text_bytes(t, plain, (size_t)(f - plain));
        if (!*f++) return;
        if (*f == '.') f++;
        for (n = -1; *f >= '0' && *f <= '9'; f++)
            n = (n < 0 ? 0 : 10 * n) + *f - '0';
        if (n > 20) n = 20;
        int l = *f == 'l' || *f == 'z' ? *f++ : 0;
        if (*f == 's') text_string(t, va_arg(a, const char *));
        else if (*f == 'f') put_fixed(t, va_arg(a, double), n < 0 ? 6 : n);
        else if (*f == 'd') put_signed(t, l ? va_arg(a, long) : va_arg(a, int),
                                       n);
        else if (*f == 'u')
            put_natural(t, natural_of(l == 'z' ? va_arg(a, size_t)
                                      : l ? va_arg(a, unsigned long)
                                      : va_arg(a, unsigned)), 0, 0, n);
        else if (*f == 'x')
            for (unsigned v = va_arg(a, unsigned); n-- > 0;)
                text_bytes(t, &"0123456789abcdef"[v >> 4 * n & 15], 1);
        else if (*f == 'c') text_bytes(t, (char[]){(char)va_arg(a, int)}, 1);
        else text_bytes(t, f, 1);
        f++;
    }
}

void io_put(io_text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_list(t, format, args);
    va_end(args);
}

int utf8_bytes(const char *s)
{
    static const unsigned char LEAST[] = {0, 0, 0xc2, 0xe0, 0xf0};
    const unsigned char *u = (const unsigned char *)s;
    int n = *u < 0x80 ? 1 : *u < 0xe0 ? 2 : *u < 0xf0 ? 3 : 4;
    if (n > 1 && (*u < LEAST[n] || *u > 0xf4)) return 0;
    for (int i = 1; i < n; i++)
        if ((u[i] & 0xc0) != 0x80) return 0;
    if ((*u == 0xe0 && u[1] < 0xa0) || (*u == 0xed && u[1] > 0x9f)
        || (*u == 0xf0 && u[1] < 0x90) || (*u == 0xf4 && u[1] > 0x8f))
        return 0;
    return n;
}

/* Character by character, as the kind of text wants it. */
void io_put_escaped(io_text *t, const char *s, int how)
{
    static const char *const XML[][2] = {
        {"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}};
    int quoted = how == IO_CSV && strpbrk(s, ",\"\r\n") != NULL;
    if (quoted) text_string(t, "\"");
    int n;
    size_t i;
    for (; *s; s += n ? n : 1) {
        n = utf8_bytes(s);
        for (i = 0; i < 4 && *XML[i][0] != *s; i++) {}
        if (!n) text_string(t, "\xef\xbf\xbd"); /* U+FFFD */
        else if (how == IO_XML && i < 4) text_string(t, XML[i][1]);
        else if (how == IO_JSON && (*s == '"' || *s == '\\'))
            io_put(t, "\\%c", *s);
        else if (how == IO_JSON && *s > 0 && *s < 32)
            io_put(t, "\\u00%c%c", '0' + *s / 16, "0123456789abcdef"[*s % 16]);
        else if (how == IO_XML && *s > 0 && *s < 32) text_string(t, " ");
        else if (quoted && *s == '"') text_string(t, "\"\"");
        else text_bytes(t, s, (size_t)n);
    }
    if (quoted) text_string(t, "\"");
}

static void put_quoted(io_text *t, const char *s)
{
    text_string(t, "\"");
    io_put_escaped(t, s, IO_JSON);
    text_string(t, "\"");
}

/* A comma where there is something before; keys and objects begin lines. */
static void json_item(io_text *t, const char *key, int object)
{
    char last = t->n ? t->s[t->n - 1] : '[';
    int first = last == '[' || last == '{';
    if (!first) text_string(t, ",");
    if (key || (object && t->depth)) {
        text_string(t, "\n");
        for (int i = 0; i < t->depth; i++) text_string(t, "  ");
    } else if (!first) {
        text_string(t, " ");
    }
    if (key) put_quoted(t, key);
    if (key) text_string(t, ": ");
}

void io_json(io_text *t, const char *key, const char *format, ...)
{
    json_item(t, key, 0);
    va_list args;
    va_start(args, format);
    text_list(t, format, args);
    va_end(args);
}

void io_json_string(io_text *t, const char *key, const char *value)
{
    json_item(t, key, 0);
    put_quoted(t, value);
}

void io_json_open(io_text *t, const char *key, char bracket)
{
    json_item(t, key, bracket == '{');
    io_put(t, "%c", bracket);
    t->depth++;
}

void io_json_close(io_text *t, char bracket)
{
    t->depth--;
    io_put(t, "%c%s", bracket, t->depth ? "" : "\n");
}

void io_put_base64(io_text *t, const unsigned char *p, size_t n)
{
    static const char DIGIT[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrs"
                                "tuvwxyz0123456789+/";
    unsigned char *to = text_room(t, (n + 2) / 3 * 4);
    for (size_t i = 0; i < n && to; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        if (i + 1 < n) v |= (uint32_t)p[i + 1] << 8;
        if (i + 2 < n) v |= p[i + 2];
        for (size_t k = 0; k < 4; k++)
            *to++ = (unsigned char)(i + k > n ? '='
                                    : DIGIT[v >> (18 - 6 * k) & 63]);
    }
}

void io_put_xyz_head(io_text *t, size_t atoms, double a, double b, double c,
                     const char *columns)
{
    io_put(t, "%zu\nLattice=\"%.4f 0 0 0 %.4f 0 0 0 %.4f\" Properties=species:"
              "S:1:pos:R:3%s pbc=\"F F F\"\n", atoms, a, b, c, columns);
}

int io_text_write(io_text *t, const char *path)
{
    int bad = t->failed ? io_failed(path, "no memory for it")
                        : io_write(path, t->s, t->n);
    io_text_free(t);
    return bad;
}

void io_text_free(io_text *t)
{
    free(t->s);
    memset(t, 0, sizeof *t);
}
