"""Shared by all tests; also makes `tests` importable: pytest puts the folder above on the path."""

import signal

import jax
import pytest


def pytest_configure(config):
  """Tests that a shell started in the background ignore Ctrl-C, and so would what they start."""
  if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='module', autouse=True)
def forget_compiled_programs():
  """Compiled programs of a finished file are of no use to the next, and fill gigabytes."""
  yield
  jax.clear_caches()
