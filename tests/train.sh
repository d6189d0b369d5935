#!/bin/sh
# SPDX-License-Identifier: MIT
# atomdl train: killed at random moments and resumed it ends in the same
# bytes, with any number of threads; one clear line for every mistake.
# usage: tests/train.sh ./atomdl
. "$(dirname "$0")/common.sh"
here "$1"
export OMP_WAIT_POLICY=passive # spinning threads starve on a busy machine

# refused STATUS PATTERN ARGUMENT...
refused() {
    status=$1 pattern=$2
    shift 2
    "$program" train "$@" >said 2>error
    got=$?
    [ $got -eq "$status" ] && grep -q "^atomdl: .*$pattern" error &&
        [ "$(wc -l <error)" -eq 1 ]
    verdict $? "exit $got: $*: $(cat error)"
}

silicon 4 60 20 8 5 >r.recipe
"$program" train r.recipe -o whole --threads 1
verdict $? "exit status of a whole training"
kills=0
flag=
while ! [ -e parts ] && [ $kills -lt 60 ]; do
    "$program" train r.recipe -o parts --checkpoint 0 --threads 2 $flag \
        2>error &
    sleep "0.$((1 + kills * 7 % 5))$((kills % 10))"
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
    [ -e parts.checkpoint ] && flag=--resume
    kills=$((kills + 1))
done
cmp whole parts >/dev/null 2>&1
verdict $? "other bytes after kill -9 and --resume ($kills runs)"
cmp whole.csv parts.csv >/dev/null 2>&1
verdict $? "another log after kill -9 and --resume"
[ ! -e parts.checkpoint ]
verdict $? "a checkpoint is left behind"

refused 2 'wants a RECIPE'
refused 1 'no.recipe' no.recipe
refused 2 'no such key' r.recipe --set colour=blue
refused 2 'threads wants' r.recipe --threads 0
refused 1 'nothing to resume' r.recipe -o none --resume
printf 'x' >none.checkpoint
refused 1 'not a checkpoint' r.recipe -o none --resume
printf 'network = fcn 2 4\nsize = 30\n' >odd.recipe
refused 1 'odd.recipe' odd.recipe
refused 1 'no longer finite' r.recipe -o none --set rate=10 \
    --set optimiser=sgd --set momentum=0.99 --set gain=100
refused 1 'none' r.recipe -o none/x --set steps=6
refused 2 'IMAGE,LABELS' r.recipe --images x
# weights of classes taken back: their logarithms from the last bias, alone
for u in 0 1; do
    "$program" train r.recipe -o unweigh$u --set steps=6 --set unweigh=$u \
        --set 'class_weights = 1 4 4' >/dev/null 2>error
    "$program" info --c-array unweigh$u | sed "s/unweigh$u//" >values$u
    tail -c 12 unweigh$u | od -An -tf4 >bias$u
done
[ "$(diff values0 values1 | grep -c '^<')" -eq 1 ] &&
    cat bias0 bias1 | awk 'NR == 1 { a = $1; b = $2; c = $3 }
        END { exit !(a == $1 && (b - $2 - 1.386294) ^ 2 < 1e-10 &&
                     (c - $3 - 1.386294) ^ 2 < 1e-10) }'
verdict $? "unweigh: $(cat bias0 bias1 error)"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
