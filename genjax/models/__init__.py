"""FAMILIES: what p_theta can be; one family per file, each with make(spec, ...) -> Model."""

from genjax.models import (
  autoregressive,
  autoregressive_flow,
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
    'autoregressive': autoregressive,
    'ebm': ebm,
    'diffusion': diffusion,
}
