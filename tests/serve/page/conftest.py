"""A browser, if there is one, and the page on a stub."""

import os
import shutil
from urllib.parse import urlsplit

import pytest

from tests.serve.page.stub import State, serving

HOW = "pip install playwright; apt-get install chromium; HEADGATE_CHROMIUM=path if it is elsewhere"
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run",
)  # fmt: skip


# Of this package, not of the session: while the synchronous API is open its loop counts as running, and tests of others
# that are coroutines could not run.
@pytest.fixture(scope="package")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason=f"the page's tests need playwright: {HOW}")
    path = os.environ.get("HEADGATE_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip(f"the page's tests need chromium: {HOW}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def stub():
    state = State()
    server = serving(state)
    yield f"http://127.0.0.1:{server.server_port}/", state
    server.shutdown()
    server.server_close()


@pytest.fixture
def state(stub):
    _, state = stub
    state.key, state.fail, state.asked = None, None, []
    state.go.set()
    yield state
    state.go.set()


@pytest.fixture
def opened(browser):
    """Opens the page, as often as wanted; at the end no script has failed, and nothing has left the machine."""
    contexts, said, hosts = [], [], set()

    def go(url, *, ready=True, quiet=True, **options):
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        )
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: said.append(m.text) if quiet and m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("request", lambda r: hosts.add(urlsplit(r.url).hostname) if not r.url.startswith("data:") else None)
        page.goto(url)
        if ready:
            page.wait_for_selector("#rerank-model option", state="attached")
        return page

    yield go
    for context in contexts:
        context.close()
    assert not said
    assert hosts <= {"127.0.0.1"}


def found(page, selector):
    """The words of all that match, each on one line; those for screen readers alone are among them."""
    return [" ".join(words.split()) for words in page.locator(selector).all_inner_texts()]
