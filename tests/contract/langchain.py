"""How LangChain writes an adapter down and reads it again."""

import json
import warnings
from inspect import signature
from typing import Any

import pytest
from langchain_core.load import dumpd, load

REFUSAL = NotImplementedError
"""What langchain-core's own ``load`` raises for a part that no data describe."""


def saved(adapter: Any) -> Any:
    """Through JSON, and back by LangChain's own loader."""
    if "allowed_objects" not in signature(load).parameters:
        pytest.skip("langchain-core before 1.2.5 loads its own namespaces only")
    data = json.loads(json.dumps(dumpd(adapter)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # load is in beta
        return load(data, allowed_objects=[type(adapter)], valid_namespaces=["langchain_headgate"])
