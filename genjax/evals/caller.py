"""The only caller of evaluators, and what they share.

It binds keyword arguments, chooses the number of samples and fills in the cards' common protocol.
It measures known examples like the samples (`kinds.Floor`), estimates the power by planted copies,
and keeps figures on disk.
"""

import functools
import inspect
import os
from collections.abc import Callable, Mapping

import jax
import numpy as np

from genjax import compat, disk, extension, sharding
from genjax.evals import card as cards
from genjax.evals import planted, two_sample
from genjax.evals.card import Value
from genjax.evals.kinds import Floor, OfSamples, Task
from genjax.types import BadInput, Estimator

# what represents an argument that is not plain data in a key
_KEYED = {
    'dataset': lambda dataset: [dataset.name, dataset.spec, dataset.identity],
    'encoder': lambda encoder: encoder and [encoder.card, encoder.spec],
}


def evaluator(name: str, estimator: str, table: Mapping, given: Mapping, task: Task, model=None,
              samples: Mapping | None = None) -> Callable:
  """evaluate(params, draw) -> {metric: Value}, for an evaluator of either kind.

  name: a key of table, {evaluator: module with METRICS and ESTIMATORS}.
  estimator: a key of the module's ESTIMATORS.
  given: keyword arguments of the estimator's make, checked against its signature only.
  task: the data, split, encoder and number of samples.
  model: a Model; an evaluator of samples sees none, and accepts any params.
  samples: plain data that identify the samples of draw; with them all figures of samples are kept.
  draw(n) returns (x [n, ...], info) as in `draw.make`; info may lack any entry.
  Raises BadInput for a keyword, or data that this evaluator cannot measure; evaluate raises it if
  the evaluator does not return a metric of task.asked.
  """
  module, called = compat.pick('evaluator', name, table), extension.stem(name)
  chosen, what = module.ESTIMATORS[estimator], f'evaluator {called!r} ({estimator})'
  bind = functools.partial(compat.bind, what, chosen.make, given=given,
                           owners=compat.owners('evaluator', table))
  if chosen.of == 'samples':
    keep = keeper(name, chosen.make, {
        'dataset': task.dataset, 'split': task.split, 'encoder': task.encoder,
        'num_samples': task.num_samples, 'estimator': estimator,
        'own': compat.arguments(chosen.make, given)})
    measure = of_samples(called, estimator, module, bind({}), task, keep)
    if samples is not None:
      measure_drawn = measure
      measure = lambda draw: keep({'samples': samples}, lambda: measure_drawn(draw))
    answer = lambda params, draw: measure(draw)
  else:
    common = functools.partial(cards.make_card, estimator=estimator, split=task.split)
    answer = bind({'model': model, 'task': task._replace(card=common)})

  def checked(params, draw):
    values = answer(params, draw)
    lacking = [metric for metric in task.asked if metric not in values]
    if lacking:
      raise BadInput(f'metric {lacking[0]!r} is not among what evaluator {called!r} gives of this '
                     f'model and these data; allowed: {", ".join(values)}')
    return values

  return checked


def keeper(name: str, make: Callable, arguments: Mapping) -> Callable:
  """keep(part, compute) -> {metric: Value}: compute(), or its earlier result for the same key.

  arguments: everything that determines the figures, including the evaluator's own keywords.
  part: plain data that identify this part of the figures.
  The key has both, the source of this package, the compiler, and the file that defines make. An
  argument that is not plain data fails unless it is in _KEYED. Figures are always computed if that
  file cannot be read, and in a job of several hosts, since all hosts must take part.
  """
  file = _file(make)
  has_file = os.path.isfile(file)
  key = {'evaluator': name, 'source': disk.source_digest(), 'compiler': sharding.compiler(),
         'arguments': {argument: _KEYED.get(argument, lambda plain: plain)(value)
                       for argument, value in arguments.items()}}
  if has_file:
    key['file'] = disk.digest({'file': np.fromfile(file, np.uint8)})

  def keep(part, compute):
    if jax.process_count() > 1 or not has_file:
      return compute()
    kept = disk.kept_json('figures', {**key, 'part': part}, lambda: {
        metric: value._asdict() for metric, value in compute().items()})
    return {metric: Value(**value) for metric, value in kept.items()}

  return keep


def _file(make: Callable) -> str:
  """The file that defines make; '' if make is an object or a partial."""
  try:
    return inspect.getsourcefile(make) or ''
  except TypeError:
    return ''


def space(name: str, estimator: Estimator, task: Task):
  """The encoder whose features an evaluator of samples compares.

  An evaluator that needs the training set never uses features that were trained on it. Raises
  BadInput if there is no encoder.
  """
  if 'data.training_set' in estimator.needs:
    return two_sample.space(name, task.encoder, task.pixels, task.dataset)
  return two_sample.require_encoder(name, task.encoder, task.dataset)


def of_samples(name: str, estimator: str, module, design: OfSamples, task: Task,
               keep: Callable) -> Callable:
  """evaluate(draw) -> {metric: Value} of the samples and of their floors; see `OfSamples`.

  name, module: the evaluator's; estimator: a key of the module's ESTIMATORS.
  design: what the estimator's make returned; task: see `evaluator`; keep: see `keeper`.
  Raises BadInput without an encoder for these data, with fewer than `at_least` examples on a side,
  and on split 'train' if the evaluator needs the training set.
  """
  dataset, split, seed = task.dataset, task.split, design.subset_seed
  encoder = _encoder(name, module.ESTIMATORS[estimator], design, task)
  n = _number(name, design, task)
  reference, train = (dataset.splits.get(s, {}).get('x') for s in (split, 'train'))
  reference = two_sample.subset(reference, n, seed) if design.equal else reference
  if design.num_train is not None:
    train = two_sample.subset(train, design.num_train, seed)
  common = {'estimator': estimator, 'split': None, 'n_reference': None}
  if design.compares:
    common |= {'split': split, 'n_reference': len(reference), 'subset_seed': seed}

  def measured(x, suffix='', cond=None, encoder=encoder, plant=None, **origin):
    def card(metric, *, unit=None, detail=None, power=None, **protocol):
      more = power(plant) if power and plant else {}
      return cards.make_card(metric + suffix, unit=unit, detail={**(detail or {}), **more}, **{
          'encoder': encoder, 'n_generated': len(x), **common, **origin, **protocol})

    seen = {'x': x, 'cond': cond, 'reference': reference, 'train': train, 'encoder': encoder,
            'card': card}
    values = design.measure(**{key: seen[key] for key in _named(name, design.measure, seen)})
    return {metric + suffix: value for metric, value in values.items()}

  def evaluate(draw):
    x, info = draw(n)
    plant = lambda rule, signals, num_copies: planted.detail(
        rule, signals, len(x), num_copies, design.num_plantings, seed)
    out = measured(x, cond=info.get('cond'), plant=plant, **two_sample.sampled(info))
    own = set(out) & set(module.METRICS)
    for floor in design.floors:
      known = _examples(floor, design, task, n, reference, train, encoder)
      if known is None:
        continue
      values = keep([floor.suffix, floor.examples], lambda floor=floor, known=known: measured(
          suffix=floor.suffix, **known))
      names = {metric + floor.suffix for metric in floor.metrics or own if metric in own}
      out |= {metric: value for metric, value in values.items() if metric in names}
    return out

  return evaluate


def _encoder(name: str, estimator: Estimator, design: OfSamples, task: Task):
  """The encoder, with class probabilities if needed; warns if images are compared by pixels."""
  if 'data.training_set' in estimator.needs:
    two_sample.held_out(name, task.dataset, task.split)
    return space(name, estimator, task)
  encoder = space(name, estimator, task)
  if design.classifies and encoder.probs is None:
    raise BadInput(f'evaluator {name!r} needs class probabilities, and encoder {encoder.name!r} '
                   'has none')
  two_sample.warn_of_pixels(encoder)
  return encoder


def _number(name: str, design: OfSamples, task: Task) -> int:
  """The number of samples to draw; BadInput if a side has too few examples."""
  splits = task.dataset.splits
  other = two_sample.other_split(task.dataset, task.split)
  sizes = [len(splits[s]['x']) for s in (task.split, other) if s]
  n = min(task.num_samples, *sizes) if design.equal else task.num_samples
  if min(n, *sizes) < design.at_least:
    raise BadInput(f'evaluator {name!r}: {min(n, *sizes)} examples; allowed: {design.at_least} or '
                   'more on each side')
  return n


def _named(name: str, measure: Callable, seen: Mapping) -> list[str]:
  """The arguments in the signature of a measure; BadInput for one that is not offered."""
  named = list(inspect.signature(measure).parameters)
  stray = [argument for argument in named if argument not in seen]
  if stray:
    raise BadInput(f'evaluator {name!r}: its measure asks for {stray[0]!r}; allowed: '
                   f'{", ".join(seen)}')
  return named


def _examples(floor: Floor, design: OfSamples, task: Task, n: int, reference, train,
              encoder) -> dict | None:
  """The known examples of a floor and their description; None if there is no such split.

  A repeated example is encoded once, together with the others; its features are repeated.
  """
  splits, seed = task.dataset.splits, design.subset_seed
  if floor.examples == 'copies':
    return {'x': two_sample.subset(train, n, seed + 1), 'generated_are': 'training examples'}
  if floor.examples == 'single':
    repeated = np.broadcast_to(np.asarray(reference[:1]), (n, *reference.shape[1:]))
    once = lambda of: of and (lambda x: np.repeat(np.asarray(of(reference))[:1], n, axis=0)
                              if x is repeated else of(x))
    return {'x': repeated, 'generated_are': 'one example, repeated', 'encoder': encoder._replace(
        features=once(encoder.features), probs=once(encoder.probs))}
  if floor.examples == 'split':
    return {**{key: splits[task.split].get(key) for key in ('x', 'cond')},
            'generated_are': f'{task.split} examples'}
  other = two_sample.other_split(task.dataset, task.split) or (
      None if design.compares else task.split)
  return other and {'x': two_sample.subset(splits[other]['x'], n, seed),
                    'generated_are': f'{other} examples'}
