/* SPDX-License-Identifier: MIT
   The program when memory ends, when files cannot be written, when it is
   killed. tests/faults.sh links it with the program. Linux.

     faults memory|files DIR EVERY ARGUMENT...   for each call that can fail
         (or each so-manieth): it alone fails, then it and all after it
     faults kill DIR TIMES SEED ARGUMENT...      SIGKILL after a random time;
         `train` (-o DIR/w) goes on by --resume and must come to its end

   ARGUMENTs are a command's, which writes into DIR. It is first left alone.
   Then it must either end in that run's bytes, or in status 1 with one line
   "atomdl: ..."; and what lies in DIR, a .checkpoint apart, must be a file of
   the first run, byte by byte. (A killed run may leave a .part.) Standard
   input comes from the file that the environment's STDIN names. */

#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "../atomdl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#undef main /* the program's files are compiled with -Dmain=program */
int program(int argc, char **argv);

/* ---------- Calls that fail ----------------------------------------------- */

enum { MEMORY = 1, FILES = 2 };

static struct {
    int kind;           /* whose calls are counted */
    long calls, first, last; /* the calls from first to last fail; from 1 */
} *fault;               /* shared with the child */

static int fails(int kind, int reason)
{
    long n;
    if (kind != fault->kind) return 0;
    n = __atomic_add_fetch(&fault->calls, 1, __ATOMIC_RELAXED);
    if (n < fault->first || n > fault->last) return 0;
    errno = reason;
    return 1;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
FILE *__real_fopen(const char *path, const char *mode);
size_t __real_fwrite(const void *p, size_t size, size_t n, FILE *f);
int __real_fflush(FILE *f);
int __real_fclose(FILE *f);
int __real_rename(const char *from, const char *to);
int __real_mkdir(const char *path, mode_t mode);

void *__wrap_malloc(size_t n)
{
    return fails(MEMORY, ENOMEM) ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails(MEMORY, ENOMEM) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails(MEMORY, ENOMEM) ? NULL : __real_realloc(p, n);
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
    return fails(FILES, EMFILE) ? NULL : __real_fopen(path, mode);
}

size_t __wrap_fwrite(const void *p, size_t size, size_t n, FILE *f)
{
    if (f == stdout || f == stderr || !fails(FILES, ENOSPC))
        return __real_fwrite(p, size, n, f);
    n = __real_fwrite(p, size, n / 2, f);
    errno = ENOSPC;
    return n;
}

int __wrap_fflush(FILE *f)
{
    int bad = __real_fflush(f);
    return f != stderr && fails(FILES, ENOSPC) ? EOF : bad;
}

int __wrap_fclose(FILE *f)
{
    int bad = __real_fclose(f);
    return fails(FILES, ENOSPC) ? EOF : bad;
}

int __wrap_rename(const char *from, const char *to)
{
    return fails(FILES, EROFS) ? -1 : __real_rename(from, to);
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    return fails(FILES, EROFS) ? -1 : __real_mkdir(path, mode);
}

/* ---------- Files --------------------------------------------------------- */

enum { PATH = 4096 };

static void join(char *to, const char *dir, const char *name)
{
    if (snprintf(to, PATH, "%s/%s", dir, name) >= PATH) abort();
}

static int ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* Has file a the bytes of b? A training's log is whole after each line. */
static int same_bytes(const char *a, const char *b)
{
    FILE *f = __real_fopen(a, "rb"), *g = __real_fopen(b, "rb");
    int c = '\n', last, same = f && g, log = ends(a, "/w.csv");
    while (same && c != EOF) {
        last = c;
        c = getc(f);
        same = c == getc(g) || (log && c == EOF && last == '\n');
    }
    if (f) __real_fclose(f);
    if (g) __real_fclose(g);
    return same;
}

static void empty(const char *dir)
{
    char path[PATH];
    struct dirent *e;
    DIR *d = opendir(dir);
    while (d && (e = readdir(d)) != NULL) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        join(path, dir, e->d_name);
        if (remove(path)) empty(path), remove(path);
    }
    if (d) closedir(d);
}

/* Prints and counts the files of dir that `whole` has not, or has otherwise;
   *n counts all files. */
static int odd_files(const char *dir, const char *whole, int killed, int *n)
{
    char path[PATH], other[PATH];
    struct dirent *e;
    struct stat s;
    DIR *d = opendir(dir);
    int odd = 0;
    while (d && (e = readdir(d)) != NULL) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (ends(e->d_name, ".checkpoint")) continue;
        if (killed && ends(e->d_name, ".part")) continue;
        join(path, dir, e->d_name);
        join(other, whole, e->d_name);
        if (!stat(path, &s) && S_ISDIR(s.st_mode)) {
            odd += odd_files(path, other, killed, n);
            continue;
        }
        ++*n;
        if (same_bytes(path, other)) continue;
        printf("     %s is not that of the run left alone\n", path);
        odd++;
    }
    if (d) closedir(d);
    return odd;
}

/* ---------- Runs ---------------------------------------------------------- */

static const char *dir, *whole; /* whole: the first run's files */
static char said[PATH], error[PATH];
static int arguments;
static char **argument; /* argument[0]: the command */

static void redirect(int fd, const char *path)
{
    int to = open(path, fd ? O_WRONLY | O_CREAT | O_TRUNC : O_RDONLY, 0666);
    if (to < 0 || dup2(to, fd) < 0) abort();
    close(to);
}

/* The program in a process of its own. Its wait status; us > 0: SIGKILL after
   so many microseconds. */
static int run(int kind, long first, long last, long us, int resume)
{
    struct timespec wait = {us / 1000000, us % 1000000 * 1000};
    char *argv[64] = {"atomdl"};
    int i, status, n = 1;
    pid_t child;
    for (i = 0; i < arguments; i++) argv[n++] = argument[i];
    if (resume) argv[n++] = "--resume";
    fault->kind = kind;
    fault->calls = 0;
    fault->first = first;
    fault->last = last;
    fflush(stdout);
    child = fork();
    if (child < 0) abort();
    if (child == 0) {
        redirect(0, getenv("STDIN") ? getenv("STDIN") : "/dev/null");
        redirect(1, said);
        redirect(2, error);
        alarm(120); /* SIGALRM: it hangs */
        exit(program(n, argv));
    }
    if (us) nanosleep(&wait, NULL);
    if (us) kill(child, SIGKILL);
    if (waitpid(child, &status, 0) != child) abort();
    fault->kind = 0;
    return status;
}

/* Is `error` one line "atomdl: ...", warnings apart? */
static int one_line(void)
{
    char line[PATH];
    FILE *f = __real_fopen(error, "rb");
    int lines = 0, good = 1;
    while (f && fgets(line, sizeof line, f)) {
        if (strstr(line, ": warning: ")) continue;
        good &= !strncmp(line, "atomdl: ", 8) && ends(line, "\n");
        lines++;
    }
    if (f) __real_fclose(f);
    return good && lines == 1;
}

static void show_error(void)
{
    FILE *f = __real_fopen(error, "rb");
    char line[256];
    int i;
    for (i = 0; f && i < 12 && fgets(line, sizeof line, f); i++)
        printf("     | %s%s", line, ends(line, "\n") ? "" : "\n");
    if (f) __real_fclose(f);
}

/* What is wrong with a run that ended so, or NULL. */
static const char *wrong(int status)
{
    char first[PATH];
    int n = 0, all = 0;
    join(first, whole, "said");
    if (WIFSIGNALED(status))
        return WTERMSIG(status) == SIGALRM ? "hangs" : "crashes";
    if (odd_files(dir, whole, 0, &n)) return "leaves a file";
    if (WEXITSTATUS(status) == 1) return one_line() ? NULL : "not one line";
    if (WEXITSTATUS(status)) return "exit status";
    odd_files(whole, whole, 0, &all);
    if (n != all - 1) return "succeeds without some of its files";
    return same_bytes(said, first) || !strcmp(*argument, "bench")
               ? NULL : "succeeds with other output";
}

/* The run left alone; its files go to `whole`. Microseconds, or 0. */
static long leave_alone(void)
{
    struct timespec from, to;
    char path[PATH];
    int status;
    mkdir(dir, 0777);
    empty(dir);
    empty(whole);
    clock_gettime(CLOCK_MONOTONIC, &from);
    status = run(0, 0, 0, 0, 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (status) {
        printf("FAIL %s: left alone it fails\n", *argument);
        show_error();
        return 0;
    }
    remove(whole);
    if (rename(dir, whole) || mkdir(dir, 0777)) abort();
    join(path, whole, "said");
    if (rename(said, path)) abort();
    return 1 + (to.tv_sec - from.tv_sec) * 1000000
        + (to.tv_nsec - from.tv_nsec) / 1000;
}

/* Each call fails, alone and with all after it. */
static int each_call(int kind, long every)
{
    long n, calls = 1, tried = 0, most = LONG_MAX;
    int bad = 0, given_up = 0, after, status;
    const char *why;
    for (n = 1; n <= calls; n += every)
        for (after = 0; after < 2; after++) {
            empty(dir);
            status = run(kind, n, after ? most : n, 0, 0);
            if (fault->calls < n) continue; /* it did not come so far */
            calls = n + every;
            tried += after;
            given_up += !status;
            why = wrong(status);
            if (!why) continue;
            bad++;
            printf("FAIL %s: call %ld%s fails: %s (status %d)\n", *argument,
                   n, after ? " and all after it" : "", why, status);
            show_error();
        }
    if (!bad)
        printf("ok   %s: %ld %s calls fail, %d times it did without\n",
               *argument, tried, kind == MEMORY ? "memory" : "file", given_up);
    return bad;
}

/* Killed so often; a training goes on where it was, and must end. */
static int kills(long want, uint64_t seed, long whole_us)
{
    atomdl_rng r = atomdl_rng_seed(seed);
    int killed = 0, done = 0, bad = 0, resume = 0, n, status;
    int train = !strcmp(*argument, "train");
    char checkpoint[PATH];
    uint32_t us = (uint32_t)(whole_us > 8000000 ? 8000000 : whole_us);
    join(checkpoint, dir, "w.checkpoint");
    empty(dir);
    while (!bad && (killed < want || (train && !done))) {
        resume = train && !access(checkpoint, F_OK);
        status = run(0, 0, 0, 1 + (long)atomdl_rng_below(&r, us), resume);
        n = 0;
        if (odd_files(dir, whole, 1, &n)) bad = 1;
        if (WIFSIGNALED(status)) {
            killed++;
            if (WTERMSIG(status) != SIGKILL) bad = 1;
            if (!train) empty(dir);
            continue;
        }
        if (status || wrong(status)) bad = 1;
        done++;
        if (!bad) empty(dir);
    }
    if (bad) {
        printf("FAIL %s: after %d kills\n", *argument, killed);
        show_error();
    } else {
        printf("ok   %s: killed %d times, %d runs came to their end: whole "
               "files, the same bytes\n", *argument, killed, done);
    }
    return bad;
}

int main(int argc, char **argv)
{
    static char beside[PATH];
    int kill9 = argc > 5 && !strcmp(argv[1], "kill"), bad;
    long us, number;
    if (argc < 5) return 2;
    dir = argv[2];
    snprintf(beside, sizeof beside, "%s.whole", dir);
    snprintf(said, sizeof said, "%s.said", dir);
    snprintf(error, sizeof error, "%s.error", dir);
    whole = beside;
    number = atol(argv[3]);
    argument = argv + (kill9 ? 5 : 4);
    arguments = argc - (kill9 ? 5 : 4);
    if (arguments > 60 || number < 1) return 2;
    fault = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fault == MAP_FAILED) return 2;
    us = leave_alone();
    if (!us) return 1;
    if (kill9) bad = kills(number, strtoul(argv[4], NULL, 10), us);
    else bad = each_call(!strcmp(argv[1], "memory") ? MEMORY : FILES, number);
    return bad != 0;
}
