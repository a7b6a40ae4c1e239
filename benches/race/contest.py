"""What all rivals have in common: a learning rate by validation, a training of so many seconds, and one test figure."""
import copy
import dataclasses
import math
import time

# Learning rates that rivals choose from, each by a tenth of the time and the validation figure.
RATES = [3e-4, 1e-3, 3e-3]


@dataclasses.dataclass
class Figure:
    """What a contestant reached: a mean negative log-likelihood, a divergence or a free energy, in nats, and of energies
    the effective sample size and ln Z by importance."""

    nats: float
    error: float
    integration_error: float = 0.0
    ess: float | None = None
    log_z: float | None = None
    log_z_error: float | None = None


@dataclasses.dataclass
class Line:
    """A line of the table: who, how large, after how many seconds of training, and its figure."""

    problem: str
    name: str
    parameters: int
    seconds: float
    figure: Figure


class TorchRival:
    """A model in PyTorch with its optimiser. What inherits from it has `loss()` of a batch, `validate()` and `test()`."""

    def __init__(self, model, rate):
        import torch

        self.torch, self.model = torch, model
        self.optimiser = torch.optim.Adam(model.parameters(), lr=rate)

    def step(self):
        loss = self.loss()
        self.optimiser.zero_grad()
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 100.0)
        self.optimiser.step()

    def state(self):
        return copy.deepcopy(self.model.state_dict())

    def load(self, state):
        self.model.load_state_dict(state)

    def parameters(self):
        return sum(parameter.numel() for parameter in self.model.parameters())


def train(rival, seconds, validations, threads, told=lambda *_: None):
    """Trains for so many seconds, which validations don't count in. Returns the best validation figure, at whose weights
    the rival is left, and its seconds. They are those of the processor, so that other programs take none of them."""
    best, state, reached = math.inf, rival.state(), 0.0
    spent, interval = 0.0, seconds / validations
    due = interval
    while spent < seconds:
        start = time.process_time()
        rival.step()
        spent += (time.process_time() - start) / threads
        if spent >= min(due, seconds):
            while due <= spent:
                due += interval
            found = rival.validate()
            told(spent, found)
            if found < best:
                best, state, reached = found, rival.state(), spent
    rival.load(state)
    return best, reached


def race(problem, name, make, options, curve, rates=RATES):
    """Chooses a learning rate for `make(rate)`, trains, and tests once."""
    seconds = 60 * options.minutes
    rate = min(rates, key=lambda rate: train(make(rate), seconds / 10, 1, options.threads)[0])
    rival = make(rate)
    told = lambda spent, found: curve.append([problem, name, spent, "validation", found])
    _, reached = train(rival, seconds, 2 if options.quick else 10, options.threads, told)
    figure = rival.test()
    curve.append([problem, name, reached, "test", figure.nats])
    return Line(problem, f"{name}, rate {rate:g}", rival.parameters(), reached, figure)


def by_weights(log_weights):
    """Effective sample size, ln Z and its standard error, of ln(p/q) of samples of q. Where less than 100 samples are left
    in effect, weights know too little to have an error."""
    import numpy as np

    highest = log_weights.max()
    weights = np.exp(log_weights - highest)
    mean, count = weights.mean(), len(weights)
    ess, error = mean**2 / (weights**2).mean(), weights.std() / mean / math.sqrt(count)
    return {"ess": ess, "log_z": highest + math.log(mean), "log_z_error": error if count * ess >= 100 else None}
