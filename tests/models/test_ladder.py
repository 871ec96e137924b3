"""The ladder: masses that sum to one, densities that agree, layers that are listed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import prob
from genjax.types import BadInput, DataSpec
from tests.networks import family, initial, jit, moved

SMALL = {'width': 8, 'num_layers': 2, 'latent_channels': 2, 'multipliers': (1,)}


def made(spec, **kw):
  """(model, its parameters, moved)."""
  model = family('ladder', spec, {'ladder': {**SMALL, **kw}}, conditional=spec.num_classes)
  batch = {'x': jnp.zeros((2, *spec.shape))}
  return model, moved(initial(model, batch), 0.1)


@pytest.fixture(scope='module')
def pixels():
  """Two pixels of three levels, all nine images, and what is known of each by one key."""
  model, params = made(DataSpec((2, 1, 1), 3, None))
  k = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(9, 2, 1, 1)
  batch = {'x': prob.from_levels(k, 3)}

  def known(key):
    latents, z = model.latents, model.latents.infer(params, batch, key)
    return {'elbo': model.elbo(params, batch, key),
            'log_weight': model.log_weight(params, batch, key),
            'log_ratio': (latents.log_joint(params, batch, z)
                          - latents.log_q(params, batch, key, z))}

  return jit(lambda keys: jax.lax.map(known, keys))(jax.random.split(jax.random.key(1), 3000))


@pytest.mark.slow
def test_the_mass_of_all_integers_is_one_and_the_bound_is_below(pixels):
  mass = np.exp(np.asarray(pixels['log_weight'], np.float64))
  error = np.sqrt(mass.var(0).sum() / len(mass))
  assert error < 0.02 and abs(mass.mean(0).sum() - 1.0) < 4 * error
  elbo = np.asarray(sum(pixels['elbo'].values()), np.float64)
  noise = np.sqrt(elbo.var(0) / len(elbo)) + mass.std(0) / mass.mean(0) / np.sqrt(len(mass))
  assert (elbo.mean(0) < np.log(mass.mean(0)) + 3 * noise).all()
  # in closed form or by draws, the KLs have one mean
  gap = elbo - np.asarray(pixels['log_weight'], np.float64)
  assert (np.abs(gap.mean(0)) < 4 * gap.std(0) / np.sqrt(len(gap))).all()


@pytest.mark.slow
def test_the_latents_have_the_weights_of_the_model(pixels):
  np.testing.assert_allclose(pixels['log_ratio'], pixels['log_weight'], rtol=1e-4, atol=1e-4)
  assert set(pixels['elbo']) == {'reconstruction', 'kl_0', 'kl_1'}
  assert all((value <= 0).all() for name, value in pixels['elbo'].items())


@pytest.mark.slow
@pytest.mark.parametrize(('side', 'levels'), [(8, 2), (28, 2), (16, 2), (32, 3), (64, 3)])
def test_twelve_layers_from_coarse_to_fine_on_images_of_any_size(side, levels):
  spec = DataSpec((side, side, 3), 256, None)
  model = family('ladder', spec, {'ladder': {'width': 4, 'latent_channels': 3}})

  def shapes(rng):
    batch = {'x': jnp.zeros((2, *spec.shape))}
    params = model.init(rng, batch)
    z = model.latents.infer(params, batch, rng)
    return (model.elbo(params, batch, rng), z, model.sample(params, rng, 5, None)[0],
            model.latents.decode(params, z, None))

  terms, z, x, mean = jax.eval_shape(shapes, jax.random.key(0))
  assert set(terms) == {'reconstruction', *(f'kl_{i}' for i in range(12))}
  assert all(term.shape == (2,) for term in terms.values())
  assert len(z) == levels and sum(of_level.shape[1] for of_level in z) == 12
  sides = [of_level.shape[2] for of_level in z]
  assert sides == sorted(sides) and z[0].shape[-1] == 3
  assert x.shape == (5, *spec.shape) and mean.shape == (2, *spec.shape)


@pytest.mark.slow
def test_gradients_reach_every_parameter_and_labels_are_seen():
  spec = DataSpec((8, 8, 1), 17, 4)
  model, params = made(spec, multipliers=None)
  k = np.random.default_rng(0).integers(0, 17, (4, 8, 8, 1))
  batch = {'x': prob.from_levels(k, 17), 'cond': jnp.arange(4)}
  gradient = jit(jax.grad(
      lambda params, batch: -sum(model.elbo(params, batch, jax.random.key(1)).values()).mean()))
  for scale in (1.0, 30.0):
    grads = gradient(jax.tree.map(lambda p, s=scale: s * p, params), batch)
    for leaf in jax.tree.leaves(grads):
      assert np.isfinite(leaf).all() and (scale > 1.0 or np.any(leaf))
  sample = jit(lambda cond: model.sample(params, jax.random.key(2), 6, cond)[0])
  labels = [sample(jnp.full(6, label)) for label in (0, 1)]
  assert labels[0].shape == (6, 8, 8, 1) and np.any(labels[0] != labels[1])


@pytest.mark.slow
def test_rematerialised_and_in_bfloat16_it_is_about_the_same():
  spec = DataSpec((8, 8, 1), 17, None)
  batch = {'x': prob.from_levels(np.random.default_rng(0).integers(0, 17, (4, 8, 8, 1)), 17)}
  _, params = made(spec)
  results = []
  for kw in ({}, {'remat': True}, {'dtype': 'bfloat16'}):
    model, _ = made(spec, **kw)
    loss = lambda params, model=model: -sum(
        model.elbo(params, batch, jax.random.key(1)).values()).mean()
    results.append(jit(jax.value_and_grad(loss))(params))
  for (value, grads), rtol in zip(results[1:], (1e-4, 0.1), strict=True):
    np.testing.assert_allclose(value, results[0][0], rtol=rtol)
    norm = lambda tree: np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(tree)))
    gap = jax.tree.map(lambda a, b: a - b, grads, results[0][1])
    assert norm(gap) < rtol * norm(results[0][1])


def test_bad_input():
  with pytest.raises(BadInput, match=r'ladder needs images.*\(2,\); allowed there: vae'):
    family('ladder', DataSpec((2,), None, None))
  model = family('ladder', DataSpec((8, 8, 1), 17, None), {'ladder': {'num_layers': 1}})
  with pytest.raises(BadInput, match='num_layers = 1 .*2 levels.*allowed: 2 or more'):
    model.init(jax.random.key(0), {})
