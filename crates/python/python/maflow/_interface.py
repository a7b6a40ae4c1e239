"""Compiles the C interface of libtorch and writes down where both are: for `maflow.setup_torch`, and as a script for
`scripts/setup-libtorch.sh`, which is why it imports nothing but Python's own library.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

FLAGS = ["-std=c++17", "-O2", "-fPIC", "-w", "-DGLOG_USE_GLOG_EXPORT", "-D_GLIBCXX_USE_CXX11_ABI=1"]
# Lines of a compiler's complaints that are worth reading.
WORTH_READING = 20

Say = Callable[[str], None]


class SetUpError(RuntimeError):
    """What is missing or wrong, in one sentence."""


@dataclass(frozen=True)
class Interface:
    """A C interface: the libtorch and the sources that it is made of, and the folder `store` that holds its own folder.

    `added` are the sources `cpu.cpp` and `cuda.cpp`; `torch_sys` is the version of the package with the rest of them.
    """

    libtorch: Path
    torch_sys: str
    added: Mapping[str, str]
    store: Path

    @property
    def hash(self) -> str:
        """SHA-256 of what is added, by which the program knows whether the interface is its own."""
        return hashlib.sha256("".join(self.added[name] for name in ("cpu.cpp", "cuda.cpp")).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """Where the compiled libraries are."""
        return self.store / f"libtch-{self.torch_sys}-{self.hash[:12]}"

    def compile(self, sources: Callable[[], Mapping[str, str]], say: Say) -> None:
        """Make `libtch.so` of the sources of torch-sys, unless it is there."""
        if (self.folder / "libtch.so").exists():
            return
        compiler = _compiler()
        with _work(self.store) as work:
            for name, text in {**sources(), "cpu.cpp": self.added["cpu.cpp"]}.items():
                (work / name).write_text(text, encoding="utf-8")
            say("Compiling the C interface (1 to 3 minutes)")
            names = ["torch_api_generated", "torch_api", "cpu"]
            _run([self._command(compiler, work, name) for name in names], "did not compile")
            self._link(compiler, work, "libtch.so", names, ["torch_cpu", "c10"])

    @property
    def has_cuda(self) -> bool:
        """Whether its part for CUDA is there."""
        return (self.folder / "libtch_cuda.so").exists()

    def compile_cuda(self, headers: Path, say: Say) -> None:
        """Make `libtch_cuda.so` with these headers of CUDA."""
        compiler = _compiler()
        with _work(self.store) as work:
            (work / "cuda.cpp").write_text(self.added["cuda.cpp"], encoding="utf-8")
            say("Compiling the C interface for CUDA")
            _run([[*self._command(compiler, work, "cuda"), "-I", str(headers)]], "did not compile")
            # Where libtorch has no CUDA, what is missing is looked for when the library is loaded.
            libraries = ["torch_cuda", "torch_cpu", "c10_cuda", "c10"] if has_cuda(self.libtorch) else []
            self._link(compiler, work, "libtch_cuda.so", ["cuda"], libraries)

    def write(self, file: Path, say: Say) -> None:
        """Write down where libtorch and its interface are, for the program."""
        text = (
            "# Written by the set-up: where libtorch and its C interface are.\n"
            f"libtorch = {self.libtorch}\ninterface = {self.folder / 'libtch.so'}\n"
            f"torch-sys = {self.torch_sys}\nsources = {self.hash}\n"
        )
        if file.exists() and file.read_text(encoding="utf-8") == text:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with _work(file.parent) as work:
            (work / file.name).write_text(text, encoding="utf-8")
            (work / file.name).replace(file)
        say(f"Wrote {file}")

    def _command(self, compiler: str, work: Path, name: str) -> list[str]:
        include = self.libtorch / "include"
        paths = [work, include, include / "torch" / "csrc" / "api" / "include"]
        where = [word for path in paths for word in ("-I", str(path))]
        return [compiler, "-c", *FLAGS, *where, str(work / f"{name}.cpp"), "-o", str(work / f"{name}.o")]

    def _link(self, compiler: str, work: Path, made: str, names: list[str], libraries: list[str]) -> None:
        """Link a library of the interface, and move it into its folder when it is whole."""
        objects = [str(work / f"{name}.o") for name in names]
        needs = [f"-l{library}" for library in libraries]
        against = ["-L", str(self.libtorch / "lib"), *needs, "-Wl,--no-undefined"] if libraries else []
        _run([[compiler, "-shared", *objects, "-o", str(work / made), *against]], "could not be linked")
        self.folder.mkdir(exist_ok=True)
        (work / made).replace(self.folder / made)


def require(libtorch: Path, needed: str) -> str:
    """The version of the libtorch in a folder, which must be the one needed and have its headers."""
    for file in ("lib/libtorch_cpu.so", "include/torch/csrc/api/include/torch/torch.h"):
        if not (libtorch / file).exists():
            raise SetUpError(f"{libtorch} is no libtorch, it has no {file}")
    version = _version(libtorch)
    if version is None or version.split("+")[0] != needed:
        raise SetUpError(f"libtorch in {libtorch} is {version or 'of an unknown version'}, {needed} is needed")
    return version


def has_cuda(libtorch: Path) -> bool:
    """Whether a libtorch has its part for CUDA."""
    return (libtorch / "lib" / "libtorch_cuda.so").exists()


def cuda_headers(libtorch: Path) -> Path | None:
    """The headers of CUDA: those of NVIDIA's packages beside libtorch, else those below CUDA_HOME."""
    own = Path(os.environ.get("CUDA_HOME") or "/usr/local/cuda") / "include"
    needed = ("cuda_runtime_api.h", "crt/host_defines.h")
    for folder in [*sorted(libtorch.parent.glob("nvidia/*/include")), own]:
        if all((folder / name).exists() for name in needed):
            return folder
    return None


def _version(libtorch: Path) -> str | None:
    if (libtorch / "build-version").exists():
        return (libtorch / "build-version").read_text(encoding="utf-8").strip() or None
    file = libtorch / "version.py"
    found = re.search(r"^__version__ = '(.*)'", file.read_text(encoding="utf-8"), re.MULTILINE) if file.exists() else None
    return found[1] if found else None


def _compiler() -> str:
    compiler = os.environ.get("CXX") or "c++"
    if shutil.which(compiler) is None:
        raise SetUpError(f"there is no C++ compiler {compiler}: install one (g++ on Debian and Ubuntu), or name it in CXX")
    return compiler


@contextmanager
def _work(folder: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, on the same disk; it goes with whatever is left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unfinished.", dir=folder) as work:
        yield Path(work)


def _run(commands: list[list[str]], failure: str) -> None:
    """Run commands side by side; the first that fails ends all."""
    with ExitStack() as stack:
        running = []
        for command in commands:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            running.append(stack.enter_context(process))
            # Before it is waited for: one that has ended already is left alone.
            stack.callback(process.kill)
        for command, process in zip(commands, running):
            told, _ = process.communicate()
            if process.returncode != 0:
                lines = "\n".join(told.splitlines()[:WORTH_READING])
                raise SetUpError(f"the C interface {failure}; {command[0]} says:\n{lines}")


def _of_cargo(project: Path, torch_sys: str) -> dict[str, str]:
    """The sources of torch-sys among the packages that cargo has fetched for a project."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    told = subprocess.run(command, cwd=project, stdout=subprocess.PIPE, text=True)
    if told.returncode != 0:
        raise SetUpError(f"cargo could not list the packages of {project}: see the lines above")
    for package in json.loads(told.stdout)["packages"]:
        if (package["name"], package["version"]) == ("torch-sys", torch_sys):
            folder = Path(package["manifest_path"]).parent / "libtch"
            files = [*folder.glob("torch_api*"), *folder.glob("*.h")]
            return {file.name: file.read_text(encoding="utf-8") for file in files}
    raise SetUpError(f"the project does not use torch-sys {torch_sys}: update TORCH_SYS in scripts/setup-libtorch.sh")


def main() -> None:
    """What `scripts/setup-libtorch.sh` leaves to this file; 3 where headers of CUDA are wanted and there are none."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("project", "libtorch", "store", "setup"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("torch", "torch-sys"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--cuda-headers", type=Path)
    words = parser.parse_args()
    try:
        _set_up(words)
    except (SetUpError, OSError) as error:
        sys.exit(f"error: {error}")


def _set_up(words: argparse.Namespace) -> None:
    def say(sentence: str) -> None:
        print(sentence, flush=True)

    try:
        version = require(words.libtorch, words.torch)
    except SetUpError as error:
        raise SetUpError(f"{error}: name another with LIBTORCH, or unset it to fetch one") from None
    say(f"Using libtorch {version} in {words.libtorch}")
    folder = words.project / "crates" / "backend-tch" / "src" / "interface"
    added = {name: (folder / name).read_text(encoding="utf-8") for name in ("cpu.cpp", "cuda.cpp")}
    interface = Interface(words.libtorch, words.torch_sys, added, words.store)
    interface.compile(lambda: _of_cargo(words.project, words.torch_sys), say)
    if words.cuda and not interface.has_cuda:
        headers = words.cuda_headers or cuda_headers(words.libtorch)
        if headers is None:
            sys.exit(3)
        interface.compile_cuda(headers, say)
    interface.write(words.setup, say)


if __name__ == "__main__":
    main()
