"""The mesh, its axis names, and how batches, parameters and activations lie on it.

One mesh ('data', 'fsdp') of Auto axes: examples are split over both axes, large parameters over
'fsdp'. On one device every function here is the identity.
"""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

BATCH_AXES = ('data', 'fsdp')
MIN_SHARDED_SIZE = 2**14  # gathering a smaller parameter costs more than its memory is worth


def make_mesh(fsdp: int = 1, devices=None) -> Mesh:
  """The mesh ('data', 'fsdp') over all devices (or those given); fsdp must divide their number."""
  devices = np.asarray(jax.devices() if devices is None else devices)
  if fsdp < 1 or devices.size % fsdp:
    raise ValueError(f'fsdp={fsdp} does not divide the number of devices, {devices.size}')
  return Mesh(devices.reshape(-1, fsdp), BATCH_AXES, axis_types=(AxisType.Auto,) * 2)


def constrain_batch(x: jax.Array) -> jax.Array:
  """Keeps the leading axis of an activation split over the mesh; x itself without a mesh.

  An axis that not all devices can share alike is split over one axis of the mesh, or not at all.
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
  """Splits the largest axis that fsdp divides; replicates what is small or indivisible."""
  if fsdp == 1 or np.prod(shape, dtype=np.int64) < MIN_SHARDED_SIZE:
    return P()
  for axis in sorted(range(len(shape)), key=lambda i: -shape[i]):
    if shape[axis] % fsdp == 0:
      return P(*[None] * axis, 'fsdp')
  return P()


def replicated(mesh: Mesh) -> NamedSharding:
  return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, leading_axes: int = 0) -> NamedSharding:
  """Of a batch [..., B, ...] with `leading_axes` axes (steps per dispatch) before the examples."""
  return NamedSharding(mesh, P(*[None] * leading_axes, BATCH_AXES))


def state_sharding(mesh: Mesh, state):
  """A sharding for every leaf of a TrainState: rows of the carry like the batch, the rest fsdp."""
  fsdp = mesh.shape['fsdp']

  def of(leaf):
    return NamedSharding(mesh, fsdp_spec(leaf.shape, fsdp))

  shardings = jax.tree.map(of, state)
  if isinstance(state.carry, dict) and 'rows' in state.carry:
    rows = jax.tree.map(lambda _: batch_sharding(mesh), state.carry['rows'])
    shardings = shardings._replace(carry={**shardings.carry, 'rows': rows})
  return shardings
