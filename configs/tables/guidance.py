"""Classifier-free guidance on labelled data: the asked class, quality and coverage by weight.

python -m experiments.table run --table=configs/tables/guidance.py --size=tiny
"""

from configs import columns

sizes = {'tiny': {'seeds': 1}, 'small': {'seeds': 1}}
DATA = {'tiny': 'digits', 'small': 'fashion_mnist'}
LABELS = {'tiny': ('conditional=True', 'objective.label_dropout=0.15'), 'small': ()}
WEIGHTS = (0.0, 1.0, 2.0, 4.0)
EVALS = (*columns.OF_SAMPLES, 'classified')
SAMPLER = ('sampler',)


def sweep(add, size):
  """Rows: weights of the guidance on one trained run; 0 is the unconditional model."""
  for weight in WEIGHTS:
    add(f'guidance {weight:g}', *columns.trained(
        DATA[size], *LABELS[size], evals=EVALS, sampler__guidance__weight=weight,
        sampler__name='dpmpp_2m', sampler__kw__num_steps=35))


def metrics():
  """Columns: the classifier on the class that was asked for, beside those of every sampler."""
  asked = columns.column('asked_class', 'of the asked class', 'higher', axes=SAMPLER,
                        floor='asked_class_data')
  sure = columns.column('classified_09', 'classified at 0.9', 'higher', axes=SAMPLER,
                       floor='classified_09_data')
  return [asked, sure, *columns.sample_columns()]


def note():
  """What a reader must know beside the figures."""
  return """
One run, trained once with labels, some of them dropped. Labels are asked for uniformly; *of the
asked class* is the share of samples that the committed classifier puts there, beside its accuracy
on test images. Weight 0 does not look at the label, 1 is the conditional model.
""" + columns.SAMPLES_NOTE
