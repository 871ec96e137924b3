"""Training steps in eager PyTorch: the losses of ours, written by hand, with fused Adam."""

import math

import torch
from torch.nn import functional as F

from benchmarks import rounds
from benchmarks import torch_nets as nets

SIDE, LEVELS = 28, 256
LOG_2PI = math.log(2 * math.pi)


def count(*modules) -> int:
  return sum(p.numel() for m in modules for p in m.parameters())


def adam(modules, lr: float, betas=(0.9, 0.999)):
  """Fused Adam with our epsilon."""
  return torch.optim.Adam([p for m in modules for p in m.parameters()], lr, betas, eps=1e-8,
                          fused=True)


def side(step, *modules) -> rounds.Side:
  """One step a call; PyTorch on CPU returns when it is done."""
  return rounds.Side(step, lambda: None, 1, count(*modules), {})


def minimise(loss, optimizer):
  """One update."""
  optimizer.zero_grad(set_to_none=True)
  loss.backward()
  optimizer.step()


def product(kw, size: int, lr: float) -> rounds.Side:
  """One product of square matrices."""
  del kw, lr
  a = torch.ones(size, size)
  return side(lambda: a @ a)


def images(n: int):
  """Random images on the grid of [-1, 1], [n, 784]."""
  return torch.randint(0, LEVELS, (n, SIDE * SIDE)) * (2.0 / (LEVELS - 1)) - 1.0


def logistic_cell_log_prob(x, mean, log_scale):
  """genjax.prob.logistic_cell_log_prob."""
  half = 1.0 / (LEVELS - 1)
  inv = torch.exp(-log_scale)
  upper, lower = (x + half - mean) * inv, (x - half - mean) * inv
  width = 2.0 * half * inv
  log_upper, log_lower = F.logsigmoid(upper), F.logsigmoid(-lower)
  middle = log_upper + log_lower + torch.log(-torch.expm1(-width.clamp_min(1e-12)))
  middle = torch.where(x > 1.0 - half, log_lower, middle)
  return torch.where(x < -1.0 + half, log_upper, middle)


def vae(kw, batch_size: int, lr: float) -> rounds.Side:
  """Minus the ELBO of genjax.models.vae."""
  hidden, latent_dim = kw['posterior']['features'], kw['model']['latent_dim']
  encoder = nets.mlp(SIDE * SIDE, hidden, 2 * latent_dim)
  decoder = nets.mlp(latent_dim, hidden[::-1], 2 * SIDE * SIDE)
  optimizer, x = adam((encoder, decoder), lr), images(batch_size)

  def step():
    mean, raw_std = encoder(x).chunk(2, -1)
    std = F.softplus(raw_std + 0.5) + 1e-4
    z = mean + std * torch.randn_like(mean)
    location, raw_scale = decoder(z).chunk(2, -1)
    log_p = logistic_cell_log_prob(x, location, (raw_scale - 2.0).clamp_min(-7.0)).sum(-1)
    kl = (0.5 * (std**2 + mean**2 - 1.0) - torch.log(std)).sum(-1)
    minimise((kl - log_p).mean(), optimizer)

  return side(step, encoder, decoder)


def path(t, logsnr_min: float = -10.0, logsnr_max: float = 10.0):
  """alpha, sigma of the cosine schedule between these bounds."""
  b, b_end = math.atan(math.exp(-0.5 * logsnr_max)), math.atan(math.exp(0.5 * logsnr_min))
  a = 0.5 * math.pi - b - b_end
  return torch.sin(b_end + a * (1.0 - t)), torch.sin(b + a * t)


def denoising(net, x_0, lr: float, t_min: float = 1e-3) -> rounds.Side:
  """|eps - eps_hat|^2 with a network that predicts v: eps_hat = alpha v + sigma x_t."""
  optimizer, n = adam((net,), lr), x_0.shape[0]
  wide = (-1, *[1] * (x_0.ndim - 1))
  offsets = torch.arange(n) / n

  def step():
    t = t_min + (1.0 - t_min) * ((torch.rand(()) + offsets) % 1.0)
    alpha, sigma = path(t)
    alpha, sigma = alpha.view(wide), sigma.view(wide)
    eps = torch.randn_like(x_0)
    x_t = alpha * x_0 + sigma * eps
    eps_hat = alpha * net(x_t, t) + sigma * x_t
    minimise(F.mse_loss(eps_hat, eps), optimizer)

  return side(step, net)


def score(kw, batch_size: int, lr: float) -> rounds.Side:
  """Denoising score matching in the plane."""
  net = nets.TimeMLP(2, kw['denoiser']['width'], kw['denoiser']['num_blocks'])
  return denoising(net, torch.randn(batch_size, 2), lr)


def dit(kw, batch_size: int, lr: float) -> rounds.Side:
  """Denoising score matching of images."""
  net = nets.DiT(SIDE, **kw['denoiser'])
  return denoising(net, images(batch_size).view(-1, SIDE, SIDE), lr)


def wgan_gp(kw, batch_size: int, lr: float, num_critic: int = 5) -> rounds.Side:
  """num_critic updates of the critic and one of the generator, as genjax.objectives.wasserstein."""
  latent_dim, half = kw['model']['latent_dim'], 1.0 / (LEVELS - 1)
  generator = nets.mlp(latent_dim, kw['generator']['features'], SIDE * SIDE, 'relu')
  critic = nets.mlp(SIDE * SIDE, kw['critic']['features'], 1)
  of_generator, of_critic = (adam((m,), lr, (0.5, 0.9)) for m in (generator, critic))
  data = images((num_critic + 1) * batch_size).chunk(num_critic + 1)

  def generate():
    return (1.0 + half) * torch.tanh(generator(torch.randn(batch_size, latent_dim)))

  def step():
    for x in data[:num_critic]:
      x = x + half * (2.0 * torch.rand_like(x) - 1.0)
      with torch.no_grad():
        x_tilde = generate()
      eps = torch.rand(batch_size, 1)
      x_hat = (eps * x + (1.0 - eps) * x_tilde).requires_grad_()
      slope = torch.autograd.grad(critic(x_hat).sum(), x_hat, create_graph=True)[0].norm(dim=-1)
      loss = critic(x_tilde) - critic(x) + 10.0 * ((slope - 1.0) ** 2)[:, None]
      minimise(loss.mean(), of_critic)
    critic.requires_grad_(False)
    minimise(-critic(generate()).mean(), of_generator)
    critic.requires_grad_(True)

  return side(step, generator, critic)
