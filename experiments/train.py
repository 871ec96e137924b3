"""Trains the model that a config describes and evaluates it, or resumes a run directory.

python -m experiments.train --config=configs/digits.py:family=vae,objective=kl --workdir=runs/vae

Exit code 42: stopped by SIGTERM, SIGINT (Ctrl-C), SIGHUP or SIGUSR1, and saved; the same command
resumes. A second Ctrl-C ends it at once.
"""

from absl import flags
from ml_collections import config_flags

import experiments
from genjax.runs import training

CONFIG = config_flags.DEFINE_config_file('config', None, 'What to train: FILE.py[:argument].')
WORKDIR = flags.DEFINE_string('workdir', None, 'Run directory; resumed if it exists.')
DRY = flags.DEFINE_bool('dry', False, 'Print shapes, parameters, FLOPs and memory of one step.')
EVALUATE = flags.DEFINE_bool('evaluate', True, 'Evaluate on the test split at the end.')
PROFILE = flags.DEFINE_integer('profile', None, 'Trace 5 dispatches from this step on into '
                               'WORKDIR/profile (TensorBoard, Perfetto).', lower_bound=0)

STOPPED = ('stopped before the first step:'
           ' there was nothing to save; the same command starts again')


def main(_):
  given = config_flags.get_override_values(flags.FLAGS['config'])
  if DRY.value:
    training.dry(CONFIG.value, WORKDIR.value, given=given, say=experiments.say)
  else:
    training.train(CONFIG.value, WORKDIR.value, evaluate=EVALUATE.value, trace=PROFILE.value,
                   given=given, say=experiments.say, progress=experiments.progress)


if __name__ == '__main__':
  experiments.run(main, stopped=STOPPED)
