"""The metrics of samples beside their peers: figures from features, features from images.

python -m benchmarks.metrics NAME SIDE    one call in this process: seconds, memory, figures

A side's memory is the peak of its process, with libraries and features, and the peak less what it
had before the first call. NAME: see METRICS; prdc_50k is for one call alone, prdc would need 60 GB.
"""

import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks import rounds
from genjax.types import BadInput

DIM = 2048
K = 5  # of all four figures, as in the peer
MIB = 2**20


class Metric(NamedTuple):
  """What is computed of n rows, by `ours` and by one peer."""

  what: str
  make: Callable  # (side, n) -> call() -> {figure: float}
  n: int
  peer: str  # the package
  goal: float | None = None  # least ratio of times
  memory: float | None = None  # greatest ratio of memory beyond the start, ours over the peer's
  tolerance: float | None = None  # greatest relative difference of the figures


def prdc(side: str, n: int) -> Callable:
  """Precision, recall, density, coverage of n and n Gaussian features."""
  rng = np.random.default_rng(0)
  x, y = (rng.standard_normal((n, DIM), np.float32) for _ in range(2))
  if side == 'ours':
    from genjax.evals import prdc as evaluator
    return lambda: evaluator.prdc(x, y, K, K)
  import prdc as package
  return lambda: {k: float(v) for k, v in package.compute_prdc(y, x, K).items()}


def frechet(side: str, n: int) -> Callable:
  """The distance of two Gaussians whose means and covariances, of n features, are given."""
  rng = np.random.default_rng(0)
  # spectra that fall as those of features of images do, in directions that are not the axes
  directions = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
  scaled = directions / np.sqrt(1.0 + np.arange(DIM))[:, None]
  given = []
  for shift in (0.0, 0.1):
    x = (rng.standard_normal((n, DIM)) + shift) @ scaled
    given.append((x.mean(0), np.cov(x, rowvar=False)))
  if side == 'ours':
    from genjax.evals import frechet as evaluator
    return lambda: {'fd': evaluator.distance(*(evaluator.known_moments(*m) for m in given))}
  from scipy import linalg

  def call():
    (m_1, s_1), (m_2, s_2) = given
    root = linalg.sqrtm(s_1 @ s_2).real
    return {'fd': float(np.sum((m_1 - m_2) ** 2) + np.trace(s_1 + s_2 - 2.0 * root))}

  return call


def inception(side: str, n: int) -> Callable:
  """Features of n images by Inception-2015-12-05 with random weights."""
  if side == 'torch':
    from benchmarks import torch_inception
    run = torch_inception.make(n)
    return lambda: (run(), {})[1]
  import jax

  from genjax.encoders import inception as network
  rng = np.random.default_rng(0)
  params = jax.device_put(network.from_torch(network.random_state(rng)))
  x = jax.device_put(rng.uniform(-1, 1, (n, network.SIDE, network.SIDE, 3)).astype(np.float32))
  features = jax.jit(lambda params, x: network.apply(params, x)['pool3'])
  return lambda: (features(params, x).block_until_ready(), {})[1]


PRDC = 'precision, recall, density, coverage, {0:,} and {0:,} features of 2,048, k = 5'
GOALS = {'goal': 3.0, 'memory': 0.25, 'tolerance': 1e-6}
METRICS = {
    'prdc_5k': Metric(PRDC.format(5000), prdc, 5000, 'prdc', **GOALS),
    'prdc_10k': Metric(PRDC.format(10000), prdc, 10000, 'prdc', **GOALS),
    'frechet': Metric('Frechet distance of Gaussians in 2,048 dimensions', frechet, 4096, 'scipy',
                      goal=10.0, tolerance=1e-6),
    'inception': Metric('Inception features of 8 images of 299 x 299', inception, 8, 'torch',
                        goal=0.77),
}
ALONE = {f'prdc_{n}k': Metric(PRDC.format(1000 * n), prdc, 1000 * n, 'prdc') for n in (20, 50)}


def peak() -> int:
  """Bytes: the most that this program had in memory (VmHWM; ru_maxrss counts its parent's too)."""
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  return next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM'))


def side(name: str, which: str, cores: int) -> rounds.Side:
  """One side in this process; its facts hold the figures and the memory of the calls so far."""
  metric = {**METRICS, **ALONE}.get(name)
  if metric is None:
    raise BadInput(f'unknown metric {name!r}; allowed: {", ".join([*METRICS, *ALONE])}')
  if which == 'torch':
    import torch
    torch.set_num_threads(cores)
  elif which == 'ours':
    import jax
    jax.devices()
  made = metric.make(which, metric.n)
  facts = {'start': peak()}

  def call():
    facts['figures'] = made()
    facts['peak'] = peak()

  return rounds.Side(call, lambda: None, 1, 0, facts)


def beyond(facts: dict) -> int:
  """Bytes at the peak beyond those before the first call."""
  return facts['peak'] - facts['start']


def difference(ours: dict, theirs: dict) -> float | None:
  """The greatest relative difference of two sides' figures; None where they have none."""
  return max((abs(ours[k] - theirs[k]) / abs(theirs[k]) for k in theirs), default=None)


def main(name: str, which: str) -> None:
  made = side(name, which, 2)
  wall, cpu = time.perf_counter(), time.process_time()
  made.call()
  wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
  print(json.dumps({
      'wall, s': round(wall, 1), 'CPU, s': round(cpu, 1),
      'peak, MiB': made.facts['peak'] // MIB, 'beyond the start, MiB': beyond(made.facts) // MIB,
      'figures': made.facts['figures']}))


if __name__ == '__main__':
  main(*sys.argv[1:])
