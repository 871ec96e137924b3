"""Conditional models against an exact posterior: C2ST on a linear-Gaussian pair (theta, x).

python -m benchmarks.posteriors --out=DIR [--steps=20000] [--num=10000]

theta ~ N(0, I), x = A theta + sd noise, both of 5 dimensions, 100,000 pairs; the posterior of theta
given x is Gaussian. A flow by maximum likelihood and a diffusion by score matching are trained on
theta with x as the vector that they are conditioned on. For each of 10 observations that no
training saw, the accuracy of a classifier that tells their samples from as many exact ones: one
half where it cannot. Two classifiers: the one of `genjax.evals.c2st`, and a multilayer perceptron
of scikit-learn as in 2101.04653 (two layers of 50, five folds).
"""

import argparse
import json
import pathlib

import numpy as np

import genjax
from genjax.evals import c2st

DIM, SD, PAIRS, OBSERVATIONS = 5, 0.5, 100_000, 10
FAMILIES = {
    'flow': ('family=flow,objective=kl,model.num_couplings=6,conditioner.features=(64,64)',
             {'optim.lr': 1e-3, 'optim.decay': 'cosine', 'batch_size': 256}),
    'diffusion': ('family=diffusion,objective=score_matching,model.prediction=velocity,'
                  'model.schedule=linear,objective.weighting=flow_matching,denoiser.width=128,'
                  'denoiser.num_blocks=3',
                  {'optim.lr': 1e-3, 'optim.decay': 'cosine', 'batch_size': 256,
                   'sampler.name': 'heun', 'sampler.kw.num_steps': 40}),
}


def problem(seed: int = 0):
  """A [DIM, DIM], the pairs theta, x [PAIRS, DIM], and observations [OBSERVATIONS, DIM]."""
  rng = np.random.default_rng(seed)
  matrix = rng.normal(size=(DIM, DIM)) / np.sqrt(DIM)
  theta = rng.normal(size=(PAIRS + OBSERVATIONS, DIM))
  x = theta @ matrix.T + SD * rng.normal(size=theta.shape)
  return matrix, theta[:PAIRS], x[:PAIRS], x[PAIRS:]


def posterior(matrix, x):
  """Mean [DIM] and covariance [DIM, DIM] of theta given one x."""
  precision = np.eye(DIM) + matrix.T @ matrix / SD**2
  covariance = np.linalg.inv(precision)
  return covariance @ matrix.T @ x / SD**2, covariance


def mlp_c2st(x, y, seed: int = 0) -> float:
  """Held-out accuracy of a multilayer perceptron over five folds."""
  from sklearn.model_selection import KFold, cross_val_score
  from sklearn.neural_network import MLPClassifier
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler
  data = np.concatenate([x, y])
  labels = np.repeat([0, 1], (len(x), len(y)))
  model = make_pipeline(StandardScaler(), MLPClassifier((50, 50), max_iter=200, random_state=seed,
                                                        early_stopping=True))
  folds = KFold(5, shuffle=True, random_state=seed)
  return float(cross_val_score(model, data, labels, cv=folds).mean())


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--steps', type=int, default=20_000)
  parser.add_argument('--num', type=int, default=10_000)
  args = parser.parse_args()
  args.out.mkdir(parents=True, exist_ok=True)
  matrix, theta, x, observed = problem()
  np.savez(args.out / 'pairs.npz', x=theta.astype(np.float32), context=x.astype(np.float32))
  rng = np.random.default_rng(1)
  found = {}
  for name, (argument, settings) in FAMILIES.items():
    config = genjax.config(
        f'configs/folder.py:path={args.out}/pairs.npz,{argument},conditional=True',
        {'steps': args.steps, 'steps_per_dispatch': 50, 'log.every': 1000,
         'checkpoint.every': args.steps, 'evals.names': (), **settings})
    genjax.train(config, args.out / name)
    rows = []
    for i, each in enumerate(observed):
      mean, covariance = posterior(matrix, each)
      exact = rng.multivariate_normal(mean, covariance, args.num)
      drawn = genjax.sample(args.out / name, args.num, i, cond=each).x
      ours = c2st.c2st(np.float32(drawn), np.float32(exact), i, 99)
      rows.append({'mlp': mlp_c2st(drawn, exact), 'c2st': ours.right / ours.n,
                   'mean': float(np.abs(drawn.mean(0) - mean).max()),
                   'covariance': float(np.abs(np.cov(drawn.T) - covariance).max())})
      print(name, i, rows[-1], flush=True)
    found[name] = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
  print(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
