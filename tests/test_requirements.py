"""The locks hold one exact version of every package for each Python that they name."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
# what the project's owner asked for by name, with the test tools
REQUIRED = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'grain', 'tensorflow-datasets',
            'ml-collections', 'absl-py', 'ott-jax', 'einops', 'chex', 'numpy', 'scipy',
            'scikit-learn', 'tensorboardx', 'tqdm', 'matplotlib', 'pillow', 'pytest', 'ruff')


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
