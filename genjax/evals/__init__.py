"""Evaluators: one question a file, ESTIMATORS of make(model, ...) -> run(params, draw).

An evaluation batch holds `mask`: False marks the padding of the last batch. Exact `log_prob` gets
no rng, so that dropout is off; bounds, which sample, get one.
"""

from genjax.evals import (
  c2st,
  classified,
  copying,
  cost,
  fld,
  frechet,
  inception_score,
  kid,
  likelihood,
  novelty,
  prdc,
  sliced_w2,
  true_divergence,
  vendi,
)

EVALS = {
    'likelihood': likelihood,
    'frechet': frechet,
    'kid': kid,
    'prdc': prdc,
    'vendi': vendi,
    'sliced_w2': sliced_w2,
    'c2st': c2st,
    'classified': classified,
    'inception_score': inception_score,
    'novelty': novelty,
    'copying': copying,
    'fld': fld,
    'cost': cost,
    'true_divergence': true_divergence,
}
