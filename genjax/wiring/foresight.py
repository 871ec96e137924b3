"""What can be known of a run's cards before it is trained, so that columns are compared early."""

import inspect

from genjax import compat, data, encoders, extension
from genjax.compat import pick
from genjax.encoders import Encoder
from genjax.evals import EVALS, likelihood, two_sample
from genjax.wiring.evaluation import OFFERED, affordable, encoder, sampler_name
from genjax.wiring.parts import choose, plain
from genjax.wiring.training import Run, abstract_state

# arguments of the likelihood by estimator -> the field of the card that each decides
OF_LIKELIHOOD = {
    'exact': {}, 'bound': {'num_repeats': 'num_repeats'},
    'importance_weighted': {'num_weights': 'num_weights'},
    'ode': {'num_steps': 'solver', 'num_probes': 'num_probes', 't_min': 't_min',
            'dequantisation': 'dequantisation'}}


def cards(config, made: Run, split: str = 'test') -> dict[str, dict]:
  """{metric: card, as far as it is known} of what the config measures on `split`.

  Known are the estimator, the data, the encoder, the sampler, how many samples are asked for, and
  the evaluator's own arguments, each a field of its name. Not known before the work: what a model's
  terms say (the dequantisation of a bound), and whether a figure is finite. Raises BadInput for an
  estimator that the model or the data do not allow.
  """
  have = compat.provides(made.model, data.properties(made.dataset))
  read = encoder(config, made.dataset.spec)
  shared = {'split': split, 'data': [extension.label(config.data.name), plain(config.data.kw)]}
  params = abstract_state(config, made).params['model']
  drawn, foreseen = affordable(config, made, made.model, params), {}
  for name in config.evals.names:
    module = pick('evaluator', name, EVALS)
    if not compat.legal(module.ESTIMATORS, have):
      continue
    given = plain(config.evals.kw.get(extension.stem(name), {}))
    estimator = choose('evaluator', name, EVALS, made.model, config.model.family, made.dataset,
                       given.pop('estimator', None))
    parameters = inspect.signature(module.ESTIMATORS[estimator].make).parameters
    own = {key: given.get(key, parameter.default) for key, parameter in parameters.items()
           if key not in OFFERED}
    card = {**shared, 'estimator': estimator}
    if 'encoder' in parameters and (used := _encoder(name, parameters, read, made.dataset)):
      card |= {'encoder': used.name, 'sha256': used.card['sha256']}
    if 'num_samples' in parameters and made.model.sample is not None:
      card |= {'n_generated': drawn, 'sampler': sampler_name(config, made.objective)}
    if name == 'likelihood':
      labelled = config.model.kw.get('conditional') and 'cond' in made.dataset.splits[split]
      card['conditioned_on'] = 'label' if labelled else None
      foreseen |= _of_likelihood(card, estimator, own, made.dataset.spec)
    else:
      foreseen |= dict.fromkeys(module.METRICS, {**card, **own})
  return foreseen


def _encoder(name: str, parameters, given: Encoder | None, dataset) -> Encoder | None:
  """What an evaluator compares by: some take the pixels of small images themselves."""
  if 'pixels' not in parameters:
    return given
  return two_sample.space(name, given, encoders.load('identity', dataset.spec), dataset)


def _of_likelihood(card: dict, estimator: str, own: dict, spec) -> dict[str, dict]:
  """{metric: card} of the one likelihood that this estimator gives on these data."""
  kind = likelihood.KINDS[estimator]
  unit = 'nats' if spec.levels is None else 'bpd'
  fields = {field: own[key] for key, field in OF_LIKELIHOOD[estimator].items()}
  if unit == 'nats':
    fields.pop('dequantisation', None)
  return {f'nll_{kind}_{unit}': {**card, 'kind': kind, 'num_examples': own['num_examples'],
                                 **fields}}
