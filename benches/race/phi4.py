"""A rival on the lattice field theory φ⁴: the continuous flow of symmetric convolutions that bijx has for it, by the
reverse divergence."""
import math

import bijx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from bijx.lattice.scalar import phi4_term_alt
from contest import Figure, by_weights
from flax import nnx

RECIPE = "phi4-16"
SIZE, KAPPA, LAMBDA = 16, 0.25, 0.022
KERNEL, STEPS, BATCH = 5, 10, 64
RATES = [1e-3, 5e-3, 1e-2]


def action(fields):
    return jax.vmap(lambda field: phi4_term_alt(field, KAPPA, LAMBDA).sum())(fields)


class LearnedSpectrum(bijx.SpectrumScaling):
    """Modes scaled by a learned function of the squared momentum: one number for every mode would be no scaling of real
    fields."""

    def __init__(self):
        momenta = bijx.fourier.fft_momenta((SIZE, SIZE), lattice=True)
        squares = np.sum(np.asarray(momenta, np.float64) ** 2, axis=-1)
        super().__init__(jnp.ones(squares.shape, jnp.float32))
        levels, of_mode = np.unique(np.round(squares, 4), return_inverse=True)
        # At first a free theory of mass 1.
        self.log_scales = nnx.Param(jnp.asarray(-0.5 * np.log(2 * KAPPA * (1 + levels)), jnp.float32))
        self.of_mode = bijx.Const(jnp.asarray(of_mode.reshape(squares.shape)))

    @property
    def scaling(self):
        return jnp.exp(self.log_scales.get_value()[self.of_mode.get_value()])


def density(seed, spectrum):
    """The library's flow from white noise, or from a free theory whose spectrum is learned too."""
    rngs = nnx.Rngs(params=seed, sample=seed)
    flow = bijx.ContFlowRK4(bijx.ConvVF.build((KERNEL, KERNEL), (), rngs=rngs), steps=STEPS)
    if spectrum:
        flow = bijx.Chain(LearnedSpectrum(), flow)
    return bijx.Transformed(bijx.IndependentNormal((SIZE, SIZE), rngs=rngs), flow)


class Convolutional:
    """A flow of bijx with Adam. Its functions are compiled when it is made."""

    def __init__(self, spectrum, options, rate):
        model = density(options.seed, spectrum)
        self.graph, self.weights, self.rest = nnx.split(model, nnx.Param, ...)
        self.validations, self.tests = (64, 64) if options.quick else (512, 4096)
        optimiser = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(rate))
        self.optimiser, self.key = optimiser.init(self.weights), jax.random.key(options.seed)

        def samples(weights, key, steps):
            model = nnx.merge(self.graph, weights, self.rest)
            noise, log_p = model.prior.sample((BATCH,), rng=key)
            x, log_p = model.bijection.forward(noise, log_p, **({} if steps == STEPS else {"steps": steps}))
            return -action(x) - log_p

        def step(weights, state, key):
            gradient = jax.grad(lambda weights: -samples(weights, key, STEPS).mean())(weights)
            updates, state = optimiser.update(gradient, state, weights)
            return optax.apply_updates(weights, updates), state

        self.samples = jax.jit(samples, static_argnums=2)
        self.update = jax.jit(step).lower(self.weights, self.optimiser, self.key).compile()

    def step(self):
        self.key, key = jax.random.split(self.key)
        self.weights, self.optimiser = jax.block_until_ready(self.update(self.weights, self.optimiser, key))

    def log_weights(self, seed, count, steps=STEPS):
        keys = jax.random.split(jax.random.key(seed), math.ceil(count / BATCH))
        return np.concatenate([np.asarray(self.samples(self.weights, key, steps), np.float64) for key in keys])

    def validate(self):
        return -self.log_weights(1001, self.validations).mean()

    def test(self):
        found = self.log_weights(1002, self.tests)
        finer = self.log_weights(1001, self.validations, 2 * STEPS)
        integration_error = abs(finer.mean() - self.log_weights(1001, self.validations).mean())
        return Figure(-found.mean(), found.std() / math.sqrt(len(found)), integration_error, **by_weights(found))

    def state(self):
        return self.weights

    def load(self, state):
        self.weights = state

    def parameters(self):
        return sum(leaf.size for leaf in jax.tree.leaves(self.weights))


def makers(options):
    """What makes each rival at a learning rate."""
    return {
        name: (lambda rate, spectrum=spectrum: Convolutional(spectrum, options, rate))
        for name, spectrum in [("bijx", False), ("bijx, learned spectrum", True)]
    }
