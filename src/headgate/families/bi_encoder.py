"""Sentence encoders: vectors for FAISS, and their cosine as a score.

Text and label are encoded apart, so both can be kept. A cosine is an order until it is calibrated.

Source: Reimers & Gurevych, "Sentence-BERT", 2019 (arXiv:1908.10084); the folder layout is that of
huggingface/sentence-transformers v5.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

import numpy as np

from headgate.errors import CheckpointError, LabelTooLongError
from headgate.families.base import Core, Encoder, Family, core
from headgate.families.folding import Spot, strongest
from headgate.families.portions import CHARACTERS, portions
from headgate.models.calls import multi_head, sentence_vectors
from headgate.models.checkpoint import Checkpoint, module_kinds, read_json, read_json_list
from headgate.models.multi_head import Pooling
from headgate.runtime.batching import Forward, Row
from headgate.runtime.state_cache import unkept
from headgate.runtime.tokenizer import Encoded
from headgate.runtime.windows import cut
from headgate.scores import Ask, Floats, Scores, as_label

Role = Literal["query", "document"]


class BiEncoder(Family):
    """A :class:`headgate.Embedder`, and a scorer by cosine: the label is the query.

    Args:
        parts: Tokenizer and forward (rows to (hidden,) vectors).
        prompts: What is put in front of a "query" or "document".
    """

    def __init__(self, parts: Core, prompts: Mapping[str, str] | None = None) -> None:
        super().__init__(parts)
        self._prompts = dict(prompts or {})

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A sentence-transformers folder, or a part of a multi-part one."""
        pooling, prompts = pooling_and_prompts(checkpoint)
        model = multi_head(checkpoint, {}, pooling)
        forward = checkpoint.forward(sentence_vectors(model), model)
        return cls(core(checkpoint, forward, template="{}", identity=(pooling, prompts)), prompts)

    def embed(self, texts: Sequence[str], *, role: Role) -> Floats:
        """(n, d) float32 unit rows, in order; a long text is the mean of its windows.

        Args:
            texts: What to embed.
            role: "query" or "document": some models put a prompt in front.
        """
        if isinstance(texts, str):
            raise TypeError(f"texts is a str; expected a list of strings: pass [{texts[:20]!r}].")
        wrong = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            raise TypeError(f"text {wrong} is {type(texts[wrong]).__name__}; expected str: pass its words.")
        if role not in ("query", "document"):
            raise ValueError(f'role is {role!r}; expected "query" or "document".')
        parts = [part.texts for portion in portions([Ask(texts, [])], CHARACTERS) for _, part in portion]
        return np.concatenate([self._vectors(part, role) for part in parts])

    def _vectors(self, texts: Sequence[str], role: Role) -> Floats:
        """(n, d) unit rows, in one batch plan."""
        encoder = Encoder(self._core.tokenizer)
        prompt = self._prompts.get(role, "")
        encoder.add([prompt, *texts])
        rows, owner = [], []
        for i, text in enumerate(texts):
            for window in cut(encoder[text], self._room_for_text(encoder[prompt])):
                rows.append(self._row(encoder[prompt], window.ids))
                owner.append(i)
        vectors = self._unit(rows, self._core.forward if role == "query" else unkept(self._core.forward))
        out = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
        np.add.at(out, np.array(owner, dtype=np.int64), vectors)
        return _normalized(out)

    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        encoder = self._encoder(asks)
        prompts = {role: self._prompts.get(role, "") for role in ("query", "document")}
        encoder.add([*prompts.values(), *(self._render(label) for ask in asks for label in ask.labels)])
        document, query = encoder[prompts["document"]], encoder[prompts["query"]]
        rows: list[Row] = []
        spots: list[Spot] = []
        pairs: list[tuple[int, int]] = []
        for k, ask in enumerate(asks):
            self._entailment_only(ask.labels)
            first = len(rows)
            rows += [self._whole(query, encoder[self._render(x)], as_label(x).text) for x in ask.labels]
            for i, text in enumerate(ask.texts):
                for ids, span, _ in cut(encoder[text], self._room_for_text(document)):
                    for j in range(len(ask.labels)):
                        pairs.append((len(rows), first + j))
                        spots.append(Spot(k, i, j, span))
                    rows.append(self._row(document, ids))
        vectors = self._unit(rows, self._core.forward)
        at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        cosines = np.einsum("pd,pd->p", vectors[at[:, 0]], vectors[at[:, 1]])
        return strongest(asks, encoder, spots, cosines.tolist(), "order")

    def _whole(self, prompt: Encoded, label: Encoded, words: str) -> Row:
        room = self._room_for_text(prompt)
        if len(label.ids) > room:
            raise LabelTooLongError(
                f"label {words[:60]!r}… has {len(label.ids)} tokens; expected at most {room}, since labels are "
                'never cut. Shorten it, or rank with Reranker(…, long_query="windows").'
            )
        return self._row(prompt, label.ids)

    def _room_for_text(self, prompt: Encoded) -> int:
        return self._core.max_length - self._core.tokenizer.single.size - len(prompt.ids)

    def _row(self, prompt: Encoded, ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Row:
        return self._core.tokenizer.single.row(np.concatenate([prompt.ids, ids]), types=self._core.types)

    def _unit(self, rows: Sequence[Row], forward: Forward) -> Floats:
        if not rows:
            return np.zeros((0, 0), dtype=np.float32)
        return _normalized(np.stack(forward(rows)))


def _normalized(x: Floats) -> Floats:
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.maximum(norm, 1e-12), dtype=np.float32)


def pooling_and_prompts(checkpoint: Checkpoint) -> tuple[Pooling, dict[str, str]]:
    """Pooling and prompts, from scorer.json or the files of sentence-transformers."""
    if "pooling" in checkpoint.settings:
        return checkpoint.settings["pooling"], checkpoint.settings.get("prompts", {})
    modules = read_json_list(checkpoint.folder / "modules.json")
    kinds = module_kinds(checkpoint.folder)
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise CheckpointError(
            f"{checkpoint.folder} has modules {kinds}; headgate reads Transformer, Pooling, Normalize."
        )
    pooling = read_json(checkpoint.folder / modules[1]["path"] / "config.json")
    on = [k.removeprefix("pooling_mode_") for k, v in pooling.items() if k.startswith("pooling_mode_") and v is True]
    said = pooling.get("pooling_mode", on[0] if len(on) == 1 else on)  # version 6 writes one name
    how: dict[object, Pooling] = {"cls": "cls", "cls_token": "cls", "mean": "mean", "mean_tokens": "mean"}
    found = how.get(str(said))
    if found is None or pooling.get("include_prompt", True) is not True:
        raise CheckpointError(
            f"{checkpoint.folder} pools by {said!r}, include_prompt {pooling.get('include_prompt', True)}; "
            "headgate knows cls and mean, over prompt and text."
        )
    path = checkpoint.folder / "config_sentence_transformers.json"
    prompts = read_json(path).get("prompts") or {} if path.is_file() else {}
    return found, {
        "query": prompts.get("query", ""),
        "document": prompts.get("document", prompts.get("passage", "")),
    }
