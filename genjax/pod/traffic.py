"""Bytes that a compiled program moves, between memory and a device and between devices.

They are read from the text of the optimised module, for one execution. XLA's own count of bytes has
the body of a loop once; here it counts as often as it is executed.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from genjax.pod import compiled

INSTRUCTION = re.compile(r'^\s+(ROOT )?%?([\w.-]+) = (.+?) ([a-z][\w-]*)\(([^)]*)\)?(.*)$')
LAID_OUT = re.compile(r'\b([a-z]+\d*\w*)\[([\d,]*)\](\{[^}]*\})?')
CALLED = re.compile(r'\b(?:calls|to_apply)=%?([\w.-]+)')
INNER = re.compile(r'\b(?:branch_computations|called_computations|true_computation|'
                   r'false_computation|calls|to_apply)=(\{[^}]*\}|%?[\w.-]+)')
# instructions that move nothing themselves
FREE = ('parameter', 'constant', 'get-tuple-element', 'tuple', 'bitcast', 'while', 'conditional',
        'call', 'after-all', 'partition-id', 'replica-id', 'opt-barrier', 'domain', 'async-start')
SLICES = ('dynamic-slice', 'slice', 'gather')
# bytes that a device in a ring of n sends, per byte of its result
SENT = {'all-reduce': lambda n: 2 * (n - 1) / n, 'all-gather': lambda n: (n - 1) / n,
        'reduce-scatter': lambda n: n - 1, 'all-to-all': lambda n: (n - 1) / n,
        'ragged-all-to-all': lambda n: (n - 1) / n, 'collective-permute': lambda n: n > 1,
        'collective-broadcast': lambda n: n > 1}


class Instruction(NamedTuple):
  name: str
  shape: str
  kind: str
  operands: tuple[str, ...]
  attributes: str
  is_root: bool


class Sent(NamedTuple):
  """Bytes that a device sends in one execution, by network."""

  ici: float  # between the chips of a slice
  dcn: float  # between slices


def accessed(hlo: str) -> int:
  """Bytes of memory that one execution of a program reads and writes on a device.

  An instruction reads its operands and writes its result, a fusion what crosses its border; slices
  and in-place updates move only their part. What the compiler keeps on the chip is free.
  """
  lines, entry = compiled.computations(hlo)
  parsed = {name: _instructions(rows) for name, rows in lines.items()}
  return sum(times * sum(_bytes_of(i, parsed[name], parsed) for i in parsed[name].values())
             for name, times in _runs(lines, parsed, entry).items())


def sent(hlo: str, data: int, fsdp: int, num_slices: int) -> dict[str, Sent]:
  """{mesh axis: Sent} of the collectives in one execution: 'data', 'fsdp', or 'data,fsdp' for both.

  hlo: the text of an optimised module; num_slices: of the topology.
  data, fsdp: the mesh, whose devices are numbered row by row, slice by slice.
  A ring of n sends as in SENT: an all-reduce is a reduce-scatter, then an all-gather of the n-th
  part. Between slices, each device exchanges the share that it holds in its own slice.
  """
  moved = {}
  for kind, times, size, line in compiled.each_collective(hlo):
    members = groups(line, data * fsdp)
    axis = _axis(members, fsdp)
    slices = len({i // (data * fsdp // num_slices) for i in members})
    inside = len(members) // slices
    whole = kind == 'reduce-scatter' and ' all-reduce' in line  # a part of its sum is kept
    of = SENT['all-gather' if whole else kind]
    total = moved.get(axis, Sent(0.0, 0.0))
    moved[axis] = Sent(total.ici + times * size * of(inside),
                       total.dcn + times * size / inside * of(slices))
  return dict(sorted(moved.items()))


def groups(line: str, num_devices: int) -> list[int]:
  """The devices in the first group of a collective; its other groups have the same layout."""
  if pair := re.search(r'source_target_pairs=\{\{(\d+),(\d+)\}', line):
    return [int(pair[1]), int(pair[2])]
  if named := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(([^ ]*)\))? \{([^}]*)\}",
                        line):
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", named[1])}
    return _along(sizes, re.findall(r"'(\w+)'", named[3]), _iota(named[2] or f'[{num_devices}]'))
  if iota := re.search(r'replica_groups=\[(\d+),(\d+)\]<=(\S+?)(?:,? |$)', line):
    return _iota(iota[3].rstrip(','))[:int(iota[2])]
  if listed := re.search(r'replica_groups=\{\{([\d,]+)\}', line):
    return [int(i) for i in listed[1].split(',')]
  return list(range(num_devices))


def _along(sizes: dict, chosen: list[str], ids: list[int]) -> list[int]:
  """The devices at index 0 of every axis but the chosen ones."""
  places, stride = [0], 1
  for name, size in reversed(sizes.items()):
    if name in chosen:
      places = [place + i * stride for i in range(size) for place in places]
    stride *= size
  return [ids[place] for place in sorted(places)]


def _iota(text: str) -> list[int]:
  """The device ids of an HLO iota; for '[4,4]T(1,0)' 0..15 as 4 x 4, transposed, flattened."""
  shape, _, order = text.partition('T')
  sizes = [int(n) for n in shape.strip('[]').split(',')]
  axes = [int(n) for n in order.strip('()').split(',')] if order else list(range(len(sizes)))
  strides = [math.prod(sizes[i + 1:]) for i in range(len(sizes))]
  ids = [0]
  for axis in axes:
    ids = [i + k * strides[axis] for i in ids for k in range(sizes[axis])]
  return ids


def _axis(members: list[int], fsdp: int) -> str:
  if len({i // fsdp for i in members}) == 1:
    return 'fsdp'
  return 'data' if len({i % fsdp for i in members}) == 1 else 'data,fsdp'


def _instructions(rows: list[str]) -> dict[str, Instruction]:
  by_name = {}
  for row in rows:
    if match := INSTRUCTION.match(row):
      root, name, shape, kind, operands, attributes = match.groups()
      named = tuple(re.findall(r'%?([A-Za-z_][\w.-]*)', re.sub(r'/\*.*?\*/', '', operands)))
      by_name[name] = Instruction(
          name, shape, kind, (operands,) if kind in ('parameter', 'constant') else named,
          attributes, bool(root))
  return by_name


def _runs(lines: dict, parsed: dict, entry: str) -> dict[str, int]:
  """{computation: executions in one execution of the entry}, without those inside fusions."""
  runs = {}

  def visit(name: str, times: int) -> None:
    runs[name] = runs.get(name, 0) + times
    for row in lines[name]:
      if loop := compiled.WHILE.search(row):
        condition, body = loop.groups()
        visit(body, times * compiled.trips(row, lines[condition]))
    for one in parsed[name].values():
      if one.kind in ('call', 'conditional', 'async-start'):
        for called in INNER.findall(one.attributes):
          for inner in re.findall(r'[\w.-]+', called):
            if inner in parsed:
              visit(inner, times)

  if entry:
    visit(entry, 1)
  return runs


def _size(shape: str) -> int:
  """Bytes of the arrays in a shape that lie in the device's main memory."""
  return sum(compiled.size_of(kind, axes) for kind, axes, layout in LAID_OUT.findall(shape)
             if not re.search(r'S\(\d+\)', layout))


def _bytes_of(one: Instruction, around: dict, parsed: dict) -> int:
  """Bytes that an instruction reads and writes."""
  if one.kind in FREE or one.kind.endswith('-done') or 'AllocateBuffer' in one.attributes:
    return 0
  sizes = [_size(around[name].shape) if name in around else 0 for name in one.operands]
  if one.kind in SLICES:
    return 2 * _size(one.shape)
  if one.kind == 'dynamic-update-slice':
    return 2 * sizes[1]
  if one.kind == 'fusion' and (called := CALLED.search(one.attributes)) and called[1] in parsed:
    inside = parsed[called[1]]
    reads = [min(size, _read(inside, i, parsed)) for i, size in enumerate(sizes)]
    return sum(reads) + min(_size(one.shape), _written(inside, parsed))
  return sum(sizes) + _size(one.shape)


def _read(inside: dict, index: int, parsed: dict) -> float:
  """Bytes that a fusion reads of an operand: its slices if nothing else uses it, else inf."""
  names = {one.name for one in inside.values()
           if one.kind == 'parameter' and one.operands == (str(index),)}
  total = 0.0
  for one in _users(inside, names):
    if one.kind in SLICES:
      total += _size(one.shape)
    elif one.kind == 'dynamic-update-slice' and one.operands[0] in names:
      continue
    elif one.kind == 'fusion' and (called := CALLED.search(one.attributes)):
      total += sum(_read(parsed[called[1]], i, parsed)
                   for i, name in enumerate(one.operands) if name in names)
    else:
      return math.inf
  return total


def _users(inside: dict, names: set) -> Iterator[Instruction]:
  """Yields the instructions that use an array, under any of its names."""
  for one in inside.values():  # in the order of use
    if names & set(one.operands) and one.kind != 'parameter':
      if one.kind in ('bitcast', 'get-tuple-element'):
        names.add(one.name)
      else:
        yield one


def _written(inside: dict, parsed: dict) -> float:
  """Bytes that a fusion writes of its result: only the part, for an in-place update."""
  [root] = [one for one in inside.values() if one.is_root]
  ends = [inside[name] for name in root.operands] if root.kind == 'tuple' else [root]
  total = 0.0
  for one in ends:
    while one.kind == 'bitcast':
      one = inside[one.operands[0]]
    if one.kind == 'dynamic-update-slice':
      total += _size(inside[one.operands[1]].shape)
    elif one.kind == 'fusion' and (called := CALLED.search(one.attributes)):
      total += min(_size(one.shape), _written(parsed[called[1]], parsed))
    else:
      total += _size(one.shape)
  return total
