"""The doctor's window: the checks, and the report for those who help."""
