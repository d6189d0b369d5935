/* SPDX-License-Identifier: MIT
   Status texts, arenas, bytes and digests. */

#include "test.h"

void test_status_texts(void)
{
    static const int all[] = {ATOMDL_OK, ATOMDL_EARG, ATOMDL_ESHAPE,
                              ATOMDL_EMEM, ATOMDL_EFLOAT, ATOMDL_ENAN};
    static const int unknown[] = {1, -6, 2147483647, -2147483647 - 1};
    size_t n = sizeof all / sizeof *all;
    for (size_t i = 0; i < n; i++) {
        CHECK(all[i] == -(int)i);
        CHECK(atomdl_strerror(all[i]) != NULL);
        if (!*atomdl_strerror(all[i])) return; /* built without texts */
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(atomdl_strerror(all[i]), atomdl_strerror(all[j])));
    }
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        CHECK(atomdl_strerror(unknown[i]) != NULL);
        CHECK(*atomdl_strerror(unknown[i]) != 0);
    }
}

/* ---------- Arena --------------------------------------------------------- */

enum { ROOM = 4096, GUARD = 64 };

/* ROOM bytes at an address that is `shift` past a multiple of 64, among
   bytes 0xa5 */
static unsigned char *guarded(unsigned char *raw, int shift)
{
    size_t gap = (size_t)(-(uintptr_t)raw & 63);
    memset(raw, 0xa5, ROOM + 4 * GUARD);
    return raw + gap + GUARD + shift;
}

/* only [base, base + size) may have changed */
static int untouched(const unsigned char *raw, const unsigned char *base,
                     size_t size)
{
    const unsigned char *end = raw + ROOM + 4 * GUARD;
    for (const unsigned char *p = raw; p < end; p++)
        if ((p < base || p >= base + size) && *p != 0xa5) return 0;
    return 1;
}

static const size_t SIZES[][2] = {{1, 1}, {0, 8}, {3, 40}, {64, 1}, {8, 0},
                                  {65, 1}, {0, 0}, {1, 128}, {7, 9}};
enum { REQUESTS = sizeof SIZES / sizeof *SIZES };

/* takes all of SIZES and fills them; how many were given */
static int take(atomdl_arena *arena)
{
    int given = 0;
    for (int i = 0; i < REQUESTS; i++) {
        unsigned char *p = atomdl_alloc(arena, SIZES[i][0], SIZES[i][1]);
        if (!p) continue;
        given++;
        CHECK((uintptr_t)p % ATOMDL_ALIGN == 0);
        CHECK(p >= arena->base && p <= arena->base + arena->size);
        memset(p, i, SIZES[i][0] * SIZES[i][1]);
    }
    return given;
}

/* 1 + 0 + 2 + 1 + 0 + 2 + 0 + 2 + 1 units of 64, and 63 for any address */
static void check_measure(void)
{
    atomdl_arena arena = {NULL, 0, 0, 0, 0};
    CHECK(take(&arena) == 0);
    CHECK(arena.peak == 9 * 64 + 63);
    CHECK(arena.used == arena.peak);
    CHECK(atomdl_arena_status(&arena) == ATOMDL_OK);
    CHECK(atomdl_alloc(&arena, 1 << 20, 1 << 8) == NULL);
    CHECK(arena.peak == 9 * 64 + 63 + ((size_t)1 << 28));
    CHECK(atomdl_arena_status(&arena) == ATOMDL_OK);
}

/* Every size at every misalignment: works from what measuring says on, fails
   cleanly below, writes nothing outside; peak is the same everywhere. */
static void check_sweep(int shift)
{
    static unsigned char raw[ROOM + 4 * GUARD];
    unsigned char *base = guarded(raw, shift);
    size_t need = 9 * 64 + 63;
    int wrong = 0;
    for (size_t size = 0; size <= need + 70; size++) {
        atomdl_arena arena = {base, size, 0, 0, 0};
        int fits = size >= need, given = take(&arena);
        wrong += (given == REQUESTS) != fits || arena.failed == fits;
        wrong += atomdl_arena_status(&arena) != (fits ? ATOMDL_OK
                                                      : ATOMDL_EMEM);
        wrong += fits ? arena.peak != need : arena.peak > size;
        wrong += !untouched(raw, base, size);
    }
    if (wrong) FAIL("base at 64 n + %d: %d sizes go wrong", shift, wrong);
}

/* a block must not reach into the next one */
static void check_disjoint(void)
{
    static unsigned char raw[ROOM + 4 * GUARD];
    atomdl_arena arena = {guarded(raw, 5), ROOM, 0, 0, 0};
    unsigned char *p[REQUESTS];
    for (size_t i = 0; i < REQUESTS; i++) {
        p[i] = atomdl_alloc(&arena, SIZES[i][0], SIZES[i][1]);
        CHECK(p[i] != NULL);
        memset(p[i], (int)i, SIZES[i][0] * SIZES[i][1]);
    }
    for (size_t i = 0; i < REQUESTS; i++)
        for (size_t j = 0; j < SIZES[i][0] * SIZES[i][1]; j++)
            CHECK(p[i][j] == i);
}

static void check_overflow(atomdl_arena arena)
{
    static const size_t half = (size_t)1 << (sizeof(size_t) * 4);
    const size_t most = (size_t)-1;
    const size_t bad[][2] = {{half, half}, {most, 1}, {1, most}, {most, most},
                             {2, most / 2 + 1}, {most / 2 + 1, 2},
                             {most - 62, 1}, {1, most - 63}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        atomdl_arena a = arena;
        CHECK(atomdl_alloc(&a, bad[i][0], bad[i][1]) == NULL);
        CHECK(atomdl_arena_status(&a) == ATOMDL_EMEM);
        CHECK(a.used == arena.used && a.peak == arena.peak);
    }
    for (size_t i = 0; i < 3 && !arena.failed; i++) /* sums overflow too */
        (void)atomdl_alloc(&arena, most / 2 - 200, 1);
    CHECK(arena.failed);
}

static void check_sticky(void)
{
    static unsigned char raw[ROOM + 4 * GUARD];
    atomdl_arena arena = {guarded(raw, 0), 128, 0, 0, 0};
    CHECK(atomdl_alloc(&arena, 1, 129) == NULL);
    CHECK(arena.used == 0 && arena.peak == 0); /* as before */
    CHECK(atomdl_arena_status(&arena) == ATOMDL_EMEM);
    (void)atomdl_alloc(&arena, 1, 1); /* one that fits changes nothing */
    arena.used = 0;
    CHECK(atomdl_arena_status(&arena) == ATOMDL_EMEM);
    CHECK(arena.failed == 1);
}

/* used saved and restored gives the same addresses; peak stays */
static void check_scopes(int shift)
{
    static unsigned char raw[ROOM + 4 * GUARD];
    atomdl_arena arena = {guarded(raw, shift), ROOM, 0, 0, 0};
    size_t outer = arena.used;
    void *a = atomdl_alloc(&arena, 1, 100);
    size_t inner = arena.used;
    void *b = atomdl_alloc(&arena, 10, 100);
    arena.used = inner;
    CHECK(atomdl_alloc(&arena, 1, 1) == b);
    CHECK(arena.peak == inner + 1024);
    arena.used = outer;
    CHECK(atomdl_alloc(&arena, 1, 5) == a);
    CHECK(arena.peak == inner + 1024);
    CHECK(arena.used < inner);
}

void test_arena(void)
{
    static unsigned char raw[ROOM + 4 * GUARD];
    atomdl_arena measure = {NULL, 0, 0, 0, 0}, real = {NULL, ROOM, 0, 0, 0};
    CHECK(ATOMDL_ALIGN == 64);
    check_measure();
    for (int shift = 0; shift < 64; shift++) {
        check_sweep(shift);
        check_scopes(shift);
    }
    check_disjoint();
    check_overflow(measure);
    real.base = guarded(raw, 7);
    check_overflow(real);
    (void)atomdl_alloc(&measure, 1, 1); /* with some bytes in use */
    (void)atomdl_alloc(&real, 1, 1);
    check_overflow(measure);
    check_overflow(real);
    check_sticky();
}

/* ---------- Bytes --------------------------------------------------------- */

static void check_order(int at)
{
    static const unsigned char want[14] = {
        0x34, 0x12, 0xef, 0xcd, 0xab, 0x89,
        0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11};
    unsigned char b[32];
    memset(b, 0xa5, sizeof b);
    atomdl_store16(b + at, 0x1234);
    atomdl_store32(b + at + 2, 0x89abcdef);
    atomdl_store64(b + at + 6, 0x1122334455667788u);
    CHECK_BYTES(b + at, want, 14);
    CHECK(b[at + 14] == 0xa5 && (!at || b[at - 1] == 0xa5));
    CHECK(atomdl_load16(b + at) == 0x1234);
    CHECK(atomdl_load32(b + at + 2) == 0x89abcdef);
    CHECK(atomdl_load64(b + at + 6) == 0x1122334455667788u);
}

static void check_trips(int at)
{
    unsigned char b[16];
    uint64_t v = 1;
    for (uint64_t i = 0; i < 2000; i++) {
        v = v * 6364136223846793005u + 1442695040888963407u;
        atomdl_store16(b + at, (uint16_t)(v >> 40));
        CHECK(atomdl_load16(b + at) == (uint16_t)(v >> 40));
        atomdl_store32(b + at, (uint32_t)(v >> 32));
        CHECK(atomdl_load32(b + at) == (uint32_t)(v >> 32));
        atomdl_store64(b + at, v);
        CHECK(atomdl_load64(b + at) == v);
        CHECK(atomdl_bits64(atomdl_double(v | 1)) == (v | 1)
              || (v & 0x7ff8000000000000u) == 0x7ff0000000000000u);
    }
}

/* NaN payloads and signs survive; signalling NaNs are left out, because
   passing a float by value may quieten them on x87 */
static void check_float_bits(int at)
{
    static const uint32_t bits[] = {
        0, 0x80000000, 1, 0x807fffff, 0x3f800000, 0x7f7fffff, 0x7f800000,
        0xff800000, 0x7fc00000, 0xffc00000, 0x7fc12345, 0xffffffff};
    static const unsigned char one[4] = {0, 0, 0x80, 0x3f};
    unsigned char b[16];
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        CHECK(atomdl_bits(atomdl_float(bits[i])) == bits[i]);
        atomdl_storef(b + at, atomdl_float(bits[i]));
        CHECK(atomdl_load32(b + at) == bits[i]);
        CHECK(atomdl_bits(atomdl_loadf(b + at)) == bits[i]);
    }
    atomdl_storef(b + at, 1.0f);
    CHECK_BYTES(b + at, one, 4);
    CHECK(atomdl_bits(-2.5f) == 0xc0200000);
    CHECK(atomdl_float(0x3eaaaaab) == 1 / 3.0f);
    CHECK(atomdl_bits64(1.0) == 0x3ff0000000000000u);
    CHECK(atomdl_bits64(-0.1) == 0xbfb999999999999au);
    CHECK(atomdl_double(0x7fefffffffffffffu) == 0x1.fffffffffffffp1023);
    CHECK(atomdl_bits64(atomdl_double(0xfff8000000abcdefu))
          == 0xfff8000000abcdefu);
}

void test_bytes(void)
{
    for (int at = 0; at < 8; at++) { /* addresses that are no multiple of 8 */
        check_order(at);
        check_trips(at);
        check_float_bits(at);
    }
}

/* ---------- Digests ------------------------------------------------------- */

static void check_known(const char *text, uint64_t want)
{
    uint64_t h = atomdl_digest_bytes(ATOMDL_DIGEST, text, strlen(text));
    CHECK(h == want);
    for (size_t i = 0; i <= strlen(text); i++) { /* in two pieces */
        uint64_t g = atomdl_digest_bytes(ATOMDL_DIGEST, text, i);
        CHECK(atomdl_digest_bytes(g, text + i, strlen(text) - i) == want);
    }
}

/* numbers count by their little-endian bytes */
static void check_values(void)
{
    static const uint32_t u[3] = {0x01020304, 0, 0xfffefdfc};
    static const float f[3] = {1, -0.1f, 0x1p-149f};
    static const double d[2] = {-1.5, 0x1p-1074};
    static const unsigned char ub[12] = {4, 3, 2, 1, 0, 0, 0, 0,
                                         0xfc, 0xfd, 0xfe, 0xff};
    static const unsigned char fb[12] = {0, 0, 0x80, 0x3f, 0xcd, 0xcc, 0xcc,
                                         0xbd, 1, 0, 0, 0};
    static const unsigned char db[16] = {0, 0, 0, 0, 0, 0, 0xf8, 0xbf, 1};
    const uint64_t h = 12345;
    CHECK(atomdl_digest_u32(h, u, 3) == atomdl_digest_bytes(h, ub, 12));
    CHECK(atomdl_digest_f32(h, f, 3) == atomdl_digest_bytes(h, fb, 12));
    CHECK(atomdl_digest_f64(h, d, 2) == atomdl_digest_bytes(h, db, 16));
    CHECK(atomdl_digest_bytes(h, ub, 0) == h);
    CHECK(atomdl_digest_u32(h, u, 0) == h);
    CHECK(atomdl_digest_f32(h, f, 0) == h);
    CHECK(atomdl_digest_f64(h, d, 0) == h);
}

/* every NaN counts as 0x7fc00000, -0 differs from +0 */
static void check_special(void)
{
    static const uint32_t nan[] = {0x7fc00000, 0xffc00000, 0x7fc00001,
                                   0xffffffff};
    static const uint64_t nan64[] = {
        0x7ff8000000000000u, 0xfff8000000000000u, 0x7ff8000000000001u,
        0xffffffffffffffffu};
    const uint64_t h = ATOMDL_DIGEST;
    uint64_t want = atomdl_digest_u32(h, nan, 1);
    unsigned char b[8];
    float zero[2] = {0.0f, -0.0f};
    double zero64[2] = {0.0, -0.0};
    atomdl_store64(b, nan64[0]);
    uint64_t want64 = atomdl_digest_bytes(h, b, 8);
    for (size_t i = 0; i < 4; i++) {
        float f = atomdl_float(nan[i]);
        double d = atomdl_double(nan64[i]);
        CHECK(atomdl_digest_f32(h, &f, 1) == want);
        CHECK(atomdl_digest_f64(h, &d, 1) == want64);
    }
    CHECK(atomdl_digest_f32(h, zero, 1) != atomdl_digest_f32(h, zero + 1, 1));
    CHECK(atomdl_digest_f64(h, zero64, 1)
          != atomdl_digest_f64(h, zero64 + 1, 1));
}

/* known answers of the FNV reference code */
void test_digests(void)
{
    CHECK(ATOMDL_DIGEST == 0xcbf29ce484222325u);
    check_known("", 0xcbf29ce484222325u);
    check_known("a", 0xaf63dc4c8601ec8cu);
    check_known("foobar", 0x85944171f73967e8u);
    check_values();
    check_special();
}
