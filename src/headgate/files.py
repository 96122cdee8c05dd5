"""Files of settings, JSON or YAML: written for people to read and compare, read back key by key."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headgate.errors import CheckpointError


def content(path: str | Path) -> object:
    """What a file of JSON or YAML holds, as plain data; a key that comes twice is refused.

    Raises:
        CheckpointError: It can't be read, or is neither.
    """
    file = Path(path)
    yaml = is_yaml(file)
    try:
        words = file.read_text(encoding="utf-8-sig")
        return _from_yaml(words) if yaml else json.loads(words, object_pairs_hook=_once)
    except OSError as e:
        raise CheckpointError(f"{path} can't be read ({e.strerror}); expected a file that headgate.save wrote.") from e
    except (ValueError, RecursionError) as e:
        raise CheckpointError(f"{path}: {' '.join(str(e).split())}") from e


def is_yaml(path: Path) -> bool:
    """Whether it is YAML, by its ending; ValueError for an ending that is neither."""
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise ValueError(f"{path} ends in {path.suffix!r}; expected .json, .yaml or .yml.")
    return path.suffix != ".json"


def write(path: Path, body: Mapping[str, Any]) -> None:
    """Write plain data, all or nothing: who reads meanwhile sees the old file or the new one."""
    words = _as_yaml(body) if is_yaml(path) else json.dumps(body, indent=2) + "\n"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(words, encoding="utf-8", newline="\n")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping whose keys come once: of two rules of one name, which one holds?"""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} came twice; expected every key once.")
        found[key] = value
    return found


def _as_yaml(body: Mapping[str, Any]) -> str:
    import yaml  # here, as only some files need it

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # it has no types
        def represent_str(self, text: str) -> object:
            # Unquoted, some line ends of Unicode come back as others; escaped, all is on one line.
            return self.represent_scalar("tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"')

    Dumper.add_representer(str, Dumper.represent_str)
    # One thing a line, however long: what changed shows as one line.
    words: str = yaml.dump(
        body, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**31
    )
    return words


def _from_yaml(words: str) -> object:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # it has no types
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: ANN401
            _once([(key.value, None) for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
            found: dict[Any, Any] = super().construct_mapping(node, deep)
            return found

    # A date is written as a text here, in quotes or not.
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        found: object = yaml.load(words, Loader)
    except yaml.YAMLError as e:
        raise ValueError(f"it is not YAML: {e}") from e
    return found
