"""Logins and keys of harnesses: pools, refresh, the vendors' sign-in, and where they are kept."""
