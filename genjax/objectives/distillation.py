"""Progressive distillation (2202.00512): a student learns to take two steps of its teacher in one.

It then becomes the teacher of the next stage, until few steps are left.
"""

import jax
import jax.numpy as jnp

from genjax.numerics import flow_map as maps
from genjax.numerics import path as paths
from genjax.numerics import weighting as weights
from genjax.numerics.shapes import sum_event
from genjax.objectives import check, few_steps
from genjax.types import Aux, BadInput, Estimator, Model, Objective, Player

WEIGHTINGS = ('truncated_snr', *weights.WEIGHTINGS)


def progressive(model: Model, *, init_from: str = '', first_steps: int = 32, last_steps: int = 4,
                stage_steps: int = 1000, weighting: str = 'truncated_snr') -> Objective:
  """Returns one player, the student, which starts at the parameters of the run in `init_from`.

  The student has N steps. The target of its x_hat is the value with which one DDIM step from
  t = i / N leads to where two DDIM steps of the teacher, each half as long, lead (Alg. 2).

  first_steps, last_steps: N in the first and the last stage; it is halved from stage to stage.
  stage_steps: number of updates per stage; the last stage takes the rest of the run.
  weighting: weight of |x_hat - target|^2 / D: 'truncated_snr', max(alpha^2 / sigma^2, 1), or a name
    in `numerics.weighting`; 'snr_plus_1' is in the paper, too (Sec. 4).

  At the end of a stage the student becomes the teacher, params['teacher'] = {'model', 'stage'},
  and keeps its optimizer state. The trained model has a flow_map, valid for the steps of the last
  stage. Metrics: x_mse (to the target), num_steps. Raises BadInput without a teacher, and if
  first_steps is not last_steps times a power of two.
  """
  check.one_of('weighting', weighting, WEIGHTINGS)
  check.positive(first_steps=first_steps, last_steps=last_steps, stage_steps=stage_steps)
  _check(init_from, first_steps, last_steps)
  last_stage = (first_steps // last_steps).bit_length() - 1
  diffusion = model.diffusion
  weight = None if weighting == 'truncated_snr' else weights.weight(weighting)

  def loss(params, carry, batch, rng, step):
    rng_i, rng_eps, rng_net = jax.random.split(rng, 3)
    x_0, cond, theta = batch['x'], batch.get('cond'), params['model']
    path = lambda t: diffusion.path(theta, t)
    stage = jnp.minimum(step // stage_steps, last_stage)
    # the stage that the teacher records decides when it is replaced, not the step, since the step
    # at the end of a stage may have been skipped
    teacher = jax.tree.map(lambda new, old: jnp.where(stage > params['teacher']['stage'], new, old),
                           theta, params['teacher']['model'])
    teacher = jax.lax.stop_gradient(teacher)

    n = (first_steps >> stage).astype(jnp.float32)
    i = jnp.floor(jax.random.uniform(rng_i, x_0.shape[:1]) * n) + 1.0
    t = jnp.minimum(i, n) / n
    x_t = paths.diffuse(x_0, jax.random.normal(rng_eps, x_0.shape), *path(t))
    denoise = lambda x_t, t: diffusion.denoise(teacher, x_t, t, cond, None).x_0
    target = two_steps(denoise, path, x_t, t, t - 0.5 / n, (jnp.minimum(i, n) - 1.0) / n)
    x_hat = diffusion.denoise(theta, x_t, t, cond, rng_net).x_0
    error = sum_event((x_hat - jax.lax.stop_gradient(target)) ** 2) / x_0[0].size
    point = paths.at(path, t)
    of_t = weight(point) if weight else jnp.maximum(weights.snr_and_slope(point)[0], 1.0)
    return (of_t * error).mean(), Aux(
        {'x_mse': error.mean(), 'num_steps': n}, carry,
        {'teacher': {'model': teacher, 'stage': stage.astype(jnp.int32)}})

  def init(rng, batch):
    student = model.init(rng, batch)
    teacher = {'model': jax.tree.map(jnp.copy, student), 'stage': jnp.zeros((), jnp.int32)}
    return {'model': student, 'teacher': teacher}, ()

  return Objective(
      init=init, players=(Player('model', loss, ('model',)),),
      model=few_steps.flow_map_alone(model), sampler=('flow_map', {'num_steps': last_steps}))


ESTIMATORS = {'progressive': Estimator(('denoise', 'fixed_path'), progressive)}


def _check(init_from: str, first_steps: int, last_steps: int) -> None:
  stages = (first_steps // last_steps).bit_length() - 1
  if last_steps << max(stages, 0) != first_steps:
    raise BadInput(f'first_steps={first_steps} is not last_steps={last_steps} doubled; allowed: '
                   f'{last_steps}, {2 * last_steps}, {4 * last_steps}, ...')
  if not init_from:
    raise BadInput("objective 'distillation' has no teacher; allowed: config.init_from=DIR, the "
                   'run directory of a diffusion on these data with this model.kw')


def two_steps(denoise, path, x_t, t, u, s):
  """The x_hat with which one DDIM step from t to s leads where steps t to u and u to s lead."""
  x_u = maps.step(path, x_t, denoise(x_t, t), t, u)
  x_s = maps.step(path, x_u, denoise(x_u, u), u, s)
  return maps.implied(path, x_t, x_s, t, s)
