"""Compiles the train step of a config for an absent TPU pod: does it fit, at what cost?

python -m experiments.compile --config=configs/imagenet256.py --topology=v5e:16x16

Needs no TPU and allocates nothing: the step, its shardings and its dispatch are those that
experiments.train runs, the data are shapes alone. Needs libtpu: pip install -r requirements-tpu.txt
(a second, CPU machine's environment will do). What does not fit is refused, with the flags that
would make it fit, each tried. Time and price are those of a roofline, the slowest of products,
memory and links at the speeds that the vendor publishes: no run is faster or cheaper. `--level=O0`
compiles several times faster; what it says of memory is some per cent off, either way. Several
slices: --topology=v5e:16x16 --num_slices=4.
"""

import importlib.metadata
import json
import math

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags

import experiments
from experiments import pod
from genjax import data, disk, identity, wiring
from genjax.pod import flops, topology
from genjax.runs import rundir
from genjax.types import BadInput

CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train: FILE.py[:argument].')
TOPOLOGY = flags.DEFINE_string('topology', None, 'GENERATION:SHAPE, as v5e:16x16.')
NUM_SLICES = flags.DEFINE_integer('num_slices', 1, 'So many slices of that shape.')
FSDP = flags.DEFINE_integer('fsdp', None, 'config.mesh.fsdp; none: as the config says.')
LEVEL = flags.DEFINE_enum('level', 'full', ['full', 'O0'], 'How hard the compiler tries.')
RATE = flags.DEFINE_float('rate', None, 'Dollars per chip-hour; none: assumed by generation.',
                          lower_bound=0.0)
REMEDIES = flags.DEFINE_bool('remedies', True, 'Where it does not fit, try what would.')
JSON = flags.DEFINE_string('json', None, 'File for all figures.')

MIB, GIB = 2**20, 2**30
NEEDS = {'products': 'products', 'hbm': 'memory', 'ici': 'links between chips',
         'dcn': 'network between slices'}


def main(_):
  if TOPOLOGY.value is None:
    raise BadInput('--topology=GENERATION:SHAPE must be given; there are: '
                   f'{", ".join(topology.names())}')
  where = topology.named(TOPOLOGY.value, NUM_SLICES.value)
  jax.config.update('jax_platforms', 'cpu')  # an own accelerator has no part in this
  # what is compiled for an absent device cannot be read back
  jax.config.update('jax_enable_compilation_cache', False)
  config = CONFIG.value
  if FSDP.value is not None:
    config = pod.changed(config, {'mesh.fsdp': FSDP.value})
  declared = data.declared(config.data.name, **wiring.plain(config.data.kw))
  pod.check(config, wiring.run(config, declared), where)
  devices = np.asarray(topology.describe(where).devices)
  made = record(config, declared, where)
  print(headline(made), flush=True)
  made.update(pod.attempt(config, declared, devices, LEVEL.value))
  if made['fits']:
    made.update(pod.priced(made, where, made['rate']))
  elif REMEDIES.value:
    made['remedies'] = pod.remedies(config, declared, where, devices)
  if JSON.value:
    disk.write_bytes(JSON.value, (json.dumps(made, indent=2) + '\n').encode())
  if not made['fits']:
    raise BadInput(refusal(made))
  print(report(made))


def record(config, declared, where: topology.Slice) -> dict:
  """The facts about the run before it is compiled."""
  run = wiring.run(config, declared)
  state, rows = wiring.abstract_state(config, run), wiring.abstract_rows(config, run)
  hardware = flops.count(run.step, state, rows)
  model_flops = wiring.model_flops(config, run)
  rate = where.generation.price if RATE.value is None else RATE.value
  sizes = [math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params)]
  versions = ', '.join(f'{name} {importlib.metadata.version(name)}' for name in ('jax', 'libtpu'))
  return {
      'commit': rundir.commit(), 'versions': versions,
      'what': f'{identity.title(config)} on {declared.name}',
      'parameters': sum(sizes), 'batch_size': config.batch_size, 'steps': config.steps,
      'steps_per_dispatch': config.steps_per_dispatch, 'accumulate': config.accumulate,
      'fsdp': config.mesh.fsdp, 'topology': where.name, 'num_slices': where.num_slices,
      'where': str(where), 'chips': where.chips, 'devices': where.num_devices,
      'level': LEVEL.value, 'limit_gib': where.generation.hbm_gib,
      'hardware_flops': hardware.flops, 'model_flops': model_flops, 'loops': hardware.loops,
      'examples_of_a_device': config.batch_size / config.accumulate / where.num_devices,
      'peak': where.peak, 'rate': rate, 'rate_given': RATE.value is not None}


def headline(made: dict) -> str:
  note = f' ({made["loops"]} loop(s) of unknown length counted once)' if made['loops'] else ''
  return (f'{made["what"]}: {made["parameters"]:,} parameters, global batch {made["batch_size"]}, '
          f'accumulate {made["accumulate"]}\n'
          f'{made["where"]}: {made["chips"]} chips, {made["devices"]} devices, '
          f'fsdp {made["fsdp"]}, {made["steps_per_dispatch"]} step(s) a dispatch, '
          f'{made["examples_of_a_device"]:g} example(s) at once on a device\n'
          f'FLOPs a step: {made["model_flops"]:.4g} of the model, {made["hardware_flops"]:.4g} '
          f'with what is computed again{note}')


def report(made: dict) -> str:
  """The compiled program, its memory and collectives, and the least time and price, as text."""
  used = (made['peak_memory'] + made['code']) / GIB
  k = made['steps_per_dispatch']
  moved = ', '.join(f'{kind} {c["count"] / k:g} ({c["bytes"] / k / MIB:.4g} MiB)'
                    for kind, c in made['collectives'].items()) or 'none'
  sent = ', '.join(f'{(of["ici"] + of["dcn"]) / MIB:.4g} MiB along {axis}'
                   for axis, of in made['sent_bytes'].items()) or 'nothing'
  return '\n'.join([
      f'compiled at level {made["level"]} in {made["compile_seconds"]:.1f} s',
      f'memory of a device: {used:.2f} GiB of {made["limit_gib"]} GiB: peak '
      f'{made["peak_memory"] / GIB:.2f} (arguments {made["arguments"] / GIB:.2f}, temporaries '
      f'{made["temporaries"] / GIB:.2f}), code {made["code"] / GIB:.2f}'
      + ('; some per cent off at O0' if made['level'] == 'O0' else ''),
      f'collectives a step, results on a device: {moved}',
      f'step: at least {made["step_seconds"]:.3g} s, bound by {NEEDS[made["bound"]]}: '
      + ', '.join(f'{NEEDS[name]} {seconds:.3g} s' for name, seconds in made['roofline'].items()
                  if seconds),
      f'sent by a device a step: {sent}',
      f'model FLOPs: at most {made["most_mfu"]:.1%} of the {made["peak"]:.3g} FLOP/s (bf16) of '
      f'{made["chips"]} chips',
      f'job: {made["steps"]:,} steps in at least {made["hours"]:.3g} h, ${made["dollars"]:,.0f}, '
      f'{"at the given" if made["rate_given"] else "assumed:"} ${made["rate"]:.2f} a chip-hour'])


def refusal(made: dict) -> str:
  """Why the step does not fit, and settings that do, as text."""
  needed = 'more HBM than there is' if made['needed_gib'] is None else (
      f'{made["needed_gib"]:.2f} GiB of HBM a device, available are '
      f'{made["available_gib"]:.2f} GiB')
  lines = [f'does not fit {made["where"]}: needs {needed} ({made["reason"]})']
  if 'remedies' in made:
    lines += [f'fits with {pod.as_flags(r["settings"])} (at O0: peak '
              f'{r["peak_memory"] / GIB:.2f} GiB)' for r in made['remedies']] or [
                  'no remat, fsdp or accumulate that was tried makes it fit; allowed: a topology '
                  'with more chips or more memory, a smaller batch_size or network']
  return '\n'.join(lines)


if __name__ == '__main__':
  experiments.run(main)
