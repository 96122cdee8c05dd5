"""What the contract leaves to this host: saving, changing settings, schemas, namespaces."""

import json
from importlib.util import find_spec
from typing import Any

import pytest
from llama_index.core.base.base_selector import BaseSelector
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode

from headgate import Guard, Label, Reranker, Rule
from headgate.testing import ToyScorer
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank
from llama_index.selectors.headgate import HeadgateSelector

NODES = [NodeWithScore(node=TextNode(text=text, id_=text), score=0.5) for text in ("ham", "spam")]
# class, scalars, the ready noun's field, the noun
CASES = [
    (HeadgateRerank, {"top_n": 1}, "reranker", Reranker(ToyScorer(), top_k=1)),
    (HeadgateNodeGuard, {"forbid": ["spam"]}, "guard", Guard(ToyScorer(), ["spam"], 0.5)),
    (HeadgateSelector, {"default_index": 1}, "scorer", ToyScorer()),
]
all_classes = pytest.mark.parametrize(("cls", "scalars", "field", "noun"), CASES)


def ready(cls: Any, field: str, noun: Any) -> Any:
    return cls(**{field: noun}, **({"default_index": 1} if cls is HeadgateSelector else {}))


def use(adapter: Any) -> Any:
    if isinstance(adapter, BaseSelector):
        return adapter.select(["ham", "eggs"], "ham")
    return adapter.postprocess_nodes(NODES, query_str="spam")


@pytest.mark.parametrize(
    ("cls", "wrong"),
    [
        (HeadgateRerank, {"top_n": 0}),
        (HeadgateRerank, {"min_probability": 1.5}),
        (HeadgateRerank, {"long_query": "cut"}),
        (HeadgateNodeGuard, {}),
        (HeadgateNodeGuard, {"forbid": []}),
        (HeadgateNodeGuard, {"forbid": "spam"}),
        (HeadgateNodeGuard, {"forbid": {"spam": Rule("spam", 2)}}),
        (HeadgateSelector, {"default_index": -1}),
        (HeadgateSelector, {"threshold": 2}),
        (HeadgateSelector, {"scorer": ToyScorer(), "threshold": 2}),
    ],
)
def test_bad_arguments_raise_before_any_model_is_loaded(cls, wrong, loads) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  the message is the core's or pydantic's
        cls(**wrong)
    assert loads == []


@pytest.mark.parametrize(
    "adapter",
    [
        HeadgateRerank(label=Label("about spam", verbatim=True), top_n=2, fuse_retrieval_score=True),
        HeadgateNodeGuard(forbid={"spam": Rule(Label("It is spam.", verbatim=True), 0.7), "ham": "ham"}, threshold=0.5),
        *(cls(**scalars) for cls, scalars, _, _ in CASES),
    ],
)
def test_to_dict_and_back(adapter) -> None:
    data = adapter.to_dict()
    assert data["class_name"] == type(adapter).__name__
    assert not {"loaded", "callback_manager"} & set(data)
    twin = type(adapter).from_dict(data)
    assert twin.to_dict() == data
    assert all(getattr(twin, k) == getattr(adapter, k) for k in data if k != "class_name")
    assert type(adapter).from_json(adapter.to_json()).to_dict() == json.loads(json.dumps(data))


@all_classes
def test_a_ready_noun_is_not_written(cls, scalars, field, noun) -> None:
    with pytest.raises(ValueError, match=f"a ready {type(noun).__name__} can't be written"):
        ready(cls, field, noun).to_dict()


@all_classes
def test_a_changed_model_loads_that_one(cls, scalars, field, noun, loads) -> None:
    adapter = cls(**scalars)
    use(adapter)
    use(adapter.model_copy(update={"model": "other"}))
    adapter.model = "third"
    use(adapter)
    assert [where for where, _ in loads] == [cls.model_fields["model"].default, "other", "third"]


def test_assignments_are_checked_and_count(loads) -> None:
    rerank = HeadgateRerank(top_n=1)
    assert len(use(rerank)) == 1
    rerank.top_n = 2
    assert len(use(rerank)) == 2
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        rerank.top_n = 0
    with pytest.raises(ValueError, match="min_probability is 3"):
        rerank.min_probability = 3
    with pytest.raises(ValueError, match="reranker came together with top_n"):
        rerank.reranker = Reranker(ToyScorer())
    assert (rerank.top_n, rerank.min_probability, rerank.reranker) == (2, None, None)
    with pytest.raises(ValueError, match="no attribute 'top_k'"):
        rerank.top_k = 2


@all_classes
def test_schema_and_names(cls, scalars, field, noun) -> None:
    assert not {"loaded", field} & set(cls.model_json_schema()["properties"])
    assert cls.class_name() == cls.__name__
    base = BaseSelector if cls is HeadgateSelector else BaseNodePostprocessor
    assert base.__name__ in [c.__name__ for c in cls.__mro__]  # the host's usual test


def test_namespaces_stay_open() -> None:
    for package in ("llama_index", "llama_index.postprocessor", "llama_index.selectors"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is None, f"{spec.origin} hides every other distribution of {package}"
