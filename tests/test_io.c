/* SPDX-License-Identifier: MIT
   Files of the program: whole files, NumPy arrays. */

#include "test.h"
#include "../io.h"

#define GOOD "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }\n"

/* An array file of that header and n bytes of values, cut to `cut` bytes; 0:
   it was read. */
static int parse(io_npy *npy, int version, const char *header, size_t n,
                 size_t cut)
{
    unsigned char file[300] = "\x93NUMPY";
    size_t length = strlen(header), at = version > 1 ? 12 : 10;
    int bad;

    file[6] = (unsigned char)version;
    file[8] = (unsigned char)length;
    memcpy(file + at, header, length);
    at += length;
    if (n >= 8) {
        atomdl_storef(file + at, 1.5f);
        atomdl_storef(file + at + 4, -2);
    }
    bad = io_npy_parse(npy, file, at + n < cut ? at + n : cut, "x.npy");
    if (bad) CHECK(!npy->x && !strncmp(io_reason(), "x.npy: ", 7));
    return bad;
}

void test_io_npy(void)
{
    static const char *const BAD[] = {
        "", "{}", "{'descr': '<f4', 'shape': (2, 1), }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (2, 1), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1), }",
        "{'descr': '<f4', 'fortran_order': None, 'shape': (2, 1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 1, 1, 1, "
        "1, 1, 1, 1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': "
        "(4294967296, 4294967296, 4294967296), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), } x",
        "{'descr': '<f4', 'descr': '<f4', 'shape': (2, 1), }",
    };
    io_npy a;
    size_t i;
    int v;

    for (v = 1; v <= 3; v++) {
        CHECK(!parse(&a, v, GOOD, 8, 300));
        CHECK(a.dims == 2 && a.dim[0] == 2 && a.dim[1] == 1 && a.count == 2);
        CHECK(a.x[0] == 1.5f && a.x[1] == -2);
        free(a.x);
    }
    for (i = 0; i < sizeof BAD / sizeof *BAD; i++)
        if (!parse(&a, 1, BAD[i], 8, 300)) FAIL("read: %s", BAD[i]);
    for (i = 0; i < 10 + strlen(GOOD) + 8; i++) /* every shorter file */
        CHECK(parse(&a, 1, GOOD, 8, i));
    CHECK(parse(&a, 1, GOOD, 9, 300));
    CHECK(parse(&a, 4, GOOD, 8, 300));
}

void test_io_files(void)
{
    const char *path = "build/test_io.tmp";
    unsigned char text[] = "0123456789";
    io_bytes b;
    FILE *f;

    CHECK(!io_write(path, text, 10));
    CHECK(!io_read(&b, path, 10) && b.size == 10);
    CHECK_BYTES(b.data, text, 10);
    free(b.data);
    CHECK(io_read(&b, path, 9) && !b.data);
    CHECK(!io_write(path, text, 0)); /* replaces */
    CHECK(!io_read(&b, path, 0) && b.size == 0);
    free(b.data);
    CHECK(io_read(&b, "build", 100) && io_read(&b, "build/no", 100));
    CHECK(io_write("build/no/no", text, 1) && io_write("build", text, 1));
    f = fopen("build.part", "rb"); /* nothing is left behind */
    CHECK(!f);
    CHECK(!remove(path));
}
