"""The φ⁴ theory on an 8 × 8 lattice: observables by the flow's weights, by its chains and by cluster Monte Carlo.

The flow learns from the action alone. The effective sample size says how good it is as a sampler.
"""

import maflow

changes = {"target.size": 8, "train.steps": 200, "evaluate.samples": 2000}
flow = maflow.train("phi4-16", set=changes, progress=False)
found = flow.physics(samples=4000)
print(f"effective sample size {found['ess']:.3f}, ln Z {found['log_z_importance']:.3f}")
print("                       weights             chains              clusters")
for name in ("action_per_site", "magnetisation_per_site"):
    ways = ("weighted", "metropolis", "clusters")
    print(f"{name:<22}", *(f"{found[f'{name}_{way}']:.4f} ± {found[f'{name}_{way}_error']:.4f}   " for way in ways))
