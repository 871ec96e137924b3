"""The README says nothing that the code does not do."""

import os
import pathlib
import re
import shlex

import jax
import pytest

from experiments import matrix
from genjax import wiring
from genjax.train import init
from tests import journey, programs, recipes

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
MAKEFILE = (ROOT / 'Makefile').read_text()
COMMANDS = sorted({shlex.join(words) for text in re.findall(r'python -m [^`\n]+', README.replace(
    '\\\n', ' ')) for words in recipes.commands(text)})
SHELL = [words for language, text in recipes.blocks(README) if language == 'sh'
         for words in recipes.commands(text)]
PYTHON = [text for language, text in recipes.blocks(README) if language == 'python']
# what the project's owner asked for by name, beside the test tools
REQUIRED = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets',
            'ml-collections', 'absl-py', 'ott-jax', 'einops', 'chex', 'numpy', 'scipy',
            'scikit-learn', 'tensorboardx', 'tqdm', 'matplotlib', 'pillow', 'pytest', 'ruff')


def block(name):
  return re.search(rf'<!-- {name} -->\n(.*?)\n?<!-- /{name} -->', README, re.DOTALL)[1]


def test_there_is_a_command_for_every_verb():
  used = {shlex.split(command)[2] for command in COMMANDS}
  verbs = {f'experiments.{p.stem}' for p in ROOT.glob('experiments/[a-z]*.py')
           if "__name__ == '__main__'" in p.read_text()}
  assert verbs <= used


# a file of the reader's own that README shows: tests/extension types the commands that name it
IN_README = 'energy_distance.py'


@pytest.mark.parametrize('command', [c for c in COMMANDS if IN_README not in c])
def test_every_command_parses(command):
  """Flags, their values, configs and what overrides them; also of commands within the text."""
  _, _, module, *arguments = shlex.split(command)
  done = programs.run(module, *arguments, parse_only=True)
  assert done.code == 0 and 'Traceback' not in done.stderr, done.stderr


OWN = 'path=photos'  # the reader's images: these commands run in the journey
OF_TABLES = [c for c in COMMANDS if ' experiments.table ' in c and '--table=' in c and OWN not in c]
ON_DIGITS = [c for c in COMMANDS if ' experiments.train ' in c and 'configs/digits.py' in c]


# the table of a toy is listed at once; the others ask for many builds of large networks
@pytest.mark.parametrize('command', [
    pytest.param(c, marks=[pytest.mark.slow] * ('divergences_toy2d' not in c)) for c in OF_TABLES])
def test_every_table_lists_its_cells(command):
  _, _, module, _, *arguments = shlex.split(command)
  done = programs.run(module, 'list', *arguments)
  assert done.code == 0 and 'python -m genjax train' in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('command', ON_DIGITS)
def test_every_training_says_what_a_step_costs(command):
  _, _, module, *arguments = shlex.split(command)
  done = programs.run(module, *arguments, *({'--dry'} - set(arguments)))
  assert done.code == 0 and 'FLOPs' in done.stdout, done.stderr


def test_every_block_is_of_a_language_that_is_run_here():
  assert {language for language, _ in recipes.blocks(README)} == {'sh', 'python'}


@pytest.mark.parametrize('words', SHELL, ids=' '.join)
def test_every_line_of_a_shell_block_can_be_typed(words):
  """Programs are among COMMANDS, which are parsed; the rest needs a file or a target."""
  match words:
    case ['python', '-m', module, *_]:
      assert any(shlex.split(command) == words for command in COMMANDS), module
    case ['make', target, *_]:
      assert re.search(rf'^{target}:', MAKEFILE, re.MULTILINE)
    case ['source', path]:
      assert path == f'{re.search("^VENV [?]= (.*)", MAKEFILE, re.MULTILINE)[1]}/bin/activate'
    case ['sbatch', *_]:
      assert any((ROOT / word).is_file() for word in words)
    case [path, *_]:
      assert os.access(ROOT / path, os.X_OK), f'{words}: not a command that is known here'


def test_the_environment_is_activated_before_the_first_program():
  first = [words[0] for words in SHELL]
  assert 'source' in first[:first.index('python')]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder as it is after the first recipe, which was given ten steps."""
  folder = tmp_path_factory.mktemp('reader')
  [train] = [words for words in SHELL if words[2:3] == ['experiments.train']][:1]
  at = next(word for word in train if word.startswith('--workdir='))
  workdir = at.removeprefix('--workdir=')
  done = programs.run(*(word for word in train[2:] if word != at), f'--workdir={folder / workdir}',
                      '--config.steps=10', '--config.log.every=10', '--config.select.every=0',
                      '--noevaluate')
  assert done.code == 0, done.stderr
  return folder


@pytest.mark.parametrize('block', PYTHON)
def test_python_runs_as_it_stands(block, place, monkeypatch):
  monkeypatch.chdir(place)
  exec(compile(block, 'README.md', 'exec'), {'__name__': 'recipe'})


def test_the_divergence_trains_as_it_stands(tmp_path):
  """Its file, without a word that the README does not have."""
  from tests.test_contract import config_of
  [block] = [block for block in PYTHON if 'ESTIMATORS' in block]
  (tmp_path / 'recipe.py').write_text(block)
  config = config_of('implicit', str(tmp_path / 'recipe.py'), 'continuous')
  run = wiring.run(config)
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))
  _, metrics = jax.jit(run.step)(state, run.source[0])
  assert metrics['model/loss'] > 0


def test_the_journey_is_the_one_that_is_run():
  assert block('journey') == f'```sh\n{journey.COMMANDS}\n```', 'python -m tests.journey'


@pytest.mark.slow
def test_the_journey_from_a_folder_to_a_table(tmp_path):
  """Every command of it ends well, in an order that a reader can follow, and leaves its files."""
  journey.write_images(tmp_path / journey.FOLDER, {'train': 40, 'test': 20})
  assert len(journey.run(tmp_path, steps=20)) == 5
  [table] = tmp_path.glob('runs/tables/own_data-*/tiny/table.md')
  for family in ('VAE', 'GAN', 'diffusion'):
    assert re.search(rf'^\| {family} \|(.*\d.*)', table.read_text(), re.MULTILINE)
  assert len(list((tmp_path / 'drawn').glob('*.png'))) == 100


@pytest.mark.parametrize('text', sorted(set(re.findall(r'--config=(\S+?)(?=[\s`])', README))))
def test_every_config_loads_with_the_overrides_beside_it(text, tmp_path, monkeypatch):
  from genjax import configs
  if IN_README in text:
    monkeypatch.chdir(tmp_path)
    (tmp_path / IN_README).touch()
  line = next(line for line in README.splitlines() if text in line)
  config = configs.load(text)
  for key in re.findall(r'--config\.([\w.]+)=', line):
    assert configs.check_key(config, key), key


@pytest.mark.parametrize('path', sorted(set(re.findall(r'[\w/]+/\w+\.(?:py|md|txt)', README))))
def test_every_file_is_there(path):
  assert (ROOT / path).is_file()


@pytest.mark.parametrize('target', sorted(set(re.findall(r'\bmake (\w+)(?=[ `\n])', README))))
def test_every_make_target_is_there(target):
  assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.MULTILINE)


def test_the_matrix_is_that_of_the_code():
  assert block('matrix') == matrix.markdown(), 'python -m experiments.matrix --markdown'


def test_requirements_are_exact_and_whole():
  """One version of each package for every Python; accelerators follow jax's."""
  pins = requirements('requirements.txt')
  assert set(REQUIRED) <= set(pins), set(REQUIRED) - set(pins)
  assert not set(pins) & {'tensorflow', 'torch', 'torchvision'}
  gpu, tpu = requirements('requirements-gpu.txt'), requirements('requirements-tpu.txt')
  for python in PYTHONS:
    assert all(len(valid(lines, python)) == 1 for lines in pins.values()), pins
    [jax_version] = valid(pins['jax'], python)
    assert valid(pins['jaxlib'], python) == [jax_version]
    assert valid(gpu['jax[cuda12]'], python) == valid(tpu['jax[tpu]'], python) == [jax_version]
    assert len(valid(tpu['libtpu'], python)) == 1


PYTHONS = ('3.11.7', '3.12.1', '3.13.0')
PIN = (r"([a-z0-9_.-]+(?:\[\w+\])?)==([\w.]+)"
       r"(?: ; (python_full_version|sys_platform) (\S+) '([\w.]+)')?")


def requirements(name):
  """{package: [(version, marker's variable, operator, value)]}; each line is an exact pin."""
  pins = {}
  for line in (ROOT / name).read_text().splitlines():
    if line and not line.startswith(('#', '-r ')):
      pin = re.fullmatch(PIN, line)
      assert pin, line
      pins.setdefault(pin[1], []).append(pin.groups()[1:])
  return pins


def valid(lines, python):
  """The versions that a Python installs, on some platform."""
  number = lambda text: tuple(map(int, text.split('.')))
  holds = {'<': lambda a, b: a < b, '>=': lambda a, b: a >= b}
  return [version for version, variable, operator, value in lines
          if variable != 'python_full_version' or holds[operator](number(python), number(value))]
