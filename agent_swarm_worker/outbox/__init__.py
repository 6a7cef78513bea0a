"""Durable delivery: writes wait on disk, in lanes, until the API has acknowledged them."""
