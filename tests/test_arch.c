/* SPDX-License-Identifier: MIT
   Networks: rules, shapes and counts, tensors, builders, text form. */

#include "test.h"

enum { TEXT = 8192 };

static atomdl_layer rows[ATOMDL_ROWS];

/* status of a network in the text form, checked for images of side n */
static int check_text(atomdl_arch_info *info, int *bad, const char *text,
                      int n)
{
    *bad = -9;
    atomdl_arch arch;
    int line;
    int status =
        atomdl_arch_parse(&arch, rows, ATOMDL_ROWS, text, strlen(text), &line);
    if (status) return status;
    return atomdl_arch_check(info, bad, &arch, n, n);
}

/* ---------- Rules --------------------------------------------------------- */

/* a sound network with one row of each kind */
static int resunet(atomdl_arch *arch, atomdl_layer *row, int max, int n, int k,
                   int bottleneck, float dropout, int classes)
{
    atomdl_residual how = {n, k, bottleneck, dropout};
    return atomdl_resunet(arch, row, max, &how, classes);
}

static const char ALL[] =
    "input 3\n"
    "conv a ch=4 k=3\n"           /* 0 */
    "batchnorm b\n"               /* 1 */
    "relu c\n"                    /* 2 */
    "conv d ch=6 k=5 stride=2\n"  /* 3 */
    "leaky p=0.25\n"              /* 4 */
    "maxpool\n"                   /* 5 */
    "dropout p=0.5\n"             /* 6 */
    "nearest\n"                   /* 7 */
    "deconv e ch=4\n"             /* 8 */
    "add f in2=c\n"               /* 9 */
    "concat g in2=input\n"        /* 10 */
    "maxpool\n"                   /* 11 */
    "bilinear\n"                  /* 12 */
    "conv h ch=2 k=3 dilation=15\n" /* 13 */
    "softmax\n";                  /* 14 */

typedef struct {
    int row, status, bad;
    void (*spoil)(atomdl_layer *r);
} fault_case;

static void op_none(atomdl_layer *r) { r->op = 0; }
static void op_past(atomdl_layer *r) { r->op = ATOMDL_OPS; }
static void in_self(atomdl_layer *r) { r->in = r->in2 = 2; }
static void in_below(atomdl_layer *r) { r->in = r->in2 = -2; }
static void in2_later(atomdl_layer *r) { r->in2 = 12; }
static void in2_below(atomdl_layer *r) { r->in2 = -2; }
static void in2_idle(atomdl_layer *r) { r->in2 = 0; }
static void k_zero(atomdl_layer *r) { r->k = 0; }
static void k_even(atomdl_layer *r) { r->k = 4; }
static void k_great(atomdl_layer *r) { r->k = ATOMDL_SIDE + 2; }
static void k_idle(atomdl_layer *r) { r->k = 3; }
static void stride_none(atomdl_layer *r) { r->stride = 0; }
static void stride_three(atomdl_layer *r) { r->stride = 3; }
static void stride_idle(atomdl_layer *r) { r->stride = 1; }
static void dilation_none(atomdl_layer *r) { r->dilation = 0; }
static void dilation_great(atomdl_layer *r) { r->dilation = 16; }
static void dilation_idle(atomdl_layer *r) { r->dilation = 1; }
static void ch_none(atomdl_layer *r) { r->ch = 0; }
static void ch_great(atomdl_layer *r) { r->ch = ATOMDL_CHANNELS + 1; }
static void ch_idle(atomdl_layer *r) { r->ch = 4; }
static void p_zero(atomdl_layer *r) { r->p = 0; }
static void p_minus(atomdl_layer *r) { r->p = -0.0f; }
static void p_one(atomdl_layer *r) { r->p = 1; }
static void p_nan(atomdl_layer *r) { r->p = (float)NAN; }
static void p_half(atomdl_layer *r) { r->p = 0.5f; }
static void name_none(atomdl_layer *r) { memset(r->name, 0, ATOMDL_NAME); }
static void name_long(atomdl_layer *r) { memset(r->name, 'x', ATOMDL_NAME); }
static void name_twice(atomdl_layer *r) { strcpy(r->name, "a"); }
static void name_char(atomdl_layer *r) { strcpy(r->name, "a/b"); }
static void name_input(atomdl_layer *r) { strcpy(r->name, "input"); }
static void to_softmax(atomdl_layer *r) { r->op = ATOMDL_SOFTMAX; }
static void to_sigmoid(atomdl_layer *r) { r->op = ATOMDL_SIGMOID; }
static void to_relu(atomdl_layer *r) { r->op = ATOMDL_RELU; }
static void to_nearest(atomdl_layer *r) { r->op = ATOMDL_UPNEAREST; }
static void skip_one(atomdl_layer *r) { r->in = r->in2 = 6; }
static void one_class(atomdl_layer *r) { r->ch = 1; }
static void many_classes(atomdl_layer *r) { r->ch = ATOMDL_CLASSES + 1; }
static void other_ch(atomdl_layer *r) { r->ch = 5; }
static void other_size(atomdl_layer *r) { r->stride = 1; }
static void add_input(atomdl_layer *r) { r->in2 = ATOMDL_INPUT; }

static const fault_case FAULTS[] = {
    {3, -1, 3, op_none}, {3, -1, 3, op_past}, {2, -1, 2, in_self},
    {2, -1, 2, in_below}, {10, -1, 10, in2_later}, {10, -1, 10, in2_below},
    {5, -1, 5, in2_idle}, {0, -1, 0, k_zero}, {0, -1, 0, k_even},
    {0, -1, 0, k_great}, {8, -1, 8, k_idle}, {0, -1, 0, stride_none},
    {0, -1, 0, stride_three}, {5, -1, 5, stride_idle},
    {0, -1, 0, dilation_none}, {0, -1, 0, dilation_great},
    {8, -1, 8, dilation_idle}, {0, -1, 0, ch_none}, {8, -1, 8, ch_none},
    {0, -1, 0, ch_great}, {1, -1, 1, ch_idle}, {4, -1, 4, p_zero},
    {6, -1, 6, p_minus}, {4, -1, 4, p_one}, {6, -1, 6, p_one},
    {6, -1, 6, p_nan}, {2, -1, 2, p_half}, {0, -1, 0, name_none},
    {1, -1, 1, name_none}, {8, -1, 8, name_none}, {2, -1, 2, name_none},
    {2, -1, 2, name_long}, {3, -1, 3, name_twice}, {3, -1, 3, name_char},
    {3, -1, 3, name_input}, {2, -1, 2, to_softmax}, {2, -1, 2, to_sigmoid},
    {14, -1, 14, to_relu}, {8, -1, 6, skip_one}, {13, -1, 14, one_class},
    {13, -1, 14, many_classes}, {0, -2, 9, other_ch}, {3, -2, 9, other_size},
    {9, -2, 9, add_input}, {11, -2, 14, to_nearest},
};

static void spoil_each(const atomdl_arch *arch)
{
    atomdl_arch_info info;
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
        const fault_case *f = &FAULTS[i];
        atomdl_layer kept = rows[f->row];
        int bad = -9;
        f->spoil(&rows[f->row]);
        int status = atomdl_arch_check(&info, &bad, arch, 0, 0);
        if (status != f->status || bad != f->bad)
            FAIL("case %d: status %d, row %d", (int)i, status, bad);
        CHECK(atomdl_arch_check(&info, NULL, arch, 0, 0) == status);
        rows[f->row] = kept;
    }
    CHECK(!atomdl_arch_check(&info, NULL, arch, 0, 0));
}

static void whole_refused(const atomdl_arch *sound)
{
    atomdl_arch a = *sound;
    int bad = 0;
    a.channels = 0;
    atomdl_arch_info info;
    CHECK(atomdl_arch_check(&info, &bad, &a, 0, 0) == ATOMDL_EARG);
    CHECK(bad == -1);
    a.channels = ATOMDL_CHANNELS + 1;
    CHECK(atomdl_arch_check(&info, NULL, &a, 0, 0) == ATOMDL_EARG);
    a = *sound;
    a.rows = 0;
    CHECK(atomdl_arch_check(&info, NULL, &a, 0, 0) == ATOMDL_EARG);
    a.rows = ATOMDL_ROWS + 1;
    CHECK(atomdl_arch_check(&info, NULL, &a, 0, 0) == ATOMDL_EARG);
    a = *sound;
    a.row = NULL;
    CHECK(atomdl_arch_check(&info, NULL, &a, 0, 0) == ATOMDL_EARG);
    CHECK(atomdl_arch_check(&info, NULL, sound, 8, 0) == ATOMDL_EARG);
    CHECK(atomdl_arch_check(&info, NULL, sound, 0, 8) == ATOMDL_EARG);
    CHECK(atomdl_arch_check(&info, NULL, sound, -4, -4) == ATOMDL_EARG);
    CHECK(atomdl_arch_check(&info, NULL, sound, 4, 1 << 21) == ATOMDL_EARG);
    CHECK(atomdl_arch_check(&info, &bad, sound, 6, 8) == ATOMDL_ESHAPE);
    CHECK(bad == -1);
    CHECK(atomdl_arch_check(&info, NULL, sound, 8, 6) == ATOMDL_ESHAPE);
    CHECK(atomdl_arch_check(&info, NULL, sound, 4, 8) == ATOMDL_OK);
}

/* 4096 wide and 2^40 pixels: the multiply-adds pass 64 bits */
static void overflow_refused(void)
{
    size_t most = (size_t)ATOMDL_SIDE * ATOMDL_SIDE * 4096 * 4096;
    char text[TEXT];
    int n = sprintf(text, "input 4096\n");
    int i;
    for (i = 0; i < 3; i++)
        n += sprintf(text + n, "conv c%d ch=4096 k=%d\n", i, ATOMDL_SIDE);
    sprintf(text + n, "conv d ch=2 k=1\nsoftmax\n");
    atomdl_arch_info info;
    int bad;
    CHECK(check_text(&info, &bad, text, 0) == ATOMDL_OK);
    CHECK(info.parameters == 3 * (most + 4096) + 8194);
    CHECK(check_text(&info, &bad, text, 1 << 10) == ATOMDL_OK);
    CHECK(check_text(&info, &bad, text, 1 << 20) == ATOMDL_ESHAPE);
    for (n = sprintf(text, "input 1\n"), i = 0; i < 16; i++)
        n += sprintf(text + n, "maxpool\n");
    CHECK(check_text(&info, &bad, text, 0) == ATOMDL_EARG && bad == 15);
    for (i = 0; i < 16; i++) n += sprintf(text + n, "nearest\n");
    sprintf(text + n, "sigmoid\n");
    CHECK(check_text(&info, &bad, text, 0) == ATOMDL_ESHAPE && bad == 15);
    for (n = sprintf(text, "input 2049\n"), i = 0; i < 2; i++)
        n += sprintf(text + n, "concat in2=input\n");
    sprintf(text + n, "sigmoid\n");
    CHECK(check_text(&info, &bad, text, 0) == ATOMDL_ESHAPE && bad == 0);
}

void test_arch_rules(void)
{
    atomdl_arch arch;
    int line;
    static const int CH[] = {4, 4, 4, 6, 6, 6, 6, 6, 4, 4, 7, 7, 7, 2, 2};
    static const int LEVEL[] = {0, 0, 0, 1, 1, 2, 2, 1, 0, 0, 0, 1, 0, 0, 0};
    CHECK(!atomdl_arch_parse(&arch, rows, ATOMDL_ROWS, ALL, strlen(ALL),
                             &line));
    atomdl_arch_info info;
    CHECK(atomdl_arch_check(&info, NULL, &arch, 8, 8) == ATOMDL_OK);
    CHECK(info.classes == 2 && info.stride == 4);
    int channels[16], level[16];
    atomdl_arch_shapes(channels, level, &arch);
    for (int i = 0; i < 15; i++)
        if (channels[i] != CH[i] || level[i] != LEVEL[i])
            FAIL("row %d: %d channels, level %d", i, channels[i], level[i]);
    spoil_each(&arch);
    whole_refused(&arch);
    overflow_refused();
}

/* ---------- Counts -------------------------------------------------------- */

static void counted(const char *name, int status, const atomdl_arch *arch,
                    int side, double parameters, double macs, double unit)
{
    atomdl_arch_info info;
    if (status || atomdl_arch_check(&info, NULL, arch, side, side)) {
        FAIL("%s is refused", name);
        return;
    }
    if ((double)info.parameters != parameters)
        FAIL("%s: %.0f parameters, want %.0f", name, (double)info.parameters,
             parameters);
    if (fabs((double)info.macs - macs) > unit / 2)
        FAIL("%s: %.0f multiply-adds, want %.0f", name, (double)info.macs,
             macs);
}

/* METHOD A.1, A.2, A.4: parameters to the last digit, multiply-adds to the
   digits printed there. */
static void counts_of_method(void)
{
    static const int W[3] = {8, 16, 32}, DOPANT[2] = {2, 4};
    atomdl_arch a;
    atomdl_layer *r = rows;
    int max = ATOMDL_ROWS;
    counted("lattice", atomdl_fcn(&a, r, max, W, 3, 2), &a, 128, 21072, 24.8e6,
            1e5);
    atomdl_arch_info info;
    CHECK(!atomdl_arch_check(&info, NULL, &a, 0, 0) && info.field == 52);
    CHECK(info.stride == 8 && info.macs == 0 && info.values == 21072);
    counted("lattice 3", atomdl_fcn(&a, r, max, W, 3, 3), &a, 128, 21151,
            26.1e6, 1e5);
    counted("vacancy", atomdl_fcn(&a, r, max, W, 2, 2), &a, 128, 4880, 15.4e6,
            1e5);
    counted("vacancy 3", atomdl_fcn(&a, r, max, W, 2, 3), &a, 128, 4959,
            16.7e6, 1e5);
    counted("dopant", atomdl_fcn(&a, r, max, DOPANT, 2, 2), &a, 128, 362,
            1.69e6, 1e4);
    counted("dopant 3", atomdl_fcn(&a, r, max, DOPANT, 2, 3), &a, 128, 387,
            2.1e6, 1e5);
    counted("unet", atomdl_unet(&a, r, max, 16, 3), &a, 256, 594067, 2.15e9,
            1e7);
    counted("basic 16", resunet(&a, r, max, 16, 3, 0, 0, 2), &a, 256,
            2565986, 4.4e9, 1e8);
    counted("basic 32", resunet(&a, r, max, 32, 3, 0, 0.1f, 2), &a, 256,
            10249922, 17.6e9, 1e8);
    counted("1-3-1", resunet(&a, r, max, 32, 3, 1, 0, 2), &a, 256,
            7297186, 10.9e9, 1e8);
    counted("1-7-1", resunet(&a, r, max, 32, 7, 1, 0.5f, 2), &a, 256,
            28227746, 45.8e9, 1e8);
    counted("7-7", resunet(&a, r, max, 32, 7, 0, 0, 2), &a, 256,
            48589762, 90.1e9, 1e8);
}

static void builders_refuse(void)
{
    static const int W[16] = {8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8};
    static const int BAD[2] = {8, 65544};
    atomdl_arch a;
    atomdl_layer *r = rows;
    CHECK(!atomdl_fcn(&a, r, 9, W, 1, 1) && a.rows == 9);
    CHECK(rows[8].op == ATOMDL_SIGMOID);
    CHECK(!atomdl_fcn(&a, r, ATOMDL_ROWS, W, 15, 2));
    for (int n = 0; n < 9; n++)
        CHECK(atomdl_fcn(&a, r, n, W, 1, 2) == ATOMDL_EMEM);
    CHECK(atomdl_fcn(&a, r, ATOMDL_ROWS, W, 0, 2) == ATOMDL_EARG);
    CHECK(atomdl_fcn(&a, r, ATOMDL_ROWS, W, 16, 2) == ATOMDL_EARG);
    CHECK(atomdl_fcn(&a, r, ATOMDL_ROWS, BAD, 2, 2) == ATOMDL_EARG);
    CHECK(atomdl_fcn(&a, r, ATOMDL_ROWS, W, 2, 0) == ATOMDL_EARG);
    CHECK(atomdl_fcn(&a, r, ATOMDL_ROWS, W, 2, 33) == ATOMDL_EARG);
    CHECK(atomdl_unet(&a, r, 52, 16, 2) == ATOMDL_EMEM);
    CHECK(atomdl_unet(&a, r, 53, 16, 2) == ATOMDL_OK);
    CHECK(atomdl_unet(&a, r, ATOMDL_ROWS, 0, 2) == ATOMDL_EARG);
    CHECK(atomdl_unet(&a, r, ATOMDL_ROWS, 513, 2) == ATOMDL_EARG);
    CHECK(resunet(&a, r, 107, 8, 3, 0, 0, 2) == ATOMDL_EMEM);
    CHECK(resunet(&a, r, 115, 8, 3, 0, 0.5f, 2) == ATOMDL_EMEM);
    CHECK(resunet(&a, r, 116, 8, 3, 0, 0.5f, 2) == ATOMDL_OK);
    CHECK(resunet(&a, r, ATOMDL_ROWS, 8, 4, 0, 0, 2) == ATOMDL_EARG);
    CHECK(resunet(&a, r, ATOMDL_ROWS, 8, 259, 0, 0, 2) == ATOMDL_EARG);
    CHECK(resunet(&a, r, ATOMDL_ROWS, 257, 3, 0, 0, 2) == ATOMDL_EARG);
    CHECK(resunet(&a, r, ATOMDL_ROWS, 8, 3, 0, 1, 2) == ATOMDL_EARG);
    CHECK(resunet(&a, r, ATOMDL_ROWS, 8, 3, 0, (float)NAN, 2)
          == ATOMDL_EARG);
    CHECK(resunet(&a, r, ATOMDL_ROWS, 8, 3, 0, -1, 2) == ATOMDL_EARG);
}

/* names, shapes and offsets of the tensors of the network ALL */
static void tensors(void)
{
    static const char *const NAME[] = {
        "a.weight", "a.bias", "b.weight", "b.bias", "b.running_mean",
        "b.running_var", "d.weight", "d.bias", "e.weight", "e.bias",
        "h.weight", "h.bias"};
    static const int DIM[12][4] = {
        {4, 3, 3, 3}, {4, 1, 1, 1}, {4, 1, 1, 1}, {4, 1, 1, 1}, {4, 1, 1, 1},
        {4, 1, 1, 1}, {6, 4, 5, 5}, {6, 1, 1, 1}, {6, 4, 3, 3}, {4, 1, 1, 1},
        {2, 7, 3, 3}, {2, 1, 1, 1}};
    static const int KIND[] = {0, 1, 2, 3, 4, 5, 0, 1, 0, 1, 0, 1};
    atomdl_arch arch;
    size_t at = 0;
    int line;
    CHECK(!atomdl_arch_parse(&arch, rows, ATOMDL_ROWS, ALL, strlen(ALL),
                             &line));
    atomdl_arch_info info;
    CHECK(!atomdl_arch_check(&info, NULL, &arch, 0, 0));
    atomdl_tensor t;
    CHECK(!atomdl_arch_tensor(&t, &arch, -1));
    int i;
    for (i = 0; atomdl_arch_tensor(&t, &arch, i); i++) {
        CHECK(i < 12 && !strcmp(t.name, NAME[i]) && t.kind == KIND[i]);
        CHECK(!memcmp(t.dim, DIM[i], sizeof t.dim));
        CHECK(t.dims == (t.kind == ATOMDL_WEIGHT ? 4 : 1));
        CHECK(t.offset == at);
        at += t.count;
    }
    CHECK(i == 12 && at == info.values && info.parameters == at - 8);
}

void test_arch_counts(void)
{
    counts_of_method();
    builders_refuse();
    tensors();
}

/* ---------- Text ---------------------------------------------------------- */

/* printing gives a text that parses to the same rows, and prints the same */
static void round_trip(const atomdl_arch *arch)
{
    static atomdl_layer again[ATOMDL_ROWS];
    char text[TEXT];
    size_t n = atomdl_arch_print(text, sizeof text, arch);
    CHECK(n < sizeof text && n == strlen(text));
    CHECK(n == atomdl_arch_print(NULL, 0, arch));
    atomdl_arch back;
    int line;
    CHECK(!atomdl_arch_parse(&back, again, arch->rows, text, n, &line));
    CHECK(back.rows == arch->rows && back.channels == arch->channels);
    CHECK(!memcmp(again, arch->row,
                  (size_t)arch->rows * sizeof(atomdl_layer)));
    char twice[TEXT];
    CHECK(n == atomdl_arch_print(twice, sizeof twice, &back));
    CHECK(!strcmp(text, twice));
    memset(twice, 'x', sizeof twice); /* cut short, as snprintf */
    CHECK(n == atomdl_arch_print(twice, 10, arch));
    CHECK(!strncmp(twice, text, 9) && !twice[9] && twice[10] == 'x');
    CHECK(n == atomdl_arch_print(twice, 1, arch) && !twice[0]);
}

/* rates and slopes print in few digits and come back to the bit */
static void rates(void)
{
    static const char *const SHORT[] = {"0.01", "0.1", "0.3", "0.00001",
                                        "0.99999994", "0.2", "0.125"};
    memset(rows, 0, 2 * sizeof *rows);
    atomdl_arch arch;
    arch.channels = 1;
    arch.rows = 1;
    arch.row = rows;
    rows[0].op = ATOMDL_LEAKY;
    rows[0].in = rows[0].in2 = ATOMDL_INPUT;
    for (uint32_t b = 1; b < 0x3f800000; b += 65537) {
        rows[0].p = atomdl_float(b);
        round_trip(&arch);
    }
    char text[TEXT], line_text[200];
    int line;
    for (int i = 0; i < 7; i++) {
        sprintf(line_text, "input 1\nleaky p=%s\n", SHORT[i]);
        CHECK(!atomdl_arch_parse(&arch, rows, 1, line_text, strlen(line_text),
                                 &line));
        CHECK_BITS(rows[0].p, (float)atof(SHORT[i]));
        atomdl_arch_print(text, sizeof text, &arch);
        CHECK(!strcmp(text, line_text));
    }
}

static const struct {
    const char *text;
    int line;
} BAD_TEXT[] = {
    {"", 0}, {"\n\n", 2}, {"# input 1\n", 1}, {"input 1", 1}, {"input", 1},
    {"input 0\nrelu", 1}, {"input 4097\nrelu", 1}, {"input 1 2\nrelu", 1},
    {"input x\nrelu", 1}, {"relu\n", 1}, {"input 1\ninput 1", 2},
    {"input 1\n\nrelux", 3}, {"input 1\nconv a", 2}, {"input 1\nconv a ch=", 2},
    {"input 1\nconv a ch=4097", 2}, {"input 1\nconv a ch=-1", 2},
    {"input 1\nconv a ch=99999999999999999999", 2},
    {"input 1\nconv a ch=2 ch=2", 2}, {"input 1\nconv a ch=2 k=17", 2},
    {"input 1\nconv a ch=2 k=3x", 2}, {"input 1\nconv a ch=2 stride=3", 2},
    {"input 1\nconv a ch=2 dilation=256", 2}, {"input 1\nconv a ch=2 p=0.5", 2},
    {"input 1\nconv a ch=2 x=3", 2}, {"input 1\nconv a ch=2 =3", 2},
    {"input 1\nconv a ch=2 b", 2}, {"input 1\nconv a b ch=2", 2},
    {"input 1\nconv a/ ch=2", 2}, {"input 1\nconv input ch=2", 2},
    {"input 1\nrelu a\nrelu a", 3}, {"input 1\nrelu ch=2", 2},
    {"input 1\nrelu k=2", 2}, {"input 1\nrelu in=b", 2},
    {"input 1\nrelu b in=b", 2}, {"input 1\nrelu in=", 2},
    {"input 1\nrelu\nrelu in=", 3}, {"input 1\nrelu in2=input", 2},
    {"input 1\nadd", 2}, {"input 1\nleaky p=", 2}, {"input 1\nleaky p=.", 2},
    {"input 1\nleaky p=1", 2}, {"input 1\nleaky p=0.5.5", 2},
    {"input 1\nleaky p=-0.5", 2}, {"input 1\nleaky p=nan", 2},
    {"input 1\nleaky p=1e-2", 2},
    {"input 1\nrelu abcdefghijklmnopqrstuvwx", 2},
};

void test_arch_text(void)
{
    static const char OPEN[] = "\t# widths\r\n\r\ninput 2 # two\r\n"
                               "  conv  a\tch=5#k=9\r\nsoftmax";
    static const char LEAST[] = "input 1\nleaky p=0.0"
        "00000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000000000000000000000000000000000000000001\n";
    atomdl_arch arch;
    int line;
    CHECK(!atomdl_arch_parse(&arch, rows, 2, OPEN, strlen(OPEN), &line));
    CHECK(arch.rows == 2 && arch.channels == 2 && rows[0].ch == 5);
    CHECK(rows[0].k == 3 && rows[0].stride == 1 && rows[0].dilation == 1);
    CHECK(atomdl_arch_parse(&arch, rows, 1, OPEN, strlen(OPEN), &line)
          == ATOMDL_EMEM);
    CHECK(line == 5);
    CHECK(atomdl_arch_parse(&arch, rows, 9, LEAST, strlen(LEAST), &line)
          == ATOMDL_EARG);
    for (size_t i = 0; i < sizeof BAD_TEXT / sizeof *BAD_TEXT; i++) {
        const char *s = BAD_TEXT[i].text;
        line = 0;
        if (atomdl_arch_parse(&arch, rows, 9, s, strlen(s), &line)
                != ATOMDL_EARG
            || line != BAD_TEXT[i].line)
            FAIL("line %d of \"%s\"", line, s);
    }
    CHECK(!atomdl_arch_parse(&arch, rows, 99, ALL, strlen(ALL), NULL));
    round_trip(&arch);
    CHECK(!atomdl_unet(&arch, rows, ATOMDL_ROWS, 16, 3));
    round_trip(&arch);
    CHECK(!resunet(&arch, rows, ATOMDL_ROWS, 32, 7, 1, 0.1f, 2));
    round_trip(&arch);
    rates();
    char text[TEXT];
    size_t n = atomdl_arch_print(text, sizeof text, &arch);
    for (size_t i = 0; i < n; i++) { /* any byte anywhere: a status, no more */
        char kept = text[i];
        text[i] = "\0\n =#9z\xff"[i % 8];
        if (!atomdl_arch_parse(&arch, rows, 9, text, n, &line)) {
            atomdl_arch_info info;
            atomdl_arch_check(&info, NULL, &arch, 0, 0);
        }
        text[i] = kept;
    }
}
