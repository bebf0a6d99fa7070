"""All that knows the Claude CLI."""
