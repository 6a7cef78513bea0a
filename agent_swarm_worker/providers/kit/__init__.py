"""What harness packages share: session base, command-line session, conversation, prices."""
