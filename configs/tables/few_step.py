"""Few-step objectives beside the best solvers at 1, 2, 4 and 8 network evaluations.

python -m experiments.table run --table=configs/tables/few_step.py --size=tiny
"""

from configs import common

# one data set a size: an encoder is a protocol, and a column has one
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 1}, 'one-gpu': {'seeds': 1}}
DATA = {'tiny': 'digits', 'small': 'fashion_mnist', 'one-gpu': 'cifar10'}
EVALUATIONS = (1, 2, 4, 8)
# updates, where they are fewer than the teacher's: a step costs two to four of its
STEPS = {'small': {'mean_flow': 12000, 'consistency': 12000, 'distillation': 6000}}
SOLVERS = ('ddim', 'dpmpp_2m', 'unipc')
TEACHER = 'teacher'
# label -> objective, what the sampler adds; of the distilled ones a training a number of steps
OBJECTIVES = {'MeanFlow': ('mean_flow', {}), 'consistency': ('consistency', {
    'sampler__kw__renoise': True})}
PRINTED = {'MeanFlow, 1': (2.92, '2505.13447, Table 3'),
           'consistency, 1': (2.85, '2410.11081, Table 1, sCT'),
           'consistency, 2': (2.06, '2410.11081, Table 1, sCT')}


def sweep(add, size):
  """Rows: solvers on one diffusion; objectives that train for few steps, on the same network."""
  data, steps = DATA[size], STEPS.get(size, {})

  def row(label, config, numbers, curve):
    fid = PRINTED.get(label) if size == 'one-gpu' else None
    add(label, config, numbers, {'fd': {
        'value': fid[0], 'source': fid[1], 'protocol': '50,000 samples'}} if fid else {},
        curve=curve)

  add(TEACHER, *common.trained(data, sampler__name='heun', sampler__kw__num_steps=18))
  for name in SOLVERS:
    for k in EVALUATIONS:
      row(f'{name}, {k}', *common.trained(data, sampler__name=name, sampler__kw__num_steps=k), name)
  for label, (objective, kw) in OBJECTIVES.items():
    for k in EVALUATIONS:
      row(f'{label}, {k}', *common.trained(
          data, f'objective={objective}', without=(*common.OF_SCORE_MATCHING, 'model.prediction'),
          sampler__name='flow_map', sampler__kw__num_steps=k, **kw,
          **updates(steps, objective)), label)
  for k in EVALUATIONS if data != 'cifar10' else ():  # whose config has no distillation
    row(f'distillation, {k}', *common.trained(
        data, 'objective=distillation', f'objective.last_steps={k}',
        without=common.OF_SCORE_MATCHING, init_from=f'row {TEACHER}',
        sampler__name='flow_map', sampler__kw__num_steps=k,
        **updates(steps, 'distillation')), 'distillation')


def updates(steps, objective):
  """The number of updates of an objective, as a change of the config, where it is not the own."""
  return {'steps': steps[objective]} if objective in steps else {}


def metrics():
  """Columns: quality, what is covered, novelty and cost of the samples."""
  return [*common.sample_columns(),
          common.column('examples', 'examples seen', source='provenance', digits=0),
          common.column('train_seconds', 'train s', source='provenance', axes=('device',),
                        digits=0)]


def figure():
  """The columns of the curves."""
  return {'x': 'NFE', 'y': 'excess FD'}


def note():
  """What a reader must know beside the figures."""
  return """
The rows share data and network; MeanFlow and consistency take the straight path.
A distilled student is one training for each number of steps, from the run of the row *teacher*, and
its steps come beside those of the teacher.
""" + common.SAMPLES_NOTE
