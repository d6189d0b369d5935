/* SPDX-License-Identifier: MIT
   What atomdl movie writes when all frames are known: files, drawings, page. */
#include "movie.h"
#include "plot.h"
#include "program.h"
#include "report.h"
#include "tables.h"

#include <stdlib.h>
#include <string.h>

/* ---------- Files --------------------------------------------------------- */

static int save(const movie *f, int bad, io_text *t, const char *name)
{
    return save_text(f->o.out, bad, t, name);
}

/* A drawing into its file and into the page; bad: only frees it. */
static int save_svg(movie *f, int bad, io_text *t, const char *name,
                    const char *caption)
{
    if (!bad && !t->failed && t->s)
        io_put(&f->out.page, "<figure>%s<figcaption>%s</figcaption></figure>\n",
               t->s, caption);
    return save(f, bad, t, name);
}

/* A table under its title in the page, which is freed. */
static void put_page_table(movie *f, const char *title, io_text *csv)
{
    io_put(&f->out.page, "<h2>%s</h2>\n", title);
    if (!csv->failed) put_html_table(&f->out.page, csv->s);
    io_put(&f->out.page, "\n");
    f->out.page.failed |= csv->failed;
    io_text_free(csv);
}

static const char *kind_name(const movie *f, int kind)
{
    return kind < 0 ? "all" : f->film.names.name[kind];
}

/* Three tables of one row a spot: tracks, all that is known, pictures. */
static int save_tables(movie *f)
{
    pictures *set = &f->pictures;
    const atomdl_view *view = &f->film.view;
    io_text t = {0}, d = {0}, k = {0};
    io_put(&t, "frame,track,x_px,y_px,class,score\n");
    io_put(&d, "frame,track,x_A,y_A,u_A,v_A,class,likely_class,probability,"
           "dopants,coordination,length_A,angle_deg,angle_sd_deg,pair_A\n");
    io_put(&k, "frame,track,x_px,y_px,class,cluster,probability,ward,"
           "kmeans,turn\n");
    for (size_t i = 0; i < f->film.spots; i++) {
        const atomdl_spot *p = &f->film.spot[i];
        double x = to_px(p->x, view->pixel_x), y = to_px(p->y, view->pixel_y);
        const char *name = kind_name(f, p->kind);
        io_put(&t, "%u,%u,%.3f,%.3f,%s,%.4f\n", p->frame,
               p->track + 1, x, y, name, p->score);
        io_put(&d, "%u,%u,%.4f,%.4f,%.4f,%.4f,%s,%s,%.4f,%d,%d,%.4f,%.2f,%.2f,"
               "%.4f\n", p->frame, p->track + 1, p->x, p->y, p->u, p->v, name,
               kind_name(f, p->hidden), p->sure, p->dopants, p->shell,
               p->length, p->angle, p->angle_sd, p->pair);
        int group = picture_class(f, p), at = p->picture;
        if (group >= 0)
            io_put(&k, "%u,%u,%.3f,%.3f,%s,%d,%.4f,%d,%d,%d\n",
                   p->frame, p->track + 1, x, y,
                   name, group + 1, set->belongs[at * set->classes + group],
                   set->ward[at] + 1, set->means[at] + 1, (int)set->op[at]);
    }
    int bad = save(f, 0, &t, "tracks.csv");
    bad = save(f, bad, &d, "defects.csv");
    return save(f, bad, &k, "clusters.csv");
}

static int save_frames(movie *f)
{
    io_text t = {0};
    io_put(&t, "frame,atoms,found,empty,drift_known,dx_A,dy_A,dx_error_A,"
           "dy_error_A,xx,xy,yx,yy,x_A,y_A\n");
    for (uint32_t i = 0; i < f->film.frames; i++) {
        const atomdl_frame *n = &f->film.frame[i];
        io_put(&t, "%u,%d,%d,%d,%d,%.4f,%.4f,%.4f,%.4f,%.6f,%.6f,%.6f,%.6f,"
               "%.4f,%.4f\n", i, n->atoms, n->spots, n->empty,
               n->known, n->shift[0], n->shift[1], n->error[0], n->error[1],
               n->m[0], n->m[1], n->m[2], n->m[3], n->t[0], n->t[1]);
    }
    return save(f, 0, &t, "frames.csv");
}

/* ---------- Concentrations, drift ----------------------------------------- */

/* Counts a frame and area of data of each class, with Poisson intervals. */
static int save_concentrations(movie *f)
{
    const atomdl_view *view = &f->film.view;
    size_t n = f->film.frames;
    int shown = 0;
    double *y = zeroed(n * (3 * ATOMDL_MARKOV + 1), sizeof *y);
    double area = view->w * view->pixel_x * view->h * view->pixel_y / 100;
    io_text t = {0}, svg = {0};
    if (!y) return 1;
    io_put(&t, "frame,class,count,per_nm2,low,high\n");
    for (size_t i = 0; i < n; i++) y[i] = (double)i;
    series s[ATOMDL_MARKOV];
    for (int k = 0; k < f->film.names.n; k++) {
        double *at = y + n * (size_t)(1 + 3 * k);
        s[k] = (series){kind_name(f, k), f->colour[k], at, at + n, at + 2 * n,
                        0};
        for (size_t i = 0; i < f->film.spots; i++)
            if (f->film.spot[i].kind == k) at[f->film.spot[i].frame] += 1;
        for (size_t i = 0; i < n; i++) {
            uint32_t count = (uint32_t)at[i];
            const atomdl_frame *o = &f->film.frame[i];
            atomdl_interval c = atomdl_concentration(count, area * o->data);
            if (o->empty) {
                at[i] = UNSEEN;
                continue;
            }
            io_put(&t, "%zu,%s,%u,%.5f,%.5f,%.5f\n", i, kind_name(f, k), count,
                   c.value, c.low, c.high);
            at[i] = c.value;
            at[n + i] = c.low;
            at[2 * n + i] = c.high;
        }
        shown += k < 6;
    }
    put_plot(&svg, &(plot){"frame", "per nm²", y, (int)n, s, shown, 1});
    free(y);
    return save_svg(f, save(f, 0, &t, "concentrations.csv"), &svg,
                    "concentrations.svg",
                    "concentrations, 68 % intervals of Poisson counts");
}

/* How far the middle of the first frame has moved. */
static int draw_drift(movie *f)
{
    const atomdl_view *view = &f->film.view;
    size_t n = f->film.frames;
    double *y = zeroed(3 * n, sizeof *y);
    io_text svg = {0};
    if (!y) return 1;
    series s[2] = {{"x", 0x2f7fd1, y + n, NULL, NULL, 0},
                   {"y", 0xd1562f, y + 2 * n, NULL, NULL, 0}};
    double xy[2];
    for (size_t i = 0; i < n; i++) {
        double cx = view->w * view->pixel_x / 2;
        double cy = view->h * view->pixel_y / 2;
        atomdl_frame_place(xy, &f->film.frame[i], cx, cy);
        y[i] = (double)i;
        y[n + i] = xy[0] - cx;
        y[2 * n + i] = xy[1] - cy;
    }
    put_plot(&svg, &(plot){"frame", "drift / Å", y, (int)n, s, 2, 1});
    free(y);
    return save_svg(f, 0, &svg, "drift.svg",
                    "drift, taken away from the tracks");
}

/* All tracks in the first frame's coordinates. */
static int draw_tracks(movie *f)
{
    const atomdl_view *view = &f->film.view;
    double k = 480. / (view->w * view->pixel_x);
    int h = (int)(view->h * view->pixel_y * k);
    io_text t = {0};
    svg_begin(&t, 480, h);
    for (uint32_t j = 0; j < f->tracks.n; j++) {
        const atomdl_track *o = &f->tracks.track[j];
        if (o->n < 3) continue;
        io_put(&t, "<g><title>track %u, %s, frames %u to %u</title><path "
               "fill=\"none\" stroke=\"#%06x\" d=\"", j + 1,
               kind_name(f, o->kind), o->begin, o->end, f->colour[o->kind]);
        for (int i = 0; i < o->n; i++)
            io_put(&t, "%s%.1f %.1f", i ? "L" : "M",
                   (track_spot(f, o, i)->u + 0.5 * view->pixel_x) * k,
                   (track_spot(f, o, i)->v + 0.5 * view->pixel_y) * k);
        io_put(&t, "\"/><circle r=\"3\" cx=\"%.1f\" cy=\"%.1f\" "
               "fill=\"#%06x\"/></g>\n",
               (track_spot(f, o, 0)->u + 0.5 * view->pixel_x) * k,
               (track_spot(f, o, 0)->v + 0.5 * view->pixel_y) * k,
               f->colour[o->kind]);
    }
    io_put(&t, "</svg>\n");
    return save_svg(f, 0, &t, "tracks.svg", "tracks of three frames and more "
                    "in the first frame's place; a dot where they begin");
}

/* ---------- Motion -------------------------------------------------------- */

typedef struct {
    int kind, tracks, longest;
    atomdl_msd msd;
    atomdl_hops hops;
} motion;

/* Adds what all tracks do while they are of one class (-1: any). */
static int gather_motion(motion *m, const movie *f, int kind)
{
    const atomdl_view *view = &f->film.view;
    uint32_t *frame = zeroed(f->film.frames + 1, sizeof *frame);
    double *xy = zeroed(2 * (size_t)f->film.frames, sizeof *xy);
    int bad = !frame || !xy;
    memset(m, 0, sizeof *m);
    m->kind = kind;
    int n, moved;
    for (uint32_t k = 0; k < f->tracks.n && !bad; k++) {
        const atomdl_track *t = &f->tracks.track[k];
        if (!atomdl_track_counts(&f->film, t)) continue;
        for (int i = n = moved = 0; i < t->n; i++) {
            const atomdl_spot *p = track_spot(f, t, i);
            if (kind < 0 || p->hidden == kind) {
                frame[n] = p->frame;
                xy[2 * n] = p->u;
                xy[2 * n++ + 1] = p->v;
                if (i < t->n - 1) continue;
            }
            if (n > m->longest) m->longest = n;
            moved |= n > 1;
            atomdl_msd_add(&m->msd, frame, xy, n, ATOMDL_LAGS);
            if (view->based) atomdl_hops_add(&m->hops, frame, xy, n, view->hop);
            n = 0;
        }
        m->tracks += moved;
    }
    free(frame);
    free(xy);
    return bad;
}

/* A class: hops, diffusion by hops, MSD and walks; as CSV or HTML. */
static void put_motion_row(io_text *t, const movie *f, const motion *m,
                           int html)
{
    const atomdl_view *view = &f->film.view;
    atomdl_diffusion d = {0, 0, 0};
    atomdl_hop_rate r = {0, 0, 0, 0};
    int lags = m->longest / 4 < 4 ? 4 : m->longest / 4;
    double unit = f->wish.interval > 0 ? 0.01 / f->wish.interval : 0;
    int moves = m->kind >= 0 && !strcmp(kind_name(f, m->kind), "vx1");
    const double *hop = view->hop;
    double area = (hop[0] * hop[0] + hop[1] * hop[1]) / 4 * moves;
    if (lags > ATOMDL_LAGS) lags = ATOMDL_LAGS;
    if (atomdl_msd_fit(&d, &m->msd, lags)) d.diffusion = d.error = 0;
    if (m->hops.steps && view->based) r = atomdl_hops_rate(&m->hops, view->hop);
    io_put(t,
           html ? "%s,%d,%u,%u,%.4f ± %.4f,%.4f ± %.4f,%.4f ± %.4f,"
                  "%.4f ± %.4f"
                : "%s,%d,%u,%u,%.6f,%.6f,%.6f,%.6f,%.6f,%.6f,%.6f,%.6f",
           kind_name(f, m->kind), m->tracks, m->hops.steps,
           m->hops.hops, r.rate, r.rate_error, r.diffusion,
           r.diffusion_error, d.diffusion, d.error, f->walk.rate * area,
           f->walk.error * area);
    if (!html)
        io_put(t, ",%.6f,%.8f,%.8f\n", d.noise, r.diffusion * unit,
               d.diffusion * unit);
    else if (unit > 0)
        io_put(t, ",\"%.6f, %.6f\"\n", r.diffusion * unit, d.diffusion * unit);
    else io_put(t, ",\n");
}

/* Mean squared displacement of all tracks over the lag. */
static int draw_msd(movie *f, const motion *m)
{
    double x[ATOMDL_LAGS], y[3][ATOMDL_LAGS], error;
    series s = {"", 0x2f7fd1, y[0], y[1], y[2], 1};
    io_text svg = {0};
    int n = m->longest / 2 < ATOMDL_LAGS ? m->longest / 2 : ATOMDL_LAGS;
    for (int i = 0; i < n; i++) {
        x[i] = i + 1;
        y[0][i] = atomdl_msd_mean(&error, &m->msd, i + 1);
        y[1][i] = y[0][i] - error;
        y[2][i] = y[0][i] + error;
        if (!m->msd.count[i]) y[0][i] = UNSEEN;
    }
    if (n < 2) return 0;
    put_plot(&svg, &(plot){"lag / frames", "mean squared displacement / Å²", x,
                           n, &s, 1, 1});
    return save_svg(f, 0, &svg, "msd.svg", "all tracks, standard errors");
}

/* Motion of each class and of all: tables, page, drawings. */
static int save_motion(movie *f)
{
    const atomdl_view *view = &f->film.view;
    io_text t = {0}, lags = {0}, hops = {0}, shown = {0};
    int bad = 0;
    io_put(&t, "class,tracks,steps,hops,hop_rate,hop_rate_error,D_hops,"
           "D_hops_error,D_msd,D_msd_error,D_walk,D_walk_error,noise_A2,"
           "D_hops_nm2_s,D_msd_nm2_s\n");
    io_put(&lags, "class,lag,msd_A2,error_A2,pairs\n");
    io_put(&hops, "class,i,j,dx_A,dy_A,count\n");
    io_put(&shown, "class,tracks,steps,hops,hops / frame,D by hops / Å² "
           "frame⁻¹,D by MSD / Å² frame⁻¹,D by hidden walks / Å² frame⁻¹,the "
           "first two / nm² s⁻¹\n");
    double error;
    motion m;
    for (int k = -1; k < f->film.names.n && !bad; k++) {
        if ((bad = gather_motion(&m, f, k)) || !m.tracks) continue;
        put_motion_row(&t, f, &m, 0);
        put_motion_row(&shown, f, &m, 1);
        for (int i = 0; i < ATOMDL_LAGS; i++)
            if (m.msd.count[i]) {
                double v = atomdl_msd_mean(&error, &m.msd, i + 1);
                io_put(&lags, "%s,%d,%.5f,%.5f,%u\n", kind_name(f, k), i + 1,
                       v, error, m.msd.count[i]);
            }
        for (int j = -2; j <= 2; j++)
            for (int i = -2; i <= 2; i++)
                if (m.hops.count[j + 2][i + 2])
                    io_put(&hops, "%s,%d,%d,%.4f,%.4f,%u\n", kind_name(f, k),
                           i, j, i * view->hop[0] + j * view->hop[2],
                           i * view->hop[1] + j * view->hop[3],
                           m.hops.count[j + 2][i + 2]);
    }
    put_page_table(f, "Motion", &shown);
    io_put(&f->out.page, "<div class=\"f\">");
    bad = bad || draw_tracks(f) || gather_motion(&m, f, -1) || draw_msd(f, &m)
          || draw_drift(f);
    io_put(&f->out.page, "</div>\n");
    bad = save(f, bad, &t, "motion.csv");
    bad = save(f, bad, &lags, "msd.csv");
    return save(f, bad, &hops, "hops.csv");
}

/* Runs of one class, and of one lattice site, of every track. */
static int save_dwells(movie *f)
{
    atomdl_dwell *d = zeroed(f->film.frames, sizeof *d);
    int32_t *site = zeroed(f->film.frames, sizeof *site);
    const int32_t *state = f->classes.label;
    io_text t = {0};
    if (!d || !site) return free(d), free(site), 1;
    io_put(&t, "track,of,state,first_frame,frames,censored\n");
    for (uint32_t k = 0; k < f->tracks.n; state += f->classes.length[k++]) {
        const atomdl_track *o = &f->tracks.track[k];
        int n = o->n > 1 ? atomdl_dwells(d, state, f->classes.length[k]) : 0;
        for (int i = 0; i < n; i++)
            io_put(&t, "%u,class,%s,%u,%u,%d\n", k + 1,
                   kind_name(f, d[i].state), o->begin + d[i].first, d[i].frames,
                   d[i].censored);
        if (!f->film.view.based || o->n < 2) continue;
        for (int i = 0; i < f->classes.length[k]; i++) site[i] = -1;
        for (int i = n = 0; i < o->n; i++) { /* site n: after n hops */
            const atomdl_spot *p = track_spot(f, o, i);
            if (i) {
                const atomdl_spot *q = track_spot(f, o, i - 1);
                int hop[2];
                n += atomdl_hop_fold(hop, NULL, p->u - q->u, p->v - q->v,
                                     f->film.view.hop) > 0;
            }
            site[p->frame - o->begin] = n;
        }
        n = atomdl_dwells(d, site, f->classes.length[k]);
        for (int j = 0; j < n; j++)
            io_put(&t, "%u,site,%ld,%u,%u,%d\n", k + 1, (long)d[j].state,
                   o->begin + d[j].first, d[j].frames, d[j].censored);
    }
    free(d);
    free(site);
    return save(f, 0, &t, "dwells.csv");
}

/* ---------- Transitions --------------------------------------------------- */

static void put_transitions(io_text *t, const char *key, int n,
                       double p[][ATOMDL_MARKOV])
{
    io_json_open(t, key, '[');
    for (int i = 0; i < n; i++) put_json_array(t, NULL, "%.6f", n, p[i]);
    io_json_close(t, ']');
}

/* Counts, matrix and what follows from it, of traces state. */
static int put_chain(io_text *t, const char *key, const movie *f,
                     const int32_t *state, atomdl_markov *m)
{
    atomdl_counts *c = zeroed(1, sizeof *c);
    int n = f->film.names.n, status = 0;
    if (!c) return 1;
    c->states = n;
    for (uint32_t k = 0; k < f->tracks.n && !status;
         state += f->classes.length[k++])
        status = atomdl_counts_add(c, state, f->classes.length[k]);
    double count[ATOMDL_MARKOV][ATOMDL_MARKOV],
        prior[ATOMDL_MARKOV][ATOMDL_MARKOV];
    int j;
    for (int i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            count[i][j] = c->pair[i][j];
            prior[i][j] = atomdl_can_become(&f->film.names, i, j) ? 0.5 / n : 0;
        }
    if (!status) status = atomdl_markov_solve(m, c, 0, prior);
    for (int i = 0; i < n && !status; i++) { /* an end that nobody saw */
        for (j = 0; j < n && (j == i || !c->pair[i][j]); j++) {}
        if (j == n) m->lifetime[i] = m->lifetime_sd[i] = 0;
    }
    io_json_open(t, key, '{');
    put_transitions(t, "counts", n, count);
    put_transitions(t, "matrix", n, m->p);
    put_transitions(t, "matrix_sd", n, m->sd);
    put_json_array(t, "stationary", "%.6f", n, m->stationary);
    put_json_array(t, "lifetime_frames", "%.6f", n, m->lifetime);
    put_json_array(t, "lifetime_sd", "%.6f", n, m->lifetime_sd);
    io_json_open(t, "second_order_test", '{');
    io_json(t, "likelihood_ratio", "%.4f", m->g);
    io_json(t, "freedom", "%d", m->freedom);
    io_json(t, "p", "%.6f", m->p_markov);
    io_json_close(t, '}');
    io_json_close(t, '}');
    free(c);
    return status ? fail("transitions: %s", atomdl_strerror(status)) : 0;
}

static void put_arrow(io_text *t, double x0, double y0, double x1, double y1,
                      double p, unsigned colour)
{
    double dx = x1 - x0, dy = y1 - y0, d = atomdl_sqrt(dx * dx + dy * dy);
    double ux = dx / d, uy = dy / d, bend = 22, r = 31;
    double mx = (x0 + x1) / 2 - uy * bend, my = (y0 + y1) / 2 + ux * bend;
    double ex = x1 - ux * r - uy * 6, ey = y1 - uy * r + ux * 6;
    io_put(t, "<path fill=\"none\" stroke=\"#%06x\" stroke-width=\"%.2f\" "
           "d=\"M%.1f %.1fQ%.1f %.1f %.1f %.1f\"/><path fill=\"#%06x\" "
           "d=\"M%.1f %.1fL%.1f %.1fL%.1f %.1fZ\"/><text x=\"%.1f\" y=\"%.1f\" "
           "text-anchor=\"middle\">%.3f</text>\n", colour, 1 + 7 * p,
           x0 + ux * r - uy * 6, y0 + uy * r + ux * 6, mx - uy * bend,
           my + ux * bend, ex, ey, colour, ex + ux * 7, ey + uy * 7,
           ex - uy * 5, ey + ux * 5, ex + uy * 5, ey - ux * 5, mx - uy * 8,
           my + ux * 8 + 4, p);
}

/* Classes on a circle, arrows as wide as their transitions are likely. */
static int draw_transitions(movie *f, const atomdl_markov *m)
{
    io_text t = {0};
    int n = f->film.names.n;
    svg_begin(&t, 520, 460);
    double x[ATOMDL_MARKOV], y[ATOMDL_MARKOV];
    for (int i = 0; i < n; i++) {
        double angle = 6.283185307179586 * i / n;
        x[i] = 260 + (n > 1 ? 165 : 0) * atomdl_sin(angle);
        y[i] = 230 - (n > 1 ? 165 : 0) * atomdl_cos(angle);
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            if (i != j && m->p[i][j] >= 0.002)
                put_arrow(&t, x[i], y[i], x[j], y[j], m->p[i][j], f->colour[i]);
    for (int i = 0; i < n; i++) {
        io_put(&t, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"29\" "
               "fill=\"#%06x\"/><text x=\"%.1f\" y=\"%.1f\" "
               "text-anchor=\"middle\" font-weight=\"bold\" stroke=\"#fff\" "
               "stroke-width=\"3\" paint-order=\"stroke\">%s</text><text "
               "x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.3f</text>\n",
               x[i], y[i], f->colour[i], x[i], y[i], kind_name(f, i), x[i],
               y[i] + 16, m->p[i][i]);
    }
    io_put(&t, "</svg>\n");
    return save_svg(f, 0, &t, "transitions.svg", "transition probabilities a "
                    "frame, of the corrected classes; inside: to stay");
}

static void put_matrix_table(movie *f, const char *title,
                             const atomdl_markov *m)
{
    io_text *t = &f->out.page;
    io_put(t, "<table><caption>%s</caption><tr><th>from \\ to</th>", title);
    for (int j = 0; j < f->film.names.n; j++)
        io_put(t, "<th>%s</th>", kind_name(f, j));
    io_put(t, "<th>stationary</th><th>lifetime / frames</th></tr>");
    for (int i = 0; i < f->film.names.n; i++) {
        io_put(t, "<tr><th>%s</th>", kind_name(f, i));
        for (int j = 0; j < f->film.names.n; j++)
            io_put(t, "<td>%.3f ± %.3f</td>", m->p[i][j], m->sd[i][j]);
        io_put(t, "<td>%.3f</td><td>", m->stationary[i]);
        if (m->lifetime[i] > 0)
            io_put(t, "%.1f ± %.1f", m->lifetime[i], m->lifetime_sd[i]);
        else io_put(t, "no end seen");
        io_put(t, "</td></tr>\n");
    }
    io_put(t, "</table>\n");
}

/* Transitions as found and as the hidden chain corrects them. */
static int save_transitions(movie *f)
{
    io_text t = {0};
    size_t changed = 0;
    if (!f->film.spots) return 0;
    for (size_t i = 0; i < f->film.spots; i++)
        changed += f->film.spot[i].hidden != f->film.spot[i].kind;
    atomdl_markov raw = {0}, hidden = {0};
    io_json_open(&t, NULL, '{');
    io_json_open(&t, "classes", '[');
    for (int k = 0; k < f->film.names.n; k++)
        io_json_string(&t, NULL, kind_name(f, k));
    io_json_close(&t, ']');
    io_json(&t, "tracks", "%u", f->tracks.n);
    int bad = put_chain(&t, "as_found", f, f->classes.label, &raw)
              || put_chain(&t, "corrected", f, f->classes.path, &hidden);
    io_json_open(&t, "hidden_markov", '{');
    put_transitions(&t, "found_as", f->film.names.n, f->classes.found);
    io_json(&t, "log_likelihood", "%.4f", f->classes.likelihood);
    put_transitions(&t, "matrix", f->film.names.n, f->classes.hmm.p);
    put_json_array(&t, "start", "%.6f", f->film.names.n, f->classes.hmm.start);
    io_json(&t, "changed_classes", "%zu", changed);
    io_json_close(&t, '}');
    io_json_close(&t, '}');
    io_put(&t, "\n");
    io_put(&f->out.page, "<h2>Transitions</h2>\n<p>A hidden Markov chain, "
           "learnt together with how often a class is found as another one, "
           "changes %zu of %zu classes. Chains of second order: as found "
           "p = %.3f, corrected p = %.3f (small: the past matters too).</p>\n",
           changed, f->film.spots, raw.p_markov, hidden.p_markov);
    put_matrix_table(f, "as found", &raw);
    put_matrix_table(f, "corrected", &hidden);
    io_put(&f->out.page, "<div class=\"f\">");
    bad = save(f, bad, &t, "transitions.json") || draw_transitions(f, &hidden);
    io_put(&f->out.page, "</div>\n");
    return bad;
}

/* ---------- Pictures of classes ------------------------------------------- */

/* n pictures of SIDE x SIDE side by side as PNG. */
static int put_strip(movie *f, const double *picture, int n, const char *name,
                     const char *caption)
{
    enum { GAP = 1, ZOOM = 5 };
    size_t w = (size_t)n * (SIDE + GAP) - GAP;
    float *px = zeroed(w * SIDE, sizeof *px);
    double low = picture[0], high = low;
    io_bytes png = {NULL, 0};
    if (!px) return 1;
    for (size_t i = 0; i < (size_t)n * SIDE * SIDE; i++) {
        low = picture[i] < low ? picture[i] : low;
        high = picture[i] > high ? picture[i] : high;
    }
    for (size_t i = 0; i < w * SIDE; i++) px[i] = (float)low;
    for (size_t k = 0; k < (size_t)n; k++)
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            size_t at = i / SIDE * w + k * (SIDE + GAP) + i % SIDE;
            px[at] = (float)picture[k * SIDE * SIDE + i];
        }
    io_canvas c;
    int bad = io_canvas_image(&c, px, SIDE, w, ZOOM, 0.002, 0.998);
    if (!bad) {
        char path[PATH];
        path_in(path, f->o.out, name);
        bad = io_png(&png, c.rgb, (size_t)c.w, (size_t)c.h, 3)
              || io_write(path, png.data, png.size);
        put_png_figure(&f->out.page, &png, caption);
        free(png.data);
        io_canvas_free(&c);
    }
    free(px);
    return bad ? fail("%s", io_reason()) : 0;
}

/* How many are in each class, and their mean pictures. */
static int put_averages(movie *f)
{
    pictures *set = &f->pictures;
    int k = set->classes;
    size_t d = SIDE * SIDE;
    double *mean = zeroed((size_t)k * d, sizeof *mean);
    if (!mean) return 1;
    uint32_t count[ATOMDL_KINDS];
    atomdl_class_means(mean, count, set->px, set->label, set->n, (int)d, k);
    io_put(&f->out.page, "<p>%d pictures in %d classes:", set->n, k);
    for (int i = 0; i < k; i++)
        io_put(&f->out.page, " %d: %u%s", i + 1, count[i],
               i < k - 1 ? "," : ".");
    if (!f->wish.classes) {
        io_put(&f->out.page, " BIC of 1, 2, ... classes:");
        for (int i = 1; i <= MIXTURES && set->bic[i] != 0; i++)
            io_put(&f->out.page, " %.0f", set->bic[i]);
    }
    io_put(&f->out.page, "</p>\n<div class=\"f\">");
    int bad = put_strip(f, mean, k, "averages.png",
                        "class averages, in canonical orientation");
    free(mean);
    return bad;
}

static int class_stage(void *of, atomdl_arena *arena)
{
    movie *f = of;
    pictures *set = &f->pictures;
    size_t d = SIDE * SIDE, n = 0;
    float *x = atomdl_alloc(arena, (size_t)set->n * d, sizeof *x);
    int count[ATOMDL_KINDS] = {0}, most = 0;
    for (size_t i = 0; i < (size_t)set->n; i++) count[set->label[i]]++;
    for (int k = 1; k < set->classes; k++) if (count[k] > count[most]) most = k;
    for (size_t i = 0; i < (size_t)set->n && arena->base; i++)
        if (set->label[i] == most)
            memcpy(x + n++ * d, set->px + i * d, d * sizeof *x);
    set->commonest = most;
    atomdl_pca_how how = {1, 4, f->s.how.use.kernels};
    return atomdl_pca_fit(&set->pca, x, count[most], (int)d, &how, arena);
}

/* The commonest class: mean, and how it varies. METHOD E.2 */
static int put_components(movie *f)
{
    pictures *set = &f->pictures;
    if (set->n < 8 || set->n / set->classes < 3) return 0;
    if (in_arena(class_stage, f, &f->arena, "components")) return 1;
    int n = set->pca.k;
    char text[160];
    snprintf(text, sizeof text, "principal components of class %d: %.0f %%, "
             "%.0f %%... of its variance", set->commonest + 1,
             100 * set->pca.value[0] / set->pca.total,
             n > 1 ? 100 * set->pca.value[1] / set->pca.total : 0.);
    return put_strip(f, set->pca.vector, n, "components.png", text);
}

typedef struct {
    io_text *t;
    const movie *f;
    double top;
    int cut, leaf;    /* merges before `cut` are leaves */
} dendrogram;

static double leaf_y(const dendrogram *d, double height)
{
    return 340 - 320 * height / d->top;
}

/* Places node c (rows, then merges) and draws what is below it. */
static double draw_node(dendrogram *d, uint32_t c)
{
    const pictures *set = &d->f->pictures;
    uint32_t n = (uint32_t)set->n;
    const atomdl_merge *m = &set->merge[c < n ? 0 : c - n];
    if (c < n || (int)(c - n) < d->cut) {
        double x = 34 + 14. * d->leaf++;
        io_put(d->t, "<text font-size=\"9\" transform=\"translate(%.1f 346) "
               "rotate(90)\">%u</text>\n", x - 3, c < n ? 1 : m->size);
        return x;
    }
    double a = draw_node(d, m->a);
    double b = draw_node(d, m->b);
    io_put(d->t, "<path d=\"M%.1f %.1fV%.1fH%.1fV%.1f\"/>\n", a,
           m->a < n || (int)(m->a - n) < d->cut
               ? 340. : leaf_y(d, set->merge[m->a - n].height),
           leaf_y(d, m->height), b,
           m->b < n || (int)(m->b - n) < d->cut
               ? 340. : leaf_y(d, set->merge[m->b - n].height));
    return (a + b) / 2;
}

/* Ward's hierarchy as a table, and its last merges as a tree. */
static int draw_dendrogram(movie *f)
{
    pictures *set = &f->pictures;
    io_text t = {0}, table = {0};
    int n = set->n;
    io_put(&table, "a,b,height,size\n");
    for (int i = 0; i < n - 1; i++)
        io_put(&table, "%u,%u,%.6f,%u\n", set->merge[i].a, set->merge[i].b,
               set->merge[i].height, set->merge[i].size);
    double top = set->merge[n - 2].height;
    dendrogram d = {&t, f, top > 0 ? top : 1,
                    n > MOST_LEAVES ? n - MOST_LEAVES : 0, 0};
    svg_begin(&t, 500, 380);
    io_put(&t, "<g fill=\"none\" stroke=\"#2f5f9f\" "
           "stroke-width=\"1.4\"></g><g stroke=\"#2f5f9f\" fill=\"none\">");
    draw_node(&d, (uint32_t)(2 * n - 2));
    io_put(&t, "</g></svg>\n");
    return save_svg(f, save(f, 0, &table, "dendrogram.csv"), &t,
                    "dendrogram.svg", "Ward's hierarchy, its last merges; "
                    "leaves: number of pictures");
}

/* How found classes and clusters go together. */
static void put_contingency(movie *f)
{
    pictures *set = &f->pictures;
    uint32_t count[ATOMDL_MARKOV][ATOMDL_KINDS];
    io_text *t = &f->out.page;
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < f->film.spots; i++)
        if (picture_class(f, &f->film.spot[i]) >= 0)
            count[f->film.spot[i].kind][picture_class(f, &f->film.spot[i])]++;
    io_put(t, "<table><tr><th></th>");
    for (int c = 0; c < set->classes; c++)
        io_put(t, "<th>class %d</th>", c + 1);
    io_put(t, "</tr>\n");
    for (int k = 0; k < f->film.names.n; k++) {
        io_put(t, "<tr><th>%s</th>", kind_name(f, k));
        for (int c = 0; c < set->classes; c++)
            io_put(t, "<td>%u</td>", count[k][c]);
        io_put(t, "</tr>\n");
    }
    io_put(t, "</table>\n");
}

static int save_classes(movie *f)
{
    if (!f->pictures.n) return 0;
    io_put(&f->out.page, "<h2>Classes without labels</h2>\n");
    int bad = put_averages(f) || put_components(f) || draw_dendrogram(f);
    io_put(&f->out.page, "</div>\n");
    put_contingency(f);
    return bad;
}

/* ---------- Rotors and coordination --------------------------------------- */

/* A number of each frame of a track; UNSEEN where it was not. */
static int draw_track(movie *f, uint32_t k, const double *y,
                      const char *y_title, const char *stem,
                      const char *caption)
{
    const atomdl_track *o = &f->tracks.track[k];
    size_t n = o->end - o->begin + 1;
    char name[64];
    snprintf(name, sizeof name, "%s-%u.svg", stem, k + 1);
    double *x = zeroed(n, sizeof *x);
    series s = {"", 0x2f7fd1, y, NULL, NULL, 1};
    io_text svg = {0};
    if (!x) return 1;
    for (size_t i = 0; i < n; i++) x[i] = (double)(o->begin + i);
    put_plot(&svg, &(plot){"frame", y_title, x, (int)n, &s, 1, 0});
    free(x);
    return save_svg(f, 0, &svg, name, caption);
}

/* Three dopants: angle, triangle, switches in each of its frames. */
static int save_rotor(movie *f, uint32_t k, io_text *t)
{
    const atomdl_track *o = &f->tracks.track[k];
    size_t n = o->end - o->begin + 1;
    atomdl_rotor *r = zeroed(n, sizeof *r);
    double *y = zeroed(n, sizeof *y);
    int switches = 0, flagged = 0, bad = !r || !y;
    for (size_t j = 0; j < n && !bad; j++)
        atomdl_rotor_measure(&r[j], NULL, 0, 3, NULL);
    for (int i = 0; i < o->n && !bad; i++) {
        const atomdl_spot *p = track_spot(f, o, i);
        if (p->dopants == 3)
            atomdl_rotor_measure(&r[p->frame - o->begin], &p->member[0][0], 3,
                                 3, NULL);
    }
    if (!bad) atomdl_rotor_switches(r, (int)n, 3, &switches);
    for (size_t j = 0; j < n && !bad; j++) {
        y[j] = r[j].quality > 0 ? r[j].phi : UNSEEN;
        flagged += r[j].flagged;
        io_put(t, "%zu,%u,%.2f,%.4f,%.2f,%.2f,%.2f,%d,%d\n", o->begin + j,
               k + 1, r[j].phi, r[j].quality, r[j].angle[0], r[j].angle[1],
               r[j].angle[2], r[j].flagged, r[j].switched);
    }
    char caption[120];
    snprintf(caption, sizeof caption, "trimer of track %u: %d switches, %d "
             "frames flagged", k + 1, switches, flagged);
    bad = bad || draw_track(f, k, y, "angle / °", "rotor", caption);
    free(r);
    free(y);
    return bad;
}

/* How many neighbours the dopant of a track has in each frame. */
static int save_coordination(movie *f, uint32_t k)
{
    const atomdl_track *o = &f->tracks.track[k];
    size_t n = o->end - o->begin + 1;
    double *y = zeroed(n, sizeof *y);
    int four = 0;
    if (!y) return 1;
    for (size_t j = 0; j < n; j++) y[j] = UNSEEN;
    for (int i = 0; i < o->n; i++) {
        const atomdl_spot *p = track_spot(f, o, i);
        if (p->dopants == 1) y[p->frame - o->begin] = p->shell;
        four += p->dopants == 1 && p->shell == 4;
    }
    char caption[120];
    snprintf(caption, sizeof caption, "neighbours of the dopant of track %u: "
             "four in %d of %d frames", k + 1, four, o->n);
    int bad = draw_track(f, k, y, "neighbours", "coordination", caption);
    free(y);
    return bad;
}

/* The longest tracks of each kind, eight at most. */
static int save_dopants(movie *f)
{
    const atomdl_chemistry *c = f->film.view.chemistry;
    io_text t = {0};
    int bad = 0, drawn[2] = {0, 0};
    io_put(&t, "frame,track,phi_deg,quality,angle1_deg,angle2_deg,angle3_deg,"
           "flagged,switched\n");
    io_put(&f->out.page, "<div class=\"f\">");
    for (uint32_t k = 0; k < f->tracks.n && !bad && c->host[0] == c->host[1];
         k++) {
        const atomdl_track *o = &f->tracks.track[k];
        int single = o->dopants == 1;
        if (o->n < 3 || (!single && o->dopants != 3)
            || drawn[single]++ >= 8) continue;
        bad = single ? save_coordination(f, k) : save_rotor(f, k, &t);
    }
    io_put(&f->out.page, "</div>\n");
    return save(f, bad, &t, "rotors.csv");
}

/* ---------- The page ------------------------------------------------------ */

/* The first 200 tracks of three frames and more. */
static void put_tracks(movie *f)
{
    io_text t = {0};
    int rows = 0;
    io_put(&t, "track,class,frames,seen,from,to,displacement / Å\n");
    for (uint32_t k = 0; k < f->tracks.n && rows < 200; k++) {
        const atomdl_track *o = &f->tracks.track[k];
        const atomdl_spot *a = track_spot(f, o, 0);
        const atomdl_spot *b = track_spot(f, o, o->n - 1);
        double dx = b->u - a->u, dy = b->v - a->v;
        if (o->n < 3) continue;
        rows++;
        io_put(&t, "%u,%s,%u,%d,%u,%u,%.2f\n", k + 1, kind_name(f, o->kind),
               o->end - o->begin + 1, o->n, o->begin, o->end,
               atomdl_sqrt(dx * dx + dy * dy));
    }
    put_page_table(f, "Tracks", &t);
}

/* What was read and found, what could not be, and the frames. */
static void page_begin(movie *f)
{
    const atomdl_view *view = &f->film.view;
    io_text *t = &f->out.page;
    uint32_t empty = 0, lost = 0;
    for (uint32_t i = 0; i < f->film.frames; i++) {
        empty += (uint32_t)f->film.frame[i].empty;
        lost += i && !f->film.frame[i].known && !f->film.frame[i].empty;
    }
    put_page_head(t);
    io_put(t, "<p>%u frames of %d x %d pixels of %.4f x %.4f Å (%s); material "
           "<b>%s</b>, weights <b>", f->film.frames, view->w,
           view->h, view->pixel_x, view->pixel_y,
           f->pixel_from ? f->pixel_from : "unknown", view->chemistry->name);
    io_put_escaped(t, f->s.m->name, IO_XML);
    io_put(t, "</b>; %zu %s in %u tracks</p>\n", f->film.spots,
           f->wish.atoms ? "atoms" : "defects", f->tracks.n);
    if (empty) io_put(t, "<p class=\"w\">%u frames are empty</p>\n",
                      empty);
    if (lost) io_put(t, "<p class=\"w\">in %u frames the drift could not be "
                     "found and counts as none</p>\n", lost);
    if (!view->based) io_put(t, "<p class=\"w\">no lattice was found: no hops"
                          "</p>\n");
    if (!f->film.spots)
        io_put(t, "<p class=\"w\">nothing was found that could be followed"
               "</p>\n");
    io_put(t, "<p>");
    for (int k = 0; k < f->film.names.n; k++) {
        io_put(t, "<span style=\"color:#%06x\">●</span> %s ", f->colour[k],
               kind_name(f, k));
    }
    io_put(t, "</p>\n<div class=\"f\"><figure><img alt=\"\" src=\"movie.gif\">"
           "<figcaption>movie.gif</figcaption></figure></div>\n"
           "<div class=\"f\">%s</div>\n",
           f->out.frames.s ? f->out.frames.s : "");
    t->failed |= f->out.frames.failed;
}

int movie_write(movie *f)
{
    page_begin(f);
    int bad = save_tables(f) || save_frames(f) || save_dwells(f);
    put_tracks(f);
    bad = bad || save_motion(f);
    io_put(&f->out.page, "<h2>Concentrations</h2>\n<div class=\"f\">");
    bad = bad || save_concentrations(f);
    io_put(&f->out.page, "</div>\n");
    bad = bad || save_transitions(f) || save_classes(f);
    io_put(&f->out.page, "<h2>Dopants</h2>\n");
    bad = bad || save_dopants(f);
    io_put(&f->out.page, "</body></html>\n");
    return save(f, bad, &f->out.page, "report.html");
}
