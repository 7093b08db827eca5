"""The entry point of the console script. It imports little, so that it hears Ctrl-C early."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from executor_core.cli.start import Front


def main(front: Front | None = None) -> None:
    """Run the command line. `front` starts the executor where no verb is given."""
    try:
        # Takes long enough for somebody to think better of it.
        from executor_core.cli.root import run

        run(front)
    except KeyboardInterrupt:
        sys.exit(130)
