"""The runs window: the list, one run with what it says and does, and a place to ask for another."""
