"""YAML as plain values: no aliases, which a few lines make endless, no deep nesting, no key twice, one kind of error."""

from __future__ import annotations

import yaml

MAX_BYTES, MAX_DEPTH = 100_000, 8


class YamlError(ValueError):
    """A text that is no YAML of plain values; the text says why."""


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for tag, name in keys if len(set(keys)) < len(keys) else ():
            if keys.count((tag, name)) > 1:  # PyYAML would take the last one without a word
                raise YamlError(f"the key {name[:80]!r} stands twice; keep one of them")
        return super().construct_mapping(node, deep)


def load(text: str):
    """Return the value that a YAML text holds, or raise `YamlError`."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"{len(text):,} characters; at most {MAX_BYTES:,} are read")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise YamlError(f"the alias *{event.anchor[:80]} is not allowed; write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise YamlError(f"values are nested more than {MAX_DEPTH} deep")
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none is a plain ValueError
        raise YamlError(" ".join(str(error).split())[:200]) from error
