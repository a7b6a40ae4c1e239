"""The program `maflow`, as a script and as `python -m maflow`."""

import os
import signal
import sys

from maflow import _native


def main() -> None:
    """Run the program with the words of the command line, and exit with its code."""
    # The program listens for Ctrl-C itself where it has something to save; elsewhere it ends at once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # As the program of its own does: the OpenMP of libtorch lets threads that have nothing to do spin otherwise.
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    sys.exit(_native.program(["maflow", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
