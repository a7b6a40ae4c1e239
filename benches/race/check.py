"""Checks the parts of the race that a table wouldn't show to be wrong: python3 benches/race/check.py"""
import itertools
import math

import contest
import densities
import ising
import numpy as np
import torch


def check(what, found, expected, tolerance):
    assert abs(found - expected) <= tolerance, f"{what}: {found}, expected {expected} within {tolerance}"
    print(f"{what}: {found:.5g}, expected {expected:.5g}")


def weights():
    """ln Z of exp(-x²/2σ²) by samples of a standard normal density, and the effective sample size in closed form."""
    x, variance = np.random.default_rng(0).normal(size=100000), 0.8
    found = contest.by_weights(-0.5 * x**2 / variance + 0.5 * x**2 + 0.5 * math.log(2 * math.pi))
    check("ln Z of a normal density", found["log_z"], 0.5 * math.log(2 * math.pi * variance), 4 * found["log_z_error"])
    # E[w]²/E[w²] = σ²√(2/σ² − 1), by Gaussian integrals.
    check("its effective sample size", found["ess"], math.sqrt(variance * (2 - variance)), 0.01)


def matching():
    """ln p of samples by the way to them, and by the way back."""
    for dim in (2, 20):
        model = densities.model_of("flow-matching", dim, 0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
            x, log_p = model.samples(torch.randn(50, dim), steps=32)
            back = model.log_prob(x, steps=32)
        check(f"ln p there and back, {dim} numbers", (log_p - back).abs().max().item(), 0.0, 1e-3)


def lattice():
    """Configurations and ln Z of 4 × 4 sites beside the sum over all of them."""
    target = ising.Ising(4)
    states = np.array(list(itertools.product([-1, 1], repeat=16)), np.int8)
    energy = lambda spins: -(spins[:, target.bonds[:, 0]].astype(float) * spins[:, target.bonds[:, 1]]).sum(1)
    p = np.exp(-energy(states) / target.temperature)
    exact = (p * energy(states)).sum() / p.sum()
    drawn = energy(target.configurations(20000, 20, np.random.default_rng(0)))
    check("mean energy of configurations", drawn.mean(), exact, 4 * drawn.std() / math.sqrt(len(drawn)))

    # q(y) is the mixture over spins: exactly the target, so that all weights are alike.
    root = target.root.double().numpy()
    exponents = 0.5 * ((states @ root) ** 2).sum(1)
    log_sum = exponents.max() + math.log(np.exp(exponents - exponents.max()).sum())
    log_z = 8 * math.log(2 * math.pi) - 16 * math.log(2) + log_sum
    y = target.fields(torch.tensor(states[::4096], dtype=torch.float32), torch.randn(16, 16))
    differences = y.double().numpy()[:, None, :] - (states @ root)[None]
    terms = exponents - 0.5 * (differences**2).sum(2)
    log_q = np.log(np.exp(terms).sum(1)) - log_sum - 8 * math.log(2 * math.pi)
    spread = np.abs(-target.energy(y).numpy() - log_q - log_z).max()
    check("energy beside the density of K^½ s + ξ", spread, 0.0, 1e-3)


def spectrum():
    """The Jacobian of a learned spectrum beside the determinant of its matrix."""
    try:
        import jax
        import phi4
    except ImportError:
        return print("bijx is missing: its spectrum is not checked")
    scaling = phi4.LearnedSpectrum()
    scaling.log_scales[...] = jax.random.normal(jax.random.key(0), scaling.log_scales.shape)
    image = lambda x: scaling.forward(x.reshape(16, 16), 0.0)[0].ravel()
    _, exact = np.linalg.slogdet(np.asarray(jax.jacfwd(image)(jax.numpy.zeros(256)), np.float64))
    _, found = scaling.forward(jax.numpy.zeros((16, 16)), 0.0)
    check("ln det of a learned spectrum", -float(found), exact, 1e-3)


if __name__ == "__main__":
    for part in (weights, matching, lattice, spectrum):
        part()
