"""The Ising model on an 8 × 8 lattice at several temperatures: variational free energies beside the exact curve.

A figure of the flow is an upper bound of the exact one; the effective sample size says how close the flow is.
"""

import maflow

print("   T      flow               exact      gap in nats   ess")
for temperature in (1.8, 2.269, 2.8):
    changes = {"target.temperature": temperature, "train.steps": 200, "evaluate.samples": 2000}
    figures = maflow.train("ising-8", set=changes, progress=False).evaluate()
    exact = maflow.ising_exact.lattice(8, temperature=temperature).continuous_free_energy_per_site
    flow, error = figures["free_energy_per_site"], figures["standard_error"]
    gap = 64 * (flow - exact)
    print(f"{temperature:5.3f}  {flow:.5f} ± {error:.5f}  {exact:.7f}  {gap:11.3f}  {figures['ess']:.3f}")
