"""Says prose, and what it is told to when resumed: ``answers_in_form.py <place> <session>``."""

import sys
import time
from pathlib import Path

from speech import begin, end, prompt, words

place, session = Path(sys.argv[1]), sys.argv[2]
asked = prompt()
count = len(list(place.glob("asked-*")))
(place / f"asked-{count}").write_text(f"{session or 'fresh'}\n{asked}")
begin(session or "s-1")
words("I have counted them" if not session else "as you wish")
if session and (place / "hangs").exists():
    time.sleep(3600)
answer = (place / "answer").read_text() if session else "There are three of them."
if answer == "fails":
    end("no more credit", is_error=True)
    sys.exit(1)
end(answer)
