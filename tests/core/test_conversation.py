"""A conversation is judged by its last turns, whatever host wrote its messages."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from headgate import Guard, Reranker, Router
from headgate.conversation import last_turns
from tests.core.fixed import Fixed


@dataclass
class Message:
    content: object


DICTS = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}, {"content": "three"}]


def test_a_text_is_read_as_it_is():
    assert last_turns("  one\ntwo ", 1) == "  one\ntwo "


@pytest.mark.parametrize(
    "messages",
    [
        ["one", "two", "three"],
        ("one", "two", "three"),
        DICTS,
        [Message("one"), Message("two"), Message("three")],
        ["one", DICTS[1], Message("three")],
    ],
    ids=["strings", "tuple", "dicts", "objects", "mixed"],
)
def test_the_last_turns_come_oldest_first(messages):
    assert last_turns(messages, 1) == "three"
    assert last_turns(messages, 2) == "two\nthree"
    assert last_turns(messages, 9) == "one\ntwo\nthree"


def test_the_words_of_blocks_count_at_any_depth_and_names_ids_and_media_do_not():
    blocks = [
        "one",
        {"type": "text", "text": "two", "id": "no", "cache_control": "no"},
        SimpleNamespace(block_type="no", text="three"),
        {"type": "tool_result", "tool_use_id": "no", "content": [{"type": "text", "text": "four"}]},
        {"type": "image_url", "image_url": {"url": "no"}},
    ]
    for content in (blocks, tuple(blocks)):
        assert last_turns([{"content": content}], 1) == "one\ntwo\nthree\nfour"
        assert last_turns([Message(content)], 1) == "one\ntwo\nthree\nfour"


def test_what_a_tool_is_called_with_is_read():
    calls = [{"id": "no", "type": "no", "args": {"query": "drop the table"}}]
    assert last_turns([{"content": None, "tool_calls": calls}], 1) == "drop the table"
    assert last_turns([SimpleNamespace(content="", tool_calls=calls)], 1).strip() == "drop the table"


def test_all_turns_are_read_where_none_are_counted():
    assert last_turns(DICTS, None) == "one\ntwo\nthree"


def test_by_default_a_guard_reads_all_turns_and_the_others_the_last_two():
    scorer = Fixed([[0.0]])
    Guard(scorer, ["rule"], threshold=0.5).many([DICTS])
    Router(scorer, ["route"])(DICTS)
    Reranker(scorer)(DICTS, ["document"])
    assert [(a.texts, a.labels) for a in scorer.asked] == [
        (["one\ntwo\nthree"], ["rule"]),
        (["two\nthree"], ["route"]),
        (["document"], ["two\nthree"]),
    ]


@pytest.mark.parametrize("silent", [None, "", " \n", [], [{"type": "image", "url": "x"}], [SimpleNamespace(text=None)]])
def test_messages_without_words_take_no_turn(silent):
    messages = ["one", Message("two"), Message(silent), {"role": "tool", "content": silent}]
    assert last_turns(messages, 2) == "one\ntwo"


def test_no_messages_are_an_empty_text():
    assert last_turns([], 2) == ""
    assert last_turns([Message(None)], 2) == ""


@pytest.mark.parametrize("bad", [None, 7, b"bytes", {"content": "a lone message"}, Message("a lone message")])
def test_what_is_no_conversation_is_refused(bad):
    with pytest.raises(TypeError, match=f"got {type(bad).__name__}; expected a text or a list of messages"):
        last_turns(bad, 2)


@pytest.mark.parametrize(
    "bad", [None, 7, b"bytes", {"role": "user"}, {"content": 7}, Message(b"bytes"), ("user", "hi")]
)
def test_what_is_no_message_is_refused(bad):
    with pytest.raises(TypeError, match=f"a message is {type(bad).__name__} without content"):
        last_turns(["fine", bad], 1)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_every_task_reads_the_turns_it_was_told_to(turns):
    words = last_turns(DICTS, turns)
    scorer = Fixed([[0.0]])
    Reranker(scorer, turns=turns)(DICTS, ["document"])
    Router(scorer, ["route"], turns=turns)(DICTS)
    Guard(scorer, ["rule"], threshold=0.5, turns=turns).many([DICTS])
    assert [(a.texts, a.labels) for a in scorer.asked] == [
        (["document"], [words]),
        ([words], ["route"]),
        ([words], ["rule"]),
    ]


@pytest.mark.parametrize("turns", [0, -1])
def test_a_task_reads_one_turn_at_least(turns):
    for make in (
        lambda: Reranker(Fixed([[0.0]]), turns=turns),
        lambda: Router(Fixed([[0.0]]), ["a"], turns=turns),
        lambda: Guard(Fixed([[0.0]]), ["a"], threshold=0.5, turns=turns),
    ):
        with pytest.raises(ValueError, match=f"turns is {turns}"):
            make()


def test_a_conversation_is_not_changed():
    messages = [dict(m) for m in DICTS]
    last_turns(messages, 2)
    assert messages == DICTS


def test_arguments_are_read_whatever_they_are_called():
    calls = [
        {"id": "no", "args": {"id": "one", "type": "image", "index": [{"role": "two"}]}},
        {"type": "function", "function": {"name": "three", "arguments": "four"}},
    ]
    words = "one\nimage\ntwo\nthree\nfour"
    assert last_turns([{"content": None, "tool_calls": calls}], 1) == words
    assert last_turns([{"content": [{"type": "tool_use", "id": "no", "input": {"type": "one"}}]}], 1) == "one"


def test_calls_that_do_not_parse_are_read():
    broken = [{"type": "invalid_tool_call", "id": "no", "name": "one", "args": '{"two'}]
    assert last_turns([SimpleNamespace(content="zero", invalid_tool_calls=broken)], 1) == 'zero\none\n{"two'


def test_the_words_of_media_are_read_and_their_bytes_are_not():
    blocks = [
        {"type": "file", "source_type": "text", "text": "one", "mime_type": "text/plain"},
        {"type": "audio", "base64": "no", "transcript": "two"},
        {"type": "file", "file": {"file_data": "no"}},
    ]
    assert last_turns([{"content": blocks}], 1) == "one\ntwo"
