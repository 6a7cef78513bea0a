"""``swarm-worker task``: submit, follow, cancel, show or list tasks; answer agents' questions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from agent_swarm_worker import logs
from agent_swarm_worker.cli.connect import connected, run_until_signal
from agent_swarm_worker.cli.follow import Follower
from agent_swarm_worker.cli.output import fit_line, print_json, print_line, print_table
from agent_swarm_worker.cli.view import View
from agent_swarm_worker.errors import EXIT_FAILURE, UnreadableFile, UsageError
from agent_swarm_worker.files import read_whole
from agent_swarm_worker.settings import Settings, process_env
from agent_swarm_worker.text import text_of_file

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from agent_swarm_worker.api.client import SwarmClient
    from agent_swarm_worker.api.wire.tasks import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    submit = actions.add_parser("submit", help="create a task")
    submit.add_argument("text", help="what is to be done; - reads standard input")
    submit.add_argument("--agent", help="id of the agent; without it the task goes to the pool")
    submit.add_argument("--dir", help="working directory of the session")
    submit.add_argument("--parent", help="id of the task that this one continues")
    submit.add_argument("--model", help="model to use")
    submit.add_argument("--priority", type=int, help="0 to 100")
    submit.add_argument("--tag", action="append", default=[], help="may be repeated")
    submit.add_argument("--output-schema", type=Path, help="JSON Schema the output must satisfy")
    submit.add_argument("--follow", action="store_true", help="show it live; exit 1 if it fails")
    follow = actions.add_parser(
        "follow", help="show a task live until it ends; exit 1 if it failed"
    )
    cancel = actions.add_parser("cancel", help="cancel a task")
    cancel.add_argument("--reason", help="stored with the task")
    show = actions.add_parser("show", help="print one task")
    for one in (follow, cancel, show):
        one.add_argument("id", help="id of the task")
    listing = actions.add_parser("list", help="list tasks")
    listing.add_argument("--status", help="one or several, separated by commas")
    listing.add_argument("--limit", type=int, default=20, help="default: 20")
    approvals = actions.add_parser("approvals", help="list what agents ask for approval")
    approvals.add_argument("--status", default="pending", help="default: pending; or `any`")
    approve = actions.add_parser("approve", help="allow what an agent asks")
    deny = actions.add_parser("deny", help="refuse what an agent asks")
    for one in (approve, deny):
        one.add_argument("id", help="id of the approval request")
        one.add_argument("--note", default="", help="told to the agent")
    for each in (submit, follow, cancel, show, listing, approvals, approve, deny):
        each.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Carry out one action."""
    logs.configure(level="error")
    settings = Settings.load(process_env())
    if args.action == "submit":
        # Read before connecting: standard input may take any time.
        args.text = _task_text(args.text)
        args.schema = _schema(args.output_schema)
    return run_until_signal(_run, args, settings)


async def _run(args: argparse.Namespace, settings: Settings) -> int:
    action: Callable[[argparse.Namespace, SwarmClient], Awaitable[int]] = _ACTIONS[args.action]
    async with connected(settings) as client:
        return await action(args, client)


async def _submit(args: argparse.Namespace, client: SwarmClient) -> int:
    task = await client.tasks.create(
        args.text,
        agent_id=args.agent,
        directory=args.dir,
        parent_task_id=args.parent,
        model=args.model,
        priority=args.priority,
        tags=args.tag,
        output_schema=args.schema,
    )
    if args.follow:
        return await follow_to_end(client, task.id, as_json=args.json)
    if args.json:
        print_json(task.raw)
    else:
        print_line(task.id)
    return 0


async def _follow(args: argparse.Namespace, client: SwarmClient) -> int:
    return await follow_to_end(client, args.id, as_json=args.json)


async def follow_to_end(client: SwarmClient, task_id: str, *, as_json: bool = False) -> int:
    """Show a task until it has ended; return 0 if it completed, else 1."""
    with View(sys.stderr if as_json else sys.stdout) as view:
        view.say("▶", f"task {task_id}")
        follower = Follower(client, view, task_id)
        task = await follower.run()
        costs = await follower.costs()
        if not as_json:
            show_end(view, task, costs)
    if as_json:
        print_json({**task.raw, "costs": costs})
    return 0 if task.status == "completed" else EXIT_FAILURE


def show_end(view: View, task: Task, costs: list[dict[str, Any]]) -> None:
    """Print cost, status, and output or failure reason of a task."""
    if costs:
        usd = _sum(costs, "totalCostUsd")
        tokens = _sum(costs, "inputTokens") + _sum(costs, "outputTokens")
        view.say("💰", f"${usd:.4f}, {tokens} tokens, model {costs[-1].get('model') or 'unknown'}")
    if task.status == "completed":
        view.say("✔", "completed")
        view.block("Output", task.output or "(none)")
    else:
        view.say("✘", task.status)
        view.block("Reason", task.failure_reason or "(none given)")


def _sum(rows: list[dict[str, Any]], name: str) -> float:
    return sum(value for row in rows if isinstance(value := row.get(name), int | float))


async def _cancel(args: argparse.Namespace, client: SwarmClient) -> int:
    await client.tasks.cancel(args.id, reason=args.reason)
    if args.json:
        print_json({"id": args.id, "cancelled": True})
    else:
        print_line(f"cancelled {args.id}")
    return 0


async def _show(args: argparse.Namespace, client: SwarmClient) -> int:
    task = await client.tasks.get(args.id)
    if args.json:
        print_json(task.raw)
        return 0
    fields = ("id", "status", "agentId", "model", "progress", "task", "output", "failureReason")
    rows = [[name, str(task.raw[name])] for name in fields if task.raw.get(name)]
    print_table(["FIELD", "VALUE"], rows)
    return 0


async def _list(args: argparse.Namespace, client: SwarmClient) -> int:
    tasks = await client.tasks.list(status=args.status, limit=args.limit)
    if args.json:
        print_json([task.raw for task in tasks])
        return 0
    print_table(
        ["ID", "STATUS", "CREATED", "TASK"],
        [[t.id, t.status, t.created_at[:19], fit_line(t.text, 60)] for t in tasks],
    )
    return 0


async def _approvals(args: argparse.Namespace, client: SwarmClient) -> int:
    requests = await client.approvals.list(None if args.status == "any" else args.status)
    if args.json:
        print_json([request.raw for request in requests])
        return 0
    print_table(
        ["ID", "STATUS", "CREATED", "EXPIRES", "TITLE"],
        [
            [
                request.text("id"),
                request.text("status"),
                request.text("createdAt")[:19],
                request.text("expiresAt")[:19] or "-",
                fit_line(request.text("title"), 100),
            ]
            for request in requests
        ],
    )
    return 0


async def _answer(args: argparse.Namespace, client: SwarmClient) -> int:
    is_approved = args.action == "approve"
    answered = await client.approvals.answer(
        args.id, is_approved=is_approved, comment=args.note, by="the command line"
    )
    if args.json:
        print_json(answered)
    else:
        print_line(f"{'approved' if is_approved else 'denied'} {args.id}")
    return 0


def _task_text(text: str) -> str:
    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError("standard input is not UTF-8 text") from None
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError("the text of the task is not UTF-8")
    if not text.strip():
        raise UsageError("a task needs some words")
    return text


def _schema(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        schema = orjson.loads(text_of_file(read_whole(path), errors="strict"))
    except ValueError as error:
        raise UnreadableFile(path, f"not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise UnreadableFile(path, "not a JSON object")
    return schema


_ACTIONS: dict[str, Callable[[argparse.Namespace, SwarmClient], Awaitable[int]]] = {
    "submit": _submit,
    "follow": _follow,
    "cancel": _cancel,
    "show": _show,
    "list": _list,
    "approvals": _approvals,
    "approve": _answer,
    "deny": _answer,
}
