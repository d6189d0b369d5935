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

static int points_finite(const atomdl_points *p)
{
    return finite_all(p->x, (size_t)p->n * (size_t)p->d);
}

static int finite_floats(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(x[i] - x[i] == 0)) return 0;
    return 1;
}

static int name_begins(const char *name, const char *with)
{
    while (*with && *name == *with) name++, with++;
    return !*with;
}

static void *doubles(atomdl_arena *arena, size_t n)
{
    return atomdl_alloc(arena, n, sizeof(double));
}

static double sum_of_products(const double *x, const double *y, int n)
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

static void pairing_new(pairing *g, int na, atomdl_arena *arena)
{
    size_t n = (size_t)g->nb;
    g->order = atomdl_alloc(arena, n, sizeof *g->order);
    g->x = doubles(arena, n);
    g->y = doubles(arena, n);
    g->v = doubles(arena, n);
    g->far = doubles(arena, n);
    g->from = atomdl_alloc(arena, n, sizeof *g->from);
    g->owner = atomdl_alloc(arena, n, sizeof *g->owner);
    g->seen = atomdl_alloc(arena, n, sizeof *g->seen);
    g->u = doubles(arena, (size_t)na);
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

/* shortest augmenting paths, one for each point of a; METHOD E.3 */
int atomdl_assign(int *to, double *cost, const atomdl_points *a,
                  const atomdl_points *b, double gate, atomdl_arena *arena)
{
    pairing g = {.a = a->x, .to = to, .nb = b->n, .gate = gate,
                 .gate2 = gate * gate};
    size_t mark = arena->used;
    int na = a->n, status = ATOMDL_OK;
    if (na < 0 || b->n < 0 || a->d != 2 || b->d != 2
        || !(gate > 0 && gate < 0x1p400))
        return ATOMDL_EARG;
    pairing_new(&g, na, arena);
    if (scratch_only(&status, arena, mark)) return status;
    if (!points_finite(a) || !points_finite(b)) return ATOMDL_ENAN;
    status = pairing_sort(&g, b->x);
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

/* all live tracks of gap + 2 frames have room: those of each frame may have
   been lost in it */
int atomdl_tracker_new(atomdl_tracker *tracker, int max, int gap, double gate,
                       atomdl_arena *arena)
{
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    memset(tracker, 0, sizeof *tracker);
    if (max < 1 || max > 1 << 20 || gap < 0 || gap > 16) return ATOMDL_EARG;
    atomdl_points live = {NULL, (gap + 2) * max, 2}, seen = {NULL, max, 2};
    int status = atomdl_assign(NULL, NULL, &live, &seen, gate, &measure);
    if (status) return status;
    size_t room = (size_t)(gap + 2) * (size_t)max;
    *tracker = (atomdl_tracker){.max = max, .gap = gap, .gate = gate,
                                .scratch_size = measure.peak};
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

/* old tracks keep their places in the list, new ones come last */
int atomdl_tracker_step(atomdl_tracker *tracker, uint32_t *track,
                        const double *xy, int n, const double shift[2])
{
    atomdl_arena scratch = {tracker->scratch, tracker->scratch_size, 0, 0, 0};
    if (n < 0 || n > tracker->max) return ATOMDL_ESHAPE;
    if (!finite_all(xy, 2 * (size_t)n) || (shift && !finite_all(shift, 2)))
        return ATOMDL_ENAN;
    tracker_age(tracker, shift);
    atomdl_points live = {tracker->xy, tracker->live, 2}, seen = {xy, n, 2};
    int status = atomdl_assign(tracker->to, NULL, &live, &seen, tracker->gate,
                               &scratch);
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

/* weighted least squares of a line; METHOD E.3 */
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
    double slope = (s * sty - st * sy) / (s * stt - st * st), error;
    fit->diffusion = slope / 4;
    fit->noise = (sy - slope * st) / s / 4;
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

/* rounding in lattice coordinates, then the nearest of the nine points around:
   the basis may be oblique */
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

/* a gap in the frames counts as so many steps: it may have hopped in any */
int atomdl_hops_add(atomdl_hops *hops, const uint32_t *frame,
                    const double *xy, int n, const double basis[4])
{
    int status = trace_sound(frame, xy, n), ij[2];
    if (status) return status;
    if (!basis_kind(basis)) return ATOMDL_EARG;
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
                                   : sum_of_products(basis, basis, 2)
                                            / (4 * steps);
    return r;
}

/* runs between the first and the last sight; both ends are censored */
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
        dwell[count++] = (atomdl_dwell){state[i], (u32)i, 1, 0};
    }
    if (count) { /* what follows the last sight is not known */
        dwell[count - 1].frames -= (u32)(n - 1 - last);
        dwell[0].censored = dwell[count - 1].censored = 1;
    }
    return count;
}

/* ---------- Drift --------------------------------------------------------- */

/* phase / 2 pi of the lattice along reciprocal vector k; *coherence: 0..1 */
static double lattice_phase(double *coherence, const atomdl_points *p,
                            const double k[2])
{
    double c = 0, s = 0;
    for (int i = 0; i < p->n; i++) {
        double t = p->x[2 * i] * k[0] + p->x[2 * i + 1] * k[1];
        t = 2 * PI * (t - atomdl_floor(t));
        c = c + atomdl_cos(t);
        s = s + atomdl_sin(t);
    }
    if (p->n) *coherence = least(*coherence, atomdl_sqrt(c * c + s * s) / p->n);
    else *coherence = 0;
    return atomdl_atan2(s, c) / (2 * PI);
}

/* shift modulo the lattice, nearest to prior in lattice coordinates */
static void drift_phase(atomdl_drift *d, const atomdl_points *a,
                        const atomdl_points *b, const atomdl_drift_how *how)
{
    const double *m = how->basis, *prior = how->prior;
    double area = m[0] * m[3] - m[1] * m[2], f[2];
    double k[2][2] = {{m[3] / area, -m[2] / area}, {-m[1] / area, m[0] / area}};
    d->coherence = 1;
    for (int i = 0; i < 2; i++) {
        double p = prior[0] * k[i][0] + prior[1] * k[i][1];
        f[i] = lattice_phase(&d->coherence, b, k[i]);
        f[i] = f[i] - lattice_phase(&d->coherence, a, k[i]);
        f[i] = f[i] + atomdl_floor(p - f[i] + 0.5);
    }
    memcpy(d->shift, prior, sizeof d->shift);
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
static int follow_shift(const follower *f, double *cost,
                        const atomdl_points *a, const atomdl_points *b,
                        const double shift[2], double gate,
                        atomdl_arena *arena)
{
    atomdl_points moved = {f->moved, a->n, 2};
    for (int i = 0; arena->base && i < a->n; i++) {
        f->moved[2 * i] = a->x[2 * i] + shift[0];
        f->moved[2 * i + 1] = a->x[2 * i + 1] + shift[1];
    }
    return atomdl_assign(f->to, cost, &moved, b, gate, arena);
}

/* among shifts that differ by lattice vectors, the one the defects a and b
   like */
static int drift_choose(atomdl_drift *d, const follower *f,
                        const atomdl_points *a, const atomdl_points *b,
                        const atomdl_drift_how *how, atomdl_arena *arena)
{
    const double *m = how->basis;
    double gate = half_spacing(m), best = FAR, near = FAR, cost;
    double start[2] = {d->shift[0], d->shift[1]};
    for (int j = -2; j <= 2; j++)
        for (int i = -2; i <= 2; i++) {
            double s[2] = {start[0] + i * m[0] + j * m[2],
                           start[1] + i * m[1] + j * m[3]};
            int status = follow_shift(f, &cost, a, b, s, gate, arena);
            if (status) return status;
            double x = s[0] - how->prior[0], y = s[1] - how->prior[1];
            x = x * x + y * y;
            cost = cost + gate * gate * x / (m[0] * m[0] + m[1] * m[1]);
            y = 1e-9 * gate * gate; /* costs this near are equal */
            if (cost > best + y || (cost > best - y && !(x < near))) continue;
            best = cost;
            near = x;
            memcpy(d->shift, s, sizeof s);
            for (int k = d->known = 0; k < a->n; k++)
                d->known += f->to[k] >= 0;
        }
    return ATOMDL_OK;
}

typedef struct { /* sums over pairs of p (first frame) and q (second) */
    double n, p[2], q[2], pp[3], pq[4], qq; /* pp, pq, qq about the means */
} pair_sums;

/* sums about the means, for which two passes are needed */
static void pair_moments(pair_sums *s, const follower *f,
                         const atomdl_points *from, const double *b)
{
    const double *a = from->x;
    int na = from->n;
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
        if (f->to[i] < 0) continue;
        const double *q = b + 2 * f->to[i];
        double x[2] = {a[2 * i] - s->p[0], a[2 * i + 1] - s->p[1]};
        double u[2] = {q[0] - s->q[0], q[1] - s->q[1]};
        for (int k = 0; k < 3; k++)
            s->pp[k] = s->pp[k] + x[k / 2] * x[(k + 1) / 2];
        for (int k = 0; k < 4; k++)
            s->pq[k] = s->pq[k] + u[k / 2] * x[k % 2];
        s->qq = s->qq + (u[0] * u[0] + u[1] * u[1]);
    }
}

/* the map and its residual from the sums */
static int drift_solve(atomdl_drift *d, const pair_sums *s, int affine)
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
    double rest = s->qq - 2 * sum_of_products(d->m, s->pq, 4);
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

/* phases, then defects, then twice least squares of pairs: METHOD E.3 */
int atomdl_drift_find(atomdl_drift *drift, const atomdl_marks *a,
                      const atomdl_marks *b, const atomdl_drift_how *how,
                      atomdl_arena *arena)
{
    const atomdl_points *p = &a->lattice, *q = &b->lattice;
    size_t mark = arena->used;
    memset(drift, 0, sizeof *drift);
    if (p->n < 0 || q->n < 0 || a->defect.n < 0 || b->defect.n < 0)
        return ATOMDL_EARG;
    size_t n = (size_t)most_int(p->n, a->defect.n);
    follower f;
    f.moved = doubles(arena, 2 * n);
    f.to = atomdl_alloc(arena, n, sizeof *f.to);
    int status = atomdl_arena_status(arena);
    if (!status && !arena->base) { /* measure what pairs take, no more */
        status = follow_shift(&f, NULL, p, q, how->prior, 1, arena);
        if (!status)
            status = follow_shift(&f, NULL, &a->defect, &b->defect, how->prior,
                                  1, arena);
        return give_back(arena, mark, status);
    }
    if (!status && !basis_kind(how->basis)) status = ATOMDL_EARG;
    if (!status && !(points_finite(p) && finite_all(how->prior, 2)
                     && points_finite(q)))
        status = ATOMDL_ENAN;
    if (!status) drift_phase(drift, p, q, how);
    if (!status)
        status = drift_choose(drift, &f, &a->defect, &b->defect, how, arena);
    double gate = 0.55 * half_spacing(how->basis);
    pair_sums s;
    for (int k = 0; k < 2 && !status; k++) {
        /* rigid first: a map that stretches needs more than the gate */
        status = follow_shift(&f, NULL, p, q, drift->shift, gate, arena);
        if (status) break;
        pair_moments(&s, &f, p, q->x);
        status = drift_solve(drift, &s, how->affine && k);
    }
    return give_back(arena, mark, status);
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

static atomdl_image plane_image(const float *px, int w, int h)
{
    /* read only, where px is const */
    return (atomdl_image){w, h, 1, (float *)(uintptr_t)px};
}

/* all sub-images by the same warp; METHOD E.2 */
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
        plane_image(image->px + area * (size_t)plane, image->w, image->h);
    int status = atomdl_image_check(&src);
    for (int i = 0; i < n && !status; i++) {
        int g = op ? op[i] : 0;
        if (g >= how->fold * (how->mirror ? 2 : 1)) return ATOMDL_EARG;
        double m[6];
        operation_map(m, how, g, 0, how->angle, xy[2 * i], xy[2 * i + 1]);
        atomdl_image dst =
            plane_image(x + part * (size_t)i, how->side, how->side);
        status = atomdl_image_warp(&dst, &src, m, NULL, how->interpolation);
    }
    return status;
}

typedef struct { /* side^2 pixels each */
    int side, ops;
    size_t pixels;
    float *turned; /* (ops) the reference, turned back by each operation */
    float *part;   /* (1) */
    double *sum;   /* (ops) sums of the sub-images of each operation */
    double *reference;
    u8 *disc;
} orienting;

static void orienting_new(orienting *o, const atomdl_cutting *how,
                          atomdl_arena *arena)
{
    o->side = how->side;
    o->ops = how->fold * (how->mirror ? 2 : 1);
    size_t n = o->pixels = (size_t)o->side * (size_t)o->side;
    o->turned = atomdl_alloc(arena, n * (size_t)o->ops, sizeof(float));
    o->part = atomdl_alloc(arena, n, sizeof(float));
    o->sum = doubles(arena, n * (size_t)o->ops);
    o->reference = doubles(arena, n);
    o->disc = atomdl_alloc(arena, n, 1);
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
    for (size_t i = 0; i < o->pixels; i++)
        if (o->disc[i]) {
            mean = mean + (double)x[i];
            count = count + 1;
        }
    mean = mean / most(1, count);
    for (size_t i = 0; i < o->pixels; i++) {
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

/* to <- part, turned by operation op, or back */
static int turn_part(const orienting *o, float *to, const atomdl_cutting *how,
                     int op, int back)
{
    double m[6], mid = 0.5 * (o->side - 1);
    atomdl_image src = plane_image(o->part, o->side, o->side);
    atomdl_image dst = plane_image(to, o->side, o->side);
    operation_map(m, how, op, back, 0, mid, mid);
    return atomdl_image_warp(&dst, &src, m, NULL, ATOMDL_CUBIC);
}

/* turned <- the reference less its mean over the disc, for each operation */
static int turn_reference(orienting *o, const atomdl_cutting *how)
{
    double mean = 0, count = 0;
    size_t n = o->pixels;
    int status = ATOMDL_OK;
    smooth_reference(o);
    for (size_t i = 0; i < n; i++)
        if (o->disc[i]) {
            mean = mean + o->reference[i];
            count = count + 1;
        }
    for (size_t i = 0; i < n; i++)
        o->part[i] = (float)(o->reference[i] - mean / most(1, count));
    for (int g = 0; g < o->ops && !status; g++) {
        float *to = o->turned + n * (size_t)g;
        status = turn_part(o, to, how, g, 1);
        for (size_t i = 0; i < n; i++)
            if (!o->disc[i]) to[i] = 0;
    }
    return status;
}

static void choose_operations(u8 *op, orienting *o, const float *x, int n)
{
    size_t area = o->pixels;
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
    size_t n = o->pixels;
    int status = ATOMDL_OK;
    memset(o->reference, 0, n * sizeof *o->reference);
    for (int g = 0; g < o->ops && !status; g++) {
        for (size_t i = 0; i < n; i++)
            o->part[i] = (float)o->sum[n * (size_t)g + i];
        status = turn_part(o, o->turned, how, g, 0);
        for (size_t i = 0; i < n; i++)
            o->reference[i] = o->reference[i] + (double)o->turned[i];
    }
    return status;
}

/* starts from the sub-image of greatest dipole, which has an orientation;
   METHOD E.2 */
int atomdl_orient(uint8_t *op, const float *x, int n,
                  const atomdl_cutting *how, int rounds, atomdl_arena *arena)
{
    size_t mark = arena->used;
    double best = -1;
    int first = 0, status = ATOMDL_OK;
    if (!cutting_sound(how) || n < 0 || rounds < 1) return ATOMDL_EARG;
    orienting o;
    orienting_new(&o, how, arena);
    if (scratch_only(&status, arena, mark) || !n) return status;
    size_t area = o.pixels;
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
            if (label && label[i] != c) continue;
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
    int w, h;      /* of the padded plane */
    float *x;      /* (h, w) */
    atomdl_bins f; /* its transform */
} plane_spectrum;

static int spectrum_new(plane_spectrum *s, int w, int h, atomdl_arena *arena)
{
    s->w = atomdl_fft_size(w);
    s->h = atomdl_fft_size(h);
    if (!s->w || !s->h) return ATOMDL_EARG;
    s->f.bins = s->w / 2 + 1;
    size_t n = (size_t)s->f.bins * (size_t)s->h;
    s->x = atomdl_alloc(arena, (size_t)s->w * (size_t)s->h, sizeof(float));
    s->f.re = atomdl_alloc(arena, n, sizeof(float));
    s->f.im = atomdl_alloc(arena, n, sizeof(float));
    return atomdl_arena_status(arena);
}

/* s <- the transform of a plane, padded by reflection; window: less its mean,
   under a Hann window, padded by zeros */
static int spectrum_of(plane_spectrum *s, const atomdl_image *image, int plane,
                       int window, atomdl_arena *arena)
{
    int w = image->w, h = image->h;
    atomdl_image dst = plane_image(s->x, s->w, s->h);
    double mean = 0;
    if (arena->base) {
        const float *px = image->px + (size_t)w * (size_t)h * (size_t)plane;
        atomdl_image src = plane_image(px, w, h);
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
    return atomdl_fft_real(&s->f, s->x, s->w, s->w, s->h, arena);
}

/* squared frequency of bin (i, j), cycles per pixel */
static double frequency2(const plane_spectrum *s, int i, int j)
{
    double x = (double)i / s->w, y = (double)(2 * j > s->h ? j - s->h : j);
    y = y / s->h;
    return x * x + y * y;
}

/* b <- conj(a) b over its modulus + mean modulus, low-passed; returns what the
   highest point would be for equal images */
static double cross_spectrum(plane_spectrum *b, const plane_spectrum *a)
{
    size_t bins = (size_t)b->f.bins, n = bins * (size_t)b->h;
    double mean = 0, sum = 0;
    for (size_t k = 0; k < n; k++) {
        double ar = (double)a->f.re[k], ai = (double)a->f.im[k];
        double br = (double)b->f.re[k], bi = (double)b->f.im[k];
        b->f.re[k] = (float)(ar * br + ai * bi);
        b->f.im[k] = (float)(ar * bi - ai * br);
        mean = mean + atomdl_sqrt((ar * ar + ai * ai) * (br * br + bi * bi));
    }
    mean = mean / (double)n;
    for (size_t k = 0; k < n; k++) {
        int i = (int)(k % bins), j = (int)(k / bins);
        double r = (double)b->f.re[k], m = (double)b->f.im[k];
        double low = atomdl_exp(-frequency2(b, i, j) / 0.04);
        double modulus = atomdl_sqrt(r * r + m * m);
        double f = mean > 0 ? low / (modulus + mean) : 0;
        b->f.re[k] = (float)(f * r);
        b->f.im[k] = (float)(f * m);
        sum = sum + (i && 2 * i != b->w ? 2 : 1) * f * modulus;
    }
    return sum / b->w / b->h;
}

static double at_wrapped(const plane_spectrum *s, int x, int y)
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

/* the highest point within reach of prior, to sub-pixels by parabolas */
static void correlation_peak(double shift[2], double *height,
                             const plane_spectrum *s,
                             const atomdl_phase_how *how)
{
    const double *prior = how->prior, reach = how->reach;
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

/* phase correlation with a floor under the modulus: METHOD E.3 */
int atomdl_phase_shift(double shift[2], double *height, const atomdl_image *a,
                       const atomdl_image *b, const atomdl_phase_how *how,
                       atomdl_arena *arena)
{
    size_t mark = arena->used;
    double full = 0, top = 0, reach = how->reach;
    const double *prior = how->prior;
    int plane = how->plane;
    if (a->w != b->w || a->h != b->h) return ATOMDL_ESHAPE;
    if (plane < 0 || plane >= a->c || plane >= b->c || !(reach >= 0)
        || !(reach <= a->w && reach <= a->h) || !(absolute(prior[0]) <= a->w)
        || !(absolute(prior[1]) <= a->h))
        return ATOMDL_EARG;
    plane_spectrum s, t;
    int status = spectrum_new(&s, a->w, a->h, arena);
    if (!status) status = spectrum_new(&t, a->w, a->h, arena);
    if (!status) status = spectrum_of(&s, a, plane, 1, arena);
    if (!status) status = spectrum_of(&t, b, plane, 1, arena);
    if (!status && arena->base) full = cross_spectrum(&t, &s);
    if (!status)
        status = atomdl_fft_real_back(t.x, t.w, &t.f, t.w, t.h, arena);
    if (scratch_only(&status, arena, mark)) return status;
    correlation_peak(shift, &top, &t, how);
    if (height) *height = full > 0 ? top / full : 0;
    return ATOMDL_OK;
}

/* keeps the frequencies below the cut-off */
static void low_pass(plane_spectrum *s, const atomdl_subtraction *how)
{
    double low = how->cutoff * (1 - how->edge);
    double high = how->cutoff * (1 + how->edge);
    size_t bins = (size_t)s->f.bins, n = bins * (size_t)s->h;
    for (size_t k = 0; k < n; k++) {
        double f = atomdl_sqrt(frequency2(s, (int)(k % bins), (int)(k / bins)));
        double keep = f <= low ? 1 : 0;
        if (f > low && f < high)
            keep = 0.5 + 0.5 * atomdl_cos(PI * (f - low) / (high - low));
        s->f.re[k] = (float)(keep * (double)s->f.re[k]);
        s->f.im[k] = (float)(keep * (double)s->f.im[k]);
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

/* what is left without the lattice is the low-passed image: METHOD E.1 */
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
    plane_spectrum s;
    int status = spectrum_new(&s, image->w, image->h, arena);
    if (!status) status = spectrum_of(&s, image, plane, 0, arena);
    if (!status && arena->base) low_pass(&s, how);
    if (!status)
        status = atomdl_fft_real_back(s.x, s.w, &s.f, s.w, s.h, arena);
    if (scratch_only(&status, arena, mark)) return status;
    for (int y = 0; y < image->h; y++) /* the padding goes */
        memmove(s.x + (size_t)y * (size_t)image->w,
                s.x + (size_t)y * (size_t)s.w,
                (size_t)image->w * sizeof *s.x);
    atomdl_image kept = plane_image(s.x, image->w, image->h);
    status = atomdl_image_normalise(&kept, ATOMDL_NORM_MINMAX);
    double limit[2];
    if (status) return status;
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
   bits. Arrays are padded to multiples of ROW_LANES or CENTRES and need no
   alignment. */

enum { ROW_LANES = 8, CENTRES = 16, PANEL = 64 };

typedef struct {
    /* c (8 rows, ld apart, 8 columns) += sum over t of a(t, row) b(t, column);
       a, b (PANEL, 8) */
    void (*product)(double *c, size_t ld, const double *a, const double *b);
    /* row -= vj w + wj v, then p += nj row; entries from..n - 1 */
    void (*reflect)(double *row, double *p, const double *v, const double *w,
                    const double factor[3], int from, int n);
    /* squared distances d2 (CENTRES) of c (d) to the columns of x (d, CENTRES);
       gives up, 0, when weight d2 >= bound in all lanes */
    int (*distance)(double d2[CENTRES], const double *x, const double *c, int d,
                    const double weight[CENTRES], double bound);
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
    return (n + ROW_LANES - 1) / ROW_LANES * ROW_LANES;
}

static size_t grouped(int n)
{
    return ((size_t)n + CENTRES - 1) / CENTRES * CENTRES;
}

/* column i of x (groups, d, CENTRES) */
static double *column_in(double *x, int d, int i)
{
    return x + (size_t)(i / CENTRES) * (size_t)d * CENTRES + i % CENTRES;
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

static void tridiagonal_new(tridiagonal *t, int n, atomdl_arena *arena)
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
}

/* row k <- the vector of the reflection that clears it beyond k + 1 */
static void householder(tridiagonal *t, int k)
{
    double *v = t->a + (size_t)k * (size_t)t->ld;
    int m = t->n - k - 1;
    t->diagonal[k] = v[k];
    memset(v, 0, (size_t)(k + 1) * sizeof *v);
    t->beta[k] = t->off[k] = 0;
    if (!m) return;
    v += k + 1;
    t->off[k] = v[0];
    double rest = sum_of_products(v + 1, v + 1, m - 1);
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

/* Householder: one pass over the rows for each reflection */
static void tridiagonalise(tridiagonal *t, const lanes *l)
{
    size_t ld = (size_t)t->ld;
    const double *last = t->w; /* the vector of the last reflection */
    memset(t->w, 0, ld * sizeof *t->w);
    for (int k = 0; k < t->n; k++) {
        double *v = t->a + (size_t)k * ld, own[3] = {last[k], t->w[k], 0};
        int from = k / ROW_LANES * ROW_LANES;
        memset(t->p, 0, ld * sizeof *t->p);
        l->reflect(v, t->p, last, t->w, own, from, t->ld);
        householder(t, k);
        memset(t->p, 0, ld * sizeof *t->p);
        from = (k + 1) / ROW_LANES * ROW_LANES;
        for (int j = k + 1; j < t->n; j++)
            l->reflect(t->a + (size_t)j * ld, t->p, last, t->w,
                       (double[]){last[j], t->w[j], v[j]}, from, t->ld);
        double s = 0.5 * t->beta[k] * t->beta[k]
                   * sum_of_products(t->p, v, t->n);
        for (int i = 0; i < t->ld; i++)
            t->w[i] = i > k ? t->beta[k] * t->p[i] - s * v[i] : 0;
        last = v;
    }
}

/* eigenvalues below x (Sturm) */
static int eigenvalues_below(const tridiagonal *t, double x, double tiny)
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
    for (int i = 0; i < t->n; i++)
        top = most(top, absolute(t->diagonal[i]) + absolute(t->off[i])
                            + (i ? absolute(t->off[i - 1]) : 0));
    double tiny = most(0x1p-104 * top, 0x1p-1000), high = top;
    for (int i = 0; i < k; i++) {
        double low = -top;
        for (int round = 0; round < 70; round++) {
            double mid = 0.5 * (low + high);
            if (!(mid > low && mid < high)) break;
            if (eigenvalues_below(t, mid, tiny) <= t->n - 1 - i) low = mid;
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

static void tridiagonal_solve(const tridiagonal *t, double *x)
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
static int to_unit(double *x, int n)
{
    double top = 0;
    for (int i = 0; i < n; i++) top = most(top, absolute(x[i]));
    if (!(top > 0)) return 0;
    for (int i = 0; i < n; i++) x[i] = x[i] / top;
    double s = atomdl_sqrt(sum_of_products(x, x, n));
    for (int i = 0; i < n; i++) x[i] = x[i] / s;
    return 1;
}

/* x loses its parts along `count` unit vectors */
static void orthogonal(double *x, const double *vector, int n, int count)
{
    for (int j = 0; j < count; j++) {
        const double *v = vector + (size_t)j * (size_t)n;
        double s = sum_of_products(x, v, n);
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
            tridiagonal_solve(t, x);
            to_unit(x, n);
            orthogonal(x, vector, n, j);
            orthogonal(x, vector, n, j);
            if (!to_unit(x, n)) /* all of it lay in the earlier ones */
                for (int i = 0; i < n; i++) x[i] = atomdl_rng_uniform64(&rng);
        }
    }
    for (int j = 0; j < k; j++)
        for (int i = n - 1; i >= 0; i--) {
            double *x = vector + (size_t)j * (size_t)n;
            const double *v = t->a + (size_t)i * (size_t)t->ld;
            double s = t->beta[i] * sum_of_products(v, x, n);
            for (int q = i; q < n; q++) x[q] = x[q] - s * v[q];
        }
}

/* ---------- Principal components ------------------------------------------ */

typedef struct {
    const float *x; /* (n, d) */
    int n, d, gram; /* gram: rows against rows, else columns */
    double *panel;  /* (ld / 8, PANEL, 8) */
    const lanes *lanes;
} covariance;

/* panel <- PANEL samples from `first` on, centred; beyond the last: 0 */
static void fill_panels(const covariance *c, const double *mean, int side,
                        int first)
{
    int samples = c->gram ? c->d : c->n;
    for (int t = 0; t < PANEL; t++)
        for (int i = 0; i < padded(side); i++) {
            int s = first + t, row = c->gram ? i : s, column = c->gram ? s : i;
            double v = 0;
            if (s < samples && i < side)
                v = (double)c->x[(size_t)row * (size_t)c->d + (size_t)column]
                    - mean[column];
            c->panel[((size_t)(i / ROW_LANES) * PANEL + (size_t)t) * ROW_LANES
                     + (size_t)(i % ROW_LANES)] = v;
        }
}

/* t->a <- sums of products of centred columns (or rows); each entry one sum in
   sequence */
static void fill_covariance(tridiagonal *t, const covariance *c,
                            const double *mean)
{
    size_t ld = (size_t)t->ld, panels = ld / ROW_LANES;
    int samples = c->gram ? c->d : c->n;
    memset(t->a, 0, ld * ld * sizeof *t->a);
    for (int s = 0; s < samples; s += PANEL) {
        fill_panels(c, mean, t->n, s);
        for (size_t i = 0; i < panels; i++)
            for (size_t j = i; j < panels; j++)
                c->lanes->product(t->a + ROW_LANES * (i * ld + j), ld,
                           c->panel + i * PANEL * ROW_LANES,
                           c->panel + j * PANEL * ROW_LANES);
    }
    for (size_t i = 0; i < ld; i++)
        for (size_t j = 0; j < i; j++) t->a[i * ld + j] = t->a[j * ld + i];
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
static int components_enough(const atomdl_pca *pca, double fraction,
                             int most_of_them)
{
    double sum = 0;
    int k = 0;
    while (k < most_of_them && (!k || sum < fraction * pca->total))
        sum = sum + pca->value[k++];
    return k;
}

/* covariance or Gram matrix, its eigenvectors, signs */
static void pca_run(atomdl_pca *pca, tridiagonal *t, const covariance *c,
                    double *small, double fraction)
{
    int keep = pca->k;
    atomdl_class_means(pca->mean, NULL, c->x, NULL, c->n, c->d, 1);
    fill_covariance(t, c, pca->mean);
    for (int i = 0; i < t->n; i++)
        pca->total = pca->total + t->a[(size_t)i * (size_t)(t->ld + 1)];
    tridiagonalise(t, c->lanes);
    double top = eigenvalues(pca->value, t, keep);
    pca->k = components_enough(pca, fraction, keep);
    eigenvectors(c->gram ? small : pca->vector, pca->value, t, pca->k, top);
    for (int i = 0; i < pca->k; i++) {
        double *v = pca->vector + (size_t)i * (size_t)c->d;
        if (c->gram)
            from_gram(v, c, pca->mean, small + (size_t)i * (size_t)c->n);
        if (c->gram) orthogonal(v, pca->vector, c->d, i);
        if (!to_unit(v, c->d)) v[i] = 1; /* nothing varies along it */
        fix_sign(v, c->d);
        pca->value[i] = most(0, pca->value[i]) / (c->n - 1);
    }
    pca->total = pca->total / (c->n - 1);
}

/* the smaller of both matrices, (d, d) or (n, n): METHOD E.2 */
int atomdl_pca_fit(atomdl_pca *pca, const float *x, int n, int d,
                   const atomdl_pca_how *how, atomdl_arena *arena)
{
    memset(pca, 0, sizeof *pca);
    if (n < 2 || d < 1 || d > 1 << 16 || least_int(n, d) > 1 << 14
        || how->most < 1 || how->most > ATOMDL_COMPONENTS
        || !(how->fraction > 0 && how->fraction <= 1))
        return ATOMDL_EARG;
    int keep = least_int(how->most, least_int(n - 1, d));
    *pca = (atomdl_pca){.d = d, .k = keep, .kernels = how->kernels};
    pca->mean = doubles(arena, (size_t)d);
    pca->value = doubles(arena, (size_t)keep);
    pca->vector = doubles(arena, (size_t)keep * (size_t)d);
    size_t mark = arena->used;
    covariance c = {x, n, d, n < d, NULL, lanes_of(how->kernels)};
    tridiagonal t;
    int status = ATOMDL_OK;
    tridiagonal_new(&t, least_int(n, d), arena);
    c.panel = doubles(arena, (size_t)t.ld * PANEL);
    double *small = doubles(arena, (size_t)keep * (size_t)t.n);
    if (scratch_only(&status, arena, mark)) return status;
    if (!finite_floats(x, (size_t)n * (size_t)d)) return ATOMDL_ENAN;
    pca_run(pca, &t, &c, small, how->fraction);
    return ATOMDL_OK;
}

/* rows ROW_LANES at a time, in panels of the transposed vectors */
int atomdl_pca_project(double *y, const atomdl_pca *pca, const float *x,
                       int n, atomdl_arena *arena)
{
    const lanes *l = lanes_of(pca->kernels);
    size_t d = (size_t)pca->d, k = (size_t)padded(pca->k), mark = arena->used;
    int status = n < 0 ? ATOMDL_EARG : ATOMDL_OK;
    double *sum = doubles(arena, ROW_LANES * k);
    double *rows = doubles(arena, PANEL * ROW_LANES);
    double *columns = doubles(arena, PANEL * ROW_LANES);
    if (scratch_only(&status, arena, mark)) return status;
    if (!finite_floats(x, (size_t)n * d)) return ATOMDL_ENAN;
    for (size_t first = 0; first < (size_t)n; first += ROW_LANES) {
        covariance c = {x + first * d, n - (int)first, pca->d, 1, rows, l};
        memset(sum, 0, ROW_LANES * k * sizeof *sum);
        for (size_t from = 0; from < d; from += PANEL) {
            fill_panels(&c, pca->mean, least_int(ROW_LANES, c.n), (int)from);
            for (size_t q = 0; q < k; q += ROW_LANES) {
                for (size_t i = 0; i < PANEL * ROW_LANES; i++) {
                    size_t v = q + i % ROW_LANES, p = from + i / ROW_LANES;
                    columns[i] = v < (size_t)pca->k && p < d
                                     ? pca->vector[v * d + p] : 0;
                }
                l->product(sum + q, k, rows, columns);
            }
        }
        for (size_t i = 0; i < ROW_LANES && first + i < (size_t)n; i++)
            for (size_t j = 0; j < (size_t)pca->k; j++)
                y[(first + i) * (size_t)pca->k + j] = sum[i * k + j];
    }
    return ATOMDL_OK;
}

/* ---------- Classes: k-means ---------------------------------------------- */

static int rows_sound(const atomdl_points *p, int k, const atomdl_arena *arena)
{
    if (p->n < 1 || p->d < 1 || p->d > 1024 || k < 1 || k > p->n
        || k > ATOMDL_KINDS)
        return ATOMDL_EARG;
    for (size_t i = 0; arena->base && i < (size_t)p->n * (size_t)p->d; i++) {
        if (!is_finite(p->x[i])) return ATOMDL_ENAN;
        if (absolute(p->x[i]) > 0x1p300) return ATOMDL_EARG; /* squares add */
    }
    return ATOMDL_OK;
}

typedef struct {
    const double *x; /* (n, d) */
    int n, d, k;
    const lanes *lanes;
    double *centre;  /* (groups of k, d, CENTRES) */
    double *near;    /* (n) squared distance to the nearest centre */
    int *label;      /* (n) */
    u32 *members;    /* (k) */
} means;

static const double *means_row(const means *m, int i)
{
    return m->x + (size_t)i * (size_t)m->d;
}

static void set_centre(means *m, int c, int row)
{
    for (int j = 0; j < m->d; j++)
        column_in(m->centre, m->d, c)[j * CENTRES] = means_row(m, row)[j];
}

/* near, label <- with respect to centres from..to - 1 as well */
static void nearest_centres(means *m, int from, int to)
{
    static const double ONE[CENTRES] = {1, 1, 1, 1, 1, 1, 1, 1,
                                      1, 1, 1, 1, 1, 1, 1, 1};
    double d2[CENTRES];
    for (int i = 0; i < m->n; i++) {
        if (!from) m->near[i] = FAR;
        for (int c = from, first; c < to; c = first + CENTRES) {
            first = c / CENTRES * CENTRES;
            if (!m->lanes->distance(d2, m->centre + first * m->d,
                                    means_row(m, i), m->d, ONE, m->near[i]))
                continue;
            for (; c < to && c < first + CENTRES; c++)
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
    for (int c = 1; c < m->k; c++) {
        double at = atomdl_rng_uniform64(rng) * inertia_of(m);
        int i = 0;
        while (i + 1 < m->n && !(at < m->near[i])) at = at - m->near[i++];
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
        double *centre = column_in(m->centre, m->d, m->label[i]);
        m->members[m->label[i]]++;
        for (int j = 0; j < m->d; j++)
            centre[j * CENTRES] = centre[j * CENTRES] + means_row(m, i)[j];
    }
    for (int c = 0; c < m->k; c++) {
        double *centre = column_in(m->centre, m->d, c);
        int far = 0;
        for (int j = 0; m->members[c] && j < m->d; j++)
            centre[j * CENTRES] = centre[j * CENTRES] / m->members[c];
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

/* the best of some starts: METHOD E.2 */
int atomdl_kmeans(int *label, double *centre, double *inertia,
                  const atomdl_points *rows, const atomdl_kmeans_how *how,
                  atomdl_arena *arena)
{
    size_t mark = arena->used;
    double best = 0;
    int status = rows_sound(rows, how->k, arena);
    int n = rows->n, d = rows->d, k = how->k;
    if (status || how->starts < 1) return status ? status : ATOMDL_EARG;
    means m = {.x = rows->x, .n = n, .d = d, .k = k,
               .lanes = lanes_of(how->kernels)};
    m.centre = doubles(arena, (size_t)d * grouped(k));
    m.near = doubles(arena, (size_t)n);
    m.label = atomdl_alloc(arena, (size_t)n, sizeof *m.label);
    m.members = atomdl_alloc(arena, (size_t)k, sizeof *m.members);
    if (scratch_only(&status, arena, mark)) return status;
    for (int s = 0; s < how->starts; s++) {
        atomdl_rng draw = atomdl_rng_split(&how->rng, (u64)s);
        memset(m.centre, 0, (size_t)d * grouped(k) * sizeof *m.centre);
        scatter_centres(&m, &draw);
        double now = settle_centres(&m);
        if (s && !(now < best)) continue;
        best = now;
        memcpy(label, m.label, (size_t)n * sizeof *label);
        for (int c = 0; c < k; c++)
            for (int j = 0; j < d; j++)
                centre[c * d + j] = column_in(m.centre, m.d, c)[j * CENTRES];
    }
    *inertia = best;
    return is_finite(best) ? ATOMDL_OK : ATOMDL_ENAN;
}

/* ---------- Classes: Gaussian mixtures ------------------------------------

   y = F (x - mean) has unit covariance: log p = bias - |y|^2 / 2. Rows come
   ROW_LANES at a time, transposed. */

typedef struct {
    double *x, *y;  /* (d, ROW_LANES) rows less the mean, whitened */
    double *log_p;  /* (k, ROW_LANES) */
} batch;

static void batch_new(batch *b, int d, int k, atomdl_arena *arena)
{
    b->x = doubles(arena, (size_t)d * ROW_LANES);
    b->y = doubles(arena, (size_t)d * ROW_LANES);
    b->log_p = doubles(arena, (size_t)k * ROW_LANES);
}

static size_t spread_size(const atomdl_gmm *g)
{
    return (size_t)g->d * (g->full ? (size_t)g->d : 1);
}

/* b->x <- rows first.. less the mean of class c; past the last: the last */
static void centre_rows(const batch *b, const atomdl_gmm *g,
                        const atomdl_points *rows, int first, int c)
{
    const double *mean = g->mean + c * g->d;
    for (int q = 0; q < ROW_LANES; q++) {
        int row = least_int(first + q, rows->n - 1);
        const double *from = rows->x + (size_t)row * (size_t)g->d;
        for (int i = 0; i < g->d; i++)
            b->x[i * ROW_LANES + q] = from[i] - mean[i];
    }
}

/* b->log_p <- log(weight p(x | class)) of ROW_LANES rows */
static void log_densities(const batch *b, const atomdl_gmm *g,
                          const atomdl_points *rows, int first)
{
    for (int c = 0; c < g->k; c++) {
        const double *factor = g->factor + spread_size(g) * (size_t)c;
        double s[ROW_LANES] = {0}, t[ROW_LANES];
        centre_rows(b, g, rows, first, c);
        for (int i = 0; i < g->d; i++) {
            const double *f = g->full ? factor + i * g->d : factor;
            const double *v = b->x;
            for (int q = 0; q < ROW_LANES; q++) t[q] = 0;
            for (int j = g->full ? 0 : i; j <= i; j++)
                for (int q = 0; q < ROW_LANES; q++)
                    t[q] = t[q] + f[j] * v[j * ROW_LANES + q];
            for (int q = 0; q < ROW_LANES; q++) s[q] = s[q] + t[q] * t[q];
        }
        for (int q = 0; q < ROW_LANES; q++)
            b->log_p[c * ROW_LANES + q] = g->bias[c] - 0.5 * s[q];
    }
}

/* row q of the batch: posterior (k) (may be NULL) and the log of the sum */
static double gmm_share(double *posterior, const batch *b, int k, int q)
{
    double top = b->log_p[q], sum = 0;
    for (int c = 1; c < k; c++) top = most(top, b->log_p[c * ROW_LANES + q]);
    for (int c = 0; c < k; c++) {
        double e = atomdl_exp(b->log_p[c * ROW_LANES + q] - top);
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
            double s = a[i * d + j] - sum_of_products(a + i * d, a + j * d, j);
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
static void gmm_prepare(atomdl_gmm *g, double reg)
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
static void update_class(atomdl_gmm *g, int c, const atomdl_points *rows,
                         const double *p, double *v, double reg)
{
    const double *x = rows->x, *share = p + c;
    int n = rows->n, dim = g->d;
    double *mean = g->mean + c * dim, sum = 0;
    double *spread = g->spread + spread_size(g) * (size_t)c;
    memset(mean, 0, (size_t)dim * sizeof *mean);
    memset(spread, 0, spread_size(g) * sizeof *spread);
    for (int i = 0; i < n; i++, x += dim, share += g->k) {
        sum = sum + *share;
        for (int j = 0; *share > 0 && j < dim; j++)
            mean[j] = mean[j] + *share * x[j];
    }
    sum = sum + 10 * 0x1p-52; /* as scikit-learn: no class vanishes */
    for (int j = 0; j < dim; j++) mean[j] = mean[j] / sum;
    for (int i = 0; i < n; i++) {
        double r = p[(size_t)i * (size_t)g->k + (size_t)c];
        if (!(r > 0)) continue;
        for (int j = 0; j < dim; j++)
            v[j] = rows->x[(size_t)i * (size_t)dim + (size_t)j] - mean[j];
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

static void gmm_new(atomdl_gmm *g, atomdl_arena *arena)
{
    size_t k = (size_t)g->k;
    g->weight = doubles(arena, k);
    g->mean = doubles(arena, k * (size_t)g->d);
    g->spread = doubles(arena, k * spread_size(g));
    g->factor = doubles(arena, k * spread_size(g));
    g->bias = doubles(arena, k);
}

/* posteriors of all rows; returns the mean log-likelihood */
static double gmm_expect(double *p, const batch *b, const atomdl_gmm *g,
                     const atomdl_points *rows)
{
    double sum = 0;
    for (int first = 0; first < rows->n; first += ROW_LANES) {
        log_densities(b, g, rows, first);
        for (int q = 0; q < ROW_LANES && first + q < rows->n; q++)
            sum = sum + gmm_share(p + (size_t)(first + q) * (size_t)g->k, b,
                                  g->k, q);
    }
    return sum / rows->n;
}

static void gmm_run(atomdl_gmm *g, double *p, const batch *b,
                    const atomdl_points *rows, const atomdl_gmm_how *how)
{
    double last = -FAR, d = g->d, n = rows->n;
    for (g->rounds = 0; g->rounds < how->rounds;) {
        for (int c = 0; c < g->k; c++)
            update_class(g, c, rows, p, b->y, how->reg);
        gmm_prepare(g, how->reg);
        g->mean_log = gmm_expect(p, b, g, rows);
        g->rounds++;
        if (!(g->mean_log - last >= how->tolerance)) break;
        last = g->mean_log;
    }
    double parameters = g->k * (1 + d + (g->full ? d * (d + 1) / 2 : d)) - 1;
    g->bic = -2 * g->mean_log * n + parameters * atomdl_log(n);
}

/* from hard classes, so that k-means decides where it starts: METHOD E.2 */
int atomdl_gmm_fit(atomdl_gmm *gmm, const atomdl_points *rows,
                   const int *label, const atomdl_gmm_how *how,
                   atomdl_arena *arena)
{
    int status = rows_sound(rows, how->k, arena);
    int n = rows->n, d = rows->d, k = how->k;
    memset(gmm, 0, sizeof *gmm);
    if (status) return status;
    if (!(how->reg > 0 && how->reg < FAR) || !(how->tolerance >= 0)
        || how->rounds < 1)
        return ATOMDL_EARG;
    *gmm = (atomdl_gmm){.k = k, .d = d, .full = how->full != 0};
    gmm_new(gmm, arena);
    size_t mark = arena->used;
    batch b;
    batch_new(&b, d, k, arena);
    double *p = doubles(arena, (size_t)n * (size_t)k);
    if (scratch_only(&status, arena, mark)) return status;
    memset(p, 0, (size_t)n * (size_t)k * sizeof *p);
    for (int i = 0; i < n; i++) {
        if (label[i] < 0 || label[i] >= k) return ATOMDL_EARG;
        p[(size_t)i * (size_t)k + (size_t)label[i]] = 1;
    }
    gmm_run(gmm, p, &b, rows, how);
    return is_finite(gmm->mean_log) ? ATOMDL_OK : ATOMDL_ENAN;
}

/* ROW_LANES rows at a time, as in the fit */
int atomdl_gmm_classify(double *density, double *posterior, int *label,
                        const atomdl_gmm *gmm, const atomdl_points *rows,
                        atomdl_arena *arena)
{
    size_t mark = arena->used, k = (size_t)gmm->k;
    int n = rows->n, status = ATOMDL_OK;
    if (n < 0 || rows->d != gmm->d) return ATOMDL_EARG;
    batch b;
    batch_new(&b, gmm->d, gmm->k, arena);
    if (scratch_only(&status, arena, mark)) return status;
    if (!points_finite(rows)) return ATOMDL_ENAN;
    for (int first = 0; first < n; first += ROW_LANES) {
        log_densities(&b, gmm, rows, first);
        for (int q = 0; q < ROW_LANES && first + q < n; q++) {
            size_t row = (size_t)(first + q);
            int best = 0;
            for (int c = 0; c < gmm->k; c++) {
                double l = b.log_p[c * ROW_LANES + q];
                if (density)
                    density[row * k + (size_t)c] = l
                        - atomdl_log(gmm->weight[c]);
                if (l > b.log_p[best * ROW_LANES + q]) best = c;
            }
            if (posterior) gmm_share(posterior + row * k, &b, gmm->k, q);
            if (label) label[row] = best;
        }
    }
    return ATOMDL_OK;
}

/* ---------- Classes: Ward's hierarchy -------------------------------------

   Clusters are centroids with sizes; two of sizes a, b lie at squared distance
   2 a b/(a + b) |difference|^2 (of single rows: their own distance, as SciPy).
   Centroids stand in blocks of CENTRES, transposed; a merge fills one place and
   moves the last cluster into the other. */

typedef struct {
    int d, live;
    double *x;    /* (blocks, d, CENTRES) */
    double *size; /* (blocks * CENTRES); 0: no cluster */
    u32 *id;      /* of the cluster in each place: a row of it */
    u32 *place;   /* (n) of each cluster */
    double *c;    /* (d) */
    u32 *chain;   /* (n) ids */
    const lanes *lanes;
} hierarchy;

static void hierarchy_new(hierarchy *h, int n, int d, atomdl_arena *arena)
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
}

/* nearest cluster to that of id; `last` (UINT32_MAX: none) wins ties, then the
   first place. *d2 <- squared distance. */
static u32 nearest_cluster(double *d2, hierarchy *h, u32 id, u32 last)
{
    u32 self = h->place[id], best = UINT32_MAX;
    double bound = FAR, own = h->size[self];
    const double *from = column_in(h->x, h->d, (int)self);
    int blocks = (h->live + CENTRES - 1) / CENTRES;
    for (int j = 0; j < h->d; j++) h->c[j] = from[j * CENTRES];
    double r[CENTRES], w[CENTRES];
    for (int j = -1; j < blocks; j++) { /* first the block of the last one */
        u32 p = (u32)(j < 0 ? 0 : j) * CENTRES;
        if (j < 0 && last == UINT32_MAX) continue;
        if (j < 0) p = h->place[last] / CENTRES * CENTRES;
        for (int q = 0; q < CENTRES; q++)
            w[q] = 2 * own * h->size[p + (u32)q] / (own + h->size[p + (u32)q]);
        if (!h->lanes->distance(r, h->x + (size_t)p * (size_t)h->d, h->c, h->d,
                                w, bound))
            continue;
        for (int q = 0; q < CENTRES; q++) {
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
static void join_clusters(hierarchy *h, u32 a, u32 b)
{
    u32 pa = h->place[a], pb = h->place[b], last = (u32)--h->live;
    double *ca = column_in(h->x, h->d, (int)pa);
    double *cb = column_in(h->x, h->d, (int)pb);
    double na = h->size[pa], nb = h->size[pb];
    for (int j = 0; j < h->d * CENTRES; j += CENTRES)
        cb[j] = (na * ca[j] + nb * cb[j]) / (na + nb);
    h->size[pb] = na + nb;
    double *cl = column_in(h->x, h->d, (int)last);
    for (int j = 0; j < h->d * CENTRES; j += CENTRES) ca[j] = cl[j];
    h->size[pa] = h->size[last];
    h->id[pa] = h->id[last];
    h->place[h->id[pa]] = pa;
}

/* merge (n - 1) <- clusters by one of their rows, in the order of the chain */
static void chain_merges(atomdl_merge *merge, hierarchy *h, int n)
{
    double d2;
    int length = 0;
    for (int k = 0; k < n - 1; k++) {
        if (!length) h->chain[length++] = h->id[0];
        u32 a, b;
        for (;;) {
            a = h->chain[length - 1];
            b = nearest_cluster(&d2, h, a,
                                length > 1 ? h->chain[length - 2] : UINT32_MAX);
            if (length > 1 && b == h->chain[length - 2]) break;
            h->chain[length++] = b;
        }
        length -= 2;
        merge[k] = (atomdl_merge){a, b, 0, atomdl_sqrt(d2)};
        join_clusters(h, a, b);
    }
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
        merge[k] = (atomdl_merge){name[rising ? a : b], name[rising ? b : a],
                                  0, sorted[k].height};
        for (u32 i = 0; i < 2; i++) {
            u32 part = i ? merge[k].b : merge[k].a;
            merge[k].size += part < (u32)n ? 1 : merge[part - (u32)n].size;
        }
        parent[a] = b;
        name[b] = (u32)(n + k);
    }
}

/* chains of nearest neighbours, then merges by rising height: METHOD E.2 */
int atomdl_ward(atomdl_merge *merge, const atomdl_points *rows,
                const atomdl_kernels *kernels, atomdl_arena *arena)
{
    size_t mark = arena->used;
    int status = rows_sound(rows, 1, arena), n = rows->n, d = rows->d;
    if (status) return status;
    size_t room = (size_t)n;
    hierarchy h = {.lanes = lanes_of(kernels)};
    hierarchy_new(&h, n, d, arena);
    double *key = doubles(arena, room);
    u32 *order = atomdl_alloc(arena, room, sizeof *order);
    atomdl_merge *sorted = atomdl_alloc(arena, room, sizeof *sorted);
    if (scratch_only(&status, arena, mark)) return status;
    memset(h.x, 0, grouped(n) * (size_t)d * sizeof *h.x);
    memset(h.size, 0, grouped(n) * sizeof *h.size);
    for (int i = 0; i < n; i++) {
        h.size[i] = 1;
        h.id[i] = h.place[i] = (u32)i;
        for (int j = 0; j < d; j++)
            column_in(h.x, d, i)[j * CENTRES] = rows->x[(size_t)i * (size_t)d
                                                      + (size_t)j];
    }
    chain_merges(merge, &h, n);
    for (int i = 0; i < n - 1; i++) key[i] = merge[i].height;
    status = atomdl_sort(order, key, room - 1, h.chain);
    if (status) return status;
    number_merges(merge, sorted, order, h.chain, h.place, n);
    return ATOMDL_OK;
}

/* the tree without its last merges; roots are numbered by their first row */
int atomdl_ward_labels(int *label, const atomdl_merge *merge, int n, int k,
                       atomdl_arena *arena)
{
    size_t mark = arena->used;
    int next = 0, status = ATOMDL_OK;
    if (n < 1 || k < 1 || k > n) return ATOMDL_EARG;
    u32 *parent = atomdl_alloc(arena, 2 * (size_t)n, sizeof *parent);
    u32 *name = atomdl_alloc(arena, 2 * (size_t)n, sizeof *name);
    if (scratch_only(&status, arena, mark)) return status;
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
    double f = freedom, v = 2 / (9 * f);
    x = (atomdl_pow(x / f, 1 / 3.0) - (1 - v)) / atomdl_sqrt(v);
    return 0.5 * (1 - atomdl_erf(x / atomdl_sqrt(2)));
}

static int prior_sound(double (*prior)[ATOMDL_MARKOV], int n)
{
    for (int i = 0; prior && i < n; i++)
        for (int j = 0; j < n; j++)
            if (!(prior[i][j] >= 0 && prior[i][j] < FAR)) return 0;
    return 1;
}

/* row i from its counts and the prior */
static void solve_row(atomdl_markov *m, const atomdl_counts *c, int i,
                      double each, double prior[][ATOMDL_MARKOV])
{
    double sum = 0, gone = 0;
    for (int j = 0; j < m->states; j++) {
        m->p[i][j] = c->pair[i][j] + (prior ? prior[i][j] : each);
        sum = sum + m->p[i][j];
    }
    for (int j = 0; j < m->states; j++) {
        m->p[i][j] = sum > 0 ? m->p[i][j] / sum : (double)(i == j);
        m->sd[i][j] = atomdl_sqrt(m->p[i][j] * (1 - m->p[i][j]) / (sum + 1));
        if (j != i) gone = gone + m->p[i][j];
    }
    m->lifetime[i] = gone > 0 ? 1 / gone : 0;
    m->lifetime_sd[i] = gone > 0 ? m->sd[i][i] / (gone * gone) : 0;
}

int atomdl_markov_solve(atomdl_markov *markov, const atomdl_counts *counts,
                        double prior_each, double prior[][ATOMDL_MARKOV])
{
    memset(markov, 0, sizeof *markov);
    if (!states_sound(counts->states) || !prior_sound(prior, counts->states)
        || (!prior && !(prior_each >= 0 && prior_each < FAR)))
        return ATOMDL_EARG;
    markov->states = counts->states;
    for (int i = 0; i < markov->states; i++)
        solve_row(markov, counts, i, prior_each, prior);
    stationary(markov);
    for (int i = 0; i < markov->states; i++) order_test(markov, counts, i);
    markov->p_markov = chi2_tail(markov->g, markov->freedom);
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

/* *n <- numbers in traces->logb, *longest <- frames of the longest trace */
static int hmm_sound(size_t *n, size_t *longest, const atomdl_hmm *hmm,
                     const atomdl_traces *traces)
{
    *n = *longest = 0;
    if (!states_sound(hmm->states) || traces->n < 0
        || !distribution(hmm->start, hmm->states))
        return ATOMDL_EARG;
    for (int i = 0; i < hmm->states; i++)
        if (!distribution(hmm->p[i], hmm->states)) return ATOMDL_EARG;
    for (int i = 0; i < traces->n; i++) {
        size_t length = (size_t)traces->length[i];
        if (traces->length[i] < 0) return ATOMDL_EARG;
        *n += length * (size_t)hmm->states;
        if (length > *longest) *longest = length;
    }
    return ATOMDL_OK;
}

static int logb_sound(const double *logb, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (logb[i] != logb[i]) return ATOMDL_ENAN;
        if (logb[i] > FAR) return ATOMDL_EARG;
    }
    return ATOMDL_OK;
}

/* one trace of n frames; from (n, states): best predecessors. Returns the
   log-probability. */
static double viterbi(int32_t *path, const atomdl_hmm *hmm,
                      double p[][ATOMDL_MARKOV], const double *logb, int n,
                      u8 *from)
{
    double now[ATOMDL_MARKOV] = {0}, old[ATOMDL_MARKOV];
    int s = hmm->states, t, i, j, best;
    for (j = 0; j < s; j++) now[j] = atomdl_log(hmm->start[j]) + logb[j];
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

/* the best path in logarithms: METHOD E.4 */
int atomdl_hmm_viterbi(int32_t *path, double *score, const atomdl_hmm *hmm,
                       const atomdl_traces *traces, atomdl_arena *arena)
{
    size_t mark = arena->used, n, longest;
    int status = hmm_sound(&n, &longest, hmm, traces), s = hmm->states;
    double sum = 0;
    if (status) return status;
    u8 *from = atomdl_alloc(arena, longest, (size_t)s);
    if (scratch_only(&status, arena, mark)) return status;
    const double *logb = traces->logb;
    status = logb_sound(logb, n);
    matrix p;
    for (int i = 0; i < s; i++)
        for (int j = 0; j < s; j++) p[i][j] = atomdl_log(hmm->p[i][j]);
    for (int k = 0; k < traces->n && !status; k++) {
        int length = traces->length[k];
        if (!length) continue;
        sum = sum + viterbi(path, hmm, p, logb, length, from);
        path += length;
        logb += length * s;
    }
    if (!status && !(sum > -FAR)) status = ATOMDL_EARG;
    if (score) *score = sum;
    return status;
}

typedef struct {
    int to;
    double p, *count; /* count (may be NULL) += times one is expected to go */
} chain_way;

typedef struct { /* a chain whose states are hidden */
    int n, frames;
    double *a;  /* (frames, n) the first row: before anything is seen */
    double *e;  /* (frames, n) how likely each state shows what is seen */
    double *b;  /* (n) */
    chain_way *way; /* (n) */
    void *of;
    /* way <- those out of state i after frame t; returns how many */
    int (*ways)(void *of, chain_way *way, int i, int t);
} hidden_chain;

/* a <- probabilities of states by what was seen until then, e in units of how
   likely that was. Returns the log-likelihood; -FAR: impossible */
static double chain_forward(const hidden_chain *c)
{
    double *a = c->a, *e = c->e, log_p = 0;
    for (int t = 0; t < c->frames; t++, a += c->n, e += c->n) {
        double sum = 0;
        for (int i = 0; t && i < c->n; i++) a[i] = 0;
        for (int i = 0; t && i < c->n; i++) {
            int ways = c->ways(c->of, c->way, i, t - 1);
            for (const chain_way *w = c->way; w < c->way + ways; w++)
                a[w->to] = a[w->to] + (a - c->n)[i] * w->p;
        }
        for (int i = 0; i < c->n; i++) {
            a[i] = a[i] * e[i];
            sum = sum + a[i];
        }
        if (!(sum > 0)) return -FAR;
        for (int i = 0; i < c->n; i++) {
            a[i] = a[i] / sum;
            e[i] = e[i] / sum;
        }
        log_p = log_p + atomdl_log(sum);
    }
    return log_p;
}

/* a <- probabilities of states by what was seen in all frames */
static void chain_backward(const hidden_chain *c)
{
    double *b = c->b;
    for (int i = 0; i < c->n; i++) b[i] = 1;
    for (int t = c->frames - 2; t >= 0; t--) {
        double *a = c->a + (size_t)t * (size_t)c->n, sum = 0;
        double *next = c->e + (size_t)(t + 1) * (size_t)c->n;
        for (int i = 0; i < c->n; i++) next[i] = next[i] * b[i];
        for (int i = 0; i < c->n; i++) {
            int ways = c->ways(c->of, c->way, i, t);
            b[i] = 0;
            for (const chain_way *w = c->way; w < c->way + ways; w++) {
                double x = w->p * next[w->to];
                b[i] = b[i] + x;
                if (w->count) *w->count = *w->count + a[i] * x;
            }
            sum = sum + a[i] * b[i];
        }
        for (int i = 0; i < c->n; i++) a[i] = a[i] * b[i] / sum;
    }
}

/* e (n, s) <- exp(logb - the greatest of its frame); returns their sum */
static double hmm_emissions(double *e, const double *logb, int n, int s)
{
    double sum = 0;
    for (int t = 0; t < n; t++, e += s, logb += s) {
        double top = logb[0];
        for (int j = 1; j < s; j++) top = most(top, logb[j]);
        for (int j = 0; j < s; j++)
            e[j] = top > -FAR ? atomdl_exp(logb[j] - top) : 0;
        sum = sum + top;
    }
    return sum;
}

typedef struct { /* expected counts over all traces */
    const atomdl_hmm *hmm;
    matrix pairs;
    double first[ATOMDL_MARKOV];
} expectation;

static int hmm_ways(void *of, chain_way *way, int i, int t)
{
    expectation *x = of;
    (void)t;
    for (int j = 0; j < x->hmm->states; j++, way++) {
        way->to = j;
        way->p = x->hmm->p[i][j];
        way->count = &x->pairs[i][j];
    }
    return x->hmm->states;
}

/* all traces: posterior (n, states); e (longest trace, states); sum <- expected
   counts. Returns the log-likelihood; -FAR: impossible */
static double hmm_expected(double *posterior, double *e, const atomdl_hmm *hmm,
                           const atomdl_traces *traces, expectation *sum)
{
    double b[ATOMDL_MARKOV], all = 0;
    const double *logb = traces->logb;
    chain_way way[ATOMDL_MARKOV];
    hidden_chain c = {hmm->states, 0, posterior, e, b, way, sum, hmm_ways};
    memset(sum, 0, sizeof *sum);
    sum->hmm = hmm;
    for (int k = 0; k < traces->n; k++) {
        c.frames = traces->length[k];
        if (!c.frames) continue;
        double top = hmm_emissions(e, logb, c.frames, c.n);
        memcpy(c.a, hmm->start, (size_t)c.n * sizeof *c.a);
        double p = chain_forward(&c);
        if (p == -FAR) return p;
        all = all + (p + top);
        chain_backward(&c);
        for (int j = 0; j < c.n; j++) sum->first[j] = sum->first[j] + c.a[j];
        c.a += (size_t)c.frames * (size_t)c.n;
        logb += (size_t)c.frames * (size_t)c.n;
    }
    return all;
}

int atomdl_hmm_posterior(double *posterior, double *score,
                         const atomdl_hmm *hmm, const atomdl_traces *traces,
                         atomdl_arena *arena)
{
    size_t mark = arena->used, n, longest;
    int status = hmm_sound(&n, &longest, hmm, traces);
    if (status) return status;
    double *e = doubles(arena, longest * (size_t)hmm->states);
    if (scratch_only(&status, arena, mark)) return status;
    status = logb_sound(traces->logb, n);
    if (status) return status;
    expectation sum;
    double p = hmm_expected(posterior, e, hmm, traces, &sum);
    if (score) *score = p;
    return p == -FAR ? ATOMDL_EARG : ATOMDL_OK;
}

/* probabilities from expected counts and prior; returns the log of the prior
   density of those it had before */
static double hmm_improve(atomdl_hmm *hmm, const expectation *sum_of,
                      double (*prior)[ATOMDL_MARKOV])
{
    double log_prior = 0, sum = 0, q[ATOMDL_MARKOV];
    int s = hmm->states, j;
    for (j = 0; j < s; j++) {
        if (hmm->start[j] > 0)
            log_prior = log_prior + atomdl_log(hmm->start[j]) / s;
        q[j] = hmm->start[j] > 0 ? sum_of->first[j] + 1.0 / s : 0;
        sum = sum + q[j];
    }
    for (j = 0; j < s; j++) hmm->start[j] = q[j] / sum;
    for (int i = 0; i < s; i++) {
        for (j = 0, sum = 0; j < s; j++) {
            double w = prior ? prior[i][j] : 0, p = hmm->p[i][j];
            if (p > 0 && w > 0) log_prior = log_prior + w * atomdl_log(p);
            q[j] = p > 0 ? sum_of->pairs[i][j] + w : 0;
            sum = sum + q[j];
        }
        for (j = 0; sum > 0 && j < s; j++) hmm->p[i][j] = q[j] / sum;
    }
    return log_prior;
}

/* Baum-Welch with a Dirichlet prior, from any model: METHOD E.4 */
int atomdl_hmm_learn(atomdl_hmm *hmm, double *score,
                     const atomdl_traces *traces, const atomdl_learning *how,
                     atomdl_arena *arena)
{
    size_t mark = arena->used, n, longest;
    int status = hmm_sound(&n, &longest, hmm, traces);
    double p = 0, last = -FAR;
    if (!status && (!(how->tolerance >= 0) || how->rounds < 0
                    || !prior_sound(how->prior, hmm->states)))
        status = ATOMDL_EARG;
    if (status) return status;
    double *e = doubles(arena, longest * (size_t)hmm->states);
    double *posterior = doubles(arena, n);
    if (scratch_only(&status, arena, mark)) return status;
    status = logb_sound(traces->logb, n);
    expectation sum;
    for (int k = 0; !status; k++) {
        p = hmm_expected(posterior, e, hmm, traces, &sum);
        if (p == -FAR) status = ATOMDL_EARG;
        if (status || k >= how->rounds) break;
        double now = p + hmm_improve(hmm, &sum, how->prior);
        if (now - last < how->tolerance) break;
        last = now;
    }
    if (score) *score = p;
    return status;
}

/* ---------- Chains of labels ---------------------------------------------- */

int atomdl_chains_new(atomdl_chains *c, atomdl_arena *arena)
{
    size_t n = c->all, states = (size_t)c->states;
    c->length = atomdl_alloc(arena, (size_t)c->n, sizeof *c->length);
    c->label = atomdl_alloc(arena, n, sizeof *c->label);
    c->path = atomdl_alloc(arena, n, sizeof *c->path);
    c->logb = atomdl_alloc(arena, n, states * sizeof *c->logb);
    c->posterior = atomdl_alloc(arena, n, states * sizeof *c->posterior);
    int status = atomdl_arena_status(arena);
    if (status || !arena->base) return status;
    memset(c->length, 0, (size_t)c->n * sizeof *c->length);
    for (size_t i = 0; i < n; i++) c->label[i] = -1;
    return ATOMDL_OK;
}

/* the transitions, by what is found; then the most probable states and how
   probable each is */
static int chains_round(atomdl_chains *c, atomdl_arena *arena)
{
    atomdl_traces traces = {c->logb, c->length, c->n};
    atomdl_learning how = {c->prior, 1e-3, c->rounds};
    matrix table;
    double *b = c->logb;
    int status = ATOMDL_OK;
    for (int i = 0; i < c->states; i++)
        for (int j = 0; j < c->labels; j++)
            table[i][j] = atomdl_log(c->found[i][j]);
    for (size_t k = 0; k < c->all; k++)
        for (int i = 0; i < c->states; i++)
            *b++ = c->label[k] < 0 ? 0 : table[i][c->label[k]];
    if (c->rounds)
        status = atomdl_hmm_learn(&c->hmm, &c->likelihood, &traces, &how,
                                  arena);
    if (!status)
        status = atomdl_hmm_viterbi(c->path, NULL, &c->hmm, &traces, arena);
    if (!status)
        status = atomdl_hmm_posterior(c->posterior, NULL, &c->hmm, &traces,
                                      arena);
    return status;
}

/* Expected part of each state that is found as each label, with ten
   pseudo-counts of what it was at first. Returns the greatest change. */
static double chains_found(atomdl_chains *c, double first[][ATOMDL_MARKOV])
{
    matrix sum;
    double top = 0;
    int n = c->states;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < c->labels; j++) sum[i][j] = 10 * first[i][j];
    for (size_t k = 0; k < c->all; k++)
        for (int i = 0; i < n && c->label[k] >= 0; i++)
            sum[i][c->label[k]] += c->posterior[k * (size_t)n + (size_t)i];
    for (int i = 0; i < n; i++) {
        double all = 0;
        for (int j = 0; j < c->labels; j++) all += sum[i][j];
        for (int j = 0; j < c->labels; j++) {
            double change = sum[i][j] / all - c->found[i][j];
            c->found[i][j] = sum[i][j] / all;
            top = most(top, absolute(change));
        }
    }
    return top;
}

int atomdl_chains_learn(atomdl_chains *c, int fixed, atomdl_arena *arena)
{
    matrix first;
    int rounds = 0, status;
    if (!arena->base) { /* learning takes most of a round's scratch */
        size_t mark = arena->used;
        doubles(arena, (size_t)c->longest * (size_t)c->states);
        atomdl_alloc(arena, c->all, (size_t)c->states * sizeof(double));
        arena->used = mark;
        return atomdl_arena_status(arena);
    }
    memcpy(first, c->found, sizeof first);
    do status = chains_round(c, arena);
    while (!status && !fixed && ++rounds < 3000 / c->rounds
           && chains_found(c, first) > c->still);
    return status;
}

/* ---------- Rotors -------------------------------------------------------- */

static double in_degrees(double x)
{
    return x * 180 / PI;
}

/* angle at q between p and r, degrees */
static double angle_at(const double *p, const double *q, const double *r)
{
    double ax = p[0] - q[0], ay = p[1] - q[1];
    double bx = r[0] - q[0], by = r[1] - q[1];
    return in_degrees(atomdl_atan2(absolute(ax * by - ay * bx),
                                ax * bx + ay * by));
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
        if (n > 2 && absolute(rotor->angle[i] - regular) > 10)
            rotor->flagged = 1;
    }
}

/* the phase of the n-fold moment of the directions: METHOD D.3 */
int atomdl_rotor_measure(atomdl_rotor *rotor, const double *xy, int atoms,
                         int n, const double *centre)
{
    double c = 0, s = 0, mid[2] = {0, 0}, theta[8];
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
    for (int i = 0; i < n; i++) {
        theta[i] = atomdl_atan2(xy[2 * i + 1] - centre[1],
                                xy[2 * i] - centre[0]);
        c = c + atomdl_cos(n * theta[i]);
        s = s + atomdl_sin(n * theta[i]);
    }
    rotor->phi = in_degrees(atomdl_atan2(s, c)) / n;
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

/* ---------- Films: lattice and drift -------------------------------------- */

void atomdl_film_defaults(atomdl_film_rules *rules)
{
    static const atomdl_film_rules DEFAULT = {
        .doubt = 1, .leaps = 8, .visits = 4, .gaps = 1, .parting = 6,
        .few = 3, .chance = 2, .coherent = 0.2, .peak = 0.02,
        .same_site = 0.35, .edge = 2.5, .complex_reach = 0.65,
        .leave = {0.002, 0.05}, .counts = 10,
        .visit_ways = 6, .around = 6, .rare = -3.5, .leap = 2,
        .seen = 8, .seen_short = 2, .film_short = 20,
        .wrong = 0.1, .change = 0.1, .kappa = 2,
        .swap = 6, .together = 3, .gone = 1e-3, .alien = 1e-6,
        .rate = 0.05, .rounds = 20,
        .limit_labels = 2e7, .limit_walks = 1e7};
    *rules = DEFAULT;
}

int *atomdl_film_rule(atomdl_film_rules *r, int i, const char **name)
{
    static const char *const NAMES[] = {"doubt", "leaps", "visits", "gaps",
                                        "parting"};
    int *const at[] = {&r->doubt, &r->leaps, &r->visits, &r->gaps, &r->parting};
    int known = i >= 0 && i < (int)(sizeof at / sizeof *at);
    *name = known ? NAMES[i] : NULL;
    return known ? at[i] : NULL;
}

/* sum <- of the vectors between neighbours of an atom as long as a lattice
   vector: exp(6 i angle), or with basis what least squares wants; how many */
static int lattice_sums(double sum[8], const atomdl_graph *g,
                        const double *basis)
{
    double la = g->chemistry->a;
    int n = 0, ij[2];
    memset(sum, 0, 8 * sizeof *sum);
    for (int i = 0; i < g->nodes; i++)
        for (u32 k = g->first[i]; k + 1 < g->first[i + 1]; k++) {
            const atomdl_node *p = &g->node[g->link[k]];
            const atomdl_node *q = &g->node[g->link[k + 1]];
            double dx = q->x - p->x, dy = q->y - p->y;
            double d = atomdl_sqrt(dx * dx + dy * dy);
            if (d < 0.85 * la || d > 1.15 * la || p->z != q->z) continue;
            n++;
            double angle = 6 * atomdl_atan2(dy, dx);
            if (!basis) {
                sum[0] += atomdl_cos(angle);
                sum[1] += atomdl_sin(angle);
            } else if (atomdl_hop_fold(ij, NULL, dx, dy, basis) == 1) {
                sum[0] += ij[0] * ij[0], sum[1] += ij[0] * ij[1];
                sum[2] += ij[1] * ij[1];
                sum[3] += dx * ij[0], sum[4] += dx * ij[1];
                sum[5] += dy * ij[0], sum[6] += dy * ij[1];
            }
        }
    return n;
}

/* b <- lattice vectors from bonds; 0: too few */
static int basis_of_bonds(double b[4], const atomdl_graph *g)
{
    double sum[8], la = g->chemistry->a;
    if (lattice_sums(sum, g, NULL) < 12) return 0;
    double angle = atomdl_atan2(sum[1], sum[0]) / 6;
    for (int i = 0; i < 2; i++, angle += 1.0471975511965976) {
        b[2 * i] = la * atomdl_cos(angle);
        b[2 * i + 1] = la * atomdl_sin(angle);
    }
    lattice_sums(sum, g, b);
    double det = sum[0] * sum[2] - sum[1] * sum[1];
    if (det <= 0) return 1;
    b[0] = (sum[3] * sum[2] - sum[4] * sum[1]) / det;
    b[1] = (sum[5] * sum[2] - sum[6] * sum[1]) / det;
    b[2] = (sum[4] * sum[0] - sum[3] * sum[1]) / det;
    b[3] = (sum[6] * sum[0] - sum[5] * sum[1]) / det;
    return 1;
}

/* b <- lattice vectors from the reflections; 0: none */
static int basis_of_reflections(double b[4], const atomdl_view *view,
                                const atomdl_sampling *s)
{
    double det = s->g[0][0] * s->g[1][1] - s->g[0][1] * s->g[1][0];
    if (s->confidence < 0.5) return 0;
    b[0] = s->g[1][1] / det * view->pixel_x;
    b[1] = -s->g[1][0] / det * view->pixel_y;
    b[2] = -s->g[0][1] / det * view->pixel_x;
    b[3] = s->g[0][0] / det * view->pixel_y;
    if (b[0] * b[2] + b[1] * b[3] < 0) {
        b[2] += b[0];
        b[3] += b[1];
    }
    return 1;
}

/* of graphene, whose sites are of both sublattices, a hop is a bond */
void atomdl_film_lattice(atomdl_view *view, const atomdl_graph *g,
                         const atomdl_sampling *s)
{
    const double *b = view->basis;
    view->based = basis_of_bonds(view->basis, g)
                  || basis_of_reflections(view->basis, view, s);
    memcpy(view->hop, b, sizeof view->hop);
    if (view->chemistry->host[0] != view->chemistry->host[1]) return;
    for (int i = 0; i < 2; i++) {
        view->hop[i] = (b[i] + b[2 + i]) / 3;
        view->hop[2 + i] = (2 * b[2 + i] - b[i]) / 3;
    }
}

/* unit cells in view */
static double view_cells(const atomdl_view *v)
{
    double a = v->chemistry->a;
    return v->w * v->pixel_x * v->h * v->pixel_y / (0.8660254037844386 * a * a);
}

void atomdl_frame_place(double xy[2], const atomdl_frame *frame, double u,
                        double v)
{
    xy[0] = frame->m[0] * u + frame->m[1] * v + frame->t[0];
    xy[1] = frame->m[2] * u + frame->m[3] * v + frame->t[1];
}

/* is (u, v) so far [A] within frame k? */
static int view_holds(const atomdl_film *f, u32 k, const double uv[2],
                      double margin)
{
    double xy[2], w = (f->view.w - 1) * f->view.pixel_x;
    double h = (f->view.h - 1) * f->view.pixel_y;
    atomdl_frame_place(xy, &f->frame[k], uv[0], uv[1]);
    return xy[0] >= margin && xy[0] <= w - margin && xy[1] >= margin
           && xy[1] <= h - margin;
}

/* the inverse of atomdl_frame_place */
static void first_place(double uv[2], const atomdl_frame *n, double x, double y)
{
    double det = n->m[0] * n->m[3] - n->m[1] * n->m[2];
    x -= n->t[0];
    y -= n->t[1];
    uv[0] = (n->m[3] * x - n->m[1] * y) / det;
    uv[1] = (n->m[0] * y - n->m[2] * x) / det;
}

/* the drift by lattice atoms and defects; few: the defects do not count, the
   least of the shifts that differ by lattice vectors is taken */
static int drift_by_atoms(atomdl_drifting *s, const atomdl_view *view, int few,
                          atomdl_arena *arena)
{
    atomdl_marks a = s->mark[!s->now], b = s->mark[s->now];
    atomdl_drift_how how = {.affine = s->affine};
    memcpy(how.basis, view->basis, sizeof how.basis);
    memcpy(how.prior, s->velocity, sizeof how.prior);
    if (few) a.defect.n = b.defect.n = 0;
    return atomdl_drift_find(&s->drift, &a, &b, &how, arena);
}

/* the drift by phase correlation, where there is no lattice to count on */
static int drift_by_phase(atomdl_drifting *s, const atomdl_film *film,
                          atomdl_arena *arena)
{
    double unit = film->view.chemistry->a / 9, height;
    atomdl_phase_how how = {0, {0, 0}, 4.5}; /* half a lattice constant */
    for (int i = 0; i < 2; i++) how.prior[i] = s->velocity[i] / unit;
    s->drift = (atomdl_drift){.m = {1, 0, 0, 1}};
    int status = atomdl_phase_shift(s->drift.shift, &height,
                                    &s->mark[!s->now].small,
                                    &s->mark[s->now].small, &how, arena);
    if (status || !arena->base) return status;
    for (int i = 0; i < 2; i++)
        s->drift.t[i] = s->drift.shift[i] = s->drift.shift[i] * unit;
    s->drift.pairs = height > film->rules.peak;
    return ATOMDL_OK;
}

/* state->drift against the last frame. METHOD E.3. */
static int drift_against_last(atomdl_film *film, atomdl_drifting *s,
                              atomdl_arena *arena)
{
    const atomdl_film_rules *r = &film->rules;
    const atomdl_marks *a = &s->mark[!s->now], *b = &s->mark[s->now];
    int few = a->defect.n < r->few || b->defect.n < r->few, bad = 1;
    if (film->view.based && a->lattice.n > 3 && b->lattice.n > 3) {
        double chance = a->defect.n * (double)b->defect.n
                        / view_cells(&film->view);
        bad = drift_by_atoms(s, &film->view, few && arena->base, arena);
        if (arena->failed) return bad;
        int doubt = r->doubt && !bad && s->drift.known
                    && s->drift.known < r->chance * (1 + chance);
        if (doubt && arena->base)
            bad = drift_by_atoms(s, &film->view, 1, arena);
        if (!bad && s->drift.coherence < r->coherent && !s->drift.known)
            bad = 1;
    }
    return bad || !arena->base ? drift_by_phase(s, film, arena) : ATOMDL_OK;
}

/* the drift since the last frame, added to that of all before: METHOD E.3 */
int atomdl_film_drift(atomdl_film *film, atomdl_frame *frame,
                      atomdl_drifting *state, atomdl_arena *arena)
{
    int status = ATOMDL_OK;
    frame->known = state->taken > 0;
    if (state->taken) status = drift_against_last(film, state, arena);
    if (status || !arena->base) return status;
    const atomdl_drift *d = &state->drift;
    if (state->taken) frame->known = d->pairs > 0;
    if (frame->known) {
        double m[4], t[2];
        for (int i = 0; i < 2; i++) {
            const double *row = d->m + 2 * i;
            for (int k = 0; k < 2; k++)
                m[2 * i + k] = row[0] * frame->m[k] + row[1] * frame->m[2 + k];
            t[i] = row[0] * frame->t[0] + row[1] * frame->t[1] + d->t[i];
            frame->shift[i] = d->shift[i];
            state->velocity[i] = d->known > 2 ? d->shift[i] : 0;
            frame->error[i] = d->error[i];
        }
        memcpy(frame->m, m, sizeof m);
        memcpy(frame->t, t, sizeof t);
    }
    for (size_t i = frame->first; i < film->spots; i++) {
        double uv[2];
        first_place(uv, frame, film->spot[i].x, film->spot[i].y);
        film->spot[i].u = uv[0];
        film->spot[i].v = uv[1];
    }
    for (size_t i = frame->sight; i < film->sights; i++) {
        double *uv = film->sight[i].uv;
        first_place(uv, frame, uv[0], uv[1]);
    }
    state->taken++;
    return ATOMDL_OK;
}

/* ---------- Films: what is followed --------------------------------------- */

/* number of the class of that name, the last one if there is no more room */
static int name_number(atomdl_names *names, const char *name)
{
    int i;
    for (i = 0; i < names->n && !same_text(names->name[i], name); i++) {}
    if (i == ATOMDL_CLASS_NAMES) return ATOMDL_CLASS_NAMES - 1;
    if (i < names->n) return i;
    char *to = names->name[names->n++];
    for (int k = 0; k < ATOMDL_CLASS_NAME - 1 && name[k]; k++) *to++ = name[k];
    *to = 0;
    return i;
}

atomdl_spot *atomdl_film_spot(atomdl_film *film, atomdl_frame *frame, double x,
                              double y, const char *name)
{
    if (film->spots == film->spot_room) return NULL;
    atomdl_spot *p = &film->spot[film->spots++];
    *p = (atomdl_spot){.frame = frame->number, .before = -1, .x = x, .y = y,
                       .picture = -1};
    p->kind = p->hidden = name_number(&film->names, name);
    frame->spots++;
    return p;
}

/* grade of what is found at a chalcogen's site: each is half as unsure as the
   one before */
static int grade_of(double score, int vacant)
{
    double rest = 1 - score;
    int sure = 0;
    for (; sure < ATOMDL_INTACT - 1 && rest < 0.25; sure++) rest *= 2;
    return vacant ? ATOMDL_INTACT + sure : ATOMDL_INTACT - 1 - sure;
}

/* how often a grade is wrong, by the scores that it stands for */
static double grade_wrong(int grade)
{
    double wrong = 0.375;
    int sure = grade < ATOMDL_INTACT ? ATOMDL_INTACT - 1 - grade
                                     : grade - ATOMDL_INTACT;
    while (sure--) wrong /= 2;
    return wrong;
}

static int sight_new(atomdl_film *film, atomdl_frame *frame, double x, double y,
                     int grade)
{
    if (film->sights == film->sight_room) return ATOMDL_EMEM;
    film->sight[film->sights++] = (atomdl_sight){{x, y}, grade, 0};
    frame->sights++;
    return ATOMDL_OK;
}

#define DEGREE 57.29577951308232

/* what the graph measured of a defect; of dopants the place is their mean */
static void measure_spot(atomdl_spot *p, const atomdl_graph *g,
                         const atomdl_found *d)
{
    p->score = d->confidence;
    p->dopants = d->dopants;
    p->shell = d->shell;
    p->length = d->bonds ? d->length : 0;
    p->pair = d->pairs ? d->pair : 0;
    p->angle = d->angles ? d->angle * DEGREE : 0;
    p->angle_sd = d->angles > 1 ? d->angle_sd * DEGREE : 0;
    if (d->dopants) p->x = p->y = 0;
    for (int k = 0; k < d->dopants && k < d->members; k++) {
        const atomdl_node *node = &g->node[d->node[k]];
        p->x += node->x / d->dopants;
        p->y += node->y / d->dopants;
    }
    for (int k = 0; k < 3 && k < d->dopants; k++) {
        p->member[k][0] = g->node[d->node[k]].x;
        p->member[k][1] = g->node[d->node[k]].y;
    }
}

/* family of a class: the classes that one can become, METHOD E.4 */
static int name_family(const char *name)
{
    static const struct {
        const char *begins;
        int family;
    } OF[] = {{"si", 1}, {"x-c", 1}, {"x-unsure", 1}, {"x2-c", 1}, {"x3-c", 1},
              {"x4-c", 1}, {"vx", 2}, {"m-x", 2}, {"sub-x", 2}, {"vm", 3},
              {"sub-m", 3}, {"x-m", 3}, {"x2-m", 3}};
    for (size_t i = 0; i < sizeof OF / sizeof *OF; i++)
        if (name_begins(name, OF[i].begins)) return OF[i].family;
    return 0;
}

/* of what has neighbours beyond the border one cannot tell what it is; one
   column of a chalcogen needs none */
int atomdl_film_take(atomdl_film *film, atomdl_frame *frame,
                     const atomdl_findings *got)
{
    const atomdl_graph *g = &got->graph;
    const atomdl_chemistry *c = g->chemistry;
    for (int i = 0; i < got->defects; i++) {
        const atomdl_found *d = &got->found[i];
        const char *name = atomdl_found_name(d->kind);
        if ((d->members != 1 || name_family(name) != 2)
            && (d->dopants ? g->flag[d->node[0]] & ATOMDL_NEAR_BORDER
                           : d->flags & ATOMDL_AT_BORDER)) continue;
        atomdl_spot *p = atomdl_film_spot(film, frame, d->x, d->y, name);
        if (!p) return ATOMDL_EMEM;
        measure_spot(p, g, d);
    }
    for (int i = 0; i < g->nodes && c->host[0] != c->host[1]; i++) {
        const atomdl_node *p = &g->node[i];
        if (p->z == c->host[1] && p->count == c->count[1]
            && sight_new(film, frame, p->x, p->y, grade_of(p->score, 0)))
            return ATOMDL_EMEM;
    }
    return ATOMDL_OK;
}

/* with one element in both sublattices an atom beside a defect is no mark: it
   has moved */
void atomdl_film_marks(atomdl_marks *mark, double *lattice, double *defect,
                       const atomdl_film *film, const atomdl_frame *frame,
                       const atomdl_findings *got)
{
    const atomdl_chemistry *c = got->graph.chemistry;
    int alike = c->host[0] == c->host[1], n = 0;
    for (int i = 0; i < got->atoms; i++) {
        const atomdl_node *p = &got->node[i];
        if (p->z != c->host[0] || p->count != c->count[0]
            || (alike && got->defect[i] >= 0)) continue;
        lattice[2 * n] = p->x;
        lattice[2 * n++ + 1] = p->y;
    }
    for (int i = 0; i < frame->spots; i++) {
        const atomdl_spot *p = &film->spot[frame->first + (size_t)i];
        defect[2 * i] = p->x;
        defect[2 * i + 1] = p->y;
    }
    mark->lattice = (atomdl_points){lattice, n, 2};
    mark->defect = (atomdl_points){defect, frame->spots, 2};
}

int atomdl_can_become(const atomdl_names *names, int i, int j)
{
    return i == j
           || name_family(names->name[i]) == name_family(names->name[j]);
}

static int in_question(const atomdl_film *f, const atomdl_spot *p)
{
    return name_family(f->names.name[p->kind]) == 2;
}

int atomdl_film_in_question(const atomdl_film *film)
{
    for (size_t i = 0; i < film->spots; i++)
        if (in_question(film, &film->spot[i])) return 1;
    return 0;
}

int atomdl_film_follow(atomdl_film *film, const atomdl_frame *frame,
                       atomdl_tracker *tracker, atomdl_arena *arena)
{
    size_t n = (size_t)frame->spots, mark = arena->used;
    double *uv = doubles(arena, 2 * n);
    u32 *track = atomdl_alloc(arena, n, sizeof *track);
    int status = ATOMDL_OK;
    if (scratch_only(&status, arena, mark)) return status;
    atomdl_spot *p = film->spot + frame->first;
    for (size_t i = 0; i < n; i++) { /* other families are out of reach */
        uv[2 * i] = p[i].u + 1e5 * name_family(film->names.name[p[i].kind]);
        uv[2 * i + 1] = p[i].v;
    }
    status = atomdl_tracker_step(tracker, track, uv, (int)n, NULL);
    for (size_t i = 0; i < n && !status; i++) p[i].track = track[i];
    return status;
}

int atomdl_film_chain(atomdl_film *film, uint32_t tracks, atomdl_arena *arena)
{
    size_t mark = arena->used;
    int *last = atomdl_alloc(arena, tracks, sizeof *last), status = ATOMDL_OK;
    if (scratch_only(&status, arena, mark)) return status;
    for (u32 k = 0; k < tracks; k++) last[k] = -1;
    for (size_t i = 0; i < film->spots; i++) {
        film->spot[i].before = last[film->spot[i].track];
        last[film->spot[i].track] = (int)i;
    }
    return ATOMDL_OK;
}

/* ---------- Films: what other frames say of a site ------------------------

   Each site is a chain of two states, intact or vacant, that is found intact
   or vacant with some grade; how often either is found as what, is learnt.
   METHOD E.5. */

enum { NEAR = 12 };

typedef struct {
    atomdl_film *f;
    atomdl_sites *sites;
    atomdl_chains c;
    matrix first;  /* P(grade | state) before anything is learnt */
    double odds[ATOMDL_GRADES]; /* log-odds that a site found so is vacant */
    int (*near)[NEAR];  /* (n) sites beside each, -1: no more */
    double *come, *go;  /* (n, frames) P(a vacancy comes, goes after it) */
    double *ahead;      /* (frames, 2) */
    double *agree; /* (frames, LEAPS + 1) */
} belief;

int atomdl_film_sites_room(const atomdl_film *film)
{
    int top = 0;
    for (u32 k = 0; k < film->frames; k++)
        top = most_int(top, film->frame[k].spots + film->frame[k].sights);
    return 8 * top + 64; /* as drift shows more and more of them */
}

/* chalcogens of a frame, as pairs uv; site: where that of each stands */
static int frame_chalcogens(atomdl_film *f, u32 frame, double *uv, int **site)
{
    const atomdl_frame *o = &f->frame[frame];
    int m = 0;
    for (int i = 0; i < o->spots; i++) {
        atomdl_spot *p = &f->spot[o->first + (size_t)i];
        p->site = -1;
        if (!in_question(f, p)) continue;
        uv[2 * m] = p->u;
        uv[2 * m + 1] = p->v;
        site[m++] = &p->site;
    }
    for (int i = 0; i < o->sights; i++) {
        atomdl_sight *c = &f->sight[o->sight + (size_t)i];
        c->site = -1;
        uv[2 * m] = c->uv[0];
        uv[2 * m + 1] = c->uv[1];
        site[m++] = &c->site;
    }
    return m;
}

/* frame by frame one-to-one pairs of chalcogens with known sites; the rest are
   new sites. A site moves along with what is found there. */
int atomdl_film_sites(atomdl_film *film, atomdl_sites *sites,
                      atomdl_arena *arena)
{
    size_t room = (size_t)sites->room, top = (room - 64) / 8;
    size_t mark = arena->used;
    double *old = doubles(arena, 2 * room), *now = doubles(arena, 2 * top);
    int *to = atomdl_alloc(arena, room, sizeof *to);
    int **site = atomdl_alloc(arena, top, sizeof *site);
    double gate = film->rules.same_site * film->view.chemistry->a;
    atomdl_points a = {old, (int)room, 2}, b = {now, (int)top, 2};
    int status = atomdl_arena_status(arena);
    if (!status && !arena->base)
        status = atomdl_assign(NULL, NULL, &a, &b, gate, arena);
    sites->n = 0;
    for (u32 frame = 0; frame < film->frames && arena->base && !status;
         frame++) {
        b.n = frame_chalcogens(film, frame, now, site);
        a.n = sites->n;
        status = atomdl_assign(to, NULL, &a, &b, gate, arena);
        for (int k = 0; k < a.n && !status; k++)
            if (to[k] >= 0) *site[to[k]] = k;
        for (int k = 0; k < b.n && !status; k++) {
            int *s = site[k];
            if (*s < 0 && sites->n == sites->room) continue;
            if (*s < 0) {
                *s = sites->n++;
                memcpy(sites->place + 2 * *s, now + 2 * k, 2 * sizeof *now);
            }
            memcpy(old + 2 * *s, now + 2 * k, 2 * sizeof *now);
        }
    }
    double labels = (double)sites->n * film->frames;
    sites->too_many = labels > film->rules.limit_labels;
    return give_back(arena, mark, status);
}

/* a complex with the metal's defect tells nothing about sites beside it */
static void hide_sites(belief *b, const atomdl_spot *p)
{
    const atomdl_film *f = b->f;
    double reach = f->rules.complex_reach * f->view.chemistry->a;
    const char *name = f->names.name[p->kind];
    while (*name && !name_begins(name, "-vx")) name++;
    if (!*name) return;
    for (int k = 0; k < b->sites->n; k++) {
        double dx = p->u - b->sites->place[2 * k];
        double dy = p->v - b->sites->place[2 * k + 1];
        if (dx * dx + dy * dy < reach * reach)
            b->c.label[(size_t)k * f->frames + p->frame] = -1;
    }
}

/* grades of all sites that lie so far [A] within the frames, as labels */
static void label_sites(belief *b, double margin)
{
    const atomdl_film *f = b->f;
    size_t all = f->frames;
    for (u32 k = 0; k < all; k++)
        for (size_t i = 0; i < (size_t)f->frame[k].sights; i++) {
            const atomdl_sight *p = &f->sight[f->frame[k].sight + i];
            if (p->site >= 0 && view_holds(f, k, p->uv, margin))
                b->c.label[(size_t)p->site * all + k] = p->grade;
        }
    for (size_t i = 0; i < f->spots; i++) {
        const atomdl_spot *p = &f->spot[i];
        double uv[2] = {p->u, p->v};
        hide_sites(b, p);
        if (p->site >= 0 && view_holds(f, p->frame, uv, margin))
            b->c.label[(size_t)p->site * all + p->frame] =
                grade_of(p->score, 1);
    }
}

/* the chain before anything is learnt: scores are probabilities */
static void first_belief(belief *b)
{
    const atomdl_film_rules *r = &b->f->rules;
    atomdl_chains *c = &b->c;
    double sum[2] = {0, 0}, count[ATOMDL_GRADES];
    c->hmm.states = 2;
    c->rounds = 3;
    c->still = 1e-4;
    for (int j = 0; j < ATOMDL_GRADES; j++) count[j] = 1. / ATOMDL_GRADES;
    for (size_t i = 0; i < c->all; i++)
        if (c->label[i] >= 0) count[c->label[i]]++;
    for (int j = 0; j < ATOMDL_GRADES; j++) {
        double wrong = grade_wrong(j);
        int i = j >= ATOMDL_INTACT;
        c->found[i][j] = count[j] * (1 - wrong);
        c->found[!i][j] = count[j] * wrong;
        for (i = 0; i < 2; i++) sum[i] += c->found[i][j];
    }
    for (int i = 0; i < 2; i++) {
        c->hmm.start[i] = sum[i] / (sum[0] + sum[1]);
        for (int j = 0; j < ATOMDL_GRADES; j++) c->found[i][j] /= sum[i];
        for (int j = 0; j < 2; j++) {
            c->hmm.p[i][j] = i == j ? 1 - r->leave[i] : r->leave[i];
            c->prior[i][j] = r->counts * c->hmm.p[i][j];
        }
    }
    memcpy(b->first, c->found, sizeof b->first);
}

/* That a column is found intact speaks for no vacancy: where there are few,
   some unsure columns could be learnt as their state. */
static void grade_odds(belief *b)
{
    for (int i = 0; i < ATOMDL_GRADES; i++) {
        b->odds[i] = atomdl_log(b->c.found[1][i])
                     - atomdl_log(b->c.found[0][i]);
        if (i < ATOMDL_INTACT) b->odds[i] = least(b->odds[i], 0);
    }
}

/* log-odds that a site is vacant, by what is found there */
static double label_odds(const belief *b, int s, u32 k)
{
    int label = b->c.label[(size_t)s * b->f->frames + k];
    return label < 0 ? 0 : b->odds[label];
}

/* which of n places (x, y) is that of (u, v), -1: none */
static int site_at(const atomdl_film *f, const atomdl_points *place, double u,
                   double v)
{
    double gate = f->rules.same_site * f->view.chemistry->a;
    for (int i = 0; i < place->n; i++) {
        double du = place->x[2 * i] - u, dv = place->x[2 * i + 1] - v;
        if (du * du + dv * dv < gate * gate) return i;
    }
    return -1;
}

/* ---------- Films: hops between sites -------------------------------------

   That a vacancy goes is likelier where one comes beside it, and that one comes
   where one goes: each site is a chain whose transitions depend on what its
   neighbours do, as far as one knows. METHOD E.7. */

static int are_near(const belief *b, int s, int t)
{
    const double *p = b->sites->place + 2 * s, *q = b->sites->place + 2 * t;
    double du = p[0] - q[0], dv = p[1] - q[1];
    return du * du + dv * dv < b->f->gate * b->f->gate;
}

static void near_sites(belief *b)
{
    for (int s = 0; s < b->sites->n; s++) {
        int n = 0;
        for (int k = 0; k < b->sites->n && n < NEAR; k++)
            if (k != s && are_near(b, k, s)) b->near[s][n++] = k;
        for (; n < NEAR; n++) b->near[s][n] = -1;
    }
}

/* sum over the neighbours of site s, at most 1 */
static double beside(const belief *b, const double *what, int s, u32 k)
{
    double sum = 0;
    for (int i = 0; i < NEAR && b->near[s][i] >= 0; i++)
        sum += what[(size_t)b->near[s][i] * b->f->frames + k];
    return least(sum, 1);
}

/* weights of what site s does from frame k to the next. What a hop is likelier
   than a death and a birth, both of its sites share. */
static void site_step(double p[2][2], const belief *b, int s, u32 k)
{
    const atomdl_hmm *h = &b->c.hmm;
    double birth = h->p[0][1];
    double more = most(1 / b->f->rules.visit_ways / birth - 1, 0) / 2;
    p[0][1] = birth * (1 + more * beside(b, b->go, s, k));
    p[0][0] = 1 - p[0][1];
    p[1][0] = h->p[1][0] * (1 + more * beside(b, b->come, s, k));
    p[1][1] = h->p[1][1];
}

/* forwards along site s: ahead <- P(state | all until then) */
static void site_forward(belief *b, int s)
{
    const double *q = b->c.hmm.start;
    double p[2][2], *a = b->ahead;
    for (u32 k = 0; k < b->f->frames; k++, q = a, a += 2) {
        double like = atomdl_exp(label_odds(b, s, k));
        a[0] = q[0];
        a[1] = q[1];
        if (k) {
            site_step(p, b, s, k - 1);
            for (int j = 0; j < 2; j++) a[j] = q[0] * p[0][j] + q[1] * p[1][j];
        }
        a[1] = a[1] * like;
        double sum = a[0] + a[1];
        a[0] = a[0] / sum;
        a[1] = a[1] / sum;
    }
}

/* how likely site s is vacant in each frame, and comes or goes after it */
static void site_belief(belief *b, int s)
{
    size_t row = (size_t)s * b->f->frames;
    double p[2][2], w[2][2], after[2] = {1, 1}, old;
    site_forward(b, s);
    for (u32 k = b->f->frames; k-- > 0;) {
        const double *a = b->ahead + 2 * k;
        double now[2] = {a[0] * after[0], a[1] * after[1]};
        if (k + 1 < b->f->frames) {
            double like[2] = {1, atomdl_exp(label_odds(b, s, k + 1))};
            site_step(p, b, s, k);
            for (int i = 0; i < 2; i++)
                for (int j = 0; j < 2; j++)
                    w[i][j] = a[i] * p[i][j] * like[j] * after[j];
            double sum = w[0][0] + w[0][1] + (w[1][0] + w[1][1]);
            b->come[row + k] = w[0][1] / sum;
            b->go[row + k] = w[1][0] / sum;
            old = after[0] * p[0][0] + like[1] * after[1] * p[0][1];
            after[1] = after[0] * p[1][0] + like[1] * after[1] * p[1][1];
            after[0] = old;
            now[0] = a[0] * after[0];
            now[1] = a[1] * after[1];
            sum = after[0] + after[1];
            after[0] = after[0] / sum;
            after[1] = after[1] / sum;
        }
        for (int i = 0; i < 2; i++)
            b->c.posterior[2 * (row + k) + (size_t)i] =
                now[i] / (now[0] + now[1]);
    }
}

/* how often a vacancy comes that came from no neighbour, with pseudo-counts */
static void learn_births(belief *b)
{
    const atomdl_film_rules *r = &b->f->rules;
    double births = r->counts * r->leave[0], intact = r->counts;
    for (int s = 0; s < b->sites->n; s++)
        for (u32 k = 0; k + 1 < b->f->frames; k++) {
            size_t at = (size_t)s * b->f->frames + k;
            births += b->come[at] * (1 - beside(b, b->go, s, k));
            intact += b->c.posterior[2 * at];
        }
    b->c.hmm.p[0][1] = births / intact;
    b->c.hmm.p[0][0] = 1 - b->c.hmm.p[0][1];
}

/* site after site, in turns; learn: grades and births along */
static void believe_hops(belief *b, int learn)
{
    memset(b->come, 0, b->c.all * sizeof *b->come);
    memset(b->go, 0, b->c.all * sizeof *b->go);
    for (int i = 0; i < b->f->rules.visits; i++) {
        for (int s = 0; s < b->sites->n; s++) site_belief(b, s);
        if (!learn || !i) continue;
        chains_found(&b->c, b->first);
        grade_odds(b);
        learn_births(b);
    }
}

/* Learns where columns are not cut, then believes everywhere. */
static int learn_sites(belief *b, atomdl_arena *arena)
{
    atomdl_chains *c = &b->c;
    if (arena->base) {
        label_sites(b, b->f->rules.edge);
        first_belief(b);
        near_sites(b);
    }
    int status = atomdl_chains_learn(c, 0, arena);
    if (status || !arena->base) return status;
    grade_odds(b);
    believe_hops(b, 1);
    c->rounds = 0;
    label_sites(b, 0);
    status = atomdl_chains_learn(c, 1, arena);
    if (!status) believe_hops(b, 0);
    return status;
}

/* ---------- Films: leaps of the drift that defects betray -----------------

   One takes a lattice for itself moved by a vector of it. If from some frame on
   most vacancies stand the same vector from where they stood, the drift is
   wrong by that vector from there on. METHOD E.6. */

enum { LEAPS = 18 };

/* the six vectors of length a, and those of sqrt(3) a and 2 a */
static void leap_vectors(double leap[LEAPS][2], const double hop[4])
{
    int n = 0;
    for (int i = -2; i <= 2; i++)
        for (int j = -2; j <= 2; j++) {
            if ((!i && !j) || i * i + i * j + j * j > 4) continue;
            leap[n][0] = i * hop[0] + j * hop[2];
            leap[n++][1] = i * hop[1] + j * hop[3];
        }
}

/* how likely site s is vacant, by some frames from k on alone */
static double vacant_then(const belief *b, int s, u32 k)
{
    double odds = b->f->rules.rare;
    for (u32 i = k; i < k + (u32)b->f->rules.around; i++)
        odds += label_odds(b, s, i);
    return 1 / (1 + atomdl_exp(odds < -50 ? 50 : -odds));
}

/* agree <- vacancies that leap so in each frame, or (the last) stay */
static void count_leaps(const belief *b, double leap[LEAPS][2])
{
    const atomdl_film *f = b->f;
    atomdl_points all = {b->sites->place, b->sites->n, 2};
    u32 k, around = (u32)f->rules.around;
    int to[LEAPS + 1], known;
    for (int s = 0; s < all.n; s++)
        for (k = around, known = 0; k + around <= f->frames; k++) {
            double before = vacant_then(b, s, k - around);
            if (before < 0.5) continue;
            for (int i = 0; i < LEAPS && !known; i++)
                to[i] = site_at(f, &all, all.x[2 * s] + leap[i][0],
                                all.x[2 * s + 1] + leap[i][1]);
            known = 1;
            to[LEAPS] = s;
            for (int i = 0; i <= LEAPS; i++)
                if (to[i] >= 0)
                    b->agree[k * (LEAPS + 1) + (size_t)i] +=
                        before * vacant_then(b, to[i], k);
        }
}

/* from frame k on the first frame's places are v nearer */
static void take_leap(atomdl_film *f, u32 k, const double v[2])
{
    for (u32 from = k; k < f->frames; k++) {
        atomdl_frame *o = &f->frame[k];
        double x = o->m[0] * v[0] + o->m[1] * v[1];
        double y = o->m[2] * v[0] + o->m[3] * v[1];
        if (k == from) {
            o->shift[0] += x;
            o->shift[1] += y;
        }
        o->t[0] += x;
        o->t[1] += y;
        for (size_t i = o->first; i < o->first + (size_t)o->spots; i++) {
            f->spot[i].u -= v[0];
            f->spot[i].v -= v[1];
        }
        for (size_t i = o->sight; i < o->sight + (size_t)o->sights; i++) {
            f->sight[i].uv[0] -= v[0];
            f->sight[i].uv[1] -= v[1];
        }
    }
}

/* 1: the clearest leap was taken back */
static int mend_leap(const belief *b)
{
    atomdl_film *f = b->f;
    size_t row = LEAPS + 1, at = 0, n = f->frames * row;
    double best = f->rules.leap, leap[LEAPS][2];
    int any = 0;
    leap_vectors(leap, f->view.hop);
    memset(b->agree, 0, n * sizeof *b->agree);
    if (f->view.based && f->rules.leaps) count_leaps(b, leap);
    for (size_t i = 0; i < n; i++) {
        double more = b->agree[i] - b->agree[i - i % row + LEAPS];
        if (more <= best) continue;
        best = more;
        at = i;
        any = 1;
    }
    if (any) take_leap(f, (u32)(at / row), leap[at % row]);
    return any;
}

/* only the spots that are more likely than not stay; where a site is vacant
   and none stands though its neighbours are in view, one was missed */
static void keep_believed(const belief *b)
{
    atomdl_film *f = b->f;
    size_t n = 0, i = 0;
    u8 *missed = b->sites->missed;
    double bond = f->view.chemistry->a * 0.5773502691896258; /* in projection */
    for (size_t j = 0; j < b->c.all; j++)
        missed[j] = b->c.posterior[2 * j + 1] >= 0.5;
    for (u32 k = 0; k < f->frames; k++) {
        atomdl_frame *o = &f->frame[k];
        size_t end = i + (size_t)o->spots;
        for (o->first = n; i < end; i++) {
            const atomdl_spot *p = &f->spot[i];
            size_t at = (size_t)p->site * f->frames + k;
            if (p->site >= 0 && !missed[at]) continue;
            if (p->site >= 0) missed[at] = 2;
            f->spot[n++] = *p;
        }
        o->spots = (int)(n - o->first);
    }
    f->spots = n;
    for (size_t j = 0; j < b->c.all; j++) {
        const double *uv = b->sites->place + 2 * (j / f->frames);
        missed[j] = missed[j] == 1 && f->rules.gaps && b->c.label[j] >= 0
                    && view_holds(f, (u32)(j % f->frames), uv, bond);
    }
}

/* learns, looks for a leap, and believes if there is none */
int atomdl_film_believe(atomdl_film *film, atomdl_sites *sites,
                        atomdl_arena *arena)
{
    size_t mark = arena->used;
    belief b = {.f = film, .sites = sites,
                .c = {.states = 2, .labels = ATOMDL_GRADES, .n = sites->n,
                      .all = (size_t)sites->n * film->frames,
                      .longest = (int)film->frames}};
    b.agree = doubles(arena, film->frames * (size_t)(LEAPS + 1));
    b.near = atomdl_alloc(arena, (size_t)sites->n, sizeof *b.near);
    b.come = doubles(arena, b.c.all);
    b.go = doubles(arena, b.c.all);
    b.ahead = doubles(arena, 2 * (size_t)film->frames);
    int status = atomdl_chains_new(&b.c, arena);
    for (int k = 0; k < sites->n && arena->base && !status; k++)
        b.c.length[k] = (int)film->frames;
    if (!status) status = learn_sites(&b, arena);
    if (scratch_only(&status, arena, mark)) return status;
    sites->again = mend_leap(&b) && ++sites->leaps < film->rules.leaps;
    if (sites->again) return ATOMDL_OK;
    keep_believed(&b);
    for (size_t i = 0; i < b.c.all; i++)
        sites->grade[i] = (signed char)b.c.label[i];
    for (int j = 0; j < 2; j++)
        memcpy(sites->found[j], b.c.found[j], sizeof sites->found[j]);
    return ATOMDL_OK;
}

/* ---------- Films: vacancies that a frame missed -------------------------- */

size_t atomdl_film_gaps(const atomdl_film *film, const atomdl_sites *sites)
{
    size_t n = 0, all = (size_t)sites->n * film->frames;
    for (size_t i = 0; i < all; i++) n += sites->missed[i];
    return n;
}

/* like[s] <- a spot of site s, the first one; -1: none. uv <- its place. */
static void first_spots(int *like, double *uv, const atomdl_film *f,
                        const atomdl_sites *sites)
{
    memcpy(uv, sites->place, 2 * (size_t)sites->n * sizeof *uv);
    for (int s = 0; s < sites->n; s++) like[s] = -1;
    for (size_t i = f->spots; i-- > 0;)
        if (f->spot[i].site >= 0) like[f->spot[i].site] = (int)i;
}

/* the chalcogens of frame k: where each site was last seen, its last spot */
static void last_seen(int *like, double *uv, const atomdl_film *f, u32 k,
                      const atomdl_spot *spot)
{
    const atomdl_frame *o = &f->frame[k];
    for (int i = 0; i < o->sights; i++) {
        const atomdl_sight *p = &f->sight[o->sight + (size_t)i];
        if (p->site >= 0)
            memcpy(uv + 2 * p->site, p->uv, 2 * sizeof *uv);
    }
    for (size_t i = o->first; i < o->first + (size_t)o->spots; i++) {
        int s = spot[i].site;
        if (s < 0) continue;
        like[s] = (int)i;
        uv[2 * s] = spot[i].u;
        uv[2 * s + 1] = spot[i].v;
    }
}

/* a spot like p, which frame k missed, at (u, v) */
static atomdl_spot missed_spot(const atomdl_film *f, const atomdl_spot *p,
                               u32 k, const double uv[2])
{
    atomdl_spot now = *p;
    double xy[2];
    atomdl_frame_place(xy, &f->frame[k], uv[0], uv[1]);
    now.frame = k;
    now.x = xy[0];
    now.y = xy[1];
    now.u = uv[0];
    now.v = uv[1];
    now.score = 0;
    now.filled = 1;
    return now;
}

/* a site where no spot is left stays as it is */
int atomdl_film_fill(atomdl_film *film, atomdl_sites *sites,
                     atomdl_arena *arena)
{
    size_t n = film->spots, mark = arena->used, sum = 0;
    atomdl_spot *from = atomdl_alloc(arena, n, sizeof *from);
    int *like = atomdl_alloc(arena, (size_t)sites->n, sizeof *like);
    double *uv = doubles(arena, 2 * (size_t)sites->n);
    int status = n + atomdl_film_gaps(film, sites) > film->spot_room
                     ? ATOMDL_EMEM : ATOMDL_OK;
    if (scratch_only(&status, arena, mark)) return status;
    memcpy(from, film->spot, n * sizeof *from);
    first_spots(like, uv, film, sites);
    for (u32 k = 0; k < film->frames; k++) {
        atomdl_frame *o = &film->frame[k];
        size_t first = sum;
        last_seen(like, uv, film, k, from);
        memcpy(film->spot + sum, from + o->first,
               (size_t)o->spots * sizeof *from);
        sum += (size_t)o->spots;
        for (int s = 0; s < sites->n; s++) {
            u8 *missed = &sites->missed[(size_t)s * film->frames + k];
            if (*missed && like[s] >= 0)
                film->spot[sum++] = missed_spot(film, from + like[s], k,
                                                uv + 2 * s);
            *missed = 0;
        }
        o->first = first;
        o->spots = (int)(sum - first);
    }
    film->spots = sum;
    return ATOMDL_OK;
}

/* ---------- Films: tracks and classes ------------------------------------- */

/* insertion sort, as there are few and ties stay in order */
void atomdl_film_rank(atomdl_film *film, int from[ATOMDL_CLASS_NAMES])
{
    atomdl_names *names = &film->names;
    int count[ATOMDL_CLASS_NAMES] = {0}, to[ATOMDL_CLASS_NAMES], k;
    for (size_t j = 0; j < film->spots; j++) count[film->spot[j].kind]++;
    for (int i = 0; i < names->n; i++) {
        for (k = i; k > 0 && count[from[k - 1]] < count[i]; k--)
            from[k] = from[k - 1];
        from[k] = i;
    }
    int kinds = least_int(names->n, ATOMDL_MARKOV);
    atomdl_names old = *names;
    for (int i = 0; i < names->n; i++) {
        to[from[i]] = least_int(i, kinds - 1);
        memcpy(names->name[i], old.name[from[i]], ATOMDL_CLASS_NAME);
    }
    if (names->n > kinds) memcpy(names->name[kinds - 1], "rarer ones", 11);
    names->n = kinds;
    for (size_t j = 0; j < film->spots; j++)
        film->spot[j].kind = film->spot[j].hidden = to[film->spot[j].kind];
}

atomdl_spot *atomdl_track_spot(const atomdl_film *film,
                               const atomdl_tracks *tracks,
                               const atomdl_track *track, int i)
{
    return &film->spot[tracks->order[track->first + (u32)i]];
}

/* the commonest class and number of dopants of a track; its ends */
static void judge_track(atomdl_track *t, const atomdl_film *f,
                        const atomdl_tracks *all)
{
    int count[ATOMDL_MARKOV] = {0}, dopants[5] = {0};
    for (int i = 0; i < t->n; i++) {
        const atomdl_spot *p = atomdl_track_spot(f, all, t, i);
        count[p->kind]++;
        dopants[least_int(p->dopants, 4)]++;
    }
    for (int i = 1; i < f->names.n; i++)
        if (count[i] > count[t->kind]) t->kind = i;
    for (int i = 1; i < 5; i++)
        if (dopants[i] > dopants[t->dopants]) t->dopants = i;
    t->begin = atomdl_track_spot(f, all, t, 0)->frame;
    t->end = atomdl_track_spot(f, all, t, t->n - 1)->frame;
}

int atomdl_film_tracks(atomdl_tracks *tracks, const atomdl_film *film,
                       atomdl_arena *arena)
{
    size_t n = tracks->n;
    tracks->order = atomdl_alloc(arena, film->spots, sizeof *tracks->order);
    tracks->track = atomdl_alloc(arena, n + 1, sizeof *tracks->track);
    int status = atomdl_arena_status(arena);
    if (status || !arena->base) return status;
    memset(tracks->track, 0, (n + 1) * sizeof *tracks->track);
    for (size_t i = 0; i < film->spots; i++)
        tracks->track[film->spot[i].track + 1].first++;
    for (size_t k = 0; k < n; k++)
        tracks->track[k + 1].first += tracks->track[k].first;
    for (size_t i = 0; i < film->spots; i++) {
        atomdl_track *t = &tracks->track[film->spot[i].track];
        tracks->order[t->first + (u32)t->n++] = (u32)i;
    }
    for (size_t k = 0; k < n; k++) judge_track(&tracks->track[k], film, tracks);
    return ATOMDL_OK;
}

int atomdl_track_counts(const atomdl_film *film, const atomdl_track *track)
{
    const atomdl_film_rules *r = &film->rules;
    int few = film->frames < (u32)r->film_short ? r->seen_short : r->seen;
    return track->n >= few
           && 2 * track->n > (int)(track->end - track->begin + 1);
}

/* the chain before anything is learnt: classes of one family mix */
static void first_chain(atomdl_chains *c, const atomdl_film *f,
                        double confusion)
{
    const atomdl_film_rules *r = &f->rules;
    double wrong = confusion > 0 ? confusion : r->wrong;
    int n = f->names.n;
    c->hmm.states = n;
    c->rounds = 100;
    c->still = 1e-3;
    for (int i = 0; i < n; i++) {
        int open = 0;
        for (int j = 0; j < n; j++) open += atomdl_can_become(&f->names, i, j);
        c->hmm.start[i] = 1. / n;
        for (int j = 0; j < n; j++) {
            int mates = i != j && atomdl_can_become(&f->names, i, j);
            c->hmm.p[i][j] = i == j ? open > 1 ? 1 - r->change : 1
                             : mates ? r->change / (open - 1) : 0;
            c->prior[i][j] = i == j ? r->kappa : mates ? r->kappa / 10 : 0;
            c->found[i][j] = i == j ? 1 - (open > 1 ? wrong : 0)
                             : mates ? wrong / (open - 1) : 0;
            c->found[i][j] += 1e-4; /* any class can be taken for any */
        }
        for (int j = 0; j < n; j++) c->found[i][j] /= 1 + 1e-4 * n;
    }
}

/* labels of all tracks, from their first to their last frames */
static void class_labels(atomdl_chains *c, const atomdl_film *f,
                         const atomdl_tracks *tracks)
{
    size_t at = 0;
    for (u32 k = 0; k < tracks->n; at += (size_t)c->length[k++]) {
        const atomdl_track *t = &tracks->track[k];
        c->length[k] = (int)(t->end - t->begin + 1);
        for (int i = 0; i < t->n; i++) {
            const atomdl_spot *p = atomdl_track_spot(f, tracks, t, i);
            if (!p->filled) c->label[at + p->frame - t->begin] = p->kind;
        }
    }
}

/* chains from the first to the last sight of each track: METHOD E.4 */
int atomdl_film_classes(atomdl_film *film, const atomdl_tracks *tracks,
                        atomdl_chains *c, double confusion,
                        atomdl_arena *arena)
{
    size_t at = 0;
    int n = film->names.n;
    *c = (atomdl_chains){.states = n, .labels = n, .n = (int)tracks->n,
                         .longest = (int)film->frames};
    for (u32 k = 0; k < tracks->n; k++)
        c->all += tracks->track[k].end - tracks->track[k].begin + 1;
    int status = atomdl_chains_new(c, arena);
    first_chain(c, film, confusion);
    if (!status && arena->base) class_labels(c, film, tracks);
    if (!status && film->spots)
        status = atomdl_chains_learn(c, confusion > 0, arena);
    if (status || !arena->base) return status;
    for (u32 k = 0; k < tracks->n; at += (size_t)c->length[k++])
        for (int i = 0; i < tracks->track[k].n; i++) {
            const atomdl_track *t = &tracks->track[k];
            atomdl_spot *p = atomdl_track_spot(film, tracks, t, i);
            size_t j = at + p->frame - t->begin;
            p->hidden = c->path[j];
            p->sure = c->posterior[j * (size_t)c->states + (size_t)p->hidden];
            if (p->filled) p->kind = p->hidden;
        }
    return ATOMDL_OK;
}

/* ---------- Films: hidden walks ------------------------------------------- */

typedef struct {
    const atomdl_film *f;
    const atomdl_tracks *tracks;
    const atomdl_sites *sites;
    int n, room;       /* sites; and one state more: nowhere */
    double *place;     /* (room, 2) [A] */
    int *found_as, *site_of; /* (n) of the sites found; (them) and back */
    int (*near)[6];    /* (room) sites beside each, -1: none */
    signed char *grade;/* (n, frames) */
    u8 *moves;         /* (n, frames) 0: holds a class that is not vx1 */
    int *path;         /* (walkers, frames) its site in each, -1: none */
    u32 *owner, *track; /* (n, frames) walker, track + 1; 0: nobody */
    hidden_chain chain;
    u32 *of;           /* (walkers) track that it began with */
    u8 *used;          /* (tracks) */
    int begun;         /* 1: all walkers are there */
    int *anchor, walkers; /* (walkers, 2) its site in a frame in the middle */
    double *from, *then; /* (walkers, 2) places in two frames */
    int *to, *spare;   /* (walkers) */
    double found[2][ATOMDL_GRADES], odds[ATOMDL_GRADES]; /* of each grade */
    double rate, error, hops, stays; /* of vx1 */
    double often[ATOMDL_GRADES], seen[ATOMDL_GRADES]; /* at all sites, at
                                                         walkers */
} hidden_walks;

static int walk_add(hidden_walks *w, double u, double v)
{
    atomdl_points all = {w->sites->place, w->sites->n, 2};
    int of = site_at(w->f, &all, u, v);
    if (w->n == w->room) return -1;
    w->found_as[w->n] = of;
    if (of >= 0) w->site_of[of] = w->n;
    w->place[2 * w->n] = of < 0 ? u : all.x[2 * of];
    w->place[2 * w->n + 1] = of < 0 ? v : all.x[2 * of + 1];
    return w->n++;
}

/* all sites from the first one on, step by step, as far as a lattice constant
   around what any frame shows; false alarms lie elsewhere too */
static void walk_sites(hidden_walks *w)
{
    static const int STEP[6][2] = {{1, 0}, {0, 1}, {-1, 1},
                                   {-1, 0}, {0, -1}, {1, -1}};
    const atomdl_film *f = w->f;
    const double *hop = f->view.hop;
    u32 k;
    for (int i = 0; i < w->n; i++)
        for (int j = 0; j < 6; j++) {
            atomdl_points known = {w->place, w->n, 2};
            const double *p = w->place + 2 * i;
            int a = STEP[j][0], b = STEP[j][1];
            double uv[2] = {p[0] + a * hop[0] + b * hop[2],
                            p[1] + a * hop[1] + b * hop[3]};
            int to = site_at(f, &known, uv[0], uv[1]);
            for (k = 0; to < 0 && k < f->frames
                        && !view_holds(f, k, uv, -f->view.chemistry->a); k++) {}
            w->near[i][j] =
                to < 0 && k < f->frames ? walk_add(w, uv[0], uv[1]) : to;
        }
}

static int walk_spot(const hidden_walks *w, const atomdl_spot *p)
{
    return in_question(w->f, p) && p->site >= 0 ? w->site_of[p->site] : -1;
}

/* what is found at each site, and whether it is a vx1 as far as one knows */
static void walk_grades(hidden_walks *w)
{
    const atomdl_film *f = w->f;
    size_t all = f->frames, j;
    for (size_t i = 0; i < (size_t)w->n; i++)
        for (j = 0; j < all; j++)
            w->grade[i * all + j] = (signed char)(
                w->found_as[i] < 0 || f->frame[j].empty
                || !view_holds(f, (u32)j, w->place + 2 * i, f->rules.edge) ? -1
                : w->sites->grade[(size_t)w->found_as[i] * all + j]);
    memset(w->moves, 2, (size_t)w->n * all);
    for (size_t i = 0; i < f->spots; i++) {
        const atomdl_spot *p = &f->spot[i];
        int at = walk_spot(w, p);
        if (at < 0) continue;
        w->moves[(size_t)at * all + p->frame] =
            (u8)same_text(f->names.name[p->hidden], "vx1");
        if (atomdl_track_counts(f, &w->tracks->track[p->track]))
            w->track[(size_t)at * all + p->frame] = p->track + 1;
    }
    u8 kind;
    for (int s = 0; s < w->n; s++)
        for (j = 0, kind = 1; j < all; j++) {
            u8 *m = &w->moves[(size_t)s * all + j];
            if (*m == 2) *m = kind;
            kind = *m;
        }
}

/* are two tracks so long seen together that they are two vacancies? */
static int walk_apart(const hidden_walks *w, u32 a, u32 b)
{
    const atomdl_track *s = &w->tracks->track[a], *t = &w->tracks->track[b];
    u32 begin = s->begin > t->begin ? s->begin : t->begin;
    u32 end = s->end < t->end ? s->end : t->end;
    return a != b && begin + w->f->rules.together < end;
}

/* how likely is what was found in frame k if walker me is at site i? */
static double walk_seen(const hidden_walks *w, int me, int i, u32 k)
{
    size_t at = (size_t)i * w->f->frames + k;
    if (w->anchor[2 * me + 1] == (int)k)
        return w->anchor[2 * me] == i;
    if (i == w->n) return 1;
    if ((w->owner[at] && w->owner[at] != (u32)me + 1)
        || (!w->begun && w->track[at]
            && walk_apart(w, w->of[me], w->track[at] - 1)))
        return w->f->rules.alien;
    return w->grade[at] < 0 ? 1 : w->odds[w->grade[at]];
}

/* It stays, hops to one of six sites or goes; from nowhere it comes anywhere.
   Counted where it could hop and one sees. */
static int walk_ways(void *of, chain_way *to, int i, int t)
{
    hidden_walks *w = of;
    double gone = w->f->rules.gone, stay = 1 - gone;
    int n = 0;
    if (i == w->n) {
        for (; n < i; n++) to[n] = (chain_way){n, gone / i, NULL};
        to[n++] = (chain_way){i, stay, NULL};
        return n;
    }
    size_t at = (size_t)i * w->f->frames + (size_t)t;
    double hop = w->moves[at] ? w->rate / 6 : 0;
    int count = w->moves[at] && w->grade[at] >= 0;
    for (int j = 0; j < 6; j++) {
        if (w->near[i][j] < 0) continue;
        to[n++] = (chain_way){w->near[i][j], hop, count ? &w->hops : NULL};
        stay -= hop;
    }
    to[n++] = (chain_way){i, stay, count ? &w->stays : NULL};
    to[n++] = (chain_way){w->n, gone, count ? &w->stays : NULL};
    return n;
}

static void walk_to(hidden_walks *w, int me, u32 k, int site)
{
    size_t all = w->f->frames;
    int *at = &w->path[(size_t)me * all + k];
    if (*at >= 0 && w->owner[(size_t)*at * all + k] == (u32)me + 1)
        w->owner[(size_t)*at * all + k] = 0;
    if (site >= 0) w->owner[(size_t)site * all + k] = (u32)me + 1;
    *at = site;
}

/* a walker may be anywhere at first; returns its log-likelihood */
static double walk_forward(hidden_walks *w, int me)
{
    double *e = w->chain.e;
    for (int i = 0; i <= w->n; i++) w->chain.a[i] = 1;
    for (u32 k = 0; k < w->f->frames; k++)
        for (int i = 0; i <= w->n; i++) *e++ = walk_seen(w, me, i, k);
    return chain_forward(&w->chain);
}

/* hops to expect by what was found in all frames, and at which sites what is
   found; the walker's site in each is its likeliest one */
static void walk_follow(hidden_walks *w, int me)
{
    const double *a = w->chain.a;
    if (walk_forward(w, me) == -FAR) return;
    chain_backward(&w->chain);
    for (u32 k = 0; k < w->f->frames; k++, a += w->n + 1) {
        int best = w->n;
        for (int i = 0; i < w->n; i++) {
            int grade = w->grade[(size_t)i * w->f->frames + k];
            if (grade >= 0) w->seen[grade] += a[i];
            if (a[i] > a[best]) best = i;
        }
        walk_to(w, me, k, best < w->n ? best : -1);
    }
}

/* log-likelihood of all that was found at a rate, where the others are */
static double walk_like(hidden_walks *w, double rate)
{
    double sum = 0;
    w->rate = rate;
    for (int i = 0; i < w->walkers; i++) sum += walk_forward(w, i);
    return sum;
}

/* what is found at sites with and without a walker, with pseudo-counts of what
   it was at first */
static void walk_found(hidden_walks *w)
{
    double counts = w->f->rules.counts, sum[2] = {counts, counts};
    double count[2][ATOMDL_GRADES];
    for (int i = 0; i < ATOMDL_GRADES; i++) {
        count[0][i] = most(w->often[i] - w->seen[i], 0);
        count[1][i] = w->seen[i];
        for (int j = 0; j < 2; j++) sum[j] += count[j][i];
    }
    for (int i = 0; i < ATOMDL_GRADES; i++) {
        for (int j = 0; j < 2; j++)
            w->found[j][i] =
                (counts * w->sites->found[j][i] + count[j][i]) / sum[j];
        w->odds[i] = w->found[1][i] / w->found[0][i];
    }
}

/* is a spot not the chalcogen's, or that of a walker? */
static int walk_taken(const hidden_walks *w, const atomdl_spot *p)
{
    int at = walk_spot(w, p);
    return at < 0 || w->owner[(size_t)at * w->f->frames + p->frame];
}

/* the track with most spots of those not used, -1: none */
static int walks_next(const hidden_walks *w)
{
    const atomdl_track *t = w->tracks->track;
    int best = -1;
    for (u32 k = 0; k < w->tracks->n; k++)
        if (!w->used[k] && atomdl_track_counts(w->f, &t[k])
            && (best < 0 || t[k].n > t[best].n)) best = (int)k;
    return best;
}

/* One walker for each track that no walker before it has taken, the longest
   first; it is where the track is in the middle. */
static void walk_begin(hidden_walks *w)
{
    const atomdl_film *f = w->f;
    int next, taken;
    while ((next = walks_next(w)) >= 0) {
        const atomdl_track *o = &w->tracks->track[next];
        const atomdl_spot *p = atomdl_track_spot(f, w->tracks, o, o->n / 2);
        w->used[next] = 1;
        for (int i = taken = 0; i < o->n; i++)
            taken += walk_taken(w, atomdl_track_spot(f, w->tracks, o, i));
        if (2 * taken > o->n || walk_taken(w, p)) continue;
        w->of[w->walkers] = (u32)next;
        for (u32 i = 0; i < f->frames; i++)
            w->path[(size_t)w->walkers * f->frames + i] = -1;
        w->anchor[2 * w->walkers] = walk_spot(w, p);
        w->anchor[2 * w->walkers + 1] = (int)p->frame;
        walk_follow(w, w->walkers++);
    }
    w->begun = 1;
}

/* ---------- Films: walkers that seem to change places --------------------- */

/* the place of each walker in a frame; out of reach where it has none */
static void walk_places(const hidden_walks *w, double *xy, u32 k)
{
    for (int i = 0; i < w->walkers; i++) {
        int at = w->path[(size_t)i * w->f->frames + k];
        xy[2 * i] = at < 0 ? 1e6 * (i + 1) : w->place[2 * at];
        xy[2 * i + 1] = at < 0 ? 0 : w->place[2 * at + 1];
    }
}

/* Some frames after k each walker goes on as who is nearest then to where it
   was in frame k, and stays there until then. */
static void walk_exchange(hidden_walks *w, u32 k)
{
    u32 all = w->f->frames, end = k + w->f->rules.swap;
    const int *to = w->to;
    for (u32 i = k + 1; i < all; i++) {
        for (int p = 0; p < w->walkers; p++)
            w->spare[p] = w->path[(size_t)p * all + (i < end ? k : i)];
        for (int p = 0; p < w->walkers; p++)
            if (to[p] != p) walk_to(w, p, i, -1);
        for (int p = 0; p < w->walkers; p++)
            if (to[p] != p) walk_to(w, p, i, w->spare[i < end ? p : to[p]]);
    }
    for (int p = 0; p < w->walkers; p++)
        if (to[p] != p) {
            int at = w->path[(size_t)p * all + k];
            w->anchor[2 * p] = at < 0 ? w->n : at;
            w->anchor[2 * p + 1] = (int)k;
        }
}

/* who is near nobody goes on as one that is left over */
static void walk_complete(int *to, int *spare, int n)
{
    int next = 0;
    for (int p = 0; p < n; p++) spare[p] = 0;
    for (int p = 0; p < n; p++)
        if (to[p] >= 0) spare[to[p]] = 1;
    for (int p = 0; p < n; p++)
        if (to[p] < 0 && !spare[p]) spare[to[p] = p] = 1;
    for (int p = 0; p < n; p++)
        if (to[p] < 0) {
            for (; spare[next]; next++) {}
            to[p] = next++;
        }
}

/* Walkers in frame k and some later: who had better been where others are?
   Where they seem to have changed places within a few frames, most of them
   stayed where they were. */
static int walk_part(hidden_walks *w, u32 k, atomdl_arena *arena)
{
    u32 swap = w->f->rules.swap;
    double a = w->f->view.chemistry->a, gate = (swap + 0.5) * a;
    double now = 0, later;
    atomdl_points from = {w->from, w->walkers, 2};
    atomdl_points then = {w->then, w->walkers, 2};
    walk_places(w, w->from, k);
    walk_places(w, w->then, k + swap);
    for (int i = 0; i < w->walkers; i++) {
        const double *p = w->from + 2 * i, *q = w->then + 2 * i;
        double dx = p[0] - q[0], dy = p[1] - q[1], d = dx * dx + dy * dy;
        now += d < gate * gate ? d : gate * gate;
    }
    int status = atomdl_assign(w->to, &later, &from, &then, gate, arena);
    if (status || later > now - 0.5 * a * a) return status;
    walk_complete(w->to, w->spare, w->walkers);
    walk_exchange(w, k);
    return ATOMDL_OK;
}

static int walk_part_all(hidden_walks *w, atomdl_arena *arena)
{
    u32 swap = w->f->rules.swap;
    int status = 0;
    for (u32 k = 0; k + swap < w->f->frames && w->walkers && !status; k++)
        status = walk_part(w, k, arena);
    return status;
}

/* the likeliest rate; its error by how sharply the likelihood falls */
static int walk_learn(hidden_walks *w, atomdl_arena *arena)
{
    const atomdl_film_rules *r = &w->f->rules;
    int status = ATOMDL_OK;
    for (size_t i = 0; i < (size_t)w->n * w->f->frames; i++)
        if (w->grade[i] >= 0) w->often[w->grade[i]]++;
    for (size_t i = 0; i < ATOMDL_GRADES; i++)
        w->odds[i] = w->sites->found[1][i] / w->sites->found[0][i];
    w->rate = r->rate;
    walk_begin(w);
    if (r->parting) status = walk_part_all(w, arena);
    for (int round = 0; round < r->rounds && !status; round++) {
        w->hops = w->stays = 0;
        memset(w->seen, 0, sizeof w->seen);
        for (int i = 0; i < w->walkers; i++) walk_follow(w, i);
        w->rate = least((w->hops + 0.01) / (w->hops + w->stays + 0.1), 0.9);
        walk_found(w);
        if (round + 1 < r->parting) status = walk_part_all(w, arena);
    }
    if (status) return status;
    double rate = w->walkers ? w->rate : 0;
    double bend = 2 * walk_like(w, rate) - walk_like(w, 0.9 * rate)
                  - walk_like(w, 1.1 * rate);
    w->rate = rate;
    w->error = bend > 0 ? 0.1 * w->rate / atomdl_sqrt(bend) : w->rate;
    return ATOMDL_OK;
}

/* room for four times the cells in view: a margin of a lattice constant */
static int walks_new(hidden_walks *w, atomdl_arena *arena)
{
    const atomdl_film *f = w->f;
    size_t n = 4 * (size_t)view_cells(&f->view) + 64, all = n * f->frames;
    size_t tracks = w->tracks->n;
    w->room = (int)n;
    w->place = doubles(arena, 2 * n);
    w->near = atomdl_alloc(arena, n, sizeof *w->near);
    w->found_as = atomdl_alloc(arena, n, sizeof *w->found_as);
    w->site_of = atomdl_alloc(arena, (size_t)w->sites->n, sizeof *w->site_of);
    w->grade = atomdl_alloc(arena, all, 1);
    w->moves = atomdl_alloc(arena, all, 1);
    w->owner = atomdl_alloc(arena, all, sizeof *w->owner);
    w->track = atomdl_alloc(arena, all, sizeof *w->track);
    w->path = atomdl_alloc(arena, tracks * f->frames, sizeof *w->path);
    w->of = atomdl_alloc(arena, tracks, sizeof *w->of);
    w->used = atomdl_alloc(arena, tracks, 1);
    w->anchor = atomdl_alloc(arena, 2 * tracks, sizeof *w->anchor);
    w->from = doubles(arena, 2 * tracks);
    w->then = doubles(arena, 2 * tracks);
    w->to = atomdl_alloc(arena, tracks, sizeof *w->to);
    w->spare = atomdl_alloc(arena, tracks, sizeof *w->spare);
    w->chain.a = doubles(arena, all + f->frames);
    w->chain.e = doubles(arena, all + f->frames);
    w->chain.b = doubles(arena, n + 1);
    w->chain.way = atomdl_alloc(arena, n + 1, sizeof *w->chain.way);
    int status = atomdl_arena_status(arena);
    if (status || !arena->base) return status;
    memset(w->owner, 0, all * sizeof *w->owner);
    memset(w->track, 0, all * sizeof *w->track);
    memset(w->used, 0, tracks);
    for (int i = 0; i < w->sites->n; i++) w->site_of[i] = -1;
    return ATOMDL_OK;
}

/* sites, what was found there, then walkers and their rate: METHOD E.8 */
int atomdl_film_walk(atomdl_walk *walk, const atomdl_film *film,
                     const atomdl_tracks *tracks, const atomdl_sites *sites,
                     atomdl_arena *arena)
{
    const atomdl_track *longest = NULL;
    size_t mark = arena->used;
    int count = 0;
    memset(walk, 0, sizeof *walk);
    for (u32 k = 0; k < tracks->n; k++) {
        const atomdl_track *o = &tracks->track[k];
        if (!atomdl_track_counts(film, o)
            || !in_question(film, atomdl_track_spot(film, tracks, o, 0)))
            continue;
        if (!count++ || o->n > longest->n) longest = o;
    }
    if (!count || !film->view.based || !sites->grade) return ATOMDL_OK;
    walk->too_many = view_cells(&film->view) * film->frames * count
                     > film->rules.limit_walks;
    if (walk->too_many) return ATOMDL_OK;
    hidden_walks w = {.f = film, .tracks = tracks, .sites = sites,
                      .chain = {.of = &w, .ways = walk_ways}};
    int status = walks_new(&w, arena);
    atomdl_points all = {w.from, (int)tracks->n, 2};
    if (!status && !arena->base)
        status = atomdl_assign(w.to, NULL, &all, &all, 1, arena);
    if (!status && arena->base) {
        const atomdl_spot *p =
            atomdl_track_spot(film, tracks, longest, longest->n / 2);
        walk_add(&w, p->u, p->v);
        walk_sites(&w);
        walk_grades(&w);
        w.chain.n = w.n + 1;
        w.chain.frames = (int)film->frames;
        status = walk_learn(&w, arena);
        walk->rate = w.rate;
        walk->error = w.error;
    }
    return give_back(arena, mark, status);
}

#else /* ===== once per vector width: the loops of Lanes ===== */

#define V_ROWS (V_BYTES > 16 ? V_BYTES / 8 : 2)
enum { V(count) = ROW_LANES * 8 / V_BYTES };

#if V_BYTES > 8
typedef double V(doubles) __attribute__((vector_size(V_BYTES)));
typedef long long V(marks) __attribute__((vector_size(V_BYTES)));
#else
typedef double V(doubles);
typedef int V(marks);
#endif

static void V(product)(double *c, size_t ld, const double *a, const double *b)
{
    int r, v;
    RAN("product");
    for (int from = 0; from < ROW_LANES; from += V_ROWS) {
        V(doubles) sum[V_ROWS][V(count)], y[V(count)];
        UNROLL
        for (r = 0; r < V_ROWS; r++)
            memcpy(sum[r], c + (size_t)(from + r) * ld, ROW_LANES * sizeof *c);
        for (int t = 0; t < PANEL; t++) {
            memcpy(y, b + t * ROW_LANES, sizeof y);
            UNROLL
            for (r = 0; r < V_ROWS; r++) {
                double x = a[t * ROW_LANES + from + r];
                UNROLL
                for (v = 0; v < V(count); v++)
                    sum[r][v] = sum[r][v] + y[v] * x;
            }
        }
        UNROLL
        for (r = 0; r < V_ROWS; r++)
            memcpy(c + (size_t)(from + r) * ld, sum[r], ROW_LANES * sizeof *c);
    }
}

static void V(reflect)(double *row, double *p, const double *v,
                       const double *w, const double factor[3], int from,
                       int n)
{
    RAN("reflect");
    for (int i = from; i < n; i += V_BYTES / 8) {
        V(doubles) a, b, x, y;
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

static int V(distance)(double d2[CENTRES], const double *x, const double *c,
                       int d, const double weight[CENTRES], double bound)
{
    enum { N = 2 * V(count), W = V_BYTES / 8 };
    V(doubles) sum[N], y;
    V(marks) near, none;
    unsigned char bits[sizeof(V(marks))];
    memset(sum, 0, sizeof sum);
    memset(&none, 0, sizeof none);
    unsigned char any;
    int v;
    RAN("distance");
    for (int j = 0, end = 8; j < d; end *= 2) {
        for (; j < d && j < end; j++) {
            UNROLL
            for (v = 0; v < N; v++) {
                memcpy(&y, x + (size_t)j * CENTRES + v * W, sizeof y);
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
