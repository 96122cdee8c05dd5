"""What the contract leaves to this host: dumps, configurable fields, schemas."""

import json
import warnings
from dataclasses import replace
from inspect import signature
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, load
from langchain_core.runnables import ConfigurableField

from headgate import Guard, Label, Reranker, Router, Rule
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateDocumentGuard, HeadgateGuard, HeadgateReranker, HeadgateRouter

DOCUMENTS = [Document("ham"), Document("spam")]
# class, scalars, the ready noun's field, the noun
CASES = [
    (HeadgateReranker, {"top_n": 1}, "reranker", Reranker(ToyScorer(), top_k=1)),
    (HeadgateDocumentGuard, {"forbid": ["spam"]}, "guard", Guard(ToyScorer(), ["spam"], 0.5)),
    (HeadgateGuard, {"forbid": ["spam"]}, "guard", Guard(ToyScorer(), ["spam"], 0.5)),
    (HeadgateRouter, {"routes": ["ham", "eggs"]}, "router", Router(ToyScorer(), ["ham", "eggs"])),
]
all_classes = pytest.mark.parametrize(("cls", "scalars", "field", "noun"), CASES)


def use(adapter: Any) -> Any:
    if hasattr(adapter, "compress_documents"):
        return adapter.compress_documents(DOCUMENTS, "spam")
    return adapter.invoke("ham")


def revived(data: Any, cls: type) -> Any:
    if "allowed_objects" not in signature(load).parameters:
        pytest.skip("langchain-core before 1.2.5 loads its own namespaces only")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # load is in beta
        return load(data, allowed_objects=[cls], valid_namespaces=["langchain_headgate"])


@all_classes
def test_adapters_do_not_change(cls, scalars, field, noun) -> None:
    with pytest.raises(ValueError, match="frozen"):
        cls(**scalars).model = "other"


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (HeadgateReranker, {"top_n": 0}),
        (HeadgateReranker, {"min_probability": 1.5}),
        (HeadgateReranker, {"top_p": 0}),
        (HeadgateReranker, {"max_gap": -1}),
        (HeadgateReranker, {"long_query": "cut"}),
        (HeadgateRouter, {}),
        (HeadgateRouter, {"routes": []}),
        (HeadgateRouter, {"routes": "billing"}),
        (HeadgateRouter, {"routes": ["a", "a"]}),
        (HeadgateRouter, {"routes": ["a"], "threshold": 2}),
        (HeadgateGuard, {}),
        (HeadgateGuard, {"forbid": []}),
        (HeadgateGuard, {"forbid": "spam"}),
        (HeadgateGuard, {"forbid": {"spam": Rule("spam", 2)}}),
        (HeadgateGuard, {"forbid": ["spam"], "on_block": "ignore"}),
        (HeadgateDocumentGuard, {}),
        (HeadgateDocumentGuard, {"forbid": ["unreadable"]}),
        (HeadgateDocumentGuard, {"forbid": ["spam"], "unreadable": -1}),
    ],
)
def test_bad_arguments_raise_before_any_model_is_loaded(cls, wrong, loads) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message is the core's or pydantic's
        cls(**wrong)
    assert loads == []


@all_classes
def test_dump_holds_scalars_only_and_comes_back(cls, scalars, field, noun, loads) -> None:
    adapter = cls(**scalars)
    use(adapter)
    data = adapter.model_dump()
    assert json.loads(json.dumps(data)) == data
    assert "loaded" not in data
    assert cls.model_validate(data) == adapter
    assert cls.model_validate_json(adapter.model_dump_json()) == adapter


NESTED = [
    HeadgateReranker(label=Label("about spam", verbatim=True), top_n=2, prior_key="score"),
    HeadgateRouter(routes={"ham": "meat", "eggs": Label("It is an egg.", verbatim=True)}, fallback="ham"),
    HeadgateGuard(forbid={"spam": Rule(Label("It is spam.", verbatim=True), 0.7)}, on_block="refuse"),
    HeadgateDocumentGuard(forbid={"spam": Rule("spam", 0.7), "ham": "ham"}, threshold=0.5),
]


@pytest.mark.parametrize("adapter", NESTED + [cls(**scalars) for cls, scalars, _, _ in CASES])
def test_langchain_serialisation_round_trip(adapter) -> None:
    data = json.loads(json.dumps(dumpd(adapter)))
    assert data["type"] == "constructor"
    assert revived(data, type(adapter)) == adapter
    assert type(adapter).model_validate(adapter.model_dump()) == adapter


@all_classes
def test_a_ready_noun_is_not_written(cls, scalars, field, noun) -> None:
    adapter = cls(**{field: noun})
    with pytest.raises(ValueError, match=f"a ready {type(noun).__name__} can't be written"):
        adapter.model_dump()
    # langchain-core writes the noun as "not implemented" and refuses to read that, rather than make another object.
    with pytest.raises(NotImplementedError, match=f"doesn't implement serialization.*{type(noun).__name__}"):
        revived(dumpd(adapter), cls)


@all_classes
def test_a_copy_with_another_model_loads_that_one(cls, scalars, field, noun, loads) -> None:
    adapter = cls(**scalars)
    use(adapter)
    other = adapter.model_copy(update={"model": "other"})
    use(other)
    use(adapter)
    assert [where for where, _ in loads] == [adapter.model, "other"]


def test_configurable_fields_keep_the_model(loads) -> None:
    router = HeadgateRouter(routes=["ham"], fallback="none").configurable_fields(
        threshold=ConfigurableField(id="threshold")
    )
    assert router.invoke("ham")["key"] == "ham"
    for _ in range(3):
        assert router.invoke("ham", {"configurable": {"threshold": 0.99}})["key"] == "none"
    assert len(loads) == 1


@all_classes
def test_schemas_and_repr(cls, scalars, field, noun) -> None:
    properties = cls.model_json_schema()["properties"]
    assert "model" in properties
    assert not {"loaded", field} & set(properties)
    assert repr(cls(**scalars)) == f"{cls.__name__}({', '.join(f'{k}={v!r}' for k, v in scalars.items())})"


@pytest.mark.parametrize("cls", [HeadgateRouter, HeadgateGuard])
def test_runnable_schemas(cls) -> None:
    adapter = cls(**({"routes": ["a"]} if cls is HeadgateRouter else {"forbid": ["a"]}))
    assert {"type": "string"} in adapter.get_input_jsonschema()["anyOf"]
    assert adapter.get_output_jsonschema()["title"] == f"{cls.__name__}Output"
    assert adapter.get_graph().draw_mermaid()


def test_rule_without_threshold_takes_the_models_own(loads) -> None:
    kept = HeadgateDocumentGuard(forbid=["spam"]).compress_documents(DOCUMENTS, "")
    assert [d.page_content for d in kept] == ["ham"]
    with pytest.raises(ValueError, match="rule 'eggs' has no threshold"):
        HeadgateDocumentGuard(forbid=["eggs"]).compress_documents(DOCUMENTS, "")


def test_a_noun_replaced_on_the_fly() -> None:
    reranker = Reranker(ToyScorer())
    assert len(HeadgateReranker(reranker=replace(reranker, top_k=1)).compress_documents(DOCUMENTS, "ham")) == 1
