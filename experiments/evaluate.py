"""Evaluates a run directory, or samples of any origin against a reference.

python -m experiments.evaluate --workdir=runs/vae [--split=validation] [--step=N] [--config=...]
python -m experiments.evaluate --samples=DIR|FILE.npz|RUN --reference=DATASET:split|DIR|FILE.npz \
  [--train=...] [--encoder=digits] [--metrics=fd,kid] [--num_samples=N] [--resize] [--out=FILE.json]

The first command runs the evaluators of the run's config, and writes eval.json and sample pictures
into the run directory. A --config of the same training replaces sampler, evaluators and encoder;
the record is then evals/HASH.json. --metrics measures some metrics and adds them to the record.
Another --split or --step has the record evals/HASH-SPLIT-STEP.json.

The second command reads images from a folder, examples from an npz (images, or with
--encoder=identity feature vectors), or draws from a run's model. It prints a Markdown table, and
writes --out as {"metrics": {name: {"value", "low", "high", "card"}}}, with the table as .md next to
it. Features and figures are kept in the cache: a second call computes nothing again.
"""

import functools
import pathlib

from absl import flags
from ml_collections import config_flags

import experiments
from genjax import disk, encoders, runs
from genjax.cluster import hosts
from genjax.evals import card
from genjax.runs import measuring
from genjax.runs import samples as any_samples
from genjax.types import BadInput

CONFIG = config_flags.DEFINE_config_file('config', None, 'Same training as --workdir, with other '
                                         'sampler, evals or encoder: FILE.py[:argument].')
WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory of experiments.train.')
SPLIT = flags.DEFINE_enum('split', 'test', ['validation', 'test'], 'What to evaluate a run on.')
STEP = flags.DEFINE_integer('step', None, 'Checkpoint; none: the selected one, else the last.')
SAMPLES = flags.DEFINE_string('samples', None, 'Folder of images, npz, or run directory.')
REFERENCE = flags.DEFINE_string('reference', None, 'DATASET:split, folder of images, or npz.')
TRAIN = flags.DEFINE_string('train', None, 'What the model was trained on, if the reference does '
                            'not bring it: DATASET:split, folder of images, or npz.')
ENCODER = flags.DEFINE_string('encoder', None, f'{", ".join(encoders.ENCODERS)}, or a file *.npz; '
                              'none: the one committed for the reference.')
METRICS = flags.DEFINE_list('metrics', None, 'Names of metrics; none: those that apply.')
NUM = flags.DEFINE_integer('num_samples', None, 'Size of a fixed random subset; none: all.')
CHUNK = flags.DEFINE_integer('chunk', None, 'Samples of a run drawn at once; none: as its '
                             'config.mesh.chunk says.', lower_bound=1)
SEED = flags.DEFINE_integer('seed', 0, 'Seed of the choice of samples, splits and permutations.')
RESIZE = flags.DEFINE_bool('resize', False, 'Resize samples of another size to that of the '
                           'reference, by Lanczos; their cards say so.')
X_KEY = flags.DEFINE_string('x_key', '', 'Key of the samples in FILE.npz; none: by convention.')
OUT = flags.DEFINE_string('out', None, 'FILE.json to write; the table goes to FILE.md.')
OF_SAMPLES = ('reference', 'train', 'encoder', 'num_samples', 'out', 'resize', 'x_key')

STOPPED = ('stopped before the figures were written:'
           ' there was nothing to save; the same command evaluates again')


def main(_):
  if bool(WORKDIR.value) == bool(SAMPLES.value):
    raise BadInput('allowed: --workdir=RUN, or --samples=... with --reference=...')
  if WORKDIR.value:
    return of_run()
  if CONFIG.value:
    raise BadInput('--config is for --workdir; allowed with --samples: the flags of samples')
  if not REFERENCE.value:
    raise BadInput('--reference is missing; allowed: DATASET:split, a folder of images, FILE.npz')
  if OUT.value and not OUT.value.endswith('.json'):
    raise BadInput(f'--out={OUT.value}; allowed: FILE.json')
  table = pathlib.Path(OUT.value).with_suffix('.md') if OUT.value else None
  if OUT.value and hosts.is_lead():
    disk.check_writable(OUT.value)
    disk.check_writable(table)
  progress = functools.partial(experiments.progress, unit='evaluator', position=1)
  with (any_samples.on_mesh(SAMPLES.value),
        experiments.progress(unit='example', desc='encoded') as encoded):
    results = any_samples.evaluate(
        SAMPLES.value, REFERENCE.value, METRICS.value, ENCODER.value, TRAIN.value, NUM.value,
        STEP.value, SEED.value, progress, encoded.update, RESIZE.value, X_KEY.value)
  text = any_samples.table(results)
  if OUT.value and hosts.is_lead():
    metrics = {name: value._asdict() for name, value in results['metrics'].items()}
    disk.write_together({OUT.value: disk.to_json({**results, 'metrics': metrics}).encode(),
                         table: text.encode()})
  experiments.say(text)
  return 0


def of_run():
  """Runs the evaluators that the run's config or --config names, or those for --metrics."""
  for name in OF_SAMPLES:
    if flags.FLAGS[name].value not in (None, False, ''):
      raise BadInput(f'--{name} is for --samples; a run is evaluated as its config says')
  progress, tick = measuring.shown(experiments.progress)
  measured = CONFIG.value.to_dict() if CONFIG.value else None
  if hosts.is_lead() and pathlib.Path(WORKDIR.value).is_dir():
    disk.check_writable(pathlib.Path(WORKDIR.value) / 'eval.json')
  with runs.on_mesh(WORKDIR.value):
    metrics = runs.evaluate(WORKDIR.value, SPLIT.value, STEP.value, METRICS.value, progress,
                            measured, CHUNK.value, tick)
  experiments.say(card.describe(metrics))


if __name__ == '__main__':
  experiments.run(main, stopped=STOPPED, needs_config=False)
