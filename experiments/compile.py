"""Compiles the train step of a config for an absent TPU pod: does it fit, at what cost?

python -m experiments.compile --config=configs/imagenet256.py --topology=v5e:16x16
python -m experiments.compile --config=configs/imagenet256.py --topology=v5e:16x16 --num_slices=4

It needs no TPU and allocates nothing: step, shardings and dispatch are those of experiments.train,
the data are only shapes. It needs libtpu: pip install -r requirements-tpu.txt (the environment of
a CPU machine will do). A step that does not fit is refused, with flags that make it fit, each
tried. Time and price come from a roofline, the slowest of products, memory and links at the
vendor's published speeds: no run is faster or cheaper. `--level=O0` compiles several times faster,
and its memory is a few per cent off in either direction.
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
NUM_SLICES = flags.DEFINE_integer('num_slices', 1, 'Number of slices of that shape.')
FSDP = flags.DEFINE_integer('fsdp', None, 'config.mesh.fsdp; none: as the config says.')
LEVEL = flags.DEFINE_enum('level', 'full', ['full', 'O0'], 'How hard the compiler tries.')
RATE = flags.DEFINE_float('rate', None, 'Dollars per chip-hour; none: assumed by generation.',
                          lower_bound=0.0)
REMEDIES = flags.DEFINE_bool('remedies', True, 'If it does not fit, find settings that do.')
JSON = flags.DEFINE_string('json', None, 'File for all figures.')

MIB, GIB = 2**20, 2**30
NEEDS = {'products': 'products', 'hbm': 'memory', 'ici': 'links between chips',
         'dcn': 'network between slices'}


def main(_):
  if TOPOLOGY.value is None:
    raise BadInput('--topology=GENERATION:SHAPE must be given; there are: '
                   f'{", ".join(topology.names())}')
  where = topology.named(TOPOLOGY.value, NUM_SLICES.value)
  jax.config.update('jax_platforms', 'cpu')  # this machine's accelerator is not used
  # a program that was compiled for an absent device cannot be read back
  jax.config.update('jax_enable_compilation_cache', False)
  config = CONFIG.value
  if FSDP.value is not None:
    config = pod.changed(config, {'mesh.fsdp': FSDP.value})
  declared = data.declared(config.data.name, **wiring.plain(config.data.kw))
  pod.check(config, wiring.run(config, declared), where)
  devices = np.asarray(topology.describe(where).devices)
  facts = record(config, declared, where)
  print(headline(facts), flush=True)
  facts.update(pod.attempt(config, declared, devices, LEVEL.value))
  if facts['fits']:
    facts.update(pod.priced(facts, where, facts['rate']))
  elif REMEDIES.value:
    facts['remedies'] = pod.remedies(config, declared, where, devices)
  if JSON.value:
    disk.write_bytes(JSON.value, (json.dumps(facts, indent=2) + '\n').encode())
  if not facts['fits']:
    raise BadInput(refusal(facts))
  print(report(facts))


def record(config, declared, where: topology.Slice) -> dict:
  """{name: value} of the facts about a run that are known before it is compiled."""
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


def headline(facts: dict) -> str:
  note = f' ({facts["loops"]} loop(s) of unknown length counted once)' if facts['loops'] else ''
  return (f'{facts["what"]}: {facts["parameters"]:,} parameters, '
          f'global batch {facts["batch_size"]}, accumulate {facts["accumulate"]}\n'
          f'{facts["where"]}: {facts["chips"]} chips, {facts["devices"]} devices, '
          f'fsdp {facts["fsdp"]}, {facts["steps_per_dispatch"]} step(s) a dispatch, '
          f'{facts["examples_of_a_device"]:g} example(s) at once on a device\n'
          f'FLOPs a step: {facts["model_flops"]:.4g} of the model, {facts["hardware_flops"]:.4g} '
          f'with recomputation{note}')


def report(facts: dict) -> str:
  """The text about the compiled program: memory, collectives, least time and price."""
  used = (facts['peak_memory'] + facts['code']) / GIB
  k = facts['steps_per_dispatch']
  moved = ', '.join(f'{kind} {c["count"] / k:g} ({c["bytes"] / k / MIB:.4g} MiB)'
                    for kind, c in facts['collectives'].items()) or 'none'
  sent = ', '.join(f'{(of["ici"] + of["dcn"]) / MIB:.4g} MiB along {axis}'
                   for axis, of in facts['sent_bytes'].items()) or 'nothing'
  return '\n'.join([
      f'compiled at level {facts["level"]} in {facts["compile_seconds"]:.1f} s',
      f'memory of a device: {used:.2f} GiB of {facts["limit_gib"]} GiB: peak '
      f'{facts["peak_memory"] / GIB:.2f} (arguments {facts["arguments"] / GIB:.2f}, temporaries '
      f'{facts["temporaries"] / GIB:.2f}), code {facts["code"] / GIB:.2f}'
      + ('; a few per cent off at O0' if facts['level'] == 'O0' else ''),
      f'collectives a step, results on a device: {moved}',
      f'step: at least {facts["step_seconds"]:.3g} s, bound by {NEEDS[facts["bound"]]}: '
      + ', '.join(f'{NEEDS[name]} {seconds:.3g} s' for name, seconds in facts['roofline'].items()
                  if seconds),
      f'sent by a device a step: {sent}',
      f'model FLOPs: at most {facts["most_mfu"]:.1%} of the {facts["peak"]:.3g} FLOP/s (bf16) of '
      f'{facts["chips"]} chips',
      f'job: {facts["steps"]:,} steps in at least {facts["hours"]:.3g} h, '
      f'${facts["dollars"]:,.0f}, {"at the given" if facts["rate_given"] else "assumed:"} '
      f'${facts["rate"]:.2f} a chip-hour'])


def refusal(facts: dict) -> str:
  """The text that says why the step does not fit, and with which settings it does."""
  needed = 'more HBM than there is' if facts['needed_gib'] is None else (
      f'{facts["needed_gib"]:.2f} GiB of HBM a device, available are '
      f'{facts["available_gib"]:.2f} GiB')
  lines = [f'does not fit {facts["where"]}: needs {needed} ({facts["reason"]})']
  if 'remedies' in facts:
    lines += [f'fits with {pod.as_flags(r["settings"])} (at O0: peak '
              f'{r["peak_memory"] / GIB:.2f} GiB)' for r in facts['remedies']] or [
                  'none of the tried remat, fsdp and accumulate makes it fit; allowed: a topology '
                  'with more chips or more memory, a smaller batch_size or network']
  return '\n'.join(lines)


if __name__ == '__main__':
  experiments.run(main)
