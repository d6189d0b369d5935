#!/bin/sh
# The unit tests and the digests under the sanitizers: gcc and clang with
# ASan and UBSan, clang with MSan; valgrind where no MSan can be had.
# Closes with "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1
mkdir -p build
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0 skipped=0
tests="tests/test.c tests/test_memory.c tests/test_math.c tests/test_random.c
       tests/test_image.c tests/test_arch.c tests/test_weights.c
       tests/test_train.c tests/test_net.c tests/test_grad.c tests/test_kernels.c
       tests/test_torch.c tests/test_io.c io.c tests/reference.c
       tests/exhaust.c"
undefined="-fsanitize=undefined -fno-sanitize-recover=all"

row() { # row RESULT NAME
    echo "$1 $2"
    case $1 in ok*) passed=$((passed + 1)) ;;
        skip*) skipped=$((skipped + 1)) ;;
        *) failed=$((failed + 1)); sed 's/^/    /' "$tmp/log" | head -n 30 ;;
    esac
}

run() { # run NAME COMPILER FLAGS...
    name=$1; shift
    command -v "$1" >/dev/null || { row "skip" "$name: no $1"; return; }
    # shellcheck disable=SC2086
    if "$@" -std=gnu99 -g -O1 -ffp-contract=off atomdl.c $tests \
            -o "$tmp/test" -lm >"$tmp/log" 2>&1 &&
        "$@" -std=gnu99 -g -O1 -ffp-contract=off atomdl.c tests/bits.c \
            -o "$tmp/bits" -lm >>"$tmp/log" 2>&1 &&
        "$tmp/test" >>"$tmp/log" 2>&1 &&
        "$tmp/bits" 2>>"$tmp/log" | diff - tests/bits.txt >>"$tmp/log"
    then row "ok  " "$name"; else row "FAIL" "$name"; fi
}

run "gcc ASan" gcc -fsanitize=address
run "gcc UBSan" gcc $undefined
run "clang ASan UBSan" clang -fsanitize=address $undefined
run "clang MSan" clang -fsanitize=memory -fno-sanitize-recover=all
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ] && { [ $skipped -eq 0 ] || [ -z "${STRICT:-}" ]; }
