"""Every legal pair of family and objective on continuous data learns: a stated distance is reached.

The figure is the sliced 2-Wasserstein distance between 4000 samples and as many exact draws, in
units of x; two sets of exact draws are about 0.05 apart. The Gaussian is given data that it
can fit, the others three overlapping modes (the weights of separate ones are invisible to scores).
A kernel density is given one mode too: its weights are equal, and scores do not see the kernels
that start where there are no data. Flows become models by one function (`bijection.flow`): the
coupling flow learns by every objective, the others by likelihood alone.
"""

import jax
import numpy as np
import pytest

from experiments import matrix
from genjax.evals.sliced_w2 import sliced_w2
from genjax.train import init
from tests.learning import running

# a student has no start of its own: tests/learning/test_few_steps_learn.py
TRIPLES = [t[:3] for t in matrix.legal_triples()
           if t[3] == 'continuous' and t[1] != 'distillation'
           and not (t[0] in ('autoregressive_flow', 'continuous_flow', 'tarflow') and t[1] != 'kl')]
NUM_SAMPLES = 4000
REACHED = 0.3  # the standard deviation of the data is about 2 a direction
REACHED_BY = {('flow', 'score_matching'): 0.5}  # slow: as far as the budget goes
UNTRAINED = 0.6

DATA = dict.fromkeys(('gaussian', 'kde'), 'data=gaussian,data.seed=3')
MODES = 'data=three_modes,data.std=1.0'
MODEL = {
    'gaussian': ',model.init_mean=(2.0,-2.0)',
    'mixture': ',model.num_components=6,model.init_scale=1.5',
    'histogram': ',model.num_bins=16,model.init_scale=1.5',
    'kde': ',model.num_points=256,model.init_scale=0.3',
    'vae': ',posterior.features=(64,64),decoder.features=(64,64),model.latent_dim=2',
    'implicit': ',generator.features=(64,64)',
    'flow': ',model.num_couplings=4,conditioner.features=(32,32)',
    'autoregressive_flow': ',model.num_layers=2,masked.features=(32,32)',
    'continuous_flow': ',velocity.width=32,velocity.num_blocks=2,model.num_steps=4',
    'tarflow': ',model.num_layers=2,patch_causal.width=32,patch_causal.num_blocks=1',
    'ebm': (',energy.features=(64,64),model.step_size=0.05,model.sampler_steps=300,'
            'model.init_scale=2.0'),
    'diffusion': ',denoiser.width=64,denoiser.num_blocks=2',
}
# a few numbers that have far to go, against networks
LR = {'gaussian': 2e-2, 'mixture': 1e-2, 'histogram': 5e-2, 'kde': 3e-2,
      ('vae', 'wasserstein', 'critic'): 1e-3,
      ('flow', 'adversarial', 'critic'): 1.5e-3,
      ('implicit', 'wasserstein', 'critic'): 1e-3, ('flow', 'wasserstein', 'critic'): 2e-3,
      ('mixture', 'wasserstein', 'critic'): 5e-3, ('flow', 'score_matching', 'sliced'): 6e-3,
      ('flow', 'score_matching', 'explicit'): 6e-3,
      ('flow', 'score_matching', 'denoising_one_level'): 2e-3}
OBJECTIVE = {  # estimator, objective, or family with it -> words of the argument, settings
    'contrastive_divergence': (',objective.num_steps=20,objective.step_size=0.05,'
                               'objective.init_scale=2.0,objective.alpha=0.001', {'steps': 1200}),
    'sinkhorn': (',objective.max_iterations=50', {'steps': 300, 'batch_size': 128}),
    'adversarial': (',objective.num_critic=2', {'steps': 1000}),
    # with two, seeds of a flow end 0.23 to 0.40 from the data, with four 0.12 to 0.16
    ('flow', 'adversarial'): (',objective.num_critic=4', {'steps': 1000}),
    # a penalty of 10 is for images: in the plane the game then circles around its solution
    'wasserstein': (',objective.num_critic=5,objective.gradient_penalty=1.0',
                    {'steps': 800, 'ema': 0.995}),
    'explicit': ('', {'steps': 800}),
    'sliced': ('', {'steps': 800}),
    'denoising_one_level': (',objective.noise_std=0.4', {'steps': 800}),
    'denoising': ('', {'steps': 1000}),
    'average_velocity': ('', {'steps': 1000}),
    'continuous': (',objective.warmup=500', {'steps': 1000}),
}


def config_of(family, objective, estimator):
  keys = ((family, objective), estimator, objective)
  words, settings = next((OBJECTIVE[k] for k in keys if k in OBJECTIVE), ('', {'steps': 600}))
  if (family, objective) == ('flow', 'score_matching'):
    # the score of a spline jumps at its knots, which the trace of its slope does not see: with
    # splines 'explicit' and 'sliced' fall without bound, and the density becomes useless
    words += ',model.transform=affine'
  argument = (f'{DATA.get(family, MODES)},data.num_train=20000,family={family}'
              f'{MODEL[family]},objective={objective},estimator={estimator}{words}')
  if estimator == 'fit':
    return running.config_of(argument)
  return running.config_of(argument, **{
      'batch_size': 256, 'steps_per_dispatch': 100, 'ema': 0.99,
      'optim__lr': LR.get((family, objective, estimator), LR.get(family, 3e-3)),
      **({'optim_by_player__critic__lr': 3e-3, 'networks__critic__kw': {'features': (64, 64)}}
         if estimator == 'critic' else {}), **settings})


def figure(run, params):
  """Sliced W2 of the model's samples to exact draws."""
  draw = jax.jit(lambda rng: run.model.sample(params, rng, NUM_SAMPLES, None)[0])
  exact = np.asarray(run.dataset.sample(jax.random.key(1), NUM_SAMPLES), np.float64)
  return sliced_w2(np.asarray(draw(jax.random.key(2)), np.float64), exact, 64)


def reached(family, objective, estimator):
  """The figure before and after training."""
  config = config_of(family, objective, estimator)
  run, params, _ = running.train(config)
  start = init.initialise(run.init, jax.random.key(0), run.dataset.splits['train'])
  return figure(run, start.params['model']), figure(run, params)


@pytest.mark.slow
@pytest.mark.parametrize('family,objective,estimator', TRIPLES, ids=['-'.join(t) for t in TRIPLES])
def test_each_pair_comes_close_to_the_data(family, objective, estimator):
  before, after = reached(family, objective, estimator)
  assert before > UNTRAINED, before
  assert after < REACHED_BY.get((family, objective), REACHED), after
