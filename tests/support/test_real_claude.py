"""The scripted API against the real Claude Code: what the recordings say is still so."""

import json
import re
from pathlib import Path

import pytest

from tests.support.real_cli import PINS
from tests.support.record_claude import RECORDINGS, cases, record

FOLDER = RECORDINGS / f"claude_code_{PINS['claude_code'].version}"


def shape(recording: str) -> list[str]:
    """Type and subtype of each line: what may not change without anyone noticing.

    Without the counts of thinking tokens, which come as fast as time allows.
    """
    lines = [json.loads(line) for line in recording.splitlines()]
    lines = [line for line in lines if line.get("subtype") != "thinking_tokens"]
    return [
        f"{line['type']}/{line.get('subtype') or line.get('event', {}).get('type')}"
        for line in lines
    ]


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.usefixtures("claude_cli")
@pytest.mark.parametrize("name", sorted(cases()))
async def test_claude_still_speaks_as_recorded(name: str, tmp_path: Path) -> None:
    recorded = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8")
    said = await record(name, cases()[name], tmp_path)
    assert shape(said) == shape(recorded)


def test_recordings_hold_nothing_of_the_machine_they_were_made_on() -> None:
    files = sorted(FOLDER.glob("*.jsonl"))
    assert {file.stem for file in files} == set(cases())
    for file in files:
        assert not re.search(r"/root|/tmp|/Users/|sk-scripted", file.read_text(encoding="utf-8"))
