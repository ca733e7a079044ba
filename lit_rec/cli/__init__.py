"""Every command, thin: parse, call, print what to run next.

May import every room.
"""
