"""Scorers on one encoder, asked in one call: a row goes through it once, and every number stays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from headgate import (
    Ask,
    Calibration,
    Guard,
    GuardedReranker,
    Panel,
    Reader,
    Reranker,
    Router,
    Scores,
    StateCache,
    Worker,
    load,
)
from headgate.families.base import Family
from headgate.passes import judge_all
from headgate.train import fit_heads
from tests import tiny
from tests.families.test_gliclass import save
from tests.families.test_isolated import APART

HEADS: dict[str, Any] = {
    "mood": {"labels": ["good", "bad", "none"], "type": "single"},
    "rude": {"labels": ["rude"], "type": "multi"},
}
SIZES = {"mood": 3, "rude": 1}
MOODS = ["mood:good", "mood:bad", "mood:none"]
PARTS = {
    "heads": {"family": "multi_head", "heads": HEADS, "max_length": 40},
    "route": {"family": "late_interaction", "maxsim": 2.0, "cosine": 1.0},
    "embed": {"family": "bi_encoder"},
    "other": {"family": "bi_encoder", "pooling": "cls"},
}
LABELS = ["password reset", "soil"]


@pytest.fixture(params=["mean", "cls"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    tiny.multi_head(tmp_path, SIZES, heads=HEADS)
    settings = {"pooling": request.param, "parts": PARTS}
    (tmp_path / "scorer.json").write_text(json.dumps(settings))
    return tmp_path


def part(folder: Path, name: str, **more: Any) -> Family:
    return load(folder / name, device="cpu", dtype="float32", **more)


def asks(name: str, texts: list[str]) -> list[Ask]:
    if name == "heads":
        return [Ask(texts, MOODS), Ask(texts, ["rude:rude", "good"])]
    return [Ask(texts, LABELS)]


def same(found: Scores, alone: Scores) -> None:
    np.testing.assert_allclose(found.log_odds, alone.log_odds, atol=1e-5)
    for name in ("windows", "spans", "tokens", "unknown", "empty"):
        np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
    assert (found.meaning, found.exclusive) == (alone.meaning, alone.exclusive)


@pytest.mark.parametrize("names", [("heads", "route"), ("route", "heads", "embed"), ("embed", "heads")])
@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: s.cached(), Calibration(scale=2.0).on], ids=["", "cached", "calibrated"]
)
def test_the_numbers_of_each_alone(folder: Path, names: tuple[str, ...], wrap: Callable[[Any], Any]) -> None:
    scorers = {name: wrap(part(folder, name)) for name in names}
    texts = [*tiny.TEXTS, "  ", tiny.TEXTS[0]]
    found = judge_all([(scorers[name], asks(name, texts)) for name in names])
    for name, own in zip(names, found, strict=True):
        expected = judge_all([(wrap(part(folder, name)), asks(name, texts))])[0]
        for a, b in zip(own, expected, strict=True):
            same(a, b)


def test_a_row_goes_through_the_encoder_once(folder: Path) -> None:
    heads, route, embed = (part(folder, name) for name in ("heads", "route", "embed"))
    texts = [tiny.TEXTS[0], tiny.TEXTS[1], tiny.TEXTS[0]]
    judge_all([(s, asks(n, texts)) for s, n in ((heads, "heads"), (route, "route"), (embed, "embed"))])
    assert heads.work.rows == 2  # the texts
    assert route.work.rows == len(LABELS)
    assert embed.work.rows == 0  # its labels are those of the router


def test_windows_of_another_length_are_rows_of_their_own(folder: Path) -> None:
    heads, route = part(folder, "heads"), part(folder, "route")
    long = "the pump is broken. " * 10  # one window of 64 tokens, two of 40
    found = judge_all([(heads, asks("heads", [long])), (route, asks("route", [long]))])
    assert (found[0][0].windows[0, 0], found[1][0].windows[0, 0]) == (2, 1)
    assert (heads.work.rows, route.work.rows) == (2, len(LABELS) + 1)


def test_another_pooling_shares_nothing_and_is_right(folder: Path) -> None:
    heads, other = part(folder, "heads"), part(folder, "other")
    found = judge_all([(heads, asks("heads", tiny.TEXTS[:2])), (other, asks("other", tiny.TEXTS[:2]))])
    same(found[1][0], part(folder, "other").score(tiny.TEXTS[:2], LABELS))


def test_a_call_leaves_nothing_behind(folder: Path) -> None:
    heads, route = part(folder, "heads"), part(folder, "route")
    asked = [(heads, asks("heads", tiny.TEXTS)), (route, asks("route", tiny.TEXTS))]
    judge_all(asked)
    once = heads.work.rows
    judge_all(asked)
    assert heads.work.rows == 2 * once
    assert heads.score(tiny.TEXTS, MOODS).log_odds.shape == (len(tiny.TEXTS), 3)


def test_a_panel_of_heads_router_and_guard(folder: Path) -> None:
    heads, route = part(folder, "heads"), part(folder, "route")
    calibrated = Calibration(scale=1.0).on(route)
    members = {
        "guard": Guard(heads, ["rude:rude"], threshold=0.5),
        "mood": Router(heads, MOODS),
        "moods": Reader(heads, MOODS),
        "route": Router(calibrated, LABELS),
    }
    texts = [tiny.TEXTS[0], tiny.TEXTS[1], "", tiny.TEXTS[5]]
    before = heads.work.rows + route.work.rows
    found = Panel(members).many(texts)
    assert heads.work.rows + route.work.rows - before == len(texts) + len(LABELS)
    for name, task in members.items():
        for one, alone in zip([f[name] for f in found], task.many(texts), strict=True):
            assert getattr(one, "choice", None) == getattr(alone, "choice", None)
            assert one.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


def test_a_guarded_reranker_reads_a_document_once(folder: Path) -> None:
    heads, route = part(folder, "heads"), part(folder, "route")
    guard = Guard(heads, ["rude:rude"], threshold=0.5)
    documents = [tiny.TEXTS[0], tiny.TEXTS[1], tiny.TEXTS[5]]
    found = GuardedReranker(Reranker(route), guard)("soil", documents)
    assert heads.work.rows + route.work.rows == len(documents) + 1
    allowed = [i for i, d in enumerate(documents) if guard(d).allowed]
    alone = Reranker(route)("soil", [documents[i] for i in allowed])
    assert [p.hit.index for p in found.kept] == [allowed[h.index] for h in alone]
    assert [p.hit.log_odds for p in found.kept] == pytest.approx([h.log_odds for h in alone], abs=1e-5)


def test_one_model_loaded_twice_is_one(folder: Path) -> None:
    one, two = part(folder, "heads"), part(folder, "heads")
    judge_all([(s, asks("heads", tiny.TEXTS[:2])) for s in (one, two)])
    assert (one.work.rows, two.work.rows) == (2, 0)


def test_shared_by_a_worker_they_share_rows_too(folder: Path) -> None:
    worker = Worker(wait=0)
    heads, route = part(folder, "heads").shared(worker), part(folder, "route").shared(worker)
    found = judge_all([(heads, asks("heads", tiny.TEXTS[:2])), (route, asks("route", tiny.TEXTS[:2]))])
    same(found[0][0], part(folder, "heads").score(tiny.TEXTS[:2], MOODS))
    same(found[1][0], part(folder, "route").score(tiny.TEXTS[:2], LABELS))
    assert (heads.work.rows, route.work.rows) == (2, len(LABELS))
    worker.close()


# ------------------------------------------------------------------------------------- prompts


def test_isolated_labels_of_several_asks_take_one_row_a_text(tmp_path: Path) -> None:
    save(tmp_path, tiny.tokenizer("bert"), **APART)
    scorer = load(tmp_path, device="cpu", dtype="float32")
    texts = [tiny.TEXTS[0], tiny.TEXTS[1], "", "is the invoice wrong or was the pump paid twice? " * 8]
    wanted = [Ask(texts, ["soil", "password reset"]), Ask(texts, ["the fox", "soil"]), Ask(texts[:1], ["soil"])]
    (found,) = judge_all([(scorer, wanted)])
    together = scorer.work.rows
    for ask, one in zip(wanted, found, strict=True):
        same(one, load(tmp_path, device="cpu", dtype="float32").score(ask.texts, ask.labels))
    windows = int(found[0].windows[:, 0].sum())
    assert together == windows + 1  # the third ask is of other texts


def test_joint_prompts_are_never_one(tmp_path: Path) -> None:
    save(tmp_path, tiny.tokenizer("bert"))
    scorer = load(tmp_path, device="cpu", dtype="float32")
    assert scorer.joint
    wanted = [Ask(tiny.TEXTS[:2], ["soil", "password reset"]), Ask(tiny.TEXTS[:2], ["the fox", "soil"])]
    (found,) = judge_all([(scorer, wanted)])
    assert scorer.work.rows == 4
    for ask, one in zip(wanted, found, strict=True):
        same(one, load(tmp_path, device="cpu", dtype="float32").score(ask.texts, ask.labels))


# ------------------------------------------------------------------------------- from call to call


def test_a_query_that_was_embedded_is_routed_and_ranked_without_another_pass(folder: Path) -> None:
    states = StateCache()
    embed, heads, route = (part(folder, name).remembering(states) for name in ("embed", "heads", "route"))
    query, documents = tiny.TEXTS[0], [*tiny.TEXTS] * 3
    vectors = embed.embed([query], role="query")
    np.testing.assert_allclose(vectors, part(folder, "embed").embed([query], role="query"), atol=1e-6)
    same(heads.score([query], MOODS), part(folder, "heads").score([query], MOODS))
    assert (embed.work.rows, heads.work.rows) == (1, 0)
    plain = part(folder, "route")
    same(route.score(documents, [query]), plain.score(documents, [query]))
    assert route.work.rows == plain.work.rows - 1
    calibrated = Calibration(scale=2.0).on(part(folder, "heads")).remembering(states)
    calibrated.score([query], MOODS)
    assert calibrated.scorer.work.rows == 0


def test_documents_are_embedded_without_a_trace(folder: Path) -> None:
    states = StateCache()
    embed = part(folder, "embed").remembering(states)
    embed.embed(tiny.TEXTS[:2], role="document")
    embed.embed(tiny.TEXTS[:2], role="document")
    assert (embed.work.rows, len(states._kept)) == (4, 0)


def test_heads_of_another_folder_on_the_same_encoder(folder: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "label": label} for text, label in zip(tiny.TEXTS[:4], ["a", "b"] * 2, strict=True)]
    saved = fit_heads(folder / "embed", rows, tmp_path / "out", l2=0.1, device="cpu")
    kept = fit_heads(folder / "embed", rows, l2=0.1, device="cpu")
    states = StateCache()
    embed = load(folder / "embed", device="cpu").remembering(states)
    embed.embed([tiny.TEXTS[0]], role="query")
    for scorer in (saved, kept):
        before, twin = scorer.work.rows, scorer.remembering(states)
        found = twin.score([tiny.TEXTS[0]], ["a", "b"])
        assert twin.work.rows == before
        same(found, scorer.score([tiny.TEXTS[0]], ["a", "b"]))


def test_an_encoder_with_one_other_weight_is_another(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    copied.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (copied / path.name).write_bytes(path.read_bytes())
    one, twin = (load(where / "embed", device="cpu", dtype="float32") for where in (folder, copied))
    tensors = load_file(copied / "model.safetensors")
    name = next(k for k in tensors if k.startswith("backbone.") and "layer.0" in k)
    tensors[name].view(-1)[-1] += 1e-3
    save_file(tensors, copied / "model.safetensors", metadata={"format": "pt"})
    other = load(copied / "embed", device="cpu", dtype="float32")
    encoders = [s._core.forward.reads.encoder for s in (one, twin, other)]
    assert encoders[0] is encoders[1]
    assert encoders[2] is not encoders[0]
