"""experiments.table from end to end, on run directories that no training made."""

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from experiments import table as program
from experiments import table_config
from genjax import disk
from genjax.types import BadInput

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = '''
from configs import columns
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 2}}
def sweep(add, size):
  add('exact one', 'configs/digits.py:family=autoregressive', {'steps': 20})
  add('bound one', 'configs/digits.py:family=vae', note=size)
def metrics():
  return [columns.column('nll_exact_bpd', 'exact', 'lower'),
          columns.column('nll_bound_bpd', 'bound', 'lower')]
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
  tiny, small = (table_config.read(path, size, 'out') for size in ('tiny', 'small'))
  assert [(c.label, c.seed) for c in small.cells] == [
      ('exact one', 0), ('exact one', 1), ('bound one', 0), ('bound one', 1)]
  assert tiny.cells[0] == small.cells[0] and tiny.cells[0].steps == 20
  assert len({c.workdir for c in small.cells}) == 4
  with pytest.raises(BadInput, match="'huge'; allowed: tiny, small"):
    table_config.read(path, 'huge')


def test_some_rows_alone_with_those_that_they_start_from(path, tmp_path):
  some = table_config.read(path, 'small', only='bound')
  assert [cell.label for cell in some.cells] == ['bound one'] * 2
  chain = tmp_path / 'chain.py'
  chain.write_text(CONFIG.replace("note=size)", "note=size)\n  add('third', 'configs/digits.py:"
                                  "family=vae', {'init_from': 'row bound one'})"))
  assert [row.label for row in table_config.read(str(chain), 'tiny', only='^third$').rows] == [
      'bound one', 'third']
  for only, words in (('fourth', 'exact one; bound one'), ('(', 'no regular expression')):
    with pytest.raises(BadInput, match=words):
      table_config.read(path, 'tiny', only=only)


@pytest.mark.slow
def test_collect_leaves_its_files_and_one_likelihood_column_over_both_kinds_exits_1(path, tmp_path):
  out = tmp_path / 'out'
  cells = table_config.read(path, 'tiny', str(out)).cells
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


@pytest.mark.slow
def test_a_damaged_cell_is_named_and_the_others_are_collected(path, tmp_path):
  out = tmp_path / 'out'
  cells = table_config.read(path, 'tiny', str(out)).cells
  finish(cells[0], 'exact', 1.9)
  finish(cells[1], 'bound', 2.0)
  record = pathlib.Path(cells[1].workdir, 'eval.json')
  record.write_text(record.read_text().replace('2.0', '1.0'))
  flags = (f'--table={path}', '--size=tiny', f'--out={out}')
  assert table('collect', *flags).returncode == 0
  text = (out / 'table.md').read_text()
  assert '| 1.900 |' in text and '1.000' not in text
  assert 'eval.json is damaged or was edited' in text.split('## Missing')[0]
  done = table('run', *flags)
  assert done.returncode == 1 and 'eval.json is damaged or was edited' in done.stderr
  assert not (out / 'logs').exists()


def test_the_table_and_its_row_are_shown_after_each_cell(path, tmp_path, capsys):
  table = table_config.read(path, 'tiny', str(tmp_path / 'out'))
  card = {'metric': 'm', 'split': 'test', 'unit': 'bits'}
  cells = []
  for cell, kind, number in zip(table.cells, ('exact', 'bound'), (1.9, 2.0), strict=True):
    record = {'metrics': {f'nll_{kind}_bpd': {'value': number, 'low': None, 'high': None,
                                              'card': {**card, 'kind': kind}}},
              'provenance': {'commit': 'c', 'config_hash': cell.config_hash}}
    # the second command fails unless the table holds the first row by then
    record['sha256'] = disk.json_digest(record)
    code = (f'import json, pathlib; path = pathlib.Path({str(tmp_path / "out/table.md")!r})\n'
            f'assert {kind == "exact"} or "| exact one | 1.900 |" in path.read_text()\n'
            f'folder = pathlib.Path({cell.workdir!r}); folder.mkdir(parents=True)\n'
            f'(folder / "eval.json").write_text({json.dumps(record)!r})')
    cells.append(cell._replace(train=shlex.join(['python', '-c', code])))
  assert not program.fill(table._replace(cells=tuple(cells)), jobs=1)
  shown = capsys.readouterr().out.splitlines()
  assert 'out/table.md grows with each' in shown[0]
  assert shown[1].endswith('s  exact one: exact 1.900')
  assert shown[2].endswith('s  bound one: bound 2.000')


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
