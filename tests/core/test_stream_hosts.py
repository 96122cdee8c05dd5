"""What a host must know of a stream: its end, its errors, and verdicts from elsewhere."""

import asyncio
from dataclasses import replace

import pytest

from headgate import ClosedError, Guard, Held, StreamGuard
from headgate.testing import ToyScorer
from tests.core.streaming import AFTER, FINE, GUARD, RUDE, RULES, expected, guarded, judge, letters, periods, show

# ----------------------------------------------------------------------------------------- end


def test_after_a_halt_nothing_goes_in_or_out():
    stream = guarded().open()
    stream.feed(RUDE + FINE * 3)
    held = stream.take()
    found = stream.resolve(held[:1], [judge(held[0].text)])
    assert [(e.action, e.text) for e in found] == [("halt", "")]
    stream.feed(FINE * 3)
    stream.close()
    assert (stream.halted, stream.done, stream.held, stream.take(), stream.expire()) == (True, True, 0, [], [])
    assert stream.resolve(held[1:], [judge(h.text) for h in held[1:]]) == []
    assert len(stream.unused) == len(held) - 1


def test_a_closed_stream_takes_no_more():
    stream = guarded().open()
    stream.close()
    stream.close()
    assert stream.done
    with pytest.raises(ClosedError, match="fed after close"):
        stream.feed("more")


class Model:
    """Writes until it is closed."""

    def __init__(self, text, size=5):
        self.chunks = iter([text[i : i + size] for i in range(0, len(text), size)])
        self.written, self.stopped = "", 0

    def __iter__(self):
        return self

    def __next__(self):
        self.written += (chunk := next(self.chunks))
        return chunk

    def close(self):
        self.stopped += 1


def test_the_model_is_stopped_when_the_stream_halts_or_its_reader_goes():
    model = Model(RUDE + AFTER * 20)
    assert show(guarded().run(model)) == ""
    assert model.stopped == 1
    assert len(model.written) < len(RUDE) + 60
    model = Model(FINE * 20)
    reader = guarded().run(model)
    next(reader)
    reader.close()
    assert model.stopped == 1
    model = Model(FINE)
    list(guarded().run(model))
    assert model.stopped == 0


@pytest.mark.parametrize("number", range(3))
def test_when_the_guard_raises_nothing_more_goes(number):
    class Breaks(ToyScorer):
        def score(self, texts, labels):
            if f"Part {number}" in texts[-1]:
                raise OSError("no device")
            return super().score(texts, labels)

    model = Model("".join(f"Part {k} of this text is read by someone. " for k in range(9)))
    shown = []
    with pytest.raises(OSError, match="no device"):
        shown.extend(StreamGuard(Guard(Breaks(), RULES), periods).run(model))
    assert len(shown) == number
    assert model.stopped == 1


def test_a_splitter_that_raises_halts_the_stream():
    stream = guarded(lambda text: [(0, 99)]).open()
    with pytest.raises(ValueError, match="the splitter gave"):
        stream.feed(FINE)
    assert (stream.halted, stream.take()) == (True, [])


def test_a_host_may_halt():
    stream = guarded().open()
    stream.feed(FINE * 3)
    held = stream.take()
    stream.halt()
    assert stream.resolve(held, [judge(h.text) for h in held]) == []


# ------------------------------------------------------------------------------------- hosts


async def test_an_async_host_may_judge_elsewhere():
    async def score(held):
        await asyncio.sleep(0)
        return await asyncio.to_thread(GUARD.many, [h.text for h in held])

    settings, text, found = guarded(on_broken="redact"), FINE + RUDE + FINE * 3, []
    stream = settings.open()
    for i in range(0, len(text) + 1, 7):
        stream.feed(text[i : i + 7])
        if i + 7 > len(text):
            stream.close()
        while held := stream.take():
            found += stream.resolve(held, await score(held))
    assert stream.done
    assert found == expected(settings, text)


def test_a_sentence_that_is_known_to_be_withheld_is_no_context_although_it_waits():
    stream = guarded(on_broken="redact").open()
    stream.feed(FINE + RUDE + AFTER + "x" * 60)
    held = stream.take()
    assert stream.resolve(held[1:2], [judge(held[1].text)]) == []
    (again,) = stream.take()
    assert (again.number, again.text, again.context) == (2, FINE + AFTER, (held[0].span,))
    shown = stream.resolve([again, held[0]], [judge(again.text), judge(held[0].text)])
    assert [e.action for e in shown] == ["release", "redact", "release"]


@pytest.mark.parametrize(
    ("held", "verdicts", "kind", "message"),
    [
        (lambda h: h, lambda v: v[:1], ValueError, "1 verdicts came for 2 sentences"),
        (lambda h: h, lambda v: [v[0], None], TypeError, "the verdict on sentence 1 is NoneType"),
        (lambda h: [h[0], Held(7, "x", (0, 1), ())], lambda v: v, ValueError, "sentence 7 is not of this stream"),
    ],
)
def test_what_resolves_nothing_is_refused_and_lets_nothing_go(held, verdicts, kind, message):
    stream = guarded().open()
    stream.feed(FINE * 2 + "x" * 60)
    given = stream.take()
    good = [judge(h.text) for h in given]
    with pytest.raises(kind, match=message):
        stream.resolve(held(given), verdicts(good))
    assert show(stream.resolve(given, good)) == FINE * 2


def test_verdicts_on_other_words_or_given_twice_let_nothing_go():
    stream = guarded().open()
    stream.feed(RUDE + "x" * 60)
    (held,) = stream.take()
    assert stream.resolve([replace(held, text=FINE)], [judge(FINE)]) == []
    stream.feed(FINE)
    assert stream.resolve([held], [judge(held.text)])[0].action == "halt"
    assert [h.text for h, _ in stream.unused] == [FINE]


@pytest.mark.parametrize("text", [None, b"bytes", ["a"]])
def test_a_chunk_is_text(text):
    with pytest.raises(TypeError, match="a chunk is"):
        guarded().open().feed(text)
    with pytest.raises(TypeError, match="chunks is a str; expected an iterable"):
        guarded().run("text")


def test_letters_as_sentences_are_still_all_judged():
    assert show(guarded(letters).run(["fine by me"])) == "fine by me"


# ----------------------------------------------------------------------------------------- whole texts


@pytest.mark.parametrize("policy", ["halt", "redact", "annotate", {"rude": "release", "spam": "redact"}])
def test_whole_texts_give_what_each_stream_gives(policy):
    settings = guarded(on_broken=policy, context=2)
    texts = [FINE * 4, RUDE + FINE, FINE + RUDE + AFTER * 5, "", " \n", "spam it is. " + RUDE + FINE, FINE]
    assert settings.many(texts) == [list(settings.run([text])) for text in texts]
    assert settings.many([]) == []


def test_whole_texts_are_judged_in_as_few_calls_as_the_worst_needs():
    class Counting(ToyScorer):
        def score(self, texts, labels):
            calls.append(len(texts))
            return super().score(texts, labels)

    calls: list[int] = []
    counted = replace(guarded(on_broken="redact"), guard=Guard(Counting(), RULES))
    counted.many([FINE * 3, RUDE + FINE, FINE])
    assert calls == [3 + 2 + 1, 1]  # what follows a withheld sentence is judged again, in its context
    calls.clear()
    assert counted.many(["", ""]) == [[], []]
    assert calls == []


def test_what_is_no_list_of_texts_is_refused():
    with pytest.raises(TypeError, match=r"texts is a str; expected a list"):
        guarded().many(FINE)
    with pytest.raises(TypeError, match="a chunk is int"):
        guarded().many([7])


def test_whole_texts_wait_for_their_verdicts():
    timed = guarded(budget=1e-9, on_timeout="halt")
    assert show(timed.many([FINE])[0]) == FINE
