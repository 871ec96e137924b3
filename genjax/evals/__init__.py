"""Evaluators: one question a file, of samples or of a model; `caller.evaluator` runs them.

An evaluator is a module with METRICS, the names of its metrics, and
ESTIMATORS = {name: Estimator(needs, make, of)}. EVALS maps the names of evaluators to modules, and
may hold a module of a user's own: then configs, tables and samples from anywhere can ask for it.
`make` takes keyword arguments of its own, each with a default, which `config.evals.kw.NAME` sets.

An evaluator of samples (of='samples') has make(*, its own keywords) -> `kinds.OfSamples`. Its
measure is called for the samples and for known examples; it sees no model, so samples of any origin
will do. A complete example, whose figures have `mean_gap_data` and `mean_gap_single` next to them:

    from genjax.evals import card as cards
    from genjax.evals.kinds import OfSamples
    from genjax.types import Estimator

    METRICS = ('mean_gap',)

    def make(*, exponent: float = 1.0) -> OfSamples:
      def measure(x, reference, encoder, card):
        gap = encoder.features(x).mean() - encoder.features(reference).mean()
        own = card('mean_gap', unit='feature units', exponent=exponent)
        return {'mean_gap': cards.plain(abs(gap) ** exponent, own, 'no interval is known')}
      return OfSamples(measure)

    ESTIMATORS = {'features': Estimator(('sample', 'data.image|data.coordinates'), make, 'samples')}

Of a model (of='model', the default): make(model, task, *, its own keywords) returns
evaluate(params, draw) -> {metric: Value}. Its signature may lack model or task (a `kinds.Task`);
draw(n) returns samples (`draw.make`). An evaluation batch holds `mask`: False marks the padding of
the last batch. Exact `log_prob` gets no rng, which turns dropout off; bounds sample and get one.
"""

from genjax.evals import (
  active_units,
  c2st,
  classified,
  codecs,
  copying,
  cost,
  empty_cells,
  fld,
  frechet,
  inception_score,
  kid,
  likelihood,
  novelty,
  prdc,
  rejection,
  sharpness,
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
    'sharpness': sharpness,
    'sliced_w2': sliced_w2,
    'c2st': c2st,
    'classified': classified,
    'inception_score': inception_score,
    'novelty': novelty,
    'copying': copying,
    'fld': fld,
    'cost': cost,
    'true_divergence': true_divergence,
    'rejection': rejection,
    'empty_cells': empty_cells,
    'active_units': active_units,
    'codecs': codecs,
}
