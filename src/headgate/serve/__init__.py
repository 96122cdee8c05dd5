"""Serve rerankers, routers and guards over HTTP, in the dialects that clients already speak; needs the extra "serve".

    HTTP bytes      middleware: request id, key, size of the body
        | a dialect: parse, check, name the task            dialects/*, nouns/*
        v
    Desk            admission (else 429), deadline, cancellation
        | ask -> judge -> decide, in a thread that waits for the one worker
        v
    the dialect's reply, metrics, a log line without texts

``headgate serve`` runs it; :func:`application` is the ASGI application, for servers and tests of your own.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.serve.app import application as application
    from headgate.serve.settings import Limits as Limits
    from headgate.serve.settings import Settings as Settings
    from headgate.serve.settings import read_settings as read_settings

__all__ = ["Limits", "Settings", "application", "read_settings"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'headgate.serve' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"headgate.serve.{'app' if name == 'application' else 'settings'}"), name)
    globals()[name] = value
    return value
