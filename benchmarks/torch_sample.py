"""Sampling in eager PyTorch: a token at a time with a cache, and DDIM."""

import math

import torch

from benchmarks import rounds, torch_train
from benchmarks import torch_nets as nets

SIDE, LEVELS = 8, 17  # of the digits


def autoregressive(kw, batch_size: int, lr: float) -> rounds.Side:
  """As genjax.models.autoregressive.sample: the cache is allocated once and filled in place."""
  del lr
  net = nets.TokenTransformer(SIDE, LEVELS, **kw['causal']).eval()
  tokens, width = SIDE * SIDE, kw['causal']['width']
  heads = kw['causal']['num_heads']
  cache = [tuple(torch.zeros(batch_size, heads, tokens, width // heads) for _ in range(2))
           for _ in net.blocks]

  @torch.inference_mode()
  def call():
    place, x = net.place(), net.label.expand(batch_size, -1)
    drawn = torch.empty(batch_size, tokens, dtype=torch.long)
    for i in range(tokens):
      logits = net.step(x + place[i], cache, i)
      drawn[:, i] = token = torch.multinomial(logits.softmax(-1), 1)[:, 0]
      x = net.token[token] + (2.0 * token / (LEVELS - 1) - 1.0)[:, None] * net.value
    return drawn * (2.0 / (LEVELS - 1)) - 1.0

  return rounds.Side(call, lambda: None, 1, torch_train.count(net), {})


def ddim(kw, batch_size: int, lr: float) -> rounds.Side:
  """Deterministic DDIM of the transformer."""
  del lr
  side = torch_train.SIDE
  net = nets.DiT(side, **kw['denoiser']).eval()
  return deterministic(net, (batch_size, side, side), kw['sampler']['num_steps'])


def deterministic(net, shape, num_steps: int, t_min: float = 1e-3) -> rounds.Side:
  """DDIM at eta 0, v-prediction, the scales of all steps computed beforehand."""
  times = torch.linspace(1.0, t_min, num_steps)
  alpha, sigma = torch_train.path(times, logsnr_max=2.0 * math.log(3.0 * (torch_train.LEVELS - 1)))
  alpha_s = torch.cat([alpha[1:], torch.ones(1)]).tolist()
  sigma_s = torch.cat([sigma[1:], torch.zeros(1)]).tolist()
  scales = list(zip(times.tolist(), alpha.tolist(), sigma.tolist(), alpha_s, sigma_s, strict=True))

  @torch.inference_mode()
  def call():
    x = torch.randn(shape)
    for t, a, s, a_next, s_next in scales:
      v = net(x, torch.full(shape[:1], t))
      x = (a_next * a + s_next * s) * x + (s_next * a - a_next * s) * v
    return x

  return rounds.Side(call, lambda: None, 1, torch_train.count(net), {})
