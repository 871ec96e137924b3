import numpy as np
import pytest

from genjax import data
from genjax.types import BadInput

N = 23
ARRAYS = {'x': np.arange(N, dtype=np.uint8)[:, None], 'cond': np.arange(N, dtype=np.int32) * 2}


def stream(source, start, stop):
  return np.concatenate([source[i]['x'][:, 0] for i in range(start, stop)])


def test_item_is_a_pure_function_of_seed_and_index():
  source = data.batches(ARRAYS, 5, seed=3)
  forward = [source[i]['x'] for i in range(30)]
  other = data.batches(ARRAYS, 5, seed=3)
  for i in reversed(range(30)):
    np.testing.assert_array_equal(other[i]['x'], forward[i])
  assert not np.array_equal(data.batches(ARRAYS, 5, seed=4)[0]['x'], forward[0])


def test_columns_stay_together():
  batch = data.batches(ARRAYS, 7)[11]
  np.testing.assert_array_equal(batch['cond'], batch['x'][:, 0] * 2)


def test_every_epoch_holds_every_example_once_in_a_new_order():
  x = stream(data.batches(ARRAYS, 5), 0, 3 * N)  # 15 epochs
  epochs = x[:15 * N].reshape(15, N)
  for epoch in epochs:
    assert sorted(epoch) == list(range(N))
  assert len({tuple(epoch) for epoch in epochs}) == 15


def test_batch_of_the_whole_set():
  assert sorted(data.batches(ARRAYS, N)[4]['x'][:, 0]) == list(range(N))


@pytest.mark.parametrize('num_stacked', [None, 3])
def test_hosts_together_read_the_global_batch(num_stacked):
  whole = data.batches(ARRAYS, 6, seed=1)
  # of the last host two ranges: its devices need not be neighbours in the mesh
  parts = [data.of_host(whole, ranges) for ranges in (((0, 2),), ((2, 3),), ((3, 5), (5, 6)))]
  axis = 0
  if num_stacked:
    whole, parts, axis = data.stack(whole, 3), [data.stack(p, 3) for p in parts], 1
  for i in range(12):
    got = np.concatenate([part[i]['x'] for part in parts], axis)
    np.testing.assert_array_equal(got, whole[i]['x'])


def test_stack_is_the_same_stream():
  source = data.batches(ARRAYS, 5, seed=2)
  stacked = data.stack(source, 13)  # one item spans almost three epochs
  for j in range(4):
    assert stacked[j]['x'].shape == (13, 5, 1)
    for k in range(13):
      np.testing.assert_array_equal(stacked[j]['x'][k], source[13 * j + k]['x'])


@pytest.mark.parametrize('num_threads', [None, 1, 2])
def test_loader_resumes_from_an_integer_across_an_epoch(num_threads):
  source = data.batches(ARRAYS, 5, seed=9)
  reader = data.loader(source, 3, num_threads=num_threads)
  for i in range(3, 20):
    np.testing.assert_array_equal(next(reader)['x'], source[i]['x'])


def test_mapped_files_are_read_through_grain(tmp_path):
  np.save(tmp_path / 'x.npy', ARRAYS['x'])
  source = data.batches({'x': np.load(tmp_path / 'x.npy', mmap_mode='r')}, 5)
  assert source.is_mapped and not data.batches(ARRAYS, 5).is_mapped
  reader = data.loader(source)
  assert type(reader).__module__.startswith('grain')
  np.testing.assert_array_equal(next(reader)['x'], data.batches(ARRAYS, 5)[0]['x'])


@pytest.mark.parametrize('size', [0, N + 1, 2.0])
def test_bad_batch_size(size):
  with pytest.raises(BadInput, match=f'{size}.*1 to the {N}'):
    data.batches(ARRAYS, size)


def test_bad_seed():
  with pytest.raises(BadInput, match='seed -1'):
    data.batches(ARRAYS, 5, seed=-1)
