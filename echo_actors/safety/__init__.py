"""What makes strangers' text harmless."""
