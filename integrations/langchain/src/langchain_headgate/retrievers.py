"""Retrieve, rerank and guard in one retriever."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda
from pydantic import Field, InstanceOf, model_validator
from pydantic.json_schema import SkipJsonSchema

from headgate import Guard, GuardedReranker, Hit, Logged, Reranker, Retrieved, Unjudged, Verdict
from headgate.hosting import away
from langchain_headgate._lazy import STRICT
from langchain_headgate._metadata import annotated, first_stage, guarded, page_content, relevance
from langchain_headgate.guards import HeadgateDocumentGuard
from langchain_headgate.rerankers import HeadgateReranker

Work = dict[str, Any]
"""What goes into the traced run, or comes out of it."""


@dataclass(frozen=True)
class Judged:
    """A document, by where it stood, and what was found of it."""

    index: int
    hit: Hit | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Found:
    """What stays, best first; what was dropped; and what could not be judged."""

    kept: Sequence[Judged]
    dropped: Sequence[Judged]
    unjudged: Sequence[Unjudged] = ()


class HeadgateRetriever(BaseRetriever):
    """Any retriever, with a reranker, a guard or both behind it.

    ```python
    from langchain_headgate import HeadgateDocumentGuard, HeadgateReranker, HeadgateRetriever

    HeadgateRetriever(
        retriever=retriever,
        reranker=HeadgateReranker(top_n=5),
        guard=HeadgateDocumentGuard(forbid=["injection:injection"]),
    )
    ```

    With both, what they share, a model or its encoder, reads each document once. The documents that come back are
    copies, with the metadata that :class:`HeadgateReranker` and :class:`HeadgateDocumentGuard` write. The trace shows
    the retriever's run, and beside it one that judges: its outputs hold the documents that were dropped, and as "kept"
    and "broken" the hits and verdicts of both. Where nothing was retrieved, no model is asked.

    A document whose verdict can't be made is not kept; the trace names it under ``unjudged`` with the error. Where the
    ``reranker`` reads documents in a way of its own, or the guard is logged, the guard reads every ``page_content``
    first.

    Args:
        retriever: What finds documents; a vector store's ``as_retriever()`` or any Runnable from str to Documents.
        reranker: Orders and cuts them; None keeps the order in which they come.
        guard: Keeps out those that break its rules.
        on_broken: "drop" leaves offenders out; "flag" keeps them, and writes the names of the rules that a document
            breaks, or [], into its metadata as ``guard_broken``.
        top_n: At most so many, at least 1, in place of the reranker's own; ``invoke(query, top_n=…)`` in place of both.
            ``invoke`` takes no other argument: bind those of the inner retriever to it, ``retriever.bind(k=20)``.

    Raises:
        ValueError: Neither ``reranker`` nor ``guard``; ``on_broken`` without a guard; a ``top_n`` below 1.
    """

    model_config = STRICT

    retriever: SkipJsonSchema[InstanceOf[Runnable[str, list[Document]]]]
    reranker: HeadgateReranker | None = None
    guard: HeadgateDocumentGuard | None = None
    on_broken: Literal["drop", "flag"] = "drop"
    top_n: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if self.reranker is None and self.guard is None:
            raise ValueError(
                "neither reranker nor guard came; expected at least one: to retrieve alone, use the retriever itself."
            )
        if self.guard is None and self.on_broken != "drop":
            raise ValueError(f"on_broken is {self.on_broken!r}, and there is no guard; pass guard=… or leave it out.")
        return self

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True; ``load`` needs the classes of all parts in ``allowed_objects``."""
        return True

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, top_n: int | None = None
    ) -> list[Document]:
        limit = self._limit(top_n)
        found = self.retriever.invoke(query, {"callbacks": run_manager.get_child()})
        if not found:
            return []
        work = {"query": query, "documents": list(found)}
        return list(self._run(limit).invoke(work, {"callbacks": run_manager.get_child()})["documents"])

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, top_n: int | None = None
    ) -> list[Document]:
        limit = self._limit(top_n)
        found = await self.retriever.ainvoke(query, {"callbacks": run_manager.get_child()})
        if not found:
            return []
        work = {"query": query, "documents": list(found)}
        return list((await self._run(limit).ainvoke(work, {"callbacks": run_manager.get_child()}))["documents"])

    def _limit(self, top_n: int | None) -> int | None:
        if top_n is None:
            return self.top_n
        if not isinstance(top_n, int) or isinstance(top_n, bool) or top_n < 1:
            raise ValueError(f"top_n is {top_n!r}; expected a whole number, 1 or more.")
        return top_n

    def _run(self, limit: int | None) -> RunnableLambda[Work, Work]:
        def judge(work: Work) -> Work:
            return self._judge(work["query"], work["documents"], limit)

        async def ajudge(work: Work) -> Work:
            return await away(judge, work)

        parts = [type(part).__name__ for part in (self.reranker, self.guard) if part is not None]
        return RunnableLambda(judge, ajudge, name="+".join(parts))

    def _judge(self, query: str, documents: list[Document], limit: int | None) -> Work:
        guard: Guard | Logged[Verdict] | None = None if self.guard is None else self.guard._noun()
        rerank: Reranker | None = None if self.reranker is None else self.reranker._noun()
        texts = [page_content(document) for document in documents]
        if isinstance(guard, Guard) and rerank is not None and rerank.text is None:
            plan = GuardedReranker(replace(rerank, text=page_content), guard, self.on_broken)
            found = _found(plan(query, documents, prior=self._prior(documents), top_k=limit))
        else:
            found = self._in_turn(query, documents, texts, (rerank, guard), limit)
        kept = [self._copy(documents[one.index], one, rank + 1) for rank, one in enumerate(found.kept)]
        dropped = [self._copy(documents[one.index], one, None) for one in found.dropped]
        return {
            "documents": kept,
            "dropped": dropped,
            "kept": [asdict(one) for one in found.kept],
            "broken": [asdict(one) for one in found.dropped],
            "unjudged": [asdict(one) for one in found.unjudged],
        }

    def _in_turn(
        self,
        query: str,
        documents: list[Document],
        texts: list[str],
        nouns: tuple[Reranker | None, Guard | Logged[Verdict] | None],
        limit: int | None,
    ) -> Found:
        """The guard's verdicts, and then a ranking of those that may stay."""
        rerank, guard = nouns
        verdicts = [None] * len(texts) if guard is None else guard.many(texts)
        out = [self.on_broken == "drop" and verdict is not None and verdict.blocks for verdict in verdicts]
        left = [i for i, dropped in enumerate(out) if not dropped]
        kept = [Judged(i, None, verdicts[i]) for i in left][:limit]
        if rerank is not None:
            rest = [documents[i] for i in left]
            read = rerank if rerank.text is not None else replace(rerank, text=page_content)
            hits = read(query, rest, prior=self._prior(rest), top_k=limit)
            kept = [Judged(left[h.index], replace(h, index=left[h.index]), verdicts[left[h.index]]) for h in hits]
        return Found(kept, [Judged(i, None, verdicts[i]) for i, dropped in enumerate(out) if dropped])

    def _prior(self, documents: list[Document]) -> list[float] | None:
        return None if self.reranker is None else first_stage(documents, self.reranker.prior_key)

    def _copy(self, document: Document, judged: Judged, rank: int | None) -> Document:
        metadata: dict[str, Any] = {}
        if judged.hit is not None and rank is not None:
            metadata |= relevance(judged.hit, rank)
        if judged.verdict is not None:
            metadata |= guarded(document, judged.verdict)
            if rank is None or self.on_broken == "flag":
                metadata["guard_broken"] = list(judged.verdict.broken)
        return annotated(document, metadata)


def _found(retrieved: Retrieved) -> Found:
    kept, dropped = (
        [Judged(p.hit.index, p.hit, p.verdicts["guard"]) for p in passages]
        for passages in (retrieved.kept, retrieved.dropped)
    )
    return Found(kept, dropped, retrieved.unjudged)
