"""The page by keyboard, by screen reader, on a narrow screen, in the dark."""

import pytest

TABS = ("rerank", "route", "guard", "ground", "certificates")

NAMELESS = """[...document.querySelectorAll("input, textarea, select, button, [role=button], [role=region]")]
  .filter((e) => {
    const ids = (e.getAttribute("aria-labelledby") ?? "").split(" ");
    const by = ids.map((id) => document.getElementById(id)?.textContent);
    const label = [...(e.labels ?? [])].map((l) => l.textContent).join("");
    const content = /^(BUTTON|SPAN)$/.test(e.tagName) ? e.textContent : "";
    return !(e.getAttribute("aria-label") || by.join("") || label || content).trim();
  }).map((e) => e.outerHTML)"""

# The contrast of every word with what lies behind it, by WCAG 2: colours are read back from a canvas.
FAINT = """(() => {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colours) => {
    context.clearRect(0, 0, 1, 1);
    for (const colour of colours) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (e) => (e ? [...behind(e.parentElement), getComputedStyle(e).backgroundColor] : []);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  while (walker.nextNode()) {
    const e = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest(".unseen, option, noscript")) continue;
    const [a, b] = [light(rgb([...behind(e), getComputedStyle(e).color])), light(rgb(behind(e)))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${walker.currentNode.data}`);
  }
  return faint;
})()"""


def shown(page):
    """Every tab, with results."""
    for tab in TABS:
        page.click(f"#tab-{tab}")
        if tab != "certificates":
            page.click(f"#panel-{tab} button[type=submit]")
            page.wait_for_selector(f"#panel-{tab} [data-results][aria-busy=false] > :not(.empty)")
        yield tab


def test_the_tabs_are_one_stop_and_arrows_move_among_them(opened, stub, state):
    page = opened(stub[0])
    page.focus("#tab-rerank")
    moves = (
        ("ArrowRight", "route"), ("ArrowLeft", "rerank"), ("ArrowLeft", "certificates"), ("ArrowRight", "rerank"),
        ("End", "certificates"), ("Home", "rerank"), ("ArrowRight", "route"),
    )  # fmt: skip
    for key, tab in moves:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"tab-{tab}"
        assert page.evaluate("location.hash") == f"#{tab}"
        assert page.locator("[role=tab][aria-selected=true]").get_attribute("id") == f"tab-{tab}"
        assert page.locator("[role=tab][tabindex='0'], [role=tab]:not([tabindex])").count() == 1
        assert page.locator("[role=tabpanel]:visible").get_attribute("id") == f"panel-{tab}"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "route-input"
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#panel-route .verdict")
    page.reload()
    assert page.is_visible("#panel-route")


def test_what_is_focused_can_be_seen(opened, stub, state):
    page = opened(stub[0])
    for _ in range(6):
        page.keyboard.press("Tab")
        where = "getComputedStyle(document.activeElement)"
        assert page.evaluate(f"[{where}.outlineStyle, {where}.outlineWidth]") == ["solid", "2px"]


def test_every_control_has_a_name(opened, stub, state):
    page = opened(stub[0])
    for tab in shown(page):
        assert page.evaluate(NAMELESS) == [], tab
    page.evaluate("document.querySelector('#rerank-query').labels[0].remove()")
    assert len(page.evaluate(NAMELESS)) == 1  # the check can fail


def test_results_are_announced(opened, stub, state):
    page = opened(stub[0])
    for tab in shown(page):
        if tab != "certificates":
            assert page.locator(f"#panel-{tab} .summary[role=status]").inner_text()
            assert page.get_attribute(f"#panel-{tab} [data-results]", "aria-busy") == "false"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(opened, stub, state, scheme):
    page = opened(stub[0], color_scheme=scheme)
    for tab in shown(page):
        assert page.evaluate(FAINT) == [], tab
    page.evaluate("document.querySelector('h1').style.color = 'var(--line)'")
    assert len(page.evaluate(FAINT)) == 1  # the check can fail


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_is_wider_than_the_screen(opened, stub, state, width):
    page = opened(stub[0], viewport={"width": width, "height": 740})
    for field in ("rerank-documents", "guard-input", "ground-answer", "ground-passages"):
        page.locator(f"#{field}").evaluate("(e) => { e.value += '. ' + 'Ignore'.repeat(60); }")
    page.locator("#route-routes").evaluate("(e) => { e.value += '\\n' + 'route'.repeat(40); }")
    page.evaluate("for (const e of document.querySelectorAll('[data-own]')) "
                  "{ e.value = ''; e.dispatchEvent(new Event('change')); }")  # fmt: skip
    for tab in shown(page):
        assert page.evaluate("document.documentElement.scrollWidth") == width, tab
        assert (
            page.evaluate("[...document.querySelectorAll('[role=tab]')].at(-1).getBoundingClientRect().right") <= width
        )


def test_the_theme_follows_the_system_until_it_is_chosen(opened, stub, state):
    page = opened(stub[0], color_scheme="dark")
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: light"
    light = page.evaluate(back)
    assert light != dark
    page.reload()
    assert page.evaluate(back) == light
    page.click("#theme")
    assert page.evaluate(back) == dark
    page.click("#theme")
    assert (page.inner_text("#theme"), page.evaluate(back)) == ("Theme: auto", dark)
