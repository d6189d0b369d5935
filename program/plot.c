/* SPDX-License-Identifier: MIT
   plot.h: graphs as SVG. */
#include "plot.h"

void svg_begin(io_text *t, int w, int h)
{
    io_put(t, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" "
           "height=\"%d\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" "
           "font-size=\"12\"><rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>",
           w, h, w, h, w, h);
}

/* 1, 2 or 5 times a power of ten: about five of them in range */
static double tick(double range)
{
    double step = 1e-6;
    for (int i = 1; step * 6 < range; i++) step *= i % 3 == 2 ? 2.5 : 2;
    return step;
}

typedef struct {
    io_text *t;
    double x0, x1, y0, y1;
} axes;

enum { PLOT_W = 520, PLOT_H = 300, LEFT = 62, TOP = 14, RIGHT = 12,
       BOTTOM = 44 };

static double plot_x(const axes *a, double x)
{
    return LEFT + (x - a->x0) / (a->x1 - a->x0) * (PLOT_W - LEFT - RIGHT);
}

static double plot_y(const axes *a, double y)
{
    return PLOT_H - BOTTOM
           - (y - a->y0) / (a->y1 - a->y0) * (PLOT_H - TOP - BOTTOM);
}

static void put_axes(const axes *a, const char *x_title, const char *y_title)
{
    io_text *t = a->t;
    svg_begin(t, PLOT_W, PLOT_H);
    for (int up = 0; up < 2; up++) {
        double low = up ? a->y0 : a->x0, high = up ? a->y1 : a->x1, v;
        double step = tick(high - low);
        for (long k = (long)(low / step) - 1; (v = (double)k * step) <= high;
             k++) {
            if (v < low) continue;
            if (up)
                io_put(t, "<path d=\"M%d %.1fH%d\" stroke=\"#e3e8ee\"/><text "
                       "x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT,
                       plot_y(a, v), PLOT_W - RIGHT, LEFT - 5,
                       plot_y(a, v) + 4);
            else
                io_put(t, "<path d=\"M%.1f %dV%d\" stroke=\"#e3e8ee\"/><text "
                       "x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">",
                       plot_x(a, v), TOP, PLOT_H - BOTTOM, plot_x(a, v),
                       PLOT_H - BOTTOM + 15);
            io_put(t, step >= 1 ? "%.0f</text>" : step >= 0.01 ? "%.2f</text>"
                   : "%.5f</text>", v);
        }
    }
    io_put(t, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text><text "
           "transform=\"translate(13 %d) rotate(-90)\" text-anchor=\"middle\">"
           "%s</text>\n", (PLOT_W + LEFT) / 2, PLOT_H - 10, x_title,
           (PLOT_H - BOTTOM + TOP) / 2, y_title);
}

static void put_series(const axes *a, const series *s, const double *x, int n)
{
    io_text *t = a->t;
    int drawn = 0;
    if (!s->dots) {
        io_put(t, "<path fill=\"none\" stroke-width=\"1.6\" stroke=\"#%06x\" "
               "d=\"", s->colour);
        for (int i = 0; i < n; i++) {
            if (s->y[i] > UNSEEN)
                io_put(t, "%s%.1f %.1f", drawn ? "L" : "M", plot_x(a, x[i]),
                       plot_y(a, s->y[i]));
            drawn = s->y[i] > UNSEEN;
        }
        io_put(t, "\"/>\n");
    }
    io_put(t, "<g fill=\"#%06x\" stroke=\"#%06x\">", s->colour, s->colour);
    for (int i = 0; i < n; i++) {
        if (s->y[i] <= UNSEEN) continue;
        if (s->low)
            io_put(t, "<path stroke-opacity=\".45\" d=\"M%.1f %.1fV%.1f\"/>",
                   plot_x(a, x[i]), plot_y(a, s->low[i]),
                   plot_y(a, s->high[i] < a->y1 ? s->high[i] : a->y1));
        if (s->dots || n == 1)
            io_put(t, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\"/>",
                   plot_x(a, x[i]), plot_y(a, s->y[i]));
    }
    io_put(t, "</g>\n");
}

/* The axes' ends: around all that is seen. */
static void plot_range(axes *a, const plot *p)
{
    int any = 0;
    a->x0 = a->x1 = p->n ? p->x[0] : 0;
    for (int i = 1; i < p->n; i++) {
        a->x0 = p->x[i] < a->x0 ? p->x[i] : a->x0;
        a->x1 = p->x[i] > a->x1 ? p->x[i] : a->x1;
    }
    if (!(a->x1 > a->x0)) a->x1 = a->x0 + 1;
    a->y0 = a->y1 = 0;
    for (const series *s = p->s; s < p->s + p->count; s++)
        for (int i = 0; i < p->n; i++) {
            double low = s->low ? s->low[i] : s->y[i];
            double high = s->high ? s->high[i] : s->y[i];
            if (s->y[i] <= UNSEEN) continue;
            a->y0 = (any || p->zero) && a->y0 < low ? a->y0 : low;
            a->y1 = (any || p->zero) && a->y1 > high ? a->y1 : high;
            any = 1;
        }
    if (!(a->y1 - a->y0 > 1e-9)) a->y1 = a->y0 + 1;
    a->y1 += 0.05 * (a->y1 - a->y0);
}

void put_plot(io_text *t, const plot *p)
{
    axes a;
    a.t = t;
    plot_range(&a, p);
    put_axes(&a, p->x_title, p->y_title);
    for (int k = 0; k < p->count; k++) {
        put_series(&a, &p->s[k], p->x, p->n);
        if (p->count < 2 && !p->s[k].name[0]) continue;
        io_put(t, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"#%06x\" "
               "font-weight=\"bold\" stroke=\"#fff\" stroke-width=\"3\" "
               "paint-order=\"stroke\">%s</text>\n", PLOT_W - RIGHT - 4,
               TOP + 12 + 14 * k, p->s[k].colour, p->s[k].name);
    }
    io_put(t, "</svg>\n");
}
