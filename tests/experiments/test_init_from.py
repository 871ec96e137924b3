"""config.init_from: a run that starts at another's parameters, by the programs."""

import json
import re
import shutil

import numpy as np
import pytest

from genjax import runs
from genjax.runs import rundir
from tests import programs
from tests.programs import content, refused

TOY = ('configs/toy2d.py:data=three_modes,data.num_train=512,data.num_validation=64,'
       'data.num_test=64,family=diffusion,denoiser.width=16,denoiser.num_blocks=1,objective=')
TINY = ('--config.steps=20', '--config.steps_per_dispatch=10', '--config.log.every=10',
        '--config.checkpoint.every=10', '--config.batch_size=32', '--config.optim.decay=constant',
        '--noevaluate')
STUDENT = 'distillation,objective.first_steps=4,objective.last_steps=2,objective.stage_steps=10'


def train(workdir, objective, *flags):
  return programs.run('experiments.train', f'--config={TOY}{objective}', f'--workdir={workdir}',
                      *programs.merged(*TINY, *flags))


@pytest.fixture(scope='module')
def teacher(tmp_path_factory):
  path = tmp_path_factory.mktemp('teacher') / 'run'
  done = train(path, 'score_matching')
  assert done.code == 0, done.stderr
  return path


def arrays(tree):
  return np.concatenate([np.ravel(a) for a in _leaves(tree)])


def _leaves(tree):
  return [leaf for value in tree.values() for leaf in (
      _leaves(value) if isinstance(value, dict) else [value])]


@pytest.mark.slow
def test_a_student_starts_at_its_teacher_and_goes_on_without_it(teacher, tmp_path):
  student, moved = tmp_path / 'student', tmp_path / 'teacher'
  shutil.copytree(teacher, moved)
  flags = (f'--config.init_from={moved}', '--config.optim.lr=1e-30')
  done = train(student, STUDENT, *flags, '--config.steps=10')
  assert done.code == 0, done.stderr
  # nothing moves at a rate of 1e-30: the student, its average and the teacher are the given run
  given, kept = runs.load(teacher), runs.load(student)
  np.testing.assert_allclose(arrays(kept.params), arrays(given.params), rtol=1e-6)
  assert kept.model.diffusion.denoise is None and kept.model.flow_map
  origin = rundir.read(student)['init_from']
  assert origin['step'] == 20 and len(origin['digest']) > 8
  assert rundir.read(teacher).get('init_from') is None

  train(moved, 'score_matching', '--config.steps=30')  # a teacher that went on stays the same one
  shutil.rmtree(moved / 'checkpoints' / '10', ignore_errors=True)
  assert train(student, STUDENT, *flags, '--config.steps=20').code == 0
  shutil.rmtree(moved)  # and need not be there
  done = train(student, STUDENT, *flags, '--config.steps=30')
  assert done.code == 0 and 'steps 20 to 30' in done.stdout, done.stderr

  out = tmp_path / 'x.npz'
  for asked, nfe in ((), 2), (('--sampler=flow_map', '--num_steps=4'), 4), (('--num_steps=1',), 1):
    done = programs.run('experiments.sample', f'--workdir={student}', f'--out={out}', '--num=4',
                        *asked)
    assert done.code == 0, done.stderr
    assert int(re.search(r'(\d+) network evaluations', done.stdout)[1]) == nfe
  refused(programs.run('experiments.sample', f'--workdir={student}', f'--out={out}',
                       '--sampler=ddim'), "'ddim'", 'denoise', 'allowed: flow_map')


@pytest.mark.slow
def test_another_teacher_is_another_run(teacher, tmp_path):
  student, other = tmp_path / 'student', tmp_path / 'other'
  assert train(student, STUDENT, f'--config.init_from={teacher}', '--config.steps=10').code == 0
  assert train(other, 'score_matching', '--config.seed=1').code == 0
  before = content(student)
  refused(train(student, STUDENT, f'--config.init_from={other}'), 'init_from.digest', 'there',
          'now', str(student))
  assert content(student) == before


@pytest.mark.parametrize(('argument', 'flags', 'words'), [
    (f'{STUDENT},model.schedule=linear', (), ('another kind', 'model.kw.schedule', '"linear"')),
    (f'{STUDENT},model.prediction=data', (), ('another kind', 'model.kw.prediction', '"data"')),
    (STUDENT, ('--config.networks.denoiser.kw.width=8',), (
        'another kind', 'networks.denoiser.kw.width: 16 there, 8 here')),
    (f'{STUDENT},data.std=0.7', (), ('another kind', 'data: ')),
    ('mean_flow,model.schedule=cosine,model.prediction=None', (), ('another kind',)),
    (STUDENT, ('--config.init_from=nowhere',), ('nowhere', 'no run directory')),
    (STUDENT, ('--config.init_from=',), ('no teacher', 'config.init_from'))])
def test_what_does_not_fit_is_refused_before_anything_is_written(
    teacher, tmp_path, argument, flags, words):
  done = train(tmp_path / 'run', argument, f'--config.init_from={teacher}', *flags)
  refused(done, *words)
  assert content(tmp_path) == {}


@pytest.mark.slow
def test_a_network_that_is_told_two_times_is_another(teacher, tmp_path):
  """The kw may be the same, and the parameters are not."""
  same = tmp_path / 'same'
  assert train(same, 'score_matching,model.schedule=linear,model.prediction=velocity').code == 0
  refused(train(tmp_path / 'run', 'mean_flow', f'--config.init_from={same}'),
          'other parameters', 'mean_flow')
  assert not (tmp_path / 'run').exists()


def test_any_objective_of_the_same_parameters_may_start_there(teacher, tmp_path):
  tuned = tmp_path / 'tuned'
  done = train(tuned, 'kl', f'--config.init_from={teacher}', '--config.optim.lr=1e-30')
  assert done.code == 0, done.stderr
  np.testing.assert_allclose(arrays(runs.load(tuned).params), arrays(runs.load(teacher).params),
                             rtol=1e-6)
  assert json.loads((tuned / 'config.json').read_text())['init_from']['step'] == 20
