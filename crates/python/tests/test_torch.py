"""The backends of libtorch: what is said before the set-up, the set-up itself, and trainings beside PyTorch."""

import hashlib
import importlib.util
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Array

import maflow
from maflow import _interface, _native, _torch

NEEDED, TORCH_SYS, _sources, ADDED, _file = _native.interface()


def python(program: str, setup: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own: one can hold one libtorch alone, and never lets go of it."""
    environment = {**os.environ, "MAFLOW_LIBTORCH_SETUP": str(setup), **variables}
    for name in ("LIBTORCH", "MAFLOW_LIBTCH"):
        environment.pop(name, None)
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600)


TRAINED = """
import numpy as np, maflow
short = {"train.steps": 5, "train.schedule": "constant", "evaluate.samples": 200, "potential.hidden": 8}
flow = maflow.train("rings", set=short, backend="tch-cpu", threads=1, progress=False)
"""


def test_before_the_set_up_it_is_named(tmp_path: Path) -> None:
    found = python(TRAINED, tmp_path / "nowhere")
    last = found.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: ") and "`maflow.setup_torch()`" in last and '`backend="ndarray"`' in last, last
    program = [sys.executable, "-m", "maflow"]
    environment = {**os.environ, "MAFLOW_LIBTORCH_SETUP": str(tmp_path / "nowhere")}
    for backend, call in [("tch-cpu", "setup_torch()"), ("tch-cuda", "setup_torch(cuda=True)")]:
        words = [*program, "--backend", backend, "train", "rings"]
        told = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert told.returncode == 1 and f"`python -c 'import maflow; maflow.{call}'`" in told.stderr
    told = subprocess.run([*program, "doctor"], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert "maflow.setup_torch" in told.stdout and "setup-libtorch.sh" not in told.stdout


def test_words_that_name_no_backend_are_refused(flow: maflow.Flow, x: Array) -> None:
    known = "must be one of ndarray, tch-cpu, tch-cuda"
    with pytest.raises(ValueError, match=f'backend is "cuda", but {known}'):
        maflow.Flow.fit(x, steps=2, backend="cuda")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=known):
        maflow.Flow.load(flow.path, backend="torch")  # type: ignore[arg-type]
    assert flow.backend == maflow.Flow.load(flow.path, backend="ndarray").backend == "ndarray"
    with pytest.raises(ValueError, match="convolutional.* is one of libtorch"):
        maflow.train("mnist-conv", progress=False)


def fake(folder: Path, version: str = f"{NEEDED}+cpu") -> Path:
    """A folder that looks like a PyTorch."""
    for name in ("lib/libtorch_cpu.so", "include/torch/csrc/api/include/torch/torch.h", "__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "version.py").write_text(f"__version__ = '{version}'\n", encoding="utf-8")
    return folder


def compiler(folder: Path, body: str = 'touch "$out"') -> Path:
    """A program with the words of a C++ compiler, which writes them down."""
    file = folder / "compiler"
    find = 'while [ $# -gt 0 ]; do [ "$1" != -o ] || out=$2; shift; done'
    file.write_text(f'#!/bin/sh\necho "$@" >> {folder}/words\n{find}\n{body}\n', encoding="utf-8")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PyTorch that is not there, a compiler that does not compile, and a set-up of its own."""
    libtorch = fake(tmp_path / "site" / "torch")
    monkeypatch.setattr(_torch, "_libtorch", lambda needed: libtorch)
    monkeypatch.setenv("CXX", str(compiler(tmp_path)))
    monkeypatch.setenv("MAFLOW_LIBTORCH_SETUP", str(tmp_path / "cache" / "libtorch.setup"))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    return tmp_path


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="there is a loader of libtorch for Linux alone")


@LINUX
def test_the_set_up_is_one_that_the_program_reads(pretended: Path, capfd: pytest.CaptureFixture[str]) -> None:
    libtorch = maflow.setup_torch()
    assert "Compiling" in capfd.readouterr().err
    words = (pretended / "words").read_text(encoding="utf-8").splitlines()
    assert len(words) == 4 and all(str(libtorch / "include") in line for line in words[:3]) and "-ltorch_cpu" in words[3]
    maflow.setup_torch(progress=False)
    assert capfd.readouterr() == ("", "") and len((pretended / "words").read_text().splitlines()) == 4, "made twice"
    folder = pretended / "cache"
    assert sorted(entry.name for entry in folder.iterdir()) == [f"libtch-{TORCH_SYS}-{digest()[:12]}", "libtorch.setup"]
    told = subprocess.run([sys.executable, "-m", "maflow", "doctor", "--json"], capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    assert found["libtorch"]["ready"] and f"{NEEDED}+cpu without CUDA in {libtorch}" in found["libtorch"]["finding"]


def digest() -> str:
    return hashlib.sha256("".join(text for _, text in ADDED).encode()).hexdigest()


@LINUX
def test_what_is_missing_is_named(pretended: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libtorch = pretended / "site" / "torch"
    with pytest.raises(RuntimeError, match=f"for the CPU only: install torch=={NEEDED} with CUDA"):
        maflow.setup_torch(cuda=True, progress=False)
    compiler(pretended, "echo no room >&2; exit 1")
    with pytest.raises(RuntimeError, match="did not compile; .*compiler says:\nno room"):
        maflow.setup_torch(progress=False)
    assert list((pretended / "cache").iterdir()) == []
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"no C\+\+ compiler no-such-compiler: install one"):
        maflow.setup_torch(progress=False)
    fake(libtorch, "2.5.1+cu124")
    with pytest.raises(RuntimeError, match=rf"2.5.1\+cu124, {NEEDED} is needed: pip install torch=={NEEDED}"):
        maflow.setup_torch(progress=False)
    (libtorch / "lib" / "libtorch_cpu.so").unlink()
    with pytest.raises(RuntimeError, match="is no libtorch, it has no lib/libtorch_cpu.so"):
        maflow.setup_torch(progress=False)
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    with pytest.raises(ImportError, match=f"no PyTorch in this Python: pip install torch=={NEEDED}"):
        maflow.setup_torch(progress=False)


@LINUX
def test_the_part_for_cuda_wants_headers(pretended: Path, capfd: pytest.CaptureFixture[str]) -> None:
    libtorch = pretended / "site" / "torch"
    (libtorch / "lib" / "libtorch_cuda.so").touch()
    headers = pretended / "site" / "nvidia" / "cu13" / "include"
    if _interface.cuda_headers(libtorch) is None:
        with pytest.raises(RuntimeError, match="pip install nvidia-cuda-runtime==13.0"):
            maflow.setup_torch(cuda=True, progress=False)
        maflow.setup_torch()
        assert "nvidia-cuda-crt==13.0" in capfd.readouterr().err
    for name in ("cuda_runtime_api.h", "crt/host_defines.h"):
        (headers / name).parent.mkdir(parents=True, exist_ok=True)
        (headers / name).touch()
    maflow.setup_torch(progress=False)
    words = (pretended / "words").read_text(encoding="utf-8").splitlines()
    assert words[-2].endswith(f"-I {headers}") and "-ltorch_cuda" in words[-1]
    (made,) = (pretended / "cache").glob("libtch-*/libtch_cuda.so")
    assert made.with_name("libtch.so").exists()


torch_is_here = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="there is no PyTorch")


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `setup_torch` makes here, with the PyTorch of this Python and a real compiler."""
    file = tmp_path_factory.mktemp("setup") / "libtorch.setup"
    done = python("import maflow; print(maflow.setup_torch())", file)
    assert done.returncode == 0, done.stderr
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    assert Path(done.stdout.strip()) == Path(spec.origin).resolve().parent
    return file


# Which libtorch computes, how many there are, and that PyTorch still works beside it.
BESIDE = """
import torch
assert abs(torch.linalg.eigvalsh(torch.eye(3) * 2)[0].item() - 2) < 1e-6
libraries = {line.split()[-1] for line in open("/proc/self/maps") if line.rstrip().endswith("libtorch_cpu.so")}
assert libraries == {torch.__path__[0] + "/lib/libtorch_cpu.so"}, libraries
print(flow.sample(4).tolist(), flow.backend, flow.recipe["run"]["backend"])
"""


@pytest.mark.slow
@torch_is_here
def test_pytorch_may_be_imported_before_and_after(setup: Path) -> None:
    orders = [TRAINED + BESIDE, "import torch\n" + TRAINED + BESIDE, "import maflow, torch\n" + TRAINED + BESIDE]
    told = [python(program, setup) for program in orders]
    assert all(found.returncode == 0 for found in told), told
    assert "tch-cpu tch-cpu" in told[0].stdout and len({found.stdout for found in told}) == 1


@pytest.mark.slow
@torch_is_here
def test_the_program_trains_to_the_same_bits_by_the_same_set_up(setup: Path, tmp_path: Path) -> None:
    changes = {"train.steps": 5, "train.schedule": "constant", "evaluate.samples": 200, "potential.hidden": 8}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "maflow", "--backend", "tch-cpu", "--threads", "1", "train", "rings", *words]
    environment = {**os.environ, "MAFLOW_LIBTORCH_SETUP": str(setup)}
    subprocess.run([*command, "--out", tmp_path / "run"], env=environment, check=True, capture_output=True)
    compare = f"""
there = maflow.Flow.load({str(tmp_path / "run")!r}, threads=1)
assert there.backend == "tch-cpu"
assert np.array_equal(flow.sample(100), there.sample(100))
here = maflow.Flow.load({str(tmp_path / "run")!r}, backend="ndarray")
assert np.allclose(here.sample(100), there.sample(100), atol=1e-3) and here.backend == "ndarray"
"""
    found = python(TRAINED + compare, setup)
    assert found.returncode == 0, found.stderr


@pytest.mark.slow
@torch_is_here
def test_every_way_to_a_flow_takes_the_backend(setup: Path, tmp_path: Path) -> None:
    ways = f"""
import copy, pickle
import numpy as np, torch, maflow
from maflow.sklearn import MongeAmpereFlow
small = {{"train.batch": 64, "flow.steps": 4, "potential.terms.1.hidden": [8, 4], "evaluate.samples": 500}}
how = dict(backend="tch-cpu", progress=False)
x = np.random.default_rng(0).normal(size=(300, 2))
flow = maflow.Flow.fit(x, steps=5, recipe={{"train.batch": 64}}, out={str(tmp_path / "fit")!r}, **how)
assert np.isfinite(flow.log_prob(x)).all()
again = pickle.loads(pickle.dumps(flow))
assert again.backend == "tch-cpu" and np.array_equal(again.sample(9), flow.sample(9))
assert copy.copy(flow).backend == "tch-cpu"
longer = maflow.Flow.resume({str(tmp_path / "fit")!r}, set={{"train.steps": 8}}, progress=False)
assert longer.backend == "tch-cpu" and longer.recipe["train"]["steps"] == 8
energy = maflow.energy.from_torch(lambda x: 0.5 * (x**2).sum(dim=1))
springs = maflow.Flow.fit_energy(energy, 2, steps=20, recipe=small, **how)
assert abs(springs.evaluate()["free_energy_per_site"] + np.log(2 * np.pi)) < 0.1
assert MongeAmpereFlow(max_steps=3, backend="tch-cpu").fit(x).flow_.backend == "tch-cpu"
"""
    found = python(ways, setup)
    assert found.returncode == 0, found.stderr


def test_a_run_remembers_its_backend(tmp_path: Path, flow: maflow.Flow) -> None:
    config = flow.save(tmp_path / "run") / "config.toml"
    text = config.read_text(encoding="utf-8")
    assert 'backend = "ndarray"' in text
    config.write_text(text.replace('backend = "ndarray"', 'backend = "tch-cpu"'), encoding="utf-8")
    found = python(f"import maflow; maflow.Flow.load({str(tmp_path / 'run')!r}).sample(3)", tmp_path / "nowhere")
    assert "libtorch is not set up" in found.stderr and 'backend="ndarray"' in found.stderr
    here = maflow.Flow.load(tmp_path / "run", backend="ndarray")
    assert np.array_equal(here.sample(5), flow.sample(5))
