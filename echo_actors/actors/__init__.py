"""One task per channel, and what they share."""
