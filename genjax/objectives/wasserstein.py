"""Wasserstein distances: W1 by a critic of gradient norm 1, W2^2 by Sinkhorn on minibatches."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.numerics import derivatives, sinkhorn
from genjax.numerics.shapes import match
from genjax.objectives import check, through_samples
from genjax.types import Aux, DataSpec, Estimator, Model, Objective, Player


def by_critic(model: Model, critic: Callable, *, spec: DataSpec, num_critic: int = 5,
              gradient_penalty: float = 10.0, one_sided: bool = False) -> Objective:
  """Returns two players, `critic` and `model`, on W1 (WGAN-GP, 1704.00028).

  num_critic: critic updates per model update.
  gradient_penalty: lambda.
  one_sided: penalise only norms above 1.
  Metrics: wasserstein_estimate, in units of x; gradient_penalty; gradient_norm.
  """
  check.positive(num_critic=num_critic)
  check.not_negative(gradient_penalty=gradient_penalty)
  net = critic(out=1)

  def critic_loss(params, carry, batch, rng, step):
    rng_x, rng_eps, rng_real, rng_fake = jax.random.split(rng, 4)
    cond = batch.get('cond')
    x, x_tilde = through_samples.real_and_fake(
        model, spec, jax.lax.stop_gradient(params['model']), batch, rng_x)
    v_real, writes_real = through_samples.outputs(net, params['critic'], x, cond, rng_real)
    v_fake, writes_fake = through_samples.outputs(net, params['critic'], x_tilde, cond, rng_fake)

    # L = E v(x_tilde) - E v(x) + lambda E (|grad v(x_hat)| - 1)^2,
    # x_hat = eps x + (1 - eps) x_tilde, eps ~ U[0, 1] per example    (1704.00028, Eq. 3)
    eps = match(jax.random.uniform(rng_eps, x.shape[:1]), x)
    x_hat = eps * x + (1.0 - eps) * x_tilde
    slope = derivatives.norm(derivatives.gradient(
        lambda x: through_samples.outputs(net, params['critic'], x, cond, rng_real)[0], x_hat))
    excess = jnp.maximum(slope - 1.0, 0.0) if one_sided else slope - 1.0
    penalty = gradient_penalty * excess**2
    loss = v_fake - v_real + penalty

    metrics = {'wasserstein_estimate': (v_real - v_fake).mean(),
               'gradient_penalty': penalty.mean(), 'gradient_norm': slope.mean()}
    writes = through_samples.under_critic({**writes_real, **writes_fake})
    return loss.mean(), Aux(metrics, carry, writes)

  def model_loss(params, carry, batch, rng, step):
    rng_x, rng_critic = jax.random.split(rng)
    _, x_tilde = through_samples.real_and_fake(model, spec, params['model'], batch, rng_x)
    frozen = jax.lax.stop_gradient(params['critic'])
    v_fake, _ = through_samples.outputs(net, frozen, x_tilde, batch.get('cond'), rng_critic)
    return -v_fake.mean(), Aux({'output_fake': v_fake.mean()}, carry)

  return Objective(
      init=lambda rng, batch: (through_samples.init_both(model, net, rng, batch), ()),
      players=(Player('critic', critic_loss, ('critic',), num_critic),
               Player('model', model_loss, ('model',))),
      model=through_samples.trained_through_samples(model))


def by_sinkhorn(model: Model, *, spec: DataSpec, epsilon: float = 0.05,
                relative_epsilon: bool = True, max_iterations: int = 500) -> Objective:
  """Returns one player on the debiased Sinkhorn divergence of two minibatches (1706.00292).

  The cost is |x - y|^2.
  epsilon: entropic regularisation, in units of the mean cost if relative_epsilon.
  max_iterations: see `numerics.sinkhorn`.
  Metric: wasserstein_estimate, in units of x^2 (W2^2).
  """
  check.positive(epsilon=epsilon, max_iterations=max_iterations)

  def loss(params, carry, batch, rng, step):
    real, fake = through_samples.real_and_fake(model, spec, params['model'], batch, rng)
    value = sinkhorn.sinkhorn_divergence(fake, real, epsilon=epsilon, relative=relative_epsilon,
                                         max_iterations=max_iterations)
    return value, Aux({'wasserstein_estimate': value}, carry)

  return Objective(
      init=lambda rng, batch: ({'model': model.init(rng, batch)}, ()),
      players=(Player('model', loss, ('model',)),),
      model=through_samples.trained_through_samples(model),
      couples='the transport plan is that of a minibatch')


ESTIMATORS = {'critic': Estimator(('rsample',), by_critic),
              'sinkhorn': Estimator(('rsample',), by_sinkhorn)}
