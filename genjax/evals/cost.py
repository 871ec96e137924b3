"""What sampling costs: samples per second, network evaluations per sample."""

from collections.abc import Callable

from genjax.evals import card as cards
from genjax.evals import two_sample
from genjax.evals.kinds import Task
from genjax.types import Estimator

METRICS = ('samples_per_second', 'nfe')


def make(task: Task) -> Callable:
  """evaluate(params, draw) -> samples_per_second (timed by draw) and nfe (network evaluations)."""
  def evaluate(params, draw):
    del params
    x, info = draw(task.num_samples)

    def card(metric, unit):
      return task.card(metric, unit=unit, n_generated=len(x), **two_sample.sampled(info))

    out = {}
    rate = card('samples_per_second', 'samples per second')
    seconds = info.get('seconds')
    out['samples_per_second'] = (
        cards.plain(len(x) / seconds, rate, 'one timing') if seconds else
        cards.absent(rate, 'the samples were not timed'))
    evaluations = card('nfe', 'network evaluations per sample')
    nfe = info.get('nfe')
    out['nfe'] = (cards.absent(evaluations, 'the sampler does not count') if nfe is None else
                  cards.plain(nfe, evaluations, 'a count, the mean of these samples'))
    return out

  return evaluate


ESTIMATORS = {'sample': Estimator(('sample',), make)}
