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

typedef int16_t i16;
typedef int64_t i64;

/* ---------- Status -------------------------------------------------------- */

const char *atomdl_strerror(int status)
{
    static const char *const WHY[] = { /* in the order of the enum */
        TEXT("no error"), TEXT("an argument is out of its range"),
        TEXT("sizes do not fit one another"), TEXT("the arena is too small"),
        TEXT("this float environment would give other bits"),
        TEXT("data hold a NaN or an infinity"), TEXT("malformed bytes"),
        TEXT("a tensor is not in the file")};
    return status > 0 || status < ATOMDL_EMISSING ? TEXT("unknown status")
                                                  : WHY[-status];
}

/* ---------- Memory -------------------------------------------------------- */

void *atomdl_alloc(atomdl_arena *arena, size_t count, size_t size)
{
    size_t mask = ATOMDL_ALIGN - 1, most = (size_t)-1 - 2 * mask;
    size_t start = arena->used ? arena->used : mask; /* room to align base */
    if (start > most || (size && count > (most - start) / size)) {
        arena->failed = 1;
        return NULL;
    }
    size_t end = start + ((count * size + mask) & ~mask);
    if (arena->base && end > arena->size) {
        arena->failed = 1;
        return NULL;
    }
    arena->used = end;
    if (end > arena->peak) arena->peak = end;
    size_t gap = (size_t)(0 - (uintptr_t)arena->base) & mask;
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
    return (union { float from; u32 to; }){x}.to;
}

float atomdl_float(u32 bits)
{
    return (union { u32 from; float to; }){bits}.to;
}

u64 atomdl_bits64(double x)
{
    return (union { double from; u64 to; }){x}.to;
}

double atomdl_double(u64 bits)
{
    return (union { u64 from; double to; }){bits}.to;
}

static const u32 NAN32 = 0x7fc00000;
#define NAN64 ((u64)0x7ff8 << 48)

u64 atomdl_digest_bytes(u64 h, const void *p, size_t n)
{
    const unsigned char *b = p;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 0x100000001b3u;
    return h;
}

u64 atomdl_digest_u32(u64 h, const u32 *v, size_t n)
{
    unsigned char b[4];
    for (size_t i = 0; i < n; i++) {
        atomdl_store32(b, v[i]);
        h = atomdl_digest_bytes(h, b, 4);
    }
    return h;
}

u64 atomdl_digest_f32(u64 h, const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        u32 b = v[i] != v[i] ? NAN32 : atomdl_bits(v[i]);
        h = atomdl_digest_u32(h, &b, 1);
    }
    return h;
}

u64 atomdl_digest_f64(u64 h, const double *v, size_t n)
{
    unsigned char b[8];
    for (size_t i = 0; i < n; i++) {
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
static int unpack64(u64 *m, u64 a)
{
    int e = (int)(a >> 52 & 0x7ff);
    *m = ((a & (ONE - 1)) | (e ? ONE : 0)) << 9;
    return e ? e : 1;
}

/* The greater operand first; the other shifted down beside it, with a sticky
   bit; the sum normalised and rounded to even. */
u64 atomdl_dadd(u64 a, u64 b)
{
    u64 m, n, t;
    if ((a & ~SIGN) < (b & ~SIGN)) {
        t = a;
        a = b;
        b = t;
    }
    int e = unpack64(&m, a);
    int d = e - unpack64(&n, b);
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
static double leading_bits(double x)
{
    return atomdl_double(atomdl_bits64(x) >> 27 << 27);
}

/* a b = *hi + *lo exactly, barring overflow and underflow */
static void product_exact(double *hi, double *lo, double a, double b)
{
    double ah = leading_bits(a), al = a - ah, bh = leading_bits(b), bl = b - bh;
    double p = a * b, e = ah * bh - p;
    e = e + ah * bl;
    e = e + al * bh;
    *lo = e + al * bl;
    *hi = p;
}

/* hi + lo rounded once to float. Rounding first to d and then to float goes
   wrong only where d is the very middle of two floats, and so ends in 28 zero
   bits; there the rest decides. hi is not 0. */
static float round_once(double hi, double lo)
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
    double r = r0 - rn, rl = (r0 - r) - rn;
    int m = (int)n, i = m & 31;
    double p = 0x1.5555555555555p-3 + r * (0x1.5555555555555p-5
               + r * (0x1.1111111111111p-7 + r * (0x1.6c16c16c16c17p-10
                      + r * 0x1.a01a01a01a01ap-13)));
    p = r + (rl + r * r * (0.5 + r * p));
    *hi = EXP2[i][0];
    *lo = EXP2[i][1] + EXP2[i][0] * p;
    return (m - i) / 32;
}

/* log(x) = hi + lo, x > 0 finite. x = 2^k z, log z = -log(1/c) + log(z/c). */
static void log_parts(double *hi, double *lo, double x)
{
    u64 b = atomdl_bits64(x);
    int k = 0;
    if (b < (u64)1 << 52) { /* subnormal */
        b = atomdl_bits64(x * 0x1p54);
        k = -54;
    }
    u64 t = b - 0x3fe6a00000000000u;
    int i = (int)(t >> 46 & 63);
    k += (int)(t >> 52 & 0xfff) - (t >> 63 ? 0x1000 : 0);
    double z = atomdl_double(b - (t & (u64)0xfff << 52));
    double ic = LOGC[i][0];
    double zh = atomdl_double(atomdl_bits64(z) >> 11 << 11);
    double r0 = zh * ic - 1; /* exact: 42 + 11 bits, near 1 */
    double r1 = (z - zh) * ic;
    double r = r0 + r1;
    double rl = r1 - (r - r0);
    double kf = (double)k;
    double h = kf * 0x1.62e42fefa3800p-1 + LOGC[i][1]; /* exact */
    double s = h + r;
    double e = r - (s - h);
    double rh = leading_bits(r); /* r^2/2 = rh^2/2 + (r - rh)(r + rh)/2 */
    double q = 0.5 * rh * rh;
    *hi = s - q;
    e = e + ((s - *hi) - q);
    e = e - 0.5 * (r - rh) * (r + rh);
    e = e + rl * (1 - r);
    e = e + (LOGC[i][2] + kf * 0x1.ef35793c76730p-45);
    q = 0x1.5555555555555p-2
        + r * (-0.25 + r * (0x1.999999999999ap-3
               + r * (-0x1.5555555555555p-3 + r * (0x1.2492492492492p-3
                      + r * (-0.125 + r * 0x1.c71c71c71c71cp-4)))));
    *lo = e + r * r * r * q;
}

/* Reduces |x| in (100, infinity): x = (q + f) pi/64 mod 2 pi, f pi/64 = b + bl
   in integer arithmetic: 192 bits of m 2^e / (2 pi) (Payne and Hanek). */
static int reduce_large(double *b, double *bl, double x)
{
    u64 bits = atomdl_bits64(x), carry = 0;
    int e = (int)(bits >> 52 & 0x7ff) - 1075 + 64, shift = e & 31;
    const u32 *turn = TURN + e / 32;
    double hi = 0, lo = 0;
    u64 m = (bits & (((u64)1 << 52) - 1)) | (u64)1 << 52;
    int i;
    u32 w[6];
    for (i = 0; i < 6; i++) /* the digits of 1/(2 pi) that matter */
        w[i] = shift ? turn[i] << shift | turn[i + 1] >> (32 - shift) : turn[i];
    u32 f[6];
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
    int q = (int)((f[0] + (1u << 24)) >> 25);
    f[0] -= (u32)q << 25;
    int neg = (int)(f[0] >> 31);
    double p;
    for (i = 0; i < 6; i++) {
        u32 v = neg ? ~f[i] : f[i]; /* off by 2^-192, below the error */
        p = (double)v * power2(-32 * (i + 1));
        double s = hi + p;
        lo = lo + (p - (s - hi));
        hi = s;
    }
    double s = hi + lo;
    lo = lo - (s - hi);
    double pe;
    product_exact(&p, &pe, s, 0x1.921fb54442d18p+2);
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
    double b, bl;
    int q;
    if (magnitude(x) <= 100) {
        q = reduce_small(&b, &bl, x);
    } else {
        q = reduce_large(&b, &bl, magnitude(x));
        if (x < 0) q = -q & 127, b = -b, bl = -bl;
    }
    q = (q + 32 * quarter) & 127;
    int negate = q & 64;
    q &= 63;
    double s = SINE[q > 32 ? 64 - q : q][0];
    double sl = SINE[q > 32 ? 64 - q : q][1];
    double c = SINE[q > 32 ? q - 32 : 32 - q][0];
    double cl = SINE[q > 32 ? q - 32 : 32 - q][1];
    if (q > 32) c = -c, cl = -cl;
    if (negate) s = -s, sl = -sl, c = -c, cl = -cl;
    double ch = leading_bits(c);
    double bh = leading_bits(b);
    double bb = b * b;
    double p = ch * bh; /* exact */
    *hi = s + p;
    double e = p - (*hi - s);
    double cm = bb * (-0.5 + bb * (0x1.5555555555555p-5
                      + bb * (-0x1.6c16c16c16c17p-10
                              + bb * 0x1.a01a01a01a01ap-16)));
    double sm = b * bb * (-0x1.5555555555555p-3 + bb * (0x1.1111111111111p-7
                          + bb * (-0x1.a01a01a01a01ap-13
                                  + bb * 0x1.71de3a556c734p-19)));
    e = e + (sl + ((c - ch) + cl) * b);
    e = e + ch * ((b - bh) + bl);
    *lo = e + (s * cm + c * sm);
}

/* ---------- Mathematics: binary64 ----------------------------------------- */

/* y 2^k, y in [1/2, 4) */
static double times_power2(double y, int k)
{
    if (k > 1022) return y * 0x1p1022 * power2(k - 1022);
    if (k < -1020) return y * power2(k + 100) * 0x1p-100;
    return y * power2(k);
}

double atomdl_exp(double x)
{
    if (x != x) return nan64();
    if (x > 710) return infinity64(0);
    if (x < -746) return 0;
    double hi, lo;
    int k = exp_parts(&hi, &lo, x);
    return times_power2(hi + lo, k);
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
    double hi;
    if (log_special(&hi, x)) return hi;
    double lo;
    log_parts(&hi, &lo, x);
    return hi + lo;
}

static int not_finite(double x)
{
    return (atomdl_bits64(x) >> 52 & 0x7ff) == 0x7ff;
}

double atomdl_sin(double x)
{
    if (not_finite(x)) return nan64();
    if (x == 0) return x;
    double hi, lo;
    sine_parts(&hi, &lo, x, 0);
    return hi + lo;
}

double atomdl_cos(double x)
{
    if (not_finite(x)) return nan64();
    double hi, lo;
    sine_parts(&hi, &lo, x, 1);
    return hi + lo;
}

/* atan(n/d) = hi + lo, 0 <= n <= d, d > 0: atan(c) + atan((n - cd)/(d + cn))
   with c the nearest multiple of 1/32. */
static void atan_parts(double *hi, double *lo, double n, double d)
{
    double k = nearest(32 * (n / d)), c = k * 0.03125;
    double dh = leading_bits(d);
    double u = ((n - c * dh) - c * (d - dh)) / (d + c * n);
    double v = u * u;
    v = v * (-0x1.5555555555555p-2 + v * (0x1.999999999999ap-3
             + v * (-0x1.2492492492492p-3 + v * 0x1.c71c71c71c71cp-4)));
    double a = ATAN[(int)k][0];
    double al = ATAN[(int)k][1];
    *hi = a + u;
    *lo = (u - (*hi - a)) + (al + u * v);
}

/* The angle of the first octant, from a quotient below 1, turned by pi/2 and
   pi as the signs want it. */
double atomdl_atan2(double y, double x)
{
    double ax = magnitude(x), ay = magnitude(y);
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
    double top = ax > ay ? ax : ay;
    if (top > 0x1p1000 || top < 0x1p-900) {
        double s = top > 1 ? 0x1p-100 : 0x1p120;
        ax = ax * s;
        ay = ay * s;
    }
    double hi, lo;
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
    for (int i = n - 2; i >= 0; i--) s = s * x + c[i];
    return s;
}

double atomdl_erf(double x)
{
    double a = magnitude(x);
    if (x != x) return nan64();
    if (a < 1) { /* x (c0 + t ...), c0 as hi + lo */
        double t = x * x;
        t = t * polynomial(ERF_TAYLOR + 1, 18, t);
        double hi, lo;
        product_exact(&hi, &lo, x, ERF_TAYLOR[0]);
        lo = lo + x * 0x1.1ae3a914fed80p-56;
        return hi + (lo + x * t);
    }
    if (a > 6) return with_sign(1, x);
    double t = (a - 3) / (a + 3); /* erf = 1 - exp(-x^2) erfcx(x) */
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

/* exp(y log |x|), with log as hi + lo: the product keeps 2^-68. Special values
   first, in the order of C99 annex F. */
double atomdl_pow(double x, double y)
{
    double a = magnitude(x);
    int kind = integer_kind(y);
    if (y == 0 || x == 1) return 1;
    if (x != x || y != y) return nan64();
    double sign = kind == 2 ? x : 1;
    if (not_finite(y)) {
        if (a == 1) return 1;
        return (a > 1) == (y > 0) ? infinity64(0) : 0;
    }
    if (a == 0 || not_finite(x))
        return with_sign((a > 1) == (y > 0) ? infinity64(0) : 0, sign);
    if (x < 0 && !kind) return nan64();
    double h, l;
    log_parts(&h, &l, a);
    double p = h + l;
    l = l - (p - h); /* now |l| is below an ulp of h */
    h = p;
    p = y * h;
    if (p > 710) return with_sign(infinity64(0), sign);
    if (p < -746) return with_sign(0, sign);
    double e;
    product_exact(&p, &e, y, h);
    e = e + y * l;
    int k = exp_parts(&h, &l, p);
    l = l + (h + l) * e;
    return with_sign(times_power2(h + l, k), sign);
}

double atomdl_floor(double x)
{
    if (!(magnitude(x) < 0x1p52)) return x;
    double t = (double)(i64)x;
    if (t == x) return x;
    return t > x ? t - 1 : t;
}

#ifdef ATOMDL_SOFT_SQRT
/* Digit by digit, 55 bits and a sticky bit; x > 0 and finite. */
static double root_bits(double x)
{
    u64 b, m, rem = 0, r = 0;
    if (x < 0x1p-1022) return root_bits(x * 0x1p108) * 0x1p-54;
    b = atomdl_bits64(x);
    int e = (int)(b >> 52) - 1023;
    m = ((b & (((u64)1 << 52) - 1)) | (u64)1 << 52) << (e & 1 ? 1 : 0);
    for (int i = 0; i < 54; i++) { /* two bits of m 2^54 at a time */
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
    return not_finite(x) ? x : root_bits(x);
#else
    return sqrt(x);
#endif
}

/* ---------- Mathematics: binary32 ----------------------------------------- */

float atomdl_expf(float x)
{
    if (x != x) return atomdl_float(NAN32);
    if (x > 0x1.62e42ep+6f) return (float)infinity64(0);
    if (x < -104) return 0;
    double hi, lo;
    double s = power2(exp_parts(&hi, &lo, (double)x));
    return round_once(hi * s, lo * s);
}

float atomdl_logf(float x)
{
    if (x != x || x < 0) return atomdl_float(NAN32);
    double hi;
    if (log_special(&hi, (double)x)) return (float)hi;
    double lo;
    log_parts(&hi, &lo, (double)x);
    return round_once(hi, lo);
}

float atomdl_sinf(float x)
{
    if (not_finite((double)x)) return atomdl_float(NAN32);
    if (x == 0) return x;
    double hi, lo;
    sine_parts(&hi, &lo, (double)x, 0);
    return round_once(hi, lo);
}

float atomdl_cosf(float x)
{
    if (not_finite((double)x)) return atomdl_float(NAN32);
    double hi, lo;
    sine_parts(&hi, &lo, (double)x, 1);
    return round_once(hi, lo);
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

/* ---------- Reductions ---------------------------------------------------- */

enum { LANES = 16 };

/* lane i += lane i + s for s = 8, 4, 2, 1 */
static float lane_tree(const float *lane)
{
    float a[8];
    for (int i = 0; i < 8; i++) a[i] = lane[i] + lane[i + 8];
    float b[4];
    for (int i = 0; i < 4; i++) b[i] = a[i] + a[i + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

static double lane_tree64(double lane[LANES])
{
    for (int s = LANES / 2; s; s /= 2)
        for (int i = 0; i < s; i++) lane[i] = lane[i] + lane[i + s];
    return lane[0];
}

float atomdl_dot(const float *x, const float *y, size_t n)
{
    float lane[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        float p = x[i] * y[i];
        lane[i % LANES] = lane[i % LANES] + p;
    }
    return lane_tree(lane);
}

float atomdl_absmax(const float *x, size_t n)
{
    float m = 0;
    for (size_t i = 0; i < n; i++) {
        float a = atomdl_float(atomdl_bits(x[i]) & 0x7fffffff);
        m = a > m ? a : m;
    }
    return m;
}

/* ---------- Kernels: plain C ----------------------------------------------

   The plain form of each kernel is its definition. The vector forms stand at
   the end of this file, written once with the vector extension of gcc and
   clang; the file includes itself for every instruction set. */

#define V_ISA plain

/* y (n) <- exp or log of x */
static void map_plain(float *y, const float *x, size_t n, int log)
{
    for (size_t i = 0; i < n; i++)
        y[i] = log ? atomdl_logf(x[i]) : atomdl_expf(x[i]);
}

/* A tensor is (row, channel, pitch) floats. The channels of a row lie one
   after another, each 64-byte aligned and followed by zeros up to pitch: the
   right margin of this channel and the left margin of the next. So 16 zeros
   stand before the first row, and 32 floats may be read behind the last.
   pitch is a multiple of 16 not below w + padding; pitch / 16 is best odd, as
   is the distance of rows / 16, lest they fight for one set of the cache.

   Kernels take rows by pointer, so that they may lie in ring buffers. A row
   outside of the image is a row of zeros: zero padding is multiplied. */

enum {
    CONV_BLOCK = 8,                /* output channels packed together */
    WGRAD_TAPS = 3,                /* weights in a gradient tile */
    WGRAD_TILE = 8 * 3 * 16,       /* its lanes */
    WGRAD_GROUP = 144,             /* weights that share the scratch */
    WGRAD_LANES = 48 * WGRAD_TILE, /* lanes of a group [floats] */
    CONV_RELU = 1,                 /* y = y > 0 ? y : 0 */
    CONV_LEAKY = 2,                /* y = y > 0 ? y : y * slope */
    CONV_AFFINE = 4,               /* y = y * scale + shift, last */
    CONV_AFFINE_FIRST = 8,         /* the same, before y > 0 */
    CONV_ADD = 16,                 /* y = what stood there + y, alone */
    CONV_IN_PLACE = 32,            /* nothing to compute */
    CONV_TILED = 64                /* by tiles, see below */
};

/* One convolution, as rows see it. Output row r reads, for kernel row ky,
   in[r * step + ky * dil], and for kernel column kx its columns from off[kx]
   on. Stride 2 has step 2 and reads rows packed as even columns, odd columns:
   off[kx] then leads into the one half or the other. */
struct atomdl_conv {
    int w, ci, co;                         /* output columns, channels */
    int k, kw;                             /* rows and columns of the kernel */
    int step, dil, flags;
    int top;                               /* output row 0 reads from it on */
    int pitch_in, pitch_out;               /* [floats] */
    const int *off;                        /* (k) */
    const float *weight;                   /* (co / 8, ky, kx, ci, 8), packed */
    const float *bias, *scale, *shift;     /* (co) */
    float slope;
    float *room;                           /* for tiles, so many at a time */
    int tiles;
};

/* Where the columns of a weight are: in which row of in[], from where on. */
typedef struct { int row, off; } weight_tap;

/* Weights whose gradient is summed together: those of m output channels from o
   on at the taps, over ny rows of dy and in; first: nothing is there yet. */
struct atomdl_tile {
    const float *const *dy, *const *in;
    int ny, o, m, first;
    const weight_tap *tap;
};

/* Weights as they are stored, of a kernel kw wide. */
typedef struct {
    const float *at;
    ptrdiff_t first, out, down, right, in; /* steps by channels, rows, columns */
    int co, ci, kw, taps;
} stored_weights;

/* Where that of output channel o, tap t and input channel i is. */
static ptrdiff_t weight_place(const stored_weights *w, ptrdiff_t o, int t, int i)
{
    return w->first + o * w->out + t / w->kw * w->down + t % w->kw * w->right
           + i * w->in;
}

/* block (8) <- those of output channels o ...; zeros beyond co */
static void block_load(float *block, const stored_weights *w, int o, int t,
                       int i)
{
    const float *at = w->at + weight_place(w, o, t, i);
    for (int j = 0; j < CONV_BLOCK; j++)
        block[j] = o + j < w->co ? at[j * w->out] : 0;
}

/* packed (co / 8, ky, kx, ci, 8) <- w */
static void conv_pack(float *packed, const stored_weights *w)
{
    for (int o = 0; o < w->co; o += CONV_BLOCK)
        for (int t = 0; t < w->taps; t++)
            for (int i = 0; i < w->ci; i++, packed += CONV_BLOCK)
                block_load(packed, w, o, t, i);
}

/* The packed weights of output channel o; the next tap is 8 floats on. */
static const float *conv_weight(const struct atomdl_conv *c, ptrdiff_t o)
{
    ptrdiff_t in = o & (CONV_BLOCK - 1);
    return c->weight + (o - in) * c->k * c->kw * c->ci + in;
}

/* tap (ky, kx) <- the columns that output row r reads. */
static void conv_taps(const struct atomdl_conv *c, const float **tap,
                      const float *const *in, int r)
{
    for (int ky = 0; ky < c->k; ky++)
        for (int kx = 0; kx < c->kw; kx++)
            *tap++ = in[r * c->step + ky * c->dil] + c->off[kx];
}

/* Zeros x from w up to pitch: the gap behind a channel of a row. (A memset of
   a length that the compiler does not know costs more than that.) */
static void gap_zero(float *x, int w, int pitch)
{
    for (; w % 16; w++) x[w] = 0;
    for (; w < pitch; w += 16) memset(x + w, 0, 16 * sizeof *x);
}

/* The gaps behind channels o .. o + m - 1 of an output row. */
static void conv_gap(const struct atomdl_conv *c, float *out, int o, int m)
{
    for (int i = o; i < o + m; i++)
        gap_zero(out + i * c->pitch_out, c->w, c->pitch_out);
}

static float conv_finish(const struct atomdl_conv *c, int o, float y)
{
    if (c->flags & CONV_AFFINE_FIRST) {
        y = y * c->scale[o];
        y = y + c->shift[o];
    }
    if (c->flags & CONV_RELU)
        y = y > 0.0f ? y : 0.0f;
    if (c->flags & CONV_LEAKY)
        y = y > 0.0f ? y : y * c->slope;
    if (c->flags & CONV_AFFINE) {
        y = y * c->scale[o];
        y = y + c->shift[o];
    }
    return y;
}

enum { CONV_COLUMNS = 64 };

/* y (n) <- columns x ... of channel o. An output is one sum: bias first, then
   ky, kx, ci ascending, each product rounded, then added. */
static void conv_columns(const struct atomdl_conv *c, float *y,
                         const float *const *tap, int o, int x, int n)
{
    const float *wt = conv_weight(c, o);
    float sum[CONV_COLUMNS];
    for (int j = 0; j < n; j++)
        sum[j] = c->bias[o];
    for (int t = 0; t < c->k * c->kw; t++)
        for (int i = 0; i < c->ci; i++, wt += CONV_BLOCK) {
            const float *p = tap[t] + i * c->pitch_in + x, v = *wt;
            for (int j = 0; j < n; j++)
                sum[j] = sum[j] + p[j] * v;
        }
    for (int j = 0; j < n; j++) {
        float s = conv_finish(c, o, sum[j]);
        y[j] = c->flags & CONV_ADD ? y[j] + s : s;
    }
}

/* out (ny; co, w) <- in (rows; ci, w) */
static void conv_rows_plain(const struct atomdl_conv *c, float *const *out,
                            const float *const *in, int ny)
{
    const float *tap[ATOMDL_SIDE * ATOMDL_SIDE];
    RAN("conv");
    for (int r = 0; r < ny; r++) {
        conv_taps(c, tap, in, r);
        for (int o = 0; o < c->co; o++) {
            float *y = out[r] + o * c->pitch_out;
            for (int x = 0; x < c->w; x += CONV_COLUMNS)
                conv_columns(c, y + x, tap, o, x,
                             c->w - x < CONV_COLUMNS ? c->w - x : CONV_COLUMNS);
            conv_gap(c, out[r], o, 1);
        }
    }
}

/* ---------- Kernels: convolutions by tiles --------------------------------

   Promise 8: 3 x 3 convolutions of many channels make 2 x 2 outputs at once of
   4 x 4 inputs. Their products at each of the 16 places of a tile are a 1 x 1
   convolution by the kernels above, whose columns are tiles: v (16, ci, pitch)
   is transformed input. Behind it lie sums (16, 8, pitch) for some output
   channels, transformed while they are in a cache. A. Lavin, S. Gray, CVPR 2016.

   Of the numbers below bits depend on TILED_... alone; the others were chosen by
   time, with AVX-512 on an AMD of family 26. */

enum {
    TILE_PLACES = 16,
    TILE_BIAS = 5,           /* place (1, 1) */
    TILED_CHANNELS = 16,     /* by tiles from so many on, in and out, */
    TILED_VALUES = 1 << 15,  /* in networks of so many values or more */
    TILES_LEAST = 32,        /* at a time */
    TILES_MOST = 64,
    TILE_FLOATS = 2048,      /* inputs of a place, as a rule */
    TILE_SHARES = 4,         /* threads that can share the room of one */
    MANY_PRODUCTS = 1 << 16  /* of channels, in and out */
};

static size_t filter_floats(int co, int ci, int taps)
{
    return (size_t)((co + CONV_BLOCK - 1) / CONV_BLOCK * CONV_BLOCK)
           * (size_t)taps * (size_t)ci;
}

/* Floats from one place to the next: lines / 16 is odd, see pitch. */
static ptrdiff_t tile_step(int channels, int pitch)
{
    return ((ptrdiff_t)channels * pitch / 16 | 1) * 16;
}

/* to[0], [step] ... <- G of g[0], g[from], g[2 from], each of 8 channels */
static void tile_weights(float *to, ptrdiff_t step, const float *g, int from)
{
    for (int i = 0; i < CONV_BLOCK; i++) {
        float a = g[i], b = g[from + i], c = g[2 * from + i], s = a + c;
        to[i] = a;
        to[step + i] = (s + b) * 0.5f;
        to[2 * step + i] = (s - b) * 0.5f;
        to[3 * step + i] = c;
    }
}

/* packed (co / 8; 16; ci, 8) <- G g G' of each filter g of w */
static void tile_pack(float *packed, const stored_weights *w)
{
    enum { ROW = 3 * CONV_BLOCK };
    ptrdiff_t step = (ptrdiff_t)w->ci * CONV_BLOCK;
    float g[3 * ROW], h[4 * ROW];
    for (int o = 0; o < w->co; o += CONV_BLOCK, packed += 15 * step)
        for (int i = 0; i < w->ci; i++, packed += CONV_BLOCK) {
            for (int t = 0; t < 9; t++)
                block_load(g + t * CONV_BLOCK, w, o, t, i);
            for (int x = 0; x < ROW; x += CONV_BLOCK)
                tile_weights(h + x, ROW, g + x, ROW);
            for (int y = 0; y < 4; y++)
                tile_weights(packed + 4 * y * step, step, h + y * ROW,
                             CONV_BLOCK);
        }
}

#ifdef ATOMDL_NO_TRAIN
#define GRADIENT(f) NULL
#else
#define GRADIENT(f) f

/* lanes (m, 3, 16) += (first: =) the sums of dy * in of a tile's weights, rows
   in order; column x belongs to lane x mod 16. */
static void conv_wgrad_plain(const struct atomdl_conv *c, float *lanes,
                             const struct atomdl_tile *t)
{
    RAN("wgrad");
    for (int i = 0; i < t->m * WGRAD_TAPS; i++, lanes += 16) {
        weight_tap tap = t->tap[i % WGRAD_TAPS];
        float a[16] = {0};
        if (!t->first) memcpy(a, lanes, sizeof a);
        for (int r = 0; r < t->ny; r++) {
            const float *d = t->dy[r] + (t->o + i / WGRAD_TAPS) * c->pitch_out;
            const float *p = t->in[r * c->step + tap.row] + tap.off;
            for (int x = 0; x < c->w; x += 16)
                for (int l = 0; l < 16; l++)
                    a[l] = a[l] + d[x + l] * p[x + l];
        }
        memcpy(lanes, a, sizeof a);
    }
}

#endif /* ATOMDL_NO_TRAIN */

/* ---------- Kernels: instruction sets ------------------------------------- */

/* The largest tile of 8, 4, 2 or 1 output channels, not above most or n. */
static int conv_tile(int most, int n)
{
    while (most > n)
        most /= 2;
    return most;
}

#define ATOMDL_KERNELS_PASS
#define V_BYTES 4
#include "atomdl.c"
#ifdef SIMD_BASE
#define ATOMDL_KERNELS_PASS
#define V_ISA SIMD_BASE
#define V_BYTES 16
#include "atomdl.c"
#endif
#ifdef SIMD_WIDE
SIMD_AVX2
#define ATOMDL_KERNELS_PASS
#define V_ISA avx2
#define V_BYTES 32
#include "atomdl.c"
SIMD_END
SIMD_AVX512
#define ATOMDL_KERNELS_PASS
#define V_ISA avx512
#define V_BYTES 64
#include "atomdl.c"
SIMD_END
#endif

const atomdl_kernels *atomdl_kernels_get(int i)
{
    const atomdl_kernels *found[4] = {NULL};
    int n = 0;
    found[n++] = &KERNELS_plain;
#ifdef SIMD_BASE
    found[n++] = &SIMD_JOIN(KERNELS_, SIMD_BASE);
#endif
#ifdef SIMD_WIDE
    if (__builtin_cpu_supports("avx2")) found[n++] = &KERNELS_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq"))
        found[n++] = &KERNELS_avx512;
#endif
    return i >= 0 && i < n ? found[i] : NULL;
}

const atomdl_kernels *atomdl_kernels_find(const char *name)
{
    const atomdl_kernels *k, *best = NULL;
    for (int i = 0; (k = atomdl_kernels_get(i)) != NULL; i++)
        if (!name || same_text(name, k->name)) best = k;
    return best;
}

/* ---------- Random numbers ------------------------------------------------ */

void atomdl_philox(u32 out[4], const u32 ctr[4], const u32 key[2])
{
    u32 a = ctr[0], b = ctr[1], c = ctr[2], d = ctr[3];
    u32 k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
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
    return (atomdl_rng){.key = {(u32)seed, (u32)(seed >> 32)}};
}

/* The first word of the key is complemented: never the block of a drawn
   number. */
atomdl_rng atomdl_rng_split(const atomdl_rng *parent, u64 id)
{
    u32 ctr[4] = {(u32)id, (u32)(id >> 32), parent->ctr[2], parent->ctr[3]};
    u32 key[2] = {~parent->key[0], parent->key[1]}, out[4];
    atomdl_philox(out, ctr, key);
    return (atomdl_rng){.key = {out[0], out[1]}, .ctr = {0, 0, out[2], out[3]}};
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
    if (!n) return 0;
    u32 least = (0u - n) % n; /* 2^32 mod n products would be one too many */
    u64 p;
    do p = (u64)atomdl_rng_u32(rng) * n;
    while ((u32)p < least);
    return (u32)(p >> 32);
}

void atomdl_rng_normal(atomdl_rng *rng, float *out, size_t n)
{
    enum { MANY = 16 };
    double q[MANY], z[MANY];
    for (size_t m; n > 0; n -= m, out += m) {
        m = n < MANY ? n : MANY;
        for (size_t i = 0; i < m; i++)
            q[i] = ((double)atomdl_rng_u32(rng) - 0x1.fffffffep+30) * 0x1p-32;
        for (size_t i = 0; i < m; i++)
            z[i] = q[i] * polynomial(NORMAL_CORE, 14, q[i] * q[i]);
        for (size_t i = 0; i < m; i++) {
            double t = magnitude(q[i]);
            if (t > 0.425) {
                t = atomdl_sqrt(-atomdl_log(0.5 - t));
                z[i] = with_sign(polynomial(NORMAL_TAIL, 12, t), q[i]);
            }
            out[i] = (float)z[i];
        }
    }
}

/* ---------- Sorting ------------------------------------------------------- */

/* out(m - a + b - m) = the merged runs in[a, m) and in[m, b) */
static void merge_runs(u32 *out, const u32 *in, const double *key, size_t a,
                       size_t m, size_t b)
{
    size_t i = a, j = m;
    for (size_t k = a; k < b; k++) {
        int left = j >= b || (i < m && !(key[in[j]] < key[in[i]]));
        out[k] = left ? in[i++] : in[j++];
    }
}

int atomdl_sort(u32 *order, const double *key, size_t n, u32 *scratch)
{
    u32 *from = order, *to = scratch;
    for (size_t a = 0; a < n; a++) {
        if (key[a] != key[a]) return ATOMDL_ENAN;
        order[a] = (u32)a;
    }
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t a = 0; a < n; a += 2 * run) {
            size_t m = n - a > run ? a + run : n;
            size_t b = n - a > 2 * run ? a + 2 * run : n;
            merge_runs(to, from, key, a, m, b);
        }
        u32 *t = from;
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
    float p = v, q = w;
    double dp = dv, dq = dw;
    int bad = p * p - q != 0 || q - p * p != 0 || p * p - q * 1.0f != 0;
    bad = bad || dp * dp - dq != 0 || dq - dp * dp != 0;
    float r[LANES], s[LANES];
    for (int i = 0; i < LANES; i++) r[i] = v, s[i] = -w;
    for (int i = 0; i < LANES; i++) s[i] = s[i] + r[i] * r[i];
    for (int i = 0; i < LANES; i++) bad = bad || s[i] != 0;
    return bad ? TEXT("multiplication and addition are fused or carry extra "
                      "precision: compile with -ffp-contract=off") : NULL;
}

/* Sums whose terms must not be reordered or factored out. */
static const char *probe_order(void)
{
    volatile float big = 0x1p24f, one = 1, three = 3, v[32];
    volatile double dbig = 0x1p53, done = 1, dtie = 0x1.0000000000001p-53;
    volatile double sticky = 0x1.d1dff78f6f0e4p-33;
    float a = big, b = one, t = three, s = 0;
    double d = dbig, e = done;
    for (int i = 0; i < 32; i++) v[i] = i & 1 ? 1.0f : i & 2 ? -1e8f : 1e8f;
    for (int i = 0; i < 32; i++) s += v[i];
    float x = (1 / t) * t;
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
    for (int i = 1; i <= 16; i++) h = h * 31 + atomdl_bits((float)i / d);
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
    float x[80];
    u64 h = ATOMDL_DIGEST;
    atomdl_rng rng = atomdl_rng_seed(1);
    for (int i = 0; i < 80; i++) x[i] = (atomdl_rng_uniform(&rng) - 0.5f) * 200;
    float y[80];
    double d[8];
    for (int i = 0; i < 16; i++) {
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
    float z[80];
    for (int i = 0; atomdl_kernels_get(i); i++) {
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

/* ---------- Elements ------------------------------------------------------ */

/* two letters each, from hydrogen on */
static const char SYMBOLS[] =
    "H HeLiBeB C N O F NeNaMgAlSiP S ClArK CaScTiV CrMnFeCoNiCuZnGaGeAsSeBrKr"
    "RbSrY ZrNbMoTcRuRhPdAgCdInSnSbTeI XeCsBaLaCePrNdPmSmEuGdTbDyHoErTmYbLuHf"
    "TaW ReOsIrPtAuHgTlPbBiPoAtRnFrRaAcThPaU NpPuAmCmBkCfEsFmMdNoLrRfDbSgBhHs"
    "MtDsRgCnNhFlMcLvTsOg";

int atomdl_element(const char *symbol, size_t n)
{
    if (n < 1 || n > 2) return 0;
    char first = symbol[0];
    char second = n > 1 ? symbol[1] : ' ';
    for (int z = 1; z <= ATOMDL_ELEMENTS; z++)
        if (SYMBOLS[2 * z - 2] == first && SYMBOLS[2 * z - 1] == second)
            return z;
    return 0;
}

void atomdl_symbol(char symbol[3], int z)
{
    int known = z >= 1 && z <= ATOMDL_ELEMENTS;
    symbol[0] = known ? SYMBOLS[2 * z - 2] : 'X';
    symbol[1] = known && SYMBOLS[2 * z - 1] != ' ' ? SYMBOLS[2 * z - 1] : 0;
    symbol[2] = 0;
}

/* ---------- Images: sizes ------------------------------------------------- */

static size_t pixel_count(const atomdl_image *m)
{
    return (size_t)m->w * (size_t)m->h * (size_t)m->c;
}

static int image_sized(const atomdl_image *m)
{
    return m->w > 0 && m->h > 0 && m->c > 0 && m->w <= ATOMDL_IMAGE_MAX
           && m->h <= ATOMDL_IMAGE_MAX;
}

static int image_sound(const atomdl_image *m)
{
    return m->px && image_sized(m);
}

/* what every image function asks of its arguments first */
static int images_ready(const atomdl_image *dst, const atomdl_image *src)
{
    if (!image_sound(dst) || !image_sound(src)) return ATOMDL_EARG;
    if (dst->c != src->c) return ATOMDL_ESHAPE;
    return float_state();
}

int atomdl_image_new(atomdl_image *image, int w, int h, int c,
                     atomdl_arena *arena)
{
    atomdl_image empty = {w, h, c, NULL};
    size_t row = (size_t)w * sizeof(float);
    if (!image_sized(&empty)) return ATOMDL_EARG;
    *image = empty;
    if ((size_t)c > (size_t)-1 / row / (size_t)h) return ATOMDL_EMEM;
    image->px = atomdl_alloc(arena, (size_t)h * (size_t)c, row);
    return atomdl_arena_status(arena);
}

int atomdl_image_check(const atomdl_image *image)
{
    if (!image_sound(image)) return ATOMDL_EARG;
    size_t n = pixel_count(image);
    u32 bad = 0; /* of all: without a way out, several at once */
    for (size_t i = 0; i < n; i++)
        bad |= (atomdl_bits(image->px[i]) & 0x7f800000) == 0x7f800000;
    return bad ? ATOMDL_ENAN : ATOMDL_OK;
}

/* ---------- Images: crop and resize --------------------------------------- */

/* d c b a | a b c d | d c b a */
static int reflect_index(i64 i, int n)
{
    i64 m = i % (2 * (i64)n);
    if (m < 0) m += 2 * (i64)n;
    return (int)(m < n ? m : 2 * (i64)n - 1 - m);
}

int atomdl_image_crop(atomdl_image *dst, const atomdl_image *src, int x0,
                      int y0)
{
    int status = images_ready(dst, src);
    float *out = dst->px;
    if (status) return status;
    for (int c = 0; c < dst->c; c++)
        for (int y = 0; y < dst->h; y++) {
            int sy = reflect_index((i64)y + y0, src->h);
            const float *row =
                src->px + ((size_t)c * (size_t)src->h + (size_t)sy)
                          * (size_t)src->w;
            for (int x = 0; x < dst->w; x++)
                *out++ = row[reflect_index((i64)x + x0, src->w)];
        }
    return ATOMDL_OK;
}

/* Cubic convolution weights (Keys, a = -1/2) of the pixels -1, 0, 1, 2 for
   a point at t in [0, 1). */
static void cubic_weights(float w[4], double t)
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
} resize_axis;

static void axis_cubic(resize_axis *a, int i)
{
    double at = ((double)i + 0.5) * a->from / a->to - 0.5;
    double low = atomdl_floor(at);
    a->first[i] = (int)low - 1;
    cubic_weights(a->weight + (size_t)i * 4, at - low);
}

static void axis_area(resize_axis *a, int i)
{
    double s = (double)a->from / a->to, lo = (double)i * a->from / a->to;
    double hi = (double)(i + 1) * a->from / a->to;
    int first = (int)lo;
    a->first[i] = first;
    for (int k = 0; k < a->taps; k++) {
        double l = first + k > lo ? first + k : lo;
        double r = first + k + 1 < hi ? first + k + 1 : hi;
        a->weight[(size_t)i * (size_t)a->taps + (size_t)k] =
            (float)(r > l ? (r - l) / s : 0);
    }
}

static int axis_new(resize_axis *a, int from, int to, atomdl_arena *arena)
{
    size_t n = (size_t)to;
    a->from = from;
    a->to = to;
    a->taps = to < from ? from / to + 2 : 4;
    a->first = atomdl_alloc(arena, n, sizeof *a->first);
    a->weight = atomdl_alloc(arena, n * (size_t)a->taps, sizeof(float));
    if (!a->first || !a->weight) return atomdl_arena_status(arena);
    for (int i = 0; i < to; i++)
        if (to < from) axis_area(a, i);
        else axis_cubic(a, i);
    return ATOMDL_OK;
}

/* out(to) <- in(from), as resample() does, for each pixel at once */
static void resample_row(float *out, const float *in, const resize_axis *a)
{
    const float *w = a->weight;
    for (int i = 0; i < a->to; i++, w += a->taps) {
        int first = a->first[i], inside = first >= 0
                                          && first + a->taps <= a->from;
        float sum = 0;
        for (int t = 0; t < a->taps; t++) {
            int k = inside ? first + t : clamp_index(first + t, a->from);
            float p = w[t] * in[k];
            sum = sum + p;
        }
        out[i] = sum;
    }
}

/* out(outer, to, inner) <- in(outer, from, inner) */
static void resample(float *out, const float *in, const resize_axis *a,
                     size_t outer, size_t inner)
{
    for (size_t o = 0; o < outer; o++, in += (size_t)a->from * inner)
        for (int i = 0; i < a->to; i++, out += inner) {
            const float *w = a->weight + (size_t)i * (size_t)a->taps;
            for (size_t x = 0; x < inner; x++) out[x] = 0;
            for (int t = 0; t < a->taps; t++) {
                size_t k = (size_t)clamp_index(a->first[i] + t, a->from);
                const float *row = in + k * inner;
                for (size_t x = 0; x < inner; x++) {
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
    int status = image_sized(dst) && image_sized(src) ? ATOMDL_OK : ATOMDL_EARG;
    if (!status && arena->base) status = images_ready(dst, src);
    atomdl_image half;
    if (!status)
        status = atomdl_image_new(&half, dst->w, src->h, src->c, arena);
    resize_axis ax;
    if (!status) status = axis_new(&ax, src->w, dst->w, arena);
    resize_axis ay;
    if (!status) status = axis_new(&ay, src->h, dst->h, arena);
    if (!status && arena->base) {
        for (size_t k = 0; k < (size_t)src->h * (size_t)src->c; k++)
            resample_row(half.px + k * (size_t)dst->w,
                         src->px + k * (size_t)src->w, &ax);
        resample(dst->px, half.px, &ay, (size_t)src->c, (size_t)dst->w);
    }
    arena->used = mark;
    return status;
}

/* ---------- Images: normalise --------------------------------------------- */

/* a float's bits in an order that rises with its value */
static u32 rising_bits(float x)
{
    u32 b = atomdl_bits(x + 0.0f); /* -0 counts as +0 */
    return b ^ (((u32)0 - (b >> 31)) | 0x80000000);
}

float atomdl_percentile(const float *x, size_t n, double p)
{
    u32 prefix = 0, mask = 0, count[2048], b;
    size_t rank = (size_t)(p * (double)(n - 1) + 0.5);
    for (int shift = 21; shift >= -1; shift -= 11) { /* of 11, 11, 10 bits */
        int low = shift < 0 ? 0 : shift;
        u32 ones = shift < 0 ? 1023 : 2047;
        memset(count, 0, sizeof count);
        for (size_t i = 0; i < n; i++) {
            b = rising_bits(x[i]);
            count[b >> low & ones] += (b & mask) == prefix;
        }
        for (b = 0; rank >= count[b]; b++) rank -= count[b];
        prefix |= b << low;
        mask |= ones << low;
    }
    return atomdl_float(prefix >> 31 ? prefix & 0x7fffffff : ~prefix);
}

/* Mean over all pixels of x - centre, or of its square: binary64, the 16-lane
   rule along each row, then the same rule over the row sums. */
static double pixel_mean(const atomdl_image *m, double centre, int squared)
{
    double total[LANES] = {0}, lane[LANES];
    size_t rows = (size_t)m->h * (size_t)m->c, w = (size_t)m->w;
    const float *x = m->px;
    for (size_t r = 0; r < rows; r++, x += w) {
        for (size_t i = 0; i < LANES; i++) lane[i] = 0;
        for (size_t i = 0; i < w; i++) {
            double d = (double)x[i] - centre, v = squared ? d * d : d;
            lane[i % LANES] = lane[i % LANES] + v;
        }
        total[r % LANES] = total[r % LANES] + lane_tree64(lane);
    }
    return lane_tree64(total) / (double)pixel_count(m);
}

const char *atomdl_norm_name(int mode)
{
    static const char *const NAME[] = {"minmax", "std", "percentile", "level"};
    return mode < 0 || mode >= ATOMDL_NORM_COUNT ? NULL : NAME[mode];
}

/* All modes are one map: gain (x - from) / span, perhaps clipped. */
int atomdl_image_normalise_as(atomdl_image *image, int mode,
                              const atomdl_image *as)
{
    int status = images_ready(image, image),
        clip = mode >= ATOMDL_NORM_PERCENTILE;
    double gain = 1;
    if (!status) status = images_ready(as, as);
    if (!status) status = atomdl_image_check(as);
    if (!status && image != as) status = atomdl_image_check(image);
    if (!status && (mode < 0 || mode >= ATOMDL_NORM_COUNT))
        status = ATOMDL_EARG;
    if (status) return status;
    size_t n = pixel_count(as);
    const float *px = as->px;
    double from, span;
    if (mode == ATOMDL_NORM_PERCENTILE) {
        from = (double)atomdl_percentile(px, n, 0.5);
        span = (double)atomdl_percentile(px, n, 0.9)
               - (double)atomdl_percentile(px, n, 0.1);
        gain = 2;
    } else if (mode == ATOMDL_NORM_LEVEL) {
        from = 0;
        span = (double)atomdl_percentile(px, n, 0.9);
    } else {
        from = (double)atomdl_percentile(px, n, 0);
        span = (double)atomdl_percentile(px, n, 1) - from;
    }
    if (mode == ATOMDL_NORM_STD && span > 0) {
        from = pixel_mean(as, 0, 0);
        span = atomdl_sqrt(pixel_mean(as, from, 1));
    }
    n = pixel_count(image);
    for (size_t i = 0; i < n; i++) {
        double v = span > 0 ? gain * ((double)image->px[i] - from) / span : 0;
        if (clip) v = v < -6 ? -6 : v > 30 ? 30 : v;
        image->px[i] = (float)v;
    }
    return ATOMDL_OK;
}

int atomdl_image_normalise(atomdl_image *image, int mode)
{
    return atomdl_image_normalise_as(image, mode, image);
}

/* ---------- Images: warp -------------------------------------------------- */

/* One plane (h, w) at (x, y) inside [-2, w + 1] x [-2, h + 1]. */
static float plane_at(const float *plane, int w, int h, double x, double y,
                      int interpolation)
{
    double fx = atomdl_floor(x), fy = atomdl_floor(y);
    int x0 = (int)fx, y0 = (int)fy, n = 2;
    float wx[4], wy[4], sum = 0;
    if (interpolation == ATOMDL_CUBIC) {
        cubic_weights(wx, x - fx);
        cubic_weights(wy, y - fy);
        n = 4;
        x0--;
        y0--;
    } else {
        wx[1] = (float)(x - fx);
        wy[1] = (float)(y - fy);
        wx[0] = (float)(1 - (x - fx));
        wy[0] = (float)(1 - (y - fy));
    }
    for (int j = 0; j < n; j++) {
        const float *row = plane + (size_t)clamp_index(y0 + j, h) * (size_t)w;
        float s = 0;
        for (int i = 0; i < n; i++) {
            float p = wx[i] * row[clamp_index(x0 + i, w)];
            s = s + p;
        }
        s = wy[j] * s;
        sum = sum + s;
    }
    return sum;
}

static double near_image(double x, int n)
{
    return !(x > -2) ? -2 : x > n + 1 ? n + 1 : x; /* NaN gives -2 */
}

static int warp_ready(const atomdl_image *dst, const atomdl_image *src,
                      const double *m, const atomdl_image *field, int interp)
{
    int status = images_ready(dst, src);
    if (status) return status;
    if (interp < 0 || interp >= ATOMDL_INTERP_COUNT) return ATOMDL_EARG;
    for (int i = 0; m && i < 6; i++)
        if (not_finite(m[i])) return ATOMDL_ENAN;
    if (!field) return ATOMDL_OK;
    if (!image_sound(field)) return ATOMDL_EARG;
    if (field->w != dst->w || field->h != dst->h || field->c != 2)
        return ATOMDL_ESHAPE;
    return atomdl_image_check(field);
}

/* Each output pixel asks where it comes from. */
int atomdl_image_warp(atomdl_image *dst, const atomdl_image *src,
                      const double m[6], const atomdl_image *field,
                      int interpolation)
{
    static const double IDENTITY[6] = {1, 0, 0, 0, 1, 0};
    int status = warp_ready(dst, src, m, field, interpolation);
    if (status) return status;
    if (!m) m = IDENTITY;
    size_t plane = (size_t)dst->w * (size_t)dst->h;
    size_t spread = (size_t)src->w * (size_t)src->h;
    for (size_t i = 0; i < plane; i++) {
        double x = (double)(i % (size_t)dst->w);
        double y = (double)(i / (size_t)dst->w);
        double u = m[0] * x + m[1] * y + m[2], v = m[3] * x + m[4] * y + m[5];
        if (field) u = u + (double)field->px[i];
        if (field) v = v + (double)field->px[plane + i];
        if (interpolation == ATOMDL_NEAREST) {
            u = atomdl_floor(u + 0.5);
            v = atomdl_floor(v + 0.5);
        }
        u = near_image(u, src->w);
        v = near_image(v, src->h);
        for (int c = 0; c < src->c; c++)
            dst->px[(size_t)c * plane + i] =
                plane_at(src->px + (size_t)c * spread, src->w, src->h, u, v,
                         interpolation);
    }
    return ATOMDL_OK;
}

#ifndef ATOMDL_NO_FFT
/* ---------- Fourier transform ---------------------------------------------

   Stockham's form: a pass of radix r over n numbers in s interleaved series
   replaces x(p + i m), m = n / r, by the transform over i of r numbers times
   exp(-2 pi i p k / n), stored at r p + k; then n is n / r and s is s r.
   Radices 4, 2, 3, 5 in this order. Each number is a strip of 16 lanes: 16
   columns, or rows, are transformed at once. The way back exchanges real and
   imaginary parts. */

enum { STRIP = 16 };

struct fft {
    int n;
    float *wr, *wi;     /* (n) exp(-2 pi i j / n) */
    float *re[2], *im[2]; /* (n, STRIP) each */
};

static int fft_smooth(int n)
{
    for (int p = 2; p <= 5; p++)
        while (n % p == 0) n /= p;
    return n == 1;
}

int atomdl_fft_size(int n)
{
    if (n < 1) n = 1;
    while (n <= ATOMDL_IMAGE_MAX && !fft_smooth(n)) n++;
    return n <= ATOMDL_IMAGE_MAX ? n : 0;
}

static void fft_table(struct fft *f, atomdl_arena *arena)
{
    size_t n = (size_t)f->n;
    f->wr = atomdl_alloc(arena, n, sizeof(float));
    f->wi = atomdl_alloc(arena, n, sizeof(float));
    if (!f->wr || !f->wi) return;
    for (int j = 0; j < f->n; j++) { /* 4 j = quarter n + rest */
        double t = (double)(4 * j % f->n) / f->n * 0x1.921fb54442d18p+0;
        float c = (float)atomdl_cos(t), s = (float)atomdl_sin(t);
        int quarter = 4 * j / f->n;
        f->wr[j] = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
        f->wi[j] = quarter == 0 ? -s : quarter == 1 ? -c : quarter == 2 ? s : c;
    }
}

/* Tables for rows and columns; the strips are shared. */
static int fft_new(struct fft f[2], int w, int h, atomdl_arena *arena)
{
    size_t most = (size_t)(w > h ? w : h) * STRIP + 5 * STRIP; /* + 5: apart
                                                            in the cache */
    f[0].n = w;
    f[1].n = h;
    fft_table(&f[0], arena);
    fft_table(&f[1], arena);
    for (int i = 0; i < 2; i++) {
        f[0].re[i] = f[1].re[i] = atomdl_alloc(arena, most, sizeof(float));
        f[0].im[i] = f[1].im[i] = atomdl_alloc(arena, most, sizeof(float));
    }
    return atomdl_arena_status(arena);
}

#ifdef SIMD_BASE /* lanes are independent: any width gives the same bits */
typedef float quad __attribute__((vector_size(16), may_alias));
#else
typedef float quad;
#endif
enum { LANE = sizeof(quad) / sizeof(float) };

static inline quad q_at(const float *p) { return *(const quad *)p; }

static inline void q_set(float *p, quad v) { *(quad *)p = v; }

/* y <- w (a + i b) */
static inline void q_turned(float *yr, float *yi, quad a, quad b,
                            const float *w)
{
    q_set(yr, a * w[0] - b * w[1]);
    q_set(yi, a * w[1] + b * w[0]);
}

/* One p of a pass: s floats of each of r inputs d apart, outputs s apart; w:
   the factors of outputs 1.. */
static void fly2(float *yr, float *yi, const float *xr, const float *xi,
                 size_t s, size_t d, const float *w)
{
    const float *end = xr + s;
    for (; xr < end; xr += LANE, xi += LANE, yr += LANE, yi += LANE) {
        quad ar = q_at(xr), ai = q_at(xi), br = q_at(xr + d), bi = q_at(xi + d);
        q_set(yr, ar + br);
        q_set(yi, ai + bi);
        q_turned(yr + s, yi + s, ar - br, ai - bi, w);
    }
}

static void fly3(float *yr, float *yi, const float *xr, const float *xi,
                 size_t s, size_t d, const float *w)
{
    const float sine = 0x1.bb67aep-1f, *end = xr + s; /* 60 degrees */
    for (; xr < end; xr += LANE, xi += LANE, yr += LANE, yi += LANE) {
        quad ar = q_at(xr), br = q_at(xr + d), cr = q_at(xr + 2 * d);
        quad ai = q_at(xi), bi = q_at(xi + d), ci = q_at(xi + 2 * d);
        quad tr = br + cr, ti = bi + ci;
        quad ur = ar - tr * 0.5f, ui = ai - ti * 0.5f;
        quad vr = (br - cr) * sine, vi = (bi - ci) * sine;
        q_set(yr, ar + tr);
        q_set(yi, ai + ti);
        q_turned(yr + s, yi + s, ur + vi, ui - vr, w);
        q_turned(yr + 2 * s, yi + 2 * s, ur - vi, ui + vr, w + 2);
    }
}

static void fly4(float *yr, float *yi, const float *xr, const float *xi,
                 size_t s, size_t d, const float *w)
{
    const float *end = xr + s;
    for (; xr < end; xr += LANE, xi += LANE, yr += LANE, yi += LANE) {
        quad ar = q_at(xr) + q_at(xr + 2 * d), ai = q_at(xi) + q_at(xi + 2 * d);
        quad br = q_at(xr) - q_at(xr + 2 * d), bi = q_at(xi) - q_at(xi + 2 * d);
        quad cr = q_at(xr + d) + q_at(xr + 3 * d);
        quad ci = q_at(xi + d) + q_at(xi + 3 * d);
        quad er = q_at(xr + d) - q_at(xr + 3 * d);
        quad ei = q_at(xi + d) - q_at(xi + 3 * d);
        q_set(yr, ar + cr);
        q_set(yi, ai + ci);
        q_turned(yr + s, yi + s, br + ei, bi - er, w);
        q_turned(yr + 2 * s, yi + 2 * s, ar - cr, ai - ci, w + 2);
        q_turned(yr + 3 * s, yi + 3 * s, br - ei, bi + er, w + 4);
    }
}

/* Radix 5 by sums and differences of opposite inputs, as radix 3. */
static void fly5(float *yr, float *yi, const float *xr, const float *xi,
                 size_t s, size_t d, const float *w)
{
    const float c1 = 0x1.3c6ef4p-2f, c2 = -0x1.9e377ap-1f;  /* 72, 144 */
    const float s1 = 0x1.e6f0e2p-1f, s2 = 0x1.2cf230p-1f, *end = xr + s;
    for (; xr < end; xr += LANE, xi += LANE, yr += LANE, yi += LANE) {
        quad zr = q_at(xr), zi = q_at(xi);
        quad ar = q_at(xr + d) + q_at(xr + 4 * d);
        quad ai = q_at(xi + d) + q_at(xi + 4 * d);
        quad br = q_at(xr + 2 * d) + q_at(xr + 3 * d);
        quad bi = q_at(xi + 2 * d) + q_at(xi + 3 * d);
        quad er = q_at(xr + d) - q_at(xr + 4 * d);
        quad ei = q_at(xi + d) - q_at(xi + 4 * d);
        quad gr = q_at(xr + 2 * d) - q_at(xr + 3 * d);
        quad gi = q_at(xi + 2 * d) - q_at(xi + 3 * d);
        quad mr = zr + (ar * c1 + br * c2), mi = zi + (ai * c1 + bi * c2);
        quad nr = zr + (ar * c2 + br * c1), ni = zi + (ai * c2 + bi * c1);
        quad ur = er * s1 + gr * s2, ui = ei * s1 + gi * s2;
        quad vr = er * s2 - gr * s1, vi = ei * s2 - gi * s1;
        q_set(yr, zr + (ar + br));
        q_set(yi, zi + (ai + bi));
        q_turned(yr + s, yi + s, mr + ui, mi - ur, w);
        q_turned(yr + 2 * s, yi + 2 * s, nr + vi, ni - vr, w + 2);
        q_turned(yr + 3 * s, yi + 3 * s, nr - vi, ni + vr, w + 4);
        q_turned(yr + 4 * s, yi + 4 * s, mr - ui, mi + ur, w + 6);
    }
}

/* Transforms strip 0; the result lies in the strip that is returned. */
static int fft_strip(const struct fft *f, int back)
{
    int r, from = 0;
    float w[8];
    for (int n = f->n, s = 1; n > 1; n /= r, s *= r, from = !from) {
        size_t step = (size_t)s * STRIP, d = step * (size_t)(n / (r = n % 4
            ? n % 2 ? n % 3 ? 5 : 3 : 2 : 4));
        float *yr = back ? f->im[!from] : f->re[!from];
        float *yi = back ? f->re[!from] : f->im[!from];
        const float *xr = back ? f->im[from] : f->re[from];
        const float *xi = back ? f->re[from] : f->im[from];
        for (int p = 0; p < n / r; p++) {
            for (int k = 1; k < r; k++) {
                w[2 * k - 2] = f->wr[p * k * s];
                w[2 * k - 1] = f->wi[p * k * s];
            }
            (r == 2 ? fly2 : r == 3 ? fly3 : r == 4 ? fly4 : fly5)(
                yr, yi, xr, xi, step, d, w);
            xr += step;
            xi += step;
            yr += (size_t)r * step;
            yi += (size_t)r * step;
        }
    }
    return from;
}

/* strip(x, lane) <- m <= STRIP rows of n floats, pitch apart; other lanes 0 */
static void fft_load(float *strip, const float *x, size_t pitch, int m, int n)
{
    if (m < STRIP) memset(strip, 0, (size_t)n * STRIP * sizeof *strip);
    for (int l = 0; l < m; l++)
        for (int i = 0; i < n; i++)
            strip[(size_t)i * STRIP + (size_t)l] = x[(size_t)l * pitch
                                                     + (size_t)i];
}

static void fft_store(float *x, const float *strip, size_t pitch, int m, int n,
                      float scale)
{
    for (int l = 0; l < m; l++)
        for (int i = 0; i < n; i++)
            x[(size_t)l * pitch + (size_t)i] =
                strip[(size_t)i * STRIP + (size_t)l] * scale;
}

static void strip_copy(float *to, const float *from, int n)
{
    if (n == STRIP) /* inline */
        memcpy(to, from, STRIP * sizeof *to);
    else
        memcpy(to, from, (size_t)n * sizeof *to);
}

/* All columns of re, im (f->n, w), in place. */
static void fft_columns(const struct fft *f, float *re, float *im, int w,
                        int back, float scale)
{
    size_t n = (size_t)f->n, pitch = (size_t)w;
    for (int x = 0; x < w; x += STRIP, re += STRIP, im += STRIP) {
        int m = w - x < STRIP ? w - x : STRIP;
        if (m < STRIP) {
            memset(f->re[0], 0, n * STRIP * sizeof *re);
            memset(f->im[0], 0, n * STRIP * sizeof *re);
        }
        for (size_t y = 0; y < n; y++) {
            strip_copy(f->re[0] + y * STRIP, re + y * pitch, m);
            strip_copy(f->im[0] + y * STRIP, im + y * pitch, m);
        }
        int k = fft_strip(f, back);
        for (size_t y = 0; y < n; y++) {
            float *r = f->re[k] + y * STRIP, *i = f->im[k] + y * STRIP;
            for (int l = 0; scale != 1 && l < STRIP; l++) {
                r[l] = r[l] * scale;
                i[l] = i[l] * scale;
            }
            strip_copy(re + y * pitch, r, m);
            strip_copy(im + y * pitch, i, m);
        }
    }
}

static int all_zero(const float *x, size_t n)
{
    while (n > 0 && x[n - 1] == 0) n--;
    return n == 0;
}

static int fft_ready(int w, int h)
{
    if (w < 1 || h < 1 || w > ATOMDL_IMAGE_MAX || h > ATOMDL_IMAGE_MAX
        || !fft_smooth(w) || !fft_smooth(h))
        return ATOMDL_EARG;
    return float_state();
}

/* Rows in strips, then columns in strips. Rows of zeros stay: a caller that
   fills a low band only saves most of a way back. */
int atomdl_fft(float *re, float *im, int w, int h, int back,
               atomdl_arena *arena)
{
    size_t used = arena->used, pitch = (size_t)w;
    int status = fft_ready(w, h);
    if (status) return status;
    struct fft f[2];
    status = fft_new(f, w, h, arena);
    arena->used = used;
    if (status || !re || !f->wr) return status;
    for (int y = 0; y < h; y += STRIP) {
        size_t at = (size_t)y * pitch;
        int m = h - y < STRIP ? h - y : STRIP;
        if (all_zero(re + at, (size_t)m * pitch)
            && all_zero(im + at, (size_t)m * pitch))
            continue;
        fft_load(f->re[0], re + at, pitch, m, w);
        fft_load(f->im[0], im + at, pitch, m, w);
        int k = fft_strip(f, back);
        fft_store(re + at, f->re[k], pitch, m, w, 1);
        fft_store(im + at, f->im[k], pitch, m, w, 1);
    }
    fft_columns(f + 1, re, im, w, back,
                back ? (float)(1 / ((double)w * h)) : 1);
    return ATOMDL_OK;
}

/* A real array and its columns of bins on their way. Two rows a, b, STRIP
   apart, are transformed as a + i b: Z. */
typedef struct {
    struct fft f[2];
    atomdl_bins bins;
    int w, h;
} real_fft;

/* Tables and strips; *run <- whether there is anything to transform. */
static int real_fft_new(real_fft *r, int *run, const atomdl_bins *bins,
                        int pitch, atomdl_arena *arena)
{
    size_t used = arena->used;
    int status = fft_ready(r->w, r->h);
    r->bins = *bins;
    if (!status
        && (bins->bins < 1 || bins->bins > r->w / 2 + 1 || pitch < r->w))
        status = ATOMDL_ESHAPE;
    if (!status) status = fft_new(r->f, r->w, r->h, arena);
    arena->used = used;
    *run = !status && r->f->wr;
    return status;
}

/* The bins of m rows from y on, strip k. The first of a pair is
   (Z(k) + Z*(n - k)) / 2, the second (Z(k) - Z*(n - k)) / 2i. */
static void fft_part(const real_fft *r, int k, int y, int m, int second)
{
    const struct fft *f = r->f;
    size_t n = (size_t)f->n, bins = (size_t)r->bins.bins;
    float *re = r->bins.re + (size_t)y * bins;
    float *im = r->bins.im + (size_t)y * bins;
    for (size_t l = 0; l < (size_t)m; l++)
        for (size_t i = 0; i < bins; i++) {
            size_t p = i * STRIP + l, q = (i ? n - i : 0) * STRIP + l;
            float ar = f->re[k][p], ai = f->im[k][p];
            float br = f->re[k][q], bi = f->im[k][q];
            *re++ = 0.5f * (second ? ai + bi : ar + br);
            *im++ = 0.5f * (second ? br - ar : ai - bi);
        }
}

/* The inverse: strip lanes <- Z of m rows from y on and of the `more` rows
   that pair with the first of them; zeros where there is none. */
static void fft_join(const real_fft *r, int y, int m, int more)
{
    const struct fft *f = r->f;
    size_t n = (size_t)f->n, bins = (size_t)r->bins.bins, two = STRIP * bins;
    const float *re = r->bins.re + (size_t)y * bins;
    const float *im = r->bins.im + (size_t)y * bins;
    memset(f->re[0], 0, n * STRIP * sizeof *re);
    memset(f->im[0], 0, n * STRIP * sizeof *re);
    for (size_t l = 0; l < (size_t)m; l++, re += bins, im += bins)
        for (size_t i = 0; i < bins; i++) {
            size_t p = i * STRIP + l, q = (n - i) * STRIP + l;
            int both = (int)l < more, own = i == 0 || 2 * i == n;
            float ai = own ? 0 : im[i], br = both ? re[two + i] : 0;
            float bi = both && !own ? im[two + i] : 0;
            f->re[0][p] = re[i] - bi;
            f->im[0][p] = ai + br;
            if (own) continue;
            f->re[0][q] = re[i] + bi;
            f->im[0][q] = br - ai;
        }
}

int atomdl_fft_real(const atomdl_bins *bins, const float *x, int pitch, int w,
                    int h, atomdl_arena *arena)
{
    real_fft r = {.w = w, .h = h};
    size_t rows = STRIP * (size_t)pitch;
    int run, status = real_fft_new(&r, &run, bins, pitch, arena);
    if (!run || !bins->re) return status;
    for (int y = 0; y < h; y += 2 * STRIP, x += 2 * rows) {
        int m = least_int(h - y, STRIP);
        int more = most_int(0, least_int(h - y - STRIP, STRIP));
        fft_load(r.f->re[0], x, (size_t)pitch, m, w);
        fft_load(r.f->im[0], x + (more ? rows : 0), (size_t)pitch, more, w);
        int k = fft_strip(r.f, 0);
        fft_part(&r, k, y, m, 0);
        if (more) fft_part(&r, k, y + STRIP, more, 1);
    }
    fft_columns(r.f + 1, bins->re, bins->im, bins->bins, 0, 1);
    return ATOMDL_OK;
}

int atomdl_fft_real_back(float *x, int pitch, const atomdl_bins *bins, int w,
                         int h, atomdl_arena *arena)
{
    real_fft r = {.w = w, .h = h};
    float scale = (float)(1 / ((double)w * h));
    size_t rows = STRIP * (size_t)pitch;
    int run, status = real_fft_new(&r, &run, bins, pitch, arena);
    if (!run || !x) return status;
    fft_columns(r.f + 1, bins->re, bins->im, bins->bins, 1, 1);
    for (int y = 0; y < h; y += 2 * STRIP, x += 2 * rows) {
        int m = least_int(h - y, STRIP);
        int more = most_int(0, least_int(h - y - STRIP, STRIP));
        fft_join(&r, y, m, more);
        int k = fft_strip(r.f, 1);
        fft_store(x, r.f->re[k], (size_t)pitch, m, w, scale);
        if (more)
            fft_store(x + rows, r.f->im[k], (size_t)pitch, more, w, scale);
    }
    return ATOMDL_OK;
}
#endif /* ATOMDL_NO_FFT */

/* ---------- Decimal text --------------------------------------------------

   Numbers of text and metadata: digits with at most one point. Values pass
   through hi + lo (about 100 bits), so that both ways are exact. */

/* hi + lo times 10^e, by steps that binary64 holds exactly */
static void scale10(double *hi, double *lo, int e)
{
    while (e) {
        int n = e < 0 ? -e : e;
        double t = 1;
        if (n > 22) n = 22;
        for (int i = 0; i < n; i++) t *= 10;
        double p, q;
        if (e > 0) {
            product_exact(&p, &q, *hi, t);
            q += *lo * t;
        } else {
            p = *hi / t;
            double a, b;
            product_exact(&a, &b, p, t);
            q = (*hi - a - b + *lo) / t;
        }
        e += e < 0 ? n : -n;
        *hi = p + q;
        *lo = q - (*hi - p);
    }
}

/* m 10^e, rounded once to float or double */
static double decimal(u64 m, int e, int single)
{
    double hi = (double)m, lo = (double)(i64)(m - (u64)hi);
    if (!m) return 0;
    scale10(&hi, &lo, e);
    return single ? (double)round_once(hi, lo) : hi;
}

int atomdl_decimal_scan(u64 *m, int *e, const char *s, size_t n)
{
    int point = 0, digits = 0;
    size_t i;
    *m = 0;
    *e = 0;
    for (i = 0; i < n && *e > -99 && *e < 99; i++) {
        if (s[i] == '.' && !point) {
            point = 1;
            continue;
        }
        if (s[i] < '0' || s[i] > '9') return 0;
        digits = 1;
        if (*m < (u64)100000000 * 1000000000) {
            *m = *m * 10 + (u64)(s[i] - '0');
            *e -= point;
        } else if (!point) {
            ++*e;
        }
    }
    return digits && i == n;
}

/* 1 when s(n) is a number */
static int read_decimal(double *v, const char *s, size_t n, int single)
{
    u64 m;
    int e;
    if (!atomdl_decimal_scan(&m, &e, s, n)) return 0;
    *v = decimal(m, e, single);
    return 1;
}

int atomdl_decimal_write(char *out, double v, int single)
{
    double hi = v, lo = 0, t = v;
    u64 unit = (u64)100000000 * 100000000;
    int e = -16, n = 0;
    for (; t >= 10; e++) t /= 10;
    for (; t > 0 && t < 1; e--) t *= 10;
    scale10(&hi, &lo, -e);
    u64 all = (u64)hi + (u64)(i64)nearest(lo); /* 17 digits */
    u64 m;
    do {
        m = (all + unit / 2) / unit * unit;
        unit /= 10;
    } while (unit && decimal(m, e, single) != v);
    for (; m && m % 10 == 0; e++) m /= 10;
    if (!m) e = 0;
    for (int j = e < 0 ? e : 0; m || j <= 0; j++) { /* from the last digit */
        if (j == 0 && n) out[n++] = '.';
        out[n++] = (char)('0' + (j < e ? 0 : m % 10));
        if (j >= e) m /= 10;
    }
    for (int i = 0; i < n / 2; i++) {
        char c = out[i];
        out[i] = out[n - 1 - i];
        out[n - 1 - i] = c;
    }
    return n;
}

/* Bytes on their way out: those beyond size are counted, not written. */
typedef struct {
    unsigned char *p;
    size_t size, n;
} byte_sink;

static void sink_byte(byte_sink *s, int c)
{
    if (s->n < s->size) s->p[s->n] = (unsigned char)c;
    s->n++;
}

/* ---------- Networks: description ----------------------------------------- */

enum { /* the arguments that an operator takes */
    ARG_CH = 1, ARG_KERNEL = 2, ARG_P = 4, ARG_IN2 = 8,
    LEARNS = 16, /* and so needs a name */
    ENDS = 32    /* stands last and nowhere else */
};

typedef struct {
    const char *name; /* in the text form */
    unsigned takes;
    int level;        /* size falls by 2^level; a convolution's by its stride */
    int reach;        /* input pixels that one output pixel sees, less 1 */
    float p;          /* default */
} operator_rule;

/* An operator is a row. A new one has a value in the header's enum, before
   ATOMDL_OPS (no file holds that number), and a row in FORWARD and BACKWARD; in
   rows_needed, unless it reads the very rows that it writes; in shape_row,
   unless it keeps channels and `level` says its size. Its tests: a rule in
   MORE_RULES of tests/slow.c, OP (and level_step) of tests/reference.c, a
   network at the end of NETS in tests/test_net.c and tests/test_grad.c. */
static const operator_rule OPERATORS[ATOMDL_OPS] = {
    {"", 0, 0, 0, 0},
    [ATOMDL_CONV] = {"conv", ARG_CH | ARG_KERNEL | LEARNS, 0, 0, 0},
    [ATOMDL_DECONV] = {"deconv", ARG_CH | LEARNS, -1, 1, 0},
    [ATOMDL_BATCHNORM] = {"batchnorm", LEARNS, 0, 0, 0},
    [ATOMDL_RELU] = {"relu", 0, 0, 0, 0},
    [ATOMDL_LEAKY] = {"leaky", ARG_P, 0, 0, 0.01f},
    [ATOMDL_MAXPOOL] = {"maxpool", 0, 1, 1, 0},
    [ATOMDL_UPNEAREST] = {"nearest", 0, -1, 0, 0},
    [ATOMDL_UPLINEAR] = {"bilinear", 0, -1, 1, 0},
    [ATOMDL_CONCAT] = {"concat", ARG_IN2, 0, 0, 0},
    [ATOMDL_ADD] = {"add", ARG_IN2, 0, 0, 0},
    [ATOMDL_DROPOUT] = {"dropout", ARG_P, 0, 0, 0.5f},
    [ATOMDL_SOFTMAX] = {"softmax", ENDS, 0, 0, 0},
    [ATOMDL_SIGMOID] = {"sigmoid", ENDS, 0, 0, 0},
};

enum { LEVELS = 15 }; /* greatest level, either way */

/* the property v of row in, or that of the image */
static int of_row(const int *v, int in, int image)
{
    return in < 0 ? image : v[in];
}

/* Shape of row i from those before it. ATOMDL_ESHAPE: they do not fit. */
static int shape_row(int *channels, int *level, const atomdl_arch *arch, int i)
{
    const atomdl_layer *r = &arch->row[i];
    int c = of_row(channels, r->in, arch->channels);
    int l = of_row(level, r->in, 0);
    int c2 = of_row(channels, r->in2, arch->channels);
    int fits = l == of_row(level, r->in2, 0);
    if (r->op == ATOMDL_CONCAT) c += c2;
    else if (r->op == ATOMDL_ADD) fits = fits && c == c2;
    channels[i] = r->ch ? r->ch : c;
    level[i] = l + OPERATORS[r->op].level + (r->stride == 2);
    fits = fits && channels[i] <= ATOMDL_CHANNELS && level[i] <= LEVELS
           && level[i] >= -LEVELS;
    return fits ? ATOMDL_OK : ATOMDL_ESHAPE;
}

void atomdl_arch_shapes(int *channels, int *level, const atomdl_arch *arch)
{
    for (int i = 0; i < arch->rows; i++) shape_row(channels, level, arch, i);
}

/* Arguments of row i are in range, and zero where it takes none. */
static int row_sound(const atomdl_layer *r, int i)
{
    unsigned p = atomdl_bits(r->p);
    if (r->op < ATOMDL_CONV || r->op >= ATOMDL_OPS) return 0;
    unsigned takes = OPERATORS[r->op].takes;
    if (r->in < ATOMDL_INPUT || r->in >= i) return 0;
    if (r->in2 < ATOMDL_INPUT || r->in2 >= i) return 0;
    if (!(takes & ARG_IN2) && r->in2 != r->in) return 0;
    if (takes & ARG_CH ? !r->ch || r->ch > ATOMDL_CHANNELS : r->ch) return 0;
    if (p && !(takes & ARG_P)) return 0;
    if (p >= 0x3f800000 || (!p && r->op == ATOMDL_LEAKY)) return 0;
    if (!(takes & ARG_KERNEL)) return !r->k && !r->stride && !r->dilation;
    return r->k % 2 && r->k <= ATOMDL_SIDE && r->stride >= 1 && r->stride <= 2
           && r->dilation >= 1 && r->dilation * (r->k - 1) / 2 <= 15;
}

static int name_char(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
}

/* Row i's name is well formed, new, and there when something needs it: its
   tensors, or a row that reads it and is not the next one's `in`. */
static int name_sound(const atomdl_arch *arch, int i)
{
    const char *name = arch->row[i].name;
    int n = 0;
    while (n < ATOMDL_NAME && name[n])
        if (!name_char(name[n++])) return 0;
    if (n == ATOMDL_NAME || same_text(name, "input")) return 0;
    for (int j = 0; j < i && n; j++)
        if (same_text(name, arch->row[j].name)) return 0;
    if (!n && OPERATORS[arch->row[i].op].takes & LEARNS) return 0;
    for (int j = i + 1; j < arch->rows && !n; j++) {
        const atomdl_layer *r = &arch->row[j];
        if (r->in == i && j > i + 1) return 0;
        if (r->in2 == i && OPERATORS[r->op].takes & ARG_IN2) return 0;
    }
    return 1;
}

static int is_read(const atomdl_arch *arch, int i)
{
    for (int j = i + 1; j < arch->rows; j++)
        if (arch->row[j].in == i || arch->row[j].in2 == i) return 1;
    return 0;
}

/* Rules of each row by itself, then of names and order; the row at fault or
   rows. */
static int first_unsound(const atomdl_arch *arch)
{
    int i, last = arch->rows - 1;
    for (i = 0; i <= last; i++)
        if (!row_sound(&arch->row[i], i)) return i;
    for (i = 0; i <= last; i++) {
        int ends = (OPERATORS[arch->row[i].op].takes & ENDS) != 0;
        if (!name_sound(arch, i) || ends != (i == last)) return i;
        if (i != last && !is_read(arch, i)) return i;
    }
    return i;
}

static u64 times_capped(u64 a, u64 b) /* at most 2^64 - 1 */
{
    return a && b > (u64)-1 / a ? (u64)-1 : a * b;
}

/* n << -level */
static u64 at_level(int n, int level)
{
    return level < 0 ? (u64)n << -level : (u64)n >> level;
}

/* Weights without bias of a row that reads c channels. */
static u64 row_weights(const atomdl_layer *r, int c)
{
    u64 k = r->op == ATOMDL_DECONV ? 3 : r->k;
    return k * k * (u64)c * r->ch;
}

/* Multiply-adds of row i: weights times pixels, out (conv) or in (deconv). */
static u64 row_macs(const atomdl_layer *r, int c, int from, int to, int h,
                    int w)
{
    int l = r->op == ATOMDL_DECONV ? from : to;
    return times_capped(row_weights(r, c),
                        times_capped(at_level(h, l), at_level(w, l)));
}

/* Counts, once shapes are known. 0 when one is too great: a checkpoint holds
   16 bytes a value. */
static int arch_counts(atomdl_arch_info *info, const int *channels,
                       const int *level, const atomdl_arch *arch, int h, int w)
{
    u64 learned = 0, running = 0;
    info->macs = 0;
    for (int i = 0; i < arch->rows; i++) {
        const atomdl_layer *r = &arch->row[i];
        int c = of_row(channels, r->in, arch->channels);
        u64 m = row_macs(r, c, of_row(level, r->in, 0), level[i], h, w);
        learned += row_weights(r, c) + r->ch;
        if (r->op == ATOMDL_BATCHNORM) {
            learned += 2 * (u64)c;
            running += 2 * (u64)c;
        }
        if (m >= (u64)-1 - info->macs) return 0;
        info->macs += m;
    }
    info->parameters = (size_t)learned;
    info->values = (size_t)(learned + running);
    return learned + running <= (size_t)-1 / 32;
}

/* Receptive field of the last row: an output pixel of each row sees `size`
   pixels, its neighbour the same 2^level further on; greatest of all paths.
   In units of 2^-LEVELS pixel. */
static int arch_field(const int *level, const atomdl_arch *arch)
{
    i64 size[ATOMDL_ROWS], one = (i64)1 << LEVELS, s = one;
    for (int i = 0; i < arch->rows; i++) {
        const atomdl_layer *r = &arch->row[i];
        int reach = OPERATORS[r->op].reach;
        s = r->in < 0 ? one : size[r->in];
        if (r->in2 >= 0 && size[r->in2] > s) s = size[r->in2];
        if (r->op == ATOMDL_CONV) reach = r->dilation * (r->k - 1);
        s += (i64)reach << (LEVELS + of_row(level, r->in, 0));
        size[i] = s;
    }
    return (int)((s + one - 1) / one);
}

static int arch_fault(int *bad, int row, int status)
{
    if (bad) *bad = row;
    return status;
}

/* Rules row by row first: everything after them may trust each row. */
int atomdl_arch_check(atomdl_arch_info *info, int *bad,
                      const atomdl_arch *arch, int h, int w)
{
    int last = arch->rows - 1, top = 0;
    if (last < 0 || last >= ATOMDL_ROWS || !arch->row || arch->channels < 1
        || arch->channels > ATOMDL_CHANNELS || (h == 0) != (w == 0) || h < 0
        || w < 0 || h > ATOMDL_IMAGE_MAX || w > ATOMDL_IMAGE_MAX)
        return arch_fault(bad, -1, ATOMDL_EARG);
    int i = first_unsound(arch);
    if (i <= last) return arch_fault(bad, i, ATOMDL_EARG);
    int channels[ATOMDL_ROWS], level[ATOMDL_ROWS];
    for (i = 0; i <= last; i++) {
        if (shape_row(channels, level, arch, i))
            return arch_fault(bad, i, ATOMDL_ESHAPE);
        if (level[i] > top) top = level[i];
    }
    info->classes = channels[last];
    info->stride = 1 << top;
    info->field = arch_field(level, arch);
    if (channels[last] > ATOMDL_CLASSES
        || (channels[last] < 2 && arch->row[last].op == ATOMDL_SOFTMAX))
        return arch_fault(bad, last, ATOMDL_EARG);
    if (level[last]) return arch_fault(bad, last, ATOMDL_ESHAPE);
    if (h % info->stride || w % info->stride
        || !arch_counts(info, channels, level, arch, h, w))
        return arch_fault(bad, -1, ATOMDL_ESHAPE);
    return arch_fault(bad, -1, ATOMDL_OK);
}

/* dst <- a then b; its size is known to suffice */
static void join_text(char *dst, const char *a, const char *b)
{
    while (*a) *dst++ = *a++;
    while (*b) *dst++ = *b++;
    *dst = 0;
}

/* Shape and count of tensor `kind` of a row that reads c channels. */
static void tensor_shape(atomdl_tensor *t, const atomdl_layer *r, int c)
{
    int k = r->op == ATOMDL_DECONV ? 3 : r->k;
    t->dims = t->kind == ATOMDL_WEIGHT ? 4 : 1;
    t->dim[0] = r->ch ? r->ch : c;
    t->dim[1] = c;
    t->dim[2] = t->dim[3] = k;
    if (r->op == ATOMDL_DECONV && t->kind == ATOMDL_WEIGHT) {
        t->dim[0] = c;
        t->dim[1] = r->ch;
    }
    if (t->dims == 1) t->dim[1] = t->dim[2] = t->dim[3] = 1;
    t->count = (size_t)t->dim[0] * (size_t)t->dim[1]
               * (size_t)(t->dim[2] * t->dim[3]);
}

/* Counts tensors from the first row on: no table to keep, and a network has
   few. Past the last one t->offset is the number of all values. */
int atomdl_arch_tensor(atomdl_tensor *t, const atomdl_arch *arch, int i)
{
    static const char *const SUFFIX[] = {".weight", ".bias", ".weight", ".bias",
                                         ".running_mean", ".running_var"};
    if (i < 0) return 0;
    int channels[ATOMDL_ROWS], level[ATOMDL_ROWS];
    atomdl_arch_shapes(channels, level, arch);
    t->offset = 0;
    for (t->row = 0; t->row < arch->rows; t->row++) {
        const atomdl_layer *r = &arch->row[t->row];
        if (!(OPERATORS[r->op].takes & LEARNS)) continue;
        t->kind = r->op == ATOMDL_BATCHNORM ? ATOMDL_GAMMA : ATOMDL_WEIGHT;
        int last = r->op == ATOMDL_BATCHNORM ? ATOMDL_VAR : ATOMDL_BIAS;
        for (; t->kind <= last; t->kind++) {
            tensor_shape(t, r, of_row(channels, r->in, arch->channels));
            if (i-- == 0) {
                join_text(t->name, r->name, SUFFIX[t->kind]);
                return 1;
            }
            t->offset += t->count;
        }
    }
    return 0;
}

/* ---------- Networks: builders -------------------------------------------- */

typedef struct {
    atomdl_layer *row, spare; /* spare takes what row (max) does not hold */
    int max, n;
} builder;

/* Appends a row that reads the one above. Its name is stem, level (0..15),
   ".part", suffix, where 0 leaves a number out: "e2.1.bn". */
static atomdl_layer *add_row(builder *b, int op, const char *stem, int level,
                             int part, const char *suffix)
{
    atomdl_layer *r = b->n < b->max ? &b->row[b->n] : &b->spare;
    char number[5], *c = number;
    if (level > 9) *c++ = '1';
    if (level) *c++ = (char)('0' + level % 10);
    if (part) {
        *c++ = '.';
        *c++ = (char)('0' + part);
    }
    *c = 0;
    memset(r, 0, sizeof *r);
    join_text(r->name, stem, number);
    join_text(r->name, r->name, suffix);
    r->op = (u8)op;
    r->in = r->in2 = (int16_t)(b->n++ - 1);
    r->p = OPERATORS[op].p;
    return r;
}

static atomdl_layer *add_plain(builder *b, int op)
{
    return add_row(b, op, "", 0, 0, "");
}

/* ch and k that do not fit their fields become 0, which the check refuses */
static atomdl_layer *add_conv(builder *b, const char *stem, int level, int part,
                              int ch, int k)
{
    atomdl_layer *r = add_row(b, ATOMDL_CONV, stem, level, part, "");
    r->ch = (u16)(ch > 0 && ch <= ATOMDL_CHANNELS ? ch : 0);
    r->k = (u8)(k > 0 && k <= ATOMDL_SIDE ? k : 0);
    r->stride = r->dilation = 1;
    return r;
}

/* Appends the last row and checks the whole. */
static int arch_finish(atomdl_arch *arch, builder *b, int classes)
{
    add_plain(b, classes == 1 ? ATOMDL_SIGMOID : ATOMDL_SOFTMAX);
    if (b->n > b->max) return ATOMDL_EMEM;
    arch->channels = 1;
    arch->rows = b->n;
    arch->row = b->row;
    atomdl_arch_info info;
    return atomdl_arch_check(&info, NULL, arch, 0, 0);
}

int atomdl_fcn(atomdl_arch *arch, atomdl_layer *row, int max, const int *w,
               int levels, int classes)
{
    builder b = {row, {0}, max, 0};
    if (levels < 1 || levels > LEVELS) return ATOMDL_EARG;
    for (int i = 0; i < levels; i++) {
        add_conv(&b, "e", i + 1, 0, w[i], 3);
        add_plain(&b, ATOMDL_RELU);
        add_plain(&b, ATOMDL_MAXPOOL);
    }
    for (int i = 0; i < levels; i++) {
        add_conv(&b, "d", i + 1, 0, w[levels - 1 - i], 3);
        add_plain(&b, ATOMDL_RELU);
        add_plain(&b, ATOMDL_UPNEAREST);
    }
    add_conv(&b, "c", 1, 0, classes, 3);
    add_conv(&b, "c", 2, 0, classes, 1);
    return arch_finish(arch, &b, classes);
}

/* n times conv, leaky, batchnorm */
static void unet_block(builder *b, const char *stem, int level, int n, int ch)
{
    for (int i = 1; i <= n; i++) {
        add_conv(b, stem, level, i, ch, 3);
        add_plain(b, ATOMDL_LEAKY);
        add_row(b, ATOMDL_BATCHNORM, stem, level, i, ".bn");
    }
}

/* Blocks of 1, 2, 2 and 3 convolutions on the way down, mirrored back. */
int atomdl_unet(atomdl_arch *arch, atomdl_layer *row, int max, int nf,
                int classes)
{
    static const int CONVS[3] = {1, 2, 2};
    builder b = {row, {0}, max, 0};
    if (nf < 1 || nf > ATOMDL_CHANNELS / 8) return ATOMDL_EARG;
    int skip[3];
    for (int i = 0; i < 3; i++) {
        unet_block(&b, "e", i + 1, CONVS[i], nf << i);
        skip[i] = b.n - 1;
        add_plain(&b, ATOMDL_MAXPOOL);
    }
    unet_block(&b, "e", 4, 3, nf << 3);
    for (int i = 2; i >= 0; i--) {
        add_plain(&b, ATOMDL_UPLINEAR);
        add_conv(&b, "up", i + 1, 0, nf << i, 1);
        add_plain(&b, ATOMDL_CONCAT)->in = (int16_t)skip[i];
        unet_block(&b, "d", i + 1, CONVS[i], nf << i);
    }
    add_conv(&b, "px", 0, 0, classes, 1);
    return arch_finish(arch, &b, classes);
}

/* conv, batchnorm, relu: k x k twice, or 1, k, 1. The last relu is named out
   and level; returns it. */
static int res_helper(builder *b, const atomdl_residual *s, const char *stem,
                      int level, int ch, const char *out)
{
    int n = s->bottleneck ? 3 : 2;
    for (int i = 1; i <= n; i++) {
        add_conv(b, stem, level, i, ch, s->bottleneck && i != 2 ? 1 : s->k);
        add_row(b, ATOMDL_BATCHNORM, stem, level, i, ".bn");
        if (i < n) add_plain(b, ATOMDL_RELU);
    }
    add_row(b, ATOMDL_RELU, out, *out ? level : 0, 0, "");
    return b->n - 1;
}

/* helper, pooled, plus shortcut of x; returns the helper's row */
static int res_down(builder *b, const atomdl_residual *s, int level, int ch)
{
    int x = b->n - 1, skip = res_helper(b, s, "e", level, ch, "skip");
    int drops = s->dropout > 0;
    add_row(b, ATOMDL_MAXPOOL, "pool", level, 0, "");
    atomdl_layer *r = add_conv(b, "s", level, 0, ch, 1);
    r->in = r->in2 = (int16_t)x;
    r->stride = 2;
    add_row(b, ATOMDL_BATCHNORM, "s", level, 0, ".bn");
    r = add_row(b, ATOMDL_ADD, drops ? "" : "x", drops ? 0 : level, 0, "");
    r->in2 = (int16_t)(skip + 1);
    if (drops) add_row(b, ATOMDL_DROPOUT, "x", level, 0, "")->p = s->dropout;
    return skip;
}

/* t = deconv, helper(concat(helper(t) + t, skip)) */
static void res_up(builder *b, const atomdl_residual *s, int level, int ch,
                   int skip)
{
    int t = b->n;
    add_row(b, ATOMDL_DECONV, "up", level, 0, "")->ch = (u16)ch;
    res_helper(b, s, "u", level, ch, "");
    add_plain(b, ATOMDL_ADD)->in2 = (int16_t)t;
    add_plain(b, ATOMDL_CONCAT)->in2 = (int16_t)skip;
    if (s->dropout > 0) add_plain(b, ATOMDL_DROPOUT)->p = s->dropout;
    res_helper(b, s, "d", level, ch, "");
}

int atomdl_resunet(atomdl_arch *arch, atomdl_layer *row, int max,
                   const atomdl_residual *s, int classes)
{
    builder b = {row, {0}, max, 0};
    int n = s->n;
    if (n < 1 || n > ATOMDL_CHANNELS / 16 || !(s->dropout >= 0))
        return ATOMDL_EARG;
    int skip[4];
    for (int i = 0; i < 4; i++) skip[i] = res_down(&b, s, i + 1, n << i);
    res_helper(&b, s, "e", 5, n << 4, "");
    for (int i = 3; i >= 0; i--) res_up(&b, s, i + 1, n << i, skip[i]);
    add_conv(&b, "px", 0, 0, classes, 1);
    return arch_finish(arch, &b, classes);
}

/* ---------- Networks: text ------------------------------------------------ */

enum { KEY_CH, KEY_K, KEY_STRIDE, KEY_DILATION, KEY_P, KEY_IN, KEY_IN2,
       ROW_KEYS };

static const struct {
    const char *name;
    unsigned takes; /* the operators that have it; 0: all */
    int most;
} ROW_KEY[ROW_KEYS] = {
    {"ch", ARG_CH, ATOMDL_CHANNELS}, {"k", ARG_KERNEL, ATOMDL_SIDE},
    {"stride", ARG_KERNEL, 2}, {"dilation", ARG_KERNEL, 255},
    {"p", ARG_P, 0}, {"in", 0, 0}, {"in2", ARG_IN2, 0},
};

static int read_count(int *v, words w, int most)
{
    size_t i;
    for (*v = 0, i = 0; i < w.n; i++) {
        if (w.s[i] < '0' || w.s[i] > '9') return 0;
        *v = *v * 10 + (w.s[i] - '0');
        if (*v > most) return 0;
    }
    return w.n > 0;
}

/* The row of that name before row i, ATOMDL_INPUT, or i when there is none. */
static int find_row(const atomdl_layer *row, int i, words name)
{
    int j = 0;
    if (same_word(name, "input")) return ATOMDL_INPUT;
    while (j < i && !(name.n && same_word(name, row[j].name))) j++;
    return j;
}

/* KEY=VALUE of row i; 0 when it is bad. */
static int parse_argument(atomdl_layer *row, int i, unsigned *seen, words key,
                          words value)
{
    atomdl_layer *r = &row[i];
    double p = (double)r->p;
    int k = 0, v = 0;
    while (k < ROW_KEYS && !same_word(key, ROW_KEY[k].name)) k++;
    if (k == ROW_KEYS || *seen >> k & 1) return 0;
    if (ROW_KEY[k].takes && !(ROW_KEY[k].takes & OPERATORS[r->op].takes))
        return 0;
    *seen |= 1u << k;
    int good;
    if (k == KEY_P) good = read_decimal(&p, value.s, value.n, 1) && p < 1;
    else if (k < KEY_P) good = read_count(&v, value, ROW_KEY[k].most);
    else good = (v = find_row(row, i, value)) < i;
    if (!good) return 0;
    if (k == KEY_CH) r->ch = (u16)v;
    else if (k == KEY_K) r->k = (u8)v;
    else if (k == KEY_STRIDE) r->stride = (u8)v;
    else if (k == KEY_DILATION) r->dilation = (u8)v;
    else if (k == KEY_IN) r->in = (int16_t)v;
    else if (k == KEY_IN2) r->in2 = (int16_t)v;
    r->p = (float)p;
    return 1;
}

static int parse_name(atomdl_layer *row, int i, words w)
{
    if (w.n >= ATOMDL_NAME || find_row(row, i, w) != i) return 0;
    for (size_t j = 0; j < w.n; j++)
        if (!name_char(w.s[j])) return 0;
    memcpy(row[i].name, w.s, w.n);
    return 1;
}

/* Row i from its line, of which op is the first word; 0 when it is bad. */
static int arch_row(atomdl_layer *row, int i, words op, words line)
{
    atomdl_layer *r = &row[i];
    unsigned seen = 0;
    memset(r, 0, sizeof *r);
    for (r->op = 1; !same_word(op, OPERATORS[r->op].name);)
        if (++r->op == ATOMDL_OPS) return 0;
    unsigned takes = OPERATORS[r->op].takes;
    r->p = OPERATORS[r->op].p;
    r->in = (int16_t)(i - 1);
    if (takes & ARG_KERNEL) {
        r->k = 3;
        r->stride = r->dilation = 1;
    }
    words w, value;
    while (take_word(&w, &line))
        if (split(&w, &value, &w, '=')
                ? !parse_argument(row, i, &seen, w, value)
                : seen || *r->name || !parse_name(row, i, w))
            return 0;
    if (!(takes & ARG_IN2)) r->in2 = r->in;
    else if (!(seen >> KEY_IN2 & 1)) return 0;
    return !(takes & ARG_CH) || seen >> KEY_CH & 1;
}

/* A line a row; the first names the channels of the image. */
int atomdl_arch_parse(atomdl_arch *arch, atomdl_layer *row, int max,
                      const char *text, size_t n, int *line)
{
    words rest = {text, n};
    int number = 0;
    if (float_state()) return ATOMDL_EFLOAT;
    arch->channels = arch->rows = 0;
    arch->row = row;
    words l, op;
    while (take_line(&l, &rest)) {
        number++;
        if (line) *line = number;
        if (!take_word(&op, &l)) continue;
        if (!arch->channels) { /* the first: input N */
            if (!same_word(op, "input") || !take_word(&op, &l)
                || !read_count(&arch->channels, op, ATOMDL_CHANNELS)
                || !arch->channels || take_word(&op, &l))
                return ATOMDL_EARG;
            continue;
        }
        if (arch->rows >= max || arch->rows >= ATOMDL_ROWS) return ATOMDL_EMEM;
        if (!arch_row(row, arch->rows, op, l)) return ATOMDL_EARG;
        arch->rows++;
    }
    return arch->rows ? ATOMDL_OK : ATOMDL_EARG;
}

#ifndef ATOMDL_NO_TRAIN

static void put_text(byte_sink *s, const char *text)
{
    while (*text) sink_byte(s, *text++);
}

static void put_decimal(byte_sink *s, double v, int single)
{
    char digit[80];
    int n = atomdl_decimal_write(digit, v, single);
    for (int i = 0; i < n; i++) sink_byte(s, digit[i]);
}

static void put_argument(byte_sink *s, const char *key, int v)
{
    put_text(s, key);
    put_decimal(s, v, 0);
}

/* Row i as its line: what is a default is left out. */
static void put_row(byte_sink *s, const atomdl_layer *r, int i,
                    const atomdl_layer *row)
{
    unsigned takes = OPERATORS[r->op].takes;
    put_text(s, OPERATORS[r->op].name);
    if (*r->name) sink_byte(s, ' ');
    put_text(s, r->name);
    if (takes & ARG_CH) put_argument(s, " ch=", r->ch);
    if (takes & ARG_KERNEL) put_argument(s, " k=", r->k);
    if (r->stride > 1) put_argument(s, " stride=", r->stride);
    if (r->dilation > 1) put_argument(s, " dilation=", r->dilation);
    if (takes & ARG_P) {
        put_text(s, " p=");
        put_decimal(s, (double)r->p, 1);
    }
    if (r->in != i - 1) {
        put_text(s, " in=");
        put_text(s, r->in < 0 ? "input" : row[r->in].name);
    }
    if (takes & ARG_IN2) {
        put_text(s, " in2=");
        put_text(s, r->in2 < 0 ? "input" : row[r->in2].name);
    }
    sink_byte(s, '\n');
}

size_t atomdl_arch_print(char *text, size_t size, const atomdl_arch *arch)
{
    byte_sink s = {(unsigned char *)text, text && size ? size - 1 : 0, 0};
    put_argument(&s, "input ", arch->channels);
    sink_byte(&s, '\n');
    for (int i = 0; i < arch->rows; i++)
        put_row(&s, &arch->row[i], i, arch->row);
    if (text && size) text[s.n < s.size ? s.n : s.size] = 0;
    return s.n;
}

#endif /* ATOMDL_NO_TRAIN */

struct atomdl_net;
static void node_forward(struct atomdl_net *net, int i, int y0, int y1);

/* ---------- Execution: the plan -------------------------------------------

   Rows become nodes: a convolution takes the activation and normalisation
   behind it along, dropout vanishes outside of training, a stride-2 input is
   split into even and odd columns, a transposed convolution becomes four whose
   outputs are joined. Nodes write tensors.

   A tensor is [row][channel][pitch] floats: the channels of one row stand one
   after another, each w long and followed by zeros up to pitch. Those zeros
   are the right margin of one channel and the left margin of the next; rows
   outside of the image are one shared row of zeros. In use a tensor keeps only
   the `ring` rows that its readers still need. */

enum { /* nodes beyond the operators of the header */
    N_INPUT = ATOMDL_OPS, N_POINT, N_SPLIT, N_JOIN
};
enum { PLAIN, TWICE, HALVES, PHASES }; /* how rows are stored, see tensor */
enum { ROW_MARGIN = 16, ROW_SLACK = 64, DECONV_PHASES = 4 };
enum { MAX_TENSORS = 2 * ATOMDL_ROWS + 1 }; /* two a row, and the image */
enum { MAX_SIZE = 1 << 24, MAX_ROW = 1 << 28 }; /* pixels, floats of a row */

static const float BN_EPS = 1e-5f;

typedef struct {
    u8 op, flags;    /* CONV_* flags: activation, normalisation */
    i16 row;         /* of the description; -1: the input */
    i16 act, norm;   /* rows of the activation and normalisation, or -1 */
    i16 in, in2, out; /* tensors; in2 = in but for concat and add */
} net_node;

typedef struct {
    i16 c;           /* channels */
    i16 of, at;      /* -1; or a part of tensor `of`, from channel `at` on */
    u8 kind;         /* PLAIN; TWICE: a stored row is two; HALVES: channels in
                        even and odd columns; PHASES: see DECONV_PHASES */
    u8 least;        /* rows are made so many at a time, or a multiple */
    int h, w, pitch;
    int ring;        /* stored rows */
    int row;         /* floats from one stored row to the next */
    int done;        /* rows computed so far */
    float *x;        /* (ring, c, pitch) */
} tensor;

typedef struct {
    const atomdl_arch *arch;
    int nodes, tensors, band, tiled; /* tiled: it may go by tiles */
    net_node *node;     /* (nodes) */
    tensor *tensor; /* (tensors) */
} layout;

typedef struct { /* where a layout is made */
    net_node node[MAX_TENSORS];
    tensor tensor[MAX_TENSORS];
} draft;

/* What structs with pointers take of an arena, on every platform alike. */
enum { NODE_BYTES = 16, TENSOR_BYTES = 40 };
typedef char layout_fits[sizeof(tensor) <= TENSOR_BYTES
                         && sizeof(net_node) <= NODE_BYTES ? 1 : -1];

/* n rounded up to a multiple of part */
static int whole_parts(int n, int part)
{
    return (n + part - 1) / part * part;
}

static int pitch_for(int w)
{
    int p = (w + ROW_MARGIN + 15) / 16;
    if (w > 16 && p % 2 == 0) p++; /* an even count makes caches alias */
    return p * 16;
}

static i16 plan_tensor(layout *p, int c, int h, int w, int kind)
{
    tensor *t = &p->tensor[p->tensors];
    memset(t, 0, sizeof *t);
    t->c = (i16)c;
    t->h = h;
    t->w = w;
    t->kind = (u8)kind;
    t->pitch = kind == HALVES ? 2 * pitch_for((w + 1) / 2) : pitch_for(w);
    t->row = (c * t->pitch / 16 | 1) * 16; /* odd, for the same reason */
    t->least = kind == TWICE ? 2 : 1;
    t->of = -1;
    return (i16)p->tensors++;
}

static net_node *plan_node(layout *p, int op, int row, int in, int in2, int out)
{
    net_node *n = &p->node[p->nodes++];
    memset(n, 0, sizeof *n);
    n->op = (u8)op;
    n->row = (i16)row;
    n->in = (i16)in;
    n->in2 = (i16)in2;
    n->out = (i16)out;
    n->act = n->norm = -1;
    return n;
}

/* Takes row i into node n where the kernel can do it on the way out. */
static int plan_absorb(net_node *n, const atomdl_layer *l, int i, int training)
{
    int conv = n->op == ATOMDL_CONV;
    if ((l->op == ATOMDL_RELU || l->op == ATOMDL_LEAKY) && n->act < 0
        && !(n->flags & CONV_AFFINE)) {
        n->flags |= l->op == ATOMDL_RELU ? CONV_RELU : CONV_LEAKY;
        n->act = (i16)i;
        return 1;
    }
    if (l->op != ATOMDL_BATCHNORM || n->norm >= 0 || training || !conv)
        return 0;
    n->flags |= n->act < 0 ? CONV_AFFINE_FIRST : CONV_AFFINE;
    n->norm = (i16)i;
    return 1;
}

/* The node of row i; returns it with its input tensors in place. */
static net_node *plan_row(layout *p, int i, const i16 *map, int c, int h, int w)
{
    const atomdl_layer *l = &p->arch->row[i];
    int in = map[l->in + 1], in2 = map[l->in2 + 1], op = l->op;
    const tensor *t = &p->tensor[in];
    if (op == ATOMDL_CONV && l->stride == 2) {
        in = plan_tensor(p, t->c, t->h, t->w, HALVES);
        plan_node(p, N_SPLIT, i, map[l->in + 1], map[l->in + 1], in);
    } else if (op == ATOMDL_DECONV) {
        op = ATOMDL_CONV;
        c *= DECONV_PHASES;
        h /= 2;
        w /= 2;
    } else if (op == ATOMDL_BATCHNORM || op == ATOMDL_RELU
               || op == ATOMDL_LEAKY) {
        op = op == ATOMDL_BATCHNORM ? ATOMDL_BATCHNORM : N_POINT;
    }
    net_node *n = plan_node(p, op, i, in,
                        op == ATOMDL_CONCAT || op == ATOMDL_ADD ? in2 : in, 0);
    n->out = plan_tensor(p, c, h, w, op == ATOMDL_UPNEAREST ? TWICE : PLAIN);
    if (l->op == ATOMDL_BATCHNORM) {
        n->norm = (i16)i;
        n->flags = CONV_AFFINE_FIRST;
    }
    if (op == N_POINT) plan_absorb(n, l, i, 0);
    if (p->tiled && l->op == ATOMDL_CONV && l->k == 3 && l->stride == 1
        && l->dilation == 1 && t->c >= TILED_CHANNELS && c >= TILED_CHANNELS)
        n->flags |= CONV_TILED;
    return n;
}

/* The node that joins what node n, of row i, a transposed convolution, makes.
   It passes the activation on the way back. */
static i16 plan_join(layout *p, int i, const net_node *n)
{
    const tensor *t = &p->tensor[n->out];
    int out = plan_tensor(p, t->c / DECONV_PHASES, 2 * t->h, 2 * t->w, PLAIN);
    net_node *join = plan_node(p, N_JOIN, i, n->out, n->out, out);
    join->act = n->act;
    join->flags = n->flags & (CONV_RELU | CONV_LEAKY);
    return (i16)out;
}

/* how often nodes read tensor i, and the last that does */
static int plan_readers(const layout *p, int i, int *last)
{
    int n = 0;
    for (int j = 1; j < p->nodes; j++) {
        const net_node *r = &p->node[j];
        if (r->in != i && r->in2 != i) continue;
        n++;
        *last = j;
    }
    return n;
}

/* how many nodes write tensor i */
static int plan_writers(const layout *p, int i)
{
    int n = 0;
    for (int j = 1; j < p->nodes; j++) n += p->node[j].out == i;
    return n;
}

/* 1 when tensor i can live inside of the result of concat node j */
static int plan_joins(const layout *p, int i, int j)
{
    int last = 0;
    for (int k = 0; k < p->tensors; k++)
        if (p->tensor[k].of == i) return 0;
    plan_readers(p, i, &last);
    return i && last == j && p->tensor[i].of < 0 && p->tensor[i].kind <= TWICE;
}

/* Concatenations whose inputs can be written where they are wanted: not where
   a convolution adds to the result, which would change what others read. In
   training alone: in use the input that waits longest would hold up memory for
   the other. */
static void plan_concats(layout *p)
{
    for (int j = 1; j < p->nodes; j++) {
        net_node *n = &p->node[j];
        tensor *a = &p->tensor[n->in], *b = &p->tensor[n->in2];
        if (n->op != ATOMDL_CONCAT || n->in == n->in2
            || plan_writers(p, n->out) > 1 || !plan_joins(p, n->in, j)
            || !plan_joins(p, n->in2, j))
            continue;
        a->kind = b->kind = PLAIN;
        a->of = b->of = n->out;
        b->at = a->c;
        a->row = b->row = p->tensor[n->out].row;
        n->flags = CONV_IN_PLACE;
    }
}

/* in + in2 right behind the convolution that makes one of them: its kernel
   adds its sums to the other, which nobody else reads. */
static void plan_adds(layout *p)
{
    int k, last;
    for (int j = 2; j < p->nodes; j++) {
        net_node *n = &p->node[j], *c = n - 1;
        if (n->op != ATOMDL_ADD || c->op != ATOMDL_CONV
            || c->flags & ~CONV_TILED
            || (n->in != c->out && n->in2 != c->out) || n->in == n->in2)
            continue;
        int other = n->in == c->out ? n->in2 : n->in;
        for (k = j - 2; k > 0 && p->node[k].out != other; k--) {}
        if (k <= 0 || p->node[k].act >= 0 || p->node[k].op == ATOMDL_UPNEAREST
            || plan_readers(p, other, &last) != 1
            || plan_readers(p, c->out, &last) != 1)
            continue;
        p->node[k].out = c->out = n->out;
        c->flags |= CONV_ADD;
        n->in = n->in2 = n->out;
        n->flags = CONV_IN_PLACE;
    }
}

/* What goes by tiles is made in pairs of rows; where weights are many, there
   are enough rows to each reading of them. */
static void plan_groups(layout *p)
{
    for (int j = 1; j < p->nodes; j++) {
        const net_node *n = &p->node[j];
        tensor *t = &p->tensor[n->out];
        int most = p->tensor[n->in].c * t->c < MANY_PRODUCTS ? 2 : 8;
        int rows = least_int(whole_parts(4 * TILES_LEAST / t->w, 2), most);
        int conv = n->op == ATOMDL_CONV && (n->flags & CONV_TILED || most > 2);
        if (conv && rows > t->least) t->least = (u8)rows;
        int pairs = n->op == N_JOIN || n->flags & CONV_TILED;
        if (pairs && t->least < 2) t->least = 2;
    }
}

/* Whether ints count the rows of all tensors, and the floats of each. */
static int plan_fits(const atomdl_arch *arch, const int *channels,
                     const int *level, int h, int w)
{
    for (int i = -1; i < arch->rows; i++) {
        u64 c = (u64)of_row(channels, i, arch->channels);
        u64 y = at_level(h, of_row(level, i, 0));
        u64 x = at_level(w, of_row(level, i, 0));
        if (y > MAX_SIZE || x > MAX_SIZE || c * (x + 3 * ROW_MARGIN) > MAX_ROW)
            return 0;
    }
    return 1;
}

/* Nodes and tensors of arch for h x w images. */
static int plan_build(layout *p, draft *d, const atomdl_arch *arch,
                      size_t values, int h, int w, int training)
{
    u8 uses[ATOMDL_ROWS] = {0};
    const atomdl_layer *l = arch->row;
    memset(p, 0, sizeof *p);
    p->arch = arch;
    p->tiled = values >= TILED_VALUES;
    p->node = d->node;
    p->tensor = d->tensor;
    int channels[ATOMDL_ROWS], level[ATOMDL_ROWS];
    atomdl_arch_shapes(channels, level, arch);
    if (!plan_fits(arch, channels, level, h, w)) return ATOMDL_ESHAPE;
    for (int i = 0; i < arch->rows; i++) {
        if (l[i].in >= 0 && uses[l[i].in] < 2) uses[l[i].in]++;
        if (l[i].in2 >= 0 && l[i].in2 != l[i].in && uses[l[i].in2] < 2)
            uses[l[i].in2]++;
    }
    i16 map[ATOMDL_ROWS + 1];
    map[0] = plan_tensor(p, arch->channels, h, w, PLAIN);
    plan_node(p, N_INPUT, -1, 0, 0, 0);
    int j;
    for (int i = 0; i < arch->rows; i = j) {
        j = i + 1;
        if (l[i].op == ATOMDL_DROPOUT && (!training || l[i].p == 0)) {
            map[i + 1] = map[l[i].in + 1];
            continue;
        }
        net_node *n = plan_row(p, i, map, channels[i],
                               (int)at_level(h, level[i]),
                               (int)at_level(w, level[i]));
        map[i + 1] = n->out;
        if (n->op != ATOMDL_CONV && n->op != ATOMDL_BATCHNORM) continue;
        for (; j < arch->rows && l[j].in == j - 1 && uses[j - 1] == 1
               && plan_absorb(n, &l[j], j, training);
             j++)
            map[j + 1] = n->out;
        if (l[i].op != ATOMDL_DECONV) continue;
        i16 out = plan_join(p, i, n);
        for (int k = i; k < j; k++) map[k + 1] = out;
    }
    plan_adds(p);
    if (training) plan_concats(p);
    plan_groups(p);
    return ATOMDL_OK;
}

/* Moves the finished draft into memory, which plan_room has taken. */
static void plan_settle(layout *p, unsigned char *memory)
{
    size_t nodes = (size_t)p->nodes * sizeof *p->node;
    size_t tensors = (size_t)p->tensors * sizeof *p->tensor;
    p->tensor = memcpy(memory, p->tensor, tensors);
    p->node = memcpy(memory + p->tensors * TENSOR_BYTES, p->node, nodes);
}

static unsigned char *plan_room(const layout *p, atomdl_arena *arena)
{
    return atomdl_alloc(arena, (size_t)(p->tensors * TENSOR_BYTES
                                        + p->nodes * NODE_BYTES), 1);
}

/* Row y of t (any y): channels pitch apart; zeros outside. */
static float *tensor_row(const tensor *t, float *zeros, int y)
{
    if (y < 0 || y >= t->h) return zeros;
    if (t->kind == PHASES)
        return t->x + y / 2 * (ptrdiff_t)t->row + y % 2 * (t->c / 2 * t->pitch);
    if (t->kind == TWICE) y >>= 1;
    return t->x + (size_t)(y % t->ring) * (size_t)t->row;
}

/* Input rows [*low, *high) that node n needs for its output rows [y0, y1). */
static void rows_needed(const layout *p, const net_node *n, int y0, int y1,
                        int *low, int *high)
{
    const atomdl_layer *l = n->row < 0 ? NULL : &p->arch->row[n->row];
    *low = y0;
    *high = y1;
    if (n->op == ATOMDL_CONV && l->op == ATOMDL_DECONV) {
        *low = y0 - 1;
    } else if (n->op == ATOMDL_CONV) {
        int pad = l->dilation * (l->k - 1) / 2;
        *low = y0 * l->stride - pad;
        *high = (y1 - 1) * l->stride + pad + 1;
    } else if (n->op == ATOMDL_MAXPOOL) {
        *low = 2 * y0;
        *high = 2 * y1;
    } else if (n->op == ATOMDL_UPNEAREST || n->op == N_JOIN) {
        *low = y0 / 2;
        *high = (y1 + 1) / 2;
    } else if (n->op == ATOMDL_UPLINEAR) {
        *low = (y0 - 1) >> 1;
        *high = y1 / 2 + 1;
    }
    if (*low < 0) *low = 0;
    if (*high > p->tensor[n->in].h) *high = p->tensor[n->in].h;
}

static tensor *whole_tensor(layout *p, int i)
{
    return &p->tensor[p->tensor[i].of < 0 ? i : p->tensor[i].of];
}

/* Rows at a time of tensor t when the result comes in bands of p->band. */
static int chunk_of(const layout *p, const tensor *t)
{
    int rows = (int)((i64)p->band * t->h / p->tensor[0].h);
    return whole_parts(most_int(rows, 1), t->least);
}

/* Makes the ring of tensor i large enough to reach row y: it holds from the
   first row that any reader still wants, of it or of what it is a part of. */
static void plan_keep(layout *p, int i, int y)
{
    tensor *t = whole_tensor(p, i);
    int low = t->h, first, high;
    for (int j = 1; j < p->nodes; j++) {
        const net_node *n = &p->node[j];
        const tensor *o = &p->tensor[n->out];
        for (int k = 0; k < 2 && o->done < o->h; k++) {
            if (whole_tensor(p, k ? n->in2 : n->in) != t) continue;
            rows_needed(p, n, o->done, o->done + 1, &first, &high);
            if (first < low) low = first;
        }
    }
    if (p->tensor[i].done < low) low = p->tensor[i].done; /* written at once */
    for (int k = 0; k < p->tensors; k++)
        if (k != i && whole_tensor(p, k) == t && p->tensor[k].done > y)
            y = p->tensor[k].done;
    int rows = t->kind == TWICE ? (y - low) / 2 + 1 : y - low;
    if (rows > t->ring) t->ring = rows;
}

/* Computes tensor i up to row high, a chunk at a time, after as much of its
   inputs as that takes. net NULL: only sizes the rings. */
static void pull_tensor(layout *p, atomdl_net *net, int i, int high)
{
    tensor *t = &p->tensor[i];
    int chunk = chunk_of(p, t);
    high = least_int(whole_parts(high, t->least), t->h);
    int low, need;
    while (t->done < high) {
        int y = least_int(t->done + chunk, high);
        for (int j = 0; j < p->nodes; j++) {
            const net_node *n = &p->node[j];
            if (n->out != i) continue;
            rows_needed(p, n, t->done, y, &low, &need);
            if (n->in != i) pull_tensor(p, net, n->in, need);
            if (n->in2 != i) pull_tensor(p, net, n->in2, need);
            if (net && !(n->flags & CONV_IN_PLACE))
                node_forward(net, j, t->done, y);
        }
        if (!net) plan_keep(p, i, y);
        t->done = y;
    }
}

/* Rows of the result up to y1; first: from the first one on. */
static void pull_rows(layout *p, atomdl_net *net, int first, int y1)
{
    for (int i = 0; i < p->tensors && first; i++) p->tensor[i].done = 0;
    pull_tensor(p, net, p->node[p->nodes - 1].out, y1);
}

/* Ring sizes for bands of the given height, by running the schedule dry;
   returns the bytes that move through memory beyond a cache, as a guide. */
static u64 plan_rings(layout *p, int band, u64 weights)
{
    int h = p->tensor[0].h, rows = band;
    p->band = band;
    for (int i = 0; i < p->tensors; i++) {
        tensor *t = &p->tensor[i];
        t->ring = 1;
        if (t->least > 2)
            rows = most_int(rows, (int)((i64)t->least * h / t->h));
    }
    u64 moved = weights * (u64)((h + rows - 1) / rows);
    pull_rows(p, NULL, 1, h);
    for (int i = 0; i < p->tensors; i++) {
        tensor *t = &p->tensor[i];
        u64 row = (u64)t->c * (u64)t->pitch * 4;
        t->ring = whole_tensor(p, i)->ring;
        if (row * (u64)t->ring > 1 << 18) moved += 2 * row * (u64)t->h;
    }
    return moved;
}

/* The band height that moves the least, but twice the memory has to save an
   eighth. Several threads want more rows; weights that a cache keeps, few.
   Weights come in one stream and cost an eighth of what rows do: weights is an
   eighth of their bytes. */
static void plan_band(layout *p, int band, int stride, int threads,
                      u64 weights)
{
    int h = p->tensor[0].h, best = band;
    u64 least = (u64)-1;
    int b = weights > 1 << 14 ? stride : (stride + 3) / 4;
    if (threads > 1) b = 4 * threads * stride;
    for (; band <= 0; b *= 2) {
        u64 moved = plan_rings(p, b, weights);
        if (moved < least - least / 8) {
            least = moved;
            best = b;
        }
        if (b >= h) break;
    }
    plan_rings(p, best, weights);
}

/* a b + more items; too many for a size_t: so many that no arena has them */
static size_t item_count(u64 a, u64 b, size_t more)
{
    u64 n = times_capped(a, b);
    return n < (size_t)-1 / 4 ? (size_t)n + more : (size_t)-1 / 2;
}

/* Memory for rows rows of tensor t, zero margins before and slack behind. */
static void tensor_memory(tensor *t, u64 rows, atomdl_arena *arena)
{
    size_t n = item_count(rows, (u64)t->row, ROW_MARGIN + ROW_SLACK);
    float *x = atomdl_alloc(arena, n, sizeof *x);
    if (!x) return;
    memset(x, 0, n * sizeof *x);
    t->x = x + ROW_MARGIN;
}

/* Memory for all tensors, n images each; parts share that of the whole, and
   the last node writes to the caller's planes. */
static void plan_memory(layout *p, int n, atomdl_arena *arena)
{
    for (int i = 0; i < p->tensors; i++) {
        tensor *t = &p->tensor[i];
        if (t->of < 0 && i != p->node[p->nodes - 1].out)
            tensor_memory(t, (u64)n * (u64)t->ring, arena);
    }
    for (int i = 0; i < p->tensors; i++) {
        tensor *t = &p->tensor[i];
        if (t->of >= 0 && p->tensor[t->of].x)
            t->x = p->tensor[t->of].x + t->at * t->pitch;
    }
}

/* ---------- Execution: convolutions --------------------------------------- */

/* A convolution's stored weights: packed, then bias, scale, shift (co). */
typedef struct {
    float *packed, *bias, *scale, *shift;
} conv_filter;

static int filter_side(const atomdl_layer *l)
{
    return l->op == ATOMDL_DECONV ? 3 : l->k;
}

/* A transposed 3 x 3 convolution is four of 2 x 2, 2 x 1, 1 x 2 and 1 weights:
   the outputs of even and odd rows and columns, as channels one after another.
   Zeros between inputs are not multiplied. */
static int is_transposed(const layout *p, const net_node *n)
{
    return n->op == ATOMDL_CONV && p->arch->row[n->row].op == ATOMDL_DECONV;
}

static int phases_of(const layout *p, const net_node *n)
{
    return is_transposed(p, n) ? DECONV_PHASES : 1;
}

/* Output channels of the filter of node n. */
static int filter_channels(const layout *p, const net_node *n)
{
    return p->tensor[n->out].c / phases_of(p, n);
}

/* Rows or columns of the kernel of even (0) and odd (1) ones. */
static int phase_side(int odd)
{
    return odd ? 1 : 2;
}

/* How the values v of node n's weights, or their gradient, are stored; of a
   transposed one those of a phase: of taps 0 and 2, or of tap 1. */
static stored_weights weights_of(const layout *p, const net_node *n,
                                 const float *v, int phase)
{
    int co = filter_channels(p, n), ci = p->tensor[n->in].c;
    int k = filter_side(&p->arch->row[n->row]);
    stored_weights w = {v, 0, (ptrdiff_t)k * k * ci, (ptrdiff_t)k * ci, ci, 1,
                        co, ci, k, k * k};
    if (!is_transposed(p, n)) return w;
    int y = phase / 2, x = phase % 2;
    w.first = y * w.down + x * w.right;
    w.down *= 2;
    w.right *= 2;
    w.kw = phase_side(x);
    w.taps = w.kw * phase_side(y);
    return w;
}

/* packed <- the filter of node n from its values v, bias (co) <- its biases */
static void filter_pack(float *packed, float *bias, const layout *p,
                        const net_node *n, const float *v)
{
    stored_weights w = weights_of(p, n, v, 0);
    memcpy(bias, v + w.co * w.out, (size_t)w.co * sizeof *v);
    if (n->flags & CONV_TILED) {
        tile_pack(packed, &w);
        return;
    }
    for (int i = 0; i < phases_of(p, n); i++) {
        w = weights_of(p, n, v, i);
        conv_pack(packed, &w);
        packed += filter_floats(w.co, w.ci, w.taps);
    }
}

#ifndef ATOMDL_NO_TRAIN
/* packed <- that of the input gradient: channels exchanged and taps reversed
   (of a transposed convolution: as they are) */
static void filter_pack_back(float *packed, const layout *p, const net_node *n,
                             const float *v)
{
    int co = filter_channels(p, n), ci = p->tensor[n->in].c;
    int k = filter_side(&p->arch->row[n->row]);
    stored_weights w = {v, 0, 1, (ptrdiff_t)k * ci, ci, (ptrdiff_t)k * k * ci,
                        ci, co, k, k * k};
    if (!is_transposed(p, n)) {
        w.first = (k * k - 1) * w.right;
        w.down = -w.down;
        w.right = -w.right;
    }
    if (n->flags & CONV_TILED) tile_pack(packed, &w);
    else conv_pack(packed, &w);
}
#endif

/* Floats of the filter of node n, packed either way. */
static size_t packed_floats(const layout *p, const net_node *n, int back)
{
    int co = filter_channels(p, n), ci = p->tensor[n->in].c;
    int k = n->flags & CONV_TILED ? 4 : filter_side(&p->arch->row[n->row]);
    return back ? filter_floats(ci, co, k * k) : filter_floats(co, ci, k * k);
}

/* Fills the job of node n: w wide output, columns read at off[] (k). */
static void conv_job(struct atomdl_conv *c, int *off, const layout *p,
                     const net_node *n, const conv_filter *f)
{
    const atomdl_layer *l = &p->arch->row[n->row];
    const tensor *in = &p->tensor[n->in], *out = &p->tensor[n->out];
    int k = filter_side(l), pad = l->dilation * (k - 1) / 2;
    for (int i = 0; i < k; i++) {
        int x = i * l->dilation - pad;
        if (in->kind == HALVES)
            x = (x & 1 ? in->pitch / 2 : 0) + (x - (x & 1)) / 2;
        off[i] = x;
    }
    *c = (struct atomdl_conv){
        .w = out->w, .ci = in->c, .co = filter_channels(p, n), .k = k, .kw = k,
        .step = in->kind == HALVES ? 2 : 1, .top = -pad, .dil = l->dilation,
        .flags = n->flags, .pitch_in = in->pitch, .pitch_out = out->pitch,
        .off = off, .weight = f->packed, .bias = f->bias, .scale = f->scale,
        .shift = f->shift,
        .slope = n->act < 0 ? 0 : p->arch->row[n->act].p};
}

/* Turns the job of a transposed convolution into that of its next phase:
   out[2y + odd] is the sum of w[k] in[y - k / 2] over k = 0 and 2, or 1.
   off (2); returns the part of out, a tensor of all phases. */
static tensor phase_job(struct atomdl_conv *c, int *off, const tensor *out,
                        int phase)
{
    tensor part = *out;
    if (phase) c->weight += filter_floats(c->co, c->ci, c->k * c->kw);
    c->k = phase_side(phase / 2);
    c->kw = phase_side(phase % 2);
    c->dil = -1;
    c->top = 1 - c->k;
    off[0] = 0;
    off[1] = -1;
    part.x += phase * c->co * part.pitch;
    return part;
}

enum { CHUNK_ROWS = 64, MAX_REACH = 2 * CHUNK_ROWS + 32 };

/* Rows of output at a time, so that their input stays in a cache. */
static int chunk_rows(const struct atomdl_conv *c)
{
    int rows = 131072 / (c->ci * c->pitch_in) / c->step;
    return rows < 1 ? 1 : rows > CHUNK_ROWS ? CHUNK_ROWS : rows;
}

/* Rows from the first that a kernel reads to the last; which is its row 0. */
static int conv_reach(const struct atomdl_conv *c)
{
    return (c->k - 1) * (c->dil < 0 ? -c->dil : c->dil);
}

static int conv_first(const struct atomdl_conv *c)
{
    return c->dil < 0 ? conv_reach(c) : 0;
}

/* Floats between lines of n tiles. */
static int tile_pitch(int n)
{
    return (n + 15) / 16 * 16;
}

/* Most tiles at a time, so that their input stays in a cache. */
static int tiles_most(int ci)
{
    int n = TILE_FLOATS / ci / 16 * 16;
    return n < TILES_LEAST ? TILES_LEAST : n > TILES_MOST ? TILES_MOST : n;
}

/* Floats that n tiles of ci channels take while they are worked on. */
static size_t tile_room(int ci, int n)
{
    return TILE_PLACES
               * (size_t)(tile_step(ci, n) + (ptrdiff_t)CONV_BLOCK * n) + 16;
}

/* Tiles from column x on of some rows from y on, both counted in pixels. */
typedef struct { int x, y, rows, n; } tile_patch;

static void conv_patch(const atomdl_kernels *k, const struct atomdl_conv *c,
                       const tensor *out, const tensor *in, float *zeros,
                       const tile_patch *at)
{
    int all = (at->rows + 1) / 2 * at->n, pitch = tile_pitch(all);
    const float *from[4];
    for (int y = 0; y < at->rows; y += 2) {
        for (int i = 0; i < 4; i++)
            from[i] = tensor_row(in, zeros, at->y + y + i + c->top) + at->x;
        k->tiles_in(c, c->room + y / 2 * at->n, from, at->n, pitch);
    }
    float *to[2 * TILES_MOST];
    for (int y = 0; y < at->rows; y++)
        to[y] = tensor_row(out, NULL, at->y + y) + at->x;
    k->tiles_out(c, to, at->rows, at->n, pitch);
}

/* As conv_rows; y0 is even. Narrow rows of tiles go several at a time. */
static void conv_tiles(const atomdl_kernels *k, const struct atomdl_conv *c,
                       const tensor *out, const tensor *in, float *zeros,
                       int y0, int y1)
{
    int wide = (c->w + 1) / 2, most = least_int(tiles_most(c->ci), c->tiles);
    int rows = 2 * most_int(most / wide, 1);
    for (int y = y0; y < y1; y += rows) {
        tile_patch at = {0, y, least_int(y1 - y, rows), 0};
        for (; at.x < c->w; at.x += 2 * at.n) {
            at.n = least_int(wide - at.x / 2, most);
            conv_patch(k, c, out, in, zeros, &at);
        }
        for (int i = 0; i < at.rows; i++)
            conv_gap(c, tensor_row(out, NULL, y + i), 0, c->co);
    }
}

/* Output rows [y0, y1) of job c: row y reads input rows from top + y step. */
static void conv_rows(const atomdl_kernels *k, const struct atomdl_conv *c,
                      const tensor *out, const tensor *in, float *zeros,
                      int y0, int y1)
{
    const float *from[MAX_REACH];
    float *to[CHUNK_ROWS];
    int n, chunk = chunk_rows(c);
    if (c->flags & CONV_TILED) {
        conv_tiles(k, c, out, in, zeros, y0, y1);
        return;
    }
    for (int y = y0; y < y1; y += n) {
        n = y1 - y < chunk ? y1 - y : chunk;
        for (int i = 0; i < n; i++) to[i] = tensor_row(out, NULL, y + i);
        for (int i = 0; i < (n - 1) * c->step + conv_reach(c) + 1; i++)
            from[i] = tensor_row(in, zeros, y * c->step + c->top + i);
        k->conv(c, to, from + conv_first(c), n);
    }
}

/* ---------- Execution: operators forward ----------------------------------

   Each computes output rows [y0, y1) of one node, row by row; out and in are
   tensors, x one channel of one row. Margins behind w stay zero. */

/* Where a run takes its image from, and which rows of the result it keeps. */
typedef struct {
    const float *image; /* planes, or NULL: */
    atomdl_row_reader *read;
    void *user;
    float *prob;        /* planes of rows first ... first + rows - 1 */
    int first, rows;
} in_out;

typedef struct {
    const layout *p;
    const net_node *n;
    const tensor *in, *in2, *out;
    float *zeros;             /* a row of zeros, as wide as any */
    const atomdl_kernels *k;
    const conv_filter *f;
    const in_out *io;         /* for N_INPUT, softmax and sigmoid */
    float *room;              /* for tiles, so many at a time */
    int tiles;
} work;

static const float *in_row(const work *w, int y)
{
    return tensor_row(w->in, w->zeros, y);
}

static float *out_row(const work *w, int y)
{
    return tensor_row(w->out, w->zeros, y);
}

static void input_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->out;
    for (int y = y0; y < y1; y++)
        for (int c = 0; c < t->c; c++) {
            float *row = out_row(w, y) + c * t->pitch;
            if (w->io->read) w->io->read(row, c, y, w->io->user);
            else memcpy(row, w->io->image + ((size_t)c * (size_t)t->h
                                             + (size_t)y) * (size_t)t->w,
                        (size_t)t->w * sizeof(float));
        }
}

/* Row y of plane c of the result. */
static float *result_row(const work *w, int c, int y)
{
    return w->io->prob + ((size_t)c * (size_t)w->io->rows
                          + (size_t)(y - w->io->first)) * (size_t)w->in->w;
}

static void conv_forward(const work *w, int y0, int y1)
{
    struct atomdl_conv c;
    int off[ATOMDL_SIDE];
    conv_job(&c, off, w->p, w->n, w->f);
    c.room = w->room;
    c.tiles = w->tiles;
    for (int i = 0, phases = phases_of(w->p, w->n); i < phases; i++) {
        tensor to = phases > 1 ? phase_job(&c, off, w->out, i) : *w->out;
        conv_rows(w->k, &c, &to, w->in, w->zeros, y0, y1);
    }
}

/* y = act(x scale + shift), either part may be absent */
static void point_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->out;
    int flags = w->n->flags;
    float slope = w->n->act < 0 ? 0 : w->p->arch->row[w->n->act].p;
    for (int y = y0; y < y1; y++)
        for (int c = 0; c < t->c; c++) {
            const float *x = in_row(w, y) + c * w->in->pitch;
            float *o = out_row(w, y) + c * t->pitch, s = 1, b = 0;
            if (flags & CONV_AFFINE_FIRST) {
                s = w->f->scale[c];
                b = w->f->shift[c];
                for (int i = 0; i < t->w; i++) {
                    float v = x[i] * s;
                    o[i] = v + b;
                }
                x = o;
            }
            if (flags & CONV_RELU)
                for (int i = 0; i < t->w; i++) o[i] = x[i] > 0 ? x[i] : 0;
            if (flags & CONV_LEAKY)
                for (int i = 0; i < t->w; i++) {
                    float f = x[i] > 0 ? 1 : slope;
                    o[i] = x[i] * f;
                }
        }
}

static void maxpool_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->out;
    for (int y = y0; y < y1; y++)
        for (int c = 0; c < t->c; c++) {
            const float *a = in_row(w, 2 * y) + c * w->in->pitch;
            const float *b = in_row(w, 2 * y + 1) + c * w->in->pitch;
            float *o = out_row(w, y) + c * t->pitch;
            w->k->maxpool(o, a, b, t->w);
        }
}

/* Where a stored row stands for two, only columns are repeated. */
static void nearest_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->out;
    size_t row = (size_t)t->c * (size_t)t->pitch * sizeof(float);
    for (int y = y0; y < y1; y += 2) {
        for (int c = 0; c < t->c; c++) {
            const float *x = in_row(w, y / 2) + c * w->in->pitch;
            w->k->twice(out_row(w, y) + c * t->pitch, x, w->in->w);
        }
        if (t->kind == PLAIN) memcpy(out_row(w, y + 1), out_row(w, y), row);
    }
}

/* One row of twice the width: m = 3/4 near + 1/4 far row by row, then the same
   along columns, edges clamped; every product rounded. */
static void bilinear_row(float *o, const float *near, const float *far, int w)
{
    enum { PART = 32 };
    float m[PART + 2], even[PART], odd[PART];
    for (int i = 0; i < w; i += PART) {
        int n = w - i < PART ? w - i : PART;
        for (int j = 0; j < n + 2; j++) { /* columns i - 1 ... i + n */
            int at = clamp_index(i + j - 1, w);
            float a = near[at] * 0.75f, b = far[at] * 0.25f;
            m[j] = a + b;
        }
        for (int j = 0; j < n; j++) {
            float a = m[j + 1] * 0.75f, b = m[j] * 0.25f;
            float c = m[j + 2] * 0.25f;
            even[j] = a + b;
            odd[j] = a + c;
        }
        for (int j = 0; j < n; j++) {
            o[2 * (i + j)] = even[j];
            o[2 * (i + j) + 1] = odd[j];
        }
    }
}

static void bilinear_forward(const work *w, int y0, int y1)
{
    for (int y = y0; y < y1; y++) {
        const float *near = in_row(w, y / 2);
        int next = clamp_index(y & 1 ? y / 2 + 1 : y / 2 - 1, w->in->h);
        const float *far = in_row(w, next);
        for (int c = 0; c < w->out->c; c++)
            bilinear_row(out_row(w, y) + c * w->out->pitch,
                         near + c * w->in->pitch, far + c * w->in->pitch,
                         w->in->w);
    }
}

static void concat_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->out;
    size_t a = (size_t)w->in->c * (size_t)t->pitch;
    size_t b = (size_t)w->in2->c * (size_t)t->pitch;
    for (int y = y0; y < y1; y++) {
        memcpy(out_row(w, y), in_row(w, y), a * sizeof(float));
        memcpy(out_row(w, y) + a, tensor_row(w->in2, w->zeros, y),
               b * sizeof(float));
    }
}

static void add_forward(const work *w, int y0, int y1)
{
    size_t n = (size_t)w->out->c * (size_t)w->out->pitch;
    for (int y = y0; y < y1; y++) {
        const float *a = in_row(w, y), *b = tensor_row(w->in2, w->zeros, y);
        float *o = out_row(w, y);
        for (size_t i = 0; i < n; i++) o[i] = a[i] + b[i];
    }
}

/* even columns, then odd columns, each with its own margin */
static void split_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->out;
    int half = t->pitch / 2;
    for (int y = y0; y < y1; y++)
        for (int c = 0; c < t->c; c++) {
            const float *x = in_row(w, y) + c * w->in->pitch;
            float *o = out_row(w, y) + c * t->pitch;
            for (int i = 0; i < (t->w + 1) / 2; i++) {
                o[i] = x[2 * i];
                if (2 * i + 1 < t->w) o[half + i] = x[2 * i + 1];
            }
        }
}

/* the four phases of a transposed convolution, side by side */
static void join_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->out;
    for (int y = y0; y < y1; y++)
        for (int c = 0; c < t->c; c++) {
            const float *a = in_row(w, y / 2)
                             + (y % 2 * 2 * t->c + c) * w->in->pitch;
            const float *b = a + t->c * w->in->pitch;
            float *o = out_row(w, y) + c * t->pitch;
            for (int i = 0; i < w->in->w; i++) {
                o[2 * i] = a[i];
                o[2 * i + 1] = b[i];
            }
        }
}

/* p_c = exp(x_c - m) / sum over classes in order, m = the greatest x_c; the
   result goes to planes. */
static void softmax_forward(const work *w, int y0, int y1)
{
    enum { PART = 128 };
    const tensor *t = w->in;
    size_t plane = (size_t)w->io->rows * (size_t)t->w;
    float e[PART], m[PART], sum[PART];
    for (int y = y0; y < y1; y++)
        for (int i = 0; i < t->w; i += PART) {
            const float *x = in_row(w, y) + i;
            float *o = result_row(w, 0, y) + i;
            int n = t->w - i < PART ? t->w - i : PART;
            if (t->c == 2) {
                w->k->softmax(o, o + plane, x, x + t->pitch, n);
                continue;
            }
            memcpy(m, x, (size_t)n * sizeof *m);
            for (int c = 1; c < t->c; c++)
                for (int j = 0; j < n; j++) {
                    float v = x[c * t->pitch + j];
                    m[j] = v > m[j] ? v : m[j];
                }
            for (int c = 0; c < t->c; c++) {
                float *q = o + (size_t)c * plane;
                for (int j = 0; j < n; j++) e[j] = x[c * t->pitch + j] - m[j];
                w->k->exp(q, e, (size_t)n);
                for (int j = 0; j < n; j++) sum[j] = c ? sum[j] + q[j] : q[j];
            }
            for (int c = 0; c < t->c; c++)
                for (int j = 0; j < n; j++)
                    o[(size_t)c * plane + (size_t)j] /= sum[j];
        }
}

/* 1/(1 + exp(-x)), to planes */
static void sigmoid_forward(const work *w, int y0, int y1)
{
    const tensor *t = w->in;
    for (int y = y0; y < y1; y++)
        for (int c = 0; c < t->c; c++) {
            const float *x = in_row(w, y) + c * t->pitch;
            float *o = result_row(w, c, y);
            for (int i = 0; i < t->w; i++) o[i] = -x[i];
            w->k->exp(o, o, (size_t)t->w);
            for (int i = 0; i < t->w; i++) o[i] = 1 / (1 + o[i]);
        }
}

/* Nodes by their operator: w->out's rows [y0, y1) from rows_needed's of w->in.
   The plan leaves no node of the operators that have no row. */
static void (*const FORWARD[])(const work *w, int y0, int y1) = {
    [ATOMDL_CONV] = conv_forward, [ATOMDL_BATCHNORM] = point_forward,
    [ATOMDL_MAXPOOL] = maxpool_forward, [ATOMDL_UPNEAREST] = nearest_forward,
    [ATOMDL_UPLINEAR] = bilinear_forward, [ATOMDL_CONCAT] = concat_forward,
    [ATOMDL_ADD] = add_forward, [ATOMDL_SOFTMAX] = softmax_forward,
    [ATOMDL_SIGMOID] = sigmoid_forward, [N_INPUT] = input_forward,
    [N_POINT] = point_forward, [N_SPLIT] = split_forward,
    [N_JOIN] = join_forward
};

/* ---------- Networks in use ----------------------------------------------- */

struct atomdl_net {
    layout p;
    const atomdl_kernels *k;
    int threads, bad;      /* bad: a probability was NaN */
    int rooms;             /* of one thread each, or shared */
    float *zeros, *room;   /* room: for tiles */
    const in_out *io;      /* of the run under way */
    conv_filter *f;             /* of each node */
};

enum { NET_BYTES = 128, FILTER_BYTES = 32 };
typedef char net_fits[sizeof(struct atomdl_net) <= NET_BYTES
                      && sizeof(conv_filter) <= FILTER_BYTES ? 1 : -1];

static int thread_count(const atomdl_use *use)
{
    return threads_asked(use ? use->threads : 0);
}

/* offset(rows): where the values of each row that learns begin; returns the
   number of all values */
static size_t row_offsets(size_t *offset, const atomdl_arch *arch)
{
    atomdl_tensor t;
    memset(offset, 0, (size_t)arch->rows * sizeof *offset);
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++)
        if (t.kind == ATOMDL_WEIGHT || t.kind == ATOMDL_GAMMA)
            offset[t.row] = t.offset;
    return t.offset;
}

/* scale = gamma / sqrt(var + eps), shift = beta - mean scale */
static void fold_norm(float *scale, float *shift, const float *v, int c)
{
    for (int i = 0; i < c; i++) {
        float s = v[i] / atomdl_sqrtf(v[3 * c + i] + BN_EPS);
        float p = v[2 * c + i] * s;
        scale[i] = s;
        shift[i] = v[c + i] - p;
    }
}

/* The filter of node n, packed into the arena. */
static void filter_new(conv_filter *f, const layout *p, const net_node *n,
                       const float *values, const size_t *offset,
                       atomdl_arena *arena)
{
    int co = filter_channels(p, n), conv = n->op == ATOMDL_CONV;
    size_t packed = conv ? packed_floats(p, n, 0) : 0;
    memset(f, 0, sizeof *f);
    if (!conv && n->norm < 0) return;
    f->packed = atomdl_alloc(arena, packed + 3 * (size_t)co, sizeof(float));
    if (!f->packed) return;
    f->bias = f->packed + packed;
    f->scale = f->bias + co;
    f->shift = f->scale + co;
    if (conv) filter_pack(f->packed, f->bias, p, n, values + offset[n->row]);
    if (n->norm >= 0)
        fold_norm(f->scale, f->shift, values + offset[n->norm], co);
}

/* A row of zeros as wide as the widest of any tensor; when training, of any
   gradient that a stride of 2 stretches as well. */
static float *zeros_new(const layout *p, int training, atomdl_arena *arena)
{
    tensor t = {0};
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].row > t.row) t.row = p->tensor[i].row;
    for (int i = 0; training && i < p->nodes; i++) {
        const tensor *in = &p->tensor[p->node[i].in];
        int n = p->tensor[p->node[i].out].c * pitch_for(in->w);
        if (in->kind == HALVES && n > t.row) t.row = n;
    }
    tensor_memory(&t, 1, arena);
    return t.x;
}

/* Threads that wait for one another at every few rows lose more than they gain
   where a processor is busy with other work. From a second or so on, by the
   floats that the kernels take at once, they are asked all the same. */
static int net_threads(const atomdl_use *use, const atomdl_kernels *k, u64 macs)
{
#ifdef _OPENMP
    int lanes = kernels_bits(k) / 32, told = use && use->threads > 0;
    if (!told && macs >> 32 < (lanes > 1 ? (u64)lanes : 1)) return 1;
#else
    (void)k;
    (void)macs;
#endif
    return thread_count(use);
}

/* Floats for tiles, of the node that takes most. */
static size_t tiles_need(const layout *p)
{
    size_t most = 0, need;
    for (int i = 0; i < p->nodes; i++) {
        const net_node *n = &p->node[i];
        need = TILE_SHARES
               * tile_room(p->tensor[n->in].c, TILES_MOST / TILE_SHARES);
        if (n->flags & CONV_TILED && need > most) most = need;
    }
    return most;
}

/* The plan is made on the stack and moved into the arena once its size is
   known; a measuring run stops there. */
int atomdl_net_new(atomdl_net **out, const atomdl_arch *arch,
                   const float *values, int h, int w, const atomdl_use *use,
                   atomdl_arena *arena)
{
    atomdl_arch_info info;
    int status = atomdl_arch_check(&info, NULL, arch, h, w);
    *out = NULL;
    if (!status && !h) status = ATOMDL_EARG;
    if (!status) status = float_state();
    layout p;
    draft d;
    if (!status) status = plan_build(&p, &d, arch, info.values, h, w, 0);
    if (status) return status;
    size_t offset[ATOMDL_ROWS];
    row_offsets(offset, arch);
    plan_band(&p, use ? use->band : 0, info.stride, use ? use->threads : 0,
              info.values / 2);
    atomdl_net *net = atomdl_alloc(arena, 1, NET_BYTES);
    unsigned char *room = plan_room(&p, arena);
    conv_filter *f = atomdl_alloc(arena, (size_t)p.nodes, FILTER_BYTES);
    plan_memory(&p, 1, arena);
    float *zeros = zeros_new(&p, 0, arena);
    int rooms = use && use->threads > 1 ? (use->threads + 1) / 2 : 1;
    size_t all = item_count(tiles_need(&p), (u64)rooms, 0);
    float *tiles = atomdl_alloc(arena, all, sizeof *tiles);
    if (tiles) memset(tiles, 0, all * sizeof *tiles);
    conv_filter one;
    for (int i = 0; i < p.nodes; i++)
        filter_new(f ? &f[i] : &one, &p, &p.node[i], values, offset, arena);
    if (!net || arena->failed) return atomdl_arena_status(arena);
    plan_settle(&p, room);
    net->p = p;
    net->f = f;
    net->zeros = zeros;
    net->room = tiles;
    net->rooms = rooms;
    net->k = use && use->kernels ? use->kernels : atomdl_kernels_find(NULL);
    net->threads = net_threads(use, net->k, info.macs);
    *out = net;
    return ATOMDL_OK;
}

/* Computes output rows [y0, y1) of w; 1 when a probability is NaN. A softmax
   spreads one to all classes: its first plane tells. */
static int node_rows(const work *w, int y0, int y1)
{
    size_t wide = (size_t)w->in->w;
    int op = w->n->op, planes = op == ATOMDL_SIGMOID ? w->in->c : 1, bad = 0;
    FORWARD[op](w, y0, y1);
    if (op != ATOMDL_SIGMOID && op != ATOMDL_SOFTMAX) return 0;
    for (int c = 0; c < planes; c++) {
        const float *p = result_row(w, c, y0);
        for (size_t i = 0; i < (size_t)(y1 - y0) * wide; i++)
            bad |= p[i] != p[i];
    }
    return bad;
}

/* Rows [y0, y1) of node i, shared among threads by rows. */
static void node_forward(atomdl_net *net, int i, int y0, int y1)
{
    const net_node *n = &net->p.node[i];
    const tensor *x = net->p.tensor;
    int threads = net->threads, bad = 0;
    if (n->flags & CONV_TILED)
        threads = least_int(threads, TILE_SHARES * net->rooms);
    int part = (y1 - y0 + threads - 1) / threads;
    int tiles = TILES_MOST * net->rooms / threads / 16 * 16;
    const work w = {&net->p, n, &x[n->in], &x[n->in2], &x[n->out], net->zeros,
                    net->k, &net->f[i], net->io, net->room, tiles};
    size_t room = net->room ? tile_room(w.in->c, tiles) : 0;
    part += part & 1; /* stored rows may stand for two */
    if (threads == 1) { /* a team of one costs a microsecond */
        net->bad |= node_rows(&w, y0, y1);
        return;
    }
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) reduction(| : bad)
#endif
    for (int y = y0; y < y1; y += part) {
        work own = w;
        if (room) own.room += (size_t)((y - y0) / part) * room;
        bad |= node_rows(&own, y, y1 - y < part ? y1 : y + part);
    }
    net->bad |= bad;
}

static int net_rows(atomdl_net *net, const in_out *io)
{
    int status = float_state();
    if (status) return status;
    net->io = io;
    net->bad = 0;
    pull_rows(&net->p, net, !io->first, io->first + io->rows);
    return net->bad ? ATOMDL_ENAN : ATOMDL_OK;
}

int atomdl_net_run(atomdl_net *net, float *prob, const float *image)
{
    in_out io = {image, NULL, NULL, prob, 0, net->p.tensor[0].h};
    return net_rows(net, &io);
}

int atomdl_net_rows(atomdl_net *net, float *prob, int y0, int y1,
                    atomdl_row_reader *read, void *user)
{
    in_out io = {NULL, read, user, prob, y0, y1 - y0};
    const layout *p = &net->p;
    int h = p->tensor[0].h;
    if (y0 < 0 || y1 <= y0 || y1 > h || ((y1 - y0) % p->band && y1 < h)
        || (y0 && y0 != p->tensor[p->node[p->nodes - 1].out].done))
        return ATOMDL_EARG;
    return net_rows(net, &io);
}

/* Crop and its inverse are one function: beyond the edge it reflects. */
int atomdl_segment(atomdl_image *prob, const atomdl_image *image,
                   const atomdl_arch *arch, const float *values,
                   const atomdl_use *use, atomdl_arena *arena)
{
    size_t mark = arena->used;
    atomdl_arch_info info;
    int status = atomdl_arch_check(&info, NULL, arch, 0, 0);
    if (status) return status;
    if (image->c != arch->channels || prob->c != info.classes
        || prob->w != image->w || prob->h != image->h)
        return ATOMDL_ESHAPE;
    if (arena->base) status = atomdl_image_check(image);
    if (status) return status;
    int w = (image->w + info.stride - 1) / info.stride * info.stride;
    int h = (image->h + info.stride - 1) / info.stride * info.stride;
    atomdl_image in;
    status = atomdl_image_new(&in, w, h, image->c, arena);
    atomdl_image out;
    if (!status) status = atomdl_image_new(&out, w, h, prob->c, arena);
    atomdl_net *net;
    if (!status) status = atomdl_net_new(&net, arch, values, h, w, use, arena);
    if (!status && net) {
        status = atomdl_image_crop(&in, image, 0, 0);
        if (!status) status = atomdl_net_run(net, out.px, in.px);
        if (!status) status = atomdl_image_crop(prob, &out, 0, 0);
    }
    arena->used = mark;
    return status;
}

#ifndef ATOMDL_NO_TRAIN

/* ---------- Training: plan ------------------------------------------------ */

atomdl_plan atomdl_plan_default(void)
{
    return (atomdl_plan){
        .optimiser = ATOMDL_ADAM, .rate = 1e-3f, .momentum = 0.9f,
        .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f,
        .schedule = ATOMDL_COSINE, .steps = 1000, .warmup = 30, .every = 250,
        .factor = 0.5f, .bn_momentum = 0.1f,
        .loss = {.ce = 1, .gamma = 2, .smooth = 1}};
}

/* false for NaN too */
static int bounded(float x, float least, float most)
{
    return x >= least && x <= most;
}

/* One class stands for two: background and foreground. */
static int loss_classes(int classes)
{
    return classes == 1 ? 2 : classes;
}

/* The bounds keep every sum and slope finite while the logits are. */
static int loss_sound(const atomdl_loss *how, int classes)
{
    if (classes < 1 || classes > ATOMDL_CLASSES) return 0;
    for (int c = 0; c < loss_classes(classes); c++)
        if (!bounded(how->weight[c], 0, 1e9f)) return 0;
    return bounded(how->ce, 0, 1e9f) && bounded(how->focal, 0, 1e9f)
           && bounded(how->dice, 0, 1e9f)
           && (how->ce > 0 || how->focal > 0 || how->dice > 0)
           && bounded(how->gamma, 0, 100)
           && (how->smooth == 0 || bounded(how->smooth, 1e-30f, 1e9f));
}

int atomdl_plan_check(const atomdl_plan *p, int classes)
{
    const float under1 = 1 - 0x1p-24f; /* the greatest float below 1 */
    int sound = loss_sound(&p->loss, classes)
                && (p->optimiser == ATOMDL_SGD || p->optimiser == ATOMDL_ADAM)
                && bounded(p->rate, 0x1p-126f, 1e9f)
                && bounded(p->momentum, 0, under1)
                && bounded(p->beta1, 0, under1) && bounded(p->beta2, 0, under1)
                && bounded(p->eps, 1e-30f, 1) && bounded(p->decay, 0, 1e9f)
                && bounded(p->clip, 0, 1e30f) && p->steps > 0
                && p->warmup <= p->steps && p->schedule >= ATOMDL_CONSTANT
                && p->schedule <= ATOMDL_COSINE
                && (p->schedule != ATOMDL_STEP
                    || (p->every > 0 && bounded(p->factor, 0, 1)))
                && p->average <= p->steps && bounded(p->bn_momentum, 0, 1);
    return sound ? ATOMDL_OK : ATOMDL_EARG;
}

/* rate (i + 1)/warmup at first; then, with t steps since and T = steps -
   warmup: rate, rate factor^floor(t/every), or rate (1 + cos(pi t/T))/2.
   In binary64, rounded once. */
float atomdl_plan_rate(const atomdl_plan *plan, u32 i)
{
    double rate = (double)plan->rate, turn = 1;
    u32 total = plan->steps - plan->warmup;
    if (i < plan->warmup)
        return (float)(rate * (((double)i + 1) / (double)plan->warmup));
    u32 t = i - plan->warmup;
    if (plan->schedule == ATOMDL_STEP)
        rate = rate * atomdl_pow((double)plan->factor,
                                 (double)(t / plan->every));
    if (plan->schedule == ATOMDL_COSINE) {
        if (t < total) turn = (double)t / (double)total;
        rate = rate * ((1 + atomdl_cos(0x1.921fb54442d18p+1 * turn)) * 0.5);
    }
    return (float)rate;
}

/* ---------- Training: fresh weights --------------------------------------- */

/* w(n): He: normal, standard deviation sqrt(2/in). Glorot: uniform between
   +-sqrt(6/(in + out)). in, out = channels k k. */
static void init_weight(float *w, const atomdl_tensor *t, int deconv, int how,
                        atomdl_rng rng)
{
    float area = (float)(t->dim[2] * t->dim[3]);
    float in = (float)t->dim[!deconv] * area;
    float out = (float)t->dim[deconv] * area;
    float spread = atomdl_sqrtf(how == ATOMDL_HE ? 2 / in : 6 / (in + out));
    if (how == ATOMDL_HE) atomdl_rng_normal(&rng, w, t->count);
    else
        for (size_t i = 0; i < t->count; i++)
            w[i] = 2 * atomdl_rng_uniform(&rng) - 1; /* exact */
    for (size_t i = 0; i < t->count; i++) w[i] = w[i] * spread;
}

void atomdl_arch_init(float *values, const atomdl_arch *arch, u64 seed, int how)
{
    atomdl_rng root = atomdl_rng_seed(seed);
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++) {
        float *v = values + t.offset;
        float fill = t.kind == ATOMDL_GAMMA || t.kind == ATOMDL_VAR ? 1 : 0;
        if (t.kind == ATOMDL_WEIGHT)
            init_weight(v, &t, arch->row[t.row].op == ATOMDL_DECONV, how,
                        atomdl_rng_split(&root, (u64)i));
        else
            for (size_t k = 0; k < t.count; k++) v[k] = fill;
    }
}

/* ---------- Training: loss ------------------------------------------------

   With p_y the probability of a pixel's label, q = 1 - p_y, l = -log p_y,
   s_c = w_c / sum w_y and r = q^(gamma - 1), a pixel's term is
       s_y (ce + focal q r) l
   and its gradient h (p_c - [c = y]), since dp_y/dz_c = p_y ([c = y] - p_c):
       h = s_y (ce + focal (q r + gamma r l p_y)).
   Dice, D_c = (2 sum p y + smooth)/U_c, has the slopes by p_c
       miss_c + [c = y] step_c, miss_c = dice/classes D_c/U_c,
       step_c = -2 dice/classes/U_c,
   and reaches the logits by the Jacobian of the softmax. Both together:
       p_c (h - m + miss_c) + [c = y] (p_y step_y - h),
       m = p_y step_y + sum p_c miss_c.
   One class is two, with logits 0 and z. An ignored pixel has all p = 0.

   Pixels are taken SPAN at a time, class after class, so that loops over them
   have a constant length; beyond the image's end they count as ignored. */

enum { SPAN = 64, TOGETHER = 16, LOSS_SUMS = 1 + 2 * ATOMDL_CLASSES };

typedef struct { /* what all pixels of a batch share */
    const atomdl_kernels *kernels;
    int threads;
    size_t count[256];              /* pixels of each label */
    size_t pixels, planes, classes; /* planes of the logits; classes or 1 */
    int logs;                       /* whether l is needed */
    float ce, focal, gamma, dice;
    float share[ATOMDL_CLASSES], miss[ATOMDL_CLASSES], step[ATOMDL_CLASSES];
} loss_job;

typedef struct {
    float p[ATOMDL_CLASSES * SPAN]; /* (classes, SPAN) */
    float l[SPAN], slope[SPAN], own[SPAN]; /* l, h, p_y step_y */
    u32 y[SPAN];
} loss_span;

/* a where the pixel's label is c, else 0: compilers see no branch */
static float where_label(u32 y, u32 c, float a)
{
    return atomdl_float(atomdl_bits(a) & (0 - (u32)(y == c)));
}

/* Of the span's m pixels; a length that the compiler knows is inline. */
static void span_copy(float *to, const float *from, size_t m)
{
    if (m == SPAN) memcpy(to, from, SPAN * sizeof *to);
    else memcpy(to, from, m * sizeof *to);
}

/* p (classes, SPAN) <- exp; of two classes one is exp(0) = 1. */
static void loss_exp(float *p, const loss_job *job)
{
    float *q = p + SPAN;
    if (job->classes != 2) {
        job->kernels->exp(p, p, job->classes * SPAN);
        return;
    }
    float low[SPAN];
    for (int i = 0; i < SPAN; i++) low[i] = p[i] < q[i] ? p[i] : q[i];
    job->kernels->exp(low, low, SPAN);
    for (int i = 0; i < SPAN; i++) p[i] = p[i] == 0 ? 1 : low[i];
    for (int i = 0; i < SPAN; i++) q[i] = q[i] == 0 ? 1 : low[i];
}

/* The span's m pixels: z (planes, pixels), label (m). p = exp(z - max)/sum,
   classes in order; l = log(sum) - (z_y - max). */
static void loss_load(loss_span *b, const loss_job *job, const float *z,
                      const u8 *label, size_t m)
{
    size_t n = job->classes * SPAN, first = job->classes - job->planes;
    float *p = b->p;
    memset(p, 0, n * sizeof *p);
    for (size_t c = 0; c < job->planes; c++) {
        const float *from = z + c * job->pixels;
        float *to = p + (first + c) * SPAN;
        span_copy(to, from, m);
    }
    for (size_t i = 0; i < SPAN; i++)
        b->y[i] = i < m ? label[i] : ATOMDL_IGNORE;
    float sum[SPAN];
    for (size_t i = 0; i < SPAN; i++) {
        sum[i] = where_label(b->y[i], ATOMDL_IGNORE, (float)infinity64(0));
        b->l[i] = 0;
    }
    for (size_t c = 0; c < n; c += SPAN)
        for (size_t i = 0; i < SPAN; i++)
            p[c + i] = where_label(b->y[i] == ATOMDL_IGNORE, 0, p[c + i]);
    float top[SPAN];
    memcpy(top, p, sizeof top);
    for (size_t c = SPAN; c < n; c += SPAN)
        for (size_t i = 0; i < SPAN; i++)
            top[i] = p[c + i] > top[i] ? p[c + i] : top[i];
    for (size_t c = 0; c < n; c += SPAN)
        for (size_t i = 0; i < SPAN; i++) {
            p[c + i] = p[c + i] - top[i];
            b->l[i] = b->l[i] + where_label(b->y[i], (u32)(c / SPAN), p[c + i]);
        }
    loss_exp(p, job);
    for (size_t c = 0; c < n; c += SPAN)
        for (size_t i = 0; i < SPAN; i++) sum[i] = sum[i] + p[c + i];
    for (size_t c = 0; c < n; c += SPAN)
        for (size_t i = 0; i < SPAN; i++) p[c + i] = p[c + i] / sum[i];
    if (!job->logs) return;
    for (size_t i = 0; i < SPAN; i++) /* log 1 for what is ignored */
        sum[i] = where_label(b->y[i] == ATOMDL_IGNORE, 0, sum[i])
                 + where_label(b->y[i], ATOMDL_IGNORE, 1);
    job->kernels->log(sum, sum, SPAN);
    for (size_t i = 0; i < SPAN; i++) b->l[i] = sum[i] - b->l[i];
}

/* f, h (SPAN) <- the focal factors of the term and of its gradient */
static void loss_focal(float *f, float *h, const float *py,
                       const loss_span *b, const loss_job *job)
{
    for (size_t i = 0; i < SPAN; i++) {
        float q = 1 - py[i], r = q;
        if (q > 0 && job->gamma != 2)
            r = (float)atomdl_pow((double)q, (double)(job->gamma - 1));
        float t = q * r;
        f[i] = job->focal * t;
        f[i] = job->ce + f[i];
        t = t + job->gamma * r * b->l[i] * py[i];
        t = job->focal * t;
        h[i] = job->ce + t;
    }
}

/* lane (16) += a (SPAN) */
static void loss_lanes(float *lane, const float *a)
{
    float all[LANES];
    memcpy(all, lane, sizeof all);
    for (size_t i = 0; i < SPAN; i += LANES)
        for (size_t k = 0; k < LANES; k++) all[k] = all[k] + a[i + k];
    memcpy(lane, all, sizeof all);
}

/* slope, own; adds to the sums in lanes: row 0 terms; for Dice 1 + 2c p where c
   is the label, 2 + 2c p. Pixel i of an image goes to lane i mod 16. */
static void loss_add(float (*lane)[LANES], loss_span *b, const loss_job *job)
{
    float py[SPAN] = {0}, share[SPAN] = {0};
    for (size_t i = 0; i < SPAN; i++) b->own[i] = 0;
    float of[SPAN];
    for (u32 c = 0; c < (u32)job->classes; c++) {
        const float *p = b->p + c * SPAN;
        float s = job->share[c], step = job->step[c];
        for (size_t i = 0; i < SPAN; i++) {
            float own = step * p[i];
            of[i] = where_label(b->y[i], c, p[i]);
            py[i] = py[i] + of[i];
            share[i] = share[i] + where_label(b->y[i], c, s);
            b->own[i] = b->own[i] + where_label(b->y[i], c, own);
        }
        if (!(job->dice > 0)) continue;
        loss_lanes(lane[1 + 2 * c], of);
        loss_lanes(lane[2 + 2 * c], p);
    }
    float f[SPAN], h[SPAN];
    for (size_t i = 0; i < SPAN; i++) f[i] = h[i] = job->ce;
    if (job->focal > 0) loss_focal(f, h, py, b, job);
    for (size_t i = 0; i < SPAN; i++) {
        b->slope[i] = share[i] * h[i];
        share[i] = share[i] * b->l[i];
        share[i] = share[i] * f[i];
    }
    loss_lanes(lane[0], share);
}

/* d (planes, pixels) <- the gradient for the span's m pixels */
static void loss_slope(float *d, const loss_span *b, const loss_job *job,
                       size_t m)
{
    float base[SPAN];
    memcpy(base, b->own, sizeof base);
    for (u32 c = 0; c < (u32)job->classes; c++) {
        const float *p = b->p + c * SPAN;
        float miss = job->miss[c];
        for (int i = 0; i < SPAN; i++) {
            float t = p[i] * miss;
            base[i] = base[i] + t;
        }
    }
    float own[SPAN];
    for (int i = 0; i < SPAN; i++) {
        base[i] = b->slope[i] - base[i];
        own[i] = b->own[i] - b->slope[i];
    }
    float out[SPAN];
    for (u32 c = (u32)(job->classes - job->planes); c < (u32)job->classes;
         c++) {
        const float *p = b->p + c * SPAN;
        float miss = job->miss[c];
        for (int i = 0; i < SPAN; i++) {
            float t = p[i] * (base[i] + miss);
            out[i] = t + where_label(b->y[i], c, own[i]);
        }
        span_copy(d, out, m);
        d += job->pixels;
    }
}

/* One image: sum (LOSS_SUMS), d (planes, pixels) or NULL. */
static void loss_image(float *sum, float *d, const loss_job *job,
                       const float *z, const u8 *label)
{
    float lane[LOSS_SUMS][LANES];
    memset(lane, 0, sizeof lane);
    loss_span b;
    for (size_t at = 0; at < job->pixels; at += SPAN) {
        size_t m = job->pixels - at < SPAN ? job->pixels - at : SPAN;
        loss_load(&b, job, z + at, label + at, m);
        loss_add(lane, &b, job);
        if (d) loss_slope(d + at, &b, job, m);
    }
    for (size_t i = 0; i < LOSS_SUMS; i++) sum[i] = lane_tree(lane[i]);
}

/* n images: sum (LOSS_SUMS) += theirs in order; threads take images. */
static void loss_batch(float *sum, float *d, const loss_job *job,
                       const float *z, const u8 *label, int n)
{
    size_t image = job->pixels * job->planes;
    float part[TOGETHER][LOSS_SUMS];
    int most;
    for (int at = 0; at < n; at += TOGETHER) {
        most = n - at < TOGETHER ? n - at : TOGETHER;
#ifdef _OPENMP
#pragma omp parallel for num_threads(job->threads) if (job->threads > 1)
#endif
        for (int j = 0; j < most; j++) {
            size_t k = (size_t)(at + j);
            loss_image(part[j], d ? d + k * image : NULL, job, z + k * image,
                       label + k * job->pixels);
        }
        for (int j = 0; j < most; j++)
            for (int i = 0; i < LOSS_SUMS; i++) sum[i] = sum[i] + part[j][i];
    }
}

/* The loss of n images: counts their labels, exactly, and from them the shares
   w_c / sum w_y with sum w_y = sum of w_c count_c, classes in order. */
static int loss_new(loss_job *job, const atomdl_loss *how,
                    const atomdl_loss_input *in, int threads)
{
    float total = 0, any = 0;
    const u8 *label = in->label;
    size_t part[4][256] = {{0}};
    if (in->n < 1 || in->pixels < 1 || !loss_sound(how, in->classes))
        return ATOMDL_EARG;
    if (float_state()) return ATOMDL_EFLOAT;
    *job = (loss_job){
        .kernels = in->kernels ? in->kernels : atomdl_kernels_find(NULL),
        .threads = threads, .pixels = (size_t)in->pixels,
        .planes = (size_t)in->classes,
        .classes = (size_t)loss_classes(in->classes),
        .logs = how->ce > 0 || how->focal > 0, .ce = how->ce,
        .focal = how->focal, .gamma = how->gamma, .dice = how->dice};
    for (size_t i = 0; i < (size_t)in->n * job->pixels; i++)
        part[i % 4][label[i]]++; /* equal neighbours would wait */
    for (size_t i = 0; i < 256; i++)
        job->count[i] = part[0][i] + part[1][i] + part[2][i] + part[3][i];
    for (size_t i = job->classes; i < ATOMDL_IGNORE; i++)
        if (job->count[i]) return ATOMDL_EARG;
    for (size_t i = 0; i < job->classes; i++)
        any = how->weight[i] > any ? how->weight[i] : any;
    for (size_t i = 0; i < job->classes; i++) {
        job->share[i] = any > 0 ? how->weight[i] : 1;
        float t = job->share[i] * (float)job->count[i];
        total = total + t;
    }
    for (size_t i = 0; i < job->classes; i++)
        job->share[i] = total > 0 ? job->share[i] / total : 0;
    return ATOMDL_OK;
}

/* The Dice term; sets its slopes. A class without mass is perfect. */
static float loss_dice(loss_job *job, const float *sum, float smooth)
{
    float n = (float)job->classes, mean = 0;
    for (size_t c = 0; c < job->classes; c++) {
        float u = sum[2 + 2 * c] + (float)job->count[c] + smooth;
        float d = u == 0 ? 1 : (2 * sum[1 + 2 * c] + smooth) / u;
        mean = mean + d;
        if (u == 0) continue;
        job->miss[c] = job->dice / n * d / u;
        job->step[c] = job->count[c] ? job->dice / n * -2 / u : 0;
    }
    return job->dice * (1 - mean / n);
}

/* The loss, from the sums of all images; with Dice, its slopes from then on. */
static int loss_total(float *loss, loss_job *job, const float *sum,
                      float smooth)
{
    *loss = sum[0] + (job->dice > 0 ? loss_dice(job, sum, smooth) : 0);
    if (job->dice > 0) job->logs = job->focal > 0;
    return not_finite((double)*loss) ? ATOMDL_ENAN : ATOMDL_OK;
}

int atomdl_loss_eval(float *loss, float *dlogits, const atomdl_loss_input *in,
                     const atomdl_loss *how)
{
    float sum[LOSS_SUMS] = {0}, *now = how->dice > 0 ? NULL : dlogits;
    loss_job job;
    int status = loss_new(&job, how, in, thread_count(NULL));
    if (status) return status;
    loss_batch(sum, now, &job, in->logits, in->label, in->n);
    status = loss_total(loss, &job, sum, how->smooth);
    if (!status && dlogits && !now)
        loss_batch(sum, dlogits, &job, in->logits, in->label, in->n);
    return status;
}

/* ---------- Training: optimisers ------------------------------------------ */

static size_t value_count(const atomdl_arch *arch)
{
    size_t offset[ATOMDL_ROWS];
    return row_offsets(offset, arch);
}

static int is_learned(const atomdl_tensor *t)
{
    return t->kind != ATOMDL_MEAN && t->kind != ATOMDL_VAR;
}

int atomdl_state_new(atomdl_state *state, const atomdl_arch *arch,
                     const atomdl_plan *plan, atomdl_arena *arena)
{
    size_t n = value_count(arch);
    float **field[] = {&state->first, &state->second, &state->sum};
    memset(state, 0, sizeof *state);
    state->power1 = state->power2 = 1;
    for (int i = 0; i < (plan->average ? 3 : 2); i++) {
        *field[i] = atomdl_alloc(arena, n, sizeof **field[i]);
        if (*field[i]) memset(*field[i], 0, n * sizeof **field[i]);
    }
    return atomdl_arena_status(arena);
}

typedef struct { /* one tensor's step */
    size_t n;
    float *w, *m, *v;    /* (n) values, moments */
    const float *g;      /* (n) gradient, to be scaled by: */
    float scale, rate;
} weight_step;

/* m = momentum m + g; w = w - rate m */
static void sgd(const weight_step *s, const atomdl_plan *plan)
{
    float *w = s->w, *m = s->m;
    for (size_t i = 0; i < s->n; i++) {
        float old = plan->momentum * m[i], fresh = s->scale * s->g[i];
        m[i] = old + fresh;
        float move = s->rate * m[i];
        w[i] = w[i] - move;
    }
}

/* m = b1 m + (1 - b1) g; v = b2 v + ((1 - b2) g) g;
   w = w - (rate/(1 - b1^t)) (m / (sqrt(v)/sqrt(1 - b2^t) + eps)) */
static void adam(const weight_step *s, const atomdl_plan *plan,
                 const atomdl_state *state)
{
    float *w = s->w, *m = s->m, *v = s->v, eps = plan->eps, scale = s->scale;
    float a = 1 - plan->beta1, b = 1 - plan->beta2;
    float beta1 = plan->beta1, beta2 = plan->beta2;
    float size = s->rate / (1 - state->power1);
    float root = atomdl_sqrtf(1 - state->power2);
    for (size_t i = 0; i < s->n; i++) {
        float x = scale * s->g[i], old = beta1 * m[i], fresh = a * x;
        m[i] = old + fresh;
        old = beta2 * v[i];
        fresh = b * x * x;
        v[i] = old + fresh;
        float d = atomdl_sqrtf(v[i]) / root + eps;
        d = size * (m[i] / d);
        w[i] = w[i] - d;
    }
}

/* a(n) = a + x b */
static void add_scaled(float *a, float x, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float t = x * b[i];
        a[i] = a[i] + t;
    }
}

/* the number of weights in state->sum: one for each step past the first
   steps - average */
static u32 averaged_steps(const atomdl_state *state, const atomdl_plan *plan)
{
    u32 from = plan->steps - plan->average;
    return state->sum && state->step > from ? state->step - from : 0;
}

/* Norm: each learned tensor's sum of squares by promise 3, tensors in order.
   It is infinite or NaN when a gradient is, or exceeds 1.8e19. */
int atomdl_update(float *values, const float *gradient, float *norm,
                  atomdl_state *state, const atomdl_arch *arch,
                  const atomdl_plan *plan)
{
    float square = 0, scale = 1;
    if (float_state()) return ATOMDL_EFLOAT;
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++)
        if (is_learned(&t))
            square += atomdl_dot(gradient + t.offset, gradient + t.offset,
                                 t.count);
    if (not_finite((double)square)) return ATOMDL_ENAN;
    float length = atomdl_sqrtf(square);
    if (norm) *norm = length;
    if (plan->clip > 0 && length > plan->clip) scale = plan->clip / length;
    float rate = atomdl_plan_rate(plan, state->step++);
    float shrink = rate * plan->decay;
    state->power1 = state->power1 * plan->beta1;
    state->power2 = state->power2 * plan->beta2;
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++) {
        float *w = values + t.offset;
        weight_step s = {t.count, w, state->first + t.offset,
                         state->second + t.offset, gradient + t.offset, scale,
                         rate};
        if (!is_learned(&t)) continue;
        if (t.kind == ATOMDL_WEIGHT && shrink > 0)
            add_scaled(w, -shrink, w, t.count);
        if (plan->optimiser == ATOMDL_SGD) sgd(&s, plan);
        else adam(&s, plan, state);
        if (averaged_steps(state, plan))
            add_scaled(state->sum + t.offset, 1, w, t.count);
    }
    return ATOMDL_OK;
}

void atomdl_state_average(float *out, const float *values,
                          const atomdl_state *state, const atomdl_arch *arch,
                          const atomdl_plan *plan)
{
    u32 count = averaged_steps(state, plan);
    memmove(out, values, value_count(arch) * sizeof *out);
    if (!count || state->step < plan->steps) return;
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++)
        for (size_t k = t.offset; is_learned(&t) && k < t.offset + t.count; k++)
            out[k] = state->sum[k] / (float)count;
}

/* ---------- Training: memory ----------------------------------------------

   A team of images goes through the network together: all of a batch where a
   batch normalisation needs them, else one a thread, so that an image comes
   back through tensors that are still in a cache. Every row of every tensor is
   kept. A tensor's gradient (plain rows, zero margins) is set by the first node
   that reaches it on the way back, added to by the others, in that order, and
   gone once the node that made the tensor has seen it: gradients share a pool.

   A segment is the nodes from the first, or a batch normalisation, up to the
   next; between segments all images wait. Segments share memory for filters
   and for the sums of an image. */

typedef struct { /* what a node has in training */
    conv_filter f;         /* its filter; batchnorm: scale, shift */
    float *back;      /* convolution: the filter of the input gradient */
    float *stat;      /* batchnorm: mean, 1/deviation (2, c) */
    size_t part;      /* where its sums are among those of an image */
    i16 mask;         /* the node whose activation the gradient that it gives
                         passes at once, or -1 */
    u8 masked;        /* its own gradient has passed its activation */
    u8 adds, adds2;   /* in's, in2's gradient has been set by others */
} learner;

struct atomdl_trainer {
    layout p;
    int n, team, threads;  /* images of a batch, at a time; threads */
    const atomdl_kernels *k;
    size_t offset[ATOMDL_ROWS];
    float *zeros;
    float *g[MAX_TENSORS];    /* (h, c, pitch) gradient of each tensor */
    size_t pool_size;         /* floats from an image's gradients to the next */
    learner *of;              /* (nodes) */
    float *part;              /* (team, part_size) */
    float *scratch;           /* (team, scratch): lanes, rows */
    size_t part_size, scratch_size;
    const float **rows;       /* (team, row_count) row pointers */
    size_t row_count, values; /* values: floats of the whole network */
    float *logits, *dlogits;  /* (n, ...), (team, classes, h, w) */
};

enum { TRAINER_BYTES = 7168, LEARNER_BYTES = 72, POINTER = 8 };
typedef char trainer_fits[sizeof(struct atomdl_trainer) <= TRAINER_BYTES
                          && sizeof(learner) <= LEARNER_BYTES ? 1 : -1];

/* the logits' tensor */
static int trainer_logits(const atomdl_trainer *t)
{
    return t->p.node[t->p.nodes - 1].in;
}

static size_t tensor_floats(const tensor *t)
{
    return (size_t)t->ring * (size_t)t->row;
}

/* floats of one image's gradient: all rows, plain; and with its margins */
static size_t gradient_floats(const tensor *t)
{
    return (size_t)t->h * (size_t)t->row;
}

static u64 gradient_size(const tensor *t)
{
    return (u64)t->h * (u64)t->row + ROW_MARGIN + ROW_SLACK;
}

/* the node behind the segment that node i begins */
static int segment_end(const layout *p, int i)
{
    do i++;
    while (i < p->nodes && p->node[i].op != ATOMDL_BATCHNORM);
    return i;
}

typedef struct { /* what images and segments ask of shared memory [items] */
    u64 part, scratch, filters, rows;
} trainer_need;

static void need_most(u64 *most, u64 n)
{
    if (n > *most) *most = n;
}

/* Node i takes its part of the memory that the nodes of a segment share, from
   memory[at] on; of (may be NULL) is told where that is. */
static void learner_place(learner *of, const layout *p, int i, float *memory,
                          trainer_need *at)
{
    const net_node *n = &p->node[i];
    int co = filter_channels(p, n), ci = p->tensor[n->in].c;
    if (of) of->part = (size_t)at->part;
    if (n->op == ATOMDL_BATCHNORM) {
        if (of) of->f.scale = memory + at->filters;
        if (of) of->f.shift = of->f.scale + co;
        at->filters += 2 * (u64)co;
        at->part += 2 * (u64)co;
    }
    if (n->op != ATOMDL_CONV) return;
    int k = filter_side(&p->arch->row[n->row]);
    size_t there = packed_floats(p, n, 0), back = packed_floats(p, n, 1);
    if (of) of->f.packed = memory + at->filters;
    if (of) of->back = of->f.packed + there;
    if (of) of->f.bias = of->back + back;
    at->filters += (u64)there + back + (u64)co;
    at->part += (u64)co * (u64)(k * k * ci + 1);
}

/* The same of all nodes; returns what the largest segment takes. */
static trainer_need learners_place(learner *of, const layout *p, float *memory)
{
    trainer_need most = {0, 0, 0, 0};
    for (int a = 0, b; a < p->nodes; a = b) {
        trainer_need at = {0, 0, 0, 0};
        b = segment_end(p, a);
        for (int i = a; i < b; i++)
            learner_place(of ? &of[i] : NULL, p, i, memory, &at);
        need_most(&most.filters, at.filters);
        need_most(&most.part, at.part);
    }
    return most;
}

static trainer_need trainer_sizes(const layout *p)
{
    trainer_need most = learners_place(NULL, p, NULL);
    for (int i = 1; i < p->nodes; i++) {
        const net_node *n = &p->node[i];
        const tensor *in = &p->tensor[n->in], *out = &p->tensor[n->out];
        u64 co = (u64)out->c, ci = (u64)in->c;
        need_most(&most.scratch, times_capped(2 * ci, (u64)in->pitch));
        need_most(&most.scratch, 2 * LANES * co);
        if (n->op != ATOMDL_CONV) continue;
        need_most(&most.scratch, WGRAD_LANES);
        if (n->flags & CONV_TILED) {
            need_most(&most.scratch, tile_room((int)ci, TILES_MOST));
            need_most(&most.scratch, tile_room((int)co, TILES_MOST));
        }
        need_most(&most.rows, (u64)out->h + (u64)in->h + 2 * ROW_MARGIN);
        if (in->kind == HALVES) /* the gradient with zeros between, and rows */
            need_most(&most.scratch,
                      times_capped(co * (u64)in->h, (u64)pitch_for(in->w))
                          + ROW_MARGIN + ROW_SLACK);
    }
    most.scratch = (most.scratch + 15) / 16 * 16;
    return most;
}

typedef struct { /* the gradients of an image */
    i16 low[MAX_TENSORS], high[MAX_TENSORS]; /* nodes, see gradient_life */
    u64 at[MAX_TENSORS], size;               /* [floats] */
} pool;

/* The tensor that node i gives its input's gradient to: not to halves. */
static int gives_to(const layout *p, int i)
{
    int in = p->node[i].in;
    return p->tensor[in].kind == HALVES ? p->node[i - 1].in : in;
}

/* Notes that node j's way back touches the gradient of tensor i. */
static void gradient_life(pool *g, layout *p, int i, int j)
{
    i = (int)(whole_tensor(p, i) - p->tensor);
    if (g->high[i] < j) g->high[i] = (i16)j;
    if (g->low[i] > j) g->low[i] = (i16)j;
}

/* Puts every gradient at the lowest place that no other one holds which lives
   at the same time. */
static void pool_new(pool *g, layout *p)
{
    int last = p->nodes - 1;
    for (int i = 0; i < p->tensors; i++) g->low[i] = (i16)last, g->high[i] = -1;
    gradient_life(g, p, p->node[last].in, last);
    for (int j = 1; j < last; j++) {
        const net_node *n = &p->node[j];
        int conv = n->op == ATOMDL_CONV, to = gives_to(p, j);
        if (n->op == N_SPLIT) continue; /* the convolution behind it gives */
        gradient_life(g, p, n->out, j);
        if (to || !conv) gradient_life(g, p, to, j);
        if (!conv) gradient_life(g, p, n->in2, j);
    }
    g->size = 0;
    for (int i = 0; i < p->tensors; i++) {
        u64 size = gradient_size(&p->tensor[i]);
        g->at[i] = 0;
        for (int j = 0; j < i && g->high[i] >= 0; j++) {
            if (g->high[j] < g->low[i] || g->high[i] < g->low[j]
                || g->at[j] + gradient_size(&p->tensor[j]) <= g->at[i]
                || g->at[i] + size <= g->at[j])
                continue;
            g->at[i] = g->at[j] + gradient_size(&p->tensor[j]);
            j = -1;
        }
        if (g->high[i] >= 0 && g->at[i] + size > g->size)
            g->size = g->at[i] + size;
    }
}

static float *alloc_floats(atomdl_arena *arena, u64 count, u64 each)
{
    return atomdl_alloc(arena, item_count(count, each, 0), sizeof(float));
}

/* Everything that a trainer keeps, in one order, so that the measuring run
   (t NULL) asks for the same. */
static void trainer_memory(atomdl_trainer *t, layout *p, int n, int team,
                           atomdl_arena *arena)
{
    const tensor *logits = &p->tensor[p->node[p->nodes - 1].in];
    trainer_need need = trainer_sizes(p);
    u64 images = (u64)team, planes = (u64)logits->c * (u64)logits->h;
    atomdl_trainer none, *to = t ? t : &none;
    pool g;
    pool_new(&g, p);
    plan_memory(p, team, arena);
    float *room = alloc_floats(arena, images, g.size);
    to->of = atomdl_alloc(arena, (size_t)p->nodes, LEARNER_BYTES);
    if (to->of) memset(to->of, 0, (size_t)p->nodes * sizeof *to->of);
    for (int i = 0; i < p->nodes; i++) {
        size_t c = (size_t)p->tensor[p->node[i].out].c;
        if (p->node[i].op != ATOMDL_BATCHNORM) continue;
        float *stat = atomdl_alloc(arena, 2 * c, sizeof *stat);
        if (to->of) to->of[i].stat = stat;
    }
    to->zeros = zeros_new(p, 1, arena);
    float *filters = alloc_floats(arena, need.filters, 1);
    to->part = alloc_floats(arena, images, need.part);
    to->scratch = alloc_floats(arena, images, need.scratch);
    to->rows = atomdl_alloc(arena, item_count(images, need.rows, 0), POINTER);
    to->logits = alloc_floats(arena, (u64)n * planes, (u64)logits->w);
    to->dlogits = alloc_floats(arena, images * planes, (u64)logits->w);
    if (!t || arena->failed) return;
    for (int i = 0; i < p->tensors; i++) {
        const tensor *x = &p->tensor[i];
        int w = (int)(whole_tensor(p, i) - p->tensor);
        if (g.high[w] >= 0)
            t->g[i] = room + g.at[w] + ROW_MARGIN + (w != i) * x->at * x->pitch;
    }
    learners_place(t->of, p, filters);
    t->pool_size = (size_t)g.size;
    t->part_size = (size_t)need.part;
    t->scratch_size = (size_t)need.scratch;
    t->row_count = (size_t)need.rows;
}

/* The node whose activation the gradient that node `index` gives has yet to
   pass, when no other node gives to it afterwards; else -1. */
static i16 mask_after(const layout *p, int index)
{
    int made = -1, in = p->node[index].in;
    for (int j = 0; j < p->tensors; j++)
        if (p->tensor[j].of == in || p->tensor[in].of >= 0) return -1;
    for (int j = 1; j < index; j++) {
        const net_node *n = &p->node[j];
        if (n->in == in || n->in2 == in || (n->out == in && made >= 0))
            return -1;
        if (n->out == in) made = j;
    }
    return (i16)(made >= 0 && p->node[made].act >= 0 ? made : -1);
}

/* Walks the way back once, to know who sets a gradient and who adds to it. */
static void trainer_walk(atomdl_trainer *t)
{
    enum { SET = 1, SET_MASKED = 3 };
    const layout *p = &t->p;
    u8 set[MAX_TENSORS] = {0};
    set[trainer_logits(t)] = SET;
    for (int i = p->nodes - 2; i > 0; i--) {
        const net_node *n = &p->node[i];
        learner *of = &t->of[i];
        int in = gives_to(p, i);
        of->mask = -1;
        if (n->op == N_SPLIT) continue;
        if (n->op != ATOMDL_CONV && n->op != N_POINT && n->op != ATOMDL_ADD
            && n->op != ATOMDL_CONCAT && n->op != N_JOIN)
            of->mask = mask_after(p, i);
        of->masked = set[n->out] == SET_MASKED;
        of->adds = set[in];
        of->adds2 = set[n->in2] || n->in2 == n->in;
        if (n->flags & CONV_IN_PLACE)
            set[n->in] = set[n->in2] = set[n->out];
        else if (n->op == ATOMDL_CONV)
            set[in] = SET;
        else
            set[n->in] = set[n->in2] = of->mask >= 0 || n->op == N_JOIN
                                           ? SET_MASKED : SET;
    }
}

/* As atomdl_net_new, with every row of every tensor kept. */
int atomdl_trainer_new(atomdl_trainer **out, const atomdl_arch *arch, int n,
                       int h, int w, const atomdl_use *use, atomdl_arena *arena)
{
    atomdl_arch_info info;
    int status = atomdl_arch_check(&info, NULL, arch, h, w);
    *out = NULL;
    if (!status && (!h || n < 1 || n > 65536)) status = ATOMDL_EARG;
    if (!status) status = float_state();
    if (!status && (u64)h * (u64)w > 1 << 30) status = ATOMDL_ESHAPE;
    layout p;
    draft d;
    if (!status) status = plan_build(&p, &d, arch, info.values, h, w, 1);
    if (status) return status;
    for (int i = 0; i < p.tensors; i++) {
        tensor *x = &p.tensor[i];
        x->ring = x->kind == TWICE ? x->h / 2 : x->h;
    }
    int norm = segment_end(&p, 0) < p.nodes;
    int team = norm || thread_count(use) > n ? n : thread_count(use);
    atomdl_trainer *t = atomdl_alloc(arena, 1, TRAINER_BYTES);
    if (t) memset(t, 0, sizeof *t);
    unsigned char *room = plan_room(&p, arena);
    trainer_memory(t, &p, n, team, arena);
    if (!t || arena->failed) return atomdl_arena_status(arena);
    plan_settle(&p, room);
    t->p = p;
    t->n = n;
    t->team = team;
    t->k = use && use->kernels ? use->kernels : atomdl_kernels_find(NULL);
    t->threads = thread_count(use);
    t->values = row_offsets(t->offset, arch);
    trainer_walk(t);
    *out = t;
    return ATOMDL_OK;
}

/* tensor i of image m; its gradient, plain */
static tensor image_view(const atomdl_trainer *t, int i, int m)
{
    tensor v = t->p.tensor[i];
    v.x += (size_t)m * tensor_floats(&v);
    return v;
}

static tensor gradient_view(const atomdl_trainer *t, int i, int m)
{
    tensor v = t->p.tensor[i];
    v.kind = PLAIN;
    v.ring = v.h;
    v.x = t->g[i] ? t->g[i] + (size_t)m * t->pool_size : NULL;
    return v;
}

/* Zeros the margins of a gradient that is about to be set, but for the gaps
   behind its channels: who sets these sees to that. */
static void gradient_open(const atomdl_trainer *t, int i, int m)
{
    tensor g = gradient_view(t, i, m);
    int used = g.c * g.pitch;
    memset(g.x - ROW_MARGIN, 0, ROW_MARGIN * sizeof *g.x);
    for (int y = 0; y < g.h && used < g.row; y++)
        memset(g.x + y * g.row + used, 0, (size_t)(g.row - used) * sizeof *g.x);
    memset(g.x + gradient_floats(&g), 0, ROW_SLACK * sizeof *g.x);
}

/* Channel c of row y, which is there. */
static float *tensor_line(const tensor *t, int y, int c)
{
    return tensor_row(t, NULL, y) + c * t->pitch;
}

static float *scratch_of(const atomdl_trainer *t, int m)
{
    return t->scratch + (size_t)m * t->scratch_size;
}

static float *part_of(const atomdl_trainer *t, int i, int m)
{
    return t->part + (size_t)m * t->part_size + t->of[i].part;
}

#ifdef _OPENMP
#define IMAGES_IN_PARALLEL \
    _Pragma("omp parallel for num_threads(t->threads) if (t->threads > 1)")
#else
#define IMAGES_IN_PARALLEL
#endif

/* to(n) = from, or += when something is there already (memmove: gcc turns a
   short memcpy into a slow string instruction) */
static void give_row(float *to, const float *from, size_t n, int already)
{
    if (already) sum_row(to, from, n);
    else memmove(to, from, n * sizeof *to);
}

/* ---------- Training: weight gradient of an image ------------------------- */

/* lanes (tile, m, 3, 16) <- the sums of the n weights of all. Rows come in
   bands that keep dy in a cache. */
static void conv_lanes(const atomdl_kernels *k, const struct atomdl_conv *c,
                       float *lanes, const struct atomdl_tile *all, int n)
{
    int band = 12288 / (CONV_BLOCK * c->pitch_out) + 1;
    for (int y = 0; y < all->ny; y += band)
        for (int i = 0; i < n; i += WGRAD_TAPS) {
            struct atomdl_tile t = *all;
            t.dy += y;
            t.in += y * c->step;
            t.ny = least_int(t.ny - y, band);
            t.tap += i;
            t.first = !y;
            k->wgrad(c, lanes + i / WGRAD_TAPS * WGRAD_TILE, &t);
        }
}

/* tap (ci, ky, kx) <- the weights of nc input channels from c0 on; the first
   fills up the last tile */
static void wgrad_taps(weight_tap *tap, const struct atomdl_conv *c,
                       int c0, int nc)
{
    int n = 0;
    for (int i = c0; i < c0 + nc; i++)
        for (int ky = 0; ky < c->k; ky++)
            for (int kx = 0; kx < c->kw; kx++, n++) {
                tap[n].row = ky * c->dil;
                tap[n].off = i * c->pitch_in + c->off[kx];
            }
    for (int i = 0; i < WGRAD_TAPS; i++) tap[n + i] = tap[0];
}

/* dw, stored like weights w, <- the gradient of one image, whose rows are
   given. A weight is 16 sums, one for each x mod 16, of rows in order, then the
   tree. The weights of some input channels, in the order ci, ky, kx, share the
   scratch lanes. */
static void conv_wgrad(const atomdl_kernels *k, const struct atomdl_conv *c,
                       float *dw, const stored_weights *w,
                       const struct atomdl_tile *rows, float *lanes)
{
    weight_tap tap[WGRAD_GROUP + WGRAD_TAPS];
    float sum[CONV_BLOCK * WGRAD_TAPS];
    struct atomdl_tile t = *rows;
    int kk = c->k * c->kw, most = WGRAD_GROUP / kk;
    t.tap = tap;
    for (int c0 = 0, nc; c0 < c->ci; c0 += nc) {
        nc = least_int(c->ci - c0, most);
        wgrad_taps(tap, c, c0, nc);
        for (t.o = 0; t.o < c->co; t.o += t.m) {
            t.m = conv_tile(CONV_BLOCK, c->co - t.o);
            conv_lanes(k, c, lanes, &t, nc * kk);
            for (int i = 0, j; i < nc * kk; i++) {
                float *d = dw + weight_place(w, t.o, i % kk, c0 + i / kk);
                int at = i % WGRAD_TAPS;
                if (!at)
                    k->trees(sum, lanes + i / WGRAD_TAPS * WGRAD_TILE,
                             t.m * WGRAD_TAPS);
                for (j = 0; j < t.m; j++, at += WGRAD_TAPS)
                    d[j * w->out] = sum[at];
            }
        }
    }
}

/* ---------- Training: convolution backward --------------------------------

   dy is masked by the activation first, here or where it was made: relu and
   leaky keep the sign, so the output tells it. */

/* d (n) <- x > 0 ? d : slope d, written so that compilers see no branch: a
   factor of 1 or slope; for relu a load and a store that are never skipped. */
static void mask_row(float *d, const float *x, int n, int relu, float slope)
{
    if (relu)
        for (int i = 0; i < n; i++) {
            float v = d[i];
            d[i] = x[i] > 0 ? v : 0;
        }
    else
        for (int i = 0; i < n; i++) {
            float f = x[i] > 0 ? 1 : slope;
            d[i] = d[i] * f;
        }
}

/* lane (16) += a (n), which zeros follow up to a multiple of 16 */
static void lanes_add(float *lane, const float *a, int n)
{
    float s[LANES];
    memcpy(s, lane, sizeof s);
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) s[l] = s[l] + a[i + l];
    memcpy(lane, s, sizeof s);
}

/* the same of a (x - mean) inv */
static void lanes_dot(float *lane, const float *a, const float *x, int n,
                      float mean, float inv)
{
    float s[LANES];
    memcpy(s, lane, sizeof s);
    for (int i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float d = (x[i + l] - mean) * inv, v = a[i + l] * d;
            s[l] = s[l] + v;
        }
    memcpy(lane, s, sizeof s);
}

/* For image m of node i: g <- act'(y) g; sum (c) <- its sums over channels,
   columns in 16 lanes, rows in order, tree; dot (c), of normalisations, <-
   those of g xhat. */
static void mask_gradient(const atomdl_trainer *t, int i, int m, float *sum,
                          float *dot)
{
    const net_node *n = &t->p.node[i];
    tensor g = gradient_view(t, n->out, m), y = image_view(t, n->out, m);
    tensor x = image_view(t, n->in, m);
    const float *mean = t->of[i].stat;
    float *lane = scratch_of(t, m), *more = lane + g.c * LANES;
    int mask = n->act >= 0 && !t->of[i].masked;
    float slope = n->act < 0 ? 0 : t->p.arch->row[n->act].p;
    memset(lane, 0, 2 * (size_t)(g.c * LANES) * sizeof *lane);
    for (int j = 0; j < g.h; j++)
        for (int c = 0; c < g.c; c++) { /* not the margins: others read them */
            float *a = tensor_line(&g, j, c);
            if (mask)
                mask_row(a, tensor_line(&y, j, c), g.w, n->flags & CONV_RELU,
                         slope);
            if (sum) lanes_add(lane + c * LANES, a, g.w);
            if (dot)
                lanes_dot(more + c * LANES, a, tensor_line(&x, j, c), g.w,
                          mean[c], mean[g.c + c]);
        }
    for (int c = 0; sum && c < g.c; c++) sum[c] = lane_tree(lane + c * LANES);
    for (int c = 0; dot && c < g.c; c++) dot[c] = lane_tree(more + c * LANES);
}

/* part of image m <- the sums of node i's weights; g: of one phase, if any */
static void wgrad_image(const atomdl_trainer *t, int i,
                        const struct atomdl_conv *c, const tensor *g, int m,
                        int phase)
{
    const net_node *n = &t->p.node[i];
    tensor in = image_view(t, n->in, m);
    const float **dy = t->rows + (size_t)m * t->row_count, **x = dy + g->h;
    for (int y = 0; y < g->h; y++) dy[y] = tensor_row(g, t->zeros, y);
    for (int y = 0; y < (g->h - 1) * c->step + conv_reach(c) + 1; y++)
        x[y] = tensor_row(&in, t->zeros, y + c->top);
    struct atomdl_tile rows = {dy, x + conv_first(c), g->h, 0, 0, 0, NULL};
    stored_weights w = weights_of(&t->p, n, NULL, phase);
    conv_wgrad(t->k, c, part_of(t, i, m), &w, &rows, scratch_of(t, m));
}

/* where the sums of node i's biases are, behind those of its weights */
static float *bias_part(const atomdl_trainer *t, int i, int m)
{
    const stored_weights w = weights_of(&t->p, &t->p.node[i], NULL, 0);
    return part_of(t, i, m) + w.co * w.out;
}

/* s (2h, 2w) <- g with zeros between, for a stride of 2 */
static tensor stretched(const tensor *g, const tensor *like, float *memory)
{
    tensor s = *like;
    s.c = g->c;
    s.kind = PLAIN;
    s.ring = s.h;
    s.pitch = pitch_for(s.w);
    s.row = s.c * s.pitch; /* scratch is sized for this */
    memset(memory, 0,
           (gradient_floats(&s) + ROW_MARGIN + ROW_SLACK) * sizeof *memory);
    s.x = memory + ROW_MARGIN;
    for (int y = 0; y < g->h; y++)
        for (int c = 0; c < g->c; c++)
            for (int i = 0; i < g->w; i++)
                tensor_line(&s, 2 * y, c)[2 * i] = tensor_line(g, y, c)[i];
    return s;
}

/* dx rows <- or += the gradient through the filter, image m */
static void conv_input_gradient(const atomdl_trainer *t, int i, int to,
                                const struct atomdl_conv *fwd, int m)
{
    const net_node *n = &t->p.node[i];
    const atomdl_layer *l = &t->p.arch->row[n->row];
    tensor g = gradient_view(t, n->out, m), dx = gradient_view(t, to, m);
    struct atomdl_conv c = *fwd;
    int off[ATOMDL_SIDE], k = filter_side(l), deconv = is_transposed(&t->p, n);
    int pad = deconv ? 0 : l->dilation * (k - 1) / 2;
    for (int j = 0; j < k; j++)
        off[j] = deconv ? j / 2 + j % 2 * c.co * g.pitch
                        : j * l->dilation - pad;
    if (deconv) { /* rows are two of the four phases each */
        g.kind = PHASES;
        g.h *= 2;
    }
    c.room = scratch_of(t, m);
    c.tiles = TILES_MOST;
    if (fwd->step == 2) g = stretched(&g, &dx, c.room);
    c.w = dx.w;
    c.ci = fwd->co;
    c.co = fwd->ci;
    c.k = c.kw = k;
    c.step = deconv ? 2 : 1;
    c.top = -pad;
    c.dil = deconv ? 1 : l->dilation;
    c.flags = (n->flags & CONV_TILED) | (t->of[i].adds ? CONV_ADD : 0);
    c.pitch_in = g.pitch;
    c.pitch_out = dx.pitch;
    c.off = off;
    c.weight = t->of[i].back;
    c.bias = t->zeros;
    conv_rows(t->k, &c, &dx, &g, t->zeros, 0, dx.h);
}

static void conv_backward(const atomdl_trainer *t, int i, int m)
{
    const net_node *n = &t->p.node[i];
    tensor g = gradient_view(t, n->out, m);
    struct atomdl_conv c;
    int off[ATOMDL_SIDE], to = gives_to(&t->p, i);
    conv_job(&c, off, &t->p, n, &t->of[i].f);
    int phases = phases_of(&t->p, n); /* of these, the join sees to the mask */
    if (phases == 1) mask_gradient(t, i, m, bias_part(t, i, m), NULL);
    for (int j = 0; j < phases; j++) {
        tensor from = phases > 1 ? phase_job(&c, off, &g, j) : g;
        wgrad_image(t, i, &c, &from, m, j);
    }
    if (!to) return;
    if (!t->of[i].adds) gradient_open(t, to, m);
    conv_input_gradient(t, i, to, &c, m);
}

/* ---------- Training: batch normalisation ---------------------------------

   mean and variance over images and pixels (sums as above, then / N);
   y = act((x - mean) inv gamma + beta), inv = 1/sqrt(var + eps).
   dx = gamma inv (g - sum g/N - xhat sum(g xhat)/N), xhat = (x - mean) inv */

/* Image m of a node on its way back. */
typedef struct {
    const atomdl_trainer *t;
    const net_node *n;
    const learner *of;
    int m;
    tensor g, dx, x;  /* gradients of output and input, the input */
    float *row;       /* scratch, two rows of the input */
} way_back;

static way_back back_new(const atomdl_trainer *t, int i, int m)
{
    const net_node *n = &t->p.node[i];
    way_back b = {t, n, &t->of[i], m, gradient_view(t, n->out, m),
                  gradient_view(t, n->in, m), image_view(t, n->in, m),
                  scratch_of(t, m)};
    return b;
}

/* Before the gradients of its inputs are set. */
static void back_open(const way_back *b)
{
    if (!b->of->adds) gradient_open(b->t, b->n->in, b->m);
    if (!b->of->adds2) gradient_open(b->t, b->n->in2, b->m);
}

/* Where to put the gradient of row y, channel c, for give: scratch, or where
   it belongs when nothing is there yet. */
static float *give_room(const way_back *b, float *scratch, int y, int c)
{
    return b->of->adds ? scratch : tensor_line(&b->dx, y, c);
}

/* The node whose activation the gradient has to pass now, or NULL. */
static const net_node *mask_of(const way_back *b)
{
    return b->of->mask < 0 ? NULL : &b->t->p.node[b->of->mask];
}

static void give_line(const way_back *b, const float *row, int y, int c,
                      int masked)
{
    const net_node *mask = masked ? mask_of(b) : NULL;
    float *d = tensor_line(&b->dx, y, c);
    if (row != d) sum_row(d, row, (size_t)b->dx.w);
    else gap_zero(d, b->dx.w, b->dx.pitch);
    if (mask)
        mask_row(d, tensor_line(&b->x, y, c), b->dx.w,
                 mask->flags & CONV_RELU, b->t->p.arch->row[mask->act].p);
}

/* out (c) <- of one image of x: sum over a channel of (x - mean)^2, or of x
   where mean is NULL; lane: (c, 16) of scratch */
static void channel_moments(float *out, const tensor *x, const float *mean,
                            float *lane)
{
    memset(lane, 0, (size_t)(x->c * LANES) * sizeof *lane);
    for (int y = 0; y < x->h; y++)
        for (int c = 0; c < x->c; c++) {
            const float *a = tensor_line(x, y, c);
            float s[LANES], q = mean ? mean[c] : 0;
            memcpy(s, lane + c * LANES, sizeof s);
            for (int i = 0; i < x->w; i += LANES) {
                int n = x->w - i < LANES ? x->w - i : LANES;
                for (int l = 0; l < n; l++) {
                    float d = a[i + l] - q, v = mean ? d * d : d;
                    s[l] = s[l] + v;
                }
            }
            memcpy(lane + c * LANES, s, sizeof s);
        }
    for (int c = 0; c < x->c; c++) out[c] = lane_tree(lane + c * LANES);
}

/* stat(c) <- the mean over the batch of a moment of node i's input */
static void batch_moment(const atomdl_trainer *t, float *stat, int i,
                         const float *mean)
{
    const tensor *x = &t->p.tensor[t->p.node[i].in];
    float count = (float)t->n * (float)x->h * (float)x->w;
    IMAGES_IN_PARALLEL
    for (int m = 0; m < t->n; m++) {
        tensor v = image_view(t, t->p.node[i].in, m);
        channel_moments(part_of(t, i, m), &v, mean, scratch_of(t, m));
    }
    for (int m = 0; m < t->n; m++)
        give_row(stat, part_of(t, i, m), (size_t)x->c, m);
    for (int c = 0; c < x->c; c++) stat[c] = stat[c] / count;
}

/* mean and variance of the batch to stat; scale and shift of node i */
static void norm_train(const atomdl_trainer *t, int i, const float *values)
{
    const net_node *n = &t->p.node[i];
    const conv_filter *f = &t->of[i].f;
    const float *v = values + t->offset[n->row];
    int channels = t->p.tensor[n->in].c;
    float *mean = t->of[i].stat, *var = mean + channels;
    batch_moment(t, mean, i, NULL);
    batch_moment(t, var, i, mean);
    for (int c = 0; c < channels; c++) {
        float inv = 1 / atomdl_sqrtf(var[c] + BN_EPS);
        f->scale[c] = v[c] * inv;
        float a = mean[c] * f->scale[c];
        f->shift[c] = v[channels + c] - a;
    }
}

/* Once the loss is sound: running statistics move towards the batch's, all or
   (ATOMDL_ENAN) none, and stat's variances become 1/deviation. */
static int norm_running(const atomdl_trainer *t, float *values, float momentum)
{
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < t->p.nodes; i++) {
            const net_node *n = &t->p.node[i];
            const tensor *x = &t->p.tensor[n->in];
            float count = (float)t->n * (float)x->h * (float)x->w;
            if (n->op != ATOMDL_BATCHNORM) continue;
            float *stat = t->of[i].stat;
            float *run = values + t->offset[n->row] + 2 * x->c;
            for (int c = 0; c < 2 * x->c; c++) {
                int biased = c >= x->c && count > 1;
                float v = biased ? stat[c] * count / (count - 1) : stat[c];
                v = (v - run[c]) * momentum;
                v = run[c] + v;
                if (not_finite((double)v)) return ATOMDL_ENAN;
                if (!pass) continue;
                run[c] = v;
                if (c >= x->c) stat[c] = 1 / atomdl_sqrtf(stat[c] + BN_EPS);
            }
        }
    return ATOMDL_OK;
}

/* dx of node i, from the sums over all images */
static void norm_backward(const atomdl_trainer *t, int i, int m,
                          const float *gamma, const float *sums)
{
    way_back way = back_new(t, i, m), *b = &way;
    const tensor *x = &b->x;
    const float *mean = b->of->stat, *inv = mean + x->c;
    float count = (float)b->t->n * (float)x->h * (float)x->w;
    back_open(b);
    for (int y = 0; y < x->h; y++)
        for (int c = 0; c < x->c; c++) {
            const float *a = tensor_line(x, y, c);
            const float *g = tensor_line(&b->g, y, c);
            float p = sums[c] / count, q = sums[x->c + c] / count;
            float s = gamma[c] * inv[c], *d_x = give_room(b, b->row, y, c);
            for (int j = 0; j < x->w; j++) {
                float h = a[j] - mean[c], d = g[j] - q;
                h = h * inv[c];
                h = h * p;
                d = d - h;
                d_x[j] = d * s;
            }
            give_line(b, d_x, y, c, 1);
        }
}

/* ---------- Training: the other operators backward ------------------------

   Each gives the gradient of its input(s) for one image: sets it when it is
   the first to do so, else adds. give_room and give_line see to that, and to
   the mask of the activation before: a new one writes each line of dx into
   give_room's and hands it to give_line, masked, as nearest_backward does. */

static void point_backward(const way_back *b)
{
    mask_gradient(b->t, (int)(b->n - b->t->p.node), b->m, NULL, NULL);
    for (int i = 0; i < b->g.h; i++)
        give_row(tensor_row(&b->dx, NULL, i), tensor_row(&b->g, NULL, i),
                 (size_t)b->g.c * (size_t)b->g.pitch, b->of->adds);
}

/* The gradient goes to the first greatest of the four, in reading order. Where
   nothing was before, the activation's mask needs that one alone. */
static void maxpool_backward(const way_back *b)
{
    const net_node *mask = b->of->adds ? NULL : mask_of(b);
    atomdl_pooling s = {NULL, NULL, NULL, NULL,
                               mask && mask->flags & CONV_RELU,
                               mask ? b->t->p.arch->row[mask->act].p : 1};
    for (int y = 0; y < b->g.h; y++)
        for (int c = 0; c < b->x.c; c++) {
            s.p = tensor_line(&b->x, 2 * y, c);
            s.q = tensor_line(&b->x, 2 * y + 1, c);
            s.up = give_room(b, b->row, 2 * y, c);
            s.down = give_room(b, b->row + b->x.w, 2 * y + 1, c);
            b->t->k->scatter(&s, tensor_line(&b->g, y, c), b->g.w);
            give_line(b, s.up, 2 * y, c, b->of->adds);
            give_line(b, s.down, 2 * y + 1, c, b->of->adds);
        }
}

/* sums of four in reading order */
static void nearest_backward(const way_back *b)
{
    for (int y = 0; y < b->dx.h; y++)
        for (int c = 0; c < b->dx.c; c++) {
            const float *p = tensor_line(&b->g, 2 * y, c);
            const float *q = tensor_line(&b->g, 2 * y + 1, c);
            float *d = give_room(b, b->row, y, c);
            for (int i = 0; i < b->dx.w; i++) {
                float s = p[2 * i] + p[2 * i + 1];
                s = s + q[2 * i];
                d[i] = s + q[2 * i + 1];
            }
            give_line(b, d, y, c, 1);
        }
}

/* m(w) += weight times the columns of one output row, folded back */
static void bilinear_fold(float *m, const float *g, int w, float weight)
{
    for (int i = 0; i < w; i++) { /* even column 2i: 3/4 of i, 1/4 of i - 1 */
        float a = g[2 * i] * 0.75f, b = g[2 * i + 1] * 0.75f, s = a + b;
        float l = i ? g[2 * i - 1] * 0.25f : g[0] * 0.25f;
        float r = i < w - 1 ? g[2 * i + 2] * 0.25f : g[2 * w - 1] * 0.25f;
        s = s + l;
        s = s + r;
        s = s * weight;
        m[i] = m[i] + s;
    }
}

/* Input row y feeds output rows 2y, 2y + 1 with 3/4 and 2y - 1, 2y + 2 with
   1/4; at the edges clamping makes it its own neighbour. */
static void bilinear_backward(const way_back *b)
{
    int h = b->dx.h, w = b->dx.w;
    for (int y = 0; y < h; y++)
        for (int c = 0; c < b->dx.c; c++) {
            const tensor *g = &b->g;
            int up = y ? 2 * y - 1 : 0, down = y < h - 1 ? 2 * y + 2 : g->h - 1;
            float *d = give_room(b, b->row, y, c);
            memset(d, 0, (size_t)w * sizeof *d);
            bilinear_fold(d, tensor_line(g, 2 * y, c), w, 0.75f);
            bilinear_fold(d, tensor_line(g, 2 * y + 1, c), w, 0.75f);
            bilinear_fold(d, tensor_line(g, up, c), w, 0.25f);
            bilinear_fold(d, tensor_line(g, down, c), w, 0.25f);
            give_line(b, d, y, c, 1);
        }
}

/* channels [from, from + c) of the gradient go to tensor `to` */
static void slice_backward(const way_back *b, int to, int from, int already)
{
    tensor dx = gradient_view(b->t, to, b->m);
    size_t n = (size_t)dx.c * (size_t)dx.pitch;
    for (int y = 0; y < dx.h; y++)
        give_row(tensor_line(&dx, y, 0), tensor_line(&b->g, y, from), n,
                 already);
}

/* of concat and add */
static void pair_backward(const way_back *b)
{
    int second = b->n->op == ATOMDL_CONCAT ? b->dx.c : 0;
    slice_backward(b, b->n->in, 0, b->of->adds);
    slice_backward(b, b->n->in2, second, b->of->adds2);
}

/* The four phases of a transposed convolution, the node before, whose mask and
   biases are seen to here. */
static void join_backward(const way_back *b)
{
    int i = (int)(b->n - b->t->p.node), co = b->g.c;
    mask_gradient(b->t, i, b->m, bias_part(b->t, i - 1, b->m), NULL);
    for (int y = 0; y < b->g.h; y++)
        for (int c = 0; c < co; c++) {
            const float *g = tensor_line(&b->g, y, c);
            float *d = tensor_line(&b->dx, y / 2, y % 2 * 2 * co + c);
            float *odd = d + co * b->dx.pitch;
            for (int x = 0; x < b->dx.w; x++) {
                d[x] = g[2 * x];
                odd[x] = g[2 * x + 1];
            }
            gap_zero(d, b->dx.w, b->dx.pitch);
            gap_zero(odd, b->dx.w, b->dx.pitch);
        }
}

/* Dropout: element i of image m is dropped when word i of the stream (seed;
   step, row, m) falls below p 2^32; forward and backward draw the same.
   to(n) <- from. */
static void dropout_row(float *to, const float *from, int n, float rate,
                        atomdl_rng *rng)
{
    u32 bound = (u32)((double)rate * 0x1p32);
    float keep = 1 / (1 - rate);
    for (int i = 0; i < n; i++)
        to[i] = atomdl_rng_u32(rng) < bound ? 0 : from[i] * keep;
}

static void dropout_forward(const tensor *out, const tensor *in, float rate,
                            atomdl_rng rng)
{
    for (int y = 0; y < out->h; y++)
        for (int c = 0; c < out->c; c++)
            dropout_row(tensor_line(out, y, c), tensor_line(in, y, c), out->w,
                        rate, &rng);
}

static void dropout_backward(const way_back *b, float rate, atomdl_rng rng)
{
    for (int y = 0; y < b->g.h; y++)
        for (int c = 0; c < b->g.c; c++) {
            float *d = give_room(b, b->row, y, c);
            dropout_row(d, tensor_line(&b->g, y, c), b->g.w, rate, &rng);
            give_line(b, d, y, c, 1);
        }
}

/* Of the operators without a row node_back and loss_batch know more. */
static void (*const BACKWARD[])(const way_back *) = {
    [ATOMDL_MAXPOOL] = maxpool_backward, [ATOMDL_UPNEAREST] = nearest_backward,
    [ATOMDL_UPLINEAR] = bilinear_backward, [ATOMDL_CONCAT] = pair_backward,
    [ATOMDL_ADD] = pair_backward, [N_POINT] = point_backward,
    [N_JOIN] = join_backward
};

/* ---------- Training: one run --------------------------------------------- */

typedef struct { /* the images from first on, of a run */
    const atomdl_trainer *t;
    const atomdl_plan *how;
    float *values, *gradient;
    const float *image;
    const u8 *label;
    u32 step;
    int first, count;
    loss_job job;
} team;

static atomdl_rng dropout_stream(const team *b, const net_node *n, int m)
{
    atomdl_rng root = atomdl_rng_seed(b->how->seed);
    atomdl_rng at = atomdl_rng_split(&root, (u64)b->step << 32 | (u64)n->row);
    return atomdl_rng_split(&at, (u64)(b->first + m));
}

/* planes (classes, h, w) of image m's logits <- rows; or rows <- planes */
static void logits_copy(const team *b, int m, int reverse)
{
    const atomdl_trainer *t = b->t;
    int i = trainer_logits(t);
    tensor x = reverse ? gradient_view(t, i, m) : image_view(t, i, m);
    if (reverse) gradient_open(t, i, m);
    size_t floats = (size_t)(x.c * x.h) * (size_t)x.w;
    float *plane = reverse ? t->dlogits + (size_t)m * floats
                           : t->logits + (size_t)(b->first + m) * floats;
    for (int c = 0; c < x.c; c++)
        for (int y = 0; y < x.h; y++, plane += x.w) {
            float *row = tensor_line(&x, y, c);
            memcpy(reverse ? row : plane, reverse ? plane : row,
                   (size_t)x.w * sizeof *row);
            if (reverse) gap_zero(row, x.w, x.pitch);
        }
}

/* node i, forward and back, for image first + m */
static void node_there(const team *b, int i, int m)
{
    const atomdl_trainer *t = b->t;
    const net_node *n = &t->p.node[i];
    const tensor *input = &t->p.tensor[0];
    size_t planes = (size_t)(input->c * input->h) * (size_t)input->w;
    tensor in = image_view(t, n->in, m), in2 = image_view(t, n->in2, m);
    tensor out = image_view(t, n->out, m);
    in_out io = {b->image + (size_t)(b->first + m) * planes, NULL, NULL, NULL,
                 0, 0};
    work w = {&t->p, n, &in, &in2, &out, t->zeros, t->k, &t->of[i].f, &io,
              scratch_of(t, m), TILES_MOST};
    if (n->flags & CONV_IN_PLACE) return; /* inputs are parts of the output */
    if (n->op == ATOMDL_DROPOUT)
        dropout_forward(&out, &in, t->p.arch->row[n->row].p,
                        dropout_stream(b, n, m));
    else if (n->op == ATOMDL_BATCHNORM)
        point_forward(&w, 0, out.h);
    else
        FORWARD[n->op](&w, 0, out.h);
}

/* The way back of node i for image first + m: adds to its inputs' gradients
   and sums its own weights' gradient. */
static void node_back(const team *b, int i, int m)
{
    const atomdl_trainer *t = b->t;
    const net_node *n = &t->p.node[i];
    if (n->op == N_SPLIT || n->op == N_INPUT || n->flags & CONV_IN_PLACE)
        return;
    if (n->op == ATOMDL_CONV) {
        conv_backward(t, i, m);
    } else if (n->op == ATOMDL_BATCHNORM) { /* sums of g xhat, then of g */
        float *part = part_of(t, i, m);
        mask_gradient(t, i, m, part + t->p.tensor[n->in].c, part);
    } else {
        way_back way = back_new(t, i, m);
        back_open(&way);
        if (n->op == ATOMDL_DROPOUT)
            dropout_backward(&way, t->p.arch->row[n->row].p,
                             dropout_stream(b, n, m));
        else
            BACKWARD[n->op](&way);
    }
}

/* Packs the filter of node i for all images, as the way there or back wants
   it. */
static void node_filter(const team *b, int i, int reverse)
{
    const atomdl_trainer *t = b->t;
    const net_node *n = &t->p.node[i];
    const learner *of = &t->of[i];
    const float *v = b->values + t->offset[n->row < 0 ? 0 : n->row];
    if (n->op == ATOMDL_CONV && reverse)
        filter_pack_back(of->back, &t->p, n, v);
    else if (n->op == ATOMDL_CONV)
        filter_pack(of->f.packed, of->f.bias, &t->p, n, v);
}

/* gradient += the sums of node i, images in order */
static void node_sums(const team *b, int i)
{
    const atomdl_trainer *t = b->t;
    const net_node *n = &t->p.node[i];
    size_t co = (size_t)filter_channels(&t->p, n), count = 2 * co;
    float *d = b->gradient + (n->row < 0 ? 0 : t->offset[n->row]);
    if (n->op != ATOMDL_CONV && n->op != ATOMDL_BATCHNORM) return;
    if (n->op == ATOMDL_CONV) {
        size_t k = (size_t)filter_side(&t->p.arch->row[n->row]);
        count = co * (k * k * (size_t)t->p.tensor[n->in].c + 1);
    }
    for (int m = 0; m < b->count; m++)
        give_row(d, part_of(t, i, m), count, b->first + m);
}

/* A team's images through all segments to the logits. */
static void team_there(const team *b)
{
    const atomdl_trainer *t = b->t;
    int last = t->p.nodes - 1, next;
    for (int from = 0; from < last; from = next) {
        next = segment_end(&t->p, from);
        if (next > last) next = last;
        if (from) norm_train(t, from, b->values);
        for (int i = from; i < next && !b->first; i++)
            node_filter(b, i, 0);
        IMAGES_IN_PARALLEL
        for (int m = 0; m < b->count; m++) {
            for (int i = from; i < next; i++) node_there(b, i, m);
            if (next == last) logits_copy(b, m, 0);
        }
    }
}

/* And back: a batch normalisation ends a segment with its sums, which it needs
   of all images, and begins the next with its input's gradient. */
static void team_back(const team *b)
{
    const atomdl_trainer *t = b->t;
    int last = t->p.nodes - 1, norm = last, from;
    for (; norm > 0; norm = from) {
        for (from = norm - 1; from > 0; from--)
            if (t->p.node[from].op == ATOMDL_BATCHNORM) break;
        for (int i = from; i < norm && !b->first; i++)
            node_filter(b, i, 1);
        IMAGES_IN_PARALLEL
        for (int m = 0; m < b->count; m++) {
            if (norm == last) logits_copy(b, m, 1);
            else norm_backward(t, norm, m,
                               b->values + t->offset[t->p.node[norm].row],
                               b->gradient + t->offset[t->p.node[norm].row]);
            for (int i = norm - 1; i >= from; i--) node_back(b, i, m);
        }
        for (int i = from; i < norm; i++) node_sums(b, i);
    }
}

/* The team's part of the loss; d: of its gradient as well. */
static void team_loss(const team *b, float *sum, float *d)
{
    const atomdl_trainer *t = b->t;
    size_t at = (size_t)b->first * b->job.pixels;
    loss_batch(sum, d, &b->job, t->logits + at * b->job.planes, b->label + at,
               b->count);
}

/* The next team; first: the first. 0 when there is none. */
static int team_next(team *b, int first)
{
    b->first = first ? 0 : b->first + b->count;
    b->count = b->t->n - b->first < b->t->team ? b->t->n - b->first
                                               : b->t->team;
    return b->count > 0;
}

/* Dice has slopes by sums over all images, so that they come first. */
int atomdl_trainer_run(atomdl_trainer *t, float *loss, float *gradient,
                       float *values, const atomdl_batch *in,
                       const atomdl_plan *how)
{
    const tensor *l = &t->p.tensor[trainer_logits(t)];
    float sum[LOSS_SUMS] = {0}, waste[LOSS_SUMS] = {0};
    team b = {t, how, values, gradient, in->image, in->label, in->step, 0, 0,
              {0}};
    int once = gradient && !(how->loss.dice > 0);
    atomdl_loss_input pixels = {t->n, l->c, l->h * l->w, t->logits, in->label,
                                t->k};
    int status = loss_new(&b.job, &how->loss, &pixels, t->threads);
    if (gradient && !status) memset(gradient, 0, t->values * sizeof *gradient);
    for (int more = !status && team_next(&b, 1); more;
         more = team_next(&b, 0)) {
        team_there(&b);
        team_loss(&b, sum, once ? t->dlogits : NULL);
        if (!once) continue;
        status = loss_total(loss, &b.job, sum, 0);
        if (!status) status = norm_running(t, values, how->bn_momentum);
        if (status) return status;
        team_back(&b);
    }
    if (status || once) return status;
    status = loss_total(loss, &b.job, sum, how->loss.smooth);
    if (!status) status = norm_running(t, values, how->bn_momentum);
    if (status || !gradient) return status;
    for (int more = team_next(&b, 1); more; more = team_next(&b, 0)) {
        if (t->team < t->n) team_there(&b);
        team_loss(&b, waste, t->dlogits);
        team_back(&b);
    }
    return ATOMDL_OK;
}

void atomdl_trainer_logits(const atomdl_trainer *t, float *logits)
{
    const tensor *l = &t->p.tensor[trainer_logits(t)];
    memcpy(logits, t->logits, (size_t)t->n * (size_t)(l->c * l->h)
                                  * (size_t)l->w * sizeof *logits);
}

/* ---------- Metrics ------------------------------------------------------- */

/* Arg-max: of equal ones the first. Ignored pixels do not count, nor do
   labels beyond the classes; one class counts as two. */
void atomdl_confusion_add(atomdl_confusion *m, const float *prob,
                          const u8 *label, int n, int classes, int pixels)
{
    size_t plane = (size_t)pixels;
    m->classes = classes == 1 ? 2 : classes;
    for (int j = 0; j < n; j++) {
        for (size_t i = 0; i < plane; i++) {
            int best = classes == 1 && prob[i] > 0.5f;
            for (int c = 1; c < classes; c++)
                if (prob[(size_t)c * plane + i]
                    > prob[(size_t)best * plane + i])
                    best = c;
            if (label[i] < m->classes) m->count[label[i]][best]++;
        }
        prob += (size_t)classes * plane;
        label += plane;
    }
}

static double quotient(double a, double b)
{
    return b > 0 ? a / b : 0;
}

atomdl_scores atomdl_confusion_scores(const atomdl_confusion *m, int c)
{
    atomdl_scores s = {0, 0, 0, 0};
    u64 truth = 0, found = 0;
    if (c < 0 || c >= m->classes) return s;
    for (int i = 0; i < m->classes; i++) {
        truth += m->count[c][i];
        found += m->count[i][c];
    }
    double hit = (double)m->count[c][c];
    s.precision = quotient(hit, (double)found);
    s.recall = quotient(hit, (double)truth);
    s.f1 = quotient(2 * hit, (double)(truth + found));
    s.iou = quotient(hit, (double)(truth + found - m->count[c][c]));
    return s;
}

double atomdl_confusion_accuracy(const atomdl_confusion *m)
{
    u64 hit = 0, all = 0;
    for (int i = 0; i < m->classes; i++)
        for (int j = 0; j < m->classes; j++) {
            all += m->count[i][j];
            if (i == j) hit += m->count[i][j];
        }
    return quotient((double)hit, (double)all);
}

#endif /* ATOMDL_NO_TRAIN */

/* ---------- Weight files: writing ----------------------------------------- */

/* The entries of the metadata: texts, then two numbers. */
#define META_TEXT(field) {"atomdl." #field, offsetof(atomdl_meta, field), \
                          sizeof ((atomdl_meta *)0)->field}

static const struct {
    const char *name;
    size_t at, size; /* of a text */
} META[] = {
    META_TEXT(network), META_TEXT(classes), META_TEXT(scaling),
    META_TEXT(recipe), {"atomdl.pixel_size", 0, 0}, {"atomdl.numerics", 0, 0}
};
enum { META_PIXEL = 4, META_NUMERICS, METAS };

#define PIXEL_MIN 1e-15 /* a pixel size beyond these is taken as unknown */
#define PIXEL_MAX 1e15

/* Walks a tensor in the file's order; at is the place of the element in
   memory. Weights: memory (out, ky, kx, in), file (out, in, ky, kx) or, of a
   deconv, (in, out, ky, kx). */
typedef struct {
    size_t at, step[4];
    int i[4];
} tensor_walk;

static tensor_walk tensor_walk_new(const atomdl_tensor *t,
                                   const atomdl_arch *arch)
{
    int deconv = arch->row[t->row].op == ATOMDL_DECONV && t->dims == 4;
    size_t in = (size_t)t->dim[deconv ? 0 : 1];
    tensor_walk w = {0, {0}, {0}};
    w.step[deconv ? 0 : 1] = 1;
    w.step[deconv ? 1 : 0] = (size_t)(t->dim[2] * t->dim[3]) * in;
    w.step[2] = (size_t)t->dim[3] * in;
    w.step[3] = in;
    return w;
}

static void tensor_walk_next(tensor_walk *w, const atomdl_tensor *t)
{
    for (int d = 3; d >= 0; d--) {
        w->at += w->step[d];
        if (++w->i[d] < t->dim[d]) return;
        w->at -= w->step[d] * (size_t)t->dim[d];
        w->i[d] = 0;
    }
}

#ifndef ATOMDL_NO_TRAIN
static void put_little(byte_sink *s, u64 v, int bytes)
{
    for (; bytes-- > 0; v >>= 8) sink_byte(s, (int)(v & 255));
}

/* a JSON string */
static void put_string(byte_sink *s, const char *text)
{
    static const char HEX[] = "0123456789abcdef";
    sink_byte(s, '"');
    for (; *text; text++) {
        int c = (unsigned char)*text;
        if (c < 32) {
            put_text(s, "\\u00");
            sink_byte(s, HEX[c >> 4]);
            sink_byte(s, HEX[c & 15]);
            continue;
        }
        if (c == '"' || c == '\\') sink_byte(s, '\\');
        sink_byte(s, c);
    }
    sink_byte(s, '"');
}

static void put_meta(byte_sink *s, int i, const char *text)
{
    if (!*text) return;
    sink_byte(s, ',');
    put_string(s, META[i].name);
    sink_byte(s, ':');
    put_string(s, text);
}

/* "__metadata__":{...}; what is empty or 0 is left out */
static void put_metadata(byte_sink *s, const atomdl_meta *m)
{
    int known = m->pixel_size >= PIXEL_MIN && m->pixel_size <= PIXEL_MAX;
    char pixel[80] = {0}, numerics[80] = {0};
    if (known) pixel[atomdl_decimal_write(pixel, m->pixel_size, 0)] = 0;
    if (m->numerics)
        numerics[atomdl_decimal_write(numerics, m->numerics, 0)] = 0;
    put_text(s, "\"__metadata__\":{\"format\":\"pt\"");
    for (int i = 0; i < META_PIXEL; i++)
        put_meta(s, i, (const char *)m + META[i].at);
    put_meta(s, META_PIXEL, pixel);
    put_meta(s, META_NUMERICS, numerics);
    sink_byte(s, '}');
}

/* The JSON header, padded to a multiple of 8 bytes. */
static void put_header(byte_sink *s, const atomdl_arch *arch,
                       const atomdl_meta *m)
{
    double end = 0;
    sink_byte(s, '{');
    put_metadata(s, m);
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++) {
        sink_byte(s, ',');
        put_string(s, t.name);
        put_text(s, ":{\"dtype\":\"F32\",\"shape\":[");
        for (int d = 0; d < t.dims; d++) {
            if (d) sink_byte(s, ',');
            put_decimal(s, t.dim[d], 0);
        }
        put_text(s, "],\"data_offsets\":[");
        put_decimal(s, end, 0);
        sink_byte(s, ',');
        end += 4 * (double)t.count;
        put_decimal(s, end, 0);
        put_text(s, "]}");
    }
    sink_byte(s, '}');
    while (s->n % 8) sink_byte(s, ' ');
}

/* The whole file; counts alone when s->p is NULL. */
static void put_file(byte_sink *s, const atomdl_arch *arch, const float *values,
                     const atomdl_meta *meta)
{
    byte_sink header = {NULL, 0, 0};
    put_header(&header, arch, meta);
    put_little(s, header.n, 8);
    put_header(s, arch, meta);
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++) {
        tensor_walk w = tensor_walk_new(&t, arch);
        if (!s->p) s->n += 4 * t.count;
        for (size_t j = 0; s->p && j < t.count; j++) {
            put_little(s, atomdl_bits(values[t.offset + w.at]), 4);
            tensor_walk_next(&w, &t);
        }
    }
}

size_t atomdl_weights_size(const atomdl_arch *arch, const atomdl_meta *meta)
{
    byte_sink s = {NULL, 0, 0};
    put_file(&s, arch, NULL, meta);
    return s.n;
}

void atomdl_weights_write(unsigned char *file, const atomdl_arch *arch,
                          const float *values, const atomdl_meta *meta)
{
    byte_sink s = {file, (size_t)-1, 0};
    put_file(&s, arch, values, meta);
}
#endif /* ATOMDL_NO_TRAIN */

/* ---------- Weight files: reading -----------------------------------------

   A walk over JSON text that stops at the first fault: `bad` stays set and
   every step after it does nothing. */

typedef struct {
    const unsigned char *p;
    size_t n, i;
    int bad;
} json;

/* the next byte that is not white, -1 at the end */
static int json_peek(json *j)
{
    while (j->i < j->n && (j->p[j->i] == ' ' || j->p[j->i] == '\n'
                           || j->p[j->i] == '\r' || j->p[j->i] == '\t'))
        j->i++;
    return j->bad || j->i == j->n ? -1 : j->p[j->i];
}

/* takes c when it comes next */
static int json_take(json *j, int c)
{
    if (json_peek(j) != c) return 0;
    j->i++;
    return 1;
}

static void json_need(json *j, int c)
{
    if (!json_take(j, c)) j->bad = 1;
}

/* the byte at the cursor, within a string; 0 (never legal there) at the end */
static u32 json_byte(json *j)
{
    if (j->i < j->n && j->p[j->i] >= 32) return j->p[j->i++];
    j->bad = 1;
    return 0;
}

static u32 json_hex4(json *j)
{
    u32 v = 0;
    for (int i = 0; i < 4; i++) {
        u32 c = json_byte(j);
        v <<= 4;
        if (c >= '0' && c <= '9') v |= c - '0';
        else if ((c | 32) >= 'a' && (c | 32) <= 'f') v |= (c | 32) - 'a' + 10;
        else j->bad = 1;
    }
    return v;
}

/* The character after a backslash; surrogate pairs are joined. NUL is bad. */
static u32 json_escape(json *j)
{
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    u32 c = json_byte(j);
    for (int i = 0; FROM[i]; i++)
        if (c == (u32)FROM[i]) return (u32)TO[i];
    if (c != 'u') j->bad = 1;
    c = json_hex4(j);
    if (c >= 0xd800 && c < 0xdc00) {
        if (json_byte(j) != '\\' || json_byte(j) != 'u') j->bad = 1;
        u32 low = json_hex4(j) - 0xdc00;
        c = 0x10000 + ((c - 0xd800) << 10) + low;
        if (low > 0x3ff) j->bad = 1;
    } else if (c - 0xdc00 < 0x400 || !c) {
        j->bad = 1;
    }
    return c;
}

static void put_utf8(byte_sink *s, u32 c)
{
    if (c < 0x80) {
        sink_byte(s, (int)c);
        return;
    }
    if (c >= 0x10000) {
        sink_byte(s, (int)(0xf0 | c >> 18));
        sink_byte(s, (int)(0x80 | (c >> 12 & 63)));
    } else if (c >= 0x800) {
        sink_byte(s, (int)(0xe0 | c >> 12));
    }
    sink_byte(s, (int)(c >= 0x800 ? 0x80 | (c >> 6 & 63) : 0xc0 | c >> 6));
    sink_byte(s, (int)(0x80 | (c & 63)));
}

/* out(size) <- a string with its end; returns its length, which is size or
   more when it did not fit. */
static size_t json_string(json *j, char *out, size_t size)
{
    byte_sink s = {(unsigned char *)out, size - 1, 0};
    json_need(j, '"');
    u32 c;
    while (!j->bad && (c = json_byte(j)) != '"') {
        if (c == '\\') put_utf8(&s, json_escape(j));
        else sink_byte(&s, (int)c);
    }
    out[s.n < size ? s.n : size - 1] = 0;
    return s.n;
}

static u64 json_integer(json *j)
{
    u64 v = 0;
    if (json_peek(j) < '0' || json_peek(j) > '9') j->bad = 1;
    while (!j->bad && j->i < j->n && j->p[j->i] >= '0' && j->p[j->i] <= '9') {
        u64 d = (u64)(j->p[j->i++] - '0');
        if (v > ((u64)-1 - d) / 10) j->bad = 1;
        v = v * 10 + d;
    }
    return v;
}

/* Moves on to the next element of what was opened; 0 once `end` is taken. */
static int json_element(json *j, int *count, int end)
{
    if (j->bad || json_take(j, end)) return 0;
    if ((*count)++) json_need(j, ',');
    return !j->bad;
}

/* Walks over a value that nobody asked for, at most depth levels deep. */
static void json_skip(json *j, int depth)
{
    int c = json_peek(j), object = c == '{', count = 0;
    size_t from = j->i;
    char none[1];
    if (c == '"') {
        json_string(j, none, sizeof none);
    } else if (object || c == '[') {
        if (depth == 0) j->bad = 1;
        json_need(j, c);
        while (json_element(j, &count, object ? '}' : ']')) {
            if (object) {
                json_string(j, none, sizeof none);
                json_need(j, ':');
            }
            json_skip(j, depth - 1);
        }
    } else { /* number, true, false, null */
        while (j->i < j->n && (name_char(j->p[j->i]) || j->p[j->i] == '+'))
            j->i++;
        if (j->i == from) j->bad = 1;
    }
}

enum { HEADER_MAX = 1 << 20, DEPTH = 16, FILE_NAME = 256 };

/* One tensor of a file. */
typedef struct {
    char dtype[8];
    int dims;
    u64 dim[4], count, begin, end;
} file_entry;

static void read_shape(json *j, file_entry *e)
{
    int n = 0;
    json_need(j, '[');
    e->count = 1;
    while (json_element(j, &n, ']')) {
        u64 d = json_integer(j);
        if (n <= 4) e->dim[n - 1] = d;
        e->count = times_capped(e->count, d);
    }
    e->dims = n;
}

/* bytes of an element of the kinds that are read, else 0 */
static u64 element_size(const file_entry *e)
{
    if (same_text(e->dtype, "F32")) return 4;
    return same_text(e->dtype, "F16") || same_text(e->dtype, "BF16") ? 2 : 0;
}

/* {"dtype":...,"shape":[...],"data_offsets":[begin,end]}, length = bytes of
   all data */
static void read_entry(json *j, file_entry *e, u64 length)
{
    static const char *const FIELD[] = {"dtype", "shape", "data_offsets"};
    int count = 0, seen = 0;
    json_need(j, '{');
    char key[16];
    int k;
    while (json_element(j, &count, '}')) {
        json_string(j, key, sizeof key);
        json_need(j, ':');
        for (k = 0; k < 3 && !same_text(key, FIELD[k]);) k++;
        if (seen >> k & 1 && k < 3) j->bad = 1;
        seen |= 1 << k;
        if (k == 0) {
            json_string(j, e->dtype, sizeof e->dtype);
        } else if (k == 1) {
            read_shape(j, e);
        } else if (k == 2) {
            json_need(j, '[');
            e->begin = json_integer(j);
            json_need(j, ',');
            e->end = json_integer(j);
            json_need(j, ']');
        } else {
            json_skip(j, DEPTH);
        }
    }
    if (j->bad || (seen & 7) != 7 || e->begin > e->end || e->end > length
        || (element_size(e)
            && times_capped(e->count, element_size(e)) != e->end - e->begin))
        j->bad = 1;
}

/* a random number that belongs to x */
static u64 file_mark(u64 x)
{
    static const u32 MARK[2] = {0x61746f6d, 0x646c};
    u32 ctr[4] = {(u32)x, (u32)(x >> 32), 0, 0}, out[4];
    atomdl_philox(out, ctr, MARK);
    return out[0] | (u64)out[1] << 32;
}

/* The header of a file, and how many bytes of data follow it. */
static json open_header(u64 *length, const unsigned char *file, size_t size)
{
    json j = {NULL, 0, 0, 1};
    u64 n = size < 8 ? 0 : atomdl_load64(file);
    if (n < 2 || n > size - 8 || n > HEADER_MAX || file[8] != '{') return j;
    j.p = file + 8;
    j.n = (size_t)n;
    j.bad = 0;
    *length = size - 8 - n;
    return j;
}

/* Walks all of a header. e <- the tensor of that name (may be NULL); returns
   how often it occurs, -1 when the header is malformed. The tensors must
   cover the data without gap or overlap, in any order: then each one begins
   where another ends, and sums of marks of both are equal. */
static int scan_header(file_entry *e, json *meta, const char *name,
                       const unsigned char *file, size_t size)
{
    u64 length = 0;
    json j = open_header(&length, file, size);
    int found = 0, metas = 0, count = 0;
    u64 sum = file_mark(0) - file_mark(length);
    file_entry t;
    memset(&t, 0, sizeof t);
    json_need(&j, '{');
    char key[FILE_NAME];
    while (json_element(&j, &count, '}')) {
        int fits = json_string(&j, key, sizeof key) < sizeof key;
        json_need(&j, ':');
        if (same_text(key, "__metadata__")) {
            if (metas++) j.bad = 1;
            if (meta) *meta = j;
            json_skip(&j, DEPTH);
            continue;
        }
        read_entry(&j, &t, length);
        sum += file_mark(t.end) - file_mark(t.begin);
        if (!fits || !name || !same_text(key, name)) continue;
        *e = t;
        found++;
    }
    if (json_peek(&j) >= 0 || sum) j.bad = 1;
    return j.bad ? -1 : found;
}

/* Value of metadata entry k, from the text at the cursor. */
static void read_meta(json *j, atomdl_meta *m, int k)
{
    double v = 0;
    if (META[k].size) {
        char *text = (char *)m + META[k].at;
        if (json_string(j, text, META[k].size) >= META[k].size) j->bad = 1;
        return;
    }
    char number[80];
    size_t n = json_string(j, number, sizeof number);
    if (n >= sizeof number || !read_decimal(&v, number, n, 0)) j->bad = 1;
    if (k == META_PIXEL && v <= PIXEL_MAX) m->pixel_size = v;
    else if (k == META_NUMERICS && v <= 4294967295.0) m->numerics = (u32)v;
    else j->bad = 1;
}

/* The header is checked as a whole before any of it is believed. */
int atomdl_weights_meta(atomdl_meta *meta, const unsigned char *file,
                        size_t size)
{
    json j = {NULL, 0, 0, 0};
    int count = 0, seen = 0;
    memset(meta, 0, sizeof *meta);
    if (float_state()) return ATOMDL_EFLOAT;
    if (scan_header(NULL, &j, NULL, file, size) < 0) return ATOMDL_EFILE;
    if (!j.p) return ATOMDL_OK;
    json_need(&j, '{');
    char key[32];
    int k;
    while (json_element(&j, &count, '}')) {
        json_string(&j, key, sizeof key);
        json_need(&j, ':');
        for (k = 0; k < METAS && !same_text(key, META[k].name);) k++;
        if (k == METAS) {
            json_skip(&j, DEPTH);
            continue;
        }
        if (seen >> k & 1) j.bad = 1;
        seen |= 1 << k;
        read_meta(&j, meta, k);
    }
    if (j.bad) memset(meta, 0, sizeof *meta);
    return j.bad ? ATOMDL_EFILE : ATOMDL_OK;
}

/* out <- the name in the file of a tensor; 0 when the map is malformed */
static int file_name(char out[FILE_NAME], const char *name, const char *map)
{
    words rest = {map, map ? text_length(map) : 0}, line, a, b, c;
    join_text(out, name, "");
    while (take_line(&line, &rest)) {
        if (!take_word(&a, &line)) continue;
        if (!take_word(&b, &line) || take_word(&c, &line) || b.n >= FILE_NAME)
            return 0;
        if (!same_word(a, name)) continue;
        memcpy(out, b.s, b.n);
        out[b.n] = 0;
    }
    return 1;
}

/* The bits of a binary16 number as binary32. */
static u32 half_bits(u32 h)
{
    u32 sign = (h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 31) return sign | 0x7f800000 | m << 13;
    if (e) return sign | (e + 112) << 23 | m << 13;
    return sign | atomdl_bits((float)m * 0x1p-24f);
}

/* values <- a tensor's bytes p; values NULL: checks alone. A variance below
   0 is refused like NaN, which is what it would become. */
static int read_tensor(float *values, const atomdl_tensor *t,
                       const atomdl_arch *arch, const file_entry *e,
                       const unsigned char *p)
{
    size_t size = (size_t)element_size(e);
    tensor_walk w = tensor_walk_new(t, arch);
    for (size_t i = 0; i < t->count; i++, p += size, tensor_walk_next(&w, t)) {
        u32 b;
        if (size == 4) b = atomdl_load32(p);
        else if (*e->dtype == 'B') b = (u32)atomdl_load16(p) << 16;
        else b = half_bits(atomdl_load16(p));
        if ((b & 0x7f800000) == 0x7f800000) return ATOMDL_ENAN;
        if (t->kind == ATOMDL_VAR && b > 0x80000000) return ATOMDL_ENAN;
        if (values) values[t->offset + w.at] = atomdl_float(b);
    }
    return ATOMDL_OK;
}

/* Finds tensor t in the file, checks it, and stores it unless values is
   NULL. */
static int find_tensor(float *values, const atomdl_tensor *t,
                       const atomdl_arch *arch, const unsigned char *file,
                       size_t size, const char *map)
{
    char name[FILE_NAME];
    if (!file_name(name, t->name, map)) return ATOMDL_EARG;
    file_entry e;
    int found = scan_header(&e, NULL, name, file, size);
    if (found < 0 || found > 1) return ATOMDL_EFILE;
    if (!found || !element_size(&e)) return ATOMDL_EMISSING;
    if (e.dims != t->dims) return ATOMDL_ESHAPE;
    for (int d = 0; d < t->dims; d++)
        if (e.dim[d] != (u64)t->dim[d]) return ATOMDL_ESHAPE;
    return read_tensor(values, t, arch, &e,
                       file + 8 + (size_t)(atomdl_load64(file) + e.begin));
}

/* Twice over all tensors, so that values change only when all are good. */
int atomdl_weights_read(float *values, char missing[64],
                        const atomdl_arch *arch, const unsigned char *file,
                        size_t size, const char *map)
{
    atomdl_arch_info info;
    int status = atomdl_arch_check(&info, NULL, arch, 0, 0);
    if (missing) *missing = 0;
    if (status) return status;
    if (scan_header(NULL, NULL, NULL, file, size) < 0) return ATOMDL_EFILE;
    atomdl_tensor t;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; atomdl_arch_tensor(&t, arch, i); i++) {
            status = find_tensor(pass ? values : NULL, &t, arch, file, size,
                                 map);
            if (!status) continue;
            if (missing) join_text(missing, t.name, "");
            return status;
        }
    return ATOMDL_OK;
}

/* ---------- Checkpoints ---------------------------------------------------

   "AtomDLck", u32 ATOMDL_NUMERICS, u32 step, u64 digests of network and plan,
   power1, power2, then values, first, second and (plan->average) sum, each
   info.values floats, and the FNV digest of all that. */

#ifndef ATOMDL_NO_TRAIN

enum { CHECKPOINT_HEAD = 40 };

static u64 arch_digest(const atomdl_arch *arch)
{
    u32 head[] = {(u32)arch->channels, (u32)arch->rows};
    u64 h = atomdl_digest_u32(ATOMDL_DIGEST, head, 2);
    for (int i = 0; i < arch->rows; i++) {
        const atomdl_layer *r = &arch->row[i];
        u32 v[] = {r->op, r->k, r->stride, r->dilation, (u32)(i64)r->in,
                   (u32)(i64)r->in2, r->ch, atomdl_bits(r->p)};
        h = atomdl_digest_u32(h, v, 8);
        h = atomdl_digest_bytes(h, r->name, text_length(r->name) + 1);
    }
    return h;
}

static u64 plan_digest(const atomdl_plan *p)
{
    u32 u[] = {(u32)p->optimiser, (u32)p->schedule, p->steps, p->warmup,
               p->every, p->average, (u32)p->seed, (u32)(p->seed >> 32)};
    float f[] = {p->rate, p->momentum, p->beta1, p->beta2, p->eps, p->decay,
                 p->clip, p->factor, p->bn_momentum, p->loss.ce, p->loss.focal,
                 p->loss.dice, p->loss.gamma, p->loss.smooth};
    u64 h = atomdl_digest_u32(ATOMDL_DIGEST, u, 8);
    h = atomdl_digest_f32(h, f, 14);
    return atomdl_digest_f32(h, p->loss.weight, ATOMDL_CLASSES);
}

size_t atomdl_checkpoint_size(const atomdl_arch *arch, const atomdl_plan *plan)
{
    atomdl_arch_info info;
    if (atomdl_arch_check(&info, NULL, arch, 0, 0)) return 0;
    return CHECKPOINT_HEAD + 4 * info.values * (plan->average ? 4 : 3) + 8;
}

/* what a checkpoint of this network and plan begins with */
static void put_head(byte_sink *s, const atomdl_arch *arch,
                     const atomdl_plan *plan, const atomdl_state *state)
{
    put_text(s, "AtomDLck");
    put_little(s, ATOMDL_NUMERICS, 4);
    put_little(s, state->step, 4);
    put_little(s, arch_digest(arch), 8);
    put_little(s, plan_digest(plan), 8);
    put_little(s, atomdl_bits(state->power1), 4);
    put_little(s, atomdl_bits(state->power2), 4);
}

void atomdl_checkpoint_write(unsigned char *file, const float *values,
                             const atomdl_state *state, const atomdl_arch *arch,
                             const atomdl_plan *plan)
{
    size_t n = atomdl_checkpoint_size(arch, plan);
    int arrays = plan->average ? 4 : 3;
    size_t count = (n - CHECKPOINT_HEAD - 8) / 4 / (size_t)arrays;
    const float *from[] = {values, state->first, state->second, state->sum};
    byte_sink s = {file, n, 0};
    if (!n) return;
    put_head(&s, arch, plan, state);
    for (int a = 0; a < arrays; a++)
        for (size_t i = 0; i < count; i++)
            put_little(&s, atomdl_bits(from[a][i]), 4);
    put_little(&s, atomdl_digest_bytes(ATOMDL_DIGEST, file, s.n), 8);
}

/* ATOMDL_OK when file (n, as it should be long) is whole and belongs to arch
   and plan; s gets step and powers. */
static int checkpoint_sound(atomdl_state *s, const unsigned char *file,
                            size_t n, const atomdl_arch *arch,
                            const atomdl_plan *plan)
{
    unsigned char head[CHECKPOINT_HEAD];
    byte_sink out = {head, CHECKPOINT_HEAD, 0};
    s->step = atomdl_load32(file + 12);
    s->power1 = atomdl_loadf(file + 32);
    s->power2 = atomdl_loadf(file + 36);
    put_head(&out, arch, plan, s);
    for (size_t i = 0; i < CHECKPOINT_HEAD; i++)
        if (head[i] != file[i]) return ATOMDL_EFILE;
    if (atomdl_digest_bytes(ATOMDL_DIGEST, file, n - 8)
        != atomdl_load64(file + n - 8))
        return ATOMDL_EFILE;
    for (size_t i = 32; i < n - 8; i += 4)
        if ((atomdl_load32(file + i) & 0x7f800000) == 0x7f800000)
            return ATOMDL_ENAN;
    return ATOMDL_OK;
}

int atomdl_checkpoint_read(float *values, atomdl_state *state,
                           const unsigned char *file, size_t size,
                           const atomdl_arch *arch, const atomdl_plan *plan)
{
    size_t n = atomdl_checkpoint_size(arch, plan);
    int arrays = plan->average ? 4 : 3;
    size_t count = (n - CHECKPOINT_HEAD - 8) / 4 / (size_t)arrays;
    atomdl_state s = *state;
    float *to[] = {values, s.first, s.second, s.sum};
    if (!n || size != n) return ATOMDL_EFILE;
    int status = checkpoint_sound(&s, file, n, arch, plan);
    if (status) return status;
    *state = s;
    file += CHECKPOINT_HEAD;
    for (int a = 0; a < arrays; a++)
        for (size_t i = 0; i < count; i++, file += 4)
            to[a][i] = atomdl_loadf(file);
    return ATOMDL_OK;
}
#endif /* ATOMDL_NO_TRAIN */

#else /* ===== ATOMDL_KERNELS_PASS: once for each instruction set ===== */

#if V_BYTES > 4
#define V_LANES (V_BYTES / 4)
/* vectors of sums that the registers hold beside the operands */
#if defined __aarch64__ || V_BYTES == 64
#define V_SUMS 16
#else
#define V_SUMS 8
#endif

typedef double V(f64) __attribute__((vector_size(V_BYTES)));
typedef u64 V(bits) __attribute__((vector_size(V_BYTES)));
typedef float V(half) __attribute__((vector_size(V_BYTES / 2)));

/* y as float; returns lanes with the top bit set where that might round the
   wrong way, within so many ulp of the middle of two floats. */
INLINE V(bits) V(narrow)(V(half) *y, V(f64) d, const u64 ulp)
{
    *y = __builtin_convertvector(d, V(half));
    return (((V(bits))d + (ulp - 0x10000000)) & 0x1fffffff) - 2 * ulp;
}

/* y = exp(x) in binary64; returns lanes with the top bit set where the float
   is not sure or no normal number. exp r = 1 + r + r^2 q(r), whose relative
   error is the least that a q of degree 6 has: 2^-39.6, below 2^13.4 ulp. */
static inline V(bits) V(exp_lanes)(V(half) *y, V(half) x)
{
    V(f64) d = __builtin_convertvector(x, V(f64));
    V(f64) t = d * 0x1.71547652b82fep+0 + 0x1.8p52, n = t - 0x1.8p52;
    V(f64) r = (d - n * 0x1.62e42fefa3800p-1) - n * 0x1.ef35793c76730p-45;
    V(f64) p = r * 0x1.9e8937226fc4ap-16 + 0x1.a1855fdc686bcp-13;
    V(bits) b;
    p = p * r + 0x1.6c18d32f67759p-10;
    p = p * r + 0x1.1110a25f7cbf9p-7;
    p = p * r + 0x1.5555541e51926p-5;
    p = p * r + 0x1.5555557dd31fcp-3;
    p = p * r + 0x1.000000005dee5p-1;
    p = p * r + 1;
    p = p * r + 1;
    b = (V(bits))p + ((V(bits))t << 52); /* p 2^n */
    return V(narrow)(y, (V(f64))b, 1 << 14)
           | ~(V(bits))((d > -87) & (d < 88));
}

/* The same of log(x), 10 ulp. x = 2^k z, z in [sqrt(1/2), sqrt 2), and with
   s = (z - 1)/(z + 1), log z = 2 s (1 + s^2/3 + s^4/5 + ...). */
static inline V(bits) V(log_lanes)(V(half) *y, V(half) x)
{
    V(f64) d = __builtin_convertvector(x, V(f64)), z, k, s, q, p;
    V(bits) b = (V(bits))d, e = (b + ((u64)0x95f62 << 32)) >> 52;
    z = (V(f64))(b - ((e - 1023) << 52));
    k = (V(f64))(e | (u64)0x433 << 52) - (0x1p52 + 1023);
    s = (z - 1) / (z + 1);
    q = s * s;
    s = s + s;
    p = q * 0x1.e1e1e1e1e1e1ep-5 + 0x1.1111111111111p-4;
    p = p * q + 0x1.3b13b13b13b14p-4;
    p = p * q + 0x1.745d1745d1746p-4;
    p = p * q + 0x1.c71c71c71c71cp-4;
    p = p * q + 0x1.2492492492492p-3;
    p = p * q + 0x1.999999999999ap-3;
    p = p * q + 0x1.5555555555555p-2;
    s = s + s * (p * q);
    s = k * 0x1.62e42fefa3800p-1 + (s + k * 0x1.ef35793c76730p-45);
    return V(narrow)(y, s, 64) | ~(V(bits))((d > 0) & (d < 0x1p128));
}

/* y (n) <- exp or log of x, lanes at a time; where a lane is not sure of its
   rounding, the whole part by the plain form. */
INLINE void V(map)(float *y, const float *x, size_t n, const int log)
{
    enum { WIDTH = V_BYTES / 8, PART = 64 };
    float in[PART];
    size_t j;
    for (j = 0; j < PART; j++) in[j] = 1;
    float out[PART];
    u64 odd[WIDTH], any;
    for (size_t i = 0; i < n; i += PART) {
        V(bits) lanes = {0};
        size_t m = n - i < PART ? n - i : PART;
        if (m == PART) memcpy(in, x + i, sizeof in); /* known lengths are */
        else memcpy(in, x + i, m * sizeof *x);       /* worth the trouble */
        for (j = 0; j < PART; j += WIDTH) {
            V(half) v;
            memcpy(&v, in + j, sizeof v);
            lanes |= log ? V(log_lanes)(&v, v) : V(exp_lanes)(&v, v);
            memcpy(out + j, &v, sizeof v);
        }
        memcpy(odd, &lanes, sizeof lanes);
        for (any = 0, j = 0; j < WIDTH; j++) any |= odd[j];
        if (any >> 63) map_plain(out, in, m, log);
        if (m == PART) memcpy(y + i, out, sizeof out);
        else memcpy(y + i, out, m * sizeof *y);
    }
}

/* Lanes are neighbouring columns. AT(p) is a vector at any address. */
typedef float V(f32) __attribute__((vector_size(V_LANES * 4)));
typedef int V(i32) __attribute__((vector_size(V_LANES * 4)));
typedef float V(mem) __attribute__((vector_size(V_LANES * 4), aligned(4),
                                    may_alias));
#define VEC V(f32)
#define MASK V(i32)
#define AT(p) (*(V(mem) *)(p))
#define FROM(p) (*(const V(mem) *)(p))

/* Output channels of the largest tile, and vectors of one with m channels. */
#define MOST (V_SUMS * V_LANES < 128 \
              ? V_SUMS * V_LANES / 16 : 8)
#define WIDE(m) (V_SUMS / ((m) > 2 ? (m) : 2))
#define THIN (16 / V_LANES)

/* KEEP(x): x is in a register from here on; gcc would load it again for each
   use. It changes no value. */
#if defined __x86_64__ && V_LANES == 16
#define KEEP(x) __asm__("" : "+v"(x))
#elif defined __x86_64__
#define KEEP(x) __asm__("" : "+x"(x))
#elif defined __aarch64__
#define KEEP(x) __asm__("" : "+w"(x))
#else
#define KEEP(x) (void)(x)
#endif

/* a (m, n) <- a * scale + shift, channel by channel. */
INLINE void V(affine)(VEC *a, const int m, const int n,
                             const float *scale, const float *shift)
{
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < n; j++) {
            VEC t = a[i * n + j] * scale[i];
            a[i * n + j] = t + shift[i];
        }
}

/* out (m, n) <- the sums a of a tile, through conv_finish. */
INLINE void V(finish)(VEC *a, const int m, const int n,
                      const struct atomdl_conv *c, float *out, ptrdiff_t o)
{
    if (c->flags & CONV_AFFINE_FIRST)
        V(affine)(a, m, n, c->scale + o, c->shift + o);
    if (c->flags & CONV_RELU) {
        UNROLL
        for (int i = 0; i < m * n; i++)
            a[i] = (VEC)((MASK)a[i] & (a[i] > 0.0f));
    }
    if (c->flags & CONV_LEAKY) {
        UNROLL
        for (int i = 0; i < m * n; i++) {
            MASK t = a[i] > 0.0f;
            a[i] = (VEC)(((MASK)a[i] & t) | ((MASK)(a[i] * c->slope) & ~t));
        }
    }
    if (c->flags & CONV_AFFINE)
        V(affine)(a, m, n, c->scale + o, c->shift + o);
    out += o * c->pitch_out;
    if (c->flags & CONV_ADD) {
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int j = 0; j < n; j++)
                a[i * n + j] = FROM(out + i * c->pitch_out + j * V_LANES)
                               + a[i * n + j];
    }
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < n; j++)
            AT(out + i * c->pitch_out + j * V_LANES) = a[i * n + j];
}

/* out (m channels from o on, n vectors from x on) <- tap (ky, kx; ci). The sums
   stay in registers. Order of each: bias, then ky, kx, ci. */
INLINE void V(tile)(const int m, const int n, const struct atomdl_conv *c,
                           float *out, const float *const *tap,
                           ptrdiff_t o, ptrdiff_t x)
{
    VEC a[16], zero = {0};
    const float *wt = conv_weight(c, o), *bias = c->bias + o;
    const ptrdiff_t pitch = c->pitch_in;
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < n; j++)
            a[i * n + j] = bias[i] - zero;            /* keeps a bias of -0 */
    VEC v[8];
    for (int t = c->k * c->kw; t > 0; t--) {
        const float *p = *tap++ + x;
        for (int u = c->ci; u > 0; u--) {
            UNROLL
            for (int j = 0; j < n; j++) {
                v[j] = FROM(p + j * V_LANES);
                KEEP(v[j]);
            }
            UNROLL
            for (int i = 0; i < m; i++)
                UNROLL
                for (int j = 0; j < n; j++)
                    a[i * n + j] = a[i * n + j] + v[j] * wt[i];
            p += pitch;
            wt += CONV_BLOCK;
        }
    }
    V(finish)(a, m, n, c, out + x, o);
}

/* Tiles of m channels, by as many vectors as registers hold or by 16 columns.
   Functions of their own: the fewer variables live, the better the loops. */
#define TILE(m) \
    static void V(wide##m)(const struct atomdl_conv *c, float *out, \
                           const float *const *tap, ptrdiff_t o, ptrdiff_t x) \
    { \
        V(tile)(m, WIDE(m), c, out, tap, o, x); \
    } \
    static void V(thin##m)(const struct atomdl_conv *c, float *out, \
                           const float *const *tap, ptrdiff_t o, ptrdiff_t x) \
    { \
        V(tile)(m, THIN, c, out, tap, o, x); \
    }
TILE(1)
TILE(2)
#if MOST >= 4
TILE(4)
#endif
#if MOST >= 8
TILE(8)
#endif

static void (*const V(TILES)[][2])(const struct atomdl_conv *, float *,
                                   const float *const *, ptrdiff_t,
                                   ptrdiff_t) = {
    {NULL, NULL}, {V(wide1), V(thin1)}, {V(wide2), V(thin2)},
#if MOST >= 4
    {NULL, NULL}, {V(wide4), V(thin4)},
#endif
#if MOST >= 8
    {NULL, NULL}, {NULL, NULL}, {NULL, NULL}, {V(wide8), V(thin8)}
#endif
};

/* As conv_rows_plain. The weights of a tile serve all ny rows. */
static void V(conv_rows)(const struct atomdl_conv *c, float *const *out,
                         const float *const *in, int ny)
{
    const float *tap[ATOMDL_SIDE * ATOMDL_SIDE];
    RAN("conv");
    for (int o = 0, m; o < c->co; o += m) {
        m = conv_tile(MOST, c->co - o);
        for (int r = 0, x = 0; r < ny; r++, x = 0) {
            conv_taps(c, tap, in, r);
            for (; x + (WIDE(m) - THIN) * V_LANES < c->w;
                 x += WIDE(m) * V_LANES)
                V(TILES)[m][0](c, out[r], tap, o, x);
            for (; x < c->w; x += 16)
                V(TILES)[m][1](c, out[r], tap, o, x);
            conv_gap(c, out[r], o, m);
        }
    }
}

/* y (m, pitch) <- all columns of a 1 x 1 convolution of m channels */
INLINE void V(columns)(const struct atomdl_conv *g, float *y, const float *v,
                       int m)
{
    int x = 0;
    for (; x + (WIDE(m) - THIN) * V_LANES < g->w; x += WIDE(m) * V_LANES)
        V(TILES)[m][0](g, y, &v, 0, x);
    for (; x < g->w; x += 16) V(TILES)[m][1](g, y, &v, 0, x);
}

#ifndef ATOMDL_NO_TRAIN
/* As conv_wgrad_plain, for m of the tile's channels from o on; the m * 3 sums
   stay in registers. */
INLINE void V(wtile)(const int m, const struct atomdl_conv *c, float *lanes,
                     const struct atomdl_tile *t, int o)
{
    VEC a[CONV_BLOCK * WGRAD_TAPS], zero = {0};
    const ptrdiff_t pitch = c->pitch_out, w = c->w;
    for (int l = 0; l < 16; l += V_LANES) {
        UNROLL
        for (int i = 0; i < m * WGRAD_TAPS; i++) {
            a[i] = zero;
            if (!t->first) a[i] = FROM(lanes + i * 16 + l);
        }
        for (int r = 0; r < t->ny; r++) {
            const float *const *row = t->in + r * c->step, *p[WGRAD_TAPS];
            const float *d = t->dy[r] + o * pitch + l;
            UNROLL
            for (int j = 0; j < WGRAD_TAPS; j++)
                p[j] = row[t->tap[j].row] + t->tap[j].off + l;
            for (ptrdiff_t x = 0; x < w; x += 16) {
                VEC v[WGRAD_TAPS];
                UNROLL
                for (int j = 0; j < WGRAD_TAPS; j++) {
                    v[j] = FROM(p[j] + x);
                    KEEP(v[j]);
                }
                UNROLL
                for (int i = 0; i < m * WGRAD_TAPS; i += WGRAD_TAPS) {
                    VEC u = FROM(d + x + i / WGRAD_TAPS * pitch);
                    KEEP(u);
                    UNROLL
                    for (int j = 0; j < WGRAD_TAPS; j++)
                        a[i + j] = a[i + j] + u * v[j];
                }
            }
        }
        UNROLL
        for (int i = 0; i < m * WGRAD_TAPS; i++) AT(lanes + i * 16 + l) = a[i];
    }
}

static void V(conv_wgrad)(const struct atomdl_conv *c, float *lanes,
                          const struct atomdl_tile *t)
{
    int m = t->m, o = t->o;
    RAN("wgrad");
#if V_SUMS >= 16
    if (m == 8) V(wtile)(8, c, lanes, t, o);
#else
    for (; m > 4; m -= 4, o += 4, lanes += 4 * WGRAD_TAPS * 16)
        V(wtile)(4, c, lanes, t, o);
#endif
    if (m == 4) V(wtile)(4, c, lanes, t, o);
    if (m == 2) V(wtile)(2, c, lanes, t, o);
    if (m == 1) V(wtile)(1, c, lanes, t, o);
}
#endif /* ATOMDL_NO_TRAIN */

/* Lanes of a and b, one behind the other: SHUFFLE(a, b, RUN(i, s)) are those
   from i on, s apart; ZIP(0) and ZIP(1) are a and b interleaved. */
#define RUN4(i, s) i, (i) + (s), (i) + 2 * (s), (i) + 3 * (s)
#define ZIP4(i) i, (i) + V_LANES, (i) + 1, (i) + 1 + V_LANES
#if V_LANES == 4
#define RUN(i, s) RUN4(i, s)
#define ZIP(h) ZIP4(2 * h)
#elif V_LANES == 8
#define RUN(i, s) RUN4(i, s), RUN4(i + 4 * s, s)
#define ZIP(h) ZIP4(4 * h), ZIP4(4 * h + 2)
#else
#define RUN(i, s) \
    RUN4(i, s), RUN4(i + 4 * s, s), RUN4(i + 8 * s, s), RUN4(i + 12 * s, s)
#define ZIP(h) ZIP4(8 * h), ZIP4(8 * h + 2), ZIP4(8 * h + 4), ZIP4(8 * h + 6)
#endif
#ifdef __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (MASK){__VA_ARGS__})
#endif
#define EACH UNROLL
#define PIECE INLINE
#undef WIDE
#undef THIN
#undef KEEP
#undef TILE

#else /* V_BYTES == 4: the same by one lane */
#define V_LANES 1
#define VEC float
#define AT(p) (*(p))
#define FROM(p) (*(p))
#define RUN(i, s) i
#define ZIP(h) h
#define SHUFFLE(a, b, i) ((i) ? (b) : (a))
#define EACH
#define PIECE static /* small rather than fast */
#define MOST 1

INLINE void V(columns)(const struct atomdl_conv *g, float *y, const float *v,
                       int m)
{
    for (int x = 0; x < g->w; x += CONV_COLUMNS)
        conv_columns(g, y + x, &v, m - 1, x, least_int(g->w - x, CONV_COLUMNS));
}

static void V(finish)(const VEC *a, int m, int n, const struct atomdl_conv *c,
                      float *out, ptrdiff_t o)
{
    out += o * c->pitch_out;
    for (int j = 0; j < m * n; j++) {
        float s = conv_finish(c, (int)o, a[j]);
        out[j] = c->flags & CONV_ADD ? out[j] + s : s;
    }
}
#endif

/* d[0], [s], [2 s], [3 s] <- B' of them */
PIECE void V(tile_input)(VEC *d, const int s)
{
    VEC a = d[0], b = d[s], c = d[2 * s], e = d[3 * s];
    d[0] = a - c;
    d[s] = b + c;
    d[2 * s] = c - b;
    d[3 * s] = b - e;
}

/* d[0], [s] <- A' of d[0], [s], [2 s], [3 s] */
PIECE void V(tile_output)(VEC *d, const int s)
{
    VEC a = d[0] + d[s], b = d[s] - d[2 * s];
    d[0] = a + d[2 * s];
    d[s] = b - d[3 * s];
}

/* to <- the first n lanes of x, or all */
PIECE void V(store)(float *to, VEC x, ptrdiff_t n)
{
    if (n >= V_LANES) AT(to) = x;
    else memcpy(to, &x, (size_t)n * sizeof *to);
}

/* d (4) <- B' of columns at ... of four rows */
PIECE void V(tile_columns)(VEC *d, const float *const *in, ptrdiff_t at)
{
    EACH
    for (int y = 0; y < 4; y++) d[y] = FROM(in[y] + at);
    V(tile_input)(d, 1);
}

/* v (16, ci, pitch) <- n tiles side by side of four rows, from the first's
   second column on; those before, between and behind go from tile to tile */
static void V(tiles_in)(const struct atomdl_conv *c, float *v,
                        const float *const *in, int n, int pitch)
{
    const ptrdiff_t step = tile_step(c->ci, pitch);
    RAN("tiles_in");
    for (ptrdiff_t i = 0; i < c->ci; i++, v += pitch) {
        ptrdiff_t at = i * c->pitch_in;
        VEC before[4], here[4], there[4], d[TILE_PLACES];
        V(tile_columns)(before, in, at - V_LANES);
        V(tile_columns)(here, in, at);
        for (ptrdiff_t t = 0; t < n; t += V_LANES) {
            V(tile_columns)(there, in, at + V_LANES);
            EACH
            for (int y = 0; y < 4; y++) {
                d[4 * y + 1] = SHUFFLE(here[y], there[y], RUN(0, 2));
                d[4 * y + 2] = SHUFFLE(here[y], there[y], RUN(1, 2));
                d[4 * y] =
                    SHUFFLE(before[y], d[4 * y + 2], RUN(V_LANES - 1, 1));
                before[y] = there[y];
            }
            at += 2 * V_LANES;
            V(tile_columns)(here, in, at);
            EACH
            for (int y = 0; y < 4; y++) {
                d[4 * y + 3] = SHUFFLE(d[4 * y + 1], here[y], RUN(1, 1));
                V(tile_input)(d + 4 * y, 1);
            }
            EACH
            for (int j = 0; j < TILE_PLACES; j++)
                V(store)(v + j * step + t, d[j], n - t);
        }
    }
}

/* m channels of output from o on, of all n tiles at a place: a 1 x 1
   convolution */
static void V(tiles_sum)(const struct atomdl_conv *c, float *sums, int o, int m,
                         int n, int pitch)
{
    static const int OFF[1] = {0};
    static const float ZERO[CONV_BLOCK] = {0};
    const ptrdiff_t block = (ptrdiff_t)c->ci * CONV_BLOCK;
    const float *v = c->room;
    struct atomdl_conv g = {
        .w = n, .ci = c->ci, .co = m, .k = 1, .kw = 1, .pitch_in = pitch,
        .pitch_out = pitch, .off = OFF,
        .weight = c->weight + o / CONV_BLOCK * TILE_PLACES * block
                  + o % CONV_BLOCK};
    for (int i = 0; i < TILE_PLACES; i++, g.weight += block) {
        g.bias = i == TILE_BIAS ? c->bias + o : ZERO;
        V(columns)(&g, sums, v, m);
        v += tile_step(c->ci, pitch);
        sums += m * pitch;
    }
}

/* one row of output or two <- n tiles of channel o, places step apart */
PIECE void V(tile_rows)(const struct atomdl_conv *c, float *const *out,
                         int rows, const float *sums, ptrdiff_t step, int n,
                         int o)
{
    for (ptrdiff_t t = 0; t < n; t += V_LANES) {
        VEC d[TILE_PLACES], a[2];
        EACH
        for (int j = 0; j < TILE_PLACES; j++) d[j] = FROM(sums + j * step + t);
        EACH
        for (int x = 0; x < 4; x++) V(tile_output)(d + x, 4);
        EACH
        for (int y = 0; y < 2; y++) {
            V(tile_output)(d + 4 * y, 1);
            a[0] = SHUFFLE(d[4 * y], d[4 * y + 1], ZIP(0));
            a[1] = SHUFFLE(d[4 * y], d[4 * y + 1], ZIP(1));
            if (y < rows) V(finish)(a, 1, 2, c, out[y] + 2 * t, o);
        }
    }
}

/* rows of output <- the tiles in c->room, n to a pair of rows */
static void V(tiles_out)(const struct atomdl_conv *c, float *const *out,
                         int rows, int n, int pitch)
{
    float *sums = c->room + TILE_PLACES * tile_step(c->ci, pitch);
    RAN("tiles_out");
    for (int o = 0, m; o < c->co; o += m) {
        m = conv_tile(MOST, c->co - o);
        V(tiles_sum)(c, sums, o, m, (rows + 1) / 2 * n, pitch);
        for (int y = 0; y < rows; y += 2)
            for (int i = 0; i < m; i++)
                V(tile_rows)(c, out + y, rows - y,
                             sums + i * pitch + y / 2 * n, m * pitch, n, o + i);
    }
}
#undef V_SUMS
#undef MOST
#undef RUN4
#undef ZIP4
#undef RUN
#undef ZIP
#undef SHUFFLE
#undef EACH
#undef PIECE
#undef MASK
#undef VEC
#undef AT
#undef FROM
#undef V_LANES

/* What every instruction set has as it stands here, as wide as its compiler
   makes it. */

static void V(exp)(float *y, const float *x, size_t n)
{
    RAN("exp");
    V(map)(y, x, n, 0);
}

static void V(log)(float *y, const float *x, size_t n)
{
    RAN("log");
    V(map)(y, x, n, 1);
}

/* o (n) <- the greatest of each 2 x 2 of a and b (2n) */
static void V(maxpool)(float *o, const float *a, const float *b, int n)
{
    RAN("maxpool");
    for (int i = 0; i < n; i++) {
        float m = a[2 * i];
        m = a[2 * i + 1] > m ? a[2 * i + 1] : m;
        m = b[2 * i] > m ? b[2 * i] : m;
        o[i] = b[2 * i + 1] > m ? b[2 * i + 1] : m;
    }
}

/* o (2n) <- x (n), each twice */
static void V(twice)(float *o, const float *x, int n)
{
    RAN("twice");
    for (int i = 0; i < n; i++) o[2 * i] = o[2 * i + 1] = x[i];
}

/* Two classes: the greater has exp(0) = 1, so one exp serves both. a, b (n) are
   the logits; p, q (n), elsewhere, the probabilities. */
static void V(softmax)(float *p, float *q, const float *a, const float *b,
                       int n)
{
    RAN("softmax");
    for (int i = 0; i < n; i++) {
        float m = b[i] > a[i] ? b[i] : a[i], l = b[i] > a[i] ? a[i] : b[i];
        p[i] = l - m;
    }
    V(exp)(p, p, (size_t)n);
    for (int i = 0; i < n; i++) {
        float e = p[i], sum = 1 + e, high = 1 / sum, low = e / sum;
        p[i] = b[i] > a[i] ? low : high;
        q[i] = b[i] > a[i] ? high : low;
    }
}

#ifndef ATOMDL_NO_TRAIN
/* sum (n) <- the trees of lanes (n, 16), n at most 24 */
static void V(trees)(float *sum, const float *lanes, int n)
{
    RAN("trees");
    float a[CONV_BLOCK * WGRAD_TAPS][8];
    for (int j = 0; j < n; j++)
        for (int i = 0; i < 8; i++)
            a[j][i] = lanes[j * 16 + i] + lanes[j * 16 + i + 8];
    float b[CONV_BLOCK * WGRAD_TAPS][4];
    for (int j = 0; j < n; j++)
        for (int i = 0; i < 4; i++) b[j][i] = a[j][i] + a[j][i + 4];
    for (int j = 0; j < n; j++)
        sum[j] = (b[j][0] + b[j][2]) + (b[j][1] + b[j][3]);
}

/* up, down (2n) <- g (n) at the first greatest of each 2 x 2 of p and q (2n),
   in reading order, else 0. Without branches, 64 at a time. */
static void V(scatter)(const atomdl_pooling *s, const float *g, int n)
{
    RAN("scatter");
    enum { PART = 64 };
    float a[PART], b[PART], c[PART], d[PART];
    for (int from = 0; from < n; from += PART) {
        const float *p = s->p + 2 * from, *q = s->q + 2 * from;
        float *up = s->up + 2 * from, *down = s->down + 2 * from;
        int m = n - from < PART ? n - from : PART, relu = s->relu;
        float slope = s->slope;
        for (int i = 0; i < m; i++) {
            float w = p[2 * i], x = p[2 * i + 1], y = q[2 * i];
            float z = q[2 * i + 1];
            float s1 = x > w ? x : w, t = y > s1 ? y : s1, top = z > t ? z : t;
            float v = g[from + i], none = 0, low = relu ? none : v * slope;
            v = top > 0 ? v : low;
            d[i] = z > t ? v : none;
            v = z > t ? none : v;
            c[i] = y > s1 ? v : none;
            v = y > s1 ? none : v;
            b[i] = x > w ? v : none;
            a[i] = x > w ? none : v;
        }
        for (int i = 0; i < m; i++) {
            up[2 * i] = a[i];
            up[2 * i + 1] = b[i];
            down[2 * i] = c[i];
            down[2 * i + 1] = d[i];
        }
    }
}
#endif

static const atomdl_kernels V(KERNELS) = {
    V_NAME, V_BYTES > 4 ? V_BYTES * 8 : 0, V(exp), V(log), V(conv_rows),
    V(tiles_in), V(tiles_out), V(maxpool), V(twice), V(softmax),
    GRADIENT(V(conv_wgrad)), GRADIENT(V(trees)), GRADIENT(V(scatter))
};

#undef V_ISA
#undef V_BYTES
#undef ATOMDL_KERNELS_PASS
#endif /* ATOMDL_KERNELS_PASS */
