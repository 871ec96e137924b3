"""Published weights: found, checked, converted once; nothing half-written stays."""

import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from genjax.encoders import torch_file, weights
from genjax.types import BadInput
from tests import torch_files
from tests.programs import ROOT

STATE = {'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3), 'a.n': np.array(7)}


@pytest.fixture
def published(tmp_path, monkeypatch):
  """The file of a network 'tiny', at the place of its url; the cache and all else empty."""
  path = tmp_path / 'server' / 'tiny.pth'
  path.parent.mkdir()
  torch_files.save(path, STATE)
  source = weights.Source(path.as_uri(), ('tiny.pth', 'small.pth'), path.stat().st_size,
                          hashlib.sha256(path.read_bytes()).hexdigest(), 'a test')
  monkeypatch.setattr(weights, 'WEIGHTS', {'tiny': source})
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path / 'cache'))
  monkeypatch.delenv('GENJAX_WEIGHTS', raising=False)
  return path


def is_state(loaded):
  arrays, card = loaded
  assert arrays.keys() == STATE.keys()
  assert all(arrays[name].dtype == STATE[name].dtype and (arrays[name] == STATE[name]).all()
             for name in STATE)
  assert card == {'sha256': weights.WEIGHTS['tiny'].sha256, 'file': 'tiny.pth', 'source': 'a test'}
  return True


def cached():
  folder = weights.place('tiny').parent
  return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_table_is_what_is_published():
  assert weights.WEIGHTS.keys() == {'inception', 'dinov2_l', 'dinov2_b'}
  for source in weights.WEIGHTS.values():
    assert source.url.endswith('/' + source.files[0]) and source.url.startswith('https://')
    assert len(bytes.fromhex(source.sha256)) == 32
  assert '-6726825d' in weights.WEIGHTS['inception'].url  # torch.hub: the hash's first digits
  assert weights.WEIGHTS['inception'].sha256.startswith('6726825d')


def test_downloaded_once(published):
  seen = []
  assert is_state(weights.load('tiny', progress=lambda *numbers: seen.append(numbers)))
  assert seen == [(published.stat().st_size,) * 2]
  assert cached() == [weights.place('tiny').name]
  published.unlink()
  assert is_state(weights.load('tiny'))
  with np.load(weights.place('tiny'), allow_pickle=False) as arrays:
    assert weights.WEIGHTS['tiny'].sha256 in str(arrays['card'])


def test_a_damaged_archive_of_the_cache_is_made_again(published):
  weights.load('tiny')
  whole, made = weights.place('tiny').read_bytes(), 0
  bits = np.random.default_rng(0).integers(8 * len(whole), size=80)
  for bit in bits:
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    weights.place('tiny').write_bytes(damaged)
    assert is_state(weights.load('tiny'))
    made += weights.place('tiny').read_bytes() != damaged
  assert made > 0.3 * len(bits)  # not where zip has fields that nobody reads
  # one array for another, as no check of the archive itself would see
  with np.load(weights.place('tiny')) as arrays:
    np.savez(weights.place('tiny'), **{**arrays, 'a.n': np.array(8)})
  assert is_state(weights.load('tiny'))


@pytest.mark.parametrize('given', ['path', 'file', 'folder', 'other name'])
def test_from_a_file_of_the_user(published, tmp_path, monkeypatch, given):
  mine = tmp_path / 'mine' / ('small.pth' if given == 'other name' else 'tiny.pth')
  mine.parent.mkdir()
  published.rename(mine)
  before = mine.read_bytes()
  if given == 'path':
    assert is_state(weights.load('tiny', mine, download=False))
  else:
    monkeypatch.setenv('GENJAX_WEIGHTS', str(mine if given == 'file' else mine.parent))
    assert is_state(weights.load('tiny', download=False))
  assert mine.read_bytes() == before and cached() == [weights.place('tiny').name]
  mine.unlink()
  monkeypatch.delenv('GENJAX_WEIGHTS', raising=False)
  assert is_state(weights.load('tiny'))


def test_a_file_with_another_hash_is_refused(published, tmp_path, monkeypatch):
  other = torch_files.save(tmp_path / 'tiny.pth', {'a': np.zeros(3)})
  sha256 = weights.WEIGHTS['tiny'].sha256
  with pytest.raises(BadInput, match=f'damaged or another file.*its sha256 is .*{sha256}'):
    weights.load('tiny', other)
  for place in (other, tmp_path):
    monkeypatch.setenv('GENJAX_WEIGHTS', str(place))
    with pytest.raises(BadInput, match=f'another file.*{sha256}'):
      weights.load('tiny')
  monkeypatch.setenv('GENJAX_WEIGHTS', str(tmp_path / 'nowhere'))
  with pytest.raises(BadInput, match='GENJAX_WEIGHTS=.*nowhere is not there; allowed: a folder'):
    weights.load('tiny')
  assert cached() == []
  monkeypatch.delenv('GENJAX_WEIGHTS')
  weights.load('tiny')
  with pytest.raises(BadInput, match='another file'):  # also where the right ones lie in the cache
    weights.load('tiny', other)
  with pytest.raises(BadInput, match='missing.pth: cannot be read .No such file'):
    weights.load('tiny', tmp_path / 'missing.pth')
  with pytest.raises(BadInput, match="weights 'tny' are unknown; allowed: tiny"):
    weights.load('tny')


@pytest.mark.parametrize('damage, said', [
    ('missing', 'No such file'), ('flip', 'its sha256 is'), ('cut', r'sent [\d,]+ bytes'),
    ('long', 'sent more bytes')])
def test_what_was_not_downloaded_whole_leaves_nothing(published, tmp_path, damage, said):
  content = bytearray(published.read_bytes())
  content[len(content) // 2] ^= 1
  if damage == 'missing':
    published.unlink()
  else:
    published.write_bytes({'flip': bytes(content), 'cut': content[:-9],
                           'long': bytes(content) + b'x'}[damage])
  with pytest.raises(BadInput, match=f'download .*{said}') as caught:
    weights.load('tiny')
  message, source = str(caught.value), weights.WEIGHTS['tiny']
  for part in (source.sha256, source.url, 'tiny.pth', 'GENJAX_WEIGHTS (not set)', '--file=PATH',
               str(weights.place('tiny'))):
    assert part in message
  assert '\n' not in message and cached() == []
  with pytest.raises(BadInput, match='not asked for'):
    weights.load('tiny', download=False)


def test_an_interrupted_download_leaves_nothing(published):
  def interrupt(done, total):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    weights.load('tiny', progress=interrupt)
  assert cached() == []


def test_http_errors_are_one_message(published, monkeypatch, tmp_path):
  class Server(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
      if self.path == '/broken':
        self.send_response(200)
        self.send_header('Content-Length', '1000')
        self.end_headers()
        self.wfile.write(b'x' * 10)
      else:
        super().do_GET()

    def log_message(self, *_):
      pass

  server = http.server.ThreadingHTTPServer(
      ('127.0.0.1', 0), functools.partial(Server, directory=published.parent))
  threading.Thread(target=server.serve_forever, daemon=True).start()
  tiny, root = weights.WEIGHTS['tiny'], f'http://127.0.0.1:{server.server_port}'
  try:
    for path, said in (('/none', '404'), ('/broken', 'sent|IncompleteRead')):
      monkeypatch.setattr(weights, 'WEIGHTS', {'tiny': tiny._replace(url=root + path)})
      with pytest.raises(BadInput, match=said):
        weights.load('tiny')
    monkeypatch.setattr(weights, 'WEIGHTS', {'tiny': tiny._replace(url=root + '/tiny.pth')})
    assert is_state(weights.load('tiny'))
  finally:
    server.shutdown()
    server.server_close()
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path / 'cache2'))
  with pytest.raises(BadInput, match='refused'):
    weights.load('tiny')


@pytest.mark.parametrize('damage', ['flip', 'cut', 'empty', 'other source', 'no card'])
def test_a_damaged_conversion_is_made_again(published, damage):
  weights.load('tiny')
  place = weights.place('tiny')
  whole = bytearray(place.read_bytes())
  if damage == 'other source':
    np.savez(place, card='{"sha256": "00"}', **{'a.weight': np.zeros(3)})
  elif damage == 'no card':
    np.savez(place, a=np.zeros(3))
  else:
    flipped = bytearray(whole)
    flipped[whole.index(STATE['a.weight'].tobytes()) + 5] ^= 1
    place.write_bytes({'flip': bytes(flipped), 'cut': whole[:-30], 'empty': b''}[damage])
  assert is_state(weights.load('tiny'))
  assert place.read_bytes()[:4] == b'PK\x03\x04' and cached() == [place.name]


def test_a_failed_conversion_leaves_nothing_and_costs_only_time(published, monkeypatch):
  def full(_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(weights.os, 'fsync', full)
  assert is_state(weights.load('tiny', published))
  assert cached() == []


def test_where_nothing_can_be_written(published, tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  monkeypatch.setenv('GENJAX_CACHE', str(tmp_path / 'file'))
  assert is_state(weights.load('tiny', published))
  with pytest.raises(BadInput, match='Not a directory|File exists'):
    weights.load('tiny')


PROGRAM = """
import sys, experiments
from genjax.encoders import weights
weights.WEIGHTS['dinov2_b'] = weights.WEIGHTS['dinov2_b']._replace(sha256=sys.argv.pop(1))
from experiments import weights as program
experiments.run(program.main)
"""


def test_the_program(published, tmp_path):
  env = {**os.environ, 'GENJAX_CACHE': str(tmp_path / 'cache'), 'JAX_PLATFORMS': 'cpu'}
  done = subprocess.run([sys.executable, '-c', PROGRAM, weights.WEIGHTS['tiny'].sha256,
                         '--encoder=dinov2_b', f'--file={published}'],
                        cwd=ROOT, env=env, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  [npz] = (tmp_path / 'cache' / 'weights').iterdir()
  for part in (str(npz), weights.WEIGHTS['tiny'].sha256):
    assert part in done.stdout


@pytest.mark.slow
def test_the_published_inception_file():
  """Skips, and says which file with which sha256 it wants, where there is none."""
  try:
    arrays, _ = weights.load('inception', download=False)
  except BadInput as error:
    pytest.skip(str(error))
  torch_file.require({'fc.weight': arrays['fc.weight']}, {'fc.weight': (1008, 2048)}, 'Inception')
