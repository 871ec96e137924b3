"""One run on every layout of devices and hosts, and through what happens to hosts."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from genjax import data
from tests import jobs, layouts, programs, soak

CHECKED = {'vae': ('1x8f2', '2x2f2'), 'wgan_gp': ('1x4f4', '2x1f1'), 'dit': ('1x4f4', '4x1f4')}


@pytest.mark.slow
@pytest.mark.parametrize('model', layouts.MODELS)
def test_a_step_is_the_same_on_all_layouts_and_they_drift_no_faster_than_rounding(model, tmp_path):
  for layout, row in layouts.compare(model, tmp_path, CHECKED[model]).items():
    print(model, layout, row)
    assert row['loss'] <= 1e-5 and row['gradient'] <= 1e-5, (layout, row)
    assert row['perturbed'] > 0 and row['distance'] < 10 * row['perturbed'], (layout, row)


@pytest.mark.slow
def test_the_same_layout_twice_is_the_same_bit_for_bit(tmp_path):
  layouts.start('wgan_gp', tmp_path / 'start')
  for name in ('one', 'two'):
    layouts.trained('wgan_gp', tmp_path / 'start', tmp_path / name, '2x2f2')
  one, two = (layouts.state(tmp_path / name, layouts.STEPS) for name in ('one', 'two'))
  for name in one:
    np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.slow
@pytest.mark.parametrize('name', soak.RUNS)
def test_three_kills_change_no_bit(name, tmp_path):
  soak.killed(soak.RUNS[name], tmp_path, kills=3, seed=0)


@pytest.mark.slow
def test_three_terms_to_one_of_two_hosts_lose_nothing(tmp_path):
  soak.terminated(tmp_path, terms=3, seed=0)


@pytest.mark.slow
def test_dead_and_frozen_hosts_end_the_job_within_the_heartbeat(tmp_path):
  for name, seconds in soak.faults(tmp_path, seed=0).items():
    assert seconds < 2 * soak.HEARTBEAT, name  # it is looked for every half of it


def ledger(path, first: int, last: int) -> list[set]:
  """Of each step in [first, last) the rows that all processes read for it."""
  rows = [set() for _ in range(first, last)]
  for file in path.parent.glob(f'{path.name}.*'):
    for line in file.read_text().splitlines():
      step, read = json.loads(line)
      if first <= step < last:  # what was read ahead of a stop trained nothing
        rows[step - first] |= set(read)
  return rows


@pytest.mark.slow
@pytest.mark.parametrize('layout', ['1x1f1', '4x1f4'])
def test_saved_on_two_hosts_and_resumed_on_others_every_example_is_seen_once(
    layout, tmp_path, monkeypatch):
  half, batch = layouts.STEPS // 2, 128  # 20 batches are more than one epoch
  layouts.start('vae', tmp_path / 'start')
  shutil.copytree(tmp_path / 'start', tmp_path / 'run')
  more = ['--config.batch_size=128']
  for name, where, steps in (('first', '2x2f2', half), ('second', layout, layouts.STEPS)):
    monkeypatch.setenv('LEDGER', str(tmp_path / name))
    arguments = [*layouts.arguments('vae', tmp_path / 'run', where), f'--config.steps={steps}']
    if name == 'first':  # the batch size belongs to the run
      shutil.rmtree(tmp_path / 'run')
    codes = jobs.finish(jobs.launch('tests.ledger', where, tmp_path / 'run.log',
                                    *programs.merged(*arguments, *more)))
    assert codes == [0] * len(codes), (tmp_path / 'run.log.0').read_text()
  seen = [*ledger(tmp_path / 'first', 0, half), *ledger(tmp_path / 'second', half, layouts.STEPS)]
  train = data.load('digits').splits['train']
  expected = data.batches(train, batch, 0)
  for i, rows in enumerate(seen):
    assert rows == set(expected.rows(i).tolist()), f'step {i}'
  stream = np.concatenate([expected.rows(i) for i in range(layouts.STEPS)])
  n = len(train['x'])
  assert sorted(stream[:n]) == list(range(n))


FLOAT64 = '''
import jax, jax.numpy as jnp, numpy as np
jax.config.update('jax_enable_x64', True)
from configs import defaults
from genjax import sharding, wiring
from genjax.train import init, step
config = defaults.get()
config.batch_size, config.ema = 16, 0.99
run = wiring.run(config)
wide = lambda tree: jax.tree.map(
    lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, tree)
prepare = lambda batch, rng: wide(run.prepare(batch, rng))
made = step.make_step(run.objective, run.optimizers, seed=0, ema=0.99, prepare=prepare)
start = wide(init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run)))
rows = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), run.source[0])
last = {}
for count, fsdp in ((1, 1), (8, 2)):
  mesh = sharding.make_mesh(fsdp, jax.devices()[:count])
  state = jax.tree.map(jnp.array, start)
  dispatch = step.compile_step(made, 1, mesh, jax.eval_shape(lambda: start), rows)
  if count > 1:
    state = jax.device_put(state, sharding.state_sharding(mesh, start))
  for i in range(20):
    x = run.source[i]
    if count > 1:
      x = sharding.to_global(mesh, x, 16)
    state, metrics = dispatch(state, x)
  last[count] = [np.asarray(a) for a in jax.tree.leaves(state.params)]
assert all(a.dtype == np.float64 for a in last[1])
print(max(np.linalg.norm(a - b) / np.linalg.norm(a) for a, b in zip(last[1], last[8])))
'''


@pytest.mark.slow
def test_in_float64_one_and_eight_devices_agree_to_1e_9(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=8')
  done = subprocess.run([sys.executable, '-c', FLOAT64], cwd=jobs.ROOT, text=True,
                             capture_output=True)
  assert done.returncode == 0, done.stderr
  print('relative distance of the parameters after 20 steps:', done.stdout)
  assert 0 < float(done.stdout) < 1e-9


@pytest.mark.slow
def test_samples_of_four_devices_on_two_hosts_are_those_of_one(tmp_path):
  layouts.start('dit', tmp_path / 'run')
  drawn = {}
  for layout in ('1x1f1', '2x2f1'):
    out = tmp_path / f'{layout}.npz'
    codes = jobs.finish(jobs.launch(
        'experiments.sample', layout, tmp_path / f'{layout}.log', f'--workdir={tmp_path / "run"}',
        '--num=300', f'--out={out}', '--sampler_kw={"num_steps": 5}'))
    assert codes == [0] * len(codes), (tmp_path / f'{layout}.log.0').read_text()
    drawn[layout] = np.load(out)['x'].astype(int)
  one, four = drawn.values()
  assert one.shape == four.shape == (300, 8, 8, 1)
  # levels: a rounding may tip a pixel that lies between two of them
  assert np.mean(one != four) < 1e-3 and one.std() > 10


REPLAY = '''
import json, math
import jax
from configs import defaults
from genjax import sharding, wiring
from genjax.pod import compiled
config = defaults.get()
config.model.family, config.batch_size = 'ebm', 512
run = wiring.run(config)
steps = {n: wiring.compiled_step(config, run, sharding.make_mesh(1, jax.devices()[:n]))
         for n in (1, 8)}
params = wiring.abstract_state(config, run).params
print(json.dumps({
    'flops': [step.cost_analysis()['flops'] for step in steps.values()],
    'collectives': compiled.collectives(steps[8].as_text()),
    'bytes': 4 * sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))}))
'''


@pytest.mark.slow
def test_a_replay_buffer_stays_on_its_devices(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_force_host_platform_device_count=8')
  done = subprocess.run([sys.executable, '-c', REPLAY], cwd=jobs.ROOT, text=True,
                        capture_output=True)
  assert done.returncode == 0, done.stderr
  found = json.loads(done.stdout)
  one, eight = found['flops']
  print(f'FLOPs of a device: {one:.4g} alone, {eight:.4g} of eight: {8 * eight / one:.3f}')
  assert 0.95 < 8 * eight / one < 1.05
  # one sum over devices: the gradients of data and of chains, and a few means
  assert list(found['collectives']) == ['all-reduce']
  [moved] = found['collectives'].values()
  assert moved['count'] == 1 and 2 * found['bytes'] <= moved['bytes'] < 2 * found['bytes'] + 256
