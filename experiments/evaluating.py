"""What a terminal shows of an evaluation: the evaluator at work, and how far it is."""

from collections.abc import Callable, Iterable, Iterator

import experiments


def progress() -> tuple[Callable, Callable]:
  """(progress, tick) of `runs.evaluate`: one bar of batches, which names the evaluator at work."""
  bar = experiments.progress(unit='batch', desc='evaluation')

  def over(names: Iterable[str]) -> Iterator[str]:
    names = list(names)
    for i, name in enumerate(names, 1):
      bar.set_postfix({'evaluator': f'{name} ({i} of {len(names)})'})
      yield name
    bar.close()

  return over, bar.update
