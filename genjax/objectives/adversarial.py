"""f-divergences by their variational bound: a critic raises it, the model lowers it.

  D_f(p_data || p_theta) >= E_p g_f(v(x)) - E_q f*(g_f(v(x)))     (f-GAN, 1606.00709, Eq. 4 and 7)
"""

from collections.abc import Callable

import jax

from genjax.numerics import derivatives, f_divergence
from genjax.numerics.shapes import sum_event
from genjax.objectives import check, through_samples
from genjax.types import Aux, DataSpec, Estimator, Model, Objective, Player


def by_critic(model: Model, critic: Callable, *, spec: DataSpec, divergence: str = 'js',
              saturating: bool = False, num_critic: int = 1,
              gradient_penalty: float = 0.0) -> Objective:
  """Returns two players on D_f(p_data || p_theta), the critic first.

  divergence: 'kl' | 'reverse_kl' | 'js' | 'pearson' | 'squared_hellinger' | 'jeffreys' | 'gan', as
    defined in `genjax.numerics.f_divergence` ('js' is twice the Jensen-Shannon divergence).
  saturating: True, the model minimises the bound itself; False, it maximises E_q g_f(v), f-GAN's
    trick (section 3.2): the same fixed point for a perfect critic, another path and, where the
    model cannot fit the data, another minimiser.
  num_critic: critic updates per model update. gradient_penalty: gamma of
    R1 = gamma / 2 E_p |grad_x v|^2 (1801.04406, Eq. 9).
  Metrics: divergence_bound in nats, whose expectation over batches is a lower bound of the
    divergence for every critic; gradient_penalty. Raises BadInput for an unknown divergence.
  """
  check.one_of('divergence', divergence, f_divergence.F_DIVERGENCES)
  check.positive(num_critic=num_critic)
  check.not_negative(gradient_penalty=gradient_penalty)
  f, net = f_divergence.get(divergence), critic(out=1)

  def critic_loss(params, carry, batch, rng, step):
    rng_x, rng_real, rng_fake = jax.random.split(rng, 3)
    cond = batch.get('cond')
    real, fake = through_samples.real_and_fake(
        model, spec, jax.lax.stop_gradient(params['model']), batch, rng_x)
    v_real, writes_real = through_samples.outputs(net, params['critic'], real, cond, rng_real)
    v_fake, writes_fake = through_samples.outputs(net, params['critic'], fake, cond, rng_fake)
    bound = f.activation(v_real) - f.conjugate_activation(v_fake)
    metrics = {'divergence_bound': bound.mean(), 'output_real': v_real.mean(),
               'output_fake': v_fake.mean()}
    loss = -bound
    if gradient_penalty:
      slope = derivatives.gradient(
          lambda x: through_samples.outputs(net, params['critic'], x, cond, rng_real)[0], real)
      r1 = 0.5 * gradient_penalty * sum_event(slope**2)
      metrics['gradient_penalty'] = r1.mean()
      loss = loss + r1
    writes = through_samples.under_critic({**writes_real, **writes_fake})
    return loss.mean(), Aux(metrics, carry, writes)

  def model_loss(params, carry, batch, rng, step):
    rng_x, rng_critic = jax.random.split(rng)
    _, fake = through_samples.real_and_fake(model, spec, params['model'], batch, rng_x)
    frozen = jax.lax.stop_gradient(params['critic'])
    v_fake, _ = through_samples.outputs(net, frozen, fake, batch.get('cond'), rng_critic)
    # the bound's other term, E_p g_f(v), does not depend on the model
    loss = -f.conjugate_activation(v_fake) if saturating else -f.activation(v_fake)
    return loss.mean(), Aux({'output_fake': v_fake.mean()}, carry)

  return Objective(
      init=lambda rng, batch: (through_samples.init_both(model, net, rng, batch), ()),
      players=(Player('critic', critic_loss, ('critic',), num_critic),
               Player('model', model_loss, ('model',))),
      model=through_samples.trained_through_samples(model))


ESTIMATORS = {'critic': Estimator(('rsample',), by_critic)}
