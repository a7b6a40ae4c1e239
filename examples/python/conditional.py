"""A conditional density: an outcome given a dose and an arm of a trial, with quantiles for new patients."""

import numpy as np

import maflow

rng = np.random.default_rng(0)
dose, arm = rng.uniform(0.0, 10.0, 4000), rng.integers(0, 2, 4000)
# The outcome rises with the dose in one arm alone, and scatters more there.
outcome = 20.0 + arm * (1.5 * dose + rng.normal(size=4000) * dose / 2) + rng.normal(size=4000)

flow = maflow.Flow.fit(outcome.reshape(-1, 1), given=np.stack([dose, arm], axis=1), minutes=1)
print(flow)
print("nll", flow.evaluate()["nll_nats"])
for patient in ([2.0, 0], [2.0, 1], [9.0, 1]):
    outcomes = flow.sample(4000, given=[patient])
    low, middle, high = np.quantile(outcomes, [0.1, 0.5, 0.9])
    print(f"dose {patient[0]}, arm {patient[1]}: median {middle:.1f}, 80 % between {low:.1f} and {high:.1f}")
