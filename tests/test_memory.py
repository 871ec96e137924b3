"""Memory is asked before it is taken: what a program needs, what there is, and the refusal."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import configs, data, memory, sharding, wiring
from genjax.evals import draw
from genjax.train import step
from genjax.types import BadInput, DataSpec, Model
from genjax.wiring.training import lighter

# many rows and few parameters, so that rows are what the memory is for
POINTS = ('configs/toy2d.py:data=three_modes,family=gaussian,objective=kl,estimator=exact,'
          'data.num_train=8192')
MIB = 2**20


def limit(monkeypatch, num_bytes: float):
  monkeypatch.setattr(memory, 'available', lambda device: int(num_bytes))


def config_of(text: str = POINTS, **settings):
  config = configs.load(text)
  configs.override(config, {'steps_per_dispatch': 1, 'batch_size': 8192, **settings})
  return config


def compiled(config):
  run = wiring.run(config)
  return wiring.compiled_step(config, run, sharding.make_mesh())


def test_memory_is_that_of_the_compiler():
  stats = types.SimpleNamespace(
      argument_size_in_bytes=1, temp_size_in_bytes=2, generated_code_size_in_bytes=3,
      peak_memory_in_bytes=4, output_size_in_bytes=50, alias_size_in_bytes=10)
  need = memory.of(types.SimpleNamespace(memory_analysis=lambda: stats))
  assert need == (1, 2, 3, 4, 40) and need.total == 43


def test_a_step_that_does_not_fit_is_refused_with_settings_under_which_it_does(monkeypatch):
  need = memory.of(compiled(config_of()))
  has = need.arguments + need.results + 0.6 * need.temporaries
  limit(monkeypatch, has)
  with pytest.raises(BadInput, match=r'a train step needs .* this machine has') as refused:
    compiled(config_of())
  ways = str(refused.value).partition('allowed: ')[2].split(' or ')
  assert [way.partition('=')[0] for way in ways] == ['--config.accumulate', '--config.batch_size']
  for way in ways:
    key, value = way.removeprefix('--config.').split('=')
    assert memory.of(compiled(config_of(**{key: int(value)}))).total <= has
  limit(monkeypatch, 0.5 * need.arguments)  # no number of rows makes the parameters smaller
  with pytest.raises(BadInput, match='allowed: a smaller model, or more devices with mesh.fsdp'):
    compiled(config_of())


def test_a_loss_that_couples_its_examples_is_not_cut(monkeypatch):
  config = config_of('configs/digits.py:family=implicit,objective=wasserstein,'
                     'estimator=sinkhorn', batch_size=512)
  run = wiring.run(config)
  need = memory.Memory(MIB, 20 * MIB, 0, 21 * MIB, 0)
  monkeypatch.setattr(step, 'lower_step', lambda *_: types.SimpleNamespace(compile=lambda: None))
  monkeypatch.setattr(memory, 'of', lambda program: need._replace(temporaries=0))
  assert lighter(config, run, None, need, 6 * MIB) == '--config.batch_size=128'


@pytest.mark.slow
def test_an_autoregressive_model_of_rgb_images_ends_in_a_line_not_in_43_gigabytes(monkeypatch):
  limit(monkeypatch, 20 * 2**30)
  arrays = data.dataset.Dataset(
      'rgb', DataSpec((32, 32, 3), 256, None),
      {s: {'x': np.zeros((600, 32, 32, 3), np.uint8)} for s in data.dataset.SPLITS}, {})
  config = configs.load('configs/folder.py:path=rgb.npz,family=autoregressive,objective=kl')
  run = wiring.run(config, arrays)
  with pytest.raises(BadInput, match=r'a train step needs 40\.0 GiB .*accumulate=4'):
    wiring.compiled_step(config, run, sharding.make_mesh())
  config.accumulate = 4
  wiring.compiled_step(config, wiring.run(config, arrays), sharding.make_mesh())


def test_what_evaluates_is_refused_before_it_runs(monkeypatch):
  @sharding.jit(what='likelihood of 256 examples')
  def outer(x):
    return jnp.tanh(x[:, None] - x[None]).sum(1)

  x = jnp.zeros(1024)
  expected = outer(x)
  limit(monkeypatch, MIB)
  np.testing.assert_array_equal(outer(x), expected)  # asked once for arguments of a shape
  with pytest.raises(BadInput, match=r'likelihood of 256 examples needs 0\.0 GiB'):
    outer(jnp.zeros((2048, 256)))
  assert jax.jit(outer)(jnp.zeros(8)).shape == (8,)  # inside a trace the caller's program is asked


def test_samples_are_refused_before_they_are_drawn(monkeypatch):
  def sample(params, rng, n, cond):
    noise = jax.random.normal(rng, (64, n, 64)) @ params
    return jnp.sort(noise, 0)[0], 1

  model = Model(init=None, sample=sample)
  draw_from = draw.make(model, DataSpec((64,), None, None), seed=0)
  limit(monkeypatch, MIB)
  with pytest.raises(BadInput, match='sampling 256 at once needs .* of memory .*allowed: .*chunk'):
    draw_from(jnp.eye(64))(256)


def test_virtual_devices_of_a_processor_share_its_memory(monkeypatch):
  stats = types.SimpleNamespace(
      argument_size_in_bytes=0, temp_size_in_bytes=MIB, generated_code_size_in_bytes=0,
      peak_memory_in_bytes=0, output_size_in_bytes=0, alias_size_in_bytes=0)

  def program(count):
    devices = [types.SimpleNamespace(platform='cpu')] * count
    return types.SimpleNamespace(
        memory_analysis=lambda: stats,
        runtime_executable=lambda: types.SimpleNamespace(local_devices=lambda: devices))

  limit(monkeypatch, 5 * MIB)
  assert memory.check(program(4), 'it')
  with pytest.raises(BadInput, match='each device of this machine has'):
    memory.check(program(8), 'it')


def test_an_accelerator_says_its_limit_itself():
  device = types.SimpleNamespace(platform='gpu', memory_stats=lambda: {'bytes_limit': 7})
  silent = types.SimpleNamespace(platform='gpu', memory_stats=lambda: None)
  assert memory.available(device) == 7 and memory.available(silent) is None


def test_a_control_group_and_those_above_it(tmp_path):
  inner = tmp_path / 'jobs/mine'
  inner.mkdir(parents=True)

  def write(folder, most, used, inactive):
    (folder / 'memory.max').write_text(f'{most}\n')
    (folder / 'memory.current').write_text(f'{used}\n')
    (folder / 'memory.stat').write_text(f'anon 1\ninactive_file {inactive}\n')

  write(inner, 'max', 50, 0)
  write(tmp_path / 'jobs', 1000, 900, 300)
  assert memory._of_groups(tmp_path, '/jobs/mine') == [400]
  write(inner, 500, 450, 0)
  assert memory._of_groups(tmp_path, '/jobs/mine') == [50, 400]


def test_here_there_is_more_than_this_process_holds():
  [device] = jax.local_devices()[:1]
  assert 2**28 < memory.available(device) < 2**45
