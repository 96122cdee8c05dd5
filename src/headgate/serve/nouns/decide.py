"""``/v1/decide``: typed questions about one text, all in one plan."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from headgate.decision import Decision
from headgate.panel import Panel
from headgate.route import Router
from headgate.scores import Scorer
from headgate.serve.faults import Fault
from headgate.serve.nouns.common import Label, Message, Usage
from headgate.serve.service import Service, size_of
from headgate.serve.wire import JSONRoute, Reply, Wire, facts, new_id, reply
from headgate.yesno import Answer, YesNo

Hypotheses = Label | list[Label]


class Yes(Wire):
    """A question of yes or no."""

    type: Literal["yes_no"]
    yes: Hypotheses = Field(description="True of the text where the answer is yes.", examples=["anger"])
    no: Hypotheses | None = Field(None, description="True where it is no.", examples=["calm"])

    def task(self, scorer: Scorer) -> YesNo:
        """The question on this model."""
        return YesNo(scorer, yes=self.yes, no=self.no or ())


class Choice(Wire):
    """Which of several, or none of them."""

    type: Literal["choice"]
    options: list[Label] | dict[str, Label] = Field(
        description="Names, or names with what they mean.",
        examples=[{"billing": "payments", "sales": "prices and plans"}],
    )
    multi: bool | None = Field(None, description="Several may be true.", examples=[False])
    threshold: float | None = Field(None, description="Chosen from this probability up.", examples=[0.5])
    gap: float | None = Field(None, description="Log-odds to the runner-up.", examples=[0.0])

    def task(self, scorer: Scorer) -> Router:
        """The question on this model."""
        return Router(scorer, self.options, self.threshold, multi=bool(self.multi), gap=self.gap or 0.0)


class Score(Wire):
    """How much, on levels that are described."""

    type: Literal["score"]
    levels: dict[str, Label] = Field(
        min_length=2,
        description="Numbers, each with what it means.",
        examples=[{"1": "a complaint", "3": "neither", "5": "praise"}],
    )

    def task(self, scorer: Scorer) -> Router:
        """The question on this model: one level is true, so the likeliest one is taken."""
        return Router(scorer, self.levels, threshold=0.0)


Question = Annotated[Yes | Choice | Score, Field(discriminator="type")]


class Decide(Wire):
    """A text, and what to ask of it."""

    input: str | list[Message] = Field(
        description="A text, or a conversation as messages.", examples=["My card was charged twice!"]
    )
    questions: dict[str, Question] = Field(
        min_length=1,
        description="By names of your own.",
        examples=[{"angry": {"type": "yes_no", "yes": "anger", "no": "calm"}}],
    )


class DecideReply(Reply):
    """An answer to every question."""

    id: str = Field(examples=["decide-6f1c"])
    object: Literal["decide"] = "decide"
    model: str = Field(description="The model that judged.", examples=["mini/gliclass"])
    answers: dict[str, dict[str, Any]] = Field(
        description="By the question's name: of yes_no its probability; of choice as /v1/route; of score the mean level"
        " and the likeliest, and the probability of each if one of them is true.",
        examples=[{"angry": {"type": "yes_no", "probability": 0.93}}],
    )
    usage: Usage


def routes(service: Service) -> APIRouter:
    """``/v1/decide``."""
    router = APIRouter(route_class=JSONRoute, tags=["decide"])

    @router.post("/v1/decide", response_model=DecideReply)
    async def decide(request: Request, body: Decide) -> Response:
        """Answer typed questions about one text: yes or no, which, how much."""
        text = body.input if isinstance(body.input, str) else [m.model_dump(exclude_none=True) for m in body.input]
        found = service.catalog.part("questions")
        panel = Panel({key: _task(key, question, found.task) for key, question in body.questions.items()})

        def work() -> tuple[dict[str, Any], int]:
            asked = panel.ask([text])
            flat = [ask for asks in asked.values() for ask in asks]
            scores, _ = service.judge(found.model, found.task, flat)
            left = iter(scores)
            (answers,) = panel.decide({key: [next(left) for _ in asks] for key, asks in asked.items()})
            return answers, max(int(s.tokens.sum()) for s in scores)  # they all read the same text

        answers, tokens = await service.run(request, size_of(text) * len(body.questions), work)
        service.note(request, model=found.model, documents=1, tokens=tokens, texts=[text])
        shown = {key: _shown(body.questions[key], answer) for key, answer in answers.items()}
        usage = {"total_tokens": tokens}
        return reply(
            {"id": new_id("decide"), "object": "decide", "model": found.model, "answers": shown, "usage": usage}
        )

    return router


def _task(key: str, question: Yes | Choice | Score, scorer: Scorer) -> YesNo | Router:
    try:
        if isinstance(question, Score):
            _numbers(question.levels)
        return question.task(scorer)
    except (TypeError, ValueError) as e:
        raise Fault("invalid", f"question {key!r}: {e}", param=f"questions.{key}") from e


def _numbers(levels: Mapping[str, str]) -> dict[str, float]:
    try:
        found = {level: float(level) for level in levels}
    except ValueError:
        raise ValueError(f"levels are {list(levels)}; expected numbers, each with what it means.") from None
    if not all(abs(number) < 1e9 for number in found.values()):  # so written, NaN is refused as well
        raise ValueError(f"levels are {list(levels)}; expected finite numbers.")
    return found


def _shown(question: Yes | Choice | Score, answer: Answer | Decision) -> dict[str, Any]:
    said = facts(answer)
    if not isinstance(question, Score):
        return {"type": question.type, **said}
    numbers, p = _numbers(question.levels), said["probabilities"]
    total = sum(p.values())
    shares = {level: (q / total if total else 1 / len(p)) for level, q in p.items()}
    return {
        "type": "score",
        "score": sum(numbers[level] * share for level, share in shares.items()),
        "level": max(shares, key=shares.__getitem__),
        "probabilities": shares,
        "none": said["none"],
        "coverage": said["coverage"],
        "unknown": said["unknown"],
        "empty": said["empty"],
    }
