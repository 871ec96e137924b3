"""Synthetic run directories: what is reduced, refused, marked, and shown as missing."""

import csv
import io
import json
import pathlib
import shlex

import numpy as np
import pytest

from genjax import disk
from genjax.tables import export, picture, render, run
from genjax.tables.cells import Row
from genjax.types import BadInput
from tests.cells import (
  ROWS,
  begin,
  cells_of,
  column,
  config,
  finish,
  grid,
  table_of,
  value,
)


def test_nan_is_shown_with_its_reason_and_never_averaged(tmp_path):
  cells = cells_of(ROWS, tmp_path, 3)
  for cell, number in zip(cells[:3], (1.0, float('nan'), 3.0), strict=True):
    finish(cell, {'fd': value(number)})
  for cell in cells[3:]:
    finish(cell, {'fd': value(None, reason='features are not finite') if cell.seed == 1
                  else value(1.0)})
  table = table_of(ROWS, cells)
  first, second = (row['values']['fd'] for row in table['rows'])
  assert first['value'] is None and first['reasons'] == {1: 'the value is nan'}
  assert second['value'] is None and second['reasons'] == {1: 'features are not finite'}
  text = render.markdown(table, 't')
  assert 'none in 1 of 3' in text and 'seed 1: features are not finite' in text
  assert json.loads(export.to_json(table))['rows'][0]['values']['fd']['value'] is None
  assert '2.0' not in export.to_csv(table)


def test_a_metric_that_one_seed_lacks_is_not_averaged_over_the_others(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 2)
  finish(cells[0], {'fd': value(1.0)})
  finish(cells[1], {})
  entry = table_of(ROWS[:1], cells)['rows'][0]['values']['fd']
  assert entry['value'] is None and entry['reasons'] == {1: 'not measured'}


def test_one_column_over_two_kinds_of_likelihood_is_refused(tmp_path):
  cells = cells_of(ROWS, tmp_path, 1)
  names = ('nll_exact_bpd', 'nll_bound_bpd')
  finish(cells[0], {names[0]: value(1.9, metric=names[0], kind='exact')})
  finish(cells[1], {names[1]: value(2.0, metric=names[1], kind='bound')})
  with pytest.raises(BadInput, match='nll_exact and nll_bound'):
    table_of(ROWS, cells, [column(names)])
  # a card that tells another kind than the name of its metric does
  finish(cells[1], {names[0]: value(2.0, metric=names[0], kind='bound')})
  with pytest.raises(BadInput, match='nll_exact .*nll_bound'):
    table_of(ROWS, cells, [column(names[0])])


def test_kinds_in_columns_of_their_own(tmp_path):
  cells = cells_of(ROWS, tmp_path, 1)
  finish(cells[0], {'nll_exact_bpd': value(1.9, kind='exact')})
  finish(cells[1], {'nll_bound_bpd': value(2.0, kind='bound')})
  table = table_of(ROWS, cells, [column('nll_exact_bpd'), column('nll_bound_bpd')])
  first, second = (row['values'] for row in table['rows'])
  assert first['nll_bound_bpd'] is None and second['nll_exact_bpd'] is None
  assert first['nll_exact_bpd']['value'] == 1.9 and second['nll_bound_bpd']['value'] == 2.0


def test_protocols_do_not_meet_in_a_column_unless_declared(tmp_path):
  cells = cells_of(ROWS, tmp_path, 1)
  finish(cells[0], {'fd': value(1.0, n_generated=1000)})
  finish(cells[1], {'fd': value(2.0, n_generated=2000)})
  with pytest.raises(BadInput, match='n_generated.*1000 in first row.*2000 in second row'):
    table_of(ROWS, cells)
  table = table_of(ROWS, cells, [column(axes=('n_generated',))])
  assert table['axes']['second row'] == {'n_generated': {'fd': 2000}}
  lines = render.markdown(table, 't').splitlines()
  assert 'n_generated' in lines[2] and '| 2000 |' in next(x for x in lines if 'second row' in x)


def test_a_row_has_one_protocol_for_all_its_seeds(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 2)
  finish(cells[0], {'fd': value(1.0, sampler='ddim')})
  finish(cells[1], {'fd': value(1.0, sampler='ddpm')})
  with pytest.raises(BadInput, match='sampler differs between seeds'):
    table_of(ROWS[:1], cells, [column(axes=('sampler',))])


def test_another_split_is_no_value(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 1)
  finish(cells[0], {'fd': value(1.0, split='validation')})
  entry = table_of(ROWS[:1], cells)['rows'][0]['values']['fd']
  assert entry['value'] is None and 'validation' in entry['reasons'][0]


def test_cells_of_another_commit_are_marked(tmp_path):
  cells = cells_of(ROWS, tmp_path, 1)
  finish(cells[0], {'fd': value(1.0)}, commit='b' * 40)
  finish(cells[1], {'fd': value(2.0)})
  text = render.markdown(table_of(ROWS, cells), 't')
  assert '| first row† [1] |' in text and '| second row |' in text and 'b' * 40 in text


def test_missing_cells_show_the_command_that_fills_them(tmp_path):
  cells = cells_of(ROWS, tmp_path, 2)
  finish(cells[0], {'fd': value(1.0)})
  table = table_of(ROWS, cells)
  text = render.markdown(table, 't')
  assert 'Missing: 3 cells' in text and '| n = 1 of 2 |' in text
  for cell in cells[1:]:
    assert f'`{cell.train}`' in text
  arguments = shlex.split(cells[1].train)
  assert arguments[:4] == ['python', '-m', 'genjax', 'train']
  assert arguments[4:] == ['--config=c.py:a', '--config.seed=1', f'--workdir={cells[1].workdir}']


def test_floor_published_and_cost_columns(tmp_path):
  row = Row('r', 'c.py:a', {}, {'fd': {'value': 7.5, 'source': 'Paper, Table 1'}}, 'a note')
  cells = cells_of([row], tmp_path, 1)
  finish(cells[0], {'fd': value(1.0), 'fd_data': value(0.25)}, train_seconds=12.34, device='cpu')
  columns = [column(floor='fd_data'),
             column('train_seconds', source='provenance', digits=1, axes=('device',))]
  text = render.markdown(table_of([row], cells, columns), 't')
  floor, line = text.splitlines()[4:6]
  assert floor.startswith('| *the data themselves* | 0.250 |  |')
  assert '| 7.5 [2] | 12.3 | cpu | n = 1 |' in line
  assert '[1] a note' in text and '[2] Paper, Table 1; protocol: not stated' in text


def test_a_published_figure_stands_once_and_has_a_column(tmp_path):
  row = Row('r', 'c.py:a', {}, {'fd': {'value': 7.5, 'source': 'Paper, Table 1'}})
  cells = cells_of([row], tmp_path, 1)
  columns = [column(label='FD'), column(label='excess', floor='fd_data', excess=True)]
  head = render.markdown(table_of([row], cells, columns), 't').splitlines()[2]
  assert head.split(' | ')[1:4] == ['FD ↓', 'published FD', 'excess ↓'], head
  exact = row._replace(published={'fd': {**row.published['fd'], 'kind': 'closed form'}})
  head = render.markdown(table_of([exact], cells, columns), 't').splitlines()[2]
  assert 'closed form FD' in head and 'published' not in head
  with pytest.raises(BadInput, match="published 'fid'.*allowed: fd"):
    table_of([row._replace(published={'fid': row.published['fd']})], cells, columns)


def test_a_column_of_a_detail_of_the_card(tmp_path):
  cells = cells_of(ROWS[:1], tmp_path, 1)
  entry = value(1.0)
  entry['card']['detail'] = {'power': {'0.05': 0.875}}
  finish(cells[0], {'fd': entry})
  columns = [column(detail='power/0.05'), column(label='other', detail='power/0.2')]
  found = table_of(ROWS[:1], cells, columns)['rows'][0]['values']
  assert found[columns[0]['label']]['value'] == 0.875
  assert found['other']['value'] is None
  assert found['other']['reasons'] == {0: 'the card has no power/0.2'}


def test_log_p_of_x_and_of_x_given_its_label_are_two_columns(tmp_path):
  cells = cells_of(ROWS, tmp_path, 1)
  for cell, label in zip(cells, (None, 'label'), strict=True):
    finish(cell, {'nll_exact_bpd': value(1.0, metric='nll_exact_bpd', kind='exact',
                                         conditioned_on=label)})
  with pytest.raises(BadInput, match='mixes protocols: conditioned_on is null in .*"label" in'):
    table_of(ROWS, cells, [column('nll_exact_bpd')])
  table_of(ROWS, cells, [column('nll_exact_bpd', axes=('conditioned_on',))])


def test_status_follows_the_config_and_not_the_directory(tmp_path):
  cell = cells_of(ROWS[:1], tmp_path, 1)[0]
  assert run.status(cell) == 'missing'
  begin(cell, config(0, family='c.py:a'))
  assert run.status(cell) == 'started'
  begin(cell, config(0, family='c.py:a'), step=5)
  assert run.status(cell) == 'started'
  begin(cell, config(0, family='c.py:a'), step=10)
  assert run.status(cell) == 'trained'
  finish(cell, {'fd': value(1.0)})
  assert run.status(cell) == 'finished'
  # what is measured has changed since: the training stands, the measurement does not
  assert run.status(cell._replace(config_hash='other')) == 'trained'
  begin(cell, config(0, family='c.py:a', batch_size=3))
  assert run.status(cell._replace(config_hash='other')) == 'stale'
  own = pathlib.Path(cell.workdir, 'eval.json')
  own.write_text(own.read_text().replace('"value": 1.0', '"value": 1.5'))
  with pytest.raises(BadInput, match='eval.json is damaged or was edited'):
    run.status(cell)
  pathlib.Path(cell.workdir, 'eval.json').write_text('{"metrics": ')
  with pytest.raises(BadInput, match='eval.json is damaged'):
    run.status(cell)


def test_cells_of_one_training_share_its_run_and_keep_their_own_measurement(tmp_path):
  cells = grid(tmp_path, 3)
  assert len({c.workdir for c in cells}) == 1 and len({c.config_hash for c in cells}) == 3
  assert grid(tmp_path, 1, batch_size=3)[0].workdir != cells[0].workdir
  assert run.states(cells) == ['missing', 'waiting', 'waiting']
  begin(cells[0], config(0), step=10)
  finish(cells[1], {'fd': value(1.0)})
  record = pathlib.Path(cells[2].workdir, 'evals', f'{cells[2].config_hash}.json')
  disk.write_record(record, {'metrics': {'fd': value(2.0)}, 'provenance': {
      'config_hash': cells[2].config_hash}})
  assert run.states(cells) == ['trained', 'finished', 'finished']
  found = [run.read(cell) for cell in cells[1:]]
  assert [each['metrics']['fd']['value'] for each in found] == [1.0, 2.0]
  assert [run.samples(cell) for cell in cells[1:]] == ['final', cells[2].config_hash]


def test_a_selection_by_samples_is_of_one_sampler(tmp_path):
  cells = grid(tmp_path, 2, select={'metric': 'fd', 'every': 5})
  assert cells[0].workdir != cells[1].workdir


def test_csv_has_one_line_per_row_and_column(tmp_path):
  cells = cells_of(ROWS, tmp_path, 1)
  finish(cells[0], {'fd': value(1.0, 0.5, 1.5)})
  records = list(csv.DictReader(io.StringIO(export.to_csv(table_of(ROWS, cells)))))
  assert [(r['row'], r['value'], r['n'], r['low']) for r in records] == [
      ('first row', '1.0', '1', '0.5'), ('second row', '', '0', '')]


@pytest.mark.parametrize('samples, shape', [
    (np.full((20, 8, 8, 1), 200, np.uint8), (48, 16)), (np.zeros((50, 2), np.float32), (96, 3))])
def test_picture_has_one_line_per_row(tmp_path, samples, shape):
  cells = cells_of(ROWS, tmp_path, 1)
  assert picture.draw(ROWS, cells) is None
  folder = pathlib.Path(cells[1].workdir, 'samples')
  folder.mkdir(parents=True)
  np.savez(folder / 'final.npz', x=samples)
  assert picture.draw(ROWS, cells) is None  # of no measurement that stands
  finish(cells[1], {})
  drawn = picture.draw(ROWS, cells)
  side, columns = shape
  assert drawn.size == (300 + columns * (side + 2), 2 * (side + 2) + 2)
  pixels = np.asarray(drawn)[:, 300:]
  assert (pixels[:side] == 255).all() and (pixels[side + 4:] < 255).any()
