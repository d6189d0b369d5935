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


static const u32 NONE = UINT32_MAX;

static int same_bytes(const void *a, const void *b, size_t n)
{
    const unsigned char *p = a, *q = b;
    size_t i;
    for (i = 0; i < n && p[i] == q[i]; i++) {}
    return i == n;
}

static int equal(const char *a, const char *b)
{
    for (size_t i = 0; a[i] == b[i]; i++)
        if (!a[i]) return 1;
    return 0;
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
    l->basis[l->n++] = (atomdl_basis){element, (u8)site, (u8)layer,
                                      SITE[site][0], SITE[site][1], z};
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
    size_t n;
    for (size_t i = 0; i < sizeof TRILAYERS / sizeof *TRILAYERS; i++) {
        for (n = 0; TRILAYERS[i].name[n] && TRILAYERS[i].name[n] == name[n];)
            n++;
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
        if (!equal(name, SHEETS[i].name)) continue;
        hexagonal(lattice, SHEETS[i].a);
        for (int k = 0; k < SHEETS[i].n; k++)
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
    if (!(a >= 0.25 && a <= 1e6 && b >= 0.25 && b <= 1e6)) return ATOMDL_EARG;
    if (!(area * area >= 0.01 * a * b)) return ATOMDL_EARG;
    if (l->n < 1 || l->n > ATOMDL_BASIS) return ATOMDL_EARG;
    for (int i = 0; i < l->n; i++) {
        const atomdl_basis *p = &l->basis[i];
        if (p->element < 1 || p->element > ATOMDL_ELEMENTS) return ATOMDL_EARG;
        if (p->site >= ATOMDL_BASIS || (l->hexagonal && p->site > 2))
            return ATOMDL_EARG;
        if (!(p->u >= 0 && p->u < 1 && p->v >= 0 && p->v < 1))
            return ATOMDL_EARG;
        if (!(absolute(p->z) <= 1e6)) return ATOMDL_EARG;
        if (i && p->layer < p[-1].layer) return ATOMDL_EARG;
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

/* ---------- Structures ---------------------------------------------------- */

enum { GONE = 255 }; /* column.count of a column that was cut away */

/* Sizes that do not depend on how a platform aligns binary64. */
static size_t even(size_t size)
{
    return (size + 7) / 8 * 8;
}

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
    s->atom = atomdl_alloc(arena, atoms, even(sizeof *s->atom));
    s->column = atomdl_alloc(arena, columns, even(sizeof *s->column));
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
    double area = absolute(cross(l->a, l->b));
    double a = atomdl_sqrt(l->a[0] * l->a[0] + l->a[1] * l->a[1]);
    double b = atomdl_sqrt(l->b[0] * l->b[0] + l->b[1] * l->b[1]);
    n[0] = (int)(reach * b / area) + 4;
    n[1] = (int)(reach * a / area) + 4;
}

void atomdl_structure_room(u32 *atoms, u32 *columns, double w, double h,
                           double margin, const atomdl_lattice *lattice)
{
    double area = absolute(cross(lattice->a, lattice->b));
    double a = atomdl_sqrt(lattice->a[0] * lattice->a[0]
                           + lattice->a[1] * lattice->a[1]);
    double b = atomdl_sqrt(lattice->b[0] * lattice->b[0]
                           + lattice->b[1] * lattice->b[1]);
    /* a cell that has a site in the field lies within a + b of it */
    w += 2 * (margin + a + b);
    h += 2 * (margin + a + b);
    double n = w * h / (area * SQUEEZE) + 4;
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
    double det = r->m[0] * r->m[3] - r->m[1] * r->m[2], p[2];
    double area = cross(r->lattice.a, r->lattice.b);
    p[0] = x - r->x;
    p[1] = y - r->y;
    double q[2];
    q[0] = (r->m[3] * p[0] - r->m[1] * p[1]) / det;
    q[1] = (r->m[0] * p[1] - r->m[2] * p[0]) / det;
    f[0] = cross(q, r->lattice.b) / area;
    f[1] = cross(r->lattice.a, q) / area;
}

/* The range of cells that reaches over field and margin. */
static void reach(atomdl_region *r, const atomdl_structure *s)
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

static int add_atom(atomdl_structure *s, double x, double y, double z,
                    int element, int role, int defect, u32 column)
{
    if (s->atoms == s->max_atoms) return 0;
    s->atom[s->atoms++] = (atomdl_atom){x, y, z, 1, (u8)element, (u8)role,
                                        (u16)defect, column};
    return 1;
}

static int add_column(atomdl_structure *s, double x, double y, int site,
                      int region)
{
    if (s->columns == s->max_columns) return 0;
    atomdl_column *c = &s->column[s->columns++];
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
    int n = site_atoms(list, &r->lattice, site);
    int region = (int)s->regions;
    double p[2];
    for (int j = 0; j < r->nj && n; j++)
        for (int i = 0; i < r->ni; i++) {
            u32 at = (u32)((j * r->ni + i) * r->sites + site);
            place(p, r, r->i0 + i + list[0]->u, r->j0 + j + list[0]->v);
            if (!inside(s, p[0], p[1], s->margin) || !on_side(r, p[0], p[1]))
                continue;
            if (!add_column(s, p[0], p[1], site, region)) return ATOMDL_EMEM;
            r->grid[at] = s->columns;
            for (int k = 0; k < n; k++)
                if (!add_atom(s, p[0], p[1], list[k]->z, list[k]->element,
                              ATOMDL_ROLE_LATTICE, 0, s->columns - 1))
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

int atomdl_structure_fill(atomdl_structure *s, const atomdl_lattice *lattice,
                          const atomdl_placement *at, const atomdl_line *line,
                          int lines, int class_id, atomdl_arena *arena)
{
    atomdl_region *r = &s->region[s->regions];
    int status = ATOMDL_OK;
    if (s->regions == ATOMDL_REGIONS || lines < 0 || lines > ATOMDL_LINES)
        return ATOMDL_EARG;
    if (atomdl_lattice_check(lattice) || !placement_sound(at)
        || class_id < 0 || class_id > 254)
        return ATOMDL_EARG;
    for (int i = 0; i < lines; i++) {
        if (!line_sound(&line[i])) return ATOMDL_EARG;
        r->line[i] = line[i];
    }
    int n[2];
    cells(n, s, lattice);
    r->sites = lattice_sites(lattice);
    if ((double)n[0] * n[1] * r->sites > 1e9) return ATOMDL_EARG;
    r->grid = atomdl_alloc(arena, (size_t)n[0] * (size_t)n[1],
                           (size_t)r->sites * sizeof *r->grid);
    r->lattice = *lattice;
    r->lines = lines;
    r->class_id = (u8)class_id;
    double c = atomdl_cos(at->angle);
    double d = atomdl_sin(at->angle);
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

static int buckets_new(buckets *b, double w, double h, double margin, size_t n,
                       double size, atomdl_arena *arena)
{
    double more = margin + 1;
    if ((w + 2 * more) / size * ((h + 2 * more) / size) > 1 << 28)
        return ATOMDL_EARG;
    b->size = size;
    b->x0 = b->y0 = -more;
    b->w = (int)((w + 2 * more) / size) + 1;
    b->h = (int)((h + 2 * more) / size) + 1;
    b->head = atomdl_alloc(arena, (size_t)b->w * (size_t)b->h, sizeof(u32));
    b->next = atomdl_alloc(arena, n, sizeof(u32));
    if (b->head && b->next)
        memset(b->head, 0, (size_t)b->w * (size_t)b->h * sizeof(u32));
    return atomdl_arena_status(arena);
}

static int clamp_int(double x, int n)
{
    return !(x > 0) ? 0 : x >= n ? n - 1 : (int)x;
}

static int bucket_x(const buckets *b, double x)
{
    return clamp_int((x - b->x0) / b->size, b->w);
}

static int bucket_y(const buckets *b, double y)
{
    return clamp_int((y - b->y0) / b->size, b->h);
}

static void bucket_put(const buckets *b, u32 i, double x, double y)
{
    u32 *head = &b->head[bucket_y(b, y) * b->w + bucket_x(b, x)];
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
    vicinity v = {0};
    v.x0 = bucket_x(b, x - distance);
    v.x1 = bucket_x(b, x + distance);
    v.y1 = bucket_y(b, y + distance);
    v.x = v.x0;
    v.y = bucket_y(b, y - distance);
    v.i = b->head[v.y * b->w + v.x];
    return v;
}

/* Index + 1; 0: no more. */
static u32 next_around(const buckets *b, vicinity *v)
{
    u32 i = v->i;
    while (!i) {
        if (v->x == v->x1 && v->y == v->y1) return 0;
        v->y += v->x == v->x1;
        v->x = v->x == v->x1 ? v->x0 : v->x + 1;
        i = b->head[v->y * b->w + v->x];
    }
    v->i = b->next[i - 1];
    return i;
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
    vicinity v = around(b, a->x, a->y, distance);
    u32 i;
    while ((i = next_around(b, &v)) != 0)
        if (region_of(s, &s->atom[i - 1]) < region_of(s, a)
            && s->column[s->atom[i - 1].column].count != GONE
            && distance2(a, &s->atom[i - 1]) < distance * distance)
            return 1;
    return 0;
}

int atomdl_structure_contacts(atomdl_structure *s, double distance,
                              atomdl_arena *arena)
{
    size_t used = arena->used;
    if (!(distance >= 0 && distance <= 100)) return ATOMDL_EARG;
    buckets b;
    int status = buckets_new(&b, s->w, s->h, s->margin, s->max_atoms,
                             distance > 2 ? distance : 2, arena);
    if (!status && b.head && s->atom) {
        for (u32 i = 0; i < s->atoms; i++)
            if (s->atom[i].element && s->atom[i].column != NONE)
                bucket_put(&b, i, s->atom[i].x, s->atom[i].y);
        for (u32 i = 0; i < s->atoms; i++)
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
    for (int i = 0; i < n; i++) {
        double dx = (x - cloud[i].x) / cloud[i].sigma;
        double dy = (y - cloud[i].y) / cloud[i].sigma;
        sum += cloud[i].peak * atomdl_exp(-(dx * dx + dy * dy) / 2);
    }
    return sum;
}

enum { TRIES = 16 }; /* for a place of its own */

static int too_close(const atomdl_structure *s, const buckets *b, double x,
                     double y, double z, double core)
{
    vicinity v = around(b, x, y, core);
    atomdl_atom a = {0};
    a.x = x;
    a.y = y;
    a.z = z;
    u32 i;
    while ((i = next_around(b, &v)) != 0)
        if (distance2(&a, &s->atom[i - 1]) < core * core) return 1;
    return 0;
}

/* One atom of a cloud, where it lies in the field. One that lies too near to
   another steps aside, so that they stay about as many as without a core. */
static int put_carbon(atomdl_structure *s, const atomdl_cloud *cloud,
                      const buckets *b, atomdl_rng *rng)
{
    const double gap = 3; /* A */
    double x = cloud->x, y = cloud->y, z, step = cloud->sigma;
    float g[2];
    int in, tries = 0;
    do {
        atomdl_rng_normal(rng, g, 2);
        x += step * (double)g[0];
        y += step * (double)g[1];
        z = gap + atomdl_rng_uniform64(rng)
                  * atomdl_cloud_thickness(cloud, 1, x, y);
        in = inside(s, x, y, s->margin);
        step = cloud->core;
    } while (in && step > 0 && ++tries < TRIES
             && too_close(s, b, x, y, z, cloud->core));
    if (!in) return ATOMDL_OK;
    if (!add_atom(s, x, y, z, 6, ATOMDL_ROLE_CONTAMINATION, 0, NONE))
        return ATOMDL_EMEM;
    if (cloud->core > 0) bucket_put(b, s->atoms - 1, x, y);
    return ATOMDL_OK;
}

int atomdl_structure_cloud(atomdl_structure *s, const atomdl_cloud *cloud,
                           atomdl_rng *rng, atomdl_arena *arena)
{
    const double density = 0.100; /* 1/A3: 2.0 g/cm3, METHOD B.6 */
    double volume = 2 * PI * cloud->sigma * cloud->sigma * cloud->peak;
    double cell = cloud->core > 0.5 ? cloud->core : 0.5;
    size_t used = arena->used;
    buckets b = {0};
    int status = ATOMDL_OK;
    if (!(cloud->sigma > 0 && cloud->sigma <= 1e4 && cloud->peak >= 0
          && density * volume <= 1e8)
        || !(absolute(cloud->x) <= 1e6 && absolute(cloud->y) <= 1e6)
        || !(cloud->core >= 0 && cloud->core <= 2))
        return ATOMDL_EARG;
    if (cloud->core > 0)
        status = buckets_new(&b, s->w, s->h, s->margin, s->max_atoms, cell,
                             arena);
    arena->used = used;
    if (status || !s->atom || (cloud->core > 0 && !b.head)) return status;
    for (u32 n = atomdl_rng_poisson(rng, density * volume); n && !status; n--)
        status = put_carbon(s, cloud, &b, rng);
    return status;
}

static void wave_shift(double *x, double *y, const atomdl_wave *wave, int n)
{
    double x0 = *x, y0 = *y;
    for (int i = 0; i < n; i++) {
        double phase =
            atomdl_sin(wave[i].kx * x0 + wave[i].ky * y0 + wave[i].phase);
        *x += wave[i].ax * phase;
        *y += wave[i].ay * phase;
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

/* Closes up the columns; first <- their new indices. */
static void close_columns(atomdl_structure *s)
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
}

static void close_atoms(atomdl_structure *s)
{
    u32 n = 0;
    for (u32 i = 0; i < s->atoms; i++)
        if (s->atom[i].element) s->atom[n++] = s->atom[i];
    s->atoms = n;
}

static int atom_sound(const atomdl_atom *a)
{
    return absolute(a->x) <= 1e7 && absolute(a->y) <= 1e7
        && absolute(a->z) <= 1e7 && a->weight - a->weight == 0;
}

int atomdl_structure_finish(atomdl_structure *s)
{
    if (!s->atom || !s->column) return ATOMDL_OK;
    close_columns(s);
    close_atoms(s);
    for (u32 i = 0; i < s->regions; i++) s->region[i].grid = NULL;
    for (u32 i = 0; i < s->atoms; i++)
        if (!atom_sound(&s->atom[i])) return ATOMDL_ENAN;
    for (u32 i = 0; i < s->columns; i++)
        if (!(absolute(s->column[i].x) <= 1e7
              && absolute(s->column[i].y) <= 1e7)) return ATOMDL_ENAN;
    for (u32 i = 0; i < s->columns; i++) {
        atomdl_column *c = &s->column[i];
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
    if (!c->count) {
        memcpy(text, "vacancy", 8);
        return;
    }
    for (int i = 0; i < ATOMDL_SPECIES && c->element[i]; i++) {
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
    {"si-c3-c3", 1.2305, 1.4209, 2.1, 2, 2, 1, {{1, 2}, {4, 2}},
     {{14, 0, 1.4209, 1.645, 0}, {14, 2.461, 1.4209, 1.645, 0}},
     {{{0, TO_ADDED}, {1, TO_ADDED}, 2.95, 2}}},
    {"si-c3-c4", 0.6152, 0.7104, 2.1, 3, 2, 0, {{1, -1}, {1, 2}, {2, 4}},
     {{14, 1.2305, -0.7104, 1.645, 0}, {14, 0, 2.1313, 1.88, 0}}, NO_TIES},
    {"si-c4-c4", 0.9229, 0.5329, 2.1, 4, 2, 0,
     {{1, 2}, {1, -1}, {2, 4}, {2, -2}},
     {{14, 0, 2.1313, 1.88, 0}, {14, 1.8458, -1.0656, 1.88, 0}}, NO_TIES},
};

/* Springs, METHOD's Keating form: E = sum w (r^2 - d^2)^2 / 4 d^2, weights by
   RECIPE 3. Carbon bonds 1, those of silicon 2; second neighbours at carbon
   with three carbon bonds 0.25; the carbon neighbours of Si with
   three bonds are held sqrt(3) bonds apart with 0.5, but where a tie breaks
   the symmetry; every site is anchored with 0.005. */
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

static void site_position(double p[2], int u, int v)
{
    p[0] = CARBON * (2 * u - v) / 6;
    p[1] = CARBON * v / (2 * atomdl_sqrt(3));
}

static int is_removed(const motif *m, int u, int v)
{
    for (int i = 0; i < m->removed; i++)
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

static void patch_sites(patch *p, const motif *m)
{
    double c[2];
    c[0] = m->x;
    c[1] = m->y;
    double at[2];
    for (int v = -24; v <= 24; v++)
        for (int u = -30; u <= 30; u++) {
            if ((u + v) % 3 || u % 3 == 0 || is_removed(m, u, v)) continue;
            site_position(at, u, v);
            double r2 = apart2(at, c);
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
        double d =
            other < 0 ? a->carbon : least(a->between, m->add[other].between);
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
        int a = node_of(p, t->a), b = node_of(p, t->b);
        if (t->b.v == TO_ADDED) add_spring(p, a, b, t->length, t->weight);
        else add_bond(p, a, b, t->length, t->weight);
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

static int touched(const patch *p, const motif *m, int node)
{
    for (int i = 0; i < p->bonds[node]; i++)
        if (p->bond[node][i] >= p->sites) return 1;
    for (int i = 0; i < m->ties; i++)
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
    r->known = 1;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < p->sites; i++) {
            shift *s = &r->shift[r->moved];
            int near = touched(p, m, i);
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
    for (int i = 0; i < ATOMDL_DEFECTS; i++)
        if (equal(name, atomdl_defect_name(i))) return i;
    return -1;
}

/* Symmetry operation: mirrored (about the line at 60 degrees) or not, then
   turned by `operation` mod 6 times 60 degrees. On sites: */
static site2 turn_site(int u, int v, int operation)
{
    int w;
    if (operation >= 6) w = u, u = v, v = w;
    for (int k = operation % 6; k > 0; k--) w = u, u = u - v, v = w;
    site2 s;
    s.u = (signed char)u;
    s.v = (signed char)v;
    return s;
}

/* ... and on vectors. */
static void turn_vector(double p[2], double x, double y, int operation)
{
    const double half = 0.5, root = atomdl_sqrt(3) / 2;
    if (operation >= 6) {
        double t = root * y - half * x;
        y = root * x + half * y;
        x = t;
    }
    for (int k = operation % 6; k > 0; k--) {
        double t = half * x - root * y;
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
    if (d->region >= s->regions || !r->lattice.hexagonal
        || d->operation > 11 || d->kind >= ATOMDL_DEFECTS
        || absolute(d->i) > 1e7 || absolute(d->j) > 1e7)
        return 0;
    double p[2], q[2];
    if (d->kind < ATOMDL_MOTIFS) {
        if (r->lattice.metal) return 0;
        place(p, r, d->i, d->j);
        motif_vector(q, r, MOTIFS[d->kind].x, MOTIFS[d->kind].y, d->operation);
        d->x = p[0] + q[0];
        d->y = p[1] + q[1];
        motif_vector(q, r, 1, 0, d->operation);
    } else {
        const atomdl_basis *list[ATOMDL_BASIS];
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
    return s->max_atoms - s->atoms >= m->extra
        && s->max_columns - s->columns >= m->extra;
}

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

static int place_motif(atomdl_structure *s, const atomdl_defect *d,
                       const relaxed *r)
{
    const motif *m = &MOTIFS[d->kind];
    u16 mark = (u16)(s->defects + 1);
    if (!r->known || !motif_fits(s, d, r)) return ATOMDL_EARG;
    double p[2];
    place(p, &s->region[d->region], d->i, d->j);
    u32 c;
    for (int i = 0; i < m->removed; i++) {
        c = motif_column(s, d, m->site[i].u, m->site[i].v);
        s->atom[s->column[c - 1].first].element = 0;
        s->column[c - 1].defect = mark;
    }
    move_sites(s, d, r, mark);
    double q[2];
    for (int i = 0; i < m->extra; i++) {
        motif_vector(q, &s->region[d->region], r->added[i][0], r->added[i][1],
                     d->operation);
        q[0] += p[0];
        q[1] += p[1];
        if (i < m->removed) { /* moved as the atom that was there */
            c = motif_column(s, d, m->site[i].u, m->site[i].v);
            q[0] += s->atom[s->column[c - 1].first].x - s->column[c - 1].x;
            q[1] += s->atom[s->column[c - 1].first].y - s->column[c - 1].y;
        } else if (add_column(s, q[0], q[1], 0, d->region)) {
            c = s->columns;
        } else {
            return ATOMDL_EMEM;
        }
        s->column[c - 1].defect = mark;
        s->column[c - 1].first = s->atoms;
        add_atom(s, q[0], q[1], 0, m->add[i].element,
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
    for (int i = 0; i < l->n; i++) n += l->basis[i].site == c->site;
    return n;
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
    int u = d->site, v = 3 - d->site; /* thirds of sites B and C */
    if (d->site == 0) v = 0;
    if (d->site == 1) v = 2;
    if (d->site == 2) v = 1;
    for (int sign = 1; sign >= -1; sign -= 2) {
        u32 c = column_thirds(s, d->region, d->i, d->j, u + sign * step[0],
                              v + sign * step[1]);
        if (!taken(s, c) && nth_atom(s, c, z, 0, d->operation % 2)) return c;
    }
    return 0;
}

static int edit_column(atomdl_structure *s, const atomdl_defect *d, u32 column)
{
    int kind = d->kind - ATOMDL_MOTIFS, below = d->operation % 2;
    const atomdl_lattice *l = &s->region[d->region].lattice;
    int z = edit_element(l, d->kind), role = ATOMDL_ROLE_DOPANT;
    int need = EDITS[kind].remove + EDITS[kind].turn;
    u16 mark = (u16)(s->defects + 1);
    atomdl_atom *a = nth_atom(s, column, z, need - 1, below);
    int into = EDITS[kind].into == TO_METAL       ? l->metal
               : EDITS[kind].into == TO_CHALCOGEN ? l->chalcogen
                                                  : d->element;
    if (!a || (EDITS[kind].turn && (!into || into == z))) return ATOMDL_EARG;
    if (EDITS[kind].add
        && !add_atom(s, a->x, a->y, a->z + 1.5, into, role, mark, column - 1))
        return ATOMDL_EMEM;
    if (EDITS[kind].add) a->z -= 1.5;
    if (EDITS[kind].turn) {
        a->element = (u8)into;
        a->role = (u8)role;
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
    if (d->kind == ATOMDL_SUB_M_VX1 && !(beside = chalcogen_beside(s, d)))
        return ATOMDL_EARG;
    int status = edit_column(s, d, c);
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
    if (!s->atom || !s->column || !s->defect) return ATOMDL_OK;
    if (!(d.scale >= -10 && d.scale <= 10) || !defect_geometry(&d, s)
        || !s->region[d.region].grid)
        return ATOMDL_EARG;
    if (s->defects == s->max_defects) return ATOMDL_EMEM;
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
    atomdl_defect best = *d;
    for (int k = 0; k < 9; k++) {
        atomdl_defect t = *d;
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
    int found = 0;
    if (d.region >= s->regions || !inside(s, x, y, 1e3)) return ATOMDL_EARG;
    d.i = d.j = 0;
    double f[2];
    fractions(f, r, x, y);
    if (d.kind < ATOMDL_MOTIFS) {
        if (!defect_geometry(&d, s)) return ATOMDL_EARG;
        double c[2];
        fractions(c, r, d.x, d.y);
        nearest_cell(&d, f, c[0], c[1]);
        if (!settle(&d, s, x, y)) return ATOMDL_EARG;
        *defect = d;
        return ATOMDL_OK;
    }
    if (!r->lattice.metal || d.kind >= ATOMDL_DEFECTS) return ATOMDL_EARG;
    int k;
    for (int site = 0; site < r->sites; site++) {
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
    int last = -1;
    for (int i = 0; i < ATOMDL_DEFECTS; i++) sum += (double)how->weight[i];
    at *= sum;
    for (int i = 0; i < ATOMDL_DEFECTS; i++) {
        if (!(how->weight[i] > 0)) continue;
        last = i;
        at -= (double)how->weight[i];
        if (at < 0) break;
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
    int dimer = kind >= ATOMDL_SI2_C4 && kind <= ATOMDL_SI2_C6;
    double sd = how->jitter[dimer];
    float common[2];
    atomdl_rng_normal(rng, common, 2);
    float own[2];
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
    atomdl_defect d;
    u32 from = s->atoms;
    memset(&d, 0, sizeof d);
    d.kind = (u8)pick_kind(how, atomdl_rng_uniform64(rng));
    d.element = how->element;
    float g;
    atomdl_rng_normal(rng, &g, 1);
    d.scale = 1 + (float)how->scale_sd * g;
    int scale = d.scale < 0.6f ? -1 : d.scale > 1.4f;
    if (scale) d.scale = scale < 0 ? 0.6f : 1.4f;
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
        if (s->defects == s->max_defects) return ATOMDL_EMEM;
        done += (u32)draw_one(s, how, motifs, rng);
    }
    if (drawn) *drawn = done;
    return ATOMDL_OK;
}

int atomdl_defects_scatter(atomdl_structure *s, int kind, int element,
                           double fraction, int region, atomdl_rng *rng)
{
    if (kind < ATOMDL_MOTIFS || kind >= ATOMDL_DEFECTS || element < 0
        || element > ATOMDL_ELEMENTS || !(fraction >= 0 && fraction <= 1))
        return ATOMDL_EARG;
    if (!s->atom || !s->column || !s->defect) return ATOMDL_OK;
    int need =
        EDITS[kind - ATOMDL_MOTIFS].remove + EDITS[kind - ATOMDL_MOTIFS].turn;
    atomdl_defect d;
    memset(&d, 0, sizeof d);
    d.kind = (u8)kind;
    d.element = (u8)element;
    d.scale = 1;
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
            int status = atomdl_defect_place(s, &d, NULL);
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
    const char *stop;
    size_t n;
    for (const char *p = line; p < end; p++) {
        if (p > line && !blank(p[-1])) continue;
        for (n = 0; key[n] && p + n < end && p[n] == key[n];) n++;
        if (key[n]) continue;
        p += n;
        char quote = p < end && (*p == '"' || *p == '\'') ? *p++ : ' ';
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
    for (int i = 0; i < 9; i++) {
        size_t k = word(&w, &r);
        if (!k || !parse_number(&cell[i], w, k) || absolute(cell[i]) > 1e6)
            return 0;
    }
    return word(&w, &r) == 0;
}

/* Columns of the symbol and of x from "species:S:1:pos:R:3:..."; 0: bad. */
static int read_properties(int column[2], const char *v, size_t n)
{
    const char *end = v + n;
    int at = 0;
    column[0] = column[1] = -1;
    while (v < end) {
        const char *name = v;
        while (v < end && *v != ':') v++;
        size_t k = (size_t)(v - name);
        if (end - v < 4 || v[2] != ':') return 0;
        const char *count = v += 3;
        while (v < end && *v != ':') v++;
        double width;
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
    const char *line = r->p, *end = r->p;
    while (end < r->end && *end != '\n') end++;
    column[0] = 0;
    column[1] = 1;
    const char *v;
    size_t n = comment_value(&v, line, end, "Lattice=");
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
        return parse_number(&z, w, n) && z >= 1 && z <= ATOMDL_ELEMENTS
            && z == (double)(int)z ? (int)z : 0;
    return atomdl_element(w, n);
}

static int read_atom(atomdl_atom *a, const int column[2], reader *r)
{
    int last = column[0] > column[1] + 2 ? column[0] : column[1] + 2;
    double p[3] = {0, 0, 0};
    const char *w;
    int z = 0;
    for (int i = 0; i <= last; i++) {
        size_t n = word(&w, r);
        if (!n) return fail(r, "a value is missing");
        if (i == column[0] && !(z = read_element(w, n)))
            return fail(r, "unknown element");
        if (i >= column[1] && i < column[1] + 3
            && (!parse_number(&p[i - column[1]], w, n)
                || absolute(p[i - column[1]]) > 1e6))
            return fail(r, "not a coordinate");
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

static int read_xyz(atomdl_xyz *info, atomdl_atom *atom, reader *r)
{
    const char *w;
    size_t n = word(&w, r);
    double count;
    if (!n || !parse_number(&count, w, n) || !digit(*w) || count < 1
        || count != atomdl_floor(count))
        return fail(r, "not a number of atoms");
    if (word(&w, r)) return fail(r, "more than a number of atoms");
    if (count > XYZ_MOST
        || count > (double)(r->end - r->p) / XYZ_SHORTEST + 1)
        return fail(r, "more atoms than the file can hold");
    info->atoms = (u32)count;
    next_line(r);
    int column[2];
    if (read_comment(info, column, r)) return ATOMDL_EFILE;
    for (u32 i = 0; i < info->atoms; i++) {
        next_line(r);
        if (r->p >= r->end) return fail(r, "the file ends early");
        atomdl_atom a;
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
    memset(info, 0, sizeof *info);
    info->why = "";
    int status = read_xyz(info, atom, &r);
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
    vicinity v = around(b, x, y, width);
    u32 k;
    while ((k = next_around(b, &v)) != 0) {
        double dx = s->column[k - 1].x - x, dy = s->column[k - 1].y - y;
        if (dx * dx + dy * dy < width * width) break;
    }
    return k;
}

int atomdl_structure_atoms(atomdl_structure *s, const atomdl_atom *atom, u32 n,
                           double dx, double dy, double width,
                           atomdl_arena *arena)
{
    size_t used = arena->used;
    if (!(width >= 0 && width <= 100)) return ATOMDL_EARG;
    buckets b;
    int status = buckets_new(&b, s->w, s->h, s->margin, s->max_columns,
                             width > 2 ? width : 2, arena);
    for (u32 i = 0; i < n && !status && b.head && s->atom; i++) {
        double x = atom[i].x + dx, y = atom[i].y + dy;
        if (!inside(s, x, y, s->margin)) continue;
        u32 c = shared_column(s, &b, x, y, width);
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
    memset(c, 0, sizeof *c);
    if (equal(text, "vacancy")) return 1;
    int n;
    while (*end) {
        const char *start = end++;
        while (*end >= 'a' && *end <= 'z') end++;
        int z = atomdl_element(start, (size_t)(end - start));
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
            p[0] = a->x, p[1] = a->y;
        } else if (rule->what == ATOMDL_LABEL_COLUMN) {
            const atomdl_column *c = &s->column[k];
            hit = (rule->site == ATOMDL_ANY || c->site == rule->site)
                && (!rule->text[0] || same_composition(c, want))
                && defect_matches(s, c->defect, rule->kind);
            region = c->region;
            p[0] = c->x, p[1] = c->y;
        } else {
            const atomdl_defect *d = &s->defect[k];
            hit = rule->kind == ATOMDL_ANY || d->kind == rule->kind;
            region = d->region;
            p[0] = d->x, p[1] = d->y;
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
    *from = !(a > 0) ? 0 : a > n ? n : (int)a;
    *to = !(b >= 0) ? -1 : b >= n ? n - 1 : (int)b;
}

static void paint_disc(u8 *label, int w, int h, double pixel, const double p[2],
                       double radius, u8 class_id)
{
    int x0, x1;
    span(&x0, &x1, p[0] - radius, p[0] + radius, pixel, w);
    int y0, y1;
    span(&y0, &y1, p[1] - radius, p[1] + radius, pixel, h);
    for (int y = y0; y <= y1; y++)
        for (int x = x0; x <= x1; x++) {
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
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            double px = (x + 0.5) * pixel, py = (y + 0.5) * pixel;
            int hit = 0;
            if (rule->what == ATOMDL_LABEL_THICKNESS) {
                double t = atomdl_cloud_thickness(cloud, clouds, px, py);
                hit = t > (double)rule->low && t <= (double)rule->high;
            }
            for (u32 i = 0; rule->what == ATOMDL_LABEL_REGION && i < s->regions
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
    if (!map_sound(w, h, pixel)) return ATOMDL_EARG;
    atomdl_column want;
    double p[2];
    for (int i = 0; i < rules; i++) {
        if (!rule_sound(&rule[i], &want)) return ATOMDL_EARG;
        if (!s->atom || !label) continue;
        if (rule[i].what >= ATOMDL_LABEL_REGION)
            paint_field(label, w, h, pixel, s, &rule[i], cloud, clouds);
        else
            for (u32 at = 0; next_centre(p, &at, s, &rule[i], &want);)
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
    int x0, x1;
    span(&x0, &x1, p[0] - 4 * sigma, p[0] + 4 * sigma, pixel, w);
    int y0, y1;
    span(&y0, &y1, p[1] - 4 * sigma, p[1] + 4 * sigma, pixel, h);
    float gx[WIDE];
    for (int from = x0; from <= x1; from += WIDE) {
        int to = x1 < from + WIDE - 1 ? x1 : from + WIDE - 1;
        for (int x = from; x <= to; x++) {
            double d = ((x + 0.5) * pixel - p[0]) / sigma;
            gx[x - from] = atomdl_expf((float)(-d * d / 2));
        }
        for (int y = y0; y <= y1; y++) {
            double d = ((y + 0.5) * pixel - p[1]) / sigma;
            float gy = atomdl_expf((float)(-d * d / 2));
            for (int x = from; x <= to; x++) {
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
    if (!map_sound(w, h, pixel) || !rule_sound(rule, &want)
        || rule->what > ATOMDL_LABEL_DEFECT || !(rule->radius > 0))
        return ATOMDL_EARG;
    if (!s->atom || !map) return ATOMDL_OK;
    memset(map, 0, (size_t)w * (size_t)h * sizeof *map);
    double p[2];
    for (u32 at = 0; next_centre(p, &at, s, rule, &want);)
        paint_gaussian(map, w, h, pixel, p, (double)rule->radius);
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
    if (hop < how->hop[state]) {
        int done = try_move(list, n, at, 1, way, how->apart, s);
        e->hops[state] += (u32)done;
        e->blocked += !done;
    }
    if (turn < how->turn[state]) {
        int done = try_move(list, n, at, 0, way, how->apart, s);
        e->turns[state] += (u32)done;
        e->blocked += !done;
    }
}

static int give_birth(atomdl_defect *list, u32 *n, u32 max, u32 *next_id,
                      int state, const atomdl_dynamics *how,
                      const atomdl_structure *s, atomdl_rng *rng)
{
    atomdl_defect d;
    memset(&d, 0, sizeof d);
    d.kind = how->kind[state];
    d.element = how->element;
    d.scale = 1;
    for (int trial = 0; trial < 20; trial++) {
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
    atomdl_events none;
    atomdl_events *e = events ? events : &none;
    u32 kept = 0;
    if (!dynamics_sound(how) || *n > max) return ATOMDL_EARG;
    if (!events) memset(&none, 0, sizeof none);
    for (u32 i = 0; i < *n; i++) {
        int state = state_of(how, list[i].kind);
        if (!state || !defect_geometry(&list[i], s)) return ATOMDL_EARG;
    }
    for (u32 i = 0; i < *n; i++) {
        int state = state_of(how, list[i].kind);
        int next = next_state(how, state, atomdl_rng_uniform64(rng));
        e->change[state][next]++;
        if (!next) list[i].id = 0;
        else list[i].kind = how->kind[next];
    }
    for (u32 i = 0; i < *n; i++)
        if (list[i].id) list[kept++] = list[i];
    *n = kept;
    for (u32 i = 0; i < *n; i++) {
        (void)defect_geometry(&list[i], s);
        move_defect(list, *n, i, state_of(how, list[i].kind), e, how, s, rng);
    }
    for (int state = 1; state < how->states; state++)
        for (u32 born = atomdl_rng_poisson(rng, how->rate[0][state]); born > 0;
             born--) {
            int done = give_birth(list, n, max, next_id, state, how, s, rng);
            e->change[0][state] += (u32)done;
            e->blocked += !done;
        }
    return ATOMDL_OK;
}

/* ---------- Images: optics ------------------------------------------------ */

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
    for (size_t i = 0; i < sizeof PRESET / sizeof *PRESET; i++) {
        if (!equal(name, PRESET[i].name)) continue;
        *optics = (atomdl_optics){
            .model = PRESET[i].model, .stack = 1, .kv = PRESET[i].kv,
            .convergence = PRESET[i].convergence, .inner = PRESET[i].inner,
            .outer = PRESET[i].outer, .source = PRESET[i].source,
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
    int ok = in_range(optics->stack, 0.1, 10);
    for (int i = 0; i < ATOMDL_OVERRIDES; i++)
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
    double tail = square(o->tail_sigma);
    if (o->model == ATOMDL_GAUSSIAN)
        return (1 - o->tail) * atomdl_exp(-2 * PI * PI * s2 * k * k)
               + o->tail * atomdl_exp(-2 * PI * PI * tail * k * k);
    s2 = square(o->source / FWHM);
    double x = k * atomdl_wavelength(o->kv) / (2e-3 * o->convergence);
    return x >= 1 ? 0 : (1 - x) * atomdl_exp(-2 * PI * PI * s2 * k * k);
}

/* The greatest error from the first alias of the stamps, relative. */
static double alias(const atomdl_optics *o, double step)
{
    double worst = 0;
    for (int i = 0; i <= 32; i++) {
        double f = i / 64.0;
        double e = atomdl_exp(-2 * PI * PI * STAMP * STAMP * (1 - 2 * f))
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
    if (!(margin > 0)) margin = 4;
    p->over = 1;
    while (p->over < FINEST && alias(o, p->pixel / p->over) > 2e-6)
        p->over *= 2;
    double step = p->pixel / p->over;
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
    double a2 = u * u + v * v, zr[7];
    zr[0] = 1;
    double zi[7];
    zi[0] = 0;
    for (int n = 1; n < 7; n++) {
        zr[n] = zr[n - 1] * u - zi[n - 1] * v;
        zi[n] = zr[n - 1] * v + zi[n - 1] * u;
    }
    double even[3];
    even[0] = 1;
    even[1] = a2;
    even[2] = a2 * a2;
    double sum = a2 * (-defocus / 2 + a2 * (o->c3 / 4 + a2 * (o->c5 / 6)));
    for (int i = 0; i < ATOMDL_ABERRATIONS; i++) {
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
    double lambda = atomdl_wavelength(o->kv);
    double edge = square(o->convergence * 1e-3);
    size_t n = (size_t)a->w * (size_t)a->h;
    memset(a->re, 0, n * sizeof *a->re);
    memset(a->im, 0, n * sizeof *a->im);
    for (int j = 0; j < a->h; j++)
        for (int i = 0; i < a->w; i++) {
            double u = lambda * frequency(i, a->w, a->lx);
            double v = lambda * frequency(j, a->h, a->ly);
            size_t at = (size_t)j * (size_t)a->w + (size_t)i;
            if (u * u + v * v > edge) continue;
            double chi = aberrations(o, defocus, u, v);
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
    size_t n = (size_t)a->w * (size_t)a->h;
    double to_x = o->spread * 0x1.337cc2183b05p-1; /* 1 / (2 sqrt(ln 2)) */
    int points = o->spread > 1 ? 9 : 1;
    if (a->p) memset(a->p, 0, n * sizeof *a->p);
    for (int i = 0; i < points; i++) {
        float weight = (float)W[i];
        if (a->p) pupil(a, o, o->defocus + X[i] * to_x);
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

/* One step of Newton's method towards the maximum of the blurred probe; the
   greatest step is 0.2 A. Returns 0 where it is not convex. */
static int climb(const struct aperture *a, double *x, double *y)
{
    double gx = 0, gy = 0, hxx = 0, hxy = 0, hyy = 0;
    shift_tables(a, *x, *y);
    for (int j = 0; j < a->h; j++)
        for (int i = 0; i < a->bins; i++) {
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
    double det = hxx * hyy - hxy * hxy;
    if (!(det > 0 && hxx < 0)) return 0;
    double dx = (hxy * gy - hyy * gx) / det / (2 * PI);
    double dy = (hxy * gx - hxx * gy) / det / (2 * PI);
    double norm = atomdl_sqrt(dx * dx + dy * dy);
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

/* filter <- transfer(probe) source(k) exp(i phase) / transfer(stamp) */
static void incoherent_fill(const atomdl_probe *p, const struct aperture *a)
{
    size_t n = (size_t)p->bins * (size_t)p->gh;
    double unit = 1 / (double)a->tr[0];
    int bins = p->bins < a->bins ? p->bins : a->bins;
    memset(p->re, 0, n * sizeof *p->re);
    memset(p->im, 0, n * sizeof *p->im);
    for (int j = 0; j < a->h; j++) {
        int row = j <= a->h / 2 ? j : p->gh - a->h + j;
        if (row < 0 || row >= p->gh || (j <= a->h / 2 && j > p->gh / 2))
            continue;
        float *re = p->re + (size_t)row * (size_t)p->bins;
        float *im = p->im + (size_t)row * (size_t)p->bins;
        const float *tr = a->tr + (size_t)j * (size_t)a->bins;
        const float *ti = a->ti + (size_t)j * (size_t)a->bins;
        for (int i = 0; i < bins; i++) {
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
        status = atomdl_fft_real(&(atomdl_bins){a.tr, a.ti, a.bins}, a.p, a.w,
                                 a.w, a.h, arena);
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
    p = p * weight;
    for (int i = 0; i < TAPS; i++, p = p * r) g[i] = (float)(c->bell[i] * p);
}

static void stamp(const struct canvas *c, double x, double y, double weight)
{
    const atomdl_probe *p = c->probe;
    double u = (x / p->pixel - 0.5) * p->over + p->margin;
    double v = (y / p->pixel - 0.5) * p->over + p->margin;
    double fu = atomdl_floor(u), fv = atomdl_floor(v);
    if (!(fu >= 0 && fu < p->gw && fv >= 0 && fv < p->gh)) return;
    float gx[TAPS];
    stamp_axis(gx, c, u - fu, 1);
    float gy[TAPS];
    stamp_axis(gy, c, v - fv, weight);
    for (int j = 0; j < TAPS; j++) {
        float *row = c->px + ((size_t)fv + (size_t)j) * c->pitch + (size_t)fu;
        for (int i = 0; i < TAPS; i++) {
            float t = gy[j] * gx[i];
            row[i] = row[i] + t;
        }
    }
}

/* Adds the columns and rows beyond the grid to its beginning. */
static void fold(const struct canvas *c)
{
    size_t w = (size_t)c->probe->gw, h = (size_t)c->probe->gh;
    for (size_t j = 0; j < h + TAPS; j++)
        for (size_t i = 0; i < TAPS; i++)
            c->px[j * c->pitch + i] = c->px[j * c->pitch + i]
                                      + c->px[j * c->pitch + w + i];
    for (size_t j = 0; j < TAPS; j++)
        for (size_t i = 0; i < w; i++)
            c->px[j * c->pitch + i] = c->px[j * c->pitch + i]
                                      + c->px[(h + j) * c->pitch + i];
}

/* weight(n): cross-section times the atom's own weight */
static void weigh(double *weight, const atomdl_atom *atom, size_t n,
                  const atomdl_optics *o)
{
    double sigma[119];
    for (int z = 0; z < 119; z++) sigma[z] = -1;
    for (size_t i = 0; i < n; i++) {
        int z = atom[i].element < 119 ? atom[i].element : 0;
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
    if (status || !key) return status;
    for (size_t i = 0; i < n; i++) {
        key[i] = (double)atom[i].column;
        more[i] = 0;
    }
    status = atomdl_sort(order, key, n, scratch);
    for (size_t i = 1; !status && i < n; i++) {
        size_t a = order[i - 1], b = order[i];
        double x = atom[a].x - atom[b].x, y = atom[a].y - atom[b].y;
        if (atom[a].column != atom[b].column
            || atom[a].column == UINT32_MAX || !(x * x + y * y < 0.25))
            continue;
        double t = weight[a] * weight[b];
        t = t > 0 ? (stack - 1) * atomdl_sqrt(t) : 0;
        more[a] = more[a] + t;
        more[b] = more[b] + t;
    }
    for (size_t i = 0; i < n; i++) weight[i] = weight[i] + more[i];
    return status;
}

static int atoms_sound(const atomdl_atom *atom, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!in_range(atom[i].x, -1e7, 1e7) || !in_range(atom[i].y, -1e7, 1e7)
            || !in_range((double)atom[i].weight, -1e6, 1e6))
            return 0;
    return 1;
}

static void filter(float *re, float *im, const atomdl_probe *p)
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
static int draw(struct canvas *c, const atomdl_atom *atom, size_t n,
                const atomdl_optics *o, atomdl_arena *arena)
{
    size_t rows = (size_t)c->probe->gh + TAPS;
    c->pitch = (size_t)c->probe->gw + TAPS;
    c->px = atomdl_alloc(arena, rows * c->pitch, sizeof(float));
    size_t used = arena->used;
    double *weight = atomdl_alloc(arena, n, sizeof *weight);
    int status = atomdl_arena_status(arena);
    if (!status && weight) weigh(weight, atom, n, o);
    if (!status && o->stack != 1)
        status = enhance(weight, atom, n, o->stack, arena);
    arena->used = used;
    if (status || !c->px || (n && !weight)) return status;
    memset(c->px, 0, rows * c->pitch * sizeof(float));
    for (size_t i = 0; i < TAPS; i++) {
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
    int status = draw(&c, atoms, n, optics, arena);
    float *re = atomdl_alloc(arena, m, sizeof *re);
    float *im = atomdl_alloc(arena, m, sizeof *im);
    if (!status) status = atomdl_arena_status(arena);
    if (!status)
        status = atomdl_fft_real(&(atomdl_bins){re, im, probe->bins}, c.px,
                                 (int)c.pitch, probe->gw, probe->gh, arena);
    if (!status && re && probe->re) filter(re, im, probe);
    if (!status)
        status = atomdl_fft_real_back(c.px, (int)c.pitch,
                                      &(atomdl_bins){re, im, probe->bins},
                                      probe->gw, probe->gh, arena);
    if (!status && re && image->px) copy_field(image, &c);
    arena->used = used;
    return status;
}

/* ---------- Images: scan -------------------------------------------------- */

static int waves_sound(const atomdl_wave *wave)
{
    for (int i = 0; i < ATOMDL_WAVES; i++)
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
    int ok = waves_sound(s->wave);
    for (int i = 0; i < 2; i++)
        ok &= in_range(s->drift[i], -1e4, 1e4)
              && in_range(s->bend[i], -1e4, 1e4)
              && in_range(s->hum[i], -100, 100);
    return ok && in_range(s->jitter, 0, 100) && in_range(s->cycles, 0, 1e3)
           && in_range(s->phase, -1e3, 1e3) && in_range(s->flyback, 0, 100);
}

int atomdl_scan_atoms(atomdl_atom *atoms, size_t n, const atomdl_scan *scan,
                      int h, double pixel)
{
    if (h < 1 || !in_range(pixel, 1e-3, 10) || !scan_sound(scan)
        || !atoms_sound(atoms, n))
        return ATOMDL_EARG;
    for (size_t i = 0; i < n; i++) {
        double x = atoms[i].x, y = atoms[i].y, t = y / (h * pixel);
        double dx = t * (scan->drift[0] + scan->bend[0] * t);
        double dy = t * (scan->drift[1] + scan->bend[1] * t);
        for (int k = 0; k < ATOMDL_WAVES; k++) {
            const atomdl_wave *v = &scan->wave[k];
            if (v->ax == 0 && v->ay == 0) continue;
            double s = atomdl_sin(v->kx * x + v->ky * y + v->phase);
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
        float t = weight[j] * line[(size_t)limit(i + j, n) * stride];
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
    for (int i = 0; i < n + 5; i++) padded[i] = row[limit(i + first, n)];
    for (int i = 0; i < n; i++) row[i] = 0;
    for (int j = 0; j < 6; j++)
        for (int i = 0; i < n; i++) row[i] = row[i] + weight[j] * padded[i + j];
}

/* sine(w) of the vibration at each pixel of row y: turned on step by step */
static void hum_row(double *sine, const atomdl_scan *scan, int w, int y)
{
    double step = 2 * PI * scan->cycles / (w * (1 + scan->flyback));
    double start = scan->cycles * y;
    double cd = atomdl_cos(step), sd = atomdl_sin(step);
    start = scan->phase + 2 * PI * (start - atomdl_floor(start));
    double c = atomdl_cos(start);
    double s = atomdl_sin(start);
    for (int x = 0; x < w; x++) {
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
    for (int y = 0; y < image->h; y++) {
        float *row = image->px + (size_t)y * w;
        hum_row(sine, scan, image->w, y);
        for (int x = 0; ay != 0 && x < image->w; x++)
            row[x] = six_points(from + x, w, y, image->h, ay * sine[x]);
        if (ax == 0) continue;
        memcpy(line, row, w * sizeof *line);
        for (int x = 0; x < image->w; x++)
            row[x] = six_points(line, 1, x, image->w, ax * sine[x]);
    }
}

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
    for (int y = 0; y < m->h; y++) {
        float *row = m->px + (size_t)y * (size_t)m->w;
        double level = d->background + d->tilt[1] * ((y + 0.5) / m->h - 0.5);
        for (int x = 0; x < m->w; x++) {
            double t = d->tilt[0] * ((x + 0.5) / m->w - 0.5);
            row[x] = (float)((double)row[x] + (level + t));
        }
        for (int k = 0; k < ATOMDL_WAVES; k++) {
            const atomdl_wave *v = &d->wave[k];
            double step = v->kx * pixel;
            if (v->ax == 0) continue;
            double c = v->kx * pixel / 2 + v->ky * pixel * (y + 0.5) + v->phase;
            double s = v->ax * atomdl_sin(c);
            c = v->ax * atomdl_cos(c);
            double cd = atomdl_cos(step);
            double sd = atomdl_sin(step);
            for (int x = 0; x < m->w; x++) {
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
    for (int k = 0; k < LARGEST; k++) {
        t->cdf[j][k] = sum * 0x1p32 >= 0x1.fffffffep31
                           ? 0xffffffffu
                           : (uint32_t)(sum * 0x1p32);
        p = p * (j / 4.0 / (k + 1));
        sum = sum + p;
    }
    for (int k = 0, g = 0; g < GUIDES; g++) {
        while (k < LARGEST - 1 && t->cdf[j][k] <= (uint32_t)g << 26) k++;
        t->guide[j][g] = (unsigned char)k;
    }
    t->filled[j] = 1;
}

static double poisson_rest(atomdl_rng *rng, double m)
{
    double u = ((double)atomdl_rng_u32(rng) + 0.5) * 0x1p-32;
    int k = 0;
    if (u < 1 - m) return 0; /* exp(-m) is not less */
    double p =
        1
        - m
              * (1
                 - m / 2
                       * (1
                          - m / 3
                                * (1
                                   - m / 4
                                         * (1
                                            - m / 5
                                                  * (1
                                                     - m / 6 * (1 - m / 7))))));
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

static void count(float *px, size_t n, double counts, atomdl_rng *rng,
                  struct poisson *table)
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

/* Gaussian blur, cut at 4 sigma, edges repeated; line (w + 2 BLUR), from (w
   h): scratch. Taps are added in rising order, rows first. */
enum { BLUR = 32 };

static void blur(atomdl_image *m, double sigma, float *line, float *from)
{
    int r = (int)(4 * sigma) + 1, w = m->w;
    double sum = 0;
    r = r > BLUR ? BLUR : r;
    double e[2 * BLUR + 3];
    for (int k = -r; k <= r; k++) {
        e[k + r] = atomdl_exp(-(double)k * k / (2 * sigma * sigma));
        sum = sum + e[k + r];
    }
    float tap[2 * BLUR + 3];
    for (int k = 0; k <= 2 * r; k++) tap[k] = (float)(e[k] / sum);
    for (int y = 0; y < m->h; y++) {
        const float *row = m->px + (size_t)y * (size_t)w;
        float *to = from + (size_t)y * (size_t)w;
        for (int x = 0; x < w + 2 * r; x++) line[x] = row[limit(x - r, w)];
        memset(to, 0, (size_t)w * sizeof *to);
        for (int k = 0; k <= 2 * r; k++)
            for (int x = 0; x < w; x++) to[x] = to[x] + tap[k] * line[x + k];
    }
    for (int y = 0; y < m->h; y++) {
        float *to = m->px + (size_t)y * (size_t)w;
        memset(to, 0, (size_t)w * sizeof *to);
        for (int k = -r; k <= r; k++) {
            const float *row = from + (size_t)limit(y + k, m->h) * (size_t)w;
            for (int x = 0; x < w; x++) to[x] = to[x] + tap[k + r] * row[x];
        }
    }
}

/* Counting and read noise, and the smoothing of both together. */
static void add_noise(atomdl_image *m, const atomdl_detector *d,
                      double counts, atomdl_rng *rng, struct poisson *table,
                      float *line, float *from, float *clean)
{
    size_t n = (size_t)m->w * (size_t)m->h;
    if (d->smooth > 0) memcpy(clean, m->px, n * sizeof *clean);
    if (counts > 0) count(m->px, n, counts, rng, table);
    if (d->read > 0) read_noise(m->px, n, d->read, rng);
    if (d->smooth <= 0) return;
    for (size_t i = 0; i < n; i++) m->px[i] = m->px[i] - clean[i];
    blur(m, d->smooth, line, from);
    for (size_t i = 0; i < n; i++) m->px[i] = clean[i] + m->px[i];
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
static void finish(atomdl_image *m, const atomdl_detector *d, float *line,
                   float *from)
{
    size_t n = (size_t)m->w * (size_t)m->h;
    float gain = d->gain != 0 ? (float)d->gain : 1;
    float offset = (float)d->offset;
    for (size_t i = 0; (gain != 1 || offset != 0) && i < n; i++) {
        float t = m->px[i] * gain;
        m->px[i] = t + offset;
    }
    if (d->blur > 0) blur(m, d->blur, line, from);
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

int atomdl_detect(atomdl_image *image, const atomdl_detector *detector,
                  double pixel, atomdl_rng *rng, atomdl_arena *arena)
{
    const atomdl_detector *d = detector;
    size_t n = (size_t)image->w * (size_t)image->h, used = arena->used;
    double counts = d->dose > 0 ? d->dose * pixel * pixel : d->counts;
    int soft = d->smooth > 0 || d->blur > 0;
    if (image->c != 1 || image->w < 1 || image->h < 1
        || !in_range(pixel, 1e-3, 10) || !detector_sound(d))
        return ATOMDL_EARG;
    struct poisson *table =
        atomdl_alloc(arena, counts > 0, even(sizeof *table));
    float *line =
        atomdl_alloc(arena, (size_t)image->w + 2 * BLUR, sizeof *line);
    float *from = atomdl_alloc(arena, soft ? n : 0, sizeof *from);
    float *clean = atomdl_alloc(arena, d->smooth > 0 ? n : 0, sizeof *clean);
    int status = atomdl_arena_status(arena);
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
    const struct recipe_key *key; /* what is written: entry i of this key */
    int i;
} sink;

/* The bound keeps compilers from calling strlen, which a bare machine may not
   have. */
static size_t text_length(const char *text)
{
    size_t n = 0;
    while (n < 0x7fffffff && text[n]) n++;
    return n;
}

static words words_of(const char *text)
{
    return (words){text, text_length(text)};
}

static void put(sink *out, const char *s)
{
    for (; *s; s++, out->n++) {
        if (out->n + 1 < out->size) out->text[out->n] = *s;
        out->digest = atomdl_digest_bytes(out->digest, s, 1);
    }
}

static void put_all(sink *out, const char *a, const char *b, const char *c)
{
    put(out, a);
    put(out, b);
    put(out, c);
}

/* The next line without its comment and the blanks around it; 0: no more. */
static int take_line(words *line, words *rest)
{
    size_t i = 0;
    if (!rest->n) return 0;
    while (i < rest->n && rest->s[i] != '\n') i++;
    line->s = rest->s;
    size_t n;
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
    memset(out, 0, size);
    if (w.n >= size) return 0;
    for (size_t i = 0; i < w.n; i++)
        out[i] = (char)(fold && w.s[i] >= 'A' && w.s[i] <= 'Z' ? w.s[i] + 32
                                                                : w.s[i]);
    return 1;
}

/* m 10^e: m below 10^15 and |e| <= 22, so that it is rounded but once */
static double decimal_value(double m, int e)
{
    double p = 1;
    for (int i = e < 0 ? -e : e; i; i--) p *= 10;
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
    if (!parse_number(v, w.s, w.n) || !(absolute(*v) < 1e20)) return 0;
    int power;
    double m = fifteen(absolute(*v), 14, &power);
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
    double m = 0, a = absolute(v), back;
    int power = 0, digits = 0, i = (int)sizeof text - 1, written = 0;
    do {
        m = fifteen(a, digits, &power);
        back = decimal_value(m, power);
    } while (back != a && !(single && (float)back == (float)a)
             && ++digits < 15);
    text[i] = 0;
    for (; power > 0; power--) text[--i] = '0';
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
} FORM[ATOMDL_DISTS] = {
    {"", 1, 1}, {"", 2, 2}, {"log", 2, 2}, {"normal", 2, 2},
    {"poisson", 1, 1}, {"choice", 1, ATOMDL_CHOICES},
};

/* "^0.6", "A..B", a number: the values of a distribution; 0: none of them */
static int dist_value(atomdl_dist *d, words w)
{
    if (*w.s == '^') {
        w.s++;
        w.n--;
        return (d->kind == ATOMDL_DIST_LOG || d->kind == ATOMDL_DIST_UNIFORM)
               && read_number(&d->exponent, w) && d->exponent > 0
               && d->exponent <= 100;
    }
    double a, b;
    if (read_range(&a, &b, w)) {
        if (!(a <= b)) return 0;
        if (d->kind == ATOMDL_DIST_NORMAL && d->n == 2) {
            d->low = d->low > a ? d->low : a;
            d->high = d->high < b ? d->high : b;
            return d->low <= d->high;
        }
        if (d->kind == ATOMDL_DIST_CONSTANT) d->kind = ATOMDL_DIST_UNIFORM;
        if (d->n || (d->kind != ATOMDL_DIST_UNIFORM
                     && d->kind != ATOMDL_DIST_LOG))
            return 0;
        d->v[d->n++] = a;
        d->v[d->n++] = b;
        return 1;
    }
    return d->n < ATOMDL_CHOICES && read_number(&d->v[d->n++], w);
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

/* NULL, a reason, or "": not within low...high */
static const char *dist_parse(atomdl_dist *d, words text)
{
    const char *bad = TEXT("not a distribution");
    double least = d->low, most = d->high;
    memset(d->v, 0, sizeof d->v);
    d->kind = d->n = 0;
    d->chance = 100;
    d->exponent = 1;
    words w;
    if (!take_word(&w, &text)) return TEXT("no value");
    words part;
    if (w.s[w.n - 1] == '%') {
        part = w;
        part.n--;
        if (!read_number(&d->chance, part)) return bad;
        if (!(d->chance >= 0 && d->chance <= 100))
            return TEXT("a chance lies in 0%..100%");
        if (!take_word(&w, &text)) return TEXT("no value");
    }
    for (int kind = ATOMDL_DIST_LOG; kind < ATOMDL_DISTS; kind++)
        if (same_word(w, FORM[kind].name)) d->kind = (u8)kind;
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
    const char *why = dist_parse(d, (words){text, n});
    return why && !*why ? TEXT("out of range") : why;
}

static void dist_print(sink *out, const atomdl_dist *d, double none,
                       double least, double most)
{
    int range = d->kind == ATOMDL_DIST_UNIFORM || d->kind == ATOMDL_DIST_LOG;
    if (d->chance < 100) {
        put_value(out, d->chance, 0);
        put(out, "% ");
    }
    put(out, FORM[d->kind].name);
    for (int i = 0; i < d->n; i++) {
        put(out, i ? range ? ".." : " " : *FORM[d->kind].name ? " " : "");
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
    double x = d->v[0];
    if (d->chance < 100 && !(atomdl_rng_uniform64(rng) * 100 < d->chance))
        return d->other;
    float z;
    if (d->kind == ATOMDL_DIST_UNIFORM || d->kind == ATOMDL_DIST_LOG) {
        double u = atomdl_rng_uniform64(rng);
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

typedef struct recipe_key {
    const char *name; /* NULL: help is the title of a section */
    u8 kind;
    size_t offset;
    double least, most, none; /* none: what leaves the image as it is */
    const char *value;        /* the default, as text */
    const char *help;
} recipe_key;

enum { /* of values; from REPEATED on lines add to one another */
    KIND_INT, KIND_U32, KIND_U64, KIND_REAL, KIND_FLOAT, KIND_SIZE,
    KIND_VECTORS, KIND_CLASS_WEIGHTS, KIND_DIST, KIND_SCALING, KIND_OPTIMISER,
    KIND_SCHEDULE, KIND_INITIAL, KIND_TEXT, KIND_MATERIALS, KIND_ELEMENT,
    KIND_DEFECTS, KIND_NETWORK, KIND_REPEATED,
    KIND_BASIS = KIND_REPEATED, KIND_ALLOY, KIND_PLACE, KIND_SCATTER,
    KIND_WEIGHT, KIND_EVENT, KIND_CLASS, KIND_ROW
};

#define KEY(name, kind, field, least, most, none, value, help) \
    {name, kind, offsetof(atomdl_recipe, field), least, most, none, value, \
     TEXT(help)}
#define DIST(field, least, most, none, value, help) \
    KEY(#field, KIND_DIST, field, least, most, none, value, help)
/* field seed: the whole recipe, which begins with it */
#define TITLE(help) {NULL, 0, 0, 0, 0, 0, NULL, TEXT(help)}

static const recipe_key KEYS[] = {
    TITLE("Images"),
    KEY("seed", KIND_U64, seed, 0, 999999999999999, 0, "1",
        "sample i is a function of recipe, seed and i"),
    KEY("size", KIND_SIZE, w, 8, 32768, 0, "128", "px: side, or width height"),
    DIST(pixel, 0.02, 1, 0.15625, "0.15625", "A per px"),
    DIST(scan, 0, 1, 0, "0",
        "A per px of the scan, resampled to pixel; 0: pixel"),
    KEY("scaling", KIND_SCALING, scaling, 0, 0, 0, "percentile",
        "for the network: minmax, std, percentile or level"),
    TITLE("Lattice"),
    KEY("material", KIND_MATERIALS, seed, 0, 1e6, 0, "graphene",
        "NAME[:WEIGHT]..., one of them a sample"),
    KEY("vectors", KIND_VECTORS, lattice, -100, 100, 0, "",
        "A: ax ay bx by of the user's lattice"),
    KEY("basis", KIND_BASIS, seed, -100, 100, 0, "",
        "its atoms: ELEMENT u v [z in A]; equal u v: one column"),
    KEY("xyz", KIND_TEXT, xyz, 0, 128, 0, "", "a file of atoms instead"),
    DIST(rotation, -360, 360, 0, "0..360", "degrees"),
    DIST(scale, 0.8, 1.2, 1, "1", "of all lengths"),
    DIST(shear, -0.1, 0.1, 0, "0", "in both components"),
    DIST(distortion, -2, 2, 0, "0", "A in x and y of two smooth waves"),
    DIST(distortion_k, -1, 1, 0, "normal 0 0.04",
        "1/A, their wave vectors over 2 pi, x and y"),
    DIST(thermal, 0, 0.5, 0, "0.05",
        "A, rms in x and in y, part of the truth"),
    DIST(boundary, 0, 90, 0, "0", "degrees between two grains; 0: one grain"),
    DIST(step, 0, 1, 0, "0",
        "1: two of the materials on one lattice, side by side"),
    DIST(wave, 0, 50, 0, "0", "A, amplitude of that line"),
    DIST(wavelength, 5, 1000, 40, "20..60", "A"),
    DIST(hole, 0, 100, 0, "0", "A, its radius; 0: none"),
    DIST(edge, 0, 1, 0, "0", "1: vacuum beyond a line"),
    KEY("alloy", KIND_ALLOY, seed, 0, 1, 0, "",
        "FROM TO FRACTION: that part of an element is another one"),
    TITLE("Defects"),
    KEY("defects", KIND_DEFECTS, drawing, 0, 1e6, 0, "",
        "KIND[:WEIGHT]..., drawn without overlap"),
    DIST(count, 0, 10000, 0, "0", "of them in a sample"),
    DIST(crowd, 0, 10, 0, "0", "or of them in 100 A2"),
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
    KEY("place", KIND_PLACE, seed, 0, 1e5, 0, "",
        "KIND [ELEMENT] x y [TURN]: one near (x, y) A, turned by 60 degrees\n"
        "# TURN times, mirrored from 6 on"),
    KEY("scatter", KIND_SCATTER, seed, 0, 1, 0, "",
        "KIND [ELEMENT] FRACTION: at each site by itself"),
    DIST(clouds, 0, 8, 0, "0", "number of clouds of amorphous carbon"),
    DIST(cloud_sigma, 0.5, 200, 5, "1.5..7", "A"),
    DIST(cloud_atoms, 0, 10000, 0, "0..120", "atoms of a cloud"),
    DIST(cloud_height, 0, 200, 0, "0", "or A, thickness of its centre"),
    DIST(cloud_core, 0, 2, 0, "0", "A between its atoms at least, as 1.3"),
    DIST(cloud_weight, 0, 10, 1, "1", "of its atoms' signal"),
    KEY("event", KIND_EVENT, dynamics, 0, 100, 0, "",
        "movies: FROM TO P a frame; FROM may be none, TO none, hop or turn"),
    DIST(movie_drift, -10, 10, 0, "normal 0 0.1",
        "movies: A a frame, in x and y"),
    TITLE("Optics"),
    KEY("gaussian", KIND_REAL, gaussian, 0, 1, 0, "0",
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
    KEY("weight", KIND_WEIGHT, seed, 0.01, 1000, 1, "",
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
    KEY("contrast", KIND_REAL, contrast, 0.01, 10, 0, "1.57",
        "which density refers to (graphene, carbon to hollow)"),
    DIST(read_share, 0, 1, 0, "0", "of density's variance is Gaussian"),
    DIST(dose, 0, 1e12, 0, "0", "or e/A2; 0 both: no counting noise"),
    DIST(read, 0, 100, 0, "0", "Gaussian noise beside dose"),
    DIST(smooth, 0, 1, 0, "0", "px: of the noise alone"),
    DIST(blur, 0, 8, 0, "0", "px: of the image"),
    DIST(saturation, 0.5, 1, 1, "1",
        "part of the pixels that are not clipped"),
    DIST(gamma, 0.2, 5, 1, "1", ""),
    KEY("bits", KIND_INT, bits, 0, 16, 0, "0", "8, 16 or 0: not rounded"),
    TITLE("Labels: a class's number is its place; later rules paint over"),
    KEY("class", KIND_CLASS, seed, 0, 100, 0, "",
        "NAME [atom E|any [in DEFECT] RADIUS | column NAME|any [in DEFECT] "
        "RADIUS\n# | defect KIND|any RADIUS | region MATERIAL | thickness "
        "A..B], in A"),
    TITLE("Augmentation of image and labels"),
    KEY("dihedral", KIND_INT, dihedral, 0, 1, 0, "1",
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
    KEY("network", KIND_NETWORK, network, 0, 4096, 0, "fcn 8 16 32",
        "fcn W..., unet N, resunet N [K [bottleneck [DROPOUT]]]"),
    KEY("row", KIND_ROW, network, 0, 4096, 0, "", "or row by row"),
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

   Each kind reads a value's text into its field (NULL, the reason, or "": not
   within least...most) and, beside it, writes entry out->i of the field as
   text (0: there is none; only repeated kinds are asked for more than 0). */

static int words_left(words text)
{
    words w;
    return take_word(&w, &text);
}

static int within(double v, const recipe_key *key)
{
    return v >= key->least && v <= key->most;
}

/* n numbers; 0: not so */
static int take_numbers(double *v, int n, words *text)
{
    words w;
    for (; n > 0; n--)
        if (!take_word(&w, text) || !read_number(v++, w)) return 0;
    return 1;
}

/* of numbers: int, u32, U64, float or double; how many; what is wrong if not */
static const struct {
    char type;
    u8 least, most;
    const char *why;
} NUMBERS[] = { /* in the order of KIND_INT... */
    {'i', 1, 1, TEXT("not a number")}, {'u', 1, 1, TEXT("not a number")},
    {'U', 1, 1, TEXT("not a number")}, {'d', 1, 1, TEXT("not a number")},
    {'f', 1, 1, TEXT("not a number")}, {'i', 1, 2, TEXT("one or two numbers")},
    {'d', 4, 4, TEXT("four numbers: ax ay bx by")},
    {'f', 0, ATOMDL_CLASSES, TEXT("too many classes")},
};

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
static const char *parse_numbers(void *field, words text,
                                 const recipe_key *key)
{
    char type = NUMBERS[key->kind].type;
    int n, most = NUMBERS[key->kind].most;
    double v = 0;
    words w;
    for (n = 0; take_word(&w, &text); n++) {
        if (n == most) return NUMBERS[key->kind].why;
        if (!read_number(&v, w)) return TEXT("not a number");
        if (!within(v, key)) return "";
        if (type != 'd' && type != 'f' && v != atomdl_floor(v))
            return TEXT("not a whole number");
        set_number(field, n, type, v);
    }
    if (n < NUMBERS[key->kind].least) return NUMBERS[key->kind].why;
    if (key->kind != KIND_SIZE) v = 0;
    for (; n < most; n++) set_number(field, n, type, v);
    return NULL;
}

static int print_numbers(sink *out, const void *field)
{
    int kind = out->key->kind, n = NUMBERS[kind].most;
    char type = NUMBERS[kind].type;
    double left = kind == KIND_SIZE ? number_at(field, 0, type) : 0;
    int some = kind < KIND_VECTORS;
    while (n > NUMBERS[kind].least && number_at(field, n - 1, type) == left)
        n--;
    for (int i = 0; i < n; i++) {
        put(out, i ? " " : "");
        put_value(out, number_at(field, i, type), type == 'f');
        some |= number_at(field, i, type) != 0;
    }
    return some;
}

/* Entry i of a repeated key has a stream of its own. */
static const char *parse_entry(atomdl_dist *d, words text,
                               const recipe_key *key, int i)
{
    memset(d, 0, sizeof *d);
    d->low = key->least;
    d->high = key->most;
    d->other = key->none;
    d->stream = (u64)i + atomdl_digest_bytes(ATOMDL_DIGEST, key->name,
                                             text_length(key->name));
    return dist_parse(d, text);
}

static const char *parse_dist(void *field, words text, const recipe_key *key)
{
    return parse_entry(field, text, key, 0);
}

static int print_dist(sink *out, const void *field)
{
    dist_print(out, field, out->key->none, out->key->least, out->key->most);
    return 1;
}

/* one of these words, as its number in an int */
static const char *const CHOICE[][5] = {
    {"minmax", "std", "percentile", "level", NULL},
    {"sgd", "adam", NULL},
    {"constant", "step", "cosine", NULL},
    {"he", "glorot", NULL},
};

static const char *parse_choice(void *field, words text, const recipe_key *key)
{
    const char *const *name = CHOICE[key->kind - KIND_SCALING];
    int i = 0;
    while (name[i] && !same_word(text, name[i])) i++;
    if (!name[i]) return key->help;
    *(int *)field = i;
    return NULL;
}

static int print_choice(sink *out, const void *field)
{
    put(out, CHOICE[out->key->kind - KIND_SCALING][*(const int *)field]);
    return 1;
}

/* text of a length as `most` says */
static const char *parse_text(void *field, words text, const recipe_key *key)
{
    return copy_word(field, (size_t)key->most, text, 0) ? NULL
                                                        : TEXT("too long");
}

static int print_text(sink *out, const void *field)
{
    const char *s = field;
    put(out, s);
    return *s != 0;
}

/* NAME[:WEIGHT] */
static const char *parse_weighted(char *name, size_t size, double *weight,
                                  words w, const recipe_key *key)
{
    words number = w;
    for (w.n = 0; w.n < number.n && number.s[w.n] != ':';) w.n++;
    *weight = 1;
    if (w.n < number.n) {
        number.s += w.n + 1;
        number.n -= w.n + 1;
        if (!read_number(weight, number)) return TEXT("NAME or NAME:WEIGHT");
        if (!within(*weight, key)) return TEXT("a weight is not negative");
    }
    return copy_word(name, size, w, 1) ? NULL : TEXT("no such name");
}

static void print_weighted(sink *out, int first, const char *name,
                           double weight, int single)
{
    put(out, first ? "" : " ");
    put(out, name);
    if (weight == 1) return;
    put(out, ":");
    put_value(out, weight, single);
}

static const char *parse_materials(void *field, words text,
                                   const recipe_key *key)
{
    atomdl_recipe *r = field;
    int n = 0;
    memset(r->material, 0, sizeof r->material);
    atomdl_lattice any;
    words w;
    for (; take_word(&w, &text); n++) {
        if (n == ATOMDL_MATERIALS) return TEXT("too many");
        const char *why = parse_weighted(r->material[n], sizeof r->material[n],
                                         &r->share[n], w, key);
        if (why) return why;
        if (atomdl_lattice_find(&any, r->material[n]))
            return TEXT("graphene, graphene-ab, graphene-aa, h-bn, h-bn-2 or "
                        "{mos2,mose2,ws2,wse2}-{2h,3r,1t}-{1,2,3}");
    }
    r->materials = n;
    return NULL;
}

static int print_materials(sink *out, const void *field)
{
    const atomdl_recipe *r = field;
    for (int j = 0; j < r->materials; j++)
        print_weighted(out, !j, r->material[j], r->share[j], 0);
    return 1;
}

static int has_vectors(const atomdl_lattice *l)
{
    return l->a[0] != 0 || l->a[1] != 0 || l->b[0] != 0 || l->b[1] != 0;
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

static const char *parse_element(void *field, words text,
                                 const recipe_key *key)
{
    (void)key;
    return take_element(field, &text) && !words_left(text)
               ? NULL : TEXT("not an element");
}

static int print_element(sink *out, const void *field)
{
    const u8 *z = field;
    put_element(out, *z);
    return *z;
}

static const char *parse_defects(void *field, words text,
                                 const recipe_key *key)
{
    atomdl_drawing *d = field;
    memset(d->weight, 0, sizeof d->weight);
    char name[20];
    double weight;
    words w;
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

static int print_defects(sink *out, const void *field)
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

/* ---------- Recipes: kinds of lines ---------------------------------------

   Keys that may stand in several lines: arrays of small structures. FIELDS
   says what a line holds: E, K, N, B, D an element, a kind of defect, a
   number, a whole number 0..11, a distribution (the rest of the line); small
   letters may be left out: 0. */

#define LINES(array, count, least_kind, form, fields, ...) \
    {offsetof(atomdl_recipe, array), offsetof(atomdl_recipe, count), \
     sizeof ((atomdl_recipe *)0)->array[0], \
     sizeof ((atomdl_recipe *)0)->array \
         / sizeof ((atomdl_recipe *)0)->array[0], \
     least_kind, TEXT(form), fields, {__VA_ARGS__}}
#define AT(member) offsetof(atomdl_recipe, member)

static const struct {
    size_t array, count, size, most;
    int least_kind;
    const char *form, *fields;
    size_t at[5]; /* of the fields of entry 0 */
} LINE[] = { /* in the order of KIND_BASIS... */
    LINES(lattice.basis, lattice.n, 0, "ELEMENT u v [z]", "ENNn",
          AT(lattice.basis[0].element), AT(lattice.basis[0].u),
          AT(lattice.basis[0].v), AT(lattice.basis[0].z)),
    LINES(alloy, alloys, 0, "FROM TO FRACTION", "EED", AT(alloy[0].from),
          AT(alloy[0].to), AT(alloy[0].fraction)),
    LINES(place, places, 0, "KIND [ELEMENT] x y [TURN 0..11]", "KeNNb",
          AT(place[0].kind), AT(place[0].element), AT(place[0].x),
          AT(place[0].y), AT(place[0].operation)),
    LINES(scatter, scatters, ATOMDL_MOTIFS,
          "KIND [ELEMENT] FRACTION, KIND one of vx1 vx2 vm m-x m-x2 x-m x2-m "
          "sub-m sub-x sub-m-vx1", "KeD", AT(scatter[0].kind),
          AT(scatter[0].element), AT(scatter[0].fraction)),
    LINES(weight, weights, 0, "ELEMENT SIGNAL", "ED", AT(weight[0].element),
          AT(weight[0].signal)),
};

/* one field of a line; NULL, a reason, or "": not within limits */
static const char *parse_field(void *at, char f, words *text,
                               const recipe_key *key, int i)
{
    const char *form = LINE[key->kind - KIND_BASIS].form;
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
        return kind < LINE[key->kind - KIND_BASIS].least_kind ? form : NULL;
    }
    if (optional && !words_left(*text)) return NULL;
    double v;
    if (!take_numbers(&v, 1, text)) return form;
    if (f == 'B' && !(v >= 0 && v <= 11)) return form;
    if (f == 'B') *(u8 *)at = (u8)v;
    else *(double *)at = v;
    return within(v, key) ? NULL : "";
}

static const char *parse_line(void *field, words text, const recipe_key *key)
{
    int line = key->kind - KIND_BASIS;
    unsigned char *r = field;
    int *count = (int *)(void *)(r + LINE[line].count);
    size_t from = LINE[line].size * (size_t)*count;
    if ((size_t)*count == LINE[line].most) return TEXT("too many lines");
    memset(r + LINE[line].array + from, 0, LINE[line].size);
    for (int k = 0; LINE[line].fields[k]; k++) {
        const char *why = parse_field(r + LINE[line].at[k] + from,
                                      LINE[line].fields[k], &text, key, *count);
        if (why) return why;
    }
    if (words_left(text)) return LINE[line].form;
    ++*count;
    return NULL;
}

static int print_line(sink *out, const void *field)
{
    int line = out->key->kind - KIND_BASIS;
    const unsigned char *r = field;
    size_t from = LINE[line].size * (size_t)out->i;
    if (out->i >= *(const int *)(const void *)(r + LINE[line].count)) return 0;
    for (int k = 0; LINE[line].fields[k]; k++) {
        const void *at = r + LINE[line].at[k] + from;
        char f = LINE[line].fields[k];
        if ((f == 'e' || f == 'b') && !*(const u8 *)at) continue;
        if (f == 'n' && !(absolute(*(const double *)at) > 0)) continue;
        put(out, k ? " " : "");
        if (f == 'E' || f == 'e') put_element(out, *(const u8 *)at);
        else if (f == 'K') put(out, atomdl_defect_name(*(const u8 *)at));
        else if (f == 'b') put_value(out, *(const u8 *)at, 0);
        else if (f == 'D') print_dist(out, at);
        else put_value(out, *(const double *)at, 0);
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
    char name[20];
    if (!copy_word(name, sizeof name, w, 1)) return -1;
    int kind = atomdl_defect_find(name);
    int i;
    for (i = 1; i < d->states && d->kind[i] < kind; i++) {}
    if (kind >= 0 && i < d->states && d->kind[i] == kind) return i;
    if (kind < 0 || d->states == ATOMDL_STATES) return -1;
    add_state(d, i, kind);
    return i;
}

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

static int print_event(sink *out, const void *field)
{
    const atomdl_dynamics *d = field;
    int i = out->i;
    for (int from = 0; from < d->states; from++)
        for (int to = 0; to < d->states + 2; to++) {
            double p = to < d->states ? d->rate[from][to]
                       : to == d->states ? d->hop[from] : d->turn[from];
            if (!(p > 0) || i--) continue;
            put_all(out, from ? atomdl_defect_name(d->kind[from]) : "none",
                    " ", to == d->states ? "hop" : to > d->states ? "turn"
                         : to ? atomdl_defect_name(d->kind[to]) : "none");
            put(out, " ");
            put_value(out, p, 0);
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

static const char *parse_class(void *field, words text, const recipe_key *key)
{
    atomdl_recipe *r = field;
    atomdl_rule *rule = &r->rule[r->rules < ATOMDL_RULES ? r->rules : 0];
    words w;
    int c = 0, what = 0;
    (void)take_word(&w, &text);
    char name[16];
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
    put_all(out, " ", RULE[rule->what], " ");
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
static int print_class(sink *out, const void *field)
{
    const atomdl_recipe *r = field;
    int i = out->i;
    if (i >= r->classes + r->rules) return 0;
    const atomdl_rule *rule = &r->rule[i < r->classes ? 0 : i - r->classes];
    put(out, r->class_name[i < r->classes ? i : rule->class_id]);
    if (i >= r->classes) print_rule(out, rule);
    return 1;
}

/* rows, a line each, stand where a builder's words would */
static int has_rows(const char *network)
{
    size_t n = text_length(network);
    return n && network[n - 1] == '\n';
}

static int print_network(sink *out, const void *field)
{
    return print_text(out, field) && !has_rows(field);
}

static const char *parse_row(void *field, words text, const recipe_key *key)
{
    char *s = field;
    size_t n = has_rows(s) ? text_length(s) : 0;
    if ((double)(n + text.n + 2) > key->most) return TEXT("too many rows");
    memcpy(s + n, text.s, text.n);
    s[n + text.n] = '\n';
    s[n + text.n + 1] = 0;
    return NULL;
}

static int print_row(sink *out, const void *field)
{
    char one[2] = {0, 0};
    const char *s = field;
    int i = out->i;
    if (!has_rows(s)) return 0;
    for (; *s && i; s++) i -= *s == '\n';
    if (!*s) return 0;
    for (; *s != '\n'; s++) {
        one[0] = *s;
        put(out, one);
    }
    return 1;
}

static const struct {
    const char *(*parse)(void *, words, const recipe_key *);
    int (*print)(sink *, const void *);
} KINDS[] = { /* in the order of KIND_INT... */
    {parse_numbers, print_numbers}, {parse_numbers, print_numbers},
    {parse_numbers, print_numbers}, {parse_numbers, print_numbers},
    {parse_numbers, print_numbers}, {parse_numbers, print_numbers},
    {parse_numbers, print_numbers}, {parse_numbers, print_numbers},
    {parse_dist, print_dist}, {parse_choice, print_choice},
    {parse_choice, print_choice}, {parse_choice, print_choice},
    {parse_choice, print_choice}, {parse_text, print_text},
    {parse_materials, print_materials}, {parse_element, print_element},
    {parse_defects, print_defects}, {parse_text, print_network},
    {parse_line, print_line}, {parse_line, print_line},
    {parse_line, print_line}, {parse_line, print_line},
    {parse_line, print_line}, {parse_event, print_event},
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
    sink out = {0};
    if (!error) return ATOMDL_EARG;
    out.text = error->text;
    out.size = sizeof error->text;
    memset(error, 0, sizeof *error);
    error->line = line;
    put_all(&out, key, *key ? ": " : "", why);
    put(&out, more);
    return ATOMDL_EARG;
}

/* ": must lie in A..B" */
static int report_range(atomdl_recipe_error *error, int line,
                        const recipe_key *key)
{
    char text[64] = "";
    sink out = {0};
    out.text = text;
    out.size = sizeof text;
    put_value(&out, key->least, 0);
    put(&out, "..");
    put_value(&out, key->most, 0);
    return report(error, line, key->name, TEXT("must lie in "), text);
}

/* Letters to change, insert or leave out to make b of a; 99: too long. */
static int edits(words a, const char *b)
{
    int n = (int)text_length(b);
    if (a.n > 31 || n > 31) return 99;
    int row[32];
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 0; i < (int)a.n; i++) {
        int corner = row[0]++;
        for (int j = 0; j < n; j++) {
            int t = corner + (a.s[i] != b[j]);
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
    int least = 3;
    for (int k = 0; k < N_KEYS; k++) {
        if (!KEYS[k].name) continue;
        int d = edits(name, KEYS[k].name);
        if (d < least) near = KEYS[k].name, least = d;
    }
    char shown[24];
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
    size_t i;
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
    int k = find_key(name);
    if (k == N_KEYS) return report_unknown(error, line, name);
    const recipe_key *key = &KEYS[k];
    if (seen && seen[k] && key->kind < KIND_REPEATED)
        return report(error, line, key->name, TEXT("given twice"), "");
    if (seen) seen[k] = 1;
    if (!value.n) return report(error, line, key->name, TEXT("no value"), "");
    const char *why = KINDS[key->kind].parse(field_of(r, key), value, key);
    if (!why) return ATOMDL_OK;
    return *why ? report(error, line, key->name, why, "")
                : report_range(error, line, key);
}

void atomdl_recipe_default(atomdl_recipe *r)
{
    words value;
    memset(r, 0, sizeof *r);
#ifndef ATOMDL_NO_TRAIN
    r->plan = atomdl_plan_default();
#endif
    r->drawing.jitter[0] = 0.05;
    r->drawing.jitter[1] = 0.07;
    r->drawing.jitter[2] = 0.03;
    r->dynamics.states = 1;
    for (int k = 0; k < N_KEYS; k++) {
        if (!KEYS[k].name || !*KEYS[k].value) continue;
        value = words_of(KEYS[k].value);
        KINDS[KEYS[k].kind].parse(field_of(r, &KEYS[k]), value, &KEYS[k]);
    }
}

int atomdl_recipe_set(atomdl_recipe *r, atomdl_recipe_error *error,
                      const char *line)
{
    words rest = words_of(line), text;
    if (!take_line(&text, &rest) || !text.n)
        return report(error, 0, "", TEXT("not `key = value`"), "");
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

/* The lines of one key: "key = value". */
static void print_key(sink *out, const atomdl_recipe *r, const recipe_key *key)
{
    int i = 0;
    out->key = key;
    int more;
    do {
        sink before = *out;
        out->i = i++;
        put_all(out, key->name, " = ", "");
        more = KINDS[key->kind].print(out, field_in(r, key));
        if (!more) *out = before;
        else put(out, "\n");
    } while (more && key->kind >= KIND_REPEATED);
}

static void print_recipe(sink *out, const atomdl_recipe *r, int all)
{
    atomdl_recipe plain;
    atomdl_recipe_default(&plain);
    sink a;
    for (int k = 0; k < N_KEYS; k++) {
        const recipe_key *key = &KEYS[k];
        memset(&a, 0, sizeof a);
        a.digest = ATOMDL_DIGEST;
        sink b = a;
        if (!key->name && all)
            put_all(out, k ? "\n# " : "# ", key->help, "\n\n");
        if (!key->name) continue;
        print_key(&a, r, key);
        print_key(&b, &plain, key);
        if (all && *key->help) put_all(out, "# ", key->help, "\n");
        if (all && !a.n) put_all(out, "# ", key->name, " =\n");
        if (all || a.digest != b.digest) print_key(out, r, key);
    }
    if (out->size)
        out->text[out->n < out->size ? out->n : out->size - 1] = 0;
}

size_t atomdl_recipe_print(char *text, size_t size, const atomdl_recipe *r,
                           int all)
{
    sink out = {0};
    out.text = text;
    out.size = size;
    print_recipe(&out, r, all);
    return out.n;
}

/* Keys that came after recipes had been published count where they are set, so
   that the digests of those recipes stay. */
static int counts(const atomdl_recipe *r, const recipe_key *key)
{
    const atomdl_dist *late = &r->cloud_core;
    if (!key->name) return 0;
    return field_in(r, key) != (const void *)late
           || late->kind != ATOMDL_DIST_CONSTANT || late->v[0] > 0;
}

uint64_t atomdl_recipe_digest(const atomdl_recipe *r)
{
    sink out = {0};
    out.digest = ATOMDL_DIGEST;
    for (int k = 0; k < N_KEYS; k++)
        if (counts(r, &KEYS[k])) print_key(&out, r, &KEYS[k]);
    return out.digest;
}

/* Background and atom, where a recipe names no classes. */
static int classes_of(const atomdl_recipe *r)
{
    return r->classes ? r->classes : 2;
}

int atomdl_recipe_network(atomdl_arch *arch, atomdl_layer *row, int max,
                          const atomdl_recipe *r)
{
    double v[8] = {0};
    words text = words_of(r->network);
    int i, n = 0, bottleneck = 0;
    if (has_rows(r->network))
        return atomdl_arch_parse(arch, row, max, text.s, text.n, &i);
    words name;
    if (!take_word(&name, &text)) return ATOMDL_EARG;
    words w;
    while (take_word(&w, &text)) {
        if (same_word(w, "bottleneck") && n == 2) bottleneck = 1;
        else if (n == 8 || !read_number(&v[n++], w)) return ATOMDL_EARG;
    }
    int width[8];
    for (i = 0; i < n; i++) {
        if (!(v[i] >= 0 && v[i] <= ATOMDL_CHANNELS)) return ATOMDL_EARG;
        width[i] = (int)v[i];
    }
    if (same_word(name, "fcn") && n)
        return atomdl_fcn(arch, row, max, width, n, classes_of(r));
    if (same_word(name, "unet") && n == 1)
        return atomdl_unet(arch, row, max, width[0], classes_of(r));
    if (same_word(name, "resunet") && n >= 1 && n <= 3)
        return atomdl_resunet(arch, row, max,
                              &(atomdl_residual){width[0],
                                                 n > 1 ? width[1] : 3,
                                                 bottleneck, (float)v[2]},
                              classes_of(r));
    return ATOMDL_EARG;
}

/* ---------- Recipes: the whole -------------------------------------------- */

enum { MOST_ATOMS = 1 << 24 }; /* of a sample */

static double dist_most(const atomdl_dist *d)
{
    double m = d->v[0];
    for (int i = 1; i < d->n && d->kind != ATOMDL_DIST_NORMAL; i++)
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
    int j;
    for (i = 0; i < lattice->n; i++) { /* one site where u and v are equal */
        const atomdl_basis *b = &lattice->basis[i];
        for (j = 0; lattice->basis[j].u != b->u || lattice->basis[j].v != b->v;)
            j++;
        lattice->basis[i].site = (u8)j;
    }
    return atomdl_lattice_check(lattice);
}

/* Area of a cell. */
static double cell_area(const atomdl_lattice *l)
{
    return absolute(l->a[0] * l->b[1] - l->a[1] * l->b[0]);
}

static const char *check_structure(const atomdl_recipe *r)
{
    double side = (r->w > r->h ? r->w : r->h) * dist_most(&r->pixel);
    double drawn = 0;
    int metal = 0, cell = has_vectors(&r->lattice);
    if (*r->xyz && r->lattice.n)
        return TEXT("xyz and basis: only one of them");
    if (r->lattice.n && !cell) return TEXT("basis without vectors");
    if (cell && !r->lattice.n) return TEXT("vectors without basis");
    atomdl_lattice l;
    for (int i = 0; !*r->xyz && i < (cell ? 1 : r->materials); i++) {
        if (lattice_of(&l, r, i))
            return TEXT("vectors and basis make no lattice");
        metal |= l.metal;
        if (side * side / cell_area(&l) * l.n > MOST_ATOMS)
            return TEXT("more than 16 million atoms in an image");
    }
    if (dist_most(&r->step) > 0 && (r->materials < 2 || cell || *r->xyz))
        return TEXT("step needs two materials");
    for (int i = 0; i < ATOMDL_DEFECTS; i++)
        drawn += (double)r->drawing.weight[i];
    if (!(drawn > 0)
        && (dist_most(&r->count) > 0 || dist_most(&r->crowd) > 0))
        return TEXT("count or crowd without defects");
    for (int i = 0; i < r->scatters; i++)
        if (r->scatter[i].kind >= ATOMDL_SUB_M && !r->scatter[i].element)
            return TEXT("scatter sub-...: which element?");
    if (r->scatters && !metal)
        return TEXT("scatter needs a material with metal and chalcogen");
    for (int i = ATOMDL_SUB_M; i < ATOMDL_DEFECTS; i++)
        if (r->drawing.weight[i] > 0 && !r->drawing.element)
            return TEXT("defects sub-... need dopant");
    return NULL;
}

static const char *check_labels(const atomdl_recipe *r)
{
    atomdl_structure none;
    memset(&none, 0, sizeof none);
    for (int i = 0; i < r->rules; i++)
        if (r->rule[i].what == ATOMDL_LABEL_COLUMN
            && atomdl_label_paint(NULL, 8, 8, 1, &none, &r->rule[i], 1, NULL,
                                  0))
            return TEXT("class: a column is such as S2, Mo+S2 or vacancy");
    return NULL;
}

static const char *check_network(const atomdl_recipe *r)
{
    int n = 0;
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
    if (!why) why = check_labels(r);
    if (!why) why = check_network(r);
#ifndef ATOMDL_NO_TRAIN
    if (!why) {
        atomdl_plan plan = atomdl_recipe_plan(r);
        if (atomdl_plan_check(&plan, classes_of(r)))
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

/* ---------- Samples: draws ------------------------------------------------ */

enum { MARGIN = 4, CLOUDS = 8 }; /* A around the field; most clouds */

/* Streams of a sample beside those of its keys (hashes of their names). */
enum { STREAM_MATERIAL = 1, STREAM_PLACE, STREAM_LINE, STREAM_ALLOY,
       STREAM_DEFECTS = STREAM_ALLOY + ATOMDL_ALLOYS, STREAM_SCATTER,
       STREAM_CUT = STREAM_SCATTER + ATOMDL_SCATTERS, STREAM_CLOUDS,
       STREAM_CARBON, STREAM_WAVES = STREAM_CARBON + CLOUDS, STREAM_THERMAL,
       STREAM_SPREAD, STREAM_MODEL, STREAM_ANGLES, STREAM_ROWS, STREAM_NOISE,
       STREAM_DIHEDRAL, STREAM_FRAME, STREAM_EVENTS };

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

static double draw_value(const atomdl_dist *d, const scene *s)
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

static double radians(double degrees)
{
    return degrees * (PI / 180);
}

/* A material by its share; not: that one is left out (-1: none is). */
static int draw_material(const scene *s, double u, int not)
{
    const atomdl_recipe *r = s->r;
    double sum = 0;
    int last = 0;
    for (int i = 0; i < r->materials; i++) sum += i == not ? 0 : r->share[i];
    u *= sum;
    for (int i = 0; i < r->materials; i++) {
        if (i == not || !(r->share[i] > 0)) continue;
        last = i;
        if ((u -= r->share[i]) < 0) break;
    }
    return last;
}

/* ---------- Samples: structure -------------------------------------------- */

static void draw_clouds(scene *s)
{
    const atomdl_recipe *r = s->r;
    double number = atomdl_floor(draw_value(&r->clouds, s) + 0.5);
    s->clouds = (int)(number < CLOUDS ? number : CLOUDS);
    double v[4][CLOUDS];
    draw_some(v[0], CLOUDS, &r->cloud_sigma, s);
    draw_some(v[1], CLOUDS, &r->cloud_atoms, s);
    draw_some(v[2], CLOUDS, &r->cloud_height, s);
    draw_some(v[3], CLOUDS, &r->cloud_core, s);
    double place[2 * CLOUDS];
    draw_uniform(place, 2 * CLOUDS, STREAM_CLOUDS, s);
    int i;
    for (s->cloud_room = 0, i = 0; i < s->clouds; i++) {
        atomdl_cloud *c = &s->cloud[i];
        double area = 2 * PI * v[0][i] * v[0][i];
        c->x = s->out->structure.w * place[2 * i] + s->dx;
        c->y = s->out->structure.h * place[2 * i + 1] + s->dy;
        c->sigma = v[0][i];
        c->peak = v[2][i] > 0 ? v[2][i] : v[1][i] / (0.100 * area);
        c->core = v[3][i];
        double mean = 0.100 * area * c->peak;
        s->cloud_room += (u32)(mean + 10 * atomdl_sqrt(mean) + 20);
    }
}

/* Room for everything, then an empty structure. */
static int new_structure(scene *s, double w, double h, double drawn,
                         int regions, atomdl_arena *arena)
{
    atomdl_structure *t = &s->out->structure;
    u32 atoms = s->source->atoms, columns = atoms;
    t->w = w;
    t->h = h;
    draw_clouds(s);
    u32 a, c;
    for (int i = 0; i < regions; i++) {
        atomdl_structure_room(&a, &c, w, h, MARGIN, &s->lattice[i]);
        if (a > MOST_ATOMS) return ATOMDL_EARG;
        atoms += a;
        columns += c;
    }
    u32 defects = (u32)drawn + ATOMDL_PLACES;
    if (s->r->scatters) defects += columns;
    if (s->movie) defects += s->movie->max;
    if (defects > 65534) defects = 65534;
    return atomdl_structure_new(t, w, h, MARGIN,
                                atoms + 4 * defects + s->cloud_room,
                                columns + 4 * defects, defects, arena);
}

static atomdl_placement draw_placement(const scene *s, double w, double h)
{
    double place[2], angle = radians(draw_value(&s->r->rotation, s));
    double scale = draw_value(&s->r->scale, s) - 1;
    draw_uniform(place, 2, STREAM_PLACE, s);
    double shear[2];
    draw_some(shear, 2, &s->r->shear, s);
    return (atomdl_placement){w * place[0] + s->dx, h * place[1] + s->dy,
                              angle, scale + shear[0], scale - shear[0],
                              shear[1]};
}

/* A line through the middle half of the field. */
static atomdl_line draw_line(const scene *s, const double u[4])
{
    const atomdl_structure *t = &s->out->structure;
    return (atomdl_line){t->w * (0.25 + 0.5 * u[0]) + s->dx,
                         t->h * (0.25 + 0.5 * u[1]) + s->dy, 2 * PI * u[2],
                         draw_value(&s->r->wave, s),
                         draw_value(&s->r->wavelength, s), 2 * PI * u[3]};
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
    double c = atomdl_cos(at.angle);
    double d = atomdl_sin(at.angle);
    for (u32 i = 0; a && i < n; i++) extend(&extent, &from[i], i == 0);
    for (u32 i = 0; a && i < n; i++) {
        double x = from[i].x - (extent.low[0] + extent.high[0]) / 2;
        double y = from[i].y - (extent.low[1] + extent.high[1]) / 2;
        a[i] = from[i];
        a[i].x = (1 + at.exx) * (c * x - d * y) + at.exy * (d * x + c * y);
        a[i].y = at.exy * (c * x - d * y) + (1 + at.eyy) * (d * x + c * y);
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
    int i;
    for (int kind = 0; kind < ATOMDL_DEFECTS; kind++) {
        int used = r->drawing.weight[kind] > 0;
        for (i = 0; i < r->places; i++) used |= r->place[i].kind == kind;
        for (i = 0; i < r->scatters; i++) {
            used |= r->scatter[i].kind == kind;
            if (r->scatter[i].element) d->element = r->scatter[i].element;
        }
        for (i = 1; i < d->states && d->kind[i] != kind; i++) {}
        if (!used || i < d->states) continue;
        if (i == ATOMDL_STATES) return ATOMDL_EARG;
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
        status = atomdl_movie_step(m->defect, &m->defects, m->max, &m->next_id,
                                   &m->events, &how, t, &rng);
    for (u32 i = 0; !status && i < m->defects; i++) {
        status = atomdl_defect_place(t, &m->defect[i], s->source->motifs);
        if (status == ATOMDL_EARG) status = ATOMDL_OK; /* out of the field */
    }
    return status;
}

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
        atomdl_defect d;
        memset(&d, 0, sizeof d);
        d.kind = s->r->place[i].kind;
        d.element = s->r->place[i].element;
        d.operation = s->r->place[i].operation;
        d.scale = 1;
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
                                        draw_value(&s->r->scatter[i].fraction,
                                                   s), -1, &rng);
    }
    if (status || !m || !t->atom) return status;
    m->defects = t->defects < m->max ? t->defects : m->max;
    for (int i = 0; i < (int)m->defects; i++) m->defect[i] = t->defect[i];
    m->next_id = t->next_id;
    return ATOMDL_OK;
}

/* Holes, edges, contamination. */
static int cut_and_cover(scene *s, atomdl_arena *arena)
{
    atomdl_structure *t = &s->out->structure;
    double hole = draw_value(&s->r->hole, s), u[6];
    int status = ATOMDL_OK;
    draw_uniform(u, 6, STREAM_CUT, s);
    if (hole > 0)
        atomdl_structure_hole(t, t->w * u[4] + s->dx, t->h * u[5] + s->dy,
                              hole);
    atomdl_line line = draw_line(s, u);
    if (draw_value(&s->r->edge, s) > 0) atomdl_structure_edge(t, &line);
    double weight[CLOUDS];
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
    double v[4], m[6] = {1, 0, 0, 0, 1, 0};
    atomdl_rng rng = atomdl_rng_split(&s->noise, STREAM_THERMAL);
    draw_some(v, 4, &s->r->distortion, s);
    double k[4];
    draw_some(k, 4, &s->r->distortion_k, s);
    double u[2];
    draw_uniform(u, 2, STREAM_WAVES, s);
    atomdl_wave wave[2];
    for (int j = 0; j < 2; j++)
        wave[j] = (atomdl_wave){v[2 * j], v[2 * j + 1], 2 * PI * k[2 * j],
                                2 * PI * k[2 * j + 1], 2 * PI * u[j]};
    if (v[0] != 0 || v[1] != 0 || v[2] != 0 || v[3] != 0)
        atomdl_structure_warp(t, wave, 2);
    double drift[2];
    draw_some(drift, 2, &s->r->drift, s);
    m[1] = drift[0] / t->h;
    m[4] = 1 + drift[1] / t->h;
    if (drift[0] != 0 || drift[1] != 0) move_truth(t, m);
    atomdl_structure_thermal(t, draw_value(&s->r->thermal, s), &rng);
    double spread = draw_value(&s->r->weight_spread, s);
    rng = atomdl_rng_split(&s->rng, STREAM_SPREAD);
    for (u32 i = 0; spread > 0 && t->atom && i < t->atoms; i++) {
        float z;
        atomdl_rng_normal(&rng, &z, 1);
        z = 1 + (float)spread * z;
        t->atom[i].weight *= z > 0.1f ? z : 0.1f;
    }
}

static int compose(scene *s, double w, double h, atomdl_arena *arena)
{
    const atomdl_recipe *r = s->r;
    atomdl_structure *t = &s->out->structure;
    double tilt = draw_value(&r->boundary, s), u[2];
    int file = s->source->atoms > 0;
    int two = !file && (tilt > 0 || draw_value(&r->step, s) > 0);
    draw_uniform(u, 2, STREAM_MATERIAL, s);
    s->material[0] = draw_material(s, u[0], -1);
    s->material[1] = tilt > 0 ? s->material[0]
                              : draw_material(s, u[1], s->material[0]);
    s->out->material = s->material[0];
    for (int i = 0; i < 2; i++)
        if (lattice_of(&s->lattice[i], r, s->material[i])) return ATOMDL_EARG;
    double drawn = atomdl_floor(draw_value(&r->count, s)
                                + draw_value(&r->crowd, s) * w * h / 100 + 0.5);
    if (drawn > 60000) drawn = 60000;
    int status = new_structure(s, w, h, drawn, file ? 0 : 1 + two, arena);
    if (status) return status;
    status = file ? fill_atoms(s, arena) : fill_lattices(s, tilt, two, arena);
    for (int i = 0; i < r->alloys && !status; i++) {
        atomdl_rng rng = atomdl_rng_split(&s->rng, (u64)(STREAM_ALLOY + i));
        atomdl_structure_alloy(t, -1, r->alloy[i].from, r->alloy[i].to,
                               draw_value(&r->alloy[i].fraction, s), &rng);
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

static void draw_optics(atomdl_optics *o, const scene *s)
{
    static const u8 ABERRATION[] = {ATOMDL_C12, ATOMDL_C21, ATOMDL_C23};
    const atomdl_recipe *r = s->r;
    memset(o, 0, sizeof *o);
    double u[5];
    draw_uniform(u, 1, STREAM_MODEL, s);
    draw_uniform(u + 1, 4, STREAM_ANGLES, s);
    o->kv = draw_value(&r->voltage, s);
    o->convergence = draw_value(&r->aperture, s);
    o->inner = draw_value(&r->inner, s);
    o->outer = draw_value(&r->outer, s);
    if (o->outer < o->inner + 1) o->outer = o->inner + 1;
    o->stack = draw_value(&r->stacked, s);
    o->model = ATOMDL_INCOHERENT;
    o->carbon = atomdl_cross_section(o, 6);
    o->model = u[0] < r->gaussian ? ATOMDL_GAUSSIAN : ATOMDL_INCOHERENT;
    for (int i = 0; i < r->weights; i++) {
        o->z[i] = r->weight[i].element;
        o->ratio[i] = draw_value(&r->weight[i].signal, s);
    }
    o->defocus = draw_value(&r->defocus, s);
    o->c3 = draw_value(&r->c3, s) * 1e4;
    o->c5 = draw_value(&r->c5, s) * 1e7;
    for (int i = 0; i < 3; i++) {
        double v = draw_value(i == 0 ? &r->a1 : i == 1 ? &r->coma : &r->a2, s);
        o->aberration[ABERRATION[i]][0] = v * atomdl_cos(2 * PI * u[1 + i]);
        o->aberration[ABERRATION[i]][1] = v * atomdl_sin(2 * PI * u[1 + i]);
    }
    o->spread = draw_value(&r->spread, s);
    o->source = draw_value(&r->source, s);
    o->recentre = 1;
    o->fwhm = draw_value(&r->fwhm, s);
    o->ellipticity = draw_value(&r->ellipticity, s);
    o->angle = 2 * PI * u[4];
    o->tail = draw_value(&r->tail, s);
    o->tail_sigma = draw_value(&r->tail_sigma, s);
    o->exponent = draw_value(&r->power, s);
}

/* Detected fraction per A2 of the plain lattice; of a file's atoms. */
static double mean_signal(const scene *s, const atomdl_optics *o)
{
    const atomdl_lattice *l = &s->lattice[0];
    const atomdl_structure *t = &s->out->structure;
    double sum = 0, area = s->source->atoms ? t->w * t->h : cell_area(l);
    if (!s->source->atoms)
        for (u32 i = 0; i < (u32)l->n; i++)
            sum += atomdl_cross_section(o, l->basis[i].element);
    for (u32 i = 0; s->source->atoms && t->atom && i < t->atoms; i++)
        if (t->atom[i].role != ATOMDL_ROLE_CONTAMINATION
            && inside(t, t->atom[i].x, t->atom[i].y, 0))
            sum += atomdl_cross_section(o, t->atom[i].element);
    return sum > 0 ? sum / area : o->carbon;
}

static void draw_detector(atomdl_detector *d, const scene *s, double unit,
                          double pixel)
{
    const atomdl_recipe *r = s->r;
    double tilt = draw_value(&r->tilt, s);
    atomdl_rng rng = atomdl_rng_split(&s->rng, r->tilt.stream + 1);
    memset(d, 0, sizeof *d);
    double u[4];
    for (int i = 0; i < 4; i++) u[i] = atomdl_rng_uniform64(&rng);
    d->background = draw_value(&r->background, s);
    d->tilt[0] = tilt * atomdl_cos(2 * PI * u[0]);
    d->tilt[1] = tilt * atomdl_sin(2 * PI * u[0]);
    d->wave[0].ax = draw_value(&r->ripple, s);
    double k = 2 * PI * (0.25 + 0.75 * u[1]) / s->out->structure.w;
    d->wave[0].kx = k * atomdl_cos(2 * PI * u[2]);
    d->wave[0].ky = k * atomdl_sin(2 * PI * u[2]);
    d->wave[0].phase = 2 * PI * u[3];
    d->row_gain = draw_value(&r->row_gain, s);
    double density = draw_value(&r->density, s);
    if (density > 0)
        atomdl_detector_density(d, density, r->contrast, d->background + 1,
                                draw_value(&r->read_share, s), pixel);
    else
        d->counts = draw_value(&r->dose, s) * unit * pixel * pixel;
    if (!(density > 0)) d->read = draw_value(&r->read, s);
    d->smooth = draw_value(&r->smooth, s);
    d->blur = draw_value(&r->blur, s);
    double keep = draw_value(&r->saturation, s);
    d->clip = keep < 1 ? keep : 0;
    d->gamma = draw_value(&r->gamma, s);
    d->bits = r->bits;
}

static void draw_scan(atomdl_scan *scan, const scene *s)
{
    atomdl_rng rng = atomdl_rng_split(&s->rng, s->r->hum.stream + 1);
    double hum = draw_value(&s->r->hum, s);
    double angle = 2 * PI * atomdl_rng_uniform64(&rng);
    memset(scan, 0, sizeof *scan);
    scan->jitter = draw_value(&s->r->jitter, s);
    scan->hum[0] = hum * atomdl_cos(angle);
    scan->hum[1] = hum * atomdl_sin(angle);
    scan->cycles = draw_value(&s->r->hum_cycles, s);
    scan->phase = 2 * PI * atomdl_rng_uniform64(&rng);
}

/* The scanned image in units of the lattice's mean signal. */
static int expose(atomdl_image *image, const scene *s, double pixel,
                  atomdl_arena *arena)
{
    const atomdl_structure *t = &s->out->structure;
    atomdl_rng rng = atomdl_rng_split(&s->noise, STREAM_ROWS);
    atomdl_optics optics;
    size_t n = (size_t)image->w * (size_t)image->h;
    draw_optics(&optics, s);
    double unit = mean_signal(s, &optics);
    atomdl_detector detector;
    draw_detector(&detector, s, unit, pixel);
    atomdl_scan scan;
    draw_scan(&scan, s);
    atomdl_probe probe;
    int status = atomdl_probe_new(&probe, &optics, image->w, image->h, pixel,
                                  MARGIN, arena);
    if (!status)
        status = atomdl_image_atoms(image, t->atom,
                                    t->atom ? t->atoms : t->max_atoms, &optics,
                                    &probe, arena);
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
    static const char ANY[] = "";
    const atomdl_recipe *r = s->r;
    atomdl_rule rule[ATOMDL_RULES];
    int n = r->rules;
    memcpy(rule, r->rule, sizeof rule);
    if (!r->classes) {
        memset(rule, 0, sizeof *rule);
        memcpy(rule->text, ANY, sizeof ANY);
        rule->class_id = 1;
        rule->element = rule->kind = rule->site = rule->region = ATOMDL_ANY;
        rule->radius = 0.45f;
        n = 1;
    }
    int j;
    for (int i = 0; i < n; i++) {
        if (rule[i].what != ATOMDL_LABEL_REGION) continue;
        for (j = 0; j < r->materials; j++)
            if (equal(rule[i].text, r->material[j])) break;
        rule[i].region = (u8)(j < r->materials ? j : 254);
        memset(rule[i].text, 0, sizeof rule[i].text);
    }
    if (s->out->label) memset(s->out->label, 0, (size_t)w * (size_t)h);
    return atomdl_label_paint(s->out->label, w, h, s->out->pixel,
                              &s->out->structure, rule, n, s->cloud,
                              s->clouds);
}

/* ---------- Samples: augmentation ----------------------------------------- */

typedef struct { /* one of the eight: (u, v) of the input for (x, y) */
    int swap, flip_x, flip_y, w, h;
} dihedral;

static size_t dihedral_index(const dihedral *d, int x, int y)
{
    int u = d->swap ? y : x, v = d->swap ? x : y;
    if (d->flip_x) u = d->w - 1 - u;
    if (d->flip_y) v = d->h - 1 - v;
    return (size_t)v * (size_t)d->w + (size_t)u;
}

/* m <- where truth goes, in units of pixels */
static void dihedral_map(double m[6], const dihedral *d)
{
    double x[3];
    x[0] = d->flip_x ? -1 : 1, x[1] = 0, x[2] = d->flip_x ? d->w : 0;
    double y[3];
    y[0] = 0, y[1] = d->flip_y ? -1 : 1, y[2] = d->flip_y ? d->h : 0;
    memcpy(m, d->swap ? y : x, sizeof x);
    memcpy(m + 3, d->swap ? x : y, sizeof y);
}

static int turn_over(atomdl_image *image, u8 *label, const dihedral *d,
                     atomdl_arena *arena)
{
    size_t used = arena->used, n = (size_t)d->w * (size_t)d->h, at = 0;
    float *px = atomdl_alloc(arena, n, sizeof *px);
    u8 *old = atomdl_alloc(arena, label ? n : 0, 1);
    int status = atomdl_arena_status(arena);
    if (px && !status) {
        memcpy(px, image->px, n * sizeof *px);
        if (label) memcpy(old, label, n);
        for (int y = 0; y < d->h; y++)
            for (int x = 0; x < d->w; x++, at++) {
                size_t from = dihedral_index(d, x, y);
                image->px[at] = px[from];
                if (label) label[at] = old[from];
            }
    }
    arena->used = used;
    return status;
}

/* b <- a, then b: maps of truth */
static void chain(double b[6], const double a[6])
{
    double m[6];
    for (int i = 0; i < 6; i += 3) {
        m[i] = b[i] * a[0] + b[i + 1] * a[3];
        m[i + 1] = b[i] * a[1] + b[i + 1] * a[4];
        m[i + 2] = b[i] * a[2] + b[i + 1] * a[5] + b[i + 2];
    }
    memcpy(b, m, sizeof m);
}

/* Shift, turn, zoom and skew about the middle: in <- the map from output to
   input pixels; out <- where truth goes. */
static void draw_warp(double in[6], double out[6], const scene *s, int w,
                      int h)
{
    const atomdl_recipe *r = s->r;
    double angle = radians(draw_value(&r->turn, s)), move[2];
    double zoom = draw_value(&r->zoom, s), skew = draw_value(&r->skew, s);
    double c = atomdl_cos(angle) / zoom, d = atomdl_sin(angle) / zoom;
    double x0 = (w - 1) / 2.0, y0 = (h - 1) / 2.0;
    draw_some(move, 2, &r->shift, s);
    in[0] = c;
    in[1] = c * skew - d;
    in[3] = d;
    in[4] = d * skew + c;
    in[2] = x0 + move[0] * w - in[0] * x0 - in[1] * y0;
    in[5] = y0 + move[1] * h - in[3] * x0 - in[4] * y0;
    double det = in[0] * in[4] - in[1] * in[3];
    out[0] = in[4] / det;
    out[1] = -in[1] / det;
    out[3] = -in[3] / det;
    out[4] = in[0] / det;
    /* pixel (0, 0) at (1/2, 1/2) */
    out[2] = 0.5 - out[0] * (in[2] + 0.5) - out[1] * (in[5] + 0.5);
    out[5] = 0.5 - out[3] * (in[2] + 0.5) - out[4] * (in[5] + 0.5);
}

static int warp_both(atomdl_image *image, u8 *label, const double in[6],
                     atomdl_arena *arena)
{
    size_t used = arena->used, n = (size_t)image->w * (size_t)image->h;
    atomdl_image from = {0, 0, 0, NULL}, to = {0, 0, 0, NULL};
    int status = atomdl_image_new(&from, image->w, image->h, 1, arena);
    if (!status) status = atomdl_image_new(&to, image->w, image->h, 1, arena);
    if (!status && from.px) {
        memcpy(from.px, image->px, n * sizeof *from.px);
        status = atomdl_image_warp(image, &from, in, NULL, ATOMDL_CUBIC);
    }
    if (!status && from.px && label) {
        for (size_t i = 0; i < n; i++) from.px[i] = label[i];
        status = atomdl_image_warp(&to, &from, in, NULL, ATOMDL_NEAREST);
        for (size_t i = 0; i < n; i++) label[i] = (u8)to.px[i];
    }
    arena->used = used;
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

static int augment(atomdl_image *image, u8 *label, double map[6],
                   const scene *s, atomdl_arena *arena)
{
    static const double SAME[6] = {1, 0, 0, 0, 1, 0};
    double times = draw_value(&s->r->coarse, s);
    atomdl_rng rng = atomdl_rng_split(&s->rng, STREAM_DIHEDRAL);
    u32 one = s->r->dihedral ? atomdl_rng_below(&rng, 8) : 0;
    int status = ATOMDL_OK;
    memcpy(map, SAME, sizeof SAME);
    dihedral d;
    d.w = image->w;
    d.h = image->h;
    d.swap = one & 1 && d.w == d.h;
    d.flip_x = one >> 1 & 1;
    d.flip_y = one >> 2 & 1;
    if (times > 1) status = coarsen(image, times, arena);
    if (!status && one) {
        status = turn_over(image, label, &d, arena);
        dihedral_map(map, &d);
    }
    if (!status && draw_value(&s->r->warp, s) > 0) {
        double in[6], out[6];
        draw_warp(in, out, s, d.w, d.h);
        status = warp_both(image, label, in, arena);
        chain(out, map);
        memcpy(map, out, sizeof out);
    }
    return status;
}

static int scale_for_network(atomdl_image *image, const scene *s)
{
    float gain = (float)draw_value(&s->r->gain, s);
    float offset = (float)draw_value(&s->r->offset, s);
    size_t n = (size_t)image->w * (size_t)image->h;
    if (!image->px) return ATOMDL_OK;
    int status = atomdl_image_normalise(image, s->r->scaling);
    for (size_t i = 0; !status && i < n; i++) {
        float x = image->px[i] * gain;
        image->px[i] = x + offset;
    }
    return status;
}

static scene new_scene(const atomdl_recipe *r, u64 i)
{
    atomdl_rng root = atomdl_rng_seed(r->seed);
    scene s;
    memset(&s, 0, sizeof s);
    s.r = r;
    s.noise = s.rng = atomdl_rng_split(&root, i);
    return s;
}

int atomdl_augment(atomdl_image *image, u8 *label, double map[6],
                   const atomdl_recipe *r, uint64_t i, atomdl_arena *arena)
{
    scene s = new_scene(r, i);
    if (image->c != 1) return ATOMDL_ESHAPE;
    double unused[6];
    return augment(image, label, map ? map : unused, &s, arena);
}

/* ---------- Samples ------------------------------------------------------- */

int atomdl_source_new(atomdl_source *source, const atomdl_recipe *r,
                      const atomdl_atom *atom, uint32_t atoms,
                      atomdl_arena *arena)
{
    atomdl_motifs *motifs = NULL;
    u32 wanted = 0;
    int status = ATOMDL_OK;
    if (atoms > MOST_ATOMS || (atoms && !atom)) return ATOMDL_EARG;
    memset(source, 0, sizeof *source);
    for (int i = 0; i < ATOMDL_MOTIFS; i++)
        wanted |= r->drawing.weight[i] > 0 ? 1u << i : 0;
    for (int i = 1; i < r->dynamics.states; i++)
        if (r->dynamics.kind[i] < ATOMDL_MOTIFS)
            wanted |= 1u << r->dynamics.kind[i];
    for (int i = 0; i < r->places; i++)
        if (r->place[i].kind < ATOMDL_MOTIFS) wanted |= 1u << r->place[i].kind;
    if (wanted) status = atomdl_motifs_new(&motifs, wanted, arena);
    source->recipe = r;
    source->motifs = motifs;
    source->atom = atom;
    source->atoms = atoms;
    return status;
}

/* Structure, labels, then the image through a scan of its own sampling. */
static int make_sample(scene *s, int raw, atomdl_arena *arena)
{
    atomdl_sample *out = s->out;
    const atomdl_recipe *r = s->r;
    atomdl_image scan = {0, 0, 0, NULL};
    memset(out, 0, sizeof *out);
    out->pixel = draw_value(&r->pixel, s);
    double fine = draw_value(&r->scan, s);
    double ratio = fine > 0 ? out->pixel / fine : 1;
    int own = fine > 0 && fine != out->pixel;
    int status = atomdl_image_new(&out->image, r->w, r->h, 1, arena);
    out->label = atomdl_alloc(arena, (size_t)r->w * (size_t)r->h, 1);
    if (status) return status;
    status = compose(s, r->w * out->pixel, r->h * out->pixel, arena);
    if (!status) status = paint_labels(s, r->w, r->h);
    size_t used = arena->used;
    scan = out->image;
    if (!status && own) {
        scan.w = (int)(r->w * ratio + 0.5);
        scan.h = (int)(r->h * ratio + 0.5);
        if (scan.w < 8) scan.w = 8;
        if (scan.h < 8) scan.h = 8;
        status = atomdl_image_new(&scan, scan.w, scan.h, 1, arena);
    }
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
    scene s = new_scene(source->recipe, i);
    s.source = source;
    s.out = sample;
    return make_sample(&s, raw, arena);
}

int atomdl_movie_frame(atomdl_sample *sample, atomdl_movie *movie,
                       const atomdl_source *source, uint64_t i,
                       atomdl_arena *arena)
{
    scene s = new_scene(source->recipe, i);
    atomdl_rng rng = atomdl_rng_split(&s.rng, STREAM_FRAME);
    s.noise = atomdl_rng_split(&rng, movie->frame);
    s.source = source;
    s.out = sample;
    s.movie = movie;
    if (movie->frame) {
        rng = atomdl_rng_split(&s.noise, source->recipe->movie_drift.stream);
        double step[2];
        step[0] = atomdl_dist_draw(&source->recipe->movie_drift, &rng);
        step[1] = atomdl_dist_draw(&source->recipe->movie_drift, &rng);
        s.dx = movie->drift[0] + step[0];
        s.dy = movie->drift[1] + step[1];
    }
    int status = make_sample(&s, 1, arena);
    if (status || !arena->base) return status; /* measuring changes nothing */
    movie->drift[0] = s.dx;
    movie->drift[1] = s.dy;
    movie->frame++;
    return ATOMDL_OK;
}
