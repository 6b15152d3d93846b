"""A collector of OpenTelemetry traces, over HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector:
    """What was exported to it, as it came."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.received: list[bytes] = []

    @classmethod
    @contextmanager
    def started(cls) -> Iterator["Collector"]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector.received.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            collector = cls(f"http://127.0.0.1:{server.server_port}")
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield collector
            finally:
                server.shutdown()
                thread.join()
