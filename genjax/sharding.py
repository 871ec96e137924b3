"""The mesh, its axis names, shardings of batches, parameters and activations, and compilation.

One mesh ('data', 'fsdp') of Auto axes: examples are split over both axes, large parameters over
'fsdp'. On one device every function here is the identity. Several hosts run the same program on
one mesh; a host holds the rows of the global batch that its devices need.
"""

import contextlib
import functools
import os
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import mesh_utils, multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from genjax import memory

BATCH_AXES = ('data', 'fsdp')
MIN_SHARDED_SIZE = 2**14  # gathering a smaller parameter costs more than its memory is worth
# compiler options of a program with convolutions on a CPU: see `compiled`
WITH_CONVOLUTIONS = {'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_REDUCE'}


def make_mesh(fsdp: int = 1, devices=None) -> Mesh:
  """The mesh ('data', 'fsdp') over all devices (or those given); fsdp must divide their number."""
  devices = np.asarray(jax.devices() if devices is None else devices)
  if fsdp < 1 or devices.size % fsdp:
    raise ValueError(f'fsdp={fsdp} does not divide the number of devices, {devices.size}')
  return Mesh(_arranged(devices, fsdp), BATCH_AXES, axis_types=(AxisType.Auto,) * 2)


def _arranged(devices: np.ndarray, fsdp: int) -> np.ndarray:
  """The devices as [n / fsdp, fsdp]: on TPUs neighbours of the torus, fsdp within one slice."""
  n = devices.size
  if n == 1 or devices.flat[0].platform != 'tpu':
    return devices.reshape(-1, fsdp)
  slices = len({getattr(device, 'slice_index', 0) for device in devices.flat})
  if slices == 1:
    return mesh_utils.create_device_mesh(
        (n // fsdp, fsdp), devices=devices, allow_split_physical_axes=True)
  if n // slices % fsdp:
    raise ValueError(f'fsdp={fsdp} does not divide the {n // slices} devices of a slice')
  return mesh_utils.create_hybrid_device_mesh(
      (n // fsdp // slices, fsdp), (slices, 1), devices=devices, allow_split_physical_axes=True)


def on(mesh: Mesh):
  """The context in which programs run on the mesh; for one device it does nothing."""
  return jax.set_mesh(mesh) if mesh.size > 1 else contextlib.nullcontext()


def current_mesh():
  """The mesh of the context `on`; None without one, and for a mesh of one device."""
  mesh = jax.sharding.get_mesh()
  return None if mesh.empty or mesh.size == 1 else mesh


def jit(function=None, *, split: bool = False, what: str = '', **kw):
  """jax.jit with results replicated over the current mesh, so that every host can read them.

  split: each device keeps only its rows of the result [B, ...]; see `to_host`.
  what: name of the program, for the BadInput of a call that needs too much memory
    (`memory.check`).
  """
  if function is None:
    return functools.partial(jit, split=split, what=what, **kw)
  jitted, checked = {}, set()

  def of_mesh():
    mesh = jax.sharding.get_abstract_mesh()  # within another jit there is no concrete one
    if mesh not in jitted:
      where = {} if mesh.empty else {'out_shardings': P(BATCH_AXES) if split else P()}
      jitted[mesh] = jax.jit(function, **kw, **where)
    return jitted[mesh]

  @functools.wraps(function)
  def call(*args, **kwargs):
    key = jax.sharding.get_abstract_mesh(), _signature(args, kwargs)
    if key[1] is not None and key not in checked:
      # the call below finds this executable, and compiles no other
      memory.check(of_mesh().lower(*args, **kwargs).compile(), what or f'{call.__qualname__}()')
      checked.add(key)
    return of_mesh()(*args, **kwargs)

  call.lower = lambda *args, **kwargs: of_mesh().lower(*args, **kwargs)
  return call


def _signature(args: tuple, kwargs: dict):
  """The shapes and dtypes for which a call is compiled; None within a trace."""
  leaves, tree = jax.tree.flatten((args, kwargs))
  if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
    return None
  return tree, tuple((leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array | np.ndarray) else leaf
                     for leaf in leaves)


def compiled(lowered, what: str = 'this program', remedies: Callable | None = None):
  """The executable of a lowered program, with the options of its platform.

  what, remedies: for the BadInput if it needs too much memory (`memory.check`).
  On a CPU convolutions do not use XLA's library of fused loops, which runs most of them on one
  thread and the gradients of kernels at half the rate. Only reductions may use it: there jaxlib
  0.10.2 computes log(a / 2) - log(a) as 0 (benchmarks/2026-11-29-fused-library.md).
  """
  return memory.check(_compile(lowered), what, remedies)


def _compile(lowered):
  if not convolves_on_cpu(lowered):
    return lowered.compile()
  try:
    return lowered.compile(compiler_options=WITH_CONVOLUTIONS)
  except jax.errors.JaxRuntimeError as error:
    if 'No such compile option' not in str(error):  # a jaxlib that does not know it
      raise
  return lowered.compile()


def convolves_on_cpu(lowered) -> bool:
  """Whether a lowered program has convolutions, and CPUs to run on."""
  return jax.default_backend() == 'cpu' and 'stablehlo.convolution' in lowered.as_text()


def compiler() -> list[str]:
  """What decides the last bits of a program's results beside its source: for keys of kept ones."""
  return [jax.__version__, jax.default_backend(), os.environ.get('XLA_FLAGS', ''),
          str(WITH_CONVOLUTIONS)]


def to_host(tree):
  """numpy arrays of the result of `jit`, with the rows of other hosts."""
  if all(leaf.is_fully_addressable or leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
    return jax.tree.map(np.asarray, tree)
  return multihost_utils.process_allgather(tree, tiled=True)


def constrain_batch(x: jax.Array) -> jax.Array:
  """x with its leading axis sharded over the mesh; x itself without a mesh.

  If the number of devices does not divide that axis, it is sharded over one axis of the mesh, or
  not at all.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return x
  for axes in (BATCH_AXES, 'data', 'fsdp'):
    count = np.prod([mesh.shape[name] for name in np.atleast_1d(axes)])
    if count > 1 and x.shape[0] % count == 0:
      return jax.lax.with_sharding_constraint(x, P(axes, *[None] * (x.ndim - 1)))
  return x


def fsdp_spec(shape: tuple[int, ...], fsdp: int) -> P:
  """Shards the largest axis that fsdp divides; small or indivisible arrays are replicated."""
  if fsdp == 1 or np.prod(shape, dtype=np.int64) < MIN_SHARDED_SIZE:
    return P()
  for axis in sorted(range(len(shape)), key=lambda i: -shape[i]):
    if shape[axis] % fsdp == 0:
      return P(*[None] * axis, 'fsdp')
  return P()


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, leading_axes: int = 0) -> NamedSharding:
  """The sharding of a batch with `leading_axes` axes (steps per dispatch) before the examples."""
  return NamedSharding(mesh, P(*[None] * leading_axes, BATCH_AXES))


def state_sharding(mesh: Mesh, state):
  """Shardings of a TrainState: rows of the carry like the batch, other leaves by `fsdp_spec`."""
  fsdp = mesh.shape['fsdp']

  def of(leaf):
    return NamedSharding(mesh, fsdp_spec(leaf.shape, fsdp))

  shardings = jax.tree.map(of, state)
  if isinstance(state.carry, dict) and 'rows' in state.carry:
    rows = jax.tree.map(lambda _: batch_sharding(mesh), state.carry['rows'])
    shardings = shardings._replace(carry={**shardings.carry, 'rows': rows})
  return shardings


def local_rows(mesh: Mesh, num_rows: int) -> tuple[tuple[int, int], ...]:
  """The ranges [start, stop) of the global batch's rows on this host's devices, ascending.

  Raises ValueError if the number of devices does not divide the rows.
  """
  if num_rows % mesh.size:
    raise ValueError(f'{num_rows} rows cannot be shared alike by {mesh.size} devices')
  places = batch_sharding(mesh).addressable_devices_indices_map((num_rows,))
  return tuple(sorted({s.indices(num_rows)[:2] for (s,) in places.values()}))


def to_global(mesh: Mesh, rows: dict, num_rows: int, leading_axes: int = 0) -> dict:
  """Global arrays [..., num_rows, ...] from the rows of `local_rows` that each host read."""
  ranges = local_rows(mesh, num_rows)
  starts = np.cumsum([0, *(stop - start for start, stop in ranges)])
  offset = {start: int(first) for (start, _), first in zip(ranges, starts, strict=False)}
  across = batch_sharding(mesh, leading_axes)

  def place(local):
    def part(index):
      start, stop, _ = index[leading_axes].indices(num_rows)
      first = offset[start]
      return local[(*index[:leading_axes], slice(first, first + stop - start))]

    shape = (*local.shape[:leading_axes], num_rows, *local.shape[leading_axes + 1:])
    return jax.make_array_from_callback(shape, across, part)

  return jax.tree.map(place, rows)
