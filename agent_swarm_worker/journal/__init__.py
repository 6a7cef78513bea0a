"""The session journal: JSON lines on disk, the system of record of a session.

The invariant of what reaches listeners and the disk, and in which order. This package keeps it for
the calls that `providers.kit.session.BaseSession` makes:

1. **Scrubbed first.** A line is scrubbed and parsed once, before any other use.
2. **Settled before it is published.** Before listeners get a line, one of these holds:

   a. It is in the file: `write(2)` has returned. This is the normal case.
   b. The disk accepts no writes: the line is held in memory, in order, and written before any later
      line. All journals of the process hold 32 MiB together. Lines that do not fit, or are still
      held when the session ends, are given to the sink as *unwritten* and uploaded as text.
   c. The size limit leaves it out (`limit`). A record in the file says so at the first such line of
      each weight, and another one counts them at the end; the last result, session id or error
      among them is recorded at the end. Standard error beyond 16 MiB is neither recorded nor
      published.

3. **One order.** Listeners get lines in the order of the file. The lines of one read are translated
   first, since near the limit their events decide which are left out. Then the write intent is
   noted in the capture buffer, the lines are settled, and the sink gets their range; then for each
   line its `RawLog` and its normalized events are published.
4. **Whole lines.** The file always ends at the end of a line: an append is one write, all or
   nothing. `repair` undoes an append that was interrupted by a kill.
5. **Killed at any instant.** A line that was read from a harness is in the file or in the capture
   buffer, which outlives the worker, and the write intent tells which: no line is lost or recorded
   twice. Lines of case (b) are in the capture buffer as far as its size allows
   (`processes.capture_buffer`); those of case (c) are lost.
6. **Uploads are ranges.** The sink gets the byte range of each append, so the file is not read to
   find it. A range that a kill separates from its outbox row lies behind the upload cursor, and
   recovery uploads it. A session that writes its file itself uses no sink; the end of its file is
   looked for once a second.

Modules: `files` (names, first record, upload numbering), `records` (wrapping of lines, replay),
`writer` (one file, and the files of a session), `limit`, `reading` (lines for uploads), `repair`
(journal repair, offset resync), `retention`.
"""
