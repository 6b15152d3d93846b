"""uvicorn's HTTP, without what it takes for headers and is none."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HttpProtocol"]


class HttpProtocol(HttpToolsProtocol):
    """Trailers are not merged into the headers, which RFC 9110, section 6.5.1 forbids.

    uvicorn appends them to the request's own list: behind a proxy that looks at headers, whoever asks could say
    `Authorization` or `Cookie` after the body, where nobody looked.
    """

    def on_headers_complete(self) -> None:
        """What the parser finds from here on is a trailer, and belongs to nobody."""
        super().on_headers_complete()
        # A WebSocket has no path yet, and no body; its headers are still needed.
        if "path" in self.scope:
            self.headers = []
