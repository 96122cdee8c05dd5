"""``headgate bench``: its numbers are consistent, whatever they are."""

import json
import time
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from headgate import cli, load
from headgate.bench import peers
from headgate.bench.measure import Candidate, Ceiling, Result, Turns, linear_flops, ratio, spearman
from headgate.bench.peers import PEERS, Peer
from headgate.bench.report import Options, bench
from headgate.bench.workloads import LEAST, Size, job, lengths
from headgate.loading import open_checkpoint
from headgate.runtime.batching import Row, Work, plan
from headgate.runtime.device import token_budget
from headgate.runtime.torch_forward import TorchForward
from tests import tiny

CPU = torch.device("cpu")
NLI = {0: "entailment", 1: "not_entailment"}
TEMPLATE = "this is {}"
SMALL = Size(texts=4, labels=2, length=12)
OPTIONS = Options(modes=("exact",), size=SMALL, repeat=2, device="cpu")


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranker")
    tiny.cross_encoder(folder, "bert", {0: "relevance"})
    tiny.change(folder / "config.json", sentence_transformers={"version": "6.2.0"})
    return folder


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nli")
    tiny.cross_encoder(folder, "bert", NLI)
    return folder


def run(*arguments):
    return CliRunner().invoke(cli.app, ["bench", *map(str, arguments)], catch_exceptions=False)


SHORT = ("--texts", 4, "--labels", 2, "--length", 12, "--repeat", 2, "--device", "cpu")


def complaint(result):
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line.removeprefix("headgate: ")


# --- the work


@given(st.integers(1, 50), st.integers(1, 300), st.integers(1, 500), st.floats(0, 2))
def test_lengths_fit(count, mean, longest, spread):
    found = lengths(count, Size(length=mean, spread=spread), longest=longest, rng=np.random.default_rng(0))
    assert len(found) == count
    assert min(LEAST, longest) <= min(found) <= max(found) <= longest


def test_lengths_are_those_of_retrieved_passages():
    found = lengths(5000, Size(), longest=10_000, rng=np.random.default_rng(0))
    assert np.mean(found) == pytest.approx(166, rel=0.03)
    assert np.std(np.log(found)) == pytest.approx(0.6, rel=0.05)


def test_texts_differ_fit_and_are_the_same_again(nli):
    scorer = load(nli, template=TEMPLATE, device="cpu")
    found = job(scorer, open_checkpoint(nli), Size(texts=30, labels=5, length=60))
    assert len(set(found.texts)) == 30
    assert len(set(found.labels)) == 5
    scores = scorer.score(found.texts, found.labels)
    assert scores.windows.max() == 1
    assert scores.tokens.tolist() == list(found.tokens)
    assert found == job(scorer, open_checkpoint(nli), Size(texts=30, labels=5, length=60))
    assert found.texts != job(scorer, open_checkpoint(nli), Size(texts=30, labels=5, length=60, seed=1)).texts


@pytest.mark.parametrize(("part", "labels"), [("rank", 1), ("embed", 1), ("nli", 3), ("gliclass", 3), ("heads", None)])
def test_every_part_of_mini_gets_work_that_fits(part, labels):
    scorer = load(f"mini/{part}", device="cpu")
    found = job(scorer, open_checkpoint(f"mini/{part}"), Size(texts=3, labels=3))
    assert len(found.texts) == 3
    assert len(found.labels) == (len(scorer.labels or ()) if labels is None else labels)


# --- counting and comparing


def test_a_forward_counts_rows_tokens_and_padding():
    forward = TorchForward(lambda batch: batch.ids.float()[:, :1], CPU, pad=0, max_tokens=100_000)
    rows = [Row(np.arange(n, dtype=np.int32)) for n in (3, 5, 5, 20)]
    forward(rows)  # one batch of the three that differ, 20 wide
    assert replace(forward.work, seconds=0) == Work(rows=3, tokens=28, padded=60)
    forward(rows[:1])
    assert replace(forward.work, seconds=0) == Work(rows=4, tokens=31, padded=63)
    assert forward.work.seconds > 0


@pytest.mark.parametrize("around", ["cached", "shared"])
def test_a_scorer_says_what_its_model_ran(nli, around):
    scorer = getattr(load(nli, template=TEMPLATE, device="cpu"), around)()
    scorer.score(["a", "the hub"], ["soil"])
    assert scorer.work.rows == 2
    scorer.score(["a"], ["soil"])
    assert scorer.work.rows == (2 if around == "cached" else 3)
    scorer.close()


def result(*seconds):
    return Result("x", seconds, (Work(1, 6, 8, 0.5),) * len(seconds), 0, np.zeros((1, 1), np.float32))


def test_ratios_are_quotients_of_medians_and_turns_are_paired():
    found = ratio(result(4.0, 9.0, 2.0), result(1.0, 3.0, 2.0))
    assert (found.value, found.low, found.high) == (4.0 / 2.0, 2.0 / 2.0, 4.0 / 1.0)
    assert result(1.0).useful == 6 / 8
    assert result(1.0, 0.6, 0.5).overhead == pytest.approx(0.2)


def test_turns_alternate_and_stop_at_the_limit():
    calls = []

    def candidate(name):
        def run(texts):
            calls.append((name, len(texts)))
            time.sleep(0.01)
            return np.zeros((len(texts), 1), np.float32)

        return Candidate(name, run, Work)

    found = Turns([candidate("a"), candidate("b")], CPU).run(["x"] * 3, repeat=2)
    assert calls == [("a", 2), ("b", 2), *[("a", 3), ("b", 3)] * 2]
    assert [(r.name, len(r.seconds)) for r in found] == [("a", 2), ("b", 2)]
    (found,) = Turns([candidate("a")], CPU).run(["x"], repeat=100, limit=0.0)
    assert len(found.seconds) == 1


def test_rank_agreement_shares_ranks_of_ties():
    a = np.array([[1.0], [2], [2], [4]], np.float32)
    assert spearman(a, a) == pytest.approx(1)
    assert spearman(a, -a) == pytest.approx(-1)
    assert spearman(a, np.array([[1.0], [2], [3], [4]], np.float32)) == pytest.approx(0.9486833)  # scipy.stats
    assert spearman(a.T, a.T) == pytest.approx(1)  # one text: over its labels
    assert spearman(np.ones((3, 1), np.float32), a[:3]) == 0


def test_flops_and_rate():
    layer = 4 * 32 * 32 + 2 * 32 * 48  # query, key, value, output; two of the feed-forward
    assert linear_flops(tiny.config("bert", tiny.tokenizer("bert"))) == 2 * 2 * layer
    ceiling = Ceiling(32, torch.float32, CPU)
    ceiling(seconds=0.01)
    assert ceiling.rate > 0


# --- the report


def test_padding_is_that_of_the_plan(ranker):
    report = bench(str(ranker), replace(OPTIONS, modes=("exact", "transformers")))
    scorer, checkpoint = load(ranker, device="cpu"), open_checkpoint(ranker)
    work = job(scorer, checkpoint, SMALL)
    beside = len(checkpoint.tokenizer.encode(work.labels)[0].ids) + 3
    rows = [n + beside for n in work.tokens]
    padded = sum(len(batch) * max(rows[i] for i in batch) for batch in plan(rows, token_budget(CPU)))
    line, filled = report.lines
    assert (line.rows, line.tokens, line.padded, line.useful) == (4, sum(rows), sum(rows), 1.0)  # packed: no padding
    assert (filled.rows, filled.tokens, filled.padded) == (4, sum(rows), padded)
    assert filled.useful == sum(rows) / padded < 1
    assert line.pairs_per_second == pytest.approx(4 / line.median)


def test_a_peer_that_differs_shows(nli, monkeypatch):
    def other(subject, few):
        scorer = load(subject.folder, template=subject.template, device="cpu")

        def off(texts):
            found = scorer.score(texts, subject.labels).log_odds.copy()
            found[0, 0] += 0.5
            return found

        same = Candidate("same", lambda texts: scorer.score(texts, subject.labels).log_odds, lambda: scorer.work)
        return [same, Candidate("off", off, Work)]

    monkeypatch.setitem(PEERS, "other", Peer(("nli",), other))
    report = bench(str(nli), replace(OPTIONS, against=("other",), how={"template": TEMPLATE}))
    ours, same, off = report.lines
    assert [ours.mode, same.mode, off.mode] == ["exact", None, None]
    assert (same.max_difference, same.spearman) == (0, pytest.approx(1))
    assert off.max_difference == pytest.approx(0.5, abs=1e-5)
    for line in report.lines:
        assert line.median == median(line.seconds)
        assert line.ratios["exact"].value == line.median / ours.median
        assert line.ratios["exact"].low <= line.ratios["exact"].high


@pytest.mark.parametrize("peer", ["one-batch", "eager", "sentence-transformers"])
def test_other_ways_to_rank_agree(ranker, peer):
    if peer == "sentence-transformers":
        pytest.importorskip("sentence_transformers")
    ours, theirs = bench(str(ranker), replace(OPTIONS, against=(peer,))).lines
    assert theirs.max_difference < 1e-4
    assert (theirs.rows, theirs.tokens) == (ours.rows, ours.tokens)
    assert theirs.padded >= theirs.tokens


@pytest.mark.parametrize("peer", ["one-batch", "transformers"])
def test_other_ways_to_infer_agree(nli, peer):
    ours, *others = bench(str(nli), replace(OPTIONS, against=(peer,), how={"template": TEMPLATE})).lines
    assert len(others) == (2 if peer == "transformers" else 1)
    for line in others:
        assert line.max_difference < 1e-4
        assert line.tokens == ours.tokens
    assert peer != "transformers" or others[0].padded == ours.tokens  # one by one: no padding


def test_the_gliclass_pipeline_agrees(tmp_path):
    pytest.importorskip("gliclass")
    from tests.parity.test_gliclass import published, tokenizer

    published(tmp_path, "bert", scorer_type="simple", prompt_first=True)
    inputs = ["input_ids", "attention_mask"]
    tok = tokenizer("bert")
    PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="[PAD]", model_input_names=inputs).save_pretrained(tmp_path)
    tok.save(str(tmp_path / "tokenizer.json"))
    ours, *others = bench(str(tmp_path), replace(OPTIONS, against=("all",), how={"max_length": 128})).lines
    assert others
    for line in others:
        assert line.max_difference < 1e-4
        assert line.tokens == ours.tokens


# --- the command


def test_json_says_everything(ranker):
    found = run(ranker, *SHORT, "--mode", "int8", "--against", "one-batch", "--json")
    assert (found.exit_code, found.stderr) == (0, "")
    said = json.loads(found.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    plain, half, peer = said["lines"]
    assert [plain["mode"], half["mode"], peer["mode"]] == ["exact", "int8", None]
    assert plain["max_difference"] == 0 < half["max_difference"]
    assert set(peer["ratios"]) == {"exact", "int8"}
    assert set(said["ceiling"]) == {"float32", "int8"}
    assert peer["overhead"] is None is peer["share"]
    assert plain["share"] == pytest.approx(plain["gflops"] / said["ceiling"]["float32"])
    assert plain["gflops"] == pytest.approx(said["linear_flops"] * plain["padded"] / plain["median"] / 1e9)
    assert (said["kind"], said["texts"], said["labels"], said["skipped"]) == ("ranker", 4, 1, {})
    assert all(len(line["seconds"]) == 2 for line in said["lines"])


def test_the_table_names_everybody(ranker):
    found = run(ranker, *SHORT, "--mode", "exact", "--against", "one-batch")
    assert found.exit_code == 0
    assert "headgate exact" in found.stdout
    assert "one batch of all" in found.stdout


def test_a_missing_peer_is_named_and_skipped(ranker, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(peers, "import_module", missing)
    found = run(ranker, *SHORT, "--mode", "exact", "--against", "sentence-transformers", "--json")
    assert found.exit_code == 0
    assert "pip install sentence-transformers" in found.stderr
    said = json.loads(found.stdout)
    assert len(said["lines"]) == 1
    assert "pip install sentence-transformers" in said["skipped"]["sentence-transformers"]


def test_other_libraries_do_not_read_our_own_layout():
    found = run("mini/nli", *SHORT, "--mode", "exact", "--against", "transformers")
    assert found.exit_code == 0
    assert "layout of headgate's own" in found.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mode", "float33"], "'float33' is not known; expected one of ['exact',"),
        (["--against", "gliclass"], "'gliclass' came for a model of kind nli; expected one of ['transformers',"),
        (["--template", "no place"], "template"),
    ],
)
def test_what_is_wrong_takes_a_line(nli, arguments, said):
    assert said in complaint(run(nli, *SHORT, "--template", TEMPLATE, *arguments))


def test_too_many_labels_for_the_model(tmp_path):
    pytest.importorskip("gliclass")
    from tests.parity.test_gliclass import published

    published(tmp_path, "bert", scorer_type="simple", prompt_first=True)
    assert "ask with fewer labels" in complaint(run(tmp_path, "--labels", 100, "--mode", "exact"))


def test_a_folder_that_is_not_there():
    assert "there is no folder" in complaint(run("./nowhere"))
