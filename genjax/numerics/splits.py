"""How coupling layers split x into the part that is given and the part that is transformed."""

from typing import NamedTuple

import numpy as np

from genjax.types import BadInput


class Split(NamedTuple):
  """Which elements of x a pair of couplings transforms given which, and how both are laid out."""

  orders: np.ndarray  # [pairs, D]: the elements, those of a pair's first half before the others
  shapes: tuple  # of the first half and of the last


def permutation(size: int, num_couplings: int) -> Split:
  """Halves of a random order of the elements, another for each pair."""
  keep, rng = size - size // 2, np.random.default_rng(0)
  # two elements have one split only: no randomness to add
  orders = [rng.permutation(size) if size > 2 else np.arange(size)
            for _ in range(num_couplings // 2)]
  return Split(np.stack(orders).astype(np.int32), ((keep,), (size - keep,)))


def checkerboard(shape: tuple[int, ...], num_couplings: int) -> Split:
  """Halves of each square of 2 x 2 pixels, as two images [H / 2, W / 2, 2 C] at the same positions.

  Pairs take turns: the diagonals of the squares (the checkerboard of 1605.08803, Sec. 3.4), their
  rows, their columns. BadInput for data that are no images of even height and width.
  """
  if len(shape) != 3 or shape[0] % 2 or shape[1] % 2:
    raise BadInput(f"split = 'checkerboard' needs images of even height and width, not shape "
                   f"{shape}; allowed: 'permutation'")
  h, w, c = shape
  elements = np.arange(h * w * c).reshape(h // 2, 2, w // 2, 2, c).transpose(1, 3, 0, 2, 4)
  turns = [((0, 0), (1, 1), (0, 1), (1, 0)), ((0, 0), (0, 1), (1, 0), (1, 1)),
           ((0, 0), (1, 0), (0, 1), (1, 1))]
  half = lambda places: np.concatenate([elements[place] for place in places], -1).reshape(-1)
  orders = [np.concatenate([half(turn[:2]), half(turn[2:])]) for turn in turns]
  shapes = ((h // 2, w // 2, 2 * c),) * 2
  return Split(np.stack([orders[i % len(turns)] for i in range(num_couplings // 2)]), shapes)
