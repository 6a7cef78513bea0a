"""Recovers the work of an earlier process of the same agent: the crash story, in order.

A process may be killed at any instruction, and a machine may lose its power. What survives is the
state directory: the *claims* (one row per task in work, with two offsets into its journal), the
*journals* (every line a session said), the *outbox* (writes the API has not acknowledged) and a
few notes. What a session printed and the worker had not read yet is in its pipes, which a pipe
holder keeps open.

While it works, a process leaves what the next one needs:

* `worker.run.task_run` writes a claim before anything else is done for a task, and its phase as it
  goes on;
* `claim_reconciliation` notes which polls may have claimed a task whose answer never came.

The next process, in this order (`worker.boot.sequence`):

1. `left_behind.end_left_behind`: end the process trees of the claimed sessions. Nobody watches over
   them.
2. Register, so that the server takes what follows.
3. `startup.recover`, for each claim: `cursor_resync` moves the upload cursor to where the server
   is, if the machine lost its power; `orphaned_session` repairs the journal's end, replays it,
   takes in what was in the pipes, and reports lines, events and cost that were not reported;
   `replayed_outcome` tells whether the session had come to its result. With a result the task is
   finished with it; without, it is superseded with ``crash_recovery``, so that the server makes a
   resume task for this agent. A claim the server could not be asked about is kept as *unsettled*
   and tried again later.
4. Clear this agent's session rows on the server, which is done together with step 2 if there is
   neither a claim nor a write in the outbox; `undelivered.hold_undelivered` then takes a slot,
   and a row, for each task whose result is still in the outbox or that is unsettled.
5. Ask the server to put back tasks that were claimed and never began (docs/api.md 6.7): only now,
   for it would take those of step 4 for such.
6. With the first polls, `claim_reconciliation` looks for tasks that the server has given us in an
   answer that was lost, and begins them once `claim_verification` has shown that nobody else has.
7. `undelivered.release_when_delivered` gives the slots of step 4 back as the results arrive.

`swarm-worker flush` (`worker.loops.flushing`) does only the delivery: it ends nothing,
claims nothing,
hands nothing back.
"""
