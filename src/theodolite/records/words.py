"""How are counts said in words?"""


def several(count: int, thing: str) -> str:
    """How many things, in words that agree: 1 step, 2 steps."""
    return f"{count} {thing}{'' if count == 1 else 's'}"
