"""The session journal: JSON lines on disk, the system of record of a session.

The invariant that this package keeps for the calls of `providers.kit.session.BaseSession`:

1. **Scrubbed first.** A line is scrubbed and parsed once, before any other use.
2. **Settled before it is published.** Before listeners get a line, one of these holds:

   a. It is in the file: `write(2)` has returned. This is the normal case.
   b. The disk accepts no writes: the line is held in memory and written before any later line. All
      journals of the process hold 32 MiB together. Lines that do not fit, or are still held when
      the session ends, are given to the sink as *unwritten* and uploaded as text.
   c. The size limit leaves it out (`limit`). A record says so at the first such line of each
      weight, and another one counts them at the end; the last result, session id or error among
      them is recorded at the end. Of standard error beyond 16 MiB nothing is published either.

3. **One order.** Listeners get lines in the order of the file. The lines of one read are translated
   first, since near the limit their events decide which are left out. Then the write intent is
   noted in the capture buffer, the lines are settled, and the sink gets their range; then for each
   line its `RawLog` and its normalized events are published.
4. **Whole lines.** The file always ends at the end of a line: an append is one write, all or
   nothing. `repair` undoes an append that was interrupted by a kill.
5. **Killed at any instant.** A line that was read from a harness is in the file or in the capture
   buffer, which outlives the worker, and the write intent tells which: no line is lost or recorded
   twice. Lines of case (b) are in the capture buffer as far as its size allows; those of (c) are
   lost.
6. **Uploads are ranges.** The sink gets the byte range of each append. A range that a kill
   separates from its outbox row lies behind the upload cursor, and recovery uploads it. A session
   that writes its file itself uses no sink; the end of its file is looked for once a second.
"""
