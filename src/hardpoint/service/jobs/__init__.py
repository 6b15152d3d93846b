"""Durable jobs: what the service does beside its requests, and what is told of it."""
