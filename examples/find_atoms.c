/* SPDX-License-Identifier: MIT
   Finds the atoms of an image as `atomdl analyze` does, and prints its table
   NAME.atoms.csv, to the last digit.

       cc -O2 examples/find_atoms.c atomdl.c graph.c -lm -o find_atoms
       ./find_atoms weights/graphene.safetensors graphene 256 256 0.1 <pixels

   pixels: rows of binary32 numbers, little-endian, from the top; 256 x 256 of
   them, each 0.1 A wide. */
#include "../atomdl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* found <- the atoms, bonds and defects of an image whose pixels are so many
   A wide, by the bytes of a weight file. Returns 0 or a status of the library;
   *memory, from malloc, holds what found points to. */
static int find_atoms(atomdl_findings *found, void **memory,
                      const atomdl_image *image, double pixel_size,
                      const atomdl_finder *finder)
{
    atomdl_find_how how = {0};
    int status;
    how.pixel_x = how.pixel_y = pixel_size;
    do { /* measure, then find; once more if there are more atoms than room */
        atomdl_arena need = {0};
        status = atomdl_find(found, image, finder, &how, &need);
        if (status) return status;
        *memory = realloc(*memory, need.peak);
        if (!*memory) return ATOMDL_EMEM;
        atomdl_arena arena = {*memory, need.peak, 0, 0, 0};
        status = atomdl_find(found, image, finder, &how, &arena);
        how.most = found->most;
    } while (status == ATOMDL_ESHAPE && how.most);
    return status;
}

/* All bytes of a file, from malloc; NULL: no such file. */
static unsigned char *read_all(size_t *size, FILE *f)
{
    unsigned char *bytes = NULL;
    size_t room = 0;
    for (*size = 0; f && *size == room;) {
        room = 2 * room + 65536;
        bytes = realloc(bytes, room);
        if (!bytes) return NULL;
        *size += fread(bytes + *size, 1, room - *size, f);
    }
    if (f) fclose(f);
    return bytes;
}

/* "C", "S2", "vacancy", "unknown" */
static void print_species(const atomdl_node *p)
{
    char symbol[3];
    atomdl_symbol(symbol, p->z);
    if (!p->count) printf("vacancy");
    else if (!p->z) printf("unknown");
    else if (p->count == 1) printf("%s", symbol);
    else printf("%s%d", symbol, p->count);
}

static void print_atoms(const atomdl_findings *found, double pixel_size)
{
    const uint32_t *first = found->graph.first;
    printf("id,x_px,y_px,x_A,y_A,species,score,coordination,defect,"
           "signal,z_from,z_to\n");
    for (int i = 0; i < found->atoms; i++) {
        const atomdl_node *p = &found->node[i];
        int d = found->defect[i];
        printf("%d,%.4f,%.4f,%.4f,%.4f,", i + 1, p->x / pixel_size,
               p->y / pixel_size, p->x, p->y);
        print_species(p);
        printf(",%.4f,%u,", p->score, (unsigned)(first[i + 1] - first[i]));
        if (d >= 0)
            printf("%s:%d", atomdl_found_name(found->found[d].kind), d + 1);
        if (p->z_to)
            printf(",%.2f,%u,%u\n", (double)p->signal, (unsigned)p->z_from,
                   (unsigned)p->z_to);
        else printf(",,,\n");
    }
}

static int give_up(const char *what, const char *why)
{
    fprintf(stderr, "find_atoms: %s: %s\n", what, why);
    return 1;
}

/* Opens a weight file for a material. */
static int open_finder(atomdl_finder *finder, const char *path,
                       const char *material)
{
    const atomdl_chemistry *chemistry = atomdl_chemistry_find(material);
    atomdl_arena need = {0}, arena = {0};
    size_t size;
    unsigned char *file = read_all(&size, fopen(path, "rb"));
    if (!file) return give_up(path, "cannot read");
    if (!chemistry) return give_up(material, "unknown material");
    int status = atomdl_finder_open(finder, file, size, chemistry, 23, &need);
    arena.base = malloc(need.peak + 1);
    arena.size = need.peak;
    if (!status && arena.base)
        status = atomdl_finder_open(finder, file, size, chemistry, 23, &arena);
    free(file);
    return status || !arena.base ? give_up(path, "no weights for this") : 0;
}

/* Opens the network, reads the pixels, finds, prints. */
int main(int argc, char **argv)
{
    static atomdl_finder finder;
    static atomdl_findings found;
    const char *why;
    if (argc != 6)
        return give_up("wants", "WEIGHTS MATERIAL WIDTH HEIGHT PIXEL_SIZE");
    if (atomdl_selftest(&why)) return give_up("this build", why);
    if (open_finder(&finder, argv[1], argv[2])) return 1;
    atomdl_image image = {atoi(argv[3]), atoi(argv[4]), 1, NULL};
    size_t n = (size_t)image.w * (size_t)image.h, size;
    unsigned char *bytes = read_all(&size, stdin);
    if (image.w < 1 || image.h < 1 || size != 4 * n)
        return give_up("pixels", "not WIDTH x HEIGHT numbers of 4 bytes");
    image.px = malloc(size);
    for (size_t i = 0; i < n && image.px; i++)
        image.px[i] = atomdl_loadf(bytes + 4 * i);
    void *memory = NULL;
    int status = image.px ? find_atoms(&found, &memory, &image,
                                       strtod(argv[5], NULL), &finder)
                          : ATOMDL_EMEM;
    if (status) return give_up("image", atomdl_strerror(status));
    print_atoms(&found, strtod(argv[5], NULL));
    return 0;
}
