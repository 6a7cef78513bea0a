"""What comes back from the browser, by itself or pasted: a code, or the reason why there is none.

Pure: text in, code or exception out. No message repeats what came, which may hold the code.
"""

from __future__ import annotations

import re
import secrets
from urllib.parse import parse_qs

from agent_swarm_worker.errors import CodeUnusable, LoginDenied
from agent_swarm_worker.login.vendor import known_code

MISMATCH = "State mismatch: this answer belongs to another login"
MISSING = "Missing authorization code"

_CODE = re.compile(r"[\x21-\x7e]{1,4096}")
_PASTE_MARKS = re.compile(r"\x1b\[20[01]~|[\x00-\x20\x7f]+")


def code_of_query(query: str, state: str) -> str:
    """Return the code that the vendor sent the browser back with.

    Raises:
        CodeUnusable: it answers another question, or has no code.
        LoginDenied: the person or the vendor said no.
    """
    fields = parse_qs(query, keep_blank_values=True, max_num_fields=50)
    given = fields.get("state", [""])[0]
    error = fields.get("error", [""])[0]
    # An error may come without the state; the worst that a stranger's could do is to end the wait.
    if not _same(given, state) and (given or not error):
        raise CodeUnusable(MISMATCH)
    if error:
        raise _denied(error)
    return _checked(fields.get("code", [""])[0])


def code_of_paste(text: str, state: str) -> str:
    """Return the code of what a person pasted.

    Understood are the whole address the browser ended at, its query, ``code#state``, and the code.

    Raises:
        CodeUnusable: it answers another question, or has no code.
        LoginDenied: the address says that there will be none.
    """
    pasted = _PASTE_MARKS.sub("", text).strip("'\"<>")
    if "?" in pasted or "code=" in pasted or "error=" in pasted:
        query = pasted.partition("?")[2] if "?" in pasted else pasted.lstrip("#&")
        query = query.partition("#")[0] or query
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=50)
        if "state" in fields:
            return code_of_query(query, state)
        if fields.get("error", [""])[0]:
            raise _denied(fields["error"][0])
        return _checked(fields.get("code", [""])[0])
    if "://" in pasted:
        raise CodeUnusable(f"{MISSING}: the address has none in it")
    code, has_state, given = pasted.partition("#")
    if has_state and not _same(given, state):
        raise CodeUnusable(MISMATCH)
    return _checked(code)


def _same(given: str, state: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), state.encode())


def _denied(error: str) -> LoginDenied:
    if error == "access_denied":
        return LoginDenied("the login was declined in the browser (access_denied)")
    code = known_code(error)
    return LoginDenied(f"the vendor ended the login with an error{code and f' ({code})'}")


def _checked(code: str) -> str:
    if not _CODE.fullmatch(code):
        raise CodeUnusable(MISSING)
    return code
