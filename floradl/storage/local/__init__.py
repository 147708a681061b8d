"""An archive's bytes in a folder of this machine."""
