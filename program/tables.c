/* SPDX-License-Identifier: MIT
   tables.h: tables as CSV, HTML and JSON; CSV in. */
#include "tables.h"
#include "program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------- Out ----------------------------------------------------------- */

const char *put_html_row(io_text *t, const char *tag, const char *line)
{
    io_put(t, "<tr>");
    do {
        char text[200];
        int quoted = *line == '"';
        line += quoted;
        size_t n = strcspn(line, quoted ? "\"" : ",\n");
        snprintf(text, sizeof text, "%.*s", (int)n, line);
        io_put(t, "<%s>", tag);
        io_put_escaped(t, text, IO_XML);
        io_put(t, "</%s>", tag);
        line += n + (size_t)quoted;
    } while (*line && *line++ == ',');
    io_put(t, "</tr>\n");
    return line;
}

void put_html_table(io_text *t, const char *csv)
{
    io_put(t, "<table>");
    csv = put_html_row(t, "th", csv);
    while (*csv) csv = put_html_row(t, "td", csv);
    io_put(t, "</table>");
}

void put_json_table(io_text *t, const char *csv)
{
    char name[FIELD], cell[FIELD];
    double value;
    for (const char *row = line_next(csv); *row; row = line_next(row)) {
        csv_field(cell, row, 0);
        io_json_open(t, cell, '{');
        for (int i = 1; csv_field(name, csv, i), *name; i++) {
            csv_field(cell, row, i);
            if (csv_number(&value, row, i)) io_json(t, name, "%s", cell);
            else io_json_string(t, name, cell);
        }
        io_json_close(t, '}');
    }
}

void put_json_array(io_text *t, const char *key, const char *format, int n,
                    const double *v)
{
    io_json_open(t, key, '[');
    for (int i = 0; i < n; i++) io_json(t, NULL, format, v[i]);
    io_json_close(t, ']');
}

void path_in(char path[PATH], const char *folder, const char *name)
{
    snprintf(path, PATH, "%.900s/%.270s", folder, name);
}

int save_text(const char *out, int bad, io_text *t, const char *name)
{
    char path[PATH];
    path_in(path, out, name);
    if (bad) return io_text_free(t), bad;
    return io_text_write(t, path) ? fail("%s", io_reason()) : 0;
}

/* ---------- In ------------------------------------------------------------ */

int text_read(io_bytes *text, const char *path, size_t limit)
{
    if (io_read(text, path, limit)) return 1;
    unsigned char *s = io_new(text->size + 1);
    if (s) {
        memcpy(s, text->data, text->size);
        s[text->size] = 0;
    }
    free(text->data);
    text->data = s;
    return !s;
}

const char *line_next(const char *line)
{
    line += strcspn(line, "\n");
    return *line ? line + 1 : line;
}

void csv_field(char to[FIELD], const char *line, int i)
{
    for (; i > 0; i--) {
        line += strcspn(line, ",\r\n");
        if (*line != ',') break;
        line++;
    }
    size_t n = i > 0 ? 0 : strcspn(line, ",\r\n");
    if (n >= FIELD) n = FIELD - 1;
    memcpy(to, line, n);
    to[n] = 0;
}

int csv_number(double *value, const char *line, int i)
{
    char text[FIELD], *end;
    csv_field(text, line, i);
    *value = strtod(text, &end);
    return end != text && !*end && *value - *value == 0;
}

int csv_column(const char *head, const char *name)
{
    char text[FIELD];
    size_t n = strcspn(head, "\n");
    int fields = 1;
    for (size_t k = 0; k < n; k++) fields += head[k] == ',';
    for (int i = 0; i < fields; i++) {
        csv_field(text, head, i);
        if (!strcmp(text, name)) return i;
    }
    return -1;
}
