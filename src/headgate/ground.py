"""Is every sentence of an answer supported by some passage, and by which words of it?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed, probability
from headgate.evidence import Array, Checks, Evidence, Found, Text, asks_of, evidence_of, texts_of
from headgate.scores import Ask, Scorer, Scores, judge, logistic
from headgate.sentences import Splitter, sentences, spans_of

Standing = Literal["supported", "contradicted", "no evidence"]
Span = tuple[int, int]


@dataclass(frozen=True)
class Citation:
    """Words of a passage that support a claim, or contradict it.

    Attributes:
        passage: Where the passage stood in the list that came in.
        span: Its characters [start, end).
        probability: P(these words entail the claim), or P(they contradict it).
        log_odds: The model's own number for it.
        joined: The passage that these words were read together with, where neither was enough alone.
    """

    passage: int
    span: Span
    probability: float
    log_odds: float
    joined: int | None = None


@dataclass(frozen=True)
class Claim:
    """One sentence of an answer, and how it stands.

    Attributes:
        sentence: Its words.
        span: Its characters [start, end) of the answer.
        supported: The verdict is "supported".
        verdict: "contradicted" if nothing supports it and something contradicts it; else "no evidence".
        probability: P(entailed) by what supports it best of all that holds its numbers and quotes, or of all where
            nothing holds them; 0 without passages.
        contradiction: P(contradicted) by what contradicts it most, or None if that wasn't asked.
        citations: What supports it, or what contradicts it, best first.
        missing: Its numbers and quotes that are lacking even in what holds most of them; () if none is.
        thresholds: What the probabilities were compared with, by verdict.
        unknown: Share of it that the tokenizer could not read, 0 to 1.
    """

    sentence: str
    span: Span
    supported: bool
    verdict: Standing
    probability: float
    contradiction: float | None
    citations: tuple[Citation, ...]
    missing: tuple[str, ...]
    thresholds: dict[str, float]
    unknown: float = 0.0


@dataclass(frozen=True)
class Grounding:
    """Check an answer against the passages it was made from, sentence by sentence; fails closed.

    A sentence is supported if *some* text entails it and holds its numbers and quotes: a passage, one of a passage's
    sentences, or two passages joined. So another passage never makes a supported sentence unsupported; with
    ``pairs``, if it comes last. Sentences without a letter or a digit claim nothing and are left out.

    Args:
        scorer: Judges (text, sentence) as premise and hypothesis; an NLI cross-encoder such as ``load("mini/nli")``.
            Its scores must be probabilities.
        splitter: Finds sentences; None is ``headgate.sentences.sentences("en")``, which needs the extra "sentences".
        threshold: A sentence is supported from this P(entailed) up; see :meth:`fit`. None takes the scorer's own,
            its thresholds["entailment"], where it has one.
        contradiction: A sentence that nothing supports is contradicted from this P(contradicted) up; None takes
            thresholds["contradiction"], without which nothing is asked. Families that have no such class raise.
        cite: "sentences" reads the sentences of the passages too: it finds more support and cites it to the
            sentence. "windows" reads passages alone, for about half the work.
        pairs: The first so many passages are also read two by two, joined by a new line in their order.
        literals: Numbers and quotes of a sentence must occur in the text that supports it.
        unreadable: A text or a sentence of which a larger share than this can't be read supports nothing, or isn't
            supported; 0 to 1.
        text: Where a passage's words are, for passages that aren't strings.
    """

    scorer: Scorer
    splitter: Splitter | None = None
    threshold: float | None = None
    contradiction: float | None = None
    cite: Literal["sentences", "windows"] = "sentences"
    pairs: int = 0
    literals: bool = True
    unreadable: float = 0.5
    text: Callable[[Any], str] | None = None

    def __post_init__(self) -> None:
        own: Mapping[str, float] = getattr(self.scorer, "thresholds", {})
        for name, key in (("threshold", "entailment"), ("contradiction", "contradiction")):
            value = own.get(key) if getattr(self, name) is None else getattr(self, name)
            object.__setattr__(self, name, None if value is None else probability(name, value))
        probability("unreadable", self.unreadable)
        if self.cite not in ("sentences", "windows"):
            raise ValueError(f'cite is {self.cite!r}; expected "sentences" or "windows".')
        if isinstance(self.pairs, bool) or not isinstance(self.pairs, int) or self.pairs < 0:
            raise ValueError(f"pairs is {self.pairs!r}; expected how many passages to join two by two, 0 or more.")
        object.__setattr__(self, "splitter", sentences() if self.splitter is None else self.splitter)

    def __call__(self, answer: str, passages: Sequence[Any]) -> list[Claim]:
        """The claims of ``answer``, in order.

        Raises:
            LabelTooLongError: A sentence leaves the passages too little room in the model; split it.
        """
        return self.many([answer], [passages])[0]

    def many(self, answers: Sequence[str], passages: Sequence[Sequence[Any]]) -> list[list[Claim]]:
        """The claims of each answer, checked against the passages of its own, all in one batch plan."""
        answers, passages = listed("answers", answers), listed("passages", passages)
        if len(answers) != len(passages):
            raise ValueError(f"{len(answers)} answers and {len(passages)} lists of passages; expected as many.")
        asks = [self.ask(a, p) for a, p in zip(answers, passages, strict=True)]
        flat = [ask for some in asks for ask in some]
        found = iter(judge(self.scorer, flat) if flat else [])
        return [
            self.decide([next(found) for _ in some], a, p) for some, a, p in zip(asks, answers, passages, strict=True)
        ]

    def ask(self, answer: str, passages: Sequence[Any]) -> list[Ask]:
        """What to score: all that is read against every claim, and the claims, for how much of them can be read.

        Nothing, if there are no claims or no passages.
        """
        self._least()
        return self._ask([claim for claim, _ in self._claims(answer)], self._texts(passages))

    def decide(self, scores: Sequence[Scores], answer: str, passages: Sequence[Any]) -> list[Claim]:
        """The claims that these scores of one ask mean; pure, so a stored one can be replayed."""
        self._least()
        claims, texts = self._claims(answer), self._texts(passages)
        evidence = self._evidence(scores, [claim for claim, _ in claims], texts)
        return [self._claim(claim, span, one, texts) for (claim, span), one in zip(claims, evidence, strict=True)]

    def fit(self, claims: Sequence[str], passages: Sequence[Sequence[Any]], truths: Sequence[bool]) -> "Grounding":
        """This, with the threshold that parts supported claims from others best: the highest balanced accuracy.

        Args:
            claims: Single sentences, each read as it is.
            passages: For each claim those that it was checked against.
            truths: Whether they support it.

        Raises:
            TypeError: A claim is no sentence, or a truth neither true nor false.
            ValueError: Lengths differ, or all truths are the same.
        """
        claims, passages, truths = listed("claims", claims), listed("passages", passages), listed("truths", truths)
        if not len(claims) == len(passages) == len(truths):
            raise ValueError(
                f"{len(claims)} claims, {len(passages)} lists of passages and {len(truths)} truths; expected as many."
            )
        for i, (claim, truth) in enumerate(zip(claims, truths, strict=True)):
            if not isinstance(claim, str) or not claim.strip():
                raise TypeError(f"claim {i} is {claim!r}; expected a sentence.")
            if not isinstance(truth, bool | int | np.bool_ | np.integer) or truth not in (0, 1):
                raise TypeError(f"truth {i} is {truth!r}; expected True or False.")
        texts = [self._texts(p) for p in passages]
        asks = [self._ask([c], t) for c, t in zip(claims, texts, strict=True)]
        flat = [ask for some in asks for ask in some]
        found = iter(judge(self.scorer, flat) if flat else [])
        evidence = [
            self._evidence([next(found) for _ in some], [claim], read)[0]
            for claim, some, read in zip(claims, asks, texts, strict=True)
        ]
        z = np.array([one.best if one.admitted.any() else -np.inf for one in evidence])
        return replace(self, threshold=_cut(z, np.array(truths, dtype=np.bool_)))

    def _least(self) -> float:
        if self.threshold is None:
            raise ValueError(
                "there is no threshold; pass Grounding(…, threshold=…), chosen on your own data, or let "
                "fit(claims, passages, truths) choose it."
            )
        return self.threshold

    def _claims(self, answer: str) -> list[tuple[str, Span]]:
        if not isinstance(answer, str):
            raise TypeError(f"answer is {type(answer).__name__}; expected str.")
        spans = [(answer[a:b], (a, b)) for a, b in spans_of(self._split, answer)]
        return [(claim, span) for claim, span in spans if any(c.isalnum() for c in claim)]

    def _texts(self, passages: Sequence[Any]) -> list[Text]:
        found = [p if self.text is None else self.text(p) for p in listed("passages", passages)]
        for i, words in enumerate(found):
            if not isinstance(words, str):
                raise TypeError(
                    f"passage {i} is {type(words).__name__}; expected str. Pass text=... to say where the words are."
                )
        return texts_of(found, self._split if self.cite == "sentences" else None, self.pairs)

    @property
    def _split(self) -> Splitter:
        assert self.splitter is not None  # __post_init__ put one there
        return self.splitter

    def _ask(self, claims: Sequence[str], texts: Sequence[Text]) -> list[Ask]:
        return asks_of(claims, texts, self.contradiction is not None)

    def _evidence(self, scores: Sequence[Scores], claims: Sequence[str], texts: Sequence[Text]) -> list[Evidence]:
        checks = Checks(self.literals, self.unreadable)
        return evidence_of(claims, texts, scores, contradiction=self.contradiction is not None, checks=checks)

    def _claim(self, sentence: str, span: Span, found: Evidence, texts: Sequence[Text]) -> Claim:
        thresholds = {"supported": self._least()}
        verdict: Standing = "no evidence"
        relation, chosen = found.supports, found.admitted & (found.supports.probabilities >= self._least())
        if chosen.any():
            verdict = "supported"
        elif self.contradiction is not None:
            relation, chosen = found.contradicts, found.contradicts.probabilities >= self.contradiction
            verdict = "contradicted" if chosen.any() else verdict
        if self.contradiction is not None:
            thresholds["contradicted"] = self.contradiction
        return Claim(
            sentence=sentence,
            span=span,
            supported=verdict == "supported",
            verdict=verdict,
            probability=float(logistic(found.best)),
            contradiction=None if self.contradiction is None else float(found.contradicts.probabilities.max(initial=0)),
            citations=_citations(texts, relation, chosen),
            missing=found.missing,
            thresholds=thresholds,
            unknown=found.unknown,
        )


def _citations(texts: Sequence[Text], relation: Found, chosen: NDArray[np.bool_]) -> tuple[Citation, ...]:
    """The words of the chosen texts, best first; the fewest that say it.

    A passage isn't cited whole if a sentence of it was chosen, nor in a pair if it was chosen alone.
    """
    taken = [(k, text) for k, text in enumerate(texts) if chosen[k]]
    narrow = {text.pieces[0].passage for _, text in taken if text.kind == "sentence"}
    alone = narrow | {text.pieces[0].passage for _, text in taken if text.kind == "passage"}
    out = []
    for k, text in taken:
        mine = {piece.passage for piece in text.pieces}
        if (text.kind == "passage" and mine & narrow) or (text.kind == "pair" and mine & alone):
            continue
        cited = text.cited(int(relation.spans[k, 0]), int(relation.spans[k, 1]))
        for piece, other in zip(cited, cited[::-1], strict=True):
            out.append(
                Citation(
                    passage=piece.passage,
                    span=(piece.start, piece.end),
                    probability=float(relation.probabilities[k]),
                    log_odds=float(relation.log_odds[k]),
                    joined=None if other is piece else other.passage,
                )
            )
    return tuple(sorted(out, key=lambda c: (-c.log_odds, c.passage, c.span)))


def _cut(log_odds: Array, truths: NDArray[np.bool_]) -> float:
    """The probability that parts true from false best, half way between the two log-odds that it parts.

    Balanced accuracy is the mean of the shares of true and of false claims that are told right; of thresholds that do
    equally well, the highest.
    """
    if truths.all() or not truths.any():
        raise ValueError("every truth is the same; expected both supported and unsupported claims.")
    p = logistic(log_odds)
    levels = np.unique(p[np.isfinite(log_odds)])
    if not len(levels):
        raise ValueError("no claim has a passage that holds its numbers and quotes; expected some to choose by.")
    told = [(p >= level)[truths].mean() - (p >= level)[~truths].mean() for level in levels]
    level = float(levels[len(told) - 1 - int(np.argmax(told[::-1]))])
    below = log_odds[p < level].max(initial=-np.inf)
    middle = float(logistic((below + log_odds[p >= level].min()) / 2))
    return middle if middle > float(logistic(below)) else level
