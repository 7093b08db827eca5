"""Conversations with servers, one folder per protocol."""
