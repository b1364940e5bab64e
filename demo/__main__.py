"""`python -m demo`: show the page of a service that runs, or of one that is started for it."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from contextlib import ExitStack

from demo.process import ServiceNotStarted, ServiceStopped, running_service
from linnet_client import Client, ServiceError

DEFAULT_PORT = 7860
LAST_PORT = 65_535
# A page that is left open keeps a stream open, which would be waited for.
GRACE_S = 1


def main() -> None:
    """Show the page until it is interrupted; prints its address when it can be opened."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # unwinds, so that a service started here stops too
    try:
        with ExitStack() as stack:
            url = stack.enter_context(running_service(options.start)) if options.start else options.url
            show(stack.enter_context(Client(url)), options.host, options.port)
    except (ServiceError, ServiceNotStarted, ServiceStopped) as error:
        sys.exit(f"demo: {error}")
    except OSError as error:
        sys.exit(
            f"demo: {options.host}:{options.port} cannot be listened on ({error.strerror}): choose another --port."
        )
    except KeyboardInterrupt:
        pass  # the way to end it


def show(client: Client, host: str, port: int) -> None:
    """Serve the page at `host` and `port` until it is interrupted; 0 takes a free port."""
    # Read by gradio when it is imported: nothing is sent anywhere, nor asked for.
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    import gradio as gr
    import uvicorn
    from fastapi import FastAPI

    from demo.page import STYLE, build_page

    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        build_page(client),
        path="/",
        theme=gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
        css_paths=STYLE,
        footer_links=[],
        max_file_size="32mb",
        ssr_mode=False,
    )
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_S)
    with socket.create_server((host, port)) as listener:
        print(f"The page is at http://{host}:{listener.getsockname()[1]}", flush=True)  # noqa: T201
        uvicorn.Server(config).run(sockets=[listener])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--url", default="http://127.0.0.1:8000", help="address of the service")
    source.add_argument("--start", nargs=1, metavar="LINNET", help="start the service with this `linnet`")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help="port to listen on; 0 takes a free one")
    return parser.parse_args()


def _port(text: str) -> int:
    if text.isdecimal() and int(text) <= LAST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port: choose one from 0 to {LAST_PORT}.")


if __name__ == "__main__":
    main()
