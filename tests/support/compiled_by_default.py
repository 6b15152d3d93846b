"""A pytest plugin for FastAPI's own tests: every route is a `CompiledRoute`, unless a test names another class."""

from typing import Any

import fastapi.routing

from hardpoint.routing import CompiledRoute
from hardpoint.routing.running import CompiledHandler

fastapi.routing.APIRouter.__init__.__kwdefaults__["route_class"] = CompiledRoute
_count = {"directly": 0, "inside": 0}


def _counted(name: str, how: str) -> None:
    original = getattr(CompiledHandler, name)

    async def counted(self: Any, *arguments: Any) -> Any:
        _count[how] += 1
        return await original(self, *arguments)

    setattr(CompiledHandler, name, counted)


_counted("__call__", "directly")
_counted("_result", "inside")


def pytest_sessionfinish(session: Any) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["answered"] = _count


def pytest_testnodedown(node: Any) -> None:
    for how, number in node.workeroutput["answered"].items():
        _count[how] += number


def pytest_terminal_summary(terminalreporter: Any) -> None:
    # What is answered directly passes through both.
    total = _count["inside"]
    terminalreporter.write_line(f"answered by compiled routes: {total}, of which directly: {_count['directly']}")
    if not total:
        raise RuntimeError("No request was answered by a compiled route: the comparison is of FastAPI with itself")
