"""Log in to vendors, share logins across the swarm and refresh them, select keys of pools."""
