"""Questions of LangChain as tasks of headgate, and what these find as LangChain's answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.decisions import Box, Choice, ChoiceAnswer, Noul, NoulAnswer, Question, Score, ScoreAnswer
from pydantic import TypeAdapter

import headgate
from headgate import Calibration, DataError, Decision, Label, Router, Scorer, Scores, YesNo
from langchain_headgate._state import words

LONGEST = 240
"""Characters of instructions that may stand for a hypothesis; what is longer says more than one thing."""

Words = str | Label
Hypotheses = Words | list[Words] | dict[str, Words | list[Words]]
Kind: TypeAlias = Noul | Choice | Score
"""Questions that a text can answer."""
Answer: TypeAlias = NoulAnswer | ChoiceAnswer | ScoreAnswer

_QUESTION: TypeAdapter[Any] = TypeAdapter(Question)


def read_questions(given: object) -> dict[str, Kind]:
    """The questions of a request.

    Raises:
        ValueError: There are none, or one is of a kind that no text answers.
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"questions is {given!r}; expected at least one, by the name of its answer.")
    found = {key: _QUESTION.validate_python(question) for key, question in given.items()}
    for key, question in found.items():
        if isinstance(question, Box):
            raise ValueError(
                f"question {key!r} is a Box, which asks for a place in an image; expected Noul, Choice or Score, since "
                "headgate reads text: ask a model that sees for it."
            )
    return found


@dataclass(frozen=True)
class Asked:
    """A question as a task of headgate.

    Attributes:
        question: As it came.
        task: What asks and decides.
    """

    question: Kind
    task: YesNo | Router

    @classmethod
    def of(
        cls, question: Kind, own: Hypotheses | None, scorer: Scorer, calibration: Calibration | None, unread: float
    ) -> "Asked":
        """The task for a question.

        Args:
            question: Noul, Choice or Score.
            own: Hypotheses in place of its own words.
            scorer: What is asked.
            calibration: That was fitted for it.
            unread: Share of unknown tokens above which a text says nothing.

        Raises:
            ValueError: Instructions that are no hypothesis, hypotheses or a calibration for another question.
        """
        if isinstance(question, Noul):
            yes, no = _outcomes(question, own)
            return cls(question, YesNo(scorer, yes, no, unreadable=unread, calibration=calibration))
        labels = _levels(question, own) if isinstance(question, Score) else _names(question, own)
        router = Router(scorer, labels, threshold=0.0, calibration=calibration)
        _check(calibration, scorer, list(labels.values()))
        return cls(question, router)

    def results(self, scores: Scores, unread: float) -> list[tuple[Answer, int]]:
        """The answer of each text, and its tokens."""
        found: Sequence[Any] = self.task.decide([scores])
        return [(self._answer(one, unread), one.coverage.total) for one in found]

    def fitted(self, scores: Scores, truths: Sequence[Any]) -> Calibration:
        """A calibration on scores of labelled texts.

        Raises:
            DataError: Too many or too few truths, or one that is no answer; the message says which.
        """
        if len(truths) != len(scores.log_odds):
            raise DataError(f"{len(truths)} truths came for {len(scores.log_odds)} states; expected as many.")
        if isinstance(self.task, YesNo):
            for i, truth in enumerate(truths):
                if not isinstance(truth, bool):
                    raise DataError(f"truth {i} is {truth!r}; expected True or False.")
            fitted = self.task.calibrated([scores], truths).calibration
            return fitted if fitted is not None else Calibration()
        names = list(range(len(self.question.criteria))) if isinstance(self.question, Score) else list(self.task.routes)
        at: dict[Any, int] = {None: -1} | {name: i for i, name in enumerate(names)}
        for i, truth in enumerate(truths):
            if isinstance(truth, bool) or truth not in at:
                raise DataError(f"truth {i} is {truth!r}; expected one of {names}, or None for none of them.")
        fitted = Calibration.fit_choice(scores, [at[truth] for truth in truths])
        (ask,) = self.task.ask([])
        return replace(fitted, scorer=self.task.scorer.fingerprint, labels=_texts(ask.labels))

    def _answer(self, found: Any, unread: float) -> Answer:
        if isinstance(found, headgate.Answer):
            return NoulAnswer(type="noul", noul=found.probability)
        p, confidence = _shares(found, unread)
        if isinstance(self.question, Score):
            return ScoreAnswer(
                type="score",
                score=sum(i * x for i, x in enumerate(p)),
                legend=dict(enumerate(self.question.criteria)),
                probabilities=dict(enumerate(p)),
                confidence=confidence,
            )
        names: Iterable[str] = self.task.routes if isinstance(self.task, Router) else ()
        named = dict(zip(names, p, strict=True))
        return ChoiceAnswer(
            type="choice", choice=max(named, key=lambda k: named[k]), probabilities=named, confidence=confidence
        )


def _shares(decision: Decision, unread: float) -> tuple[list[float], float]:
    """``o_k / sum o``, which takes one label to be true, and ``o_best / (1 + sum o)``, which doesn't."""
    p = list(decision.probabilities.values())
    total = sum(p)
    if decision.empty or decision.unknown > unread or not total > 0:  # nothing speaks for any of them
        return [1 / len(p)] * len(p), 0.0
    return [x / total for x in p], min(1.0, max(p))


def _outcomes(question: Noul, own: Hypotheses | None) -> tuple[Any, Any]:
    """Hypotheses for yes and for no."""
    if isinstance(own, dict):
        if "true" not in own or set(own) - {"true", "false"}:
            raise ValueError(f"its hypotheses are named {list(own)}; expected 'true', and 'false' if you like.")
        return own["true"], own.get("false", ())
    if own is not None:
        return own, ()
    criteria = question.criteria
    yes, no = (words(criteria.true), words(criteria.false)) if criteria is not None else ("", "")
    if yes:
        return yes, no or ()
    said = words(question.instructions)
    if len(said) > LONGEST:
        raise ValueError(
            f"its instructions have {len(said)} characters and no criteria say what is true if the answer is yes; "
            f"expected a hypothesis of at most {LONGEST}, since they are never cut. Give hypotheses of your own: "
            'hypotheses={"…": {"true": "The call deletes files.", "false": "The call only reads."}}, under the '
            "question's name."
        )
    return said, no or ()


def paragraph(question: Kind) -> bool:
    """Whether it asks in more words than a hypothesis has, and in no others."""
    alone = isinstance(question, Noul) and (question.criteria is None or not words(question.criteria.true))
    return alone and len(words(question.instructions)) > LONGEST


def _names(question: Choice, own: Hypotheses | None) -> dict[str, Words]:
    """A label for each name: its description, or the name where there is none."""
    labels: dict[str, Words] = {name: words(said) or name for name, said in question.criteria.items()}
    if own is None:
        return labels
    if not isinstance(own, dict) or set(own) - set(labels) or any(isinstance(said, list) for said in own.values()):
        raise ValueError(f"its hypotheses are {own!r}; expected a mapping, one for each of {list(labels)} or for some.")
    return labels | {name: said for name, said in own.items() if not isinstance(said, list)}


def _levels(question: Score, own: Hypotheses | None) -> dict[str, Words]:
    """A label for each level, from "0" up."""
    labels: Sequence[Words] = [words(said) or str(i) for i, said in enumerate(question.criteria)]
    if own is not None:
        if not isinstance(own, list) or len(own) != len(labels):
            raise ValueError(f"its hypotheses are {own!r}; expected a list of {len(labels)}, one for each level.")
        labels = own
    return {str(i): said for i, said in enumerate(labels)}


def _check(calibration: Calibration | None, scorer: Scorer, labels: Sequence[Words]) -> None:
    if calibration is None:
        return
    if calibration.scorer and calibration.scorer != scorer.fingerprint:
        raise ValueError(
            f"its calibration was fitted on scorer {calibration.scorer}, and this one is {scorer.fingerprint}; "
            "expected the same weights, template and classes: fit again."
        )
    if calibration.labels and calibration.labels != _texts(labels):
        raise ValueError(
            f"its calibration was fitted on labels {list(calibration.labels)}, and these are {list(_texts(labels))}; "
            "expected the same, in that order: fit again."
        )


def _texts(labels: Iterable[Words]) -> tuple[str, ...]:
    return tuple(label.text if isinstance(label, Label) else label for label in labels)
