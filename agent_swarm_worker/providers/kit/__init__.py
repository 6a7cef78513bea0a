"""Building blocks of harness packages: session base, command-line session, conversation, costs."""
