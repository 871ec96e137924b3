"""8x8 digits of scikit-learn (17 grey levels): any family under any objective.

  --config=configs/digits.py:family=vae,objective=kl
  --config=configs/digits.py:family=implicit,objective=adversarial,divergence=reverse_kl
  --config=configs/digits.py:family=mixture,model.discretised=False,model.num_components=20

Names: family, objective, estimator, divergence, SECTION.KEY (grammar: configs/common.py). Left out:
family=vae, objective=kl. Which pairs are legal: python -m experiments.matrix.
"""

from configs import common

NAMES = {'family': common.FAMILIES, 'objective': common.OBJECTIVES, 'estimator': (),
         'divergence': ()}
DEFAULT = {'family': 'vae', 'objective': 'kl'}

# what a family cannot answer is left out of its eval.json
EVALS = ('likelihood', 'frechet', 'kid', 'prdc', 'c2st', 'classified', 'novelty', 'copying', 'fld',
         'cost')

# by objective, then by (family, objective); steps and intervals are multiples of the dispatch
BY_OBJECTIVE = {
    'kl': {'steps': 2000, 'optim.lr': 1e-3, 'optim.decay': 'cosine', 'ema': 0.99},
    'reverse_kl': {'steps': 2000, 'optim.lr': 5e-4},
    'adversarial': {'steps': 16000, 'batch_size': 64, 'optim.lr': 5e-4, 'optim.b1': 0.5,
                    'optim.decay': 'linear', 'ema': 0.995, 'critic.kw.features': (256, 256),
                    'objective.kw.gradient_penalty': 1.0, 'checkpoint.every': 2000},
    'wasserstein': {'steps': 16000, 'batch_size': 64, 'optim.lr': 1e-3, 'optim.b1': 0.5,
                    'optim.b2': 0.9, 'optim.decay': 'linear', 'ema': 0.995,
                    'critic.kw.features': (256, 256), 'checkpoint.every': 2000},
    'score_matching': {'steps': 4000, 'optim.lr': 1e-3, 'optim.decay': 'cosine', 'ema': 0.995},
}
BY_PAIR = {
    ('autoregressive', 'kl'): {'steps': 800, 'optim.lr': 3e-3, 'optim.warmup': 100, 'ema': 0.995,
                               'optim.clip': 1.0, 'batch_size': 64},
    ('flow', 'kl'): {'steps': 800, 'optim.lr': 2e-3, 'optim.weight_decay': 1.0,
                     'optim.warmup': 50, 'optim.clip': 1.0},
    ('vae', 'kl'): {'steps': 1000, 'optim.lr': 2e-3, 'optim.warmup': 50, 'optim.clip': 1.0},
    ('ebm', 'kl'): {'steps': 4000, 'optim.lr': 6e-4, 'optim.b1': 0.0, 'objective.kw.alpha': 0.001,
                    'objective.kw.restart': 0.02},
    ('diffusion', 'kl'): {'steps': 4000, 'optim.lr': 1e-3, 'optim.clip': 1.0,
                          'sampler.kw.num_steps': 50},
    ('diffusion', 'score_matching'): {'steps': 6000, 'batch_size': 64, 'optim.lr': 2e-3,
                                      'optim.warmup': 100, 'optim.clip': 1.0,
                                      'model.kw.patch': 4, 'model.kw.width': 128,
                                      'sampler.kw.num_steps': 50},
}
# in closed form or by EM: one step does it
FITTED = {'steps': 1, 'steps_per_dispatch': 1, 'optim.decay': 'constant', 'ema': 0.0}
# early stopping by the validation split, for the families whose likelihood costs one pass
SELECT = {('autoregressive', 'kl'): 'nll_exact_bpd', ('vae', 'kl'): 'nll_bound_bpd',
          ('flow', 'kl'): 'nll_bound_bpd'}


def get_config(arg: str = ''):
  """The config of one run on digits. Raises ValueError for an argument it does not know."""
  args = common.parse(arg, NAMES, DEFAULT)
  pair = args['family'], args['objective']
  selection = {'select.metric': SELECT[pair], 'select.every': 100} if pair in SELECT else {}
  return common.build({**args, 'data': 'digits'}, {
      'batch_size': 128, 'steps_per_dispatch': 10, 'log.every': 100, 'checkpoint.every': 1000,
      'encoder': 'digits', 'evals.names': EVALS, 'evals.num_samples': 1000, **selection,
      **BY_OBJECTIVE[args['objective']], **BY_PAIR.get(pair, {}),
      **(FITTED if common.is_fitted(args) else {})})
