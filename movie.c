/* SPDX-License-Identifier: MIT
   AtomDL: from frames to trajectories, classes and rates.

   Read atomdl.h first. Assignment, tracks, motion, drift, sub-images,
   principal components, clusters, Markov models, rotors; binary64 throughout.
   The file includes itself once for each vector width (see Lanes). */

#ifndef ATOMDL_LANES_PASS /* ===== the file proper ===== */

#define ATOMDL_LIBRARY
#include "atomdl.h"


static const double FAR = 0x1p1000; /* above every distance and cost */


static int finite_all(const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_finite(x[i])) return 0;
    return 1;
}

static int finite_floats(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] - x[i] == 0)) return 0;
    return 1;
}

static void *doubles(atomdl_arena *arena, size_t n)
{
    return atomdl_alloc(arena, n, sizeof(double));
}

static double dot(const double *x, const double *y, int n)
{
    double s = 0;
    for (int i = 0; i < n; i++) s = s + x[i] * y[i];
    return s;
}

/* ---------- Tracks: assignment --------------------------------------------

   Each point of a may take a point of b at d^2, or stay alone at gate^2.
   Points of a are added one by one along the cheapest alternating path
   (Dijkstra with the potentials u, v); it only meets points in reach. */

typedef struct {
    const double *a;
    double gate2, gate;
    int nb, reached;
    u32 *order;    /* (nb) b by rising x; p below counts in this order */
    double *x, *y; /* (nb) */
    double *v, *far; /* (nb) potential; length of the path to p */
    int *from, *owner; /* (nb) a before p on the path; a that has p, or -1 */
    int *seen;     /* (nb) p reached, the finished ones first */
    double *u;     /* (na) */
    int *to;       /* (na) p, or -1 */
} pairing;

static int pairing_new(pairing *g, int na, int nb, atomdl_arena *arena)
{
    size_t n = (size_t)nb;
    g->order = atomdl_alloc(arena, n, sizeof *g->order);
    g->x = doubles(arena, n);
    g->y = doubles(arena, n);
    g->v = doubles(arena, n);
    g->far = doubles(arena, n);
    g->from = atomdl_alloc(arena, n, sizeof *g->from);
    g->owner = atomdl_alloc(arena, n, sizeof *g->owner);
    g->seen = atomdl_alloc(arena, n, sizeof *g->seen);
    g->u = doubles(arena, (size_t)na);
    return atomdl_arena_status(arena);
}

static int pairing_sort(pairing *g, const double *b)
{
    for (int i = 0; i < g->nb; i++) g->x[i] = b[2 * i];
    if (atomdl_sort(g->order, g->x, (size_t)g->nb, (u32 *)g->from))
        return ATOMDL_ENAN;
    for (int i = 0; i < g->nb; i++) {
        g->x[i] = b[2 * g->order[i]];
        g->y[i] = b[2 * g->order[i] + 1];
        g->v[i] = 0;
        g->far[i] = FAR;
        g->owner[i] = -1;
    }
    return ATOMDL_OK;
}

/* the first p with x not left of the gate */
static int pairing_first(const pairing *g, double x)
{
    int a = 0, b = g->nb;
    while (a < b) {
        int m = a + (b - a) / 2;
        if (g->x[m] < x) a = m + 1;
        else b = m;
    }
    return a;
}

/* paths that end with a's point i, of length `length`, go on to its points p;
   far < 0 marks finished ones */
static void pairing_relax(pairing *g, int i, double length)
{
    double x = g->a[2 * i], y = g->a[2 * i + 1];
    int p = pairing_first(g, x - g->gate);
    for (; p < g->nb && g->x[p] <= x + g->gate; p++) {
        double dx = g->x[p] - x, dy = g->y[p] - y, d = dx * dx + dy * dy;
        if (!(d < g->gate2) || g->owner[p] == i) continue;
        double s = most(length, length + (d - g->u[i] - g->v[p]));
        if (!(s < g->far[p])) continue;
        if (g->far[p] == FAR) g->seen[g->reached++] = p;
        g->far[p] = s;
        g->from[p] = i;
    }
}

/* gives point s of a its place; done points of b stand first in seen */
static void pairing_add(pairing *g, int s)
{
    double length = 0, alone = FAR;
    int i = s, done = 0, lonely = -1, end = -1, k, best;
    for (g->reached = 0;;) {
        if (length + (g->gate2 - g->u[i]) < alone) {
            alone = length + (g->gate2 - g->u[i]);
            lonely = i;
        }
        pairing_relax(g, i, length);
        for (best = -1, k = done; k < g->reached; k++)
            if (best < 0 || g->far[g->seen[k]] < g->far[g->seen[best]])
                best = k;
        if (best < 0 || alone < g->far[g->seen[best]]) break;
        int p = g->seen[best];
        g->seen[best] = g->seen[done];
        g->seen[done++] = p;
        length = g->far[p];
        if (g->owner[p] < 0) {
            end = p;
            break;
        }
        i = g->owner[p];
    }
    if (end < 0) length = alone;
    g->u[s] = g->u[s] + length;
    for (k = 0; k < done; k++) {
        int p = g->seen[k];
        g->v[p] = g->v[p] - (length - g->far[p]);
        if (g->owner[p] >= 0)
            g->u[g->owner[p]] = g->u[g->owner[p]] + (length - g->far[p]);
    }
    int p = end;
    if (end < 0 && lonely != s) {
        p = g->to[lonely];
        g->to[lonely] = -1;
    }
    while (p >= 0) { /* back along the path, each takes its next point */
        i = g->from[p];
        int next = g->to[i];
        g->owner[p] = i;
        g->to[i] = p;
        p = i == s ? -1 : next;
    }
    for (k = 0; k < g->reached; k++) g->far[g->seen[k]] = FAR;
}

static double pairing_cost(const pairing *g, int na)
{
    double cost = 0;
    for (int i = 0; i < na; i++) {
        int p = g->to[i];
        double dx = p < 0 ? 0 : g->x[p] - g->a[2 * i];
        double dy = p < 0 ? 0 : g->y[p] - g->a[2 * i + 1];
        cost = cost + (p < 0 ? g->gate2 : dx * dx + dy * dy);
    }
    return cost;
}

int atomdl_assign(int *to, double *cost, const double *a, int na,
                  const double *b, int nb, double gate, atomdl_arena *arena)
{
    size_t mark = arena->used;
    if (na < 0 || nb < 0 || !(gate > 0 && gate < 0x1p400)) return ATOMDL_EARG;
    pairing g;
    int status = pairing_new(&g, na, nb, arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    if (!finite_all(a, 2 * (size_t)na) || !finite_all(b, 2 * (size_t)nb))
        return ATOMDL_ENAN;
    g.a = a;
    g.to = to;
    g.nb = nb;
    g.gate = gate;
    g.gate2 = gate * gate;
    status = pairing_sort(&g, b);
    if (status) return status;
    for (int i = 0; i < na; i++) {
        g.u[i] = 0;
        to[i] = -1;
    }
    for (int i = 0; i < na; i++) pairing_add(&g, i);
    if (cost) *cost = pairing_cost(&g, na);
    for (int i = 0; i < na; i++)
        if (to[i] >= 0) to[i] = (int)g.order[to[i]];
    return ATOMDL_OK;
}

/* ---------- Tracks: linking ----------------------------------------------- */

int atomdl_tracker_new(atomdl_tracker *tracker, int max, int gap, double gate,
                       atomdl_arena *arena)
{
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    memset(tracker, 0, sizeof *tracker);
    if (max < 1 || max > 1 << 20 || gap < 0 || gap > 16) return ATOMDL_EARG;
    int status = atomdl_assign(NULL, NULL, NULL, (gap + 2) * max, NULL, max,
                               gate, &measure);
    if (status) return status;
    size_t room = (size_t)(gap + 2) * (size_t)max;
    tracker->max = max;
    tracker->gap = gap;
    tracker->gate = gate;
    tracker->scratch_size = measure.peak;
    tracker->id = atomdl_alloc(arena, room, sizeof *tracker->id);
    tracker->seen = atomdl_alloc(arena, room, sizeof *tracker->seen);
    tracker->xy = doubles(arena, 2 * room);
    tracker->to = atomdl_alloc(arena, room, sizeof *tracker->to);
    tracker->scratch = atomdl_alloc(arena, 1, measure.peak);
    return atomdl_arena_status(arena);
}

/* drops the tracks missing for more than gap frames, moves the others */
static void tracker_age(atomdl_tracker *t, const double shift[2])
{
    int n = 0;
    for (int i = 0; i < t->live; i++) {
        if (t->frame - t->seen[i] > (u32)t->gap + 1) continue;
        t->id[n] = t->id[i];
        t->seen[n] = t->seen[i];
        t->xy[2 * n] = t->xy[2 * i] + (shift ? shift[0] : 0);
        t->xy[2 * n + 1] = t->xy[2 * i + 1] + (shift ? shift[1] : 0);
        n++;
    }
    t->deaths = t->live - n;
    t->live = n;
}

static void tracker_take(atomdl_tracker *t, int k, const double *xy)
{
    t->seen[k] = t->frame;
    t->xy[2 * k] = xy[0];
    t->xy[2 * k + 1] = xy[1];
}

int atomdl_tracker_step(atomdl_tracker *tracker, uint32_t *track,
                        const double *xy, int n, const double shift[2])
{
    atomdl_arena scratch = {NULL, 0, 0, 0, 0};
    if (n < 0 || n > tracker->max) return ATOMDL_ESHAPE;
    if (!finite_all(xy, 2 * (size_t)n) || (shift && !finite_all(shift, 2)))
        return ATOMDL_ENAN;
    tracker_age(tracker, shift);
    scratch.base = tracker->scratch;
    scratch.size = tracker->scratch_size;
    int status = atomdl_assign(tracker->to, NULL, tracker->xy, tracker->live,
                               xy, n, tracker->gate, &scratch);
    if (status) return status;
    for (int i = 0; i < n; i++) track[i] = UINT32_MAX;
    int old = tracker->live;
    for (int i = 0; i < old; i++) {
        if (tracker->to[i] < 0) continue;
        track[tracker->to[i]] = tracker->id[i];
        tracker_take(tracker, i, xy + 2 * tracker->to[i]);
    }
    for (int i = 0; i < n; i++) {
        if (track[i] != UINT32_MAX) continue;
        track[i] = tracker->id[tracker->live] = tracker->next++;
        tracker_take(tracker, tracker->live++, xy + 2 * i);
    }
    tracker->births = tracker->live - old;
    tracker->frame++;
    return ATOMDL_OK;
}

/* ---------- Motion -------------------------------------------------------- */

static int trace_sound(const uint32_t *frame, const double *xy, int n)
{
    if (n < 0) return ATOMDL_EARG;
    for (int i = 1; i < n; i++)
        if (frame[i] <= frame[i - 1]) return ATOMDL_EARG;
    return finite_all(xy, 2 * (size_t)n) ? ATOMDL_OK : ATOMDL_ENAN;
}

int atomdl_msd_add(atomdl_msd *msd, const uint32_t *frame, const double *xy,
                   int n, int lags)
{
    int status = trace_sound(frame, xy, n);
    if (status) return status;
    if (lags < 1 || lags > ATOMDL_LAGS) return ATOMDL_EARG;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n && frame[j] - frame[i] <= (u32)lags; j++) {
            u32 lag = frame[j] - frame[i] - 1;
            double dx = xy[2 * j] - xy[2 * i];
            double dy = xy[2 * j + 1] - xy[2 * i + 1], d = dx * dx + dy * dy;
            msd->sum[lag] = msd->sum[lag] + d;
            msd->square[lag] = msd->square[lag] + d * d;
            msd->count[lag]++;
        }
    return ATOMDL_OK;
}

double atomdl_msd_mean(double *error, const atomdl_msd *msd, int lag)
{
    if (error) *error = 0;
    if (lag < 1 || lag > ATOMDL_LAGS || !msd->count[lag - 1]) return 0;
    double n = (double)msd->count[lag - 1];
    double mean = msd->sum[lag - 1] / n;
    double spread = most(0, msd->square[lag - 1] / n - mean * mean);
    if (error) *error = atomdl_sqrt(spread / most(1, n / lag));
    return mean;
}

int atomdl_msd_fit(atomdl_diffusion *fit, const atomdl_msd *msd, int lags)
{
    double s = 0, st = 0, stt = 0, sy = 0, sty = 0;
    int used = 0;
    memset(fit, 0, sizeof *fit);
    if (lags < 2 || lags > ATOMDL_LAGS) return ATOMDL_EARG;
    for (int i = 1; i <= lags; i++) {
        double t = (double)i, y = atomdl_msd_mean(NULL, msd, i);
        double w = (double)msd->count[i - 1] / (t * t * t);
        used += w > 0;
        s = s + w;
        st = st + w * t;
        stt = stt + w * t * t;
        sy = sy + w * y;
        sty = sty + w * t * y;
    }
    if (used < 2) return ATOMDL_EARG;
    double slope = (s * sty - st * sy) / (s * stt - st * st);
    fit->diffusion = slope / 4;
    fit->noise = (sy - slope * st) / s / 4;
    double error;
    for (int i = 1; i <= lags; i++) {
        double t = (double)i, w = (double)msd->count[i - 1] / (t * t * t);
        atomdl_msd_mean(&error, msd, i);
        fit->error = fit->error + w * absolute(s * t - st) * error;
    }
    fit->error = fit->error / (s * stt - st * st) / 4;
    return is_finite(slope) ? ATOMDL_OK : ATOMDL_ENAN;
}

/* 6: a and b at about 60 degrees, -6: at 120, 4: neither, 0: no area */
static int basis_kind(const double m[4])
{
    double a = m[0] * m[0] + m[1] * m[1], b = m[2] * m[2] + m[3] * m[3];
    double d = m[0] * m[2] + m[1] * m[3], area = m[0] * m[3] - m[1] * m[2];
    double lengths = atomdl_sqrt(a) * atomdl_sqrt(b);
    if (!finite_all(m, 4) || !(absolute(area) > 1e-6 * lengths)) return 0;
    return d > 0.25 * lengths ? 6 : d < -0.25 * lengths ? -6 : 4;
}

static int hop_steps(int i, int j, int kind)
{
    int a = i < 0 ? -i : i, b = j < 0 ? -j : j, c = kind > 0 ? i + j : i - j;
    if (kind == 4) return a + b;
    c = c < 0 ? -c : c;
    a = a > b ? a : b;
    return a > c ? a : c;
}

int atomdl_hop_fold(int ij[2], double rest[2], double dx, double dy,
                    const double basis[4])
{
    double area = basis[0] * basis[3] - basis[1] * basis[2], best = -1;
    int kind = basis_kind(basis);
    ij[0] = ij[1] = 0;
    if (!kind) return -1;
    double u = atomdl_floor((dx * basis[3] - dy * basis[2]) / area + 0.5);
    double v = atomdl_floor((dy * basis[0] - dx * basis[1]) / area + 0.5);
    if (!(absolute(u) < 1e9 && absolute(v) < 1e9)) return -1;
    for (int j = -1; j <= 1; j++)
        for (int i = -1; i <= 1; i++) {
            double x = dx - (u + i) * basis[0] - (v + j) * basis[2];
            double y = dy - (u + i) * basis[1] - (v + j) * basis[3];
            double d = x * x + y * y;
            if (best >= 0 && !(d < best)) continue;
            best = d;
            ij[0] = (int)u + i;
            ij[1] = (int)v + j;
            if (rest) rest[0] = x;
            if (rest) rest[1] = y;
        }
    return hop_steps(ij[0], ij[1], kind);
}

int atomdl_hops_add(atomdl_hops *hops, const uint32_t *frame,
                    const double *xy, int n, const double basis[4])
{
    int status = trace_sound(frame, xy, n);
    if (status) return status;
    if (!basis_kind(basis)) return ATOMDL_EARG;
    int ij[2];
    for (int i = 1; i < n; i++) {
        int steps = atomdl_hop_fold(ij, NULL, xy[2 * i] - xy[2 * i - 2],
                                    xy[2 * i + 1] - xy[2 * i - 1], basis);
        double x = ij[0] * basis[0] + ij[1] * basis[2];
        double y = ij[0] * basis[1] + ij[1] * basis[3];
        if (steps < 0) return ATOMDL_EARG;
        hops->steps += frame[i] - frame[i - 1];
        hops->hops += (u32)steps;
        hops->square = hops->square + (x * x + y * y);
        if (ij[0] < -2 || ij[0] > 2 || ij[1] < -2 || ij[1] > 2) hops->far++;
        else hops->count[ij[1] + 2][ij[0] + 2]++;
    }
    return ATOMDL_OK;
}

atomdl_hop_rate atomdl_hops_rate(const atomdl_hops *hops,
                                 const double basis[4])
{
    atomdl_hop_rate r = {0, 0, 0, 0};
    double steps = hops->steps, n = hops->hops;
    if (!hops->steps) return r;
    r.rate = n / steps;
    r.rate_error = atomdl_sqrt(most(1, n)) / steps;
    r.diffusion = hops->square / (4 * steps);
    r.diffusion_error = hops->hops ? r.diffusion / atomdl_sqrt(n)
                                   : dot(basis, basis, 2) / (4 * steps);
    return r;
}

int atomdl_dwells(atomdl_dwell *dwell, const int32_t *state, int n)
{
    int count = 0, first = 0, last = -1;
    while (first < n && state[first] < 0) first++;
    for (int i = first; i < n; i++) {
        if (state[i] >= 0) last = i;
        if (state[i] < 0 || (count && dwell[count - 1].state == state[i])) {
            dwell[count - 1].frames++;
            continue;
        }
        dwell[count].state = state[i];
        dwell[count].first = (u32)i;
        dwell[count].frames = 1;
        dwell[count++].censored = 0;
    }
    if (count) { /* what follows the last sight is not known */
        dwell[count - 1].frames -= (u32)(n - 1 - last);
        dwell[0].censored = dwell[count - 1].censored = 1;
    }
    return count;
}

/* ---------- Drift --------------------------------------------------------- */

/* phase / 2 pi of the lattice along reciprocal vector k; *coherence: 0..1 */
static double lattice_phase(double *coherence, const double *xy, int n,
                            const double k[2])
{
    double c = 0, s = 0;
    for (int i = 0; i < n; i++) {
        double t = xy[2 * i] * k[0] + xy[2 * i + 1] * k[1];
        t = 2 * PI * (t - atomdl_floor(t));
        c = c + atomdl_cos(t);
        s = s + atomdl_sin(t);
    }
    if (n) *coherence = least(*coherence, atomdl_sqrt(c * c + s * s) / n);
    else *coherence = 0;
    return atomdl_atan2(s, c) / (2 * PI);
}

/* shift modulo the lattice, nearest to prior in lattice coordinates */
static void drift_phase(atomdl_drift *d, const double *a, int na,
                        const double *b, int nb, const double m[4],
                        const double prior[2])
{
    double area = m[0] * m[3] - m[1] * m[2];
    double k[2][2];
    k[0][0] = m[3] / area;
    k[0][1] = -m[2] / area;
    k[1][0] = -m[1] / area;
    k[1][1] = m[0] / area;
    d->coherence = 1;
    double f[2];
    for (int i = 0; i < 2; i++) {
        double p = prior[0] * k[i][0] + prior[1] * k[i][1];
        f[i] = lattice_phase(&d->coherence, b, nb, k[i]);
        f[i] = f[i] - lattice_phase(&d->coherence, a, na, k[i]);
        f[i] = f[i] + atomdl_floor(p - f[i] + 0.5);
    }
    d->shift[0] = prior[0];
    d->shift[1] = prior[1];
    if (d->coherence < 0.2) return;
    d->shift[0] = f[0] * m[0] + f[1] * m[2];
    d->shift[1] = f[0] * m[1] + f[1] * m[3];
}

/* half the shortest lattice vector */
static double half_spacing(const double m[4])
{
    double s = FAR;
    for (int j = -1; j <= 1; j++)
        for (int i = -1; i <= 1; i++) {
            double x = i * m[0] + j * m[2], y = i * m[1] + j * m[3];
            if (i || j) s = least(s, x * x + y * y);
        }
    return atomdl_sqrt(s) / 2;
}

typedef struct {
    double *moved; /* (n, 2) points of the first frame, shifted */
    int *to;       /* (n) */
} follower;

/* pairs of a + shift with b; *cost as atomdl_assign */
static int follow(follower *f, double *cost, const double *a, int na,
                  const double *b, int nb, const double shift[2], double gate,
                  atomdl_arena *arena)
{
    for (int i = 0; arena->base && i < na; i++) {
        f->moved[2 * i] = a[2 * i] + shift[0];
        f->moved[2 * i + 1] = a[2 * i + 1] + shift[1];
    }
    return atomdl_assign(f->to, cost, f->moved, na, b, nb, gate, arena);
}

/* among shifts that differ by lattice vectors, the one the defects like */
static int drift_choose(atomdl_drift *d, follower *f, const double *a, int na,
                        const double *b, int nb, const double m[4],
                        const double prior[2], atomdl_arena *arena)
{
    double gate = half_spacing(m), start[2], best = FAR, near = FAR;
    start[0] = d->shift[0];
    start[1] = d->shift[1];
    double cost;
    for (int j = -2; j <= 2; j++)
        for (int i = -2; i <= 2; i++) {
            double s[2];
            s[0] = start[0] + i * m[0] + j * m[2];
            s[1] = start[1] + i * m[1] + j * m[3];
            int status = follow(f, &cost, a, na, b, nb, s, gate, arena);
            if (status) return status;
            if (!arena->base) return ATOMDL_OK;
            double x = s[0] - prior[0];
            double y = s[1] - prior[1];
            x = x * x + y * y;
            cost = cost + gate * gate * x / (m[0] * m[0] + m[1] * m[1]);
            y = 1e-9 * gate * gate; /* costs this near are equal */
            if (cost > best + y || (cost > best - y && !(x < near))) continue;
            best = cost;
            near = x;
            d->shift[0] = s[0];
            d->shift[1] = s[1];
            for (int k = d->known = 0; k < na; k++) d->known += f->to[k] >= 0;
        }
    return ATOMDL_OK;
}

typedef struct { /* sums over pairs of p (first frame) and q (second) */
    double n, p[2], q[2], pp[3], pq[4], qq; /* pp, pq, qq about the means */
} moments;

static void pair_moments(moments *s, const follower *f, const double *a,
                         int na, const double *b)
{
    memset(s, 0, sizeof *s);
    for (int i = 0; i < na; i++) {
        if (f->to[i] < 0) continue;
        s->n = s->n + 1;
        for (int k = 0; k < 2; k++) {
            s->p[k] = s->p[k] + a[2 * i + k];
            s->q[k] = s->q[k] + b[2 * f->to[i] + k];
        }
    }
    for (int k = 0; k < 2; k++) {
        s->p[k] = s->p[k] / most(1, s->n);
        s->q[k] = s->q[k] / most(1, s->n);
    }
    for (int i = 0; i < na; i++) {
        const double *q = b + 2 * (f->to[i] < 0 ? 0 : f->to[i]);
        double x = a[2 * i] - s->p[0], y = a[2 * i + 1] - s->p[1];
        if (f->to[i] < 0) continue;
        double u = q[0] - s->q[0];
        double v = q[1] - s->q[1];
        s->pp[0] = s->pp[0] + x * x;
        s->pp[1] = s->pp[1] + x * y;
        s->pp[2] = s->pp[2] + y * y;
        s->pq[0] = s->pq[0] + u * x;
        s->pq[1] = s->pq[1] + u * y;
        s->pq[2] = s->pq[2] + v * x;
        s->pq[3] = s->pq[3] + v * y;
        s->qq = s->qq + (u * u + v * v);
    }
}

/* the map and its residual from the moments */
static int drift_solve(atomdl_drift *d, const moments *s, int affine)
{
    double det = s->pp[0] * s->pp[2] - s->pp[1] * s->pp[1];
    double trace = s->pp[0] + s->pp[2];
    if (s->n < 1 || (affine && !(s->n >= 3 && det > 1e-12 * trace * trace)))
        return ATOMDL_EARG;
    for (int k = 0; k < 2; k++) {
        const double *u = s->pq + 2 * k;
        d->shift[k] = s->q[k] - s->p[k];
        d->m[3 * k] = 1;
        d->m[1 + k] = 0;
        if (affine) {
            d->m[2 * k] = (u[0] * s->pp[2] - u[1] * s->pp[1]) / det;
            d->m[2 * k + 1] = (u[1] * s->pp[0] - u[0] * s->pp[1]) / det;
        }
        d->t[k] = s->q[k] - (d->m[2 * k] * s->p[0] + d->m[2 * k + 1] * s->p[1]);
    }
    double rest = s->qq - 2 * dot(d->m, s->pq, 4);
    for (int k = 0; k < 2; k++) {
        const double *m = d->m + 2 * k;
        rest = rest + m[0] * m[0] * s->pp[0] + 2 * m[0] * m[1] * s->pp[1]
               + m[1] * m[1] * s->pp[2];
    }
    d->rms = atomdl_sqrt(most(0, rest) / s->n);
    d->pairs = (int)s->n;
    d->error[0] = d->error[1] = d->rms / atomdl_sqrt(2 * s->n);
    return ATOMDL_OK;
}

int atomdl_drift_find(atomdl_drift *drift, const double *a, int na,
                      const double *b, int nb, const double *da, int nda,
                      const double *db, int ndb, const double basis[4],
                      const double prior[2], int affine, atomdl_arena *arena)
{
    static const double REST[2] = {0, 0};
    size_t mark = arena->used;
    memset(drift, 0, sizeof *drift);
    if (na < 0 || nb < 0 || nda < 0 || ndb < 0) return ATOMDL_EARG;
    if (!prior) prior = REST;
    size_t n = (size_t)(na > nda ? na : nda);
    follower f;
    f.moved = doubles(arena, 2 * n);
    f.to = atomdl_alloc(arena, n, sizeof *f.to);
    int status = atomdl_arena_status(arena);
    if (!status && !arena->base) { /* measure what follow takes, no more */
        status = follow(&f, NULL, a, na, b, nb, prior, 1, arena);
        if (!status) status = follow(&f, NULL, da, nda, db, ndb, prior, 1,
                                     arena);
        arena->used = mark;
        return status;
    }
    if (!status && !basis_kind(basis)) status = ATOMDL_EARG;
    if (!status && !(finite_all(a, 2 * (size_t)na) && finite_all(prior, 2)
                     && finite_all(b, 2 * (size_t)nb)))
        status = ATOMDL_ENAN;
    if (!status) drift_phase(drift, a, na, b, nb, basis, prior);
    if (!status)
        status = drift_choose(drift, &f, da, nda, db, ndb, basis, prior, arena);
    moments s;
    for (int k = 0; k < 2 && !status; k++) {
        double spacing = half_spacing(basis);

        /* rigid first: a map that stretches needs more than the gate */
        status = follow(&f, NULL, a, na, b, nb, drift->shift, 0.55 * spacing,
                        arena);
        if (status) break;
        pair_moments(&s, &f, a, na, b);
        status = drift_solve(drift, &s, affine && k);
    }
    arena->used = mark;
    return status;
}

/* ---------- Sub-images ---------------------------------------------------- */

static int cutting_sound(const atomdl_cutting *how)
{
    return how->side >= 1 && how->side <= 256 && how->interpolation >= 0
           && how->interpolation < ATOMDL_INTERP_COUNT
           && is_finite(how->angle) && how->fold >= 1 && how->fold <= 6
           && how->fold != 5;
}

/* m <- the map (x, y) -> centre + R(angle) g (x - middle, y - middle) for
   operation op, or with g's inverse */
static void operation_map(double m[6], const atomdl_cutting *how, int op,
                          int inverse, double angle, double x, double y)
{
    double mid = 0.5 * (how->side - 1), turn = 2 * PI * (op % how->fold);
    double flip = op >= how->fold ? -1 : 1;
    turn = turn / how->fold;
    if (inverse && flip > 0) turn = -turn; /* a mirror is its own inverse */
    turn = turn + angle;
    m[0] = atomdl_cos(turn);
    m[3] = atomdl_sin(turn);
    m[1] = -m[3] * flip;
    m[4] = m[0] * flip;
    m[2] = x - mid * (m[0] + m[1]);
    m[5] = y - mid * (m[3] + m[4]);
}

static atomdl_image picture(const float *px, int w, int h)
{
    atomdl_image image;
    image.w = w;
    image.h = h;
    image.c = 1;
    image.px = (float *)(uintptr_t)px; /* read, where px is const */
    return image;
}

int atomdl_cut(float *x, const atomdl_image *image, int plane,
               const double *xy, int n, const uint8_t *op,
               const atomdl_cutting *how)
{
    size_t area = (size_t)image->w * (size_t)image->h;
    size_t part = (size_t)how->side * (size_t)how->side;
    if (!cutting_sound(how) || n < 0 || plane < 0 || plane >= image->c)
        return ATOMDL_EARG;
    if (!finite_all(xy, 2 * (size_t)n)) return ATOMDL_ENAN;
    atomdl_image src =
        picture(image->px + area * (size_t)plane, image->w, image->h);
    int status = atomdl_image_check(&src);
    double m[6];
    for (int i = 0; i < n && !status; i++) {
        int g = op ? op[i] : 0;
        if (g >= how->fold * (how->mirror ? 2 : 1)) return ATOMDL_EARG;
        operation_map(m, how, g, 0, how->angle, xy[2 * i], xy[2 * i + 1]);
        atomdl_image dst = picture(x + part * (size_t)i, how->side, how->side);
        status = atomdl_image_warp(&dst, &src, m, NULL, how->interpolation);
    }
    return status;
}

typedef struct { /* side^2 pixels each */
    int side, ops;
    float *turned; /* (ops) the reference, turned back by each operation */
    float *part;   /* (1) */
    double *sum;   /* (ops) sums of the sub-images of each operation */
    double *reference;
    u8 *disc;
} orienting;

static size_t pixels(const orienting *o)
{
    return (size_t)o->side * (size_t)o->side;
}

static int orienting_new(orienting *o, const atomdl_cutting *how,
                         atomdl_arena *arena)
{
    o->side = how->side;
    o->ops = how->fold * (how->mirror ? 2 : 1);
    size_t n = pixels(o);
    o->turned = atomdl_alloc(arena, n * (size_t)o->ops, sizeof(float));
    o->part = atomdl_alloc(arena, n, sizeof(float));
    o->sum = doubles(arena, n * (size_t)o->ops);
    o->reference = doubles(arena, n);
    o->disc = atomdl_alloc(arena, n, 1);
    return atomdl_arena_status(arena);
}

static void disc_mask(orienting *o)
{
    int s = o->side - 1;
    for (int j = 0; j <= s; j++)
        for (int i = 0; i <= s; i++) { /* in half pixels from the middle */
            int x = 2 * i - s, y = 2 * j - s;
            o->disc[j * o->side + i] = x * x + y * y <= s * s;
        }
}

/* squared dipole of a sub-image within the disc */
static double dipole(const orienting *o, const float *x)
{
    double mean = 0, count = 0, px = 0, py = 0, mid = 0.5 * (o->side - 1);
    size_t n = pixels(o);
    for (size_t i = 0; i < n; i++)
        if (o->disc[i]) {
            mean = mean + (double)x[i];
            count = count + 1;
        }
    mean = mean / most(1, count);
    for (size_t i = 0; i < n; i++) {
        double v = o->disc[i] ? (double)x[i] - mean : 0;
        px = px + v * ((double)(i % (size_t)o->side) - mid);
        py = py + v * ((double)(i / (size_t)o->side) - mid);
    }
    return px * px + py * py;
}

/* reference <- (1 2 1)^2/16 of itself: what interpolation would blur anyway,
   more for some operations than for others */
static void smooth_reference(orienting *o)
{
    int s = o->side;
    for (int pass = 0; pass < 2; pass++) {
        int step = pass ? s : 1, other = pass ? 1 : s;
        for (int j = 0; j < s; j++) {
            double *r = o->reference + j * other, last = r[0], now;
            for (int i = 0; i < s; i++, last = now) {
                now = r[i * step];
                r[i * step] = 0.25 * last + 0.5 * now
                              + 0.25 * r[least_int(i + 1, s - 1) * step];
            }
        }
    }
}

/* turned <- the reference less its mean over the disc, for each operation */
static int turn_reference(orienting *o, const atomdl_cutting *how)
{
    double mean = 0, count = 0, mid = 0.5 * (o->side - 1);
    atomdl_image src = picture(o->part, o->side, o->side);
    size_t n = pixels(o);
    int status = ATOMDL_OK;
    smooth_reference(o);
    for (size_t i = 0; i < n; i++)
        if (o->disc[i]) {
            mean = mean + o->reference[i];
            count = count + 1;
        }
    for (size_t i = 0; i < n; i++)
        o->part[i] = (float)(o->reference[i] - mean / most(1, count));
    double m[6];
    for (int g = 0; g < o->ops && !status; g++) {
        atomdl_image dst = picture(o->turned + n * (size_t)g, o->side, o->side);
        operation_map(m, how, g, 1, 0, mid, mid);
        status = atomdl_image_warp(&dst, &src, m, NULL, ATOMDL_CUBIC);
        for (size_t i = 0; i < n; i++)
            if (!o->disc[i]) dst.px[i] = 0;
    }
    return status;
}

static void choose_operations(u8 *op, orienting *o, const float *x, int n)
{
    size_t area = pixels(o);
    memset(o->sum, 0, area * (size_t)o->ops * sizeof *o->sum);
    for (int k = 0; k < n; k++) {
        const float *p = x + area * (size_t)k;
        float best = 0;
        for (int g = 0; g < o->ops; g++) {
            float c = atomdl_dot(p, o->turned + area * (size_t)g, area);
            if (g && !(c > best)) continue;
            best = c;
            op[k] = (u8)g;
        }
        double *sum = o->sum + area * op[k];
        for (size_t i = 0; i < area; i++) sum[i] = sum[i] + (double)p[i];
    }
}

/* reference <- the sum of all, each turned by its operation */
static int turn_sums(orienting *o, const atomdl_cutting *how)
{
    atomdl_image src = picture(o->part, o->side, o->side);
    double mid = 0.5 * (o->side - 1);
    size_t n = pixels(o);
    int status = ATOMDL_OK;
    atomdl_image dst = picture(o->turned, o->side, o->side);
    memset(o->reference, 0, n * sizeof *o->reference);
    double m[6];
    for (int g = 0; g < o->ops && !status; g++) {
        for (size_t i = 0; i < n; i++)
            o->part[i] = (float)o->sum[n * (size_t)g + i];
        operation_map(m, how, g, 0, 0, mid, mid);
        status = atomdl_image_warp(&dst, &src, m, NULL, ATOMDL_CUBIC);
        for (size_t i = 0; i < n; i++)
            o->reference[i] = o->reference[i] + (double)dst.px[i];
    }
    return status;
}

int atomdl_orient(uint8_t *op, const float *x, int n,
                  const atomdl_cutting *how, int rounds, atomdl_arena *arena)
{
    size_t mark = arena->used;
    double best = -1;
    int first = 0;
    if (!cutting_sound(how) || n < 0 || rounds < 1) return ATOMDL_EARG;
    orienting o;
    int status = orienting_new(&o, how, arena);
    arena->used = mark;
    if (status || !arena->base || !n) return status;
    size_t area = pixels(&o);
    if (!finite_floats(x, area * (size_t)n)) return ATOMDL_ENAN;
    disc_mask(&o);
    for (int k = 0; k < n; k++) {
        double d = dipole(&o, x + area * (size_t)k);
        if (!(d > best)) continue;
        best = d;
        first = k;
    }
    for (size_t i = 0; i < area; i++)
        o.reference[i] = (double)x[area * (size_t)first + i];
    for (int k = 0; k < rounds && !status; k++) {
        status = turn_reference(&o, how);
        choose_operations(op, &o, x, n);
        if (!status) status = turn_sums(&o, how);
    }
    return status;
}

void atomdl_class_means(double *mean, uint32_t *count, const float *x,
                        const int *label, int n, int d, int k)
{
    size_t width = (size_t)d;
    memset(mean, 0, width * (size_t)k * sizeof *mean);
    for (int c = 0; c < k; c++) {
        double *m = mean + width * (size_t)c, members = 0;
        for (int i = 0; i < n; i++) {
            if (label[i] != c) continue;
            members = members + 1;
            for (size_t j = 0; j < width; j++)
                m[j] = m[j] + (double)x[width * (size_t)i + j];
        }
        for (size_t j = 0; j < width; j++) m[j] = m[j] / most(1, members);
        if (count) count[c] = (u32)members;
    }
}

/* ---------- Fourier ------------------------------------------------------- */

typedef struct {
    int w, h, bins; /* of the padded plane */
    float *x, *re, *im; /* (h, w), (h, bins) twice */
} spectrum;

static int spectrum_new(spectrum *s, int w, int h, atomdl_arena *arena)
{
    s->w = atomdl_fft_size(w);
    s->h = atomdl_fft_size(h);
    if (!s->w || !s->h) return ATOMDL_EARG;
    s->bins = s->w / 2 + 1;
    s->x = atomdl_alloc(arena, (size_t)s->w * (size_t)s->h, sizeof(float));
    s->re = atomdl_alloc(arena, (size_t)s->bins * (size_t)s->h, sizeof(float));
    s->im = atomdl_alloc(arena, (size_t)s->bins * (size_t)s->h, sizeof(float));
    return atomdl_arena_status(arena);
}

/* s <- the transform of a plane, padded by reflection; window: less its mean,
   under a Hann window, padded by zeros */
static int spectrum_of(spectrum *s, const atomdl_image *image, int plane,
                       int window, atomdl_arena *arena)
{
    int w = image->w, h = image->h;
    atomdl_image dst = picture(s->x, s->w, s->h);
    double mean = 0;
    if (arena->base) {
        atomdl_image src =
            picture(image->px + (size_t)w * (size_t)h * (size_t)plane, w, h);
        int status = atomdl_image_check(&src);
        if (!status) status = atomdl_image_crop(&dst, &src, 0, 0);
        if (status) return status;
        for (int j = 0; window && j < h; j++)
            for (int i = 0; i < w; i++) mean = mean + (double)src.px[j * w + i];
        mean = mean / w / h;
        for (int j = 0; window && j < s->h; j++)
            for (int i = 0; i < s->w; i++) {
                double x = 2 * PI * (i + 0.5) / w, y = 2 * PI * (j + 0.5) / h;
                float *p = s->x + (size_t)j * (size_t)s->w + i;
                x = (1 - atomdl_cos(x)) * (1 - atomdl_cos(y)) / 4;
                *p = i < w && j < h ? (float)(((double)*p - mean) * x) : 0;
            }
    }
    return atomdl_fft_real(s->re, s->im, s->bins, s->x, s->w, s->w, s->h,
                           arena);
}

/* squared frequency of bin (i, j), cycles per pixel */
static double frequency2(const spectrum *s, int i, int j)
{
    double x = (double)i / s->w, y = (double)(2 * j > s->h ? j - s->h : j);
    y = y / s->h;
    return x * x + y * y;
}

/* b <- conj(a) b over its modulus + mean modulus, low-passed; returns what the
   highest point would be for equal images */
static double cross_spectrum(spectrum *b, const spectrum *a)
{
    size_t n = (size_t)b->bins * (size_t)b->h;
    double mean = 0, sum = 0;
    for (size_t k = 0; k < n; k++) {
        double ar = (double)a->re[k], ai = (double)a->im[k];
        double br = (double)b->re[k], bi = (double)b->im[k];
        b->re[k] = (float)(ar * br + ai * bi);
        b->im[k] = (float)(ar * bi - ai * br);
        mean = mean + atomdl_sqrt((ar * ar + ai * ai) * (br * br + bi * bi));
    }
    mean = mean / (double)n;
    for (size_t k = 0; k < n; k++) {
        int i = (int)(k % (size_t)b->bins), j = (int)(k / (size_t)b->bins);
        double r = (double)b->re[k], m = (double)b->im[k];
        double low = atomdl_exp(-frequency2(b, i, j) / 0.04);
        double modulus = atomdl_sqrt(r * r + m * m);
        double f = mean > 0 ? low / (modulus + mean) : 0;
        b->re[k] = (float)(f * r);
        b->im[k] = (float)(f * m);
        sum = sum + (i && 2 * i != b->w ? 2 : 1) * f * modulus;
    }
    return sum / b->w / b->h;
}

static double at_wrapped(const spectrum *s, int x, int y)
{
    x = (x % s->w + s->w) % s->w;
    y = (y % s->h + s->h) % s->h;
    return (double)s->x[(size_t)y * (size_t)s->w + (size_t)x];
}

/* top of the parabola through three heights, from the middle one */
static double vertex(double a, double b, double c)
{
    double curve = 2 * b - a - c;
    return curve > 0 ? 0.5 * (c - a) / curve : 0;
}

static void correlation_peak(double shift[2], double *height,
                             const spectrum *s, const double prior[2],
                             double reach)
{
    int r = (int)reach, x0 = (int)atomdl_floor(prior[0] + 0.5);
    int y0 = (int)atomdl_floor(prior[1] + 0.5), bx = x0, by = y0;
    double best = -FAR;
    for (int y = y0 - r; y <= y0 + r; y++)
        for (int x = x0 - r; x <= x0 + r; x++) {
            double dx = x - prior[0], dy = y - prior[1];
            if (dx * dx + dy * dy > reach * reach
                || !(at_wrapped(s, x, y) > best))
                continue;
            best = at_wrapped(s, x, y);
            bx = x;
            by = y;
        }
    *height = at_wrapped(s, bx, by);
    shift[0] = bx + vertex(at_wrapped(s, bx - 1, by), *height,
                           at_wrapped(s, bx + 1, by));
    shift[1] = by + vertex(at_wrapped(s, bx, by - 1), *height,
                           at_wrapped(s, bx, by + 1));
}

int atomdl_phase_shift(double shift[2], double *height, const atomdl_image *a,
                       const atomdl_image *b, int plane, const double prior[2],
                       double reach, atomdl_arena *arena)
{
    static const double REST[2] = {0, 0};
    size_t mark = arena->used;
    double full = 0, top = 0;
    if (!prior) prior = REST;
    if (a->w != b->w || a->h != b->h) return ATOMDL_ESHAPE;
    if (plane < 0 || plane >= a->c || plane >= b->c || !(reach >= 0)
        || !(reach <= a->w && reach <= a->h) || !(absolute(prior[0]) <= a->w)
        || !(absolute(prior[1]) <= a->h))
        return ATOMDL_EARG;
    spectrum s;
    int status = spectrum_new(&s, a->w, a->h, arena);
    spectrum t;
    if (!status) status = spectrum_new(&t, a->w, a->h, arena);
    if (!status) status = spectrum_of(&s, a, plane, 1, arena);
    if (!status) status = spectrum_of(&t, b, plane, 1, arena);
    if (!status && arena->base) full = cross_spectrum(&t, &s);
    if (!status)
        status = atomdl_fft_real_back(t.x, t.w, t.re, t.im, t.bins, t.w, t.h,
                                      arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    correlation_peak(shift, &top, &t, prior, reach);
    if (height) *height = full > 0 ? top / full : 0;
    return ATOMDL_OK;
}

/* keeps the frequencies below the cut-off */
static void low_pass(spectrum *s, const atomdl_subtraction *how)
{
    size_t n = (size_t)s->bins * (size_t)s->h;
    for (size_t k = 0; k < n; k++) {
        double f = frequency2(s, (int)(k % (size_t)s->bins),
                              (int)(k / (size_t)s->bins));
        double low = how->cutoff * (1 - how->edge);
        double high = how->cutoff * (1 + how->edge);
        f = atomdl_sqrt(f);
        double keep = f <= low ? 1 : 0;
        if (f > low && f < high)
            keep = 0.5 + 0.5 * atomdl_cos(PI * (f - low) / (high - low));
        s->re[k] = (float)(keep * (double)s->re[k]);
        s->im[k] = (float)(keep * (double)s->im[k]);
    }
}

/* thresholds below and above which pixels are labelled, of a scaled plane */
static void label_limits(double limit[2], const float *x, size_t n,
                         const atomdl_subtraction *how)
{
    double mean = 0, square = 0;
    limit[0] = how->low;
    limit[1] = how->high;
    if (!(how->sigmas > 0)) return;
    for (size_t i = 0; i < n; i++) mean = mean + (double)x[i];
    mean = mean / (double)n;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - mean;
        square = square + d * d;
    }
    square = how->sigmas * atomdl_sqrt(square / (double)n);
    limit[0] = mean - square;
    limit[1] = mean + square;
}

int atomdl_first_frame(uint8_t *label, float *smooth,
                       const atomdl_image *image, int plane,
                       const atomdl_subtraction *how, atomdl_arena *arena)
{
    size_t mark = arena->used, n = (size_t)image->w * (size_t)image->h;
    if (plane < 0 || plane >= image->c || !(how->cutoff > 0)
        || !(how->cutoff < 1) || !(how->edge >= 0 && how->edge < 1)
        || !is_finite(how->low) || !is_finite(how->high)
        || !(how->sigmas >= 0 && how->sigmas < 1e3))
        return ATOMDL_EARG;
    spectrum s;
    int status = spectrum_new(&s, image->w, image->h, arena);
    if (!status) status = spectrum_of(&s, image, plane, 0, arena);
    if (!status && arena->base) low_pass(&s, how);
    if (!status)
        status = atomdl_fft_real_back(s.x, s.w, s.re, s.im, s.bins, s.w, s.h,
                                      arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    for (int y = 0; y < image->h; y++) /* the padding goes */
        memmove(s.x + (size_t)y * (size_t)image->w,
                s.x + (size_t)y * (size_t)s.w,
                (size_t)image->w * sizeof *s.x);
    atomdl_image kept = picture(s.x, image->w, image->h);
    status = atomdl_image_normalise(&kept, ATOMDL_NORM_MINMAX);
    if (status) return status;
    double limit[2];
    label_limits(limit, s.x, n, how);
    for (size_t i = 0; i < n; i++)
        label[i] = (double)s.x[i] < limit[0] ? 1
                   : (double)s.x[i] > limit[1] ? 2 : 0;
    if (smooth) memcpy(smooth, s.x, n * sizeof *smooth);
    return ATOMDL_OK;
}

/* ---------- Lanes ---------------------------------------------------------

   The three loops that decide speed, with 8 or 16 numbers side by side: sums
   run in sequence within each lane, so that any vector width gives the same
   bits. Arrays are padded to multiples of LANES or GROUP and need no
   alignment. */

enum { LANES = 8, GROUP = 16, BLOCK = 64 };

typedef struct {
    /* c (8 rows, ld apart, 8 columns) += sum over t of a(t, row) b(t, column);
       a, b (BLOCK, 8) */
    void (*product)(double *c, size_t ld, const double *a, const double *b);
    /* row -= vj w + wj v, then p += nj row; entries from..n - 1 */
    void (*reflect)(double *row, double *p, const double *v, const double *w,
                    const double factor[3], int from, int n);
    /* squared distances d2 (GROUP) of c (d) to the columns of x (d, GROUP);
       gives up, 0, when weight d2 >= bound in all lanes */
    int (*distance)(double d2[GROUP], const double *x, const double *c, int d,
                    const double weight[GROUP], double bound);
} lanes;

#define ATOMDL_LANES_PASS
#define V_ISA plain
#define V_BYTES 8
#include "movie.c"
#ifdef SIMD_BASE
#define ATOMDL_LANES_PASS
#define V_ISA SIMD_BASE
#define V_BYTES 16
#include "movie.c"
#endif
#ifdef SIMD_WIDE
SIMD_AVX2
#define ATOMDL_LANES_PASS
#define V_ISA avx2
#define V_BYTES 32
#include "movie.c"
SIMD_END
SIMD_AVX512
#define ATOMDL_LANES_PASS
#define V_ISA avx512
#define V_BYTES 64
#include "movie.c"
SIMD_END
#endif

static const lanes *lanes_of(const atomdl_kernels *kernels)
{
    switch (kernels_bits(kernels)) {
#ifdef SIMD_WIDE
    case 512: return &lanes_avx512;
    case 256: return &lanes_avx2;
#endif
#ifdef SIMD_BASE
    case 128: return &SIMD_JOIN(lanes_, SIMD_BASE);
#endif
    default: return &lanes_plain;
    }
}

static int padded(int n)
{
    return (n + LANES - 1) / LANES * LANES;
}

static size_t grouped(int n)
{
    return ((size_t)n + GROUP - 1) / GROUP * GROUP;
}

/* ---------- Principal components: eigenvectors ----------------------------

   Householder vectors replace the rows of a, (n, ld), symmetric. Row k's turn
   comes when all earlier reflections have acted on it; each pass over the
   rows applies the last reflection and multiplies by the next one. */

typedef struct {
    int n, ld;
    double *a;            /* (n, ld) */
    double *diagonal, *off, *beta; /* (n) */
    double *p, *w;        /* (ld) */
    double *lu;           /* (4, n) */
    int *swap;            /* (n) */
} tridiagonal;

static int tridiagonal_new(tridiagonal *t, int n, atomdl_arena *arena)
{
    size_t m = (size_t)n, ld = (size_t)padded(n);
    t->n = n;
    t->ld = padded(n);
    t->a = doubles(arena, ld * ld); /* whole tiles */
    t->diagonal = doubles(arena, m);
    t->off = doubles(arena, m);
    t->beta = doubles(arena, m);
    t->p = doubles(arena, ld);
    t->w = doubles(arena, ld);
    t->lu = doubles(arena, 4 * m);
    t->swap = atomdl_alloc(arena, m, sizeof *t->swap);
    return atomdl_arena_status(arena);
}

/* row k <- the vector of the reflection that clears it beyond k + 1 */
static void reflection(tridiagonal *t, int k)
{
    double *v = t->a + (size_t)k * (size_t)t->ld;
    int m = t->n - k - 1;
    t->diagonal[k] = v[k];
    memset(v, 0, (size_t)(k + 1) * sizeof *v);
    t->beta[k] = t->off[k] = 0;
    if (!m) return;
    v += k + 1;
    t->off[k] = v[0];
    double rest = dot(v + 1, v + 1, m - 1);
    if (!(rest > 0)) {
        memset(v, 0, (size_t)m * sizeof *v);
        return;
    }
    double norm = atomdl_sqrt(v[0] * v[0] + rest);
    if (v[0] > 0) norm = -norm;
    t->off[k] = norm;
    v[0] = v[0] - norm;
    t->beta[k] = 2 / (v[0] * v[0] + rest);
}

static void tridiagonalise(tridiagonal *t)
{
    const lanes *l = lanes_of(NULL);
    size_t ld = (size_t)t->ld;
    const double *last = t->w; /* the vector of the last reflection */
    memset(t->w, 0, ld * sizeof *t->w);
    double factor[3];
    for (int k = 0; k < t->n; k++) {
        double *v = t->a + (size_t)k * ld;
        int from = (k + 1) / LANES * LANES;
        memset(t->p, 0, ld * sizeof *t->p);
        factor[0] = last[k];
        factor[1] = t->w[k];
        factor[2] = 0;
        l->reflect(v, t->p, last, t->w, factor, k / LANES * LANES, t->ld);
        reflection(t, k);
        memset(t->p, 0, ld * sizeof *t->p);
        for (int j = k + 1; j < t->n; j++) {
            factor[0] = last[j];
            factor[1] = t->w[j];
            factor[2] = v[j];
            l->reflect(t->a + (size_t)j * ld, t->p, last, t->w, factor, from,
                       t->ld);
        }
        double s = 0.5 * t->beta[k] * t->beta[k] * dot(t->p, v, t->n);
        for (int i = 0; i < t->ld; i++)
            t->w[i] = i > k ? t->beta[k] * t->p[i] - s * v[i] : 0;
        last = v;
    }
}

/* eigenvalues below x (Sturm) */
static int below(const tridiagonal *t, double x, double tiny)
{
    double q = 1;
    int count = 0;
    for (int i = 0; i < t->n; i++) {
        double e = i ? t->off[i - 1] : 0;
        q = t->diagonal[i] - x - e * e / q;
        if (absolute(q) < tiny) q = -tiny;
        count += q < 0;
    }
    return count;
}

/* value (k) <- the greatest eigenvalues, falling, by bisection */
static double eigenvalues(double *value, const tridiagonal *t, int k)
{
    double top = 0;
    int i;
    for (i = 0; i < t->n; i++)
        top = most(top, absolute(t->diagonal[i]) + absolute(t->off[i])
                            + (i ? absolute(t->off[i - 1]) : 0));
    double tiny = most(0x1p-104 * top, 0x1p-1000);
    double high;
    for (i = 0, high = top; i < k; i++) {
        double low = -top;
        for (int round = 0; round < 70; round++) {
            double mid = 0.5 * (low + high);
            if (!(mid > low && mid < high)) break;
            if (below(t, mid, tiny) <= t->n - 1 - i) low = mid;
            else high = mid;
        }
        value[i] = high = 0.5 * (low + high);
    }
    return top;
}

/* lu <- T - x, Gaussian elimination with row exchange */
static void factorise(tridiagonal *t, double x, double tiny)
{
    double *l = t->lu, *d = l + t->n, *u = d + t->n, *uu = u + t->n;
    d[0] = t->diagonal[0] - x;
    u[0] = t->off[0];
    int i;
    for (i = 0; i + 1 < t->n; i++) {
        double b = t->off[i], dn = t->diagonal[i + 1] - x, un = t->off[i + 1];
        uu[i] = 0;
        t->swap[i] = absolute(b) > absolute(d[i]);
        if (t->swap[i]) {
            l[i] = d[i] / b;
            double q = u[i];
            d[i] = b;
            u[i] = dn;
            uu[i] = un;
            d[i + 1] = q - l[i] * dn;
            u[i + 1] = -l[i] * un;
        } else {
            if (absolute(d[i]) < tiny) d[i] = tiny;
            l[i] = b / d[i];
            d[i + 1] = dn - l[i] * u[i];
            u[i + 1] = un;
        }
    }
    if (absolute(d[i]) < tiny) d[i] = tiny;
}

static void solve(const tridiagonal *t, double *x)
{
    const double *l = t->lu, *d = l + t->n, *u = d + t->n, *uu = u + t->n;
    for (int i = 0; i + 1 < t->n; i++) {
        if (t->swap[i]) {
            double q = x[i];
            x[i] = x[i + 1];
            x[i + 1] = q;
        }
        x[i + 1] = x[i + 1] - l[i] * x[i];
    }
    for (int i = t->n - 1; i >= 0; i--) {
        if (i + 1 < t->n) x[i] = x[i] - u[i] * x[i + 1];
        if (i + 2 < t->n) x[i] = x[i] - uu[i] * x[i + 2];
        x[i] = x[i] / d[i];
    }
}

/* scaled to length 1; 0: there is nothing to scale */
static int unit(double *x, int n)
{
    double top = 0;
    for (int i = 0; i < n; i++) top = most(top, absolute(x[i]));
    if (!(top > 0)) return 0;
    for (int i = 0; i < n; i++) x[i] = x[i] / top;
    double s = atomdl_sqrt(dot(x, x, n));
    for (int i = 0; i < n; i++) x[i] = x[i] / s;
    return 1;
}

/* x loses its parts along `count` unit vectors */
static void orthogonal(double *x, const double *vector, int n, int count)
{
    for (int j = 0; j < count; j++) {
        const double *v = vector + (size_t)j * (size_t)n;
        double s = dot(x, v, n);
        for (int i = 0; i < n; i++) x[i] = x[i] - s * v[i];
    }
}

/* vector (k, n) <- eigenvectors of T by inverse iteration, then of the matrix
   by the reflections; orthogonal also where eigenvalues are equal */
static void eigenvectors(double *vector, const double *value, tridiagonal *t,
                         int k, double top)
{
    double tiny = most(0x1p-53 * top, 0x1p-1000);
    atomdl_rng rng = atomdl_rng_seed(0);
    int n = t->n;
    for (int j = 0; j < k; j++) {
        double *x = vector + (size_t)j * (size_t)n;
        factorise(t, value[j], tiny);
        for (int i = 0; i < n; i++) x[i] = atomdl_rng_uniform64(&rng) - 0.5;
        for (int round = 0; round < 4; round++) {
            solve(t, x);
            unit(x, n);
            orthogonal(x, vector, n, j);
            orthogonal(x, vector, n, j);
            if (!unit(x, n)) /* all of it lay in the earlier ones */
                for (int i = 0; i < n; i++) x[i] = atomdl_rng_uniform64(&rng);
        }
    }
    for (int j = 0; j < k; j++)
        for (int i = n - 1; i >= 0; i--) {
            double *x = vector + (size_t)j * (size_t)n;
            const double *v = t->a + (size_t)i * (size_t)t->ld;
            double s = t->beta[i] * dot(v, x, n);
            for (int q = i; q < n; q++) x[q] = x[q] - s * v[q];
        }
}

/* ---------- Principal components ------------------------------------------ */

typedef struct {
    const float *x; /* (n, d) */
    int n, d, gram; /* gram: rows against rows, else columns */
    double *panel;  /* (ld / 8, BLOCK, 8) */
} covariance;

/* panel <- BLOCK samples from `first` on, centred; beyond the last: 0 */
static void fill_panels(const covariance *c, const double *mean, int side,
                        int first)
{
    int samples = c->gram ? c->d : c->n;
    for (int t = 0; t < BLOCK; t++)
        for (int i = 0; i < padded(side); i++) {
            int s = first + t, row = c->gram ? i : s, column = c->gram ? s : i;
            double v = 0;
            if (s < samples && i < side)
                v = (double)c->x[(size_t)row * (size_t)c->d + (size_t)column]
                    - mean[column];
            c->panel[((size_t)(i / LANES) * BLOCK + (size_t)t) * LANES
                     + (size_t)(i % LANES)] = v;
        }
}

/* t->a <- sums of products of centred columns (or rows); each entry one sum in
   sequence */
static void fill_covariance(tridiagonal *t, const covariance *c,
                            const double *mean)
{
    const lanes *l = lanes_of(NULL);
    size_t ld = (size_t)t->ld, panels = ld / LANES;
    int samples = c->gram ? c->d : c->n;
    memset(t->a, 0, ld * ld * sizeof *t->a);
    for (int s = 0; s < samples; s += BLOCK) {
        fill_panels(c, mean, t->n, s);
        for (size_t i = 0; i < panels; i++)
            for (size_t j = i; j < panels; j++)
                l->product(t->a + LANES * (i * ld + j), ld,
                           c->panel + i * BLOCK * LANES,
                           c->panel + j * BLOCK * LANES);
    }
    for (size_t i = 0; i < ld; i++)
        for (size_t j = 0; j < i; j++) t->a[i * ld + j] = t->a[j * ld + i];
}

static void fill_mean(double *mean, const float *x, int n, int d)
{
    size_t width = (size_t)d;
    memset(mean, 0, width * sizeof *mean);
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t j = 0; j < width; j++)
            mean[j] = mean[j] + (double)x[i * width + j];
    for (size_t j = 0; j < width; j++) mean[j] = mean[j] / n;
}

/* v (d) <- the centred rows weighted by u (n) */
static void from_gram(double *v, const covariance *c, const double *mean,
                      const double *u)
{
    size_t width = (size_t)c->d;
    memset(v, 0, width * sizeof *v);
    for (int i = 0; i < c->n; i++)
        for (size_t j = 0; j < width; j++)
            v[j] = v[j]
                   + u[i] * ((double)c->x[(size_t)i * width + j] - mean[j]);
}

static void fix_sign(double *v, int n)
{
    int top = 0;
    for (int i = 1; i < n; i++)
        if (absolute(v[i]) > absolute(v[top])) top = i;
    for (int i = 0; i < n && v[top] < 0; i++)
        if (i != top) v[i] = -v[i];
    v[top] = absolute(v[top]);
}

/* how many components make up the fraction */
static int enough(const atomdl_pca *pca, double fraction, int most_of_them)
{
    double sum = 0;
    int k = 0;
    while (k < most_of_them && (!k || sum < fraction * pca->total))
        sum = sum + pca->value[k++];
    return k;
}

static void pca_run(atomdl_pca *pca, tridiagonal *t, const covariance *c,
                    double *small, double fraction, int keep)
{
    fill_mean(pca->mean, c->x, c->n, c->d);
    fill_covariance(t, c, pca->mean);
    for (int i = 0; i < t->n; i++)
        pca->total = pca->total + t->a[(size_t)i * (size_t)(t->ld + 1)];
    tridiagonalise(t);
    double top = eigenvalues(pca->value, t, keep);
    pca->k = enough(pca, fraction, keep);
    eigenvectors(c->gram ? small : pca->vector, pca->value, t, pca->k, top);
    for (int i = 0; i < pca->k; i++) {
        double *v = pca->vector + (size_t)i * (size_t)c->d;
        if (c->gram)
            from_gram(v, c, pca->mean, small + (size_t)i * (size_t)c->n);
        if (c->gram) orthogonal(v, pca->vector, c->d, i);
        if (!unit(v, c->d)) v[i] = 1; /* nothing varies along it */
        fix_sign(v, c->d);
        pca->value[i] = most(0, pca->value[i]) / (c->n - 1);
    }
    pca->total = pca->total / (c->n - 1);
}

int atomdl_pca_fit(atomdl_pca *pca, const float *x, int n, int d,
                   double fraction, int most_of_them, atomdl_arena *arena)
{
    memset(pca, 0, sizeof *pca);
    if (n < 2 || d < 1 || d > 1 << 16 || least_int(n, d) > 1 << 14
        || most_of_them < 1 || most_of_them > ATOMDL_COMPONENTS
        || !(fraction > 0 && fraction <= 1))
        return ATOMDL_EARG;
    int keep = least_int(most_of_them, least_int(n - 1, d));
    pca->d = d;
    pca->k = keep;
    pca->mean = doubles(arena, (size_t)d);
    pca->value = doubles(arena, (size_t)keep);
    pca->vector = doubles(arena, (size_t)keep * (size_t)d);
    size_t mark = arena->used;
    covariance c;
    c.x = x;
    c.n = n;
    c.d = d;
    c.gram = n < d;
    tridiagonal t;
    int status = tridiagonal_new(&t, c.gram ? n : d, arena);
    c.panel = doubles(arena, (size_t)t.ld * BLOCK);
    double *small = doubles(arena, (size_t)keep * (size_t)t.n);
    if (!status) status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    if (!finite_floats(x, (size_t)n * (size_t)d)) return ATOMDL_ENAN;
    pca_run(pca, &t, &c, small, fraction, keep);
    return ATOMDL_OK;
}

int atomdl_pca_project(double *y, const atomdl_pca *pca, const float *x,
                       int n, atomdl_arena *arena)
{
    const lanes *l = lanes_of(NULL);
    size_t d = (size_t)pca->d, k = (size_t)padded(pca->k), mark = arena->used;
    if (n < 0) return ATOMDL_EARG;
    double *sum = doubles(arena, LANES * k);
    double *rows = doubles(arena, BLOCK * LANES);
    double *columns = doubles(arena, BLOCK * LANES);
    int status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    if (!finite_floats(x, (size_t)n * d)) return ATOMDL_ENAN;
    for (size_t first = 0; first < (size_t)n; first += LANES) {
        memset(sum, 0, LANES * k * sizeof *sum);
        for (size_t from = 0; from < d; from += BLOCK) {
            for (size_t i = 0; i < BLOCK * LANES; i++) {
                size_t row = first + i % LANES, p = from + i / LANES;
                rows[i] = row < (size_t)n && p < d
                              ? (double)x[row * d + p] - pca->mean[p] : 0;
            }
            for (size_t q = 0; q < k; q += LANES) {
                for (size_t i = 0; i < BLOCK * LANES; i++) {
                    size_t v = q + i % LANES, p = from + i / LANES;
                    columns[i] = v < (size_t)pca->k && p < d
                                     ? pca->vector[v * d + p] : 0;
                }
                l->product(sum + q, k, rows, columns);
            }
        }
        for (size_t i = 0; i < LANES && first + i < (size_t)n; i++)
            for (size_t j = 0; j < (size_t)pca->k; j++)
                y[(first + i) * (size_t)pca->k + j] = sum[i * k + j];
    }
    return ATOMDL_OK;
}

/* ---------- Classes: k-means ---------------------------------------------- */

static int rows_sound(const double *x, int n, int d, int k,
                      const atomdl_arena *arena)
{
    if (n < 1 || d < 1 || d > 1024 || k < 1 || k > n || k > ATOMDL_KINDS)
        return ATOMDL_EARG;
    for (size_t i = 0; arena->base && i < (size_t)n * (size_t)d; i++) {
        if (!is_finite(x[i])) return ATOMDL_ENAN;
        if (absolute(x[i]) > 0x1p300) return ATOMDL_EARG; /* squares add up */
    }
    return ATOMDL_OK;
}

typedef struct {
    const double *x; /* (n, d) */
    int n, d, k;
    double *centre;  /* (groups of k, d, GROUP) */
    double *near;    /* (n) squared distance to the nearest centre */
    int *label;      /* (n) */
    u32 *members;    /* (k) */
} means;

static const double *row_of(const means *m, int i)
{
    return m->x + (size_t)i * (size_t)m->d;
}

static double *centre_of(const means *m, int c)
{
    return m->centre + c / GROUP * GROUP * m->d + c % GROUP;
}

static void set_centre(means *m, int c, int row)
{
    for (int j = 0; j < m->d; j++)
        centre_of(m, c)[j * GROUP] = row_of(m, row)[j];
}

/* near, label <- with respect to centres from..to - 1 as well */
static void nearest_centres(means *m, int from, int to)
{
    static const double ONE[GROUP] = {1, 1, 1, 1, 1, 1, 1, 1,
                                      1, 1, 1, 1, 1, 1, 1, 1};
    const lanes *l = lanes_of(NULL);
    double d2[GROUP];
    int first;
    for (int i = 0; i < m->n; i++) {
        if (!from) m->near[i] = FAR;
        for (int c = from; c < to; c = first + GROUP) {
            first = c / GROUP * GROUP;
            if (!l->distance(d2, m->centre + first * m->d, row_of(m, i), m->d,
                             ONE, m->near[i]))
                continue;
            for (; c < to && c < first + GROUP; c++)
                if (d2[c - first] < m->near[i]) {
                    m->near[i] = d2[c - first];
                    m->label[i] = c;
                }
        }
    }
}

static double inertia_of(const means *m)
{
    double s = 0;
    for (int i = 0; i < m->n; i++) s = s + m->near[i];
    return s;
}

/* first centre uniform, each next one with probability ~ squared distance */
static void scatter_centres(means *m, atomdl_rng *rng)
{
    set_centre(m, 0, (int)atomdl_rng_below(rng, (u32)m->n));
    nearest_centres(m, 0, 1);
    int i;
    for (int c = 1; c < m->k; c++) {
        double at = atomdl_rng_uniform64(rng) * inertia_of(m);
        for (i = 0; i + 1 < m->n && !(at < m->near[i]); i++)
            at = at - m->near[i];
        set_centre(m, c, i);
        nearest_centres(m, c, c + 1);
    }
}

/* centres <- means of their rows; an empty one takes the farthest row */
static void move_centres(means *m)
{
    memset(m->members, 0, (size_t)m->k * sizeof *m->members);
    memset(m->centre, 0, grouped(m->k) * (size_t)m->d * sizeof *m->centre);
    for (int i = 0; i < m->n; i++) {
        double *centre = centre_of(m, m->label[i]);
        m->members[m->label[i]]++;
        for (int j = 0; j < m->d; j++)
            centre[j * GROUP] = centre[j * GROUP] + row_of(m, i)[j];
    }
    for (int c = 0; c < m->k; c++) {
        double *centre = centre_of(m, c);
        int far = 0;
        for (int j = 0; m->members[c] && j < m->d; j++)
            centre[j * GROUP] = centre[j * GROUP] / m->members[c];
        if (m->members[c]) continue;
        for (int i = 1; i < m->n; i++)
            if (m->near[i] > m->near[far]) far = i;
        m->near[far] = 0;
        set_centre(m, c, far);
    }
}

/* Lloyd's algorithm until the inertia no longer falls */
static double settle_centres(means *m)
{
    double inertia = inertia_of(m), last;
    int round = 0;
    do {
        last = inertia;
        move_centres(m);
        nearest_centres(m, 0, m->k);
        inertia = inertia_of(m);
    } while (inertia < last && ++round < 300);
    return inertia;
}

int atomdl_kmeans(int *label, double *centre, double *inertia, const double *x,
                  int n, int d, int k, int starts, const atomdl_rng *rng,
                  atomdl_arena *arena)
{
    size_t mark = arena->used;
    double best = 0;
    int status = rows_sound(x, n, d, k, arena);
    if (status || starts < 1) return status ? status : ATOMDL_EARG;
    means m;
    m.x = x;
    m.n = n;
    m.d = d;
    m.k = k;
    m.centre = doubles(arena, (size_t)d * grouped(k));
    m.near = doubles(arena, (size_t)n);
    m.label = atomdl_alloc(arena, (size_t)n, sizeof *m.label);
    m.members = atomdl_alloc(arena, (size_t)k, sizeof *m.members);
    status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    for (int s = 0; s < starts; s++) {
        atomdl_rng draw = atomdl_rng_split(rng, (u64)s);
        memset(m.centre, 0, (size_t)d * grouped(k) * sizeof *m.centre);
        scatter_centres(&m, &draw);
        double now = settle_centres(&m);
        if (s && !(now < best)) continue;
        best = now;
        memcpy(label, m.label, (size_t)n * sizeof *label);
        for (int c = 0; c < k; c++)
            for (int j = 0; j < d; j++)
                centre[c * d + j] = centre_of(&m, c)[j * GROUP];
    }
    *inertia = best;
    return is_finite(best) ? ATOMDL_OK : ATOMDL_ENAN;
}

/* ---------- Classes: Gaussian mixtures ------------------------------------

   y = F (x - mean) has unit covariance: log p = bias - |y|^2 / 2. Rows come
   LANES at a time, transposed. */

typedef struct {
    double *x, *y;  /* (d, LANES) rows less the mean, whitened */
    double *log_p;  /* (k, LANES) */
} batch;

static int batch_new(batch *b, int d, int k, atomdl_arena *arena)
{
    b->x = doubles(arena, (size_t)d * LANES);
    b->y = doubles(arena, (size_t)d * LANES);
    b->log_p = doubles(arena, (size_t)k * LANES);
    return atomdl_arena_status(arena);
}

static size_t spread_size(const atomdl_gmm *g)
{
    return (size_t)g->d * (g->full ? (size_t)g->d : 1);
}

/* b->x <- rows first.. less the mean of class c; past the last: the last */
static void centre_rows(const batch *b, const atomdl_gmm *g, const double *x,
                        int n, int first, int c)
{
    const double *mean = g->mean + c * g->d;
    for (int q = 0; q < LANES; q++) {
        int row = least_int(first + q, n - 1);
        const double *from = x + (size_t)row * (size_t)g->d;
        for (int i = 0; i < g->d; i++) b->x[i * LANES + q] = from[i] - mean[i];
    }
}

/* b->log_p <- log(weight p(x | class)) of LANES rows */
static void log_densities(const batch *b, const atomdl_gmm *g, const double *x,
                          int n, int first)
{
    for (int c = 0; c < g->k; c++) {
        const double *factor = g->factor + spread_size(g) * (size_t)c;
        double s[LANES] = {0};
        centre_rows(b, g, x, n, first, c);
        double t[LANES];
        for (int i = 0; i < g->d; i++) {
            const double *f = g->full ? factor + i * g->d : factor;
            const double *v = b->x;
            for (int q = 0; q < LANES; q++) t[q] = 0;
            for (int j = g->full ? 0 : i; j <= i; j++)
                for (int q = 0; q < LANES; q++)
                    t[q] = t[q] + f[j] * v[j * LANES + q];
            for (int q = 0; q < LANES; q++) s[q] = s[q] + t[q] * t[q];
        }
        for (int q = 0; q < LANES; q++)
            b->log_p[c * LANES + q] = g->bias[c] - 0.5 * s[q];
    }
}

/* row q of the batch: posterior (k) (may be NULL) and the log of the sum */
static double share(double *posterior, const batch *b, int k, int q)
{
    double top = b->log_p[q], sum = 0;
    for (int c = 1; c < k; c++) top = most(top, b->log_p[c * LANES + q]);
    for (int c = 0; c < k; c++) {
        double e = atomdl_exp(b->log_p[c * LANES + q] - top);
        if (posterior) posterior[c] = e;
        sum = sum + e;
    }
    for (int c = 0; posterior && c < k; c++) posterior[c] = posterior[c] / sum;
    return top + atomdl_log(sum);
}

/* a (d, d) <- the inverse of its lower Cholesky factor; returns the sum of the
   logarithms of the latter's diagonal. Pivots are kept above `least_pivot`. */
static double invert_factor(double *a, int d, double least_pivot)
{
    double logs = 0;
    for (int i = 0; i < d; i++)
        for (int j = 0; j <= i; j++) {
            double s = a[i * d + j] - dot(a + i * d, a + j * d, j);
            a[i * d + j] = i > j ? s / a[j * d + j]
                                 : atomdl_sqrt(most(s, least_pivot));
        }
    for (int i = 0; i < d; i++) { /* forward substitution, column by column */
        double pivot = a[i * d + i];
        logs = logs + atomdl_log(pivot);
        for (int j = 0; j < i; j++) {
            double s = 0;
            for (int k = j; k < i; k++) s = s + a[i * d + k] * a[k * d + j];
            a[i * d + j] = -s / pivot;
        }
        a[i * d + i] = 1 / pivot;
        for (int j = i + 1; j < d; j++) a[i * d + j] = 0;
    }
    return logs;
}

/* factor and bias from weight and spread */
static void prepare(atomdl_gmm *g, double reg)
{
    size_t n = spread_size(g);
    memcpy(g->factor, g->spread, n * (size_t)g->k * sizeof *g->factor);
    for (int c = 0; c < g->k; c++) {
        double *f = g->factor + n * (size_t)c, logs = 0;
        if (g->full) logs = invert_factor(f, g->d, reg);
        for (int j = 0; !g->full && j < g->d; j++) {
            double s = atomdl_sqrt(f[j]);
            logs = logs + atomdl_log(s);
            f[j] = 1 / s;
        }
        g->bias[c] = atomdl_log(g->weight[c]) - logs
                     - 0.5 * g->d * atomdl_log(2 * PI);
    }
}

/* sum (spread of one class) += r v v^T or r v^2 */
static void add_spread(double *sum, const double *v, double r, int d, int full)
{
    for (int i = 0; i < d; i++) {
        double t = r * v[i];
        if (!full) sum[i] = sum[i] + t * v[i];
        for (int j = 0; full && j <= i; j++)
            sum[i * d + j] = sum[i * d + j] + t * v[j];
    }
}

/* weights, means and spreads of class c from p (n, k); v: (d) scratch */
static void update_class(atomdl_gmm *g, int c, const double *x, int n,
                         const double *p, double *v, double reg)
{
    double *mean = g->mean + c * g->d, sum = 0;
    double *spread = g->spread + spread_size(g) * (size_t)c;
    size_t d = (size_t)g->d;
    int dim = g->d;
    memset(mean, 0, d * sizeof *mean);
    memset(spread, 0, spread_size(g) * sizeof *spread);
    for (int i = 0; i < n; i++) {
        double r = p[(size_t)i * (size_t)g->k + (size_t)c];
        sum = sum + r;
        for (int j = 0; r > 0 && j < dim; j++)
            mean[j] = mean[j] + r * x[(size_t)i * d + (size_t)j];
    }
    sum = sum + 10 * 0x1p-52; /* as scikit-learn: no class vanishes */
    for (int j = 0; j < dim; j++) mean[j] = mean[j] / sum;
    for (int i = 0; i < n; i++) {
        double r = p[(size_t)i * (size_t)g->k + (size_t)c];
        if (!(r > 0)) continue;
        for (int j = 0; j < dim; j++)
            v[j] = x[(size_t)i * d + (size_t)j] - mean[j];
        add_spread(spread, v, r, dim, g->full);
    }
    for (int i = 0; i < dim; i++) {
        double *s = g->full ? spread + i * dim : spread;
        for (int j = g->full ? 0 : i; j <= i; j++) s[j] = s[j] / sum;
        s[i] = s[i] + reg;
        for (int j = 0; g->full && j < i; j++) spread[j * dim + i] = s[j];
    }
    g->weight[c] = sum / n;
}

static int gmm_new(atomdl_gmm *g, atomdl_arena *arena)
{
    size_t k = (size_t)g->k;
    g->weight = doubles(arena, k);
    g->mean = doubles(arena, k * (size_t)g->d);
    g->spread = doubles(arena, k * spread_size(g));
    g->factor = doubles(arena, k * spread_size(g));
    g->bias = doubles(arena, k);
    return atomdl_arena_status(arena);
}

/* posteriors of all rows; returns the mean log-likelihood */
static double expect(double *p, const batch *b, const atomdl_gmm *g,
                     const double *x, int n)
{
    double sum = 0;
    for (int first = 0; first < n; first += LANES) {
        log_densities(b, g, x, n, first);
        for (int q = 0; q < LANES && first + q < n; q++)
            sum = sum + share(p + (size_t)(first + q) * (size_t)g->k, b, g->k,
                              q);
    }
    return sum / n;
}

static void gmm_run(atomdl_gmm *g, double *p, const batch *b, const double *x,
                    int n, double reg, double tolerance, int rounds)
{
    double last = -FAR, d = g->d;
    for (g->rounds = 0; g->rounds < rounds;) {
        for (int c = 0; c < g->k; c++) update_class(g, c, x, n, p, b->y, reg);
        prepare(g, reg);
        g->mean_log = expect(p, b, g, x, n);
        g->rounds++;
        if (!(g->mean_log - last >= tolerance)) break;
        last = g->mean_log;
    }
    double parameters = g->k * (1 + d + (g->full ? d * (d + 1) / 2 : d)) - 1;
    g->bic = -2 * g->mean_log * n + parameters * atomdl_log(n);
}

int atomdl_gmm_fit(atomdl_gmm *gmm, const double *x, int n, int d,
                   const int *label, int k, int full, double reg,
                   double tolerance, int rounds, atomdl_arena *arena)
{
    int status = rows_sound(x, n, d, k, arena);
    memset(gmm, 0, sizeof *gmm);
    if (status) return status;
    if (!(reg > 0 && reg < FAR) || !(tolerance >= 0) || rounds < 1)
        return ATOMDL_EARG;
    gmm->k = k;
    gmm->d = d;
    gmm->full = full != 0;
    status = gmm_new(gmm, arena);
    size_t mark = arena->used;
    batch b;
    if (!status) status = batch_new(&b, d, k, arena);
    double *p = doubles(arena, (size_t)n * (size_t)k);
    if (!status) status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    memset(p, 0, (size_t)n * (size_t)k * sizeof *p);
    for (int i = 0; i < n; i++) {
        if (label[i] < 0 || label[i] >= k) return ATOMDL_EARG;
        p[(size_t)i * (size_t)k + (size_t)label[i]] = 1;
    }
    gmm_run(gmm, p, &b, x, n, reg, tolerance, rounds);
    return is_finite(gmm->mean_log) ? ATOMDL_OK : ATOMDL_ENAN;
}

int atomdl_gmm_classify(double *density, double *posterior, int *label,
                        const atomdl_gmm *gmm, const double *x, int n,
                        atomdl_arena *arena)
{
    size_t mark = arena->used, k = (size_t)gmm->k;
    if (n < 0) return ATOMDL_EARG;
    batch b;
    int status = batch_new(&b, gmm->d, gmm->k, arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    if (!finite_all(x, (size_t)n * (size_t)gmm->d)) return ATOMDL_ENAN;
    for (int first = 0; first < n; first += LANES) {
        log_densities(&b, gmm, x, n, first);
        for (int q = 0; q < LANES && first + q < n; q++) {
            size_t row = (size_t)(first + q);
            int best = 0;
            for (int c = 0; c < gmm->k; c++) {
                double l = b.log_p[c * LANES + q];
                if (density)
                    density[row * k + (size_t)c] = l
                        - atomdl_log(gmm->weight[c]);
                if (l > b.log_p[best * LANES + q]) best = c;
            }
            if (posterior) share(posterior + row * k, &b, gmm->k, q);
            if (label) label[row] = best;
        }
    }
    return ATOMDL_OK;
}

/* ---------- Classes: Ward's hierarchy -------------------------------------

   Clusters are centroids with sizes; two of sizes a, b lie at squared distance
   2 a b/(a + b) |difference|^2 (of single rows: their own distance, as SciPy).
   Centroids stand in blocks of GROUP, transposed; a merge fills one place and
   moves the last cluster into the other. */

typedef struct {
    int d, live;
    double *x;    /* (blocks, d, GROUP) */
    double *size; /* (blocks * GROUP); 0: no cluster */
    u32 *id;      /* of the cluster in each place: a row of it */
    u32 *place;   /* (n) of each cluster */
    double *c;    /* (d) */
    u32 *chain;   /* (n) ids */
} hierarchy;

static int hierarchy_new(hierarchy *h, int n, int d, atomdl_arena *arena)
{
    size_t room = grouped(n);
    h->d = d;
    h->live = n;
    h->x = doubles(arena, room * (size_t)d);
    h->size = doubles(arena, room);
    h->id = atomdl_alloc(arena, room, sizeof *h->id);
    h->place = atomdl_alloc(arena, room, sizeof *h->place);
    h->c = doubles(arena, (size_t)d);
    h->chain = atomdl_alloc(arena, room, sizeof *h->chain);
    return atomdl_arena_status(arena);
}

static double *centroid(const hierarchy *h, u32 place)
{
    return h->x + (size_t)(place / GROUP) * (size_t)h->d * GROUP
           + place % GROUP;
}

/* nearest cluster to that of id; `last` (UINT32_MAX: none) wins ties, then the
   first place. *d2 <- squared distance. */
static u32 nearest_cluster(double *d2, hierarchy *h, const lanes *l, u32 id,
                           u32 last)
{
    u32 self = h->place[id], best = UINT32_MAX;
    double bound = FAR, own = h->size[self];
    const double *from = centroid(h, self);
    int blocks = (h->live + GROUP - 1) / GROUP;
    for (int j = 0; j < h->d; j++) h->c[j] = from[j * GROUP];
    double r[GROUP], w[GROUP];
    for (int j = -1; j < blocks; j++) { /* first the block of the last one */
        u32 p = (u32)(j < 0 ? 0 : j) * GROUP;
        if (j < 0 && last == UINT32_MAX) continue;
        if (j < 0) p = h->place[last] / GROUP * GROUP;
        for (int q = 0; q < GROUP; q++)
            w[q] = 2 * own * h->size[p + (u32)q] / (own + h->size[p + (u32)q]);
        if (!l->distance(r, h->x + (size_t)p * (size_t)h->d, h->c, h->d, w,
                         bound))
            continue;
        for (int q = 0; q < GROUP; q++) {
            u32 at = p + (u32)q;
            double s = w[q] * r[q];
            if (at >= (u32)h->live || at == self || !(s < bound)) continue;
            if (j < 0 && h->id[at] != last) continue;
            bound = s;
            best = h->id[at];
        }
    }
    *d2 = bound;
    return best;
}

/* cluster b takes in a; the last cluster moves to a's place */
static void join(hierarchy *h, u32 a, u32 b)
{
    u32 pa = h->place[a], pb = h->place[b], last = (u32)--h->live;
    double *ca = centroid(h, pa), *cb = centroid(h, pb);
    double na = h->size[pa], nb = h->size[pb];
    for (int j = 0; j < h->d * GROUP; j += GROUP)
        cb[j] = (na * ca[j] + nb * cb[j]) / (na + nb);
    h->size[pb] = na + nb;
    double *cl = centroid(h, last);
    for (int j = 0; j < h->d * GROUP; j += GROUP) ca[j] = cl[j];
    h->size[pa] = h->size[last];
    h->id[pa] = h->id[last];
    h->place[h->id[pa]] = pa;
}

/* merge (n - 1) <- clusters by one of their rows, in the order of the chain */
static void chain_merges(atomdl_merge *merge, hierarchy *h, int n)
{
    const lanes *l = lanes_of(NULL);
    double d2;
    int length = 0;
    for (int k = 0; k < n - 1; k++) {
        if (!length) h->chain[length++] = h->id[0];
        u32 a, b;
        for (;;) {
            a = h->chain[length - 1];
            b = nearest_cluster(&d2, h, l, a,
                                length > 1 ? h->chain[length - 2] : UINT32_MAX);
            if (length > 1 && b == h->chain[length - 2]) break;
            h->chain[length++] = b;
        }
        length -= 2;
        merge[k].a = a;
        merge[k].b = b;
        merge[k].height = atomdl_sqrt(d2);
        join(h, a, b);
    }
}

static u32 root_of(u32 *parent, u32 i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

/* by rising height, clusters numbered as SciPy does. parent (n), name (n) */
static void number_merges(atomdl_merge *merge, atomdl_merge *sorted,
                          const u32 *order, u32 *parent, u32 *name, int n)
{
    for (u32 i = 0; i < (u32)n; i++) parent[i] = name[i] = i;
    for (int k = 0; k < n - 1; k++) sorted[k] = merge[order[k]];
    for (int k = 0; k < n - 1; k++) {
        u32 a = root_of(parent, sorted[k].a), b = root_of(parent, sorted[k].b);
        int rising = name[a] < name[b];
        merge[k].height = sorted[k].height;
        merge[k].a = name[rising ? a : b];
        merge[k].b = name[rising ? b : a];
        merge[k].size = 0;
        for (u32 i = 0; i < 2; i++) {
            u32 part = i ? merge[k].b : merge[k].a;
            merge[k].size += part < (u32)n ? 1 : merge[part - (u32)n].size;
        }
        parent[a] = b;
        name[b] = (u32)(n + k);
    }
}

int atomdl_ward(atomdl_merge *merge, const double *x, int n, int d,
                atomdl_arena *arena)
{
    size_t mark = arena->used;
    int status = rows_sound(x, n, d, 1, arena);
    if (status) return status;
    size_t room = (size_t)n;
    hierarchy h;
    status = hierarchy_new(&h, n, d, arena);
    double *key = doubles(arena, room);
    u32 *order = atomdl_alloc(arena, room, sizeof *order);
    atomdl_merge *sorted = atomdl_alloc(arena, room, sizeof *sorted);
    if (!status) status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    memset(h.x, 0, grouped(n) * (size_t)d * sizeof *h.x);
    memset(h.size, 0, grouped(n) * sizeof *h.size);
    for (int i = 0; i < n; i++) {
        h.size[i] = 1;
        h.id[i] = h.place[i] = (u32)i;
        for (int j = 0; j < d; j++)
            centroid(&h, (u32)i)[j * GROUP] = x[(size_t)i * (size_t)d
                                                + (size_t)j];
    }
    chain_merges(merge, &h, n);
    for (int i = 0; i < n - 1; i++) key[i] = merge[i].height;
    status = atomdl_sort(order, key, room - 1, h.chain);
    if (status) return status;
    number_merges(merge, sorted, order, h.chain, h.place, n);
    return ATOMDL_OK;
}

int atomdl_ward_labels(int *label, const atomdl_merge *merge, int n, int k,
                       atomdl_arena *arena)
{
    size_t mark = arena->used;
    int next = 0;
    if (n < 1 || k < 1 || k > n) return ATOMDL_EARG;
    u32 *parent = atomdl_alloc(arena, 2 * (size_t)n, sizeof *parent);
    u32 *name = atomdl_alloc(arena, 2 * (size_t)n, sizeof *name);
    int status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    for (int i = 0; i < 2 * n; i++) {
        parent[i] = (u32)i;
        name[i] = UINT32_MAX;
    }
    for (int i = 0; i < n - k; i++)
        parent[merge[i].a] = parent[merge[i].b] = (u32)(n + i);
    for (int i = 0; i < n; i++) {
        u32 r = root_of(parent, (u32)i);
        if (name[r] == UINT32_MAX) name[r] = (u32)next++;
        label[i] = (int)name[r];
    }
    return ATOMDL_OK;
}

atomdl_interval atomdl_concentration(uint32_t n, double area)
{
    atomdl_interval r;
    double k = n, u = k + 1;
    r.value = k / area;
    double s = 1 - 1 / (9 * u) + 1 / (3 * atomdl_sqrt(u));
    r.high = u * s * s * s / area;
    r.low = 0;
    if (n) {
        s = 1 - 1 / (9 * k) - 1 / (3 * atomdl_sqrt(k));
        r.low = most(0, k * s * s * s) / area;
    }
    return r;
}

/* ---------- Markov chains ------------------------------------------------- */

static int states_sound(int states)
{
    return states >= 1 && states <= ATOMDL_MARKOV;
}

int atomdl_counts_add(atomdl_counts *counts, const int32_t *state, int n)
{
    if (!states_sound(counts->states) || n < 0) return ATOMDL_EARG;
    for (int i = 0; i < n; i++)
        if (state[i] < -1 || state[i] >= counts->states) return ATOMDL_EARG;
    for (int i = 1; i < n; i++) {
        int a = i > 1 ? (int)state[i - 2] : -1, b = state[i - 1], c = state[i];
        if (b >= 0 && c >= 0) counts->pair[b][c]++;
        if (a >= 0 && b >= 0 && c >= 0) counts->triple[a][b][c]++;
    }
    return ATOMDL_OK;
}

typedef double matrix[ATOMDL_MARKOV][ATOMDL_MARKOV];

/* p <- p p, rows scaled to 1 */
static void squared(double p[][ATOMDL_MARKOV], int n)
{
    matrix q;
    memcpy(q, p, sizeof q);
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++) {
            p[i][j] = 0;
            for (int k = 0; k < n; k++) p[i][j] = p[i][j] + q[i][k] * q[k][j];
            sum = sum + p[i][j];
        }
        for (int j = 0; j < n; j++) p[i][j] = p[i][j] / sum;
    }
}

/* equal shares after 2^60 steps of (1 + p)/2, which has the same limit */
static void stationary(atomdl_markov *m)
{
    matrix q;
    int n = m->states;
    memset(q, 0, sizeof q);
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) q[i][j] = 0.5 * ((i == j) + m->p[i][j]);
    for (int i = 0; i < 60; i++) squared(q, n);
    for (int j = 0; j < n; j++) {
        m->stationary[j] = 0;
        for (int i = 0; i < n; i++)
            m->stationary[j] = m->stationary[j] + q[i][j] / n;
    }
}

/* adds the likelihood ratio of the traces through state j */
static void order_test(atomdl_markov *m, const atomdl_counts *c, int j)
{
    double in[ATOMDL_MARKOV] = {0}, out[ATOMDL_MARKOV] = {0}, all = 0;
    int from = 0, to = 0;
    for (int i = 0; i < m->states; i++)
        for (int k = 0; k < m->states; k++) {
            in[i] = in[i] + c->triple[i][j][k];
            out[k] = out[k] + c->triple[i][j][k];
            all = all + c->triple[i][j][k];
        }
    for (int i = 0; i < m->states; i++) {
        from += in[i] > 0;
        to += out[i] > 0;
        for (int k = 0; k < m->states; k++) {
            double n = c->triple[i][j][k];
            if (n > 0)
                m->g = m->g + 2 * n * atomdl_log(n * all / (in[i] * out[k]));
        }
    }
    if (from > 1 && to > 1) m->freedom += (from - 1) * (to - 1);
}

static double chi2_tail(double x, int freedom)
{
    if (!freedom || !(x > 0)) return 1;
    double f = freedom;
    double v = 2 / (9 * f);
    x = (atomdl_pow(x / f, 1 / 3.0) - (1 - v)) / atomdl_sqrt(v);
    return 0.5 * (1 - atomdl_erf(x / atomdl_sqrt(2)));
}

/* row i from its counts and the prior */
static void solve_row(atomdl_markov *m, const atomdl_counts *c, int i,
                      double each, double prior[][ATOMDL_MARKOV])
{
    double sum = 0;
    int j;
    for (j = 0; j < m->states; j++) {
        m->p[i][j] = c->pair[i][j] + (prior ? prior[i][j] : each);
        sum = sum + m->p[i][j];
    }
    for (j = 0; j < m->states; j++) {
        m->p[i][j] = sum > 0 ? m->p[i][j] / sum : (double)(i == j);
        m->sd[i][j] = atomdl_sqrt(m->p[i][j] * (1 - m->p[i][j]) / (sum + 1));
    }
    double gone;
    for (j = 0, gone = 0; j < m->states; j++)
        if (j != i) gone = gone + m->p[i][j];
    m->lifetime[i] = gone > 0 ? 1 / gone : 0;
    m->lifetime_sd[i] = gone > 0 ? m->sd[i][i] / (gone * gone) : 0;
}

int atomdl_markov_solve(atomdl_markov *markov, const atomdl_counts *counts,
                        double prior_each, double prior[][ATOMDL_MARKOV])
{
    memset(markov, 0, sizeof *markov);
    if (!states_sound(counts->states)) return ATOMDL_EARG;
    if (!prior && !(prior_each >= 0 && prior_each < FAR)) return ATOMDL_EARG;
    markov->states = counts->states;
    for (int i = 0; prior && i < markov->states; i++)
        for (int j = 0; j < markov->states; j++)
            if (!(prior[i][j] >= 0 && prior[i][j] < FAR)) return ATOMDL_EARG;
    for (int i = 0; i < markov->states; i++)
        solve_row(markov, counts, i, prior_each, prior);
    stationary(markov);
    for (int i = 0; i < markov->states; i++) order_test(markov, counts, i);
    markov->p_markov = chi2_tail(markov->g, markov->freedom);
    return ATOMDL_OK;
}

double atomdl_event_rate(double flux, double cross_section, double attempts,
                         double barrier, double temperature)
{
    double k = 8.617333262e-5; /* Boltzmann's constant, eV/K */
    if (!(temperature > 0)) return flux * cross_section;
    return flux * cross_section
           + attempts * atomdl_exp(-barrier / (k * temperature));
}

/* p <- exp(Q t), q t <= 1, by its series in 1 + Q/q */
static void uniformise(double p[][ATOMDL_MARKOV], int n,
                       double k[][ATOMDL_MARKOV], double q, double t)
{
    matrix u;
    double weight = atomdl_exp(-q * t);
    memset(u, 0, sizeof u);
    matrix power;
    memset(power, 0, sizeof power);
    matrix next;
    memset(next, 0, sizeof next);
    for (int i = 0; i < n; i++) {
        double stay = 1;
        power[i][i] = 1;
        for (int j = 0; j < n; j++) {
            p[i][j] = 0;
            if (i == j || !(q > 0)) continue;
            u[i][j] = k[i][j] / q;
            stay = stay - u[i][j];
        }
        u[i][i] = most(0, stay);
    }
    for (int term = 1; term < 30; term++) { /* 1/29! is nothing */
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                p[i][j] = p[i][j] + weight * power[i][j];
                next[i][j] = 0;
                for (int l = 0; l < n; l++)
                    next[i][j] = next[i][j] + power[i][l] * u[l][j];
            }
        memcpy(power, next, sizeof power);
        weight = weight * q * t / term;
    }
}

int atomdl_rates_step(double p[][ATOMDL_MARKOV], int states,
                      double k[][ATOMDL_MARKOV], double t,
                      uint8_t allowed[][ATOMDL_MARKOV])
{
    double q = 0;
    int halvings = 0;
    if (!states_sound(states) || !(t >= 0 && t < FAR)) return ATOMDL_EARG;
    for (int i = 0; i < states; i++) {
        double leave = 0;
        for (int j = 0; j < states; j++) {
            if (i != j && !(k[i][j] >= 0 && k[i][j] < FAR)) return ATOMDL_EARG;
            if (i != j) leave = leave + k[i][j];
        }
        q = most(q, leave);
    }
    if (!(q * t < 0x1p200)) return ATOMDL_EARG;
    while (q * t > 1) {
        t = t / 2;
        halvings++;
    }
    uniformise(p, states, k, q, t);
    while (halvings--) squared(p, states);
    for (int i = 0; i < states; i++) {
        double sum = 0;
        for (int j = 0; j < states; j++) {
            if (allowed && !allowed[i][j] && i != j) p[i][j] = 0;
            sum = sum + p[i][j];
        }
        for (int j = 0; j < states; j++)
            p[i][j] = sum > 0 ? p[i][j] / sum : (double)(i == j);
    }
    return ATOMDL_OK;
}

/* ---------- Hidden Markov models ------------------------------------------ */

static int distribution(const double *p, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        if (!(p[i] >= 0)) return 0;
        sum = sum + p[i];
    }
    return sum > 1 - 1e-6 && sum < 1 + 1e-6;
}

static int hmm_sound(const atomdl_hmm *hmm, const int *length, int traces)
{
    if (!states_sound(hmm->states) || traces < 0
        || !distribution(hmm->start, hmm->states))
        return ATOMDL_EARG;
    for (int i = 0; i < hmm->states; i++)
        if (!distribution(hmm->p[i], hmm->states)) return ATOMDL_EARG;
    for (int i = 0; i < traces; i++)
        if (length[i] < 0) return ATOMDL_EARG;
    return ATOMDL_OK;
}

static size_t total_length(const int *length, int traces, size_t *longest)
{
    size_t n = 0;
    int i;
    for (i = 0, *longest = 0; i < traces; i++) {
        n += (size_t)length[i];
        if ((size_t)length[i] > *longest) *longest = (size_t)length[i];
    }
    return n;
}

static int logb_sound(const double *logb, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (logb[i] != logb[i]) return ATOMDL_ENAN;
        if (logb[i] > FAR) return ATOMDL_EARG;
    }
    return ATOMDL_OK;
}

int atomdl_hmm_labels(double *logb, const int32_t *label, int n, int states,
                      double confusion[][ATOMDL_MARKOV], const double *miss)
{
    if (!states_sound(states) || n < 0) return ATOMDL_EARG;
    for (int i = 0; i < states; i++) {
        double sum = miss ? miss[i] : 0;
        for (int j = 0; j < states; j++) {
            if (!(confusion[i][j] >= 0)) return ATOMDL_EARG;
            sum = sum + confusion[i][j];
        }
        if (!(sum > 1 - 1e-6 && sum < 1 + 1e-6) || (miss && !(miss[i] >= 0)))
            return ATOMDL_EARG;
    }
    for (int t = 0; t < n; t++) {
        if (label[t] < -1 || label[t] >= states) return ATOMDL_EARG;
        for (int i = 0; i < states; i++)
            *logb++ = label[t] >= 0 ? atomdl_log(confusion[i][label[t]])
                      : miss ? atomdl_log(miss[i]) : 0;
    }
    return ATOMDL_OK;
}

/* one trace of n frames; from (n, states): best predecessors. Returns the
   log-probability. */
static double viterbi(int32_t *path, const atomdl_hmm *hmm,
                      double p[][ATOMDL_MARKOV], const double *logb, int n,
                      u8 *from)
{
    double now[ATOMDL_MARKOV] = {0};
    int s = hmm->states, j;
    for (j = 0; j < s; j++) now[j] = atomdl_log(hmm->start[j]) + logb[j];
    double old[ATOMDL_MARKOV];
    int t, i, best;
    for (t = 1; t < n; t++) {
        memcpy(old, now, sizeof old);
        for (j = 0; j < s; j++) {
            for (i = 1, best = 0; i < s; i++)
                if (old[i] + p[i][j] > old[best] + p[best][j]) best = i;
            from[t * s + j] = (u8)best;
            now[j] = old[best] + p[best][j] + logb[t * s + j];
        }
    }
    for (j = 1, best = 0; j < s; j++)
        if (now[j] > now[best]) best = j;
    for (t = n - 1, i = best; t >= 0; t--) {
        path[t] = i;
        if (t) i = from[t * s + i];
    }
    return now[best];
}

int atomdl_hmm_viterbi(int32_t *path, double *score, const atomdl_hmm *hmm,
                       const double *logb, const int *length, int traces,
                       atomdl_arena *arena)
{
    int status = hmm_sound(hmm, length, traces);
    size_t mark = arena->used, at = 0;
    double sum = 0;
    if (status) return status;
    size_t longest;
    size_t n = total_length(length, traces, &longest);
    u8 *from = atomdl_alloc(arena, longest, (size_t)hmm->states);
    status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    status = logb_sound(logb, n * (size_t)hmm->states);
    matrix p;
    for (int i = 0; i < hmm->states; i++)
        for (int j = 0; j < hmm->states; j++)
            p[i][j] = atomdl_log(hmm->p[i][j]);
    for (int k = 0; k < traces && !status; k++) {
        if (!length[k]) continue;
        sum = sum + viterbi(path + at, hmm, p, logb + at * (size_t)hmm->states,
                            length[k], from);
        at += (size_t)length[k];
    }
    if (!status && !(sum > -FAR)) status = ATOMDL_EARG;
    if (score) *score = sum;
    return status;
}

/* e <- exp(logb - top) of one frame; returns top */
static double emissions(double *e, const double *logb, int s)
{
    double top = logb[0];
    for (int j = 1; j < s; j++) top = most(top, logb[j]);
    for (int j = 0; j < s; j++)
        e[j] = top > -FAR ? atomdl_exp(logb[j] - top) : 0;
    return top;
}

/* alpha (n, states) <- scaled forward probabilities; scale (n). Returns the
   log-likelihood; -FAR: impossible */
static double forward(double *alpha, double *scale, const atomdl_hmm *hmm,
                      const double *logb, int n)
{
    double e[ATOMDL_MARKOV], log_p = 0;
    int s = hmm->states;
    for (int t = 0; t < n; t++, alpha += s) {
        double top = emissions(e, logb + t * s, s), sum = 0;
        for (int j = 0; j < s; j++) {
            double a = t ? 0 : hmm->start[j];
            for (int i = 0; t && i < s; i++)
                a = a + (alpha - s)[i] * hmm->p[i][j];
            alpha[j] = a * e[j];
            sum = sum + alpha[j];
        }
        if (!(sum > 0)) return -FAR;
        for (int j = 0; j < s; j++) alpha[j] = alpha[j] / sum;
        scale[t] = sum;
        log_p = log_p + (top + atomdl_log(sum));
    }
    return log_p;
}

/* alpha becomes the posterior; pairs (may be NULL) += expected transitions */
static void backward(double *alpha, const double *scale, const atomdl_hmm *hmm,
                     const double *logb, int n, double pairs[][ATOMDL_MARKOV])
{
    double beta[ATOMDL_MARKOV];
    int s = hmm->states;
    for (int j = 0; j < s; j++) beta[j] = 1;
    double next[ATOMDL_MARKOV], e[ATOMDL_MARKOV], sum;
    int i;
    for (int t = n - 2; t >= 0; t--) {
        double *a = alpha + t * s;
        emissions(e, logb + (t + 1) * s, s);
        for (int j = 0; j < s; j++) next[j] = e[j] * beta[j] / scale[t + 1];
        for (i = 0, sum = 0; i < s; i++) {
            beta[i] = 0;
            for (int j = 0; j < s; j++) {
                double x = hmm->p[i][j] * next[j];
                beta[i] = beta[i] + x;
                if (pairs) pairs[i][j] = pairs[i][j] + a[i] * x;
            }
            sum = sum + a[i] * beta[i];
        }
        for (i = 0; i < s; i++) a[i] = a[i] * beta[i] / sum;
    }
}

/* all traces; pairs, first (may be NULL both) += expected counts */
static double expected(double *posterior, double *scale, const atomdl_hmm *hmm,
                       const double *logb, const int *length, int traces,
                       double pairs[][ATOMDL_MARKOV], double *first)
{
    size_t s = (size_t)hmm->states;
    double sum = 0;
    for (int k = 0; k < traces; k++) {
        if (!length[k]) continue;
        double p = forward(posterior, scale, hmm, logb, length[k]);
        if (p == -FAR) return p;
        sum = sum + p;
        backward(posterior, scale, hmm, logb, length[k], pairs);
        for (size_t j = 0; first && j < s; j++)
            first[j] = first[j] + posterior[j];
        posterior += s * (size_t)length[k];
        logb += s * (size_t)length[k];
    }
    return sum;
}

int atomdl_hmm_posterior(double *posterior, double *score,
                         const atomdl_hmm *hmm, const double *logb,
                         const int *length, int traces, atomdl_arena *arena)
{
    int status = hmm_sound(hmm, length, traces);
    size_t mark = arena->used;
    if (status) return status;
    size_t longest;
    size_t n = total_length(length, traces, &longest);
    double *scale = doubles(arena, longest);
    status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    status = logb_sound(logb, n * (size_t)hmm->states);
    if (status) return status;
    double p =
        expected(posterior, scale, hmm, logb, length, traces, NULL, NULL);
    if (score) *score = p;
    return p == -FAR ? ATOMDL_EARG : ATOMDL_OK;
}

/* probabilities from expected counts and prior; returns the log of the prior
   density of those it had before */
static double improve(atomdl_hmm *hmm, double pairs[][ATOMDL_MARKOV],
                      const double *first, double prior[][ATOMDL_MARKOV])
{
    double log_prior = 0, sum = 0, q[ATOMDL_MARKOV];
    int s = hmm->states, j;
    for (j = 0; j < s; j++) {
        if (hmm->start[j] > 0)
            log_prior = log_prior + atomdl_log(hmm->start[j]) / s;
        q[j] = hmm->start[j] > 0 ? first[j] + 1.0 / s : 0;
        sum = sum + q[j];
    }
    for (j = 0; j < s; j++) hmm->start[j] = q[j] / sum;
    for (int i = 0; i < s; i++) {
        for (j = 0, sum = 0; j < s; j++) {
            double w = prior ? prior[i][j] : 0, p = hmm->p[i][j];
            if (p > 0 && w > 0) log_prior = log_prior + w * atomdl_log(p);
            q[j] = p > 0 ? pairs[i][j] + w : 0;
            sum = sum + q[j];
        }
        for (j = 0; sum > 0 && j < s; j++) hmm->p[i][j] = q[j] / sum;
    }
    return log_prior;
}

int atomdl_hmm_learn(atomdl_hmm *hmm, double *score,
                     double prior[][ATOMDL_MARKOV], const double *logb,
                     const int *length, int traces, double tolerance,
                     int rounds, atomdl_arena *arena)
{
    int status = hmm_sound(hmm, length, traces);
    size_t mark = arena->used;
    double p = 0, last = -FAR;
    if (status || !(tolerance >= 0) || rounds < 0)
        return status ? status : ATOMDL_EARG;
    for (int i = 0; prior && i < hmm->states; i++)
        for (int j = 0; j < hmm->states; j++)
            if (!(prior[i][j] >= 0 && prior[i][j] < FAR)) return ATOMDL_EARG;
    size_t longest;
    size_t n = total_length(length, traces, &longest);
    double *scale = doubles(arena, longest);
    double *posterior = doubles(arena, n * (size_t)hmm->states);
    status = atomdl_arena_status(arena);
    arena->used = mark;
    if (status || !arena->base) return status;
    status = logb_sound(logb, n * (size_t)hmm->states);
    double first[ATOMDL_MARKOV];
    matrix pairs;
    for (int k = 0; !status; k++) {
        memset(pairs, 0, sizeof pairs);
        memset(first, 0, sizeof first);
        p = expected(posterior, scale, hmm, logb, length, traces, pairs, first);
        if (p == -FAR) status = ATOMDL_EARG;
        if (status || k >= rounds) break;
        double now = p + improve(hmm, pairs, first, prior);
        if (now - last < tolerance) break;
        last = now;
    }
    if (score) *score = p;
    return status;
}

/* ---------- Rotors -------------------------------------------------------- */

static double degrees(double x)
{
    return x * 180 / PI;
}

/* angle at q between p and r, degrees */
static double angle_at(const double *p, const double *q, const double *r)
{
    double ax = p[0] - q[0], ay = p[1] - q[1], bx = r[0] - q[0];
    double by = r[1] - q[1];
    return degrees(atomdl_atan2(absolute(ax * by - ay * bx), ax * bx + ay * by));
}

/* the polygon's angles, corners by direction */
static void polygon(atomdl_rotor *rotor, const double *xy, int n,
                    const double *theta)
{
    double regular = 180.0 * (n - 2) / n;
    int order[8], j;
    for (int i = 0; i < n; i++) {
        for (j = i; j > 0 && theta[i] < theta[order[j - 1]]; j--)
            order[j] = order[j - 1];
        order[j] = i;
    }
    for (int i = 0; i < n; i++) {
        rotor->angle[i] = angle_at(xy + 2 * order[(i + n - 1) % n],
                                   xy + 2 * order[i],
                                   xy + 2 * order[(i + 1) % n]);
        if (n > 2 && absolute(rotor->angle[i] - regular) > 10) rotor->flagged = 1;
    }
}

int atomdl_rotor_measure(atomdl_rotor *rotor, const double *xy, int atoms,
                         int n, const double *centre)
{
    double c = 0, s = 0, mid[2] = {0, 0};
    memset(rotor, 0, sizeof *rotor);
    rotor->flagged = 1;
    if (n < 2 || n > 8) return ATOMDL_EARG;
    if (atoms != n || !xy) return ATOMDL_OK;
    if (!finite_all(xy, 2 * (size_t)n) || (centre && !finite_all(centre, 2)))
        return ATOMDL_ENAN;
    for (int i = 0; i < n; i++) {
        mid[0] = mid[0] + xy[2 * i] / n;
        mid[1] = mid[1] + xy[2 * i + 1] / n;
    }
    if (!centre) centre = mid;
    double theta[8];
    for (int i = 0; i < n; i++) {
        theta[i] = atomdl_atan2(xy[2 * i + 1] - centre[1],
                                xy[2 * i] - centre[0]);
        c = c + atomdl_cos(n * theta[i]);
        s = s + atomdl_sin(n * theta[i]);
    }
    rotor->phi = degrees(atomdl_atan2(s, c)) / n;
    rotor->quality = atomdl_sqrt(c * c + s * s) / n;
    rotor->flagged = rotor->quality < 0.7;
    polygon(rotor, xy, n, theta);
    return ATOMDL_OK;
}

void atomdl_rotor_switches(atomdl_rotor *rotor, int frames, int n,
                           int *switches)
{
    double period = 360.0 / n;
    int last = -1;
    *switches = 0;
    for (int i = 0; i < frames; i++) {
        rotor[i].switched = 0;
        if (rotor[i].flagged) continue;
        double d = last < 0 ? 0 : (rotor[i].phi - rotor[last].phi) / period;
        d = absolute(d - atomdl_floor(d + 0.5));
        rotor[i].switched = d > 0.25;
        *switches += rotor[i].switched;
        last = i;
    }
}

#else /* ===== once per vector width: the loops of Lanes ===== */

#define V_ROWS (V_BYTES > 16 ? V_BYTES / 8 : 2)
enum { V(count) = LANES * 8 / V_BYTES };

#if V_BYTES > 8
typedef double V(vec) __attribute__((vector_size(V_BYTES)));
typedef long long V(mask) __attribute__((vector_size(V_BYTES)));
#else
typedef double V(vec);
typedef int V(mask);
#endif

static void V(product)(double *c, size_t ld, const double *a, const double *b)
{
    int r, v;
    RAN("product");
    for (int from = 0; from < LANES; from += V_ROWS) {
        V(vec) sum[V_ROWS][V(count)], y[V(count)];
        UNROLL
        for (r = 0; r < V_ROWS; r++)
            memcpy(sum[r], c + (size_t)(from + r) * ld, LANES * sizeof *c);
        for (int t = 0; t < BLOCK; t++) {
            memcpy(y, b + t * LANES, sizeof y);
            UNROLL
            for (r = 0; r < V_ROWS; r++) {
                double x = a[t * LANES + from + r];
                UNROLL
                for (v = 0; v < V(count); v++)
                    sum[r][v] = sum[r][v] + y[v] * x;
            }
        }
        UNROLL
        for (r = 0; r < V_ROWS; r++)
            memcpy(c + (size_t)(from + r) * ld, sum[r], LANES * sizeof *c);
    }
}

static void V(reflect)(double *row, double *p, const double *v,
                       const double *w, const double factor[3], int from,
                       int n)
{
    RAN("reflect");
    for (int i = from; i < n; i += V_BYTES / 8) {
        V(vec) a, b, x, y;
        memcpy(&x, row + i, sizeof x);
        memcpy(&a, v + i, sizeof a);
        memcpy(&b, w + i, sizeof b);
        memcpy(&y, p + i, sizeof y);
        x = x - (b * factor[0] + a * factor[1]);
        y = y + x * factor[2];
        memcpy(row + i, &x, sizeof x);
        memcpy(p + i, &y, sizeof y);
    }
}

static int V(distance)(double d2[GROUP], const double *x, const double *c,
                       int d, const double weight[GROUP], double bound)
{
    enum { N = 2 * V(count), W = V_BYTES / 8 };
    V(vec) sum[N], y;
    V(mask) near, none;
    unsigned char bits[sizeof(V(mask))];
    memset(sum, 0, sizeof sum);
    memset(&none, 0, sizeof none);
    unsigned char any;
    int v;
    RAN("distance");
    for (int j = 0, end = 8; j < d; end *= 2) {
        for (; j < d && j < end; j++) {
            UNROLL
            for (v = 0; v < N; v++) {
                memcpy(&y, x + (size_t)j * GROUP + v * W, sizeof y);
                y = y - c[j];
                sum[v] = sum[v] + y * y;
            }
        }
        near = none;
        UNROLL
        for (v = 0; v < N; v++) {
            memcpy(&y, weight + v * W, sizeof y);
            near |= y * sum[v] < bound;
        }
        memcpy(bits, &near, sizeof bits);
        for (v = 0, any = 0; v < (int)sizeof bits; v++) any |= bits[v];
        if (!any) return 0;
    }
    memcpy(d2, sum, sizeof sum);
    return 1;
}

static const lanes V(lanes) = {V(product), V(reflect), V(distance)};

#undef V_ISA
#undef V_BYTES
#undef V_ROWS
#undef ATOMDL_LANES_PASS
#endif
