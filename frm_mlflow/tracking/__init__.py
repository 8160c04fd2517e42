"""Logging to, querying and caching an MLflow tracking server; no other part of the flow uses MLflow's API."""
