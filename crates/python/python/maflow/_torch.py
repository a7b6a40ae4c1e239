"""The backends of libtorch in Python: set up against the PyTorch of this Python, and used with no other."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path

from maflow import _native
from maflow._interface import Interface, Say, SetUpError, cuda_headers, has_cuda, require


def setup_torch(*, cuda: bool | None = None, progress: bool = True) -> Path:
    """Set up the backends ``tch-cpu`` and ``tch-cuda``, once, with the PyTorch that is imported or installed here.

    Its C interface is compiled from sources that this package carries, in one to three minutes, and kept in the user's
    cache folder. The program ``maflow`` uses the same set-up. An interface that is there already is kept.

    Parameters
    ----------
    cuda : bool, optional
        Whether the part for CUDA is compiled too, for ``tch-cuda``. It needs headers of CUDA. If left out, it is
        compiled where PyTorch has CUDA and the headers are found.
    progress : bool
        Whether to say what is done.

    Returns
    -------
    pathlib.Path
        The folder of libtorch.

    Raises
    ------
    ImportError
        Where there is no PyTorch.
    RuntimeError
        For a PyTorch of another version, and where a C++ compiler or, with ``cuda=True``, something of CUDA is missing,
        each with the remedy.
    OSError
        For a folder that cannot be written.

    Notes
    -----
    The OpenMP of PyTorch lets threads that wait spin. On a machine with other work to do, start Python with the
    variable ``OMP_WAIT_POLICY=PASSIVE``, as the program does for itself.
    """

    def say(sentence: str) -> None:
        if progress:
            print(sentence, file=sys.stderr, flush=True)

    needed, torch_sys, sources, added, file = _native.interface()
    if not sources or sys.platform != "linux":
        raise SetUpError(
            f"libtorch is used on Linux on x86-64 and arm64 only, this is {platform.system()} on {platform.machine()}:"
            ' use backend="ndarray"'
        )
    if file is None:
        raise SetUpError("there is no cache folder to write to: set HOME, or name a file in MAFLOW_LIBTORCH_SETUP")
    libtorch = _libtorch(needed)
    try:
        version = require(libtorch, needed)
    except SetUpError as error:
        raise SetUpError(f"{error}: pip install torch=={needed}, and start Python anew") from None
    say(f"Using libtorch {version} in {libtorch}")
    if cuda and not has_cuda(libtorch):
        raise SetUpError(f"PyTorch in {libtorch} is for the CPU only: install torch=={needed} with CUDA, or leave out cuda")
    file = Path(file).absolute()
    interface = Interface(libtorch, torch_sys, dict(added), file.parent)
    interface.compile(lambda: dict(sources), say)
    interface.write(file, say)
    if cuda or cuda is None and has_cuda(libtorch):
        _for_cuda(interface, bool(cuda), say)
    return libtorch


def _for_cuda(interface: Interface, required: bool, say: Say) -> None:
    """The part for CUDA, where its headers are; an error where it was asked for and they are not."""
    if interface.has_cuda:
        return
    headers = cuda_headers(interface.libtorch)
    if headers is not None:
        interface.compile_cuda(headers, say)
        return
    major, minor = _native.CUDA_NEEDED
    missing = (
        "tch-cuda needs headers of CUDA for its part of the C interface, and there are none: pip install"
        f" nvidia-cuda-runtime=={major}.{minor}.* nvidia-cuda-crt=={major}.{minor}.*, or name a CUDA in CUDA_HOME, and call"
        " maflow.setup_torch(cuda=True)"
    )
    if required:
        raise SetUpError(missing)
    say(missing)


def ready(backend: str | None) -> None:
    """Import the PyTorch of this Python before the first use of libtorch, so that its libtorch is the one in use.

    A process can hold one libtorch: another, that of an earlier set-up, would be taken for PyTorch's own by a later
    ``import torch``.
    """
    if backend is not None and backend.startswith("tch-") and importlib.util.find_spec("torch") is not None:
        import torch  # noqa: F401


def _libtorch(needed: str) -> Path:
    """The folder of the PyTorch that is imported, or else installed."""
    torch = sys.modules.get("torch")
    spec = torch.__spec__ if torch is not None else importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise ImportError(f"there is no PyTorch in this Python: pip install torch=={needed}, then maflow.setup_torch()")
    return Path(spec.origin).resolve().parent
