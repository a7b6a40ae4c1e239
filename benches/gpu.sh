#!/bin/sh
# Measures a GPU: seconds per training step and memory of the paper's models, and what TF32 does to their figures. See --help.
set -eu

usage() {
    cat <<EOF
Usage: benches/gpu.sh [--backend NAME] [--steps N] [--data DIR] [--out DIR]

Trains ising-16-paper, and mnist where its data are given, for N steps in every precision of the backend, and prints the median
seconds per step, the most device memory seen, and the figures of one run evaluated in every precision.

  --backend NAME  tch-cuda (default); tch-cpu shows that this script works
  --steps N       training steps (default 100)
  --data DIR      folder with the MNIST files
  --out DIR       where the runs go (default runs/gpu); must not exist

The program is built with --release, unless the variable MAFLOW names one.
EOF
}

backend=tch-cuda steps=100 data='' out=runs/gpu
while [ $# -gt 0 ]; do
    case $1 in
    --backend | --steps | --data | --out)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        eval "${1#--}=\$2"
        shift
        ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
case $backend in
tch-cuda) precisions="f32 tf32 f64" ;;
*) precisions="f32 f64" ;;
esac
[ ! -e "$out" ] || { echo "error: $out exists: remove it, or name another folder with --out" >&2; exit 1; }

cd "$(dirname "$0")/.."
if [ -z "${MAFLOW:-}" ]; then
    cargo build --locked --release -p cli
    MAFLOW=${CARGO_TARGET_DIR:-target}/release/maflow
fi
"$MAFLOW" doctor

# The most memory that the process with this id used on a device, in MiB, until it ends; "-" where nobody counts.
memory_of() {
    most=-
    while kill -0 "$1" 2>/dev/null; do
        now=$(nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null |
            awk -F', *' -v pid="$1" '$1 == pid { print $2 }')
        if [ -n "$now" ] && { [ "$most" = - ] || [ "$now" -gt "$most" ]; }; then most=$now; fi
        sleep 0.5
    done
    echo "$most"
}

# Median of the differences of the last column of metrics.csv, the first steps (which warm up) left out.
seconds_per_step() {
    awk -F, 'NR > 2 { if (NR > 12 || !many) print $NF - last } { last = $NF }' many="$([ "$steps" -gt 30 ] && echo 1)" "$1" |
        sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

measure() { # RECIPE KEY_OF_THE_FIGURE ARGUMENTS...
    recipe=$1 key=$2
    shift 2
    for precision in $precisions; do
        run=$out/$recipe-$precision
        "$MAFLOW" --backend "$backend" --precision "$precision" train "$recipe" "$@" --out "$run" \
            --set train.steps="$steps" --set train.watch_every=0 --set evaluate.samples=100 >"$out/log.txt" 2>&1 &
        memory=$(memory_of $!)
        wait $! || { tail -n 1 "$out/log.txt" >&2; exit 1; }
        echo "$recipe $backend $precision: $(seconds_per_step "$run/metrics.csv") s per step, $memory MiB"
    done
    for precision in $precisions; do
        figure=$("$MAFLOW" --backend "$backend" --precision "$precision" evaluate "$out/$recipe-f32" "$@" --samples 100 --json |
            sed -n "s/.*\"$key\": *\([-+.0-9e]*\).*/\1/p")
        echo "$recipe $backend: $key in $precision: $figure"
    done
}

mkdir -p "$out"
measure ising-16-paper free_energy_per_site
[ -z "$data" ] || measure mnist nll_nats --data "$data"
