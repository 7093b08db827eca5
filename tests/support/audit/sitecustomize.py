"""Read by every interpreter that finds this folder: notes the commands that it starts."""

from __future__ import annotations

import os
import sys
from typing import Any

_place = os.environ.get("WEGENT_TEST_COMMANDS", os.devnull)  # noqa: TID251  not a test itself


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen":
        with open(_place, "a", encoding="utf-8") as commands:
            print(arguments[1], file=commands)


sys.addaudithook(_hear)
