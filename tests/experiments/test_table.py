"""experiments.table from end to end, on run directories that no training made."""

import pathlib
import subprocess
import sys

import pytest

from experiments import table as program
from genjax import disk
from genjax.types import BadInput

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = '''
from configs import common
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 2}}
def sweep(add, size):
  add('exact one', 'configs/digits.py:family=autoregressive', {'steps': 20})
  add('bound one', 'configs/digits.py:family=vae', note=size)
def metrics():
  return [common.column('nll_exact_bpd', 'exact', 'lower'),
          common.column('nll_bound_bpd', 'bound', 'lower')]
def note():
  return 'A note.'
'''


@pytest.fixture
def path(tmp_path):
  file = tmp_path / 'mine.py'
  file.write_text(CONFIG)
  return str(file)


def finish(cell, kind, number):
  workdir = pathlib.Path(cell.workdir)
  workdir.mkdir(parents=True)
  card = {'metric': f'nll_{kind}_bpd', 'kind': kind, 'split': 'test', 'unit': 'bits'}
  disk.write_record(workdir / 'eval.json', {
      'metrics': {card['metric']: {'value': number, 'low': None, 'high': None, 'card': card}},
      'provenance': {'commit': 'c', 'config_hash': cell.config_hash}})


def table(*arguments):
  return subprocess.run([sys.executable, '-m', 'experiments.table', *arguments], cwd=ROOT,
                        capture_output=True, text=True, timeout=100)


def test_cells_are_resolved(path):
  tiny, small = (program.read(path, size, 'out') for size in ('tiny', 'small'))
  assert [(c.label, c.seed) for c in small.cells] == [
      ('exact one', 0), ('exact one', 1), ('bound one', 0), ('bound one', 1)]
  assert tiny.cells[0] == small.cells[0] and tiny.cells[0].steps == 20
  assert len({c.workdir for c in small.cells}) == 4
  with pytest.raises(BadInput, match="'huge'; allowed: tiny, small"):
    program.read(path, 'huge')


def test_some_rows_alone_with_those_that_they_start_from(path, tmp_path):
  assert [c.label for c in program.read(path, 'small', only='bound').cells] == ['bound one'] * 2
  chain = tmp_path / 'chain.py'
  chain.write_text(CONFIG.replace("note=size)", "note=size)\n  add('third', 'configs/digits.py:"
                                  "family=vae', {'init_from': 'row bound one'})"))
  assert [row.label for row in program.read(str(chain), 'tiny', only='^third$').rows] == [
      'bound one', 'third']
  for only, words in (('fourth', 'exact one; bound one'), ('(', 'no regular expression')):
    with pytest.raises(BadInput, match=words):
      program.read(path, 'tiny', only=only)


def test_collect_leaves_its_files_and_one_likelihood_column_over_both_kinds_exits_1(path, tmp_path):
  out = tmp_path / 'out'
  cells = program.read(path, 'tiny', str(out)).cells
  finish(cells[0], 'exact', 1.9)
  flags = ('collect', f'--table={path}', '--size=tiny', f'--out={out}')
  done = table(*flags)
  assert done.returncode == 0 and cells[1].train in done.stdout
  assert {p.name for p in out.iterdir()} == {'cells', 'table.md', 'table.csv', 'table.json'}
  finish(cells[1], 'bound', 2.0)
  done = table(*flags)
  assert done.returncode == 0 and '2 of 2 cells' in done.stdout
  assert 'A note.' in (out / 'table.md').read_text()
  before = (out / 'table.md').read_text()
  done = table(*flags, '--columns=nll_exact_bpd+nll_bound_bpd')
  assert done.returncode == 1 and done.stderr.startswith('error: ')
  assert 'nll_exact' in done.stderr and 'nll_bound' in done.stderr
  assert len(done.stderr.splitlines()) == 1 and (out / 'table.md').read_text() == before


@pytest.mark.parametrize('flags, words', [
    (('run',), ('--table=', 'divergences_digits.py')),
    (('lst',), ('lst', 'collect')),
    (('collect', '--table=configs/tables/digits.py'), ("'configs/tables/digits.py'", 'toy2d')),
])
def test_mistakes(flags, words):
  done = table(*flags)
  assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
  for word in words:
    assert word in done.stderr
