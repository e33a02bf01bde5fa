"""The share of letters that are of one script, 1 where there are none: against a mixture of
languages in one text (DeepSeek-R1, arXiv 2501.12948, section 2.3.2).

The script is the first word of a letter's Unicode name, such as LATIN, CYRILLIC, CJK, ARABIC.
"""

import unicodedata

SCRIPT = "LATIN"
MOST = 20_000


def one_script(completion):
    letters = [character for character in completion[:MOST] if character.isalpha()]
    right = sum(unicodedata.name(letter, "").startswith(SCRIPT) for letter in letters)
    return right / len(letters) if letters else 1.0
