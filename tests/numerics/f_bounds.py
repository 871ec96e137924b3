"""What critics claim of an f-divergence, also far beyond the clip: bounds and their estimates.

python -m tests.numerics.f_bounds [--batches=1000] [--size=1000]

P = N(0, 1), Q = N(m, 1). Prints a Markdown table: the divergence, the bound of a critic (both by
quadrature), and of estimates from batches the mean and the share above the divergence.
"""

import argparse

import jax.numpy as jnp
import numpy as np

from genjax.numerics import f_divergence

GRID = np.linspace(-12.0, 20.0, 64_001)
CELL = GRID[1] - GRID[0]
HEIGHT = 1000.0  # far beyond every clip
LARGEST = 1e6  # of what a critic gives
CRITICS = {
    'log p / q': lambda f, x, m: f.output(0.5 * m * m - m * x),
    '10 log p / q': lambda f, x, m: f.output(10.0 * (0.5 * m * m - m * x)),
    'step of height 1000 below 0.5': lambda f, x, m: jnp.where(x < 0.5, HEIGHT, 0.0),
    'step of height 1000 below 4': lambda f, x, m: jnp.where(x < 4.0, HEIGHT, 0.0),
}
DIVERGENCES = ('kl', 'reverse_kl', 'js', 'squared_hellinger', 'jeffreys')


def log_normal(x, mean: float):
  """log N(x; mean, 1)."""
  return -0.5 * (x - mean) ** 2 - 0.5 * np.log(2 * np.pi)


def claims(name: str, critic: str, m: float, batches: int, size: int, rng) -> dict:
  """{'divergence', 'bound', 'mean', 'above'} of one critic."""
  f = f_divergence.get(name)
  log_p, log_q = log_normal(GRID, 0.0), log_normal(GRID, m)
  divergence = np.sum(np.asarray(f.integrand(log_p, log_q), np.float64)) * CELL
  at = lambda x: jnp.clip(CRITICS[critic](f, jnp.asarray(x, jnp.float32), m), -LARGEST, LARGEST)
  gain = lambda x: np.asarray(f.activation(at(x)), np.float64)
  cost = lambda x: np.asarray(f.conjugate_activation(at(x)), np.float64)
  bound = CELL * np.sum(np.exp(log_p) * gain(GRID) - np.exp(log_q) * cost(GRID))
  x, y = rng.standard_normal((2, batches, size))
  estimates = gain(x).mean(1) - cost(y + m).mean(1)
  return {'divergence': divergence, 'bound': bound, 'mean': estimates.mean(),
          'above': np.mean(estimates > divergence)}


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--batches', type=int, default=1000)
  parser.add_argument('--size', type=int, default=1000)
  args = parser.parse_args()
  print('| divergence | m | critic | divergence, nats | bound | mean estimate | share above |')
  print('|---|---|---|---|---|---|---|')
  for name in DIVERGENCES:
    for m in (1.0, 8.0):
      for critic in CRITICS:
        rng = np.random.default_rng(0)
        found = claims(name, critic, m, args.batches, args.size, rng)
        print(f'| {name} | {m:g} | {critic} | {found["divergence"]:.4g} | {found["bound"]:.4g} | '
              f'{found["mean"]:.4g} | {found["above"]:.3f} |')


if __name__ == '__main__':
  main()
