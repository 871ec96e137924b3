"""How the keys of the recorded parameters are called now: every change since they were written."""

import re

import numpy as np

# (pattern of pairs, pattern of a path, what stands in its place), in their order
TABLE = (
    # one embedding of labels and of vectors
    ('autoregressive|diffusion|implicit', r'/label/table$', '/cond/table'),
    # posterior and decoder are networks of their own
    ('^vae', r'/encoder/', '/posterior/'),
    # a generator is a network, a conditioner an MLP whose stem is its first layer
    ('^implicit', r'/net/', '/'),
    ('^flow', r'/(first|last)/stem/', r'/\1/hidden_0/'),
    ('^flow', r'/(first|last)/mlp/out/', r'/\1/out/'),
)

# what is no rename: networks that had one embedding of labels in common have one each, and a critic
# saw labels as indicators, of which an embedding starts here. Values at the golden parameters are
# the same; not their way, as these tables move by themselves
MADE = {
    'vae-free_bits': {
        '/model/posterior/cond/table': lambda params: params['/model/label/table'],
        '/model/decoder/cond/table': lambda params: params['/model/label/table'],
        '/model/label/table': None},
    'implicit-critic': {'/critic/cond/table': lambda params: np.eye(11, 10, dtype=np.float32)},
}
# of such pairs: (group, pattern of a path) that cannot be compared
BEYOND = (('grad', r'/(cond|label)/table$'), ('after', ''))


def made(pair: str, params: dict) -> dict:
  """Golden parameters with what MADE puts in the place of others."""
  rules = MADE.get(pair, {})
  values = {path: rule(params) for path, rule in rules.items() if rule}
  return {path: value for path, value in {**params, **values}.items()
          if path not in rules or rules[path]}


def comparable(pair: str, group: str, path: str) -> bool:
  """Whether a path of a group means the same on both sides."""
  return pair not in MADE or not any(
      group == of and re.search(pattern, path) for of, pattern in BEYOND)


def of(pair: str) -> list[tuple[str, str]]:
  """The renames of one pair."""
  return [(old, new) for pairs, old, new in TABLE if re.search(pairs, pair)]
