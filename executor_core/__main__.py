"""`python -m executor_core` is `wegent-executor`."""

from executor_core.cli.main import main

main()
