#!/usr/bin/env bash
# Submits a job to a GKE cluster made by Cluster Toolkit, which replaces xpk; flags before -- are
# those of gcluster job submit, the rest is the command.
#
#   launch/gcluster.sh --name=run1 --cluster=C --location=Z --project=P \
#     --compute-type=v5litepod-16 --image=IMAGE --mount='CLAIM;/shared;rw' -- \
#     python -m experiments.train --config=FILE.py:ARGUMENT --workdir=/shared/RUN
#
# JobSet restarts the job on the listed exit codes, up to --restarts; any other code fails it.
# To read the JobSet instead of applying it: --dry-run-out=jobset.yaml (it asks the cluster for its
# queue and its machines).
set -euo pipefail

flags=()
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
  flags+=("$1")
  shift
done
if [ "$#" -lt 2 ]; then
  echo "usage: $0 GCLUSTER_FLAG... -- COMMAND [ARGUMENT...]" >&2
  exit 1
fi
shift
# exec: gcluster runs the command by bash -c, which would keep the SIGTERM to itself.
# 42: preempted; 134: another host vanished; 137 and 143: killed. Without the list 1 restarts too.
# grace-period: the 30 s of its default may not be enough to save.
exec gcluster job submit --restarts=50 --restart-on-exit-codes=42,134,137,143 \
  --grace-period=300s "${flags[@]}" --command="exec $(printf '%q ' "$@")"
