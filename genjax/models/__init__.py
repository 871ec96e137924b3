"""FAMILIES: what p_theta can be; one family per file, each with make(spec, ...) -> Model."""

from genjax.models import (
  autoregressive,
  diffusion,
  ebm,
  flow,
  gaussian,
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
    'autoregressive': autoregressive,
    'ebm': ebm,
    'diffusion': diffusion,
}
