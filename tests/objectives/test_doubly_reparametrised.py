"""The doubly reparametrised gradient: that of IWAE in the mean, with less variance in q."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.objectives import kl
from tests.linear_vae import linear_vae
from tests.networks import jit

K, NUM = 8, 2000


def test_its_mean_is_the_gradient_of_iwae_and_its_variance_is_lower_in_q():
  model, params, batch, _ = linear_vae()
  batch = {'x': batch['x'][:4]}
  # q near the posterior, as training leaves it; far from it neither variance is the lower one
  out = params['posterior']['out']
  out['bias'] = out['bias'] + jnp.asarray([0.15, 0.3])
  params = {'model': params}

  def gradient(objective):
    loss = objective.players[0].loss
    return lambda key: jax.value_and_grad(
        lambda params: loss(params, (), batch, key, 0)[0])(params)

  makes = kl.importance_weighted, kl.doubly_reparametrised
  both = jit(lambda keys: [jax.vmap(gradient(make(model, num_samples=K)))(keys) for make in makes])
  (bound, one), (same, other) = both(jax.random.split(jax.random.key(2), NUM))
  np.testing.assert_allclose(bound, same, rtol=1e-4, atol=1e-5)  # each by the same draws
  one, other = one['model'], other['model']
  for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
    gap = np.float64(a - b).reshape(NUM, -1)
    error = gap.std(0) / np.sqrt(NUM)
    assert (np.abs(gap.mean(0)) < 4.0 * error + 1e-6).all()
  variance = lambda tree: sum(np.var(leaf, axis=0).sum() for leaf in jax.tree.leaves(tree))
  assert variance(other['posterior']) < 0.7 * variance(one['posterior'])
  # in theta the two are one estimator
  for a, b in zip(*map(jax.tree.leaves, (one['decoder'], other['decoder'])), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
