import executus.tools


def test_the_exported_names_are_sorted_and_there() -> None:
    names = executus.tools.__all__
    assert names == sorted(names)
    assert all(hasattr(executus.tools, name) for name in names)
