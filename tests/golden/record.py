"""What runs compute from given parameters, and evaluators of given samples, to compare two commits.

python -m tests.golden.record --out=DIR                  records this commit; DIR then holds, of
    each pair of `tests.golden.pairs`, parameters, losses, gradients, 20 steps and samples, and the
    figures of each evaluator; what is there already is not made again
python -m tests.golden.record --out=DIR --from=GOLDEN    the same from the parameters of GOLDEN,
    their keys mapped by `tests.golden.renamed`

Both write DIR/PAIR.npz and DIR/evaluators.json. `tests.golden.compare` says how far two are apart.
"""

import argparse
import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from configs import digits, toy2d
from genjax import wiring
from genjax.train import init, step
from tests.golden import pairs, renamed

STEPS = 20
CONFIGS = {'configs/digits.py': digits, 'configs/toy2d.py': toy2d}


def config_of(argument: str, settings: dict):
  """The config of a pair: its argument, what makes it small, what is set behind it."""
  path, _, rest = argument.partition(':')
  config = CONFIGS[path].get_config(rest)
  config.unlock()
  with config.unlocked():
    for name, value in {**pairs.SETTINGS, **settings}.items():
      *sections, key = name.split('.')
      section = config
      for part in sections:
        section = section[part]
      if isinstance(value, dict):
        section[key] = {**section[key], **value}
      else:
        section[key] = value
  return config


def flat(tree) -> dict[str, np.ndarray]:
  """{path: array} of a tree of parameters."""
  return {key: np.asarray(value) for key, value in
          traverse_util.flatten_dict({'': tree}, sep='/', keep_empty_nodes=False).items()}


def unflat(arrays: dict, like):
  """The tree like `like` whose leaves are those of `flat`; a missing or stray one is an error."""
  paths = flat(jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like))
  assert paths.keys() == arrays.keys(), sorted(paths.keys() ^ arrays.keys())
  return traverse_util.unflatten_dict(
      {key: jnp.asarray(arrays[key]) for key in arrays}, sep='/')['']


def initial(config, run) -> dict:
  """The state before the first step."""
  return init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))


def moved(params):
  """Parameters with noise on each, so that what starts at zero speaks."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
      lambda a: jnp.asarray(np.asarray(a) + 0.05 * rng.standard_normal(a.shape), a.dtype), params)


def of_pair(name: str, golden: dict | None) -> dict[str, np.ndarray]:
  """What is recorded of a pair: {'params/PATH': ..., 'loss/PLAYER': ..., ...}."""
  config = config_of(*pairs.PAIRS[name])
  run = wiring.run(config)
  out = {}
  if run.objective.fit:
    params = wiring.fit(config, run)
    if golden:
      out |= prefixed('fitted', flat(params))
      params = unflat(golden['params'], params)
    out |= prefixed('params', flat(params)) | ({} if golden else prefixed('fitted', flat(params)))
    return out | _samples(config, run, params)
  state = initial(config, run)
  out |= {f'init/{path}': np.array([a.mean(), a.std(), *a.reshape(-1)[:2]])
          for path, a in flat(state.params).items()}
  params = unflat(golden['params'], state.params) if golden else moved(state.params)
  carry = state.carry
  out |= prefixed('params', flat(params))
  out |= _losses(run, params, carry)
  out |= _samples(config, run, params['model'])
  ema = jax.tree.map(jnp.copy, params['model']) if config.ema else ()
  state = state._replace(params=params, ema=ema)
  advance = jax.jit(run.step)
  for i in range(STEPS):
    state, _ = advance(state, run.source[i])
  return out | prefixed('after', flat(state.params))


def _losses(run, params, carry) -> dict:
  """Loss, metrics and gradient of each player on one batch, by one key."""
  rows = run.source[0]
  size = sum(player.num_updates for player in run.objective.players)
  batch = {k: v[::size] for k, v in run.prepare(rows, jax.random.key(1)).items()}
  out = {}
  for player in run.objective.players:
    def loss(trained, player=player):
      whole = step.put_all(params, trained)
      return player.loss(whole, carry, batch, jax.random.key(2), jnp.zeros((), jnp.int32))

    trained = {path: step.get(params, path) for path in player.trains}
    (value, aux), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(trained)
    out[f'loss/{player.name}'] = np.asarray(value)
    out |= {f'metric/{player.name}/{k}': np.asarray(v) for k, v in aux.metrics.items()}
    for path, tree in grads.items():
      out |= {f'grad/{player.name}/{path}{key}': value for key, value in flat(tree).items()}
  return out


def _samples(config, run, params) -> dict:
  """What the model draws from the parameters; conditional models are asked for a label each."""
  out, key = {}, jax.random.key(3)
  cond = jnp.arange(8, dtype=jnp.int32) if config.conditional else None
  if run.model.sample is not None:
    out['sample'] = np.asarray(jax.jit(
        lambda params: run.model.sample(params, key, 8, cond)[0])(params))
  if run.model.rsample is not None:
    out['rsample'] = np.asarray(jax.jit(
        lambda params: run.model.rsample(params, key, 8, cond))(params))
  return out


def prefixed(prefix: str, arrays: dict) -> dict:
  """The arrays under another name each."""
  return {f'{prefix}{key}' if key.startswith('/') else f'{prefix}/{key}': value
          for key, value in arrays.items()}


def drawn(dataset, n: int):
  """Samples that nobody drew: training examples with noise, of which some are copies."""
  rng = np.random.default_rng(4)
  x = np.asarray(dataset.splits['train']['x'][:n])
  noise = rng.normal(0, 2.0 if dataset.spec.levels else 0.1, x.shape)
  noise[:n // 10] = 0
  if not dataset.spec.levels:
    return (x + noise).astype(np.float32)
  return np.clip(np.rint(x + noise), 0, dataset.spec.levels - 1).astype(np.int32)


def of_samples() -> dict:
  """{evaluator: {metric: [value, low, high]}} of fixed samples."""
  out = {}
  for name, (data_name, kw) in pairs.EVALUATORS.items():
    path = ('configs/digits.py:family=implicit,objective=wasserstein,estimator=sinkhorn'
            if data_name == 'digits' else
            f'configs/toy2d.py:data={data_name},family=implicit,objective=wasserstein,'
            'estimator=sinkhorn')
    config = config_of(path, {} if data_name == 'digits' else pairs.TOY)
    run = wiring.run(config)
    x = drawn(run.dataset, 300)

    def draw(n, x=x):
      return x[:n], {'seconds': 1.0, 'nfe': 1.0, 'cond': None, 'sampler': 'direct', 'labels': None}

    evaluate = wiring.evaluator(
        name, kw, model=run.model, family='implicit', dataset=run.dataset, split='test',
        encoder=wiring.encoder(config, run.dataset.spec), num_samples=300, seed=0)
    out[name] = figures(evaluate(None, draw))
  return out


def of_models(golden) -> dict:
  """{evaluator: {metric: [value, low, high]}} of models with the recorded parameters."""
  out = {}
  for name, (pair, evaluator, kw) in pairs.OF_MODEL.items():
    config = config_of(*pairs.PAIRS[pair])
    run = wiring.run(config)
    state = initial(config, run)
    params = unflat(golden(pair)['params'], state.params)['model']
    evaluate = wiring.evaluator(
        evaluator, {'num_examples': 64, **kw} if evaluator == 'likelihood' else kw,
        model=run.model, family=config.model.family, dataset=run.dataset, split='test',
        encoder=None, num_samples=256, seed=0)
    draw = wiring.drawer(config, run, 0)(params)
    out[name] = figures(evaluate(params, draw))
  return out


def figures(values) -> dict:
  """Value and interval of each metric that does not measure this machine."""
  return {metric: [value.value, value.low, value.high] for metric, value in values.items()
          if 'second' not in metric}


def read(path: pathlib.Path, renames=()) -> dict[str, dict]:
  """{group: {path: array}} of a recorded pair, its paths renamed."""
  with np.load(path) as arrays:
    return grouped(arrays, renames)


def grouped(arrays, renames=()) -> dict[str, dict]:
  """{group: {path: array}} of {'GROUP/PATH': array}, the paths renamed."""
  groups = {}
  for key, array in arrays.items():
    group, slash, rest = key.partition('/')
    for pattern, new in renames:
      rest = re.sub(pattern, new, rest)
    groups.setdefault(group, {})[slash + rest] = array
  return groups


def of_golden(path: pathlib.Path, name: str) -> dict[str, dict]:
  """A recorded pair under the keys of now."""
  groups = read(path / f'{name}.npz', renamed.of(name))
  return {**groups, 'params': renamed.made(name, groups['params'])}


def main(argv=None):
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--from', dest='golden', type=pathlib.Path)
  parser.add_argument('--only', default='', help='a regular expression of names of pairs')
  args = parser.parse_args(argv)
  args.out.mkdir(parents=True, exist_ok=True)
  for name in pairs.PAIRS:
    if re.search(args.only, name) and not (args.out / f'{name}.npz').exists():
      golden = args.golden and of_golden(args.golden, name)
      np.savez_compressed(args.out / f'{name}.npz', **of_pair(name, golden))
      print(name, flush=True)
  if args.only:
    return
  source = args.golden or args.out
  recorded = {**of_samples(), **of_models(lambda pair: of_golden(source, pair) if args.golden
                                          else read(source / f'{pair}.npz'))}
  (args.out / 'evaluators.json').write_text(json.dumps(recorded, indent=1))


if __name__ == '__main__':
  main()
