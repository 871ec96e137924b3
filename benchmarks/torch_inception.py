"""The features of Inception-2015-12-05 in eager PyTorch: its table, with batch norms unfolded."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from genjax.encoders import inception

POOLS = {'average': nn.AvgPool2d(3, 1, 1, count_include_pad=False),
         'max': nn.MaxPool2d(3, 1, 1), 'halve': nn.MaxPool2d(3, 2)}


class Unit(nn.Module):
  """Convolution, batch norm, relu."""

  def __init__(self, conv: inception.Conv, channels: int):
    super().__init__()
    pad = tuple(n // 2 for n in conv.kernel) if conv.padding == 'SAME' else 0
    self.conv = nn.Conv2d(channels, conv.width, conv.kernel, conv.stride, pad, bias=False)
    self.bn = nn.BatchNorm2d(conv.width, eps=inception.EPSILON)

  def forward(self, x):
    return F.relu(self.bn(self.conv(x)), inplace=True)


class Network(nn.Module):
  """genjax.encoders.inception, [B, 3, 299, 299] -> [B, 2048]; a state dict of the same names."""

  def __init__(self):
    super().__init__()
    for name, conv, channels in inception.convs():
      stage, _, unit = name.partition('.')
      if not unit:
        self.add_module(stage, Unit(conv, channels))
        continue
      if not hasattr(self, stage):
        self.add_module(stage, nn.Module())
      getattr(self, stage).add_module(unit, Unit(conv, channels))
    self.fc = nn.Linear(inception.NUM_FEATURES, inception.NUM_LOGITS)

  def stage(self, name: str, x):
    """One row of the table."""
    what = inception.STAGES[name]
    if isinstance(what, str):
      return POOLS[what](x)
    if isinstance(what, inception.Conv):
      return getattr(self, name)(x)
    return torch.cat([self.branch(getattr(self, name), branch, x) for branch in what], 1)

  def branch(self, block, layers, x):
    for layer in layers:
      if isinstance(layer, str):
        x = POOLS[layer](x)
      elif isinstance(layer, inception.Conv):
        x = getattr(block, layer.name)(x)
      else:
        x = torch.cat([getattr(block, conv.name)(x) for conv in layer], 1)
    return x

  def forward(self, x):
    for name in inception.STAGES:
      x = self.stage(name, x)
    return x.mean((2, 3))


def make(batch: int, channels_last: bool = True) -> Callable[[], torch.Tensor]:
  """call() -> features [batch, 2048] of random images; channels last is the faster on a CPU."""
  form = torch.channels_last if channels_last else torch.contiguous_format
  net = Network().eval().to(memory_format=form)
  x = torch.rand(batch, 3, inception.SIDE, inception.SIDE).mul(2).sub(1).contiguous(
      memory_format=form)

  @torch.inference_mode()
  def call():
    return net(x)

  return call
