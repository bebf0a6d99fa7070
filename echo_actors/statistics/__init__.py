"""What happened over time, out of the audit log: turns, how long they took, what they cost, and how they failed."""
