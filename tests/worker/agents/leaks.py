"""Tells every secret it was given: ``leaks.py <variable>,… <how it ends> <directory>``.

In every form and every place it can think of. What it knows is noted in ``known.json``.
"""

import base64
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

from speech import answer, assistant, begin, call, end, prompt, say, words

prompt()
servers = json.loads(Path(os.environ["SWARM_MCP_CONFIG"]).read_text())["mcpServers"]
secrets = [os.environ[name] for name in sys.argv[1].split(",")]
secrets += [value for server in servers.values() for value in server.get("env", {}).values()]
secrets += [header for server in servers.values() for header in server.get("headers", {}).values()]
secrets += [member for value in secrets for member in value.split(",")]
if Path(sys.argv[3]).is_dir():
    Path(sys.argv[3], "known.json").write_text(json.dumps(secrets))


def forms(secret):
    raw = secret.encode()
    return [
        secret,
        json.dumps(secret),
        json.dumps(json.dumps(secret)),
        base64.b64encode(raw).decode(),
        base64.b64encode(b"user:" + raw).decode(),
        raw.hex(),
        quote(secret, safe=""),
    ]


if sys.argv[2] != "text":
    begin()
for number, secret in enumerate(secrets):
    told = " ".join(forms(secret))
    for half in (f"standard error: {secret}"[:-4], secret[-4:] + f"\n{told}\n"):
        sys.stderr.write(half)
        sys.stderr.flush()
        time.sleep(0.002)
    print(f"plain words: {told}", flush=True)
    if sys.argv[2] == "text":
        continue
    call(f"t{number}", "Bash", command=told, description=f"Leak {told}")
    answer(f"t{number}", told)
    call(f"u{number}", "Read", file_path=f"/a/{secret}")
    answer(f"u{number}", [{"type": "text", "text": told}])
    assistant({"type": "thinking", "thinking": told})
    words(told)
    say(type="system", subtype="status", **{secret: told})
everything = "\n".join(" ".join(forms(secret)) for secret in secrets)
if sys.argv[2] == "success":
    end(everything)
elif sys.argv[2] == "error":
    end(everything, is_error=True, errors=[everything], subtype="error_during_execution")
elif sys.argv[2] == "text":
    print(everything)
else:
    sys.stderr.write(everything)
    sys.exit(9)
