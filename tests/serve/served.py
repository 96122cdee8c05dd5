"""An application on toy scorers, and on mini, for the tests of the server."""

import time
from contextlib import contextmanager
from dataclasses import replace

from starlette.testclient import TestClient

from headgate.serve import Settings, application
from headgate.testing import ToyScorer

CLASSES = ("greeting", "complaint")
RULES = {"attack": 0.6, "insult": 0.9}


def toy(origin, *, device):
    """A toy by the name of the model that is asked for."""
    assert device == "auto"
    if origin.where == "mini/guard":
        return ToyScorer(thresholds=dict(RULES))
    if origin.where == "mini/heads":
        return ToyScorer(labels=CLASSES)
    if origin.where == "an/order":
        return ToyScorer(meaning="order")
    return ToyScorer()


SETTINGS = Settings(embedder=None, categories={"violence": ("attack",), "hate": ("attack", "insult")})


@contextmanager
def served(settings=SETTINGS, load=toy, **changes):
    """A client of the application, once it is ready."""
    app = application(replace(settings, **changes), load=load)
    with TestClient(app, raise_server_exceptions=False) as client:
        until = time.monotonic() + 60
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.01)
        client.service = app.state.service
        yield client


def post(client, path, status=200, **body):
    """The reply to a body, as data; its status is as expected."""
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()
