"""The model that is left of a diffusion after a training for few steps."""

from genjax.numerics import flow_map as maps
from genjax.types import Model


def flow_map_alone(model: Model) -> Model:
  """The model with one capability: a DDIM step with the network's x_hat as its flow map."""
  diffusion = model.diffusion

  def flow_map(params, x_t, t, s, cond):
    x_hat = diffusion.denoise(params, x_t, t, cond, None).x_0
    return maps.step(lambda t: diffusion.path(params, t), x_t, x_hat, t, s)

  return model._replace(elbo=None, flow_map=flow_map, diffusion=diffusion._replace(
      denoise=None, two_time=None, learned_variance_steps=None))
