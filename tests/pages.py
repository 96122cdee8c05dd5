"""The code on the pages of docs/: found, run page by page in order, and its output compared with what the page shows.

A ``python`` block that prints is followed by a ``text`` block with what it prints. Words must be the same. Of a number
with a decimal point the last digits depend on the machine's dtype, so it may differ by 0.05, or by 5 % of itself.

    python -m tests.pages docs/nouns/guard.md     # writes what the code prints into the page; read it before you commit
"""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

_BLOCK = re.compile(
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```\n"
    r"(?P<shown>\n*^(?P=indent)```text\n(?P<text>.*?)^(?P=indent)```\n)?",
    re.DOTALL | re.MULTILINE,
)
_NUMBER = re.compile(r" *(-?\d+\.\d*(?:e[-+]\d+)?)(?!\d) *")  # numpy pads them


NEWER = ("langchain_core.decisions",)
"""Modules that the LangChain which pip resolves may not have yet; a page that imports one runs beside the newest."""


@dataclass(frozen=True)
class Block:
    """A piece of code on a page.

    Attributes:
        line: Of its fence, from 1.
        code: Without indent.
        text: The output that the page shows; None where it shows none.
    """

    line: int
    code: str
    text: str | None


def blocks(words: str) -> list[Block]:
    """The Python of a page, in order."""
    found = []
    for match in _BLOCK.finditer(words):
        indent = match["indent"]
        code, text = (
            None if part is None else re.sub(f"^{indent}", "", part, flags=re.MULTILINE)
            for part in (match["code"], match["text"])
        )
        found.append(Block(words.count("\n", 0, match.start()) + 1, code or "", text))
    return found


def newer(code: str) -> list[str]:
    """Those of NEWER that a piece of code imports and that are not installed."""
    imported = re.findall(r"^(?:from|import) ([\w.]+)", code, re.MULTILINE)
    return [module for module in NEWER if module in imported and find_spec(module) is None]


def lacking(path: Path) -> list[str]:
    """The same of all code on a page."""
    return newer("\n".join(block.code for block in blocks(path.read_text("utf-8"))))


def printed(path: Path) -> Iterator[tuple[Block, str]]:
    """Each block of a page with what it prints; they share their names, and nothing with other pages."""
    module = ModuleType(f"page_{path.stem}")
    sys.modules[module.__name__] = module  # where pydantic and pickle look for classes that a page defines
    try:
        for block in blocks(path.read_text("utf-8")):
            out = io.StringIO()
            # As many empty lines as the page has before: a traceback then names the line of the page.
            code = compile("\n" * block.line + block.code, str(path), "exec")
            with redirect_stdout(out):
                exec(code, vars(module))
            yield block, out.getvalue()
    finally:
        del sys.modules[module.__name__]


def same(shown: str, said: str) -> bool:
    """Whether an output is the one shown, but for the last digits of decimal numbers."""
    ours, theirs = (_NUMBER.split(_tidy(text)) for text in (shown, said))  # words and numbers take turns
    return ours[::2] == theirs[::2] and all(
        abs(a - b) <= max(0.05, 0.05 * abs(a)) + 1e-9
        for a, b in zip(map(float, ours[1::2]), map(float, theirs[1::2]), strict=True)
    )


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def rewritten(path: Path) -> str:
    """The page with what its code prints now, where that is not what it shows."""
    words = path.read_text("utf-8")
    outputs = iter(list(printed(path)))

    def renew(match: re.Match[str]) -> str:
        block, said = next(outputs)
        shown = block.text or ""
        head = match[0][: match.start("shown") - match.start()] if match["shown"] else match[0]
        text = shown if same(shown, said) else _tidy(said) + "\n"
        if not said.strip():
            return head
        indent = match["indent"]
        body = re.sub(r"^(?=.)", indent, text, flags=re.MULTILINE)
        return f"{head}\n{indent}```text\n{body}{indent}```\n"

    return _BLOCK.sub(renew, words)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        Path(name).write_text(rewritten(Path(name)), "utf-8")
