"""Draws samples from a run directory: the same seed gives the same samples.

python -m experiments.sample --workdir=runs/vae --num=64 --seed=7 --out=samples.png [--draws]
python -m experiments.sample --workdir=runs/diffusion --sampler=heun --num_steps=18 --guidance=2
python -m experiments.sample --workdir=runs/photos --cond=cat --num=1000 --out=cats/

--sampler_kw takes any of a sampler's own arguments, also those without a flag.

--edit draws posterior samples of a partly known image. Known is a part of it (inpaint), the means
of squares of pixels (super_resolve) or of channels (colourise), or y = A x for any matrix A in an
npz. FILE.png shows truth, measurement, samples and |A x - y|; FILE.npz holds them.

python -m experiments.sample --workdir=RUN --edit=inpaint --image=7.png --mask=4,0,8,8 --out=e.png
python -m experiments.sample --workdir=RUN --edit=super_resolve --image=7.png --factor=4

--show draws what a model has learned: test images over their reconstructions, interpolations
between pairs of them, sweeps of the most active units (of two latents: their grid), or half images
and their completions (autoregressive models).

python -m experiments.sample --workdir=runs/vae --show=reconstructions --num=12 --out=means.png
"""

import collections
import json
import pathlib

from absl import flags

import experiments
from genjax import disk
from genjax.cluster import hosts
from genjax.numerics.samplers import SAMPLERS
from genjax.runs import edit, edit_task, sampling, show, writer
from genjax.types import BadInput, DataSpec

WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory of experiments.train.',
                              required=True)
NUM = flags.DEFINE_integer('num', None, 'Samples to draw; none: 64, with --edit 8, with '
                           f'--show {show.NUM} images, pairs or units.', lower_bound=1)
SEED = flags.DEFINE_integer('seed', 0, 'Sample i depends only on the seed and i.', lower_bound=0,
                            upper_bound=2**32 - 1)
OUT = flags.DEFINE_string('out', 'samples.png', 'FILE.png, FILE.npz with keys x, labels and '
                          'classes, or FOLDER/ with a PNG for each sample.')
STEP = flags.DEFINE_integer('step', None, 'Checkpoint; none: the selected one, else the last.')
EMA = flags.DEFINE_bool('ema', True, 'Use the averaged parameters where the run keeps them.')
CHUNK = flags.DEFINE_integer('chunk', None, 'Samples drawn at once; none: as config.mesh.chunk '
                             'says. Fewer take less memory; the samples are the same.',
                             lower_bound=1)
COND = flags.DEFINE_string('cond', None, 'The class of every sample, by name or number '
                           '(conditional models); none: no label.')
DRAWS = flags.DEFINE_bool('draws', False, 'Show draws of pixels in a picture too, not their means '
                          '(of a VAE); FILE.npz always holds draws.')
SAMPLER = flags.DEFINE_string('sampler', None, 'Replaces the sampler of the config, with its own '
                              f'defaults (diffusion): {", ".join(SAMPLERS)}.')
NUM_STEPS = flags.DEFINE_integer('num_steps', None, 'Steps of the sampler; with --edit noise '
                                 f'levels, none: {edit.NUM_STEPS}.')
ETA = flags.DEFINE_float('eta', None, 'Noise of ddim; 0: none, 1: as in ancestral sampling.')
CHURN = flags.DEFINE_float('churn', None, 'S_churn of euler and heun.')
SAMPLER_KW = flags.DEFINE_string('sampler_kw', None, 'Other arguments of the sampler, as JSON: '
                                 '{"spacing": "edm"}. Without --sampler they and the flags are '
                                 "added to the config's own.")
GUIDANCE = flags.DEFINE_float('guidance', None, 'Weight of the guidance: 0 is the unconditional '
                              'model (or the guide), 1 the conditional one, more goes beyond. '
                              'Without --autoguidance it needs a run trained with label_dropout.')
INTERVAL = flags.DEFINE_string('guidance_interval', None, 'LOW,HIGH: guide only where sigma / '
                               'alpha is above LOW and at most HIGH.')
AUTOGUIDANCE = flags.DEFINE_string('autoguidance', None, 'Run directory of a worse model of the '
                                   'same task, as the guide instead of "no label".')
EDIT = flags.DEFINE_string('edit', None, f'What is known: {", ".join(edit_task.KINDS)}, or '
                           'FILE.npz with A [M, D] and, without --image, y [M] (in [-1, 1]).')
IMAGE = flags.DEFINE_string('image', None, '--edit: an image of the model\'s size and channels.')
MASK = flags.DEFINE_string('mask', None, '--edit=inpaint: FILE.png, white where hidden, or the '
                           'hidden box TOP,LEFT,BOTTOM,RIGHT.')
FACTOR = flags.DEFINE_integer('factor', None, '--edit=super_resolve: pixels per side of a square; '
                              'none: 4.')
RESIZE = flags.DEFINE_bool('resize', False, '--edit: resize an image of another size.')
PARTICLES = flags.DEFINE_integer('particles', 16, '--edit: particles per sample; more are closer '
                                 'to the posterior.')
NOISE = flags.DEFINE_float('noise', 0.0, '--edit: deviation of the noise in y, for images in '
                           '[-1, 1]; 0: y is exact.')
SHOW = flags.DEFINE_string('show', None, f'A picture of what was learned: {", ".join(show.SHOWS)}.')
OF_SAMPLERS = (SAMPLER, ETA, CHURN, SAMPLER_KW, GUIDANCE, INTERVAL, AUTOGUIDANCE)

STOPPED = ('stopped before the samples were written:'
           ' there was nothing to save; the same command draws them')


def main(_):
  out = pathlib.Path(OUT.value)
  if out.suffix not in writer.SAMPLE_FORMATS and (EDIT.value or not is_folder(out)):
    folder = '' if EDIT.value else ', or FOLDER/'
    raise BadInput(f'--out={OUT.value}: allowed: '
                   f'FILE{" or FILE".join(writer.SAMPLE_FORMATS)}{folder}')
  if hosts.is_lead():
    disk.check_writable(out / '0.png' if is_folder(out) else out)
  if SHOW.value is not None:
    return shown(out)
  return edited(out) if EDIT.value else sampled(out)


def is_folder(out: pathlib.Path) -> bool:
  """Whether --out is a folder: it ends with a slash, or exists as one."""
  return OUT.value.endswith('/') or out.is_dir()


def sampled(out: pathlib.Path) -> None:
  """Writes samples of the model to a file or a folder."""
  for flag in (IMAGE, MASK, FACTOR):
    if flag.value is not None:
      raise BadInput(f'--{flag.name}={flag.value} without --edit')

  def check(spec: DataSpec) -> None:
    if out.suffix == '.png' and not (writer.is_image(spec) or spec.shape == (2,)):
      raise BadInput(f'--out={OUT.value}: samples of shape {spec.shape} are no picture; allowed: '
                     'FILE.npz')
    if is_folder(out):
      writer.check_folder(out, spec)

  drawn = sampling.sample(
      WORKDIR.value, NUM.value or 64, SEED.value, cond=COND.value, step=STEP.value, ema=EMA.value,
      sampler=asked_sampler(), chunk=CHUNK.value, check=check,
      pictured=out.suffix != '.npz' and not DRAWS.value)
  x, labels, classes, spec, step, evaluations = drawn
  if hosts.is_lead():
    write = writer.write_folder if is_folder(out) else writer.write_sample_file
    write(out, x, spec, labels, classes)
  asked = {} if labels is None or spec.context else collections.Counter(
      writer.names_of(labels, classes))
  counts = ', '.join(f'{name} {count}' for name, count in asked.items())
  of_classes = f' of {counts}' if counts else ''
  experiments.say(f'{len(x)} samples{of_classes} of step {step} to {out}: {evaluations:.6g} '
                  'network evaluations each')


def edited(out: pathlib.Path) -> None:
  """Writes posterior samples of a partly known image to a file."""
  for flag in OF_SAMPLERS:
    if flag.value is not None:
      raise BadInput(f'--{flag.name}={flag.value}: --edit has a sampler of its own; allowed: '
                     '--particles, --num_steps')

  def check(spec: DataSpec) -> None:
    if out.suffix == '.png' and not writer.is_image(spec):
      raise BadInput(f'--out={OUT.value}: samples of shape {spec.shape} are no picture; allowed: '
                     'FILE.npz')

  task, drawn, spec, step = sampling.edited(
      WORKDIR.value, EDIT.value, NUM.value or 8, SEED.value, cond=COND.value, step=STEP.value,
      ema=EMA.value, num_particles=PARTICLES.value, num_steps=NUM_STEPS.value, noise=NOISE.value,
      progress=experiments.progress, check=check, image=IMAGE.value, mask=MASK.value,
      factor=FACTOR.value, resize=RESIZE.value)
  if hosts.is_lead():
    edit.write(out, task, drawn, spec)
  experiments.say('|A x - y| of each sample (root mean square, images in [-1, 1]): '
                  + ' '.join(f'{r:.2g}' for r in drawn.residual))
  experiments.say(f'{len(drawn.x)} posterior samples of step {step} given {task.name} to {out}: '
                  f'{drawn.evaluations} network evaluations in {drawn.seconds:.1f} s; effective '
                  f'particles {drawn.effective:.1f} of {PARTICLES.value}')


def shown(out: pathlib.Path) -> None:
  """Writes a picture of what the model has learned to FILE.png."""
  for flag in (*OF_SAMPLERS, EDIT, IMAGE, MASK, FACTOR, COND, CHUNK, NUM_STEPS, DRAWS, RESIZE,
               PARTICLES, NOISE):
    if flag.value is not None and flag.present:
      raise BadInput(f'--{flag.name}={flag.value} with --show={SHOW.value}; allowed: --num, '
                     '--seed, --step, --ema')
  if out.suffix != '.png':
    raise BadInput(f'--out={OUT.value}: allowed with --show: FILE.png')
  sheet, spec, step = show.show(WORKDIR.value, SHOW.value, NUM.value, SEED.value, step=STEP.value,
                                ema=EMA.value)
  if hosts.is_lead():
    writer.image_grid(sheet.x, spec.levels, out, sheet.columns)
  experiments.say(f'{SHOW.value} of step {step} to {out}: {len(sheet.x) // sheet.columns} rows of '
                  f'{sheet.columns} images')


def asked_sampler() -> dict | None:
  """The sampler by the flags, {'name', 'kw', 'guidance'}; None: the config's."""
  given = {key: flag.value for key, flag in {
      'num_steps': NUM_STEPS, 'eta': ETA, 'churn': CHURN}.items() if flag.value is not None}
  other = _json(SAMPLER_KW.value)
  twice = sorted(given.keys() & other.keys())
  if twice:
    raise BadInput(f'--{twice[0]} is also in --sampler_kw={SAMPLER_KW.value}; allowed: once')
  guided = guidance()
  if not (SAMPLER.value or given or SAMPLER_KW.value is not None or guided):
    return None
  return sampling.chosen(WORKDIR.value, SAMPLER.value, {**given, **other}, guided)


def _json(text: str | None) -> dict:
  """The JSON object in --sampler_kw. Raises BadInput for anything else."""
  if text is None:
    return {}
  try:
    arguments = json.loads(text)
  except (json.JSONDecodeError, RecursionError):
    arguments = None
  if type(arguments) is not dict:
    raise BadInput(f'--sampler_kw={text}; allowed: a JSON object, {{"num_steps": 50}}')
  return arguments


def guidance() -> dict | None:
  """The section config.sampler.guidance by the flags, or None."""
  if GUIDANCE.value is None:
    for flag in (INTERVAL, AUTOGUIDANCE):
      if flag.value is not None:
        raise BadInput(f'--{flag.name}={flag.value} without --guidance=WEIGHT, such as 2')
    return None
  try:
    interval = tuple(float(end) for end in (INTERVAL.value or '').split(',') if INTERVAL.value)
  except ValueError:
    interval = (None,)
  if INTERVAL.value is not None and (len(interval) != 2 or not 0.0 <= interval[0] < interval[1]):
    raise BadInput(f'--guidance_interval={INTERVAL.value}; allowed: LOW,HIGH, such as 0.2,5.0')
  return {'weight': GUIDANCE.value, 'interval': interval,
          **({'autoguidance': AUTOGUIDANCE.value} if AUTOGUIDANCE.value else {})}


if __name__ == '__main__':
  experiments.run(main, stopped=STOPPED)
