#!/bin/sh
# SPDX-License-Identifier: MIT
# atomdl movie: its files, the stream, the network taught by the first frame,
# and one clear line for bad input. usage: tests/movie.sh ./atomdl
. "$(dirname "$0")/common.sh"
here "$1"

# refused STATUS PATTERN ARGUMENT...: one line of error with PATTERN
refused() {
    status=$1 pattern=$2
    shift 2
    "$program" movie "$@" >said 2>error </dev/null
    got=$?
    [ $got -eq "$status" ] &&
        [ "$(grep -vc ': warning: ' error)" -eq 1 ] &&
        grep -v ': warning: ' error | grep -q "^atomdl: .*$pattern"
    verdict $? "exit $got: $*: $(cat error)"
}

# WS2 with vacancies and dopants: 128 x 128, five frames
film >r.recipe
"$program" simulate r.recipe --movie 5 --format npy -o f >/dev/null
verdict $? simulate
movie="--material ws2 --pixel-size 0.2"
"$program" movie $movie -o out f-0*.npy 2>error
verdict $? "five frames: $(cat error)"
for f in report.html movie.gif tracks.csv defects.csv frames.csv motion.csv \
    msd.csv hops.csv dwells.csv concentrations.csv transitions.json \
    tracks.svg drift.svg concentrations.svg transitions.svg; do
    check "$f" test -s out/$f
done
check 'the page ends' grep -q '</html>' out/report.html
check 'a gif' test "$(head -c 6 out/movie.gif)" = GIF89a
check 'gif ends' test "$(tail -c 1 out/movie.gif)" = ';'
check header test "$(head -1 out/tracks.csv)" = \
    frame,track,x_px,y_px,class,score
# both defects are one track each, and the drift is found
check tracks awk -F, 'NR > 1 { n[$5]++; t[$5] = t[$5] " " $2 }
    END { split(t["vx1"], v, " "); split(t["sub-m"], m, " ")
          for (i in v) if (v[i] != v[1]) exit 1
          for (i in m) if (m[i] != m[1]) exit 1
          exit !(n["vx1"] > 2 && n["sub-m"] == 5) }' out/tracks.csv
check drift awk -F, 'NR > 2 && ($6 - 0.3 > 0.05 || $6 - 0.3 < -0.05 ||
    $7 - 0.3 > 0.05 || $7 - 0.3 < -0.05) { exit 1 }' out/frames.csv
check stays awk -F, '$7 == "sub-m" && !n++ { u = $5; v = $6 }
    $7 == "sub-m" && ($5 - u) ^ 2 + ($6 - v) ^ 2 > 0.09 { exit 1 }' \
    out/defects.csv

# a stack gives the same tracks as its frames, whatever the threads
(npy '<f4' '5, 128, 128'; for i in 0 1 2 3 4; do
    tail -c 65536 f-000$i.npy; done) >stack.npy
check stack "$program" movie $movie --threads 2 -o stack stack.npy
check 'stack: tracks' cmp out/tracks.csv stack/tracks.csv
check 'stack: transitions' cmp out/transitions.json stack/transitions.json
check 'stack: gif' cmp out/movie.gif stack/movie.gif

# the stream: a line a frame, the same places
(for i in 0 1 2 3 4; do tail -c 65536 f-000$i.npy; done) |
    "$program" movie - --size 128x128 --type f32 $movie >lines 2>error
verdict $? "stream: $(cat error)"
check 'five lines' test "$(wc -l <lines)" -eq 5
check 'stream: tracks' test "$(grep -o '"x_px": [0-9.]*' lines |
    cut -d' ' -f2 | tr '\n' ' ')" = \
    "$(tail -n +2 out/tracks.csv | cut -d, -f3 | tr '\n' ' ')"

# low dose: one vacancy in all frames, seen in all but two; the rest is noise
sed -e 's/128$/96/; s/100000/6000/; /sub-m/d; s/hop .*/hop 0.001/' \
    -e 's/drift = .*/drift = 0.1/' r.recipe >low.recipe
"$program" simulate low.recipe --movie 10 --format npy -o low >/dev/null
check 'low dose' "$program" movie $movie -o low low-0*.npy
check 'low dose: one track' test "$(cut -d, -f2 low/tracks.csv | sort |
    uniq -c | tr -s ' \n' ' ')" = ' 10 1 1 track '
check 'low dose: two filled' test "$(grep -c ',0.0000$' low/tracks.csv)" -eq 2
check 'as found' "$program" movie $movie --as-found -o found low-0*.npy
check 'as found: noise' test "$(wc -l <found/tracks.csv)" -gt 15
check 'as found: none filled' test "$(grep -c ',0.0000$' found/tracks.csv)" \
    -eq 0

# 15 hops in 231 frames make D 0.159 A2 a frame, with a standard error of 0.04;
# visits are missed, so that counted hops are fewer
sed -e 's/128$/160/; s/100000/8000/; /^place/d; s/hop .*/hop 0.15/' \
    -e '/drift/d; s/seed = 4/seed = 7/' r.recipe >hop.recipe
for p in '8 8' '16 16' '8 17' '23 9' '24 23' '15 25'; do
    echo "place = vx1 $p"
done >>hop.recipe
"$program" simulate hop.recipe --movie 40 --format npy -o hop >/dev/null
check hops "$program" movie $movie -o hop hop-0*.npy
check 'hidden walks' awk -F, 'NR == 1 {
    for (i = 1; i <= NF; i++) n[$i] = i }
    $1 == "vx1" { d = $n["D_walk"]; hops = $n["D_hops"] }
    END { exit !(d > 0.119 && d < 0.199 && hops > 0.08 && hops < d) }' \
    hop/motion.csv

# single vacancies become double ones and back: transitions.json names the
# classes; P(change) of the chain is that of the recipe, each within three of
# its standard errors, both within chi2 of 9.2; the numbers of changes are those
# of the truth inside within three times their roots
cat >change.recipe <<'END'
material = ws2-2h-1
size = 160
pixel = 0.15
dose = 30000
background = 0.1
jitter = 0.03
scatter = vx1 0.12
event = vx1 vx2 0.1
event = vx2 vx1 0.2
seed = 9
END
"$program" simulate change.recipe --movie 80 --format npy -o change >/dev/null
check changes "$program" movie --material ws2 --pixel-size 0.15 -o change \
    change-0*.npy
cat >pulls.awk <<'END'
function row(i) {                       # row i of a matrix, as numbers
    split($0, part, "[][]+")
    split(part[2 * i], value, ",")
}
FILENAME ~ /csv$/ && FNR > 1 {          # truth: frame,id,...,x_A,y_A,kind
    split($0, c, ",")
    in_view = c[5] > 1 && c[6] > 1 && c[5] < 22.85 && c[6] < 22.85
    if (in_view && last[c[2]] && at[c[2]] == c[1] - 1)
        true[last[c[2]] " " c[7]]++
    last[c[2]] = in_view ? c[7] : ""
    at[c[2]] = c[1]
}
/"classes"/ {
    n = split($0, name, "\"") / 2
    for (i = 2; i < n + 1; i++) number[name[2 * i]] = i - 1
    a = number["vx1"]
    b = number["vx2"]
}
/"corrected"/ { on = 1 }
on && /"counts"/ { row(a); up = value[b]; row(b); down = value[a] }
on && /"matrix"/ { row(a); p = value[b]; row(b); q = value[a] }
on && /"matrix_sd"/ { row(a); dp = value[b]; row(b); dq = value[a]; exit }
END {
    x = (p - 0.1) / dp
    y = (q - 0.2) / dq
    u = true["vx1 vx2"]
    d = true["vx2 vx1"]
    print p, dp, q, dq, "counts", up, u, down, d
    exit !(a && b && dp > 0 && dq > 0 && dp < 0.03 && dq < 0.06 &&
           x * x < 9 && y * y < 9 && x * x + y * y < 9.2 && u > 20 &&
           (up - u) ^ 2 < 9 * u && (down - d) ^ 2 < 9 * d)
}
END
awk -f pulls.awk change.defects.csv change/transitions.json >said
verdict $? "transitions agree with the truth: $(cat said)"

# noise hides where a lattice went to, and it is taken for a vector of itself
# away; what the vacancies show takes that back
leap >leap.recipe
"$program" simulate leap.recipe --movie 24 --format npy -o leap >/dev/null
check leap "$program" movie --material ws2 --pixel-size 0.25 -o leap \
    leap-0*.npy
check 'leap taken back' awk -F, 'NR == 1 {
    for (i = 1; i <= NF; i++) n[$i] = i }
    NR > 1 { x += $n["dx_A"]; y += $n["dy_A"] }
    END { exit !((x - 3.248) ^ 2 + (y + 2.322) ^ 2 < 0.02) }' leap/frames.csv

# other ways
check affine "$program" movie $movie --affine --interval 0.5 -o a stack.npy
check atoms "$program" movie $movie --track atoms -o b stack.npy
check 'all atoms' test "$(wc -l <b/tracks.csv)" -gt 500
check learn "$program" movie $movie --learn-first-frame --frames 0-1 -o l \
    stack.npy
check 'learnt weights' test -s l/first.safetensors

# one frame; an empty frame; no defects at all
check 'one frame' "$program" movie $movie -o one f-0000.npy
check 'one frame: page' test -s one/report.html
(npy '<f4' '3, 128, 128'; tail -c 65536 f-0000.npy; head -c 65536 /dev/zero
    tail -c 65536 f-0001.npy) >gap.npy
"$program" movie $movie -o gap gap.npy 2>error
verdict $? "an empty frame: $(cat error)"
check 'it is said' grep -q 'warning: frame 1 is empty' error
check 'over the gap' test "$(tail -n +2 gap/tracks.csv | cut -d, -f2 |
    sort -u | wc -l)" -eq 2
"$program" simulate --material ws2-2h-1 --pixel-size 0.2 --size 128 \
    --format npy -o p
check 'no defects' "$program" movie $movie -o none p.npy
check 'none: only a header' test "$(wc -l <none/tracks.csv)" -eq 1
check 'none: said' grep -q 'nothing was found' none/report.html

# what goes wrong
"$program" simulate --material ws2-2h-1 --size 96 --pixel-size 0.2 \
    --format npy -o small
(npy '<f4' '2, 64, 64'; head -c 32768 /dev/zero) >black.npy
refused 2 'wants frames'
refused 2 "what is '--foo'" --foo x
refused 2 'gate wants' --gate far f-0000.npy
refused 2 'track wants' --track dogs f-0000.npy
refused 2 'wants --size and --type' -
refused 2 'WIDTHxHEIGHT' - --size 12 --type u8
refused 2 'u8, u16 or f32' - --size 12x12 --type f64
refused 2 'standard input' f-0000.npy --type u8
refused 1 'frame 1 is of 96 x 96' $movie -o bad f-0000.npy small.npy
refused 1 'f-0009.npy' $movie -o bad f-0000.npy f-0009.npy
refused 1 'no frame shows' $movie -o bad black.npy
refused 1 'first frame is empty' $movie -o bad --learn-first-frame black.npy
refused 1 'frames 0 to 4' $movie -o bad --frames 7-9 stack.npy
refused 1 'no frame' - --size 64x64 --type u8 $movie
refused 1 . $movie -o f-0000.npy/sub f-0000.npy
head -c 100000 stack.npy |
    "$program" movie - --size 128x128 --type f32 --force $movie >lines 2>error
check 'a cut stream: status' test $? -eq 1
check 'a cut stream: reason' grep -q 'frame 1 ends after' error
(trap '' XFSZ; ulimit -f 8; "$program" movie $movie -o full f-0000.npy) 2>error
check 'full disk: status' test $? -eq 1
check 'full disk: one line' test "$(wc -l <error)" -eq 1
check 'full disk: reason' grep -q '^atomdl: full/' error
check 'no parts' test -z "$(find . -name '*.part')"

echo "$passed passed, $failed failed"
test $failed -eq 0
