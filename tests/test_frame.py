"""The frame of the repository: public names, import cost, walls, versions, habits."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import headgate

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("integrations/*/src/**/*.py")])
ADAPTERS = sorted(ROOT.glob("integrations/*/src/**/*.py"))
CORE = [
    "arguments", "bias", "bounds", "calibration", "certificate", "chances", "conversation", "coverage", "cutting",
    "decision", "errors", "evidence", "ground", "guard", "holding", "labelled", "lengths", "literals", "panel",
    "passes", "plain", "promise", "receipts", "rerank", "retrieval", "route", "rules", "scores", "sentences",
    "shadow", "stream", "testing", "thresholds", "tree", "verdict", "watch", "wrapped",
]  # fmt: skip
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("integrations/*/pyproject.toml"))]
PUBLIC = {"headgate", "headgate.hosting", "headgate.label", "headgate.sentences", "headgate.serve"}
MAX_LINES = 300


def named(path):
    return str(path.relative_to(ROOT))


def imports(path):
    """(module, names) of every import, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]


def project(path):
    return tomllib.loads(path.read_text("utf-8"))["project"]


def test_public_names_are_sorted_and_all_there():
    assert headgate.__all__ == sorted(headgate.__all__)
    assert set(headgate.__all__) <= set(dir(headgate))
    for name in headgate.__all__:
        assert getattr(headgate, name).__module__.startswith("headgate."), name


def test_type_checkers_see_the_names_that_run_time_does():
    path = ROOT / "src/headgate/__init__.py"
    seen = {name for module, names in imports(path) if module.startswith("headgate.") for name in names}
    assert seen == set(headgate.__all__)


def test_unknown_names_raise():
    with pytest.raises(AttributeError, match="no attribute 'Rerankr'"):
        _ = headgate.Rerankr


def fresh(code):
    """What ``code`` prints in a new interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_headgate_is_quick():
    code = "import numpy, time; t = time.perf_counter(); import headgate; print(time.perf_counter() - t)"
    # The quickest of several: what is slower measures the machine's other work.
    assert min(float(fresh(code)[0]) for _ in range(5)) < 0.1


def test_the_core_pulls_in_numpy_alone():
    nouns = "headgate.Reranker, headgate.Router, headgate.Guard, headgate.Calibration"
    loaded = set(fresh(f"import sys, headgate; {nouns}; print(*{{m.split('.')[0] for m in sys.modules}})"))
    heavy = {"torch", "transformers", "tokenizers", "huggingface_hub", "faiss", "onnxruntime", "scipy"}
    hosts = {"langchain", "langchain_core", "langchain_classic", "llama_index", "pydantic", "typer", "rich"}
    assert not loaded & (heavy | hosts)


def test_load_stays_a_function_whatever_is_imported_first():
    # A submodule takes its parent's attribute of that name, which is why load lives in loading.py.
    code = "import headgate.loading, headgate.index; from headgate import load; print(type(load).__name__)"
    assert fresh(code) == ["function"]


@pytest.mark.parametrize("name", CORE)
def test_core_files_import_numpy_alone(name):
    allowed = sys.stdlib_module_names | {"numpy", "headgate"}
    assert {m.split(".")[0] for m, _ in imports(ROOT / f"src/headgate/{name}.py")} <= allowed


def test_there_are_adapters():
    assert {path.relative_to(ROOT).parts[1] for path in ADAPTERS} == {"langchain", "llama-index", "ray"}


@pytest.mark.parametrize("path", ADAPTERS, ids=named)
def test_adapters_use_public_names_only(path):
    for module, names in imports(path):
        if module.split(".")[0] == "headgate":
            assert module in PUBLIC, f"{module} is not public; import from headgate"
            assert module != "headgate" or set(names) <= {*headgate.__all__, "__version__"}


def test_llama_index_namespaces_stay_open():
    # An __init__.py there hides llama_index.core, or every other vendor's postprocessors.
    package = ROOT / "integrations/llama-index/src/llama_index"
    assert not [p for p in package.glob("**/__init__.py") if len(p.relative_to(package).parts) < 3]


@pytest.mark.parametrize("package", [p.parent for p in SOURCES if p.name == "__init__.py"], ids=named)
def test_packages_are_typed(package):
    top = [package, *package.parents]
    assert any((folder / "py.typed").exists() for folder in top[: top.index(ROOT)])


def test_the_distributions_share_one_version():
    assert {project(path)["version"] for path in PROJECTS} == {headgate.__version__}
    assert [project(path)["name"] for path in PROJECTS] == [
        "headgate",
        "langchain-headgate",
        "llama-index-postprocessor-headgate",
        "headgate-ray",
    ]


@pytest.mark.parametrize("path", PROJECTS, ids=named)
def test_the_distributions_agree_on_python_licence_and_core(path):
    here = project(path)
    assert (here["requires-python"], here["license"]) == (">=3.11", "Apache-2.0")
    if here["name"] != "headgate":
        assert any(re.match(r"headgate>=0\.1(\.0)?,<0\.2$", d) for d in here["dependencies"])
    assert "langchain-headgate" not in str(here.get("optional-dependencies"))


def test_readme_commands_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert {"demo", "test", "test-newest", "check", "fix", "docs", "install", "mini-report"} <= targets
    for page in ("README.md", "CONTRIBUTING.md", ".ci/run"):
        text = (ROOT / page).read_text("utf-8")
        asked = re.findall(r"(?:^|`|\$ )make ([a-z-]+)", text, re.MULTILINE)
        assert asked, page
        assert set(asked) <= targets, page


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_files_stay_short(path):
    length = len(path.read_text("utf-8").splitlines())
    assert length <= MAX_LINES


def test_no_paths_of_one_machine():
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    assert "uv.lock" not in listed
    text = {".py", ".toml", ".md", ".txt", ".json", ".yaml", ".cfg", ""}
    paths = re.compile(r"(?<![\w.~*-])/(?:work|home|root|Users|opt|mnt)/\w")
    hosts = re.compile(r"pypi[.]org|pythonho[s]ted|download[.]pytorch")
    for name in listed:
        path = ROOT / name
        if path.suffix in text and path.is_file() and path != Path(__file__):
            words = path.read_text("utf-8")
            assert not paths.search(words), f"{name}: {paths.search(words)}"
            assert not hosts.search(words), f"{name}: {hosts.search(words)}"
