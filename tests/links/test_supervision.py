"""When the link tries again, and when it stops and asks the person."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor_core.links.device.server_socket import classify_loss, classify_refusal
from executor_core.links.supervision import (
    RATE_LIMIT_S,
    REJECTED_PROBE_S,
    STABLE_S,
    Failure,
    Supervision,
    after_failure,
    next_delay,
)
from tests.links.story import PATIENT


def after(*failures: Failure, past: Supervision | None = None) -> Supervision:
    past = past or Supervision()
    for failure in failures:
        past = after_failure(past, failure, 0)
    return past


def delay(past: Supervision, failure: Failure, share: float = 1.0) -> float:
    return next_delay(
        past, failure, base_s=1.0, cap_s=30.0, jitter=lambda low, high: low + (high - low) * share
    )


@pytest.mark.parametrize(
    ("message", "failure"),
    [
        ("Missing authentication token", Failure.REFUSED),
        ("Invalid or expired token", Failure.REFUSED),
        ("Invalid or expired API key", Failure.REFUSED),
        ("Connection refused by server", Failure.REFUSED),
        ("Connection rejected by server", Failure.REFUSED),
        ("Server is shutting down", Failure.UNREACHABLE),
        ("Authentication service unavailable", Failure.UNREACHABLE),
        ("Too many device connection attempts", Failure.BUSY),
        ("Something new", Failure.UNREACHABLE),
    ],
)
def test_every_documented_refusal_is_understood(message: str, failure: Failure) -> None:
    assert classify_refusal(message) is failure


def test_the_third_refusal_in_a_row_is_a_rejection() -> None:
    assert not after(Failure.REFUSED, Failure.REFUSED).is_rejected
    assert after(Failure.REFUSED, Failure.REFUSED, Failure.REFUSED).is_rejected


@pytest.mark.parametrize("between", [Failure.UNREACHABLE, Failure.LOST])
def test_what_comes_between_refusals_starts_their_count_anew(between: Failure) -> None:
    assert not after(Failure.REFUSED, Failure.REFUSED, between, Failure.REFUSED).is_rejected


def test_a_busy_server_says_nothing_about_the_token() -> None:
    refused = (Failure.REFUSED, Failure.REFUSED)
    assert after(*refused, Failure.BUSY, Failure.REFUSED).is_rejected


@PATIENT
@given(st.lists(st.sampled_from([Failure.UNREACHABLE, Failure.LOST, Failure.BUSY]), max_size=50))
def test_a_server_that_cannot_be_reached_never_rejects(failures: list[Failure]) -> None:
    assert not after(*failures).is_rejected


def test_a_rejection_outlives_a_server_that_is_away_but_not_a_session() -> None:
    rejected = after(*[Failure.REFUSED] * 3)
    assert after(Failure.UNREACHABLE, past=rejected).is_rejected
    assert not after(Failure.LOST, past=rejected).is_rejected


def test_a_rejected_link_looks_again_every_ten_minutes() -> None:
    rejected = after(*[Failure.REFUSED] * 3)
    for failure in Failure:
        assert delay(rejected, failure) == REJECTED_PROBE_S == 600


@PATIENT
@given(st.integers(1, 2_000), st.floats(0, 1))
def test_the_back_off_is_full_jitter_below_its_cap(attempts: int, share: float) -> None:
    past = Supervision(attempts=attempts)
    ceiling = min(30, 2 ** (attempts - 1))
    assert delay(past, Failure.LOST, share) == pytest.approx(ceiling * share)


@PATIENT
@given(st.integers(1, 50), st.floats(0, 1))
def test_a_busy_server_is_left_alone_for_thirty_seconds_and_not_by_all_at_once(
    attempts: int, share: float
) -> None:
    waited = delay(Supervision(attempts=attempts), Failure.BUSY, share)
    assert waited >= RATE_LIMIT_S == 30
    if share > 0.5:
        assert waited > RATE_LIMIT_S


def test_a_link_that_worked_starts_the_back_off_anew_however_often_it_is_lost() -> None:
    past = Supervision(attempts=9, refusals=2)
    for _ in range(20):
        past = after_failure(past, Failure.LOST, STABLE_S)
        assert past == Supervision(attempts=1)
        assert delay(past, Failure.LOST) <= 1


def test_sessions_that_end_as_soon_as_they_began_count_as_failures() -> None:
    tired = Supervision(attempts=9)
    assert after_failure(tired, Failure.LOST, STABLE_S - 0.1).attempts == 10


@pytest.mark.parametrize(
    ("story", "is_twin"),
    [
        ([(Failure.PUSHED_OUT, 900)], False),
        ([(Failure.PUSHED_OUT, 900), (Failure.PUSHED_OUT, 30)], True),
        ([(Failure.PUSHED_OUT, 900), (Failure.UNREACHABLE, 0), (Failure.PUSHED_OUT, 30)], True),
        ([(Failure.PUSHED_OUT, 900), (Failure.PUSHED_OUT, 61)], False),
        ([(Failure.PUSHED_OUT, 900), (Failure.LOST, 61), (Failure.PUSHED_OUT, 30)], False),
        ([(Failure.LOST, 900), (Failure.LOST, 30)], False),
    ],
)
def test_a_second_home_with_our_id_is_known_by_its_second_push(
    story: list[tuple[Failure, float]], is_twin: bool
) -> None:
    past = Supervision()
    for failure, registered_s in story:
        past = after_failure(past, failure, registered_s)
    assert (past.is_twin, past.is_rejected) == (is_twin, is_twin)
    if is_twin:
        assert delay(past, Failure.PUSHED_OUT) == REJECTED_PROBE_S


def test_a_push_is_told_from_other_losses() -> None:
    assert classify_loss("Stale device connection") is Failure.PUSHED_OUT
    assert classify_loss("transport closed") is Failure.LOST
