#!/bin/sh
# SPDX-License-Identifier: MIT
# Every reference leads somewhere: sh tests/links.sh
# METHOD X.n in a source, test, recipe or page must be a section of
# docs/METHOD.md; a file that README or a page of docs/ names must exist; the
# versions of CHANGELOG.md, CITATION.cff and atomdl.h must be one.
set -u
cd "$(dirname "$0")/.." || exit 2
awk=$PWD/tests/links.awk
d=$(mktemp -d) || exit 2
trap 'rm -rf "$d"' EXIT

# The pages whose words are checked, and the sources.
pages() { ls README.md RESULTS.md docs/*.md SECURITY.md 2>/dev/null; }
sources()
{
    find . -path ./build -prune -o -path ./.git -prune -o -type f \
        \( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o -name '*.md' \
        -o -name '*.recipe' -o -name '*.inc' -o -name Makefile \) \
        ! -path './tests/links.*' -print | sort
}

# What a folder's references miss, one line each.
missing()
(
    cd "$1" || exit 2
    find . -path ./build -prune -o -path ./.git -prune -o -type f -print |
        sed 's,^\./,,' >"$d/files"
    awk -v job=sections -f "$awk" docs/METHOD.md >"$d/sections" &&
        awk -v job=cited -f "$awk" "$d/sections" $(sources) &&
        awk -v job=named -f "$awk" "$d/files" $(pages) || echo "awk: failed"
    ours=$(sed -n 's/^## \[\{0,1\}\([0-9.]*\)\]\{0,1\}.*/\1/p' CHANGELOG.md |
        head -1)
    cited=$(sed -n 's/^version: *"\{0,1\}\([0-9.]*\).*/\1/p' CITATION.cff)
    code=$(sed -n 's/^#define ATOMDL_VERSION "\(.*\)"/\1/p' atomdl.h)
    test "$ours" = "$cited" ||
        echo "CITATION.cff: version $cited, CHANGELOG.md has $ours"
    test "$ours" = "${code:-$ours}" ||
        echo "atomdl.h: version $code, CHANGELOG.md has $ours"
)

# This test must see what it is for: a folder with one fault of each kind.
mkdir -p "$d/bad/docs" "$d/bad/tests"
cat >"$d/bad/docs/METHOD.md" <<'END'
# Method
## A. Networks
### A.1 One, which names A.9
* **C.1.7** A numbered rule.
END
cat >"$d/bad/atomdl.h" <<'END'
/* METHOD A, A.1 and C.1.7 are there; METHOD
   A.2, B.3 (of this), B.4 to B.5 are not. */
#define ATOMDL_VERSION "0.1.9"
END
echo '`tests/none.c`, `none.h`, [x](docs/none.md), `atomdl.h`, `tests/*.zig`' \
    >"$d/bad/README.md"
printf '## [0.2.0]\n## [0.1.0]\n' >"$d/bad/CHANGELOG.md"
echo 'version: 0.2.1' >"$d/bad/CITATION.cff"
missing "$d/bad" >"$d/seen"
cat >"$d/want" <<'END'
./atomdl.h: METHOD A.2 is no section of docs/METHOD.md
./atomdl.h: METHOD B.3 is no section of docs/METHOD.md
./atomdl.h: METHOD B.4 is no section of docs/METHOD.md
./atomdl.h: METHOD B.5 is no section of docs/METHOD.md
./docs/METHOD.md: METHOD A.9 is no section of docs/METHOD.md
README.md: names tests/none.c, which is not there
README.md: names none.h, which is not there
README.md: names docs/none.md, which is not there
README.md: names tests/*.zig, which is not there
CITATION.cff: version 0.2.1, CHANGELOG.md has 0.2.0
atomdl.h: version 0.1.9, CHANGELOG.md has 0.2.0
END
passed=0 failed=0
if diff "$d/want" "$d/seen"; then
    passed=1
else
    failed=1
    echo "FAIL links.sh: does not see the faults that it is for"
fi
missing . >"$d/seen"
sed 's/^/FAIL links.sh: /' "$d/seen"
if [ -s "$d/seen" ]; then
    failed=$((failed + 1))
else
    passed=$((passed + 1))
fi
echo "$passed passed, $failed failed"
test $failed -eq 0
