"""The code of Markdown pages, run as it stands."""

import os
import re
import runpy
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parent.parent.parent


def code_blocks(pages: Iterable[Path], language: str = "python") -> list[pytest.ParameterSet]:
    """Every block of `language`, named for its page and place; blocks with a title belong to a longer story."""
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in pages
        for number, block in enumerate(
            re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL), 1
        )
    ]


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """End what waits for something that never happens, as readers' code may, with an error instead of for ever."""

    def late(*_: object) -> NoReturn:
        raise TimeoutError(f"Not done within {seconds} seconds")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_block(block: str, folder: Path) -> None:
    """Run `block` as a program of its own, in `folder`, in this process: hundreds of them start no interpreter each."""
    file = folder / "block.py"
    file.write_text(block)
    with working_in(folder), within(120):
        runpy.run_path(str(file), run_name="__main__")


def broken_links(page: Path) -> list[str]:
    """The relative links of a page that lead nowhere."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    return [target for target in targets if not (page.parent / target).exists()]
