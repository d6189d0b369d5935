# SPDX-License-Identifier: MIT
# What the tests of commands share; they read it with `.` before they go to a
# folder of their own.
passed=0 failed=0

# verdict STATUS WHAT: counts; only failures are printed
verdict() {
    if [ "$1" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL ${0##*/}: $2"
    fi
}

# check WHAT COMMAND...
check() {
    what=$1
    shift
    "$@" >/dev/null 2>&1
    verdict $? "$what"
}

# npy TYPE SHAPE: a header of 128 bytes, the data follow
npy() {
    printf '\223NUMPY\001\000\166\000'
    printf "%-117s\n" "{'descr': '$1', 'fortran_order': False, 'shape': ($2), }"
}
