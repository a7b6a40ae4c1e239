#!/usr/bin/env python3
"""A training step, the likelihood or the samples of one model in PyTorch, written as a careful user would."""
import math

import torch
from torch.nn import functional

import sizes

TAU = 2 * math.pi


def uniform(shape, fan_in, **where):
    return (2 * torch.rand(shape, **where) - 1) / math.sqrt(fan_in)


def timed(first, terms):
    """Coefficients of functions of time, of which the first is constant."""
    return torch.cat([first[None], torch.zeros(terms - 1, *first.shape, dtype=first.dtype, device=first.device)])


class Ridge:
    """φ = Σ v f(Wx + b), for the Ising model with a symmetry of the lattice that is drawn for every row."""

    probes = False

    def __init__(self, size, where):
        self.size, self.ising = size, "side" in size
        dim, hidden = size["dim"], size["hidden"]
        self.parameters = dict(weight=uniform((hidden, dim), dim, **where), out=uniform((hidden,), hidden, **where))
        if not self.ising:
            self.parameters["bias"] = uniform((hidden,), dim, **where)

    def symmetry(self, rows, device):
        side = self.size["side"]
        steps = torch.arange(side, device=device)
        down, right = ((steps + torch.randint(side, (rows, 1), device=device)) % side for _ in range(2))
        sites = side * down[:, :, None] + right[:, None, :]
        turned = torch.rand(rows, 1, 1, device=device) < 0.5
        sites = torch.where(turned, sites.transpose(1, 2), sites).flatten(1)
        return sites, sites.argsort(1)

    def potential(self, p, x, t):
        a = functional.linear(x, p["weight"], p.get("bias"))
        return ((functional.softplus(2 * a) - a - math.log(2) if self.ising else functional.softplus(a)) * p["out"]).sum(1)

    def field(self, p, x, t, probe, laplacian=True):
        if self.ising:
            there, back = self.symmetry(len(x), x.device)
            x = x.gather(1, there)
        a = functional.linear(x, p["weight"], p.get("bias"))
        slope = torch.tanh(a) if self.ising else torch.sigmoid(a)
        velocity = (slope * p["out"]) @ p["weight"]
        if self.ising:
            velocity = velocity.gather(1, back)
        if not laplacian:
            return velocity, None
        curvature = 1 - slope * slope if self.ising else slope * (1 - slope)
        return velocity, curvature @ (p["out"] * (p["weight"] ** 2).sum(1))


class WithTime:
    """What models with functions of time have in common."""

    def __init__(self, size):
        self.size = size

    def at(self, t, coefficients):
        """Coefficients at the time of every row, or at one time for all."""
        functions = torch.cos(math.pi * torch.arange(len(coefficients), device=t.device) * t[:, None] / self.size["duration"])
        return torch.tensordot(functions.to(coefficients.dtype), coefficients, 1)


class Lattice(WithTime):
    """φ = ½ xᵀC(t)x + Σ v(t) Σ ln cosh(g(t) (w ⋆ x)), C circulant, by Fourier transforms; kernels fall off with
    distance."""

    probes = False

    def __init__(self, size, where):
        super().__init__(size)
        side, kernels, terms = size["side"], size["kernels"], size["terms"]
        line = torch.arange(side, dtype=torch.float32).to(**where)
        around = torch.minimum(line, side - line)
        envelope = (1 + torch.hypot(around[:, None], around[None, :])) ** -2
        self.envelope = envelope / envelope.square().mean().sqrt()
        # Wave numbers that stand for two in the transform of real numbers.
        self.twice = torch.full((side // 2 + 1,), 2.0, **where)
        self.twice[0] = self.twice[-1] = 1
        self.parameters = dict(
            weight=uniform((kernels, side, side), side * side, **where),
            amplitude=timed(uniform((kernels,), kernels * side * side, **where), terms),
            gain=timed(torch.ones(kernels, **where), terms),
            eigenvalue=torch.zeros(terms, side, side // 2 + 1, **where),
        )

    def enter(self, p, x, t):
        side = self.size["side"]
        waves = torch.fft.rfft2(self.envelope * p["weight"])
        seen = torch.fft.rfft2(x.view(-1, side, side))
        amplitude, gain = (self.at(t, p[name])[:, :, None, None] for name in ("amplitude", "gain"))
        argument = gain * torch.fft.irfft2(waves.conj() * seen[:, None], s=(side, side))
        return waves, seen, amplitude, gain, argument, self.at(t, p["eigenvalue"])

    def potential(self, p, x, t):
        side = self.size["side"]
        _, seen, amplitude, _, u, eigenvalue = self.enter(p, x, t)
        quadratic = 0.5 * (x.view(-1, side, side) * torch.fft.irfft2(eigenvalue * seen, s=(side, side))).sum((1, 2))
        return quadratic + (amplitude * (functional.softplus(2 * u) - u - math.log(2))).sum((1, 2, 3))

    def field(self, p, x, t, probe, laplacian=True):
        side = self.size["side"]
        waves, seen, amplitude, gain, argument, eigenvalue = self.enter(p, x, t)
        slope = torch.tanh(argument)
        moved = (waves * torch.fft.rfft2(amplitude * gain * slope)).sum(1)
        velocity = torch.fft.irfft2(eigenvalue * seen + moved, s=(side, side)).flatten(1)
        if not laplacian:
            return velocity, None
        norms = (self.envelope * p["weight"]).square().sum((1, 2))[:, None, None]
        curvature = (amplitude * gain**2 * norms * (1 - slope * slope)).sum((1, 2, 3))
        return velocity, curvature + (self.twice * eigenvalue).sum((1, 2))


class Digits(WithTime):
    """Quadratic and separable terms; subclasses add a network."""

    probes = True

    def __init__(self, size, where):
        super().__init__(size)
        dim, terms = size["dim"], size["terms"]
        self.centres = torch.linspace(sizes.FIRST, sizes.LAST, sizes.CENTRES, **where)
        zeros = lambda *shape: torch.zeros(terms, *shape, **where)
        self.parameters = dict(quadratic=zeros(dim), linear=zeros(dim), separable=zeros(dim, sizes.CENTRES))

    def potential(self, p, x, t):
        q, l, alpha = (self.at(t, p[name]) for name in ("quadratic", "linear", "separable"))
        bumps = functional.softplus(sizes.GAIN * (x[:, :, None] - self.centres))
        return (0.5 * q * x * x + l * x).sum(1) + (alpha * bumps).sum((1, 2)) + self.network_potential(p, x, t)

    def field(self, p, x, t, probe, laplacian=True):
        q, l, alpha = (self.at(t, p[name]) for name in ("quadratic", "linear", "separable"))
        slope = torch.sigmoid(sizes.GAIN * (x[:, :, None] - self.centres))
        velocity, trace = self.network_field(p, x, t, probe, laplacian)
        velocity = velocity + q * x + l + sizes.GAIN * (alpha * slope).sum(2)
        if not laplacian:
            return velocity, None
        curvature = q + sizes.GAIN**2 * (alpha * slope * (1 - slope)).sum(2)
        return velocity, trace + (probe * curvature * probe).sum(1)


class TwoLayer(Digits):
    """With φ = Σ v f(W₂ f(g ⊙ W₁x + b₁) + b₂)."""

    def __init__(self, size, where):
        super().__init__(size, where)
        (h1, h2), dim, terms = size["hidden"], size["dim"], size["terms"]
        self.parameters |= dict(
            weight1=uniform((h1, dim), dim, **where),
            weight2=uniform((h2, h1), h1, **where),
            bias1=timed(uniform((h1,), dim, **where), terms),
            bias2=timed(uniform((h2,), h1, **where), terms),
            gain=timed(torch.ones(h1, **where), terms),
            out=timed(uniform((h2,), h2, **where), terms),
        )

    def layers(self, p, x, t):
        bias1, bias2, gain, out = (self.at(t, p[name]) for name in ("bias1", "bias2", "gain", "out"))
        first = gain * (x @ p["weight1"].T) + bias1
        return first, functional.softplus(first) @ p["weight2"].T + bias2, gain, out

    def network_potential(self, p, x, t):
        _, second, _, out = self.layers(p, x, t)
        return (out * functional.softplus(second)).sum(1)

    def network_field(self, p, x, t, probe, laplacian):
        first, second, gain, out = self.layers(p, x, t)
        slope1, slope2 = torch.sigmoid(first), torch.sigmoid(second)
        back = (out * slope2) @ p["weight2"]
        velocity = (gain * slope1 * back) @ p["weight1"]
        if not laplacian:
            return velocity, None
        seen = probe @ p["weight1"].T
        along = gain * seen
        along2 = (slope1 * along) @ p["weight2"].T
        bent = (out * slope2 * (1 - slope2) * along2) @ p["weight2"]
        return velocity, (gain * (slope1 * (1 - slope1) * along * back + slope1 * bent) * seen).sum(1)


class Convolutional(Digits):
    """With φ = ⟨x, U(x)⟩ of a U-shaped network; its gradient and the product with a probe are differentiated
    automatically."""

    def __init__(self, size, where):
        super().__init__(size, where)
        (c1, c2), hidden, terms = size["channels"], size["hidden"], size["terms"]
        wide = 49 * c2
        weight = lambda fan_in, *shape: math.sqrt(6) * uniform(shape, fan_in, **where)
        one, zero = (lambda n: timed(torch.ones(n, **where), terms)), (lambda n: torch.zeros(terms, n, **where))
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
        f, pixels = functional.silu, lambda name: self.at(t, p[name])[:, :, None, None]
        pictures = x.view(-1, 1, 28, 28)
        first = f(functional.conv2d(pictures, p["down1"], stride=2, padding=1) * pixels("gain1") + pixels("offset1"))
        second = f(functional.conv2d(first, p["down2"], stride=2, padding=1) * pixels("gain2") + pixels("offset2"))
        dense = f(second.flatten(1) @ p["dense1"].T + self.at(t, p["offset3"]))
        seen = ((dense * self.at(t, p["gain3"])) @ p["dense2"].T).view_as(second)
        third = f(functional.conv2d(second, p["middle"], padding=1) * pixels("gain4") + seen + pixels("offset4"))
        up = functional.conv_transpose2d(third * pixels("gain5"), p["up2"], stride=2, padding=1)
        fourth = f(up + functional.conv2d(first, p["skip"], padding=1) * pixels("gain6") + pixels("offset6"))
        u = functional.conv_transpose2d(fourth * pixels("gain7"), p["up1"], stride=2, padding=1)
        return (pictures * u).sum((1, 2, 3))

    def network_field(self, p, x, t, probe, laplacian):
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            value = self.network_potential(p, x, t).sum()
            velocity = torch.autograd.grad(value, x, create_graph=training or laplacian)[0]
            if not laplacian:
                return velocity, None
            product = torch.autograd.grad((velocity * probe).sum(), x, create_graph=training)[0]
        return velocity if training else velocity.detach(), (product * probe).sum(1)


KINDS = {"mnist": Ridge, "ising": Ridge, "ising-32": Lattice, "mnist-fast": TwoLayer, "mnist-conv": Convolutional}


def integrate(model, p, x, log_density, forward, laplacian=True):
    """By the classical Runge-Kutta method; with ln p beside the points, by one probe per row where the model has
    them."""
    size = model.size
    h = (1 if forward else -1) * size["duration"] / size["steps"]
    probe = torch.randint(2, x.shape, device=x.device).to(x.dtype) * 2 - 1 if model.probes and laplacian else None
    time = x.new_full((1,), 0.0 if forward else size["duration"])
    for _ in range(size["steps"]):
        slopes, traces = [], []
        for part in (0, 0.5, 0.5, 1):
            start = x + part * h * slopes[-1] if part else x
            velocity, trace = model.field(p, start, time + part * h, probe, laplacian)
            slopes.append(velocity)
            traces.append(trace)
        x = x + h / 6 * (slopes[0] + 2 * slopes[1] + 2 * slopes[2] + slopes[3])
        if laplacian:
            log_density = log_density - h / 6 * (traces[0] + 2 * traces[1] + 2 * traces[2] + traces[3])
        time = time + h
    return x, log_density


def gaussian(x):
    return -0.5 * (x * x).sum(1) - 0.5 * x.shape[1] * math.log(TAU)


def integrated_loss(model, p, x):
    if model.size["loss"] == "free energy":
        y, log_density = integrate(model, p, x, gaussian(x), True)
        energy = 0.5 * (y * y).sum(1) - (functional.softplus(2 * y) - y - math.log(2)).sum(1)
        return (log_density + energy).mean()
    z, change = integrate(model, p, x, x.new_zeros(len(x)), False)
    return (change - gaussian(z)).mean()


def matching_loss(model, p, x):
    """The mean square of the velocity's error on straight ways from the base; a few times in every batch,
    stratified."""
    rows, times, focus = len(x), model.size["times"], sizes.FOCUS
    u = (torch.arange(times, device=x.device) + torch.rand(times, device=x.device)) / times
    tau = (1 + focus - (1 + focus) * (focus / (1 + focus)) ** u).repeat_interleave(rows // times)
    base = torch.randn_like(x)
    at = tau[:, None].to(x.dtype) * x + (1 - tau[:, None].to(x.dtype)) * base
    velocity, _ = model.field(p, at, tau.to(x.dtype) * model.size["duration"], None, False)
    return (velocity - (x - base) / model.size["duration"]).square().sum(1).mean()


def check(name):
    """The field beside derivatives of the potential, of two rows at parameters away from their first values."""
    model = KINDS[name](sizes.MODELS[name], dict(dtype=torch.float64))
    p = {key: value + 0.01 * torch.randn_like(value) for key, value in model.parameters.items()}
    if name == "ising":
        model.symmetry = lambda rows, device: (torch.arange(256).expand(rows, -1),) * 2
    x, t = torch.randn(2, model.size["dim"], dtype=torch.float64), torch.full((1,), 0.3, dtype=torch.float64)
    probe = torch.randint(2, x.shape).double() * 2 - 1
    velocity, laplacian = model.field(p, x, t, probe)
    gradient = torch.autograd.functional.jacobian(lambda x: model.potential(p, x, t).sum(), x)
    if model.probes:
        product = torch.autograd.functional.vhp(lambda x: model.potential(p, x, t).sum(), x, probe)[1]
        trace = (product * probe).sum(1)
    else:
        hessian = torch.autograd.functional.hessian(lambda x: model.potential(p, x, t).sum(), x)
        trace = torch.stack([hessian[row, :, row].trace() for row in range(2)])
    far = lambda a, b: ((a - b).abs().max() / b.abs().max()).item()
    sizes.checked(name, dict(gradient=far(velocity, gradient), laplacian=far(laplacian, trace)))


def main():
    options = sizes.arguments(__doc__)
    torch.manual_seed(0)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.check:
        return check(options.model)
    size, device = sizes.MODELS[options.model], torch.device(options.device)
    model = KINDS[options.model](size, dict(device=device))
    p = {name: torch.nn.Parameter(value) for name, value in model.parameters.items()}
    adam = torch.optim.Adam(p.values(), lr=1e-3)
    x = torch.randn(size["batch"], size["dim"], device=device)

    def step():
        loss = matching_loss(model, p, x) if size["loss"] == "matching" else integrated_loss(model, p, x)
        adam.zero_grad()
        loss.backward()
        adam.step()

    def ask():
        if options.question == "training-step":
            step()
        else:
            with torch.no_grad():
                if options.question == "likelihood":
                    integrated_loss(model, p, x)
                else:
                    integrate(model, p, x, None, True, laplacian=False)
        if device.type == "cuda":
            torch.cuda.synchronize()

    sizes.measure(f"pytorch {device.type}", options, ask)


if __name__ == "__main__":
    main()
