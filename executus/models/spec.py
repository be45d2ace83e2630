"""The grammar of model specs.

    spec    = element ("," element)*
    element = provider "/" model | alias

The model is everything after the first slash, verbatim, so `ollama/library/llama:70b` survives.
An alias stands for a whole spec and expands in place, recursively, into one flat chain.
"""

from collections.abc import Callable, Mapping

from executus.errors import UnknownModel


def elements(spec: str) -> tuple[str, ...]:
    """The elements of a spec, in order, blanks around them removed.

    Raises:
        UnknownModel: when an element, or one side of its slash, is empty or has blanks in it.
    """
    found = tuple(element.strip() for element in spec.split(","))
    for element in found:
        _check(element, spec)
    return found


def _check(element: str, spec: str) -> None:
    if not element:
        raise UnknownModel(f"the model spec {spec!r} has an empty element")
    if any(c.isspace() for c in element):
        raise UnknownModel(f"the element {element!r} of a model spec has a blank in it")
    provider, slash, model = element.partition("/")
    if slash and not (provider and model):
        raise UnknownModel(f"the element {element!r} of a model spec is not provider/model")


def expand(
    spec: str,
    aliases: Mapping[str, str],
    unknown: Callable[[str], UnknownModel],
) -> tuple[str, ...]:
    """Every `provider/model` of `spec`, aliases expanded, duplicates dropped (the first wins).

    `unknown` makes the error for a bare name that is no alias: the caller knows what to suggest.

    Raises:
        UnknownModel: for a malformed element, an unknown bare name, or a cycle (which it names).
    """
    chain: dict[str, None] = {}
    _expand(spec, aliases, unknown, chain, path=(), done=set())
    return tuple(chain)


def _expand(
    spec: str,
    aliases: Mapping[str, str],
    unknown: Callable[[str], UnknownModel],
    chain: dict[str, None],
    *,
    path: tuple[str, ...],
    done: set[str],
) -> None:
    for element in elements(spec):
        if "/" in element:
            chain.setdefault(element)
            continue
        if element in path:
            cycle = " -> ".join((*path[path.index(element) :], element))
            raise UnknownModel(f"the model aliases form a cycle: {cycle}")
        if element not in aliases:
            raise unknown(element)
        if element not in done:  # a second time it brings only duplicates
            _expand(aliases[element], aliases, unknown, chain, path=(*path, element), done=done)
            done.add(element)
