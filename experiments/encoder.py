"""Trains the small classifier whose features evaluators compare on a data set.

python -m experiments.encoder --data=folder --path=photos --out=photos.npz
python -m experiments.encoder --data=digits --out=genjax/encoders/weights/digits.npz

The images need labels: the class folders of a folder, or the key labels of an npz.
"""

import functools
import hashlib
import json
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags

import experiments
from genjax import data, prob
from genjax.encoders import classifier
from genjax.nn import NETWORKS
from genjax.numerics import streams
from genjax.types import BadInput
from genjax.wiring import networks

DATA = flags.DEFINE_string('data', 'digits', 'Data set of images with labels.')
PATH = flags.DEFINE_string('path', None, "Folder or FILE.npz of --data=folder and --data=npz.")
DATA_KW = flags.DEFINE_string('data_kw', None, "Other arguments of the data set, as JSON: "
                              '{"levels": 17}.')
NETWORK = flags.DEFINE_string('network', '', 'Network of the classifier, mlp or conv; default: a '
                              'small one of patches.')
NETWORK_KW = flags.DEFINE_string('network_kw', None, 'Its arguments, as JSON: {"width": 64}.')
OUT = flags.DEFINE_string('out', None, 'File to write, *.npz.')
SEED = flags.DEFINE_integer('seed', 0, 'Seed of initialisation, batches and augmentation.')
STEPS = flags.DEFINE_integer('steps', 1000, 'Train steps.')
BATCH = flags.DEFINE_integer('batch_size', 192, 'Images per step.')

LR, DECAY = 3e-3, 1e-2
NOISE = 0.06  # sd of the noise on inputs in [-1, 1]
NEGATIVE_WEIGHT = 0.1


def network_for(spec, name: str, kw: dict) -> classifier.Classifier:
  """A Classifier with 16 features up to 16 pixels a side, else 64: FD's bias grows as d^2 / N.

  name, kw: of a network of the role `classifier`; '': the patches, which take seconds to train.
  """
  small = spec.shape[0] <= 16
  num_features = 16 if small else 64
  if name and name not in NETWORKS['to_vector']:  # its file must be able to name it
    raise BadInput(f'--network={name}; allowed: {" or ".join(NETWORKS["to_vector"])}')
  if name:
    alone = spec._replace(num_classes=None, context=None)  # it is not conditioned on the label
    trunk = networks.bound('classifier', alone, name=name, kw=kw, out=num_features)
  elif kw:
    raise BadInput(f'--network_kw={json.dumps(kw)} without --network; allowed: --network='
                   f'{" or ".join(NETWORKS["to_vector"])}')
  else:
    trunk = (classifier.Patches((32, 64, 64), num_features) if small
             else classifier.Patches((32, 64, 32), num_features, merge=2))
  return classifier.Classifier(trunk, spec.num_classes)


def shifted(rng, x):
  """The images x [B, H, W, C], each moved by -1, 0 or 1 pixel along both axes, padded with -1."""
  offset = jax.random.randint(rng, (x.shape[0], 2), 0, 3)
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1.0)

  def cut(image, start):
    return jax.lax.dynamic_slice(image, (start[0], start[1], 0), x.shape[1:])

  return jax.vmap(cut)(padded, offset)


def make_loss(network, levels: int):
  """(params, rng, x int [B, ...], label [B]) -> mean cross entropy, plus that of non-images.

  Non-images, which take each pixel from another image of the batch, have the uniform label. Without
  them the classifier is sure of a class for most non-images, and would be for bad samples.
  """

  def loss(params, rng, x, label):
    rng_move, rng_which, rng_noise, rng_mix = jax.random.split(rng, 4)
    num = x.shape[0]
    x = prob.from_levels(x, levels)
    rows = jax.random.randint(rng_mix, (num // 4, x[0].size), 0, num)
    mixed = x.reshape(num, -1)[rows, jnp.arange(x[0].size)].reshape(-1, *x.shape[1:])
    moved = jax.random.bernoulli(rng_which, 0.5, (num, 1, 1, 1))
    x = jnp.where(moved, shifted(rng_move, x), x)
    x = x + NOISE * jax.random.normal(rng_noise, x.shape)
    logits = network.apply({'params': params}, jnp.concatenate([x, mixed]))[1]
    log_p = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(log_p[:num], label[:, None], 1)[:, 0]
    return -own.mean() - NEGATIVE_WEIGHT * log_p[num:].mean()

  return loss


def train(network, dataset, seed: int, steps: int, batch_size: int):
  """The parameters after `steps` of AdamW on the train split, with a one-cycle learning rate."""
  spec = dataset.spec
  k, label = (np.asarray(dataset.splits['train'][key]) for key in ('x', 'cond'))
  optimizer = optax.adamw(optax.cosine_onecycle_schedule(steps, LR), weight_decay=DECAY)
  loss = make_loss(network, spec.levels)
  rng_init = streams.stream(seed, streams.Purpose.ENCODER_INIT)

  @functools.partial(jax.jit, donate_argnums=(0, 1))
  def step(params, state, i, k, label):
    rng = streams.stream(seed, streams.Purpose.ENCODER_TRAINING, i)
    value, grads = jax.value_and_grad(loss)(params, rng, k, label)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value

  params = jax.jit(network.init)(rng_init, jnp.zeros((1, *spec.shape)))['params']
  state = optimizer.init(params)
  order = np.random.default_rng(seed)
  value = jnp.inf
  for i in experiments.progress(range(steps), unit='step', desc='classifier'):
    rows = order.integers(0, len(k), batch_size)
    params, state, value = step(params, state, i, k[rows].astype(np.int32), label[rows])
  if not np.isfinite(value):
    raise BadInput(f'the loss of the classifier is {float(value)} after {steps} steps')
  return params


def unit_scale(network, params, dataset) -> float:
  """The factor with which the features of the train split have a mean variance of 1."""
  raw = classifier.encoder('raw', network, params, dataset.spec, {})
  features = raw.features(dataset.splits['train']['x'])
  return float(1.0 / np.sqrt(features.astype(np.float64).var(0).mean()))


def report(encoder, dataset) -> dict:
  """{split: {'accuracy', 'sure': share of p >= 0.9, 'nats' of the label}}; 'sure' on non-images."""
  figures = {}
  for split, arrays in dataset.splits.items():
    p = encoder.probs(arrays['x'])
    own = p[np.arange(len(p)), arrays['cond']]
    figures[split] = {'accuracy': round(float(np.mean(p.argmax(1) == arrays['cond'])), 4),
                      'sure': round(float(np.mean(p.max(1) >= 0.9)), 4),
                      'nats': round(float(-np.mean(np.log(np.maximum(own, 1e-30)))), 4)}
  x = dataset.splits['train']['x']
  rng = np.random.default_rng(0)
  flat = x.reshape(len(x), -1)
  mixed = flat[rng.integers(0, len(x), (1000, flat.shape[1])), np.arange(flat.shape[1])]
  p = encoder.probs(mixed.reshape(-1, *x.shape[1:]))
  figures['pixels of different images'] = {'sure': round(float(np.mean(p.max(1) >= 0.9)), 4)}
  return figures


def json_object(flag, example: str) -> dict:
  """The value of a flag that takes a JSON object; {} by default."""
  try:
    value = json.loads(flag.value or '{}')
  except json.JSONDecodeError:
    value = None
  if type(value) is not dict:
    raise BadInput(f'--{flag.name}={flag.value}; allowed: a JSON object, {example}')
  return value


def data_kw() -> dict:
  """The arguments of the data set, from --path and --data_kw."""
  path = {} if PATH.value is None else {'path': PATH.value}
  return json_object(DATA_KW, '{"levels": 17}') | path


def main(argv):
  """Trains, writes --out and prints the file's scores. Raises BadInput for unlabelled data."""
  if len(argv) > 1 or not OUT.value or not OUT.value.endswith('.npz'):
    raise BadInput(f'--out={OUT.value!r}; allowed: a file *.npz to write')
  for flag in (STEPS, BATCH):
    if flag.value < 1:
      raise BadInput(f'--{flag.name}={flag.value}; allowed: integers from 1')
  dataset = data.load(DATA.value, **data_kw())
  if not {'image', 'discrete', 'labels'} <= data.properties(dataset):
    raise BadInput(f'--data={DATA.value}: no labels to learn from, or no images; allowed: images '
                   'with integer levels and labels, as DIR/CLASS/*.png or an npz with labels')
  experiments.say(data.summary(dataset))
  start = time.perf_counter()
  network = network_for(dataset.spec, NETWORK.value, json_object(NETWORK_KW, '{"width": 64}'))
  params = train(network, dataset, SEED.value, STEPS.value, BATCH.value)
  # scored as it will be read, with weights rounded to float16
  params = jax.tree.map(lambda a: np.asarray(a, np.float16).astype(np.float32), params)
  scale = unit_scale(network, params, dataset)
  figures = report(classifier.encoder(DATA.value, network, params, dataset.spec, {}), dataset)
  written = classifier.save(OUT.value, params, network, dataset.spec, scale, {
      'data': dataset.identity, 'seed': SEED.value, 'steps': STEPS.value,
      'batch_size': BATCH.value, 'figures': figures})
  for name, row in figures.items():
    print(f'{name}: ' + ', '.join(f'{key} {value}' for key, value in row.items()))
  print(f'{OUT.value}: {len(written) / 1000:.0f} kB, sha256 '
        f'{hashlib.sha256(written).hexdigest()}, {time.perf_counter() - start:.0f} s')


if __name__ == '__main__':
  experiments.run(main)
