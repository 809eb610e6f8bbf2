#!/bin/bash
# Build the container image from nothing and run a short day in it (`make image-test`, as root, on Debian).
#
# No registry is asked: the base image is a Debian made here by mmdebstrap and imported under the name that the
# Dockerfile says. The container engine is our own: its socket, data and pid file live in one temporary directory, and
# only that engine is stopped at the end.
#
#   BASE_TAR=FILE  keep the base system there and use it again (making it takes two minutes)
#   KEEP_IMAGE=1   do not delete the temporary directory
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { echo "image-test: $*" >&2; }
fail() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || fail "run it as root: a container engine of its own needs it."
missing=()
for tool in dockerd docker mmdebstrap iptables; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || fail "missing: ${missing[*]}; install docker, mmdebstrap and iptables."
    say "apt-get install docker.io mmdebstrap iptables"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 -qq update
    apt-get -o DPkg::Lock::Timeout=300 -qq install --yes --no-install-recommends docker.io mmdebstrap iptables >/dev/null
fi

work=$(mktemp -d /tmp/evcharge-image.XXXXXX)
engine_pid=
finish() {
    status=$?
    if [ -n "$engine_pid" ]; then
        kill "$engine_pid" 2>/dev/null || true
        wait "$engine_pid" 2>/dev/null || true
    fi
    if [ -z "${KEEP_IMAGE:-}" ]; then
        findmnt --list --noheadings --output TARGET 2>/dev/null | grep "^$work/" | sort -r | xargs -r umount || true
        rm -rf "$work"
    fi
    exit "$status"
}
trap finish EXIT

base=${BASE_TAR:-$work/base.tar}
if [ ! -s "$base" ]; then
    say "making a base system (two minutes)"
    mmdebstrap --quiet --format=tar --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates,netbase,tzdata \
        --customize-hook='ln -sf python3 "$1/usr/bin/python"; rm -f "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED' \
        bookworm "$base.part"
    mv "$base.part" "$base"
fi

say "starting a container engine"
export DOCKER_HOST="unix://$work/docker.sock" DOCKER_BUILDKIT=0
dockerd --host "$DOCKER_HOST" --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/docker.pid" \
    --exec-opt native.cgroupdriver=cgroupfs >"$work/engine.log" 2>&1 &
engine_pid=$!
for _ in $(seq 300); do
    docker version >/dev/null 2>&1 && break
    kill -0 "$engine_pid" 2>/dev/null || fail "the container engine ended: $(tail -1 "$work/engine.log")"
    sleep 0.2
done
docker version >/dev/null || fail "the container engine did not answer in a minute: $(tail -1 "$work/engine.log")"

docker import "$base" python:3.11-slim >/dev/null
# The build may have to trust the certificates that this machine trusts; they go into the base of this test only.
mkdir "$work/base"
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$work/base/ca.crt"
printf 'FROM python:3.11-slim\nCOPY ca.crt /etc/ssl/certs/ca-certificates.crt\nENV PIP_CERT=%s NODE_EXTRA_CA_CERTS=%s%s%s\n' \
    /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt "${PIP_INDEX_URL:+ PIP_INDEX_URL=$PIP_INDEX_URL}" \
    "${npm_config_registry:+ npm_config_registry=$npm_config_registry}" >"$work/base/Dockerfile"
docker build --quiet --network=host --tag python:3.11-slim "$work/base" >/dev/null 2>"$work/base.log" \
    || { cat "$work/base.log" >&2; fail "the base image failed."; }
docker image inspect python:3.11-slim >/dev/null

say "building the image"
docker build --network=host --tag evcharge . >"$work/build.log" 2>&1 || { tail -20 "$work/build.log" >&2; fail "the build failed."; }
user=$(docker run --rm --network=none evcharge id -u)
[ "$user" != 0 ] || fail "the image runs as root."

docker run --rm --network=none evcharge python -c 'from importlib.resources import files
page = files("evcharge") / "sidecar" / "page"
assert (page / "index.html").is_file() and (page / "vendor" / "uplot" / "uPlot.esm.js").is_file()
assert not (page / "node_modules").is_dir()' || fail "the page is not in the image as it should be."

say "a short day inside"
answer=$(docker run --rm --network=none evcharge evcharge-demo \
    --charge-points 6 --count 10 --speed 2000 --exit --json 2>"$work/demo.log") \
    || { tail -20 "$work/demo.log" >&2; fail "the demo failed in the container."; }
echo "$answer"
python3 - "$answer" <<'CHECK' || fail "the figures do not agree."
import json, sys
day = json.loads(sys.argv[1].splitlines()[-1])
assert day["sessions"] == 10 and day["tickets"] == day["started"] > 0, day
assert day["energy_wh_tickets"] == day["energy_wh_meters"] > 0, day
assert 0 < day["peak_w"] <= day["capacity_w"], day
CHECK
say "passed; $(docker image inspect --format '{{.Size}}' evcharge | awk '{printf "%d MB", $1/1e6}')"
