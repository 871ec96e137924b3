"""Three modes in the plane: one flow, one budget, the objective swapped, true divergences measured.

python -m experiments.table run --table=configs/tables/divergences_toy2d.py --size=tiny
"""

from configs import columns

# affine couplings are smooth; the score of a spline has kinks, where score matching is not defined.
# A larger flow follows a critic into filaments thinner than the critic resolves (1705.08868 saw it
# on images): its samples look right while its density lies 10^6 nats off
BACKBONE = ('configs/toy2d.py:data=three_modes,family=flow,model.transform=affine,'
            'model.num_couplings=4,conditioner.features=(32,32)')
CRITIC = 'critic.features=(256,256),objective.num_critic=5'
sizes = {'tiny': {'seeds': 3}, 'small': {'seeds': 3}}

STEPS = {'tiny': 1500, 'small': 4000}
ADVERSARIAL = {'JS': 'js', 'KL': 'kl', 'reverse KL': 'reverse_kl', 'Pearson chi2': 'pearson',
               'squared Hellinger': 'squared_hellinger', 'Jeffreys': 'jeffreys'}
OBJECTIVES = {
    'KL, likelihood': 'objective=kl',
    'reverse KL, known density': 'objective=reverse_kl',
    **{f'{label}, critic':
       f'objective=adversarial,divergence={name},objective.saturating=True,{CRITIC}'
       for label, name in ADVERSARIAL.items()},
    'Wasserstein-1, critic': f'objective=wasserstein,estimator=critic,{CRITIC}',
    'Wasserstein-2, Sinkhorn': 'objective=wasserstein,estimator=sinkhorn',
    'Fisher, explicit score matching': 'objective=score_matching,estimator=explicit',
    'Fisher, sliced score matching': 'objective=score_matching,estimator=sliced',
}


def sweep(add, size):
  """Rows: the same flow, seeds, steps and batch under every objective."""
  for label, argument in OBJECTIVES.items():
    add(label, f'{BACKBONE},{argument}',
        {'steps': STEPS[size], 'evals.kw.true_divergence.estimator': 'monte_carlo'})


def metrics():
  """Columns: divergences between the data's density and the model's, over exact samples of both."""
  c = columns.column
  return [
      c('kl_data_model', 'KL(data, model), nats', 'lower', digits=4),
      c('kl_model_data', 'KL(model, data), nats', 'lower', digits=4),
      c('js', 'JS, nats', 'lower', digits=4),
      c('tv', 'total variation', 'lower', digits=4),
      c('sliced_w2', 'sliced W2', 'lower', floor='sliced_w2_data', digits=3),
      c('modes_covered', 'modes (of 3)', 'higher', digits=1),
      c('high_quality', 'within 3 sd', 'higher', digits=3),
      c('train_seconds', 'train s', 'lower', source='provenance', axes=('device',), digits=1),
      c('examples', 'examples', source='provenance', digits=0),
  ]


def note():
  """Where the figures and the theory of global minimisers part, and why."""
  return """
Every figure is measured with the exact densities of both sides, over samples of both; none is the
loss that was trained. In theory every row has the same minimiser, the data, since each of these
divergences is zero there and nowhere else: a model that could be any density, trained to the global
minimum, would print zeros throughout. Figures that differ from that have four reasons. The flow is
restricted: it maps one Gaussian onto three separate modes by smooth invertible steps, so that
bridges of mass stay between them, and the divergences price a bridge differently: KL(data, model)
hardly sees it, KL(model, data) pays for it in full. Reverse KL has local minima: once a mode is
lost its gradient does not come back, so *modes* may be fewer than 3. Where a critic stands between
the model and the divergence, the row minimises a lower bound which moves as it is trained, and
which is blind to what the critic does not resolve: thin sheets of density, dear in KL(data, model).
Score matching compares gradients of log densities, which say little about the weights of modes that
lie far apart and nothing about bridges where there are no data: such a row may reach a small Fisher
divergence with wrong weights. Budgets are equal in steps and batch; what an objective reads beyond
that, a critic's updates above all, stands under *examples*.
"""
