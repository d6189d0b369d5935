/* SPDX-License-Identifier: MIT
   Weight files and checkpoints: layout, round trips, hostile bytes. */

#include "test.h"

static const char NET[] = "input 2\n"
                          "conv a ch=3 k=3\n"
                          "batchnorm b\n"
                          "maxpool\n"
                          "deconv c ch=2\n"
                          "softmax\n";

#ifndef ALL_FLIPS
#define ALL_FLIPS 0
#endif

enum { VALUES = 57 + 12 + 56, FILE_MAX = 4096 };

static atomdl_layer rows[8];
static float values[VALUES], back[VALUES];
static unsigned char file[FILE_MAX];

static atomdl_arch small_net(void)
{
    atomdl_arch arch;
    int line;
    CHECK(!atomdl_arch_parse(&arch, rows, 8, NET, strlen(NET), &line));
    atomdl_arch_info info;
    CHECK(!atomdl_arch_check(&info, NULL, &arch, 0, 0));
    CHECK(info.values == VALUES);
    for (int i = 0; i < VALUES; i++) values[i] = (float)(i + 1) * 0.25f;
    return arch;
}

static atomdl_meta small_meta(void)
{
    atomdl_meta m;
    memset(&m, 0, sizeof m);
    strcpy(m.network, NET);
    strcpy(m.classes, "C,Si \"x\\y\" \xc3\xa9\t\x1f");
    strcpy(m.scaling, "percentile");
    strcpy(m.recipe, "0123456789abcdef");
    m.pixel_size = 0.104;
    m.numerics = ATOMDL_NUMERICS;
    return m;
}

/* ---------- Files built by hand ------------------------------------------- */

/* file <- header text and n bytes of data (all zero); its size */
static size_t by_hand(const char *header, size_t n)
{
    size_t length = strlen(header);
    atomdl_store64(file, length);
    memcpy(file + 8, header, length);
    memset(file + 8 + length, 0, n);
    return 8 + length + n;
}

/* status of reading NET's one tensor "t.bias" (3 floats) from such a file */
static int read_by_hand(const char *header, size_t n)
{
    static const char ONE[] = "input 1\nbatchnorm t\nsigmoid\n";
    static const char MAP[] = "t.bias q\nt.running_mean q\nt.running_var q\n"
                              "t.weight q";
    size_t size = by_hand(header, n);
    atomdl_layer r[2];
    atomdl_arch arch;
    float v[4] = {7, 7, 7, 7};
    int line;
    atomdl_arch_parse(&arch, r, 2, ONE, strlen(ONE), &line);
    int status = atomdl_weights_read(v, NULL, &arch, file, size, MAP);
    CHECK(status ? v[0] == 7 : v[0] == 0);
    atomdl_meta m;
    line = atomdl_weights_meta(&m, file, size);
    CHECK(line == ATOMDL_OK || status == ATOMDL_EFILE);
    return status;
}

#define Q(shape, offsets) "\"q\":{\"dtype\":\"F32\",\"shape\":" shape \
                          ",\"data_offsets\":" offsets "}"
#define R(offsets) "\"r\":{\"dtype\":\"I8\",\"shape\":[9]," \
                   "\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t n;
    int status;
} BY_HAND[] = {
    {"{" Q("[1]", "[0,4]") "}", 4, ATOMDL_OK},
    {"{ \"q\" :\t{\"shape\":[ 1 ] , \"x\":[{\"y\":[true,null,-1.5e+3]},\"]\"],"
     "\"data_offsets\":[ 0 ,4],\"dtype\":\"F\\u00332\"} }  \n", 4, ATOMDL_OK},
    {"{" R("[4,6]") "," Q("[1]", "[0,4]") "}", 6, ATOMDL_OK},
    {"{" R("[2,2]") "," Q("[1]", "[0,4]") "}", 4, ATOMDL_OK},
    {"{\"q\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2,
     ATOMDL_OK},
    {"{\"q\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
     ATOMDL_EMISSING},
    {"{" R("[0,6]") "}", 6, ATOMDL_EMISSING},
    {"{}", 0, ATOMDL_EMISSING},
    {"{" Q("[2]", "[0,8]") "}", 8, ATOMDL_ESHAPE},
    {"{" Q("[1,1]", "[0,4]") "}", 4, ATOMDL_ESHAPE},
    {"{" Q("[]", "[0,4]") "}", 4, ATOMDL_ESHAPE},
    {"{" Q("[1,1,1,1,1,1]", "[0,4]") "}", 4, ATOMDL_ESHAPE},
    {"{" Q("[1]", "[0,4]") "," Q("[1]", "[4,8]") "}", 8, ATOMDL_EFILE},
    {"{" R("[3,6]") "," Q("[1]", "[0,4]") "}", 6, ATOMDL_EFILE}, /* overlap */
    {"{" R("[5,6]") "," Q("[1]", "[0,4]") "}", 6, ATOMDL_EFILE}, /* gap */
    {"{" Q("[1]", "[0,4]") "}", 5, ATOMDL_EFILE},
    {"{" Q("[1]", "[0,4]") "}", 3, ATOMDL_EFILE},
    {"{" Q("[1]", "[4,0]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[1]", "[0,5]") "}", 5, ATOMDL_EFILE},
    {"{" Q("[1]", "[0,18446744073709551616]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[1]", "[18446744073709551612,0]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[4294967296,4294967297]", "[0,4]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[4611686018427387905]", "[0,4]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[-1]", "[0,4]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[1.0]", "[0,4]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[1,]", "[0,4]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[1]", "[0,4,4]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[1]", "[0]") "}", 4, ATOMDL_EFILE},
    {"{\"q\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, ATOMDL_EFILE},
    {"{\"q\":{\"dtype\":\"F32\",\"shape\":[1],\"shape\":[1],"
     "\"data_offsets\":[0,4]}}", 4, ATOMDL_EFILE},
    {"{\"q\":7}", 4, ATOMDL_EFILE},
    {"{\"q\\u0000\":7}", 4, ATOMDL_EFILE},
    {"{\"__metadata__\":{\"a\":\"\\ud83d\\ude00\\u00e9\\n\"},"
     Q("[1]", "[0,4]") "}", 4, ATOMDL_OK},
    {"{\"__metadata__\":{\"a\":\"\\ud83d\"}," Q("[1]", "[0,4]") "}", 4,
     ATOMDL_EFILE},
    {"{\"__metadata__\":{\"a\":\"\\ude00\"}," Q("[1]", "[0,4]") "}", 4,
     ATOMDL_EFILE},
    {"{\"__metadata__\":{\"a\":\"\\x\"}," Q("[1]", "[0,4]") "}", 4,
     ATOMDL_EFILE},
    {"{\"__metadata__\":{},\"__metadata__\":{}," Q("[1]", "[0,4]") "}", 4,
     ATOMDL_EFILE},
    {"{" Q("[1]", "[0,4]") "}x", 4, ATOMDL_EFILE},
    {"{" Q("[1]", "[0,4]") ",}", 4, ATOMDL_EFILE},
    {"{," Q("[1]", "[0,4]") "}", 4, ATOMDL_EFILE},
    {"{" Q("[1]", "[0,4]"), 4, ATOMDL_EFILE},
    {" {" Q("[1]", "[0,4]") "}", 4, ATOMDL_EFILE},
    {"{\"x\":[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]," Q("[1]", "[0,4]") "}", 4,
     ATOMDL_EFILE},
};

/* Statuses of metadata of which only one entry matters. */
static int meta_by_hand(atomdl_meta *m, const char *entries)
{
    char header[1024];
    sprintf(header, "{\"__metadata__\":{%s}}", entries);
    return atomdl_weights_meta(m, file, by_hand(header, 0));
}

static void meta_refused(void)
{
    atomdl_meta m;
    CHECK(!meta_by_hand(&m, "\"a\":\"b\""));
    CHECK(!*m.network && m.pixel_size == 0 && m.numerics == 0);
    CHECK(!meta_by_hand(&m, "\"atomdl.scaling\":\"\\u00e9\\ud83d\\ude00"
                            "\\u20ac\\/\""));
    CHECK(!strcmp(m.scaling, "\xc3\xa9\xf0\x9f\x98\x80\xe2\x82\xac/"));
    CHECK(!meta_by_hand(&m, "\"atomdl.scaling\":"
                            "\"0123456789012345678901234567890\""));
    CHECK(meta_by_hand(&m, "\"atomdl.scaling\":"
                           "\"01234567890123456789012345678901\""));
    CHECK(!*m.scaling);
    CHECK(meta_by_hand(&m, "\"atomdl.scaling\":7"));
    CHECK(meta_by_hand(&m, "\"atomdl.recipe\":\"\",\"atomdl.recipe\":\"\""));
    CHECK(!meta_by_hand(&m, "\"atomdl.numerics\":\"4294967295\""));
    CHECK(m.numerics == 0xffffffff);
    CHECK(meta_by_hand(&m, "\"atomdl.numerics\":\"4294967296\""));
    CHECK(meta_by_hand(&m, "\"atomdl.pixel_size\":\"-1\""));
    CHECK(meta_by_hand(&m, "\"atomdl.pixel_size\":\"\""));
    CHECK(meta_by_hand(&m, "\"atomdl.pixel_size\":\"inf\""));
}

/* ---------- Weights ------------------------------------------------------- */

/* values at 4 n of the data are memory's (out, ky, kx, in) in the file's
   order; the deconvolution's are (in, out, ky, kx) */
static void layout(const unsigned char *data)
{
    int n = 0;
    for (int o = 0; o < 3; o++)
        for (int i = 0; i < 2; i++)
            for (int y = 0; y < 3; y++)
                for (int x = 0; x < 3; x++, n++)
                    CHECK_BITS(atomdl_loadf(data + 4 * n),
                               values[((o * 3 + y) * 3 + x) * 2 + i]);
    for (; n < 57 + 12; n++)
        CHECK_BITS(atomdl_loadf(data + 4 * n), values[n]);
    for (int i = 0; i < 3; i++)
        for (int o = 0; o < 2; o++)
            for (int y = 0; y < 3; y++)
                for (int x = 0; x < 3; x++, n++)
                    CHECK_BITS(atomdl_loadf(data + 4 * n),
                               values[69 + ((o * 3 + y) * 3 + x) * 3 + i]);
}

/* binary16 and bfloat16, all finite values, against their definition */
static void halves(void)
{
    static const char ONE[] = "input 1\nconv t ch=1 k=1\nsigmoid\n";
    static const char *const FORM[2] = {
        "{\"t.weight\":{\"dtype\":\"%s\",\"shape\":[1,1,1,1],"
        "\"data_offsets\":[0,2]},\"t.bias\":{\"dtype\":\"%s\",\"shape\":[1],"
        "\"data_offsets\":[2,4]}}", NULL};
    atomdl_layer r[2];
    atomdl_arch arch;
    int line;
    CHECK(!atomdl_arch_parse(&arch, r, 2, ONE, strlen(ONE), &line));
    char header[256];
    float v[2];
    for (int kind = 0; kind < 2; kind++)
        for (uint32_t b = 0; b < 65536; b++) {
            const char *name = kind ? "BF16" : "F16";
            int e = (int)(b >> 10 & 31);
            uint32_t m = b & 1023;
            double want = e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
            int odd = kind ? (b >> 7 & 255) == 255 : e == 31;
            if (kind) want = (double)atomdl_float((b & 0x7fff) << 16);
            if (b >> 15) want = -want;
            sprintf(header, FORM[0], name, name);
            size_t size = by_hand(header, 4);
            atomdl_store16(file + size - 4, (uint16_t)b);
            v[0] = 7;
            int status = atomdl_weights_read(v, NULL, &arch, file, size, NULL);
            if (status != (odd ? ATOMDL_ENAN : ATOMDL_OK))
                FAIL("%s %04lx: status %d", name, (unsigned long)b, status);
            CHECK_BITS(v[0], odd ? 7 : (float)want);
        }
}

/* pixel sizes come back to the bit */
static void pixel_sizes(const atomdl_arch *arch)
{
    atomdl_meta m = small_meta(), again;
    atomdl_rng rng = atomdl_rng_seed(5);
    for (int i = 0; i < 3000; i++) {
        m.pixel_size = (atomdl_rng_uniform64(&rng) + 0.1)
                       * pow(10, i % 29 - 14);
        size_t size = atomdl_weights_size(arch, &m);
        atomdl_weights_write(file, arch, values, &m);
        CHECK(!atomdl_weights_meta(&again, file, size));
        if (again.pixel_size != m.pixel_size)
            FAIL("pixel size %.17g, want %.17g", again.pixel_size,
                 m.pixel_size);
    }
    m.pixel_size = (double)NAN; /* and what is none is left out */
    atomdl_weights_write(file, arch, values, &m);
    CHECK(!atomdl_weights_meta(&again, file, atomdl_weights_size(arch, &m)));
    CHECK(again.pixel_size == 0);
}

void test_weights(void)
{
    atomdl_arch arch = small_net();
    atomdl_meta meta = small_meta();
    size_t size = atomdl_weights_size(&arch, &meta);
    char missing[64] = "x";
    CHECK(size < FILE_MAX);
    file[size] = 0xaa;
    atomdl_weights_write(file, &arch, values, &meta);
    CHECK(file[size] == 0xaa);
    CHECK(8 + atomdl_load64(file) + 4 * VALUES == size && size % 4 == 0);
    layout(file + 8 + atomdl_load64(file));
    CHECK(!atomdl_weights_read(back, missing, &arch, file, size, NULL));
    CHECK(!*missing && !memcmp(back, values, sizeof values));
    atomdl_meta again;
    CHECK(!atomdl_weights_meta(&again, file, size));
    CHECK(!memcmp(&again, &meta, sizeof meta));
    CHECK(atomdl_digest_bytes(ATOMDL_DIGEST, file, size)
          == 0x9d40aa434b1f6a27u);
    atomdl_meta none;
    memset(&none, 0, sizeof none);
    size = atomdl_weights_size(&arch, &none);
    atomdl_weights_write(file, &arch, values, &none);
    CHECK(!atomdl_weights_meta(&again, file, size));
    CHECK(!memcmp(&again, &none, sizeof none));
    halves();
    pixel_sizes(&arch);
}

/* ---------- Hostile bytes ------------------------------------------------- */

/* reads a copy that ends with its memory, for the sanitizers to watch */
static int read_copy(const atomdl_arch *arch, size_t size)
{
    unsigned char *copy = malloc(size + !size);
    if (size) memcpy(copy, file, size);
    int status = atomdl_weights_read(back, NULL, arch, copy, size, NULL);
    atomdl_meta m;
    atomdl_weights_meta(&m, copy, size);
    CHECK(memchr(m.network, 0, sizeof m.network) != NULL);
    free(copy);
    return status;
}

static void map_and_missing(const atomdl_arch *arch, size_t size)
{
    static const char MAP[] = "# names\n\n c.weight  z.bias \na.bias a.bias";
    memset(back, 0, sizeof back);
    char missing[64];
    CHECK(atomdl_weights_read(back, missing, arch, file, size, MAP)
          == ATOMDL_EMISSING);
    CHECK(!strcmp(missing, "c.weight") && back[0] == 0);
    CHECK(atomdl_weights_read(back, missing, arch, file, size,
                              "c.weight c.bias")
          == ATOMDL_ESHAPE);
    CHECK(!atomdl_weights_read(back, NULL, arch, file, size,
                               "b.bias b.weight\r\n"));
    CHECK_BITS(back[60], values[57]);
    CHECK(atomdl_weights_read(back, NULL, arch, file, size, "a.bias")
          == ATOMDL_EARG);
    CHECK(atomdl_weights_read(back, NULL, arch, file, size, "a b c")
          == ATOMDL_EARG);
}

static void not_finite(const atomdl_arch *arch, size_t size)
{
    size_t data = size - 4 * VALUES;
    unsigned char *var = file + data + 4 * 66, kept[4];
    memcpy(kept, var, 4);
    memset(back, 0, sizeof back);
    atomdl_storef(var, (float)NAN);
    char missing[64];
    CHECK(atomdl_weights_read(back, missing, arch, file, size, NULL)
          == ATOMDL_ENAN);
    CHECK(!strcmp(missing, "b.running_var") && back[0] == 0);
    atomdl_storef(var, -INFINITY);
    CHECK(read_copy(arch, size) == ATOMDL_ENAN);
    atomdl_storef(var, -1);
    CHECK(read_copy(arch, size) == ATOMDL_ENAN);
    atomdl_storef(var, -0.0f);
    CHECK(read_copy(arch, size) == ATOMDL_OK);
    memcpy(var, kept, 4);
}

void test_weights_hostile(void)
{
    atomdl_arch arch = small_net();
    atomdl_meta meta = small_meta();
    size_t size = atomdl_weights_size(&arch, &meta);
    int flip; /* one bit, or with -DALL_FLIPS=1 every change */
    for (size_t i = 0; i < sizeof BY_HAND / sizeof *BY_HAND; i++)
        if (read_by_hand(BY_HAND[i].header, BY_HAND[i].n)
            != BY_HAND[i].status)
            FAIL("case %d: %s", (int)i, BY_HAND[i].header);
    meta_refused();
    atomdl_weights_write(file, &arch, values, &meta);
    map_and_missing(&arch, size);
    not_finite(&arch, size);
    for (size_t n = 0; n < size; n++) /* cut anywhere */
        if (read_copy(&arch, n) != ATOMDL_EFILE)
            FAIL("%d bytes of the file are read", (int)n);
    size_t n = (size_t)atomdl_load64(file);
    for (size_t i = 0; i < size; i++) /* altered anywhere: a status, no more */
        for (flip = 1; flip < 256; flip += ALL_FLIPS ? 1 : flip) {
            file[i] ^= (unsigned char)flip;
            read_copy(&arch, size);
            file[i] ^= (unsigned char)flip;
        }
    for (size_t i = 0; i < 8; i++) { /* lengths beyond the file and 4 GB */
        atomdl_store64(file, (uint64_t)n + ((uint64_t)1 << (8 * i + 5)));
        CHECK(read_copy(&arch, size) == ATOMDL_EFILE);
    }
    atomdl_store64(file, (uint64_t)-8);
    CHECK(read_copy(&arch, size) == ATOMDL_EFILE);
}

/* ---------- Checkpoints --------------------------------------------------- */

static void alter_each(atomdl_state *state, unsigned char *point, size_t size,
                       const atomdl_arch *arch, const atomdl_plan *plan)
{
    memset(back, 0, sizeof back);
    for (size_t i = 0; i < size; i++) {
        point[i] ^= (unsigned char)(1u << i % 8);
        if (atomdl_checkpoint_read(back, state, point, size, arch, plan)
            != ATOMDL_EFILE)
            FAIL("byte %d of a checkpoint is altered and read", (int)i);
        point[i] ^= (unsigned char)(1u << i % 8);
        if (atomdl_checkpoint_read(back, state, point, i, arch, plan)
            != ATOMDL_EFILE)
            FAIL("%d bytes of a checkpoint are read", (int)i);
    }
    CHECK(back[0] == 0 && state->step == 0);
}

void test_checkpoint(void)
{
    static float a[3 * VALUES], b[3 * VALUES];
    atomdl_arch arch = small_net();
    atomdl_plan plan;
    atomdl_state from = {41, 0.5f, 0.25f, a, a + VALUES, a + 2 * VALUES};
    atomdl_state to = {0, 0, 0, b, b + VALUES, b + 2 * VALUES};
    memset(&plan, 0, sizeof plan);
    for (int i = 0; i < 3 * VALUES; i++) a[i] = (float)-i;
    plan.average = 7;
    size_t size = atomdl_checkpoint_size(&arch, &plan);
    CHECK(size == 48 + 4 * 4 * VALUES);
    unsigned char *point = malloc(size + 1);
    point[size] = 0xaa;
    atomdl_checkpoint_write(point, values, &from, &arch, &plan);
    CHECK(point[size] == 0xaa);
    alter_each(&to, point, size, &arch, &plan);
    CHECK(!atomdl_checkpoint_read(back, &to, point, size, &arch, &plan));
    CHECK(!memcmp(a, b, sizeof a) && !memcmp(back, values, sizeof back));
    CHECK(to.step == 41 && to.power1 == 0.5f && to.power2 == 0.25f);
    CHECK(atomdl_digest_bytes(ATOMDL_DIGEST, point, size)
          == 0x78c4d3a5029a12d3u);
    plan.loss.weight[31] = 1; /* of another plan, of another network */
    CHECK(atomdl_checkpoint_read(back, &to, point, size, &arch, &plan)
          == ATOMDL_EFILE);
    plan.loss.weight[31] = 0;
    rows[0].dilation = 2;
    CHECK(atomdl_checkpoint_read(back, &to, point, size, &arch, &plan)
          == ATOMDL_EFILE);
    rows[0].dilation = 1;
    a[5] = (float)NAN;
    atomdl_checkpoint_write(point, values, &from, &arch, &plan);
    CHECK(atomdl_checkpoint_read(back, &to, point, size, &arch, &plan)
          == ATOMDL_ENAN);
    plan.average = 0; /* no sum */
    a[5] = 0;
    from.sum = to.sum = NULL;
    CHECK(atomdl_checkpoint_size(&arch, &plan) == 48 + 4 * 3 * VALUES);
    atomdl_checkpoint_write(point, values, &from, &arch, &plan);
    CHECK(!atomdl_checkpoint_read(back, &to, point, size - 4 * VALUES, &arch,
                                  &plan));
    CHECK(!memcmp(a, b, 2 * VALUES * sizeof *a));
    free(point);
}
