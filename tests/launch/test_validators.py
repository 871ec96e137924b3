"""Every launch file passes its validator, and no validator passes the file with a typo.

The validators live in an environment of their own, made and named by `make launch`.
GENJAX_TYPO_SEED chooses other typos.
"""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.launch import typos

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / 'launch'
VENV = os.environ.get('GENJAX_LAUNCH_VENV')
SEED = int(os.environ.get('GENJAX_TYPO_SEED', '0'))
BIN = ROOT / (VENV or '.venv-launch') / 'bin'
pytestmark = pytest.mark.skipif(not VENV, reason='validators are not installed: make launch')

SHELL = sorted([*LAUNCH.glob('*.sh'), *LAUNCH.glob('*.sbatch')])
YAML = sorted(LAUNCH.glob('*.yaml'))
DRY = ('--workload=run1', '--cluster=c', '--project=p', '--zone=us-west4-a', '--dry-run',
       '--tpu-type=v5litepod-16', '--docker-image=image', '--skip-validation',
       '--no-dependency-auto-download')
# what JobSet's own defaulting puts in, and xpk leaves out
XPK_LEAVES_OUT = ["spec/failurePolicy/rules/0: 'name' is a required property"]
# ends as a preempted run does: TERM, then a file, then 42
PREEMPTED = '''
import pathlib, signal, sys, time
def leave(*_):
  pathlib.Path('saved').touch()
  sys.exit(42)
signal.signal(signal.SIGTERM, leave)
pathlib.Path('ready').touch()
time.sleep(60)
'''


def call(folder, *command):
  """Runs a program of the validators' environment, with a home of its own."""
  env = {'PATH': f'{BIN}:{os.environ["PATH"]}', 'HOME': str(folder),
         'SKYPILOT_DISABLE_USAGE_COLLECTION': '1'}
  return subprocess.run([str(c) for c in command], cwd=folder, env=env, text=True,
                        capture_output=True, timeout=300)


def validate(folder, what, files):
  done = call(folder, BIN / 'python', ROOT / 'tests/launch/validate.py', what, *files)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


def shellcheck(folder, files):
  done = call(folder, BIN / 'shellcheck', '--enable=quote-safe-variables', '--format=json', *files)
  found = json.loads(done.stdout)
  return {str(path): [f['message'] for f in found if f['file'] == str(path)] for path in files}


def with_typos(folder, path, kinds, count=6):
  """{file: kind of the typo} of copies of a file, each with one."""
  made = {}
  for i, (text, kind) in enumerate(typos.seeded(path.read_text(), kinds, SEED, count).items()):
    copy = folder / f'{path.name}.{i}{path.suffix}'
    copy.write_text(text)
    copy.chmod(0o755)
    made[str(copy)] = kind
  return made


def check(folder, path, kinds, judge):
  wrong = with_typos(folder, path, kinds)
  said = judge([path, *wrong])
  assert said.pop(str(path)) == []
  missed = {f'{kind}: {pathlib.Path(file).read_text()}'
            for file, kind in wrong.items() if not said[file]}
  assert not missed and len(wrong) >= 3, (SEED, missed)
  print(f'{path.name}, seed {SEED}:', *(f'{wrong[file]}: {errors[0]}'
                                        for file, errors in said.items()), sep='\n  ')


@pytest.mark.parametrize('path', SHELL, ids=lambda path: path.name)
def test_shellcheck(path, tmp_path):
  kinds = [typos.quote, typos.unquoted, typos.variable, typos.keyword]
  check(tmp_path, path, kinds, lambda files: shellcheck(tmp_path, files))


@pytest.mark.parametrize('path', sorted(LAUNCH.glob('*.sbatch')), ids=lambda path: path.name)
def test_options_of_sbatch(path, tmp_path):
  check(tmp_path, path, [typos.option], lambda files: validate(tmp_path, 'sbatch', files))


def test_jobset_schema(tmp_path):
  check(tmp_path, LAUNCH / 'jobset.yaml', [typos.key, typos.value],
        lambda files: validate(tmp_path, 'jobset', files))


def test_sky_task(tmp_path):
  check(tmp_path, LAUNCH / 'sky.yaml', [typos.key],
        lambda files: validate(tmp_path, 'sky', files))


@pytest.mark.parametrize('path', YAML, ids=lambda path: path.name)
def test_yamllint(path, tmp_path):
  rules = ('{extends: default, rules: {document-start: disable, line-length: {max: 100}, '
           'comments: {min-spaces-from-content: 1}}}')
  done = call(tmp_path, BIN / 'yamllint', '--strict', '-d', rules, path)
  assert done.returncode == 0, done.stdout


def xpk(folder, script, *command):
  """The exit code of the dry run of launch/xpk.sh, and the JobSet that it writes."""
  manifest = folder / f'{script.name}.yaml'
  done = call(folder, script, *DRY, f'--output-manifest-file={manifest}', '--', *command)
  return done, manifest


def test_xpk_dry_run(tmp_path):
  command = ('python', '-m', 'experiments.train', "--config=a b:c='$d'", '--workdir=gs://b/r')
  done, manifest = xpk(tmp_path, LAUNCH / 'xpk.sh', *command)
  assert done.returncode == 0, done.stderr + done.stdout
  assert validate(tmp_path, 'jobset', [manifest])[str(manifest)] == XPK_LEAVES_OUT
  spec = yaml.safe_load(manifest.read_text())['spec']
  job = spec['replicatedJobs'][0]['template']['spec']
  rule = job['podFailurePolicy']['rules'][0]
  restarted = set(rule['onExitCodes']['values'])
  assert (rule['action'], rule['onExitCodes']['operator']) == ('FailJob', 'NotIn')
  assert {42, 134, 137, 143} <= restarted and not {0, 1} & restarted
  assert spec['failurePolicy']['maxRestarts'] == 50 and job['completions'] == 4
  assert job['template']['spec']['terminationGracePeriodSeconds'] == 300
  assert r"(exec python -m experiments.train --config=a\ b:c=\'\$d\' --workdir=gs://b/r )" in (
      job['template']['spec']['containers'][0]['command'][2])


def test_xpk_finds_typos(tmp_path):
  wrong = with_typos(tmp_path, LAUNCH / 'xpk.sh', [typos.flag], count=3)
  for script in wrong:
    done, manifest = xpk(tmp_path, pathlib.Path(script), 'python', '-m', 'experiments.train')
    assert done.returncode != 0 and not manifest.exists(), (SEED, pathlib.Path(script).read_text())
    print(f'seed {SEED}:', done.stderr.strip().splitlines()[-1:])


@pytest.mark.parametrize('command, code, saved', [
    ('exec PROGRAM', 42, True), ('cd . && exec PROGRAM', 42, True),
    ('PROGRAM && cd .', 143, False)])
def test_what_xpk_does_with_the_term(tmp_path, command, code, saved):
  """In the wrapper that xpk writes, a program behind a shell does not get the signal."""
  program = tmp_path / 'program.py'
  program.write_text(PREEMPTED)
  _, manifest = xpk(tmp_path, LAUNCH / 'xpk.sh', 'PROGRAM', 'x')
  job = yaml.safe_load(manifest.read_text())['spec']['replicatedJobs'][0]['template']['spec']
  *shell, script = job['template']['spec']['containers'][0]['command']
  assert 'exec PROGRAM x ' in script
  script = script.replace('exec PROGRAM x ', command.replace('PROGRAM',
                                                             f'{sys.executable} {program}'))
  process = subprocess.Popen([*shell, script], cwd=tmp_path, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, start_new_session=True)
  try:
    while not (tmp_path / 'ready').exists():
      time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == code
    assert (tmp_path / 'saved').exists() == saved
  finally:
    with contextlib.suppress(ProcessLookupError):  # the group is empty if all have ended
      os.killpg(process.pid, signal.SIGKILL)
