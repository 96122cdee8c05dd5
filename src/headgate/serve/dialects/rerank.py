"""``/rerank``, ``/v1/rerank``, ``/v2/rerank``: Cohere, Jina, vLLM, Voyage and TEI, told apart by the keys of a body.

A body with ``texts`` is TEI's, one with ``top_k`` or ``truncation`` Voyage's; all others get one reply that holds what
each of Cohere (v1 and v2), Jina and vLLM looks for. A prefix, such as ``/infinity/rerank``, names the dialect.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import ConfigDict, Discriminator, Field, Tag

from headgate.serve.dialects import infinity, tei, voyage
from headgate.serve.faults import COHERE, JINA, TEI, VLLM, VOYAGE
from headgate.serve.ranking import Ranking, Spans, Wanted, ranked
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, Wire, new_id, now, reply, speaks


class Document(Wire):
    """A document with fields; which are read, ``rank_fields`` says."""

    model_config = ConfigDict(extra="allow")

    text: str | None = Field(None, description="Its words.", examples=["Hold the button for ten seconds."])


class RelevantSpans(Wire):
    """Whether to point out what is relevant in each document."""

    mode: Literal["enabled", "disabled"] = Field("disabled", description="enabled points out.", examples=["enabled"])
    threshold: float | None = Field(
        None, ge=0, le=1, description="Passages from this score up; 0.1 if absent.", examples=[0.2]
    )
    max_spans: int | None = Field(None, ge=1, description="At most so many a document, the best first.", examples=[2])

    def wanted(self) -> Spans | None:
        """What the ranking needs of it."""
        threshold = 0.1 if self.threshold is None else self.threshold
        return Spans(threshold, self.max_spans) if self.mode == "enabled" else None


class Rerank(Wire):
    """What Cohere's, Jina's and vLLM's clients send."""

    query: str = Field(description="What the documents should answer.", examples=["how do I reset the hub?"])
    documents: str | list[str | Document] = Field(
        description="In any order; results name them by index.",
        examples=[["Hold the button for ten seconds.", "The hub has a warranty of two years."]],
    )
    model: str | None = Field(
        None, description="Name of a served reranker; other services' names mean the default.", examples=["default"]
    )
    top_n: int | None = Field(None, ge=0, description="At most so many results; 0 or absent for all.", examples=[1])
    return_documents: bool | None = Field(None, description="Send the documents' words back.", examples=[True])
    rank_fields: list[str] | None = Field(
        None, description="Of documents with fields: what is read, in this order.", examples=[["title", "text"]]
    )
    max_tokens_per_doc: int | None = Field(
        None, ge=0, description="Read no more of a document; absent or 0 reads all of it, in windows.", examples=[4096]
    )
    max_chunks_per_doc: int | None = Field(None, ge=1, description="The same, in lengths of the model.", examples=[10])
    overlap_tokens: int | None = Field(
        None, ge=0, description="Accepted; windows share a quarter of their room, whatever it says.", examples=[80]
    )
    relevant_spans: RelevantSpans | None = Field(
        None, description="Points out sentences.", examples=[{"mode": "enabled", "max_spans": 1}]
    )


class Named(Reply):
    """A document's words, with the fields it came with."""

    text: str | None = Field(None, examples=["Hold the button for ten seconds."])


class SpanReply(Reply):
    """A passage of a document."""

    start: int = Field(description="Its first character, counted in Unicode code points.", examples=[0])
    end: int = Field(description="Behind its last character.", examples=[32])
    score: float = Field(description="How relevant it is by itself, 0 to 1.", examples=[0.83])


class Result(Reply):
    """One document of the ranking."""

    index: int = Field(description="Where it stood in the request.", examples=[0])
    relevance_score: float = Field(
        description="Its probability, 0 to 1; where the header x-headgate-meaning is order, a number that only sorts.",
        examples=[0.91],
    )
    document: Named | None = Field(None, description="Its words, where they were asked for.")
    relevant_spans: list[SpanReply] | None = Field(None, description="Best first, where they were asked for.")


class Usage(Reply):
    """What was read."""

    prompt_tokens: int = Field(description="The same.", examples=[41])
    total_tokens: int = Field(description="Tokens of all documents.", examples=[41])


class RerankReply(Reply):
    """One reply for all of them."""

    id: str = Field(examples=["rerank-6f1c"])
    model: str = Field(description="The reranker that ran.", examples=["default"])
    object: Literal["rerank"] = "rerank"
    created: int = Field(description="Seconds since 1970.", examples=[1790000000])
    results: list[Result] = Field(description="Best first.")
    usage: Usage
    meta: dict[str, Any] = Field(description="Cohere's: api_version, billed_units, tokens, warnings.")


def _which(body: object) -> str:
    keys = body.keys() if isinstance(body, dict) else set(getattr(body, "model_fields_set", ()))
    return "tei" if "texts" in keys else "voyage" if {"top_k", "truncation"} & set(keys) else "cohere"


Body = Annotated[
    Annotated[Rerank, Tag("cohere")] | Annotated[tei.Rerank, Tag("tei")] | Annotated[voyage.Rerank, Tag("voyage")],
    Discriminator(_which),
]
_DIALECTS = {"cohere": COHERE, "tei": TEI, "voyage": VOYAGE}


def routes(service: Service) -> APIRouter:
    """All paths of all rerankers."""
    router = APIRouter(route_class=JSONRoute, tags=["rerank"])

    async def rerank(request: Request, body: Body) -> Response:
        """Order documents for a query, best first, in the dialect that the body's keys say."""
        if isinstance(body, tei.Rerank):
            speaks(request, TEI)
            return await tei.rerank(service, request, body)
        if isinstance(body, voyage.Rerank):
            speaks(request, VOYAGE)
            return await voyage.rerank(service, request, body)
        return await _rerank(service, request, body)

    for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
        router.post(path, response_model=RerankReply | list[tei.Ranked] | voyage.RerankReply)(rerank)

    async def superset(request: Request, body: Rerank) -> Response:
        """Order documents for a query, best first."""
        return await _rerank(service, request, body)

    for prefix in (COHERE, JINA, VLLM):
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            router.post(f"/{prefix.name}{path}", response_model=RerankReply, include_in_schema=path == "/v1/rerank")(
                superset
            )
    tei.mount(router, service)
    voyage.mount(router, service)
    infinity.mount(router, service)
    return router


async def _rerank(service: Service, request: Request, body: Rerank) -> Response:
    documents = [body.documents] if isinstance(body.documents, str) else body.documents
    wanted = Wanted(
        query=body.query,
        texts=[_words(one, body.rank_fields) for one in documents],
        model=body.model,
        top_n=body.top_n,
        max_tokens=body.max_tokens_per_doc or None,
        max_chunks=body.max_chunks_per_doc,
        spans=body.relevant_spans.wanted() if body.relevant_spans else None,
    )
    found = await ranked(service, request, wanted)
    path = request.url.path
    # vLLM and Jina send them unless told not to; Cohere only where asked, and v2 never.
    default = path.startswith((f"/{VLLM.name}/", f"/{JINA.name}/"))
    shown = default if body.return_documents is None else body.return_documents
    results = [
        {
            "index": hit.index,
            "relevance_score": score,
            **({"document": _document(documents[hit.index])} if shown else {}),
            **({} if found.spans is None else {"relevant_spans": found.spans[n]}),
        }
        for n, (hit, score) in enumerate(zip(found.hits, found.scores, strict=True))
    ]
    return reply(
        {
            "id": new_id("rerank"),
            "object": "rerank",
            "created": now(),
            "model": found.model,
            "results": results,
            "usage": {"prompt_tokens": found.tokens, "total_tokens": found.tokens},
            "meta": _meta(found, "2" if "/v2/" in path else "1"),
        },
        headers={"x-headgate-meaning": found.meaning},
    )


def _words(document: str | Document, names: list[str] | None) -> str:
    if isinstance(document, str):
        return document
    fields = document.model_dump(exclude_none=True)
    chosen = [name for name in (names or ["text"]) if name in fields]
    if not chosen:
        raise ValueError(f"a document has the fields {sorted(fields)}; expected {names or ['text']}: say rank_fields.")
    return "\n".join(str(fields[name]) for name in chosen)


def _document(document: str | Document) -> dict[str, Any]:
    return {"text": document} if isinstance(document, str) else document.model_dump(exclude_none=True)


def _meta(found: Ranking, version: str) -> dict[str, Any]:
    said = {"warnings": list(found.warnings)} if found.warnings else {}
    return {
        "api_version": {"version": version},
        "billed_units": {"search_units": 1},
        "tokens": {"input_tokens": found.tokens, "output_tokens": 0},
        **said,
    }
