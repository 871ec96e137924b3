"""Coupling flows in eager PyTorch, by hand, after genjax.models.flow and 1906.04032's code."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import rounds, torch_train

MAX_LOG_SCALE = 2.0
MIN_BIN = MIN_SLOPE = 1e-3
SLOPE_OFFSET = math.log(math.expm1(1.0 - MIN_SLOPE))


class Conditioner(nn.Module):
  """a residual genjax.nn.mlp.MLP: x [B, d] -> parameters [B, num_transformed, num_params]."""

  def __init__(self, size: int, hidden, num_transformed: int, num_params: int):
    super().__init__()
    self.num_params, self.stem = num_params, nn.Linear(size, hidden[0])
    self.hidden = nn.ModuleList(map(nn.Linear, hidden[:-1], hidden[1:]))
    self.out = nn.Linear(hidden[-1], num_transformed * num_params)
    nn.init.zeros_(self.out.weight)
    nn.init.zeros_(self.out.bias)

  def forward(self, x):
    h = F.silu(self.stem(x))
    for layer in self.hidden:
      y = F.silu(layer(h))
      h = h + y if h.shape == y.shape else y
    return self.out(h).view(x.shape[0], -1, self.num_params)


def affine(x, raw):
  """x exp(s) + shift and s."""
  shift, raw_scale = raw.unbind(-1)
  log_scale = MAX_LOG_SCALE * torch.tanh(raw_scale / MAX_LOG_SCALE)
  return x * log_scale.exp() + shift, log_scale


def knots(raw, bound: float):
  """Unconstrained [..., K] -> knots [..., K + 1] from -bound to bound."""
  num_bins = raw.shape[-1]
  widths = MIN_BIN + (1.0 - MIN_BIN * num_bins) * F.softmax(raw, -1)
  inner = 2.0 * bound * widths.cumsum(-1)[..., :-1] - bound
  return F.pad(F.pad(inner, (1, 0), value=-bound), (0, 1), value=bound)


def spline(x, raw, bound: float = 4.0):
  """The rational-quadratic spline and its log-derivative, by search and gather."""
  num_bins = (raw.shape[-1] + 1) // 3
  raw_widths, raw_heights, raw_slopes = raw.split((num_bins, num_bins, num_bins - 1), -1)
  x_knots, y_knots = knots(raw_widths, bound), knots(raw_heights, bound)
  slopes = F.pad(MIN_SLOPE + F.softplus(raw_slopes + SLOPE_OFFSET), (1, 1), value=1.0)
  inside = x.abs() <= bound
  x_in = torch.where(inside, x, 0.0)
  i = torch.searchsorted(x_knots[..., 1:-1].contiguous().detach(), x_in[..., None], right=True)
  at = lambda values, i: values.gather(-1, i)[..., 0]
  x_k, y_k, slope = at(x_knots, i), at(y_knots, i), at(slopes, i)
  width, height, slope_next = at(x_knots, i + 1) - x_k, at(y_knots, i + 1) - y_k, at(slopes, i + 1)
  s, xi = height / width, (x_in - x_k) / width
  rest = 1.0 - xi
  cross = xi * rest
  denominator = s + (slope_next + slope - 2.0 * s) * cross
  y = y_k + height * (s * xi**2 + slope * cross) / denominator
  numerator = s**2 * (slope_next * xi**2 + 2.0 * s * cross + slope * rest**2)
  log_det = torch.log(numerator) - 2.0 * torch.log(denominator)
  return torch.where(inside, y, x), torch.where(inside, log_det, 0.0)


class Flow(nn.Module):
  """A triangular map, then pairs of couplings in a random order each, to a standard normal."""

  def __init__(self, size: int, transform: str, num_couplings: int, hidden, num_bins: int = 0):
    super().__init__()
    self.keep, pairs = size - size // 2, num_couplings // 2
    self.transform, num_params = ((affine, 2) if transform == 'affine'
                                  else (spline, 3 * num_bins - 1))
    made = lambda given, changed: nn.ModuleList(
        Conditioner(given, hidden, changed, num_params) for _ in range(pairs))
    self.last = made(self.keep, size - self.keep)
    self.first = made(size - self.keep, self.keep)
    self.orders = [torch.randperm(size) for _ in range(pairs)]
    self.shift, self.log_diag = (nn.Parameter(torch.zeros(size)) for _ in range(2))
    self.lower = nn.Parameter(torch.zeros(size, size))

  def log_prob(self, x):
    matrix = self.lower.tril(-1) + self.log_diag.exp().diag()
    x = (x - self.shift) @ matrix.T
    total = self.log_diag.sum()
    for order, last, first in zip(self.orders, self.last, self.first, strict=True):
      a, b = x[:, order].split((self.keep, x.shape[1] - self.keep), 1)
      b, log_det_b = self.transform(b, last(a))
      a, log_det_a = self.transform(a, first(b))
      x, total = torch.cat([a, b], 1), total + log_det_a.sum(-1) + log_det_b.sum(-1)
    return total - 0.5 * (x**2 + torch_train.LOG_2PI).sum(-1)


def train(kw, batch_size: int, lr: float) -> rounds.Side:
  """Maximum likelihood."""
  size = kw.get('data', {}).get('dim', 2)
  flow = Flow(size, **kw['model'], hidden=kw['conditioner']['features'])
  optimizer, x = torch_train.adam((flow,), lr), torch.randn(batch_size, size)
  return torch_train.side(lambda: torch_train.minimise(-flow.log_prob(x).mean(), optimizer), flow)
