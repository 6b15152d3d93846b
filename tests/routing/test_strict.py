import json
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Body, FastAPI, File, Form, Request, UploadFile
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from hardpoint.errors import install_error_handlers
from hardpoint.routing import StrictJSONRoute

router = APIRouter(route_class=StrictJSONRoute)


@router.post("/any")
async def echo(value: Annotated[Any, Body()]) -> Any:
    return {"value": value}


@router.post("/form")
async def form(name: Annotated[str, Form()]) -> str:
    return name


@router.post("/file")
async def file(upload: Annotated[UploadFile, File()]) -> int:
    return len(await upload.read())


@router.post("/raw")
async def raw(request: Request) -> int:
    return len(await request.body())


@router.post("/text")
async def text(value: Annotated[bytes, Body(media_type="text/plain")]) -> int:
    return len(value)


app = FastAPI()
install_error_handlers(app)
app.include_router(router)
client = TestClient(app)
JSON = {"Content-Type": "application/json"}

BAD = [
    b"{",
    b"NaN",
    b"[Infinity]",
    b"-Infinity",
    b'{"a": 1e999}',
    b"[[-1e400]]",
    b'"\\ud800"',
    b'{"\\udfff": 1}',
    b"[" * 100_000,
    b"[" * 1_000 + b"]" * 1_000,
    b"9" * 5_000,
    b"\xff",
    '"é"'.encode("latin-1"),
    '"x"'.encode("utf-16"),
    '"x"'.encode("utf-32"),
    b"\xef\xbb\xbf1",
    b"1 2",
    b"'x'",
    b"{'a': 1}",
    b"[1,]",
    b"\x00",
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body[:16]))
def test_bad_json_is_a_422_that_repeats_nothing(body: bytes) -> None:
    answer = client.post("/any", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["field_errors"] == [{"field": "", "message": "Not valid JSON", "code": "json_invalid"}]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(json_values)
def test_good_json_arrives_as_it_was_sent(value: Any) -> None:
    answer = client.post("/any", content=json.dumps(value), headers=JSON)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"value": value}


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/problem+json", "APPLICATION/JSON"],
)
def test_json_by_any_of_its_names(content_type: str) -> None:
    assert client.post("/any", content=b"1", headers={"Content-Type": content_type}).json() == {"value": 1}


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/json; charset=utf-16", "x/y;"])
def test_another_media_type_is_a_415(content_type: str) -> None:
    answer = client.post("/any", content=b"1", headers={"Content-Type": content_type})
    assert answer.status_code == 415
    assert answer.json()["code"] == "UNSUPPORTED_MEDIA_TYPE"


def test_forms_files_and_raw_bodies_are_not_our_business() -> None:
    assert client.post("/form", data={"name": "x"}).json() == "x"
    assert client.post("/file", files={"upload": b"12345"}).json() == 5
    assert client.post("/raw", content=b"abc", headers={"Content-Type": "text/plain"}).json() == 3
    assert client.post("/text", content=b"abcd", headers={"Content-Type": "text/plain"}).json() == 4
