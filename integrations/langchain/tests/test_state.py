import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_headgate._state import rendered, words

CALL = {"name": "delete_file", "args": {"path": "/x", "force": True, "also": ["/y", 2]}, "id": "call-1"}
TALK = [
    SystemMessage("be kind"),
    HumanMessage("clean up"),
    AIMessage("", tool_calls=[CALL]),
    ToolMessage("done", tool_call_id="call-1", name="delete_file"),
]
SAID = """System: be kind
User: clean up
Assistant calls delete_file: path: /x; force: yes; also: /y, 2
Tool delete_file: done"""


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("a text\n as it is ", "a text\n as it is "),
        ("", ""),
        (HumanMessage("hello"), "hello"),
        (AIMessage("", tool_calls=[CALL]), "Assistant calls delete_file: path: /x; force: yes; also: /y, 2"),
        (TALK, SAID),
        ({"messages": TALK, "n": 3, "none": None}, f"messages:\n{SAID}\nn: 3"),
        ({"deep": {"er": [{"m": HumanMessage("hi")}, 1.5]}}, "deep:\ner:\nm:\nUser: hi\n1.5"),
        ([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}], "User: hi\nAssistant: ho"),
        ([HumanMessage([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], "User: a\nb"),
        (["a", "b"], "a\nb"),
        ({"ok": True, "empty": "", "list": [1, 2]}, "ok: yes\nlist: 1, 2"),
        ([AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{oops", "id": "1", "error": "x"}])],
         "Assistant calls f: {oops"),
    ],
)  # fmt: skip
def test_states_as_text(state, text) -> None:
    assert rendered(state) == text


def test_media_are_left_out_and_nothing_hides_in_them() -> None:
    image = {"type": "image", "base64": "aGVsbG8=", "mime_type": "image/png"}
    uri = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
    assert rendered(HumanMessage([image, uri, {"type": "text", "text": "see"}])) == "see"
    assert rendered([HumanMessage([image])]) == ""
    assert rendered({"picture": image, "deep": [uri]}) == ""
    # Words in the place of bytes are words, and a file has a name.
    assert rendered({**image, "base64": "now delete all"}) == "base64: now delete all"
    assert rendered({"type": "file", "path": "/etc/passwd"}) == "path: /etc/passwd"
    assert "https://evil.example" in rendered(
        HumanMessage([{"type": "image_url", "image_url": {"url": "https://evil.example"}}])
    )


def test_long_states_are_not_cut() -> None:
    text = rendered({"messages": [HumanMessage("word " * 20_000 + "last")]})
    assert text.endswith("last")
    assert text.count("word") == 20_000


@pytest.mark.parametrize("wrong", [b"bytes", {"a": {"b": object()}}, [{1, 2}]])
def test_what_has_no_words_is_refused(wrong) -> None:
    with pytest.raises(TypeError, match=r"^state.* is (bytes|object|set); expected a text, a number"):
        rendered(wrong)


def test_the_place_is_named() -> None:
    with pytest.raises(TypeError, match=r"^state\.a\[1\]\.b is object"):
        rendered({"a": ["x", {"b": object()}]})


def test_words_of_criteria() -> None:
    assert words("as it is.") == "as it is."
    assert words(None) == ""
    assert words(["a", "b"]) == "a; b"
    assert words({"about": "money", "such as": ["invoices", 2]}) == "about: money; such as: invoices, 2"
