"""Preprocessing and augmentation of the three tasks."""
