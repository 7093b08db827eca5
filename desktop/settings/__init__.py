"""The pages of the settings window, one file each, and what they share."""
