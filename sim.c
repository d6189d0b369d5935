/* SPDX-License-Identifier: MIT
   AtomDL: the simulator.

   Read atomdl.h first. Sections follow the header's order. */

#define ATOMDL_LIBRARY
#include "atomdl.h"

static const u32 NONE = UINT32_MAX;

/* ---------- Lattices (METHOD B.1) -----------------------------------------

   A material is a row of one of two tables: its name, lattice constant and
   layer spacing (A), its elements, and where they stand. Nothing else in this
   file knows a material. */

static const double SITE[3][2] = {
    {0, 0}, {1.0 / 3, 2.0 / 3}, {2.0 / 3, 1.0 / 3}};

/* Flat sheets: element and site of each atom, two atoms a layer. What a new row
   needs besides stands above TRILAYERS. */
static const struct {
    const char *name;
    double a, spacing;
    u8 n, atom[4][2];
} SHEETS[] = {
    {"graphene", 2.461, 0, 2, {{6, 1}, {6, 2}}},
    {"graphene-ab", 2.461, 3.35, 4, {{6, 1}, {6, 2}, {6, 2}, {6, 0}}},
    {"graphene-aa", 2.461, 3.35, 4, {{6, 1}, {6, 2}, {6, 1}, {6, 2}}},
    {"h-bn", 2.504, 0, 2, {{5, 1}, {7, 2}}},
    {"h-bn-2", 2.504, 3.33, 4, {{5, 1}, {7, 2}, {7, 1}, {5, 2}}},
};

/* Dichalcogenides of 1 to 3 layers: height is that of the chalcogen over the
   metal's plane, the name's last letter the stacking (h, r or t: add_layer).
   Images need these rows alone. What finds atoms in them needs the material in
   CHEMISTRY of graph.c, too; users need its name in the message of
   parse_materials, at atomdl_lattice_find of atomdl.h and in the help of
   `simulate`, which promise every stacking: test_structure_chemistry and
   tests/simulate.sh compare all these. Nothing compares the help of `analyze`,
   atomdl_chemistry_get of atomdl.h, METHOD B.1 and tests/web/page.html.
   Elements that SECTION lacks lie on a line between its rows. */
static const struct {
    const char *name;
    double a, height, spacing;
    u8 metal, chalcogen;
} TRILAYERS[] = {
    {"mos2-2h", 3.160, 1.586, 6.1475, 42, 16},
    {"mos2-3r", 3.163, 1.573, 6.123, 42, 16},
    {"mos2-1t", 3.180, 1.570, 6.0, 42, 16},
    {"mose2-2h", 3.288, 1.668, 6.465, 42, 34},
    {"mose2-3r", 3.288, 1.668, 6.465, 42, 34},
    {"mose2-1t", 3.288, 1.668, 6.465, 42, 34},
    {"ws2-2h", 3.153, 1.570, 6.16, 74, 16},
    {"ws2-3r", 3.153, 1.570, 6.16, 74, 16},
    {"ws2-1t", 3.153, 1.570, 6.16, 74, 16},
    {"wse2-2h", 3.282, 1.670, 6.48, 74, 34},
    {"wse2-3r", 3.282, 1.670, 6.48, 74, 34},
    {"wse2-1t", 3.282, 1.670, 6.48, 74, 34},
    {"mote2-2h", 3.520, 1.81, 6.99, 42, 52},
    {"mote2-3r", 3.520, 1.81, 6.99, 42, 52},
    {"mote2-1t", 3.520, 1.81, 6.99, 42, 52},
    {"wte2-2h", 3.480, 1.81, 7.03, 74, 52},
    {"wte2-3r", 3.480, 1.81, 7.03, 74, 52},
    {"wte2-1t", 3.480, 1.81, 7.03, 74, 52},
};

static void hexagonal(atomdl_lattice *l, double a)
{
    memset(l, 0, sizeof *l);
    l->a[0] = a;
    l->b[0] = -a / 2;
    l->b[1] = a * atomdl_sqrt(3) / 2;
    l->hexagonal = 1;
}

static void add_basis(atomdl_lattice *l, u8 element, int site, double z)
{
    l->basis[l->n++] = (atomdl_basis){element, (u8)site, SITE[site][0],
                                      SITE[site][1], z};
}

/* Layer k of a dichalcogenide: 2H turns every other layer by 180 degrees, 3R
   shifts each by (1/3, 2/3) or, mirrored, by (2/3, 1/3), 1T stacks. */
static void add_layer(atomdl_lattice *l, char phase, int shift, int k,
                      double height, double z)
{
    int turn = phase == 'h' && k % 2, metal, low, high;
    if (phase == 't') metal = 0, high = 1, low = 2;
    else if (phase == 'h') metal = 1 + turn, low = high = 2 - turn;
    else metal = (1 + shift * k) % 3, low = high = (2 + shift * k) % 3;
    add_basis(l, l->chalcogen, low, z - height);
    add_basis(l, l->metal, metal, z);
    add_basis(l, l->chalcogen, high, z + height);
}

/* The row whose name begins this one, then "-LAYERS" and "b": mirrored. */
static int find_trilayer(atomdl_lattice *l, const char *name)
{
    for (size_t i = 0; i < sizeof TRILAYERS / sizeof *TRILAYERS; i++) {
        size_t n = 0;
        while (TRILAYERS[i].name[n] && TRILAYERS[i].name[n] == name[n]) n++;
        if (TRILAYERS[i].name[n] || name[n] != '-') continue;
        int layers = name[n + 1] - '0';
        if (layers < 1 || layers > 3) return ATOMDL_EARG;
        char phase = TRILAYERS[i].name[n - 1];
        int mirror = phase == 'r' && name[n + 2] == 'b';
        if (name[n + 2 + (size_t)mirror]) return ATOMDL_EARG;
        hexagonal(l, TRILAYERS[i].a);
        l->metal = TRILAYERS[i].metal;
        l->chalcogen = TRILAYERS[i].chalcogen;
        for (int k = 0; k < layers; k++)
            add_layer(l, phase, 1 + mirror, k, TRILAYERS[i].height,
                      k * TRILAYERS[i].spacing);
        return ATOMDL_OK;
    }
    return ATOMDL_EARG;
}

int atomdl_lattice_find(atomdl_lattice *lattice, const char *name)
{
    for (size_t i = 0; i < sizeof SHEETS / sizeof *SHEETS; i++) {
        if (!same_text(name, SHEETS[i].name)) continue;
        hexagonal(lattice, SHEETS[i].a);
        for (int k = 0; k < SHEETS[i].n; k++)
            add_basis(lattice, SHEETS[i].atom[k][0], SHEETS[i].atom[k][1],
                      k / 2 * SHEETS[i].spacing);
        return ATOMDL_OK;
    }
    return find_trilayer(lattice, name);
}

static double cross(const double *a, const double *b)
{
    return a[0] * b[1] - a[1] * b[0];
}

static double dot2(const double *a, const double *b)
{
    return a[0] * b[0] + a[1] * b[1];
}

/* Cells of 0.5 to 1000 A, not flat; an atom for each site. */
int atomdl_lattice_check(const atomdl_lattice *l)
{
    double a = dot2(l->a, l->a), b = dot2(l->b, l->b), area = cross(l->a, l->b);
    if (!(a >= 0.25 && a <= 1e6 && b >= 0.25 && b <= 1e6)) return ATOMDL_EARG;
    if (!(area * area >= 0.01 * a * b)) return ATOMDL_EARG;
    if (l->n < 1 || l->n > ATOMDL_BASIS) return ATOMDL_EARG;
    for (int i = 0; i < l->n; i++) {
        const atomdl_basis *p = &l->basis[i];
        if (p->element < 1 || p->element > ATOMDL_ELEMENTS) return ATOMDL_EARG;
        if (p->site >= ATOMDL_BASIS || (l->hexagonal && p->site > 2)
            || !(p->u >= 0 && p->u < 1 && p->v >= 0 && p->v < 1)
            || !(absolute(p->z) <= 1e6))
            return ATOMDL_EARG;
        for (int k = 0; k < i; k++)
            if (p->site == l->basis[k].site
                && (p->u != l->basis[k].u || p->v != l->basis[k].v))
                return ATOMDL_EARG;
    }
    return ATOMDL_OK;
}

static int lattice_sites(const atomdl_lattice *l)
{
    int n = l->hexagonal ? 3 : 1;
    for (int i = 0; i < l->n; i++)
        if (l->basis[i].site >= n) n = l->basis[i].site + 1;
    return n;
}

/* The atoms at a site, from below; returns how many. */
static int site_atoms(const atomdl_basis *list[ATOMDL_BASIS],
                      const atomdl_lattice *l, int site)
{
    int n = 0;
    for (int i = 0; i < l->n; i++)
        if (l->basis[i].site == site) list[n++] = &l->basis[i];
    return n;
}

/* ---------- Counts -------------------------------------------------------- */

/* log(k!): exact products below 16, else Stirling's series, error < 1e-14 */
static double log_factorial(double k)
{
    double f = 1;
    if (k < 16) {
        for (double i = 2; i <= k; i++) f = f * i;
        return atomdl_log(f);
    }
    k = k + 1;
    double r = 1 / (k * k);
    f = 0x1.5555555555555p-4 + r * (-0x1.6c16c16c16c17p-9
        + r * (0x1.a01a01a01a01ap-11 + r * -0x1.3813813813814p-11));
    return (k - 0.5) * atomdl_log(k) - k + 0x1.d67f1c864beb5p-1 + f / k;
}

/* Transformed rejection with squeeze (PTRS), W. Hoermann, Insurance:
   Mathematics and Economics 12, 39 (1993); mean >= 10. Nine in ten numbers
   leave by the first return, without a logarithm. */
static u32 poisson_large(atomdl_rng *rng, double mean)
{
    double b = 0.931 + 2.53 * atomdl_sqrt(mean), a = -0.059 + 0.02483 * b;
    double vr = 0.9277 - 3.6224 / (b - 2);
    for (;;) {
        double u = atomdl_rng_uniform64(rng) - 0.5;
        double v = ((double)atomdl_rng_u32(rng) + 0.5) * 0x1p-32;
        double us = least(0.5 + u, 0.5 - u);
        if (us == 0) continue;
        double k = atomdl_floor((2 * a / us + b) * u + mean + 0.43);
        if (us >= 0.07 && v <= vr) return (u32)k;
        if (k < 0 || k > 4e9 || (us < 0.013 && v > us)) continue;
        double t = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b);
        if (atomdl_log(t) <= k * atomdl_log(mean) - mean - log_factorial(k))
            return (u32)k;
    }
}

u32 atomdl_rng_poisson(atomdl_rng *rng, double mean)
{
    u32 k = 0;
    if (!(mean > 0 && mean <= 1e9)) return 0;
    if (mean >= 10) return poisson_large(rng, mean);
    double u = atomdl_rng_uniform64(rng);
    double p = atomdl_exp(-mean);
    for (double sum = p; u >= sum && k < 100; sum = sum + p) {
        k++;
        p = p * (mean / (double)k);
    }
    return k;
}

/* ---------- Structures ---------------------------------------------------- */

enum { GONE = 255 }; /* column.count of a column that was cut away */

/* Sizes that do not depend on how a platform aligns binary64. */
static size_t even(size_t size)
{
    return (size + 7) / 8 * 8;
}

int atomdl_structure_new(atomdl_structure *s, double w, double h, double margin,
                         const atomdl_room *room, atomdl_arena *arena)
{
    *s = (atomdl_structure){.w = w, .h = h, .margin = margin, .room = *room,
                            .next_id = 1};
    if (!(w > 0 && w <= 1e5 && h > 0 && h <= 1e5)
        || !(margin >= 0 && margin <= 1e3) || room->defects >= UINT16_MAX)
        return ATOMDL_EARG;
    s->atom = atomdl_alloc(arena, room->atoms, even(sizeof *s->atom));
    s->column = atomdl_alloc(arena, room->columns, even(sizeof *s->column));
    s->defect = atomdl_alloc(arena, room->defects, sizeof *s->defect);
    return atomdl_arena_status(arena);
}

/* Least ratio of any length, and of any area, after and before an allowed
   strain. */
static const double SQUEEZE = 0.6;

/* n[0..1] <- cells along a and b that a field can need at any angle. */
static void most_cells(int n[2], const atomdl_structure *s,
                       const atomdl_lattice *l)
{
    double w = s->w + 2 * s->margin, h = s->h + 2 * s->margin;
    double across = atomdl_sqrt(w * w + h * h) / SQUEEZE;
    double area = absolute(cross(l->a, l->b));
    n[0] = (int)(across * atomdl_sqrt(dot2(l->b, l->b)) / area) + 4;
    n[1] = (int)(across * atomdl_sqrt(dot2(l->a, l->a)) / area) + 4;
}

void atomdl_structure_room(atomdl_room *room, double w, double h,
                           double margin, const atomdl_lattice *lattice)
{
    double area = absolute(cross(lattice->a, lattice->b));
    double a = atomdl_sqrt(dot2(lattice->a, lattice->a));
    double b = atomdl_sqrt(dot2(lattice->b, lattice->b));
    /* a cell that has a site in the field lies within a + b of it */
    w += 2 * (margin + a + b);
    h += 2 * (margin + a + b);
    double n = (w * h / (area * SQUEEZE) + 4) * lattice->n;
    room->atoms = room->columns = n < 1e9 ? (u32)n : (u32)1e9;
    room->defects = 0;
}

double atomdl_line_side(const atomdl_line *line, double x, double y)
{
    double c = atomdl_cos(line->angle), d = atomdl_sin(line->angle);
    double along = (x - line->x) * c + (y - line->y) * d;
    double side = (y - line->y) * c - (x - line->x) * d;
    if (line->amplitude == 0) return side;
    return side - line->amplitude
        * atomdl_sin(2 * PI * along / line->wavelength + line->phase);
}

static int line_sound(const atomdl_line *l)
{
    return absolute(l->x) <= 1e6 && absolute(l->y) <= 1e6
        && absolute(l->angle) <= 1e6 && absolute(l->amplitude) <= 1e6
        && absolute(l->phase) <= 1e6
        && (l->amplitude == 0
            || (l->wavelength >= 0.1 && l->wavelength <= 1e6));
}

static int inside(const atomdl_structure *s, double x, double y, double more)
{
    return x >= -more && y >= -more && x <= s->w + more && y <= s->h + more;
}

static int on_side(const atomdl_region *r, double x, double y)
{
    for (int i = 0; i < r->lines; i++)
        if (!(atomdl_line_side(&r->line[i], x, y) > 0)) return 0;
    return 1;
}

/* (x, y) <- where u a + v b lies. */
static void place(double p[2], const atomdl_region *r, double u, double v)
{
    const atomdl_lattice *l = &r->lattice;
    double x = u * l->a[0] + v * l->b[0], y = u * l->a[1] + v * l->b[1];
    p[0] = r->x + (r->m[0] * x + r->m[1] * y);
    p[1] = r->y + (r->m[2] * x + r->m[3] * y);
}

/* The reverse: (u, v) of a point. */
static void fractions(double f[2], const atomdl_region *r, double x, double y)
{
    double det = r->m[0] * r->m[3] - r->m[1] * r->m[2];
    double area = cross(r->lattice.a, r->lattice.b);
    x -= r->x;
    y -= r->y;
    double q[2] = {(r->m[3] * x - r->m[1] * y) / det,
                   (r->m[0] * y - r->m[2] * x) / det};
    f[0] = cross(q, r->lattice.b) / area;
    f[1] = cross(r->lattice.a, q) / area;
}

/* The range of cells that reaches over field and margin. */
static void field_cells(atomdl_region *r, const atomdl_structure *s)
{
    double low[2] = {1e30, 1e30}, high[2] = {-1e30, -1e30}, f[2];
    for (int k = 0; k < 4; k++) {
        fractions(f, r, k & 1 ? s->w + s->margin : -s->margin,
                  k & 2 ? s->h + s->margin : -s->margin);
        for (int c = 0; c < 2; c++) {
            if (f[c] < low[c]) low[c] = f[c];
            if (f[c] > high[c]) high[c] = f[c];
        }
    }
    r->i0 = (int)atomdl_floor(low[0]) - 1;
    r->j0 = (int)atomdl_floor(low[1]) - 1;
    r->ni = (int)atomdl_floor(high[0]) + 1 - r->i0;
    r->nj = (int)atomdl_floor(high[1]) + 1 - r->j0;
}

/* 0: no room */
static int add_atom(atomdl_structure *s, const atomdl_atom *atom)
{
    if (s->atoms == s->room.atoms) return 0;
    s->atom[s->atoms++] = *atom;
    return 1;
}

static int add_column(atomdl_structure *s, double x, double y, int site,
                      int region)
{
    if (s->columns == s->room.columns) return 0;
    s->column[s->columns++] = (atomdl_column){
        .x = x, .y = y, .first = s->atoms, .site = (u8)site,
        .region = (u8)region};
    return 1;
}

/* One site of every cell. */
static int fill_site(atomdl_structure *s, const atomdl_region *r, int site)
{
    const atomdl_basis *list[ATOMDL_BASIS];
    int n = site_atoms(list, &r->lattice, site);
    double p[2];
    for (int j = 0; j < r->nj && n; j++)
        for (int i = 0; i < r->ni; i++) {
            place(p, r, r->i0 + i + list[0]->u, r->j0 + j + list[0]->v);
            if (!inside(s, p[0], p[1], s->margin) || !on_side(r, p[0], p[1]))
                continue;
            if (!add_column(s, p[0], p[1], site, (int)s->regions))
                return ATOMDL_EMEM;
            r->grid[(j * r->ni + i) * r->sites + site] = s->columns;
            for (int k = 0; k < n; k++)
                if (!add_atom(s, &(atomdl_atom){
                        p[0], p[1], list[k]->z, 1, list[k]->element,
                        ATOMDL_ROLE_LATTICE, 0, s->columns - 1}))
                    return ATOMDL_EMEM;
        }
    return ATOMDL_OK;
}

static int placement_sound(const atomdl_placement *p)
{
    return absolute(p->x) <= 1e6 && absolute(p->y) <= 1e6
        && absolute(p->angle) <= 1e6 && absolute(p->exx) <= 0.2
        && absolute(p->eyy) <= 0.2 && absolute(p->exy) <= 0.2;
}

/* The index has room for the cells of any angle, so that a measuring run needs
   not know it. */
int atomdl_structure_fill(atomdl_structure *s, const atomdl_lattice *lattice,
                          const atomdl_placement *at, const atomdl_line *line,
                          int lines, int class_id, atomdl_arena *arena)
{
    atomdl_region *r = &s->region[s->regions];
    int status = ATOMDL_OK;
    if (s->regions == ATOMDL_REGIONS || lines < 0 || lines > ATOMDL_LINES
        || atomdl_lattice_check(lattice) || !placement_sound(at)
        || class_id < 0 || class_id > 254)
        return ATOMDL_EARG;
    for (int i = 0; i < lines; i++) {
        if (!line_sound(&line[i])) return ATOMDL_EARG;
        r->line[i] = line[i];
    }
    int n[2];
    most_cells(n, s, lattice);
    r->sites = lattice_sites(lattice);
    if ((double)n[0] * n[1] * r->sites > 1e9) return ATOMDL_EARG;
    r->grid = atomdl_alloc(arena, (size_t)n[0] * (size_t)n[1],
                           (size_t)r->sites * sizeof *r->grid);
    r->lattice = *lattice;
    r->lines = lines;
    r->class_id = (u8)class_id;
    double c = atomdl_cos(at->angle), d = atomdl_sin(at->angle);
    r->m[0] = (1 + at->exx) * c + at->exy * d;
    r->m[1] = at->exy * c - (1 + at->exx) * d;
    r->m[2] = at->exy * c + (1 + at->eyy) * d;
    r->m[3] = (1 + at->eyy) * c - at->exy * d;
    r->x = at->x;
    r->y = at->y;
    field_cells(r, s);
    if (r->ni > n[0] || r->nj > n[1]) return ATOMDL_EARG;
    if (r->grid && s->atom && s->column) {
        memset(r->grid, 0, (size_t)(r->ni * r->nj) * (size_t)r->sites
               * sizeof *r->grid);
        for (int i = 0; i < r->sites && !status; i++)
            status = fill_site(s, r, i);
    }
    s->regions++;
    return status ? status : atomdl_arena_status(arena);
}

void atomdl_structure_alloy(atomdl_structure *s, int site, int from, int to,
                            double fraction, atomdl_rng *rng)
{
    for (u32 i = 0; s->atom && i < s->atoms; i++) {
        atomdl_atom *a = &s->atom[i];
        if (a->element != from || a->role != ATOMDL_ROLE_LATTICE) continue;
        if (site >= 0 && s->column[a->column].site != site) continue;
        if (!(atomdl_rng_uniform64(rng) < fraction)) continue;
        a->element = (u8)to;
        a->role = ATOMDL_ROLE_DOPANT;
    }
}

/* Removes the atoms whose columns are gone. */
static void sweep(atomdl_structure *s)
{
    for (u32 i = 0; i < s->atoms; i++)
        if (s->atom[i].column != NONE
            && s->column[s->atom[i].column].count == GONE)
            s->atom[i].element = 0;
}

void atomdl_structure_edge(atomdl_structure *s, const atomdl_line *line)
{
    if (!s->atom || !line_sound(line)) return;
    for (u32 i = 0; i < s->columns; i++)
        if (!(atomdl_line_side(line, s->column[i].x, s->column[i].y) > 0))
            s->column[i].count = GONE;
    for (u32 i = 0; i < s->regions; i++)
        if (s->region[i].lines < ATOMDL_LINES)
            s->region[i].line[s->region[i].lines++] = *line;
    sweep(s);
}

void atomdl_structure_hole(atomdl_structure *s, double x, double y,
                           double radius)
{
    for (u32 i = 0; s->atom && i < s->columns; i++) {
        const double d[2] = {s->column[i].x - x, s->column[i].y - y};
        if (dot2(d, d) <= radius * radius) s->column[i].count = GONE;
    }
    if (s->atom) sweep(s);
}

/* Buckets of points in the plane: those of a cell are chained. */
typedef struct {
    double size, from; /* from: the first of either axis */
    int n[2];
    u32 *head, *next; /* index + 1, 0: end */
} buckets;

/* For n points in a structure's field and margin, and distances up to size. */
static int buckets_new(buckets *b, const atomdl_structure *s, size_t n,
                       double size, atomdl_arena *arena)
{
    double more = s->margin + 1;
    double w = (s->w + 2 * more) / size, h = (s->h + 2 * more) / size;
    if (w * h > 1 << 28) return ATOMDL_EARG;
    b->size = size;
    b->from = -more;
    b->n[0] = (int)w + 1;
    b->n[1] = (int)h + 1;
    size_t cells = (size_t)b->n[0] * (size_t)b->n[1];
    b->head = atomdl_alloc(arena, cells, sizeof(u32));
    b->next = atomdl_alloc(arena, n, sizeof(u32));
    if (b->head && b->next) memset(b->head, 0, cells * sizeof(u32));
    return atomdl_arena_status(arena);
}

/* Row or column of a coordinate; NaN and what lies outside: the nearest. */
static int bucket_at(const buckets *b, int axis, double x)
{
    x = (x - b->from) / b->size;
    return !(x > 0) ? 0 : x >= b->n[axis] ? b->n[axis] - 1 : (int)x;
}

static void bucket_put(const buckets *b, u32 i, double x, double y)
{
    u32 *head = &b->head[bucket_at(b, 1, y) * b->n[0] + bucket_at(b, 0, x)];
    b->next[i] = *head;
    *head = i + 1;
}

/* Those that may lie within a distance of a point, one after the other. */
typedef struct {
    int x0, x1, y1, x, y;
    u32 i;
} vicinity;

static vicinity around(const buckets *b, double x, double y, double distance)
{
    int x0 = bucket_at(b, 0, x - distance), y0 = bucket_at(b, 1, y - distance);
    return (vicinity){x0, bucket_at(b, 0, x + distance),
                      bucket_at(b, 1, y + distance), x0, y0,
                      b->head[y0 * b->n[0] + x0]};
}

/* Index + 1; 0: no more. */
static u32 next_around(const buckets *b, vicinity *v)
{
    u32 i = v->i;
    while (!i) {
        if (v->x == v->x1 && v->y == v->y1) return 0;
        v->y += v->x == v->x1;
        v->x = v->x == v->x1 ? v->x0 : v->x + 1;
        i = b->head[v->y * b->n[0] + v->x];
    }
    v->i = b->next[i - 1];
    return i;
}

static int region_of(const atomdl_structure *s, const atomdl_atom *a)
{
    return a->column == NONE ? 255 : s->column[a->column].region;
}

/* 1 when an atom of the buckets lies nearer than distance: of a lattice's atom
   one of an earlier region that is still there, of contamination any. */
static int touches(const atomdl_structure *s, const buckets *b,
                   const atomdl_atom *a, double distance)
{
    vicinity v = around(b, a->x, a->y, distance);
    u32 i;
    while ((i = next_around(b, &v)) != 0) {
        const atomdl_atom *other = &s->atom[i - 1];
        if (a->column != NONE
            && (region_of(s, other) >= region_of(s, a)
                || s->column[other->column].count == GONE))
            continue;
        double x = a->x - other->x, y = a->y - other->y, z = a->z - other->z;
        if (x * x + y * y + z * z < distance * distance) return 1;
    }
    return 0;
}

int atomdl_structure_contacts(atomdl_structure *s, double distance,
                              atomdl_arena *arena)
{
    size_t used = arena->used;
    if (!(distance >= 0 && distance <= 100)) return ATOMDL_EARG;
    buckets b;
    int status = buckets_new(&b, s, s->room.atoms, most(distance, 2), arena);
    arena->used = used;
    if (status || !b.head || !s->atom) return status;
    for (u32 i = 0; i < s->atoms; i++)
        if (s->atom[i].element && s->atom[i].column != NONE)
            bucket_put(&b, i, s->atom[i].x, s->atom[i].y);
    for (u32 i = 0; i < s->atoms; i++)
        if (s->atom[i].element && s->atom[i].column != NONE
            && touches(s, &b, &s->atom[i], distance))
            s->column[s->atom[i].column].count = GONE;
    sweep(s);
    return ATOMDL_OK;
}

double atomdl_cloud_thickness(const atomdl_cloud *cloud, int n, double x,
                              double y)
{
    double sum = 0;
    for (int i = 0; i < n; i++) {
        double dx = (x - cloud[i].x) / cloud[i].sigma;
        double dy = (y - cloud[i].y) / cloud[i].sigma;
        sum += cloud[i].peak * atomdl_exp(-(dx * dx + dy * dy) / 2);
    }
    return sum;
}

enum { TRIES = 16 }; /* for a place of its own */
static const double CARBON_DENSITY = 0.100; /* 1/A3: 2.0 g/cm3, METHOD B.6 */

/* One atom of a cloud, where it lies in the field. One that lies too near to
   another steps aside, so that they stay about as many as without a core. */
static int put_carbon(atomdl_structure *s, const atomdl_cloud *cloud,
                      const buckets *b, atomdl_rng *rng)
{
    const double gap = 3; /* A */
    atomdl_atom a = {cloud->x, cloud->y, 0, 1, 6, ATOMDL_ROLE_CONTAMINATION, 0,
                     NONE};
    double step = cloud->sigma;
    float g[2];
    int in, tries = 0;
    do {
        atomdl_rng_normal(rng, g, 2);
        a.x += step * (double)g[0];
        a.y += step * (double)g[1];
        a.z = gap + atomdl_rng_uniform64(rng)
                    * atomdl_cloud_thickness(cloud, 1, a.x, a.y);
        in = inside(s, a.x, a.y, s->margin);
        step = cloud->core;
    } while (in && step > 0 && ++tries < TRIES
             && touches(s, b, &a, cloud->core));
    if (!in) return ATOMDL_OK;
    if (!add_atom(s, &a)) return ATOMDL_EMEM;
    if (cloud->core > 0) bucket_put(b, s->atoms - 1, a.x, a.y);
    return ATOMDL_OK;
}

/* Poisson many atoms; buckets where they keep a distance. */
int atomdl_structure_cloud(atomdl_structure *s, const atomdl_cloud *cloud,
                           atomdl_rng *rng, atomdl_arena *arena)
{
    double volume = 2 * PI * cloud->sigma * cloud->sigma * cloud->peak;
    size_t used = arena->used;
    buckets b = {0};
    int status = ATOMDL_OK;
    if (!(cloud->sigma > 0 && cloud->sigma <= 1e4 && cloud->peak >= 0
          && CARBON_DENSITY * volume <= 1e8)
        || !(absolute(cloud->x) <= 1e6 && absolute(cloud->y) <= 1e6)
        || !(cloud->core >= 0 && cloud->core <= 2))
        return ATOMDL_EARG;
    if (cloud->core > 0)
        status = buckets_new(&b, s, s->room.atoms, most(cloud->core, 0.5),
                             arena);
    arena->used = used;
    if (status || !s->atom || (cloud->core > 0 && !b.head)) return status;
    u32 n = atomdl_rng_poisson(rng, CARBON_DENSITY * volume);
    for (; n && !status; n--) status = put_carbon(s, cloud, &b, rng);
    return status;
}

static void wave_shift(double *x, double *y, const atomdl_wave *wave, int n)
{
    double x0 = *x, y0 = *y;
    for (int i = 0; i < n; i++) {
        const atomdl_wave *v = &wave[i];
        double sine = atomdl_sin(v->kx * x0 + v->ky * y0 + v->phase);
        *x += v->ax * sine;
        *y += v->ay * sine;
    }
}

void atomdl_structure_warp(atomdl_structure *s, const atomdl_wave *wave, int n)
{
    for (u32 i = 0; s->atom && i < s->atoms; i++)
        if (s->atom[i].role != ATOMDL_ROLE_CONTAMINATION)
            wave_shift(&s->atom[i].x, &s->atom[i].y, wave, n);
    for (u32 i = 0; s->column && i < s->columns; i++)
        wave_shift(&s->column[i].x, &s->column[i].y, wave, n);
    for (u32 i = 0; s->defect && i < s->defects; i++)
        wave_shift(&s->defect[i].x, &s->defect[i].y, wave, n);
}

void atomdl_structure_thermal(atomdl_structure *s, double rms, atomdl_rng *rng)
{
    float g[256];
    for (u32 i = 0; s->atom && i < s->atoms; i++) {
        atomdl_atom *a = &s->atom[i];
        if (i % 128 == 0)
            atomdl_rng_normal(rng, g, s->atoms - i < 128
                              ? (size_t)(2 * (s->atoms - i)) : 256);
        if (a->role == ATOMDL_ROLE_CONTAMINATION) continue;
        a->x += rms * (double)g[2 * (i % 128)];
        a->y += rms * (double)g[2 * (i % 128) + 1];
    }
}

/* Counts one atom of element z in a column, elements kept falling. */
static int column_count(atomdl_column *c, int z)
{
    int i;
    for (i = 0; i < ATOMDL_SPECIES && c->element[i] > z; i++) {}
    if (i == ATOMDL_SPECIES || c->count == GONE - 1) return 0;
    if (c->element[i] != z) {
        if (c->element[ATOMDL_SPECIES - 1]) return 0;
        for (int k = ATOMDL_SPECIES - 1; k > i; k--) {
            c->element[k] = c->element[k - 1];
            c->number[k] = c->number[k - 1];
        }
        c->element[i] = (u8)z;
        c->number[i] = 0;
    }
    c->number[i]++;
    c->count++;
    return 1;
}

/* Closes up columns and atoms; first <- new indices of columns. */
static void close_up(atomdl_structure *s)
{
    u32 n = 0;
    for (u32 i = 0; i < s->columns; i++) s->column[i].first = NONE;
    for (u32 i = 0; i < s->columns; i++)
        if (s->column[i].count != GONE) s->column[i].first = n++;
    for (u32 i = 0; i < s->atoms; i++) {
        atomdl_atom *a = &s->atom[i];
        if (a->column == NONE) continue;
        a->column = s->column[a->column].first;
        if (a->column == NONE) a->element = 0;
    }
    for (u32 i = n = 0; i < s->columns; i++)
        if (s->column[i].first != NONE) s->column[n++] = s->column[i];
    s->columns = n;
    for (u32 i = n = 0; i < s->atoms; i++)
        if (s->atom[i].element) s->atom[n++] = s->atom[i];
    s->atoms = n;
}

/* From the last atom to the first, so that `first` ends at the first. */
int atomdl_structure_finish(atomdl_structure *s)
{
    if (!s->atom || !s->column) return ATOMDL_OK;
    close_up(s);
    for (u32 i = 0; i < s->regions; i++) s->region[i].grid = NULL;
    for (u32 i = 0; i < s->atoms; i++) {
        const atomdl_atom *a = &s->atom[i];
        if (!(absolute(a->x) <= 1e7 && absolute(a->y) <= 1e7
              && absolute(a->z) <= 1e7 && is_finite((double)a->weight)))
            return ATOMDL_ENAN;
    }
    for (u32 i = 0; i < s->columns; i++) {
        atomdl_column *c = &s->column[i];
        if (!(absolute(c->x) <= 1e7 && absolute(c->y) <= 1e7))
            return ATOMDL_ENAN;
        c->count = 0;
        memset(c->element, 0, sizeof c->element);
        memset(c->number, 0, sizeof c->number);
    }
    for (u32 i = s->atoms; i-- > 0;) {
        const atomdl_atom *a = &s->atom[i];
        if (a->column == NONE) continue;
        atomdl_column *c = &s->column[a->column];
        if (c->count == 0) c->x = c->y = 0;
        if (!column_count(c, a->element)) return ATOMDL_ESHAPE;
        c->x += a->x;
        c->y += a->y;
        c->first = i;
    }
    for (u32 i = 0; i < s->columns; i++) {
        atomdl_column *c = &s->column[i];
        if (!c->count) continue;
        c->x /= c->count;
        c->y /= c->count;
    }
    return ATOMDL_OK;
}

void atomdl_column_text(char text[32], const atomdl_column *c)
{
    size_t n = 0;
    if (!c->count) {
        memcpy(text, "vacancy", 8);
        return;
    }
    for (int i = 0; i < ATOMDL_SPECIES && c->element[i]; i++) {
        if (i) text[n++] = '+';
        atomdl_symbol(text + n, c->element[i]);
        n += text[n + 1] ? 2 : 1;
        if (c->number[i] > 1)
            n += (size_t)atomdl_decimal_write(text + n, c->number[i], 0);
    }
    text[n] = 0;
}

/* ---------- Motifs of graphene (METHOD B.2) -------------------------------

   Sites of the honeycomb are integers (U, V), thirds of a and b, seen from the
   middle of a hexagon; U + V is a multiple of 3, and neither U nor V is.

   A class of defects is a row, in the order of ATOMDL_V1...: its name, its
   centre (A, what labels and distances refer to), then what it removes and
   adds. An added atom is bonded to every carbon within `reach` of its start
   and to the other added atoms, with the lengths it brings. `tie` asks for
   more bonds or distances: site to site, or (V = 99) to added atom U. All then
   relax in a patch of the sheet under springs. `dimer`: its silicon moves more
   (atomdl_drawing.jitter).

   A new class has a value in the header's enum, last before ATOMDL_MOTIFS, and
   its name in the comment below that, in parse_defects, and in METHOD B.2. So
   that images say it: FOUND of graph.c. Its tests: WANT of
   tests/test_structure.c, SILICON of tests/golden.sh. One motif more makes
   atomdl_motifs larger, which structure_peak of tests/bits.txt shows. */

typedef struct {
    signed char u, v;
} site2;

typedef struct {
    u8 element;
    double x, y;    /* start, A */
    double carbon;  /* length of its bonds to carbon, 0: none */
    double between; /* to other added atoms (the lesser of both), 0: none */
} added;

typedef struct {
    site2 a, b;
    double length, weight;
} tie;

enum { REMOVED = 6, ADDED = 4, TIES = 2, TO_ADDED = 99 };

typedef struct {
    const char *name;
    double x, y, reach; /* centre; of bonds to carbon, A */
    u8 removed, extra, ties, dimer;
    site2 site[REMOVED];
    added add[ADDED];
    tie bond[TIES];
} motif;

/* The bond from (1, 2), at y = 1.4209, to (2, 4) recurs below; its middle is
   at y = 2.1313. */
typedef char motifs_fit[ATOMDL_MOTIFS <= 32 ? 1 : -1]; /* bits of `wanted` */
#define NO_TIES {{{0, 0}, {0, 0}, 0, 0}}
#define HEXAGON {{2, 1}, {1, 2}, {-1, 1}, {-2, -1}, {-1, -2}, {1, -1}}
static const motif MOTIFS[ATOMDL_MOTIFS] = {
    {"v1", 0, 1.4209, 0, 1, 0, 0, 0, {{1, 2}}, {{0}}, NO_TIES},
    {"v1-5-9", 0, 1.4209, 0, 1, 0, 1, 0, {{1, 2}}, {{0}},
     {{{2, 1}, {-1, 1}, 1.92, 4}}},
    {"v2-5-8-5", 0, 2.1313, 0, 2, 0, 2, 0, {{1, 2}, {2, 4}}, {{0}},
     {{{2, 1}, {-1, 1}, 1.80, 4}, {{4, 5}, {1, 5}, 1.80, 4}}},
    {"v2-555-777", 0.82, 2.1313, 1.8, 4, 2, 2, 0,
     {{1, 2}, {2, 4}, {4, 2}, {5, 4}},
     {{6, 1.751, 2.1313, 1.43, 1.43}, {6, 3.171, 2.1313, 1.43, 1.43}},
     {{{2, 1}, {-1, 1}, 1.50, 2}, {{4, 5}, {1, 5}, 1.50, 2}}},
    {"stone-wales", 0, 2.1313, 1.8, 2, 2, 0, 0, {{1, 2}, {2, 4}},
     {{6, -0.70, 2.1313, 1.44, 1.40}, {6, 0.70, 2.1313, 1.44, 1.40}},
     NO_TIES},
    {"si-c3", 0, 1.4209, 2.1, 1, 1, 0, 0, {{1, 2}},
     {{14, 0, 1.4209, 1.645, 0}}, NO_TIES},
    {"si-c4", 0, 2.1313, 2.1, 2, 1, 0, 0, {{1, 2}, {2, 4}},
     {{14, 0, 2.1313, 1.88, 0}}, NO_TIES},
    {"si2-c4", 0, 2.1313, 2.1, 2, 2, 0, 1, {{1, 2}, {2, 4}},
     {{14, 0, 1.40, 1.80, 2.05}, {14, 0, 2.86, 1.80, 2.05}}, NO_TIES},
    {"si2-c5", 0.3, 2.31, 2.1, 3, 2, 0, 1, {{1, 2}, {2, 4}, {4, 5}},
     {{14, 0, 1.4209, 1.78, 2.25}, {14, 0.6152, 3.1970, 1.78, 2.25}},
     NO_TIES},
    {"si2-c6", 0, 2.1313, 2.1, 4, 2, 0, 1, {{1, 2}, {2, 4}, {4, 5}, {-1, 1}},
     {{14, -0.6152, 1.0656, 1.83, 2.43}, {14, 0.6152, 3.1970, 1.83, 2.43}},
     NO_TIES},
    {"si3-c6", 0, 0, 2.1, 6, 3, 0, 0, HEXAGON,
     {{14, 1.294, 0, 1.86, 2.24}, {14, -0.647, 1.1206, 1.86, 2.24},
      {14, -0.647, -1.1206, 1.86, 2.24}}, NO_TIES},
    {"si4-c6", 0, 0, 2.1, 6, 4, 0, 0, HEXAGON,
     {{14, 1.414, 0, 1.86, 2.45}, {14, -0.707, 1.2246, 1.86, 2.45},
      {14, -0.707, -1.2246, 1.86, 2.45}, {14, 0, 0, 0, 1.42}}, NO_TIES},
    {"hole6", 0, 0, 0, 6, 0, 0, 0, HEXAGON, {{0}}, NO_TIES},
    {"si-adatom", 0, 2.1313, 0, 0, 1, 0, 0, {{0}}, {{14, 0, 2.1313, 0, 0}},
     NO_TIES},
    {"si-c3-v", 0, 2.1313, 2.1, 2, 1, 1, 0, {{1, 2}, {2, 4}},
     {{14, 0.23, 1.87, 1.78, 0}}, {{{1, 5}, {0, TO_ADDED}, 2.50, 2}}},
    {"si-c3-c3", 1.2305, 1.4209, 2.1, 2, 2, 1, 0, {{1, 2}, {4, 2}},
     {{14, 0, 1.4209, 1.645, 0}, {14, 2.461, 1.4209, 1.645, 0}},
     {{{0, TO_ADDED}, {1, TO_ADDED}, 2.95, 2}}},
    {"si-c3-c4", 0.6152, 0.7104, 2.1, 3, 2, 0, 0, {{1, -1}, {1, 2}, {2, 4}},
     {{14, 1.2305, -0.7104, 1.645, 0}, {14, 0, 2.1313, 1.88, 0}}, NO_TIES},
    {"si-c4-c4", 0.9229, 0.5329, 2.1, 4, 2, 0, 0,
     {{1, 2}, {1, -1}, {2, 4}, {2, -2}},
     {{14, 0, 2.1313, 1.88, 0}, {14, 1.8458, -1.0656, 1.88, 0}}, NO_TIES},
};

/* Springs in Keating's form, E = sum w (r^2 - d^2)^2 / 4 d^2 (METHOD B.2).
   Weights w, chosen so that the bonds of the motifs keep their lengths: carbon
   bonds 1, those of silicon 2; second neighbours at carbon with three carbon
   bonds 0.25; the carbon neighbours of Si with three bonds are held sqrt(3)
   bonds apart with 0.5, but where a tie breaks the symmetry; every site is
   anchored with 0.005. */
enum { PATCH = 200, SPRINGS = 1400 };
static const double PATCH_RADIUS = 12, FREE_RADIUS = 10.5;

typedef struct {
    double d2, k; /* d^2, w / d^2 */
    u32 a, b;
} spring;

typedef struct {
    int n, sites;      /* nodes: sites first, then added atoms */
    int springs;
    site2 site[PATCH];
    u8 element[PATCH], loose[PATCH], bonds[PATCH];
    u8 bond[PATCH][4]; /* neighbours, for second-neighbour springs */
    double start[PATCH][2], p[PATCH][2], v[PATCH][2], g[PATCH][2];
    spring s[SPRINGS];
} patch;

typedef struct { /* a site's displacement */
    signed char u, v;
    float x, y;
} shift;

typedef struct {
    double added[ADDED][2];
    shift shift[PATCH];
    u16 known, near, moved; /* the first `near` shifts are of bonded sites */
} relaxed;

struct atomdl_motifs {
    relaxed of[ATOMDL_MOTIFS];
};

static const double CARBON = 2.461; /* a of graphene */

static int is_removed(const motif *m, int u, int v)
{
    for (int i = 0; i < m->removed; i++)
        if (m->site[i].u == u && m->site[i].v == v) return 1;
    return 0;
}

static double apart2(const double *a, const double *b)
{
    const double d[2] = {a[0] - b[0], a[1] - b[1]};
    return dot2(d, d);
}

static void add_spring(patch *p, int a, int b, double d, double w)
{
    if (p->springs < SPRINGS)
        p->s[p->springs++] = (spring){d * d, w / (d * d), (u32)a, (u32)b};
}

/* A spring that counts as a bond. */
static void add_bond(patch *p, int a, int b, double d, double w)
{
    add_spring(p, a, b, d, w);
    if (p->bonds[a] < 4) p->bond[a][p->bonds[a]++] = (u8)b;
    if (p->bonds[b] < 4) p->bond[b][p->bonds[b]++] = (u8)a;
}

/* The sites around a motif that it leaves. */
static void patch_sites(patch *p, const motif *m)
{
    const double c[2] = {m->x, m->y};
    for (int v = -24; v <= 24; v++)
        for (int u = -30; u <= 30; u++) {
            if ((u + v) % 3 || u % 3 == 0 || is_removed(m, u, v)) continue;
            const double at[2] = {CARBON * (2 * u - v) / 6,
                                  CARBON * v / (2 * atomdl_sqrt(3))};
            double r2 = apart2(at, c);
            if (r2 > PATCH_RADIUS * PATCH_RADIUS || p->n == PATCH - ADDED)
                continue;
            p->site[p->n] = (site2){(signed char)u, (signed char)v};
            p->loose[p->n] = r2 < FREE_RADIUS * FREE_RADIUS;
            p->element[p->n] = 6;
            memcpy(p->start[p->n++], at, sizeof at);
        }
    p->sites = p->n;
}

/* Bonds of added atom number k, node p->sites + k. */
static void bond_added(patch *p, const motif *m, int k)
{
    const added *a = &m->add[k];
    int node = p->sites + k;
    for (int i = 0; i < node; i++) {
        int other = i - p->sites;
        if (other < 0
            && apart2(p->start[i], p->start[node]) > m->reach * m->reach)
            continue;
        double d = other < 0 ? a->carbon
                             : least(a->between, m->add[other].between);
        if (d > 0) add_bond(p, i, node, d, a->element == 6 ? 1 : 2);
    }
}

static int node_of(const patch *p, site2 s)
{
    if (s.v == TO_ADDED) return p->sites + s.u;
    for (int i = 0; i < p->sites; i++)
        if (p->site[i].u == s.u && p->site[i].v == s.v) return i;
    return 0;
}

/* Springs between the neighbours of atoms with three bonds. */
static void second_neighbours(patch *p, const motif *m)
{
    for (int i = 0; i < p->n; i++) {
        int silicon = p->element[i] == 14;
        double d = CARBON, w = 0.25;
        if (p->bonds[i] != 3) continue;
        if (silicon) {
            if (m->ties && m->bond[0].a.v != TO_ADDED) continue;
            d = m->add[i - p->sites].carbon * atomdl_sqrt(3);
            w = 0.5;
        }
        for (int j = 0; j < 3; j++)
            for (int k = j + 1; k < 3; k++) {
                int a = p->bond[i][j], b = p->bond[i][k];
                if (p->element[a] == 6 && p->element[b] == 6)
                    add_spring(p, a, b, d, w);
            }
    }
}

/* Sites, added atoms and their springs, at the start. */
static void patch_build(patch *p, const motif *m)
{
    const double bond = CARBON / atomdl_sqrt(3);
    memset(p, 0, sizeof *p);
    patch_sites(p, m);
    for (int i = 0; i < p->sites; i++)
        for (int j = 0; j < i; j++)
            if (apart2(p->start[i], p->start[j]) < 2.5)
                add_bond(p, i, j, bond, 1);
    for (int i = 0; i < m->extra; i++) {
        p->element[p->n] = m->add[i].element;
        p->loose[p->n] = 1;
        p->start[p->n][0] = m->add[i].x;
        p->start[p->n++][1] = m->add[i].y;
        bond_added(p, m, i);
    }
    for (int i = 0; i < m->ties; i++) {
        const tie *t = &m->bond[i];
        (t->b.v == TO_ADDED ? add_spring : add_bond)(
            p, node_of(p, t->a), node_of(p, t->b), t->length, t->weight);
    }
    second_neighbours(p, m);
    memcpy(p->p, p->start, sizeof p->p);
}

static void gradients(patch *p)
{
    for (int i = 0; i < p->n; i++)
        for (int c = 0; c < 2; c++)
            p->g[i][c] = i < p->sites
                ? 0.01 * (p->p[i][c] - p->start[i][c]) : 0;
    for (int i = 0; i < p->springs; i++) {
        const spring *s = &p->s[i];
        double f = s->k * (apart2(p->p[s->a], p->p[s->b]) - s->d2);
        for (int c = 0; c < 2; c++) {
            double g = f * (p->p[s->a][c] - p->p[s->b][c]);
            p->g[s->a][c] += g;
            p->g[s->b][c] -= g;
        }
    }
}

/* Descent with momentum, which is dropped whenever it points uphill. */
static void patch_relax(patch *p)
{
    const double rate = 0.06, keep = 0.95;
    double uphill, most;
    int step, i;
    for (step = 0, most = 1; step < 3000 && most > 1e-14; step++) {
        gradients(p);
        for (i = 0, uphill = most = 0; i < p->n; i++)
            for (int c = 0; c < 2 && p->loose[i]; c++) {
                uphill += p->g[i][c] * p->v[i][c];
                if (p->g[i][c] * p->g[i][c] > most)
                    most = p->g[i][c] * p->g[i][c];
            }
        for (i = 0; i < p->n; i++)
            for (int c = 0; c < 2 && p->loose[i]; c++) {
                double v = uphill > 0 ? 0 : keep * p->v[i][c];
                p->v[i][c] = v - rate * p->g[i][c];
                p->p[i][c] += p->v[i][c];
            }
    }
}

/* Is a site bonded to what is new? */
static int touched(const patch *p, const motif *m, int node)
{
    for (int i = 0; i < p->bonds[node]; i++)
        if (p->bond[node][i] >= p->sites) return 1;
    for (int i = 0; i < m->ties; i++)
        if (node_of(p, m->bond[i].a) == node
            || node_of(p, m->bond[i].b) == node)
            return 1;
    return 0;
}

/* Sites bonded to what is new come first, wherever they went; then those that
   moved by more than a thousandth. */
static void patch_keep(relaxed *r, const patch *p, const motif *m)
{
    r->known = 1;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < p->sites; i++) {
            int near = touched(p, m, i);
            if (near == pass || (!near && apart2(p->p[i], p->start[i]) < 1e-6))
                continue;
            r->shift[r->moved++] = (shift){
                p->site[i].u, p->site[i].v,
                (float)(p->p[i][0] - p->start[i][0]),
                (float)(p->p[i][1] - p->start[i][1])};
        }
        if (!pass) r->near = r->moved;
    }
    memcpy(r->added, p->p[p->sites], sizeof r->added);
}

int atomdl_motifs_new(atomdl_motifs **motifs, u32 wanted, atomdl_arena *arena)
{
    *motifs = atomdl_alloc(arena, 1, sizeof **motifs);
    size_t used = arena->used;
    patch *p = atomdl_alloc(arena, 1, even(sizeof *p));
    arena->used = used;
    if (!*motifs || !p) return atomdl_arena_status(arena);
    memset(*motifs, 0, sizeof **motifs);
    for (int i = 0; i < ATOMDL_MOTIFS; i++) {
        if (!(wanted >> i & 1)) continue;
        patch_build(p, &MOTIFS[i]);
        if (p->springs > p->n) patch_relax(p);
        patch_keep(&(*motifs)->of[i], p, &MOTIFS[i]);
    }
    return ATOMDL_OK;
}

/* ---------- Defects ------------------------------------------------------- */

/* The second group of defects changes one column of a dichalcogenide: of its
   atoms of the metal ('M') or chalcogen ('X'), from above or from below,
   `remove` are taken out, then `turn` become another element, then `add` of it
   come on top; `beside`: a chalcogen of a neighbouring column goes too. A
   class of defects is a row, in the order of ATOMDL_VX1...; a new one goes to
   the end of both, and its name into the header's comment, parse_defects and
   KIND_SCATTER; in images column_kind of graph.c names it. */
enum { TO_METAL = 1, TO_CHALCOGEN, TO_DOPANT };
static const struct {
    const char *name;
    char of;
    u8 remove, turn, into, add, beside;
} EDITS[ATOMDL_DEFECTS - ATOMDL_MOTIFS] = {
    {"vx1", 'X', 1, 0, 0, 0, 0},
    {"vx2", 'X', 2, 0, 0, 0, 0},
    {"vm", 'M', 1, 0, 0, 0, 0},
    {"m-x", 'X', 0, 1, TO_METAL, 0, 0},
    {"m-x2", 'X', 1, 1, TO_METAL, 0, 0},
    {"x-m", 'M', 0, 1, TO_CHALCOGEN, 0, 0},
    {"x2-m", 'M', 0, 1, TO_CHALCOGEN, 1, 0},
    {"sub-m", 'M', 0, 1, TO_DOPANT, 0, 0},
    {"sub-x", 'X', 0, 1, TO_DOPANT, 0, 0},
    {"sub-m-vx1", 'M', 0, 1, TO_DOPANT, 0, 1},
};

/* A kind that is nothing without an element of its own. */
static int needs_dopant(int kind)
{
    return kind >= ATOMDL_MOTIFS
           && EDITS[kind - ATOMDL_MOTIFS].into == TO_DOPANT;
}

const char *atomdl_defect_name(int kind)
{
    if (kind < 0 || kind >= ATOMDL_DEFECTS) return NULL;
    return kind < ATOMDL_MOTIFS ? MOTIFS[kind].name
                                : EDITS[kind - ATOMDL_MOTIFS].name;
}

int atomdl_defect_find(const char *name)
{
    for (int i = 0; i < ATOMDL_DEFECTS; i++)
        if (same_text(name, atomdl_defect_name(i))) return i;
    return -1;
}

/* Symmetry operation: mirrored (about the line at 60 degrees) or not, then
   turned by `operation` mod 6 times 60 degrees. On sites: */
static site2 turn_site(int u, int v, int operation)
{
    int w;
    if (operation >= 6) w = u, u = v, v = w;
    for (int k = operation % 6; k > 0; k--) w = u, u = u - v, v = w;
    return (site2){(signed char)u, (signed char)v};
}

/* ... and on vectors. */
static void turn_vector(double p[2], double x, double y, int operation)
{
    const double half = 0.5, root = atomdl_sqrt(3) / 2;
    for (int k = operation >= 6 ? -1 : 0; k < operation % 6; k++) {
        p[0] = k < 0 ? root * y - half * x : half * x - root * y;
        y = root * x + half * y;
        x = p[0];
    }
    p[0] = x;
    p[1] = y;
}

/* p <- m times the turned (x, y): a vector of a motif in the image. */
static void motif_vector(double p[2], const atomdl_region *r, double x,
                         double y, int operation)
{
    double q[2], scale = r->lattice.a[0] / CARBON;
    turn_vector(q, x * scale, y * scale, operation);
    p[0] = r->m[0] * q[0] + r->m[1] * q[1];
    p[1] = r->m[2] * q[0] + r->m[3] * q[1];
}

/* Centre and angle of a defect; 0 when it cannot be in this structure. */
static int defect_geometry(atomdl_defect *d, const atomdl_structure *s)
{
    const atomdl_region *r = &s->region[d->region];
    if (d->region >= s->regions || !r->lattice.hexagonal
        || d->operation > 11 || d->kind >= ATOMDL_DEFECTS
        || absolute(d->i) > 1e7 || absolute(d->j) > 1e7)
        return 0;
    double p[2], q[2] = {0, 0};
    const atomdl_basis *list[ATOMDL_BASIS];
    int sheet = d->kind < ATOMDL_MOTIFS;
    if (sheet == (r->lattice.metal != 0)) return 0;
    if (sheet) {
        place(p, r, d->i, d->j);
        motif_vector(q, r, MOTIFS[d->kind].x, MOTIFS[d->kind].y, d->operation);
    } else {
        if (d->site >= r->sites || !site_atoms(list, &r->lattice, d->site))
            return 0;
        place(p, r, d->i + SITE[d->site][0], d->j + SITE[d->site][1]);
    }
    d->x = p[0] + q[0];
    d->y = p[1] + q[1];
    motif_vector(q, r, 1, 0, sheet ? d->operation : d->operation / 2);
    d->angle = atomdl_atan2(q[1], q[0]);
    return 1;
}

/* Column + 1 of a site of a cell, 0: not there. */
static u32 column_at(const atomdl_structure *s, int region, int i, int j,
                     int site)
{
    const atomdl_region *r = &s->region[region];
    i -= r->i0;
    j -= r->j0;
    if (i < 0 || j < 0 || i >= r->ni || j >= r->nj) return 0;
    u32 c = r->grid[(j * r->ni + i) * r->sites + site];
    return c && s->column[c - 1].count != GONE ? c : 0;
}

static int floor3(int n)
{
    return n >= 0 ? n / 3 : -((2 - n) / 3);
}

/* The same by thirds from cell (i, j). */
static u32 column_thirds(const atomdl_structure *s, int region, int i, int j,
                         int u, int v)
{
    return column_at(s, region, i + floor3(u), j + floor3(v),
                     u - 3 * floor3(u));
}

static u32 motif_column(const atomdl_structure *s, const atomdl_defect *d,
                        int u, int v)
{
    site2 t = turn_site(u, v, d->operation);
    return column_thirds(s, d->region, d->i, d->j, t.u, t.v);
}

static int taken(const atomdl_structure *s, u32 column)
{
    return !column || s->column[column - 1].defect
        || !s->atom[s->column[column - 1].first].element;
}

/* 1 when every site that the motif removes or binds to is there and free. */
static int motif_fits(const atomdl_structure *s, const atomdl_defect *d,
                      const relaxed *r)
{
    const motif *m = &MOTIFS[d->kind];
    for (int i = 0; i < m->removed; i++)
        if (taken(s, motif_column(s, d, m->site[i].u, m->site[i].v))) return 0;
    for (int i = 0; i < r->near; i++)
        if (taken(s, motif_column(s, d, r->shift[i].u, r->shift[i].v)))
            return 0;
    return s->room.atoms - s->atoms >= m->extra
        && s->room.columns - s->columns >= m->extra;
}

/* The motif's displacements; its near sites become part of the defect. */
static void move_sites(atomdl_structure *s, const atomdl_defect *d,
                       const relaxed *r, u16 mark)
{
    double p[2];
    for (int i = 0; i < r->moved; i++) {
        const shift *t = &r->shift[i];
        u32 c = motif_column(s, d, t->u, t->v);
        if (!c) continue;
        atomdl_atom *a = &s->atom[s->column[c - 1].first];
        motif_vector(p, &s->region[d->region], (double)t->x, (double)t->y,
                     d->operation);
        a->x += (double)d->scale * p[0];
        a->y += (double)d->scale * p[1];
        if (i < r->near) a->defect = s->column[c - 1].defect = mark;
    }
}

/* Takes the removed atoms out, moves the others, adds what is new: into the
   columns of removed atoms first, moved as those were. */
static int place_motif(atomdl_structure *s, const atomdl_defect *d,
                       const relaxed *r)
{
    const motif *m = &MOTIFS[d->kind];
    u16 mark = (u16)(s->defects + 1);
    double p[2], q[2];
    u32 gone[REMOVED];
    if (!r->known || !motif_fits(s, d, r)) return ATOMDL_EARG;
    place(p, &s->region[d->region], d->i, d->j);
    for (int i = 0; i < m->removed; i++) {
        gone[i] = motif_column(s, d, m->site[i].u, m->site[i].v) - 1;
        s->atom[s->column[gone[i]].first].element = 0;
        s->column[gone[i]].defect = mark;
    }
    move_sites(s, d, r, mark);
    for (int i = 0; i < m->extra; i++) {
        motif_vector(q, &s->region[d->region], r->added[i][0], r->added[i][1],
                     d->operation);
        q[0] += p[0];
        q[1] += p[1];
        if (i >= m->removed && !add_column(s, q[0], q[1], 0, d->region))
            return ATOMDL_EMEM;
        u32 k = i < m->removed ? gone[i] : s->columns - 1;
        atomdl_column *c = &s->column[k];
        if (i < m->removed) {
            q[0] += s->atom[c->first].x - c->x;
            q[1] += s->atom[c->first].y - c->y;
        }
        c->defect = mark;
        c->first = s->atoms;
        add_atom(s, &(atomdl_atom){
            q[0], q[1], 0, 1, m->add[i].element,
            m->add[i].element == 6 ? ATOMDL_ROLE_LATTICE : ATOMDL_ROLE_DOPANT,
            mark, k});
    }
    return ATOMDL_OK;
}

/* Atoms that a filled column has got. */
static u32 column_atoms(const atomdl_structure *s, u32 column)
{
    const atomdl_column *c = &s->column[column - 1];
    const atomdl_basis *list[ATOMDL_BASIS];
    return (u32)site_atoms(list, &s->region[c->region].lattice, c->site);
}

/* The n-th atom of element z in a column from above or below; NULL: none. */
static atomdl_atom *nth_atom(const atomdl_structure *s, u32 column, int z,
                             int n, int below)
{
    atomdl_atom *a = &s->atom[s->column[column - 1].first];
    u32 count = column_atoms(s, column);
    for (u32 i = 0; i < count; i++) {
        atomdl_atom *b = &a[below ? i : count - 1 - i];
        if (b->element == z && n-- == 0) return b;
    }
    return NULL;
}

static int edit_element(const atomdl_lattice *l, int kind)
{
    return EDITS[kind - ATOMDL_MOTIFS].of == 'M' ? l->metal : l->chalcogen;
}

/* The free column of chalcogen beside a metal's, in direction 0..2; layers
   face one way or the other. */
static u32 chalcogen_beside(const atomdl_structure *s, const atomdl_defect *d)
{
    static const signed char STEP[3][2] = {{1, 2}, {-2, -1}, {1, -1}};
    const signed char *step = STEP[d->operation / 2 % 3];
    int z = s->region[d->region].lattice.chalcogen;
    int u = d->site, v = (3 - u) % 3; /* the site in thirds */
    for (int sign = 1; sign >= -1; sign -= 2) {
        u32 c = column_thirds(s, d->region, d->i, d->j, u + sign * step[0],
                              v + sign * step[1]);
        if (!taken(s, c) && nth_atom(s, c, z, 0, d->operation % 2)) return c;
    }
    return 0;
}

/* Does to a column what its row of EDITS says. */
static int edit_column(atomdl_structure *s, const atomdl_defect *d, u32 column)
{
    int kind = d->kind - ATOMDL_MOTIFS, below = d->operation % 2;
    const atomdl_lattice *l = &s->region[d->region].lattice;
    int z = edit_element(l, d->kind);
    const u8 becomes[] = {0, l->metal, l->chalcogen, d->element};
    u8 into = becomes[EDITS[kind].into];
    u16 mark = (u16)(s->defects + 1);
    atomdl_atom *a = nth_atom(s, column, z,
                              EDITS[kind].remove + EDITS[kind].turn - 1, below);
    if (!a || (EDITS[kind].turn && (!into || into == z))) return ATOMDL_EARG;
    if (EDITS[kind].add) {
        if (!add_atom(s, &(atomdl_atom){a->x, a->y, a->z + 1.5, 1, into,
                                        ATOMDL_ROLE_DOPANT, mark, column - 1}))
            return ATOMDL_EMEM;
        a->z -= 1.5;
    }
    if (EDITS[kind].turn) {
        a->element = into;
        a->role = ATOMDL_ROLE_DOPANT;
    }
    for (int i = 0; i < EDITS[kind].remove; i++)
        nth_atom(s, column, z, 0, below)->element = 0;
    a = &s->atom[s->column[column - 1].first];
    for (int i = (int)column_atoms(s, column) - 1; i >= 0; i--)
        a[i].defect = mark;
    s->column[column - 1].defect = mark;
    return ATOMDL_OK;
}

static int place_edit(atomdl_structure *s, const atomdl_defect *d)
{
    u32 c = column_at(s, d->region, d->i, d->j, d->site), beside = 0;
    if (!c || s->column[c - 1].defect) return ATOMDL_EARG;
    if (EDITS[d->kind - ATOMDL_MOTIFS].beside
        && !(beside = chalcogen_beside(s, d)))
        return ATOMDL_EARG;
    int status = edit_column(s, d, c);
    if (!beside || status) return status;
    atomdl_defect vacancy = *d;
    vacancy.kind = ATOMDL_VX1;
    return edit_column(s, &vacancy, beside);
}

int atomdl_defect_place(atomdl_structure *s, const atomdl_defect *defect,
                        const atomdl_motifs *motifs)
{
    atomdl_defect d = *defect;
    if (!s->atom || !s->column || !s->defect) return ATOMDL_OK;
    if (!(d.scale >= -10 && d.scale <= 10) || !defect_geometry(&d, s)
        || !s->region[d.region].grid)
        return ATOMDL_EARG;
    if (s->defects == s->room.defects) return ATOMDL_EMEM;
    if (d.kind < ATOMDL_MOTIFS && !motifs) return ATOMDL_EARG;
    int status = d.kind < ATOMDL_MOTIFS
                     ? place_motif(s, &d, &motifs->of[d.kind])
                     : place_edit(s, &d);
    if (status) return status;
    if (d.id == 0) d.id = s->next_id;
    if (d.id >= s->next_id) s->next_id = d.id + 1;
    s->defect[s->defects++] = d;
    return ATOMDL_OK;
}

static double off_centre(const atomdl_defect *d, double x, double y)
{
    return (d->x - x) * (d->x - x) + (d->y - y) * (d->y - y);
}

/* i, j <- the cell whose defect's centre lies nearest to (x, y), f in its
   lattice; u, v: the centre in its cell. Rounding may miss it by one: all nine
   are tried. */
static int settle(atomdl_defect *d, const atomdl_structure *s,
                  const double xy[2], const double f[2], const double uv[2])
{
    atomdl_defect best = *d;
    int i = (int)atomdl_floor(f[0] - uv[0] + 0.5);
    int j = (int)atomdl_floor(f[1] - uv[1] + 0.5);
    for (int k = 0; k < 9; k++) {
        d->i = i + k % 3 - 1;
        d->j = j + k / 3 - 1;
        if (!defect_geometry(d, s)) return 0;
        if (!k || off_centre(d, xy[0], xy[1]) < off_centre(&best, xy[0], xy[1]))
            best = *d;
    }
    *d = best;
    return 1;
}

/* The nearest place of a motif, or of an edit at the sites that hold what it
   changes. */
int atomdl_defect_locate(atomdl_defect *defect, const atomdl_structure *s,
                         double x, double y)
{
    const atomdl_region *r = &s->region[defect->region];
    const atomdl_basis *list[ATOMDL_BASIS];
    atomdl_defect d = *defect, best = *defect;
    const double xy[2] = {x, y};
    double f[2], uv[2];
    int found = 0;
    if (d.region >= s->regions || !inside(s, x, y, 1e3)
        || d.kind >= ATOMDL_DEFECTS)
        return ATOMDL_EARG;
    fractions(f, r, x, y);
    if (d.kind < ATOMDL_MOTIFS) {
        d.i = d.j = 0;
        if (!defect_geometry(&d, s)) return ATOMDL_EARG;
        fractions(uv, r, d.x, d.y);
        if (!settle(&d, s, xy, f, uv)) return ATOMDL_EARG;
        *defect = d;
        return ATOMDL_OK;
    }
    for (int site = 0; site < r->sites && r->lattice.metal; site++) {
        int n = site_atoms(list, &r->lattice, site);
        while (n && list[n - 1]->element != edit_element(&r->lattice, d.kind))
            n--;
        if (!n) continue;
        d.site = (u8)site;
        if (!settle(&d, s, xy, f, SITE[site])) return ATOMDL_EARG;
        if (!found++ || off_centre(&d, x, y) < off_centre(&best, x, y))
            best = d;
    }
    if (found) *defect = best;
    return found ? ATOMDL_OK : ATOMDL_EARG;
}

/* The index at u, 0..1, of the way through n weights. */
static int weighted_index(const double *weight, int n, double u)
{
    double sum = 0;
    int last = 0;
    for (int i = 0; i < n; i++) sum += weight[i];
    u *= sum;
    for (int i = 0; i < n; i++) {
        if (!(weight[i] > 0)) continue;
        last = i;
        if ((u -= weight[i]) < 0) break;
    }
    return last;
}

static int drawing_sound(const atomdl_drawing *how)
{
    int some = 0;
    for (int i = 0; i < ATOMDL_DEFECTS; i++) {
        if (!(how->weight[i] >= 0 && how->weight[i] <= 1e6f)) return 0;
        some |= how->weight[i] > 0;
    }
    for (int i = 0; i < 3; i++)
        if (!(how->jitter[i] >= 0 && how->jitter[i] <= 1)) return 0;
    return some && how->apart >= 0 && how->apart <= 1e6 && how->nearer >= 0
        && how->nearer <= 1e6 && how->fraction >= 0 && how->fraction <= 1
        && how->scale_sd >= 0 && how->scale_sd <= 1;
}

static int crowded(const atomdl_defect *list, u32 n, u32 but,
                   const atomdl_defect *d, double apart)
{
    for (u32 i = 0; i < n; i++)
        if (i != but && off_centre(&list[i], d->x, d->y) < apart * apart)
            return 1;
    return 0;
}

/* A random place in the field for a defect; 0: not this time. */
static int throw_defect(atomdl_defect *d, const atomdl_structure *s,
                        atomdl_rng *rng)
{
    double x = s->w * atomdl_rng_uniform64(rng);
    double y = s->h * atomdl_rng_uniform64(rng);
    d->operation = (u8)atomdl_rng_below(rng, 12);
    u32 i;
    for (i = 0; i < s->regions; i++) {
        d->region = (u8)i;
        if (on_side(&s->region[i], x, y)) break;
    }
    return i < s->regions && !atomdl_defect_locate(d, s, x, y)
        && inside(s, d->x, d->y, 0) && on_side(&s->region[i], d->x, d->y);
}

/* Random offsets of the silicon atoms from number `from` on. */
static void jitter_silicon(atomdl_structure *s, u32 from, int kind,
                           const atomdl_drawing *how, atomdl_rng *rng)
{
    double sd = how->jitter[MOTIFS[kind].dimer];
    float common[2], own[2];
    atomdl_rng_normal(rng, common, 2);
    for (u32 i = from; i < s->atoms; i++) {
        if (s->atom[i].role != ATOMDL_ROLE_DOPANT) continue;
        atomdl_rng_normal(rng, own, 2);
        s->atom[i].x += how->jitter[2] * (double)common[0]
            + sd * (double)own[0];
        s->atom[i].y += how->jitter[2] * (double)common[1]
            + sd * (double)own[1];
    }
}

/* One defect, 20 trials; 1 when placed. */
static int draw_one(atomdl_structure *s, const atomdl_drawing *how,
                    const atomdl_motifs *motifs, atomdl_rng *rng)
{
    atomdl_defect d = {.element = how->element};
    double weight[ATOMDL_DEFECTS];
    u32 from = s->atoms;
    for (int i = 0; i < ATOMDL_DEFECTS; i++) weight[i] = (double)how->weight[i];
    d.kind = (u8)weighted_index(weight, ATOMDL_DEFECTS,
                                atomdl_rng_uniform64(rng));
    float g;
    atomdl_rng_normal(rng, &g, 1);
    g = 1 + (float)how->scale_sd * g;
    d.scale = g < 0.6f ? 0.6f : g > 1.4f ? 1.4f : g;
    for (int trial = 0; trial < 20; trial++) {
        int near = atomdl_rng_uniform64(rng) < how->fraction;
        if (!throw_defect(&d, s, rng)
            || crowded(s->defect, s->defects, NONE, &d,
                       near ? how->nearer : how->apart)
            || atomdl_defect_place(s, &d, motifs))
            continue;
        if (d.kind < ATOMDL_MOTIFS)
            jitter_silicon(s, from, d.kind, how, rng);
        return 1;
    }
    return 0;
}

int atomdl_defects_draw(atomdl_structure *s, u32 *drawn, u32 n,
                        const atomdl_drawing *how, const atomdl_motifs *motifs,
                        atomdl_rng *rng)
{
    u32 done = 0;
    if (drawn) *drawn = 0;
    if (n && !drawing_sound(how)) return ATOMDL_EARG;
    if (!s->atom || !s->column || !s->defect) return ATOMDL_OK;
    for (; n > 0; n--) {
        if (s->defects == s->room.defects) return ATOMDL_EMEM;
        done += (u32)draw_one(s, how, motifs, rng);
    }
    if (drawn) *drawn = done;
    return ATOMDL_OK;
}

/* Columns in the order of the regions' grids. */
int atomdl_defects_scatter(atomdl_structure *s, int kind, int element,
                           double fraction, int region, atomdl_rng *rng)
{
    if (kind < ATOMDL_MOTIFS || kind >= ATOMDL_DEFECTS || element < 0
        || element > ATOMDL_ELEMENTS || !(fraction >= 0 && fraction <= 1))
        return ATOMDL_EARG;
    if (!s->atom || !s->column || !s->defect) return ATOMDL_OK;
    int row = kind - ATOMDL_MOTIFS, need = EDITS[row].remove + EDITS[row].turn;
    atomdl_defect d = {.kind = (u8)kind, .element = (u8)element, .scale = 1};
    for (u32 k = 0; k < s->regions; k++) {
        const atomdl_region *r = &s->region[k];
        int z = edit_element(&r->lattice, kind);
        if ((region >= 0 && (int)k != region) || !z || !r->grid) continue;
        d.region = (u8)k;
        for (int i = 0; i < r->ni * r->nj * r->sites; i++) {
            u32 c = r->grid[i];
            if (!c || s->column[c - 1].count == GONE
                || s->column[c - 1].defect || !nth_atom(s, c, z, need - 1, 0))
                continue;
            d.operation = (u8)atomdl_rng_below(rng, 12);
            if (!(atomdl_rng_uniform64(rng) < fraction)) continue;
            d.site = (u8)(i % r->sites);
            d.i = r->i0 + i / r->sites % r->ni;
            d.j = r->j0 + i / r->sites / r->ni;
            if (atomdl_defect_place(s, &d, NULL) == ATOMDL_EMEM)
                return ATOMDL_EMEM;
        }
    }
    return ATOMDL_OK;
}

/* ---------- Text: words and numbers --------------------------------------- */

static int digit(char c)
{
    return c >= '0' && c <= '9';
}

static words words_of(const char *text)
{
    return (words){text, text_length(text)};
}

static int words_left(words text)
{
    words w;
    return take_word(&w, &text);
}

/* out(size) <- the word in small letters (fold) or as it is; 0: too long */
static int copy_word(char *out, size_t size, words w, int fold)
{
    memset(out, 0, size);
    if (w.n >= size) return 0;
    for (size_t i = 0; i < w.n; i++)
        out[i] = (char)(fold && w.s[i] >= 'A' && w.s[i] <= 'Z' ? w.s[i] + 32
                                                                : w.s[i]);
    return 1;
}

static double power_of_ten(int n)
{
    double x = 1, ten = 10;
    for (; n > 0; n >>= 1, ten *= ten)
        if (n & 1) x *= ten;
    return x;
}

/* m 10^e: rounded but once where m is below 2^53 and |e| <= 22 */
static double scaled(double m, int e)
{
    return e < 0 ? m / power_of_ten(-e) : m * power_of_ten(e);
}

/* A decimal number, perhaps with a sign and an exponent: exact to the last bit
   up to 15 digits and powers of ten to 22, else within a few ulp. 0:
   malformed. */
static int parse_number(double *x, words w)
{
    int negative = w.n && *w.s == '-', power, e = 0;
    u64 m;
    if (w.n > 64) return 0;
    size_t i = w.n && (*w.s == '-' || *w.s == '+'), from = i;
    while (i < w.n && w.s[i] != 'e' && w.s[i] != 'E') i++;
    if (!atomdl_decimal_scan(&m, &power, w.s + from, i - from)) return 0;
    if (i < w.n) {
        int minus = ++i < w.n && w.s[i] == '-';
        i += i < w.n && (w.s[i] == '-' || w.s[i] == '+');
        if (i == w.n) return 0;
        for (; i < w.n && digit(w.s[i]); i++)
            e = e < 10000 ? 10 * e + (w.s[i] - '0') : e;
        power += minus ? -e : e;
    }
    if (i < w.n || (m && (power > 280 || power < -280))) return 0;
    *x = m ? scaled((double)m, power) : 0;
    if (negative) *x = -*x;
    return 1;
}

/* Of a longer number than 15 digits the rest is rounded off, so that what is
   written reads back as the same value. 0: malformed or beyond 1e20. */
static int read_number(double *v, words w)
{
    double x;
    if (!parse_number(&x, w) || !(absolute(x) < 1e20)) return 0;
    double a = absolute(x);
    int e = -22; /* of the first digit, then of the last */
    while (e < 22 && scaled(1, e + 1) <= a) e++;
    e = a > 0 ? most_int(e - 14, -22) : 0;
    a = scaled(atomdl_floor(scaled(a, -e) + 0.5), e);
    *v = (x < 0 ? -a : a) + 0.0; /* no -0 */
    return 1;
}

/* A..B; 0: not so */
static int read_range(double *a, double *b, words w)
{
    size_t i = 0;
    while (i + 1 < w.n && !(w.s[i] == '.' && w.s[i + 1] == '.')) i++;
    return i + 1 < w.n && read_number(a, (words){w.s, i})
           && read_number(b, (words){w.s + i + 2, w.n - i - 2});
}

/* n numbers; 0: not so */
static int take_numbers(double *v, int n, words *text)
{
    words w;
    for (; n > 0; n--)
        if (!take_word(&w, text) || !read_number(v++, w)) return 0;
    return 1;
}

/* Text that is being written: cut at size, counted and digested in full. */
typedef struct {
    char *text;
    size_t size, n;
    u64 digest;
    const struct recipe_key *key; /* what is written: entry i of this key */
    int i;
} text_sink;

static void write_words(text_sink *out, words w)
{
    out->digest = atomdl_digest_bytes(out->digest, w.s, w.n);
    for (; w.n; w.n--, w.s++, out->n++)
        if (out->n + 1 < out->size) out->text[out->n] = *w.s;
}

static void write_string(text_sink *out, const char *s)
{
    write_words(out, words_of(s));
}

static void write_strings(text_sink *out, const char *a, const char *b,
                        const char *c)
{
    write_string(out, a);
    write_string(out, b);
    write_string(out, c);
}

/* The shortest text that reads back as v (single: as the same float), within
   what read_number gives. A float
   just below a power of ten gets a 0 more: it did when the recipes of the
   weights were published, and their digests hold that text. before: what stands
   before it. */
static void write_number(text_sink *out, const char *before, double v,
                         int single)
{
    char text[81];
    double a = absolute(v) < 1e-23 ? 0 : least(absolute(v), 1e20);
    int n = atomdl_decimal_write(text, a, single);
    if (a > 1e-22 && a < 1 && a < scaled(1, 2 - n)) text[n++] = '0';
    write_string(out, before);
    if (v < 0) write_string(out, "-");
    write_words(out, (words){text, (size_t)n});
}

static void write_range(text_sink *out, const char *before, double low,
                        double high, int single)
{
    write_number(out, before, low, single);
    write_number(out, "..", high, single);
}

/* ---------- XYZ files ----------------------------------------------------- */

enum { XYZ_MOST = 1 << 24, XYZ_SHORTEST = 8 }; /* atoms; bytes: "C 0 0 0\n" */

static int xyz_fault(atomdl_xyz *info, const char *why)
{
    info->why = why;
    info->atoms = 0;
    return ATOMDL_EFILE;
}

/* The next line, empty past the end; 0: there is none. */
static int next_line(words *line, words *rest, atomdl_xyz *info)
{
    int some = rest->n > 0;
    info->line++;
    split(line, rest, rest, '\n');
    return some;
}

/* The value of key="..." or key=... in a comment line, empty: not there. */
static words comment_value(words line, const char *key)
{
    size_t n = text_length(key);
    words value, after;
    for (size_t i = 0; i + n <= line.n; i++) {
        if ((i && !blank(line.s[i - 1]))
            || !same_word((words){line.s + i, n}, key))
            continue;
        words rest = {line.s + i + n, line.n - i - n};
        if (rest.n && (*rest.s == '"' || *rest.s == '\''))
            split(&value, &after, &(words){rest.s + 1, rest.n - 1}, *rest.s);
        else if (!rest.n || blank(*rest.s) || !take_word(&value, &rest))
            value = (words){rest.s, 0};
        return value;
    }
    return (words){line.s, 0};
}

/* Nine numbers. */
static int read_cell(double cell[9], words text)
{
    words w;
    for (int i = 0; i < 9; i++)
        if (!take_word(&w, &text) || !parse_number(&cell[i], w)
            || absolute(cell[i]) > 1e6)
            return 0;
    return !words_left(text);
}

/* Columns of the symbol and of x from "species:S:1:pos:R:3:..."; 0: bad. */
static int read_properties(int column[2], words text)
{
    int at = 0;
    column[0] = column[1] = -1;
    while (text.n) {
        words name, number;
        double width;
        split(&name, &text, &text, ':');
        if (text.n < 3 || text.s[1] != ':') return 0;
        split(&number, &text, &(words){text.s + 2, text.n - 2}, ':');
        if (!parse_number(&width, number) || !(width >= 1 && width <= 64)
            || width != (double)(int)width)
            return 0;
        if (same_word(name, "species")) column[0] = width == 1 ? at : -1;
        if (same_word(name, "Z") && column[0] < 0) column[0] = at;
        if (same_word(name, "pos")) column[1] = width == 3 ? at : -1;
        at += (int)width;
        if (at > 256) return 0;
    }
    return column[0] >= 0 && column[1] >= 0;
}

static int read_comment(atomdl_xyz *info, int column[2], words line)
{
    words cell = comment_value(line, "Lattice=");
    words properties = comment_value(line, "Properties=");
    column[0] = 0;
    column[1] = 1;
    if (cell.n && !read_cell(info->cell, cell))
        return xyz_fault(info, "Lattice needs nine numbers");
    if (properties.n && !read_properties(column, properties))
        return xyz_fault(info, "Properties need species:S:1 and pos:R:3");
    return ATOMDL_OK;
}

static int read_element(words w)
{
    double z;
    if (!w.n || !digit(*w.s)) return atomdl_element(w.s, w.n);
    return parse_number(&z, w) && z >= 1 && z <= ATOMDL_ELEMENTS
           && z == (double)(int)z ? (int)z : 0;
}

static int read_atom(atomdl_atom *a, const int column[2], words line,
                     atomdl_xyz *info)
{
    double p[3] = {0, 0, 0};
    words w;
    int z = 0;
    for (int i = 0; i <= most_int(column[0], column[1] + 2); i++) {
        int c = i - column[1];
        if (!take_word(&w, &line))
            return xyz_fault(info, "a value is missing");
        if (i == column[0] && !(z = read_element(w)))
            return xyz_fault(info, "unknown element");
        if (c >= 0 && c < 3
            && (!parse_number(&p[c], w) || absolute(p[c]) > 1e6))
            return xyz_fault(info, "not a coordinate");
    }
    *a = (atomdl_atom){p[0], p[1], p[2], 1, (u8)z, 0, 0, NONE};
    return ATOMDL_OK;
}

static void extend(atomdl_xyz *info, const atomdl_atom *a, int first)
{
    const double p[3] = {a->x, a->y, a->z};
    for (int c = 0; c < 3; c++) {
        if (first || p[c] < info->low[c]) info->low[c] = p[c];
        if (first || p[c] > info->high[c]) info->high[c] = p[c];
    }
}

/* info->line counts the lines as they are read, so that it is right where one
   is at fault. */
int atomdl_xyz_read(atomdl_xyz *info, atomdl_atom *atom, const char *text,
                    size_t size)
{
    words rest = {text, size}, line, w;
    double n;
    memset(info, 0, sizeof *info);
    info->why = "";
    next_line(&line, &rest, info);
    if (!take_word(&w, &line) || !parse_number(&n, w) || !digit(*w.s)
        || n < 1 || n != atomdl_floor(n))
        return xyz_fault(info, "not a number of atoms");
    if (words_left(line))
        return xyz_fault(info, "more than a number of atoms");
    if (n > XYZ_MOST || n > (double)(rest.n + 1) / XYZ_SHORTEST + 1)
        return xyz_fault(info, "more atoms than the file can hold");
    int column[2];
    next_line(&line, &rest, info);
    if (read_comment(info, column, line)) return ATOMDL_EFILE;
    for (u32 i = 0; i < (u32)n; i++) {
        atomdl_atom a;
        if (!next_line(&line, &rest, info))
            return xyz_fault(info, "the file ends early");
        if (read_atom(&a, column, line, info)) return ATOMDL_EFILE;
        extend(info, &a, i == 0);
        if (atom) atom[i] = a;
    }
    info->atoms = (u32)n;
    info->line = 0;
    return ATOMDL_OK;
}

/* Column + 1 of another atom nearer than width in projection, 0: none. */
static u32 shared_column(const atomdl_structure *s, const buckets *b, double x,
                         double y, double width)
{
    vicinity v = around(b, x, y, width);
    u32 k;
    while ((k = next_around(b, &v)) != 0) {
        double dx = s->column[k - 1].x - x, dy = s->column[k - 1].y - y;
        if (dx * dx + dy * dy < width * width) break;
    }
    return k;
}

/* Columns are made as atoms come that share none. */
int atomdl_structure_atoms(atomdl_structure *s, const atomdl_atom *atom, u32 n,
                           double dx, double dy, double width,
                           atomdl_arena *arena)
{
    size_t used = arena->used;
    if (!(width >= 0 && width <= 100)) return ATOMDL_EARG;
    buckets b;
    int status = buckets_new(&b, s, s->room.columns, most(width, 2), arena);
    for (u32 i = 0; i < n && !status && b.head && s->atom; i++) {
        double x = atom[i].x + dx, y = atom[i].y + dy;
        if (!inside(s, x, y, s->margin)) continue;
        u32 c = shared_column(s, &b, x, y, width);
        if (!c && add_column(s, x, y, 0, 255)) {
            c = s->columns;
            bucket_put(&b, c - 1, x, y);
        }
        if (!c || !add_atom(s, &(atomdl_atom){
                x, y, atom[i].z, atom[i].weight, atom[i].element,
                ATOMDL_ROLE_LATTICE, 0, c - 1}))
            status = ATOMDL_EMEM;
    }
    arena->used = used;
    return status;
}

/* ---------- Labels -------------------------------------------------------- */

static int class_of(const atomdl_structure *s, int region)
{
    return region < (int)s->regions ? s->region[region].class_id : ATOMDL_ANY;
}

/* Composition of a rule's text, as the columns hold it; 0: malformed. */
static int parse_composition(atomdl_column *c, const char *text)
{
    const char *end = text;
    memset(c, 0, sizeof *c);
    if (same_text(text, "vacancy")) return 1;
    while (*end) {
        const char *start = end++;
        while (*end >= 'a' && *end <= 'z') end++;
        int n = 0, z = atomdl_element(start, (size_t)(end - start));
        for (; digit(*end) && n < 255; end++) n = 10 * n + *end - '0';
        if (!z || n >= GONE || (*end && *end != '+')) return 0;
        for (n += n == 0; n > 0; n--)
            if (!column_count(c, z)) return 0;
        end += *end == '+';
    }
    return c->count > 0;
}

static int same_composition(const atomdl_column *a, const atomdl_column *b)
{
    int same = a->count == b->count;
    for (int i = 0; i < ATOMDL_SPECIES; i++)
        same &= a->element[i] == b->element[i] && a->number[i] == b->number[i];
    return same;
}

/* A thing that a rule may match: an atom, a column or a defect. */
typedef struct {
    double p[2];
    int hit, region;
    u32 defect; /* index + 1 of the one that it is in, 0: none */
} centre;

/* Number k of what a rule is about; hit: it matches, but for region and
   defect. */
static centre centre_at(const atomdl_structure *s, const atomdl_rule *rule,
                        const atomdl_column *want, u32 k)
{
    if (rule->what == ATOMDL_LABEL_ATOM) {
        const atomdl_atom *a = &s->atom[k];
        return (centre){{a->x, a->y}, a->role != ATOMDL_ROLE_CONTAMINATION
            && (rule->element == ATOMDL_ANY || a->element == rule->element),
            region_of(s, a), a->defect};
    }
    if (rule->what == ATOMDL_LABEL_COLUMN) {
        const atomdl_column *c = &s->column[k];
        return (centre){{c->x, c->y},
            (rule->site == ATOMDL_ANY || c->site == rule->site)
            && (!rule->text[0] || same_composition(c, want)), c->region,
            c->defect};
    }
    const atomdl_defect *d = &s->defect[k];
    return (centre){{d->x, d->y}, 1, d->region, k + 1};
}

/* The next centre that a rule matches, from index *i on; 0: no more. */
static int next_centre(double p[2], u32 *i, const atomdl_structure *s,
                       const atomdl_rule *rule, const atomdl_column *want)
{
    u32 n = rule->what == ATOMDL_LABEL_ATOM ? s->atoms
          : rule->what == ATOMDL_LABEL_COLUMN ? s->columns : s->defects;
    while (*i < n) {
        centre c = centre_at(s, rule, want, (*i)++);
        memcpy(p, c.p, sizeof c.p);
        if (c.hit && (rule->region == ATOMDL_ANY
                      || class_of(s, c.region) == rule->region)
            && (rule->kind == ATOMDL_ANY
                || (c.defect && s->defect[c.defect - 1].kind == rule->kind)))
            return 1;
    }
    return 0;
}

static int rule_sound(const atomdl_rule *rule, atomdl_column *want)
{
    size_t n = 0;
    if (rule->what > ATOMDL_LABEL_THICKNESS) return 0;
    if (rule->what < ATOMDL_LABEL_REGION
        && !(rule->radius >= 0 && rule->radius <= 1000)) return 0;
    while (n < sizeof rule->text && rule->text[n]) n++;
    if (n == sizeof rule->text) return 0;
    return rule->what != ATOMDL_LABEL_COLUMN || !n
        || parse_composition(want, rule->text);
}

/* The pixels from low to high [A] of one axis of n. */
static void pixel_range(int *from, int *to, double low, double high,
                        double pixel, int n)
{
    double a = atomdl_floor(low / pixel - 0.5) + 1;
    double b = atomdl_floor(high / pixel - 0.5);
    *from = !(a > 0) ? 0 : a > n ? n : (int)a;
    *to = !(b >= 0) ? -1 : b >= n ? n - 1 : (int)b;
}

static void paint_disc(u8 *label, const atomdl_label_grid *g, const double p[2],
                       const atomdl_rule *rule)
{
    double radius = (double)rule->radius;
    int x0, x1, y0, y1;
    pixel_range(&x0, &x1, p[0] - radius, p[0] + radius, g->pixel, g->w);
    pixel_range(&y0, &y1, p[1] - radius, p[1] + radius, g->pixel, g->h);
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
            const double d[2] = {(x + 0.5) * g->pixel - p[0],
                                 (y + 0.5) * g->pixel - p[1]};
            if (dot2(d, d) <= radius * radius)
                label[(size_t)y * (size_t)g->w + (size_t)x] = rule->class_id;
        }
}

/* Does a region or thickness rule hold at (x, y)? */
static int rule_holds(const atomdl_rule *rule, const atomdl_structure *s,
                      const atomdl_clouds *clouds, double x, double y)
{
    if (rule->what == ATOMDL_LABEL_THICKNESS) {
        double t = clouds ? atomdl_cloud_thickness(clouds->cloud, clouds->n, x,
                                                   y) : 0;
        return t > (double)rule->low && t <= (double)rule->high;
    }
    for (u32 i = 0; i < s->regions; i++)
        if ((rule->region == ATOMDL_ANY
             || s->region[i].class_id == rule->region)
            && on_side(&s->region[i], x, y))
            return 1;
    return 0;
}

static void paint_field(u8 *label, const atomdl_label_grid *g,
                        const atomdl_structure *s, const atomdl_rule *rule,
                        const atomdl_clouds *clouds)
{
    for (int y = 0; y < g->h; y++)
        for (int x = 0; x < g->w; x++)
            if (rule_holds(rule, s, clouds, (x + 0.5) * g->pixel,
                           (y + 0.5) * g->pixel))
                label[(size_t)y * (size_t)g->w + (size_t)x] = rule->class_id;
}

static int grid_sound(const atomdl_label_grid *g)
{
    return g->w >= 1 && g->h >= 1 && g->w <= ATOMDL_IMAGE_MAX
        && g->h <= ATOMDL_IMAGE_MAX && g->pixel >= 1e-4 && g->pixel <= 1e4;
}

int atomdl_label_paint(u8 *label, const atomdl_label_grid *grid,
                       const atomdl_structure *s, const atomdl_rule *rule,
                       int rules, const atomdl_clouds *clouds)
{
    if (!grid_sound(grid)) return ATOMDL_EARG;
    atomdl_column want;
    double p[2];
    for (; rules > 0; rules--, rule++) {
        if (!rule_sound(rule, &want)) return ATOMDL_EARG;
        if (!s->atom || !label) continue;
        if (rule->what >= ATOMDL_LABEL_REGION)
            paint_field(label, grid, s, rule, clouds);
        else
            for (u32 at = 0; next_centre(p, &at, s, rule, &want);)
                paint_disc(label, grid, p, rule);
    }
    return ATOMDL_OK;
}

/* ---------- Movies -------------------------------------------------------- */

static int dynamics_sound(const atomdl_dynamics *how)
{
    if (how->states < 2 || how->states > ATOMDL_STATES
        || !(how->apart >= 0 && how->apart <= 1e6)) return 0;
    for (int i = 0; i < how->states; i++) {
        double sum = 0;
        if (i && how->kind[i] >= ATOMDL_DEFECTS) return 0;
        if (i && !(how->hop[i] >= 0 && how->hop[i] <= 1
                   && how->turn[i] >= 0 && how->turn[i] <= 1)) return 0;
        for (int k = 0; k < how->states; k++) {
            if (k == i) continue;
            if (!(how->rate[i][k] >= 0 && how->rate[i][k] <= 1e6)) return 0;
            sum += how->rate[i][k];
        }
        if (i && sum > 1) return 0;
    }
    return 1;
}

static int state_of(const atomdl_dynamics *how, int kind)
{
    for (int i = 1; i < how->states; i++)
        if (how->kind[i] == kind) return i;
    return 0;
}

/* The state after one frame in state i. */
static int next_state(const atomdl_dynamics *how, int i, double u)
{
    for (int k = 0; k < how->states; k++) {
        if (k == i) continue;
        u -= how->rate[i][k];
        if (u < 0) return k;
    }
    return i;
}

/* To a neighbouring cell or turned, when there is room; 0: blocked. */
static int try_move(atomdl_movie *m, u32 at, int hop, u32 way,
                    const atomdl_dynamics *how, const atomdl_structure *s)
{
    static const signed char CELL[6][2] = {{1, 0}, {1, 1}, {0, 1},
                                           {-1, 0}, {-1, -1}, {0, -1}};
    atomdl_defect d = m->defect[at];
    if (hop) {
        d.i += CELL[way][0];
        d.j += CELL[way][1];
    } else if (d.kind < ATOMDL_MOTIFS) {
        d.operation = (u8)(d.operation / 6 * 6
                           + (d.operation % 6 + (way & 1 ? 1 : 5)) % 6);
    } else {
        d.operation = (u8)((d.operation + (way & 1 ? 2 : 10)) % 12);
    }
    if (!defect_geometry(&d, s) || !inside(s, d.x, d.y, 0)
        || !on_side(&s->region[d.region], d.x, d.y)
        || crowded(m->defect, m->defects, at, &d, how->apart))
        return 0;
    m->defect[at] = d;
    return 1;
}

static void move_defect(atomdl_movie *m, u32 at, const atomdl_dynamics *how,
                        const atomdl_structure *s, atomdl_rng *rng)
{
    int state = state_of(how, m->defect[at].kind);
    double hop = atomdl_rng_uniform64(rng), turn = atomdl_rng_uniform64(rng);
    u32 way = atomdl_rng_below(rng, 6);
    for (int hops = 1; hops >= 0; hops--) {
        if (hops ? hop >= how->hop[state] : turn >= how->turn[state]) continue;
        int done = try_move(m, at, hops, way, how, s);
        (hops ? m->events.hops : m->events.turns)[state] += (u32)done;
        m->events.blocked += !done;
    }
}

/* A new defect, 20 trials; 0: no place, or no room in the list. */
static int give_birth(atomdl_movie *m, int state, const atomdl_dynamics *how,
                      const atomdl_structure *s, atomdl_rng *rng)
{
    atomdl_defect d = {.kind = how->kind[state], .element = how->element,
                       .scale = 1};
    for (int trial = 0; trial < 20; trial++) {
        if (!throw_defect(&d, s, rng)
            || crowded(m->defect, m->defects, NONE, &d, how->apart))
            continue;
        if (m->defects == m->max) return 0;
        d.id = m->next_id++;
        m->defect[m->defects++] = d;
        return 1;
    }
    return 0;
}

/* Changes of kind and deaths first, then moves, then births. */
int atomdl_movie_step(atomdl_movie *m, const atomdl_dynamics *how,
                      const atomdl_structure *s, atomdl_rng *rng)
{
    u32 kept = 0;
    if (!dynamics_sound(how) || m->defects > m->max) return ATOMDL_EARG;
    for (u32 i = 0; i < m->defects; i++)
        if (!state_of(how, m->defect[i].kind)
            || !defect_geometry(&m->defect[i], s))
            return ATOMDL_EARG;
    for (u32 i = 0; i < m->defects; i++) {
        atomdl_defect d = m->defect[i];
        int state = state_of(how, d.kind);
        int next = next_state(how, state, atomdl_rng_uniform64(rng));
        m->events.change[state][next]++;
        if (!next) continue;
        d.kind = how->kind[next];
        m->defect[kept++] = d;
    }
    m->defects = kept;
    for (u32 i = 0; i < m->defects; i++) {
        (void)defect_geometry(&m->defect[i], s);
        move_defect(m, i, how, s, rng);
    }
    for (int state = 1; state < how->states; state++)
        for (u32 born = atomdl_rng_poisson(rng, how->rate[0][state]); born > 0;
             born--) {
            int done = give_birth(m, state, how, s, rng);
            m->events.change[0][state] += (u32)done;
            m->events.blocked += !done;
        }
    return ATOMDL_OK;
}

/* ---------- Images: optics ------------------------------------------------ */

static const double FWHM = 0x1.2d6abe44afc43p+1; /* of sigma: 2 sqrt(2 ln 2) */

/* NaN is in no range */
static int in_range(double x, double least, double most)
{
    return x >= least && x <= most;
}

/* n numbers, none beyond most or NaN */
static int all_within(const double *v, int n, double most)
{
    while (n > 0 && in_range(*v, -most, most)) n--, v++;
    return n == 0;
}

double atomdl_wavelength(double kv)
{
    return 12.3984244 / atomdl_sqrt(kv * (2 * 510.99906 + kv));
}

/* The phase of an electron's wave per projected potential, rad/(V A). */
static double interaction(double kv)
{
    return 2 * PI / (atomdl_wavelength(kv) * kv * 1e3)
           * (510.99906 + kv) / (2 * 510.99906 + kv);
}

/* A microscope is a row: its name, model, voltage, convergence, detector and
   source. */
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
    for (size_t i = 0; i < sizeof PRESET / sizeof *PRESET; i++) {
        if (!same_text(name, PRESET[i].name)) continue;
        *optics = (atomdl_optics){
            .model = PRESET[i].model, .stack = 1, .kv = PRESET[i].kv,
            .convergence = PRESET[i].convergence, .inner = PRESET[i].inner,
            .outer = PRESET[i].outer, .source = PRESET[i].source,
            .channelling = PRESET[i].model == ATOMDL_INCOHERENT,
            .fwhm = 1.1, .exponent = 1.64, .carbon = 1};
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
    for (int i = 0; i < ATOMDL_ABERRATIONS; i++)
        if (!all_within(o->aberration[i], 2, 1e11)) return 0;
    return in_range(o->kv, 10, 1000) && in_range(o->convergence, 0.1, 200)
           && in_range(o->inner, 0, 1000) && in_range(o->outer, 0, 1000)
           && o->inner < o->outer && in_range(o->defocus, -1e6, 1e6)
           && in_range(o->c3, -1e10, 1e10) && in_range(o->c5, -1e12, 1e12)
           && in_range(o->spread, 0, 1e5) && in_range(o->source, 0, 20);
}

int atomdl_optics_check(const atomdl_optics *optics)
{
    int ok = in_range(optics->stack, 0.1, 10)
             && in_range(optics->channelling, 0, 4)
             && (optics->channelling == 0 || instrument_sound(optics));
    for (int i = 0; i < ATOMDL_OVERRIDES; i++)
        ok &= in_range(optics->z[i], 0, 118)
              && (!optics->z[i] || in_range(optics->ratio[i], 0, 1e4));
    if (optics->model == ATOMDL_GAUSSIAN) ok &= gaussian_sound(optics);
    else if (optics->model == ATOMDL_INCOHERENT) ok &= instrument_sound(optics);
    else ok = 0;
    return ok ? ATOMDL_OK : ATOMDL_EARG;
}

/* ---------- Images: cross-sections ----------------------------------------

   The table of METHOD B.4, A^2; tests/test_imaging.c has the quadrature. A
   detector is a row of ANNULUS and a column of SECTION, an element a row of
   SECTION (rising in Z). */

enum { SECTIONS = 10, ANNULI = 6 };

static const struct {
    double kv, inner, outer;
} ANNULUS[ANNULI] = {{60, 86, 200}, {60, 54, 200}, {80, 40, 160},
                     {80, 63, 200}, {100, 86, 200}, {200, 60, 180}};

static const struct {
    int z;
    double sigma[ANNULI];
} SECTION[SECTIONS] = {
    {5, {4.100e-4, 9.819e-4, 9.889e-4, 4.673e-4, 1.771e-4, 1.161e-4}},
    {6, {5.740e-4, 1.4374e-3, 1.4653e-3, 6.626e-4, 2.461e-4, 1.617e-4}},
    {7, {7.763e-4, 1.9910e-3, 2.0288e-3, 9.051e-4, 3.276e-4, 2.153e-4}},
    {14, {2.9771e-3, 6.5117e-3, 6.2111e-3, 3.3645e-3, 1.2836e-3, 8.427e-4}},
    {16, {3.6761e-3, 7.9733e-3, 7.7183e-3, 4.1335e-3, 1.6356e-3, 1.0808e-3}},
    {23, {6.602e-3, 1.5508e-2, 1.5400e-2, 7.672e-3, 3.000e-3, 2.027e-3}},
    {34, {1.2837e-2, 2.7301e-2, 2.6381e-2, 1.4866e-2, 5.978e-3, 4.120e-3}},
    {42, {1.6718e-2, 3.5326e-2, 3.5049e-2, 1.9445e-2, 8.326e-3, 5.894e-3}},
    {52, {2.1881e-2, 4.7822e-2, 4.8106e-2, 2.6102e-2, 1.1066e-2, 8.056e-3}},
    {74, {3.2764e-2, 6.7452e-2, 6.8226e-2, 3.9709e-2, 1.7776e-2, 1.3608e-2}}
};

/* A straight line in ln Z, ln sigma; exact at the table's elements. */
static double section_at(int z, int annulus)
{
    int i = 0;
    while (i < SECTIONS - 2 && SECTION[i + 1].z <= z) i++;
    if (SECTION[i].z == z) return SECTION[i].sigma[annulus];
    if (SECTION[i + 1].z == z) return SECTION[i + 1].sigma[annulus];
    double x = atomdl_log((double)SECTION[i].z);
    double y = atomdl_log(SECTION[i].sigma[annulus]);
    double slope = (atomdl_log(SECTION[i + 1].sigma[annulus]) - y)
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

/* From the table of this detector, or of the one whose voltage, and inner angle
   in units of the wavelength, lie nearest, scaled. */
static double section_of(const atomdl_optics *o, int z)
{
    double k = (o->inner > 0.1 ? o->inner : 0.1) / atomdl_wavelength(o->kv);
    double nearest = 0;
    int best = 0;
    if (o->model == ATOMDL_GAUSSIAN)
        return o->carbon * atomdl_pow((double)z / 6, o->exponent);
    for (int i = 0; i < ANNULI; i++) {
        double r = k * atomdl_wavelength(ANNULUS[i].kv) / ANNULUS[i].inner;
        if (o->kv == ANNULUS[i].kv && o->inner == ANNULUS[i].inner
            && o->outer == ANNULUS[i].outer)
            return section_at(z, i);
        if (r > 1) r = 1 / r;
        r = r * least(o->kv / ANNULUS[i].kv, ANNULUS[i].kv / o->kv);
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
    if (z < 1 || z > 118) return 0;
    for (int i = 0; i < ATOMDL_OVERRIDES; i++)
        if (optics->z[i] == z) return optics->ratio[i] * section_of(optics, 6);
    return section_of(optics, z);
}

/* ---------- Images: the probe ---------------------------------------------

   Atoms are drawn as Gaussian stamps of sigma STAMP grid points; the filter is
   transfer(probe) / transfer(stamp). Both have the grid's own period, so that
   their frequencies agree: index i stands for k = i / length. */

static const double STAMP = 1.35;
enum { STAMP_TAPS = 16, BEFORE = 7, /* of a stamp; left of its floor */
       FINEST = 16 };               /* grid points a pixel, along each axis */

static double square(double x)
{
    return x * x;
}

/* At least the modulus of transfer(probe) at |k|. */
static double transfer_bound(const atomdl_optics *o, double k)
{
    double s2 = square(o->fwhm / FWHM) * (1 - o->ellipticity);
    if (o->model == ATOMDL_GAUSSIAN)
        return (1 - o->tail) * atomdl_exp(-2 * PI * PI * s2 * k * k) + o->tail
               * atomdl_exp(-2 * PI * PI * square(o->tail_sigma) * k * k);
    s2 = square(o->source / FWHM);
    double x = k * atomdl_wavelength(o->kv) / (2e-3 * o->convergence);
    return x >= 1 ? 0 : (1 - x) * atomdl_exp(-2 * PI * PI * s2 * k * k);
}

/* The greatest error from the first alias of the stamps, relative. */
static double alias_error(const atomdl_optics *o, double step)
{
    double worst = 0;
    for (int i = 0; i <= 32; i++) {
        double f = i / 64.0;
        worst = most(worst,
                     atomdl_exp(-2 * PI * PI * STAMP * STAMP * (1 - 2 * f))
                         * transfer_bound(o, f / step));
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

/* The grid of a probe: fine enough, and of sizes that can be transformed. */
static int probe_grid(atomdl_probe *p, const atomdl_optics *o, double margin)
{
    if (!(margin > 0)) margin = 4;
    p->over = 1;
    while (p->over < FINEST && alias_error(o, p->pixel / p->over) > 2e-6)
        p->over *= 2;
    double step = p->pixel / p->over;
    if (alias_error(o, step) > 2e-6 || margin / step > 1e5
        || p->w > ATOMDL_IMAGE_MAX / 2 / p->over
        || p->h > ATOMDL_IMAGE_MAX / 2 / p->over)
        return ATOMDL_EARG;
    p->margin = most_int((int)(margin / step) + 1, STAMP_TAPS / 2);
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
    for (int i = 0; i < count; i++) {
        double k = frequency(i, n, length);
        e[i] = factor * atomdl_exp(-a * (k * k));
    }
}

/* filter += factor exp(-(a kx^2 + 2 b kx ky + c ky^2)); x(bins), y(gh) */
static void add_bell(const atomdl_probe *p, double a, double b, double c,
                     double factor, double *x, double *y)
{
    double step = p->pixel / p->over, lx = p->gw * step, ly = p->gh * step;
    bell(x, p->bins, p->gw, lx, a, 1);
    bell(y, p->gh, p->gh, ly, c, factor);
    for (int j = 0; j < p->gh; j++) {
        float *re = p->re + (size_t)j * (size_t)p->bins;
        double ky = frequency(j, p->gh, ly), power = 1;
        double turn = b != 0 ? atomdl_exp(-2 * b * ky / lx) : 1;
        for (int i = 0; i < p->bins; i++, power = power * turn) {
            double v = x[i] * y[j];
            if (v > 0) re[i] = (float)((double)re[i] + v * power);
        }
    }
}

/* The blob, and its tail, over the stamp. */
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
    double a2 = u * u + v * v, zr[7] = {1}, zi[7] = {0};
    for (int n = 1; n < 7; n++) {
        zr[n] = zr[n - 1] * u - zi[n - 1] * v;
        zi[n] = zr[n - 1] * v + zi[n - 1] * u;
    }
    const double powers[3] = {1, a2, a2 * a2};
    double sum = a2 * (-defocus / 2 + a2 * (o->c3 / 4 + a2 * (o->c5 / 6)));
    for (int i = 0; i < ATOMDL_ABERRATIONS; i++) {
        const double *c = o->aberration[i];
        double t = c[0] * zr[TERM[i].n] + c[1] * zi[TERM[i].n];
        sum = sum + powers[TERM[i].power] * t / TERM[i].order;
    }
    return 2 * PI / atomdl_wavelength(o->kv) * sum;
}

/* Scratch of an incoherent probe: its own grid of w x h points has the length
   of the image's but is only as fine as the aperture needs. */
struct aperture {
    int w, h, bins;
    double lx, ly;             /* A */
    float *re, *im;            /* (h, w) wave */
    float *p;                  /* (h, w) intensity */
    float *tr, *ti;            /* (h, bins) its transfer function */
    double *cx, *sx, *cy, *sy; /* (bins), (h): phases of a shift */
    double *ex, *ey;           /* (bins), (h): source size */
    double soft;               /* rad: width of the edge of the pupil */
    double tail;               /* A: of the atoms, see TAIL */
};

/* Twice the aperture in each direction: the intensity has twice the bandwidth
   of the wave. */
static int aperture_new(struct aperture *a, const atomdl_probe *p,
                        const atomdl_optics *o, atomdl_arena *arena)
{
    double step = p->pixel / p->over;
    double most = 4e-3 * o->convergence / atomdl_wavelength(o->kv);
    a->lx = p->gw * step;
    a->ly = p->gh * step;
    if (most * a->lx > 1e5 || most * a->ly > 1e5) return ATOMDL_EARG;
    a->w = atomdl_fft_size((int)(most * a->lx) + 4);
    a->h = atomdl_fft_size((int)(most * a->ly) + 4);
    a->bins = a->w / 2 + 1;
    size_t n = (size_t)a->w * (size_t)a->h;
    size_t m = (size_t)a->h * (size_t)a->bins;
    float **part[] = {&a->re, &a->im, &a->p, &a->tr, &a->ti};
    for (int i = 0; i < 5; i++)
        *part[i] = atomdl_alloc(arena, i < 3 ? n : m, sizeof(float));
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

/* 1 within, 0 beyond, straight over the width of an edge */
static double soft_edge(double angle, double edge, double width)
{
    return most(0, least(1, (edge - angle) / width + 0.5));
}

static double pupil_part(double angle2, double edge, double width)
{
    if (!(width > 0)) return angle2 > square(edge) ? 0 : 1;
    return soft_edge(atomdl_sqrt(angle2), edge, width);
}

/* wave <- exp(-i chi) within the aperture, else 0 */
static void pupil(const struct aperture *a, const atomdl_optics *o,
                  double defocus)
{
    double lambda = atomdl_wavelength(o->kv);
    double edge = o->convergence * 1e-3;
    size_t n = (size_t)a->w * (size_t)a->h;
    memset(a->re, 0, n * sizeof *a->re);
    memset(a->im, 0, n * sizeof *a->im);
    for (int j = 0; j < a->h; j++)
        for (int i = 0; i < a->w; i++) {
            double u = lambda * frequency(i, a->w, a->lx);
            double v = lambda * frequency(j, a->h, a->ly);
            size_t at = (size_t)j * (size_t)a->w + (size_t)i;
            double part = pupil_part(u * u + v * v, edge, a->soft);
            if (!(part > 0)) continue;
            double chi = aberrations(o, defocus, u, v);
            a->re[at] = (float)(part * atomdl_cos(chi));
            a->im[at] = (float)(part * -atomdl_sin(chi));
        }
}

/* p <- intensity of the probe, averaged over the defocus spread */
static int probe_intensity(const struct aperture *a, const atomdl_optics *o,
                     atomdl_arena *arena)
{
    /* Gauss-Hermite: the middle, then a pair at -x and x each */
    static const double X[5] = {0, 0.723551018752838, 1.46855328921667,
                                2.26658058453184, 3.19099320178153};
    static const double W[5] = {
        0.720235215606051, 0.432651559002556, 0.0884745273943766,
        0.00494362427553695, 3.96069772632644e-5};
    size_t n = (size_t)a->w * (size_t)a->h;
    double to_x = o->spread * 0x1.337cc2183b05p-1; /* 1 / (2 sqrt(ln 2)) */
    int points = o->spread > 1 ? 9 : 1;
    if (a->p) memset(a->p, 0, n * sizeof *a->p);
    for (int i = 0; i < points; i++) {
        float weight = (float)W[(i + 1) / 2];
        double x = X[(i + 1) / 2] * (i % 2 ? -1 : 1);
        if (a->p) pupil(a, o, o->defocus + x * to_x);
        int status = atomdl_fft(a->re, a->im, a->w, a->h, 1, arena);
        if (status) return status;
        for (size_t k = 0; a->p && k < n; k++) {
            float q = a->re[k] * a->re[k], r = a->im[k] * a->im[k];
            a->p[k] = a->p[k] + weight * (q + r);
        }
    }
    return ATOMDL_OK;
}

/* Phase tables of a shift by (x, y). */
static void shift_tables(const struct aperture *a, double x, double y)
{
    for (int i = 0; i < a->bins; i++) {
        double t = 2 * PI * (i / a->lx * x);
        a->cx[i] = atomdl_cos(t);
        a->sx[i] = atomdl_sin(t);
    }
    for (int i = 0; i < a->h; i++) {
        double t = 2 * PI * (frequency(i, a->h, a->ly) * y);
        a->cy[i] = atomdl_cos(t);
        a->sy[i] = atomdl_sin(t);
    }
}

/* (re, im) <- bin (i, j) of the transfer function, blurred by e and shifted */
static void shifted_bin(double z[2], const struct aperture *a, int i, int j,
                        double e)
{
    size_t at = (size_t)j * (size_t)a->bins + (size_t)i;
    double c = a->cx[i] * a->cy[j] - a->sx[i] * a->sy[j];
    double s = a->sx[i] * a->cy[j] + a->cx[i] * a->sy[j];
    double tr = (double)a->tr[at], ti = (double)a->ti[at];
    z[0] = e * (tr * c - ti * s);
    z[1] = e * (tr * s + ti * c);
}

/* One step of Newton's method towards the maximum of the blurred probe; the
   greatest step is 0.2 A. Returns 0 where it is not convex. */
static int climb(const struct aperture *a, double *x, double *y)
{
    double gx = 0, gy = 0, hxx = 0, hxy = 0, hyy = 0;
    shift_tables(a, *x, *y);
    for (int j = 0; j < a->h; j++)
        for (int i = 0; i < a->bins; i++) {
            double kx = i / a->lx, ky = frequency(j, a->h, a->ly), z[2];
            shifted_bin(z, a, i, j, a->ex[i] * a->ey[j] * (i ? 2 : 1));
            gx = gx - kx * z[1];
            gy = gy - ky * z[1];
            hxx = hxx - kx * kx * z[0];
            hxy = hxy - kx * ky * z[0];
            hyy = hyy - ky * ky * z[0];
        }
    double det = hxx * hyy - hxy * hxy;
    if (!(det > 0 && hxx < 0)) return 0;
    double dx = (hxy * gy - hyy * gx) / det / (2 * PI);
    double dy = (hxy * gx - hxx * gy) / det / (2 * PI);
    double norm = atomdl_sqrt(dx * dx + dy * dy);
    double part = norm > 0.2 ? 0.2 / norm : 1;
    *x = *x + dx * part;
    *y = *y + dy * part;
    return norm > 1e-5;
}

/* (x, y) <- the brightest point of the blurred probe */
static int brightest(const struct aperture *a, double *x, double *y,
                     atomdl_arena *arena)
{
    size_t n = (size_t)a->w * (size_t)a->h, best = 0;
    size_t m = (size_t)a->h * (size_t)a->bins;
    for (size_t k = 0; a->p && k < m; k++) {
        double e = a->ex[k % (size_t)a->bins] * a->ey[k / (size_t)a->bins];
        a->re[k] = (float)(e * (double)a->tr[k]);
        a->im[k] = (float)(e * (double)a->ti[k]);
    }
    int status = atomdl_fft_real_back(a->p, a->w,
                                      &(atomdl_bins){a->re, a->im, a->bins},
                                      a->w, a->h, arena);
    if (status || !a->p) return status;
    for (size_t k = 1; k < n; k++)
        if (a->p[k] > a->p[best]) best = k;
    *x = frequency((int)(best % (size_t)a->w), a->w, a->w / a->lx);
    *y = frequency((int)(best / (size_t)a->w), a->h, a->h / a->ly);
    for (int i = 0; i < 8 && climb(a, x, y); i++) {}
    return ATOMDL_OK;
}

/* An annular detector sees an atom with tails: its transfer falls as 1 - TAIL k
   lambda / inner angle, for all of them nearly alike (METHOD B.10). */
static const double TAIL = 0.22;

/* filter <- transfer(probe) source(k) exp(i phase) / transfer(stamp) */
static void incoherent_fill(const atomdl_probe *p, const struct aperture *a)
{
    size_t n = (size_t)p->bins * (size_t)p->gh;
    double unit = 1 / (double)a->tr[0], z[2];
    memset(p->re, 0, n * sizeof *p->re);
    memset(p->im, 0, n * sizeof *p->im);
    for (int j = 0; j < a->h; j++) {
        int row = j <= a->h / 2 ? j : p->gh - a->h + j;
        if (row < 0 || row >= p->gh || (j <= a->h / 2 && j > p->gh / 2))
            continue;
        size_t at = (size_t)row * (size_t)p->bins;
        for (int i = 0; i < p->bins && i < a->bins; i++) {
            double k2 = square(i / a->lx) + square(frequency(j, a->h, a->ly));
            double atom = a->tail > 0 ? 1 - a->tail * atomdl_sqrt(k2) : 1;
            shifted_bin(z, a, i, j, unit * a->ex[i] * a->ey[j] * most(0, atom));
            p->re[at + (size_t)i] = (float)z[0];
            p->im[at + (size_t)i] = (float)z[1];
        }
    }
}

/* The transfer function of the aberrated probe, and, where asked, its brightest
   point when blurred by the source; at: 0 before. */
static int source_probe(struct aperture *a, double at[2],
                        const atomdl_probe *p, const atomdl_optics *o,
                        atomdl_arena *arena)
{
    double source = square(o->source / FWHM), c = 2 * PI * PI;
    int status = aperture_new(a, p, o, arena);
    if (!status) status = probe_intensity(a, o, arena);
    if (!status)
        status = atomdl_fft_real(&(atomdl_bins){a->tr, a->ti, a->bins}, a->p,
                                 a->w, a->w, a->h, arena);
    if (!status && a->cx) {
        bell(a->ex, a->bins, a->w, a->lx, c * source, 1);
        bell(a->ey, a->h, a->h, a->ly, c * source, 1);
    }
    if (!status && o->recentre)
        status = brightest(a, &at[0], &at[1], arena);
    return status;
}

/* The aberrated probe, blurred by the source, over the stamp. */
static int incoherent_filter(const atomdl_probe *p, const atomdl_optics *o,
                             atomdl_arena *arena)
{
    double s2 = square(STAMP * (p->pixel / p->over)), at[2] = {0, 0};
    double source = square(o->source / FWHM), c = 2 * PI * PI;
    struct aperture a = {0};
    int status = source_probe(&a, at, p, o, arena);
    if (status || !a.cx) return status;
    bell(a.ex, a.bins, a.w, a.lx, c * (source - s2), 1);
    bell(a.ey, a.h, a.h, a.ly, c * (source - s2), 1 / (2 * PI * s2));
    a.tail = TAIL * o->channelling * atomdl_wavelength(o->kv)
             / (1e-3 * most(1, o->inner));
    shift_tables(&a, at[0], at[1]);
    incoherent_fill(p, &a);
    return ATOMDL_OK;
}

/* Grid and filter; scratch is given back. */
int atomdl_probe_new(atomdl_probe *probe, const atomdl_optics *optics, int w,
                     int h, double pixel, double margin, atomdl_arena *arena)
{
    memset(probe, 0, sizeof *probe);
    if (w < 1 || h < 1 || !in_range(pixel, 1e-3, 10)
        || !in_range(margin, 0, 1e3) || atomdl_optics_check(optics))
        return ATOMDL_EARG;
    probe->w = w;
    probe->h = h;
    probe->pixel = pixel;
    int status = probe_grid(probe, optics, margin);
    if (status) return status;
    size_t n = (size_t)probe->gh * (size_t)probe->bins;
    probe->re = atomdl_alloc(arena, n, sizeof(float));
    probe->im = atomdl_alloc(arena, n, sizeof(float));
    status = atomdl_arena_status(arena);
    if (status) return status;
    size_t used = arena->used;
    status = optics->model == ATOMDL_GAUSSIAN
                 ? gaussian_filter(probe, optics, arena)
                 : incoherent_filter(probe, optics, arena);
    arena->used = used;
    return status;
}

/* ---------- Images: columns (METHOD B.10) ---------------------------------

   Two atoms of one column show together what each shows alone and PAIR / 100
   times twice the geometric mean of that: below the first, the second sees a
   beam that the first has focused, and what they scatter interferes. PAIR holds
   it for a voltage, the detector's inner angle over the aperture, the elements
   of the upper and of the lower atom, and their distance times inner^2 /
   wavelength; made by tests/channel.c. Straight lines in between, the nearest
   beyond. */

enum { PAIR_KV = 2, PAIR_RATIO = 3, PAIR_Z = 4, PAIR_XI = 10 };

static const struct {
    double kv[PAIR_KV], ratio[PAIR_RATIO], z[PAIR_Z], xi[PAIR_XI];
} PAIR_AT = {{60, 200}, {1.5, 2.3, 3.6}, {6, 16, 42, 74},
             {0.05, 0.12, 0.2, 0.3, 0.45, 0.65, 0.9, 1.3, 1.8, 2.6}};

/* Rows by voltage, ratio, upper and lower element. */
static const signed char PAIR[PAIR_KV * PAIR_RATIO * PAIR_Z * PAIR_Z][PAIR_XI] =
{
    {73, 53, 31, 9, -14, -18, -18, -18, -18, -18},
    {67, 50, 30, 10, -10, -14, -14, -14, -14, -14},
    {68, 53, 34, 14, -6, -11, -11, -11, -11, -11},
    {62, 51, 34, 16, -2, -7, -7, -7, -7, -7},
    {69, 50, 30, 9, -12, -16, -16, -16, -16, -16},
    {63, 47, 29, 10, -8, -12, -12, -12, -12, -12},
    {61, 49, 31, 14, -4, -7, -7, -7, -7, -7},
    {54, 47, 31, 16, 1, -3, -3, -3, -3, -3},
    {71, 54, 32, 10, -11, -16, -16, -16, -16, -16},
    {62, 49, 30, 11, -8, -12, -12, -12, -12, -12},
    {55, 48, 31, 12, -5, -9, -9, -9, -9, -9},
    {43, 43, 29, 13, -2, -5, -5, -5, -5, -5},
    {67, 54, 33, 12, -9, -14, -14, -14, -14, -14},
    {57, 48, 30, 11, -7, -11, -11, -11, -11, -11},
    {46, 45, 29, 11, -6, -9, -9, -9, -9, -9},
    {30, 38, 26, 11, -4, -6, -6, -6, -6, -6},
    {55, 47, 28, 7, -14, -23, -16, 0, 0, 0},
    {50, 44, 29, 12, -3, -9, -2, 10, 10, 10},
    {58, 53, 40, 25, 13, 11, 18, 25, 25, 25},
    {56, 54, 44, 33, 25, 25, 31, 33, 33, 33},
    {51, 44, 26, 6, -14, -24, -18, -2, -2, -2},
    {45, 40, 26, 10, -5, -11, -5, 7, 7, 7},
    {49, 46, 34, 20, 8, 6, 14, 23, 23, 23},
    {45, 44, 37, 26, 18, 19, 26, 32, 32, 32},
    {59, 52, 31, 8, -16, -30, -26, -9, -9, -9},
    {50, 45, 29, 11, -8, -18, -13, 2, 2, 2},
    {49, 46, 35, 17, 2, -3, 5, 18, 18, 18},
    {39, 40, 34, 21, 10, 9, 18, 28, 28, 28},
    {60, 55, 34, 11, -16, -32, -30, -13, -13, -13},
    {48, 45, 30, 12, -10, -21, -17, -3, -3, -3},
    {42, 42, 32, 15, -2, -9, -2, 12, 12, 12},
    {28, 31, 28, 16, 4, 1, 10, 21, 21, 21},
    {21, 21, 21, 6, -11, -18, -9, 14, 18, -4},
    {23, 23, 23, 13, 3, 1, 11, 28, 24, 4},
    {38, 38, 38, 30, 26, 30, 46, 56, 39, 18},
    {47, 47, 47, 44, 44, 52, 68, 71, 46, 28},
    {18, 18, 18, 5, -13, -22, -15, 9, 17, -4},
    {19, 19, 19, 10, -2, -5, 3, 21, 22, 3},
    {29, 29, 29, 23, 16, 19, 32, 46, 34, 14},
    {35, 35, 35, 32, 30, 37, 51, 58, 40, 24},
    {29, 29, 29, 8, -20, -34, -31, -1, 19, -4},
    {24, 24, 24, 10, -8, -16, -10, 15, 24, 2},
    {32, 32, 32, 19, 6, 6, 21, 43, 37, 10},
    {32, 32, 32, 24, 19, 24, 42, 58, 42, 17},
    {38, 38, 38, 17, -19, -39, -42, -10, 18, -3},
    {30, 30, 30, 14, -10, -22, -20, 6, 22, 1},
    {33, 33, 33, 19, 0, -3, 8, 35, 36, 6},
    {28, 28, 28, 19, 10, 12, 29, 51, 41, 11},
    {56, 48, 34, 16, -5, -20, -24, -23, -23, -23},
    {53, 48, 36, 21, 3, -11, -16, -16, -16, -16},
    {63, 57, 44, 28, 9, -6, -14, -16, -16, -16},
    {64, 61, 49, 34, 16, 0, -13, -16, -16, -16},
    {49, 43, 30, 13, -6, -20, -22, -21, -21, -21},
    {44, 40, 29, 16, -1, -12, -15, -14, -14, -14},
    {50, 47, 36, 22, 5, -6, -9, -9, -9, -9},
    {50, 48, 39, 27, 12, 1, -3, -4, -4, -4},
    {53, 47, 32, 14, -8, -24, -27, -25, -25, -25},
    {46, 41, 29, 14, -4, -16, -18, -17, -17, -17},
    {51, 47, 35, 19, 1, -10, -11, -10, -10, -10},
    {48, 47, 37, 23, 6, -3, -4, -4, -4, -4},
    {53, 47, 33, 14, -8, -25, -28, -27, -27, -27},
    {44, 41, 29, 14, -5, -18, -21, -20, -20, -20},
    {47, 45, 33, 17, -2, -14, -15, -13, -13, -13},
    {41, 42, 34, 19, 2, -8, -8, -7, -7, -7},
    {23, 23, 20, 9, -4, -12, -9, 6, 12, 1},
    {27, 27, 25, 18, 9, 4, 7, 17, 17, 3},
    {42, 42, 40, 33, 26, 23, 28, 35, 21, -3},
    {53, 53, 52, 48, 43, 42, 47, 47, 23, -8},
    {18, 18, 16, 7, -6, -14, -12, 2, 11, 2},
    {19, 19, 18, 12, 3, -2, 0, 11, 14, 4},
    {30, 30, 29, 23, 16, 13, 17, 27, 21, 4},
    {37, 37, 37, 34, 30, 29, 34, 38, 25, 5},
    {24, 24, 20, 6, -12, -24, -23, -4, 11, 4},
    {20, 20, 18, 9, -3, -11, -9, 6, 14, 5},
    {32, 32, 30, 20, 8, 3, 8, 23, 23, 7},
    {38, 38, 36, 29, 20, 18, 25, 36, 27, 8},
    {28, 28, 23, 8, -13, -29, -30, -10, 10, 6},
    {22, 22, 20, 9, -6, -17, -16, 0, 12, 6},
    {33, 33, 30, 19, 4, -5, 0, 17, 21, 7},
    {36, 36, 34, 26, 15, 10, 16, 30, 26, 7},
    {3, 3, 3, 3, 2, -2, -1, 8, 11, 2},
    {13, 13, 13, 13, 13, 12, 14, 21, 21, 14},
    {33, 33, 33, 33, 33, 34, 40, 46, 41, 31},
    {52, 52, 52, 52, 52, 57, 63, 67, 57, 47},
    {1, 1, 1, 1, 1, -3, -4, 2, 7, 2},
    {6, 6, 6, 6, 7, 7, 7, 12, 14, 10},
    {23, 23, 23, 23, 23, 24, 27, 33, 31, 23},
    {37, 37, 37, 37, 38, 41, 45, 50, 45, 36},
    {-7, -7, -7, -7, -9, -17, -18, -4, 7, -1},
    {-2, -2, -2, -2, -3, -6, -5, 7, 14, 5},
    {15, 15, 15, 15, 14, 12, 18, 31, 31, 18},
    {30, 30, 30, 30, 30, 32, 40, 50, 43, 30},
    {-7, -7, -7, -7, -10, -24, -27, -13, 5, -1},
    {-4, -4, -4, -4, -6, -12, -13, 0, 12, 4},
    {12, 12, 12, 12, 11, 5, 9, 26, 31, 14},
    {26, 26, 26, 26, 25, 23, 31, 46, 42, 24},
};

typedef struct {
    const atomdl_optics *o;
    double unit;                    /* of PAIR_AT.xi: 1/A */
    double pair[PAIR_Z * PAIR_Z][PAIR_XI]; /* PAIR / 100 at the instrument */
} columns_model;

/* Where x lies among n rising places: the one before and, *f, how far on. */
static int between(double *f, const double *at, int n, double x)
{
    int i = 0;
    while (i < n - 2 && x > at[i + 1]) i++;
    *f = most(0, least(1, (x - at[i]) / (at[i + 1] - at[i])));
    return i;
}

/* The table for one instrument; voltages count by their interaction. */
static void pairs_of(columns_model *m)
{
    const atomdl_optics *o = m->o;
    double f, g, kv[PAIR_KV];
    for (int i = 0; i < PAIR_KV; i++) kv[i] = -interaction(PAIR_AT.kv[i]);
    int v = between(&f, kv, PAIR_KV, -interaction(o->kv));
    int r = between(&g, PAIR_AT.ratio, PAIR_RATIO, o->inner / o->convergence);
    const int row = PAIR_Z * PAIR_Z, high = PAIR_RATIO * row;
    m->unit = 1e-6 * o->inner * o->inner / atomdl_wavelength(o->kv);
    for (int i = 0; i < row * PAIR_XI; i++) {
        int k = i % PAIR_XI, n = (v * PAIR_RATIO + r) * row + i / PAIR_XI;
        double a = PAIR[n][k] * (1 - g) + PAIR[n + row][k] * g;
        n += high;
        double b = PAIR[n][k] * (1 - g) + PAIR[n + row][k] * g;
        m->pair[i / PAIR_XI][k] = (a * (1 - f) + b * f) / 100;
    }
}

/* What a pair of atoms of one column shows beyond its sum, in units of twice
   the geometric mean of both. */
static double pair_excess(const columns_model *m, const atomdl_atom *a,
                          const atomdl_atom *b)
{
    const atomdl_atom *high = a->z < b->z ? b : a, *low = a->z < b->z ? a : b;
    double f[3], sum = 0;
    int i = between(&f[0], PAIR_AT.z, PAIR_Z, high->element);
    int j = between(&f[1], PAIR_AT.z, PAIR_Z, low->element);
    int k = between(&f[2], PAIR_AT.xi, PAIR_XI, (high->z - low->z) * m->unit);
    for (int n = 0; n < 4; n++) {
        const double *row = m->pair[(i + n % 2) * PAIR_Z + j + n / 2] + k;
        double weight = (n % 2 ? f[0] : 1 - f[0]) * (n / 2 ? f[1] : 1 - f[1]);
        sum = sum + weight * (row[0] + f[2] * (row[1] - row[0]));
    }
    return sum;
}

enum { STACKED = 15 }; /* atoms of a column that one sees of one another */

/* more += what the pairs of an atom and those before it in the order of the
   columns show, in equal parts: channelling for all, stack for consecutive
   ones. */
static void stack_atom(double *more, const double *weight,
                       const atomdl_atom *atom, const u32 *order, size_t at,
                       const columns_model *m)
{
    const atomdl_atom *b = &atom[order[at]];
    for (size_t i = at; i-- > 0 && at - i <= STACKED
                        && atom[order[i]].column == b->column;) {
        const atomdl_atom *a = &atom[order[i]];
        double x = a->x - b->x, y = a->y - b->y;
        if (!(x * x + y * y < 0.25)) continue;
        double c = i + 1 == at ? m->o->stack - 1 : 0;
        if (m->o->channelling > 0)
            c = c + m->o->channelling * pair_excess(m, a, b);
        double t = most(weight[order[i]] * weight[order[at]], 0);
        t = c * atomdl_sqrt(t);
        more[order[i]] = more[order[i]] + t;
        more[order[at]] = more[order[at]] + t;
    }
}

/* Atoms of one column do not add (METHOD B.10). */
static int stack_columns(double *weight, const atomdl_atom *atom, size_t n,
                         const atomdl_optics *o, atomdl_arena *arena)
{
    double *more = atomdl_alloc(arena, n, sizeof *more); /* first the key */
    u32 *order = atomdl_alloc(arena, n, sizeof *order);
    u32 *scratch = atomdl_alloc(arena, n, sizeof *scratch);
    int status = atomdl_arena_status(arena);
    columns_model m = {.o = o};
    if (status || !more) return status;
    for (size_t i = 0; i < n; i++) more[i] = (double)atom[i].column;
    if (o->channelling > 0) pairs_of(&m);
    status = atomdl_sort(order, more, n, scratch);
    for (size_t i = 0; i < n; i++) more[i] = 0;
    for (size_t i = 1; !status && i < n; i++)
        if (atom[order[i]].column != NONE)
            stack_atom(more, weight, atom, order, i, &m);
    for (size_t i = 0; i < n; i++) weight[i] = weight[i] + more[i];
    return status;
}

/* ---------- Images: atoms ------------------------------------------------- */

struct canvas {
    const atomdl_probe *probe;
    size_t pitch;        /* gw + STAMP_TAPS */
    float *px;           /* (gh + STAMP_TAPS, pitch); point i at column
                            i + BEFORE, what lies beyond gw folded back */
    double bell[STAMP_TAPS];   /* exp(-(i - BEFORE)^2 / 2 STAMP^2) */
};

/* g(STAMP_TAPS) = exp(-(i - BEFORE - f)^2 / 2 STAMP^2), 0 <= f < 1 */
static void stamp_axis(float *g, const struct canvas *c, double f,
                       double weight)
{
    const double v = 1 / (STAMP * STAMP);
    double p = atomdl_exp(-f * (f / 2 + BEFORE) * v), r = atomdl_exp(f * v);
    p = p * weight;
    for (int i = 0; i < STAMP_TAPS; i++, p = p * r)
        g[i] = (float)(c->bell[i] * p);
}

static void stamp(const struct canvas *c, double x, double y, double weight)
{
    const atomdl_probe *p = c->probe;
    double u = (x / p->pixel - 0.5) * p->over + p->margin;
    double v = (y / p->pixel - 0.5) * p->over + p->margin;
    double fu = atomdl_floor(u), fv = atomdl_floor(v);
    if (!(fu >= 0 && fu < p->gw && fv >= 0 && fv < p->gh)) return;
    float gx[STAMP_TAPS];
    stamp_axis(gx, c, u - fu, 1);
    float gy[STAMP_TAPS];
    stamp_axis(gy, c, v - fv, weight);
    for (int j = 0; j < STAMP_TAPS; j++) {
        float *row = c->px + ((size_t)fv + (size_t)j) * c->pitch + (size_t)fu;
        for (int i = 0; i < STAMP_TAPS; i++) {
            float t = gy[j] * gx[i];
            row[i] = row[i] + t;
        }
    }
}

/* Adds the columns and rows beyond the grid to its beginning. */
static void fold(const struct canvas *c)
{
    size_t w = (size_t)c->probe->gw, h = (size_t)c->probe->gh;
    for (float *row = c->px; row < c->px + (h + STAMP_TAPS) * c->pitch;
         row += c->pitch)
        sum_row(row, row + w, STAMP_TAPS);
    for (size_t j = 0; j < STAMP_TAPS; j++)
        sum_row(c->px + j * c->pitch, c->px + (h + j) * c->pitch, w);
}

/* weight(n): cross-section times the atom's own weight */
static void weigh(double *weight, const atomdl_atom *atom, size_t n,
                  const atomdl_optics *o)
{
    double sigma[ATOMDL_ELEMENTS + 1];
    for (int z = 0; z <= ATOMDL_ELEMENTS; z++) sigma[z] = -1;
    for (size_t i = 0; i < n; i++) {
        int z = atom[i].element <= ATOMDL_ELEMENTS ? atom[i].element : 0;
        if (sigma[z] < 0) sigma[z] = atomdl_cross_section(o, z);
        weight[i] = sigma[z] * (double)atom[i].weight;
    }
}

static int atoms_sound(const atomdl_atom *atom, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!in_range(atom[i].x, -1e7, 1e7) || !in_range(atom[i].y, -1e7, 1e7)
            || !in_range((double)atom[i].weight, -1e6, 1e6))
            return 0;
    return 1;
}

static void apply_probe(float *re, float *im, const atomdl_probe *p)
{
    size_t n = (size_t)p->gh * (size_t)p->bins;
    for (size_t i = 0; i < n; i++) {
        float a = re[i] * p->re[i], b = im[i] * p->im[i];
        float c = re[i] * p->im[i], d = im[i] * p->re[i];
        re[i] = a - b;
        im[i] = c + d;
    }
}

/* The canvas with all atoms on it. */
static int draw_atoms(struct canvas *c, const atomdl_atom *atom, size_t n,
                const atomdl_optics *o, atomdl_arena *arena)
{
    size_t rows = (size_t)c->probe->gh + STAMP_TAPS;
    c->pitch = (size_t)c->probe->gw + STAMP_TAPS;
    c->px = atomdl_alloc(arena, rows * c->pitch, sizeof(float));
    size_t used = arena->used;
    double *weight = atomdl_alloc(arena, n, sizeof *weight);
    int status = atomdl_arena_status(arena);
    if (!status && weight) weigh(weight, atom, n, o);
    if (!status && (o->stack != 1 || o->channelling > 0))
        status = stack_columns(weight, atom, n, o, arena);
    arena->used = used;
    if (status || !c->px || (n && !weight)) return status;
    memset(c->px, 0, rows * c->pitch * sizeof(float));
    for (size_t i = 0; i < STAMP_TAPS; i++) {
        double d = (double)i - BEFORE;
        c->bell[i] = atomdl_exp(-d * d / (2 * STAMP * STAMP));
    }
    for (size_t i = 0; i < n; i++) stamp(c, atom[i].x, atom[i].y, weight[i]);
    fold(c);
    return ATOMDL_OK;
}

static void copy_field(atomdl_image *image, const struct canvas *c)
{
    const atomdl_probe *p = c->probe;
    size_t first = (size_t)p->margin + BEFORE, over = (size_t)p->over;
    size_t w = (size_t)p->w;
    for (size_t y = 0; y < (size_t)p->h; y++) {
        const float *row = c->px + (first + y * over) * c->pitch + first;
        for (size_t x = 0; x < w; x++) image->px[y * w + x] = row[x * over];
    }
}

/* Atoms as stamps, and the filter that turns stamps into probes. */
int atomdl_image_atoms(atomdl_image *image, const atomdl_atom *atoms,
                       size_t n, const atomdl_optics *optics,
                       const atomdl_probe *probe, atomdl_arena *arena)
{
    size_t m = (size_t)probe->gh * (size_t)probe->bins, used = arena->used;
    struct canvas c = {0};
    if (image->w != probe->w || image->h != probe->h || image->c != 1)
        return ATOMDL_ESHAPE;
    if (atomdl_optics_check(optics) || n > 1u << 28) return ATOMDL_EARG;
    if (arena->base && !atoms_sound(atoms, n)) return ATOMDL_EARG;
    c.probe = probe;
    int status = draw_atoms(&c, atoms, n, optics, arena);
    float *re = atomdl_alloc(arena, m, sizeof *re);
    float *im = atomdl_alloc(arena, m, sizeof *im);
    if (!status) status = atomdl_arena_status(arena);
    if (!status)
        status = atomdl_fft_real(&(atomdl_bins){re, im, probe->bins}, c.px,
                                 (int)c.pitch, probe->gw, probe->gh, arena);
    if (!status && re && probe->re) apply_probe(re, im, probe);
    if (!status)
        status = atomdl_fft_real_back(c.px, (int)c.pitch,
                                      &(atomdl_bins){re, im, probe->bins},
                                      probe->gw, probe->gh, arena);
    if (!status && re && image->px) copy_field(image, &c);
    arena->used = used;
    return status;
}

/* ---------- Images: multislice (METHOD B.9) -------------------------------

   Each probe is a wave in a window of its own around the probe's position,
   which lies on a point of the grid of all: the planes of atoms are computed
   once, and a window is a part of them. */

enum { POTENTIALS = 17, MOST_PLANES = 16,
       RADII_A_TURN = 10 /* of ln r, per band limit and reach */ };

/* An element's thermal motion (A, rms along each axis; METHOD B.9) and a1 b1 a2
   b2 a3 b3 c1 d1 c2 d2 c3 d3 of Kirkland's parametrisation ([13], appendix C;
   a, d in A^2 and A). */
static const struct potential_row {
    int z;
    double rms, p[12];
} POTENTIAL[POTENTIALS] = {
    {5, 0.06, {0.125716066, 0.14825883, 0.173314452, 0.148257216,
          0.184774811, 3.34227311, 0.195250221, 1.97339463,
          0.529642075, 5.70035553, 0.001082305, 0.0564857237}},
    {6, 0.06, {0.212080767, 0.208605417, 0.199811865, 0.208610186,
          0.168254385, 5.57870773, 0.14204836, 1.33311887,
          0.363830672, 3.80800263, 0.000835012, 0.040398262}},
    {7, 0.06, {0.533015554, 0.290952515, 0.0529008883, 10.3547896,
          0.0924159648, 10.3540028, 0.261799101, 2.76252723,
          0.0008802621, 0.0347681236, 0.110166555, 0.993421736}},
    {8, 0.06, {0.339969204, 0.38157028, 0.307570172, 0.381571436,
          0.130369072, 19.1919745, 0.0883326058, 0.760635525,
          0.1965867, 2.07401094, 0.00099622, 0.0303266869}},
    {14, 0.07, {1.06543892, 1.04118455, 0.120143691, 68.7113368,
          0.180915263, 0.0887533926, 1.1206562, 3.70062619,
          0.0305452816, 0.214097897, 1.59963502, 9.99096638}},
    {15, 0.06, {1.05284447, 1.3196259, 0.299440284, 0.12846052,
          0.117460748, 102.190163, 0.960643452, 2.87477555,
          0.0263555748, 0.182076844, 1.3805933, 7.49165526}},
    {16, 0.075, {1.01646916, 1.69181965, 0.441766748, 0.174180288,
          0.121503863, 167.011091, 0.82796667, 2.3034281,
          0.0233022533, 0.15695415, 1.18302846, 5.85782891}},
    {22, 0.06, {0.362383267, 0.0754707114, 0.984232966, 0.497757309,
          0.741715642, 8.17659391, 0.362555269, 0.955524906,
          1.4915939, 16.2221677, 0.0161659509, 0.0733140839}},
    {23, 0.06, {0.352961378, 0.0819204103, 0.746791014, 8.81189511,
          1.08364068, 0.510646075, 1.3901361, 14.8901841,
          0.331273356, 0.838543079, 0.0140422612, 0.0657432678}},
    {26, 0.06, {0.313454847, 0.0899325756, 0.689290016, 13.0366038,
          1.47141531, 0.633345291, 1.03298688, 11.6783425,
          0.258280285, 0.609116446, 0.010346069, 0.0481610627}},
    {34, 0.065, {0.958390681, 0.183775557, 0.603851342, 196.819224,
          1.90828931, 2.15082053, 0.173885956, 0.300006024,
          0.935265145, 4.92471215, 0.0086225466, 0.0212308108}},
    {41, 0.06, {0.659532875, 0.086614549, 1.84545854, 5.94774398,
          1.25584405, 0.640851475, 0.122253422, 0.16664605,
          0.706638328, 1.62853268, 0.0026238159, 0.0082625786}},
    {42, 0.055, {0.61016012, 0.0911628054, 1.26544, 0.506776025,
          1.97428762, 5.89590381, 0.648028962, 1.46634108,
          0.0026038082, 0.0078433631, 0.113887493, 0.15511434}},
    {52, 0.06, {2.09383882, 12.6856869, 1.56940519, 1.21236537,
          1.30941993, 0.166633292, 0.0698067804, 0.0830817576,
          1.04969537, 7.43147857, 0.555594354, 0.617487676}},
    {73, 0.06, {3.20236821, 13.8446369, 0.830098413, 0.118381581,
          2.86552297, 0.766369118, 0.0224813887, 0.0352934622,
          1.40165263, 14.6148877, 0.333740596, 0.205704486}},
    {74, 0.05, {0.924906855, 0.128663377, 2.75554557, 0.765826479,
          3.3044006, 13.447117, 0.329973862, 0.198218895,
          1.09916444, 13.5087534, 0.0206498883, 0.0338918459}},
    {75, 0.06, {1.96952105, 49.883062, 1.21726619, 0.133243809,
          4.10391685, 1.84396916, 0.0290791978, 0.0284192813,
          0.230696669, 0.190968784, 0.608840299, 1.37090356}}
};

static const struct potential_row *potential_of(int z)
{
    for (int i = 0; i < POTENTIALS; i++)
        if (POTENTIAL[i].z == z) return &POTENTIAL[i];
    return NULL;
}

/* K0(x) = integral of exp(-x cosh t) over t > 0; the trapezoidal rule is exact
   to binary64 at this step. */
static double bessel_k0(double x)
{
    double sum = 0.5 * atomdl_exp(-x);
    for (int i = 1;; i++) {
        double e = atomdl_exp(0.25 * i), y = x * (e + 1 / e) / 2;
        if (y > 60) return 0.25 * sum;
        sum = sum + atomdl_exp(-y);
    }
}

/* J0(x) = mean of cos(x cos t) over a right angle: n points are exact as long
   as 4 n is well above x. */
static double bessel_j0(double x)
{
    int n = 8 + (int)(x / 4);
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum = sum + atomdl_cos(x * atomdl_cos(PI * (i + 0.5) / (2 * n)));
    return sum / n;
}

/* 4 pi^2 a0 e = 300.8242834 V A^2 */
double atomdl_potential(int z, double r)
{
    const struct potential_row *row = potential_of(z);
    double v = 0;
    if (!row || !(r > 0)) return 0;
    for (const double *p = row->p; p < row->p + 6; p += 2)
        v = v + 300.8242834 * p[0] * bessel_k0(2 * PI * r * atomdl_sqrt(p[1]));
    for (const double *p = row->p + 6; p < row->p + 12; p += 2)
        v = v + 150.4121417 * p[0] / p[1] * atomdl_exp(-PI * PI * r * r / p[1]);
    return v;
}

/* Its Fourier transform, V A^2. */
static double potential_at(const struct potential_row *row, double k)
{
    double v = 0;
    for (const double *p = row->p; p < row->p + 6; p += 2)
        v = v + p[0] / (k * k + p[1]) + p[6] * atomdl_exp(-p[7] * k * k);
    return 300.8242834 / (2 * PI) * v;
}

typedef struct { /* along one axis */
    int pixels, before; /* of the image with its frame, before the image */
    int probes, step;   /* positions, grid points from one to the next */
    int window, grid;   /* grid points of a window, of all windows */
    double unit, from;  /* A a grid point, place of the first */
} scan_axis;

typedef struct {
    const atomdl_optics *o;
    const atomdl_slicing *how;
    scan_axis x, y;
    double limit;                /* of the band, 1/A */
    int knots;                   /* of a table over |k| */
    int planes, chunks;          /* chunks: threads */
    double depth[MOST_PLANES];   /* A, falling */
    u8 *plane;                   /* (atoms) */
    float *tr, *ti;              /* (planes, y.grid, x.grid) transmission */
    float *pr, *pi;              /* (planes - 1, window) propagators */
    float *br, *bi;              /* (2, window) probe, by defocus */
    float *mask;                 /* (window) the detector */
    float *knot;                 /* (window) |k| in units of the table */
    float *core;                 /* (POTENTIALS, 2, knots) exp(i sigma v) - 1 */
    float *scan;                 /* (y.probes, x.probes) */
    atomdl_arena *scratch;       /* (chunks) */
} multislice;

static const double KNOT = 1.0 / 120; /* 1/A */

static float *core_of(const multislice *m, const struct potential_row *row)
{
    size_t at = 2 * (size_t)m->knots * (size_t)(row - POTENTIAL);
    return m->core ? m->core + at : NULL;
}

static int potentials_known(const atomdl_atom *atom, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!potential_of(atom[i].element) || !in_range(atom[i].z, -1e7, 1e7))
            return 0;
    return atoms_sound(atom, n);
}

static size_t window_size(const multislice *m)
{
    return (size_t)m->x.window * (size_t)m->y.window;
}

/* Probes at their Nyquist spacing lambda / 4 alpha or somewhat closer; a grid
   whose limit is the greatest angle that single scattering takes from the
   aperture to the detector. */
static int set_axis(scan_axis *a, int n, double pixel, const multislice *m)
{
    double lambda = atomdl_wavelength(m->o->kv), frame = 2 + m->o->source;
    double alpha = 1e-3 * m->o->convergence, outer = 1e-3 * m->o->outer;
    double window = m->how->window > 0 ? m->how->window : 18;
    a->pixels = atomdl_fft_size(n + 2 * (int)(frame / pixel + 1));
    a->before = (a->pixels - n) / 2;
    double length = a->pixels * pixel, times = most_int(m->how->finer, 1);
    double points = (length + window) * 4 * (outer + alpha) / lambda * times;
    if (!(length > 0) || points > 1e6) return ATOMDL_EARG;
    /* to the last bit as in aperture_new */
    double finest = 4e-3 * m->o->convergence / lambda;
    a->probes = atomdl_fft_size((int)(finest * length) + 4);
    double pace = length / a->probes;
    a->step = (int)times * ((int)(pace * 2 * (outer + alpha) / lambda) + 1);
    a->unit = pace / a->step;
    a->window = 2 * atomdl_fft_size((int)(window / a->unit / 2) + 1);
    a->grid = (a->probes - 1) * a->step + a->window;
    a->from = (0.5 - a->before) * pixel - a->window / 2 * a->unit;
    return ATOMDL_OK;
}

/* From above: a plane lies at the uppermost atom left and takes those less than
   1 A below it, or more where that would make too many planes. */
static void find_planes(multislice *m, const atomdl_atom *atom, size_t n)
{
    const double none = -1e8;
    double z = none, low = -none;
    for (size_t i = 0; i < n; i++) {
        z = most(z, atom[i].z);
        low = least(low, atom[i].z);
    }
    double thick = most(1, (z - low) / (MOST_PLANES - 1)), next;
    for (m->planes = 0; z > none; z = next) {
        next = none;
        for (size_t i = 0; i < n; i++)
            if (atom[i].z <= z - thick) next = most(next, atom[i].z);
            else if (atom[i].z <= z) m->plane[i] = (u8)m->planes;
        m->depth[m->planes++] = z;
    }
}

static int slice_memory(multislice *m, atomdl_arena *arena)
{
    size_t n = window_size(m), planes = (size_t)m->planes;
    size_t grid = (size_t)m->x.grid * (size_t)m->y.grid * planes;
    float **part[] = {&m->tr, &m->ti, &m->pr, &m->pi, &m->br, &m->bi, &m->mask,
                      &m->knot, &m->core, &m->scan};
    size_t size[] = {grid, grid, planes * n, planes * n, 2 * n, 2 * n, n, n,
                     POTENTIALS * 2 * (size_t)m->knots,
                     (size_t)m->x.probes * (size_t)m->y.probes};
    for (int i = 0; i < 10; i++)
        *part[i] = atomdl_alloc(arena, size[i], sizeof(float));
    m->scratch = atomdl_alloc(arena, (size_t)m->chunks, sizeof *m->scratch);
    atomdl_arena need = {0};
    for (int i = 0; i < 3; i++) atomdl_alloc(&need, n, sizeof(float));
    atomdl_fft(NULL, NULL, m->x.window, m->y.window, 0, &need);
    for (int i = 0; i < m->chunks; i++) {
        unsigned char *base = atomdl_alloc(arena, need.peak, 1);
        if (m->scratch && base)
            m->scratch[i] = (atomdl_arena){base, need.peak, 0, 0, 0};
    }
    return atomdl_arena_status(arena);
}

/* core (2, knots) <- the transform of exp(i sigma v(r)) - 1 for one atom:
   i sigma v as it is known, the rest by a sum over ln r. */
static int core_table(const multislice *m, const struct potential_row *row,
                      atomdl_arena *arena)
{
    float *core = core_of(m, row);
    const double reach = 4.5, nearest = 1e-4, fine = 200;
    double sigma = interaction(m->o->kv), range = atomdl_log(reach / nearest);
    int n = (int)(RADII_A_TURN * range * m->limit);
    int j0s = (int)(2 * PI * reach * m->knots * KNOT * fine) + 2;
    size_t used = arena->used;
    double *r = atomdl_alloc(arena, (size_t)n, sizeof *r);
    double *re = atomdl_alloc(arena, (size_t)n, sizeof *re);
    double *im = atomdl_alloc(arena, (size_t)n, sizeof *im);
    double *bessel = atomdl_alloc(arena, (size_t)j0s, sizeof *bessel);
    int status = ATOMDL_OK;
    if (scratch_only(&status, arena, used)) return status;
    for (int i = 0; i < j0s; i++) bessel[i] = bessel_j0(i / fine);
    for (int i = 0; i < n; i++) {
        r[i] = nearest * atomdl_exp(range * i / n);
        double phase = sigma * atomdl_potential(row->z, r[i]);
        double area = 2 * PI * r[i] * r[i] * range / n;
        re[i] = area * (atomdl_cos(phase) - 1);
        im[i] = area * (atomdl_sin(phase) - phase);
    }
    for (int k = 0; k < m->knots; k++) {
        double sr = 0, si = sigma * potential_at(row, k * KNOT);
        for (int i = 0; i < n; i++) {
            double x = 2 * PI * k * KNOT * r[i] * fine;
            const double *b = bessel + (int)x;
            double j0 = b[0] + (x - (int)x) * (b[1] - b[0]);
            sr = sr + re[i] * j0;
            si = si + im[i] * j0;
        }
        core[k] = (float)sr;
        core[m->knots + k] = (float)si;
    }
    return status;
}

/* The detector, |k| and the propagators, on the grid of the window. */
static void window_tables(const multislice *m)
{
    double lambda = atomdl_wavelength(m->o->kv);
    double lx = m->x.window * m->x.unit, ly = m->y.window * m->y.unit;
    double pixel = lambda / most(lx, ly);
    size_t n = window_size(m), w = (size_t)m->x.window;
    for (size_t i = 0; i < n; i++) {
        double kx = frequency((int)(i % w), m->x.window, lx);
        double ky = frequency((int)(i / w), m->y.window, ly);
        double k = atomdl_sqrt(kx * kx + ky * ky), a = lambda * k;
        double hole = m->o->inner > 0
                          ? soft_edge(a, 1e-3 * m->o->inner, pixel) : 0;
        m->mask[i] = (float)(soft_edge(a, 1e-3 * m->o->outer, pixel) - hole);
        m->knot[i] = (float)(k / KNOT);
        for (int p = 0; p + 1 < m->planes; p++) {
            double t = -PI * lambda * (m->depth[p] - m->depth[p + 1]) * k * k;
            int in = k < m->limit;
            m->pr[(size_t)p * n + i] = (float)(in ? atomdl_cos(t) : 0);
            m->pi[(size_t)p * n + i] = (float)(in ? atomdl_sin(t) : 0);
        }
    }
}

/* Wave number f in the middle of its window; its transform's square sums to 1.
   The way there and not back mirrors it: the image shows the probe as
   incoherent ones do. */
static int slice_probe(const multislice *m, int f, double defocus,
                       atomdl_arena *arena)
{
    size_t n = window_size(m), w = (size_t)m->x.window;
    struct aperture a = {.w = m->x.window, .h = m->y.window,
                         .lx = m->x.window * m->x.unit,
                         .ly = m->y.window * m->y.unit,
                         .re = m->br + (size_t)f * n,
                         .im = m->bi + (size_t)f * n};
    double sum = 0;
    a.soft = atomdl_wavelength(m->o->kv) / most(a.lx, a.ly);
    pupil(&a, m->o, defocus);
    for (size_t i = 0; i < n; i++)
        sum = sum + (square((double)a.re[i]) + square((double)a.im[i]));
    double unit = 1 / (atomdl_sqrt(sum) * (double)n);
    for (size_t i = 0; i < n; i++) {
        float scale = (float)((i % w + i / w) % 2 ? -unit : unit);
        a.re[i] = a.re[i] * scale;
        a.im[i] = a.im[i] * scale;
    }
    return atomdl_fft(a.re, a.im, a.w, a.h, 0, arena);
}

/* (re, im) <- (re, im) (cr, ci), n numbers */
static void wave_times(float *re, float *im, const float *cr, const float *ci,
                       size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float a = re[i] * cr[i] - im[i] * ci[i];
        im[i] = re[i] * ci[i] + im[i] * cr[i];
        re[i] = a;
    }
}

/* exp(-2 pi i k at / n) times unit, for the n points k of a transform */
static void ramp(double *e, int n, double at, double unit)
{
    for (int i = 0; i < n; i++) {
        double t = -2 * PI * (frequency(i, n, n) * at);
        e[2 * i] = unit * atomdl_cos(t);
        e[2 * i + 1] = unit * atomdl_sin(t);
    }
}

/* (re, im) <- the transform of an atom's exp(i sigma v) - 1 at point `at` of
   its window; e: scratch, 2 (w + h) */
static void core_at(float *re, float *im, const multislice *m,
                    const float *core, const double at[2], double *e)
{
    int w = m->x.window, h = m->y.window;
    double *y = e + 2 * w;
    ramp(e, w, at[0], 1);
    ramp(y, h, at[1], 1 / (m->x.unit * m->y.unit));
    for (size_t i = 0; i < window_size(m); i++) {
        const double *x = e + 2 * (i % (size_t)w);
        if (i && x == e) y += 2;
        int k = (int)m->knot[i];
        const float *p = core + k, *q = p + m->knots;
        re[i] = im[i] = 0;
        if (k + 1 >= m->knots) continue;
        float f = m->knot[i] - (float)k, c = (float)(x[0] * y[0] - x[1] * y[1]);
        float s = (float)(x[0] * y[1] + x[1] * y[0]);
        float a = p[0] + f * (p[1] - p[0]), b = q[0] + f * (q[1] - q[0]);
        re[i] = a * c - b * s;
        im[i] = a * s + b * c;
    }
}

/* t <- t (1 + core), the core's window from grid point (x, y) on */
static void put_core(const multislice *m, int plane, float *re, const float *im,
                     int x, int y)
{
    size_t w = (size_t)m->x.window, grid = (size_t)m->x.grid;
    int from = most_int(0, -x), to = least_int(m->x.window, m->x.grid - x);
    for (size_t i = 0; i < window_size(m); i++) re[i] = re[i] + 1;
    for (int j = 0; j < m->y.window && from < to; j++) {
        if (y + j < 0 || y + j >= m->y.grid) continue;
        size_t at = (size_t)j * w + (size_t)from;
        size_t row = (size_t)plane * (size_t)m->y.grid + (size_t)(y + j);
        row = row * grid + (size_t)(x + from);
        wave_times(m->tr + row, m->ti + row, re + at, im + at,
                   (size_t)(to - from));
    }
}

/* An atom's displacement in units of its rms, from two normal numbers of the
   stream of configuration c / 4. Of four configurations, the second and fourth
   oppose those before them; the third has the complementary length (1 - q for
   the quantile q) and is turned by a right angle more with each plane: every
   one is normal, but squares and the products of two planes average out. */
static void thermal_shift(double u[2], const float z[2], int c, int plane)
{
    double x = (double)z[0], y = (double)z[1], s = (x * x + y * y) / 2;
    int turns = c % 4 < 2 ? 0 : plane + 1;
    if (c % 4 >= 2 && s > 0) {
        double q = most(1 - atomdl_exp(-s), 1e-15);
        double t = atomdl_sqrt(-atomdl_log(q) / s);
        x = x * t;
        y = y * t;
    }
    if (c % 2) turns += 2;
    u[0] = turns % 2 ? -y : x;
    u[1] = turns % 2 ? x : y;
    for (int d = 0; d < 2 && turns % 4 >= 2; d++) u[d] = -u[d];
}

/* All planes, their atoms displaced as in configuration c. */
static int transmit(const multislice *m, const atomdl_atom *atom, size_t n,
                    int c)
{
    size_t all = (size_t)m->planes * (size_t)m->x.grid * (size_t)m->y.grid;
    size_t size = window_size(m), used = m->scratch->used;
    float *re = atomdl_alloc(m->scratch, size, sizeof *re);
    float *im = atomdl_alloc(m->scratch, size, sizeof *im);
    double *phase = atomdl_alloc(m->scratch, 2 * (size_t)(m->x.window
                                 + m->y.window), sizeof *phase);
    atomdl_rng rng = atomdl_rng_split(&m->how->rng, (u64)(c / 4));
    int status = ATOMDL_OK;
    for (size_t i = 0; i < all; i++) m->tr[i] = 1, m->ti[i] = 0;
    for (size_t i = 0; i < n && !status; i++) {
        const struct potential_row *row = potential_of(atom[i].element);
        double rms = m->how->configurations > 0 ? row->rms : 0, u[2];
        float z[2];
        atomdl_rng_normal(&rng, z, 2);
        thermal_shift(u, z, c, m->plane[i]);
        u[0] = (atom[i].x + rms * u[0] - m->x.from) / m->x.unit;
        u[1] = (atom[i].y + rms * u[1] - m->y.from) / m->y.unit;
        double x = atomdl_floor(u[0]) - m->x.window / 2;
        double y = atomdl_floor(u[1]) - m->y.window / 2;
        if (!in_range(x, -m->x.window, m->x.grid)
            || !in_range(y, -m->y.window, m->y.grid))
            continue;
        u[0] = u[0] - x;
        u[1] = u[1] - y;
        core_at(re, im, m, core_of(m, row), u, phase);
        status = atomdl_fft(re, im, m->x.window, m->y.window, 1, m->scratch);
        put_core(m, m->plane[i], re, im, (int)x, (int)y);
    }
    return give_back(m->scratch, used, status);
}

/* *signal <- what the detector gets from probe (x, y). */
static int one_probe(float *signal, const multislice *m, int x, int y, int f,
                     atomdl_arena *arena)
{
    size_t n = window_size(m), w = (size_t)m->x.window, used = arena->used;
    size_t first = (size_t)(y * m->y.step) * (size_t)m->x.grid
                   + (size_t)(x * m->x.step);
    int nw = m->x.window, nh = m->y.window, status = ATOMDL_OK;
    float *re = atomdl_alloc(arena, n, sizeof *re);
    float *im = atomdl_alloc(arena, n, sizeof *im);
    float *s = atomdl_alloc(arena, n, sizeof *s);
    memcpy(re, m->br + (size_t)f * n, n * sizeof *re);
    memcpy(im, m->bi + (size_t)f * n, n * sizeof *im);
    for (int p = 0; p < m->planes && !status; p++) {
        size_t before = (size_t)(p - 1) * n;
        if (p) status = atomdl_fft(re, im, nw, nh, 0, arena);
        if (p) wave_times(re, im, m->pr + before, m->pi + before, n);
        if (p && !status) status = atomdl_fft(re, im, nw, nh, 1, arena);
        size_t at = first + (size_t)p * (size_t)m->x.grid * (size_t)m->y.grid;
        for (size_t j = 0; j < n; j += w, at += (size_t)m->x.grid)
            wave_times(re + j, im + j, m->tr + at, m->ti + at, w);
    }
    if (!status) status = atomdl_fft(re, im, nw, nh, 0, arena);
    for (size_t i = 0; i < n; i++) s[i] = re[i] * re[i] + im[i] * im[i];
    *signal = atomdl_dot(s, m->mask, n);
    return give_back(arena, used, status);
}

/* Adds run c of several to the scan: threads take rows. The two ends of the
   focal spread alternate so that each meets either sign of the motion. */
static int scan_probes(const multislice *m, int c, int runs)
{
    int bad = 0, rows = m->y.probes, cols = m->x.probes;
    float share = (float)(1.0 / runs);
#ifdef _OPENMP
#pragma omp parallel for num_threads(m->chunks) reduction(| : bad)
#endif
    for (int t = 0; t < m->chunks; t++)
        for (int y = t; y < rows; y += m->chunks) {
            for (int x = 0; x < cols; x++) {
                float *sum = m->scan + (size_t)y * (size_t)cols + (size_t)x, v;
                bad |= one_probe(&v, m, x, y, (c + c / 2) % 2, m->scratch + t);
                *sum = *sum + share * v;
            }
            if (!t && m->how->watch)
                m->how->watch(m->how->of, c * rows + y, runs * rows);
        }
    if (m->how->watch) m->how->watch(m->how->of, (c + 1) * rows, runs * rows);
    return bad ? ATOMDL_EFLOAT : ATOMDL_OK;
}

/* 1 in the image, falling to 0 halfway round through its frame */
static double frame_taper(const scan_axis *a, int n, int probe)
{
    double at = (double)probe * a->pixels / a->probes - a->before;
    double beyond = most(-at, at - (n - 1)) / ((a->pixels - n + 1) / 2.0);
    return beyond < 0.5 ? 1
                        : 0.5 + 0.5 * atomdl_cos(PI * (2 * beyond - 1));
}

/* image <- the scan, blurred by the source and moved as incoherent_filter does
   with a probe. What lies around the image falls to the mean, so that it may be
   taken as periodic; every over-th point of the finer grid is a pixel. */
static int resample_scan(atomdl_image *image, const multislice *m, double pixel,
                         atomdl_arena *arena)
{
    int over = most_int((m->x.probes - 1) / m->x.pixels,
                        (m->y.probes - 1) / m->y.pixels) + 1;
    atomdl_probe p = {.pixel = pixel, .over = over, .gw = over * m->x.pixels,
                      .gh = over * m->y.pixels};
    size_t used = arena->used, w = (size_t)p.gw, h = (size_t)p.gh;
    size_t n = (size_t)m->x.probes * (size_t)m->y.probes;
    struct aperture a = {0};
    double at[2] = {0, 0}, mean = 0;
    p.bins = p.gw / 2 + 1;
    p.re = atomdl_alloc(arena, h * (size_t)p.bins, sizeof *p.re);
    p.im = atomdl_alloc(arena, h * (size_t)p.bins, sizeof *p.im);
    float *px = atomdl_alloc(arena, w * h, sizeof *px);
    int status = source_probe(&a, at, &p, m->o, arena);
    if (!status && (a.w != m->x.probes || a.h != m->y.probes))
        status = ATOMDL_EARG;
    int run = !status && arena->base;
    for (size_t i = 0; run && i < n; i++) mean = mean + (double)m->scan[i];
    mean = most(1e-20, mean / (double)n);
    for (size_t i = 0; run && i < n; i++) {
        double t = frame_taper(&m->x, image->w, (int)(i % (size_t)a.w))
                   * frame_taper(&m->y, image->h, (int)(i / (size_t)a.w));
        a.p[i] = (float)(mean + ((double)m->scan[i] - mean) * t);
    }
    if (!status)
        status = atomdl_fft_real(&(atomdl_bins){a.tr, a.ti, a.bins}, a.p, a.w,
                                 a.w, a.h, arena);
    if (run) shift_tables(&a, at[0], at[1]);
    if (run) mean = (double)a.tr[0] / (double)n * (double)(w * h);
    if (run) incoherent_fill(&p, &a);
    if (!status)
        status = atomdl_fft_real_back(px, p.gw,
                                      &(atomdl_bins){p.re, p.im, p.bins}, p.gw,
                                      p.gh, arena);
    for (int i = 0; run && i < image->w * image->h; i++) {
        size_t x = (size_t)(i % image->w + m->x.before) * (size_t)over;
        size_t y = (size_t)(i / image->w + m->y.before) * (size_t)over;
        image->px[i] = (float)mean * px[y * w + x];
    }
    return give_back(arena, used, status);
}

static int slicing_sound(const atomdl_slicing *how)
{
    return in_range(how->configurations, 0, 1024)
           && in_range(how->finer, 0, 64) && in_range(how->window, 0, 200)
           && in_range(how->threads, 0, 4096);
}

/* What the planes, their atoms' cores, the probe and the window need. */
static int slices_new(multislice *m, const atomdl_atom *atom, size_t n,
                      atomdl_arena *arena)
{
    m->plane = atomdl_alloc(arena, n, 1);
    m->planes = MOST_PLANES;
    if (m->plane) find_planes(m, atom, n);
    int status = slice_memory(m, arena);
    for (int i = 0; i < POTENTIALS && !status; i++) {
        size_t k = 0;
        while (arena->base && k < n && atom[k].element != POTENTIAL[i].z) k++;
        if (k < n)
            status = core_table(m, &POTENTIAL[i], arena);
    }
    if (status || !m->scan) return status;
    memset(m->scan, 0, (size_t)m->x.probes * (size_t)m->y.probes
                           * sizeof *m->scan);
    window_tables(m);
    for (int f = 0; f < 2 && !status; f++)
        status = slice_probe(m, f, m->o->defocus + (f ? -1 : 1)
                             * m->o->spread / FWHM, m->scratch);
    return status;
}

/* Configurations one after another, the probes of each shared by threads. */
int atomdl_image_multislice(atomdl_image *image, const atomdl_atom *atoms,
                            size_t n, const atomdl_optics *optics,
                            double pixel, const atomdl_slicing *how,
                            atomdl_arena *arena)
{
    multislice m = {.o = optics, .how = how,
                    .chunks = threads_asked(how->threads)};
    size_t used = arena->used;
    if (image->c != 1) return ATOMDL_ESHAPE;
    if (atomdl_optics_check(optics) || optics->model != ATOMDL_INCOHERENT
        || !in_range(pixel, 1e-3, 10) || !slicing_sound(how) || n > 1u << 28
        || (arena->base && !potentials_known(atoms, n)))
        return ATOMDL_EARG;
    if (set_axis(&m.x, image->w, pixel, &m)
        || set_axis(&m.y, image->h, pixel, &m))
        return ATOMDL_EARG;
    m.limit = 0.5 / most(m.x.unit, m.y.unit);
    m.knots = (int)(m.limit / KNOT) + 2;
    int runs = how->configurations > 0 ? how->configurations
                                       : optics->spread > 1 ? 2 : 1;
    int status = slices_new(&m, atoms, n, arena);
    for (int c = 0; c < runs && !status && arena->base; c++) {
        status = transmit(&m, atoms, n, c);
        if (!status) status = scan_probes(&m, c, runs);
    }
    if (!status) status = resample_scan(image, &m, pixel, arena);
    return give_back(arena, used, status);
}

/* ---------- Images: scan -------------------------------------------------- */

static int waves_sound(const atomdl_wave *w)
{
    int ok = 1;
    for (int i = 0; i < ATOMDL_WAVES; i++, w++)
        ok = ok && in_range(w->ax, -1e6, 1e6) && in_range(w->ay, -1e6, 1e6)
             && in_range(w->kx, -1e3, 1e3) && in_range(w->ky, -1e3, 1e3)
             && in_range(w->phase, -1e3, 1e3);
    return ok;
}

static int scan_sound(const atomdl_scan *s)
{
    return all_within(s->hum, 2, 100) && in_range(s->jitter, 0, 100)
           && in_range(s->cycles, 0, 1e3) && in_range(s->phase, -1e3, 1e3)
           && in_range(s->flyback, 0, 100);
}

/* Lagrange weights of the points -2..3 at f in [0, 1). At a quarter of the
   sampling frequency it errs by 3 %, at an eighth by 0.2 % (f = 1/2); the
   lattice's own frequencies lie below that. */
static void six_weights(float *weight, double f)
{
    static const double UNIT[6] = {-1 / 120.0, 1 / 24.0, -1 / 12.0,
                                   1 / 12.0, -1 / 24.0, 1 / 120.0};
    double left = 1, p[6];
    for (int j = 0; j < 6; j++) {
        p[j] = left;
        left = left * (f + 2 - j);
    }
    left = 1;
    for (int j = 5; j >= 0; j--) {
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
    six_weights(weight, s - whole);
    i += (int)whole - 2;
    for (int j = 0; j < 6; j++) {
        float t = weight[j] * line[(size_t)clamp_index(i + j, n) * stride];
        sum = sum + t;
    }
    return sum;
}

/* A row (n) displaced by s as a whole; padded (n + 5) is scratch. */
static void shift_row(float *row, float *padded, int n, double s)
{
    double whole = atomdl_floor(s);
    int first = (int)whole - 2;
    float weight[6];
    six_weights(weight, s - whole);
    for (int i = 0; i < n + 5; i++) padded[i] = row[clamp_index(i + first, n)];
    for (int i = 0; i < n; i++) row[i] = 0;
    for (int j = 0; j < 6; j++)
        for (int i = 0; i < n; i++) row[i] = row[i] + weight[j] * padded[i + j];
}

/* A sine at equal steps, turned on from one to the next. */
typedef struct {
    double c, s, cd, sd;
} turning;

static turning turning_from(double phase, double step, double amplitude)
{
    return (turning){amplitude * atomdl_cos(phase),
                     amplitude * atomdl_sin(phase), atomdl_cos(step),
                     atomdl_sin(step)};
}

static double next_sine(turning *t)
{
    double s = t->s, c = t->c * t->cd - s * t->sd;
    t->s = s * t->cd + t->c * t->sd;
    t->c = c;
    return s;
}

/* Rows displaced by the vibration along y, then x; from: a copy of the image
   before; sine (w): the vibration at each pixel of a row. */
static void hum_rows(atomdl_image *image, const float *from, float *line,
                     double *sine, const atomdl_scan *scan, double pixel)
{
    size_t w = (size_t)image->w;
    double ax = scan->hum[0] / pixel, ay = scan->hum[1] / pixel;
    double step = 2 * PI * scan->cycles / (image->w * (1 + scan->flyback));
    for (int y = 0; y < image->h; y++) {
        float *row = image->px + (size_t)y * w;
        double cycles = scan->cycles * y, part = cycles - atomdl_floor(cycles);
        turning t = turning_from(scan->phase + 2 * PI * part, step, 1);
        for (int x = 0; x < image->w; x++) sine[x] = next_sine(&t);
        for (int x = 0; ay != 0 && x < image->w; x++)
            row[x] = six_points(from + x, w, y, image->h, ay * sine[x]);
        if (ax == 0) continue;
        memcpy(line, row, w * sizeof *line);
        for (int x = 0; x < image->w; x++)
            row[x] = six_points(line, 1, x, image->w, ax * sine[x]);
    }
}

/* The vibration, then the rows' own jitter. */
int atomdl_scan_rows(atomdl_image *image, const atomdl_scan *scan,
                     double pixel, atomdl_rng *rng, atomdl_arena *arena)
{
    size_t w = (size_t)image->w, n = w * (size_t)image->h, used = arena->used;
    int hum = scan->hum[0] != 0 || scan->hum[1] != 0;
    if (image->c != 1 || !in_range(pixel, 1e-3, 10) || !scan_sound(scan))
        return ATOMDL_EARG;
    float *line = atomdl_alloc(arena, w + 5, sizeof *line);
    double *sine = atomdl_alloc(arena, w, sizeof *sine);
    float *from = atomdl_alloc(arena, hum ? n : 0, sizeof *from);
    int status = atomdl_arena_status(arena);
    arena->used = used;
    if (status || !line || !image->px) return status;
    if (hum) {
        memcpy(from, image->px, n * sizeof *from);
        hum_rows(image, from, line, sine, scan, pixel);
    }
    float z;
    for (int y = 0; scan->jitter > 0 && y < image->h; y++) {
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
           && all_within(d->tilt, 2, 1e6) && in_range(d->row_gain, 0, 10)
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
    for (int y = 0; y < m->h; y++) {
        float *row = m->px + (size_t)y * (size_t)m->w;
        double level = d->background + d->tilt[1] * ((y + 0.5) / m->h - 0.5);
        for (int x = 0; x < m->w; x++) {
            double t = d->tilt[0] * ((x + 0.5) / m->w - 0.5);
            row[x] = (float)((double)row[x] + (level + t));
        }
        for (int k = 0; k < ATOMDL_WAVES; k++) {
            const atomdl_wave *v = &d->wave[k];
            if (v->ax == 0) continue;
            turning t = turning_from(
                v->kx * pixel / 2 + v->ky * pixel * (y + 0.5) + v->phase,
                v->kx * pixel, v->ax);
            for (int x = 0; x < m->w; x++)
                row[x] = (float)((double)row[x] + next_sine(&t));
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
    for (int k = 0; k < LARGEST; k++) {
        t->cdf[j][k] = sum * 0x1p32 >= 0x1.fffffffep31
                           ? 0xffffffffu : (uint32_t)(sum * 0x1p32);
        p = p * (j / 4.0 / (k + 1));
        sum = sum + p;
    }
    for (int k = 0, g = 0; g < GUIDES; g++) {
        while (k < LARGEST - 1 && t->cdf[j][k] <= (uint32_t)g << 26) k++;
        t->guide[j][g] = (unsigned char)k;
    }
    t->filled[j] = 1;
}

/* Poisson of mean m < 1/4 by its quantile. */
static double poisson_rest(atomdl_rng *rng, double m)
{
    double u = ((double)atomdl_rng_u32(rng) + 0.5) * 0x1p-32;
    int k = 0;
    if (u < 1 - m) return 0; /* exp(-m) is not less */
    double p = 1; /* exp(-m) */
    for (int i = 7; i > 0; i--) p = 1 - m / i * p;
    for (double sum = p; u >= sum && k < 12; sum = sum + p) {
        k++;
        p = p * (m / k);
    }
    return k;
}

static double poisson_table(struct poisson *t, atomdl_rng *rng, double m)
{
    int j = (int)(m * 4);
    uint32_t u = atomdl_rng_u32(rng);
    const uint32_t *cdf = t->cdf[j];
    if (!t->filled[j]) poisson_row(t, j);
    int k = t->guide[j][u >> 26];
    while (k < LARGEST - 1 && u >= cdf[k]) k++;
    return k + poisson_rest(rng, m - j / 4.0);
}

/* The quantile's expansion in powers of mean^(-1/2) at a normal number: M. B.
   Giles, ACM Trans. Math. Softw. 42, 7 (2016). */
static double poisson_normal(double z, double m)
{
    double root = atomdl_sqrt(m), r = 1 / root, z2 = z * z;
    double n = m + root * z + (1.0 / 3 + z2 * (1.0 / 6))
               - z * (2 + z2) * (1.0 / 72) * r
               + (-8.0 / 405 + z2 * (7.0 / 810 + z2 * (1.0 / 270))) * (r * r);
    return !(n > 0) ? 0 : n < 0x1p52 ? (double)(int64_t)n : n;
}

/* px <- Poisson(counts px) / counts. Runs of up to 64 great means share their
   normal numbers; small means go one by one. */
static void count_electrons(float *px, size_t n, double counts,
                            atomdl_rng *rng, struct poisson *table)
{
    double unit = 1 / counts;
    memset(table->filled, 0, sizeof table->filled);
    float z[64];
    size_t run;
    for (size_t i = 0; i < n; i += run) {
        for (run = 0; run < 64 && i + run < n; run++)
            if (counts * (double)px[i + run] < QUARTERS / 4) break;
        atomdl_rng_normal(rng, z, run);
        for (size_t j = i; j < i + run; j++) {
            double k = poisson_normal((double)z[j - i], counts * (double)px[j]);
            px[j] = (float)(k * unit);
        }
        for (; run == 0 || (i + run < n && run < 64); run++) {
            double m = counts * (double)px[i + run];
            if (!(m < QUARTERS / 4)) break;
            double k = m > 0 ? poisson_table(table, rng, m) : 0;
            px[i + run] = (float)(k * unit);
        }
    }
}

static void gain_rows(atomdl_image *m, double rms, atomdl_rng *rng)
{
    float z;
    for (int y = 0; y < m->h; y++) {
        float *row = m->px + (size_t)y * (size_t)m->w;
        atomdl_rng_normal(rng, &z, 1);
        z = (float)(1 + rms * (double)z);
        for (int x = 0; x < m->w; x++) row[x] = row[x] * z;
    }
}

static void read_noise(float *px, size_t n, double rms, atomdl_rng *rng)
{
    float z[64], scale = (float)rms;
    size_t m;
    for (size_t i = 0; i < n; i += m) {
        m = n - i < 64 ? n - i : 64;
        atomdl_rng_normal(rng, z, m);
        for (size_t j = 0; j < m; j++) {
            float t = scale * z[j];
            px[i + j] = px[i + j] + t;
        }
    }
}

enum { BLUR = 32 }; /* taps on either side */

typedef struct { /* scratch of a detector */
    struct poisson *table;
    float *line;         /* (w + 2 BLUR) */
    float *from, *clean; /* (h, w) each */
} detector_work;

/* Gaussian blur, cut at 4 sigma, edges repeated. Taps are added in rising
   order, rows first. */
static void blur_image(atomdl_image *m, double sigma, const detector_work *at)
{
    int r = least_int((int)(4 * sigma) + 1, BLUR), w = m->w;
    float *line = at->line, *from = at->from;
    double sum = 0, e[2 * BLUR + 3];
    for (int k = -r; k <= r; k++) {
        e[k + r] = atomdl_exp(-(double)k * k / (2 * sigma * sigma));
        sum = sum + e[k + r];
    }
    float tap[2 * BLUR + 3];
    for (int k = 0; k <= 2 * r; k++) tap[k] = (float)(e[k] / sum);
    for (int y = 0; y < m->h; y++) {
        const float *row = m->px + (size_t)y * (size_t)w;
        float *to = from + (size_t)y * (size_t)w;
        for (int x = 0; x < w + 2 * r; x++)
            line[x] = row[clamp_index(x - r, w)];
        memset(to, 0, (size_t)w * sizeof *to);
        for (int k = 0; k <= 2 * r; k++)
            for (int x = 0; x < w; x++) to[x] = to[x] + tap[k] * line[x + k];
    }
    for (int y = 0; y < m->h; y++) {
        float *to = m->px + (size_t)y * (size_t)w;
        memset(to, 0, (size_t)w * sizeof *to);
        for (int k = -r; k <= r; k++) {
            int near = clamp_index(y + k, m->h);
            const float *row = from + (size_t)near * (size_t)w;
            for (int x = 0; x < w; x++) to[x] = to[x] + tap[k + r] * row[x];
        }
    }
}

/* Counting and read noise, and the smoothing of both together. */
static void add_noise(atomdl_image *m, const atomdl_detector *d,
                      double counts, atomdl_rng *rng, const detector_work *at)
{
    size_t n = (size_t)m->w * (size_t)m->h;
    if (d->smooth > 0) memcpy(at->clean, m->px, n * sizeof *at->clean);
    if (counts > 0) count_electrons(m->px, n, counts, rng, at->table);
    if (d->read > 0) read_noise(m->px, n, d->read, rng);
    if (d->smooth <= 0) return;
    for (size_t i = 0; i < n; i++) m->px[i] = m->px[i] - at->clean[i];
    blur_image(m, d->smooth, at);
    for (size_t i = 0; i < n; i++) m->px[i] = at->clean[i] + m->px[i];
}

static void extremes(float *least, float *most, const float *px, size_t n)
{
    *least = *most = px[0];
    for (size_t i = 1; i < n; i++) {
        *least = px[i] < *least ? px[i] : *least;
        *most = px[i] > *most ? px[i] : *most;
    }
}

/* x^gamma of the range, in 256 straight pieces */
static void curve(float *px, size_t n, double gamma)
{
    float least, most;
    extremes(&least, &most, px, n);
    if (!(most > least)) return;
    float node[258];
    for (size_t i = 0; i < 257; i++)
        node[i] = (float)atomdl_pow((double)i / 256, gamma);
    node[257] = node[256];
    double unit = 256 / ((double)most - (double)least);
    for (size_t i = 0; i < n; i++) {
        double t = ((double)px[i] - (double)least) * unit;
        int k = (int)t;
        k = k > 256 ? 256 : k; /* rounding */
        double a = (double)node[k];
        double b = (double)node[k + 1] - a;
        a = a + (t - k) * b;
        px[i] = (float)((double)least + a * (256 / unit));
    }
}

static void quantise(float *px, size_t n, int bits)
{
    double top = bits == 8 ? 255 : 65535;
    float least, most;
    extremes(&least, &most, px, n);
    double unit = most > least ? top / ((double)most - (double)least) : 0;
    for (size_t i = 0; i < n; i++) {
        double t = ((double)px[i] - (double)least) * unit + 0.5;
        px[i] = (float)atomdl_floor(t > top ? top : t);
    }
}

/* What follows the noise. */
static void after_noise(atomdl_image *m, const atomdl_detector *d,
                        const detector_work *at)
{
    size_t n = (size_t)m->w * (size_t)m->h;
    float gain = d->gain != 0 ? (float)d->gain : 1;
    float offset = (float)d->offset;
    for (size_t i = 0; (gain != 1 || offset != 0) && i < n; i++) {
        float t = m->px[i] * gain;
        m->px[i] = t + offset;
    }
    if (d->blur > 0) blur_image(m, d->blur, at);
    if (d->clip > 0 && d->clip < 1) {
        float most = atomdl_percentile(m->px, n, d->clip);
        for (size_t i = 0; i < n; i++)
            m->px[i] = m->px[i] > most ? most : m->px[i];
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

/* Background, row gain, noise, then what the electronics make of it. */
int atomdl_detect(atomdl_image *image, const atomdl_detector *d, double pixel,
                  atomdl_rng *rng, atomdl_arena *arena)
{
    size_t n = (size_t)image->w * (size_t)image->h, used = arena->used;
    size_t line = (size_t)image->w + 2 * BLUR;
    double counts = d->dose > 0 ? d->dose * pixel * pixel : d->counts;
    int soft = d->smooth > 0 || d->blur > 0;
    if (image->c != 1 || image->w < 1 || image->h < 1
        || !in_range(pixel, 1e-3, 10) || !detector_sound(d))
        return ATOMDL_EARG;
    detector_work at;
    at.table = atomdl_alloc(arena, counts > 0, even(sizeof *at.table));
    at.line = atomdl_alloc(arena, line, sizeof(float));
    at.from = atomdl_alloc(arena, soft ? n : 0, sizeof(float));
    at.clean = atomdl_alloc(arena, d->smooth > 0 ? n : 0, sizeof(float));
    int status = atomdl_arena_status(arena);
    arena->used = used;
    if (status || !at.line || !image->px) return status;
    status = atomdl_image_check(image);
    if (status) return status;
    add_background(image, d, pixel);
    if (d->row_gain > 0) gain_rows(image, d->row_gain, rng);
    add_noise(image, d, counts, rng, &at);
    after_noise(image, d, &at);
    return ATOMDL_OK;
}

/* ---------- Recipes: distributions ---------------------------------------- */

static int is_range(const atomdl_dist *d)
{
    return d->kind == ATOMDL_DIST_UNIFORM || d->kind == ATOMDL_DIST_LOG;
}

/* The chance first, then one draw of the kind, clipped. */
double atomdl_dist_draw(const atomdl_dist *d, atomdl_rng *rng)
{
    double x = d->v[0];
    if (d->chance < 100 && !(atomdl_rng_uniform64(rng) * 100 < d->chance))
        return d->other;
    if (is_range(d)) {
        double u = atomdl_rng_uniform64(rng);
        if (d->exponent != 1 && u > 0) u = atomdl_pow(u, d->exponent);
        if (d->kind == ATOMDL_DIST_UNIFORM) x += u * (d->v[1] - x);
        else x *= atomdl_exp(u * atomdl_log(d->v[1] / x));
    } else if (d->kind == ATOMDL_DIST_NORMAL) {
        float z;
        atomdl_rng_normal(rng, &z, 1);
        x += d->v[1] * (double)z;
    } else if (d->kind == ATOMDL_DIST_POISSON) {
        x = atomdl_rng_poisson(rng, x);
    } else if (d->kind == ATOMDL_DIST_CHOICE) {
        x = d->v[atomdl_rng_below(rng, d->n)];
    }
    return x < d->low ? d->low : x > d->high ? d->high : x;
}

/* ---------- Recipes: kinds of values --------------------------------------

   A kind of value reads its text into a field (NULL, the reason, or "": not
   within the key's least...most) and, beside it, writes entry out->i of the
   field as text (0: there is none; only kinds that repeat, whose lines add to
   one another, are asked for more than 0). A new kind is a row of KIND_INT...
   below, after its two functions. */

typedef struct recipe_key recipe_key;

typedef struct {
    const char *(*parse)(void *field, words text, const recipe_key *key);
    int (*print)(text_sink *out, const void *field);
    int repeats;
    char type;                 /* of numbers: int, u32, U64, float or double; */
    u8 least, most;            /* how many, */
    const char *why;           /* and what is wrong if they are not */
    const char *const *choice; /* of words, NULL at the end */
    struct {                   /* of lines (below) */
        size_t array, count, size, most;
        int least_kind;
        const char *fields;
        size_t at[5]; /* of the fields of entry 0 */
    } line;
} value_kind;

struct recipe_key {
    const char *name; /* NULL: a title, or what a digest still holds */
    const value_kind *kind;
    size_t offset;
    double least, most, none; /* none: what leaves the image as it is */
    const char *value;        /* the default, as text */
    const char *help;         /* or the title */
};

static int key_allows(const recipe_key *key, double v)
{
    return v >= key->least && v <= key->most;
}

static void set_number(void *field, int i, char type, double v)
{
    if (type == 'i') ((int *)field)[i] = (int)v;
    else if (type == 'u') ((u32 *)field)[i] = (u32)v;
    else if (type == 'U') ((u64 *)field)[i] = (u64)v;
    else if (type == 'f') ((float *)field)[i] = (float)v;
    else ((double *)field)[i] = v;
}

static double number_at(const void *field, int i, char type)
{
    return type == 'i' ? (double)((const int *)field)[i]
         : type == 'u' ? (double)((const u32 *)field)[i]
         : type == 'U' ? (double)((const u64 *)field)[i]
         : type == 'f' ? (double)((const float *)field)[i]
         : ((const double *)field)[i];
}

/* A size of one number is square; other numbers left out are 0. */
static const char *parse_numbers(void *field, words text, const recipe_key *key)
{
    const value_kind *kind = key->kind;
    char type = kind->type;
    int n = 0;
    double v = 0;
    words w;
    for (; take_word(&w, &text); n++) {
        if (n == kind->most) return kind->why;
        if (!read_number(&v, w)) return TEXT("not a number");
        if (!key_allows(key, v)) return "";
        if (type != 'd' && type != 'f' && v != atomdl_floor(v))
            return TEXT("not a whole number");
        set_number(field, n, type, v);
    }
    if (n < kind->least) return kind->why;
    for (; n < kind->most; n++) set_number(field, n, type, type == 'i' ? v : 0);
    return NULL;
}

static int print_numbers(text_sink *out, const void *field)
{
    const value_kind *kind = out->key->kind;
    char type = kind->type;
    int n = kind->most, some = type == 'i' || n == 1;
    double left = type == 'i' ? number_at(field, 0, type) : 0;
    while (n > kind->least && number_at(field, n - 1, type) == left) n--;
    for (int i = 0; i < n; i++) {
        write_number(out, i ? " " : "", number_at(field, i, type), type == 'f');
        some |= number_at(field, i, type) != 0;
    }
    return some;
}

static const struct {
    const char *name;
    u8 least, most; /* numbers that follow */
} FORM[ATOMDL_DISTS] = {
    {"", 1, 1}, {"", 2, 2}, {"log", 2, 2}, {"normal", 2, 2},
    {"poisson", 1, 1}, {"choice", 1, ATOMDL_CHOICES},
};

/* "^0.6", "A..B", a number: the values of a distribution; 0: none of them */
static int dist_value(atomdl_dist *d, words w)
{
    if (*w.s == '^')
        return is_range(d) && read_number(&d->exponent, (words){w.s + 1,
                                                                w.n - 1})
               && d->exponent > 0 && d->exponent <= 100;
    double a, b;
    if (!read_range(&a, &b, w))
        return d->n < ATOMDL_CHOICES && read_number(&d->v[d->n++], w);
    if (!(a <= b)) return 0;
    if (d->kind == ATOMDL_DIST_NORMAL && d->n == 2) {
        d->low = most(d->low, a);
        d->high = least(d->high, b);
        return d->low <= d->high;
    }
    if (d->kind == ATOMDL_DIST_CONSTANT) d->kind = ATOMDL_DIST_UNIFORM;
    if (d->n || !is_range(d)) return 0;
    d->v[d->n++] = a;
    d->v[d->n++] = b;
    return 1;
}

static const char *dist_check(const atomdl_dist *d)
{
    if (d->n < FORM[d->kind].least || d->n > FORM[d->kind].most)
        return d->n ? TEXT("wrong number of values") : TEXT("no value");
    if (d->kind == ATOMDL_DIST_LOG && !(d->v[0] > 0 && d->v[0] <= d->v[1]))
        return TEXT("log needs numbers above 0, the lesser first");
    if (d->kind == ATOMDL_DIST_NORMAL && !(d->v[1] >= 0))
        return TEXT("a standard deviation is not negative");
    for (int i = 0; i < d->n; i++)
        if ((d->kind != ATOMDL_DIST_NORMAL || !i)
            && !(d->v[i] >= d->low && d->v[i] <= d->high))
            return "";
    return NULL;
}

/* A distribution of a key, its entry i, which has a random stream of its own.
   NULL, a reason, or "": not within the key's limits. */
static const char *parse_entry(atomdl_dist *d, words text,
                               const recipe_key *key, int i)
{
    const char *bad = TEXT("not a distribution");
    memset(d, 0, sizeof *d);
    d->low = key->least;
    d->high = key->most;
    d->other = key->none;
    d->chance = 100;
    d->exponent = 1;
    d->stream = (u64)i + atomdl_digest_bytes(ATOMDL_DIGEST, key->name,
                                             text_length(key->name));
    words w;
    if (!take_word(&w, &text)) return TEXT("no value");
    if (w.s[w.n - 1] == '%') {
        w.n--;
        if (!read_number(&d->chance, w)) return bad;
        if (!(d->chance >= 0 && d->chance <= 100))
            return TEXT("a chance lies in 0%..100%");
        if (!take_word(&w, &text)) return TEXT("no value");
    }
    for (int kind = ATOMDL_DIST_LOG; kind < ATOMDL_DISTS; kind++)
        if (same_word(w, FORM[kind].name)) d->kind = (u8)kind;
    if (d->kind && !take_word(&w, &text)) return TEXT("no value");
    do {
        if (same_word(w, "else")) {
            if (!take_numbers(&d->other, 1, &text) || words_left(text))
                return TEXT("one number follows else");
            if (!key_allows(key, d->other)) return "";
        } else if (!dist_value(d, w)) {
            return bad;
        }
    } while (take_word(&w, &text));
    return dist_check(d);
}

static const char *parse_dist(void *field, words text, const recipe_key *key)
{
    return parse_entry(field, text, key, 0);
}

/* The text of parse_entry, without what is as the key says. */
static int print_dist(text_sink *out, const void *field)
{
    const atomdl_dist *d = field;
    const recipe_key *key = out->key;
    if (d->chance < 100) {
        write_number(out, "", d->chance, 0);
        write_string(out, "% ");
    }
    write_string(out, FORM[d->kind].name);
    for (int i = 0; i < d->n; i++)
        write_number(out, i ? is_range(d) ? ".." : " "
                            : *FORM[d->kind].name ? " " : "", d->v[i], 0);
    if (d->kind == ATOMDL_DIST_NORMAL
        && (d->low != key->least || d->high != key->most))
        write_range(out, " ", d->low, d->high, 0);
    if (d->exponent != 1) write_number(out, " ^", d->exponent, 0);
    if (d->other != key->none) write_number(out, " else ", d->other, 0);
    return 1;
}

/* one of a kind's words, as its number in an int */
static const char *parse_choice(void *field, words text, const recipe_key *key)
{
    const char *const *name = key->kind->choice;
    int i = 0;
    while (name[i] && !same_word(text, name[i])) i++;
    if (!name[i]) return key->help;
    *(int *)field = i;
    return NULL;
}

static int print_choice(text_sink *out, const void *field)
{
    write_string(out, out->key->kind->choice[*(const int *)field]);
    return 1;
}

/* text of a length as `most` says */
static const char *parse_text(void *field, words text, const recipe_key *key)
{
    return copy_word(field, (size_t)key->most, text, 0) ? NULL
                                                        : TEXT("too long");
}

static int print_text(text_sink *out, const void *field)
{
    const char *s = field;
    write_string(out, s);
    return *s != 0;
}

/* NAME[:WEIGHT] */
static const char *parse_weighted(char *name, size_t size, double *weight,
                                  words w, const recipe_key *key)
{
    words number;
    *weight = 1;
    if (split(&w, &number, &w, ':')) {
        if (!read_number(weight, number)) return TEXT("NAME or NAME:WEIGHT");
        if (!key_allows(key, *weight)) return TEXT("a weight is not negative");
    }
    return copy_word(name, size, w, 1) ? NULL : TEXT("no such name");
}

static void print_weighted(text_sink *out, int first, const char *name,
                           double weight, int single)
{
    write_strings(out, first ? "" : " ", name, "");
    if (weight != 1) write_number(out, ":", weight, single);
}

static const char *parse_materials(void *field, words text,
                                   const recipe_key *key)
{
    atomdl_recipe *r = field;
    atomdl_lattice any;
    words w;
    int n = 0;
    memset(r->material, 0, sizeof r->material);
    for (; take_word(&w, &text); n++) {
        if (n == ATOMDL_MATERIALS) return TEXT("too many");
        const char *why = parse_weighted(r->material[n], sizeof r->material[n],
                                         &r->share[n], w, key);
        if (why) return why;
        if (atomdl_lattice_find(&any, r->material[n]))
            return TEXT("graphene, graphene-ab, graphene-aa, h-bn, h-bn-2 or "
                        "{mos2,mose2,mote2,ws2,wse2,wte2}-{2h,3r,1t}-{1,2,3}");
    }
    r->materials = n;
    return NULL;
}

static int print_materials(text_sink *out, const void *field)
{
    const atomdl_recipe *r = field;
    for (int j = 0; j < r->materials; j++)
        print_weighted(out, !j, r->material[j], r->share[j], 0);
    return 1;
}

static void write_element(text_sink *out, int z)
{
    char symbol[3];
    atomdl_symbol(symbol, z);
    write_string(out, symbol);
}

/* *z <- the next word, an element; 0: it is none, and nothing is taken */
static int take_element(u8 *z, words *text)
{
    words rest = *text, w;
    int found = take_word(&w, &rest) ? atomdl_element(w.s, w.n) : 0;
    if (!found) return 0;
    *z = (u8)found;
    *text = rest;
    return 1;
}

static const char *parse_element(void *field, words text, const recipe_key *key)
{
    (void)key;
    return take_element(field, &text) && !words_left(text)
               ? NULL : TEXT("not an element");
}

static int print_element(text_sink *out, const void *field)
{
    const u8 *z = field;
    write_element(out, *z);
    return *z;
}

static const char *parse_defects(void *field, words text, const recipe_key *key)
{
    atomdl_drawing *d = field;
    char name[20];
    double weight;
    words w;
    memset(d->weight, 0, sizeof d->weight);
    while (take_word(&w, &text)) {
        const char *why = parse_weighted(name, sizeof name, &weight, w, key);
        if (why) return why;
        int kind = atomdl_defect_find(name);
        if (kind < 0)
            return TEXT("si-c3 si-c4 si2-c4 si2-c5 si2-c6 si3-c6 si4-c6 "
                        "si-c3-v si-adatom v1 stone-wales ..., vx1 vx2 vm m-x "
                        "m-x2 x-m x2-m sub-m sub-x");
        d->weight[kind] = (float)weight;
    }
    return NULL;
}

static int print_defects(text_sink *out, const void *field)
{
    const atomdl_drawing *d = field;
    int n = 0;
    for (int kind = 0; kind < ATOMDL_DEFECTS; kind++)
        if (d->weight[kind] > 0)
            print_weighted(out, !n++, atomdl_defect_name(kind),
                           (double)d->weight[kind], 1);
    return n;
}

/* the next word as a defect's kind, -1: it is none */
static int take_defect(words *text)
{
    char name[20];
    words w;
    return take_word(&w, text) && copy_word(name, sizeof name, w, 1)
               ? atomdl_defect_find(name) : -1;
}

/* Keys that may stand in several lines: arrays of small structures. `fields`
   says what a line holds: E, K, N, B, D an element, a kind of defect, a
   number, a whole number 0..11, a distribution (the rest of the line); small
   letters may be left out: 0. */

/* one field of entry i; NULL, a reason, or "": not within limits */
static const char *parse_field(void *at, char f, words *text,
                               const recipe_key *key, int i)
{
    const char *form = key->kind->why;
    int optional = f >= 'a';
    if (optional) f = (char)(f - 'a' + 'A');
    if (f == 'D') {
        words rest = *text;
        text->n = 0;
        return parse_entry(at, rest, key, i);
    }
    if (f == 'E') return take_element(at, text) || optional ? NULL : form;
    if (f == 'K') {
        int kind = take_defect(text);
        *(u8 *)at = (u8)kind;
        return kind < key->kind->line.least_kind ? form : NULL;
    }
    if (optional && !words_left(*text)) return NULL;
    double v;
    if (!take_numbers(&v, 1, text)) return form;
    if (f == 'B' && !(v >= 0 && v <= 11)) return form;
    if (f == 'B') *(u8 *)at = (u8)v;
    else *(double *)at = v;
    return key_allows(key, v) ? NULL : "";
}

static const char *parse_line(void *field, words text, const recipe_key *key)
{
    const value_kind *kind = key->kind;
    unsigned char *r = field;
    int *count = (int *)(void *)(r + kind->line.count);
    size_t from = kind->line.size * (size_t)*count;
    if ((size_t)*count == kind->line.most) return TEXT("too many lines");
    memset(r + kind->line.array + from, 0, kind->line.size);
    for (int k = 0; kind->line.fields[k]; k++) {
        const char *why = parse_field(r + kind->line.at[k] + from,
                                      kind->line.fields[k], &text, key, *count);
        if (why) return why;
    }
    if (words_left(text)) return kind->why;
    ++*count;
    return NULL;
}

/* Entry out->i of a kind of lines. */
static int print_line(text_sink *out, const void *field)
{
    const value_kind *kind = out->key->kind;
    const unsigned char *r = field;
    size_t from = kind->line.size * (size_t)out->i;
    if (out->i >= *(const int *)(const void *)(r + kind->line.count)) return 0;
    for (int k = 0; kind->line.fields[k]; k++) {
        const void *at = r + kind->line.at[k] + from;
        char f = kind->line.fields[k];
        if ((f == 'e' || f == 'b') && !*(const u8 *)at) continue;
        if (f == 'n' && !(absolute(*(const double *)at) > 0)) continue;
        const char *before = k ? " " : "";
        u8 small = *(const u8 *)at;
        if (f == 'b') write_number(out, before, small, 0);
        else if (f == 'N' || f == 'n')
            write_number(out, before, *(const double *)at, 0);
        else write_string(out, before);
        if (f == 'E' || f == 'e') write_element(out, small);
        else if (f == 'K') write_string(out, atomdl_defect_name(small));
        else if (f == 'D') print_dist(out, at);
    }
    return 1;
}

static void add_state(atomdl_dynamics *d, int at, int kind)
{
    atomdl_dynamics old = *d;
    for (int i = 0; i <= old.states; i++) {
        int from = i - (i > at);
        d->kind[i] = i == at ? (u8)kind : old.kind[from];
        d->hop[i] = i == at ? 0 : old.hop[from];
        d->turn[i] = i == at ? 0 : old.turn[from];
        for (int j = 0; j <= old.states; j++)
            d->rate[i][j] = i == at || j == at ? 0
                                               : old.rate[from][j - (j > at)];
    }
    d->states++;
}

/* A state of a movie: 0 for "none", that of a kind (added), -1: no such. They
   are in order of kinds, whatever that of the lines. */
static int movie_state(atomdl_dynamics *d, words w)
{
    if (same_word(w, "none")) return 0;
    int i, kind = take_defect(&w);
    for (i = 1; i < d->states && d->kind[i] < kind; i++) {}
    if (kind >= 0 && i < d->states && d->kind[i] == kind) return i;
    if (kind < 0 || d->states == ATOMDL_STATES) return -1;
    add_state(d, i, kind);
    return i;
}

/* FROM TO P: a rate, or how often a kind hops or turns. */
static const char *parse_event(void *field, words text, const recipe_key *key)
{
    atomdl_dynamics *d = field;
    const char *form = TEXT("FROM TO P, at most seven kinds of defects");
    words a, b;
    double p = 0;
    if (!take_word(&a, &text) || !take_word(&b, &text)
        || !take_numbers(&p, 1, &text) || words_left(text))
        return form;
    int moves = same_word(b, "hop") ? 1 : same_word(b, "turn") ? 2 : 0;
    int from = movie_state(d, a);
    int to = moves ? 0 : movie_state(d, b);
    from = movie_state(d, a); /* that of b may have moved it */
    if (from < 0 || to < 0 || (!from && !to)) return form;
    if (from && !(p >= 0 && p <= 1)) return TEXT("P must lie in 0..1");
    if (!(p >= 0 && p <= key->most)) return "";
    if (moves == 1) d->hop[from] = p;
    else if (moves) d->turn[from] = p;
    else d->rate[from][to] = p;
    return NULL;
}

/* "none", a kind, and behind the kinds "hop" and "turn" */
static const char *state_name(const atomdl_dynamics *d, int state)
{
    return !state ? "none" : state == d->states ? "hop"
           : state > d->states ? "turn" : atomdl_defect_name(d->kind[state]);
}

static int print_event(text_sink *out, const void *field)
{
    const atomdl_dynamics *d = field;
    int i = out->i;
    for (int from = 0; from < d->states; from++)
        for (int to = 0; to < d->states + 2; to++) {
            double p = to < d->states ? d->rate[from][to]
                       : to == d->states ? d->hop[from] : d->turn[from];
            if (!(p > 0) || i--) continue;
            write_strings(out, state_name(d, from), " ", state_name(d, to));
            write_number(out, " ", p, 0);
            return 1;
        }
    return 0;
}

static const char *const RULE[] = {"atom", "column", "defect", "region",
                                   "thickness"};

/* Takes the next word if it is this one. */
static int take_if(words *text, const char *word)
{
    words rest = *text, w;
    if (!take_word(&w, &rest) || !same_word(w, word)) return 0;
    *text = rest;
    return 1;
}

/* what follows "WHAT" of a rule; 0: it is not as it should be */
static int parse_rule(atomdl_rule *rule, words text, const recipe_key *key)
{
    double v = 0;
    words w;
    if (rule->what == ATOMDL_LABEL_REGION)
        return take_word(&w, &text) && copy_word(rule->text, 16, w, 1)
               && !words_left(text);
    if (rule->what == ATOMDL_LABEL_THICKNESS) {
        double low, high;
        if (!take_word(&w, &text) || !read_range(&low, &high, w)
            || words_left(text) || !(low >= 0 && low < high && high <= 1e6))
            return 0;
        rule->low = (float)low;
        rule->high = (float)high;
        return 1;
    }
    int any = take_if(&text, "any");
    if (!any && rule->what == ATOMDL_LABEL_ATOM) {
        if (!take_element(&rule->element, &text)) return 0;
    } else if (!any && rule->what == ATOMDL_LABEL_COLUMN) {
        if (!take_word(&w, &text)
            || !copy_word(rule->text, sizeof rule->text, w, 0))
            return 0;
    }
    if (rule->what == ATOMDL_LABEL_DEFECT ? !any : take_if(&text, "in"))
        if ((rule->kind = (u8)take_defect(&text)) >= ATOMDL_DEFECTS) return 0;
    if (!take_numbers(&v, 1, &text) || words_left(text)) return 0;
    rule->radius = (float)v;
    return v > 0 && v <= key->most;
}

/* NAME, which is a new class or one before, and perhaps a rule. */
static const char *parse_class(void *field, words text, const recipe_key *key)
{
    atomdl_recipe *r = field;
    atomdl_rule *rule = &r->rule[r->rules];
    words w;
    int c = 0, what = 0;
    char name[16];
    (void)take_word(&w, &text);
    if (!copy_word(name, sizeof name, w, 0)) return TEXT("too long a name");
    while (c < r->classes && !same_word(w, r->class_name[c])) c++;
    if (c == ATOMDL_CLASSES) return TEXT("too many classes");
    memcpy(r->class_name[c], name, sizeof name);
    if (c == r->classes) r->classes++;
    if (!take_word(&w, &text)) return NULL;
    if (r->rules == ATOMDL_RULES) return TEXT("too many rules");
    while (what <= ATOMDL_LABEL_THICKNESS && !same_word(w, RULE[what])) what++;
    memset(rule, 0, sizeof *rule);
    rule->what = (u8)what;
    rule->class_id = (u8)c;
    rule->element = rule->kind = rule->site = rule->region = ATOMDL_ANY;
    if (what > ATOMDL_LABEL_THICKNESS || !parse_rule(rule, text, key))
        return TEXT("after NAME: atom ELEMENT|any [in DEFECT] RADIUS, column "
                    "NAME|any [in DEFECT] RADIUS, defect KIND|any RADIUS, "
                    "region MATERIAL or thickness A..B");
    r->rules++;
    return NULL;
}

static void print_rule(text_sink *out, const atomdl_rule *rule)
{
    write_strings(out, " ", RULE[rule->what], " ");
    if (rule->what == ATOMDL_LABEL_THICKNESS) {
        write_range(out, "", (double)rule->low, (double)rule->high, 1);
        return;
    }
    if (rule->what == ATOMDL_LABEL_ATOM && rule->element != ATOMDL_ANY)
        write_element(out, rule->element);
    else if (*rule->text) write_string(out, rule->text);
    else if (rule->what != ATOMDL_LABEL_DEFECT || rule->kind == ATOMDL_ANY)
        write_string(out, "any");
    if (rule->what == ATOMDL_LABEL_REGION) return;
    if (rule->kind != ATOMDL_ANY) {
        if (rule->what != ATOMDL_LABEL_DEFECT) write_string(out, " in ");
        write_string(out, atomdl_defect_name(rule->kind));
    }
    write_number(out, " ", (double)rule->radius, 1);
}

/* first the names, in order, then the rules */
static int print_class(text_sink *out, const void *field)
{
    const atomdl_recipe *r = field;
    int i = out->i;
    if (i >= r->classes + r->rules) return 0;
    const atomdl_rule *rule = &r->rule[i < r->classes ? 0 : i - r->classes];
    write_string(out, r->class_name[i < r->classes ? i : rule->class_id]);
    if (i >= r->classes) print_rule(out, rule);
    return 1;
}

/* rows, a line each, stand where a builder's words would */
static int has_rows(const char *network)
{
    size_t n = text_length(network);
    return n && network[n - 1] == '\n';
}

static int print_network(text_sink *out, const void *field)
{
    return print_text(out, field) && !has_rows(field);
}

static const char *parse_network_row(void *field, words text,
                                     const recipe_key *key)
{
    char *s = field;
    size_t n = has_rows(s) ? text_length(s) : 0;
    if ((double)(n + text.n + 2) > key->most) return TEXT("too many rows");
    memcpy(s + n, text.s, text.n);
    s[n + text.n] = '\n';
    s[n + text.n + 1] = 0;
    return NULL;
}

static int print_network_row(text_sink *out, const void *field)
{
    words rest = words_of(field), row = {NULL, 0};
    if (!has_rows(field)) return 0;
    for (int i = 0; i <= out->i; i++)
        if (!split(&row, &rest, &rest, '\n')) return 0;
    write_words(out, row);
    return 1;
}

#define NUMBERS(of, few, many, form) \
    {parse_numbers, print_numbers, .type = of, .least = few, .most = many, \
     .why = TEXT(form)}
#define LINES(array, count, least_kind, form, fields, ...) \
    {parse_line, print_line, .repeats = 1, .why = TEXT(form), .line = { \
         offsetof(atomdl_recipe, array), offsetof(atomdl_recipe, count), \
         sizeof ((atomdl_recipe *)0)->array[0], \
         sizeof ((atomdl_recipe *)0)->array \
             / sizeof ((atomdl_recipe *)0)->array[0], \
         least_kind, fields, {__VA_ARGS__}}}
#define FIELD(member) offsetof(atomdl_recipe, member)

static const char *const IMAGES[] = {"incoherent", "multislice", NULL};
static const char *const SCALINGS[] = {"minmax", "std", "percentile", "level",
                                       NULL};
static const char *const OPTIMISERS[] = {"sgd", "adam", NULL};
static const char *const SCHEDULES[] = {"constant", "step", "cosine", NULL};

static const value_kind
KIND_INT = NUMBERS('i', 1, 1, "not a number"),
KIND_U32 = NUMBERS('u', 1, 1, "not a number"),
KIND_U64 = NUMBERS('U', 1, 1, "not a number"),
KIND_REAL = NUMBERS('d', 1, 1, "not a number"),
KIND_FLOAT = NUMBERS('f', 1, 1, "not a number"),
KIND_SIZE = NUMBERS('i', 1, 2, "one or two numbers"),
KIND_VECTORS = NUMBERS('d', 4, 4, "four numbers: ax ay bx by"),
KIND_CLASS_WEIGHTS = NUMBERS('f', 0, ATOMDL_CLASSES, "too many classes"),
KIND_DIST = {parse_dist, print_dist, .repeats = 0},
KIND_IMAGE = {parse_choice, print_choice, .choice = IMAGES},
KIND_SCALING = {parse_choice, print_choice, .choice = SCALINGS},
KIND_OPTIMISER = {parse_choice, print_choice, .choice = OPTIMISERS},
KIND_SCHEDULE = {parse_choice, print_choice, .choice = SCHEDULES},
KIND_TEXT = {parse_text, print_text, .repeats = 0},
KIND_MATERIALS = {parse_materials, print_materials, .repeats = 0},
KIND_ELEMENT = {parse_element, print_element, .repeats = 0},
KIND_DEFECTS = {parse_defects, print_defects, .repeats = 0},
KIND_NETWORK = {parse_text, print_network, .repeats = 0},
KIND_EVENT = {parse_event, print_event, .repeats = 1},
KIND_CLASS = {parse_class, print_class, .repeats = 1},
KIND_ROW = {parse_network_row, print_network_row, .repeats = 1},
KIND_BASIS = LINES(
    lattice.basis, lattice.n, 0, "ELEMENT u v [z]", "ENNn",
    FIELD(lattice.basis[0].element), FIELD(lattice.basis[0].u),
    FIELD(lattice.basis[0].v), FIELD(lattice.basis[0].z)),
KIND_ALLOY = LINES(
    alloy, alloys, 0, "FROM TO FRACTION", "EED", FIELD(alloy[0].from),
    FIELD(alloy[0].to), FIELD(alloy[0].fraction)),
KIND_PLACE = LINES(
    place, places, 0, "KIND [ELEMENT] x y [TURN 0..11]", "KeNNb",
    FIELD(place[0].kind), FIELD(place[0].element), FIELD(place[0].x),
    FIELD(place[0].y), FIELD(place[0].operation)),
KIND_SCATTER = LINES(
    scatter, scatters, ATOMDL_MOTIFS,
    "KIND [ELEMENT] FRACTION, KIND one of vx1 vx2 vm m-x m-x2 x-m x2-m sub-m "
    "sub-x sub-m-vx1", "KeD", FIELD(scatter[0].kind),
    FIELD(scatter[0].element), FIELD(scatter[0].fraction)),
KIND_WEIGHT = LINES(
    weight, weights, 0, "ELEMENT SIGNAL", "ED", FIELD(weight[0].element),
    FIELD(weight[0].signal));

/* ---------- Recipes: keys -------------------------------------------------

   A key is a row: its name, kind, field of atomdl_recipe (seed: the whole,
   which begins with it), limits, for distributions what leaves the image as it
   is, default and help. It is then read, written, checked against its limits
   and digested; that it does something is up to "Samples" below. A new row
   changes the digests of all recipes, unless is_digested leaves it out. */

#define ROW(name, kind, field, least, most, none, value, help) \
    {name, &kind, offsetof(atomdl_recipe, field), least, most, none, value, \
     TEXT(help)}
#define DIST(field, least, most, none, value, help) \
    ROW(#field, KIND_DIST, field, least, most, none, value, help)
#define TITLE(text) {.help = TEXT(text)}
/* A key that is no more: as its default was digested when the recipes of the
   weights were published. Such rows may go when weights are trained anew. */
#define RETIRED(line) {.value = line}

static const recipe_key RECIPE_KEYS[] = {
    TITLE("Images"),
    ROW("seed", KIND_U64, seed, 0, 999999999999999, 0, "1",
        "sample i is a function of recipe, seed and i"),
    ROW("size", KIND_SIZE, w, 8, 32768, 0, "128", "px: side, or width height"),
    DIST(pixel, 0.02, 1, 0.15625, "0.15625", "A per px"),
    DIST(scan, 0, 1, 0, "0",
        "A per px of the scan, resampled to pixel; 0: pixel"),
    ROW("scaling", KIND_SCALING, scaling, 0, 0, 0, "percentile",
        "for the network: minmax, std, percentile or level"),
    TITLE("Lattice"),
    ROW("material", KIND_MATERIALS, seed, 0, 1e6, 0, "graphene",
        "NAME[:WEIGHT]..., one of them a sample"),
    ROW("vectors", KIND_VECTORS, lattice, -100, 100, 0, "",
        "A: ax ay bx by of the user's lattice"),
    ROW("basis", KIND_BASIS, seed, -100, 100, 0, "",
        "its atoms: ELEMENT u v [z in A]; equal u v: one column"),
    ROW("xyz", KIND_TEXT, xyz, 0, 128, 0, "", "a file of atoms instead"),
    DIST(rotation, -360, 360, 0, "0..360", "degrees"),
    DIST(scale, 0.8, 1.2, 1, "1", "of all lengths"),
    DIST(shear, -0.1, 0.1, 0, "0", "in both components"),
    DIST(distortion, -2, 2, 0, "0", "A in x and y of two smooth waves"),
    DIST(distortion_k, -1, 1, 0, "normal 0 0.04",
        "1/A, their wave vectors over 2 pi, x and y"),
    DIST(thermal, 0, 0.5, 0, "0.05", "A, rms in x and in y, part of the truth"),
    DIST(boundary, 0, 90, 0, "0", "degrees between two grains; 0: one grain"),
    DIST(step, 0, 1, 0, "0",
        "1: two of the materials on one lattice, side by side"),
    DIST(wave, 0, 50, 0, "0", "A, amplitude of that line"),
    DIST(wavelength, 5, 1000, 40, "20..60", "A"),
    DIST(hole, 0, 100, 0, "0", "A, its radius; 0: none"),
    DIST(edge, 0, 1, 0, "0", "1: vacuum beyond a line"),
    ROW("alloy", KIND_ALLOY, seed, 0, 1, 0, "",
        "FROM TO FRACTION: that part of an element is another one"),
    TITLE("Defects"),
    ROW("defects", KIND_DEFECTS, drawing, 0, 1e6, 0, "",
        "KIND[:WEIGHT]..., drawn without overlap"),
    DIST(count, 0, 10000, 0, "0", "of them in a sample"),
    RETIRED("crowd = 0\n"),
    ROW("dopant", KIND_ELEMENT, drawing.element, 0, 0, 0, "",
        "element of the kinds sub-..."),
    ROW("apart", KIND_REAL, drawing.apart, 0, 100, 0, "6.5",
        "A, least distance of two centres"),
    RETIRED("nearer = 3.9\nnearer_part = 0.15\nrelaxation = 0.12\n"),
    ROW("place", KIND_PLACE, seed, 0, 1e5, 0, "",
        "KIND [ELEMENT] x y [TURN]: one near (x, y) A, turned by 60 degrees\n"
        "# TURN times, mirrored from 6 on"),
    ROW("scatter", KIND_SCATTER, seed, 0, 1, 0, "",
        "KIND [ELEMENT] FRACTION: at each site by itself"),
    DIST(clouds, 0, 8, 0, "0", "number of clouds of amorphous carbon"),
    DIST(cloud_sigma, 0.5, 200, 5, "1.5..7", "A"),
    DIST(cloud_atoms, 0, 10000, 0, "0..120", "atoms of a cloud"),
    DIST(cloud_height, 0, 200, 0, "0", "or A, thickness of its centre"),
    DIST(cloud_core, 0, 2, 0, "0", "A between its atoms at least, as 1.3"),
    DIST(cloud_weight, 0, 10, 1, "1", "of its atoms' signal"),
    ROW("event", KIND_EVENT, dynamics, 0, 100, 0, "",
        "movies: FROM TO P a frame; FROM may be none, TO none, hop or turn"),
    DIST(movie_drift, -10, 10, 0, "normal 0 0.1",
        "movies: A a frame, in x and y"),
    TITLE("Optics"),
    ROW("image", KIND_IMAGE, image, 0, 0, 0, "incoherent",
        "incoherent: fast; multislice: electrons as waves, a\n"
        "# minute for 25 A of one layer of MoS2"),
    ROW("configurations", KIND_INT, configurations, 0, 1024, 0, "4",
        "multislice: of thermal motion; 0: atoms at rest"),
    ROW("gaussian", KIND_REAL, gaussian, 0, 1, 0, "0",
        "part of the samples drawn with blobs, the others with a probe"),
    DIST(fwhm, 0.3, 5, 1.1, "1.1", "blobs: A"),
    DIST(ellipticity, 0, 0.8, 0, "0", "of variances"),
    DIST(tail, 0, 0.8, 0, "0", "part in a wide Gaussian"),
    DIST(tail_sigma, 0.3, 5, 1, "0.8..2.2", "A"),
    DIST(power, 0.5, 3, 1.64, "1.5..1.8",
        "blobs: signal of an element goes as Z to this"),
    DIST(voltage, 20, 1000, 60, "60", "kV"),
    DIST(aperture, 5, 60, 31, "31", "mrad"),
    DIST(inner, 5, 400, 86, "86", "mrad, detector"),
    DIST(outer, 10, 500, 200, "200", "mrad, detector"),
    DIST(defocus, -500, 500, 0, "0", "A"),
    DIST(c3, -100, 100, 0, "0", "um"),
    DIST(c5, -100, 100, 0, "0", "mm"),
    DIST(a1, -1000, 1000, 0, "0", "A: two-fold astigmatism, any direction"),
    DIST(coma, -10000, 10000, 0, "0", "A: C21"),
    DIST(a2, -10000, 10000, 0, "0", "A: C23"),
    DIST(source, 0, 4, 0, "0.8", "A FWHM"),
    DIST(spread, 0, 500, 0, "0", "A FWHM of defocus"),
    DIST(stacked, 0.5, 2, 1, "1",
        "signal of two stacked atoms over the sum of their signals"),
    DIST(channelling, 0, 4, 0, "1",
        "times what columns show beyond the sum of their atoms; 0: they add"),
    ROW("weight", KIND_WEIGHT, seed, 0.01, 1000, 1, "",
        "ELEMENT SIGNAL relative to carbon, instead of the physics"),
    DIST(weight_spread, 0, 0.5, 0, "0", "relative sd of the atoms' signals"),
    TITLE("Scan and detector (signals in units of the lattice's mean)"),
    DIST(drift, -20, 20, 0, "0",
        "A from the first row to the last, in x and y; truth follows"),
    DIST(jitter, 0, 2, 0, "0", "A rms of the rows"),
    DIST(hum, 0, 2, 0, "0", "A, a vibration"),
    DIST(hum_cycles, 0, 100, 0, "0.05..1", "of it per row"),
    DIST(background, 0, 100, 0, "0", ""),
    DIST(tilt, 0, 100, 0, "0",
        "change of background across the image, any direction"),
    DIST(ripple, 0, 100, 0, "0", "slow wave in it"),
    DIST(row_gain, 0, 0.5, 0, "0", "rms"),
    DIST(density, 0, 2, 0, "0",
        "A: sd of the noise times pixel over contrast, Poisson"),
    ROW("contrast", KIND_REAL, contrast, 0.01, 10, 0, "1.57",
        "which density refers to (graphene, carbon to hollow)"),
    DIST(read_share, 0, 1, 0, "0", "of density's variance is Gaussian"),
    DIST(dose, 0, 1e12, 0, "0", "or e/A2; 0 both: no counting noise"),
    DIST(read, 0, 100, 0, "0", "Gaussian noise beside dose"),
    DIST(smooth, 0, 1, 0, "0", "px: of the noise alone"),
    DIST(blur, 0, 8, 0, "0", "px: of the image"),
    DIST(saturation, 0.5, 1, 1, "1", "part of the pixels that are not clipped"),
    DIST(gamma, 0.2, 5, 1, "1", ""),
    ROW("bits", KIND_INT, bits, 0, 16, 0, "0", "8, 16 or 0: not rounded"),
    TITLE("Labels: a class's number is its place; later rules paint over"),
    ROW("class", KIND_CLASS, seed, 0, 100, 0, "",
        "NAME [atom E|any [in DEFECT] RADIUS | column NAME|any [in DEFECT] "
        "RADIUS\n# | defect KIND|any RADIUS | region MATERIAL | thickness "
        "A..B], in A"),
    TITLE("Augmentation of image and labels"),
    ROW("dihedral", KIND_INT, dihedral, 0, 1, 0, "1",
        "1: one of the eight symmetries of the square"),
    DIST(warp, 0, 1, 0, "0", "1: the four that follow"),
    DIST(shift, -1, 1, 0, "-0.1..0.1", "part of the size"),
    DIST(turn, -360, 360, 0, "0..360", "degrees"),
    DIST(zoom, 0.1, 10, 1, "0.8..1.25", "both axes"),
    DIST(skew, -1, 1, 0, "-0.1..0.1", "x by y"),
    DIST(coarse, 1, 16, 1, "1", "times coarser sampling, enlarged again"),
    DIST(gain, 0.01, 100, 1, "1", "after scaling"),
    DIST(offset, -100, 100, 0, "0", "after scaling"),
    TITLE("Network and training"),
    ROW("network", KIND_NETWORK, network, 0, 4096, 0, "fcn 8 16 32",
        "fcn W..., unet N, resunet N [K [bottleneck [DROPOUT]]]"),
    ROW("row", KIND_ROW, network, 0, 4096, 0, "", "or row by row"),
    RETIRED("initial = he\n"),
    ROW("batch", KIND_INT, batch, 1, 4096, 0, "8", "samples a step"),
    ROW("steps", KIND_U32, plan.steps, 1, 1e9, 0, "1000", ""),
    ROW("optimiser", KIND_OPTIMISER, plan.optimiser, 0, 0, 0, "adam",
        "adam or sgd"),
    ROW("rate", KIND_FLOAT, plan.rate, 0, 10, 0, "0.001", "the greatest"),
    ROW("momentum", KIND_FLOAT, plan.momentum, 0, 1, 0, "0.9", "of sgd"),
    RETIRED("decay = 0\n"),
    ROW("clip", KIND_FLOAT, plan.clip, 0, 1e9, 0, "0",
        "greatest norm of the gradient; 0: any"),
    ROW("schedule", KIND_SCHEDULE, plan.schedule, 0, 0, 0, "cosine",
        "constant, step or cosine"),
    ROW("warmup", KIND_REAL, warmup, 0, 1, 0, "0.03", "part of the steps"),
    ROW("every", KIND_U32, plan.every, 0, 1e9, 0, "0",
        "schedule step: times factor every so many steps"),
    ROW("factor", KIND_FLOAT, plan.factor, 0, 1, 0, "0.1", ""),
    ROW("average", KIND_U32, plan.average, 0, 1e9, 0, "0",
        "weights: mean over the last steps"),
    ROW("ce", KIND_FLOAT, plan.loss.ce, 0, 1000, 0, "1",
        "loss: part of cross-entropy"),
    ROW("focal", KIND_FLOAT, plan.loss.focal, 0, 1000, 0, "0", ""),
    ROW("dice", KIND_FLOAT, plan.loss.dice, 0, 1000, 0, "0", ""),
    ROW("focal_gamma", KIND_FLOAT, plan.loss.gamma, 0, 10, 0, "2", ""),
    RETIRED("dice_smooth = 1\n"),
    ROW("class_weights", KIND_CLASS_WEIGHTS, plan.loss.weight, 0, 1e6, 0, "",
        "of each class in ce and focal; none: all 1"),
    ROW("unweigh", KIND_INT, unweigh, 0, 1, 0, "0",
        "1: taken back at the end, so that scores are probabilities"),
    ROW("validation", KIND_INT, validation, 0, 100000, 0, "64",
        "samples that no step learns from"),
    ROW("check", KIND_INT, check, 1, 1000000, 0, "100",
        "steps from one validation to the next"),
    ROW("patience", KIND_INT, patience, 0, 100000, 0, "0",
        "stop after so many checks without gain; 0: never"),
};

enum { N_KEYS = sizeof RECIPE_KEYS / sizeof RECIPE_KEYS[0] };

/* ---------- Recipes: text ------------------------------------------------- */

static void *field_of(const atomdl_recipe *r, const recipe_key *key)
{
    return (unsigned char *)r + key->offset;
}

static int recipe_fault(atomdl_recipe_error *error, int line, const char *key,
                        const char *why, const char *more)
{
    if (!error) return ATOMDL_EARG;
    text_sink out = {.text = error->text, .size = sizeof error->text};
    memset(error, 0, sizeof *error);
    error->line = line;
    write_strings(&out, key, *key ? ": " : "", why);
    write_string(&out, more);
    return ATOMDL_EARG;
}

int atomdl_edits(const char *a, size_t letters, const char *b)
{
    int n = (int)text_length(b);
    if (letters > 31 || n > 31) return 99;
    int row[32];
    for (int j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 0; i < letters; i++) {
        int corner = row[0]++;
        for (int j = 0; j < n; j++) {
            int t = corner + (a[i] != b[j]);
            corner = row[j + 1];
            if (row[j] + 1 < t) t = row[j] + 1;
            if (corner + 1 < t) t = corner + 1;
            row[j + 1] = t;
        }
    }
    return row[n];
}

/* No such key, and which one it may have been. */
static int unknown_key(atomdl_recipe_error *error, int line, words name)
{
    const char *near = NULL;
    int least = 3;
    for (int k = 0; k < N_KEYS; k++) {
        const char *key = RECIPE_KEYS[k].name;
        int d = key ? atomdl_edits(name.s, name.n, key) : least;
        if (d < least) near = key, least = d;
    }
    char shown[24];
    name.n = name.n < sizeof shown ? name.n : sizeof shown - 1;
    copy_word(shown, sizeof shown, name, 0);
    return recipe_fault(error, line, shown,
                        near ? TEXT("no such key; perhaps ")
                             : TEXT("no such key"), near ? near : "");
}

static int find_key(words name)
{
    for (int k = 0; k < N_KEYS; k++)
        if (RECIPE_KEYS[k].name && same_word(name, RECIPE_KEYS[k].name))
            return k;
    return N_KEYS;
}

/* One line, not blank. seen (may be NULL): which keys came before. */
static int recipe_line(atomdl_recipe *r, atomdl_recipe_error *error, int line,
                       words text, u8 *seen)
{
    words name, value;
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.s[i] < 32 && text.s[i] != '\t')
            return recipe_fault(error, line, "", TEXT("not a text"), "");
    if (!split(&name, &value, &text, '='))
        return recipe_fault(error, line, "", TEXT("not `key = value`"), "");
    name = trimmed(name);
    value = trimmed(value);
    int k = find_key(name);
    if (k == N_KEYS) return unknown_key(error, line, name);
    const recipe_key *key = &RECIPE_KEYS[k];
    const char *why = NULL;
    if (seen && seen[k] && !key->kind->repeats) why = TEXT("given twice");
    else if (!value.n) why = TEXT("no value");
    else why = key->kind->parse(field_of(r, key), value, key);
    if (seen) seen[k] = 1;
    if (!why) return ATOMDL_OK;
    char limits[64] = "";
    text_sink out = {.text = limits, .size = sizeof limits};
    if (!*why) write_range(&out, "", key->least, key->most, 0);
    return recipe_fault(error, line, key->name,
                        *why ? why : TEXT("must lie in "), limits);
}

void atomdl_recipe_default(atomdl_recipe *r)
{
    memset(r, 0, sizeof *r);
#ifndef ATOMDL_NO_TRAIN
    r->plan = atomdl_plan_default();
#endif
    r->drawing = (atomdl_drawing){.nearer = 3.9, .fraction = 0.15,
                                  .scale_sd = 0.12,
                                  .jitter = {0.05, 0.07, 0.03}};
    r->dynamics.states = 1;
    for (const recipe_key *key = RECIPE_KEYS; key < RECIPE_KEYS + N_KEYS; key++)
        if (key->name && *key->value)
            key->kind->parse(field_of(r, key), words_of(key->value), key);
}

int atomdl_recipe_set(atomdl_recipe *r, atomdl_recipe_error *error,
                      const char *line)
{
    words rest = words_of(line), text;
    if (!take_line(&text, &rest) || !text.n)
        return recipe_fault(error, 0, "", TEXT("not `key = value`"), "");
    return recipe_line(r, error, 0, text, NULL);
}

int atomdl_recipe_parse(atomdl_recipe *r, atomdl_recipe_error *error,
                        const char *text, size_t n)
{
    u8 seen[N_KEYS] = {0};
    words rest = {text, n};
    int status = ATOMDL_OK, number = 1;
    if (error) memset(error, 0, sizeof *error);
    atomdl_recipe_default(r);
    words line;
    for (; !status && take_line(&line, &rest); number++)
        if (line.n) status = recipe_line(r, error, number, line, seen);
    return status ? status : atomdl_recipe_check(r, error);
}

/* The lines of one key: "key = value"; how many bytes. */
static size_t print_key(text_sink *out, const atomdl_recipe *r,
                        const recipe_key *key)
{
    size_t n = out->n;
    int more;
    out->key = key;
    out->i = 0;
    do {
        text_sink before = *out;
        write_strings(out, key->name, " = ", "");
        more = key->kind->print(out, field_of(r, key));
        if (!more) *out = before;
        else write_string(out, "\n");
        out->i++;
    } while (more && key->kind->repeats);
    return out->n - n;
}

/* Has a key the same value in both? */
static int same_value(const atomdl_recipe *r, const atomdl_recipe *q,
                      const recipe_key *key)
{
    text_sink a = {.digest = ATOMDL_DIGEST}, b = a;
    print_key(&a, r, key);
    print_key(&b, q, key);
    return a.digest == b.digest;
}

size_t atomdl_recipe_print(char *text, size_t size, const atomdl_recipe *r,
                           int all)
{
    text_sink out = {.text = text, .size = size};
    atomdl_recipe plain;
    atomdl_recipe_default(&plain);
    for (int k = 0; k < N_KEYS; k++) {
        const recipe_key *key = &RECIPE_KEYS[k];
        if (!key->name && key->help && all)
            write_strings(&out, out.n ? "\n# " : "# ", key->help, "\n\n");
        if (!key->name || (!all && same_value(r, &plain, key))) continue;
        if (all && *key->help) write_strings(&out, "# ", key->help, "\n");
        if (!print_key(&out, r, key) && all)
            write_strings(&out, "# ", key->name, " =\n");
    }
    if (size) text[out.n < size ? out.n : size - 1] = 0;
    return out.n;
}

/* Keys that came after recipes had been published count where they are set, so
   that the digests of those recipes stay. */
static int is_digested(const atomdl_recipe *r, const recipe_key *key)
{
    const atomdl_dist *late[] = {&r->cloud_core, &r->channelling};
    const void *field = field_of(r, key);
    if (field == &r->image || field == &r->configurations)
        return r->image != ATOMDL_IMAGE_INCOHERENT;
    if (field == &r->unweigh) return r->unweigh;
    for (int i = 0; i < 2; i++)
        if (field == (const void *)late[i])
            return late[i]->kind != ATOMDL_DIST_CONSTANT || late[i]->v[0] > 0;
    return 1;
}

u64 atomdl_recipe_digest(const atomdl_recipe *r)
{
    text_sink out = {.digest = ATOMDL_DIGEST};
    for (const recipe_key *key = RECIPE_KEYS; key < RECIPE_KEYS + N_KEYS; key++)
        if (key->name && is_digested(r, key)) print_key(&out, r, key);
        else if (!key->name && key->value) write_string(&out, key->value);
    return out.digest;
}

/* Background and atom, where a recipe names no classes. */
static int classes_of(const atomdl_recipe *r)
{
    return r->classes ? r->classes : 2;
}

/* Rows as they are, or those that a builder's words stand for. */
int atomdl_recipe_network(atomdl_arch *arch, atomdl_layer *row, int max,
                          const atomdl_recipe *r)
{
    double v[8] = {0};
    words text = words_of(r->network), name, w;
    int n = 0, bottleneck = 0, width[8] = {0};
    if (has_rows(r->network))
        return atomdl_arch_parse(arch, row, max, text.s, text.n, NULL);
    if (!take_word(&name, &text)) return ATOMDL_EARG;
    while (take_word(&w, &text))
        if (same_word(w, "bottleneck") && n == 2) bottleneck = 1;
        else if (n == 8 || !read_number(&v[n++], w)) return ATOMDL_EARG;
    for (int i = 0; i < n; i++) {
        if (!(v[i] >= 0 && v[i] <= ATOMDL_CHANNELS)) return ATOMDL_EARG;
        width[i] = (int)v[i];
    }
    if (same_word(name, "fcn") && n)
        return atomdl_fcn(arch, row, max, width, n, classes_of(r));
    if (same_word(name, "unet") && n == 1)
        return atomdl_unet(arch, row, max, width[0], classes_of(r));
    atomdl_residual how = {width[0], n > 1 ? width[1] : 3, bottleneck,
                           (float)v[2]};
    if (same_word(name, "resunet") && n >= 1 && n <= 3)
        return atomdl_resunet(arch, row, max, &how, classes_of(r));
    return ATOMDL_EARG;
}

/* ---------- Recipes: the whole -------------------------------------------- */

enum { MOST_ATOMS = 1 << 24 }; /* of a sample */

/* The greatest value that a distribution gives (normal, Poisson: nearly). */
static double dist_most(const atomdl_dist *d)
{
    double m = d->v[0];
    for (int i = 1; i < d->n && d->kind != ATOMDL_DIST_NORMAL; i++)
        m = most(m, d->v[i]);
    if (d->kind == ATOMDL_DIST_NORMAL) m += 6.5 * d->v[1];
    if (d->kind == ATOMDL_DIST_POISSON) m += 10 * atomdl_sqrt(m) + 20;
    if (d->chance < 100) m = most(m, d->other);
    return least(m, d->high);
}

static int lattice_of(atomdl_lattice *lattice, const atomdl_recipe *r, int i)
{
    if (!r->lattice.n) return atomdl_lattice_find(lattice, r->material[i]);
    *lattice = r->lattice;
    int j;
    for (i = 0; i < lattice->n; i++) { /* one site where u and v are equal */
        const atomdl_basis *b = &lattice->basis[i];
        for (j = 0; lattice->basis[j].u != b->u || lattice->basis[j].v != b->v;)
            j++;
        lattice->basis[i].site = (u8)j;
    }
    return atomdl_lattice_check(lattice);
}

/* What makes no structure; NULL: it does. */
static const char *check_structure(const atomdl_recipe *r)
{
    double side = most_int(r->w, r->h) * dist_most(&r->pixel), drawn = 0;
    const double *a = r->lattice.a, *b = r->lattice.b;
    int cell = a[0] != 0 || a[1] != 0 || b[0] != 0 || b[1] != 0;
    int metal = 0, dopant = 0;
    if (*r->xyz && r->lattice.n)
        return TEXT("xyz and basis: only one of them");
    if (r->lattice.n && !cell) return TEXT("basis without vectors");
    if (cell && !r->lattice.n) return TEXT("vectors without basis");
    atomdl_lattice l;
    for (int i = 0; !*r->xyz && i < (cell ? 1 : r->materials); i++) {
        if (lattice_of(&l, r, i))
            return TEXT("vectors and basis make no lattice");
        metal |= l.metal;
        if (side * side / absolute(cross(l.a, l.b)) * l.n > MOST_ATOMS)
            return TEXT("more than 16 million atoms in an image");
    }
    if (dist_most(&r->step) > 0 && (r->materials < 2 || cell || *r->xyz))
        return TEXT("step needs two materials");
    for (int i = 0; i < ATOMDL_DEFECTS; i++) {
        drawn += (double)r->drawing.weight[i];
        dopant |= needs_dopant(i) && r->drawing.weight[i] > 0;
    }
    if (!(drawn > 0) && dist_most(&r->count) > 0)
        return TEXT("count without defects");
    for (int i = 0; i < r->scatters; i++)
        if (needs_dopant(r->scatter[i].kind) && !r->scatter[i].element)
            return TEXT("scatter sub-...: which element?");
    if (r->scatters && !metal)
        return TEXT("scatter needs a material with metal and chalcogen");
    return dopant && !r->drawing.element ? TEXT("defects sub-... need dopant")
                                         : NULL;
}

/* What makes no labels, and no network for these classes and this size; NULL:
   it does. */
static const char *check_network(const atomdl_recipe *r)
{
    atomdl_column any;
    int n = 0;
    for (int i = 0; i < r->rules; i++)
        if (r->rule[i].what == ATOMDL_LABEL_COLUMN
            && !rule_sound(&r->rule[i], &any))
            return TEXT("class: a column is such as S2, Mo+S2 or vacancy");
    for (int i = 0; i < ATOMDL_CLASSES; i++)
        if (r->plan.loss.weight[i] > 0) n = i + 1;
    if (n && n != classes_of(r))
        return TEXT("class_weights: one for each class");
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch_info info;
    atomdl_arch arch;
    if (atomdl_recipe_network(&arch, row, ATOMDL_ROWS, r)
        || atomdl_arch_check(&info, NULL, &arch, 0, 0))
        return TEXT("network: fcn W..., unet N, resunet N [K [bottleneck "
                    "[DROPOUT]]] or sound rows");
    if (info.classes != classes_of(r))
        return TEXT("row: the last has another number of channels than there "
                    "are classes");
    if (atomdl_arch_check(&info, NULL, &arch, r->h, r->w))
        return TEXT("size is no multiple of the network's stride");
    return NULL;
}

/* Combinations that no single key can refuse. */
int atomdl_recipe_check(const atomdl_recipe *r, atomdl_recipe_error *error)
{
    const char *why = NULL;
    if (r->bits && r->bits != 8 && r->bits != 16)
        why = TEXT("bits: 8, 16 or 0");
    else if (dist_most(&r->density) > 0 && dist_most(&r->dose) > 0)
        why = TEXT("density and dose: only one of them");
    else if (r->w != r->h && dist_most(&r->warp) > 0)
        why = TEXT("warp needs a square size");
    if (!why) why = check_structure(r);
    if (!why) why = check_network(r);
#ifndef ATOMDL_NO_TRAIN
    if (!why) {
        atomdl_plan plan = atomdl_recipe_plan(r);
        if (atomdl_plan_check(&plan, classes_of(r)))
            why = TEXT("rate, steps, momentum, loss...: out of range");
    }
#endif
    return why ? recipe_fault(error, 0, "", why, "") : ATOMDL_OK;
}

atomdl_plan atomdl_recipe_plan(const atomdl_recipe *r)
{
    atomdl_plan plan = r->plan;
    plan.warmup = (u32)(r->warmup * r->plan.steps);
    plan.seed = r->seed;
    return plan;
}

/* ---------- Samples: draws ------------------------------------------------ */

enum { FIELD_MARGIN = 4, CLOUDS = 8 }; /* A around the field; most clouds */
enum { WAVE_MARGIN = 11 }; /* instead, where electrons are waves */

/* Streams of a sample beside those of its keys (hashes of their names). */
enum { STREAM_MATERIAL = 1, STREAM_PLACE, STREAM_LINE, STREAM_ALLOY,
       STREAM_DEFECTS = STREAM_ALLOY + ATOMDL_ALLOYS, STREAM_SCATTER,
       STREAM_CUT = STREAM_SCATTER + ATOMDL_SCATTERS, STREAM_CLOUDS,
       STREAM_CARBON, STREAM_WAVES = STREAM_CARBON + CLOUDS, STREAM_THERMAL,
       STREAM_SPREAD, STREAM_MODEL, STREAM_ANGLES, STREAM_ROWS, STREAM_NOISE,
       STREAM_DIHEDRAL, STREAM_FRAME, STREAM_EVENTS, STREAM_PHONONS };

typedef struct { /* what a sample is made of */
    const atomdl_source *source;
    const atomdl_recipe *r;
    atomdl_sample *out;
    atomdl_movie *movie; /* or NULL */
    atomdl_rng rng;      /* the sample's */
    atomdl_rng noise;    /* the frame's */
    double dx, dy;       /* A, drift of a movie */
    atomdl_lattice lattice[2];
    int material[2];
    atomdl_cloud cloud[CLOUDS];
    int clouds;
    u32 cloud_room;
} scene;

static void draw_some(double *v, int n, const atomdl_dist *d, const scene *s)
{
    atomdl_rng rng = atomdl_rng_split(&s->rng, d->stream);
    while (n-- > 0) *v++ = atomdl_dist_draw(d, &rng);
}

static double draw(const atomdl_dist *d, const scene *s)
{
    double v;
    draw_some(&v, 1, d, s);
    return v;
}

/* n uniform numbers in [0, 1) from a stream of the sample */
static void draw_uniform(double *u, int n, u64 stream, const scene *s)
{
    atomdl_rng rng = atomdl_rng_split(&s->rng, stream);
    while (n-- > 0) *u++ = atomdl_rng_uniform64(&rng);
}

static double field_margin(const scene *s)
{
    return s->r->image == ATOMDL_IMAGE_MULTISLICE ? WAVE_MARGIN : FIELD_MARGIN;
}

static double radians(double degrees) { return degrees * (PI / 180); }

/* A material by its share; not: that one is left out (-1: none is). */
static int draw_material(const scene *s, double u, int not)
{
    double share[ATOMDL_MATERIALS];
    memcpy(share, s->r->share, sizeof share);
    if (not >= 0) share[not] = 0;
    return weighted_index(share, s->r->materials, u);
}

/* ---------- Samples: structure -------------------------------------------- */

/* Where the clouds lie, and room for their atoms. */
static void draw_clouds(scene *s)
{
    const atomdl_recipe *r = s->r;
    double number = atomdl_floor(draw(&r->clouds, s) + 0.5);
    s->clouds = (int)least(number, CLOUDS);
    double sigma[CLOUDS], atoms[CLOUDS], height[CLOUDS], core[CLOUDS];
    draw_some(sigma, CLOUDS, &r->cloud_sigma, s);
    draw_some(atoms, CLOUDS, &r->cloud_atoms, s);
    draw_some(height, CLOUDS, &r->cloud_height, s);
    draw_some(core, CLOUDS, &r->cloud_core, s);
    double at[2 * CLOUDS];
    draw_uniform(at, 2 * CLOUDS, STREAM_CLOUDS, s);
    s->cloud_room = 0;
    for (int i = 0; i < s->clouds; i++) {
        double area = 2 * PI * sigma[i] * sigma[i];
        s->cloud[i] = (atomdl_cloud){
            s->out->structure.w * at[2 * i] + s->dx,
            s->out->structure.h * at[2 * i + 1] + s->dy, sigma[i],
            height[i] > 0 ? height[i] : atoms[i] / (CARBON_DENSITY * area),
            core[i]};
        double mean = CARBON_DENSITY * area * s->cloud[i].peak;
        s->cloud_room += (u32)(mean + 10 * atomdl_sqrt(mean) + 20);
    }
}

/* Room for everything, then an empty structure. */
static int new_structure(scene *s, double w, double h, double drawn,
                         int regions, atomdl_arena *arena)
{
    atomdl_structure *t = &s->out->structure;
    atomdl_room one, all = {s->source->atoms, s->source->atoms, 0};
    t->w = w;
    t->h = h;
    draw_clouds(s);
    for (int i = 0; i < regions; i++) {
        atomdl_structure_room(&one, w, h, field_margin(s), &s->lattice[i]);
        if (one.atoms > MOST_ATOMS) return ATOMDL_EARG;
        all.atoms += one.atoms;
        all.columns += one.columns;
    }
    all.defects = (u32)drawn + ATOMDL_PLACES;
    if (s->r->scatters) all.defects += all.columns;
    if (s->movie) all.defects += s->movie->max;
    if (all.defects > 65534) all.defects = 65534;
    all.atoms += 4 * all.defects + s->cloud_room;
    all.columns += 4 * all.defects;
    return atomdl_structure_new(t, w, h, field_margin(s), &all, arena);
}

static atomdl_placement draw_placement(const scene *s, double w, double h)
{
    double at[2], shear[2], angle = radians(draw(&s->r->rotation, s));
    double scale = draw(&s->r->scale, s) - 1;
    draw_uniform(at, 2, STREAM_PLACE, s);
    draw_some(shear, 2, &s->r->shear, s);
    return (atomdl_placement){w * at[0] + s->dx, h * at[1] + s->dy, angle,
                              scale + shear[0], scale - shear[0], shear[1]};
}

/* A line through the middle half of the field. */
static atomdl_line draw_line(const scene *s, const double u[4])
{
    const atomdl_structure *t = &s->out->structure;
    return (atomdl_line){t->w * (0.25 + 0.5 * u[0]) + s->dx,
                         t->h * (0.25 + 0.5 * u[1]) + s->dy, 2 * PI * u[2],
                         draw(&s->r->wave, s),
                         draw(&s->r->wavelength, s), 2 * PI * u[3]};
}

/* One region, or two on the sides of a line: grains or materials. */
static int fill_lattices(scene *s, double tilt, int two, atomdl_arena *arena)
{
    atomdl_structure *t = &s->out->structure;
    atomdl_placement at = draw_placement(s, t->w, t->h);
    if (!two)
        return atomdl_structure_fill(t, &s->lattice[0], &at, NULL, 0,
                                     s->material[0], arena);
    double u[6];
    draw_uniform(u, 6, STREAM_LINE, s);
    atomdl_line line[2];
    line[1] = line[0] = draw_line(s, u); /* the same line backwards: */
    line[1].angle += PI;
    line[1].phase = -line[0].phase;
    int status = atomdl_structure_fill(t, &s->lattice[0], &at, &line[0], 1,
                                       s->material[0], arena);
    if (status) return status;
    if (tilt > 0) {
        at.angle += radians(tilt);
        at.x += 5 * u[4];
        at.y += 5 * u[5];
    }
    status = atomdl_structure_fill(t, &s->lattice[1], &at, &line[1], 1,
                                   s->material[1], arena);
    if (status || !(tilt > 0)) return status;
    return atomdl_structure_contacts(t, 1.05, arena);
}

/* The user's atoms, turned and strained about their middle. */
static int fill_atoms(scene *s, atomdl_arena *arena)
{
    const atomdl_atom *from = s->source->atom;
    u32 n = s->source->atoms;
    size_t used = arena->used;
    atomdl_atom *a = atomdl_alloc(arena, n, sizeof *a);
    atomdl_xyz extent;
    atomdl_structure *t = &s->out->structure;
    atomdl_placement at = draw_placement(s, 1, 1);
    double c = atomdl_cos(at.angle), d = atomdl_sin(at.angle);
    for (u32 i = 0; a && i < n; i++) extend(&extent, &from[i], i == 0);
    for (u32 i = 0; a && i < n; i++) {
        double x = from[i].x - (extent.low[0] + extent.high[0]) / 2;
        double y = from[i].y - (extent.low[1] + extent.high[1]) / 2;
        double u = c * x - d * y, v = d * x + c * y;
        a[i] = from[i];
        a[i].x = (1 + at.exx) * u + at.exy * v;
        a[i].y = at.exy * u + (1 + at.eyy) * v;
    }
    int status = atomdl_structure_atoms(t, a, n, t->w / 2 + s->dx,
                                        t->h / 2 + s->dy, 0.3, arena);
    arena->used = used;
    return status;
}

/* States for all kinds that a recipe draws, lest a movie does not know one. */
static int movie_dynamics(atomdl_dynamics *d, const atomdl_recipe *r)
{
    *d = r->dynamics;
    d->apart = r->scatters ? 1 : r->drawing.apart;
    for (int kind = 0; kind < ATOMDL_DEFECTS; kind++) {
        int used = r->drawing.weight[kind] > 0;
        for (int i = 0; i < r->places; i++) used |= r->place[i].kind == kind;
        for (int i = 0; i < r->scatters; i++) {
            used |= r->scatter[i].kind == kind;
            if (r->scatter[i].element) d->element = r->scatter[i].element;
        }
        if (!used || state_of(d, kind)) continue;
        if (d->states == ATOMDL_STATES) return ATOMDL_EARG;
        d->kind[d->states++] = (u8)kind;
    }
    if (r->drawing.element) d->element = r->drawing.element;
    return ATOMDL_OK;
}

/* Later frames: the defects of the frame before, one step on. */
static int evolve(scene *s)
{
    atomdl_structure *t = &s->out->structure;
    atomdl_movie *m = s->movie;
    atomdl_rng rng = atomdl_rng_split(&s->noise, STREAM_EVENTS);
    atomdl_dynamics how;
    int status = movie_dynamics(&how, s->r);
    if (!t->atom) return status;
    if (!status && how.states > 1)
        status = atomdl_movie_step(m, &how, t, &rng);
    for (u32 i = 0; !status && i < m->defects; i++) {
        status = atomdl_defect_place(t, &m->defect[i], s->source->motifs);
        if (status == ATOMDL_EARG) status = ATOMDL_OK; /* out of the field */
    }
    return status;
}

/* Of a sample or first frame: placed, drawn and scattered ones; a movie keeps
   them. */
static int draw_defects(scene *s, double drawn)
{
    atomdl_structure *t = &s->out->structure;
    atomdl_rng rng = atomdl_rng_split(&s->rng, STREAM_DEFECTS);
    atomdl_drawing how = s->r->drawing;
    atomdl_movie *m = s->movie;
    u32 placed = 0;
    int status = ATOMDL_OK;
    if (m) memset(how.jitter, 0, sizeof how.jitter);
    for (int i = 0; i < s->r->places && t->atom && !status; i++) {
        atomdl_defect d = {.kind = s->r->place[i].kind,
                           .element = s->r->place[i].element,
                           .operation = s->r->place[i].operation, .scale = 1};
        if (atomdl_defect_locate(&d, t, s->r->place[i].x, s->r->place[i].y)
            || atomdl_defect_place(t, &d, s->source->motifs))
            s->out->misplaced = s->out->lost++ ? s->out->misplaced : i + 1;
    }
    if (drawn > 0)
        status = atomdl_defects_draw(t, &placed, (u32)drawn, &how,
                                     s->source->motifs, &rng);
    if (t->atom) s->out->lost += (u32)drawn - placed;
    for (int i = 0; i < s->r->scatters && !status; i++) {
        rng = atomdl_rng_split(&s->rng, (u64)(STREAM_SCATTER + i));
        status = atomdl_defects_scatter(t, s->r->scatter[i].kind,
                                        s->r->scatter[i].element,
                                        draw(&s->r->scatter[i].fraction,
                                                   s), -1, &rng);
    }
    if (status || !m || !t->atom) return status;
    m->defects = t->defects < m->max ? t->defects : m->max;
    memcpy(m->defect, t->defect, m->defects * sizeof *m->defect);
    m->next_id = t->next_id;
    return ATOMDL_OK;
}

/* Holes, edges, contamination. */
static int cut_and_cover(scene *s, atomdl_arena *arena)
{
    atomdl_structure *t = &s->out->structure;
    double hole = draw(&s->r->hole, s), u[6], weight[CLOUDS];
    int status = ATOMDL_OK;
    draw_uniform(u, 6, STREAM_CUT, s);
    if (hole > 0)
        atomdl_structure_hole(t, t->w * u[4] + s->dx, t->h * u[5] + s->dy,
                              hole);
    atomdl_line line = draw_line(s, u);
    if (draw(&s->r->edge, s) > 0) atomdl_structure_edge(t, &line);
    draw_some(weight, CLOUDS, &s->r->cloud_weight, s);
    for (int k = 0; k < s->clouds && !status; k++) {
        u32 first = t->atoms;
        atomdl_rng rng = atomdl_rng_split(&s->rng, (u64)(STREAM_CARBON + k));
        status = atomdl_structure_cloud(t, &s->cloud[k], &rng, arena);
        for (u32 i = first; t->atom && i < t->atoms; i++)
            t->atom[i].weight = (float)weight[k];
    }
    return status;
}

/* x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5 for atoms, columns, defects */
static void move_point(double *x, double *y, const double m[6])
{
    double x0 = *x;
    *x = m[0] * x0 + m[1] * *y + m[2];
    *y = m[3] * x0 + m[4] * *y + m[5];
}

static void move_truth(atomdl_structure *t, const double m[6])
{
    for (u32 i = 0; t->atom && i < t->atoms; i++)
        move_point(&t->atom[i].x, &t->atom[i].y, m);
    for (u32 i = 0; t->column && i < t->columns; i++)
        move_point(&t->column[i].x, &t->column[i].y, m);
    for (u32 i = 0; t->defect && i < t->defects; i++)
        move_point(&t->defect[i].x, &t->defect[i].y, m);
}

/* Distortion, drift of the scan, thermal displacement, unequal signals. */
static void displace(scene *s)
{
    atomdl_structure *t = &s->out->structure;
    atomdl_rng rng = atomdl_rng_split(&s->noise, STREAM_THERMAL);
    double v[4], k[4], u[2], drift[2];
    draw_some(v, 4, &s->r->distortion, s);
    draw_some(k, 4, &s->r->distortion_k, s);
    draw_uniform(u, 2, STREAM_WAVES, s);
    const atomdl_wave wave[2] = {
        {v[0], v[1], 2 * PI * k[0], 2 * PI * k[1], 2 * PI * u[0]},
        {v[2], v[3], 2 * PI * k[2], 2 * PI * k[3], 2 * PI * u[1]}};
    if (v[0] != 0 || v[1] != 0 || v[2] != 0 || v[3] != 0)
        atomdl_structure_warp(t, wave, 2);
    draw_some(drift, 2, &s->r->drift, s);
    const double m[6] = {1, drift[0] / t->h, 0, 0, 1 + drift[1] / t->h, 0};
    if (drift[0] != 0 || drift[1] != 0) move_truth(t, m);
    atomdl_structure_thermal(t, draw(&s->r->thermal, s), &rng);
    double spread = draw(&s->r->weight_spread, s);
    rng = atomdl_rng_split(&s->rng, STREAM_SPREAD);
    for (u32 i = 0; spread > 0 && t->atom && i < t->atoms; i++) {
        float z;
        atomdl_rng_normal(&rng, &z, 1);
        z = 1 + (float)spread * z;
        t->atom[i].weight *= z > 0.1f ? z : 0.1f;
    }
}

/* The structure, step by step. */
static int compose(scene *s, double w, double h, atomdl_arena *arena)
{
    const atomdl_recipe *r = s->r;
    atomdl_structure *t = &s->out->structure;
    double tilt = draw(&r->boundary, s), u[2];
    int file = s->source->atoms > 0;
    int two = !file && (tilt > 0 || draw(&r->step, s) > 0);
    draw_uniform(u, 2, STREAM_MATERIAL, s);
    s->material[0] = draw_material(s, u[0], -1);
    s->material[1] = tilt > 0 ? s->material[0]
                              : draw_material(s, u[1], s->material[0]);
    s->out->material = s->material[0];
    for (int i = 0; i < 2; i++)
        if (lattice_of(&s->lattice[i], r, s->material[i])) return ATOMDL_EARG;
    double drawn = least(atomdl_floor(draw(&r->count, s) + 0.5), 60000);
    int status = new_structure(s, w, h, drawn, file ? 0 : 1 + two, arena);
    if (status) return status;
    status = file ? fill_atoms(s, arena) : fill_lattices(s, tilt, two, arena);
    for (int i = 0; i < r->alloys && !status; i++) {
        atomdl_rng rng = atomdl_rng_split(&s->rng, (u64)(STREAM_ALLOY + i));
        atomdl_structure_alloy(t, -1, r->alloy[i].from, r->alloy[i].to,
                               draw(&r->alloy[i].fraction, s), &rng);
    }
    if (!status && !file)
        status = s->movie && s->movie->frame ? evolve(s)
                                             : draw_defects(s, drawn);
    if (!status) status = cut_and_cover(s, arena);
    if (status) return status;
    displace(s);
    return atomdl_structure_finish(t);
}

/* ---------- Samples: image ------------------------------------------------ */

/* v <- a vector of that length in the direction u, 0..1 */
static void towards(double v[2], double length, double u)
{
    v[0] = length * atomdl_cos(2 * PI * u);
    v[1] = length * atomdl_sin(2 * PI * u);
}

/* The microscope, or the blob that stands for it. */
static atomdl_optics draw_optics(const scene *s)
{
    const atomdl_recipe *r = s->r;
    double model, u[4];
    draw_uniform(&model, 1, STREAM_MODEL, s);
    draw_uniform(u, 4, STREAM_ANGLES, s);
    atomdl_optics o = {
        .model = ATOMDL_INCOHERENT, .stack = draw(&r->stacked, s),
        .channelling = draw(&r->channelling, s),
        .kv = draw(&r->voltage, s), .convergence = draw(&r->aperture, s),
        .inner = draw(&r->inner, s), .outer = draw(&r->outer, s),
        .defocus = draw(&r->defocus, s), .c3 = draw(&r->c3, s) * 1e4,
        .c5 = draw(&r->c5, s) * 1e7, .spread = draw(&r->spread, s),
        .source = draw(&r->source, s), .recentre = 1,
        .fwhm = draw(&r->fwhm, s), .angle = 2 * PI * u[3],
        .ellipticity = draw(&r->ellipticity, s), .tail = draw(&r->tail, s),
        .tail_sigma = draw(&r->tail_sigma, s), .exponent = draw(&r->power, s)};
    o.outer = most(o.outer, o.inner + 1);
    o.carbon = atomdl_cross_section(&o, 6);
    if (model < r->gaussian) o.model = ATOMDL_GAUSSIAN;
    for (int i = 0; i < r->weights; i++) {
        o.z[i] = r->weight[i].element;
        o.ratio[i] = draw(&r->weight[i].signal, s);
    }
    towards(o.aberration[ATOMDL_C12], draw(&r->a1, s), u[0]);
    towards(o.aberration[ATOMDL_C21], draw(&r->coma, s), u[1]);
    towards(o.aberration[ATOMDL_C23], draw(&r->a2, s), u[2]);
    return o;
}

/* Detected fraction per A2 of the plain lattice; of a file's atoms. */
static double mean_signal(const scene *s, const atomdl_optics *o)
{
    const atomdl_lattice *l = &s->lattice[0];
    const atomdl_structure *t = &s->out->structure;
    double sum = 0, cell = absolute(cross(l->a, l->b));
    if (!s->source->atoms)
        for (u32 i = 0; i < (u32)l->n; i++)
            sum += atomdl_cross_section(o, l->basis[i].element);
    for (u32 i = 0; s->source->atoms && t->atom && i < t->atoms; i++)
        if (t->atom[i].role != ATOMDL_ROLE_CONTAMINATION
            && inside(t, t->atom[i].x, t->atom[i].y, 0))
            sum += atomdl_cross_section(o, t->atom[i].element);
    return !(sum > 0) ? o->carbon
                      : sum / (s->source->atoms ? t->w * t->h : cell);
}

/* Background, noise and electronics, in units of the lattice's mean signal. */
static atomdl_detector draw_detector(const scene *s, double unit, double pixel)
{
    const atomdl_recipe *r = s->r;
    double keep = draw(&r->saturation, s), density = draw(&r->density, s);
    double u[4], k[2];
    draw_uniform(u, 4, r->tilt.stream + 1, s);
    towards(k, 2 * PI * (0.25 + 0.75 * u[1]) / s->out->structure.w, u[2]);
    atomdl_detector d = {
        .background = draw(&r->background, s),
        .wave = {{draw(&r->ripple, s), 0, k[0], k[1], 2 * PI * u[3]}},
        .row_gain = draw(&r->row_gain, s),
        .smooth = draw(&r->smooth, s), .blur = draw(&r->blur, s),
        .clip = keep < 1 ? keep : 0, .gamma = draw(&r->gamma, s),
        .bits = r->bits};
    towards(d.tilt, draw(&r->tilt, s), u[0]);
    if (density > 0) {
        atomdl_detector_density(&d, density, r->contrast, d.background + 1,
                                draw(&r->read_share, s), pixel);
    } else {
        d.counts = draw(&r->dose, s) * unit * pixel * pixel;
        d.read = draw(&r->read, s);
    }
    return d;
}

static atomdl_scan draw_scan(const scene *s)
{
    double u[2];
    draw_uniform(u, 2, s->r->hum.stream + 1, s);
    atomdl_scan scan = {.jitter = draw(&s->r->jitter, s),
                        .cycles = draw(&s->r->hum_cycles, s),
                        .phase = 2 * PI * u[1]};
    towards(scan.hum, draw(&s->r->hum, s), u[0]);
    return scan;
}

/* A sample takes what the room of its structure would, so that what was
   measured before it was drawn holds to the byte. */
static int ask_for_room(const atomdl_image *image, const scene *s,
                        const atomdl_optics *optics, const atomdl_probe *probe,
                        atomdl_arena *arena)
{
    atomdl_arena need = {.used = arena->used, .peak = arena->peak};
    atomdl_image none = {image->w, image->h, 1, NULL};
    int status = atomdl_image_atoms(&none, NULL, s->out->structure.room.atoms,
                                    optics, probe, &need);
    if (!status && need.peak > arena->size) status = ATOMDL_EMEM;
    if (!status) arena->peak = need.peak;
    return status;
}

/* The atoms as the recipe's model of images shows them. */
static int draw_image(atomdl_image *image, const scene *s,
                      const atomdl_optics *optics, double pixel,
                      atomdl_arena *arena)
{
    const atomdl_structure *t = &s->out->structure;
    u32 n = t->atom ? t->atoms : t->room.atoms;
    atomdl_slicing how = {
        .configurations = s->r->configurations,
        .rng = atomdl_rng_split(&s->noise, STREAM_PHONONS),
        .watch = s->source->watch, .of = s->source->of};
    if (s->r->image == ATOMDL_IMAGE_MULTISLICE
        && optics->model == ATOMDL_INCOHERENT)
        return atomdl_image_multislice(image, t->atom, n, optics, pixel, &how,
                                       arena);
    atomdl_probe probe;
    int status = atomdl_probe_new(&probe, optics, image->w, image->h, pixel,
                                  FIELD_MARGIN, arena);
    if (!status && arena->base)
        status = ask_for_room(image, s, optics, &probe, arena);
    return status ? status : atomdl_image_atoms(image, t->atom, n, optics,
                                                &probe, arena);
}

/* The scanned image in units of the lattice's mean signal. */
static int expose(atomdl_image *image, const scene *s, double pixel,
                  atomdl_arena *arena)
{
    atomdl_rng rng = atomdl_rng_split(&s->noise, STREAM_ROWS);
    size_t n = (size_t)image->w * (size_t)image->h;
    atomdl_optics optics = draw_optics(s);
    double unit = mean_signal(s, &optics);
    atomdl_detector detector = draw_detector(s, unit, pixel);
    atomdl_scan scan = draw_scan(s);
    int status = draw_image(image, s, &optics, pixel, arena);
    if (status) return status;
    float scale = (float)(1 / unit);
    for (size_t i = 0; image->px && i < n; i++) image->px[i] *= scale;
    status = atomdl_scan_rows(image, &scan, pixel, &rng, arena);
    if (status) return status;
    rng = atomdl_rng_split(&s->noise, STREAM_NOISE);
    return atomdl_detect(image, &detector, pixel, &rng, arena);
}

/* Classes by the recipe's rules, or background and atom. */
static int paint_labels(const scene *s, int w, int h)
{
    static const atomdl_rule ANY_ATOM = {
        ATOMDL_LABEL_ATOM, 1, ATOMDL_ANY, ATOMDL_ANY, ATOMDL_ANY, ATOMDL_ANY,
        "", 0.45f, 0, 0};
    const atomdl_recipe *r = s->r;
    atomdl_rule rule[ATOMDL_RULES];
    const atomdl_label_grid grid = {w, h, s->out->pixel};
    const atomdl_clouds clouds = {s->cloud, s->clouds};
    memcpy(rule, r->rule, sizeof rule);
    if (!r->classes) rule[0] = ANY_ATOM;
    for (int i = 0; i < r->rules; i++) {
        int j = 0;
        if (rule[i].what != ATOMDL_LABEL_REGION) continue;
        while (j < r->materials && !same_text(rule[i].text, r->material[j]))
            j++;
        rule[i].region = (u8)(j < r->materials ? j : 254);
        memset(rule[i].text, 0, sizeof rule[i].text);
    }
    if (s->out->label) memset(s->out->label, 0, (size_t)w * (size_t)h);
    return atomdl_label_paint(s->out->label, &grid, &s->out->structure, rule,
                              r->classes ? r->rules : 1, &clouds);
}

/* ---------- Samples: augmentation ----------------------------------------- */

/* A map is x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5. Here it takes output
   pixels to input pixels; map <- where truth goes from there, in units of
   pixels with (0, 0) at (1/2, 1/2), after where it went before. */
static void map_truth(double map[6], const double in[6])
{
    double det = in[0] * in[4] - in[1] * in[3], m[6];
    double out[6] = {in[4] / det, -in[1] / det, 0.5,
                     -in[3] / det, in[0] / det, 0.5};
    for (int i = 0; i < 6; i += 3)
        out[i + 2] = out[i + 2] - out[i] * (in[2] + 0.5)
                     - out[i + 1] * (in[5] + 0.5);
    for (int i = 0; i < 6; i += 3) {
        m[i] = out[i] * map[0] + out[i + 1] * map[3];
        m[i + 1] = out[i] * map[1] + out[i + 1] * map[4];
        m[i + 2] = out[i] * map[2] + out[i + 1] * map[5] + out[i + 2];
    }
    memcpy(map, m, sizeof m);
}

/* in <- number `one` of the eight symmetries: axes change places (of a square
   alone), either is turned round. */
static void draw_dihedral(double in[6], u32 one, int w, int h)
{
    int swap = one & 1 && w == h, flip_x = one >> 1 & 1, flip_y = one >> 2 & 1;
    memset(in, 0, 6 * sizeof *in);
    in[swap] = flip_x ? -1 : 1;
    in[2] = flip_x ? w - 1 : 0;
    in[4 - swap] = flip_y ? -1 : 1;
    in[5] = flip_y ? h - 1 : 0;
}

/* Image and labels, pixel by pixel, by one of the eight symmetries. */
static int turn_over(atomdl_image *image, u8 *label, const double in[6],
                     atomdl_arena *arena)
{
    size_t used = arena->used, n = (size_t)image->w * (size_t)image->h, at = 0;
    float *px = atomdl_alloc(arena, n, sizeof *px);
    u8 *old = atomdl_alloc(arena, label ? n : 0, 1);
    int status = atomdl_arena_status(arena), w = image->w;
    int right = (int)in[0] + (int)in[3] * w, down = (int)in[1] + (int)in[4] * w;
    arena->used = used;
    if (status || !px) return status;
    memcpy(px, image->px, n * sizeof *px);
    if (label) memcpy(old, label, n);
    for (int y = 0; y < image->h; y++)
        for (int x = 0; x < w; x++, at++) {
            int from = (int)in[2] + (int)in[5] * w + y * down + x * right;
            image->px[at] = px[from];
            if (label) label[at] = old[from];
        }
    return ATOMDL_OK;
}

/* in <- shift, turn, zoom and skew about the middle. */
static void draw_warp(double in[6], const scene *s, int w, int h)
{
    const atomdl_recipe *r = s->r;
    double angle = radians(draw(&r->turn, s)), move[2];
    double zoom = draw(&r->zoom, s), skew = draw(&r->skew, s);
    double c = atomdl_cos(angle) / zoom, d = atomdl_sin(angle) / zoom;
    double x0 = (w - 1) / 2.0, y0 = (h - 1) / 2.0;
    draw_some(move, 2, &r->shift, s);
    in[0] = c;
    in[1] = c * skew - d;
    in[3] = d;
    in[4] = d * skew + c;
    in[2] = x0 + move[0] * w - in[0] * x0 - in[1] * y0;
    in[5] = y0 + move[1] * h - in[3] * x0 - in[4] * y0;
}

/* Image and labels drawn by a map. */
static int warp_both(atomdl_image *image, u8 *label, const double in[6],
                     atomdl_arena *arena)
{
    size_t used = arena->used, n = (size_t)image->w * (size_t)image->h;
    atomdl_image from = {0, 0, 0, NULL}, to = {0, 0, 0, NULL};
    int status = atomdl_image_new(&from, image->w, image->h, 1, arena);
    if (!status) status = atomdl_image_new(&to, image->w, image->h, 1, arena);
    arena->used = used;
    if (status || !from.px) return status;
    memcpy(from.px, image->px, n * sizeof *from.px);
    status = atomdl_image_warp(image, &from, in, NULL, ATOMDL_CUBIC);
    if (status || !label) return status;
    for (size_t i = 0; i < n; i++) from.px[i] = label[i];
    status = atomdl_image_warp(&to, &from, in, NULL, ATOMDL_NEAREST);
    for (size_t i = 0; i < n; i++) label[i] = (u8)to.px[i];
    return status;
}

/* Sampled more coarsely, and enlarged again. */
static int coarsen(atomdl_image *image, double times, atomdl_arena *arena)
{
    size_t used = arena->used;
    atomdl_image small = {0, 0, 0, NULL};
    int w = (int)(image->w / times), h = (int)(image->h / times);
    int status = atomdl_image_new(&small, w > 1 ? w : 1, h > 1 ? h : 1, 1,
                                  arena);
    if (!status) status = atomdl_image_resize(&small, image, arena);
    if (!status) status = atomdl_image_resize(image, &small, arena);
    arena->used = used;
    return status;
}

/* Coarse sampling, one of the eight symmetries, a warp; map <- where truth
   goes. */
static int augment(atomdl_image *image, u8 *label, double map[6],
                   const scene *s, atomdl_arena *arena)
{
    static const double SAME[6] = {1, 0, 0, 0, 1, 0};
    double times = draw(&s->r->coarse, s), in[6];
    atomdl_rng rng = atomdl_rng_split(&s->rng, STREAM_DIHEDRAL);
    u32 one = s->r->dihedral ? atomdl_rng_below(&rng, 8) : 0;
    int status = ATOMDL_OK;
    memcpy(map, SAME, sizeof SAME);
    if (times > 1) status = coarsen(image, times, arena);
    if (!status && one) {
        draw_dihedral(in, one, image->w, image->h);
        status = turn_over(image, label, in, arena);
        map_truth(map, in);
    }
    if (!status && draw(&s->r->warp, s) > 0) {
        draw_warp(in, s, image->w, image->h);
        status = warp_both(image, label, in, arena);
        map_truth(map, in);
    }
    return status;
}

static int scale_for_network(atomdl_image *image, const scene *s)
{
    float gain = (float)draw(&s->r->gain, s);
    float offset = (float)draw(&s->r->offset, s);
    size_t n = (size_t)image->w * (size_t)image->h;
    if (!image->px) return ATOMDL_OK;
    int status = atomdl_image_normalise(image, s->r->scaling);
    for (size_t i = 0; !status && i < n; i++) {
        float x = image->px[i] * gain;
        image->px[i] = x + offset;
    }
    return status;
}

static scene new_scene(atomdl_sample *out, const atomdl_source *source, u64 i)
{
    atomdl_rng root = atomdl_rng_seed(source->recipe->seed);
    atomdl_rng rng = atomdl_rng_split(&root, i);
    return (scene){.source = source, .r = source->recipe, .out = out,
                   .rng = rng, .noise = rng};
}

/* ---------- Samples ------------------------------------------------------- */

/* Motifs are relaxed for the kinds that the recipe can draw. */
int atomdl_source_new(atomdl_source *source, const atomdl_recipe *r,
                      const atomdl_atom *atom, uint32_t atoms,
                      atomdl_arena *arena)
{
    atomdl_motifs *motifs = NULL;
    u32 wanted = 0;
    int status = ATOMDL_OK;
    if (atoms > MOST_ATOMS || (atoms && !atom)) return ATOMDL_EARG;
    for (int i = 0; i < ATOMDL_MOTIFS; i++)
        wanted |= r->drawing.weight[i] > 0 ? 1u << i : 0;
    for (int i = 1; i < r->dynamics.states; i++)
        if (r->dynamics.kind[i] < ATOMDL_MOTIFS)
            wanted |= 1u << r->dynamics.kind[i];
    for (int i = 0; i < r->places; i++)
        if (r->place[i].kind < ATOMDL_MOTIFS) wanted |= 1u << r->place[i].kind;
    if (wanted) status = atomdl_motifs_new(&motifs, wanted, arena);
    *source = (atomdl_source){.recipe = r, .motifs = motifs, .atom = atom,
                              .atoms = atoms};
    return status;
}

/* Structure, labels, then the image through a scan of its own sampling. */
static int make_sample(scene *s, int raw, atomdl_arena *arena)
{
    atomdl_sample *out = s->out;
    const atomdl_recipe *r = s->r;
    memset(out, 0, sizeof *out);
    out->pixel = draw(&r->pixel, s);
    double fine = draw(&r->scan, s);
    double ratio = fine > 0 ? out->pixel / fine : 1;
    int own = fine > 0 && fine != out->pixel;
    int status = atomdl_image_new(&out->image, r->w, r->h, 1, arena);
    out->label = atomdl_alloc(arena, (size_t)r->w * (size_t)r->h, 1);
    if (status) return status;
    status = compose(s, r->w * out->pixel, r->h * out->pixel, arena);
    if (!status) status = paint_labels(s, r->w, r->h);
    size_t used = arena->used;
    atomdl_image scan = out->image;
    if (!status && own)
        status = atomdl_image_new(&scan, most_int((int)(r->w * ratio + 0.5), 8),
                                  most_int((int)(r->h * ratio + 0.5), 8), 1,
                                  arena);
    if (!status) status = expose(&scan, s, r->w * out->pixel / scan.w, arena);
    if (!status && own) status = atomdl_image_resize(&out->image, &scan, arena);
    arena->used = used;
    if (status || raw) return status;
    double map[6];
    status = augment(&out->image, out->label, map, s, arena);
    for (int i = 2; i < 6; i += 3) map[i] *= out->pixel;
    if (!status) move_truth(&out->structure, map);
    return status ? status : scale_for_network(&out->image, s);
}

int atomdl_sample_new(atomdl_sample *sample, const atomdl_source *source,
                      uint64_t i, int raw, atomdl_arena *arena)
{
    scene s = new_scene(sample, source, i);
    return make_sample(&s, raw, arena);
}

/* All of a movie but noise and events comes from the streams of sample i. */
int atomdl_movie_frame(atomdl_sample *sample, atomdl_movie *movie,
                       const atomdl_source *source, uint64_t i,
                       atomdl_arena *arena)
{
    const atomdl_dist *drift = &source->recipe->movie_drift;
    scene s = new_scene(sample, source, i);
    atomdl_rng rng = atomdl_rng_split(&s.rng, STREAM_FRAME);
    s.noise = atomdl_rng_split(&rng, movie->frame);
    s.movie = movie;
    if (movie->frame) {
        rng = atomdl_rng_split(&s.noise, drift->stream);
        s.dx = movie->drift[0] + atomdl_dist_draw(drift, &rng);
        s.dy = movie->drift[1] + atomdl_dist_draw(drift, &rng);
    }
    int status = make_sample(&s, 1, arena);
    if (status || !arena->base) return status; /* measuring changes nothing */
    movie->drift[0] = s.dx;
    movie->drift[1] = s.dy;
    movie->frame++;
    return ATOMDL_OK;
}
