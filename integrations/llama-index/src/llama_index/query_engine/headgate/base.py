"""A query engine whose questions and answers a guard reads."""

from dataclasses import replace
from typing import Any, ClassVar

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.bridge.pydantic import model_validator
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import QueryBundle
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import StreamGuard
from headgate.hosting import away
from llama_index.postprocessor.headgate._shared import STRICT
from llama_index.query_engine.headgate.guards import Guards, Turn, lines_of


class HeadgateQueryEngine(Guards, BaseQueryEngine):
    """Guard what goes into a query engine and what comes out, streams too.

    ```python
    from llama_index.query_engine.headgate import HeadgateQueryEngine

    guarded = HeadgateQueryEngine(query_engine=engine, forbid_input=["injection"], forbid_output=["toxic"])
    ```

    A question that breaks a rule never reaches the engine. An answer is judged sentence by sentence: each is held back
    until its verdict is in, and a broken one stops the model; the refusal follows what was shown before. Answers in
    one piece are treated the same, so all four ways to ask show the same text. A structured answer can't be shown in
    part and is refused whole; what is judged of it is a line for each value, with its name. ``metadata["headgate"]``
    has the verdicts (a stream fills them in), source nodes stay,
    and TextGuardEvent tells them as they come.

    Args:
        query_engine: Any query engine.
        model: A folder, a Hub id or a part of the default, for both guards; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid_input: Rules for the question, as in ``headgate.Guard``.
        forbid_output: Rules for the answer. Sentences are found with the extra "sentences".
        threshold: Probability from which a rule is broken, for the rules that bring none.
        unreadable: Share of unknown tokens above which a text is blocked.
        on_broken, replacement, context, lookahead, max_held: As in ``headgate.StreamGuard``.
        language: Of the answers, for finding sentences: "en", "de".
        refusal: What is said in place of a blocked question's answer, and after what was shown of a blocked answer.
        streaming: Whether a blocked question gets a streaming response; None: as the engine's synthesizer does.
        input_guard: A ready ``headgate.Guard``, or one that is ``headgate.Logged``, in place of ``forbid_input``.
        output_guard: A ready ``headgate.StreamGuard``, or a ``headgate.Guard``, in place of ``forbid_output``. A budget
            is kept by asynchronous streams alone; the others refuse it.

    Raises:
        ValueError: No rules; a ready guard and its scalars together.
    """

    model_config = STRICT
    _held: ClassVar[tuple[str, ...]] = ("input_guard", "query_engine")

    query_engine: SkipJsonSchema[InstanceOf[BaseQueryEngine]]
    streaming: bool | None = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class."""
        return "HeadgateQueryEngine"

    @model_validator(mode="before")
    @classmethod
    def _shared_callbacks(cls, data: Any) -> Any:
        engine = data.get("query_engine") if isinstance(data, dict) else None
        if isinstance(engine, BaseQueryEngine):
            return {"callback_manager": engine.callback_manager, **data}
        return data

    def _get_prompt_modules(self) -> PromptMixinType:
        return {"query_engine": self.query_engine}

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        turn = self.asked(query_bundle.query_str)
        if not turn.refused:
            return self._guarded(self.query_engine.query(query_bundle), turn)
        if self._streams:
            return StreamingResponse(_once(self.refusal), metadata=turn.metadata(None))
        return Response(self.refusal, metadata=turn.metadata(None))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        turn = await away(self.asked, query_bundle.query_str)
        if not turn.refused:
            return await away(self._guarded, await self.query_engine.aquery(query_bundle), turn)
        if self._streams:
            return AsyncStreamingResponse(_aonce(self.refusal), metadata=turn.metadata(None))
        return Response(self.refusal, metadata=turn.metadata(None))

    @property
    def _streams(self) -> bool:
        synthesizer = getattr(self.query_engine, "_response_synthesizer", None)
        return bool(getattr(synthesizer, "_streaming", False)) if self.streaming is None else self.streaming

    def _guarded(self, response: RESPONSE_TYPE, turn: Turn) -> RESPONSE_TYPE:
        guard, metadata = self.output(), turn.metadata(response.metadata)
        if guard is None:
            return replace(response, metadata=metadata)
        if isinstance(response, PydanticResponse):
            return self._structured(response, guard, turn)
        if isinstance(response, Response):
            text = None if response.response is None else self.text(guard, response.response, turn)
            return replace(response, response=text, metadata=metadata)
        if response.response_txt is not None:  # a stream that somebody has read
            text = self.text(guard, response.response_txt, turn)
            return replace(response, response_txt=text, metadata=metadata)
        if isinstance(response, AsyncStreamingResponse):
            return replace(response, response_gen=self.atexts(guard, response.response_gen, turn), metadata=metadata)
        return replace(response, response_gen=self.texts(guard, response.response_gen, turn), metadata=metadata)

    def _structured(self, response: PydanticResponse, guard: StreamGuard, turn: Turn) -> RESPONSE_TYPE:
        metadata = turn.metadata(response.metadata)
        if response.response is not None:
            self.text(guard, "".join(lines_of(response.response.model_dump(mode="json"))), turn)
        if any(sentence["action"] in ("redact", "halt") for sentence in turn.report["output"]):
            turn.report["refused"] = "output"
            return Response(self.refusal, source_nodes=response.source_nodes, metadata=metadata)
        return replace(response, metadata=metadata)


def _once(text: str) -> Any:
    yield text


async def _aonce(text: str) -> Any:
    yield text
