/* SPDX-License-Identifier: MIT
   Recipes, distributions, samples, augmentation, movies of samples. */

#include "test.h"

#define TEXT_MAX 32768

static const char FULL[] =
    "# every kind of value\n"
    "seed = 77\n"
    "size = 48 32\n"
    "pixel = 0.1..0.2\n"
    "scan = choice 0.1 0.15\n"
    "scaling = std\n"
    "material = graphene mos2-2h-1:0.5 ws2-3r-2b:0.25\n"
    "rotation = 0..360   # comment\n"
    "scale = normal 1 0.02 0.95..1.05\n"
    "thermal = choice 0.02 0.05 0.09\n"
    "boundary = 6% 6..54\n"
    "alloy = Mo W 0..0.3\n"
    "alloy = S Se 30% 0.5\n"
    "defects = Si-C3:5 si-c4:2.5 v1\n"
    "count = 92% poisson 2.2\n"
    "dopant = V\n"
    "place = si-c3 5 6 7\n"
    "place = sub-m Re 1e0 2.5\n"
    "scatter = vx1 normal 0.02 0.01 0.001..0.05\n"
    "scatter = sub-m V log 0.001..0.1\n"
    "event = none vx1 0.5\n"
    "event = vx1 hop 0.05\n"
    "event = vx1 vx2 0.125\n"
    "fwhm = 30% 0.9..1.5 else 1.3\n"
    "weight = Si 3.5..8.5\n"
    "channelling = 0.9..1.1\n"
    "unweigh = 1\n"
    "density = log 0.006..0.19 ^0.6\n"
    "bits = 16\n"
    "class = background\n"
    "class = C atom C 0.45\n"
    "class = Si atom Si in si-c3 0.3\n"
    "class = Si atom Si in si-c4 0.3\n"
    "class = vx1 column any in vx1 0.95\n"
    "class = pair column S2 0.5\n"
    "class = sw defect stone-wales 0.9\n"
    "class = thick thickness 20..1000\n"
    "class = layer region ws2-3r-2b\n"
    "dihedral = 0\n"
    "row = input 1\n"
    "row = conv a ch=4 k=3\n"
    "row = relu\n"
    "row = conv b ch=8 k=1\n"
    "row = softmax\n"
    "optimiser = sgd\n"
    "rate = 0.05\n"
    "schedule = step\n"
    "every = 100\n"
    "warmup = 1e-1\n"
    "class_weights = 1 1 4 2 1 1 1 1\n";

static atomdl_recipe recipe, other;
static char text[TEXT_MAX], again[TEXT_MAX];

static int parse(atomdl_recipe *r, atomdl_recipe_error *e, const char *s)
{
    return atomdl_recipe_parse(r, e, s, strlen(s));
}

/* Not byte by byte: what lies between fields is nobody's. */
static int same(const atomdl_recipe *a, const atomdl_recipe *b)
{
    static char of_a[sizeof text], of_b[sizeof text];
    size_t n = atomdl_recipe_print(of_a, sizeof of_a, a, 0);
    return n == atomdl_recipe_print(of_b, sizeof of_b, b, 0)
           && !strcmp(of_a, of_b)
           && atomdl_recipe_digest(a) == atomdl_recipe_digest(b);
}

void test_recipe_keys(void)
{
    atomdl_recipe_default(&recipe);
    size_t n = atomdl_recipe_print(text, sizeof text, &recipe, 1);
    CHECK(n < sizeof text && n == strlen(text));
    CHECK(atomdl_recipe_print(NULL, 0, &recipe, 1) == n);
    atomdl_recipe_error e;
    CHECK(!parse(&other, &e, text));
    CHECK(same(&recipe, &other));
    CHECK(atomdl_recipe_print(again, sizeof again, &recipe, 0) == 0);
    CHECK(!parse(&recipe, &e, FULL));
    if (e.line || *e.text) FAIL("%d: %s", e.line, e.text);
    CHECK(recipe.w == 48 && recipe.h == 32 && recipe.seed == 77);
    CHECK(recipe.materials == 3 && recipe.share[2] == 0.25);
    CHECK(recipe.count.kind == ATOMDL_DIST_POISSON
          && recipe.count.chance == 92);
    CHECK(recipe.fwhm.other == 1.3 && recipe.density.exponent == 0.6);
    CHECK(recipe.drawing.weight[ATOMDL_SI_C3] == 5 && recipe.rules == 8);
    CHECK(recipe.classes == 8 && recipe.rule[2].class_id == 2);
    CHECK(recipe.place[0].operation == 7 && recipe.place[1].element == 75);
    CHECK(recipe.dynamics.states == 3 && recipe.dynamics.rate[1][2] == 0.125);
    CHECK(recipe.plan.optimiser == ATOMDL_SGD && recipe.bits == 16);
    CHECK(atomdl_recipe_plan(&recipe).warmup == 100);
    for (int all = 0; all < 2; all++) {
        n = atomdl_recipe_print(text, sizeof text, &recipe, all);
        CHECK(n < sizeof text && !parse(&other, &e, text));
        CHECK(same(&recipe, &other));
    }
    /* every line of the short print is a key that differs: without the line
       the digest is another */
    n = atomdl_recipe_print(text, sizeof text, &recipe, 0);
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        size_t from = (size_t)(line - text);
        size_t len = (size_t)(strchr(line, '\n') + 1 - line);
        memcpy(again, text, from);
        memcpy(again + from, line + len, n - from - len + 1);
        atomdl_recipe_parse(&other, &e, again, strlen(again));
        if (!strncmp(line, "class = ", 8) || !strncmp(line, "row", 3)) continue;
        CHECK(atomdl_recipe_digest(&other) != atomdl_recipe_digest(&recipe));
    }
    /* the digest is one of values, not of text */
    CHECK(!parse(&recipe, &e, "dose=1e5\nfwhm = 1.10"));
    CHECK(!parse(&other, &e, "# x\n\n fwhm =  1.1 #\r\ndose\t= 100000.0\n"));
    CHECK(atomdl_recipe_digest(&recipe) == atomdl_recipe_digest(&other));
    CHECK(!atomdl_recipe_set(&other, &e, "dose = 2e5"));
    CHECK(atomdl_recipe_digest(&recipe) != atomdl_recipe_digest(&other));
    CHECK(atomdl_recipe_set(&other, &e, "doose = 2e5") && e.line == 0);
    /* great numbers too are printed as they are read */
    CHECK(!parse(&recipe, &e, "a2 = normal 0 09322119438582695556"));
    CHECK(atomdl_recipe_print(text, sizeof text, &recipe, 0) < sizeof text);
    CHECK(strstr(text, "a2 = normal 0 9322119438582700000\n") != NULL);
    /* nor of the order in which events come */
    CHECK(!parse(&recipe, &e, "event = vx2 hop 0.2\nevent = v1 vx1 0.25\n"
                              "event = none vx2 3\nevent = vx1 vx2 0.5\n"));
    CHECK(!parse(&other, &e, "event = vx1 vx2 0.5\nevent = none vx2 3\n"
                             "event = v1 vx1 0.25\nevent = vx2 hop 0.2\n"));
    CHECK(recipe.dynamics.states == 4);
    CHECK(same(&recipe, &other));
}

void test_recipe_errors(void)
{
    static const struct {
        const char *text;
        int line;
        const char *why;
    } BAD[] = {
        {"\npixl = 1", 2, "pixl: no such key; perhaps pixel"},
        {"\n\nqwertyuiop = 1", 3, "qwertyuiop: no such key"},
        {"crowd = 1", 1, "crowd: no such key"},
        {"nearer = 3", 1, "nearer: no such key"},
        {"nearer_part = 0.1", 1, "nearer_part: no such key"},
        {"relaxation = 0.1", 1, "relaxation: no such key"},
        {"initial = he", 1, "initial: no such key"},
        {"decay = 0", 1, "decay: no such key"},
        {"dice_smooth = 1", 1, "dice_smooth: no such key"},
        {"seed = 1\nsize =", 2, "size: no value"},
        {"seed", 1, "not `key = value`"},
        {"seed = 1\nseed = 2", 2, "seed: given twice"},
        {"dose = -1", 1, "dose: must lie in 0..1000000000000"},
        {"dose = nan", 1, "dose: not a distribution"},
        {"dose = inf", 1, "dose: not a distribution"},
        {"dose = 1e999", 1, "dose: not a distribution"},
        {"dose = 2..1", 1, "dose: not a distribution"},
        {"dose = 1 2", 1, "dose: wrong number of values"},
        {"dose = log 0..1", 1, "dose: log needs numbers above 0"},
        {"dose = log 2 1", 1, "dose: log needs numbers above 0"},
        {"dose = normal 1", 1, "dose: wrong number of values"},
        {"dose = normal 1 -1", 1, "dose: a standard deviation"},
        {"dose = 200% 1", 1, "dose: a chance lies in 0%..100%"},
        {"dose = 20%", 1, "dose: no value"},
        {"dose = 20% 1 else", 1, "dose: one number follows else"},
        {"fwhm = 20% 1 else 9", 1, "fwhm: must lie in 0.3..5"},
        {"size = 64.5", 1, "size: not a whole number"},
        {"size = 1000000000", 1, "size: must lie in 8..32768"},
        {"size = 32768\npixel = 1", 0, "more than 16 million atoms"},
        {"material = unobtainium", 1, "material: graphene"},
        {"defects = si-c5", 1, "defects: si-c3"},
        {"count = 3", 0, "count without defects"},
        {"defects = sub-m\ncount = 1", 0, "defects sub-... need dopant"},
        {"basis = C 0 0", 0, "basis without vectors"},
        {"vectors = 1 0 0 1", 0, "vectors without basis"},
        {"vectors = 1 0 1 0\nbasis = C 0 0", 0, "make no lattice"},
        {"vectors = 1 0 0", 1, "vectors: four numbers"},
        {"basis = Xx 0 0", 1, "basis: ELEMENT u v [z]"},
        {"class = a atom Xx 1", 1, "class: after NAME"},
        {"class = a atom C -1", 1, "class: after NAME"},
        {"class = a atom C", 1, "class: after NAME"},
        {"network = fcn 0", 0, "network: fcn"},
        {"network = transformer", 0, "network: fcn"},
        {"size = 33", 0, "size is no multiple"},
        {"class_weights = 1 2 3", 0, "class_weights"},
        {"rate = 0", 0, "rate, steps"},
        {"step = 1", 0, "step needs two materials"},
        {"dose = 1\ndensity = 1", 0, "density and dose"},
        {"size = 64 32\nwarp = 1", 0, "warp needs a square"},
        {"bits = 7", 0, "bits: 8, 16 or 0"},
        {"event = vx1 foo 1", 1, "event: FROM TO P"},
        {"event = vx1 hop 2", 1, "event: P must lie in 0..1"},
        {"scatter = v1 0.1", 1, "scatter: KIND"},
        {"scatter = sub-m 0.1", 0, "which element?"},
        {"class = a column Qx 1", 0, "class: a column"},
        {"seed = 1\n\001 = 2", 2, "not a text"},
    };
    atomdl_recipe_error e;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        CHECK(parse(&recipe, &e, BAD[i].text) == ATOMDL_EARG);
        if (e.line != BAD[i].line || !strstr(e.text, BAD[i].why))
            FAIL("'%s': %d: %s", BAD[i].text, e.line, e.text);
        CHECK(atomdl_recipe_parse(&recipe, NULL, BAD[i].text,
                                  strlen(BAD[i].text)) == ATOMDL_EARG);
    }
}

/* Cut at every byte, and with bytes changed: refused or sound, never more. */
void test_recipe_hostile(void)
{
    static const char BYTES[] = {0, '\n', '=', '.', '%', '9', '-', ' ', 'e',
                                 (char)0xff};
    atomdl_recipe_error e;
    atomdl_rng rng = atomdl_rng_seed(5);
    size_t n = sizeof FULL - 1, refused = 0;
    char *copy = malloc(n);
    for (size_t i = 0; i <= n; i++) {
        char *cut = malloc(i + 1); /* its end is the sanitizer's */
        memcpy(cut, FULL, i);
        int status = atomdl_recipe_parse(&recipe, &e, cut, i);
        CHECK(status == ATOMDL_OK || (status == ATOMDL_EARG && *e.text));
        CHECK(e.line >= 0 && e.line <= 51);
        refused += status != 0;
        free(cut);
    }
    CHECK(refused > n / 4 && refused < n);
    for (size_t i = 0; i < 3000; i++) {
        memcpy(copy, FULL, n);
        for (int k = 0; k < 3; k++) {
            size_t at = atomdl_rng_below(&rng, (uint32_t)n);
            copy[at] = BYTES[atomdl_rng_below(&rng, sizeof BYTES)];
        }
        int status = atomdl_recipe_parse(&recipe, &e, copy, n);
        CHECK(status == ATOMDL_OK || (status == ATOMDL_EARG && *e.text));
        if (status) continue;
        size_t at = atomdl_recipe_print(text, sizeof text, &recipe, 0);
        CHECK(at < sizeof text && !parse(&other, &e, text));
        CHECK(atomdl_recipe_digest(&other) == atomdl_recipe_digest(&recipe));
    }
    free(copy);
}

/* Mean and standard deviation of 40,000 draws within 5 of their own. */
void test_recipe_draws(void)
{
    enum { N = 40000 };
    static const struct {
        const char *text;
        double mean, sd, low, high;
    } DRAW[] = {
        {"1.5", 1.5, 0, 1.5, 1.5},
        {"0.9..1.5", 1.2, 0.173205, 0.9, 1.5},
        {"log 0.01..1", 0.214976, 0.245218, 0.01, 1},
        /* mean of u^2 is 1/3, of its square 1/5 */
        {"0..1 ^2", 1 / 3., 0.298142, 0, 1},
        {"normal 2 0.5", 2, 0.5, -2, 6},
        {"normal 0 1 0..100", 0.398942, 0.583796, 0, 7},
        {"poisson 2.2", 2.2, 1.483240, 0, 30},
        {"choice 1 2 6", 3, 2.160247, 1, 6},
        {"30% 2", 0.6, 0.916515, 0, 2},
        {"25% 1 else 3", 2.5, 0.866025, 1, 3},
    };
    for (size_t k = 0; k < sizeof DRAW / sizeof *DRAW; k++) {
        atomdl_rng rng = atomdl_rng_seed(k);
        double sum = 0, squares = 0, low = 1e9, high = -1e9;
        sprintf(text, "offset = %s", DRAW[k].text); /* within -100..100 */
        CHECK(!atomdl_recipe_set(&recipe, NULL, text));
        for (int i = 0; i < N; i++) {
            double x = atomdl_dist_draw(&recipe.offset, &rng);
            sum += x;
            squares += x * x;
            low = x < low ? x : low;
            high = x > high ? x : high;
        }
        sum /= N;
        double sd = sqrt(fabs(squares / N - sum * sum));
        CHECK_NEAR(sum, DRAW[k].mean, 5 * DRAW[k].sd / sqrt(N) + 1e-12);
        CHECK_NEAR(sd, DRAW[k].sd, 0.03 * DRAW[k].sd + 1e-5);
        CHECK(low >= DRAW[k].low && high <= DRAW[k].high);
    }
    CHECK(atomdl_recipe_set(&recipe, NULL, "offset = 1 2") == ATOMDL_EARG);
}

/* ---------- Samples ------------------------------------------------------- */

static const char SMALL[] =
    "size = 32\n"
    "pixel = 0.15..0.2\n"
    "scan = 50% 0.12\n"
    "material = graphene:3 mos2-2h-1\n"
    "scale = 0.95..1.05\n"
    "shear = -0.03..0.03\n"
    "distortion = 50% normal 0 0.1\n"
    "boundary = 20% 6..54\n"
    "hole = 20% 2..3\n"
    "edge = 20% 1\n"
    "defects = si-c3 si-c4 v1 vx1\n"
    "count = 90% poisson 1.5\n"
    "scatter = vx2 0.05\n"
    "alloy = Mo W 0.3\n"
    "clouds = 30% 1\n"
    "gaussian = 0.5\n"
    "defocus = normal 0 20\n"
    "a1 = normal 0 20\n"
    "drift = -0.5..0.5\n"
    "jitter = 0.05\n"
    "hum = 50% 0.05\n"
    "background = 0..1\n"
    "tilt = 0.3\n"
    "ripple = 0.2\n"
    "density = log 0.01..0.1\n"
    "read_share = 0.3\n"
    "smooth = 50% 0.4\n"
    "gamma = 0.8..1.2\n"
    "saturation = 0.99\n"
    "class = background\n"
    "class = C atom C 0.45\n"
    "class = other atom Si 0.4\n"
    "class = other atom Mo 0.4\n"
    "warp = 30% 1\n"
    "coarse = choice 1 1 2\n"
    "network = fcn 4\n";

static atomdl_source source;
static atomdl_arena shared, work;

static void begin(const char *recipe_text)
{
    atomdl_recipe_error e;
    atomdl_arena measure = {NULL, 0, 0, 0, 0};
    if (parse(&recipe, &e, recipe_text)) FAIL("%d: %s", e.line, e.text);
    CHECK(!atomdl_source_new(&source, &recipe, NULL, 0, &measure));
    shared = new_arena(measure.peak);
    CHECK(!atomdl_source_new(&source, &recipe, NULL, 0, &shared));
    work = new_arena((size_t)64 << 20);
}

static void end(void)
{
    free(shared.base);
    free(work.base);
}

static uint64_t sample_digest(uint64_t i, int raw)
{
    uint64_t h = ATOMDL_DIGEST;
    work.used = work.peak = 0;
    atomdl_sample s;
    int status = atomdl_sample_new(&s, &source, i, raw, &work);
    if (status) {
        FAIL("sample %d: %s", (int)i, atomdl_strerror(status));
        return 0;
    }
    size_t n = (size_t)s.image.w * (size_t)s.image.h;
    CHECK(!atomdl_image_check(&s.image));
    h = atomdl_digest_f32(h, s.image.px, n);
    h = atomdl_digest_bytes(h, s.label, n);
    for (uint32_t k = 0; k < s.structure.atoms; k++)
        h = atomdl_digest_f64(h, &s.structure.atom[k].x, 1);
    return h;
}

/* A thousand samples forwards, backwards, and some of them alone. */
void test_sample_order(void)
{
    enum { N = 1000 };
    static uint64_t h[N];
    int same = 0;
    begin(SMALL);
    for (int i = 0; i < N; i++) h[i] = sample_digest((uint64_t)i, 0);
    for (int i = N - 1; i >= 0; i -= 7)
        CHECK(sample_digest((uint64_t)i, 0) == h[i]);
    for (int i = 1; i < N; i++) same += h[i] == h[i - 1];
    CHECK(same == 0);
    CHECK(sample_digest(5, 1) != h[5]);
    recipe.seed = 2;
    CHECK(sample_digest(5, 0) != h[5]);
    /* a key draws from a stream of its own: the structure of a sample does
       not depend on the noise */
    end();
    begin(SMALL);
    {
        work.used = 0;
        atomdl_sample s;
        CHECK(!atomdl_sample_new(&s, &source, 3, 1, &work));
        double x = s.structure.atom[5].x;
        CHECK(!atomdl_recipe_set(&recipe, NULL, "density = 0.05"));
        CHECK(!atomdl_recipe_set(&recipe, NULL, "gaussian = 1"));
        work.used = 0;
        CHECK(!atomdl_sample_new(&s, &source, 3, 1, &work));
        CHECK(s.structure.atom[5].x == x);
    }
    end();
}

/* cloud_core reaches the atoms; unset, it leaves the digest of a recipe. */
void test_sample_carbon(void)
{
    static const char *const CORE[] = {"cloud_core = 0", "cloud_core = 1.3"};
    atomdl_recipe_error e;
    CHECK(!parse(&other, &e, "clouds = 1\ncloud_height = 20\n"));
    uint64_t digest[2];
    atomdl_sample s;
    for (int k = 0; k < 2; k++) {
        char line[99];
        uint32_t near = 0, atoms = 0;
        snprintf(line, sizeof line, "clouds = 1\ncloud_height = 20\n%s\n",
                 CORE[k]);
        begin(line);
        digest[k] = atomdl_recipe_digest(&recipe);
        work.used = 0;
        CHECK(!atomdl_sample_new(&s, &source, 1, 0, &work));
        for (uint32_t i = 0; i < s.structure.atoms; i++) {
            const atomdl_atom *a = &s.structure.atom[i];
            if (a->role != ATOMDL_ROLE_CONTAMINATION) continue;
            atoms++;
            for (uint32_t j = 0; j < i; j++) {
                const atomdl_atom *b = &s.structure.atom[j];
                near += b->role == ATOMDL_ROLE_CONTAMINATION
                        && pow(a->x - b->x, 2) + pow(a->y - b->y, 2)
                               + pow(a->z - b->z, 2) < 1.3 * 1.3;
            }
        }
        CHECK(atoms > 20 && (k ? near <= atoms / 20 : near > atoms / 10));
        end();
    }
    CHECK(digest[0] == atomdl_recipe_digest(&other) && digest[1] != digest[0]);
}

/* Measured to the byte; anything less is refused and nothing written. */
void test_sample_memory(void)
{
    begin(SMALL);
    atomdl_sample s;
    for (uint64_t i = 0; i < 6; i++) {
        atomdl_arena m = {NULL, 0, 0, 0, 0};
        CHECK(!atomdl_sample_new(&s, &source, i, 0, &m));
        CHECK(!s.image.px && m.peak > 0);
        for (size_t k = 0; k <= 16; k++) {
            size_t size = m.peak * k / 16 - (k && k < 16);
            atomdl_arena a = new_arena(size + 64);
            a.size = size;
            memset(a.base + size, 0xa5, 64);
            int status = atomdl_sample_new(&s, &source, i, 0, &a);
            CHECK(status == (k < 16 ? ATOMDL_EMEM : ATOMDL_OK));
            if (k == 16) CHECK(a.peak == m.peak);
            size_t j;
            for (j = 0; j < 64; j++)
                if (a.base[size + j] != 0xa5) break;
            CHECK(j == 64);
            free(a.base);
        }
    }
    end();
}

/* Each end of every distribution's limits draws a sound image, or none. */
void test_sample_limits(void)
{
    static const char *const REST[] = {
        "size = 16\nnetwork = fcn 4\ndefects = v1 si-c3\nclouds = 1\n"
        "hum = 0.1\ntail = 0.3\n",
        "size = 16\nnetwork = fcn 4\ngaussian = 1\nmaterial = wse2-2h-1\n"
        "defects = vx1\nclouds = 1\n"
    };
    static char line[300];
    int tried = 0;
    atomdl_recipe_default(&other);
    atomdl_recipe_print(text, sizeof text, &other, 1);
    atomdl_recipe_error e;
    for (int k = 0; k < 2; k++)
        for (int high = 0; high < 2; high++)
            for (const char *p = text; p && *p; p = strchr(p, '\n') + 1) {
                if (*p == '#' || *p == '\n'
                    || sscanf(p, "%299[^=\n]", line) != 1)
                    continue;
                strcat(line, "= -1e19");
                if (parse(&other, &e, line) != ATOMDL_EARG
                    || !strstr(e.text, "must lie in ") || !strstr(e.text, ".."))
                    continue;
                double low = strtod(strstr(e.text, " in ") + 4, NULL);
                double most = strtod(strstr(e.text, "..") + 2, NULL);
                if (!strncmp(line, "size", 4) || !strncmp(line, "count", 5))
                    continue;
                sprintf(strchr(line, '='), "= %.15g", high ? most : low);
                begin(REST[k]);
                if (!atomdl_recipe_set(&recipe, &e, line)
                    && !atomdl_recipe_check(&recipe, &e)) {
                    int before = test_failures;
                    sample_digest(1, 0);
                    tried++;
                    if (test_failures > before) FAIL("with %s", line);
                }
                end();
            }
    CHECK(tried > 250);
}

/* Whatever turns and warps the image does the same to truth and labels: the
   brightest place is at the Si, and so is its label. */
void test_sample_truth(void)
{
    int found = 0;
    begin("size = 64\npixel = 0.15625\ndefects = si-c3\ncount = 1\n"
          "weight = Si 12\nwarp = 50% 1\nzoom = 0.9..1.2\nclass = background\n"
          "class = Si atom Si 0.3\nscaling = minmax\nnetwork = fcn 4\n"
          "drift = -1..1\nscan = 50% 0.1\ndistortion = 0.2\n");
    atomdl_sample s;
    for (uint64_t i = 0; i < 40; i++) {
        work.used = 0;
        CHECK(!atomdl_sample_new(&s, &source, i, 0, &work));
        for (uint32_t k = 0; k < s.structure.atoms; k++) {
            const atomdl_atom *a = &s.structure.atom[k];
            double px = a->x / s.pixel - 0.5, py = a->y / s.pixel - 0.5;
            int x = (int)floor(px + 0.5), y = (int)floor(py + 0.5);
            int best = 0;
            if (a->element != 14 || x < 6 || y < 6 || x > 57 || y > 57)
                continue;
            for (int j = 0; j < 64 * 64; j++)
                if (s.image.px[j] > s.image.px[best]) best = j;
            CHECK_NEAR(best % 64, px, 1.2); /* sampling and turning: half a
                                               pixel each */
            CHECK_NEAR(best / 64, py, 1.2);
            CHECK(s.label[y * 64 + x] == 1);
            found++;
        }
    }
    CHECK(found > 15);
    end();
}

/* Defects keep their identities; frames differ in noise, not in structure. */
void test_sample_movie(void)
{
    uint32_t first = 0;
    int hops = 0;
    begin("size = 64\npixel = 0.3\nmaterial = mos2-2h-1\nscatter = vx1 0.2\n"
          "event = vx1 hop 0.2\nevent = vx1 vx2 0.05\ndose = 1e5\n"
          "movie_drift = normal 0 0.2\nnetwork = fcn 4\n");
    atomdl_movie movie;
    memset(&movie, 0, sizeof movie);
    atomdl_defect list[64];
    movie.defect = list;
    movie.max = 64;
    atomdl_sample s;
    for (int f = 0; f < 12; f++) {
        atomdl_arena m = {NULL, 0, 0, 0, 0};
        CHECK(!atomdl_movie_frame(&s, &movie, &source, 4, &m));
        CHECK(movie.frame == (uint32_t)f);
        work.used = work.peak = 0;
        CHECK(!atomdl_movie_frame(&s, &movie, &source, 4, &work));
        CHECK(work.peak == m.peak);
        if (!f) first = movie.defects;
        CHECK(movie.defects == first && first > 3);
        for (uint32_t i = 0; i < s.structure.defects; i++)
            CHECK(s.structure.defect[i].id <= first);
    }
    hops = (int)movie.events.hops[1];
    CHECK(hops > 2 && movie.events.change[1][2] > 0);
    atomdl_movie replay;
    memset(&replay, 0, sizeof replay);
    replay.defect = list;
    replay.max = 64;
    for (int f = 0; f < 12; f++) {
        work.used = 0;
        CHECK(!atomdl_movie_frame(&s, &replay, &source, 4, &work));
    }
    CHECK(replay.events.hops[1] == (uint32_t)hops
          && replay.drift[0] == movie.drift[0]);
    end();
}
