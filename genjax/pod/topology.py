"""TPU slices on sale, by name, and their devices for a process that has none of them.

Any machine with libtpu can compile for `describe('v5e:16x16').devices`; no array can be put there.
A name is GENERATION:SHAPE. num_slices is the number of slices of one shape that are joined by the
data centre's network.
"""

import importlib.util
import math
import os
from typing import NamedTuple

from genjax.types import BadInput
from genjax.words import did_you_mean

INSTALL = 'pip install -r requirements-tpu.txt'
# libtpu allows one process and looks up its host: neither matters without a TPU
QUIET = {'ALLOW_MULTIPLE_LIBTPU_LOAD': '1', 'TPU_WORKER_HOSTNAMES': 'localhost',
         'TPU_ACCELERATOR_TYPE': 'v5litepod-16', 'TPU_WORKER_ID': '0'}
NUM_SLICES = (1, 2, 4, 8, 16)


class Generation(NamedTuple):
  """One kind of chip. Figures per chip are the vendor's; the HBM limit is the compiler's."""

  peak: float  # FLOP/s of bfloat16 products, published: docs.cloud.google.com/tpu/docs/NAME
  hbm: float  # bytes/s of its memory, published there
  ici: float  # bytes/s that it sends to its neighbours: half of the published "bidirectional"
  dcn: float  # bytes/s that it sends to other slices
  devices_per_chip: int
  hbm_gib: float  # per device, what the compiler of libtpu 0.0.42 allows a program
  price: float  # dollars per chip-hour on demand, in the cheapest region of the United States
  shapes: tuple[str, ...]
  multislice: bool  # whether programs over several slices are known to compile here
  chip_config: str = 'default'


# docs.cloud.google.com/tpu/docs/v5e, v6e ("Supported configurations")
TORUS_2D = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
# .../tpu/docs/v4, v5p; cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus for 2x2x4
TORUS_3D = ('2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8', '8x8x16',
            '8x16x16')

# Prices: cloud.google.com/tpu/pricing, from memory; they change, so figures from them are printed
# as assumed. HBM and ICI: docs.cloud.google.com/tpu/docs/NAME ("Key specifications"); v4 from
# memory. DCN: 6.4 Tbps per v5e pod of 256, 50 Gbps per v5p chip (ibid.); assumed for v6e: 100 Gbps,
# for v4: 25 Gbps.
GENERATIONS = {
    # megacore: the two cores of a chip are one device, as users of v4 get them
    'v4': Generation(275e12, 1228e9, 300e9, 3.1e9, 1, 30.75, 3.22, TORUS_3D, False, 'megacore'),
    'v5e': Generation(197e12, 819e9, 200e9, 3.1e9, 1, 15.75, 1.20, TORUS_2D, True),
    'v5p': Generation(459e12, 2765e9, 600e9, 6.2e9, 1, 95.74, 4.20,
                      (*TORUS_3D, '16x16x16', '16x16x24'), False),
    'v6e': Generation(918e12, 1638e9, 400e9, 12.5e9, 1, 31.25, 2.70, TORUS_2D, True),
}


class Slice(NamedTuple):
  """One or several slices of one kind and shape."""

  name: str  # 'v5e:16x16'
  num_slices: int
  generation: Generation

  @property
  def chips(self) -> int:
    return self.num_slices * math.prod(map(int, self.name.partition(':')[2].split('x')))

  @property
  def num_devices(self) -> int:
    return self.chips * self.generation.devices_per_chip

  @property
  def peak(self) -> float:
    """FLOP/s of bfloat16 products on all chips together."""
    return self.chips * self.generation.peak

  def __str__(self) -> str:
    return self.name if self.num_slices == 1 else f'{self.name} x {self.num_slices} slices'


class Roofline(NamedTuple):
  """Least seconds of a step for each resource of a chip; all are assumed to overlap.

  No program is faster than the slowest of them, and few come near (Williams, Waterman and
  Patterson, Communications of the ACM 52(4), 2009).
  """

  products: float
  hbm: float
  ici: float
  dcn: float

  @property
  def seconds(self) -> float:
    return max(self)

  @property
  def bound(self) -> str:
    """The name of the slowest resource."""
    return max(zip(self, self._fields, strict=True))[1]


def names() -> tuple[str, ...]:
  """The name of every slice that `named` accepts."""
  return tuple(f'{name}:{shape}' for name, g in GENERATIONS.items() for shape in g.shapes)


def named(name: str, num_slices: int = 1) -> Slice:
  """num_slices slices 'GENERATION:SHAPE'. Raises BadInput that lists the allowed ones."""
  if name not in names():
    allowed = '; '.join(f'{key}: {" ".join(g.shapes)}' for key, g in GENERATIONS.items())
    raise BadInput(f'topology {name!r} is not sold, or not known here'
                   f'{did_you_mean(name, names())}; allowed, as GENERATION:SHAPE: {allowed}')
  generation = GENERATIONS[name.partition(':')[0]]
  allowed = NUM_SLICES if generation.multislice else NUM_SLICES[:1]
  if num_slices not in allowed:
    several = ', '.join(key for key, g in GENERATIONS.items() if g.multislice)
    raise BadInput(f'num_slices={num_slices} with {name}; allowed: {", ".join(map(str, allowed))} '
                   f'(several slices: {several})')
  return Slice(name, num_slices, generation)


def roofline(where: Slice, flops: float, hbm: float, ici: float, dcn: float) -> Roofline:
  """The roofline of a step. flops: in products; hbm, ici, dcn: bytes moved; all per device."""
  of, per_chip = where.generation, where.generation.devices_per_chip
  return Roofline(*(per_chip * amount / rate for amount, rate in (
      (flops, of.peak), (hbm, of.hbm), (ici, of.ici), (dcn, of.dcn))))


def price(where: Slice, seconds: float, rate: float) -> float:
  """Dollars for `seconds` on all chips; rate: dollars per chip-hour."""
  return seconds / 3600 * where.chips * rate


def describe(of: Slice):
  """The TPU compiler's description of the slice: `.devices`, each with `coords`; no TPU is needed.

  It sets environment variables that keep libtpu quiet: call it in a program that uses no TPU.
  Raises BadInput if libtpu is not installed.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise BadInput('compiling for an absent TPU needs libtpu, which is not installed; allowed: '
                   f'after {INSTALL}')
  os.environ.update(QUIET)
  from jax.experimental import topologies  # training never needs it

  return topologies.get_topology_desc(
      platform='tpu', topology_name=of.name, num_slices=of.num_slices,
      chip_config_name=of.generation.chip_config)
