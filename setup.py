"""The packages of the wheel: genjax and, inside it, the programs and configs that come with it.

They lie beside the package in a repository. Installed under their own names, `configs` and
`experiments`, they would be in the way of a user's own directories; see genjax/shipped.py.
"""

from setuptools import find_packages, setup

SHIPPED = ('configs', 'experiments')
INSIDE = 'genjax.installed'

setup(
    packages=[*find_packages(include=['genjax', 'genjax.*']),
              *(f'{INSIDE}.{name}' for top in SHIPPED
                for name in find_packages(include=[top, f'{top}.*']))],
    package_dir={f'{INSIDE}.{top}': top for top in SHIPPED})
