"""Where headgate keeps what it has made and could make again."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """``$HEADGATE_CACHE``, else ``$XDG_CACHE_HOME/headgate``, else ``~/.cache/headgate``; it may not exist yet.

    Where there is no home, it is among the temporary files.
    """
    own, shared = os.environ.get("HEADGATE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser()
        return (Path(shared) if shared else Path.home() / ".cache") / "headgate"
    except RuntimeError:  # a user without a home, as in a container
        return Path(tempfile.gettempdir()) / "headgate"
