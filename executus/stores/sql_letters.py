"""Dead letters in a database. They hold what was to be delivered, unredacted, until it is."""

from datetime import datetime

from sqlalchemy import Connection, RowMapping, UpdateBase, delete, select, update

from executus.letter import DeadLetter, DeliveryItem
from executus.stores.canonical import ident, micros, moment
from executus.stores.database import Database
from executus.stores.dialects import insert
from executus.stores.schema import dead_letters as table

MICRO = 1_000_000


class SqlLetters:
    """`DeadLetters` in SQLite or PostgreSQL. The database belongs to the caller."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ready(self) -> None:
        """See `executus.ports.Ready`."""
        await self._database.ready()

    async def keep(self, letter: DeadLetter) -> None:
        """Add it; one that is there already stays as it is."""
        item = letter.item
        row = {
            "id": letter.id,
            "run_id": ident(letter.run_id),
            "target": letter.target,
            "status": letter.status,
            "attempts": letter.attempts,
            "error": letter.error,
            "status_code": letter.status_code,
            "failed_at": micros(letter.failed_at),
            "delivered_at": None if letter.delivered_at is None else micros(letter.delivered_at),
            "claimed_until": 0,
            "item": None if item is None else item.model_dump_json(),
        }
        statement = insert(self._database.dialect, table).values(row).on_conflict_do_nothing()
        await self._count(statement)

    async def claim(self, letter_id: str, seconds: float) -> DeadLetter | None:
        """Take one to send it; None when it is gone, delivered or taken."""

        def work(connection: Connection) -> DeadLetter | None:
            now = self._database.now(connection)
            free = (
                update(table)
                .where(table.c.id == letter_id, table.c.delivered_at.is_(None))
                .where(table.c.claimed_until <= now)
                .values(claimed_until=now + int(seconds * MICRO))
            )
            if connection.execute(free).rowcount != 1:
                return None
            found = connection.execute(select(table).where(table.c.id == letter_id))
            return _letter(found.mappings().one())

        return await self._database.write(work)

    async def landed(self, letter_id: str, at: datetime) -> None:
        """It was delivered: forget its content."""
        change = update(table).where(table.c.id == letter_id)
        statement = change.values(delivered_at=micros(at), item=None)
        await self._count(statement)

    async def failed(self, letter_id: str, error: str, status_code: int | None) -> None:
        """It failed once more: count it, and let others take it."""

        def work(connection: Connection) -> None:
            change = update(table).where(table.c.id == letter_id)
            connection.execute(
                change.values(
                    attempts=table.c.attempts + 1,
                    error=error,
                    status_code=status_code,
                    failed_at=self._database.now(connection),
                    claimed_until=0,
                )
            )

        await self._database.write(work)

    async def letters(
        self, run_id: str | None = None, *, delivered: bool = False, limit: int = 1_000
    ) -> list[DeadLetter]:
        """Those that wait, the oldest first; `delivered` ones too if asked."""
        query = select(table).order_by(table.c.failed_at, table.c.id).limit(limit)
        if run_id is not None:
            query = query.where(table.c.run_id == ident(run_id))
        if not delivered:
            query = query.where(table.c.delivered_at.is_(None))

        def work(connection: Connection) -> list[DeadLetter]:
            return [_letter(row) for row in connection.execute(query).mappings()]

        return await self._database.read(work)

    async def drop(self, run_id: str | None = None, *, before: datetime | None = None) -> int:
        """Forget those of a run, or that failed last before a time; answers how many."""
        statement = delete(table)
        if run_id is not None:
            statement = statement.where(table.c.run_id == ident(run_id))
        if before is not None:
            statement = statement.where(table.c.failed_at < micros(before))
        return await self._count(statement)

    async def _count(self, statement: UpdateBase) -> int:
        """Execute it; how many rows it changed."""
        return await self._database.write(lambda connection: connection.execute(statement).rowcount)


def _letter(row: RowMapping) -> DeadLetter:
    item = None if row["item"] is None else DeliveryItem.model_validate_json(row["item"])
    delivered = row["delivered_at"]
    return DeadLetter(
        id=row["id"],
        run_id=row["run_id"] if item is None else item.run_id,
        target=row["target"],
        status=row["status"],
        attempts=row["attempts"],
        error=row["error"],
        status_code=row["status_code"],
        failed_at=moment(row["failed_at"]),
        delivered_at=None if delivered is None else moment(delivered),
        item=item,
    )
