"""Priors and posteriors of a VAE: densities that their draws follow, and unbiased weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.models import priors
from genjax.types import BadInput, DataSpec
from genjax.wiring import networks
from tests.networks import family, jit, moved

PLANE = DataSpec((2,), None, None)
BATCH = {'x': 1.5 * np.float32(np.random.default_rng(0).standard_normal((3, 2)))}
NETWORKS = {**dict.fromkeys(('posterior', 'decoder'), {'features': ()}),
            'conditioner': {'features': (8,)}, 'masked': {'features': (8,)}}
SLOW = pytest.mark.slow
KINDS = {'normal': {}, 'mixture': {'prior': 'mixture', 'num_components': 3},
         'vamp': {'prior': 'vamp', 'num_components': 3}, 'flow': {'prior': 'flow'},
         'iaf': {'posterior_flow': 'iaf'}}
DIM = {'flow': 2, 'iaf': 2}  # they map one dimension given another
NOISE = {'flow': 0.05, 'iaf': 0.1}  # on parameters: many layers add up


def grid(dim):
  """Points [N, dim] of a grid, and the volume of a cell."""
  axis = np.linspace(-9.0, 9.0, 4801 if dim == 1 else 181)
  points = np.stack(np.meshgrid(*[axis] * dim, indexing='ij'), -1).reshape(-1, dim)
  return jnp.float32(points), (axis[1] - axis[0]) ** dim


def made(kind):
  """A small VAE of this kind and its moved parameters; q is wide, so that weights vary little."""
  model = family('vae', PLANE, {role: kw for role, kw in NETWORKS.items()
                                if role in networks.of_family('vae', KINDS[kind])},
                 latent_dim=DIM.get(kind, 1), **KINDS[kind])
  params = moved(jax.jit(model.init)(jax.random.key(0), BATCH), NOISE.get(kind, 0.2))
  out = params['posterior']['out']
  std = jnp.arange(out['bias'].size) // DIM.get(kind, 1) == 1
  params['posterior']['out'] = {'kernel': 0.1 * out['kernel'], 'bias': out['bias'] + 0.7 * std}
  return model, params


@pytest.mark.parametrize('kind', [
    'vamp', *(pytest.param(kind, marks=SLOW) for kind in ('normal', 'mixture', 'flow', 'iaf'))])
def test_weights_have_the_marginal_density_as_their_mean(kind):
  """E exp(log_weight) = p(x) = int p(x, z) dz, by quadrature; the elbo is below log p."""
  (model, params), n, m = made(kind), 4000, 1000
  points, volume = grid(DIM.get(kind, 1))

  @jit
  def run(params):
    joint = jax.lax.map(lambda z: model.latents.log_joint(
        params, BATCH, jnp.broadcast_to(z, (3, len(z)))), points, batch_size=512)
    keys = jax.random.split(jax.random.key(1), n)
    weights = jax.vmap(lambda key: model.log_weight(params, BATCH, key))(keys)
    elbo = jax.vmap(lambda key: sum(model.elbo(params, BATCH, key).values()))(keys[:m])
    z = model.latents.infer(params, BATCH, keys[0])
    ratio = (model.latents.log_joint(params, BATCH, z)
             - model.latents.log_q(params, BATCH, keys[0], z))
    return joint, weights, elbo, ratio

  joint, weights, elbo, ratio = (np.asarray(a, np.float64) for a in run(params))
  np.testing.assert_allclose(ratio, weights[0], rtol=1e-4, atol=1e-4)
  p = np.exp(joint).sum(0) * volume
  mass = np.exp(weights)
  error = mass.std(0) / np.sqrt(n)
  assert (error < 0.05 * p).all() and (np.abs(mass.mean(0) - p) < 4 * error + 1e-4 * p).all()
  # the mean of the log weights is the elbo, with or without an analytic KL
  noise = elbo.std(0) / np.sqrt(m) + weights.std(0) / np.sqrt(n)
  assert (np.abs(elbo.mean(0) - weights.mean(0)) < 4 * noise).all()
  assert (elbo.mean(0) < np.log(p) + 3 * noise).all()


@SLOW
@pytest.mark.parametrize('prior', priors.PRIORS)
def test_each_prior_is_a_density_and_its_draws_follow_it(prior):
  dim, encode = DIM.get(prior, 1), lambda params, x: (x[:, :1], 0.3 + 0.2 * jnp.abs(x[:, 1:]))
  conditioner = networks.factories({'conditioner': {'name': '', 'kw': {'features': (8,)}}},
                                   PLANE)['conditioner']
  p = priors.make(prior, PLANE, dim, 3 if prior in ('mixture', 'vamp') else None, encode,
                  conditioner)
  params = {'prior': moved(p.init(jax.random.key(0), BATCH), NOISE.get(prior, 0.2))}
  points, volume = grid(dim)

  @jit
  def run(params):
    rngs = jax.random.split(jax.random.key(1))
    return (p.log_prob(params, points), p.sample(params, rngs[0], 20_000),
            p.rsample(params, rngs[1], 1000))

  log_p, *draws = run(params)
  mass = np.exp(np.float64(log_p)) * volume
  np.testing.assert_allclose(mass.sum(), 1.0, atol=1e-3)
  first, index = np.unique(points[:, 0], return_inverse=True)
  mass = np.bincount(index, mass)
  below = np.cumsum(mass) - 0.5 * mass
  for z in draws:  # Kolmogorov-Smirnov of the first dimension, 99.99 %
    at = np.sort(np.asarray(z)[:, 0])
    gap = np.abs(np.interp(at, first, below) - (np.arange(len(at)) + 0.5) / len(at)).max()
    assert gap < 2.23 / np.sqrt(len(at)) + 2e-3


@SLOW
def test_the_gradient_reaches_pseudo_inputs_and_the_encoder_through_them():
  model, params = made('vamp')
  grads = jit(jax.grad(lambda params: model.rsample(params, jax.random.key(1), 64, None).sum()))(
      params)
  assert np.abs(grads['prior']['pseudo_inputs']).min() > 0
  assert all(np.any(leaf) for leaf in jax.tree.leaves(grads['posterior']))


def test_bad_input():
  for kw, words in (
      ({'prior': 'vampire'}, "'vampire'; allowed: normal, mixture, vamp, flow"),
      ({'num_components': 4}, "num_components = 4 .*'normal'; allowed: None"),
      ({'prior': 'vamp', 'posterior_flow': 'iaf'}, "'vamp' .*allowed: posterior_flow=None"),
      ({'posterior_flow': 'maf'}, "'maf'; allowed: None, iaf")):
    with pytest.raises(BadInput, match=words):
      family('vae', PLANE, **kw)


def test_a_role_that_the_keywords_do_not_need_is_no_role_of_the_run():
  assert networks.of_family('vae', {}) == ('posterior', 'decoder')
  assert networks.of_family('vae', {'prior': 'flow'}) == ('posterior', 'decoder', 'conditioner')
  assert 'masked' in networks.of_run('vae', {'posterior_flow': 'iaf'}, 'kl', None)
