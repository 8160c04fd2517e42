"""Hydra launchers for fleets: each job of a multirun runs in a process of its own, on a host that has its device."""
