"""Samplers of a diffusion: from x_T to x_0 by a denoiser or a flow map, in one compiled loop.

DENOISING[name](denoise, path, rng, x_T, cond, *, cost, ...) returns x_0 [n, ...] and the number of
network evaluations.
  denoise: (x_t, t [n], cond, rng) -> E[x_0 | x_t]
  path: t [n] -> alpha, sigma, of any Gaussian path; alpha may be 0 at t = 1
  cost: t -> network evaluations of one call of denoise
FLOW_MAP[name](flow_map, path, rng, x_T, cond, ...) likewise, with flow_map(x_t, t, s, cond) -> x_s.
Samplers know no model.
"""

from genjax.numerics.samplers.adaptive import ode
from genjax.numerics.samplers.ancestral import ddim, ddpm, euler_maruyama, predictor_corrector
from genjax.numerics.samplers.edm import euler, heun
from genjax.numerics.samplers.few_step import flow_map
from genjax.numerics.samplers.multistep import dpmpp_2m, unipc

DENOISING = {'ddpm': ddpm, 'ddim': ddim, 'euler': euler, 'heun': heun, 'dpmpp_2m': dpmpp_2m,
             'unipc': unipc, 'predictor_corrector': predictor_corrector,
             'euler_maruyama': euler_maruyama, 'ode': ode}
FLOW_MAP = {'flow_map': flow_map}
SAMPLERS = {**DENOISING, **FLOW_MAP}
