"""UNet: residual blocks and attention at several sides, with skip connections.

The layout of ADM (2105.05233), after DDPM (2006.11239).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.nn.conv import Conv
from genjax.nn.embed import fourier_features, time_and_cond
from genjax.nn.norm import GroupNorm
from genjax.nn.residual import ZERO, blocks, check_attention
from genjax.types import BadInput


class UNet(nn.Module):
  """x [B, H, W, C], t [B] in [0, 1], cond (see CondEmbed) -> float32 [B, H, W, C, out].

  Several times: t [B, K]. The output is 0 at initialisation.

  multipliers: level i has multipliers[i] * width channels at the side H / 2^i.
  attention: sides H after whose residual blocks there is attention; the middle always has it.
  dtype: of the products and, unlike in DiT, of the activations between blocks (there are few sums,
    and wide arrays fill the memory); statistics, softmax, embeddings and output are float32.
  remat: keep only the activations between blocks for the backward pass.
  fourier: exponents of the Fourier features that are concatenated with x (2107.00630: (7, 8), with
    multipliers (1,), which keep the side).
  residual_scale: factor on each sum of a block and its input (2011.13456, App. H, and 2206.00364:
    1 / sqrt 2; their augmentation is not here).
  Raises BadInput for sides that cannot be halved, sides in `attention` that do not occur, and
  channels that num_heads does not divide.
  """

  num_classes: int = 0
  width: int = 64
  num_blocks: int = 2  # residual blocks per level
  num_heads: int = 4
  multipliers: tuple[int, ...] = (1, 2, 2)
  attention: tuple[int, ...] = ()
  dropout: float = 0.0
  out: int = 1  # outputs for each element of x
  dtype: jnp.dtype | None = None
  remat: bool = False
  fourier: tuple[int, ...] = ()
  residual_scale: float = 1.0
  context: int = 0

  @nn.compact
  def __call__(self, x, t, cond=None, deterministic: bool = True) -> jax.Array:
    self.check(x.shape)
    c = time_and_cond(self, 4 * self.width, t, cond)
    block = blocks(self, c, deterministic, self.residual_scale)
    levels = [(i, multiplier * self.width, x.shape[1] >> i in self.attention)
              for i, multiplier in enumerate(self.multipliers)]
    h = Conv(self.width, dtype=self.dtype, name='stem')(
        fourier_features(x, self.fourier))
    skips = [h]
    for i, features, attends in levels:
      for j in range(self.num_blocks):
        h = block(h, features, f'down_{i}_{j}', attends=attends)
        skips.append(h)
      if i < len(levels) - 1:
        h = block(h, features, f'down_{i}', resample='down')
        skips.append(h)
    h = block(h, levels[-1][1], 'middle_0', attends=True)
    h = block(h, levels[-1][1], 'middle_1')
    for i, features, attends in reversed(levels):
      for j in range(self.num_blocks + 1):
        h = block(h, features, f'up_{i}_{j}', skips.pop(), attends=attends)
      if i:
        h = block(h, features, f'up_{i}', resample='up')
    h = jax.nn.silu(GroupNorm(jnp.float32, name='norm')(h))
    return Conv(x.shape[-1] * self.out, kernel_init=ZERO, name='head')(h).reshape(
        *x.shape, self.out)

  def check(self, shape: tuple[int, ...]) -> None:
    """Refuses data of a shape [B, H, W, C] that these fields cannot divide."""
    last = len(self.multipliers) - 1
    if len(shape) != 4 or not self.multipliers or shape[1] % 2**last or shape[2] % 2**last:
      raise BadInput(f'multipliers = {self.multipliers} halve height and width {last} times, which '
                     f'data of shape {shape[1:]} do not allow; both must be multiples of {2**last}')
    sides = [shape[1] >> i for i in range(last + 1)]
    check_attention(self, sides, [multiplier * self.width for multiplier in self.multipliers],
                    always=(last,))
