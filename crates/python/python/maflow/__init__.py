"""Monge-Ampère flows: densities carried by the gradient of a learnable potential.

Fit a density to a table of numbers, or to an energy; then ask it for exact log-likelihoods, samples and figures, each
with its error::

    flow = maflow.Flow.fit(x)                       # x of shape (rows, columns)
    flow.log_prob(x), flow.sample(1000)
    flow = maflow.Flow.fit_energy(energy, dim=66)   # points (rows, 66) -> energies (rows,), gradients (rows, 66)

Numbers are computed on the processor, by all cores, or with ``backend="tch-cuda"`` on a graphics card: see
:func:`setup_torch`. The program `maflow` comes with this package: it reads the runs that :meth:`Flow.save` writes.
"""

from maflow import energy, ising_exact
from maflow._flow import Flow, recipes, train
from maflow._native import __version__
from maflow._torch import setup_torch

__all__ = ["Flow", "__version__", "energy", "ising_exact", "recipes", "setup_torch", "train"]
