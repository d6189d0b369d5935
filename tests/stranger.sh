#!/bin/sh
# A stranger's project: a folder with atomdl.h, atomdl.c and a program of its
# own, built with its own compilers and flags, prints the same bits each time.
# Closes with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 2
d=$(mktemp -d) && trap 'rm -rf "$d"' EXIT
cp atomdl.h atomdl.c tests/stranger.c "$d" && cp tests/stranger.c "$d/own.cpp"
cd "$d" || exit 2
passed=0 failed=0 skipped=0 want=

# Debian keeps it outside PATH.
wine=$(command -v wine64 ||
    dpkg -L wine64 2>/dev/null | grep '/lib/.*/wine64$')
export WINEPREFIX="$d/wine" WINEDEBUG=-all

# project NAME TOOL SCRIPT: SCRIPT builds ./own or ./own.exe
project()
{
    rm -f own own.exe ./*.o
    if ! command -v "$2" >/dev/null; then
        skipped=$((skipped + 1))
        echo "skip $1: no $2"
        return
    fi
    if ! sh -ec "$3" >log 2>&1; then
        got="does not build"
    elif [ -f own.exe ] && [ -z "$wine" ]; then
        got=$want # built: that is all that can be seen here
    elif [ -f own.exe ]; then
        got=$(timeout 120 "$wine" ./own.exe 2>>log | tr -d '\r')
    else
        got=$(./own 2>>log)
    fi
    case $1 in
    *no-train*) expect=${want%%
*} ;;
    *) want=${want:-$got} expect=$want ;;
    esac
    if [ "$got" = "$expect" ] && [ -n "$got" ]; then
        passed=$((passed + 1))
        echo "ok   $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1: $got"
        head -5 log | sed 's/^/     /'
    fi
}

strict="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"
both="stranger.c atomdl.c -o own -lm"

project c99 gcc "gcc -std=c99 $strict -O2 -ffp-contract=off $both"
project c17-native gcc "gcc -std=c17 -O3 -march=native $both"
project gnu-o0 gcc "gcc -O0 $both"
project openmp-lto gcc "gcc -O2 -fopenmp -flto $both"
project clang clang "clang -std=c99 $strict -O2 $both"
project clang-native clang "clang -O3 -march=native $both"
project tcc tcc "tcc $both"
project c++98 g++ "gcc -O2 -c atomdl.c
    g++ -std=c++98 -Wno-long-long -O2 own.cpp atomdl.o -o own -lm"
project c++20 g++ "gcc -O2 -c atomdl.c
    g++ -std=c++20 -Wall -Wextra -Werror -O2 own.cpp atomdl.o -o own -lm"
project clang++ clang++ "clang -O2 -c atomdl.c
    clang++ -std=c++17 -Wall -Wextra -Werror own.cpp atomdl.o -o own -lm"
project shared gcc "gcc -O2 -fPIC -shared -fvisibility=hidden \
    '-DATOMDL_API=__attribute__((visibility(\"default\")))' atomdl.c \
    -o libatomdl.so -lm
    gcc -O2 stranger.c ./libatomdl.so -o own -lm"
for m in SIMD TEXT FFT TRAIN; do
    name=no-$(echo $m | tr '[:upper:]' '[:lower:]')
    project "$name" gcc "gcc -std=c99 $strict -O2 -DATOMDL_NO_$m $both"
    project "$name-clang" clang "clang -O2 -DATOMDL_NO_$m $both"
    project "$name-tcc" tcc "tcc -DATOMDL_NO_$m $both"
done
project soft-sqrt gcc "gcc -std=c99 $strict -O2 -DATOMDL_SOFT_SQRT $both"
project least gcc "gcc -Os -DATOMDL_NO_SIMD -DATOMDL_NO_TEXT \
    -DATOMDL_NO_FFT -DATOMDL_SOFT_SQRT $both"
project windows x86_64-w64-mingw32-gcc \
    "x86_64-w64-mingw32-gcc -O2 stranger.c atomdl.c -o own.exe -lm"

[ ! -d "$WINEPREFIX" ] || "$(dirname "$wine")/wineserver64" -k 2>/dev/null
echo "$want" | sed 's/^/     /'
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && { [ $skipped -eq 0 ] || [ -z "${STRICT-}" ]; }
