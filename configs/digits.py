"""8x8 digits of scikit-learn (17 grey levels): any family under any objective.

  --config=configs/digits.py:family=vae,objective=kl
  --config=configs/digits.py:family=vae,objective=kl,estimator=doubly_reparametrised,model.prior=vamp
  --config=configs/digits.py:family=ladder,objective=kl
  --config=configs/digits.py:family=implicit,objective=adversarial,divergence=reverse_kl
  --config=configs/digits.py:family=mixture,model.discretised=False,model.num_components=20
  --config=configs/digits.py:family=autoregressive,causal=pixelcnn,model.likelihood=logistic_mixture
  --config=configs/digits.py:family=autoregressive,causal=made
  --config=configs/digits.py:family=glow,objective=kl,model.dequantisation=variational

data.binarise=threshold, stochastic or fixed:SEED makes binary images (genjax/data/binary.py).

A diffusion is four choices: model.schedule (cosine, linear_beta, linear_logsnr, zero_terminal_snr,
ve, sub_vp, edm, linear, learned), model.prediction (noise, data, v, score, velocity, edm, levels),
objective.weighting (simple, elbo, likelihood, min_snr, sigmoid, edm, flow_matching, snr_plus_1,
data) with objective.time_sampling (stratified, uniform, logit_normal, edm, importance), and
sampler. For example flow matching, EDM, VDM, DDPM with learned variances:

  --config=configs/digits.py:family=diffusion,objective=score_matching,model.schedule=linear,model.prediction=velocity,objective.weighting=flow_matching,objective.time_sampling=logit_normal
  --config=configs/digits.py:family=diffusion,objective=score_matching,model.schedule=edm,model.prediction=edm,objective.weighting=edm
  --config=configs/digits.py:family=diffusion,objective=kl,model.schedule=learned,model.prediction=noise
  --config=configs/digits.py:family=diffusion,objective=score_matching,model.prediction=noise,model.num_steps=1000,model.variance=learned,objective.num_steps=1000

Few steps: mean_flow and consistency train a map to the data, and distillation halves, again and
again, the steps of the diffusion in --config.init_from=DIR, on the same data with the same model:

  --config=configs/digits.py:family=diffusion,objective=mean_flow
  --config=configs/digits.py:family=diffusion,objective=consistency
  --config=configs/digits.py:family=diffusion,objective=distillation,objective.last_steps=4

Names: family, objective, estimator, divergence, conditional, ROLE, ROLE.KEY, SECTION.KEY (grammar:
configs/common.py). Left out: family=vae, objective=kl. Which pairs are legal: python -m
experiments.matrix. """

from configs import common

NAMES = dict.fromkeys(('family', 'objective', 'estimator', 'divergence'), ())
DEFAULT = {'family': 'vae', 'objective': 'kl'}

# what a family cannot answer is left out of its eval.json
EVALS = ('likelihood', 'frechet', 'kid', 'prdc', 'c2st', 'classified', 'novelty', 'copying', 'fld',
         'cost')

# by objective, then by (family, objective); steps and intervals are multiples of the dispatch
BY_OBJECTIVE = {
    'kl': {'steps': 2000, 'optim.lr': 1e-3, 'optim.decay': 'cosine', 'ema': 0.99},
    'reverse_kl': {'steps': 2000, 'optim.lr': 5e-4},
    'adversarial': {'steps': 16000, 'batch_size': 64, 'optim.lr': 5e-4, 'optim.b1': 0.5,
                    'optim.decay': 'linear', 'ema': 0.995,
                    'objective.kw.gradient_penalty': 1.0, 'checkpoint.every': 2000},
    'wasserstein': {'steps': 16000, 'batch_size': 64, 'optim.lr': 1e-3, 'optim.b1': 0.5,
                    'optim.b2': 0.9, 'optim.decay': 'linear', 'ema': 0.995,
                    'checkpoint.every': 2000},
    'score_matching': {'steps': 4000, 'optim.lr': 1e-3, 'optim.decay': 'cosine', 'ema': 0.995},
    **dict.fromkeys(('mean_flow', 'consistency', 'distillation'), {
        'steps': 6000, 'batch_size': 64, 'optim.lr': 1e-3, 'optim.warmup': 100,
        'optim.decay': 'cosine', 'optim.clip': 1.0, 'ema': 0.995}),
}
# the encoder sees grey levels
BINARY = {'evals.encoder': '', 'evals.names': ('likelihood', 'novelty', 'copying', 'cost')}
OTHERWISE = {'steps': 2000, 'optim.lr': 1e-3}  # an objective that this file knows nothing of
# family -> a role, the names of its network for which these keywords are the default
SMALL = {'diffusion': ('denoiser', ('', 'dit'), {'patch': 4, 'width': 128}),
         'glow': ('conditioner', ('', 'conv'), {'width': 24, 'num_blocks': 1}),
         'ladder': ('ladder', ('', 'ladder'), {'width': 16, 'latent_channels': 4})}
# by its bound or by score matching: tables compare the two
DIFFUSION = {'steps': 6000, 'batch_size': 64, 'optim.lr': 2e-3, 'optim.warmup': 100,
             'optim.clip': 1.0, 'ema': 0.995}
BY_PAIR = {
    ('autoregressive', 'kl'): {'steps': 800, 'optim.lr': 3e-3, 'optim.warmup': 100, 'ema': 0.995,
                               'optim.clip': 1.0, 'batch_size': 64},
    ('flow', 'kl'): {'steps': 800, 'optim.lr': 2e-3, 'optim.weight_decay': 1.0,
                     'optim.warmup': 50, 'optim.clip': 1.0},
    ('autoregressive_flow', 'kl'): {'steps': 1000, 'optim.lr': 1e-3, 'optim.weight_decay': 1.0,
                                    'optim.warmup': 50, 'optim.clip': 1.0},
    ('glow', 'kl'): {'steps': 600, 'optim.lr': 1e-3, 'optim.warmup': 50, 'optim.clip': 1.0,
                     'model.kw.num_layers': 4},
    ('continuous_flow', 'kl'): {'steps': 1000, 'optim.lr': 1e-3, 'optim.warmup': 50,
                                'optim.clip': 1.0, 'networks.velocity.name': 'time_mlp'},
    ('tarflow', 'kl'): {'steps': 1000, 'optim.lr': 1e-3, 'optim.warmup': 50, 'optim.clip': 1.0},
    ('vae', 'kl'): {'steps': 1000, 'optim.lr': 2e-3, 'optim.warmup': 50, 'optim.clip': 1.0},
    ('ladder', 'kl'): {'steps': 1000, 'optim.lr': 2e-3, 'optim.warmup': 50, 'optim.clip': 10.0,
                       'ema': 0.995, 'batch_size': 64},
    ('ebm', 'kl'): {'steps': 4000, 'optim.lr': 6e-4, 'optim.b1': 0.0, 'objective.kw.alpha': 0.001,
                    'objective.kw.restart': 0.02},
    ('diffusion', 'kl'): DIFFUSION,
    ('diffusion', 'score_matching'): DIFFUSION,
    **common.FEW_STEPS,
}
# in closed form or by EM: one step does it
FITTED = {'steps': 1, 'steps_per_dispatch': 1, 'optim.decay': 'constant', 'ema': 0.0}


def get_config(arg: str = ''):
  """The config of one run on digits. Raises ValueError for an argument it does not know."""
  args = common.parse(arg, NAMES, DEFAULT)
  pair = args['family'], args['objective']
  return common.build({**args, 'data': 'digits'}, {
      'batch_size': 128, 'steps_per_dispatch': 10, 'log.every': 100, 'checkpoint.every': 1000,
      'evals.encoder': 'digits', 'evals.names': EVALS, 'evals.num_samples': 1000,
      **(BINARY if 'binarise' in args['kw']['data'] else {}),
      **BY_OBJECTIVE.get(args['objective'], OTHERWISE), **BY_PAIR.get(pair, {}),
      **_small(args),
      **(FITTED if common.is_fitted(args) else {})})


def _small(args) -> dict:
  """Sizes of the network that is the default of a family here, unless another is chosen."""
  role, names, kw = SMALL.get(args['family'], ('', (), {}))
  if not role or args[role] not in names:
    return {}
  return {f'networks.{role}.kw.{key}': value for key, value in kw.items()}
