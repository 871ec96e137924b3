"""Whether a config's train step fits the devices of an absent pod, and settings with which it does.

Nothing is allocated: the step, its shardings and its dispatch are those of experiments.train, the
data are only shapes.
"""

import itertools
import time

import jax

from genjax import configs, memory, sharding, wiring
from genjax.pod import compiled, topology, traffic
from genjax.train import step
from genjax.types import BadInput

LEVELS = {'full': 'UNKNOWN', 'O0': 'O0'}  # UNKNOWN is JAX's default
# kind of remedy, besides rematerialisation -> settings to try, weakest first
KINDS = {'fsdp': [{'mesh.fsdp': n} for n in (4, 16, 64, 256)],
         'accumulate': [{'accumulate': n} for n in (2, 4, 8, 16, 32, 64)]}


def changed(config, settings):
  """A copy of the config with dotted keys set."""
  copy = config.copy_and_resolve_references()
  configs.override(copy, settings)
  return copy


def check(config, run: wiring.Run, where: topology.Slice) -> None:
  """Raises BadInput for mistakes that show without the compiler."""
  fsdp, rows = config.mesh.fsdp, config.batch_size // config.accumulate
  if run.step is None:
    raise BadInput('this run is fitted in closed form or by EM: it has no step to compile')
  if fsdp < 1 or where.num_devices // where.num_slices % fsdp:
    raise BadInput(f'mesh.fsdp={fsdp} does not divide the {where.num_devices // where.num_slices} '
                   f'devices of a slice of {where.name}')
  if config.batch_size % config.accumulate or rows % where.num_devices:
    raise BadInput(f'batch_size={config.batch_size} in accumulate={config.accumulate} part(s) '
                   f'cannot be shared alike by the {where.num_devices} devices of {where}; '
                   f'allowed: multiples of {where.num_devices * config.accumulate}, or a smaller '
                   'topology')


def attempt(config, declared, devices, level: str) -> dict:
  """{'fits', 'compile_seconds'} of a compilation, with memory and traffic, or the memory needed.

  declared: a data set of shapes; devices: array of the pod's devices; level: a key of LEVELS.
  """
  jax.config.update('jax_optimization_level', LEVELS[level])
  run = wiring.run(config, declared)
  start = time.perf_counter()
  mesh = sharding.make_mesh(config.mesh.fsdp, devices=devices)
  lowered = step.lower_step(*wiring.dispatched(config, run, mesh))
  try:
    program = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    needed = compiled.out_of_memory(error)
    if needed is None:
      raise
    return {'fits': False, 'compile_seconds': time.perf_counter() - start, 'needed_gib': needed[0],
            'available_gib': needed[1], 'reason': str(error).strip().splitlines()[0]}
  seconds = time.perf_counter() - start
  text, k = program.as_text(), config.steps_per_dispatch
  slices = len({getattr(device, 'slice_index', 0) for device in devices.flat})
  moved = traffic.sent(text, *mesh.devices.shape, slices)
  return {'fits': True, 'compile_seconds': seconds, **memory.of(program)._asdict(),
          'collectives': compiled.collectives(text),
          # per step and device
          'compiled_flops': program.cost_analysis()['flops'],
          'hbm_bytes': traffic.accessed(text) / k,
          'sent_bytes': {axis: {'ici': of.ici / k, 'dcn': of.dcn / k}
                         for axis, of in moved.items()}}


def remedies(config, declared, where: topology.Slice, devices) -> list[dict]:
  """[{'settings', 'peak_memory'}] that fit at O0: the first of each kind, else of joined kinds.

  config, declared, devices: see `attempt`; where: the slice.
  """
  remat = wiring.remat_settings(config, declared.spec, True)
  kinds = {'remat': [remat] if remat else [], **KINDS}
  possible = {kind: [s for s in settings if is_allowed(config, declared, where, s)]
              for kind, settings in kinds.items()}
  for count in range(1, len(kinds) + 1):
    fitting = []
    for together in itertools.combinations(possible.values(), count):
      # the strongest setting of all kinds but the last, whose settings are tried in turn
      for last in together[-1]:
        settings = {k: v for kind in (*[s[-1:] for s in together[:-1]], [last]) for s in kind
                    for k, v in s.items()}
        if len(settings) < count or not is_allowed(config, declared, where, settings):
          continue
        print(f'does not fit; trying {as_flags(settings)}', flush=True)
        tried = attempt(changed(config, settings), declared, devices, 'O0')
        if tried['fits']:
          fitting.append({'settings': settings, 'peak_memory': tried['peak_memory']})
          break
    if fitting:
      return fitting
  return []


def is_allowed(config, declared, where: topology.Slice, settings) -> bool:
  """Whether the settings exceed the config's, and give a run that can be built and sharded."""
  if any(new <= _now(config, key) for key, new in settings.items()):
    return False
  try:
    config = changed(config, settings)
    check(config, wiring.run(config, declared), where)
  except BadInput:
    return False
  return True


def _now(config, key: str):
  for name in key.split('.'):
    config = config.get(name, 0)
  return config or 0


def as_flags(settings) -> str:
  return ' '.join(f'--config.{key}={value}' for key, value in settings.items())


def priced(facts: dict, where: topology.Slice, rate: float) -> dict:
  """The least cost of a compiled run: roofline of a step, hours and dollars.

  facts: of `compile.record` and `attempt`; rate: dollars per chip-hour. A device's FLOPs are the
  larger of two counts: XLA's, of all products on the device but with loops counted once, and an
  equal share of the step's, with all iterations.
  """
  flops = max(facts['hardware_flops'] / where.num_devices, facts['compiled_flops'])
  sent = facts['sent_bytes'].values()
  of = topology.roofline(where, flops, facts['hbm_bytes'], sum(s['ici'] for s in sent),
                         sum(s['dcn'] for s in sent))
  total = facts['steps'] * of.seconds
  return {'roofline': of._asdict(), 'bound': of.bound, 'step_seconds': of.seconds,
          'most_mfu': facts['model_flops'] / (where.peak * of.seconds),
          'hours': total / 3600, 'dollars': topology.price(where, total, rate)}
