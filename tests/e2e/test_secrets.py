"""No secret leaves the service, wherever it stands and whatever fails; rotated ones are used."""

from functools import partial
from pathlib import Path
from urllib.parse import quote_plus

import httpx
import pytest

from tests.e2e.process import Service, eventually, serving
from tests.e2e.upstream import Asked, Reply, upstream
from tests.faults import HANG_UP, closed_port, redirect
from tests.faults import serving as faults

_NAMES = (
    "QUERY",
    "PATH",
    "USER",
    "PASS",
    "HEADER",
    "PARAM",
    "JSON",
    "BODY",
    "BEARER",
    "BASICUSER",
    "BASICPASS",
    "AUTHQUERY",
    "RAISED",
    "UPHEADER",
    "BASEPATH",
)
# Each has what is spelled differently in URLs, JSON, and Python.
SECRETS = {f"S_{name}": f'Zq7{name.lower()}+/ä"x' for name in _NAMES}
PATHS = {"S_PATH", "S_BASEPATH", "S_USER", "S_PASS", "S_QUERY"}
SECRETS |= {name: f"Zq7{name[2:].lower()}-tail" for name in PATHS}
HEADERS = {"S_HEADER", "S_UPHEADER", "S_BEARER", "S_RAISED"}
SECRETS |= {name: f"Zq7{name[2:].lower()}+/'~" for name in HEADERS}
TOKENS = {"S_ADMIN": "Zq7admin-token-tail", "S_READ": "Zq7read-token-tail"}
LITERAL = {"header": "Zq7literal-header", "token": "Zq7literal-token"}
FILED = "Zq7from-a-file"

_FUNCTIONS = """
import asyncio, logging, os, sys

class Nasty(Exception):
    def __str__(self):
        raise self

async def raises(client):
    secret = os.environ["S_RAISED"]
    logging.getLogger("third.party").warning("using %s", secret)
    raise RuntimeError(f"cannot log in with {secret}")

def nasty():
    raise Nasty

async def asks(client):
    (await client.get("/echo")).raise_for_status()
"""


def _config(base: str, *, refused: str, broken: str, untrusted: str) -> str:
    jobs = {
        "query": f'url = "{base}/echo?key=${{S_QUERY}}"',
        "path": f'url = "{base}/hooks/${{S_PATH}}/x"',
        "userinfo": f'url = "{base.replace("//", "//${S_USER}:${S_PASS}@")}/echo"',
        "header": f'url = "{base}/echo"\nheaders = {{ X-Key = "${{S_HEADER}}" }}',
        "literal": f'url = "{base}/echo"\nheaders = {{ X-Key = "{LITERAL["header"]}" }}',
        "param": f'url = "{base}/echo"\nparams = {{ key = "${{S_PARAM}}" }}',
        "json": f'url = "{base}/echo"\njson = {{ key = "${{S_JSON}}" }}',
        "body": f'url = "{base}/echo"\nbody = "key=${{S_BODY}}"',
        "bearer": f'url = "{base}/echo"\n'
        f'auth = {{ type = "bearer", token = "{LITERAL["token"]}" }}',
        "basic": f'url = "{base}/echo"\nauth = {{ type = "basic", username = "${{S_BASICUSER}}", '
        'password = "${S_BASICPASS}" }',
        "auth-header": f'url = "{base}/echo"\nauth = {{ type = "header", name = "X-A", '
        'value = "${file:secret}" }',
        "auth-query": f'url = "{base}/echo"\nauth = {{ type = "query", name = "k", '
        'value = "${S_AUTHQUERY}" }',
        "redirected": f'url = "{base}/redirect?key=${{S_QUERY}}"',
        "refused": f'url = "{refused}/${{S_PATH}}?key=${{S_QUERY}}"',
        "unresolved": 'url = "http://${S_USER}:${S_PASS}@nowhere.invalid/${S_PATH}"',
        "untrusted": f'url = "{untrusted}/?key=${{S_QUERY}}"',
        "raises": 'python = "functions:raises"\nheaders = { X-R = "${S_RAISED}" }',
        "nasty": 'python = "functions:nasty"',
        "asks": 'python = "functions:asks"\nupstream = "up"',
        "upstream": 'url = "/echo"\nupstream = "up"',
        "file": 'file = "${S_PATH}.json"',
        "rejected": f'url = "{base}/body?key=${{S_QUERY}}"\nguard = {{ required = ["other"] }}',
        "undecodable": f'url = "{base}/rubbish?key=${{S_QUERY}}"',
        "truncated": f'url = "{broken}/truncated?key=${{S_QUERY}}"',
        "hangs-up": f'url = "{broken}/hangs-up?key=${{S_QUERY}}"',
        "garbage": f'url = "{broken}/garbage?key=${{S_QUERY}}"',
        "not-a-url": f'url = "{broken}/not-a-url?key=${{S_QUERY}}"',
        "selected": f'url = "{base}/body?key=${{S_QUERY}}"\nselect = "sum(key)"',
        "schema": f'url = "{base}/body?key=${{S_QUERY}}"\nschema = "schema.json"',
    }
    config = (
        '[server]\nread_tokens = ["${S_READ}"]\naccess_log = true\n'
        '[admin]\ntoken = "${S_ADMIN}"\n'
        '[defaults]\ninterval = "1s"\n'
        f'[upstreams.up]\nbase_url = "{base}/${{S_BASEPATH}}"\n'
        'headers = { X-Up = "${S_UPHEADER}" }\n'
        'auth = { type = "bearer", token = "${S_BEARER}" }\n'
    )
    return config + "".join(f"[jobs.{name}]\n{table}\n" for name, table in jobs.items())


def _echo(asked: Asked) -> str:
    sent = [asked.target, asked.body.decode(), *asked.headers.values()]
    return " ".join(sent).encode("ascii", "ignore").decode()


def _leaks(text: str) -> list[str]:
    return [line for line in text.splitlines() if "Zq7" in line]


async def test_no_secret_is_shown_whatever_fails(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(_FUNCTIONS)
    (tmp_path / "secret").write_text(f"{FILED}\n")
    (tmp_path / "schema.json").write_text('{"properties": {"key": {"type": "integer"}}}')
    async with upstream() as up, faults() as broken, faults(tls=True) as tls:
        echoing = {"S_BASEPATH": SECRETS["S_BASEPATH"], "S_PATH": SECRETS["S_PATH"]}
        for path in ("/echo", f"/hooks/{echoing['S_PATH']}/x", f"/{echoing['S_BASEPATH']}/echo"):
            up.route(path, lambda one: Reply(_echo(one).encode(), 403, {"X-Echo": _echo(one)}))
        up.route(
            "/redirect",
            lambda one: Reply(b"", 302, {"Location": f"ftp://x/{one.target.partition('=')[2]}"}),
        )
        up.route("/body", lambda one: Reply(b'{"key": "%s"}' % one.target[10:].encode()))
        up.route("/rubbish", lambda one: Reply(f"<{one.target[13:]}>".encode()))
        secret = SECRETS["S_QUERY"].encode()
        broken.script(
            "/truncated", (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + secret, HANG_UP)
        )
        broken.script("/hangs-up", (HANG_UP,))
        broken.script("/garbage", (b"HTTP/1.1 200 OK\r\nBad " + secret + b"\r\n\r\n", HANG_UP))
        broken.script("/not-a-url", redirect(f"http://[{secret.decode()}"))
        config = _config(
            up.url(""),
            refused=f"http://127.0.0.1:{closed_port()}",
            broken=broken.url(""),
            untrusted=tls.url(""),
        )
        environ = {**SECRETS, **TOKENS}
        async with serving(tmp_path, config, environ=environ) as service:
            bearer = {"Authorization": f"Bearer {TOKENS['S_READ']}"}
            shut = await service.get("/jobs")
            assert shut.status_code == 401
            shown = [shut.text]
            service.http.headers.update(bearer)
            names = [job["name"] for job in (await service.get("/jobs")).json()["jobs"]]
            assert len(names) == 29
            stages = {
                "connect", "tls", "redirect", "status", "body", "source",
                "decode", "select", "schema", "guard",
            }  # fmt: skip
            for name in names:
                await service.until_job(name, lambda job: job["consecutive_failures"] > 1)
                shown.append((await service.get(f"/data/{name}?t={TOKENS['S_READ']}")).text)

            async def have_all_been_shown() -> bool:
                for name in names:
                    answer = await service.get(f"/jobs/{name}")
                    shown.append(answer.text)
                    stages.discard(answer.json()["last_attempt"]["error"]["stage"])
                return not stages

            await eventually(have_all_been_shown, "every stage")
            for path in ("/jobs", "/metrics", "/livez", "/readyz", "/openapi.json", "/docs"):
                answer = await service.get(path)
                shown += [answer.text, str(answer.headers)]
            done = await service.post("/admin/refresh", {"wait": "60s"}, TOKENS["S_ADMIN"])
            shown.append(done.text)
            assert await service.stop() == 0
        sent = " ".join(_echo(one) for one in up.asked)
        assert quote_plus(SECRETS["S_AUTHQUERY"])[:12] in sent, "they were really sent"
        assert "Zq7basepath" in sent
        assert FILED in sent
        assert not _leaks(service.log), service.log
        assert not _leaks(service.out)
        assert not [text for text in shown if _leaks(text)]


async def test_a_rotated_secret_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    async with upstream() as up:
        url = up.route("/a", lambda one: Reply(_echo(one).encode(), 403))
        files = {name: f"Zq7{name}-old" for name in ("upstream", "admin", "read")}
        for name, value in files.items():
            (tmp_path / name).write_text(value)
        config = (
            '[admin]\ntoken = "${file:admin}"\n[server]\nread_tokens = ["${file:read}"]\n'
            f'[jobs.a]\nurl = "{url}"\ninterval = "1s"\n'
            'auth = { type = "bearer", token = "${file:upstream}" }\n'
        )
        gone = '[jobs.gone]\nfile = "x"\n'
        async with serving(tmp_path, config + gone) as service:

            async def reads(token: str) -> httpx.Response:
                return await service.get("/jobs", authorization=f"Bearer {token}")

            await eventually(lambda: up.asked, "a fetch")
            assert up.asked[0].headers["authorization"] == "Bearer Zq7upstream-old"
            assert (await reads("Zq7read-old")).status_code == 200
            # A configuration that is being edited must not come in by the back door, nor break.
            (tmp_path / "config.toml").write_text(config.replace('"1s"', '"1h"') + "[jobs.new]\n")
            for name in files:
                (tmp_path / f"{name}.new").write_text(f"Zq7{name}-new\n")
            (tmp_path / "config.toml").write_text(config)
            for name in files:
                (tmp_path / f"{name}.new").replace(tmp_path / name)
            await eventually(
                lambda: up.asked[-1].headers["authorization"] == "Bearer Zq7upstream-new",
                "the new token at the upstream",
            )
            shown = []
            # They are three files, and may be looked at between one and another.
            for token in ("Zq7read-new", "Zq7admin-new"):
                await eventually(partial(_is_welcome, service, token), token)
                shown.append(await reads(token))
            assert (await reads("Zq7read-old")).status_code == 401
            for job in ("a", "gone"):
                shown.append(await service.post("/admin/refresh", {"jobs": [job]}, "Zq7admin-new"))
                assert shown[-1].status_code == 202
            denied = await service.post("/admin/refresh", {"jobs": ["a"]}, "Zq7admin-old")
            assert denied.status_code == 401
            assert (await service.get("/livez")).status_code == 200
            (tmp_path / "read").unlink()
            await service.logged("cannot be used")
            assert (await reads("Zq7read-new")).status_code == 200, "the last good one stays"
            shown.append(await reads("Zq7read-new"))
        assert not _leaks(service.log), service.log
        assert not [answer for answer in shown if _leaks(answer.text)]


async def _is_welcome(service: Service, token: str) -> bool:
    return (await service.get("/jobs", authorization=f"Bearer {token}")).status_code == 200


async def _admin_says(service: Service, token: str) -> int:
    return (await service.post("/admin/refresh", token=token)).status_code


async def test_the_admin_token_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    kept = tmp_path / "state" / "admin-token"
    config = '[store]\ndir = "state"\n'
    async with serving(tmp_path, config) as service:
        assert kept.stat().st_mode & 0o777 == 0o600
        others = {path.name for path in kept.parent.iterdir()} - {"admin-token"}
        assert all(name.startswith("refresher.db") for name in others), "no draft is left"
        token = kept.read_text().strip()
        assert str(kept) in service.log
        assert token not in service.log
        assert await _admin_says(service, token) == 202
        assert await _admin_says(service, "wrong") == 401
    async with serving(tmp_path, config) as service:
        assert kept.read_text().strip() == token
        assert await _admin_says(service, token) == 202


@pytest.mark.parametrize("state", ["a link", "not a folder", "no text"])
async def test_where_no_token_can_be_kept_it_is_said(tmp_path: Path, state: str) -> None:
    folder = tmp_path / "state"
    target = tmp_path / "target"
    target.write_text("a-token-that-someone-else-planted")
    match state:
        case "a link":
            folder.mkdir()
            (folder / "admin-token").symlink_to(target)
        case "no text":
            folder.mkdir()
            (folder / "admin-token").write_bytes(b"\xff\xfe\xfd")
        case _:
            folder.write_text("")
    environ = {"REFRESHER_STATE_DIR": str(folder)}
    async with serving(tmp_path, "", environ=environ) as service:
        assert "no admin token" in service.log
        assert await _admin_says(service, target.read_text()) == 401
        assert (await service.get("/livez")).status_code == 200
    assert target.read_text() == "a-token-that-someone-else-planted"
