"""Digits and scenes: real digits on real photographs, without a download."""
