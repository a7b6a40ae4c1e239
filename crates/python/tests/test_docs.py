"""The examples of docstrings, of the README and of `examples/python`, run."""

import doctest
import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import maflow

MODULES = ["maflow", "maflow._flow", "maflow.energy", "maflow.ising_exact", "maflow.sklearn"]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    if name == "maflow.sklearn":
        pytest.importorskip("sklearn")
    module: ModuleType = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def above(name: str) -> Path:
    """A file or folder of the project, which stands above this one."""
    found = [parent / name for parent in Path(__file__).resolve().parents if (parent / name).exists()]
    assert found, f"there is no {name} above {__file__}"
    return found[0]


# The pages with an example in Python, and what is made shorter of it.
SHORTER = [("minutes=0.1", "steps=20"), ("steps=100", 'steps=5, recipe={"evaluate.samples": 500}')]
PAGES = [("README.md", SHORTER), ("book/src/your-energy.md", SHORTER[1:])]


@pytest.mark.parametrize(("page", "shorter"), PAGES)
def test_the_example_of_a_page_runs(
    page: str, shorter: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", above(page).read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 1
    text = blocks[0]
    for long, short in shorter:
        assert long in text
        text = text.replace(long, short)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(text, page, "exec"), names)
    assert isinstance(names["flow"], maflow.Flow)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("own_table", "conditional", "ising", "phi4", "tracking")),
        "alanine --quick",
    ],
)
def test_the_examples_run(words: str, tmp_path: Path) -> None:
    name, *flags = words.split()
    if name == "alanine":
        pytest.importorskip("openmm")
    script = above("examples") / "python" / f"{name}.py"
    done = subprocess.run([sys.executable, str(script), *flags], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout
