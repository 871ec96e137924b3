"""Joins a model that has a denoiser or a flow map with a sampler."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from genjax.numerics import guidance
from genjax.numerics.shapes import match
from genjax.types import DataSpec, Model


def by_flow_map(model: Model, spec: DataSpec, sampler: Callable, given: Mapping) -> Model:
  """The model with `sample` by a sampler in `numerics.samplers.FLOW_MAP`; given: its keywords."""
  def sample(params, rng, n, cond):
    path, x_T, rng = _start(model, spec, params, rng, n)
    mapped = lambda x_t, t, s, cond: model.flow_map(params, x_t, t, s, cond)
    return sampler(mapped, path, rng, x_T, cond, **given)

  return model._replace(sample=sample)


def by_denoiser(model: Model, spec: DataSpec, sampler: Callable, given: Mapping, *,
                weight: float = 1.0, interval: tuple[float, ...] = guidance.EVERYWHERE,
                guide: Model | None = None, null: Callable | None = None,
                learned_variance: bool = False) -> Model:
  """The model with `sample` by a sampler in `numerics.samplers.DENOISING`.

  given: keyword arguments of the sampler.
  weight, interval: of the guidance.
  guide: a model whose denoiser guides; params of `sample` are then {'model': ..., 'guide': ...}.
  null: n -> cond that means "no condition", for guidance without a `guide`.
  learned_variance: pass the network's learned variances to the sampler.
  """
  def denoiser(model, params):
    return lambda x_t, t, cond, rng: model.diffusion.denoise(params, x_t, t, cond, rng).x_0

  def sample(params, rng, n, cond):
    own = params if guide is None else params['model']
    path, x_T, rng = _start(model, spec, own, rng, n)
    if guide is None:
      denoise, cost = guidance.classifier_free(denoiser(model, own), path, null, weight, interval)
    else:
      denoise, cost = guidance.autoguidance(denoiser(model, own), denoiser(guide, params['guide']),
                                            path, weight, interval)
    learned = {'reverse': lambda *args: model.diffusion.denoise(own, *args)
               } if learned_variance else {}
    return sampler(denoise, path, rng, x_T, cond, cost=cost, **learned, **given)

  return model._replace(sample=sample)


def _start(model: Model, spec: DataSpec, params, rng, n: int):
  """The path of these parameters, x_T [n, ...] at its noisy end, and a key for the rest."""
  rng_T, rng = jax.random.split(rng)
  path = lambda t: model.diffusion.path(params, t)
  _, sigma = path(jnp.ones((n,)))
  noise = jax.random.normal(rng_T, (n, *spec.shape))
  return path, match(sigma, noise) * noise, rng
