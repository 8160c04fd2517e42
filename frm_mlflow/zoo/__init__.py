"""The catalogue of networks: published facts, building without download, counting."""
