"""Networks: flax modules by kind and name, and the kind that each role asks for.

Tensors in, tensors out: they know no distribution. What each kind is called with, and returns:

  to_vector     (x [B, *shape], cond) -> [B, out]
  from_vector   (z [B, d], cond) -> [B, *shape, out]
  denoiser      (x_t [B, *shape], t [B] or [B, K], cond) -> [B, *shape, out]
  causal        (tokens int32 [B, D], cond) -> [B, D, out], each given those before it; `start` and
                `step` the same one by one
  masked        (x [B, D], cond) -> [B, D, out], each given those before it
  patch_causal  (patches x [B, T, d], cond) -> [B, T, d, out], each given those before it; `start`
                and `step` the same one by one
  ladder        (x [B, *shape] or None, cond, B, pick, given, key) -> [B, *shape, out], summaries of
                its latent layers (`nn.ladder.Ladder`)
  conditioner   (the given part [B, *given], cond) -> [B, *shape, out], for the other [B, *shape]

A role fixes the fields in SIZES; the others are a config's to choose (`wiring.networks`).
"""

from genjax.nn.convnet import ConvConditioner, ConvFromVector, ConvToVector
from genjax.nn.dit import DiT
from genjax.nn.ladder import Ladder
from genjax.nn.masked import Made, MaskedMLP
from genjax.nn.mlp import MLP
from genjax.nn.pixelcnn import PixelCNN
from genjax.nn.time_mlp import TimeMLP
from genjax.nn.transformer import PatchTransformer, TokenTransformer
from genjax.nn.unet import UNet

NETWORKS = {
    'to_vector': {'mlp': MLP, 'conv': ConvToVector},
    'from_vector': {'mlp': MLP, 'conv': ConvFromVector},
    'denoiser': {'time_mlp': TimeMLP, 'dit': DiT, 'unet': UNet},
    'causal': {'transformer': TokenTransformer, 'pixelcnn': PixelCNN, 'made': Made},
    'masked': {'mlp': MaskedMLP},
    'patch_causal': {'transformer': PatchTransformer},
    'conditioner': {'mlp': MLP, 'conv': ConvConditioner},
    'ladder': {'ladder': Ladder},
}
ROLES = {
    'posterior': 'to_vector', 'decoder': 'from_vector', 'generator': 'from_vector',
    'critic': 'to_vector', 'energy': 'to_vector', 'classifier': 'to_vector',
    'denoiser': 'denoiser', 'velocity': 'denoiser', 'causal': 'causal', 'masked': 'masked',
    'patch_causal': 'patch_causal', 'conditioner': 'conditioner', 'dequantiser': 'conditioner',
    'ladder': 'ladder',
}
ON_IMAGES = ('conv', 'dit', 'unet', 'pixelcnn', 'ladder')  # those that take images alone
# fields that a role fixes: sizes, what cond is, and where the output starts
SIZES = ('out', 'shape', 'levels', 'num_classes', 'context', 'zero_out')
