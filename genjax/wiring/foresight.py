"""The cards of a run, as far as known before training, to compare columns early."""

from genjax import compat, data, encoders, extension
from genjax.compat import pick
from genjax.evals import EVALS, caller, likelihood
from genjax.evals.kinds import Task
from genjax.wiring.evaluation import affordable, encoder, estimator_of, sampler_name
from genjax.wiring.parts import plain
from genjax.wiring.training import Run, abstract_state


def cards(config, training: Run, split: str = 'test') -> dict[str, dict]:
  """{metric: partial card} of the config's metrics on `split`.

  It has the estimator, the data, the encoder, the sampler, the number of samples, and the
  evaluator's own arguments. It lacks fields that depend on the model's terms (the dequantisation of
  a bound), and whether a figure is finite. Raises BadInput for an estimator that the model or the
  data do not allow.
  """
  have = compat.provides(training.model, data.properties(training.dataset))
  shared = {'split': split, 'data': [extension.label(config.data.name), plain(config.data.kw)]}
  params = abstract_state(config, training).params['model']
  drawn, foreseen = affordable(config, training, training.model, params), {}
  spec = training.dataset.spec
  task = Task(training.dataset, split, drawn, conditional=config.conditional,
              encoder=encoder(config, spec), pixels=encoders.load('identity', spec))
  for name in config.evals.names:
    module = pick('evaluator', name, EVALS)
    if not compat.legal(module.ESTIMATORS, have):
      continue
    given = plain(config.evals.kw.get(extension.stem(name), {}))
    estimator = estimator_of(name, training.model, config.model.family, training.dataset,
                       given.pop('estimator', None))
    one = module.ESTIMATORS[estimator]
    own, card = compat.arguments(one.make, given), {**shared, 'estimator': estimator}
    if module is likelihood:  # it needs no samples, and measures one of its metrics
      card['conditioned_on'] = likelihood.conditioned_on(task, training.dataset.splits[split])
      size = len(training.dataset.splits[split]['x'])
      foreseen |= _of_likelihood(card, estimator, own, spec, size)
      continue
    if one.of == 'samples':
      used = caller.space(name, one, task)
      card |= {'encoder': used.name, 'sha256': used.card['sha256']}
    if training.model.sample is not None:
      card |= {'n_generated': drawn, 'sampler': sampler_name(config, training.objective)}
    foreseen |= dict.fromkeys(module.METRICS, {**card, **own})
  return foreseen


def _of_likelihood(card: dict, estimator: str, own: dict, spec, size: int) -> dict[str, dict]:
  """{metric: card} of the likelihood that this estimator measures on these data, by unit.

  size: of the split.
  """
  fields = {field: own[key] for key, field in likelihood.DECIDES[estimator].items()}
  if spec.levels is None:
    fields.pop('dequantisation', None)
  return dict.fromkeys(likelihood.metrics_of(estimator, spec), {
      **card, 'kind': likelihood.KINDS[estimator],
      'num_examples': likelihood.chosen_examples(estimator, own['num_examples'], size), **fields})
