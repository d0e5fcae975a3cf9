"""Metrics of generated views."""
