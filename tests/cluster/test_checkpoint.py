"""Checkpoints: bit-exact, verified, whole or absent."""

import errno
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.cluster import checkpoint, shards
from genjax.types import BadInput, TrainState


def make_state(step, width=3):
  w = jax.random.normal(jax.random.key(step), (5, width))
  return TrainState(
      step=jnp.int32(step),
      params={'model': {'dense': {'kernel': w, 'half': w.astype(jnp.bfloat16)}, 'none': {}}},
      opt_state={'model': (w * 1e-30, (), {'count': jnp.uint32(step)})}, ema=(),
      carry={'rows': jnp.zeros((0, 4)), 'rest': (w > 0, -0.0 * w)})


def like(state):
  return jax.eval_shape(lambda: state)


def same_bits(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    assert x.dtype == y.dtype and x.shape == y.shape
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture(name='two')
def _two(tmp_path):
  for step in (10, 20):
    checkpoint.save(tmp_path, step, make_state(step), {'best': {'step': 10, 'value': 0.1}})
  return tmp_path


def test_round_trip_is_bit_exact(two):
  state, meta, step, warnings = checkpoint.restore(two, like(make_state(0)))
  same_bits(state, make_state(20))
  assert (meta, step, warnings) == ({'best': {'step': 10, 'value': 0.1}}, 20, [])
  state, _, step, _ = checkpoint.restore(two, like(make_state(0)), step=10)
  same_bits(state, make_state(10))
  assert checkpoint.steps(two) == [10, 20]
  assert sorted(p.name for p in two.iterdir()) == ['10', '20']


def test_nothing_there(tmp_path):
  assert checkpoint.restore(tmp_path / 'absent', like(make_state(0))) is None
  assert checkpoint.steps(tmp_path / 'absent') == []
  with pytest.raises(BadInput, match='no checkpoint of step 7 .*: none'):
    checkpoint.restore(tmp_path, like(make_state(0)), step=7)


def flip(file):
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 4
  file.write_bytes(data)


def truncate(file):
  file.write_bytes(file.read_bytes()[:-1])


def garbage(file):
  file.write_bytes(b'\xff\x00not a checkpoint' * 7)


DAMAGES = {'flip': flip, 'truncate': truncate, 'garbage': garbage, 'remove': pathlib.Path.unlink}


@pytest.mark.parametrize('damage', DAMAGES)
def test_every_damaged_file_is_found_and_the_step_before_restored(
    two, tmp_path_factory, damage):
  backup = tmp_path_factory.mktemp('backup') / '20'
  shutil.copytree(two / '20', backup)
  files = [p.relative_to(backup) for p in backup.rglob('*') if p.is_file() and p.stat().st_size]
  assert len(files) > 5
  for name in files:
    DAMAGES[damage](two / '20' / name)
    state, _, step, warnings = checkpoint.restore(two, like(make_state(0)))
    assert step == 10
    same_bits(state, make_state(10))
    assert re.search(rf'checkpoint 20 in .* is damaged, .*{re.escape(name.name)}', warnings[0])
    with pytest.raises(BadInput, match='checkpoint 20 .* damaged'):
      checkpoint.restore(two, like(make_state(0)), step=20)
    shutil.copy(backup / name, two / '20' / name)
  assert checkpoint.restore(two, like(make_state(0)))[2] == 20


def test_numbers_that_orbax_reads_otherwise_are_found(two, monkeypatch):
  read = shards._load

  def off_by_a_bit(path, keys):
    arrays = read(path, keys)
    if path.parent.name == '20':
      kernel = arrays['params/model/dense/kernel@0_0'].copy()
      kernel.view(np.uint32)[1, 1] ^= 1
      arrays['params/model/dense/kernel@0_0'] = kernel
    return arrays

  monkeypatch.setattr(shards, '_load', off_by_a_bit)
  _, _, step, warnings = checkpoint.restore(two, like(make_state(0)))
  assert step == 10 and 'params/model/dense/kernel differs' in warnings[0]


def test_all_damaged(two):
  for step in ('10', '20'):
    (two / step / 'checkpoint.json').unlink()
  with pytest.raises(BadInput, match=r'(?s)no checkpoint can be restored.* 20 .* 10 '):
    checkpoint.restore(two, like(make_state(0)))


def test_foreign_names_the_parameter_and_both_shapes(two):
  name = 'params/model/dense/kernel'
  with pytest.raises(BadInput, match=rf'{name}: stored float32\[5,3\], wanted float32\[5,4\]'):
    checkpoint.restore(two, like(make_state(0, width=4)))
  wanted = like(make_state(0))
  other = wanted._replace(step=jax.ShapeDtypeStruct((), jnp.int16))  # orbax would cast in silence
  with pytest.raises(BadInput, match=r'step: stored int32\[\], wanted int16\[\]'):
    checkpoint.restore(two, other)
  with pytest.raises(BadInput, match=r'ema: stored nothing, wanted float32\[2\]'):
    checkpoint.restore(two, wanted._replace(ema=jax.ShapeDtypeStruct((2,), jnp.float32)))
  with pytest.raises(BadInput, match=r'carry/rest/0: stored bool\[5,3\], wanted nothing'):
    checkpoint.restore(two, wanted._replace(carry=()))


def test_not_finite_is_refused_and_the_steps_before_stand(two):
  state = make_state(30)
  state.params['model']['dense']['half'] = jnp.full((2,), jnp.inf, jnp.bfloat16)
  state.opt_state['model'][2]['count'] = jnp.float32(np.nan)
  with pytest.raises(checkpoint.NotFinite, match='step 30 is not finite') as caught:
    checkpoint.save(two, 30, state, {})
  assert set(caught.value.names) == {'params/model/dense/half', 'opt_state/model/2/count'}
  assert checkpoint.restore(two, like(make_state(0)))[2:] == (20, [])
  assert sorted(p.name for p in two.iterdir()) == ['10', '20']


def test_rule_of_what_is_kept(tmp_path):
  for step in range(8):
    (tmp_path / str(step)).mkdir()
  assert checkpoint.prune(tmp_path, 2, 3, protect=(1,)) == [2, 4, 5]
  assert checkpoint.steps(tmp_path) == [0, 1, 3, 6, 7]
  assert checkpoint.prune(tmp_path, 0) == [0, 1, 3, 6]  # the last one always stays


def test_a_save_removes_strays_and_a_future_that_was_given_up(two):
  (two / '.tmp-15' / 'state').mkdir(parents=True)
  checkpoint.save(two, 15, make_state(15), {})
  checkpoint.save(two, 15, make_state(16), {})  # a step may be written again
  assert sorted(p.name for p in two.iterdir()) == ['10', '15']
  same_bits(checkpoint.restore(two, like(make_state(0)))[0], make_state(16))


def test_restores_onto_shardings(tmp_path):
  code = f"""
import os
os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=4'
import jax, numpy as np
from genjax.cluster import checkpoint
mesh = jax.make_mesh((4,), ('data',))
spread = jax.NamedSharding(mesh, jax.P('data'))
x = jax.device_put(np.arange(8.), spread)
checkpoint.save({str(tmp_path)!r}, 1, {{'x': x}}, {{}})
for sharding in (spread, jax.NamedSharding(mesh, jax.P()), None):
  like = {{'x': jax.ShapeDtypeStruct((8,), x.dtype, sharding=sharding)}}
  y = checkpoint.restore({str(tmp_path)!r}, like)[0]['x']
  assert (y == np.arange(8.)).all() and (sharding is None or y.sharding == sharding)
"""
  subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


SAVER = """
import sys
import jax.numpy as jnp
from genjax.cluster import checkpoint
state = lambda n: {'w': jnp.full((500, 500), n, jnp.float32), 'n': jnp.int32(n)}
checkpoint.save(sys.argv[1], 1, state(1), {'n': 1})
print('ready', flush=True)
for n in range(2, 10000):
  checkpoint.save(sys.argv[1], n, state(n), {'n': n})
  checkpoint.prune(sys.argv[1], 2)
"""


@pytest.mark.parametrize('delay', [0.05, 0.21])
def test_killed_while_saving(tmp_path, delay):
  with subprocess.Popen([sys.executable, '-c', SAVER, str(tmp_path)], stdout=subprocess.PIPE,
                        text=True) as saver:
    assert saver.stdout.readline() == 'ready\n'
    time.sleep(delay)
    saver.send_signal(signal.SIGKILL)
  newest = checkpoint.steps(tmp_path)[-1]
  wanted = like({'w': jnp.zeros((500, 500)), 'n': jnp.int32(0)})
  state, meta, step, warnings = checkpoint.restore(tmp_path, wanted)
  assert (step, warnings, meta) == (newest, [], {'n': newest})
  assert (state['w'] == newest).all() and state['n'] == newest


def test_a_file_that_the_disk_does_not_take(two, capfd):
  noise = jax.random.normal(jax.random.key(0), (100, 100))
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
  try:
    with pytest.raises(OSError, match='30 was not saved .File too large; the steps bef') as caught:
      checkpoint.save(two, 30, {'w': noise}, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert caught.value.errno == errno.EFBIG
  assert 'Traceback' not in capfd.readouterr().err
  assert sorted(p.name for p in two.iterdir()) == ['10', '20']


@pytest.mark.parametrize('options,code', [('size=400k', errno.ENOSPC), ('remount,ro', errno.EROFS)])
def test_full_or_read_only_disk(tmp_path, options, code):
  size = 'size=400k' if 'size' in options else 'size=9m'
  mount = ['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', str(tmp_path)]
  if subprocess.run(mount, capture_output=True).returncode:
    pytest.skip('mounting needs root')
  try:
    checkpoint.save(tmp_path, 10, make_state(10), {})
    if 'ro' in options:
      subprocess.run(['mount', '-o', options, str(tmp_path)], check=True)
    noise = jax.random.normal(jax.random.key(0), (400, 400))
    with pytest.raises(OSError, match='checkpoint 20 was not saved') as caught:
      checkpoint.save(tmp_path, 20, {'w': noise}, {})
    assert caught.value.errno == code
    assert [p.name for p in tmp_path.iterdir()] == ['10']
    same_bits(checkpoint.restore(tmp_path, like(make_state(0)))[0], make_state(10))
  finally:
    subprocess.run(['umount', str(tmp_path)], check=True)


def test_a_step_that_is_deleted_while_it_is_read_is_read_again_at_the_newest(two, monkeypatch):
  """A training goes on meanwhile: it deletes the step and has saved a newer one."""
  read = shards.read

  def deleted_after_its_index(folder, index, wanted):
    if folder.name == '20' and checkpoint.steps(two) == [10, 20]:
      checkpoint.save(two, 30, make_state(30), {'best': None})
      checkpoint.prune(two, 1)
    return read(folder, index, wanted)

  monkeypatch.setattr(shards, 'read', deleted_after_its_index)
  state, _, step, warnings = checkpoint.restore(two, like(make_state(0)))
  same_bits(state, make_state(30))
  assert (step, warnings) == (30, [])


def test_a_step_that_was_asked_for_and_is_deleted_while_it_is_read(two, monkeypatch):
  monkeypatch.setattr(shards, 'read', lambda *_: (shutil.rmtree(two / '10'), ({}, 'torn'))[1])
  with pytest.raises(checkpoint.Pruned, match='no checkpoint of step 10 in .*; there are: 20'):
    checkpoint.restore(two, like(make_state(0)), 10)


def test_the_identity_of_a_best_step_that_is_gone_for_good(two):
  shutil.rmtree(two / '10')
  with pytest.raises(BadInput, match='is damaged: checkpoint.json is missing'):
    checkpoint.identity(two)
