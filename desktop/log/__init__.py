"""The log window: the lines as rows, filtered, searched and followed."""
