/* SPDX-License-Identifier: MIT
   atomdl verify: does this build on this machine compute as promised? */
#include "chain.h"
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char VERIFY_HELP[] =
    "usage: atomdl verify\n"
    "\n"
    "Tests that this build on this machine computes as promised: a self-test,\n"
    "then a short run of everything (simulate, train, infer, blobs, graph,\n"
    "track), whose digest is the same on every machine. Says what the machine\n"
    "is. Exit status 1: it does not, with the reason.\n"
    "\n"
    "environment: ATOMDL_ISA=NAME forces the vector kernels\n"
    "example:     atomdl verify\n";

static const char *compiler(void)
{
#if defined __clang__
    return "clang " __clang_version__;
#elif defined __GNUC__
    return "gcc " __VERSION__;
#elif defined __TINYC__
    return "tcc";
#else
    return "unknown";
#endif
}

static const char *byte_order(void)
{
    const uint32_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first ? "little-endian" : "big-endian";
}

/* Runs the whole chain and prints its digest, and those of its stages. */
static int verify_chain(const atomdl_kernels *k, int stages)
{
    unsigned char *memory = malloc(CHAIN_MEMORY);
    if (!memory) return fail("not enough memory");
    uint64_t stage_digest[CHAIN_STAGES];
    int status = chain_run(stage_digest, memory, k);
    free(memory);
    if (status) return fail("the chain: %s", atomdl_strerror(status));
    for (int i = 0; i < CHAIN_STAGES && stages; i++) {
        printf("%-10s ", chain_name(i));
        print_digest(stage_digest[i]);
        printf("\n");
    }
    uint64_t digest = chain_digest(stage_digest);
    printf("digest     ");
    print_digest(digest);
    printf("%s\n", digest == CHAIN_DIGEST ? " as on every machine" : "");
    if (digest == CHAIN_DIGEST) return 0;
    return fail("other bits than on other machines: please report the above");
}

int print_version(void)
{
    const atomdl_kernels *k;
    if (wanted_kernels(&k, NULL)) return 2;
    printf("atomdl     %s\n", ATOMDL_VERSION);
    printf("numerics   %d\n", ATOMDL_NUMERICS);
    return verify_chain(k, 0);
}

int verify_command(char **argv)
{
    const atomdl_kernels *k;
    const char *why;
    int i;
    if (argv[1]) return misuse("verify takes no argument '%s'", argv[1]);
    if (wanted_kernels(&k, NULL)) return 2;
    printf("numerics   %d\n", ATOMDL_NUMERICS);
    printf("compiler   %s\n", compiler());
    printf("machine    %s, %d-bit\n", byte_order(), (int)sizeof(void *) * 8);
#ifdef _OPENMP
    printf("threads    OpenMP %d\n", _OPENMP);
#else
    printf("threads    one (built without OpenMP)\n");
#endif
    printf("kernels   ");
    for (i = 0; atomdl_kernels_get(i); i++)
        printf(" %s%s", atomdl_kernels_get(i)->name,
               atomdl_kernels_get(i) == k ? " (in use)" : "");
    printf("\n");
    if (atomdl_selftest(&why)) return fail("self-test: %s", why);
    printf("self-test  ok\n");
    return verify_chain(k, 1);
}
