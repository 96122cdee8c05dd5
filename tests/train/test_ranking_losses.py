"""Every loss against sums written out by hand, and against padding."""

from collections.abc import Callable, Sequence
from math import exp, log

import pytest
import torch
from torch import Tensor

from headgate.testing import ToyScorer
from headgate.train.distil import Teacher
from headgate.train.ranking_losses import divergence, listwise, margin_mse, pairwise, pointwise

F = torch.nn.functional
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

# Two lists, of three documents and of two; what stands under the padding must never be read.
LOGITS = [[2.0, -1.0, 0.5], [0.3, 1.2]]
GRADES = [[2.0, 0.0, 1.0], [0.0, 1.0]]
TEACHER = [[1.0, 0.0, -2.0], [4.0, 1.0]]
PADDING = float("nan")


def table(lists: Sequence[Sequence[float]], *, width: int = 3, fill: float = PADDING) -> Tensor:
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in lists])


MASK = ~table(LOGITS).isnan()


def softmax(z: Sequence[float]) -> list[float]:
    return [exp(x) / sum(map(exp, z)) for x in z]


def listwise_by_hand(z: Sequence[float], y: Sequence[float]) -> float:
    return -sum(grade / sum(y) * log(p) for grade, p in zip(y, softmax(z), strict=True))


def pairwise_by_hand(z: Sequence[float], y: Sequence[float]) -> float:
    n = range(len(z))
    each = [log(1 + exp(-(z[i] - z[j]))) for i in n for j in n if y[i] > y[j]]
    return sum(each) / len(each)


def pointwise_by_hand(z: Sequence[float], y: Sequence[float]) -> float:
    each = [-log(1 / (1 + exp(-x if grade > 0 else x))) for x, grade in zip(z, y, strict=True)]
    return sum(each) / len(each)


def margin_by_hand(z: Sequence[float], t: Sequence[float]) -> float:
    n = range(len(z))
    each = [((z[i] - z[j]) - (t[i] - t[j])) ** 2 for i in n for j in n if i != j]
    return sum(each) / len(each)


def divergence_by_hand(z: Sequence[float], t: Sequence[float], temperature: float = 1.0) -> float:
    p, q = (softmax([x / temperature for x in row]) for row in (t, z))
    return temperature**2 * sum(a * log(a / b) for a, b in zip(p, q, strict=True))


CASES: list[tuple[Loss, Callable[..., float], list[list[float]]]] = [
    (listwise, listwise_by_hand, GRADES),
    (pairwise, pairwise_by_hand, GRADES),
    (pointwise, pointwise_by_hand, GRADES),
    (margin_mse, margin_by_hand, TEACHER),
    (divergence, divergence_by_hand, TEACHER),
]


@pytest.mark.parametrize(("loss", "by_hand", "wanted"), CASES)
def test_loss_is_the_mean_over_lists_of_the_sum_by_hand(
    loss: Loss, by_hand: Callable[..., float], wanted: list[list[float]]
) -> None:
    expected = sum(by_hand(z, y) for z, y in zip(LOGITS, wanted, strict=True)) / 2
    assert loss(table(LOGITS), table(wanted), MASK).item() == pytest.approx(expected, rel=1e-6)


def test_two_numbers_known_without_any_code() -> None:
    # One relevant document of two alike: the softmax gives it a half, a pair of equals costs log 2, and so does 0.
    z, y, mask = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool)
    for loss in (listwise, pairwise, pointwise):
        assert loss(z, y, mask).item() == pytest.approx(log(2))
    assert margin_mse(z, torch.tensor([[3.0, 1.0]]), mask).item() == pytest.approx(4)


def test_temperature_softens_and_is_made_up_for() -> None:
    expected = sum(divergence_by_hand(z, t, 4.0) for z, t in zip(LOGITS, TEACHER, strict=True)) / 2
    assert divergence(table(LOGITS), table(TEACHER), MASK, 4.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("loss", "by_hand", "wanted"), CASES)
def test_padding_never_counts(loss: Loss, by_hand: object, wanted: list[list[float]]) -> None:
    narrow, wide = table(LOGITS, fill=PADDING).requires_grad_(), table(LOGITS, width=6, fill=50.0).requires_grad_()
    mask = ~table(LOGITS, width=6).isnan()
    first, second = (
        loss(narrow, table(wanted), MASK),
        loss(wide, table(wanted, width=6, fill=-100.0), mask),
    )
    assert first.item() == pytest.approx(second.item(), rel=1e-6)
    first.backward()
    second.backward()
    assert narrow.grad is not None
    assert wide.grad is not None
    torch.testing.assert_close(narrow.grad, wide.grad[:, :3])
    assert (wide.grad[~mask] == 0).all()
    assert (narrow.grad[~MASK] == 0).all()


@pytest.mark.parametrize("loss", [listwise, pairwise])
def test_list_with_nothing_to_learn_gives_no_gradient_and_no_nan(loss: Loss) -> None:
    z = torch.tensor([[1.0, 2.0]], requires_grad=True)
    found = loss(z, torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))
    found.backward()
    assert found.item() == 0
    assert z.grad is not None
    assert z.grad.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize(("loss", "by_hand", "wanted"), CASES)
def test_half_precision_logits_stay_finite(loss: Loss, by_hand: object, wanted: list[list[float]]) -> None:
    z = table(LOGITS).bfloat16().requires_grad_()
    loss(z, table(wanted), MASK).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@pytest.mark.parametrize("loss", [margin_mse, divergence])
def test_teacher_is_matched_where_the_loss_is_least(loss: Loss) -> None:
    shifted = table(TEACHER) + 7  # neither looks at a list's level, only at its differences
    assert loss(shifted, table(TEACHER), MASK).item() == pytest.approx(0, abs=1e-6)


def test_grades_are_ordered_by_more_than_relevant_or_not() -> None:
    wrong, right = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[2.0, 1.0, 0.0]])
    grades, mask = torch.tensor([[3.0, 1.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
    for loss in (listwise, pairwise):
        assert loss(right, grades, mask) < loss(wrong, grades, mask)
    assert pointwise(right, grades, mask) == pointwise(wrong, grades, mask)  # as its docstring says


def test_the_gradient_of_pairs_keeps_its_size_at_any_temperature() -> None:
    """At a high one, the cross-entropy of log-odds z to the teacher's s has the gradient (z - s) / 4."""
    z, said = torch.tensor([[1.5], [-0.5]], requires_grad=True), torch.tensor([[-1.0], [2.0]])
    Teacher(ToyScorer(), temperature=100.0).pair_loss(z, said).backward()  # a mean over two pairs
    torch.testing.assert_close(z.grad, (z.detach() - said) / 4 / 2, atol=1e-3, rtol=0)
    plain = F.binary_cross_entropy_with_logits(z, said.sigmoid())
    torch.testing.assert_close(Teacher(ToyScorer()).pair_loss(z, said), plain)
