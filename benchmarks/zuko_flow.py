"""The same couplings by zuko; it has no triangular map in front, and its conditioners no skips."""

import torch
from torch import nn
from zuko import lazy
from zuko.distributions import DiagNormal
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from benchmarks import rounds, torch_train


def flow(size: int, transform: str, num_couplings: int, hidden, num_bins: int = 0):
  """num_couplings couplings that transform alternate halves of the elements."""
  shapes = [(), ()] if transform == 'affine' else [(num_bins,), (num_bins,), (num_bins - 1,)]
  univariate = MonotonicAffineTransform if transform == 'affine' else MonotonicRQSTransform
  first = torch.arange(size) < size - size // 2
  couplings = [GeneralCouplingTransform(
      size, mask=first if i % 2 == 0 else ~first, univariate=univariate, shapes=shapes,
      hidden_features=hidden, activation=nn.SiLU) for i in range(num_couplings)]
  base = lazy.UnconditionalDistribution(DiagNormal, torch.zeros(size), torch.ones(size),
                                        buffer=True)
  return lazy.Flow(couplings, base)


def train(kw, batch_size: int, lr: float) -> rounds.Side:
  """Maximum likelihood."""
  size = kw.get('data', {}).get('dim', 2)
  model = flow(size, **kw['model'], hidden=kw['conditioner']['features'])
  optimizer, x = torch_train.adam((model,), lr), torch.randn(batch_size, size)
  return torch_train.side(
      lambda: torch_train.minimise(-model().log_prob(x).mean(), optimizer), model)
