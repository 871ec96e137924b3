"""One real run measured under several samplers by the programs; other trainings are refused."""

import json

import pytest

from tests import programs

CONFIG = 'configs/digits.py:family=diffusion,objective=score_matching'
SMALL = ('--config.steps=10', '--config.evals.num_samples=256', "--config.evals.names=('cost',)")


@pytest.mark.slow
def test_a_run_is_measured_under_another_sampler_and_its_own_record_stands(tmp_path):
  workdir = tmp_path / 'run'
  same = (f'--config={CONFIG}', *SMALL, f'--workdir={workdir}')
  assert programs.run('experiments.train', *same).code == 0
  own, config = (workdir / 'eval.json').read_bytes(), (workdir / 'config.json').read_bytes()
  heun = ('--config.sampler.name=heun', '--config.sampler.kw.num_steps=3')
  assert programs.run('experiments.evaluate', *same, *heun).code == 0
  [record] = (workdir / 'evals').iterdir()
  assert json.loads(record.read_text())['metrics']['nfe']['value'] == 5
  assert json.loads(own)['metrics']['nfe']['value'] == 50
  assert (workdir / f'samples/{record.stem}.png').is_file()
  assert (workdir / 'eval.json').read_bytes() == own
  assert (workdir / 'config.json').read_bytes() == config
  done = programs.run('experiments.evaluate', *same, '--config.batch_size=32')
  assert done.code == 1 and 'batch_size: 64 there, 32 here' in done.stderr
  assert 'allowed: differences in sampler and evals' in done.stderr
  # some of the metrics are added to all that the config asks for
  assert json.loads(own)['provenance']['config_hash']
  assert programs.run('experiments.evaluate', f'--workdir={workdir}', '--metrics=nfe').code == 0
  again = json.loads((workdir / 'eval.json').read_text())
  assert again['provenance'] == json.loads(own)['provenance'] and 'nfe' in again['apart']
