"""Every config is valid and locked with every documented argument; bad ones are refused."""

import itertools
import math
import pathlib
import re
import subprocess
import sys

import jax
import pytest

from configs import (
  cifar10,
  common,
  defaults,
  digits,
  folder,
  imagenet32,
  imagenet64,
  imagenet256,
  tfds_images,
  toy2d,
)
from experiments import table as table_program
from genjax import configs, data, nn, wiring
from genjax.models import FAMILIES
from genjax.objectives import OBJECTIVES
from genjax.types import BadInput
from tests import journey

ROOT = pathlib.Path(__file__).parents[2]
CONFIGS = {'digits': digits, 'toy2d': toy2d, 'tfds_images': tfds_images, 'folder': folder}
ON_PODS = {'cifar10': cifar10, 'imagenet32': imagenet32, 'imagenet64': imagenet64,
           'imagenet256': imagenet256}
FAMILIES_ON_PODS = ('vae', 'ladder', 'implicit,objective=adversarial',
                    'implicit,objective=wasserstein',
                    'implicit,objective=wasserstein,estimator=sinkhorn', 'ebm', 'flow', 'glow',
                    'tarflow', 'autoregressive', 'vae,decoder=mlp')
OF_DIFFUSION = ('score_matching', 'kl', 'mean_flow', 'consistency')  # that start at no other run
REQUIRED = {'folder': 'path=photos,'}
PAIRS = list(itertools.product(FAMILIES, OBJECTIVES))


def keys(config, path=''):
  """All dotted keys outside the sections named kw."""
  found = set()
  for name, value in config.items():
    is_section = hasattr(value, 'items') and name != 'kw'
    found |= keys(value, f'{path}{name}.') if is_section else {path + name}
  return found


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('family, objective', PAIRS)
def test_every_pair(name, family, objective):
  argument = f'{REQUIRED.get(name, "")}family={family},objective={objective}'
  config = configs.load(f'configs/{name}.py:{argument}')
  assert (config.model.family, config.objective.name) == (family, objective)
  check_whole(config)


def check_whole(config):
  assert config.is_locked
  assert keys(config) == keys(defaults.get())
  k = config.steps_per_dispatch
  for interval in (config.steps, config.log.every, config.checkpoint.every, config.select.every):
    assert interval % k == 0
  for section in ('optim', 'log', 'checkpoint', 'select', 'evals', 'mesh'):
    for key, value in config[section].items():
      assert type(value) is type(defaults.get()[section][key]), (section, key)


def pod_arguments():
  """Each documented argument of the configs for pods: the defaults, and every other value once."""
  for name, module in ON_PODS.items():
    yield name, ''
    for key, values in {**module.NAMES, 'objective': OF_DIFFUSION}.items():
      for value in set(values) - {module.DEFAULT.get(key)}:
        of_dit = 'denoiser=dit,' if name == 'cifar10' and key == 'size' else ''
        yield name, f'{of_dit}{key}={value}'
  yield 'cifar10', 'denoiser=dit'
  yield 'cifar10', 'denoiser=dit,objective=kl,estimator=bound,conditional=True'
  for family in FAMILIES_ON_PODS:
    yield 'cifar10', f'family={family}'
  yield 'imagenet256', 'size=B,model.prediction=v,objective.weighting=min_snr'


@pytest.mark.parametrize('name, argument', [
    pytest.param(*pair, marks=pytest.mark.slow
                 if 'family' in pair[1] or pair == ('cifar10', '')
                 or ',' not in pair[1] and '=' in pair[1] else ())
    for pair in sorted(pod_arguments())])
def test_configs_for_pods_build_on_declared_data(name, argument, monkeypatch, tmp_path):
  monkeypatch.setenv('GENJAX_DATA', str(tmp_path))  # the data are not here
  config = configs.load(f'configs/{name}.py:{argument}')
  check_whole(config)
  assert config.log.mfu and config.nan_steps_allowed > 0
  made = wiring.run(config, data.declared(config.data.name, **wiring.plain(config.data.kw)))
  state, rows = wiring.abstract_state(config, made), wiring.abstract_rows(config, made)
  assert all(type(leaf) is jax.ShapeDtypeStruct for leaf in jax.tree.leaves((state, rows)))
  conditional = name != 'cifar10' or 'conditional' in argument
  assert ('cond' in made.prepare(rows_of_zeros(rows))) == conditional
  drops_labels = name != 'cifar10' and config.objective.name in ('score_matching', 'mean_flow')
  assert ('label_dropout' in config.objective.kw) == drops_labels
  after, metrics = jax.eval_shape(made.step, state, rows)
  assert jax.tree.leaves(after) == jax.tree.leaves(state) and 'model/loss' in metrics


def rows_of_zeros(rows):
  return {key: jax.numpy.zeros((1, *row.shape[1:]), row.dtype) for key, row in rows.items()}


@pytest.mark.parametrize('size, millions', [('S', 33), ('B', 130), ('L', 458), ('XL', 675)])
def test_transformers_have_the_parameters_of_the_paper(size, millions):
  """2212.09748, Table 4."""
  config = configs.load(f'configs/imagenet256.py:size={size}')
  made = wiring.run(config, data.declared('latents', shape=(32, 32, 4), num_classes=1000))
  params = wiring.abstract_state(config, made).params
  count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
  assert round(count / 1e6) == pytest.approx(millions, abs=1)


@pytest.mark.parametrize('path', [str(p.relative_to(ROOT)) for p in ROOT.glob('configs/*.py')])
def test_every_documented_command_line_loads(path):
  lines = re.findall(r'--config=(\S+)', (ROOT / path).read_text())
  lines += re.findall(r'^  (configs/\S+:\S+)$', (ROOT / path).read_text(), re.MULTILINE)
  for text in lines:
    if 'KEY' not in text and 'FILE' not in text:
      configs.load(text)


def test_kw_and_shorthands_reach_their_sections():
  config = digits.get_config('family=implicit,objective=adversarial,divergence=kl,estimator=critic,'
                             'generator.features=(64,64),critic.features=(8,),sampler.num_steps=5,'
                             "data.name_of='a,b',objective.saturating=True,model.gain=1e-3")
  assert config.objective.kw.to_dict() == {'divergence': 'kl', 'estimator': 'critic',
                                           'saturating': True, 'gradient_penalty': 1.0}
  assert config.model.kw.to_dict() == {'gain': 1e-3}
  assert config.networks.generator.to_dict() == {'name': '', 'kw': {'features': (64, 64)}}
  assert config.networks.critic.to_dict() == {'name': '', 'kw': {'features': (8,)}}
  assert config.sampler.kw.num_steps == 5 and config.data.kw.name_of == 'a,b'


def test_roles_and_conditional_stand_at_the_top():
  config = digits.get_config('family=diffusion,objective=kl,denoiser=unet,denoiser.width=32,'
                             'conditional=True')
  assert config.networks.denoiser.to_dict() == {'name': 'unet', 'kw': {'width': 32}}
  assert config.conditional is True and config.networks.decoder.to_dict() == {'name': '', 'kw': {}}
  assert digits.get_config('conditional=False').conditional is False
  assert digits.get_config().conditional is False
  assert digits.get_config('family=diffusion,objective=kl').networks.denoiser.kw.patch == 4


def test_the_roles_of_the_grammar_are_those_of_the_networks():
  assert tuple(nn.ROLES) == defaults.ROLES
  assert set(defaults.ROLES) == set(defaults.get().networks)


def test_a_fit_is_one_step_unless_gradients_are_asked_for():
  assert digits.get_config('family=mixture').steps == 1
  assert digits.get_config('family=mixture,estimator=exact').steps > 1
  assert toy2d.get_config('family=gaussian,objective=reverse_kl').steps > 1


@pytest.mark.parametrize('argument, words', [
    ('famly=vae', ("'famly'", "'family'")),
    ('vae', ("'vae'", 'NAME=VALUE', 'family')),
    ('family=', ("'family='", 'NAME=VALUE')),
    ('family=vae,family=vae', ("'family'", 'twice')),
    ('modle.width=3', ("'modle.width'", 'model.KEY')),
    ('conditional=yes', ('conditional', "'yes'", 'True')),
    ('denoser=unet', ("'denoser'", "'denoiser'")),
    ('denoiser.width=(1,2', ('brackets', '(1,2')),
    ('denoiser.width=1 2', ('denoiser.width', '1 2')),
    ('estimator=a,objective.estimator=b', ('estimator', 'twice')),
])
def test_bad_arguments(argument, words):
  with pytest.raises(ValueError) as refusal:
    digits.get_config(argument)
  for word in words:
    assert word in str(refusal.value)


@pytest.mark.parametrize('text, words', [
    ('digits.py:family=va', ("unknown model family 'va'", "did you mean 'vae'", 'autoregressive')),
    ('digits.py:objective=score_match', ("'score_match'", "did you mean 'score_matching'")),
    ('toy2d.py:data=rings8', ("'rings8'", "did you mean 'ring8'")),
    ('imagenet64.py:objective=klm', ("unknown objective 'klm'", "did you mean 'kl'")),
])
def test_names_that_nothing_has_are_refused_by_who_looks_them_up(text, words):
  config = configs.load(f'configs/{text}')
  known = (data.declared('latents', shape=(32, 32, 4), num_classes=1000)
           if 'imagenet' in text else None)
  with pytest.raises(BadInput) as refusal:
    wiring.run(config, known)
  for word in words:
    assert word in str(refusal.value)


def test_more_bad_arguments():
  with pytest.raises(ValueError, match='path=DIR'):
    folder.get_config('family=vae')
  with pytest.raises(ValueError, match="unknown name 'data'"):
    digits.get_config('data=mnist')
  with pytest.raises(ValueError, match="size=B is of denoiser=dit"):
    cifar10.get_config('size=B')
  for module in (cifar10, imagenet64):
    with pytest.raises(ValueError, match="unknown name 'network'"):
      module.get_config('network=unt')
  with pytest.raises(ValueError, match="unknown name 'family'"):
    imagenet256.get_config('family=vae')
  with pytest.raises(KeyError, match='lrr'):
    common.build({**toy2d.DEFAULT, 'kw': {}}, {'optim.lrr': 1.0})


def test_overrides_are_typed_as_flags_are():
  config = configs.load('configs/digits.py')
  configs.override(config, {'optim.lr': 1, 'optim_by_player.critic.lr': 1, 'steps': 20,
                            'model.kw.new': (1, 2)})
  assert type(config.optim.lr) is float and type(config.optim_by_player.critic.lr) is float
  assert config.model.kw.new == (1, 2)
  for key, value, words in (('step', 3, "'steps'"), ('steps', 'many', 'steps'),
                            ('optim.lr.x', 1, 'is a value')):
    with pytest.raises(BadInput, match=words):
      configs.override(config, {key: value})


TABLES = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob('configs/tables/[a-z]*.py'))


def sweep(table, size):
  """[(label, config, overrides)] of a table's rows."""
  rows = []

  def add(label, config, overrides=None, published=None, note='', curve=''):
    assert all({'value', 'source', 'protocol'} <= set(printed)
               for printed in (published or {}).values())
    rows.append((label, config, overrides or {}))

  table.sweep(add, size, *(['path=photos,encoder=photos.npz'] if table.__name__.endswith(
      'own_data') else []))
  return rows


@pytest.mark.parametrize('path', [path for path in TABLES if not re.search('toy2d|own_data', path)])
def test_the_rows_on_digits_build(path):
  """Every training and sampler of the smallest size is legal; a run to start from is not there."""
  table, seen = configs.module(path, 'sweep'), set()
  for _, argument, overrides in sweep(table, next(iter(table.sizes))):
    config = configs.load(argument)
    configs.override(config, overrides)
    made = (config.objective.name, config.sampler.name, argument)
    if made not in seen:
      # this machine need not have prepared the data
      wiring.run(config, None if config.data.name in data.BUNDLED else data.declared(
          config.data.name))
    seen.add(made)


@pytest.mark.parametrize('path', TABLES)
def test_every_table_lists(path):
  table = configs.module(path, 'sweep')
  for size in table.sizes:
    rows = sweep(table, size)
    assert len({row[0] for row in rows}) == len(rows) >= 3
    for _, argument, overrides in rows:
      config = configs.load(argument)
      configs.override(config, overrides)
      assert config.steps % config.steps_per_dispatch == 0
  labels = [column['label'] for column in table.metrics()]
  assert len(set(labels)) == len(labels) and table.note().strip()


@pytest.mark.parametrize('argument, families', [
    ('path=PHOTOS,encoder=mine.npz', 3),
    ('path=PHOTOS,encoder=mine.npz,steps=20,data.validation=0.2', 3),
    ('path=PHOTOS', "encoder=FILE.npz must be given"),
    ('', "path=DIR and encoder=FILE.npz"),
    ('path=PHOTOS,encoder=mine.npz,steps=25', 'steps=25; allowed: multiples of 10'),
    ('path=PHOTOS,encoder=mine.npz,familiy=vae', "unknown name 'familiy'")])
def test_the_table_of_ones_own_data(argument, families, tmp_path):
  """Its rows are legal trainings on a folder of images; what is missing or unknown is named."""
  journey.write_images(tmp_path / 'photos', {'train': 34, 'test': 4})
  text = f'configs/tables/own_data.py:{argument.replace("PHOTOS", str(tmp_path / "photos"))}'
  if families != 3:
    with pytest.raises(BadInput, match=families):
      table_program.read(text, 'tiny')
    return
  read = table_program.read(text, 'tiny')
  assert len({cell.workdir for cell in read.cells}) == families
  assert read.out != table_program.read(f'{text},data.seed=1', 'tiny').out
  assert all(len(part) < 100 for part in pathlib.PurePath(read.out).parts)
  for row in read.rows:
    config = configs.load(row.config)
    configs.override(config, row.overrides)
    assert config.steps == 20 or 'steps' not in argument
    assert wiring.run(config).dataset.spec.shape == (32, 32, 3)


def test_a_table_without_an_argument_refuses_one():
  with pytest.raises(BadInput, match="'a=1' follows the colon"):
    table_program.read('configs/tables/divergences_toy2d.py:a=1', 'tiny')


ABLATIONS = ('diffusion_objectives', 'diffusion_edm')
ABLATED = ('prediction', 'schedule', 'variance')


@pytest.mark.parametrize('name', ABLATIONS)
def test_rows_of_an_ablation_differ_in_what_is_ablated_alone(name):
  """Network, batch, updates, optimiser and average are those of every other row."""
  table = configs.module(f'configs/tables/{name}.py', 'sweep')
  for size in table.sizes:
    recipes = []
    for _, argument, overrides in sweep(table, size):
      config = configs.load(argument)
      configs.override(config, overrides)
      network = {**config.networks.to_dict(),
                 **{k: v for k, v in config.model.kw.items() if k not in ABLATED}}
      recipes.append((config.steps, config.batch_size, config.ema, dict(config.optim), network))
    assert all(recipe == recipes[0] for recipe in recipes), size


def test_configs_import_neither_jax_nor_the_library():
  files = ', '.join(f'configs.{name}' for name in (*CONFIGS, *ON_PODS))
  code = (f'import sys, {files}, configs.tables.divergences_digits\n'
          'configs.digits.get_config(); configs.imagenet256.get_config()\n'
          'configs.tables.divergences_digits.metrics()\n'
          'print([m for m in ("jax", "flax", "genjax", "tensorflow", "numpy.linalg.lapack_lite")'
          ' if m in sys.modules])')
  done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                        check=True)
  assert done.stdout.strip() in ('[]', "['numpy.linalg.lapack_lite']")
