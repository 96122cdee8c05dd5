"""The same NLI scores from transformers' zero-shot pipeline: ``python benchmarks/zero_shot_pipeline.py``.

One NLI checkpoint of MiniLM's shape (random weights: speed doesn't depend on them) is saved, then read
by both in this process. Prints the largest difference of the probabilities, and the seconds as a ratio.
"""

import tempfile
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console
from tokenizers import Tokenizer
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast, pipeline

import headgate
from headgate import load

TEMPLATE = "This text is about {}."


def main() -> None:
    """Time both on 64 texts and 4 labels."""
    console = Console()
    mini = Path(headgate.__file__).parent / "mini"
    examples = Path(__file__).parent.parent / "examples" / "handbook" / "passages.jsonl"
    texts = [line[40:400] for line in examples.read_text(encoding="utf-8").splitlines()][:64]
    labels = ["delivery", "a refund", "plants", "the network"]
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    names = {"id2label": {0: "entailment", 1: "not_entailment"}, "label2id": {"entailment": 0, "not_entailment": 1}}
    with tempfile.TemporaryDirectory() as folder:
        model = BertForSequenceClassification(BertConfig(**shape, **names)).eval()
        model.save_pretrained(folder)
        tokenizer = Tokenizer.from_file(str(mini / "tokenizer.json"))
        tokenizer.save(f"{folder}/tokenizer.json")
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="[PAD]", model_max_length=512,
            model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        )  # fmt: skip
        peer = pipeline("zero-shot-classification", model=model, tokenizer=fast, device="cpu")
        ours = load(folder, template=TEMPLATE, device="cpu")
        seconds = {}
        start = perf_counter()
        found = ours.score(texts, labels).probabilities
        seconds["headgate"] = perf_counter() - start
        for size in (1, 16):
            start = perf_counter()
            said = peer(texts, labels, hypothesis_template=TEMPLATE, multi_label=True, batch_size=size)
            seconds[f"transformers pipeline, batch_size={size}"] = perf_counter() - start
    worst = max(
        abs(p - found[i, labels.index(label)])
        for i, answer in enumerate(said)
        for label, p in zip(answer["labels"], answer["scores"], strict=True)
    )
    console.print(f"{len(texts)} texts x {len(labels)} labels; largest difference of a probability {worst:.1e}")
    for name, t in seconds.items():
        console.print(f"{name:<40} {t:6.2f} s   {t / seconds['headgate']:.1f} times headgate's")


if __name__ == "__main__":
    main()
