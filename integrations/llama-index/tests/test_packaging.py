"""What pyproject.toml says of this distribution is so."""

import tomllib
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parents[1]
SOURCE = HERE / "src" / "llama_index"
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
LEAVES = sorted(path.parent for path in SOURCE.rglob("py.typed"))


def test_only_the_leaves_are_packages() -> None:
    assert len(LEAVES) == 5
    for path in SOURCE.rglob("__init__.py"):
        assert path.parent in LEAVES, f"{path} hides every other distribution"
    for leaf in LEAVES:
        assert (leaf / "__init__.py").is_file()
        assert leaf.name == "headgate"


def test_the_hub_knows_every_class() -> None:
    hub = PROJECT["tool"]["llamahub"]
    modules = [import_module(".".join(["llama_index", *leaf.relative_to(SOURCE).parts])) for leaf in LEAVES]
    classes = {name for module in modules for name in module.__all__ if name.startswith("Headgate")}
    assert set(hub["class_authors"]) == classes
    assert hub["import_path"] in {module.__name__ for module in modules}
    assert all(sorted(module.__all__) == list(module.__all__) for module in modules)
