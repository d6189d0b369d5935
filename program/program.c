/* SPDX-License-Identifier: MIT
   What the commands share: messages, progress, memory, recipes. */
#if defined __unix__ || defined __APPLE__
#define _POSIX_C_SOURCE 200112L
#define _DEFAULT_SOURCE /* madvise */
#include <sys/mman.h>
#include <unistd.h> /* isatty */
#else
#define isatty(file) 0
#endif

#include "program.h"
#include "files/files.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- Messages ------------------------------------------------------ */

static void say_line(const char *format, va_list args)
{
    fflush(stdout);
    fputs("atomdl: ", stderr);
    vfprintf(stderr, format, args);
    putc('\n', stderr);
}

int fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_line(format, args);
    va_end(args);
    return 1;
}

int misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say_line(format, args);
    va_end(args);
    return 2;
}

/* A line that is written over, on a terminal alone. */
void progress(const char *what, int done, int all)
{
    if (all < 2 || !isatty(2)) return;
    fprintf(stderr, "\r%s %d/%d", what, done, all);
    if (done == all) fputs("\r\033[K", stderr);
    fflush(stderr);
}

/* In two halves: C89's printf, which some systems have, knows no 64 bits. */
void digest_text(char text[17], uint64_t digest)
{
    sprintf(text, "%08lx%08lx", (unsigned long)(digest >> 32),
            (unsigned long)(digest & 0xffffffffu));
}

void print_digest(uint64_t digest)
{
    char text[17];
    digest_text(text, digest);
    printf("%s", text);
}

/* ---------- Memory -------------------------------------------------------- */

int out_of_memory(double bytes)
{
    return fail("needs %.1f MiB of memory more than there is; analyse parts "
                "of the image, one at a time", bytes / 1048576);
}

/* Large arenas on large pages, where there are such: fewer faults. */
static void *arena_new(size_t n)
{
#ifdef MADV_HUGEPAGE
    size_t large = (size_t)1 << 21;
    void *p = NULL;
    if (n >= large) {
        n += large - n % large;
        if (posix_memalign(&p, large, n)) return NULL;
        madvise(p, n, MADV_HUGEPAGE);
        return p;
    }
#endif
    return malloc(n);
}

/* As room(), without a word. */
static int make_room(atomdl_arena *a, size_t need)
{
    if (need > a->size || !a->base) {
        free(a->base);
        a->base = arena_new(need + 1);
        a->size = a->base ? need : 0;
    }
    a->used = 0;
    a->peak = a->base ? 0 : need;
    a->failed = 0;
    return a->base ? ATOMDL_OK : ATOMDL_EMEM;
}

int room(atomdl_arena *a, size_t need)
{
    return make_room(a, need) ? out_of_memory((double)need) : 0;
}

int measure_and_run(stage *run, void *of, atomdl_arena *a)
{
    atomdl_arena measure = {0, 0, 0, 0, 0};
    int status = run(of, &measure);
    if (!status) status = make_room(a, measure.peak);
    return status ? status : run(of, a);
}

int in_arena(stage *run, void *of, atomdl_arena *a, const char *name)
{
    int status = measure_and_run(run, of, a);
    if (status && !a->base) return out_of_memory((double)a->peak);
    return status ? fail("%s: %s", name, atomdl_strerror(status)) : 0;
}

/* ---------- Kernels, recipes ---------------------------------------------- */

int wanted_kernels(const atomdl_kernels **k, const char *name)
{
    char list[128] = "";
    if (!name) name = getenv("ATOMDL_ISA");
    if (name && !*name) name = NULL;
    *k = atomdl_kernels_find(name);
    if (*k) return 0;
    for (int i = 0; atomdl_kernels_get(i); i++) {
        strcat(list, " ");
        strcat(list, atomdl_kernels_get(i)->name);
    }
    return misuse("no kernels '%s' on this machine; it has:%s", name, list);
}

int recipe_read(atomdl_recipe *r, const char *path)
{
    io_bytes bytes;
    if (io_read(&bytes, path, 1 << 20)) return fail("%s", io_reason());
    atomdl_recipe_error error;
    int status =
        atomdl_recipe_parse(r, &error, (const char *)bytes.data, bytes.size);
    free(bytes.data);
    if (!status) return 0;
    return error.line ? fail("%s:%d: %s", path, error.line, error.text)
                      : fail("%s: %s", path, error.text);
}

int recipe_show(const atomdl_recipe *r, int meaning)
{
    size_t n = atomdl_recipe_print(NULL, 0, r, meaning) + 1;
    char *text = malloc(n);
    if (!text) return fail("not enough memory");
    atomdl_recipe_print(text, n, r, meaning);
    fputs(text, stdout);
    free(text);
    return 0;
}
