"""Uses one tool and says hi."""

from speech import answer, begin, call, end, prompt, words

asked = prompt()
begin()
call("t1", "Bash", command="true", description="Do nothing")
answer("t1", "done")
words("hi: " + asked[-30:])
end("hi there")
