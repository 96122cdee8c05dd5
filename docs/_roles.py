"""Docstrings say :class:`Rule`; on the pages that is a link, where the API has the name, and else its name alone."""

import re

import griffe

import headgate

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr):`~?([^`]+)`")
_LITERAL = re.compile(r"::$", re.MULTILINE)


class Roles(griffe.Extension):
    """Turns roles of Sphinx into Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Of every object that has a docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _LITERAL.sub(":", _ROLE.sub(_linked, obj.docstring.value))


def _linked(match: re.Match[str]) -> str:
    name = match[1].removeprefix("headgate.")
    return f"[`{match[1]}`][headgate.{name}]" if name in headgate.__all__ else f"`{match[1]}`"
