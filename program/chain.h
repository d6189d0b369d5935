/* SPDX-License-Identifier: MIT
   One small run through the whole library, for `atomdl verify` and the tests:
   simulate a movie, train, infer, blobs, graph, track. */
#ifndef ATOMDL_CHAIN_H
#define ATOMDL_CHAIN_H

#include "../atomdl.h"

enum { CHAIN_STAGES = 6, CHAIN_MEMORY = 680 << 10 };

/* What every machine must give; raise ATOMDL_NUMERICS where it changes. */
#define CHAIN_DIGEST 0x7b0adc38c624733bu

/* stage[i] <- digest of what stage i makes; name(i) says what that is. memory
   (CHAIN_MEMORY, any alignment) is scratch. A status. */
int chain_run(uint64_t stage[CHAIN_STAGES], unsigned char *memory,
              const atomdl_kernels *kernels);
const char *chain_name(int i);

/* The one digest of them all. */
uint64_t chain_digest(const uint64_t stage[CHAIN_STAGES]);

#endif
