#!/bin/sh
# Measures a GPU: the conformance suite on it, seconds per training step, memory, and what TF32 does to figures. See
# --help.
set -eu

usage() {
    cat <<EOF
Usage: benches/gpu.sh [--backend NAME] [--steps N] [--data DIR] [--out DIR] [--tests DIR] [--peer COMMAND]... [--minutes N]
       benches/gpu.sh --pack DIR

Runs the conformance suite where its programs are given; trains ising-16-paper and, where their data are given, mnist and mnist-conv
for N steps in every precision of the backend; prints the median seconds per step, the most device memory seen, and the
figures of one run evaluated in every precision.

  --backend NAME  tch-cuda (default); tch-cpu shows that this script works
  --steps N       training steps (default 100)
  --data DIR      folder with the MNIST files
  --out DIR       where the runs go (default runs/gpu); must not exist
  --tests DIR     folder with the programs of the conformance suite, as --pack leaves them
  --peer COMMAND  a program to be measured in the same minutes, which prints its own seconds per step; may be repeated
  --minutes N     starts nothing more after N minutes (default 8)
  --pack DIR      builds the program, the tests and what compare.py runs, and puts all that a GPU machine without Rust needs into DIR:
                  there, LIBTORCH=... DIR/gpu.sh --tests DIR/tests ... does the rest, and
                  DIR/compare.py --cuda --program DIR/measure ... the comparison with the peers

The program is built with --release, unless the variable MAFLOW names one or one lies beside this script.
EOF
}

backend=tch-cuda steps=100 data='' out=runs/gpu tests='' minutes=8 pack='' peers='' failed=0
while [ $# -gt 0 ]; do
    case $1 in
    --backend | --steps | --data | --out | --tests | --minutes | --pack)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        eval "${1#--}=\$2"
        shift
        ;;
    --peer)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        peers="$peers$2
"
        shift
        ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}

# Everything that a machine without Rust needs, in one folder.
if [ -n "$pack" ]; then
    mkdir -p "$pack/tests"
    pack=$(cd "$pack" && pwd)
    cd "$here/.."
    scripts/setup-libtorch.sh --cuda-interface
    cargo build --locked --release -p cli -p benches --bins --example measure
    cp "$target/release/maflow" "$target/release/examples/measure" benches/gpu.sh benches/compare.py benches/programs.py "$pack/"
    cp -r benches/peers "$pack/"
    # The others test the crate itself and want its sources and cargo.
    cargo test --locked --release -p backend-tch --lib --test captured --test conformance --test equality --test product \
        --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | while read -r program; do cp "$program" "$pack/tests/"; done
    interface=$(dirname "$(sed -n "s/^interface = //p" "${MAFLOW_LIBTORCH_SETUP:-${XDG_CACHE_HOME:-$HOME/.cache}/maflow/libtorch.setup}")")
    cp "$interface/libtch.so" "$interface/libtch_cuda.so" "$pack/"
    strip "$pack/maflow" "$pack/measure" "$pack"/tests/* || echo "not stripped"
    ls "$pack"/tests/* >/dev/null
    du -sh "$pack"
    exit 0
fi

case $backend in
tch-cuda) precisions="f32 tf32 f64" ;;
*) precisions="f32 f64" ;;
esac
[ ! -e "$out" ] || { echo "error: $out exists: remove it, or name another folder with --out" >&2; exit 1; }

if [ -z "${MAFLOW:-}" ] && [ -x "$here/maflow" ]; then
    MAFLOW=$here/maflow
elif [ -z "${MAFLOW:-}" ]; then
    (cd "$here/.." && cargo build --locked --release -p cli)
    MAFLOW=$target/release/maflow
fi
if [ -e "$here/libtch.so" ]; then
    export MAFLOW_LIBTCH="${MAFLOW_LIBTCH:-$here/libtch.so}"
fi
"$MAFLOW" doctor

start=$(date +%s)
# Whether there is time for one more part, which is named where there is not.
time_for() {
    [ $(($(date +%s) - start)) -lt $((60 * minutes)) ] || { echo "no time left for $1"; return 1; }
}

# Whether the process with this id runs; one that has ended stays in the list until it is waited for.
running() {
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null) || return 1
    [ -n "$state" ] && [ "$state" != Z ]
}

# The most memory that the process with this id used on a device, in MiB, until it ends; "-" where nobody counts.
memory_of() {
    most=-
    while running "$1"; do
        now=$(nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2>/dev/null |
            awk -F', *' -v pid="$1" '$1 == pid { print $2 }')
        if [ -n "$now" ] && { [ "$most" = - ] || [ "$now" -gt "$most" ]; }; then most=$now; fi
        sleep 0.5
    done
    echo "$most"
}

# Median of the differences of the column `seconds` of metrics.csv, the first steps (which warm up) left out.
seconds_per_step() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "seconds") column = i }
        NR > 2 { if (NR > 12 || !many) print $column - last } { last = $column }' many="$([ "$steps" -gt 30 ] && echo 1)" "$1" |
        sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

measure() { # RECIPE KEY_OF_THE_FIGURE ARGUMENTS...
    recipe=$1 key=$2
    shift 2
    for precision in $precisions; do
        time_for "$recipe in $precision" || return 0
        run=$out/$recipe-$precision
        "$MAFLOW" --backend "$backend" --precision "$precision" train "$recipe" "$@" --out "$run" \
            --set train.steps="$steps" --set train.watch_every=0 --set evaluate.samples=100 >"$out/log.txt" 2>&1 &
        memory=$(memory_of $!)
        wait $! || { tail -n 1 "$out/log.txt" >&2; exit 1; }
        echo "$recipe $backend $precision: $(seconds_per_step "$run/metrics.csv") s per step, $memory MiB"
    done
    for precision in $precisions; do
        time_for "the figure of $recipe in $precision" || return 0
        "$MAFLOW" --backend "$backend" --precision "$precision" evaluate "$out/$recipe-f32" "$@" --samples 100 --json >"$out/figures.json"
        figure=$(sed -n "s/.*\"$key\": *\([-+.0-9e]*\).*/\1/p" "$out/figures.json")
        echo "$recipe $backend: $key in $precision: $figure"
    done
}

mkdir -p "$out"
if [ -n "$tests" ]; then
    # The suite runs on CUDA wherever that works; here it has to.
    [ "$backend" != tch-cuda ] || export MAFLOW_TEST_CUDA=1
    for program in "$tests"/*; do
        name=$(basename "$program")
        time_for "$name" || break
        # What a check found is told at once, should there be no time for the end.
        "$program" --nocapture --include-ignored >"$out/$name.txt" 2>&1 || {
            failed=1
            echo "$name failed: see $out/$name.txt"
            # One that was killed has none, and the others are still to be run.
            grep -A 2 'panicked at' "$out/$name.txt" || true
        }
        grep '^test result' "$out/$name.txt" | sed "s/^/$name: /"
    done
fi
measure ising-16-paper free_energy_per_site
[ -z "$data" ] || measure mnist nll_nats --data "$data"
printf %s "$peers" | while read -r peer; do
    time_for "$peer" || continue
    echo "$peer:"
    sh -c "$peer" </dev/null || echo "$peer failed" >&2
done
# The schedule's warm-up has to be shorter than the training.
[ -z "$data" ] || measure mnist-conv nll_nats --data "$data" --set train.schedule.warmup=1
exit "$failed"
