/* SPDX-License-Identifier: MIT
   atomdl analyze: from an image to atoms, bonds and named defects; atomdl
   evaluate and atomdl info. Images run through the network in bands of rows,
   so that memory beside the image itself does not grow with its height. */
#include "analyze.h"
#include "program.h"
#include "report.h"
#include "tables.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#ifdef _WIN32
#include <direct.h>
#define mkdir(path, mode) _mkdir(path)
#endif

const char ANALYZE_HELP[] =
    "usage: atomdl analyze IMAGE... [-o DIR] [OPTION...]\n"
    "\n"
    "Finds atoms, bonds and defects. Into DIR (default: analysis) go, for\n"
    "NAME.ext, NAME.atoms.csv, .bonds.csv, .defects.json, .xyz, .prob.npy\n"
    "(of the network's sampling), .overlay.png, and one report.html for all.\n"
    "Frames of stacks are NAME-0000, NAME-0001...\n"
    "\n"
    "  --pixel-size A     Angstrom a pixel; default: what the file says, else\n"
    "                     what the lattice of the material says\n"
    "  --material NAME    graphene (default), h-bn, mos2, mose2, ws2, wse2\n"
    "  --weights NAME|FILE  default: those for the material\n"
    "  --frames A-B       of stacks, the first is 0\n"
    "  --average 8        mean over the image's 8 symmetries: slower, and a\n"
    "                     little better where noise is high; default 1\n"
    "  --threshold [CLASS=]P  least probability, as often as you like\n"
    "  --dopant SYMBOL    element of a class named `dopant`; default V\n"
    "  --method network|intensity   what counts the chalcogens of a column:\n"
    "                     the network's classes (default), or the image's\n"
    "                     intensity there and a mixture of four levels\n"
    "  --dark V           the file's grey level without signal; default 0.\n"
    "                     Only weights with scaling `level` look at it\n"
    "  --threads N        default: all; never changes a result\n"
    "\n"
    "example:  atomdl analyze --pixel-size 0.078 -o out image.tif\n"
    "          then open out/report.html\n";

/* ---------- Small things ------------------------------------------------- */

double to_px(double at, double pixel) { return at / pixel; }

double degrees(double radians) { return radians * 57.29577951308232; }

static void warn(analysis *a, const char *text)
{
    if (!a->quiet)
        fprintf(stderr, "atomdl: %s: warning: %s\n", a->name, text);
    if (a->warnings < WARNINGS)
        snprintf(a->warning[a->warnings++], sizeof a->warning[0], "%s", text);
}

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

/* Which weights know which material. */
static const char *default_weights(const atomdl_chemistry *c)
{
    return c->host[0] == 6               ? "graphene"
           : c->host[0] != c->host[1]
                   && c->count[1] == 2   ? "dichalcogenide"
                                         : c->name;
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

/* The file of a name: built in, weights/NAME.safetensors, or NAME itself. */
static int weights_find(io_bytes *file, const char *name)
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

static int class_thresholds(atomdl_finder *m, const options *o)
{
    for (int i = 0; i < o->thresholds; i++) {
        const char *text = o->threshold[i], *is = strchr(text, '=');
        size_t n = is ? (size_t)(is - text) : 0;
        char *end;
        double v = strtod(is ? is + 1 : text, &end);
        int hits = 0;
        if (*end || end == text || !(v > 0 && v < 1))
            return misuse("--threshold wants a number between 0 and 1: '%s'",
                          text);
        for (int k = 0; k < m->classes; k++) {
            atomdl_class *s = &m->class_of[k];
            if (n && (strlen(s->name) != n || memcmp(s->name, text, n)))
                continue;
            s->threshold = v;
            hits++;
        }
        if (!hits)
            return misuse("--threshold: no class '%.*s' (these weights have "
                          "%s)", (int)n, text, m->meta.classes);
    }
    return 0;
}

int finder_load(atomdl_finder *m, const io_bytes *file, const char *name,
                const options *o, atomdl_arena *memory)
{
    atomdl_arena measure = {0, 0, 0, 0, 0};
    const atomdl_chemistry *c = o ? o->chemistry : NULL;
    int dopant = o ? o->dopant : 0;
    int bad = atomdl_finder_open(m, file->data, file->size, c, dopant,
                                 &measure);
    if (!bad) {
        if (room(memory, measure.peak)) return 1;
        bad = atomdl_finder_open(m, file->data, file->size, c, dopant, memory);
    }
    m->name = name;
    if (!bad) return 0;
    const char *text = atomdl_note_text(m->why.code);
    char why[160];
    if (m->at_fault[0]) snprintf(why, sizeof why, text, m->at_fault);
    else snprintf(why, sizeof why, text, m->why.value[0], m->why.value[1]);
    return fail("%s: %s", name, why);
}

static int model_load(session *s, const options *o)
{
    io_bytes file = {NULL, 0};
    const char *name = o->weights ? o->weights : default_weights(o->chemistry);
    if (weights_find(&file, name)) return 1;
    int bad = finder_load(s->m, &file, name, o, &s->values);
    free(file.data);
    return bad ? bad : class_thresholds(s->m, o);
}

/* ---------- The network's input ------------------------------------------- */

int up_to(int n, int step) { return (n + step - 1) / step * step; }

/* Checks the frame and settles the sizes. */
static int frame_shape(session *s)
{
    analysis *a = &s->a;
    size_t n = (size_t)a->w * (size_t)a->h, top = 0;
    float low = a->px[0], high = low;
    double w = a->w * a->pixel_x / s->m->meta.pixel_size + 0.5;
    double h = a->h * a->pixel_y / s->m->meta.pixel_size + 0.5;
    double greater = a->pixel_x > a->pixel_y ? a->pixel_x : a->pixel_y;
    for (size_t i = 0; i < n; i++) {
        low = a->px[i] < low ? a->px[i] : low;
        high = a->px[i] > high ? a->px[i] : high;
    }
    for (size_t i = 0; i < n; i++) top += a->px[i] == high;
    if (a->w < 2 || a->h < 2 || w < 8 || h < 8)
        return fail("%s: %d x %d pixels are too few (%.2f x %.2f A)",
                    a->source, a->w, a->h, a->w * a->pixel_x,
                    a->h * a->pixel_y);
    if (low == high)
        return fail("%s: every pixel has the same value, there is nothing to "
                    "find", a->source);
    if (greater > 0.5 * s->m->chemistry->a)
        return fail("%s: at %.4g A a pixel no atoms can be told apart; is "
                    "the pixel size right?", a->source, greater);
    if (w > ATOMDL_IMAGE_MAX || h > ATOMDL_IMAGE_MAX || w * h > IO_PIXELS)
        return fail("%s: at %.4g A a pixel it would need %.0f x %.0f pixels; "
                    "is --pixel-size right?", a->source, a->pixel_x, w, h);
    if (top > 1 && (double)top > 0.02 * (double)n) {
        char text[120];
        snprintf(text, sizeof text, "%.0f %% of the pixels are saturated; "
                 "their atoms may be wrong", 100. * (double)top / (double)n);
        warn(a, text);
    }
    if (greater > 2.5 * s->m->meta.pixel_size)
        warn(a, "coarser than the network was trained for");
    a->got.net_w = (int)w;
    a->got.net_h = (int)h;
    return 0;
}

/* The image resampled, scaled, and reflected to the network's stride. */
static int native_stage(void *of, atomdl_arena *arena)
{
    session *s = of;
    const analysis *a = &s->a;
    int step = s->m->info.stride;
    int w = up_to(a->got.net_w, step), h = up_to(a->got.net_h, step);
    atomdl_image src;
    src.w = a->w, src.h = a->h, src.c = 1, src.px = (float *)a->px;
    int same = w == a->got.net_w && h == a->got.net_h;
    int status = atomdl_image_new(&s->native, w, h, 1, arena);
    atomdl_image small;
    if (same) small = s->native;
    else if (!status)
        status = atomdl_image_new(&small, a->got.net_w, a->got.net_h, 1, arena);
    if (!status) status = atomdl_image_resize(&small, &src, arena);
    if (!arena->base || status) return status;
    if (s->m->scaling == ATOMDL_NORM_LEVEL)
        for (int i = 0; i < small.w * small.h; i++)
            small.px[i] = small.px[i] - (float)s->o->dark;
    status = atomdl_image_normalise(&small, s->m->scaling);
    if (!same && !status) status = atomdl_image_crop(&s->native, &small, 0, 0);
    return status;
}

/* ---------- Bands -------------------------------------------------------- */

enum { BAND_PIXELS = 1 << 22, COPIES = 8 };

typedef struct {
    int y0, y1; /* rows that count */
    int a, b;   /* rows computed */
} band;

/* dst(turned) = src, or back: src += dst(turned); (h, w) without turn. Bits of
   how: mirror x, mirror y, then transpose. */
static void turn(float *dst, float *src, int w, int h, int how, int back)
{
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            size_t u = (size_t)(how & 1 ? w - 1 - x : x);
            size_t v = (size_t)(how & 2 ? h - 1 - y : y);
            float *d = how & 4 ? &dst[u * (size_t)h + v]
                               : &dst[v * (size_t)w + u];
            if (back) src[(size_t)y * (size_t)w + (size_t)x] += *d;
            else *d = src[(size_t)y * (size_t)w + (size_t)x];
        }
}

/* prob (classes, rows, w) <- the mean over copies of the band. */
typedef struct {
    session *s;
    band b;
    float *prob, *input, *copy;
} band_run;

static int band_copy(band_run *r, int how, atomdl_arena *arena)
{
    const session *s = r->s;
    int w = s->native.w, h = r->b.b - r->b.a;
    size_t plane = (size_t)w * (size_t)h, used = arena->used;
    float *from = arena->base ? s->native.px + (size_t)r->b.a * (size_t)w
                              : NULL;
    atomdl_net *net;
    int status = how & 4 ? atomdl_net_new(&net, &s->m->arch, s->m->values, w, h,
                                          &s->use, arena)
                         : atomdl_net_new(&net, &s->m->arch, s->m->values, h, w,
                                          &s->use, arena);
    if (!status && arena->base) {
        if (s->o->average == 1) {
            status = atomdl_net_run(net, r->prob, from);
        } else {
            turn(r->input, from, w, h, how, 0);
            status = atomdl_net_run(net, r->copy, r->input);
            for (int c = 0; c < s->m->classes && !status; c++)
                turn(r->copy + (size_t)c * plane, r->prob + (size_t)c * plane,
                     w, h, how, 1);
        }
        for (size_t i = 0;
             how == COPIES - 1 && i < plane * (size_t)s->m->classes; i++)
            r->prob[i] *= 1.0f / COPIES;
    }
    arena->used = used;
    return status;
}

static int band_stage(band_run *r, atomdl_arena *arena)
{
    const session *s = r->s;
    size_t plane = (size_t)s->native.w * (size_t)(r->b.b - r->b.a);
    size_t all = plane * (size_t)s->m->classes;
    int status = ATOMDL_OK;
    r->prob = atomdl_alloc(arena, all, sizeof *r->prob);
    if (s->o->average > 1) {
        r->input = atomdl_alloc(arena, plane, sizeof *r->input);
        r->copy = atomdl_alloc(arena, all, sizeof *r->copy);
        if (arena->base) memset(r->prob, 0, all * sizeof *r->prob);
    }
    for (int how = 0; how < s->o->average && !status; how++)
        status = band_copy(r, how, arena);
    return status;
}

/* ---------- From probabilities to nodes ---------------------------------- */

/* How far a peak looks around itself [network pixels]. */
static int peak_reach(const atomdl_finder *m)
{
    double most = 0;
    for (int c = 0; c < m->classes; c++) {
        const atomdl_class *is = &m->class_of[c];
        if (is->radius + 4 * is->smooth > most)
            most = is->radius + 4 * is->smooth;
    }
    return (int)(most / m->meta.pixel_size) + 3;
}

static int node_add(session *s, double x, double y, double score,
                    const atomdl_class *is)
{
    analysis *a = &s->a;
    double fx = (double)a->w / a->got.net_w, fy = (double)a->h / a->got.net_h;
    if (s->nodes == s->room) {
        int more = s->room ? 2 * s->room : 4096;
        atomdl_node *p = realloc(a->got.node, (size_t)more * sizeof *p);
        if (!p) return out_of_memory((double)more * sizeof *p);
        a->got.node = p;
        s->room = more;
    }
    atomdl_node *p = &a->got.node[s->nodes++];
    memset(p, 0, sizeof *p);
    p->x = ((x + 0.5) * fx - 0.5) * a->pixel_x;
    p->y = ((y + 0.5) * fy - 0.5) * a->pixel_y;
    p->score = score < 1 ? score : 1;
    p->z = is->z;
    p->count = is->count;
    return 0;
}

/* Peaks of one class whose rows count. */
static int band_peaks(session *s, const band_run *r, int c)
{
    const atomdl_class *is = &s->m->class_of[c];
    double unit = s->m->meta.pixel_size, radius = is->radius / unit;
    atomdl_image prob;
    atomdl_arena measure = {0, 0, 0, 0, 0};
    int bad = 0;
    prob.w = s->native.w, prob.h = r->b.b - r->b.a, prob.c = s->m->classes;
    prob.px = r->prob;
    atomdl_peaks_plan how;
    how.smooth = is->smooth / unit;
    how.radius = radius > 1 ? radius : 1;
    how.threshold = is->threshold;
    int max = (int)(2.0 * prob.w * prob.h / (how.radius * how.radius)) + 64;
    atomdl_blob *blob;
    atomdl_alloc(&measure, (size_t)max, sizeof *blob);
    int n;
    int status = atomdl_peaks(NULL, &n, max, &prob, c, &how, &measure);
    if (!status && room(&s->scratch, measure.peak)) return 1;
    blob = atomdl_alloc(&s->scratch, (size_t)max, sizeof *blob);
    if (!status)
        status = atomdl_peaks(blob, &n, max, &prob, c, &how, &s->scratch);
    if (status) return fail("%s: %s", s->a.name, atomdl_strerror(status));
    for (int i = 0; i < n && !bad; i++) {
        double y = blob[i].y + r->b.a;
        if (y < r->b.y0 - 0.5 || y >= r->b.y1 - 0.5
            || blob[i].x >= s->a.got.net_w - 0.5 || y >= s->a.got.net_h - 0.5)
            continue;
        bad = node_add(s, blob[i].x, y, blob[i].value, is);
    }
    return bad;
}

/* Adds the band's rows to the small picture of the probabilities. */
static void band_picture(session *s, const band_run *r)
{
    analysis *a = &s->a;
    size_t w = (size_t)s->native.w, plane = w * (size_t)(r->b.b - r->b.a);
    for (int y = (r->b.y0 + a->map_step - 1) / a->map_step;
         y < a->map_h && y * a->map_step < r->b.y1; y++)
        for (int x = 0; x < a->map_w; x++) {
            unsigned char *to = a->map + 3 * ((size_t)y * (size_t)a->map_w
                                              + (size_t)x);
            size_t at = (size_t)(y * a->map_step - r->b.a) * w
                        + (size_t)(x * a->map_step);
            double rgb[3] = {0, 0, 0};
            for (int c = 0; c < s->m->classes; c++) {
                unsigned colour = class_colour(s->m, c);
                for (int k = 0; k < 3; k++)
                    rgb[k] += (double)r->prob[(size_t)c * plane + at]
                              * (colour >> (16 - 8 * k) & 255);
            }
            for (int k = 0; k < 3; k++)
                to[k] = (unsigned char)(rgb[k] < 255 ? rgb[k] : 255);
        }
}

/* Adds the band's rows to the areas of the classes and to a.prob. */
static void band_areas(session *s, const band_run *r)
{
    size_t w = (size_t)s->a.got.net_w, all = w * (size_t)s->a.got.net_h;
    size_t plane = (size_t)s->native.w * (size_t)(r->b.b - r->b.a);
    for (int y = r->b.y0; y < r->b.y1 && y < s->a.got.net_h; y++)
        for (int c = 0; c < s->m->classes; c++) {
            const float *row = r->prob + (size_t)c * plane
                               + (size_t)(y - r->b.a) * (size_t)s->native.w;
            double sum = 0;
            for (size_t x = 0; x < w; x++) sum += (double)row[x];
            s->a.got.area[c] += sum / (double)all;
            if (s->a.prob)
                memcpy(s->a.prob + (size_t)c * all + (size_t)y * w, row,
                       w * sizeof *row);
        }
}

/* Writes the band's rows, classes innermost. */
static int band_write(session *s, const band_run *r)
{
    size_t w = (size_t)s->a.got.net_w, n = (size_t)s->m->classes;
    size_t pitch = (size_t)s->native.w;
    size_t plane = pitch * (size_t)(r->b.b - r->b.a);
    for (int y = r->b.y0; y < r->b.y1 && y < s->a.got.net_h; y++) {
        const float *row = r->prob + (size_t)(y - r->b.a) * pitch;
        for (size_t x = 0; x < w; x++)
            for (size_t c = 0; c < n; c++)
                atomdl_storef(s->line + 4 * (x * n + c), row[c * plane + x]);
        if (fwrite(s->line, 4 * n, w, s->prob) != w)
            return fail("%s.prob.npy: cannot write: %s", s->a.name,
                        strerror(errno));
    }
    return 0;
}

static int band_all(session *s, band b)
{
    atomdl_arena measure = {0, 0, 0, 0, 0};
    band_run r;
    memset(&r, 0, sizeof r);
    r.s = s;
    r.b = b;
    int status = band_stage(&r, &measure);
    if (!status && room(&s->net, measure.peak)) return 1;
    if (!status) status = band_stage(&r, &s->net);
    if (status) return fail("%s: %s", s->a.name, atomdl_strerror(status));
    for (int c = 0; c < s->m->classes; c++)
        if (!s->m->class_of[c].background && band_peaks(s, &r, c)) return 1;
    band_areas(s, &r);
    if (s->a.map) band_picture(s, &r);
    return s->prob ? band_write(s, &r) : 0;
}

/* Rows far enough around that the ones that count have the bits of a run over
   the whole image; starts lie on the network's grid. */
static band band_at(const session *s, int y0, int rows)
{
    int step = s->m->info.stride, h = s->native.h;
    int halo = up_to(s->m->info.field / 2 + 4 * step + peak_reach(s->m), step);
    band b;
    b.y0 = y0;
    b.y1 = y0 + rows < h ? y0 + rows : h;
    b.a = y0 > halo ? y0 - halo : 0;
    b.b = b.y1 + halo < h ? b.y1 + halo : h;
    return b;
}

/* Fills head with a NPY header of 128 bytes. */
static void npy_head(char head[128], int h, int w, int classes)
{
    int n = sprintf(head, "%cNUMPY%c%cv%c{'descr': '<f4', 'fortran_order': "
                    "False, 'shape': (%d, %d, %d), }", 0x93, 1, 0, 0, h, w,
                    classes);
    head[8] = 118;
    memset(head + n, ' ', (size_t)(127 - n));
    head[127] = '\n';
}

/* Probabilities, nodes and the picture, into an open file. */
static int segment(session *s)
{
    int step = s->m->info.stride;
    int rows = BAND_PIXELS / s->native.w;
    if (rows < 256) rows = 256;
    rows = up_to(rows, step);
    char head[128];
    npy_head(head, s->a.got.net_h, s->a.got.net_w, s->m->classes);
    if (s->prob && fwrite(head, 1, 128, s->prob) != 128)
        return fail("%s.prob.npy: cannot write: %s", s->a.name,
                    strerror(errno));
    for (int y = 0; y < s->native.h; y += rows)
        if (band_all(s, band_at(s, y, rows))) return 1;
    return 0;
}

/* ---------- Nodes and graph ---------------------------------------------- */

/* RECIPE 5.3: no carbon beside a dopant. Where classes compete for a column,
   the higher score stays, whatever it is: for that, all nodes are of one kind
   for a while, their own kept as `error`. */
static int merge_stage(void *of, atomdl_arena *arena)
{
    session *s = of;
    const atomdl_chemistry *c = s->m->chemistry;
    double bond = c->a / 1.7320508075688772;
    atomdl_clash clash[ATOMDL_CLASSES], all = {1, 1, 0};
    int n = 0, compete = c->host[0] != c->host[1];
    for (int i = 0; i < s->m->classes; i++) {
        const atomdl_class *is = &s->m->class_of[i];
        if (is->background) continue;
        if (!is->count) compete = 1;
        if (is->z == c->host[0] || is->z == c->host[1]) continue;
        clash[n].drop = c->host[0];
        clash[n].keep = is->z;
        clash[n++].distance = 0.81 * bond;
    }
    if (compete) n = 0;
    all.distance = 0.5 * bond;
    for (int i = 0; i < s->nodes && compete && arena->base; i++) {
        s->a.got.node[i].error = s->a.got.node[i].z * 256 + s->a.got.node[i].count;
        s->a.got.node[i].z = 1;
    }
    int kept = atomdl_nodes_merge(s->a.got.node, s->nodes, compete ? &all : clash,
                                  compete ? 1 : n, arena);
    if (kept < 0 || !arena->base) return kept < 0 ? kept : ATOMDL_OK;
    s->nodes = kept;
    for (int i = 0; i < s->nodes && compete; i++) {
        s->a.got.node[i].z = (uint8_t)((int)s->a.got.node[i].error / 256);
        s->a.got.node[i].count = (uint8_t)((int)s->a.got.node[i].error % 256);
        s->a.got.node[i].error = 0;
    }
    return ATOMDL_OK;
}

/* Nodes in order of y. */
static int order_stage(void *of, atomdl_arena *arena)
{
    session *s = of;
    size_t n = (size_t)s->nodes;
    uint32_t *order = atomdl_alloc(arena, n, sizeof *order);
    uint32_t *spare = atomdl_alloc(arena, n, sizeof *spare);
    double *key = atomdl_alloc(arena, n, sizeof *key);
    atomdl_node *copy = atomdl_alloc(arena, n, sizeof *copy);
    int status = atomdl_arena_status(arena);
    if (status || !arena->base || !n) return status;
    memcpy(copy, s->a.got.node, n * sizeof *copy);
    for (size_t i = 0; i < n; i++) key[i] = copy[i].y;
    status = atomdl_sort(order, key, n, spare);
    for (size_t i = 0; i < n && !status; i++) s->a.got.node[i] = copy[order[i]];
    return status;
}

/* ---------- Dopants in the image ------------------------------------------

   A network's place of an atom knows the lattice, which is what light atoms in
   noise need. A dopant of twice the host's atomic number stands out of the
   image itself: there its place is fitted too, together with the dopants around
   it (METHOD C.2). Where pixels are coarse, very fine or oblong, or dopants
   crowd, the network's place stays. */

#define FIT_RADIUS 0.9 /* A, of the window */
#define FIT_SIGMA 0.5  /* A, at first */
#define FIT_REACH 0.12 /* A, from where the network says */
#define FIT_AROUND 2.5 /* A: other dopants in the fit */
#define FIT_SHARE 0.7  /* of the fit in the place, the rest is the network's */

enum { CROWD = 8 }; /* most dopants of a fit */

typedef struct {
    const session *s;
    const atomdl_node *node; /* (n) dopants as the network has them, by y */
    int n, at;               /* at: which is fitted */
    double unit;             /* A a pixel */
    int x0, y0;              /* of the pixels around it */
    double x, y;             /* <- its place, A */
} dopant_fit;

static int is_dopant(const session *s, const atomdl_node *p)
{
    const atomdl_chemistry *c = s->m->chemistry;
    return c->host[0] == c->host[1] && p->count && p->z >= 2 * c->host[0];
}

/* Adds dopant i to n blobs where it is near and in the image. */
static int fit_take(atomdl_blob *blob, int n, const dopant_fit *f, int i)
{
    const analysis *a = &f->s->a;
    double away = f->node[i].x - f->node[f->at].x;
    if (away > FIT_AROUND || -away > FIT_AROUND || n > CROWD) return n;
    double x = f->node[i].x / a->pixel_x;
    double y = f->node[i].y / a->pixel_y;
    if (x < 0 || y < 0 || x > a->w - 1 || y > a->h - 1) return n;
    blob[n].x = x - f->x0;
    blob[n].y = y - f->y0;
    return n + 1;
}

/* blob[0] (CROWD + 1) <- the dopant, then those around it; returns how many,
   0: it lies outside of the pixels' centres, or in a crowd. */
static int fit_blobs(atomdl_blob *blob, const dopant_fit *f)
{
    double y = f->node[f->at].y;
    memset(blob, 0, (CROWD + 1) * sizeof *blob);
    int n = fit_take(blob, 0, f, f->at);
    if (!n) return 0;
    for (int i = f->at + 1; i < f->n && f->node[i].y - y <= FIT_AROUND; i++)
        n = fit_take(blob, n, f, i);
    for (int i = f->at - 1; i >= 0 && y - f->node[i].y <= FIT_AROUND; i--)
        n = fit_take(blob, n, f, i);
    return n > CROWD ? 0 : n;
}

/* The pixels around the dopant */
static int fit_cut(atomdl_image *cut, dopant_fit *f, atomdl_arena *arena)
{
    const analysis *a = &f->s->a;
    int rx = (int)(FIT_AROUND / a->pixel_x) + 1;
    int ry = (int)(FIT_AROUND / a->pixel_y) + 1;
    int x = (int)(f->node[f->at].x / a->pixel_x);
    int y = (int)(f->node[f->at].y / a->pixel_y);
    f->x0 = x > rx ? x - rx : 0;
    f->y0 = y > ry ? y - ry : 0;
    x = x + rx < a->w ? x + rx + 1 : a->w;
    y = y + ry < a->h ? y + ry + 1 : a->h;
    int status = atomdl_image_new(cut, x - f->x0, y - f->y0, 1, arena);
    if (status || !arena->base) return status;
    for (y = 0; y < cut->h; y++)
        memcpy(cut->px + (size_t)y * (size_t)cut->w,
               a->px + (size_t)(y + f->y0) * (size_t)a->w + f->x0,
               (size_t)cut->w * sizeof *cut->px);
    return ATOMDL_OK;
}

static int fit_stage(void *of, atomdl_arena *arena)
{
    dopant_fit *f = of;
    const analysis *a = &f->s->a;
    const atomdl_node *p = &f->node[f->at];
    atomdl_refinement how = {ATOMDL_FIT_GAUSSIAN, 0, 0, 0, 30, 0};
    atomdl_blob *blob = atomdl_alloc(arena, CROWD + 1, sizeof *blob);
    atomdl_image cut;
    int status = fit_cut(&cut, f, arena), n = CROWD;
    how.radius = FIT_RADIUS / f->unit;
    how.sigma = FIT_SIGMA / f->unit;
    how.reach = FIT_REACH / f->unit;
    f->x = p->x;
    f->y = p->y;
    if (status) return status;
    if (arena->base) n = fit_blobs(blob, f);
    status = atomdl_refine(blob, n, NULL, &cut, 0, &how, arena);
    if (status || !arena->base || !n || !blob->fitted) return status;
    f->x += FIT_SHARE * ((blob->x + f->x0) * a->pixel_x - p->x);
    f->y += FIT_SHARE * ((blob->y + f->y0) * a->pixel_y - p->y);
    return ATOMDL_OK;
}

/* Moves all dopants; dopant (nodes) gets copies of them as they were. */
static int fit_all(session *s, atomdl_node *dopant)
{
    analysis *a = &s->a;
    dopant_fit f = {0};
    double oblong = a->pixel_x / a->pixel_y;
    f.s = s;
    f.node = dopant;
    f.unit = atomdl_sqrt(a->pixel_x * a->pixel_y);
    double radius = FIT_RADIUS / f.unit;
    if (radius < 2 || radius > 40 || oblong < 0.95 || oblong > 1.05) return 0;
    for (int i = 0; i < s->nodes; i++)
        if (is_dopant(s, &a->got.node[i])) dopant[f.n++] = a->got.node[i];
    for (int i = 0; i < s->nodes; i++) {
        if (!is_dopant(s, &a->got.node[i])) continue;
        if (in_arena(fit_stage, &f, &s->scratch, a->name)) return 1;
        a->got.node[i].x = f.x;
        a->got.node[i].y = f.y;
        f.at++;
    }
    return 0;
}

static int fit_dopants(session *s)
{
    atomdl_node *dopant = calloc((size_t)s->nodes + 1, sizeof *dopant);
    if (!dopant) return out_of_memory((double)s->nodes * sizeof *dopant);
    int bad = fit_all(s, dopant);
    free(dopant);
    return bad;
}

/* ---------- Chalcogens by intensity ---------------------------------------

   METHOD F.2: each chalcogen column holds two, one or none, by the mean of the
   image around it and a mixture of what such columns show. */

static int is_dichalcogenide(const atomdl_chemistry *c)
{
    return c->host[0] != c->host[1] && c->count[1] == 2;
}

/* 0 metal, 1 chalcogen, 2 neither for sure */
static int node_site(const session *s, const atomdl_node *p)
{
    const atomdl_chemistry *c = s->m->chemistry;
    return p->z == c->host[1]                    ? 1
           : p->z == c->host[0] && p->count == 1 ? 0 : 2;
}

static int intensity_stage(void *of, atomdl_arena *arena)
{
    session *s = of;
    analysis *a = &s->a;
    size_t n = (size_t)s->nodes;
    double *value = atomdl_alloc(arena, n, sizeof *value);
    uint8_t *site = atomdl_alloc(arena, n, 1);
    int status = atomdl_arena_status(arena);
    if (status || !arena->base) return status;
    atomdl_image image;
    image.w = a->w, image.h = a->h, image.c = 1, image.px = (float *)a->px;
    double level[ATOMDL_LEVELS];
    status = atomdl_intensity_levels(level, s->m->chemistry);
    if (!status)
        status = atomdl_intensity(value, a->got.node, s->nodes, &image, 0,
                                  a->pixel_x, a->pixel_y,
                                  0.95 / 3.16 * s->m->chemistry->a);
    for (size_t i = 0; i < n; i++) site[i] = (uint8_t)node_site(s, &a->got.node[i]);
    if (!status)
        status = atomdl_mixture_fit(&a->got.mixture, value, site, s->nodes, level);
    if (status == ATOMDL_EMISSING) {
        warn(a, "too few columns for their intensity");
        return ATOMDL_OK;
    }
    double p[ATOMDL_LEVELS];
    for (size_t i = 0; i < n && !status; i++) {
        int best = ATOMDL_LEVEL_X2;
        a->got.value[i] = value[i] / (a->got.mixture.gain + a->got.mixture.offset);
        if (site[i] != 1) continue;
        atomdl_mixture_posterior(p, &a->got.mixture, value[i], 1);
        for (int k = ATOMDL_LEVEL_X2; k >= 0; k--)
            if (p[k] > p[best]) best = k;
        a->got.node[i].count = (uint8_t)best; /* LEVEL_X0: none, X1: one */
        a->got.node[i].score = p[best];
        a->got.unsure += p[0] * 4 + p[1] - (2 * p[0] + p[1]) * (2 * p[0] + p[1]);
    }
    return status;
}

/* The missing chalcogens, as a part of all, but for a margin where columns are
   cut. Without pairs among the classes their number follows from the area. */
static void count_vacancies(session *s)
{
    analysis *a = &s->a;
    const atomdl_chemistry *c = s->m->chemistry;
    double edge = 0.32 * c->a, w = (a->w - 0.5) * a->pixel_x - edge;
    double h = (a->h - 0.5) * a->pixel_y - edge;
    double sites = (w - edge + 0.5 * a->pixel_x) * (h - edge + 0.5 * a->pixel_y)
                   / (0.8660254037844386 * c->a * c->a);
    int n[3] = {0, 0, 0}, pairs = 0;
    if (!is_dichalcogenide(c)) return;
    for (int k = 0; k < s->m->classes; k++)
        pairs |= s->m->class_of[k].z == c->host[1]
                 && s->m->class_of[k].count == 2;
    for (int i = 0; i < s->nodes; i++) {
        const atomdl_node *p = &a->got.node[i];
        if (p->z == c->host[1] && p->count < 3 && p->x > edge && p->y > edge
            && p->x < w && p->y < h)
            n[p->count]++;
    }
    a->got.single = n[1];
    a->got.both = n[0];
    a->got.sites = pairs ? n[0] + n[1] + n[2] : sites;
    if (!(a->got.sites > 0)) return;
    double lost = n[1] + 2. * n[0];
    double spread = n[1] + 4. * n[0] + a->got.unsure;
    a->got.concentration = lost / (2 * a->got.sites);
    a->got.concentration_error = atomdl_sqrt(spread > 1 ? spread : 1)
                             / (2 * a->got.sites);
}

static int graph_stage(void *of, atomdl_arena *arena)
{
    session *s = of;
    analysis *a = &s->a;
    const atomdl_chemistry *c = &s->a.got.bonds;
    double field[4];
    field[0] = -0.5 * a->pixel_x;
    field[1] = -0.5 * a->pixel_y;
    field[2] = (a->w - 0.5) * a->pixel_x;
    field[3] = (a->h - 0.5) * a->pixel_y;
    int status = atomdl_graph_new(&a->got.graph, a->got.node, s->nodes, c, field,
                                  0.6 * c->a, arena);
    if (status) return status;
    int n;
    if (!arena->base)
        return atomdl_found_list(NULL, &n, 0, &a->got.graph, arena);
    return ATOMDL_OK;
}

/* Defects, with as much room as they need. */
static int find_defects(session *s)
{
    analysis *a = &s->a;
    int status, n;
    for (;;) {
        status = atomdl_found_list(a->got.found, &n, s->max_found, &a->got.graph,
                                   &s->graph);
        if (status != ATOMDL_ESHAPE || n <= s->max_found) break;
        free(a->got.found);
        a->got.found = malloc((size_t)n * sizeof *a->got.found);
        s->max_found = a->got.found ? n : 0;
        if (!a->got.found) return out_of_memory((double)n * sizeof *a->got.found);
    }
    a->got.defects = n;
    return status ? fail("%s: %s", a->name, atomdl_strerror(status)) : 0;
}

/* The bonds of each kind: number, mean, standard deviation. */
static void bond_kinds(analysis *a)
{
    a->got.kinds = 0;
    int k;
    for (int i = 0; i < a->got.graph.bonds; i++) {
        const atomdl_bond *b = &a->got.graph.bond[i];
        uint8_t p = a->got.node[b->a].z, q = a->got.node[b->b].z;
        for (k = 0; k < a->got.kinds; k++)
            if ((a->got.kind[k].a == p && a->got.kind[k].b == q)
                || (a->got.kind[k].a == q && a->got.kind[k].b == p))
                break;
        if (k == ATOMDL_BOND_KINDS) continue;
        atomdl_bond_kind *t = &a->got.kind[k];
        if (k == a->got.kinds) {
            memset(t, 0, sizeof *t);
            t->a = p > q ? p : q;
            t->b = p > q ? q : p;
            a->got.kinds++;
        }
        double d = b->length - t->mean;
        t->n++;
        t->mean += d / t->n;
        t->sd += d * (b->length - t->mean);
    }
    for (k = 0; k < a->got.kinds; k++)
        a->got.kind[k].sd = a->got.kind[k].n > 1
            ? atomdl_sqrt(a->got.kind[k].sd / (a->got.kind[k].n - 1)) : 0;
}

static const atomdl_bond_kind *commonest_bond(const analysis *a)
{
    const atomdl_bond_kind *most = a->got.kind;
    for (int i = 1; i < a->got.kinds; i++)
        if (a->got.kind[i].n > most->n) most = &a->got.kind[i];
    return a->got.kinds && most->n >= 10 ? most : NULL;
}

/* The s.d. of x and of y of an atom, judged by the commonest kind of bond in
   this image: noise, the scan's jitter and true strain together. */
static void place_errors(session *s)
{
    const atomdl_bond_kind *most = commonest_bond(&s->a);
    for (int i = 0; i < s->nodes; i++)
        s->a.got.node[i].error = most ? most->sd / 1.4142135623730951 : 0;
}

static int of_host(const atomdl_chemistry *c, int a, int b)
{
    return (a == c->host[0] && b == c->host[1])
           || (a == c->host[1] && b == c->host[0]);
}

/* Bonds of graphene and h-BN may be as long as those of the host in this image
   say, where they are within a tenth of what they should be: pixel sizes are
   some percent wrong. */
static void scale_bonds(session *s)
{
    const atomdl_bond_kind *most = commonest_bond(&s->a);
    atomdl_chemistry *c = &s->a.got.bonds;
    double scale = 1;
    if (!most || !of_host(c, most->a, most->b)) return;
    for (int i = 0; i < ATOMDL_PAIR_KINDS; i++)
        if (of_host(c, c->pair[i].a, c->pair[i].b))
            scale = most->mean / c->pair[i].ideal;
    if (!(scale > 0.9 && scale < 1.1)) return;
    for (int i = 0; i < ATOMDL_PAIR_KINDS; i++) {
        c->pair[i].shortest *= scale;
        c->pair[i].longest *= scale;
        c->pair[i].ideal *= scale;
    }
}

static int connect(session *s)
{
    analysis *a = &s->a;
    if (in_arena(merge_stage, s, &s->scratch, a->name)
        || in_arena(order_stage, s, &s->scratch, a->name) || fit_dopants(s))
        return 1;
    if (s->o->intensity) {
        a->got.value = calloc((size_t)s->nodes + 1, sizeof *a->got.value);
        if (!a->got.value) return out_of_memory(s->nodes * 8.);
        if (in_arena(intensity_stage, s, &s->scratch, a->name)) return 1;
    }
    count_vacancies(s);
    s->a.got.bonds = *s->m->chemistry;
    if (in_arena(graph_stage, s, &s->graph, a->name)) return 1;
    bond_kinds(a);
    place_errors(s);
    scale_bonds(s);
    if (in_arena(graph_stage, s, &s->graph, a->name) || find_defects(s))
        return 1;
    bond_kinds(a);
    a->got.atoms = s->nodes;
    a->got.defect = malloc(((size_t)a->got.atoms + 1) * sizeof *a->got.defect);
    if (!a->got.defect) return out_of_memory((double)a->got.atoms * 4);
    int i;
    for (i = 0; i < a->got.atoms; i++) a->got.defect[i] = -1;
    int k;
    for (k = a->got.defects - 1; k >= 0; k--)
        for (i = 0; i < a->got.found[k].members; i++)
            a->got.defect[a->got.found[k].node[i]] = k;
    for (k = i = 0; i < s->m->classes; i++)
        k |= s->m->class_of[i].z == s->m->chemistry->host[0];
    if (!a->got.atoms && k)
        warn(a, "no atoms found; is the pixel size right?");
    return 0;
}

/* ---------- Names --------------------------------------------------------- */

void species_text(char text[16], int z, int count)
{
    char symbol[3];
    atomdl_symbol(symbol, z);
    if (!count) strcpy(text, "vacancy");
    else if (count == 1) strcpy(text, symbol);
    else sprintf(text, "%s%d", symbol, count);
}

static int part(char *text, int z, int n)
{
    if (!n) return 0;
    char symbol[3];
    atomdl_symbol(symbol, z);
    return n > 1 ? sprintf(text, "%s%d", symbol, n)
                 : sprintf(text, "%s", symbol);
}

/* Members by element, dopants first. */
static void formula(char text[64], const analysis *a, const atomdl_found *f)
{
    int k, n = 0, count;
    for (int shell = 0; shell < 2; shell++) {
        int from = shell ? f->dopants : 0;
        int end = shell ? f->members : f->dopants;
        for (int i = from; i < end && i < f->members && n < 48; i++) {
            int z = a->got.node[f->node[i]].z;
            for (k = from; k < i && a->got.node[f->node[k]].z != z; k++) {}
            if (k < i) continue;
            for (count = 0; k < end && k < f->members; k++)
                count += a->got.node[f->node[k]].z == z;
            n += part(text + n, z, count);
        }
    }
}

void found_text(char text[64], const analysis *a, const atomdl_found *f)
{
    const atomdl_chemistry *c = a->got.graph.chemistry;
    int n = 0;
    text[0] = 0;
    if (c->host[0] == c->host[1] && f->dopants) {
        formula(text, a, f);
    } else if (f->members) {
        species_text(text, f->z, a->got.node[f->node[0]].count);
    } else {
        for (int i = 3; i < ATOMDL_RING_SIZES; i++)
            for (int k = 0; k < f->rings[i] && n < 56; k++)
                n += sprintf(text + n, n ? "-%d" : "%d", i);
    }
}

void rules_text(char text[64], const atomdl_found *f)
{
    text[0] = 0;
    if (f->dopants == 1 && f->shell)
        sprintf(text, "%s, %s", atomdl_found_name(f->counted),
                atomdl_found_name(f->site));
}

unsigned species_colour(int z, int count)
{
    static const struct {
        uint8_t z, count;
        unsigned colour;
    } KNOWN[] = {
        {6, 1, 0x2fb4ff}, {14, 1, 0xffb000}, {5, 1, 0xff8ad8},
        {7, 1, 0x7d8cff}, {42, 1, 0x2fb4ff}, {74, 1, 0x2fb4ff},
        {16, 2, 0xffd23f}, {34, 2, 0xffd23f}, {52, 2, 0xffd23f},
        {16, 1, 0xff5db1}, {34, 1, 0xff5db1}, {52, 1, 0xff5db1},
        {23, 1, 0x7cf25a}};
    if (!count) return 0xff3030;
    for (size_t i = 0; i < sizeof KNOWN / sizeof *KNOWN; i++)
        if (KNOWN[i].z == z && KNOWN[i].count == count)
            return KNOWN[i].colour;
    return 0x7cf25a;
}

/* The colour of what covers areas; 0: nothing to see. */
unsigned class_colour(const atomdl_finder *m, int i)
{
    static const unsigned COLOUR[] = {0x2fb4ff, 0x3ddc84, 0xb06cff, 0xffd23f,
                                      0xff5db1, 0xff9f43, 0x7cf25a};
    const atomdl_class *s = &m->class_of[i];
    if (!s->background) return species_colour(s->z, s->count);
    if (!i || !strcmp(s->name, "background")) return 0;
    return COLOUR[(size_t)(i - 1) % (sizeof COLOUR / sizeof *COLOUR)];
}

/* ---------- Tables -------------------------------------------------------- */

static void put_atoms(io_text *t, const analysis *a)
{
    const atomdl_graph *g = &a->got.graph;
    io_put(t, "id,x_px,y_px,x_A,y_A,species,score,coordination,defect\n");
    char name[16];
    for (int i = 0; i < a->got.atoms; i++) {
        const atomdl_node *p = &a->got.node[i];
        int d = a->got.defect[i];
        species_text(name, p->z, p->count);
        io_put(t, "%d,%.4f,%.4f,%.4f,%.4f,%s,%.4f,%u,", i + 1,
               to_px(p->x, a->pixel_x), to_px(p->y, a->pixel_y), p->x, p->y,
               name, p->score, (unsigned)(g->first[i + 1] - g->first[i]));
        if (d >= 0)
            io_put(t, "%s:%d", atomdl_found_name(a->got.found[d].kind), d + 1);
        io_put(t, "\n");
    }
}

static void put_bonds(io_text *t, const analysis *a)
{
    io_put(t, "a,b,pair,length_A,error_A,score\n");
    char p[3], q[3];
    for (int i = 0; i < a->got.graph.bonds; i++) {
        const atomdl_bond *b = &a->got.graph.bond[i];
        atomdl_symbol(p, a->got.node[b->a].z);
        atomdl_symbol(q, a->got.node[b->b].z);
        io_put(t, "%lu,%lu,%s-%s,%.4f,%.4f,%.4f\n",
               (unsigned long)b->a + 1, (unsigned long)b->b + 1, p, q,
               b->length, b->error, b->score);
    }
}

/* One row an atom; of a pair of chalcogens one lies above the metals, one
   below. */
static void put_xyz(io_text *t, const analysis *a)
{
    double z = 0.495 * a->got.graph.chemistry->a;
    size_t n = 0;
    for (int i = 0; i < a->got.atoms; i++) n += a->got.node[i].count;
    io_put_xyz_head(t, n, a->w * a->pixel_x, a->h * a->pixel_y, 20,
                    ":score:R:1");
    char symbol[3];
    for (int i = 0; i < a->got.atoms; i++) {
        const atomdl_node *p = &a->got.node[i];
        atomdl_symbol(symbol, p->z);
        for (int k = 0; k < p->count; k++)
            io_put(t, "%s %.4f %.4f %.4f %.4f\n", symbol, p->x, p->y,
                   p->count < 2 ? 0 : k ? -z : z, p->score);
    }
}

/* A number, or null where it is unknown. */
static void put_known(io_text *t, const char *key, double v, int known)
{
    if (known) io_json(t, key, "%.4f", v);
    else io_json(t, key, "null");
}

/* Bonds of the defect's dopants and the angles between neighbouring ones. */
static void put_shell(io_text *t, const analysis *a, const atomdl_found *f)
{
    const atomdl_graph *g = &a->got.graph;
    io_json_open(t, "bonds", '[');
    for (int i = 0; i < f->dopants && i < f->members; i++)
        for (uint32_t k = g->first[f->node[i]]; k < g->first[f->node[i] + 1];
             k++) {
            const atomdl_bond *b = &g->bond[g->edge[k]];
            io_json_open(t, NULL, '{');
            io_json(t, "a", "%lu", (unsigned long)f->node[i] + 1);
            io_json(t, "b", "%lu", (unsigned long)g->link[k] + 1);
            io_json(t, "length_A", "%.4f", b->length);
            put_known(t, "error_A", b->error, b->error > 0);
            io_json(t, "score", "%.4f", b->score);
            io_json(t, "certain", b->score < 0.5 ? "false" : "true");
            io_json_close(t, '}');
        }
    io_json_close(t, ']');
    io_json_open(t, "angles", '[');
    double error;
    for (int i = 0; i < f->dopants && i < f->members; i++) {
        uint32_t v = f->node[i], first = g->first[v];
        uint32_t n = g->first[v + 1] - first;
        for (uint32_t k = 0; k < n && n > 1 && !(n == 2 && k); k++) {
            uint32_t p = g->link[first + k], q = g->link[first + (k + 1) % n];
            io_json_open(t, NULL, '{');
            io_json(t, "a", "%lu", (unsigned long)p + 1);
            io_json(t, "at", "%lu", (unsigned long)v + 1);
            io_json(t, "b", "%lu", (unsigned long)q + 1);
            double angle =
                atomdl_angle(&error, &a->got.node[p], &a->got.node[v],
                             &a->got.node[q]);
            io_json(t, "degrees", "%.2f", degrees(angle));
            put_known(t, "error_degrees", degrees(error), error > 0);
            io_json_close(t, '}');
        }
    }
    io_json_close(t, ']');
}

static void put_rings(io_text *t, const int *histogram)
{
    io_json_open(t, "rings", '{');
    char key[8];
    for (int i = 3; i < ATOMDL_RING_SIZES; i++) {
        if (!histogram[i]) continue;
        sprintf(key, "%d", i);
        io_json(t, key, "%d", histogram[i]);
    }
    io_json_close(t, '}');
}

static void put_defect(io_text *t, const analysis *a, int id)
{
    const atomdl_found *f = &a->got.found[id];
    int single = f->dopants == 1 && f->shell > 0;
    char text[64];
    found_text(text, a, f);
    io_json_open(t, NULL, '{');
    io_json(t, "id", "%d", id + 1);
    io_json_string(t, "class", atomdl_found_name(f->kind));
    io_json_string(t, "formula", text);
    io_json(t, "x_px", "%.3f", to_px(f->x, a->pixel_x));
    io_json(t, "y_px", "%.3f", to_px(f->y, a->pixel_y));
    io_json(t, "x_A", "%.4f", f->x);
    io_json(t, "y_A", "%.4f", f->y);
    io_json(t, "confidence", "%.4f", f->confidence);
    io_json(t, "dopants", "%d", f->dopants);
    io_json(t, "neighbours", "%d", f->shell);
    io_json_open(t, "atoms", '[');
    for (int i = 0; i < f->members; i++)
        io_json(t, NULL, "%lu", (unsigned long)f->node[i] + 1);
    io_json_close(t, ']');
    if (single) {
        io_json_string(t, "by_count", atomdl_found_name(f->counted));
        io_json_string(t, "by_lattice", atomdl_found_name(f->site));
        io_json(t, "lattice_margin", "%.4f", f->site_margin);
    }
    put_known(t, "length_A", f->length, f->bonds);
    put_known(t, "length_sd_A", f->length_sd, f->bonds > 1);
    put_known(t, "length_error_A", f->length_error, f->length_error > 0);
    put_known(t, "pair_A", f->pair, f->pairs);
    put_known(t, "pair_sd_A", f->pair_sd, f->pairs > 1);
    put_known(t, "angle_degrees", degrees(f->angle), f->angles);
    put_known(t, "angle_sd_degrees", degrees(f->angle_sd), f->angles > 1);
    put_known(t, "angle_error_degrees", degrees(f->angle_error),
              f->angle_error > 0);
    put_known(t, "rotor_degrees", degrees(f->rotor), f->order > 0);
    put_known(t, "rotor_order", f->order, f->order > 0);
    io_json(t, "distorted", f->flags & ATOMDL_DISTORTED ? "true" : "false");
    io_json(t, "rules_disagree",
            f->flags & ATOMDL_DISAGREE ? "true" : "false");
    io_json(t, "at_border", f->flags & ATOMDL_AT_BORDER ? "true" : "false");
    put_rings(t, f->rings);
    put_shell(t, a, f);
    io_json_close(t, '}');
}

static void put_pair(io_text *t, const char *key, const char *format, double x,
                     double y)
{
    io_json_open(t, key, '[');
    io_json(t, NULL, format[1] == 'd' ? "%.0f" : "%.6f", x);
    io_json(t, NULL, format[1] == 'd' ? "%.0f" : "%.6f", y);
    io_json_close(t, ']');
}

static void put_atom_counts(io_text *t, const analysis *a,
                            const atomdl_finder *m)
{
    io_json_open(t, "atoms", '{');
    char text[16];
    int n;
    for (int c = 0; c < m->classes; c++) {
        const atomdl_class *is = &m->class_of[c];
        if (is->background) continue;
        for (int i = n = 0; i < a->got.atoms; i++)
            n += a->got.node[i].z == is->z && a->got.node[i].count == is->count;
        species_text(text, is->z, is->count);
        io_json(t, text, "%d", n);
    }
    io_json_close(t, '}');
}

/* Missing chalcogens and how they were found; areas of the classes. */
static void put_vacancies(io_text *t, const analysis *a, const atomdl_finder *m)
{
    const atomdl_mixture *x = &a->got.mixture;
    int areas = 0;
    if (a->got.sites > 0) {
        io_json_open(t, "vacancies", '{');
        io_json_string(t, "method", a->got.value ? "intensity" : "network");
        io_json(t, "sites", "%.0f", a->got.sites);
        io_json(t, "single", "%d", a->got.single);
        io_json(t, "double", "%d", a->got.both);
        io_json(t, "concentration", "%.6f", a->got.concentration);
        io_json(t, "error", "%.6f", a->got.concentration_error);
        io_json_close(t, '}');
    }
    if (a->got.value && x->rounds) {
        io_json_open(t, "mixture", '{');
        io_json(t, "gain", "%.6f", x->gain);
        io_json(t, "offset", "%.6f", x->offset);
        io_json(t, "width", "%.6f", x->width);
        io_json_open(t, "weights", '[');
        for (int k = 0; k < ATOMDL_LEVELS; k++)
            io_json(t, NULL, "%.6f", x->weight[k]);
        io_json_close(t, ']');
        io_json_close(t, '}');
    }
    for (int k = 0; k < m->classes; k++)
        areas |= m->class_of[k].background && class_colour(m, k);
    if (!areas) return;
    io_json_open(t, "areas", '{');
    for (int k = 0; k < m->classes; k++)
        io_json(t, m->class_of[k].name, "%.4f", a->got.area[k]);
    io_json_close(t, '}');
}

static void put_bond_kinds(io_text *t, const analysis *a)
{
    io_json_open(t, "bonds", '[');
    char text[8], p[3], q[3];
    for (int k = 0; k < a->got.kinds; k++) {
        const atomdl_bond_kind *b = &a->got.kind[k];
        atomdl_symbol(p, b->a);
        atomdl_symbol(q, b->b);
        sprintf(text, "%s-%s", p, q);
        io_json_open(t, NULL, '{');
        io_json_string(t, "pair", text);
        io_json(t, "count", "%d", b->n);
        io_json(t, "mean_A", "%.4f", b->mean);
        put_known(t, "sd_A", b->sd, b->n > 1);
        io_json_close(t, '}');
    }
    io_json_close(t, ']');
}

static void put_json(io_text *t, const analysis *a, const atomdl_finder *m)
{
    io_json_open(t, NULL, '{');
    io_json_string(t, "image", a->source);
    if (a->frame >= 0) io_json(t, "frame", "%d", a->frame);
    put_pair(t, "size_px", "%d", a->w, a->h);
    put_pair(t, "pixel_size_A", "%f", a->pixel_x, a->pixel_y);
    io_json_string(t, "pixel_size_from", a->pixel_from);
    io_json_string(t, "material", m->chemistry->name);
    io_json_string(t, "weights", m->name);
    io_json_string(t, "recipe", m->meta.recipe);
    io_json(t, "numerics", "%d", ATOMDL_NUMERICS);
    put_pair(t, "prob_size_px", "%d", a->got.net_w, a->got.net_h);
    io_json_open(t, "prob_classes", '[');
    for (int i = 0; i < m->classes; i++)
        io_json_string(t, NULL, m->class_of[i].name);
    io_json_close(t, ']');
    put_atom_counts(t, a, m);
    put_vacancies(t, a, m);
    put_bond_kinds(t, a);
    put_rings(t, a->got.graph.histogram);
    io_json_open(t, "warnings", '[');
    for (int i = 0; i < a->warnings; i++)
        io_json_string(t, NULL, a->warning[i]);
    io_json_close(t, ']');
    io_json_open(t, "defects", '[');
    for (int i = 0; i < a->got.defects; i++) put_defect(t, a, i);
    io_json_close(t, ']');
    io_json_close(t, '}');
    io_put(t, "\n");
}

/* ---------- Files of one image -------------------------------------------- */

enum { PATH = 1200 };

static void path_of(char path[PATH], const session *s, const char *ending)
{
    snprintf(path, PATH, "%.900s/%.250s%s", s->o->out, s->a.name, ending);
}

static int write_text(const session *s, io_text *t, const char *ending)
{
    char path[PATH];
    path_of(path, s, ending);
    return io_text_write(t, path) ? fail("%s", io_reason()) : 0;
}

static int write_tables(session *s)
{
    io_text t[4];
    memset(t, 0, sizeof t);
    put_atoms(&t[0], &s->a);
    put_bonds(&t[1], &s->a);
    put_json(&t[2], &s->a, s->m);
    put_xyz(&t[3], &s->a);
    int bad = write_text(s, &t[0], ".atoms.csv")
              || write_text(s, &t[1], ".bonds.csv")
              || write_text(s, &t[2], ".defects.json")
              || write_text(s, &t[3], ".xyz");
    for (int i = 0; i < 4; i++) io_text_free(&t[i]);
    return bad;
}

static int write_overlay(session *s)
{
    char path[PATH];
    io_bytes png = {NULL, 0};
    path_of(path, s, ".overlay.png");
    int bad = overlay_png(&png, &s->a) || io_write(path, png.data, png.size);
    free(png.data);
    return bad ? fail("%s", io_reason()) : 0;
}

/* Probabilities go straight to their file, which gets its name at the end. */
static int write_prob(session *s)
{
    char path[PATH];
    path_of(path, s, ".prob.npy");
    char part_path[PATH + 8];
    snprintf(part_path, sizeof part_path, "%s.part", path);
    s->line = malloc((size_t)s->a.got.net_w * (size_t)s->m->classes * 4);
    if (!s->line) return out_of_memory(s->a.got.net_w * 4.);
    s->prob = fopen(part_path, "wb");
    if (!s->prob) {
        free(s->line);
        return fail("%s: cannot write: %s", path, strerror(errno));
    }
    int bad = segment(s);
    free(s->line);
    if (fclose(s->prob) && !bad)
        bad = fail("%s: cannot write: %s", path, strerror(errno));
    if (!bad && rename(part_path, path))
        bad = fail("%s: cannot rename: %s", path, strerror(errno));
    if (bad) remove(part_path);
    return bad;
}

/* ---------- One image ----------------------------------------------------- */

/* Says what a large image will need, before it is begun. */
static int announce(session *s)
{
    atomdl_arena measure = {0, 0, 0, 0, 0};
    band_run r;
    memset(&r, 0, sizeof r);
    r.s = s;
    if (native_stage(s, &measure)) return 0;
    double bytes = (double)measure.peak + 4. * s->a.w * s->a.h;
    r.b = band_at(s, 1 << 16, up_to(256, s->m->info.stride));
    r.b.a = 0;
    r.b.b = up_to(BAND_PIXELS / s->native.w + 256, s->m->info.stride);
    if (r.b.b > s->native.h) r.b.b = s->native.h;
    measure.used = measure.peak = 0;
    if (band_stage(&r, &measure)) return 0;
    bytes += (double)measure.peak;
    bytes += 500 * 2.31 * s->a.w * s->a.pixel_x * s->a.h * s->a.pixel_y
             / (s->m->chemistry->a * s->m->chemistry->a); /* atoms, bonds */
    if (bytes > 536870912.)
        fprintf(stderr, "atomdl: %s: %d x %d pixels, needs about %.1f GiB of "
                "memory\n", s->a.name, s->a.w, s->a.h, bytes / 1073741824.);
    return 0;
}

static int map_new(analysis *a)
{
    int side = a->got.net_w > a->got.net_h ? a->got.net_w : a->got.net_h;
    a->map_step = (side + MAP_SIDE - 1) / MAP_SIDE;
    a->map_w = (a->got.net_w + a->map_step - 1) / a->map_step;
    a->map_h = (a->got.net_h + a->map_step - 1) / a->map_step;
    a->map = calloc((size_t)a->map_w * (size_t)a->map_h, 3);
    return a->map ? 0 : out_of_memory(3. * a->map_w * a->map_h);
}

void session_clear(session *s)
{
    free(s->a.map);
    free(s->a.got.node);
    free(s->a.got.defect);
    free(s->a.got.found);
    free(s->a.got.value);
    free(s->a.prob);
    memset(&s->a, 0, sizeof s->a);
    s->nodes = s->room = 0;
}

/* Room for the probabilities of all classes. */
static int prob_new(session *s)
{
    size_t n = (size_t)s->a.got.net_w * (size_t)s->a.got.net_h
               * (size_t)s->m->classes * sizeof *s->a.prob;
    s->a.prob = malloc(n);
    return s->a.prob ? 0 : out_of_memory((double)n);
}

int session_find(session *s, int where)
{
    int files = where == PROB_FILES;
    s->a.got.found = malloc(64 * sizeof *s->a.got.found);
    s->max_found = s->a.got.found ? 64 : 0;
    return frame_shape(s) || (files && announce(s))
           || in_arena(native_stage, s, &s->image, s->a.name)
           || (where == PROB_KEPT && prob_new(s))
           || (files ? map_new(&s->a) || write_prob(s) : segment(s))
           || connect(s);
}

static int analyse(session *s, report *r)
{
    int bad = session_find(s, PROB_FILES) || write_tables(s) || write_overlay(s)
              || report_add(r, &s->a, s->m);
    session_clear(s);
    return bad;
}

void base_name(char name[200], const char *path)
{
    const char *from = strrchr(path, '/');
    from = from ? from + 1 : path;
    const char *dot = strrchr(from, '.');
    size_t n = dot && dot > from ? (size_t)(dot - from) : strlen(from);
    snprintf(name, 200, "%.*s", (int)(n < 180 ? n : 180), from);
}

static int sampling_stage(void *of, atomdl_arena *arena)
{
    session *s = of;
    atomdl_image image;
    image.w = s->a.w, image.h = s->a.h, image.c = 1;
    image.px = (float *)s->a.px;
    return atomdl_sampling_find(&s->sampling, &image, 0, s->m->chemistry->a,
                                0, 0, arena);
}

/* What the lattice says, sampling.confidence 0 where it says nothing. */
static int lattice_sampling(session *s)
{
    atomdl_arena measure = {0, 0, 0, 0, 0};
    memset(&s->sampling, 0, sizeof s->sampling);
    if (s->a.w < 32 || s->a.h < 32 || sampling_stage(s, &measure)) return 0;
    if (room(&s->scratch, measure.peak)) return 1;
    if (sampling_stage(s, &s->scratch)) s->sampling.confidence = 0;
    return 0;
}

/* A known pixel size beside the lattice's, which is good to a small part of
   one cell over the whole image. */
static void compare_sampling(session *s)
{
    analysis *a = &s->a;
    double known = atomdl_sqrt(a->pixel_x * a->pixel_y);
    double ratio = s->sampling.pixel / known;
    double axes = s->sampling.x / s->sampling.y * a->pixel_y / a->pixel_x;
    double cells = (a->w < a->h ? a->w : a->h) * known / s->m->chemistry->a;
    double limit = cells < 12 ? 0.35 / cells : 0.03;
    if (s->sampling.confidence < 0.5) return;
    char text[200];
    if (ratio < 1 - limit || ratio > 1 + limit) {
        snprintf(text, sizeof text, "the lattice says %.4f A a pixel, the %s "
                 "%.4f A: a difference of %.1f %%", s->sampling.pixel,
                 a->pixel_from, known, 100 * (ratio - 1));
        warn(a, text);
    }
    if (axes < 0.98 - limit || axes > 1.02 + limit || s->sampling.shear > 0.05
        || s->sampling.shear < -0.05) {
        snprintf(text, sizeof text, "the lattice is distorted: axes x : y = "
                 "%.3f, sheared by %.1f degrees", axes,
                 degrees(s->sampling.shear));
        warn(a, text);
    }
}

int pixel_size(session *s, double file_x, double file_y)
{
    analysis *a = &s->a;
    double given = s->o->pixel;
    if (lattice_sampling(s)) return 1;
    a->pixel_x = given > 0 ? given : file_x;
    a->pixel_y = given > 0 ? given : file_y;
    a->pixel_from = given > 0 ? "option" : "file";
    if (a->pixel_x > 0.001 && a->pixel_x < 10 && a->pixel_y > 0.001
        && a->pixel_y < 10) {
        compare_sampling(s);
        return 0;
    }
    if (a->pixel_x > 0)
        return fail("%s: the file's pixel size is %.4g A, which shows no "
                    "atoms; give the right one with --pixel-size", a->source,
                    a->pixel_x);
    if (s->sampling.confidence < 0.5)
        return fail("%s: neither the file nor a lattice in it tells the pixel "
                    "size; give it with --pixel-size (Angstrom)", a->source);
    a->pixel_x = s->sampling.x;
    a->pixel_y = s->sampling.y;
    a->pixel_from = "lattice";
    return 0;
}

/* Every frame; 1 when any of them failed. */
static int analyse_stack(session *s, report *r, const io_stack *stack,
                         const char *path)
{
    size_t last = stack->frames - 1;
    char name[200];
    int bad = 0;
    base_name(name, path);
    if ((size_t)s->o->first > last)
        return fail("%s: has frames 0 to %lu only", path,
                    (unsigned long)last);
    if ((size_t)s->o->last < last) last = (size_t)s->o->last;
    for (size_t i = (size_t)s->o->first; i <= last; i++) {
        analysis *a = &s->a;
        memset(a, 0, sizeof *a);
        a->source = path;
        a->frame = stack->frames > 1 ? (int)i : -1;
        snprintf(a->name, sizeof a->name, stack->frames > 1 ? "%s-%04lu"
                                                            : "%s",
                 name, (unsigned long)i);
        a->w = (int)stack->w;
        a->h = (int)stack->h;
        a->px = stack->px + i * stack->w * stack->h;
        bad |= pixel_size(s, stack->pixel_x, stack->pixel_y)
               || analyse(s, r);
    }
    return bad;
}

/* ---------- The command --------------------------------------------------- */

static int take_frames(options *o, const char *text)
{
    int a, b, n = 0;
    if (!text || sscanf(text, "%d-%d%n", &a, &b, &n) < 2 || text[n] || a < 0
        || b < a)
        return misuse("--frames wants A-B with 0 <= A <= B"), -1;
    o->first = a;
    o->last = b;
    return 1;
}

static int take_pixel(options *o, const char *text)
{
    char *end;
    o->pixel = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !(o->pixel > 0.001 && o->pixel < 10))
        return misuse("--pixel-size wants Angstrom a pixel, 0.001 to 10"), -1;
    return 1;
}

static int take_material(options *o, const char *text)
{
    char list[256] = "";
    o->chemistry = text ? atomdl_chemistry_find(text) : NULL;
    if (o->chemistry) return 1;
    for (int i = 0; atomdl_chemistry_get(i); i++) {
        strcat(list, " ");
        strcat(list, atomdl_chemistry_get(i)->name);
    }
    return misuse("unknown material '%s'; known are%s", text ? text : "",
                  list), -1;
}

static int take_threshold(options *o, const char *text)
{
    if (!text || o->thresholds == MAX_THRESHOLDS)
        return misuse("--threshold wants a value, at most %d times",
                      MAX_THRESHOLDS), -1;
    o->threshold[o->thresholds++] = text;
    return 1;
}

static int take_dopant(options *o, const char *text)
{
    o->dopant = text ? atomdl_element(text, strlen(text)) : 0;
    return o->dopant ? 1 : (misuse("--dopant wants an element's symbol"), -1);
}

static int take_dark(options *o, const char *text)
{
    char *end;
    o->dark = text ? strtod(text, &end) : 0;
    return text && end != text && !*end && o->dark >= -1e30 && o->dark <= 1e30
           ? 1 : (misuse("--dark wants a grey level"), -1);
}

static int take_method(options *o, const char *text)
{
    o->intensity = text && !strcmp(text, "intensity");
    return o->intensity || (text && !strcmp(text, "network")) ? 1
           : (misuse("--method wants network or intensity"), -1);
}

int analysis_option(options *o, char **argv, int *i)
{
    const char *v = NULL;
    if (option(argv, i, "--frames", &v)) return take_frames(o, v);
    if (option(argv, i, "--pixel-size", &v)) return take_pixel(o, v);
    if (option(argv, i, "--dark", &v)) return take_dark(o, v);
    if (option(argv, i, "--material", &v)) return take_material(o, v);
    if (option(argv, i, "--threshold", &v)) return take_threshold(o, v);
    if (option(argv, i, "--dopant", &v)) return take_dopant(o, v);
    if (option(argv, i, "--method", &v)) return take_method(o, v);
    int k;
    if ((k = option_number(argv, i, "--threads", &o->threads, 1, 1024)))
        return k;
    if ((k = option_number(argv, i, "--average", &o->average, 1, COPIES))) {
        if (k > 0 && o->average != 1 && o->average != COPIES)
            return misuse("--average wants 1 or 8"), -1;
        return k;
    }
    if (option(argv, i, "-o", &o->out))
        return o->out ? 1 : (misuse("-o wants a directory"), -1);
    if (option(argv, i, "--weights", &o->weights))
        return o->weights ? 1 : (misuse("--weights wants a name"), -1);
    if (argv[*i][0] == '-' && argv[*i][1])
        return misuse("what is '%s'? (--help says more)", argv[*i]), -1;
    return 0;
}

void analysis_defaults(options *o, char **argv, const char *out)
{
    memset(o, 0, sizeof *o);
    o->image = (const char **)argv; /* images move to its front */
    o->out = out;
    o->average = 1;
    o->last = 0x7fffffff;
    o->dopant = 23;
    o->chemistry = atomdl_chemistry_get(0);
}

static int take_options(options *o, char **argv)
{
    analysis_defaults(o, argv, "analysis");
    for (int i = 1; argv[i]; i++) {
        int k = analysis_option(o, argv, &i);
        if (k < 0) return 2;
        if (!k) o->image[o->images++] = argv[i];
    }
    if (!o->images) return misuse("analyze wants an image");
    char p[200], q[200];
    for (int i = 0; i < o->images; i++)
        for (int j = 0; j < i; j++) {
            base_name(p, o->image[i]);
            base_name(q, o->image[j]);
            if (!strcmp(p, q))
                return misuse("two images would both be written as '%s'", p);
        }
    return 0;
}

int make_directory(const char *path)
{
    if (!mkdir(path, 0777) || errno == EEXIST) return 0;
    return fail("%s: cannot make the directory: %s", path, strerror(errno));
}

static int analyse_all(session *s, report *r)
{
    io_stack stack;
    int bad = 0;
    for (int i = 0; i < s->o->images; i++) {
        if (io_stack_read(&stack, s->o->image[i])) bad = fail("%s",
                                                              io_reason());
        else bad |= analyse_stack(s, r, &stack, s->o->image[i]);
        io_stack_free(&stack);
    }
    return bad;
}

int session_open(session *s, const options *o)
{
    memset(s, 0, sizeof *s);
    if (o->intensity && !is_dichalcogenide(o->chemistry))
        return misuse("--method intensity is for dichalcogenides: --material "
                      "mos2, ...");
    if (wanted_kernels(&s->use.kernels, NULL)) return 2;
    s->o = o;
    s->use.threads = o->threads;
    s->m = calloc(1, sizeof *s->m);
    int bad = s->m ? model_load(s, o) : out_of_memory(sizeof *s->m);
    return bad || !o->out ? bad : make_directory(o->out);
}

void session_close(session *s)
{
    session_clear(s);
    free(s->image.base);
    free(s->net.base);
    free(s->scratch.base);
    free(s->graph.base);
    free(s->values.base);
    free(s->m);
}

int analyze_command(char **argv)
{
    report r;
    memset(&r, 0, sizeof r);
    options o;
    if (take_options(&o, argv)) return 2;
    session s;
    int bad = session_open(&s, &o);
    if (!bad) {
        bad = analyse_all(&s, &r);
        char path[PATH];
        snprintf(path, sizeof path, "%.900s/report.html", o.out);
        bad |= report_write(&r, s.m, r.images ? path : NULL);
    }
    session_close(&s);
    return bad;
}
