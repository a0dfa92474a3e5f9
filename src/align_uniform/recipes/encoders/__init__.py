"""Encoders: the networks, their files, and features of images."""
