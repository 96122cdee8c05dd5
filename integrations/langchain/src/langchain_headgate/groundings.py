"""Check an answer against the documents it was made from, and cite them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Claim, Grounding, HeadgateError, Scorer
from headgate.sentences import sentences
from langchain_headgate._lazy import STRICT, Lazy
from langchain_headgate._runnable import Batched, entry

PLACES = ("context", "documents")


class UngroundedError(HeadgateError):
    """A claim of an answer is not supported; the message doesn't repeat the answer.

    Attributes:
        claims: All claims of the answer, as ``headgate.Claim``s.
    """

    def __init__(self, claims: Sequence[Claim]) -> None:
        super().__init__(claims)
        self.claims = list(claims)

    def __str__(self) -> str:
        found = [f"{k} ({c.verdict})" for k, c in enumerate(self.claims) if not c.supported]
        return f"{len(found)} of {len(self.claims)} claims are not supported by the documents: {', '.join(found)}."


class HeadgateGrounding(Lazy, Batched[Mapping[str, Any], dict[str, Any]]):
    """Check every sentence of an answer against the documents, and say which words support it.

    ```python
    from langchain_headgate import HeadgateGrounding

    check = HeadgateGrounding(threshold=0.5, language="en")
    out = check.invoke({"answer": "It has a speaker.", "context": documents})
    out["supported"], out["claims"][0]["citations"]
    ```

    What comes in is a mapping that holds an answer, a text or a message, and its documents, ``Document``s or texts;
    what comes out is a copy of it with two more entries. ``supported`` is true if all claims are; an answer that claims
    nothing is supported. ``claims`` holds each ``headgate.Claim`` as a dict. Its citations also say ``document_id``,
    ``source`` (of the document's metadata) and ``quote``, the words that were cited; ``passage`` is the document's
    place in the list and ``span`` the characters of its ``page_content``. ``batch`` and ``abatch`` check all answers in
    one call.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        threshold: A claim is supported from this P(entailed) up; by default the model's own, where it has one.
        contradiction: A claim that nothing supports is contradicted from this P(contradicted) up.
        cite: "sentences" cites to the sentence, "windows" for about half the work to the passage.
        pairs: The first so many documents are also read two by two.
        literals: Numbers and quotes of a claim must occur in what supports it.
        unreadable: Share of unknown tokens above which a text supports nothing, and a claim isn't supported.
        language: Of answer and documents, as an ISO code, for where sentences end.
        answer_key: The entry that holds the answer.
        documents_key: The entry that holds the documents; by default "context" or "documents", whichever is there.
        on_unsupported: "annotate" adds the entries and no more. "raise" raises UngroundedError. "replace" puts
            ``refusal`` in the answer's place too.
        refusal: What is said instead; in the place of a message it becomes an AIMessage.
        grounding: A ready ``headgate.Grounding`` without ``text``, in place of all but ``answer_key``,
            ``documents_key``, ``on_unsupported`` and ``refusal``.

    Raises:
        ValueError: ``grounding`` and scalars together.
        MissingExtraError: sentencex is not installed.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "grounding"
    _beside: ClassVar[frozenset[str]] = frozenset({"answer_key", "documents_key", "on_unsupported", "refusal"})

    model: str = "mini/nli"
    threshold: float | None = None
    contradiction: float | None = None
    cite: Literal["sentences", "windows"] = "sentences"
    pairs: int = 0
    literals: bool = True
    unreadable: float = 0.5
    language: str = "en"
    answer_key: str = "answer"
    documents_key: str | None = None
    on_unsupported: Literal["annotate", "raise", "replace"] = "annotate"
    refusal: str = "I can't answer that from the documents."
    grounding: SkipJsonSchema[InstanceOf[Grounding] | None] = None

    def _check(self) -> None:
        super()._check()
        if self.grounding is not None and self.grounding.text is not None:
            raise ValueError(
                "grounding has a text, which reads passages; expected none: the words of a Document are its "
                "page_content, where citations count from."
            )

    def _make(self, scorer: Scorer) -> Grounding:
        return Grounding(
            scorer,
            sentences(self.language),
            self.threshold,
            self.contradiction,
            self.cite,
            self.pairs,
            self.literals,
            self.unreadable,
        )

    def _read(self, value: Mapping[str, Any]) -> tuple[str, list[Any]]:
        answer = entry(value, self.answer_key, "answer_key")
        if not isinstance(answer, str | BaseMessage):
            raise TypeError(
                f"{self.answer_key!r} of the input is {type(answer).__name__}; expected an answer, a text or a message."
            )
        documents = value[self._place(value)]
        if isinstance(documents, str) or not isinstance(documents, Sequence):
            raise TypeError(
                f"{self._place(value)!r} of the input is {type(documents).__name__}; expected a list of Documents or "
                "of texts: pass them on as they were retrieved."
            )
        return answer if isinstance(answer, str) else str(answer.text), [_passage(d) for d in documents]

    def _judge(self, read: list[Any]) -> list[Any]:
        grounding: Grounding = self._noun()
        return grounding.many([answer for answer, _ in read], [passages for _, passages in read])

    def _answer(self, value: Mapping[str, Any], result: list[Claim]) -> dict[str, Any]:
        supported = all(claim.supported for claim in result)
        if not supported and self.on_unsupported == "raise":
            raise UngroundedError(result)
        documents = value[self._place(value)]
        more = {"claims": [_told(claim, documents) for claim in result], "supported": supported}
        if supported or self.on_unsupported != "replace":
            return {**value, **more}
        answer: Any = self.refusal
        if isinstance(before := value[self.answer_key], BaseMessage):
            # The id of the answer, so that LangGraph puts the refusal in its place.
            answer = AIMessage(self.refusal, id=before.id if isinstance(before, AIMessage) else None)
        return {**value, self.answer_key: answer, **more}

    def _place(self, value: Mapping[str, Any]) -> str:
        """The entry that holds the documents."""
        if self.documents_key is not None:
            entry(value, self.documents_key, "documents_key")
            return self.documents_key
        there = [key for key in PLACES if key in value]
        if len(there) != 1:
            raise ValueError(
                f"input has {sorted(map(str, value))}; expected its documents as one of {list(PLACES)}: "
                'pass documents_key="…" to say where they are.'
            )
        return there[0]


def _passage(document: Any) -> str:
    if isinstance(document, Document):
        return document.page_content
    if isinstance(document, str):
        return document
    raise TypeError(f"a document is {type(document).__name__}; expected langchain_core Document or str.")


def _told(claim: Claim, documents: Sequence[Any]) -> dict[str, Any]:
    """A claim as data, with what its citations cite."""
    cited = []
    for one in claim.citations:
        document = documents[one.passage]
        metadata = document.metadata if isinstance(document, Document) else {}
        start, end = one.span
        more = {
            "document_id": document.id if isinstance(document, Document) else None,
            "source": deepcopy(metadata.get("source")),
            "quote": _passage(document)[start:end],
        }
        cited.append({**asdict(one), "span": [start, end], **more})
    return {**asdict(claim), "span": list(claim.span), "missing": list(claim.missing), "citations": cited}
