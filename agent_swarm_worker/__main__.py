"""``python -m agent_swarm_worker``."""

import sys

from agent_swarm_worker.cli.app import main

sys.exit(main())
