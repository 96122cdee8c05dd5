"""Check an answer sentence by sentence, and cite the words that support it. Needs the extra "sentences"."""

from headgate import Grounding, load
from headgate.sentences import sentences

PASSAGES = [
    "The Loom hub weighs 340 grams. It has two USB ports and a speaker. It was first sold in Oslo in March 2021.",
    "Returns are accepted within 30 days. Refunds are paid the way you paid.",
    "The hub must stay dry. “Water inside the hub voids the warranty”, says the manual.",
]
ANSWER = (
    "The hub has a speaker. It weighs 430 grams. It has no USB ports. You can return it within 30 days. "
    "It comes with a charger. The manual says “water inside the hub voids the warranty”."
)
# A threshold belongs to a model and to texts like yours: label some claims, the more the better.
LABELLED = [
    ("The office opens at nine.", "The office is open from nine to five.", True),
    ("The office is closed at night.", "The office is open from nine to five.", True),
    ("The office has a garden.", "The office is open from nine to five.", False),
    ("Anna leads the team.", "Anna has led the team since May.", True),
    ("Anna founded the team.", "Anna has led the team since May.", False),
    ("The train is late.", "Because of snow the train will arrive two hours later.", True),
    ("The train is red.", "Because of snow the train will arrive two hours later.", False),
    ("Tickets are sold online.", "You can buy tickets on our website or at the door.", True),
    ("Tickets are cheap.", "You can buy tickets on our website or at the door.", False),
]

claims, passages, truths = zip(*LABELLED, strict=True)
ground = Grounding(load("mini/nli"), sentences("en"), contradiction=0.5)
ground = ground.fit(claims, [[p] for p in passages], truths)
print(f"supported from P = {ground.threshold:.2f} up")

for claim in ground(ANSWER, PASSAGES):
    print(f"{claim.verdict:<13}{claim.probability:.2f}  {claim.sentence}")
    for found in claim.citations:
        start, end = found.span
        print(f"{'':<19}[{found.passage}] {PASSAGES[found.passage][start:end]}")
    if claim.missing:
        print(f"{'':<19}nowhere in the passages: {', '.join(claim.missing)}")
