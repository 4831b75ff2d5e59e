"""Metrics of the three tasks."""
