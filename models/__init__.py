"""Models to put on the rig."""
