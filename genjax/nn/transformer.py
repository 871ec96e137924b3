"""Causal transformers over tokens and patches: a parallel pass and a step with a cache.

Sizes: B batch, T tokens, W width, h heads, d = W / h.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.nn.dense import Dense
from genjax.nn.embed import CondEmbed
from genjax.nn.rotary import rotate
from genjax.sharding import constrain_batch
from genjax.types import BadInput

SMALL = nn.initializers.normal(0.02)
POSITIONS = ('learned', 'rotary')


def split_heads(x: jax.Array, num_heads: int) -> jax.Array:
  """[B, T, h d] -> [B h, T, d]: three axes, so that attention is two batched matrix products."""
  b, t, w = x.shape
  x = x.reshape(b, t, num_heads, w // num_heads).transpose(0, 2, 1, 3)
  return x.reshape(b * num_heads, t, w // num_heads)


def merge_heads(x: jax.Array, num_heads: int) -> jax.Array:
  """[B h, T, d] -> [B, T, h d]."""
  bh, t, d = x.shape
  x = x.reshape(bh // num_heads, num_heads, t, d).transpose(0, 2, 1, 3)
  return x.reshape(bh // num_heads, t, num_heads * d)


def attend(q, k, v, mask=None) -> jax.Array:
  """softmax(q k' / sqrt(d)) v: q [N, T, d], k, v [N, S, d], mask [T, S] or None -> [N, T, d].

  1706.03762, Eq. 1, with a float32 softmax. The division by its sum comes after the product with v:
  it is over d numbers per query, not S.
  """
  scores = jnp.einsum('ntd,nsd->nts', q * q.shape[-1] ** -0.5, k).astype(jnp.float32)
  if mask is not None:
    scores = jnp.where(mask, scores, -1e30)
  share = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
  total = jnp.einsum('nts,nsd->ntd', share.astype(v.dtype), v)
  return (total / share.sum(-1, keepdims=True)).astype(v.dtype)


class CausalBlock(nn.Module):
  """Pre-norm attention and MLP, each added to its input: [B, T, W] -> [B, T, W]."""

  width: int
  num_heads: int
  mlp_ratio: int = 4
  dropout: float = 0.0
  dtype: jnp.dtype | None = None
  rotary: bool = False

  def setup(self):
    self.norm_attention = nn.LayerNorm()
    self.norm_mlp = nn.LayerNorm()
    self.qkv = Dense(3 * self.width, dtype=self.dtype)
    self.project = Dense(self.width, kernel_init=SMALL, dtype=self.dtype)
    self.up = Dense(self.mlp_ratio * self.width, dtype=self.dtype)
    self.down = Dense(self.width, kernel_init=SMALL, dtype=self.dtype)
    self.drop = nn.Dropout(self.dropout)

  def mlp(self, x):
    return self.down(jax.nn.gelu(self.up(self.norm_mlp(x))))

  def __call__(self, x, deterministic: bool = True):
    x = constrain_batch(x)
    q, k, v = (split_heads(y, self.num_heads)
               for y in jnp.split(self.qkv(self.norm_attention(x)), 3, -1))
    if self.rotary:
      q, k = (rotate(y, jnp.arange(x.shape[1])) for y in (q, k))
    mask = np.tril(np.ones((x.shape[1], x.shape[1]), bool))
    x = x + self.drop(self.project(merge_heads(attend(q, k, v, mask), self.num_heads)),
                      deterministic)
    return x + self.drop(self.mlp(x), deterministic)

  def step(self, x, cache, i):
    """x [B, W] of token i and the keys and values of the tokens before -> the same, updated."""
    keys, values = cache
    qkv = self.qkv(self.norm_attention(x)).reshape(x.shape[0], 3, self.num_heads, -1)
    q, k, v = (qkv[:, j] for j in range(3))
    if self.rotary:
      q, k = rotate(q, i), rotate(k, i)
    keys = jax.lax.dynamic_update_index_in_dim(keys, k, i, 2)
    values = jax.lax.dynamic_update_index_in_dim(values, v, i, 2)
    q = q * keys.shape[-1] ** -0.5
    scores = jnp.einsum('bhd,bhsd->bhs', q, keys).astype(jnp.float32)
    scores = jnp.where(jnp.arange(keys.shape[2]) <= i, scores, -1e30)
    mixed = jnp.einsum('bhs,bhsd->bhd', jax.nn.softmax(scores, -1).astype(q.dtype), values)
    x = x + self.project(mixed.reshape(x.shape))
    return x + self.mlp(x), (keys, values)


class CausalStack(nn.Module):
  """What the causal transformers here share; the fields are those of its subclasses.

  places: sizes of the axes over which the sequence runs, each with a table of positions.
  """

  def build(self, places: tuple[int, ...], out: int):
    if self.width % self.num_heads:
      raise BadInput(f'width = {self.width} is not a multiple of num_heads = {self.num_heads}')
    if self.positions not in POSITIONS:
      raise BadInput(f'unknown positions {self.positions!r}; allowed: {", ".join(POSITIONS)}')
    rotary = self.positions == 'rotary'
    if rotary and self.width // self.num_heads % 2:
      raise BadInput(f"positions='rotary' turns pairs of numbers, and a head has "
                     f'{self.width // self.num_heads}; allowed: an even width / num_heads')
    self.length = int(np.prod(places))
    self.places = [] if rotary else [self.param(f'place_{axis}', SMALL, (size, self.width))
                                     for axis, size in enumerate(places)]
    self.cond = CondEmbed(self.width, self.num_classes, self.context)
    block = nn.remat(CausalBlock, static_argnums=(2,)) if self.remat else CausalBlock
    self.blocks = [block(self.width, self.num_heads, self.mlp_ratio, self.dropout, self.dtype,
                         rotary) for _ in range(self.num_blocks)]
    self.norm = nn.LayerNorm()
    self.head = Dense(out, kernel_init=nn.initializers.zeros)
    self.drop = nn.Dropout(self.dropout)

  def place(self):
    """[T, W]: the position embeddings, summed over axes, in raster order; 0 if they are rotary."""
    sizes, total = [len(table) for table in self.places], jnp.zeros((self.length, self.width))
    if not sizes:
      return total
    for axis, table in enumerate(self.places):
      rest = [1] * len(sizes)
      rest[axis] = sizes[axis]
      total = total.reshape(*sizes, self.width) + table.reshape(*rest, self.width)
    return total.reshape(-1, self.width)

  def outputs(self, x):
    return self.head(self.norm(x)).astype(jnp.float32)

  def parallel(self, embedded, cond, deterministic: bool):
    """embedded [B, T - 1, W], without the last -> outputs [B, T, ...], each given those before."""
    start = self.cond(cond, embedded.shape[0])[:, None]
    x = self.drop(jnp.concatenate([start, embedded], 1) + self.place(), deterministic)
    for block in self.blocks:
      x = block(x, deterministic)
    return self.outputs(x)

  def start(self, cond, batch_size: int) -> dict:
    """The cache before the first `step`: {'first': [B, W], 'place': [T, W], 'blocks': empty}."""
    size = (batch_size, self.num_heads, 0, self.width // self.num_heads)
    empty = jnp.zeros(size, self.dtype or jnp.float32)
    return {'first': self.cond(cond, batch_size), 'place': self.place(),
            'blocks': [(empty, empty)] * self.num_blocks}

  @staticmethod
  def grow(cache: dict, length: int) -> dict:
    """The cache with keys and values of `length` elements, those not there yet zero."""
    longer = lambda a: jnp.pad(a, ((0, 0), (0, 0), (0, length - a.shape[2]), (0, 0)))
    return {**cache, 'blocks': jax.tree.map(longer, cache['blocks'])}

  def advance(self, cache: dict, embedded, i):
    """embedded [B, W] of element i - 1 -> (outputs [B, ...] for element i, cache of the next)."""
    x = jnp.where(i == 0, cache['first'], embedded) + cache['place'][i]
    x, new = constrain_batch(x), []
    for block, part in zip(self.blocks, cache['blocks'], strict=True):
      x, part = block.step(x, part, i)
      new.append(part)
    return self.outputs(x), {**cache, 'blocks': new}


class TokenTransformer(CausalStack):
  """Numbers of each token given the tokens before it in raster order, and a condition.

  A token is embedded by a table and by its value (levels are ordered), its place by one table an
  axis of `shape`; positions='rotary' turns queries and keys instead (`nn.rotary`). In place of a
  token before the first stands the embedding of cond (see CondEmbed), or without one a learned
  vector. out: numbers of a token; None: a logit each of its levels. dtype: of the products inside;
  what the blocks add to stays float32. remat: keep only what stands between the blocks for the
  backward pass. BadInput for a width that num_heads cannot share.
  """

  shape: tuple[int, ...]
  levels: int
  num_classes: int = 0
  width: int = 64
  num_blocks: int = 3
  num_heads: int = 4
  mlp_ratio: int = 4
  dropout: float = 0.1
  dtype: jnp.dtype | None = None
  remat: bool = False
  positions: str = 'learned'
  context: int = 0
  out: int | None = None

  def setup(self):
    self.token = self.param('token', SMALL, (self.levels, self.width))
    self.value = self.param('value', SMALL, (self.width,))
    self.build(self.shape, self.out or self.levels)

  def embed(self, tokens):
    """int32 [...] -> [..., W]."""
    value = 2.0 * tokens.astype(jnp.float32) / (self.levels - 1) - 1.0
    return self.token[tokens] + value[..., None] * self.value

  def __call__(self, tokens, cond=None, deterministic: bool = True) -> jax.Array:
    """tokens int32 [B, D] -> float32 [B, D, out]."""
    return self.parallel(self.embed(tokens[:, :-1]), cond, deterministic)

  def step(self, cache: dict, token, i):
    """(output [B, out] for token i, cache of the next step).

    token: int32 [B], token i - 1; ignored for i = 0.
    """
    return self.advance(cache, self.embed(token), i)


class PatchTransformer(CausalStack):
  """Numbers of each element of a patch given the patches before it, and a condition.

  shape: the axes over which patches run in raster order, then the number of elements of a patch.
  out: numbers of an element, 0 at initialisation. Other fields: see TokenTransformer.
  """

  shape: tuple[int, ...]
  out: int = 1
  num_classes: int = 0
  width: int = 64
  num_blocks: int = 2
  num_heads: int = 4
  mlp_ratio: int = 4
  dropout: float = 0.0
  dtype: jnp.dtype | None = None
  remat: bool = False
  positions: str = 'learned'
  context: int = 0

  def setup(self):
    self.stem = Dense(self.width)
    self.build(self.shape[:-1], self.shape[-1] * self.out)

  def split(self, y):
    return y.reshape(*y.shape[:-1], self.shape[-1], self.out)

  def __call__(self, x, cond=None, deterministic: bool = True) -> jax.Array:
    """x [B, T, d] -> float32 [B, T, d, out]."""
    return self.split(self.parallel(self.stem(x[:, :-1]), cond, deterministic))

  def step(self, cache: dict, patch, i):
    """(output [B, d, out] for patch i, cache of the next step).

    patch: [B, d], patch i - 1; ignored for i = 0.
    """
    y, cache = self.advance(cache, self.stem(patch), i)
    return self.split(y), cache
