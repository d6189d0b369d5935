/* SPDX-License-Identifier: MIT
   Structures: lattices, regions, motifs, defects, files, labels, movies. */

#include "test.h"

static atomdl_arena memory;

static atomdl_lattice lattice(const char *name)
{
    atomdl_lattice l;
    CHECK(atomdl_lattice_find(&l, name) == ATOMDL_OK);
    CHECK(atomdl_lattice_check(&l) == ATOMDL_OK);
    return l;
}

/* Memory for one structure; ends what was there before. */
static void fresh(void)
{
    if (!memory.base) memory = new_arena((size_t)24 << 20);
    memory.used = memory.peak = 0;
}

static atomdl_structure empty(const atomdl_lattice *l, double side,
                              double margin, uint32_t defects)
{
    atomdl_room room;
    atomdl_structure_room(&room, side, side, margin, l);
    room.atoms = 2 * room.atoms + 200;
    room.columns = 2 * room.columns + 200;
    room.defects = defects;
    atomdl_structure s;
    CHECK(!atomdl_structure_new(&s, side, side, margin, &room, &memory));
    return s;
}

static atomdl_structure filled(const char *name, double side, double margin,
                               double angle, uint32_t defects)
{
    atomdl_lattice l = lattice(name);
    atomdl_placement at = {0, 0, 0, 0, 0, 0};
    at.x = at.y = side / 2;
    at.angle = angle;
    fresh();
    atomdl_structure s = empty(&l, side, margin, defects);
    CHECK(atomdl_structure_fill(&s, &l, &at, NULL, 0, 0, &memory)
          == ATOMDL_OK);
    return s;
}

static const atomdl_motifs *motifs(void)
{
    static atomdl_arena arena;
    static atomdl_motifs *all;
    if (all) return all;
    arena = new_arena(1 << 20);
    CHECK(atomdl_motifs_new(&all, UINT32_MAX, &arena) == ATOMDL_OK);
    return all;
}

static atomdl_defect defect_at(const atomdl_structure *s, int kind, int op,
                               double x, double y)
{
    atomdl_defect d;
    memset(&d, 0, sizeof d);
    d.kind = (uint8_t)kind;
    d.operation = (uint8_t)op;
    d.scale = 1;
    CHECK(atomdl_defect_locate(&d, s, x, y) == ATOMDL_OK);
    return d;
}

/* ---------- Lattices ------------------------------------------------------ */

void test_structure_elements(void)
{
    char text[3];
    for (int z = 1; z <= 118; z++) {
        atomdl_symbol(text, z);
        CHECK(atomdl_element(text, strlen(text)) == z);
    }
    CHECK(atomdl_element("Mo", 2) == 42 && atomdl_element("W", 1) == 74);
    CHECK(atomdl_element("Si", 2) == 14 && atomdl_element("C", 1) == 6);
    CHECK(!atomdl_element("", 0) && !atomdl_element("Xx", 2)
          && !atomdl_element("mo", 2) && !atomdl_element("Mox", 3));
    atomdl_symbol(text, 0);
    CHECK(!strcmp(text, "X"));
}

/* Least 3-D distance between atoms of different columns, and its number of
   neighbours for the first atom near the middle. */
static double bond_length(const char *name)
{
    atomdl_structure s = filled(name, 16, 0, 0.3, 0);
    double least = 1e9;
    for (uint32_t i = 0; i < s.atoms; i++)
        for (uint32_t j = 0; j < i; j++) {
            double dx = s.atom[i].x - s.atom[j].x;
            double dy = s.atom[i].y - s.atom[j].y;
            double dz = s.atom[i].z - s.atom[j].z;
            double d = sqrt(dx * dx + dy * dy + dz * dz);
            if (d < least) least = d;
        }
    return least;
}

/* What stands at sites A, B, C, by METHOD B.1. */
static void check_columns(const char *name, const char *a, const char *b,
                          const char *c)
{
    atomdl_structure s = filled(name, 30, 0, 0.7, 0);
    const char *want[3];
    uint32_t seen[3] = {0, 0, 0};
    want[0] = a;
    want[1] = b;
    want[2] = c;
    CHECK(atomdl_structure_finish(&s) == ATOMDL_OK);
    char text[32];
    for (uint32_t i = 0; i < s.columns; i++) {
        atomdl_column_text(text, &s.column[i]);
        seen[s.column[i].site]++;
        if (strcmp(text, want[s.column[i].site]))
            FAIL("%s site %d: %s", name, s.column[i].site, text);
    }
    for (uint32_t i = 0; i < 3; i++) CHECK((seen[i] > 60) == (*want[i] != 0));
}

/* A material's rows in the tables of sim.c and graph.c must agree, and the
   message on unknown materials must name what both hold. */
void test_structure_chemistry(void)
{
    atomdl_recipe r;
    atomdl_recipe_error e;
    const atomdl_chemistry *c;
    CHECK(atomdl_recipe_parse(&r, &e, "material = ?\n", 13));
    for (int i = 0; (c = atomdl_chemistry_get(i)) != NULL; i++) {
        static const char *const END[] = {"", "-2h-1", "-3r-1", "-1t-1"};
        for (size_t k = 0; k < sizeof END / sizeof *END; k++) {
            char name[32];
            atomdl_lattice l;
            snprintf(name, sizeof name, "%s%s", c->name, END[k]);
            if (atomdl_lattice_find(&l, name)) continue;
            CHECK_NEAR(l.a[0], c->a, k < 2 ? 1e-12 : 0.01 * c->a);
            if (k) CHECK(l.metal == c->host[0] && l.chalcogen == c->host[1]);
            if (!strstr(e.text, c->name)) FAIL("%s unsaid: %s", name, e.text);
        }
    }
    char *list = strchr(e.text, '{'), *end = list ? strchr(list, '}') : NULL;
    CHECK(end);
    if (!end) return;
    *end = 0;
    int n = 0;
    for (char *s = strtok(list + 1, ","); s; s = strtok(NULL, ","), n++)
        for (const char *p = "2h3r1t"; *p; p += 2) {
            char name[32];
            atomdl_lattice l;
            snprintf(name, sizeof name, "%s-%.2s-1", s, p);
            if (atomdl_lattice_find(&l, name) || !atomdl_chemistry_find(s))
                FAIL("%s is said, but not in both tables", name);
        }
    CHECK(n >= 4);
}

void test_structure_lattices(void)
{
    static const struct {
        const char *name;
        double a, bond;
    } WANT[] = { /* METHOD B.1 */
        {"graphene", 2.461, 1.421}, {"graphene-ab", 2.461, 1.421},
        {"h-bn", 2.504, 1.446}, {"h-bn-2", 2.504, 1.446},
        {"mos2-2h-1", 3.160, 2.417}, {"mos2-2h-2", 3.160, 2.417},
        {"mos2-3r-3", 3.163, 2.41}, {"mos2-1t-1", 3.180, 2.42},
        {"mose2-2h-1", 3.288, 2.53}, {"ws2-2h-1", 3.153, 2.40},
        {"wse2-2h-3", 3.282, 2.53}, {"ws2-3r-2b", 3.153, 2.40}};
    static const char *const BAD[] = {"", "graphen", "graphene-", "mos2-2h-",
        "mos2-2h-4", "mos2-2h-0", "mos2-2h-1b", "mos2-3r-2c", "mos2-3r-2bb",
        "MoS2-2h-1", "mos2-4h-1"};
    atomdl_lattice l;
    for (size_t i = 0; i < sizeof WANT / sizeof *WANT; i++) {
        l = lattice(WANT[i].name);
        CHECK_NEAR(l.a[0], WANT[i].a, 1e-12);
        CHECK_NEAR(l.b[0] * l.b[0] + l.b[1] * l.b[1],
                   WANT[i].a * WANT[i].a, 1e-12);
        CHECK_NEAR(bond_length(WANT[i].name), WANT[i].bond, 0.011);
    }
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        CHECK(atomdl_lattice_find(&l, BAD[i]) == ATOMDL_EARG);
    check_columns("mos2-2h-1", "", "Mo", "S2");
    check_columns("mos2-2h-2", "", "Mo+S2", "Mo+S2");
    check_columns("mos2-2h-3", "", "Mo2+S2", "Mo+S4");
    check_columns("mos2-3r-2", "S2", "Mo", "Mo+S2");
    check_columns("mos2-3r-2b", "Mo", "Mo+S2", "S2");
    check_columns("mos2-3r-3", "Mo+S2", "Mo+S2", "Mo+S2");
    check_columns("mos2-1t-1", "Mo", "S", "S");
    check_columns("wse2-2h-2", "", "W+Se2", "W+Se2");
    check_columns("graphene", "", "C", "C");
    check_columns("graphene-ab", "C", "C", "C2");
    check_columns("graphene-aa", "", "C2", "C2");
    check_columns("h-bn", "", "B", "N");
    check_columns("h-bn-2", "", "N+B", "N+B");
}

void test_structure_user(void)
{
    static const atomdl_lattice SQUARE = {
        {4, 0}, {0, 4}, 3, 0, 0, 0,
        {{38, 0, 0, 0, 0}, {22, 1, 0.5, 0.5, 2}, {8, 1, 0.5, 0.5, 4}}};
    atomdl_placement at = {1, 1, 0, 0, 0, 0};
    atomdl_lattice l = SQUARE;
    fresh();
    atomdl_structure s = empty(&l, 16, 0, 0);
    CHECK(!atomdl_structure_fill(&s, &l, &at, NULL, 0, 0, &memory));
    CHECK(s.columns == 32 && s.atoms == 48);
    CHECK(!atomdl_structure_finish(&s));
    char text[32];
    for (uint32_t i = 0; i < s.columns; i++) {
        atomdl_column_text(text, &s.column[i]);
        CHECK(!strcmp(text, s.column[i].site ? "Ti+O" : "Sr"));
    }
    l.b[1] = 0;
    CHECK(atomdl_lattice_check(&l) == ATOMDL_EARG);
    l = SQUARE, l.basis[1].u = 1;
    CHECK(atomdl_lattice_check(&l) == ATOMDL_EARG);
    l = SQUARE, l.basis[2].u = 0.25; /* two places for one site */
    CHECK(atomdl_lattice_check(&l) == ATOMDL_EARG);
    l = SQUARE, l.a[0] = NAN;
    CHECK(atomdl_lattice_check(&l) == ATOMDL_EARG);
    l = SQUARE, l.basis[0].element = 0;
    CHECK(atomdl_lattice_check(&l) == ATOMDL_EARG);
    l = SQUARE, l.n = ATOMDL_BASIS + 1;
    CHECK(atomdl_lattice_check(&l) == ATOMDL_EARG);
}

/* ---------- Regions ------------------------------------------------------- */

/* Numbers follow area and strain; room is enough; the memory asked for does
   not depend on how the lattice lies. */
void test_structure_fill(void)
{
    atomdl_lattice l = lattice("graphene");
    atomdl_rng r = atomdl_rng_seed(1);
    size_t peak = 0;
    for (int k = 0; k < 60; k++) {
        atomdl_placement at;
        at.x = 100 * atomdl_rng_uniform64(&r) - 50;
        at.y = 100 * atomdl_rng_uniform64(&r) - 50;
        at.angle = 7 * atomdl_rng_uniform64(&r);
        at.exx = 0.4 * atomdl_rng_uniform64(&r) - 0.2;
        at.eyy = k ? 0.4 * atomdl_rng_uniform64(&r) - 0.2 : -0.2;
        at.exy = k ? 0.4 * atomdl_rng_uniform64(&r) - 0.2 : 0.2;
        if (!k) at.exx = -0.2;
        fresh();
        atomdl_room room;
        atomdl_structure_room(&room, 60, 40, 3, &l);
        atomdl_structure s;
        CHECK(!atomdl_structure_new(&s, 60, 40, 3, &room, &memory));
        CHECK(!atomdl_structure_fill(&s, &l, &at, NULL, 0, 0, &memory));
        double area = 5.2453 * ((1 + at.exx) * (1 + at.eyy) - at.exy * at.exy);
        CHECK_NEAR(s.atoms * area / 2 / (66 * 46), 1, 0.03);
        CHECK(!peak || memory.peak == peak);
        peak = memory.peak;
    }
}

/* Every atom has three neighbours at the strained bond vectors. */
void test_structure_strain(void)
{
    atomdl_lattice l = lattice("graphene");
    atomdl_placement at = {5, 7, 0.4, 0.05, -0.03, 0.02};
    uint32_t wrong = 0;
    fresh();
    atomdl_structure s = empty(&l, 30, 0, 0);
    CHECK(!atomdl_structure_fill(&s, &l, &at, NULL, 0, 0, &memory));
    uint32_t n;
    for (uint32_t i = 0; i < s.atoms; i++) {
        if (fabs(s.atom[i].x - 15) > 12 || fabs(s.atom[i].y - 15) > 12)
            continue;
        for (uint32_t j = n = 0; j < s.atoms; j++) {
            double x = s.atom[j].x - s.atom[i].x;
            double y = s.atom[j].y - s.atom[i].y;
            double det = 1.05 * 0.97 - 0.0004; /* back by the inverse */
            double u = (0.97 * x - 0.02 * y) / det;
            double v = (1.05 * y - 0.02 * x) / det;
            n += fabs(sqrt(u * u + v * v) - 2.461 / sqrt(3)) < 1e-9;
        }
        wrong += n != 3;
    }
    CHECK(wrong == 0);
}

static double least_distance(const atomdl_structure *s)
{
    double least = 1e9;
    for (uint32_t i = 0; i < s->atoms; i++)
        for (uint32_t j = 0; j < i; j++) {
            double d = hypot(s->atom[i].x - s->atom[j].x,
                             s->atom[i].y - s->atom[j].y);
            if (d < least) least = d;
        }
    return least;
}

void test_structure_boundary(void)
{
    atomdl_lattice l = lattice("graphene"), m = lattice("mos2-2h-1");
    atomdl_lattice m2 = lattice("mos2-2h-2");
    atomdl_placement at = {20, 20, 0.2, 0, 0, 0};
    atomdl_placement other = {21, 22, 0.6, 0, 0, 0};
    atomdl_line line = {20, 20, 0.9, 0, 1, 0}, back = line;
    back.angle += 3.14159265358979;
    fresh();
    atomdl_structure s = empty(&l, 40, 0, 0);
    CHECK(!atomdl_structure_fill(&s, &l, &at, &line, 1, 0, &memory));
    CHECK(!atomdl_structure_fill(&s, &l, &other, &back, 1, 1, &memory));
    uint32_t before = s.atoms;
    CHECK(least_distance(&s) < 1.05);
    CHECK(!atomdl_structure_contacts(&s, 1.05, &memory));
    CHECK(!atomdl_structure_finish(&s));
    CHECK(s.atoms < before && s.atoms > before - 40);
    CHECK(s.columns == s.atoms);
    CHECK(least_distance(&s) >= 1.05);
    for (uint32_t i = 0; i < s.columns; i++)
        CHECK((atomdl_line_side(&line, s.column[i].x, s.column[i].y) > 0)
              == (s.column[i].region == 0));

    /* one and two layers on one lattice, a curved step between them */
    line.amplitude = 4, line.wavelength = 25, line.phase = 0.5;
    back = line;
    back.angle += 3.14159265358979, back.phase = -0.5;
    fresh();
    s = empty(&m, 40, 0, 0);
    CHECK(!atomdl_structure_fill(&s, &m, &at, &line, 1, 0, &memory));
    CHECK(!atomdl_structure_fill(&s, &m2, &at, &back, 1, 1, &memory));
    CHECK(!atomdl_structure_finish(&s));
    before = s.columns;
    CHECK_NEAR(least_distance(&s), 0, 1e-9); /* two atoms of one column */
    char text[32];
    for (uint32_t i = 0; i < s.columns; i++) {
        atomdl_column_text(text, &s.column[i]);
        CHECK(!strcmp(text, s.column[i].region ? "Mo+S2"
                            : s.column[i].site == 1 ? "Mo" : "S2"));
    }
    fresh(); /* together they are one whole lattice */
    s = empty(&m, 40, 0, 0);
    CHECK(!atomdl_structure_fill(&s, &m, &at, NULL, 0, 0, &memory));
    CHECK(s.columns == before);
}

void test_structure_cut(void)
{
    atomdl_structure s = filled("mos2-2h-1", 40, 2, 1, 0);
    atomdl_line edge = {20, 20, 0.4, 2, 15, 1};
    uint32_t all = s.columns;
    atomdl_structure_edge(&s, &edge);
    atomdl_structure_hole(&s, 10, 30, 6);
    CHECK(!atomdl_structure_finish(&s));
    CHECK_NEAR((double)s.columns / all, 0.5 - 3.1416 * 36 / 1936, 0.04);
    for (uint32_t i = 0; i < s.columns; i++) {
        CHECK(atomdl_line_side(&edge, s.column[i].x, s.column[i].y) > 0);
        CHECK(hypot(s.column[i].x - 10, s.column[i].y - 30) > 6);
        CHECK(s.column[i].count > 0);
    }
    for (uint32_t i = 0; i < s.atoms; i++)
        CHECK(s.atom[i].column < s.columns && s.atom[i].element > 0);
}

/* ---------- Motifs -------------------------------------------------------- */

enum { NEAR_MOST = 8, RING_MOST = 32 };

typedef struct { /* an independent ring counter: faces of the bond graph */
    int n[4096], to[4096][NEAR_MOST];
    char done[4096][NEAR_MOST];
} graph;

static double longest(int a, int b)
{
    int silicon = (a == 14) + (b == 14);
    return silicon == 2 ? 2.7 : silicon ? 2.25 : 1.95;
}

static void connect(graph *g, const atomdl_structure *s)
{
    memset(g, 0, sizeof *g);
    for (uint32_t i = 0; i < s->atoms; i++)
        for (uint32_t j = 0; j < s->atoms; j++) {
            const atomdl_atom *a = &s->atom[i], *b = &s->atom[j];
            if (i != j && g->n[i] < NEAR_MOST
                && hypot(a->x - b->x, a->y - b->y)
                    < longest(a->element, b->element))
                g->to[i][g->n[i]++] = (int)j;
        }
    for (uint32_t i = 0; i < s->atoms; i++) /* by angle */
        for (int k = 1; k < g->n[i]; k++)
            for (int m = k; m > 0; m--) {
                const atomdl_atom *a = &s->atom[i];
                const atomdl_atom *b = &s->atom[g->to[i][m]];
                const atomdl_atom *c = &s->atom[g->to[i][m - 1]];
                int t = g->to[i][m];
                if (atan2(b->y - a->y, b->x - a->x)
                    >= atan2(c->y - a->y, c->x - a->x)) break;
                g->to[i][m] = g->to[i][m - 1];
                g->to[i][m - 1] = t;
            }
}

/* Follows the face left of edge k of atom i; its length, 0 when it leaves the
   disc or has been counted. */
static int face(graph *g, const atomdl_structure *s, int i, int k, double x,
                double y)
{
    int n = 0, inside = 1;
    while (!g->done[i][k]) {
        int j = g->to[i][k];
        g->done[i][k] = 1;
        n++;
        if (hypot(s->atom[i].x - x, s->atom[i].y - y) > 9.5) inside = 0;
        int back;
        for (back = 0; g->to[j][back] != i; back++) {}
        k = (back + g->n[j] - 1) % g->n[j];
        i = j;
    }
    return inside ? n : 0;
}

static void rings(int count[RING_MOST], const atomdl_structure *s, double x,
                  double y)
{
    static graph g;
    connect(&g, s);
    memset(count, 0, RING_MOST * sizeof *count);
    for (uint32_t i = 0; i < s->atoms; i++)
        for (int k = 0; k < g.n[i]; k++) {
            int n = face(&g, s, (int)i, k, x, y);
            if (n && n < RING_MOST) count[n]++;
        }
}

/* Mean and extremes of distances between elements below the bond limit. */
typedef struct {
    int n;
    double mean, least, most;
} lengths;

static lengths bonds(const atomdl_structure *s, int a, int b)
{
    lengths l = {0, 0, 1e9, 0};
    for (uint32_t i = 0; i < s->atoms; i++)
        for (uint32_t j = 0; j < i; j++) {
            const atomdl_atom *p = &s->atom[i], *q = &s->atom[j];
            double d = hypot(p->x - q->x, p->y - q->y);
            if (!((p->element == a && q->element == b)
                  || (p->element == b && q->element == a))
                || d >= longest(a, b))
                continue;
            l.n++;
            l.mean += d;
            if (d < l.least) l.least = d;
            if (d > l.most) l.most = d;
        }
    if (l.n) l.mean /= l.n;
    return l;
}

/* METHOD B.2, D.2, D.3: rings that are not hexagons; removed and added atoms;
   Si-C bonds, their number, mean and tolerance; Si-Si likewise. */
static const struct {
    int kind;
    const char *rings; /* sizes as letters: '5'; 'C' = 12, 'I' = 18 */
    int change, carbon;
    double length, within;
    int silicon;
    double between, width;
} WANT[] = {
    {ATOMDL_V1, "C", -1, 0, 0, 0, 0, 0, 0},
    {ATOMDL_V1_CLOSED, "59", -1, 0, 0, 0, 0, 0, 0},
    {ATOMDL_V2, "558", -2, 0, 0, 0, 0, 0, 0},
    {ATOMDL_V2_555777, "555777", -2, 0, 0, 0, 0, 0, 0},
    {ATOMDL_STONE_WALES, "5577", 0, 0, 0, 0, 0, 0, 0},
    {ATOMDL_SI_C3, "", 0, 3, 1.624, 0.005, 0, 0, 0},
    {ATOMDL_SI_C4, "55", -1, 4, 1.880, 0.01, 0, 0, 0},
    {ATOMDL_SI2_C4, "", 0, 4, 1.71, 0.03, 1, 1.97, 0.05},
    {ATOMDL_SI2_C5, "55", -1, 5, 1.77, 0.03, 1, 2.25, 0.05},
    {ATOMDL_SI2_C6, "5555", -2, 6, 1.83, 0.02, 1, 2.43, 0.02},
    {ATOMDL_SI3_C6, "3555", -3, 6, 1.86, 0.01, 3, 2.24, 0.01},
    {ATOMDL_SI4_C6, "333555", -2, 6, 1.85, 0.02, 6, 1.93, 0.03},
    {ATOMDL_HOLE6, "I", -6, 0, 0, 0, 0, 0, 0},
    {ATOMDL_SI_C3_V, "59", -1, 3, 1.78, 0.03, 0, 0, 0},
    {ATOMDL_SI_C3_C3, "", 0, 6, 1.63, 0.02, 0, 0, 0},
    {ATOMDL_SI_C3_C4, "55", -1, 7, 1.77, 0.03, 0, 0, 0},
    {ATOMDL_SI_C4_C4, "5555", -2, 8, 1.880, 0.01, 0, 0, 0},
};

static void check_rings(const atomdl_structure *s, const atomdl_defect *d,
                        const char *want, int op)
{
    int other = 0, expected[RING_MOST] = {0};
    for (const char *p = want; *p; p++)
        expected[*p <= '9' ? *p - '0' : *p - 'A' + 10]++;
    int count[RING_MOST];
    rings(count, s, d->x, d->y);
    for (int i = 1; i < RING_MOST; i++) {
        if (i == 6) continue;
        other += count[i];
        if (count[i] != expected[i])
            FAIL("%s operation %d: %d rings of %d, want %d",
                 atomdl_defect_name(d->kind), op, count[i], i, expected[i]);
    }
    CHECK(other == (int)strlen(want));
    CHECK(count[6] > 25);
}

static void check_motif(size_t k, int op)
{
    atomdl_structure s = filled("graphene", 36, 0, 0.37, 1);
    uint32_t before = s.atoms;
    atomdl_defect d = defect_at(&s, WANT[k].kind, op, 18, 18);
    CHECK(hypot(d.x - 18, d.y - 18) < 1.45);
    CHECK(atomdl_defect_place(&s, &d, motifs()) == ATOMDL_OK);
    CHECK(atomdl_defect_place(&s, &d, motifs()) == ATOMDL_EMEM);
    s.room.defects = 2; /* no room in memory, but it never gets there */
    if (WANT[k].kind != ATOMDL_SI_ADATOM)
        CHECK(atomdl_defect_place(&s, &d, motifs()) == ATOMDL_EARG);
    CHECK(!atomdl_structure_finish(&s));
    CHECK((int)s.atoms - (int)before == WANT[k].change);
    CHECK(s.columns == before);
    CHECK(atomdl_defect_place(&s, &d, motifs()) == ATOMDL_EARG);
    check_rings(&s, &s.defect[0], WANT[k].rings, op);
    lengths carbon = bonds(&s, 6, 14);
    lengths silicon = bonds(&s, 14, 14);
    CHECK(carbon.n == WANT[k].carbon);
    CHECK(silicon.n == WANT[k].silicon);
    CHECK_NEAR(carbon.mean, WANT[k].length, WANT[k].within + 1e-9);
    CHECK_NEAR(silicon.mean, WANT[k].between, WANT[k].width + 1e-9);
    CHECK(bonds(&s, 6, 6).least > 1.25);
}

/* Distances between the atoms of an element within r of a defect, sorted. */
static int near_pairs(double *out, const atomdl_structure *s, int z, double r)
{
    int n = 0, k;
    for (uint32_t i = 0; i < s->atoms; i++)
        for (uint32_t j = 0; j < i; j++) {
            const atomdl_atom *a = &s->atom[i], *b = &s->atom[j];
            double d = hypot(a->x - b->x, a->y - b->y);
            if (a->element != z || b->element != z
                || hypot(a->x - s->defect[0].x, a->y - s->defect[0].y) > r
                || hypot(b->x - s->defect[0].x, b->y - s->defect[0].y) > r)
                continue;
            for (k = n++; k > 0 && out[k - 1] > d; k--) out[k] = out[k - 1];
            out[k] = d;
        }
    return n;
}

static atomdl_structure with_motif(int kind, int op)
{
    atomdl_structure s = filled("graphene", 36, 0, 0, 1);
    atomdl_defect d = defect_at(&s, kind, op, 18, 18);
    CHECK(!atomdl_defect_place(&s, &d, motifs()));
    CHECK(!atomdl_structure_finish(&s));
    return s;
}

void test_structure_motifs(void)
{
    for (size_t k = 0; k < sizeof WANT / sizeof *WANT; k++)
        for (int op = 0; op < 12; op += k % 3 ? 5 : 1) check_motif(k, op);
    /* every motif has a row in WANT, but the adatom, which is over a bond */
    CHECK(sizeof WANT / sizeof *WANT == ATOMDL_MOTIFS - 1);
    atomdl_structure s =
        with_motif(ATOMDL_SI_C3, 0); /* METHOD B.2: 2.813 between neighbours */
    double d[64];
    int n = near_pairs(d, &s, 6, 1.8);
    CHECK(n == 3);
    for (size_t k = 0; k < 3; k++) CHECK_NEAR(d[k], 2.813, 0.01);
    s = with_motif(ATOMDL_STONE_WALES, 2); /* 1.32-1.33 [unverified] */
    n = near_pairs(d, &s, 6, 1.0);
    CHECK(n == 1);
    CHECK_NEAR(d[0], 1.33, 0.015);
    s = with_motif(ATOMDL_V1_CLOSED, 0); /* 1.8-2.0 */
    CHECK_NEAR(bonds(&s, 6, 6).most, 1.9, 0.1);
    s = with_motif(ATOMDL_V2, 0); /* 1.7-1.8 */
    CHECK_NEAR(bonds(&s, 6, 6).most, 1.75, 0.05);
    s = with_motif(ATOMDL_SI4_C6, 0); /* corners 2.39-2.45 apart */
    n = near_pairs(d, &s, 14, 2);
    CHECK(n == 6);
    CHECK_NEAR(d[0], 1.41, 0.02);
    CHECK_NEAR(d[5], 2.44, 0.03);
}

/* Si-C4 angles 81.8 and 98.2; the lopsided Si 150, 115, 95 and
   165, 102, 93 (001 Fig. 6): between them. */
void test_structure_angles(void)
{
    static const int KIND[2] = {ATOMDL_SI_C4, ATOMDL_SI_C3_V};
    static const double WANTED[2][4] = {{81.8, 81.8, 98.2, 98.2},
                                        {94, 108, 157, 0}};
    int n;
    for (int c = 0; c < 2; c++) {
        atomdl_structure s = with_motif(KIND[c], 3);
        const atomdl_atom *si = NULL;
        uint32_t i;
        for (i = 0; i < s.atoms; i++)
            if (s.atom[i].element == 14) si = &s.atom[i];
        double angle[8];
        for (i = 0, n = 0; i < s.atoms; i++)
            if (s.atom[i].element == 6
                && hypot(s.atom[i].x - si->x, s.atom[i].y - si->y) < 2.25)
                angle[n++] = atan2(s.atom[i].y - si->y, s.atom[i].x - si->x);
        CHECK(n == 4 - c);
        for (int k = 1; k < n; k++)
            for (int m = k; m > 0 && angle[m] < angle[m - 1]; m--) {
                double t = angle[m];
                angle[m] = angle[m - 1];
                angle[m - 1] = t;
            }
        double sorted[8];
        for (int k = 0; k < n; k++) {
            double turn = angle[(k + 1) % n] - angle[k];
            sorted[k] = (turn < 0 ? turn + 6.283185307 : turn) * 57.29578;
            for (int m = k; m > 0 && sorted[m] < sorted[m - 1]; m--) {
                double t = sorted[m];
                sorted[m] = sorted[m - 1];
                sorted[m - 1] = t;
            }
        }
        for (int k = 0; k < n; k++)
            CHECK_NEAR(sorted[k], WANTED[c][k], c ? 9 : 0.5);
    }
}

/* ---------- Defects ------------------------------------------------------- */

static atomdl_drawing drawing(void)
{
    atomdl_drawing how;
    memset(&how, 0, sizeof how);
    for (int k = 0; k < ATOMDL_MOTIFS; k++) how.weight[k] = 1;
    how.apart = 6.5, how.nearer = 3.9, how.fraction = 0.15;
    how.scale_sd = 0.12;
    how.jitter[0] = 0.05, how.jitter[1] = 0.07, how.jitter[2] = 0.03;
    return how;
}

void test_structure_names(void)
{
    for (int k = 0; k < ATOMDL_DEFECTS; k++)
        CHECK(atomdl_defect_find(atomdl_defect_name(k)) == k);
    CHECK(!atomdl_defect_name(ATOMDL_DEFECTS) && !atomdl_defect_name(-1));
    CHECK(atomdl_defect_find("si-c3") == ATOMDL_SI_C3
          && atomdl_defect_find("vx1") == ATOMDL_VX1
          && atomdl_defect_find("") == -1);
}

/* Centres keep their distance, kinds their share, operations are all used. */
void test_structure_draw(void)
{
    atomdl_drawing how = drawing();
    uint32_t kinds[ATOMDL_DEFECTS] = {0}, ops[12] = {0}, total = 0, near = 0;
    atomdl_rng root = atomdl_rng_seed(5);
    double moved = 0;
    how.weight[ATOMDL_V1] = 3;
    how.weight[ATOMDL_SI4_C6] = 0;
    for (int k = 0; k < 150; k++) {
        atomdl_structure s = filled("graphene", 60, 4, 0.1 * k, 64);
        atomdl_rng r = atomdl_rng_split(&root, (uint64_t)k);
        how.nearer = k % 2 ? 3.9 : 6.5;
        uint32_t drawn;
        CHECK(!atomdl_defects_draw(&s, &drawn, 12, &how, motifs(), &r));
        CHECK(drawn == s.defects && drawn >= 10);
        total += drawn;
        for (int i = 0; i < (int)s.defects; i++) {
            const atomdl_defect *d = &s.defect[i];
            CHECK(d->id == (uint32_t)i + 1);
            CHECK(d->x >= 0 && d->x <= 60 && d->y >= 0 && d->y <= 60);
            CHECK(d->scale >= 0.6f && d->scale <= 1.4f);
            moved += fabs((double)d->scale - 1);
            kinds[d->kind]++;
            ops[d->operation]++;
            for (int j = 0; j < i; j++) {
                double a = hypot(d->x - s.defect[j].x, d->y - s.defect[j].y);
                CHECK(a >= how.nearer);
                near += a < 6.5;
            }
        }
        CHECK(!atomdl_structure_finish(&s));
        for (int i = 0; i < (int)s.atoms; i++)
            CHECK(s.atom[i].x > -6 && s.atom[i].x < 66);
    }
    CHECK(near > 5 && near < 150);
    CHECK_NEAR(moved / total, 0.12 * 0.798, 0.01);
    CHECK(kinds[ATOMDL_SI4_C6] == 0);
    CHECK_NEAR((double)kinds[ATOMDL_V1] / total, 3.0 / 19, 0.03);
    for (int k = 0; k < ATOMDL_MOTIFS; k++)
        if (k != ATOMDL_SI4_C6) CHECK(kinds[k] > total / 19 / 2);
    for (int k = 0; k < 12; k++) CHECK_NEAR(ops[k] * 12.0 / total, 1, 0.3);
}

/* Neighbours belong to their defect, which no other may touch; scale works
   on the displacement of the sheet alone. */
void test_structure_marks(void)
{
    for (int k = 0; k <= 2; k++) {
        atomdl_structure s = filled("graphene", 30, 0, 0.2, 3);
        atomdl_defect d = defect_at(&s, ATOMDL_SI_C3, 4, 15, 15), e = d;
        uint32_t marked = 0;
        d.scale = (float)k / 2;
        CHECK(!atomdl_defect_place(&s, &d, motifs()));
        e.i++; /* shares a carbon */
        CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
        e.i++;
        e.scale = d.scale;
        CHECK(!atomdl_defect_place(&s, &e, motifs()));
        CHECK(!atomdl_structure_finish(&s));
        for (uint32_t i = 0; i < s.atoms; i++) {
            int mark = s.atom[i].defect;
            if (!mark) continue;
            marked++;
            CHECK(s.column[s.atom[i].column].defect == mark);
            for (uint32_t j = 0; j < i; j++)
                if (s.atom[j].defect == mark && s.atom[i].element == 14)
                    CHECK_NEAR(hypot(s.atom[i].x - s.atom[j].x,
                                     s.atom[i].y - s.atom[j].y),
                               1.4209 + 0.2031 * k / 2, 0.015);
        }
        CHECK(marked == 8);
    }
}

/* Offsets of silicon: its own and, in pairs, one in common. */
void test_structure_jitter(void)
{
    atomdl_drawing how = drawing();
    atomdl_rng r = atomdl_rng_seed(31);
    double own = 0, common = 0;
    int n = 400;
    memset(how.weight, 0, sizeof how.weight);
    how.weight[ATOMDL_SI2_C6] = 1;
    how.scale_sd = 0;
    how.jitter[0] = 9e-9, how.jitter[1] = 0.07, how.jitter[2] = 0.2;
    for (int k = 0; k < n; k++) {
        atomdl_structure s = filled("graphene", 24, 4, 0, 1);
        CHECK(!atomdl_defects_draw(&s, NULL, 1, &how, motifs(), &r));
        uint32_t i = s.atoms;
        const atomdl_atom *a, *b;
        a = &s.atom[i - 1], b = &s.atom[i - 2];
        CHECK(a->element == 14 && b->element == 14);
        double dx =
            (a->x + b->x) / 2 - s.defect[0].x; /* their middle: the centre */
        common += dx * dx;
        dx = (a->y + b->y) / 2 - s.defect[0].y;
        common += dx * dx;
        dx = hypot(a->x - b->x, a->y - b->y) - 2.44;
        own += dx * dx;
    }
    CHECK_NEAR(sqrt(common / 2 / n), sqrt(0.04 + 0.0049 / 2), 0.015);
    CHECK_NEAR(sqrt(own / n), 0.07 * sqrt(2), 0.015);
}

/* A sample is a function of its stream alone. */
void test_structure_repeat(void)
{
    atomdl_drawing how = drawing();
    uint64_t digest[2] = {ATOMDL_DIGEST, ATOMDL_DIGEST};
    for (int k = 0; k < 2; k++) {
        atomdl_structure s = filled("graphene", 30, 3, 0.5, 8);
        atomdl_rng r = atomdl_rng_seed(77);
        CHECK(!atomdl_defects_draw(&s, NULL, 4, &how, motifs(), &r));
        atomdl_structure_thermal(&s, 0.05, &r);
        CHECK(!atomdl_structure_finish(&s));
        for (uint32_t i = 0; i < s.atoms; i++)
            digest[k] = atomdl_digest_f64(digest[k], &s.atom[i].x, 3);
    }
    CHECK(digest[0] == digest[1]);
}

/* What each defect of a dichalcogenide makes of its columns. */
void test_structure_columns(void)
{
    static const struct {
        int kind;
        const char *lattice, *text, *beside;
    } WANTED[] = {
        {ATOMDL_VX1, "mos2-2h-1", "S", 0},
        {ATOMDL_VX2, "mos2-2h-1", "vacancy", 0},
        {ATOMDL_VM, "mos2-2h-1", "vacancy", 0},
        {ATOMDL_M_X, "mos2-2h-1", "Mo+S", 0},
        {ATOMDL_M_X2, "mos2-2h-1", "Mo", 0},
        {ATOMDL_X_M, "mos2-2h-1", "S", 0},
        {ATOMDL_X2_M, "mos2-2h-1", "S2", 0},
        {ATOMDL_SUB_M, "mos2-2h-1", "W", 0},
        {ATOMDL_SUB_X, "mos2-2h-1", "W+S", 0},
        {ATOMDL_SUB_M_VX1, "mos2-2h-1", "W", "S"},
        {ATOMDL_VX2, "mos2-2h-2", "Mo", 0},
        {ATOMDL_VX2, "wse2-2h-3", 0, 0},
        {ATOMDL_VM, "mos2-2h-2", "S2", 0},
        {ATOMDL_VX1, "mos2-3r-3", "Mo+S", 0},
    };
    for (size_t k = 0; k < sizeof WANTED / sizeof *WANTED; k++)
        for (int op = 0; op < 12; op++) {
            atomdl_structure s = filled(WANTED[k].lattice, 24, 0, 0.2, 2);
            atomdl_defect d = defect_at(&s, WANTED[k].kind, op, 11, 12);
            uint32_t marked = 0;
            d.element = 74;
            CHECK(hypot(d.x - 11, d.y - 12) < 2);
            CHECK(atomdl_defect_place(&s, &d, NULL) == ATOMDL_OK);
            CHECK(atomdl_defect_place(&s, &d, NULL) == ATOMDL_EARG);
            CHECK(!atomdl_structure_finish(&s));
            char text[32];
            for (uint32_t i = 0; i < s.columns; i++) {
                const atomdl_column *c = &s.column[i];
                if (!c->defect) continue;
                marked++;
                atomdl_column_text(text, c);
                if (hypot(c->x - d.x, c->y - d.y) < 1e-9) {
                    CHECK(!WANTED[k].text || !strcmp(text, WANTED[k].text));
                } else {
                    CHECK_NEAR(hypot(c->x - d.x, c->y - d.y),
                               s.region[0].lattice.a[0] / sqrt(3), 1e-9);
                    CHECK(WANTED[k].beside
                          && !strcmp(text, WANTED[k].beside));
                }
            }
            CHECK(marked == (WANTED[k].beside ? 2 : 1));
        }
}

void test_structure_refusals(void)
{
    atomdl_structure s = filled("graphene", 20, 0, 0, 4);
    atomdl_drawing how = drawing();
    atomdl_rng r = atomdl_rng_seed(1);
    atomdl_defect d = defect_at(&s, ATOMDL_SI_C3, 0, 10, 10), e = d;
    atomdl_placement at = {0, 0, 0, 0.3, 0, 0};
    atomdl_cloud cloud = {0, 0, 0, 10, 0};
    CHECK(atomdl_defect_place(&s, &d, NULL) == ATOMDL_EARG);
    e.operation = 12;
    CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
    e = d, e.i = INT32_MAX, e.j = INT32_MIN;
    CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
    e = d, e.i = 1000;
    CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
    e = d, e.scale = NAN;
    CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
    e = d, e.region = 1;
    CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
    e = d, e.kind = ATOMDL_VX1; /* not in graphene */
    CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
    CHECK(atomdl_defect_locate(&e, &s, 10, 10) == ATOMDL_EARG);
    CHECK(atomdl_defect_place(&s, &d, motifs()) == ATOMDL_OK);
    e = d, e.kind = ATOMDL_SI_C4; /* overlaps */
    CHECK(atomdl_defect_place(&s, &e, motifs()) == ATOMDL_EARG);
    CHECK(s.defects == 1);
    how.apart = NAN;
    CHECK(atomdl_defects_draw(&s, NULL, 1, &how, motifs(), &r)
          == ATOMDL_EARG);
    memset(&how, 0, sizeof how);
    CHECK(atomdl_defects_draw(&s, NULL, 1, &how, motifs(), &r)
          == ATOMDL_EARG);
    CHECK(atomdl_defects_draw(&s, NULL, 0, &how, motifs(), &r) == ATOMDL_OK);
    CHECK(atomdl_defects_scatter(&s, ATOMDL_VX1, 0, 1.5, -1, &r)
          == ATOMDL_EARG);
    CHECK(atomdl_defects_scatter(&s, ATOMDL_V1, 0, 0.5, -1, &r)
          == ATOMDL_EARG);
    CHECK(atomdl_structure_fill(&s, &s.region[0].lattice, &at, NULL, 0, 0,
                                &memory) == ATOMDL_EARG);
    at.exx = NAN;
    CHECK(atomdl_structure_fill(&s, &s.region[0].lattice, &at, NULL, 0, 0,
                                &memory) == ATOMDL_EARG);
    CHECK(atomdl_structure_cloud(&s, &cloud, &r, &memory) == ATOMDL_EARG);
    cloud.sigma = 1;
    cloud.core = 2.1;
    CHECK(atomdl_structure_cloud(&s, &cloud, &r, &memory) == ATOMDL_EARG);
    CHECK(atomdl_structure_contacts(&s, -1, &memory) == ATOMDL_EARG);
    atomdl_structure t;
    atomdl_room room = {1, 1, UINT16_MAX};
    CHECK(atomdl_structure_new(&t, 1, 1, 0, &room, &memory) == ATOMDL_EARG);
    room.defects = 1;
    CHECK(atomdl_structure_new(&t, NAN, 1, 0, &room, &memory) == ATOMDL_EARG);
    CHECK(atomdl_structure_new(&t, 1, 1, -1, &room, &memory) == ATOMDL_EARG);
    room = (atomdl_room){50, 50, 0};
    CHECK(!atomdl_structure_new(&t, 20, 20, 0, &room, &memory));
    at.exx = 0;
    CHECK(atomdl_structure_fill(&t, &s.region[0].lattice, &at, NULL, 0, 0,
                                &memory) == ATOMDL_EMEM);
}

/* Fractions over many draws, each within four standard deviations. */
void test_structure_fractions(void)
{
    const double VX1 = 0.05, VX2 = 0.01, ALLOY = 0.18;
    uint32_t sites = 0, metal = 0, one = 0, none = 0, tungsten = 0;
    atomdl_rng root = atomdl_rng_seed(9);
    for (uint32_t k = 0; k < 40; k++) {
        atomdl_structure s = filled("mose2-2h-1", 80, 0, k, 400);
        atomdl_rng r = atomdl_rng_split(&root, k);
        atomdl_structure_alloy(&s, 1, 42, 74, ALLOY, &r);
        CHECK(!atomdl_defects_scatter(&s, ATOMDL_VX2, 0, VX2, -1, &r));
        CHECK(!atomdl_defects_scatter(&s, ATOMDL_VX1, 0, VX1, 0, &r));
        CHECK(!atomdl_structure_finish(&s));
        for (uint32_t i = 0; i < s.columns; i++) {
            const atomdl_column *c = &s.column[i];
            sites += c->site == 2;
            metal += c->site == 1;
            one += c->site == 2 && c->count == 1;
            none += c->count == 0;
            tungsten += c->element[0] == 74;
            CHECK((c->defect != 0) == (c->site == 2 && c->count < 2));
        }
    }
    CHECK(sites > 25000);
    CHECK_NEAR((double)none / sites, VX2, 4 * sqrt(VX2 / sites));
    CHECK_NEAR((double)one / sites, VX1 * (1 - VX2),
               4 * sqrt(VX1 / sites));
    CHECK_NEAR((double)tungsten / metal, ALLOY, 4 * sqrt(ALLOY / metal));
}

/* Thermal displacement, smooth displacement, carbon. */
void test_structure_moves(void)
{
    atomdl_structure s = filled("graphene", 100, 0, 0, 0);
    static const atomdl_wave WAVE = {0.1, -0.2, 0.05, 0.02, 0.3};
    static const atomdl_cloud CLOUD = {50, 50, 8, 20, 0};
    atomdl_rng r = atomdl_rng_seed(3);
    double sx = 0, sxx = 0, volume = 2 * 3.14159265 * 64 * 20;
    atomdl_structure t = s;
    t.atom = malloc(s.atoms * sizeof *t.atom);
    memcpy(t.atom, s.atom, s.atoms * sizeof *t.atom);
    atomdl_structure_warp(&s, &WAVE, 1);
    uint32_t i;
    for (i = 0; i < s.atoms; i += 7) {
        double x = t.atom[i].x, y = t.atom[i].y;
        double w = sin(0.05 * x + 0.02 * y + 0.3);
        CHECK_NEAR(s.atom[i].x, x + 0.1 * w, 1e-12);
        CHECK_NEAR(s.atom[i].y, y - 0.2 * w, 1e-12);
        CHECK_NEAR(s.column[s.atom[i].column].x, s.atom[i].x, 1e-12);
    }
    memcpy(t.atom, s.atom, s.atoms * sizeof *t.atom);
    atomdl_structure_thermal(&s, 0.08, &r);
    for (i = 0; i < s.atoms; i++) {
        double dx = s.atom[i].x - t.atom[i].x, dy = s.atom[i].y - t.atom[i].y;
        sx += dx + dy;
        sxx += dx * dx + dy * dy;
    }
    CHECK_NEAR(sx / s.atoms, 0, 5 * 0.08 * sqrt(2.0 / s.atoms));
    CHECK_NEAR(sqrt(sxx / 2 / s.atoms), 0.08, 0.003);
    uint32_t n;
    for (i = 0, n = 0; i < 40; i++) {
        uint32_t before = s.atoms;
        CHECK(!atomdl_structure_cloud(&s, &CLOUD, &r, &memory));
        n += s.atoms - before;
        CHECK(s.atom[before].role == ATOMDL_ROLE_CONTAMINATION
              && s.atom[before].column == UINT32_MAX);
        if (i < 39) s.atoms = before;
    }
    CHECK_NEAR(n, i * volume * 0.1, 4 * sqrt(i * volume * 0.1));
    CHECK_NEAR(atomdl_cloud_thickness(&CLOUD, 1, 58, 50), 20 * exp(-0.5),
               1e-9);
    n = s.columns;
    CHECK(!atomdl_structure_finish(&s) && s.columns == n);
    atomdl_structure_thermal(&s, NAN, &r);
    CHECK(atomdl_structure_finish(&s) == ATOMDL_ENAN);
    free(t.atom);
}

/* ---------- XYZ files ----------------------------------------------------- */

static int read_text(atomdl_xyz *info, atomdl_atom *atom, const char *text)
{
    char *copy = malloc(strlen(text) + 1); /* ends where it ends */
    memcpy(copy, text, strlen(text));
    int status = atomdl_xyz_read(info, atom, copy, strlen(text));
    free(copy);
    return status;
}

void test_structure_xyz(void)
{
    static const char *const ASE =
        "3\nLattice=\"3.16 0.0 0.0 -1.58 2.7366 0.0 0.0 0.0 20.0\" "
        "Properties=species:S:1:pos:R:3:tags:I:1 pbc=\"T T F\"\n"
        "Mo       0.00000000       1.82440000      10.00000000  0\r\n"
        "S        1.58000000       0.91220000       1.1586e1    0\n"
        "S        +1.58            .9122          841.4e-2      1\n";
    static const struct {
        const char *text, *why;
        uint32_t line;
    } BAD[] = {
        {"", "not a number of atoms", 1},
        {"x\n", "not a number of atoms", 1},
        {"0\n\n", "not a number of atoms", 1},
        {"-1\n\nC 0 0 0\n", "not a number of atoms", 1},
        {"1.5\n\nC 0 0 0\n", "not a number of atoms", 1},
        {"nan\n\nC 0 0 0\n", "not a number of atoms", 1},
        {"1 2\n\nC 0 0 0\n", "more than a number of atoms", 1},
        {"1000000000\n\nC 0 0 0\n", "more atoms than the file can hold", 1},
        {"99999999999999999999999\n\n", "more atoms than the file can hold",
         1},
        {"2\n\nC 0 0 0\n", "the file ends early", 4},
        {"2\n\nC 0 0 0\nC 0 0\n", "a value is missing", 4},
        {"1\n\nC 0 nan 0\n", "not a coordinate", 3},
        {"1\n\nC 0 1e999 0\n", "not a coordinate", 3},
        {"1\n\nC 0 1e7 0\n", "not a coordinate", 3},
        {"1\n\nC 0 0x1 0\n", "not a coordinate", 3},
        {"1\n\nC 0 1e 0\n", "not a coordinate", 3},
        {"1\n\nC 0 . 0\n", "not a coordinate", 3},
        {"1\n\nQq 0 0 0\n", "unknown element", 3},
        {"1\n\n119 0 0 0\n", "unknown element", 3},
        {"1\nLattice=\"1 2 3\"\nC 0 0 0\n", "Lattice needs nine numbers", 2},
        {"1\nLattice=\"1 0 0 0 1 0 0 0 nan\"\nC 0 0 0\n",
         "Lattice needs nine numbers", 2},
        {"1\nProperties=species:S:1\nC 0 0 0\n",
         "Properties need species:S:1 and pos:R:3", 2},
        {"1\nProperties=species:S:1:pos:R:2\nC 0 0 0\n",
         "Properties need species:S:1 and pos:R:3", 2},
        {"1\nProperties=species:S:1:pos:R\nC 0 0 0\n",
         "Properties need species:S:1 and pos:R:3", 2},
        {"1\nProperties=species:S:1:x:R:999:pos:R:3\nC 0 0 0\n",
         "Properties need species:S:1 and pos:R:3", 2},
    };
    atomdl_xyz info;
    CHECK(read_text(&info, NULL, ASE) == ATOMDL_OK);
    CHECK(info.atoms == 3 && info.line == 0 && !*info.why);
    atomdl_atom atom[4];
    CHECK(read_text(&info, atom, ASE) == ATOMDL_OK);
    CHECK(atom[0].element == 42 && atom[2].element == 16);
    CHECK(atom[0].y == 1.8244 && atom[1].z == 11.586 && atom[2].z == 8.414);
    CHECK(info.cell[0] == 3.16 && info.cell[3] == -1.58 && info.cell[8] == 20);
    CHECK(info.low[0] == 0 && info.high[1] == 1.8244);
    fresh();
    atomdl_structure s;
    atomdl_room room = {3, 3, 0};
    CHECK(!atomdl_structure_new(&s, 5, 5, 0, &room, &memory));
    CHECK(!atomdl_structure_atoms(&s, atom, 3, 1, 2, 0.3, &memory));
    CHECK(!atomdl_structure_finish(&s));
    CHECK(s.columns == 2 && s.atoms == 3);
    char text[32];
    atomdl_column_text(text, &s.column[1]);
    CHECK(!strcmp(text, "S2"));
    CHECK_NEAR(s.column[0].y, 3.8244, 1e-12);
    CHECK(read_text(&info, atom, "1\n\n6 1 2 -3") == ATOMDL_OK);
    CHECK(atom[0].element == 6 && atom[0].z == -3);
    CHECK(read_text(&info, atom,
                    "1\nProperties=pos:R:3:Z:I:1:species:S:1\n1 2 3 42 Mo")
          == ATOMDL_OK);
    CHECK(atom[0].x == 1 && atom[0].z == 3 && atom[0].element == 42);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        CHECK(read_text(&info, NULL, BAD[i].text) == ATOMDL_EFILE);
        if (strcmp(info.why, BAD[i].why) || info.line != BAD[i].line)
            FAIL("%s: line %u: %s", BAD[i].text, (unsigned)info.line,
                 info.why);
    }
}

/* Every cut and many changed bytes: no crash, and no atom that is not sound. */
void test_structure_hostile(void)
{
    static const char GOOD[] =
        "2\nLattice=\"3 0 0 0 3 0 0 0 9\" Properties=species:S:1:pos:R:3\n"
        "Mo 0.25 1.5e0 10\nS -1.5 0.9 11\n";
    atomdl_rng r = atomdl_rng_seed(4);
    char text[sizeof GOOD];
    for (int k = 0; k < 20000; k++) {
        memcpy(text, GOOD, sizeof GOOD);
        size_t n = k < (int)sizeof GOOD ? (size_t)k : sizeof GOOD - 1;
        for (int i = (int)atomdl_rng_below(&r, 4); i > 0; i--)
            text[atomdl_rng_below(&r, sizeof GOOD - 1)] =
                (char)(k % 2 ? atomdl_rng_below(&r, 256)
                             : (uint32_t)GOOD[atomdl_rng_below(
                                   &r, sizeof GOOD - 1)]);
        atomdl_xyz info;
        if (atomdl_xyz_read(&info, NULL, text, n)) {
            CHECK(info.line > 0 && *info.why && !info.atoms);
            continue;
        }
        if (info.atoms > 4) continue;
        atomdl_atom atom[4];
        CHECK(!atomdl_xyz_read(&info, atom, text, n));
        for (int i = 0; i < (int)info.atoms; i++)
            CHECK(fabs(atom[i].x) <= 1e6 && atom[i].element >= 1);
    }
}

/* ---------- Labels -------------------------------------------------------- */

static uint32_t painted(const uint8_t *label, size_t n, int class_id)
{
    uint32_t count = 0;
    while (n-- > 0) count += label[n] == class_id;
    return count;
}

void test_structure_labels(void)
{
    enum { SIDE = 240 };
    static uint8_t label[SIDE * SIDE];
    static const atomdl_rule RULES[] = {
        {ATOMDL_LABEL_COLUMN, 1, ATOMDL_ANY, ATOMDL_ANY, ATOMDL_ANY,
         ATOMDL_ANY, "Mo", 0.95f, 0, 0},
        {ATOMDL_LABEL_COLUMN, 2, ATOMDL_ANY, ATOMDL_ANY, 2, ATOMDL_ANY, "S2",
         0.95f, 0, 0},
        {ATOMDL_LABEL_COLUMN, 3, ATOMDL_ANY, ATOMDL_ANY, ATOMDL_ANY,
         ATOMDL_ANY, "S", 0.95f, 0, 0},
        {ATOMDL_LABEL_DEFECT, 4, ATOMDL_ANY, ATOMDL_VX2, ATOMDL_ANY,
         ATOMDL_ANY, "", 0.5f, 0, 0}};
    static const atomdl_label_grid GRID = {SIDE, SIDE, 0.1};
    atomdl_rule bad = RULES[0], rule = {
        ATOMDL_LABEL_THICKNESS, 7, 0, 0, 0, 0, "", 0, 5, 100};
    atomdl_cloud cloud = {12, 12, 4, 10, 0};
    atomdl_clouds clouds = {&cloud, 1};
    atomdl_structure s = filled("mos2-2h-1", 24, 3, 0.3, 2);
    atomdl_defect one = defect_at(&s, ATOMDL_VX1, 0, 8, 8);
    atomdl_defect two = defect_at(&s, ATOMDL_VX2, 0, 16, 15);
    size_t n = sizeof label;
    double disc = 3.14159265 * 0.95 * 0.95 / 0.01;
    CHECK(!atomdl_defect_place(&s, &one, NULL));
    CHECK(!atomdl_defect_place(&s, &two, NULL));
    CHECK(!atomdl_structure_finish(&s));
    memset(label, 0, n);
    CHECK(!atomdl_label_paint(label, &GRID, &s, RULES, 4, NULL));
    CHECK_NEAR(painted(label, n, 1), disc * 576 / 8.648, 700);
    CHECK_NEAR(painted(label, n, 2), disc * (576 / 8.648 - 2), 700);
    CHECK_NEAR(painted(label, n, 3), disc, 12);
    CHECK_NEAR(painted(label, n, 4), 78.5, 6);
    for (int y = 0; y < SIDE; y++) /* every pixel of the disc, and no other */
        for (int x = 0; x < SIDE; x++) {
            double d = hypot((x + 0.5) * 0.1 - one.x, (y + 0.5) * 0.1 - one.y);
            CHECK((label[y * SIDE + x] == 3) == (d <= 0.95)
                  || fabs(d - 0.95) < 1e-6);
        }
    memset(label, 0, n);
    CHECK(!atomdl_label_paint(label, &GRID, &s, &rule, 1, &clouds));
    CHECK_NEAR(painted(label, n, 7), 3.14159265 * 32 * log(2) / 0.01, 30);
    rule.what = ATOMDL_LABEL_REGION;
    CHECK(!atomdl_label_paint(label, &GRID, &s, &rule, 1, NULL));
    CHECK(painted(label, n, 7) == n);
    memset(label, 0, n); /* contamination is no truth */
    CHECK(s.atoms < s.room.atoms);
    s.atom[s.atoms++] = (atomdl_atom){
        12, 12, 0, 1, 6, ATOMDL_ROLE_CONTAMINATION, 0, UINT32_MAX};
    rule.what = ATOMDL_LABEL_ATOM, rule.element = 6, rule.radius = 1;
    rule.kind = rule.region = ATOMDL_ANY;
    CHECK(!atomdl_label_paint(label, &GRID, &s, &rule, 1, NULL));
    CHECK(painted(label, n, 7) == 0);
    rule.element = 42;
    CHECK(!atomdl_label_paint(label, &GRID, &s, &rule, 1, NULL));
    CHECK(painted(label, n, 7) > 15000);
    memcpy(bad.text, "Qq", 3);
    CHECK(atomdl_label_paint(label, &GRID, &s, &bad, 1, NULL)
          == ATOMDL_EARG);
    memset(bad.text, 'S', sizeof bad.text);
    CHECK(atomdl_label_paint(label, &GRID, &s, &bad, 1, NULL)
          == ATOMDL_EARG);
    bad = RULES[0], bad.radius = NAN;
    CHECK(atomdl_label_paint(label, &GRID, &s, &bad, 1, NULL)
          == ATOMDL_EARG);
    CHECK(atomdl_label_paint(label, &(atomdl_label_grid){9, 9, 0}, &s, RULES,
                             1, NULL) == ATOMDL_EARG);
}

/* Two stackings: each pixel has the class of the region it lies in. */
void test_structure_stacking(void)
{
    static uint8_t label[100 * 100];
    static const atomdl_rule RULES[2] = {
        {ATOMDL_LABEL_REGION, 1, 0, 0, 0, 5, "", 0, 0, 0},
        {ATOMDL_LABEL_REGION, 2, 0, 0, 0, 6, "", 0, 0, 0}};
    atomdl_lattice l = lattice("mos2-2h-1"), m = lattice("mos2-3r-2");
    atomdl_placement at = {20, 20, 0.2, 0, 0, 0};
    atomdl_line line = {20, 20, 0, 3, 20, 0}, back = {20, 20, 0, 3, 20, 0};
    back.angle = 3.14159265358979;
    fresh();
    atomdl_structure s = empty(&m, 40, 0, 0);
    CHECK(!atomdl_structure_fill(&s, &l, &at, &line, 1, 5, &memory));
    CHECK(!atomdl_structure_fill(&s, &m, &at, &back, 1, 6, &memory));
    static const atomdl_label_grid GRID = {100, 100, 0.4};
    CHECK(!atomdl_label_paint(label, &GRID, &s, RULES, 2, NULL));
    for (int y = 0; y < 100; y++)
        for (int x = 0; x < 100; x++) {
            double px = (x + 0.5) * 0.4 - 20, py = (y + 0.5) * 0.4 - 20;
            double side = py - 3 * sin(2 * 3.14159265358979 * px / 20);
            CHECK(label[y * 100 + x] == (side > 0 ? 1 : 2)
                  || fabs(side) < 1e-6);
        }
}

/* ---------- Movies -------------------------------------------------------- */

/* Identities persist, events are what the lists show, rates are met. */
void test_structure_movie(void)
{
    enum { MOST = 64, FRAMES = 400 };
    atomdl_structure s = filled("ws2-2h-1", 60, 3, 0.4, MOST);
    atomdl_dynamics how;
    atomdl_rng root = atomdl_rng_seed(6);
    atomdl_defect list[MOST], old[MOST];
    atomdl_movie m = {.defect = list, .max = MOST, .next_id = 1};
    memset(&how, 0, sizeof how);
    how.states = 3;
    how.kind[1] = ATOMDL_VX1, how.kind[2] = ATOMDL_VX2;
    how.rate[0][1] = 0.8, how.rate[1][0] = 0.03, how.rate[1][2] = 0.02;
    how.rate[2][1] = 0.1;
    how.hop[1] = 0.2;
    how.apart = 3.5;
    atomdl_rng r;
    uint32_t j, hops, born;
    for (uint32_t frame = 0; frame < FRAMES; frame++) {
        memcpy(old, list, sizeof old);
        uint32_t before = m.defects;
        atomdl_events last = m.events;
        r = atomdl_rng_split(&root, frame);
        CHECK(!atomdl_movie_step(&m, &how, &s, &r));
        atomdl_events e = m.events;
        uint32_t n = m.defects;
        for (uint32_t i = hops = born = 0; i < n; i++) {
            for (j = 0; j < before && old[j].id != list[i].id; j++) {}
            born += j == before;
            if (j == before) continue;
            hops += hypot(old[j].x - list[i].x, old[j].y - list[i].y) > 1e-9;
            CHECK_NEAR(hypot(old[j].x - list[i].x, old[j].y - list[i].y)
                       * (old[j].x != list[i].x),
                       3.153 * (hypot(old[j].x - list[i].x,
                                      old[j].y - list[i].y) > 1), 1e-9);
            for (j = 0; j < i; j++)
                CHECK(hypot(list[j].x - list[i].x, list[j].y - list[i].y)
                      >= how.apart);
        }
        uint32_t died = before + born - n;
        CHECK(hops == e.hops[1] + e.hops[2] - last.hops[1] - last.hops[2]);
        CHECK(born == e.change[0][1] - last.change[0][1]);
        CHECK(died == e.change[1][0] - last.change[1][0]
              + e.change[2][0] - last.change[2][0]);
    }
    atomdl_events e = m.events;
    uint32_t before = e.change[1][0] + e.change[1][1] + e.change[1][2];
    CHECK(before > 2000);
    CHECK_NEAR((double)e.change[1][0] / before, 0.03,
               4 * sqrt(0.03 / before));
    CHECK_NEAR((double)e.change[1][2] / before, 0.02,
               4 * sqrt(0.02 / before));
    CHECK_NEAR((e.hops[1] + 0.5 * e.blocked) / before, 0.2, 0.03);
    CHECK_NEAR(e.change[0][1], 0.8 * FRAMES, 5 * sqrt(0.8 * FRAMES));
    for (uint32_t i = 0; i < m.defects; i++)
        CHECK(!atomdl_defect_place(&s, &list[i], NULL));
    CHECK(s.defects == m.defects && s.defect[0].id == list[0].id);
    how.rate[1][2] = 1;
    CHECK(atomdl_movie_step(&m, &how, &s, &r) == ATOMDL_EARG);
}

/* Rotor turns by 60 degrees: the triangle points the other way each time. */
void test_structure_rotor(void)
{
    atomdl_dynamics how;
    atomdl_rng r = atomdl_rng_seed(8);
    double phase[2] = {0, 0};
    atomdl_defect d;
    atomdl_movie m = {.defect = &d, .defects = 1, .max = 1, .next_id = 2};
    memset(&how, 0, sizeof how);
    how.states = 2, how.kind[1] = ATOMDL_SI3_C6, how.turn[1] = 1;
    for (uint32_t frame = 0; frame < 6; frame++) {
        double c = 0, q = 0;
        atomdl_structure s = filled("graphene", 24, 0, 0.1, 1);
        if (!frame) d = defect_at(&s, ATOMDL_SI3_C6, 0, 12, 12), d.id = 1;
        else CHECK(!atomdl_movie_step(&m, &how, &s, &r));
        CHECK(m.defects == 1 && d.id == 1);
        CHECK(!atomdl_defect_place(&s, &d, motifs()));
        CHECK(!atomdl_structure_finish(&s));
        for (uint32_t i = 0; i < s.atoms; i++)
            if (s.atom[i].element == 14) {
                double a = 3 * atan2(s.atom[i].y - d.y, s.atom[i].x - d.x);
                c += cos(a) / 3;
                q += sin(a) / 3;
            }
        CHECK_NEAR(hypot(c, q), 1, 1e-6);
        if (frame) CHECK_NEAR(c * phase[0] + q * phase[1], -1, 1e-6);
        phase[0] = c, phase[1] = q;
    }
    CHECK(m.events.turns[1] == 5 && m.events.change[1][1] == 5);
}

/* ---------- Memory -------------------------------------------------------- */

static int whole(atomdl_arena *arena)
{
    atomdl_lattice l;
    atomdl_placement at = {5, 5, 0.2, 0, 0, 0};
    atomdl_line line = {6, 6, 1, 0, 1, 0};
    atomdl_drawing how = drawing();
    atomdl_cloud cloud = {5, 5, 2, 3, 1.3};
    atomdl_rng r = atomdl_rng_seed(2);
    (void)atomdl_lattice_find(&l, "graphene");
    atomdl_room room;
    atomdl_structure_room(&room, 12, 12, 1, &l);
    room.atoms += 99;
    room.defects = 4;
    atomdl_motifs *m;
    int status = atomdl_motifs_new(&m, 1 << ATOMDL_SI_C3, arena);
    atomdl_structure s;
    if (!status)
        status = atomdl_structure_new(&s, 12, 12, 1, &room, arena);
    if (!status)
        status = atomdl_structure_fill(&s, &l, &at, &line, 1, 0, arena);
    if (!status) status = atomdl_structure_contacts(&s, 1, arena);
    memset(how.weight, 0, sizeof how.weight);
    how.weight[ATOMDL_SI_C3] = 1;
    if (!status) status = atomdl_defects_draw(&s, NULL, 2, &how, m, &r);
    if (!status) status = atomdl_structure_cloud(&s, &cloud, &r, arena);
    if (!status) atomdl_structure_thermal(&s, 0.1, &r);
    if (!status) status = atomdl_structure_finish(&s);
    return status;
}

void test_structure_memory(void)
{
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    uint32_t wrong = 0;
    CHECK(whole(&measure) == ATOMDL_OK);
    unsigned char *base = malloc(measure.peak);
    atomdl_arena a;
    for (size_t size = 1; size <= measure.peak;
         size += size < 90000 ? 4999 : 61) {
        a.base = base, a.size = size, a.used = a.peak = 0, a.failed = 0;
        if (size + 61 > measure.peak) a.size = size = measure.peak;
        wrong += whole(&a) != (a.size == measure.peak ? ATOMDL_OK
                                                      : ATOMDL_EMEM);
    }
    CHECK(wrong == 0);
    free(base);
}
