import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, EmailStr, Field
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from hardpoint import errors
from hardpoint.errors import (
    ApiError,
    Conflict,
    FieldError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    ServiceUnavailable,
    Unauthorized,
    ValidationFailed,
    install_error_handlers,
    raised_detail,
    responses,
)
from hardpoint.errors.rendering import code_for_status, phrase_of, wants_problem
from hardpoint.errors.validation import field_errors_from
from hardpoint.middleware import BodyLimitMiddleware, ErrorsMiddleware, RequestIdMiddleware
from support.asgi import client_of


class Inner(BaseModel):
    kind: str


class Body(BaseModel, extra="forbid"):
    email: EmailStr
    password: str = Field(min_length=8)
    numbers: list[int] = []
    inner: dict[str, Inner] = {}


def application(**options: Any) -> FastAPI:
    app = FastAPI(
        middleware=[
            Middleware(RequestIdMiddleware),
            Middleware(ErrorsMiddleware),
            Middleware(BodyLimitMiddleware, max_bytes=1_000),
        ]
        if options
        else []
    )
    install_error_handlers(app, **options)

    @app.post("/body")
    async def body(body: Body) -> None: ...

    @app.get("/raise/{name}")
    async def raises(name: str) -> None:
        raise {
            "not-found": NotFound(),
            "conflict": Conflict("The last one stays", code="LAST_ONE"),
            "limited": RateLimited(retry_after_seconds=0),
            "away": ServiceUnavailable(retry_after_seconds=7),
            "who": Unauthorized(),
            "method": MethodNotAllowed(["GET", "HEAD"]),
            "fields": ValidationFailed(FieldError(field="a", message="m", code="c")),
            "plain": HTTPException(418, "Short and stout"),
            "odd": HTTPException(409, {"any": "thing"}),  # type: ignore[arg-type] # FastAPI allows it.
            "empty": HTTPException(304),
            "unknown": HTTPException(499, "Gone away"),
        }[name]

    @app.get("/crash")
    async def crash() -> None:
        raise ZeroDivisionError

    @app.websocket("/ws")
    async def socket(websocket: WebSocket, number: int) -> None: ...

    @app.websocket("/accepted/{name}")
    async def accepted(websocket: WebSocket, name: str) -> None:
        await websocket.accept()
        if name == "left":
            await websocket.receive()
        if name == "closed":
            await websocket.close(3000)
        await raises("away" if name == "away" else "limited")

    return app


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(application(), raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("name", "status", "code", "headers"),
    [
        ("not-found", 404, "NOT_FOUND", {}),
        ("conflict", 409, "LAST_ONE", {}),
        ("limited", 429, "RATE_LIMITED", {"retry-after": "1"}),
        ("away", 503, "SERVICE_UNAVAILABLE", {"retry-after": "7"}),
        ("who", 401, "INVALID_TOKEN", {"www-authenticate": 'Bearer realm="api"'}),
        ("method", 405, "METHOD_NOT_ALLOWED", {"allow": "GET, HEAD"}),
        ("plain", 418, "IM_A_TEAPOT", {}),
        ("odd", 409, "CONFLICT", {}),
        ("unknown", 499, "ERROR", {}),
    ],
)
def test_an_exception_becomes_the_envelope(
    client: TestClient, name: str, status: int, code: str, headers: dict[str, str]
) -> None:
    answer = client.get(f"/raise/{name}")
    assert answer.status_code == status
    assert answer.json()["code"] == code
    assert isinstance(answer.json()["detail"], str)
    assert set(answer.json()) == {"detail", "code", "request_id"}
    assert headers.items() <= dict(answer.headers).items()


def test_a_status_without_a_body_has_none(client: TestClient) -> None:
    answer = client.get("/raise/empty")
    assert (answer.status_code, answer.content) == (304, b"")


def test_the_routers_own_errors_have_the_envelope(client: TestClient) -> None:
    assert client.get("/nothing").json()["code"] == "NOT_FOUND"
    wrong = client.put("/body")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "POST")


def test_a_validation_error_names_every_field_by_its_path(client: TestClient) -> None:
    body = {"email": "x", "numbers": [1, "y"], "inner": {"k": {}}, "surplus": 1}
    answer = client.post("/body", json=body)
    assert answer.status_code == 422
    found = {error["field"]: error["code"] for error in answer.json()["field_errors"]}
    assert found == {
        "email": "value_error",
        "password": "missing",
        "numbers.1": "int_parsing",
        "inner.k.kind": "missing",
        "surplus": "extra_forbidden",
    }


def test_a_validation_failed_of_our_own_has_its_fields(client: TestClient) -> None:
    assert client.get("/raise/fields").json()["field_errors"] == [{"field": "a", "message": "m", "code": "c"}]


CANARY = "canary5f1e0a"


@given(
    st.dictionaries(
        st.sampled_from(["email", "password", "numbers", "inner", CANARY]),
        st.one_of(
            st.just(CANARY),
            st.just(f"{CANARY}@<>"),
            st.lists(st.just(CANARY)),
            st.just({CANARY: CANARY}),
            st.just({CANARY: {"kind": [CANARY]}}),
        ),
    )
)
def test_no_value_that_was_sent_comes_back(body: dict[str, Any]) -> None:
    answer = TestClient(application()).post("/body", json=body)
    messages = [error["message"] for error in answer.json().get("field_errors", [])]
    assert not any(CANARY in message for message in messages)
    # Keys are the client's own names of fields, and come back as paths alone.
    without_paths = {**answer.json(), "field_errors": [{**e, "field": ""} for e in answer.json()["field_errors"]]}
    assert CANARY not in json.dumps(without_paths)


def test_paths_are_printable_and_short_and_there_are_not_too_many() -> None:
    account = [{"type": "missing", "loc": ("body", "a\ud800\n" + "x" * 500), "msg": "m"}] * 80
    found = field_errors_from(account)
    assert len(found) == 50
    assert found[0].field == "a??" + "x" * 61
    json.dumps(found[0].model_dump()).encode()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/problem+json", True),
        ("application/json, application/problem+json", True),
        ("application/json;q=0.5, application/problem+json;q=0.9", True),
        ("APPLICATION/PROBLEM+JSON", True),
        ("application/json, application/problem+json;q=0.5", False),
        ("application/problem+json;q=0", False),
        ("application/problem+json;q=x", False),
        ("*/*", False),
        ("application/*", False),
        ("", False),
    ],
)
def test_problem_details_are_for_who_asks_for_them_by_name(accept: str, wanted: bool) -> None:
    assert wants_problem(accept) is wanted


def test_problem_details_have_the_same_facts(client: TestClient) -> None:
    answer = client.post("/body", json={}, headers={"Accept": "application/problem+json"})
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["type"], body["title"], body["status"]) == ("about:blank", "Unprocessable Content", 422)
    assert body["code"] == "VALIDATION_ERROR"
    assert len(body["field_errors"]) == 2


def test_a_websocket_that_does_not_validate_is_closed_without_the_inputs(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect(f"/ws?number={CANARY}"):
        pass
    assert (closed.value.code, closed.value.reason) == (1008, "Validation error")


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [("limited", 1008, "RATE_LIMITED"), ("away", 1011, "SERVICE_UNAVAILABLE"), ("closed", 3000, "")],
)
def test_what_is_raised_in_an_accepted_socket_closes_it(client: TestClient, name: str, code: int, reason: str) -> None:
    with client.websocket_connect(f"/accepted/{name}") as socket:
        assert socket.receive() == {"type": "websocket.close", "code": code, "reason": reason}


def test_what_is_raised_when_the_client_has_left_sends_nothing(client: TestClient) -> None:
    with client.websocket_connect("/accepted/left") as socket:
        socket.close()


def as_fastapi_does(error: Any, _: Any) -> dict[str, Any]:
    return {"detail": raised_detail(error)}


def test_a_body_of_ones_own_takes_the_place_of_the_envelope_on_every_layer() -> None:
    client = TestClient(application(body=as_fastapi_does), raise_server_exceptions=False)
    assert client.get("/raise/odd").json() == {"detail": {"any": "thing"}}
    assert client.get("/raise/plain").json() == {"detail": "Short and stout"}
    assert client.get("/elsewhere").json() == {"detail": "Not Found"}
    assert client.get("/crash").json() == {"detail": errors.InternalError.default_detail}
    assert client.post("/body", content=b"x" * 1_001).json() == {"detail": errors.PayloadTooLarge.default_detail}
    invalid = client.post("/body", json={"email": "a@example.com", "password": "SECRET"})
    assert invalid.status_code == 422
    (found,) = invalid.json()["detail"]
    assert found == {
        "type": "string_too_short",
        "loc": ["body", "password"],
        "msg": "String should have at least 8 characters",
    }
    assert "SECRET" not in invalid.text
    assert client.get("/raise/empty").content == b""


def test_a_body_of_ones_own_may_add_to_the_envelope_and_problem_details_stay() -> None:
    def both(error: Any, envelope: Any) -> dict[str, Any]:
        return {**envelope, "detail": raised_detail(error)}

    client = TestClient(application(body=both))
    answer = client.get("/raise/odd")
    assert answer.json() == {
        "detail": {"any": "thing"},
        "code": "CONFLICT",
        "request_id": answer.headers["X-Request-ID"],
    }
    assert client.get("/raise/limited").headers["Retry-After"] == "1"
    problem = client.get("/raise/odd", headers={"Accept": "application/problem+json"})
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert problem.json()["detail"] == "Conflict"


def test_every_exception_has_a_status_a_code_and_a_sentence() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, ApiError):
            assert 400 <= kind.status < 600
            assert kind.default_code == kind.default_code.upper()
            assert kind.default_detail


def test_codes_of_statuses() -> None:
    assert code_for_status(415) == "UNSUPPORTED_MEDIA_TYPE"
    assert code_for_status(413) == "PAYLOAD_TOO_LARGE"
    assert code_for_status(504) == "TIMEOUT"
    # Whatever Python calls them.
    assert code_for_status(414) == "URI_TOO_LONG"
    assert code_for_status(416) == "RANGE_NOT_SATISFIABLE"
    assert phrase_of(416) == "Range Not Satisfiable"
    assert phrase_of(599) == "Error"
    assert code_for_status(599) == "ERROR"


def test_responses_are_grouped_by_status_with_an_example_each() -> None:
    described = responses(NotFound, Conflict, (Conflict, "LAST_ONE"), ValidationFailed)
    assert list(described) == [404, 409, 422]
    assert set(described[409]["content"]["application/json"]["examples"]) == {"CONFLICT", "LAST_ONE"}
    example = described[422]["content"]["application/json"]["examples"]["VALIDATION_ERROR"]["value"]
    errors.ErrorEnvelope.model_validate(example)
    for wrong in (404, "NOT_FOUND", NotFound(), (409, "LAST_ONE")):
        with pytest.raises(TypeError, match=r"no error's class; write responses\(NotFound"):
            responses(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [FastAPI, Starlette])
async def test_allow_names_no_methods_of_another_path_below_a_mount(make: Any, tmp_path: Path) -> None:
    async def answer(request: Request) -> Response:
        return Response()

    async def another(request: Request) -> Response:
        return Response()

    async def of_mount(request: Request) -> Response:
        return Response()

    items = [Route("/items", answer), Route("/items", another, methods=["POST"])]
    mounted = Mount("/v2", routes=[Route("/items", of_mount, methods=["DELETE"])])
    application = make(routes=[*items, mounted, Mount("/files", StaticFiles(directory=tmp_path))])
    install_error_handlers(application)
    async with client_of(application) as client:
        allowed = [(await client.put(path)).headers.get("allow") for path in ("/items", "/v2/items", "/files/items")]
    assert allowed == ["GET, HEAD, POST", "DELETE", "GET, HEAD"]
