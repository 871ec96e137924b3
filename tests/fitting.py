"""What the tests of fitted families share: rows to fit, and a model with what it fits."""

import jax
import numpy as np


def rows_of(num, dim, seed=0):
  """float32 [num, dim]: standard normal, the same for the same arguments."""
  return np.random.default_rng(seed).normal(size=(num, dim)).astype(np.float32)


def fitted(make, rows, spec, **kw):
  """(model, params) of the family `make`, fitted to rows."""
  model = make(spec, **kw)
  return model, model.fit(jax.random.key(0), rows)
