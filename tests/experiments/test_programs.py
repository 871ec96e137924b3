"""train, evaluate and sample from end to end, in tiny sizes."""

import functools
import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import genjax
from genjax import configs, data, sharding, wiring
from genjax.runs import rundir, writer
from genjax.train import init, loop
from tests import programs
from tests.programs import content, refused

DIGITS = ('configs/digits.py:family=vae,objective=kl,model.latent_dim=2,posterior.features=(16,),'
          'decoder.features=(16,),conditional=True')
TINY = ('--config.steps=20', '--config.steps_per_dispatch=5', '--config.log.every=10',
        '--config.checkpoint.every=10', '--config.select.every=10', '--config.batch_size=32',
        '--config.optim.decay=constant', '--config.evals.names=likelihood,cost',
        '--config.evals.num_samples=40')


def train(workdir, *flags):
  return programs.run('experiments.train', f'--config={DIGITS}', f'--workdir={workdir}',
                      *programs.merged(*TINY, *flags))


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  path = tmp_path_factory.mktemp('programs') / 'run'
  done = train(path)
  assert done.code == 0 and done.stderr == '', done.stderr
  return path, done.stdout


@pytest.fixture
def run(trained, tmp_path):
  return shutil.copytree(trained[0], tmp_path / 'run')


def sample(run, name, *flags):
  out = run.parent / name
  done = programs.run('experiments.sample', f'--workdir={run}', f'--out={out}', *flags)
  assert done.code == 0 and done.stderr == '', done.stderr
  return np.load(out)['x'] if name.endswith('.npz') else None


def test_what_training_leaves_and_says(trained):
  path, stdout = trained
  assert re.match(r'vae by kl \(bound\) on digits: [\d,]+ parameters, global batch 32 on .*, '
                  r'steps 0 to 20\n', stdout)
  assert 'nll_bound_bpd' in stdout and 'samples_per_second' in stdout
  names = {p.name for p in path.iterdir()}
  assert {'config.json', 'metrics.jsonl', 'checkpoints', 'samples', 'eval.json'} <= names
  assert any(name.startswith('events.') for name in names)
  assert {p.name for p in (path / 'samples').iterdir()} == {
      'final.npz', 'final.png', 'reference.npz'}
  record = rundir.read(path)
  assert record['data']['name'] == 'digits' and record['versions']['jax'] == jax.__version__
  evaluated = json.loads((path / 'eval.json').read_text())
  assert evaluated['step'] in (10, 20) and evaluated['metrics']['nll_bound_bpd']['card']['kind']
  logged = [row['step'] for row in writer.read_metrics(path) if 'model/loss' in row]
  assert logged == [10, 20]


def test_a_second_launch_resumes_and_ends_as_one_launch_would(run):
  again = train(run, '--config.steps=40', '--noevaluate')
  assert again.code == 0 and 'steps 20 to 40' in again.stdout
  straight = run.parent / 'straight'
  assert train(straight, '--config.steps=40', '--noevaluate').code == 0

  def digests(path):
    return json.loads((path / 'checkpoints/40/checkpoint.json').read_text())['content']['arrays']

  assert digests(run) == digests(straight)
  assert rundir.read(run)['history'][0]['changes']['steps'] == [20, 40]
  before = content(run / 'checkpoints')
  finished = train(run, '--config.steps=40', '--noevaluate')
  assert 'steps 40 to 40' in finished.stdout and content(run / 'checkpoints') == before


def test_another_config_is_refused_by_its_keys(run):
  before = content(run)
  message = refused(train(run, '--config.optim.lr=0.5', '--config.seed=3'),
                    'optim.lr: ', ' there, 0.5 now', 'seed: 0 there, 3 now')
  assert 'steps_per_dispatch' not in message and content(run) == before


@pytest.mark.slow
def test_evaluate_repeats_itself(run):
  whole = json.loads((run / 'eval.json').read_text())
  first = whole['metrics']['nll_bound_bpd']
  done = programs.run('experiments.evaluate', f'--workdir={run}', '--metrics=likelihood')
  assert done.code == 0, done.stderr
  again = json.loads((run / 'eval.json').read_text())
  # what was measured before stays: a part of the metrics is added to the others
  assert again['metrics'].keys() == whole['metrics'].keys() > {'nll_bound_bpd'}
  assert again['metrics']['nll_bound_bpd'] == first and set(again['apart']) == {'nll_bound_bpd'}
  assert again['provenance'] == whole['provenance'] and again['provenance']['config_hash']
  before = (run / 'eval.json').read_bytes(), (run / 'samples/final.npz').read_bytes()
  done = programs.run('experiments.evaluate', f'--workdir={run}', '--metrics=likelihood',
                      '--split=validation', '--step=10')
  assert done.code == 0, done.stderr
  # another step and split is another measurement
  assert before == ((run / 'eval.json').read_bytes(), (run / 'samples/final.npz').read_bytes())
  [path] = (run / 'evals').iterdir()
  other = json.loads(path.read_text())
  assert (other['split'], other['step']) == ('validation', 10)
  assert path.name.endswith('-validation-10.json')
  assert (run / 'samples' / f'{path.stem}.png').is_file()


def test_a_metric_is_measured_or_refused_with_the_keyword_that_would(run):
  before, record = content(run), (run / 'eval.json').read_bytes()
  for metric, words in (('nll_exact_bpd', ('nll_exact_bpd', 'log_prob', 'nll_bound_bpd')),
                        ('nll_bound_nats', ('17 levels is in bpd', 'nll_bound_bpd'))):
    refused(programs.run('experiments.evaluate', f'--workdir={run}', f'--metrics={metric}'), *words)
  (run / 'eval.json').write_bytes(record.replace(b'"value"', b'"valve"'))
  refused(programs.run('experiments.evaluate', f'--workdir={run}'), 'eval.json is damaged')
  (run / 'eval.json').write_bytes(record)
  assert content(run) == before


@pytest.mark.slow
def test_samples_are_bytes_and_depend_on_the_seed_and_their_number_alone(run):
  x = sample(run, 'a.npz', '--num=10', '--seed=7')
  assert x.shape == (10, 8, 8, 1) and x.dtype == np.uint8
  assert set(np.unique(x)) <= {round(255 * k / 16) for k in range(17)}
  np.testing.assert_array_equal(x, sample(run, 'b.npz', '--num=10', '--seed=7'))
  assert (run.parent / 'a.npz').read_bytes() == (run.parent / 'b.npz').read_bytes()
  np.testing.assert_array_equal(x, sample(run, 'c.npz', '--num=300', '--seed=7')[:10])
  assert (x != sample(run, 'd.npz', '--num=10', '--seed=8')).any()
  assert (x != sample(run, 'e.npz', '--num=10', '--seed=7', '--ema=false')).any()
  assert (x != sample(run, 'f.npz', '--num=10', '--seed=7', '--cond=3')).any()
  sample(run, 'g.png', '--num=4')
  assert (run.parent / 'g.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.slow
def test_a_picture_shows_means_and_draws_where_they_are_asked_for(run):
  """The mean of a small VAE is smooth; the pixels of a draw are noise around it."""
  def roughness(name, *flags):
    sample(run, name, '--num=16', '--seed=7', *flags)
    x = np.asarray(Image.open(run.parent / name)).astype(float)
    return np.abs(np.diff(x, axis=0)).mean()

  assert roughness('mean.png') < 0.9 * roughness('drawn.png', '--draws')
  drawn = sample(run, 'a.npz', '--num=16', '--seed=7')
  np.testing.assert_array_equal(drawn, sample(run, 'b.npz', '--num=16', '--seed=7', '--draws'))


def test_load_gives_the_model_its_parameters_and_the_spec(trained):
  model, params, spec = genjax.load(trained[0])
  assert spec == data.load('digits').spec
  x, evaluations = model.sample(params, jax.random.key(0), 3, np.zeros(3, np.int32))
  assert x.shape == (3, *spec.shape) and evaluations == 1
  raw = genjax.load(trained[0], step=20, ema=False)[1]
  averaged = genjax.load(trained[0], step=20)[1]
  assert jax.tree.structure(raw) == jax.tree.structure(averaged)
  assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), raw, averaged)))


def test_dry_says_what_a_step_costs_and_writes_nothing(tmp_path):
  done = train(tmp_path / 'run', '--dry')
  assert done.code == 0 and content(tmp_path) == {}
  assert re.search(r'^  model/.*: float32\[\d+, ?\d+\]$', done.stdout, re.MULTILINE)
  cost = re.search(r'one step: (\S+) FLOPs .*, (\S+) MiB temporary, (\S+) MiB state', done.stdout)
  assert float(cost[1]) > 1e5 and float(cost[2]) > 0 and float(cost[3]) > 0
  # the config has a warmup of 50, and a flag a run of 20 steps
  assert done.stdout.splitlines()[1].startswith('warning: optim.warmup=50 is more than the 20')
  parameters = int(re.search(r'([\d,]+) parameters', done.stdout)[1].replace(',', ''))
  shapes = re.findall(r'^  \S+: float32\[(.*)\]$', done.stdout, re.MULTILINE)
  assert parameters == sum(int(np.prod([int(n) for n in s.split(',') if n])) for s in shapes)


@pytest.mark.parametrize('argument', [DIGITS, pytest.param(
    'configs/digits.py:family=implicit,objective=wasserstein,generator.features=(16,),'
    'critic.features=(16,)', marks=pytest.mark.slow)])
def test_a_step_is_traced_once_in_a_whole_run(tmp_path, argument):
  config = configs.load(argument)
  configs.override(config, {'steps': 40, 'steps_per_dispatch': 5, 'log.every': 10,
                            'checkpoint.every': 10, 'select.every': 10, 'batch_size': 16})
  run = wiring.run(config)
  traces = []

  @functools.wraps(run.step)
  def counted(state, rows):
    traces.append(1)
    return run.step(state, rows)

  plan = loop.Plan(config.steps, 5, 10, 10, 2, 0, 10)
  validate = wiring.validator(config, run)
  dispatch = wiring.compiled_step(config, run._replace(step=counted), sharding.make_mesh())
  state = init.initialise(run.init, jax.random.key(0), wiring.first_rows(config, run))

  class Bar:
    update = set_postfix = staticmethod(lambda *args, **kw: None)

  last = loop.train(state, {}, dispatch, wiring.batches(run.source, 0, 5), plan,
                    tmp_path / 'checkpoints', validate=validate, write=lambda *row: None,
                    progress=Bar)
  assert int(last.step) == 40 and len(traces) == 1


@pytest.mark.slow
def test_utilisation_skipped_steps_and_a_trace(tmp_path):
  run = tmp_path / 'run'
  done = train(run, '--config.log.mfu=True', '--config.nan_steps_allowed=2', '--profile=5',
               '--config.steps_per_dispatch=1')
  assert done.code == 0 and done.stderr == '', done.stderr
  rows = writer.read_metrics(run)
  logged = [row for row in rows if 'steps_per_second' in row]
  assert [row['step'] for row in logged] == [10, 20]
  assert all(0 < row['mfu'] < 1 and row['skipped'] == 0 for row in logged)
  metrics = json.loads((run / 'eval.json').read_text())['metrics']
  assert all(value['card']['detail']['skipped_steps'] == 0 for value in metrics.values())
  [trace] = (run / 'profile').rglob('*.xplane.pb')
  planes = jax.profiler.ProfileData.from_file(str(trace)).planes
  events = {event.name for plane in planes for line in plane.lines for event in line.events}
  steps = {name for name in events if name.startswith('train')}
  assert steps == {'train'} or len(steps) == 5, steps


def test_an_address_is_no_workdir(tmp_path):
  refused(train('gs://bucket/run'), 'gs://bucket/run', 'file system that all hosts mount')
