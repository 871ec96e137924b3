"""Devices that are not there and memory that is short: one line, no traceback."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import faults
from tests import programs
from tests.programs import refused

DRY = ('--config=configs/toy2d.py:family=gaussian,objective=kl', '--dry')


@pytest.mark.parametrize('platform, words', (
    ('foo', ("'foo'", 'cpu')), ('cuda', ('no device to compute on',))))
def test_a_platform_that_is_not_there(platform, words):
  done = programs.run_in_full('experiments.train', *DRY, env={'JAX_PLATFORMS': platform})
  message = refused(done, f'JAX_PLATFORMS={platform}', 'allowed: JAX_PLATFORMS=cpu', *words)
  assert len(message.splitlines()) == 1


def test_a_plugin_that_fails_is_a_line_and_the_processor_goes_on(tmp_path):
  folder = tmp_path / 'jax_plugins' / 'broken'
  folder.mkdir(parents=True)
  (folder / '__init__.py').write_text("def initialize():\n  raise OSError('driver too old')\n")
  done = programs.run_in_full('experiments.train', *DRY, env={'PYTHONPATH': str(tmp_path)})
  assert done.code == 0 and 'fitted in closed form' in done.stdout
  [line] = done.stderr.splitlines()
  assert line.startswith('warning: ') and "OSError('driver too old')" in line


@pytest.mark.parametrize('allocate', (lambda: jnp.zeros(10**14), lambda: np.zeros(10**14)))
def test_memory_that_runs_out_is_a_line_with_what_would_lessen_it(allocate):
  with pytest.raises((RuntimeError, MemoryError)) as short:
    allocate()
  message = faults.said(short.value)
  assert message.startswith('out of memory: ') and len(message.splitlines()) == 1
  for word in ('batch_size', 'accumulate', 'networks.ROLE.kw.remat=True', 'chunk'):
    assert word in message


def test_what_is_no_fault_of_the_machine_keeps_its_traceback():
  for error in (RuntimeError('a defect'), AssertionError(), jax.errors.JaxRuntimeError('INTERNAL')):
    assert faults.said(error) is None


def test_other_log_records_are_as_they_were():
  record = logging.LogRecord('jax', logging.ERROR, '/jax/other.py', 1, 'a %s', ('word',), None)
  assert faults.bare(record) and record.getMessage() == 'a word'


def test_a_dry_run_says_its_line_first_and_one_kind_of_flops():
  """A Langevin chain is a loop, whose body XLA counts once: fewer in all than in products."""
  done = programs.run('experiments.train', '--dry', '--config=configs/toy2d.py:family=ebm,'
                      'objective=kl,energy.features=(8,)')
  assert done.code == 0, done.stderr
  lines = done.stdout.splitlines()
  assert lines[0].startswith('ebm by kl') and 'steps 0 to 4000' in lines[0]
  assert lines[-1].count('FLOPs') == 1 and 'FLOPs in products' in lines[-1]
