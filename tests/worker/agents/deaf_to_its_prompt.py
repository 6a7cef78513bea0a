"""Never reads what it is asked, answers at length, and goes."""

from speech import begin, end, words

begin()
words("I know better. " * 100_000)
end("unasked")
