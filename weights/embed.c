/* SPDX-License-Identifier: MIT
   Run while the program is built: weight files -> C arrays on standard output,
   as little-endian numbers of 64 bits, which every byte order can unpack. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the file, as an array W<i>; negative: cannot be read. */
static long embed(const char *path, int i)
{
    FILE *f = fopen(path, "rb");
    long size = 0, words = 0;
    if (!f) return -1;
    printf("static const uint64_t W%d[] = {", i);
    unsigned char b[8];
    size_t n;
    while ((n = fread(b, 1, 8, f)) > 0) {
        printf(words++ % 4 ? " 0x" : "\n0x");
        for (int k = 7; k >= 0; k--)
            printf("%02x", k < (int)n ? (unsigned)b[k] : 0u);
        putchar(',');
        size += (long)n;
    }
    printf("\n0};\n");
    return fclose(f) ? -1 : size;
}

int main(int argc, char **argv)
{
    long size[64];
    for (int i = 1; i < argc && i < 64; i++) {
        size[i] = embed(argv[i], i);
        if (size[i] < 0) return fprintf(stderr, "%s: ?\n", argv[i]), 1;
    }
    printf("static const struct {\n    const char *name;\n    size_t size;\n"
           "    const uint64_t *word;\n} SHIPPED[] = {\n");
    for (int i = 1; i < argc && i < 64; i++) {
        const char *slash = strrchr(argv[i], '/');
        const char *name = slash ? slash + 1 : argv[i];
        printf("    {\"%.*s\", %ld, W%d},\n", (int)strcspn(name, "."), name,
               size[i], i);
    }
    printf("    {NULL, 0, NULL}};\n");
    return fflush(stdout) || ferror(stdout);
}
