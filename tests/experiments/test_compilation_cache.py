"""Compiled programs outlive a process, where they may, and never at the price of a message."""

import os
import subprocess
import sys

import pytest

from tests import programs

CODE = """
import jax, experiments
experiments.quiet()
experiments.keep_compiled()
print(jax.jit(lambda x: x + 1)(1.0))
"""


def run(expected='', **env):
  kept = {k: v for k, v in os.environ.items() if not k.startswith(('JAX_', 'GENJAX_'))}
  done = subprocess.run([sys.executable, '-c', CODE], cwd=programs.ROOT, env={**kept, **env},
                        capture_output=True, text=True)
  assert done.returncode == 0 and done.stdout == '2.0\n'
  assert done.stderr.count('\n') == bool(expected) and expected in done.stderr


def test_programs_are_kept_and_read_again(tmp_path):
  run(GENJAX_CACHE=f'{tmp_path}/new')
  entries = {p.name: p.stat().st_mtime_ns for p in (tmp_path / 'new' / 'xla').iterdir()}
  assert any(name.endswith('-cache') for name in entries)
  run(GENJAX_CACHE=f'{tmp_path}/new')
  assert entries == {p.name: p.stat().st_mtime_ns for p in (tmp_path / 'new' / 'xla').iterdir()}


@pytest.mark.slow
def test_an_entry_torn_by_a_kill_is_compiled_again(tmp_path):
  run(GENJAX_CACHE=str(tmp_path))
  for path in (tmp_path / 'xla').iterdir():
    path.write_bytes(path.read_bytes()[:20])
  run(GENJAX_CACHE=str(tmp_path))


def test_a_directory_that_cannot_be_written_is_passed_over(tmp_path):
  (tmp_path / 'file').write_text('')
  run(GENJAX_CACHE=f'{tmp_path}/file')


def test_the_setting_of_jax_wins(tmp_path):
  run(JAX_COMPILATION_CACHE_DIR=f'{tmp_path}/a', GENJAX_CACHE=f'{tmp_path}/b')
  assert not (tmp_path / 'b').exists()


def test_what_other_users_could_have_left_is_not_run(tmp_path):
  """The cache itself, or the folder in it; one line names it and the remedy."""
  for folder in ('', 'xla'):
    cache = tmp_path / f'of_others{folder}'
    (cache / 'xla').mkdir(parents=True, mode=0o755)
    (cache / folder).chmod(0o777)
    run(f'chmod go-w {cache / folder}', GENJAX_CACHE=str(cache))
    assert list((cache / 'xla').iterdir()) == []
    (cache / folder).chmod(0o755)
  run(GENJAX_CACHE=str(cache))
  assert list((cache / 'xla').iterdir())
