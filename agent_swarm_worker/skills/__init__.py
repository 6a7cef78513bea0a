"""Install the swarm's skills on this machine's disk, and resolve skill commands in prompts."""
