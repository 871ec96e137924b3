"""Points in the plane whose density is known: every divergence can be checked against the truth.

  --config=configs/toy2d.py:data=three_modes,family=flow,objective=kl
  --config=configs/toy2d.py:data=moons,family=autoregressive_flow,objective=kl
  --config=configs/toy2d.py:data=four_modes,family=gaussian,objective=reverse_kl
  --config=configs/toy2d.py:data=ring8,family=implicit,objective=adversarial,divergence=js
  --config=configs/toy2d.py:data=three_modes,family=diffusion,objective=mean_flow

objective=distillation starts at a run: --config.init_from=DIR of a diffusion on the same data with
the same model.

Names: data (three_modes, four_modes, ring8, grid25, checkerboard, moons, gaussian,
normal, or FILE.py; the last two in any dimension, data.dim), family, objective, estimator,
divergence, conditional, ROLE, ROLE.KEY, SECTION.KEY (grammar: configs/common.py). Left out:
data=three_modes, family=flow, objective=kl. A kernel density (family=kde) keeps 2048 of the 50,000
rows: model.num_points.
"""

from configs import common

NAMES = dict.fromkeys(('data', 'family', 'objective', 'estimator', 'divergence'), ())
DEFAULT = {'data': 'three_modes', 'family': 'flow', 'objective': 'kl'}

# one budget for all objectives: what differs is what the objective cannot train without
BUDGET = {'steps': 4000, 'batch_size': 256, 'steps_per_dispatch': 100, 'log.every': 500,
          'checkpoint.every': 2000, 'optim.lr': 1e-3, 'optim.decay': 'cosine', 'optim.clip': 5.0,
          'ema': 0.99}
BY_OBJECTIVE = {
    'adversarial': {'optim.b1': 0.5, 'optim_by_player.critic.lr': 2e-3},
    'wasserstein': {'optim.b1': 0.5, 'optim.b2': 0.9},
}
# lambda 10, right for images, lets the two players circle each other in the plane
BY_ESTIMATOR = {('wasserstein', 'critic'): {'objective.kw.gradient_penalty': 1.0}}
BY_PAIR = {
    ('continuous_flow', 'kl'): {'steps': 1000},  # each through a solver
    # in the plane a loss divided by itself forgets the mean that it should regress on
    ('diffusion', 'mean_flow'): {'objective.kw.weight_power': 0.0, 'objective.kw.apart': 0.5,
                                 'objective.kw.time_sampling': 'stratified'},
}
# in closed form or by EM: one step does it
FITTED = {'steps': 1, 'steps_per_dispatch': 1, 'optim.decay': 'constant', 'ema': 0.0}


def get_config(arg: str = ''):
  """The config of one run in the plane. Raises ValueError for an argument it does not know."""
  args = common.parse(arg, NAMES, DEFAULT)
  pair = args['family'], args['objective']
  estimator = args['estimator'] or args['kw']['objective'].get('estimator', 'critic')
  return common.build(args, {
      **BUDGET, **BY_OBJECTIVE.get(args['objective'], {}),
      **BY_ESTIMATOR.get((args['objective'], estimator), {}), **common.FEW_STEPS.get(pair, {}),
      **BY_PAIR.get(pair, {}), **(FITTED if common.is_fitted(args) else {}),
      'evals.encoder': 'identity',
      'evals.names': ('likelihood', 'true_divergence', 'sliced_w2', 'cost'),
      'evals.num_samples': 10000})
