"""Training of small encoder classifiers, on ``transformers.Trainer`` (needs the extra ``train``).

Three ways in, each from a folder, a Hub id or a part of ``mini``, each to a folder that :func:`headgate.load` reads:

    scorer = fit_heads("mini/embed", "tickets.jsonl", "tickets")          linear heads on a frozen encoder, in seconds
    scorer = train_heads("my/encoder", rows, "tickets")                   any number of heads, and the encoder
    scorer = train_gliclass("mini/gliclass", rows, "router", few_shot=8)  labels and text read together
    scorer = train_cross_encoder("my/encoder", rows, "reranker")          pairs: inference, or relevance

Rows are JSON lines or mappings, as :mod:`headgate.evaluate.rows` has them. A wrong row stops before the first step.
"""

from headgate.train.cross_encoder import train_cross_encoder
from headgate.train.distil import Teacher
from headgate.train.gliclass import Lora, train_gliclass
from headgate.train.gliclass_folder import new_gliclass
from headgate.train.heads import fit_heads
from headgate.train.multi_head import add_head, train_heads
from headgate.train.negatives import mine_negatives

__all__ = [
    "Lora",
    "Teacher",
    "add_head",
    "fit_heads",
    "mine_negatives",
    "new_gliclass",
    "train_cross_encoder",
    "train_gliclass",
    "train_heads",
]
