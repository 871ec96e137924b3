"""Few-step objectives beside the best solvers at 1, 2, 4 and 8 network evaluations.

python -m experiments.table run --table=configs/tables/few_step.py --size=tiny
"""

import itertools

from configs import columns

# one data set a size: an encoder is a protocol, and a column has one
sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 1}, 'one-gpu': {'seeds': 1}}
DATA = {'tiny': 'digits', 'small': 'fashion_mnist', 'one-gpu': 'cifar10'}
EVALUATIONS = (1, 2, 4, 8)
# updates, where they are fewer than the teacher's: one costs two to four of its
SHORTER = {'small': {'steps': 4000}}
# updates of each halving of a student's steps, from FIRST down
STAGE = {'tiny': 1500, 'small': 700}
FIRST = 32
SOLVERS = ('ddim', 'dpmpp_2m', 'unipc')
# their own times spend the last evaluation at t_min, these do not
TIMES = {'': {}, ' trailing': {'sampler__kw__spacing': 'trailing'}}
TEACHER = 'teacher'
# label -> objective, what the sampler adds
OBJECTIVES = {'MeanFlow': ('mean_flow', {}), 'consistency': ('consistency', {
    'sampler__kw__renoise': True})}
PRINTED = {'MeanFlow, 1': (2.92, '2505.13447, Table 3'),
           'consistency, 1': (2.85, '2410.11081, Table 1, sCT'),
           'consistency, 2': (2.06, '2410.11081, Table 1, sCT')}


def sweep(add, size):
  """Rows: solvers on one diffusion; objectives that train for few steps, on the same network."""
  data = DATA[size]

  def row(label, config, numbers, curve):
    fid = PRINTED.get(label) if size == 'one-gpu' else None
    add(label, config, numbers, {'fd': {
        'value': fid[0], 'source': fid[1], 'protocol': '50,000 samples'}} if fid else {},
        curve=curve)

  add(TEACHER, *columns.trained(data, sampler__name='heun', sampler__kw__num_steps=18))
  for name, (times, kw) in itertools.product(SOLVERS, TIMES.items()):
    for k in EVALUATIONS:
      row(f'{name}{times}, {k}', *columns.trained(
          data, sampler__name=name, sampler__kw__num_steps=k, **kw), f'{name}{times}')
  for label, (objective, kw) in OBJECTIVES.items():
    for k in EVALUATIONS:
      row(f'{label}, {k}', *columns.trained(
          data, f'objective={objective}', without=(*columns.OF_SCORE_MATCHING, 'model.prediction'),
          sampler__name='flow_map', sampler__kw__num_steps=k, **kw, **SHORTER.get(size, {})), label)
  if size in STAGE:
    distilled(row, data, STAGE[size])


def distilled(row, data, stage_steps):
  """The rows of one chain: each student is the teacher of the next."""
  teacher, first = TEACHER, FIRST
  for k in reversed(EVALUATIONS):
    stages = (first // k).bit_length()
    row(f'distillation, {k}', *columns.trained(
        data, 'objective=distillation', f'objective.first_steps={first}',
        f'objective.last_steps={k}', f'objective.stage_steps={stage_steps}',
        without=columns.OF_SCORE_MATCHING, init_from=f'row {teacher}', sampler__name='flow_map',
        sampler__kw__num_steps=k, steps=stages * stage_steps, optim__warmup=100), 'distillation')
    teacher, first = f'distillation, {k}', k // 2


def metrics():
  """Columns: quality, what is covered, novelty and cost of the samples."""
  return [*columns.sample_columns(),
          columns.column('examples', 'examples seen', source='provenance', digits=0),
          columns.column('train_seconds', 'train s', source='provenance', axes=('device',),
                        digits=0)]


def figure():
  """The columns of the curves."""
  return {'x': 'NFE', 'y': 'excess FD'}


def note():
  """What a reader must know beside the figures."""
  return """
The rows share data and network; MeanFlow and consistency take the straight path. Solvers take
their own default times, whose last is t_min, or *trailing* ones, even from 1 to one step before 0.
The distilled students are a chain from the run of the row *teacher*, each the teacher of the next,
and its examples and seconds come on top of those of all before it.
""" + columns.SAMPLES_NOTE
