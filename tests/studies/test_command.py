from studies.command import command_line


def measure(rounds: int = 3, no_memory: bool = False, dtype: str | None = None) -> None:
    pass


def test_only_what_differs_from_its_default_is_written():
    assert command_line(["gpvit", "x"], measure, rounds=3, no_memory=False, dtype=None) == "gpvit x"
    written = command_line(["gpvit", "x", "my model"], measure, rounds=5, no_memory=True, dtype="bfloat16")
    assert written == "gpvit x 'my model' --rounds 5 --no-memory --dtype bfloat16"
