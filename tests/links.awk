# SPDX-License-Identifier: MIT
# The parts of tests/links.sh, by job:
#   sections   PAGE           the sections that a page has, one a line
#   cited      LIST FILE...   citations of METHOD in the files that LIST lacks
#   named      LIST PAGE...   files that the pages name and LIST lacks

# Headings "### A.1 ..." and numbered rules "* **C.1.7** ..."
job == "sections" {
    if (!/^#+ [A-Z](\.[0-9]+)*[. ]/ && !/^\* \*\*[A-Z](\.[0-9]+)+\*\*/) next
    section = $2
    gsub(/[*]/, "", section)
    sub(/\.$/, "", section)
    print section
    next
}

NR == FNR { known[$0] = 1; list[++n] = $0; next }

# Lines are joined, so that a citation may be broken anywhere.
FNR == 1 { judge(); file = FILENAME; text = "" }
{ text = text " " $0 }
END { if (job != "sections") judge() }

function judge()
{
    if (file == "") return
    if (job == "named") named(text)
    else if (file ~ /docs\/METHOD\.md$/) inner(text)
    else cited(text)
}

function want(section)
{
    if (section in known) return
    print file ": METHOD " section " is no section of docs/METHOD.md"
}

# The list of sections that s begins with, "A.1, A.3 (so) and B.2 to B.4"
function ask(s,   section)
{
    while (match(s, /^[A-Z](\.[0-9]+)*/)) {
        section = substr(s, 1, RLENGTH)
        s = substr(s, RLENGTH + 1)
        if (s ~ /^[A-Za-z_0-9]/) return
        want(section)
        sub(/^ *\([^()]*\)/, "", s)
        if (!sub(/^(,| and| to| -) /, "", s)) return
        sub(/^and /, "", s)
    }
}

# METHOD and what follows, in comments of C, sh, Python and recipes
function cited(s)
{
    gsub(/[ \t]+([#*\/]+[ \t]+)*/, " ", s)
    while (match(s, /METHOD(\.md)? /)) {
        s = substr(s, RSTART + RLENGTH)
        ask(s)
    }
}

# The page itself: every A.1 in it, but not within words and numbers
function inner(s,   before, section)
{
    while (match(s, /[A-Z]\.[0-9]+(\.[0-9]+)*/)) {
        before = substr(s, RSTART - 1, 1)
        section = substr(s, RSTART, RLENGTH)
        s = substr(s, RSTART + RLENGTH)
        if (before !~ /[A-Za-z0-9.]/) want(section)
    }
}

# With its folder, or by its name in any folder; "*" is what it is in a shell.
function exists(name,   i, pattern)
{
    pattern = name
    gsub(/[.]/, "[.]", pattern)
    gsub(/[*]/, "[^/]*", pattern)
    for (i = 1; i <= n; i++) {
        if (list[i] ~ ("^" pattern "($|/)")) return 1
        if (name !~ /\// && list[i] ~ ("/" pattern "$")) return 1
    }
    return 0
}

# Words that are files of ours: by their folder or, in backquotes, their end
function named(s,   word, at, words, count, quoted)
{
    gsub(/[^-`A-Za-z0-9_.*\/]+/, " ", s)
    count = split(s, words, " ")
    for (at = 1; at <= count; at++) {
        word = words[at]
        quoted = word ~ /^`/
        gsub(/`/, "", word)
        sub(/^\.\//, "", word)
        sub(/[.\/]+$/, "", word)
        if (word ~ /NAME/ || (file " " word) in said) continue
        if (word ~ /^(\.ci|docs|examples|findings|program|tests|weights)\/./)
            quoted = 1
        else if (word !~ /\.(md|c|h|sh|py|awk|cff|recipe|txt)$/) quoted = 0
        if (!quoted) continue
        said[file " " word] = 1
        if (!exists(word))
            print file ": names " word ", which is not there"
    }
}
