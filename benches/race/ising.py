"""Rivals on the critical 16 × 16 Ising model in its continuous dual variables: flows of zuko by the reverse divergence,
and a plain network by flow matching to configurations of Swendsen and Wang."""
import math

import numpy as np
import torch
import zuko
from contest import Figure, TorchRival, by_weights
from densities import FlowMatching, model_of
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

RIVALS = ["zuko-maf", "zuko-nsf", "flow-matching"]
RECIPE = "ising-16"
SIZE = 16
# The exact free energy per site, which `maflow evaluate` prints too.
EXACT = -2.315920858818682


class Ising:
    """E(y) = ½|y|² − Σ ln cosh x with x = K^½ y, for K = A/T + αI whose smallest eigenvalue is 0.1: the recipe's target
    in its whitened coordinates."""

    def __init__(self, size=SIZE):
        self.temperature = 2 / math.log(1 + math.sqrt(2))
        sites = np.arange(size * size).reshape(size, size)
        right, down = np.roll(sites, -1, 1), np.roll(sites, -1, 0)
        self.bonds = np.concatenate([np.stack([sites, to], -1).reshape(-1, 2) for to in (right, down)])
        adjacency = np.zeros((sites.size, sites.size))
        for ends in (self.bonds, self.bonds[:, ::-1]):
            np.add.at(adjacency, tuple(ends.T), 1.0)
        values, vectors = np.linalg.eigh(adjacency / self.temperature)
        values += 0.1 - values.min()
        self.root = torch.tensor((vectors * np.sqrt(values)) @ vectors.T, dtype=torch.float32)
        # ln Z of the density of x is that of y and ln det K^½.
        self.log_determinant = 0.5 * np.log(values).sum()

    def energy(self, y):
        x = y @ self.root
        # ln cosh x without overflow.
        log_cosh = x.abs() + torch.nn.functional.softplus(-2 * x.abs()) - math.log(2)
        return 0.5 * (y**2).sum(1) - log_cosh.sum(1)

    def configurations(self, count, sweeps, generator):
        """Spins of as many independent chains, each after so many updates of all its clusters."""
        sites, bonds = len(self.root), self.bonds
        spins = generator.integers(0, 2, (count, sites)).astype(np.int8) * 2 - 1
        offset = np.arange(count)[:, None] * sites
        open_at = 1 - math.exp(-2 / self.temperature)
        for _ in range(sweeps):
            equal = spins[:, bonds[:, 0]] == spins[:, bonds[:, 1]]
            open_bonds = equal & (generator.random(equal.shape) < open_at)
            ends = [(bonds[:, end] + offset)[open_bonds] for end in (0, 1)]
            graph = coo_matrix((np.ones(len(ends[0]), np.int8), ends), shape=(count * sites,) * 2)
            clusters, of_site = connected_components(graph, directed=False)
            flips = generator.integers(0, 2, clusters).astype(np.int8) * 2 - 1
            spins = spins * flips[of_site].reshape(count, sites)
        return spins

    def fields(self, spins, noise):
        """The y whose density given spins is normal: K^½ s + ξ."""
        return spins @ self.root + noise


class EnergyRival(TorchRival):
    """A model that draws samples with their ln p, judged by its divergence from the target."""

    def __init__(self, model, target, options, rate):
        super().__init__(model, rate)
        self.target, self.validations = target, 50 if options.quick else self.few
        self.log_z = -SIZE * SIZE * EXACT - target.log_determinant
        self.tests = 100 if options.quick else self.many

    def log_weights(self, seed, count, **how):
        torch.manual_seed(seed)
        with torch.no_grad():
            parts = []
            for start in range(0, count, 500):
                y, log_p = self.samples(min(500, count - start), **how)
                parts.append(-self.target.energy(y).double() - log_p.double())
        return torch.cat(parts).numpy()

    def validate(self):
        training = torch.get_rng_state()
        found = self.log_z - self.log_weights(1, self.validations).mean()
        torch.set_rng_state(training)
        return found

    def test(self):
        found = self.log_weights(2, self.tests)
        losses, weights = self.log_z - found, by_weights(found)
        # As maflow prints it.
        weights["log_z"] += self.target.log_determinant
        return Figure(losses.mean(), losses.std() / math.sqrt(len(losses)), self.integration_error(), **weights)

    def integration_error(self):
        return 0.0


class ReverseDivergence(EnergyRival):
    """A flow of zuko in the direction in which it samples at once, as its tutorial on energies has it."""

    few, many, batch = 500, 4000, 256

    def __init__(self, name, target, options, rate):
        forward = model_of(name, SIZE * SIZE, options.seed).flow
        super().__init__(zuko.flows.Flow(forward.transform.inv, forward.base), target, options, rate)

    def samples(self, count):
        return self.model().rsample_and_log_prob((count,))

    def loss(self):
        y, log_p = self.samples(self.batch)
        return (log_p + self.target.energy(y)).mean()


class Matching(EnergyRival):
    """Flow matching to configurations of the spins, with fresh noise. The divergence of the velocity is estimated by one
    probe, whose noise the effective sample size suffers from and the mean does not."""

    few, many, batch = 200, 1000, 256

    def __init__(self, spins, target, options, rate):
        super().__init__(model_of("flow-matching", SIZE * SIZE, options.seed), target, options, rate)
        self.spins, self.generator = spins, np.random.default_rng(2)

    def loss(self):
        spins = self.spins[self.generator.integers(0, len(self.spins), self.batch)].reshape(-1, SIZE, SIZE)
        # Moved and turned over, so that few configurations are many.
        spins = np.roll(spins, self.generator.integers(0, SIZE, 2), (1, 2)).reshape(self.batch, -1)
        spins = torch.tensor(spins * self.generator.choice([-1, 1], (self.batch, 1)), dtype=torch.float32)
        return self.model.loss(self.target.fields(spins, torch.randn_like(spins)))

    def samples(self, count, **how):
        return self.model.samples(torch.randn(count, SIZE * SIZE), **how)

    def integration_error(self):
        coarse, fine = [self.log_weights(2, self.validations, steps=steps).mean() for steps in (16, 32)]
        return abs(coarse - fine)


def makers(options):
    """What makes each rival at a learning rate."""
    target = Ising()
    generator = np.random.default_rng(options.seed)
    count, sweeps = (200, 5) if options.quick else (8192, 60)
    spins = []

    def matching(rate):
        if not spins:
            spins.append(target.configurations(count, sweeps, generator))
        return Matching(spins[0], target, options, rate)

    flows = {name: (lambda rate, name=name: ReverseDivergence(name, target, options, rate)) for name in RIVALS[:2]}
    return {**flows, "flow-matching": matching}
