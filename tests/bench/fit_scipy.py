#!/usr/bin/env python3
"""Fits of approach 3 by scipy beside `hylas bench fit`, on the same 240 points, in one run, on one thread.

    /usr/bin/python3 tests/bench/fit_scipy.py [--hylas build/hylas] [--replicates 4000] [--starts 450]

Baseline: Huber(1e-3) of ln L residuals through log-sum-exp, summed, minimised by scipy.optimize.minimize as public
replications of Chinchilla's fit do (BFGS or L-BFGS-B, whichever is faster here), but with what makes it fast and right:
numpy arrays, analytic gradient, scaled objective, centred logarithms, tight tolerances. Each bootstrap replicate starts
at the minimum of the whole data, as hylas' do. A replicate counts its minimum as reached where no derivative of 1e6
times its objective (about 1850) exceeds 1e-2. Needs Debian's python3-scipy; hylas does not.
"""
import argparse
import json
import os
import subprocess
import tempfile
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
from scipy.optimize import minimize  # noqa: E402

DELTA, SCALE = 1e-3, 1e6


class Approach3:
    """Sum of weight * Huber(LSE(a - alpha x, b - beta y, e) - ln L), times SCALE; x, y centred ln N, ln D."""

    def __init__(self, n, d, loss):
        self.x0, self.y0 = np.log(n).mean(), np.log(d).mean()
        self.x, self.y, self.t = np.log(n) - self.x0, np.log(d) - self.y0, np.log(loss)
        self.weights = np.ones_like(self.t)

    def centred(self, a, b, e, alpha, beta):
        return np.array([a - alpha * self.x0, b - beta * self.y0, e, alpha, beta])

    def named(self, theta):
        a, b, e, alpha, beta = theta
        return {"E": np.exp(e), "A": np.exp(a + alpha * self.x0), "B": np.exp(b + beta * self.y0), "alpha": alpha,
                "beta": beta}

    def __call__(self, theta):
        a, b, e, alpha, beta = theta
        u, v = a - alpha * self.x, b - beta * self.y
        m = np.maximum(np.maximum(u, v), e)
        eu, ev, ee = np.exp(u - m), np.exp(v - m), np.exp(e - m)
        s = eu + ev + ee
        r = m + np.log(s) - self.t
        clipped = np.clip(r, -DELTA, DELTA)
        value = np.dot(self.weights, clipped * (r - 0.5 * clipped))
        g = self.weights * clipped / s
        gu, gv = g * eu, g * ev
        gradient = np.array([gu.sum(), gv.sum(), (g * ee).sum(), -np.dot(gu, self.x), -np.dot(gv, self.y)])
        return SCALE * value, SCALE * gradient


METHODS = {
    "BFGS": {"gtol": 1e-4, "maxiter": 2000},
    "L-BFGS-B": {"ftol": 1e-15, "gtol": 1e-4, "maxiter": 5000, "maxfun": 20000},
}


def solve(objective, start, method):
    return minimize(objective, start, jac=True, method=method, options=METHODS[method])


def reached(result):
    return np.max(np.abs(result.jac)) < 1e-2


def timed(body):
    wall, cpu = time.perf_counter(), time.process_time()
    value = body()
    return value, time.perf_counter() - wall, time.process_time() - cpu


def published_grid():
    return [(a, b, e, alpha, beta) for alpha in (0, .5, 1, 1.5, 2) for beta in (0, .5, 1, 1.5, 2)
            for e in (-1, -.5, 0, .5, 1) for a in (0, 5, 10, 15, 20, 25) for b in (0, 5, 10, 15, 20, 25)]


def bootstrap(objective, best, method, replicates, seed=1):
    rng = np.random.default_rng(seed)
    rows, draws, good = len(objective.t), [], 0
    for _ in range(replicates):
        objective.weights = np.bincount(rng.integers(0, rows, rows), minlength=rows).astype(float)
        result = solve(objective, best.x, method)
        good += reached(result)
        draws.append(result.x)
    objective.weights = np.ones(rows)
    return np.array(draws), good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hylas", default="build/hylas")
    parser.add_argument("--replicates", type=int, default=4000)
    parser.add_argument("--starts", type=int, default=450)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        points = os.path.join(folder, "points.csv")
        hylas = json.loads(subprocess.run([options.hylas, "bench", "fit", "--dump", points, "--json"], check=True,
                                          capture_output=True, text=True).stdout)
        n, d, loss = np.loadtxt(points, delimiter=",", skiprows=1, unpack=True)
    objective = Approach3(n, d, loss)
    grid = [objective.centred(*start) for start in published_grid()]
    step = max(1, len(grid) // options.starts)
    sample = grid[::step]

    fits = {}
    for method in METHODS:
        solutions, wall, cpu = timed(lambda: [solve(objective, start, method) for start in sample])
        best = min(solutions, key=lambda r: r.fun)
        least = min(best.fun, SCALE * hylas["fit"]["objective"])
        agreeing = sum(r.fun - least < 1e-6 * least for r in solutions)
        fits[method] = (best, wall, cpu, agreeing)
    for method, (best, wall, cpu, agreeing) in fits.items():
        print(f"scipy {method}: {len(sample)} of the {len(grid)} published starts {wall:.2f} s (CPU {cpu:.2f}), "
              f"{agreeing} at the minimum; all {len(grid)} would take {wall * len(grid) / len(sample):.0f} s")
    best = min((f[0] for f in fits.values()), key=lambda r: r.fun)
    print(f"objective: hylas {hylas['fit']['objective']:.12g}, scipy {best.fun / SCALE:.12g} "
          f"(scaled gradient {np.max(np.abs(best.jac)):.1e})")
    named = objective.named(best.x)
    for name, value in hylas["fit"]["parameters"].items():
        print(f"  {name:<6} hylas {value['estimate']:<14.8g} scipy {named[name]:.8g}")

    rows = []
    for method in METHODS:
        (draws, good), wall, cpu = timed(lambda: bootstrap(objective, best, method, options.replicates))
        rows.append((method, draws, good, wall, cpu))
        print(f"scipy {method}: {options.replicates} bootstraps {wall:.2f} s (CPU {cpu:.2f}), {good} at a minimum; "
              f"{hylas['replicates']} would take {wall * hylas['replicates'] / options.replicates:.1f} s")
    method, draws, good, wall, cpu = min(rows, key=lambda r: r[3])
    low, high = np.quantile([objective.named(t)["beta"] for t in draws], [0.05, 0.95])
    ci = hylas["bootstrap"]["parameters"]["beta"]["ci90"]
    print(f"90% interval of beta: hylas [{ci[0]:.5f}, {ci[1]:.5f}], scipy {method} [{low:.5f}, {high:.5f}]")

    scale = hylas["replicates"] / options.replicates
    fit = min(f[1] for f in fits.values()) / len(sample)
    print(f"\n{'':<34}{'hylas':>10}{'scipy':>10}{'ratio':>8}   (wall time, seconds)")
    for what, ours, theirs in (
            ("one fit, all starts / one start", hylas["fit"]["milliseconds"] / 1e3, fit),
            (f"{hylas['replicates']} bootstraps", hylas["bootstrap"]["seconds"], wall * scale),
            (f"{len(grid)} starts", hylas["grid"]["seconds"], min(f[1] for f in fits.values()) * len(grid) / len(sample))):
        print(f"{what:<34}{ours:>10.3f}{theirs:>10.3f}{theirs / ours:>8.1f}")
    print(f"CPU time of {hylas['replicates']} bootstraps: hylas {hylas['bootstrap']['cpu_seconds']:.3f} s, scipy "
          f"{cpu * scale:.1f} s, ratio {cpu * scale / hylas['bootstrap']['cpu_seconds']:.1f} (asked: 25)")


if __name__ == "__main__":
    main()
