"""A part in a user's own file does all that an entry of a table does; in one process."""

import json
import sys

import jax
import numpy as np
import pytest

import genjax
from genjax import compat, configs, data, extension, identity, wiring
from genjax.runs import rundir
from genjax.train import init
from genjax.types import BadInput

OWN = ('configs/toy2d.py:data=mine/blobs.py,family=mine/shifted.py,'
       'objective=mine/energy_distance.py,objective.weight=2.0')
TINY = {'steps': 4, 'steps_per_dispatch': 2, 'log.every': 2, 'checkpoint.every': 2,
        'batch_size': 16, 'optim.decay': 'constant', 'evals.num_samples': 32,
        'evals.names': ('mine/mean_gap.py',), 'evals.kw.mean_gap.exponent': 2.0}


def trains(argument, **overrides):
  """One step of a config; the run."""
  config = genjax.config(argument, {'batch_size': 16, **overrides})
  made = wiring.run(config)
  state = init.initialise(made.init, jax.random.key(0), wiring.first_rows(config, made))
  state, metrics = jax.jit(made.step)(state, made.source[0])
  assert all(np.isfinite(value) for value in metrics.values())
  return config, made, state


def test_a_family(mine):
  config, made, _ = trains('configs/toy2d.py:family=mine/shifted.py,objective=wasserstein,'
                           'estimator=sinkhorn,model.scale=0.5')
  assert made.model.rsample is not None
  assert identity.title(config) == 'shifted by wasserstein'
  with pytest.raises(BadInput, match=r"model 'shifted' takes no 'scael' \(did you mean 'scale'"):
    wiring.run(genjax.config('configs/toy2d.py:family=mine/shifted.py,objective=wasserstein,'
                             'model.scael=1'))
  with pytest.raises(BadInput, match="objective 'kl' on model 'shifted'.*needs fit"):
    wiring.run(genjax.config('configs/toy2d.py:family=mine/shifted.py,objective=kl'))


def test_a_divergence(mine):
  _, made, _ = trains('configs/digits.py:family=implicit,objective=mine/energy_distance.py,'
                      'generator.features=(8,)')
  assert made.estimator == 'pathwise'
  with pytest.raises(BadInput, match="objective 'energy_distance' on model 'ebm'.*\n.*\n.*usable"):
    wiring.run(genjax.config('configs/toy2d.py:family=ebm,objective=mine/energy_distance.py'))


def test_a_network(mine):
  config = genjax.config(
      'configs/toy2d.py:family=implicit,objective=wasserstein,generator.features=(8,),'
      'critic=mine/small_critic.py,critic.features=(4,)')
  made = wiring.run(config)
  network = compat.pick('network of any kind', 'mine/small_critic.py', {})
  assert network.__name__ == 'SmallCritic'
  state = jax.eval_shape(made.init, jax.random.key(0), wiring.first_rows(config, made))
  assert (2, 4) in {leaf.shape for leaf in jax.tree.leaves(state.params['critic'])}


def test_an_evaluator_and_data(mine):
  config = genjax.config('configs/toy2d.py:data=mine/blobs.py,data.num_train=32,family=gaussian',
                         {'evals.names': ('mine/mean_gap.py',), 'evals.kw.mean_gap.exponent': 2.0})
  made = wiring.run(config)
  assert made.dataset.identity['sha256'].keys() == {'train', 'validation', 'test'}
  [(name, run)] = wiring.evaluators(config, made.dataset, made.model, 'test',
                                    config.evals.names).items()
  assert extension.stem(name) == 'mean_gap'
  draw = lambda n: (np.ones((n, 2)), {'sampler': 'direct'})
  real = np.asarray(made.dataset.splits['test']['x'], np.float64)
  value = run({}, draw)['mean_gap']
  assert value.value == pytest.approx(np.sum((1 - real.mean(0)) ** 2))
  assert value.card['exponent'] == 2.0
  assert wiring.answering(['mean_gap'], config.evals.names) == {name: ('mean_gap',)}
  (mine / 'twin.py').write_text((mine / 'mean_gap.py').read_text().replace('mean_gap', 'fd'))
  with pytest.raises(BadInput, match=r"twin\.py: metric 'fd' is that of evaluator 'frechet'"):
    wiring.evaluators(config, made.dataset, made.model, 'test', ('mine/twin.py',))
  with pytest.raises(BadInput, match="data set 'blobs' takes no argument 'num'.*num_train"):
    data.load('mine/blobs.py', num=3)
  (mine / 'none.py').write_text('def make():\n  return {}\n')
  with pytest.raises(BadInput, match=r'none\.py: make\(\.\.\.\) returns a dict; allowed'):
    data.load('mine/none.py')


@pytest.mark.slow
def test_a_sampler(mine):
  config, made, state = trains('configs/toy2d.py:family=diffusion,objective=score_matching,'
                               'denoiser.width=8', **{'sampler.name': 'mine/one_jump.py',
                                                      'sampler.kw.at': 0.9})
  x, evaluations = made.model.sample(state.params['model'], jax.random.key(1), 5, None)
  assert x.shape == (5, 2) and int(evaluations) == 1
  digest = extension.label(config.sampler.name).partition('@')[2]
  draw = wiring.drawer(config, made, 0)(state.params['model'])
  assert draw(3)[1]['sampler'] == f'one_jump@{digest}(at=0.9)'
  with pytest.raises(BadInput, match="sampler 'one_jump' takes no 'num_steps'"):
    wiring.run(genjax.config('configs/toy2d.py:family=diffusion,objective=score_matching',
                             {'sampler.name': 'mine/one_jump.py', 'sampler.kw.num_steps': 3}))


def test_a_run_of_own_parts_resumes_and_refuses_a_file_that_has_changed(mine):
  quiet = {'say': lambda text: None, 'progress': Bar}
  metrics = genjax.train(genjax.config(OWN, TINY), 'run', **quiet)
  assert metrics['mean_gap'].card['exponent'] == 2.0
  record = rundir.read('run')
  assert record['shape'] == rundir.SHAPE
  assert record['config']['model']['family'] == extension.pinned(str(mine / 'shifted.py'))
  longer = {**TINY, 'steps': 8}
  genjax.train(genjax.config(OWN, longer), 'run', evaluate=False, **quiet)
  genjax.train(genjax.config(OWN, longer), 'straight', evaluate=False, **quiet)
  arrays = [json.loads((mine.parent / name / 'checkpoints/8/checkpoint.json').read_text())[
      'content']['arrays'] for name in ('run', 'straight')]
  assert arrays[0] == arrays[1]
  first = genjax.sample('run', 3, seed=1)
  assert first.x.shape == (3, 2)
  np.testing.assert_array_equal(first.x, genjax.sample('run', 3, seed=1).x)
  for part, key in (('shifted', 'model.family'), ('energy_distance', 'objective.name')):
    path = mine / f'{part}.py'
    before = path.read_text()
    path.write_text(f'{before}\n# another part now\n')
    with pytest.raises(BadInput) as refusal:
      genjax.train(genjax.config(OWN, longer), 'run', **quiet)
    assert f'{path} ({key}) has changed' in str(refusal.value)
    assert '\n' not in str(refusal.value)
    with pytest.raises(BadInput, match=f'{path} has changed'):
      genjax.load('run')
    path.write_text(before)
  assert genjax.evaluate('run', metrics=['mean_gap'])['mean_gap'].value >= 0


class Bar:
  """A bar that shows nothing."""

  def __init__(self, *args, **kw):
    pass

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def update(self, n=1):
    pass

  def set_postfix(self, *args, **kw):
    pass

  def close(self):
    pass


def test_identity_is_the_content_of_a_file_wherever_it_lies(mine):
  config = genjax.config(OWN, TINY)
  hashes = identity.run_hash(config.to_dict()), identity.config_hash(config.to_dict())
  (mine.parent / 'moved').mkdir()
  for part in mine.glob('*.py'):
    (mine.parent / 'moved' / part.name).write_bytes(part.read_bytes())
  moved = genjax.config(OWN.replace('mine/', 'moved/'), {
      **TINY, 'evals.names': ('moved/mean_gap.py',)}).to_dict()
  assert (identity.run_hash(moved), identity.config_hash(moved)) == hashes
  assert identity.trajectory(moved) == identity.trajectory(config.to_dict())
  for part, trains_it in (('mean_gap', False), ('shifted', True)):
    with open(mine / f'{part}.py', 'a') as file:
      file.write('# changed\n')
    new = genjax.config(OWN, TINY).to_dict()
    assert identity.config_hash(new) != hashes[1]
    assert (identity.run_hash(new) != hashes[0]) == trains_it
    hashes = identity.run_hash(new), identity.config_hash(new)


def test_a_name_is_pinned_once_and_arguments_are_no_names(mine):
  config = genjax.config('configs/folder.py:path=mine/blobs.py,family=gaussian',
                         {'data.kw.path_of': 'b.py'})
  name = config.data.name
  assert name.startswith(f'{mine}/blobs.py#sha256=') and config.data.kw.path_of == 'b.py'
  configs.resolve(config)
  assert config.data.name == name == extension.pinned(name)
  assert extension.portable({'a': [name, 'x.py']}) == {
      'a': [name[name.index('blobs.py#'):], 'x.py']}
  assert [extension.stem(each) for each in (name, 'a/b.py', 'vae')] == ['blobs', 'b', 'vae']


def test_a_file_is_executed_once(mine):
  (mine / 'once.py').write_text('import builtins\nbuiltins.executed = getattr(builtins, '
                                '"executed", 0) + 1\nmake = None\n')
  modules = [extension.module(name) for name in ('mine/once.py', str(mine / 'once.py'),
                                                 extension.pinned('mine/once.py'))]
  assert sys.modules['builtins'].executed == 1 and modules[0] is modules[1] is modules[2]


@pytest.mark.parametrize('content, words', [
    (None, 'cannot read .*broken.py: No such file'),
    ('def make(:\n', 'broken.py, line 1: '),
    ('x = "\0"\n', 'broken.py, line .*null'),
    ('def mak(spec): pass\n', 'broken.py defines no make; the file of a model family'),
])
def test_a_file_that_is_no_part_is_refused(mine, content, words):
  if content is not None:
    (mine / 'broken.py').write_text(content)
  with pytest.raises(BadInput, match=words):
    wiring.run(genjax.config('configs/toy2d.py:family=mine/broken.py'))


def test_an_unknown_name_is_told_of_files():
  with pytest.raises(BadInput, match="unknown model family 'vea' .did you mean 'vae'.*or FILE.py"):
    wiring.run(genjax.config('configs/digits.py:family=vea'))
