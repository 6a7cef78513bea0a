"""An agent on the library ``deepagents-acp``, as a user of it would write one."""

import asyncio
import os

from acp import run_agent
from deepagents import create_deep_agent
from deepagents.backends import LocalShellBackend
from deepagents_acp.server import AgentServerACP
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import MemorySaver

SAVED = MemorySaver()


def build(context):
    return create_deep_agent(
        model=ChatOpenAI(model=os.environ.get("OPENAI_MODEL", "model"), max_retries=0),
        backend=LocalShellBackend(root_dir=context.cwd, virtual_mode=False, inherit_env=True),
        checkpointer=SAVED,
    )


asyncio.run(run_agent(AgentServerACP(agent=build)))
