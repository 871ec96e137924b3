"""Checks launch files with other people's schemas; run by the Python of LAUNCH_VENV.

python validate.py jobset|sky|sbatch FILE...   prints {FILE: [what is wrong]}
"""

import importlib.resources
import json
import re
import sys

import yaml


def jobset(paths):
  """Against JobSet v1alpha2 with its pod template, by the API models of Kubeflow's trainer."""
  import jsonschema
  from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

  schema = strict(JobsetV1alpha2JobSet.model_json_schema(by_alias=True))
  checker = jsonschema.Draft202012Validator(schema)
  for path in paths:
    document = read(path)
    errors = [f'{"/".join(map(str, leaf.absolute_path))}: {leaf.message}'
              for error in checker.iter_errors(document) for leaf in leaves(error)]
    names = {'apiVersion': 'jobset.x-k8s.io/v1alpha2', 'kind': 'JobSet'}
    yield path, errors + [f'{key} is not {value}' for key, value in names.items()
                          if document.get(key) != value]


def strict(schema):
  """The schema with unknown fields refused, and with the enums that it tells only in words."""
  schema['$defs'] = {name: unwrapped(value) for name, value in schema['$defs'].items()}
  for definition in (schema, *schema['$defs'].values()):
    if 'properties' not in definition:
      continue
    definition['additionalProperties'] = False
    for field in definition['properties'].values():
      words = field.get('description', '')
      allowed = re.findall(r'`"(\w*)"`', words.partition('Possible enum values:')[2])
      listed = re.search(r'Valid values are (\w+(?:, \w+)+)\.$', words)
      if allowed or listed:
        field['enum'] = [*(allowed or listed[1].split(', ')), None]
  return schema


def unwrapped(definition):
  """Quantity and IntOrString are wrapped by the generator of the models; what they stand for."""
  actual = definition.get('properties', {}).get('actual_instance')
  return definition if actual is None else {'anyOf': actual['anyOf']}


def leaves(error):
  """An error inside `this or null` is what `this` says."""
  inner = [leaf for child in error.context or () if child.schema != {'type': 'null'}
           for leaf in leaves(child)]
  return inner or [error]


def sky(paths):
  """By SkyPilot's own parser; it knows no prices and no sizes without a network."""
  import sky
  from sky.utils import schemas

  # a client leaves unknown keys of job_recovery to the server, which refuses them
  schemas._allow_additional_properties = lambda: False
  for path in paths:
    try:
      sky.Task.from_yaml_config(read(path))
    except (ValueError, TypeError, AssertionError) as e:
      yield path, [str(e)]
    else:
      yield path, []


def sbatch(paths):
  """The names of the #SBATCH options against the list of simple_slurm."""
  text = (importlib.resources.files('simple_slurm') / 'arguments.txt').read_text()
  known = {line.partition(',')[0].replace('_', '-') for line in text.split()}
  for path in paths:
    with open(path, encoding='utf-8') as file:
      found = re.findall(r'^#(\w+) --([\w-]+)', file.read(), re.MULTILINE)
    yield path, [f'#{word} --{name}' for word, name in found
                 if word != 'SBATCH' or name not in known]


def read(path):
  with open(path, encoding='utf-8') as file:
    return yaml.safe_load(file)


if __name__ == '__main__':
  check = {'jobset': jobset, 'sky': sky, 'sbatch': sbatch}[sys.argv[1]]
  print(json.dumps(dict(check(sys.argv[2:]))))
