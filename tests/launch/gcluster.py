"""What `gcluster job submit` takes: its published flags, in place of a program that is not here.

docs.cloud.google.com/cluster-toolkit/docs/reference/gcluster-job-submit and .../gcluster-job, and
cmd/job/submit.go of GoogleCloudPlatform/cluster-toolkit, read in November 2026. Flags of Pathways,
of multi-tier checkpoints and short names are left out: the launch file has no use for them.
"""

import argparse
import re


def duration(text):
  """Seconds of what Go's time.ParseDuration takes: 30s, 5m, 1h30m."""
  if not re.fullmatch(r'(\d+(\.\d+)?[smh])+', text):
    raise argparse.ArgumentTypeError(f'{text!r} is no duration')
  return sum(float(number) * {'s': 1, 'm': 60, 'h': 3600}[unit]
             for number, _, unit in re.findall(r'(\d+(\.\d+)?)([smh])', text))


def exit_codes(text):
  codes = [int(word) for word in text.split(',')]
  if not all(1 <= code <= 255 for code in codes):
    raise argparse.ArgumentTypeError(f'{text!r} holds what is no exit code of a failure')
  return codes


REQUIRED = {'--name': str, '--compute-type': str, '--command': str, '--image': str}
OPTIONAL = {
    '--cluster': str, '--location': str, '--project': str, '--gke-namespace': str,
    '--dry-run-out': str, '--mount': str, '--env': str, '--queue': str, '--num-nodes': int,
    '--num-slices': int, '--topology': str, '--restarts': int,
    '--restart-on-exit-codes': exit_codes, '--grace-period': duration,
    '--gke-ttl-after-finished': duration, '--placement-policy': str,
    '--node-constraint': str, '--cpu-affinity': str, '--image-pull-secret': str,
    '--service-account': str, '--gke-scheduler': str, '--timeout': duration, '--priority': str,
    '--gke-nap-provisioning': str, '--gke-nap-reservation': str}
SWITCHES = ('--skip-prereqs', '--await-job-completion', '--verbose')


def submitted(arguments):
  """The values of a call's arguments, by flag. Raises ValueError for a word it does not take."""
  parser = argparse.ArgumentParser('gcluster', allow_abbrev=False, exit_on_error=False)
  parser.add_argument('group', choices=('job',))
  parser.add_argument('verb', choices=('submit',))
  for flag, kind in (REQUIRED | OPTIONAL).items():
    parser.add_argument(flag, type=kind, required=flag in REQUIRED)
  for flag in SWITCHES:
    parser.add_argument(flag, action='store_true')
  try:
    known, unknown = parser.parse_known_args(arguments)
  except (argparse.ArgumentError, SystemExit) as error:
    raise ValueError(f'gcluster {" ".join(arguments)}: {error}') from error
  if unknown:
    raise ValueError(f'gcluster does not take {unknown}')
  return {flag: value for flag, value in vars(known).items() if value is not None}
