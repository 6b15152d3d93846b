"""The template: the service's own source, and what of it belongs to a choice."""

from pathlib import Path

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hardpoint.new.markers import as_template

SERVICE = Path(__file__).parents[2] / "src" / "hardpoint" / "service"
OPTIONS = yaml.safe_load((Path(__file__).parents[2] / "template" / "copier.yml").read_text())["_envops"]
EVERYTHING = dict.fromkeys(("sqlite", "postgresql", "realtime", "jobs", "api_keys", "reference"), True)


def rendered(template: str, **answers: object) -> str:
    environment = jinja2.Environment(**{**OPTIONS, "undefined": jinja2.StrictUndefined})  # noqa: S701 - no HTML.
    return environment.from_string(template).render(**{"package": "shop", "prefix": "SHOP", **answers})


def without_markers(source: str) -> str:
    lines = [line for line in source.splitlines() if not line.strip().startswith("# new: ")]
    return "\n".join(line.partition("  # new: ")[0] for line in lines) + "\n"


@pytest.mark.parametrize("path", sorted(SERVICE.rglob("*.py")), ids=lambda path: str(path.relative_to(SERVICE)))
def test_with_every_choice_it_is_the_service_but_for_the_name(path: Path) -> None:
    source = path.read_text()
    made = rendered(as_template(source), **EVERYTHING)
    expected = without_markers(source)
    assert len(made.splitlines()) == len(expected.splitlines())
    for own, line in zip(made.splitlines(), expected.splitlines(), strict=True):
        assert own == line or ("hardpoint" in line.lower() and "shop" in own.lower()) or "reference" in line


def test_what_was_not_chosen_is_not_there() -> None:
    source = 'a = 1\n    b = 2  # new: jobs\n# new: if jobs and realtime\nc = "[x]"\n# new: end if\nd = 4\n'
    template = as_template(source)
    assert rendered(template, jobs=False, realtime=True) == "a = 1\nd = 4\n"
    assert rendered(template, jobs=True, realtime=False) == "a = 1\n    b = 2\nd = 4\n"
    assert rendered(template, jobs=True, realtime=True) == 'a = 1\n    b = 2\nc = "[x]"\nd = 4\n'


@pytest.mark.parametrize(
    "source",
    [
        "# new: if jobs\na = 1\n",
        "a = 1\n# new: end if\n",
        "# new: end if\n# new: if jobs\n",
        "a = 1 # new: jobs\n",
        "a = 1  # new: if jobs\n",
        "# new: jobs\n",
        "# new: else\n",
        "a = '[= x =]'\n",
        "a = '[% x %]'\n",
    ],
)
def test_a_marker_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"marker|end if|template's own"):
        as_template(source)


@given(st.text(st.characters(codec="utf-8", exclude_characters="[]%=#\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")))
def test_what_has_no_marker_stays_as_it_is(text: str) -> None:
    if "hardpoint" in text.lower() or "reference" in text:
        return
    assert rendered(as_template(text + "\n")) == text + "\n"


def test_words_for_the_service_become_the_projects_and_those_for_hardpoint_stay() -> None:
    source = (
        "from hardpoint.auth import Auth\n"
        "from hardpoint.service.posts.models import Post\n"
        'version("hardpoint"), Path(".hardpoint"), "hardpoint@localhost", "HARDPOINT_DATA_DIR"\n'
        '[sys.executable, "-m", "hardpoint.cli", "serve"]  # `hardpoint db upgrade`\n'
        '"hardpoint_http_requests_total", "hardpoint_mails_waiting", "hardpoint[otel]", hardpoint.settings\n'
    )
    assert rendered(as_template(source)) == (
        "from hardpoint.auth import Auth\n"
        "from shop.posts.models import Post\n"
        'version("shop"), Path(".shop"), "shop@localhost", "SHOP_DATA_DIR"\n'
        '[sys.executable, "-m", "shop", "serve"]  # `shop db upgrade`\n'
        '"hardpoint_http_requests_total", "shop_mails_waiting", "hardpoint[otel]", hardpoint.settings\n'
    )
