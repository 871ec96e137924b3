"""Tables whose faults can be known before the work: `list` shows them, `run` does no work."""

import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import pytest

from experiments import preflight, table_config
from genjax import disk, wiring
from genjax.runs import rundir
from tests import programs

ROOT = pathlib.Path(__file__).parents[2]
VAE = 'configs/digits.py:family=vae,objective=kl'
TABLE = '''
from configs import columns
sizes = {{'tiny': {{'seeds': 1}}}}
def sweep(add, size):
  add('sound', '{vae}', {{'steps': 20}})
  {row}
def metrics():
  return [columns.column('fd', 'FD', axes=('sampler',)), columns.column('recall', 'recall'),
          columns.column('nll_bound_bpd', 'bound')]
{rest}
'''


def write(folder, row='', rest='def note():\n  return ""'):
  path = folder / 'mine.py'
  path.write_text(TABLE.format(vae=VAE, row=row or 'pass', rest=rest))
  return path


def refused(folder, verb, path):
  """What a verb says of a table that it refuses before the work."""
  done = programs.run('experiments.table', verb, f'--table={path}', f'--out={folder}/out')
  assert done.code == 1 and done.stderr.startswith('error: ') and 'Traceback' not in done.stderr
  assert not (folder / 'out/logs').exists() and not (folder / 'out/cells').exists()
  return done


@pytest.mark.parametrize('rest, words', [
    ('', 'has no note; a table has sizes, sweep(add, size), metrics() and note()'),
    ('def note():\n  return ""\ndef figure():\n  return {"x": "recall", "y": "FD"}',
     "has a figure(), but no row names the curve"),
    ('def note():\n  return ""\ndef figure():\n  return {"x": "recall", "y": "fd"}',
     "y='fd'; allowed: 'FD'"),
    ('def note():\n  return ""\nsizes = {"tiny": {}}', "sizes['tiny'] is {}")])
def test_a_file_that_is_no_table_is_refused(tmp_path, rest, words):
  path = write(tmp_path, rest=rest)
  for verb in ('list', 'run'):
    done = refused(tmp_path, verb, path)
    assert words in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize('overrides, words', [
    ("'evals.num_samples': 500", "column 'FD' mixes protocols: n_generated is 1000 in sound; "
                                 '500 in odd'),
    ("'evals.encoder': 'identity', 'evals.names': ('frechet',)",
     "column 'FD' mixes protocols: encoder"),
    ("'evals.kw': {'likelihood': {'num_repeats': 2}}", "mixes protocols: num_repeats is 8"),
    ("'evals.kw': {'prdc': {'k_ball': 7}}", "column 'recall' mixes protocols: k_ball is 3"),
    ("'evals.kw': {'likelihood': {'estimator': 'importance_weighted'}}",
     "column 'bound' mixes protocols: estimator"),
    ("'conditional': True",
     "column 'bound' mixes protocols: conditioned_on")])
def test_two_protocols_in_a_column_are_found_before_the_work(tmp_path, overrides, words):
  path = write(tmp_path, f"add('odd', '{VAE}', {{{overrides}}})")
  for verb in ('list', 'run'):
    assert words in refused(tmp_path, verb, path).stderr


@pytest.mark.slow
def test_a_declared_axis_is_one_protocol():
  table = table_config.read('configs/tables/diffusion_likelihood.py', 'tiny')
  faults = preflight.check(table)
  assert faults == preflight.Faults({}, {}, [])
  [bound] = [column for column in table.columns if column['label'] == 'NLL estimate (ODE), '
             'bits/dim']
  clashes = preflight.check(table._replace(columns=({**bound, 'axes': ('dequantisation',)},)))
  assert 'mixes protocols: solver is 32 in' in clashes.columns[0]


@pytest.mark.parametrize('row, words', [
    ("add('odd', 'configs/digits.py:family=autoregressive,objective=wasserstein')",
     "objective 'wasserstein' on model 'autoregressive' and data 'digits' needs"),
    (f"add('odd', '{VAE}', {{'evals.kw': {{'likelihood': {{'num_repeats': 0}}}}}})",
     'num_repeats=0; allowed: integers from 1'),
    *(pytest.param(f"add('odd', '{VAE}{rest})", words, marks=pytest.mark.slow) for rest, words in (
        (",model.widht=3'", "takes no 'widht'"),
        ("', {'batch_size': 0}", 'batch_size=0; allowed: integers from 1'))),
    (f"add('odd', '{VAE}', {{'select.metric': 'js', 'select.every': 10}})", 'true_divergence')])
def test_a_row_that_can_never_train_stops_the_table_and_stands_there_with_the_reason(
    tmp_path, row, words):
  path = write(tmp_path, row)
  done = refused(tmp_path, 'list', path)
  # launch/slurm_table.sbatch reads two lines a cell: its state, then its command
  state, command, why = done.stdout.splitlines()[-3:]
  assert state == '  refused  odd, seed 0' and command.startswith(' ' * 11 + 'python -m ')
  assert why.startswith('    why: ') and words in why
  assert 'missing  sound, seed 0' in done.stdout and words in done.stderr
  assert words in refused(tmp_path, 'run', path).stderr
  text = (tmp_path / 'out/table.md').read_text()
  assert words in text.split('## Missing')[0] and 'sound, seed 0 (missing)' in text


def test_what_starts_from_a_row_that_cannot_be_trained_cannot_either(tmp_path):
  row = (f"add('odd', '{VAE},model.widht=3')\n"
         f"  add('after', '{VAE}', {{'init_from': 'row odd'}})")
  done = refused(tmp_path, 'run', write(tmp_path, row))
  assert "'after': it starts from row 'odd', which cannot be trained" in done.stderr


def test_data_that_are_not_here_are_named_before_the_work(tmp_path):
  row = "add('odd', 'configs/tfds_images.py:data=mnist,family=vae,objective=kl')"
  path = write(tmp_path, row)
  env = {'GENJAX_CACHE': str(tmp_path / 'cache')}
  done = programs.run('experiments.table', 'run', f'--table={path}', f'--out={tmp_path}/out',
                      env=env)
  assert done.code == 1 and 'genjax prepare --data=mnist' in done.stderr
  assert not (tmp_path / 'out/logs').exists()
  # the table is sound, only this machine lacks something
  assert programs.run('experiments.table', 'list', f'--table={path}', env=env).code == 0


@pytest.mark.slow
def test_a_table_survives_a_cell_that_fails_and_gives_the_reason(tmp_path):
  path = write(tmp_path)
  [cell] = table_config.read(str(path), 'tiny', str(tmp_path / 'out')).cells
  disk.write_record(pathlib.Path(cell.workdir, 'config.json'),  # of another training
                    {'shape': rundir.SHAPE, 'config': {'steps': 3}, 'data': {}, 'history': []})
  done = programs.run('experiments.table', 'run', f'--table={path}', f'--out={tmp_path}/out')
  assert done.code == 1 and 'Traceback' not in done.stderr
  assert done.stderr.splitlines()[-1] == (
      f'error: 1 of 1 cells did not finish; logs in {tmp_path}/out/logs')
  assert f'failed (1): {cell.train}' in done.stdout
  head = (tmp_path / 'out/table.md').read_text().split('## Missing')[0]
  assert 'failed (1): ' in head and 'holds another run' in head


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_a_signal_of_a_table_saves_its_trainings(tmp_path, number):
  long = "{'steps': 1000000, 'log.every': 10}"
  path = write(tmp_path, f"add('odd', '{VAE},model.latent_dim=3', {long})")
  path.write_text(path.read_text().replace("{'steps': 20}", long))
  process = subprocess.Popen(
      [sys.executable, '-m', 'experiments.table', 'run', f'--table={path}', '--jobs=2',
       f'--out={tmp_path}/out'], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
      text=True, env={**os.environ, 'GENJAX_CACHE': str(tmp_path / 'cache')})
  cells = tmp_path / 'out/cells'
  end = time.monotonic() + 120
  while len(list(cells.glob('*/metrics.jsonl'))) < 2 and time.monotonic() < end:
    time.sleep(0.2)
  process.send_signal(number)
  out, err = process.communicate(timeout=120)
  assert process.returncode == 42 and 'the trainings that ran have saved' in out, (out, err)
  logs = [log.read_text() for log in (tmp_path / 'out/logs').iterdir()]
  assert len(logs) == 2 and all('stopped at step' in log for log in logs), logs
  saved = [json.loads(p.read_text()) for p in cells.glob('*/checkpoints/*/checkpoint.json')]
  assert saved


@pytest.mark.slow
def test_what_is_foreseen_of_the_cards_is_what_they_say(tmp_path):
  row = (f"add('odd', '{VAE}', {{'steps': 20, 'evals.kw': {{'prdc': {{'k_ball': 7}}, "
         "'likelihood': {'estimator': 'importance_weighted', 'num_weights': 2}}})")
  path = write(tmp_path, row)
  table = table_config.read(str(path), 'tiny', str(tmp_path / 'out'))
  config = table.configs['odd']
  foreseen = wiring.foreseen_cards(config, wiring.run(config))
  [cell] = [cell for cell in table.cells if cell.label == 'odd']
  assert programs.run('experiments.train', *shlex.split(cell.train)[4:]).code == 0
  measured = json.loads(pathlib.Path(cell.workdir, 'eval.json').read_text())['metrics']
  assert set(foreseen) <= {*measured, 'fd_inf', 'asked_class'}
  for metric in set(foreseen) & set(measured):
    card = measured[metric]['card']
    both = set(foreseen[metric]) & set(card)
    assert {'split', 'estimator'} <= both
    assert (card.get('n_generated') or 0) <= (foreseen[metric].get('n_generated') or 0)
    for field in both - {'n_generated'}:  # asked for: some take as many as the test split has
      assert foreseen[metric][field] == card[field], (metric, field)
