"""FAMILIES: what p_theta can be, one family per file with make(spec, ...) -> Model.

The other files are parts that families share: bijections, frames, priors, posteriors.
"""

from genjax.models import (
  autoregressive,
  autoregressive_flow,
  continuous_flow,
  diffusion,
  ebm,
  flow,
  gaussian,
  glow,
  histogram,
  implicit,
  kde,
  ladder,
  mixture,
  tarflow,
  vae,
)

FAMILIES = {
    'gaussian': gaussian,
    'mixture': mixture,
    'histogram': histogram,
    'kde': kde,
    'vae': vae,
    'ladder': ladder,
    'implicit': implicit,
    'flow': flow,
    'autoregressive_flow': autoregressive_flow,
    'glow': glow,
    'continuous_flow': continuous_flow,
    'tarflow': tarflow,
    'autoregressive': autoregressive,
    'ebm': ebm,
    'diffusion': diffusion,
}
