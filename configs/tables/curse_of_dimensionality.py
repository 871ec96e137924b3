"""A standard Gaussian in 1 to 16 dimensions: what happens to histograms, kernels and rejection.

python -m genjax table run --table=configs/tables/curse_of_dimensionality.py --size=tiny
"""

import functools
import math

from configs import columns

DIMS = (1, 2, 4, 8, 16)
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 3}}
TRAIN, CENTRES = 20_000, {'tiny': 4096, 'small': 20_000}
SAMPLES = 5000
# cells of the grid: 4 bins a dimension, the outer ones open beyond +-1.5
BINS, EDGE = 4, 3.0
SCALE = 1.25  # standard deviation of the proposal for rejection sampling


def sweep(add, size):
  """Rows: three estimates of the density from the same data, and one proposal, by dimension."""
  for dim in DIMS:
    def row(curve, argument, settings=None, forms=None, dim=dim, more=()):
      add(f'{curve}, {dim}', f'configs/toy2d.py:data=normal,data.dim={dim},data.num_train={TRAIN},'
          f'data.num_test={SAMPLES},{argument},objective=kl', {
              'evals.names': ('true_divergence', 'empty_cells', *more),
              'evals.kw.true_divergence.estimator': 'monte_carlo',
              'evals.kw.empty_cells.num_bins': BINS, 'evals.kw.empty_cells.edge': EDGE,
              'evals.num_samples': SAMPLES, **(settings or {})},
          {'empty_cells_data': closed(empty_cells(dim), 'mean of (1 - p_c)^N over the cells'),
           **(forms or {})}, curve=curve)

    row('kernel density', f'family=kde,model.num_points={CENTRES[size]}')
    row('joint histogram', 'family=histogram,model.joint=True')
    row('product of histograms', 'family=histogram,model.joint=False')
    # a step that moves nothing: the proposal stays as it starts
    row('wide Gaussian', 'family=gaussian,model.covariance=isotropic,model.init_spread=0.0,'
        f'model.init_scale={SCALE},estimator=exact',
        {'steps': 1, 'steps_per_dispatch': 1, 'optim.lr': 1e-30, 'optim.decay': 'constant',
         'ema': 0.0, 'evals.kw.rejection.log_bound': dim * math.log(SCALE)},
        {'kl_data_model': closed(dim * (math.log(SCALE) + 0.5 / SCALE**2 - 0.5),
                                 'D (log s + 1 / (2 s^2) - 1 / 2)'),
         'acceptance': closed(SCALE**-dim, 's^-D'),
         'effective_share': closed((SCALE**2 / math.sqrt(2 * SCALE**2 - 1)) ** -dim,
                                   '(s^2 / sqrt(2 s^2 - 1))^-D')}, more=('rejection',))


def closed(value: float, words: str) -> dict:
  """A value that is known exactly, next to ours; words: its formula."""
  return {'value': f'{value:.3g}', 'source': words, 'protocol': 'exact', 'kind': 'closed form'}


def empty_cells(dim: int) -> float:
  """Expected share of empty cells: sum_k binom(D, k) 2^-D (1 - a^(D - k) b^k)^N.

  k counts the dimensions in which a cell is an outer one, of mass b; inner ones have mass a.
  """
  b = 0.5 * math.erfc(EDGE / 2 / math.sqrt(2))
  a = 0.5 - b
  return sum(math.comb(dim, k) / 2**dim * math.exp(SAMPLES * math.log1p(-(a ** (dim - k) * b**k)))
             for k in range(dim + 1))


def metrics():
  """Columns: dimension, distance to the truth, empty cells, and what rejection sampling keeps."""
  c = functools.partial(columns.column, axes=('data',), digits=4)
  return [
      c('empty_cells', 'dimension', detail='dim', digits=0),
      c('kl_data_model', 'KL(data, model), nats', 'lower'),
      c('empty_cells', 'empty cells, of samples'),
      c('empty_cells_data', 'empty cells, of data'),
      c('acceptance', 'acceptance', 'higher', axes=('data', 'log_bound')),
      c('effective_share', 'effective share', 'higher', axes=('data', 'log_bound')),
  ]


def figure():
  """KL(data, model) by dimension, a curve for each kind of model."""
  return {'x': 'dimension', 'y': 'KL(data, model), nats'}


def note():
  """What a reader must know beside the figures."""
  return f"""
The data are N(0, I) with {TRAIN:,} training rows in every dimension, so nothing but the dimension
changes. The footnote of a closed form has its formula.

*Empty cells*: share of {BINS}^D cells ({BINS} bins a dimension, the outer ones open) that hold none
of {SAMPLES:,} points, of the model's samples and of training examples. Every method of counting
meets this: in 8 dimensions 19 of 20 cells are empty, in 16 almost all.

What the error in KL(data, model) is made of:

- *kernel density*: its bandwidth, of the largest leave-one-out likelihood, must grow with D to
  reach the next row. At size tiny the centres are a random fifth of the rows.
- *joint histogram*: few bins, of the largest leave-one-out likelihood and at most 65,536 cells:
  256 bins per dimension may be had in the plane, 4 in 8 dimensions and 2 in 16.
- *product of histograms*: it knows that the dimensions are independent, as they are here, so its
  error grows in proportion to D.
- *wide Gaussian*: N(0, {SCALE}^2 I), which is not trained: the proposal of rejection sampling. Its
  KL grows in proportion to D, and its acceptance falls exponentially.

*Acceptance*: share of samples kept by rejection sampling with the smallest constant that is legal;
*effective share*: independent samples that weighted ones are worth.
"""
