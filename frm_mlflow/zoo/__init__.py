"""The catalogue of networks: published facts, building without downloads, counting operations."""
