"""Shared by all tests; also makes `tests` importable: pytest puts the folder above on the path."""

import jax
import pytest


@pytest.fixture(scope='module', autouse=True)
def forget_compiled_programs():
  """Compiled programs of a finished file are of no use to the next, and fill gigabytes."""
  yield
  jax.clear_caches()
