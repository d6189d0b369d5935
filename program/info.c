/* SPDX-License-Identifier: MIT
   atomdl info: what an image, a weight file or a recipe holds. */
#include "analyze.h"
#include "program.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

const char INFO_HELP[] =
    "usage: atomdl info [--c-array] FILE...\n"
    "\n"
    "What an image, a weight file or a recipe holds.\n"
    "--c-array writes weights as a C file instead: NAME_network, text, and\n"
    "NAME_values, floats, as atomdl_arch_parse and atomdl_net_new take them.\n"
    "\n"
    "example:  atomdl info image.dm3 weights/graphene.recipe\n";

static int info_image(const char *path)
{
    io_stack s;
    io_text t = {0};
    double sum = 0;
    if (io_stack_read(&s, path)) return fail("%s", io_reason());
    size_t n = s.frames * s.w * s.h;
    size_t finite = 0;
    float high = 0, low = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(s.px[i] - s.px[i] == 0)) continue;
        low = s.px[i] < low || !finite ? s.px[i] : low;
        high = s.px[i] > high || !finite ? s.px[i] : high;
        sum += (double)s.px[i];
        finite++;
    }
    io_put(&t, "image       %s, %s\n", s.format, s.type);
    io_put(&t, "size        %zu x %zu pixels", s.w, s.h);
    if (s.frames > 1) io_put(&t, ", %zu frames", s.frames);
    if (s.pixel_x > 0)
        io_put(&t, "\npixel size  %.5f x %.5f A\nfield       %.2f x %.2f A\n",
               s.pixel_x, s.pixel_y, s.pixel_x * (double)s.w,
               s.pixel_y * (double)s.h);
    else
        io_put(&t, "\npixel size  not in the file\n");
    if (finite)
        io_put(&t, "values      %.6f to %.6f, mean %.6f\n", (double)low,
               (double)high, sum / (double)finite);
    if (finite < n)
        io_put(&t, "no data     %zu pixels are not finite\n", n - finite);
    if (!t.failed) fputs(t.s, stdout);
    int bad = t.failed ? fail("%s: not enough memory", path) : 0;
    io_text_free(&t);
    io_stack_free(&s);
    return bad;
}

static void info_tensors(const atomdl_finder *m)
{
    atomdl_tensor t;
    for (int i = 0; atomdl_arch_tensor(&t, &m->arch, i); i++) {
        printf("tensor      %-24s", t.name);
        for (int k = 0; k < t.dims; k++) printf(k ? " x %d" : "%d", t.dim[k]);
        printf("\n");
    }
}

/* "dir/my-net.safetensors" -> "my_net" */
static void c_name(char to[64], const char *path)
{
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    size_t n = strcspn(name, ".");
    if (n > 60) n = 60;
    snprintf(to, 64, "%s%.*s", *name >= '0' && *name <= '9' ? "n" : "", (int)n,
             name);
    for (size_t i = 0; to[i]; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                    "0123456789", to[i])) to[i] = '_';
}

/* Weights as a C file; numbers are exact: whole number times power of two. */
static void c_array(const char *path, const atomdl_finder *m)
{
    const char *p = m->meta.network;
    char name[64];
    c_name(name, path);
    printf("/* Written by atomdl info --c-array: %.5f A a pixel, scaling %s. "
           "*/\n\nstatic const char %s_network[] =", m->meta.pixel_size,
           m->meta.scaling, name);
    const char *end;
    for (; *p; p = end + (*end != 0)) {
        end = p + strcspn(p, "\n");
        printf("\n    \"%.*s\\n\"", (int)(end - p), p);
    }
    printf(";\n\nstatic const float %s_values[%zu] = {", name, m->info.values);
    for (size_t i = 0; i < m->info.values; i++) {
        uint32_t bits = atomdl_bits(m->values[i]), e = bits >> 23 & 255;
        printf("%s%s0x%lxp%df,", i % 4 ? " " : "\n    ", bits >> 31 ? "-" : "",
               (unsigned long)((bits & 0x7fffff) | (e ? 0x800000u : 0)),
               (int)(e ? e : 1) - 150);
    }
    printf("\n};\n");
}

static int info_weights(const char *path, const io_bytes *file, int as_c)
{
    atomdl_finder *m = calloc(1, sizeof *m);
    if (!m) return out_of_memory(sizeof *m);
    atomdl_arena memory = {0};
    int bad = finder_load(m, file, path, NULL, &memory);
    atomdl_arch_info at;
    if (!bad && as_c) {
        c_array(path, m);
    } else if (!bad) {
        int step = m->info.stride, side = (512 + step - 1) / step * step;
        atomdl_arch_check(&at, NULL, &m->arch, side, side);
        printf("weights     %zu parameters, %.0f million multiply-adds for "
               "%d x %d pixels\n", m->info.parameters,
               (double)at.macs / 1e6, side, side);
        printf("classes     %s\n", m->meta.classes);
        printf("pixel size  %.5f A\n", m->meta.pixel_size);
        printf("scaling     %s\n", m->meta.scaling);
        printf("field       %d pixels, stride %d\n", m->info.field,
               m->info.stride);
        printf("recipe      %s\n", m->meta.recipe[0] ? m->meta.recipe : "-");
        printf("numerics    %u%s\n", (unsigned)m->meta.numerics,
               m->meta.numerics < ATOMDL_NUMERICS
                   ? ", older: last digits differ from what its maker saw" : "");
        printf("digest      ");
        print_digest(atomdl_digest_f32(ATOMDL_DIGEST, m->values,
                                       m->info.values));
        printf("\n");
        info_tensors(m);
        printf("network\n%s", m->meta.network);
    }
    free(memory.base);
    free(m);
    return bad;
}

static int info_recipe(const char *path)
{
    atomdl_recipe *r = malloc(sizeof *r);
    if (!r) return out_of_memory(sizeof *r);
    int bad = recipe_read(r, path);
    if (!bad) {
        printf("recipe      ");
        print_digest(atomdl_recipe_digest(r));
        printf("\n");
        bad = recipe_show(r, 0);
    }
    free(r);
    return bad;
}

/* Text with a `key = value` in it. */
static int looks_like_recipe(const io_bytes *file)
{
    size_t n = file->size < 4096 ? file->size : 4096;
    int equals = 0;
    for (size_t i = 0; i < n; i++) {
        equals |= file->data[i] == '=';
        if (file->data[i] < 9) return 0;
    }
    return equals && file->data[0] != 'P';
}

int info_command(char **argv)
{
    int as_c = 0, bad = 0;
    const option_row row[] = {OPTION_FLAG("--c-array", &as_c), OPTION_END};
    const char **path = (const char **)argv; /* files move to its front */
    int n = options_read(row, argv, path, INT_MAX, "info: what is '%s'?");
    if (n < 0) return 2;
    if (!n) return misuse("info wants a file");
    io_bytes file;
    for (int i = 0; i < n; i++) {
        if (n > 1 && !as_c) printf("%s%s\n", i ? "\n" : "", path[i]);
        if (io_read(&file, path[i], IO_FILE)) {
            bad = fail("%s", io_reason());
            continue;
        }
        bad |= file.size > 16 && file.data[8] == '{'
                   ? info_weights(path[i], &file, as_c)
               : as_c ? fail("%s: not a weight file", path[i])
               : file.size && looks_like_recipe(&file)
                   ? info_recipe(path[i])
                   : info_image(path[i]);
        free(file.data);
    }
    return bad;
}
