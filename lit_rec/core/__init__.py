"""Errors, names of columns and files, files that are whole or not there, devices.

May import nothing of lit_rec.
"""
