# SPDX-License-Identifier: MIT
# Draws mutants of a C file: awk -v seed=N -v most=N -f mutants.awk FILE
# Each is a line: line number, column, old text, new text, with tabs between.
# A line of code is drawn, then one of its mutations; no line twice. Only what
# stands in functions is drawn from: no comments, strings, preprocessor lines,
# or declarations without values.

# Park and Miller's generator: products below 2^53, the same in every awk
function draw(n) {
    state = state * 16807 % 2147483647
    return int(state / 2147483647 * n)
}

# the line with comments and what is in quotes as blanks, of the same length
function masked(s,   i, c, quote, out) {
    out = ""
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        if (comment) {
            if (c == "*" && substr(s, i + 1, 1) == "/") {
                comment = 0
                out = out " "
                i++
            }
            c = " "
        } else if (quote) {
            if (c == "\\") {
                out = out " "
                i++
                c = " "
            } else if (c == quote) quote = ""
            else c = " "
        } else if (c == "\"" || c == "'") quote = c
        else if (c == "/" && substr(s, i + 1, 1) == "*") {
            comment = 1
            out = out " "
            i++
            c = " "
        }
        out = out c
    }
    return out
}

function add(column, old, new) {
    many[lines + 1]++
    where[lines + 1, many[lines + 1]] = NR "\t" column "\t" old "\t" new
}

function operators(s,   k, at, from) {
    for (k = 1; k <= pairs; k++) {
        from = 0
        while (at = index(substr(s, from + 1), old_text[k])) {
            from += at
            add(from, old_text[k], new_text[k])
        }
    }
}

# a constant with one more; of a fraction, its second decimal
function greater(token,   point, digit) {
    if (token ~ /^[0-9]+$/ && length(token) < 9) return token + 1
    if (token !~ /^[0-9]+[.][0-9]+f?$/) return ""
    point = index(token, ".")
    digit = substr(token, point + 2, 1)
    if (digit !~ /[0-9]/) digit = 0
    return substr(token, 1, point + 1) (digit + 1) % 10 \
        (substr(token, point + 2, 1) ~ /[0-9]/ ? substr(token, point + 3) : \
                                                 substr(token, point + 2))
}

function constants(s, from,   rest, at, token) {
    rest = substr(s, from)
    at = from - 1
    while (match(rest, /[A-Za-z_0-9.]+/)) {
        token = substr(rest, RSTART, RLENGTH)
        at += RSTART
        rest = substr(rest, RSTART + RLENGTH)
        if (greater(token) != "") add(at, token, greater(token))
        at += length(token) - 1
    }
}

# [i] -> [i + 1], and the two first arguments swapped
function names(s,   rest, at, n, text, cut) {
    rest = s
    at = 0
    while (match(rest, /\[[a-z_][a-z_0-9]*\]/)) {
        text = substr(rest, RSTART, RLENGTH)
        add(at + RSTART, text, substr(text, 1, length(text) - 1) " + 1]")
        at += RSTART + RLENGTH - 1
        rest = substr(s, at + 1)
    }
    rest = s
    at = 0
    while (match(rest, /[a-z_0-9]\([a-z_0-9.>-]+, [a-z_0-9.>-]+[,)]/)) {
        text = substr(rest, RSTART + 2, RLENGTH - 3)
        cut = index(text, ", ")
        n = substr(text, cut + 2) ", " substr(text, 1, cut - 1)
        if (n != text) add(at + RSTART + 2, text, n)
        at += RSTART + RLENGTH - 1
        rest = substr(s, at + 1)
    }
}

function deletion(s, text) {
    if (s !~ /^ *[*]*[a-z_][a-z_A-Z0-9]*(\[[^]]*\]|[.][a-z_0-9]+|->[a-z_0-9]+)* [-+*\/|&^]?= .*;$/)
        return
    match(s, /[^ ]/)
    add(RSTART, substr(text, RSTART), ";")
}

BEGIN {
    pairs = 0
    swap(" < ", " <= ")
    swap(" > ", " >= ")
    swap(" == ", " != ")
    swap(" + ", " - ")
    swap(" * ", " / ")
    swap(" += ", " -= ")
    swap(" && ", " || ")
    swap("least(", "most(")
    old_text[++pairs] = "return 1;"
    new_text[pairs] = "return 0;"
    state = seed
    declaration = "^ *((static|const|unsigned) )*[a-z_][A-Za-z_0-9]* [*]*[a-z_]"
}

function swap(a, b) {
    old_text[++pairs] = a
    new_text[pairs] = b
    old_text[++pairs] = b
    new_text[pairs] = a
}

FNR == 1 {
    for (i = 32; i < 127; i++) code[sprintf("%c", i)] = i
    for (i = 1; i <= length(FILENAME); i++)
        state = (state * 31 + code[substr(FILENAME, i, 1)]) % 2147483646 + 1
    for (i = 0; i < 9; i++) draw(1)
}

{
    s = masked($0)
    sub(/\r$/, "")
    before = directive
    directive = (directive || s ~ /^ *#/) && /\\$/
    if (before || s ~ /^ *#/) next
    if (/^\{/) inside = 1
    if (/^\}/) inside = 0
    if (!inside || /^\{/) next
    from = 1
    if (s ~ declaration && s !~ /^ *(return|goto|else|case|break)/) {
        if (s !~ /=/) next
        from = index(s, "=")
    }
    operators(s)
    constants(s, from)
    names(s)
    deletion(s, $0)
    if (many[lines + 1]) lines++
}

END {
    for (k = 0; k < most && k < lines; k++) {
        line = k + 1 + draw(lines - k)
        # Fisher and Yates: the drawn line changes places with the k-th
        at = line in moved ? moved[line] : line
        moved[line] = (k + 1) in moved ? moved[k + 1] : k + 1
        print where[at, 1 + draw(many[at])]
    }
}
