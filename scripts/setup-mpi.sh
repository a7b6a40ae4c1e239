#!/bin/sh
# Compiles the link between maflow and this machine's MPI. See --help.
set -eu

INTERFACE=1 # the number in crates/mpi/shim/maflow_mpi.c

usage() {
    cat <<EOT
Usage: scripts/setup-mpi.sh [--to FILE]

Compiles the link between maflow and an MPI, so that \`mpirun -n 4 maflow train\` works. It needs the compiler of that MPI, which
is mpicc or what the variable MPICC names, and takes a second. The program is not built anew, and works without MPI as before.

  --to FILE  compile into FILE, for a second MPI: the variable MAFLOW_MPI=FILE has maflow use it

Without --to the link is in the user's cache folder, where maflow looks for it. May be repeated, with another MPI too: the last
one counts. On a cluster load the module of the MPI first that your jobs are started with.
EOT
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

out=
while [ $# -gt 0 ]; do
    case $1 in
    --to)
        [ $# -gt 1 ] || fail "--to needs a file: see --help"
        out=$2
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        printf 'error: there is no argument %s: see --help\n' "$1" >&2
        exit 2
        ;;
    esac
    shift
done

source=$(cd "$(dirname "$0")/.." && pwd)/crates/mpi/shim/maflow_mpi.c
compiler=${MPICC:-mpicc}
command -v "$compiler" >/dev/null ||
    fail "there is no $compiler: load the module of an MPI, install one (openmpi-bin and libopenmpi-dev on Debian and Ubuntu), or name its compiler in MPICC"
if [ -z "$out" ]; then
    case $(uname -s) in
    Darwin) cache=${HOME:?the variable HOME is not set}/Library/Caches ;;
    *) cache=${XDG_CACHE_HOME:-${HOME:?the variable HOME is not set}/.cache} ;;
    esac
    out=$cache/maflow/mpi-$INTERFACE/maflow_mpi.so
fi
folder=$(dirname "$out")
mkdir -p "$folder" || fail "$folder cannot be made: name another file with --to"

# Compiled beside its place and then renamed: what exists is whole.
work=$(mktemp "$folder/unfinished.XXXXXX") || fail "$folder cannot be written to: name another file with --to"
trap 'rm -f "$work"' EXIT
trap 'exit 130' INT TERM HUP
"$compiler" -std=c99 -O2 -shared -fPIC -o "$work" "$source" || fail "$compiler could not compile $source: see the lines above"
chmod 755 "$work"
mv -f "$work" "$out"
printf 'Ready: %s, by %s\n       mpirun -n 4 maflow train\n' "$out" "$(command -v "$compiler")"
