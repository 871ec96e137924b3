"""What tables share: their columns, and the runs of diffusions that several tables measure."""

from configs import common


def column(metric: str | tuple[str, ...], label: str, better: str = '', *, split: str = 'test',
           axes: tuple[str, ...] = (), floor: str = '', digits: int = 3,
           source: str = 'metric', detail: str = '', reduction: str = 'mean',
           excess: bool = False) -> dict:
  """A column of a table: one metric under one protocol.

  metric: its name in eval.json, or several of which a row has one (then they share a unit and a
  kind); better: 'lower', 'higher' or ''; axes: fields of the protocol that may differ between rows
  and are printed; floor: the metric that says what data themselves score; digits: after
  the point; source: 'metric', or 'provenance' for a cost; detail: in place of the value, an entry
  of the card's detail, as in 'power/0.05'; reduction over seeds: 'mean' with a t
  interval, or 'each' to list them; excess: the value less that of `floor`, at equal N.
  """
  metric = (metric,) if isinstance(metric, str) else tuple(metric)
  return {'metric': metric, 'label': label, 'better': better, 'split': split, 'axes': tuple(axes),
          'floor': floor, 'digits': digits, 'source': source, 'detail': detail,
          'reduction': reduction, 'excess': excess}


# what the tables of diffusions train on each data set, and what is measured there: config, numbers,
# samples, encoder; tables that name one of them share its run
TRAINED = {
    'digits': ('configs/digits.py:family=diffusion,objective=score_matching', {}, 1000, 'digits'),
    'fashion_mnist': (
        'configs/tfds_images.py:data=fashion_mnist,family=diffusion,objective=score_matching,'
        'denoiser=dit,denoiser.patch=7,denoiser.width=128,denoiser.num_blocks=3,conditional=True,'
        'model.prediction=v,objective.weighting=min_snr,objective.label_dropout=0.15',
        {'steps': 10000, 'optim.lr': 1e-3, 'optim.warmup': 500, 'optim.decay': 'cosine',
         'ema': 0.999, 'checkpoint.keep_every': 2000}, 1000, 'fmnist'),
    'cifar10': ('configs/cifar10.py', {}, 50000, 'inception'),
    'imagenet32': ('configs/imagenet32.py', {}, 50000, 'inception'),
    'imagenet64': ('configs/imagenet64.py', {}, 50000, 'inception'),
}
OF_SAMPLES = ('frechet', 'prdc', 'novelty', 'cost')


# names in TRAINED that score matching alone has a place for
OF_SCORE_MATCHING = ('objective.weighting', 'objective.label_dropout')
SAMPLES_NOTE = """
FD compares features of the encoder that Protocol names; with an encoder other than Inception it is
no FID. *excess FD* is FD less that of as many training images against the same test images: what an
honest model cannot be expected to beat. *nearer to train*: share of samples whose nearest neighbour
is a training image rather than one of equally many test images; 1 for copies.
"""


def trained(data: str, *more: str, without: tuple[str, ...] = (),
            evals: tuple[str, ...] = OF_SAMPLES, **changes) -> tuple[str, dict]:
  """The config and overrides of a table's row on a data set of TRAINED.

  without: names that its argument leaves out; more: NAME=VALUE that it adds, or puts in place of
  those of the same name; changes: dotted keys with two underscores for a dot.
  """
  config, numbers, num_samples, encoder = TRAINED[data]
  path, _, argument = config.partition(':')
  kept = [item for item in common.split(argument) if item.partition('=')[0] not in without]
  items = {item.partition('=')[0]: item for item in (*kept, *more)}
  settings = {**numbers, 'evals.names': evals, 'evals.num_samples': num_samples,
              'evals.encoder': encoder, **{key.replace('__', '.'): v for key, v in changes.items()}}
  return f'{path}:{",".join(items.values())}'.rstrip(':'), settings


def sample_columns() -> list[dict]:
  """The columns of a table whose rows are samplers or trainings of one data set; SAMPLES_NOTE."""
  axes = ('sampler',)
  return [
      column('fd', 'FD', 'lower', axes=axes, floor='fd_data'),
      column('fd', 'excess FD', 'lower', axes=axes, floor='fd_data', excess=True),
      column('recall', 'recall', 'higher', axes=axes, floor='recall_data'),
      column('coverage', 'coverage', 'higher', axes=axes, floor='coverage_data'),
      column('novelty_knn', 'nearer to train', axes=axes),
      column('nfe', 'NFE', 'lower', axes=axes, digits=0),
      column('samples_per_second', 'samples/s', 'higher', axes=axes, digits=1)]


def classified_columns() -> list[dict]:
  """Columns of quality and diversity for images whose data set has a classifier as its encoder."""
  return [
      column('fd', 'FD', 'lower', floor='fd_data', digits=2),
      column('precision', 'precision', 'higher', floor='precision_data'),
      column('recall', 'recall', 'higher', floor='recall_data'),
      column('coverage', 'coverage', 'higher', floor='coverage_data'),
      column('classified_09', 'classified at 0.9', 'higher', floor='classified_09_data')]


def training_columns() -> list[dict]:
  """Columns of novelty, speed and cost of a table whose rows are trainings of different models."""
  return [
      column('novelty_knn', 'nearer to train'),
      column('samples_per_second', 'samples/s', 'higher', digits=0),
      column('train_seconds', 'train s', 'lower', source='provenance', axes=('device',), digits=0),
      column('examples', 'examples', source='provenance', digits=0),
      column('parameters', 'parameters', source='provenance', digits=0)]
