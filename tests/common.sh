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

# here PROGRAM: its path in $program, and a folder of their own to work in
here() {
    program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
    dir=$(mktemp -d) && cd "$dir" || exit 1
    trap 'rm -rf "$dir"' EXIT
}

# silicon BATCH STEPS CHECK VALIDATION AVERAGE: a recipe to train by
silicon() {
    cat <<END
material = graphene
size = 32
pixel = 0.2
defects = si-c3 v1
count = 1
class = background
class = C atom C 0.45
class = Si atom Si 0.36
network = fcn 2 4
batch = $1
steps = $2
check = $3
validation = $4
average = $5
END
}

# film: a recipe of a movie, WS2 with a vacancy and a dopant
film() {
    cat <<'END'
material = ws2-2h-1
size = 128
pixel = 0.2
rotation = 10
dose = 100000
background = 0.1
place = vx1 9 9
place = sub-m Mo 17 16
event = vx1 hop 0.3
movie_drift = 0.3
seed = 4
END
}

# leap: a recipe of a movie whose noise hides where its lattice went to
leap() {
    cat <<'END'
material = ws2-2h-1
size = 128
pixel = 0.25
dose = 4000
background = 0.1
jitter = 0.03
scatter = vx1 0.06
event = vx1 hop 0.02
movie_drift = normal 0 0.4
seed = 9
END
}
