"""SQL: PostgreSQL; documents copied into a table and out again, pgbench's transactions, a session that stays."""

import base64
import hashlib
import os
import time
from pathlib import Path

from appliance.lab.listening import start
from appliance.lab.network import Lab
from appliance.lab.soak import programs
from appliance.lab.soak.documents import document
from appliance.lab.soak.turn_error import TurnError
from appliance.lab.tools import LabError, check, find

PORT = 5432
PROGRAMS = Path("/usr/lib/postgresql")  # Debian keeps those of each version in a directory there
USER = "postgres"  # the server does not run as root
# Without Kerberos: with a ticket of whoever runs this lying about, libpq would look for a KDC, and wait for it.
DATABASE = "dbname=postgres gssencmode=disable"
LINE = 900
NEW_EVERY = 3
START_S = 60.0
BENCH_S, BENCH_RATE = 3, 20
SUMS = (
    "select (select sum(abalance) from pgbench_accounts), (select sum(bbalance) from pgbench_branches), "
    "(select sum(tbalance) from pgbench_tellers), (select coalesce(sum(delta), 0) from pgbench_history)"
)


class Sql:
    name = "sql"

    def __init__(self, lab: Lab, directory: Path, first: int) -> None:
        self._client = lab.client
        self._next = first
        self._turns = 0
        self._programs = _programs()
        data = directory / "data"
        data.mkdir()
        check(["chown", USER, str(data)])
        for above in directory.parents[:1]:
            above.chmod(0o711)
        directory.chmod(0o711)
        become = [find("setpriv"), f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
        check([*become, str(self._programs / "initdb"), "--auth=trust", "--no-sync", f"--pgdata={data}"])
        (data / "pg_hba.conf").write_text(f"host all all {lab.client.v4}/32 trust\n")
        settings = {
            "listen_addresses": lab.server.v4,
            "port": PORT,
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
            "fsync": "off",
            "autovacuum": "off",
        }
        argv = [*become, str(self._programs / "postgres"), "-D", str(data)]
        argv += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        start(lab.server, argv, PORT, directory / "log")
        self._where = ["-h", lab.server.v4, "-p", str(PORT), "-U", USER]
        self._wait_ready()
        psql = [str(self._programs / "psql"), *self._where, "-d", DATABASE, "-X", "-q", "-A", "-t"]
        self._psql = [*psql, "-v", "ON_ERROR_STOP=1"]
        self._session = programs.Conversation(lab.client, self._psql)
        bench = [
            str(self._programs / "pgbench"),
            *self._where,
            "--initialize",
            "--quiet",
            "--scale=1",
            DATABASE,
        ]
        programs.run(self._client, bench)
        self._query("create table documents (number bigint, line bigint, text text)")

    def _wait_ready(self) -> None:
        """It listens before it takes anybody in."""
        deadline = time.monotonic() + START_S
        ready = [str(self._programs / "pg_isready"), "--quiet", *self._where, "-d", DATABASE]
        while self._client.run(ready).returncode:
            if time.monotonic() > deadline:
                raise LabError(f"PostgreSQL takes nobody in after {START_S:.0f} s")
            time.sleep(0.1)

    def turn(self) -> int:
        self._turns += 1
        compared = self._session.say(b"select md5('%d'), %d;" % (self._turns, self._turns), self._expected())
        if self._turns % NEW_EVERY == 0:
            self._next += 1
        compared += self._copy(document(self._next))
        self._bench()
        return compared

    def _expected(self) -> bytes:
        return f"{hashlib.md5(str(self._turns).encode()).hexdigest()}|{self._turns}".encode()

    def _copy(self, content: bytes) -> int:
        """In as rows of text and out again."""
        text = base64.b64encode(content).decode()
        rows = [f"{at // LINE}\t{text[at : at + LINE]}\n" for at in range(0, len(text), LINE)]
        sent = "".join(rows).encode()
        self._query("truncate documents")
        self._query("copy documents (line, text) from stdin", sent)
        got = self._query("copy (select line, text from documents order by line) to stdout")
        if got != sent:
            raise TurnError(
                f"{len(got)} bytes of rows came back, other than the {len(sent)} that went in", wrong=True
            )
        return 2 * len(sent)

    def _bench(self) -> None:
        """Interactive transactions; what they have moved must add up."""
        words = [f"--time={BENCH_S}", f"--rate={BENCH_RATE}", "--client=2", "--no-vacuum", DATABASE]
        programs.run(self._client, [str(self._programs / "pgbench"), *self._where, *words])
        sums = set(self._query(SUMS).strip().split(b"|"))
        if len(sums) != 1:
            raise TurnError(f"pgbench's balances do not add up: {sums}", wrong=True)

    def _query(self, text: str, rows: bytes = b"") -> bytes:
        return programs.run(self._client, [*self._psql, "-c", text], rows)

    def close(self) -> None:
        self._session.close()


def _programs() -> Path:
    found = sorted(PROGRAMS.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found or not os.access(found[-1], os.X_OK):
        raise LabError("PostgreSQL's server is not installed; on Debian: apt-get install postgresql")
    return found[-1].parent
