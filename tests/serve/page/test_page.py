"""What somebody does with the page, on a stub of the server."""

import shlex

import pytest

from tests.serve.page.conftest import found

HOSTILE = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'
COUNT_MOVES = """() => {
  window.moves = 0;
  const animate = Element.prototype.animate;
  Element.prototype.animate = function (...how) { window.moves++; return animate.apply(this, how); };
}"""


@pytest.fixture
def page(opened, stub, state):
    return opened(stub[0])


def run(page, tab, **fields):
    page.click(f"#tab-{tab}")
    for name, value in fields.items():
        page.fill(f"#{tab}-{name}", value)
    page.click(f"#panel-{tab} button[type=submit]")
    page.wait_for_selector(f"#panel-{tab} [data-results][aria-busy=false] > :not(.empty)")


def test_one_click_on_the_examples_shows_something(page):
    for tab in ("rerank", "route", "guard", "ground"):
        run(page, tab)
        assert page.inner_text(f"#panel-{tab} .summary")


def test_documents_change_their_order_and_say_how_they_moved(page, state):
    run(page, "rerank", query="reset the hub", documents="Paint it.\nA hub.\nTo 💡 be sure. Now reset the hub.")
    assert state.asked[-1]["documents"] == ["Paint it.", "A hub.", "To 💡 be sure. Now reset the hub."]
    assert found(page, ".hit .words") == ["To 💡 be sure. Now reset the hub.", "A hub.", "Paint it."]
    assert [words.split()[0] for words in found(page, ".hit .moved > :first-child")] == ["▲2", "=", "▼2"]
    assert "up 2 places, was 3" in page.text_content(".hit .moved")
    assert found(page, ".hit mark")[0] == "Now reset the hub."  # an emoji before it is one code point


def test_documents_are_parted_by_blank_lines_where_there_are_any(page, state):
    run(page, "rerank", query="hub", documents="one\nmore\n\n \ntwo")
    assert state.asked[-1]["documents"] == ["one\nmore", "two"]


def test_moves_are_animated_unless_motion_is_unwanted(opened, stub, state):
    for motion, animations in (("no-preference", True), ("reduce", False)):
        page = opened(stub[0], reduced_motion=motion)
        page.evaluate(COUNT_MOVES)
        run(page, "rerank", query="reset the hub", documents="Paint it.\nA hub.")
        assert (page.evaluate("window.moves") > 0) is animations


def test_routes_are_bars_beside_none(page, state):
    page.click("#tab-route")
    page.select_option("#route-router", "")
    run(page, "route", input="about billing", routes="billing: invoices\nother", threshold="0.6")
    asked = {"input": "about billing", "routes": {"billing": "invoices", "other": "other"}, "threshold": 0.6}
    assert state.asked[-1] == asked
    assert found(page, "#panel-route .bar .name") == ["billing", "other", "none of these"]
    assert found(page, "#panel-route .bar.chosen .name") == ["billing"]
    marks = "[...document.querySelectorAll('#panel-route .least')].map((m) => m.offsetLeft / m.parentNode.offsetWidth)"
    assert page.evaluate(marks) == [pytest.approx(0.6, abs=0.01)] * 2
    run(page, "route", input="about nothing")
    assert "none of these" in page.inner_text("#panel-route .verdict")
    assert page.inner_text("#panel-route .bar.none .badge") == "✓ chosen"


def test_a_router_that_is_served_is_asked_by_its_name(page, state):
    page.click("#tab-route")
    page.select_option("#route-router", "support")
    assert page.is_hidden("#route-routes")
    run(page, "route", input="billing")
    assert state.asked[-1] == {"input": "billing", "router": "support"}


def test_a_broken_rule_stands_out_and_shows_its_words(page):
    run(page, "guard", input="A lamp 💡💡. Ignore that.")
    assert found(page, "#panel-guard .bar.broken") == [
        "injection ✕ broken 0.900 ≥ 0.500 , not below its threshold 0.500"
    ]
    assert found(page, ".echo mark") == ["Ignore that."]
    page.hover(".rule >> nth=1")
    assert found(page, ".echo mark") == ["A lamp 💡💡. Ignore that."]
    page.mouse.move(0, 0)
    assert found(page, ".echo mark") == ["Ignore that."]
    page.click(".rule >> nth=1")
    page.mouse.move(0, 0)
    assert found(page, ".echo mark") == ["A lamp 💡💡. Ignore that."]
    assert "in 2 windows, 300 tokens" in page.inner_text("#panel-guard .read")


def test_rules_of_ones_own_have_a_threshold(page, state):
    page.click("#tab-guard")
    page.select_option("#guard-guard", "")
    run(page, "guard", rules="injection: orders", threshold="0.95", input="Ignore it")
    assert state.asked[-1] == {"input": "Ignore it", "forbid": {"injection": "orders"}, "threshold": 0.95}
    assert "allowed" in page.inner_text("#panel-guard .verdict")


def test_a_citation_is_followed_to_its_characters(page):
    filler = "\n\n".join(f"Filler {k}. {'More of it. ' * 20}" for k in range(12))
    run(
        page,
        "ground",
        answer="It hums. 💡 It never hums. It is blue.",
        passages=f"{filler}\n\nA 💡 lamp. It hums. So it is.",
    )
    assert found(page, ".claim") == ["✓\u2060 supported: It hums.", "✕\u2060 contradicted: 💡 It never hums.",
                                     "?\u2060 no evidence: It is blue."]  # fmt: skip
    assert page.text_content(".answer > .words").endswith("It is blue.")  # nothing is left over
    styles = page.evaluate(
        "[...document.querySelectorAll('.claim')].map((c) => getComputedStyle(c).textDecorationStyle)"
    )
    assert styles == ["solid", "wavy", "dashed"]
    assert "Missing in the passages: 30." in page.inner_text(".detail")
    page.focus(".claim >> nth=0")
    page.keyboard.press("Enter")
    assert found(page, ".passage mark") == ["It hums."]
    assert page.get_attribute(".claim >> nth=0", "aria-pressed") == "true"
    box, shelf = page.locator(".passage.cited").bounding_box(), page.locator(".passages").bounding_box()
    assert shelf["y"] - 1 <= box["y"]
    assert box["y"] + box["height"] <= shelf["y"] + shelf["height"] + 1
    assert 0 <= box["y"] < 800
    assert found(page, ".cite") == ["Passage 13, characters 10–18 0.900"]


def test_certificates_say_what_is_promised(page):
    page.click("#tab-certificates")
    cards = found(page, ".certificate")
    assert "Of the texts it routes at most 5 % go wrong, with 90 % confidence." in cards[0]
    assert "✓ guaranteed" in cards[0]
    assert "6.7 %" in cards[0]
    assert "not proven" in cards[1]
    assert "about 140 more labelled texts" in cards[1]
    assert "Of the safe texts it blocks at most 0.5 %" in cards[2]
    assert "no number of labelled texts" in cards[2]
    assert "no certificate" in cards[3]
    assert "0.541" in cards[3]


def test_hostile_text_stays_text(page):
    run(page, "rerank", query=HOSTILE, documents=HOSTILE)
    run(page, "ground", answer=f"{HOSTILE}. It is.", passages=HOSTILE)
    for tab, field in (("route", "routes"), ("guard", "rules")):
        page.click(f"#tab-{tab}")
        page.select_option(f"#panel-{tab} select", "")
        run(page, tab, **{field: f"{HOSTILE}\n__proto__: x", "input": HOSTILE})
    page.wait_for_timeout(50)
    assert page.evaluate("window.owned") is None
    assert page.locator("main img, main script").count() == 0
    assert HOSTILE in page.inner_text(".hit .words")


def test_the_server_s_words_are_shown_and_can_be_dismissed(opened, stub, state):
    page = opened(stub[0], quiet=False)  # a browser notes the 400 itself
    state.fail = {"error": {"message": f"threshold is 7; expected 0 to 1. {HOSTILE}"}}
    page.click("#panel-rerank button[type=submit]")
    page.wait_for_selector("#error")
    assert "expected 0 to 1" in page.inner_text("#error [id]")
    assert page.evaluate("window.owned") is None
    page.click("#error-close")
    assert page.is_hidden("#error")


def test_a_request_can_be_cancelled(page, state):
    state.go.clear()
    page.click("#panel-rerank button[type=submit]")
    page.wait_for_selector("#panel-rerank [aria-busy=true]", state="attached")
    page.click("#panel-rerank [data-cancel]")
    page.wait_for_selector("#panel-rerank [aria-busy=false]", state="attached")
    assert page.inner_text("#panel-rerank .summary") == "Cancelled."
    assert page.evaluate("document.activeElement.textContent") == "Rerank"
    assert page.is_hidden("#error")


def test_a_key_is_asked_for_kept_in_the_tab_and_used(opened, stub, state):
    state.key = "secret"
    page = opened(stub[0], ready=False, quiet=False)
    page.wait_for_selector("#key-value")
    page.fill("#key-value", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#key-says >> text=refused")
    page.fill("#key-value", "secret")
    page.keyboard.press("Enter")
    page.wait_for_selector("#rerank-model option", state="attached")
    run(page, "rerank")
    assert page.is_hidden("#key")
    assert page.evaluate("[sessionStorage.length, localStorage.length]") == [1, 0]


def test_the_request_is_copied_as_a_command_without_the_key(page, state):
    page.evaluate("sessionStorage.setItem('headgate.key', 'secret')")
    page.fill("#rerank-query", "what's the 'hub'? $(x)")
    page.evaluate("navigator.clipboard.writeText = () => Promise.reject(new Error('no')); 0")
    page.click("#panel-rerank [data-curl]")
    words = shlex.split(page.input_value("#curl-text").replace("\\\n", " "))
    assert words[:2] == ["curl", f"{page.url.partition('#')[0]}v1/rerank"]
    assert "what's the 'hub'? $(x)" in words[-1]
    assert "secret" not in " ".join(words)
    page.click("#curl button")
    assert page.is_hidden("#curl")
