"""Programs of the workspace, built with optimisation, for the scripts that measure them."""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def built(package, example=None):
    """The path of a package's program `maflow`, or of one of its examples."""
    words = ["cargo", "build", "--release", "--package", package, *(["--example", example] if example else [])]
    if subprocess.run(words, cwd=ROOT).returncode != 0:
        sys.exit("error: the program did not build")
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    release = pathlib.Path(json.loads(subprocess.check_output(metadata, cwd=ROOT))["target_directory"]) / "release"
    return release / "examples" / example if example else release / "maflow"
