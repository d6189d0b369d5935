/* SPDX-License-Identifier: MIT
   The library as one translation unit: no name stands in two of its files.
   Linked with tests/bits.c it must give the digests of tests/bits.txt. */

#include "../atomdl.c"
#include "../sim.c"
#include "../graph.c"
#include "../movie.c"
