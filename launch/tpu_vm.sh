#!/usr/bin/env bash
# Runs a command on every host of a TPU VM slice; the hosts find each other by the VM's metadata.
#
#   launch/tpu_vm.sh NAME ZONE \
#     python -m experiments.train --config=FILE.py:ARGUMENT --workdir=/shared/RUN
#
# over ssh, in genjax (or $GENJAX_DIR) under the home of every host. With ACCELERATOR and RUNTIME,
#
#   ACCELERATOR=v5litepod-16 RUNTIME=v2-alpha-tpuv5-lite launch/tpu_vm.sh NAME ZONE COMMAND...
#
# a spot slice is queued for instead, with the command as its startup script: every host runs it at
# every boot, as root, and it resumes. The disk is new: the command must bring the code, e.g. be a
# `docker run`. When the slice is taken away, the same line once more, after
#
#   gcloud compute tpus queued-resources delete NAME --zone=ZONE --force
set -euo pipefail

if [ "$#" -lt 3 ]; then
  echo "usage: $0 NAME ZONE COMMAND [ARGUMENT...]" >&2
  exit 1
fi
name=$1 zone=$2
shift 2
# exec: a shell in between would take the SIGTERM for itself, and nothing would be saved
command="exec $(printf '%q ' "$@")"

if [ -z "${ACCELERATOR:-}" ]; then
  exec gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
    --command="cd $(printf '%q' "${GENJAX_DIR:-genjax}") && $command"
fi

: "${RUNTIME:?the image of the TPU VM, e.g. v2-alpha-tpuv5-lite}"
script=$(mktemp)
trap 'rm -f "$script"' EXIT
printf '#!/bin/bash\n%s\n' "$command" > "$script"
gcloud compute tpus queued-resources create "$name" --node-id="$name" --zone="$zone" --spot \
  --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME" \
  --metadata-from-file=startup-script="$script"
