"""No secret passes, in whatever spelling and however it is split; nothing else is changed."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from executor_core.config.redaction import Redactor
from executor_core.executor.stream import EventRedactor
from executor_core.model import (
    AgentEvent,
    AgentResult,
    ModelConfig,
    ReasoningDelta,
    RunRequest,
    RunStarted,
    Source,
    TaskFolder,
    TextDelta,
    ToolFinished,
    ToolStarted,
    Usage,
    UsageReported,
    secret_values,
)
from executor_core.texts import Message
from tests.executor.room import Room, request

ERROR = Message(code="no", given_title="No")
SECRET = "canary/of+the=task-0123456789"
SPELLINGS = {
    "plain": SECRET,
    "url": quote(SECRET, safe=""),
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "basic": base64.b64encode(f"user:{SECRET}".encode()).decode(),
}


def secrets() -> Redactor:
    redactor = Redactor()
    redactor.register(SECRET)
    return redactor


def passed(events: Iterable[AgentEvent]) -> list[AgentEvent]:
    redacting = EventRedactor(secrets())
    found = [visible for event in events for visible in redacting.through(event)]
    return [*found, *redacting.rest()]


def text_of(events: Iterable[AgentEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_hidden_wherever_its_text_is_split(spelling: str) -> None:
    whole = f"before {SPELLINGS[spelling]} after"
    for cut in range(1, len(whole)):
        said = text_of(passed([TextDelta(text=whole[:cut]), TextDelta(text=whole[cut:])]))
        assert SPELLINGS[spelling] not in said
        assert (said[:7], said[-6:]) == ("before ", " after")


def test_a_secret_that_comes_letter_by_letter_is_hidden() -> None:
    assert text_of(passed([TextDelta(text=letter) for letter in f"<{SECRET}>"])) == "<***>"


def test_what_only_began_like_a_secret_is_said_when_something_else_follows() -> None:
    call = ToolStarted(call_id="1", name="Bash")
    events = passed([TextDelta(text="a canary"), call, TextDelta(text="/of")])
    assert [event.text if isinstance(event, TextDelta) else event for event in events] == [
        "a ",
        "canary",
        call,
        "/of",
    ]


def test_text_and_reasoning_are_not_mixed() -> None:
    events = passed([TextDelta(text="x canary"), ReasoningDelta(text="/of+the")])
    assert events == [
        TextDelta(text="x "),
        TextDelta(text="canary"),
        ReasoningDelta(text="/of+the"),
    ]


@pytest.mark.parametrize(
    "event",
    [
        ToolStarted(call_id="1", name="Bash", input={"command": f"curl -H 'X: {SECRET}'"}),
        ToolFinished(call_id="1", output=f"TOKEN={SECRET}\n"),
        AgentResult(final_text=SECRET, error=Message(code="c", given_title=f"No: {SECRET}")),
        TextDelta(text="said", raw={"key": [SECRET]}),
    ],
)
def test_every_field_of_every_event_is_covered(event: AgentEvent) -> None:
    (covered,) = passed([event])
    assert type(covered) is type(event)
    assert SECRET not in repr(covered)
    assert "***" in repr(covered)


@pytest.mark.parametrize(
    "secret", ["tool_finished", "reasoning_delta", '","call_id":"', "987654321098"]
)
def test_a_secret_that_is_a_word_of_our_own_files_spoils_no_event(secret: str) -> None:
    """Or a number: what is hidden are values, and kinds, names of fields and states stay."""
    redactor = Redactor()
    redactor.hold([secret])
    redacting = EventRedactor(redactor)
    given: list[AgentEvent] = [
        RunStarted(agent="a", folder=f"/f/{secret}"),
        ToolStarted(call_id="1", name="Bash", input={secret: [secret, 987654321098, 1, True]}),
        ToolFinished(call_id="1", output=secret, is_error=True),
        UsageReported(usage=Usage(input_tokens=987654321098)),
    ]
    passed = [visible for event in given for visible in redacting.through(event)]
    assert [type(event) for event in passed] == [type(event) for event in given]
    for event in passed:
        assert msgspec.json.decode(msgspec.json.encode(event), type=AgentEvent) == event
    assert passed[0] == RunStarted(agent="a", folder="/f/***")
    assert passed[3] == given[3]


def test_half_a_character_is_mended_before_anything_is_written() -> None:
    (told,) = passed([ToolStarted(call_id="1", name="Bash", input={"a\ud83d": ["b\ud83d"]})])
    assert told == ToolStarted(call_id="1", name="Bash", input={"a?": ["b?"]})
    assert passed([TextDelta(text="c\ud83d")]) == [TextDelta(text="c?")]


def test_a_secret_that_is_longer_than_what_is_held_back_is_hidden_in_pieces() -> None:
    redactor = Redactor()
    letters = "".join(str(number) for number in range(3000))
    redactor.hold([letters])
    redacting = EventRedactor(redactor)
    deltas = [TextDelta(text=letters[at : at + 700]) for at in range(0, len(letters), 700)]
    said = [visible for delta in deltas for visible in redacting.through(delta)]
    assert text_of([*said, *redacting.rest()]).replace("***", "") == ""


@given(st.lists(st.text(alphabet="ancry/of+the=tsk-0123456789 .", max_size=12)))
def test_text_without_a_secret_passes_unchanged(pieces: list[str]) -> None:
    whole = "".join(pieces)
    if SECRET not in whole:
        assert text_of(passed([TextDelta(text=piece) for piece in pieces])) == whole


def test_short_keys_of_local_gateways_are_ordinary_words() -> None:
    redactor = Redactor()
    redactor.register("ollama")
    assert redactor.hide("ollama runs models") == "ollama runs models"
    assert redactor.redact("key ollama") == "key ***"


def test_a_request_names_its_secrets_and_nothing_else() -> None:
    asked = RunRequest(
        source=Source.DEVICE,
        request_key="k",
        agent="a",
        prompt="p",
        workspace=TaskFolder(name="1"),
        conversation_key="c",
        model=ModelConfig(
            api_key="the-key",
            headers={
                "Authorization": "Bearer the-bearer",
                "Accept": "application/json",
                "X-Tenant": "the-tenant",
            },
            env={"OTHER_API_KEY": "the-env", "MODEL_REGION": "eu-central-1"},
        ),
        mcp_servers={"docs": {"env": {"DOCS_TOKEN": "the-tool"}, "headers": None}},
    )
    assert sorted(asked.secrets) == [
        *("Bearer the-bearer", "the-bearer", "the-env", "the-key", "the-tenant", "the-tool")
    ]


@pytest.mark.parametrize(
    ("name", "value", "secrets"),
    [
        ("Authorization", "Bearer abc", ["Bearer abc", "abc"]),
        ("authorization", "Basic  YWJj ", ["Basic  YWJj", "YWJj"]),
        ("Authorization", "Digest username=a, nonce=b", ["Digest username=a, nonce=b"]),
        ("DB_PASSWORD", "correct horse battery", ["correct horse battery"]),
        ("Cookie", 'sid=a=b; theme="dark"', ['sid=a=b; theme="dark"', "a=b", "dark"]),
        ("API_KEY", "", [""]),
        ("REGION", "eu central", []),
    ],
)
def test_a_secret_of_several_words_is_protected_whole_and_in_the_parts_that_are_secrets(
    name: str, value: str, secrets: list[str]
) -> None:
    assert secret_values({name: value}) == secrets


async def test_a_run_hides_its_own_key_in_log_answer_and_outcome(room: Room) -> None:
    run = await room.submit(request(model=ModelConfig(api_key=SECRET)))
    performance = await room.agent.started()
    performance.say(f"The key is {SECRET[:9]}", f"{SECRET[9:]}.")
    performance.finish()
    outcome = await room.door.outcome(run)
    assert outcome.text == "The key is ***."
    assert SECRET not in (room.folder / "runs" / run / "events.jsonl").read_text()


async def test_a_long_run_hides_its_own_key_whatever_other_tasks_brought_meanwhile(
    room: Room,
) -> None:
    await room.submit(request(1, model=ModelConfig(api_key=SECRET)))
    performance = await room.agent.started()
    await room.complete(request(2, other_secrets=tuple(f"{n:04}-of-others" for n in range(300))))
    performance.say(f"The key is {SECRET}.")
    performance.finish()
    assert (await room.door.outcome()).text == "The key is ***."


async def test_secrets_are_held_no_longer_than_their_run(room: Room) -> None:
    secrets = room.executor._secrets
    assert isinstance(secrets, Redactor)
    asked = request(model=ModelConfig(api_key=SECRET))
    await room.submit(asked)
    performance = await room.agent.started()
    await room.executor.submit(replace(asked, run_id="run_again"))
    assert secrets._held == {SECRET: 1}
    performance.finish()
    await room.door.outcome()
    await room.executor.refuse(request(2, other_secrets=(SECRET,)), ERROR)
    assert not secrets._held
