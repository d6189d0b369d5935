# From an lcov report: lines reached in each part of a file, by its banners, of
# the functions that are entered at all: the others are no parsers.

function part(n) { return n in owner ? owner[n] : "" }

/^SF:/ {
    path = substr($0, 4)
    file = path
    sub(/.*\//, "", file)
    split("", owner)
    split("", begins)
    split("", entered)
    now = ""
    done = 0
    name = file
    for (n = 1; (getline line < path) > 0; n++) {
        if (line ~ /^\/\* -----* /) {
            name = line
            sub(/^\/\* -* /, "", name)
            sub(/ -*( \*\/)?$/, "", name)
            name = file ": " name
        }
        owner[n] = name
    }
    close(path)
}

/^FN:/ {
    split(substr($0, 4), at, ",")
    begins[at[1] + 0] = at[2]
}

/^FNDA:/ {
    split(substr($0, 6), at, ",")
    entered[at[2]] = at[1] > 0
}

/^DA:/ {
    split(substr($0, 4), at, ",")
    while (done < at[1] + 0)
        if (++done in begins) now = begins[done]
    if (!entered[now]) next
    p = part(at[1])
    if (!(p in all)) order[++parts] = p
    all[p]++
    if (at[2] > 0) hit[p]++
}

END {
    for (i = 1; i <= parts; i++)
        if (hit[order[i]] > 0)
            printf "%5.1f %%  %4d of %4d lines  %s\n",
                100 * hit[order[i]] / all[order[i]], hit[order[i]],
                all[order[i]], order[i]
}
