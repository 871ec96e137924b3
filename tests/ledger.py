"""experiments.train with a ledger: which examples each process read for which step.

Lines of $LEDGER.PID: [step, [row numbers]], for one step a dispatch.
"""

import json
import os

import experiments
from experiments import train
from genjax.data.source import BatchSource

read = BatchSource.__getitem__


def recorded(self, i):
  with open(f'{os.environ["LEDGER"]}.{os.getpid()}', 'a') as file:
    file.write(json.dumps([int(i), self.rows(int(i)).tolist()]) + '\n')
  return read(self, i)


if __name__ == '__main__':
  BatchSource.__getitem__ = recorded
  experiments.run(train.main, stopped=train.STOPPED)
