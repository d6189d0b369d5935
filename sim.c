/* SPDX-License-Identifier: MIT
   AtomDL: simulated images.

   Read atomdl.h first. METHOD B.3 to B.6: the probe, the image of a list of
   atoms, what the scan and the detector do to it, carbon contamination. */

#define ATOMDL_LIBRARY
#include "atomdl.h"

/* ---------- Images: optics ------------------------------------------------ */

#define PI 0x1.921fb54442d18p+1
#define FWHM 0x1.2d6abe44afc43p+1 /* of sigma: 2 sqrt(2 ln 2) */

/* NaN is in no range */
static int in_range(double x, double least, double most)
{
    return x >= least && x <= most;
}

double atomdl_wavelength(double kv)
{
    return 12.3984244 / atomdl_sqrt(kv * (2 * 510.99906 + kv));
}

double atomdl_interaction(double kv)
{
    double ratio = (510.99906 + kv) / (2 * 510.99906 + kv);

    return 2 * PI / (atomdl_wavelength(kv) * kv * 1000) * ratio;
}

int atomdl_optics_preset(atomdl_optics *optics, const char *name)
{
    static const struct {
        char name[12];
        int model;
        double kv, convergence, inner, outer, source;
    } PRESET[] = {{"001", ATOMDL_INCOHERENT, 60, 31, 86, 200, 1.0},
                  {"002", ATOMDL_INCOHERENT, 100, 31, 86, 200, 1.0},
                  {"004", ATOMDL_INCOHERENT, 80, 23, 40, 160, 1.2},
                  {"stem", ATOMDL_INCOHERENT, 80, 25.2, 63, 200, 1.0},
                  {"gaussian", ATOMDL_GAUSSIAN, 60, 31, 86, 200, 1.0}};
    size_t i, j;

    for (i = 0; i < sizeof PRESET / sizeof *PRESET; i++) {
        for (j = 0; name[j] && name[j] == PRESET[i].name[j]; j++) {}
        if (name[j] || PRESET[i].name[j]) continue;
        memset(optics, 0, sizeof *optics);
        optics->model = PRESET[i].model;
        optics->stack = 1;
        optics->kv = PRESET[i].kv;
        optics->convergence = PRESET[i].convergence;
        optics->inner = PRESET[i].inner;
        optics->outer = PRESET[i].outer;
        optics->source = PRESET[i].source;
        optics->fwhm = 1.1;
        optics->exponent = 1.64;
        optics->carbon = 1;
        return ATOMDL_OK;
    }
    return ATOMDL_EARG;
}

static int gaussian_sound(const atomdl_optics *o)
{
    return in_range(o->fwhm, 0.05, 50) && in_range(o->ellipticity, 0, 0.9)
           && in_range(o->angle, -1e3, 1e3) && in_range(o->tail, 0, 1)
           && in_range(o->tail_sigma, o->tail > 0 ? 0.05 : 0, 50)
           && in_range(o->exponent, 0, 4) && in_range(o->carbon, 0, 1e6);
}

static int instrument_sound(const atomdl_optics *o)
{
    int i;

    for (i = 0; i < ATOMDL_ABERRATIONS; i++)
        if (!in_range(o->aberration[i][0], -1e11, 1e11)
            || !in_range(o->aberration[i][1], -1e11, 1e11))
            return 0;
    return in_range(o->kv, 10, 1000) && in_range(o->convergence, 0.1, 200)
           && in_range(o->inner, 0, 1000) && in_range(o->outer, 0, 1000)
           && o->inner < o->outer && in_range(o->defocus, -1e6, 1e6)
           && in_range(o->c3, -1e10, 1e10) && in_range(o->c5, -1e12, 1e12)
           && in_range(o->spread, 0, 1e5) && in_range(o->source, 0, 20);
}

int atomdl_optics_check(const atomdl_optics *optics)
{
    int i, ok = in_range(optics->stack, 0.1, 10);

    for (i = 0; i < ATOMDL_OVERRIDES; i++)
        ok &= in_range(optics->z[i], 0, 118)
              && (!optics->z[i] || in_range(optics->ratio[i], 0, 1e4));
    if (optics->model == ATOMDL_GAUSSIAN) ok &= gaussian_sound(optics);
    else if (optics->model == ATOMDL_INCOHERENT) ok &= instrument_sound(optics);
    else ok = 0;
    return ok ? ATOMDL_OK : ATOMDL_EARG;
}

/* ---------- Images: cross-sections ----------------------------------------

   The table of METHOD B.4, A^2; tests/test_imaging.c has the quadrature. */

enum { SECTIONS = 8, ANNULI = 5 };

static const struct {
    double kv, inner, outer;
} ANNULUS[ANNULI] = {
    {60, 86, 200}, {60, 54, 200}, {80, 40, 160}, {80, 63, 200}, {100, 86, 200}
};

static const struct {
    int z;
    double sigma[ANNULI];
} SECTION[SECTIONS] = {
    {5, {4.100e-4, 9.819e-4, 9.889e-4, 4.673e-4, 1.771e-4}},
    {6, {5.740e-4, 1.4374e-3, 1.4653e-3, 6.626e-4, 2.461e-4}},
    {7, {7.763e-4, 1.9910e-3, 2.0288e-3, 9.051e-4, 3.276e-4}},
    {14, {2.9771e-3, 6.5117e-3, 6.2111e-3, 3.3645e-3, 1.2836e-3}},
    {16, {3.6761e-3, 7.9733e-3, 7.7183e-3, 4.1335e-3, 1.6356e-3}},
    {34, {1.2837e-2, 2.7301e-2, 2.6381e-2, 1.4866e-2, 5.978e-3}},
    {42, {1.6718e-2, 3.5326e-2, 3.5049e-2, 1.9445e-2, 8.326e-3}},
    {74, {3.2764e-2, 6.7452e-2, 6.8226e-2, 3.9709e-2, 1.7776e-2}}
};

/* A straight line in ln Z, ln sigma; exact at the table's elements. */
static double section_at(int z, int annulus)
{
    double x, y, slope;
    int i = 0;

    while (i < SECTIONS - 2 && SECTION[i + 1].z <= z) i++;
    if (SECTION[i].z == z) return SECTION[i].sigma[annulus];
    if (SECTION[i + 1].z == z) return SECTION[i + 1].sigma[annulus];
    x = atomdl_log((double)SECTION[i].z);
    y = atomdl_log(SECTION[i].sigma[annulus]);
    slope = (atomdl_log(SECTION[i + 1].sigma[annulus]) - y)
            / (atomdl_log((double)SECTION[i + 1].z) - x);
    return atomdl_exp(y + slope * (atomdl_log((double)z) - x));
}

/* Screened Rutherford scattering into an annulus, but for a factor that is
   the same for all of them: radius of screening 0.885 a0 / Z^(1/3). */
static double rutherford(int z, double kv, double inner, double outer)
{
    double lambda = atomdl_wavelength(kv), gamma = 1 + kv / 510.99906;
    double k0 = atomdl_pow((double)z, 1.0 / 3) / (2 * PI * 0.885 * 0.529177);
    double k1 = inner / lambda * 1e-3, k2 = outer / lambda * 1e-3;
    double f = 1 / (k1 * k1 + k0 * k0) - 1 / (k2 * k2 + k0 * k0);

    return lambda * gamma * (lambda * gamma) * f;
}

static double section_of(const atomdl_optics *o, int z)
{
    double k = (o->inner > 0.1 ? o->inner : 0.1) / atomdl_wavelength(o->kv);
    double nearest = 0;
    int i, best = 0;

    if (o->model == ATOMDL_GAUSSIAN)
        return o->carbon * atomdl_pow((double)z / 6, o->exponent);
    for (i = 0; i < ANNULI; i++) {
        double r = k * atomdl_wavelength(ANNULUS[i].kv) / ANNULUS[i].inner;

        if (o->kv == ANNULUS[i].kv && o->inner == ANNULUS[i].inner
            && o->outer == ANNULUS[i].outer)
            return section_at(z, i);
        if (r > 1) r = 1 / r;
        if (r <= nearest) continue;
        nearest = r;
        best = i;
    }
    return section_at(z, best) * rutherford(z, o->kv, o->inner, o->outer)
           / rutherford(z, ANNULUS[best].kv, ANNULUS[best].inner,
                        ANNULUS[best].outer);
}

double atomdl_cross_section(const atomdl_optics *optics, int z)
{
    int i;

    if (z < 1 || z > 118) return 0;
    for (i = 0; i < ATOMDL_OVERRIDES; i++)
        if (optics->z[i] == z) return optics->ratio[i] * section_of(optics, 6);
    return section_of(optics, z);
}

/* ---------- Images: the probe ---------------------------------------------

   Atoms are drawn as Gaussian stamps of sigma STAMP grid points; the filter is
   transfer(probe) / transfer(stamp). Both have the grid's own period, so that
   their frequencies agree: index i stands for k = i / length. */

#define STAMP 1.35
enum { TAPS = 16, BEFORE = 7 }; /* of a stamp; left of its floor */
enum { FINEST = 16 };           /* grid points a pixel, along each axis */

static double square(double x)
{
    return x * x;
}

/* At least the modulus of transfer(probe) at |k|. */
static double transfer_bound(const atomdl_optics *o, double k)
{
    double s2 = square(o->fwhm / FWHM) * (1 - o->ellipticity);
    double tail = square(o->tail_sigma), x;

    if (o->model == ATOMDL_GAUSSIAN)
        return (1 - o->tail) * atomdl_exp(-2 * PI * PI * s2 * k * k)
               + o->tail * atomdl_exp(-2 * PI * PI * tail * k * k);
    s2 = square(o->source / FWHM);
    x = k * atomdl_wavelength(o->kv) / (2e-3 * o->convergence);
    return x >= 1 ? 0 : (1 - x) * atomdl_exp(-2 * PI * PI * s2 * k * k);
}

/* The greatest error from the first alias of the stamps, relative. */
static double alias(const atomdl_optics *o, double step)
{
    double worst = 0, f, e;
    int i;

    for (i = 0; i <= 32; i++) {
        f = i / 64.0;
        e = atomdl_exp(-2 * PI * PI * STAMP * STAMP * (1 - 2 * f))
            * transfer_bound(o, f / step);
        worst = e > worst ? e : worst;
    }
    return worst;
}

/* The columns that the transfer function reaches. */
static int probe_bins(const atomdl_optics *o, int n, double length)
{
    int i = 1;

    while (i < n / 2 + 1 && transfer_bound(o, i / length) > 1e-7) i++;
    return i;
}

static int probe_grid(atomdl_probe *p, const atomdl_optics *o, double margin)
{
    double step;

    if (!(margin > 0)) margin = 4;
    p->over = 1;
    while (p->over < FINEST && alias(o, p->pixel / p->over) > 2e-6)
        p->over *= 2;
    step = p->pixel / p->over;
    if (alias(o, step) > 2e-6 || margin / step > 1e5
        || p->w > ATOMDL_IMAGE_MAX / 2 / p->over
        || p->h > ATOMDL_IMAGE_MAX / 2 / p->over)
        return ATOMDL_EARG;
    p->margin = (int)(margin / step) + 1;
    if (p->margin < TAPS / 2) p->margin = TAPS / 2;
    p->gw = atomdl_fft_size(p->over * p->w + 2 * p->margin);
    p->gh = atomdl_fft_size(p->over * p->h + 2 * p->margin);
    p->bins = probe_bins(o, p->gw, p->gw * step);
    return p->gw && p->gh ? ATOMDL_OK : ATOMDL_EARG;
}

/* Frequency of index i of n on a given length. */
static double frequency(int i, int n, double length)
{
    return (i <= n / 2 ? i : i - n) / length;
}

/* e(count) = factor exp(-a k^2) */
static void bell(double *e, int count, int n, double length, double a,
                 double factor)
{
    int i;

    for (i = 0; i < count; i++) {
        double k = frequency(i, n, length);

        e[i] = factor * atomdl_exp(-a * (k * k));
    }
}

/* filter += factor exp(-(a kx^2 + 2 b kx ky + c ky^2)); x(bins), y(gh) */
static void add_bell(const atomdl_probe *p, double a, double b, double c,
                     double factor, double *x, double *y)
{
    double step = p->pixel / p->over, lx = p->gw * step, ly = p->gh * step;
    int i, j;

    bell(x, p->bins, p->gw, lx, a, 1);
    bell(y, p->gh, p->gh, ly, c, factor);
    for (j = 0; j < p->gh; j++) {
        float *re = p->re + (size_t)j * (size_t)p->bins;
        double ky = frequency(j, p->gh, ly), power = 1;
        double turn = b != 0 ? atomdl_exp(-2 * b * ky / lx) : 1;

        for (i = 0; i < p->bins; i++, power = power * turn) {
            double v = x[i] * y[j];

            if (v > 0) re[i] = (float)((double)re[i] + v * power);
        }
    }
}

static int gaussian_filter(const atomdl_probe *p, const atomdl_optics *o,
                           atomdl_arena *arena)
{
    double step = p->pixel / p->over, s2 = square(STAMP * step);
    double v = square(o->fwhm / FWHM), c = 2 * PI * PI;
    double cosine = atomdl_cos(2 * o->angle) * o->ellipticity;
    double sine = atomdl_sin(2 * o->angle) * o->ellipticity;
    double unit = 1 / (2 * PI * s2), tail = square(o->tail_sigma) - s2;
    double *x = atomdl_alloc(arena, (size_t)p->bins, sizeof *x);
    double *y = atomdl_alloc(arena, (size_t)p->gh, sizeof *y);
    size_t n = (size_t)p->bins * (size_t)p->gh;

    /* fwhm is that of the geometric mean of the axes */
    v = v / atomdl_sqrt(1 - square(o->ellipticity));
    if (!x || !y) return atomdl_arena_status(arena);
    memset(p->re, 0, n * sizeof *p->re);
    memset(p->im, 0, n * sizeof *p->im);
    add_bell(p, c * (v * (1 + cosine) - s2), c * v * sine,
             c * (v * (1 - cosine) - s2), (1 - o->tail) * unit, x, y);
    if (o->tail > 0) add_bell(p, c * tail, 0, c * tail, o->tail * unit, x, y);
    return ATOMDL_OK;
}

/* The aberration function of METHOD B.3 times 2 pi / lambda, at angles u, v
   (rad). Powers of z = u + i v give the cosines and sines. */
static double aberrations(const atomdl_optics *o, double defocus, double u,
                          double v)
{
    static const struct {
        int n, power; /* angle, half the power of alpha beside z^n */
        double order;
    } TERM[ATOMDL_ABERRATIONS] = {
        {2, 0, 2}, {1, 1, 3}, {3, 0, 3}, {2, 1, 4}, {4, 0, 4}, {1, 2, 5},
        {3, 1, 5}, {5, 0, 5}, {2, 2, 6}, {4, 1, 6}, {6, 0, 6}
    };
    double a2 = u * u + v * v, zr[7], zi[7], even[3], sum;
    int i, n;

    zr[0] = 1;
    zi[0] = 0;
    for (n = 1; n < 7; n++) {
        zr[n] = zr[n - 1] * u - zi[n - 1] * v;
        zi[n] = zr[n - 1] * v + zi[n - 1] * u;
    }
    even[0] = 1;
    even[1] = a2;
    even[2] = a2 * a2;
    sum = a2 * (-defocus / 2 + a2 * (o->c3 / 4 + a2 * (o->c5 / 6)));
    for (i = 0; i < ATOMDL_ABERRATIONS; i++) {
        const double *c = o->aberration[i];
        double t = c[0] * zr[TERM[i].n] + c[1] * zi[TERM[i].n];

        sum = sum + even[TERM[i].power] * t / TERM[i].order;
    }
    return 2 * PI / atomdl_wavelength(o->kv) * sum;
}

/* Scratch of an incoherent probe: its own grid of w x h points has the length
   of the image's but is only as fine as the aperture needs. */
struct aperture {
    int w, h, bins;
    double lx, ly;      /* A */
    float *re, *im;     /* (h, w) wave */
    float *p;           /* (h, w) intensity */
    float *tr, *ti;     /* (h, bins) its transfer function */
    double *cx, *sx, *cy, *sy; /* (bins), (h): phases of a shift */
    double *ex, *ey;    /* (bins), (h): source size */
};

static int aperture_new(struct aperture *a, const atomdl_probe *p,
                        const atomdl_optics *o, atomdl_arena *arena)
{
    double step = p->pixel / p->over, most;
    size_t n, m;

    most = 4e-3 * o->convergence / atomdl_wavelength(o->kv);
    a->lx = p->gw * step;
    a->ly = p->gh * step;
    if (most * a->lx > 1e5 || most * a->ly > 1e5) return ATOMDL_EARG;
    a->w = atomdl_fft_size((int)(most * a->lx) + 4);
    a->h = atomdl_fft_size((int)(most * a->ly) + 4);
    a->bins = a->w / 2 + 1;
    n = (size_t)a->w * (size_t)a->h;
    m = (size_t)a->h * (size_t)a->bins;
    a->re = atomdl_alloc(arena, n, sizeof(float));
    a->im = atomdl_alloc(arena, n, sizeof(float));
    a->p = atomdl_alloc(arena, n, sizeof(float));
    a->tr = atomdl_alloc(arena, m, sizeof(float));
    a->ti = atomdl_alloc(arena, m, sizeof(float));
    a->cx = atomdl_alloc(arena, 3 * (size_t)(a->bins + a->h), sizeof(double));
    if (a->cx) {
        a->sx = a->cx + a->bins;
        a->ex = a->sx + a->bins;
        a->cy = a->ex + a->bins;
        a->sy = a->cy + a->h;
        a->ey = a->sy + a->h;
    }
    return atomdl_arena_status(arena);
}

/* wave <- exp(-i chi) within the aperture, else 0 */
static void pupil(const struct aperture *a, const atomdl_optics *o,
                  double defocus)
{
    double lambda = atomdl_wavelength(o->kv), chi;
    double edge = square(o->convergence * 1e-3);
    size_t n = (size_t)a->w * (size_t)a->h;
    int i, j;

    memset(a->re, 0, n * sizeof *a->re);
    memset(a->im, 0, n * sizeof *a->im);
    for (j = 0; j < a->h; j++)
        for (i = 0; i < a->w; i++) {
            double u = lambda * frequency(i, a->w, a->lx);
            double v = lambda * frequency(j, a->h, a->ly);
            size_t at = (size_t)j * (size_t)a->w + (size_t)i;

            if (u * u + v * v > edge) continue;
            chi = aberrations(o, defocus, u, v);
            a->re[at] = (float)atomdl_cos(chi);
            a->im[at] = (float)-atomdl_sin(chi);
        }
}

/* p <- intensity of the probe, averaged over the defocus spread */
static int intensity(const struct aperture *a, const atomdl_optics *o,
                     atomdl_arena *arena)
{
    static const double X[9] = { /* Gauss-Hermite */
        0, -0.723551018752838, 0.723551018752838, -1.46855328921667,
        1.46855328921667, -2.26658058453184, 2.26658058453184,
        -3.19099320178153, 3.19099320178153
    };
    static const double W[9] = {
        0.720235215606051, 0.432651559002556, 0.432651559002556,
        0.0884745273943766, 0.0884745273943766, 0.00494362427553695,
        0.00494362427553695, 3.96069772632644e-5, 3.96069772632644e-5
    };
    size_t n = (size_t)a->w * (size_t)a->h, k;
    double to_x = o->spread * 0x1.337cc2183b05p-1; /* 1 / (2 sqrt(ln 2)) */
    int i, status, points = o->spread > 1 ? 9 : 1;

    if (a->p) memset(a->p, 0, n * sizeof *a->p);
    for (i = 0; i < points; i++) {
        float weight = (float)W[i];

        if (a->p) pupil(a, o, o->defocus + X[i] * to_x);
        status = atomdl_fft(a->re, a->im, a->w, a->h, 1, arena);
        if (status) return status;
        for (k = 0; a->p && k < n; k++) {
            float q = a->re[k] * a->re[k], r = a->im[k] * a->im[k];

            a->p[k] = a->p[k] + weight * (q + r);
        }
    }
    return ATOMDL_OK;
}

/* Phase tables of a shift by (x, y). */
static void shift_tables(const struct aperture *a, double x, double y)
{
    int i;

    for (i = 0; i < a->bins; i++) {
        double t = 2 * PI * (i / a->lx * x);

        a->cx[i] = atomdl_cos(t);
        a->sx[i] = atomdl_sin(t);
    }
    for (i = 0; i < a->h; i++) {
        double t = 2 * PI * (frequency(i, a->h, a->ly) * y);

        a->cy[i] = atomdl_cos(t);
        a->sy[i] = atomdl_sin(t);
    }
}

/* One step of Newton's method towards the maximum of the blurred probe; the
   greatest step is 0.2 A. Returns 0 where it is not convex. */
static int climb(const struct aperture *a, double *x, double *y)
{
    double gx = 0, gy = 0, hxx = 0, hxy = 0, hyy = 0, det, dx, dy, norm;
    int i, j;

    shift_tables(a, *x, *y);
    for (j = 0; j < a->h; j++)
        for (i = 0; i < a->bins; i++) {
            size_t at = (size_t)j * (size_t)a->bins + (size_t)i;
            double c = a->cx[i] * a->cy[j] - a->sx[i] * a->sy[j];
            double s = a->sx[i] * a->cy[j] + a->cx[i] * a->sy[j];
            double tr = (double)a->tr[at], ti = (double)a->ti[at];
            double e = a->ex[i] * a->ey[j] * (i ? 2 : 1);
            double re = e * (tr * c - ti * s), im = e * (tr * s + ti * c);
            double kx = i / a->lx, ky = frequency(j, a->h, a->ly);

            gx = gx - kx * im;
            gy = gy - ky * im;
            hxx = hxx - kx * kx * re;
            hxy = hxy - kx * ky * re;
            hyy = hyy - ky * ky * re;
        }
    det = hxx * hyy - hxy * hxy;
    if (!(det > 0 && hxx < 0)) return 0;
    dx = (hxy * gy - hyy * gx) / det / (2 * PI);
    dy = (hxy * gx - hxx * gy) / det / (2 * PI);
    norm = atomdl_sqrt(dx * dx + dy * dy);
    if (norm > 0.2) {
        dx = dx * (0.2 / norm);
        dy = dy * (0.2 / norm);
    }
    *x = *x + dx;
    *y = *y + dy;
    return norm > 1e-5;
}

/* (x, y) <- the brightest point of the blurred probe */
static int brightest(const struct aperture *a, double *x, double *y,
                     atomdl_arena *arena)
{
    size_t n = (size_t)a->w * (size_t)a->h, best = 0, k;
    size_t m = (size_t)a->h * (size_t)a->bins;
    int status, i;

    for (k = 0; a->p && k < m; k++) {
        double e = a->ex[k % (size_t)a->bins] * a->ey[k / (size_t)a->bins];

        a->re[k] = (float)(e * (double)a->tr[k]);
        a->im[k] = (float)(e * (double)a->ti[k]);
    }
    status = atomdl_fft_real_back(a->p, a->w, a->re, a->im, a->bins, a->w,
                                  a->h, arena);
    if (status || !a->p) return status;
    for (k = 1; k < n; k++)
        if (a->p[k] > a->p[best]) best = k;
    *x = frequency((int)(best % (size_t)a->w), a->w, a->w / a->lx);
    *y = frequency((int)(best / (size_t)a->w), a->h, a->h / a->ly);
    for (i = 0; i < 8 && climb(a, x, y); i++) {}
    return ATOMDL_OK;
}

/* filter <- transfer(probe) source(k) exp(i phase) / transfer(stamp) */
static void incoherent_fill(const atomdl_probe *p, const struct aperture *a)
{
    size_t n = (size_t)p->bins * (size_t)p->gh;
    double unit = 1 / (double)a->tr[0];
    int i, j, bins = p->bins < a->bins ? p->bins : a->bins;

    memset(p->re, 0, n * sizeof *p->re);
    memset(p->im, 0, n * sizeof *p->im);
    for (j = 0; j < a->h; j++) {
        int row = j <= a->h / 2 ? j : p->gh - a->h + j;
        float *re = p->re + (size_t)row * (size_t)p->bins;
        float *im = p->im + (size_t)row * (size_t)p->bins;
        const float *tr = a->tr + (size_t)j * (size_t)a->bins;
        const float *ti = a->ti + (size_t)j * (size_t)a->bins;

        if (row < 0 || row >= p->gh || (j <= a->h / 2 && j > p->gh / 2))
            continue;
        for (i = 0; i < bins; i++) {
            double c = a->cx[i] * a->cy[j] - a->sx[i] * a->sy[j];
            double s = a->sx[i] * a->cy[j] + a->cx[i] * a->sy[j];
            double e = unit * a->ex[i] * a->ey[j];
            double r = (double)tr[i], m = (double)ti[i];

            re[i] = (float)(e * (r * c - m * s));
            im[i] = (float)(e * (r * s + m * c));
        }
    }
}

static int incoherent_filter(const atomdl_probe *p, const atomdl_optics *o,
                             atomdl_arena *arena)
{
    double s2 = square(STAMP * (p->pixel / p->over)), x = 0, y = 0;
    double source = square(o->source / FWHM), c = 2 * PI * PI;
    struct aperture a = {0};
    int status = aperture_new(&a, p, o, arena);

    if (!status) status = intensity(&a, o, arena);
    if (!status)
        status = atomdl_fft_real(a.tr, a.ti, a.bins, a.p, a.w, a.w, a.h,
                                 arena);
    if (!status && a.cx) {
        bell(a.ex, a.bins, a.w, a.lx, c * source, 1);
        bell(a.ey, a.h, a.h, a.ly, c * source, 1);
    }
    if (!status && o->recentre) status = brightest(&a, &x, &y, arena);
    if (status || !a.cx) return status;
    bell(a.ex, a.bins, a.w, a.lx, c * (source - s2), 1);
    bell(a.ey, a.h, a.h, a.ly, c * (source - s2), 1 / (2 * PI * s2));
    shift_tables(&a, x, y);
    incoherent_fill(p, &a);
    return ATOMDL_OK;
}

int atomdl_probe_new(atomdl_probe *probe, const atomdl_optics *optics, int w,
                     int h, double pixel, double margin, atomdl_arena *arena)
{
    size_t used, n;
    int status;

    memset(probe, 0, sizeof *probe);
    if (w < 1 || h < 1 || !in_range(pixel, 1e-3, 10)
        || !in_range(margin, 0, 1e3) || atomdl_optics_check(optics))
        return ATOMDL_EARG;
    probe->w = w;
    probe->h = h;
    probe->pixel = pixel;
    status = probe_grid(probe, optics, margin);
    if (status) return status;
    n = (size_t)probe->gh * (size_t)probe->bins;
    probe->re = atomdl_alloc(arena, n, sizeof(float));
    probe->im = atomdl_alloc(arena, n, sizeof(float));
    status = atomdl_arena_status(arena);
    if (status) return status;
    used = arena->used;
    status = optics->model == ATOMDL_GAUSSIAN
                 ? gaussian_filter(probe, optics, arena)
                 : incoherent_filter(probe, optics, arena);
    arena->used = used;
    return status;
}

/* ---------- Images: atoms ------------------------------------------------- */

struct canvas {
    const atomdl_probe *probe;
    size_t pitch;        /* gw + TAPS */
    float *px;           /* (gh + TAPS, pitch); point i at column i + BEFORE,
                            what lies beyond gw folded back */
    double bell[TAPS];   /* exp(-(i - BEFORE)^2 / 2 STAMP^2) */
};

/* g(TAPS) = exp(-(i - BEFORE - f)^2 / 2 STAMP^2), 0 <= f < 1 */
static void stamp_axis(float *g, const struct canvas *c, double f,
                       double weight)
{
    const double v = 1 / (STAMP * STAMP);
    double p = atomdl_exp(-f * (f / 2 + BEFORE) * v), r = atomdl_exp(f * v);
    int i;

    p = p * weight;
    for (i = 0; i < TAPS; i++, p = p * r) g[i] = (float)(c->bell[i] * p);
}

static void stamp(const struct canvas *c, double x, double y, double weight)
{
    const atomdl_probe *p = c->probe;
    double u = (x / p->pixel - 0.5) * p->over + p->margin;
    double v = (y / p->pixel - 0.5) * p->over + p->margin;
    double fu = atomdl_floor(u), fv = atomdl_floor(v);
    float gx[TAPS], gy[TAPS];
    int i, j;

    if (!(fu >= 0 && fu < p->gw && fv >= 0 && fv < p->gh)) return;
    stamp_axis(gx, c, u - fu, 1);
    stamp_axis(gy, c, v - fv, weight);
    for (j = 0; j < TAPS; j++) {
        float *row = c->px + ((size_t)fv + (size_t)j) * c->pitch + (size_t)fu;

        for (i = 0; i < TAPS; i++) {
            float t = gy[j] * gx[i];

            row[i] = row[i] + t;
        }
    }
}

/* Adds the columns and rows beyond the grid to its beginning. */
static void fold(const struct canvas *c)
{
    size_t w = (size_t)c->probe->gw, h = (size_t)c->probe->gh, i, j;

    for (j = 0; j < h + TAPS; j++)
        for (i = 0; i < TAPS; i++)
            c->px[j * c->pitch + i] = c->px[j * c->pitch + i]
                                      + c->px[j * c->pitch + w + i];
    for (j = 0; j < TAPS; j++)
        for (i = 0; i < w; i++)
            c->px[j * c->pitch + i] = c->px[j * c->pitch + i]
                                      + c->px[(h + j) * c->pitch + i];
}

/* weight(n): cross-section times the atom's own weight */
static void weigh(double *weight, const atomdl_atom *atom, size_t n,
                  const atomdl_optics *o)
{
    double sigma[119];
    size_t i;
    int z;

    for (z = 0; z < 119; z++) sigma[z] = -1;
    for (i = 0; i < n; i++) {
        z = atom[i].element < 119 ? atom[i].element : 0;
        if (sigma[z] < 0) sigma[z] = atomdl_cross_section(o, z);
        weight[i] = sigma[z] * (double)atom[i].weight;
    }
}

/* Enhances pairs of consecutive atoms of a column: 2 (stack - 1) times the
   geometric mean of both, in equal parts: a pair of equal atoms gives stack
   times its sum. order, key (n), more (n): scratch. */
static int enhance(double *weight, const atomdl_atom *atom, size_t n,
                   double stack, atomdl_arena *arena)
{
    double *key = atomdl_alloc(arena, n, sizeof *key);
    double *more = atomdl_alloc(arena, n, sizeof *more);
    uint32_t *order = atomdl_alloc(arena, n, sizeof *order);
    uint32_t *scratch = atomdl_alloc(arena, n, sizeof *scratch);
    int status = atomdl_arena_status(arena);
    size_t i;

    if (status || !key) return status;
    for (i = 0; i < n; i++) {
        key[i] = (double)atom[i].column;
        more[i] = 0;
    }
    status = atomdl_sort(order, key, n, scratch);
    for (i = 1; !status && i < n; i++) {
        size_t a = order[i - 1], b = order[i];
        double x = atom[a].x - atom[b].x, y = atom[a].y - atom[b].y, t;

        if (atom[a].column != atom[b].column
            || atom[a].column == UINT32_MAX || !(x * x + y * y < 0.25))
            continue;
        t = weight[a] * weight[b];
        t = t > 0 ? (stack - 1) * atomdl_sqrt(t) : 0;
        more[a] = more[a] + t;
        more[b] = more[b] + t;
    }
    for (i = 0; i < n; i++) weight[i] = weight[i] + more[i];
    return status;
}

static int atoms_sound(const atomdl_atom *atom, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++)
        if (!in_range(atom[i].x, -1e7, 1e7) || !in_range(atom[i].y, -1e7, 1e7)
            || !in_range((double)atom[i].weight, -1e6, 1e6))
            return 0;
    return 1;
}

static void filter(float *re, float *im, const atomdl_probe *p)
{
    size_t n = (size_t)p->gh * (size_t)p->bins, i;

    for (i = 0; i < n; i++) {
        float a = re[i] * p->re[i], b = im[i] * p->im[i];
        float c = re[i] * p->im[i], d = im[i] * p->re[i];

        re[i] = a - b;
        im[i] = c + d;
    }
}

/* The canvas with all atoms on it. */
static int draw(struct canvas *c, const atomdl_atom *atom, size_t n,
                const atomdl_optics *o, atomdl_arena *arena)
{
    size_t rows = (size_t)c->probe->gh + TAPS, used, i;
    double *weight;
    int status;

    c->pitch = (size_t)c->probe->gw + TAPS;
    c->px = atomdl_alloc(arena, rows * c->pitch, sizeof(float));
    used = arena->used;
    weight = atomdl_alloc(arena, n, sizeof *weight);
    status = atomdl_arena_status(arena);
    if (!status && weight) weigh(weight, atom, n, o);
    if (!status && o->stack != 1)
        status = enhance(weight, atom, n, o->stack, arena);
    arena->used = used;
    if (status || !c->px || (n && !weight)) return status;
    memset(c->px, 0, rows * c->pitch * sizeof(float));
    for (i = 0; i < TAPS; i++) {
        double d = (double)i - BEFORE;

        c->bell[i] = atomdl_exp(-d * d / (2 * STAMP * STAMP));
    }
    for (i = 0; i < n; i++) stamp(c, atom[i].x, atom[i].y, weight[i]);
    fold(c);
    return ATOMDL_OK;
}

static void copy_field(atomdl_image *image, const struct canvas *c)
{
    const atomdl_probe *p = c->probe;
    size_t first = (size_t)p->margin + BEFORE, over = (size_t)p->over;
    size_t w = (size_t)p->w, x, y;

    for (y = 0; y < (size_t)p->h; y++) {
        const float *row = c->px + (first + y * over) * c->pitch + first;

        for (x = 0; x < w; x++) image->px[y * w + x] = row[x * over];
    }
}

int atomdl_image_atoms(atomdl_image *image, const atomdl_atom *atoms,
                       size_t n, const atomdl_optics *optics,
                       const atomdl_probe *probe, atomdl_arena *arena)
{
    size_t m = (size_t)probe->gh * (size_t)probe->bins, used = arena->used;
    struct canvas c = {0};
    float *re, *im;
    int status;

    if (image->w != probe->w || image->h != probe->h || image->c != 1)
        return ATOMDL_ESHAPE;
    if (atomdl_optics_check(optics) || n > 1u << 28) return ATOMDL_EARG;
    if (arena->base && !atoms_sound(atoms, n)) return ATOMDL_EARG;
    c.probe = probe;
    status = draw(&c, atoms, n, optics, arena);
    re = atomdl_alloc(arena, m, sizeof *re);
    im = atomdl_alloc(arena, m, sizeof *im);
    if (!status) status = atomdl_arena_status(arena);
    if (!status)
        status = atomdl_fft_real(re, im, probe->bins, c.px, (int)c.pitch,
                                 probe->gw, probe->gh, arena);
    if (!status && re && probe->re) filter(re, im, probe);
    if (!status)
        status = atomdl_fft_real_back(c.px, (int)c.pitch, re, im, probe->bins,
                                      probe->gw, probe->gh, arena);
    if (!status && re && image->px) copy_field(image, &c);
    arena->used = used;
    return status;
}

/* ---------- Images: scan -------------------------------------------------- */

static int waves_sound(const atomdl_wave *wave)
{
    int i;

    for (i = 0; i < ATOMDL_WAVES; i++)
        if (!in_range(wave[i].ax, -1e6, 1e6)
            || !in_range(wave[i].ay, -1e6, 1e6)
            || !in_range(wave[i].kx, -1e3, 1e3)
            || !in_range(wave[i].ky, -1e3, 1e3)
            || !in_range(wave[i].phase, -1e3, 1e3))
            return 0;
    return 1;
}

static int scan_sound(const atomdl_scan *s)
{
    int i, ok = waves_sound(s->wave);

    for (i = 0; i < 2; i++)
        ok &= in_range(s->drift[i], -1e4, 1e4)
              && in_range(s->bend[i], -1e4, 1e4)
              && in_range(s->hum[i], -100, 100);
    return ok && in_range(s->jitter, 0, 100) && in_range(s->cycles, 0, 1e3)
           && in_range(s->phase, -1e3, 1e3) && in_range(s->flyback, 0, 100);
}

int atomdl_scan_atoms(atomdl_atom *atoms, size_t n, const atomdl_scan *scan,
                      int h, double pixel)
{
    size_t i;
    int k;

    if (h < 1 || !in_range(pixel, 1e-3, 10) || !scan_sound(scan)
        || !atoms_sound(atoms, n))
        return ATOMDL_EARG;
    for (i = 0; i < n; i++) {
        double x = atoms[i].x, y = atoms[i].y, t = y / (h * pixel);
        double dx = t * (scan->drift[0] + scan->bend[0] * t);
        double dy = t * (scan->drift[1] + scan->bend[1] * t);

        for (k = 0; k < ATOMDL_WAVES; k++) {
            const atomdl_wave *v = &scan->wave[k];
            double s;

            if (v->ax == 0 && v->ay == 0) continue;
            s = atomdl_sin(v->kx * x + v->ky * y + v->phase);
            dx = dx + v->ax * s;
            dy = dy + v->ay * s;
        }
        atoms[i].x = x + dx;
        atoms[i].y = y + dy;
    }
    return ATOMDL_OK;
}

static int limit(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* Lagrange weights of the points -2..3 at f in [0, 1). At a quarter of the
   sampling frequency it errs by 3 %, at an eighth by 0.2 % (f = 1/2); the
   lattice's own frequencies lie below that. */
static void six_weights(float *weight, double f)
{
    static const double UNIT[6] = {-1 / 120.0, 1 / 24.0, -1 / 12.0,
                                   1 / 12.0, -1 / 24.0, 1 / 120.0};
    double left = 1, p[6];
    int j;

    for (j = 0; j < 6; j++) {
        p[j] = left;
        left = left * (f + 2 - j);
    }
    left = 1;
    for (j = 5; j >= 0; j--) {
        weight[j] = (float)(p[j] * left * UNIT[j]);
        left = left * (f + 2 - j);
    }
}

/* The value at i + s of a line of n values, stride apart */
static float six_points(const float *line, size_t stride, int i, int n,
                        double s)
{
    double whole = atomdl_floor(s);
    float weight[6], sum = 0;
    int j;

    six_weights(weight, s - whole);
    i += (int)whole - 2;
    for (j = 0; j < 6; j++) {
        float t = weight[j] * line[(size_t)limit(i + j, n) * stride];

        sum = sum + t;
    }
    return sum;
}

/* A row (n) displaced by s as a whole; padded (n + 5) is scratch. */
static void shift_row(float *row, float *padded, int n, double s)
{
    double whole = atomdl_floor(s);
    int first = (int)whole - 2, i, j;
    float weight[6];

    six_weights(weight, s - whole);
    for (i = 0; i < n + 5; i++) padded[i] = row[limit(i + first, n)];
    for (i = 0; i < n; i++) {
        float sum = 0;

        for (j = 0; j < 6; j++) {
            float t = weight[j] * padded[i + j];

            sum = sum + t;
        }
        row[i] = sum;
    }
}

/* sine(w) of the vibration at each pixel of row y: turned on step by step */
static void hum_row(double *sine, const atomdl_scan *scan, int w, int y)
{
    double step = 2 * PI * scan->cycles / (w * (1 + scan->flyback));
    double start = scan->cycles * y, c, s;
    double cd = atomdl_cos(step), sd = atomdl_sin(step);
    int x;

    start = scan->phase + 2 * PI * (start - atomdl_floor(start));
    c = atomdl_cos(start);
    s = atomdl_sin(start);
    for (x = 0; x < w; x++) {
        double next = c * cd - s * sd;

        sine[x] = s;
        s = s * cd + c * sd;
        c = next;
    }
}

/* from: a copy of the image before */
static void hum_rows(atomdl_image *image, const float *from, float *line,
                     double *sine, const atomdl_scan *scan, double pixel)
{
    size_t w = (size_t)image->w;
    double ax = scan->hum[0] / pixel, ay = scan->hum[1] / pixel;
    int x, y;

    for (y = 0; y < image->h; y++) {
        float *row = image->px + (size_t)y * w;

        hum_row(sine, scan, image->w, y);
        for (x = 0; ay != 0 && x < image->w; x++)
            row[x] = six_points(from + x, w, y, image->h, ay * sine[x]);
        if (ax == 0) continue;
        memcpy(line, row, w * sizeof *line);
        for (x = 0; x < image->w; x++)
            row[x] = six_points(line, 1, x, image->w, ax * sine[x]);
    }
}

int atomdl_scan_rows(atomdl_image *image, const atomdl_scan *scan,
                     double pixel, atomdl_rng *rng, atomdl_arena *arena)
{
    size_t w = (size_t)image->w, n = w * (size_t)image->h, used = arena->used;
    int hum = scan->hum[0] != 0 || scan->hum[1] != 0, status, y;
    float *line, *from, z;
    double *sine;

    if (image->c != 1 || !in_range(pixel, 1e-3, 10) || !scan_sound(scan))
        return ATOMDL_EARG;
    line = atomdl_alloc(arena, w + 5, sizeof *line);
    sine = atomdl_alloc(arena, w, sizeof *sine);
    from = atomdl_alloc(arena, hum ? n : 0, sizeof *from);
    status = atomdl_arena_status(arena);
    arena->used = used;
    if (status || !line || !image->px) return status;
    if (hum) {
        memcpy(from, image->px, n * sizeof *from);
        hum_rows(image, from, line, sine, scan, pixel);
    }
    for (y = 0; scan->jitter > 0 && y < image->h; y++) {
        atomdl_rng_normal(rng, &z, 1);
        shift_row(image->px + (size_t)y * w, line, image->w,
                  (double)z * scan->jitter / pixel);
    }
    return ATOMDL_OK;
}

/* ---------- Images: detector ---------------------------------------------- */

static int detector_sound(const atomdl_detector *d)
{
    return waves_sound(d->wave) && in_range(d->background, -1e6, 1e6)
           && in_range(d->tilt[0], -1e6, 1e6)
           && in_range(d->tilt[1], -1e6, 1e6) && in_range(d->row_gain, 0, 10)
           && in_range(d->dose, 0, 1e12) && in_range(d->counts, 0, 1e12)
           && in_range(d->read, 0, 1e6) && in_range(d->smooth, 0, 1)
           && in_range(d->gain, -1e9, 1e9) && in_range(d->offset, -1e9, 1e9)
           && in_range(d->blur, 0, 8) && in_range(d->clip, 0, 1)
           && in_range(d->gamma, 0, 10)
           && (d->bits == 0 || d->bits == 8 || d->bits == 16);
}

/* image += background, tilt (0 in the middle), waves */
static void add_background(atomdl_image *m, const atomdl_detector *d,
                           double pixel)
{
    int x, y, k;

    for (y = 0; y < m->h; y++) {
        float *row = m->px + (size_t)y * (size_t)m->w;
        double level = d->background + d->tilt[1] * ((y + 0.5) / m->h - 0.5);

        for (x = 0; x < m->w; x++) {
            double t = d->tilt[0] * ((x + 0.5) / m->w - 0.5);

            row[x] = (float)((double)row[x] + (level + t));
        }
        for (k = 0; k < ATOMDL_WAVES; k++) {
            const atomdl_wave *v = &d->wave[k];
            double step = v->kx * pixel, c, s, cd, sd;

            if (v->ax == 0) continue;
            c = v->kx * pixel / 2 + v->ky * pixel * (y + 0.5) + v->phase;
            s = v->ax * atomdl_sin(c);
            c = v->ax * atomdl_cos(c);
            cd = atomdl_cos(step);
            sd = atomdl_sin(step);
            for (x = 0; x < m->w; x++) {
                double next = c * cd - s * sd;

                row[x] = (float)((double)row[x] + s);
                s = s * cd + c * sd;
                c = next;
            }
        }
    }
}

/* Poisson numbers of mean m < 16 are the sum of two: one of mean j / 4, by a
   table of its distribution, and one of the rest, below 1/4. */
enum { QUARTERS = 64, LARGEST = 48, GUIDES = 64 };

struct poisson {
    uint32_t cdf[QUARTERS][LARGEST]; /* 2^32 P(N <= k) */
    unsigned char guide[QUARTERS][GUIDES]; /* least k of words >> 26 */
    unsigned char filled[QUARTERS];
};

static void poisson_row(struct poisson *t, int j)
{
    double p = atomdl_exp(-j / 4.0), sum = p;
    int k, g;

    for (k = 0; k < LARGEST; k++) {
        t->cdf[j][k] = sum * 0x1p32 >= 0x1.fffffffep31
                           ? 0xffffffffu
                           : (uint32_t)(sum * 0x1p32);
        p = p * (j / 4.0 / (k + 1));
        sum = sum + p;
    }
    for (k = 0, g = 0; g < GUIDES; g++) {
        while (k < LARGEST - 1 && t->cdf[j][k] <= (uint32_t)g << 26) k++;
        t->guide[j][g] = (unsigned char)k;
    }
    t->filled[j] = 1;
}

static double poisson_rest(atomdl_rng *rng, double m)
{
    double u = ((double)atomdl_rng_u32(rng) + 0.5) * 0x1p-32, p, sum;
    int k = 0;

    if (u < 1 - m) return 0; /* exp(-m) is not less */
    p = 1 - m * (1 - m / 2 * (1 - m / 3 * (1 - m / 4 * (1 - m / 5
        * (1 - m / 6 * (1 - m / 7))))));
    for (sum = p; u >= sum && k < 12; sum = sum + p) {
        k++;
        p = p * (m / k);
    }
    return k;
}

static double poisson_table(struct poisson *t, atomdl_rng *rng, double m)
{
    int j = (int)(m * 4), k;
    uint32_t u = atomdl_rng_u32(rng);
    const uint32_t *cdf = t->cdf[j];

    if (!t->filled[j]) poisson_row(t, j);
    k = t->guide[j][u >> 26];
    while (k < LARGEST - 1 && u >= cdf[k]) k++;
    return k + poisson_rest(rng, m - j / 4.0);
}

/* The quantile's expansion in powers of mean^(-1/2) at a normal number: M. B.
   Giles, ACM Trans. Math. Softw. 42, 7 (2016). */
static double poisson_normal(atomdl_rng *rng, double m)
{
    double root = atomdl_sqrt(m), r = 1 / root, z, z2, n;
    float normal;

    atomdl_rng_normal(rng, &normal, 1);
    z = (double)normal;
    z2 = z * z;
    n = m + root * z + (1.0 / 3 + z2 * (1.0 / 6))
        - z * (2 + z2) * (1.0 / 72) * r
        + (-8.0 / 405 + z2 * (7.0 / 810 + z2 * (1.0 / 270))) * (r * r);
    return n > 0 ? atomdl_floor(n) : 0;
}

static void count(float *px, size_t n, double counts, atomdl_rng *rng,
                  struct poisson *table)
{
    double unit = 1 / counts;
    size_t i;

    memset(table->filled, 0, sizeof table->filled);
    for (i = 0; i < n; i++) {
        double m = counts * (double)px[i], k;

        if (!(m > 0)) k = 0;
        else if (m < QUARTERS / 4) k = poisson_table(table, rng, m);
        else k = poisson_normal(rng, m);
        px[i] = (float)(k * unit);
    }
}

static void gain_rows(atomdl_image *m, double rms, atomdl_rng *rng)
{
    int x, y;
    float z;

    for (y = 0; y < m->h; y++) {
        float *row = m->px + (size_t)y * (size_t)m->w;

        atomdl_rng_normal(rng, &z, 1);
        z = (float)(1 + rms * (double)z);
        for (x = 0; x < m->w; x++) row[x] = row[x] * z;
    }
}

static void read_noise(float *px, size_t n, double rms, atomdl_rng *rng)
{
    float z[64], scale = (float)rms;
    size_t i, j, m;

    for (i = 0; i < n; i += m) {
        m = n - i < 64 ? n - i : 64;
        atomdl_rng_normal(rng, z, m);
        for (j = 0; j < m; j++) {
            float t = scale * z[j];

            px[i + j] = px[i + j] + t;
        }
    }
}

/* Gaussian blur, cut at 4 sigma, edges repeated; line (w + 2 BLUR), from (w
   h): scratch. Taps are added in rising order, rows first. */
enum { BLUR = 32 };

static void blur(atomdl_image *m, double sigma, float *line, float *from)
{
    int r = (int)(4 * sigma) + 1, x, y, k, w = m->w;
    float tap[2 * BLUR + 3];
    double sum = 0, e[2 * BLUR + 3];

    r = r > BLUR ? BLUR : r;
    for (k = -r; k <= r; k++) {
        e[k + r] = atomdl_exp(-(double)k * k / (2 * sigma * sigma));
        sum = sum + e[k + r];
    }
    for (k = 0; k <= 2 * r; k++) tap[k] = (float)(e[k] / sum);
    for (y = 0; y < m->h; y++) {
        const float *row = m->px + (size_t)y * (size_t)w;
        float *to = from + (size_t)y * (size_t)w;

        for (x = 0; x < w + 2 * r; x++) line[x] = row[limit(x - r, w)];
        memset(to, 0, (size_t)w * sizeof *to);
        for (k = 0; k <= 2 * r; k++)
            for (x = 0; x < w; x++) to[x] = to[x] + tap[k] * line[x + k];
    }
    for (y = 0; y < m->h; y++) {
        float *to = m->px + (size_t)y * (size_t)w;

        memset(to, 0, (size_t)w * sizeof *to);
        for (k = -r; k <= r; k++) {
            const float *row = from + (size_t)limit(y + k, m->h) * (size_t)w;

            for (x = 0; x < w; x++) to[x] = to[x] + tap[k + r] * row[x];
        }
    }
}

/* Counting and read noise, and the smoothing of both together. */
static void add_noise(atomdl_image *m, const atomdl_detector *d,
                      double counts, atomdl_rng *rng, struct poisson *table,
                      float *line, float *from, float *clean)
{
    size_t n = (size_t)m->w * (size_t)m->h, i;

    if (d->smooth > 0) memcpy(clean, m->px, n * sizeof *clean);
    if (counts > 0) count(m->px, n, counts, rng, table);
    if (d->read > 0) read_noise(m->px, n, d->read, rng);
    if (d->smooth <= 0) return;
    for (i = 0; i < n; i++) m->px[i] = m->px[i] - clean[i];
    blur(m, d->smooth, line, from);
    for (i = 0; i < n; i++) m->px[i] = clean[i] + m->px[i];
}

static void extremes(float *least, float *most, const float *px, size_t n)
{
    size_t i;

    *least = *most = px[0];
    for (i = 1; i < n; i++) {
        *least = px[i] < *least ? px[i] : *least;
        *most = px[i] > *most ? px[i] : *most;
    }
}

/* x^gamma of the range, in 256 straight pieces */
static void curve(float *px, size_t n, double gamma)
{
    float node[258], least, most;
    double unit;
    size_t i;

    extremes(&least, &most, px, n);
    if (!(most > least)) return;
    for (i = 0; i < 257; i++)
        node[i] = (float)atomdl_pow((double)i / 256, gamma);
    node[257] = node[256];
    unit = 256 / ((double)most - (double)least);
    for (i = 0; i < n; i++) {
        double t = ((double)px[i] - (double)least) * unit;
        int k = (int)t;
        double a, b;

        k = k > 256 ? 256 : k; /* rounding */
        a = (double)node[k];
        b = (double)node[k + 1] - a;
        a = a + (t - k) * b;
        px[i] = (float)((double)least + a * (256 / unit));
    }
}

static void quantise(float *px, size_t n, int bits)
{
    double top = bits == 8 ? 255 : 65535, unit;
    float least, most;
    size_t i;

    extremes(&least, &most, px, n);
    unit = most > least ? top / ((double)most - (double)least) : 0;
    for (i = 0; i < n; i++) {
        double t = ((double)px[i] - (double)least) * unit + 0.5;

        px[i] = (float)atomdl_floor(t > top ? top : t);
    }
}

/* What follows the noise. */
static void finish(atomdl_image *m, const atomdl_detector *d, float *line,
                   float *from)
{
    size_t n = (size_t)m->w * (size_t)m->h, i;
    float gain = d->gain != 0 ? (float)d->gain : 1, most;
    float offset = (float)d->offset;

    for (i = 0; (gain != 1 || offset != 0) && i < n; i++) {
        float t = m->px[i] * gain;

        m->px[i] = t + offset;
    }
    if (d->blur > 0) blur(m, d->blur, line, from);
    if (d->clip > 0 && d->clip < 1) {
        most = atomdl_percentile(m->px, n, d->clip);
        for (i = 0; i < n; i++) m->px[i] = m->px[i] > most ? most : m->px[i];
    }
    if (d->gamma > 0 && d->gamma != 1) curve(m->px, n, d->gamma);
    if (d->bits) quantise(m->px, n, d->bits);
}

void atomdl_detector_density(atomdl_detector *detector, double density,
                             double contrast, double mean, double share,
                             double pixel)
{
    double variance = square(contrast * density / pixel);

    detector->dose = 0;
    detector->counts = 0;
    if (mean > 0 && share < 1 && variance > 0)
        detector->counts = mean / ((1 - share) * variance);
    detector->read = atomdl_sqrt(share * variance);
}

int atomdl_detect(atomdl_image *image, const atomdl_detector *detector,
                  double pixel, atomdl_rng *rng, atomdl_arena *arena)
{
    const atomdl_detector *d = detector;
    size_t n = (size_t)image->w * (size_t)image->h, used = arena->used;
    double counts = d->dose > 0 ? d->dose * pixel * pixel : d->counts;
    int soft = d->smooth > 0 || d->blur > 0, status;
    struct poisson *table;
    float *line, *from, *clean;

    if (image->c != 1 || image->w < 1 || image->h < 1
        || !in_range(pixel, 1e-3, 10) || !detector_sound(d))
        return ATOMDL_EARG;
    table = atomdl_alloc(arena, counts > 0, sizeof *table);
    line = atomdl_alloc(arena, (size_t)image->w + 2 * BLUR, sizeof *line);
    from = atomdl_alloc(arena, soft ? n : 0, sizeof *from);
    clean = atomdl_alloc(arena, d->smooth > 0 ? n : 0, sizeof *clean);
    status = atomdl_arena_status(arena);
    arena->used = used;
    if (status || !line || !image->px) return status;
    status = atomdl_image_check(image);
    if (status) return status;
    add_background(image, d, pixel);
    if (d->row_gain > 0) gain_rows(image, d->row_gain, rng);
    add_noise(image, d, counts, rng, table, line, from, clean);
    finish(image, d, line, from);
    return ATOMDL_OK;
}

/* ---------- Images: contamination ----------------------------------------- */

#define CARBON_DENSITY 0.100 /* atoms per A^3: 2.0 g/cm^3, METHOD B.6 */
enum { TRIES = 16 };

static int carbon_sound(const atomdl_carbon *c)
{
    int i, ok = in_range(c->base, 0, 1e4) && in_range(c->core, 0, 2)
                && in_range(c->w, 0, 1e5) && in_range(c->h, 0, 1e5)
                && in_range(c->margin, 0, 1e3) && in_range(c->least, 0, 1e3)
                && in_range(c->most, c->least, 1e3) && c->clouds >= 0;

    for (i = 0; ok && i < c->clouds; i++) {
        const atomdl_cloud *v = &c->cloud[i];

        ok = in_range(v->x, -1e6, 1e6) && in_range(v->y, -1e6, 1e6)
             && in_range(v->sigma, 1e-3, 1e4) && in_range(v->peak, 0, 1e4);
    }
    return ok;
}

static double thickness(const atomdl_carbon *c, double x, double y)
{
    double t = c->base;
    int i;

    for (i = 0; i < c->clouds; i++) {
        const atomdl_cloud *v = &c->cloud[i];
        double r2 = square(x - v->x) + square(y - v->y);

        t = t + v->peak * atomdl_exp(-r2 / (2 * v->sigma * v->sigma));
    }
    return t;
}

/* Places taken, in square cells no smaller than the core. */
struct places {
    int nx, ny;
    double cell;
    uint32_t *first, *next; /* index + 1, 0: none */
};

static int places_new(struct places *p, const atomdl_carbon *c, size_t max,
                      atomdl_arena *arena)
{
    p->cell = c->core > 0.5 ? c->core : 0.5;
    p->nx = (int)((c->w + 2 * c->margin) / p->cell) + 1;
    p->ny = (int)((c->h + 2 * c->margin) / p->cell) + 1;
    p->first = atomdl_alloc(arena, (size_t)p->nx * (size_t)p->ny,
                            sizeof *p->first);
    p->next = atomdl_alloc(arena, max, sizeof *p->next);
    if (p->first)
        memset(p->first, 0,
               (size_t)p->nx * (size_t)p->ny * sizeof *p->first);
    return atomdl_arena_status(arena);
}

static uint32_t *place_of(const struct places *p, const atomdl_carbon *c,
                          const atomdl_atom *a, int dx, int dy)
{
    int x = (int)((a->x + c->margin) / p->cell) + dx;
    int y = (int)((a->y + c->margin) / p->cell) + dy;

    if (x < 0 || y < 0 || x >= p->nx || y >= p->ny) return NULL;
    return p->first + (size_t)y * (size_t)p->nx + (size_t)x;
}

/* Is a nearer than the core to one of those before? */
static int crowded(const struct places *p, const atomdl_carbon *c,
                   const atomdl_atom *atoms, const atomdl_atom *a)
{
    int dx, dy;

    for (dy = -1; dy <= 1; dy++)
        for (dx = -1; dx <= 1; dx++) {
            const uint32_t *first = place_of(p, c, a, dx, dy);
            uint32_t i;

            for (i = first ? *first : 0; i; i = p->next[i - 1]) {
                const atomdl_atom *b = &atoms[i - 1];

                if (square(a->x - b->x) + square(a->y - b->y)
                        + square(a->z - b->z)
                    < square(c->core))
                    return 1;
            }
        }
    return 0;
}

/* One atom of the layer (v NULL) or of a cloud. */
static atomdl_atom carbon_atom(const atomdl_carbon *c, const atomdl_cloud *v,
                               atomdl_rng *rng)
{
    atomdl_atom a = {0, 0, 0, 1, 6, ATOMDL_ROLE_CONTAMINATION, 0, UINT32_MAX};
    float z[2];

    if (v) {
        atomdl_rng_normal(rng, z, 2);
        a.x = v->x + v->sigma * (double)z[0];
        a.y = v->y + v->sigma * (double)z[1];
    } else {
        a.x = atomdl_rng_uniform64(rng) * (c->w + 2 * c->margin) - c->margin;
        a.y = atomdl_rng_uniform64(rng) * (c->h + 2 * c->margin) - c->margin;
    }
    a.z = atomdl_rng_uniform64(rng) * thickness(c, a.x, a.y);
    if (c->most > 0)
        a.weight = (float)(c->least
                           + atomdl_rng_uniform64(rng) * (c->most - c->least));
    return a;
}

static int in_field(const atomdl_carbon *c, const atomdl_atom *a)
{
    return a->x >= -c->margin && a->x <= c->w + c->margin
           && a->y >= -c->margin && a->y <= c->h + c->margin;
}

/* n atoms of one part, those outside of the field left out; number: so far */
static size_t carbon_part(atomdl_atom *atoms, size_t number, size_t n,
                          const struct places *p, const atomdl_carbon *c,
                          const atomdl_cloud *v, atomdl_rng *rng)
{
    atomdl_atom a;
    int tries;

    for (; n > 0; n--) {
        for (tries = 0; tries < TRIES; tries++) {
            a = carbon_atom(c, v, rng);
            if (c->core <= 0 || !in_field(c, &a)
                || !crowded(p, c, atoms, &a))
                break;
        }
        if (!in_field(c, &a)) continue;
        if (c->core > 0) {
            uint32_t *first = place_of(p, c, &a, 0, 0);

            p->next[number] = *first;
            *first = (uint32_t)number + 1;
        }
        atoms[number++] = a;
    }
    return number;
}

/* How many atoms part i has, -1: the base; opens its stream. */
static size_t carbon_number(atomdl_rng *stream, const atomdl_carbon *c, int i,
                            const atomdl_rng *rng)
{
    double area = (c->w + 2 * c->margin) * (c->h + 2 * c->margin);
    double volume = area * c->base;

    if (i >= 0)
        volume = 2 * PI * square(c->cloud[i].sigma) * c->cloud[i].peak;
    *stream = atomdl_rng_split(rng, (uint64_t)(i + 1));
    if (CARBON_DENSITY * volume > 1e9) return (size_t)1 << 30;
    return atomdl_rng_poisson(stream, CARBON_DENSITY * volume);
}

int atomdl_carbon_atoms(atomdl_atom *atoms, size_t max, size_t *n,
                        const atomdl_carbon *carbon, const atomdl_rng *rng,
                        atomdl_arena *arena)
{
    size_t used = arena->used, total = 0, number = 0;
    int i, status = ATOMDL_OK;
    struct places p = {0};
    atomdl_rng stream;

    *n = 0;
    if (!carbon_sound(carbon)) return ATOMDL_EARG;
    for (i = -1; i < carbon->clouds; i++) {
        total += carbon_number(&stream, carbon, i, rng);
        if (total > 1 << 24) return ATOMDL_EARG;
    }
    *n = total;
    if (carbon->core > 0) status = places_new(&p, carbon, total, arena);
    arena->used = used;
    if (status || !atoms || (carbon->core > 0 && !p.first)) return status;
    if (max < total) return ATOMDL_EMEM;
    for (i = -1; i < carbon->clouds; i++) {
        size_t m = carbon_number(&stream, carbon, i, rng);

        number = carbon_part(atoms, number, m, &p, carbon,
                             i < 0 ? NULL : &carbon->cloud[i], &stream);
    }
    *n = number;
    return ATOMDL_OK;
}

int atomdl_carbon_thickness(atomdl_image *image, const atomdl_carbon *carbon,
                            double pixel, atomdl_arena *arena)
{
    size_t used = arena->used, w = (size_t)image->w, i;
    int k, x, y, status;
    double *ex = atomdl_alloc(arena, w, sizeof *ex);

    status = atomdl_arena_status(arena);
    arena->used = used;
    if (image->c != 1 || !in_range(pixel, 1e-3, 10) || !carbon_sound(carbon))
        return ATOMDL_EARG;
    if (status || !ex || !image->px) return status;
    for (i = 0; i < w * (size_t)image->h; i++)
        image->px[i] = (float)carbon->base;
    for (k = 0; k < carbon->clouds; k++) {
        const atomdl_cloud *v = &carbon->cloud[k];
        double unit = 1 / (2 * v->sigma * v->sigma);

        for (x = 0; x < image->w; x++)
            ex[x] = v->peak
                    * atomdl_exp(-square((x + 0.5) * pixel - v->x) * unit);
        for (y = 0; y < image->h; y++) {
            double e = atomdl_exp(-square((y + 0.5) * pixel - v->y) * unit);
            float *row = image->px + (size_t)y * w;

            for (x = 0; x < image->w; x++)
                row[x] = (float)((double)row[x] + ex[x] * e);
        }
    }
    return ATOMDL_OK;
}
