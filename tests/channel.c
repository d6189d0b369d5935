/* SPDX-License-Identifier: MIT
   Prints the table PAIR of sim.c (METHOD B.10): what two atoms of one column
   show together beyond their sum, from the library's own multislice, in
   hundredths of twice the geometric mean of what each shows. `make channel`;
   some ten minutes of one core. The signal is that of tests/columns.c: a disc
   of 0.6 A, source 0.8 A, 16 configurations. */

#include "../atomdl.c"
#include "../sim.c"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double SOURCE = 0.8, DISC = 0.6, ACROSS = 14, OUT = 1.7; /* A */
static const double ALPHA = 26, OUTER = 200;                        /* mrad */

/* What a probe at distance r counts in the disc's mean, blurred: 1/A2. */
static double share(double r)
{
    double s = SOURCE / FWHM, sum = 0, step = 0.02;
    for (double y = -DISC; y <= DISC; y += step)
        for (double x = -DISC; x <= DISC; x += step)
            if (x * x + y * y <= DISC * DISC)
                sum += exp(-((x - r) * (x - r) + y * y) / (2 * s * s));
    return sum * step * step / (2 * PI * s * s);
}

/* Probes stand on a line from the column outwards. */
static void line_axes(multislice *m)
{
    scan_axis a = {.pixels = 1, .step = 1};
    a.unit = atomdl_wavelength(m->o->kv) / (2e-3 * (m->o->outer + ALPHA));
    a.window = 2 * atomdl_fft_size((int)(ACROSS / a.unit / 2) + 1);
    a.from = -a.window / 2 * a.unit;
    a.probes = (int)(OUT / a.unit) + 1;
    a.grid = a.window + a.probes;
    m->x = m->y = a;
    m->y.probes = 1;
    m->y.grid = a.window;
    m->limit = 0.5 / a.unit;
    m->knots = (int)(m->limit / KNOT) + 2;
}

static double column_signal(const atomdl_optics *o, const atomdl_atom *atom,
                            size_t n)
{
    const atomdl_slicing how = {.configurations = 16, .threads = 1,
                                .rng = atomdl_rng_seed(1)};
    multislice m = {.o = o, .how = &how, .chunks = 1};
    line_axes(&m);
    atomdl_arena need = {0};
    multislice measured = m;
    slices_new(&measured, atom, n, &need);
    size_t size = 2 * need.peak + (64u << 20);
    atomdl_arena arena = {malloc(size), size, 0, 0, 0};
    if (!arena.base || slices_new(&m, atom, n, &arena)) exit(1);
    double sum = 0;
    for (int c = 0; c < how.configurations; c++) {
        if (transmit(&m, atom, n, c)) exit(1);
        for (int p = 0; p < m.x.probes; p++) {
            double r = p * m.x.unit, ring = p ? 2 * r : m.x.unit / 4;
            float v;
            one_probe(&v, &m, p, 0, (c + c / 2) % 2, m.scratch);
            sum += share(r) * PI * ring * m.x.unit * (double)v;
        }
    }
    free(arena.base);
    return sum / how.configurations;
}

int main(void)
{
    for (int i = 0; i < PAIR_KV * PAIR_RATIO; i++) {
        atomdl_optics o;
        atomdl_optics_preset(&o, "001");
        o.kv = PAIR_AT.kv[i / PAIR_RATIO];
        o.convergence = ALPHA;
        o.inner = ALPHA * PAIR_AT.ratio[i % PAIR_RATIO];
        o.outer = OUTER;
        o.source = 0;
        double unit = 1e-6 * o.inner * o.inner / atomdl_wavelength(o.kv);
        double alone[PAIR_Z];
        atomdl_atom a[2] = {{.weight = 1}, {.weight = 1}};
        for (int z = 0; z < PAIR_Z; z++) {
            a[0].element = (u8)PAIR_AT.z[z];
            alone[z] = column_signal(&o, a, 1);
        }
        for (int z = 0; z < PAIR_Z * PAIR_Z; z++) {
            double s = alone[z / PAIR_Z], t = alone[z % PAIR_Z];
            a[0].element = (u8)PAIR_AT.z[z / PAIR_Z];
            a[1].element = (u8)PAIR_AT.z[z % PAIR_Z];
            printf("    {");
            for (int x = 0; x < PAIR_XI; x++) {
                /* of distances between atoms that one finds in films */
                double d = least(16, most(1.2, PAIR_AT.xi[x] / unit));
                a[1].z = -d;
                double more = column_signal(&o, a, 2) - s - t;
                printf(x ? ", %d" : "%d",
                       (int)floor(50 * more / sqrt(s * t) + 0.5));
                fflush(stdout);
            }
            printf("},\n");
        }
    }
    return 0;
}
