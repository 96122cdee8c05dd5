"""Answer LangChain's typed questions about text with a local model; needs langchain-core 1.8."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from langchain_core.messages import UsageMetadata
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list, set_config_context
from langchain_core.version import VERSION
from langsmith.run_helpers import get_current_run_tree
from pydantic import Field, InstanceOf, field_validator
from pydantic.json_schema import SkipJsonSchema

from headgate import Ask, Calibration, HeadgateError, LabelError, LabelTooLongError, Scorer, Scores, judge
from headgate.hosting import away
from langchain_headgate._lazy import STRICT, Lazy
from langchain_headgate._state import STOCK, rendered

try:
    from langchain_core.decisions import BaseDecisionModel, ClassifierRequest, ClassifierResponse, Question, State
except ImportError as error:
    raise ImportError(
        f"langchain-core {VERSION} is installed, which has no decision models; HeadgateDecisionModel expects 1.8 or "
        'newer: pip install --upgrade "langchain-core>=1.8"'
    ) from error

from langchain_headgate._questions import Answer, Asked, Hypotheses, Kind, paragraph, read_questions


class HeadgateDecisionModel(Lazy, BaseDecisionModel):
    """Answer questions about a text, messages or a state, on your own machine.

    ```python
    from langchain_core.decisions import Choice, Noul, NoulCriteria
    from langchain_headgate import HeadgateDecisionModel

    classifier = HeadgateDecisionModel()
    answers = classifier.invoke({
        "state": "Stripe fails whenever I connect my account.",
        "questions": {
            "team": Choice(instructions="Which team?", criteria={"billing": "payments", "sales": "prices and plans"}),
            "angry": Noul(instructions="Is the customer angry?", criteria=NoulCriteria(true="anger", false="calm")),
        },
    }).answers
    ```

    A small encoder judges each label by itself, and gives odds ``o``:

    * ``Noul``: with criteria for both outcomes ``o_true / (o_true + o_false)``. With criteria for yes alone, or short
      instructions and none, that is the one hypothesis, and its own probability is the answer.
    * ``Choice``: probabilities ``o_k / sum o``, as if one label were true. The confidence is ``o_best / (1 + sum o)``,
      which leaves room for none of them: set your threshold on it, and fit first (:meth:`fitted`).
    * ``Score``: as Choice over the levels; the score is the mean level.
    * ``Box`` is refused.

    Labels are the criteria, or the names of those that are None; structured ones are written out. Instructions are
    read where a Noul has no criteria, and nowhere else. A state of any shape becomes one text, with the roles and keys
    it has; long ones are read in windows, and media are not read. Where nothing can be read, nothing is known: 0.5, all
    alike, confidence 0.

    All questions of a request are one plan of the model, and so are all requests of ``batch`` and ``abatch``.
    ``usage`` holds the tokens of the state, which several questions share.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        hypotheses: In place of a question's own words, by its name, or by its instructions. Of a Noul: one that is true
            if the answer is yes, several, or ``{"true": …, "false": …}``; of a Choice by its labels, of a Score a list.
            A question that asks in a paragraph needs them; where the stock AutoModeMiddleware asks "is_risky" in one,
            and nothing else is said, they are "deletes, sends or pays" and "reads or searches".
        calibrations: By the question's name, from :meth:`fitted`.
        unreadable: Share of unknown tokens above which a state says nothing, 0 to 1.
        scorer: A ready scorer, in place of ``model`` and what it is loaded with.

    Raises:
        ValueError: ``scorer`` came together with a model or how to load it.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "scorer"
    _beside: ClassVar[frozenset[str]] = frozenset({"hypotheses", "calibrations", "unreadable"})

    model: str = "mini/gliclass"
    hypotheses: dict[str, Hypotheses] = Field(default_factory=dict)
    calibrations: dict[str, Calibration] = Field(default_factory=dict)
    unreadable: float = Field(default=0.5, ge=0, le=1)
    scorer: SkipJsonSchema[InstanceOf[Scorer] | None] = None

    @field_validator("hypotheses")
    @classmethod
    def _say_something(cls, given: dict[str, Hypotheses]) -> dict[str, Hypotheses]:
        for name, own in given.items():
            if not own or (isinstance(own, str) and not own.strip()):
                raise ValueError(f"hypotheses for {name!r} are {own!r}; expected words, or a list or mapping of them.")
        return given

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Hypotheses and calibrations as plain dicts, which the constructor takes as well."""
        return self.model_dump(include={"hypotheses", "calibrations"})

    @property
    def _provider(self) -> str:
        return "headgate"

    @property
    def _called(self) -> str:
        return self.model if self.scorer is None else f"{type(self.scorer).__name__} {self.scorer.fingerprint}"

    def _traced_config(self, config: RunnableConfig | None) -> RunnableConfig:
        traced: RunnableConfig = super()._traced_config(config)
        traced["metadata"]["ls_model_name"] = self._called
        return traced

    def _make(self, scorer: Scorer) -> Scorer:
        return scorer

    def _classify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        (found,) = self._respond([{"state": state, "questions": questions}])
        if isinstance(found, Exception):
            raise found
        return found

    async def _aclassify(self, state: State, questions: dict[str, Question]) -> ClassifierResponse:
        return await away(self._classify, state, questions)

    def batch(
        self,
        inputs: list[ClassifierRequest],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[Any]:
        """Answer all requests in one plan, whatever ``max_concurrency`` says; each has a run of its own."""
        many: Any = self._many
        return self._batch_with_config(
            many, inputs, self._configs(config, inputs), return_exceptions=return_exceptions, run_type="llm"
        )

    async def abatch(
        self,
        inputs: list[ClassifierRequest],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **_: Any,
    ) -> list[Any]:
        """As :meth:`batch`, off the event loop."""
        many: Any = self._amany
        return await self._abatch_with_config(
            many, inputs, self._configs(config, inputs), return_exceptions=return_exceptions, run_type="llm"
        )

    def fitted(
        self, questions: Mapping[str, Question], states: Sequence[State], truths: Mapping[str, Sequence[Any]]
    ) -> Self:
        """This model with probabilities that mean what they say, for these questions.

        For each question a scale and a shift of its log-odds, and a price on length where states are long: a
        ``headgate.Calibration``. It changes no Choice, moves what 0.5 means of a Noul, and belongs to the model and to
        the labels: with others the question raises. Copies and dumps hold it.

        Args:
            questions: By name, as they will be asked.
            states: Labelled ones, as they come in use.
            truths: For each question the right answer of each state: True or False, a label, or a level; None where
                none of the labels or levels is right.

        Raises:
            DataError: A truth is no answer; the message says which.
            ValueError: Questions and truths are of different names, or there is nothing to learn from.
        """
        asked = read_questions(questions)
        if set(asked) != set(truths):
            raise ValueError(f"truths are of {sorted(truths)}; expected the questions, {sorted(asked)}.")
        texts = [rendered(state) for state in states]
        scorer: Scorer = self._noun()
        tasks = {key: _named(key, self._asked, key, question, scorer, None) for key, question in asked.items()}
        found = judge(scorer, [ask for one in tasks.values() for ask in one.task.ask(texts)])
        new = {
            key: _named(key, one.fitted, scores, truths[key])
            for (key, one), scores in zip(tasks.items(), found, strict=True)
        }
        return self.model_copy(update={"calibrations": {**self.calibrations, **new}})

    def _respond(self, requests: Sequence[Any]) -> list[Any]:
        """A response or an exception for each request; one plan of all that can be read."""
        read = [_attempt(_read, request) for request in requests]
        if all(isinstance(one, Exception) for one in read):
            return read
        plan = _Plan(self, self._noun())
        added = [one if isinstance(one, Exception) else _attempt(plan.add, *one) for one in read]
        try:
            plan.run()
        except LabelError as error:
            if len(requests) == 1:
                return [_explained(error)]
            return [self._respond([one])[0] for one in requests]  # it spoils no other
        return [one if isinstance(one, Exception) else _attempt(plan.response, *one) for one in added]

    def _asked(self, key: str, question: Kind, scorer: Scorer, calibration: Calibration | None) -> Asked:
        said = question.instructions if isinstance(question.instructions, str) else None
        own = self.hypotheses.get(key, self.hypotheses.get(said) if said is not None else None)
        own = STOCK.get(key) if own is None and paragraph(question) else own
        return Asked.of(question, own, scorer, calibration, self.unreadable)

    def _many(self, requests: list[ClassifierRequest], config: list[RunnableConfig]) -> list[Any]:
        found = self._respond(requests)
        for one, own in zip(found, config, strict=True):
            if isinstance(one, ClassifierResponse) and one.usage is not None:
                with set_config_context(own) as context:
                    context.run(_trace_usage, one)
        return found

    async def _amany(self, requests: list[ClassifierRequest], config: list[RunnableConfig]) -> list[Any]:
        return await away(self._many, requests, config)

    def _configs(self, config: RunnableConfig | list[RunnableConfig] | None, inputs: Sequence[Any]) -> list[Any]:
        return [self._traced_config(one) for one in get_config_list(config, len(inputs))]


class _Plan:
    """Questions of many requests: the same one is asked once, of all its texts."""

    def __init__(self, model: HeadgateDecisionModel, scorer: Scorer) -> None:
        self._model, self._scorer = model, scorer
        self._asked: dict[str, Asked] = {}
        self._texts: dict[str, list[str]] = {}
        self._found: dict[str, Any] = {}

    def add(self, text: str, questions: Mapping[str, Kind]) -> tuple[str, dict[str, str]]:
        """The text, and each question's place in the plan."""
        places = {key: f"{key}\n{question.model_dump_json()}" for key, question in questions.items()}
        for key, place in places.items():
            if place not in self._asked:
                given = questions[key], self._scorer, self._model.calibrations.get(key)
                self._asked[place] = _named(key, self._model._asked, key, *given)
        for place in places.values():
            self._texts.setdefault(place, []).append(text)
        return text, places

    def run(self) -> None:
        """Score all that was added."""
        unique = {place: list(dict.fromkeys(texts)) for place, texts in self._texts.items()}
        asks: list[Ask] = [ask for place, texts in unique.items() for ask in self._asked[place].task.ask(texts)]
        found = judge(self._scorer, asks) if asks else []
        for (place, texts), scores in zip(unique.items(), found, strict=True):
            self._found[place] = _attempt(self._results, place, texts, scores)

    def response(self, text: str, places: Mapping[str, str]) -> ClassifierResponse:
        """Of one request, as it was added."""
        answers: dict[str, Any] = {}
        tokens = 0
        for key, place in places.items():
            found = self._found[place]
            if isinstance(found, Exception):
                raise found
            answers[key], read = found[text]
            tokens = max(tokens, read)
        usage = UsageMetadata(input_tokens=tokens, output_tokens=0, total_tokens=tokens) if tokens else None
        copies = {key: answer.model_copy(deep=True) for key, answer in answers.items()}  # requests may share a text
        return ClassifierResponse(model=self._model._called, answers=copies, usage=usage)

    def _results(self, place: str, texts: Sequence[str], scores: Scores) -> dict[str, tuple[Answer, int]]:
        return dict(zip(texts, self._asked[place].results(scores, self._model.unreadable), strict=True))


def _read(request: ClassifierRequest) -> tuple[str, dict[str, Kind]]:
    questions = read_questions(request["questions"])
    return rendered(request["state"]), questions


def _named(key: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives; its errors say which question they are about."""
    try:
        return function(*arguments)
    except ValueError as error:
        kind = type(error) if isinstance(error, HeadgateError) else ValueError
        raise kind(f"question {key!r}: {error}") from error


def _explained(error: LabelError) -> LabelError:
    if not isinstance(error, LabelTooLongError):
        return error
    return LabelTooLongError(f"{error} Or put shorter words in its place: HeadgateDecisionModel(hypotheses=…).")


def _trace_usage(response: ClassifierResponse) -> None:
    """As ``invoke`` does, on the run that is open."""
    tree = get_current_run_tree()
    if tree is not None and response.usage is not None:
        tree.extra.setdefault("metadata", {})["usage_metadata"] = dict(response.usage)


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:  # becomes this request's answer; the host raises or returns it
        return error
