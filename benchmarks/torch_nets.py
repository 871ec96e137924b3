"""Our networks as a PyTorch user would write them by hand: the same layers and sizes."""

import math

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = {'silu': nn.SiLU, 'relu': nn.ReLU}


def mlp(size: int, hidden, out: int, activation: str = 'silu') -> nn.Sequential:
  """Linear layers with the activation between them."""
  layers = []
  for width in hidden:
    layers += [nn.Linear(size, width), ACTIVATIONS[activation]()]
    size = width
  return nn.Sequential(*layers, nn.Linear(size, out))


def fourier_time(t, dim: int):
  """Sines and cosines of 1000 t."""
  half = dim // 2
  frequency = torch.exp(-math.log(10_000.0) * torch.arange(half) / (half - 1))
  angle = 1000.0 * t[:, None] * frequency
  return torch.cat([angle.sin(), angle.cos()], -1)


def zeroed(layer: nn.Linear) -> nn.Linear:
  """The layer with weights and bias zero."""
  nn.init.zeros_(layer.weight)
  nn.init.zeros_(layer.bias)
  return layer


class TimeMLP(nn.Module):
  """genjax.nn.time_mlp."""

  def __init__(self, size: int, width: int, num_blocks: int):
    super().__init__()
    self.time, self.stem = nn.Linear(64, width), nn.Linear(size, width)
    self.up = nn.ModuleList(nn.Linear(width, width) for _ in range(num_blocks))
    self.shift = nn.ModuleList(nn.Linear(width, width) for _ in range(num_blocks))
    self.down = nn.ModuleList(nn.Linear(width, width) for _ in range(num_blocks))
    self.head = zeroed(nn.Linear(width, size))

  def forward(self, x, t):
    c = F.silu(self.time(fourier_time(t, 64)))
    h = self.stem(x)
    for up, shift, down in zip(self.up, self.shift, self.down, strict=True):
      h = h + down(F.silu(up(h) + shift(c)))
    return self.head(F.silu(h))


class DiTBlock(nn.Module):
  """genjax.nn.dit.DiTBlock, with PyTorch's fused attention."""

  def __init__(self, width: int, num_heads: int):
    super().__init__()
    self.num_heads = num_heads
    self.modulation = zeroed(nn.Linear(width, 6 * width))
    self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
    self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

  def forward(self, x, c):
    n, tokens, width = x.shape
    shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (
        self.modulation(c)[:, None].chunk(6, -1))
    y = F.layer_norm(x, (width,)) * (1 + scale_a) + shift_a
    qkv = self.qkv(y).view(n, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(*qkv.unbind())
    x = x + gate_a * self.project(y.transpose(1, 2).reshape(n, tokens, width))
    y = F.layer_norm(x, (width,)) * (1 + scale_m) + shift_m
    return x + gate_m * self.down(F.gelu(self.up(y), approximate='tanh'))


class DiT(nn.Module):
  """genjax.nn.dit.DiT for images of one channel, [B, side, side]."""

  def __init__(self, side: int, patch: int, width: int, num_blocks: int, num_heads: int):
    super().__init__()
    self.side, self.patch = side, patch
    self.place = nn.Parameter(0.02 * torch.randn((side // patch) ** 2, width))
    self.stem = nn.Linear(patch**2, width)
    self.time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
    self.blocks = nn.ModuleList(DiTBlock(width, num_heads) for _ in range(num_blocks))
    self.modulation = zeroed(nn.Linear(width, 2 * width))
    self.head = zeroed(nn.Linear(width, patch**2))

  def forward(self, x, t):
    p, rows = self.patch, self.side // self.patch
    x = x.view(-1, rows, p, rows, p).transpose(2, 3).reshape(-1, rows**2, p * p)
    h, c = self.stem(x) + self.place, self.time(fourier_time(t, 128))
    for block in self.blocks:
      h = block(h, c)
    shift, scale = self.modulation(c)[:, None].chunk(2, -1)
    out = self.head(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift)
    out = out.view(-1, rows, rows, p, p).transpose(2, 3)
    return out.reshape(-1, self.side, self.side)


class CausalBlock(nn.Module):
  """genjax.nn.transformer.CausalBlock, one token at a time with a cache."""

  def __init__(self, width: int, num_heads: int):
    super().__init__()
    self.num_heads = num_heads
    self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
    self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
    self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

  def step(self, x, keys, values, i: int):
    """x [B, W] of token i; keys, values [B, h, T, d], of which i rows are filled."""
    n, width = x.shape
    qkv = self.qkv(self.norm_attention(x)).view(n, 3, self.num_heads, 1, -1)
    q, keys[:, :, i:i + 1], values[:, :, i:i + 1] = qkv.unbind(1)
    y = F.scaled_dot_product_attention(q, keys[:, :, :i + 1], values[:, :, :i + 1])
    x = x + self.project(y.reshape(n, width))
    return x + self.down(F.gelu(self.up(self.norm_mlp(x)), approximate='tanh'))


class TokenTransformer(nn.Module):
  """genjax.nn.transformer.TokenTransformer without labels, for sampling."""

  def __init__(self, side: int, levels: int, width: int, num_blocks: int, num_heads: int):
    super().__init__()
    self.shape, self.levels, self.num_heads = (side, side, 1), levels, num_heads
    small = lambda *shape: nn.Parameter(0.02 * torch.randn(shape))
    self.token, self.value, self.label = small(levels, width), small(width), small(1, width)
    self.places = nn.ParameterList(small(size, width) for size in self.shape)
    self.blocks = nn.ModuleList(CausalBlock(width, num_heads) for _ in range(num_blocks))
    self.norm, self.head = nn.LayerNorm(width), zeroed(nn.Linear(width, levels))

  def place(self):
    """[T, W]."""
    rows, columns, channels = self.places
    total = rows[:, None, None] + columns[None, :, None] + channels[None, None]
    return total.view(-1, total.shape[-1])

  def step(self, x, cache, i: int):
    """x [B, W] in place of token i - 1, with its place added -> logits [B, levels]."""
    for block, (keys, values) in zip(self.blocks, cache, strict=True):
      x = block.step(x, keys, values, i)
    return self.head(self.norm(x))
