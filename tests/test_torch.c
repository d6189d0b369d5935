/* SPDX-License-Identifier: MIT
   Networks against PyTorch: outputs, gradients, running statistics, and ten
   steps of each optimiser (vectors_net.h, made by gen_net.py). */

#include "reference.h"
#include "vectors_net.h"

/* gen_net.py's numbers */
static float number(uint32_t *at)
{
    uint32_t bits = (*at)++ * 2654435761u;
    return (float)(bits >> 16) / 65536 - 0.5f;
}

/* the place in memory of element e, in the file's order, of a tensor */
static size_t place(const atomdl_tensor *t, const atomdl_arch *arch, size_t e)
{
    size_t k = (size_t)t->dim[3], in = (size_t)t->dim[1];
    if (t->dims == 1) return t->offset + e;
    size_t x = e % k;
    size_t y = e / k % k;
    size_t b = e / (k * k) % (size_t)t->dim[1];
    size_t a = e / (k * k) / (size_t)t->dim[1];
    if (arch->row[t->row].op == ATOMDL_DECONV) { /* in, out, ky, kx */
        in = (size_t)t->dim[0];
        return t->offset + ((b * k + y) * k + x) * in + a;
    }
    return t->offset + ((a * k + y) * k + x) * in + b;
}

typedef struct {
    atomdl_layer row[ATOMDL_ROWS];
    atomdl_arch arch;
    atomdl_arch_info info;
    float *values, *gradient;
    float image[2 * V_N * V_H * V_W], logits[4 * V_N * V_H * V_W];
    uint8_t label[V_N * V_H * V_W];
    atomdl_arena arena;
    atomdl_trainer *trainer;
} peer;

static void peer_new(peer *p, const char *text, uint32_t at)
{
    size_t pixels = V_N * V_H * V_W;
    memset(p, 0, sizeof *p);
    p->info = arch_of(&p->arch, p->row, text);
    p->values = malloc(p->info.values * sizeof(float));
    p->gradient = malloc(p->info.values * sizeof(float));
    atomdl_tensor t;
    for (int k = 0; atomdl_arch_tensor(&t, &p->arch, k); k++)
        for (size_t e = 0; e < t.count; e++) {
            float x = number(&at);
            if (t.kind == ATOMDL_GAMMA || t.kind == ATOMDL_VAR) x = x + 1;
            if (t.kind == ATOMDL_BIAS) x = x / 2;
            p->values[place(&t, &p->arch, e)] = x;
        }
    for (size_t i = 0; i < pixels * (size_t)p->arch.channels; i++)
        p->image[i] = number(&at) * 4;
    for (size_t i = 0; i < pixels; i++)
        p->label[i] = (uint8_t)((int)((number(&at) + 0.5f) * 65536)
                                % p->info.classes);
    p->arena = new_arena(1 << 22);
    CHECK(atomdl_trainer_new(&p->trainer, &p->arch, V_N, V_H, V_W, NULL,
                             &p->arena) == ATOMDL_OK);
}

static void peer_free(peer *p)
{
    free(p->values);
    free(p->gradient);
    free(p->arena.base);
}

/* |got - want| <= 2e-5 (|want| + 1): binary32 rounding of sums of up to 100
   products of size 1, and of what batch normalisation divides by */
static void near(const char *what, size_t i, float got, double want)
{
    if (fabs((double)got - want) <= 2e-5 * (fabs(want) + 1)) return;
    FAIL("%s [%zu] = %.9g, PyTorch has %.9g", what, i, (double)got, want);
}

/* one case; returns what follows it among the results */
static const double *torch_case(const char *text, int index, const double *want)
{
    atomdl_plan plan = atomdl_plan_default();
    atomdl_net *net = NULL;
    peer p;
    peer_new(&p, text, (uint32_t)index * 1000);
    size_t n = (size_t)p.info.classes * V_H * V_W;
    float loss;
    CHECK(atomdl_trainer_run(p.trainer, &loss, p.gradient, p.values,
                             &(atomdl_batch){p.image, p.label, 0}, &plan)
          == ATOMDL_OK);
    atomdl_trainer_logits(p.trainer, p.logits);
    for (size_t i = 0; i < V_N * n; i++)
        near("logits", i, p.logits[i], *want++);
    near("loss", 0, loss, *want++);
    atomdl_tensor t;
    for (int k = 0; atomdl_arch_tensor(&t, &p.arch, k); k++)
        for (size_t i = 0; i < t.count; i++) {
            int running = t.kind == ATOMDL_MEAN || t.kind == ATOMDL_VAR;
            near(t.name, i,
                 (running ? p.values : p.gradient)[place(&t, &p.arch, i)],
                 *want++);
        }
    CHECK(atomdl_net_new(&net, &p.arch, p.values, V_H, V_W, NULL, &p.arena)
          == ATOMDL_OK);
    if (net) CHECK(atomdl_net_run(net, p.logits, p.image) == ATOMDL_OK);
    for (size_t i = 0; i < n; i++) near("in use", i, p.logits[i], *want++);
    if (test_failures) show_arch(&p.arch);
    peer_free(&p);
    return want;
}

void test_torch_networks(void)
{
    const double *want = V_RESULTS;
    for (size_t i = 0; i < sizeof V_NETS / sizeof *V_NETS && !test_failures;
         i++)
        want = torch_case(V_NETS[i], (int)i, want);
    if (!test_failures)
        CHECK(want == V_RESULTS + sizeof V_RESULTS / sizeof *V_RESULTS);
}

/* Ten steps carry rounding errors on: tolerance as above, on weights that
   have moved by 0.1. */
static void torch_steps(const atomdl_plan *plan, const double *want)
{
    peer p;
    peer_new(&p, V_TRAIN, 20000);
    atomdl_state state;
    CHECK(atomdl_state_new(&state, &p.arch, plan, &p.arena) == ATOMDL_OK);
    float loss;
    for (uint32_t i = 0; i < 10; i++) {
        CHECK(atomdl_trainer_run(p.trainer, &loss, p.gradient, p.values,
                                 &(atomdl_batch){p.image, p.label, i}, plan)
              == ATOMDL_OK);
        CHECK(atomdl_update(p.values, p.gradient, NULL, &state, &p.arch, plan)
              == ATOMDL_OK);
        near("loss", i, loss, *want++);
    }
    atomdl_tensor t;
    for (int k = 0; atomdl_arch_tensor(&t, &p.arch, k); k++)
        for (size_t e = 0; e < t.count; e++)
            near(t.name, e, p.values[place(&t, &p.arch, e)], *want++);
    peer_free(&p);
}

void test_torch_training(void)
{
    atomdl_plan plan = atomdl_plan_default();
    plan.schedule = ATOMDL_CONSTANT;
    plan.warmup = 0;
    plan.rate = 0.01f;
    torch_steps(&plan, V_ADAM);
    plan.optimiser = ATOMDL_SGD;
    plan.rate = 0.05f;
    torch_steps(&plan, V_SGD);
}
