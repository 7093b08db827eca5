"""Every case of every check, in both languages, as a function of values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from executor_core import texts
from executor_core.control import Slots, Status
from executor_core.model import TWIN, Availability, LinkState, LinkStatus
from executor_core.services import checks, server_look
from executor_core.services.checks import GIB
from executor_core.services.examination import CHECKS
from executor_core.services.findings import FileFacts, FolderFacts, PortFacts, TokenFacts
from executor_core.services.interface import Check, Verdict
from executor_core.services.server_look import Certificate, ServerLook
from executor_core.texts import LANGUAGES, Message, catalogue
from tests.support.clock import START

SERVER = "https://wegent.example.com"
PROXY = "http://proxy.example.com:3128"
HOME = Path("/users/ada/.wegent-executor")


def reached(**more: object) -> ServerLook:
    return ServerLook(server=SERVER, addresses=("10.0.0.1",), **more)  # type: ignore[arg-type]


def certificate(days: int, problem: tuple[int, str] | None = None) -> Certificate:
    return Certificate("Wegent", "Corporate CA", START + timedelta(days=days), problem)


def status(
    *links: LinkState,
    is_paused: bool = False,
    is_draining: bool = False,
    api: str = "",
    code: str | None = None,
) -> Status:
    return Status(
        version="1",
        pid=77,
        device_id="hw-1",
        device_name="A",
        paused=is_paused,
        draining=is_draining,
        links=tuple(
            LinkStatus(
                kind="device", state=state, server=SERVER, since=START, reason="because", code=code
            )
            for state in links
        ),
        slots=Slots(used=1, max=5),
        queued=0,
        outbox_pending=0,
        api=api,
        runs=(),
    )


def agent(name: str, problem: str | None = None, path: str | None = "/bin/x") -> Availability:
    words = (
        None
        if problem is None
        else Message(code=problem, given_title="T", given_detail="D", given_hint="H")
    )
    is_usable = words is None
    return Availability(name=name, title=name, is_usable=is_usable, path=path, problem=words)


def token(days: float | None, refusal: str | None = None) -> Check:
    expires_at = None if days is None else START + timedelta(days=days)
    facts = TokenFacts(place="keychain", expires_at=expires_at, refusal=refusal)
    return checks.token(facts, START)


def port(**more: object) -> Check:
    return checks.port(PortFacts(address="127.0.0.1:8090", **more))  # type: ignore[arg-type]


def tls(look: ServerLook | None) -> Check:
    return server_look.tls(look, START)


def tray(is_shown: bool | None, *, has_display: bool = True, is_installed: bool = True) -> Check:
    return checks.tray(has_display=has_display, is_installed=is_installed, is_shown=is_shown)


def cases() -> Iterator[tuple[Check, Verdict, str]]:
    """A check, what it has to come to, and a word that its reason has to have."""
    ok, warning, failed, skipped = Verdict
    network = server_look.network
    yield network(None), skipped, "No Wegent server"
    yield network(reached()), ok, "10.0.0.1"
    yield network(reached(proxy=PROXY)), ok, PROXY
    for error in ("name_error", "connect_error"):
        yield network(reached(**{error: "refused"})), failed, f"{SERVER}"
        yield network(reached(proxy=PROXY, **{error: "refused"})), failed, f"{PROXY}"
    yield tls(None), skipped, "No Wegent server"
    yield tls(ServerLook(server="http://127.0.0.1:8000")), skipped, "http://"
    yield tls(reached(name_error="x")), skipped, "earlier"
    yield tls(reached(tls_error="wrong version number")), failed, "wrong version number"
    yield tls(reached(proxy=PROXY)), ok, PROXY
    yield tls(reached(proxy=PROXY, answer_error="502")), skipped, "earlier"
    yield tls(reached(certificate=certificate(90))), ok, "Corporate CA"
    yield tls(reached(certificate=certificate(13))), warning, "2026-02-11"
    for number, word in ((10, "was good until"), (19, "does not trust"), (62, "another server")):
        yield tls(reached(certificate=certificate(90, (number, "why")))), failed, word
    yield tls(reached(certificate=certificate(90, (99, "why")))), failed, "refused: why"
    server = server_look.server
    yield server(None, None), skipped, "No Wegent server"
    yield server(reached(connect_error="x"), None), skipped, "earlier"
    yield server(reached(certificate=certificate(1, (10, "x"))), None), skipped, "earlier"
    yield server(reached(answer_error="reset"), None), failed, "reset"
    yield server(reached(status=502), None), failed, "502"
    yield server(reached(status=404), None), failed, "no Wegent server"
    yield server(reached(status=200, name="Wegent", version="1.0.0"), None), ok, "Wegent 1.0.0"
    yield server(reached(status=200, name="Wegent", version=""), "R"), ok, "dialect R"
    clock = server_look.clock
    yield clock(None), skipped, "No Wegent server"
    yield clock(reached()), skipped, "its time"
    yield clock(reached(skew_s=-59.0)), ok, "59 s"
    yield clock(reached(skew_s=61.0)), warning, "61 s ahead"
    yield clock(reached(skew_s=-301.0)), failed, "301 s behind"
    yield checks.token(None, START), skipped, "No Wegent server"
    yield checks.token(TokenFacts(place=None), START), failed, "none"
    yield token(None), ok, "keychain"
    yield token(2), ok, "good until"
    yield token(0.9), warning, "ends at"
    yield token(-1), failed, "ended at"
    yield token(2, refusal="invalid"), failed, "invalid"
    executor = checks.executor
    yield executor(None, None), warning, "None is running"
    yield executor(None, "4711"), warning, "4711"
    yield executor(status(), None), ok, "process 77"
    yield executor(status(LinkState.ONLINE), None), ok, "1 of 5"
    yield executor(status(LinkState.ONLINE, is_paused=True), None), ok, "paused"
    yield executor(status(LinkState.ONLINE, is_draining=True), None), ok, "nothing new"
    yield executor(status(LinkState.ONLINE, LinkState.OFFLINE), None), failed, "because"
    yield executor(status(LinkState.REJECTED, LinkState.OFFLINE), None), failed, "not accept"
    yield executor(status(LinkState.REJECTED, code=TWIN), None), failed, "because"
    yield executor(status(LinkState.CONNECTING), None), warning, "connecting"
    yield executor(status(LinkState.STOPPED), None), failed, "stopped"
    git = checks.git
    yield git(None, None), warning, "not installed"
    yield git(None, Path("/usr/bin/git")), failed, "/usr/bin/git"
    yield git("2.39.5", Path("/usr/bin/git")), ok, "2.39.5"
    yield checks.path("/a:/b", "/a:/b"), ok, "/a:/b"
    yield checks.path("/a", "/a:/b"), ok, "login shell"
    files, one = checks.files, HOME / "accounts.json"
    yield files(FileFacts(home=HOME)), ok, "can be used"
    yield files(FileFacts(home=HOME, unusable=((one, "truncated"),))), failed, "truncated"
    yield files(FileFacts(home=HOME, newer=(HOME / "hub.db",))), failed, "hub.db"
    yield files(FileFacts(home=HOME, aside=(one,))), warning, "accounts.json"
    folders = checks.folders
    yield folders(FolderFacts(home=HOME, exists=True)), ok, "yours alone"
    yield folders(FolderFacts(home=HOME, exists=False)), ok, "first starts"
    unwritable = FolderFacts(home=HOME, exists=True, unwritable=((Path("/w"), "Read-only"),))
    yield folders(unwritable), failed, "Read-only"
    yield folders(FolderFacts(home=HOME, exists=True, readable_by_others=(HOME,))), failed, "Other"
    for free, verdict in ((5 * GIB, ok), (5 * GIB - 1, warning), (GIB - 1, failed)):
        yield checks.disk([(HOME, 9 * GIB), (Path("/w"), free)]), verdict, "/w"
    yield checks.keychain(is_there=True, blocked=None), ok, "answers"
    yield checks.keychain(is_there=False, blocked=None), skipped, "none"
    yield checks.keychain(is_there=True, blocked="locked"), warning, "locked"
    yield port(), ok, "free"
    yield port(in_use="http://127.0.0.1:8090"), ok, "listens on"
    yield port(refusal="Cannot assign"), failed, "Cannot assign"
    for holder, word in (("nginx (3)", "nginx (3)"), ("", "Another program")):
        yield port(holder=holder), warning, word
        yield port(holder=holder, is_fixed=True), failed, word
        yield port(holder=holder, is_fixed=True, in_use="http://127.0.0.1:1"), warning, word
    environment = checks.environment
    yield environment(["A_KEY", "B"], [], None), ok, "these variables of yours: A_KEY, B."
    yield environment([], [], None), ok, "only what every program gets"
    yield environment(["A"], ["GH_TOKEN", "AWS_*"], None), ok, "Withheld: GH_TOKEN, AWS_*"
    yield environment(["A"], [], "/bin/zsh"), warning, "/bin/zsh gave no answer"
    yield checks.config(Path("/home/config.toml")), ok, "have no errors"
    yield checks.leftovers([]), ok, "None"
    yield checks.leftovers(None), skipped, "Not looked at"
    yield checks.leftovers([5, 6]), warning, "5, 6"
    yield tray(None, has_display=False), skipped, "no desktop"
    yield tray(None, is_installed=False), skipped, "not installed"
    yield tray(None), skipped, "Only the tray"
    yield tray(True), ok, "shows tray icons"
    yield tray(False), warning, "no tray icons"


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    texts.use_language("en")


def test_every_case_comes_to_its_verdict_and_says_why() -> None:
    for check, verdict, word in cases():
        assert (check.verdict, word in check.reason) == (verdict, True), check
        assert check.title


def test_what_failed_says_what_to_do() -> None:
    silent = [check for check, verdict, _ in cases() if verdict == "failed" and not check.hint]
    assert silent == []


def test_every_case_has_words_of_its_own_in_both_languages() -> None:
    english = [check for check, _, _ in cases()]
    texts.use_language("zh_CN")
    for one, other in zip(english, (check for check, _, _ in cases()), strict=True):
        assert one.name == other.name
        assert one.reason != other.reason
        assert (not one.hint, one.fix is None) == (not other.hint, other.fix is None)


def test_no_text_of_a_case_is_left_over() -> None:
    used = " ".join(check.reason + check.hint + str(check.fix) for check, _, _ in cases())
    used += " ".join(check.reason + check.hint for check in some_agents())
    for key, sentence in catalogue("en").items():
        if not key.startswith("check.") or key.endswith(".title") or ".examination." in key:
            continue
        longest = max(sentence.replace("{", "}").split("}")[::2], key=len)
        assert longest.strip() in used, key


def test_what_can_be_put_right_is_declared_and_has_a_sentence() -> None:
    sentences = {key for key in catalogue("en") if re.fullmatch(r"check\..*\.fix", key)}
    declared = [one for one in CHECKS.values() if one.fix is not None]
    assert {f"check.{one.fixable}.fix" for one in declared} == sentences
    assert all(one.fixable.startswith(f"{one.name}.") for one in declared)


def some_agents() -> tuple[Check, ...]:
    found = [agent("a"), agent("b", "too_old"), agent("c", "c_missing", path=None)]
    return checks.agents([*found, agent("d", "d_not_signed_in")], ["c"])


def test_an_agent_that_works_is_enough_and_a_missing_one_names_the_command() -> None:
    one, two, three, _ = some_agents()
    assert [check.name for check in (one, two, three)] == ["agent.a", "agent.b", "agent.c"]
    assert (one.verdict, two.verdict, three.verdict) == ("ok", "warning", "warning")
    assert (two.reason, two.hint) == ("T: D", "H")
    assert "wegent-executor agents install c" in three.hint
    [alone] = checks.agents([agent("d", "d_missing", path=None)], [])
    assert (alone.verdict, alone.hint) == ("failed", "H")


def test_an_agent_that_works_only_with_the_login_of_a_task_is_not_ill() -> None:
    missing, signed_out = checks.agents(
        [agent("c", "c_missing", path=None), agent("d", "d_not_signed_in")], ["c"]
    )
    assert (missing.verdict, signed_out.verdict) == ("warning", "warning")
    assert "bring a model" in signed_out.reason
    assert signed_out.hint.endswith("H")


def test_all_languages_are_looked_at() -> None:
    assert LANGUAGES == ("en", "zh_CN")
