"""Every key that a run knows, with its type. The only level of inheritance between configs."""

from ml_collections import config_dict
from ml_collections.config_dict import placeholder

# of networks, as genjax.nn has them
ROLES = ('posterior', 'decoder', 'generator', 'critic', 'energy', 'classifier', 'denoiser',
         'velocity', 'causal', 'masked', 'patch_causal', 'conditioner', 'dequantiser', 'ladder')


def get() -> config_dict.ConfigDict:
  """All keys with their defaults; 0, 0.0 and '' mean off. Sections named `kw` take any key."""
  return config_dict.create(
      seed=0,
      steps=1000,
      batch_size=128,  # per update: a step reads batch_size x the sum of its players' updates
      steps_per_dispatch=1,  # must divide steps and every interval
      accumulate=1,  # gradients of so many parts of an update's batch are averaged before it
      nan_steps_allowed=0,  # so many steps in a row may be skipped for a loss that is not finite
      mesh={
          'fsdp': 1,  # devices that share one copy of the parameters; divides their number
          'heartbeat': 100,  # seconds after which a silent host ends the job
          'chunk': 256,  # samples drawn at once, on all devices together: what bounds their memory
      },
      data={'name': 'digits', 'kw': {}},
      augment='',  # of training images: flip mirrors half of them left to right
      model={'family': 'vae', 'kw': {}},
      objective={'name': 'kl', 'kw': {}},
      conditional=False,  # on the labels or vectors of the data
      # of each role that the model or the objective names; '': the default of the data
      networks={role: {'name': '', 'kw': {}} for role in ROLES},
      init_from='',  # a run directory at whose parameters the model (and a teacher) starts
      # '': the one that the objective trains for, flow_map of few-step models, else ddim;
      # guidance: weight 1 is none, interval of sigma / alpha, () all
      sampler={'name': '', 'kw': {}, 'guidance': {'weight': 1.0, 'interval': ()}},
      optim={
          'name': 'adam', 'lr': 1e-3, 'b1': 0.9, 'b2': 0.999, 'weight_decay': 0.0,
          'clip': 0.0,  # largest global norm of a gradient
          'warmup': 0,  # steps from 0 to lr
          'decay': 'constant',  # constant, cosine or linear, to zero at the last step
      },
      optim_by_player={'model': _overrides(), 'critic': _overrides(), 'schedule': _overrides()},
      ema=0.0,  # decay of the average of the model's parameters
      log={'every': 100, 'mfu': False},  # mfu: measure the device's matrix rate and log the share
      checkpoint={'every': 500, 'keep_last': 2, 'keep_every': 0},
      # the result is the checkpoint with the best metric on the validation split: 'nll', where a
      # likelihood trains the model, or any metric of an evaluator; '': the last checkpoint.
      # every: steps; 0: 10 times a run, of 'nll' at most 5 % of its work
      select={'metric': 'nll', 'every': 0},
      # budget: samples beyond 256 may cost so many times the FLOPs of the training, or a second of
      # a processor; 0: no limit.
      # labels: that conditional models are asked for: 'data', as often as in the training split, or
      # 'uniform'
      evals={'names': (), 'num_samples': 1000, 'budget': 0.5, 'labels': 'data', 'kw': {},
             'encoder': ''})  # the network whose features the evaluators of samples compare


def _overrides() -> dict:
  """Every key of `optim`; None: what `optim` says."""
  kinds = {'name': str, 'lr': float, 'b1': float, 'b2': float, 'weight_decay': float,
           'clip': float, 'warmup': int, 'decay': str}
  return {key: placeholder(kind) for key, kind in kinds.items()}
