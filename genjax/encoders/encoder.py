"""The type of an encoder."""

from collections.abc import Callable
from typing import NamedTuple

from genjax.types import DataSpec


class Encoder(NamedTuple):
  """A feature network with its weights, for one kind of data. It splits its input into batches."""

  name: str
  spec: DataSpec  # of the data that it reads
  features: Callable  # x [N, *shape], integer levels or coordinates -> float32 [N, d]
  probs: Callable | None  # x -> float32 [N, num_classes]
  card: dict  # name, sha256 of the weights, dim, input, and source: what it was trained on
