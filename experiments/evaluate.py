"""Evaluates a run directory on the test split and writes eval.json and sample pictures.

python -m experiments.evaluate --workdir=runs/vae [--split=validation] [--step=N] [--evals=fd,...]
"""

import functools

from absl import flags

import experiments
from genjax import runs
from genjax.evals import card

WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory of experiments.train.', required=True)
SPLIT = flags.DEFINE_enum('split', 'test', ['validation', 'test'], 'What to evaluate on.')
STEP = flags.DEFINE_integer('step', None, 'Checkpoint; none: the selected one, else the last.')
EVALS = flags.DEFINE_list('evals', None, 'Evaluators; none: those of the config that apply.')


def main(_):
  progress = functools.partial(experiments.progress, unit='evaluator')
  with runs.on_mesh(WORKDIR.value):
    metrics = runs.evaluate(WORKDIR.value, SPLIT.value, STEP.value, EVALS.value, progress)
  experiments.say(card.describe(metrics))


if __name__ == '__main__':
  experiments.run(main, distributed=True)
