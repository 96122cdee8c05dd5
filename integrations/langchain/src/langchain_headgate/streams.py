"""Guard an answer while a model writes it, and stop the model where it goes wrong."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import InstanceOf, field_validator

from headgate import StreamEvent, StreamGuard
from headgate.hosting import away, ended, ending
from langchain_headgate._chunks import aguarded, guarded, judged, words
from langchain_headgate._gates import AsyncGate, Gate
from langchain_headgate._lazy import STRICT
from langchain_headgate._parts import Chunk
from langchain_headgate._quiet import NOT_STREAMED, aquiet, handlers, quiet, unheard
from langchain_headgate._runnable import Batched
from langchain_headgate._stream_rules import StreamRules

Model = TypeVar("Model", bound=Runnable[Any, Any])


class HeadgateStreamGuard(StreamRules, Batched[Chunk, Chunk]):
    """Pass an answer on sentence by sentence, each once it was judged; a broken rule stops the model.

    ```python
    from langchain_core.output_parsers import StrOutputParser
    from langchain_headgate import HeadgateStreamGuard

    guard = HeadgateStreamGuard(forbid=["toxicity:toxic"], refusal="I'd rather not say that.")
    chain = prompt | model | guard | StrOutputParser()
    quiet = prompt | guard.around(model) | StrOutputParser()
    ```

    Put it directly behind the model: a step between, such as a StrOutputParser, reads the model to its end when the
    guard stops. What the model is stopped by is a GeneratorExit, which its own run is traced with. Callbacks and
    ``astream_events`` show what every step writes, so also what the model wrote and the guard held back; where a
    reader sees those, use :meth:`around`, which runs the model without callbacks.

    It takes texts, ``AIMessageChunk``s and ``AIMessage``s. The chunks that come out are the model's own, with their
    ids. Usage, images and the like wait in their order. Tool calls, and all after the first, wait for the end, and are
    dropped where the text is halted; their arguments are not judged. What was not simply released is noted in
    ``response_metadata["guard_events"]``: a list of action, span and verdict. ``invoke`` and ``batch`` judge whole
    answers, all of a batch in one call, and give the same text.

    Args:
        model, family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid, threshold, unreadable, on_overflow, config: As in :class:`HeadgateGuard`.
        language: Of the answer, as an ISO code, for where sentences end.
        on_broken: What becomes of a sentence that breaks a rule: "release", "annotate", "redact" or "halt"; by rule, a
            rule without a policy halts.
        replacement: Stands for the words of a redacted sentence.
        context: How many sentences that were let through are judged with the next one.
        lookahead: The end of a sentence is final when so many further characters don't move it.
        max_held: A sentence without an end is cut at so many characters.
        refusal: What is said where an answer is halted; None says nothing.
        reasoning: "judge" reads a model's reasoning as it does its text and shows it whole or not at all; "drop"
            leaves it out.
        guard: A ready ``headgate.StreamGuard``, in place of all but the last two; only it may have a budget, which
            only asynchronous streams keep.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
        MissingExtraError: sentencex is not installed.
    """

    model_config = STRICT

    def around(self, model: Runnable[Any, Any]) -> "HeadgateGuardedModel":
        """The model with this guard, as one step in which nothing but the guard sees what the model writes.

        Neither callbacks nor ``astream_events`` nor a graph's event stream show more than comes out; so the model has
        no run of its own in the trace.

        Args:
            model: A chat model, or a chain that ends in one.

        Raises:
            ValueError: The model has handlers of its own.
        """
        return HeadgateGuardedModel(guard=self, model=model)

    def transform(self, input: Iterator[Chunk], config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Chunk]:
        """Guard a stream; halted, closed or failed, it closes what it reads from."""
        gate = Gate(input)

        def show(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
            return guarded(self._noun(), gate.behind(chunks), self._manner)

        shown = self._transform_stream_with_config(gate, show, config, **kwargs)
        try:
            # Not "yield from": a close() would end the host's generator first, which reads its input to the end.
            for chunk in shown:  # noqa: UP028
                yield chunk
        finally:
            gate.close()
            shown.close()  # type: ignore[attr-defined]  # a generator, though it says Iterator

    async def atransform(
        self, input: AsyncIterator[Chunk], config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Chunk]:
        """As :meth:`transform`, off the event loop."""
        gate = AsyncGate(input)

        async def show(chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
            guard = await away(self._noun)
            async for chunk in aguarded(guard, gate.behind(chunks), self._manner):
                yield chunk

        shown = self._atransform_stream_with_config(gate, show, config, **kwargs)
        try:
            async for chunk in shown:
                yield chunk
        finally:
            await gate.aclose()
            await ended(shown)

    def stream(self, input: Chunk, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Chunk]:
        """A whole answer in sentences."""
        return self.transform(iter([input]), config, **kwargs)

    async def astream(self, input: Chunk, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Chunk]:
        """As :meth:`stream`, off the event loop."""

        async def one() -> AsyncIterator[Chunk]:
            yield input

        async for chunk in self.atransform(one(), config, **kwargs):
            yield chunk

    def _read(self, value: Chunk) -> str:
        return words(value, self._manner)

    def _judge(self, read: list[str]) -> list[list[StreamEvent]]:
        guard: StreamGuard = self._noun()
        return guard.many(read)

    def _answer(self, value: Chunk, result: Sequence[StreamEvent]) -> Chunk:
        return judged(value, result, self._manner)


class HeadgateGuardedModel(RunnableSerializable[Any, Chunk]):
    """A model and a stream guard in one step; made by :meth:`HeadgateStreamGuard.around`.

    Args:
        guard: Judges what the model writes.
        model: Runs without callbacks, so that nobody else sees it.

    Raises:
        ValueError: The model has handlers of its own.
    """

    model_config = STRICT

    guard: HeadgateStreamGuard
    model: InstanceOf[Runnable[Any, Any]]

    @field_validator("model")
    @classmethod
    def _unheard(cls, model: Model) -> Model:
        if handlers(model):
            raise ValueError(
                "the model has callbacks of its own, which would hear what is held back; expected none: give them to "
                "the guarded model, guard.around(model).with_config(callbacks=[…])."
            )
        return model

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True, as far as the model is."""
        return True

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Chunk:
        """The model's whole answer, judged; keyword arguments are the model's."""
        return self._call_with_config(self._one, input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Chunk:
        """As :meth:`invoke`."""
        return await self._acall_with_config(self._aone, input, config, **kwargs)

    def batch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Chunk]:
        """All answers, judged in one call."""
        return self._batch_with_config(self._many, inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[Any],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Chunk]:
        """As :meth:`batch`."""
        return await self._abatch_with_config(
            self._amany, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Chunk]:
        """The answer in sentences, each once it was judged; a broken rule stops the model."""
        return self._transform_stream_with_config(iter([input]), self._shown, config, **kwargs)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Chunk]:
        """As :meth:`stream`."""

        async def one() -> AsyncIterator[Any]:
            yield input

        async for chunk in self._atransform_stream_with_config(one(), self._ashown, config, **kwargs):
            yield chunk

    def _one(self, value: Any, run_manager: Any, config: RunnableConfig, **kwargs: Any) -> Chunk:
        with unheard():
            answer = self.model.invoke(value, _alone(config), **kwargs)
        return _raised(self._judged([answer]))

    async def _aone(self, value: Any, run_manager: Any, config: RunnableConfig, **kwargs: Any) -> Chunk:
        with unheard():
            answer = await self.model.ainvoke(value, _alone(config), **kwargs)
        return _raised(await away(self._judged, [answer]))

    def _many(self, values: list[Any], run_manager: Any, config: list[RunnableConfig], **kwargs: Any) -> list[Any]:
        alone = [_alone(one) for one in config]
        with unheard():
            answers = self.model.batch(values, alone, return_exceptions=True, **kwargs)
        return self._judged(answers)

    async def _amany(
        self, values: list[Any], run_manager: Any, config: list[RunnableConfig], **kwargs: Any
    ) -> list[Any]:
        alone = [_alone(one) for one in config]
        with unheard():
            answers = await self.model.abatch(values, alone, return_exceptions=True, **kwargs)
        return await away(self._judged, answers)

    def _judged(self, answers: list[Any]) -> list[Any]:
        judged = iter(self.guard._many([a for a in answers if not isinstance(a, Exception)]))
        return [a if isinstance(a, Exception) else next(judged) for a in answers]

    def _shown(self, values: Iterator[Any], run_manager: Any, config: RunnableConfig, **kwargs: Any) -> Iterator[Chunk]:
        for value in values:
            written = quiet(self.model.stream(value, _alone(config), **kwargs))
            yield from guarded(self.guard._noun(), written, self.guard._manner)

    async def _ashown(
        self, values: AsyncIterator[Any], run_manager: Any, config: RunnableConfig, **kwargs: Any
    ) -> AsyncIterator[Chunk]:
        guard = await away(self.guard._noun)
        async for value in values:
            written = aquiet(self.model.astream(value, _alone(config), **kwargs))
            async with ending(aguarded(guard, written, self.guard._manner)) as shown:
                async for chunk in shown:
                    yield chunk


def _raised(answers: list[Any]) -> Chunk:
    (answer,) = answers
    if isinstance(answer, Exception):
        raise answer
    found: Chunk = answer
    return found


def _alone(config: RunnableConfig) -> RunnableConfig:
    """A child's config that no callback hears of."""
    return {**config, "callbacks": [], "tags": [*config.get("tags", []), NOT_STREAMED]}
