"""Records of measurements: where they lie, and that nothing measured is lost or mixed up."""

import pytest

from genjax import disk
from genjax.runs import record
from genjax.types import BadInput


def measured(metrics, time='now', split='test', step=20, config='a'):
  return {'config': config, 'split': split, 'step': step, 'selected': True,
          'metrics': {name: {'value': value} for name, value in metrics.items()},
          'provenance': {'time': time, 'seed': 0, 'config_hash': config}}


def write(workdir, new, whole, is_own=True, standing=True):
  path, _ = record.place(workdir, new, is_own, standing)
  record.write(workdir, path, new, whole)
  return path


def values(found):
  return {name: entry['value'] for name, entry in found['metrics'].items()}


def test_a_part_is_added_to_the_whole(tmp_path):
  path = write(tmp_path, measured({'nll': 1.0, 'kid': 2.0}, 'first'), whole=True)
  assert path == tmp_path / 'eval.json'
  write(tmp_path, measured({'fd': 3.0, 'kid': 2.5}, 'second'), whole=False)
  found = disk.read_record(path)
  assert values(found) == {'nll': 1.0, 'kid': 2.5, 'fd': 3.0}
  assert found['provenance']['time'] == 'first' and found['provenance']['config_hash'] == 'a'
  assert {name: p['time'] for name, p in found['apart'].items()} == {'fd': 'second',
                                                                     'kid': 'second'}
  # all of it anew: what is not measured again keeps its own provenance
  write(tmp_path, measured({'nll': 1.5, 'kid': 2.0}, 'third'), whole=True)
  found = disk.read_record(path)
  assert values(found) == {'nll': 1.5, 'kid': 2.0, 'fd': 3.0}
  assert found['provenance']['time'] == 'third'
  assert {name: p['time'] for name, p in found['apart'].items()} == {'fd': 'second'}


def test_the_whole_after_a_part(tmp_path):
  path = write(tmp_path, measured({'fd': 3.0}, 'first'), whole=False)
  write(tmp_path, measured({'nll': 1.0}, 'second'), whole=True)
  found = disk.read_record(path)
  assert values(found) == {'fd': 3.0, 'nll': 1.0} and found['provenance']['time'] == 'second'
  assert found['apart']['fd']['time'] == 'first'


@pytest.mark.parametrize('other', [{'split': 'validation'}, {'step': 10}])
def test_another_split_or_step_is_a_record_of_its_own(tmp_path, other):
  path = write(tmp_path, measured({'nll': 1.0}), whole=True)
  before = path.read_bytes()
  new = measured({'fd': 3.0}, **other)
  where = write(tmp_path, new, whole=False, standing=False)
  assert where == tmp_path / 'evals' / f'a-{new["split"]}-{new["step"]}.json'
  assert path.read_bytes() == before and values(disk.read_record(where)) == {'fd': 3.0}
  write(tmp_path, measured({'kid': 4.0}, **other), whole=False, standing=False)
  assert values(disk.read_record(where)) == {'fd': 3.0, 'kid': 4.0}


def test_the_step_of_a_record_by_its_number_is_that_record(tmp_path):
  path = write(tmp_path, measured({'nll': 1.0}), whole=True)
  assert write(tmp_path, measured({'fd': 3.0}), whole=False, standing=False) == path
  assert record.place(tmp_path, measured({}, config='b'), False, True) == (
      tmp_path / 'evals/b.json', 'b')


@pytest.mark.parametrize('whole', [False, True])
def test_a_record_of_a_run_that_was_trained_on_moves_away(tmp_path, whole):
  path = write(tmp_path, measured({'nll': 1.0, 'kid': 2.0}, step=20), whole=True)
  write(tmp_path, measured({'nll': 0.5}, step=40, config='b'), whole=whole)
  assert values(disk.read_record(path)) == {'nll': 0.5}
  assert values(disk.read_record(tmp_path / 'evals/a-test-20.json')) == {'nll': 1.0, 'kid': 2.0}


def test_a_damaged_record_is_named_before_anything_is_measured(tmp_path):
  path = write(tmp_path, measured({'nll': 1.0}), whole=True)
  path.write_text(path.read_text().replace('1.0', '1.5'))
  with pytest.raises(BadInput, match='eval.json is damaged'):
    record.place(tmp_path, measured({}), True, True)
