"""Evaluators: one question a file, NEEDS + make(model, ...) -> run(params, draw) -> {name: Value}.

An evaluation batch holds `mask`: False marks the padding of the last batch. Exact `log_prob` gets
no rng, so that dropout is off; bounds, which sample, get one.
"""

from genjax.evals import classified, cost, frechet, likelihood, novelty, prdc, true_divergence

EVALS = {
    'likelihood': likelihood,
    'frechet': frechet,
    'prdc': prdc,
    'novelty': novelty,
    'cost': cost,
    'classified': classified,
    'true_divergence': true_divergence,
}
