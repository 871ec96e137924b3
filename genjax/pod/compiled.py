"""The collectives of a compiled program, and the compiler's reason why a program does not fit."""

import math
import re

from genjax import memory

# HLO's names of the operations that move arrays between devices
COLLECTIVES = ('all-gather', 'all-reduce', 'reduce-scatter', 'all-to-all', 'ragged-all-to-all',
               'collective-permute', 'collective-broadcast')
BITS = {'pred': 8, 's4': 4, 'u4': 4, 'bf16': 16, 'f8e4m3fn': 8, 'f8e5m2': 8}
HEAD = re.compile(r'^(ENTRY )?%?([\w.-]+) \(.*\{$')
COLLECTIVE = re.compile(rf'= (.+?) ({"|".join(COLLECTIVES)})(?:-start)?\(')
ARRAY = re.compile(r'\b([a-z]+\d*\w*)\[([\d,]*)\]')
CALLS = re.compile(r'\b(?:calls|to_apply|branch_computations|called_computations|'
                   r'true_computation|false_computation)=(\{[^}]*\}|%?[\w.-]+)')
WHILE = re.compile(r' while\(.*condition=%?([\w.-]+), body=%?([\w.-]+)')
TRIPS = re.compile(r'known_trip_count"?:\{"?n"?:"?(\d+)')
CONSTANT = re.compile(r' (%?[\w.-]+) = s32\[\]\S* constant\((\d+)\)')
LESS = re.compile(r' compare\(%?[\w.-]+, %?([\w.-]+)\), direction=LT')
# libtpu 0.0.42: "the total memory required for HLO temporaries (51.75G) exceeds available HBM
# (15.75G)", and "Used 21.51G of 15.75G hbm" where arguments count
NEEDED = (re.compile(r'\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)'),
          re.compile(r'Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm'))
GIB = {'': 2.0**-30, 'K': 2.0**-20, 'M': 2.0**-10, 'G': 1.0, 'T': 2.0**10}


def out_of_memory(error: Exception) -> tuple[float | None, float | None] | None:
  """(needed, available) GiB of HBM in a compiler's refusal; None for any other error.

  It is (None, None) if memory ran out, but the message has an unknown form.
  """
  text = str(error)
  for pattern in NEEDED:
    if match := pattern.search(text):
      needed, unit, available, unit_of_available = match.groups()
      return float(needed) * GIB[unit], float(available) * GIB[unit_of_available]
  return (None, None) if memory.is_short(error) else None


def collectives(hlo: str) -> dict[str, dict]:
  """{kind: {'count', 'bytes'}} of the collectives in one execution of a program.

  hlo: the text of an optimised module. bytes: sum over the results on one device. The body of a
  loop counts as often as it is executed, or once if the text does not say how often. The stages
  into which a collective was cut, to overlap with products, count as one collective.
  """
  totals = {}
  for kind, times, size, _ in each_collective(hlo):
    total = totals.setdefault(kind, {'count': 0, 'bytes': 0})
    total['count'] += times
    total['bytes'] += times * size
  return dict(sorted(totals.items()))


def each_collective(hlo: str):
  """Yields (kind, number of executions, bytes of its result on a device, its line) of each."""
  lines, entry = computations(hlo)
  seen = set()
  for name, times in _runs(lines, entry).items():
    for line in lines[name]:
      match = COLLECTIVE.search(line)
      if not match:
        continue
      kind, channel = match[2], re.search(r'channel_id=(\d+)', line)
      if channel and channel[1] in seen:
        continue
      seen.add(channel and channel[1])
      if name.startswith('all-reduce-scatter'):  # a fusion that keeps one part of the sum
        kind = 'reduce-scatter'
      starts = f'{match[2]}-start(' in line and match[2] != 'all-reduce'
      yield kind, times, _bytes(match[1], starts and match[1].startswith('(')), line


def computations(hlo: str) -> tuple[dict[str, list[str]], str]:
  """({computation: its lines}, name of the entry) of a module's text."""
  computations, entry, lines = {}, '', None
  for line in hlo.splitlines():
    if match := HEAD.match(line):
      lines = computations.setdefault(match[2], [])
      entry = match[2] if match[1] else entry
    elif lines is not None:
      lines.append(line)
  return computations, entry


def _runs(computations: dict, entry: str) -> dict[str, int]:
  """{computation: number of executions in one execution of the entry}."""
  runs = dict.fromkeys(computations, 0)

  def visit(name: str, times: int) -> None:
    runs[name] += times
    for line in computations[name]:
      if loop := WHILE.search(line):
        condition, body = loop.groups()
        visit(body, times * trips(line, computations[condition]))
      for called in CALLS.findall(line):
        for inner in re.findall(r'[\w.-]+', called):
          if inner in computations:
            visit(inner, times)

  if entry:
    visit(entry, 1)
  return {name: times for name, times in runs.items() if times}


def trips(line: str, condition: list[str]) -> int:
  """Trip count of a loop: as annotated, or the constant in its condition; 1 if unknown."""
  if known := TRIPS.search(line):
    return int(known[1])
  constants = {m[1].lstrip('%'): int(m[2]) for row in condition if (m := CONSTANT.search(row))}
  limits = [constants[m[1]] for row in condition
            if (m := LESS.search(row)) and m[1] in constants]
  return limits[0] if len(limits) == 1 else 1


def _bytes(shape: str, holds_operands: bool) -> int:
  """Bytes of the arrays in an HLO shape, without the operands that an asynchronous start holds."""
  sizes = []
  for kind, axes in ARRAY.findall(shape):
    if axes or not holds_operands:  # scalars of a start are no data
      sizes.append(size_of(kind, axes))
  return sum(sizes[len(sizes) // 2:] if holds_operands else sizes)


def size_of(kind: str, axes: str) -> int:
  """Bytes of an array, such as ('bf16', '32,16')."""
  digits = re.search(r'\d+', kind)
  bits = BITS.get(kind) or (int(digits[0]) if digits else 0)
  return math.prod(int(n) for n in axes.split(',') if n) * bits // 8
