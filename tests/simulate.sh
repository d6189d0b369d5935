#!/bin/sh
# atomdl simulate: what it writes, and one clear line for every mistake.
# usage: tests/simulate.sh ./atomdl
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
top=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d) && cd "$dir" || exit 1
trap 'rm -rf "$dir"' EXIT
bad=0

wrong() {
    echo "  simulate: $*"
    bad=1
}

# refused STATUS PATTERN ARGUMENT...: that exit status, one line that matches,
# and no file
refused() {
    status=$1 pattern=$2
    shift 2
    "$program" simulate "$@" -o out 2>error >said
    got=$?
    [ "$got" = "$status" ] || wrong "exit $got, not $status: $*"
    grep -q "^atomdl: .*$pattern" error || wrong "$*: $(cat error)"
    [ "$(wc -l <error)" -eq 1 ] || wrong "not one line: $*"
    set -- out*
    [ -e "$1" ] && wrong "a file: $1"
}

recipe() {
    printf '%b' "$1" >r.recipe
}

xyz() {
    printf '%b' "$1" >a.xyz
}

recipe 'seed = 1\npixl = 0.1\n'
refused 1 'r.recipe:2: pixl: no such key; perhaps pixel' r.recipe
recipe 'seed = 1\n\nsize =\n'
refused 1 'r.recipe:3: size: no value' r.recipe
recipe 'dose = -5\n'
refused 1 'r.recipe:1: dose: must lie in' r.recipe
recipe 'dose = nan\n'
refused 1 'r.recipe:1: dose: not a distribution' r.recipe
recipe 'size = 20000\npixel = 0.9\n'
refused 1 'r.recipe: more than 16 million atoms' r.recipe
recipe 'place = si-c3 5 5\nplace = si-c4 5.5 5\n'
refused 1 'r.recipe:2: place: si-c4 at 5.5 5 overlaps' r.recipe
recipe 'place = si-c3 500 5\n'
refused 1 'r.recipe:1: place: .* has no such site there: move it' r.recipe
recipe 'place = vx1 5 5\n'
refused 1 'r.recipe:1: place: .* has no such site' r.recipe
recipe 'place = si-c3 nan 5\n'
refused 1 'r.recipe:1: place: KIND' r.recipe
recipe 'defects = si-c3\ncount = 500\n'
refused 1 'defects find no room: lower count or apart' r.recipe
recipe 'scatter = vx1 0.1\n'
refused 1 'scatter needs a material with metal' r.recipe
recipe 'event = v1 v1-5-9 2\n'
refused 1 'r.recipe:1: event: P must lie in 0..1' r.recipe
recipe 'seed 1\n'
refused 1 'r.recipe:1: not .key = value' r.recipe
recipe 'class = C atom Xx 0.5\n'
refused 1 'r.recipe:1: class: after NAME: atom ELEMENT' r.recipe
refused 1 'no-such.recipe' no-such.recipe
refused 1 'directory' .
refused 2 'dose: must lie in' --material graphene --dose=-1
refused 2 'material: graphene, ' --material unobtainium
# ... in the words of the help and of the header
list=$(sed -n 's/.*or {/{/p' error)
for text in "$("$program" simulate --help)" "$(cat "$top/atomdl.h")"; do
    case $text in
    *"${list:-no list}"*) ;;
    *) wrong "the help or atomdl.h misses '$list'" ;;
    esac
done
refused 2 'defects: si-c3 ' --material graphene --defects si-c3,si-x
refused 2 'wants a whole number' --material graphene --count 0
refused 2 'no option' --material graphene --colour
refused 2 'recipe or --material'
refused 2 "not 'jpg'" --material graphene --format jpg
refused 2 'wants a list' --material graphene --defects=
xyz '2\n\nC 0 0 0\nC nan 0 0\n'
refused 1 'a.xyz:4: ' --material graphene --xyz a.xyz
xyz '1000000000\n\nC 0 0 0\n'
refused 1 'a.xyz:1: ' --material graphene --xyz a.xyz
xyz '2\n\nC 0 0 0\n'
refused 1 'a.xyz:' --material graphene --xyz a.xyz
xyz '2\n\nC 0 0 0\nC 0 0.01 0\n'
refused 1 "a.xyz:4: the place of line 3's atom: remove one" \
    --material graphene --xyz a.xyz
xyz '3\n\nC 0 0 0\nC 0.142 0 0\nC 0 0.246 0\n'
refused 1 'a.xyz: 2 of 3 atoms nearer than 0.3 A.*lengths in A' \
    --material graphene --xyz a.xyz
xyz '1\n\nXx 0 0 0\n'
refused 1 'a.xyz:3: unknown element' --material graphene --xyz a.xyz
xyz '1\n\nC 0 0\n'
refused 1 'a.xyz:3: a value is missing' --material graphene --xyz a.xyz
xyz '2\n\nC -500 0 0\nC 500 0 0\n'
refused 1 'no atom lies in the field' --material graphene --xyz a.xyz
"$program" simulate --material graphene -o no/such/folder/x 2>error \
    && wrong "no folder, and no complaint"
[ "$(wc -l <error)" -eq 1 ] || wrong "no folder: $(cat error)"

# what it writes
"$program" simulate --material graphene --size 128 --defects si-c3,v1 -o a \
    || wrong "graphene"
"$program" simulate --material graphene --size 128 --defects si-c3,v1 -o b \
    || wrong "graphene again"
for f in png truth.csv labels.png; do
    cmp -s a.$f b.$f || wrong "a second run gives another $f"
done
head -1 a.truth.csv | grep -qx \
    'id,x_px,y_px,x_A,y_A,species,column,defect' || wrong "header of truth"
grep -q ',Si,Si,si-c3:' a.truth.csv || wrong "no Si in the truth"
"$program" simulate --material mos2-2h-1 --size 64 --count 3 --format tif \
    --write-xyz -o m || wrong "mos2"
for f in m-0000.tif m-0002.truth.csv m-0001.labels.png m-0002.xyz; do
    [ -s $f ] || wrong "no $f"
done
"$program" simulate --material mos2-2h-1 --size 64 --first 2 --format tif \
    -o one && cmp -s one.tif m-0002.tif || wrong "image 2 alone differs"
"$program" simulate --material graphene --size 64 --movie 3 --format npy \
    --defects si3-c6 --set 'event = si3-c6 turn 0.5' -o movie || wrong "movie"
[ -s movie-0002.npy ] && [ -s movie.defects.csv ] || wrong "movie's files"
"$program" simulate --material graphene --size 64 --xyz m-0000.xyz -o x \
    || wrong "its own XYZ"
"$program" simulate --material mos2-2h-1 --size 16 --pixel-size 0.2 \
    --set 'image = multislice' --set 'inner = 60' --set 'outer = 120' \
    --set 'configurations = 1' --format npy -o waves && [ -s waves.npy ] \
    || wrong "multislice"
xyz '2\n\nC 5 5 0\nAu 8 8 0\n'
refused 1 'no potential of Au is known' --material graphene --xyz a.xyz \
    --size 64 --set 'image = multislice'
xyz '2\n\nS 0 0 0\nS 0 0 3.2\n'
"$program" simulate --material graphene --size 64 --xyz a.xyz -o x \
    || wrong "stacked atoms"
"$program" simulate --material graphene --print-recipe >all.recipe \
    && "$program" simulate all.recipe -o p || wrong "its own recipe"
"$program" simulate --help | grep -q '^example:' || wrong "help"
ls | grep -q '\.part$' && wrong "half a file"
[ $bad = 0 ] && echo "ok   atomdl simulate"
exit $bad
