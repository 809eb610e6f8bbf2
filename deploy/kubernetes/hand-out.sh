#!/bin/bash
# One folder of what `evcharge-sidecar provision` made, on the sidecar's volume, becomes one Secret:
#   deploy/kubernetes/hand-out.sh FOLDER SECRET [KEY=FILE…]
# Without KEY=FILE all files of the folder, by their names. Nothing is written on this machine, and a Secret that is there
# already is left alone (exit 1).
set -euo pipefail

folder=${1:?FOLDER, like charge-points/CP-1}
secret=${2:?name of the SECRET, like cp-1}
shift 2
out=/var/lib/evcharge/handout
namespace=${NAMESPACE:-evcharge}

in_sidecar() { kubectl --namespace "$namespace" exec deploy/sidecar --container sidecar -- "$@"; }

pairs=("$@")
if [ ${#pairs[@]} = 0 ]; then
    mapfile -t pairs < <(in_sidecar ls "$out/$folder" | sed 's/.*/&=&/')
    [ ${#pairs[@]} != 0 ] || { echo "hand-out: nothing in $out/$folder; is it in plan.toml?" >&2; exit 1; }
fi

arguments=()
for pair in "${pairs[@]}"; do
    # First into a variable: a cat that fails inside <(…) would make a Secret of nothing.
    # The x keeps what $(…) would cut off: newlines at the end.
    content=$(in_sidecar cat "$out/$folder/${pair#*=}" && printf x)
    exec {handle}< <(printf '%s' "${content%x}")
    arguments+=("--from-file=${pair%%=*}=/dev/fd/$handle")
done
kubectl --namespace "$namespace" create secret generic "$secret" "${arguments[@]}"
