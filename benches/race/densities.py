"""Rivals that learn a density from rows: flows of zuko by likelihood, and a plain network by flow matching."""
import math

import numpy as np
import torch
import zuko
from contest import Figure, TorchRival

RIVALS = ["zuko-maf", "zuko-nsf", "flow-matching"]
SPLIT = 500


class FlowMatching(torch.nn.Module):
    """A velocity by a plain network of three hidden layers, learned on straight paths; ln p by fixed steps of
    Runge-Kutta."""

    def __init__(self, dim, hidden):
        super().__init__()
        sizes = [dim + 1, hidden, hidden, hidden]
        layers = [part for a, b in zip(sizes, sizes[1:]) for part in (torch.nn.Linear(a, b), torch.nn.SiLU())]
        self.net, self.dim = torch.nn.Sequential(*layers, torch.nn.Linear(hidden, dim)), dim

    def velocity(self, x, t):
        return self.net(torch.cat([x, torch.as_tensor(t, dtype=x.dtype).expand(len(x), 1)], 1))

    def loss(self, x):
        noise, t = torch.randn_like(x), torch.rand(len(x), 1)
        return ((self.velocity(t * x + (1 - t) * noise, t) - (x - noise)) ** 2).sum(1).mean()

    def rates(self, x, t, probe):
        """The velocity, and its divergence: exact up to 16 coordinates, by one probe beyond."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            v = self.velocity(x, t)
            if probe is not None:
                return v.detach(), (torch.autograd.grad((v * probe).sum(), x)[0] * probe).sum(1)
            of = lambda i: torch.autograd.grad(v[:, i].sum(), x, retain_graph=i + 1 < self.dim)[0][:, i]
            return v.detach(), sum(of(i) for i in range(self.dim))

    def transport(self, x, start, end, steps):
        """Where `x` comes to from one time to the other, and the integral of the divergence on the way."""
        # The same probes at every number of steps.
        generator = torch.Generator().manual_seed(7)
        probe = None if self.dim <= 16 else torch.randint(0, 2, x.shape, generator=generator).float() * 2 - 1
        divergence, h = torch.zeros(len(x)), (end - start) / steps
        for k in range(steps):
            t = start + k * h
            k1, d1 = self.rates(x, t, probe)
            k2, d2 = self.rates(x + h / 2 * k1, t + h / 2, probe)
            k3, d3 = self.rates(x + h / 2 * k2, t + h / 2, probe)
            k4, d4 = self.rates(x + h * k3, t + h, probe)
            x, divergence = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), divergence + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        return x, divergence

    def base(self, x):
        return -0.5 * (x**2).sum(1) - 0.5 * self.dim * math.log(2 * math.pi)

    def log_prob(self, x, steps=16):
        x, divergence = self.transport(x, 1.0, 0.0, steps)
        return self.base(x) + divergence

    def samples(self, noise, steps=16):
        """Samples, and ln p of them."""
        x, divergence = self.transport(noise, 0.0, 1.0, steps)
        return x, self.base(noise) - divergence


class Zuko(torch.nn.Module):
    """A flow of zuko, by maximum likelihood."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def loss(self, x):
        return -self.flow().log_prob(x).mean()

    def log_prob(self, x):
        return self.flow().log_prob(x)


def model_of(name, dim, seed):
    hidden = 1024 if dim > 256 else 512 if dim > 10 else 128
    torch.manual_seed(seed)
    if name == "flow-matching":
        return FlowMatching(dim, 2 * hidden)
    kind = zuko.flows.MAF if name == "zuko-maf" else zuko.flows.NSF
    return Zuko(kind(dim, transforms=5, hidden_features=(hidden, hidden)))


class DensityRival(TorchRival):
    """A model of rows, judged by its mean negative log-likelihood in the units of the data."""

    def __init__(self, name, rows, options, rate):
        super().__init__(model_of(name, rows.part("train", 1).shape[1], options.seed), rate)
        self.rows, self.generator = rows, np.random.default_rng(2)
        # Its ln p takes many evaluations.
        few = 200 if name == "flow-matching" else 500
        # The same noise in all validations of a rival.
        self.validation = rows.standardised("validation", 50 if options.quick else few)

    def loss(self):
        return self.model.loss(self.rows.batch(self.generator))

    def losses(self, x, **how):
        with torch.no_grad():
            log_p = torch.cat([self.model.log_prob(part, **how) for part in x.split(SPLIT)]).double().numpy()
        return -log_p - self.rows.log_jacobian()

    def validate(self):
        return self.losses(self.validation).mean()

    def test(self):
        losses, integration_error = self.losses(self.rows.standardised("test")), 0.0
        if isinstance(self.model, FlowMatching):
            coarse, fine = [self.losses(self.validation, steps=steps).mean() for steps in (16, 32)]
            integration_error = abs(coarse - fine)
        return Figure(losses.mean(), losses.std() / len(losses) ** 0.5, integration_error)
