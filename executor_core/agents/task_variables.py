"""What a task may set in the environment of its agent: a list of names, for each agent its own.

The owner's environment is the other way round (`process.environment`). A task comes from a server,
and any other name could lead the owner's key to another host or run other code beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

CLAUDE_CODE = frozenset(
    {
        # the model, its key and its address
        *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"),
        *("ANTHROPIC_BETAS", "ANTHROPIC_CUSTOM_HEADERS", "ANTHROPIC_CUSTOM_MODEL_OPTION"),
        *("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL"),
        *("ANTHROPIC_DEFAULT_HAIKU_MODEL", "ANTHROPIC_DEFAULT_OPUS_MODEL"),
        "ANTHROPIC_DEFAULT_SONNET_MODEL",
        # what that model or its gateway cannot do
        *("CLAUDE_CODE_ATTRIBUTION_HEADER", "CLAUDE_CODE_DISABLE_1M_CONTEXT"),
        *("CLAUDE_CODE_DISABLE_ADAPTIVE_THINKING", "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS"),
        *("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK"),
        *("CLAUDE_CODE_DISABLE_THINKING", "DISABLE_INTERLEAVED_THINKING", "ENABLE_TOOL_SEARCH"),
        *("DISABLE_PROMPT_CACHING", "DISABLE_PROMPT_CACHING_HAIKU"),
        *("DISABLE_PROMPT_CACHING_OPUS", "DISABLE_PROMPT_CACHING_SONNET"),
        # limits
        *("API_TIMEOUT_MS", "BASH_DEFAULT_TIMEOUT_MS", "BASH_MAX_OUTPUT_LENGTH"),
        *("BASH_MAX_TIMEOUT_MS", "CLAUDE_AUTOCOMPACT_PCT_OVERRIDE"),
        *("CLAUDE_CODE_AUTO_COMPACT_WINDOW", "CLAUDE_CODE_EFFORT_LEVEL"),
        *("CLAUDE_CODE_FILE_READ_MAX_OUTPUT_TOKENS", "CLAUDE_CODE_MAX_OUTPUT_TOKENS"),
        *("CLAUDE_CODE_MAX_RETRIES", "CLAUDE_CODE_MAX_TOOL_USE_CONCURRENCY"),
        *("MAX_MCP_OUTPUT_TOKENS", "MAX_THINKING_TOKENS", "MCP_TIMEOUT", "MCP_TOOL_TIMEOUT"),
    }
)
CODEX = frozenset({"OPENAI_API_KEY", "OPENAI_BASE_URL"})
OPENCODE = CODEX | {
    *("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"),
    *("OPENCODE_EXPERIMENTAL_BASH_DEFAULT_TIMEOUT_MS", "OPENCODE_EXPERIMENTAL_OUTPUT_TOKEN_MAX"),
}

_MOST_NAMES = 8


class TaskVariables(NamedTuple):
    """What a task's variables came to; `refused` holds names only, sorted."""

    kept: dict[str, str]
    refused: tuple[str, ...]


def task_variables(names: Collection[str], wanted: Mapping[str, str]) -> TaskVariables:
    """Those of `wanted` that are among `names`, in any case, under the name as it is listed."""
    listed = {name: wanted[name] for name in wanted if name in names}
    spelled = {name.upper(): value for name, value in wanted.items() if name.upper() in names}
    kept = {name: value for name, value in (spelled | listed).items() if "\0" not in value}
    refused = {name for name in wanted if name.upper() not in kept}
    return TaskVariables(kept, tuple(sorted(refused)))


def named(names: Collection[str]) -> str:
    """`names` for a sentence: what a stranger wrote is cut."""
    shown = [name if name.isprintable() else ascii(name) for name in names]
    more = ["…"] if len(shown) > _MOST_NAMES else []
    return ", ".join([name[:60] for name in shown[:_MOST_NAMES]] + more)
