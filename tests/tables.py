#!/usr/bin/env python3
"""Prints the constant tables of atomdl.c's mathematics section.

Run it only to check or renew them: `python3 tests/tables.py` (needs mpmath).
Every number is computed here with 80 digits and printed as a hexadecimal
double, so that any reader can derive the tables again.
"""
from mpmath import mp, mpf, exp, log, sin, atan, pi, sqrt, erfc, erfinv, chebyfit
from mpmath import floor, taylor, polyval

mp.dps = 80


def hi(x):
    """x rounded to the nearest double."""
    return float(x)


def pair(x):
    """x as hi + lo, both doubles."""
    h = hi(x)
    return h, hi(x - mpf(h))


def cut(x, bits):
    """x rounded to a multiple of 2^-bits: exact sums with other such."""
    return hi(floor(x * mpf(2) ** bits + mpf(1) / 2) / mpf(2) ** bits)


def rows(name, values, per_line, comment):
    print("/* %s */" % comment)
    width = len(values[0])
    print("static const double %s[%d][%d] = {" % (name, len(values), width))
    cells = ["{%s}" % ", ".join(v.hex() for v in row) for row in values]
    for i in range(0, len(cells), per_line):
        print("    " + ", ".join(cells[i:i + per_line]) + ",")
    print("};")


def line(name, values):
    print("static const double %s[%d] = {" % (name, len(values)))
    for i in range(0, len(values), 3):
        print("    " + ", ".join(v.hex() for v in values[i:i + 3]) + ",")
    print("};")


def log_table():
    """64 intervals of z from 0x3fe69... (0.7...) upwards, see log_parts()."""
    import struct
    out = []
    off, step = 0x3FE6A00000000000, 1 << 46
    for i in range(64):
        a, b = [struct.unpack("<d", struct.pack("<Q", off + (i + k) * step))[0]
                for k in (0, 1)]
        inv = 1.0 if a < 1.0 < b else cut(2 / (mpf(a) + mpf(b)), 9)
        c = -log(mpf(inv))
        h = cut(c, 42)
        out.append((inv, h, hi(c - mpf(h))))
    return out


def two_over_pi_words():
    """1/(2 pi) as 32-bit words, most significant first."""
    x, out = 1 / (2 * pi), []
    mp.dps = 500
    x = 1 / (2 * mp.pi)
    for _ in range(40):
        x *= 2 ** 32
        w = int(floor(x))
        out.append(w)
        x -= w
    mp.dps = 80
    return out


def fit(f, lo, up, degree):
    """Chebyshev fit of f on [lo, up], lowest power first, and its error."""
    mp.dps = 40
    c, err = chebyfit(f, [lo, up], degree + 1, error=True)
    mp.dps = 80
    return [hi(v) for v in reversed(c)], err


def erfcx_in_t(t):
    x = 3 * (1 + t) / (1 - t)
    return exp(x * x) * erfc(x)


def quantile_core(w):
    """z/q of the normal quantile, q = u - 1/2, w = q^2."""
    if w == 0:
        return sqrt(2 * pi)
    q = sqrt(w)
    return sqrt(mpf(2)) * erfinv(2 * q) / q


def quantile_tail(s):
    """-z of the normal quantile at u = exp(-s^2) < 1/2."""
    return sqrt(mpf(2)) * erfinv(1 - 2 * exp(-s * s))


def main():
    rows("EXP2", [pair(mpf(2) ** (mpf(i) / 32)) for i in range(32)], 1,
         "2^(i/32) = hi + lo")
    rows("LOGC", log_table(), 1, "1/c and -log(1/c) = hi + lo")
    rows("SINE", [pair(sin(i * pi / 64)) for i in range(33)], 1,
         "sin(i pi/64) = hi + lo")
    rows("ATAN", [pair(atan(mpf(i) / 32)) for i in range(33)], 1,
         "atan(i/32) = hi + lo")
    words = two_over_pi_words()
    print("static const uint32_t TURN[40] = { /* 1/(2 pi), binary digits */")
    for i in range(0, 40, 5):
        print("    " + ", ".join("0x%08x" % w for w in words[i:i + 5]) + ",")
    print("};")
    line("ERF_TAYLOR", [hi(2 / sqrt(pi) * (-1) ** n / (mp.factorial(n)
                                                       * (2 * n + 1)))
                        for n in range(19)])
    for name, f, lo, up, deg in (
            ("ERFCX", erfcx_in_t, mpf(-1) / 2, mpf(1) / 3, 15),
            ("NORMAL_CORE", quantile_core, 0, mpf("0.425") ** 2, 13),
            ("NORMAL_TAIL", quantile_tail, mpf("1.6"), mpf("4.8"), 11)):
        c, err = fit(f, lo, up, deg)
        print("/* fit error %s */" % mp.nstr(err, 3))
        line(name, c)
    ln2 = log(mpf(2))
    print("ln2/32 hi", cut(ln2 / 32, 42).hex(),
          "lo", hi(ln2 / 32 - mpf(cut(ln2 / 32, 42))).hex())
    print("ln2 hi", cut(ln2, 42).hex(),
          "lo", hi(ln2 - mpf(cut(ln2, 42))).hex())
    print("32/ln2", hi(32 / ln2).hex(), "log2e", hi(1 / ln2).hex())
    p = pi / 64
    p1 = cut(p, 46)
    p2 = cut(p - mpf(p1), 88)
    print("pi/64:", p1.hex(), p2.hex(), hi(p - mpf(p1) - mpf(p2)).hex(),
          "64/pi", hi(64 / pi).hex())
    print("2 pi:", *[v.hex() for v in pair(2 * pi)])
    print("pi:", *[v.hex() for v in pair(pi)])
    print("pi/2:", *[v.hex() for v in pair(pi / 2)])
    print("ln(2pi)/2", hi(log(2 * pi) / 2).hex())


if __name__ == "__main__":
    main()
