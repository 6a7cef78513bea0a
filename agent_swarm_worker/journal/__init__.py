"""The session journal: JSON lines on disk, the system of record of a session.

What is guaranteed, and by whom (`providers.kit.session.BaseSession` calls, this package does):

1. **Scrubbed first.** A line is scrubbed, and parsed, once; nothing else ever sees it before that.
2. **Settled before it is heard.** Before a listener hears of a line, one of these is true of it:

   a. it is in the file: `write(2)` has returned. The rule.
   b. The disk takes nothing just now: the line is held in memory, in order, and written before
      any later line. All journals of the process hold 32 MiB together. What does not fit, or is
      still held when the session ends, is handed to the sink as *unwritten* and uploaded as text.
   c. The size limit leaves it out (`limit`). The file says so at the first such line of each
      weight, and at the end how many there were; the last result, session id or error among them
      is kept for the end. Standard error beyond 16 MiB is not recorded, and not heard either.

3. **One order.** The order of lines in the file is the order in which listeners hear of them. The
   lines of one read are translated first, since near the limit their meaning decides what is left
   out. Then the write intent is noted in the capture buffer, the lines are settled, and the sink
   is told their range; then for each line its `RawLog` and its normalized events follow.
4. **Whole lines.** The file ends at the end of a line, always: an append is one write, all or
   nothing. One that a kill cut short is undone by `repair`.
5. **Killed at any instant.** A line that was read from a harness is in the file or in the capture
   buffer that outlives the worker, and the write intent tells which: none is lost, none recorded
   twice. Lines of case (b) are in the capture buffer as long as it keeps them
   (`processes.capture_buffer`);
   those of case (c) are gone.
6. **Uploads are ranges.** The sink is told the range of bytes of what was written; nobody reads the
   file to find it. A range lost between append and outbox row lies behind the upload cursor, and a
   recovery ships what lies there. A session that writes its file itself tells no sink; its lines
   are found at the end of the file, every second.

Modules: `files` (names, first record), `records` (the wrapping of lines and its undoing), `writer`,
`limit`, `session_journal` (both, over the files of a session), `replay`, `repair`, `resync` and
`reading` (for uploads), `uploads` and `numbering` (what an upload says), `retention`.
"""
