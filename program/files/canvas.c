/* SPDX-License-Identifier: MIT
   Drawing, in whole numbers of 1/256 pixel, so that pictures are the same
   bytes everywhere. */
#include "format.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

int io_canvas_new(io_canvas *c, size_t w, size_t h)
{
    memset(c, 0, sizeof *c);
    if (!w || !h || w > IO_SIDE || h > IO_SIDE || w > INT_MAX / 4 / h)
        return io_failed("picture", "cannot hold %zu x %zu pixels", w, h);
    c->rgb = calloc(w * h, 3);
    if (!c->rgb) return io_failed("picture", "no memory");
    c->w = (int)w;
    c->h = (int)h;
    return 0;
}

void io_canvas_free(io_canvas *c)
{
    free(c->rgb);
    memset(c, 0, sizeof *c);
}

static unsigned char level(float x, float low, float high)
{
    if (!(x > low)) return 0;
    if (x >= high) return 255;
    return (unsigned char)((double)(x - low) / (double)(high - low) * 255
                           + 0.5);
}

/* The pixels between which canvas pixel `at` lies, *k of 2 zoom parts towards
   the second */
static size_t between(int at, int zoom, size_t n, size_t *second, int *k)
{
    int u = most_int(0, 2 * at + 1 - zoom);
    size_t first = (size_t)(u / (2 * zoom));
    if (first >= n) first = n - 1;
    *k = u % (2 * zoom);
    *second = first + 1 < n ? first + 1 : first;
    return first;
}

/* Linear between pixels, in whole numbers of 1/(2 zoom): between two rows
   first, then along the canvas row. */
static void draw_row(io_canvas *c, const unsigned char *grey, int *mixed,
                     int y, size_t h, size_t w, int zoom)
{
    int i, j, full = 2 * zoom;
    size_t x1, y1, y0 = between(y, zoom, h, &y1, &j);
    unsigned char *to = c->rgb + 3 * (size_t)y * (size_t)c->w;
    for (size_t x = 0; x < w; x++)
        mixed[x] = grey[y0 * w + x] * (full - j) + grey[y1 * w + x] * j;
    for (int x = 0; x < c->w && (size_t)x < w * (size_t)zoom; x++) {
        size_t x0 = between(x, zoom, w, &x1, &i);
        int v = mixed[x0] * (full - i) + mixed[x1] * i;
        memset(to + 3 * x, (v + full * full / 2) / (full * full), 3);
    }
}

int io_draw_image(io_canvas *c, const float *px, size_t h, size_t w, int zoom,
                  double low, double high)
{
    float a = atomdl_percentile(px, h * w, low);
    float b = atomdl_percentile(px, h * w, high);
    unsigned char *grey = io_new(h * w);
    int *mixed = io_new(w * sizeof *mixed), bad = !grey || !mixed;
    for (size_t i = 0; i < h * w && !bad; i++) grey[i] = level(px[i], a, b);
    for (int y = 0; y < c->h && (size_t)y < h * (size_t)zoom && !bad; y++)
        draw_row(c, grey, mixed, y, h, w, zoom);
    free(mixed);
    free(grey);
    return bad;
}

int io_canvas_image(io_canvas *c, const float *px, size_t h, size_t w,
                    int zoom, double low, double high)
{
    if (io_canvas_new(c, w * (size_t)zoom, h * (size_t)zoom)) return 1;
    int bad = io_draw_image(c, px, h, w, zoom, low, high);
    if (bad) io_canvas_free(c);
    return bad;
}

static int64_t fixed(double x)
{
    x = x < -1e6 ? -1e6 : x < 1e6 ? x : 1e6;
    return (int64_t)(x * 256 + 268435456.5) - 268435456;
}

static int64_t length_of(int64_t x, int64_t y)
{
    return (int64_t)atomdl_sqrt((double)(x * x + y * y));
}

/* cover: 0 to 256 parts */
static void blend(io_canvas *c, int64_t x, int64_t y, io_pen pen, int cover)
{
    if (x < 0 || y < 0 || x >= c->w || y >= c->h) return;
    unsigned char *to = c->rgb + 3 * ((size_t)y * (size_t)c->w + (size_t)x);
    cover = cover * pen.opacity / 255;
    for (int k = 0; k < 3; k++) {
        int v = pen.colour >> (16 - 8 * k) & 255;
        to[k] = (unsigned char)((to[k] * (256 - cover) + v * cover + 128) >> 8);
    }
}

/* Distance from (x, y) to the segment from 0 to (dx, dy). */
static int64_t distance(int64_t x, int64_t y, int64_t dx, int64_t dy)
{
    int64_t dot = x * dx + y * dy;
    if (dot <= 0) return length_of(x, y);
    if (dot >= dx * dx + dy * dy) return length_of(x - dx, y - dy);
    int64_t cross = x * dy - y * dx, length = length_of(dx, dy);
    return (cross < 0 ? -cross : cross) / (length ? length : 1);
}

/* What is within `half` of the curve at distance `radius` from the segment
   from a to b: discs, rings, lines. */
typedef struct {
    double a[2], b[2], radius, half;
} stroke;

/* the pixel of 0 .. end that is nearest to place v */
static int64_t nearest_of(int end, int64_t v)
{
    if (v < 0) return 0;
    return v / 256 < end ? v / 256 : end;
}

static void draw_stroke(io_canvas *c, stroke s, io_pen pen)
{
    int64_t r = fixed(s.radius), t = fixed(s.half), reach = r + t + 256;
    int64_t a[2], b[2], from[2], to[2];
    for (int k = 0; k < 2; k++) {
        a[k] = fixed(s.a[k]), b[k] = fixed(s.b[k]);
        int end = k ? c->h - 1 : c->w - 1;
        from[k] = nearest_of(end, (a[k] < b[k] ? a[k] : b[k]) - reach);
        to[k] = nearest_of(end, (a[k] > b[k] ? a[k] : b[k]) + reach);
    }
    for (int64_t y = from[1]; y <= to[1]; y++)
        for (int64_t x = from[0]; x <= to[0]; x++) {
            int64_t d = distance(256 * x - a[0], 256 * y - a[1], b[0] - a[0],
                                 b[1] - a[1]) - r;
            d = t + 128 - (d < 0 ? -d : d);
            if (d > 0) blend(c, x, y, pen, d < 256 ? (int)d : 256);
        }
}

void io_draw_line(io_canvas *c, double x0, double y0, double x1, double y1,
                  double width, io_pen pen)
{
    draw_stroke(c, (stroke){{x0, y0}, {x1, y1}, 0, width / 2}, pen);
}

void io_draw_disc(io_canvas *c, double x, double y, double radius, io_pen pen)
{
    draw_stroke(c, (stroke){{x, y}, {x, y}, 0, radius}, pen);
}

void io_draw_circle(io_canvas *c, double x, double y, double radius,
                    double width, io_pen pen)
{
    draw_stroke(c, (stroke){{x, y}, {x, y}, radius, width / 2}, pen);
}

/* Letters of 5 x 7 from ' ' to '~', then Å µ ° ±: a character a row, '0' and
   its five bits. */
static const char FONT[] =
    "00000004444404:::0000::O:O::4?D>5N4HI248C3<BD8EB=448000024888428422248"
    "04E>E40044O4400000648000O000000006611248@@>ACEIA>4<4444>>A1248OO2421A>"
    "26:BO22O@N11A>68@NAA>O124888>AA>AA>>AA?12<06606600660648248@84200O0O00"
    "8421248>A12404>A1=EE>>AAOAAANAANAAN>A@@@A>LBAAABLO@@N@@OO@@N@@@>A@GAA?"
    "AAAOAAA>44444>72222B<ABDHDBA@@@@@@OAKEEAAAAAIECAA>AAAAA>NAAN@@@>AAAEB="
    "NAANDBA?@@>11NO444444AAAAAA>AAAAA:4AAAEEE:AA:4:AAAAA:444O1248@O>88888>"
    "@@84211>22222>4:A0000000000O842000000>1?A?@@FIAAN00>@@A>11=CAA?00>AO@>"
    "698L8880?AA?1>@@FIAAA40<444>20622B<@@BDHDB<44444>00JEEAA00FIAAA00>AAA>"
    "00NAN@@00=C?1100FI@@@00>@>1N88L889600AAAC=00AAA:400AAEE:00A:4:A00AA?1>"
    "00O248O244844244444448442448008E20040>AOAA00BBBM@699600044O440O";

/* Rows in FONT of the character at *s, which is passed over. */
static const char *letter(const char **s)
{
    static const char BEYOND[] = "\xc3\x85\xc2\xb5\xc2\xb0\xc2\xb1";
    int n = utf8_bytes(*s), i = '?' - ' ';
    if (n == 1 && **s >= ' ' && **s <= '~') i = **s - ' ';
    for (int k = 0; n == 2 && k < 4; k++)
        if (!memcmp(*s, BEYOND + 2 * k, 2)) i = 95 + k;
    *s += n ? n : 1;
    return FONT + 7 * i;
}

int io_text_width(const char *text, int scale)
{
    int n = 0;
    for (; *text; n++) letter(&text);
    return n ? (6 * n - 1) * scale : 0;
}

static void fill(io_canvas *c, int x, int y, int w, int h, io_pen pen)
{
    for (int i = 0; i < w * h; i++) blend(c, x + i % w, y + i / w, pen, 256);
}

void io_draw_text(io_canvas *c, int x, int y, int scale, const char *text,
                  io_pen pen)
{
    for (; *text; x += 6 * scale) {
        const char *rows = letter(&text);
        for (int i = 0; i < 35; i++)
            if ((rows[i / 5] - '0') >> (4 - i % 5) & 1)
                fill(c, x + i % 5 * scale, y + i / 5 * scale, scale, scale,
                     pen);
    }
}

void io_draw_label(io_canvas *c, int x, int y, int scale, const char *text,
                   io_pen pen)
{
    const io_pen black = {0, pen.opacity};
    x = least_int(x, c->w - io_text_width(text, scale) - 4);
    y = most_int(y, 4);
    for (int i = 0; i < 9; i++)
        io_draw_text(c, x + i % 3 - 1, y + i / 3 - 1, scale, text, black);
    io_draw_text(c, x, y, scale, text, pen);
}

void io_draw_scale_bar(io_canvas *c, double pixel)
{
    const io_pen black = {0, 255}, white = {0xffffff, 255};
    double room = pixel * c->w / 4, length = 1e-3, next;
    int s = 1 + c->w / 512, y = c->h - 11 * s;
    if (!(room >= length && room < 1e12)) return;
    for (int i = 1; (next = length * (i % 3 == 2 ? 2.5 : 2)) <= room; i++)
        length = next;
    int wide = (int)(length / pixel + 0.5);
    char label[40]; /* no call for memory that may fail unseen */
    io_text text = {.s = label, .room = sizeof label};
    io_put(&text, length > 9 ? "%.0f nm" : length > 0.9 ? "%.0f \xc3\x85"
                  : length > 0.09 ? "%.1f \xc3\x85" : length > 0.009
                  ? "%.2f \xc3\x85" : "%.3f \xc3\x85",
           length > 9 ? length / 10 : length);
    fill(c, 8 * s - 1, y - 1, wide + 2, 3 * s + 2, black);
    fill(c, 8 * s, y, wide, 3 * s, white);
    io_draw_label(c, 8 * s, y - 10 * s, s, label, white);
}
