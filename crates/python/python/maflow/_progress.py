"""Listeners to a training: the user's callback, and a line that says how far it is."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

Figures = Mapping[str, Any]
Callback = Callable[[dict[str, Any]], "bool | None"]

# Seconds between two lines where nothing can be written over.
LINE_EVERY = 5.0
# Steps over which the loss is averaged for display.
SMOOTHING = 20.0


@dataclass
class Listener:
    """What the extension takes: the function to call with every event, and whether each step is an event."""

    hear: Callable[[str, dict[str, Any]], bool | None] | None
    every_step: bool


def listener(progress: bool, callback: Callback | None) -> Listener:
    """The listener of a training with a display, a callback, both or neither."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback is a {type(callback).__name__}, but must be a function of the figures of a step")
    if callback is None and not progress:
        return Listener(None, False)
    display = Display() if progress else None

    def hear(kind: str, figures: dict[str, Any]) -> bool | None:
        if display is not None:
            display.hear(kind, figures)
        if kind == "step" and callback is not None:
            return callback(figures)
        return None

    return Listener(hear, callback is not None)


def in_notebook() -> bool:
    """Whether this runs in the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


@dataclass
class Display:
    """A bar on a terminal, a line that is written over in a notebook, a line now and then elsewhere."""

    out: TextIO = field(default_factory=lambda: sys.stdout if in_notebook() else sys.stderr)
    bar: bool = field(default_factory=lambda: sys.stderr.isatty() and not in_notebook())
    over: bool = field(default_factory=lambda: sys.stderr.isatty() or in_notebook())
    total: int = 0
    fine_tuned_from: int | None = None
    best: tuple[str, float] | None = None
    # The pace is the mean since so many steps were made, at that time.
    first: int = 0
    started: float = 0.0
    latest: float = 0.0
    shown: float = -math.inf
    width: int = 0
    sum: float = 0.0
    weight: float = 0.0

    def hear(self, kind: str, figures: Figures) -> None:
        """Show an event."""
        if kind == "training":
            self.first, self.total, self.best = figures["first"], figures["total"], figures["best"]
            self.fine_tuned_from = figures["fine_tuned_from"]
            self.started = self.latest = time.monotonic()
            self.sum, self.weight, self.shown = 0.0, 0.0, -math.inf
        elif kind == "restarted":
            self.first, self.started = figures["made"], self.latest
            self.sum = self.weight = 0.0
        elif kind == "step":
            self._step(figures)
        elif kind == "task" and self.over:
            self._write(f"{figures['name']} {figures['done']}/{figures['parts']}  {figures['detail']}".rstrip())
        elif kind == "task_ended" and self.over:
            self._write("")
        elif kind == "training_ended" and self.width > 0:
            print(file=self.out, flush=True)
            self.width = 0

    def _step(self, figures: Figures) -> None:
        keep = 1.0 - 1.0 / SMOOTHING
        self.sum, self.weight = keep * self.sum + figures["loss"], keep * self.weight + 1.0
        self.latest = now = time.monotonic()
        last = figures["step"] >= self.total
        if now - self.shown < (0.1 if self.over else LINE_EVERY) and not last:
            return
        self.shown = now
        line = self._line(figures)
        if self.over:
            self._write(line)
        else:
            print(line, file=self.out, flush=True)

    def _line(self, figures: Figures) -> str:
        step = figures["step"]
        words = [f"{step}/{self.total}", f"loss {self.sum / self.weight:.4g}"]
        if self.best is not None:
            words.append(f"{self.best[0]} {self.best[1]:.4g}")
        if figures["latest_validation"] is not None:
            words.append(f"validation {figures['latest_validation']:.4g}")
        words.append(self._left(step))
        if self.bar:
            full = 24 * step // max(self.total, 1)
            words.insert(0, "━" * full + "·" * (24 - full))
        return "  ".join(words)

    def _left(self, step: int) -> str:
        """The time that is left; before fine-tuning, whose pace is not known, the time until it begins."""
        begins = self.fine_tuned_from
        end = begins if begins is not None and step < begins else self.total
        seconds = (self.latest - self.started) * (end - step) / max(step - self.first, 1)
        return f"{seconds:.0f} s left" if end == self.total else f"{seconds:.0f} s to step {end}"

    def _write(self, line: str) -> None:
        """Write over the line before."""
        print("\r" + line.ljust(self.width), end="\r" if line == "" else "", file=self.out, flush=True)
        self.width = len(line)
