#!/bin/sh
# SPDX-License-Identifier: MIT
# The program's commands on good and bad input: sh tests/test_cli.sh ./atomdl
# Every failure must be one line, the right exit status, and leave nothing
# half-written.
. "$(dirname "$0")/common.sh"
top=$(cd "$(dirname "$0")/.." && pwd)
chain=$(awk '$1 == "chain" { print $2 }' "$(dirname "$0")/bits.txt")
here "$1"

# want STATUS PATTERN ARGS...: exit status, and one line of error with PATTERN
want()
{
    status=$1 pattern=$2
    shift 2
    "$program" "$@" >stdout 2>stderr
    got=$?
    lines=$(grep -vc ': warning: ' stderr)
    if [ $got -ne "$status" ]; then
        verdict 1 "status $got, not $status: $*: $(cat stderr)"
    elif [ "$status" -ne 0 ] && [ "$lines" -ne 1 ]; then
        verdict 1 "$lines lines: $*: $(cat stderr)"
    elif [ "$pattern" ] && ! cat stdout stderr | grep -q -e "$pattern"; then
        verdict 1 "no '$pattern': $*: $(cat stderr)"
    else
        verdict 0
    fi
}

# repeat BYTES COUNT
repeat()
{
    awk -v n="$2" 'BEGIN { for (i = 0; i < n; i++) print "'"$1"'" }' |
        while read -r v; do printf "$v"; done
}

# the chain of tests/bits.txt, and the program's own opinion of it
want 0 "^digest     $chain as on every machine" verify
want 2 'no argument' verify x
want 0 "^digest     $chain as on every machine" --version
for n in VERSION NUMERICS; do
    of=$(sed -n "s/^#define ATOMDL_$n \"*\([0-9.]*\)\"*\$/\1/p" "$top/atomdl.h")
    check "$n" grep -q "^\(atomdl\|numerics\) *$of\$" stdout
done

# the table of commands; a closed output
want 0 '^  simulate ' --help
want 0 '^  bench ' -h
want 2 "no command 'fly'" fly
for c in '' bench; do
    "$program" $c --help >&- 2>stderr
    check "$c --help, closed: status" test $? -eq 1
    check "$c --help, closed: reason" grep -q 'cannot write' stderr
done

# a tiny network, and images
cat >tiny.recipe <<END
material = graphene
size = 64
pixel = 0.15
density = 0.05
class = background
class = C atom C 0.45
network = fcn 4
steps = 40
batch = 4
validation = 0
END
want 0 '' train tiny.recipe -o tiny.safetensors --quiet
want 0 '' simulate --material graphene --size 128 --pixel-size 0.1 -o g
want 0 '' simulate --material graphene --size 64 --pixel-size 0.1 \
    --format npy -o n
(npy '|u1' '2, 128, 128'; tail -c 16384 n.npy; tail -c 16384 n.npy) >s.npy
(npy '|u1' '1, 1'; printf '\007') >one.npy
(npy '|u1' '64, 64'; repeat '\\000' 4096) >black.npy
(npy '<f4' '2, 2'; printf '\0\0\200\077\0\0\300\177\0\0\200\077\0\0\0\0') \
    >nan.npy
head -c 3000 g.png >cut.png
head -c 3000 n.npy >cut.npy
mkdir folder
plain="analyze --force --weights ./tiny.safetensors --pixel-size 0.1"
analyze="$plain --probabilities -o out"

# what goes well
want 0 '' $analyze g.png
for e in atoms.csv bonds.csv defects.json xyz prob.npy overlay.png; do
    check "g.$e" test -s out/g.$e
done
want 0 '' $plain -o plain g.png
check 'probabilities on request only' test ! -e plain/g.prob.npy
check 'the rest as ever' cmp out/g.atoms.csv plain/g.atoms.csv
(npy '<f4' '64, 64'; tail -c 16384 n.npy | head -c 12288
 repeat '\\000\\000\\300\\177' 1024) >part.npy
want 0 '25.00 % of the pixels are no data' $plain -o part part.npy
want 0 '' simulate --material graphene --size 256 --pixel-size 0.1 -o wide
for scale in 0.08 0.12 0.2; do
    want 1 'lattice would be at 0.[01].*, not' analyze --material graphene \
        --pixel-size $scale -o scale wide.png
done
want 0 'would be at' analyze --material graphene --pixel-size 0.12 --force \
    -o scale wide.png
# a patch within: neither a defect nor a ring in the page
want 0 '' simulate --material graphene --size 256 --pixel-size 0.1 --dose 1e6 \
    --format npy -o whole
tail -c 262144 whole.npy >raw
(npy '<f4' '256, 256'; head -c 102400 raw
 for y in $(seq 100 139); do
     tail -c +$((1024 * y + 1)) raw | head -c 400
     repeat '\\377' 160
     tail -c +$((1024 * y + 561)) raw | head -c 464
 done
 tail -c +143361 raw) >patch.npy
want 0 '2.44 % of the pixels are no data' analyze --material graphene \
    --pixel-size 0.1 -o patch patch.npy
check 'no ring around no data' sh -c '! grep -q fill-opacity patch/report.html'
check 'no defect there' grep -q '"defects": \[\]' patch/patch.defects.json
# two grains at 30 degrees show a lattice of the root of 3: told, not refused
want 0 '' simulate --material ws2-2h-1 --seed 20050 --dose 1e6 \
    --set 'size = 176' --set 'pixel = 0.192' --set 'boundary = 30' -o grains
want 0 'a difference of 72' analyze --material ws2 --pixel-size 0.192 \
    -o scale grains.png
check 'no atom in no data' awk -F, 'NR > 1 && $3 > 48 { exit 1 }' \
    part/part.atoms.csv
want 0 '1024 pixels are not finite' info part.npy
want 0 '' movie --track atoms --force --weights ./tiny.safetensors \
    --pixel-size 0.1 -o blank part.npy
check 'concentrations: of data' awk -F, 'NR > 1 { d = $4 * 0.3072 - $3
    if ($3 < 5 || d * d > 1e-4) exit 1 }' blank/concentrations.csv
# two pixels of data, which the network's sampling steps over
not_a_number() { head -c "$1" /dev/zero | tr '\000' '\377'; }
(npy '<f4' '1024, 1024'; printf '\0\0\200\077\0\0\0\100'
 not_a_number 4194296) >dot.npy
want 0 '100.00 % of the pixels are no data' $plain -o dot dot.npy
check report.html grep -q '</html>' out/report.html
check header test "$(head -1 out/g.atoms.csv)" = \
    id,x_px,y_px,x_A,y_A,species,score,coordination,defect,signal,z_from,z_to
want 0 '' $analyze --threads 1 --weights=./tiny.safetensors -o one g.png
for e in atoms.csv bonds.csv xyz prob.npy overlay.png; do
    check "threads: $e" cmp out/g.$e one/g.$e
done
want 0 '' $analyze --average 8 --threshold C=0.4 -o eight g.png
# scaled by level, the dark level counts; otherwise not
tail -c 16384 n.npy | LC_ALL=C tr '\366-\377' '[\365*]' >pixels
(npy '|u1' '128, 128'; cat pixels) >d0.npy
(npy '|u1' '128, 128'; LC_ALL=C tr '\000-\365' '\012-\377' <pixels) >d10.npy
want 0 '' train tiny.recipe --set scaling=level --set steps=2 --quiet \
    -o level.safetensors
for w in tiny level; do
    for v in 0 10; do
        want 0 '' $analyze --weights ./$w.safetensors --dark $v -o $w$v d10.npy
    done
done
want 0 '' $analyze --weights ./level.safetensors -o level d0.npy
check 'dark, percentile' cmp tiny0/d10.prob.npy tiny10/d10.prob.npy
check 'dark, level' cmp level/d0.prob.npy level10/d10.prob.npy
check 'not dark' test "$(cksum <level0/d10.prob.npy)" != \
    "$(cksum <level10/d10.prob.npy)"
want 2 'wants a grey level' $analyze --dark 1x g.png
want 0 '' $analyze --frames 1-1 s.npy
check frame test -s out/s-0001.atoms.csv
check 'only that frame' test ! -e out/s-0000.atoms.csv

want 0 '' simulate --material mos2-2h-1 --size 128 --pixel-size 0.15 -o m
want 0 '' analyze --material mos2 --method intensity --pixel-size 0.15 -o out \
    m.png
check intensity grep -q '"method": "intensity"' out/m.defects.json

# every format of the table is named wherever users look
echo 'hello, world' >strange
"$program" info strange 2>message
sed -n '/^Images in/,/^$/p' "$top/README.md" >readme
sed -n '/The first bytes tell the format/,/\*\//p' \
    "$top/program/files/files.h" >header
formats=$(sed -n 's/^    ROW("\([A-Z0-9]*\)".*/\1/p' \
    "$top/program/files/format.h" | sed s/PNM/PGM/ | sort -u)
check 'a table of formats' test "$formats"
for i in $formats; do
    for text in message readme header; do
        check "format $i: $text names it" grep -qw "$i" $text
    done
done

# what goes wrong
want 2 'wants an image' analyze
want 2 'method wants' $analyze --method guess g.png
want 2 'is for dichalcogenides' $analyze --method intensity g.png
want 2 'unknown material' analyze --material unobtainium g.png
want 2 'perhaps graphene; known are' analyze --material Grafene g.png
want 2 'perhaps mos2' analyze --material mos3 g.png
want 2 "what is '--foo'" analyze --foo g.png
want 2 'pixel-size wants' analyze --pixel-size zero g.png
want 2 'threshold wants' $analyze --threshold C=2 g.png
want 2 'no class' $analyze --threshold Xe=0.5 g.png
want 2 'frames wants' $analyze --frames 5-2 s.npy
want 2 'both be written' $analyze g.png folder/g.tif
want 1 'frames 0 to 1' $analyze --frames 7-9 s.npy
want 1 'nowhere' analyze --weights ./nowhere.safetensors g.png
want 1 'no weights' analyze --weights nonsense g.png
want 1 'no weights' paper 004 --vacancy nonsense -o other
want 1 'has classes background,C, not background,VS1,VS2' paper 004 \
    --vacancy ./tiny.safetensors -o other
want 2 'is for paper 004' paper 002 --vacancy ./tiny.safetensors -o other
check 'and nothing written' test -z "$(ls other)"
want 1 'weight file' analyze --weights ./g.png g.png
want 1 'too few' $analyze one.npy
want 1 'same value' $analyze black.npy
want 1 'too few' $analyze nan.npy
want 1 . $analyze cut.png
want 1 . $analyze cut.npy
want 1 . $analyze folder
want 1 'missing.png' $analyze missing.png
want 1 'pixel size' analyze --weights ./tiny.safetensors -o out one.npy
want 1 'told apart' $analyze --pixel-size 9.9 g.png
want 1 . $analyze -o g.png/sub g.png
check 'no parts' test -z "$(find . -name '*.part')"

# one bad image does not spoil the others
want 1 'same value' $analyze -o some black.npy g.png
check 'the good one' test -s some/g.atoms.csv
check 'nothing of the bad one' test ! -e some/black.prob.npy

# a full disk: files may grow to 8 blocks of 512 bytes
(trap '' XFSZ; ulimit -f 8; "$program" $analyze -o full g.png) 2>stderr
check 'full disk: status' test $? -eq 1
check 'full disk: reason' grep -q 'cannot write' stderr
check 'full disk: nothing left' test -z "$(ls full)"

# evaluate
want 0 '1.0000	1.0000	1.0000' evaluate g.truth.csv g.truth.csv
want 0 '"f1": 1.000000' evaluate g.truth.csv g.truth.csv --json
want 1 'names no columns' evaluate tiny.recipe g.truth.csv
want 1 missing evaluate missing.csv g.truth.csv
want 2 'wants PREDICTED' evaluate g.truth.csv
want 2 'radius wants' evaluate g.truth.csv g.truth.csv --radius -1

# paper
want 2 'wants a number' paper
want 2 "what is '003'" paper 003
want 1 'cannot make the directory' paper 002 -o g.png/papers
want 1 'cannot make the directory' paper 004 -o g.png/papers
check 'nothing made' test ! -e paper-004

# bench
want 0 '"case":"fcn32"' bench --ms 1 fcn32
want 0 '"case":"train-fcn32x2"' bench --ms 1 train-fcn32x2
want 1 'side 31 is not a multiple of 8' bench fcn31
want 1 'side 31 is not a multiple of 8' bench train-fcn31x4096
for c in train-fcn31x4097 train-fcn32 train-fcn32x0 fcn fcn0 fcn32x2; do
    want 2 "no case '$c'" bench $c
done
# work is rate times time; a training step does three times that of its images
want 0 '' bench --ms 1 fcn64 train-fcn64x2
check 'bench: times and rates' awk -F '[:,]' '{ for (i = 1; i < NF; i++)
    v[$i] = $(i + 1)
    work[NR] = v["\"ms\""] * v["\"gmac_s\""]
    if (!(0 < v["\"min\""] && v["\"min\""] <= v["\"ms\""])) exit 1 }
    END { exit !(work[2] > 5 * work[1] && work[2] < 7 * work[1]) }' stdout
want 2 'wants one of fcn' bench --net none

# the worker of bench: networks of a folder, by name
printf 'input 1\nconv a ch=2 k=1\nsoftmax\n' >own.net
mkdir -p own/8
(npy '<f4' '2, 1, 1, 1'; printf '\0\0\200\077\0\0\0\0') >own/a.weight.npy
(npy '<f4' '2,'; printf '\0\0\0\0\0\0\0\0') >own/a.bias.npy
(npy '<f4' '8, 8'; repeat '\\000' 256) >own/8/input.npy
for n in own ../x none; do echo "{\"net\":\"$n\",\"size\":8}"; done |
    "$program" bench --worker . >answers
check 'a network of the folder' grep -q '^{"ms":.*memory_mib' answers
check 'no network elsewhere' grep -q 'no such net' answers
check 'no network of that name' grep -q 'none.net' answers

# info
want 0 'PNG, uint16' info g.png
want 0 'classes     background,C' info tiny.safetensors
want 0 recipe info tiny.recipe
want 1 cut info cut.png
want 1 folder info folder
want 2 'wants a file' info
want 0 'static const float tiny_values' info --c-array tiny.safetensors
want 1 'not a weight file' info --c-array g.png
want 2 'wants a file' info --c-array

# the right half of the picture of README
"$program" simulate --material graphene --size 256 --pixel-size 0.12 --seed 3 \
    --defects si-c3,si-c4,si3-c6,si2-c6,stone-wales -o graphene >/dev/null
want 0 '' analyze --pixel-size 0.12 -o picture graphene.png
check 'picture of README' test "$(cat "$top/tests/demo.sha256")" = \
    "$(sha256sum <picture/graphene.overlay.png | cut -d ' ' -f 1)"

# a pixel size 9 % too great: bonds follow the image, tables agree
want 0 '' analyze --pixel-size 0.131 -o wide graphene.png
check 'defect at a wrong scale' grep -q '"stone-wales"' \
    wide/graphene.defects.json
check 'bonds of one graph' test "$(grep -c ,C-C, wide/graphene.bonds.csv)" = \
    "$(sed -n '/"pair": "C-C"/{n;s/[^0-9]//gp;q;}' wide/graphene.defects.json)"

# a rule left out changes what the image shows; taken back in, nothing
for rule in bond_scale dopant_fit; do
    want 0 '' analyze --pixel-size 0.131 --rules $rule=0 -o without graphene.png
    check "$rule=0 matters" sh -c \
        '! cmp without/graphene.defects.json wide/graphene.defects.json'
    want 0 '' analyze --pixel-size 0.131 --rules $rule=0 --rules $rule=1 \
        -o without graphene.png
    check "$rule=1" cmp without/graphene.defects.json wide/graphene.defects.json
done
want 2 'ring_of_four rotor_corners' analyze --rules ring=0 graphene.png

# the ground: what is recognised, what is refused, what is forced and says so
refused()
{
    want 1 "$@"
    check "nothing written: $*" test -z "$(ls ground 2>/dev/null)"
}
"$program" simulate --material wse2-2h-1 --size 160 --pixel-size 0.15 \
    --format tif -o wse2 >/dev/null
"$program" simulate --material mose2-2h-1 --size 160 --pixel-size 0.15 \
    --set 'scatter = sub-m W 0.1' --set 'scatter = vx1 0.1' --format tif \
    -o mose2 >/dev/null
"$program" simulate --material h-bn --size 160 --pixel-size 0.12 \
    --format tif -o h-bn >/dev/null
refused 'does not look like mos2: its lattice would be at 0.15' analyze \
    --material MoS2 --pixel-size 0.12 -o ground graphene.png
refused 'looks like no material' analyze --pixel-size 0.12 --invert \
    -o ground graphene.png
refused 'no pixel size' analyze -o ground graphene.png
refused 'does not look like graphene' analyze --material graphene -o ground \
    h-bn.tif
refused 'each of mose2, wse2' analyze -o ground mose2.tif
"$program" simulate --material graphene --size 32 --pixel-size 0.2 -o small \
    >/dev/null
refused 'looks like no material' analyze --pixel-size 0.2 -o ground small.png
want 0 'too few to tell' analyze --pixel-size 0.2 --material graphene \
    -o few small.png
want 0 'taken for wse2' analyze -o recognised wse2.tif
want 0 'taken for h-bn' analyze -o recognised h-bn.tif
want 0 '' analyze --material mose2-2h-1 -o recognised mose2.tif
check 'tungsten by its signal' grep -q ',W,' recognised/mose2.atoms.csv
check 'and nothing else' sh -c '! grep -q ",V,\|,Mo2," recognised/mose2.atoms.csv'
want 0 'would be at' analyze --material mos2 --pixel-size 0.12 --force \
    -o forced graphene.png
check 'forced: said' grep -q '"failed": "its lattice would' \
    forced/graphene.defects.json
check 'forced: warned' grep -q 'would be at' forced/report.html
"$program" simulate --material graphene --size 160 --pixel-size 0.12 \
    --format npy -o bright >/dev/null
want 0 '' analyze --material graphene --pixel-size 0.12 --invert --force \
    -o turned bright.npy
want 0 '' analyze --pixel-size 0.12 -o upright bright.npy
# a boundary with odd rings costs no column behind it its sublattice
# elements that no class has: chromium's signal, Se beside S
"$program" simulate --material graphene --size 256 --pixel-size 0.1 --dose 1e6 \
    --seed 3 --set 'alloy = C Cr 0.01' -o cr >/dev/null
want 0 'unknown elements, about Z = ' analyze --material graphene \
    --pixel-size 0.1 -o out cr.png
check 'unknown elements' test \
    "$(grep -c ',unknown,.*,x-c3:.*,1[0-9.]*,' out/cr.atoms.csv)" -ge 3
"$program" simulate --material mos2 --size 256 --pixel-size 0.12 --dose 1e5 \
    --seed 3 --set 'scatter = sub-x Se 0.04' -o sse >/dev/null
want 0 'another chalcogen' analyze --material mos2 --pixel-size 0.12 -o out \
    sse.png
"$program" simulate --material mos2 --size 512 --pixel-size 0.128 --dose 3e4 \
    --seed 3 --set 'boundary = 30' --set 'clouds = 0' -o odd >/dev/null
want 0 '' analyze --material mos2 --pixel-size 0.128 -o odd odd.png
check 'odd rings: no antisites' sh -c \
    '! grep -q "\"class\": \"\(m-x\|x-m\|m-x2\|x2-m\)\"" odd/odd.defects.json'
check 'odd rings: there are some' grep -q '"class": "hole"' odd/odd.defects.json
# few counts: 5 an atom, where percentiles are all alike
"$program" simulate --material graphene --size 160 --pixel-size 0.12 \
    --dose 5000 --set 'background = 0' --format npy -o low >/dev/null
want 0 '' analyze --material graphene --pixel-size 0.12 --force -o low low.npy
check 'atoms of few counts' test "$(wc -l <low/low.atoms.csv)" -gt 60
# a stack without a pixel size has one
"$program" simulate --material graphene --size 160 --count 3 --format npy \
    --set 'scale = 0.98..1.02' -o one >/dev/null
(npy '<f4' '3, 160, 160'
for i in 0 1 2; do tail -c +129 one-000$i.npy; done) >lattices.npy
want 0 '' analyze --material graphene -o lattices lattices.npy
(npy '<f4' '2, 32, 32'
head -c 8192 lattices.npy) >short.npy
want 1 'any frame' analyze --material graphene -o out short.npy
check 'one pixel size' test 1 -eq \
    "$(grep -h '"pixel_size_A"' lattices/*.json | sort -u | wc -l)"
check 'of three frames' test -s lattices/lattices-0002.defects.json
check 'of the lattice' grep -q '"pixel_size_from": "lattice"' \
    lattices/lattices-0001.defects.json
check 'inverted: other atoms' sh -c \
    '! cmp -s turned/bright.atoms.csv upright/bright.atoms.csv'

# the example of README: lines of examples/find_atoms.c, which finds the very
# atoms of `atomdl analyze`
awk '/^    \/\* found <-/ { on = 1 } on; /^    }$/ { on = 0 }' \
    "$top/README.md" | sed 's/^    //' >readme.c
awk '/^\/\* found <-/ { on = 1 } on; /^}$/ { on = 0 }' \
    "$top/examples/find_atoms.c" >example.c
check 'example of README: as in examples/' cmp readme.c example.c
check 'example of README: there' test "$(wc -l <readme.c)" -gt 20
check 'example of README: builds' ${CC:-cc} -O1 "$top/examples/find_atoms.c" \
    "$top/atomdl.c" "$top/graph.c" -o find_atoms -lm
# same_atoms NAME SIZE PIXEL_SIZE MATERIAL WEIGHTS DEFECT
same_atoms() {
    "$program" analyze "$1.npy" --pixel-size "$3" --material "$4" -o same
    tail -c +129 "$1.npy" | ./find_atoms "$top/weights/$5.safetensors" "$4" \
        "$2" "$2" "$3" >"$1.csv"
    grep -q ",$6:" "$1.csv" && cmp "$1.csv" "same/$1.atoms.csv"
}
"$program" simulate --material graphene --size 192 --pixel-size 0.1 --seed 2 \
    --defects si-c3 --format npy -o si >/dev/null
"$program" simulate --material mos2-2h-1 --size 160 --pixel-size 0.12 \
    --defects vx1:2,vx2 --format npy -o vx >/dev/null
check 'example of README: graphene' same_atoms si 192 0.1 graphene graphene \
    si-c3
check 'example of README: mos2' same_atoms vx 160 0.12 mos2 dichalcogenide vx2

echo "$passed passed, $failed failed"
test $failed -eq 0
