"""What `install_openapi` adds to FastAPI's document."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI
from openapi_spec_validator import validate
from pydantic import BaseModel, ConfigDict

from hardpoint.errors import Conflict, NotFound, responses
from hardpoint.openapi import Tag, install_openapi, unique_route_name


class Thing(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "a", "owner": None, "parts": [{"n": None}]}]})

    class Part(BaseModel):
        n: int | None

    name: str
    owner: str | None
    parts: list[Part]


def make_app(**options: Any) -> FastAPI:
    app = FastAPI(generate_unique_id_function=unique_route_name)
    router = APIRouter(tags=["things"])

    @router.get("/things/{number}", responses=responses(NotFound))
    async def read(number: int) -> Thing:
        raise NotFound

    @router.post("/things", responses=responses((Conflict, "TAKEN")))
    async def write(thing: Thing) -> Thing:
        return thing

    @router.get("/health")
    async def health() -> None: ...

    app.include_router(router)
    install_openapi(app, exempt_paths=["/health"], **options)
    return app


def test_the_document_is_valid_and_the_same_each_time() -> None:
    app = make_app(tags=[Tag(name="things", description="Things.")], servers=["https://api.example.com"])
    document = app.openapi()
    validate(document)  # type: ignore[arg-type] # it takes any mapping
    assert app.openapi() is document
    assert document["servers"] == [{"url": "https://api.example.com"}]
    assert document["tags"] == [{"name": "things", "description": "Things."}]


def test_the_errors_of_middlewares_are_there_where_they_can_happen() -> None:
    paths = make_app().openapi()["paths"]
    assert set(paths["/things/{number}"]["get"]["responses"]) == {"200", "404", "422", "429", "500", "503", "504"}
    assert {"413", "415"} < set(paths["/things"]["post"]["responses"])
    assert set(paths["/health"]["get"]["responses"]) == {"200"}


def test_shared_responses_are_named_for_their_codes() -> None:
    document = make_app().openapi()
    answers = document["paths"]["/things"]["post"]["responses"]
    assert answers["409"] == {"$ref": "#/components/responses/TAKEN"}
    assert answers["422"] == {"$ref": "#/components/responses/VALIDATION_ERROR"}
    shared = document["components"]["responses"]["RATE_LIMITED"]
    assert shared["headers"]["Retry-After"] == {"$ref": "#/components/headers/Retry-After"}
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_nulls_in_examples_stay() -> None:
    schemas = make_app().openapi()["components"]["schemas"]
    assert schemas["Thing"]["examples"] == [{"name": "a", "owner": None, "parts": [{"n": None}]}]


def test_two_routes_of_one_name_are_refused() -> None:
    app = FastAPI(generate_unique_id_function=unique_route_name)
    for path in ("/a", "/b"):

        @app.get(path)
        async def same(flag: Annotated[bool, "any"] = False) -> None: ...

    with pytest.raises(ValueError, match="'same' is of /a and of /b"):
        install_openapi(app)


def test_a_tag_without_a_description_is_refused() -> None:
    with pytest.raises(ValueError, match="'things' of /things"):
        make_app(tags=[Tag(name="others", description="Others.")])
