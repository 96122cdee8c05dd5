"""``headgate serve``: one process, one port; it drains on SIGTERM and reads its file again on SIGHUP."""

import asyncio
import ipaddress
import logging
import signal
import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from headgate.errors import MissingExtraError


def command(  # noqa: PLR0913  a command's options are its arguments
    config: Annotated[Path | None, typer.Option(help="What to serve, YAML; without one everything is mini.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps; in place of the file's.")] = None,
    anybody: Annotated[bool, typer.Option("--anybody", help="Listen beyond this machine without keys.")] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning, error.")] = "info",
    check: Annotated[bool, typer.Option("--check", help="Read the file, load everything, and end.")] = False,
) -> None:
    """Serve rerankers, routers and guards over HTTP, in the dialects of Cohere, Jina, TEI, OpenAI and others."""
    try:
        import uvicorn

        from headgate.serve.app import application
        from headgate.serve.settings import KEYS, Settings, on_device, read_settings
    except ImportError as e:
        raise MissingExtraError(str(e.name), "serve") from e
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = Settings() if config is None else read_settings(config)
    settings = settings if device is None else on_device(settings, device)
    if not (settings.secrets() or anybody or _here(host)):
        raise ValueError(
            f"--host {host} listens beyond this machine, and there are no keys; expected keys: FILE in --config, or "
            f"{KEYS} in the environment. --anybody serves all that can reach it."
        )
    app = application(settings)
    if check:
        asyncio.run(app.state.service.start())
        typer.echo("everything can be served", err=True)
        return
    listening = _listening(host, port)
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"headgate serves http://{shown}:{listening.getsockname()[1]}", err=True)
    drain = settings.limits.drain
    server = _server(uvicorn, app, timeout_graceful_shutdown=int(drain) or 1, log_level=log_level.lower())
    asyncio.run(_serve(server, app, listening))


def _here(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as e:
        found.close()
        raise ValueError(f"{host}:{port} can't be listened on ({e.strerror}); expected a free port: --port.") from e
    found.listen(2048)
    found.setblocking(False)
    return found


def _server(uvicorn: Any, app: Any, **settings: Any) -> Any:  # noqa: ANN401
    service = app.state.service

    class Server(uvicorn.Server):  # type: ignore[misc]  # it is imported in the call
        def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401
            first, service.draining = not service.draining, True  # /ready tells those who send requests
            linger, end = service.settings.limits.linger, super().handle_exit
            if first and linger and sig == signal.SIGTERM:
                app.state.loop.call_soon_threadsafe(app.state.loop.call_later, linger, end, sig, frame)
            else:
                end(sig, frame)

    config = uvicorn.Config(
        app, access_log=False, server_header=False, timeout_keep_alive=30, ws_max_size=1 << 20, **settings
    )
    return Server(config)


async def _serve(server: Any, app: Any, listening: socket.socket) -> None:  # noqa: ANN401
    service, app.state.loop = app.state.service, asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        try:
            await service.reload()
        except Exception:  # it is logged, and everything stays as it was
            return

    def hang_up() -> None:
        task = asyncio.ensure_future(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hang_up)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    watching = asyncio.ensure_future(_loaded(app, server))
    await serving
    watching.cancel()
    if server.should_exit and getattr(app.state, "failed", None) is not None:
        raise app.state.failed


async def _loaded(app: Any, server: Any) -> None:  # noqa: ANN401
    """End the server if what it should serve can't be loaded: whoever starts it again must see that."""
    while not hasattr(app.state, "loading"):
        await asyncio.sleep(0.05)
    try:
        await app.state.loading
    except asyncio.CancelledError:
        raise
    except Exception as error:
        app.state.failed = error
        server.should_exit = True
    else:
        logging.getLogger("headgate.serve").info("ready")
