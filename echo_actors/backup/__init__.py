"""What a state directory holds, copied whole while an engine runs, and put back."""
