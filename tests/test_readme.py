"""The README says nothing that the code does not do, and says it on one page."""

import pathlib
import re
import shlex

import jax
import pytest

from genjax import configs, wiring
from genjax.train import init
from tests import journey, programs, recipes

ROOT = recipes.ROOT
README = recipes.text_of('README.md')
LONGEST = 150  # lines
# a file of the reader's own that README shows: tests/extension types the command that names it
OWN_FILE = 'energy_distance.py'
COMMANDS = [command for command in recipes.programs(README) if OWN_FILE not in command]
PYTHON = [text for language, text in recipes.blocks(README) if language == 'python']


def test_it_is_one_page():
  assert len(README.splitlines()) <= LONGEST


def test_there_is_a_command_for_every_verb():
  """Here or in ARCHITECTURE.md."""
  used = set()
  for page in ('README.md', 'ARCHITECTURE.md'):
    for command in recipes.programs(recipes.text_of(page)):
      module, *arguments = shlex.split(command)[2:]
      used.add(f'experiments.{arguments[0]}' if module == 'genjax' and arguments else module)
  verbs = {f'experiments.{p.stem}' for p in ROOT.glob('experiments/[a-z]*.py')
           if "__name__ == '__main__'" in p.read_text()}
  assert verbs <= used


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_parses(command):
  """Flags, their values, configs and what overrides them; also of commands within the text."""
  _, _, module, *arguments = shlex.split(command)
  done = programs.run(module, *arguments, parse_only=True)
  assert done.code == 0 and 'Traceback' not in done.stderr, done.stderr


def test_every_block_is_of_a_language_that_is_run_here():
  assert {language for language, _ in recipes.blocks(README)} == {'sh', 'python'}


def test_the_environment_is_activated_before_the_first_program():
  first = [line.split()[0] for line in recipes.lines(README)]
  assert 'source' in first[:first.index('python')]


@pytest.mark.parametrize('block', [
    pytest.param(block, marks=[pytest.mark.slow] * ('genjax.train(' in block)) for block in PYTHON])
def test_python_runs_as_it_stands(block, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  exec(compile(block, 'README.md', 'exec'), {'__name__': 'recipe'})


def test_the_divergence_trains_as_it_stands(tmp_path):
  """Its file, without a word that the README does not have."""
  [block] = [block for block in PYTHON if 'ESTIMATORS' in block]
  (tmp_path / OWN_FILE).write_text(block)
  config = configs.load(f'configs/digits.py:family=implicit,objective={tmp_path / OWN_FILE}')
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  _, metrics = jax.jit(run.step)(state, run.source[0])
  assert metrics['model/loss'] > 0


def test_the_figures_of_the_demo_are_those_of_its_note():
  """Row by row and column by column; an interval may be left out."""
  demo = recipes.between(README, 'demo')
  [note] = {target for _, target in recipes.links(demo)
            if target.endswith('.md') and 'divergences' in target}
  [shown] = recipes.tables(demo)
  recorded, *rows = recipes.tables(recipes.text_of(note))[0]
  by_label = {row[0]: dict(zip(recorded, row, strict=True)) for row in rows}
  assert [row[0] for row in shown[1:]] == list(by_label)
  for row in shown[1:]:
    for column, cell in zip(shown[0][1:], row[1:], strict=True):
      there = by_label[row[0]][column]
      assert cell in (there, re.sub(r' \[.*\]', '', there)), (row[0], column)


def test_the_journey_is_the_one_that_is_run():
  assert recipes.between(README, 'journey') == f'```sh\n{journey.COMMANDS}\n```', (
      'python -m tests.journey')


@pytest.mark.slow
def test_the_journey_from_a_folder_to_a_table(tmp_path):
  """Every command of it ends well, in an order that a reader can follow, and leaves its files."""
  journey.write_images(tmp_path / journey.FOLDER, {'train': 40, 'test': 20})
  assert len(journey.run(tmp_path, steps=20)) == 5
  [table] = pathlib.Path(tmp_path).glob('runs/tables/own_data-*/tiny/table.md')
  for family in ('VAE', 'GAN', 'diffusion'):
    assert re.search(rf'^\| {family} \|(.*\d.*)', table.read_text(), re.MULTILINE)
  assert len(list((tmp_path / 'drawn').glob('*.png'))) == 100
