"""The classes of texts, by the model with a closed vocabulary that is served."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from headgate.scores import Ask
from headgate.serve.faults import Fault
from headgate.serve.service import Service


@dataclass(frozen=True)
class Classes:
    """What was found.

    Attributes:
        model: Name of the model.
        labels: The m classes.
        log_odds: (n, m), of each text.
        tokens: Of all texts.
    """

    model: str
    labels: Sequence[str]
    log_odds: Sequence[list[float]]
    tokens: int


async def classified(service: Service, request: Request, texts: Sequence[str], model: str | None) -> Classes:
    """Log-odds of every class.

    Args:
        service: Its catalog names the model.
        request: Who asks.
        texts: At least one.
        model: Its name or alias; None for the one there is.

    Raises:
        Fault: No such model is served, or it is refused.
    """
    if not texts:
        raise Fault("invalid", "no text came; expected at least one.", param="input")
    if len(texts) > service.settings.limits.documents:
        most = service.settings.limits.documents
        raise Fault("invalid", f"{len(texts)} texts came; expected at most {most}.", param="input")
    found = service.catalog.part("classifier") if model is None else service.catalog.classifier(model)
    scorer = found.task
    labels = scorer.labels
    if labels is None:
        raise Fault("unsupported", f"{found.model} has no vocabulary of its own; ask /v1/route with routes.")

    def work() -> Classes:
        (scores,), tokens = service.judge(found.name, scorer, [Ask(texts, labels)])
        _ = scores.probabilities  # an order has none: refused by name
        return Classes(found.model, labels, scores.log_odds.tolist(), tokens)

    answer = await service.run(request, sum(map(len, texts)), work)
    service.note(request, model=found.model, documents=len(texts), tokens=answer.tokens, texts=list(texts))
    return answer
