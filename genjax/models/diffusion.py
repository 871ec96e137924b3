"""A Gaussian diffusion: a denoiser, its path, and the variational bound of 2107.00630 (VDM).

Terms of the bound: `reconstruction` E log p(x | z_0), `prior` -KL(q(z_1 | x) || N(0, I)) and
`diffusion`, minus the denoising loss between the path's ends. Sampling is `numerics.samplers`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import prob
from genjax.nn.dense import product_dtype
from genjax.nn.dit import DiT
from genjax.nn.time_mlp import TimeMLP
from genjax.nn.unet import UNet
from genjax.numerics import path as paths
from genjax.types import BadInput, DataSpec, Model

NETWORKS = {'dit': DiT, 'unet': UNet, 'time_mlp': TimeMLP}
ON_IMAGES = ('dit', 'unet')
PREDICTIONS = (*paths.PREDICTIONS, 'levels')


def stratified(rng, n: int) -> jax.Array:
  """u [n], each uniform in [0, 1), together evenly spread (2107.00630, App. I.1)."""
  return (jax.random.uniform(rng) + jnp.arange(n) / n) % 1.0


def level_logits(x_t, alpha, sigma, levels: int) -> jax.Array:
  """log q(x_t | x_0 = level k) + const: [B, ..., levels]; alpha, sigma [B]."""
  a, s = paths.match(alpha, x_t)[..., None], paths.match(sigma, x_t)[..., None]
  return -0.5 * ((x_t[..., None] - a * prob.grid(levels)) / s) ** 2


def mean_level(output, x_t, alpha, sigma, levels: int) -> jax.Array:
  """E[x_0 | x_t] [B, ..., C] where output [B, ..., C levels] is log p(x_0 = k | the other parts).

  Bayes in each dimension: p(k | x_t) is proportional to q(x_t | k) exp(output_k). So the network
  need not learn to round what little noise leaves plain.
  """
  prior = output.reshape(*x_t.shape, levels)
  p = jax.nn.softmax(prior + level_logits(x_t, alpha, sigma, levels))
  return (p * prob.grid(levels)).sum(-1)


def reconstruction(x, z_0, alpha_0, sigma_0, levels: int | None):
  """E log p(x | z_0) [B] in nats, p(x | z_0) proportional to q(z_0 | x); scales [B].

  With levels: the mass of each integer, normalised over the levels (2107.00630, Eq. 14).
  Continuous: log N(x; z_0 / alpha_0, (sigma_0 / alpha_0)^2), averaged over z_0 in closed form.
  """
  if levels is None:
    log_std = jnp.log(sigma_0) - jnp.log(alpha_0)
    return -np.prod(x.shape[1:]) * (0.5 * prob.LOG_2PI + 0.5 + log_std)
  k = prob.to_levels(x, levels)[..., None]
  log_p = jax.nn.log_softmax(level_logits(z_0, alpha_0, sigma_0, levels))
  log_p = jnp.take_along_axis(log_p, k, -1)[..., 0]
  return prob.sum_event(log_p)


def bound(denoise, path, x, rng, *, levels: int | None, num_steps: int | None = None) -> dict:
  """{'reconstruction', 'prior', 'diffusion'} [B] nats: their expected sum bounds log p(x) below.

  denoise(x_t, t [B]) -> E[x_0 | x_t], path(t [B]) -> alpha, sigma. num_steps None: continuous
  time, logsnr drawn uniformly, 1/2 (l_max - l_min) |eps - eps_hat|^2 (2107.00630, Eq. 18);
  T: the T-step model with posterior variances, even in t, T/2 (snr_s - snr_t) |x - x_hat|^2
  (Eq. 13). The draws of times are spread evenly over the batch.
  """
  n = x.shape[0]
  rng_t, rng_eps, rng_0 = jax.random.split(rng, 3)
  (alpha_0, sigma_0), (alpha_1, sigma_1) = path(jnp.zeros(n)), path(jnp.ones(n))
  u = stratified(rng_t, n)
  if num_steps is None:
    last, first = paths.logsnr(alpha_1, sigma_1), paths.logsnr(alpha_0, sigma_0)
    t = paths.time_of_logsnr(path, last + (first - last) * u)
    weight = first - last
  else:
    i = jnp.floor(u * num_steps)
    t = (i + 1.0) / num_steps
    drop = paths.logsnr(*path(i / num_steps)) - paths.logsnr(*path(t))
    weight = num_steps * jnp.expm1(drop)
  alpha, sigma = path(t)
  eps = jax.random.normal(rng_eps, x.shape, x.dtype)
  x_hat = denoise(paths.diffuse(x, eps, alpha, sigma), t)
  # snr |x - x_hat|^2 = |eps - eps_hat|^2, without a division by sigma of nearly equal numbers
  eps_error = paths.match(alpha / sigma, x) * (x - x_hat)

  z_0 = paths.diffuse(x, jax.random.normal(rng_0, x.shape, x.dtype), alpha_0, sigma_0)
  std_1 = paths.match(sigma_1, x)
  return {
      'reconstruction': reconstruction(x, z_0, alpha_0, sigma_0, levels),
      'prior': -prob.sum_event(prob.normal_kl(paths.match(alpha_1, x) * x, std_1)),
      'diffusion': -0.5 * weight * prob.sum_event(eps_error**2),
  }


def default_logsnr_max(levels: int | None) -> float:
  """Where the path starts: noise of a third of half a cell, so that the integers survive it.

  At 256 levels this is 13.3, VDM's initial value; continuous data: 10.
  """
  return 10.0 if levels is None else float(2.0 * np.log(3.0 * (levels - 1)))


def make_network(name: str | None, spec: DataSpec, num_classes: int, num_out: int,
                 given: dict):
  """The module NETWORKS[name] (None: by the data) with its own defaults where `given` is None.

  BadInput for an unknown name, images that are none, and a kw that this network does not take.
  """
  image = len(spec.shape) == 3
  name = name or ('dit' if image else 'time_mlp')
  if name not in NETWORKS:
    raise BadInput(f'network = {name!r} is unknown; allowed: {", ".join(NETWORKS)}')
  if name in ON_IMAGES and not image:
    raise BadInput(f"network = {name!r} needs images, not shape {spec.shape}; "
                   "allowed: 'time_mlp'")
  network = NETWORKS[name]
  takes = [key for key in given if key in network.__dataclass_fields__]
  given = {key: value for key, value in given.items() if value is not None}
  for key, value in given.items():
    if key not in takes:
      raise BadInput(f'network {name!r} takes no {key} = {value!r}; it takes: {", ".join(takes)}')
  given = {key: tuple(value) if type(value) is list else value for key, value in given.items()}
  if 'dtype' in given:
    given['dtype'] = product_dtype(given['dtype'])
  return network(num_classes=num_classes, num_out=num_out, **given)


def make(spec: DataSpec, *, network: str | None = None, width: int | None = None,
         num_blocks: int | None = None, num_heads: int | None = None, patch: int | None = None,
         multipliers: tuple[int, ...] | None = None, attention: tuple[int, ...] | None = None,
         dropout: float | None = None, dtype: str | None = None, remat: bool | None = None,
         scan: bool | None = None, schedule: str = 'cosine', prediction: str | None = None,
         logsnr_min: float = -10.0, logsnr_max: float | None = None, num_steps: int | None = None,
         conditional: bool = False) -> Model:
  """Model with `denoise`, `path` and `elbo` (nats; with levels it bounds the probability mass).

  network: 'dit' (default for images), 'unet' or 'time_mlp' (default else); width to scan are its
  fields, None its own default, and dtype 'float32' or 'bfloat16'. prediction: what the network
  puts out: 'v' (default for continuous data), 'noise', 'data', or with levels 'levels' (default
  there): logits of each dimension's level before its own x_t is looked at. num_steps: of the
  bound; None is continuous time. `denoise` given an rng applies dropout; `elbo` does not. The
  schedule's logsnr runs from logsnr_max (None: by the levels) to logsnr_min. BadInput on unknown
  names and on fields that the network does not have.
  """
  prediction = prediction or ('v' if spec.levels is None else 'levels')
  allowed = paths.PREDICTIONS if spec.levels is None else PREDICTIONS
  if prediction not in allowed:
    raise BadInput(f'prediction = {prediction!r} is unknown here; allowed: {", ".join(allowed)}')
  if num_steps is not None and num_steps < 1:
    raise BadInput(f'num_steps = {num_steps} must be None (continuous time) or at least 1')
  if conditional and spec.num_classes is None:
    raise BadInput('conditional = True, but the data have no labels; allowed: False')
  num_classes = spec.num_classes if conditional else 0
  num_out = spec.levels if prediction == 'levels' else 1
  net = make_network(network, spec, num_classes, num_out, {
      'width': width, 'num_blocks': num_blocks, 'num_heads': num_heads, 'patch': patch,
      'multipliers': multipliers, 'attention': attention, 'dropout': dropout, 'dtype': dtype,
      'remat': remat, 'scan': scan})
  fixed_path = paths.schedule(schedule, logsnr_min, logsnr_max or default_logsnr_max(spec.levels))

  def init(rng, batch):
    return net.init(rng, jnp.zeros((1, *spec.shape)), jnp.zeros(1))['params']

  def path(params, t):
    return fixed_path(t)

  def denoise(params, x_t, t, cond, rng):
    output = net.apply({'params': params}, x_t, t, cond if conditional else None, rng is None,
                       rngs={} if rng is None else {'dropout': rng})
    x_t = x_t.astype(jnp.float32)
    if prediction == 'levels':
      return mean_level(output, x_t, *path(params, t), spec.levels)
    return paths.to_data(prediction, output, x_t, *path(params, t))

  def elbo(params, batch, rng):
    cond = batch.get('cond')
    return bound(lambda x_t, t: denoise(params, x_t, t, cond, None), fixed_path, batch['x'], rng,
                 levels=spec.levels, num_steps=num_steps)

  return Model(init=init, denoise=denoise, path=path, elbo=elbo)
