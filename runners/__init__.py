"""Hydra applications, one file per command. Each passes its configuration to a stage."""
