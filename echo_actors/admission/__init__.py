"""What may start now, and what must wait."""
