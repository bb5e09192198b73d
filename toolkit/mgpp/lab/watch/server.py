"""Serve the page that follows runs, with Python's own server, to this machine alone."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mgpp.lab.watch.content import page
from mgpp.lab.watch.state import NEWEST, state_of


class WatchServer(ThreadingHTTPServer):
    """Answer with the page and with the state of a folder, and with nothing else; no file is served.

    Args:
        folder: of runs; it need not exist yet.
        port: 0 for any that is free.
    """

    def __init__(self, folder: str | Path, port: int = 0):
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder, self.reading = folder, threading.Lock()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: WatchServer

    def do_GET(self) -> None:
        """Answer a question of the browser."""
        url = urlsplit(self.path)
        if self.headers.get("Host") not in [f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")]:
            self.send_error(403)  # a page of another site that has this address by a trick of names
        elif url.path == "/":
            self._answer("text/html", page())
        elif url.path == "/state.json":
            asked = parse_qs(url.query, keep_blank_values=True)
            with self.server.reading:
                state = state_of(self.server.folder, [asked.get(side, [NEWEST])[0] for side in "ab"])
            self._answer("application/json", json.dumps(state, ensure_ascii=False))
        else:
            self.send_error(404)

    def _answer(self, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent: a line for every question would fill the terminal."""
