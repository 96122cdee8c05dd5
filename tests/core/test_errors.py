"""One root for every error, the built-in ones beside it, and the drawing that says so."""

import re

import pytest

from headgate import errors

CLASSES = {name: c for name, c in vars(errors).items() if isinstance(c, type)}


def test_the_drawing_shows_every_error_under_its_parent():
    lines = re.findall(r"^(    [ │├└─]*)(\w+Error)", errors.__doc__, re.MULTILINE)
    drawn, path = {}, []
    for indent, name in lines:
        path = [*path[: (len(indent) - 4) // 4], name]
        drawn[name] = path[-2] if len(path) > 1 else "Exception"
    assert drawn == {name: c.__bases__[0].__name__ for name, c in CLASSES.items()}


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("NotCalibratedError", ValueError),
        ("LabelError", ValueError),
        ("UnknownLabelError", ValueError),
        ("CheckpointError", ValueError),
        ("MissingExtraError", ImportError),
        ("ScorerError", RuntimeError),
    ],
)
def test_who_knows_only_the_built_in_errors_catches_ours(name, builtin):
    assert issubclass(CLASSES[name], builtin)


def test_a_missing_extra_says_what_to_run():
    with pytest.raises(ImportError, match=r'onnxruntime is not installed; run: pip install "headgate\[onnx\]"$'):
        raise errors.MissingExtraError("onnxruntime", "onnx")
