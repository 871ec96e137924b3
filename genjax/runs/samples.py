"""Samples of any origin (image folders, npz files, run directories) against a reference."""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from genjax import compat, data, disk, encoders, identity, runs, sharding, wiring
from genjax.data import arrays, files, intake, layout
from genjax.evals import EVALS, kinds, two_sample
from genjax.runs import rundir
from genjax.types import BadInput, DataSpec

DEFAULT = ('fd', 'kid', 'precision', 'recall', 'density', 'coverage')
NOVELTY = ('novelty_knn', 'novelty_knn_p')  # also default if there are training examples
COMMITTED = {'digits': 'digits', 'fashion_mnist': 'fmnist'}  # data set -> encoder
FLOORS = {'_data': 'data instead', '_single': 'one example', '_copies': 'training copies'}


class Set(NamedTuple):
  """Examples, the meaning of their values, and their origin."""

  name: str
  x: object  # [N, ...]: integer levels, or float32
  spec: DataSpec
  identity: dict
  sampler: str | None = None
  notes: tuple[str, ...] = ()  # what was skipped or changed and why, in words
  resize: str | None = None  # how images of another size were resized; None: none were


def read(where: str, levels: int | None = 256, size: tuple[int, int] | None = None,
         x_key: str = '') -> Set:
  """The Set of `DATASET:split`, of a folder of images, or of an npz.

  levels: of images on disk, whose 0..255 are mapped back to 0..levels - 1; None: 256.
  size: (height, width) to which images of another size are resized; None: they are refused.
  x_key: key of the examples in an npz; '': by convention (`arrays.read_npz`).
  Raises BadInput for anything else, and for files that cannot be read.
  """
  levels, num_resized = levels or 256, 0
  if where.endswith('.npz'):
    npz = arrays.read_npz(where, levels, x_key, 'none')
    x, levels, notes, recipe = npz.arrays['x'], npz.levels, npz.notes, 'examples of an npz'
    if size and levels and x.shape[1:3] != size:
      x, num_resized = _resized(x, levels, size), len(x)
  elif pathlib.Path(where).is_dir():
    paths, skipped = layout.pooled(pathlib.Path(where))
    x, notes, num_resized = files.read_images(paths, levels, where, size)
    notes, recipe = (*skipped, *notes), 'images of a folder, sorted by path'
  else:
    dataset, split = of_dataset(where)
    return Set(where, dataset.splits[split]['x'], dataset.spec, dataset.identity,
               notes=dataset.notes)
  spec = DataSpec(tuple(x.shape[1:]), levels, None)
  return Set(where, x, spec, data.identity(where, {'levels': levels}, recipe, {'x': {'x': x}}),
             notes=notes, resize=f'Lanczos to {size[1]}x{size[0]}' if num_resized else None)


def _resized(x, levels: int, size: tuple[int, int]):
  """Levels uint8 [N, *size, C] of images with levels x [N, H, W, C]."""
  pixels = np.stack([intake.resized(image, size) for image in disk.to_bytes(x, levels)])
  return np.rint(pixels * ((levels - 1) / 255)).astype(np.uint8)


def of_dataset(where: str) -> tuple[data.Dataset, str]:
  """(data set, name of the split) of `NAME:split`."""
  name, _, split = where.partition(':')
  if '/' in where and not split:
    raise BadInput(f'{where!r} does not exist; allowed: DATASET:split, a folder, or FILE.npz')
  dataset = data.load(name)
  if split not in dataset.splits:
    raise BadInput(f'{where!r}: data set {name!r} has no split {split!r}; allowed: '
                   f'{", ".join(f"{name}:{s}" for s in dataset.splits)}')
  return dataset, split


def of_run(workdir: str, num_samples: int | None, step: int | None) -> Set:
  """The Set of num_samples (None: config.evals.num_samples) draws of the model of a run."""
  loaded = runs.load(workdir, step)
  config = loaded.config
  if loaded.model.sample is None:
    raise BadInput(f'--samples={workdir}: a {identity.title(config, "trained by")} does not sample')
  draw = wiring.drawer(config, loaded, config.seed)
  x, info = draw(loaded.params)(num_samples or config.evals.num_samples)
  return Set(workdir, data.to_raw(loaded.dataset, x), loaded.dataset.spec,
             {'run': workdir, 'step': loaded.step}, info['sampler'])


def reference_set(where: str, train: str | None):
  """(data set, name of the split) of the reference, with a split 'train' if there is one.

  A `DATASET:split` has its own training set. Raises BadInput if `train` is of another kind.
  """
  if where.endswith('.npz') or pathlib.Path(where).is_dir():
    examples, split = read(where), 'reference'
    path = pathlib.Path(where).absolute()
    # for a split's folder its parent, since the encoder is trained on all splits
    path = path.parent if path.name.casefold() in layout.SPLIT_NAMES else path
    dataset = data.Dataset(where, examples.spec, {split: {'x': examples.x}}, examples.identity,
                           path=str(path), notes=examples.notes)
  else:
    dataset, split = of_dataset(where)
  if train:
    other = read(train, dataset.spec.levels)
    _same_kind(f'--train={train}', other.spec, where, dataset.spec)
    splits = {**dataset.splits, 'train': {'x': other.x}}
    dataset = dataset._replace(splits=splits, identity=data.identity(
        dataset.name, {'reference': dataset.identity, 'train': train}, 'two sets', splits))
  return dataset, split


def _same_kind(what: str, spec: DataSpec, where: str, expected: DataSpec) -> None:
  if spec[:2] != expected[:2]:
    raise BadInput(f'{what} has {two_sample.describe(spec)}, but the reference {where} has '
                   f'{two_sample.describe(expected)}; allowed: the same')


def evaluate(samples: str, reference: str, metrics: Sequence[str] | None = None,
             encoder: str | None = None, train: str | None = None, num_samples: int | None = None,
             step: int | None = None, seed: int = 0, progress: Callable = iter,
             encoded: Callable = lambda n: None, resize: bool = False, x_key: str = '') -> dict:
  """{'metrics': {name: Value}, 'samples', 'reference', 'provenance'}: samples against a reference.

  samples: a folder of images, an npz, or a run directory; x_key: of the samples in an npz.
  reference, train: `DATASET:split`, a folder or an npz; train: the training set of the model.
  metrics: their names; None: DEFAULT, and NOVELTY if there is a training set.
  encoder: a name of `encoders.ENCODERS` or a file; None: the one committed for the reference.
  num_samples: size of a fixed random subset, by the seed; None: all. step: of a run.
  progress: wraps the evaluators' names; encoded(n): called after each n encoded examples.
  resize: resize samples of another size to the reference's; the cards say so.
  Features and figures are kept in the cache. Raises BadInput for files that cannot be read, samples
  that cannot be compared, and metrics that cannot be measured.
  """
  dataset, split = reference_set(reference, train)
  if _is_run(samples):
    given = of_run(samples, num_samples, step)
  elif samples.endswith('.npz') or pathlib.Path(samples).is_dir():
    size = dataset.spec.shape[:2] if resize and dataset.spec.levels else None
    given = read(samples, dataset.spec.levels, size, x_key)
  else:
    raise BadInput(f'--samples={samples}; allowed: a folder of images, FILE.npz, a run directory')
  _same_kind(f'--samples={samples}', given.spec, reference, dataset.spec)
  n = len(given.x) if num_samples is None else num_samples
  if not 1 <= n <= len(given.x):
    raise BadInput(f'--num_samples={n}; allowed: 1 to {len(given.x)}, which {samples} has')
  # a folder may be sorted by class: its first part would not represent it
  x = two_sample.shuffled(given.x, seed)[:n]
  wanted = choose(metrics, dataset)
  encoder = encoder or COMMITTED.get(dataset.name) or (
      'identity' if dataset.spec.levels is None else None)
  if encoder is None:
    raise BadInput(f'--encoder is needed for {reference}; allowed: '
                   f'{", ".join(encoders.ENCODERS)}, or a file that is trained on images with '
                   f'labels by\n  {two_sample.encoder_command(dataset)}')
  shared = {'model': None, 'family': 'samples', 'dataset': dataset, 'split': split,
            'num_samples': n, 'seed': seed,
            'encoder': encoders.load(encoder, dataset.spec, encoded),
            'samples': {'x': disk.digest({'x': x}), 'sampler': given.sampler}}
  values = {}
  for name in progress(list(dict.fromkeys(wanted.values()))):
    asked = tuple(metric for metric, owner in wanted.items() if owner == name)
    measure = wiring.evaluator(name, {}, asked=asked if metrics else (), **shared)
    values |= measure(None, lambda k: (x[:k], {'sampler': given.sampler}))
  if given.resize:
    values = {k: v._replace(card={**v.card, 'resize': given.resize}) for k, v in values.items()}
  read_samples = data.Dataset(samples, given.spec, {'all': {'x': given.x}}, given.identity,
                              notes=given.notes)
  return {
      'metrics': {k: v for k, v in values.items() if _asked(k, wanted)},
      'samples': {'name': samples, 'n': n, 'sha256': disk.digest({'x': x}),
                  'read': data.summary(read_samples)},
      'reference': {'name': reference, 'train': train, 'identity': dataset.identity,
                    'read': data.summary(dataset)},
      'provenance': {'evaluated_by': rundir.commit(), 'versions': rundir.versions(),
                     'device': rundir.device()}}


def _is_run(where: str) -> bool:
  return (pathlib.Path(where) / 'config.json').is_file()


def choose(metrics: Sequence[str] | None, dataset) -> dict[str, str]:
  """{metric: evaluator that measures it from samples}; BadInput for a metric that none measures."""
  have = wiring.samples_provide(dataset)
  estimators = {name: kinds.that_see_samples(module.ESTIMATORS) for name, module in EVALS.items()}
  owners = {metric: name for name, module in EVALS.items() for metric in module.METRICS
            if compat.legal(estimators[name], have)}
  if metrics is None:
    metrics = [m for m in (*DEFAULT, *NOVELTY) if m in owners]
  for metric in metrics:
    if metric in owners:
      continue
    needed = [estimators[name] for name, module in EVALS.items() if metric in module.METRICS]
    if needed and 'train' not in dataset.splits and compat.legal(
        needed[0], have | {'data.training_set'}):
      raise BadInput(f'metric {metric!r} asks how near samples lie to the training set; give it '
                     'with --train=DATASET:split, a folder or FILE.npz')
    compat.pick('metric', metric, owners)
  return {metric: owners[metric] for metric in metrics}


def _asked(name: str, wanted) -> bool:
  return name in wanted or any(name == m + suffix for m in wanted for suffix in FLOORS)


def table(results: dict) -> str:
  """Markdown of the results of `evaluate`: a row per metric with interval, floors and protocol."""
  metrics = results['metrics']
  columns = ['metric', 'value', 'interval of 95 %', *FLOORS.values(), 'N', 'protocol']
  lines = [f'{results["samples"]["name"]} ({results["samples"]["n"]} samples) against '
           f'{results["reference"]["name"]}', '', f'| {" | ".join(columns)} |',
           f'|{"---|" * len(columns)}']
  for name, value in metrics.items():
    if any(name.endswith(suffix) for suffix in FLOORS):
      continue
    floors = [_number(metrics.get(name + suffix)) for suffix in FLOORS]
    card = value.card
    interval = ('' if value.low is None else f'{value.low:.5g} to {value.high:.5g}')
    sizes = f'{card.get("n_generated")} / {card.get("n_reference")}'
    row = [name, _number(value), interval, *floors, sizes, _protocol(card)]
    lines.append(f'| {" | ".join(row)} |')
  reasons = {name: v.card['interval']['reason'] for name, v in metrics.items()
             if v.low is None and 'reason' in v.card['interval']
             and not any(name.endswith(s) for s in FLOORS)}
  notes = [*((side, results[side]['read']) for side in ('samples', 'reference')), *reasons.items()]
  return '\n'.join([*lines, '', *(f'- {name}: {words}' for name, words in notes), ''])


def _number(value) -> str:
  if value is None:
    return ''
  return 'none' if value.value is None else f'{value.value:.5g}'


def _protocol(card: dict) -> str:
  hidden = ('metric', 'interval', 'detail', 'n_generated', 'n_reference', 'reason', 'split',
            'subset_seed', 'estimator', 'sampler')
  return '; '.join(f'{k}: {_short(v)}' for k, v in card.items()
                   if k not in hidden and v is not None).replace('|', '\\|')


def _short(value) -> str:
  return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def on_mesh(samples: str):
  """The context in which samples are measured on all devices of this job."""
  return runs.on_mesh(samples) if _is_run(samples) else sharding.on(sharding.make_mesh())
