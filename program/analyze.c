/* SPDX-License-Identifier: MIT
   atomdl analyze: options, files, tables and pictures around atomdl_find, and
   the session of one network and image after image, which atomdl movie and
   atomdl paper use too. Bands of probabilities go where they are wanted, so
   that memory beside the image itself does not grow with its height. */
#include "analyze.h"
#include "program.h"
#include "report.h"
#include "tables.h"

#include <errno.h>
#include <limits.h>
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
    "NAME.ext, NAME.atoms.csv, .bonds.csv, .defects.json, .xyz, .overlay.png,\n"
    "and one report.html for all.\n"
    "Frames of stacks are NAME-0000, NAME-0001...\n"
    "\n"
    "  --pixel-size A     Angstrom a pixel; default: what the file says, else\n"
    "                     what the lattice of the material says\n"
    "  --material NAME    graphene, h-bn, mos2, mose2, mote2, ws2, wse2, wte2;\n"
    "                     default: recognised in the first image\n"
    "  --weights NAME|FILE  default: those for the material\n"
    "  --frames A-B       of stacks, the first is 0\n"
    "  --average 8        mean over the image's 8 symmetries: slower, and a\n"
    "                     little better where noise is high; default 1\n"
    "  --threshold [CLASS=]P  least probability, as often as you like\n"
    "  --dopant SYMBOL    element of a class named `dopant`; default: V, Mo or W\n"
    "                     by the signal of each in dichalcogenides, else V\n"
    "  --method network|intensity   what counts the chalcogens of a column:\n"
    "                     the network's classes (default), or the image's\n"
    "                     intensity there and a mixture of three levels\n"
    "  --dark V           the file's grey level without signal; default 0.\n"
    "                     Only weights with scaling `level` look at it\n"
    "  --rules NAME=0     without a rule, as often as you like: ring_of_four,\n"
    "                     rotor_corners, second_shell, lattice_site,\n"
    "                     bond_scale, dopant_fit\n"
    "  --probabilities    NAME.prob.npy too: (h, w, classes), float32, of the\n"
    "                     network's sampling\n"
    "  --invert           atoms are dark: turn the image\n"
    "  --force            go on where the image does not look like the material:\n"
    "                     what is written says so\n"
    "  --threads N        default: one for small images, else all; never\n"
    "                     changes a result\n"
    "\n"
    "example:  atomdl analyze --pixel-size 0.078 -o out image.tif\n"
    "          then open out/report.html\n";

/* ---------- Small things ------------------------------------------------- */

double to_px(double at, double pixel) { return at / pixel; }

double degrees(double radians) { return radians * 57.29577951308232; }

void note_text(char text[160], const atomdl_note *n)
{
    snprintf(text, 160, atomdl_note_text(n->code), n->value[0], n->value[1],
             n->value[2], n->value[3]);
}

/* Keeps the texts of warnings, and prints them. */
void analysis_warn(analysis *a, const atomdl_note *note, int n)
{
    for (; n-- && a->warnings < WARNINGS; note++) {
        char *text = a->warning[a->warnings++];
        const char *format = atomdl_note_text(note->code);
        const double *v = note->value;
        if (note->code == ATOMDL_NOTE_PIXEL)
            snprintf(text, sizeof a->warning[0], format, v[0], a->pixel_from,
                     v[1], v[2]);
        else
            snprintf(text, sizeof a->warning[0], format, v[0], v[1], v[2],
                     v[3]);
        if (!a->quiet)
            fprintf(stderr, "atomdl: %s: warning: %s\n", a->name, text);
    }
}

/* ---------- Weights ------------------------------------------------------- */

/* Takes "P" for all classes and "CLASS=P" for one. */
static int class_thresholds(atomdl_finder *m, const options *o)
{
    for (int i = 0; i < o->threshold.n; i++) {
        const char *text = o->threshold.of[i], *is = strchr(text, '=');
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
    const char *name = o->weights ? o->weights : material_weights(o->chemistry);
    if (weights_find(&file, name)) return 1;
    int bad = finder_load(s->m, &file, name, o, &s->values);
    free(file.data);
    return bad ? bad : class_thresholds(s->m, o);
}

/* ---------- Names --------------------------------------------------------- */

void species_text(char text[16], int z, int count)
{
    char symbol[3];
    atomdl_symbol(symbol, z);
    if (!count) strcpy(text, "vacancy");
    else if (!z) strcpy(text, "unknown");
    else if (count == 1) strcpy(text, symbol);
    else sprintf(text, "%s%d", symbol, count);
}

void pair_text(char text[8], int a, int b)
{
    char p[3], q[3];
    atomdl_symbol(p, a);
    atomdl_symbol(q, b);
    sprintf(text, "%s-%s", p, q);
}

/* The place of a kind in the list, at the end if it is new; room for all. */
static int species_place(species list[SPECIES], int *n, int z, int count)
{
    int i = 0;
    while (i < *n && (list[i].z != z || list[i].count != count)) i++;
    if (i == SPECIES) return SPECIES - 1;
    if (i == *n) list[(*n)++] = (species){z, count, 0};
    return i;
}

int kinds_found(species list[SPECIES], const analysis *a,
                const atomdl_finder *m)
{
    int n = 0;
    for (int c = 0; c < m->classes; c++)
        if (!m->class_of[c].background)
            species_place(list, &n, m->class_of[c].z, m->class_of[c].count);
    for (int i = 0; i < a->got.atoms; i++)
        list[species_place(list, &n, a->got.node[i].z,
                           a->got.node[i].count)].n++;
    return n;
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
            if (z) species_text(text + n, z, count);
            else sprintf(text + n, count > 1 ? "X%d" : "X", count);
            n += (int)strlen(text + n);
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

void elements_text(char text[64], const analysis *a, const atomdl_found *f)
{
    int from = 255, to = 0;
    for (int i = 0; i < f->dopants && i < f->members; i++) {
        const atomdl_node *p = &a->got.node[f->node[i]];
        if (!p->z_to) continue;
        from = p->z_from < from ? p->z_from : from;
        to = p->z_to > to ? p->z_to : to;
    }
    text[0] = 0;
    if (to) sprintf(text, "%d-%d", from, to);
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
        {7, 1, 0x7d8cff}, {42, 1, 0x2fb4ff}, {74, 1, 0x27e0c8},
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

static void put_atoms(io_text *t, const analysis *a, const atomdl_finder *m)
{
    (void)m;
    const atomdl_graph *g = &a->got.graph;
    io_put(t, "id,x_px,y_px,x_A,y_A,species,score,coordination,defect,"
           "signal,z_from,z_to\n");
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
        if (p->z_to)
            io_put(t, ",%.2f,%u,%u\n", (double)p->signal,
                   (unsigned)p->z_from, (unsigned)p->z_to);
        else io_put(t, ",,,\n");
    }
}

static void put_bonds(io_text *t, const analysis *a, const atomdl_finder *m)
{
    (void)m;
    io_put(t, "a,b,pair,length_A,error_A,score\n");
    char pair[8];
    for (int i = 0; i < a->got.graph.bonds; i++) {
        const atomdl_bond *b = &a->got.graph.bond[i];
        pair_text(pair, a->got.node[b->a].z, a->got.node[b->b].z);
        io_put(t, "%u,%u,%s,%.4f,%.4f,%.4f\n", b->a + 1, b->b + 1, pair,
               b->length, b->error, b->score);
    }
}

/* One row an atom; of a pair of chalcogens one lies above the metals, one
   below. */
static void put_xyz(io_text *t, const analysis *a, const atomdl_finder *m)
{
    (void)m;
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
            io_json(t, "a", "%u", f->node[i] + 1);
            io_json(t, "b", "%u", g->link[k] + 1);
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
            io_json(t, "a", "%u", p + 1);
            io_json(t, "at", "%u", v + 1);
            io_json(t, "b", "%u", q + 1);
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

/* One defect with all that was measured of it. */
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
        io_json(t, NULL, "%u", f->node[i] + 1);
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
    io_json(t, "rules_disagree", f->flags & ATOMDL_DISAGREE ? "true" : "false");
    io_json(t, "at_border", f->flags & ATOMDL_AT_BORDER ? "true" : "false");
    put_rings(t, f->rings);
    put_shell(t, a, f);
    elements_text(text, a, f);
    io_json_string(t, "elements", text);
    io_json_close(t, '}');
}

static void put_atom_counts(io_text *t, const analysis *a,
                            const atomdl_finder *m)
{
    species list[SPECIES];
    int n = kinds_found(list, a, m);
    char text[16];
    io_json_open(t, "atoms", '{');
    for (int i = 0; i < n; i++) {
        species_text(text, list[i].z, list[i].count);
        io_json(t, text, "%d", list[i].n);
    }
    io_json_close(t, '}');
}

/* Missing chalcogens and how they were found; areas of the classes. */
static void put_vacancies(io_text *t, const analysis *a, const atomdl_finder *m)
{
    const atomdl_mixture *x = &a->got.mixture;
    int areas = 0;
    if (a->got.sites) {
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
        put_json_array(t, "levels", "%.6f", ATOMDL_LEVELS, x->mean);
        io_json(t, "sd", "%.6f", x->sd);
        io_json(t, "one_of_two", "%.6f", x->one);
        io_json(t, "one_of_two_error", "%.6f", x->one_error);
        put_json_array(t, "weights", "%.6f", ATOMDL_LEVELS, x->weight);
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
    char text[8];
    for (int k = 0; k < a->got.kinds; k++) {
        const atomdl_bond_kind *b = &a->got.kind[k];
        pair_text(text, b->a, b->b);
        io_json_open(t, NULL, '{');
        io_json_string(t, "pair", text);
        io_json(t, "count", "%d", b->n);
        io_json(t, "mean_A", "%.4f", b->mean);
        put_known(t, "sd_A", b->sd, b->n > 1);
        io_json_close(t, '}');
    }
    io_json_close(t, ']');
}

/* The tests of the ground and what they said. */
static void put_ground(io_text *t, const analysis *a)
{
    const atomdl_ground *g = &a->got.ground;
    char text[160];
    if (!g->asked) return;
    io_json_open(t, "ground", '{');
    io_json(t, "found", "%.4f", g->found);
    io_json(t, "order", "%.4f", g->order);
    io_json(t, "median_score", "%.4f", g->score);
    io_json(t, "rings_of_six", "%.4f", g->sixes);
    io_json(t, "stretch", "%.4f", g->stretch);
    io_json(t, "depth", "%.4f", g->depth);
    io_json(t, "pit", "%.4f", g->pit);
    put_known(t, "ratio", g->ratio, g->ratio > 0);
    note_text(text, &g->failed);
    io_json_string(t, "failed", text);
    io_json_close(t, '}');
}

/* The image and its counts, then its defects. */
static void put_json(io_text *t, const analysis *a, const atomdl_finder *m)
{
    io_json_open(t, NULL, '{');
    io_json_string(t, "image", a->source);
    if (a->frame >= 0) io_json(t, "frame", "%d", a->frame);
    put_json_array(t, "size_px", "%.0f", 2, (double[]){a->w, a->h});
    put_json_array(t, "pixel_size_A", "%.6f", 2,
                   (double[]){a->pixel_x, a->pixel_y});
    io_json_string(t, "pixel_size_from", a->pixel_from);
    io_json_string(t, "material", m->chemistry->name);
    io_json_string(t, "weights", m->name);
    io_json_string(t, "recipe", m->meta.recipe);
    io_json(t, "numerics", "%d", ATOMDL_NUMERICS);
    io_json(t, "numerics_of_weights", "%u", (unsigned)m->meta.numerics);
    put_json_array(t, "prob_size_px", "%.0f", 2,
                   (double[]){a->got.net_w, a->got.net_h});
    io_json_open(t, "prob_classes", '[');
    for (int i = 0; i < m->classes; i++)
        io_json_string(t, NULL, m->class_of[i].name);
    io_json_close(t, ']');
    put_atom_counts(t, a, m);
    put_vacancies(t, a, m);
    put_bond_kinds(t, a);
    put_rings(t, a->got.graph.histogram);
    put_ground(t, a);
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

static void path_of(char path[PATH], const session *s, const char *ending)
{
    snprintf(path, PATH, "%.900s/%.250s%s", s->o->out, s->a.name, ending);
}

static int write_tables(session *s)
{
    static const struct {
        void (*put)(io_text *t, const analysis *a, const atomdl_finder *m);
        const char *ending;
    } TABLE[] = {{put_atoms, ".atoms.csv"}, {put_bonds, ".bonds.csv"},
                 {put_json, ".defects.json"}, {put_xyz, ".xyz"}};
    char path[PATH];
    int bad = 0;
    for (int i = 0; i < 4 && !bad; i++) {
        io_text t = {0};
        TABLE[i].put(&t, &s->a, s->m);
        path_of(path, s, TABLE[i].ending);
        bad = io_text_write(&t, path);
    }
    return bad ? fail("%s", io_reason()) : 0;
}

static int write_overlay(session *s)
{
    char path[PATH];
    io_bytes *png = &s->a.overlay;
    path_of(path, s, ".overlay.png");
    int bad = overlay_png(png, &s->a) || io_write(path, png->data, png->size);
    return bad ? fail("%s", io_reason()) : 0;
}

/* ---------- Probabilities -------------------------------------------------

   What becomes of the network's bands: rows of a small picture, of a file, or
   of a.prob. */

/* Adds the band to the picture: colours by the probabilities of classes. */
static void band_picture(analysis *a, const atomdl_finder *m,
                         const atomdl_band *b)
{
    unsigned colour[ATOMDL_CLASSES];
    for (int c = 0; c < b->classes; c++) colour[c] = class_colour(m, c);
    for (int y = (b->y0 + a->map_step - 1) / a->map_step;
         y * a->map_step < b->y1; y++)
        for (int x = 0; x < a->map_w; x++) {
            const float *prob = b->prob + (size_t)(x * a->map_step)
                                + (size_t)(y * a->map_step - b->y0) * b->pitch;
            double v[3] = {0}; /* red, green, blue */
            for (int c = 0; c < b->classes; c++, prob += b->plane)
                for (int k = 0; k < 3; k++)
                    v[k] += (double)*prob * (colour[c] >> (16 - 8 * k) & 255);
            for (int k = 0; k < 3; k++)
                a->map[3 * ((size_t)y * (size_t)a->map_w + (size_t)x)
                       + (size_t)k] = (unsigned char)(v[k] < 255 ? v[k] : 255);
        }
}

static void band_keep(analysis *a, const atomdl_band *b)
{
    size_t w = (size_t)b->w, all = w * (size_t)a->got.net_h;
    for (int y = b->y0; y < b->y1; y++)
        for (int c = 0; c < b->classes; c++)
            memcpy(a->prob + (size_t)c * all + (size_t)y * w,
                   b->prob + (size_t)c * b->plane
                       + (size_t)(y - b->y0) * b->pitch, w * sizeof *a->prob);
}

/* Writes the band's rows, classes innermost; the first begins the file. */
static int band_write(session *s, const atomdl_band *b)
{
    size_t w = (size_t)b->w, n = (size_t)b->classes;
    const size_t dim[3] = {(size_t)s->a.got.net_h, w, n};
    io_text head = {0};
    io_npy_head(&head, 'f', 3, dim);
    int bad = head.failed || (!b->y0 && (fseek(s->prob, 0, SEEK_SET)
              || fwrite(head.s, 1, head.n, s->prob) != head.n));
    io_text_free(&head);
    for (int y = b->y0; y < b->y1 && !bad; y++) {
        const float *row = b->prob + (size_t)(y - b->y0) * b->pitch;
        for (size_t x = 0; x < w; x++)
            for (size_t c = 0; c < n; c++)
                atomdl_storef(s->line + 4 * (x * n + c), row[c * b->plane + x]);
        bad = fwrite(s->line, 4 * n, w, s->prob) != w;
    }
    return bad ? fail("%s.prob.npy: cannot write: %s", s->a.name,
                      strerror(errno)) : 0;
}

static int take_band(void *user, const atomdl_band *b)
{
    session *s = user;
    if (s->a.prob) band_keep(&s->a, b);
    if (s->a.map) band_picture(&s->a, s->m, b);
    return s->prob && band_write(s, b) ? ATOMDL_EFILE : ATOMDL_OK;
}

/* ---------- One image ----------------------------------------------------- */

atomdl_image image_of(const analysis *a)
{
    atomdl_image image = {a->w, a->h, 1, (float *)a->px};
    return image;
}

/* Says what a status means; that of a band has been said. */
static int find_failed(const session *s, int status)
{
    const atomdl_note *n = &s->a.got.why;
    char text[160];
    if (status == ATOMDL_EFILE) return 1;
    if (!n->code) return fail("%s: %s", s->a.name, atomdl_strerror(status));
    note_text(text, n);
    return fail("%s: %s", s->a.source, text);
}

/* *need <- memory that atomdl_find wants; the sizes in a.got. */
static int find_measure(session *s, size_t *need)
{
    atomdl_arena measure = {0, 0, 0, 0, 0};
    atomdl_image image = image_of(&s->a);
    int status = atomdl_find(&s->a.got, &image, s->m, &s->how, &measure);
    *need = measure.peak;
    return status ? find_failed(s, status) : 0;
}

/* Finds; anew with more room where that is too small. */
static int find_atoms(session *s, size_t need)
{
    atomdl_image image = image_of(&s->a);
    int status = ATOMDL_ESHAPE;
    while (status == ATOMDL_ESHAPE) {
        if (room(&s->memory, need)) return 1;
        status = atomdl_find(&s->a.got, &image, s->m, &s->how, &s->memory);
        if (status != ATOMDL_ESHAPE || s->a.got.most <= s->how.most) break;
        s->how.most = s->a.got.most;
        if (find_measure(s, &need)) return 1;
    }
    analysis_warn(&s->a, s->a.got.warning, s->a.got.warnings);
    return status ? find_failed(s, status) : 0;
}

/* Says what a large image will need, before it is begun. */
static void announce(const session *s, size_t need)
{
    double bytes = (double)need + 4. * s->a.w * s->a.h;
    if (bytes > 536870912.)
        fprintf(stderr, "atomdl: %s: %d x %d pixels, needs about %.1f GiB of "
                "memory\n", s->a.name, s->a.w, s->a.h, bytes / 1073741824.);
}

static int map_new(analysis *a)
{
    int w = a->got.net_w, h = a->got.net_h, side = w > h ? w : h;
    a->map_step = (side + MAP_SIDE - 1) / MAP_SIDE;
    a->map_w = (w + a->map_step - 1) / a->map_step;
    a->map_h = (h + a->map_step - 1) / a->map_step;
    a->map = calloc((size_t)a->map_w * (size_t)a->map_h, 3);
    return a->map ? 0 : out_of_memory(3. * a->map_w * a->map_h);
}

/* The same, with a file of the probabilities, named at the end. */
static int find_with_file(session *s, size_t need)
{
    char path[PATH], part_path[PATH + 8];
    path_of(path, s, ".prob.npy");
    snprintf(part_path, sizeof part_path, "%s.part", path);
    s->line = malloc((size_t)s->a.got.net_w * (size_t)s->m->classes * 4);
    s->prob = s->line ? fopen(part_path, "wb") : NULL;
    int bad = !s->line ? out_of_memory(s->a.got.net_w * 4.)
              : !s->prob ? fail("%s: cannot write: %s", path, strerror(errno))
                         : find_atoms(s, need);
    if (s->prob && fclose(s->prob) && !bad)
        bad = fail("%s: cannot write: %s", path, strerror(errno));
    if (!bad && rename(part_path, path))
        bad = fail("%s: cannot rename: %s", path, strerror(errno));
    if (bad && s->prob) remove(part_path);
    free(s->line);
    s->line = NULL;
    s->prob = NULL;
    return bad;
}

/* The same, with a picture of the probabilities. */
static int find_with_map(session *s, size_t need)
{
    announce(s, need);
    if (map_new(&s->a)) return 1;
    return s->o->probabilities ? find_with_file(s, need) : find_atoms(s, need);
}

void session_clear(session *s)
{
    free(s->a.map);
    free(s->a.overlay.data);
    free(s->a.prob);
    memset(&s->a, 0, sizeof s->a);
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
    size_t need;
    s->how.pixel_x = s->a.pixel_x;
    s->how.pixel_y = s->a.pixel_y;
    s->how.blank = s->a.blank;
    s->how.most = 0;
    if (find_measure(s, &need) || (where == PROB_KEPT && prob_new(s)))
        return 1;
    return where == PROB_SHOWN ? find_with_map(s, need) : find_atoms(s, need);
}

static int analyse(session *s, report *r)
{
    int bad = session_find(s, PROB_SHOWN) || ground_refuses(s)
              || write_tables(s) || write_overlay(s)
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

static int pixel_stage(void *of, atomdl_arena *arena)
{
    session *s = of;
    atomdl_image image = image_of(&s->a);
    s->pixel.x = s->a.pixel_x;
    s->pixel.y = s->a.pixel_y;
    return atomdl_pixel_find(&s->pixel, &image, s->m->chemistry, arena);
}

int pixel_size(session *s, double file_x, double file_y)
{
    analysis *a = &s->a;
    double given = s->o->pixel;
    atomdl_arena measure = {0, 0, 0, 0, 0};
    a->pixel_x = given > 0 ? given : file_x;
    a->pixel_y = given > 0 ? given : file_y;
    if (pixel_stage(s, &measure) || room(&s->memory, measure.peak)) return 1;
    int status = pixel_stage(s, &s->memory);
    if (status == ATOMDL_EARG)
        return fail("%s: the file's pixel size is %.4g A, which shows no "
                    "atoms; give the right one with --pixel-size", a->source,
                    a->pixel_x);
    if (status)
        return fail("%s: neither the file nor a lattice in it tells the pixel "
                    "size; give it with --pixel-size (Angstrom)", a->source);
    a->pixel_x = s->pixel.x;
    a->pixel_y = s->pixel.y;
    if (!a->pixel_from)
        a->pixel_from = s->pixel.from_lattice ? "lattice"
                        : given > 0 ? "option" : "file";
    analysis_warn(a, s->pixel.warning, s->pixel.warnings);
    return 0;
}

void frame_of_stack(analysis *a, const io_stack *stack, size_t i,
                    const char *path)
{
    char name[200];
    base_name(name, path);
    memset(a, 0, sizeof *a);
    a->source = path;
    a->frame = stack->frames > 1 ? (int)i : -1;
    snprintf(a->name, sizeof a->name, stack->frames > 1 ? "%s-%04zu" : "%s",
             name, i);
    a->w = (int)stack->w;
    a->h = (int)stack->h;
    a->px = stack->px + i * stack->w * stack->h;
    a->blank = stack->blank ? stack->blank + i * stack->w * stack->h : NULL;
}

enum { LATTICES = 255 }; /* frames that are asked */

/* The median of pixel sizes; 0: there are none. */
static double middle_size(const double *v, size_t n)
{
    uint32_t order[LATTICES], spare[LATTICES];
    return !n || atomdl_sort(order, v, n, spare) ? 0 : v[order[n / 2]];
}

/* A stack has one pixel size: where neither file nor option says it, the median
   of what the frames' lattices say, so that lengths of frames compare. */
static int stack_pixel(session *s, double size[2], const io_stack *stack,
                       size_t last, const char *path)
{
    double x[LATTICES], y[LATTICES];
    size_t first = (size_t)s->o->first, n = 0;
    size_t step = (last - first) / LATTICES + 1;
    size[0] = stack->pixel_x;
    size[1] = stack->pixel_y;
    if (s->o->pixel > 0 || size[0] > 0 || last == first) return 0;
    for (size_t i = first; i <= last; i += step) {
        atomdl_arena measure = {0, 0, 0, 0, 0};
        frame_of_stack(&s->a, stack, i, path);
        if (pixel_stage(s, &measure) || room(&s->memory, measure.peak))
            return 1;
        if (pixel_stage(s, &s->memory)) continue;
        x[n] = s->pixel.x;
        y[n++] = s->pixel.y;
    }
    size[0] = middle_size(x, n);
    size[1] = middle_size(y, n);
    if (n) return 0;
    return fail("%s: neither the file nor a lattice in any frame tells the "
                "pixel size; give it with --pixel-size (Angstrom)", path);
}

/* Every frame; 1 when any of them failed. */
static int analyse_stack(session *s, report *r, const io_stack *stack,
                         const char *path)
{
    size_t last = stack->frames - 1;
    double size[2];
    int bad = 0;
    if ((size_t)s->o->first > last)
        return fail("%s: has frames 0 to %zu only", path, last);
    if ((size_t)s->o->last < last) last = (size_t)s->o->last;
    if (stack_pixel(s, size, stack, last, path)) return 1;
    for (size_t i = (size_t)s->o->first; i <= last; i++) {
        frame_of_stack(&s->a, stack, i, path);
        if (size[0] > 0 && !(s->o->pixel > 0) && !(stack->pixel_x > 0))
            s->a.pixel_from = "lattice";
        bad |= pixel_size(s, size[0], size[1]) || analyse(s, r);
    }
    return bad;
}

/* ---------- The command --------------------------------------------------- */

static int take_frames(const option_row *row, const char *text)
{
    options *o = row->to;
    int a, b, n = 0;
    if (!text || sscanf(text, "%d-%d%n", &a, &b, &n) < 2 || text[n] || a < 0
        || b < a)
        return misuse("--frames wants A-B with 0 <= A <= B");
    o->first = a;
    o->last = b;
    return 0;
}

static int take_dopant(const option_row *row, const char *text)
{
    options *o = row->to;
    o->dopant = text ? atomdl_element(text, strlen(text)) : 0;
    return o->dopant ? 0 : misuse("--dopant wants an element's symbol");
}

static int take_average(const option_row *row, const char *text)
{
    options *o = row->to;
    o->average = text && !strcmp(text, "8") ? 8 : 1;
    return text && (o->average == 8 || !strcmp(text, "1")) ? 0
           : misuse("--average wants 1 or 8");
}

/* Rule i of the image, then of the movie; on: its value by default. */
static int *rule_get(options *o, int i, const char **name, int *on)
{
    int images = 0;
    *on = 1;
    while (atomdl_rules_get(&o->rules, images, name)) images++;
    if (i < images) return atomdl_rules_get(&o->rules, i, name);
    if (!o->film_rules) return NULL;
    atomdl_film_rules all;
    atomdl_film_defaults(&all);
    int *of_all = atomdl_film_rule(&all, i - images, name);
    if (of_all) *on = *of_all;
    return atomdl_film_rule(o->film_rules, i - images, name);
}

/* "NAME=0" leaves a rule out, "NAME=1" takes it back in. */
static int take_rule(const option_row *row, const char *text)
{
    options *o = row->to;
    const char *is = text ? strchr(text, '=') : NULL, *name;
    char list[320] = "";
    int *rule, on;
    for (int i = 0; (rule = rule_get(o, i, &name, &on)); i++) {
        if (is && !strncmp(name, text, (size_t)(is - text))
            && !name[is - text] && (is[1] == '0' || is[1] == '1') && !is[2])
            return *rule = is[1] == '1' ? on : 0, 0;
        strcat(strcat(list, " "), name);
    }
    return misuse("--rules wants NAME=0 or NAME=1; there are%s", list);
}

int analysis_options(options *o, char **argv, option_row *more)
{
    const option_row row[] = {
        OPTION_TAKE("--frames", o, NULL, take_frames),
        OPTION_REAL("--pixel-size", &o->pixel, 0.001, 10,
                    "wants Angstrom a pixel, 0.001 to 10"),
        OPTION_REAL("--dark", &o->dark, -1e30, 1e30, "wants a grey level"),
        OPTION_TAKE("--material", o, NULL, take_material),
        OPTION_LIST("--threshold", &o->threshold),
        OPTION_TAKE("--dopant", o, NULL, take_dopant),
        OPTION_WORD("--method", &o->intensity, "network intensity",
                    "wants network or intensity"),
        OPTION_TAKE("--rules", o, NULL, take_rule),
        OPTION_FLAG("--force", &o->force),
        OPTION_WHOLE("--threads", &o->threads, 1, 1024),
        OPTION_TAKE("--average", o, NULL, take_average),
        OPTION_TEXT("-o", &o->out, "wants a directory"),
        OPTION_TEXT("--weights", &o->weights, "wants a name"),
        OPTION_MORE(more)};
    o->images = options_read(row, argv, o->image, INT_MAX,
                             "what is '%s'? (--help says more)");
    return o->images < 0 ? 2 : 0;
}

void analysis_defaults(options *o, char **argv, const char *out)
{
    memset(o, 0, sizeof *o);
    o->image = (const char **)argv; /* images move to its front */
    o->out = out;
    o->average = 1;
    o->threshold.of = o->threshold_of;
    o->threshold.most = MAX_THRESHOLDS;
    o->last = 0x7fffffff;
    o->dopant = 23;
    o->rules = atomdl_rules_all();
    o->chemistry = atomdl_chemistry_get(0);
}

/* Bright for dark, between the same bounds. */
static void invert(io_stack *stack)
{
    size_t n = stack->frames * stack->w * stack->h;
    float low = stack->px[0], high = low;
    for (size_t i = 0; i < n; i++) {
        low = stack->px[i] < low ? stack->px[i] : low;
        high = stack->px[i] > high ? stack->px[i] : high;
    }
    for (size_t i = 0; i < n; i++) stack->px[i] = high - (stack->px[i] - low);
}

int mark_blank(io_stack *stack, double pixel)
{
    size_t n = stack->w * stack->h, count, any = 0;
    size_t less = stack->w < stack->h ? stack->w : stack->h;
    double side = pixel > 0 ? ATOMDL_NO_DATA / pixel + 1 : (double)less / 16;
    int status = ATOMDL_OK;
    atomdl_arena memory = {0, 0, 0, 0, 0};
    stack->blank = malloc(stack->frames * n);
    if (!stack->blank) return out_of_memory((double)(stack->frames * n));
    if (room(&memory, 4 * stack->w + 256)) return 1;
    side = side < 4 ? 4 : side < 1e6 ? side : 1e6;
    for (size_t i = 0; i < stack->frames && !status; i++) {
        unsigned char *blank = stack->blank + i * n;
        atomdl_image frame = {(int)stack->w, (int)stack->h, 1,
                              stack->px + i * n};
        memory.used = 0;
        status = atomdl_image_blank(blank, &count, &frame, (int)side, &memory);
        if (status == ATOMDL_ENAN) {
            memset(frame.px, 0, n * sizeof *frame.px);
            memset(blank, 0, n);
            status = ATOMDL_OK;
        }
        any += count;
    }
    free(memory.base);
    if (status) return fail("%s", atomdl_strerror(status));
    if (any) return 0;
    free(stack->blank);
    stack->blank = NULL;
    return 0;
}

int analysis_read(io_stack *stack, const options *o, const char *path)
{
    if (io_stack_read(stack, path)) return fail("%s", io_reason());
    if (mark_blank(stack, o->pixel > 0 ? o->pixel : stack->pixel_x)) return 1;
    if (o->invert) invert(stack);
    return 0;
}

static int take_options(options *o, char **argv)
{
    analysis_defaults(o, argv, "analysis");
    o->dopant = 0;
    option_row row[] = {OPTION_FLAG("--probabilities", &o->probabilities),
                        OPTION_FLAG("--invert", &o->invert), OPTION_END};
    if (analysis_options(o, argv, row)) return 2;
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
        if (analysis_read(&stack, s->o, s->o->image[i])) bad = 1;
        else bad |= analyse_stack(s, r, &stack, s->o->image[i]);
        io_stack_free(&stack);
    }
    return bad;
}

int session_open(session *s, const options *o)
{
    memset(s, 0, sizeof *s);
    if (o->intensity && o->chemistry->count[1] != 2)
        return misuse("--method intensity is for dichalcogenides: --material "
                      "mos2, ...");
    if (wanted_kernels(&s->how.use.kernels, NULL)) return 2;
    s->o = o;
    s->how.use.threads = o->threads;
    s->how.average = o->average;
    s->how.intensity = o->intensity;
    s->how.dark = o->dark;
    s->how.rules = &o->rules;
    s->how.band = take_band;
    s->how.user = s;
    s->m = calloc(1, sizeof *s->m);
    int bad = s->m ? model_load(s, o) : out_of_memory(sizeof *s->m);
    return bad || !o->out ? bad : make_directory(o->out);
}

void session_close(session *s)
{
    session_clear(s);
    free(s->memory.base);
    free(s->values.base);
    free(s->m);
}

int analyze_command(char **argv)
{
    report r = {0};
    options o;
    if (take_options(&o, argv)) return 2;
    session s;
    if (material_recognise(&o)) return 1;
    int bad = session_open(&s, &o);
    if (!bad) {
        bad = analyse_all(&s, &r);
        bad |= report_write(&r, s.m, r.images ? o.out : NULL);
    }
    session_close(&s);
    return bad;
}
