"""A threshold with a guarantee: fit a router to a target, keep it as a file, log what it decides, look back, watch."""

import tempfile
from itertools import product
from pathlib import Path

from headgate import Log, Logged, Router, drift, load, replay, restore, save

# Stand-ins for your own labelled queries, as they come in use: those that fit no route too.
WHO = ("", "Hello, ", "Hi there, ", "Good morning, ", "Sorry to bother you, ", "Quick question: ")
ABOUT = {
    "shipping": (
        "where is my parcel?", "my parcel has not arrived", "how long does delivery take?", "can you track my package?",
        "the courier lost my package", "when will my order be delivered?",
    ),
    "invoice": (
        "I need a copy of my invoice", "the invoice shows the wrong amount", "why was I charged twice?",
        "please send the receipt for my payment", "my bill is too high", "can I pay the invoice later?",
    ),
    None: (
        "who won the cup?", "what is the capital of France?", "tell me a joke", "will it rain tomorrow?",
        "how do I bake bread?", "sing me a song",
    ),
}  # fmt: skip
rows = [(who + text, name) for name, texts in ABOUT.items() for who, text in product(WHO, texts)]
texts, truths = [text for text, _ in rows], [name for _, name in rows]

router = Router(
    load("mini/route"), {"shipping": "a question about the delivery of a parcel", "invoice": "a question about a bill"}
)
fitted = router.fit(texts, truths, max_error=0.15, confidence=0.9)
promise = fitted.certificate
print(f"P(wrong | routed) <= {promise.target}, confidence {promise.confidence}: guaranteed {promise.guaranteed}")
proof = promise.proofs["all"]
print(f"{proof.errors} of {proof.n} routed wrong among {promise.certified} texts that did nothing but certify")

with tempfile.TemporaryDirectory() as folder:
    file, log = Path(folder) / "router.yaml", Log(Path(folder) / "decisions.jsonl")
    save(fitted, file)
    print("".join(line for line in file.read_text().splitlines(keepends=True) if line.startswith(("  where", "thres"))))

    live = Logged(restore(file), log, "live")  # the same model, backend and dtype, or an error
    for text in ("has my package been shipped yet?", "your invoice is wrong", "what shall I cook tonight?"):
        print(f"{live(text).choice or 'none of these':14} {text}")
    changed = [again for again in replay(log, threshold=0.9999) if again.changed]
    print(f"with a threshold of 0.9999 {len(changed)} of 3 decisions change, and no model was asked")
    print(drift(promise, log))
