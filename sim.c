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
