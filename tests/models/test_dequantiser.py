"""Variational dequantisation: noise in the cells, uniform at first, and masses that sum to one."""

import jax
import numpy as np
import pytest

from genjax import prob
from genjax.models import dequantiser
from genjax.types import BadInput, DataSpec
from genjax.wiring import networks
from tests.networks import family, initial, jit, moved

NETWORKS = {'conditioner': {'features': (8,)}, 'dequantiser': ('mlp', {'features': (8,)})}
KW = {'num_couplings': 2, 'num_bins': 4, 'dequantisation': 'variational'}


def test_untrained_noise_is_uniform():
  spec = DataSpec((2, 2, 1), 5, None)
  model = family('flow', spec, NETWORKS, **KW)
  x = prob.from_levels(np.arange(8).reshape(2, 2, 2, 1) % 5, 5)
  terms = jit(model.elbo)(initial(model, {'x': x}), {'x': x}, jax.random.key(0))
  assert set(terms) == {'log_density', 'log_noise_volume'}
  np.testing.assert_allclose(terms['log_noise_volume'], prob.log_cell_volume(spec), rtol=1e-5)
  np.testing.assert_allclose(sum(terms.values()), -4 * np.log(5.0), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('of, kw', [('flow', KW), ('autoregressive_flow', {
    'num_layers': 2, 'num_bins': 4, 'dequantisation': 'variational'})])
def test_mass_of_all_integers_is_one(of, kw):
  spec = DataSpec((2,), 4, None)
  networks = NETWORKS if of == 'flow' else {
      'masked': {'features': (8,)}, 'dequantiser': NETWORKS['dequantiser']}
  model = family(of, spec, networks, **kw)
  k = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2)
  batch = {'x': prob.from_levels(k, 4)}
  params = moved(initial(model, batch), 0.2)
  draws, terms = jax.jit(jax.vmap(lambda key: (
      model.log_weight(params, batch, key), model.elbo(params, batch, key))))(
          jax.random.split(jax.random.key(0), 4000))
  # E exp(log_weight) is the mass of a cell, whatever the noise is
  mass = np.exp(np.asarray(draws, np.float64))
  error = np.sqrt(mass.var(0).sum() / len(mass))
  assert error < 0.03 and abs(mass.mean(0).sum() - 1.0) < 4 * error + 1e-3
  assert np.std(terms['log_noise_volume']) > 0.05  # not uniform


@pytest.mark.slow
def test_noise_of_a_pixel_depends_on_the_image_near_it():
  spec = DataSpec((32, 32, 1), 256, None)
  make = networks.factories({'dequantiser': {'name': 'conv', 'kw': {'width': 8, 'num_blocks': 1}}},
                            spec)['dequantiser']
  noise = dequantiser.noise(spec, make, 'variational')
  params = moved(noise.init(jax.random.key(0)), 0.3)
  x = prob.from_levels(np.full((1, 32, 32, 1), 100), 256)
  changed = x.at[:, :4, :4].set(1.0)
  draw = jax.jit(lambda x: noise.draw(params, jax.random.key(1), {'x': x})[0] - x)
  moves = np.abs(draw(changed) - draw(x))[0, :, :, 0]
  # a norm over groups reaches far, but little
  near, far = moves[:4, :4].mean(), moves[16:18, :4].mean()
  assert near > 1e-5 and far < 0.1 * near, (near, far)


@pytest.mark.parametrize('spec, name, words', [
    (DataSpec((2,), None, None), 'variational', 'continuous.*uniform'),
    (DataSpec((2,), 4, None), 'gaussian', "'gaussian'; allowed: uniform, variational")])
def test_bad_input(spec, name, words):
  with pytest.raises(BadInput, match=words):
    family('flow', spec, dequantisation=name)
