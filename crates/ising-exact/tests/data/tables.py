#!/usr/bin/env python3
"""Writes torus.csv and infinite.csv: 50-digit reference values for the tests of ising-exact.

Needs Python 3 and mpmath (made with mpmath 1.4.1); run `python tables.py` in this directory, about half an hour in all.

torus.csv: the four Pfaffians of the m x n torus as they stand in the literature, as plain products over the momenta
(all m*n of them up to 64 x 64 sites, Kaufman's 2 cosh(m gamma_q / 2) beyond), with none of the rearrangements
of the library; derivatives in beta by central differences with a step of 1e-80 in arithmetic of several hundred digits,
so that their error is far below the digits written. Temperatures and couplings are the exact values of the doubles.

infinite.csv: Onsager's integral over gamma, integrated by mpmath, the derivatives in the same way.
"""
import csv
import itertools
import math
import mpmath as mp

T_C = 2 / math.log(1 + math.sqrt(2))
STEP = 80


def sectors_direct(m, n, K, L):
    """{(fermions along x, along y): Pfaffian}, antiperiodic = 1, from all m*n momenta; any signs of K and L."""
    x, y = mp.tanh(K), mp.tanh(L)
    diagonal = (1 + x * x) * (1 + y * y)
    along_x, along_y = 2 * x * (1 - y * y), 2 * y * (1 - x * x)
    cosines = {s: [mp.cospi(mp.mpf(k) / s) for k in range(2 * s)] for s in {m, n}}
    result = {}
    for a, b in itertools.product((0, 1), (0, 1)):
        square, alone = mp.mpf(1), mp.mpf(1)
        for p in range(m):
            for q in range(n):
                kp, kq = 2 * p + a, 2 * q + b
                if kp % m == 0 and kq % n == 0:
                    # Its own mirror image: the square root of the factor is taken before multiplying.
                    s, t = (1 if kp == 0 else -1), (1 if kq == 0 else -1)
                    alone *= 1 - s * x - t * y - s * t * x * y
                else:
                    square *= diagonal - along_x * cosines[m][kp] - along_y * cosines[n][kq]
        result[a, b] = alone * mp.sqrt(square)
    return m * n * mp.log(2 * mp.cosh(K) * mp.cosh(L)), result


def sectors_kaufman(m, n, K, L):
    """The same for positive K and L from n values of gamma, up to a common factor."""
    def gamma(k):
        return mp.acosh((mp.cosh(2 * K) * mp.cosh(2 * L) - mp.sinh(2 * L) * mp.cospi(mp.mpf(k) / n)) / mp.sinh(2 * K))
    result = {}
    for b in (0, 1):
        for a in (0, 1):
            result[a, b] = mp.mpf(1)
        for k in range(b, n + 1, 2):
            if k == 0:
                g = -mp.log(mp.tanh(K)) - 2 * L
            elif k == n:
                g = -mp.log(mp.tanh(K)) + 2 * L
            else:
                g = gamma(k)
            e = mp.exp(m * g / 2)
            power = 1 if k in (0, n) else 2
            result[0, b] *= (e - 1 / e) ** power
            result[1, b] *= (e + 1 / e) ** power
    return mp.mpf(m * n) / 2 * mp.log(2 * mp.sinh(2 * K)), result


def ln_z(m, n, jx, jy, seam, beta):
    sectors = sectors_direct if m * n <= 4096 else sectors_kaufman
    prefactor, pf = sectors(m, n, beta * jx, beta * jy)
    fx, fy = seam  # a seam exchanges A and P
    def at(a, b):
        return pf[a ^ fx, b ^ fy]
    return prefactor + mp.log((at(1, 1) + at(1, 0) + at(0, 1) - at(0, 0)) / 2)


def row(f, sites, temperature):
    """ln Z, f, E, S, C per site from ln Z(beta)."""
    beta = 1 / mp.mpf(temperature)
    h = mp.mpf(10) ** -STEP
    minus, middle, plus = f(beta - h), f(beta), f(beta + h)
    first, second = (plus - minus) / (2 * h), (plus - 2 * middle + minus) / h**2
    values = (middle, -middle / beta / sites, -first / sites, (middle - beta * first) / sites, beta**2 * second / sites)
    return [mp.nstr(v, 50, min_fixed=0, max_fixed=0) for v in values]


def torus_cases():
    everywhere = [0.05, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 2.2, 2.26, math.nextafter(T_C, 0), T_C, math.nextafter(T_C, 3),
                  2.28, 2.4, 3.0, 5.0, 10.0, 100.0, 1e4, 1e6]
    few = [0.1, 1.0, 2.2, T_C, 2.3, 5.0, 1e4]
    none, one, other, both = (0, 0), (0, 1), (1, 0), (1, 1)
    for m, n in [(2, 2), (3, 3), (4, 4), (5, 7), (8, 8), (16, 16)]:
        yield m, n, 1.0, 1.0, none, everywhere
    for m, n in [(32, 32), (16, 48), (64, 64), (3, 40), (2, 30), (30, 2), (1, 6), (6, 1), (1000, 16), (256, 256), (1000, 999), (16, 4096)]:
        yield m, n, 1.0, 1.0, none, few
    yield 4096, 4096, 1.0, 1.0, none, [1.0, T_C, 3.0]
    for jx, jy in [(1.0, 0.5), (0.2, 1.0), (1.0, 0.01), (0.01, 1.0)]:
        for m, n in [(8, 8), (6, 11), (2, 16)]:
            yield m, n, jx, jy, none, [0.1, 0.3, 0.6, 1.0, 1.6, 2.5, 10.0, 1e4]
    for jx, jy in [(-1.0, -1.0), (-1.0, 1.0), (1.0, -0.5)]:
        yield 8, 6, jx, jy, none, few
    for m, n, jx, jy in [(5, 8, -1.0, 1.0), (8, 5, 1.0, -1.0), (5, 5, -1.0, 0.5)]:
        yield m, n, jx, jy, none, [0.2, 0.5, 1.0, 2.0, T_C, 3.0, 100.0]
    for seam in (one, other):
        for m, n in [(8, 8), (16, 16), (5, 12), (64, 64), (300, 200)]:
            yield m, n, 1.0, 1.0, seam, [0.2, 0.5, 1.0, 2.0, T_C, 2.3, 3.0, 100.0]
    yield 8, 8, 1.0, 1.0, both, [2.0, T_C, 3.0, 10.0, 1e4]
    yield 7, 7, -1.0, -1.0, none, [2.0, 3.0, 10.0, 1e4]
    yield 32, 16, 1.0, 1.0, both, [T_C, 3.0, 10.0]


def write_torus():
    with open("torus.csv", "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow("size_x size_y coupling_x coupling_y antiperiodic_x antiperiodic_y temperature "
                     "ln_z free_energy_per_site energy_per_site entropy_per_site specific_heat_per_site".split())
        for m, n, jx, jy, seam, temperatures in torus_cases():
            for t in temperatures:
                # Digits for the step, for what cancels at low temperature, and for the answer.
                lost = (8 * max(abs(jx), abs(jy)) + 2 * (m + n) * max(seam[0], seam[1], jx < 0, jy < 0)) / t / math.log(10)
                mp.mp.dps = 2 * STEP + 80 + int(lost)
                exact = (mp.mpf(jx), mp.mpf(jy))
                values = row(lambda b: ln_z(m, n, *exact, seam, b), m * n, t)
                out.writerow([m, n, jx, jy, *seam, repr(t), *values])
                file.flush()


def infinite_ln_z(jx, jy, beta):
    """ln Z per site of the infinite lattice, jx and jy positive: ln(2 sinh 2K)/2 + (1/2 pi) int_0^pi gamma."""
    K, L = beta * jx, beta * jy
    # gamma = 2 (K* - L) at phi = 0, K* the dual of K; (cosh gamma - 1) / 2 = sinh(gamma/2)^2.
    gap = mp.sinh(L + mp.log(mp.tanh(K)) / 2) ** 2
    slope = mp.sinh(2 * L) / mp.sinh(2 * K)
    points = [0] + [mp.pi / 4**k for k in range(25, -1, -1)]
    integral = mp.quad(lambda phi: 2 * mp.asinh(mp.sqrt(gap + slope * mp.sin(phi / 2) ** 2)), points)
    return mp.log(2 * mp.sinh(2 * K)) / 2 + integral / (2 * mp.pi)


def magnetisation(jx, jy, beta):
    product = mp.sinh(2 * beta * jx) * mp.sinh(2 * beta * jy)
    return (1 - product**-2) ** (mp.mpf(1) / 8) if product > 1 else mp.mpf(0)


def write_infinite():
    global STEP
    STEP = 40
    with open("infinite.csv", "w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow("coupling_x coupling_y temperature ln_z_per_site free_energy_per_site energy_per_site "
                     "entropy_per_site specific_heat_per_site spontaneous_magnetisation".split())
        for jx, jy in [(1.0, 1.0), (1.0, 0.25), (0.01, 1.0)]:
            for t in [0.1, 0.3, 0.7, 1.0, 1.5, 2.0, 2.26, 2.269, 2.27, 2.5, 4.0, 100.0, 1e4]:
                mp.mp.dps = 2 * STEP + 70 + int(8 / t / math.log(10))
                exact = (mp.mpf(jx), mp.mpf(jy))
                values = row(lambda b: infinite_ln_z(*exact, b), 1, t)
                m = mp.nstr(magnetisation(*exact, 1 / mp.mpf(t)), 50, min_fixed=0, max_fixed=0)
                out.writerow([jx, jy, repr(t), *values, m])
                file.flush()


if __name__ == "__main__":
    write_torus()
    write_infinite()
