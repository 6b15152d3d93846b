"""What a scope tells."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hardpoint.lifespan import Lifespan, Resource
from hardpoint.lifespan.http_client import HttpClient
from hardpoint.scope import of_lifespan


def test_what_the_lifespan_holds() -> None:
    assert of_lifespan({"state": {"auth": 1}}, "auth") == 1


@pytest.mark.parametrize("lifespan", [None, Lifespan(Resource.constant("other", 1))])
def test_whoever_misses_a_resource_is_told_which_and_what_to_do(lifespan: Lifespan | None) -> None:
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def route(client: HttpClient) -> None: ...

    with pytest.raises(RuntimeError, match="no 'http_client'"), TestClient(app) as client:
        client.get("/")
    with pytest.raises(RuntimeError, match="context manager"):
        TestClient(app).get("/")


def test_a_scope_without_a_lifespan_has_nothing() -> None:
    with pytest.raises(RuntimeError, match="no 'auth'"):
        of_lifespan({}, "auth")
