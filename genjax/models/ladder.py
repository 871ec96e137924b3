"""Hierarchical VAE of images: a ladder of latent layers, inferred from the top down.

  p(z) = prod_l p(z_l | z_<l),   q(z | x) = prod_l q(z_l | x, z_<l)

The posterior of a layer corrects its prior, as in NVAE (2007.03898) but with a shift in units of s:
q has the mean m + s d and the deviation s r where p has m and s, so that
KL = sum (d^2 + r^2 - 1) / 2 - log r. Layers, their order and the network: `nn.ladder`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.models import observation
from genjax.numerics.shapes import sum_event
from genjax.types import BadInput, DataSpec, Latents, Model

UNIT = float(np.log(np.e - 1.0))  # softplus(UNIT) = 1
MIN_SCALE = 1e-3  # of a layer's deviation, and of its ratio: densities stay finite


def make(spec: DataSpec, ladder: Callable, *, likelihood: str | None = None,
         num_mixtures: int | None = None) -> Model:
  """Returns a VAE: init, sample, rsample, elbo (reconstruction, kl_0, ...), log_weight, latents.

  ladder: network role.
  likelihood, num_mixtures: of a pixel, as in `vae.make`.

  kl_0 is the KL of the top layer, the coarsest; later ones are finer. With levels, rsample returns
  E[x|z]. Raises BadInput for data that are no images, and a likelihood that does not suit them.
  """
  if len(spec.shape) != 3:
    raise BadInput(f'model ladder needs images [height, width, channels], not data of shape '
                   f'{spec.shape}; allowed there: vae')
  observed = observation.of_elements(spec, likelihood, num_mixtures)
  net = ladder(out=observed.num_outputs)

  def init(rng, batch):
    x = jnp.zeros((1, *spec.shape))
    return {'ladder': net.init(rng, x, None, 1, of_layer), **observed.init()}

  def run(params, x, cond, num, z=None, key=None):
    """The decoder's output, and per level what `of_layer` says, [layers, B, ...]."""
    given = None if z is None else [jnp.moveaxis(of_level, 1, 0) for of_level in z]
    return net.apply(params['ladder'], x, cond, num, of_layer, given, key)[0]

  def inferred(params, batch, rng, z=None):
    x = batch['x']
    out, terms = run(params, x, batch.get('cond'), x.shape[0], z, rng)
    return observed.log_prob(params, out, x), terms

  def elbo(params, batch, rng):
    log_p, terms = inferred(params, batch, rng)
    kl = jnp.concatenate([of_level['kl'] for of_level in terms])
    return {'reconstruction': log_p, **{f'kl_{i}': -of_one for i, of_one in enumerate(kl)}}

  def log_weight(params, batch, rng):
    log_p, terms = inferred(params, batch, rng)
    return log_p + _total(terms, 'log_p') - _total(terms, 'log_q')

  def infer(params, batch, rng):
    return [jnp.moveaxis(of_level['z'], 0, 1) for of_level in inferred(params, batch, rng)[1]]

  def log_q(params, batch, rng, z):
    return _total(inferred(params, batch, None, z)[1], 'log_q')

  def log_joint(params, batch, z):
    x = batch['x']
    out, terms = run(params, None, batch.get('cond'), x.shape[0], z)
    return observed.log_prob(params, out, x) + _total(terms, 'log_p')

  def decode(params, z, cond):
    return observed.mean(params, run(params, None, cond, z[0].shape[0], z)[0])

  def draw(params, rng, n, cond, how):
    rng_z, rng_x = jax.random.split(rng)
    return how(params, rng_x, run(params, None, cond, n, None, rng_z)[0])

  return Model(init, sample=lambda *args: (draw(*args, observed.sample), 1),
               rsample=lambda *args: draw(*args, observed.rsample), elbo=elbo,
               log_weight=log_weight, latents=Latents(infer, log_q, log_joint, decode))


def of_layer(prior, posterior, given, key):
  """z [B, h, w, c] of a layer from raw outputs [B, h, w, 2 c]; {'z', 'log_p', 'log_q'?, 'kl'?}.

  given: z itself; else it is drawn by key from the posterior, or from the prior without one. key
  None: the mean. All terms are nats [B].
  """
  mean_p, raw_p = jnp.split(prior, 2, -1)
  std_p = jax.nn.softplus(raw_p + UNIT) + MIN_SCALE
  mean, std = mean_p, std_p
  if posterior is not None:
    shift, raw_ratio = jnp.split(posterior, 2, -1)
    ratio = jax.nn.softplus(raw_ratio + UNIT) + MIN_SCALE
    mean, std = mean_p + std_p * shift, std_p * ratio
  z = given
  if z is None:
    z = mean if key is None else mean + std * jax.random.normal(key, mean.shape)
  terms = {'z': z, 'log_p': sum_event(prob.normal_log_prob(z, mean_p, std_p))}
  if posterior is not None:
    terms |= {'log_q': sum_event(prob.normal_log_prob(z, mean, std)),
              'kl': sum_event(prob.normal_kl(shift, ratio))}
  return z, terms


def _total(terms: list[dict], name: str) -> jax.Array:
  """The sum [B] of a term over all layers."""
  return sum(of_level[name].sum(0) for of_level in terms)
