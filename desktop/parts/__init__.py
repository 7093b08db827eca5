"""What windows are made of: their base, sentences, colours, and how things are called."""
