"""NETWORKS: flax modules by name, for the configs that choose one; tensors in, tensors out."""

from genjax.nn.mlp import MLP

NETWORKS = {'mlp': MLP}
