"""The settings window and its pages, one file each."""
