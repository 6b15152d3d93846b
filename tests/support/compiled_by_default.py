"""A pytest plugin for FastAPI's own tests: every route is a `CompiledRoute`, unless a test names another class.

With HARDPOINT_SHORT_WAY set every application has a `CompiledRoutesMiddleware` too.
"""

import os
from typing import Any

import fastapi.routing
from fastapi import FastAPI
from starlette.middleware import Middleware

from hardpoint.routing import CompiledRoute, CompiledRoutesMiddleware
from hardpoint.routing.running import CompiledHandler

fastapi.routing.APIRouter.__init__.__kwdefaults__["route_class"] = CompiledRoute
_count = {"inside": 0, "directly": 0, "the short way": 0}


def _counted(owner: Any, name: str, how: str) -> None:
    original = getattr(owner, name)

    async def counted(self: Any, *arguments: Any) -> Any:
        _count[how] += 1
        return await original(self, *arguments)

    setattr(owner, name, counted)


_counted(CompiledHandler, "_result", "inside")
_counted(CompiledHandler, "__call__", "directly")
_counted(CompiledRoutesMiddleware, "_answer", "the short way")

if os.environ.get("HARDPOINT_SHORT_WAY"):
    _build = FastAPI.build_middleware_stack

    def _build_with_short_way(self: FastAPI) -> Any:
        self.user_middleware.append(Middleware(CompiledRoutesMiddleware))
        try:
            return _build(self)
        finally:
            self.user_middleware.pop()

    FastAPI.build_middleware_stack = _build_with_short_way  # type: ignore[method-assign]


def pytest_sessionfinish(session: Any) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["answered"] = _count


def pytest_testnodedown(node: Any) -> None:
    for how, number in node.workeroutput["answered"].items():
        _count[how] += number


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # What is answered directly passes through both, and what comes the short way through all three.
    total, directly, short = _count.values()
    terminalreporter.write_line(
        f"answered by compiled routes: {total}, of which directly: {directly}, of which the short way: {short}"
    )
    if not (short if os.environ.get("HARDPOINT_SHORT_WAY") else total):
        raise RuntimeError("No request was answered by a compiled route: the comparison is of FastAPI with itself")
