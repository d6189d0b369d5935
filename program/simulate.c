/* SPDX-License-Identifier: MIT
   atomdl simulate: images and movies of a recipe, with their truth. */
#include "analyze.h"
#include "program.h"
#include "files/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char SIMULATE_HELP[] =
    "usage: atomdl simulate RECIPE|--material NAME [...] -o PREFIX\n"
    "\n"
    "Makes images, and writes for each what is in it:\n"
    "  PREFIX.png          the image, grey of 16 bits from least to greatest\n"
    "  PREFIX.truth.csv    its atoms; species `vacancy`: an empty site;\n"
    "                      x_A = x_px times the pixel size: 0 is the centre\n"
    "                      of the first pixel\n"
    "  PREFIX.labels.png   classes as grey levels, class c of n: c * (255 / "
    "(n-1))\n"
    "PREFIX becomes PREFIX-0000, -0001... where there are several.\n"
    "\n"
    "  --count N           that many images (--first I: from number I on)\n"
    "  --movie FRAMES      frames of one specimen; PREFIX.defects.csv tells\n"
    "                      which defect is where in each\n"
    "  --size PX  --pixel-size A  --dose E/A2  --seed N  --xyz FILE\n"
    "  --defects LIST      such as si-c3,si-c4:2,v1: as many as are named\n"
    "  --set 'KEY = VALUE' any other key of a recipe\n"
    "  --format png|tif|npy    tif and npy: float32\n"
    "  --training          as a network is shown it: augmented, scaled\n"
    "  --write-xyz         PREFIX.xyz too\n"
    "  --print-recipe      print all keys, what they mean and their values\n"
    "\n"
    "materials: graphene graphene-ab graphene-aa h-bn h-bn-2, and\n"
    "           {mos2,mose2,mote2,ws2,wse2,wte2}-{2h,3r,1t}-{1,2,3}; MoS2\n"
    "           is mos2-2h-1\n"
    "example:   atomdl simulate --material mos2-2h-1 --defects vx1,vx2 -o "
    "mos2\n";

typedef struct {
    const char *recipe, *material, *prefix;
    int format, count, first, movie, training, write_xyz, print;
    int keys; /* 1: options that set a key of the recipe count */
    atomdl_recipe r;
    atomdl_source source;
    atomdl_atom *atom;          /* of an XYZ file, from malloc */
    atomdl_arena shared, arena; /* of the source, a sample; from malloc */
    atomdl_sample sample;
    int number;                 /* of the sample or the frame */
    atomdl_movie *now;          /* NULL: images */
} simulation;

enum { PNG, TIF, NPY };
static const char FORMATS[] = "png tif npy";

/* "KEY = VALUE" from the command line; `from` is the option. */
static int set_key(atomdl_recipe *r, const char *from, const char *key,
                   const char *value)
{
    char line[4096];
    if (!value || strlen(key) + strlen(value) + 4 > sizeof line)
        return misuse("%s wants a value", from);
    sprintf(line, "%s%s%s", key, *key ? " = " : "", value);
    for (size_t i = 0; line[i]; i++)
        if (line[i] == '\n' || line[i] == '#') line[i] = ' ';
    atomdl_recipe_error error;
    if (atomdl_recipe_set(r, &error, line))
        return misuse("%s: %s", from, error.text);
    return 0;
}

/* NAME[:W],...: the defects, and as many of them as there are names */
static int set_defects(atomdl_recipe *r, const char *list)
{
    char text[1024];
    int n = 1;
    if (!list || !*list || strlen(list) >= sizeof text)
        return misuse("--defects wants a list such as si-c3,v1");
    strcpy(text, list);
    for (size_t i = 0; text[i]; i++)
        if (text[i] == ',') text[i] = ' ', n++;
    char number[16];
    sprintf(number, "%d", n);
    if (set_key(r, "--defects", "defects", text)) return 2;
    return set_key(r, "--defects", "count", number);
}

/* An option that sets a key of the recipe: the row's word. */
static int take_key(const option_row *row, const char *value)
{
    simulation *s = row->to;
    if (!s->keys) return 0;
    if (!strcmp(row->name, "--defects")) return set_defects(&s->r, value);
    if (set_key(&s->r, row->name, row->words, value)) return 2;
    if (strcmp(row->name, "--dose")) return 0;
    return set_key(&s->r, "--dose", "density", "0");
}

/* One pass over the options: without keys, which need the recipe, or with
   them. */
static int simulate_options(simulation *s, char **argv, int keys)
{
    const option_row row[] = {
        OPTION_TAKE("--size", s, "size", take_key),
        OPTION_TAKE("--pixel-size", s, "pixel", take_key),
        OPTION_TAKE("--dose", s, "dose", take_key),
        OPTION_TAKE("--seed", s, "seed", take_key),
        OPTION_TAKE("--xyz", s, "xyz", take_key),
        OPTION_TAKE("--set", s, "", take_key),
        OPTION_TAKE("--defects", s, "", take_key),
        OPTION_TEXT("--material", &s->material, "wants a value"),
        OPTION_TEXT("-o", &s->prefix, "wants a value"),
        OPTION_WORD("--format", &s->format, FORMATS, "is png, tif or npy"),
        OPTION_WHOLE("--count", &s->count, 1, 1000000),
        OPTION_WHOLE("--first", &s->first, 0, 1000000000),
        OPTION_WHOLE("--movie", &s->movie, 1, 100000),
        OPTION_FLAG("--training", &s->training),
        OPTION_FLAG("--write-xyz", &s->write_xyz),
        OPTION_FLAG("--print-recipe", &s->print), OPTION_END};
    const char *word[2] = {NULL, NULL};
    s->keys = keys;
    int n = options_read(row, argv, word, 2, "simulate has no option '%s'");
    if (n < 0) return 2;
    if (n > 1) return misuse("one recipe at a time: '%s'", word[1]);
    s->recipe = word[0];
    return 0;
}

/* What a first try should look like, where no recipe says it. */
static int recipe_of_material(atomdl_recipe *r, const char *material)
{
    static const char *const KEYS[][2] = {
        {"size", "256"}, {"pixel", "0.1"}, {"thermal", "0.06"},
        {"dose", "1000000"}, {"background", "0.1"}, {"jitter", "0.03"},
    };
    atomdl_recipe_default(r);
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        if (set_key(r, KEYS[i][0], KEYS[i][0], KEYS[i][1])) return 2;
    char name[MATERIAL_NAME];
    material_lattice(name, material);
    return set_key(r, "--material", "material", *name ? name : material);
}

static int simulate_recipe(simulation *s, char **argv)
{
    int status = simulate_options(s, argv, 0);
    if (status) return status;
    if (!s->recipe == !s->material)
        return misuse("simulate wants a recipe or --material NAME");
    status = s->recipe ? recipe_read(&s->r, s->recipe)
                       : recipe_of_material(&s->r, s->material);
    if (!status) status = simulate_options(s, argv, 1);
    if (status) return status;
    atomdl_recipe_error error;
    if (atomdl_recipe_check(&s->r, &error)) return misuse("%s", error.text);
    return 0;
}

/* Distance of atom i to one of those before, kept in chains of cells of NEAR;
   NEAR and more: none is so near. *other: which. */
#define NEAR 0.3 /* A */

static double distance_before(const atomdl_atom *atom, uint32_t i,
                              uint32_t *head, uint32_t *next, uint32_t cells,
                              uint32_t *other)
{
    const atomdl_atom *a = &atom[i];
    double cell[3], least = 1;
    uint32_t *first = head;
    for (int c = 0; c < 27; c++) { /* the last one is its own */
        cell[0] = floor(a->x / NEAR) + (c + 14) % 27 % 3 - 1;
        cell[1] = floor(a->y / NEAR) + (c + 14) % 27 / 3 % 3 - 1;
        cell[2] = floor(a->z / NEAR) + (c + 14) % 27 / 9 - 1;
        first = &head[((uint32_t)(int32_t)cell[0] * 73856093u
                       ^ (uint32_t)(int32_t)cell[1] * 19349663u
                       ^ (uint32_t)(int32_t)cell[2] * 83492791u) % cells];
        for (uint32_t k = *first; k; k = next[k - 1]) {
            const atomdl_atom *b = &atom[k - 1];
            double d2 = (a->x - b->x) * (a->x - b->x)
                        + (a->y - b->y) * (a->y - b->y)
                        + (a->z - b->z) * (a->z - b->z);
            if (d2 >= least) continue;
            least = d2;
            *other = k - 1;
        }
    }
    next[i] = *first;
    *first = i + 1;
    return sqrt(least);
}

/* An atom given twice is refused, and a file of which a twentieth of the atoms
   have another within NEAR: its lengths are in nm. (Amorphous carbon has some
   such pairs.) Atoms that are stacked differ in z. */
static int check_apart(const char *path, const atomdl_atom *atom, uint32_t n)
{
    uint32_t *head = calloc((size_t)n, sizeof *head), close = 0, other = 0;
    uint32_t *next = malloc((size_t)n * sizeof *next);
    int status = head && next ? 0 : fail("%s: not enough memory", path);
    for (uint32_t i = 0; i < n && !status; i++) {
        double d = distance_before(atom, i, head, next, n, &other);
        close += d < NEAR;
        if (d < 0.02)
            status = fail("%s:%u: the place of line %u's atom: remove one, or "
                          "stack them in z", path, i + 3, other + 3);
    }
    if (!status && close > n / 20)
        status = fail("%s: %u of %u atoms nearer than %g A to another: are "
                      "lengths in A?", path, close, n, NEAR);
    free(head);
    free(next);
    return status;
}

static int load_xyz(simulation *s)
{
    const char *path = s->r.xyz;
    if (!*path) return 0;
    io_bytes bytes;
    if (io_read(&bytes, path, (size_t)1 << 30)) return fail("%s", io_reason());
    atomdl_xyz info;
    int status =
        atomdl_xyz_read(&info, NULL, (const char *)bytes.data, bytes.size);
    if (!status) {
        s->atom = malloc(((size_t)info.atoms + 1) * sizeof *s->atom);
        if (s->atom)
            status = atomdl_xyz_read(&info, s->atom, (const char *)bytes.data,
                                     bytes.size);
    }
    free(bytes.data);
    if (!status && !s->atom) return fail("%s: not enough memory", path);
    if (!status && !info.atoms) return fail("%s: no atoms", path);
    s->source.atoms = info.atoms;
    if (!status) return check_apart(path, s->atom, info.atoms);
    return info.line ? fail("%s:%u: %s", path, info.line,
                            info.why)
                     : fail("%s: %s", path, info.why);
}

static int write_image(const simulation *s, const char *path,
                       const atomdl_sample *sample)
{
    const atomdl_image *image = &sample->image;
    size_t w = (size_t)image->w, h = (size_t)image->h, dim[2] = {h, w};
    if (s->format == NPY)
        return io_npy_write(path, image->px, 'f', 2, dim);
    if (s->format == TIF)
        return io_tiff_write(path, image->px, h, w, sample->pixel);
    return io_grey_png_write(path, image->px, w, h);
}

static int write_labels(const char *path, const atomdl_sample *sample,
                        int classes)
{
    size_t w = (size_t)sample->image.w, h = (size_t)sample->image.h;
    uint8_t *label = sample->label;
    int step = 255 / (classes > 1 ? classes - 1 : 1);
    for (size_t i = 0; i < w * h; i++) label[i] = (uint8_t)(label[i] * step);
    return io_png_write(path, label, w, h, 1);
}

/* Four columns of a place: pixels, A from the first pixel's centre. */
static void put_place(io_text *text, const atomdl_sample *sample, double x,
                      double y)
{
    io_put(text, "%.4f,%.4f,%.4f,%.4f,", x / sample->pixel - 0.5,
           y / sample->pixel - 0.5, x - sample->pixel / 2,
           y - sample->pixel / 2);
}

typedef struct { /* a row of the truth: an atom, or an empty column */
    double x, y;
    const char *species;
    const atomdl_column *column; /* NULL: in none */
    uint32_t defect;             /* its number from 1; 0: in none */
} truth_row;

static void put_truth(io_text *text, unsigned *id, const atomdl_sample *sample,
                      const truth_row *row)
{
    const atomdl_structure *t = &sample->structure;
    char name[32] = "";
    if (!(row->x >= 0 && row->y >= 0 && row->x < t->w && row->y < t->h)) return;
    if (row->column) atomdl_column_text(name, row->column);
    io_put(text, "%u,", (*id)++);
    put_place(text, sample, row->x, row->y);
    io_put(text, "%s,%s,", row->species, name);
    if (row->defect)
        io_put(text, "%s:%u",
               atomdl_defect_name(t->defect[row->defect - 1].kind),
               t->defect[row->defect - 1].id);
    io_put(text, "\n");
}

static int write_truth(const char *path, const atomdl_sample *sample)
{
    const atomdl_structure *t = &sample->structure;
    io_text text = {0};
    unsigned id = 1;
    io_put(&text, "id,x_px,y_px,x_A,y_A,species,column,defect\n");
    char symbol[3];
    for (uint32_t i = 0; i < t->atoms; i++) {
        const atomdl_atom *a = &t->atom[i];
        if (a->role == ATOMDL_ROLE_CONTAMINATION) continue;
        atomdl_symbol(symbol, a->element);
        put_truth(&text, &id, sample, &(truth_row){a->x, a->y, symbol,
                  a->column < t->columns ? &t->column[a->column] : NULL,
                  a->defect});
    }
    for (uint32_t i = 0; i < t->columns; i++) {
        const atomdl_column *c = &t->column[i];
        if (!c->count)
            put_truth(&text, &id, sample, &(truth_row){c->x, c->y, "vacancy", c,
                      c->defect});
    }
    return io_text_write(&text, path);
}

static int write_structure(const char *path, const atomdl_sample *sample)
{
    const atomdl_structure *t = &sample->structure;
    io_text text = {0};
    io_put_xyz_head(&text, t->atoms, t->w, t->h, 20, "");
    char symbol[3];
    for (uint32_t i = 0; i < t->atoms; i++) {
        atomdl_symbol(symbol, t->atom[i].element);
        io_put(&text, "%s %.4f %.4f %.4f\n", symbol, t->atom[i].x,
               t->atom[i].y, t->atom[i].z);
    }
    return io_text_write(&text, path);
}

/* The files of image i. */
static int write_sample(const simulation *s, const atomdl_sample *sample, int i)
{
    char path[4200];
    int several = s->count > 1 || s->movie > 0, classes = s->r.classes;
    int n = sprintf(path, "%s", s->prefix);
    if (several) n += sprintf(path + n, "-%04d", i);
    sprintf(path + n, ".%.3s", FORMATS + 4 * s->format);
    int bad = write_image(s, path, sample);
    strcpy(path + n, ".truth.csv");
    bad = bad || write_truth(path, sample);
    strcpy(path + n, ".labels.png");
    bad = bad || write_labels(path, sample, classes ? classes : 2);
    strcpy(path + n, ".xyz");
    bad = bad || (s->write_xyz && write_structure(path, sample));
    return bad ? fail("%s", io_reason()) : 0;
}

/* A movie's defects: what is where in which frame. */
static void put_frame_defects(io_text *text, int frame,
                              const atomdl_sample *sample)
{
    const atomdl_structure *t = &sample->structure;
    for (uint32_t i = 0; i < t->defects; i++) {
        const atomdl_defect *d = &t->defect[i];
        io_put(text, "%d,%u,", frame, d->id);
        put_place(text, sample, d->x, d->y);
        io_put(text, "%s,%.4f\n", atomdl_defect_name(d->kind), d->angle);
    }
}

/* The line of the recipe's place number k, from 0; 0: it is from --set. */
static int place_line(const char *path, int k)
{
    char text[256];
    FILE *f = path ? fopen(path, "rb") : NULL;
    int start = 1, found = 0;
    for (int line = 1; f && !found && fgets(text, sizeof text, f);) {
        found = start && !strncmp(text + strspn(text, " \t"), "place", 5)
            && !k-- ? line : 0;
        start = strchr(text, '\n') != NULL;
        line += start;
    }
    if (f) fclose(f);
    return found;
}

static int fail_place(const simulation *s, int k)
{
    char where[24] = "";
    int line = place_line(s->recipe, k);
    if (line) sprintf(where, ":%d", line);
    return fail("%s%s: place: %s at %g %g overlaps another defect or has no "
                "such site there: move it", line ? s->recipe : "--set", where,
                atomdl_defect_name(s->r.place[k].kind), s->r.place[k].x,
                s->r.place[k].y);
}

/* Which atom of the image at hand has no potential for a multislice. */
static const atomdl_atom *without_potential(const simulation *s)
{
    const atomdl_structure *t = &s->sample.structure;
    for (uint32_t i = 0; t->atom && i < t->atoms; i++)
        if (!(atomdl_potential(t->atom[i].element, 1) > 0)) return &t->atom[i];
    return NULL;
}

static int fail_image(const simulation *s, int i, int status)
{
    const atomdl_atom *a = NULL;
    if (s->r.image == ATOMDL_IMAGE_MULTISLICE) a = without_potential(s);
    if (!a)
        return fail("image %d cannot be made: %s", i, atomdl_strerror(status));
    char symbol[3];
    atomdl_symbol(symbol, a->element);
    return fail("image %d: no potential of %s is known for image = multislice; "
                "image = incoherent can show it", i, symbol);
}

static int sample_status(int status, const simulation *s,
                         const atomdl_sample *sample, int i)
{
    int sure = s->r.places || s->r.count.kind == ATOMDL_DIST_CONSTANT;
    if (status) return fail_image(s, i, status);
    if (sample->misplaced) return fail_place(s, sample->misplaced - 1);
    if (sample->lost && sure)
        return fail("image %d: %u defects find no room: lower count or apart",
                    i, sample->lost);
    if (!sample->structure.atoms && sample->image.px)
        return fail("image %d: no atom lies in the field of view", i);
    return 0;
}

static int sample_stage(void *of, atomdl_arena *arena)
{
    simulation *s = of;
    uint64_t i = (uint64_t)s->first;
    return s->now ? atomdl_movie_frame(&s->sample, s->now, &s->source, i, arena)
                  : atomdl_sample_new(&s->sample, &s->source,
                                      i + (uint64_t)s->number, !s->training,
                                      arena);
}

/* All images or frames, each with its files; text: the defects of a movie. */
static int simulate_all(simulation *s, io_text *text)
{
    const char *what = s->now ? "frames" : "images";
    int n = s->now ? s->movie : s->count, status = 0;
    for (s->number = 0; s->number < n && !status; s->number++) {
        int name = s->now ? s->number : s->first + s->number;
        progress(what, s->number, n);
        status = sample_status(measure_and_run(sample_stage, s, &s->arena), s,
                               &s->sample, name);
        if (!status && s->now) put_frame_defects(text, s->number, &s->sample);
        if (!status) status = write_sample(s, &s->sample, name);
    }
    progress(what, n, n);
    return status;
}

static int simulate_movie(simulation *s)
{
    static atomdl_defect defect[4096];
    atomdl_movie movie = {0};
    io_text text = {0};
    movie.defect = defect;
    movie.max = sizeof defect / sizeof *defect;
    s->now = &movie;
    io_put(&text, "frame,id,x_px,y_px,x_A,y_A,kind,angle\n");
    int status = simulate_all(s, &text);
    char path[4200];
    sprintf(path, "%s.defects.csv", s->prefix);
    if (!status && io_text_write(&text, path)) return fail("%s", io_reason());
    io_text_free(&text);
    return status;
}

static int source_stage(void *of, atomdl_arena *arena)
{
    simulation *s = of;
    return atomdl_source_new(&s->source, &s->r, s->atom, s->source.atoms,
                             arena);
}

/* of a multislice image, which takes its time */
static void watch_rows(void *of, int done, int all)
{
    (void)of;
    progress("rows of probes", done, all);
}

static int simulate_run(simulation *s)
{
    int status = load_xyz(s);
    if (!status)
        status = in_arena(source_stage, s, &s->shared,
                          "defects cannot be relaxed");
    s->source.watch = watch_rows;
    if (!status) status = s->movie ? simulate_movie(s) : simulate_all(s, NULL);
    free(s->arena.base);
    free(s->shared.base);
    free(s->atom);
    return status;
}

int simulate_command(char **argv)
{
    static simulation s;
    s.count = 1;
    int status = simulate_recipe(&s, argv);
    if (status) return status;
    if (s.print) return recipe_show(&s.r, 1);
    if (!s.prefix || !*s.prefix || strlen(s.prefix) > 4000)
        return misuse("simulate wants -o PREFIX");
    if (s.movie && s.count > 1) return misuse("--movie makes one movie");
    return simulate_run(&s);
}
