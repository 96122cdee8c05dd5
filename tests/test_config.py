"""A task as a file: it comes back as it was, and what was changed in it is refused or taken, never ignored."""

import json
import math
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

import headgate
from headgate import (
    Calibration,
    CheckpointError,
    Guard,
    Label,
    Reranker,
    Router,
    Rule,
    StaleError,
    load,
    loading,
    restore,
    save,
)
from headgate.certificate import Certificate
from headgate.config import read
from headgate.models.fastest import Choice
from headgate.testing import ToyScorer
from headgate.thresholds import Proof
from tests.core.fixed import Fixed

TOY = ToyScorer()
SUFFIXES = [".json", ".yaml", ".yml"]
TEXTS = [f"{word} {i}" for i in range(60) for word in ("password", "invoice", "hello")]
TRUTHS = [{"password": "login", "invoice": "money"}.get(t.split()[0]) for t in TEXTS]


@pytest.fixture(scope="module")
def certified():
    """A router with a certificate and everything that a file may hold."""
    routes = {"login": "password", "money": Label("invoice", verbatim=True)}
    router = Router(TOY, routes, nulls=["small talk", Label("weather")], gap=0.1, on_overflow="window")
    return router.fit(TEXTS, TRUTHS, max_error=0.2, by="route")


@pytest.fixture(scope="module")
def certified_guard():
    guard = Guard(TOY, {"login": Rule("password", 0.5), "money": Label("invoice")}, 0.5, unreadable=0.25, turns=3)
    return guard.fit(TEXTS, TRUTHS, max_false_positive_rate=0.1, by="rule")


def through(task, suffix=".yaml", **how):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"task{suffix}"
        save(task, path)
        return restore(path, **{"scorer": getattr(task, "scorer", None), **how})


def same(task, other):
    """Equal, but for what a guard resolves when it is made."""
    if isinstance(task, Guard):
        assert other.rules == task.rules
        task, other = (replace(t, forbid=t.rules, threshold=None) for t in (task, other))
    assert other == task


# ---------------------------------------------------------------------------- as it was

number = st.floats(0, 1) | st.sampled_from([0, 1, np.float64(0.3), np.float32(0.7), 1e-5, 5e-324, 0.1 + 0.2])
words = st.text(st.characters(), min_size=1).filter(lambda t: t.strip())
label = words | st.builds(Label, words, st.booleans())
calibration = st.builds(
    Calibration,
    st.floats(1e-3, 1e3) | st.just(1),
    st.floats(-50, 50) | st.just(0) | st.just(-0.0),
    st.floats(0, 3) | st.just(0),
    st.sampled_from(["", "toy"]),
    st.lists(words, unique=True).map(tuple),
)
COMMON = [
    "yes",
    "no",
    "null",
    "on",
    "1",
    "1e3",
    "0x1",
    "12:30",
    "2026-01-31",
    "~",
    "- a",
    "a: b",
    "#",
    "'",
    '"',
    " a",
    "a\n",
]
name = words | st.sampled_from(COMMON)


@st.composite
def routers(draw):
    names = draw(st.lists(name, min_size=1, max_size=5, unique=True))
    labels = draw(
        st.lists(label, min_size=len(names), max_size=len(names) + 2, unique_by=lambda x: getattr(x, "text", x))
    )
    multi = draw(st.booleans())
    return {
        "routes": draw(st.sampled_from([dict(zip(names, labels, strict=False)), names])),
        "threshold": draw(
            st.none() | number | st.fixed_dictionaries(dict.fromkeys(draw(st.permutations(names)), number))
        ),
        "multi": multi,
        "turns": draw(st.integers(1, 9) | st.just(np.int64(2))),
        "gap": 0 if multi else draw(st.floats(0, 9) | st.just(1) | st.just(np.float32(0.1))),
        "nulls": draw(st.sampled_from([(), [], tuple(labels[len(names) :]), labels[len(names) :]])),
        "top_k": draw(st.none() | st.integers(1, 9)) if multi else None,
        "on_overflow": draw(st.sampled_from(["window", "error"])),
        "calibration": draw(st.none() | calibration),
    }


@st.composite
def guards(draw):
    rule = st.builds(Rule, label, number, st.none() | calibration)
    names = draw(st.lists(name.filter(lambda n: n != "unreadable"), min_size=1, max_size=5, unique=True))
    return {
        "forbid": draw(st.sampled_from([{n: draw(rule | label) for n in names}, names])),
        "threshold": draw(number),
        "unreadable": draw(number),
        "turns": draw(st.none() | st.integers(1, 9)),
        "on_overflow": draw(st.sampled_from(["window", "error"])),
    }


def pinned(task, deciles):
    """The same task with a certificate of it, as fit makes them."""
    proofs = {
        "all": Proof(np.float64(0.3), True, np.int64(100), 3, 0.0625, 0),
        "b": Proof(0.5, False, 0, 0, None, None),
    }
    certificate = Certificate(
        "max_error", 0.05, 0.9, False, "some", 100, 101, proofs, 0, "2026-01-31", task._pins(), tuple(deciles), "AAAA"
    )
    return replace(task, certificate=certificate)


def try_all(kind, given, deciles, suffix):
    try:
        task = kind(TOY, **given)
    except ValueError:  # two labels alike and such: nothing to save
        return
    for one in (task, pinned(task, deciles)):
        back = through(one, suffix)
        assert back._pins() == one._pins()  # else an unedited file would be stale
        assert (back.certificate and back.certificate.id) == (one.certificate and one.certificate.id)
        with tempfile.TemporaryDirectory() as folder:
            first, second = (Path(folder) / f"{n}{suffix}" for n in "ab")
            save(back, first)
            save(through(back, suffix), second)
            assert first.read_bytes() == second.read_bytes()


many = st.lists(st.floats(-1e4, 1e4), min_size=9, max_size=9)


@budget(max_examples=60)
@given(routers(), many, st.sampled_from(SUFFIXES[:2]))
def test_a_router_comes_back_and_is_never_stale(given, deciles, suffix):
    try_all(Router, given, deciles, suffix)


@budget(max_examples=60)
@given(guards(), many, st.sampled_from(SUFFIXES[:2]))
def test_a_guard_comes_back_and_is_never_stale(given, deciles, suffix):
    try_all(Guard, given, deciles, suffix)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_fit_made_comes_back_equal_and_decides_alike(suffix, certified, certified_guard):
    for task in (certified, certified_guard):
        back = through(task, suffix)
        same(task, back)
        assert back.certificate == task.certificate
        assert back.many(TEXTS) == task.many(TEXTS)
    reranker = Reranker(TOY, label=Label("a", verbatim=True), top_k=3, min_probability=0.1, top_p=0.9, prior_weight=2)
    same(reranker, through(reranker, suffix))


def test_the_file_is_for_people(certified, tmp_path):
    save(certified, tmp_path / "router.yaml")
    lines = (tmp_path / "router.yaml").read_text("utf-8").splitlines()
    assert lines[:4] == ["headgate: 1", "task: router", "scorer:", "  fingerprint: toy"]
    assert lines[4:11] == [
        "routes:", "  login: password", "  money:", "    text: invoice", "    verbatim: true",
        "    relation: entailment", "threshold:",
    ]  # fmt: skip
    assert lines.index("certificate:") > lines.index("calibration:")
    assert all(line.startswith(" ") or line.startswith("-") for line in lines[lines.index("certificate:") + 1 :])
    assert all(line.count(": ") <= 1 for line in lines)


def test_the_order_of_routes_and_keys_is_kept(tmp_path):
    for names in (["b", "a", "c"], ["c", "b", "a"]):
        save(Router(TOY, {n: n for n in names}, {n: 0.5 for n in names}), tmp_path / "a.json")
        found = json.loads((tmp_path / "a.json").read_text())
        assert list(found["routes"]) == list(found["threshold"]) == names


def test_people_may_write_one_by_hand(tmp_path):
    path = tmp_path / "guard.yaml"
    path.write_text(
        "headgate: 1\ntask: guard\nforbid: {toxic: {label: toxic, threshold: 1}, b: b}\nthreshold: 0.25 # ok\n"
    )
    guard = restore(path, scorer=TOY)
    assert {n: r.threshold for n, r in guard.rules.items()} == {"toxic": 1.0, "b": 0.25}
    path.write_text("headgate: 1\ntask: router\nscorer:\n  where: mini/route\nroutes: [a, b]\n")
    assert restore(path, device="cpu").scorer.origin.where == "mini/route"


def test_numbers_written_otherwise_are_the_same_settings(certified, tmp_path):
    router = replace(pinned(replace(certified, certificate=None, threshold=1.0, gap=0.0), range(9)))
    save(router, tmp_path / "a.yaml")
    words = (tmp_path / "a.yaml").read_text()
    assert "\nthreshold: 1.0\n" in words
    (tmp_path / "a.yaml").write_text(
        words.replace("\nthreshold: 1.0\n", "\nthreshold: 1\n")
        .replace("gap: 0.0", "gap: 0")
        .replace("'2026-01-31'", "2026-01-31")
    )
    assert restore(tmp_path / "a.yaml", scorer=TOY).certificate.id == router.certificate.id


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
@pytest.mark.parametrize(
    "odd", [*COMMON, "a\x85", "a\u2028b", "a\u2029", "\ufeffa", "\ud800", "a\r\nb", "\x00", "😀 é", "a\u00a0"]
)
def test_odd_words_come_back_on_one_line(odd, suffix, tmp_path):
    guard = Guard(TOY, {odd: Rule(odd, 0.5)})
    assert through(guard, suffix).rules == guard.rules
    save(guard, tmp_path / f"a{suffix}")
    save(Guard(TOY, {"x": Rule("y", 0.5)}), tmp_path / f"b{suffix}")
    lines = [len((tmp_path / f"{name}{suffix}").read_bytes().splitlines()) for name in "ab"]
    assert lines[0] == lines[1]


# ---------------------------------------------------------------------------- edited


def edited(task, tmp_path, change, suffix=".json"):
    path = tmp_path / f"task{suffix}"
    save(task, path)
    data = json.loads(path.read_text()) if suffix == ".json" else yaml.safe_load(path.read_text())
    change(data)
    path.write_text(json.dumps(data) if suffix == ".json" else yaml.safe_dump(data, sort_keys=False))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d["threshold"].update(login=d["threshold"]["login"] - 1e-9), "threshold"),
        (lambda d: d["routes"].update(login="passwords"), "routes"),
        (lambda d: d["routes"]["money"].update(verbatim=False), "routes"),
        (lambda d: d.update(gap=0.2), "gap"),
        (lambda d: d.update(nulls=[]), "nulls"),
        (lambda d: d.update(calibration=None), "calibration"),
        (lambda d: d["calibration"].update(shift=0.5), "calibration"),
        (lambda d: d.update(turns=3, gap=0.2), "gap, turns"),
        (lambda d: d["certificate"]["pins"].update(scorer="other"), "scorer"),
    ],
)
def test_what_a_certificate_promises_of_is_not_edited_in_silence(certified, tmp_path, suffix, change, what):
    path = edited(certified, tmp_path, change, suffix)
    with pytest.raises(StaleError, match=rf"task\{suffix}: the certificate of .* is stale: {what} changed .*delete"):
        restore(path, scorer=TOY)


def test_rules_are_not_edited_in_silence_either(certified_guard, tmp_path):
    path = edited(certified_guard, tmp_path, lambda d: d["forbid"]["login"].update(threshold=0.999))
    with pytest.raises(StaleError, match="stale: rules changed"):
        restore(path, scorer=TOY)


def test_without_its_certificate_a_file_may_be_edited(certified, tmp_path):
    path = edited(certified, tmp_path, lambda d: (d.pop("certificate"), d["threshold"].update(login=0.123)))
    assert restore(path, scorer=TOY).threshold["login"] == 0.123


def test_a_proof_that_was_edited_is_seen(certified, tmp_path):
    path = edited(
        certified, tmp_path, lambda d: next(iter(d["certificate"]["proofs"].values())).update(guaranteed=False)
    )
    with pytest.raises(CheckpointError, match=r"task\.json: certificate: guaranteed is True, and .*proofs say False"):
        restore(path, scorer=TOY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(treshold=0.5), "treshold is unknown; .*Did you mean 'threshold'"),
        (lambda d: d.pop("routes"), "routes is missing; expected a list or a mapping"),
        (lambda d: d.update(threshold="0.7x"), "threshold is '0.7x', str; expected a number or a mapping or null"),
        (lambda d: d.update(threshold=1.7), "threshold is 1.7; expected a probability"),
        (lambda d: d.update(gap=math.nan), "gap is nan; expected a finite number"),
        (lambda d: d.update(multi="yes"), "multi is 'yes', str; expected true or false"),
        (lambda d: d.update(nulls="x"), "nulls is 'x', str; expected a list"),
        (lambda d: d.update(routes=["a", True]), r"routes\[1\] is 'True', bool; expected a text"),
        (lambda d: d.update(routes=["a", "a"]), "name one twice"),
        (lambda d: d.update(on_overflow="cut"), "on_overflow is 'cut', str; expected one of"),
        (lambda d: d["certificate"].pop("deciles"), "certificate.deciles is missing; expected a list"),
        (lambda d: d["certificate"]["proofs"].update(all=3), "certificate.proofs.all is '3', int; expected a mapping"),
        (lambda d: d["calibration"].update(scale=-1), "calibration: scale is -1"),
        (lambda d: d.update(headgate=2), "headgate is 2; expected 1"),
        (lambda d: d.update(headgate=True), "headgate is True; expected 1"),
        (lambda d: d.pop("headgate"), "headgate is None; expected 1"),
        (lambda d: d.update(task="panel"), "task is 'panel'; expected one of"),
        (lambda d: d.update(scorer="mini/route"), "scorer is str; expected a mapping with where"),
        (lambda d: d.update(scorer={"were": "mini/route"}), "scorer.were is unknown; .*'where'"),
        (lambda d: d.update(scorer={"where": 3}), "scorer.where is '3', int; expected a text"),
        (lambda d: d.update(scorer={"dtype": "float32"}), "scorer.where is missing"),
        (lambda d: d.update(scorer={"where": "a", "calibration": {"scale": 0}}), "scorer.calibration: scale is 0"),
        (lambda d: d.update(text="len"), "text is unknown"),
    ],
)
def test_errors_name_the_key_and_the_file(certified, tmp_path, change, message):
    path = edited(certified, tmp_path, change)
    with pytest.raises(CheckpointError, match=rf"task\.json: .*{message}"):
        restore(path, scorer=TOY)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("a.json", "", "Expecting value"),
        ("a.json", '{"headgate": 1', "Expecting"),
        ("a.json", "[1]", "it holds list"),
        ("a.json", '{"task": "router", "task": "guard"}', "the key 'task' came twice"),
        ("a.json", "[" * 100_000, "recursion|Expecting"),
        ("a.yaml", "", "it holds NoneType"),
        ("a.yaml", "a: [", "it is not YAML"),
        ("a.yaml", "a: 1\na: 2", "the key 'a' came twice"),
        ("a.yaml", "task: guard\nforbid:\n  x: a\n  x: b\n", "the key 'x' came twice"),
        ("a.yaml", "headgate: 1\ntask: router\nroutes: {1: a}", "a key of routes is '1', int; expected a text"),
        ("a.yaml", "headgate: 1\ntask: router\nroutes: &a [*a]", r"routes\[0\] is .*; expected a text"),
        ("a.yaml", "!!python/object/apply:os.system ['touch owned']", "it is not YAML: could not determine"),
        ("a.yaml", "headgate: !!python/name:os.system 1", "it is not YAML"),
        ("a.yaml", "{[1]: 2}", "it is not YAML"),
    ],
)
def test_a_damaged_file_is_named_and_runs_nothing(tmp_path, monkeypatch, name, words, message):
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(words)
    with pytest.raises(CheckpointError, match=rf"^{name}: .*({message})"):
        restore(name, scorer=TOY)
    assert os.listdir() == [name]


def test_files_that_are_not_there_or_no_text(tmp_path):
    with pytest.raises(CheckpointError, match="can't be read"):
        restore(tmp_path / "a.json", scorer=TOY)
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointError, match=r"a\.yaml: "):
        restore(tmp_path / "a.yaml", scorer=TOY)
    for call in (lambda: save(Router(TOY, ["a"]), "a.toml"), lambda: restore("a.toml")):
        with pytest.raises(ValueError, match=r"expected \.json, \.yaml or \.yml"):
            call()


# ---------------------------------------------------------------------------- how it is written


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.yaml"
    save(Router(TOY, ["a"]), path)
    before = path.read_bytes()

    def fails(self, *_, **__):
        Path(self).touch()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(OSError, match="disk full"):
        save(Router(TOY, ["b"]), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.yaml"]


def test_whoever_reads_meanwhile_sees_the_old_file(tmp_path, monkeypatch):
    path, whole = tmp_path / "a.yaml", []
    save(Router(TOY, ["a"]), path)
    replace_by = Path.replace

    def watched(self, target):
        whole.append((read(target).settings["routes"], yaml.safe_load(self.read_text())["routes"]))
        return replace_by(self, target)

    monkeypatch.setattr(Path, "replace", watched)
    save(Router(TOY, ["b"]), path)
    assert whole == [(["a"], ["b"])]
    assert read(path).settings["routes"] == ["b"]


def test_what_has_no_words_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(TypeError, match="text is a function"):
        save(Reranker(TOY, text=str), path)
    with pytest.raises(TypeError, match="two calibrations"):
        save(Router(Calibration(2).on(Calibration(3).on(TOY)), ["a"]), path)
    with pytest.raises(TypeError, match="a ToyScorer came; expected a Router"):
        save(TOY, path)
    assert not path.exists()


# ---------------------------------------------------------------------------- the scorer


def test_a_scorer_that_load_did_not_make_is_asked_for(certified, tmp_path):
    save(certified, tmp_path / "a.yaml")
    with pytest.raises(CheckpointError, match=r"a\.yaml: scorer says no where.* restore\(…, scorer=…\).* toy"):
        restore(tmp_path / "a.yaml")


def test_another_scorer_is_refused(tmp_path):
    save(Router(TOY, ["a"]), tmp_path / "a.yaml")
    with pytest.raises(StaleError, match=r"a\.yaml: scorer.fingerprint is toy, and this scorer's is fixed"):
        restore(tmp_path / "a.yaml", scorer=Fixed([[1.0]]))


def test_a_calibrated_scorer_is_saved_with_its_calibration(tmp_path):
    scorer = Calibration(2.5, -0.1, scorer=TOY.fingerprint).on(TOY)
    save(Router(scorer, ["a"]), tmp_path / "a.yaml")
    assert restore(tmp_path / "a.yaml", scorer=scorer) == Router(scorer, ["a"])
    assert read(tmp_path / "a.yaml").model.calibration == scorer.calibration
    inner = load("mini/route", device="cpu")
    own = Calibration(1 / 3, 0.1, 0.2, scorer=inner.fingerprint, labels=("a", "b")).on(inner)
    save(Router(own, ["a", "b"]), tmp_path / "a.yaml")
    back = restore(tmp_path / "a.yaml", device="cpu")
    assert back.scorer.calibration == own.calibration
    assert back.scorer.fingerprint == own.fingerprint
    assert back("a text") == Router(own, ["a", "b"])("a text")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_certificate_brings_its_backend_and_dtype_back(tmp_path, dtype):
    router = pinned(Router(load("mini/route", device="cpu", dtype=dtype), ["a", "b"], 0.5), range(9))
    save(router, tmp_path / "a.yaml")
    words = (tmp_path / "a.yaml").read_text()
    assert "  where: mini/route\n" in words
    assert f"  backend: torch\n  dtype: {dtype}\n" in words
    back = restore(tmp_path / "a.yaml", device="cpu")
    assert (back.scorer.run.backend, back.scorer.run.dtype) == ("torch", dtype)
    assert back.certificate == router.certificate
    assert back("a text") == router("a text")
    # Where nobody wrote them down, the certificate says which they are.
    (tmp_path / "a.yaml").write_text(words.replace(f"  backend: torch\n  dtype: {dtype}\n", "", 1))
    assert restore(tmp_path / "a.yaml", device="cpu").scorer.run.dtype == dtype
    other = "float16" if dtype == "float32" else "float32"
    (tmp_path / "a.yaml").write_text(words.replace(f"  dtype: {dtype}\n", f"  dtype: {other}\n", 1))
    with pytest.raises(StaleError, match="dtype changed"):
        restore(tmp_path / "a.yaml", device="cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_certificate_holds_where_auto_chooses_otherwise_today(tmp_path, monkeypatch, dtype):
    def chosen(dtype):
        return lambda *_: Choice(dtype, "a test says so")

    monkeypatch.setattr(loading, "fastest", chosen(dtype))
    router = pinned(Router(load("mini/route", device="cpu"), ["a", "b"], 0.5), range(9))
    save(router, tmp_path / "a.yaml")
    assert f"  backend: torch\n  dtype: {str(dtype).removeprefix('torch.')}\n" in (tmp_path / "a.yaml").read_text()
    other = torch.float32 if dtype == torch.bfloat16 else torch.bfloat16
    monkeypatch.setattr(loading, "fastest", chosen(other))
    assert load("mini/route", device="cpu").run.dtype == str(other).removeprefix("torch.")
    back = restore(tmp_path / "a.yaml", device="cpu")
    assert back.scorer.run.dtype == router.scorer.run.dtype == str(dtype).removeprefix("torch.")
    assert back.certificate == router.certificate


def test_without_a_certificate_auto_stays_auto(tmp_path):
    save(Router(load("mini/route", device="cpu"), ["a"]), tmp_path / "a.yaml")
    assert "  backend: auto\n  dtype: auto\n" in (tmp_path / "a.yaml").read_text()


def test_a_scorer_knows_how_it_was_loaded_through_caches_workers_and_copies():
    scorer = load("mini/nli", device="cpu", dtype="float32", template="It is {}.", max_length=64)
    want = {"where": "mini/nli", "template": "It is {}.", "max_length": 64, "dtype": "float32", "backend": "auto"}
    twins = [scorer, scorer.cached(), scorer.shared(), scorer.spread([scorer])]
    for one in twins:
        assert {k: v for k, v in asdict(one.origin).items() if k in want} == want
    twins[2].close()


def test_the_default_is_never_saved_by_where_it_is_installed(tmp_path):
    installed = Path(headgate.__file__).parent / "mini" / "route"
    save(Router(load(installed, device="cpu"), ["a"]), tmp_path / "a.yaml")
    assert "  where: mini/route\n" in (tmp_path / "a.yaml").read_text()
    assert restore(tmp_path / "a.yaml", device="cpu").routes == ["a"]


def test_a_guard_of_mini_keeps_the_thresholds_it_was_saved_with(tmp_path):
    guard = Guard(load("mini/heads", device="cpu"), ["injection", "toxic"])
    save(guard, tmp_path / "a.yaml")
    found = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert set(found["forbid"]["injection"]) == {"label", "threshold", "calibration"}
    same(guard, restore(tmp_path / "a.yaml", scorer=guard.scorer))
