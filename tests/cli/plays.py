"""A harness that follows its task's text: fails, waits, prints odd output, or greets."""

import json
import sys
import time

HOSTILE = "\x1b[2J\x1b]0;owned\x07red\x9b31m \u202egnp\r\nfoo"


def say(**event):
    print(json.dumps(event), flush=True)


def end(text, **more):
    say(type="result", output=text, cost={"totalCostUsd": 0.25, "inputTokens": 9}, **more)


prompt = sys.stdin.buffer.read().decode("utf-8", "replace")
say(type="session_init", sessionId="s-1", model="m-1")
if "please wait" in prompt:
    say(type="message", role="assistant", content="I am waiting.")
    time.sleep(60)
elif "please fail" in prompt:
    say(type="error", message="it broke")
    end("It did not work.", isError=True)
elif "please be strange" in prompt:
    say(type="message", role="assistant", content=f"words {HOSTILE}")
    say(type="tool_start", toolCallId="1", toolName="Bash", args={"description": HOSTILE})
    say(type="progress", message=f"progress {HOSTILE}")
    print(f"plain {HOSTILE}", flush=True)
    print(f"error {HOSTILE}", file=sys.stderr, flush=True)
    end(f"output {HOSTILE}")
elif "please answer in JSON" in prompt:
    end('{"answer": 42}')
else:
    say(type="message", role="assistant", content="Hi there.")
    end("Said hi.")
