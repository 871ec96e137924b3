"""Samplers of a diffusion: from x_T to x_0 by a denoiser, in one compiled loop.

SAMPLERS[name](denoise, path, rng, x_T, cond, *, cost, ...) -> x_0 [n, ...] and how often the
network was evaluated, with denoise(x_t, t [n], cond, rng) -> E[x_0 | x_t], any Gaussian path
path(t [n]) -> alpha, sigma, and cost(t) the network evaluations of one call of denoise there. They
know no model; what is in x / sigma and alpha / sigma is exact where alpha vanishes at t = 1.
"""

from genjax.numerics.samplers.adaptive import ode
from genjax.numerics.samplers.ancestral import ddim, ddpm, euler_maruyama, predictor_corrector
from genjax.numerics.samplers.edm import euler, heun
from genjax.numerics.samplers.multistep import dpmpp_2m, unipc

SAMPLERS = {'ddpm': ddpm, 'ddim': ddim, 'euler': euler, 'heun': heun, 'dpmpp_2m': dpmpp_2m,
            'unipc': unipc, 'predictor_corrector': predictor_corrector,
            'euler_maruyama': euler_maruyama, 'ode': ode}
