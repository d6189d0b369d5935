/* SPDX-License-Identifier: MIT
   Tables. One is text in CSV: a line with the names of its columns, then rows,
   all by io_put. HTML and JSON are made of that text, and tables of files are
   read as such. */
#ifndef ATOMDL_TABLES_H
#define ATOMDL_TABLES_H

#include "files/files.h"

/* ---------- Out ----------------------------------------------------------- */

/* One line as a row of HTML, its cells in `tag`, "th" or "td"; "a, b" with its
   quotes is one cell. Returns the next line. */
const char *put_html_row(io_text *t, const char *tag, const char *line);

/* The table as <table>, the names as its head. */
void put_html_table(io_text *t, const char *csv);

/* Each row as an object whose key is its first cell; cells that are numbers
   become numbers. */
void put_json_table(io_text *t, const char *csv);

/* n numbers, each by a format such as "%.4f". */
void put_json_array(io_text *t, const char *key, const char *format, int n,
                    const double *v);

/* path <- folder/name */
enum { PATH = 1200 };
void path_in(char path[PATH], const char *folder, const char *name);

/* Writes a text as the file out/name and frees it; bad: only frees it. 0, or a
   message and 1. */
int save_text(const char *out, int bad, io_text *t, const char *name);

/* ---------- In ------------------------------------------------------------ */

enum { FIELD = 24 };

/* As io_read, with a 0 behind the file's bytes. */
int text_read(io_bytes *text, const char *path, size_t limit);

/* The line behind this one, "" behind the last. */
const char *line_next(const char *line);

/* Field i of a line of CSV, cut to FIELD; "" when there are fewer. */
void csv_field(char to[FIELD], const char *line, int i);

/* 1: field i is a finite number and nothing else, which *value becomes. */
int csv_number(double *value, const char *line, int i);

/* The number of the column of that name in the first line, -1: none. */
int csv_column(const char *head, const char *name);

#endif
