"""The pages of docs/: their code runs, prints what they show, names what there is, and builds into a site."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import headgate
from tests.pages import DOCS, NEWER, PAGES, ROOT, blocks, lacking, printed, rewritten, same

WORDS = {path: path.read_text("utf-8") for path in PAGES}
ADAPTERS = [
    ".".join(path.parent.relative_to(source).parts)
    for source in sorted(ROOT.glob("integrations/*/src"))
    for path in sorted(source.glob("**/__init__.py"))
]
MODULES = ["headgate", *ADAPTERS]


def named(path):
    return str(path.relative_to(DOCS))


def public(module):
    return set(importlib.import_module(module).__all__)


@pytest.mark.parametrize("path", [p for p in PAGES if blocks(WORDS[p])], ids=named)
def test_pages_run_and_print_what_they_show(path, tmp_path, monkeypatch):
    if missing := lacking(path):
        pytest.skip(f"needs {', '.join(missing)}: make test-newest")
    monkeypatch.chdir(tmp_path)
    for block, said in printed(path):
        assert same(block.text or "", said), f"{path}:{block.line} shows\n{block.text}\nand prints\n{said}"
    assert not list(tmp_path.iterdir())


def test_only_pages_about_newer_modules_are_skipped(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nfrom langchain_core.decisions import Noul\n```\n")
    assert lacking(page) == [module for module in NEWER if not find_spec(module)]
    page.write_text("```python\nimport headgate  # langchain_core.decisions\n```\n")
    assert not lacking(page)
    assert {named(p) for p in PAGES if lacking(p)} <= {"hosts/decisions.md"}


def test_every_noun_and_host_has_code():
    guides = [p for p in PAGES if p.parent.name in ("nouns", "hosts")]
    assert len(guides) >= 11
    assert not [p for p in guides if len(blocks(WORDS[p])) < 3]


def test_no_code_escapes():
    # A fence that the pattern overlooks would not run.
    for path, words in WORDS.items():
        assert len(re.findall(r"^ *(?:```|~~~)\s*py", words, re.MULTILINE)) == len(blocks(words)), path


@pytest.mark.parametrize(
    ("shown", "said", "equal"),
    [
        ("0.71 yes", "0.74 yes", True),
        ("0.71 yes", "0.79 yes", False),
        ("0.71 yes", "0.71 no", False),
        ("[[ 1.2 -3.5]]", "[[1.2  -3.48]]", True),
        ("-12.71", "-12.3", True),
        ("[1.]", "[0.97]", True),
        ("3 windows", "4 windows", False),
        ("a\nb", "b\na", False),
        ("", "something", False),
        ("something", "", False),
        ("", "", True),
        ("1.0 2.0", "1.0", False),
    ],
)
def test_outputs_are_compared_by_words_and_nearly_by_numbers(shown, said, equal):
    assert same(shown, said) is equal


def test_a_page_is_rewritten_only_where_it_is_wrong(tmp_path):
    page = tmp_path / "page.md"
    code = "```python\nprint({})\n```\n"
    page.write_text(f"{code.format(0.52)}\n```text\n0.5\n```\n\n{code.format(1)}{code.format('end=str()')}")
    assert rewritten(page) == (
        f"{code.format(0.52)}\n```text\n0.5\n```\n\n{code.format(1)}\n```text\n1\n```\n{code.format('end=str()')}"
    )


def test_an_error_names_the_line_of_the_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nfine = 1\nraise KeyError\n```\n")
    with pytest.raises(KeyError) as caught:
        list(printed(page))
    assert caught.traceback[-1].lineno + 1 == 5


def documented():
    return set(re.findall(r"^::: (\S+)$", "\n".join(WORDS.values()), re.MULTILINE))


def newer(module):
    """What a module has besides its public names: where the newest LangChain is installed, and imported on demand."""
    tree = ast.parse(Path(importlib.import_module(module).__file__).read_text("utf-8"))
    typing = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imported = [a for block in typing for n in ast.walk(block) if isinstance(n, ast.ImportFrom) for a in n.names]
    return {a.name for a in imported if a.asname == a.name}


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_its_place_in_the_api(module):
    absent = {f"{module}.{name}" for name in public(module) | newer(module)} - documented()
    assert not absent, f"add to a page of docs/api: {sorted(absent)}"


def test_what_the_api_names_is_there():
    for name in documented():
        module, _, attribute = name.rpartition(".")
        assert (module in MODULES and attribute in public(module) | newer(module)) or find_spec(name), name


def test_modules_show_what_they_have():
    shown = re.findall(
        r"^::: (\S+)\n    options:\n      members: \[(.*)\]$", WORDS[DOCS / "api/modules.md"], re.MULTILINE
    )
    assert len(shown) >= 6
    for module, members in shown:
        has = vars(importlib.import_module(module))
        assert not [name for name in members.split(", ") if name not in has], module
        assert set(has.get("__all__", ())) <= set(members.split(", ")), module


def calls(code):
    """Every call of a name in a piece of code that stands in a table, "…" for what is left out."""
    try:
        tree = ast.parse(code.replace("…", "...").replace("\\|", "|"))
    except SyntaxError:
        return []
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]


def ours():
    """(page, code) in the last cell of each row: what a table says is written with headgate."""
    for path, words in WORDS.items():
        for row in re.findall(r"^\|(.*)\|$", words, re.MULTILINE):
            last = re.split(r"(?<!\\)\|", row)[-1]
            yield from ((path, code) for code in re.findall(r"`([^`]+)`", last))


def test_calls_in_tables_have_arguments_that_there_are():
    # headgate_ray's functions have the names that pages give their rerankers and guards.
    modules = [m for m in MODULES if m != "headgate_ray"]
    known = {name: getattr(importlib.import_module(m), name) for m in modules for name in public(m)}
    seen = 0
    for path, code in ours():
        for call in calls(code):
            if call.func.id not in known:
                continue
            seen += 1
            parameters = inspect.signature(known[call.func.id]).parameters
            fields = getattr(known[call.func.id], "model_fields", {})
            strange = {k.arg for k in call.keywords} - set(parameters) - set(fields)
            assert not strange, f"{path}: {code}: {strange}"
            assert fields or len(call.args) <= len(parameters), f"{path}: {code}"
    assert seen > 30


def test_links_lead_somewhere():
    for path, words in WORDS.items():
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", words):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_paths_that_pages_name_are_there():
    for path, words in WORDS.items():
        for name in re.findall(r"`((?:benchmarks|examples|src|integrations)/[\w/.-]+)`", words):
            assert (ROOT / name).exists(), f"{path}: {name}"


@pytest.mark.skipif(not (find_spec("mkdocs") and find_spec("mkdocstrings")), reason="needs the extra docs")
def test_the_site_builds_strictly_and_loads_nothing_from_the_network(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path): path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert {p.relative_to(DOCS).with_suffix(".html") for p in PAGES} <= set(pages)
    assert not list(tmp_path.rglob("*.py"))
    for path, html in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?((?:https?:)?//[^\"'\s>]+)", html)
        loaded += re.findall(r"<link\b[^>]*\bhref=[\"']?((?:https?:)?//[^\"'\s>]+)", html)
        assert not loaded, f"{path} loads {loaded}"
        assert ":class:" not in html, path
    for path in tmp_path.rglob("*.css"):
        assert not re.search(r"(?:@import\s*|url\(\s*)[\"']?(?:https?:)?//", path.read_text("utf-8")), path
    assert all(f'id="headgate.{name}"' in "".join(pages.values()) for name in headgate.__all__)


def test_pages_are_in_the_menu():
    menu = set(re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text("utf-8")))
    assert menu == {named(path) for path in PAGES}
