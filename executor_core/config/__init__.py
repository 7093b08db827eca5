"""Declared options, where their values come from, secrets, identity, home and logs.

Imported by the composition root and the command line only; every other room is handed values.
"""
