"""The tray application: a client of the executor's control surface, and its host."""
