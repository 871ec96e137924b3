"""The bar of an evaluation moves with its batches and names the evaluator at work."""

from genjax.runs import measuring


def test_the_bar_names_the_evaluator_and_counts_its_batches():
  shown = []

  class Bar:
    n = 0

    def update(self, n=1):
      self.n += n

    def set_postfix(self, values):
      shown.append(values['evaluator'])

    def close(self):
      shown.append(f'closed at {self.n}')

  over, tick = measuring.shown(lambda **kw: Bar())
  for name in over({'likelihood': 1, 'cost': 2}):
    for _ in range(3 if name == 'likelihood' else 2):
      tick()
  assert shown == ['likelihood (1 of 2)', 'cost (2 of 2)', 'closed at 5']
