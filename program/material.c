/* SPDX-License-Identifier: MIT
   Materials: their names as people write them, the weights that know them, and
   whether an image shows what they say. */
#include "analyze.h"
#include "program.h"

#include <stdlib.h>
#include <string.h>

/* ---------- Weights -------------------------------------------------------

   Those in weights/ are compiled in (ATOMDL_WEIGHTS); without that they are
   looked for there when the program runs. */

#ifdef ATOMDL_WEIGHTS
#include "weights.inc"
#else
static const struct {
    const char *name;
    size_t size;
    const uint64_t *word;
} SHIPPED[] = {{NULL, 0, NULL}};
#endif

/* Each row of the library's table. */
const char *material_weights(const atomdl_chemistry *c)
{
    static const char *const KNOWN_BY[][2] = {
        {"graphene", "graphene"}, {"h-bn", "graphene"},
        {"mos2", "dichalcogenide"}, {"ws2", "dichalcogenide"},
        {"wse2", "dichalcogenide"}, {"mose2", "heavy-chalcogenide"},
        {"mote2", "heavy-chalcogenide"}, {"wte2", "heavy-chalcogenide"}};
    for (size_t i = 0; i < sizeof KNOWN_BY / sizeof *KNOWN_BY; i++)
        if (!strcmp(KNOWN_BY[i][0], c->name)) return KNOWN_BY[i][1];
    return NULL;
}

static int weights_shipped(io_bytes *file, const char *name)
{
    size_t i;
    for (i = 0; SHIPPED[i].name && strcmp(SHIPPED[i].name, name); i++) {}
    if (!SHIPPED[i].name) return 0;
    file->size = SHIPPED[i].size;
    file->data = malloc(file->size + 8);
    for (size_t k = 0; k < file->size && file->data; k += 8)
        atomdl_store64(file->data + k, SHIPPED[i].word[k / 8]);
    return file->data != NULL;
}

int weights_find(io_bytes *file, const char *name)
{
    if (weights_shipped(file, name)) return 0;
    if (strchr(name, '/') || strchr(name, '.'))
        return io_read(file, name, (size_t)1 << 31) ? fail("%s", io_reason())
                                                    : 0;
    char path[600];
    snprintf(path, sizeof path, "weights/%.500s.safetensors", name);
    if (!io_read(file, path, (size_t)1 << 31)) return 0;
    return fail("no weights '%s': neither in this program nor as %s; give a "
                "file with --weights", name, path);
}

/* ---------- Names --------------------------------------------------------- */

/* "MoS2", "hBN" in the library's writing; too long: "" */
static void small_letters(char name[MATERIAL_NAME], const char *text)
{
    size_t n = 0;
    for (; text[n] && n + 1 < MATERIAL_NAME; n++)
        name[n] = (char)(text[n] >= 'A' && text[n] <= 'Z' ? text[n] + 32
                                                          : text[n]);
    name[text[n] ? 0 : n] = 0;
    if (!strcmp(name, "hbn") || !strcmp(name, "bn")) strcpy(name, "h-bn");
}

void material_lattice(char name[MATERIAL_NAME], const char *text)
{
    atomdl_lattice any;
    small_letters(name, text);
    if (atomdl_lattice_find(&any, name) && atomdl_chemistry_find(name))
        strcat(name, "-2h-1");
}

int take_material(const option_row *row, const char *text)
{
    options *o = row->to;
    char list[256] = "", name[MATERIAL_NAME];
    small_letters(name, text ? text : "");
    size_t n = strlen(name);
    if (n > 5 && !strcmp(name + n - 5, "-2h-1")) name[n - 5] = 0;
    o->chemistry = atomdl_chemistry_find(name);
    o->material = 1;
    if (o->chemistry) return 0;
    for (int i = 0; atomdl_chemistry_get(i); i++) {
        strcat(list, " ");
        strcat(list, atomdl_chemistry_get(i)->name);
    }
    return misuse("unknown material '%s'; known are%s", text ? text : "", list);
}

/* ---------- The ground ---------------------------------------------------- */

int ground_refuses(session *s)
{
    const atomdl_note *failed = &s->a.got.ground.failed;
    const char *name = s->o->chemistry->name;
    char text[160];
    if (!failed->code) return 0;
    note_text(text, failed);
    if (!s->o->force)
        return fail("%s: does not look like %s: %s; another --material, "
                    "--pixel-size%s? (--force goes on)", s->a.name, name, text,
                    failed->code == ATOMDL_NOTE_DARK ? ", --invert" : "");
    analysis_warn(&s->a, failed, 1);
    return 0;
}

/* ---------- Recognising --------------------------------------------------- */

enum { MIDDLE = 512 };            /* pixels that are looked at */
#define CLOSE 0.02 /* lattice constants that are as good as the nearest */

typedef struct {
    const atomdl_chemistry *is;
    int like;   /* no test of the ground failed; -1: a message was printed */
    double off; /* its lattice constant from the image's, as a part; 0: not
                   known, 1e9: nor would it be liked */
} candidate;

/* px <- the middle of the first frame that is wanted. */
static void cut_middle(float *px, analysis *a, const io_stack *stack,
                       size_t frame)
{
    size_t w = stack->w, h = stack->h, x0 = 0, y0 = 0;
    if (w > MIDDLE) x0 = (w - MIDDLE) / 2, w = MIDDLE;
    if (h > MIDDLE) y0 = (h - MIDDLE) / 2, h = MIDDLE;
    const float *from = stack->px + frame * stack->w * stack->h;
    for (size_t y = 0; y < h; y++)
        memcpy(px + y * w, from + (y0 + y) * stack->w + x0, w * sizeof *px);
    a->w = (int)w;
    a->h = (int)h;
    a->px = px;
}

/* Tries o's material on the middle of an image. */
static candidate try_one(const options *o, const io_stack *stack)
{
    candidate c = {o->chemistry, -1, 1e9};
    session s;
    float *px = malloc((size_t)MIDDLE * MIDDLE * sizeof *px);
    int bad = session_open(&s, o);
    if (!bad && !px) bad = out_of_memory(1 << 20);
    if (!bad) {
        s.a.source = o->image[0];
        s.a.quiet = 1;
        cut_middle(px, &s.a, stack, (size_t)o->first);
        base_name(s.a.name, o->image[0]);
        bad = pixel_size(&s, stack->pixel_x, stack->pixel_y)
              || session_find(&s, PROB_NOWHERE);
    }
    if (!bad) {
        const atomdl_ground *g = &s.a.got.ground;
        c.like = g->asked && !g->failed.code && g->ratio > 0;
        if (c.like) c.off = 0;
        if (!s.pixel.from_lattice && s.pixel.lattice.confidence >= 0.5) {
            double ratio = s.pixel.lattice.pixel / s.a.pixel_x - 1;
            c.off = ratio < 0 ? -ratio : ratio;
        }
    }
    session_close(&s);
    free(px);
    return c;
}

/* Keeps those that the image looks like, with a lattice constant as near as any
   material's; names them. */
static int keep_close(candidate *c, int n, char names[128])
{
    double best = 1e9;
    int kept = 0;
    for (int i = 0; i < n; i++) best = c[i].off < best ? c[i].off : best;
    names[0] = 0;
    for (int i = 0; i < n; i++) {
        if (!c[i].like || c[i].off > best + CLOSE) continue;
        if (kept) strcat(names, ", ");
        strcat(names, c[i].is->name);
        c[kept++] = c[i];
    }
    return kept;
}

static int choose(options *o, candidate *c, int n)
{
    char names[128];
    n = keep_close(c, n, names);
    if (n > 1)
        return fail("%s: looks like each of %s; say which with --material",
                    o->image[0], names);
    if (!n)
        return fail("%s: looks like no material that this program knows; say "
                    "which with --material, and --pixel-size if it is not in "
                    "the file", o->image[0]);
    o->chemistry = c->is;
    fprintf(stderr, "atomdl: %s: taken for %s (--material says otherwise)\n",
            o->image[0], names);
    return 0;
}

int material_recognise(options *o)
{
    candidate c[16];
    io_stack stack;
    const char *out = o->out;
    int n = 0, bad = 0;
    if (o->material || o->weights) return 0;
    if (analysis_read(&stack, o, o->image[0])) return 1;
    if (!(o->pixel > 0) && !(stack.pixel_x > 0)) {
        io_stack_free(&stack);
        return fail("%s: no pixel size in the file: give it with --pixel-size, "
                    "or the material, whose lattice tells it, with --material",
                    o->image[0]);
    }
    if ((size_t)o->first >= stack.frames) o->first = 0;
    o->out = NULL;
    for (int i = 0; atomdl_chemistry_get(i) && !bad && n < 16; i++) {
        o->chemistry = atomdl_chemistry_get(i);
        if (!material_weights(o->chemistry)) continue;
        c[n] = try_one(o, &stack);
        bad = c[n++].like < 0;
    }
    o->out = out;
    io_stack_free(&stack);
    return bad || choose(o, c, n);
}
