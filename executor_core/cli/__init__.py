"""The command line: verbs over the control surface. It holds no rules of its own."""
