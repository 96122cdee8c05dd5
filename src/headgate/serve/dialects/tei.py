"""Text Embeddings Inference: ``/rerank`` with ``texts``, ``/predict``, ``/info``; bare lists come back."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate import __version__
from headgate.errors import LabelError
from headgate.scores import Ask, Label, Scorer, logistic
from headgate.serve.classifying import Classes, classified
from headgate.serve.faults import TEI, Fault
from headgate.serve.ranking import Wanted, ranked
from headgate.serve.service import Service
from headgate.serve.wire import Reply, Wire, reply, speaks

Pair = list[str]
Relation = Literal["entailment", "contradiction"]


class Rerank(Wire):
    """What TEI's clients send."""

    query: str = Field(description="What the texts should answer.", examples=["how do I reset the hub?"])
    texts: list[str] = Field(description="In any order.", examples=[["Hold the button for ten seconds."]])
    truncate: bool | None = Field(
        None, description="Accepted; nothing is cut: long texts are read in windows.", examples=[True]
    )
    truncation_direction: str | None = Field(None, description="Accepted, as truncate.", examples=["Right"])
    raw_scores: bool | None = Field(None, description="Log-odds in place of probabilities.", examples=[False])
    return_text: bool | None = Field(None, description="Send the texts back.", examples=[False])


class Ranked(Reply):
    """One text of the ranking."""

    index: int = Field(description="Where it stood in the request.", examples=[0])
    score: float = Field(description="0 to 1, or log-odds where raw_scores was set.", examples=[0.91])
    text: str | None = Field(None, description="Where return_text was set.")


class Parameters(Wire):
    """What Hugging Face's own client sends, and TEI's clients do not."""

    top_k: int | None = Field(None, ge=1, description="At most so many classes, the best first.", examples=[2])
    function_to_apply: str | None = Field(
        None, description="none for log-odds; all else leaves probabilities.", examples=["sigmoid"]
    )


class Predict(Wire):
    """What TEI's clients send to a classifier."""

    inputs: str | list[str | list[str]] = Field(
        description="A text; two strings are ONE PAIR; a list of lists of one text, or two, is a batch.",
        examples=["Where is my parcel?", [["Where is my parcel?"], ["Hello!"]]],
    )
    truncate: bool | None = Field(None, description="Accepted; nothing is cut.", examples=[True])
    truncation_direction: str | None = Field(None, description="Accepted, as truncate.", examples=["Right"])
    raw_scores: bool | None = Field(None, description="Log-odds in place of probabilities.", examples=[False])
    parameters: Parameters | None = Field(
        None, description="Of Hugging Face's client, which expects a list of lists even for one text.", examples=[{}]
    )


class Predicted(Reply):
    """One class."""

    score: float = Field(description="0 to 1, or log-odds where raw_scores was set.", examples=[0.97])
    label: str = Field(description="The class.", examples=["injection:injection"])


async def rerank(service: Service, request: Request, body: Rerank) -> Response:
    """A ranking as a bare list."""
    if not body.texts:
        raise Fault("empty", "`texts` cannot be empty", param="texts")
    found = await ranked(service, request, Wanted(body.query, body.texts))
    ranks = [
        {
            "index": hit.index,
            "score": hit.log_odds if body.raw_scores else score,
            **({"text": body.texts[hit.index]} if body.return_text else {}),
        }
        for hit, score in zip(found.hits, found.scores, strict=True)
    ]
    return reply(ranks, headers={"x-headgate-meaning": found.meaning, "x-compute-tokens": str(found.tokens)})


async def predict(service: Service, request: Request, body: Predict) -> Response:
    """The classes of a text, of a pair, or of each of a batch."""
    single, items = _items(body.inputs)
    if not items:
        raise Fault("empty", "`inputs` cannot be empty", param="inputs")
    widths = {len(item) for item in items}
    if not widths <= {1, 2} or len(widths) > 1:
        raise Fault("invalid", f"inputs are of {sorted(widths)} texts each; expected 1, or pairs.", param="inputs")
    if widths == {2}:
        found = await _pairs(service, request, items)
    else:
        found = await classified(service, request, [item[0] for item in items], None)
    asked = body.parameters
    raw = bool(body.raw_scores) or (asked is not None and asked.function_to_apply == "none")
    rows = [_sorted(row, raw=raw)[: None if asked is None else asked.top_k] for row in found.log_odds]
    out = [[{"score": score, "label": found.labels[j]} for j, score in row] for row in rows]
    return reply(out[0] if single and asked is None else out)


def _items(inputs: str | list[str | list[str]]) -> tuple[bool, list[list[str]]]:
    """Whether one thing was asked, and what: two strings side by side are a pair."""
    if isinstance(inputs, str):
        return True, [[inputs]]
    words = [one for one in inputs if isinstance(one, str)]
    if words and len(words) == len(inputs):
        return True, [words]
    return False, [[one] if isinstance(one, str) else one for one in inputs]


def _sorted(log_odds: list[float], *, raw: bool) -> list[tuple[int, float]]:
    order = sorted(range(len(log_odds)), key=lambda j: -log_odds[j])
    p = logistic(log_odds).tolist()
    return [(j, log_odds[j] if raw else p[j]) for j in order]


async def _pairs(service: Service, request: Request, pairs: list[Pair]) -> Classes:
    """Whether each pair's first text entails its second, and contradicts it where the model knows that."""
    found = service.catalog.named("grounding", None)
    scorer: Scorer = found.task.scorer

    def work() -> Classes:
        try:
            return _judged(service, found.name, scorer, pairs, ["entailment", "contradiction"])
        except LabelError:
            return _judged(service, found.name, scorer, pairs, ["entailment"])

    return await service.run(request, sum(len(a) + len(b) for a, b in pairs), work)


def _judged(service: Service, name: str, scorer: Scorer, pairs: list[Pair], relations: list[Relation]) -> Classes:
    asks = [Ask([a], [Label(b, verbatim=True, relation=relation) for relation in relations]) for a, b in pairs]
    scores, tokens = service.judge(name, scorer, asks)
    return Classes(name, tuple(relations), [one.log_odds[0].tolist() for one in scores], tokens)


def mount(router: APIRouter, service: Service) -> None:
    """``/predict``, ``/info``, and all of it under the prefix."""

    async def predicted(request: Request, body: Predict) -> Response:
        """The classes of a text, a pair or a batch, best first."""
        speaks(request, TEI)
        return await predict(service, request, body)

    async def reranked(request: Request, body: Rerank) -> Response:
        """Order texts for a query, as TEI does: a bare list."""
        return await rerank(service, request, body)

    async def info() -> dict[str, Any]:
        """What is served, as TEI says it."""
        return _info(service)

    router.post("/predict", response_model=list[Predicted] | list[list[Predicted]], tags=["classify"])(predicted)
    router.post("/tei/predict", include_in_schema=False)(predicted)
    router.post("/tei/rerank", response_model=list[Ranked])(reranked)
    router.get("/info", tags=["operation"])(info)
    router.get("/tei/info", include_in_schema=False)(info)
    for path in ("/tei/health", "/tei/ping"):
        router.get(path, include_in_schema=False)(lambda: {})


def _info(service: Service) -> dict[str, Any]:
    limits, (name, reranker) = service.settings.limits, service.catalog.reranker(None)
    run = getattr(reranker.scorer, "run", None)
    return {
        "model_id": service.catalog.named("reranker", name).model,
        "model_sha": reranker.scorer.fingerprint,
        "model_dtype": getattr(run, "dtype", "float32"),
        "served_model_name": name,
        "model_type": {"reranker": {"id2label": {"0": "relevance"}, "label2id": {"relevance": 0}}},
        "max_concurrent_requests": limits.requests,
        "max_input_length": getattr(reranker.scorer, "max_length", 512),
        "max_batch_tokens": 16384,
        "max_client_batch_size": limits.documents,
        "auto_truncate": False,
        "tokenization_workers": 2,
        "version": __version__,
    }
