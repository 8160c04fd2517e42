"""Hydra launchers for fleets: each job of a multirun runs in a separate process, on a host that has its device."""
