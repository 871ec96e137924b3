"""genjax.nn.unet as a PyTorch user would write it by hand, channels last.

Every submodule has the name that it has in ours, so that weights can be copied by name.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import rounds, torch_sample, torch_train
from benchmarks.torch_nets import fourier_time, zeroed
from genjax.nn.norm import EPSILON, num_groups

RESAMPLE = {'': lambda x: x, 'down': lambda x: F.avg_pool2d(x, 2),
            'up': lambda x: F.interpolate(x, scale_factor=2)}


def norm(channels: int) -> nn.GroupNorm:
  return nn.GroupNorm(num_groups(channels), channels, EPSILON)


class ResidualBlock(nn.Module):
  """genjax.nn.unet.ResidualBlock."""

  def __init__(self, size: int, features: int, embedding: int, resample: str = ''):
    super().__init__()
    self.change = RESAMPLE[resample]
    self.norm_1, self.norm_2 = norm(size), norm(features)
    self.conv_1 = nn.Conv2d(size, features, 3, padding=1)
    self.conv_2 = zeroed(nn.Conv2d(features, features, 3, padding=1))
    self.modulation = nn.Linear(embedding, 2 * features)
    self.shortcut = nn.Conv2d(size, features, 1) if size != features else nn.Identity()

  def forward(self, x, c):
    y = self.conv_1(self.change(F.silu(self.norm_1(x))))
    scale, shift = self.modulation(c)[:, :, None, None].chunk(2, 1)
    y = self.conv_2(F.silu(self.norm_2(y) * (1 + scale) + shift))
    return self.shortcut(self.change(x)) + y


class Attention(nn.Module):
  """genjax.nn.unet.Attention, with PyTorch's fused attention."""

  def __init__(self, channels: int, num_heads: int):
    super().__init__()
    self.num_heads, self.norm = num_heads, norm(channels)
    self.qkv = nn.Linear(channels, 3 * channels)
    self.project = zeroed(nn.Linear(channels, channels))

  def forward(self, x):
    n, channels, h, w = x.shape
    y = self.norm(x).permute(0, 2, 3, 1).reshape(n, h * w, channels)
    qkv = self.qkv(y).view(n, h * w, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    y = F.scaled_dot_product_attention(*qkv.unbind()).transpose(1, 2).reshape(n, h, w, channels)
    return x + self.project(y).permute(0, 3, 1, 2)


class UNet(nn.Module):
  """genjax.nn.unet.UNet without labels, for images of one channel: [B, 1, side, side]."""

  def __init__(self, side: int, width: int, num_blocks: int, num_heads: int, multipliers,
               attention):
    super().__init__()
    self.time_1, self.time_2 = nn.Linear(128, 4 * width), nn.Linear(4 * width, 4 * width)
    self.stem, size, skips = nn.Conv2d(1, width, 3, padding=1), width, [width]
    self.order = []  # (name, takes a skip, leaves one)

    def block(name, features, resample='', attends=False, takes=False, leaves=False):
      nonlocal size
      size += skips.pop() if takes else 0
      self.add_module(name, ResidualBlock(size, features, 4 * width, resample))
      self.add_module(f'{name}_attention',
                      Attention(features, num_heads) if attends else nn.Identity())
      self.order.append((name, takes, leaves))
      size = features
      if leaves:
        skips.append(size)

    levels = [(i, m * width, side >> i in attention) for i, m in enumerate(multipliers)]
    for i, features, attends in levels:
      for j in range(num_blocks):
        block(f'down_{i}_{j}', features, attends=attends, leaves=True)
      if i < len(levels) - 1:
        block(f'down_{i}', features, 'down', leaves=True)
    block('middle_0', levels[-1][1], attends=True)
    block('middle_1', levels[-1][1])
    for i, features, attends in reversed(levels):
      for j in range(num_blocks + 1):
        block(f'up_{i}_{j}', features, attends=attends, takes=True)
      if i:
        block(f'up_{i}', features, 'up')
    self.norm, self.head = norm(size), zeroed(nn.Conv2d(size, 1, 3, padding=1))

  def forward(self, x, t):
    c = F.silu(self.time_2(F.silu(self.time_1(fourier_time(t, 128)))))
    h = self.stem(x.contiguous(memory_format=torch.channels_last))
    skips = [h]
    for name, takes, leaves in self.order:
      h = torch.cat([h, skips.pop()], 1) if takes else h
      h = self.get_submodule(f'{name}_attention')(self.get_submodule(name)(h, c))
      if leaves:
        skips.append(h)
    return self.head(F.silu(self.norm(h)))


def make(kw) -> UNet:
  """The network of a workload, its weights channels last."""
  return UNet(torch_train.SIDE, **kw['denoiser']).to(memory_format=torch.channels_last)


def train(kw, batch_size: int, lr: float) -> rounds.Side:
  """Denoising score matching of images."""
  side = torch_train.SIDE
  x_0 = torch_train.images(batch_size).view(-1, 1, side, side)
  return torch_train.denoising(make(kw), x_0.to(memory_format=torch.channels_last), lr)


def ddim(kw, batch_size: int, lr: float) -> rounds.Side:
  """Deterministic DDIM with v-prediction."""
  del lr
  side = torch_train.SIDE
  return torch_sample.deterministic(make(kw).eval(), (batch_size, 1, side, side),
                                    kw['sampler']['num_steps'])
