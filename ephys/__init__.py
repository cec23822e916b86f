"""ephys."""
