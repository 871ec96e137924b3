"""Arrays in shards: each host writes the shards of its devices, and reads those that they need.

FOLDER/host_I holds the shards of host I, written by orbax. An index has the host, the position in
the array and the digest of every shard. Orbax reads a flipped bit as another number, so a shard is
used only after its digest was compared. The number of hosts and devices may change between writing
and reading.
"""

import asyncio
import contextlib
import functools
import hashlib
import logging
import pathlib
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.cluster import hosts
from genjax.types import BadInput


class Leaf(NamedTuple):
  """An array, and a copy of the shards that this host saves."""

  shape: tuple[int, ...]
  dtype: str
  shards: dict  # {first index of each axis: numpy array}


def named(tree: Any) -> dict[str, Any]:
  """{path: leaf} of a pytree; BadInput if two leaves have the same path."""
  leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
  by_path = {jax.tree_util.keystr(p, simple=True, separator='/'): leaf for p, leaf in leaves}
  if len(by_path) < len(leaves):
    raise BadInput('two leaves of the state have one name: a dictionary key may not hold "/"')
  return by_path


def snapshot(state: Any) -> dict[str, Leaf]:
  """{name: Leaf}, copies, since later steps may reuse the memory of the state.

  A shard on several devices is saved by the host of the first of them.
  """
  return {name: _leaf(leaf) for name, leaf in named(state).items()}


def _leaf(array: Any) -> Leaf:
  shape, dtype = np.shape(array), str(jnp.result_type(array))
  if not isinstance(array, jax.Array):
    return Leaf(shape, dtype, {(0,) * len(shape): np.array(array)} if hosts.is_lead() else {})
  return Leaf(shape, dtype, {
      tuple(s.indices(n)[0] for s, n in zip(shard.index, shape, strict=True)): np.array(shard.data)
      for shard in array.addressable_shards if shard.replica_id == 0})


def not_finite(kept: dict[str, Leaf]) -> list[str]:
  """The names of the arrays with NaN or infinity in the shards of this host."""
  return [name for name, leaf in kept.items() if jnp.issubdtype(leaf.dtype, jnp.inexact)
          and not all(np.isfinite(a).all() for a in leaf.shards.values())]


def write(folder: pathlib.Path, kept: dict[str, Leaf]) -> dict:
  """Writes this host's shards to FOLDER/host_I; returns its part of the index, as plain JSON."""
  arrays = {_key(name, at): a for name, leaf in kept.items() for at, a in leaf.shards.items()}
  where = folder / f'host_{hosts.index()}'
  present = {key: a for key, a in arrays.items() if a.size}  # orbax refuses empty ones
  if present:
    with _orbax() as (ocp, checkpointer):
      checkpointer.save(where, args=ocp.args.PyTreeSave(present))
  else:
    where.mkdir()
  return {
      'arrays': {name: {'shape': list(leaf.shape), 'dtype': leaf.dtype, 'shards': [
          {'host': hosts.index(), 'at': list(at), 'shape': list(a.shape), 'digest': _of_array(a)}
          for at, a in leaf.shards.items()]} for name, leaf in kept.items()},
      'files': {str(f.relative_to(folder)): [f.stat().st_size, digest(f.read_bytes())]
                for f in sorted(where.rglob('*')) if f.is_file()}}


def merged(parts: list[dict]) -> dict:
  """The index, merged from the parts that the hosts returned from `write`."""
  arrays = {name: {**entry, 'shards': [shard for part in parts
                                       for shard in part['arrays'][name]['shards']]}
            for name, entry in parts[0]['arrays'].items()}
  return {'arrays': arrays, 'files': {k: v for part in parts for k, v in part['files'].items()}}


def read(folder: pathlib.Path, index: dict, wanted: dict[str, Any]) -> tuple[dict, str]:
  """({name: array}, ''), sharded like `wanted`, or ({}, damage).

  wanted: {name: ShapeDtypeStruct or array}. Reads only the shards that this host's devices need.
  """
  places = {name: _places(leaf) for name, leaf in wanted.items()}
  needed = {name: [s for s in index['arrays'][name]['shards'] if _size(s['shape']) and
                   any(_overlap(s, place) for place in places[name])] for name in wanted}
  writers = sorted({shard['host'] for shards in needed.values() for shard in shards})
  damage = _damaged_file(folder, index['files'], writers)
  if damage:
    return {}, damage
  loaded = {}
  for host in writers:
    loaded |= _load(folder / f'host_{host}', [
        _key(name, shard['at']) for name, shards in needed.items() for shard in shards
        if shard['host'] == host])
  for name, shards in needed.items():
    for shard in shards:
      if _of_array(loaded[_key(name, shard['at'])]) != shard['digest']:
        return {}, f'{name} differs from what was saved'
  restored = {}
  for name, leaf in wanted.items():
    blocks = {place: _assemble(name, place, leaf.dtype, needed[name], loaded)
              for place in places[name]}
    restored[name] = _on_devices(leaf, blocks)
    for shard in needed[name]:
      del loaded[_key(name, shard['at'])]
  return restored, ''


def _places(leaf: Any) -> set:
  """The parts of an array that this host needs: {((start, stop) of each axis), ...}."""
  sharding = getattr(leaf, 'sharding', None)
  if sharding is None:
    return {tuple((0, n) for n in leaf.shape)}
  return {_bounds(index, leaf.shape)
          for index in sharding.addressable_devices_indices_map(leaf.shape).values()}


def _bounds(index: tuple, shape: tuple[int, ...]) -> tuple:
  return tuple(s.indices(n)[:2] for s, n in zip(index, shape, strict=True))


def _overlap(shard: dict, place: tuple) -> bool:
  return all(at < stop and start < at + n
             for at, n, (start, stop) in zip(shard['at'], shard['shape'], place, strict=True))


def _assemble(name: str, place: tuple, dtype, shards: list[dict], loaded: dict) -> np.ndarray:
  whole = len(shards) == 1 and [stop - start for start, stop in place] == shards[0]['shape']
  if whole:
    return loaded[_key(name, shards[0]['at'])]
  block = np.zeros([stop - start for start, stop in place], dtype)
  for shard in shards:
    if _overlap(shard, place):
      cut = [(max(at, start), min(at + n, stop)) for at, n, (start, stop)
             in zip(shard['at'], shard['shape'], place, strict=True)]
      to = tuple(slice(a - start, b - start) for (a, b), (start, _) in zip(cut, place, strict=True))
      of = tuple(slice(a - at, b - at) for (a, b), at in zip(cut, shard['at'], strict=True))
      block[to] = loaded[_key(name, shard['at'])][of]
  return block


def _on_devices(leaf: Any, blocks: dict) -> jax.Array:
  sharding = getattr(leaf, 'sharding', None)
  if sharding is None:
    return jax.device_put(*blocks.values())
  return jax.make_array_from_callback(leaf.shape, sharding,
                                      lambda index: blocks[_bounds(index, leaf.shape)])


def _damaged_file(folder: pathlib.Path, files: dict, writers: list[int]) -> str:
  for name, (size, recorded) in files.items():
    if int(pathlib.PurePath(name).parts[0].removeprefix('host_')) not in writers:
      continue
    file = folder / name
    if not file.is_file():
      return f'{name} is missing'
    if file.stat().st_size != size:
      return f'{name} has {file.stat().st_size} bytes of {size}'
    if digest(file.read_bytes()) != recorded:
      return f'{name} differs from what was saved'
  return ''


def _load(path: pathlib.Path, keys: list[str]) -> dict[str, np.ndarray]:
  with _orbax() as (ocp, checkpointer):
    return checkpointer.restore(path, args=ocp.args.PyTreeRestore(
        item=dict.fromkeys(keys, 0), partial_restore=True,
        restore_args={key: ocp.RestoreArgs(restore_type=np.ndarray) for key in keys}))


def _key(name: str, at) -> str:
  return f'{name}@{"_".join(map(str, at))}'


def _size(shape) -> int:
  return int(np.prod(shape, dtype=np.int64))


def digest(data: Any) -> str:
  """The blake2b hash of bytes, 32 hex digits."""
  return hashlib.blake2b(data, digest_size=16).hexdigest()


def _of_array(a: np.ndarray) -> str:
  return digest(np.ascontiguousarray(a).reshape(-1).view(np.uint8))


@functools.cache
def _of_any_host():
  """Orbax's type handlers, with one that writes numpy arrays on any host, not on host 0 alone."""
  from orbax.checkpoint import future, type_handlers
  from orbax.checkpoint._src.serialization import ocdbt_utils, tensorstore_utils

  class Handler(type_handlers.NumpyHandler):

    async def serialize(self, values, infos, args=None):
      return [future.CommitFutureAwaitingContractedSignals(self._all(values, infos, args),
                                                           name='shards')]

    async def _all(self, values, infos, args):
      await asyncio.gather(*map(self._one, values, infos, args))

    async def _one(self, value, info, arg):
      await info.await_path_creation()
      subdir = ocdbt_utils.get_process_index_for_subdir(use_ocdbt=info.is_ocdbt_checkpoint)
      spec = tensorstore_utils.build_array_write_spec(
          info=info, arg=arg, global_shape=value.shape, local_shape=value.shape,
          dtype=value.dtype, use_ocdbt=info.is_ocdbt_checkpoint, process_index=subdir)
      await self._open_and_write(value, spec.json, info.ts_context)

  return type_handlers.create_type_handler_registry((np.ndarray, Handler()))


@contextlib.contextmanager
def _orbax():
  """Orbax and a checkpointer that is this host's alone, without its log.

  Orbax logs tracebacks of errors that it also raises; ours say the same in one line. When one
  write fails, the others find the loop of orbax closed, and threads of tensorstore print a
  traceback for each at any later time. So the filter of these stays after a failure.
  """
  import orbax.checkpoint as ocp  # on first use: it takes half a second to import
  me = hosts.index()
  alone = ocp.options.MultiprocessingOptions(
      primary_host=me, active_processes={me}, barrier_sync_key_prefix=f'host_{me}')
  keep = lambda record: 'orbax' not in record.pathname
  logger, hook = logging.getLogger('absl'), sys.unraisablehook
  logger.addFilter(keep)
  sys.unraisablehook = lambda report: (
      None if str(report.exc_value) == 'Event loop is closed' else hook(report))
  try:
    handler = ocp.PyTreeCheckpointHandler(
        multiprocessing_options=alone, type_handler_registry=_of_any_host())
    with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
      yield ocp, checkpointer
    sys.unraisablehook = hook
  finally:
    logger.removeFilter(keep)
