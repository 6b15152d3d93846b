"""Routes that are about to go."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.testclient import TestClient

from hardpoint.openapi import DeprecationMiddleware, deprecated, install_openapi
from hardpoint.openapi.deprecation import deprecation_of

SINCE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SUNSET = datetime(2027, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2)))


def make_app() -> FastAPI:
    router = APIRouter(prefix="/v1")

    @router.get("/old/{number}")
    @deprecated(since=SINCE, sunset=SUNSET, successor="/v2/new", documentation="https://example.com/moving")
    async def old(number: int) -> int:
        """Still here."""
        if number < 0:
            raise HTTPException(404)
        return number

    @router.get("/older")
    @deprecated(since=SINCE)
    async def older() -> None: ...

    @router.get("/new")
    async def new() -> None: ...

    app = FastAPI()
    app.add_middleware(DeprecationMiddleware)
    app.include_router(router)
    install_openapi(app)
    return app


@pytest.mark.parametrize(("path", "status"), [("/v1/old/1", 200), ("/v1/old/-1", 404), ("/v1/old/x", 422)])
def test_every_response_of_a_deprecated_route_says_so(path: str, status: int) -> None:
    answer = TestClient(make_app()).get(path)
    assert answer.status_code == status
    # RFC 9745, section 2.1, and RFC 8594, section 3.
    assert answer.headers["deprecation"] == f"@{int(SINCE.timestamp())}"
    assert answer.headers["sunset"] == "Sat, 02 Jan 2027 03:04:05 GMT"
    assert answer.headers["link"] == (
        '</v2/new>; rel="successor-version", <https://example.com/moving>; rel="deprecation"'
    )


def test_what_is_not_known_is_not_said() -> None:
    headers = TestClient(make_app()).get("/v1/older").headers
    assert "deprecation" in headers
    assert "sunset" not in headers
    assert "link" not in headers


@pytest.mark.parametrize("path", ["/v1/new", "/nowhere"])
def test_other_routes_say_nothing(path: str) -> None:
    assert "deprecation" not in TestClient(make_app()).get(path).headers


def test_the_document_says_it() -> None:
    operations: dict[str, Any] = make_app().openapi()["paths"]
    old = operations["/v1/old/{number}"]["get"]
    assert old["deprecated"] is True
    assert old["description"] == (
        "Still here.\n\nDeprecated since 2026-01-02. It may be gone from 2027-01-02 on. Use `/v2/new` instead."
    )
    assert {"Deprecation", "Sunset"} <= old["responses"]["200"]["headers"].keys()
    assert operations["/v1/older"]["get"]["description"] == "Deprecated since 2026-01-02."
    assert "deprecated" not in operations["/v1/new"]["get"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"since": datetime(2026, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the fault.
        ({"since": SINCE, "sunset": SINCE - timedelta(seconds=1)}, "gone before"),
        ({"since": SINCE, "successor": "/new>"}, "Link"),
        ({"since": SINCE, "successor": "/neü"}, "Link"),
        ({"since": SINCE, "documentation": "/a\nb"}, "Link"),
    ],
    ids=["naive", "early", "bracket", "unicode", "newline"],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        deprecated(**options)


def test_the_document_and_the_header_tell_the_same_day() -> None:
    east = timezone(timedelta(hours=2))

    @deprecated(since=datetime(2026, 1, 2, 1, tzinfo=east), sunset=datetime(2027, 1, 2, 1, tzinfo=east))
    async def old() -> None: ...

    deprecation = deprecation_of(old)
    assert deprecation is not None
    assert deprecation.headers["Sunset"] == "Fri, 01 Jan 2027 23:00:00 GMT"
    assert deprecation.text == "Deprecated since 2026-01-01. It may be gone from 2027-01-01 on."
