"""What the tasks of mini's training draw, by which weights, and what their losses are made of."""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from headgate.train.mini import examples, matching, tasks, training
from headgate.train.mini.data import NOT_ENTAILED, Examples, Query
from headgate.train.mini.labels import FEELING, FEELING_POOLS, SAID, TEMPLATES, hypothesis, say, spoken
from headgate.train.mini.matching import Names, Retrieval, departure, drift, encoded, scores
from headgate.train.mini.mixes import CLASS_MIX, GROUPS, HEAD_MIX, POOL_MIX, TRUE_OF_MUCH, pick
from headgate.train.mini.model import HEADS, Mini, Text, base_tokenizer
from headgate.train.mini.tasks import CHOICE, Heads, Labels, Nli, _told_apart
from headgate.train.mini.training import Drawn, Lesson, Settings, Steps
from tests.train.mini_data import sentence

F = torch.nn.functional
DRAWS = 4000


@pytest.fixture(scope="module")
def found(data: Path) -> Examples:
    return examples.load(data)


@pytest.fixture(scope="module")
def text(base: Path) -> Text:
    return Text(base_tokenizer(base))


@pytest.fixture
def model(base: Path, text: Text) -> Mini:
    torch.manual_seed(0)
    return Mini(base, text)


@pytest.fixture
def retrieval(text: Text) -> Retrieval:
    """Five queries, each with a positive and twelve negatives of its own."""
    rng = random.Random(3)
    texts = [sentence(rng) for _ in range(5 * 14)]
    queries = [Query(*texts[at : at + 2], tuple(texts[at + 2 : at + 14])) for at in range(0, len(texts), 14)]
    return Retrieval(Examples(queries={"nq_passages": queries}, plain=[sentence(rng) for _ in range(9)]), text, 1200)


def perturb(model: Mini) -> None:
    """Move the layers away from the base's."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.multi.backbone.parameters():
            weight.add_(0.3 * torch.randn_like(weight))


def shares(drawn: list[Any]) -> dict[Any, float]:
    return {key: number / len(drawn) for key, number in Counter(drawn).items()}


# ------------------------------------------------------------------------------------- the mixes


def test_a_source_is_drawn_by_weight_among_those_that_are_there() -> None:
    rng, mix = random.Random(0), {"a": 3.0, "absent": 10.0, "b": 1.0, "c": 4.0}
    drawn = shares([pick(rng, mix, {"a", "b", "c", "unknown"}) for _ in range(DRAWS)])
    assert drawn == pytest.approx({"a": 3 / 8, "b": 1 / 8, "c": 4 / 8}, abs=0.03)


def test_every_pool_of_labels_is_drawn_and_has_a_group(found: Examples) -> None:
    assert set(POOL_MIX) <= set(GROUPS)
    assert {name for name, *_ in examples._POOLS} | {"titles"} == set(POOL_MIX)
    assert set(found.pools) <= set(POOL_MIX)


def test_the_classes_of_a_head_are_drawn_by_their_shares(found: Examples, text: Text) -> None:
    rng, task = random.Random(0), Heads(found, text, 200)
    assert set(HEAD_MIX) == set(CLASS_MIX) == set(HEADS) - {"nli"}
    for head, wanted in CLASS_MIX.items():
        assert len(wanted) == len(HEADS[head])
        drawn = shares([task._item(rng, head)[1] for _ in range(DRAWS)])
        assert drawn == pytest.approx(dict(enumerate(wanted)), abs=0.03), head


def test_a_step_adds_the_losses_by_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "WEIGHTS_OF", {"a": 2.0, "b": 0.5, "idle": 100.0})
    some = {name: SimpleNamespace(loss=lambda _, batch: torch.tensor(batch)) for name in ("a", "b", "idle")}
    lesson = Lesson(SimpleNamespace(maxsim=torch.zeros(())), some)
    learned = lesson(Drawn({"a": 3.0, "b": 10.0}))
    assert learned["loss"].item() == pytest.approx(2 * 3 + 0.5 * 10)
    assert learned["parts"] == {"a": 3.0, "b": 10.0}


def test_a_task_that_is_not_due_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EVERY", {"a": 1, "b": 2, "c": 3})
    steps = Steps({name: SimpleNamespace(draw=lambda _: "batch") for name in "abc"}, Settings(steps=7))
    due = ["".join(steps.draw([number])["drawn"].by_task) for number in range(7)]
    assert due == ["abc", "a", "ab", "ac", "ab", "a", "abc"]


def test_a_task_alone_is_always_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EVERY", {"b": 2})
    steps = Steps({"b": SimpleNamespace(draw=lambda _: "batch")}, Settings(steps=3))
    assert all(steps.draw([number])["drawn"].by_task for number in range(3))


# ------------------------------------------------------------------------- texts read with labels


def test_labels_of_a_prompt_are_judged_each_and_against_one_another() -> None:
    z, true = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, 0.0, 1.0])
    each = F.binary_cross_entropy_with_logits(z, true)
    torch.testing.assert_close(_told_apart(z, true), each + CHOICE * F.cross_entropy(z[None], torch.tensor([2])))
    two = torch.tensor([1.0, 0.0, 1.0])  # either of them may be the likeliest
    expected = F.binary_cross_entropy_with_logits(z, two) - CHOICE * z.softmax(0)[[0, 2]].sum().log()
    torch.testing.assert_close(_told_apart(z, two), expected)
    torch.testing.assert_close(_told_apart(z, 0 * z), F.binary_cross_entropy_with_logits(z, 0 * z))


def test_the_hypotheses_of_a_premise_are_labels_of_which_the_entailed_one_is_true(found: Examples, text: Text) -> None:
    task = Labels(found, text, 200)
    known = {pair.premise: pair for pair in found.pairs["mnli"]}
    seen = set()
    for seed in range(200):
        premise, menu = task._pairs(random.Random(seed))
        own = known[premise]
        assert menu == {h: float(h == own.hypothesis and own.label == 0) for h in menu}
        assert own.hypothesis in menu
        seen.add((own.label, len(menu) > 1))
    assert seen == {(label, many) for label in range(3) for many in (False, True)}


def test_a_true_label_is_entailed_and_a_wrong_one_is_not(found: Examples, text: Text) -> None:
    task = Nli(found, text, 200)
    truth: dict[str, dict[str, int]] = {}
    for pool, items in found.choices.items():
        for item in items:
            for name in found.pools[pool]:
                for form in FEELING if pool in FEELING_POOLS else TEMPLATES:
                    for words in (spoken(name), *SAID.get(name, ())):
                        said = truth.setdefault(item.text, {})
                        said[form.format(words)] = 0 if name in item.truth else NOT_ENTAILED
    drawn = [task._labelled(random.Random(seed)) for seed in range(1000)]
    for pair in drawn:
        assert pair.label == truth[pair.premise][pair.hypothesis], pair
    assert shares([pair.label for pair in drawn]).keys() == {0, NOT_ENTAILED}


def test_labels_from_elsewhere_are_of_another_group_and_false(
    found: Examples, text: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "say", lambda _, name, *__, **___: name)
    task = Labels(found, text, 200)
    for pool, items in found.choices.items():
        monkeypatch.setattr(tasks, "pick", lambda *_, pool=pool: pool)
        true, own = {item.text: set(item.truth) for item in items}, set(found.pools[pool])
        elsewhere = {n for other, names in found.pools.items() if GROUPS[other] != GROUPS[pool] for n in names}
        seen: set[str] = set()
        for seed in range(300):
            said, menu = task._menu(random.Random(seed))
            for name, value in menu.items():
                assert value == float(name in true[said]), (pool, said, name)
                assert name in own | elsewhere - TRUE_OF_MUCH
            seen |= menu.keys() - own
        assert len(seen) > 2, f"no label from elsewhere beside a text of {pool}"


def test_in_some_menus_no_label_is_true(found: Examples, text: Text) -> None:
    task = Labels(found, text, 200)
    any_true = [1.0 in task._menu(random.Random(seed))[1].values() for seed in range(1000)]
    assert 0.1 < 1 - sum(any_true) / len(any_true) < 0.3


def test_a_label_is_said_by_its_paraphrases_or_plainly() -> None:
    def said(plainly: float) -> set[str]:
        return {say(random.Random(seed), "spam", plainly=plainly).lower() for seed in range(300)}

    assert said(0) == set(SAID["spam"])
    assert said(1) == {"spam"}
    hypotheses = {hypothesis(random.Random(seed), "spam", "spam") for seed in range(1000)}
    assert hypotheses == {template.format(words) for template in TEMPLATES for words in SAID["spam"]}


# ------------------------------------------------------------------------------- texts read alone


def test_each_query_is_drawn_with_its_positive_and_its_hardest_negatives(retrieval: Retrieval, text: Text) -> None:
    def row(words: str, room: int = 96) -> tuple[int, ...]:
        return tuple(text.single([words], room)[0])

    queries = {row(query.query, 48): query for query in retrieval.examples.queries["nq_passages"]}
    assert len(queries) == 5
    for seed in range(20):
        drawn, passages, _ = retrieval.draw(random.Random(seed))
        asked = [queries[tuple(ids)] for ids in drawn]
        assert len(asked) == 3
        assert [tuple(ids) for ids in passages[:3]] == [row(query.positive) for query in asked]
        rest = [tuple(ids) for ids in passages[3:]]
        assert len(rest) == 2 * len(asked)
        for at, query in enumerate(asked):
            assert set(rest[2 * at : 2 * at + 2]) <= {row(words) for words in query.negatives[:10]}


def test_the_loss_falls_when_the_positive_is_made_more_similar(retrieval: Retrieval, model: Mini) -> None:
    queries, passages, plain = retrieval.draw(random.Random(0))
    same = [*queries, *passages[len(queries) :]]
    swapped = [same[1], same[0], *same[2:]]
    with torch.no_grad():
        as_drawn, near, wrong = (
            retrieval.loss(model, (queries, some, plain)).item() for some in (passages, same, swapped)
        )
    assert near < as_drawn < wrong


@pytest.fixture
def states(retrieval: Retrieval, text: Text) -> Callable[[Mini], tuple[Any, Any, Any]]:
    """Ours, the base's, and the batches of one draw."""
    batches = [text.batch(rows) for rows in retrieval.draw(random.Random(0))]

    def of(model: Mini) -> tuple[Any, Any, Any]:
        with torch.no_grad():
            return *(encoded(model, batches, base=which) for which in (False, True)), batches

    return of


def test_distance_from_the_base_is_nothing_until_the_layers_move(states: Any, model: Mini) -> None:
    def far() -> list[float]:
        ours, base, batches = states(model)
        moved = departure(scores(model, ours, batches), scores(model, base, batches))
        return [drift(ours, base, batches).item(), moved.item()]

    assert far() == pytest.approx([0, 0], abs=1e-5)
    perturb(model)
    assert min(far()) > 0.01


@pytest.mark.parametrize(("task", "weight"), [("rank", 1.0), ("names", 0.5)])
def test_the_losses_hold_the_distance_from_the_base(
    found: Examples, text: Text, model: Mini, monkeypatch: pytest.MonkeyPatch, task: str, weight: float
) -> None:
    taught = {"rank": Retrieval, "names": Names}[task](found, text, 300)
    drawn = taught.draw(random.Random(0))
    perturb(model)
    far = []
    monkeypatch.setattr(matching, "drift", lambda *given: far.append(drift(*given)) or far[0])
    with torch.no_grad():
        whole = taught.loss(model, drawn).item()
        monkeypatch.setattr(matching, "drift", lambda *_: torch.zeros(()))
        without = taught.loss(model, drawn).item()
    assert far[0] > 0.01
    assert whole - without == pytest.approx(weight * far[0].item(), abs=1e-4)
