"""Words and numbers on the command line: one message with the value and what is allowed."""

import pytest

from tests import programs
from tests.programs import content, refused

DIGITS = 'configs/digits.py:family=vae,objective=kl'
IMPLICIT = 'configs/digits.py:family=implicit,objective=adversarial'

TRAIN = {  # what is wrong -> config, flags, words of the message
    'unknown key': (DIGITS, ('--config.optim.lrr=3',), ('config.optim.lrr', "'lr'", 'warmup')),
    'wrong type': (DIGITS, ('--config.seed=abc',), ('--config.seed=abc', 'int')),
    'wrong type of a kw': (f'{DIGITS},model.latent_dim=wide', (), ("'wide'", 'latent_dim', 'int')),
    'size below 1': (f'{DIGITS},model.latent_dim=0', (), ('latent_dim=0', 'integers from 1')),
    'wrong type within a kw': (f"{DIGITS},model.hidden=('a',)", (), ('hidden', "('a',)", 'tuple')),
    'unknown config argument': ('configs/digits.py:famly=vae', (), ("'famly'", "'family'")),
    'unknown family': ('configs/digits.py:family=vea', (), ("'vea'", "'vae'", 'mixture')),
    'unknown family by flag': (DIGITS, ('--config.model.family=vea',), ("'vea'", "'vae'", 'flow')),
    'unknown objective by flag': (DIGITS, ('--config.objective.name=klm',), ("'klm'", "'kl'")),
    'unknown estimator': (f'{DIGITS},estimator=guess', (), ("'guess'", 'bound', 'exact')),
    'impossible pair': ('configs/digits.py:family=implicit,objective=kl', (), (
        "'kl'", "'implicit'", 'usable here   : adversarial, wasserstein', 'models that can')),
    'kwargs of another family': (f'{DIGITS},model.num_couplings=4', (), (
        "'vae'", "'num_couplings'", "'flow'", 'latent_dim')),
    'kwargs of another objective': (f'{DIGITS},objective.num_critic=4', (), (
        "'kl'", "'num_critic'", "'wasserstein'", 'free_bits')),
    'unknown sampler': (DIGITS, ('--config.sampler.name=eular',), ("'eular'", 'euler', 'ddim')),
    'kwargs of no sampler': (DIGITS, ('--config.sampler.kw.etta=1.0',), ("'etta'", "'eta'")),
    'unknown evaluator': (DIGITS, ('--config.evals.names=fid',), ("'fid'", 'frechet')),
    'unknown selection': (DIGITS, ('--config.select.metric=nlp',), ("'nlp'", 'nll_bound_bpd')),
    'unknown optimizer': (DIGITS, ('--config.optim.name=adma',), ("'adma'", 'adam')),
    'player that is not there': (DIGITS, ('--config.optim_by_player.critic.lr=0.1',), (
        'optim_by_player.critic.lr', 'model')),
    'unknown critic': (IMPLICIT, ('--config.critic.network=cnn',), ("'cnn'", 'mlp')),
    'encoder of other data': (IMPLICIT, ('--config.encoder=fmnist',), (
        "'fmnist'", '(28, 28, 1)', "'digits'", '(8, 8, 1) with 17 levels')),
    'unknown encoder': (DIGITS, ('--config.encoder=vgg16',), ("'vgg16'", 'digits')),
    'unknown data set': ('configs/tfds_images.py:data=fashion_mnits,family=vae', (), (
        "'fashion_mnits'", "'fashion_mnist'", 'digits')),
    'dispatch that does not divide': (DIGITS, ('--config.steps_per_dispatch=7',), (
        'steps_per_dispatch=7', 'steps')),
    'seed that would be cut': (DIGITS, ('--config.seed=4294967296',), ('4294967296', '2^32 - 1')),
    'no steps': (DIGITS, ('--config.steps=0',), ('steps=0', '>= 1')),
    'batch larger than the data': (DIGITS, ('--config.batch_size=5000',), ('5000', '1197')),
    'no such config': ('configs/digit.py', (), ("'configs/digit.py'", 'configs/digits.py')),
}


@pytest.mark.parametrize('case', TRAIN)
def test_training_is_refused_before_anything_is_written(tmp_path, case):
  config, flags, words = TRAIN[case]
  done = programs.run('experiments.train', f'--config={config}', f'--workdir={tmp_path / "run"}',
                      *flags)
  refused(done, *words)
  assert content(tmp_path) == {}


def test_no_workdir():
  refused(programs.run('experiments.train', f'--config={DIGITS}'), '--workdir', 'new directory')


PROGRAMS = {  # program, flags beside --workdir of an unconditional Gaussian in the plane, words
    'evaluator that the model cannot answer': ('evaluate', ('--metrics=classified',), (
        "'classified'", "'gaussian'", 'data.image', 'usable here', 'likelihood')),
    'evaluator of no name': ('evaluate', ('--metrics=fid',), ("'fid'", 'frechet')),
    'split of no name': ('evaluate', ('--split=train',), ('train', 'validation')),
    'step that was not saved': ('evaluate', ('--step=15',), ('15', '10, 20')),
    'label of an unconditional model': ('sample', ('--cond=3',), ('cond=3', 'unconditional')),
    'format of no name': ('sample', ('--out=foo.txt',), ('foo.txt', '.png', '.npz')),
    'no samples': ('sample', ('--num=0',), ('--num=0', 'positive')),
    'seed that would be cut': ('sample', ('--seed=4294967296',), ('4294967296', '4294967295')),
    'sampler of a model that needs none': ('sample', ('--sampler=ddim',), ("'ddim'", 'gaussian')),
    'unknown sampler': ('sample', ('--sampler=eular',), ("'eular'", 'euler', 'ddim')),
    'sampler_kw that is no object': ('sample', ('--sampler_kw=[1]',), ('[1]', 'JSON object')),
    'sampler_kw that is no JSON': ('sample', ('--sampler_kw={steps=3}',), ('steps=3', 'JSON')),
}


@pytest.mark.parametrize('case', PROGRAMS)
def test_a_run_is_left_as_it_was(run, case):
  program, flags, words = PROGRAMS[case]
  before = content(run.parent)
  refused(programs.run(f'experiments.{program}', f'--workdir={run}', *flags), *words)
  assert content(run.parent) == before


@pytest.mark.parametrize('program', ['evaluate', 'sample'])
def test_a_directory_that_is_no_run(tmp_path, program):
  (tmp_path / 'file').write_text('mine')
  before = content(tmp_path)
  for workdir in (tmp_path, tmp_path / 'file', tmp_path / 'absent'):
    done = programs.run(f'experiments.{program}', f'--workdir={workdir}',
                        *([f'--out={tmp_path}/x.png'] if program == 'sample' else []))
    refused(done, f'{workdir} is no run directory', 'config.json', '--workdir of a training run')
  assert content(tmp_path) == before


IN_FULL = {  # every program once as a user starts it, imports and all
    'train': (f'--config={DIGITS}', '--config.sed=3'),
    'evaluate': ('--workdir=/no/such/run',),
    'sample': ('--workdir=/no/such/run', '--out=foo.txt'),
    'table': ('run', '--table=configs/tables/nothing.py'),
    'matrix': ('--markdwn',),
    'prepare': ('--data=fashion_mnits',),
    'encoder': ('--data=three_modes', '--out=x.npz'),
    'weights': ('--encoder=incption',),
}


@pytest.mark.parametrize('program', IN_FULL)
def test_every_program_as_a_user_starts_it(program, tmp_path):
  done = programs.run_in_full(f'experiments.{program}', *IN_FULL[program],
                              env={'GENJAX_DATA': str(tmp_path)})
  wrong = {'train': "'seed'", 'evaluate': '/no/such/run', 'sample': 'foo.txt',
           'table': "'configs/tables/nothing.py'", 'matrix': "'markdwn'",
           'prepare': "'fashion_mnist'", 'encoder': 'three_modes', 'weights': 'incption'}[program]
  refused(done, wrong)
  assert done.stdout == '' and content(tmp_path) == {}
