"""genjax as a package: from a directory that is no repository, with parts of a user's own."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv

import numpy as np
import pytest

from genjax import __main__ as verbs
from genjax import shipped
from tests import recipes
from tests.extension.conftest import ROOT, write_parts

SECONDS = 300
OWN = ('--config=configs/toy2d.py:data=mine/blobs.py,family=mine/shifted.py,'
       'objective=mine/energy_distance.py')
TINY = ('--config.steps_per_dispatch=2', '--config.log.every=2', '--config.checkpoint.every=2',
        '--config.batch_size=16', '--config.optim.decay=constant', '--config.evals.num_samples=32',
        '--config.evals.names=mine/mean_gap.py,cost')
TABLE = '''"""Two divergences on data of one's own."""

from configs import columns

sizes = {'tiny': {'seeds': 1}}
SMALL = {'steps': 4, 'steps_per_dispatch': 2, 'log.every': 2, 'checkpoint.every': 2,
         'batch_size': 16, 'evals.names': ('mine/mean_gap.py', 'sliced_w2'),
         'evals.num_samples': 32}


def sweep(add, size):
  for label, argument in (('energy', 'family=mine/shifted.py,objective=mine/energy_distance.py'),
                          ('critic', 'family=implicit,objective=wasserstein')):
    add(label, f'configs/toy2d.py:data=mine/blobs.py,{argument}', {
        **SMALL, **({'networks.critic.name': 'mine/small_critic.py', 'batch_size': 8}
                    if label == 'critic' else {})})


def metrics():
  return [columns.column('mean_gap', 'gap of means', 'lower'),
          columns.column('sliced_w2', 'SW2', 'lower')]


def note():
  return 'two rows'
'''


def test_every_program_is_a_verb():
  programs = {path.stem for path in (ROOT / 'experiments').glob('[a-z]*.py')
              if "__name__ == '__main__'" in path.read_text()}
  assert set(verbs.VERBS) == programs


@pytest.mark.parametrize('arguments, code, words', [
    ((), 0, 'VERB: train, '), (('--help',), 0, 'VERB: train, '),
    (('trian',), 1, "error: unknown verb 'trian' (did you mean 'train'?); allowed: train, ")])
def test_verbs_are_listed_and_unknown_ones_refused(arguments, code, words, monkeypatch, capsys):
  monkeypatch.setattr(sys, 'argv', ['genjax', *arguments])
  assert verbs.main() == code
  assert words in ''.join(capsys.readouterr())


def test_a_shipped_config_is_found_where_there_is_none_of_its_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert shipped.find('configs/digits.py') == str(ROOT / 'configs/digits.py')
  assert shipped.find('configs/mine.py') == 'configs/mine.py'
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs/digits.py').touch()
  assert shipped.find('configs/digits.py') == 'configs/digits.py'


def environment(folder: pathlib.Path, *install: str) -> pathlib.Path:
  """The python of a new environment with genjax, and with what this one has for the rest."""
  files = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, check=True, capture_output=True,
                         text=True).stdout.split('\0')
  for name in filter(None, files):
    if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
      (folder / 'source' / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy(ROOT / name, folder / 'source' / name)
  venv.create(folder / 'venv', with_pip=True)
  python = folder / 'venv/bin/python'
  done = subprocess.run([python, '-c', 'import sysconfig; print(sysconfig.get_paths()["purelib"])'],
                        check=True, capture_output=True, text=True)
  pathlib.Path(done.stdout.strip(), 'shared.pth').write_text(sysconfig.get_paths()['purelib'])
  done = subprocess.run([python, '-m', 'pip', 'install', '--quiet', '--no-deps', *install],
                        cwd=folder / 'source', capture_output=True, text=True, timeout=SECONDS)
  assert done.returncode == 0, done.stderr
  return python


@pytest.fixture(scope='module')
def installed(tmp_path_factory):
  """(python, directory): an environment into which `pip install .` was done, and parts."""
  folder = tmp_path_factory.mktemp('installed')
  python = environment(folder, '.')
  shutil.rmtree(folder / 'source')
  write_parts(folder / 'place/mine')
  (folder / 'place/mine/table.py').write_text(TABLE)
  return python, folder / 'place'


def typed(installed, *arguments, code=0):
  """What `genjax ARGUMENTS` prints."""
  python, place = installed
  env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
  done = subprocess.run([python.parent / 'genjax', *arguments], cwd=place, env=env, text=True,
                        capture_output=True, timeout=SECONDS)
  assert done.returncode == code, done.stdout + done.stderr
  return done.stdout + done.stderr


@pytest.mark.slow
def test_own_parts_train_resume_and_are_measured(installed):
  place = installed[1]
  said = typed(installed, 'train', OWN, *TINY, '--config.steps=4', '--workdir=run')
  assert 'shifted by energy_distance (pathwise) on blobs' in said and 'mean_gap' in said
  said = typed(installed, 'train', OWN, *TINY, '--config.steps=8', '--workdir=run')
  assert 'steps 4 to 8' in said
  typed(installed, 'train', OWN, *TINY, '--config.steps=8', '--workdir=straight')
  arrays = [json.loads((place / name / 'checkpoints/8/checkpoint.json').read_text())['content'][
      'arrays'] for name in ('run', 'straight')]
  assert arrays[0] == arrays[1]
  assert 'mean_gap' in typed(installed, 'evaluate', '--workdir=run', '--metrics=mean_gap')
  typed(installed, 'sample', '--workdir=run', '--num=5', '--out=x.npz')
  assert np.load(place / 'x.npz')['x'].shape == (5, 2)
  with open(place / 'mine/shifted.py', 'a') as file:
    file.write('# another family now\n')
  said = typed(installed, 'train', OWN, *TINY, '--config.steps=10', '--workdir=run', code=1)
  assert re.fullmatch(r'error: .*/mine/shifted\.py \(model\.family\) has changed .*\n', said)


@pytest.mark.slow
def test_own_parts_stand_in_a_table(installed):
  typed(installed, 'table', 'run', '--table=mine/table.py')
  text = (installed[1] / 'runs/tables/table/tiny/table.md').read_text()
  rows = [line for line in text.splitlines() if line.startswith(('| energy', '| critic'))]
  assert len(rows) == 2 and '–' not in ''.join(rows), text
  with open(installed[1] / 'mine/energy_distance.py', 'a') as file:
    file.write('# another divergence now\n')
  assert ' 1 finished' in typed(installed, 'table', 'list', '--table=mine/table.py')


@pytest.mark.slow
def test_the_readmes_divergence_is_typed_as_it_stands(installed):
  [line] = [words for language, text in recipes.blocks((ROOT / 'README.md').read_text())
            if language == 'sh' for words in recipes.commands(text)
            if 'energy_distance.py' in shlex.join(words)]
  assert line[:3] == ['python', '-m', 'genjax']
  write_parts(installed[1] / 'again')
  shutil.move(installed[1] / 'again/energy_distance.py', installed[1])
  said = typed(installed, *line[3:], '--config.steps=10', '--noevaluate')
  assert 'implicit by energy_distance (pathwise) on digits' in said


@pytest.mark.slow
def test_an_editable_installation_is_the_repository(tmp_path):
  python = environment(tmp_path, '-e', '.')
  done = subprocess.run([python, '-m', 'genjax', 'matrix'], cwd=tmp_path, capture_output=True,
                        text=True, timeout=SECONDS)
  assert done.returncode == 0 and 'vae             kl' in done.stdout, done.stderr
  done = subprocess.run([python, '-c', 'from genjax import shipped; print(shipped.FOLDER)'],
                        cwd=tmp_path, capture_output=True, text=True)
  assert pathlib.Path(done.stdout.strip()) == tmp_path / 'source'
