#!/usr/bin/env python3
"""A training step, the likelihood or the samples of one model in JAX, compiled whole, written as a careful user
would."""
import math
import os
import sys

import sizes

# Read by JAX when it is loaded.
if "--check" in sys.argv:
    os.environ["JAX_ENABLE_X64"] = "1"

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, silu, softplus


class Keys:
    """Random numbers, one key after the other."""

    def __init__(self, seed):
        self.key = jax.random.PRNGKey(seed)

    def __call__(self):
        self.key, one = jax.random.split(self.key)
        return one

    def uniform(self, shape, fan_in):
        return jax.random.uniform(self(), shape, minval=-1, maxval=1) / math.sqrt(fan_in)


def timed(first, terms):
    """Coefficients of functions of time, of which the first is constant."""
    return jnp.concatenate([first[None], jnp.zeros((terms - 1, *first.shape), first.dtype)])


def at(size, t, coefficients):
    """Coefficients at the time of every row, or at one time for all."""
    functions = jnp.cos(math.pi * jnp.arange(len(coefficients)) * t[:, None] / size["duration"])
    return jnp.tensordot(functions.astype(coefficients.dtype), coefficients, 1)


def log_cosh(a):
    return softplus(2 * a) - a - math.log(2)


class Ridge:
    """φ = Σ v f(Wx + b), for the Ising model with a symmetry of the lattice that is drawn for every row."""

    probes = False

    def __init__(self, size, keys):
        self.size, self.ising = size, "side" in size
        dim, hidden = size["dim"], size["hidden"]
        self.parameters = dict(weight=keys.uniform((hidden, dim), dim), out=keys.uniform((hidden,), hidden))
        if not self.ising:
            self.parameters["bias"] = keys.uniform((hidden,), dim)

    def symmetry(self, rows, key):
        side, (k1, k2, k3) = self.size["side"], jax.random.split(key, 3)
        steps = jnp.arange(side)
        down, right = ((steps + jax.random.randint(k, (rows, 1), 0, side)) % side for k in (k1, k2))
        sites = side * down[:, :, None] + right[:, None, :]
        turned = jax.random.bernoulli(k3, shape=(rows, 1, 1))
        sites = jnp.where(turned, sites.transpose(0, 2, 1), sites).reshape(rows, -1)
        return sites, jnp.argsort(sites, 1)

    def potential(self, p, x, t):
        a = x @ p["weight"].T + p.get("bias", 0)
        return ((log_cosh(a) if self.ising else softplus(a)) * p["out"]).sum(1)

    def field(self, p, x, t, key, probe, laplacian=True):
        if self.ising:
            there, back = self.symmetry(len(x), key)
            x = jnp.take_along_axis(x, there, 1)
        a = x @ p["weight"].T + p.get("bias", 0)
        slope = jnp.tanh(a) if self.ising else sigmoid(a)
        velocity = (slope * p["out"]) @ p["weight"]
        if self.ising:
            velocity = jnp.take_along_axis(velocity, back, 1)
        if not laplacian:
            return velocity, None
        curvature = 1 - slope * slope if self.ising else slope * (1 - slope)
        return velocity, curvature @ (p["out"] * (p["weight"] ** 2).sum(1))


class Lattice:
    """φ = ½ xᵀC(t)x + Σ v(t) Σ ln cosh(g(t) (w ⋆ x)), C circulant, by Fourier transforms; kernels fall off with
    distance."""

    probes = False

    def __init__(self, size, keys):
        self.size = size
        side, kernels, terms = size["side"], size["kernels"], size["terms"]
        around = jnp.minimum(jnp.arange(side), side - jnp.arange(side))
        envelope = (1.0 + jnp.hypot(around[:, None], around[None, :])) ** -2
        self.envelope = envelope / jnp.sqrt((envelope**2).mean())
        # Wave numbers that stand for two in the transform of real numbers.
        self.twice = jnp.full(side // 2 + 1, 2.0).at[0].set(1).at[-1].set(1)
        self.parameters = dict(
            weight=keys.uniform((kernels, side, side), side * side),
            amplitude=timed(keys.uniform((kernels,), kernels * side * side), terms),
            gain=timed(jnp.ones(kernels), terms),
            eigenvalue=jnp.zeros((terms, side, side // 2 + 1)),
        )

    def enter(self, p, x, t):
        side = self.size["side"]
        waves = jnp.fft.rfft2(self.envelope * p["weight"])
        seen = jnp.fft.rfft2(x.reshape(-1, side, side))
        amplitude, gain = (at(self.size, t, p[name])[:, :, None, None] for name in ("amplitude", "gain"))
        argument = gain * jnp.fft.irfft2(waves.conj() * seen[:, None], s=(side, side))
        return waves, seen, amplitude, gain, argument, at(self.size, t, p["eigenvalue"])

    def potential(self, p, x, t):
        side = self.size["side"]
        _, seen, amplitude, _, u, eigenvalue = self.enter(p, x, t)
        quadratic = 0.5 * (x.reshape(-1, side, side) * jnp.fft.irfft2(eigenvalue * seen, s=(side, side))).sum((1, 2))
        return quadratic + (amplitude * log_cosh(u)).sum((1, 2, 3))

    def field(self, p, x, t, key, probe, laplacian=True):
        side = self.size["side"]
        waves, seen, amplitude, gain, argument, eigenvalue = self.enter(p, x, t)
        slope = jnp.tanh(argument)
        moved = (waves * jnp.fft.rfft2(amplitude * gain * slope)).sum(1)
        velocity = jnp.fft.irfft2(eigenvalue * seen + moved, s=(side, side)).reshape(len(x), -1)
        if not laplacian:
            return velocity, None
        norms = ((self.envelope * p["weight"]) ** 2).sum((1, 2))[:, None, None]
        curvature = (amplitude * gain**2 * norms * (1 - slope * slope)).sum((1, 2, 3))
        return velocity, curvature + (self.twice * eigenvalue).sum((1, 2))


class Digits:
    """Quadratic and separable terms; subclasses add a network."""

    probes = True

    def __init__(self, size, keys):
        self.size = size
        dim, terms = size["dim"], size["terms"]
        self.centres = jnp.linspace(sizes.FIRST, sizes.LAST, sizes.CENTRES)
        zeros = lambda *shape: jnp.zeros((terms, *shape))
        self.parameters = dict(quadratic=zeros(dim), linear=zeros(dim), separable=zeros(dim, sizes.CENTRES))

    def potential(self, p, x, t):
        q, l, alpha = (at(self.size, t, p[name]) for name in ("quadratic", "linear", "separable"))
        bumps = softplus(sizes.GAIN * (x[:, :, None] - self.centres))
        return (0.5 * q * x * x + l * x).sum(1) + (alpha * bumps).sum((1, 2)) + self.network_potential(p, x, t)

    def field(self, p, x, t, key, probe, laplacian=True):
        q, l, alpha = (at(self.size, t, p[name]) for name in ("quadratic", "linear", "separable"))
        slope = sigmoid(sizes.GAIN * (x[:, :, None] - self.centres))
        velocity, trace = self.network_field(p, x, t, probe, laplacian)
        velocity = velocity + q * x + l + sizes.GAIN * (alpha * slope).sum(2)
        if not laplacian:
            return velocity, None
        curvature = q + sizes.GAIN**2 * (alpha * slope * (1 - slope)).sum(2)
        return velocity, trace + (probe * curvature * probe).sum(1)


class TwoLayer(Digits):
    """With φ = Σ v f(W₂ f(g ⊙ W₁x + b₁) + b₂)."""

    def __init__(self, size, keys):
        super().__init__(size, keys)
        (h1, h2), dim, terms = size["hidden"], size["dim"], size["terms"]
        self.parameters |= dict(
            weight1=keys.uniform((h1, dim), dim),
            weight2=keys.uniform((h2, h1), h1),
            bias1=timed(keys.uniform((h1,), dim), terms),
            bias2=timed(keys.uniform((h2,), h1), terms),
            gain=timed(jnp.ones(h1), terms),
            out=timed(keys.uniform((h2,), h2), terms),
        )

    def layers(self, p, x, t):
        bias1, bias2, gain, out = (at(self.size, t, p[name]) for name in ("bias1", "bias2", "gain", "out"))
        first = gain * (x @ p["weight1"].T) + bias1
        return first, softplus(first) @ p["weight2"].T + bias2, gain, out

    def network_potential(self, p, x, t):
        _, second, _, out = self.layers(p, x, t)
        return (out * softplus(second)).sum(1)

    def network_field(self, p, x, t, probe, laplacian):
        first, second, gain, out = self.layers(p, x, t)
        slope1, slope2 = sigmoid(first), sigmoid(second)
        back = (out * slope2) @ p["weight2"]
        velocity = (gain * slope1 * back) @ p["weight1"]
        if not laplacian:
            return velocity, None
        seen = probe @ p["weight1"].T
        along = gain * seen
        along2 = (slope1 * along) @ p["weight2"].T
        bent = (out * slope2 * (1 - slope2) * along2) @ p["weight2"]
        return velocity, (gain * (slope1 * (1 - slope1) * along * back + slope1 * bent) * seen).sum(1)


def down(x, weight, stride):
    return jax.lax.conv_general_dilated(x, weight, (stride, stride), [(1, 1), (1, 1)])


def up(x, weight, stride):
    """The transpose of `down` by linearity."""
    side = stride * x.shape[2]
    below = jax.ShapeDtypeStruct((len(x), weight.shape[1], side, side), x.dtype)
    return jax.linear_transpose(lambda y: down(y, weight, stride), below)(x)[0]


class Convolutional(Digits):
    """With φ = ⟨x, U(x)⟩ of a U-shaped network; its gradient and the product with a probe are differentiated
    automatically."""

    def __init__(self, size, keys):
        super().__init__(size, keys)
        (c1, c2), hidden, terms = size["channels"], size["hidden"], size["terms"]
        wide = 49 * c2
        weight = lambda fan_in, *shape: math.sqrt(6) * keys.uniform(shape, fan_in)
        one, zero = (lambda n: timed(jnp.ones(n), terms)), (lambda n: jnp.zeros((terms, n)))
        self.parameters |= dict(
            down1=weight(16, c1, 1, 4, 4), gain1=one(c1), offset1=zero(c1),
            down2=weight(16 * c1, c2, c1, 4, 4), gain2=one(c2), offset2=zero(c2),
            dense1=weight(wide, hidden, wide), offset3=zero(hidden),
            dense2=weight(hidden, wide, hidden), gain3=one(hidden),
            middle=weight(9 * c2, c2, c2, 3, 3), gain4=one(c2), offset4=zero(c2),
            up2=weight(4 * c2, c2, c1, 4, 4), gain5=one(c2),
            skip=weight(9 * c1, c1, c1, 3, 3), gain6=one(c1), offset6=zero(c1),
            up1=weight(4 * c1, c1, 1, 4, 4), gain7=one(c1),
        )

    def network_potential(self, p, x, t):
        pixels = lambda name: at(self.size, t, p[name])[:, :, None, None]
        pictures = x.reshape(-1, 1, 28, 28)
        first = silu(down(pictures, p["down1"], 2) * pixels("gain1") + pixels("offset1"))
        second = silu(down(first, p["down2"], 2) * pixels("gain2") + pixels("offset2"))
        dense = silu(second.reshape(len(x), -1) @ p["dense1"].T + at(self.size, t, p["offset3"]))
        seen = ((dense * at(self.size, t, p["gain3"])) @ p["dense2"].T).reshape(second.shape)
        third = silu(down(second, p["middle"], 1) * pixels("gain4") + seen + pixels("offset4"))
        skipped = down(first, p["skip"], 1) * pixels("gain6") + pixels("offset6")
        fourth = silu(up(third * pixels("gain5"), p["up2"], 2) + skipped)
        u = up(fourth * pixels("gain7"), p["up1"], 2)
        return (pictures * u).sum((1, 2, 3))

    def network_field(self, p, x, t, probe, laplacian):
        velocity = jax.grad(lambda x: self.network_potential(p, x, t).sum())
        if not laplacian:
            return velocity(x), None
        value, product = jax.jvp(velocity, (x,), (probe,))
        return value, (product * probe).sum(1)


KINDS = {"mnist": Ridge, "ising": Ridge, "ising-32": Lattice, "mnist-fast": TwoLayer, "mnist-conv": Convolutional}


def integrate(model, p, x, key, forward, laplacian=True):
    """By the classical Runge-Kutta method; with the change of ln p, by one probe per row where the model has them."""
    size = model.size
    h = (1 if forward else -1) * size["duration"] / size["steps"]
    key, first = jax.random.split(key)
    probe = jax.random.rademacher(first, x.shape, x.dtype) if model.probes and laplacian else None

    def step(state, key):
        x, change, time = state
        slopes, traces = [], []
        for part, key in zip((0, 0.5, 0.5, 1), jax.random.split(key, 4)):
            start = x + part * h * slopes[-1] if part else x
            velocity, trace = model.field(p, start, time + part * h, key, probe, laplacian)
            slopes.append(velocity)
            traces.append(trace)
        x = x + h / 6 * (slopes[0] + 2 * slopes[1] + 2 * slopes[2] + slopes[3])
        if laplacian:
            change = change - h / 6 * (traces[0] + 2 * traces[1] + 2 * traces[2] + traces[3])
        return (x, change, time + h), None

    start = (x, jnp.zeros(len(x)), jnp.full(1, 0.0 if forward else size["duration"]))
    (x, change, _), _ = jax.lax.scan(step, start, jax.random.split(key, size["steps"]))
    return x, change


def gaussian(x):
    return -0.5 * (x * x).sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def integrated_loss(model, p, x, key):
    if model.size["loss"] == "free energy":
        y, change = integrate(model, p, x, key, True)
        return (gaussian(x) + change + 0.5 * (y * y).sum(1) - log_cosh(y).sum(1)).mean()
    z, change = integrate(model, p, x, key, False)
    return (change - gaussian(z)).mean()


def matching_loss(model, p, x, key):
    """The mean square of the velocity's error on straight ways from the base; a few times in every batch,
    stratified."""
    rows, times, focus = len(x), model.size["times"], sizes.FOCUS
    k1, k2 = jax.random.split(key)
    u = (jnp.arange(times) + jax.random.uniform(k1, (times,))) / times
    tau = jnp.repeat(1 + focus - (1 + focus) * (focus / (1 + focus)) ** u, rows // times)
    base = jax.random.normal(k2, x.shape)
    there = tau[:, None] * x + (1 - tau[:, None]) * base
    velocity, _ = model.field(p, there, tau * model.size["duration"], None, None, False)
    return ((velocity - (x - base) / model.size["duration"]) ** 2).sum(1).mean()


def adam(p, m, v, t, g):
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    moved = lambda p, m, v: p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return jax.tree.map(moved, p, m, v), m, v


def check(name):
    """The field beside derivatives of the potential, of two rows at parameters away from their first values."""
    keys = Keys(0)
    model = KINDS[name](sizes.MODELS[name], keys)
    p = {key: value + 0.01 * jax.random.normal(keys(), value.shape) for key, value in model.parameters.items()}
    if name == "ising":
        model.symmetry = lambda rows, key: (jnp.tile(jnp.arange(256), (rows, 1)),) * 2
    x, t = jax.random.normal(keys(), (2, model.size["dim"])), jnp.full(1, 0.3)
    probe = jax.random.rademacher(keys(), x.shape, x.dtype)
    velocity, laplacian = model.field(p, x, t, keys(), probe)
    gradient = jax.grad(lambda x: model.potential(p, x, t).sum())
    if model.probes:
        trace = (jax.jvp(gradient, (x,), (probe,))[1] * probe).sum(1)
    else:
        along = lambda unit: jax.jvp(gradient, (x,), (jnp.broadcast_to(unit, x.shape),))[1] @ unit
        trace = jax.lax.map(along, jnp.eye(x.shape[1])).sum(0)
    far = lambda a, b: float(abs(a - b).max() / abs(b).max())
    sizes.checked(name, dict(gradient=far(velocity, gradient(x)), laplacian=far(laplacian, trace)))


def main():
    options = sizes.arguments(__doc__)
    if options.check:
        return check(options.model)
    size, keys = sizes.MODELS[options.model], Keys(0)
    model = KINDS[options.model](size, keys)
    loss = matching_loss if size["loss"] == "matching" else integrated_loss
    x = jax.random.normal(keys(), (size["batch"], size["dim"]))
    state = dict(p=model.parameters, m=jax.tree.map(jnp.zeros_like, model.parameters), t=0)
    state["v"] = state["m"]

    @jax.jit
    def step(p, m, v, t, x, key):
        value, g = jax.value_and_grad(lambda p: loss(model, p, x, key))(p)
        return *adam(p, m, v, t, g), value

    likelihood = jax.jit(lambda p, x, key: integrated_loss(model, p, x, key))
    samples = jax.jit(lambda p, x, key: integrate(model, p, x, key, True, laplacian=False)[0])

    def ask():
        if options.question == "training-step":
            state["t"] += 1
            done = step(state["p"], state["m"], state["v"], float(state["t"]), x, keys())
            state["p"], state["m"], state["v"] = done[:3]
        else:
            done = (likelihood if options.question == "likelihood" else samples)(model.parameters, x, keys())
        jax.block_until_ready(done)

    sizes.measure(f"jax {jax.default_backend()}", options, ask)


if __name__ == "__main__":
    main()
