"""A second launch on a run directory; the whole soak is `python -m tests.launches`."""

import pytest

from tests import launches


@pytest.mark.slow
def test_of_two_launches_the_first_ends_as_if_alone(tmp_path):
  found = launches.soak(tmp_path, 2, seed=1)
  assert all(result.identical for result in found), found
