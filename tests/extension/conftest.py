"""A directory of a user's own, with one file of each kind of part."""

import pathlib
import shutil

import pytest

from tests import recipes

ROOT = pathlib.Path(__file__).parents[2]
PARTS = pathlib.Path(__file__).parent / 'parts'


@pytest.fixture
def mine(tmp_path, monkeypatch):
  """The working directory, with mine/*.py: the parts, and the divergence that README shows."""
  write_parts(tmp_path / 'mine')
  monkeypatch.chdir(tmp_path)
  return tmp_path / 'mine'


def write_parts(folder: pathlib.Path) -> None:
  shutil.copytree(PARTS, folder, ignore=shutil.ignore_patterns('__pycache__'))
  [divergence] = [text for language, text in recipes.blocks((ROOT / 'README.md').read_text())
                  if language == 'python' and 'ESTIMATORS' in text]
  (folder / 'energy_distance.py').write_text(divergence)
