"""What is heard of a training, and what stops one: callbacks, exceptions, Ctrl-C."""

import io
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Array, double_well

import maflow
from maflow import _progress


def test_every_step_is_heard_in_the_calling_thread(x: Array) -> None:
    heard: list[dict[str, Any]] = []
    threads = set()

    def callback(figures: dict[str, Any]) -> None:
        heard.append(figures)
        threads.add(threading.get_ident())

    maflow.Flow.fit(x, steps=20, callback=callback, progress=False)
    assert [figures["step"] for figures in heard] == list(range(1, 21))
    assert threads == {threading.get_ident()}
    assert set(heard[0]) == {
        "step", "epoch", "loss", "loss_error", "learning_rate", "gradient_norm", "flow_steps", "integration_error",
        "validation", "validation_error", "seconds", "latest_validation",
    }  # fmt: skip
    assert heard[-1]["latest_validation"] is not None and np.isfinite(heard[0]["loss"])


def test_false_stops_and_leaves_a_flow(x: Array) -> None:
    steps: list[int] = []

    def callback(figures: dict[str, Any]) -> bool:
        steps.append(figures["step"])
        return bool(figures["step"] < 5)

    flow = maflow.Flow.fit(x, steps=200, callback=callback, progress=False)
    assert steps == [1, 2, 3, 4, 5]
    assert np.isfinite(flow.log_prob(x)).all()


def test_an_exception_of_the_callback_comes_through(x: Array) -> None:
    class Odd(Exception):
        pass

    error = Odd("of the user's own")

    def callback(figures: dict[str, Any]) -> None:
        raise error

    with pytest.raises(Odd) as raised:
        maflow.Flow.fit(x, steps=200, callback=callback, progress=False)
    assert raised.value is error


@pytest.fixture(autouse=True)
def listens() -> None:
    """Python leaves Ctrl-C ignored where it was started so, as in the background of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def test_ctrl_c_stops_a_training_that_can_be_resumed(x: Array, tmp_path: Path) -> None:
    timer = interrupt_after(0.5)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        maflow.Flow.fit(x, steps=1_000_000, out=tmp_path / "run", progress=False)
    timer.join()
    assert time.monotonic() - started < 3.0
    reached = maflow.Flow.load(tmp_path / "run")
    assert np.isfinite(reached.log_prob(x)).all()


def test_ctrl_c_stops_an_energy_and_a_sampling(flow: maflow.Flow) -> None:
    def slow(x: Array) -> tuple[Array, Array]:
        time.sleep(0.01)
        return double_well(x)

    works: list[Callable[[], object]] = [
        lambda: maflow.Flow.fit_energy(slow, 2, steps=100_000, progress=False),
        lambda: flow.sample(50_000_000),
    ]
    for work in works:
        timer = interrupt_after(0.5)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            work()
        timer.join()
        assert time.monotonic() - started < 4.0


def test_the_interpreter_is_free_meanwhile(x: Array) -> None:
    ticks = 0
    done = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    started = time.monotonic()
    maflow.Flow.fit(x, steps=100, progress=False)
    seconds = time.monotonic() - started
    done.set()
    counter.join()
    assert ticks > 50 * seconds


def test_several_threads_may_fit_at_a_time(x: Array) -> None:
    found: list[Array] = []
    threads = [
        threading.Thread(target=lambda: found.append(maflow.Flow.fit(x, steps=20, progress=False).log_prob(x)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and all(np.array_equal(found[0], other) for other in found)


def test_progress_is_lines_where_there_is_no_terminal(x: Array, capfd: pytest.CaptureFixture[str]) -> None:
    maflow.Flow.fit(x, steps=10)
    out, err = capfd.readouterr()
    assert out == "" and "10/10  loss" in err and "\r" not in err
    maflow.Flow.fit(x, steps=10, progress=False)
    assert capfd.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar_and_in_a_notebook_a_line() -> None:
    for bar in [True, False]:
        out = io.StringIO()
        display = _progress.Display(out=out, bar=bar, over=True)
        training = {"first": 0, "total": 10, "fine_tuned_from": None, "best": ("exact", -2.3)}
        display.hear("training", training)
        display.hear("step", {"step": 5, "loss": 1.5, "latest_validation": None})
        display.hear("step", {"step": 10, "loss": 1.5, "latest_validation": 1.25})
        display.hear("training_ended", {})
        shown = out.getvalue()
        assert ("━" * 24 in shown) == bar
        assert "10/10  loss 1.5  exact -2.3  validation 1.25" in shown and shown.endswith("\n")


def test_fine_tuning_has_a_pace_of_its_own() -> None:
    display = _progress.Display(out=io.StringIO(), bar=False, over=True)
    display.hear("training", {"first": 10, "total": 130, "fine_tuned_from": 30, "best": None})
    start = display.started
    display.latest = start + 20
    assert display._left(20) == "20 s to step 30"
    display.latest = start + 40
    display.hear("restarted", {"made": 30})
    display.latest = start + 100
    assert display._left(40) == "540 s left"
