"""Words and numbers on the command line: one message with the value and what is allowed."""

import sys

import pytest

from genjax import configs, wiring
from genjax.types import BadInput
from tests import programs
from tests.programs import content, refused

DIGITS = 'configs/digits.py:family=vae,objective=kl'
DIFFUSION = 'configs/digits.py:family=diffusion,objective=score_matching'
IMPLICIT = 'configs/digits.py:family=implicit,objective=adversarial'

TRAIN = {  # what is wrong -> config, flags, words of the message
    'unknown key': (DIGITS, ('--config.optim.lrr=3',), ('config.optim.lrr', "'lr'", 'warmup')),
    'wrong type': (DIGITS, ('--config.seed=abc',), ('--config.seed=abc', 'int')),
    'wrong type of a kw': (f'{DIGITS},model.latent_dim=wide', (), ("'wide'", 'latent_dim', 'int')),
    'size below 1': (f'{DIGITS},model.latent_dim=0', (), ('latent_dim=0', 'integers from 1')),
    'wrong type within a kw': (
        f"{DIGITS},decoder.features=('a',)", (), ('features', "('a',)", 'tuple')),
    'unknown config argument': ('configs/digits.py:famly=vae', (), ("'famly'", "'family'")),
    'unknown family': ('configs/digits.py:family=vea', (), ("'vea'", "'vae'", 'mixture')),
    'unknown family by flag': (DIGITS, ('--config.model.family=vea',), ("'vea'", "'vae'", 'flow')),
    'unknown objective by flag': (DIGITS, ('--config.objective.name=klm',), ("'klm'", "'kl'")),
    'unknown estimator': (f'{DIGITS},estimator=guess', (), ("'guess'", 'bound', 'exact')),
    'impossible pair': ('configs/digits.py:family=implicit,objective=kl', (), (
        "'kl'", "'implicit'", 'usable here   : adversarial, wasserstein', 'models that can')),
    'an unknown network': (f'{DIGITS},decoder=mpl', (), ("'mpl'", "'mlp'", 'conv', 'decoder')),
    'kwargs of no network': (f'{DIGITS},decoder.fetures=(8,)', (), ("'fetures'", "'features'")),
    'a network for images': ('configs/toy2d.py:family=vae,decoder=conv', (), (
        "'conv'", 'images', '(2,)', 'mlp')),
    'a role that nobody plays': (f'{DIGITS},critic=mlp', (), (
        'networks.critic', "'vae'", "'kl'", 'posterior, decoder')),
    'a width of the model': (f'{DIGITS},model.features=(8,)', (), (
        "'features'", 'the network posterior=mlp', 'the network decoder=mlp')),
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
    'unknown critic': (IMPLICIT, ('--config.networks.critic.name=cnn',), ("'cnn'", 'mlp', 'conv')),
    'encoder of other data': (IMPLICIT, ('--config.evals.encoder=fmnist',), (
        "'fmnist'", '(28, 28, 1)', "'digits'", '(8, 8, 1) with 17 levels')),
    'unknown encoder': (DIGITS, ('--config.evals.encoder=vgg16',), ("'vgg16'", 'digits')),
    'unknown data set': ('configs/tfds_images.py:data=fashion_mnits,family=vae', (), (
        "'fashion_mnits'", "'fashion_mnist'", 'digits')),
    'dispatch that does not divide': (DIGITS, ('--config.steps_per_dispatch=7',), (
        'steps_per_dispatch=7', 'steps')),
    'seed that would be cut': (DIGITS, ('--config.seed=4294967296',), ('4294967296', '2^32 - 1')),
    'no steps': (DIGITS, ('--config.steps=0',), ('steps=0', 'integers from 1')),
    'batch larger than the data': (DIGITS, ('--config.batch_size=5000',), ('5000', '1197')),
    'a rate of no sign': (DIGITS, ('--config.optim.lr=-1e-3',), ('optim.lr=-0.001', '> 0')),
    'a warmup longer than the run': (DIGITS, ('--config.optim.warmup=2000',), (
        'optim.warmup=2000', '1000 updates', 'more steps')),
    'keywords of no evaluator': (DIGITS, ('--config.evals.kw.frecht.num_samples=10',), (
        "'frecht'", "'frechet'")),
    'a mesh of no devices': (DIGITS, ('--config.mesh.fsdp=3',), ('mesh.fsdp=3', '1 device')),
    'an origin that is no run': (DIGITS, ('--config.init_from=/no/run',), (
        '/no/run', 'config.json')),
    'a literal of 5,000 signs': (DIGITS, (
        f'--config.networks.decoder.kw.width={"-" * 5000}1',), (
        'config.networks.decoder.kw.width', '5,038 characters', '4,096')),
    'a literal that is deep': (DIGITS, (
        f'--config.networks.decoder.kw.width={"[" * 40}{"]" * 40}',), (
        'config.networks.decoder.kw.width', '40 brackets', '32')),
    **({
        'a literal of many signs': (DIGITS, (f'--config.networks.decoder.kw.width={"-" * 4000}1',),
                                    ('nests too deeply',)),
        'an argument of many signs': (f'{DIGITS},decoder.width={"-" * 4000}1', (),
                                      ('nests too deeply',)),
    } if sys.version_info < (3, 13) else {}),  # newer ones read such a number
    'a number of 4,000 digits': (DIGITS, (f'--config.model.kw.latent_dim={"9" * 4000}',), (
        'latent_dim=0x', 'characters', '1048576')),
    'a leftover': (DIGITS, ('fast',), ("'fast' is no flag", '--FLAG=VALUE')),
    'a flag given twice': (DIGITS, ('--config.steps=10', '--config.steps=20'), (
        '--config.steps is given twice', '--config.steps=10 and --config.steps=20')),
    'a switch given twice': (DIGITS, ('--evaluate', '--noevaluate'), (
        '--evaluate is given twice',)),
    'no such config': ('configs/digit.py', (), ("'configs/digit.py'", 'configs/digits.py')),
}


NUMBERS = {  # what is wrong -> config, settings, words of the message
    'a rate without end': (DIGITS, {'optim.lr': float('inf')}, ('optim.lr=inf', 'finite')),
    'a momentum of one': (DIGITS, {'optim.b1': 1.0}, ('optim.b1=1.0', '[0, 1)')),
    'a second moment of one': (DIGITS, {'optim.b2': 1.0}, ('optim.b2=1.0', '[0, 1)')),
    'a clip that turns the gradient': (DIGITS, {'optim.clip': -1.0}, (
        'optim.clip=-1.0', '>= 0')),
    'a number of one player': (IMPLICIT, {'optim_by_player.critic.b2': float('nan')}, (
        'b2=nan', '[0, 1)')),
    'an average that never moves': (DIGITS, {'ema': 1.0}, ('ema=1.0', '[0, 1)')),
    'a dropout of all': (f'{DIFFUSION},denoiser.dropout=1.0', {}, ('dropout=1.0', '[0, 1)')),
    'a dropout of no number': (f'{DIFFUSION},denoiser.dropout=1e999', {}, (
        'dropout=inf', '[0, 1)')),
    'a dropout of the posterior': (f'{DIGITS},posterior.dropout=-0.1', {}, (
        'dropout=-0.1', '[0, 1)')),
    'a share above one': (f'{DIFFUSION},objective.label_dropout=1.5', {}, (
        'label_dropout=1.5', '[0, 1)')),
    'a clip of samples': (DIFFUSION, {'sampler.kw.clip': 0.0}, ('clip=0.0', '> 0')),
    'a spacing of no name': (DIFFUSION, {'sampler.kw.spacing': 'tmie'}, (
        "'tmie'", 'logsnr')),
    'a variance of no name': (f'{DIFFUSION},sampler.variance=none', {'sampler.name': 'ddpm'},
                              ("'none'", 'posterior')),
    'a size of 10^12': (f'{DIGITS},model.latent_dim=1000000000000', {}, (
        'latent_dim=1000000000000', '1048576')),
    'a depth of 10^6': (f'{DIFFUSION},denoiser.num_blocks=1000000', {}, (
        'num_blocks=1000000', '1024')),
    'an interval of no selection': (DIGITS, {'select.metric': '', 'select.every': 10}, (
        'select.every=10', 'select.every=0, or a metric')),
    'steps of 10^12': (DIGITS, {'steps': 1000000000000}, ('steps=1000000000000', '2^31')),
    'a set of 10^12': ('configs/toy2d.py:family=flow,data.num_train=1000000000000', {}, (
        'num_train=1000000000000', '2^31')),
}


@pytest.mark.parametrize('case', NUMBERS)
def test_numbers_are_refused_where_a_run_is_built(case):
  argument, settings, words = NUMBERS[case]
  config = configs.load(argument)
  configs.override(config, settings)
  with pytest.raises(BadInput) as refusal:
    wiring.run(config)
  for word in words:
    assert word in str(refusal.value)


@pytest.mark.parametrize('case', TRAIN)
def test_training_is_refused_before_anything_is_written(tmp_path, case):
  config, flags, words = TRAIN[case]
  done = programs.run('experiments.train', f'--config={config}', f'--workdir={tmp_path / "run"}',
                      *flags)
  message = refused(done, *words)
  assert content(tmp_path) == {} and all(len(line) < 3000 for line in message.splitlines())


@pytest.mark.parametrize('case', ('a rate of no sign', 'keywords of no evaluator',
                                  'a mesh of no devices', 'an origin that is no run'))
def test_a_dry_run_refuses_what_training_does(case):
  config, flags, words = TRAIN[case]
  refused(programs.run('experiments.train', f'--config={config}', '--dry', *flags), *words)


def test_no_workdir():
  refused(programs.run('experiments.train', f'--config={DIGITS}'), '--workdir', 'new directory')


PROGRAMS = {  # program, flags beside --workdir of an unconditional Gaussian in the plane, words
    'evaluator that the model cannot answer': ('evaluate', ('--metrics=classified',), (
        "'classified'", "'gaussian'", 'data.image', 'usable here', 'likelihood')),
    'evaluator of no name': ('evaluate', ('--metrics=fid',), ("'fid'", 'frechet')),
    'split of no name': ('evaluate', ('--split=train',), ('train', 'validation')),
    'step that was not saved': ('evaluate', ('--step=15',), ('15', '10, 20')),
    'label of an unconditional model': ('sample', ('--cond=3',), ('cond=3', 'has no labels')),
    'format of no name': ('sample', ('--out=foo.txt',), ('foo.txt', '.png', '.npz')),
    'no samples': ('sample', ('--num=0',), ('--num=0', 'positive')),
    'seed that would be cut': ('sample', ('--seed=4294967296',), ('4294967296', '4294967295')),
    'sampler of a model that needs none': ('sample', ('--sampler=ddim',), ("'ddim'", 'gaussian')),
    'unknown sampler': ('sample', ('--sampler=eular',), ("'eular'", 'euler', 'ddim')),
    'sampler_kw that is no object': ('sample', ('--sampler_kw=[1]',), ('[1]', 'JSON object')),
    'sampler_kw that is deep': ('sample', (f'--sampler_kw={"[" * 3000}{"]" * 3000}',), (
        '--sampler_kw', 'characters')),
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


@pytest.mark.parametrize('program', [
    program if program in ('train', 'table') else pytest.param(program, marks=pytest.mark.slow)
    for program in IN_FULL])
def test_every_program_as_a_user_starts_it(program, tmp_path):
  done = programs.run_in_full(f'experiments.{program}', *IN_FULL[program],
                              env={'GENJAX_DATA': str(tmp_path)})
  wrong = {'train': "'seed'", 'evaluate': '/no/such/run', 'sample': 'foo.txt',
           'table': "'configs/tables/nothing.py'", 'matrix': "'markdwn'",
           'prepare': "'fashion_mnist'", 'encoder': 'three_modes', 'weights': 'incption'}[program]
  refused(done, wrong)
  assert done.stdout == '' and content(tmp_path) == {}
