"""What a person asks of this computer besides runs, done: see `control.desk` for what can be asked.

Part of the composition: these parts are built from the configuration and know the rooms they use.
"""
