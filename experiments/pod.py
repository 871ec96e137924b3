"""Whether a config's train step fits the devices of an absent pod, and settings with which it does.

Nothing is allocated: the step, its shardings and its dispatch are those that experiments.train
runs, the data are shapes alone.
"""

import itertools
import time

import jax

from genjax import configs, memory, sharding, wiring
from genjax.pod import compiled, topology, traffic
from genjax.train import step
from genjax.types import BadInput

LEVELS = {'full': 'UNKNOWN', 'O0': 'O0'}  # UNKNOWN is what JAX has where nobody asked
# of each kind, but for rematerialisation, the settings that are tried, weakest first
KINDS = {'fsdp': [{'mesh.fsdp': n} for n in (4, 16, 64, 256)],
         'accumulate': [{'accumulate': n} for n in (2, 4, 8, 16, 32, 64)]}


def changed(config, settings):
  """A copy of the config with dotted keys set."""
  copy = config.copy_and_resolve_references()
  configs.override(copy, settings)
  return copy


def check(config, run: wiring.Run, where: topology.Slice) -> None:
  """Raises BadInput for mistakes that are known without the compiler."""
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
  """Compiles: {'fits', 'compile_seconds'} with memory and traffic, or the memory needed."""
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
          # of one step on one device
          'compiled_flops': program.cost_analysis()['flops'],
          'hbm_bytes': traffic.accessed(text) / k,
          'sent_bytes': {axis: {'ici': of.ici / k, 'dcn': of.dcn / k}
                         for axis, of in moved.items()}}


def remedies(config, declared, where: topology.Slice, devices) -> list[dict]:
  """The first setting of each kind that fits at O0; where no kind does alone, of kinds together."""
  remat = wiring.remat_settings(config, declared.spec, True)
  kinds = {'remat': [remat] if remat else [], **KINDS}
  possible = {kind: [s for s in settings if is_allowed(config, declared, where, s)]
              for kind, settings in kinds.items()}
  for count in range(1, len(kinds) + 1):
    found = []
    for together in itertools.combinations(possible.values(), count):
      # of all but the last kind the strongest: what that leaves is for the last one to find
      for last in together[-1]:
        settings = {k: v for kind in (*[s[-1:] for s in together[:-1]], [last]) for s in kind
                    for k, v in s.items()}
        if len(settings) < count or not is_allowed(config, declared, where, settings):
          continue
        print(f'does not fit; trying {as_flags(settings)}', flush=True)
        tried = attempt(changed(config, settings), declared, devices, 'O0')
        if tried['fits']:
          found.append({'settings': settings, 'peak_memory': tried['peak_memory']})
          break
    if found:
      return found
  return []


def is_allowed(config, declared, where: topology.Slice, settings) -> bool:
  """Whether that is more than the config has, and gives one that can be built and shared."""
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


def priced(made: dict, where: topology.Slice, rate: float) -> dict:
  """What the steps of a compiled run cost at least: the roofline, hours and dollars.

  XLA's FLOPs count a loop once and everything that it multiplies on a device, the step's own count
  every loop and an equal share: a device has the larger.
  """
  flops = max(made['hardware_flops'] / where.num_devices, made['compiled_flops'])
  sent = made['sent_bytes'].values()
  of = topology.roofline(where, flops, made['hbm_bytes'], sum(s['ici'] for s in sent),
                         sum(s['dcn'] for s in sent))
  total = made['steps'] * of.seconds
  return {'roofline': of._asdict(), 'bound': of.bound, 'step_seconds': of.seconds,
          'most_mfu': made['model_flops'] / (where.peak * of.seconds),
          'hours': total / 3600, 'dollars': topology.price(where, total, rate)}
