"""A density for one's own table: fit, figures beside two yardsticks, unusual rows, samples.

    python own_table.py [FILE.csv]      columns of numbers with a line of names
"""

import sys

import numpy as np

import maflow

if len(sys.argv) > 1:
    x = np.loadtxt(sys.argv[1], delimiter=",", skiprows=1, ndmin=2)
else:
    # Body heights in cm and masses in kg of two groups, made up.
    z = np.random.default_rng(0).normal(size=(4000, 2))
    height = np.where(np.arange(4000) % 2 == 0, 164.0, 178.0) + 6.5 * z[:, 0]
    x = np.stack([height, 24.0 * (height / 100) ** 2 * np.exp(0.14 * z[:, 1])], axis=1)

flow = maflow.Flow.fit(x, minutes=0.5)
figures = flow.evaluate()
print(f"{figures['nll_nats']:.3f} ± {figures['standard_error']:.3f} nats per test row")
print(f"a Gaussian {figures['gaussian_nll_nats']:.3f}, independent columns {figures['independent_nll_nats']:.3f}")

ln_p = flow.log_prob(x)
print("the three least likely rows:", x[np.argsort(ln_p)[:3]].round(1).tolist())
print("three samples:", flow.sample(3).round(1).tolist())
print("saved in", flow.save("table-flow"))
