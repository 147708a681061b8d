"""Every fault of the simulator, end to end: what goes wrong, what is asked, what is on disk, what is said."""
