#!/bin/sh
# Sets up libtorch for the backends tch-cpu and tch-cuda: fetches it, compiles its C interface, writes down where. See
# --help.
set -eu

TORCH=2.11.0     # the version the pinned `tch` was written for
CUDA=13.0        # what its CUDA set is built with
TORCH_SYS=0.24.0 # the C interface of that `tch`

usage() {
    cat <<EOF
Usage: scripts/setup-libtorch.sh [--cuda | --cuda-interface] [--to DIR]

Sets up libtorch $TORCH, so that \`cargo run -p cli -- --backend tch-cpu\` works.

  --cuda            the full CUDA set, for \`--backend tch-cuda\` (2.5 GB to fetch, 3.7 GB on disk;
                    without it 540 MB to fetch, 540 MB on disk)
  --cuda-interface  compiles the part of the C interface that is for CUDA, and fetches no more of CUDA than headers (2 MB):
                    for a program that is to run on another machine, see benches/gpu.sh --pack
  --to DIR          keep everything in DIR instead of the user's cache folder

A libtorch $TORCH that is there already is used instead of a fetched one:
  LIBTORCH=DIR            a libtorch, or the folder \`torch\` of a PyTorch package
  LIBTORCH_USE_PYTORCH=1  the PyTorch of python3

The part of the C interface for CUDA wants headers of CUDA: those of NVIDIA's packages beside libtorch, else those below
CUDA_HOME=DIR (/usr/local/cuda), else they are fetched for the compilation.

Needs python3, with pip to fetch, and a C++ compiler (c++, or the variable CXX). May be repeated: what is there is kept.
Where both are is written into libtorch.setup in the user's cache folder, which the program reads.
EOF
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

cuda=no
cuda_interface=no
store=
while [ $# -gt 0 ]; do
    case $1 in
    --cuda) cuda=yes ;;
    --cuda-interface) cuda_interface=yes ;;
    --to)
        [ $# -gt 1 ] || fail "--to needs a folder: see --help"
        store=$2
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

project=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?the variable HOME is not set}/.cache}/maflow
case $(uname -s)-$(uname -m) in
Linux-x86_64 | Linux-aarch64) ;;
*) fail "libtorch is set up on Linux on x86-64 and arm64 only, this is $(uname -s) on $(uname -m): use \`--backend ndarray\`" ;;
esac

[ -n "$store" ] || store=$cache
mkdir -p "$store" || fail "$store cannot be made: name another folder with --to"
store=$(cd "$store" && pwd)

# Everything is made in a folder of its own and then renamed: what exists is whole.
work=
trap 'if [ -n "$work" ]; then rm -rf "$work"; fi' EXIT
trap 'exit 130' INT TERM HUP
work=$(mktemp -d "$store/unfinished.XXXXXX") || fail "$store cannot be written to: name another folder with --to"

python=python3
need_python() {
    command -v "$python" >/dev/null || fail "there is no python3: install it"
}

# The pip of python3, or that of a virtual environment for the time being.
need_pip() {
    need_python
    "$python" -m pip --version >/dev/null 2>&1 && return
    "$python" -m venv "$work/venv" >/dev/null 2>&1 ||
        fail "python3 has no pip: install it (python3-pip on Debian and Ubuntu), or set LIBTORCH to a libtorch $TORCH"
    python=$work/venv/bin/python
}

# fetch DIR CUDA: downloads the PyPI packages and unpacks what a C++ program needs into DIR.
fetch() {
    need_pip
    if [ "$2" = yes ]; then mega=6500; size="2.5 GB"; else mega=1300; size="540 MB"; fi
    free=$(df -Pm "$store" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge "$mega" ] ||
        fail "$store has $free MB left, $mega MB are needed while unpacking: free some space, or name another folder with --to"

    say "Fetching libtorch $TORCH ($size) into $store"
    download torch --no-deps "torch==$TORCH"
    # The NVIDIA packages that this very torch asks for; without CUDA, the two its CPU library is linked to.
    "$python" - "$work/torch" "$2" >"$work/nvidia.txt" <<'EOF'
import glob, re, sys, zipfile
wheel, cuda = zipfile.ZipFile(glob.glob(sys.argv[1] + "/torch-*.whl")[0]), sys.argv[2] == "yes"
metadata = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
for line in wheel.read(metadata).decode().splitlines():
    if line.startswith(("Requires-Dist: cuda-toolkit", "Requires-Dist: nvidia-")):
        need = line.split(": ", 1)[1].split(";")[0].strip()
        toolkit = need.startswith("cuda-toolkit")
        if toolkit:
            # Headers of CUDA include those of `crt`, which torch itself does not want.
            need = re.sub(r"\[(.*)\]", r"[\1,crt]" if cuda else "[cudart,cupti]", need)
        if toolkit or cuda:
            print(need)
EOF
    if [ -s "$work/nvidia.txt" ]; then
        download nvidia -r "$work/nvidia.txt"
    fi

    say "Unpacking"
    mkdir "$work/whole"
    "$python" - "$work" "$2" <<'EOF' || fail "libtorch could not be unpacked into $store: see the line above"
import glob, os, re, sys, zipfile
work, cuda = sys.argv[1], sys.argv[2] == "yes"
# Of torch its libraries (those of Python and, without CUDA, of CUDA left out), headers, version and licence. Of the
# NVIDIA packages their libraries, and for CUDA the headers that its part of the C interface is compiled with.
nvidia = "nvidia/.*/(lib|include)/.*" if cuda else "nvidia/.*/lib/.*"
wanted = re.compile(r"torch/(include/.*|version\.py|lib/[^/]*\.so[^/]*)|[^/]*\.dist-info/.*(LICENSE|NOTICE|License).*|" + nvidia)
unwanted = re.compile(r"torch/lib/lib(torch_python|shm)\..*" + ("" if cuda else r"|torch/lib/.*(cuda|nvrtc|nvshmem).*"))
try:
    for path in glob.glob(work + "/*/*.whl"):
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                if wanted.fullmatch(name) and not unwanted.fullmatch(name):
                    wheel.extract(name, work + "/whole")
        os.remove(path)
except OSError as error:
    sys.exit(f"error: {error}")
EOF
    rm -rf "$1"
    mv -T "$work/whole" "$1"
    rm -rf "$work/torch" "$work/nvidia"
    say "libtorch is in $1 ($(du -sm "$1" | cut -f 1) MB)"
}

# download NAME PIP_ARGUMENTS...: wheels into $work/NAME. Any python3 will do: they are not for running Python.
download() {
    into=$work/$1
    shift
    "$python" -m pip download --quiet --no-cache-dir --only-binary=:all: --python-version 3.12 -d "$into" "$@" ||
        fail "the packages could not be fetched: check the network (and pip's settings), or set LIBTORCH to a libtorch $TORCH"
}

# 1. libtorch: the user's own, or the fetched one (a CUDA set already there serves the CPU too).
if [ -n "${LIBTORCH:-}" ]; then
    libtorch=$(cd "$LIBTORCH" 2>/dev/null && pwd) || fail "LIBTORCH names $LIBTORCH, which is no folder: correct it or unset it"
elif [ "${LIBTORCH_USE_PYTORCH:-0}" != 0 ]; then
    need_python
    libtorch=$("$python" -c 'import importlib.util, os; print(os.path.dirname(importlib.util.find_spec("torch").origin))' 2>/dev/null) ||
        fail "LIBTORCH_USE_PYTORCH is set, but python3 has no torch: install torch==$TORCH, or unset the variable"
elif [ "$cuda" = yes ] || [ -d "$store/libtorch-$TORCH-cuda" ]; then
    cuda=yes
    libtorch=$store/libtorch-$TORCH-cuda/torch
    [ -e "$libtorch/lib/libtorch_cuda.so" ] || fetch "$store/libtorch-$TORCH-cuda" yes
else
    libtorch=$store/libtorch-$TORCH-cpu/torch
    [ -e "$libtorch/lib/libtorch_cpu.so" ] || fetch "$store/libtorch-$TORCH-cpu" no
fi
if [ "$cuda" = yes ] && [ ! -e "$libtorch/lib/libtorch_cuda.so" ]; then
    fail "libtorch in $libtorch is for the CPU only: unset LIBTORCH to fetch the CUDA set, or leave out --cuda"
fi
# 2. Its C interface, compiled once for every build of every clone, and what the program has to know: by the file that
# does the same for `maflow.setup_torch` in Python.
set_up() {
    need_python
    python3 "$project/crates/python/python/maflow/_interface.py" --project "$project" --libtorch "$libtorch" --store "$store" \
        --setup "${MAFLOW_LIBTORCH_SETUP:-$cache/libtorch.setup}" --torch "$TORCH" --torch-sys "$TORCH_SYS" "$@"
}

fetch_cuda_headers() {
    need_pip
    say "Fetching the headers of CUDA (2 MB)"
    download headers --no-deps "nvidia-cuda-runtime==$CUDA.*" "nvidia-cuda-crt==$CUDA.*"
    "$python" - "$work/headers" <<'EOF' || fail "the headers of CUDA could not be unpacked: see the lines above"
import glob, sys, zipfile
for path in glob.glob(sys.argv[1] + "/*.whl"):
    with zipfile.ZipFile(path) as wheel:
        wheel.extractall(sys.argv[1], [name for name in wheel.namelist() if "/include/" in name])
EOF
    headers=$(echo "$work"/headers/nvidia/*/include)
}

if [ "$cuda$cuda_interface" = nono ]; then
    set_up || exit 1
else
    code=0
    set_up --cuda || code=$?
    case $code in
    0) ;;
    3)
        fetch_cuda_headers
        set_up --cuda --cuda-headers "$headers" || exit 1
        ;;
    *) exit 1 ;;
    esac
fi
# Earlier versions told cargo instead.
config=$project/.cargo/config.toml
if [ -e "$config" ] && head -n 1 "$config" | grep -qF '# Written by scripts/setup-libtorch.sh'; then
    rm "$config"
    rmdir "$project/.cargo" 2>/dev/null || true
    say "Removed $config, which earlier versions of this command wrote"
fi
say "Ready: cargo run -p cli -- --backend tch-cpu"
[ ! -e "$libtorch/lib/libtorch_cuda.so" ] || say "       cargo run -p cli -- --backend tch-cuda"
