"""Kill it anywhere: it goes on as if nothing had happened."""

import pytest

from tests import soak


@pytest.mark.slow
@pytest.mark.parametrize('name', soak.RUNS)
def test_three_kills_change_no_bit(name, tmp_path):
  soak.soak(soak.RUNS[name], tmp_path, kills=3, seed=0)
