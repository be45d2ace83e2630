"""Caps as people set and read them; the same rules for every store."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from executus.budget import BudgetCap, BudgetUse, CapVerdict, Currency, Window
from executus.errors import RequestError
from executus.sanitize import clean_line
from executus.stores.ledger import MAX_AMOUNT, Cap, Use, money, scope_name, stored, unit

MAX_NOTE = 500
"""Characters of a cap's `by` and `note`."""


class CapChange(NamedTuple):
    """What somebody says about a scope."""

    scope: str
    window: Window | None = None
    """None: all windows and currencies, which only `unlimited` and `removed` can mean."""
    currency: Currency | None = None
    cap: float | None = None
    verdict: CapVerdict = "cap"
    by: str = ""
    note: str = ""

    def checked(self) -> "CapChange":
        """The same with the scope's stored name; raises RequestError when it is not definite."""
        if (self.verdict == "cap") != (self.cap is not None):
            raise RequestError("a cap needs an amount, and only a cap has one")
        if (self.window is None) != (self.currency is None):
            raise RequestError("name both the window and the currency, or neither")
        if self.window is None and self.verdict == "cap":
            raise RequestError("a cap needs a window and a currency")
        if self.currency is not None and self.cap is not None:
            _check_amount(self.currency, self.cap)
        return self._replace(scope=scope_name(self.scope))

    @property
    def place(self) -> tuple[str, str, str]:
        """Where its versions are counted."""
        return self.scope, self.window or "any", self.currency or "any"

    def version(self, number: int, at: datetime) -> BudgetCap:
        """The change as a stored version, its amount as the ledger counts it."""
        cap, currency = self.cap, self.currency
        exact = None if cap is None or currency is None else unit(currency, stored(currency, cap))
        return BudgetCap(
            scope=self.scope,
            window=self.window or "any",
            currency=currency or "any",
            version=number,
            verdict=self.verdict,
            cap=exact,
            set_at=at,
            set_by=clean_line(self.by, MAX_NOTE),
            note=clean_line(self.note, MAX_NOTE),
        )


def raised(
    caps: Iterable[Cap], scope: str, window: Window, currency: Currency, more: float
) -> CapChange:
    """The change that adds `more` to a scope's cap; RequestError when it has none there."""
    _check_amount(currency, more)
    for cap in caps:
        if (cap.window, cap.currency) == (window, currency):
            total = unit(currency, cap.cap + stored(currency, more))
            return CapChange(scope, window, currency, total, note="raised")
    raise RequestError(f"{scope} has no {window} cap in {currency} to raise; set one first")


def _check_amount(currency: Currency, amount: float) -> None:
    """Refuse what the ledger cannot count: a cap is never silently another number."""
    most = unit(currency, MAX_AMOUNT)
    if math.isfinite(amount) and amount > most:
        raise RequestError(
            f"a cap is {money(currency, MAX_AMOUNT)} at most; more than that is --unlimited"
        )


def use_of(
    scope: str, window: Window, currency: Currency, caps: Iterable[Cap], uses: Sequence[Use]
) -> BudgetUse:
    """What was used, in the unit people use."""
    caps_there = [cap.cap for cap in caps if (cap.window, cap.currency) == (window, currency)]
    return BudgetUse(
        scope=scope,
        window=window,
        currency=currency,
        cap=unit(currency, caps_there[0]) if caps_there else None,
        settled=unit(currency, sum(use.settled.of(currency) for use in uses)),
        reserved=unit(currency, sum(use.reserved.of(currency) for use in uses)),
    )
