// The header compiles as C++ and links with the library compiled as C.

#include "atomdl.h"

#include <cstdio>

int main()
{
    const char *why = "";
    int status = atomdl_selftest(&why);
    std::puts(status == ATOMDL_OK ? "C++ calls C" : why);
    return status != ATOMDL_OK;
}
