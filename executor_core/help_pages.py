"""Pages of help by topic, in a small part of Markdown that a terminal and a window can both show.

That part is: headings `#` and `##`, paragraphs, lists of `- `, code between ``` lines, `code`.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache

from executor_core.errors import ExecutorError
from executor_core.resources import resource_path
from executor_core.texts import current_language

_CHECK = "check-"


@cache
def topics() -> tuple[str, ...]:
    """Every topic, sorted: what people do first, then the pages of the doctor's checks."""
    names = (path.stem for path in resource_path("help/en").glob("*.md"))
    return tuple(sorted(names, key=lambda name: (name.startswith(_CHECK), name)))


def is_of_check(topic: str) -> bool:
    """Whether it is the page of a check."""
    return topic.startswith(_CHECK)


def topic_of(check: str) -> str:
    """The page of a check by its name; those of one kind, named `kind.…`, share it."""
    return _CHECK + check.partition(".")[0]


def page(topic: str, language: str | None = None) -> str:
    """The page, in the language of the process or another.

    Raises:
        ExecutorError: `unknown_topic` with one that is near, or `no_topic`.
    """
    if topic not in topics():
        for nearest in get_close_matches(topic, topics(), n=1):
            raise ExecutorError("unknown_topic", topic=topic, nearest=nearest)
        raise ExecutorError("no_topic", topic=topic)
    return resource_path(f"help/{language or current_language()}/{topic}.md").read_text("utf-8")


def title(topic: str, language: str | None = None) -> str:
    """The heading of a page. Raises as `page` does."""
    found = re.match(r"# (.+)", page(topic, language))
    assert found is not None
    return found[1]
