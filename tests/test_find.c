/* SPDX-License-Identifier: MIT
   From an image to atoms, with a network of three classes that looks at one
   pixel alone: dark, grey (C) and bright (Si). */

#include "test.h"

enum { SIDE = 128, LISTED = 400 };

static const double CC = 1.42, PIXEL = 0.1;

/* ---------- The network and an image -------------------------------------- */

static unsigned char file[4096];
static atomdl_finder finder;

static double guest = 1; /* height of the dopant; carbon is 0.2 */

/* The bytes of a weight file; classes: its list of names. */
static unsigned numerics = ATOMDL_NUMERICS;
static const char *scaling = "minmax";

static size_t weights(const char *classes, double pixel_size)
{
    static const char NETWORK[] = "input 1\nconv c ch=3 k=1\nsoftmax\n";
    /* logits 0, 100 v - 10, 200 v - 77 of what is `guest` high */
    float values[6] = {0, (float)(100 * guest), (float)(200 * guest),
                       0, -10, -77};
    static atomdl_meta meta;
    atomdl_layer row[4];
    atomdl_arch arch;
    memset(&meta, 0, sizeof meta);
    strcpy(meta.network, NETWORK);
    strcpy(meta.classes, classes);
    strcpy(meta.scaling, scaling);
    meta.pixel_size = pixel_size;
    meta.numerics = numerics;
    if (atomdl_arch_parse(&arch, row, 4, NETWORK, strlen(NETWORK), NULL)
        || atomdl_weights_size(&arch, &meta) > sizeof file) exit(1);
    atomdl_weights_write(file, &arch, values, &meta);
    return atomdl_weights_size(&arch, &meta);
}

static int open_file(size_t size)
{
    static unsigned char memory[1024];
    atomdl_arena arena = {memory, sizeof memory, 0, 0, 0};
    return atomdl_finder_open(&finder, file, size,
                              atomdl_chemistry_find("graphene"), 23, &arena);
}

static int open_finder(double pixel_size)
{
    return open_file(weights("background,C,Si", pixel_size));
}

/* Adds a spot at (x, y) in pixels. */
static void spot(atomdl_image *image, double x, double y, double height,
                 double sigma)
{
    for (int j = (int)(y - 5 * sigma); j <= y + 5 * sigma; j++)
        for (int i = (int)(x - 5 * sigma); i <= x + 5 * sigma; i++) {
            double d = (i - x) * (i - x) + (j - y) * (j - y);
            if (i >= 0 && j >= 0 && i < image->w && j < image->h)
                image->px[j * image->w + i]
                    += (float)(height * exp(-0.5 * d / (sigma * sigma)));
        }
}

static float px[SIDE * SIDE];
static double truth[LISTED][2]; /* [A] */
static int truths;

/* Graphene, with Si in the place of the atom nearest to the middle. */
static atomdl_image graphene(void)
{
    atomdl_image image = {SIDE, SIDE, 1, px};
    memset(px, 0, sizeof px);
    truths = 0;
    for (int j = -20; j <= 20; j++)
        for (int i = -20; i <= 20; i++)
            for (int k = 0; k < 2; k++) {
                double x = 6.4 + CC * sqrt(3) * (i + 0.5 * (j & 1));
                double y = 6.3 + CC * (1.5 * j + k);
                int si = !i && !j && !k;
                spot(&image, x / PIXEL, y / PIXEL, si ? guest : 0.2,
                     0.3 / PIXEL);
                if (x < 0.8 || y < 0.8 || x > 11.9 || y > 11.9) continue;
                truth[truths][0] = x;
                truth[truths++][1] = y;
            }
    return image;
}

static int found_at(const atomdl_findings *f, double x, double y, double reach)
{
    int n = 0;
    for (int i = 0; i < f->atoms; i++)
        n += hypot(f->node[i].x - x, f->node[i].y - y) < reach;
    return n;
}

static uint64_t digest(const atomdl_findings *f)
{
    uint64_t h = ATOMDL_DIGEST;
    for (int i = 0; i < f->atoms; i++) {
        h = atomdl_digest_f64(h, &f->node[i].x, 4);
        h = atomdl_digest_bytes(h, &f->node[i].z, 2);
    }
    return h;
}

static atomdl_findings findings;

/* Measures, and finds in exactly that; *base is to be freed. */
static int find(const atomdl_image *image, const atomdl_find_how *how,
                unsigned char **base)
{
    atomdl_arena need = {NULL, 0, 0, 0, 0};
    int status = atomdl_find(&findings, image, &finder, how, &need);
    *base = NULL;
    if (status) return status;
    atomdl_arena arena = new_arena(need.peak);
    *base = arena.base;
    status = atomdl_find(&findings, image, &finder, how, &arena);
    CHECK(status != ATOMDL_EMEM && arena.peak <= need.peak);
    return status;
}

static atomdl_find_how how_at(double pixel)
{
    atomdl_find_how how;
    memset(&how, 0, sizeof how);
    how.pixel_x = how.pixel_y = pixel;
    return how;
}

/* ---------- What is found ------------------------------------------------- */

void test_find_atoms(void)
{
    atomdl_image image = graphene();
    atomdl_find_how how = how_at(PIXEL);
    unsigned char *base;
    for (int average = 1; average <= 8; average += 7) {
        CHECK(open_finder(0.2) == ATOMDL_OK);
        how.average = average;
        CHECK(find(&image, &how, &base) == ATOMDL_OK);
        CHECK(findings.net_w == 64 && findings.net_h == 64);
        for (int i = 0; i < truths; i++)
            if (found_at(&findings, truth[i][0], truth[i][1], 0.1) != 1)
                FAIL("atom at %.2f, %.2f", truth[i][0], truth[i][1]);
        for (int i = 1; i < findings.atoms; i++) /* Si was moved by its fit */
            CHECK(findings.node[i].y >= findings.node[i - 1].y - 0.1);
        CHECK(findings.defects == 1);
        CHECK(findings.found[0].kind == ATOMDL_FOUND_C3);
        for (int i = 0; i < findings.atoms; i++) {
            int in = 0;
            for (int k = 0; k < findings.found[0].members; k++)
                in |= findings.found[0].node[k] == (uint32_t)i;
            CHECK(findings.defect[i] == (in ? 0 : -1));
            CHECK((findings.node[i].z == 14)
                  == (findings.found[0].node[0] == (uint32_t)i));
        }
        CHECK(findings.kinds == 2 && findings.kind[0].n > 60);
        CHECK(findings.kind[0].a == 6 && findings.kind[0].b == 6);
        CHECK_NEAR(findings.kind[0].mean, CC, 0.01);
        CHECK(!findings.warnings);
        free(base);
    }
}

/* Every size below what a run needs is refused, and nothing else changes. */
void test_find_memory(void)
{
    atomdl_image image = graphene();
    atomdl_find_how how = how_at(PIXEL);
    unsigned char *base;
    size_t refused = 0;
    CHECK(open_finder(0.2) == ATOMDL_OK);
    CHECK(find(&image, &how, &base) == ATOMDL_OK);
    uint64_t all = digest(&findings);
    int atoms = findings.atoms;
    free(base);
    atomdl_arena need = {NULL, 0, 0, 0, 0};
    CHECK(atomdl_find(&findings, &image, &finder, &how, &need) == ATOMDL_OK);
    for (size_t k = 0; k < 100; k++) {
        atomdl_arena arena = new_arena(need.peak / 100 * k);
        int status = atomdl_find(&findings, &image, &finder, &how, &arena);
        CHECK(status == ATOMDL_EMEM
              || (status == ATOMDL_OK && digest(&findings) == all));
        refused += status == ATOMDL_EMEM;
        free(arena.base);
    }
    CHECK(refused > 20);
    how.most = 5; /* too few: told how many will do */
    CHECK(find(&image, &how, &base) == ATOMDL_ESHAPE);
    CHECK(findings.most > atoms);
    how.most = findings.most;
    free(base);
    CHECK(find(&image, &how, &base) == ATOMDL_OK && digest(&findings) == all);
    free(base);
}

/* ---------- Bands --------------------------------------------------------- */

typedef struct {
    int next, stop;
    double sum;
} rows_seen;

static int see(void *user, const atomdl_band *b)
{
    rows_seen *r = user;
    CHECK(b->y0 == r->next && b->y1 > b->y0 && b->classes == 3);
    for (int y = b->y0; y < b->y1; y++)
        for (int x = 0; x < b->w; x++)
            r->sum += (double)b->prob[b->plane
                                      + (size_t)(y - b->y0) * b->pitch
                                      + (size_t)x];
    r->next = b->y1;
    return r->stop;
}

/* An image of two bands: atoms at their seam are found, once. */
void test_find_bands(void)
{
    enum { W = 16384, H = 300, ATOMS = 60 };
    atomdl_image image = {W, H, 1, NULL};
    atomdl_find_how how = how_at(0.2);
    rows_seen rows = {0, 0, 0};
    unsigned char *base;
    image.px = calloc((size_t)W * H, sizeof *image.px);
    if (!image.px) exit(1);
    CHECK(open_finder(0.2) == ATOMDL_OK);
    for (int i = 0; i < ATOMS; i++)
        spot(&image, 40 + 270.3 * i, 256 + 0.37 * (i - ATOMS / 2),
             i ? 0.5 : 1, 1.5);
    how.band = see;
    how.user = &rows;
    CHECK(find(&image, &how, &base) == ATOMDL_OK);
    CHECK(rows.next == H);
    CHECK_NEAR(rows.sum / ((double)W * H), findings.area[1], 1e-12);
    CHECK(findings.atoms == ATOMS);
    for (int i = 0; i < ATOMS; i++)
        CHECK(found_at(&findings, 0.2 * (40 + 270.3 * i),
                       0.2 * (256 + 0.37 * (i - ATOMS / 2)), 0.05) == 1);
    free(base);
    rows.next = 0;
    rows.stop = ATOMDL_EFILE;
    CHECK(find(&image, &how, &base) == ATOMDL_EFILE && rows.next < H);
    free(base);
    free(image.px);
}

/* ---------- Refusals ------------------------------------------------------ */

void test_find_refusals(void)
{
    atomdl_image image = graphene(), small = image;
    atomdl_find_how how = how_at(PIXEL);
    atomdl_arena arena = new_arena(16 << 20);
#define FIND(image) (arena.used = 0, arena.failed = 0, \
                     atomdl_find(&findings, image, &finder, &how, &arena))
    CHECK(open_finder(0.2) == ATOMDL_OK);
    CHECK(FIND(&image) == ATOMDL_OK && !findings.why.code);
    small.w = small.h = 8;
    CHECK(FIND(&small) == ATOMDL_EARG);
    CHECK(findings.why.code == ATOMDL_NOTE_SMALL);
    CHECK(findings.why.value[0] == 8 && findings.why.value[3] == 8 * PIXEL);
    how = how_at(1.3);
    CHECK(FIND(&image) == ATOMDL_EARG);
    CHECK(findings.why.code == ATOMDL_NOTE_COARSE);
    how = how_at(0);
    CHECK(FIND(&image) == ATOMDL_EARG);
    how = how_at(PIXEL);
    how.average = 3;
    CHECK(FIND(&image) == ATOMDL_EARG && !findings.why.code);
    how.average = 1;
    how.intensity = 1; /* no dichalcogenide */
    CHECK(FIND(&image) == ATOMDL_EARG);
    how.intensity = 0;
    for (int i = 0; i < SIDE * SIDE / 20; i++) px[i] = 3;
    CHECK(FIND(&image) == ATOMDL_OK && findings.warnings == 1);
    CHECK(findings.warning[0].code == ATOMDL_NOTE_SATURATED);
    px[77] = NAN;
    CHECK(FIND(&image) == ATOMDL_ENAN);
    memset(px, 0, sizeof px);
    CHECK(FIND(&image) == ATOMDL_EARG);
    CHECK(findings.why.code == ATOMDL_NOTE_FLAT);
    px[SIDE * SIDE / 2] = -1; /* all is bright but one pixel: nothing */
    px[SIDE * SIDE / 2 + 9] = -0.99f;
    CHECK(open_finder(0.03) == ATOMDL_OK);
    CHECK(FIND(&image) == ATOMDL_OK);
    CHECK(findings.warning[1].code == ATOMDL_NOTE_COARSER);
    free(arena.base);
}

/* A honeycomb of spots, every other one as high as `other` over 0.5, stretched
   along x; the middle one is the highest; `hollow`: one in each hollow site. */
static atomdl_image honeycomb(double other, double hollow, double stretch)
{
    atomdl_image image = {SIDE, SIDE, 1, px};
    memset(px, 0, sizeof px);
    for (int j = -20; j <= 20; j++)
        for (int i = -20; i <= 20; i++) {
            double x = 6.4 + CC * sqrt(3) * (i + 0.5 * (j & 1)) * stretch;
            double y = 6.3 + 1.5 * CC * j, s = 0.3 / PIXEL;
            spot(&image, x / PIXEL, y / PIXEL, i || j ? 0.2 : 1, s);
            spot(&image, x / PIXEL, (y + CC) / PIXEL, 0.4 * other, s);
            spot(&image, x / PIXEL, (y + 2 * CC) / PIXEL, 0.4 * hollow, s);
        }
    return image;
}

/* Each test of the ground fails where it should, and only there. */
void test_find_ground(void)
{
    static const struct {
        double other, hollow, stretch;
        int failed;
    } CASE[] = {{0.5, 0, 1, 0}, {0.45, 0, 1, 0}, {0.5, 0, 1.1, 0},
                {0.33, 0, 1, ATOMDL_NOTE_RATIO},
                {0.5, 0.2, 1, ATOMDL_NOTE_LAYERS},
                {0.5, 0, 1.25, ATOMDL_NOTE_STRETCHED},
                {0, 0, 1, ATOMDL_NOTE_DISORDER}};
    atomdl_find_how how = how_at(PIXEL);
    atomdl_arena arena = new_arena(16 << 20);
    CHECK(open_finder(0.1) == ATOMDL_OK);
    for (size_t k = 0; k < sizeof CASE / sizeof *CASE; k++) {
        atomdl_image image = honeycomb(CASE[k].other, CASE[k].hollow,
                                       CASE[k].stretch);
        CHECK(FIND(&image) == ATOMDL_OK && findings.ground.asked);
        CHECK(findings.ground.failed.code == CASE[k].failed);
        if (CASE[k].failed != ATOMDL_NOTE_DISORDER)
            CHECK(fabs(findings.ground.stretch - CASE[k].stretch) < 0.03);
    }
    atomdl_image image = honeycomb(0.5, 0, 1);
    how.pixel_x = how.pixel_y = 0.2; /* nothing found, and room for 248 */
    CHECK(FIND(&image) == ATOMDL_OK);
    CHECK(findings.ground.failed.code != 0);
    CHECK(open_file(weights("background,atom,Si", 0.1)) == ATOMDL_OK);
    CHECK(FIND(&image) == ATOMDL_OK && !findings.ground.asked);
    free(arena.base);
}

/* Elements of a sheet by who is brighter, of dichalcogenides by the network,
   both with bounds on how much. */
void test_find_species(void)
{
    static unsigned char memory[1024];
    atomdl_arena values = {memory, sizeof memory, 0, 0, 0};
    atomdl_find_how how = how_at(PIXEL);
    atomdl_arena arena = new_arena(16 << 20);
    size_t size = weights("background,C,Si", 0.1);
    const atomdl_chemistry *c = atomdl_chemistry_find("h-bn");
    CHECK(atomdl_finder_open(&finder, file, size, c, 0, &values) == ATOMDL_OK);
    for (int dim = 0; dim < 2; dim++) {
        atomdl_image image = honeycomb(dim ? 0.48 : 0.31, 0, 1);
        CHECK(FIND(&image) == ATOMDL_OK && findings.ground.asked);
        CHECK((findings.ground.failed.code == ATOMDL_NOTE_RATIO) == dim);
        int n[2] = {0, 0};
        for (int i = 0; i < findings.atoms && !dim; i++) {
            const atomdl_node *p = &findings.node[i];
            double row = (p->y - 6.3) / (1.5 * CC);
            int bright = fabs(row - nearbyint(row)) < 0.2;
            CHECK(p->z == (bright ? 7 : 5) || p->z == 14);
            n[bright]++;
        }
        if (!dim) CHECK(n[0] > 20 && n[1] > 20 && findings.defects == 1);
    }
    free(arena.base);
}

/* No data beyond the neighbours of a dopant is no vacancy beside it. */
static void check_blank_beside(const atomdl_find_how *as)
{
    static uint8_t blank[SIDE * SIDE];
    atomdl_find_how how = *as;
    unsigned char *base;
    atomdl_image image = graphene();
    for (int y = 40; y < 86; y++)
        for (int x = 82; x < 112; x++) blank[y * SIDE + x] = 1;
    how.blank = blank;
    CHECK(find(&image, &how, &base) == ATOMDL_OK && findings.defects == 1);
    CHECK(findings.found[0].kind == ATOMDL_FOUND_C3);
    free(base);
}

/* Nothing is found in what is no data, next to nothing is lost around it, and
   the ring around it is no hole. */
void test_find_blank(void)
{
    static const float VALUE[] = {NAN, -9999, 0.3f};
    static uint8_t blank[SIDE * SIDE];
    atomdl_find_how how = how_at(PIXEL);
    atomdl_arena arena = new_arena(16 << 20);
    CHECK(open_finder(PIXEL) == ATOMDL_OK);
    for (int k = 0; k < 3; k++) {
        atomdl_image image = graphene();
        size_t count;
        for (int y = 20; y < 60; y++)
            for (int x = 20; x < 60; x++) px[y * SIDE + x] = VALUE[k];
        arena.used = 0;
        CHECK(!atomdl_image_blank(blank, &count, &image, 20, &arena));
        CHECK(count == 40 * 40);
        how.blank = blank;
        CHECK(FIND(&image) == ATOMDL_OK);
        CHECK(findings.warning[0].code == ATOMDL_NOTE_BLANK);
        CHECK_NEAR(findings.warning[0].value[0], 160000. / (SIDE * SIDE), 1e-9);
        for (int i = 0; i < findings.atoms; i++) {
            const atomdl_node *p = &findings.node[i];
            double out = fmax(fabs(p->x - 3.95), fabs(p->y - 3.95)) - 2;
            CHECK(out > -0.15 && !(p->border && out > 1.5));
            CHECK(p->border || out < 0 || out > 0.7);
        }
        int missed = 0;
        for (int i = 0; i < truths; i++)
            if (fmax(fabs(truth[i][0] - 3.95), fabs(truth[i][1] - 3.95)) > 2.5)
                missed += !found_at(&findings, truth[i][0], truth[i][1], 0.3);
        CHECK(missed == 0 && findings.defects == 1);
    }
    check_blank_beside(&how);
    memset(blank, 1, sizeof blank);
    atomdl_image image = graphene();
    CHECK(FIND(&image) == ATOMDL_EARG);
    CHECK(findings.why.code == ATOMDL_NOTE_FLAT);
    free(arena.base);
}

/* A dopant of a signal that silicon has not is of an unknown element, and so is
   the name of its defect. */
void test_find_unknown(void)
{
    static const struct {
        double height;
        int z, from, to;
    } CASE[] = {{1, 14, 12, 16}, {0.8, 14, 11, 15}, {2, 0, 17, 24},
                {5, 0, 28, 47}};
    static uint8_t blank[SIDE * SIDE];
    atomdl_find_how how = how_at(PIXEL);
    unsigned char *base;
    blank[63 * SIDE + 65] = 1;
    for (size_t k = 0; k < sizeof CASE / sizeof *CASE; k++) {
        guest = CASE[k].height;
        CHECK(open_finder(0.1) == ATOMDL_OK);
        atomdl_image image = graphene();
        CHECK(find(&image, &how, &base) == ATOMDL_OK);
        const atomdl_found *d = &findings.found[0];
        const atomdl_node *p = &findings.node[d->node[0]];
        CHECK(findings.defects == 1 && p->z == CASE[k].z && d->z == p->z);
        CHECK(d->kind == (p->z ? ATOMDL_FOUND_C3 : ATOMDL_FOUND_X_C3));
        CHECK(d->counted == d->kind && d->shell == 3);
        if (abs(p->z_from - CASE[k].from) > 1 || abs(p->z_to - CASE[k].to) > 1
            || fabs((double)p->signal / CASE[k].height - 5) > 0.2)
            FAIL("%g carbons: %g, Z = %d to %d", CASE[k].height / 0.2,
                 (double)p->signal, p->z_from, p->z_to);
        CHECK(findings.warnings == !p->z && findings.node[0].z_to == 0);
        if (!p->z)
            CHECK(findings.warning[0].code == ATOMDL_NOTE_UNKNOWN
                  && findings.warning[0].value[0] == 1);
        free(base);
        how.blank = blank; /* of which one pixel is no data: not asked */
        CHECK(find(&image, &how, &base) == ATOMDL_OK && findings.defects == 1);
        p = &findings.node[findings.found[0].node[0]];
        CHECK(p->z == 14 && p->z_to == 0 && p->signal == 0);
        CHECK(findings.warnings == 1);
        free(base);
        how.blank = NULL;
    }
    guest = 1;
}

/* What was cut off below is said where the answer needs the zero, and only
   there; dark counts are no cut. */
void test_find_clipped(void)
{
    static const char *const SCALING[2] = {"minmax", "level"};
    atomdl_image image = graphene();
    atomdl_find_how how = how_at(PIXEL);
    atomdl_arena arena = new_arena(16 << 20);
    atomdl_rng rng = atomdl_rng_seed(8);
    for (int k = 0; k < 6; k++) {
        scaling = SCALING[k % 2];
        CHECK(open_finder(0.2) == ATOMDL_OK);
        image = graphene();
        for (int i = 0; i < SIDE * SIDE; i++) {
            if (k / 2 == 1 && px[i] < 0.2f) px[i] = 0.2f;       /* cut off */
            if (k / 2 == 2) /* electrons */
                px[i] = (float)atomdl_rng_poisson(&rng,
                                                  0.5 + 4 * (double)px[i]);
        }
        CHECK(FIND(&image) == ATOMDL_OK);
        int said = 0;
        for (int i = 0; i < findings.warnings; i++)
            said += findings.warning[i].code == ATOMDL_NOTE_CLIPPED;
        CHECK(said == (k == 3));
    }
    scaling = SCALING[0];
    free(arena.base);
}

void test_find_weights(void)
{
    static const struct {
        const char *classes;
        int code;
    } BAD[] = {{"background,C", ATOMDL_NOTE_CLASSES},
               {"background,C,Qq", ATOMDL_NOTE_CLASS},
               {"background,C,atoms", ATOMDL_NOTE_CLASS}};
    size_t n = weights("background,X2,v1", 0.2);
    CHECK(open_file(n) == ATOMDL_OK && finder.classes == 3);
    CHECK(finder.class_of[0].background && !finder.class_of[1].background);
    CHECK(finder.class_of[1].z == 6 && finder.class_of[1].count == 2);
    CHECK(finder.class_of[2].background);
    for (size_t k = 0; k < sizeof BAD / sizeof *BAD; k++) {
        n = weights(BAD[k].classes, 0.2);
        CHECK(open_file(n) != ATOMDL_OK);
        CHECK(finder.why.code == BAD[k].code);
        CHECK(!strcmp(finder.at_fault, k ? BAD[k].classes + 13 : ""));
    }
    n = weights("background,C,Si", 0.2);
    CHECK(open_file(n - 1) == ATOMDL_EFILE);
    CHECK(finder.why.code == ATOMDL_NOTE_FILE);
    n = weights("background,C,Si", 0);
    CHECK(open_file(n) == ATOMDL_EFILE);
    CHECK(finder.why.code == ATOMDL_NOTE_META);
    numerics--; /* older ones are read, newer ones cannot be */
    CHECK(open_finder(0.2) == ATOMDL_OK);
    CHECK(finder.meta.numerics == ATOMDL_NUMERICS - 1);
    numerics += 2;
    CHECK(open_finder(0.2) == ATOMDL_EFILE);
    CHECK(finder.why.code == ATOMDL_NOTE_NUMERICS);
    CHECK(finder.why.value[0] == numerics);
    numerics--;
    for (int i = 1; i < ATOMDL_NOTES; i++) CHECK(*atomdl_note_text(i));
    CHECK(!*atomdl_note_text(0) && !*atomdl_note_text(ATOMDL_NOTES));
}

/* ---------- The pixel size ------------------------------------------------ */

void test_find_pixel(void)
{
    const atomdl_chemistry *c = atomdl_chemistry_find("graphene");
    atomdl_image image = graphene();
    atomdl_arena need = {NULL, 0, 0, 0, 0};
    atomdl_pixel p;
    memset(&p, 0, sizeof p);
    CHECK(atomdl_pixel_find(&p, &image, c, &need) == ATOMDL_OK);
    atomdl_arena arena = new_arena(need.peak);
    CHECK(atomdl_pixel_find(&p, &image, c, &arena) == ATOMDL_OK);
    CHECK(p.from_lattice && !p.warnings);
    CHECK_NEAR(p.x, PIXEL, 0.003); /* a tenth of a bin in twelve cells */
    p.x = p.y = PIXEL;
    CHECK(atomdl_pixel_find(&p, &image, c, &arena) == ATOMDL_OK);
    CHECK(p.x == PIXEL && !p.from_lattice && !p.warnings);
    p.x = p.y = 1.2 * PIXEL;
    CHECK(atomdl_pixel_find(&p, &image, c, &arena) == ATOMDL_OK);
    CHECK(p.warnings == 1 && p.warning[0].code == ATOMDL_NOTE_PIXEL);
    CHECK_NEAR(p.warning[0].value[2], -100 / 6., 3);
    p.y = 1.44 * PIXEL;
    CHECK(atomdl_pixel_find(&p, &image, c, &arena) == ATOMDL_OK);
    CHECK(p.warning[p.warnings - 1].code == ATOMDL_NOTE_DISTORTED);
    p.x = 20;
    CHECK(atomdl_pixel_find(&p, &image, c, &arena) == ATOMDL_EARG);
    memset(&p, 0, sizeof p);
    atomdl_rng rng = atomdl_rng_seed(1);
    atomdl_rng_normal(&rng, px, SIDE * SIDE);
    CHECK(atomdl_pixel_find(&p, &image, c, &arena) == ATOMDL_EMISSING);
    free(arena.base);
}
