"""The UNet and the pipeline of diffusers at our sizes, with random weights made in memory."""

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel

from benchmarks import rounds, torch_train
from genjax.nn.norm import num_groups


def make(kw) -> UNet2DModel:
  """Residual blocks that change the side, scale and shift by time, as ours; one layout of theirs.

  Fewer parameters: the time is embedded in 4 width from width numbers, not from 128.
  """
  sizes, side = kw['denoiser'], torch_train.SIDE
  channels = [m * sizes['width'] for m in sizes['multipliers']]
  attends = ['Attn' if side >> i in sizes['attention'] else '' for i in range(len(channels))]
  return UNet2DModel(
      sample_size=side, in_channels=1, out_channels=1, layers_per_block=sizes['num_blocks'],
      block_out_channels=channels, down_block_types=[f'{a}DownBlock2D' for a in attends],
      up_block_types=[f'{a}UpBlock2D' for a in reversed(attends)],
      norm_num_groups=num_groups(channels[0]),
      attention_head_dim=max(channels) // sizes['num_heads'], resnet_time_scale_shift='scale_shift',
      downsample_type='resnet', upsample_type='resnet')


def ddim(kw, batch_size: int, lr: float) -> rounds.Side:
  """Its DDIM pipeline, channels last, the picture left as an array."""
  del lr
  net = make(kw).to(memory_format=torch.channels_last)
  scheduler = DDIMScheduler(beta_schedule='squaredcos_cap_v2', prediction_type='v_prediction')
  pipeline = DDIMPipeline(net, scheduler)
  pipeline.set_progress_bar_config(disable=True)
  steps = kw['sampler']['num_steps']
  call = lambda: pipeline(batch_size=batch_size, num_inference_steps=steps, output_type='np')
  return rounds.Side(call, lambda: None, 1, torch_train.count(net), {})
