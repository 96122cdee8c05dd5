"""Labelled rows from files and from Python, and what is wrong with them, by name and number."""

import gzip
import json

import pytest

from headgate.errors import DataError
from headgate.evaluate import read_rows

LINES = '{"text": "ä", "label": "red"}\n\n  \n{"text": "b", "label": null}\n'


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_blank_lines_are_no_rows_and_count(tmp_path, zipped, encoding):
    path = tmp_path / ("rows.jsonl.gz" if zipped else "rows.jsonl")
    path.write_bytes(gzip.compress(LINES.encode(encoding)) if zipped else LINES.encode(encoding))
    found = read_rows(path)
    assert [row.place for row in found] == [f"{path.name}, row 1", f"{path.name}, row 4"]
    assert [row.fields["text"] for row in found] == ["ä", "b"]
    assert read_rows(str(path)) == found


def test_rows_of_python_are_counted_from_one():
    assert [row.place for row in read_rows(iter([{"text": "a"}, {"text": "b"}]))] == ["row 1", "row 2"]


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (b'{"text": "a"}\n\n{"text": \n', r"rows\.jsonl, row 3 is not JSON"),
        (b'{"text": "a"}\n["a"]\n', r"rows\.jsonl, row 2 is \['a'\]; expected a JSON object"),
        (b"3\n", r"row 1 is 3"),
        (b"\n \n", r"rows\.jsonl: there is no row"),
        ('{"text": "\N{LATIN SMALL LETTER A WITH DIAERESIS}"}\n'.encode("latin-1"), r"rows\.jsonl is not UTF-8"),
        (json.dumps({"text": "a"}).encode("utf-16"), r"rows\.jsonl is not UTF-8"),
    ],
)
def test_a_broken_file_is_refused_by_name(tmp_path, written, says):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(written)
    with pytest.raises(DataError, match=says):
        read_rows(path)


@pytest.mark.parametrize(
    ("rows", "says"), [([{"text": "a"}, "b"], "row 2 is 'b'"), ({"text": "a"}, "rows is a mapping"), ([], "no row")]
)
def test_broken_rows_of_python_are_refused(rows, says):
    with pytest.raises(DataError, match=says):
        read_rows(rows)
