"""Keep nodes out that break a rule."""

from dataclasses import asdict
from typing import Any, ClassVar

from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Guard, Label, Logged, Rule, Scorer, Verdict
from headgate.hosting import away
from llama_index.postprocessor.headgate._shared import STRICT, Lazy, dispatcher


class NodeGuardEvent(BaseEvent):
    """What a guard found in the nodes that came in, dropped ones too.

    Args:
        nodes: The nodes that came in.
        verdicts: For each, a ``headgate.Verdict`` as a dict.
    """

    nodes: list[NodeWithScore]
    verdicts: list[dict[str, Any]]

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this event."""
        return "NodeGuardEvent"


class HeadgateNodeGuard(Lazy, BaseNodePostprocessor):
    """Drop nodes that break the rules, such as injected instructions.

    ```python
    from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank

    guard = HeadgateNodeGuard(forbid=["injection:injection"])
    index.as_query_engine(node_postprocessors=[guard, HeadgateRerank(top_n=5)])
    ```

    The rest keep their order and scores, in new ``NodeWithScore``. What is judged is what an LLM
    would read: the text with the metadata that the node shows to LLMs; a node without text, such as
    an image, passes. Emits NodeGuardEvent with the verdict on every node. Needs no query.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call. "mini/heads"
            brings thresholds for its own labels; rules in words of your own want "mini/nli".
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid: Labels, or rule name -> label, ``headgate.Label`` or ``headgate.Rule``.
        threshold: Probability from which a rule is broken, for the rules that bring none.
        unreadable: Share of unknown tokens above which a node is dropped.
        metadata_mode: Which metadata is read with the text: "llm" (what the node shows to LLMs), "embed", "all" or
            "none".
        guard: A ready ``headgate.Guard``, or one that is ``headgate.Logged``, in place of all but ``metadata_mode``.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "guard"
    _beside: ClassVar[frozenset[str]] = frozenset({"metadata_mode"})

    model: str = "mini/heads"
    forbid: list[str] | dict[str, Rule | Label | str] | None = None
    threshold: float | None = None
    unreadable: float = 0.5
    metadata_mode: MetadataMode = MetadataMode.LLM
    guard: SkipJsonSchema[InstanceOf[Guard] | InstanceOf[Logged[Verdict]] | None] = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class in saved data."""
        return "HeadgateNodeGuard"

    def _make(self, scorer: Scorer) -> Guard:
        return Guard(scorer, self.forbid or [], self.threshold, self.unreadable)

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if not nodes:
            return []
        guard: Guard | Logged[Verdict] = self._noun()
        verdicts = guard.many([n.node.get_content(metadata_mode=self.metadata_mode) for n in nodes])
        dispatcher.event(NodeGuardEvent(nodes=nodes, verdicts=[asdict(v) for v in verdicts]))
        kept = [n for n, v in zip(nodes, verdicts, strict=True) if not v.blocks]
        return [NodeWithScore(node=n.node, score=n.score) for n in kept]

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return await away(self._postprocess_nodes, nodes, query_bundle)
