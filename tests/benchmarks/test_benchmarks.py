"""The harness against rounds made up by hand, its programs without torch, and the peers' maths."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import ours, report, rounds, startup, worker, workloads
from experiments import memory
from genjax import prob, wiring
from genjax.nn.unet import UNet
from genjax.numerics import bijections, path
from genjax.types import BadInput

ROOT = pathlib.Path(__file__).parent.parent.parent
STAT = """cpu  900 0 0 0 0 0 0 0 0 0
cpu0 100 10 20 5000 7 1 2 3 50 0
cpu1 300 0 40 5000 0 0 0 0 0 0
cpu2 500 0 0 0 0 0 0 0 0 0
intr 1 2 3
"""


def block(seconds, foreign=0.0):
  return rounds.Block(seconds, 2 * seconds, foreign)


def side(blocks, log=None, name=''):
  """A side that gives these blocks in turn, the last one for ever."""
  blocks = list(blocks)

  def run():
    if log is not None:
      log.append(name)
    return blocks.pop(0) if len(blocks) > 1 else blocks[0]

  return run


def test_ratios_are_formed_inside_a_round():
  """The machine drifts by 10 within both sides; the ratio of the medians would be 10 times off."""
  kept = [{'ours': block(1.0), 'peer': block(3.0)}, {'ours': block(10.0), 'peer': block(20.0)},
          {'ours': block(100.0), 'peer': block(150.0)}]
  assert rounds.ratio(kept, 'peer', 'ours', 'wall') == (2.0, 1.5, 3.0)
  assert rounds.difference(kept, 'peer', 'ours', 'wall') == (10.0, 2.0, 50.0)
  assert rounds.seconds(kept, 'peer', 'cpu') == (40.0, 6.0, 300.0)
  with pytest.raises(ValueError, match='no clean round'):
    rounds.ratio([], 'peer', 'ours', 'wall')


def test_a_disturbed_round_is_discarded_whole_and_repeated():
  ours_ = side([block(1.0), block(2.0, foreign=0.3), block(4.0)])
  found = rounds.collect({'ours': ours_, 'peer': side([block(8.0)])}, 2, pause=0.0)
  assert found.discarded == 1 and found.foreign == 0.0
  assert rounds.ratio(found.kept, 'peer', 'ours', 'wall') == (5.0, 2.0, 8.0)


def test_a_machine_that_is_never_quiet_is_given_up():
  found = rounds.collect({'a': side([block(1.0, 0.9)])}, 2, pause=0.0)
  assert found.kept == () and found.discarded == 2 * rounds.PATIENCE
  assert len(rounds.collect({'a': side([block(1.0, 0.9)])}, 2, gate=False).kept) == 2


def test_sides_alternate_and_the_order_rotates():
  log = []
  rounds.collect({name: side([block(1.0)], log, name) for name in 'abc'}, 3)
  assert ''.join(log) == 'abcbcacab'


def test_busy_seconds_of_some_cores():
  """User, nice, system, interrupts and stolen time; neither idle, nor waiting, nor guests twice."""
  assert rounds.busy(STAT, {0}) * rounds.TICK == 100 + 10 + 20 + 1 + 2 + 3
  assert rounds.busy(STAT, {0, 1}) * rounds.TICK == 136 + 340
  assert rounds.foreign(1.0, 0.75, 0.5) == 0.5 and rounds.foreign(1.0, 1.01, 0.5) == 0.0
  assert rounds.busy() > 0


def test_a_block_is_divided_by_its_steps():
  calls = []
  made = rounds.Side(lambda: calls.append(1), lambda: calls.append('end'), 10, 0, {})
  found = worker.block(made, 5)
  assert calls == [1] * 5 + ['end'] and 0 < found.wall < 1e-3
  assert worker.calibrate(made, 0.001) > 1


def test_cpu_seconds_of_a_process():
  assert startup.cpu_of(os.getpid()) == pytest.approx(sum(os.times()[:2]), abs=0.1)


def test_a_row_shows_median_and_range():
  assert report.show(rounds.Summary(1.234, 1.0, 2.0)) == '1.23 [1.00, 2.00]'
  assert report.table(['a', 'b'], [{'b': 1}]).splitlines()[2] == '|  | 1 |'


def run(*arguments):
  return subprocess.run([sys.executable, '-m', 'benchmarks.run', *arguments], cwd=ROOT,
                        capture_output=True, text=True)


@pytest.mark.slow
def test_the_torch_free_suite(tmp_path):
  done = run('--suite=torch_free', '--only=score', '--rounds=2', '--mode=cpu', '--block=0.01',
             f'--out={tmp_path}/notes.md')
  assert done.returncode == 0, done.stderr
  text = (tmp_path / 'notes.md').read_text()
  assert text.strip() == done.stdout.strip()
  assert 'score: score network' in text and '* commit: ' in text and 'jax 0.' in text
  assert '| 1 thread | 2 | 0 |' in text  # mode, rounds, discarded


@pytest.mark.parametrize('arguments, said', [
    (('--suite=speed',), "unknown suite 'speed'; allowed: train, sample, loop"),
    (('--suite=train', '--only=gan'), "unknown workload 'gan'; allowed here: product, vae"),
])
def test_mistakes_end_in_one_line(arguments, said):
  done = run(*arguments)
  assert done.returncode == 1 and said in done.stderr and 'Traceback' not in done.stderr


def test_a_worker_that_dies_names_itself():
  with pytest.raises(RuntimeError, match='nobody of vae ended with exit code 1'):
    worker.start('vae', 'nobody', 1, 0.01)
  with pytest.raises(BadInput, match="unknown workload 'gan'"):
    workloads.named('gan')


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.slow) if name.startswith('unet') else name
    for name in (*workloads.TRAIN, *workloads.SAMPLE)])
def test_a_peer_has_as_many_parameters_and_takes_a_step(name):
  pytest.importorskip('torch')
  workload = workloads.named(name)._replace(batch_size=8)
  config = ours.config_of(workload, workload.k)
  like = wiring.abstract_state(config, wiring.run(config))
  peer = workloads.side(name, 'torch', 1)
  assert peer.parameters == ours.count(like.params)
  peer.call()


def test_the_logistic_likelihood_of_the_peer():
  torch = pytest.importorskip('torch')
  from benchmarks import torch_train
  rng = np.random.default_rng(0)
  x = prob.from_levels(rng.integers(0, 256, (50, 7)), 256)
  mean, log_scale = rng.normal(size=(2, 50, 7)).astype(np.float32)
  found = torch_train.logistic_cell_log_prob(*map(torch.tensor, (np.array(x), mean, log_scale)))
  expected = prob.logistic_cell_log_prob(x, mean, log_scale, 256)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_couplings_and_the_path_of_the_peer():
  torch = pytest.importorskip('torch')
  from benchmarks import torch_flow, torch_train
  rng = np.random.default_rng(0)
  x = (3.0 * rng.normal(size=(64, 5))).astype(np.float32)
  raw = rng.normal(size=(64, 23, 5)).astype(np.float32)
  found = torch_flow.spline(torch.tensor(x), torch.tensor(raw).transpose(1, 2), 4.0)
  for a, b in zip(found, bijections.rational_quadratic(x, raw, 4.0), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
  t = np.linspace(0.0, 1.0, 9, dtype=np.float32)
  for a, b in zip(torch_train.path(torch.tensor(t)), path.cosine()(jnp.asarray(t)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_the_facts_of_a_side_are_json():
  made = ours.train(workloads.named('score')._replace(batch_size=8), 1)
  made.call()
  made.finish()
  json.dumps(made.facts)
  assert made.steps == 1 and made.parameters > 1e5 and jax.device_count() >= 1


@pytest.mark.slow
def test_the_unet_of_the_peer_is_the_same_function():
  """Weights are copied by name; none is left at its own value on either side."""
  torch = pytest.importorskip('torch')
  from benchmarks import torch_unet
  sizes = {**workloads.UNET, 'width': 8, 'num_blocks': 1}
  net, peer = UNet(**sizes), torch_unet.make({'model': sizes})
  rng = np.random.default_rng(0)
  x, t = rng.normal(size=(2, 28, 28, 1)).astype(np.float32), np.array([0.2, 0.7], np.float32)
  like = jax.eval_shape(net.init, jax.random.key(0), x, t)['params']
  params = jax.tree.map(lambda a: rng.normal(0.0, 0.2, a.shape).astype(np.float32), like)
  weights = {}
  for place, value in jax.tree_util.tree_leaves_with_path(params):
    *module, kind = (key.key for key in place)
    if kind == 'kernel':
      value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
      value = value[..., None, None] if module[-1] == 'shortcut' else value
    name = 'bias' if kind == 'bias' else 'weight'
    weights['.'.join([*module, name])] = torch.tensor(value.copy())
  peer.load_state_dict(weights)  # refuses names that are missing, left over or of another shape
  with torch.inference_mode():
    found = peer(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(t)).permute(0, 2, 3, 1)
  expected = jax.jit(net.apply)({'params': params}, x, t)
  assert jnp.abs(expected).max() > 0.1
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * float(jnp.abs(expected).max()))


@pytest.mark.slow
def test_the_pipeline_of_diffusers_draws_with_about_as_many_parameters():
  pytest.importorskip('diffusers')
  from benchmarks import diffusers_unet
  kw = {'denoiser': workloads.UNET, 'sampler': {'num_steps': 2}}
  made = diffusers_unet.ddim(kw, 2, 0.0)
  assert made.call().images.shape == (2, 28, 28, 1)
  config = ours.config_of(workloads.named('unet'), 1)
  like = wiring.abstract_state(config, wiring.run(config))
  assert made.parameters == pytest.approx(ours.count(like.params['model']), rel=0.06)


@pytest.mark.slow
def test_the_program_for_an_accelerator_runs_on_a_processor(tmp_path):
  out = tmp_path / 'gpu.json'
  done = subprocess.run(
      [sys.executable, '-m', 'benchmarks.gpu', '--size=toy', '--batch=4', '--steps=30', '--timed=1',
       '--num_steps=3', f'--out={out}'], cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  found = json.loads(out.read_text())
  assert found['network evaluations'] == 3 and found['peak memory predicted, bytes'] > 0
  assert 0.0 < found['utilisation'] < 1.0 and found['sampling over its evaluations'] > 0.0
  assert found['utilisation'] == pytest.approx(
      found['model FLOPs a step'] / found['step, s'] / found['matrix rate, FLOP/s'])
  # the same rows and noise, another rounding
  assert 0.0 < found['largest difference of a loss, relative'] < 1e-2


def test_large_pages_are_asked_for_once_and_never_against_the_user():
  name, asked = memory.NAME, 'glibc.malloc.hugetlb=1'
  assert memory.with_large_pages({'A': 'b'}) == {'A': 'b', name: asked}
  assert memory.with_large_pages({name: 'glibc.malloc.check=0'}) == {
      name: f'glibc.malloc.check=0:{asked}'}
  assert memory.with_large_pages({name: asked}) is None
  assert memory.with_large_pages({name: 'glibc.malloc.hugetlb=0'}) is None


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='glibc')
@pytest.mark.parametrize(('given', 'seen'), [
    ({}, 'glibc.malloc.hugetlb=1'),
    ({memory.NAME: 'glibc.malloc.hugetlb=0'}, 'glibc.malloc.hugetlb=0')])
def test_a_program_starts_with_large_pages_and_its_arguments(given, seen, tmp_path):
  """The process that answers is the second one, with the options and arguments of the first."""
  (tmp_path / 'said.py').write_text(
      'import os, sys; print(os.environ["GLIBC_TUNABLES"], sys.argv[1:], sys.warnoptions)')
  environ = {k: v for k, v in os.environ.items() if k != memory.NAME}
  code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from experiments import memory
memory.start_again()
exec(open({str(tmp_path / 'said.py')!r}).read())
"""
  done = subprocess.run([sys.executable, '-W', 'error::RuntimeWarning', '-c', code, '--x=a b'],
                        env={**environ, **given}, capture_output=True, text=True)
  assert done.stdout.strip() == f"{seen} ['--x=a b'] ['error::RuntimeWarning']", done.stderr
