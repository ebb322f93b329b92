#!/bin/sh
# Builds the Dockerfile for real, runs the smoke batch in the image, prints build time, image size and run time.
# With a Docker engine: docker. Without one, as root: buildah, on a base image made here by debootstrap from the package index this machine uses.
# Neither: says what is missing and skips. Needs about 25 GB of free space in ${TMPDIR:-/tmp}; everything made is deleted at the end.
# RUN: the command to run inside (make reproduce PROFILE=smoke).  KEEP=1: keep the scratch folder.  SCRATCH: use (and keep) this one.
set -eu
cd "$(dirname "$0")/.."
image=${IMAGE:-paper_repro}
base=${BASE:-python:3.11-slim-bookworm}
run=${RUN:-make reproduce PROFILE=smoke}

say() { printf '%s\n' "$*"; }
skip() { say "docker-test skipped: $*"; exit 0; }
now() { date +%s; }
summary() { say "docker-test passed ($1): build $2 s, image $3, '$run' inside $4 s."; }

if command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    t0=$(now)
    docker build --build-arg BASE="$base" --tag "$image" .
    t1=$(now)
    docker run --rm --ipc=host "$image" sh -c "$run"
    size=$(docker image inspect --format '{{.Size}}' "$image" | awk '{printf "%.2f GB", $1 / 1e9}')
    summary docker $((t1 - t0)) "$size" $(($(now) - t1))
    exit 0
fi

[ "$(id -u)" = 0 ] || skip 'no Docker engine answers, and buildah needs root here'
for tool in buildah debootstrap; do
    command -v $tool >/dev/null 2>&1 || skip "no Docker engine answers, and $tool is not installed (apt-get install buildah debootstrap)"
done

if [ -n "${SCRATCH:-}" ]; then
    scratch=$SCRATCH
    mkdir -p "$scratch"
    KEEP=1
else
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/paper_repro_docker.XXXXXX")
fi
b() {
    command=$1
    shift
    TMPDIR=$scratch buildah --root "$scratch/storage" --runroot "$scratch/runroot" --storage-driver overlay "$command" "$@"
}
finish() {
    status=$?
    trap - EXIT INT TERM
    b rm --all >/dev/null 2>&1 || true
    if [ -z "${KEEP:-}" ]; then
        b umount --all >/dev/null 2>&1 || true
        b rmi --all --force >/dev/null 2>&1 || true
        umount "$scratch/storage/overlay" 2>/dev/null || true
        rm -rf "$scratch"
    else
        say "kept: $scratch"
    fi
    exit $status
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The base, under the official one's name: Debian with Python, and how this machine reaches its package indexes. Sizes and settings are read here and
# now; nothing of the machine is written into the project.
if ! b inspect --type image "docker.io/library/$base" >/dev/null 2>&1; then
    t0=$(now)
    suite=${SUITE:-bookworm}
    mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2>/dev/null | awk -v s="$suite" '$2 == s {print $1; exit}')}
    box=$(b from scratch)
    root=$(b mount "$box")
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates "$suite" "$root" ${mirror:+"$mirror"} > "$scratch/debootstrap.log" 2>&1 ||
        { tail -n 20 "$scratch/debootstrap.log"; say "docker-test failed: debootstrap"; exit 1; }
    ln -sf python3 "$root/usr/bin/python"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    apt-config dump | grep -E '^Acquire::(http|https|Check|ForceIPv|Retries)' > "$root/etc/apt/apt.conf.d/99machine" || true
    certs=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    if [ -f "$certs" ]; then cat "$certs" > "$root/etc/ssl/certs/ca-certificates.crt"; fi
    # pip's settings, without folders of this machine: they do not exist inside
    python3 - "$root/etc/pip.conf" <<'PY'
import re, subprocess, sys
keep = {}
listed = subprocess.run([sys.executable, '-m', 'pip', 'config', 'list'], capture_output=True, text=True).stdout
for name, value in re.findall(r"^(?::env:|global|user|site|install)\.([\w-]+)='(.*)'$", listed, re.M):
    if name in ('index-url', 'extra-index-url', 'trusted-host', 'proxy', 'default-timeout', 'timeout', 'retries'):
        value = ' '.join(v for v in value.split() if not v.startswith(('file:', '/')))
        if value: keep[name.removeprefix('default-')] = value
keep['cert'] = '/etc/ssl/certs/ca-certificates.crt'
with open(sys.argv[1], 'w') as f: f.write('[global]\n' + ''.join(f'{k} = {v}\n' for k, v in keep.items()))
PY
    b umount "$box" >/dev/null
    b config --cmd python3 --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt --env REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt "$box"
    b commit --quiet --format docker "$box" "docker.io/library/$base" >/dev/null
    b rm "$box" >/dev/null
    say "base image from debootstrap: $(($(now) - t0)) s"
fi

t0=$(now)
b build --isolation chroot --format docker --layers --pull=never --build-arg BASE="$base" --tag "$image" .
t1=$(now)
size=$(b images --json "$image" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["size"])')
box=$(b from --pull=never "$image")
b run --isolation chroot "$box" -- sh -c "$run"
summary "buildah, $base" $((t1 - t0)) "$size" $(($(now) - t1))
