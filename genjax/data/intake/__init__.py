"""The one reader of a user's files: npz, idx and images, bounded before memory is allocated.

Whatever a file holds, each function returns arrays or raises BadInput with the file's name.
"""

from genjax.data.intake.idx import read_idx
from genjax.data.intake.images import Image, read_image, resized
from genjax.data.intake.limits import available_memory, regular_file, room_for
from genjax.data.intake.npz import Header, Npz, npy_header, read_npz

__all__ = ['Header', 'Image', 'Npz', 'available_memory', 'npy_header', 'read_idx', 'read_image',
           'read_npz', 'regular_file', 'resized', 'room_for']
