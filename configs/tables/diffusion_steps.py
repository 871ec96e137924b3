"""Quality against network evaluations for every sampler on one training.

python -m experiments.table run --table=configs/tables/diffusion_steps.py --size=tiny
"""

from configs import columns

# one data set a size: an encoder is a protocol, and a column has one
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 1}, 'one-gpu': {'seeds': 1}}
DATA = {'tiny': 'digits', 'small': 'fashion_mnist', 'one-gpu': 'cifar10'}
EVALUATIONS = (4, 8, 12, 20, 35, 50, 100, 1000)
# evaluations of num_steps steps; the others take one a step
CALLS = {'heun': lambda steps: 2 * steps - 1, 'predictor_corrector': lambda steps: 2 * steps}
SAMPLERS = ('ddpm', 'ddim', 'euler', 'heun', 'dpmpp_2m', 'unipc', 'predictor_corrector',
            'euler_maruyama')
TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # of 'ode', which chooses its steps


def steps(name, evaluations):
  """The most steps of a sampler in so many evaluations."""
  calls = CALLS.get(name, lambda steps: steps)
  return max(k for k in range(1, evaluations + 1) if calls(k) <= evaluations)


def sweep(add, size):
  """Rows: a sampler and its steps, on one trained run."""
  for name in SAMPLERS:
    for evaluations in EVALUATIONS:
      add(f'{name}, at most {evaluations}', *columns.trained(
          DATA[size], sampler__name=name, sampler__kw__num_steps=steps(name, evaluations)),
          curve=name)
  # a config that sets num_steps has no place for a sampler that takes none
  for tolerance in TOLERANCES if size != 'one-gpu' else ():
    add(f'ode, tolerance {tolerance:g}', *columns.trained(
        DATA[size], sampler__name='ode', sampler__kw__rtol=tolerance, sampler__kw__atol=tolerance),
        curve='ode')


def metrics():
  """Columns: quality, what is covered, novelty and cost of the samples."""
  return columns.sample_columns()


def figure():
  """The columns of the curves."""
  return {'x': 'NFE', 'y': 'excess FD'}


def note():
  """What a reader must know beside the figures."""
  return """
One run, trained once; the rows are samplers in their own default times. The number of steps is the
largest whose evaluations are at most the row's. *ode* chooses its steps: its rows are tolerances.
""" + columns.SAMPLES_NOTE
