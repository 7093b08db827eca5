"""Whether a newer release is as good as the last that was tested, judged without any CLI."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import drift
from tests.agents.conformance import OURS, SCENARIOS
from tests.support.real_cli import PINS

GOOD = dict.fromkeys(SCENARIOS, "yes")


def test_each_of_ours_has_scenarios_and_tests_with_the_real_program() -> None:
    assert drift.REAL_TESTS.keys() == PINS.keys() == OURS.keys()
    for globs in drift.REAL_TESTS.values():
        assert all(list(Path(drift.__file__).parent.glob(each)) for each in globs)


@pytest.mark.parametrize(
    ("now", "worse"),
    [
        ({}, []),
        ({"prompt": "agent_failed"}, ["prompt"]),
        ({"images": "login"}, ["images"]),
        ({"resume": "offered"}, ["resume"]),
    ],
)
def test_what_went_better_before_is_worse(now: dict[str, str], worse: list[str]) -> None:
    assert drift.worsened(GOOD, GOOD | now) == worse
    assert drift.worsened(GOOD | now, GOOD) == []
    assert len(drift.changes(GOOD, GOOD | now)) == len(now)


def test_a_release_that_was_tested_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drift, "newest_version", lambda package: PINS["codex"].newest)
    assert drift.pinned("codex")
    assert "tested" in capsys.readouterr().out


def test_a_newer_one_is_tried_and_what_changed_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[list[str]] = []
    verdicts = iter([GOOD, GOOD | {"cancel": "no"}])

    class Done:
        returncode = 0

    def run(command: list[str], **_: object) -> Done:
        tried.append(command)
        return Done()

    monkeypatch.setattr(drift, "newest_version", lambda package: "999.0.0")
    monkeypatch.setattr(drift, "installed", lambda name, pin, version: Path(version))
    monkeypatch.setattr(drift, "_tried", lambda subject: next(verdicts))
    monkeypatch.setattr("subprocess.run", run)
    assert not drift.pinned("codex")
    assert "  cancel: yes -> no" in capsys.readouterr().out
    assert tried[0][-1] == "codex=999.0.0"


def test_what_npm_does_not_have_is_a_usage_error() -> None:
    assert drift.main(["goose"]) == 2
