"""KL(p_theta || p_data) for data whose density is known: variational inference."""

from collections.abc import Callable

import jax

from genjax.objectives import check
from genjax.types import Aux, BadInput, Estimator, Model, Objective, Player


def pathwise(model: Model, *, log_density: Callable, num_samples: int | None = None,
             path_gradient: bool = False) -> Objective:
  """Returns one player on E_q [log q_theta(x) - log p(x)], x reparameterised, in nats.

  num_samples: draws per update (None: as many as the batch has; else unconditional).
  path_gradient: leave out the score of q at the samples, whose mean is zero: "sticking the
    landing" (1703.09194), no variance at q = p; needs log_prob.
  Metrics: log_q, log_p; the loss estimates the divergence because p is normalised.
  """
  if num_samples is not None:
    check.positive(num_samples=num_samples)
  if path_gradient and model.log_prob is None:
    raise BadInput('path_gradient=True needs a model with log_prob; allowed here: False')

  def loss(params, carry, batch, rng, step):
    rng_x, rng_q = jax.random.split(rng)
    n, cond = num_samples, None
    if n is None:
      n, cond = batch['x'].shape[0], batch.get('cond')
    x, log_q = model.sample_and_log_prob(params['model'], rng_x, n, cond)
    if path_gradient:
      at = {'x': x} if cond is None else {'x': x, 'cond': cond}
      log_q = model.log_prob(jax.lax.stop_gradient(params['model']), at, rng_q)
    log_p = log_density(x)
    return (log_q - log_p).mean(), Aux({'log_q': log_q.mean(), 'log_p': log_p.mean()}, carry)

  return Objective(
      init=lambda rng, batch: ({'model': model.init(rng, batch)}, ()),
      players=(Player('model', loss, ('model',)),),
      model=model)


ESTIMATORS = {'pathwise': Estimator(('sample_and_log_prob', 'data.log_density'), pathwise)}
