"""The system tells when it woke."""

from __future__ import annotations

from desktop.system.signals import SystemSignals


def test_the_system_says_when_it_woke() -> None:
    told: list[str] = []
    signals = SystemSignals(lambda: told.append("now"))
    signals.on_sleep(True)
    assert told == []
    signals.on_sleep(False)
    assert told == ["now"]
    signals.close()
    signals.on_sleep(False)
    assert told == ["now"]
