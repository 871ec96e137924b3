"""Pictures of latents: by hand-made latents whose decodings are known, and of a trained run."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import data, prob
from genjax.runs import show
from genjax.types import DataSpec, Latents, Model
from tests import programs
from tests.programs import refused

SPEC = DataSpec((2, 2, 1), 17, 3)
X = np.random.default_rng(0).integers(0, 17, (40, 2, 2, 1)).astype(np.uint8)


def loaded(infer, decode, conditional=False):
  dataset = data.Dataset('tiny', SPEC, {'test': {'x': X, 'cond': np.arange(40) % 3}}, {})

  def prepare(batch):
    labels = {'cond': batch['cond']} if conditional else {}
    return {'x': prob.from_levels(batch['x'], 17), **labels}

  return SimpleNamespace(
      dataset=dataset, params={}, training=SimpleNamespace(prepare=prepare),
      config=SimpleNamespace(mesh=SimpleNamespace(chunk=7)),
      model=Model(init=None, latents=Latents(infer, None, None, decode)))


def halves(params, batch, rng):
  """Latents as a tree: the upper and the lower row of pixels; rng None: the mean."""
  assert rng is None
  return [batch['x'][:, :1], batch['x'][:, 1:]]


def joined(params, z, cond):
  return jnp.concatenate(z, 1)


def test_reconstructions_stand_below_their_images():
  sheet = show.reconstructions(loaded(halves, joined), 5, 3)
  assert sheet.columns == 5 and sheet.x.shape == (10, 2, 2, 1)
  np.testing.assert_array_equal(sheet.x[:5], sheet.x[5:])
  assert all((image == X).all((1, 2, 3)).any() for image in sheet.x)
  other = show.reconstructions(loaded(halves, joined), 5, 4)
  assert (other.x != sheet.x).any()


def test_interpolations_lead_from_one_image_to_the_other():
  def decode(params, z, cond):  # the label shows in a pixel
    return joined(params, z, cond).at[:, 0, 0, 0].set(prob.from_levels(cond, 17))

  sheet = show.interpolation(loaded(halves, decode, conditional=True), 4, 0)
  rows = sheet.x.reshape(4, sheet.columns, 4)
  for row in rows:
    first, last = row[0, 1:].astype(float), row[-1, 1:].astype(float)
    for t, image in zip(np.linspace(0, 1, sheet.columns - 2), row[1:-1], strict=True):
      np.testing.assert_allclose(image[1:], (1 - t) * first + t * last, atol=0.51)
    labels = row[1:-1, 0]
    assert (labels < 3).all() and len(set(labels[:4])) == len(set(labels[4:])) == 1


def test_sweeps_move_one_unit_at_a_time_the_most_active_first():
  def infer(params, batch, rng):
    return jnp.float32([0.1, 0.5, 0.0]) * batch['x'].reshape(-1, 4)[:, :3]

  def decode(params, z, cond):
    return jnp.concatenate([z, jnp.zeros((len(z), 1))], 1).reshape(-1, 2, 2, 1)

  sheet = show.latents(loaded(infer, decode), 2, 0)
  rows = sheet.x.reshape(2, sheet.columns, 4)
  moves = [(row != row[:1]).any(0).tolist() for row in rows]
  assert moves == [[False, True, False, False], [True, False, False, False]]
  two = show.latents(loaded(lambda *args, **kw: infer(*args, **kw)[:, :2], lambda params, z, cond: (
      jnp.tile(z, 2).reshape(-1, 2, 2, 1))), 2, 0)
  assert two.columns == show.SIDE and len(two.x) == show.SIDE**2


def test_completions_stand_below_the_image_and_its_upper_half():
  def complete(params, rng, x, num_known, cond):
    assert num_known == 2
    drawn = prob.from_levels(jnp.full(x.shape, 3) + jax.random.randint(rng, (), 0, 9), 17)
    return drawn.at[:, 0].set(x[:, 0]), 4

  of_run = loaded(None, None)
  of_run.model = Model(init=None, complete=complete)
  sheet = show.completion(of_run, 5, 0)
  rows = sheet.x.reshape(2 + show.COMPLETIONS, 5, 2, 2, 1)
  assert sheet.columns == 5 and all((row[:, 0] == rows[0][:, 0]).all() for row in rows)
  assert (rows[1][:, 1] == 0).all() and len({int(row[0, 1, 0, 0]) for row in rows[2:]}) > 1


@pytest.mark.slow
def test_a_run_is_drawn_or_refused_by_the_program(tmp_path):
  tiny = ('--config.steps=4', '--config.steps_per_dispatch=2', '--config.checkpoint.every=2',
          '--config.select.metric=', '--config.batch_size=8', '--config.evals.names=active_units')
  for family in ('vae', 'flow'):
    done = programs.run('experiments.train', f'--config=configs/digits.py:family={family}',
                        f'--workdir={tmp_path}/{family}', *tiny)
    assert done.code == 0, done.stderr
  ask = lambda family, *flags: programs.run('experiments.sample', f'--workdir={tmp_path}/{family}',
                                            *programs.merged(f'--out={tmp_path}/x.png', *flags))
  for name, size in (('reconstructions', (3, 2)), ('interpolation', (10, 3)), ('latents', (9, 3))):
    done = ask('vae', f'--show={name}', '--num=3')
    assert done.code == 0 and name in done.stdout, done.stderr
    assert Image.open(tmp_path / 'x.png').size == tuple(n * 50 + 2 for n in size)
  refused(ask('flow', '--show=latents'), "picture 'latents' on model 'flow'", 'needs latents',
          'models that can: ladder, vae')
  refused(ask('vae', '--show=completions'), "'completions'", 'reconstructions')
  refused(ask('vae', '--show=latents', '--guidance=2'), '--guidance=2', '--num')
  refused(ask('vae', '--show=latents', f'--out={tmp_path}/x.npz'), 'x.npz', 'FILE.png')
