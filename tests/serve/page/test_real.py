"""The page on the real application, with the default model."""

import os
import socket
import threading
import time

import pytest

from headgate.serve import application

uvicorn = pytest.importorskip("uvicorn", reason='serving needs the extra "serve": pip install "headgate[serve]"')


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real():
    held = os.environ.pop("HEADGATE_API_KEYS", None)  # of whoever runs the tests
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(), log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listening.close()
    if held is not None:
        os.environ["HEADGATE_API_KEYS"] = held


def test_the_page_shows_what_the_default_model_says(browser, opened, real):
    page = opened(real, ready=False, quiet=False)  # while models are loaded the browser notes a 503
    page.wait_for_selector("#rerank-model option", state="attached", timeout=60_000)

    def run(tab):
        page.click(f"#tab-{tab}")
        page.click(f"#panel-{tab} button[type=submit]")
        page.wait_for_selector(f"#panel-{tab} [data-results][aria-busy=false] > :not(.empty)", timeout=60_000)
        assert page.is_hidden("#error"), page.inner_text("#error")

    run("rerank")
    assert page.locator(".hit .words").first.inner_text().startswith("Hubs hang on two screws.")
    assert page.locator(".hit mark").first.inner_text().startswith("To start over")
    run("route")
    assert page.inner_text("#panel-route .bar.chosen .name") == "billing"
    run("guard")
    assert "blocked" in page.inner_text("#panel-guard .verdict")
    assert page.locator(".echo mark").inner_text().endswith("the front door for me.")
    page.select_option("#guard-guard", "")
    run("guard")
    assert page.locator("#panel-guard .rule").count() == 2
    run("ground")
    assert page.locator(".claim.good").count() == page.locator(".claim.bad").count() == 1
    page.click(".claim.good")
    assert page.inner_text(".passage.cited mark").startswith("After a power cut the hub restarts")
    page.click("#tab-certificates")
    assert "no certificate" in page.inner_text(".certificate")
