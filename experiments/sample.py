"""Draws samples from a run directory: the same seed gives the same samples.

python -m experiments.sample --workdir=runs/vae --num=64 --seed=7 --out=samples.png
"""

import json
import pathlib

from absl import flags

import experiments
from genjax import build, runs
from genjax.train import hosts, writer
from genjax.types import BadInput

WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory of experiments.train.',
                              required=True)
NUM = flags.DEFINE_integer('num', 64, 'How many samples.', lower_bound=1)
SEED = flags.DEFINE_integer('seed', 0, 'Sample i depends on the seed and i alone.', lower_bound=0,
                            upper_bound=2**32 - 1)
OUT = flags.DEFINE_string('out', 'samples.png', 'FILE.png, or FILE.npz with key x.')
STEP = flags.DEFINE_integer('step', None, 'Checkpoint; none: the selected one, else the last.')
EMA = flags.DEFINE_bool('ema', True, 'Use the averaged parameters where the run keeps them.')
COND = flags.DEFINE_integer('cond', None, 'The label of every sample (conditional models).')
SAMPLER = flags.DEFINE_string('sampler', None, 'In place of the one in the config (diffusion).')
SAMPLER_KW = flags.DEFINE_string('sampler_kw', None, 'Its arguments, or in place of those in the '
                                 'config, as JSON: {"num_steps": 50}.')


def main(_):
  out = pathlib.Path(OUT.value)
  if out.suffix not in writer.SAMPLE_FORMATS:
    raise BadInput(f'--out={OUT.value}: allowed: FILE{" or FILE".join(writer.SAMPLE_FORMATS)}')
  with runs.on_mesh(WORKDIR.value):
    run = runs.load(WORKDIR.value, STEP.value, EMA.value, asked_sampler())
    if run.model.sample is None:
      raise BadInput(f'a {run.config.model.family} trained by {run.config.objective.name} cannot '
                     'be sampled')
    spec = run.dataset.spec
    if out.suffix == '.png' and not (writer.is_image(spec) or spec.shape == (2,)):
      raise BadInput(f'--out={OUT.value}: samples of shape {spec.shape} are no picture; allowed: '
                     'FILE.npz')
    draw_from = build.drawer(run.config, spec, run.model, SEED.value, COND.value)
    x, info = draw_from(run.params)(NUM.value)
  if hosts.is_lead():
    writer.write_sample_file(out, x, spec)
  experiments.say(f'{NUM.value} samples of step {run.step} to {out}: {info["nfe"]} network '
                  'evaluations each')


def asked_sampler() -> dict | None:
  """What --sampler and --sampler_kw put in place of the config's; None: nothing."""
  if SAMPLER_KW.value is None:
    return {'name': SAMPLER.value, 'kw': {}} if SAMPLER.value else None
  try:
    sampler_kw = json.loads(SAMPLER_KW.value)
  except json.JSONDecodeError:
    sampler_kw = None
  if type(sampler_kw) is not dict:
    raise BadInput(f'--sampler_kw={SAMPLER_KW.value}; allowed: a JSON object, {{"num_steps": 50}}')
  return {**({'name': SAMPLER.value} if SAMPLER.value else {}), 'kw': sampler_kw}


if __name__ == '__main__':
  experiments.run(main, distributed=True)
