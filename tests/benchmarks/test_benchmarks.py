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
from genjax import build, prob
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


@pytest.mark.parametrize('name', [*workloads.TRAIN, *workloads.SAMPLE])
def test_a_peer_has_as_many_parameters_and_takes_a_step(name):
  pytest.importorskip('torch')
  workload = workloads.named(name)._replace(batch_size=8)
  config = ours.config_of(workload, workload.k)
  like = build.abstract_state(config, build.run(config))
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
