#!/usr/bin/env bash
# Builds the Python wheel, installs it into a fresh virtual environment, and passes its quick tests there.
# With the word `slow` the long tests too. It needs Python 3.10 or newer with pip.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
python="$work/venv/bin/python"
pip() {
    "$python" -m pip --quiet --disable-pip-version-check "$@"
}
# With what the example of a molecule is written with.
pip install "maturin>=1.9,<2" numpy pytest mypy scikit-learn pandas jax matplotlib openmm
if [ "${1-}" = slow ]; then
    # What other examples and more kinds of energies are written with, and the PyTorch that a set-up is made with (2.5
    # GB).
    pip install arviz numba tensorboardX torch==2.11.0
fi

# In the profile of `cargo test`, and with the features that it gives to what both are made of where it leaves out the
# benchmarks (as .ci/run does), so that nothing but the extension itself is built anew. A release is built without these
# words.
"$work/venv/bin/maturin" build --quiet --locked --profile dev --features flow-core/conformance,backend-tch/emulation \
    --manifest-path crates/python/Cargo.toml --out "$work/wheels"
pip install "$work"/wheels/maflow-*.whl

# Copies, so that Python finds the package that was installed and not its sources.
cp -r crates/python/tests crates/python/pyproject.toml README.md book examples "$work"
cd "$work"
"$python" -m mypy tests
"$python" -m mypy --package maflow
"$python" -m mypy.stubtest maflow._native --concise
if [ "${1-}" = slow ]; then
    "$python" -m pytest -q -o addopts=
else
    "$python" -m pytest -q
fi
