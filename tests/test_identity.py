"""What makes two runs the same run: every section of a config has a role, and hashes read it."""

from configs import defaults
from genjax import identity
from tests.cells import config


def test_every_section_of_a_config_has_a_role():
  assert set(identity.SECTIONS) == set(defaults.get())


def test_a_trajectory_is_what_trains():
  one = {**config(0), 'data': {'name': 'folder', 'kw': {'path': '/a', 'levels': 256}}}
  free = dict.fromkeys(identity.sections('selects', 'measures', 'watched'), 'else')
  moved = {'data': {'name': 'folder', 'kw': {'path': '/b', 'levels': 256}}, 'init_from': '/b'}
  assert identity.trajectory(one) == identity.trajectory({**one, **free, **moved})
  assert identity.trajectory(one) != identity.trajectory({**one, 'batch_size': 7})


def test_the_name_of_a_run_does_not_depend_on_where_it_started_from_lies(tmp_path):
  hashes = {identity.run_hash(config(0, init_from=path)) for path in ('a/run', '/b/run', 'a/other')}
  assert len(hashes) == 2


def test_hashes_see_what_is_trained_and_measured():
  one = config(0)
  assert identity.config_hash(one) == identity.config_hash({**one, 'log': {'every': 7}})
  measured = {**one, 'evals': {'names': []}}
  assert identity.config_hash(one) != identity.config_hash(measured)
  assert identity.run_hash(one) == identity.run_hash(measured)
  sampled = {**one, 'sampler': {'name': 'heun'}}
  assert identity.config_hash(one) != identity.config_hash(sampled)
  assert identity.run_hash(one) == identity.run_hash(sampled)
  assert identity.run_hash(one) != identity.run_hash(config(1))
  assert identity.run_hash({'a': (1, 2)}) == identity.run_hash({'a': [1, 2]})
