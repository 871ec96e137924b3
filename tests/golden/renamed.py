"""How the keys of the recorded parameters are called now: every change since they were written."""

import re

# (pattern of pairs, pattern of a path, what stands in its place), in their order
TABLE = (
    # one embedding of labels and of vectors
    ('autoregressive|diffusion', r'/label/table$', '/cond/table'),
    # posterior and decoder are networks of their own
    ('^vae', r'/encoder/', '/posterior/'),
    # a generator is a network, a conditioner an MLP whose stem is its first layer
    ('^implicit', r'/net/', '/'),
    ('^flow', r'/(first|last)/stem/', r'/\1/hidden_0/'),
    ('^flow', r'/(first|last)/mlp/out/', r'/\1/out/'),
)


def of(pair: str) -> list[tuple[str, str]]:
  """The renames of one pair."""
  return [(old, new) for pairs, old, new in TABLE if re.search(pairs, pair)]
