"""What a run of Claude Code used, sub-agents and further turns included."""

from __future__ import annotations

from collections.abc import Iterable

from executor_core.agents.loose_json import Json, as_dict, as_float, as_int
from executor_core.model import Usage

_OF_MODEL = (
    *("inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens", "outputTokens"),
    "costUSD",
)
_OF_LOOP = (
    *("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"),
    "total_cost_usd",
)
"""New input, input written to the cache and read from it, output; and the price."""


class Bill:
    """Adds up the `result` lines of one process.

    `total_cost_usd` and `modelUsage` grow over the process; from about 2.1.300 on they may hold
    earlier processes of a resumed conversation as well, which have been told before. Those versions
    tell what is new in `model_usage_since_last_result`. `usage` is without sub-agents.
    """

    def __init__(self, *, is_priced: bool) -> None:
        self._is_priced = is_priced
        self.usage = Usage()

    def add(self, result: Json) -> None:
        since = result.get("model_usage_since_last_result")
        if isinstance(since, dict):
            self.usage = _sum([self.usage, self._of_models(since)])
        elif models := as_dict(result.get("modelUsage")):
            self.usage = self._of_models(models)
        else:
            loop = {**as_dict(result.get("usage")), _OF_LOOP[-1]: result.get(_OF_LOOP[-1])}
            self.usage = self._read(loop, _OF_LOOP)

    def _of_models(self, models: Json) -> Usage:
        return _sum(self._read(as_dict(model), _OF_MODEL) for model in models.values())

    def _read(self, counts: Json, names: tuple[str, str, str, str, str]) -> Usage:
        new, written, cached, output = (as_int(counts.get(name)) for name in names[:-1])
        # For models behind another endpoint the CLI invents a price.
        return Usage(
            input_tokens=new + written + cached,
            output_tokens=output,
            cached_tokens=cached,
            cost_usd=as_float(counts.get(names[-1])) if self._is_priced else None,
        )


def _sum(parts: Iterable[Usage]) -> Usage:
    parts = list(parts)
    costs = [part.cost_usd for part in parts if part.cost_usd is not None]
    return Usage(
        input_tokens=sum(part.input_tokens for part in parts),
        output_tokens=sum(part.output_tokens for part in parts),
        cached_tokens=sum(part.cached_tokens for part in parts),
        cost_usd=sum(costs) if costs else None,
    )
