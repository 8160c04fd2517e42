"""One command a file: Hydra applications that hand their configuration to a stage."""
