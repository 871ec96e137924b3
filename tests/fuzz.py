"""Mutated files and config arguments: each ends in data or in BadInput, in time and in memory.

python -m tests.fuzz --seed=0 [--num=500] [--seconds=60]

Each case is read in a worker process that is killed after LIMIT seconds. Printed are the cases by
kind and how they ended; exit code 1 after any traceback, hang, or memory beyond MEMORY.
"""

import argparse
import collections
import gzip
import io
import multiprocessing
import os
import pathlib
import random
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib

import numpy as np
from PIL import Image

from experiments import config as command_line
from genjax import configs, data
from genjax.data import intake
from genjax.runs import edit_task
from genjax.types import BadInput, DataSpec

LIMIT = 10.0  # seconds that one case may take
MEMORY = 1 << 30  # bytes beyond those of a worker at its start
TOKENS = (b'\x00', b'\xff' * 4, b'\x7f\xff\xff\xff', b'(', b'9' * 12, b'{' * 50, b"'", b'\x93NUMPY',
          b'PK\x03\x04', b'IHDR', b'<f8', b'|O', b'-1', b'True', b'\x80\x00\x00\x00')
ARGUMENTS = (
    'configs/folder.py:path=/nowhere,family=vae,objective=kl',
    'configs/folder.py:path="/nowhere/a,b.npz",family=flow,data.standardise=True,data.levels=17',
    'configs/toy2d.py:data=ring8,family=flow,objective=adversarial,divergence=js',
    'configs/digits.py:family=diffusion,objective=score_matching,denoiser.width=64,'
    'model.features=(128,128)',
)
FLAGS = ('--config.optim.lr=0.1', '--config.networks.denoiser.kw.width=64',
         '--config.evals.names=fd,kid',
         '--config.sampler.kw={"num_steps": 4}', '--config.data.kw.new.key=(1, 2)')
WORDS = ('=', ',', ':', '(', ')', '[', '{', '"', "'", '..', 'None', '1e999', '9' * 5000, '-' * 300,
         '[' * 400, 'path', 'data.', '\0', 'é', '~', '{"a": ' * 200, '__import__("os")')


def seeds(root: pathlib.Path) -> dict[str, list[bytes]]:
  """Whole files of each kind, from which the mutants are made."""
  rng = np.random.RandomState(0)
  pixels = rng.randint(0, 256, (12, 5, 6, 3)).astype(np.uint8)

  def npz(save=np.savez, **arrays):
    content = io.BytesIO()
    save(content, **arrays)
    return content.getvalue()

  def image(kind, mode='RGB', **kw):
    content = io.BytesIO()
    Image.fromarray(pixels[0]).convert(mode).save(content, kind, **kw)
    return content.getvalue()

  def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>i4').tobytes() + array.tobytes()

  lzma = io.BytesIO()
  with zipfile.ZipFile(lzma, 'w', zipfile.ZIP_LZMA) as file:
    content = io.BytesIO()
    np.save(content, pixels)
    file.writestr('x.npy', content.getvalue())
  exif = Image.Exif()
  exif[0x0112] = 6
  return {
      'npz': [npz(x=pixels, cond=np.arange(12) % 3), npz(np.savez_compressed, images=pixels),
              npz(x=rng.standard_normal((12, 4)), classes=np.array(['a', 'b'])), lzma.getvalue()],
      'edit': [npz(A=rng.standard_normal((1, 2)), y=np.ones(1))],
      'idx': [idx(pixels[..., 0]), gzip.compress(idx(pixels[..., 0]))],
      'png': [image('PNG', exif=exif), image('PNG', 'P', transparency=3), image('PNG', 'LA'),
              image('GIF', 'P'), image('TIFF'), image('BMP'), image('WEBP'), image('JPEG'),
              image('PPM')],
  }


def mutated(content: bytes, rng: random.Random) -> bytes:
  """The content with one to five flips, cuts, insertions, repeats or large numbers."""
  content = bytearray(content)
  for _ in range(rng.choice((1, 1, 1, 2, 5))):
    at = rng.randrange(len(content) + 1)
    how = rng.randrange(6)
    if how == 0 and at < len(content):
      content[at] ^= 1 << rng.randrange(8)
    elif how == 1:
      del content[at:at + rng.choice((1, 4, 64, len(content)))]
    elif how == 2:
      content[at:at] = rng.choice(TOKENS)
    elif how == 3:
      content[at:at + 4] = rng.choice(TOKENS)
    elif how == 4:
      content[at:at] = content[at:at + 200]
    else:
      content[at:at + 8] = rng.randbytes(8)
  return bytes(content)


def mutated_inside(content: bytes, rng: random.Random) -> bytes:
  """A mutant whose checksums are right: of members of a zip, or of chunks of a PNG."""
  if content[:2] == b'PK':
    out = io.BytesIO()
    with (warnings.catch_warnings(action='ignore'),  # of two members of one name
          zipfile.ZipFile(io.BytesIO(content)) as old,
          zipfile.ZipFile(out, 'w', rng.choice((0, 8, 12, 14))) as new):
      for name in old.namelist():
        new.writestr(rng.choice((name, name, name, 'y.npy')), mutated(old.read(name), rng))
    return out.getvalue()
  if content[:4] == b'\x89PNG':
    out, at = bytearray(content[:8]), 8
    while at < len(content):
      length = struct.unpack('>I', content[at:at + 4])[0]
      chunk = content[at + 4:at + 8 + length]
      if rng.randrange(3) == 0:
        chunk = chunk[:4] + mutated(chunk[4:], rng)
      out += struct.pack('>I', len(chunk) - 4) + chunk + struct.pack('>I', zlib.crc32(chunk))
      at += 12 + length
    return bytes(out)
  return mutated(content, rng)


def mutated_text(text: str, rng: random.Random) -> str:
  """The argument of a config with some of its pieces lost, doubled or put in others' places."""
  for _ in range(rng.randint(1, 4)):
    at = rng.randrange(len(text) + 1)
    how = rng.randrange(4)
    if how == 0:
      text = text[:at] + rng.choice(WORDS) + text[at:]
    elif how == 1:
      text = text[:at] + text[at + rng.randint(1, 6):]
    elif how == 2:
      text = text[:at] + text[at:at + 30] * 2 + text[at + 30:]
    else:
      text = text[:at] + chr(rng.randrange(32, 127)) + text[at + 1:]
  return text


def read_edit(path):
  return edit_task.task(str(path), DataSpec((2,), None, None), image=None, mask=None, factor=None,
                   resize=False)


def read_image(path):
  return edit_task.read_image(str(path), DataSpec((5, 6, 3), 256, None), resize=True)


def read_argument(path):
  return configs.load(path.read_text()).to_dict()


def read_flag(path):
  config = configs.load('configs/digits.py')
  for key, text in command_line.split_new(['', '--config=configs/digits.py', path.read_text()])[1]:
    configs.set_new(config, key, text)


SUFFIX = {'npz': '.npz', 'edit': '.npz', 'idx': '', 'png': '.png', 'argument': '.txt',
          'flag': '.txt'}
TEXTS = {'argument': ARGUMENTS, 'flag': FLAGS}
READERS = {'npz': lambda path: data.load('npz', path=str(path)), 'edit': read_edit,
           'idx': intake.read_idx, 'png': read_image, 'argument': read_argument, 'flag': read_flag}


def worker(requests, replies) -> None:
  """Reads (kind, path) until None; replies with how each ended and the memory it took at most."""
  warnings.simplefilter('ignore')
  sys.setrecursionlimit(1000)
  peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
  start = peak()
  for kind, path in iter(requests.recv, None):
    try:
      READERS[kind](pathlib.Path(path))
      ended = 'read'
    except BadInput as error:
      ended = 'refused' if len(str(error)) < 3000 else f'a message of {len(str(error))} letters'
    except BaseException:  # noqa: B036 (whatever else it is, it is what is looked for)
      ended = traceback.format_exc()
    replies.send((ended, peak() - start))


def case(kind: str, whole: dict, rng: random.Random, root: pathlib.Path, i: int) -> pathlib.Path:
  """A mutant of this kind, written to a file."""
  suffix = SUFFIX[kind]
  if kind in TEXTS:
    content = mutated_text(rng.choice(TEXTS[kind]), rng).encode('utf-8', 'replace')
  else:
    original = rng.choice(whole[kind])
    content = rng.choice((mutated, mutated_inside))(original, rng)
    suffix = '.gz' if kind == 'idx' and original[:2] == b'\x1f\x8b' else suffix
  path = root / f'{i}{suffix}'
  path.write_bytes(content)
  return path


def fuzz(seed: int, num: int, seconds: float = float('inf')) -> tuple[collections.Counter, list]:
  """Counts of (kind, how it ended), and the failures: [(kind, seed, i, what)]."""
  context = multiprocessing.get_context('fork')
  counts, failures = collections.Counter(), []
  until = time.monotonic() + seconds

  def started():
    near, far = context.Pipe()
    process = context.Process(target=worker, args=(far, far), daemon=True)
    process.start()
    return process, near

  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    whole, (process, pipe) = seeds(root), started()
    for i in range(num):
      if time.monotonic() > until:
        break
      rng = random.Random(f'{seed}/{i}')
      kind = list(READERS)[i % len(READERS)]
      path = case(kind, whole, rng, root, i)
      pipe.send((kind, str(path)))
      if pipe.poll(LIMIT):
        try:
          ended, memory = pipe.recv()
        except EOFError:
          ended, memory = 'the process died', 0
      else:
        ended, memory = f'no end within {LIMIT} s', 0
      if memory > MEMORY:
        ended = f'{memory / 2**20:.0f} MiB beyond the start'
      good = ended in ('read', 'refused')
      counts[kind, ended if good else 'failed'] += 1
      if not good:
        failures.append((kind, seed, i, ended))
      if not good or memory > MEMORY // 2:
        process.kill()
        process, pipe = started()
      path.unlink()
    process.kill()
  return counts, failures


def main(argv=None) -> int:
  """Prints the counts and each failure; 1 if there are any."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--num', type=int, default=500)
  parser.add_argument('--seconds', type=float, default=float('inf'))
  flags = parser.parse_args(argv)
  os.chdir(pathlib.Path(__file__).parents[1])
  start = time.monotonic()
  counts, failures = fuzz(flags.seed, flags.num, flags.seconds)
  for kind in READERS:
    ends = {ended: n for (of, ended), n in counts.items() if of == kind}
    print(f'{kind}: ' + ', '.join(f'{n} {ended}' for ended, n in sorted(ends.items())))
  for kind, seed, i, ended in failures:
    print(f'--- {kind}, case {i} of seed {seed}:\n{ended}')
  print(f'{sum(counts.values())} cases in {time.monotonic() - start:.0f} s, '
        f'{len(failures)} failures')
  return bool(failures)


if __name__ == '__main__':
  sys.exit(main())
