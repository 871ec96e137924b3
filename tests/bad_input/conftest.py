"""A tiny run, trained once, of which every case damages a copy of its own."""

import shutil

import pytest

from tests import programs

TOY = ('configs/toy2d.py:data=three_modes,family=gaussian,objective=kl,estimator=exact,'
       'data.num_train=256,data.num_validation=64,data.num_test=64')
TINY = ('--config.steps=20', '--config.steps_per_dispatch=10', '--config.log.every=10',
        '--config.checkpoint.every=10', '--config.batch_size=32', '--config.optim.decay=constant',
        '--noevaluate')


@pytest.fixture
def train():
  """train(workdir, *flags) -> Done: the tiny run; flags win over its own."""
  return lambda workdir, *flags, config=TOY: programs.run(
      'experiments.train', f'--config={config}', f'--workdir={workdir}',
      *programs.merged(*TINY, *flags))


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
  path = tmp_path_factory.mktemp('trained') / 'run'
  done = programs.run('experiments.train', f'--config={TOY}', f'--workdir={path}', *TINY)
  assert done.code == 0, done.stderr
  return path


@pytest.fixture
def run(trained, tmp_path):
  """A copy of the run: checkpoints of steps 10 and 20."""
  return shutil.copytree(trained, tmp_path / 'run')
