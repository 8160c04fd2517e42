"""A reverse proxy in front of a tracking server that can disturb requests like real networks and servers."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass
class Weather:
    """What happens to requests now, and the number of requests affected so far.

    `kind` is `fair`, `down` (the connection is reset), `slow` (responses take `delay_s`), `error` and `forbidden`
    (HTTP 500 and 403; the server never gets the request), `lost` (the server handles the request, but the response
    never arrives), or `wrong` (something else replies instead of the server).
    """

    kind: str = "fair"
    delay_s: float = 0.0
    left: float = float("inf")
    """Number of further requests that it affects."""
    content: bytes = b""
    """The whole response, including headers, that every request gets in the weather `wrong`."""
    disturbed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def set(self, kind: str, *, delay_s: float = 0.0, requests: float = float("inf")) -> None:
        """Change the weather for the next `requests`."""
        self.kind, self.delay_s, self.left = kind, delay_s, requests

    def answer_with(self, content: bytes) -> None:
        """Answer every request with these bytes, like a captive portal or another program."""
        self.content = content
        self.set("wrong")

    def disturb(self) -> None:
        """Count one more disturbed request."""
        with self.lock:
            self.disturbed += 1
            self.left -= 1
            if self.left <= 0:
                self.kind = "fair"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: Proxy

    def _serve(self) -> None:
        weather = self.server.weather
        kind = weather.kind
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if kind != "fair":
            weather.disturb()
        if kind == "down":
            self._reset()
            return
        if kind in ("error", "forbidden"):
            self._answer(500 if kind == "error" else 403, [("Content-Type", "text/plain")], b"injected fault")
            return
        if kind == "wrong":
            self.close_connection = True
            self.wfile.write(weather.content)
            return
        if kind == "slow":
            time.sleep(weather.delay_s)
        try:
            status, headers, content = self._forward(body)
        except OSError:  # the server itself is down
            weather.disturb()
            self._reset()
            return
        if kind == "lost":
            self._reset()
            return
        self._answer(status, headers, content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _serve  # noqa: N815 - http.server's names

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        try:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in HOP_BY_HOP}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response(status)
        for key, value in headers:
            if key.lower() not in HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        try:
            self.wfile.write(content)
        except OSError:  # the client has given up
            self.close_connection = True

    def _reset(self) -> None:
        """Cut the connection like a host that dies."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.wfile = self.rfile = _Nothing()  # type: ignore[assignment]

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class _Nothing:
    """The file of a closed connection."""

    closed = True

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class Proxy(ThreadingHTTPServer):
    """The proxy in front of the server on port `upstream` of this host."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.weather = Weather()

    @property
    def uri(self) -> str:
        """The URI for clients."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: object) -> None:
        """Ignore clients that disconnected: that is not an error of the proxy."""


@contextmanager
def running_proxy(upstream: int) -> Iterator[Proxy]:
    """Serve until the block ends."""
    proxy = Proxy(upstream)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
