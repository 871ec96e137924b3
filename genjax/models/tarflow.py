"""A transformer autoregressive flow: TarFlow (2412.06329).

Each layer is an affine map of every patch, whose parameters a causal transformer computes from the
patches before it (Eqs. 4 and 5); layers alternate the order of the patches. The density is one
parallel pass, samples come patch by patch with a cache of keys and values.

Data with levels are dequantised as for the other flows. The paper adds Gaussian noise instead, and
denoises its samples by the score of the flow; that step is not here.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax.models import bijection, frames
from genjax.models.bijection import Bijection
from genjax.models.dequantiser import noise
from genjax.nn.dit import patchify, unpatchify
from genjax.numerics import bijections
from genjax.types import BadInput, DataSpec, Model, Network

OPTIONAL = {'dequantiser': ('dequantisation', 'variational')}
SMALL_SIDE = 16  # of images whose patches have 2 x 2 pixels by default, others 4 x 4
AFFINE = partial(bijections.elementwise, 'affine', 0.0)


def layer(num_patches: int, size: int, net: Network) -> Bijection:
  """Returns the affine map of each patch given those before it, x [B, T, d], in reversed order.

  net: a network of kind patch_causal with 2 outputs. `inverse` is a loop over the patches.
  """

  def init(rng):
    return net.init(rng, jnp.zeros((1, num_patches, size)), None)

  def forward(params, x, cond):
    raw, _ = net.apply(params, x, cond)
    z, log_det = AFFINE(raw.reshape(len(x), -1, 2).swapaxes(1, 2), x.reshape(len(x), -1), False)
    return z.reshape(x.shape)[:, ::-1], log_det.sum(-1)

  def inverse(params, z, cond):
    def patch(carry, inputs):
      previous, cache = carry
      z_i, i = inputs
      raw, cache = net.step(params, cache, previous, i)
      x_i, log_det = AFFINE(raw.swapaxes(1, 2), z_i, True)
      return (x_i, cache), (x_i, log_det.sum(-1))

    cache = net.grow(net.start(params, cond, len(z)), num_patches)
    start = jnp.zeros((len(z), size)), cache
    inputs = z[:, ::-1].swapaxes(0, 1), jnp.arange(num_patches)
    _, (x, log_det) = jax.lax.scan(patch, start, inputs)
    return x.swapaxes(0, 1), log_det.sum(0)

  return Bijection(init, forward, inverse)


def patches(shape: tuple[int, ...], patch: int) -> Bijection:
  """Vectors [B, D] <-> patches [B, T, d]: squares of an image, or the elements of other data."""
  if len(shape) == 3:
    split = lambda x: patchify(x.reshape(-1, *shape), patch)
    join = lambda z: unpatchify(z, patch, shape)
  else:
    split = lambda x: x[..., None]
    join = lambda z: z
  return Bijection(lambda rng: {}, lambda params, x, cond: (split(x), jnp.zeros(len(x))),
                   lambda params, z, cond: (join(z).reshape(len(z), -1), jnp.zeros(len(z))))


def make(spec: DataSpec, patch_causal: Callable, dequantiser: Callable, *, num_layers: int = 4,
         patch: int | None = None, dequantisation: str = 'uniform') -> Model:
  """Returns a flow: sample, rsample, log_prob, sample_and_log_prob; with levels elbo, log_weight.

  patch_causal: network role.
  num_layers: of the flow, each a transformer of its own.
  patch: side of the patches of an image; None: 2 up to 16 pixels a side, else 4; 1 for odd sides.
  dequantisation: of data with levels, 'uniform', or 'variational' by the network role dequantiser.
  Raises BadInput for a patch that does not divide the sides.
  """
  shape, is_image = spec.shape, len(spec.shape) == 3
  patch = _patch(shape, patch)
  grid = (shape[0] // patch, shape[1] // patch) if is_image else (int(np.prod(shape)),)
  num_patches, size = int(np.prod(grid)), patch**2 * shape[2] if is_image else 1
  net = patch_causal(shape=(*grid, size), out=2)
  cut = patches(shape, patch)
  layers = bijection.repeated(layer(num_patches, size, net), num_layers)
  frame = frames.frame(spec, 'affine', 0.0)
  joined = bijection.inverted(cut)
  return bijection.flow(
      bijection.chain(frame=frame.bijection, split=cut, layers=layers, join=joined),
      frame.base, spec, noise=noise(spec, dequantiser, dequantisation), evaluations=num_patches)


def _patch(shape: tuple[int, ...], asked: int | None) -> int:
  """The side of the patches, 1 for other data than images; BadInput if it does not divide sides."""
  sides = shape[:2] if len(shape) == 3 else (1,)
  fitting = [n for n in range(1, min(sides) + 1) if all(side % n == 0 for side in sides)]
  if asked is None:
    return max(n for n in fitting if n in (1, 2) or n == 4 and max(sides) > SMALL_SIDE)
  if asked not in fitting:
    raise BadInput(f'patch = {asked} does not divide data of shape {shape}; allowed: '
                   f'{", ".join(map(str, fitting))}')
  return asked
