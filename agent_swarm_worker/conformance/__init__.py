"""Check that a provider keeps the promises of the contract (`suite`)."""
