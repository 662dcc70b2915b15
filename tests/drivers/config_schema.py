"""Holds configs to the schema of a config: config_schema.py SCHEMA GOOD... -- BAD...

A file of the chart's may hold several documents, of which those with a config.yaml in them count.
"""

import sys

import jsonschema_rs
import yaml


def configs(path):
    with open(path, encoding="utf-8") as file:
        documents = list(yaml.safe_load_all(file))
    inside = [
        yaml.safe_load(text)
        for document in documents
        if isinstance(document, dict)
        for part in ("data", "stringData")
        for name, text in (document.get(part) or {}).items()
        if name == "config.yaml"
    ]
    return inside or documents


def main():
    schema, *files = sys.argv[1:]
    with open(schema, encoding="utf-8") as file:
        validator = jsonschema_rs.validator_for(file.read())
    middle = files.index("--")
    for path in files[:middle]:
        for config in configs(path):
            for error in validator.iter_errors(config):
                sys.exit(f"{path}: {error.instance_path}: {error.message}")
    for path in files[middle + 1 :]:
        for config in configs(path):
            if validator.is_valid(config):
                sys.exit(f"{path} is wrong, and the schema takes it")


main()
