"""What a compiled program moves: against XLA where it counts right, and closed forms where not."""

import jax
import jax.numpy as jnp
import pytest

from genjax.pod import traffic
from tests.pod.test_topology import HLO

DEPTH, ROWS, WIDTH = 12, 512, 256
ARRAYS = (jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32),
          jax.ShapeDtypeStruct((DEPTH, WIDTH, WIDTH), jnp.float32))


def unrolled(x, w):
  for i in range(DEPTH):
    x = jnp.tanh(x @ w[i])
  return x


def scanned(x, w):
  return jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), x, w)[0]


def test_memory_that_is_read_and_written():
  """Unrolled as XLA counts; a loop as often as it runs, and of the stack of weights its slice."""
  programs = {fn: jax.jit(fn).lower(*ARRAYS).compile() for fn in (unrolled, scanned)}
  flat = traffic.accessed(programs[unrolled].as_text())
  assert flat == pytest.approx(programs[unrolled].cost_analysis()['bytes accessed'], rel=0.01)
  looped = traffic.accessed(programs[scanned].as_text())
  least = DEPTH * (4 * ROWS * WIDTH + WIDTH * WIDTH) * 4  # x, x W, tanh of it; W
  assert least <= looped <= 1.4 * least
  assert looped > 8 * programs[scanned].cost_analysis()['bytes accessed']


UPDATES = """HloModule m

%in_place (stack: f32[10,64], new: f32[64], at: s32[]) -> f32[10,64] {
  %stack = f32[10,64]{1,0} parameter(0)
  %new = f32[64]{0} parameter(1)
  %at = s32[] parameter(2)
  %zero = s32[] constant(0)
  %row = f32[1,64]{1,0} bitcast(%new)
  ROOT %update = f32[10,64]{1,0} dynamic-update-slice(%stack, %row, %at, %zero)
}

ENTRY %main (a: f32[10,64], b: f32[64], i: s32[]) -> f32[10,64] {
  %a = f32[10,64]{1,0} parameter(0)
  %b = f32[64]{0:T(64)S(1)} parameter(1)
  %i = s32[] parameter(2)
  ROOT %f = f32[10,64]{1,0} fusion(%a, %b, /*index=2*/%i), kind=kLoop, calls=%in_place
}
"""


def test_an_update_in_place_moves_its_row_and_what_is_on_the_chip_nothing():
  assert traffic.accessed(UPDATES) == 64 * 4 + 4
  off_chip = UPDATES.replace('S(1)', '')
  assert traffic.accessed(off_chip) == 2 * 64 * 4 + 4


MESH = "mesh['a'=4,'b'=1,'c'=2]"


@pytest.mark.parametrize('text, members', (
    ('replica_groups={{0,1,2,3},{4,5,6,7}}, x', [0, 1, 2, 3]),
    ('replica_groups=[4,2]<=[2,4]T(1,0), x', [0, 4]),
    ('replica_groups=[2,4]<=[8], x', [0, 1, 2, 3]),
    (f"replica_groups={MESH}, device_ids=([2,4]T(1,0)) {{'a'}}, x", [0, 1, 2, 3]),
    (f"replica_groups={MESH}, device_ids=([2,4]T(1,0)) {{'c'}}, x", [0, 4]),
    (f"replica_groups={MESH} {{'a','c'}}, x", list(range(8))),
    ('replica_groups={}, x', list(range(8))),
    ('source_target_pairs={{0,1},{1,2}}, x', [0, 1]),
))
def test_who_takes_part(text, members):
  """A mesh of 2 x 4: fsdp are neighbours, data every fourth."""
  assert sorted(traffic.groups(text, 8)) == members


def program(kind: str, shape: str, groups: str) -> str:
  return ('HloModule m\n\nENTRY %main (a: f32[4]) -> f32[4] {\n'
          f'  ROOT %c = {shape} {kind}(%a), channel_id=1, replica_groups={groups}\n}}\n')


@pytest.mark.parametrize('kind, ici', (
    ('all-reduce', 2 * 3 / 4), ('all-gather', 3 / 4), ('reduce-scatter', 3), ('all-to-all', 3 / 4)))
def test_what_a_ring_of_four_sends(kind, ici):
  text = program(kind, 'f32[100]', '{{0,1,2,3},{4,5,6,7}}')
  assert traffic.sent(text, 2, 4, 1) == {'fsdp': (400 * ici, 0.0)}


def test_a_sum_over_slices_crosses_their_network_with_one_share_a_device():
  text = program('all-reduce', 'f32[100]', '[4,4]<=[4,4]T(1,0)')
  assert traffic.sent(text, 4, 4, 1) == {'data': (2 * 400 * 3 / 4, 0.0)}
  # two slices of two rows: in each a ring of two, then its half with the other
  assert traffic.sent(text, 4, 4, 2) == {'data': (2 * 400 / 2, 2 * 200 / 2)}


def test_collectives_in_loops_count_as_often_as_they_run():
  [(axis, moved)] = traffic.sent(HLO, 1, 4, 1).items()
  gathered = (10 * 32 * 16 * 2 + 16 * 4) * 3 / 4
  summed, kept = 2 * 40 * 3 / 4, 10 * 64 * 64 * 4 * 3 / 4
  assert axis == 'fsdp' and moved.ici == pytest.approx(gathered + summed + kept + 30 * 16)
