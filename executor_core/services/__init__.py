"""What a person asks of this computer besides runs; `interface` says what can be asked."""
