"""LlamaIndex: evaluate a RAG pipeline's answers, sentence by sentence, with no LLM. Needs the extra "sentences"."""

import asyncio

from llama_index.core.base.response.schema import Response
from llama_index.core.schema import NodeWithScore, TextNode

from headgate import Grounding, load
from llama_index.evaluation.headgate import HeadgateFaithfulnessEvaluator, HeadgateRelevancyEvaluator

# A threshold belongs to a model and to texts like yours: label some claims, the more the better.
LABELLED = [
    ("The shop opens at eight.", "The shop is open from eight to six.", True),
    ("The shop is closed at night.", "The shop is open from eight to six.", True),
    ("The shop has a garden.", "The shop is open from eight to six.", False),
    ("Ben runs the shop.", "Ben has run the shop since March.", True),
    ("Ben founded the shop.", "Ben has run the shop since March.", False),
    ("The ferry is late.", "Because of fog the ferry will arrive two hours later.", True),
    ("The ferry is red.", "Because of fog the ferry will arrive two hours later.", False),
]
CONTEXTS = [
    "The lamp weighs 340 grams. It has two switches and a battery. It was first sold in Oslo in March 2021.",
    "Returns are accepted within 30 days. Refunds are paid the way you paid.",
]
ANSWERS = {
    "How much does the lamp weigh?": "The lamp weighs 340 grams. It has a battery.",
    "Within how many days are returns accepted?": "Returns are accepted within 60 days. You also get a free lamp.",
}

claims, passages, truths = zip(*LABELLED, strict=True)
grounding = Grounding(load("mini/nli")).fit(claims, [[p] for p in passages], truths)
faithfulness = HeadgateFaithfulnessEvaluator(grounding=grounding)
relevancy = HeadgateRelevancyEvaluator(threshold=0.2)  # to be chosen likewise, on questions like yours
print(f"supported from P = {grounding.threshold:.2f} up")


def answered(answer: str) -> Response:
    """What a query engine would give; BatchEvalRunner takes both evaluators too."""
    return Response(answer, source_nodes=[NodeWithScore(node=TextNode(text=text)) for text in CONTEXTS])


async def main() -> None:
    """Evaluate all answers at once: those that wait at the same time share batches."""
    jobs = [
        evaluator.aevaluate_response(query=question, response=answered(answer))
        for question, answer in ANSWERS.items()
        for evaluator in (faithfulness, relevancy)
    ]
    results = await asyncio.gather(*jobs)
    for question, faithful, relevant in zip(ANSWERS, results[::2], results[1::2], strict=True):
        print(f"\n{question}")
        print(f"faithful: {faithful.passing}, {faithful.score:.2f} of it supported")
        print("\n".join(f"  {line}" for line in faithful.feedback.splitlines()))
        print(f"relevant: {relevant.passing}, {relevant.score:.2f}")


asyncio.run(main())
