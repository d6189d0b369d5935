/* SPDX-License-Identifier: MIT
   Bonds, rings and defects on lattices whose answer is known. */

#include "test.h"

#include <time.h>

enum { MOST = 4096 };

/* ---------- Sheets of graphene -------------------------------------------- */

typedef struct {
    atomdl_node node[MOST];
    int n;
} sheet;

static const double CC = 1.42;

static double distance(const sheet *s, int i, double x, double y)
{
    return hypot(s->node[i].x - x, s->node[i].y - y);
}

static int at(const sheet *s, double x, double y)
{
    int best = 0;
    for (int i = 1; i < s->n; i++)
        if (distance(s, i, x, y) < distance(s, best, x, y)) best = i;
    return best;
}

static void put(sheet *s, double x, double y, int z, int count)
{
    s->node[s->n++] = (atomdl_node){.x = x, .y = y, .score = 0.9, .error = 0.05,
                                    .z = (uint8_t)z, .count = (uint8_t)count};
}

static void take(sheet *s, int i)
{
    s->node[i] = s->node[--s->n];
}

/* Rows of hexagons; bonds along y. A lattice point lies at (0, 0), another at
   (0, cc); the field is +-(w, h). z, count: of the two sublattices. */
static void fill(sheet *s, double w, double h, double cc, const int z[2],
                 const int count[2])
{
    s->n = 0;
    for (int j = -60; j <= 60; j++)
        for (int i = -60; i <= 60; i++)
            for (int k = 0; k < 2; k++) {
                double x = cc * sqrt(3) * (i + 0.5 * (j & 1));
                double y = cc * (1.5 * j + k);
                if (fabs(x) < w && fabs(y) < h && s->n < MOST)
                    put(s, x, y, z[k], count[k]);
            }
}

static void graphene(sheet *s, double w)
{
    static const int z[2] = {6, 6}, count[2] = {1, 1};
    fill(s, w, w, CC, z, count);
}

static void push(sheet *s, int i, double dx, double dy)
{
    s->node[i].x += dx;
    s->node[i].y += dy;
}

/* Moves atom i by d towards (x, y). */
static void pull(sheet *s, int i, double x, double y, double d)
{
    double l = distance(s, i, x, y);
    push(s, i, d * (x - s->node[i].x) / l, d * (y - s->node[i].y) / l);
}

static void shake(sheet *s, double sd, uint64_t seed)
{
    atomdl_rng r = atomdl_rng_seed(seed);
    for (int i = 0; i < s->n; i++) {
        float d[2];
        atomdl_rng_normal(&r, d, 2);
        push(s, i, sd * (double)d[0], sd * (double)d[1]);
    }
}

/* r <- (1 + e) R(angle) r */
static void deform(sheet *s, double angle, double e, double shear)
{
    for (int i = 0; i < s->n; i++) {
        double x = s->node[i].x, y = s->node[i].y;
        double u = x * cos(angle) - y * sin(angle);
        double v = x * sin(angle) + y * cos(angle);
        s->node[i].x = u * (1 + e) + shear * v;
        s->node[i].y = v * (1 - e) + shear * u;
    }
}

/* ---------- Running ------------------------------------------------------- */

static atomdl_graph graph;
static atomdl_found found[64];
static int founds;
static unsigned char memory[4 << 20];

static atomdl_chemistry chemistry; /* of the last run */
static const atomdl_rules *rules;  /* of the next ones; NULL: all */

static int run(const sheet *s, const char *name, const double field[4])
{
    atomdl_arena a = {memory, sizeof memory, 0, 0, 0};
    chemistry = *atomdl_chemistry_find(name);
    chemistry.rules = rules;
    int status = atomdl_graph_new(&graph, s->node, s->n, &chemistry, field, 3,
                                  &a);
    founds = 0;
    if (status == ATOMDL_OK)
        status = atomdl_found_list(found, &founds, 64, &graph, &a);
    return status;
}

static int others(void)
{
    int n = 0;
    for (int i = 0; i < ATOMDL_RING_SIZES; i++)
        if (i != 6) n += graph.histogram[i];
    return n;
}

#define CHECK_KIND(i, want) \
    (i < founds && found[i].kind == (want) \
         ? (void)0 \
         : (void)FAIL("found %d of %d: %s, want %s", i, founds, \
                      i < founds ? atomdl_found_name(found[i].kind) : "-", \
                      atomdl_found_name(want)))

/* ---------- Rings --------------------------------------------------------- */

void test_graph_rings(void)
{
    sheet s;
    graphene(&s, 15);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(others() == 0 && graph.histogram[6] > 100);
    CHECK(graph.components == 1 && founds == 0);
    /* Euler: faces - 1 = bonds - nodes + components, dangling atoms or not */
    CHECK(graph.rings == graph.bonds - graph.nodes + 1);
    CHECK_NEAR(graph.ring[0].area, 1.5 * sqrt(3) * CC * CC, 1e-9);
    take(&s, at(&s, 0, 0));
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(others() == 1 && graph.histogram[12] == 1 && founds == 1);
    CHECK_KIND(0, ATOMDL_FOUND_V1);
    CHECK_NEAR(hypot(found[0].x, found[0].y), 0, 0.01);
    pull(&s, at(&s, 0, CC), 1.23, -0.71, 0.35);
    pull(&s, at(&s, 1.23, -0.71), 0, CC, 0.35);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(others() == 2 && graph.histogram[5] == 1 && graph.histogram[9] == 1);
    CHECK_KIND(0, ATOMDL_FOUND_V1_CLOSED);
    graphene(&s, 15);
    take(&s, at(&s, 0, 0));
    take(&s, at(&s, 0, CC));
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(others() == 1 && graph.histogram[14] == 1);
    CHECK_KIND(0, ATOMDL_FOUND_V2_OPEN);
    pull(&s, at(&s, 1.23, -0.71), -1.23, -0.71, 0.35);
    pull(&s, at(&s, -1.23, -0.71), 1.23, -0.71, 0.35);
    pull(&s, at(&s, 1.23, 2.13), -1.23, 2.13, 0.35);
    pull(&s, at(&s, -1.23, 2.13), 1.23, 2.13, 0.35);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(others() == 3 && graph.histogram[5] == 2 && graph.histogram[8] == 1);
    CHECK_KIND(0, ATOMDL_FOUND_V2);
    graphene(&s, 15);
    push(&s, at(&s, 0, 0), 0.67, 0.71);
    push(&s, at(&s, 0, CC), -0.67, -0.71);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(others() == 4 && graph.histogram[5] == 2 && graph.histogram[7] == 2);
    CHECK(founds == 1);
    CHECK_KIND(0, ATOMDL_FOUND_STONE_WALES);
    shake(&s, 0.04, 7);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK_KIND(0, ATOMDL_FOUND_STONE_WALES);
}

/* Two vacancies far apart, a dangling atom within a hole, an island. */
void test_graph_parts(void)
{
    sheet s;
    double field[4] = {-15, -15, 15, 15};
    int edge = 0;
    graphene(&s, 15);
    take(&s, at(&s, -8, 0));
    take(&s, at(&s, 8, 0));
    put(&s, 40, 40, 6, 1);
    put(&s, 41.4, 40, 6, 1);
    put(&s, -8, 0, 6, 0); /* a vacancy, as a network reports it */
    CHECK(run(&s, "graphene", field) == ATOMDL_OK);
    CHECK(graph.components == 3 && graph.histogram[12] == 2 && others() == 2);
    CHECK(founds == 2);
    CHECK_KIND(0, ATOMDL_FOUND_V1);
    CHECK_KIND(1, ATOMDL_FOUND_VACANCY);
    CHECK(graph.first[graph.nodes] - graph.first[graph.nodes - 1] == 0);
    for (int i = 0; i < graph.nodes; i++)
        edge += (graph.flag[i] & ATOMDL_NEAR_BORDER) != 0;
    CHECK(edge > 100 && edge < graph.nodes / 2);
    CHECK(!found[0].flags);
}

/* ---------- Silicon ------------------------------------------------------- */

static void silicon(sheet *s, int which)
{
    double cx = CC * sqrt(3) / 2, cy = CC / 2; /* middle of a hexagon ... */
    int corners = which == 4 ? 4 : 3;
    graphene(s, 16);
    if (which == 1) s->node[at(s, 0, 0)].z = 14;
    if (which == 2) {
        take(s, at(s, 0, 0));
        take(s, at(s, 0, CC));
        put(s, 0, CC / 2, 14, 1);
    }
    if (which == 3 || which == 4) {
        cy = CC / 2; /* ... at the height of the bond's middle */
        for (int i = 0; i < 6; i++)
            take(s, at(s, cx + CC * sin(i * acos(-1) / 3),
                       cy + CC * cos(i * acos(-1) / 3)));
        for (int i = 0; i < 3; i++) {
            double t = acos(-1) * 2 * i / 3, r = which == 4 ? 1.38 : 1.294;
            put(s, cx + r * cos(t), cy + r * sin(t), 14, 1);
        }
        if (corners == 4) put(s, cx, cy, 14, 1);
    }
    if (which == 5) {
        s->node[at(s, 0, 0)].z = s->node[at(s, 0, CC)].z = 14;
        push(s, at(s, 0, 0), 0, -0.2);
        push(s, at(s, 0, CC), 0, 0.2);
    }
    if (which == 6) { /* A, B1, B2 out; A's third neighbour is at (0, CC) */
        take(s, at(s, 0, 0));
        int a = at(s, -1.23, -0.71);
        s->node[a].z = 14;
        pull(s, a, 1.23, -0.71, 0.1);
        int b = at(s, 1.23, -0.71);
        s->node[b].z = 14;
        pull(s, b, 0, CC, 0.35);
    }
    if (which == 7) {
        take(s, at(s, 0, 0));
        take(s, at(s, 0, CC));
        take(s, at(s, 1.23, -0.71));
        take(s, at(s, -1.23, -0.71));
        put(s, -1.15, 0, 14, 1);
        put(s, 1.15, 0, 14, 1);
    }
}

void test_graph_silicon(void)
{
    static const struct {
        int which, kind, m, n;
    } WANT[] = {{1, ATOMDL_FOUND_C3, 1, 3}, {2, ATOMDL_FOUND_C4, 1, 4},
                {3, ATOMDL_FOUND_3C6, 3, 6}, {4, ATOMDL_FOUND_4C6, 4, 6},
                {5, ATOMDL_FOUND_2C4, 2, 4}, {6, ATOMDL_FOUND_2C5, 2, 5},
                {7, ATOMDL_FOUND_2C6, 2, 6}};
    sheet s;
    for (size_t k = 0; k < sizeof WANT / sizeof *WANT; k++)
        for (int seed = 0; seed < 6; seed++) {
            silicon(&s, WANT[k].which);
            shake(&s, seed ? 0.012 : 0, (uint64_t)seed);
            deform(&s, seed * 0.37, 0.004 * seed, 0);
            CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
            CHECK(founds == 1);
            CHECK_KIND(0, WANT[k].kind);
            if (!founds) continue;
            if (found[0].dopants != WANT[k].m || found[0].shell != WANT[k].n)
                FAIL("Si%dC%d, want Si%dC%d", found[0].dopants,
                     found[0].shell, WANT[k].m, WANT[k].n);
            CHECK(found[0].members == WANT[k].m + WANT[k].n);
            CHECK_NEAR(found[0].confidence, 0.9, 1e-12);
        }
    /* seen a tenth too small, the second shell is within silicon's reach */
    silicon(&s, 1);
    for (size_t k = 0; k < (size_t)s.n; k++) {
        s.node[k].x *= 0.88;
        s.node[k].y *= 0.88;
    }
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK_KIND(0, ATOMDL_FOUND_C3);
    silicon(&s, 2);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK_NEAR(found[0].length, 1.8785, 1e-3); /* METHOD B.2: 1.880 */
    CHECK_NEAR(found[0].angle * 180 / acos(-1), 90, 1e-6);
    CHECK_NEAR(found[0].angle_sd * 180 / acos(-1), 8.2 * 2 / sqrt(3), 0.05);
    CHECK(found[0].angles == 4 && !(found[0].flags & ATOMDL_DISTORTED));
    CHECK(found[0].rings[5] == 2 && found[0].rings[6] == 2);
    /* mean of 4 lengths, each with two ends of 0.05 A */
    CHECK_NEAR(found[0].length_error, 0.05 * sqrt(2) / 2, 1e-9);
}

/* Two Si across a ring of four, 3 A apart. */
static void across(sheet *s)
{
    s->n = 0;
    for (int i = 0; i < 2; i++) {
        put(s, 3.0 * i, 0, 14, 1);
        put(s, 4.7 * i - 0.85, 1.4, 6, 1);
        put(s, 1.5, 1.8 * i - 0.9, 6, 1);
    }
}

/* Two Si that share a carbon but no bond are two defects. */
void test_graph_shared(void)
{
    sheet s;
    graphene(&s, 16);
    s.node[at(&s, 0, 0)].z = 14;
    s.node[at(&s, 2.46, 0)].z = 14;
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    /* 2.46 A apart is a bond in the table; pulled apart it is none */
    CHECK(founds == 1 && found[0].pairs == 1);
    push(&s, at(&s, 0, 0), -0.2, 0);
    push(&s, at(&s, 2.46, 0), 0.2, 0);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(founds == 2);
    CHECK_KIND(0, ATOMDL_FOUND_C3);
    CHECK_KIND(1, ATOMDL_FOUND_C3);
    CHECK(found[0].shell == 3 && found[1].shell == 3);
    across(&s);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK(found[0].dopants == 2 && found[0].members == 6 && !found[0].pairs);
}

/* Si in a double vacancy, lopsided: seen with three bonds. */
static void lopsided(sheet *s)
{
    silicon(s, 2);
    push(s, at(s, 0, CC / 2), 0.25, 0.25);
    push(s, at(s, -1.23, -0.71), -0.15, -0.15);
}

/* The lattice rule under rotation, strain and noise; and where both differ. */
void test_graph_site(void)
{
    int right = 0, asked = 0;
    sheet s;
    for (int seed = 1; seed <= 24; seed++) {
        int which = 1 + seed % 2;
        silicon(&s, which);
        deform(&s, 0.29 * seed, 0.03, 0.02);
        shake(&s, 0.1, (uint64_t)seed);
        CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
        if (founds < 1 || found[0].dopants != 1) continue;
        asked++;
        right += found[0].site == (which == 1 ? ATOMDL_FOUND_C3
                                              : ATOMDL_FOUND_C4);
        CHECK(found[0].site_margin > 0.1);
    }
    CHECK(asked >= 20 && right == asked);
    lopsided(&s);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK(found[0].counted == ATOMDL_FOUND_C3);
    CHECK(found[0].site == ATOMDL_FOUND_C4);
    CHECK(found[0].flags & ATOMDL_DISAGREE);
    CHECK(found[0].flags & ATOMDL_DISTORTED);
    CHECK_KIND(0, ATOMDL_FOUND_C3_V);
}

void test_graph_rotor(void)
{
    sheet s;
    silicon(&s, 3);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    double before = found[0].rotor * 180 / acos(-1);
    CHECK_NEAR(found[0].order, 1, 1e-9);
    CHECK_NEAR(found[0].pair, 1.294 * sqrt(3), 1e-9);
    CHECK(!(found[0].flags & ATOMDL_TURNING));
    deform(&s, acos(-1) / 3, 0, 0);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK_NEAR(fabs(found[0].rotor * 180 / acos(-1) - before), 60, 1e-6);
    push(&s, s.n - 1, 0.5, 0.4);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK(found[0].flags & ATOMDL_TURNING);
}

/* Si with four C, one of them behind another, as a simulated image had it:
   nearer to a bonded carbon than carbon ever is. */
static void behind(sheet *s)
{
    static const double SHELL[4][2] = {
        {1.33, 107}, {1.53, -131}, {1.72, -10}, {2.18, -158}};
    double degree = acos(-1) / 180;
    s->n = 0;
    put(s, 0, 0, 14, 1);
    for (int i = 0; i < 4; i++)
        put(s, SHELL[i][0] * cos(SHELL[i][1] * degree),
            SHELL[i][0] * sin(SHELL[i][1] * degree), 6, 1);
}

/* A rotor of four, as a real image had it: the fourth bonds of its corners
   would drive out carbon. */
static void four(sheet *s)
{
    double degree = acos(-1) / 180;
    s->n = 0;
    put(s, 0, 0, 14, 1);
    for (int i = 0; i < 3; i++) {
        double c = cos(120 * i * degree), d = sin(120 * i * degree);
        put(s, 1.42 * c, 1.42 * d, 14, 1);
        put(s, 2.4 * c - 1.5 * d, 2.4 * d + 1.5 * c, 6, 1);
        put(s, 2.4 * c + 1.95 * d, 2.4 * d - 1.95 * c, 6, 1);
    }
}

/* Si on a lattice site, with a fourth carbon in a hollow beside it. */
static void fourth(sheet *s)
{
    silicon(s, 1);
    put(s, 0, -CC, 6, 1);
}

void test_graph_behind(void)
{
    sheet s;
    behind(&s);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK(found[0].shell == 3);
    four(&s);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK(found[0].dopants == 4 && found[0].members == 10);
}

/* Each rule of the graph decides one of these; the others do not touch it. */
void test_graph_rules(void)
{
    static void (*const MAKE[4])(sheet *) = {across, four, behind, fourth};
    enum { RULES = 6 };
    sheet s;
    const char *name;
    for (int k = 0; k < 4; k++) {
        MAKE[k](&s);
        CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
        int bonds = graph.bonds, all = founds, kind = found[0].kind;
        for (int i = 0; i < RULES; i++) {
            atomdl_rules some = atomdl_rules_all();
            *atomdl_rules_get(&some, i, &name) = 0;
            rules = &some;
            CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
            rules = NULL;
            int same = graph.bonds == bonds && founds == all
                       && found[0].kind == kind;
            if (same == (i == k)) FAIL("figure %d without %s", k, name);
        }
    }
    atomdl_rules some = atomdl_rules_all();
    CHECK(!atomdl_rules_get(&some, RULES, &name) && !name);
    CHECK(!atomdl_rules_get(&some, -1, &name) && !name);
}

/* ---------- Dichalcogenides ----------------------------------------------- */

void test_graph_columns(void)
{
    static const int z[2] = {74, 34}, count[2] = {1, 2};
    double a = 3.282, d = a / sqrt(3);
    int kinds[ATOMDL_FOUND_COUNT] = {0};
    atomdl_arena arena = {memory, sizeof memory, 0, 0, 0};
    sheet s;
    fill(&s, 30, 30, d, z, count);
    shake(&s, 0.05, 3);
    s.node[at(&s, 0, d)].count = 1;              /* one Se missing */
    s.node[at(&s, 0, 7 * d)].count = 0;          /* both, seen */
    take(&s, at(&s, 0, -5 * d));                 /* both, not seen */
    s.node[at(&s, 3 * a, 0)].z = 23;             /* V on a W site */
    take(&s, at(&s, -3 * a, 0));                 /* W missing, not seen */
    int i = at(&s, 3 * a, 7 * d);
    s.node[i].z = 74;                            /* W in place of Se2 */
    s.node[i].count = 1;
    i = at(&s, -3 * a, 6 * d);
    s.node[i].z = 34;                            /* Se2 on a W site */
    s.node[i].count = 2;
    CHECK(run(&s, "wse2", NULL) == ATOMDL_OK);
    for (i = 0; i < founds; i++) kinds[found[i].kind]++;
    CHECK(founds == 7);
    CHECK(kinds[ATOMDL_FOUND_VX1] == 1 && kinds[ATOMDL_FOUND_VX2] == 2);
    CHECK(kinds[ATOMDL_FOUND_SUB_M] == 1 && kinds[ATOMDL_FOUND_VM] == 1);
    CHECK(kinds[ATOMDL_FOUND_M_X2] == 1 && kinds[ATOMDL_FOUND_X2_M] == 1);
    CHECK(atomdl_graph_new(&graph, s.node, s.n, atomdl_chemistry_find("wse2"),
                           NULL, 0, &arena) == ATOMDL_OK);
    uint8_t sub[MOST];
    CHECK(atomdl_sublattice(sub, &graph, &arena) == ATOMDL_OK);
    CHECK(sub[at(&s, 3 * a, 0)] == 0 && sub[at(&s, 3 * a, 7 * d)] == 1);
}

/* What a network that knows vacancies alone finds has names, too; beside one
   column that is as it should be, a lone one has none. */
void test_graph_vacancies(void)
{
    static const int z[2] = {42, 16}, count[2] = {1, 2};
    sheet s;
    fill(&s, 40, 40, 3.16 / sqrt(3), z, count);
    s.n = 4;
    for (int i = 0; i < 4; i++) {
        s.node[i].x = 9.48 * i - 15;
        s.node[i].y = 3;
        s.node[i].z = i == 2 ? 0 : 16;
        s.node[i].count = i == 2 ? 0 : 1;
    }
    CHECK(run(&s, "mos2", NULL) == ATOMDL_OK);
    CHECK(founds == 4);
    for (int i = 0; i < founds; i++)
        CHECK_KIND(i, found[i].x > 3 && found[i].x < 5 ? ATOMDL_FOUND_VX2
                                                       : ATOMDL_FOUND_VX1);
    s.node[3].count = 2;
    CHECK(run(&s, "mos2", NULL) == ATOMDL_OK);
    CHECK(founds == 0);
}

/* ---------- Measures ------------------------------------------------------ */

void test_graph_measures(void)
{
    atomdl_node a = {.x = 1, .error = 0.01}, v = {.x = 0};
    atomdl_node b = {.y = 2, .error = 0.02};
    double e;
    CHECK_NEAR(atomdl_angle(&e, &a, &v, &b), acos(-1) / 2, 1e-12);
    CHECK_NEAR(e, hypot(0.01, 0.01), 1e-12);
}

void test_graph_merge(void)
{
    static const atomdl_clash RULES[] = {{6, 14, 1.15}, {6, 6, 0.7}};
    atomdl_arena arena = {memory, sizeof memory, 0, 0, 0};
    sheet s;
    s.n = 0;
    put(&s, 0, 0, 14, 1);
    put(&s, 1.1, 0, 6, 1);
    put(&s, 1.2, 0, 6, 1);
    put(&s, 1.5, 0, 6, 1);
    s.node[3].score = 0.95;
    put(&s, 5, 0, 6, 1);
    CHECK(atomdl_nodes_merge(s.node, s.n, RULES, 2, &arena) == 3);
    CHECK(s.node[1].x == 1.5 && s.node[2].x == 5);
}

/* ---------- Limits -------------------------------------------------------- */

void test_graph_limits(void)
{
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    const atomdl_chemistry *c = atomdl_chemistry_find("graphene");
    sheet s;
    s.n = 0;
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && !graph.rings && !founds);
    put(&s, 0, 0, 14, 1);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && founds == 1);
    CHECK_KIND(0, ATOMDL_FOUND_DOPANTS);
    put(&s, 1.5, 0, 6, 1);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK && graph.bonds == 1);
    for (int i = 0; i < 200; i++)
        put(&s, 0, 0, 6, 1); /* in one place: no bonds */
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(graph.bonds <= 4);
    for (int i = 0; i < 200; i++) put(&s, 0, 0, 6, 1);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_EARG);
    s.n = 0;
    for (int i = 0; i < 12; i++) /* twelve around one: four stay, the nearest */
        put(&s, (1.5 + 0.02 * i) * cos(i * 0.5236),
            (1.5 + 0.02 * i) * sin(i * 0.5236), 6, 1);
    put(&s, 0, 0, 14, 1);
    CHECK(run(&s, "graphene", NULL) == ATOMDL_OK);
    CHECK(graph.first[13] - graph.first[12] <= 4);
    s.node[3].x = NAN;
    CHECK(run(&s, "graphene", NULL) == ATOMDL_ENAN);
    s.node[3].x = INFINITY;
    CHECK(run(&s, "graphene", NULL) == ATOMDL_ENAN);
    CHECK(atomdl_chemistry_find("unobtainium") == NULL);
    CHECK(atomdl_found_name(ATOMDL_FOUND_COUNT) == NULL);
    for (int i = 0; i < ATOMDL_FOUND_COUNT; i++)
        CHECK(atomdl_found_name(i) && *atomdl_found_name(i));
    silicon(&s, 3); /* every arena that is too small is refused */
    CHECK(atomdl_graph_new(&graph, s.node, s.n, c, NULL, 0, &measure)
          == ATOMDL_OK);
    int count;
    CHECK(atomdl_found_list(NULL, &count, 9, &graph, &measure) == ATOMDL_OK);
    for (size_t bytes = 0; bytes <= measure.peak; bytes += 997) {
        atomdl_arena a = {memory, bytes, 0, 0, 0};
        int status = atomdl_graph_new(&graph, s.node, s.n, c, NULL, 0, &a);
        if (status == ATOMDL_OK)
            status = atomdl_found_list(found, &count, 9, &graph, &a);
        CHECK(status == ATOMDL_EMEM);
    }
    {
        atomdl_arena a = {memory, measure.peak, 0, 0, 0};
        CHECK(measure.peak <= sizeof memory);
        CHECK(atomdl_graph_new(&graph, s.node, s.n, c, NULL, 0, &a)
              == ATOMDL_OK);
        CHECK(atomdl_found_list(found, &count, 0, &graph, &a) == ATOMDL_ESHAPE);
        CHECK(count == 1);
        CHECK(atomdl_found_list(found, &count, 1, &graph, &a) == ATOMDL_OK);
        CHECK(a.peak == measure.peak);
    }
}

/* 10^5 atoms: near-linear, so far below a second. */
void test_graph_large(void)
{
    enum { SIDE = 224 };
    atomdl_arena arena = {NULL, 0, 0, 0, 0};
    const atomdl_chemistry *c = atomdl_chemistry_find("graphene");
    atomdl_node *node = calloc(2 * SIDE * SIDE, sizeof *node);
    atomdl_found *list = calloc(64, sizeof *list);
    int n = 0;
    clock_t start = clock();
    for (int j = 0; node && j < SIDE; j++)
        for (int i = 0; i < SIDE; i++)
            for (int k = 0; k < 2; k++, n++) {
                node[n].x = CC * sqrt(3) * (i + 0.5 * (j & 1));
                node[n].y = CC * (1.5 * j + k);
                node[n].z = n % 9999 == 5000 ? 14 : 6;
                node[n].count = 1;
            }
    int count;
    for (int pass = 0; pass < 2; pass++) {
        if (pass) arena = new_arena(arena.peak);
        CHECK(atomdl_graph_new(&graph, node, n, c, NULL, 0, &arena)
              == ATOMDL_OK);
        CHECK(atomdl_found_list(list, &count, 64, &graph, &arena) == ATOMDL_OK);
    }
    CHECK(graph.rings == graph.bonds - graph.nodes + 1 && others() == 0);
    CHECK(graph.histogram[6] > 49000 && graph.histogram[6] < 50000);
    CHECK(count == 10);
    CHECK((double)(clock() - start) / CLOCKS_PER_SEC < 5); /* emulators too */
    free(arena.base);
    free(node);
    free(list);
}
