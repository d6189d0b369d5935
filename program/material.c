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
    const char *near = NULL;
    int least = 3;
    for (int i = 0; atomdl_chemistry_get(i); i++) {
        const char *known = atomdl_chemistry_get(i)->name;
        int d = atomdl_edits(name, strlen(name), known);
        if (d < least) near = known, least = d;
        strcat(strcat(list, " "), known);
    }
    return misuse("unknown material '%s'; %s%s%sknown are%s", text ? text : "",
                  near ? "perhaps " : "", near ? near : "", near ? "; " : "",
                  list);
}

/* ---------- The ground ---------------------------------------------------- */

int ground_refuses(session *s)
{
    atomdl_note *failed = &s->a.got.ground.failed;
    const char *name = s->o->chemistry->name;
    char text[160];
    if (s->pixel.failed.code && s->a.got.ground.asked)
        *failed = s->pixel.failed; /* why the others failed, if they did */
    if (!failed->code) return 0;
    note_text(text, failed);
    if (!s->o->force)
        return fail("%s: does not look like %s: %s; another --material, "
                    "--pixel-size%s? (--force goes on)", s->a.name, name, text,
                    failed->code == ATOMDL_NOTE_DARK ? ", --invert" : "");
    analysis_warn(&s->a, failed, 1);
    return 0;
}

/* ---------- Recognising ---------------------------------------------------

   In the middle of the first image: first by the lattice constant, then by what
   networks find there. */

enum { ROWS = 16, MIDDLE = 512, LEAST_MIDDLE = 64 }; /* pixels */
#define ENOUGH 40. /* A, of the image */
#define CLOSE 0.02 /* lattice constants that are as good as the nearest */

typedef struct {
    const atomdl_chemistry *is;
    double off; /* its lattice constant from the image's, as a part; -1: the
                   image does not tell */
} candidate;

/* a <- the middle of the first frame that is wanted, in px from malloc. */
static int cut_middle(analysis *a, const options *o, const io_stack *stack)
{
    double pixel = o->pixel > 0 ? o->pixel : stack->pixel_x;
    double want = ENOUGH / pixel;
    size_t side = want > MIDDLE         ? MIDDLE
                  : want < LEAST_MIDDLE ? LEAST_MIDDLE : (size_t)want;
    size_t w = stack->w, h = stack->h, x0 = 0, y0 = 0;
    if (w > side) x0 = (w - side) / 2, w = side;
    if (h > side) y0 = (h - side) / 2, h = side;
    float *px = malloc(w * h * (sizeof *px + 1));
    if (!px) return out_of_memory((double)(w * h * (sizeof *px + 1)));
    unsigned char *blank = (unsigned char *)(px + w * h);
    frame_of_stack(a, stack, (size_t)o->first, o->image[0]);
    for (size_t y = 0; y < h; y++) {
        size_t at = (y0 + y) * stack->w + x0;
        memcpy(px + y * w, a->px + at, w * sizeof *px);
        if (a->blank) memcpy(blank + y * w, a->blank + at, w);
    }
    if (a->blank) a->blank = blank;
    a->w = (int)w;
    a->h = (int)h;
    a->px = px;
    a->quiet = 1;
    a->pixel_x = pixel;
    a->pixel_y = o->pixel > 0 ? o->pixel : stack->pixel_y;
    return 0;
}

/* c->off by the image's lattice; 1: a message was printed. */
static int measure_off(candidate *c, const analysis *a, atomdl_arena *memory)
{
    atomdl_arena measure = {0, 0, 0, 0, 0};
    atomdl_image image = image_of(a);
    atomdl_pixel p = {.x = a->pixel_x, .y = a->pixel_y};
    if (atomdl_pixel_find(&p, &image, c->is, &measure)
        || room(memory, measure.peak))
        return 1;
    c->off = -1;
    if (atomdl_pixel_find(&p, &image, c->is, memory)
        || p.lattice.confidence < 0.5)
        return 0;
    double known = atomdl_sqrt(a->pixel_x * a->pixel_y);
    c->off = p.lattice.pixel / known - 1;
    if (c->off < 0) c->off = -c->off;
    return 0;
}

/* Each material that weights know, nearest lattice constants alone; how many,
   or -1. */
static int list_close(candidate c[ROWS], const analysis *a)
{
    atomdl_arena memory = {0, 0, 0, 0, 0};
    double best = 1e9;
    int n = 0, kept = 0, bad = 0;
    for (int i = 0; atomdl_chemistry_get(i) && n < ROWS && !bad; i++) {
        c[n].is = atomdl_chemistry_get(i);
        if (!material_weights(c[n].is)) continue;
        bad = measure_off(&c[n], a, &memory);
        if (c[n].off >= 0 && c[n].off < best) best = c[n].off;
        n++;
    }
    for (int i = 0; i < n; i++)
        if (c[i].off <= best + CLOSE) c[kept++] = c[i];
    free(memory.base);
    return bad ? -1 : kept;
}

/* Whether an image passes the tests of the ground as o's material; -1: a
   message was printed. */
static int looks_like(const options *o, const analysis *a)
{
    session s;
    int bad = session_open(&s, o);
    s.a = *a;
    bad = bad || session_find(&s, PROB_NOWHERE);
    const atomdl_ground *g = &s.a.got.ground;
    int like = bad ? -1 : g->asked && g->tested && !g->failed.code;
    session_close(&s);
    return like;
}

/* o->chemistry <- the one that the image looks like, if it is one. */
static int choose(options *o, const analysis *a)
{
    candidate c[ROWS];
    const char *out = o->out;
    char names[ROWS * 12] = "";
    int n = list_close(c, a), like = n < 0 ? -1 : 0, found = 0;
    const atomdl_chemistry *is = NULL;
    o->out = NULL;
    for (int i = 0; i < n && like >= 0; i++) {
        o->chemistry = c[i].is;
        like = looks_like(o, a);
        if (like <= 0) continue;
        if (found++) strcat(names, ", ");
        strcat(names, c[i].is->name);
        is = c[i].is;
    }
    o->out = out;
    o->chemistry = is;
    if (like < 0) return 1;
    if (found > 1)
        return fail("%s: looks like each of %s; say which with --material",
                    o->image[0], names);
    if (!found)
        return fail("%s: looks like no material that this program knows; say "
                    "which with --material, and --pixel-size if it is not in "
                    "the file", o->image[0]);
    fprintf(stderr, "atomdl: %s: taken for %s (--material says otherwise)\n",
            o->image[0], names);
    return 0;
}

int material_recognise(options *o)
{
    io_stack stack;
    analysis a = {0};
    int bad = 0;
    if (o->material || o->weights) return 0;
    if (analysis_read(&stack, o, o->image[0])) return 1;
    if (!(o->pixel > 0) && !(stack.pixel_x > 0))
        bad = fail("%s: no pixel size in the file: give it with --pixel-size, "
                   "or the material, whose lattice tells it, with --material",
                   o->image[0]);
    else if ((size_t)o->first < stack.frames) /* else analyze says so */
        bad = cut_middle(&a, o, &stack) || choose(o, &a);
    io_stack_free(&stack);
    free((float *)a.px);
    return bad;
}
