"""Log densities in nats, the grid of levels, dequantisation, and bits per dimension."""

from genjax.prob.densities import (
  LOG_2PI,
  beta_binomial_log_prob,
  level_log_prob,
  level_logits,
  log_mean_exp,
  logistic_cell_log_prob,
  logistic_mixture_log_prob,
  normal_kl,
  normal_log_prob,
  nucleus,
)
from genjax.prob.dequantise import (
  dequantise,
)
from genjax.prob.levels import (
  bits_per_dim,
  cell_noise,
  from_levels,
  grid,
  log_cell_volume,
  log_scale_volume,
  to_levels,
)

__all__ = ['LOG_2PI', 'beta_binomial_log_prob', 'bits_per_dim', 'cell_noise', 'dequantise',
           'from_levels', 'grid', 'level_log_prob', 'level_logits', 'log_cell_volume',
           'log_mean_exp', 'log_scale_volume', 'logistic_cell_log_prob',
           'logistic_mixture_log_prob', 'normal_kl', 'normal_log_prob', 'nucleus', 'to_levels']
