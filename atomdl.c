/* SPDX-License-Identifier: MIT
   AtomDL: float environment, memory, mathematics, random numbers, images.

   Read atomdl.h first: its promise section fixes every order and function
   that this file computes. Sections follow the header's order. The file
   includes itself once for each vector instruction set (see Kernels). */

#ifndef ATOMDL_KERNELS_PASS /* ===== the file proper ===== */

#define ATOMDL_LIBRARY
#include "atomdl.h"

#ifndef ATOMDL_SOFT_SQRT
#include <math.h> /* sqrt and sqrtf alone */
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

/* ---------- Status -------------------------------------------------------- */

#ifdef ATOMDL_NO_TEXT
#define TEXT(s) ""
#else
#define TEXT(s) s
#endif

const char *atomdl_strerror(int status)
{
    switch (status) {
    case ATOMDL_OK: return TEXT("no error");
    case ATOMDL_EARG: return TEXT("an argument is out of its range");
    case ATOMDL_ESHAPE: return TEXT("sizes do not fit one another");
    case ATOMDL_EMEM: return TEXT("the arena is too small");
    case ATOMDL_EFLOAT:
        return TEXT("this float environment would give other bits");
    case ATOMDL_ENAN: return TEXT("data hold a NaN or an infinity");
    default: return TEXT("unknown status");
    }
}

/* ---------- Memory -------------------------------------------------------- */

void *atomdl_alloc(atomdl_arena *arena, size_t count, size_t size)
{
    size_t mask = ATOMDL_ALIGN - 1, most = (size_t)-1 - 2 * mask;
    size_t start, end, gap;

    start = arena->used ? arena->used : mask; /* room to align base */
    if (start > most || (size && count > (most - start) / size)) {
        arena->failed = 1;
        return NULL;
    }
    end = start + ((count * size + mask) & ~mask);
    if (arena->base && end > arena->size) {
        arena->failed = 1;
        return NULL;
    }
    arena->used = end;
    if (end > arena->peak) arena->peak = end;
    gap = (size_t)(0 - (uintptr_t)arena->base) & mask;
    return arena->base ? arena->base + gap + (start - mask) : NULL;
}

int atomdl_arena_status(const atomdl_arena *arena)
{
    return arena->failed ? ATOMDL_EMEM : ATOMDL_OK;
}

/* ---------- Bytes and digests --------------------------------------------- */

u16 atomdl_load16(const unsigned char *p)
{
    return (u16)(p[0] | (u32)p[1] << 8);
}

u32 atomdl_load32(const unsigned char *p)
{
    return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24;
}

u64 atomdl_load64(const unsigned char *p)
{
    return (u64)atomdl_load32(p) | (u64)atomdl_load32(p + 4) << 32;
}

float atomdl_loadf(const unsigned char *p)
{
    return atomdl_float(atomdl_load32(p));
}

void atomdl_store16(unsigned char *p, u16 v)
{
    p[0] = (u8)v;
    p[1] = (u8)(v >> 8);
}

void atomdl_store32(unsigned char *p, u32 v)
{
    atomdl_store16(p, (u16)v);
    atomdl_store16(p + 2, (u16)(v >> 16));
}

void atomdl_store64(unsigned char *p, u64 v)
{
    atomdl_store32(p, (u32)v);
    atomdl_store32(p + 4, (u32)(v >> 32));
}

void atomdl_storef(unsigned char *p, float v)
{
    atomdl_store32(p, atomdl_bits(v));
}

u32 atomdl_bits(float x)
{
    u32 b;

    memcpy(&b, &x, sizeof b);
    return b;
}

float atomdl_float(u32 bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

u64 atomdl_bits64(double x)
{
    u64 b;

    memcpy(&b, &x, sizeof b);
    return b;
}

double atomdl_double(u64 bits)
{
    double x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static const u32 NAN32 = 0x7fc00000;
#define NAN64 ((u64)0x7ff8 << 48)

u64 atomdl_digest_bytes(u64 h, const void *p, size_t n)
{
    const unsigned char *b = p;
    size_t i;

    for (i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

u64 atomdl_digest_u32(u64 h, const u32 *v, size_t n)
{
    unsigned char b[4];
    size_t i;

    for (i = 0; i < n; i++) {
        atomdl_store32(b, v[i]);
        h = atomdl_digest_bytes(h, b, 4);
    }
    return h;
}

u64 atomdl_digest_f32(u64 h, const float *v, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        u32 b = v[i] != v[i] ? NAN32 : atomdl_bits(v[i]);

        h = atomdl_digest_u32(h, &b, 1);
    }
    return h;
}

u64 atomdl_digest_f64(u64 h, const double *v, size_t n)
{
    unsigned char b[8];
    size_t i;

    for (i = 0; i < n; i++) {
        atomdl_store64(b, v[i] != v[i] ? NAN64 : atomdl_bits64(v[i]));
        h = atomdl_digest_bytes(h, b, 8);
    }
    return h;
}

/* ---------- Binary64 sums without hardware --------------------------------

   Called by the compiler, see the end of atomdl.h; a and b are the bits of
   doubles, so that no floating-point call hides in here. */

#ifdef ATOMDL_SOFT_ADD
u64 atomdl_dadd(u64 a, u64 b);
u64 atomdl_dsub(u64 a, u64 b);
u64 atomdl_drsub(u64 a, u64 b);

static const u64 SIGN = (u64)1 << 63, ONE = (u64)1 << 52;

/* exponent (at least 1) and 53-bit mantissa, 9 guard bits below it */
static int unpack(u64 *m, u64 a)
{
    int e = (int)(a >> 52 & 0x7ff);

    *m = ((a & (ONE - 1)) | (e ? ONE : 0)) << 9;
    return e ? e : 1;
}

u64 atomdl_dadd(u64 a, u64 b)
{
    u64 m, n, t;
    int e, d;

    if ((a & ~SIGN) < (b & ~SIGN)) {
        t = a;
        a = b;
        b = t;
    }
    e = unpack(&m, a);
    d = e - unpack(&n, b);
    if (e == 0x7ff) { /* infinity or NaN */
        if ((a & ~SIGN) > (u64)0x7ff << 52) return NAN64;
        return (b ^ SIGN) == a ? NAN64 : a;
    }
    if (d > 63) n = n != 0;
    else if (d) n = n >> d | (n << (64 - d) != 0); /* keep a sticky bit */
    m = (a ^ b) & SIGN ? m - n : m + n;
    if (!m) return a & b & SIGN;
    if (m >> 62) {
        m = m >> 1 | (m & 1);
        e++;
    }
    for (; e > 1 && !(m >> 61); e--) m <<= 1;
    n = m & 511;
    m = (m >> 9) + (n > 256 || (n == 256 && m >> 9 & 1));
    m += (u64)(e - 1) << 52;
    return (a & SIGN) | (m < (u64)0x7ff << 52 ? m : (u64)0x7ff << 52);
}

u64 atomdl_dsub(u64 a, u64 b)
{
    return atomdl_dadd(a, b ^ SIGN);
}

u64 atomdl_drsub(u64 a, u64 b)
{
    return atomdl_dadd(a ^ SIGN, b);
}
#endif

/* ---------- Mathematics: tables -------------------------------------------

   Made by tests/tables.py. Most rows are hi + lo of a constant that binary64
   alone cannot hold; LOGC rows are 1/c, hi and lo of -log(1/c). */

/* 2^(i/32) = hi + lo */
static const double EXP2[32][2] = {
    {0x1.0000000000000p+0, 0x0.0p+0},
    {0x1.059b0d3158574p+0, 0x1.d73e2a475b465p-55},
    {0x1.0b5586cf9890fp+0, 0x1.8a62e4adc610bp-54},
    {0x1.11301d0125b51p+0, -0x1.6c51039449b3ap-54},
    {0x1.172b83c7d517bp+0, -0x1.19041b9d78a76p-55},
    {0x1.1d4873168b9aap+0, 0x1.e016e00a2643cp-54},
    {0x1.2387a6e756238p+0, 0x1.9b07eb6c70573p-54},
    {0x1.29e9df51fdee1p+0, 0x1.612e8afad1255p-55},
    {0x1.306fe0a31b715p+0, 0x1.6f46ad23182e4p-55},
    {0x1.371a7373aa9cbp+0, -0x1.63aeabf42eae2p-54},
    {0x1.3dea64c123422p+0, 0x1.ada0911f09ebcp-55},
    {0x1.44e086061892dp+0, 0x1.89b7a04ef80d0p-59},
    {0x1.4bfdad5362a27p+0, 0x1.d4397afec42e2p-56},
    {0x1.5342b569d4f82p+0, -0x1.07abe1db13cadp-55},
    {0x1.5ab07dd485429p+0, 0x1.6324c054647adp-54},
    {0x1.6247eb03a5585p+0, -0x1.383c17e40b497p-54},
    {0x1.6a09e667f3bcdp+0, -0x1.bdd3413b26456p-54},
    {0x1.71f75e8ec5f74p+0, -0x1.16e4786887a99p-55},
    {0x1.7a11473eb0187p+0, -0x1.41577ee04992fp-55},
    {0x1.82589994cce13p+0, -0x1.d4c1dd41532d8p-54},
    {0x1.8ace5422aa0dbp+0, 0x1.6e9f156864b27p-54},
    {0x1.93737b0cdc5e5p+0, -0x1.75fc781b57ebcp-57},
    {0x1.9c49182a3f090p+0, 0x1.c7c46b071f2bep-56},
    {0x1.a5503b23e255dp+0, -0x1.d2f6edb8d41e1p-54},
    {0x1.ae89f995ad3adp+0, 0x1.7a1cd345dcc81p-54},
    {0x1.b7f76f2fb5e47p+0, -0x1.5584f7e54ac3bp-56},
    {0x1.c199bdd85529cp+0, 0x1.11065895048ddp-55},
    {0x1.cb720dcef9069p+0, 0x1.503cbd1e949dbp-56},
    {0x1.d5818dcfba487p+0, 0x1.2ed02d75b3707p-55},
    {0x1.dfc97337b9b5fp+0, -0x1.1a5cd4f184b5cp-54},
    {0x1.ea4afa2a490dap+0, -0x1.e9c23179c2893p-54},
    {0x1.f50765b6e4540p+0, 0x1.9d3e12dd8a18bp-54},
};
/* 1/c and -log(1/c) = hi + lo */
static const double LOGC[64][3] = {
    {0x1.6800000000000p+0, -0x1.5d1bdbf581000p-2, 0x1.8d6bdc9c7c238p-44},
    {0x1.6400000000000p+0, -0x1.51aad872e0000p-2, 0x1.f4bd8db0a7cc1p-44},
    {0x1.6080000000000p+0, -0x1.478cd5959b000p-2, -0x1.ec89bf0c8d098p-45},
    {0x1.5c80000000000p+0, -0x1.3bdd24eb15000p-2, 0x1.257b4970e6ed9p-44},
    {0x1.5900000000000p+0, -0x1.31871c9544000p-2, -0x1.84fab94cecfd9p-46},
    {0x1.5580000000000p+0, -0x1.27161913f8000p-2, -0x1.4f4f1f61564b4p-44},
    {0x1.5200000000000p+0, -0x1.1c898c169a000p-2, 0x1.81410e5c62affp-44},
    {0x1.4e80000000000p+0, -0x1.11e0e2dada000p-2, 0x1.a47f88fcce5bap-45},
    {0x1.4b00000000000p+0, -0x1.071b85fcd6000p-2, 0x1.bcb8ba3e01a11p-44},
    {0x1.4780000000000p+0, -0x1.f871b28956000p-3, 0x1.f75fd6a526efep-44},
    {0x1.4480000000000p+0, -0x1.e598ed5a88000p-3, 0x1.d134bcf1e98a1p-47},
    {0x1.4180000000000p+0, -0x1.d293581b6c000p-3, 0x1.83270128aaa5fp-44},
    {0x1.3e00000000000p+0, -0x1.bc286742d8000p-3, -0x1.9ac53f39d121cp-44},
    {0x1.3b00000000000p+0, -0x1.a8becfc882000p-3, -0x1.e3185cf21b9cfp-44},
    {0x1.3800000000000p+0, -0x1.9525a9cf46000p-3, 0x1.297137d9f158fp-44},
    {0x1.3500000000000p+0, -0x1.815c0a1436000p-3, 0x1.02a52f9201ce8p-44},
    {0x1.3200000000000p+0, -0x1.6d60fe719e000p-3, 0x1.bc6e557134767p-44},
    {0x1.2f80000000000p+0, -0x1.5c94007598000p-3, 0x1.a8d948cd23322p-44},
    {0x1.2c80000000000p+0, -0x1.483bccce6e000p-3, -0x1.eea52723f6369p-46},
    {0x1.2a00000000000p+0, -0x1.371fc201e8000p-3, -0x1.ee8779b2d8abcp-44},
    {0x1.2700000000000p+0, -0x1.2266f190a6000p-3, 0x1.4d20ab840e7f6p-45},
    {0x1.2480000000000p+0, -0x1.10f8e42254000p-3, 0x1.93b3843396307p-45},
    {0x1.2200000000000p+0, -0x1.fec9131dc0000p-4, 0x1.54555d1ae6607p-44},
    {0x1.1f80000000000p+0, -0x1.db5270187c000p-4, -0x1.9277856ae181fp-44},
    {0x1.1d00000000000p+0, -0x1.b78c82bb10000p-4, 0x1.25ef7bc3987e7p-44},
    {0x1.1a80000000000p+0, -0x1.9375e55594000p-4, -0x1.eddc37380c364p-44},
    {0x1.1800000000000p+0, -0x1.6f0d28ae58000p-4, 0x1.4b4641b664613p-44},
    {0x1.1580000000000p+0, -0x1.4a50d3aa1c000p-4, 0x1.f7fe1308973e2p-45},
    {0x1.1380000000000p+0, -0x1.2cb0283f5c000p-4, -0x1.e1ee2ca657021p-44},
    {0x1.1100000000000p+0, -0x1.0759835990000p-4, 0x1.b8ecfe4b59987p-44},
    {0x1.0f00000000000p+0, -0x1.d276b8adb0000p-5, -0x1.6a423c78a64b0p-46},
    {0x1.0c80000000000p+0, -0x1.868a830840000p-5, 0x1.2623a134ac693p-46},
    {0x1.0a80000000000p+0, -0x1.494acc34d8000p-5, -0x1.11c78a56fd247p-45},
    {0x1.0880000000000p+0, -0x1.0b94f7c198000p-5, 0x1.e89896f022783p-45},
    {0x1.0600000000000p+0, -0x1.7b91b07d60000p-6, 0x1.3b955b602ace4p-44},
    {0x1.0400000000000p+0, -0x1.fc0a8b0fc0000p-7, -0x1.f1e7cf6d3a69cp-50},
    {0x1.0200000000000p+0, -0x1.fe02a6b100000p-8, -0x1.9e23f0dda40e4p-46},
    {0x1.0000000000000p+0, 0x0.0p+0, 0x0.0p+0},
    {0x1.f800000000000p-1, 0x1.0205658930000p-6, 0x1.611d27c8e8417p-44},
    {0x1.f000000000000p-1, 0x1.0415d89e78000p-5, -0x1.dddc7f461c516p-44},
    {0x1.e900000000000p-1, 0x1.788595a358000p-5, -0x1.08b0d083b3a4cp-46},
    {0x1.e200000000000p-1, 0x1.eea31c0068000p-5, 0x1.c3dd83606d891p-44},
    {0x1.db00000000000p-1, 0x1.333d7f8184000p-4, -0x1.692b6a81b8848p-49},
    {0x1.d400000000000p-1, 0x1.700d30aeac000p-4, 0x1.c1e8da99ded32p-49},
    {0x1.ce00000000000p-1, 0x1.a4e7640b1c000p-4, -0x1.e42b6b94407c8p-47},
    {0x1.c700000000000p-1, 0x1.e3707ee304000p-4, 0x1.0f684e6766abdp-45},
    {0x1.c100000000000p-1, 0x1.0ce7ecdccc000p-3, 0x1.4652dabff5447p-46},
    {0x1.bb00000000000p-1, 0x1.28753bc11a000p-3, 0x1.7494e359302e6p-44},
    {0x1.b500000000000p-1, 0x1.4462b9dc9c000p-3, -0x1.84858a711b062p-44},
    {0x1.af00000000000p-1, 0x1.60b3100b0a000p-3, -0x1.71456c988f814p-44},
    {0x1.aa00000000000p-1, 0x1.7898d85444000p-3, 0x1.8e67be3dbaf3fp-44},
    {0x1.a400000000000p-1, 0x1.95a5adcf70000p-3, 0x1.7f22858a0ff6fp-47},
    {0x1.9f00000000000p-1, 0x1.ae2ca6f672000p-3, 0x1.7a8d5ae54f550p-44},
    {0x1.9a00000000000p-1, 0x1.c6ffbc6f00000p-3, 0x1.ee138d3a69d43p-44},
    {0x1.9500000000000p-1, 0x1.e020cc6236000p-3, -0x1.52b00adb91424p-45},
    {0x1.9000000000000p-1, 0x1.f991c6cb3c000p-3, -0x1.90d04cd7cc834p-44},
    {0x1.8b00000000000p-1, 0x1.09aa572e6c000p-2, 0x1.b50a1e1734342p-44},
    {0x1.8600000000000p-1, 0x1.16b5ccbad0000p-2, -0x1.23299042d74bfp-44},
    {0x1.8200000000000p-1, 0x1.214456d0ec000p-2, -0x1.caf0428b728a3p-44},
    {0x1.7d00000000000p-1, 0x1.2e9e2bce12000p-2, 0x1.4300c128d1dc2p-45},
    {0x1.7900000000000p-1, 0x1.396ce359bc000p-2, -0x1.5839c5663663dp-47},
    {0x1.7400000000000p-1, 0x1.4718dc271c000p-2, 0x1.06c18fb4c14c5p-44},
    {0x1.7000000000000p-1, 0x1.522ae0738a000p-2, 0x1.ebe708164c759p-45},
    {0x1.6c00000000000p-1, 0x1.5d5bddf596000p-2, -0x1.a0b2a08a465dcp-47},
};
/* sin(i pi/64) = hi + lo */
static const double SINE[33][2] = {
    {0x0.0p+0, 0x0.0p+0},
    {0x1.91f65f10dd814p-5, -0x1.912bd0d569a90p-61},
    {0x1.917a6bc29b42cp-4, -0x1.e2718d26ed688p-60},
    {0x1.2c8106e8e613ap-3, 0x1.13000a89a11e0p-58},
    {0x1.8f8b83c69a60bp-3, -0x1.26d19b9ff8d82p-57},
    {0x1.f19f97b215f1bp-3, -0x1.42deef11da2c4p-57},
    {0x1.294062ed59f06p-2, -0x1.5d28da2c4612dp-56},
    {0x1.58f9a75ab1fddp-2, -0x1.efdc0d58cf620p-62},
    {0x1.87de2a6aea963p-2, -0x1.72cedd3d5a610p-57},
    {0x1.b5d1009e15cc0p-2, 0x1.5b362cb974183p-57},
    {0x1.e2b5d3806f63bp-2, 0x1.e0d891d3c6841p-58},
    {0x1.073879922ffeep-1, -0x1.a5a014347406cp-55},
    {0x1.1c73b39ae68c8p-1, 0x1.b25dd267f6600p-55},
    {0x1.30ff7fce17035p-1, -0x1.efcc626f74a6fp-57},
    {0x1.44cf325091dd6p-1, 0x1.8076a2cfdc6b3p-57},
    {0x1.57d69348ceca0p-1, -0x1.75720992bfbb2p-55},
    {0x1.6a09e667f3bcdp-1, -0x1.bdd3413b26456p-55},
    {0x1.7b5df226aafafp-1, -0x1.0f537acdf0ad7p-56},
    {0x1.8bc806b151741p-1, -0x1.2c5e12ed1336dp-55},
    {0x1.9b3e047f38741p-1, -0x1.30ee286712474p-55},
    {0x1.a9b66290ea1a3p-1, 0x1.9f630e8b6dac8p-60},
    {0x1.b728345196e3ep-1, -0x1.bc69f324e6d61p-55},
    {0x1.c38b2f180bdb1p-1, -0x1.6e0b1757c8d07p-56},
    {0x1.ced7af43cc773p-1, -0x1.e7b6bb5ab58aep-58},
    {0x1.d906bcf328d46p-1, 0x1.457e610231ac2p-56},
    {0x1.e212104f686e5p-1, -0x1.014c76c126527p-55},
    {0x1.e9f4156c62ddap-1, 0x1.760b1e2e3f81ep-55},
    {0x1.f0a7efb9230d7p-1, 0x1.52c7adc6b4989p-56},
    {0x1.f6297cff75cb0p-1, 0x1.562172a361fd3p-56},
    {0x1.fa7557f08a517p-1, -0x1.7a0a8ca13571fp-55},
    {0x1.fd88da3d12526p-1, -0x1.87df6378811c7p-55},
    {0x1.ff621e3796d7ep-1, -0x1.c57bc2e24aa15p-57},
    {0x1.0000000000000p+0, 0x0.0p+0},
};
/* atan(i/32) = hi + lo */
static const double ATAN[33][2] = {
    {0x0.0p+0, 0x0.0p+0},
    {0x1.ffd55bba97625p-6, -0x1.5ec431444912cp-60},
    {0x1.ff55bb72cfdeap-5, -0x1.c934d86d23f1dp-60},
    {0x1.7ee182602f10fp-4, -0x1.cfb654c0c3d98p-58},
    {0x1.fd5ba9aac2f6ep-4, -0x1.cd37686760c17p-59},
    {0x1.3d6eee8c6626cp-3, 0x1.61a3b0ce9281bp-57},
    {0x1.7b97b4bce5b02p-3, 0x1.347b0b4f881cap-58},
    {0x1.b90d7529260a2p-3, 0x1.17b10d2e0e5abp-61},
    {0x1.f5b75f92c80ddp-3, 0x1.8ab6e3cf7afbdp-57},
    {0x1.18bf5a30bf178p-2, 0x1.30ca4748b1bf9p-57},
    {0x1.362773707ebccp-2, -0x1.963a544b672d8p-57},
    {0x1.530ad9951cd4ap-2, -0x1.2566480884082p-57},
    {0x1.6f61941e4def1p-2, -0x1.c63aae6f6e918p-56},
    {0x1.8b24d394a1b25p-2, 0x1.b6d0ba3748fa8p-56},
    {0x1.a64eec3cc23fdp-2, -0x1.24dec1b50b7ffp-56},
    {0x1.c0db4c94ec9f0p-2, -0x1.cc1ce70934c34p-56},
    {0x1.dac670561bb4fp-2, 0x1.a2b7f222f65e2p-56},
    {0x1.f40dd0b541418p-2, -0x1.a3992dc382a23p-57},
    {0x1.0657e94db30d0p-1, -0x1.d5b495f6349e6p-56},
    {0x1.1255d9bfbd2a9p-1, -0x1.2bdaee1c0ee35p-58},
    {0x1.1e00babdefeb4p-1, -0x1.928df287a668fp-58},
    {0x1.2958e59308e31p-1, -0x1.09e73b0c6c087p-56},
    {0x1.345f01cce37bbp-1, 0x1.1021137c71102p-55},
    {0x1.3f13fb89e96f4p-1, 0x1.ecf8b492644f0p-56},
    {0x1.4978fa3269ee1p-1, 0x1.2419a87f2a458p-56},
    {0x1.538f57b89061fp-1, -0x1.1bb74abda520cp-55},
    {0x1.5d58987169b18p-1, 0x1.0028e4bc5e7cap-57},
    {0x1.66d663923e087p-1, -0x1.6ea6febe8bbbap-56},
    {0x1.700a7c5784634p-1, -0x1.8c34d25aadef6p-56},
    {0x1.78f6bbd5d315ep-1, 0x1.406a089803740p-55},
    {0x1.819d0b7158a4dp-1, -0x1.bf76229d3b917p-56},
    {0x1.89ff5ff57f1f8p-1, -0x1.55b9a5e177a1bp-55},
    {0x1.921fb54442d18p-1, 0x1.1a62633145c07p-55},
};
/* 1/(2 pi), binary digits after 64 zeros */
static const u32 TURN[42] = {
    0, 0,
    0x28be60db, 0x9391054a, 0x7f09d5f4, 0x7d4d3770, 0x36d8a566,
    0x4f10e410, 0x7f9458ea, 0xf7aef158, 0x6dc91b8e, 0x909374b8,
    0x01924bba, 0x82746487, 0x3f877ac7, 0x2c4a69cf, 0xba208d7d,
    0x4baed121, 0x3a671c09, 0xad17df90, 0x4e64758e, 0x60d4ce7d,
    0x272117e2, 0xef7e4a0e, 0xc7fe25ff, 0xf7816603, 0xfbcbc462,
    0xd6829b47, 0xdb4d9fb3, 0xc9f2c26d, 0xd3d18fd9, 0xa797fa8b,
    0x5d49eeb1, 0xfaf97c5e, 0xcf41ce7d, 0xe294a4ba, 0x9afed7ec,
    0x47e35742, 0x1580cc11, 0xbf1edaea, 0xfc33ef08, 0x26bd0d87,
};
/* erf(x)/x in powers of x^2 */
static const double ERF_TAYLOR[19] = {
    0x1.20dd750429b6dp+0, -0x1.812746b0379e7p-2, 0x1.ce2f21a042be2p-4,
    -0x1.b82ce31288b51p-6, 0x1.565bcd0e6a53fp-8, -0x1.c02db40040b86p-11,
    0x1.f9a326f9b89b7p-14, -0x1.f4d25c3e0c2ebp-17, 0x1.b9e6c9dc651a3p-20,
    -0x1.5f742ec43e71ap-23, 0x1.fcc5720624c1cp-27, -0x1.51d7181c5d36dp-30,
    0x1.9e6ad5e55a730p-34, -0x1.d8453cb0c46eap-38, 0x1.f683ae4a97007p-42,
    -0x1.f56f071a885cfp-46, 0x1.d70b3537f4765p-50, -0x1.a2007af3447f6p-54,
    0x1.5f7919bc67b8cp-58,
};
/* exp(x^2) erfc(x) in powers of t = (x - 3)/(x + 3), 1 <= x <= 6 */
static const double ERFCX[16] = {
    0x1.6e9827d229d2dp-3, -0x1.4e102b9cf8513p-2, 0x1.f6ff204105a04p-3,
    -0x1.336ffbef08b8ap-3, 0x1.258b13b00ec66p-4, -0x1.8fa58eb5ea92cp-6,
    0x1.17c839090a469p-8, 0x1.73101f6d2e434p-11, -0x1.39085f2b38287p-11,
    0x1.7b9ef7977ceafp-15, 0x1.0cb2e63fe2177p-14, -0x1.af086905fc57fp-17,
    -0x1.0cc37e8e915adp-17, 0x1.0e3fb74fdc507p-19, 0x1.56695202d55bcp-20,
    0x1.d0badb83f2cadp-29,
};
/* normal quantile over q = u - 1/2 in powers of q^2, |q| <= 0.425 */
static const double NORMAL_CORE[14] = {
    0x1.40d931f6e927fp+1, 0x1.4ffe265fcc2acp+1, 0x1.713f3c3f53d49p+2,
    0x1.017bb4f5393cap+4, 0x1.05d62833ea25ep+4, 0x1.6dbad7a3a05c5p+10,
    -0x1.1576e6167b17ap+15, 0x1.43a033948c4bfp+19, -0x1.fa9f81b08345ap+22,
    0x1.11b689f1bd991p+26, -0x1.8fcb8f64c7974p+28, 0x1.7abebb7b6ea4dp+30,
    -0x1.a4bcf19e078c4p+31, 0x1.a3d42d35c89d7p+31,
};
/* the same for smaller u, -z in powers of sqrt(-log u) */
static const double NORMAL_TAIL[12] = {
    -0x1.255e1df934941p+1, 0x1.f97d13af68bd1p+1, -0x1.2f1c6bc8d84c9p+1,
    0x1.a50ae16a93edcp+0, -0x1.ade21c57f0317p-1, 0x1.4341dfdd545cap-2,
    -0x1.653128b45e6a9p-4, 0x1.1e6d42417e8f4p-6, -0x1.444d978b606a5p-9,
    0x1.eb7de41ad9f09p-13, -0x1.bf4e3fd54292ep-17, 0x1.71a4fb9582132p-22,
};

/* ---------- Mathematics: pieces -------------------------------------------

   exp, log, sin and cos are first had as an unevaluated sum hi + lo with
   |lo| << |hi| and a relative error below 2^-58; narrow() then rounds once.
   That is close enough to be the correctly rounded float in all 2^32 cases
   of each function, which `make check` proves one by one. */

static double nan64(void)
{
    return atomdl_double(NAN64);
}

static double infinity64(int negative)
{
    return atomdl_double((u64)(negative ? 0xfff : 0x7ff) << 52);
}

static double magnitude(double x)
{
    return atomdl_double(atomdl_bits64(x) & ~((u64)1 << 63));
}

static double with_sign(double x, double sign)
{
    u64 top = (u64)1 << 63;

    return atomdl_double((atomdl_bits64(x) & ~top)
                         | (atomdl_bits64(sign) & top));
}

/* x rounded to an integer, half to even; |x| < 2^51 */
static double nearest(double x)
{
    double t = x + 0x1.8p52;

    return t - 0x1.8p52;
}

/* 2^k, -1022 <= k <= 1023 */
static double power2(int k)
{
    return atomdl_double((u64)(i64)(1023 + k) << 52);
}

/* the 26 leading bits of x: products of two such are exact */
static double leading(double x)
{
    return atomdl_double(atomdl_bits64(x) >> 27 << 27);
}

/* a b = *hi + *lo exactly, barring overflow and underflow */
static void product(double *hi, double *lo, double a, double b)
{
    double ah = leading(a), al = a - ah, bh = leading(b), bl = b - bh;
    double p = a * b, e = ah * bh - p;

    e = e + ah * bl;
    e = e + al * bh;
    *lo = e + al * bl;
    *hi = p;
}

/* hi + lo rounded once to float. Rounding first to d and then to float goes
   wrong only where d is the very middle of two floats, and so ends in 28 zero
   bits; there the rest decides. hi is not 0. */
static float narrow(double hi, double lo)
{
    double d = hi + lo, rest = lo - (d - hi);
    u64 b = atomdl_bits64(d);

    if (!(b & 0xfffffff) && rest != 0) b += (rest > 0) == (d > 0) ? 1 : (u64)-1;
    return (float)atomdl_double(b);
}

/* exp(x) = 2^k (hi + lo), |x| < 800. x = (32 k + i) ln2/32 + r. */
static int exp_parts(double *hi, double *lo, double x)
{
    double n = nearest(x * 0x1.71547652b82fep+5);
    double r0 = x - n * 0x1.62e42fefa0000p-6, rn = n * 0x1.cf79abc9e3b3ap-45;
    double r = r0 - rn, rl = (r0 - r) - rn, p;
    int m = (int)n, i = m & 31;

    p = 0x1.5555555555555p-3
        + r * (0x1.5555555555555p-5
               + r * (0x1.1111111111111p-7
                      + r * (0x1.6c16c16c16c17p-10
                             + r * 0x1.a01a01a01a01ap-13)));
    p = r + (rl + r * r * (0.5 + r * p));
    *hi = EXP2[i][0];
    *lo = EXP2[i][1] + EXP2[i][0] * p;
    return (m - i) / 32;
}

/* log(x) = hi + lo, x > 0 finite. x = 2^k z, log z = -log(1/c) + log(z/c). */
static void log_parts(double *hi, double *lo, double x)
{
    u64 b = atomdl_bits64(x), t;
    double z, zh, ic, r0, r1, r, rl, rh, h, s, e, q, kf;
    int k = 0, i;

    if (b < (u64)1 << 52) { /* subnormal */
        b = atomdl_bits64(x * 0x1p54);
        k = -54;
    }
    t = b - 0x3fe6a00000000000u;
    i = (int)(t >> 46 & 63);
    k += (int)(t >> 52 & 0xfff) - (t >> 63 ? 0x1000 : 0);
    z = atomdl_double(b - (t & (u64)0xfff << 52));
    ic = LOGC[i][0];
    zh = atomdl_double(atomdl_bits64(z) >> 11 << 11);
    r0 = zh * ic - 1; /* exact: 42 + 11 bits, near 1 */
    r1 = (z - zh) * ic;
    r = r0 + r1;
    rl = r1 - (r - r0);
    kf = (double)k;
    h = kf * 0x1.62e42fefa3800p-1 + LOGC[i][1]; /* exact */
    s = h + r;
    e = r - (s - h);
    rh = leading(r); /* r^2/2 = rh^2/2 + (r - rh)(r + rh)/2 */
    q = 0.5 * rh * rh;
    *hi = s - q;
    e = e + ((s - *hi) - q);
    e = e - 0.5 * (r - rh) * (r + rh);
    e = e + rl * (1 - r);
    e = e + (LOGC[i][2] + kf * 0x1.ef35793c76730p-45);
    q = 0x1.5555555555555p-2
        + r * (-0.25 + r * (0x1.999999999999ap-3
               + r * (-0x1.5555555555555p-3
                      + r * (0x1.2492492492492p-3
                             + r * (-0.125 + r * 0x1.c71c71c71c71cp-4)))));
    *lo = e + r * r * r * q;
}

/* Reduces |x| in (100, infinity): x = (q + f) pi/64 mod 2 pi, f pi/64 = b + bl
   in integer arithmetic: 192 bits of m 2^e / (2 pi) (Payne and Hanek). */
static int reduce_large(double *b, double *bl, double x)
{
    u64 bits = atomdl_bits64(x), m, carry = 0;
    int e = (int)(bits >> 52 & 0x7ff) - 1075 + 64, shift = e & 31, i, q, neg;
    const u32 *turn = TURN + e / 32;
    u32 w[6], f[6];
    double hi = 0, lo = 0, p, pe, s;

    m = (bits & (((u64)1 << 52) - 1)) | (u64)1 << 52;
    for (i = 0; i < 6; i++) /* the digits of 1/(2 pi) that matter */
        w[i] = shift ? turn[i] << shift | turn[i + 1] >> (32 - shift) : turn[i];
    for (i = 5; i >= 0; i--) { /* f = w m mod 1: low half of m */
        carry += (u64)w[i] * (u32)m;
        f[i] = (u32)carry;
        carry >>= 32;
    }
    for (i = 4, carry = 0; i >= 0; i--) { /* high half, one word up */
        carry += (u64)w[i + 1] * (u32)(m >> 32) + f[i];
        f[i] = (u32)carry;
        carry >>= 32;
    }
    q = (int)((f[0] + (1u << 24)) >> 25);
    f[0] -= (u32)q << 25;
    neg = (int)(f[0] >> 31);
    for (i = 0; i < 6; i++) {
        u32 v = neg ? ~f[i] : f[i]; /* off by 2^-192, below the error */

        p = (double)v * power2(-32 * (i + 1));
        s = hi + p;
        lo = lo + (p - (s - hi));
        hi = s;
    }
    s = hi + lo;
    lo = lo - (s - hi);
    product(&p, &pe, s, 0x1.921fb54442d18p+2);
    pe = pe + (s * 0x1.1a62633145c07p-52 + lo * 0x1.921fb54442d18p+2);
    *b = neg ? -(p + pe) : p + pe;
    *bl = neg ? -(pe - (p + pe - p)) : pe - (p + pe - p);
    return q & 127;
}

/* the same for |x| <= 100: n pi/64 in three parts, the products exact */
static int reduce_small(double *b, double *bl, double x)
{
    double n = nearest(x * 0x1.45f306dc9c883p+4);
    double t = x - n * 0x1.921fb54443000p-5, u = n * -0x1.73dcb3b39a000p-48;
    double r = t - u, v = r - t, e = (t - (r - v)) - (u + v);

    e = e - n * 0x1.45c06e0e68948p-91;
    *b = r + e;
    *bl = e - (*b - r);
    return (int)n & 127;
}

/* sin(x + quarter pi/2) = hi + lo, x finite. With x = q pi/64 + b,
   S = sin(q pi/64), C = cos(q pi/64): S cos b + C sin b. */
static void sine_parts(double *hi, double *lo, double x, int quarter)
{
    double b, bl, s, sl, c, cl, ch, bh, bb, p, e, cm, sm;
    int q, negate;

    if (magnitude(x) <= 100) {
        q = reduce_small(&b, &bl, x);
    } else {
        q = reduce_large(&b, &bl, magnitude(x));
        if (x < 0) q = -q & 127, b = -b, bl = -bl;
    }
    q = (q + 32 * quarter) & 127;
    negate = q & 64;
    q &= 63;
    s = SINE[q > 32 ? 64 - q : q][0];
    sl = SINE[q > 32 ? 64 - q : q][1];
    c = SINE[q > 32 ? q - 32 : 32 - q][0];
    cl = SINE[q > 32 ? q - 32 : 32 - q][1];
    if (q > 32) c = -c, cl = -cl;
    if (negate) s = -s, sl = -sl, c = -c, cl = -cl;
    ch = leading(c);
    bh = leading(b);
    bb = b * b;
    p = ch * bh; /* exact */
    *hi = s + p;
    e = p - (*hi - s);
    cm = bb * (-0.5 + bb * (0x1.5555555555555p-5
               + bb * (-0x1.6c16c16c16c17p-10 + bb * 0x1.a01a01a01a01ap-16)));
    sm = b * bb * (-0x1.5555555555555p-3 + bb * (0x1.1111111111111p-7
               + bb * (-0x1.a01a01a01a01ap-13
                       + bb * 0x1.71de3a556c734p-19)));
    e = e + (sl + ((c - ch) + cl) * b);
    e = e + ch * ((b - bh) + bl);
    *lo = e + (s * cm + c * sm);
}

/* ---------- Mathematics: binary64 ----------------------------------------- */

/* y 2^k, y in [1/2, 4) */
static double scale(double y, int k)
{
    if (k > 1022) return y * 0x1p1022 * power2(k - 1022);
    if (k < -1020) return y * power2(k + 100) * 0x1p-100;
    return y * power2(k);
}

double atomdl_exp(double x)
{
    double hi, lo;
    int k;

    if (x != x) return nan64();
    if (x > 710) return infinity64(0);
    if (x < -746) return 0;
    k = exp_parts(&hi, &lo, x);
    return scale(hi + lo, k);
}

/* log of what has no finite logarithm; 1 when x is such */
static int log_special(double *y, double x)
{
    if (x > 0 && x < infinity64(0)) return 0;
    *y = x == 0 ? infinity64(1) : x > 0 ? x : nan64();
    return 1;
}

double atomdl_log(double x)
{
    double hi, lo;

    if (log_special(&hi, x)) return hi;
    log_parts(&hi, &lo, x);
    return hi + lo;
}

static int not_finite(double x)
{
    return (atomdl_bits64(x) >> 52 & 0x7ff) == 0x7ff;
}

double atomdl_sin(double x)
{
    double hi, lo;

    if (not_finite(x)) return nan64();
    if (x == 0) return x;
    sine_parts(&hi, &lo, x, 0);
    return hi + lo;
}

double atomdl_cos(double x)
{
    double hi, lo;

    if (not_finite(x)) return nan64();
    sine_parts(&hi, &lo, x, 1);
    return hi + lo;
}

/* atan(n/d) = hi + lo, 0 <= n <= d, d > 0: atan(c) + atan((n - cd)/(d + cn))
   with c the nearest multiple of 1/32. */
static void atan_parts(double *hi, double *lo, double n, double d)
{
    double k = nearest(32 * (n / d)), c = k * 0.03125, u, v, a, al;
    double dh = leading(d);

    u = ((n - c * dh) - c * (d - dh)) / (d + c * n);
    v = u * u;
    v = v * (-0x1.5555555555555p-2 + v * (0x1.999999999999ap-3
             + v * (-0x1.2492492492492p-3 + v * 0x1.c71c71c71c71cp-4)));
    a = ATAN[(int)k][0];
    al = ATAN[(int)k][1];
    *hi = a + u;
    *lo = (u - (*hi - a)) + (al + u * v);
}

double atomdl_atan2(double y, double x)
{
    double ax = magnitude(x), ay = magnitude(y), hi, lo, top;

    if (x != x || y != y) return nan64();
    if (ax == infinity64(0) && ay == ax) {
        ax = ay = 1;
    } else if (ay == 0 || ax == infinity64(0)) {
        ax = 1;
        ay = 0;
    } else if (ay == infinity64(0)) {
        ax = 0;
        ay = 1;
    }
    top = ax > ay ? ax : ay;
    if (top > 0x1p1000 || top < 0x1p-900) {
        double s = top > 1 ? 0x1p-100 : 0x1p120;

        ax = ax * s;
        ay = ay * s;
    }
    if (ay <= ax) {
        atan_parts(&hi, &lo, ay, ax);
    } else { /* pi/2 - atan(x/y) */
        atan_parts(&hi, &lo, ax, ay);
        lo = 0x1.1a62633145c07p-54 - lo;
        top = 0x1.921fb54442d18p+0 - hi;
        lo = lo + ((0x1.921fb54442d18p+0 - top) - hi);
        hi = top;
    }
    if (atomdl_bits64(x) >> 63) { /* pi - angle */
        lo = 0x1.1a62633145c07p-53 - lo;
        top = 0x1.921fb54442d18p+1 - hi;
        lo = lo + ((0x1.921fb54442d18p+1 - top) - hi);
        hi = top;
    }
    return with_sign(hi + lo, y);
}

static double polynomial(const double *c, int n, double x)
{
    double s = c[n - 1];
    int i;

    for (i = n - 2; i >= 0; i--) s = s * x + c[i];
    return s;
}

double atomdl_erf(double x)
{
    double a = magnitude(x), t;

    if (x != x) return nan64();
    if (a < 1) { /* x (c0 + t ...), c0 as hi + lo */
        double hi, lo;

        t = x * x;
        t = t * polynomial(ERF_TAYLOR + 1, 18, t);
        product(&hi, &lo, x, ERF_TAYLOR[0]);
        lo = lo + x * 0x1.1ae3a914fed80p-56;
        return hi + (lo + x * t);
    }
    if (a > 6) return with_sign(1, x);
    t = (a - 3) / (a + 3); /* erf = 1 - exp(-x^2) erfcx(x) */
    t = atomdl_exp(-(a * a)) * polynomial(ERFCX, 16, t);
    return with_sign(1 - t, x);
}

/* 0: y is no integer, 1: even integer, 2: odd integer */
static int integer_kind(double y)
{
    if (magnitude(y) >= 0x1p53) return 1;
    if (atomdl_floor(y) != y) return 0;
    return atomdl_floor(y / 2) * 2 == y ? 1 : 2;
}

double atomdl_pow(double x, double y)
{
    double a = magnitude(x), sign, h, l, p, e;
    int kind = integer_kind(y), k;

    if (y == 0 || x == 1) return 1;
    if (x != x || y != y) return nan64();
    sign = kind == 2 ? x : 1;
    if (not_finite(y)) {
        if (a == 1) return 1;
        return (a > 1) == (y > 0) ? infinity64(0) : 0;
    }
    if (a == 0 || not_finite(x))
        return with_sign((a > 1) == (y > 0) ? infinity64(0) : 0, sign);
    if (x < 0 && !kind) return nan64();
    log_parts(&h, &l, a);
    p = h + l;
    l = l - (p - h); /* now |l| is below an ulp of h */
    h = p;
    p = y * h;
    if (p > 710) return with_sign(infinity64(0), sign);
    if (p < -746) return with_sign(0, sign);
    product(&p, &e, y, h);
    e = e + y * l;
    k = exp_parts(&h, &l, p);
    l = l + (h + l) * e;
    return with_sign(scale(h + l, k), sign);
}

double atomdl_floor(double x)
{
    double t;

    if (!(magnitude(x) < 0x1p52)) return x;
    t = (double)(i64)x;
    if (t == x) return x;
    return t > x ? t - 1 : t;
}

#ifdef ATOMDL_SOFT_SQRT
/* Digit by digit, 55 bits and a sticky bit; x > 0 and finite. */
static double root(double x)
{
    u64 b, m, rem = 0, r = 0;
    int e, i;

    if (x < 0x1p-1022) return root(x * 0x1p108) * 0x1p-54;
    b = atomdl_bits64(x);
    e = (int)(b >> 52) - 1023;
    m = ((b & (((u64)1 << 52) - 1)) | (u64)1 << 52) << (e & 1 ? 1 : 0);
    for (i = 0; i < 54; i++) { /* two bits of m 2^54 at a time */
        rem = rem << 2 | (i < 27 ? m >> (52 - 2 * i) & 3 : 0);
        r <<= 1;
        if (rem > 2 * r) {
            rem -= 2 * r + 1;
            r |= 1;
        }
    }
    /* r has 54 bits: 53 and a half; a tie cannot occur */
    r = (r >> 1) + (r & 1);
    return atomdl_double(r + ((u64)(i64)((e - (e & 1)) / 2 + 1022) << 52));
}
#endif

double atomdl_sqrt(double x)
{
    if (x == 0) return x;
    if (!(x > 0)) return nan64();
#ifdef ATOMDL_SOFT_SQRT
    return not_finite(x) ? x : root(x);
#else
    return sqrt(x);
#endif
}

/* ---------- Mathematics: binary32 ----------------------------------------- */

float atomdl_expf(float x)
{
    double hi, lo, s;

    if (x != x) return atomdl_float(NAN32);
    if (x > 0x1.62e42ep+6f) return (float)infinity64(0);
    if (x < -104) return 0;
    s = power2(exp_parts(&hi, &lo, (double)x));
    return narrow(hi * s, lo * s);
}

float atomdl_logf(float x)
{
    double hi, lo;

    if (x != x || x < 0) return atomdl_float(NAN32);
    if (log_special(&hi, (double)x)) return (float)hi;
    log_parts(&hi, &lo, (double)x);
    return narrow(hi, lo);
}

float atomdl_sinf(float x)
{
    double hi, lo;

    if (not_finite((double)x)) return atomdl_float(NAN32);
    if (x == 0) return x;
    sine_parts(&hi, &lo, (double)x, 0);
    return narrow(hi, lo);
}

float atomdl_cosf(float x)
{
    double hi, lo;

    if (not_finite((double)x)) return atomdl_float(NAN32);
    sine_parts(&hi, &lo, (double)x, 1);
    return narrow(hi, lo);
}

float atomdl_sqrtf(float x)
{
    if (x == 0) return x;
    if (!(x > 0)) return atomdl_float(NAN32);
#ifdef ATOMDL_SOFT_SQRT /* rounding twice is innocuous: 53 >= 2 24 + 2 */
    return (float)atomdl_sqrt((double)x);
#else
    return sqrtf(x);
#endif
}

static float to_float(double x)
{
    if (x != x) return atomdl_float(NAN32);
    if (magnitude(x) >= 0x1.ffffffp127)
        return (float)infinity64(x < 0);
    return (float)x;
}

float atomdl_atan2f(float y, float x)
{
    return to_float(atomdl_atan2((double)y, (double)x));
}

float atomdl_erff(float x)
{
    return to_float(atomdl_erf((double)x));
}

float atomdl_powf(float x, float y)
{
    return to_float(atomdl_pow((double)x, (double)y));
}

/* ---------- Reductions ---------------------------------------------------- */

enum { LANES = 16 };

/* lane i += lane i + s for s = 8, 4, 2, 1 */
static float tree(float lane[LANES])
{
    int s, i;

    for (s = LANES / 2; s; s /= 2)
        for (i = 0; i < s; i++) lane[i] = lane[i] + lane[i + s];
    return lane[0];
}

static double tree64(double lane[LANES])
{
    int s, i;

    for (s = LANES / 2; s; s /= 2)
        for (i = 0; i < s; i++) lane[i] = lane[i] + lane[i + s];
    return lane[0];
}

float atomdl_sum(const float *x, size_t n)
{
    float lane[LANES] = {0};
    size_t i;

    for (i = 0; i < n; i++) lane[i % LANES] = lane[i % LANES] + x[i];
    return tree(lane);
}

float atomdl_dot(const float *x, const float *y, size_t n)
{
    float lane[LANES] = {0};
    size_t i;

    for (i = 0; i < n; i++) {
        float p = x[i] * y[i];

        lane[i % LANES] = lane[i % LANES] + p;
    }
    return tree(lane);
}

float atomdl_absmax(const float *x, size_t n)
{
    float m = 0;
    size_t i;

    for (i = 0; i < n; i++) {
        float a = atomdl_float(atomdl_bits(x[i]) & 0x7fffffff);

        m = a > m ? a : m;
    }
    return m;
}

/* ---------- Kernels -------------------------------------------------------

   The plain form of each kernel is its definition. The vector forms stand at
   the end of this file, written once with the vector extension of gcc and
   clang; the file includes itself for every instruction set. */

static void exp_plain(float *y, const float *x, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) y[i] = atomdl_expf(x[i]);
}

static const atomdl_kernels KERNELS_PLAIN = {"plain", exp_plain};

#if !defined ATOMDL_NO_SIMD && (defined __clang__ || __GNUC__ >= 9)
#if defined __SSE2__ || (defined __ARM_NEON && defined __aarch64__) \
    || defined __wasm_simd128__
#define SIMD_BASE
#endif
/* (mingw-w64 does not align the stack for vectors wider than 16 bytes) */
#if defined __x86_64__ && !defined __MINGW32__
#define SIMD_WIDE
#endif
#endif

#ifdef SIMD_BASE
#if defined __SSE2__
#define V(name) name##_sse2
#define V_NAME "sse2"
#elif defined __aarch64__
#define V(name) name##_neon
#define V_NAME "neon"
#else
#define V(name) name##_simd128
#define V_NAME "simd128"
#endif
#define V_TABLE KERNELS_BASE
#define V_BYTES 16
#define ATOMDL_KERNELS_PASS
#include "atomdl.c"
#endif

#ifdef SIMD_WIDE
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define V(name) name##_avx2
#define V_NAME "avx2"
#define V_TABLE KERNELS_AVX2
#define V_BYTES 32
#define ATOMDL_KERNELS_PASS
#include "atomdl.c"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq")
#endif
#define V(name) name##_avx512
#define V_NAME "avx512"
#define V_TABLE KERNELS_AVX512
#define V_BYTES 64
#define ATOMDL_KERNELS_PASS
#include "atomdl.c"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

const atomdl_kernels *atomdl_kernels_get(int i)
{
    const atomdl_kernels *found[4];
    int n = 0;

    found[n++] = &KERNELS_PLAIN;
#ifdef SIMD_BASE
    found[n++] = &KERNELS_BASE;
#endif
#ifdef SIMD_WIDE
    if (__builtin_cpu_supports("avx2")) found[n++] = &KERNELS_AVX2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"))
        found[n++] = &KERNELS_AVX512;
#endif
    return i >= 0 && i < n ? found[i] : NULL;
}

static int same_name(const char *a, const char *b)
{
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

const atomdl_kernels *atomdl_kernels_find(const char *name)
{
    const atomdl_kernels *k, *best = NULL;
    int i;

    for (i = 0; (k = atomdl_kernels_get(i)) != NULL; i++)
        if (!name || same_name(name, k->name)) best = k;
    return best;
}

/* ---------- Random numbers ------------------------------------------------ */

void atomdl_philox(u32 out[4], const u32 ctr[4], const u32 key[2])
{
    u32 a = ctr[0], b = ctr[1], c = ctr[2], d = ctr[3];
    u32 k0 = key[0], k1 = key[1];
    int round;

    for (round = 0; round < 10; round++) {
        u64 p = (u64)a * 0xd2511f53u, q = (u64)c * 0xcd9e8d57u;

        a = (u32)(q >> 32) ^ b ^ k0;
        b = (u32)q;
        c = (u32)(p >> 32) ^ d ^ k1;
        d = (u32)p;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

atomdl_rng atomdl_rng_seed(u64 seed)
{
    atomdl_rng rng = {{0}, {0}, {0}, 0};

    rng.key[0] = (u32)seed;
    rng.key[1] = (u32)(seed >> 32);
    return rng;
}

atomdl_rng atomdl_rng_split(const atomdl_rng *parent, u64 id)
{
    atomdl_rng child = {{0}, {0}, {0}, 0};
    u32 ctr[4], key[2], out[4];

    ctr[0] = (u32)id;
    ctr[1] = (u32)(id >> 32);
    ctr[2] = parent->ctr[2];
    ctr[3] = parent->ctr[3];
    key[0] = ~parent->key[0]; /* never the block of a drawn number */
    key[1] = parent->key[1];
    atomdl_philox(out, ctr, key);
    child.key[0] = out[0];
    child.key[1] = out[1];
    child.ctr[2] = out[2];
    child.ctr[3] = out[3];
    return child;
}

u32 atomdl_rng_u32(atomdl_rng *rng)
{
    if (!rng->left) {
        atomdl_philox(rng->out, rng->ctr, rng->key);
        rng->left = 4;
        if (!++rng->ctr[0]) rng->ctr[1]++;
    }
    return rng->out[4 - rng->left--];
}

float atomdl_rng_uniform(atomdl_rng *rng)
{
    return (float)(atomdl_rng_u32(rng) >> 8) * 0x1p-24f;
}

double atomdl_rng_uniform64(atomdl_rng *rng)
{
    u64 high = atomdl_rng_u32(rng), low = atomdl_rng_u32(rng);

    return (double)((high << 32 | low) >> 11) * 0x1p-53;
}

u32 atomdl_rng_below(atomdl_rng *rng, u32 n)
{
    u32 least;
    u64 p;

    if (!n) return 0;
    least = (0u - n) % n; /* 2^32 mod n products would be one too many */
    do p = (u64)atomdl_rng_u32(rng) * n;
    while ((u32)p < least);
    return (u32)(p >> 32);
}

void atomdl_rng_normal(atomdl_rng *rng, float *out, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        double q = ((double)atomdl_rng_u32(rng) - 0x1.fffffffep+30) * 0x1p-32;
        double a = magnitude(q), z;

        if (a <= 0.425) {
            z = q * polynomial(NORMAL_CORE, 14, q * q);
        } else {
            z = atomdl_sqrt(-atomdl_log(0.5 - a));
            z = with_sign(polynomial(NORMAL_TAIL, 12, z), q);
        }
        out[i] = (float)z;
    }
}

/* log(k!): exact products below 16, else Stirling's series, error < 1e-14 */
static double log_factorial(double k)
{
    double f = 1, i, r;

    if (k < 16) {
        for (i = 2; i <= k; i++) f = f * i;
        return atomdl_log(f);
    }
    k = k + 1;
    r = 1 / (k * k);
    f = 0x1.5555555555555p-4
        + r * (-0x1.6c16c16c16c17p-9
               + r * (0x1.a01a01a01a01ap-11 + r * -0x1.3813813813814p-11));
    return (k - 0.5) * atomdl_log(k) - k + 0x1.d67f1c864beb5p-1 + f / k;
}

/* Transformed rejection with squeeze (PTRS), W. Hoermann, Insurance:
   Mathematics and Economics 12, 39 (1993); mean >= 10. Nine in ten numbers
   leave by the first return, without a logarithm. */
static u32 poisson_large(atomdl_rng *rng, double mean)
{
    double b = 0.931 + 2.53 * atomdl_sqrt(mean), a = -0.059 + 0.02483 * b;
    double vr = 0.9277 - 3.6224 / (b - 2), u, v, us, k, t;

    for (;;) {
        u = atomdl_rng_uniform64(rng) - 0.5;
        v = ((double)atomdl_rng_u32(rng) + 0.5) * 0x1p-32;
        us = 0.5 - magnitude(u);
        if (us == 0) continue;
        k = atomdl_floor((2 * a / us + b) * u + mean + 0.43);
        if (us >= 0.07 && v <= vr) return (u32)k;
        if (k < 0 || k > 4e9 || (us < 0.013 && v > us)) continue;
        t = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b);
        if (atomdl_log(t) <= k * atomdl_log(mean) - mean - log_factorial(k))
            return (u32)k;
    }
}

u32 atomdl_rng_poisson(atomdl_rng *rng, double mean)
{
    double u, p, sum;
    u32 k = 0;

    if (!(mean > 0 && mean <= 1e9)) return 0;
    if (mean >= 10) return poisson_large(rng, mean);
    u = atomdl_rng_uniform64(rng);
    p = atomdl_exp(-mean);
    for (sum = p; u >= sum && k < 100; sum = sum + p) {
        k++;
        p = p * (mean / (double)k);
    }
    return k;
}

void atomdl_rng_permutation(atomdl_rng *rng, u32 *order, u32 n)
{
    u32 i, j, t;

    for (i = 0; i < n; i++) order[i] = i;
    for (i = n; i > 1; i--) {
        j = atomdl_rng_below(rng, i);
        t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}

/* ---------- Sorting ------------------------------------------------------- */

/* out(m - a + b - m) = the merged runs in[a, m) and in[m, b) */
static void merge(u32 *out, const u32 *in, const double *key, size_t a,
                  size_t m, size_t b)
{
    size_t i = a, j = m, k;

    for (k = a; k < b; k++) {
        int left = j >= b || (i < m && !(key[in[j]] < key[in[i]]));

        out[k] = left ? in[i++] : in[j++];
    }
}

int atomdl_sort(u32 *order, const double *key, size_t n, u32 *scratch)
{
    u32 *from = order, *to = scratch, *t;
    size_t run, a;

    for (a = 0; a < n; a++) {
        if (key[a] != key[a]) return ATOMDL_ENAN;
        order[a] = (u32)a;
    }
    for (run = 1; run < n; run *= 2) {
        for (a = 0; a < n; a += 2 * run) {
            size_t m = n - a > run ? a + run : n;
            size_t b = n - a > 2 * run ? a + 2 * run : n;

            merge(to, from, key, a, m, b);
        }
        t = from;
        from = to;
        to = t;
    }
    if (from != order) memcpy(order, from, n * sizeof *order);
    return ATOMDL_OK;
}

/* ---------- Float environment --------------------------------------------- */

/* The caller's float state: rounding mode, flush-to-zero; 3 operations. */
static int float_state(void)
{
    volatile float one = 1, ulp = 0x1p-24f, least = 0x1p-126f, half = 0.5f;
    volatile float up = one + ulp, down = -one - ulp, kept = least * half;

    return up == 1 && down == -1 && kept != 0 ? ATOMDL_OK : ATOMDL_EFLOAT;
}

static const char *probe_state(void)
{
    volatile float one = 1, ulp = 0x1p-24f, least = 0x1p-126f, half = 0.5f;
    volatile float tiny = 0x1p-149f, big = 0x1p24f;
    volatile float up = one + ulp, down = -one - ulp, kept = least * half;
    volatile float whole = tiny * big, odd = one + 1.5f * ulp;

    if (up != 1 || down != -1 || odd != 1 + 2 * 0x1p-24f)
        return TEXT("rounding is not to nearest: restore it before the call");
    if (kept != 0x1p-127f || whole != 0x1p-125f)
        return TEXT("subnormal numbers are flushed to zero: clear FTZ and "
                    "DAZ (linking with -ffast-math sets them)");
    return NULL;
}

static const char *probe_contraction(void)
{
    volatile float v = 1 + 0x1p-12f, w = 1 + 0x1p-11f;
    volatile double dv = 1 + 0x1p-27, dw = 1 + 0x1p-26;
    float p = v, q = w, r[LANES], s[LANES];
    double dp = dv, dq = dw;
    int i, bad;

    bad = p * p - q != 0 || q - p * p != 0 || p * p - q * 1.0f != 0;
    bad = bad || dp * dp - dq != 0 || dq - dp * dp != 0;
    for (i = 0; i < LANES; i++) r[i] = v, s[i] = -w;
    for (i = 0; i < LANES; i++) s[i] = s[i] + r[i] * r[i];
    for (i = 0; i < LANES; i++) bad = bad || s[i] != 0;
    return bad ? TEXT("multiplication and addition are fused or carry extra "
                      "precision: compile with -ffp-contract=off") : NULL;
}

static const char *probe_order(void)
{
    volatile float big = 0x1p24f, one = 1, three = 3, v[32];
    volatile double dbig = 0x1p53, done = 1, dtie = 0x1.0000000000001p-53;
    volatile double sticky = 0x1.d1dff78f6f0e4p-33;
    float a = big, b = one, t = three, s = 0, x;
    double d = dbig, e = done;
    int i;

    for (i = 0; i < 32; i++) v[i] = i & 1 ? 1.0f : i & 2 ? -1e8f : 1e8f;
    for (i = 0; i < 32; i++) s += v[i];
    x = (1 / t) * t;
    if ((a + b) - a != 0 || x - 1 != 0 || s != 1)
        return TEXT("float sums are reordered or carry extra precision: "
                    "remove -ffast-math; x86: -msse2 -mfpmath=sse");
    if ((d + e) - d != 0 || 1 + dtie != 1 + 0x1p-52)
        return TEXT("double sums are reordered or carry extra precision: "
                    "x86: -msse2 -mfpmath=sse");
    if (1 - sticky != 0x1.fffffffe2e201p-1)
        return TEXT("software double sums round the wrong way (libgcc for "
                    "ARM): compile the library without -flto");
    return NULL;
}

static const char *probe_language(void)
{
    volatile double tenth = 0.1;
    volatile float zero = 0, k49 = 49;
    float nan = atomdl_float(NAN32), d = k49;
    volatile float n = nan;
    u32 h = 0;
    int i;

    for (i = 1; i <= 16; i++) h = h * 31 + atomdl_bits((float)i / d);
    if (h != 0x3ff9d761u)
        return TEXT("quotients are not divisions: remove -freciprocal-math");
    if (atomdl_bits64(tenth) != 0x3fb999999999999au)
        return TEXT("double constants are float: remove "
                    "-fsingle-precision-constant");
    if (n == n || atomdl_bits(-zero + zero) || atomdl_bits(zero - -zero)
        || !atomdl_bits(-zero))
        return TEXT("NaN or signed zero misbehave: remove -ffast-math, "
                    "-ffinite-math-only, -fno-signed-zeros");
    return NULL;
}

/* Square roots that a wrong rounding would change; then the digest of all
   functions on a few arguments, and every vector kernel against plain. */
static const char *probe_answers(void)
{
    float x[80], y[80], z[80];
    double d[8];
    u64 h = ATOMDL_DIGEST;
    atomdl_rng rng = atomdl_rng_seed(1);
    int i;

    for (i = 0; i < 80; i++) x[i] = (atomdl_rng_uniform(&rng) - 0.5f) * 200;
    for (i = 0; i < 16; i++) {
        y[0] = atomdl_expf(x[i]);
        y[1] = atomdl_logf(x[i] * x[i]);
        y[2] = atomdl_sinf(x[i] * x[i]);
        y[3] = atomdl_cosf(x[i]);
        y[4] = atomdl_sqrtf(x[i] * x[i] + 0.1f);
        d[0] = atomdl_exp((double)x[i]);
        d[1] = atomdl_pow((double)y[4], 0.7);
        d[2] = atomdl_atan2((double)x[i], (double)x[i + 1]);
        d[3] = atomdl_erf((double)x[i] * 0.03);
        d[4] = atomdl_sqrt((double)y[4]);
        h = atomdl_digest_f64(atomdl_digest_f32(h, y, 5), d, 5);
    }
    atomdl_rng_normal(&rng, y, 16);
    h = atomdl_digest_f32(h, y, 16);
    if (h != 0x808d1bca22914e2cu)
        return TEXT("known answers differ: compiler or C library at fault; "
                    "try ATOMDL_SOFT_SQRT, less optimisation");
    for (i = 0; atomdl_kernels_get(i); i++) {
        atomdl_kernels_get(0)->exp(y, x, 80);
        atomdl_kernels_get(i)->exp(z, x, 80);
        if (atomdl_digest_f32(0, y, 80) != atomdl_digest_f32(0, z, 80))
            return TEXT("a vector kernel differs from plain C: compile with "
                        "ATOMDL_NO_SIMD");
    }
    return NULL;
}

int atomdl_selftest(const char **why)
{
    const char *reason = probe_state();

    if (!reason) reason = probe_contraction();
    if (!reason) reason = probe_order();
    if (!reason) reason = probe_language();
    if (!reason) reason = probe_answers();
    if (why) *why = reason ? reason : "";
    return reason ? ATOMDL_EFLOAT : ATOMDL_OK;
}

/* ---------- Images: sizes ------------------------------------------------- */

static size_t pixels(const atomdl_image *m)
{
    return (size_t)m->w * (size_t)m->h * (size_t)m->c;
}

static int sized(const atomdl_image *m)
{
    return m->w > 0 && m->h > 0 && m->c > 0 && m->w <= ATOMDL_IMAGE_MAX
           && m->h <= ATOMDL_IMAGE_MAX;
}

static int sound(const atomdl_image *m)
{
    return m->px && sized(m);
}

/* what every image function asks of its arguments first */
static int ready(const atomdl_image *dst, const atomdl_image *src)
{
    if (!sound(dst) || !sound(src)) return ATOMDL_EARG;
    if (dst->c != src->c) return ATOMDL_ESHAPE;
    return float_state();
}

int atomdl_image_new(atomdl_image *image, int w, int h, int c,
                     atomdl_arena *arena)
{
    size_t row;

    if (w < 1 || h < 1 || c < 1 || w > ATOMDL_IMAGE_MAX
        || h > ATOMDL_IMAGE_MAX)
        return ATOMDL_EARG;
    row = (size_t)w * sizeof(float);
    image->w = w;
    image->h = h;
    image->c = c;
    image->px = NULL;
    if ((size_t)c > (size_t)-1 / row / (size_t)h) return ATOMDL_EMEM;
    image->px = atomdl_alloc(arena, (size_t)h * (size_t)c, row);
    return atomdl_arena_status(arena);
}

int atomdl_image_check(const atomdl_image *image)
{
    size_t n, i;

    if (!sound(image)) return ATOMDL_EARG;
    n = pixels(image);
    for (i = 0; i < n; i++)
        if ((atomdl_bits(image->px[i]) & 0x7f800000) == 0x7f800000)
            return ATOMDL_ENAN;
    return ATOMDL_OK;
}

/* ---------- Images: crop and resize --------------------------------------- */

static int clamp(int i, int n)
{
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* d c b a | a b c d | d c b a */
static int reflect(i64 i, int n)
{
    i64 m = i % (2 * (i64)n);

    if (m < 0) m += 2 * (i64)n;
    return (int)(m < n ? m : 2 * (i64)n - 1 - m);
}

int atomdl_image_crop(atomdl_image *dst, const atomdl_image *src, int x0,
                      int y0)
{
    int status = ready(dst, src), x, y, c;
    float *out = dst->px;

    if (status) return status;
    for (c = 0; c < dst->c; c++)
        for (y = 0; y < dst->h; y++) {
            int sy = reflect((i64)y + y0, src->h);
            const float *row =
                src->px + ((size_t)c * (size_t)src->h + (size_t)sy)
                          * (size_t)src->w;

            for (x = 0; x < dst->w; x++)
                *out++ = row[reflect((i64)x + x0, src->w)];
        }
    return ATOMDL_OK;
}

/* Cubic convolution weights (Keys, a = -1/2) of the pixels -1, 0, 1, 2 for
   a point at t in [0, 1). */
static void cubic(float w[4], double t)
{
    w[0] = (float)(((-0.5 * t + 1) * t - 0.5) * t);
    w[1] = (float)((1.5 * t - 2.5) * t * t + 1);
    w[2] = (float)(((-1.5 * t + 2) * t + 0.5) * t);
    w[3] = (float)((0.5 * t - 0.5) * t * t);
}

/* One axis of a resize: output i is the sum of taps weights from input
   first[i] on (indices clamped). */
typedef struct {
    int from, to, taps;
    int *first;    /* (to) */
    float *weight; /* (to, taps) */
} axis;

static void axis_cubic(axis *a, int i)
{
    double at = ((double)i + 0.5) * a->from / a->to - 0.5;
    double low = atomdl_floor(at);

    a->first[i] = (int)low - 1;
    cubic(a->weight + (size_t)i * 4, at - low);
}

static void axis_area(axis *a, int i)
{
    double s = (double)a->from / a->to, lo = (double)i * a->from / a->to;
    double hi = (double)(i + 1) * a->from / a->to;
    int first = (int)lo, k;

    a->first[i] = first;
    for (k = 0; k < a->taps; k++) {
        double l = first + k > lo ? first + k : lo;
        double r = first + k + 1 < hi ? first + k + 1 : hi;

        a->weight[(size_t)i * (size_t)a->taps + (size_t)k] =
            (float)(r > l ? (r - l) / s : 0);
    }
}

static int axis_new(axis *a, int from, int to, atomdl_arena *arena)
{
    size_t n = (size_t)to;
    int i;

    a->from = from;
    a->to = to;
    a->taps = to < from ? from / to + 2 : 4;
    a->first = atomdl_alloc(arena, n, sizeof *a->first);
    a->weight = atomdl_alloc(arena, n * (size_t)a->taps, sizeof(float));
    if (!a->first || !a->weight) return atomdl_arena_status(arena);
    for (i = 0; i < to; i++)
        if (to < from) axis_area(a, i);
        else axis_cubic(a, i);
    return ATOMDL_OK;
}

/* out(outer, to, inner) <- in(outer, from, inner) */
static void resample(float *out, const float *in, const axis *a, size_t outer,
                     size_t inner)
{
    size_t o, x;
    int i, t;

    for (o = 0; o < outer; o++, in += (size_t)a->from * inner)
        for (i = 0; i < a->to; i++, out += inner) {
            const float *w = a->weight + (size_t)i * (size_t)a->taps;

            for (x = 0; x < inner; x++) out[x] = 0;
            for (t = 0; t < a->taps; t++) {
                size_t k = (size_t)clamp(a->first[i] + t, a->from);
                const float *row = in + k * inner;

                for (x = 0; x < inner; x++) {
                    float p = w[t] * row[x];

                    out[x] = out[x] + p;
                }
            }
        }
}

int atomdl_image_resize(atomdl_image *dst, const atomdl_image *src,
                        atomdl_arena *arena)
{
    size_t mark = arena->used;
    atomdl_image half;
    axis ax, ay;
    int status = sized(dst) && sized(src) ? ATOMDL_OK : ATOMDL_EARG;

    if (!status && arena->base) status = ready(dst, src);
    if (!status) status = atomdl_image_new(&half, dst->w, src->h, src->c, arena);
    if (!status) status = axis_new(&ax, src->w, dst->w, arena);
    if (!status) status = axis_new(&ay, src->h, dst->h, arena);
    if (!status && arena->base) {
        resample(half.px, src->px, &ax, (size_t)src->h * (size_t)src->c, 1);
        resample(dst->px, half.px, &ay, (size_t)src->c, (size_t)dst->w);
    }
    arena->used = mark;
    return status;
}

/* ---------- Images: normalise --------------------------------------------- */

/* a float's bits in an order that rises with its value */
static u32 rising(float x)
{
    u32 b = atomdl_bits(x + 0.0f); /* -0 counts as +0 */

    return b >> 31 ? ~b : b | 0x80000000;
}

float atomdl_percentile(const float *x, size_t n, double p)
{
    u32 prefix = 0, mask = 0, count[256], b;
    size_t rank = (size_t)(p * (double)(n - 1) + 0.5), i;
    int shift;

    for (shift = 24; shift >= 0; shift -= 8) { /* one byte of the key a pass */
        memset(count, 0, sizeof count);
        for (i = 0; i < n; i++) {
            b = rising(x[i]);
            if ((b & mask) == prefix) count[b >> shift & 255]++;
        }
        for (b = 0; rank >= count[b]; b++) rank -= count[b];
        prefix |= b << shift;
        mask |= (u32)255 << shift;
    }
    return atomdl_float(prefix >> 31 ? prefix & 0x7fffffff : ~prefix);
}

/* Mean over all pixels of x - centre, or of its square: binary64, the 16-lane
   rule along each row, then the same rule over the row sums. */
static double mean(const atomdl_image *m, double centre, int squared)
{
    double total[LANES] = {0}, lane[LANES];
    size_t rows = (size_t)m->h * (size_t)m->c, w = (size_t)m->w, r, i;
    const float *x = m->px;

    for (r = 0; r < rows; r++, x += w) {
        for (i = 0; i < LANES; i++) lane[i] = 0;
        for (i = 0; i < w; i++) {
            double d = (double)x[i] - centre, v = squared ? d * d : d;

            lane[i % LANES] = lane[i % LANES] + v;
        }
        total[r % LANES] = total[r % LANES] + tree64(lane);
    }
    return tree64(total) / (double)pixels(m);
}

int atomdl_image_normalise(atomdl_image *image, int mode)
{
    int status = ready(image, image);
    double from, span, gain = 1, v;
    size_t n, i;

    if (!status) status = atomdl_image_check(image);
    if (!status && (mode < 0 || mode >= ATOMDL_NORM_COUNT)) status = ATOMDL_EARG;
    if (status) return status;
    n = pixels(image);
    from = (double)atomdl_percentile(image->px, n, 0);
    span = (double)atomdl_percentile(image->px, n, 1) - from;
    if (mode == ATOMDL_NORM_STD && span > 0) {
        from = mean(image, 0, 0);
        span = atomdl_sqrt(mean(image, from, 1));
    } else if (mode == ATOMDL_NORM_PERCENTILE) {
        from = (double)atomdl_percentile(image->px, n, 0.5);
        span = (double)atomdl_percentile(image->px, n, 0.9)
               - (double)atomdl_percentile(image->px, n, 0.1);
        gain = 2;
    }
    for (i = 0; i < n; i++) {
        v = span > 0 ? gain * ((double)image->px[i] - from) / span : 0;
        if (mode == ATOMDL_NORM_PERCENTILE)
            v = v < -6 ? -6 : v > 30 ? 30 : v;
        image->px[i] = (float)v;
    }
    return ATOMDL_OK;
}

/* ---------- Images: warp -------------------------------------------------- */

/* One plane (h, w) at (x, y) inside [-2, w + 1] x [-2, h + 1]. */
static float sample(const float *plane, int w, int h, double x, double y,
                    int interpolation)
{
    double fx = atomdl_floor(x), fy = atomdl_floor(y);
    int x0 = (int)fx, y0 = (int)fy, n = 2, i, j;
    float wx[4], wy[4], sum = 0;

    if (interpolation == ATOMDL_CUBIC) {
        cubic(wx, x - fx);
        cubic(wy, y - fy);
        n = 4;
        x0--;
        y0--;
    } else {
        wx[1] = (float)(x - fx);
        wy[1] = (float)(y - fy);
        wx[0] = (float)(1 - (x - fx));
        wy[0] = (float)(1 - (y - fy));
    }
    for (j = 0; j < n; j++) {
        const float *row = plane + (size_t)clamp(y0 + j, h) * (size_t)w;
        float s = 0;

        for (i = 0; i < n; i++) {
            float p = wx[i] * row[clamp(x0 + i, w)];

            s = s + p;
        }
        s = wy[j] * s;
        sum = sum + s;
    }
    return sum;
}

static double within(double x, int n)
{
    return !(x > -2) ? -2 : x > n + 1 ? n + 1 : x; /* NaN gives -2 */
}

static int warp_ready(const atomdl_image *dst, const atomdl_image *src,
                      const double *m, const atomdl_image *field, int interp)
{
    int status = ready(dst, src), i;

    if (status) return status;
    if (interp < 0 || interp >= ATOMDL_INTERP_COUNT) return ATOMDL_EARG;
    for (i = 0; m && i < 6; i++)
        if (not_finite(m[i])) return ATOMDL_ENAN;
    if (!field) return ATOMDL_OK;
    if (!sound(field)) return ATOMDL_EARG;
    if (field->w != dst->w || field->h != dst->h || field->c != 2)
        return ATOMDL_ESHAPE;
    return atomdl_image_check(field);
}

int atomdl_image_warp(atomdl_image *dst, const atomdl_image *src,
                      const double m[6], const atomdl_image *field,
                      int interpolation)
{
    static const double IDENTITY[6] = {1, 0, 0, 0, 1, 0};
    size_t plane, spread, i;
    int status = warp_ready(dst, src, m, field, interpolation), c;

    if (status) return status;
    if (!m) m = IDENTITY;
    plane = (size_t)dst->w * (size_t)dst->h;
    spread = (size_t)src->w * (size_t)src->h;
    for (i = 0; i < plane; i++) {
        double x = (double)(i % (size_t)dst->w);
        double y = (double)(i / (size_t)dst->w);
        double u = m[0] * x + m[1] * y + m[2], v = m[3] * x + m[4] * y + m[5];

        if (field) u = u + (double)field->px[i];
        if (field) v = v + (double)field->px[plane + i];
        if (interpolation == ATOMDL_NEAREST) {
            u = atomdl_floor(u + 0.5);
            v = atomdl_floor(v + 0.5);
        }
        u = within(u, src->w);
        v = within(v, src->h);
        for (c = 0; c < src->c; c++)
            dst->px[(size_t)c * plane + i] =
                sample(src->px + (size_t)c * spread, src->w, src->h, u, v,
                       interpolation);
    }
    return ATOMDL_OK;
}

#else /* ===== ATOMDL_KERNELS_PASS: once for each instruction set ===== */

typedef double V(f64) __attribute__((vector_size(V_BYTES)));
typedef u64 V(bits) __attribute__((vector_size(V_BYTES)));
typedef float V(half) __attribute__((vector_size(V_BYTES / 2)));

/* y = exp(x) in binary64, at most 4 ulp off; returns lanes with the top bit
   set where narrowing y to float might round the wrong way (within 64 ulp of the
   middle of two floats), or x leaves the range of normal results. */
static inline V(bits) V(exp_lanes)(V(half) *y, V(half) x)
{
    V(f64) d = __builtin_convertvector(x, V(f64));
    V(f64) t = d * 0x1.71547652b82fep+0 + 0x1.8p52, n = t - 0x1.8p52;
    V(f64) r = (d - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
    V(f64) p = r * 0x1.6124613a86d09p-33 + 0x1.1eed8eff8d898p-29;
    V(bits) b, odd;

    p = p * r + 0x1.ae64567f544e4p-26;
    p = p * r + 0x1.27e4fb7789f5cp-22;
    p = p * r + 0x1.71de3a556c734p-19;
    p = p * r + 0x1.a01a01a01a01ap-16;
    p = p * r + 0x1.a01a01a01a01ap-13;
    p = p * r + 0x1.6c16c16c16c17p-10;
    p = p * r + 0x1.1111111111111p-7;
    p = p * r + 0x1.5555555555555p-5;
    p = p * r + 0x1.5555555555555p-3;
    p = p * r + 0.5;
    p = p * r + 1;
    p = p * r + 1;
    b = (V(bits))p + ((V(bits))t << 52); /* p 2^n */
    *y = __builtin_convertvector((V(f64))b, V(half));
    odd = ((b + (64 - 0x10000000)) & 0x1fffffff) - 128;
    return odd | ~(V(bits))((d > -87) & (d < 88));
}

static void V(exp)(float *y, const float *x, size_t n)
{
    enum { WIDTH = V_BYTES / 8, BLOCK = 64 };
    float in[BLOCK] = {0}, out[BLOCK];
    u64 odd[WIDTH], any;
    size_t i, j, m;

    for (i = 0; i < n; i += BLOCK) {
        V(bits) lanes = {0};

        m = n - i < BLOCK ? n - i : BLOCK;
        memcpy(in, x + i, m * sizeof *x);
        for (j = 0; j < BLOCK; j += WIDTH) {
            V(half) v;

            memcpy(&v, in + j, sizeof v);
            lanes |= V(exp_lanes)(&v, v);
            memcpy(out + j, &v, sizeof v);
        }
        memcpy(odd, &lanes, sizeof lanes);
        for (any = 0, j = 0; j < WIDTH; j++) any |= odd[j];
        if (any >> 63) exp_plain(out, in, m);
        memcpy(y + i, out, m * sizeof *y);
    }
}

static const atomdl_kernels V_TABLE = {V_NAME, V(exp)};

#undef V
#undef V_NAME
#undef V_TABLE
#undef V_BYTES
#undef ATOMDL_KERNELS_PASS
#endif /* ATOMDL_KERNELS_PASS */
