"""Frechet distance between feature distributions, with the train-vs-reference floor beside it."""

import numpy as np

from genjax.evals import card as cards
from genjax.evals import neighbours
from genjax.types import BadInput

METRICS = ('fd', 'fd_floor')
NEEDS = {
    'encoder': ('sample', 'data.image'),
    'raw': ('sample', 'data.coordinates'),
}
ESTIMAND = 'E[FD_N] over both samples, at the N of this card'
METHOD = 'delta method, influence functions of mean and covariance'


def make(model, *, estimator, dataset, split, encoder=None, num_samples=1024, subset_seed=0):
  """run(params, draw) -> fd, fd_floor: squared 2-Wasserstein distance of the fitted Gaussians.

  FD = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1^(1/2) S_2 S_1^(1/2))^(1/2)), features of num_samples
  samples against the whole reference split; fd_floor: as many training examples in their place.
  Moments float64 with ddof=1. The bias at equal N is about d (d + 5) / (2 N) where the covariance
  is the identity: it stands in the card's detail. raw: the coordinates of x are the features.
  Raises BadInput without an encoder, or for num_samples < 2.
  """
  del model
  if num_samples < 2:
    raise BadInput(f'evaluator frechet: num_samples={num_samples!r}; allowed: integers from 2')
  features = neighbours.feature_fn('frechet', estimator, encoder, dataset)

  def run(params, draw):
    del params
    generated, info = draw(num_samples)
    reference = features(dataset.splits[split]['x'])
    train = features(neighbours.subset(dataset.splits['train']['x'], num_samples, subset_seed))
    return {
        'fd': _value('fd', features(generated), reference, sampler=info.get('sampler')),
        'fd_floor': _value('fd_floor', train, reference, generated_are='training examples')}

  def _value(metric, x, y, **protocol):
    card = cards.make_card(
        metric, estimator=estimator, unit='squared feature units', split=split,
        encoder=encoder if estimator == 'encoder' else None, n_generated=len(x),
        n_reference=len(y), dim=x.shape[1], ddof=1, eps=0, **protocol)
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
      return cards.absent(card, 'features are not finite')
    distance, half = frechet_distance(x, y)
    card = {**card, 'detail': {'bias_first_order': first_order_bias(y, len(x), len(y))}}
    if half is None:
      return cards.plain(distance, card, 'a covariance is singular: no influence function')
    return cards.with_interval(distance, max(distance - half, 0.0), distance + half, card,
                               ESTIMAND, METHOD)

  return run


def frechet_distance(x, y):
  """FD of feature sets [N, d] and [M, d], and the half width of its interval for E[FD_N].

  With QR factors R_i of the centred, scaled features, S_i = R_i' R_i and the trace of the square
  root is the nuclear norm of R_1 R_2': no product of covariances, no eps, exact for N <= d too.
  The half width is None where a covariance is singular.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  mean_x, mean_y = x.mean(0), y.mean(0)
  root_x = np.linalg.qr((x - mean_x) / np.sqrt(len(x) - 1), mode='r')
  root_y = np.linalg.qr((y - mean_y) / np.sqrt(len(y) - 1), mode='r')
  left, singular, right = np.linalg.svd(root_x @ root_y.T)
  trace = np.sum(root_x**2) + np.sum(root_y**2) - 2.0 * singular.sum()
  distance = float(np.sum((mean_x - mean_y) ** 2) + max(trace, 0.0))
  if not (_regular(root_x) and _regular(root_y)):
    return distance, None
  delta = mean_x - mean_y
  variance = (_influence(x - mean_x, root_x, (left * singular) @ left.T, delta).var(ddof=1) / len(x)
              + _influence(y - mean_y, root_y, (right.T * singular) @ right, -delta).var(ddof=1)
              / len(y))
  return distance, float(cards.Z * np.sqrt(variance))


def _regular(root) -> bool:
  singular = np.linalg.svd(root, compute_uv=False)
  return root.shape[0] == root.shape[1] and singular[-1] > 1e-10 * singular[0]


def _influence(centred, root, middle, delta):
  """Influence of each row on FD: d FD / d m = 2 delta, d FD / d S = I - T, T S T = other S."""
  inverse = np.linalg.inv(root)
  transport = inverse @ middle @ inverse.T
  gradient = np.eye(len(transport)) - transport
  return 2.0 * centred @ delta + np.einsum('ni,ij,nj->n', centred, gradient, centred, optimize=True)


def first_order_bias(features, n: int, m: int) -> float:
  """E FD of samples of sizes n and m from one Gaussian with the covariance of `features` [N, d].

  (1/n + 1/m) / 2 (2 tr S + sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)), l the eigenvalues of S;
  identity covariance and n = m: d (d + 5) / (2 n).
  """
  features = np.asarray(features, np.float64)
  l = np.maximum(np.linalg.eigvalsh(np.atleast_2d(np.cov(features, rowvar=False))), 0.0)
  total = l[:, None] + l[None, :]
  pairs = np.outer(l, l) / np.where(total > 0, total, 1.0)
  return float(0.5 * (1 / n + 1 / m) * (2 * l.sum() + pairs.sum() + np.trace(pairs)))
