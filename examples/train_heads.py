"""Teach a router your own routes from a few rows, in seconds; then put a second head on the same encoder."""

from pathlib import Path
from tempfile import TemporaryDirectory

from headgate import Router
from headgate.train import fit_heads

DESKS = {
    "refunds": ["I want my money back", "the return was never paid out", "how long does a refund take"],
    "delivery": ["where is my parcel", "it has not arrived yet", "the courier left it at the wrong house"],
    "device_help": ["the hub is offline", "the pump does not start", "how do I reset the sensor"],
    None: ["tell me a joke", "who won the match last night", "write a poem about spring"],
}
MOODS = {
    "angry": ["this is a disgrace", "I am furious, third time now", "worst shop ever"],
    "calm": ["could you help me please", "thank you for the quick answer", "just a short question"],
}
desks = [{"text": text, "label": desk} for desk, texts in DESKS.items() for text in texts]
moods = [{"text": text, "label": mood} for mood, texts in MOODS.items() for text in texts]

with TemporaryDirectory() as folder:
    # label: null is a row for which none of the labels is true, so the router learns "none" as well.
    fit_heads("mini/embed", desks, Path(folder) / "desks", heads={"desk": ["refunds", "delivery", "device_help"]})
    # The encoder and the first head stay as they are, bit for bit; headgate.load reads the folder anywhere.
    scorer = fit_heads(Path(folder) / "desks", moods, Path(folder) / "both", heads={"mood": ["angry", "calm"]})

desk = Router(scorer, ["refunds", "delivery", "device_help"])
mood = Router(scorer, ["angry", "calm"])
for text in (
    "my package is still missing, what a shame",
    "please pay back what I returned",
    "what is the capital of Peru",
):
    print(f"{desk(text).choice or '(none)':12} {mood(text).choice:6} {text}")
