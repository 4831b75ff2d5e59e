"""Backbones trained side by side at an equal budget: does group propagation do what it is for?"""
