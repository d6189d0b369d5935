/* SPDX-License-Identifier: MIT
   AtomDL: the simulator.

   Read atomdl.h first. Sections follow the header's order. */

#define ATOMDL_LIBRARY
#include "atomdl.h"

#ifdef ATOMDL_NO_TEXT
#define TEXT(s) ""
#else
#define TEXT(s) s
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static const u32 NONE = UINT32_MAX;
static const double PI = 3.14159265358979311600;

static double magnitude(double x)
{
    return x < 0 ? -x : x;
}

static int same_bytes(const void *a, const void *b, size_t n)
{
    const unsigned char *p = a, *q = b;
    size_t i;

    for (i = 0; i < n && p[i] == q[i]; i++) {}
    return i == n;
}

static size_t length(const char *text)
{
    size_t n = 0;

    while (text[n]) n++;
    return n;
}

static int equal(const char *a, const char *b)
{
    size_t n = length(b);

    return length(a) == n && same_bytes(a, b, n);
}

/* ---------- Elements ------------------------------------------------------ */

/* two letters each, from hydrogen on */
static const char SYMBOLS[] =
    "H HeLiBeB C N O F NeNaMgAlSiP S ClArK CaScTiV CrMnFeCoNiCuZnGaGeAsSeBrKr"
    "RbSrY ZrNbMoTcRuRhPdAgCdInSnSbTeI XeCsBaLaCePrNdPmSmEuGdTbDyHoErTmYbLuHf"
    "TaW ReOsIrPtAuHgTlPbBiPoAtRnFrRaAcThPaU NpPuAmCmBkCfEsFmMdNoLrRfDbSgBhHs"
    "MtDsRgCnNhFlMcLvTsOg";
enum { ELEMENTS = 118 };

int atomdl_element(const char *symbol, size_t n)
{
    char first, second;
    int z;

    if (n < 1 || n > 2) return 0;
    first = symbol[0];
    second = n > 1 ? symbol[1] : ' ';
    for (z = 1; z <= ELEMENTS; z++)
        if (SYMBOLS[2 * z - 2] == first && SYMBOLS[2 * z - 1] == second)
            return z;
    return 0;
}

void atomdl_symbol(char symbol[3], int z)
{
    int known = z >= 1 && z <= ELEMENTS;

    symbol[0] = known ? SYMBOLS[2 * z - 2] : 'X';
    symbol[1] = known && SYMBOLS[2 * z - 1] != ' ' ? SYMBOLS[2 * z - 1] : 0;
    symbol[2] = 0;
}

/* ---------- Lattices (METHOD B.1) ----------------------------------------- */

static const double SITE[3][2] = {
    {0, 0}, {1.0 / 3, 2.0 / 3}, {2.0 / 3, 1.0 / 3}};

/* flat sheets: element and site of each atom, two atoms a layer */
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

/* height: of the chalcogen over the metal's plane */
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
};

static void hexagonal(atomdl_lattice *l, double a)
{
    memset(l, 0, sizeof *l);
    l->a[0] = a;
    l->b[0] = -a / 2;
    l->b[1] = a * atomdl_sqrt(3) / 2;
    l->hexagonal = 1;
}

static void add_basis(atomdl_lattice *l, u8 element, int site, int layer,
                      double z)
{
    atomdl_basis *b = &l->basis[l->n++];

    b->element = element;
    b->site = (u8)site;
    b->layer = (u8)layer;
    b->u = SITE[site][0];
    b->v = SITE[site][1];
    b->z = z;
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
    add_basis(l, l->chalcogen, low, k, z - height);
    add_basis(l, l->metal, metal, k, z);
    add_basis(l, l->chalcogen, high, k, z + height);
}

static int find_trilayer(atomdl_lattice *l, const char *name)
{
    size_t i, n;
    int k, layers, mirror;
    char phase;

    for (i = 0; i < sizeof TRILAYERS / sizeof *TRILAYERS; i++) {
        n = length(TRILAYERS[i].name);
        for (k = 0; TRILAYERS[i].name[k] && TRILAYERS[i].name[k] == name[k];)
            k++;
        if (TRILAYERS[i].name[k] || name[n] != '-') continue;
        layers = name[n + 1] - '0';
        if (layers < 1 || layers > 3) return ATOMDL_EARG;
        phase = TRILAYERS[i].name[n - 1];
        mirror = phase == 'r' && name[n + 2] == 'b';
        if (name[n + 2 + (size_t)mirror]) return ATOMDL_EARG;
        hexagonal(l, TRILAYERS[i].a);
        l->metal = TRILAYERS[i].metal;
        l->chalcogen = TRILAYERS[i].chalcogen;
        for (k = 0; k < layers; k++)
            add_layer(l, phase, 1 + mirror, k, TRILAYERS[i].height,
                      k * TRILAYERS[i].spacing);
        return ATOMDL_OK;
    }
    return ATOMDL_EARG;
}

int atomdl_lattice_find(atomdl_lattice *lattice, const char *name)
{
    size_t i;
    int k;

    for (i = 0; i < sizeof SHEETS / sizeof *SHEETS; i++) {
        if (!equal(name, SHEETS[i].name)) continue;
        hexagonal(lattice, SHEETS[i].a);
        for (k = 0; k < SHEETS[i].n; k++)
            add_basis(lattice, SHEETS[i].atom[k][0], SHEETS[i].atom[k][1],
                      k / 2, k / 2 * SHEETS[i].spacing);
        return ATOMDL_OK;
    }
    return find_trilayer(lattice, name);
}

static double cross(const double *a, const double *b)
{
    return a[0] * b[1] - a[1] * b[0];
}

/* Cells of 0.5 to 1000 A, not flat; an atom for each site; layers rising. */
int atomdl_lattice_check(const atomdl_lattice *l)
{
    double a = l->a[0] * l->a[0] + l->a[1] * l->a[1];
    double b = l->b[0] * l->b[0] + l->b[1] * l->b[1];
    double area = cross(l->a, l->b);
    int i, k;

    if (!(a >= 0.25 && a <= 1e6 && b >= 0.25 && b <= 1e6)) return ATOMDL_EARG;
    if (!(area * area >= 0.01 * a * b)) return ATOMDL_EARG;
    if (l->n < 1 || l->n > ATOMDL_BASIS) return ATOMDL_EARG;
    for (i = 0; i < l->n; i++) {
        const atomdl_basis *p = &l->basis[i];

        if (p->element < 1 || p->element > ELEMENTS) return ATOMDL_EARG;
        if (p->site >= ATOMDL_BASIS || (l->hexagonal && p->site > 2))
            return ATOMDL_EARG;
        if (!(p->u >= 0 && p->u < 1 && p->v >= 0 && p->v < 1))
            return ATOMDL_EARG;
        if (!(magnitude(p->z) <= 1e6)) return ATOMDL_EARG;
        if (i && p->layer < p[-1].layer) return ATOMDL_EARG;
        for (k = 0; k < i; k++)
            if (p->site == l->basis[k].site
                && (p->u != l->basis[k].u || p->v != l->basis[k].v))
                return ATOMDL_EARG;
    }
    return ATOMDL_OK;
}

static int lattice_sites(const atomdl_lattice *l)
{
    int i, n = l->hexagonal ? 3 : 1;

    for (i = 0; i < l->n; i++)
        if (l->basis[i].site >= n) n = l->basis[i].site + 1;
    return n;
}

/* The atoms at a site, from below; returns how many. */
static int site_atoms(const atomdl_basis *list[ATOMDL_BASIS],
                      const atomdl_lattice *l, int site)
{
    int i, n = 0;

    for (i = 0; i < l->n; i++)
        if (l->basis[i].site == site) list[n++] = &l->basis[i];
    return n;
}

/* ---------- Structures ---------------------------------------------------- */

enum { GONE = 255 }; /* column.count of a column that was cut away */

int atomdl_structure_new(atomdl_structure *s, double w, double h,
                         double margin, u32 atoms, u32 columns, u32 defects,
                         atomdl_arena *arena)
{
    memset(s, 0, sizeof *s);
    if (!(w > 0 && w <= 1e5 && h > 0 && h <= 1e5)) return ATOMDL_EARG;
    if (!(margin >= 0 && margin <= 1e3) || defects >= UINT16_MAX)
        return ATOMDL_EARG;
    s->w = w;
    s->h = h;
    s->margin = margin;
    s->max_atoms = atoms;
    s->max_columns = columns;
    s->max_defects = defects;
    s->next_id = 1;
    s->atom = atomdl_alloc(arena, atoms, sizeof *s->atom);
    s->column = atomdl_alloc(arena, columns, sizeof *s->column);
    s->defect = atomdl_alloc(arena, defects, sizeof *s->defect);
    return atomdl_arena_status(arena);
}

/* Least ratio of any length, and of any area, after and before an allowed
   strain. */
static const double SQUEEZE = 0.6;

/* n[0..1] <- cells along a and b that a field can need at any angle. */
static void cells(int n[2], const atomdl_structure *s, const atomdl_lattice *l)
{
    double w = s->w + 2 * s->margin, h = s->h + 2 * s->margin;
    double reach = atomdl_sqrt(w * w + h * h) / SQUEEZE;
    double area = magnitude(cross(l->a, l->b));
    double a = atomdl_sqrt(l->a[0] * l->a[0] + l->a[1] * l->a[1]);
    double b = atomdl_sqrt(l->b[0] * l->b[0] + l->b[1] * l->b[1]);

    n[0] = (int)(reach * b / area) + 4;
    n[1] = (int)(reach * a / area) + 4;
}

void atomdl_structure_room(u32 *atoms, u32 *columns, double w, double h,
                           double margin, const atomdl_lattice *lattice)
{
    double area = magnitude(cross(lattice->a, lattice->b)), n;
    double a = atomdl_sqrt(lattice->a[0] * lattice->a[0]
                           + lattice->a[1] * lattice->a[1]);
    double b = atomdl_sqrt(lattice->b[0] * lattice->b[0]
                           + lattice->b[1] * lattice->b[1]);

    /* a cell that has a site in the field lies within a + b of it */
    w += 2 * (margin + a + b);
    h += 2 * (margin + a + b);
    n = w * h / (area * SQUEEZE) + 4;
    *atoms = n * lattice->n < 1e9 ? (u32)(n * lattice->n) : (u32)1e9;
    *columns = *atoms;
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
    return magnitude(l->x) <= 1e6 && magnitude(l->y) <= 1e6
        && magnitude(l->angle) <= 1e6 && magnitude(l->amplitude) <= 1e6
        && magnitude(l->phase) <= 1e6
        && (l->amplitude == 0
            || (l->wavelength >= 0.1 && l->wavelength <= 1e6));
}

static int inside(const atomdl_structure *s, double x, double y, double more)
{
    return x >= -more && y >= -more && x <= s->w + more && y <= s->h + more;
}

static int on_side(const atomdl_region *r, double x, double y)
{
    int i;

    for (i = 0; i < r->lines; i++)
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
    double det = r->m[0] * r->m[3] - r->m[1] * r->m[2], p[2], q[2];
    double area = cross(r->lattice.a, r->lattice.b);

    p[0] = x - r->x;
    p[1] = y - r->y;
    q[0] = (r->m[3] * p[0] - r->m[1] * p[1]) / det;
    q[1] = (r->m[0] * p[1] - r->m[2] * p[0]) / det;
    f[0] = cross(q, r->lattice.b) / area;
    f[1] = cross(r->lattice.a, q) / area;
}

/* The range of cells that reaches over field and margin. */
static void reach(atomdl_region *r, const atomdl_structure *s)
{
    double low[2] = {1e30, 1e30}, high[2] = {-1e30, -1e30}, f[2];
    int k, c;

    for (k = 0; k < 4; k++) {
        fractions(f, r, k & 1 ? s->w + s->margin : -s->margin,
                  k & 2 ? s->h + s->margin : -s->margin);
        for (c = 0; c < 2; c++) {
            if (f[c] < low[c]) low[c] = f[c];
            if (f[c] > high[c]) high[c] = f[c];
        }
    }
    r->i0 = (int)atomdl_floor(low[0]) - 1;
    r->j0 = (int)atomdl_floor(low[1]) - 1;
    r->ni = (int)atomdl_floor(high[0]) + 1 - r->i0;
    r->nj = (int)atomdl_floor(high[1]) + 1 - r->j0;
}

static int add_atom(atomdl_structure *s, double x, double y, double z,
                    int element, int role, int defect, u32 column)
{
    atomdl_atom *a;

    if (s->atoms == s->max_atoms) return 0;
    a = &s->atom[s->atoms++];
    a->x = x;
    a->y = y;
    a->z = z;
    a->weight = 1;
    a->element = (u8)element;
    a->role = (u8)role;
    a->defect = (u16)defect;
    a->column = column;
    return 1;
}

static int add_column(atomdl_structure *s, double x, double y, int site,
                      int region)
{
    atomdl_column *c;

    if (s->columns == s->max_columns) return 0;
    c = &s->column[s->columns++];
    memset(c, 0, sizeof *c);
    c->x = x;
    c->y = y;
    c->first = s->atoms;
    c->site = (u8)site;
    c->region = (u8)region;
    return 1;
}

/* One site of every cell. */
static int fill_site(atomdl_structure *s, const atomdl_region *r, int site)
{
    const atomdl_basis *list[ATOMDL_BASIS];
    int n = site_atoms(list, &r->lattice, site), i, j, k;
    int region = (int)s->regions;
    double p[2];

    for (j = 0; j < r->nj && n; j++)
        for (i = 0; i < r->ni; i++) {
            u32 at = (u32)((j * r->ni + i) * r->sites + site);

            place(p, r, r->i0 + i + list[0]->u, r->j0 + j + list[0]->v);
            if (!inside(s, p[0], p[1], s->margin) || !on_side(r, p[0], p[1]))
                continue;
            if (!add_column(s, p[0], p[1], site, region)) return ATOMDL_EMEM;
            r->grid[at] = s->columns;
            for (k = 0; k < n; k++)
                if (!add_atom(s, p[0], p[1], list[k]->z, list[k]->element,
                              ATOMDL_ROLE_LATTICE, 0, s->columns - 1))
                    return ATOMDL_EMEM;
        }
    return ATOMDL_OK;
}

static int placement_sound(const atomdl_placement *p)
{
    return magnitude(p->x) <= 1e6 && magnitude(p->y) <= 1e6
        && magnitude(p->angle) <= 1e6 && magnitude(p->exx) <= 0.2
        && magnitude(p->eyy) <= 0.2 && magnitude(p->exy) <= 0.2;
}

int atomdl_structure_fill(atomdl_structure *s, const atomdl_lattice *lattice,
                          const atomdl_placement *at, const atomdl_line *line,
                          int lines, int class_id, atomdl_arena *arena)
{
    atomdl_region *r = &s->region[s->regions];
    double c, d;
    int n[2], i, status = ATOMDL_OK;

    if (s->regions == ATOMDL_REGIONS || lines < 0 || lines > ATOMDL_LINES)
        return ATOMDL_EARG;
    if (atomdl_lattice_check(lattice) || !placement_sound(at)
        || class_id < 0 || class_id > 254)
        return ATOMDL_EARG;
    for (i = 0; i < lines; i++) {
        if (!line_sound(&line[i])) return ATOMDL_EARG;
        r->line[i] = line[i];
    }
    cells(n, s, lattice);
    r->sites = lattice_sites(lattice);
    if ((double)n[0] * n[1] * r->sites > 1e9) return ATOMDL_EARG;
    r->grid = atomdl_alloc(arena, (size_t)n[0] * (size_t)n[1],
                           (size_t)r->sites * sizeof *r->grid);
    r->lattice = *lattice;
    r->lines = lines;
    r->class_id = (u8)class_id;
    c = atomdl_cos(at->angle);
    d = atomdl_sin(at->angle);
    r->m[0] = (1 + at->exx) * c + at->exy * d;
    r->m[1] = at->exy * c - (1 + at->exx) * d;
    r->m[2] = at->exy * c + (1 + at->eyy) * d;
    r->m[3] = (1 + at->eyy) * c - at->exy * d;
    r->x = at->x;
    r->y = at->y;
    reach(r, s);
    if (r->ni > n[0] || r->nj > n[1]) return ATOMDL_EARG;
    if (r->grid && s->atom && s->column) {
        memset(r->grid, 0, (size_t)(r->ni * r->nj) * (size_t)r->sites
               * sizeof *r->grid);
        for (i = 0; i < r->sites && !status; i++) status = fill_site(s, r, i);
    }
    s->regions++;
    return status ? status : atomdl_arena_status(arena);
}

void atomdl_structure_alloy(atomdl_structure *s, int site, int from, int to,
                            double fraction, atomdl_rng *rng)
{
    u32 i;

    for (i = 0; s->atom && i < s->atoms; i++) {
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
    u32 i;

    for (i = 0; i < s->atoms; i++)
        if (s->atom[i].column != NONE
            && s->column[s->atom[i].column].count == GONE)
            s->atom[i].element = 0;
}

void atomdl_structure_edge(atomdl_structure *s, const atomdl_line *line)
{
    u32 i;

    if (!s->atom || !line_sound(line)) return;
    for (i = 0; i < s->columns; i++)
        if (!(atomdl_line_side(line, s->column[i].x, s->column[i].y) > 0))
            s->column[i].count = GONE;
    sweep(s);
}

void atomdl_structure_hole(atomdl_structure *s, double x, double y,
                           double radius)
{
    u32 i;

    for (i = 0; s->atom && i < s->columns; i++) {
        double dx = s->column[i].x - x, dy = s->column[i].y - y;

        if (dx * dx + dy * dy <= radius * radius) s->column[i].count = GONE;
    }
    if (s->atom) sweep(s);
}

/* Buckets of points in the plane: those of a cell are chained. */
typedef struct {
    double size;
    int w, h;
    double x0, y0;
    u32 *head, *next; /* index + 1, 0: end */
} buckets;

static int buckets_new(buckets *b, const atomdl_structure *s, u32 n,
                       double size, atomdl_arena *arena)
{
    double more = s->margin + 1;

    b->size = size;
    b->x0 = b->y0 = -more;
    b->w = (int)((s->w + 2 * more) / size) + 1;
    b->h = (int)((s->h + 2 * more) / size) + 1;
    b->head = atomdl_alloc(arena, (size_t)b->w * (size_t)b->h, sizeof(u32));
    b->next = atomdl_alloc(arena, n, sizeof(u32));
    if (b->head && b->next)
        memset(b->head, 0, (size_t)b->w * (size_t)b->h * sizeof(u32));
    return atomdl_arena_status(arena);
}

static int clamp_int(double x, int n)
{
    return x < 0 ? 0 : x >= n ? n - 1 : (int)x;
}

static int bucket_x(const buckets *b, double x)
{
    return clamp_int((x - b->x0) / b->size, b->w);
}

static int bucket_y(const buckets *b, double y)
{
    return clamp_int((y - b->y0) / b->size, b->h);
}

static void bucket_put(buckets *b, u32 i, double x, double y)
{
    u32 *head = &b->head[bucket_y(b, y) * b->w + bucket_x(b, x)];

    b->next[i] = *head;
    *head = i + 1;
}

static double distance2(const atomdl_atom *a, const atomdl_atom *b)
{
    double x = a->x - b->x, y = a->y - b->y, z = a->z - b->z;

    return x * x + y * y + z * z;
}

static int region_of(const atomdl_structure *s, const atomdl_atom *a)
{
    return a->column == NONE ? 255 : s->column[a->column].region;
}

/* 1 when an atom of an earlier region lies nearer than distance. */
static int touches(const atomdl_structure *s, const buckets *b,
                   const atomdl_atom *a, double distance)
{
    int x0 = bucket_x(b, a->x - distance), x1 = bucket_x(b, a->x + distance);
    int y0 = bucket_y(b, a->y - distance), y1 = bucket_y(b, a->y + distance);
    int x, y;
    u32 i;

    for (y = y0; y <= y1; y++)
        for (x = x0; x <= x1; x++)
            for (i = b->head[y * b->w + x]; i; i = b->next[i - 1]) {
                const atomdl_atom *c = &s->atom[i - 1];

                if (region_of(s, c) < region_of(s, a)
                    && s->column[c->column].count != GONE
                    && distance2(a, c) < distance * distance)
                    return 1;
            }
    return 0;
}

int atomdl_structure_contacts(atomdl_structure *s, double distance,
                              atomdl_arena *arena)
{
    size_t used = arena->used;
    buckets b;
    u32 i;
    int status;

    if (!(distance >= 0 && distance <= 100)) return ATOMDL_EARG;
    status = buckets_new(&b, s, s->max_atoms, distance > 2 ? distance : 2,
                         arena);
    if (!status && b.head && s->atom) {
        for (i = 0; i < s->atoms; i++)
            if (s->atom[i].element && s->atom[i].column != NONE)
                bucket_put(&b, i, s->atom[i].x, s->atom[i].y);
        for (i = 0; i < s->atoms; i++)
            if (s->atom[i].element && s->atom[i].column != NONE
                && touches(s, &b, &s->atom[i], distance))
                s->column[s->atom[i].column].count = GONE;
        sweep(s);
    }
    arena->used = used;
    return status;
}

int atomdl_structure_add(atomdl_structure *s, const atomdl_atom *atom)
{
    if (!s->atom) return ATOMDL_OK;
    if (s->atoms == s->max_atoms) return ATOMDL_EMEM;
    s->atom[s->atoms] = *atom;
    s->atom[s->atoms++].column = NONE;
    return ATOMDL_OK;
}

double atomdl_cloud_thickness(const atomdl_cloud *cloud, int n, double x,
                              double y)
{
    double sum = 0;
    int i;

    for (i = 0; i < n; i++) {
        double dx = (x - cloud[i].x) / cloud[i].sigma;
        double dy = (y - cloud[i].y) / cloud[i].sigma;

        sum += cloud[i].peak * atomdl_exp(-(dx * dx + dy * dy) / 2);
    }
    return sum;
}

int atomdl_structure_cloud(atomdl_structure *s, const atomdl_cloud *cloud,
                           atomdl_rng *rng)
{
    const double density = 0.100, gap = 3; /* 1/A3, A */
    double volume = 2 * PI * cloud->sigma * cloud->sigma * cloud->peak;
    double x, y, z;
    float g[2];
    u32 n;

    if (!(cloud->sigma > 0 && cloud->sigma <= 1e4 && cloud->peak >= 0
          && density * volume <= 1e8)
        || !(magnitude(cloud->x) <= 1e6 && magnitude(cloud->y) <= 1e6))
        return ATOMDL_EARG;
    if (!s->atom) return ATOMDL_OK;
    for (n = atomdl_rng_poisson(rng, density * volume); n > 0; n--) {
        atomdl_rng_normal(rng, g, 2);
        x = cloud->x + cloud->sigma * (double)g[0];
        y = cloud->y + cloud->sigma * (double)g[1];
        z = gap + atomdl_rng_uniform64(rng)
            * atomdl_cloud_thickness(cloud, 1, x, y);
        if (inside(s, x, y, s->margin)
            && !add_atom(s, x, y, z, 6, ATOMDL_ROLE_CONTAMINATION, 0, NONE))
            return ATOMDL_EMEM;
    }
    return ATOMDL_OK;
}

static void wave_shift(double *x, double *y, const atomdl_wave *wave, int n)
{
    double x0 = *x, y0 = *y, phase;
    int i;

    for (i = 0; i < n; i++) {
        phase = atomdl_sin(wave[i].kx * x0 + wave[i].ky * y0 + wave[i].phase);
        *x += wave[i].ax * phase;
        *y += wave[i].ay * phase;
    }
}

void atomdl_structure_warp(atomdl_structure *s, const atomdl_wave *wave, int n)
{
    u32 i;

    for (i = 0; s->atom && i < s->atoms; i++)
        if (s->atom[i].role != ATOMDL_ROLE_CONTAMINATION)
            wave_shift(&s->atom[i].x, &s->atom[i].y, wave, n);
    for (i = 0; s->column && i < s->columns; i++)
        wave_shift(&s->column[i].x, &s->column[i].y, wave, n);
    for (i = 0; s->defect && i < s->defects; i++)
        wave_shift(&s->defect[i].x, &s->defect[i].y, wave, n);
}

void atomdl_structure_thermal(atomdl_structure *s, double rms, atomdl_rng *rng)
{
    float g[256];
    u32 i;

    for (i = 0; s->atom && i < s->atoms; i++) {
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
    int i, k;

    for (i = 0; i < ATOMDL_SPECIES && c->element[i] > z; i++) {}
    if (i == ATOMDL_SPECIES || c->count == GONE - 1) return 0;
    if (c->element[i] != z) {
        if (c->element[ATOMDL_SPECIES - 1]) return 0;
        for (k = ATOMDL_SPECIES - 1; k > i; k--) {
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

/* Closes up the columns; first <- their new indices. */
static void close_columns(atomdl_structure *s)
{
    u32 i, n = 0;

    for (i = 0; i < s->columns; i++) s->column[i].first = NONE;
    for (i = 0; i < s->columns; i++)
        if (s->column[i].count != GONE) s->column[i].first = n++;
    for (i = 0; i < s->atoms; i++) {
        atomdl_atom *a = &s->atom[i];

        if (a->column == NONE) continue;
        a->column = s->column[a->column].first;
        if (a->column == NONE) a->element = 0;
    }
    for (i = n = 0; i < s->columns; i++)
        if (s->column[i].first != NONE) s->column[n++] = s->column[i];
    s->columns = n;
}

static void close_atoms(atomdl_structure *s)
{
    u32 i, n = 0;

    for (i = 0; i < s->atoms; i++)
        if (s->atom[i].element) s->atom[n++] = s->atom[i];
    s->atoms = n;
}

int atomdl_structure_finish(atomdl_structure *s)
{
    atomdl_column *c;
    u32 i;

    if (!s->atom || !s->column) return ATOMDL_OK;
    close_columns(s);
    close_atoms(s);
    for (i = 0; i < s->columns; i++) {
        c = &s->column[i];
        c->count = 0;
        memset(c->element, 0, sizeof c->element);
        memset(c->number, 0, sizeof c->number);
    }
    for (i = s->atoms; i-- > 0;) {
        const atomdl_atom *a = &s->atom[i];

        if (a->column == NONE) continue;
        c = &s->column[a->column];
        if (c->count == 0) c->x = c->y = 0;
        if (!column_count(c, a->element)) return ATOMDL_ESHAPE;
        c->x += a->x;
        c->y += a->y;
        c->first = i;
    }
    for (i = 0; i < s->columns; i++) {
        c = &s->column[i];
        if (c->count == 0) continue;
        c->x /= c->count;
        c->y /= c->count;
    }
    return ATOMDL_OK;
}

static size_t put_number(char *text, unsigned n)
{
    size_t k = 0;

    if (n >= 100) text[k++] = (char)('0' + n / 100);
    if (n >= 10) text[k++] = (char)('0' + n / 10 % 10);
    text[k++] = (char)('0' + n % 10);
    return k;
}

void atomdl_column_text(char text[32], const atomdl_column *c)
{
    size_t n = 0;
    int i;

    if (!c->count) {
        memcpy(text, "vacancy", 8);
        return;
    }
    for (i = 0; i < ATOMDL_SPECIES && c->element[i]; i++) {
        if (i) text[n++] = '+';
        atomdl_symbol(text + n, c->element[i]);
        n += text[n + 1] ? 2 : 1;
        if (c->number[i] > 1) n += put_number(text + n, c->number[i]);
    }
    text[n] = 0;
}

/* ---------- Motifs of graphene (METHOD B.2, RECIPE 3 and 7) ---------------

   Sites of the honeycomb are integers (U, V), thirds of a and b, seen from the
   middle of a hexagon; U + V is a multiple of 3, and neither U nor V is. A
   row removes sites and adds atoms; an added atom is bonded to every carbon
   within `reach` of its start and to the other added atoms, with the lengths
   it brings.
   `tie` asks for more bonds or distances: site to site, or (V = 99) to added
   atom U. All then relax in a patch of the sheet under springs. */

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
    u8 removed, extra, ties;
    site2 site[REMOVED];
    added add[ADDED];
    tie bond[TIES];
} motif;

/* The bond from (1, 2), at y = 1.4209, to (2, 4) recurs below; its middle is
   at y = 2.1313. */
#define NO_TIES {{{0, 0}, {0, 0}, 0, 0}}
#define HEXAGON {{2, 1}, {1, 2}, {-1, 1}, {-2, -1}, {-1, -2}, {1, -1}}
static const motif MOTIFS[ATOMDL_MOTIFS] = {
    {"v1", 0, 1.4209, 0, 1, 0, 0, {{1, 2}}, {{0}}, NO_TIES},
    {"v1-5-9", 0, 1.4209, 0, 1, 0, 1, {{1, 2}}, {{0}},
     {{{2, 1}, {-1, 1}, 1.92, 4}}},
    {"v2-5-8-5", 0, 2.1313, 0, 2, 0, 2, {{1, 2}, {2, 4}}, {{0}},
     {{{2, 1}, {-1, 1}, 1.80, 4}, {{4, 5}, {1, 5}, 1.80, 4}}},
    {"v2-555-777", 0.82, 2.1313, 1.8, 4, 2, 2,
     {{1, 2}, {2, 4}, {4, 2}, {5, 4}},
     {{6, 1.751, 2.1313, 1.43, 1.43}, {6, 3.171, 2.1313, 1.43, 1.43}},
     {{{2, 1}, {-1, 1}, 1.50, 2}, {{4, 5}, {1, 5}, 1.50, 2}}},
    {"stone-wales", 0, 2.1313, 1.8, 2, 2, 0, {{1, 2}, {2, 4}},
     {{6, -0.70, 2.1313, 1.44, 1.40}, {6, 0.70, 2.1313, 1.44, 1.40}},
     NO_TIES},
    {"si-c3", 0, 1.4209, 2.1, 1, 1, 0, {{1, 2}},
     {{14, 0, 1.4209, 1.645, 0}}, NO_TIES},
    {"si-c4", 0, 2.1313, 2.1, 2, 1, 0, {{1, 2}, {2, 4}},
     {{14, 0, 2.1313, 1.88, 0}}, NO_TIES},
    {"si2-c4", 0, 2.1313, 2.1, 2, 2, 0, {{1, 2}, {2, 4}},
     {{14, 0, 1.40, 1.80, 2.05}, {14, 0, 2.86, 1.80, 2.05}}, NO_TIES},
    {"si2-c5", 0.3, 2.31, 2.1, 3, 2, 0, {{1, 2}, {2, 4}, {4, 5}},
     {{14, 0, 1.4209, 1.78, 2.25}, {14, 0.6152, 3.1970, 1.78, 2.25}},
     NO_TIES},
    {"si2-c6", 0, 2.1313, 2.1, 4, 2, 0, {{1, 2}, {2, 4}, {4, 5}, {-1, 1}},
     {{14, -0.6152, 1.0656, 1.83, 2.43}, {14, 0.6152, 3.1970, 1.83, 2.43}},
     NO_TIES},
    {"si3-c6", 0, 0, 2.1, 6, 3, 0, HEXAGON,
     {{14, 1.294, 0, 1.86, 2.24}, {14, -0.647, 1.1206, 1.86, 2.24},
      {14, -0.647, -1.1206, 1.86, 2.24}}, NO_TIES},
    {"si4-c6", 0, 0, 2.1, 6, 4, 0, HEXAGON,
     {{14, 1.414, 0, 1.86, 2.45}, {14, -0.707, 1.2246, 1.86, 2.45},
      {14, -0.707, -1.2246, 1.86, 2.45}, {14, 0, 0, 0, 1.42}}, NO_TIES},
    {"hole6", 0, 0, 0, 6, 0, 0, HEXAGON, {{0}}, NO_TIES},
    {"si-adatom", 0, 2.1313, 0, 0, 1, 0, {{0}}, {{14, 0, 2.1313, 0, 0}},
     NO_TIES},
    {"si-c3-v", 0, 2.1313, 2.1, 2, 1, 1, {{1, 2}, {2, 4}},
     {{14, 0.23, 1.87, 1.78, 0}}, {{{1, 5}, {0, TO_ADDED}, 2.50, 2}}},
    {"si-c3-c3", 1.2305, 1.4209, 2.1, 2, 2, 0, {{1, 2}, {4, 2}},
     {{14, 0, 1.4209, 1.645, 0}, {14, 2.461, 1.4209, 1.645, 0}}, NO_TIES},
    {"si-c3-c4", 0.6152, 0.7104, 2.1, 3, 2, 0, {{1, -1}, {1, 2}, {2, 4}},
     {{14, 1.2305, -0.7104, 1.645, 0}, {14, 0, 2.1313, 1.88, 0}}, NO_TIES},
    {"si-c4-c4", 0.9229, 0.5329, 2.1, 4, 2, 0,
     {{1, 2}, {1, -1}, {2, 4}, {2, -2}},
     {{14, 0, 2.1313, 1.88, 0}, {14, 1.8458, -1.0656, 1.88, 0}}, NO_TIES},
};

/* Springs, METHOD's Keating form: E = sum w (r^2 - d^2)^2 / 4 d^2, weights by
   RECIPE 3. Carbon bonds 1, those of silicon 2; second neighbours at carbon
   with three carbon bonds 0.25; the carbon neighbours of Si with
   three bonds are held sqrt(3) bonds apart with 0.5; every site is anchored with 0.005. */
enum { PATCH = 200, SPRINGS = 1400 };
static const double PATCH_RADIUS = 12, FREE_RADIUS = 10.5;

typedef struct {
    u16 a, b;
    double d2, k; /* d^2, w / d^2 */
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
    int known, near, moved; /* the first `near` shifts are of bonded sites */
    double added[ADDED][2];
    shift shift[PATCH];
} relaxed;

struct atomdl_motifs {
    relaxed of[ATOMDL_MOTIFS];
};

static const double CARBON = 2.461; /* a of graphene */

static void site_position(double p[2], int u, int v)
{
    p[0] = CARBON * (2 * u - v) / 6;
    p[1] = CARBON * v / (2 * atomdl_sqrt(3));
}

static int is_removed(const motif *m, int u, int v)
{
    int i;

    for (i = 0; i < m->removed; i++)
        if (m->site[i].u == u && m->site[i].v == v) return 1;
    return 0;
}

static double apart2(const double *a, const double *b)
{
    double x = a[0] - b[0], y = a[1] - b[1];

    return x * x + y * y;
}

static void add_spring(patch *p, int a, int b, double d, double w)
{
    spring *s = &p->s[p->springs];

    if (p->springs == SPRINGS) return;
    p->springs++;
    s->a = (u16)a;
    s->b = (u16)b;
    s->d2 = d * d;
    s->k = w / s->d2;
}

/* A spring that counts as a bond. */
static void add_bond(patch *p, int a, int b, double d, double w)
{
    add_spring(p, a, b, d, w);
    if (p->bonds[a] < 4) p->bond[a][p->bonds[a]++] = (u8)b;
    if (p->bonds[b] < 4) p->bond[b][p->bonds[b]++] = (u8)a;
}

static void patch_sites(patch *p, const motif *m)
{
    double at[2], c[2], r2;
    int u, v;

    c[0] = m->x;
    c[1] = m->y;
    for (v = -24; v <= 24; v++)
        for (u = -30; u <= 30; u++) {
            if ((u + v) % 3 || u % 3 == 0 || is_removed(m, u, v)) continue;
            site_position(at, u, v);
            r2 = apart2(at, c);
            if (r2 > PATCH_RADIUS * PATCH_RADIUS || p->n == PATCH - ADDED)
                continue;
            p->site[p->n].u = (signed char)u;
            p->site[p->n].v = (signed char)v;
            p->loose[p->n] = r2 < FREE_RADIUS * FREE_RADIUS;
            p->element[p->n] = 6;
            memcpy(p->start[p->n++], at, sizeof at);
        }
    p->sites = p->n;
}

static double lesser(double a, double b)
{
    return a < b ? a : b;
}

/* Bonds of added atom number k, node p->sites + k. */
static void bond_added(patch *p, const motif *m, int k)
{
    const added *a = &m->add[k];
    int node = p->sites + k, i;
    double d;

    for (i = 0; i < node; i++) {
        int other = i - p->sites;

        if (other < 0
            && apart2(p->start[i], p->start[node]) > m->reach * m->reach)
            continue;
        d = other < 0 ? a->carbon : lesser(a->between, m->add[other].between);
        if (d > 0) add_bond(p, i, node, d, a->element == 6 ? 1 : 2);
    }
}

static int node_of(const patch *p, site2 s)
{
    int i;

    if (s.v == TO_ADDED) return p->sites + s.u;
    for (i = 0; i < p->sites; i++)
        if (p->site[i].u == s.u && p->site[i].v == s.v) return i;
    return 0;
}

/* Springs between the neighbours of atoms with three bonds. */
static void second_neighbours(patch *p, const motif *m)
{
    int i, j, k;

    for (i = 0; i < p->n; i++) {
        int silicon = p->element[i] == 14;
        double d = CARBON, w = 0.25;

        if (p->bonds[i] != 3) continue;
        if (silicon) {
            if (m->ties) continue;
            d = m->add[i - p->sites].carbon * atomdl_sqrt(3);
            w = 0.5;
        }
        for (j = 0; j < 3; j++)
            for (k = j + 1; k < 3; k++) {
                int a = p->bond[i][j], b = p->bond[i][k];

                if (p->element[a] == 6 && p->element[b] == 6)
                    add_spring(p, a, b, d, w);
            }
    }
}

static void patch_build(patch *p, const motif *m)
{
    const double bond = CARBON / atomdl_sqrt(3);
    int i, j;

    memset(p, 0, sizeof *p);
    patch_sites(p, m);
    for (i = 0; i < p->sites; i++)
        for (j = 0; j < i; j++)
            if (apart2(p->start[i], p->start[j]) < 2.5)
                add_bond(p, i, j, bond, 1);
    for (i = 0; i < m->extra; i++) {
        p->element[p->n] = m->add[i].element;
        p->loose[p->n] = 1;
        p->start[p->n][0] = m->add[i].x;
        p->start[p->n++][1] = m->add[i].y;
        bond_added(p, m, i);
    }
    for (i = 0; i < m->ties; i++) {
        const tie *t = &m->bond[i];
        int a = node_of(p, t->a), b = node_of(p, t->b);

        if (t->b.v == TO_ADDED) add_spring(p, a, b, t->length, t->weight);
        else add_bond(p, a, b, t->length, t->weight);
    }
    second_neighbours(p, m);
    memcpy(p->p, p->start, sizeof p->p);
}

static void gradients(patch *p)
{
    int i, c;

    for (i = 0; i < p->n; i++)
        for (c = 0; c < 2; c++)
            p->g[i][c] = i < p->sites
                ? 0.01 * (p->p[i][c] - p->start[i][c]) : 0;
    for (i = 0; i < p->springs; i++) {
        const spring *s = &p->s[i];
        double f = s->k * (apart2(p->p[s->a], p->p[s->b]) - s->d2);

        for (c = 0; c < 2; c++) {
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
    int step, i, c;

    for (step = 0, most = 1; step < 3000 && most > 1e-14; step++) {
        gradients(p);
        for (i = 0, uphill = most = 0; i < p->n; i++)
            for (c = 0; c < 2 && p->loose[i]; c++) {
                uphill += p->g[i][c] * p->v[i][c];
                if (p->g[i][c] * p->g[i][c] > most)
                    most = p->g[i][c] * p->g[i][c];
            }
        for (i = 0; i < p->n; i++)
            for (c = 0; c < 2 && p->loose[i]; c++) {
                double v = uphill > 0 ? 0 : keep * p->v[i][c];

                p->v[i][c] = v - rate * p->g[i][c];
                p->p[i][c] += p->v[i][c];
            }
    }
}

static int touched(const patch *p, const motif *m, int node)
{
    int i;

    for (i = 0; i < p->bonds[node]; i++)
        if (p->bond[node][i] >= p->sites) return 1;
    for (i = 0; i < m->ties; i++)
        if (node_of(p, m->bond[i].a) == node
            || (m->bond[i].b.v != TO_ADDED
                && node_of(p, m->bond[i].b) == node))
            return 1;
    return 0;
}

/* Sites bonded to what is new come first, wherever they went; then those that
   moved by more than a thousandth. */
static void patch_keep(relaxed *r, const patch *p, const motif *m)
{
    int i, pass, near;

    r->known = 1;
    for (pass = 0; pass < 2; pass++) {
        for (i = 0; i < p->sites; i++) {
            shift *s = &r->shift[r->moved];

            near = touched(p, m, i);
            if (near == pass || (!near && apart2(p->p[i], p->start[i]) < 1e-6))
                continue;
            s->u = p->site[i].u;
            s->v = p->site[i].v;
            s->x = (float)(p->p[i][0] - p->start[i][0]);
            s->y = (float)(p->p[i][1] - p->start[i][1]);
            r->moved++;
        }
        if (!pass) r->near = r->moved;
    }
    memcpy(r->added, p->p[p->sites], sizeof r->added);
}

int atomdl_motifs_new(atomdl_motifs **motifs, u32 wanted, atomdl_arena *arena)
{
    patch *p;
    size_t used;
    int i;

    *motifs = atomdl_alloc(arena, 1, sizeof **motifs);
    used = arena->used;
    p = atomdl_alloc(arena, 1, sizeof *p);
    arena->used = used;
    if (!*motifs || !p) return atomdl_arena_status(arena);
    memset(*motifs, 0, sizeof **motifs);
    for (i = 0; i < ATOMDL_MOTIFS; i++) {
        if (!(wanted >> i & 1)) continue;
        patch_build(p, &MOTIFS[i]);
        if (p->springs > p->n) patch_relax(p);
        patch_keep(&(*motifs)->of[i], p, &MOTIFS[i]);
    }
    return ATOMDL_OK;
}

/* ---------- Defects ------------------------------------------------------- */

/* What the second group of defects does to a column: of its metal or
   chalcogen atoms, from above or from below, `remove` are taken out, then
   `turn` become the other species (or the dopant), then `add` of it come on
   top. */
enum { TO_METAL = 1, TO_CHALCOGEN, TO_DOPANT };
static const struct {
    const char *name;
    char of; /* 'M' or 'X' */
    u8 remove, turn, into, add;
} EDITS[ATOMDL_DEFECTS - ATOMDL_MOTIFS] = {
    {"vx1", 'X', 1, 0, 0, 0},
    {"vx2", 'X', 2, 0, 0, 0},
    {"vm", 'M', 1, 0, 0, 0},
    {"m-x", 'X', 0, 1, TO_METAL, 0},
    {"m-x2", 'X', 1, 1, TO_METAL, 0},
    {"x-m", 'M', 0, 1, TO_CHALCOGEN, 0},
    {"x2-m", 'M', 0, 1, TO_CHALCOGEN, 1},
    {"sub-m", 'M', 0, 1, TO_DOPANT, 0},
    {"sub-x", 'X', 0, 1, TO_DOPANT, 0},
    {"sub-m-vx1", 'M', 0, 1, TO_DOPANT, 0},
};

const char *atomdl_defect_name(int kind)
{
    if (kind < 0 || kind >= ATOMDL_DEFECTS) return NULL;
    return kind < ATOMDL_MOTIFS ? MOTIFS[kind].name
                                : EDITS[kind - ATOMDL_MOTIFS].name;
}

int atomdl_defect_find(const char *name)
{
    int i;

    for (i = 0; i < ATOMDL_DEFECTS; i++)
        if (equal(name, atomdl_defect_name(i))) return i;
    return -1;
}

/* Symmetry operation: mirrored (about the line at 60 degrees) or not, then
   turned by `operation` mod 6 times 60 degrees. On sites: */
static site2 turn_site(int u, int v, int operation)
{
    site2 s;
    int k, w;

    if (operation >= 6) w = u, u = v, v = w;
    for (k = operation % 6; k > 0; k--) w = u, u = u - v, v = w;
    s.u = (signed char)u;
    s.v = (signed char)v;
    return s;
}

/* ... and on vectors. */
static void turn_vector(double p[2], double x, double y, int operation)
{
    const double half = 0.5, root = atomdl_sqrt(3) / 2;
    double t;
    int k;

    if (operation >= 6) {
        t = root * y - half * x;
        y = root * x + half * y;
        x = t;
    }
    for (k = operation % 6; k > 0; k--) {
        t = half * x - root * y;
        y = root * x + half * y;
        x = t;
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
    const atomdl_basis *list[ATOMDL_BASIS];
    double p[2], q[2];

    if (d->region >= s->regions || !r->lattice.hexagonal
        || d->operation > 11 || d->kind >= ATOMDL_DEFECTS
        || magnitude(d->i) > 1e7 || magnitude(d->j) > 1e7)
        return 0;
    if (d->kind < ATOMDL_MOTIFS) {
        if (r->lattice.metal) return 0;
        place(p, r, d->i, d->j);
        motif_vector(q, r, MOTIFS[d->kind].x, MOTIFS[d->kind].y, d->operation);
        d->x = p[0] + q[0];
        d->y = p[1] + q[1];
        motif_vector(q, r, 1, 0, d->operation);
    } else {
        if (!r->lattice.metal || d->site >= r->sites
            || !site_atoms(list, &r->lattice, d->site))
            return 0;
        place(p, r, d->i + SITE[d->site][0], d->j + SITE[d->site][1]);
        d->x = p[0];
        d->y = p[1];
        motif_vector(q, r, 1, 0, d->operation / 2);
    }
    d->angle = atomdl_atan2(q[1], q[0]);
    return 1;
}

/* Column + 1 of a site of a cell, 0: not there. */
static u32 column_at(const atomdl_structure *s, int region, int i, int j,
                     int site)
{
    const atomdl_region *r = &s->region[region];
    u32 c;

    i -= r->i0;
    j -= r->j0;
    if (i < 0 || j < 0 || i >= r->ni || j >= r->nj) return 0;
    c = r->grid[(j * r->ni + i) * r->sites + site];
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
    int i;

    for (i = 0; i < m->removed; i++)
        if (taken(s, motif_column(s, d, m->site[i].u, m->site[i].v))) return 0;
    for (i = 0; i < r->near; i++)
        if (taken(s, motif_column(s, d, r->shift[i].u, r->shift[i].v)))
            return 0;
    return s->max_atoms - s->atoms >= m->extra
        && s->max_columns - s->columns >= m->extra;
}

static void move_sites(atomdl_structure *s, const atomdl_defect *d,
                       const relaxed *r, u16 mark)
{
    double p[2];
    int i;

    for (i = 0; i < r->moved; i++) {
        const shift *t = &r->shift[i];
        u32 c = motif_column(s, d, t->u, t->v);
        atomdl_atom *a;

        if (!c) continue;
        a = &s->atom[s->column[c - 1].first];
        motif_vector(p, &s->region[d->region], (double)t->x, (double)t->y,
                     d->operation);
        a->x += (double)d->scale * p[0];
        a->y += (double)d->scale * p[1];
        if (i < r->near) a->defect = s->column[c - 1].defect = mark;
    }
}

static int place_motif(atomdl_structure *s, const atomdl_defect *d,
                       const relaxed *r)
{
    const motif *m = &MOTIFS[d->kind];
    u16 mark = (u16)(s->defects + 1);
    double p[2], q[2];
    u32 c;
    int i;

    if (!r->known || !motif_fits(s, d, r)) return ATOMDL_EARG;
    place(p, &s->region[d->region], d->i, d->j);
    for (i = 0; i < m->removed; i++) {
        c = motif_column(s, d, m->site[i].u, m->site[i].v);
        s->atom[s->column[c - 1].first].element = 0;
        s->column[c - 1].defect = mark;
    }
    move_sites(s, d, r, mark);
    for (i = 0; i < m->extra; i++) {
        motif_vector(q, &s->region[d->region], r->added[i][0], r->added[i][1],
                     d->operation);
        if (i < m->removed)
            c = motif_column(s, d, m->site[i].u, m->site[i].v);
        else if (add_column(s, p[0] + q[0], p[1] + q[1], 0, d->region))
            c = s->columns;
        else
            return ATOMDL_EMEM;
        s->column[c - 1].defect = mark;
        add_atom(s, p[0] + q[0], p[1] + q[1], 0, m->add[i].element,
                 m->add[i].element == 6 ? ATOMDL_ROLE_LATTICE
                                        : ATOMDL_ROLE_DOPANT, mark, c - 1);
    }
    return ATOMDL_OK;
}

/* Atoms that a filled column has got. */
static u32 column_atoms(const atomdl_structure *s, u32 column)
{
    const atomdl_column *c = &s->column[column - 1];
    const atomdl_lattice *l = &s->region[c->region].lattice;
    u32 n = 0;
    int i;

    for (i = 0; i < l->n; i++) n += l->basis[i].site == c->site;
    return n;
}

/* The n-th atom of element z in a column from above or below; NULL: none. */
static atomdl_atom *nth_atom(const atomdl_structure *s, u32 column, int z,
                             int n, int below)
{
    atomdl_atom *a = &s->atom[s->column[column - 1].first];
    u32 count = column_atoms(s, column), i;

    for (i = 0; i < count; i++) {
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
    int z = s->region[d->region].lattice.chalcogen, sign;
    int u = d->site, v = 3 - d->site; /* thirds of sites B and C */

    if (d->site == 0) v = 0;
    if (d->site == 1) v = 2;
    if (d->site == 2) v = 1;
    for (sign = 1; sign >= -1; sign -= 2) {
        u32 c = column_thirds(s, d->region, d->i, d->j, u + sign * step[0],
                              v + sign * step[1]);

        if (!taken(s, c) && nth_atom(s, c, z, 0, d->operation % 2)) return c;
    }
    return 0;
}

static int edit_column(atomdl_structure *s, const atomdl_defect *d, u32 column)
{
    int kind = d->kind - ATOMDL_MOTIFS, below = d->operation % 2, i;
    const atomdl_lattice *l = &s->region[d->region].lattice;
    int z = edit_element(l, d->kind), into, role = ATOMDL_ROLE_DOPANT;
    int need = EDITS[kind].remove + EDITS[kind].turn;
    u16 mark = (u16)(s->defects + 1);
    atomdl_atom *a = nth_atom(s, column, z, need - 1, below);

    into = EDITS[kind].into == TO_METAL ? l->metal
         : EDITS[kind].into == TO_CHALCOGEN ? l->chalcogen : d->element;
    if (!a || (EDITS[kind].turn && !into)) return ATOMDL_EARG;
    if (EDITS[kind].add
        && !add_atom(s, a->x, a->y, a->z + 1.5, into, role, mark, column - 1))
        return ATOMDL_EMEM;
    if (EDITS[kind].add) a->z -= 1.5;
    if (EDITS[kind].turn) {
        a->element = (u8)into;
        a->role = (u8)role;
    }
    for (i = 0; i < EDITS[kind].remove; i++)
        nth_atom(s, column, z, 0, below)->element = 0;
    a = &s->atom[s->column[column - 1].first];
    for (i = (int)column_atoms(s, column) - 1; i >= 0; i--) a[i].defect = mark;
    s->column[column - 1].defect = mark;
    return ATOMDL_OK;
}

static int place_edit(atomdl_structure *s, const atomdl_defect *d)
{
    u32 c = column_at(s, d->region, d->i, d->j, d->site), beside = 0;
    int status;

    if (!c || s->column[c - 1].defect) return ATOMDL_EARG;
    if (d->kind == ATOMDL_SUB_M_VX1 && !(beside = chalcogen_beside(s, d)))
        return ATOMDL_EARG;
    status = edit_column(s, d, c);
    if (beside && !status) {
        atomdl_defect vacancy = *d;

        vacancy.kind = ATOMDL_VX1;
        status = edit_column(s, &vacancy, beside);
    }
    return status;
}

int atomdl_defect_place(atomdl_structure *s, const atomdl_defect *defect,
                        const atomdl_motifs *motifs)
{
    atomdl_defect d = *defect;
    int status;

    if (!s->atom || !s->column || !s->defect) return ATOMDL_OK;
    if (!(d.scale >= -10 && d.scale <= 10) || !defect_geometry(&d, s)
        || !s->region[d.region].grid)
        return ATOMDL_EARG;
    if (s->defects == s->max_defects) return ATOMDL_EMEM;
    if (d.kind < ATOMDL_MOTIFS && !motifs) return ATOMDL_EARG;
    status = d.kind < ATOMDL_MOTIFS ? place_motif(s, &d, &motifs->of[d.kind])
                                    : place_edit(s, &d);
    if (status) return status;
    if (d.id == 0) d.id = s->next_id;
    if (d.id >= s->next_id) s->next_id = d.id + 1;
    s->defect[s->defects++] = d;
    return ATOMDL_OK;
}

static double rounded(double x)
{
    return atomdl_floor(x + 0.5);
}

/* i, j of the cell whose point (u, v), thirds or not, lies next to f. */
static void nearest_cell(atomdl_defect *d, const double f[2], double u,
                         double v)
{
    d->i = (int32_t)rounded(f[0] - u);
    d->j = (int32_t)rounded(f[1] - v);
}

static double off_centre(const atomdl_defect *d, double x, double y)
{
    return (d->x - x) * (d->x - x) + (d->y - y) * (d->y - y);
}

/* Rounding fractions may miss the nearest cell by one: all nine are tried. */
static int settle(atomdl_defect *d, const atomdl_structure *s, double x,
                  double y)
{
    atomdl_defect best = *d, t;
    int k;

    for (k = 0; k < 9; k++) {
        t = *d;
        t.i += k % 3 - 1;
        t.j += k / 3 - 1;
        if (!defect_geometry(&t, s)) return 0;
        if (k == 0 || off_centre(&t, x, y) < off_centre(&best, x, y)) best = t;
    }
    *d = best;
    return 1;
}

int atomdl_defect_locate(atomdl_defect *defect, const atomdl_structure *s,
                         double x, double y)
{
    const atomdl_region *r = &s->region[defect->region];
    atomdl_defect d = *defect, best = *defect;
    double f[2], c[2];
    int site, k, found = 0;

    if (d.region >= s->regions || !inside(s, x, y, 1e3)) return ATOMDL_EARG;
    d.i = d.j = 0;
    fractions(f, r, x, y);
    if (d.kind < ATOMDL_MOTIFS) {
        if (!defect_geometry(&d, s)) return ATOMDL_EARG;
        fractions(c, r, d.x, d.y);
        nearest_cell(&d, f, c[0], c[1]);
        if (!settle(&d, s, x, y)) return ATOMDL_EARG;
        *defect = d;
        return ATOMDL_OK;
    }
    if (!r->lattice.metal || d.kind >= ATOMDL_DEFECTS) return ATOMDL_EARG;
    for (site = 0; site < r->sites; site++) {
        for (k = 0; k < r->lattice.n; k++)
            if (r->lattice.basis[k].site == site
                && r->lattice.basis[k].element
                       == edit_element(&r->lattice, d.kind))
                break;
        if (k == r->lattice.n) continue;
        d.site = (u8)site;
        nearest_cell(&d, f, SITE[site][0], SITE[site][1]);
        if (!settle(&d, s, x, y)) return ATOMDL_EARG;
        if (!found || off_centre(&d, x, y) < off_centre(&best, x, y)) best = d;
        found = 1;
    }
    if (found) *defect = best;
    return found ? ATOMDL_OK : ATOMDL_EARG;
}

/* The kind at `at` of the way through all weights. */
static int pick_kind(const atomdl_drawing *how, double at)
{
    double sum = 0;
    int i, last = -1;

    for (i = 0; i < ATOMDL_DEFECTS; i++) sum += (double)how->weight[i];
    at *= sum;
    for (i = 0; i < ATOMDL_DEFECTS; i++) {
        if (!(how->weight[i] > 0)) continue;
        last = i;
        at -= (double)how->weight[i];
        if (at < 0) break;
    }
    return last;
}

static int drawing_sound(const atomdl_drawing *how)
{
    int i, some = 0;

    for (i = 0; i < ATOMDL_DEFECTS; i++) {
        if (!(how->weight[i] >= 0 && how->weight[i] <= 1e6f)) return 0;
        some |= how->weight[i] > 0;
    }
    for (i = 0; i < 3; i++)
        if (!(how->jitter[i] >= 0 && how->jitter[i] <= 1)) return 0;
    return some && how->apart >= 0 && how->apart <= 1e6 && how->nearer >= 0
        && how->nearer <= 1e6 && how->fraction >= 0 && how->fraction <= 1
        && how->scale_sd >= 0 && how->scale_sd <= 1;
}

static int crowded(const atomdl_defect *list, u32 n, u32 but,
                   const atomdl_defect *d, double apart)
{
    u32 i;

    for (i = 0; i < n; i++)
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
    u32 i;

    d->operation = (u8)atomdl_rng_below(rng, 12);
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
    int dimer = kind >= ATOMDL_SI2_C4 && kind <= ATOMDL_SI2_C6;
    double sd = how->jitter[dimer];
    float common[2], own[2];
    u32 i;

    atomdl_rng_normal(rng, common, 2);
    for (i = from; i < s->atoms; i++) {
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
    atomdl_defect d;
    int trial, scale;
    float g;
    u32 from = s->atoms;

    memset(&d, 0, sizeof d);
    d.kind = (u8)pick_kind(how, atomdl_rng_uniform64(rng));
    d.element = how->element;
    atomdl_rng_normal(rng, &g, 1);
    d.scale = 1 + (float)how->scale_sd * g;
    scale = d.scale < 0.6f ? -1 : d.scale > 1.4f;
    if (scale) d.scale = scale < 0 ? 0.6f : 1.4f;
    for (trial = 0; trial < 20; trial++) {
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
        if (s->defects == s->max_defects) return ATOMDL_EMEM;
        done += (u32)draw_one(s, how, motifs, rng);
    }
    if (drawn) *drawn = done;
    return ATOMDL_OK;
}

int atomdl_defects_scatter(atomdl_structure *s, int kind, int element,
                           double fraction, int region, atomdl_rng *rng)
{
    atomdl_defect d;
    u32 k;
    int need, status;

    if (kind < ATOMDL_MOTIFS || kind >= ATOMDL_DEFECTS || element < 0
        || element > ELEMENTS || !(fraction >= 0 && fraction <= 1))
        return ATOMDL_EARG;
    if (!s->atom || !s->column || !s->defect) return ATOMDL_OK;
    need = EDITS[kind - ATOMDL_MOTIFS].remove
        + EDITS[kind - ATOMDL_MOTIFS].turn;
    memset(&d, 0, sizeof d);
    d.kind = (u8)kind;
    d.element = (u8)element;
    d.scale = 1;
    for (k = 0; k < s->regions; k++) {
        const atomdl_region *r = &s->region[k];
        int z = edit_element(&r->lattice, kind), i;

        if ((region >= 0 && (int)k != region) || !z || !r->grid) continue;
        d.region = (u8)k;
        for (i = 0; i < r->ni * r->nj * r->sites; i++) {
            u32 c = r->grid[i];

            if (!c || s->column[c - 1].count == GONE
                || s->column[c - 1].defect || !nth_atom(s, c, z, need - 1, 0))
                continue;
            d.operation = (u8)atomdl_rng_below(rng, 12);
            if (!(atomdl_rng_uniform64(rng) < fraction)) continue;
            d.site = (u8)(i % r->sites);
            d.i = r->i0 + i / r->sites % r->ni;
            d.j = r->j0 + i / r->sites / r->ni;
            status = atomdl_defect_place(s, &d, NULL);
            if (status == ATOMDL_EMEM) return status;
        }
    }
    return ATOMDL_OK;
}

/* ---------- XYZ files ----------------------------------------------------- */

typedef struct {
    const char *p, *end;
    u32 line; /* from 1 */
    const char *why;
} reader;

enum { XYZ_MOST = 1 << 24, XYZ_SHORTEST = 8 }; /* atoms; bytes: "C 0 0 0\n" */

static int blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int digit(char c)
{
    return c >= '0' && c <= '9';
}

static int fail(reader *r, const char *why)
{
    if (!r->why) r->why = why;
    return ATOMDL_EFILE;
}

/* The next word of this line; 0 at its end. */
static size_t word(const char **w, reader *r)
{
    while (r->p < r->end && blank(*r->p)) r->p++;
    *w = r->p;
    while (r->p < r->end && !blank(*r->p) && *r->p != '\n') r->p++;
    return (size_t)(r->p - *w);
}

static void next_line(reader *r)
{
    while (r->p < r->end && *r->p != '\n') r->p++;
    if (r->p < r->end) r->p++;
    r->line++;
}

static double ten_to(int n)
{
    double x = 1, ten = 10;

    for (; n > 0; n >>= 1, ten *= ten)
        if (n & 1) x *= ten;
    return x;
}

/* A decimal number that fills the n bytes at w: exact to the last bit up to
   15 digits and powers of ten to 22, else within a few ulp. 0: malformed. */
static int parse_number(double *x, const char *w, size_t n)
{
    const char *end = w + n;
    int negative = n && *w == '-', point = 0, digits = 0, power = 0, e = 0;
    u64 m = 0;

    if (n > 64) return 0;
    w += n && (*w == '-' || *w == '+');
    for (; w < end && (digit(*w) || (*w == '.' && !point)); w++) {
        if (*w == '.') {
            point = 1;
            continue;
        }
        digits++;
        if (m >= 100000000000000000u) {
            power += !point;
            continue;
        }
        m = 10 * m + (u64)(*w - '0');
        power -= point;
    }
    if (!digits) return 0;
    if (w < end && (*w == 'e' || *w == 'E')) {
        int minus = ++w < end && *w == '-';

        w += w < end && (*w == '-' || *w == '+');
        if (w == end) return 0;
        for (; w < end && digit(*w); w++)
            e = e < 10000 ? 10 * e + (*w - '0') : e;
        power += minus ? -e : e;
    }
    if (w != end || (m && (power > 280 || power < -280))) return 0;
    *x = !m ? 0 : power < 0 ? (double)m / ten_to(-power)
                            : (double)m * ten_to(power);
    if (negative) *x = -*x;
    return 1;
}

/* The value of key="..." or key=... in a comment line; 0: not there. */
static size_t comment_value(const char **v, const char *line, const char *end,
                            const char *key)
{
    size_t n = length(key);
    const char *p, *stop;
    char quote;

    for (p = line; (size_t)(end - p) > n; p++) {
        if (p > line && !blank(p[-1])) continue;
        if (!same_bytes(p, key, n)) continue;
        p += n;
        quote = p < end && (*p == '"' || *p == '\'') ? *p++ : ' ';
        for (stop = p; stop < end && *stop != quote
             && (quote != ' ' || !blank(*stop));)
            stop++;
        *v = p;
        return (size_t)(stop - p);
    }
    return 0;
}

/* Nine numbers. */
static int read_cell(double cell[9], const char *v, size_t n)
{
    reader r = {v, v + n, 0, NULL};
    const char *w;
    int i;

    for (i = 0; i < 9; i++) {
        size_t k = word(&w, &r);

        if (!k || !parse_number(&cell[i], w, k) || magnitude(cell[i]) > 1e6)
            return 0;
    }
    return word(&w, &r) == 0;
}

/* Columns of the symbol and of x from "species:S:1:pos:R:3:..."; 0: bad. */
static int read_properties(int column[2], const char *v, size_t n)
{
    const char *end = v + n, *name, *count;
    int at = 0;

    column[0] = column[1] = -1;
    while (v < end) {
        size_t k;
        double width;

        name = v;
        while (v < end && *v != ':') v++;
        k = (size_t)(v - name);
        if (end - v < 4 || v[2] != ':') return 0;
        count = v += 3;
        while (v < end && *v != ':') v++;
        if (!parse_number(&width, count, (size_t)(v - count))
            || !(width >= 1 && width <= 64) || width != (double)(int)width)
            return 0;
        if (k == 7 && same_bytes(name, "species", 7))
            column[0] = width == 1 ? at : -1;
        if (k == 1 && *name == 'Z' && column[0] < 0) column[0] = at;
        if (k == 3 && same_bytes(name, "pos", 3))
            column[1] = width == 3 ? at : -1;
        at += (int)width;
        if (at > 256) return 0;
        v += v < end;
    }
    return column[0] >= 0 && column[1] >= 0;
}

static int read_comment(atomdl_xyz *info, int column[2], reader *r)
{
    const char *line = r->p, *end = r->p, *v;
    size_t n;

    while (end < r->end && *end != '\n') end++;
    column[0] = 0;
    column[1] = 1;
    n = comment_value(&v, line, end, "Lattice=");
    if (n && !read_cell(info->cell, v, n))
        return fail(r, "Lattice needs nine numbers");
    n = comment_value(&v, line, end, "Properties=");
    if (n && !read_properties(column, v, n))
        return fail(r, "Properties need species:S:1 and pos:R:3");
    return ATOMDL_OK;
}

static int read_element(const char *w, size_t n)
{
    double z;

    if (n && digit(*w))
        return parse_number(&z, w, n) && z >= 1 && z <= ELEMENTS
            && z == (double)(int)z ? (int)z : 0;
    return atomdl_element(w, n);
}

static int read_atom(atomdl_atom *a, const int column[2], reader *r)
{
    int last = column[0] > column[1] + 2 ? column[0] : column[1] + 2, i;
    double p[3] = {0, 0, 0};
    const char *w;

    memset(a, 0, sizeof *a);
    for (i = 0; i <= last; i++) {
        size_t n = word(&w, r);

        if (!n) return fail(r, "a value is missing");
        if (i == column[0]) {
            a->element = (u8)read_element(w, n);
            if (!a->element) return fail(r, "unknown element");
        }
        if (i >= column[1] && i < column[1] + 3
            && (!parse_number(&p[i - column[1]], w, n)
                || magnitude(p[i - column[1]]) > 1e6))
            return fail(r, "not a coordinate");
    }
    a->x = p[0];
    a->y = p[1];
    a->z = p[2];
    a->weight = 1;
    a->column = NONE;
    return ATOMDL_OK;
}

static void extend(atomdl_xyz *info, const atomdl_atom *a, int first)
{
    const double p[3] = {a->x, a->y, a->z};
    int c;

    for (c = 0; c < 3; c++) {
        if (first || p[c] < info->low[c]) info->low[c] = p[c];
        if (first || p[c] > info->high[c]) info->high[c] = p[c];
    }
}

static int read_xyz(atomdl_xyz *info, atomdl_atom *atom, reader *r)
{
    const char *w;
    size_t n = word(&w, r);
    double count;
    int column[2];
    u32 i;

    if (!n || !parse_number(&count, w, n) || !digit(*w) || count < 1
        || count != atomdl_floor(count))
        return fail(r, "not a number of atoms");
    if (word(&w, r)) return fail(r, "more than a number of atoms");
    if (count > XYZ_MOST
        || count > (double)(r->end - r->p) / XYZ_SHORTEST + 1)
        return fail(r, "more atoms than the file can hold");
    info->atoms = (u32)count;
    next_line(r);
    if (read_comment(info, column, r)) return ATOMDL_EFILE;
    for (i = 0; i < info->atoms; i++) {
        atomdl_atom a;

        next_line(r);
        if (r->p >= r->end) return fail(r, "the file ends early");
        if (read_atom(&a, column, r)) return ATOMDL_EFILE;
        extend(info, &a, i == 0);
        if (atom) atom[i] = a;
    }
    return ATOMDL_OK;
}

int atomdl_xyz_read(atomdl_xyz *info, atomdl_atom *atom, const char *text,
                    size_t size)
{
    reader r = {text, text + size, 1, NULL};
    int status;

    memset(info, 0, sizeof *info);
    info->why = "";
    status = read_xyz(info, atom, &r);
    if (!status) return ATOMDL_OK;
    info->line = r.line;
    info->why = r.why;
    info->atoms = 0;
    return status;
}

/* Column + 1 of another atom nearer than width in projection, 0: none. */
static u32 shared_column(const atomdl_structure *s, const buckets *b, double x,
                         double y, double width)
{
    int x0 = bucket_x(b, x - width), x1 = bucket_x(b, x + width);
    int y0 = bucket_y(b, y - width), y1 = bucket_y(b, y + width), i, j;
    u32 k;

    for (j = y0; j <= y1; j++)
        for (i = x0; i <= x1; i++)
            for (k = b->head[j * b->w + i]; k; k = b->next[k - 1]) {
                const atomdl_column *c = &s->column[k - 1];
                double dx = c->x - x, dy = c->y - y;

                if (dx * dx + dy * dy < width * width) return k;
            }
    return 0;
}

int atomdl_structure_atoms(atomdl_structure *s, const atomdl_atom *atom, u32 n,
                           double dx, double dy, double width,
                           atomdl_arena *arena)
{
    size_t used = arena->used;
    buckets b;
    u32 i, c;
    int status;

    if (!(width >= 0 && width <= 100)) return ATOMDL_EARG;
    status = buckets_new(&b, s, s->max_columns, width > 2 ? width : 2, arena);
    for (i = 0; i < n && !status && b.head && s->atom; i++) {
        double x = atom[i].x + dx, y = atom[i].y + dy;

        if (!inside(s, x, y, s->margin)) continue;
        c = shared_column(s, &b, x, y, width);
        if (!c && add_column(s, x, y, 0, 255)) {
            c = s->columns;
            bucket_put(&b, c - 1, x, y);
        }
        if (!c || !add_atom(s, x, y, atom[i].z, atom[i].element,
                            ATOMDL_ROLE_LATTICE, 0, c - 1))
            status = ATOMDL_EMEM;
        else
            s->atom[s->atoms - 1].weight = atom[i].weight;
    }
    arena->used = used;
    return status;
}

/* ---------- Labels -------------------------------------------------------- */

static int defect_matches(const atomdl_structure *s, u16 defect, int kind)
{
    if (kind == ATOMDL_ANY) return 1;
    return defect && s->defect[defect - 1].kind == kind;
}

static int class_of(const atomdl_structure *s, int region)
{
    return region < (int)s->regions ? s->region[region].class_id : ATOMDL_ANY;
}

/* Composition of a rule's text, as the columns hold it; 0: malformed. */
static int parse_composition(atomdl_column *c, const char *text)
{
    const char *end = text;
    int z, n;

    memset(c, 0, sizeof *c);
    if (equal(text, "vacancy")) return 1;
    while (*end) {
        const char *start = end++;

        while (*end >= 'a' && *end <= 'z') end++;
        z = atomdl_element(start, (size_t)(end - start));
        for (n = 0; digit(*end) && n < 255; end++) n = 10 * n + *end - '0';
        if (!z || n >= GONE || (*end && *end != '+')) return 0;
        for (n += n == 0; n > 0; n--)
            if (!column_count(c, z)) return 0;
        end += *end == '+';
    }
    return c->count > 0;
}

static int same_composition(const atomdl_column *a, const atomdl_column *b)
{
    return a->count == b->count
        && same_bytes(a->element, b->element, sizeof a->element)
        && same_bytes(a->number, b->number, sizeof a->number);
}

/* The next centre that a rule matches, from index *i on; 0: no more. */
static int next_centre(double p[2], u32 *i, const atomdl_structure *s,
                       const atomdl_rule *rule, const atomdl_column *want)
{
    u32 n = rule->what == ATOMDL_LABEL_ATOM ? s->atoms
          : rule->what == ATOMDL_LABEL_COLUMN ? s->columns : s->defects;

    while (*i < n) {
        u32 k = (*i)++;
        int hit, region;

        if (rule->what == ATOMDL_LABEL_ATOM) {
            const atomdl_atom *a = &s->atom[k];

            hit = a->role != ATOMDL_ROLE_CONTAMINATION
                && (rule->element == ATOMDL_ANY || a->element == rule->element)
                && defect_matches(s, a->defect, rule->kind);
            region = region_of(s, a);
            p[0] = a->x;
            p[1] = a->y;
        } else if (rule->what == ATOMDL_LABEL_COLUMN) {
            const atomdl_column *c = &s->column[k];

            hit = (rule->site == ATOMDL_ANY || c->site == rule->site)
                && (!rule->text[0] || same_composition(c, want))
                && defect_matches(s, c->defect, rule->kind);
            region = c->region;
            p[0] = c->x;
            p[1] = c->y;
        } else {
            const atomdl_defect *d = &s->defect[k];

            hit = rule->kind == ATOMDL_ANY || d->kind == rule->kind;
            region = d->region;
            p[0] = d->x;
            p[1] = d->y;
        }
        if (hit && (rule->region == ATOMDL_ANY
                    || class_of(s, region) == rule->region))
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
static void span(int *from, int *to, double low, double high, double pixel,
                 int n)
{
    double a = atomdl_floor(low / pixel - 0.5) + 1;
    double b = atomdl_floor(high / pixel - 0.5);

    *from = a < 0 ? 0 : a > n ? n : (int)a;
    *to = b < 0 ? -1 : b >= n ? n - 1 : (int)b;
}

static void paint_disc(u8 *label, int w, int h, double pixel, const double p[2],
                       double radius, u8 class_id)
{
    int x, y, x0, x1, y0, y1;

    span(&x0, &x1, p[0] - radius, p[0] + radius, pixel, w);
    span(&y0, &y1, p[1] - radius, p[1] + radius, pixel, h);
    for (y = y0; y <= y1; y++)
        for (x = x0; x <= x1; x++) {
            double dx = (x + 0.5) * pixel - p[0], dy = (y + 0.5) * pixel - p[1];

            if (dx * dx + dy * dy <= radius * radius)
                label[(size_t)y * (size_t)w + (size_t)x] = class_id;
        }
}

/* Region and thickness rules look at every pixel. */
static void paint_field(u8 *label, int w, int h, double pixel,
                        const atomdl_structure *s, const atomdl_rule *rule,
                        const atomdl_cloud *cloud, int clouds)
{
    int x, y;
    u32 i;

    for (y = 0; y < h; y++)
        for (x = 0; x < w; x++) {
            double px = (x + 0.5) * pixel, py = (y + 0.5) * pixel, t;
            int hit = 0;

            if (rule->what == ATOMDL_LABEL_THICKNESS) {
                t = atomdl_cloud_thickness(cloud, clouds, px, py);
                hit = t > (double)rule->low && t <= (double)rule->high;
            }
            for (i = 0; rule->what == ATOMDL_LABEL_REGION && i < s->regions
                 && !hit; i++)
                hit = (rule->region == ATOMDL_ANY
                       || s->region[i].class_id == rule->region)
                    && on_side(&s->region[i], px, py);
            if (hit) label[(size_t)y * (size_t)w + (size_t)x] = rule->class_id;
        }
}

static int map_sound(int w, int h, double pixel)
{
    return w >= 1 && h >= 1 && w <= ATOMDL_IMAGE_MAX && h <= ATOMDL_IMAGE_MAX
        && pixel >= 1e-4 && pixel <= 1e4;
}

int atomdl_label_paint(u8 *label, int w, int h, double pixel,
                       const atomdl_structure *s, const atomdl_rule *rule,
                       int rules, const atomdl_cloud *cloud, int clouds)
{
    atomdl_column want;
    double p[2];
    u32 at;
    int i;

    if (!map_sound(w, h, pixel)) return ATOMDL_EARG;
    for (i = 0; i < rules; i++) {
        if (!rule_sound(&rule[i], &want)) return ATOMDL_EARG;
        if (!s->atom || !label) continue;
        if (rule[i].what >= ATOMDL_LABEL_REGION)
            paint_field(label, w, h, pixel, s, &rule[i], cloud, clouds);
        else
            for (at = 0; next_centre(p, &at, s, &rule[i], &want);)
                paint_disc(label, w, h, pixel, p, (double)rule[i].radius,
                           rule[i].class_id);
    }
    return ATOMDL_OK;
}

/* Row by row: exp(-x^2) exp(-y^2), each factor computed once. */
static void paint_gaussian(float *map, int w, int h, double pixel,
                           const double p[2], double sigma)
{
    enum { WIDE = 256 };
    float gx[WIDE];
    int x, y, x0, x1, y0, y1, from;

    span(&x0, &x1, p[0] - 4 * sigma, p[0] + 4 * sigma, pixel, w);
    span(&y0, &y1, p[1] - 4 * sigma, p[1] + 4 * sigma, pixel, h);
    for (from = x0; from <= x1; from += WIDE) {
        int to = x1 < from + WIDE - 1 ? x1 : from + WIDE - 1;

        for (x = from; x <= to; x++) {
            double d = ((x + 0.5) * pixel - p[0]) / sigma;

            gx[x - from] = atomdl_expf((float)(-d * d / 2));
        }
        for (y = y0; y <= y1; y++) {
            double d = ((y + 0.5) * pixel - p[1]) / sigma;
            float gy = atomdl_expf((float)(-d * d / 2));

            for (x = from; x <= to; x++) {
                float *m = &map[(size_t)y * (size_t)w + (size_t)x];

                if (gx[x - from] * gy > *m) *m = gx[x - from] * gy;
            }
        }
    }
}

int atomdl_label_gaussian(float *map, int w, int h, double pixel,
                          const atomdl_structure *s, const atomdl_rule *rule)
{
    atomdl_column want;
    double p[2];
    u32 at;

    if (!map_sound(w, h, pixel) || !rule_sound(rule, &want)
        || rule->what > ATOMDL_LABEL_DEFECT || !(rule->radius > 0))
        return ATOMDL_EARG;
    if (!s->atom || !map) return ATOMDL_OK;
    memset(map, 0, (size_t)w * (size_t)h * sizeof *map);
    for (at = 0; next_centre(p, &at, s, rule, &want);)
        paint_gaussian(map, w, h, pixel, p, (double)rule->radius);
    return ATOMDL_OK;
}

/* ---------- Movies -------------------------------------------------------- */

static int dynamics_sound(const atomdl_dynamics *how)
{
    int i, k;

    if (how->states < 2 || how->states > ATOMDL_STATES
        || !(how->apart >= 0 && how->apart <= 1e6)) return 0;
    for (i = 0; i < how->states; i++) {
        double sum = 0;

        if (i && how->kind[i] >= ATOMDL_DEFECTS) return 0;
        if (i && !(how->hop[i] >= 0 && how->hop[i] <= 1
                   && how->turn[i] >= 0 && how->turn[i] <= 1)) return 0;
        for (k = 0; k < how->states; k++) {
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
    int i;

    for (i = 1; i < how->states; i++)
        if (how->kind[i] == kind) return i;
    return 0;
}

/* The state after one frame in state i. */
static int next_state(const atomdl_dynamics *how, int i, double u)
{
    int k;

    for (k = 0; k < how->states; k++) {
        if (k == i) continue;
        u -= how->rate[i][k];
        if (u < 0) return k;
    }
    return i;
}

/* To a neighbouring cell or turned, when there is room; 0: blocked. */
static int try_move(atomdl_defect *list, u32 n, u32 at, int hop, u32 way,
                    double apart, const atomdl_structure *s)
{
    static const signed char CELL[6][2] = {{1, 0}, {1, 1}, {0, 1},
                                           {-1, 0}, {-1, -1}, {0, -1}};
    atomdl_defect d = list[at];

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
        || crowded(list, n, at, &d, apart))
        return 0;
    list[at] = d;
    return 1;
}

static void move_defect(atomdl_defect *list, u32 n, u32 at, int state,
                        atomdl_events *e, const atomdl_dynamics *how,
                        const atomdl_structure *s, atomdl_rng *rng)
{
    double hop = atomdl_rng_uniform64(rng), turn = atomdl_rng_uniform64(rng);
    u32 way = atomdl_rng_below(rng, 6);
    int done;

    if (hop < how->hop[state]) {
        done = try_move(list, n, at, 1, way, how->apart, s);
        e->hops[state] += (u32)done;
        e->blocked += !done;
    }
    if (turn < how->turn[state]) {
        done = try_move(list, n, at, 0, way, how->apart, s);
        e->turns[state] += (u32)done;
        e->blocked += !done;
    }
}

static int give_birth(atomdl_defect *list, u32 *n, u32 max, u32 *next_id,
                      int state, const atomdl_dynamics *how,
                      const atomdl_structure *s, atomdl_rng *rng)
{
    atomdl_defect d;
    int trial;

    memset(&d, 0, sizeof d);
    d.kind = how->kind[state];
    d.element = how->element;
    d.scale = 1;
    for (trial = 0; trial < 20; trial++) {
        if (!throw_defect(&d, s, rng) || crowded(list, *n, NONE, &d,
                                                 how->apart))
            continue;
        if (*n == max) return 0;
        d.id = (*next_id)++;
        list[(*n)++] = d;
        return 1;
    }
    return 0;
}

int atomdl_movie_step(atomdl_defect *list, u32 *n, u32 max, u32 *next_id,
                      atomdl_events *events, const atomdl_dynamics *how,
                      const atomdl_structure *s, atomdl_rng *rng)
{
    atomdl_events none, *e = events ? events : &none;
    u32 i, kept = 0, born;
    int state, next;

    if (!dynamics_sound(how) || *n > max) return ATOMDL_EARG;
    if (!events) memset(&none, 0, sizeof none);
    for (i = 0; i < *n; i++) {
        state = state_of(how, list[i].kind);
        if (!state || !defect_geometry(&list[i], s)) return ATOMDL_EARG;
    }
    for (i = 0; i < *n; i++) {
        state = state_of(how, list[i].kind);
        next = next_state(how, state, atomdl_rng_uniform64(rng));
        e->change[state][next]++;
        if (!next) list[i].id = 0;
        else list[i].kind = how->kind[next];
    }
    for (i = 0; i < *n; i++)
        if (list[i].id) list[kept++] = list[i];
    *n = kept;
    for (i = 0; i < *n; i++) {
        (void)defect_geometry(&list[i], s);
        move_defect(list, *n, i, state_of(how, list[i].kind), e, how, s, rng);
    }
    for (state = 1; state < how->states; state++)
        for (born = atomdl_rng_poisson(rng, how->rate[0][state]); born > 0;
             born--) {
            int done = give_birth(list, n, max, next_id, state, how, s, rng);

            e->change[0][state] += (u32)done;
            e->blocked += !done;
        }
    return ATOMDL_OK;
}

/* ---------- Recipes: words and numbers ------------------------------------ */

typedef struct {
    const char *s;
    size_t n;
} words;

/* Text that is being written: cut at size, counted and digested in full. */
typedef struct {
    char *text;
    size_t size, n;
    uint64_t digest;
} sink;

static void put(sink *out, const char *s)
{
    for (; *s; s++, out->n++) {
        if (out->n + 1 < out->size) out->text[out->n] = *s;
        out->digest = atomdl_digest_bytes(out->digest, s, 1);
    }
}

/* The next line without its comment and the blanks around it; 0: no more. */
static int take_line(words *line, words *rest)
{
    size_t i = 0, n;

    if (!rest->n) return 0;
    while (i < rest->n && rest->s[i] != '\n') i++;
    line->s = rest->s;
    for (n = 0; n < i && rest->s[n] != '#'; n++) {}
    while (n && blank(line->s[n - 1])) n--;
    for (; n && blank(*line->s); n--) line->s++;
    line->n = n;
    if (i < rest->n) i++;
    rest->s += i;
    rest->n -= i;
    return 1;
}

/* The next word; 0 and an empty one: no more. */
static int take_word(words *word, words *line)
{
    for (; line->n && blank(*line->s); line->n--) line->s++;
    word->s = line->s;
    for (word->n = 0; word->n < line->n && !blank(line->s[word->n]);)
        word->n++;
    line->s += word->n;
    line->n -= word->n;
    return word->n > 0;
}

static int same_word(words w, const char *text)
{
    size_t i;

    for (i = 0; i < w.n; i++)
        if (!text[i] || text[i] != w.s[i]) return 0;
    return !text[i];
}

/* out(size) <- the word in small letters (fold) or as it is; 0: too long */
static int copy_word(char *out, size_t size, words w, int fold)
{
    size_t i;

    memset(out, 0, size);
    if (w.n >= size) return 0;
    for (i = 0; i < w.n; i++)
        out[i] = (char)(fold && w.s[i] >= 'A' && w.s[i] <= 'Z' ? w.s[i] + 32
                                                                : w.s[i]);
    return 1;
}

/* m 10^e: m below 10^15 and |e| <= 22, so that it is rounded but once */
static double decimal_value(double m, int e)
{
    double p = 1;
    int i;

    for (i = e < 0 ? -e : e; i; i--) p *= 10;
    return e < 0 ? m / p : m * p;
}

/* a, not negative, of at most 15 digits: *power and m of m 10^power */
static double fifteen(double a, int digits, int *power)
{
    int e = -22;

    while (e < 22 && decimal_value(1, e + 1) <= a) e++;
    *power = !(a > 0) ? 0 : e - digits < -22 ? -22 : e - digits;
    return atomdl_floor(decimal_value(a, -*power) + 0.5);
}

/* Of a longer number than 15 digits the rest is rounded off, so that what is
   written reads back as the same value. 0: malformed or beyond 1e20. */
static int read_number(double *v, words w)
{
    double m;
    int power;

    if (!parse_number(v, w.s, w.n) || !(magnitude(*v) < 1e20)) return 0;
    m = fifteen(magnitude(*v), 14, &power);
    *v = decimal_value(*v < 0 ? -m : m, power) + 0.0; /* no -0 */
    return 1;
}

/* A..B; 0: not so */
static int read_range(double *a, double *b, words w)
{
    words left = w, right = w;
    size_t i;

    for (i = 0; i + 1 < w.n && !(w.s[i] == '.' && w.s[i + 1] == '.'); i++) {}
    if (i + 1 >= w.n) return 0;
    left.n = i;
    right.s += i + 2;
    right.n -= i + 2;
    return read_number(a, left) && read_number(b, right);
}

/* The shortest text that reads back as v (single: as the same float). */
static void put_value(sink *out, double v, int single)
{
    char text[48];
    double m = 0, a = magnitude(v), back;
    int power = 0, digits = 0, i = (int)sizeof text - 1, written = 0;

    do {
        m = fifteen(a, digits, &power);
        back = decimal_value(m, power);
    } while (back != a && !(single && (float)back == (float)a)
             && ++digits < 15);
    text[i] = 0;
    for (; power > 0; power--) m *= 10;
    do {
        text[--i] = (char)('0' + (int)(m - 10 * atomdl_floor(m / 10)));
        m = atomdl_floor(m / 10);
        if (++written == -power) text[--i] = '.';
    } while (m > 0 || written <= -power);
    if (v < 0) text[--i] = '-';
    put(out, text + i);
}

/* ---------- Recipes: distributions ---------------------------------------- */

static const struct {
    const char *name;
    u8 least, most; /* numbers that follow */
} DIST[ATOMDL_DISTS] = {
    {"", 1, 1}, {"", 2, 2}, {"log", 2, 2}, {"normal", 2, 2},
    {"poisson", 1, 1}, {"choice", 1, ATOMDL_CHOICES},
};

/* "^0.6", "A..B", a number: the values of a distribution; 0: none of them */
static int dist_value(atomdl_dist *d, words w)
{
    double a, b;

    if (*w.s == '^') {
        w.s++;
        w.n--;
        return (d->kind == ATOMDL_DIST_LOG || d->kind == ATOMDL_DIST_UNIFORM)
               && read_number(&d->exponent, w) && d->exponent > 0
               && d->exponent <= 100;
    }
    if (read_range(&a, &b, w)) {
        if (!(a <= b)) return 0;
        if (d->kind == ATOMDL_DIST_NORMAL && d->n == 2) {
            d->low = d->low > a ? d->low : a;
            d->high = d->high < b ? d->high : b;
            return d->low <= d->high;
        }
        if (d->kind == ATOMDL_DIST_CONSTANT) d->kind = ATOMDL_DIST_UNIFORM;
        if (d->n || (d->kind != ATOMDL_DIST_UNIFORM && d->kind != ATOMDL_DIST_LOG))
            return 0;
        d->v[d->n++] = a;
        d->v[d->n++] = b;
        return 1;
    }
    return d->n < ATOMDL_CHOICES && read_number(&d->v[d->n++], w);
}

static const char *dist_check(const atomdl_dist *d)
{
    int i;

    if (d->n < DIST[d->kind].least || d->n > DIST[d->kind].most)
        return d->n ? TEXT("wrong number of values") : TEXT("no value");
    if (d->kind == ATOMDL_DIST_LOG && !(d->v[0] > 0))
        return TEXT("log needs numbers above 0");
    if (d->kind == ATOMDL_DIST_NORMAL && !(d->v[1] >= 0))
        return TEXT("a standard deviation is not negative");
    for (i = 0; i < d->n; i++)
        if ((d->kind != ATOMDL_DIST_NORMAL || !i)
            && !(d->v[i] >= d->low && d->v[i] <= d->high))
            return "";
    return NULL;
}

/* NULL, a reason, or "": not within low...high */
static const char *dist_parse(atomdl_dist *d, words text)
{
    const char *bad = TEXT("not a distribution");
    double least = d->low, most = d->high;
    words w, part;
    int kind;

    memset(d->v, 0, sizeof d->v);
    d->kind = d->n = 0;
    d->chance = 100;
    d->exponent = 1;
    if (!take_word(&w, &text)) return TEXT("no value");
    if (w.s[w.n - 1] == '%') {
        part = w;
        part.n--;
        if (!read_number(&d->chance, part)) return bad;
        if (!(d->chance >= 0 && d->chance <= 100))
            return TEXT("a chance lies in 0%..100%");
        if (!take_word(&w, &text)) return TEXT("no value");
    }
    for (kind = ATOMDL_DIST_LOG; kind < ATOMDL_DISTS; kind++)
        if (same_word(w, DIST[kind].name)) d->kind = (u8)kind;
    if (d->kind && !take_word(&w, &text)) return TEXT("no value");
    do {
        if (same_word(w, "else")) {
            if (!take_word(&w, &text) || !read_number(&d->other, w)
                || take_word(&part, &text))
                return TEXT("one number follows else");
            if (!(d->other >= least && d->other <= most)) return "";
        } else if (!dist_value(d, w)) {
            return bad;
        }
    } while (take_word(&w, &text));
    return dist_check(d);
}

const char *atomdl_dist_parse(atomdl_dist *d, const char *text, size_t n)
{
    words w;
    const char *why;

    w.s = text;
    w.n = n;
    why = dist_parse(d, w);
    return why && !*why ? TEXT("out of range") : why;
}

static void dist_print(sink *out, const atomdl_dist *d, double none,
                       double least, double most)
{
    int i, range = d->kind == ATOMDL_DIST_UNIFORM || d->kind == ATOMDL_DIST_LOG;

    if (d->chance < 100) {
        put_value(out, d->chance, 0);
        put(out, "% ");
    }
    put(out, DIST[d->kind].name);
    for (i = 0; i < d->n; i++) {
        put(out, i ? range ? ".." : " " : *DIST[d->kind].name ? " " : "");
        put_value(out, d->v[i], 0);
    }
    if (d->kind == ATOMDL_DIST_NORMAL && (d->low != least || d->high != most)) {
        put(out, " ");
        put_value(out, d->low, 0);
        put(out, "..");
        put_value(out, d->high, 0);
    }
    if (d->exponent != 1) {
        put(out, " ^");
        put_value(out, d->exponent, 0);
    }
    if (d->other != none) {
        put(out, " else ");
        put_value(out, d->other, 0);
    }
}

double atomdl_dist_draw(const atomdl_dist *d, atomdl_rng *rng)
{
    double x = d->v[0], u;
    float z;

    if (d->chance < 100 && !(atomdl_rng_uniform64(rng) * 100 < d->chance))
        return d->other;
    if (d->kind == ATOMDL_DIST_UNIFORM || d->kind == ATOMDL_DIST_LOG) {
        u = atomdl_rng_uniform64(rng);
        if (d->exponent != 1 && u > 0) u = atomdl_pow(u, d->exponent);
        if (d->kind == ATOMDL_DIST_UNIFORM) x += u * (d->v[1] - x);
        else x *= atomdl_exp(u * atomdl_log(d->v[1] / x));
    } else if (d->kind == ATOMDL_DIST_NORMAL) {
        atomdl_rng_normal(rng, &z, 1);
        x += d->v[1] * (double)z;
    } else if (d->kind == ATOMDL_DIST_POISSON) {
        x = atomdl_rng_poisson(rng, x);
    } else if (d->kind == ATOMDL_DIST_CHOICE) {
        x = d->v[atomdl_rng_below(rng, d->n)];
    }
    return x < d->low ? d->low : x > d->high ? d->high : x;
}

/* ---------- Recipes: keys ------------------------------------------------- */

typedef struct {
    const char *name; /* NULL: help is the title of a section */
    u8 kind;
    size_t offset;
    double least, most, none; /* none: what leaves the image as it is */
    const char *value;        /* the default, as text */
    const char *help;
} recipe_key;

enum { /* of values; from REPEATED on lines add to one another */
    KIND_INT, KIND_U32, KIND_U64, KIND_REAL, KIND_FLOAT, KIND_DIST, KIND_SIZE,
    KIND_SCALING, KIND_OPTIMISER, KIND_SCHEDULE, KIND_INITIAL, KIND_TEXT,
    KIND_MATERIALS, KIND_VECTORS, KIND_ELEMENT, KIND_DEFECTS, KIND_NETWORK,
    KIND_CLASS_WEIGHTS, KIND_REPEATED,
    KIND_BASIS = KIND_REPEATED, KIND_ALLOY, KIND_SCATTER, KIND_WEIGHT,
    KIND_EVENT, KIND_CLASS, KIND_ROW
};

#define KEY(name, kind, field, least, most, none, value, help) \
    {name, kind, offsetof(atomdl_recipe, field), least, most, none, value, \
     TEXT(help)}
#define TITLE(help) {NULL, 0, 0, 0, 0, 0, NULL, TEXT(help)}

static const recipe_key KEYS[] = {
    TITLE("Images"),
    KEY("seed", KIND_U64, seed, 0, 999999999999999, 0, "1",
        "sample i is a function of recipe, seed and i"),
    KEY("size", KIND_SIZE, w, 8, 32768, 0, "128", "px: side, or width height"),
    KEY("pixel", KIND_DIST, pixel, 0.02, 1, 0.15625, "0.15625", "A per px"),
    KEY("scan", KIND_DIST, scan, 0, 1, 0, "0",
        "A per px of the scan, resampled to pixel; 0: pixel"),
    KEY("scaling", KIND_SCALING, scaling, 0, 0, 0, "percentile",
        "for the network: minmax, std or percentile"),
    TITLE("Lattice"),
    KEY("material", KIND_MATERIALS, material, 0, 1e6, 0, "graphene",
        "NAME[:WEIGHT]..., one of them a sample"),
    KEY("vectors", KIND_VECTORS, lattice, -100, 100, 0, "",
        "A: ax ay bx by of the user's lattice"),
    KEY("basis", KIND_BASIS, lattice, -100, 100, 0, "",
        "its atoms: ELEMENT u v [z in A]; equal u v: one column"),
    KEY("xyz", KIND_TEXT, xyz, 0, 0, 0, "", "a file of atoms instead"),
    KEY("rotation", KIND_DIST, rotation, -360, 360, 0, "0..360", "degrees"),
    KEY("scale", KIND_DIST, scale, 0.8, 1.2, 1, "1", "of all lengths"),
    KEY("shear", KIND_DIST, shear, -0.1, 0.1, 0, "0", "in both components"),
    KEY("distortion", KIND_DIST, distortion, -2, 2, 0, "0",
        "A in x and y of two smooth waves"),
    KEY("distortion_k", KIND_DIST, distortion_k, -1, 1, 0, "normal 0 0.04",
        "1/A, their wave vectors over 2 pi, x and y"),
    KEY("thermal", KIND_DIST, thermal, 0, 0.5, 0, "0.05",
        "A, rms in x and in y, part of the truth"),
    KEY("boundary", KIND_DIST, boundary, 0, 90, 0, "0",
        "degrees between two grains; 0: one grain"),
    KEY("step", KIND_DIST, step, 0, 1, 0, "0",
        "1: two of the materials on one lattice, side by side"),
    KEY("wave", KIND_DIST, wave, 0, 50, 0, "0", "A, amplitude of that line"),
    KEY("wavelength", KIND_DIST, wavelength, 5, 1000, 40, "20..60", "A"),
    KEY("hole", KIND_DIST, hole, 0, 100, 0, "0", "A, its radius; 0: none"),
    KEY("edge", KIND_DIST, edge, 0, 1, 0, "0", "1: vacuum beyond a line"),
    KEY("alloy", KIND_ALLOY, alloy, 0, 1, 0, "",
        "FROM TO FRACTION: that part of an element is another one"),
    TITLE("Defects"),
    KEY("defects", KIND_DEFECTS, drawing, 0, 1e6, 0, "",
        "KIND[:WEIGHT]..., drawn without overlap"),
    KEY("count", KIND_DIST, count, 0, 10000, 0, "0", "of them in a sample"),
    KEY("crowd", KIND_DIST, crowd, 0, 10, 0, "0", "or of them in 100 A2"),
    KEY("dopant", KIND_ELEMENT, drawing.element, 0, 0, 0, "",
        "element of the kinds sub-..."),
    KEY("apart", KIND_REAL, drawing.apart, 0, 100, 0, "6.5",
        "A, least distance of two centres"),
    KEY("nearer", KIND_REAL, drawing.nearer, 0, 100, 0, "3.9",
        "A, the same in some trials"),
    KEY("nearer_part", KIND_REAL, drawing.fraction, 0, 1, 0, "0.15",
        "of all trials"),
    KEY("relaxation", KIND_REAL, drawing.scale_sd, 0, 0.4, 0, "0.12",
        "spread of how far a defect displaces its neighbours"),
    KEY("scatter", KIND_SCATTER, scatter, 0, 1, 0, "",
        "KIND [ELEMENT] FRACTION: at each site by itself"),
    KEY("clouds", KIND_DIST, clouds, 0, 8, 0, "0",
        "number of clouds of amorphous carbon"),
    KEY("cloud_sigma", KIND_DIST, cloud_sigma, 0.5, 200, 5, "1.5..7", "A"),
    KEY("cloud_atoms", KIND_DIST, cloud_atoms, 0, 10000, 0, "0..120",
        "atoms of a cloud"),
    KEY("cloud_height", KIND_DIST, cloud_height, 0, 200, 0, "0",
        "or A, thickness of its centre"),
    KEY("cloud_weight", KIND_DIST, cloud_weight, 0, 10, 1, "1",
        "of its atoms' signal"),
    KEY("event", KIND_EVENT, dynamics, 0, 100, 0, "",
        "movies: FROM TO P a frame; FROM may be none, TO none, hop or turn"),
    KEY("movie_drift", KIND_DIST, movie_drift, -10, 10, 0, "normal 0 0.1",
        "movies: A a frame, in x and y"),
    TITLE("Optics"),
    KEY("gaussian", KIND_REAL, gaussian, 0, 1, 0, "0",
        "part of the samples drawn with blobs, the others with a probe"),
    KEY("fwhm", KIND_DIST, fwhm, 0.3, 5, 1.1, "1.1", "blobs: A"),
    KEY("ellipticity", KIND_DIST, ellipticity, 0, 0.8, 0, "0", "of variances"),
    KEY("tail", KIND_DIST, tail, 0, 0.8, 0, "0", "part in a wide Gaussian"),
    KEY("tail_sigma", KIND_DIST, tail_sigma, 0.3, 5, 1, "0.8..2.2", "A"),
    KEY("power", KIND_DIST, power, 0.5, 3, 1.64, "1.5..1.8",
        "blobs: signal of an element goes as Z to this"),
    KEY("voltage", KIND_DIST, voltage, 20, 1000, 60, "60", "kV"),
    KEY("aperture", KIND_DIST, aperture, 5, 60, 31, "31", "mrad"),
    KEY("inner", KIND_DIST, inner, 5, 400, 86, "86", "mrad, detector"),
    KEY("outer", KIND_DIST, outer, 10, 500, 200, "200", "mrad, detector"),
    KEY("defocus", KIND_DIST, defocus, -500, 500, 0, "0", "A"),
    KEY("c3", KIND_DIST, c3, -100, 100, 0, "0", "um"),
    KEY("c5", KIND_DIST, c5, -100, 100, 0, "0", "mm"),
    KEY("a1", KIND_DIST, a1, -1000, 1000, 0, "0",
        "A: two-fold astigmatism, any direction"),
    KEY("coma", KIND_DIST, coma, -10000, 10000, 0, "0", "A: C21"),
    KEY("a2", KIND_DIST, a2, -10000, 10000, 0, "0", "A: C23"),
    KEY("source", KIND_DIST, source, 0, 4, 0, "0.8", "A FWHM"),
    KEY("spread", KIND_DIST, spread, 0, 500, 0, "0", "A FWHM of defocus"),
    KEY("stacked", KIND_DIST, stacked, 0.5, 2, 1, "1",
        "signal of two stacked atoms over the sum of their signals"),
    KEY("weight", KIND_WEIGHT, weight, 0.01, 1000, 1, "",
        "ELEMENT SIGNAL relative to carbon, instead of the physics"),
    KEY("weight_spread", KIND_DIST, weight_spread, 0, 0.5, 0, "0",
        "relative sd of the atoms' signals"),
    TITLE("Scan and detector (signals in units of the lattice's mean)"),
    KEY("drift", KIND_DIST, drift, -20, 20, 0, "0",
        "A from the first row to the last, in x and y; truth follows"),
    KEY("jitter", KIND_DIST, jitter, 0, 2, 0, "0", "A rms of the rows"),
    KEY("hum", KIND_DIST, hum, 0, 2, 0, "0", "A, a vibration"),
    KEY("hum_cycles", KIND_DIST, hum_cycles, 0, 100, 0, "0.05..1",
        "of it per row"),
    KEY("background", KIND_DIST, background, 0, 100, 0, "0", ""),
    KEY("tilt", KIND_DIST, tilt, 0, 100, 0, "0",
        "change of background across the image, any direction"),
    KEY("ripple", KIND_DIST, ripple, 0, 100, 0, "0", "slow wave in it"),
    KEY("row_gain", KIND_DIST, row_gain, 0, 0.5, 0, "0", "rms"),
    KEY("density", KIND_DIST, density, 0, 2, 0, "0",
        "A: sd of the noise times pixel over contrast, Poisson"),
    KEY("contrast", KIND_REAL, contrast, 0.01, 10, 0, "1.57",
        "which density refers to (graphene, carbon to hollow)"),
    KEY("read_share", KIND_DIST, read_share, 0, 1, 0, "0",
        "of density's variance is Gaussian"),
    KEY("dose", KIND_DIST, dose, 0, 1e12, 0, "0",
        "or e/A2; 0 both: no counting noise"),
    KEY("read", KIND_DIST, read, 0, 100, 0, "0", "Gaussian noise beside dose"),
    KEY("smooth", KIND_DIST, smooth, 0, 1, 0, "0", "px: of the noise alone"),
    KEY("blur", KIND_DIST, blur, 0, 8, 0, "0", "px: of the image"),
    KEY("saturation", KIND_DIST, saturation, 0.5, 1, 1, "1",
        "part of the pixels that are not clipped"),
    KEY("gamma", KIND_DIST, gamma, 0.2, 5, 1, "1", ""),
    KEY("bits", KIND_INT, bits, 0, 16, 0, "0", "8, 16 or 0: not rounded"),
    TITLE("Labels: a class's number is its place; later rules paint over"),
    KEY("class", KIND_CLASS, rule, 0, 100, 0, "",
        "NAME [atom E|any [in DEFECT] RADIUS | column NAME|any [in DEFECT] "
        "RADIUS\n# | defect KIND|any RADIUS | region MATERIAL | thickness "
        "A..B], in A"),
    TITLE("Augmentation of image and labels"),
    KEY("dihedral", KIND_INT, dihedral, 0, 1, 0, "1",
        "1: one of the eight symmetries of the square"),
    KEY("warp", KIND_DIST, warp, 0, 1, 0, "0", "1: the four that follow"),
    KEY("shift", KIND_DIST, shift, -1, 1, 0, "-0.1..0.1", "part of the size"),
    KEY("turn", KIND_DIST, turn, -360, 360, 0, "0..360", "degrees"),
    KEY("zoom", KIND_DIST, zoom, 0.1, 10, 1, "0.8..1.25", "both axes"),
    KEY("skew", KIND_DIST, skew, -1, 1, 0, "-0.1..0.1", "x by y"),
    KEY("coarse", KIND_DIST, coarse, 1, 16, 1, "1",
        "times coarser sampling, enlarged again"),
    KEY("gain", KIND_DIST, gain, 0.01, 100, 1, "1", "after scaling"),
    KEY("offset", KIND_DIST, offset, -100, 100, 0, "0", "after scaling"),
    TITLE("Network and training"),
    KEY("network", KIND_NETWORK, network, 0, 0, 0, "fcn 8 16 32",
        "fcn W..., unet N, resunet N [K [bottleneck [DROPOUT]]]"),
    KEY("row", KIND_ROW, network, 0, 0, 0, "", "or row by row"),
    KEY("initial", KIND_INITIAL, initial, 0, 0, 0, "he", "he or glorot"),
    KEY("batch", KIND_INT, batch, 1, 4096, 0, "8", "samples a step"),
    KEY("steps", KIND_U32, plan.steps, 1, 1e9, 0, "1000", ""),
    KEY("optimiser", KIND_OPTIMISER, plan.optimiser, 0, 0, 0, "adam",
        "adam or sgd"),
    KEY("rate", KIND_FLOAT, plan.rate, 0, 10, 0, "0.001", "the greatest"),
    KEY("momentum", KIND_FLOAT, plan.momentum, 0, 1, 0, "0.9", "of sgd"),
    KEY("decay", KIND_FLOAT, plan.decay, 0, 1, 0, "0", "of weights"),
    KEY("clip", KIND_FLOAT, plan.clip, 0, 1e9, 0, "0",
        "greatest norm of the gradient; 0: any"),
    KEY("schedule", KIND_SCHEDULE, plan.schedule, 0, 0, 0, "cosine",
        "constant, step or cosine"),
    KEY("warmup", KIND_REAL, warmup, 0, 1, 0, "0.03", "part of the steps"),
    KEY("every", KIND_U32, plan.every, 0, 1e9, 0, "0",
        "schedule step: times factor every so many steps"),
    KEY("factor", KIND_FLOAT, plan.factor, 0, 1, 0, "0.1", ""),
    KEY("average", KIND_U32, plan.average, 0, 1e9, 0, "0",
        "weights: mean over the last steps"),
    KEY("ce", KIND_FLOAT, plan.loss.ce, 0, 1000, 0, "1",
        "loss: part of cross-entropy"),
    KEY("focal", KIND_FLOAT, plan.loss.focal, 0, 1000, 0, "0", ""),
    KEY("dice", KIND_FLOAT, plan.loss.dice, 0, 1000, 0, "0", ""),
    KEY("focal_gamma", KIND_FLOAT, plan.loss.gamma, 0, 10, 0, "2", ""),
    KEY("dice_smooth", KIND_FLOAT, plan.loss.smooth, 0, 1000, 0, "1", ""),
    KEY("class_weights", KIND_CLASS_WEIGHTS, plan.loss.weight, 0, 1e6, 0, "",
        "of each class in ce and focal; none: all 1"),
    KEY("validation", KIND_INT, validation, 0, 100000, 0, "64",
        "samples that no step learns from"),
    KEY("check", KIND_INT, check, 1, 1000000, 0, "100",
        "steps from one validation to the next"),
    KEY("patience", KIND_INT, patience, 0, 100000, 0, "0",
        "stop after so many checks without gain; 0: never"),
};

enum { N_KEYS = sizeof KEYS / sizeof KEYS[0] };

/* ---------- Recipes: kinds of values --------------------------------------

   Each kind reads a value's text into a field (NULL, the reason, or "": not
   within least...most) and, beside it, writes entry i of the field as text
   (0: there is none). */

static int words_left(words text)
{
    words w;

    return take_word(&w, &text);
}

static int within(double v, const recipe_key *key)
{
    return v >= key->least && v <= key->most;
}

/* One number alone. */
static const char *parse_one(double *v, words text, const recipe_key *key)
{
    words w;

    if (!take_word(&w, &text)) return TEXT("no value");
    if (!read_number(v, w) || words_left(text)) return TEXT("not a number");
    return within(*v, key) ? NULL : "";
}

static const char *parse_numeric(atomdl_recipe *r, void *field, words text,
                                const recipe_key *key)
{
    double v = 0;
    const char *why = parse_one(&v, text, key);

    (void)r;
    if (why) return why;
    if (key->kind <= KIND_U64 && v != atomdl_floor(v))
        return TEXT("not a whole number");
    if (key->kind == KIND_INT) *(int *)field = (int)v;
    else if (key->kind == KIND_U32) *(u32 *)field = (u32)v;
    else if (key->kind == KIND_U64) *(u64 *)field = (u64)v;
    else if (key->kind == KIND_FLOAT) *(float *)field = (float)v;
    else *(double *)field = v;
    return NULL;
}

static int print_numeric(sink *out, const atomdl_recipe *r, const void *field,
                        const recipe_key *key, int i)
{
    int single = key->kind == KIND_FLOAT;

    (void)r;
    if (i) return 0;
    put_value(out, key->kind == KIND_INT ? (double)*(const int *)field
                    : key->kind == KIND_U32 ? (double)*(const u32 *)field
                    : key->kind == KIND_U64 ? (double)*(const u64 *)field
                    : single ? (double)*(const float *)field
                    : *(const double *)field, single);
    return 1;
}

static void dist_limits(atomdl_dist *d, const recipe_key *key)
{
    memset(d, 0, sizeof *d);
    d->low = key->least;
    d->high = key->most;
    d->other = key->none;
    d->stream = atomdl_digest_bytes(ATOMDL_DIGEST, key->name,
                                    length(key->name));
}

static const char *parse_dist(atomdl_recipe *r, void *field, words text,
                              const recipe_key *key)
{
    atomdl_dist d;
    const char *why;

    (void)r;
    dist_limits(&d, key);
    why = dist_parse(&d, text);
    if (!why) *(atomdl_dist *)field = d;
    return why;
}

static int print_dist(sink *out, const atomdl_recipe *r, const void *field,
                      const recipe_key *key, int i)
{
    (void)r;
    if (i) return 0;
    dist_print(out, field, key->none, key->least, key->most);
    return 1;
}

static const char *parse_size(atomdl_recipe *r, void *field, words text,
                              const recipe_key *key)
{
    double w = 0, h;
    words one;

    (void)field;
    if (!take_word(&one, &text)) return TEXT("no value");
    if (!read_number(&w, one)) return TEXT("not a number");
    h = w;
    if (take_word(&one, &text) && !read_number(&h, one))
        return TEXT("not a number");
    if (words_left(text)) return TEXT("one or two numbers");
    if (!within(w, key) || !within(h, key)) return "";
    if (w != atomdl_floor(w) || h != atomdl_floor(h))
        return TEXT("not a whole number");
    r->w = (int)w;
    r->h = (int)h;
    return NULL;
}

static int print_size(sink *out, const atomdl_recipe *r, const void *field,
                      const recipe_key *key, int i)
{
    (void)field;
    (void)key;
    if (i) return 0;
    put_value(out, r->w, 0);
    if (r->h != r->w) put(out, " ");
    if (r->h != r->w) put_value(out, r->h, 0);
    return 1;
}

/* one of these words, as its number in an int */
static const char *const CHOICE[][4] = {
    {"minmax", "std", "percentile", NULL},
    {"sgd", "adam", NULL},
    {"constant", "step", "cosine", NULL},
    {"he", "glorot", NULL},
};

static const char *parse_choice(atomdl_recipe *r, void *field, words text,
                                const recipe_key *key)
{
    const char *const *name = CHOICE[key->kind - KIND_SCALING];
    words w;
    int i;

    (void)r;
    if (!take_word(&w, &text)) return TEXT("no value");
    for (i = 0; name[i] && !same_word(w, name[i]); i++) {}
    if (!name[i] || words_left(text)) return key->help;
    *(int *)field = i;
    return NULL;
}

static int print_choice(sink *out, const atomdl_recipe *r, const void *field,
                        const recipe_key *key, int i)
{
    (void)r;
    if (i) return 0;
    put(out, CHOICE[key->kind - KIND_SCALING][*(const int *)field]);
    return 1;
}

static const char *parse_text(atomdl_recipe *r, void *field, words text,
                              const recipe_key *key)
{
    (void)key;
    return copy_word(field, sizeof r->xyz, text, 0) ? NULL : TEXT("too long");
}

static int print_text(sink *out, const atomdl_recipe *r, const void *field,
                      const recipe_key *key, int i)
{
    const char *text = field;

    (void)r;
    (void)key;
    if (i || !*text) return 0;
    put(out, text);
    return 1;
}

/* NAME[:WEIGHT] */
static const char *parse_weighted(char *name, size_t size, double *weight,
                                  words w, const recipe_key *key)
{
    words number = w;
    size_t i = 0;

    while (i < w.n && w.s[i] != ':') i++;
    *weight = 1;
    if (i < w.n) {
        number.s += i + 1;
        number.n -= i + 1;
        w.n = i;
        if (!read_number(weight, number)) return TEXT("NAME or NAME:WEIGHT");
        if (!within(*weight, key)) return TEXT("a weight is not negative");
    }
    return copy_word(name, size, w, 1) ? NULL : TEXT("no such name");
}

static void print_weighted(sink *out, const char *name, double weight,
                           int single)
{
    put(out, name);
    if (weight == 1) return;
    put(out, ":");
    put_value(out, weight, single);
}

static const char *parse_materials(atomdl_recipe *r, void *field, words text,
                                   const recipe_key *key)
{
    const char *why;
    atomdl_lattice any;
    words w;
    int n = 0;

    (void)field;
    memset(r->material, 0, sizeof r->material);
    for (; take_word(&w, &text); n++) {
        if (n == ATOMDL_MATERIALS) return TEXT("too many");
        why = parse_weighted(r->material[n], sizeof r->material[n],
                             &r->share[n], w, key);
        if (why) return why;
        if (atomdl_lattice_find(&any, r->material[n]))
            return TEXT("graphene, graphene-ab, graphene-aa, h-bn, h-bn-2 or "
                        "{mos2,mose2,ws2,wse2}-{2h,3r,1t}-{1,2,3}");
    }
    r->materials = n;
    return n ? NULL : TEXT("no value");
}

static int print_materials(sink *out, const atomdl_recipe *r,
                           const void *field, const recipe_key *key, int i)
{
    int j;

    (void)field;
    (void)key;
    for (j = 0; !i && j < r->materials; j++) {
        put(out, j ? " " : "");
        print_weighted(out, r->material[j], r->share[j], 0);
    }
    return !i;
}

/* n numbers; 0: not so */
static int read_numbers(double *v, int n, words *text)
{
    words w;
    int i;

    for (i = 0; i < n; i++)
        if (!take_word(&w, text) || !read_number(&v[i], w)) return 0;
    return 1;
}

static const char *parse_vectors(atomdl_recipe *r, void *field, words text,
                                 const recipe_key *key)
{
    double v[4] = {0};
    int i;

    (void)field;
    if (!words_left(text)) return TEXT("no value");
    if (!read_numbers(v, 4, &text) || words_left(text))
        return TEXT("four numbers: ax ay bx by");
    for (i = 0; i < 4; i++)
        if (!within(v[i], key)) return "";
    memcpy(r->lattice.a, v, sizeof r->lattice.a);
    memcpy(r->lattice.b, v + 2, sizeof r->lattice.b);
    return NULL;
}

static int print_vectors(sink *out, const atomdl_recipe *r, const void *field,
                         const recipe_key *key, int i)
{
    const double v[4] = {r->lattice.a[0], r->lattice.a[1], r->lattice.b[0],
                         r->lattice.b[1]};
    int j;

    (void)field;
    (void)key;
    if (i || (v[0] == 0 && v[1] == 0 && v[2] == 0 && v[3] == 0)) return 0;
    for (j = 0; j < 4; j++) {
        put(out, j ? " " : "");
        put_value(out, v[j], 0);
    }
    return 1;
}

static void put_element(sink *out, int z)
{
    char symbol[3];

    atomdl_symbol(symbol, z);
    put(out, symbol);
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

static const char *parse_element(atomdl_recipe *r, void *field, words text,
                                 const recipe_key *key)
{
    (void)r;
    (void)key;
    return take_element(field, &text) && !words_left(text)
               ? NULL : TEXT("not an element");
}

static int print_element(sink *out, const atomdl_recipe *r, const void *field,
                         const recipe_key *key, int i)
{
    const u8 *z = field;

    (void)r;
    (void)key;
    if (i || !*z) return 0;
    put_element(out, *z);
    return 1;
}

static const char *parse_basis(atomdl_recipe *r, void *field, words text,
                               const recipe_key *key)
{
    atomdl_lattice *l = &r->lattice;
    atomdl_basis *b = &l->basis[l->n < ATOMDL_BASIS ? l->n : 0];
    double v[3] = {0, 0, 0};
    int i;

    (void)field;
    if (l->n == ATOMDL_BASIS) return TEXT("too many atoms");
    if (!take_element(&b->element, &text) || !read_numbers(v, 2, &text)
        || (words_left(text) && !read_numbers(v + 2, 1, &text))
        || words_left(text))
        return TEXT("ELEMENT u v [z]");
    for (i = 0; i < 3; i++)
        if (!within(v[i], key)) return "";
    b->u = v[0];
    b->v = v[1];
    b->z = v[2];
    b->site = (u8)l->n;
    b->layer = 0;
    for (i = l->n - 1; i >= 0; i--)
        if (l->basis[i].u == b->u && l->basis[i].v == b->v)
            b->site = l->basis[i].site;
    l->n++;
    return NULL;
}

static int print_basis(sink *out, const atomdl_recipe *r, const void *field,
                       const recipe_key *key, int i)
{
    const atomdl_basis *b = &r->lattice.basis[i];

    (void)field;
    (void)key;
    if (i >= r->lattice.n) return 0;
    put_element(out, b->element);
    put(out, " ");
    put_value(out, b->u, 0);
    put(out, " ");
    put_value(out, b->v, 0);
    if (b->z == 0) return 1;
    put(out, " ");
    put_value(out, b->z, 0);
    return 1;
}

static const char *parse_alloy(atomdl_recipe *r, void *field, words text,
                               const recipe_key *key)
{
    int i = r->alloys;

    (void)field;
    if (i == ATOMDL_ALLOYS) return TEXT("too many");
    if (!take_element(&r->alloy[i].from, &text)
        || !take_element(&r->alloy[i].to, &text))
        return TEXT("FROM TO FRACTION");
    r->alloys++;
    return parse_dist(r, &r->alloy[i].fraction, text, key);
}

static int print_alloy(sink *out, const atomdl_recipe *r, const void *field,
                       const recipe_key *key, int i)
{
    (void)field;
    if (i >= r->alloys) return 0;
    put_element(out, r->alloy[i].from);
    put(out, " ");
    put_element(out, r->alloy[i].to);
    put(out, " ");
    return print_dist(out, r, &r->alloy[i].fraction, key, 0);
}

static const char NO_DEFECT[] =
    "si-c3 si-c4 si2-c4 si2-c5 si2-c6 si3-c6 si4-c6 si-c3-v si-adatom v1 "
    "stone-wales ..., vx1 vx2 vm m-x m-x2 x-m x2-m sub-m sub-x";

static const char *parse_defects(atomdl_recipe *r, void *field, words text,
                                 const recipe_key *key)
{
    char name[20];
    const char *why;
    double weight;
    words w;
    int kind;

    (void)field;
    memset(r->drawing.weight, 0, sizeof r->drawing.weight);
    while (take_word(&w, &text)) {
        why = parse_weighted(name, sizeof name, &weight, w, key);
        if (why) return why;
        kind = atomdl_defect_find(name);
        if (kind < 0) return TEXT(NO_DEFECT);
        r->drawing.weight[kind] = (float)weight;
    }
    return NULL;
}

static int print_defects(sink *out, const atomdl_recipe *r, const void *field,
                         const recipe_key *key, int i)
{
    int kind, n = 0;

    (void)field;
    (void)key;
    for (kind = 0; !i && kind < ATOMDL_DEFECTS; kind++) {
        if (!(r->drawing.weight[kind] > 0)) continue;
        put(out, n++ ? " " : "");
        print_weighted(out, atomdl_defect_name(kind),
                       (double)r->drawing.weight[kind], 1);
    }
    return n > 0;
}

/* the next word as a defect's kind, -1: it is none */
static int take_defect(words *text)
{
    char name[20];
    words w;

    return take_word(&w, text) && copy_word(name, sizeof name, w, 1)
               ? atomdl_defect_find(name) : -1;
}

static const char *parse_scatter(atomdl_recipe *r, void *field, words text,
                                 const recipe_key *key)
{
    int i = r->scatters, kind;

    (void)field;
    if (i == ATOMDL_SCATTERS) return TEXT("too many");
    kind = take_defect(&text);
    if (kind < ATOMDL_MOTIFS)
        return TEXT("KIND [ELEMENT] FRACTION, KIND one of vx1 vx2 vm m-x m-x2 "
                    "x-m x2-m sub-m sub-x sub-m-vx1");
    r->scatter[i].kind = (u8)kind;
    r->scatter[i].element = 0;
    take_element(&r->scatter[i].element, &text);
    if (kind >= ATOMDL_SUB_M && !r->scatter[i].element)
        return TEXT("which element?");
    r->scatters++;
    return parse_dist(r, &r->scatter[i].fraction, text, key);
}

static int print_scatter(sink *out, const atomdl_recipe *r, const void *field,
                         const recipe_key *key, int i)
{
    (void)field;
    if (i >= r->scatters) return 0;
    put(out, atomdl_defect_name(r->scatter[i].kind));
    put(out, " ");
    if (r->scatter[i].element) put_element(out, r->scatter[i].element);
    if (r->scatter[i].element) put(out, " ");
    return print_dist(out, r, &r->scatter[i].fraction, key, 0);
}

static const char *parse_weight(atomdl_recipe *r, void *field, words text,
                                const recipe_key *key)
{
    int i = r->weights;

    (void)field;
    if (i == ATOMDL_OVERRIDES) return TEXT("too many");
    if (!take_element(&r->weight[i].element, &text))
        return TEXT("ELEMENT SIGNAL");
    r->weights++;
    return parse_dist(r, &r->weight[i].signal, text, key);
}

static int print_weight(sink *out, const atomdl_recipe *r, const void *field,
                        const recipe_key *key, int i)
{
    (void)field;
    if (i >= r->weights) return 0;
    put_element(out, r->weight[i].element);
    put(out, " ");
    return print_dist(out, r, &r->weight[i].signal, key, 0);
}

/* A state of a movie: 0 for "none", that of a kind (added), -1: no such. */
static int movie_state(atomdl_dynamics *d, words w)
{
    char name[20];
    int kind, i;

    if (same_word(w, "none")) return 0;
    if (!copy_word(name, sizeof name, w, 1)) return -1;
    kind = atomdl_defect_find(name);
    for (i = 1; i < d->states && d->kind[i] != kind; i++) {}
    if (kind < 0 || i == ATOMDL_STATES) return -1;
    d->kind[i] = (u8)kind;
    if (i == d->states) d->states++;
    return i;
}

static const char *parse_event(atomdl_recipe *r, void *field, words text,
                               const recipe_key *key)
{
    atomdl_dynamics *d = &r->dynamics;
    const char *form = TEXT("FROM TO P, at most seven kinds of defects");
    words a, b;
    double p = 0;
    int from, to, moves;

    (void)field;
    if (!take_word(&a, &text) || !take_word(&b, &text)
        || !read_numbers(&p, 1, &text) || words_left(text))
        return form;
    moves = same_word(b, "hop") ? 1 : same_word(b, "turn") ? 2 : 0;
    from = movie_state(d, a);
    to = moves ? 0 : movie_state(d, b);
    if (from < 0 || to < 0 || (!from && !to)) return form;
    if (!(p >= 0 && p <= (from ? 1 : key->most))) return "";
    if (moves == 1) d->hop[from] = p;
    else if (moves) d->turn[from] = p;
    else d->rate[from][to] = p;
    return NULL;
}

static int print_event(sink *out, const atomdl_recipe *r, const void *field,
                       const recipe_key *key, int i)
{
    const atomdl_dynamics *d = &r->dynamics;
    int from, to;

    (void)field;
    (void)key;
    for (from = 0; from < d->states; from++)
        for (to = 0; to < d->states + 2; to++) {
            double p = to < d->states ? d->rate[from][to]
                       : to == d->states ? d->hop[from] : d->turn[from];

            if (!(p > 0) || i--) continue;
            put(out, from ? atomdl_defect_name(d->kind[from]) : "none");
            put(out, " ");
            put(out, to == d->states ? "hop" : to > d->states ? "turn"
                     : to ? atomdl_defect_name(d->kind[to]) : "none");
            put(out, " ");
            put_value(out, p, 0);
            return 1;
        }
    return 0;
}

static const char *const RULE[] = {"atom", "column", "defect", "region",
                                   "thickness"};

/* "any" or a defect's kind; 0: neither */
static int take_kind(u8 *kind, words *text)
{
    words rest = *text, w;
    int k;

    *kind = ATOMDL_ANY;
    if (take_word(&w, &rest) && same_word(w, "any")) {
        *text = rest;
        return 1;
    }
    k = take_defect(text);
    *kind = (u8)k;
    return k >= 0;
}

/* what follows "WHAT" of a rule; 0: it is not as it should be */
static int parse_rule(atomdl_rule *rule, words text, const recipe_key *key)
{
    double v = 0, low, high;
    words w;

    if (rule->what == ATOMDL_LABEL_REGION)
        return take_word(&w, &text) && copy_word(rule->text, 16, w, 1)
               && !words_left(text);
    if (rule->what == ATOMDL_LABEL_THICKNESS) {
        if (!take_word(&w, &text) || !read_range(&low, &high, w)
            || words_left(text) || !(low >= 0 && low < high && high <= 1e6))
            return 0;
        rule->low = (float)low;
        rule->high = (float)high;
        return 1;
    }
    if (rule->what == ATOMDL_LABEL_DEFECT) {
        if (!take_kind(&rule->kind, &text)) return 0;
    } else {
        words rest = text;

        if (!take_word(&w, &rest)) return 0;
        if (rule->what == ATOMDL_LABEL_ATOM && !same_word(w, "any")) {
            if (!take_element(&rule->element, &text)) return 0;
        } else {
            text = rest;
            if (!same_word(w, "any")
                && !copy_word(rule->text, sizeof rule->text, w, 0))
                return 0;
        }
        rest = text;
        if (take_word(&w, &rest) && same_word(w, "in")) {
            text = rest;
            if ((rule->kind = (u8)take_defect(&text)) >= ATOMDL_DEFECTS)
                return 0;
        }
    }
    if (!read_numbers(&v, 1, &text) || words_left(text)) return 0;
    rule->radius = (float)v;
    return v > 0 && v <= key->most;
}

static const char *parse_class(atomdl_recipe *r, void *field, words text,
                               const recipe_key *key)
{
    atomdl_rule *rule = &r->rule[r->rules < ATOMDL_RULES ? r->rules : 0];
    char name[16];
    words w;
    int c = 0, what = 0;

    (void)field;
    if (!take_word(&w, &text)) return TEXT("no value");
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

static void print_rule(sink *out, const atomdl_rule *rule)
{
    put(out, " ");
    put(out, RULE[rule->what]);
    put(out, " ");
    if (rule->what == ATOMDL_LABEL_THICKNESS) {
        put_value(out, (double)rule->low, 1);
        put(out, "..");
        put_value(out, (double)rule->high, 1);
        return;
    }
    if (rule->what == ATOMDL_LABEL_ATOM && rule->element != ATOMDL_ANY)
        put_element(out, rule->element);
    else if (*rule->text) put(out, rule->text);
    else if (rule->what != ATOMDL_LABEL_DEFECT || rule->kind == ATOMDL_ANY)
        put(out, "any");
    if (rule->what == ATOMDL_LABEL_REGION) return;
    if (rule->kind != ATOMDL_ANY) {
        if (rule->what != ATOMDL_LABEL_DEFECT) put(out, " in ");
        put(out, atomdl_defect_name(rule->kind));
    }
    put(out, " ");
    put_value(out, (double)rule->radius, 1);
}

/* first the names, in order, then the rules */
static int print_class(sink *out, const atomdl_recipe *r, const void *field,
                       const recipe_key *key, int i)
{
    const atomdl_rule *rule;

    (void)field;
    (void)key;
    if (i >= r->classes + r->rules) return 0;
    rule = &r->rule[i < r->classes ? 0 : i - r->classes];
    put(out, r->class_name[i < r->classes ? i : rule->class_id]);
    if (i >= r->classes) print_rule(out, rule);
    return 1;
}

static const char *parse_network(atomdl_recipe *r, void *field, words text,
                                 const recipe_key *key)
{
    (void)key;
    if (!text.n) return TEXT("no value");
    return copy_word(field, sizeof r->network, text, 0) ? NULL
                                                        : TEXT("too long");
}

static int has_rows(const atomdl_recipe *r)
{
    size_t n = length(r->network);

    return n && r->network[n - 1] == '\n';
}

static int print_network(sink *out, const atomdl_recipe *r, const void *field,
                         const recipe_key *key, int i)
{
    return has_rows(r) ? 0 : print_text(out, r, field, key, i);
}

/* rows stand in r->network, a line each; the first replaces the builder */
static const char *parse_row(atomdl_recipe *r, void *field, words text,
                             const recipe_key *key)
{
    size_t n = has_rows(r) ? length(r->network) : 0;

    (void)field;
    (void)key;
    if (!text.n) return TEXT("no value");
    if (n + text.n + 2 > sizeof r->network) return TEXT("too many rows");
    memcpy(r->network + n, text.s, text.n);
    r->network[n + text.n] = '\n';
    r->network[n + text.n + 1] = 0;
    return NULL;
}

static int print_row(sink *out, const atomdl_recipe *r, const void *field,
                     const recipe_key *key, int i)
{
    char one[2] = {0, 0};
    const char *s = r->network;

    (void)field;
    (void)key;
    if (!has_rows(r)) return 0;
    for (; *s && i; s++) i -= *s == '\n';
    if (!*s) return 0;
    for (; *s != '\n'; s++) {
        one[0] = *s;
        put(out, one);
    }
    return 1;
}

static const char *parse_class_weights(atomdl_recipe *r, void *field,
                                       words text, const recipe_key *key)
{
    float *weight = field;
    words w;
    double v;
    int n = 0;

    (void)r;
    memset(weight, 0, ATOMDL_CLASSES * sizeof *weight);
    for (; take_word(&w, &text); n++) {
        if (n == ATOMDL_CLASSES) return TEXT("too many classes");
        if (!read_number(&v, w)) return TEXT("not a number");
        if (!within(v, key)) return "";
        weight[n] = (float)v;
    }
    return NULL;
}

static int print_class_weights(sink *out, const atomdl_recipe *r,
                               const void *field, const recipe_key *key,
                               int i)
{
    const float *weight = field;
    int n = ATOMDL_CLASSES, j;

    (void)r;
    (void)key;
    while (n && !(weight[n - 1] > 0)) n--;
    for (j = 0; !i && j < n; j++) {
        put(out, j ? " " : "");
        put_value(out, (double)weight[j], 1);
    }
    return !i && n;
}

static const struct {
    const char *(*parse)(atomdl_recipe *, void *, words, const recipe_key *);
    int (*print)(sink *, const atomdl_recipe *, const void *,
                 const recipe_key *, int);
} KINDS[] = { /* in the order of KIND_INT... */
    {parse_numeric, print_numeric}, {parse_numeric, print_numeric},
    {parse_numeric, print_numeric}, {parse_numeric, print_numeric},
    {parse_numeric, print_numeric}, {parse_dist, print_dist},
    {parse_size, print_size}, {parse_choice, print_choice},
    {parse_choice, print_choice}, {parse_choice, print_choice},
    {parse_choice, print_choice}, {parse_text, print_text},
    {parse_materials, print_materials}, {parse_vectors, print_vectors},
    {parse_element, print_element}, {parse_defects, print_defects},
    {parse_network, print_network},
    {parse_class_weights, print_class_weights}, {parse_basis, print_basis},
    {parse_alloy, print_alloy}, {parse_scatter, print_scatter},
    {parse_weight, print_weight}, {parse_event, print_event},
    {parse_class, print_class}, {parse_row, print_row},
};

/* ---------- Recipes: text ------------------------------------------------- */

static void *field_of(atomdl_recipe *r, const recipe_key *key)
{
    return (unsigned char *)r + key->offset;
}

static const void *field_in(const atomdl_recipe *r, const recipe_key *key)
{
    return (const unsigned char *)r + key->offset;
}

static int report(atomdl_recipe_error *error, int line, const char *key,
                  const char *why, const char *more)
{
    sink out = {NULL, 0, 0, 0};

    if (!error) return ATOMDL_EARG;
    out.text = error->text;
    out.size = sizeof error->text;
    memset(error, 0, sizeof *error);
    error->line = line;
    put(&out, key);
    put(&out, *key ? ": " : "");
    put(&out, why);
    put(&out, more);
    return ATOMDL_EARG;
}

/* ": must lie in A..B" */
static int report_range(atomdl_recipe_error *error, int line,
                        const recipe_key *key)
{
    char text[64] = "";
    sink out = {NULL, sizeof text, 0, 0};

    out.text = text;
    put_value(&out, key->least, 0);
    put(&out, "..");
    put_value(&out, key->most, 0);
    return report(error, line, key->name, TEXT("must lie in "), text);
}

/* Letters to change, insert or leave out to make b of a; 99: too long. */
static int edits(words a, const char *b)
{
    int row[32], i, j, n = (int)length(b), corner, t;

    if (a.n > 31 || n > 31) return 99;
    for (j = 0; j <= n; j++) row[j] = j;
    for (i = 0; i < (int)a.n; i++) {
        corner = row[0]++;
        for (j = 0; j < n; j++) {
            t = corner + (a.s[i] != b[j]);
            corner = row[j + 1];
            if (row[j] + 1 < t) t = row[j] + 1;
            if (corner + 1 < t) t = corner + 1;
            row[j + 1] = t;
        }
    }
    return row[n];
}

static int report_unknown(atomdl_recipe_error *error, int line, words name)
{
    const char *near = NULL;
    char shown[24];
    int k, d, least = 3;

    for (k = 0; k < N_KEYS; k++) {
        if (!KEYS[k].name) continue;
        d = edits(name, KEYS[k].name);
        if (d < least) near = KEYS[k].name, least = d;
    }
    if (name.n >= sizeof shown) name.n = sizeof shown - 1;
    copy_word(shown, sizeof shown, name, 0);
    return report(error, line, shown,
                  near ? TEXT("no such key; perhaps ") : TEXT("no such key"),
                  near ? near : "");
}

static int find_key(words name)
{
    int k = 0;

    while (k < N_KEYS && !(KEYS[k].name && same_word(name, KEYS[k].name))) k++;
    return k;
}

/* One line, not blank. seen (may be NULL): which keys came before. */
static int recipe_line(atomdl_recipe *r, atomdl_recipe_error *error, int line,
                       words text, u8 *seen)
{
    words name = text, value = text;
    const recipe_key *key;
    const char *why;
    size_t i;
    int k;

    for (i = 0; i < text.n; i++)
        if ((unsigned char)text.s[i] < 32 && text.s[i] != '\t')
            return report(error, line, "", TEXT("not a text"), "");
    for (i = 0; i < text.n && text.s[i] != '='; i++) {}
    if (i == text.n)
        return report(error, line, "", TEXT("not `key = value`"), "");
    for (name.n = i; name.n && blank(name.s[name.n - 1]);) name.n--;
    for (i++; i < text.n && blank(text.s[i]);) i++;
    value.s += i;
    value.n -= i;
    k = find_key(name);
    if (k == N_KEYS) return report_unknown(error, line, name);
    key = &KEYS[k];
    if (seen && seen[k] && key->kind < KIND_REPEATED)
        return report(error, line, key->name, TEXT("given twice"), "");
    if (seen) seen[k] = 1;
    if (!value.n) return report(error, line, key->name, TEXT("no value"), "");
    why = KINDS[key->kind].parse(r, field_of(r, key), value, key);
    if (!why) return ATOMDL_OK;
    return *why ? report(error, line, key->name, why, "")
                : report_range(error, line, key);
}

void atomdl_recipe_default(atomdl_recipe *r)
{
    words value;
    int k;

    memset(r, 0, sizeof *r);
#ifndef ATOMDL_NO_TRAIN
    r->plan = atomdl_plan_default();
#endif
    r->drawing.jitter[0] = 0.05;
    r->drawing.jitter[1] = 0.07;
    r->drawing.jitter[2] = 0.03;
    r->dynamics.states = 1;
    for (k = 0; k < N_KEYS; k++) {
        if (!KEYS[k].name || !*KEYS[k].value) continue;
        value.s = KEYS[k].value;
        value.n = length(value.s);
        KINDS[KEYS[k].kind].parse(r, field_of(r, &KEYS[k]), value, &KEYS[k]);
    }
}

int atomdl_recipe_set(atomdl_recipe *r, atomdl_recipe_error *error,
                      const char *line)
{
    words rest, text;

    rest.s = line;
    rest.n = length(line);
    if (!take_line(&text, &rest) || !text.n)
        return report(error, 0, "", TEXT("not `key = value`"), "");
    return recipe_line(r, error, 0, text, NULL);
}

int atomdl_recipe_parse(atomdl_recipe *r, atomdl_recipe_error *error,
                        const char *text, size_t n)
{
    u8 seen[N_KEYS] = {0};
    words rest, line;
    int status = ATOMDL_OK, number = 1;

    if (error) memset(error, 0, sizeof *error);
    atomdl_recipe_default(r);
    rest.s = text;
    rest.n = n;
    for (; !status && take_line(&line, &rest); number++)
        if (line.n) status = recipe_line(r, error, number, line, seen);
    return status ? status : atomdl_recipe_check(r, error);
}

/* The lines of one key: "key = value". */
static void print_key(sink *out, const atomdl_recipe *r, const recipe_key *key)
{
    sink before;
    int i = 0, more;

    do {
        before = *out;
        put(out, key->name);
        put(out, " = ");
        more = KINDS[key->kind].print(out, r, field_in(r, key), key, i++);
        if (!more) *out = before;
        else put(out, "\n");
    } while (more);
}

static void print_recipe(sink *out, const atomdl_recipe *r, int all)
{
    static const char *const TITLES[] = {"\n# ", "\n\n"};
    const recipe_key *key;
    atomdl_recipe plain;
    sink a, b;
    int k;

    atomdl_recipe_default(&plain);
    for (k = 0; k < N_KEYS; k++) {
        key = &KEYS[k];
        memset(&a, 0, sizeof a);
        a.digest = ATOMDL_DIGEST;
        b = a;
        if (!key->name && all) {
            put(out, TITLES[0] + !k);
            put(out, key->help);
            put(out, TITLES[1]);
        }
        if (!key->name) continue;
        print_key(&a, r, key);
        print_key(&b, &plain, key);
        if (all && *key->help) {
            put(out, "# ");
            put(out, key->help);
            put(out, "\n");
        }
        if (all && !a.n) {
            put(out, "# ");
            put(out, key->name);
            put(out, " =\n");
        }
        if (all || a.digest != b.digest) print_key(out, r, key);
    }
    if (out->size)
        out->text[out->n < out->size ? out->n : out->size - 1] = 0;
}

size_t atomdl_recipe_print(char *text, size_t size, const atomdl_recipe *r,
                           int all)
{
    sink out = {NULL, 0, 0, 0};

    out.text = text;
    out.size = size;
    print_recipe(&out, r, all);
    return out.n;
}

uint64_t atomdl_recipe_digest(const atomdl_recipe *r)
{
    sink out = {NULL, 0, 0, ATOMDL_DIGEST};
    int k;

    for (k = 0; k < N_KEYS; k++)
        if (KEYS[k].name) print_key(&out, r, &KEYS[k]);
    return out.digest;
}

int atomdl_recipe_network(atomdl_arch *arch, atomdl_layer *row, int max,
                          const atomdl_recipe *r)
{
    double v[8] = {0};
    words text, w, name;
    int width[8], i, n = 0, bottleneck = 0;

    text.s = r->network;
    text.n = length(text.s);
    if (has_rows(r))
        return atomdl_arch_parse(arch, row, max, text.s, text.n, &i);
    if (!take_word(&name, &text)) return ATOMDL_EARG;
    while (take_word(&w, &text)) {
        if (same_word(w, "bottleneck") && n == 2) bottleneck = 1;
        else if (n == 8 || !read_number(&v[n++], w)) return ATOMDL_EARG;
    }
    for (i = 0; i < n; i++) {
        if (!(v[i] >= 0 && v[i] <= ATOMDL_CHANNELS)) return ATOMDL_EARG;
        width[i] = (int)v[i];
    }
    if (same_word(name, "fcn") && n)
        return atomdl_fcn(arch, row, max, width, n, r->classes);
    if (same_word(name, "unet") && n == 1)
        return atomdl_unet(arch, row, max, width[0], r->classes);
    if (same_word(name, "resunet") && n >= 1 && n <= 3)
        return atomdl_resunet(arch, row, max, width[0], n > 1 ? width[1] : 3,
                              bottleneck, (float)v[2], r->classes);
    return ATOMDL_EARG;
}

/* ---------- Recipes: the whole -------------------------------------------- */

enum { MOST_ATOMS = 1 << 24 }; /* of a sample */

static double dist_most(const atomdl_dist *d)
{
    double m = d->v[0];
    int i;

    for (i = 1; i < d->n && d->kind != ATOMDL_DIST_NORMAL; i++)
        if (d->v[i] > m) m = d->v[i];
    if (d->kind == ATOMDL_DIST_NORMAL) m += 6.5 * d->v[1];
    if (d->kind == ATOMDL_DIST_POISSON)
        m += 10 * atomdl_sqrt(m) + 20;
    if (d->other > m && d->chance < 100) m = d->other;
    return m < d->high ? m : d->high;
}

static int lattice_of(atomdl_lattice *lattice, const atomdl_recipe *r, int i)
{
    if (!r->lattice.n) return atomdl_lattice_find(lattice, r->material[i]);
    *lattice = r->lattice;
    return atomdl_lattice_check(lattice);
}

/* Area of a cell. */
static double cell_area(const atomdl_lattice *l)
{
    return magnitude(l->a[0] * l->b[1] - l->a[1] * l->b[0]);
}

static const char *check_structure(const atomdl_recipe *r)
{
    double side = (r->w > r->h ? r->w : r->h) * dist_most(&r->pixel);
    atomdl_lattice l;
    double drawn = 0;
    int i, cell = r->lattice.a[0] != 0 || r->lattice.a[1] != 0
                  || r->lattice.b[0] != 0 || r->lattice.b[1] != 0;

    if (*r->xyz && r->lattice.n)
        return TEXT("xyz and basis: only one of them");
    if (r->lattice.n && !cell) return TEXT("basis without vectors");
    if (cell && !r->lattice.n) return TEXT("vectors without basis");
    for (i = 0; !*r->xyz && i < (cell ? 1 : r->materials); i++) {
        if (lattice_of(&l, r, i))
            return TEXT("vectors and basis make no lattice");
        if (side * side / cell_area(&l) * l.n > MOST_ATOMS)
            return TEXT("more than 16 million atoms in an image");
    }
    if (dist_most(&r->step) > 0 && (r->materials < 2 || cell || *r->xyz))
        return TEXT("step needs two materials");
    for (i = 0; i < ATOMDL_DEFECTS; i++) drawn += (double)r->drawing.weight[i];
    if (!(drawn > 0)
        && (dist_most(&r->count) > 0 || dist_most(&r->crowd) > 0))
        return TEXT("count or crowd without defects");
    for (i = ATOMDL_SUB_M; i < ATOMDL_DEFECTS; i++)
        if (r->drawing.weight[i] > 0 && !r->drawing.element)
            return TEXT("defects sub-... need dopant");
    return NULL;
}

static const char *check_network(const atomdl_recipe *r)
{
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch_info info;
    atomdl_arch arch;
    atomdl_recipe two = *r;
    int i, n = 0;

    if (!two.classes) two.classes = 2; /* background and atom */
    for (i = 0; i < ATOMDL_CLASSES; i++)
        if (r->plan.loss.weight[i] > 0) n = i + 1;
    if (n && n != two.classes) return TEXT("class_weights: one for each class");
    if (atomdl_recipe_network(&arch, row, ATOMDL_ROWS, &two)
        || atomdl_arch_check(&info, NULL, &arch, 0, 0))
        return TEXT("network: fcn W..., unet N, resunet N [K [bottleneck "
                    "[DROPOUT]]] or sound rows");
    if (info.classes != two.classes)
        return TEXT("row: the last has another number of channels than there "
                    "are classes");
    if (atomdl_arch_check(&info, NULL, &arch, r->h, r->w))
        return TEXT("size is no multiple of the network's stride");
    return NULL;
}

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

        if (atomdl_plan_check(&plan, r->classes ? r->classes : 2))
            why = TEXT("rate, steps, momentum, loss...: out of range");
    }
#endif
    return why ? report(error, 0, "", why, "") : ATOMDL_OK;
}

atomdl_plan atomdl_recipe_plan(const atomdl_recipe *r)
{
    atomdl_plan plan = r->plan;

    plan.warmup = (u32)(r->warmup * r->plan.steps);
    plan.seed = r->seed;
    return plan;
}
