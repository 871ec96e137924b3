"""What the launch files do, with stand-ins for the programs of a cluster; needs no validator."""

import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

import pytest
import yaml

from genjax import configs
from tests import programs
from tests.launch import gcluster, typos

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = ROOT / 'launch'
FILES = sorted(path for path in LAUNCH.iterdir() if path.name != 'requirements.txt')
HARD = ('--config=a b:c="d"', "it's", '$HOME `id` \\ *', '', 'two\nlines')
TABLE = ('--table=configs/tables/divergences_toy2d.py', '--size=tiny')
# writes what it was called with; python is only written down where it would train
RECORD = f'''#!{sys.executable}
import json, os, subprocess, sys
name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
if name == 'python' and arguments[:2] == ['-m', 'experiments.table']:
  sys.exit(subprocess.call([sys.executable, *arguments], cwd={str(ROOT)!r}))
script = [a.partition('script=')[2] for a in arguments if 'startup-script=' in a]
with open(os.environ['CALLS'], 'a') as file:
  print(json.dumps([name, *arguments, *(open(s).read() for s in script)]), file=file)
sys.exit(int(os.environ.get('CODE_OF_' + name, 0)))
'''
PREEMPTED = f'''#!{sys.executable}
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
pathlib.Path('ready').touch()
time.sleep(60)
'''


@pytest.fixture
def cluster(tmp_path):
  """run(command...) -> exit code, calls of the stand-ins, stderr."""
  (tmp_path / 'bin').mkdir()
  for name in ('gcloud', 'srun', 'scontrol', 'xpk', 'gcluster', 'python'):
    (tmp_path / 'bin' / name).write_text(RECORD)
    (tmp_path / 'bin' / name).chmod(0o755)
  calls = tmp_path / 'calls'

  def run(*command, **variables):
    calls.write_text('')
    env = {**os.environ, 'PATH': f'{tmp_path}/bin:{os.environ["PATH"]}', 'CALLS': str(calls),
           **variables}
    done = subprocess.run([str(c) for c in command], cwd=tmp_path, env=env, text=True,
                          capture_output=True, timeout=100)
    return done.returncode, [json.loads(line) for line in calls.read_text().splitlines()], (
        done.stderr)
  return run


def test_tpu_vm_runs_the_command_on_every_host(cluster, tmp_path):
  (tmp_path / 'my code').mkdir()
  code, [call], _ = cluster(LAUNCH / 'tpu_vm.sh', 'v5', 'us west', 'python', '-m', *HARD,
                            GENJAX_DIR='my code', ACCELERATOR='')
  assert code == 0
  *call, command = call
  assert call == ['gcloud', 'compute', 'tpus', 'tpu-vm', 'ssh', 'v5', '--zone=us west',
                  '--worker=all']
  # on the host a shell reads it again
  code, calls, _ = cluster('bash', '-c', command.removeprefix('--command='))
  assert code == 0 and calls == [['python', '-m', *HARD]]


def test_tpu_vm_queues(cluster):
  code, [call], _ = cluster(LAUNCH / 'tpu_vm.sh', 'v5', 'z', 'python', *HARD,
                            ACCELERATOR='v5litepod-16', RUNTIME='v2-alpha-tpuv5-lite')
  *call, file, script = call
  assert code == 0 and call == [
      'gcloud', 'compute', 'tpus', 'queued-resources', 'create', 'v5', '--node-id=v5', '--zone=z',
      '--spot', '--accelerator-type=v5litepod-16', '--runtime-version=v2-alpha-tpuv5-lite']
  path = file.removeprefix('--metadata-from-file=startup-script=')
  assert not pathlib.Path(path).exists() and script.startswith('#!/bin/bash\n')
  code, calls, _ = cluster('bash', '-c', script)
  assert code == 0 and calls == [['python', *HARD]]


def test_xpk_takes_flags_and_command_apart(cluster):
  code, [call], _ = cluster(LAUNCH / 'xpk.sh', '--workload=a b', '--dry-run', '--', 'python', *HARD,
                            '--', 'x')
  *call, command = call
  assert code == 0 and call == ['xpk', 'workload', 'create', '--max-restarts=50', '-tgps=300',
                                '--workload=a b', '--dry-run']
  code, calls, _ = cluster('bash', '-c', command.removeprefix('--command='))
  assert code == 0 and calls == [['python', *HARD, '--', 'x']]


GCLUSTER = ('--name=run1', '--cluster=c', '--location=z', '--project=p', '--image=image',
            '--compute-type=v5litepod-16', '--mount=claim;/shared;rw')


def test_gcluster_gets_flags_that_it_publishes_and_the_command(cluster):
  code, [call], _ = cluster(LAUNCH / 'gcluster.sh', *GCLUSTER, '--', 'python', *HARD, '--', 'x')
  assert code == 0
  flags = gcluster.submitted(call[1:])
  assert (flags['name'], flags['mount'], flags['location']) == ('run1', 'claim;/shared;rw', 'z')
  assert flags['grace_period'] == 300 and flags['restarts'] == 50
  assert {42, 134, 137, 143} == set(flags['restart_on_exit_codes'])
  code, calls, _ = cluster('bash', '-c', flags['command'])
  assert code == 0 and calls == [['python', *HARD, '--', 'x']]


def test_the_example_of_gcluster_is_a_call_that_it_takes(cluster):
  example = re.search(r'^#   (launch/gcluster.*?)\n#\n', (LAUNCH / 'gcluster.sh').read_text(),
                      re.DOTALL | re.MULTILINE)[1]
  _, *words = shlex.split(example.replace('\\\n#', ''))
  code, [call], _ = cluster(LAUNCH / 'gcluster.sh', *words)
  assert code == 0 and gcluster.submitted(call[1:])['mount'] == 'CLAIM;/shared;rw'


def test_typos_in_the_call_of_gcluster_are_seen(cluster, tmp_path):
  text = (LAUNCH / 'gcluster.sh').read_text()
  wrong = typos.seeded(text, [typos.flag], seed=0, count=8)
  for i, copy in enumerate(wrong):
    script = tmp_path / f'{i}.sh'
    script.write_text(copy)
    _, [call], _ = cluster('bash', script, *GCLUSTER, '--', 'python')
    with pytest.raises(ValueError, match='gcluster'):
      gcluster.submitted(call[1:])
  assert len(wrong) >= 3


@pytest.mark.parametrize('name, arguments', [('tpu_vm.sh', ['name', 'zone']),
                                             ('xpk.sh', ['--workload=a']), ('xpk.sh', ['--']),
                                             ('gcluster.sh', ['--name=a'])])
def test_too_few_arguments(cluster, name, arguments):
  code, calls, stderr = cluster(LAUNCH / name, *arguments)
  assert code == 1 and not calls and stderr.startswith('usage: ')


ENDINGS = [(0, 0, False), (1, 0, False), (42, 0, True), (42, 99, True), (134, 0, True),
           (134, 20, False), (137, 0, False), (143, 0, False)]


@pytest.mark.parametrize('name, code, restarts, again', [
    *(('slurm.sbatch', *ending) for ending in ENDINGS),
    *(pytest.param('slurm_table.sbatch', *ending,  # lists the table first
                   marks=[pytest.mark.slow] * (ending != (42, 0, True)))
      for ending in ENDINGS)])
def test_slurm_restarts_what_was_preempted(cluster, name, code, restarts, again):
  table = name == 'slurm_table.sbatch'
  arguments = TABLE if table else HARD
  ended, calls, _ = cluster('bash', LAUNCH / name, *arguments, CODE_OF_srun=str(code),
                            SLURM_JOB_ID='7', SLURM_ARRAY_TASK_ID='1',
                            SLURM_RESTART_COUNT=str(restarts))
  assert ended == code
  srun = calls.pop(0)
  program = ['genjax', 'train'] if table else ['experiments.train']
  assert srun[:3 + len(program)] == ['srun', 'python', '-m', *program]
  assert table or srun[4:] == list(HARD)
  assert calls == ([['scontrol', 'requeue', '7']] if again else [])


@pytest.mark.parametrize('name', ['slurm.sbatch', 'slurm_table.sbatch'])
def test_slurm_does_not_restart_what_was_cancelled(cluster, tmp_path, name):
  """scancel sends the TERM to the batch shell too."""
  srun = tmp_path / 'bin/srun'
  srun.write_text('#!/bin/sh\nkill $PPID\nexit 42\n')
  ended, calls, _ = cluster('bash', LAUNCH / name, *TABLE, SLURM_JOB_ID='7',
                            SLURM_ARRAY_TASK_ID='1')
  assert ended == 42 and calls == []


@pytest.mark.slow
def test_slurm_runs_each_cell_of_a_table(cluster, tmp_path):
  table = (*TABLE, f'--out={tmp_path}/a table')
  listed = programs.run('experiments.table', 'list', *table).stdout
  cells = [shlex.split(line) for line in listed.splitlines() if line.startswith(' ' * 11)]
  for number in (0, len(cells) - 1):
    code, [call], _ = cluster('bash', LAUNCH / 'slurm_table.sbatch', *table,
                              SLURM_ARRAY_TASK_ID=str(number))
    assert code == 0 and call == ['srun', *cells[number]]
  code, calls, stderr = cluster('bash', LAUNCH / 'slurm_table.sbatch', *table,
                                SLURM_ARRAY_TASK_ID=str(len(cells)))
  assert code == 1 and not calls and stderr.startswith(f'error: no cell {len(cells)} in: ')


def test_slurm_passes_over_finished_cells(cluster, tmp_path):
  lines = '  finished  KL: flow, seed 0\n           python -m genjax train --workdir=a\n'
  (tmp_path / 'bin/python').write_text(f'#!/bin/sh\nprintf %s {shlex.quote(lines)}\n')
  code, calls, _ = cluster('bash', LAUNCH / 'slurm_table.sbatch', SLURM_ARRAY_TASK_ID='0')
  assert code == 0 and calls == [['srun', 'true']]


def test_a_mistake_of_the_table_ends_the_task(cluster):
  code, calls, stderr = cluster('bash', LAUNCH / 'slurm_table.sbatch', '--table=none.py',
                                SLURM_ARRAY_TASK_ID='0')
  assert code == 1 and not calls and 'none.py' in stderr


def container_script():
  pod = yaml.safe_load((LAUNCH / 'jobset.yaml').read_text())['spec']['replicatedJobs'][0]
  return pod['template']['spec']['template']['spec']['containers'][0]['args'][0]


@pytest.mark.parametrize('script', [
    container_script(), yaml.safe_load((LAUNCH / 'sky.yaml').read_text())['run']],
    ids=['jobset.yaml', 'sky.yaml'])
def test_the_term_reaches_the_program(script, tmp_path):
  (tmp_path / 'python').write_text(PREEMPTED)
  (tmp_path / 'python').chmod(0o755)
  process = subprocess.Popen(['bash', '-c', script], cwd=tmp_path, env={
      'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SKYPILOT_NODE_IPS': '10.0.0.1\n10.0.0.2'})
  try:
    while not (tmp_path / 'ready').exists():
      time.sleep(0.05)
    process.terminate()
    assert process.wait(30) == 42
  finally:
    process.kill()


def test_sky_tells_the_processes_of_each_other(cluster):
  run = yaml.safe_load((LAUNCH / 'sky.yaml').read_text())['run']
  _, [call], _ = cluster('bash', '-c', run, CONFIG='a b', WORKDIR='gs://b', SKYPILOT_NUM_NODES='2',
                         SKYPILOT_NODE_IPS='10.0.0.1\n10.0.0.2', SKYPILOT_NODE_RANK='1')
  assert call == ['python', '-m', 'experiments.train', '--config=a b', '--workdir=gs://b',
                  '--coordinator=10.0.0.1:8476', '--num_processes=2', '--process_id=1']


def test_jobset_restarts_what_was_preempted():
  spec = yaml.safe_load((LAUNCH / 'jobset.yaml').read_text())['spec']
  job = spec['replicatedJobs'][0]['template']['spec']
  [rule] = job['podFailurePolicy']['rules']
  [fails] = spec['failurePolicy']['rules']
  pod = job['template']['spec']
  assert rule == {'action': 'FailJob', 'onExitCodes': {
      'containerName': pod['containers'][0]['name'], 'operator': 'In', 'values': [1]}}
  assert fails['action'] == 'FailJobSet' and fails['onJobFailureReasons'] == ['PodFailurePolicy']
  assert job['backoffLimit'] == 0 and pod['restartPolicy'] == 'Never'
  assert spec['failurePolicy']['maxRestarts'] > 0
  hosts = 4 * 4 // pod['containers'][0]['resources']['limits']['google.com/tpu']
  assert pod['nodeSelector']['cloud.google.com/gke-tpu-topology'] == '4x4'
  assert job['parallelism'] == job['completions'] == hosts


def test_sky_restarts_what_was_preempted():
  task = yaml.safe_load((LAUNCH / 'sky.yaml').read_text())
  assert task['resources']['job_recovery'] == {'recover_on_exit_codes': [42, 134]}


def commands():
  """(file, module, arguments) of every `python -m experiments...`, over lines and comments."""
  word = r'[\s\\#]+(?:list|run|collect|--\w+(?:=\S+)?)'
  for path in FILES:
    for module, rest in re.findall(rf'python -m (experiments\.\w+)((?:{word})*)',
                                   path.read_text()):
      yield path.name, module, tuple(rest.replace('\\', ' ').replace('#', ' ').split())


@pytest.mark.parametrize('module', sorted({module for _, module, _ in commands()}))
def test_every_command_parses(module):
  done = programs.run(module, '--help')
  assert done.code == 0 and 'Traceback' not in done.stderr, done.stderr
  known = set(re.findall(r'--(?:\[no\])?([\w.]+)', done.stdout))
  for name, called, arguments in commands():
    used = {a.split('=')[0][2:] for a in arguments if a.startswith('--')}
    assert called != module or used <= known, (name, used - known)


@pytest.mark.parametrize('text', sorted(set(itertools.chain.from_iterable(
    re.findall(r'configs/\w+\.py:\S+', path.read_text()) for path in FILES))))
def test_every_config_loads(text):
  configs.load(text)


def test_the_readme_names_every_file():
  text = (LAUNCH / 'README.md').read_text()
  assert {path.name for path in FILES} - {'README.md'} == set(
      re.findall(r'`(?:launch/)?([\w.]+\.(?:sh|sbatch|yaml))`', text))


def test_requirements_are_exact():
  lines = [line for line in (LAUNCH / 'requirements.txt').read_text().splitlines()
           if not line.startswith('#')]
  assert all(re.fullmatch(r'[a-z0-9.-]+==[\w.]+', line) for line in lines)
