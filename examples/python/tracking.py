"""A training on the pages of TensorBoard: its callback writes the figures of every step. Needs `tensorboardX`.

Weights & Biases takes them in the same place: `wandb.log(figures, step=figures["step"])` after `wandb.init()`.
"""

import numpy as np
from tensorboardX import SummaryWriter

import maflow

x = np.random.default_rng(0).normal(size=(2000, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
with SummaryWriter("tensorboard") as writer:

    def write(figures: dict) -> None:
        for name in ("loss", "learning_rate", "validation"):
            if figures.get(name) is not None:
                writer.add_scalar(name, figures[name], figures["step"])

    maflow.Flow.fit(x, minutes=0.2, callback=write, progress=False)
print("look at it with: tensorboard --logdir tensorboard")
