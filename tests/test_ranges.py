"""Numbers by keyword: the edges of each range, and every keyword of the tables has a taker."""

import inspect

import pytest

from configs import defaults
from genjax import compat, data, ranges
from genjax.evals import EVALS
from genjax.models import FAMILIES
from genjax.nn import NETWORKS
from genjax.numerics.samplers import SAMPLERS
from genjax.objectives import OBJECTIVES
from genjax.types import BadInput

INF, NAN = float('inf'), float('nan')


@pytest.mark.parametrize('interval, inside, outside', (
    ('[0, 1)', (0, 0.0, 0.999, None), (1, 1.0, -1e-9, NAN, INF)),
    ('[0, 1]', (0, 1, 0.5), (1.0001, -0.1, NAN)),
    ('(0, inf)', (1e-30, 7, 3e38), (0, 0.0, -1.0, INF, NAN)),
    ('[0, inf]', (0, INF), (-INF, NAN)),
    ('(-inf, inf)', (-1e30, 0), (INF, -INF, NAN)),
    ('[1, 1024]', (1, 1024, (1, 2)), (0, 1025, (1, 0), 10**12)),
))
def test_the_edges_of_an_interval(interval, inside, outside):
  for value in inside:
    ranges.check('x', value, interval)
  for value in outside:
    with pytest.raises(BadInput, match='x=.*; allowed: '):
      ranges.check('x', value, interval)


def test_words_and_truth_values_are_of_the_check_of_types():
  for value in ('posterior', True, False):
    ranges.check('variance', value, '(0, inf)')


@pytest.mark.parametrize('value, words', (
    (10**5000, '0x'), ('9' * 5000, "'999"), ((1,) * 5000, '(1, 1')), ids=('int', 'str', 'tuple'))
def test_a_long_value_is_shortened(value, words):
  text = ranges.shortened(value)
  assert text.startswith(words) and len(text) < 100 and 'characters' in text


def test_every_keyword_with_a_range_has_a_taker():
  makes = [*(module.make for module in FAMILIES.values()),
           *(estimator.make for table in (OBJECTIVES, EVALS) for module in table.values()
             for estimator in module.ESTIMATORS.values()),
           *(module for table in NETWORKS.values() for module in table.values()),
           *SAMPLERS.values(), *data.BUNDLED.values()]
  taken = {name for make in makes for name in inspect.signature(make).parameters}
  assert set(ranges.BY_KEYWORD) <= taken, set(ranges.BY_KEYWORD) - taken
  assert set(ranges.BY_OPTIM) == {k for k, v in defaults.get().optim.items() if type(v) is not str}


def test_integers_without_a_range_of_their_own_are_sizes():
  def make(*, width: int = 8, depth: int | None = None, start: int = 0, share: float = 0.1,
           hidden: tuple[int, ...] = ()):
    pass

  good = {'width': 2**20, 'depth': None, 'start': 0, 'share': -3.0, 'hidden': (1, 2)}
  compat.check_keywords("model 'mine'", make, (), good, {})
  for bad, words in (({'width': 0}, 'integers from 1 to 1048576'), ({'width': 2**20 + 1}, 'width='),
                     ({'start': -1}, 'integers from 0'), ({'share': NAN}, 'finite numbers'),
                     ({'hidden': (3, 0)}, r'hidden=\(3, 0\)')):
    with pytest.raises(BadInput, match=words):
      compat.check_keywords("model 'mine'", make, (), bad, {})
