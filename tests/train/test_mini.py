"""The training of mini, end to end on a tiny random BERT and made-up rows."""

import itertools
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel

from headgate import Ask, Calibration, CheckpointError, DataError, evaluate, load
from headgate.models import storage
from headgate.models.storage import SCALE, Unpacked
from headgate.train.common import normal
from headgate.train.mini import examples, finish
from headgate.train.mini.calibrating import ROUTED, change, rankers, route_calibration, route_weights
from headgate.train.mini.card import card
from headgate.train.mini.data import Held
from headgate.train.mini.export import LABELS, PAIRS, TEXT, WEIGHTS, between, export, load_checkpoint, tensors
from headgate.train.mini.export import main as command
from headgate.train.mini.finish import LOOKALIKES, SHORT, _stretch, head_rows, refit
from headgate.train.mini.harmless import HARMLESS, HARMLESS_HELD
from headgate.train.mini.heldout import Parts
from headgate.train.mini.labels import say, spoken
from headgate.train.mini.matching import Names
from headgate.train.mini.model import ALARMS, HEADS, Mini, Text, base_tokenizer, relevance
from headgate.train.mini.tasks import UNKNOWN, Labels, Nli
from headgate.train.mini.training import prepare, train
from tests.train.mini_data import FOUR, sentence, write


def everywhere(model: Mini) -> dict[str, Mini]:
    """One run in place of the three."""
    return dict.fromkeys((TEXT, PAIRS, LABELS), model)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / WEIGHTS, weights_only=True)
    return found


def test_a_resumed_run_goes_on_bit_for_bit(data: Path, base: Path, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "checkpoint-2", tmp_path / "checkpoint-2")
    train(prepare(data, tmp_path, str(base), FOUR), resume=True)
    middle, straight, resumed = (weights(f) for f in (run / "checkpoint-2", run, tmp_path))
    assert not torch.equal(middle["multi.heads.nli.weight"], straight["multi.heads.nli.weight"])
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert state["global_step"] == 4


def test_a_run_begins_with_another(data: Path, base: Path, run: Path, tmp_path: Path) -> None:
    begun = prepare(data, tmp_path, str(base), FOUR, run)
    for name, value in begun.model.model.weights().items():  # type: ignore[union-attr, operator]
        assert torch.equal(value, weights(run)[name]), name


def test_a_run_does_not_overwrite_another(data: Path, base: Path, run: Path) -> None:
    with pytest.raises(FileExistsError, match="--resume"):
        train(prepare(data, run, str(base), FOUR), resume=False)


def test_one_task_leaves_the_others_parts_alone(data: Path, base: Path, run: Path, tmp_path: Path) -> None:
    torch.manual_seed(FOUR.seed)
    text = Text(base_tokenizer(base))
    before = Mini(base, text).weights()
    train(prepare(data, tmp_path, str(base), replace(FOUR, only=("nli",))), resume=False)
    after = weights(tmp_path)
    assert not torch.equal(before["multi.heads.nli.weight"], after["multi.heads.nli.weight"])
    for name in ("multi.heads.injection.weight", "gliclass.text_projector.linear_1.weight", "maxsim"):
        assert torch.equal(before[name], after[name]), name


def test_a_loss_that_is_not_finite_stops_the_run(data: Path, base: Path, tmp_path: Path) -> None:
    trainer = prepare(data, tmp_path, str(base), FOUR)
    with torch.no_grad():
        trainer.model.model.maxsim.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss of rank is nan"):
        train(trainer, resume=False)


def test_rows_that_nobody_labelled_pull_the_label_scorer_towards_the_base(data: Path, base: Path) -> None:
    torch.manual_seed(0)
    text = Text(base_tokenizer(base))
    model, task = Mini(base, text), Labels(examples.load(data), text, 200)
    rng = random.Random(0)
    rows = task._rows(rng, [task._any(rng) for _ in range(8)])
    assert {t for row in rows for t in row.target} == {UNKNOWN}
    optimizer = torch.optim.Adam(model.gliclass.parameters(), lr=0.01)
    losses = []
    for _ in range(8):
        loss = task.loss(model, rows)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_names_are_learned_from_what_is_true(data: Path, base: Path) -> None:
    task = Names(examples.load(data), Text(base_tokenizer(base)), 300)
    for seed in range(20):
        menu = task.draw(random.Random(seed))
        assert len(menu.true) == len(menu.texts)
        assert {len(row) for row in menu.true} == {len(menu.labels)}
        assert all(map(any, menu.true))


def test_the_export_has_what_the_loader_reads(folder: Path, base: Path) -> None:
    names = {p.name for p in folder.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "scorer.json"}

    stored = load_file(folder / "model.safetensors")
    assert {w.dtype for name, w in stored.items() if not name.endswith(SCALE)} == {torch.float16, torch.int8}
    found = Unpacked(stored)
    layer = "encoder.layer.0.output.dense.weight"
    of = [found[f"{name}.{layer}"] for name in ("backbone", "text", "pairs")]
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(of, 2))
    assert torch.allclose(of[0], BertModel.from_pretrained(base).get_parameter(layer), atol=1e-3)
    assert not [name for name in found if "word_embeddings" in name and not name.startswith("backbone.")]
    for name in HEADS:
        assert len(found[f"heads.{name}.weight"]) == (1 if name in ALARMS else len(HEADS[name]))
    for name in ("text_projector.linear_1", "classes_projector.linear_2"):
        assert f"gliclass.{name}.weight" in found
    assert "backbone.embeddings.word_embeddings.weight" in found
    assert {name.split(".")[3] for name in found if name.startswith("labels.")} == {"1"}  # the upper half
    assert not [name for name in found if "pooler" in name or "encoder_model" in name]

    scorer = json.loads((folder / "scorer.json").read_text())
    assert set(scorer["parts"]) == {"nli", "rank", "route", "gliclass", "heads", "embed"}
    assert set(scorer["defaults"]) == {"rerank", "route", "guard", "embed"}
    assert scorer["parts"]["nli"]["classes"] == ["entailment", "neutral", "contradiction"]
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None
    assert tokenizer["padding"] is None
    assert tokenizer["normalizer"]["normalizers"][0]["type"] == "NFKC"
    for part in scorer["parts"]:
        load(folder / part)


def test_each_part_reads_with_the_layers_that_learned_it(
    run: Path, pairs: Path, labels: Path, base: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "LARGE", 1)
    texts, names = ["the pump lost its password", "reset the valve"], ["refund", "soil"]
    for part, of in (("nli", pairs), ("gliclass", labels), ("route", run), ("heads", run)):
        model, text = load_checkpoint(of, str(base))
        alone = folder.parent / f"alone-{part}"
        export(everywhere(model), text, alone)
        scorers = [load(f / part) for f in (folder, alone)]
        asked = scorers[0].labels or names
        found, expected = (scorer.score(texts, asked).log_odds for scorer in scorers)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        other, _ = load_checkpoint(pairs if of is run else run, str(base))
        export(everywhere(other), text, alone)
        assert np.abs(load(alone / part).score(texts, asked).log_odds - expected).max() > 1e-3
    for part in ("embed", "rank"):
        found, of_other_runs = (load(f / part).score(texts, names).log_odds for f in (folder, alone))
        np.testing.assert_array_equal(found, of_other_runs)
    _, text = load_checkpoint(run, str(base))
    row = text.batch(text.single([texts[0]], 32))
    states = BertModel.from_pretrained(base)(row.ids, row.mask).last_hidden_state.mean(1)
    ours = load(folder / "embed").embed(texts[:1], role="query")  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours, torch.nn.functional.normalize(states).detach(), atol=0.02)  # int8 on disk


def test_the_export_on_the_command_line(run: Path, pairs: Path, labels: Path, base: Path, tmp_path: Path) -> None:
    given = {"--text": run, "--pairs": pairs, "--labels": labels, "--base": base, "--out": tmp_path, "--share": 1}
    command([str(word) for option in given.items() for word in option])
    for part in ("nli", "gliclass", "heads", "embed"):
        load(tmp_path / part)


def test_half_of_the_way_between_two_runs(run: Path, labels: Path, base: Path) -> None:
    (start, _), (end, _) = (load_checkpoint(f, str(base)) for f in (run, labels))
    for share in (0.0, 0.5, 1.0):
        for name, value in between(start, end, share).weights().items():
            a, b = start.weights()[name], end.weights()[name]
            torch.testing.assert_close(value, (1 - share) * a + share * b, msg=name)
    moved = [n for n, v in end.weights().items() if not torch.equal(v, start.weights()[n])]
    assert any(n.startswith("multi.backbone.encoder.layer.1") for n in moved)


def test_layers_that_are_not_in_the_file_are_refused(folder: Path, tmp_path: Path) -> None:
    lacking = shutil.copytree(folder, tmp_path / "lacking")
    found = load_file(lacking / "model.safetensors")
    save_file({k: v for k, v in found.items() if not k.startswith("text.")}, lacking / "model.safetensors")
    load(lacking / "nli")
    with pytest.raises(CheckpointError, match=r"no weights under 'text\.'"):
        load(lacking / "heads")


def test_parts_with_layers_of_their_own_have_fingerprints_of_their_own(folder: Path) -> None:
    settings = json.loads((folder / "scorer.json").read_text())
    settings["parts"]["bare"] = {**settings["parts"]["route"], "layers": None}
    settings["parts"]["again"] = dict(settings["parts"]["route"])
    other = shutil.copytree(folder, folder.parent / "a part on the base")
    (other / "scorer.json").write_text(json.dumps(settings))
    prints = {part: load(other / part).fingerprint.split("-")[0] for part in ("again", "route", "bare")}
    assert prints["again"] == prints["route"] != prints["bare"]


def test_runs_that_moved_no_layer_read_with_the_bases(run: Path, base: Path, tmp_path: Path) -> None:
    _, text = load_checkpoint(run, str(base))
    still = Mini(base, text).eval()
    export(everywhere(still), text, tmp_path)
    assert "layers" not in json.dumps(json.loads((tmp_path / "scorer.json").read_text())["parts"])
    for part in ("nli", "route", "heads"):
        load(tmp_path / part)


def test_frozen_layers_stay_the_bases_and_are_kept_once(data: Path, base: Path, tmp_path: Path) -> None:
    settings = replace(FOUR, only=("heads", "names", "gliclass"), frozen=1)
    train(prepare(data, tmp_path, str(base), settings), resume=False)
    after, start = weights(tmp_path), BertModel.from_pretrained(base).state_dict()
    own = {
        k
        for k, v in start.items()
        if f"multi.backbone.{k}" in after and not torch.equal(v, after[f"multi.backbone.{k}"])
    }
    own.discard("embeddings.word_embeddings.weight")  # the two markers
    assert own
    assert {name.split(".")[2] for name in own} == {"1"}
    model, _ = load_checkpoint(tmp_path, str(base))
    kept = {name.split(".")[3] for name in tensors(everywhere(model)) if name.startswith("text.")}
    assert kept == {"1"}


def test_runs_on_different_words_do_not_mix(run: Path, base: Path, tmp_path: Path) -> None:
    model, text = load_checkpoint(run, str(base))
    other, _ = load_checkpoint(run, str(base))
    for one, message in ((other, "one --base"), (model, "that they began with")):
        one.multi.backbone.get_input_embeddings().weight.data[3] += 1  # beside the two markers
        with pytest.raises(ValueError, match=message):
            export({TEXT: model, PAIRS: other, LABELS: model}, text, tmp_path)


def test_finishing_touches_the_heads_alone(data: Path, folder: Path, tmp_path: Path) -> None:
    refit(folder, tmp_path, examples.load(data), seed=0)
    before, after = (load_file(f / "model.safetensors") for f in (folder, tmp_path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"heads.{head}.{kind}" for head in HEADS if head != "nli" for kind in ("weight", "bias")}
    assert {tuple(row["heads"]) for row in head_rows(examples.load(data), "intent", random.Random(0))} == {("intent",)}
    rows = head_rows(examples.load(data), "injection", random.Random(0))
    assert {"Thanks!", "hello"} & {row["text"] for row in rows}


def test_thresholds_let_their_share_of_harmless_texts_pass(
    data: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    fields = {"medquad": "query", "nq_passages": "query", "wanli": "premise"}
    for name in ("clinc150", "hwu64", *fields):
        write(root, name, "dev", [{fields.get(name, "text"): f"{name} {i}"} for i in range(100)])
    labelled = {
        "sms_spam": ("ham", "spam"),
        "paradetox": ("neutral", "toxic"),
        "hate_offensive_davidson": ("neither", "hate"),
        "edos_sexism": ("not sexist", "sexist"),
        "jailbreak_prompts": ("benign", "jailbreak"),
        "prompt_injections_deepset": ("benign", "injection"),
    }
    for name, labels in labelled.items():
        write(root, name, "dev", [{"text": f"{name} {i}", "label": labels[i % 2]} for i in range(80)])
    alike = {text: 0.5 + 0.4 * i / len(HARMLESS_HELD) for i, text in enumerate(HARMLESS_HELD)}
    monkeypatch.setattr(
        finish,
        "_probabilities",
        lambda _, texts, rule: np.array([alike.get(t, crc32(t.encode()) % 997 / 2500) for t in texts]),
    )
    out = shutil.copytree(folder, tmp_path / "out")
    found = finish.thresholds(Parts(out, root))
    chosen = json.loads((out / "scorer.json").read_text())["parts"]["heads"]["thresholds"]
    assert set(chosen) == set(found) == {f"{head}:{HEADS[head][0]}" for head in ALARMS}
    assert 0.86 < chosen["harmful:harmful"] < 0.9
    assert found["harmful:harmful"]["look-alikes that pass"] == pytest.approx(1 - LOOKALIKES, abs=0.01)
    assert found["toxicity:toxic"]["safe that pass"] == pytest.approx(0.99, abs=0.005)
    assert 0.36 < chosen["injection:injection"] < 0.4
    assert not set(HARMLESS) & set(HARMLESS_HELD)


def test_what_ranks_is_calibrated_on_queries(data: Path, folder: Path, tmp_path: Path) -> None:
    rng = random.Random(4)
    queries = []
    for _ in range(12):
        query = sentence(rng)
        documents = [{"text": f"{query if i < 2 else ''} {sentence(rng)}", "relevance": int(i < 2)} for i in range(8)]
        queries.append({"query": query, "documents": documents})
    out = shutil.copytree(folder, tmp_path / "out")
    found = rankers(Parts(out, data), queries)
    assert found["rank"]["nDCG@10"] > 0.9  # a word in common is enough here

    def answers(part: str) -> np.ndarray:
        asks = [Ask([d["text"] for d in q["documents"]], [q["query"]]) for q in queries]
        return np.concatenate([s.log_odds[:, 0] for s in load(out / part).score_many(asks)])

    truth = [d["relevance"] > 0 for q in queries for d in q["documents"]]
    for part in ("rank", "embed"):
        settings = json.loads((out / "scorer.json").read_text())["parts"][part]
        assert settings["calibration"] is not None
        calibrated = answers(part)
        change(out, part, calibration=None)
        expected = Calibration.fit(answers(part), truth)
        assert settings["calibration"]["scale"] == pytest.approx(expected.scale, rel=1e-3)
        np.testing.assert_allclose(calibrated, expected.scale * answers(part) + expected.shift, atol=0.02)


def test_the_routing_score_is_mixed_on_labelled_dev_rows(data: Path, folder: Path, tmp_path: Path) -> None:
    root, rng = shutil.copytree(data, tmp_path / "data"), random.Random(2)
    labels = ["reset_pump", "lost_password", "refund_invoice"]
    for name in ROUTED:
        labelled = [rng.choice(labels) for _ in range(30)]
        rows = [{"text": f"{spoken(label)} {sentence(rng)}", "label": label} for label in labelled]
        write(root, name, "dev", [*rows, {"text": "never read", "label": "oos"}])
    out = shutil.copytree(folder, tmp_path / "out")
    shares = route_weights(Parts(out, root), 100)["shares"]
    chosen = json.loads((out / "scorer.json").read_text())["parts"]["route"]
    assert chosen["calibration"] is None

    def quality() -> float:
        found = []
        for name in ROUTED:
            rows = [row for row in Parts(out, root).rows(name, "dev") if row["label"] != "oos"]
            said = {label: spoken(label) for label in labels}
            found.append(evaluate.classify(load(out / "route"), rows, labels=said)["macro F1"])
        return float(np.mean(found))

    assert quality() == pytest.approx(max(shares.values()), abs=1e-3)
    for weights, share in (((1.0, 0.0), 1.0), ((0.0, 1.0), 0.0)):
        change(out, "route", maxsim=weights[0], cosine=weights[1])
        assert quality() == pytest.approx(shares[share], abs=1e-3)


def test_a_head_reads_the_beginning_of_an_attack_and_any_stretch_of_a_harmless_text() -> None:
    text = " ".join(f"word{i}" for i in range(400))
    assert _stretch(text, middle=False) == text[:SHORT]
    middle = _stretch(text, middle=True)
    assert middle in text
    assert len(middle) == SHORT
    assert middle == _stretch(text, middle=True) != text[:SHORT]
    assert _stretch("short", middle=True) == "short"


def test_what_contradicts_a_text_is_contradicted_by_it(data: Path, base: Path) -> None:
    found = examples.load(data)
    task = Nli(found, Text(base_tokenizer(base)), 200)
    pairs = {(p.premise, p.hypothesis): p.label for some in found.pairs.values() for p in some}
    drawn = [task._pair(random.Random(seed)) for seed in range(400)]
    turned = [p for p in drawn if (p.hypothesis, p.premise) in pairs and (p.premise, p.hypothesis) not in pairs]
    assert {(p.label, pairs[p.hypothesis, p.premise]) for p in turned} == {(2, 2)}


def test_a_router_calibrated_on_its_own_likelihood_declines_rightly() -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(-1, 4, size=4000)
    z = rng.normal(size=(4000, 4))
    z[right >= 0, right[right >= 0]] += 3
    # P(k) of the truth is exp(3 z_k - 4.5) beside 1 for none, of which the fit must find scale and shift.
    fit = route_calibration(z, right)
    assert fit["scale"] == pytest.approx(3, abs=0.3)
    assert fit["shift"] == pytest.approx(-4.5, abs=0.5)


def test_rows_of_evaluation_files_are_dropped(data: Path) -> None:
    found = examples.load(data)
    assert found.dropped == {"clinc150": 1}
    assert len(found.choices["clinc150"]) == 11


def test_thirteen_words_in_a_row_are_a_repetition(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(30)]
    write(tmp_path, "far", "test", [{"premise": " ".join(words), "hypothesis": "Short.", "label": "neutral"}])
    write(tmp_path, "far", "train", [{"text": "never read"}])
    held = Held(tmp_path)
    assert held.repeats("Before it, " + ", ".join(words[5:18]).upper() + " and after")
    assert not held.repeats(" ".join(words[5:17]))
    assert not held.repeats("never read")
    assert held.has({"premise": "A wholly other text", "hypothesis": " ".join(words[17:30])})
    assert not held.has({"premise": "A wholly other text", "hypothesis": "Short."})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"premise": "", "hypothesis": "b", "label": "neutral"}, "mnli, train row 1: field 'premise'"),
        ({"premise": "a", "hypothesis": "b", "label": "maybe"}, "mnli, train row 1: label 'maybe'"),
    ],
)
def test_a_wrong_row_stops_before_the_first_step(tmp_path: Path, row: dict[str, str], message: str) -> None:
    write(tmp_path, "mnli", "train", [row])
    with pytest.raises(DataError, match=message):
        examples.load(tmp_path)


def test_without_data_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training text for class"):
        examples.load(tmp_path)


def test_labels_are_said_in_words() -> None:
    assert [spoken(name) for name in ("track_order", "PlayMusic", "set.alarm")] == [
        "track order",
        "play music",
        "set alarm",
    ]
    said = {say(random.Random(seed), "pay_bill", ["my bill is due"]).lower() for seed in range(60)}
    assert {"pay bill", "my bill is due", "help with pay bill"} <= said
    assert normal("Ｈello,  WORLD!") == "hello world"


def test_relevance_leaves_out_special_tokens_and_padding() -> None:
    torch.manual_seed(0)
    query, passage = torch.randn(1, 5, 8), torch.randn(1, 7, 8)
    q, p = (torch.nn.functional.normalize(x, dim=-1) for x in (query[0, 1:4], passage[0, 1:5]))
    by_hand = (q @ p.T).amax(1).mean()
    mask = torch.arange(7)[None] < 6
    found = relevance(query, torch.ones(1, 5, dtype=torch.bool), passage, mask)
    assert found.item() == pytest.approx(by_hand.item(), abs=1e-6)


def test_the_card_lists_every_source_and_marks_what_the_base_has_seen() -> None:
    reranking = {
        "trec_dl19": {"rows": 2, "first stage": 0.4, "rank": 0.5},
        "scifact": {"rows": 2, "first stage": 0.4},
    }
    chosen = {
        "routing": {"route": {"balanced": 0.75}},
        "thresholds": {"toxicity:toxic": {"safe": 9, "safe that pass": 0.99}},
    }
    text = card({"reranking": reranking, "label_order": {"rows": 3, "flips at 16 labels": 0.02}}, chosen)
    assert "| trec_dl19 (source seen by the base) | 2 | 0.400 | 0.500 |" in text
    assert "| scifact | 2 | 0.400 |  |" in text
    assert "| mini/gliclass | 3 | 0.020 |" in text
    assert "| toxicity:toxic | 9 | 0.990 |" in text
    assert "| vitaminc_synthetic | SA |" in text
    assert "Not measured" in card({}, {})
