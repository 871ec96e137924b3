#!/usr/bin/env bash
# Submits a workload to a GKE cluster made by xpk; flags before -- are xpk's, the rest
# is the command.
#
#   launch/xpk.sh --workload=run1 --cluster=C --project=P --zone=Z --tpu-type=v5litepod-16 \
#     --docker-image=IMAGE -- \
#     python -m experiments.train --config=FILE.py:ARGUMENT --workdir=/shared/RUN
#
# xpk restarts the job on 42 and 127-255 by itself, up to --max-restarts; any other code fails it.
# Check without a cluster: --dry-run --skip-validation --no-dependency-auto-download
# --output-manifest-file=jobset.yaml
set -euo pipefail

flags=()
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do
  flags+=("$1")
  shift
done
if [ "$#" -lt 2 ]; then
  echo "usage: $0 XPK_FLAG... -- COMMAND [ARGUMENT...]" >&2
  exit 1
fi
shift
# exec: xpk runs (COMMAND) & and passes the SIGTERM to that shell, which would not pass it on.
# tgps: the 30 s of its default may not be enough to save.
exec xpk workload create --max-restarts=50 -tgps=300 "${flags[@]}" \
  --command="exec $(printf '%q ' "$@")"
