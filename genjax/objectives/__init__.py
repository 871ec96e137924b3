"""One divergence per file: ESTIMATORS = {name: Estimator(needs, make)}, the best one first."""

from genjax.objectives import (
  adversarial,
  consistency,
  distillation,
  kl,
  mean_flow,
  reverse_kl,
  score_matching,
  wasserstein,
)

OBJECTIVES = {
    'kl': kl,
    'reverse_kl': reverse_kl,
    'adversarial': adversarial,
    'wasserstein': wasserstein,
    'score_matching': score_matching,
    'mean_flow': mean_flow,
    'consistency': consistency,
    'distillation': distillation,
}
