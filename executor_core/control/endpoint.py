"""How a method is asked over HTTP: one row, above its declaration.

A row and the signature below it say everything: the routes, `/openapi.json` and the remote stubs
are made of them. Pure.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from types import ModuleType, NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

ANSWER_LIMIT_S = 30.0
BODY_LIMIT_BYTES = 2**20

_F = TypeVar("_F", bound=Callable[..., Any])


def said(**schema: float) -> Meta:
    """What is checked behind the route, in words of its own; here it is only described."""
    return Meta(extra_json_schema=schema)


class Endpoint(Struct, kw_only=True, frozen=True, dict=True):
    """One row. Parameters that are not in the path stand in the query of a GET, else in the body.

    `envelope` is the struct around the answer, which is its first field. `errors` are the HTTP
    statuses of error codes. With `then`, the route answers what that method gives afterwards.
    """

    function: Callable[..., Any]
    method: str
    path: str
    part: str = "control"
    """Whose method it is, or which part must be there for it."""
    is_public: bool = False
    """Anybody may ask; else the owner alone."""
    envelope: type[Struct] | None = None
    gives: Any = None
    """What the route answers, where the signature does not say it; of a stream, each event."""
    errors: Mapping[str, int] = {}
    limit_s: float = ANSWER_LIMIT_S
    """How long a caller waits for the answer."""
    body_limit: int = BODY_LIMIT_BYTES
    then: str | None = None

    is_stream: bool = False
    event: str | None = None
    """What each server-sent event is called; None: what it says itself, as `kind`."""
    last: type | None = None
    """The kind of event that ends the stream; None: it has no end, or ends by itself."""
    check: str | None = None
    """A method that refuses, by the same path, before the stream begins."""

    @property
    def name(self) -> str:
        """Of the method."""
        return self.function.__name__

    @property
    def summary(self) -> str:
        """The first sentence of its docstring."""
        words = " ".join((inspect.getdoc(self.function) or "").partition("\n\n")[0].split())
        return re.split(r"[.;:] |\.$", words)[0].replace("`", "")

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.function, include_extras=True)

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    @cached_property
    def in_path(self) -> frozenset[str]:
        """The parameters that stand in the path."""
        return frozenset(re.findall(r"{(\w+)}", self.path))

    @property
    def can_resume(self) -> bool:
        """Whether the stream goes on after the `seq` in `Last-Event-ID`, the parameter `after`."""
        return self.is_stream and "after" in self._hints

    @cached_property
    def answer(self) -> Any:
        """What the method gives; of a stream, each event."""
        given = self._hints["return"]
        return get_args(given)[0] if get_origin(given) is AsyncIterator else given

    @property
    def sent(self) -> Any:
        """What stands in the answer of the route; of a stream, in each event."""
        return self.gives or self.envelope or self.answer

    @cached_property
    def decoder(self) -> msgspec.json.Decoder[Any]:
        """Of what the route sends."""
        return msgspec.json.Decoder(self.sent)

    @cached_property
    def whole(self) -> str | None:
        """The one parameter that is the body itself, a struct."""
        for name in self._given:
            kind = self._hints[name]
            if inspect.isclass(kind) and issubclass(kind, Struct):
                return name
        return None

    @property
    def _given(self) -> list[str]:
        placed = self.in_path | ({"after"} if self.can_resume else set())
        return [name for name in list(self._signature.parameters)[1:] if name not in placed]

    @cached_property
    def request(self) -> type[Struct] | None:
        """The struct that the query or the body must fit; None where neither says anything."""
        if self.whole is not None:
            kind: type[Struct] = self._hints[self.whole]
            return kind
        fields = [self._field(name) for name in self._given]
        title = self.name.title().replace("_", "") + "Request"
        space = {"__doc__": self.summary}
        return msgspec.defstruct(title, fields, namespace=space) if fields else None

    def _field(self, name: str) -> tuple[str, Any] | tuple[str, Any, Any]:
        default = self._signature.parameters[name].default
        kind = self._hints[name]
        return (name, kind) if default is inspect.Parameter.empty else (name, kind, default)

    @property
    def body(self) -> type[Struct] | None:
        """The struct of the body."""
        return None if self.method == "GET" else self.request

    @property
    def query(self) -> type[Struct] | None:
        """The struct of the query."""
        return self.request if self.method == "GET" else None

    @property
    def is_method(self) -> bool:
        """Whether it is a method of its part, and no function of its own."""
        return "self" in self._signature.parameters

    # --- the two ends --------------------------------------------------------------------------

    def arguments(self, *values: object, **named: object) -> dict[str, Any]:
        """The arguments of a call by name, without those that were left out."""
        return dict(list(self._signature.bind(None, *values, **named).arguments.items())[1:])

    def packed(self, arguments: Mapping[str, Any]) -> Any:
        """What to send of them, beside those in the path."""
        if self.whole is not None:
            return arguments[self.whole]
        return {name: arguments[name] for name in self._given if name in arguments}

    def unpacked(self, in_path: Mapping[str, str], given: Struct | None) -> dict[str, Any]:
        """The arguments again, of a request that came."""
        found: dict[str, Any] = {n: v for n, v in in_path.items() if n in self._hints}
        if self.whole is not None:
            return {**found, self.whole: given}
        return {**found, **(msgspec.structs.asdict(given) if given is not None else {})}

    def enclosed(self, answer: Any) -> Any:
        """An answer of the method as the route sends it."""
        if self.envelope is None:
            return answer
        is_told = self.answer is not NoneType or self.then is not None
        return self.envelope(answer) if is_told else self.envelope()

    def opened(self, sent: Any) -> Any:
        """What the route sent as the method gives it."""
        if self.answer is NoneType:
            return None
        return sent if self.envelope is None else getattr(sent, sent.__struct_fields__[0])


def endpoint(method: str, path: str, **row: Any) -> Callable[[_F], _F]:
    """Declare how the method below is asked; `row` as in `Endpoint`."""

    def declare(function: _F) -> _F:
        declared = Endpoint(function=function, method=method, path=path, **row)
        function.__endpoint__ = declared  # type: ignore[attr-defined]
        return function

    return declare


def event_stream(path: str, **row: Any) -> Callable[[_F], _F]:
    """Declare that what the method below gives is told as server-sent events."""
    return endpoint("GET", path, is_stream=True, **row)


def row_of(method: Callable[..., Any]) -> Endpoint:
    """The row that was declared above a method."""
    found: Endpoint = method.__endpoint__  # type: ignore[attr-defined]
    return found


def endpoints(place: type | ModuleType) -> tuple[Endpoint, ...]:
    """The table of a protocol or a module, in the order of its declarations."""
    return tuple(row_of(one) for one in vars(place).values() if hasattr(one, "__endpoint__"))
