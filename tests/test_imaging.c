/* SPDX-License-Identifier: MIT
   Images of simulated atoms: the transform against slow sums in binary64, the
   numbers of METHOD B.3, B.4, B.6 and F.2, noise against its statistics. */

#include "test.h"

#define PI 3.14159265358979323846
#define MEMORY ((size_t)64 << 20)

/* ---------- Fourier transform --------------------------------------------- */

/* out(h, w) pairs <- the transform of (h, w) pairs, by the definition */
static void slow_dft(double *out, const double *in, int w, int h, int sign)
{
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++) {
            double re = 0, im = 0;
            for (int y = 0; y < h; y++)
                for (int x = 0; x < w; x++) {
                    const double *v = in + 2 * (y * w + x);
                    double t = sign * 2 * PI
                               * ((double)(x * i % w) / w
                                  + (double)(y * j % h) / h);
                    double c = cos(t), s = sin(t);
                    re += v[0] * c - v[1] * s;
                    im += v[0] * s + v[1] * c;
                }
            out[2 * (j * w + i)] = re;
            out[2 * (j * w + i) + 1] = im;
        }
}

static const int SIZES[][2] = {{1, 1}, {2, 1}, {1, 3}, {4, 2}, {5, 3}, {6, 20},
                               {15, 9}, {16, 18}, {30, 8}, {25, 27}, {40, 36},
                               {1, 240}, {450, 1}, {12, 50}};

/* Errors of one rounding an addition, about log2(n) of them, random signs:
   3e-7 of the norm of the result's size sqrt(n) is generous. */
static void complex_size(int w, int h, atomdl_arena *arena)
{
    int n = w * h, i;
    double *v = malloc(4 * (size_t)n * sizeof *v), *want = v + 2 * n, worst;
    float *re = malloc(2 * (size_t)n * sizeof *re), *im = re + n;
    atomdl_rng rng = atomdl_rng_seed((uint64_t)n);
    for (int back = 0; back < 2; back++) {
        for (i = 0; i < n; i++) {
            v[2 * i] = re[i] = atomdl_rng_uniform(&rng) - 0.3f;
            v[2 * i + 1] = im[i] = atomdl_rng_uniform(&rng) - 0.6f;
        }
        slow_dft(want, v, w, h, back ? 1 : -1);
        CHECK(atomdl_fft(re, im, w, h, back, arena) == ATOMDL_OK);
        for (worst = 0, i = 0; i < n; i++) {
            double s = back ? n : 1;
            worst = fmax(worst, fabs(re[i] * s - want[2 * i]));
            worst = fmax(worst, fabs(im[i] * s - want[2 * i + 1]));
        }
        if (worst > 1e-6 * sqrt(n) + 2e-7 * n)
            FAIL("%d x %d, back %d: off by %g", w, h, back, worst);
    }
    free(v);
    free(re);
}

static void real_size(int w, int h, int bins, atomdl_arena *arena)
{
    int n = w * h, pitch = w + 3;
    double *v = calloc(4 * (size_t)n, sizeof *v), *want = v + 2 * n, worst = 0;
    float *x = malloc((size_t)(pitch * h) * sizeof *x);
    float *re = malloc(2 * (size_t)(bins * h) * sizeof *re);
    float *im = re + bins * h;
    atomdl_rng rng = atomdl_rng_seed((uint64_t)n);
    for (int i = 0; i < pitch * h; i++) {
        x[i] = atomdl_rng_uniform(&rng) - 0.3f;
        if (i % pitch < w) v[2 * (i / pitch * w + i % pitch)] = x[i];
    }
    slow_dft(want, v, w, h, -1);
    CHECK(atomdl_fft_real(&(atomdl_bins){re, im, bins}, x, pitch, w, h, arena)
          == ATOMDL_OK);
    for (int j = 0; j < h; j++)
        for (int i = 0; i < bins; i++) {
            const double *e = want + 2 * (j * w + i);
            worst = fmax(worst, fabs(re[j * bins + i] - e[0]));
            worst = fmax(worst, fabs(im[j * bins + i] - e[1]));
        }
    /* the way back: what the columns hold, no others */
    for (int j = 0; j < h; j++)
        for (int i = 0; i < w; i++)
            if (i >= bins && w - i >= bins)
                want[2 * (j * w + i)] = want[2 * (j * w + i) + 1] = 0;
    slow_dft(v, want, w, h, 1);
    for (int i = 0; i < pitch * h; i++) x[i] = 7;
    CHECK(atomdl_fft_real_back(x, pitch, &(atomdl_bins){re, im, bins}, w, h,
                               arena)
          == ATOMDL_OK);
    for (int i = 0; i < pitch * h; i++) {
        double e = i % pitch < w ? v[2 * (i / pitch * w + i % pitch)] / n : 7;
        worst = fmax(worst, fabs(x[i] - e));
    }
    if (worst > 1e-6 * sqrt(n) + 2e-7 * n)
        FAIL("%d x %d, %d columns: off by %g", w, h, bins, worst);
    free(v);
    free(x);
    free(re);
}

void test_fft(void)
{
    atomdl_arena arena = new_arena(MEMORY), small = {NULL, 0, 0, 0, 0};
    float re[64] = {0}, im[64] = {0};
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        int w = SIZES[i][0], h = SIZES[i][1];
        complex_size(w, h, &arena);
        real_size(w, h, w / 2 + 1, &arena);
        if (w > 4) real_size(w, h, w / 4 + 1, &arena);
    }
    CHECK(arena.used == 0);
    CHECK(atomdl_fft_size(0) == 1 && atomdl_fft_size(7) == 8
          && atomdl_fft_size(121) == 125 && atomdl_fft_size(1 << 20) == 1 << 20
          && atomdl_fft_size((1 << 20) + 1) == 0);
    CHECK(atomdl_fft(re, im, 7, 1, 0, &arena) == ATOMDL_EARG);
    CHECK(atomdl_fft(re, im, 0, 1, 0, &arena) == ATOMDL_EARG);
    CHECK(atomdl_fft_real(&(atomdl_bins){re, im, 6}, re, 8, 8, 2, &arena)
          == ATOMDL_ESHAPE);
    CHECK(atomdl_fft_real(&(atomdl_bins){re, im, 5}, re, 7, 8, 2, &arena)
          == ATOMDL_ESHAPE);
    CHECK(atomdl_fft(NULL, NULL, 8, 6, 0, &small) == ATOMDL_OK);
    for (size_t k = 0; k < small.peak; k += 61) {
        arena.size = k;
        arena.failed = 0;
        CHECK(atomdl_fft(re, im, 8, 6, 0, &arena) == ATOMDL_EMEM);
    }
    free(arena.base);
}

/* ---------- Optics -------------------------------------------------------- */

static atomdl_optics preset(const char *name)
{
    atomdl_optics o;
    CHECK(atomdl_optics_preset(&o, name) == ATOMDL_OK);
    CHECK(atomdl_optics_check(&o) == ATOMDL_OK);
    return o;
}

/* A microscope under which atoms add, as METHOD B.3, B.4 and F.2 have it. */
static atomdl_optics additive(const char *name)
{
    atomdl_optics o = preset(name);
    o.channelling = 0;
    return o;
}

/* the table of METHOD B.3: within half of its last digit */
void test_optics(void)
{
    CHECK_NEAR(atomdl_wavelength(60), 0.048661, 5e-7);
    CHECK_NEAR(atomdl_wavelength(80), 0.041757, 5e-7);
    CHECK_NEAR(atomdl_wavelength(100), 0.037014, 5e-7);
    atomdl_optics o;
    CHECK(atomdl_optics_preset(&o, "00") == ATOMDL_EARG);
    CHECK(atomdl_optics_preset(&o, "0011") == ATOMDL_EARG);
    o = preset("004");
    CHECK(o.kv == 80 && o.convergence == 23 && o.inner == 40 && o.outer == 160);
    for (int i = 0; i < 6; i++) {
        atomdl_optics bad = o;
        if (i == 0) bad.kv = NAN;
        if (i == 1) bad.aberration[ATOMDL_C56][1] = INFINITY;
        if (i == 2) bad.outer = bad.inner;
        if (i == 3) bad.stack = -1;
        if (i == 4) bad.model = 2;
        if (i == 5) bad.z[3] = 119;
        CHECK(atomdl_optics_check(&bad) == ATOMDL_EARG);
    }
    o = preset("gaussian");
    o.tail = 0.2;
    CHECK(atomdl_optics_check(&o) == ATOMDL_EARG);
}

/* ---------- Cross-sections by quadrature ---------------------------------- */

enum { ELEMENTS = 10 };

static const struct {
    int z;
    double p[12]; /* a b a b a b c d c d c d */
} KIRKLAND[ELEMENTS] = {
    {5, {1.25716066e-1, 1.48258830e-1, 1.73314452e-1, 1.48257216e-1,
         1.84774811e-1, 3.34227311, 1.95250221e-1, 1.97339463,
         5.29642075e-1, 5.70035553, 1.08230500e-3, 5.64857237e-2}},
    {6, {2.12080767e-1, 2.08605417e-1, 1.99811865e-1, 2.08610186e-1,
         1.68254385e-1, 5.57870773, 1.42048360e-1, 1.33311887,
         3.63830672e-1, 3.80800263, 8.35012044e-4, 4.03982620e-2}},
    {7, {5.33015554e-1, 2.90952515e-1, 5.29008883e-2, 1.03547896e1,
         9.24159648e-2, 1.03540028e1, 2.61799101e-1, 2.76252723,
         8.80262108e-4, 3.47681236e-2, 1.10166555e-1, 9.93421736e-1}},
    {14, {1.06543892, 1.04118455, 1.20143691e-1, 6.87113368e1,
          1.80915263e-1, 8.87533926e-2, 1.12065620, 3.70062619,
          3.05452816e-2, 2.14097897e-1, 1.59963502, 9.99096638}},
    {16, {1.01646916, 1.69181965, 4.41766748e-1, 1.74180288e-1,
          1.21503863e-1, 1.67011091e2, 8.27966670e-1, 2.30342810,
          2.33022533e-2, 1.56954150e-1, 1.18302846, 5.85782891}},
    {23, {3.52961378e-1, 8.19204103e-2, 7.46791014e-1, 8.81189511,
          1.08364068, 5.10646075e-1, 1.39013610, 1.48901841e1,
          3.31273356e-1, 8.38543079e-1, 1.40422612e-2, 6.57432678e-2}},
    {34, {9.58390681e-1, 1.83775557e-1, 6.03851342e-1, 1.96819224e2,
          1.90828931, 2.15082053, 1.73885956e-1, 3.00006024e-1,
          9.35265145e-1, 4.92471215, 8.62254658e-3, 2.12308108e-2}},
    {42, {6.10160120e-1, 9.11628054e-2, 1.26544000, 5.06776025e-1,
          1.97428762, 5.89590381, 6.48028962e-1, 1.46634108,
          2.60380817e-3, 7.84336311e-3, 1.13887493e-1, 1.55114340e-1}},
    {52, {2.09383882, 1.26856869e1, 1.56940519, 1.21236537,
          1.30941993, 1.66633292e-1, 6.98067804e-2, 8.30817576e-2,
          1.04969537, 7.43147857, 5.55594354e-1, 6.17487676e-1}},
    {74, {9.24906855e-1, 1.28663377e-1, 2.75554557, 7.65826479e-1,
          3.30440060, 1.34471170e1, 3.29973862e-1, 1.98218895e-1,
          1.09916444, 1.35087534e1, 2.06498883e-2, 3.38918459e-2}}
};

/* K0(x) = integral of exp(-x cosh t) over t > 0: the trapezoidal rule
   converges faster than any power of its step */
static double bessel_k0(double x)
{
    double sum = 0.5 * exp(-x);
    for (double t = 0.1; x * cosh(t) < 40; t += 0.1) sum += exp(-x * cosh(t));
    return 0.1 * sum;
}

/* projected potential, V A */
static double potential(const double *p, double r)
{
    double v = 0;
    for (int i = 0; i < 6; i += 2)
        v += 300.8242834 * p[i] * bessel_k0(2 * PI * r * sqrt(p[i + 1]));
    for (int i = 6; i < 12; i += 2)
        v += 150.4121417 * p[i] / p[i + 1] * exp(-PI * PI * r * r / p[i + 1]);
    return v;
}

enum { RADII = 3000, ANGLES = 48 };

/* 2 pi int |f|^2 theta dtheta, |f| of Moliere, r in geometric steps */
static double quadrature(const double *v, double kv, double inner,
                         double outer)
{
    double lambda = atomdl_wavelength(kv);
    double sigma = 2 * PI / (lambda * kv * 1000) /* rad/(V A) */
                   * (510.99906 + kv) / (2 * 510.99906 + kv);
    double step = log(6 / 1e-5) / RADII, sum = 0, h = (outer - inner) * 1e-3
                                                      / ANGLES;
    for (int j = 0; j <= ANGLES; j++) {
        double theta = inner * 1e-3 + h * j, re = 0, im = 0;
        for (int i = 0; i <= RADII; i++) {
            double r = 1e-5 * exp(step * i);
            double w = r * r * step * j0(2 * PI * theta / lambda * r)
                       * (i == 0 || i == RADII ? 0.5 : 1);
            re += w * sin(sigma * v[i]);
            im += w * (1 - cos(sigma * v[i]));
        }
        double f2 = (re * re + im * im) * 4 * PI * PI / (lambda * lambda);
        sum += f2 * theta * (j == 0 || j == ANGLES ? 1 : j % 2 ? 4 : 2);
    }
    return 2 * PI * sum * h / 3;
}

/* The shipped table within 1 %, all of it; the rule for other detectors
   within 15 %, for other elements by its definition. */
void test_cross_sections(void)
{
    static const double SETTING[7][3] = {{60, 86, 200}, {60, 54, 200},
                                         {80, 40, 160}, {80, 63, 200},
                                         {100, 86, 200}, {200, 60, 180},
                                         {60, 70, 180}};
    double v[RADII + 1], worst = 0;
    atomdl_optics o = preset("001");
    for (int e = 0; e < ELEMENTS; e++) {
        for (int i = 0; i <= RADII; i++)
            v[i] = potential(KIRKLAND[e].p,
                             1e-5 * exp(log(6 / 1e-5) / RADII * i));
        for (int s = 0; s < 7; s++) {
            o.kv = SETTING[s][0];
            o.inner = SETTING[s][1];
            o.outer = SETTING[s][2];
            double want = quadrature(v, o.kv, o.inner, o.outer);
            double got = atomdl_cross_section(&o, KIRKLAND[e].z);
            if (s < 6) worst = fmax(worst, fabs(got / want - 1));
            CHECK_NEAR(got / want, 1, s < 6 ? 0.01 : 0.15);
        }
    }
    printf("  table against quadrature: within %.2g %%\n", 100 * worst);
    o = preset("001");
    double want =
        sqrt(2.9771e-3 * 3.6761e-3); /* P: the mean of Si and S, about */
    CHECK_NEAR(atomdl_cross_section(&o, 15) / want, 1, 0.01);
    CHECK(atomdl_cross_section(&o, 0) == 0);
    CHECK(atomdl_cross_section(&o, 118) > atomdl_cross_section(&o, 92));
    o.z[2] = 14;
    o.ratio[2] = 6.5;
    CHECK_NEAR(atomdl_cross_section(&o, 14), 6.5 * 5.740e-4, 1e-15);
    o = preset("gaussian");
    CHECK_NEAR(atomdl_cross_section(&o, 6), 1, 1e-14);
    CHECK_NEAR(atomdl_cross_section(&o, 14), pow(14.0 / 6, 1.64), 1e-12);
}

/* ---------- Probes -------------------------------------------------------- */

static atomdl_atom atom_at(double x, double y, int z)
{
    atomdl_atom a = {0, 0, 0, 1, 0, 0, 0, UINT32_MAX};
    a.x = x;
    a.y = y;
    a.element = (uint8_t)z;
    return a;
}

/* image(w, h) of atoms; px is malloc'ed */
static atomdl_image render(const atomdl_atom *atom, size_t n, int w, int h,
                           double pixel, const atomdl_optics *o,
                           double margin)
{
    atomdl_arena arena = new_arena(MEMORY);
    atomdl_image m = {0, 0, 1, NULL};
    m.w = w;
    m.h = h;
    m.px = malloc((size_t)w * (size_t)h * sizeof(float));
    atomdl_probe probe;
    CHECK(atomdl_probe_new(&probe, o, w, h, pixel, margin, &arena)
          == ATOMDL_OK);
    CHECK(atomdl_image_atoms(&m, atom, n, o, &probe, &arena) == ATOMDL_OK);
    free(arena.base);
    return m;
}

/* width at half maximum of the row through the centre of a symmetric probe */
static double width(const atomdl_optics *o)
{
    enum { N = 512 };
    const double pixel = 0.05;
    atomdl_atom a = atom_at((N / 2 + 0.5) * pixel, 0.5 * pixel, 6);
    atomdl_image m = render(&a, 1, N, 1, pixel, o, 12);
    float half = m.px[N / 2] / 2;
    int i = N / 2;
    while (m.px[i] > half) i++;
    double w = i - (half - m.px[i]) / (double)(m.px[i - 1] - m.px[i]) - N / 2;
    free(m.px);
    return 2 * w * pixel;
}

/* METHOD B.3: within 1 % and half of a digit of the table */
void test_probe_widths(void)
{
    static const double SOURCE[5] = {0, 0.8, 1.0, 1.2, 1.4};
    static const double WANT[4][5] = {{0.80, 1.09, 1.25, 1.42, 1.60},
                                      {0.94, 1.19, 1.33, 1.49, 1.66},
                                      {0.85, 1.13, 1.28, 1.44, 1.62},
                                      {0.61, 0.98, 1.16, 1.35, 1.54}};
    static const char *const NAME[4] = {"001", "004", "stem", "002"};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 5; j++) {
            atomdl_optics o = additive(NAME[i]);
            o.source = SOURCE[j];
            double w = width(&o);
            CHECK_NEAR(w, WANT[i][j], 0.01 * WANT[i][j] + 0.005);
            if (j == 0)
                CHECK_NEAR(w / (0.5145 * atomdl_wavelength(o.kv)
                                / o.convergence * 1e3), 1, 0.01);
        }
}

/* ---------- Multislice ---------------------------------------------------- */

/* Against the numbers above; the integral over the plane is 2 pi e a0 times the
   electron scattering factor at 0, which Doyle and Turner give as 2.509, 5.828
   and 5.161 A for C, Si and S. */
void test_potential(void)
{
    static const double FORWARD[3][2] = {{6, 2.509}, {14, 5.828}, {16, 5.161}};
    for (int e = 0; e < ELEMENTS; e++)
        for (double r = 1e-3; r < 4; r *= 1.3)
            CHECK_NEAR(atomdl_potential(KIRKLAND[e].z, r)
                           / potential(KIRKLAND[e].p, r), 1, 1e-7);
    for (int i = 0; i < 3; i++) {
        double sum = 0, step = log(20 / 1e-5) / RADII;
        for (int k = 0; k < RADII; k++) {
            double r = 1e-5 * exp(step * k);
            sum += 2 * PI * r * r * step
                   * atomdl_potential((int)FORWARD[i][0], r);
        }
        CHECK_NEAR(sum / 47.8780 / FORWARD[i][1], 1, 0.02);
    }
    CHECK(atomdl_potential(6, 0) == 0 && atomdl_potential(118, 1) == 0);
}

/* image(w, h) of atoms, noise-free; px is malloc'ed */
static atomdl_image waves(const atomdl_atom *atom, size_t n, int w, int h,
                          double pixel, const atomdl_optics *o,
                          const atomdl_slicing *how)
{
    atomdl_image m = {w, h, 1, malloc((size_t)(w * h) * sizeof(float))};
    atomdl_arena need = {0}, arena;
    CHECK(atomdl_image_multislice(&m, NULL, n, o, pixel, how, &need)
          == ATOMDL_OK);
    arena = new_arena(need.peak);
    CHECK(atomdl_image_multislice(&m, atom, n, o, pixel, how, &arena)
          == ATOMDL_OK);
    CHECK(arena.peak <= need.peak && arena.used == 0);
    free(arena.base);
    return m;
}

/* Phases lose nothing: all angles together get the beam but for what scatters
   beyond the band. Without atoms, the dark field gets nothing. */
void test_multislice_beam(void)
{
    atomdl_optics o = preset("001");
    atomdl_slicing how = {.window = 8};
    atomdl_atom a[2] = {atom_at(1, 1, 6), atom_at(1.7, 0.4, 42)};
    o.inner = 0;
    o.outer = 260;
    a[1].z = -3;
    atomdl_image m = waves(a, 2, 3, 3, 0.4, &o, &how);
    for (int i = 0; i < 9; i++) CHECK(m.px[i] > 0.97f && m.px[i] < 1.0005f);
    free(m.px);
    m = waves(a, 1, 3, 3, 0.4, &o, &how);
    for (int i = 0; i < 9; i++) CHECK(m.px[i] > 0.9985f && m.px[i] < 1.0005f);
    free(m.px);
    o.inner = 60;
    m = waves(a, 0, 3, 3, 0.4, &o, &how);
    for (int i = 0; i < 9; i++) CHECK(fabsf(m.px[i]) < 1e-9f);
    free(m.px);
}

/* One atom anywhere between the grid's points: no column changes by 1 % on a
   grid four times as fine, and the integral of its image is its cross-section,
   but for the aperture, which blurs the detector's edges. */
void test_multislice_atom(void)
{
    static const int ELEMENT[3] = {6, 16, 42};
    atomdl_optics o = preset("004");
    o.source = 0;
    o.outer = 120;
    double worst = 0;
    for (int e = 0; e < 3; e++) {
        atomdl_atom a = atom_at(0.7 + 0.013 * e, 0.7 - 0.02 * e, ELEMENT[e]);
        atomdl_slicing how = {.window = 9.97}; /* 80 and 320 points of equal
                                                  length */
        atomdl_image m = waves(&a, 1, 3, 3, 0.45, &o, &how);
        how.finer = 4;
        atomdl_image fine = waves(&a, 1, 3, 3, 0.45, &o, &how);
        for (int i = 0; i < 9; i++)
            worst = fmax(worst, fabs((double)(m.px[i] / fine.px[4])
                                     - (double)(fine.px[i] / fine.px[4])));
        free(m.px);
        free(fine.px);
    }
    printf("  a grid four times as fine: within %.2g %%\n", 100 * worst);
    CHECK(worst < 0.01);
    o = preset("004");
    o.convergence = 8;
    atomdl_atom a = atom_at(5, 5, 16);
    atomdl_slicing how = {.window = 14};
    atomdl_image m = waves(&a, 1, 25, 25, 0.4, &o, &how);
    double sum = 0;
    for (int i = 0; i < 625; i++) sum += (double)m.px[i] * 0.16;
    printf("  S: %.4g of its cross-section\n",
           sum / atomdl_cross_section(&o, 16));
    CHECK_NEAR(sum / atomdl_cross_section(&o, 16), 1, 0.06);
    free(m.px);
}

/* Atoms far apart add; one atom's image lies where it is, coma or not; threads
   do not change a bit; what cannot be is refused. */
void test_multislice_sum(void)
{
    atomdl_optics o = preset("004");
    atomdl_slicing how = {.configurations = 4, .rng = atomdl_rng_seed(3),
                          .window = 9, .threads = 1};
    atomdl_atom a[2] = {atom_at(1.2, 1.2, 16), atom_at(3.6, 1.2, 16)};
    o.aberration[ATOMDL_C21][0] = 3000;
    o.recentre = 1;
    o.source = 0.7;
    a[1].z = -1;
    atomdl_image one = waves(a, 1, 24, 12, 0.2, &o, &how);
    atomdl_image both = waves(a, 2, 24, 12, 0.2, &o, &how);
    int best = 0;
    for (int i = 0; i < 24 * 12; i++) if (one.px[i] > one.px[best]) best = i;
    CHECK(abs(2 * (best % 24) - 11) <= 2 && abs(2 * (best / 24) - 11) <= 2);
    CHECK_NEAR((double)(both.px[5 * 24 + 17] / one.px[5 * 24 + 5]), 1, 0.1);
    CHECK_NEAR((double)(both.px[5 * 24 + 5] / one.px[5 * 24 + 5]), 1, 0.1);
    how.threads = 3;
    atomdl_image again = waves(a, 2, 24, 12, 0.2, &o, &how);
    CHECK(!memcmp(both.px, again.px, 24 * 12 * sizeof(float)));
    atomdl_arena need = {0}, arena = new_arena(64);
    CHECK(atomdl_image_multislice(&one, a, 2, &o, 0.2, &how, &arena)
          == ATOMDL_EMEM);
    a[0].element = 118;
    CHECK(atomdl_image_multislice(&one, a, 2, &o, 0.2, &how, &arena)
          == ATOMDL_EARG);
    how.configurations = -1;
    CHECK(atomdl_image_multislice(&one, a, 1, &o, 0.2, &how, &need)
          == ATOMDL_EARG);
    free(arena.base);
    free(one.px);
    free(both.px);
    free(again.px);
}

/* ---------- Images against phase factors ---------------------------------- */

/* chi by the letter of METHOD B.3 */
static double chi(const atomdl_optics *o, double defocus, double u, double v)
{
    static const int N[ATOMDL_ABERRATIONS] = {2, 1, 3, 2, 4, 1, 3, 5, 2, 4, 6};
    static const int M[ATOMDL_ABERRATIONS] = {2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6};
    double a = sqrt(u * u + v * v), phi = atan2(v, u);
    double sum =
        -0.5 * defocus * a * a + o->c3 * pow(a, 4) / 4 + o->c5 * pow(a, 6) / 6;
    for (int i = 0; i < ATOMDL_ABERRATIONS; i++)
        sum += pow(a, M[i]) / M[i]
               * (o->aberration[i][0] * cos(N[i] * phi)
                  + o->aberration[i][1] * sin(N[i] * phi));
    return 2 * PI / atomdl_wavelength(o->kv) * sum;
}

enum { REACH = 24 }; /* greatest index of a frequency in these tests */
#define SPAN (2 * REACH + 1)

struct transfer { /* transfer function of the probe, re and im */
    double re[SPAN][SPAN], im[SPAN][SPAN];
};

/* The autocorrelation of the pupil, averaged over the defocus spread by a
   fine sum, times source size; lx, ly: period */
static void slow_transfer(struct transfer *t, const atomdl_optics *o,
                          double lx, double ly)
{
    static double pr[SPAN][SPAN], pi[SPAN][SPAN];
    double lambda = atomdl_wavelength(o->kv), unit = 0;
    int steps = o->spread > 1 ? 40 : 0;
    memset(t, 0, sizeof *t);
    for (int s = -steps; s <= steps; s++) { /* +-4 sigma */
        double z = steps ? 4.0 * s / steps : 0, weight = exp(-z * z / 2);
        double defocus = o->defocus + z * o->spread / 2.354820045;
        unit += weight;
        for (int j = -REACH; j <= REACH; j++)
            for (int i = -REACH; i <= REACH; i++) {
                double u = lambda * i / lx, v = lambda * j / ly;
                double c = chi(o, defocus, u, v);
                int in = u * u + v * v
                         <= o->convergence * o->convergence * 1e-6;
                pr[j + REACH][i + REACH] = in ? cos(c) : 0;
                pi[j + REACH][i + REACH] = in ? -sin(c) : 0;
            }
        for (int j = 0; j < SPAN; j++)
            for (int i = 0; i < SPAN; i++) {
                if (pr[j][i] == 0 && pi[j][i] == 0) continue;
                for (int b = 0; b < SPAN; b++) /* psi(k) psi*(k - q) */
                    for (int a = 0; a < SPAN; a++) {
                        int qx = i - a + REACH, qy = j - b + REACH;
                        double r = pr[b][a], m = pi[b][a];
                        if ((r == 0 && m == 0) || qx < 0 || qy < 0
                            || qx >= SPAN || qy >= SPAN)
                            continue;
                        t->re[qy][qx] += weight * (pr[j][i] * r + pi[j][i] * m);
                        t->im[qy][qx] += weight * (pi[j][i] * r - pr[j][i] * m);
                    }
            }
    }
    unit = t->re[REACH][REACH];
    for (int j = 0; j < SPAN; j++)
        for (int i = 0; i < SPAN; i++) {
            double k2 = (i - REACH) * (i - REACH) / (lx * lx)
                        + (j - REACH) * (j - REACH) / (ly * ly);
            double e = exp(-PI * PI * o->source * o->source / 4 * k2
                           / log(2)) / unit;
            e *= fmax(0, 1 - 0.22 * o->channelling * sqrt(k2) * lambda * 1000
                             / o->inner);
            t->re[j][i] *= e;
            t->im[j][i] *= e;
        }
}

/* intensity at (x, y): sum of sigma T(k) exp(2 pi i k (r - r_atom)) / area */
static double slow_intensity(const struct transfer *t, double x, double y,
                             double lx, double ly, const atomdl_atom *atom,
                             int n, const atomdl_optics *o)
{
    double sum = 0;
    for (int a = 0; a < n; a++)
        for (int j = 0; j < SPAN; j++)
            for (int i = 0; i < SPAN; i++) {
                if (t->re[j][i] == 0 && t->im[j][i] == 0) continue;
                double p = 2 * PI
                           * ((i - REACH) / lx * (x - atom[a].x)
                              + (j - REACH) / ly * (y - atom[a].y));
                sum += (t->re[j][i] * cos(p) - t->im[j][i] * sin(p))
                       * atomdl_cross_section(o, atom[a].element)
                       * (double)atom[a].weight;
            }
    return sum / (lx * ly);
}

static void against_phases(const atomdl_optics *o, double pixel,
                           double tolerance)
{
    enum { W = 9, H = 7, ATOMS = 3 };
    static struct transfer t;
    atomdl_arena arena = new_arena(MEMORY);
    atomdl_rng rng = atomdl_rng_seed(5);
    float px[W * H];
    atomdl_image m = {W, H, 1, NULL};
    double worst = 0, peak = 0;
    m.px = px;
    atomdl_atom atom[ATOMS];
    for (int i = 0; i < ATOMS; i++) {
        atom[i] = atom_at(W * pixel * atomdl_rng_uniform64(&rng),
                          H * pixel * atomdl_rng_uniform64(&rng),
                          i ? 6 : 14);
        atom[i].weight = 0.5f + (float)i;
    }
    atomdl_probe p;
    CHECK(atomdl_probe_new(&p, o, W, H, pixel, 3, &arena) == ATOMDL_OK);
    CHECK(atomdl_image_atoms(&m, atom, ATOMS, o, &p, &arena) == ATOMDL_OK);
    double lx = p.gw * pixel / p.over;
    double ly = p.gh * pixel / p.over;
    slow_transfer(&t, o, lx, ly);
    for (int i = 0; i < W * H; i++) {
        double want = slow_intensity(&t, (i % W + 0.5) * pixel,
                                     (i / W + 0.5) * pixel, lx, ly, atom,
                                     ATOMS, o);
        worst = fmax(worst, fabs(px[i] - want));
        peak = fmax(peak, want);
    }
    printf("  pixel %.2f, grid %d x %d, over %d: %.2g of the peak\n", pixel,
           p.gw, p.gh, p.over, worst / peak);
    CHECK(worst < tolerance * peak);
    free(arena.base);
}

void test_image_phases(void)
{
    atomdl_optics o = preset("001");
    atomdl_rng rng = atomdl_rng_seed(3);
    o.source = 0;
    against_phases(&o, 0.15625, 1e-6);
    against_phases(&o, 0.3, 1e-6);
    o.source = 0.8;
    o.defocus = 40;
    o.c3 = 2e4;
    o.c5 = 3e7;
    for (int i = 0; i < ATOMDL_ABERRATIONS; i++) {
        static const double SIZE[7] = {0, 0, 20, 500, 2e4, 6e5, 2e7};
        static const int M[ATOMDL_ABERRATIONS] = {2, 3, 3, 4, 4, 5, 5, 5,
                                                  6, 6, 6};
        o.aberration[i][0] = SIZE[M[i]] * (atomdl_rng_uniform64(&rng) - 0.5);
        o.aberration[i][1] = SIZE[M[i]] * (atomdl_rng_uniform64(&rng) - 0.5);
    }
    against_phases(&o, 0.2, 1e-6);
    o.spread = 60;
    against_phases(&o, 0.12, 1e-4); /* nine points of defocus */
}

/* The Gaussian model by its formula, in the plane. */
void test_image_gaussian(void)
{
    enum { W = 24, H = 20 };
    static const double PIXEL[3] = {0.1, 0.2, 0.6};
    atomdl_optics o = preset("gaussian");
    o.fwhm = 1.2;
    o.ellipticity = 0.3;
    o.angle = 0.7;
    o.tail = 0.25;
    o.tail_sigma = 1.1;
    for (int k = 0; k < 3; k++) {
        double v = pow(o.fwhm / 2.354820045, 2) / sqrt(1 - 0.09), worst = 0;
        double x0 = W * PIXEL[k] * 0.47, y0 = H * PIXEL[k] * 0.53;
        double v1 = v * 1.3, v2 = v * 0.7, t2 = o.tail_sigma * o.tail_sigma;
        double peak = 0.75 / (2 * PI * sqrt(v1 * v2)) + 0.25 / (2 * PI * t2);
        atomdl_atom a = atom_at(x0, y0, 6);
        atomdl_image m = render(&a, 1, W, H, PIXEL[k], &o, 8);
        for (int i = 0; i < W * H; i++) {
            double x = (i % W + 0.5) * PIXEL[k] - x0;
            double y = (i / W + 0.5) * PIXEL[k] - y0;
            double s = x * cos(0.7) + y * sin(0.7);
            double t = y * cos(0.7) - x * sin(0.7);
            double want = 0.75 / (2 * PI * sqrt(v1 * v2))
                              * exp(-s * s / (2 * v1) - t * t / (2 * v2))
                          + 0.25 / (2 * PI * t2)
                                * exp(-(x * x + y * y) / (2 * t2));
            worst = fmax(worst, fabs(m.px[i] - want));
        }
        printf("  pixel %.1f: %.2g of the peak\n", PIXEL[k], worst / peak);
        CHECK(worst < 1e-6 * peak);
        free(m.px);
    }
}

/* The brightest point is at the atom, whatever the aberrations. */
void test_probe_centre(void)
{
    enum { N = 61 };
    const double pixel = 0.05;
    atomdl_optics o = preset("001");
    for (int k = 0; k < 4; k++) {
        atomdl_atom a = atom_at((N / 2 + 0.5) * pixel, (N / 2 + 0.5) * pixel,
                                6);
        int best = 0;
        o.recentre = k < 3;
        o.aberration[ATOMDL_C21][0] = 300.0 * k + 100;
        o.aberration[ATOMDL_C23][1] = -500;
        o.aberration[ATOMDL_C12][1] = 30;
        atomdl_image m = render(&a, 1, N, N, pixel, &o, 8);
        for (int i = 0; i < N * N; i++)
            if (m.px[i] > m.px[best]) best = i;
        if (k < 3) CHECK(best == N / 2 * N + N / 2);
        else CHECK(best != N / 2 * N + N / 2);
        free(m.px);
    }
}

/* ---------- Contrasts ----------------------------------------------------- */

/* METHOD B.4 and F.2 leave out what atoms further away than about 7 A add: 2 to
   3 % of the mean, that is 0.02 of S2. */
#define PATCH 7.0
enum { MOST_ATOMS = 8000 };
static atomdl_atom lattice[MOST_ATOMS];

/* A round piece of a crystal of cell a with two columns of up to two atoms, at
   B and C; the point (u, v) of the cell lies at (centre, centre). */
static size_t crystal(double a, const int column[2][2], double u, double v,
                      double reach, double centre)
{
    static const double SITE[2][2] = {{1.0 / 3, 2.0 / 3}, {2.0 / 3, 1.0 / 3}};
    size_t n = 0;
    int m = (int)(reach / a * 1.2) + 2;
    for (int j = -m; j <= m; j++)
        for (int i = -m; i <= m; i++)
            for (int s = 0; s < 2; s++)
                for (int k = 0; k < 2; k++) {
                    double p = i + SITE[s][0] - u, q = j + SITE[s][1] - v;
                    double x = a * (p - q / 2), y = a * q * sqrt(0.75);
                    if (!column[s][k] || n == MOST_ATOMS
                        || x * x + y * y > reach * reach)
                        continue;
                    lattice[n] = atom_at(x + centre, y + centre, column[s][k]);
                    lattice[n++].column = (uint32_t)((j + m) * 1000 + i * 2 + s
                                                     + 500);
                }
    return n;
}

/* Removes up to `count` atoms nearest to the middle; returns how many left. */
static size_t without(size_t n, double centre, int count)
{
    for (size_t i = 0; i < n && count > 0; i++)
        if (fabs(lattice[i].x - centre) < 0.1
            && fabs(lattice[i].y - centre) < 0.1) {
            lattice[i--] = lattice[--n];
            count--;
        }
    return n;
}

/* Means over the middle pixel and three discs, of the crystal within reach of
   (u, v); gone: atoms taken away there. */
static void discs(double out[4], const atomdl_optics *o, double a,
                  const int column[2][2], double u, double v, double reach,
                  int gone)
{
    enum { N = 39 };
    static const double RADIUS[4] = {0.01, 0.5, 0.7, 0.95};
    const double pixel = 0.05, centre = N * pixel / 2;
    size_t n = without(crystal(a, column, u, v, reach,
                                       centre), centre, gone);
    atomdl_image m = render(lattice, n, N, N, pixel, o, 20);
    int i, count;
    for (int k = 0; k < 4; k++) {
        out[k] = 0;
        for (count = 0, i = 0; i < N * N; i++) {
            double x = (i % N - N / 2) * pixel, y = (i / N - N / 2) * pixel;
            if (x * x + y * y > RADIUS[k] * RADIUS[k] + 1e-9) continue;
            out[k] += m.px[i];
            count++;
        }
        out[k] /= count;
    }
    free(m.px);
}

/* METHOD B.4, +-0.02; peaks within their digits and 1 % */
void test_contrast_graphene(void)
{
    static const double WANT[4][5] = {{0, 7.8e-4, 0.09, 0.16, 0.05},
                                      {0.6, 5.1e-4, 0.10, 0.44, 0.07},
                                      {0.8, 4.0e-4, 0.14, 0.62, 0.09},
                                      {1.0, 3.3e-4, 0.24, 0.77, 0.15}};
    static const int CARBON[2][2] = {{6, 0}, {6, 0}};
    for (int i = 0; i < 4; i++) {
        atomdl_optics o = additive("001");
        o.source = WANT[i][0];
        double c[4];
        discs(c, &o, 2.461, CARBON, 1.0 / 3, 2.0 / 3, PATCH, 0);
        double hollow[4];
        discs(hollow, &o, 2.461, CARBON, 0, 0, PATCH, 0);
        double bridge[4];
        discs(bridge, &o, 2.461, CARBON, 0.5, 0.5, PATCH, 0);
        double vacancy[4];
        discs(vacancy, &o, 2.461, CARBON, 1.0 / 3, 2.0 / 3, PATCH, 1);
        CHECK_NEAR(c[0], WANT[i][1], 0.05e-4 + 0.01 * WANT[i][1]);
        CHECK_NEAR(hollow[0] / c[0], WANT[i][2], 0.02);
        CHECK_NEAR(bridge[0] / c[0], WANT[i][3], 0.02);
        CHECK_NEAR(vacancy[0] / c[0], WANT[i][4], 0.02);
    }
}

/* METHOD F.2, all 64 numbers, +-0.02 */
void test_contrast_mos2(void)
{
    static const double SOURCE[4] = {0.8, 1.0, 1.2, 1.4};
    static const double WANT[4][4][4] = { /* measure, source, site */
        {{2.12, 0.55, 0.10, 0.12}, {2.06, 0.57, 0.13, 0.17},
         {1.95, 0.60, 0.20, 0.25}, {1.80, 0.64, 0.28, 0.37}},
        {{2.06, 0.56, 0.13, 0.16}, {1.98, 0.59, 0.18, 0.23},
         {1.85, 0.63, 0.25, 0.33}, {1.69, 0.67, 0.34, 0.46}},
        {{1.99, 0.59, 0.17, 0.22}, {1.88, 0.62, 0.23, 0.31},
         {1.75, 0.66, 0.31, 0.41}, {1.59, 0.70, 0.40, 0.53}},
        {{1.81, 0.64, 0.28, 0.37}, {1.69, 0.67, 0.35, 0.46},
         {1.56, 0.71, 0.42, 0.56}, {1.44, 0.74, 0.49, 0.66}}
    };
    static const int MOS2[2][2] = {{42, 0}, {16, 16}};
    double s2[4], site[4][4];
    for (int s = 0; s < 4; s++) {
        atomdl_optics o = additive("004");
        o.source = SOURCE[s];
        discs(s2, &o, 3.16, MOS2, 2.0 / 3, 1.0 / 3, PATCH, 0);
        discs(site[0], &o, 3.16, MOS2, 1.0 / 3, 2.0 / 3, PATCH, 0);
        discs(site[1], &o, 3.16, MOS2, 2.0 / 3, 1.0 / 3, PATCH, 1);
        discs(site[2], &o, 3.16, MOS2, 2.0 / 3, 1.0 / 3, PATCH, 2);
        discs(site[3], &o, 3.16, MOS2, 0, 0, PATCH, 0);
        if (s == 1) CHECK_NEAR(s2[0], 0.00773, 1e-4); /* METHOD F.3 */
        for (int k = 0; k < 4; k++)
            for (int j = 0; j < 4; j++)
                CHECK_NEAR(site[j][k] / s2[k], WANT[k][s][j], 0.02);
    }
}

/* Intensity of MoS2 from its Fourier series: the transfer function of a round
   aperture is (2/pi)(acos x - x sqrt(1 - x^2)). */
static double series(const atomdl_optics *o, double u, double v)
{
    double edge = 2e-3 * o->convergence / atomdl_wavelength(o->kv), sum = 0;
    for (int h = -6; h <= 6; h++)
        for (int k = -6; k <= 6; k++) {
            double g = sqrt(4 / (3 * 3.16 * 3.16) * (h * h + k * k + h * k));
            double x = g / edge;
            if (x >= 1) continue;
            double t =
                2 / PI * (acos(x) - x * sqrt(1 - x * x))
                * exp(-PI * PI * o->source * o->source / 4 * g * g / log(2));
            double f =
                atomdl_cross_section(o, 42)
                    * cos(2 * PI * (h * (u - 1.0 / 3) + k * (v - 2.0 / 3)))
                + 2 * atomdl_cross_section(o, 16)
                      * cos(2 * PI * (h * (u - 2.0 / 3) + k * (v - 1.0 / 3)));
            sum += f * t;
        }
    return sum / (3.16 * 3.16 * sqrt(0.75));
}

/* A large crystal against the infinite one: 0.5 % of S2 */
void test_contrast_infinite(void)
{
    static const int MOS2[2][2] = {{42, 0}, {16, 16}};
    static const double SITE[3][2] = {{2.0 / 3, 1.0 / 3}, {1.0 / 3, 2.0 / 3},
                                      {0, 0}};
    atomdl_optics o = additive("004");
    double got[4];
    for (int i = 0; i < 3; i++) {
        discs(got, &o, 3.16, MOS2, SITE[i][0], SITE[i][1], 40, 0);
        CHECK_NEAR(got[0], series(&o, SITE[i][0], SITE[i][1]), 4e-5);
    }
}

/* A pair of equal atoms in one column gives stack times the sum; others add */
void test_stacked_pairs(void)
{
    static const double X[6] = {1.6, 1.6, 1.6, 3.0, 1.6, 2.2};
    static const uint32_t COLUMN[6] = {7, 7, 8, 8, UINT32_MAX, UINT32_MAX};
    atomdl_optics o = additive("001");
    double sum[2];
    int i;
    for (int k = 0; k < 2; k++) {
        atomdl_atom a[6];
        for (i = 0; i < 6; i++) {
            a[i] = atom_at(X[i], 1.6, 16);
            a[i].column = COLUMN[i];
        }
        o.stack = k ? 1.45 : 1;
        atomdl_image m = render(a, 6, 32, 32, 0.1, &o, 4);
        for (sum[k] = 0, i = 0; i < 1024; i++) sum[k] += m.px[i];
        free(m.px);
    }
    /* two of six atoms, all within the field but for equal tails */
    CHECK_NEAR(sum[1] / sum[0], 1 + 0.45 * 2 / 6, 0.02);
}

/* Sum of a column's image by the fast model; atoms: Z, height (A) from above */
static double fast_column(const atomdl_optics *o, const double (*atom)[2],
                          size_t n, double radius)
{
    enum { N = 31 };
    atomdl_atom a[6];
    for (size_t i = 0; i < n; i++) {
        a[i] = atom_at(N * 0.05, N * 0.05, (int)atom[i][0]);
        a[i].z = atom[i][1];
        a[i].column = 3;
    }
    atomdl_image m = render(a, n, N, N, 0.1, o, 8);
    double sum = 0;
    for (int i = 0; i < N * N; i++)
        if (hypot(i % N - N / 2, i / N - N / 2) <= radius * 10)
            sum += (double)m.px[i];
    free(m.px);
    return sum;
}

/* The same by multislice */
static double wave_column(const atomdl_optics *o, const double (*atom)[2],
                          size_t n)
{
    enum { N = 7 };
    const atomdl_slicing how = {.configurations = 4, .window = 9.5,
                                .rng = atomdl_rng_seed(2)};
    atomdl_atom a[6];
    for (size_t i = 0; i < n; i++) {
        a[i] = atom_at(N * 0.1, N * 0.1, (int)atom[i][0]);
        a[i].z = atom[i][1];
    }
    atomdl_image m = waves(a, n, N, N, 0.2, o, &how);
    double sum = 0;
    for (int i = 0; i < N * N; i++)
        if (hypot(i % N - N / 2, i / N - N / 2) <= 3) sum += (double)m.px[i];
    free(m.px);
    return sum;
}

/* METHOD B.10: what columns show over one atom of Mo, by the table and by the
   library's own multislice. Mo above S2 shows less than S2 above Mo at 60 kV,
   86-200 mrad; at 80 kV, 40-160 mrad a pair of S is nearly three times one. */
void test_columns(void)
{
    static const double COLUMN[3][3][2] = {{{42, 0}, {16, -4.6}, {16, -7.7}},
                                           {{16, 0}, {16, -3.12}, {42, -7.7}},
                                           {{16, 0}, {16, -3.12}}};
    static const size_t ATOMS[3] = {3, 3, 2};
    static const double MO[1][2] = {{42, 0}}, S[1][2] = {{16, 0}};
    double fast[3], worst = 0;
    for (int k = 0; k < 2; k++) {
        atomdl_optics o = preset(k ? "004" : "001");
        o.source = 0.8;
        double one = wave_column(&o, MO, 1);
        for (int i = 2 * k; i < 2 + k; i++) {
            fast[i] = fast_column(&o, COLUMN[i], ATOMS[i], 0.6)
                      / fast_column(&o, MO, 1, 0.6);
            double want = wave_column(&o, COLUMN[i], ATOMS[i]) / one;
            worst = fmax(worst, fabs(fast[i] / want - 1));
        }
        if (!k) CHECK(fast[1] > 1.25 * fast[0]);
    }
    printf("  columns by the table against multislice: within %.2g %%\n",
           100 * worst);
    CHECK(worst < 0.1); /* three atoms are 8 % low (B.10); 26 where they add */
    atomdl_optics o = preset("004");
    double pair = fast_column(&o, COLUMN[2], 2, 1.5);
    CHECK_NEAR(pair / fast_column(&o, S, 1, 1.5), 2.9, 0.15);
    o.channelling = 0.5;
    double half = fast_column(&o, COLUMN[2], 2, 1.5);
    o.channelling = 0;
    double sum = fast_column(&o, COLUMN[2], 2, 1.5);
    CHECK_NEAR(half / sum, 0.5 + 0.5 * pair / sum, 0.03); /* but for tails */
    CHECK_NEAR(sum / fast_column(&o, S, 1, 1.5), 2, 1e-5);
}

/* ---------- Scan ---------------------------------------------------------- */

static double smooth_field(double x, double y)
{
    return sin(0.31 * x + 0.2) * cos(0.27 * y) + 0.3 * sin(0.11 * x - 0.4 * y);
}

/* Displaced smooth images against the smooth function; rows jitter by the
   amount asked for; atoms move by the formula. */
void test_scan(void)
{
    enum { W = 48, H = 40 };
    atomdl_arena arena = new_arena(MEMORY);
    atomdl_rng rng = atomdl_rng_seed(9), copy = rng;
    atomdl_scan scan = {0};
    atomdl_image m = {W, H, 1, NULL};
    float px[W * H];
    double worst = 0, sum = 0;
    m.px = px;
    for (int i = 0; i < W * H; i++) px[i] = (float)smooth_field(i % W, i / W);
    scan.jitter = 0.1;
    CHECK(atomdl_scan_rows(&m, &scan, 0.2, &rng, &arena) == ATOMDL_OK);
    float z;
    int y;
    for (y = 0; y < H; y++) {
        atomdl_rng_normal(&copy, &z, 1);
        sum += z * z * 0.25;
        for (int x = 4; x < W - 4; x++)
            worst = fmax(worst, fabs(px[y * W + x]
                                     - smooth_field(x + 0.5 * (double)z, y)));
    }
    CHECK(worst < 2e-5); /* (0.4)^6 / 1024 of the sixth derivative */
    CHECK_NEAR(sqrt(sum / H), 0.5, 0.15);
    scan = (atomdl_scan){0};
    scan.hum[0] = 0.3;
    scan.hum[1] = -0.2;
    scan.cycles = 0.9;
    scan.phase = 0.5;
    scan.flyback = 0.25;
    for (int i = 0; i < W * H; i++) px[i] = (float)smooth_field(i % W, i / W);
    CHECK(atomdl_scan_rows(&m, &scan, 0.2, &rng, &arena) == ATOMDL_OK);
    for (worst = 0, y = 4; y < H - 4; y++)
        for (int x = 4; x < W - 4; x++) {
            double t = 2 * PI * 0.9 * (y + x / (W * 1.25)) + 0.5;
            double s = 0.3 / 0.2 * sin(t);
            double u = 2 * PI * 0.9 * (y + (x + s) / (W * 1.25)) + 0.5;
            worst = fmax(worst, fabs(px[y * W + x]
                                     - smooth_field(x + s, y - sin(u))));
        }
    CHECK(worst < 1e-4);
    scan.jitter = NAN;
    CHECK(atomdl_scan_rows(&m, &scan, 0.2, &rng, &arena) == ATOMDL_EARG);
    free(arena.base);
}

/* ---------- Detector ------------------------------------------------------ */

static atomdl_image flat(int w, int h, float value)
{
    atomdl_image m = {0, 0, 1, NULL};
    m.w = w;
    m.h = h;
    m.px = malloc((size_t)(w * h) * sizeof(float));
    for (int i = 0; i < w * h; i++) m.px[i] = value;
    return m;
}

static void detect(atomdl_image *m, const atomdl_detector *d, double pixel,
                   uint64_t seed)
{
    atomdl_arena arena = new_arena(MEMORY);
    atomdl_rng rng = atomdl_rng_seed(seed);
    CHECK(atomdl_detect(m, d, pixel, &rng, &arena) == ATOMDL_OK);
    CHECK(arena.used == 0);
    free(arena.base);
}

/* mean and variance within 4 standard errors, chi^2 of the distribution
   within 5 */
static void poisson_counts(double mean, uint64_t seed)
{
    enum { N = 256 * 256, CELLS = 4096 };
    static double seen[CELLS];
    atomdl_detector d = {0};
    atomdl_image m = flat(256, 256, (float)(mean / 1000));
    double sum = 0, sum2 = 0, chi2 = 0, low = 0, want = 0;
    double exact = (double)m.px[0] * 1000;
    int cells = 0;
    d.counts = 1000;
    detect(&m, &d, 0.2, seed);
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < N; i++) {
        double k = floor(m.px[i] * 1000.0 + 0.5);
        sum += k;
        sum2 += k * k;
        if (k < CELLS) seen[(int)k]++;
    }
    sum /= N;
    double v = sum2 / N - sum * sum;
    CHECK_NEAR(sum, exact, 4 * sqrt(exact / N));
    CHECK_NEAR(v / exact, 1, 4 * sqrt((2 + 1 / exact) / N));
    for (int i = 0; i < CELLS; i++) { /* cells of at least 20 expected */
        double p = exp(-exact + i * log(exact) - lgamma(i + 1.0)) * N;
        low += seen[i];
        want += p;
        if (want < 20) continue;
        chi2 += (low - want) * (low - want) / want;
        cells++;
        low = want = 0;
    }
    if (chi2 > cells + 5 * sqrt(2.0 * cells) + 5)
        FAIL("mean %g: chi^2 %g of %d", mean, chi2, cells);
    free(m.px);
}

void test_counting(void)
{
    static const double MEAN[10] = {0.01, 0.3, 1.1, 3.9, 8, 15.9, 16.1, 40,
                                    300, 2500};
    atomdl_detector d = {0};
    for (int i = 0; i < 10; i++) poisson_counts(MEAN[i], (uint64_t)i);
    d.dose = 1e5; /* 004: 2497 e at 0.12 A/px are 1.7e5 e/A^2 */
    atomdl_image m = flat(64, 64, 0.01f);
    m.px[5] = -1;
    detect(&m, &d, 0.1, 3);
    for (int i = 0; i < 4096; i++) { /* whole numbers of 1000 electrons */
        float k = m.px[i] * 1000;
        CHECK_NEAR(k, floorf(k + 0.5f), 1e-4);
    }
    CHECK(m.px[5] == 0);
    free(m.px);
}

static void moments(double *mean, double *variance, const atomdl_image *m)
{
    int n = m->w * m->h;
    double sum = 0, sum2 = 0;
    for (int i = 0; i < n; i++) {
        sum += m->px[i];
        sum2 += (double)m->px[i] * m->px[i];
    }
    *mean = sum / n;
    *variance = sum2 / n - *mean * *mean;
}

/* Each step by itself, and the noise density of METHOD B.7. */
void test_detector(void)
{
    enum { N = 128 };
    atomdl_detector d = {0};
    atomdl_image m = flat(N, N, 1);
    atomdl_arena arena = new_arena(MEMORY);
    atomdl_rng rng = atomdl_rng_seed(1);
    detect(&m, &d, 0.2, 1);
    for (int i = 0; i < N * N; i++) CHECK(m.px[i] == 1);
    d.background = 0.5;
    d.tilt[0] = 1.28;
    d.wave[2].ax = 0.25;
    d.wave[2].kx = 0.4;
    d.wave[2].ky = -0.3;
    d.wave[2].phase = 1;
    detect(&m, &d, 0.2, 1);
    for (int i = 0; i < N * N; i++) {
        double x = i % N + 0.5, y = i / N + 0.5;
        CHECK_NEAR(m.px[i], 1.5 + 0.01 * (x - 64)
                                + 0.25 * sin(0.08 * x - 0.06 * y + 1), 1e-6);
    }
    free(m.px);
    d = (atomdl_detector){0};
    m = flat(N, N, 1);
    atomdl_detector_density(&d, 0.11, 0.6, 1, 0.4, 0.15625);
    detect(&m, &d, 0.15625, 2);
    double mean, v;
    moments(&mean, &v, &m);
    CHECK_NEAR(mean, 1, 0.02);
    CHECK_NEAR(sqrt(v), 0.6 * 0.11 / 0.15625, 0.012);
    free(m.px);
    m = flat(N, N, 1); /* smoothing keeps the mean, lowers the variance */
    d.smooth = 0.5;
    detect(&m, &d, 0.15625, 2);
    moments(&mean, &v, &m);
    CHECK_NEAR(mean, 1, 0.02);
    /* the sum of squared taps, (0.787^2 + 2 0.1065^2)^2 */
    CHECK_NEAR(v / (0.1784 * 0.6421 * 0.6421), 1, 0.06);
    free(m.px);
    d = (atomdl_detector){0};
    m = flat(N, N, 2);
    d.row_gain = 0.05;
    d.gain = 3;
    d.offset = -1;
    detect(&m, &d, 0.2, 4);
    CHECK(m.px[0] == m.px[N - 1] && m.px[0] != m.px[N]);
    moments(&mean, &v, &m);
    CHECK_NEAR(mean, 5, 0.15);
    CHECK_NEAR(sqrt(v), 0.3, 0.08);
    for (int i = 0; i < N * N; i++) m.px[i] = (float)i / (N * N - 1);
    d = (atomdl_detector){0};
    d.clip = 0.75;
    d.gamma = 0.5;
    d.bits = 8;
    detect(&m, &d, 0.2, 5);
    for (int i = 0; i < N * N; i++) {
        double t = fmin((double)i / (N * N - 1) / 0.75, 1);

        /* half a level, and 256 straight pieces: at t = 0.01 they err by 5e-4
           of the range, most near 0 */
        CHECK_NEAR(m.px[i], 255 * sqrt(t), t < 0.01 ? 6 : 0.65);
    }
    CHECK(m.px[0] == 0 && m.px[N * N - 1] == 255);
    for (int i = 0; i < N * N; i++) m.px[i] = i == N * N / 2 + N / 2;
    d = (atomdl_detector){0};
    d.blur = 2;
    detect(&m, &d, 0.2, 6);
    for (int i = 0; i < N * N; i++) {
        double r2 = pow(i % N - N / 2, 2) + pow(i / N - N / 2, 2);
        CHECK_NEAR(m.px[i], exp(-r2 / 8) / (8 * PI), 2e-6);
    }
    m.px[7] = NAN;
    CHECK(atomdl_detect(&m, &d, 0.2, &rng, &arena) == ATOMDL_ENAN);
    d.bits = 7;
    CHECK(atomdl_detect(&m, &d, 0.2, &rng, &arena) == ATOMDL_EARG);
    d.bits = 0;
    d.dose = -1;
    CHECK(atomdl_detect(&m, &d, 0.2, &rng, &arena) == ATOMDL_EARG);
    free(m.px);
    free(arena.base);
}

/* ---------- Contamination ------------------------------------------------- */

/* METHOD B.6: 1.47e-4 per A of thickness at 80 kV, 40-160 mrad; 20 A on 70 x
   70 A are 9800 atoms. The core leaves their number and mean signal as they
   are, keeps them apart but for a few, and quiets the image: hard spheres of
   12 % packing scatter half as much at the wavelengths that the blur passes. */
void test_contamination(void)
{
    enum { N = 100, MOST = 12000 };
    atomdl_optics o = preset("004");
    atomdl_cloud cloud = {30, 30, 300, 20, 0};
    double mean[2], v[2];
    for (int k = 0; k < 2; k++, cloud.core = 1.3) {
        atomdl_arena arena = new_arena(MEMORY);
        atomdl_rng rng = atomdl_rng_seed(11);
        atomdl_structure s;
        uint32_t near = 0;
        CHECK(!atomdl_structure_new(&s, 60, 60, 5,
                                    &(atomdl_room){MOST, 1, 1}, &arena));
        CHECK(!atomdl_structure_cloud(&s, &cloud, &rng, &arena));
        CHECK_NEAR(s.atoms, 9750, 400);
        for (uint32_t i = 0; i < s.atoms; i++) {
            const atomdl_atom *a = &s.atom[i];
            CHECK(a->element == 6 && a->column == UINT32_MAX
                  && a->role == ATOMDL_ROLE_CONTAMINATION);
            for (uint32_t j = 0; j < i; j++) {
                const atomdl_atom *b = &s.atom[j];
                near += pow(a->x - b->x, 2) + pow(a->y - b->y, 2)
                            + pow(a->z - b->z, 2) < 1.69;
            }
        }
        CHECK(k ? near < s.atoms / 1000 : near > s.atoms / 4);
        atomdl_image m = render(s.atom, s.atoms, N, N, 0.6, &o, 5);
        moments(&mean[k], &v[k], &m);
        CHECK_NEAR(mean[k] / 20, 1.47e-4, 0.04 * 1.47e-4);
        free(m.px);
        free(arena.base);
    }
    CHECK(v[1] < 0.6 * v[0]);
}

/* ---------- Memory and refusals ------------------------------------------- */

/* everything once, on one arena; returns the first status that is not OK */
static int everything(atomdl_image *m, atomdl_arena *arena)
{
    static const atomdl_cloud CLOUD = {2, 3, 1, 4, 1};
    atomdl_optics o = preset("001");
    atomdl_rng rng = atomdl_rng_seed(4);
    atomdl_scan scan = {0};
    atomdl_detector d = {0};
    o.stack = 1.3;
    o.recentre = 1;
    o.spread = 30;
    o.aberration[ATOMDL_C21][0] = 400;
    scan.jitter = scan.hum[0] = scan.hum[1] = 0.1;
    scan.cycles = 0.9;
    d.counts = 3000;
    d.smooth = 0.4;
    d.blur = 0.5;
    d.read = 1e-5;
    atomdl_structure s;
    int status = atomdl_structure_new(&s, 5, 5, 1, &(atomdl_room){64, 1, 1},
                                      arena);
    if (!status) status = atomdl_structure_cloud(&s, &CLOUD, &rng, arena);
    atomdl_probe probe;
    if (!status)
        status = atomdl_probe_new(&probe, &o, m->w, m->h, 0.2, 2, arena);
    if (!status)
        status = atomdl_image_atoms(m, s.atom, s.atoms, &o, &probe, arena);
    if (!status) status = atomdl_scan_rows(m, &scan, 0.2, &rng, arena);
    if (!status) status = atomdl_detect(m, &d, 0.2, &rng, arena);
    return status;
}

/* Measuring says what a run needs; every size below is refused without
   touching what lies beyond it; what the memory held changes nothing. */
void test_imaging_memory(void)
{
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    atomdl_image m = flat(24, 20, 0), again = flat(24, 20, 0);
    CHECK(everything(&m, &measure) == ATOMDL_OK);
    size_t peak = measure.peak;
    atomdl_arena arena = new_arena(peak);
    memset(arena.base, 0, peak);
    CHECK(everything(&m, &arena) == ATOMDL_OK);
    CHECK(arena.peak == peak);
    arena.used = 0;
    memset(arena.base, 0xff, peak);
    CHECK(everything(&again, &arena) == ATOMDL_OK);
    CHECK_BYTES(again.px, m.px, 24 * 20 * sizeof(float));
    CHECK(m.px[0] != m.px[1]);
    free(arena.base);
    for (size_t size = 0; size < peak; size += size < peak - 200 ? 997 : 1) {
        arena = new_arena(size);
        CHECK(everything(&m, &arena) == ATOMDL_EMEM);
        free(arena.base);
    }
    free(m.px);
    free(again.px);
}

void test_imaging_refusals(void)
{
    atomdl_arena arena = new_arena(MEMORY);
    atomdl_optics o = preset("001");
    atomdl_image m = flat(16, 16, 0);
    atomdl_probe p;
    atomdl_atom a = atom_at(NAN, 1, 6);
    double sum = 0;
    CHECK(atomdl_probe_new(&p, &o, 16, 16, NAN, 0, &arena) == ATOMDL_EARG);
    CHECK(atomdl_probe_new(&p, &o, 16, 16, 20, 0, &arena) == ATOMDL_EARG);
    CHECK(atomdl_probe_new(&p, &o, 0, 16, 0.2, 0, &arena) == ATOMDL_EARG);
    CHECK(atomdl_probe_new(&p, &o, 1 << 20, 1, 0.2, 0, &arena) == ATOMDL_EARG);
    CHECK(atomdl_probe_new(&p, &o, 16, 16, 0.2, 0, &arena) == ATOMDL_OK);
    CHECK(atomdl_image_atoms(&m, &a, 1, &o, &p, &arena) == ATOMDL_EARG);
    m.w = 15;
    CHECK(atomdl_image_atoms(&m, &a, 1, &o, &p, &arena) == ATOMDL_ESHAPE);
    m.w = 16;
    a.x = 1e6; /* far away, or of no element: nothing */
    CHECK(atomdl_image_atoms(&m, &a, 1, &o, &p, &arena) == ATOMDL_OK);
    for (int i = 0; i < 256; i++) sum += fabs((double)m.px[i]);
    a = atom_at(1, 1, 200);
    CHECK(atomdl_image_atoms(&m, &a, 1, &o, &p, &arena) == ATOMDL_OK);
    for (int i = 0; i < 256; i++) sum += fabs((double)m.px[i]);
    CHECK(atomdl_image_atoms(&m, NULL, 0, &o, &p, &arena) == ATOMDL_OK);
    for (int i = 0; i < 256; i++) sum += fabs((double)m.px[i]);
    CHECK(sum == 0);
    free(m.px);
    free(arena.base);
}
