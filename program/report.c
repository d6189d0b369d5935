/* SPDX-License-Identifier: MIT
   The pictures and the page of `atomdl analyze`. The page holds everything in
   itself: images as base64, drawings as SVG in the image's own pixels, zooms
   of defects as views of the same drawing. */
#include "report.h"
#include "plot.h"
#include "program.h"
#include "tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_GREY = 88 }; /* of what is no data, in pictures */
enum {
    OVERLAY_LEAST = 512,    /* small images are enlarged to this, pixels, */
    OVERLAY_FINE = 8,       /* ... and to so many pixels an A, */
    OVERLAY_SIDE = 1024,    /* ... but to this at most */
    PICTURE_MOST = 4096,    /* large ones are shrunk to this */
    PAGE_MOST = 1536,       /* ... in the page */
    DRAWN_ATOMS = 6000,     /* more: the page shows the overlay instead */
    ZOOMS = 48, ROWS = 400, /* defects of an image in the page */
    PICTURED = 40,          /* images of the page with pictures */
    BARS = 48               /* of a histogram */
};

static double greater(double a, double b) { return a > b ? a : b; }

/* Of rings other than six, without dopants and around data, by size; 0: none. */
static unsigned ring_colour(const analysis *a, const atomdl_ring *r)
{
    const atomdl_graph *g = &a->got.graph;
    if (r->border > 1) return 0;
    for (uint32_t k = 0; k < r->size; k++)
        if (g->flag[g->corner[r->first + k]] & ATOMDL_DOPANT) return 0;
    return r->size == 6   ? 0
           : r->size == 5 ? 0xb06cff
           : r->size == 7 ? 0x3ddc84
           : r->size < 5  ? 0xff6b6b
                          : 0xff9f43;
}

/* 1: a defect around a point; 0: a line of rings such as a boundary */
static int has_centre(const atomdl_found *f)
{
    return f->kind != ATOMDL_FOUND_BOUNDARY;
}

/* Around all of its atoms [A]. */
static double found_radius(const analysis *a, const atomdl_found *f)
{
    double most = 0;
    for (int i = 0; i < f->members; i++) {
        double dx = a->got.node[f->node[i]].x - f->x;
        double dy = a->got.node[f->node[i]].y - f->y;
        most = greater(most, dx * dx + dy * dy);
    }
    return f->members > 1 ? atomdl_sqrt(most) + 0.7
                          : 0.75 * a->got.graph.chemistry->a;
}

/* ---------- Images -------------------------------------------------------- */

/* The image by block means of step x step, in *own from malloc, or as it is. */
static const float *shrunk(const analysis *a, int step, int *w, int *h,
                           float **own)
{
    *w = a->w / step;
    *h = a->h / step;
    *own = NULL;
    if (step == 1) return a->px;
    float *px = *own = io_new((size_t)*w * (size_t)*h * sizeof *px);
    for (int y = 0; y < *h && px; y++)
        for (int x = 0; x < *w; x++) {
            double sum = 0;
            for (int v = y * step; v < (y + 1) * step; v++)
                for (int u = x * step; u < (x + 1) * step; u++)
                    sum += (double)a->px[(size_t)v * (size_t)a->w + (size_t)u];
            px[(size_t)y * (size_t)*w + (size_t)x] =
                (float)(sum / ((double)step * step));
        }
    return px;
}

static int step_to(const analysis *a, int most)
{
    int side = a->w > a->h ? a->w : a->h;
    return (side + most - 1) / most;
}

/* Covers what is no data in a picture of the whole image, w x h pixels of some
   channels, whatever was written there in its place. */
static void cover(unsigned char *px, size_t w, size_t h, size_t channels,
                  const analysis *a)
{
    for (size_t y = 0; y < h && a->blank; y++)
        for (size_t x = 0; x < w; x++, px += channels) {
            size_t u = x * (size_t)a->w / w, v = y * (size_t)a->h / h;
            if (a->blank[v * (size_t)a->w + u]) memset(px, NO_GREY, channels);
        }
}

void cover_blank(io_canvas *c, const analysis *a)
{
    cover(c->rgb, (size_t)c->w, (size_t)c->h, 3, a);
}

/* Grey of 8 bits between two percentiles. */
static int grey_png(io_bytes *png, const analysis *a)
{
    int w, h, step = step_to(a, PAGE_MOST);
    float *own;
    const float *px = shrunk(a, step, &w, &h, &own);
    size_t n = (size_t)w * (size_t)h;
    unsigned char *grey = io_new(n);
    int bad = !px || !grey;
    if (!bad) {
        float low = atomdl_percentile(px, n, 0.002);
        float scale = atomdl_percentile(px, n, 0.998) - low;
        scale = 255 / (scale > 0 ? scale : 1);
        for (size_t i = 0; i < n; i++) {
            float v = (px[i] - low) * scale;
            grey[i] = (unsigned char)(v > 0 ? v < 255 ? v : 255 : 0);
        }
        cover(grey, (size_t)w, (size_t)h, 1, a);
        bad = io_png(png, grey, (size_t)w, (size_t)h, 1);
    }
    free(own);
    free(grey);
    return bad;
}

/* ---------- Overlay ------------------------------------------------------- */

typedef struct {
    io_canvas c;
    const analysis *a;
    double kx, ky; /* canvas pixels an A */
    double at0; /* of 0 A */
} drawing;

static double at_x(const drawing *d, double x) { return x * d->kx + d->at0; }

static double at_y(const drawing *d, double y) { return y * d->ky + d->at0; }

static void draw_bond(drawing *d, uint32_t p, uint32_t q, double width,
                      io_pen pen)
{
    const atomdl_node *a = &d->a->got.node[p], *b = &d->a->got.node[q];
    io_draw_line(&d->c, at_x(d, a->x), at_y(d, a->y), at_x(d, b->x),
                 at_y(d, b->y), width, pen);
}

static unsigned bond_colour(const analysis *a, const atomdl_bond *b)
{
    const atomdl_node *p = &a->got.node[b->a], *q = &a->got.node[b->b];
    const uint8_t *flag = a->got.graph.flag;
    int guest = (flag[b->a] | flag[b->b]) & ATOMDL_DOPANT;
    return !guest ? 0x9fd8ff
           : flag[b->a] & ATOMDL_DOPANT
               ? species_colour(p->z, p->count)
               : species_colour(q->z, q->count);
}

static void draw_rings(drawing *d)
{
    const atomdl_graph *g = &d->a->got.graph;
    for (int i = 0; i < g->rings; i++) {
        const atomdl_ring *r = &g->ring[i];
        io_pen pen = {0, 255};
        pen.colour = ring_colour(d->a, r);
        for (uint32_t k = 0; k < r->size && pen.colour; k++)
            draw_bond(d, g->corner[r->first + k],
                      g->corner[r->first + (k + 1) % r->size],
                      greater(1.5, 0.16 * d->kx), pen);
    }
}

static void overlay_defects(drawing *d)
{
    const analysis *a = d->a;
    io_pen white = {0xffffff, 235}, ink = {0xffffff, 255};
    char label[64];
    int scale = d->c.w < 400 ? 1 : d->c.w < 800 ? 2 : 3;
    for (int i = 0; i < a->got.defects; i++) {
        const atomdl_found *f = &a->got.found[i];
        double r = found_radius(a, f) * d->kx;
        snprintf(label, sizeof label, "%d %s", i + 1,
                 atomdl_found_name(f->kind));
        if (has_centre(f))
            io_draw_circle(&d->c, at_x(d, f->x), at_y(d, f->y), r,
                           greater(1.2, 0.08 * d->kx), white);
        if (i < 100)
            io_draw_label(&d->c, (int)(at_x(d, f->x) + 0.75 * r),
                          (int)(at_y(d, f->y) - 0.75 * r - 8 * scale), scale,
                          label, ink);
    }
}

static void draw_all(drawing *d)
{
    const analysis *a = d->a;
    cover_blank(&d->c, a);
    for (int i = 0; i < a->got.graph.bonds; i++) {
        io_pen pen = {0, 130};
        pen.colour = bond_colour(a, &a->got.graph.bond[i]);
        draw_bond(d, a->got.graph.bond[i].a, a->got.graph.bond[i].b,
                  greater(1, 0.09 * d->kx), pen);
    }
    draw_rings(d);
    for (int i = 0; i < a->got.atoms; i++) {
        const atomdl_node *p = &a->got.node[i];
        double r = (a->got.graph.flag[i] & ATOMDL_DOPANT ? 0.42 : 0.26) * d->kx;
        io_pen pen = {0, 255};
        pen.colour = species_colour(p->z, p->count);
        if (p->count)
            io_draw_disc(&d->c, at_x(d, p->x), at_y(d, p->y), greater(1.2, r),
                         pen);
        else
            io_draw_circle(&d->c, at_x(d, p->x), at_y(d, p->y),
                           greater(2, 2 * r), greater(1, 0.1 * d->kx), pen);
    }
    overlay_defects(d);
    io_draw_scale_bar(&d->c, 1 / d->kx);
}

/* The least that shows labels, and atoms apart: time goes with the pixels. */
static int overlay_zoom(const analysis *a)
{
    int side = a->w > a->h ? a->w : a->h, zoom = 1;
    while (zoom < 12 && (zoom + 1) * side <= OVERLAY_SIDE
           && (zoom * side < OVERLAY_LEAST
               || zoom < OVERLAY_FINE * a->pixel_x)) zoom++;
    return zoom;
}

int overlay_png(io_bytes *png, const analysis *a)
{
    int step = step_to(a, PICTURE_MOST), zoom = overlay_zoom(a), w, h;
    float *own;
    const float *px = shrunk(a, step, &w, &h, &own);
    if (!px) return 1;
    drawing d = {{0, 0, NULL}, a, zoom / (a->pixel_x * step),
                 zoom / (a->pixel_y * step), 0.5 * zoom / step - 0.5};
    int bad = io_canvas_image(&d.c, px, (size_t)h, (size_t)w, zoom, 0.002,
                              0.998);
    if (!bad) {
        draw_all(&d);
        bad = io_png(png, d.c.rgb, (size_t)d.c.w, (size_t)d.c.h, 3);
        io_canvas_free(&d.c);
    }
    free(own);
    return bad;
}

/* ---------- SVG ----------------------------------------------------------- */

void put_png(io_text *t, const io_bytes *png)
{
    io_put(t, "data:image/png;base64,");
    io_put_base64(t, png->data, png->size);
}

void put_png_figure(io_text *t, const io_bytes *png, const char *caption)
{
    io_put(t, "<figure><img alt=\"\" src=\"");
    put_png(t, png);
    io_put(t, "\"><figcaption>%s</figcaption></figure>\n", caption);
}

static void put_image(io_text *t, const io_bytes *png, const analysis *a,
                      const char *id, int number)
{
    io_put(t, "<image id=\"%s%d\" x=\"-0.5\" y=\"-0.5\" width=\"%d\" "
           "height=\"%d\" preserveAspectRatio=\"none\" href=\"", id, number,
           a->w, a->h);
    put_png(t, png);
    io_put(t, "\"/>\n");
}

static void put_at(io_text *t, const analysis *a, uint32_t i)
{
    io_put(t, "%.2f %.2f", to_px(a->got.node[i].x, a->pixel_x),
           to_px(a->got.node[i].y, a->pixel_y));
}

static void put_svg_bonds(io_text *t, const analysis *a)
{
    for (int i = 0; i < a->got.graph.bonds; i++) {
        const atomdl_bond *b = &a->got.graph.bond[i];
        io_put(t, "<path stroke=\"#%06x\"%s d=\"M", bond_colour(a, b),
               b->score < 0.5 ? " class=\"u\"" : "");
        put_at(t, a, b->a);
        io_put(t, "L");
        put_at(t, a, b->b);
        io_put(t, "\"/>\n");
    }
}

static void put_svg_rings(io_text *t, const analysis *a)
{
    const atomdl_graph *g = &a->got.graph;
    for (int i = 0; i < g->rings; i++) {
        const atomdl_ring *r = &g->ring[i];
        if (!ring_colour(a, r)) continue;
        io_put(t, "<path stroke=\"none\" fill-opacity=\"0.35\" fill=\"#%06x",
               ring_colour(a, r));
        for (uint32_t k = 0; k < r->size; k++) {
            io_put(t, k ? "L" : "\" d=\"M");
            put_at(t, a, g->corner[r->first + k]);
        }
        io_put(t, "Z\"><title>ring of %u</title></path>\n", r->size);
    }
}

static void put_svg_atoms(io_text *t, const analysis *a)
{
    const atomdl_graph *g = &a->got.graph;
    char name[16];
    for (int i = 0; i < a->got.atoms; i++) {
        const atomdl_node *p = &a->got.node[i];
        double r = g->flag[i] & ATOMDL_DOPANT || !p->count ? 0.36 : 0.22;
        species_text(name, p->z, p->count);
        io_put(t, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\" "
               "%s=\"#%06x\"><title>%s %d, score %.2f, %u "
               "bonds</title></circle>\n", to_px(p->x, a->pixel_x),
               to_px(p->y, a->pixel_y), r / a->pixel_x,
               p->count ? "fill" : "stroke", species_colour(p->z, p->count),
               name, i + 1, p->score,
               (unsigned)(g->first[i + 1] - g->first[i]));
    }
}

static void put_svg_defects(io_text *t, const analysis *a)
{
    double size = 0.02 * greater(a->w, a->h);
    for (int i = 0; i < a->got.defects && i < ROWS; i++) {
        const atomdl_found *f = &a->got.found[i];
        double r = found_radius(a, f) / a->pixel_x;
        double x = to_px(f->x, a->pixel_x), y = to_px(f->y, a->pixel_y);
        const char *name = atomdl_found_name(f->kind);
        double wide = 0.65 * size * (double)(strlen(name) + 3);
        int left = x + 0.8 * r + wide > a->w; /* it would be cut off */
        if (has_centre(f))
            io_put(t, "<circle cx=\"%.2f\" cy=\"%.2f\" r=\"%.2f\" class=\"d\""
                   "/>\n", x, y, r);
        io_put(t, "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%.1f\"%s>%d %s"
               "</text>\n", left ? x - 0.8 * r : x + 0.8 * r,
               greater(y - 0.8 * r, size), size,
               left ? " class=\"r\"" : "", i + 1, name);
    }
}

static void put_open(io_text *t, const analysis *a, const char *class_name)
{
    io_put(t, "<svg class=\"%s\" viewBox=\"-0.5 -0.5 %d %d\">", class_name,
           a->w, a->h);
}

/* A bar of 1, 2 or 5 times a power of ten, at most a quarter of the width. */
static void put_bar(io_text *t, const analysis *a)
{
    double most = 0.25 * a->w * a->pixel_x, length = 0.1, y = 0.965 * a->h;
    for (int i = 1; length * (i % 3 == 2 ? 2.5 : 2) <= most; i++)
        length *= i % 3 == 2 ? 2.5 : 2;
    io_put(t, "<path class=\"bar\" d=\"M%.2f %.2fh%.2f\" stroke-width="
           "\"%.2f\"/><text x=\"%.2f\" y=\"%.2f\" font-size=\"%.1f\">%.1f "
           "Å</text>\n", 0.02 * a->w, y, length / a->pixel_x, 0.008 * a->h,
           0.02 * a->w, y - 0.012 * a->h, 0.025 * a->w, length);
}

/* Image, bonds, rings, atoms, defects as groups that zooms use again. */
static int put_scene(io_text *t, const analysis *a, int number)
{
    int drawn = a->got.atoms <= DRAWN_ATOMS;
    io_bytes png = {NULL, 0};
    if (drawn && grey_png(&png, a)) return 1;
    put_open(t, a, "main");
    io_put(t, "<g id=\"s%d\">", number);
    put_image(t, drawn ? &png : &a->overlay, a, "i", number);
    free(png.data);
    if (drawn) {
        io_put(t, "<g stroke-width=\"%.2f\" class=\"b\">\n", 0.09 / a->pixel_x);
        put_svg_bonds(t, a);
        put_svg_rings(t, a);
        put_svg_atoms(t, a);
        io_put(t, "</g>");
    }
    io_put(t, "</g>\n<g class=\"l\">");
    if (drawn) {
        put_svg_defects(t, a);
        put_bar(t, a);
    }
    io_put(t, "</g></svg>\n");
    return 0;
}

/* Bars of counts over low...high with a caption. */
static void put_histogram(io_text *t, const char *title, const int *count,
                          double low, double high, const char *unit)
{
    int top = 1;
    for (int i = 0; i < BARS; i++) top = count[i] > top ? count[i] : top;
    io_put(t, "<figure><svg class=\"h\" viewBox=\"0 0 %d 120\">", 5 * BARS);
    for (int i = 0; i < BARS; i++)
        if (count[i])
            io_put(t, "<rect x=\"%d\" y=\"%.1f\" width=\"4\" height=\"%.1f\">"
                   "<title>%.2f: %d</title></rect>", 5 * i,
                   100 - 96. * count[i] / top, 96. * count[i] / top,
                   low + (high - low) * (i + 0.5) / BARS, count[i]);
    io_put(t, "<text x=\"0\" y=\"114\">%.2f</text><text x=\"%d\" y=\"114\" "
           "class=\"r\">%.2f %s</text></svg><figcaption>%s</figcaption>"
           "</figure>\n", low, 5 * BARS, high, unit, title);
}

static void count_in(int *count, double v, double low, double high)
{
    int i = (int)((v - low) / (high - low) * BARS);
    if (v >= low && v < high) count[i < BARS ? i : BARS - 1]++;
}

static void bond_histogram(io_text *t, const analysis *a,
                           const atomdl_bond_kind *k)
{
    double reach = greater(4 * k->sd, 0.1), low = k->mean - reach;
    int count[BARS] = {0};
    for (int i = 0; i < a->got.graph.bonds; i++) {
        const atomdl_bond *b = &a->got.graph.bond[i];
        int v = a->got.node[b->a].z, w = a->got.node[b->b].z;
        if ((v == k->a && w == k->b) || (v == k->b && w == k->a))
            count_in(count, b->length, low, k->mean + reach);
    }
    char pair[8], title[80];
    pair_text(pair, k->a, k->b);
    snprintf(title, sizeof title, "%s bonds, %d", pair, k->n);
    put_histogram(t, title, count, low, k->mean + reach, "Å");
}

/* Angles between neighbouring bonds: of dopants, of all others. */
static void angle_histogram(io_text *t, const analysis *a, int dopants)
{
    const atomdl_graph *g = &a->got.graph;
    int count[BARS] = {0}, total = 0;
    for (int i = 0; i < a->got.atoms; i++) {
        uint32_t first = g->first[i], n = g->first[i + 1] - first;
        if (!(g->flag[i] & ATOMDL_DOPANT) != !dopants || n < 2) continue;
        for (uint32_t k = 0; k < n && !(n == 2 && k); k++) {
            const atomdl_node *p = &a->got.node[g->link[first + k]];
            const atomdl_node *q = &a->got.node[g->link[first + (k + 1) % n]];
            count_in(count, degrees(atomdl_angle(NULL, p, &a->got.node[i], q)),
                     40, 180);
            total++;
        }
    }
    char title[80];
    snprintf(title, sizeof title, "angles at %s, %d",
             dopants ? "dopants" : "host atoms", total);
    if (total) put_histogram(t, title, count, 40, 180, "°");
}

/* ---------- Tables -------------------------------------------------------- */

/* "30.1 ± 0.2", with nothing behind it where the spread is unknown */
static void put_spread(io_text *t, double mean, double sd, int n)
{
    io_put(t, "<td>");
    if (n && sd > 0) io_put(t, "%.2f ± %.2f", mean, sd);
    else if (n) io_put(t, "%.2f", mean);
    io_put(t, "</td>");
}

static void put_zoom(io_text *t, const analysis *a, const atomdl_found *f,
                     int number)
{
    double reach = greater(found_radius(a, f), 3) * 1.5;
    double rx = reach / a->pixel_x, ry = reach / a->pixel_y;
    io_put(t, "<td><svg class=\"z\" viewBox=\"%.1f %.1f %.1f %.1f\"><use "
           "href=\"#s%d\"/></svg></td>", to_px(f->x, a->pixel_x) - rx,
           to_px(f->y, a->pixel_y) - ry, 2 * rx, 2 * ry, number);
}

static void put_flags(io_text *t, const atomdl_found *f)
{
    char rules[64];
    rules_text(rules, f);
    io_put(t, "<td>%s</td><td>%s%s%s%s%s</td>", rules,
           f->flags & ATOMDL_DISAGREE ? "rules disagree " : "",
           f->flags & ATOMDL_DISTORTED ? "distorted " : "",
           f->flags & ATOMDL_TURNING ? "turning " : "",
           f->flags & ATOMDL_AT_BORDER ? "at the border " : "",
           f->confidence < 0.5 ? "uncertain" : "");
}

static void put_defect_table(io_text *t, const analysis *a, int number,
                        int pictures)
{
    if (!a->got.defects) return;
    io_put(t, "<h3>Defects</h3>\n<table>");
    put_html_row(t, "th", ",#,class,formula,\"x, y / Å\",bonds / Å,"
                 "dopant-dopant / Å,angles / °,confidence,"
                 "\"by count, by lattice\",,Z by signal");
    char text[64];
    for (int i = 0; i < a->got.defects && i < ROWS; i++) {
        const atomdl_found *f = &a->got.found[i];
        found_text(text, a, f);
        io_put(t, "<tr>");
        if (pictures && i < ZOOMS) put_zoom(t, a, f, number);
        else io_put(t, "<td></td>");
        io_put(t, "<td>%d</td><td><b>%s</b></td><td>%s</td><td>%.2f, %.2f"
               "</td>", i + 1, atomdl_found_name(f->kind), text, f->x, f->y);
        put_spread(t, f->length, f->length_sd, f->bonds);
        put_spread(t, f->pair, f->pair_sd, f->pairs);
        put_spread(t, degrees(f->angle), degrees(f->angle_sd), f->angles);
        io_put(t, "<td>%.2f</td>", f->confidence);
        put_flags(t, f);
        elements_text(text, a, f);
        io_put(t, "<td>%s</td></tr>\n", text);
    }
    io_put(t, "</table>\n");
    if (a->got.defects > ROWS)
        io_put(t, "<p>%d more are in %s.defects.json.</p>\n",
               a->got.defects - ROWS, a->name);
}

static void put_bonds_and_rings(io_text *t, const analysis *a)
{
    io_put(t, "<h3>Bonds and rings</h3>\n<div class=\"f\"><table><tr>"
           "<th>bond</th><th>number</th><th>length / Å</th></tr>");
    char pair[8];
    for (int k = 0; k < a->got.kinds; k++) {
        const atomdl_bond_kind *b = &a->got.kind[k];
        pair_text(pair, b->a, b->b);
        io_put(t, "<tr><td>%s</td><td>%d</td>", pair, b->n);
        put_spread(t, b->mean, b->sd, b->n);
        io_put(t, "</tr>");
    }
    io_put(t, "</table>\n<table><tr><th>ring of</th><th>number</th></tr>");
    for (int k = 3; k < ATOMDL_RING_SIZES; k++)
        if (a->got.graph.histogram[k])
            io_put(t, "<tr><td>%d%s</td><td>%d</td></tr>", k,
                   k == ATOMDL_RING_SIZES - 1 ? " and more" : "",
                   a->got.graph.histogram[k]);
    io_put(t, "</table>\n");
    for (int k = 0; k < a->got.kinds && k < 4; k++)
        bond_histogram(t, a, &a->got.kind[k]);
    angle_histogram(t, a, 0);
    angle_histogram(t, a, 1);
    io_put(t, "</div>\n");
}

/* Kinds of columns that are there, then areas. */
static void put_legend(io_text *t, const analysis *a, const atomdl_finder *m)
{
    species list[SPECIES];
    int n = kinds_found(list, a, m);
    char name[16];
    for (int i = 0; i < n; i++) {
        if (!list[i].n) continue;
        species_text(name, list[i].z, list[i].count);
        io_put(t, "<span style=\"color:#%06x\">●</span> %s ",
               species_colour(list[i].z, list[i].count), name);
    }
    for (int c = 0; c < m->classes; c++) {
        const atomdl_class *is = &m->class_of[c];
        unsigned colour = is->background ? class_colour(m, c) : 0;
        if (!colour) continue;
        io_put(t, "<span style=\"color:#%06x\">●</span> ", colour);
        io_put_escaped(t, is->name, IO_XML);
        io_put(t, " ");
    }
    io_put(t, "<span style=\"color:#b06cff\">■</span> ring of 5 <span "
           "style=\"color:#3ddc84\">■</span> of 7 <span "
           "style=\"color:#ff9f43\">■</span> larger; dashed: score below 0.5");
}

static int put_pictures(io_text *t, const analysis *a, const atomdl_finder *m,
                        int number)
{
    io_bytes png = {NULL, 0};
    if (put_scene(t, a, number)) return 1;
    io_put(t, "<p>");
    put_legend(t, a, m);
    io_put(t, "</p>\n<div class=\"f\"><figure>");
    put_open(t, a, "side");
    io_put(t, "<use href=\"#i%d\"/></svg><figcaption>image</figcaption>"
           "</figure>\n<figure><img class=\"side\" alt=\"probabilities\" "
           "src=\"", number);
    if (io_png(&png, a->map, (size_t)a->map_w, (size_t)a->map_h, 3))
        return 1;
    put_png(t, &png);
    free(png.data);
    io_put(t, "\"><figcaption>probabilities</figcaption></figure></div>\n");
    return 0;
}

/* One row of the table at the top: atoms by class, defects by class. */
static void put_summary(io_text *t, const analysis *a, const atomdl_finder *m,
                        int number)
{
    io_put(t, "<tr><td><a href=\"#a%d\">", number);
    io_put_escaped(t, a->name, IO_XML);
    io_put(t, "</a></td><td>%d x %d</td><td>%.4f</td><td>", a->w, a->h,
           a->pixel_x);
    species list[SPECIES];
    int kinds = kinds_found(list, a, m), n;
    char name[16];
    for (int i = 0; i < kinds; i++) {
        species_text(name, list[i].z, list[i].count);
        if (list[i].n) io_put(t, "%s %d ", name, list[i].n);
    }
    io_put(t, "</td><td>");
    for (int c = 0; c < ATOMDL_FOUND_COUNT; c++) {
        for (int i = n = 0; i < a->got.defects; i++)
            n += a->got.found[i].kind == c;
        if (n > 1) io_put(t, "%s (%d) ", atomdl_found_name(c), n);
        else if (n) io_put(t, "%s ", atomdl_found_name(c));
    }
    io_put(t, "</td><td>%d</td></tr>\n", a->warnings);
}

/* Missing chalcogens; the intensities that say so; areas of classes. */
static void put_missing(io_text *t, const analysis *a, const atomdl_finder *m)
{
    int count[BARS] = {0}, first = 1;
    if (a->got.sites)
        io_put(t, "<p>%.0f chalcogen columns (%s): one atom missing in %d, "
               "both in %d; missing %.2f ± %.2f %%</p>\n", a->got.sites,
               a->got.value ? "by intensity" : "by the network", a->got.single,
               a->got.both, 100 * a->got.concentration,
               100 * a->got.concentration_error);
    for (int i = 0; i < a->got.atoms && a->got.value; i++)
        count_in(count, a->got.value[i], 0, 2.4);
    if (a->got.value)
        put_histogram(t, "intensity of columns over that of a pair", count, 0,
                      2.4, "");
    for (int i = 0; i < m->classes; i++) {
        if (!m->class_of[i].background || !class_colour(m, i)) continue;
        io_put(t, first ? "<p>Areas: " : ", ");
        io_put_escaped(t, m->class_of[i].name, IO_XML);
        io_put(t, " %.1f %%", 100 * a->got.area[i]);
        first = 0;
    }
    if (!first) io_put(t, "</p>\n");
}

int report_add(report *r, const analysis *a, const atomdl_finder *m)
{
    io_text *t = &r->body;
    int number = ++r->images, pictures = number <= PICTURED;
    put_summary(&r->summary, a, m, number);
    io_put(t, "<h2 id=\"a%d\">", number);
    io_put_escaped(t, a->name, IO_XML);
    io_put(t, "</h2>\n<p>%d x %d pixels of %.4f x %.4f Å (%s); %d atoms; "
           "network's sampling %d x %d</p>\n", a->w, a->h, a->pixel_x,
           a->pixel_y, a->pixel_from, a->got.atoms, a->got.net_w, a->got.net_h);
    for (int i = 0; i < a->warnings; i++) {
        io_put(t, "<p class=\"w\">");
        io_put_escaped(t, a->warning[i], IO_XML);
        io_put(t, "</p>\n");
    }
    if (pictures && put_pictures(t, a, m, number)) {
        r->broken = 1;
        return fail("%s: %s", a->name, io_reason());
    }
    put_missing(t, a, m);
    put_defect_table(t, a, number, pictures);
    put_bonds_and_rings(t, a);
    return 0;
}

static const char HEAD[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<title>AtomDL</title>\n<style>\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;"
    "padding:0 1em;color:#1d2733;background:#fafbfc}\n"
    "table{border-collapse:collapse;margin:.5em 1em 1em 0;background:#fff}"
    "th,td{padding:.25em .7em;border:1px solid #dde3ea;text-align:left;"
    "vertical-align:middle}th{background:#eef2f6;font-weight:600}\n"
    "svg.main{width:100%;max-height:92vh;background:#000;border-radius:6px}"
    ".side{width:340px;height:340px;object-fit:contain;background:#000;"
    "border-radius:6px}svg.z{width:150px;height:150px;background:#000;"
    "display:block}\n"
    ".b{stroke-opacity:.75}.b circle{stroke-width:1;stroke-opacity:1;"
    "vector-effect:non-scaling-stroke}.b circle:not([fill]){fill:none;"
    "stroke-width:2}.u{stroke-dasharray:1.5 1.5}"
    ".d{fill:none;stroke:#fff;stroke-width:1.5;"
    "vector-effect:non-scaling-stroke}\n"
    ".l text{fill:#fff;font-weight:600;paint-order:stroke;stroke:#000;"
    "stroke-width:.18em}.f{display:flex;flex-wrap:wrap;align-items:"
    "flex-start}figure{margin:0 1em 1em 0}figcaption{color:#5a6775}\n"
    ".bar{stroke:#fff}svg.h{width:300px;height:150px}"
    "svg.h rect{fill:#2f7fd1}svg.h text{font-size:11px;fill:#5a6775}"
    ".r{text-anchor:end}.w{background:#fff3cd;"
    "border-left:4px solid #e0a800;padding:.3em .8em}\n"
    "</style></head><body>\n<h1>AtomDL</h1>\n";

void put_page_head(io_text *t) { io_put(t, "%s", HEAD); }

int report_write(report *r, const atomdl_finder *m, const char *out)
{
    io_text t = {0};
    int bad = 0;
    if (out && !r->broken) {
        put_page_head(&t);
        io_put(&t, "<p>material <b>%s</b>, weights <b>", m->chemistry->name);
        io_put_escaped(&t, m->name, IO_XML);
        io_put(&t, "</b>, recipe %s, numerics %d, trained under %u</p>\n<table>",
               m->meta.recipe[0] ? m->meta.recipe : "unknown", ATOMDL_NUMERICS,
               (unsigned)m->meta.numerics);
        put_html_row(&t, "th", "image,pixels,Å / pixel,atoms,defects,warnings");
        io_put(&t, "%s</table>\n%s</body></html>\n",
               r->summary.s ? r->summary.s : "", r->body.s ? r->body.s : "");
        t.failed |= r->summary.failed | r->body.failed;
        bad = save_text(out, 0, &t, "report.html");
    }
    io_text_free(&r->summary);
    io_text_free(&r->body);
    return bad;
}
