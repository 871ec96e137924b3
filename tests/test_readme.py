"""The README says nothing that the code does not do."""

import importlib.util
import pathlib
import re
import shlex

import pytest

from experiments import matrix
from tests import programs

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / 'README.md').read_text()
COMMANDS = sorted({line.split('  #')[0].strip(' `')
                   for line in re.findall(r'python -m [^`\n]+', README)})
# what the project's owner asked for by name, beside the test tools
REQUIRED = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets',
            'ml-collections', 'absl-py', 'ott-jax', 'einops', 'chex', 'numpy', 'scipy',
            'scikit-learn', 'tensorboardx', 'tqdm', 'matplotlib', 'pillow', 'pytest', 'ruff')


def block(name):
  return re.search(rf'<!-- {name} -->\n(.*?)\n?<!-- /{name} -->', README, re.DOTALL)[1]


def test_there_is_a_command_for_every_verb():
  used = {shlex.split(command)[2] for command in COMMANDS}
  verbs = {f'experiments.{p.stem}' for p in ROOT.glob('experiments/[a-z]*.py')} - {
      'experiments.config', 'experiments.memory', 'experiments.pod'}
  assert verbs <= used


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_parses(command):
  _, _, module, *arguments = shlex.split(command)
  if importlib.util.find_spec(module) is None:
    pytest.fail(f'{module} does not exist')
  done = programs.run(module, *arguments, '--help')
  assert done.code == 0 and 'Traceback' not in done.stderr, done.stderr
  known = set(re.findall(r'--(?:\[no\])?([\w.]+)', done.stdout))
  for argument in arguments:
    flag = re.match(r'--([\w]+)', argument)
    assert not flag or flag[1] in known, f'{argument}; there are: {sorted(known)}'


@pytest.mark.parametrize('text', sorted(set(re.findall(r'--config=(\S+?)(?=[\s`])', README))))
def test_every_config_loads_with_the_overrides_beside_it(text):
  from experiments import config as configs
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
  text = (ROOT / 'requirements.txt').read_text()
  lines = [line for line in text.splitlines() if line and not line.startswith('#')]
  pins = [re.fullmatch(r"([a-z0-9_.-]+)==([\w.]+)( ; [\w ><=!'.]+)?", line) for line in lines]
  assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
  names = {pin[1] for pin in pins}
  assert set(REQUIRED) <= names, set(REQUIRED) - names
  assert not names & {'tensorflow', 'torch', 'torchvision'}
  assert re.search(rf'^jax\[tpu\]=={re.escape(version(pins, "jax"))}$',
                   (ROOT / 'requirements-tpu.txt').read_text(), re.MULTILINE)
  assert f'jax[cuda12]=={version(pins, "jax")}' in (ROOT / 'requirements-gpu.txt').read_text()


def version(pins, name):
  return next(pin[2] for pin in pins if pin[1] == name)
